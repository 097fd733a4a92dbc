"""The bench: simulated Hubs, an organization of its own for each case, and the daemon that dies in it.

Knows the command line, the keys of config and world, the steering routes under /_sim, and how a process is ended
or stopped at a point; knows nothing of which record is right (that is record.py).  SCOPEWATCH_BIN names the
binary, SCOPEWATCH_FAILPOINTS_BIN the one with the feature `failpoints` (default: beside it, with that ending).
"""

import atexit
import json
import os
import re
import secrets
import shutil
import signal
import string
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = os.environ.get("SCOPEWATCH_BIN", str(ROOT / "target/debug/scopewatch"))
ARMED = os.environ.get("SCOPEWATCH_FAILPOINTS_BIN", BIN + "-failpoints")
NEVER, ALWAYS = "0 0 0 1 1 *", "* * * * * *"
PREFIX = "scopewatch-canary"
HORIZON = 1                         # the floor to a loopback endpoint
DIED = {"kill": -signal.SIGKILL, "abort": -signal.SIGABRT}


class Broken(Exception):
    """The bench itself failed, or a case was not what it is meant to be."""


def memory():
    """A directory in memory, where there is room: the journal's syncs would otherwise wait for the disk."""
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 1 << 30
    return str(shared) if roomy else None


def standing(pid):
    """Where the threads of a process stand: name, state, and what of the kernel they wait in."""
    lines = []
    for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
        try:
            state = (task / "stat").read_text().rsplit(")", 1)[1].split()[0]
            lines.append(f"{(task / 'comm').read_text().strip()} {state} {(task / 'wchan').read_text()} "
                         f"{(task / 'syscall').read_text().strip()}")
        except OSError as error:  # it went meanwhile
            lines.append(f"{task.name}: {error}")
    return "\n".join(lines)


def environment(extra=None):
    kept = {k: v for k, v in os.environ.items()
            if not k.lower().endswith("_proxy") and not k.startswith(("SCOPEWATCH", "HF_", "RUST_LOG"))}
    return {**kept, "NO_COLOR": "1", **(extra or {})}


def wait_until(what, seconds, say):
    end = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > end:
            raise Broken(f"not within {seconds} s: {say}")
        time.sleep(0.02)
    return found


STARTED, DIRECTORIES = set(), set()


@atexit.register
def end_all():
    """Whoever is interrupted leaves no process and no file behind."""
    for process in list(STARTED):
        if process.poll() is None:
            process.kill()
    for directory in list(DIRECTORIES):
        shutil.rmtree(directory, ignore_errors=True)


class Hub:
    """One simulated Hub; its cases come one after the other."""

    def __init__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="scopewatch-crash-", dir=memory()))
        DIRECTORIES.add(self.dir)
        world = self.dir / "world.yaml"
        # JSON is YAML.  Nobody is held back here but by the daemon itself.
        world.write_text(json.dumps({"limits": {"anonymous": 10**9, "whoami": 10**6, "creations_per_day": 10**6}}))
        self.log = open(self.dir / "hub.log", "wb")
        self.process = subprocess.Popen([BIN, "hub", "--listen", "127.0.0.1:0", "--world", str(world)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log,
                                        env=environment())
        STARTED.add(self.process)
        line = self.process.stdout.readline().decode()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        if not found:
            raise Broken(f"the simulated Hub did not start: {line!r} {(self.dir / 'hub.log').read_text()[-2000:]}")
        self.url, self.cases = found.group(), 0
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()
        STARTED.discard(self.process)
        shutil.rmtree(self.dir, ignore_errors=True)

    def ask(self, method, path, body=None, secret=None):
        headers = {"Content-Type": "application/json"}
        if secret:
            headers["Authorization"] = f"Bearer {secret}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with self.opener.open(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null") if path.startswith("/_sim") else None
        except urllib.error.HTTPError as error:
            raise Broken(f"{method} {path}: {error.code} {error.read()[:500]!r}") from None

    def sim(self, method, page, body=None):
        return self.ask(method, f"/_sim/{page}", body)

    def faults(self, orders):
        self.sim("POST", "faults", {"faults": orders})


class Home:
    """An organization, its tokens and other people's repositories on a Hub; a config and a journal."""

    def __init__(self, hub, users=1, timeout="1s", schedule=NEVER, horizon=HORIZON):
        hub.cases += 1
        self.hub, self.org, self.horizon = hub, f"o{hub.cases}", horizon
        self.dir = hub.dir / self.org
        self.dir.mkdir()
        self.store = self.dir / "state.db"
        org, self.secrets = self.org, {}
        self.probed = [f"wide{n}-{org}" for n in range(users)]
        self.janitor, self.stranger = f"janitor-{org}", f"stranger-{org}"
        write = [{"entity": f"org:{org}", "permissions": ["repo.write"]}]
        both = [{"entity": f"org:{org}", "permissions": ["repo.write", "org.read"]}]
        tokens = {name: self._token(name, f"user-{name}", write) for name in self.probed}
        tokens |= {name: self._token(name, f"user-{name}", both) for name in (self.janitor, self.stranger)}
        members = {f"user-{name}": "write" for name in self.probed}
        members |= {f"user-{name}": "admin" for name in (self.janitor, self.stranger)}
        decoy = f"{PREFIX}-abcde-{'a' * 26}-{'b' * 26}"       # named like a canary, signed by nobody
        kinds = {"ordinary": "model", decoy: "model", f"{decoy[:-1]}c": "dataset"}
        hub.faults([])
        self.first_request = hub.sim("GET", "world")["counters"]["requests"]
        hub.sim("PATCH", "world", {
            "organizations": {org: {"plan": "enterprise", "members": members}}, "tokens": tokens,
            "repos": {f"{org}/{name}": {"type": kind, "private": True} for name, kind in kinds.items()}})
        self.before = self.repos()
        self.first_change = max((c["seq"] for c in hub.sim("GET", "changes")), default=0)
        self.config = self._config(timeout, schedule)
        self.output = b""

    def _token(self, name, user, scopes):
        secret = "hf_" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(34))
        self.secrets[name] = secret
        return {"secret": secret, "user": user, "role": "fineGrained", "scopes": scopes}

    def _config(self, timeout, schedule):
        entries = []
        for name in [*self.probed, self.janitor]:
            path = self.dir / f"secret-{name}"
            path.touch(0o600)
            path.write_text(self.secrets[name] + "\n")
            entry = {"name": name, "organization": self.org, "secret": {"file": str(path)}}
            if name != self.janitor:
                entry["expect"] = [{"permission": "repo.create", "access": "denied"}]
            entries.append(entry)
        path = self.dir / "scopewatch.yaml"
        path.write_text(json.dumps({
            "hub": {"endpoint": self.hub.url, "quota_share": 1, "in_flight_horizon": f"{self.horizon}s",
                    "request_timeout": timeout},
            "schedule": {"probe": schedule, "canary": schedule, "declared": NEVER},
            "organizations": [{"name": self.org, "janitor": self.janitor, "max_creations_per_day": 10**6}],
            # Nobody listens there: what is told stays owed.
            "alerts": {"sinks": [{"name": "nobody", "type": "webhook", "url": "http://127.0.0.1:9/"}]},
            "tokens": entries, "server": {"listen": "127.0.0.1:0"}, "store": {"url": f"sqlite://{self.store}"}}))
        return path

    # -- the Hub's side --------------------------------------------------------------------------------------------
    def repos(self):
        world = self.hub.sim("GET", "world")["repos"]
        return {name: repo for name, repo in world.items() if repo["name"].startswith(self.org + "/")}

    def requests(self):
        return self.hub.sim("GET", f"requests?since={self.first_request}")

    def changes(self):
        return self.hub.sim("GET", f"changes?since={self.first_change}")

    # -- the daemon ------------------------------------------------------------------------------------------------
    def start(self, *command, at=None, planted=None, armed=False):
        """A process of the daemon; `at` is what to do at which point."""
        extra = {k: v for k, v in (("SCOPEWATCH_FAILPOINT", at), ("SCOPEWATCH_PLANTED", planted)) if v}
        binary = ARMED if extra or armed else BIN
        with open(self.dir / "daemon.log", "ab") as log:
            process = subprocess.Popen([binary, *command, "--config", str(self.config)], stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log, env=environment(extra), cwd=self.dir)
        STARTED.add(process)
        return process

    def finish(self, process, seconds=60):
        """Its exit code; the daemon that does not end by itself is a failure."""
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            where = standing(process.pid)
            process.kill()
            process.wait()
            raise Broken(f"a process did not end within {seconds} s\n{where}\n{self.told()}") from None
        finally:
            STARTED.discard(process)

    def run(self, *command, seconds=60, **how):
        return self.finish(self.start(*command, **how), seconds)

    def told(self):
        return (self.dir / "daemon.log").read_text("utf-8", "replace")[-3000:]

    def clean_up(self, seconds=45, **how):
        """As an operator would: an audit, then sweeps until nothing is left.  Whether that came to be."""
        end = time.monotonic() + seconds
        if (code := self.run("audit", **how)) not in (0, 1, 3):
            raise Broken(f"the audit after it ended with {code}\n{self.told()}")
        while (code := self.run("canaries", "sweep", **how)) == 1 and time.monotonic() < end:
            time.sleep(0.5)
        if code not in (0, 1):
            raise Broken(f"a sweep ended with {code}\n{self.told()}")
        return code == 0

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)

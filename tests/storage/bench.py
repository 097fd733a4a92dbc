"""The bench of the storage tests: one simulated Hub for many cases, a home for each, the real binary in it.

Knows the command line, the keys of world and config, the steering under /_sim, and how to look into a store without
touching it (always at a copy).  Knows nothing of what is right: that is judge.py.  Serves every test beside it.
SCOPEWATCH_BIN names the binary, SCOPEWATCH_FAILPOINTS_BIN the one in which defects can be planted (the feature
`failpoints`; default: beside it, with that ending).
"""

import functools
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

BIN = os.environ.get("SCOPEWATCH_BIN", str(Path(__file__).resolve().parents[2] / "target/debug/scopewatch"))
ARMED = os.environ.get("SCOPEWATCH_FAILPOINTS_BIN", BIN + "-failpoints")
NOT_ARMED = f"{ARMED} is missing: cargo build --features failpoints, copy it there, then cargo build"
STANDIN = str(Path(__file__).resolve().parent / "standin.py")
NEVER = "0 0 0 1 1 *"
PREFIX = "scopewatch-canary"
HORIZON = 1.0
# A creation that nobody answered is given ten seconds, then absence is seen twice.
SETTLED = 11.5
ENDS = ("", "-wal", "-shm", "-journal")


class Broken(Exception):
    """The bench itself failed."""


def memory():
    """A directory in memory where there is room: the tests' many syncs would otherwise wait for the disk."""
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 512 << 20
    return str(shared) if roomy else None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment():
    kept = {k: v for k, v in os.environ.items()
            if not k.lower().endswith("_proxy") and not k.startswith(("SCOPEWATCH", "HF_", "RUST_LOG"))}
    return {**kept, "NO_COLOR": "1"}


def wait_until(condition, what, seconds=20.0):
    end = time.monotonic() + seconds
    while True:
        try:
            value = condition()
            if value:
                return value
        except (OSError, ValueError):
            pass
        if time.monotonic() > end:
            raise Broken(f"within {seconds:g} s expected: {what}")
        time.sleep(0.02)


def get(url, timeout=5):
    """(status, text), whatever the status is."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")


def token(user, entity=None, permissions=(), secret=None):
    scopes = [{"entity": entity, "permissions": list(permissions)}] if entity else []
    return {"secret": secret, "user": user, "role": "fineGrained", "scopes": scopes}


def world_of(organizations):
    """Each organization with an admin's janitor, a user that may create, and two private models of others."""
    world = {"organizations": {}, "repos": {}, "tokens": {},
             "limits": {"anonymous": 10**9, "whoami": 10**9, "creations_per_day": 10**9, "remembered_requests": 10**8}}
    for org in organizations:
        world["organizations"][org] = {
            "plan": "enterprise", "rate_limit": 10**9,
            "members": {f"admin-{org}": "admin", f"user-{org}": "write", f"reader-{org}": "read"}}
        for name in ("known-private", "precious"):
            world["repos"][f"{org}/{name}"] = {"type": "model", "private": True}
        scope = f"org:{org}"
        world["tokens"][f"wide-{org}"] = token(f"user-{org}", scope, ["repo.write"], f"hf_wide_{org}")
        world["tokens"][f"janitor-{org}"] = token(f"admin-{org}", scope, ["repo.write", "org.read"], f"hf_janitor_{org}")
        world["tokens"][f"narrow-{org}"] = token(f"reader-{org}", scope, ["repo.content.read"], f"hf_narrow_{org}")
    return world


class Hub:
    """The simulated Hub as a process, and its record, which is the truth."""

    def __init__(self, world, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # JSON is YAML.
        (folder / "world.yaml").write_text(json.dumps(world))
        self.log = open(folder / "hub.log", "wb")
        self.process = subprocess.Popen(
            [BIN, "hub", "--listen", f"127.0.0.1:{self.port}", "--world", str(folder / "world.yaml")],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=environment())

        def up():
            if self.process.poll() is not None:
                raise Broken("the simulated Hub did not start:\n" + (folder / "hub.log").read_text()[-2000:])
            return self.sim("GET", "faults")
        wait_until(up, "the simulated Hub answers")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def sim(self, method, page, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_sim/{page}", data, {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Broken(f"{method} /_sim/{page}: {error.code} {error.read()[:500]!r}") from None

    def faults(self, orders):
        self.sim("POST", "faults", {"faults": orders})

    def plant(self, name, **more):
        return self.sim("POST", "repos", {"name": name, "private": True, **more})

    def world(self):
        return self.sim("GET", "world")

    def last_request(self):
        return self.world()["counters"]["requests"]

    def record(self, since=0, changes_since=0):
        return Record(self.sim("GET", f"requests?since={since}"), self.sim("GET", f"changes?since={changes_since}"),
                      self.world())


class Record:
    """What the Hub remembers, by organization."""

    def __init__(self, requests, changes, world):
        self.sent, self.changes, self.repos = defaultdict(list), defaultdict(list), defaultdict(dict)
        for request in requests:
            if request["route"] in ("create", "delete") and isinstance(request["body"], dict):
                self.sent[request["body"].get("organization")].append(request)
        for change in changes:
            self.changes[change["repo"].split("/")[0]].append(change)
        for repo in world["repos"].values():
            self.repos[repo["name"].split("/")[0]][repo["name"]] = repo
        self.requests = requests


@dataclass
class Done:
    code: int
    out: str
    err: str

    def __str__(self):
        return f"exit {self.code}; {self.err.strip()[-600:]}"


class Home:
    """A directory with a config, its secrets and a store, for one organization or several."""

    def __init__(self, folder, hub_url, organizations, store=None, **config):
        self.dir = Path(folder)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.organizations = list(organizations)
        self.store_dir = Path(store or self.dir / "store")
        self.store_dir.mkdir(exist_ok=True)
        self.db = self.store_dir / "state.db"
        self.write_config(hub_url, **config)

    def write_config(self, hub_url, hub=None, schedule=None, server=None, checks=("create",), extra=None):
        """`checks`: what the wide token is asked, of `create`, `read`."""
        known = {"create": {"permission": "repo.create", "access": "allowed"},
                 "read": {"permission": "repo.read", "repo": "{}/precious", "access": "allowed"}}
        tokens = []
        for org in self.organizations:
            for name in ("wide", "janitor"):
                path = self.dir / f"secret-{name}-{org}"
                path.touch(0o600)
                path.write_text(f"hf_{name}_{org}\n")
                entry = {"name": f"{name}-{org}", "organization": org, "secret": {"file": str(path)}}
                if name == "wide":
                    entry["expect"] = [json.loads(json.dumps(known[check]).replace("{}", org)) for check in checks]
                tokens.append(entry)
        config = {
            "hub": {"endpoint": hub_url, "quota_share": 1, "in_flight_horizon": f"{HORIZON:g}s", "request_timeout": "5s",
                    **(hub or {})},
            "schedule": {"probe": NEVER, "canary": NEVER, "declared": NEVER, **(schedule or {})},
            "organizations": [{"name": org, "janitor": f"janitor-{org}", "canary_prefix": PREFIX,
                               "max_creations_per_day": 1_000_000} for org in self.organizations],
            "tokens": tokens + (extra or []),
            "store": {"url": f"sqlite://{self.db}"},
            **({"server": server} if server else {}),
        }
        self.config = self.dir / "scopewatch.yaml"
        self.config.write_text(json.dumps(config))

    def start(self, *words, before=(), planted=None, **popen):
        """`audit`, `canaries sweep`, `serve`, …; where a defect is planted, in the process that can have one."""
        words = [*before, ARMED if planted else BIN, *words, "--config", str(self.config)]
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, cwd=self.dir,
                                env={**environment(), **({"SCOPEWATCH_PLANTED": planted} if planted else {})},
                                stdout=popen.pop("stdout", subprocess.PIPE), stderr=popen.pop("stderr", subprocess.PIPE),
                                **popen)

    def run(self, *words, timeout=60, **more):
        process = self.start(*words, **more)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            return Done(-999, "", f"did not end within {timeout} s: {err[-500:]!r}")
        return Done(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))

    def recover(self, done=None, since=None):
        """Started again without faults until it says that nothing is left; what is wrong with that. `done`: a sweep that
        was already made, at the moment `since`. What nobody answered is given its time."""
        done = done or self.run("canaries", "sweep")
        if done.code == 1:
            time.sleep(max(0.0, (since or time.monotonic()) + SETTLED - time.monotonic()))
        for _ in range(5):
            if done.code != 1:
                break
            done = self.run("canaries", "sweep")
            time.sleep(1.3 if done.code == 1 else 0)
        wrong = [] if done.code == 0 else [f"the recovery did not end well: {done} {done.out[-300:]}"]
        if has_command("evidence") and (verified := self.run("evidence", "verify")).code != 0:
            wrong.append(f"evidence verify: {verified} {verified.out[-200:]}")
        return wrong

    def files(self):
        """Every file of the store, the program's own beside it included."""
        return sorted(path for path in self.store_dir.iterdir() if path.is_file())

    def store_paths(self):
        """What strace is told to watch: files that are there, that will be, and the directory."""
        names = {self.db.name + end for end in (*ENDS, ".lock", ".head", ".head.new")} | {"state.key", "state.key.new"}
        names |= {path.name for path in self.files()}
        return [str(self.store_dir), *(str(self.store_dir / name) for name in sorted(names))]

    def journal(self):
        return read_journal(self.db)


def read_journal(db):
    """The canaries of a store with their attempts, and what SQLite says of the file. Looks at a copy."""
    with tempfile.TemporaryDirectory(prefix="scopewatch-look-", dir=memory()) as folder:
        for end in ("", "-wal", "-journal"):
            source = Path(str(db) + end)
            if source.exists():
                shutil.copyfile(source, Path(folder) / ("copy.db" + end))
        copy = Path(folder) / "copy.db"
        if not copy.exists():
            return Journal("no file", {})
        try:
            with sqlite3.connect(copy) as look:
                look.text_factory = lambda raw: raw.decode("utf-8", "replace")
                health = look.execute("PRAGMA integrity_check(3)").fetchall()
                health = "ok" if health == [("ok",)] else str(health)
                if not look.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'canaries'").fetchone()[0]:
                    return Journal(health, {})
                rows = look.execute("""SELECT namespace || '/' || name, id, state, planned_at, repo_id,
                    (SELECT count(*) FROM attempts WHERE canary = id) FROM canaries""").fetchall()
            look.close()
        except (sqlite3.Error, ValueError) as error:
            return Journal(f"SQLite: {error}", {})
    keys = ("id", "state", "planned_at", "repo_id", "attempts")
    return Journal(health, {row[0]: dict(zip(keys, row[1:])) for row in rows if row[0]})


@dataclass
class Journal:
    health: str
    canaries: dict


@functools.cache
def has_command(word):
    """Whether this build has the command: parts of the contract are built later than others."""
    return subprocess.run([BIN, word, "--help"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, env=environment(), check=False).returncode == 0


# -- the tally ---------------------------------------------------------------------------------------------------

class Tally:
    """One line of the table: what was planned, what ran, what went wrong, and what was planted and caught."""

    def __init__(self, name):
        self.name, self.planned, self.run, self.wrong = name, 0, 0, []
        self.planted, self.notes, self.began = {}, [], time.monotonic()

    def violation(self, where, what):
        self.wrong.append(f"{where}: {what}")

    def control(self, name, caught):
        """A defect that was planted on purpose; it must be seen."""
        self.planted[name] = bool(caught)

    def note(self, text):
        self.notes.append(text)

    def end(self):
        """Prints the line, appends it to the file named by SCOPEWATCH_TALLY; the exit code."""
        for text in self.notes:
            print(f"  {text}")
        for text in self.wrong[:40]:
            print(f"  VIOLATION {text}")
        for name in (name for name, caught in self.planted.items() if not caught):
            print(f"  NOT CAUGHT: the planted defect '{name}'")
        figures = (self.planned, self.run, len(self.wrong), len(self.planted), sum(self.planted.values()))
        line = "\t".join([self.name, *map(str, figures)])
        print(line, flush=True)
        if os.environ.get("SCOPEWATCH_TALLY"):
            with open(os.environ["SCOPEWATCH_TALLY"], "a", encoding="utf-8") as tally:
                tally.write(line + "\n")
        print(f"  {time.monotonic() - self.began:.0f} s", flush=True)
        sound = self.run >= self.planned > 0 and not self.wrong and self.planted and all(self.planted.values())
        return 0 if sound else 1


def main(test):
    """Runs a test in a scratch directory that goes away with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="scopewatch-storage-", dir=memory()))
    try:
        sys.exit(test(folder))
    finally:
        if "--keep" in sys.argv:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)

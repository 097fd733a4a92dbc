"""The bench: a simulated Hub, a config with its secrets, one audit after the other, and what the Hub remembers.

Knows the command line, the world file's and the config's keys, and the steering routes under /_sim; knows
nothing of which answer is right.  Serves table.py and faults.py.  SCOPEWATCH_BIN names the binary.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import string
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

BIN = os.environ.get("SCOPEWATCH_BIN", str(Path(__file__).resolve().parents[2] / "target/debug/scopewatch"))
NEVER = "0 0 0 1 1 *"
PREFIX = "scopewatch-canary"
REASONS = {
    "allowed": {None},
    "denied": {"scope", "token_policy", "token_revoked", "sso", "mfa", "ip_restriction", "billing", "hidden", "other"},
    "undetermined": {"token_invalid", "rate_limited", "creation_cap", "no_control", "target_missing", "conflict", "billing",
                     "hub_error", "timeout", "network", "unrecognized", "intent_not_stored", "read_only"},
}


def memory():
    """A directory in memory, where there is room: the journal's syncs would otherwise wait for whatever else the disk does."""
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > 512 << 20
    return str(shared) if roomy else None


class Broken(Exception):
    """The bench itself failed, or the daemon did something that no cell can express."""


def fresh_secret():
    return "hf_" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(34))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def verdict_of(expected, access):
    if access == "undetermined":
        return "unknown"
    if access == expected:
        return "ok"
    return "unexpected_grant" if access == "allowed" else "unexpected_denial"


class Bench:
    """A world that is served, and a directory for the daemon's files."""

    def __init__(self, world, keep=False):
        self.dir, self.keep = Path(tempfile.mkdtemp(prefix="scopewatch-truth-", dir=memory())), keep
        self.secrets = {name: fresh_secret() for name in world["tokens"]}
        for name, token in world["tokens"].items():
            token["secret"] = self.secrets[name]
        self.audits = 0
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        # JSON is YAML.
        (self.dir / "world.yaml").write_text(json.dumps(world))
        self.log = open(self.dir / "hub.log", "wb")
        self.hub = subprocess.Popen([BIN, "hub", "--listen", f"127.0.0.1:{port}", "--world", str(self.dir / "world.yaml")],
                                    stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=self.environment())
        self._await_hub()
        self.before = self.sim("GET", "world")["repos"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.hub.send_signal(signal.SIGINT)
        try:
            self.hub.wait(10)
        except subprocess.TimeoutExpired:
            self.hub.kill()
            self.hub.wait()
        self.log.close()
        if not self.keep:
            shutil.rmtree(self.dir, ignore_errors=True)

    def environment(self):
        kept = {k: v for k, v in os.environ.items()
                if not k.lower().endswith("_proxy") and not k.startswith(("SCOPEWATCH", "HF_", "RUST_LOG"))}
        return {**kept, "NO_COLOR": "1"}

    def _await_hub(self):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if self.hub.poll() is not None:
                break
            try:
                self.sim("GET", "faults")
                return
            except OSError:
                time.sleep(0.05)
        raise Broken("the simulated Hub did not start:\n" + (self.dir / "hub.log").read_text()[-2000:])

    # -- steering ------------------------------------------------------------------------------------------------
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

    def requests(self, since=0):
        return self.sim("GET", f"requests?since={since}")

    def last_request(self):
        return self.sim("GET", "world")["counters"]["requests"]

    # -- the daemon ----------------------------------------------------------------------------------------------
    def config(self, organizations, tokens, endpoint=None, **hub):
        """`organizations`: entries; `tokens`: {name: (organization, [checks])}, the janitors with no checks."""
        # A directory and a journal of its own for every audit: no pause or canary of one reaches the next.
        self.audits += 1
        home = self.dir / f"audit-{self.audits}"
        home.mkdir()
        entries = []
        for name, (organization, expect) in tokens.items():
            path = home / f"secret-{name}"
            path.touch(0o600)
            path.write_text(self.secrets[name] + "\n")
            entry = {"name": name, "organization": organization, "secret": {"file": str(path)}}
            entries.append({**entry, "expect": expect} if expect else entry)
        config = {
            "hub": {"endpoint": endpoint or self.url, "quota_share": 1, "in_flight_horizon": "1s", "max_in_flight": 32,
                    "request_timeout": "20s", **hub},
            "schedule": {"probe": NEVER, "canary": NEVER, "declared": NEVER},
            "organizations": [{"max_creations_per_day": 1_000_000, "canary_prefix": PREFIX, **o} for o in organizations],
            "tokens": entries,
            "store": {"url": f"sqlite://{home}/state.db"},
        }
        path = home / "scopewatch.yaml"
        path.write_text(json.dumps(config))
        return path

    def audit(self, config, seconds=240):
        """One audit; its report, with the results by organization, token, permission and target."""
        done = subprocess.run([BIN, "audit", "--config", str(config), "--format", "json"], stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=seconds, env=self.environment(), cwd=config.parent, check=False)
        self.complaints = done.stderr.decode("utf-8", "replace")
        for text in (done.stdout, done.stderr):
            for secret in self.secrets.values():
                if secret.encode() in text:
                    raise Broken("a secret was printed")
        if done.returncode not in (0, 1, 3):
            raise Broken(f"audit ended with {done.returncode}:\n{self.complaints[-3000:]}")
        report = json.loads(done.stdout)
        report["by_key"] = {}
        for r in report["results"]:
            key = (r["organization"], r["token"], r["permission"], r["target"])
            if key in report["by_key"]:
                raise Broken(f"two results of {key}")
            report["by_key"][key] = r
        self._exit_code(report, done.returncode)
        return report

    def _exit_code(self, report, code):
        summary = report["summary"]
        right = 1 if summary["unexpected_grant"] + summary["unexpected_denial"] else 3 if summary["unknown"] else 0
        if code != right:
            raise Broken(f"audit ended with {code}, its summary says {right}: {summary}")

    # -- afterwards ----------------------------------------------------------------------------------------------
    def harm(self):
        """What the daemon left or touched that was no canary of its own; empty when all is well."""
        world, changes = self.sim("GET", "world"), self.sim("GET", "changes")
        wrong = [f"left over: {name}" for name in world["left_over"]]
        made, gone = {}, set()
        for change in changes:
            if change["request"] is None:
                continue
            repo, what = change["repo"], change["kind"]
            if not repo.split("/")[-1].startswith(PREFIX + "-"):
                wrong.append(f"{what} {repo} by {change['token']}: no canary")
            elif what == "created":
                if made.setdefault(repo, change["id"]) != change["id"]:
                    wrong.append(f"created twice: {repo}")
            elif what == "deleted":
                if made.get(repo) != change["id"] or repo in gone:
                    wrong.append(f"deleted, and not what was created: {repo}")
                gone.add(repo)
            else:
                wrong.append(f"{what} {repo}")
        wrong += [f"created and never deleted: {repo}" for repo in made.keys() - gone]
        for name in self.before.keys() | world["repos"].keys():
            if self.before.get(name) != world["repos"].get(name):
                wrong.append(f"not as before: {name}")
        names = [q["body"].get("name") for q in self.requests()
                 if q["route"] == "create" and isinstance(q["body"], dict) and PREFIX in str(q["body"].get("name"))]
        wrong += [f"asked for twice: {name}" for name in set(names) if names.count(name) > 1]
        return wrong, len(made)

"""What every scenario needs: a world, a config, the real binary, and the three questions at the end.

Knows: the command line, the config's keys and the report's shape as the public contract has them.
Knows nothing of the source.  Serves the test_*.py files beside it.  SCOPEWATCH_BIN names the binary;
without it these tests are skipped, and with CI=true they fail instead.
"""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import string
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from hub import Hub

BIN = os.environ.get("SCOPEWATCH_BIN")
CI = os.environ.get("CI") == "true"
NEVER = "0 0 0 1 1 *"
SUMMARY = ("checks", "ok", "unexpected_grant", "unexpected_denial", "unknown")
DENIED = ("scope", "token_policy", "token_revoked", "sso", "mfa", "ip_restriction", "billing", "hidden", "other")
UNDETERMINED = ("token_invalid", "rate_limited", "creation_cap", "no_control", "target_missing", "conflict", "billing",
                "hub_error", "timeout", "network", "unrecognized", "intent_not_stored", "read_only")
CANARY = ("refused", "deleted", "unknown", "quarantined")


def fresh_secret():
    return "hf_" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(34))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, what, seconds=20.0):
    """The condition's first true value; fails with `what` when the deadline passes."""
    end, last = time.monotonic() + seconds, None
    while True:
        try:
            value = condition()
            if value:
                return value
        except (OSError, ValueError, KeyError) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"within {seconds:g} s expected: {what}" + (f" (last error: {last})" if last else ""))
        time.sleep(0.03)


def yaml(value, depth=0):
    """Plain block YAML, as a person would write it (strings quoted where there is doubt)."""
    pad = "  " * depth
    if isinstance(value, dict) and value:
        return "".join(f"{pad}{k}:" + (f" {yaml(v)}\n" if not isinstance(v, (dict, list)) or not v
                                       else "\n" + yaml(v, depth + 1)) for k, v in value.items())
    if isinstance(value, list) and value:
        return "".join(f"{pad}- " + (yaml(v) + "\n" if not isinstance(v, (dict, list)) or not v
                                     else yaml(v, depth + 1).lstrip(" ")) for v in value)
    return json.dumps(value)


def create(access="denied", **target):
    return {"permission": "repo.create", **target, "access": access}


def http(url, method="GET", timeout=5, data=None):
    """(status, text, headers) whatever the status is."""
    request = urllib.request.Request(url, method=method, data=data)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode("utf-8", "replace"), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace"), error.headers


SAMPLE = re.compile(r'^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"(?:,|$)')


class Metrics:
    """One scrape: samples, types and help texts."""

    def __init__(self, text):
        self.text, self.samples, self.types, self.help = text, [], {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ", 3)
                self.types[name] = kind
            elif line.startswith("# HELP "):
                self.help[line.split(" ", 3)[2]] = line.split(" ", 3)[-1]
            elif line and not line.startswith("#"):
                match = SAMPLE.match(line)
                if not match:
                    raise AssertionError(f"no line of the exposition format: {line!r}")
                labels = {k: re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], v)
                          for k, v in LABEL.findall(match[2] or "")}
                self.samples.append((match[1], labels, float(match[3])))

    def all(self, name, **labels):
        return [(got, value) for n, got, value in self.samples
                if n == name and all(got.get(k) == v for k, v in labels.items())]

    def one(self, name, **labels):
        """The value of the one series that fits, or None."""
        found = self.all(name, **labels)
        if len(found) > 1:
            raise AssertionError(f"expected at most one series {name}{labels}, found {found}")
        return found[0][1] if found else None


class Finished:
    def __init__(self, argv, code, out, err):
        self.argv, self.code, self.out, self.err = argv, code, out, err

    def __str__(self):
        return f"$ {' '.join(self.argv)}\nexit {self.code}\n--- stdout\n{self.out[-4000:]}\n--- stderr\n{self.err[-4000:]}"


class Case(unittest.TestCase):
    """A test with the binary: a Hub, a directory, tools; at the end the Hub is asked."""

    longMessage = True
    prefixes = ("scopewatch-canary",)
    sentinels = ()
    leftovers_allowed = False

    def setUp(self):
        if not BIN:
            if CI:
                self.fail("SCOPEWATCH_BIN is not set; in CI the scenarios must run against a binary")
            self.skipTest("SCOPEWATCH_BIN is not set: no binary to run the scenario against")
        self.dir = Path(tempfile.mkdtemp(prefix="blackbox-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.hub = Hub().start()
        self.addCleanup(self.hub.stop)
        self.secrets, self.processes = {}, []
        self.addCleanup(self._end_processes)
        self.config = {
            "hub": {"endpoint": self.hub.url, "request_timeout": "2s", "quota_share": 1, "in_flight_horizon": "1s"},
            "schedule": {"probe": "*/2 * * * * *", "canary": "*/2 * * * * *", "declared": "0 7 * * * *"},
            "organizations": [], "tokens": [],
            "store": {"url": f"sqlite://{self.dir}/state/state.db"},
        }
        (self.dir / "state").mkdir()
        self.build()

    def build(self):
        """The scenario's world; overridden where one default organization is not enough."""
        self.acme()

    def _end_processes(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def tearDown(self):
        if hasattr(self, "hub"):
            self._end_processes()
            self.assertEqual(self.hub.touched(self.prefixes), [], "touched on the Hub though no canary")
            self.assertEqual(self.hub.doubled(self.sentinels), [], "names that were POSTed more than once")
            if not self.leftovers_allowed:
                self.assertEqual(self.hub.leftovers(), [], "canaries left over on the Hub")

    # -- world and config ------------------------------------------------------------------
    def acme(self, name="acme", configured=None, **org):
        """An organization with an admin's janitor, a private model and a group with a private model."""
        hub, admin = self.hub, f"admin-{name}"
        hub.org(name, **org)
        hub.member(name, admin, "admin")
        hub.group(name, "token-test-group")
        hub.repo(f"{name}/known-private")
        hub.repo(f"{name}/token-test-model", group="token-test-group")
        janitor = "janitor" if name == "acme" else f"janitor-{name}"
        self.add_token(janitor, admin, [("org", name, ["repo.write", "org.read"])],
                       organization=configured or name, listed=None)
        self.config["organizations"].append({"name": configured or name, "janitor": janitor})

    def add_token(self, name, user, scopes=(), expect=None, organization="acme", listed=True, **kw):
        """A token on the Hub, its secret in a file, and its entry in the config."""
        self.secrets[name] = fresh_secret()
        token = self.hub.token(name, self.secrets[name], user, scopes=list(scopes), **kw)
        path = self.dir / f"secret-{name}"
        path.write_text(self.secrets[name] + "\n")
        path.chmod(0o600)
        entry = {"name": name, "organization": organization, "secret": {"file": str(path)}}
        if listed:
            entry["expect"] = expect or [create()]
        self.config["tokens"].append(entry)
        return token

    def add_member(self, name, role="write", scopes=(), expect=None, organization="acme", **kw):
        """A token of a user of his own with that role in the organization."""
        self.hub.member(organization, f"user-{name}", role)
        return self.add_token(name, f"user-{name}", scopes, expect, organization, **kw)

    def widened(self, name="wide", expect=None, organization="acme", **kw):
        return self.add_member(name, "write", [("org", organization, ["repo.write"])], expect, organization, **kw)

    def write_config(self, config=None, name="scopewatch.yaml"):
        path = self.dir / name
        path.write_text(config if isinstance(config, str) else yaml(config or self.config))
        return str(path)

    # -- the binary ------------------------------------------------------------------------
    def environment(self, extra=None):
        kept = {k: v for k, v in os.environ.items()
                if not k.lower().endswith("_proxy") and not k.startswith(("SCOPEWATCH", "HF_", "RUST_LOG"))}
        return {**kept, "NO_COLOR": "1", **(extra or {})}

    def run_binary(self, *argv, timeout=60, env=None, expect=None):
        started = subprocess.Popen([BIN, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=self.environment(env), cwd=self.dir)
        self.processes.append(started)
        try:
            out, err = started.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            started.kill()
            out, err = started.communicate()
            self.fail(f"did not end within {timeout} s: {argv}\n{out.decode()[-2000:]}\n{err.decode()[-4000:]}")
        done = Finished(list(argv), started.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
        if expect is not None:
            self.assertEqual(done.code, expect, f"expected exit {expect}\n{done}")
        return done

    def with_config(self, command, *argv, config=None, **kw):
        return self.run_binary(command, "--config", config or self.write_config(), *argv, **kw)

    def audit(self, *argv, expect=None, timeout=60, env=None, config=None):
        """One `audit --format json`; checks the report's shape; the report with `.run` and by token."""
        done = self.with_config("audit", "--format", "json", *argv, timeout=timeout, env=env, config=config)
        self.last = done
        try:
            report = json.loads(done.out)
        except ValueError:
            self.fail(f"expected one JSON report on stdout\n{done}")
        self.check_report(report, done)
        if expect is not None:
            self.assertEqual(done.code, expect, f"expected exit {expect}\n{done}")
        return report

    def check_report(self, report, context=""):
        """The shape, to the letter: keys, types, closed lists, sums."""
        say = f"\n{context}"
        self.assertEqual(set(report), {"schema", "started_at", "finished_at", "summary", "results", "canaries"}, say)
        self.assertEqual(report["schema"], 1)
        stamp = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"
        for key in ("started_at", "finished_at"):
            self.assertRegex(report[key], stamp, key)
        self.assertLessEqual(report["started_at"], report["finished_at"])
        self.assertEqual(set(report["summary"]), set(SUMMARY), say)
        self.assertEqual(report["summary"]["checks"], len(report["results"]), say)
        for verdict in SUMMARY[1:]:
            count = sum(r["verdict"] == verdict for r in report["results"])
            self.assertEqual(report["summary"][verdict], count, f"summary.{verdict}{say}")
        for result in report["results"]:
            self.check_result(result, stamp, say)
        self.assertEqual(set(report["canaries"]), {"created", "deleted", "unfinished"}, say)
        for key, value in report["canaries"].items():
            self.assertIs(type(value), int, f"canaries.{key}{say}")

    def check_result(self, r, stamp, say):
        keys = {"organization", "token", "permission", "target", "expected", "access", "reason", "verdict", "declared",
                "predicted", "observed_at", "duration_ms", "evidence", "canary"}
        self.assertEqual(set(r), keys, say)
        self.assertIn(r["expected"], ("allowed", "denied"), say)
        self.assertIn(r["access"], ("allowed", "denied", "undetermined"), say)
        closed = {"allowed": (None,), "denied": DENIED, "undetermined": UNDETERMINED}[r["access"]]
        self.assertIn(r["reason"], closed, f"reason of {r['access']}{say}")
        verdict = ("unknown" if r["access"] == "undetermined" else "ok" if r["access"] == r["expected"]
                   else "unexpected_grant" if r["access"] == "allowed" else "unexpected_denial")
        self.assertEqual(r["verdict"], verdict, f"{r}{say}")
        self.assertIs(type(r["declared"]), bool, say)
        self.assertIn(r["predicted"], ("allowed", "denied", None), say)
        self.assertRegex(r["observed_at"], stamp, say)
        self.assertIsInstance(r["duration_ms"], int, say)
        self.assertIsInstance(r["evidence"], list, say)
        for entry in r["evidence"]:
            self.assertEqual(set(entry), {"method", "path", "status", "request_id"}, say)
            self.assertRegex(entry["path"], "^/", say)
            self.assertTrue(entry["status"] is None or isinstance(entry["status"], int), say)
            self.assertTrue(entry["request_id"] is None or isinstance(entry["request_id"], str), say)
        if r["canary"] is not None:
            self.assertEqual(set(r["canary"]), {"repo", "type", "state"}, say)
            self.assertIn(r["canary"]["state"], CANARY, say)
            self.assertIn(r["canary"]["type"], ("model", "dataset", "space"), say)

    def result(self, report, token, permission="repo.create", target=None):
        found = [r for r in report["results"] if r["token"] == token and r["permission"] == permission
                 and (target is None or r["target"] == target)]
        self.assertEqual(len(found), 1, f"expected one result of {token} {permission} {target}, got {found}\n{self.last}")
        return found[0]

    def sweep_clean(self, seconds=30):
        """`canaries sweep` until it says that nothing is left."""
        def swept():
            done = self.with_config("canaries", "sweep")
            self.assertIn(done.code, (0, 1), f"sweep exits 0, or 1 when something is left\n{done}")
            return done.code == 0
        wait_until(swept, "`canaries sweep` exits 0", seconds)

    # -- the daemon ------------------------------------------------------------------------
    def serve(self, *argv, config=None, ready=True, **kw):
        return Daemon(self, *argv, config=config, ready=ready, **kw)


class Daemon:
    """`scopewatch serve`, its port and its output."""

    def __init__(self, case, *argv, config=None, ready=True, **config_over):
        self.case, self.port = case, free_port()
        settings = {**case.config, **(config or {}), **config_over}
        settings["server"] = {"listen": f"127.0.0.1:{self.port}", **settings.get("server", {})}
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings, self.path = settings, case.write_config(settings, "serve.yaml")
        self.log = open(case.dir / f"serve-{len(case.processes)}.log", "w+b")
        case.addCleanup(self.log.close)
        self.process = subprocess.Popen([BIN, "serve", "--config", self.path, *argv], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=subprocess.STDOUT, env=case.environment(), cwd=case.dir,
                                        restore_signals=False)    # so that a file size limit is an error, no signal
        case.processes.append(self.process)
        if ready:
            wait_until(self._ready, "/-/ready answers 200", 15)

    def _ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"serve ended with {self.process.returncode}\n{self.output()}")
        return self.get("/-/ready")[0] == 200

    def output(self):
        self.log.flush()
        return Path(self.log.name).read_text("utf-8", "replace")[-6000:]

    def get(self, path, method="GET"):
        return http(self.url + path, method)

    def json(self, path):
        status, text, _ = self.get(path)
        self.case.assertEqual(status, 200, f"GET {path}: {text[:300]}")
        return json.loads(text)

    def metrics(self):
        status, text, headers = self.get("/metrics")
        self.case.assertEqual(status, 200, text[:300])
        scrape = Metrics(text)
        scrape.content_type = headers.get("Content-Type", "")
        return scrape

    def signal(self, number):
        os.kill(self.process.pid, number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=25):
        """SIGTERM; must end by itself within 25 s with exit 0."""
        self.signal(signal.SIGTERM)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.case.fail(f"SIGTERM: expected an end within {seconds} s\n{self.output()}")
        self.case.assertEqual(code, 0, f"SIGTERM: expected exit 0\n{self.output()}")

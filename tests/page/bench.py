"""The bench: a simulated Hub and a daemon of its own for each part of the suite, all on loopback.

Knows the command line, the steering routes under /_sim and the API; knows nothing of browsers or of what is right on
the page.  Serves every part.  SCOPEWATCH_BIN names the binary.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = os.environ.get("SCOPEWATCH_BIN", str(ROOT / "target/debug/scopewatch"))
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
WIDE = [{"entity": "org:acme", "permissions": ["repo.write"]}]
ONCE = {"probe": "0 0 0 1 1 *", "declared": "0 0 0 1 1 *"}  # at the start, and not again while somebody looks
JANITOR = {"secret": "hf_page_janitor", "user": "alice", "role": "fineGrained",
           "scopes": [{"entity": "org:acme", "permissions": ["repo.write", "org.read"]}]}


class Broken(Exception):
    """The bench itself failed."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def http(url, method="GET", body=None, timeout=20):
    """(status, text), whatever the status is; no proxy is asked."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, method=method, data=data, headers={"Content-Type": "application/json"})
    try:
        with DIRECT.open(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")


async def until(condition, what, seconds=40):
    """The condition's first true value; Broken with `what` when there is none in time."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            if value := await asyncio.to_thread(condition):
                return value
        except (OSError, ValueError, KeyError) as error:
            last = error
        await asyncio.sleep(0.05)
    raise Broken(f"within {seconds} s expected: {what}" + (f" (last error: {last})" if last else ""))


def acme(repos=None, tokens=None, plan="enterprise", members=None, groups=None, users=None):
    """A world with the organization acme, where alice's janitor may observe and clean up."""
    return {
        "organizations": {"acme": {"plan": plan, "token_policy": "allow", "members": {"alice": "admin", **(members or {})},
                                   "resource_groups": groups or {}}},
        "users": users or {},
        "repos": repos or {"acme/token-test-model": {"type": "model", "private": True}},
        "tokens": {"janitor": JANITOR, **(tokens or {})},
    }


class Bench:
    """Everything runs from the beginning to the end of an `async with`."""

    def __init__(self, world, watched, schedule, **more):
        """`watched`: the config's tokens, with the name of their secret in the world under "of".  `more`: `config`, and
        keys of its `organization`; `faults` of the Hub."""
        self.dir = Path(tempfile.mkdtemp(prefix="scopewatch-page-"))
        self.world, self.watched, self.schedule, self.more = world, watched, schedule, more
        self.hub, self.url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.started = []

    async def __aenter__(self):
        try:
            (self.dir / "world.yaml").write_text(json.dumps(self.world))  # JSON is YAML
            self._start("hub", "hub", "--listen", self.hub[7:], "--world", str(self.dir / "world.yaml"))
            await until(lambda: http(f"{self.hub}/_sim/routes")[0] == 200, "the simulated Hub answers")
            if faults := self.more.get("faults"):
                self.steer("faults", {"faults": faults}, "POST")
            config = self.dir / "scopewatch.yaml"
            config.write_text(json.dumps(self.config()))
            self._start("serve", "serve", "--config", str(config))
            await until(lambda: self.ready(), "the daemon answers")
            return self
        except BaseException:
            self.close()
            raise

    async def __aexit__(self, *_):
        await asyncio.to_thread(self.close)

    def config(self):
        (self.dir / "secrets").mkdir(mode=0o700)
        tokens = []
        for number, token in enumerate([{"name": "janitor", "of": "janitor"}, *self.watched]):
            path = self.dir / "secrets" / str(number)
            path.write_text(self.world["tokens"][token["of"]]["secret"])
            path.chmod(0o600)
            rest = {key: value for key, value in token.items() if key != "of"}
            tokens.append({"organization": "acme", "secret": {"file": str(path)}, **rest})
        return {
            "hub": {"endpoint": self.hub, "in_flight_horizon": "1s", "quota_share": 1, "max_in_flight": 32},
            "schedule": {"on_start": True, **self.schedule},
            "organizations": [{"name": "acme", "janitor": "janitor", "max_creations_per_day": 1000000,
                               **self.more.get("organization", {})}],
            "tokens": tokens,
            "server": {"listen": self.url[7:]},
            "store": {"url": f"sqlite://{self.dir}/state.db"},
            **self.more.get("config", {}),
        }

    def _start(self, name, *args):
        with open(self.dir / f"{name}.log", "ab") as log:
            environment = {**os.environ, "SCOPEWATCH_LOG": ""}
            process = subprocess.Popen([BIN, *args], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir,
                                       env=environment)
        self.started.append((name, process))

    def ready(self):
        for name, process in self.started:
            if process.poll() is not None:
                raise Broken(f"{name} ended: {self.log(name)[-2000:]}")
        return http(f"{self.url}/-/ready")[0] == 200

    def log(self, name):
        return (self.dir / f"{name}.log").read_text(errors="replace")

    def close(self):
        for _, process in reversed(self.started):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def get(self, what):
        status, text = http(f"{self.url}/api/v1/{what}")
        return json.loads(text) if status == 200 else {}

    def steer(self, what, body, method="PATCH"):
        status, text = http(f"{self.hub}/_sim/{what}", method, body)
        if status != 200:
            raise Broken(f"the simulated Hub refused {body}: {text}")

    async def round(self, results, seconds=40):
        """The first report of so many results."""
        def done():
            report = self.get("report")
            return report if len(report.get("results", ())) == results else None
        return await until(done, f"a round of {results} results", seconds)

    def lasting(self):
        return [one for one in self.get("findings").get("findings", ()) if not one.get("resolved_at")]

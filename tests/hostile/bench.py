"""The daemon under test: its files, its process, what it says of itself, and what it costs.

Knows the config's keys, the API and the metrics as the public contract has them, and what /proc tells of a process.
Knows nothing of which answer is right.  Serves run.py and its parts.  SCOPEWATCH_BIN names the binary.
"""

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

from judge import complaints

BIN = os.environ.get("SCOPEWATCH_BIN", str(Path(__file__).resolve().parents[2] / "target/debug/scopewatch"))
BUSY = os.getloadavg()[0] > 3 * (os.cpu_count() or 1)
# Seconds that one request may take. On a machine that does much else, more of them.
TIMEOUT = float(os.environ.get("SCOPEWATCH_HOSTILE_TIMEOUT", "6" if BUSY else "2"))
NEVER = "0 0 0 1 1 *"
EVERY_SECOND = "* * * * * *"
REASONS = {
    "allowed": {None},
    "denied": {"scope", "token_policy", "token_revoked", "sso", "mfa", "ip_restriction", "billing", "hidden", "other"},
    "undetermined": {"token_invalid", "rate_limited", "creation_cap", "no_control", "target_missing", "conflict", "billing",
                     "hub_error", "timeout", "network", "unrecognized", "intent_not_stored", "read_only"},
}

class Broken(Exception):
    """The bench itself failed, or the daemon did something that no pair can express."""


def memory():
    """A directory in memory, where there is room: the journal's syncs would otherwise wait for whatever else the disk does."""
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


def resident(pid, what="VmRSS"):
    """KiB of a process; readable also where it is not dumpable."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1])
    raise Broken(f"/proc/{pid}/status has no {what}")


def forget_peak(pid):
    """Starts the high-water mark anew. Says whether the system lets us."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        return True
    except OSError:
        return False


class Files:
    """A directory with secrets and configs."""

    def __init__(self, prefix="scopewatch-hostile-"):
        self.dir = Path(tempfile.mkdtemp(prefix=prefix, dir=memory()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir, ignore_errors=True)

    def secret(self, name, secret):
        path = self.dir / f"secret-{name}"
        if not path.exists():
            path.touch(0o600)
            path.write_text(secret + "\n")
        return str(path)

    def config(self, organizations, endpoint, name="scopewatch.yaml", port=None, schedule=EVERY_SECOND, **hub):
        entries, tokens = [], []
        for organization in organizations:
            entry, its = organization.config(self.secret)
            entries.append(entry)
            tokens += its
        config = {
            "hub": {"endpoint": endpoint, "quota_share": 1, "in_flight_horizon": "1s", "max_in_flight": 256,
                    "request_timeout": f"{TIMEOUT:g}s", **hub},
            "schedule": {"probe": schedule, "canary": schedule, "declared": schedule},
            "alerts": {"confirm_denials": 1, "resolve_after": 1, "stale_after": "7d"},
            "organizations": entries, "tokens": tokens,
            "store": {"url": f"sqlite://{self.dir}/state.db"},
            **({"server": {"listen": f"127.0.0.1:{port}", "lifecycle": True}} if port else {}),
        }
        path = self.dir / name
        path.with_suffix(".new").write_text(json.dumps(config))     # JSON is YAML
        path.with_suffix(".new").rename(path)
        return path


class Daemon:
    """`scopewatch serve`."""

    def __init__(self, files, config, port, *argv, stderr=None, **popen):
        self.url, self.log = f"http://127.0.0.1:{port}", files.dir / f"serve-{port}.log"
        self.out = open(self.log, "ab") if stderr is None else None
        stderr = stderr if self.out is None else self.out
        self.process = subprocess.Popen([BIN, "serve", "--config", str(config), *argv], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=stderr, env=environment(),
                                        cwd=files.dir, **popen)
        self.pid = self.process.pid

    def __enter__(self):
        self.until(lambda: self.get("/-/ready")[0] == 200, 30, "is ready")
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.out:
            self.out.close()

    def alive(self):
        return self.process.poll() is None

    def until(self, condition, seconds, what):
        """The condition's first true value."""
        end, last = time.monotonic() + seconds, None
        while time.monotonic() < end:
            if not self.alive():
                raise Broken(f"the daemon ended with {self.process.returncode}:\n{self.tail()}")
            try:
                value = condition()
                if value:
                    return value
            except OSError as error:
                last = error
            time.sleep(0.02)
        raise Broken(f"within {seconds} s the daemon {what} not ({last})\n{self.tail()}")

    def get(self, path, method="GET", timeout=10):
        request = urllib.request.Request(self.url + path, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def json(self, path):
        status, body = self.get(path)
        if status != 200:
            raise Broken(f"GET {path}: {status} {body[:300]!r}")
        return json.loads(body)

    def metric(self, name):
        """The value of the one series of this name."""
        for line in self.get("/metrics")[1].decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split(" ")[1])
        return None

    def finished(self):
        """When the last round ended, as the report says; nothing before the first."""
        status, body = self.get("/api/v1/report")
        return json.loads(body) if status == 200 else None

    def reload(self):
        status, body = self.get("/-/reload", "POST", timeout=40)
        if status != 200:
            raise Broken(f"reload: {status} {body[:500]!r}")

    def stop(self, seconds=25):
        """SIGTERM; says with what it ended, or None when it did not."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def tail(self, size=3000):
        return self.log.read_bytes()[-size:].decode("utf-8", "replace") if self.log.exists() else ""

    def complaints(self):
        return [f"in the log: {line}" for line in complaints(self.log.read_bytes() if self.log.exists() else b"")]

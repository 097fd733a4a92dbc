"""The bench: where the binary runs, as whom, with which environment; what it wrote, by channel.

Knows how to start processes as a user without rights, to crawl a daemon and to read a directory.  Knows nothing of
what a leak is.  Serves drives.py and controls.py.  SCOPEWATCH_BIN names the binary.
"""

import http.client
import json
import os
import pwd
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = os.environ.get("SCOPEWATCH_BIN", str(ROOT / "target/debug/scopewatch"))
PROXIES = (
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "FTP_PROXY",
    "REQUEST_METHOD",
)
NEVER = "0 0 0 1 1 *"


class Broken(Exception):
    """The bench itself does not work, so that nothing was tested."""


def nobody():
    """(uid, gid) of the user that the binary runs as: one without rights where we may choose, else our own."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
        return entry.pw_uid, entry.pw_gid
    except KeyError:
        return 65534, 65534


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            value = condition()
            if value:
                return value
        except (OSError, ValueError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    raise Broken(f"within {seconds} s expected: {what}")


class Captures:
    """Channel -> what was written there, and a word of what drove it."""

    def __init__(self):
        self.lock, self.bytes, self.drives, self.wrong = threading.Lock(), {}, {}, []

    def _count(self, channel, what):
        drives = self.drives.setdefault(channel, {})
        drives[what] = drives.get(what, 0) + 1

    def add(self, channel, drive, data):
        data = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        with self.lock:
            self.bytes.setdefault(channel, []).append((drive, data))
            self._count(channel, drive)

    def data(self, channel):
        """What was written there, piece by piece."""
        return [data for _, data in self.bytes.get(channel, ())]

    def expect(self, channel, what, right):
        """A condition of a channel that is no search for bytes."""
        with self.lock:
            self._count(channel, what)
            if not right:
                self.wrong.append((channel, what))


def of_others(log):
    """The lines that other crates wrote, in either format."""
    found = []
    for line in log.splitlines():
        if line.startswith(b"{"):
            try:
                ours = json.loads(line).get("module", "").startswith("scopewatch")
            except ValueError:
                ours = False
        else:
            module = re.match(rb"\S+ +[A-Z]+ ([\w:]+):", line)
            ours = (
                not module
                or (ROOT / "src" / module[1].split(b":")[0].decode()).exists()
                or (ROOT / "src" / (module[1].split(b":")[0].decode() + ".rs")).exists()
            )
        if not ours:
            found.append(line)
    return b"\n".join(found)


def keep_log(captures, drive, log):
    captures.add("L1", drive, log)
    captures.add("L2", drive, of_others(log))


class Bench:
    def __init__(self, keep=False):
        self.keep, self.user, self.captures, self.running = keep, nobody(), Captures(), []
        memory = Path("/dev/shm")
        roomy = (
            memory.is_dir()
            and os.access(memory, os.W_OK)
            and shutil.disk_usage(memory).free > 1 << 30
            and not os.statvfs(memory).f_flag & os.ST_NOEXEC
        )
        self.dir = Path(tempfile.mkdtemp(prefix="scopewatch-leaks-", dir=str(memory) if roomy else None))
        self.dir.chmod(0o755)
        self.bin = self.dir / "scopewatch"
        shutil.copy(BIN, self.bin)  # where that user may start it
        self.bin.chmod(0o755)
        self.count = 0
        try:
            works = self.run([self.bin, "--version"], "/")[0] == 0
        except OSError:
            works = False
        if not works:
            raise Broken(f"{self.bin} cannot be run" + (" by a user without rights" if self.user else ""))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()
        if self.keep:
            print(f"the files of this run are in {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    # -- files ---------------------------------------------------------------------------------------------------
    def own(self, path):
        if self.user:
            os.chown(path, *self.user)
        return path

    def folder(self, name):
        self.count += 1
        path = self.dir / f"{self.count:03d}-{name}"
        path.mkdir()
        path.chmod(0o700)
        return self.own(path)

    def file(self, path, content, mode=0o600):
        """In one piece, also over one that nobody may write to."""
        new = path.with_name(path.name + ".new")
        new.write_bytes(content if isinstance(content, bytes) else content.encode())
        new.chmod(mode)
        return self.own(new).rename(path)

    # -- processes -----------------------------------------------------------------------------------------------
    def environment(self, extra=None):
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.lower().endswith("_proxy") and not k.startswith(("SCOPEWATCH", "HF_", "RUST"))
        }
        # What makes careless programs talk more.
        talk = {
            "NO_COLOR": "1",
            "RUST_LOG": "trace",
            "RUST_BACKTRACE": "full",
            "RUST_LIB_BACKTRACE": "1",
            "HOME": str(self.dir),
        }
        return {**kept, **talk, **(extra or {})}

    def start(self, argv, cwd, env=None, out=subprocess.PIPE, err=subprocess.PIPE, limits=()):
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        core = "unlimited" if hard == resource.RLIM_INFINITY else hard
        argv = ["prlimit", f"--core={core}:{core}", *limits, *argv]
        who = {"user": self.user[0], "group": self.user[1], "extra_groups": []} if self.user else {}
        process = subprocess.Popen(
            [str(a) for a in argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=cwd,
            env=self.environment(env),
            **who,
        )
        self.running.append(process)
        return process

    def run(self, argv, cwd, env=None, timeout=300, limits=()):
        """(exit code, stdout, stderr)."""
        process = self.start(argv, cwd, env, limits=limits)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Broken(f"did not end within {timeout} s: {argv}\n{process.communicate()[1][-2000:]!r}") from None
        self.running.remove(process)
        return process.returncode, out, err

    # -- reading -------------------------------------------------------------------------------------------------
    @staticmethod
    def swallow(folder):
        """Every file below, with its name."""
        found = []
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                found.append(str(path.relative_to(folder)).encode() + b"\n" + path.read_bytes() + b"\n")
        return b"".join(found)


class Spoken:
    """Whatever listens on a port and speaks HTTP, or should."""

    def __init__(self, port):
        self.port = port

    def ask(self, method, path, headers=(), body=b""):
        """The whole answer, head and all, as it came."""
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "Connection: close",
            *headers,
            *([f"Content-Length: {len(body)}"] if body else []),
        ]
        return self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def raw(self, data):
        with socket.create_connection(("127.0.0.1", self.port), 10) as stream:
            stream.settimeout(20)
            answer = b""
            try:
                stream.sendall(data)
                while piece := stream.recv(65536):
                    answer += piece
            except (ConnectionError, TimeoutError):
                pass
            return answer


class Daemon(Spoken):
    """`scopewatch serve` on a config, as long as it lives."""

    def __init__(self, bench, home, config, *argv, env=None, prefix=(), mode=0o600):
        super().__init__(free_port())
        self.bench, self.home = bench, home
        config["server"]["listen"] = f"127.0.0.1:{self.port}"
        self.path = bench.file(home / "serve.yaml", json.dumps(config), mode)
        self.log = open(home / "serve.log", "wb")
        self.process = bench.start(
            [*prefix, bench.bin, "serve", "--config", self.path, *argv], home / "cwd", env, out=self.log, err=self.log
        )

    def ready(self):
        def asked():
            if self.process.poll() is not None:
                raise Broken(
                    f"serve ended with {self.process.returncode}:\n{self.output()[-3000:].decode(errors='replace')}"
                )
            return b" 200 " in self.ask("GET", "/-/ready").split(b"\r\n", 1)[0]

        wait_until(asked, "the daemon is ready", 120)
        return self

    def report(self):
        answer = self.ask("GET", "/api/v1/report")
        return json.loads(answer.split(b"\r\n\r\n", 1)[1]) if b" 200 " in answer[:20] else None

    def round_after(self, finished="", seconds=300):
        """The first report that is newer."""

        def asked():
            if self.process.poll() is not None:
                raise Broken(
                    f"serve ended with {self.process.returncode}:\n{self.output()[-3000:].decode(errors='replace')}"
                )
            report = self.report()
            return report if report and report["finished_at"] > finished else None

        return wait_until(asked, "a round ends", seconds)

    def output(self):
        self.log.flush()
        return (self.home / "serve.log").read_bytes()

    def end(self, number=signal.SIGTERM, seconds=60):
        self.process.send_signal(number)
        if number == signal.SIGSEGV:
            # Rust looks whether it was the stack that overflowed; only the next one ends the process.
            time.sleep(0.2)
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Broken(f"signal {number}: did not end within {seconds} s") from None

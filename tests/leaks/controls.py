"""For every channel somebody who leaks there, so that a clean channel means something.

Each stand-in does what a careless program does, and is captured as the daemon is: the same pipes, crawls, listeners,
directories and views of /proc.  Its secret must be found.  Serves run.py.
"""

import http.client
import os
import re
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import time
import urllib.error
import urllib.request

import drives
import machine
import source
from bench import ROOT, Captures, Spoken, of_others
from liar import Ear, Liar, Server
from lies import redirect
from sieve import FORMS, everything, spelled


class Leaky(Server):
    """Answers everything with what it knows."""

    def __init__(self, text):
        self.text = text
        super().__init__()

    def converse(self, stream, memory):
        if stream.recv(65536):
            stream.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(self.text) + self.text
            )


def fetch(url, headers, proxies=None, opener=()):
    """What a usual client gets, whatever the status."""
    built = urllib.request.build_opener(urllib.request.ProxyHandler(proxies or {}), *opener)
    try:
        with built.open(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return str(answer.headers).encode() + answer.read()
    except urllib.error.HTTPError as error:
        return str(error.headers).encode() + error.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return repr(error).encode()


class Controls:
    """Runs every stand-in; `captures` is what was seen of them."""

    def __init__(self, bench, people, mint, minted, shown):
        self.bench, self.people, self.captures = bench, people, Captures()
        self.mark, self.minted, self.shown = mint.make("control"), minted, shown
        self.home = bench.folder("controls")
        self.hub = Liar(minted)
        self.bearer = {"Authorization": f"Bearer {self.mark.text}"}
        self.leak = bench.file(self.home / "leak", everything(self.mark.text))
        for step in (self.written, self.asked, self.served, self.stored, self.process, self.tracked):
            step()

    def written(self):
        """L1 to L5, L20: what a program writes to its log, and of parsers, panics and clients."""
        out = self.bench.run(["sh", "-c", 'cat "$1" >&2', "sh", self.leak], self.home)[2]
        self.captures.add("L1", "a careless logger", out)
        lines = b"".join(
            b"2026-01-01T00:00:00Z TRACE hyper::proto::h1: headers={authorization: "
            + line.replace(b"\n", b" ")
            + b"}\n"
            for line in (spelled(self.mark.text, form) for form in FORMS)
        )
        self.captures.add("L2", "another crate that shows a header", of_others(lines))
        self.captures.add("L3", "a parser that shows the line", b"error at line 1: " + out)
        self.captures.add("L4", "the usual panic hook", self.shown)
        self.captures.add(
            "L5", "a client that shows the address", fetch(f"http://user:{self.mark.text}@127.0.0.1/", {})
        )
        self.captures.add("L20", "a dump of memory in the log", out)

    def asked(self):
        """L6 to L11, L15: a usual HTTP client at the same Hub and the same strangers."""
        world = self.hub.world
        said = b""
        for _ in range(9):
            said += fetch(f"{self.hub.url}/api/whoami-v2", self.bearer)
        self.captures.add("L6", "a client that keeps error bodies", said)
        self.captures.add("L7", "a client that keeps whole answers", said)
        world.org("acme")
        world.member("acme", "somebody", "write")
        world.token("follows", self.mark.text, "somebody")
        self.hub.lies["follows"] = redirect(302, "port")
        fetch(f"{self.hub.url}/api/whoami-v2", self.bearer)
        self.captures.add("L8", "a client that follows", self.hub.ear.everything())
        self.captures.expect("L8", "nobody came", self.hub.ear.connections == 0)
        del self.hub.lies["follows"]
        fetch(
            f"{self.hub.url}/api/models?search={self.mark.text}",
            {"Cookie": f"token={self.mark.text}", "Referer": f"http://x/?{self.mark.text}"},
        )
        self.captures.add("L9", "a client with cookies and a referer", self.hub.apart_from_authorization())
        proxy = Ear()
        fetch("http://hub.invalid/api", self.bearer, {"http": proxy.url})
        self.captures.add("L10", "a client that heeds the environment", proxy.everything())
        tee = machine.Tee(None, plain=True)
        fetch(f"http://127.0.0.1:{tee.port}/", self.bearer)
        self.captures.add("L11", "a client without TLS", tee.everything())
        self.captures.expect("L11", "no key is logged", not self.key_logged())
        sink = Ear()
        with socket.create_connection(("127.0.0.1", sink.port)) as stream:
            body = everything(self.mark.text)
            stream.sendall(b"POST /api/v2/alerts HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            stream.recv(100)
        self.captures.add("L15", "an alert that tells all", sink.everything())
        for server in (proxy, tee, sink):
            server.close()

    def key_logged(self):
        """Whether a client that heeds SSLKEYLOGFILE leaves its keys there."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ROOT / "src/probe/tests/localhost.pem")
        tee, keys = machine.Tee(context), self.home / "keys.log"
        mine = ssl.create_default_context(cafile=str(ROOT / "src/probe/tests/ca.pem"))
        mine.keylog_filename = str(keys)
        with socket.create_connection(("127.0.0.1", tee.port)) as plain, mine.wrap_socket(
            plain, server_hostname="localhost"
        ) as stream:
            stream.sendall(b"GET / HTTP/1.1\r\n\r\n")
            stream.recv(100)
        tee.close()
        return keys.exists() and keys.stat().st_size > 0

    def served(self):
        """L12, L13, L21: the same crawl of a server that answers everything, debug routes too."""
        leaky = Leaky(everything(self.mark.text))
        drives.crawl(Spoken(leaky.port), self.captures, self.people)
        leaky.close()
        self.captures.expect(
            "L21", "no debug server in the binary", not any(w in b"\0/debug/pprof/heap\0" for w in source.FORBIDDEN)
        )

    def stored(self):
        """L14: a database with its log, and a file beside it."""
        folder = self.home / "data"
        folder.mkdir()
        kept = sqlite3.connect(folder / "state.db")
        kept.executescript("PRAGMA journal_mode=WAL; CREATE TABLE t (name TEXT);")
        kept.execute("INSERT INTO t VALUES (?)", (self.mark.text,))
        kept.commit()
        (folder / "draft").write_bytes(everything(self.mark.text))
        self.captures.add("L14", "a database that keeps tokens", self.bench.swallow(folder))
        kept.close()

    def process(self):
        """L16 to L19: a process that does nothing about itself."""
        folder = self.bench.folder("core")
        crash = self.bench.start(["sh", "-c", "kill -SEGV $$"], folder, {"LEAK": self.mark.text})
        crash.wait()
        core = self.bench.swallow(folder)
        self.captures.add("L16", "a core file", core)
        piped = open("/proc/sys/kernel/core_pattern", "rb").read()[:1] in (b"|", b"/")
        idle = self.bench.start(
            ["sh", "-c", "sleep 60 & wait", "sh", f"--token={self.mark.text}"], folder, {"LEAK": self.mark.text}
        )
        time.sleep(0.3)
        pid = idle.pid
        if piped and not core:  # the core lies elsewhere; that there may be one can still be seen
            self.captures.add(
                "L16", "a process that may be dumped", b"" if machine.undumpable(pid) else self.mark.text.encode()
            )
        self.captures.add("L17", "/proc of a usual process", machine.looked(self.bench, pid))
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            self.captures.add("L18", "cmdline of a usual process", file.read())
        self.captures.add("L19", "children of a usual process", machine.children(pid))
        for child in machine.child_pids(pid):
            os.kill(child, signal.SIGKILL)
        idle.kill()
        idle.wait()

    def tracked(self):
        """L22: a repository with somebody's token in a file."""
        tree = self.home / "repository"
        tree.mkdir()
        (tree / "fixture.yaml").write_text(f"token: {self.mark.text}\n")
        for argv in (("init", "-q"), ("add", ".")):
            subprocess.run(
                ["git", "-C", str(tree), *argv], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        found = source.repository(self.bench, self.people, tree)
        self.captures.add("L22", "a tracked token", b"\n".join(token for _, token in found))
        shutil.rmtree(tree)

    def found(self, sieve, channel):
        """Whether what was planted in this channel was seen there."""
        marks = {mark for data in self.captures.data(channel) for mark, _ in sieve.scan(data)}
        if channel == "L7":
            return bool(marks & set(self.minted))
        return any(re.match("control|panic", mark.name) for mark in marks)

    def forms(self, sieve):
        """The forms in which the secret was found where it stood in that form alone."""
        return [
            form for form in FORMS if any(mark is self.mark for mark, _ in sieve.scan(spelled(self.mark.text, form)))
        ]

    # Conditions of the channels that a leaking stand-in must have broken.
    BROKEN = (
        ("L8", "nobody came"),
        ("L11", "no key is logged"),
        ("L21", "debug routes answer 404"),
        ("L21", "no debug server in the binary"),
    )

    def unbroken(self):
        return [what for what in self.BROKEN if what not in self.captures.wrong]

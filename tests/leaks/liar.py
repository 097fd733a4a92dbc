"""A Hub that answers rightly and repeats the credential while it does; or that lies, as lies.py has it.

Takes right answers from tests/blackbox/hub.py, and remembers every byte that it was sent.  Ear is the stranger next
door, who only listens: whoever is led to him must not come.  Serves worlds.py, drives.py and controls.py.
"""

import json
import re
import socket
import sys
import threading
import traceback
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "blackbox"))

from hub import Hub  # noqa: E402  (the second Hub of the scenarios)

import lies  # noqa: E402


class Asked:
    """One request, and what a right Hub would answer."""

    def __init__(self, method, path, headers, body, hub):
        self.method, self.headers, self.body, self.hub = method, headers, body, hub
        self.path, _, self.query = path.partition("?")
        sent = headers.get("authorization", "")
        self.secret = sent[7:] if sent.lower().startswith("bearer ") else hub.latest
        if sent:
            hub.latest = self.secret
        self.token = hub.world.by_secret(self.secret) if sent else None
        hub.count += 1
        self.turn = hub.count

    def right(self):
        try:
            body = json.loads(self.body) if self.body else {}
        except ValueError:
            body = {}
        sent = self.headers.get("authorization")
        return self.hub.world.answer(
            self.method, self.path, urllib.parse.parse_qs(self.query), self.token, self.secret if sent else None, body
        )


class Server:
    """Accepts on loopback, a thread a connection, and remembers what it heard."""

    def __init__(self, host="127.0.0.1"):
        self.socket = socket.create_server((host, 0), backlog=512)
        self.port = self.socket.getsockname()[1]
        self.host, self.url = f"{host}:{self.port}", f"http://{host}:{self.port}"
        self.lock, self.heard, self.connections, self.broken = threading.Lock(), [], 0, []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                stream, _ = self.socket.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
            threading.Thread(target=self._guarded, args=(stream,), daemon=True).start()

    def _guarded(self, stream):
        memory = bytearray()
        with self.lock:
            self.heard.append(memory)
        try:
            with stream:
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                stream.settimeout(60)
                self.converse(stream, memory)
        except OSError:
            pass  # whoever spoke has gone
        except Exception:  # told at the end: a Hub that breaks shows nothing
            self.broken.append(traceback.format_exc())

    def everything(self):
        """What was heard, connection by connection."""
        with self.lock:
            return b"\n".join(bytes(memory) for memory in self.heard)

    def converse(self, stream, memory):
        raise NotImplementedError

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()


class Ear(Server):
    """The stranger: takes what comes and says 200."""

    def converse(self, stream, memory):
        data = stream.recv(65536)
        while data:
            memory.extend(data)
            if b"\r\n\r\n" in data:
                stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
            data = stream.recv(65536)


class Liar(Server):
    """The Hub.  `lies`: {name of a token: a function of LIES}; all others get what `usual` says."""

    def __init__(self, minted):
        self.world, self.lies, self.usual, self.latest, self.count = Hub(), {}, lies.mild, "", 0
        self.ear, self.ear2 = Ear(), Ear("127.0.0.2")
        self._minted, self.told = minted, {}
        super().__init__()
        self.world.url = self.url

    def minted(self, asked):
        """A credential that the Hub makes for whoever asks."""
        return self._minted[asked.turn % len(self._minted)].text

    def shaped(self, asked):
        """One of them that looks like a token: somebody pasted it where a name was asked for."""
        known = [mark.text for mark in self._minted if mark.text.startswith("hf_")]
        return known[asked.turn % len(known)]

    def converse(self, stream, memory):
        held = b""
        while True:
            while b"\r\n\r\n" not in held:
                data = stream.recv(65536)
                if not data:
                    return
                memory.extend(data)
                held += data
            head, held = held.split(b"\r\n\r\n", 1)
            lines = head.decode("latin-1").split("\r\n")
            method, path, _ = lines[0].split(" ")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
            length = int(headers.get("content-length", 0))
            while len(held) < length:
                data = stream.recv(65536)
                if not data:
                    return
                memory.extend(data)
                held += data
            body, held = held[:length], held[length:]
            asked = Asked(method, path, headers, body, self)
            lie = self.lies.get(asked.token.name) if asked.token else None
            answer = (lie or self.usual)(asked, self)
            with self.lock:
                name = asked.token.name if asked.token else "anonymous"
                self.told[name] = self.told.get(name, 0) + 1
            if not answer:
                return
            stream.sendall(answer)
            if lie in lies.LAST:
                return

    def apart_from_authorization(self):
        """Everything that was heard, without the one header in which a token belongs."""
        return re.sub(rb"(?im)^authorization: Bearer [^\r\n]*\r\n", b"", self.everything())

"""The hostile Hub: raw sockets on loopback, honest but where somebody ordered otherwise.

Knows HTTP/1.1 just well enough to take requests apart and to write any bytes as an answer; which organization is
struck in which call by which behaviour; how long the client kept every struck connection, and what no honest client
does (signs for nobody, asks for what is on no list, reuses a connection after a change).  Now and then ends a kept
connection as any honest server may: with the next request on its way.  Knows nothing of what an answer means.  Serves
pairs.py, memory.py and limits.py.
"""

import asyncio
import email.utils
import json
import socket
import struct
import threading
import time
import urllib.parse
from collections import Counter, deque
from dataclasses import dataclass, field

from world import PROBES, Asked

QUESTIONS = {permission for permission, *_ in PROBES}
REASONS = {200: "OK", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 409: "Conflict"}


# Of so many right answers to a read, one is the last on its connection, and no word says so. What is asked there next
# nobody hears, whoever asks; a strike that ends its connection does the same to others, but only if both are quick.
TIRED_AFTER = 20

CHUNKS_BEGIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


class Gone(Exception):
    """The client has closed the connection."""


@dataclass
class Strike:
    """One behaviour in place of every answer of one call of one organization."""
    call: str
    behaviour: object
    lost: bool = False                  # what is asked for never takes effect
    times: int = 1_000_000              # the strikes that there are
    hits: list = field(default_factory=list)    # (when, role, shape)

    def meets(self, call):
        return self.call == call or (self.call == "*" and call in QUESTIONS)


@dataclass
class Span:
    """One struck request, as the socket saw it."""
    call: str
    behaviour: str
    seconds: float
    sent: int                           # bytes that the Hub could write
    ended_by: str                       # client | hub


def head(status, headers, body=None, line=None):
    """The head of an answer; with the body's length, where there is a body, and the date, unless it is given."""
    lines = [line if line is not None else f"HTTP/1.1 {status} {REASONS.get(status, 'Odd')}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if not any(name == "Date" for name, _ in headers):
        lines.append("Date: " + email.utils.formatdate(usegmt=True))
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Link(asyncio.Protocol):
    """One connection of the client."""

    def __init__(self, hub):
        self.hub, self.buffer, self.busy, self.task = hub, b"", False, None
        self.used = self.changed = self.lost = self.tired = False
        self.sent = 0

    def connection_made(self, transport):
        self.transport, self.made, self.begun = transport, time.monotonic(), None
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.gone_event, self.room = asyncio.Event(), asyncio.Event()
        self.room.set()
        self.hub.opened(self)
        if self.hub.whole is not None:
            self.hub.whole(self)

    def connection_lost(self, _):
        self.lost = True
        self.gone_event.set()
        self.room.set()
        self.hub.closed(self)

    def pause_writing(self):
        self.room.clear()

    def resume_writing(self):
        self.room.set()

    def data_received(self, data):
        if not self.buffer:
            # Not when the connection was made: a client that meanwhile got another one keeps this for later.
            self.begun = time.monotonic()
            if not self.used:
                self.hub.rested = max(self.hub.rested, self.begun - self.made)
        self.buffer += data
        if self.busy:
            if self.task is None:
                self.hub.wrong("spoke before it was answered")
            return
        self.take()

    def take(self):
        """One request, if it is whole."""
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        lines = self.buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        size = end + 4 + int(headers.get("content-length", 0))
        if len(self.buffer) < size:
            return
        if self.tired:
            self.hub.swallow(self)
            return
        body, self.buffer = self.buffer[end + 4:size], self.buffer[size:]
        method, target, _ = lines[0].split(" ")
        self.busy = self.used = True
        if self.changed:
            self.hub.wrong(f"{method} {target} on the connection of a change")
        self.changed = method != "GET"
        self.hub.serve(self, method, target, headers, body)

    # -- for whoever answers ---------------------------------------------------------------------------------------
    def answer(self, data):
        """Bytes that are the whole of an answer; the connection goes on."""
        self.sent += len(data)
        self.transport.write(data)
        self.next()

    def next(self):
        self.busy, self.task = False, None
        if self.buffer:
            self.take()

    async def send(self, data):
        if self.lost:
            raise Gone
        self.transport.write(data)
        self.sent += len(data)
        await self.room.wait()
        await asyncio.sleep(0)
        if self.lost:
            raise Gone

    async def pause(self, seconds):
        """Sleeps; ends at once when the client has had enough."""
        try:
            await asyncio.wait_for(self.gone_event.wait(), seconds)
        except asyncio.TimeoutError:
            return
        raise Gone

    async def gone(self):
        """Waits for the client to close; at most a minute."""
        await self.pause(60)

    def end(self):
        self.transport.close()

    def reset(self):
        """RST, at once."""
        link = self.transport.get_extra_info("socket")
        if link is not None and link.fileno() >= 0:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class Hub:
    """The server, in a thread of its own. `with Hub() as hub:`"""

    def __init__(self, ssl=None):
        self.organizations, self.by_secret, self.strikes = {}, {}, {}
        self.violations, self.spans, self.calls = [], [], Counter()
        self.open, self.peak, self.requests, self.lag = 0, 0, 0, 0.0
        self.answered = self.swallowed = 0
        self.rested = 0.0               # seconds from a connection to its first request, at most
        self.creations = deque(maxlen=10_000)   # (when, (organization, token, type)), as they were heard
        self.whole = None               # what is done to every connection, instead of listening to it
        self.links, self.ssl = set(), ssl

    # -- life ------------------------------------------------------------------------------------------------------
    def __enter__(self):
        started = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self.thread.start()
        if not started.wait(10):
            raise RuntimeError("the hostile Hub did not start")
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def _run(self, started):
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(self._failed)
        self.port = 0
        self.loop.run_until_complete(self.listen())
        self.port = self.server.sockets[0].getsockname()[1]
        # What no token may ever be shown to: another port, another host. They listen, and hear nothing.
        for host in ("127.0.0.1", "127.0.0.2"):
            port = self.port if host == "127.0.0.2" else 0
            other = self.loop.run_until_complete(self.loop.create_server(lambda: Elsewhere(self), host, port))
            if host == "127.0.0.1":
                self.elsewhere = other.sockets[0].getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if self.ssl else 'http'}://{self.host}"
        self.loop.create_task(self._watch())
        started.set()
        self.loop.run_forever()
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.close()

    async def listen(self):
        """Opens the door, at the same port when it was closed."""
        self.server = await self.loop.create_server(lambda: Link(self), "127.0.0.1", self.port, backlog=1024, ssl=self.ssl)

    def _failed(self, _, context):
        error = context.get("exception")
        if error is not None and not isinstance(error, (OSError, Gone)):
            self.wrong(f"the Hub itself failed: {error!r}")

    async def _watch(self):
        """How late this loop runs: what it answers late, it must not hold against anybody."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.05)
            self.lag = max(self.lag, time.monotonic() - before - 0.05)

    def do(self, work):
        """Runs this in the Hub's own thread."""
        done, result = threading.Event(), []

        def run():
            try:
                result.append(work())
            finally:
                done.set()
        self.loop.call_soon_threadsafe(run)
        if not done.wait(60) or not result:
            raise RuntimeError("the hostile Hub hangs, or failed at what it was told to do")
        return result[0]

    # -- the world -------------------------------------------------------------------------------------------------
    def add(self, organization):
        self.organizations[organization.name] = organization
        for role, secret in organization.secrets.items():
            self.by_secret[secret] = (organization, role)

    def wrong(self, what):
        if len(self.violations) < 1000:
            self.violations.append(what)

    # -- connections -----------------------------------------------------------------------------------------------
    def opened(self, link):
        self.links.add(link)
        self.open += 1
        self.peak = max(self.peak, self.open)

    def closed(self, link):
        self.links.discard(link)
        self.open -= 1

    def serve(self, link, method, target, headers, body):
        self.requests += 1
        bearer = headers.get("authorization")
        organization, role = None, ""
        path, _, query = target.partition("?")
        if bearer is not None:
            organization, role = self.by_secret.get(bearer.removeprefix("Bearer "), (None, ""))
            if organization is None:
                self.wrong(f"{method} {target}: signed by nobody that is known")
        part = path.split("/")
        named = self.organizations.get(part[3]) if len(part) > 3 else None
        try:
            asked = Asked(method, path, {k: v[0] for k, v in urllib.parse.parse_qs(query).items()}, role,
                          json.loads(body) if body else None)
        except ValueError:
            asked = None
        organization = organization or named
        reply = organization.reply(asked) if organization is not None and asked is not None else None
        if reply is None:
            self.wrong(f"{method} {target} by {role or 'nobody'}: asked for what is on no list")
            return link.answer(head(404, (), b""))
        if headers.get("accept-encoding") != "identity" or headers.get("host") != self.host:
            self.wrong(f"{method} {target}: odd headers {headers.get('accept-encoding')} {headers.get('host')}")
        self.calls[organization.kind, reply.call] += 1
        if target == "/api/repos/create" and role:
            self.creations.append((time.time(), (organization.name, organization.tokens[role], asked.body.get("type", "model"))))
        strike = self.strikes.get(organization.name)
        if (strike is None or not strike.meets(reply.call) or reply.shape in strike.behaviour.never
                or len(strike.hits) >= strike.times):
            if reply.effect:
                reply.effect()
            said = reply.said
            self.answered += method == "GET"
            link.tired = method == "GET" and self.answered % TIRED_AFTER == 0
            return link.answer(head(said.status, said.headers, said.body) + said.body)
        strike.hits.append((time.time(), role, reply.shape))
        if reply.effect and not strike.lost:
            reply.effect()
        link.task = self.loop.create_task(self.strike(link, strike, reply))
        return None

    def swallow(self, link):
        """Ends a connection on which somebody asks, in turn in both ways that there are."""
        self.swallowed += 1
        link.busy = True
        if self.swallowed % 2:
            link.end()
        else:
            link.reset()

    async def strike(self, link, strike, reply):
        begun, before, ended_by = link.begun, link.sent, "hub"
        try:
            whole = await strike.behaviour.act(link, reply.said, Place(self, len(strike.hits)))
        except Gone:
            whole, ended_by = False, "client"
        span = Span(strike.call, strike.behaviour.name, time.monotonic() - begun, link.sent - before, ended_by)
        self.spans.append(span)
        if whole:
            link.next()
        else:
            link.end()


@dataclass(frozen=True)
class Place:
    """Where a behaviour may point to, and how often it struck here."""
    hub: Hub
    turn: int

    @property
    def here(self):
        return f"127.0.0.1:{self.hub.port}"

    @property
    def elsewhere(self):
        return f"127.0.0.1:{self.hub.elsewhere}"


class Elsewhere(asyncio.Protocol):
    """Another origin, which should never see anybody."""

    def __init__(self, hub):
        self.hub = hub

    def connection_made(self, transport):
        self.hub.wrong("somebody connected to another origin")
        self.transport = transport

    def data_received(self, data):
        self.hub.wrong(f"another origin heard {len(data)} bytes: {data[:40]!r}")
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK")
        self.transport.close()

"""The behaviours: what a hostile Hub does with an answer, byte by byte.

Each knows what it does to a right answer and, by the rules of HTTP and the documents alone, for which shapes of answer
it spoils nothing, or says what an honest Hub might say, too.  Knows nothing of calls, checks or the daemon.  Serves
pairs.py, which decides what follows from it, memory.py and limits.py.  `zoo_content` holds those of the body.
"""

import gzip
import zlib
from dataclasses import dataclass

from server import head
from world import Said

REFUSALS = frozenset("refused hidden closed unsigned missing exists".split())
GRANTS = frozenset("ok place list object created private described canary overview whoami inventory account groups group "
                   "listing commits acknowledged".split())
EVERY = REFUSALS | GRANTS
ZOO = []


@dataclass(frozen=True)
class Behaviour:
    name: str
    family: str
    act: object                 # coroutine (link, said, place): whether the connection may go on
    harmless: frozenset         # shapes for which the right answer is accepted as well as none
    never: frozenset            # shapes for which nobody could tell it from an honest answer
    reach: str = "call"         # what else it says something about: call | token | user
    slow: bool = False          # it ends with the deadline
    lasts: bool = False         # by the Hub's word it holds on for longer than a test
    moves: bool = False         # it says that a repository is elsewhere, or another: a person decides
    latches: bool = False       # many in a row say that a clock is wrong: nothing is created until a person says so


def shapes(words):
    """`*`, `grants`, `refusals` or names of shapes."""
    found = set()
    for word in words.split():
        found |= {"*": EVERY, "grants": GRANTS, "refusals": REFUSALS}.get(word, frozenset((word,)))
    if not found <= EVERY:
        raise ValueError(words)
    return frozenset(found)


def behaviour(family, name, harmless="", never="", **more):
    """Registers a coroutine, or a function that makes bytes or `Said` of the right answer."""
    def register(act):
        wanted = Behaviour(name, family, act, shapes(harmless), shapes(never), **more)
        if any(other.name == name for other in ZOO):
            raise ValueError(f"two behaviours are called {name}")
        ZOO.append(wanted)
        return act
    return register


def written(said, line=None):
    """An answer in bytes."""
    return head(said.status, said.headers, said.body, line) + said.body


def bytes_of(make, goes_on=True):
    """Of a function that makes the whole answer."""
    async def act(link, said, place):
        made = make(said, place)
        await link.send(written(made) if isinstance(made, Said) else made)
        return goes_on
    return act


def raw(family, name, make, harmless="", never="", goes_on=False, **more):
    behaviour(family, name, harmless, never, **more)(bytes_of(make, goes_on))


def begin(said, *extra, line=None):
    """A head without a length."""
    return head(said.status, (*said.headers, *extra), None, line)


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


CHUNKED = ("Transfer-Encoding", "chunked")

# -- connections that break or stall -----------------------------------------------------------------------------------


def breaking(name, pieces, reset=False):
    """Sends what `pieces` makes of the answer, then closes."""
    @behaviour("connection", name)
    async def act(link, said, _place):
        await link.send(pieces(said))
        if reset:
            link.reset()
        return False


breaking("closed, unanswered", lambda said: b"")
breaking("reset, unanswered", lambda said: b"", reset=True)
breaking("reset after the status line", lambda said: b"HTTP/1.1 %d OK\r\n" % said.status, reset=True)
breaking("reset after the head", lambda said: head(said.status, said.headers, said.body), reset=True)
breaking("reset in the body", lambda said: written(said)[:-1], reset=True)
breaking("closed in the head", lambda said: written(said)[:30])
breaking("closed before the head ends", lambda said: head(said.status, said.headers, said.body)[:-2])
breaking("closed in the body", lambda said: written(said)[:-1])
breaking("closed in a chunk", lambda said: begin(said, CHUNKED) + chunk(said.body)[:-3])
breaking("closed before the last chunk", lambda said: begin(said, CHUNKED) + chunk(said.body))


@behaviour("connection", "half closed, silent")
async def half_closed(link, _said, _place):
    link.transport.write_eof()
    await link.gone()


def stalling(name, pieces, harmless=""):
    """Sends what `pieces` makes of the answer, then nothing more."""
    @behaviour("slow", name, harmless, slow=True)
    async def act(link, said, _place):
        await link.send(pieces(said))
        await link.gone()


stalling("silence", lambda said: b"")
stalling("silence after the status line", lambda said: b"HTTP/1.1 %d OK\r\n" % said.status)
stalling("silence before the head ends", lambda said: head(said.status, said.headers, said.body)[:-2])
stalling("silence after the head", lambda said: head(said.status, said.headers, said.body))
stalling("silence in the body", lambda said: written(said)[:-1])
stalling("silence before the last chunk", lambda said: begin(said, CHUNKED) + chunk(said.body))
stalling("silence instead of the end", lambda said: begin(said) + said.body)


def dripping(name, start, drops, pause):
    @behaviour("slow", name, slow=True)
    async def act(link, said, _place):
        await link.send(start(said))
        for drop in drops(said):
            await link.send(drop)
            await link.pause(pause)
        await link.gone()


def letters(text):
    return [text[at:at + 1] for at in range(len(text))]


dripping("a byte of the head a second", lambda said: b"", lambda said: letters(written(said)), 1)
dripping("a byte of the body a second", lambda said: head(said.status, said.headers, b"x" * 600),
         lambda said: letters(b" " * 600), 1)
dripping("a chunk of one byte a second", lambda said: begin(said, CHUNKED), lambda said: [chunk(b" ")] * 600, 1)
dripping("a header a second", lambda said: b"HTTP/1.1 %d OK\r\n" % said.status, lambda said: [b"X-Y: z\r\n"] * 600, 1)
dripping("an interim answer a second", lambda said: b"", lambda said: [b"HTTP/1.1 100 Continue\r\n\r\n"] * 600, 1)


@behaviour("slow", "slow, but in time", harmless="*")
async def slow_in_time(link, said, _place):
    for drop in (head(said.status, said.headers, said.body), said.body[:1], said.body[1:]):
        await link.send(drop)
        await link.pause(0.1)
    return True


def endless(family, name, start, drop, pause=None, **more):
    """Goes on until the client has had enough. With a pause where every byte costs it work: the build under test is not
    optimized, and no network is as fast as loopback."""
    @behaviour(family, name, **more)
    async def act(link, said, _place):
        await link.send(start(said))
        while True:
            await link.send(drop)
            if pause:
                await link.pause(pause)


MUCH = 64 * 1024
endless("endless", "endless chunks", lambda said: begin(said, CHUNKED), chunk(b" " * MUCH))
endless("endless", "endless body without a length", begin, b" " * MUCH)
endless("endless", "endless small chunks", lambda said: begin(said, CHUNKED), chunk(b" ") * 4096, pause=0.2)
endless("endless", "10 GB, as declared", lambda said: begin(said, ("Content-Length", str(10 * 1024**3))), b" " * MUCH)
endless("endless", "endless header lines", lambda said: b"HTTP/1.1 200 OK\r\n", b"X-Filler: y\r\n" * 4096, pause=0.2)
endless("endless", "one endless header line", lambda said: b"HTTP/1.1 200 OK\r\nX-Filler: ", b"y" * MUCH)
endless("endless", "one endless status line", lambda said: b"HTTP/1.1 200 O", b"K" * MUCH)
endless("endless", "endless interim answers", lambda said: b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2048, slow=True, pause=0.2)
endless("endless", "endless empty lines", lambda said: b"", b"\r\n" * MUCH, slow=True, pause=0.2)
endless("endless", "endless chunk extension", lambda said: begin(said, CHUNKED) + b"5;x=", b"y" * MUCH, pause=0.2)
endless("endless", "endless chunk size", lambda said: begin(said, CHUNKED), b"0" * MUCH, pause=0.2)
endless("endless", "endless trailers", lambda said: begin(said, CHUNKED) + chunk(said.body) + b"0\r\n",
        b"X-Filler: y\r\n" * 4096)
# Ten gigabytes of zeros, a megabyte at a time.
BOMB = gzip.compress(b"\0" * (10 << 20), 9)
endless("coding", "gzip bomb", lambda said: begin(said, CHUNKED, ("Content-Encoding", "gzip")), chunk(BOMB) * 8)
endless("coding", "gzip bomb that calls itself plain", lambda said: begin(said, CHUNKED), chunk(BOMB) * 8)

# -- heads -------------------------------------------------------------------------------------------------------------


def with_headers(name, extra, harmless="", **more):
    raw("head", name, lambda said, _: head(said.status, (*said.headers, *extra), said.body) + said.body, harmless, goes_on=True,
        **more)


with_headers("10 000 headers", [("X-Filler", "y")] * 10_000)
# The bounds are the design's own: a hundred headers, 64 KiB.
with_headers("101 headers more", [(f"X-{n}", "y") for n in range(101)])
with_headers("60 headers more", [(f"X-{n}", "y") for n in range(60)], "*")
with_headers("a header of 1 MiB", [("X-Filler", "y" * (1 << 20))])
with_headers("a header of 300 KiB", [("X-Filler", "y" * 300_000)])
with_headers("a header of 70 KiB", [("X-Filler", "y" * 70_000)])
with_headers("a header of 30 KiB", [("X-Filler", "y" * 30_000)], "*")
with_headers("a folded header", [("X-Filler", "a\r\n b")], "*")
with_headers("a header with NUL", [("X-Filler", "a\0b")], "*")
with_headers("a header with a bare CR", [("X-Filler", "a\rb: c")], "*")
with_headers("a header with a space before the colon", [("X-Filler ", "a")], "*")
with_headers("a header without a name", [("", "a")], "*")
with_headers("Latin-1 in every header", [("X-Request-Id", "\xe9" * 300), ("X-Error-Code", "\xe9"), ("Link", "\xe9")],
             "*")
with_headers("cookies, upgrades and pinning", [
    ("Set-Cookie", "a=b; Domain=huggingface.co"), ("Alt-Svc", 'h2="127.0.0.1:1"; persist=1'), ("Upgrade", "h2c"),
    ("Strict-Transport-Security", "max-age=1"), ("Refresh", "0; url=http://127.0.0.1:1/"),
    ("Clear-Site-Data", '"*"'), ("Connection", "Upgrade")], "*")
# One answer of another age is a copy that somebody kept; only many in a row say that a clock is wrong.
with_headers("a date of another age", [("Date", "Thu, 01 Jan 1970 00:00:00 GMT")], "*", latches=True)
with_headers("a date that is none", [("Date", "Thu, 99 Foo 10000000000 99:99:99")], "*")
with_headers("a thousand request ids", [("X-Request-Id", "z" * 600)] * 30, "*")


def framed(name, line, harmless=""):
    raw("status line", name, lambda said, _: written(said, line(said)), harmless)


for code in ("000", "099", "600", "999", "20", "2000", "-200", "abc", "", "2e2", "٢٠٠"):
    framed(f"status {code or 'missing'}", lambda said, code=code: f"HTTP/1.1 {code} OK".encode().decode("latin-1"))
framed("HTTP/1.0", lambda said: f"HTTP/1.0 {said.status} OK", "*")
framed("no reason phrase", lambda said: f"HTTP/1.1 {said.status}", "*")
framed("reason phrase of 100 KB", lambda said: f"HTTP/1.1 {said.status} " + "K" * 100_000, "*")
framed("HTTP/2.0 as text", lambda said: f"HTTP/2.0 {said.status} OK")
framed("HTTP/1.9", lambda said: f"HTTP/1.9 {said.status} OK", "*")
framed("another protocol", lambda said: f"RTSP/1.0 {said.status} OK")
framed("ICY", lambda said: f"ICY {said.status} OK")
framed("lower case http", lambda said: f"http/1.1 {said.status} ok", "*")
framed("an empty line first", lambda said: f"\r\nHTTP/1.1 {said.status} OK", "*")
framed("two status lines", lambda said: f"HTTP/1.1 {said.status} OK\r\nHTTP/1.1 {said.status} OK", "*")
raw("status line", "HTTP/0.9", lambda said, _: said.body)
raw("status line", "HTML without a head", lambda said, _: b"<html><body>200 OK</body></html>")
raw("status line", "HTTP/2 frames", lambda said, _: b"\0\0\x12\4\0\0\0\0\0" + b"\0\3\0\0\0\x80" * 3 + b"\0\0\0\4\1\0\0\0\0")
raw("status line", "the preface of HTTP/2", lambda said, _: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
raw("status line", "a TLS alert", lambda said, _: b"\x15\x03\x01\x00\x02\x02\x46")
raw("status line", "SSH", lambda said, _: b"SSH-2.0-OpenSSH_9.2p1\r\n")
raw("status line", "noise", lambda said, _: bytes(range(256)) * 16)
raw("status line", "bare line feeds", lambda said, _: head(said.status, said.headers, said.body).replace(b"\r\n", b"\n") + said.body, "*")
raw("status line", "bare carriage returns", lambda said, _: head(said.status, said.headers, said.body).replace(b"\r\n", b"\r") + said.body)

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
raw("interim", "100, then the answer", lambda said, _: INTERIM + written(said), "*", goes_on=True)
raw("interim", "103, then the answer", lambda said, _: b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=next\r\n\r\n" + written(said),
    "*", goes_on=True)
# More of them would hold up the neighbours on a build that is not optimized, in all calls at once.
raw("interim", "20 000 times 100, then the answer", lambda said, _: INTERIM * 20_000 + written(said), "*")
raw("interim", "101", lambda said, _: written(said, "HTTP/1.1 101 Switching Protocols"))
raw("interim", "101 to HTTP/2", lambda said, _: b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
    + written(said))
raw("interim", "199 with the body", lambda said, _: written(said, "HTTP/1.1 199 Odd"))

# -- lengths and chunks ------------------------------------------------------------------------------------------------


def length(name, value, harmless="", body=lambda said: said.body, **more):
    """Content-Length as `value` makes it."""
    def make(said, _):
        values = value(len(said.body))
        lines = [("Content-Length", v) for v in (values if isinstance(values, list) else [values])]
        return begin(said, *lines) + body(said)
    raw("length", name, make, harmless, **more)


length("one too long, closed", lambda n: str(n + 1))
# The text of a refusal stands in a header as well: what is left of it may be enough.
length("one too short", lambda n: str(n - 1), "refusals")
length("a length of zero", lambda n: "0", "refusals acknowledged")
length("negative", lambda n: "-1")
length("with a plus", lambda n: f"+{n}", "*")
length("in hex", lambda n: f"0x{n:x}")
length("with leading zeros", lambda n: f"{'0' * 30}{n}", "*")
length("no number", lambda n: "many")
length("an empty length", lambda n: "")
length("a fraction", lambda n: f"{n}.0")
length("2^64", lambda n: str(2**64))
length("a list of two, the same", lambda n: f"{n}, {n}", "*")
length("twice, the same", lambda n: [str(n), str(n)], "*")
# RFC 9112, 6.3: must be treated as an error.
length("twice, differing", lambda n: [str(n), str(n + 1)])
length("a list of two, differing", lambda n: f"{n}, {n + 1}")
length("10 GB, then closed", lambda n: str(10 * 1024**3))
length("2 MiB, truly", lambda n: str(n + (2 << 20)), body=lambda said: said.body + b" " * (2 << 20))
length("a few bytes below 1 MiB", lambda n: str((1 << 20) - 8), "*", body=lambda said: said.body.ljust((1 << 20) - 8))
raw("length", "none, then closed", lambda said, _: begin(said) + said.body, "*")
raw("length", "none, closed in the middle", lambda said, _: begin(said) + said.body[:len(said.body) // 2], "refusals acknowledged")
raw("length", "length and chunks", lambda said, _: begin(said, CHUNKED, ("Content-Length", "3")) + chunk(said.body) + b"0\r\n\r\n",
    "*")
raw("length", "trailing garbage", lambda said, _: written(said) + b"\0\xffgarbage" * 100, "*")
raw("length", "trailing garbage, kept open", lambda said, _: written(said) + b"garbage" * 100, "*", goes_on=True)


@behaviour("length", "a second answer behind it", harmless="*")
async def second_answer(link, said, _place):
    """A perfect grant, for whoever asks next on this connection."""
    grant = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nOK"
    await link.send(written(said) + grant * 3)
    return True


def chunks(name, body, harmless="", goes_on=False):
    raw("chunks", name, lambda said, _: begin(said, CHUNKED) + body(said.body), harmless, goes_on=goes_on)


chunks("of one byte each", lambda body: b"".join(chunk(b) for b in letters(body)) + b"0\r\n\r\n", "*", goes_on=True)
chunks("in upper case, with leading zeros", lambda body: b"%s%X\r\n%s\r\n0\r\n\r\n" % (b"0" * 8, len(body), body), "*")
chunks("of 2^63", lambda body: b"8000000000000000\r\n" + body)
chunks("of 2^64 - 1", lambda body: b"ffffffffffffffff\r\n" + body)
chunks("of 2^68", lambda body: b"100000000000000000\r\n" + body)
chunks("of minus one", lambda body: b"-1\r\n" + body + b"\r\n0\r\n\r\n")
chunks("of 0x5", lambda body: b"0x%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
chunks("of no number", lambda body: b"zz\r\n" + body + b"\r\n0\r\n\r\n")
chunks("of nothing at all", lambda body: b"\r\n" + body + b"\r\n0\r\n\r\n")
chunks("without a line end after the data", lambda body: b"%x\r\n%s0\r\n\r\n" % (len(body), body))
chunks("shorter than they say", lambda body: b"%x\r\n%s\r\n0\r\n\r\n" % (len(body) + 4, body))
chunks("longer than they say", lambda body: b"%x\r\n%s\r\n0\r\n\r\n" % (len(body) - 1, body))
chunks("that are empty", lambda body: b"0\r\n\r\n" + chunk(body) + b"0\r\n\r\n", "refusals acknowledged")
chunks("with extensions of 8 KB", lambda body: b"%x;x=%s\r\n%s\r\n0\r\n\r\n" % (len(body), b"y" * 8000, body), "*")
chunks("with extensions of 1 MiB", lambda body: b"%x;x=%s\r\n%s\r\n0\r\n\r\n" % (len(body), b"y" * (1 << 20), body), "*")
chunks("with trailers that say otherwise", lambda body: chunk(body) + b"0\r\nContent-Type: text/html\r\nX-Error-Code: x\r\n\r\n", "*")
chunks("with 10 000 trailers", lambda body: chunk(body) + b"0\r\n" + b"X-Filler: y\r\n" * 10_000 + b"\r\n", "*")
chunks("over 1 MiB", lambda body: chunk(body) + chunk(b" " * MUCH) * 17 + b"0\r\n\r\n")


def coded(name, coding, encode, harmless="", header="Content-Encoding"):
    """Said to be coded, and coded."""
    def make(said, _):
        body = encode(said.body)
        return begin(said, *([(header, coding)] if coding is not None else []), ("Content-Length", str(len(body)))) + body
    raw("coding", name, make, harmless)


def deflated(body):
    return zlib.compress(body)


coded("gzip", "gzip", gzip.compress)
coded("gzip in upper case", "GZIP", gzip.compress)
coded("gzip that is none", "gzip", bytes)
coded("gzip twice", "gzip, gzip", lambda body: gzip.compress(gzip.compress(body)))
coded("gzip, said in no header", None, gzip.compress, "refusals acknowledged")
coded("deflate", "deflate", deflated)
coded("br that is none", "br", bytes)
coded("zstd that is none", "zstd", bytes)
coded("an unheard coding", "x-evil", bytes)
coded("identity", "identity", bytes, "*")
coded("an empty coding", "", bytes, "*")
coded("gzip as transfer coding, with a length", "gzip", gzip.compress, header="Transfer-Encoding")
raw("coding", "gzip in chunks, as transfer coding",
    lambda said, _: begin(said, ("Transfer-Encoding", "gzip, chunked")) + chunk(gzip.compress(said.body)) + b"0\r\n\r\n")
raw("coding", "an unheard transfer coding", lambda said, _: begin(said, ("Transfer-Encoding", "xchunked")) + chunk(said.body)
    + b"0\r\n\r\n")

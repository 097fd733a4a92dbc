"""A go-between that spoils answers on the wire, in ways that no honest server can: slow bodies, cut heads, lies
about lengths.

Knows HTTP/1.1 just well enough to pass one request and one answer on; keeps a record of what it spoilt.
Knows nothing of what is asked.  Serves faults.py.
"""

import asyncio
import threading

DRIP = 0.1


class Wire:
    """Listens on loopback before `upstream`; `choose(path, authorization)` gives (fault, who is struck) or None."""

    def __init__(self, upstream, choose):
        self.upstream, self.choose, self.struck = upstream, choose, []
        self.loop = asyncio.new_event_loop()
        started = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self.thread.start()
        started.wait(10)

    def _run(self, started):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20))
        self.url = "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        started.set()
        self.loop.run_forever()
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        server.close()
        self.loop.close()

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    async def _serve(self, reader, writer):
        try:
            await self._one(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass                                # the client had enough, or the test has
        finally:
            writer.close()

    async def _one(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        path = lines[0].split(" ")[1]
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        fault = self.choose(path, headers.get("authorization", ""))
        answer = await self._ask(lines[0], headers, body)
        if fault is None:
            writer.write(answer)
            return await writer.drain()
        self.struck.append(fault)
        await SPOILS[fault[0]](writer, *answer.split(b"\r\n\r\n", 1))

    async def _ask(self, first, headers, body):
        host, port = self.upstream.removeprefix("http://").split(":")
        up, out = await asyncio.open_connection(host, int(port))
        kept = "".join(f"{k}: {v}\r\n" for k, v in headers.items() if k not in ("connection", "host"))
        out.write(f"{first}\r\n{kept}host: {host}:{port}\r\nconnection: close\r\n\r\n".encode("latin-1") + body)
        await out.drain()
        answer = await up.read()
        out.close()
        return answer


async def drip(writer, data, pieces, pause):
    size = max(1, -(-len(data) // pieces))
    for at in range(0, len(data), size):
        writer.write(data[at:at + size])
        await writer.drain()
        await asyncio.sleep(pause)


async def slow_in_time(writer, head, body):
    writer.write(head + b"\r\n\r\n")
    await drip(writer, body, 4, DRIP)


async def slow_body(writer, head, body):
    writer.write(head + b"\r\n\r\n" + body[:1])
    await drip(writer, body[1:-1], 5, 2 * DRIP)
    await asyncio.sleep(3600)


async def slow_head(writer, head, body):
    await drip(writer, head[:40], 10, 2 * DRIP)
    await asyncio.sleep(3600)


async def no_answer(writer, head, body):
    return


async def half_head(writer, head, body):
    writer.write(head[:len(head) // 2])
    await writer.drain()


async def half_body(writer, head, body):
    writer.write(head + b"\r\n\r\n" + body[:len(body) // 2])
    await writer.drain()


def relength(head, length, extra=b""):
    kept = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"content-length:", b"transfer-encoding:"))]
    return b"\r\n".join([*kept, b"content-length: %d" % length]) + extra + b"\r\n\r\n"


async def short_length(writer, head, body):
    writer.write(relength(head, max(0, len(body) - 1)) + body)
    await writer.drain()


async def no_length(writer, head, body):
    """What comes ends when the connection does, and it does before the body."""
    kept = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"content-length:", b"transfer-encoding:"))]
    writer.write(b"\r\n".join(kept) + b"\r\n\r\n")
    await writer.drain()


async def too_long(writer, head, body):
    writer.write(relength(head, len(body) + (2 << 20)) + body)
    for _ in range(32):
        writer.write(b" " * (1 << 16))
        await writer.drain()


async def encoded(writer, head, body):
    writer.write(relength(head, len(body), b"\r\ncontent-encoding: gzip") + body)
    await writer.drain()


async def garbage(writer, head, body):
    writer.write(b"\x15\x03\x01\x00\x02\x02\x16 this is no HTTP\r\n\r\n")
    await writer.drain()


SPOILS = {
    "slow body, in time": slow_in_time, "slow body": slow_body, "slow head": slow_head, "closed unanswered": no_answer,
    "half a head": half_head, "half a body, closed": half_body, "length one short": short_length, "no length, no body": no_length,
    "2 MiB too long": too_long, "gzip that is none": encoded, "no HTTP": garbage,
}

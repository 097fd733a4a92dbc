"""A Hub that answers fast: it asks a simulated one (`scopewatch hub`) once for each kind of question and gives the same answer again.

The simulated Hub looks through all its tokens at each request, which is too slow for ten thousand of them. Here every
secret `hf_scale_NUMBER` is answered as that Hub answers the token `probed` (its user becomes `user-NUMBER`), every other
one as itself. Requests of probed tokens are counted by secret and path, so that a lost or a doubled probe is seen.
`GET /_counts` tells them, `POST /_reset` forgets them. Runs in a process of its own.
"""

import asyncio
import http.client
import json
import re

PROBED = "hf_scale_probed"
SECRET = re.compile(rb"\r\nauthorization: bearer (\S+)", re.IGNORECASE)
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


class Answers:
    """What the simulated Hub says, asked once for each method, path and asker."""

    def __init__(self, port):
        self.port, self.known, self.counts = port, {}, {}

    def ask(self, method, path, secret, body):
        upstream = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        if body:
            headers["Content-Type"] = "application/json"
        upstream.request(method, path, body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        kept = [f"{name}: {value}" for name, value in answer.getheaders()
                if name.lower() not in ("content-length", "connection", "transfer-encoding")]
        upstream.close()
        return f"HTTP/1.1 {answer.status} {answer.reason}\r\n" + "\r\n".join(kept) + "\r\n", content

    def of(self, method, path, secret, body):
        number = secret.removeprefix("hf_scale_") if secret.startswith("hf_scale_") else ""
        probed = number.isdigit()
        if probed:
            self.counts[number, path] = self.counts.get((number, path), 0) + 1
        key = method, path, PROBED if probed else secret
        if key not in self.known:
            self.known[key] = self.ask(method, path, key[2], body)
        head, content = self.known[key]
        if probed and path == "/api/whoami-v2":
            content = content.replace(b"probed-user", b"user-" + str(int(number)).encode())
        return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content

    def told(self, method):
        if method == "POST":
            self.counts.clear()
        whoami = sum(n for (_, path), n in self.counts.items() if path == "/api/whoami-v2")
        probes = [n for (_, path), n in self.counts.items() if path != "/api/whoami-v2"]
        content = json.dumps({"whoami": whoami, "asked": len(probes), "doubled": sum(n - 1 for n in probes)}).encode()
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(content) + content


class Talk(asyncio.Protocol):
    """One kept connection."""

    def __init__(self, answers):
        self.answers, self.buffer, self.transport = answers, b"", None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head, length = self.buffer[:end], LENGTH.search(self.buffer[:end])
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < whole:
                return
            body, self.buffer = self.buffer[end + 4:whole], self.buffer[whole:]
            method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            if path.startswith("/_"):
                self.transport.write(self.answers.told(method))
                continue
            secret = SECRET.search(head)
            self.transport.write(self.answers.of(method, path, secret[1].decode() if secret else "", body))


def serve(port, upstream):
    """Serves until its process is ended."""
    async def run():
        answers = Answers(upstream)
        server = await asyncio.get_running_loop().create_server(lambda: Talk(answers), "127.0.0.1", port, backlog=512)
        await server.serve_forever()

    asyncio.run(run())

"""The world around a pod, for policy.py, in a network namespace of its own: the Hub behind TLS, names, and ears on every other address.

Run in a namespace, as `world.py serve CERTIFICATE` (reads `[[address, port, kind]]` from its standard input, prints `up`, stays
until it is ended), `world.py dial` (reads `[[source or null, address, port, kind]]`, prints what became of each), or `world.py get
SOURCE ADDRESS PORT PATH` (prints the body of an answer of 200).  Knows nothing of policies.
"""

import asyncio
import http.client
import json
import socket
import ssl
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

HUB_PORT = 8099         # the simulated Hub, on this namespace's loopback
NAMES = {"hub.example": "203.0.113.10", "alertmanager-operated.monitoring.svc": "10.96.1.9"}
WAIT = 0.5              # seconds: a packet between two namespaces needs microseconds


def question(name):
    labels = b"".join(struct.pack("B", len(part)) + part.encode() for part in name.split("."))
    return struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)


class Names(asyncio.DatagramProtocol):
    """A name server (RFC 1035) with one address a name, and nothing for other kinds of records."""

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, query, sender):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        kind = struct.unpack(">H", query[at + 1:at + 3])[0]
        address = NAMES.get(".".join(labels).lower())
        found = [struct.pack(">3HIH", 0xC00C, 1, 1, 5, 4) + socket.inet_aton(address)] if address and kind == 1 else []
        head = query[:2] + struct.pack(">5H", 0x8180 if address else 0x8183, 1, len(found), 0, 0)
        self.transport.sendto(head + query[12:at + 5] + b"".join(found), sender)


async def pipe(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def to_hub(reader, writer):
    try:
        inner, outer = await asyncio.open_connection("127.0.0.1", HUB_PORT)
        await asyncio.gather(pipe(reader, outer), pipe(inner, writer))
    except OSError:
        writer.close()


async def ear(_, writer):
    writer.close()


async def serve(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    kept = []
    for address, port, kind in json.load(sys.stdin):
        if kind == "names":
            kept.append(await asyncio.get_running_loop().create_datagram_endpoint(Names, local_addr=(address, port)))
        else:
            kept.append(await asyncio.start_server(to_hub if kind == "hub" else ear, address, port, ssl=context if kind == "hub" else None))
    print("up", flush=True)
    await asyncio.Event().wait()


def dial(one):
    """`open`; `refused`, where the packet came through and nobody listens; else why it did not."""
    source, address, port, kind = one
    try:
        if kind == "names":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
                asked.settimeout(WAIT)
                asked.sendto(question("hub.example"), (address, port))
                return "open" if asked.recv(512) else "empty"
        with socket.create_connection((address, port), WAIT, (source, 0) if source else None):
            return "open"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return str(error)


def get(source, address, port, path):
    """The body of an answer of 200; exit 1 for any other, and for none."""
    asked = http.client.HTTPConnection(address, int(port), 3, (source, 0) if source else None)
    try:
        asked.request("GET", path)
        answer = asked.getresponse()
        print(answer.read().decode())
        return int(answer.status != 200)
    except OSError:
        return 1


def main():
    if sys.argv[1] == "get":
        return get(*sys.argv[2:])
    if sys.argv[1] == "dial":
        dialled = json.load(sys.stdin)
        with ThreadPoolExecutor(len(dialled)) as together:
            print(json.dumps(list(together.map(dial, dialled))))
        return 0
    return asyncio.run(serve(sys.argv[2]))


if __name__ == "__main__":
    sys.exit(main())

"""A careless client: each of its sins is one that the daemon must never commit.

Started by controls.py as a process of its own, against the hostile Hub, so that every judgement of this suite is seen
to find what it is there for.  `careless.py SIN URL SECRET ORGANIZATION`; says `ready`, sins
when it is told to, says `done` and waits to be ended.
"""

import http.client
import json
import sys
import time
import urllib.request
import zlib

PREFIX = "scopewatch-canary"
kept = []                               # what it should not keep


def get(url, secret, path, timeout=None):
    headers = {"Authorization": f"Bearer {secret}", "Accept-Encoding": "identity"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(urllib.request.Request(url + path, headers=headers), timeout=timeout)
    except OSError:
        return None


def send(url, secret, method, path, body, again=None):
    """One request, and another on the same connection if there is one."""
    link = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    headers = {"Authorization": f"Bearer {secret}", "Accept-Encoding": "identity"}
    link.request(method, path, json.dumps(body), headers)
    link.getresponse().read()
    if again:
        link.request("GET", again, headers=headers)
        link.getresponse().read()


def creation(organization, **more):
    return {"name": f"{PREFIX}-x", "organization": organization, "type": "model", "private": True, **more}


def hoard(url, secret, path, unpack):
    """Takes whatever comes, 64 MiB of it at least."""
    answer, size, unpacker = get(url, secret, path), 0, zlib.decompressobj(31)
    while size < 64 << 20:
        piece = answer.read(65536)
        if unpack:
            rest, piece = piece, unpacker.decompress(piece)
            if unpacker.eof:                # one bomb after the other
                rest, unpacker = unpacker.unused_data, zlib.decompressobj(31)
                piece += unpacker.decompress(rest)
        kept.append(piece)
        size += len(piece)


def main(sin, url, secret, organization):
    overview = f"/api/organizations/{organization}/overview"
    create = "/api/repos/create"
    sins = {
        "follows": lambda: get(url, secret, overview),
        "waits": lambda: get(url, secret, overview, timeout=30).read(),
        "hoards": lambda: hoard(url, secret, overview, False),
        "unpacks": lambda: hoard(url, secret, overview, True),
        "asks twice": lambda: [send(url, secret, "POST", create, creation(organization)) for _ in range(2)],
        "makes it public": lambda: send(url, secret, "POST", create, creation(organization, private=False)),
        "makes no canary": lambda: send(url, secret, "POST", create, creation(organization, name="ours")),
        "deletes": lambda: send(url, secret, "DELETE", "/api/repos/delete", {
            "name": "kept-private", "organization": organization, "type": "model"}),
        "goes on after a change": lambda: send(url, secret, "POST", create, creation(organization), again=overview),
        "is nosy": lambda: get(url, secret, f"/api/models/{organization}/kept-private/xet-write-token/main"),
        "mixes tokens up": lambda: get(url, "hf_nobody", overview),
        "grows": lambda: [(kept.append(bytearray(4 << 20)), time.sleep(0.3)) for _ in range(4)],
        "keeps files": lambda: kept.extend(open("/dev/null", "rb") for _ in range(50)),
    }
    print("ready", flush=True)
    sys.stdin.readline()
    sins[sin]()
    print("done", flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:])

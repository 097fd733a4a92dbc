"""Answers that repeat the credential wherever an answer has room for it, and answers that are lies besides.

Each is a function of what was asked and of the Hub, and gives the bytes of a whole answer.  Knows raw HTTP.  Serves
liar.py and, by their names, worlds.py.
"""

import json
import re
import urllib.parse

# Where a word of the Hub may be shown, and nothing is decided by it.
SHOWN = (
    "displayName",
    "fullname",
    "avatarUrl",
    "email",
    "status",
    "last4",
    "lastUsedAt",
    "plan",
    "title",
    "message",
    "description",
    "sdk",
    "tags",
    "siblings",
    "role",
    "roleInOrg",
    "error",
    "owner",
    "url",
    "permissions",
    "label",
)
HOLE = "@@{}@@"
MINTED = (
    "accessToken_",
    "jwt",
    "xetToken",
    "refresh_token",
    "token",
    "casAccessToken",
    "secret",
    "uploadUrl",
    "password",
)


def spellings(secret):
    """The credential as careless or wicked software writes it into JSON: inside the quotes of a string."""
    quoted, bearer = json.dumps(secret)[1:-1], "Bearer "
    return (
        bearer + quoted,
        quoted,
        "".join(f"\\u{ord(c):04x}" for c in bearer + secret),
        "".join(f"%{ord(c):02X}" for c in secret),
        "\u200b".join(quoted) if quoted == secret else quoted,
        "".join(f"\\\\u{ord(c):04x}" for c in secret),
        "\\n".join(secret) if quoted == secret else quoted,
        f"curl -H 'Authorization: Bearer {quoted}' https://hub.example/?access_token={urllib.parse.quote(secret)}",
        "".join(c + "\\u0000" for c in secret) if quoted == secret else quoted,
        quoted * 3,
    )


def written(status, headers, body, reason="OK", close=False):
    data = body if isinstance(body, bytes) else body.encode("utf-8", "surrogateescape")
    lines = [f"HTTP/1.1 {status} {reason}"]
    names = {name.lower() for name, _ in headers}
    if "content-length" not in names and "transfer-encoding" not in names:
        headers = [*headers, ("Content-Length", str(len(data)))]
    if close:
        headers = [*headers, ("Connection", "close")]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + data


def echoing_headers(asked, hub):
    """Every header that anybody might keep, and some that nobody knows."""
    s = asked.secret
    bearer = f"Bearer {s}"
    return [
        ("X-Error-Code", bearer),
        ("X-Error-Message", f"{'m' * 240}{s}"),
        ("X-Request-Id", f"{'r' * 100}{s}"),
        ("X-Amzn-Trace-Id", s),
        ("RateLimit", f'"api";r=500;t=9;{s}'),
        ("RateLimit-Policy", s),
        ("Server", s),
        ("Retry-After", s),
        ("Link", f'<{hub.ear.url}/api/x?cursor={urllib.parse.quote(s)}>; rel="next"'),
        ("WWW-Authenticate", f'Bearer realm="{s}"'),
        ("Set-Cookie", f"token={s}; Path=/"),
        ("Via", f"1.1 {s}"),
        ("Location", f"{hub.ear.url}/?t={s}"),
        ("Refresh", f"0; url={hub.ear.url}/{s}"),
        ("Date", bearer),
        ("Alt-Svc", f'h2="{hub.ear.host}"; ma=9'),
        ("ETag", f'"{s}"'),
        ("X-Xet-Access-Token", hub.minted(asked)),
        (re.sub(r"[^A-Za-z0-9]", "", s) or "X", s),
        ("Content-Location", f"{hub.ear.url}/{s}"),
    ]


def mild(asked, hub):
    """The right answer, with the credential in every word that is only shown, and fresh credentials in between."""
    status, headers, answer = asked.right()
    count = [asked.turn]
    holes = []

    def fill(value, key, depth=0):
        if isinstance(value, dict):
            filled = {k: fill(v, k, depth + 1) for k, v in value.items()}
            if "id" in filled or "_id" in filled or not depth:
                for name in MINTED[asked.turn % 3 :: 3]:
                    filled.setdefault(name, hub.minted(asked))
            return filled
        if isinstance(value, list):
            return [fill(v, key, depth + 1) for v in value]
        if isinstance(value, str) and key in SHOWN:
            count[0] += 1
            # Some stay: a role that nobody knows ends what can be said of it.
            if key in ("role", "roleInOrg", "plan", "permissions", "error", "status") and count[0] % 3:
                return value
            holes.append((value, count[0]))
            return HOLE.format(len(holes) - 1)
        return value

    text = json.dumps(fill(answer, "")) if not isinstance(answer, str) else answer
    for number, (value, turn) in enumerate(holes):
        options = (*spellings(asked.secret), hub.shaped(asked))
        text = text.replace(HOLE.format(number), json.dumps(value)[1:-1] + " " + options[turn % len(options)])
    kind = "text/plain; charset=utf-8" if isinstance(answer, str) else "application/json; charset=utf-8"
    kept = [(k, v) for k, v in headers.items()]
    extra = [
        (k, v)
        for k, v in echoing_headers(asked, hub)
        if k not in ("Location", "Retry-After", "RateLimit", "Link") and k not in headers
    ]
    return written(status, [("Content-Type", kind), ("RateLimit", '"api";r=5000;t=200'), *kept, *extra], text)


def envelope(status):
    """The Hub's own refusal, made of the credential."""

    def lie(asked, hub):
        s = json_of(asked)
        body = (
            f'{{"error": "{s[asked.turn % len(s)]}", "{s[0]}": ["{s[1]}", {{"url": "{s[7]}"}}], "message": "{s[2]}"}}'
        )
        headers = [("Content-Type", "application/json"), *echoing_headers(asked, hub)]
        return written(status, headers, body, reason=f"Bearer {asked.secret}")

    return lie


def json_of(asked):
    return spellings(asked.secret)


def redirect(status, kind):
    """Away to the stranger, by each way that a Location has."""

    def lie(asked, hub):
        s, ear = urllib.parse.quote(asked.secret), hub.ear
        to = {
            "host": f"http://127.0.0.2:{hub.ear2.port}/api/x?t={s}",
            "port": f"{ear.url}/{s}",
            "scheme": f"https://127.0.0.1:{ear.port}/{s}",
            "userinfo": f"http://{s}:x@127.0.0.1:{ear.port}/",
            "relative": f"//127.0.0.1:{ear.port}/{s}",
            "back": f"\\\\127.0.0.1:{ear.port}\\{s}",
            "hops": f"/hop/1?t={s}",
        }[kind]
        hop = re.match(r"/hop/(\d+)", asked.path)
        if hop:
            to = f"/hop/{int(hop[1]) + 1}?t={s}" if int(hop[1]) < 20 else f"{ear.url}/{s}"
        headers = [("Content-Type", "text/html"), ("Set-Cookie", f"t={s}"), ("Location", to), ("X-Error-Message", s)]
        return written(status, headers, f"<a href='{to}'>{asked.secret}</a>", reason="Found")

    return lie


def html_page(asked, hub):
    page = f"<!DOCTYPE html><title>{asked.secret}</title><pre>Authorization: Bearer {asked.secret}</pre>"
    return written(502, [("Content-Type", "text/html"), *echoing_headers(asked, hub)], page, reason="Bad Gateway")


def utf16(asked, hub):
    body = b"\xff\xfe" + f'{{"error": "{asked.secret}"}}'.encode("utf-16-le")
    return written(403, [("Content-Type", "application/json; charset=utf-16")], body)


def as_type(asked, hub):
    return written(
        200, [("Content-Type", f"{asked.secret}/{asked.secret}; x={asked.secret}")], f"Bearer {asked.secret}"
    )


def bare(asked, hub):
    return written(200, [("Content-Type", "application/json")], json.dumps(asked.secret))


def everywhere(asked, hub):
    """The right shape, with the credential for every string and every key's neighbour."""

    def fill(value):
        if isinstance(value, dict):
            return {**{k: fill(v) for k, v in value.items()}, asked.secret: asked.secret}
        if isinstance(value, list):
            return [fill(v) for v in value] or [asked.secret]
        return f"Bearer {asked.secret}" if isinstance(value, str) else value

    status, _, answer = asked.right()
    return written(
        status, [("Content-Type", "application/json"), *echoing_headers(asked, hub)], json.dumps(fill(answer))
    )


def deep(asked, hub):
    return written(200, [("Content-Type", "application/json")], "[" * 200 + json.dumps(asked.secret) + "]" * 200)


def cut(asked, hub):
    body = json.dumps({"error": f"Bearer {asked.secret}", "more": "x" * 400})
    return written(403, [("Content-Length", "4000")], body[:60], close=True)


def chunked(asked, hub):
    s = asked.secret
    pieces = "".join(f"{len(p):x};ext={s}\r\n{p}\r\n" for p in (s[:9], s[9:], f" Bearer {s}"))
    return written(403, [("Transfer-Encoding", "chunked"), ("Trailer", "X-Late")], pieces + f"0\r\nX-Late: {s}\r\n\r\n")


def bad_chunk(asked, hub):
    return written(200, [("Transfer-Encoding", "chunked")], f"{asked.secret}\r\n{asked.secret}\r\n", close=True)


def bad_line(asked, hub):
    return f"Bearer {asked.secret} HTTP/1.1\r\n{asked.secret}\r\n\r\n{asked.secret}".encode()


def bad_status(asked, hub):
    return f"HTTP/1.1 {asked.secret} {asked.secret}\r\nX: {asked.secret}\r\n\r\n".encode()


def bad_header(asked, hub):
    return f"HTTP/1.1 200 OK\r\n{asked.secret}\r\nX {asked.secret}: y\r\n\r\n".encode()


def bad_length(asked, hub):
    return written(200, [("Content-Length", asked.secret)], asked.secret, close=True)


def early(asked, hub):
    hint = (
        f"HTTP/1.1 103 Early Hints\r\nLink: <{hub.ear.url}/{asked.secret}>\r\nX-Error-Message: {asked.secret}\r\n\r\n"
    )
    return hint.encode() + envelope(403)(asked, hub)


def encoded(asked, hub):
    return written(200, [("Content-Encoding", f"gzip, {asked.secret}")], asked.secret)


def switch(asked, hub):
    return written(101, [("Upgrade", asked.secret), ("Connection", "upgrade")], asked.secret, close=True)


def flood(asked, hub):
    return written(200, [(f"X-{n}-{asked.secret[-4:]}", asked.secret) for n in range(300)], "{}", close=True)


def gone(asked, hub):
    return b""


STATUSES = (
    400,
    401,
    402,
    403,
    404,
    405,
    409,
    410,
    418,
    422,
    429,
    451,
    500,
    502,
    503,
    504,
    207,
    206,
    201,
    204,
    304,
    599,
    999,
)
WAYS = ("host", "port", "scheme", "userinfo", "relative", "back", "hops")
LIES = {
    **{f"status {s}": envelope(s) for s in STATUSES},
    **{f"redirect {s} by {w}": redirect(s, w) for s in (300, 301, 302, 303, 307, 308) for w in WAYS},
    **{
        lie.__name__: lie
        for lie in (
            html_page,
            utf16,
            as_type,
            bare,
            everywhere,
            deep,
            cut,
            chunked,
            bad_chunk,
            bad_line,
            bad_status,
            bad_header,
            bad_length,
            early,
            encoded,
            switch,
            flood,
            gone,
        )
    },
}
# Nothing can be said on a connection after these.
LAST = (bad_line, bad_status, bad_header, bad_length, bad_chunk, cut, switch, flood)

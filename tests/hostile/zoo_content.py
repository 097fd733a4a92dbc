"""The behaviours of an answer's status, body and meaning: pages in between, odd JSON, other objects, lies.

As zoo.py, which it adds to: each says for which shapes it spoils nothing, and for which nobody could tell it from an
honest answer.  Importing it registers them.
"""

import gzip
import json
from dataclasses import replace

from world import HIDDEN, Said, refuses, says
from zoo import GRANTS, raw

JSON = ("Content-Type", "application/json; charset=utf-8")
TEXT = ("Content-Type", "text/plain; charset=utf-8")
HTML = ("Content-Type", "text/html; charset=utf-8")
LOGIN = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form>Just a moment...</form>OK</body></html>"
LISTS = "list listing inventory groups commits"
# An empty list is what an honest Hub says where there is nothing; of members and settings nobody can tell.
EMPTY_LIST, EMPTY_IS_RIGHT = "listing groups commits", "list inventory"


def content(family, name, make, harmless="", never="", **more):
    """Of a function of the right answer; the error headers go, for the body alone is to speak."""
    def bare(said, place):
        kept = tuple(h for h in said.headers if not h[0].startswith("X-Error"))
        return make(replace(said, headers=kept), place)
    raw(family, name, bare, harmless, never, goes_on=True, **more)


def status(family, name, code, body=b"", headers=(TEXT,), harmless="", never="", **more):
    """Another status, and nothing of the right answer."""
    content(family, name, lambda said, _: Said(code, tuple(headers), body), harmless, never, **more)


def turning(family, name, codes):
    """Another of these statuses with every strike, so that all of them meet all calls."""
    content(family, name, lambda said, place: Said(codes[place.turn % len(codes)], (TEXT,), b"no"))


def body(family, name, text, harmless="", never="", **more):
    """The right status and type, and this instead of the body."""
    made = text if callable(text) else lambda said, _: text
    content(family, name, lambda said, place: replace(said, body=made(said, place)), harmless, never, **more)


def typed(name, kind, harmless="", never=""):
    """The right body, called something else."""
    headers = [("Content-Type", k) for k in ([kind] if isinstance(kind, str) else kind)]
    content("content type", name, lambda said, _: replace(said, headers=(*headers, *others(said))), harmless, never)


def others(said):
    return tuple(h for h in said.headers if h[0] != "Content-Type")


# -- another status with the right body, or in its place ---------------------------------------------------------------

for code in (201, 202, 206, 299):
    content("2xx", f"{code} with the body", lambda said, _, code=code: replace(said, status=code), "grants")
content("2xx", "204 with the body", lambda said, _: replace(said, status=204), "acknowledged")
content("2xx", "205 with the body", lambda said, _: replace(said, status=205), "grants")
status("2xx", "204", 204, harmless="acknowledged")
status("2xx", "200 without type and body", 200, headers=(), harmless="acknowledged")
content("2xx", "200 for whatever it was", lambda said, _: replace(said, status=200), never=" ".join(GRANTS))

TARGETS = {
    "relative": "/elsewhere", "to another port": "http://{elsewhere}/x", "to another host": "http://127.0.0.2:{port}/x",
    "to another scheme": "https://{here}/x", "with a user": "http://hub:secret@{here}/x", "to itself": "{self}",
    "to nothing": "", "to a script": "javascript:alert(1)", "without a scheme": "//{elsewhere}/x", "to a file": "file:///etc/passwd",
}
REDIRECTS = (301, 302, 303, 307, 308)


def redirect(name, target, at):
    def make(said, place):
        # The status turns with every strike, so that all of them meet all calls.
        code = REDIRECTS[(place.turn + at) % len(REDIRECTS)]
        to = target.format(here=place.here, elsewhere=place.elsewhere, port=place.hub.port, self=f"http://{place.here}/")
        return Said(code, (("Location", to), TEXT), b"")
    content("redirect", f"redirect {name}", make, moves=True)


for number, (what, where) in enumerate(TARGETS.items()):
    redirect(what, where, number)
status("redirect", "redirect without an address", 302, moves=True)
content("redirect", "redirect with the body", lambda said, place: Said(
    302, (("Location", f"http://{place.elsewhere}/x"), *said.headers), said.body), moves=True)
status("redirect", "300", 300, b"[]", (JSON,), moves=True)
status("redirect", "304", 304, moves=True)
status("redirect", "305, a proxy", 305, headers=(("Location", "http://127.0.0.1:1/"),), moves=True)

for code in (200, 401, 403, 404, 405, 409, 500, 503):
    status("HTML", f"HTML {code}", code, LOGIN, (HTML,))
content("HTML", "HTML with the error headers of the Hub", lambda said, _: Said(
    403, (HTML, ("X-Error-Message", "You don't have the required permissions")), LOGIN))
body("HTML", "HTML that calls itself what was asked", LOGIN, "acknowledged")

# A bare 401, 403 or 404 to whoever did not sign shows that not everybody is let in.
for code in (400, 402, 405, 407, 408, 409, 418, 451):
    status("4xx", f"{code}, bare", code, b"no")
turning("4xx", "406 to 499, bare", (406, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 425, 426, 428, 431, 444, 499))
status("4xx", "403, bare", 403, b"Forbidden", harmless="unsigned")
status("4xx", "404, bare", 404, b"Not Found", harmless="unsigned")
status("4xx", "401, bare", 401, b"Unauthorized", harmless="unsigned closed", reach="token")
status("4xx", "401 in the Hub's words", 401, b'{"error":"Invalid username or password."}', (JSON,), never="unsigned closed",
       reach="token")
status("4xx", "403 of a gateway", 403, b'{"message":"Forbidden"}', (JSON,), harmless="unsigned")
status("4xx", "404 of a gateway", 404, b'{"message":"Not Found"}', (JSON,), harmless="unsigned")
status("4xx", "400 in the Hub's words", 400, b'{"error":"Invalid input"}', (JSON,))
status("4xx", "402 in the Hub's words", 402, b'{"error":"A subscription is required."}', (JSON,))
status("4xx", "403, disabled", 403, b'{"error":"Access to this resource is disabled."}', (JSON,), harmless="unsigned closed")
content("4xx", "404, no such page", lambda said, _: refuses(404, "Sorry, we can't find the page you are looking for."),
        harmless="unsigned closed")
content("4xx", "404, no such entry", lambda said, _: refuses(404, "Entry not found", "EntryNotFound"), harmless="unsigned closed")
# Of a repository it is what the Hub says to whoever may not see it.
content("4xx", "404, no such repository", lambda said, _: HIDDEN, harmless="unsigned closed", never="hidden missing ok refused")
content("4xx", "409, locked", lambda said, _: refuses(409, "Cannot create repo: another conflicting operation is in progress"))
content("4xx", "422 in the Hub's words", lambda said, _: refuses(422, "Unprocessable"))
content("4xx", "451 in the Hub's words", lambda said, _: refuses(451, "Unavailable For Legal Reasons"))

for code in (500, 502, 503, 504):
    status("5xx", f"{code}", code, b"failed")
turning("5xx", "501 to 599", (501, 505, 506, 507, 508, 510, 511, 520, 522, 525, 529, 530, 599))
content("5xx", "500 that says denied", lambda said, _: refuses(500, "You don't have the required permissions"))
content("5xx", "500 with the right body", lambda said, _: replace(said, status=500))
content("5xx", "503, retry next year", lambda said, _: Said(503, (TEXT, ("Retry-After", "Fri, 31 Dec 2027 23:59:59 GMT")), b""))


def limited(name, code=429, lasts=True, text=None, **headers):
    extra = tuple((key.replace("_", "-"), value) for key, value in headers.items())
    said = text or b'{"error":"We had to rate limit you."}'
    status("429", name, code, said, (JSON, *extra), reach="user", lasts=lasts)


limited("429 r=0, a moment", RateLimit='"api";r=0;t=1', Retry_After="1", lasts=False)
limited("429 without headers")
limited("429 r=-1", RateLimit='"api";r=-1;t=-5')
limited("429 t=10^30", RateLimit=f'"api";r=0;t={10**30}')
limited("429 r=10^30", RateLimit=f'"api";r={10**30};t=1')
limited("429 of no number", RateLimit='"api";r=NaN;t=Infinity', RateLimit_Policy='"x";q=0;w=0')
limited("429, garbled", RateLimit=';;;="";r;t;=' * 50)
limited("429, retry in the past", Retry_After="Thu, 01 Jan 1970 00:00:00 GMT")
limited("429, retry on a day", Retry_After="Fri, 31 Dec 2027 23:59:59 GMT")
limited("429, retry after a fraction", Retry_After="0.5")
limited("429, retry after minus one", Retry_After="-1")
limited("429, retry after 10^30", Retry_After=str(10**30))
limited("429, retry after a century", Retry_After="3153600000")
limited("429 r=4321", RateLimit='"api";r=4321;t=250')
limited("429, the cap in words", text=b'{"error":"You have exceeded the rate limit for repository creation (300 per day)."}')
limited("429, HTML", text=LOGIN)
content("429", "the right answer, and the window used up", lambda said, _: replace(
    said, headers=(*said.headers, ("RateLimit", '"api";r=0;t=999999'))), "*", reach="user", lasts=True)
content("429", "the right answer, and silly limits", lambda said, _: replace(
    said, headers=(*said.headers, ("RateLimit", f'"api";r=-{10**40};t=NaN'), ("RateLimit-Policy", "q=-1;w=x"),
                   ("Retry-After", "-1"))), "*")

# -- what the body is called -------------------------------------------------------------------------------------------

typed("called HTML", "text/html; charset=utf-8", "acknowledged")
typed("called text", "text/plain", "acknowledged unsigned closed", never="ok")
typed("called bytes", "application/octet-stream", "ok acknowledged unsigned closed")
typed("called nothing", [], "ok acknowledged unsigned closed")
typed("called XML", "application/xml", "ok acknowledged unsigned closed")
typed("called JSON in upper case", "APPLICATION/JSON", "*")
typed("called JSON of UTF-16", "application/json; charset=utf-16", "*")
typed("called a problem", "application/problem+json", "*")
typed("called two things", ["application/json", "text/html"], "*")
typed("called something very long", "application/json; x=" + "y" * 4000, "*")

# -- what the body is --------------------------------------------------------------------------------------------------

SIGNLESS = "unsigned closed"            # their status is enough: nobody signed, and was refused
for label, text in {
    "nothing": b"", "white space": b" \r\n\t ", "null": b"null", "true": b"true", "zero": b"0", "a text": b'"allowed"',
    "a negative zero": b"-0", "NaN": b"NaN", "Infinity": b"Infinity", "1e999": b"1e999", "a million digits": b"9" * 1_000_000,
    "a list of null": b"[null]", "a list of texts": b'["OK","OK"]', "a list of empty objects": b"[{}]",
    "an object that nobody asked for": b'{"unexpected":true}', "a brace": b"{", "half a text": b'{"id":"acme',
    "NUL": b"\0", "a form feed": b"\x0c", "comments": b"/* OK */ // OK", "single quotes": b"{'error':'x'}",
    "MessagePack": b"\x82\xa2id\xa1x\xa7private\xc3", "YAML": b"id: acme/x\nprivate: true\n", "XML": b"<?xml version='1.0'?><id>x</id>",
    "a script": b"callback({})", "100 levels": b"[" * 100 + b"]" * 100, "129 levels": b"[" * 129 + b"]" * 129,
    "100 000 levels": b"[" * 100_000 + b"]" * 100_000, "100 000 levels, never closed": b"[" * 100_000,
    "100 000 levels of objects": b'{"a":' * 100_000, "half a million zeros": b"[" + b"0," * 500_000 + b"0]",
    "a million zeros": b"[" + b"0," * 1_000_000 + b"0]", "100 000 empty lists": b"[" + b"[]," * 100_000 + b"[]]",
    "100 000 keys": b"{" + b",".join(b'"%d":0' % n for n in range(90_000)) + b"}",
    "100 000 times the same key": b"{" + b",".join([b'"a":0'] * 100_000) + b"}",
}.items():
    # A listing of other things lists nothing private; a deletion needs no words; who did not sign is refused by status.
    fine = "listing groups commits" if text.startswith(b"[") and text.endswith(b"]") else ""
    body("JSON", label, text, f"{fine} acknowledged {SIGNLESS}")
body("JSON", "an empty list", b"[]", f"{EMPTY_LIST} acknowledged {SIGNLESS}", never=EMPTY_IS_RIGHT)
body("JSON", "an empty object", b"{}", f"group {SIGNLESS}", never="acknowledged")
body("JSON", "one byte less", lambda said, _: said.body[:-1], f"acknowledged {SIGNLESS}")
body("JSON", "one byte more", lambda said, _: said.body + b"x", f"acknowledged {SIGNLESS}")
body("JSON", "twice", lambda said, _: said.body * 2, f"acknowledged {SIGNLESS}")
body("JSON", "behind a guard", lambda said, _: b")]}',\n" + said.body, f"acknowledged {SIGNLESS}")
body("JSON", "a trailing comma", lambda said, _: said.body[:-1] + b"," + said.body[-1:], f"acknowledged {SIGNLESS}")
body("JSON", "in a list", lambda said, _: b"[" + said.body + b"]", f"{LISTS} acknowledged {SIGNLESS}")
body("JSON", "in an object", lambda said, _: b'{"data":' + said.body + b"}", f"acknowledged {SIGNLESS}")
body("JSON", "as a text", lambda said, _: json.dumps(said.body.decode()).encode(), f"ok acknowledged {SIGNLESS}")
body("bytes", "with a byte order mark", lambda said, _: b"\xef\xbb\xbf" + said.body, "*")
body("bytes", "in UTF-16", lambda said, _: said.body.decode().encode("utf-16"), f"acknowledged {SIGNLESS}")
body("bytes", "in UTF-16 without a mark", lambda said, _: said.body.decode().encode("utf-16-be"), f"acknowledged {SIGNLESS}")
body("bytes", "in UTF-32", lambda said, _: said.body.decode().encode("utf-32"), f"acknowledged {SIGNLESS}")
body("bytes", "behind NUL", lambda said, _: b"\0" + said.body, f"acknowledged {SIGNLESS}")
body("bytes", "with NUL behind", lambda said, _: said.body + b"\0" * 100, f"acknowledged {SIGNLESS}")
body("bytes", "gzip, said nowhere", lambda said, _: gzip.compress(said.body), f"acknowledged {SIGNLESS}")


def objects(value):
    """All objects of a value, and in it."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from objects(item)


def beside(name, text, harmless="*"):
    """One more field in every object, told as bytes."""
    def made(said, _):
        return said.body.replace(b"{", b'{"zz":' + text + b", ").replace(b", }", b"}") if said.data is not None else text
    body("beside it", name, made, harmless, never="ok")


beside("a field of 100 levels", b"[" * 100 + b"]" * 100)
beside("a field of 200 levels", b"[" * 200 + b"]" * 200)
beside("a field of bytes that are no text", b'"\xff\xfe\xc0\xaf\xed\xa0\x80"')
beside("a lone surrogate", b'"\\ud800"')
beside("a raw control character", b'"\x01\x1b[31m"')
beside("a number of 5 000 digits", b"1" * 5000)
beside("a number beyond all bounds", b"-1e9999999")
beside("words that turn the writing", '"\u202e\u2066<img onerror=x>\\u0000"'.encode())
beside("a text of 100 KB", b'"' + b"y" * 100_000 + b'"')


def doubled(said, _):
    """Every field twice: first wrong, then right. Who takes the last one is none the wiser."""
    text = said.body.decode()
    for thing in objects(said.data):
        for key, value in thing.items():
            if isinstance(value, (str, bool, type(None))):
                pair = f"{json.dumps(key)}: {json.dumps(value)}"
                lie = json.dumps("lie" if isinstance(value, str) else not value)
                text = text.replace(pair, f"{json.dumps(key)}: {lie}, {pair}", 1)
    return text.encode()


# The design's own rule: what says two things says nothing.
body("JSON", "every key twice", doubled, f"commits object group acknowledged {SIGNLESS}", never="ok")


def corrupted(said, _):
    """Every text holds bytes that are no text."""
    return said.body.replace(b'": "', b'": "\xff')


body("bytes", "bytes that are no text in every word", corrupted,
     f"refusals list object commits listing groups group account inventory acknowledged", never="ok")


def erring(name, field):
    def made(said, _):
        return json.dumps({**(said.data if isinstance(said.data, dict) else {}), **field}).encode()
    content("200 with an error", name, lambda said, p: replace(said, status=200, body=made(said, p),
                                                              headers=(JSON, *others(said))), never="")


erring("200, error", {"error": "Internal Error"})
erring("200, errors", {"errors": [{"message": "Internal Error"}]})
erring("200, an error that is a list", {"error": ["a", "b"]})
content("200 with an error", "200, an error in the headers", lambda said, _: Said(
    200, (TEXT, ("X-Error-Message", "Forbidden"), ("X-Error-Code", "RepoNotFound")), b"OK"))

"""The faults: what is done to an answer, and what may then be said.

Knows the orders of the simulated Hub and the names of what wire.py does; knows nothing of who is asked, or of
what is right.  Serves faults.py.
"""

from dataclasses import dataclass

from wire import SPOILS

EVERY = frozenset({"check", "place", "list", "object", "create"})


@dataclass(frozen=True)
class Fault:
    family: str
    name: str
    order: tuple                # items of the simulator's order
    may: frozenset | None       # reasons of an undetermined answer; None: the answer must be right all the same
    shapes: frozenset = EVERY   # the kinds of question it is for
    either: bool = False        # right is right as well: the question took effect, or its answer shows in part

    @property
    def title(self):
        return f"{self.family}: {self.name}"


def fault(family, name, may, shapes=None, either=False, **order):
    reasons = None if may is None else frozenset(may.split())
    return Fault(family, name, tuple(order.items()), reasons, frozenset(shapes.split()) if shapes else EVERY, either)


def status(family, name, code, may, body=None, shapes=None, **more):
    if body is not None:
        more["body"] = body
    return fault(family, name, may, shapes, kind="status", status=code, **more)


def page(name, code, body=None):
    more = {} if body is None else {"body": body}
    return fault("HTML", name, "unrecognized", kind="html", status=code, **more)


def success(name, body, shapes=None, family="wrong shape", code=200, **more):
    """A success whose body is not what the question promises."""
    return fault(family, name, "unrecognized", shapes, kind="wrong_shape", status=code, body=body, apply="before", **more)


def window(reset):
    return {"RateLimit": f'"api";r=0;t={reset}'}


def error(text):
    return {"error": text}


TEXT = {"Content-Type": "text/plain"}
HTML = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Just a moment…</body></html>"
FOUND = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
CAP = {"RateLimit": '"api";r=4321;t=250'}
CAP_TEXT = error("You have exceeded the rate limit for repository creation (300 per day).")
READING = "check place list object"
PLACE = {"namespace": {"id": "0" * 24, "name": "x"}, "user": {"id": "0" * 24, "name": "x"}}
LACKING = "You don't have the required permissions to complete this action on namespace x, missing permissions: job.write."

# -- what strikes one question -----------------------------------------------------------------------------------

QUICK = [
    status("429 window", "r=0", 429, "rate_limited", headers=window(0)),
    status("429 window", "r=0, Retry-After", 429, "rate_limited", headers={**window(0), "Retry-After": "0"}),
    fault("429 window", "r=0, a page", "rate_limited", kind="html", status=429, headers=window(0)),
    status("429 action cap", "r=4321", 429, "rate_limited creation_cap", shapes=READING, headers=CAP),
    status("429 action cap", "its own text", 429, "rate_limited creation_cap", CAP_TEXT, READING, headers=CAP),
    *(status("5xx", str(code), code, "hub_error") for code in (500, 501, 502, 503, 504, 520, 529)),
    fault("5xx", "503 page", "hub_error", kind="html", status=503),
    status("5xx", "500 that says denied", 500, "hub_error", error(LACKING)),
    fault("reset", "before", "network", "place create", kind="reset"),
    fault("reset", "after", "network", "place create", kind="reset", apply="after"),
    # What a kept connection swallowed is asked once more, if it is a read, and nothing strikes that.
    fault("reset", "a read, before", "network", "check list object", either=True, kind="reset"),
    fault("reset", "a read, after", "network", "check list object", either=True, kind="reset", apply="after"),
    page("200", 200, HTML), page("401", 401, HTML), page("403", 403, HTML), page("404", 404, HTML),
    page("200, OK in it", 200, "OK"),
    success("HTML called JSON", HTML, family="HTML"),
    success("HTML called text", HTML, family="HTML", headers=TEXT),
    success("another object", {"unexpected": True}),
    success("an empty object", {}),
    success("null", "null"),
    success("a number", "1"),
    success("an empty body", ""),
    success("204", "", code=204),
    success("202 later", {"status": "queued"}, code=202),
    success("OK, called text", "OK", "place list object create", headers=TEXT),
    success("a list of nothing known", [{"unexpected": 1}]),
    success("names that are numbers", {"namespace": {"name": 1}, "user": {"name": 2}}, "place"),
    success("207 without patterns", PLACE, "place", code=207),
    success("the user is missing", {"namespace": PLACE["namespace"]}, "place"),
    success("whoami's answer", {"type": "user", "name": "x", "auth": {"type": "access_token"}}),
    success("denied, in words", "Forbidden", "check", headers=TEXT),
    success("error", error("Internal Error"), family="200 with an error"),
    success("errors", {"errors": [{"message": "Internal Error"}]}, family="200 with an error"),
    success("error list", error(["a", "b"]), family="200 with an error"),
    success("error in the right shape", {**PLACE, "usage": {}, **error("x")}, "place object", "200 with an error"),
    success("header only", "OK", family="200 with an error", headers={"X-Error-Message": "Forbidden", **TEXT}),
    success("half of JSON", '{"namespace":{"id":"0123","name":"a', family="truncated"),
    success("half of a list", '[{"id":"0123","user":"a","visib', family="truncated"),
    fault("truncated", "connection cut", "network unrecognized", kind="cut_body"),
    *(fault("redirect", str(code), "unrecognized", kind="redirect", status=code) for code in (301, 302, 303, 307, 308)),
    fault("redirect", "to a login page", "unrecognized", kind="redirect", status=302, headers={"Location": "/login"}),
    status("redirect", "without an address", 302, "unrecognized", ""),
    fault("lag", "late, in time", None, kind="delay", delay_ms=120),
    fault("lag", "done, told late", None, kind="delay", delay_ms=120, apply="after"),
    status("other status", "402", 402, "billing"),
    status("other status", "403 without envelope", 403, "unrecognized", "Forbidden"),
    status("other status", "403 of a gateway", 403, "unrecognized", {"message": "Forbidden"}),
    status("other status", "403 disabled", 403, "target_missing", error("Access to this resource is disabled.")),
    status("other status", "404 of a gateway", 404, "unrecognized target_missing", {"message": "Not Found"}),
    status("other status", "404, no such page", 404, "unrecognized target_missing",
           error("Sorry, we can't find the page you are looking for.")),
    *(status("other status", str(code), code, "unrecognized") for code in (405, 410, 418, 451)),
    status("other status", "408", 408, "timeout"),
    status("other status", "409", 409, "conflict", error("Conflict")),
]
SLOW = [
    fault("timeout", "no answer ever", "timeout", kind="hang"),
    fault("timeout", "done, no answer", "timeout", kind="hang", apply="after"),
    fault("timeout", "too late", "timeout", kind="delay", delay_ms=15_000),
]
WIRED = [
    fault("slow body", "slow body, in time", None),
    fault("slow body", "slow body", "timeout network"),
    fault("slow body", "slow head", "timeout network"),
    fault("reset", "closed unanswered", "network"),
    fault("truncated", "half a head", "network"),
    fault("truncated", "half a body, closed", "network"),
    # The Hub gives a refusal's text in a header as well, so that it may survive the loss of its body.
    fault("truncated", "length one short", "unrecognized network", either=True),
    fault("truncated", "no length, no body", "unrecognized network", either=True),
    fault("wrong shape", "2 MiB too long", "unrecognized"),
    fault("wrong shape", "gzip that is none", "unrecognized"),
    fault("wrong shape", "no HTTP", "network"),
]
assert {f.name for f in WIRED} == set(SPOILS)

# Answers that nobody could tell from the Hub's own. Verdicts must go wrong, or the comparison sees nothing.
# It names no namespace: one that is not the asked one would give it away.
DENIAL = status("lie", "denied", 403, "", error(LACKING.replace(" on namespace x", "")), "place list object")
GRANT = success("granted", "OK", "check", "lie", headers=TEXT)

# -- what strikes a creation, and the canary afterwards ----------------------------------------------------------


def posted(family, name, may, **order):
    return fault(family, name, may, either=True, **order)


POSTED = [
    status("429 window", "r=0", 429, "rate_limited", headers=window(0)),
    status("429 action cap", "its own text", 429, "creation_cap", CAP_TEXT, headers=CAP),
    status("429 action cap", "r=4321", 429, "creation_cap", headers=CAP),
    posted("5xx", "500, not made", "hub_error", kind="status", status=500),
    posted("5xx", "500, but made", "hub_error", kind="status", status=500, apply="after"),
    posted("5xx", "503 page, but made", "hub_error", kind="html", status=503, apply="after"),
    posted("reset", "not made", "network", kind="reset"),
    posted("reset", "but made", "network", kind="create_then_drop"),
    posted("timeout", "made, no answer", "timeout", kind="hang", apply="after"),
    posted("HTML", "403, not made", "unrecognized", kind="html", status=403),
    posted("HTML", "200, but made", "unrecognized", kind="html", apply="after"),
    posted("wrong shape", "not made", "unrecognized", kind="wrong_shape", apply="before"),
    posted("wrong shape", "but made", "unrecognized", kind="wrong_shape"),
    posted("200 with an error", "not made", "unrecognized", kind="wrong_shape", apply="before", body=error("x")),
    posted("200 with an error", "but made", "unrecognized", kind="wrong_shape", body=error("x")),
    posted("truncated", "but made", "network", kind="cut_body"),
    posted("redirect", "307, not made", "unrecognized", kind="redirect"),
    status("other status", "402", 402, "billing"),
    status("other status", "409 lock", 409, "conflict",
           error("Cannot create repo: another conflicting operation is in progress")),
    posted("other status", "409 taken", "conflict", kind="status", status=409,
           body=error("You already created this model repo")),
    fault("lag", "late, in time", None, kind="delay", delay_ms=150),
    fault("lag", "seen later", None, kind="lag", delay_ms=700),
]
# What becomes of the canary never changes the answer.
AFTERWARDS = [
    fault("lag", "gone later", None, kind="lag", delay_ms=700, route="delete"),
    status("lag", "not found at first", 404, None, error("Repository not found"), headers=FOUND, route="read", times=2),
    status("5xx", "500 on the look", 500, None, route="read"),
    fault("HTML", "200 on the look", None, kind="html", route="read"),
    status("5xx", "500 on the deletion", 500, None, route="delete"),
    fault("reset", "deletion, after", None, kind="reset", apply="after", route="delete"),
    status("429 window", "on the deletion", 429, None, headers=window(0), route="delete"),
]

# -- what strikes an organization's whole round ------------------------------------------------------------------

JANITOR, TOKENS = "{janitor}", "{tokens}"


def strike(route, token, **order):
    """{o} in `contains` is the organization."""
    return {"route": route, "token": token, "kind": "status", **order}


WIDE = {
    "overview 500": [strike("overview", JANITOR, status=500)],
    "overview page": [strike("overview", JANITOR, kind="html")],
    "overview of another": [strike("overview", JANITOR, kind="wrong_shape", body={"name": "somebody-else"})],
    "listing 429": [strike("list", JANITOR, status=429, headers=window(250))],
    "listing page": [strike("list", JANITOR, kind="html")],
    "listing wrong": [strike("list", JANITOR, kind="wrong_shape")],
    "proofs 500": [strike("read", JANITOR, contains="/{o}/push-", status=500)],
    "proofs reset": [strike("read", JANITOR, contains="/{o}/team", kind="reset")],
    "proofs page": [strike("read", JANITOR, contains="/{o}/closed", kind="html", status=404)],
    "sentinel page": [strike("read", JANITOR, contains="/{o}/known-set", kind="html")],
    "sentinel gone": [strike("read", JANITOR, contains="/{o}/known-set", status=404, headers=FOUND)],
    "whoami 429": [strike("whoami", TOKENS, status=429, headers=window(250))],
    "whoami 500": [strike("whoami", TOKENS, status=500)],
    "whoami page": [strike("whoami", TOKENS, kind="html")],
    "whoami wrong": [strike("whoami", TOKENS, kind="wrong_shape")],
    "whoami reset": [strike("whoami", TOKENS, kind="reset")],
    "whoami 401 once": [strike("whoami", TOKENS, status=401, times=1)],
    "dead from now on": [strike("*", TOKENS, skip=4, status=401)],
    "window used up": [strike("*", TOKENS, skip=5, times=1, status=429, headers=window(250))],
    "janitor dies": [strike("*", JANITOR, skip=6, status=401)],
    "everything 503": [strike("*", who, status=503) for who in (TOKENS, JANITOR)],
    "everything granted": [strike(route, who, kind="wrong_shape", body="OK", apply="before")
                           for route in ("auth-check", "read") for who in (TOKENS, JANITOR)],
}

"""How each failpoint is reached, and what the Hub does with the request that is under way then.

Knows the names in src/failpoint.rs (a name without a row here is a failure) and the kinds of fault of the
simulated Hub.  Serves run.py.
"""

import re
from dataclasses import dataclass

from bench import ROOT

FATES = ("applied", "lost", "late")
LATE_MS = 600                       # well within the horizon


@dataclass(frozen=True)
class Way:
    """A run that reaches a point.  `fate` befalls the first request of `route`."""
    route: str                      # create | delete
    after: str = ""                 # an earlier process died while this was in the air: create | delete
    hit: int = 1                    # which time the point is reached
    shape: str = "plain"            # what the point needs of the Hub: plain | answered | slow | slow look | unanswered
    command: str = "audit"          # audit | serve | stop (serve, and SIGTERM while a creation is in the air)
    runs: int = 1                   # it may take so many runs until it is reached
    late_ms: int = LATE_MS          # what "late" means here


FIRST = Way("create")               # before anything was created in the first process: the next one's POST is struck
AGAIN = Way("create", after="create")
CREATE, DELETE, STOP = Way("create"), Way("delete"), Way("delete", command="stop")
GONE = Way("delete", after="delete", runs=4)

WAYS = {
    "app.begun": AGAIN, "open.locked": AGAIN, "open.made": FIRST, "open.connected": AGAIN, "open.checked": AGAIN,
    "migrate.begun": FIRST, "migrate.scripted": FIRST, "migrate.recorded": FIRST, "migrate.done": FIRST, "app.opened": AGAIN,
    "key.drafted": FIRST, "key.synced": FIRST, "key.renamed": FIRST, "app.keyed": AGAIN, "app.loaded": AGAIN,
    "head.drafted": Way("create", hit=2), "head.replaced": Way("create", hit=2),    # of the intent
    "app.built": AGAIN, "serve.listening": Way("create", after="create", command="serve"),
    "loop.begun": AGAIN, "loop.keys": AGAIN, "loop.recovered": AGAIN, "loop.stored": AGAIN,
    "loop.shown": Way("create", hit=3), "loop.reported": DELETE,
    "loop.send.whoami-v2": FIRST, "loop.landed.whoami-v2": FIRST,
    "loop.send.overview": AGAIN, "loop.landed.overview": AGAIN, "loop.send.type": AGAIN, "loop.landed.type": AGAIN,
    # Of a repository's description three are asked by the control, then two by the visit that precedes the DELETE
    # (anonymously, and for the identity), then one by the look at its absence.
    "loop.send.repo": Way("delete", hit=5), "loop.landed.repo": Way("delete", hit=5),
    "loop.send.rev": DELETE, "loop.landed.rev": DELETE,
    "loop.send.create": CREATE, "loop.landed.create": CREATE, "loop.send.delete": DELETE, "loop.landed.delete": DELETE,
    "probe.before.repo": Way("delete", hit=5), "probe.waiting.repo": Way("delete", hit=5, shape="slow look"),
    "probe.headed.repo": Way("delete", hit=5), "probe.read.repo": Way("delete", hit=5),
    "probe.before.create": CREATE, "probe.waiting.create": Way("create", shape="slow"),
    "probe.headed.create": Way("create", shape="answered"), "probe.read.create": Way("create", shape="answered"),
    "probe.before.delete": DELETE, "probe.waiting.delete": Way("delete", shape="slow"),
    "probe.headed.delete": Way("delete", shape="answered"), "probe.read.delete": Way("delete", shape="answered"),
    **{f"{stage}.{state}": way
       for stage in ("write.asked", "write.begun", "write.filled", "write.committed", "row.canary", "row.transition")
       for state, way in {"planned": CREATE, "created": DELETE, "deleting": DELETE, "del_unknown": DELETE, "gone": GONE,
                          "unknown": Way("create", shape="unanswered"), "rest": FIRST}.items()},
    "row.canary.unknown": AGAIN, "row.attempt": DELETE, "row.sighting": DELETE, "row.creation": CREATE,
    "row.evidence.opened": AGAIN, "row.evidence.canary": CREATE, "row.evidence.creation": CREATE,
    "row.evidence.finding_began": DELETE,
    "row.check": DELETE, "row.answer": DELETE, "row.finding": DELETE, "row.declared": FIRST,
    # Only a daemon that serves tells anybody.
    "row.alert": Way("delete", command="serve"), "row.owed": Way("delete", command="serve"),
    "serve.stopping": STOP, "loop.stopped": STOP, "loop.ended": STOP, "loop.drained": STOP, "serve.over": STOP,
    "app.ended": DELETE, "store.closing": DELETE, "store.closed": DELETE,
}

# Where a process sleeps past the horizon and goes on: what it was about to send is stale then.
STOPS = ("write.filled.planned", "write.committed.planned", "loop.send.create", "probe.before.create",
         "probe.waiting.create", "loop.landed.create", "loop.landed.repo", "write.committed.deleting",
         "loop.send.delete", "probe.before.delete", "probe.waiting.delete", "loop.landed.delete")


def names():
    """Every point, as the table of the source has them."""
    text = (ROOT / "src/failpoint.rs").read_text()
    table = text[text.index("const POINTS"):]
    table = table[:table.index("\n];")]
    found = []
    for name, kinds in re.findall(r'\("([a-z.]+)",\s*&\[(.*?)\]\)', table):
        kinds = re.findall(r'"([^"]+)"', kinds)
        found += [f"{name}.{kind}" for kind in kinds] or [name]
    return found


def faults(way, fate, action):
    """What the Hub is told for the main run, so that the point is reached and the request has that fate."""
    strikes = {"route": way.route, "times": 1}
    # A broken connection for one action, a gateway that gave up for the other: neither says what became of it.
    broken = {"kind": "reset"} if action == "kill" and way.shape != "answered" else {"kind": "status", "status": 504}
    if way.shape == "slow":
        return slow(way.route, fate, way.late_ms)
    if way.shape == "slow look":
        looks = {"route": "read", "method": "GET", "kind": "delay", "delay_ms": 400, "times": 8}
        return [looks, *faults(Way(way.route), fate, action)]
    told = {"applied": [], "lost": [{**strikes, **broken}], "late": [{**strikes, **broken, "late_ms": way.late_ms}]}[fate]
    if way.shape == "unanswered" and fate == "applied":
        return [{**strikes, "kind": "create_then_drop"}]
    if way.command == "stop":
        # So that the creation is in the air when the signal comes.
        told = [*told, {"route": "create", "kind": "delay", "delay_ms": 500, "apply": "after", "times": 1}]
    return told


def slow(route, fate, late_ms=LATE_MS):
    """The answer is waited for, long enough to die meanwhile."""
    told = {"applied": {"kind": "delay", "delay_ms": 500, "apply": "after"}, "lost": {"kind": "hang"},
            "late": {"kind": "delay", "delay_ms": late_ms}}[fate]
    return [{"route": route, "times": 1, **told}]

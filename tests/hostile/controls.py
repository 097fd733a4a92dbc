"""Defects planted on purpose, each of which this suite must find; one that it misses fails the suite.

Perfect lies, which the daemon cannot but believe, told to every permission; a careless client in the daemon's place;
and logs that tell of a panic.  Nothing is rebuilt.  Serves run.py.
"""

import os
import select
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from bench import Broken, Files, environment, resident
from calls import CALLS
from judge import complaints, files_back, flat, grown, late
from pairs import Pair, Pairs, Seat
from server import Hub, Strike
from world import GUARD, HIDDEN, OK, PROBES, UNDETERMINED, Organization, refuses, says
from zoo import GRANTS, REFUSALS, ZOO, Behaviour, written

CARELESS = Path(__file__).resolve().parent / "careless.py"


def granting(permission, shape):
    """A grant as the Hub would give it, to whoever is refused."""
    fields = {"user": "x", "role": "admin", "visibility": "private", "type": "x", "id": "x"}

    def grant(said):
        if shape == "place":
            name = said.data["error"].split("namespace ")[1].split(",")[0]
            return says({"namespace": {"id": "0" * 24, "name": name}, "user": {"id": "0" * 24, "name": f"{name}-cannot-user"}})
        return {"ok": OK, "list": says([fields]), "object": says({"usage": {}, "enforceIpRestriction": False})}[shape]

    async def act(link, said, _place):
        await link.send(written(grant(said)))
        return True
    return Behaviour(f"a perfect grant of {permission}", "planted", act, frozenset(), GRANTS)


def denying(permission):
    """A refusal as the Hub would give it, to whoever is not."""
    said = {"repo.read": HIDDEN, "repo.write": refuses(403, GUARD)}.get(
        permission, refuses(403, "You don't have the required permissions for this"))

    async def act(link, _said, _place):
        await link.send(written(said))
        return True
    return Behaviour(f"a perfect denial of {permission}", "planted", act, frozenset(), REFUSALS)


def perfect():
    """Of every permission a grant and a denial that nobody could tell from the truth."""
    calls = {call.name: call for call in CALLS if call.kind in "rs"}
    for permission, _, _, shape in PROBES:
        yield Pair(calls[permission], granting(permission, shape))
        yield Pair(calls[permission], denying(permission))


# sin, the behaviour that tempts to it, what is judged
SINS = [
    ("follows", "redirect to another port", "hub"), ("follows", "redirect to another host", "hub"),
    ("follows", "redirect relative", "hub"), ("follows", "redirect without a scheme", "hub"),
    ("waits", "silence in the body", "late"), ("waits", "a byte of the body a second", "late"),
    ("hoards", "endless chunks", "memory"), ("unpacks", "gzip bomb", "memory"), ("grows", None, "flat"),
    ("asks twice", None, "world"), ("makes it public", None, "world"), ("makes no canary", None, "world"),
    ("deletes", None, "world"), ("goes on after a change", None, "hub"), ("is nosy", None, "hub"),
    ("mixes tokens up", None, "hub"), ("keeps files", None, "files"),
]
LOGS = [b"thread 'main' panicked at src/round/mod.rs:1:1:\n", b"ERROR logging: a part of scopewatch failed unexpectedly; please\n",
        b"assertion failed: known\n", b"INFO all is well\nfatal runtime error: stack overflow\n"]

FINE = b"INFO app: started\nWARN app: a round was skipped: the one before it is still running\n"

# Which test of the tally a judgement belongs to.
ROWS = {"memory": "memory", "flat": "memory", "files": "limits", "log": "limits"}


class Controls:
    def __init__(self):
        self.planted, self.caught, self.missed = Counter(), Counter(), []

    def take(self, name, found, judged="behaviours"):
        row = ROWS.get(judged, "behaviours")
        self.planted[row] += 1
        self.caught[row] += bool(found)
        if not found:
            self.missed.append(f"planted, and not found: {name}")

    def go(self):
        self.lies()
        self.bystander()
        for sin, behaviour, judged in SINS:
            self.take(f"careless: {sin} {behaviour or ''}", self.sin(sin, behaviour, judged), judged)
        for log in LOGS:
            self.take(f"log: {log!r}", complaints(log), "log")
        if complaints(FINE) or not flat([40_000, 40_900, 41_000]) or grown(2000, 1) or not files_back(20, 24):
            self.missed.append("what is fine was taken for a defect")

    def lies(self):
        pairs = list(perfect())
        with Hub() as hub, Files() as files:
            run = Pairs(hub, files, pairs, {kind: sum(p.call.kind == kind for p in pairs) for kind in "rs"})
            run.run(120)
        for pair in pairs:
            wrong = "though denied is right" if "grant" in pair.behaviour.name else "though allowed is right"
            self.take(pair.title, any(v.startswith(pair.title) and wrong in v for v in run.violations))

    def bystander(self):
        """A check that comes out undetermined, though only a neighbour of it was struck."""
        organization = Organization("s0000")
        pair = Pair(next(call for call in CALLS if call.name == "org.billing"), ZOO[0])
        seat = Seat(organization, state="struck", pair=pair, strike=Strike(pair.call.name, pair.behaviour, hits=[(0, "can", "ok")]))
        struck, missed = pair.call.decides(organization, "can"), []
        for bystander in sorted(set(organization.checks) - struck):
            told = {key: organization.truth(key) for key in organization.checks}
            told |= {key: UNDETERMINED for key in (*struck, bystander)}
            results = {key: {"access": access, "reason": {"allowed": None, "denied": "other"}.get(access, "hub_error")}
                       for key, access in told.items()}
            run = Pairs(None, None, [], {})
            run.judge(seat, results, seat.strike.hits, full=True, lag=0.0)
            if len(run.violations) != 1 or str(bystander) not in run.violations[0]:
                missed.append(bystander)
        self.take(f"undetermined, and not struck: {missed}", not missed)

    def sin(self, sin, name, judged):
        behaviour = next((b for b in ZOO if b.name == name), None)
        with Hub() as hub:
            organization = Organization("m0000")
            hub.add(organization)
            if behaviour:
                hub.strikes[organization.name] = Strike("overview", replace(behaviour))
            argv = [sys.executable, str(CARELESS), sin, hub.url, organization.secrets["can"], organization.name]
            client = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment())
            try:
                return self.judged(judged, client, hub, organization)
            finally:
                client.kill()
                client.wait()
                client.stdout.close()
                client.stdin.close()

    @staticmethod
    def hear(client):
        """Waits for its next word."""
        if not select.select([client.stdout], [], [], 60)[0]:
            raise Broken("the careless client hangs")
        client.stdout.readline()

    @staticmethod
    def judged(judged, client, hub, organization):
        Controls.hear(client)
        begun, files = resident(client.pid), len(os.listdir(f"/proc/{client.pid}/fd"))
        client.stdin.write(b"go\n")
        if judged == "late":
            # Longer than any honest client would wait; then it is ended, and the Hub sees for how long it stayed.
            time.sleep(5)
            client.kill()
            for _ in range(50):
                if not hub.spans:
                    time.sleep(0.1)
            return late(hub.spans, 2.0)
        if judged == "flat":
            samples = [begun]
            while not select.select([client.stdout], [], [], 0.3)[0]:
                samples.append(resident(client.pid))
            return not flat([*samples, resident(client.pid)])
        Controls.hear(client)
        if judged == "memory":
            return grown(resident(client.pid, "VmHWM") - begun, 1)
        if judged == "files":
            return not files_back(files, len(os.listdir(f"/proc/{client.pid}/fd")))
        time.sleep(0.1)
        return hub.violations if judged == "hub" else organization.wrong


if __name__ == "__main__":
    started, controls = time.monotonic(), Controls()
    controls.go()
    print(dict(controls.planted), dict(controls.caught), controls.missed, f"{time.monotonic() - started:.0f} s")

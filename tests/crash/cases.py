"""The cases: one death, or many, and what is asked of the Hub afterwards.

Knows how to play each of them on a Hub; what must hold is in record.py, how a point is reached in points.py.
Serves run.py.
"""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from dataclasses import dataclass, field, replace

from bench import ALWAYS, BIN, DIED, HORIZON, Broken, Home, wait_until
from points import FATES, LATE_MS, STOPS, WAYS, faults, names, slow
from record import Asleep, Journal, Record

ASLEEP = 3.5                        # past the horizon and past the send gate's two seconds
KILLS = 5                           # of one life
EVIDENCE = subprocess.run([BIN, "evidence", "--help"], capture_output=True, check=False).returncode == 0


@dataclass
class Outcome:
    wrong: list = field(default_factory=list)
    ran: bool = True
    created: int = 0
    deleted: int = 0
    quarantined: int = 0
    open: int = 0                   # canaries that were neither refused nor gone at a death
    seconds: float = 0.0
    figures: str = ""               # what was measured, in words


class Case:
    """Something that is played on a Hub, in an organization of its own.  `planted`: a defect that it is to catch."""

    weight, planted, home = 1, None, {}

    def play(self, hub, keep=False):
        home = Home(hub, **self.home)
        outcome = Outcome(["it broke"])
        try:
            clean = self.act(home)
            outcome = self.judge(home, Record(home), clean)
            return outcome
        finally:
            if keep and outcome.wrong and not self.planted:
                kept = tempfile.mkdtemp(prefix="scopewatch-crash-kept-")
                shutil.copytree(home.dir, kept, dirs_exist_ok=True)
                print(f"kept    {self.name}: {kept}", flush=True)
            home.close()

    def judge(self, home, record, clean, asleep=None):
        wrong = record.violations(asleep)
        if not clean:
            wrong.append("the sweeps did not come to an end: " + home.told()[-600:])
        if EVIDENCE and home.run("evidence", "verify") != 0:
            wrong.append("the record does not verify: " + home.told()[-600:])
        return Outcome(wrong, created=len(record.ours), quarantined=len(record.quarantined()),
                       deleted=sum(c["kind"] == "deleted" and c["id"] in record.ours for c in record.changes))


def reached(home, point, action, hit=1, command="audit", **how):
    """A run that must die at a point.  Whether it did."""
    process = home.start("serve" if command == "stop" else command, at=f"{point}@{hit}:{action}", **how)
    if command == "stop":
        wait_until(lambda: process.poll() is not None or any(q["route"] == "create" for q in home.requests()), 20,
                   "a creation is in the air")
        process.send_signal(signal.SIGTERM)
    code = home.finish(process, 40)
    if code not in (0, 1, 3, DIED[action]):
        raise Broken(f"on the way to {point} the process ended with {code}\n{home.told()}")
    return code == DIED[action]


class Killed(Case):
    """One death at a failpoint."""

    row, patience = "crash/failpoints", 45

    def __init__(self, point, action, fate, way=None, planted=None, after=None, **home):
        """`planted`: a defect of the process that dies; `after`: one of those that clean up."""
        self.home = {**self.home, **home}
        self.point, self.action, self.fate, self.way = point, action, fate, way or WAYS[point]
        self.before_death, self.after_death, self.planted = planted, after, planted or after
        under = "" if self.way.command == WAYS[point].command else " under serve"
        self.name = " ".join((f"{point} {action} {fate}{under}", *(f"{k}={v}" for k, v in home.items())))
        self.name += f": {self.planted}" if self.planted else ""

    def act(self, home):
        way = self.way
        if way.after:
            home.hub.faults(slow(way.after, self.fate))
            if not reached(home, f"probe.waiting.{way.after}", "kill"):
                raise Broken(f"the death before {self.point} did not come\n{home.told()}")
        else:
            home.hub.faults(faults(way, self.fate, self.action))
        for run in range(way.runs):
            time.sleep(1.1 * HORIZON if run else 0)
            if reached(home, self.point, self.action, way.hit, way.command, planted=self.before_death):
                break
        else:
            raise Broken(f"{self.point} was not reached\n{home.told()}")
        self.meanwhile(home)
        clean = home.clean_up(self.patience, planted=self.after_death)
        time.sleep(way.late_ms / 1000 if self.fate == "late" else 0)
        return clean

    def meanwhile(self, home):
        """Between the death and the restart."""

    def judge(self, home, record, clean, asleep=None):
        outcome = super().judge(home, record, clean, asleep)
        if outcome.quarantined:
            outcome.wrong.append("a canary is in quarantine although nobody else touched it")
        return outcome


class Squatted(Killed):
    """After the death somebody takes the canary away and puts a repository of their own in its place."""

    # What is in somebody's hands is for a person: no sweep ends it, and an alert says so.
    row, patience = "crash/squatters", 0

    def __init__(self, point, **planted):
        super().__init__(point, "kill", "applied", **planted)
        self.name += " squatted"

    def meanwhile(self, home):
        self.taken = [name for name, repo in home.repos().items() if repo["origin"] == "created"]
        for name in self.taken:
            namespace, short = name.split("/")
            home.hub.ask("DELETE", "/api/repos/delete", {"organization": namespace, "name": short, "type": "model"},
                         home.secrets[home.stranger])
            home.hub.sim("POST", "repos", {"name": name, "type": "model", "private": True,
                                           "user": f"user-{home.stranger}"})
        home.before |= {name: repo for name, repo in home.repos().items() if name in self.taken}

    def judge(self, home, record, clean, asleep=None):
        outcome = Case.judge(self, home, record, True, asleep)
        if len(self.taken) != 1:
            raise Broken(f"there was nothing to take: {self.taken}")
        if record.quarantined() != self.taken:
            outcome.wrong.append(f"in quarantine: {record.quarantined()}, taken by somebody: {self.taken}")
        return outcome


def state_of(process):
    with open(f"/proc/{process.pid}/stat", encoding="utf-8") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0]


class Stopped(Killed):
    """The process sleeps past the horizon at a point, then goes on."""

    row = "crash/stops"
    # Longer than the sleep, so that no deadline of a request can stand in for the gate.
    home = {"timeout": "10s"}

    def __init__(self, point, fate, planted=None):
        super().__init__(point, "kill", fate, planted=planted)
        self.name = f"{point} stop {fate}" + (f": {planted}" if planted else "")

    def act(self, home):
        home.hub.faults(faults(self.way, self.fate, self.action))
        process = home.start("audit", at=f"{self.point}@{self.way.hit}:stop", planted=self.before_death)
        wait_until(lambda: process.poll() is not None or state_of(process) == "T", 20, "the process stops")
        if process.poll() is not None:
            raise Broken(f"{self.point} was not reached, the process ended with {process.poll()}\n{home.told()}")
        time.sleep(ASLEEP)
        self.asleep = Asleep(home)
        process.send_signal(signal.SIGCONT)
        code = home.finish(process, 60)
        if code not in (0, 1, 3):
            raise Broken(f"it went on, and ended with {code}\n{home.told()}")
        return home.clean_up()

    def judge(self, home, record, clean, asleep=None):
        return super().judge(home, record, clean, self.asleep)


class Overtaken(Stopped):
    """While the process sleeps, for less than its decision is good for, another one takes the store over, as where
    locks mean nothing; then it goes on."""

    row, home = "crash/stops", {}

    def __init__(self, point, planted=None):
        super().__init__(point, "applied", planted)
        self.name = f"{point} overtaken" + (f": {planted}" if planted else "")

    def act(self, home):
        for _ in range(5):
            if self.overtake(home):
                return home.clean_up()
            home.clean_up()
        raise Broken("taking over took too long every time: the send gate's two seconds stand in for the epoch")

    def overtake(self, home):
        """Whether it was quick enough to mean anything."""
        process = home.start("audit", at=f"{self.point}@{self.way.hit}:stop", planted=self.before_death)
        wait_until(lambda: process.poll() is not None or state_of(process) == "T", 20, "the process stops")
        began = time.monotonic()
        home.store.with_name("state.db.lock").unlink()
        count = len(home.requests())
        # It has looked, and the one that was overtaken must be silent from then on.
        other = home.start("canaries", "sweep")
        wait_until(lambda: len(home.requests()) > count, 20, "the other one looks")
        self.asleep = Asleep(home)
        process.send_signal(signal.SIGCONT)
        slept = time.monotonic() - began
        home.finish(process, 60)
        home.finish(other, 60)
        return slept < 1.5


# What may befall a request in a life of random deaths; every one of them ends by itself.
MISHAPS = (
    {"kind": "reset"}, {"kind": "reset", "late_ms": LATE_MS}, {"kind": "create_then_drop"}, {"kind": "cut_body"},
    {"kind": "status", "status": 500}, {"kind": "status", "status": 504, "late_ms": LATE_MS},
    {"kind": "status", "status": 502, "apply": "after"}, {"kind": "html", "status": 503},
    {"kind": "delay", "delay_ms": 300}, {"kind": "delay", "delay_ms": 700},
    {"kind": "delay", "delay_ms": 400, "apply": "after"}, {"kind": "lag", "delay_ms": 300},
    {"kind": "hang"}, {"kind": "hang", "late_ms": LATE_MS},
)
LOOKS = tuple(m for m in MISHAPS if m["kind"] in ("reset", "delay", "hang") and "late_ms" not in m)


class Life(Case):
    """A daemon that is killed again and again, at moments and under mishaps that its seed says."""

    row, weight = "crash/random", KILLS
    home = {"users": 3, "schedule": ALWAYS}

    def __init__(self, seed, number, planted=None):
        self.seed, self.number, self.planted, self.open = seed, number, planted, 0
        self.name = f"life {number} of seed {seed}" + (f": {planted}" if planted else "")

    def act(self, home):
        dice = random.Random(f"{self.seed}/{self.number}")
        for _ in range(KILLS):
            home.hub.faults(self.mishaps(dice))
            process = home.start("serve", planted=self.planted)
            self.wait(home, dice)
            if process.poll() is not None:
                raise Broken(f"it ended by itself, with {process.poll()}\n{home.told()}")
            os.kill(process.pid, signal.SIGKILL)
            home.finish(process)
            self.open += self.unsettled(home)
        home.hub.faults([])
        return home.clean_up()

    def wait(self, home, dice):
        # Half of the deaths come while it starts, recovers or makes its first canaries.
        time.sleep(dice.uniform(0.04, 0.5) if dice.random() < 0.5 else dice.uniform(0.3, 2.5))

    @staticmethod
    def unsettled(home):
        try:
            return sum(c["state"] not in ("gone", "refused") for c in Journal(home.store).canaries.values())
        except sqlite3.OperationalError:
            return 0                    # it died before there was a journal

    def mishaps(self, dice):
        orders = [{"route": route, "times": dice.choice((1, 1, 2)), **dice.choice(MISHAPS)}
                  for route in ("create", "delete") if dice.random() < 0.6]
        if dice.random() < 0.2:
            orders.append({"route": "read", "times": 3, **dice.choice(LOOKS)})
        return orders

    def judge(self, home, record, clean, asleep=None):
        outcome = super().judge(home, record, clean, asleep)
        outcome.open = self.open
        return outcome


# Later than a horizon of one second, and within the ten seconds that a creation is given at least.
LATER = replace(WAYS["probe.waiting.create"], late_ms=8000)
# Longer than a restart takes, however busy the machine is.
LONG = 6


class Marked(Life):
    """The same, with every death while a creation is in the air: there a planted defect must show."""

    def mishaps(self, dice):
        return [{"route": "create", "kind": "delay", "delay_ms": 700, "apply": "after"}]

    def wait(self, home, dice):
        seen = sum(q["route"] == "create" for q in home.requests())
        try:
            wait_until(lambda: sum(q["route"] == "create" for q in home.requests()) > seen, 15, "a creation in the air")
        except Broken:
            pass                        # it has enough to do with what it left: that is another moment to die
        time.sleep(dice.uniform(0.02, 0.4))


def controls():
    """Defects that must be found, each by the cases that are there for it."""
    yield Marked(0, 0, planted="re-POST after crash")
    yield Killed("probe.waiting.create", "kill", "applied", planted="POST before journal")
    yield Killed("probe.waiting.create", "kill", "lost", after="re-POST after crash")
    yield Squatted("write.committed.created", after="delete without id check")
    yield Killed("probe.waiting.delete", "kill", "lost", after="retry DELETE before its horizon", horizon=LONG)
    yield Killed("probe.waiting.create", "kill", "late", LATER, after="absent is gone before the create horizon")
    yield Stopped("probe.before.create", "applied", planted="no check at send")
    yield Overtaken("loop.send.create", planted="holder check instead of epoch")


# Where what is decided has not left.
OVERTAKEN = ("write.committed.planned", "loop.send.create", "probe.before.create",
             "write.committed.deleting", "loop.send.delete", "probe.before.delete")

# Where somebody may have come between: the canary is there, and the next start looks at it.
SQUATS = ("probe.waiting.create", "probe.read.create", "loop.landed.create", "write.filled.created",
          "write.committed.created", "loop.send.rev", "loop.landed.repo", "write.filled.deleting",
          "write.committed.deleting", "probe.before.delete")


def under_serve(point):
    """How the daemon reaches a point that an audit reaches, if it does."""
    way = WAYS[point]
    if way.command != "audit" or point == "app.ended":
        return None
    return replace(way, command="stop" if point.startswith("store.") else "serve")


def planned(seed, long):
    points = names()
    if set(points) != set(WAYS) & set(points):
        raise SystemExit(f"no way is known to reach {', '.join(sorted(set(points) - set(WAYS)))}; see points.py")
    ways = {point: [None] + [under_serve(point)] * (long and under_serve(point) is not None) for point in points}
    found = [Killed(point, action, fate, way)
             for point in points for way in ways[point] for action in DIED for fate in FATES]
    # What the controls spoil, unspoilt.
    found += [Killed("probe.waiting.create", "kill", "late", LATER)]
    found += [Killed("probe.waiting.delete", "kill", fate, horizon=LONG) for fate in FATES]
    found += [Stopped(point, fate) for point in STOPS for fate in FATES]
    found += [Overtaken(point) for point in OVERTAKEN]
    found += [Squatted(point) for point in SQUATS]
    found += [Life(seed, number) for number in range(400 if long else 40)] + [Marked(0, 0)]
    found += controls()
    # What takes longest begins first.
    return sorted(found, key=lambda c: (not isinstance(c, Life), isinstance(c, Killed) and c.fate == "applied"))

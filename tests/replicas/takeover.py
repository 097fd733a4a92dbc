"""Take-overs, one at a time: the leader is killed, ends in peace, or falls asleep, and somebody else goes on within its bound.

Whoever slept sends nothing that was decided before, wherever it fell asleep, and waits for its turn again when it wakes.  Two
more cases are planted: a sleeper that asks nobody at the gate, and two daemons that keep a journal each.
"""

import json
import re
import signal
import statistics
import threading
import time
import urllib.error

import judge
from bench import NEVER
from cases import OVERTAKEN, Case, Outcome
from points import WAYS
from replicas import FAILOVER, OFTEN, Database, Shared, SharedAsleep, SharedJournal, SharedRecord, first_request, wait_until

CLEAN_BOUND = 2.0                   # from the end of one process that was told to stop to the next one's first request
SLACK = 0.5                         # of a machine on which all cases run at once

_shared, _making = [], threading.Lock()


def shared():
    """One server for all of them."""
    with _making:
        if not _shared:
            _shared.append(Database())
        return _shared[0]


def posts(home):
    return sum(q["route"] == "create" for q in home.requests())


class TakeOver(Case):
    row, bound, kind = "replicas/takeover", FAILOVER, "killed"
    home = {"users": 3, "schedule": OFTEN}

    def __init__(self):
        self.name, self.took = f"the leader is {self.kind}", None

    def play(self, hub, keep=False):
        home = Shared(hub, shared(), **self.home)
        try:
            self.asleep = None
            wrong = self.act(home)
            wrong += [*home.settle(), *home.stop_all()]
            return self.judge(home, SharedRecord(home), wrong)
        finally:
            if not keep:
                home.close()

    def judge(self, home, record, wrong):
        logs = [one.log.read_text("utf-8", "replace") for one in home.replicas]
        wrong += [*judge.judged(record, asleep=self.asleep), *judge.told_wrong(record, judge.Watched(logs=logs))]
        if self.took is not None and self.took > self.bound + SLACK:
            wrong.append(f"the next one's first request came after {self.took:.1f} s, bound {self.bound:.1f} s")
        deleted = sum(c["kind"] == "deleted" and c["id"] in record.ours for c in record.changes)
        figures = f"next request after {self.took:.1f} s" if self.took is not None else ""
        return Outcome(wrong, created=len(record.ours), quarantined=len(record.quarantined()), deleted=deleted, figures=figures)

    def act(self, home):
        for _ in range(2):
            home.replica()
        leader = home.leader()
        wait_until(lambda: posts(home) >= 2, 20, "creations")
        epoch = SharedJournal(home).openings[-1]["epoch"]
        return self.strike(home, leader, epoch)

    def strike(self, home, leader, epoch):
        leader.kill()
        self.await_next(home, epoch, time.time())
        leader.start()
        return self.shows_life(home)

    def await_next(self, home, epoch, since):
        """Until the next one has asked the Hub."""
        def opened():
            return next((one["at"] for one in SharedJournal(home).openings if one["epoch"] > epoch), None)
        began = wait_until(opened, FAILOVER + 10, "somebody else takes the journal over")
        self.took = first_request(home, began, FAILOVER + 10) - since

    def shows_life(self, home):
        count = posts(home)
        wait_until(lambda: posts(home) > count, 20, "it goes on creating")
        return []


class First(TakeOver):
    """Nothing is ever due: what is probed is the round of its start (`schedule.on_start`). Who waits shows what it found, and goes
    on showing it when it leads, until its own first round is over."""

    kind, home = "the first of all", {"users": 1, "schedule": NEVER}

    def act(self, home):
        first = home.replica()
        wait_until(lambda: posts(home) == 1, 20, "the round of its start")
        waiting = home.replica()
        wait_until(lambda: waiting.leads() is False, 20, "the second one waits")
        wait_until(lambda: report(first) and shown(waiting) == shown(first), 20, "who waits shows what the leader shows")
        waiting.get("/-/ready")
        first.kill()
        return self.goes_on_showing(waiting, results(waiting))

    def goes_on_showing(self, waiting, before):
        def led_a_round():
            reports.append(results(waiting))
            return reports[-1] and reports[-1] != before
        reports = []
        wait_until(led_a_round, FAILOVER + 20, "the round of whoever leads next")
        wrong = ["for a while it had no report"] if None in reports else []
        newest = max(one["observed_at"] for one in before)
        older = [one for one in reports[-1] if one["observed_at"] <= newest]
        return wrong + [f"its own round has results of before: {older}"] * bool(older or len(reports[-1]) != len(before))


def shown(replica):
    """What it says of checks and findings."""
    states = [line for line in replica.get("/metrics").splitlines() if re.match("scopewatch_check_(allowed|drift|undetermined)", line)]
    findings = [one["id"] for one in json.loads(replica.get("/api/v1/findings"))["findings"]]
    return states, findings, report(replica)


def report(replica):
    """Its report without the time of the round, `None` while there is none."""
    try:
        told = json.loads(replica.get("/api/v1/report"))
    except urllib.error.HTTPError as refused:
        if refused.code != 503:
            raise
        return None
    return {part: told[part] for part in ("schema", "summary", "results", "canaries")}


def results(replica):
    told = report(replica)
    return told and told["results"]


class Ended(TakeOver):
    kind, bound = "told to stop", CLEAN_BOUND

    def strike(self, home, leader, epoch):
        code, seconds = leader.stop()
        self.await_next(home, epoch, time.time())
        leader.start()
        wrong = [f"told to stop it ended with {code}"] if code else []
        return wrong + [f"it took {seconds:.1f} s to stop"] * (seconds > 25) + self.shows_life(home)


class Asleep(TakeOver):
    kind = "frozen"

    def strike(self, home, leader, epoch):
        leader.send(signal.SIGSTOP)
        return self.sleep(home, leader, epoch)

    def sleep(self, home, leader, epoch):
        since = time.time()
        time.sleep(0.5)             # what was on its way is with the Hub
        self.asleep = SharedAsleep(home)
        self.await_next(home, epoch, since)
        leader.send(signal.SIGCONT)
        if self.planted:
            time.sleep(3)
            leader.kill()
            return []
        wait_until(lambda: "the lease of the journal was lost" in leader.said(), 10, "who slept notices that it lost the lease")
        wait_until(lambda: leader.leads() is False, 10, "the one that slept waits for its turn")
        return self.shows_life(home)


class AsleepAt(Asleep):
    """Where a decision is durable, or on its way to be, and has not left."""

    def __init__(self, point, planted=None):
        self.point, self.planted, self.took = point, planted, None
        self.name = f"the leader falls asleep at {point}" + (f": {planted}" if planted else "")

    def act(self, home):
        leader = home.replica(at=f"{self.point}@{WAYS[self.point].hit}:stop", planted=self.planted)
        wait_until(lambda: leader.process.poll() is not None or leader.is_stopped(), 40, f"{self.point} is reached")
        home.replica()
        return self.sleep(home, leader, SharedJournal(home).openings[-1]["epoch"])


class Divided(TakeOver):
    """Two daemons of one organization, each with a journal of its own: neither knows what the other one makes."""

    planted = "two journals"

    def __init__(self):
        super().__init__()
        self.name, self.took = "two daemons", None
        self.name += f": {self.planted}"

    def act(self, home):
        other = home.database.make(f"{home.name}_other")
        home.replica()
        home.replica(other)
        wait_until(lambda: posts(home) >= 6, 40, "creations")
        return []


def planned():
    return [First(), TakeOver(), Ended(), Asleep(), *(AsleepAt(point) for point in OVERTAKEN),
            AsleepAt("loop.send.create", planted="no check at send"), Divided()]


def summary(outcomes):
    taken = [case for case, outcome in outcomes if isinstance(case, TakeOver) and not case.planted and case.took is not None]
    died = sorted(case.took for case in taken if case.bound == FAILOVER)
    if died:
        yield (f"takeover: {len(died)} leaders that died or slept: the next one's first request after p50 {statistics.median(died):.1f} s, "
               f"at most {died[-1]:.1f} s (bound {FAILOVER} s)")
    for case in taken:
        if case.bound == CLEAN_BOUND:
            yield f"takeover: after a clean stop {case.took:.2f} s (bound {CLEAN_BOUND} s)"

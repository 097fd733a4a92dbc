"""The nemesis: replicas that share a journal, and strikes at moments that a seed says, until nothing holds still.

A strike is a SIGKILL and a start some seconds later, a SIGSTOP for longer than a lease lasts, a database that stops at
once and comes back, or connections of one replica to the database that end nowhere.  Afterwards every strike is over,
the survivors clean up, and judge.py is asked.
"""

import random
import signal
import threading
import time
from dataclasses import dataclass

import apart
import judge
from cases import Case, Outcome
from replicas import OFTEN, PERIOD, TTL, Broken, Database, Shared, SharedJournal, SharedRecord, wait_until

KINDS = ("kill", "freeze", "restart", "black hole")
OF_THE_DATABASE = ("restart", "promotion")


@dataclass
class Strike:
    kind: str
    at: float                       # seconds from the beginning
    lasts: float
    leader: bool                    # whoever leads then, or the one with this number
    number: int


def plan(seed, seconds, replicas, kinds):
    """Every kind comes up, and most of the strikes are for whoever leads."""
    dice, at, found, bag = random.Random(seed), 4.0, [], []
    lasts = {"kill": (0.5, 6), "freeze": (TTL + 1, TTL + 6), "restart": (0.3, 4), "black hole": (4, TTL + 5)}
    while at < seconds - 4:
        bag = bag or dice.sample(kinds, len(kinds))
        kind = bag.pop()
        found.append(Strike(kind, at, dice.uniform(*lasts[kind]), dice.random() < 0.7, dice.randrange(replicas)))
        at += dice.uniform(2, 9)
    return found


class Nemesis(Case):
    row, planted = "replicas/nemesis", None
    adopts, net = False, 0              # each case has addresses of its own

    def __init__(self, seed, long):
        self.seed, self.seconds, self.count = seed, 600 if long else 60, 5 if long else 3
        self.budget = 60 if long else 12
        self.kinds = [kind for kind in KINDS if kind != "black hole" or apart.is_apart()]
        self.strikes = plan(seed, self.seconds, self.count, self.kinds)
        self.name = f"{self.count} replicas, {len(self.strikes)} strikes in {self.seconds} s"
        self.addresses = [f"127.0.{self.net}.{11 + n}" for n in range(self.count)]
        self.started_again, self.held = 0, False
        self.controls = []          # of the judges, on this very record

    def play(self, hub, keep=False):
        self.lock, self.struck, self.done = threading.Lock(), set(), dict.fromkeys((one.kind for one in self.strikes), 0)
        self.watched = judge.Watched(period=PERIOD)
        self.over = threading.Event()
        database = self.database(self.addresses)
        home = None
        try:
            home = Shared(hub, database, budget=self.budget, adopts=self.adopts, users=3, schedule=OFTEN, room=1, slow=100)
            return self.act(home, database)
        finally:
            self.over.set()
            if home and not keep:
                home.close()
            database.close()

    @staticmethod
    def database(addresses):
        return Database(addresses)

    def url(self, home, number):
        return home.database.server.url(home.name).replace("127.0.0.1", self.addresses[number])

    def act(self, home, database):
        for number in range(self.count):
            home.replica(self.url(home, number))
        home.leader()
        wait_until(lambda: SharedJournal(home).answered, 20, "the first answers")
        watching = threading.Thread(target=self.watch, args=(home,), daemon=True)
        self.watched.began = time.time()
        watching.start()
        minding = threading.Thread(target=self.mind, args=(home,), daemon=True)
        minding.start()
        threads = [threading.Thread(target=self.strike, args=(home, database, one), daemon=True) for one in self.strikes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(self.seconds + 60)
        time.sleep(max(0, self.watched.began + self.seconds - time.time()))
        home.leader()
        time.sleep(2 * PERIOD + judge.SLACK)
        self.watched.ended = time.time()
        left = home.settle()
        self.over.set()
        watching.join(10)
        minding.join(10)
        wrong = [*left, *home.stop_all()]
        self.watched.logs = [one.log.read_text("utf-8", "replace") for one in home.replicas]
        return self.judge(home, SharedRecord(home), wrong)

    def judge(self, home, record, wrong):
        outcome = self.told(home, record, [*wrong, *judge.judged(record, self.watched)])
        self.controls = list(judge.controls(record, self.watched))
        return outcome

    def told(self, home, record, wrong):
        outcome = Outcome(wrong, created=len(record.ours), quarantined=len(record.quarantined()))
        outcome.deleted = sum(c["kind"] == "deleted" and c["id"] in record.ours for c in record.changes)
        most = max(sum(q["token"] == token for q in record.posts) for token in home.probed)
        longest, bound = max(one[2:] for one in judge.silences(self.watched))
        strikes = ", ".join(f"{count} {kind}" for kind, count in self.done.items())
        outcome.figures = (
            f"{strikes}; {len(record.journal.openings)} holdings, {len(record.posts)} POSTs, {most} of one user with a budget of "
            f"{home.budget}; longest without an answer {longest:.1f} s (bound {bound:.1f} s); database down "
            f"{sum(to - since for since, to in self.watched.down):.1f} s; "
            f"{self.started_again} times somebody started while the database was away, ended and was started again")
        return outcome

    def watch(self, home):
        """Notes when checks were answered."""
        while not self.over.wait(0.5):
            try:
                answered = SharedJournal(home).answered
            except Broken:
                continue            # the database is down
            for token, at in answered.items():
                if token in home.probed:
                    self.watched.answers.setdefault(token, set()).add(at)

    # -- strikes ---------------------------------------------------------------------------------------------------
    def strike(self, home, database, strike):
        time.sleep(max(0, self.watched.began + strike.at - time.time()))
        act = getattr(self, strike.kind.replace(" ", "_"))
        victim = database if strike.kind in OF_THE_DATABASE else None
        with self.lock:
            victim = victim or self.victim(home, strike)
            if victim is None or victim in self.struck:
                return              # it has enough to bear
            self.struck.add(victim)
            # Where nobody leads it may be whoever is just taking over.
            others = [one for one in home.replicas if one not in self.struck]
            if victim is not database and (victim.led_last() or not any(one.led_last() for one in others)):
                self.watched.struck.append(time.time())
        act(home, victim, strike)
        with self.lock:
            self.struck.discard(victim)
            self.done[strike.kind] += 1

    def victim(self, home, strike):
        """One replica is always spared, and what is just being started again."""
        free = [one for one in home.replicas if one not in self.struck and one.process.poll() is None]
        if self.held or len(free) < 2:
            return None
        leading = [one for one in free if one.led_last()]
        return leading[-1] if strike.leader and leading else free[strike.number % len(free)]

    def mind(self, home):
        """Starts again, as whatever runs a service does, who started while the database was out of its reach and ended at once.
        Whoever else ended by itself is told of."""
        told, over = set(), False
        while not over:
            over = self.over.wait(1)
            with self.lock:
                for one in home.replicas:
                    if one in self.struck or one.process.poll() is None or one.process.pid in told:
                        continue
                    if not self.found_no_database(one):
                        told.add(one.process.pid)
                        self.watched.endings.append(f"replica {one.number} ended by itself, with {one.process.returncode}: {one.told()}")
                    elif not over:
                        self.started_again += 1
                        one.start()

    @staticmethod
    def found_no_database(one):
        return one.process.returncode == 2 and "cannot be reached" in one.said() and '"address":' not in one.said()

    def kill(self, home, one, strike):
        one.kill()
        time.sleep(strike.lasts)
        one.start()

    def freeze(self, home, one, strike):
        one.send(signal.SIGSTOP)
        time.sleep(strike.lasts)
        one.send(signal.SIGCONT)

    def black_hole(self, home, one, strike):
        apart.cut(self.addresses[one.number])
        time.sleep(strike.lasts)
        apart.mend(self.addresses[one.number])

    def restart(self, home, database, strike):
        since = time.time()
        database.stop()
        time.sleep(strike.lasts)
        database.start()
        self.watched.down.append((since, time.time()))

"""The nemesis, and amid its strikes a standby that lags behind takes the primary's place: rows that were acknowledged are gone.

Replicas are killed, frozen and cut off before and afterwards, and have seen what is lost when it is.  Whoever leads then must notice what is missing,
create nothing more (a person has not looked yet), adopt and delete what the journal has forgotten, and go on asking.  Each
journal is held against what the Hub heard while it was in force; the old primary's is read afterwards.
"""

import copy
import time
from itertools import pairwise

import cluster
import judge
import nemesis
from failover import LOOKS, Period, Standby, move
from record import JITTER, LATE, moment
from replicas import Broken, Database, SharedJournal, SharedRecord, read, wait_until

LOST = 2                            # canaries at least that the standby never hears of


class Succession(Database):
    """A primary, and a standby that takes its place at its addresses."""

    standby = old = None

    def follow(self):
        self.standby = Standby(self.where / "two", self.server.who, self.server)

    def fail_over(self):
        self.old, port = self.server, self.server.port
        self.old.stop()
        move(self.old, cluster.free_port())
        self.standby.listen_at(port)
        self.standby.promote()
        self.server, self.standby = self.standby, None

    def left_behind(self, name):
        """What the old primary has, as one JSON document."""
        self.old.start()
        try:
            return read(self.old, name)
        finally:
            self.old.stop()

    def close(self):
        if self.standby:
            self.standby.stop()
        super().close()


class Promotion(nemesis.Nemesis):
    adopts, net, database = True, 1, staticmethod(Succession)

    def __init__(self, seed, long):
        super().__init__(seed + 1, long)
        self.budget, self.died = 10**6, None
        self.strikes.append(nemesis.Strike("promotion", self.seconds * 0.4, 0, False, 0))
        self.name += ", and a standby that lags behind is promoted"

    def act(self, home, database):
        database.follow()
        return super().act(home, database)

    def strike(self, home, database, strike):
        super().strike(home, database, strike)
        while strike.kind == "promotion" and not self.died:  # the primary has just been struck by something else
            time.sleep(0.2)
            super().strike(home, database, strike)

    def promotion(self, home, database, _):
        wait_until(lambda: database.standby, 10, "the standby is there")
        database.standby.stop_listening()
        known = set(SharedJournal(home, read(database.standby, home.name)).canaries)
        wait_until(lambda: len(set(SharedJournal(home).canaries) - known) >= LOST, self.seconds, "canaries that the standby does not know")
        self.held = True
        try:
            wait_until(lambda: self.all_run(home, database), 60, "whoever was struck runs again")
            time.sleep(LOOKS)
            self.died = time.time()
            database.fail_over()
        finally:
            self.held = False
        self.watched.down.append((self.died, time.time()))
        self.watched.struck.append(self.died)

    def all_run(self, home, database):
        """Who has not seen what is lost, because it was frozen or starts anew, cannot miss it when it is the first to lead."""
        with self.lock:
            return self.struck == {database} and all(one.process.poll() is None for one in home.replicas)

    def judge(self, home, record, wrong):
        if not self.died:
            raise Broken("nobody was promoted")
        before = SharedJournal(home, home.database.left_behind(home.name))
        found = next((one for one in record.journal.openings if one["at"] > self.died), None)
        if not found or found["past"] != "regressed":
            return self.told(home, record, [*wrong, f"the journal lost rows, and its next opening says: {found}"])

        def judged(died=self.died, before=before):
            return [*self.periods(record, before, found["at"]), *self.afterwards(record, died)]

        self.controls = list(self.spoilt(record, before, judged))
        outcome = self.told(home, record, [*wrong, *judged()])
        lost, later = found["known"] - found["found"], found["at"] - self.died
        outcome.figures += f"; {lost} entries of the record lost with the primary, and noticed {later:.1f} s later"
        return outcome

    def spoilt(self, record, before, judged):
        """What is spoilt, and what is said of it then that is not said otherwise."""
        known, last = set(judged()), record.posts[-1]
        forgetful = copy.copy(before)
        forgetful.canaries = {name: one for name, one in before.canaries.items() if name != record.name(last)}
        yield "a creation after the loss", [one for one in judged(died=moment(last["at"]) - LATE - 3) if one not in known]
        yield "a creation of which the lost journal has no intent", [one for one in judged(before=forgetful) if one not in known]

    def periods(self, record, before, opened):
        cut = max((q["seq"] for q in record.requests if moment(q["at"]) < opened - JITTER), default=0)
        early = Period(record, before, [q for q in record.requests if q["seq"] <= cut])
        late = Period(record, record.journal, [q for q in record.requests if q["seq"] > cut])
        yield from (*before.wrong(), *early._posted(), *early._deleted(), *judge.two_at_a_time(early))
        yield from (*record.journal.wrong(), *record._leaked(), *record._foreign(), *late._posted(), *late._deleted())

    def afterwards(self, record, died):
        names = sorted(record.name(q) for q in record.posts)
        yield from (f"two POSTs of {one}" for one, other in pairwise(names) if one == other)
        yield from (f"POST of {record.name(q)} {moment(q['at']) - died:.1f} s after the primary died, before a person has looked"
                    for q in record.posts if moment(q["at"]) > died + LATE + 2)
        if "state_reset" not in record.journal.alerts:
            yield f"no finding tells that the journal lost rows: {record.journal.alerts}"
        yield from (*judge.too_long(self.watched), *judge.told_wrong(record, self.watched))

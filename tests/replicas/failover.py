"""The database fails over to a standby that lags behind, and rows that were acknowledged are gone.

Each time the standby hears no more, the primary acknowledges some canaries, then dies while one of them is there; the standby is
promoted, and takes the primary's place behind one address; half of the times the leader dies with the primary.  Whoever leads
then must notice it, create nothing, and find by its sweep what the journal has forgotten.  The old primary's journal is read
afterwards: it has the intents of what was sent before.

What a leader wrote in the last second before it died, nobody else has seen; that such rows are missing nobody can notice but by
what the sweep of the next start finds.  So a leader that dies lives on for more than a second after the rows are lost.
"""

import socket
import statistics
import threading
import time

import cluster
import judge
from cases import Case, Outcome
from record import JITTER, LATE, Record, moment
from replicas import (FAILOVER, OFTEN, Broken, Database, Shared, SharedJournal, SharedRecord, asked, first_request, read,
                      wait_until)

LOST = 3                            # canaries at least that the standby never hears of
LOOKS = 1.5                         # within so much whoever waits has seen how far the journal goes
SWEPT_WITHIN = 30
SLACK = 0.5


class Standby(cluster.Server):
    """A copy of another server that follows it without being waited for."""

    def __init__(self, where, who, primary):
        self.where, self.who, self.port = where, who, cluster.free_port()
        self.data, self.log = where / "data", where / "log"
        where.mkdir()
        cluster.own(where, who)
        self.run("pg_basebackup", "-h", "127.0.0.1", "-p", primary.port, "-U", "scopewatch", "-D", self.data, "-R", "-X", "stream", "-c", "fast")
        with open(self.data / "postgresql.conf", "a") as settings:
            settings.write(f"port={self.port}\nunix_socket_directories='{where}'\n")
        self.start()

    def stop_listening(self):
        """It is heard no more by the primary, and hears nothing."""
        asked(self, "postgres", "ALTER SYSTEM SET primary_conninfo = ''")
        asked(self, "postgres", "SELECT pg_reload_conf()")
        wait_until(lambda: asked(self, "postgres", "SELECT count(*) FROM pg_stat_wal_receiver") == "0", 10, "the standby hears nothing")

    def promote(self):
        self.run("pg_ctl", "-D", self.data, "-w", "promote")

    def listen_at(self, port):
        """It comes back there, and still only reads."""
        self.stop()
        move(self, port)
        self.start()


def move(server, port):
    """From its next start on it listens there."""
    server.port = port
    with open(server.data / "postgresql.conf", "a") as settings:
        settings.write(f"port={port}\n")


class Forwarder:
    """One address behind which there is one server, and then another."""

    def __init__(self, port):
        self.target, self.open, self.lock = port, set(), threading.Lock()
        self.ear = socket.create_server(("127.0.0.1", 0))
        self.port = self.ear.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                one, _ = self.ear.accept()
            except OSError:
                return
            try:
                other = socket.create_connection(("127.0.0.1", self.target), 5)
                other.settimeout(None)
            except OSError:
                one.close()
                continue
            with self.lock:
                self.open |= {one, other}
            for pair in ((one, other), (other, one)):
                threading.Thread(target=self.carry, args=pair, daemon=True).start()

    def carry(self, source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        with self.lock:
            self.open -= {source, sink}
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.ear.close()
        with self.lock:
            left = list(self.open)
        for one in left:
            one.close()


class Pair(Database):
    """A primary and its standby, behind one address."""

    def __init__(self):
        super().__init__()
        self.standby, self.forwarder = None, Forwarder(self.server.port)

    def follow(self):
        self.standby = Standby(self.where / "two", self.server.who, self.server)

    def url(self, name):
        return f"postgres://scopewatch@127.0.0.1:{self.forwarder.port}/{name}?sslmode=disable"

    def fail_over(self):
        """The primary is gone without a word, the standby stands in for it."""
        old, self.server, self.standby = self.server, self.standby, None
        old.stop()
        self.server.promote()
        self.forwarder.target = self.server.port
        return old

    def close(self):
        self.forwarder.close()
        if self.standby:
            self.standby.stop()
        super().close()


class Period(Record):
    """What the Hub heard while one journal was in force."""

    def __init__(self, whole, journal, requests):
        self.home, self.journal, self.requests = whole.home, journal, whole.requests
        seqs = {q["seq"] for q in requests}
        self.posts = [q for q in whole.posts if q["seq"] in seqs]
        self.deletes = [q for q in whole.deletes if q["seq"] in seqs]
        self.changes, self.left, self.ours = whole.changes, whole.left, whole.ours


class FailOver(Case):
    row = "replicas/failover"

    def __init__(self, number, planted=None):
        self.number, self.planted, self.took, self.detected = number, planted, None, False
        self.adopts, self.leader_dies = number % 2 == 0, number % 4 > 1
        self.name = f"failover {number}, an orphan is {'adopted' if self.adopts else 'told'}"
        self.name += ", the leader dies as well" * self.leader_dies + (f": {planted}" if planted else "")

    def play(self, hub, keep=False):
        pair, home = Pair(), None
        try:
            home = Shared(hub, pair, adopts=self.adopts, users=3, schedule=OFTEN)
            home.write("store-url", pair.url(home.name))
            pair.follow()
            return self.act(home, pair)
        finally:
            if home and not keep:
                home.close()
            pair.close()

    def act(self, home, pair):
        for _ in range(2):
            home.replica(planted=self.planted)
        leader = home.leader()
        wait_until(lambda: len(SharedJournal(home).canaries) >= 3, 30, "canaries")
        pair.standby.stop_listening()
        known = set(SharedJournal(home, read(pair.standby, home.name)).canaries)
        wait_until(lambda: len(set(SharedJournal(home).canaries) - known) >= LOST, 30, "canaries that the standby does not know")
        time.sleep(LOOKS if self.leader_dies else 0)
        self.while_one_is_there(home)
        died = time.time()
        if self.leader_dies:
            leader.kill()
        old = pair.fail_over()
        wrong = self.await_next(home, died)
        orphans = self.orphans(home)
        if self.leader_dies:
            leader.start()
        wrong += self.swept(home, orphans)
        wrong += [*home.settle(), *home.stop_all()]
        old.start()
        before = SharedJournal(home, read(old, home.name))
        old.stop()
        return self.judge(home, before, died, orphans, wrong)

    def while_one_is_there(self, home):
        """Returns when a creation has reached the Hub, whose answer nobody will be able to write down."""
        home.hub.faults([{"route": "create", "kind": "delay", "delay_ms": 1500, "apply": "after", "times": 3}])
        count = self.created(home)
        wait_until(lambda: self.created(home) > count, 20, "a creation is in the air")

    @staticmethod
    def created(home):
        return sum(c["kind"] == "created" for c in home.changes())

    def await_next(self, home, died):
        def regressed():
            try:
                return next((one for one in SharedJournal(home).openings if one["at"] > died), None)
            except Broken:
                return None
        found = wait_until(regressed, FAILOVER + 20, "somebody takes the journal over")
        self.took = first_request(home, found["at"], FAILOVER) - died
        self.detected = found["past"] == "regressed" and found["known"] > found["found"]
        self.opened = found["at"]
        return [] if self.detected else [f"the journal lost rows, and its next opening says: {found}"]

    def orphans(self, home):
        known = set(SharedJournal(home).canaries)
        return [name for name, repo in home.repos().items() if repo["origin"] == "created" and name not in known]

    def swept(self, home, orphans):
        """What the journal forgot is found: adopted and gone, or told and left to a person, who deletes it."""
        if not orphans:
            raise Broken("nothing was lost that is still on the Hub")
        try:
            if self.adopts:
                wait_until(lambda: not set(orphans) & set(home.repos()), SWEPT_WITHIN, f"adopted and deleted: {orphans}")
                return []
            wait_until(lambda: all(any(f"{one}' bears our signature" in each.said() for each in home.replicas) for one in orphans),
                       SWEPT_WITHIN, f"told: {orphans}")
        except Broken as error:
            return [str(error)]
        for name in orphans:
            namespace, short = name.split("/")
            body = {"organization": namespace, "name": short, "type": "model"}
            home.hub.ask("DELETE", "/api/repos/delete", body, home.secrets[home.stranger])
        return []

    def judge(self, home, before, died, orphans, wrong):
        whole = SharedRecord(home)
        cut = max((q["seq"] for q in whole.requests if moment(q["at"]) < self.opened - JITTER), default=0)
        early = Period(whole, before, [q for q in whole.requests if q["seq"] <= cut])
        late = Period(whole, whole.journal, [q for q in whole.requests if q["seq"] > cut])
        wrong += [*before.wrong(), *early._posted(), *early._deleted(), *judge.two_at_a_time(early)]
        wrong += [*whole.journal.wrong(), *whole._leaked(), *whole._foreign(), *late._posted(), *late._deleted()]
        names = [whole.name(q) for q in whole.posts]
        wrong += [f"{names.count(name)} POSTs of {name}" for name in sorted(set(names)) if names.count(name) > 1]
        # The primary was dying when they left, and who sent them held the lease.
        wrong += [f"POST of {whole.name(q)} {moment(q['at']) - died:.1f} s after the primary died, before a person has looked"
                  for q in whole.posts if moment(q["at"]) > died + LATE + 2]
        if "state_reset" not in whole.journal.alerts:
            wrong.append(f"no finding tells that the journal lost rows: {whole.journal.alerts}")
        if self.took > FAILOVER + SLACK:
            wrong.append(f"the next one's first request came {self.took:.1f} s after the primary died")
        figures = f"next request after {self.took:.1f} s; {len(orphans)} found on the Hub that the journal had lost; "
        lost = len(set(before.canaries) - set(whole.journal.canaries)) + (len(orphans) if self.adopts else 0)
        return Outcome(wrong, created=len(whole.ours), figures=figures + f"{lost} canaries lost")


def planned(long):
    return [*(FailOver(number) for number in (range(20) if long else (0, 3))), FailOver(0, planted="journal loses intent, no sweeper")]


def summary(outcomes):
    cases = [case for case, _ in outcomes if isinstance(case, FailOver) and not case.planted]
    took = sorted(case.took for case in cases if case.took is not None)
    if took:
        p99 = took[min(len(took) - 1, int(len(took) * 0.99))]
        yield (f"failover: {len(cases)}; the new holder's first request after p50 {statistics.median(took):.1f} s, p99 {p99:.1f} s "
               f"(bound {FAILOVER} s); loss detected {sum(case.detected for case in cases)} of {len(cases)}")

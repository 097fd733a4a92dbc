"""A disk that is full: nothing is created, looking goes on, it is said aloud, and it ends by itself.

`python3 tests/storage/full.py [--long]`.  The store lies on a small tmpfs in a mount namespace of this test's own (as
root, or in a user namespace).  Where neither is allowed, a limit of the file size stands in (RLIMIT_FSIZE, which may be
raised again from outside): the error is then EFBIG instead of ENOSPC, and the sentence is another.

Rooms: audits with room for so and so many pages and no more.  Lives: a daemon whose disk fills up beside a waiting
round, in the middle of a creation, in the middle of a deletion, and across a restart.
"""

import argparse
import concurrent.futures
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

from bench import STANDIN, Broken, Home, Hub, Tally, free_port, main, wait_until, world_of
from daemon import Daemon
from judge import History, judge

PAGE = 4096
ROOMS, LONG_ROOMS = range(1, 96, 3), range(1, 120)
LIVES = ("waiting", "waiting, log reused", "creating", "deleting", "restarted")
EVERY_SECOND = "* * * * * *"
PLANTED, COUSIN = "planted", "cousin"


# -- a place that can be full ------------------------------------------------------------------------------------

class Tmpfs:
    """A small file system; `fill` leaves no byte of it, and keeps it so."""

    def __init__(self, folder, pages):
        self.dir = folder
        folder.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={pages * PAGE},mode=700", "tmpfs", str(folder)], check=True)
        self.filler, self.stop, self.thread = folder / "filler", threading.Event(), None

    popen = {}

    def fill(self, spare=0):
        """No byte is left, but for so many pages; what is freed meanwhile is taken again."""
        self.stop.clear()
        with open(self.filler, "ab", buffering=0) as file:
            self.take(file)
            if spare:
                os.truncate(self.filler, max(0, self.filler.stat().st_size - spare * PAGE))
        if not spare:
            self.thread = threading.Thread(target=self.hold, daemon=True)
            self.thread.start()

    @staticmethod
    def take(file):
        for size in (16 * PAGE, PAGE):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                pass

    def hold(self):
        with open(self.filler, "ab", buffering=0) as file:
            while not self.stop.is_set():
                self.take(file)
                time.sleep(0.0005)

    def started(self, process):
        pass

    def free(self):
        self.stop.set()
        if self.thread:
            self.thread.join()
            self.thread = None
        self.filler.unlink(missing_ok=True)

    def end(self):
        self.stop.set()
        subprocess.run(["umount", "-l", str(self.dir)], check=False)


class Limit:
    """No file may grow beyond a size. Stands in where nothing may be mounted."""

    def __init__(self, folder, pages):
        self.dir, self.bytes, self.process = folder, pages * PAGE, None
        folder.mkdir(parents=True)

    @property
    def popen(self):
        def before():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.bytes, resource.RLIM_INFINITY))
        return {"preexec_fn": before}

    def limit(self, size):
        self.bytes = size
        if self.process and self.process.poll() is None:
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def started(self, process):
        self.process = process

    def fill(self, spare=0):
        # Without any spare nothing is left to write to: a log that is folded in and begun anew would be room again.
        sizes = [path.stat().st_size for path in self.dir.iterdir() if path.name.endswith(("-wal", ".db"))]
        self.limit(max(sizes, default=0) + spare * PAGE if spare else PAGE)

    def free(self):
        self.limit(8 << 20)

    def end(self):
        pass


def outside():
    """Goes into a mount namespace where that is allowed; the words of this test's second start."""
    for words in (["unshare", "-m", "--propagation", "private"], ["unshare", "-Urm"]):
        probe = [*words, "sh", "-c", "mount -t tmpfs -o size=16k tmpfs /mnt"]
        try:
            if subprocess.run(probe, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              check=False).returncode == 0:
                return [*words, sys.executable, *sys.argv, "--inside"]
        except OSError:
            pass
    return None


# -- rooms -------------------------------------------------------------------------------------------------------

@dataclass
class Case:
    name: str
    org: str
    home: Home = None
    place: object = None
    notes: list = field(default_factory=list)
    over: bool = False

    def __str__(self):
        return f"{self.name} ({self.org})"


class Test:
    def __init__(self, folder, chosen):
        self.folder, self.chosen = folder, chosen
        self.Place = Tmpfs if chosen.inside else Limit
        self.tally = Tally("storage/full")

    def case(self, name, org, pages=512, **config):
        case = Case(name, org)
        case.place = self.Place(self.folder / org / "store", pages)
        case.home = Home(self.folder / org, self.hub.url, [org], **config)
        return case

    def room(self, dealt):
        """An audit that has room for so many pages; then there is room again."""
        scene, pages, org = dealt
        case = self.case(f"{scene} audit with room for {pages} pages", org)
        if scene == "another":
            case.home.run("audit")
        case.place.fill(pages)
        done = case.home.run("audit", **case.place.popen)
        told = ("is full", "may not grow", "reports errors", "cannot be made", "cannot be opened", "being held")
        if done.code not in (0, 1, 2, 3) or "panicked" in done.err:
            case.notes.append(f"ended with {done}")
        if done.code != 0 and not any(words in done.err for words in told):
            case.notes.append(f"nothing is said of the disk: {done}")
        case.place.free()
        self.recover(case)
        return case

    @staticmethod
    def recover(case):
        case.notes += case.home.recover()
        case.over = True

    # -- lives ---------------------------------------------------------------------------------------------------
    def life(self, dealt):
        name, org = dealt
        port = free_port()
        case = self.case(name, org, schedule={"probe": EVERY_SECOND, "canary": EVERY_SECOND},
                         server={"listen": f"127.0.0.1:{port}"}, checks=("create", "read"))
        daemon = Daemon(case, port, self.hub, org)
        try:
            self.started(case, daemon)
            daemon.await_canaries(1)
            getattr(self, name.split(",")[0])(case, daemon, reader="reused" not in name)
            if (code := daemon.stop()) != 0:
                case.notes.append(f"did not end cleanly: exit {code}")
        except Broken as broken:
            case.notes.append(str(broken))
        finally:
            daemon.kill()
            case.place.free()
        self.recover(case)
        return case

    @staticmethod
    def started(case, daemon, **more):
        daemon.start(**more, **case.place.popen)
        case.place.started(daemon.process)

    def waiting(self, case, daemon, reader):
        """Rounds go on beside a full disk. A reader keeps the log from being begun anew, so that it must grow."""
        hold = daemon.read() if reader else None
        case.place.fill()
        daemon.stuck(case, strict=reader)
        if hold:
            hold.close()
        case.place.free()
        daemon.recovers()

    def creating(self, case, daemon, reader):
        """It fills up while a creation is under way: what was made is not deleted before that can be written down."""
        hold = daemon.read()
        self.order(case.org, {"route": "create", "kind": "delay", "delay_ms": 1200, "times": 1, "apply": "after"})
        made = daemon.count("create")
        wait_until(lambda: daemon.count("create") > made, "a creation under way")
        case.place.fill()
        since = daemon.count("delete")
        daemon.stuck(case, strict=True)
        if daemon.count("delete") != since:
            case.notes.append("a DELETE left although its attempt could not be stored")
        hold.close()
        case.place.free()
        daemon.recovers()

    def deleting(self, case, daemon, reader):
        """It fills up while a deletion is under way."""
        hold = daemon.read()
        self.order(case.org, {"route": "delete", "kind": "delay", "delay_ms": 1200, "times": 1, "apply": "after"})
        sent = daemon.count("delete")
        wait_until(lambda: daemon.count("delete") > sent, "a deletion under way")
        case.place.fill()
        daemon.stuck(case, strict=True)
        hold.close()
        case.place.free()
        daemon.recovers()

    def restarted(self, case, daemon, reader):
        """It is killed while the disk is full, and started again before there is room."""
        hold = daemon.read()
        case.place.fill()
        daemon.stuck(case, strict=True)
        daemon.kill()
        since = daemon.count("create")
        self.started(case, daemon, refusal_allowed=True)
        if daemon.count("create") != since:
            case.notes.append("a POST left after a restart on a full disk")
        hold.close()
        case.place.free()
        if daemon.process.poll() is not None:
            self.started(case, daemon)
        daemon.recovers()

    def order(self, org, fault):
        with self.lock:
            self.orders.append({**fault, "contains": f'"organization":"{org}"'})
            self.hub.faults(self.orders)

    # -- all of it -----------------------------------------------------------------------------------------------
    def run(self):
        rooms = LONG_ROOMS if self.chosen.long else ROOMS
        dealt = [("a first", pages, f"first-{pages:03d}") for pages in rooms]
        dealt += [("another", pages, f"another-{pages:03d}") for pages in rooms if pages < 80]
        lives = [(name, f"life-{number}") for number, name in enumerate(LIVES * (3 if self.chosen.long else 1))]
        self.lock, self.orders = threading.Lock(), []
        orgs = [org for *_, org in dealt] + [org for _, org in lives] + [PLANTED, COUSIN]
        self.tally.planned = len(dealt) + len(lives)
        with Hub(world_of(orgs), self.folder / "hub") as self.hub:
            cases = []
            try:
                with concurrent.futures.ThreadPoolExecutor(len(LIVES)) as some, \
                        concurrent.futures.ThreadPoolExecutor(12) as more:
                    lived = [some.submit(self.life, life) for life in lives]
                    cases += more.map(self.room, dealt)
                    cases += [life.result() for life in lived]
                self.controls()
                record = self.hub.record()
                for case in cases:
                    self.tally.run += case.over
                    journal = case.home.journal()
                    health = [] if journal.health == "ok" else [f"integrity_check: {journal.health}"]
                    history = History(record.sent[case.org], record.changes[case.org], journal, record.repos[case.org])
                    for what in case.notes + health + judge(history):
                        self.tally.violation(case, what)
            finally:
                for case in cases:
                    case.place.end()
        kind = "a tmpfs of its own" if self.chosen.inside else "RLIMIT_FSIZE (no mount namespace is allowed here)"
        self.tally.note(f"the store lay on {kind}")
        return self.tally.end()

    def controls(self):
        """The program with a defect, and a careless one, on a full disk: each must be convicted."""
        case = self.case("control", PLANTED)
        self.order(PLANTED, {"route": "create", "kind": "delay", "delay_ms": 4000, "times": 1, "apply": "after"})
        since = self.hub.last_request()
        process = case.home.start("audit", planted="POST before journal", **case.place.popen)
        case.place.started(process)
        wait_until(lambda: any(call["route"] == "create" for call in self.hub.sim("GET", f"requests?since={since}")),
                   "a creation under way")
        case.place.fill()
        process.communicate()
        case.place.free()
        cases = [case]
        case = self.case("control", COUSIN)
        words = [sys.executable, STANDIN, "forgetful", "--hub", self.hub.url, "--organization", COUSIN, "--token",
                 f"hf_wide_{COUSIN}", "--db", str(case.home.db)]
        subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        record = self.hub.record()
        cases.append(case)
        guilty = {case.org: judge(History(record.sent[case.org], record.changes[case.org], case.home.journal(),
                                          record.repos[case.org])) for case in cases}
        self.tally.control("the program, POST before journal", any("without an intent" in what for what in guilty[PLANTED]))
        self.tally.control("a program that forgets", any("left on the Hub" in what for what in guilty[COUSIN]))
        for case in cases:
            case.place.end()
        if self.chosen.inside:
            case = self.case("control", "full-indeed", 64)
            case.place.fill()
            try:
                (case.home.store_dir / "one-more").write_bytes(b"x" * PAGE)
                full = False
            except OSError:
                full = True
            self.tally.control("a byte that still fits", full)
            case.place.end()


def test(folder):
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--long", action="store_true", help="every room, and three lives of each kind")
    options.add_argument("--limit", action="store_true", help="use RLIMIT_FSIZE although a mount namespace is allowed")
    options.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options.add_argument("--keep", action="store_true", help="leave the scratch directory")
    return Test(folder, options.parse_args()).run()


if __name__ == "__main__":
    words = None if {"--inside", "--limit", "-h", "--help"} & set(sys.argv) else outside()
    if words:
        os.execvp(words[0], words)
    main(test)

"""A store that somebody else holds: nothing is created, it is tried again, and there is never a second writer.

`python3 tests/storage/locks.py [--long]`.  Locks are taken with SQLite itself (BEGIN EXCLUSIVE) for longer than the
program waits, at every point of a round, and with a second process of the program in every guise.
"""

import argparse
import concurrent.futures
import fcntl
import os
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

from bench import STANDIN, Broken, Home, Hub, Tally, free_port, main, wait_until, world_of
from daemon import Daemon
from judge import History, judge

EVERY_SECOND = "* * * * * *"
# The program waits five seconds for somebody else's lock.
LONGER, SHORTER = 7.0, 2.0
COUSIN = "cousin"
HELD, IN_USE = "is being held by another program", "is in use"


class Lock:
    """Somebody else's write transaction."""

    def __init__(self, db):
        self.store = sqlite3.connect(db, isolation_level=None, timeout=30, check_same_thread=False)
        self.store.execute("BEGIN EXCLUSIVE")

    def release(self):
        self.store.execute("ROLLBACK")
        self.store.close()


class WholeFile:
    """The lock that SQLite takes on the whole file where there is no log; a backup program may take it so."""

    def __init__(self, db):
        self.file = os.open(db, os.O_RDWR)
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0x40000000, 512, 0)
        fcntl.fcntl(self.file, fcntl.F_SETLK, lock)

    def release(self):
        os.close(self.file)


@dataclass
class Case:
    name: str
    org: str
    home: Home = None
    notes: list = field(default_factory=list)
    over: bool = False

    def __str__(self):
        return f"{self.name} ({self.org})"

    def expect(self, truth, what):
        if not truth:
            self.notes.append(what)


class Test:
    def __init__(self, folder, chosen):
        self.folder, self.long = folder, chosen.long
        self.tally = Tally("storage/locks")
        self.lock, self.orders = threading.Lock(), []

    def order(self, org, **fault):
        with self.lock:
            self.orders.append(fault)
            self.hub.faults(self.orders)

    def posts(self, org):
        return sum(call["route"] == "create" for call in self.hub.sim("GET", "requests")
                   if (call["body"] or {}).get("organization") == org)

    # -- one-shot commands ---------------------------------------------------------------------------------------
    def at_the_start(self, case):
        """Held before it starts: a clear refusal, by every command that writes."""
        case.home.run("audit")
        posts = self.posts(case.org)
        lock = Lock(case.home.db)
        commands = (("audit",), ("canaries", "sweep"), ("canaries", "unlatch"))
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            # Two of them find the lock file of the third; all are refused.
            for words, done in zip(commands, pool.map(lambda words: case.home.run(*words), commands)):
                case.expect(done.code == 2 and (HELD in done.err or IN_USE in done.err), f"{words} under a lock: {done}")
        case.expect(case.home.run("canaries", "list").code == 0, "`canaries list` does not read beside a writer")
        lock.release()
        case.expect(self.posts(case.org) == posts, "a POST left under the lock")

    def whole_file(self, case):
        """The whole file is locked before it starts."""
        case.home.run("audit")
        lock = WholeFile(case.home.db)
        done = case.home.run("audit")
        lock.release()
        case.expect(done.code == 2 and HELD in done.err, f"an audit on a locked file: {done}")

    def before_the_intent(self, case):
        """Taken while the round is under way: the intent cannot be stored, nothing is asked."""
        case.home.run("audit")
        posts = self.posts(case.org)
        self.order(case.org, route="whoami", kind="delay", delay_ms=2000, token=f"wide-{case.org}", times=1)
        since = self.hub.last_request()
        process = case.home.start("audit", "--format", "json")
        wait_until(lambda: any(call["token"] == f"wide-{case.org}" for call in self.hub.sim("GET", f"requests?since={since}")),
                   "a round under way")
        lock = Lock(case.home.db)
        out, err = (text.decode() for text in process.communicate(timeout=60))
        lock.release()
        case.expect(process.returncode == 3, f"audit ends with {process.returncode}, not 3: {err[-300:]}")
        case.expect('"intent_not_stored"' in out, "the report does not say intent_not_stored")
        case.expect(HELD in err, f"the lock is not named: {err[-300:]}")
        case.expect(self.posts(case.org) == posts, "a POST left although its intent could not be stored")

    def after_the_post(self, case):
        """Taken while the Hub creates: the deletion waits until its attempt can be stored."""
        self.order(case.org, route="create", kind="delay", delay_ms=1000, times=1, apply="after",
                   contains=f'"organization":"{case.org}"')
        process = case.home.start("audit")
        wait_until(lambda: self.posts(case.org), "a creation under way")
        lock = Lock(case.home.db)
        time.sleep(LONGER)
        deleted = [c for c in self.hub.sim("GET", "changes") if c["repo"].startswith(case.org + "/") and c["kind"] == "deleted"]
        case.expect(not deleted, "a DELETE left although its attempt could not be stored")
        lock.release()
        process.communicate(timeout=60)

    def short(self, case):
        """A lock that is given back in time disturbs nobody."""
        case.home.run("audit")
        lock = Lock(case.home.db)
        process = case.home.start("audit")
        time.sleep(SHORTER)
        lock.release()
        out, err = process.communicate(timeout=60)
        case.expect(process.returncode == 0, f"audit ends with {process.returncode}: {err[-300:]!r}")

    # -- the daemon ----------------------------------------------------------------------------------------------
    def daemon(self, case):
        port = free_port()
        case.home.write_config(self.hub.url, schedule={"probe": EVERY_SECOND, "canary": EVERY_SECOND},
                               server={"listen": f"127.0.0.1:{port}"}, checks=("create", "read"))
        daemon = Daemon(case, port, self.hub, case.org)
        daemon.start()
        daemon.await_canaries(1)
        return daemon

    def beside_serve(self, case):
        """Held beside a daemon until it says that it is not ready; then given back."""
        daemon = self.daemon(case)
        try:
            lock = Lock(case.home.db)
            daemon.stuck(case, strict=True)
            lock.release()
            daemon.recovers()
            case.expect(daemon.stop() == 0, "no clean end")
        finally:
            daemon.kill()

    def reader(self, case):
        """Somebody reads for a long time: that holds nothing up."""
        daemon = self.daemon(case)
        try:
            reading = daemon.read()
            daemon.await_canaries(2)
            reading.close()
            case.expect(daemon.stop() == 0, "no clean end")
        finally:
            daemon.kill()

    def second_process(self, case):
        """Beside a daemon every command that writes is refused, by whatever name it finds the store."""
        daemon = self.daemon(case)
        try:
            (case.home.dir / "link").symlink_to(case.home.store_dir, target_is_directory=True)
            (case.home.dir / "linked.db").symlink_to(case.home.db)
            for db in (case.home.db, case.home.dir / "link" / "state.db", case.home.dir / "linked.db"):
                other = Home(case.home.dir / f"other-{db.name}-{db.parent.name}", self.hub.url, [case.org])
                other.db = db
                other.write_config(self.hub.url)
                for words in (("audit",), ("canaries", "sweep"), ("canaries", "unlatch"), ("canaries", "close", "1"), ("serve",)):
                    done = other.run(*words, timeout=20)
                    case.expect(done.code == 2 and IN_USE in done.err, f"a second `{' '.join(words)}` by {db}: {done}")
                case.expect(other.run("canaries", "list").code in (0, 1), "`canaries list` beside a daemon")
            case.expect(daemon.stop() == 0, "no clean end")
        finally:
            daemon.kill()

    def lock_file_removed(self, case):
        """A person removes the lock file beside a daemon, and starts a second process on a canary that is under way."""
        daemon = self.daemon(case)
        try:
            self.order(case.org, route="create", kind="delay", delay_ms=2000, times=1, apply="after",
                       contains=f'"organization":"{case.org}"')
            posts = self.posts(case.org)
            wait_until(lambda: self.posts(case.org) > posts, "a creation under way")
            (case.home.store_dir / "state.db.lock").unlink()
            other = Home(case.home.dir / "other", self.hub.url, [case.org])
            other.db = case.home.db
            other.write_config(self.hub.url)
            other.run("canaries", "sweep")
            time.sleep(3)
        finally:
            daemon.kill()

    # -- all of it -----------------------------------------------------------------------------------------------
    CASES = ("at_the_start", "whole_file", "before_the_intent", "after_the_post", "short", "beside_serve", "reader",
             "second_process", "lock_file_removed")

    def one(self, dealt):
        name, org = dealt
        case = Case(name, org)
        case.home = Home(self.folder / org, self.hub.url, [org])
        try:
            getattr(self, name)(case)
        except (Broken, subprocess.TimeoutExpired) as broken:
            case.notes.append(str(broken))
        case.notes += case.home.recover()
        case.over = True
        return case

    def run(self):
        dealt = [(name, f"org-{number:02d}") for number, name in enumerate(self.CASES * (5 if self.long else 1))]
        self.tally.planned = len(dealt)
        with Hub(world_of([org for _, org in dealt] + [COUSIN]), self.folder / "hub") as self.hub:
            with concurrent.futures.ThreadPoolExecutor(len(self.CASES)) as pool:
                cases = list(pool.map(self.one, dealt))
            self.controls()
            record = self.hub.record()
            for case in cases:
                self.tally.run += case.over
                journal = case.home.journal()
                history = History(record.sent[case.org], record.changes[case.org], journal, record.repos[case.org])
                case.expect(journal.health == "ok", f"integrity_check: {journal.health}")
                for what in case.notes + judge(history):
                    self.tally.violation(case, what)
        return self.tally.end()

    def controls(self):
        """A program that asks although it could not write must be convicted; and the lock must be one. (The program itself
        has a second guard there: at the gate it asks the store once more, which under a lock does not answer in time.)"""
        home = Home(self.folder / COUSIN, self.hub.url, [COUSIN])
        words = [sys.executable, STANDIN, "unwritten", "--hub", self.hub.url, "--organization", COUSIN, "--token",
                 f"hf_wide_{COUSIN}", "--db", str(home.db)]

        def run():
            subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            record = self.hub.record()
            return judge(History(record.sent[COUSIN], record.changes[COUSIN], home.journal(), record.repos[COUSIN]))
        run()
        lock = Lock(home.db)
        try:
            sqlite3.connect(home.db, timeout=0.1, isolation_level=None).execute("BEGIN IMMEDIATE")
            held = False
        except sqlite3.OperationalError:
            held = True
        self.tally.control("a lock that does not hold", held)
        guilty = run()
        lock.release()
        self.tally.control("a program whose intent is unwritten", any("without an intent" in what for what in guilty))


def test(folder):
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--long", action="store_true", help="each case five times")
    options.add_argument("--keep", action="store_true", help="leave the scratch directory")
    return Test(folder, options.parse_args()).run()


if __name__ == "__main__":
    main(test)

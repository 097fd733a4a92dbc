"""The power goes at any moment, and every acknowledged intent is there.

`python3 tests/storage/powercut.py [--cuts N] [-j N]`.  The program runs on a disk that logs every write; a proxy before
the simulated Hub notes how long the log was when a POST or a DELETE came by.  Afterwards the power is cut at any place of
the log: as if all writes before it had reached the disk, and as if of those not yet flushed some had been lost or torn.
Each disk is mounted (its file system recovers as after a real cut), the store is opened by SQLite and by the program, and
must hold every intent whose POST had left, every attempt whose DELETE had left, the key that signed them, and nothing else
may be said to be wrong with it.  Then the program cleans up on a Hub that stands as it stood when the power went, but that
somebody else's repository stands wherever a canary was deleted: it deletes what is ours and nothing else.

What is simulated is the device: it forgets any writes that no flush has made certain, keeps them out of order, or tears
them between sectors of 512 bytes; a sector is never torn itself, and what a flush made certain stays.  ext4 is real, with
its journal and its barriers, on a loop device over FUSE over QEMU's write log.

Controls: the program itself with synchronous = NORMAL (the planted defect "journal not durable") and with its fsyncs
swallowed by strace must lose what it acknowledged; so must a small writer with NORMAL and with OFF, and with FULL it must
not.  Needs root, /dev/fuse and loop devices.
"""

import argparse
import concurrent.futures
import contextlib
import http.client
import http.server
import json
import os
import queue
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bench import ARMED, NOT_ARMED, Broken, Home, Hub, Tally, free_port, has_command, main, read_journal, world_of
from blocklog import BlockLog, LoggedDisk, Replay, missing, take_out
from daemon import Daemon
from judge import History, foreign
from syscalls import strace

ORG = "acme"
EVERY_SECOND = "* * * * * *"
CUTS = 600
CONTROL_CUTS = 60
LOSSY, SWALLOWED = "journal not durable", "fsyncs swallowed"


class Witness(http.server.ThreadingHTTPServer):
    """A proxy before the Hub, which notes where the log stood when something that changes the Hub came by."""

    daemon_threads = True

    def __init__(self, hub, disk):
        super().__init__(("127.0.0.1", 0), Passing)
        self.hub, self.disk, self.seen, self.lock = hub, disk, [], threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def handle_error(self, *_):
        """A client that was killed is none of ours."""

    def note(self, method, path, body):
        if path in ("/api/repos/create", "/api/repos/delete"):
            with self.lock:
                name = json.loads(body)
                self.seen.append((self.disk.mark(), method, f"{name['organization']}/{name['name']}"))


class Passing(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.note(self.command, self.path, body)
        hub = http.client.HTTPConnection("127.0.0.1", self.server.hub.port, timeout=30)
        hub.request(self.command, self.path, body or None, dict(self.headers))
        answer = hub.getresponse()
        text = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)
        hub.close()

    do_GET = do_POST = do_DELETE = do_PUT = do_HEAD = forward

    def log_message(self, *_):
        pass


@dataclass
class Recorded:
    log: BlockLog
    ready: int                  # how long the log was when the disk was mounted
    seen: list                  # (length of the log, method, name) of what changed the Hub
    key: bytes
    made: dict                  # what it made, by name


class Stage:
    """A Hub that is set up as it stood at each cut."""

    def __init__(self, hub):
        self.hub = hub

    def afterwards(self, cut, store, asked, made, journal):
        """Cleans up, and is judged by what became of what."""
        standing, patch = {}, dict.fromkeys(self.hub.world()["repos"])
        for name in ("known-private", "precious"):
            del patch[f"{ORG}/{name}"]
        for method, name in asked:
            standing[name] = method == "POST"
        for name, ours in standing.items():
            repo = {"type": "model", "private": True, "author": f"user-{ORG}"}
            patch[name] = {**repo, "id": made[name]["id"], "created_at": made[name]["at"]} if ours else repo
        for part in ({name: None for name in patch}, {name: repo for name, repo in patch.items() if repo}):
            if part:
                self.hub.sim("PATCH", "world", {"repos": part})
        counters = self.hub.world()["counters"]
        home = Home(store.parent / f"swept-{cut.number}", self.hub.url, [ORG], store=store)
        done = home.run("canaries", "sweep")
        record = self.hub.record(counters["requests"], counters["changes"])
        ours = {made[name]["id"]: name for name, standing in standing.items() if standing}
        cut.wrong += foreign(History([], record.changes[ORG], journal, ours=ours))
        if done.code not in (0, 1):
            cut.wrong.append(f"`canaries sweep` on what is left: {done} {done.out[-200:]}")
        left = [name for name in record.repos[ORG] if record.repos[ORG][name]["id"] in ours and name not in done.out]
        cut.wrong += [f"left on the Hub, and not told of: {name}" for name in left]
        shutil.rmtree(home.dir)


@dataclass
class Cut:
    number: int
    at: int                     # entries of the log
    kind: str                   # prefix or subset
    lost: list = field(default_factory=list)
    wrong: list = field(default_factory=list)

    def __str__(self):
        return f"cut {self.number} ({self.kind} at write {self.at})"


class Test:
    def __init__(self, folder, chosen):
        self.folder, self.chosen = folder, chosen
        self.tally = Tally("storage/powercut")
        self.evidence = has_command("evidence")

    # -- what is recorded ----------------------------------------------------------------------------------------
    def record(self, defect=None):
        """First start, audits, a daemon with its rounds, kills, recoveries: all on the logged disk. With a defect: audits
        alone, either with fsyncs that say they are done and do nothing, or with what is planted in the process."""
        where = self.folder / (defect or "sound").replace(" ", "-")
        disk = LoggedDisk(where / "disk")
        try:
            with Hub(world_of([ORG]), where / "hub") as hub:
                witness = Witness(hub, disk)
                port = free_port()
                home = Home(where / "home", witness.url, [ORG], store=disk.mnt / "store",
                            schedule={"probe": EVERY_SECOND, "canary": EVERY_SECOND}, server={"listen": f"127.0.0.1:{port}"})
                without = strace(home, where / "trace", "fsync:retval=0", ("fsync",)) if defect == SWALLOWED else ()
                for number in range(20):
                    home.run("audit", before=without, planted=defect if defect == LOSSY else None)
                    # The kernel writes back by itself after a while.
                    if defect and number % 4 == 3:
                        subprocess.run(["sync", "-f", str(disk.mnt)], check=False)
                case = type("Case", (), {"home": home, "notes": []})
                for seconds in () if defect else (4, 3, 5):
                    daemon = Daemon(case, port, hub, ORG)
                    daemon.start()
                    time.sleep(seconds)
                    daemon.kill()
                    home.run("canaries", "sweep")
                if not defect:
                    daemon = Daemon(case, port, hub, ORG)
                    daemon.start()
                    daemon.await_canaries(2)
                    daemon.stop()
                    home.run("audit")
                key = (home.store_dir / "state.key").read_bytes()
                seen, changes = list(witness.seen), hub.record().changes[ORG]
                witness.shutdown()
            log = disk.cut()
        except BaseException:
            disk.end()
            raise
        if sum(method == "POST" for _, method, _ in seen) < 10:
            raise Broken(f"only {len(seen)} requests came by")
        made = {change["repo"]: change for change in changes if change["kind"] == "created"}
        return Recorded(log, disk.ready, seen, key, made)

    def cuts(self, log, ready, count):
        """Half prefixes, half subsets, spread over all that happened since the disk was mounted."""
        dice = random.Random(3 if not self.chosen.anew else time.time_ns())
        first, last = log.index(ready), len(log.entries)
        cuts = [Cut(0, first + (last - first) * n // count, "prefix") for n in range(count)]
        cuts += [Cut(0, dice.randint(first, last), "subset") for _ in range(count)]
        for number, cut in enumerate(cuts):
            cut.number = number
        return cuts

    def replay(self, log, cuts, check):
        """Every cut, by several workers, each with a stretch of the log."""
        cuts = sorted(cuts, key=lambda cut: cut.at)
        share = -(-len(cuts) // self.chosen.j)

        def stretch(number):
            folder = Path(tempfile.mkdtemp(prefix="replay-", dir=self.folder))
            prefixes, subsets = Replay(log), Replay(log)
            for cut in cuts[number * share:(number + 1) * share]:
                if cut.kind == "prefix":
                    disk = prefixes.prefix(cut.at)
                else:
                    disk = subsets.subset(cut.at, random.Random(cut.number))
                if trouble := take_out(disk, folder, "store"):
                    cut.wrong.append(f"the file system: {trouble}")
                else:
                    check(cut, folder / "store")
            shutil.rmtree(folder)
        with concurrent.futures.ThreadPoolExecutor(self.chosen.j) as pool:
            list(pool.map(stretch, range(self.chosen.j)))

    # -- the program's own store ---------------------------------------------------------------------------------
    def real(self):
        log, cuts, seen = self.cut_up(self.record(), self.chosen.cuts, sweeps=True)
        self.tally.planned += len(cuts)
        flushes = sum(bool(entry.flags & 1) for entry in log.entries)
        self.tally.note(f"the program: {len(log.entries)} writes and {flushes} flushes logged, {len(seen)} requests that "
                        f"change the Hub, {len(cuts)} cuts, {sum(len(cut.lost) for cut in cuts)} acknowledged things lost")
        for cut in cuts:
            self.tally.run += 1
            for what in [f"LOST: {lost}" for lost in cut.lost] + cut.wrong:
                self.tally.violation(cut, what)

    def defective(self, defect):
        """Control: the program itself with a defect; how many cuts show it."""
        _, cuts, seen = self.cut_up(self.record(defect), CONTROL_CUTS)
        bad = sum(any("the intent of" in lost for lost in cut.lost) for cut in cuts)
        self.tally.note(f"the program, {defect}: {len(seen)} requests that change the Hub, {len(cuts)} cuts, {bad} of them lost "
                        "an intent whose POST had left")
        return bad

    def cut_up(self, recorded, count, sweeps=False):
        log, seen, key = recorded.log, recorded.seen, recorded.key
        cuts = self.cuts(log, recorded.ready, count)
        stages = queue.SimpleQueue()

        def check(cut, store):
            left = log.entries[cut.at].place if cut.at < len(log.entries) else len(log.bytes)
            asked = [(method, name) for mark, method, name in seen if mark <= left]
            journal = read_journal(store / "state.db")
            posted = {name for method, name in asked if method == "POST"}
            if posted and journal.health != "ok":
                cut.wrong.append(f"integrity_check: {journal.health}")
            cut.lost += [f"the intent of {name}" for name in sorted(posted - journal.canaries.keys())]
            for name, deletes in Counter(name for method, name in asked if method == "DELETE").items():
                if journal.canaries.get(name, {}).get("attempts", 0) < deletes:
                    cut.lost.append(f"an attempt on {name}")
            if posted and (not (store / "state.key").exists() or (store / "state.key").read_bytes() != key):
                cut.lost.append("the key of canary names")
            stage = stages.get() if sweeps else None
            self.opened(cut, store)
            if stage:
                stage.afterwards(cut, store, asked, recorded.made, journal)
                stages.put(stage)
        with contextlib.ExitStack() as hubs:
            for number in range(self.chosen.j if sweeps else 0):
                stages.put(Stage(hubs.enter_context(Hub(world_of([ORG]), self.folder / f"stage-{number}"))))
            self.replay(log, cuts, check)
        return log, cuts, seen

    def opened(self, cut, store):
        """The program itself opens what is left, as a writer and as a verifier, and has nothing to say against it."""
        home = Home(store.parent / f"home-{cut.number}", "http://127.0.0.1:9", [ORG], store=store)
        commands = [("canaries", "unlatch")] + ([("evidence", "verify")] if self.evidence else [])
        for words in commands:
            done = home.run(*words)
            if done.code != 0 or "no breaker" not in done.out and words[0] == "canaries":
                cut.wrong.append(f"`{' '.join(words)}` on what is left: {done} {done.out[-200:]}")
        shutil.rmtree(home.dir)

    # -- controls ------------------------------------------------------------------------------------------------
    def control(self, synchronous):
        """The same kind of writes by a small writer; how many of its acknowledged intents are lost."""
        disk = LoggedDisk(self.folder / f"control-{synchronous}")
        try:
            (disk.mnt / "store").mkdir()
            writer = subprocess.Popen([sys.executable, __file__, "--writer", synchronous, str(disk.mnt / "store/state.db")],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
            acks = []
            for line in writer.stdout:
                acks.append((disk.mark(), int(line)))
                # The kernel writes back by itself after a while; a flush of somebody else's does the same sooner.
                if len(acks) % 25 == 0 and synchronous != "FULL":
                    subprocess.run(["sync", "-f", str(disk.mnt)], check=False)
            writer.wait()
            log = disk.cut()
        except BaseException:
            disk.end()
            raise
        cuts = self.cuts(log, acks[0][0], CONTROL_CUTS)

        def check(cut, store):
            left = log.entries[cut.at].place if cut.at < len(log.entries) else len(log.bytes)
            acked = {number for mark, number in acks if mark <= left}
            try:
                with sqlite3.connect(store / "state.db") as look:
                    if look.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
                        raise sqlite3.DatabaseError("malformed")
                    there = {number for (number,) in look.execute("SELECT id FROM canaries")}
                look.close()
            except sqlite3.Error as error:
                cut.wrong.append(str(error))
                there = acked if synchronous == "FULL" else set()
            if lost := acked - there:
                cut.lost.append(len(lost))
        self.replay(log, cuts, check)
        bad = sum(bool(cut.lost or cut.wrong) for cut in cuts)
        self.tally.note(f"a writer with synchronous = {synchronous}: {len(acks)} acknowledged, {len(log.entries)} writes logged, "
                        f"{len(cuts)} cuts, {bad} of them lost something or left no sound file")
        return bad

    def run(self):
        if why := missing() or (None if os.access(ARMED, os.X_OK) else NOT_ARMED):
            print(f"storage/powercut cannot run here: {why}")
            return 77
        for synchronous in ("NORMAL", "OFF"):
            self.tally.control(f"synchronous = {synchronous}", self.control(synchronous))
        self.tally.control("synchronous = FULL goes free", self.control("FULL") == 0)
        for defect in (LOSSY, SWALLOWED):
            self.tally.control(f"the program, {defect}", self.defective(defect))
        self.real()
        return self.tally.end()


def write(synchronous, path):
    """Intents one after the other; each number is printed once its commit is through."""
    store = sqlite3.connect(path, isolation_level=None)
    store.execute("PRAGMA journal_mode = WAL")
    store.execute(f"PRAGMA synchronous = {synchronous}")
    store.execute("CREATE TABLE canaries (id INTEGER PRIMARY KEY, name TEXT)")
    for number in range(1, 301):
        store.execute("INSERT INTO canaries VALUES (?, ?)", (number, f"scopewatch-canary-{number:060d}"))
        print(number, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def test(folder):
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--cuts", type=int, default=CUTS, help=f"prefixes, and as many subsets ({CUTS})")
    options.add_argument("-j", type=int, default=4, help="workers")
    options.add_argument("--anew", action="store_true", help="other subsets than the last time")
    options.add_argument("--keep", action="store_true", help="leave the scratch directory")
    return Test(folder, options.parse_args()).run()


if __name__ == "__main__":
    if "--writer" in sys.argv:
        write(*sys.argv[2:])
    main(test)

"""Each single call on the store's files fails once, or is the last thing that the process does.

`python3 tests/storage/syscalls.py [--long] [-j N]`.  strace strikes the n-th instance of one call on the store's own
files (EIO, ENOSPC, EINTR, SIGKILL), for n spread over all of them, in three scenes: a first audit, an audit beside an
unfinished canary, and the recovery itself.  Then the program is started again without faults, until it says that nothing is left; the
Hub's record and the store are judged.  After a failed fsync the process must write nothing more.

strace is the parent and attached before the program's first instruction, so that a process which makes itself
undumpable is traced all the same; to see whose a descriptor is, it must then be root, be it in a user namespace of its own.
A strike that did not happen is not counted: were the filter blind, this test would end with nothing run.
"""

import argparse
import concurrent.futures
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from bench import STANDIN, Broken, Home, Hub, Tally, has_command, main, world_of
from judge import History, judge, planted

CALLS = ("openat", "read", "pread64", "pwrite64", "write", "fdatasync", "fsync", "ftruncate", "rename", "unlink", "close",
         "mmap", "fcntl")
WRITES = ("pwrite64", "write", "ftruncate", "rename", "unlink")
FAULTS = {"EIO": "error=EIO:when={n}", "ENOSPC": "error=ENOSPC:when={n}", "EINTR": "error=EINTR:when={n}",
          "KILL": "signal=KILL:when={n}"}
# Only in the long run: everything fails from there on.
FOREVER = {"EIO from then on": "error=EIO:when={n}+", "ENOSPC from then on": "error=ENOSPC:when={n}+"}
SCENES = {"first": ("audit",), "again": ("audit",), "recovery": ("canaries", "sweep")}
# A lock that cannot be had is another test's; the many fcntl calls of one connection are all alike.
RARE = {"fcntl": 12, "mmap": 4}
SHORT_RUNS, LONG_RUNS = 200, 2_000
EARLY = [f"early-{n:02d}" for n in range(60)]
LINE = re.compile(r"^(\d+)\s+(\w+)\((.*)$")


class Blind(Exception):
    """strace does not see what it should strike."""


@dataclass
class Case:
    scene: str
    call: str
    n: int
    fault: str
    org: str = ""
    home: Home = None
    struck: bool = False
    exit: int = 0
    notes: list = field(default_factory=list)
    swept: float = 0.0
    done: object = None

    def __str__(self):
        return f"{self.scene}/{self.call} #{self.n} {self.fault} ({self.org})"


def strace(home, trace, injection=None, calls=CALLS):
    """The words before a command; a call that this machine does not have is none of ours."""
    words = ["strace", "-f", "-y", "-qq", "-s", "0", "-o", str(trace), "-e", "trace=" + ",".join(calls)]
    # Quicker, but then strace sends no signals.
    words += [] if injection and "signal" in injection else ["--seccomp-bpf"]
    for path in home.store_paths():
        words += ["-P", path]
    return words + (["-e", f"inject={injection}"] if injection else [])


def instances(trace):
    """How often each call came, in the thread where it came most."""
    by_thread = defaultdict(Counter)
    for line in trace.read_text(errors="replace").splitlines():
        if found := LINE.match(line):
            by_thread[found[1]][found[2]] += 1
    return {call: max(counts[call] for counts in by_thread.values()) for call in CALLS}


def struck(trace, fault, code):
    return "(INJECTED)" in trace.read_text(errors="replace") if fault != "KILL" else code in (-9, 137)


def after_failed_fsync(trace, store):
    """What was still written to the store after one of its fsyncs had failed. The key beside it is a file of its own; and
    before there is a log nothing was ever acknowledged: SQLite undoes the birth of the file within the failed call."""
    failed, logged, written = False, False, []
    for line in trace.read_text(errors="replace").splitlines():
        found = LINE.match(line)
        if not found or str(store) not in found[3] or ".key" in found[3] or "-shm" in found[3]:
            continue
        logged = logged or found[2] == "pwrite64" and "-wal>" in found[3]
        if found[2] in ("fsync", "fdatasync"):
            failed = failed or logged and "(INJECTED)" in line
        elif failed and found[2] in WRITES and "= -1" not in line:
            written.append(f"{found[2]}({found[3][:90]}")
    return written


class Test:
    def __init__(self, folder, chosen):
        self.folder, self.long, self.threads = folder, chosen.long, chosen.j
        self.runs = LONG_RUNS if self.long else SHORT_RUNS
        self.tally = Tally("storage/syscalls")
        self.kill_at = None

    # -- cases ---------------------------------------------------------------------------------------------------
    def plan(self, counts):
        every = [Case(scene, call, n, fault)
                 for scene, per_call in counts.items() for call, most in per_call.items()
                 for n in range(1, min(most, RARE.get(call, most)) + 1) for fault in (*FAULTS, *(FOREVER if self.long else ()))]
        # Every kind of strike often, and every n of what is seldom called: the same choice each time.
        dice, kinds, chosen = random.Random(4), defaultdict(list), []
        for case in every:
            kinds[case.scene, case.call, case.fault].append(case)
        for cases in kinds.values():
            dice.shuffle(cases)
        while len(chosen) < min(self.runs, len(every)):
            chosen += [cases.pop() for cases in kinds.values() if cases]
        return chosen[:self.runs]

    def home(self, org):
        return Home(self.folder / org, self.hub.url, [org])

    def prepare(self, case):
        """A home in which a canary is open: the process was killed when its creation had been answered."""
        case.home = self.home(case.org)
        if case.scene == "first":
            return
        trace = case.home.dir / "prepare.trace"
        case.home.run("audit", before=strace(case.home, trace, f"fsync:signal=KILL:when={self.kill_at}", ("fsync",)))

    def find_kill(self, orgs):
        """The fsync at which a first audit has left a repository on the Hub, and knows of it."""
        for at, org in zip(range(6, 20), orgs):
            self.kill_at = at
            case = Case("again", "-", 0, "-", org)
            self.prepare(case)
            journal = case.home.journal().canaries
            if any(name in journal for name in self.hub.world()["left_over"]):
                return
        raise Blind("strace strikes no call on the store's files; it must be root, and be allowed to trace")

    def count(self, orgs):
        counts = {}
        for scene, org in zip(SCENES, orgs):
            case = Case(scene, "-", 0, "-", org)
            self.prepare(case)
            trace = case.home.dir / "count.trace"
            case.home.run(*SCENES[scene], before=strace(case.home, trace))
            counts[scene] = instances(trace)
            if not counts[scene]["pwrite64"]:
                raise Blind(f"strace sees no call on the store's files in the scene '{scene}'")
        return counts

    # -- one case ------------------------------------------------------------------------------------------------
    def strike(self, case):
        self.prepare(case)
        trace = case.home.dir / "strike.trace"
        rule = {**FAULTS, **FOREVER}[case.fault]
        # The threads share the calls out a little differently each time: a strike that missed is tried earlier.
        for n in [case.n, *range(case.n - 1, 0, -max(1, case.n // 6))]:
            case.n = n
            done = case.home.run(*SCENES[case.scene], before=strace(case.home, trace, f"{case.call}:{rule.format(n=n)}"))
            if struck(trace, case.fault, done.code):
                case.struck = True
                break
        case.exit = done.code
        if case.fault == "KILL" and not case.struck:
            case.notes.append(f"the kill did not strike (exit {done.code})")
        if done.code not in (0, 1, 2, 3, -9, 137):
            case.notes.append(f"ended with {done}")
        if "panicked" in done.err:
            case.notes.append("panicked: " + done.err[-300:])
        if case.call in ("fsync", "fdatasync") and case.fault != "KILL":
            for what in after_failed_fsync(trace, case.home.db)[:1]:
                case.notes.append(f"written after a failed fsync: {what}")
        trace.unlink()
        case.done = case.home.run("canaries", "sweep")
        case.swept = time.monotonic()

    @staticmethod
    def recover(case):
        case.notes += case.home.recover(case.done, case.swept)

    def run(self):
        scratch = [f"scratch-{n:02d}" for n in range(20)]
        dealt = [f"case-{n:05d}" for n in range(self.runs)]
        with Hub(world_of(scratch + dealt + EARLY), self.folder / "hub") as self.hub:
            self.find_kill(scratch)
            cases = self.plan(self.count(scratch[16:19]))
            if len(cases) > len(dealt):
                raise Broken(f"{len(cases)} cases, and only {len(dealt)} organizations")
            for case, org in zip(cases, dealt):
                case.org = org
            self.tally.planned = len(cases)
            with concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(self.strike, cases))
            with concurrent.futures.ThreadPoolExecutor(32) as pool:
                list(pool.map(self.recover, cases))
            self.controls(scratch)
            record = self.hub.record()
            self.convict(cases, record)
        return self.tally.end()

    def convict(self, cases, record):
        kinds = Counter()
        for case in cases:
            self.tally.run += case.struck
            kinds[case.fault] += case.struck
            journal = case.home.journal()
            if journal.health != "ok":
                case.notes.append(f"integrity_check: {journal.health}")
            history = History(record.sent[case.org], record.changes[case.org], journal, record.repos[case.org])
            for what in case.notes + judge(history):
                self.tally.violation(case, what)
        by_exit = Counter(case.exit for case in cases)
        self.tally.note("struck: " + ", ".join(f"{count} × {fault}" for fault, count in sorted(kinds.items())))
        self.tally.note("exits under the fault: " + ", ".join(f"{code}: {n}" for code, n in sorted(by_exit.items())))
        self.tally.note("evidence verify: " + ("after each" if has_command("evidence") else "this build has no such command"))

    # -- controls ------------------------------------------------------------------------------------------------
    def cousin(self, defect, org, before=()):
        home = self.home(f"cousin-{defect}") if not (self.folder / f"cousin-{defect}").exists() else None
        db = self.folder / f"cousin-{defect}" / "store" / "state.db"
        words = [*before, sys.executable, STANDIN, defect, "--hub", self.hub.url, "--organization", org,
                 "--token", f"hf_wide_{org}", "--db", str(db)]
        subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        return home

    def controls(self, orgs):
        for name, caught in planted().items():
            self.tally.control(name, caught)
        # The program itself, with its POST before its intent; killed at every third write of the store.
        homes = [self.home(org) for org in EARLY]

        def early(dealt):
            number, home = dealt
            kill = f"pwrite64:signal=KILL:when={3 * number + 1}"
            home.run("audit", planted="POST before journal", before=strace(home, home.dir / "trace", kill, ("pwrite64",)))
        with concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(early, enumerate(homes)))
        sent = self.hub.record().sent
        guilty = [what for org, home in zip(EARLY, homes) for what in judge(History(sent[org], [], home.journal()))]
        self.tally.control("the program, POST before journal", any("without an intent" in what for what in guilty))
        # Commits again after a failed fsync.
        home = self.home("cousin-resync")
        trace = home.dir / "trace"
        written = []
        for n in range(4, 12):
            self.cousin("resync", orgs[11], strace(home, trace, f"fsync:error=EIO:when={n}")
                        + ["-e", f"inject=fdatasync:error=EIO:when={n}"])
            written += after_failed_fsync(trace, home.db)
        self.tally.control("commits again after a failed fsync", written)
        home = self.home("cousin-forgetful")
        self.cousin("forgetful", orgs[12])
        record = self.hub.record()
        guilty = judge(History(record.sent[orgs[12]], record.changes[orgs[12]], home.journal(), record.repos[orgs[12]]))
        self.tally.control("a canary is forgotten", any("left on the Hub" in g for g in guilty))
        # A strike that never happens must not pass for one that was survived.
        case = Case("first", "pwrite64", 60_000, "EIO", orgs[13])
        self.prepare(case)
        trace = case.home.dir / "trace"
        done = case.home.run("audit", before=strace(case.home, trace, f"pwrite64:error=EIO:when=60000"))
        self.tally.control("a strike that misses", not struck(trace, "EIO", done.code))


def test(folder):
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("-j", type=int, default=6, help="cases at a time")
    options.add_argument("--long", action="store_true", help=f"{LONG_RUNS} strikes or more, and failures that last")
    options.add_argument("--keep", action="store_true", help="leave the scratch directory")
    chosen = options.parse_args()
    try:
        return Test(folder, chosen).run()
    except Blind as blind:
        print(f"storage/syscalls cannot run here: {blind}")
        return 77


if __name__ == "__main__":
    root = ["unshare", "-Ur"]
    if os.geteuid() != 0 and subprocess.run([*root, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
        os.execvp(root[0], [*root, sys.executable, *sys.argv])
    main(test)

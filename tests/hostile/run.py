"""A Hub that is hostile, byte by byte: `python3 tests/hostile/run.py [--long] [--only PART]…`

Strikes every call that the daemon makes with every behaviour of the zoo (a covering choice of them in the short form),
then all calls at once; measures deadlines at the Hub's own socket, and memory and files of the daemon; then takes
descriptors, log and TLS away.  Defects planted on purpose must be found.  Serves people and tests/run; appends a line
of figures for each test to the file that SCOPEWATCH_TALLY names.  SCOPEWATCH_BIN names the binary.
"""

import argparse
import os
import sys
import threading
import time
import traceback
from collections import Counter

from bench import BIN, TIMEOUT, Files
from controls import Controls
from judge import files_back
from limits import Limits
from memory import HEAVY, Memory
from pairs import POOL, Pairs, covering, planned
from server import Hub
from whole import Whole
from zoo import ZOO

PARTS = ("behaviours", "memory", "limits")


class Tally:
    """Planned, run, violations, planted and caught of each test."""

    def __init__(self):
        self.rows = {}

    def row(self, name, run_of, violations, controls):
        run, of = run_of
        self.rows[name] = (of, run, len(violations), controls.planted[name], controls.caught[name])
        told = Counter()
        for line in violations:
            told[line.split(": ")[0]] += 1
            if told[line.split(": ")[0]] <= 4:
                print(f"WRONG {name}: {line}")
        for what, number in told.most_common():
            if number > 4:
                print(f"… and {number - 4} more of {what}")

    def write(self):
        lines = ["\t".join(["hostile/" + name, *map(str, row)]) for name, row in self.rows.items()]
        print("test\tplanned\trun\tviolations\tplanted\tcaught", *lines, sep="\n")
        if os.environ.get("SCOPEWATCH_TALLY"):
            with open(os.environ["SCOPEWATCH_TALLY"], "a", encoding="utf-8") as out:
                out.write("".join(line + "\n" for line in lines))

    def well(self):
        return bool(self.rows) and all(of == run and not wrong and planted == caught
                                       for of, run, wrong, planted, caught in self.rows.values())


# Organizations of these kinds share a daemon: one that creates takes long over a round, and the others would wait for it.
GROUPS = ("rsn", "mgj", "i")
MANY = 6                                # of the zoo every so-many-th meets every call, in the long form


def chosen(long):
    """The pairs of this run: every call meets as many behaviours as any other."""
    every = planned()
    if not long:
        return covering([pair for pair in every if pair.behaviour in ZOO[::3]]), len(every)
    some = [pair for pair in every if pair.behaviour in ZOO[::MANY]]
    return some + covering([pair for pair in every if pair.behaviour not in ZOO[::MANY]]), len(every)


class Group:
    """The pairs of some kinds, with a Hub and a daemon of their own."""

    def __init__(self, kinds, pairs):
        self.kinds, self.pairs = kinds, [pair for pair in pairs if pair.call.kind in kinds]

    def go(self, seconds):
        with Hub() as self.hub, Files() as files:
            self.test = Pairs(self.hub, files, self.pairs, {kind: POOL[kind] for kind in self.kinds})
            try:
                self.test.run(seconds)
            except Exception as error:  # whatever it is, the others are still to be seen
                self.test.wrong(f"broke: {error!r}"[:1500])
        test = self.test
        if test.memory and test.peak > test.memory[0] + 2048 * self.hub.peak:
            test.violations.append(f"memory grew from {test.memory[0]} to {test.peak} KiB with {self.hub.peak} connections")
        if not files_back(self.hub.peak, test.files_open):
            test.violations.append(f"{test.files_open:.0f} files are open at the end")


def together(jobs):
    """Runs all side by side; most of their time is waiting."""
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def behaviours(long):
    """Pairs of a behaviour and a call, then behaviours in every call at once."""
    pairs, of = chosen(long)
    groups, whole = [Group(kinds, pairs) for kinds in GROUPS], Whole()
    reads, *others = (lambda group=group: group.go(7200 if long else 900) for group in groups)
    if long:
        # The reads are done first by far; until then they leave nothing of two cores to anybody.
        together([*others, lambda: (reads(), whole.go(ZOO))])
    else:
        # Of every family some.
        together([reads, *others, lambda: whole.go(ZOO[::16])])
    outcomes, reasons = sum((g.test.outcomes for g in groups), Counter()), sum((g.test.reasons for g in groups), Counter())
    print(f"{len({p.behaviour for p in pairs})} behaviours, {len({p.call for p in pairs})} calls: {len(pairs)} of the {of} pairs "
          f"in {sum(g.test.rounds for g in groups)} rounds; {sum(g.hub.requests for g in groups)} requests, and "
          f"{sum(g.hub.swallowed for g in groups)} that nobody heard, because their kept connections had ended")
    print("  " + ", ".join(f"{what} {number}" for what, number in sorted(outcomes.items())))
    print("  undetermined because: " + ", ".join(f"{number} {reason}" for reason, number in reasons.most_common()))
    for g in groups:
        test = g.test
        print(f"  organizations {g.kinds}: slowest struck connection {test.slowest:.1f} s, first asked on one {g.hub.rested:.1f} s "
              f"after it was made at the latest; memory {test.memory[:1]} KiB after the "
              f"first round, {test.memory[-1:]} after the last, {test.peak} at most, with at most {g.hub.peak} connections; "
              f"{test.unjudged} answers not judged, because the Hub was late or the machine busy; {len(test.late)} creations came "
              "too late to be sent")
    print(f"  {whole.run} behaviours in every call at once")
    done = sum(pair.run for pair in pairs)
    return (done + whole.run, len(pairs) + whole.planned), [v for g in groups for v in g.test.violations] + whole.violations


def memory(long):
    test = Memory(say=lambda line: print(line) if long else None)
    test.go([HEAVY] * 5 if long else [HEAVY, HEAVY[::3]])
    print(f"memory: {test.run} strikes of {len(HEAVY)} heavy behaviours; the most was {test.worst[0]} KiB for '{test.worst[1]}', with "
          f"8 connections; after each pass {test.after} KiB")
    return (test.run, test.planned), test.violations


def limits(_long):
    test = Limits()
    test.go()
    return (test.run, test.planned), test.violations


def guarded(part, long):
    """What a part says, or that it broke: whatever it is, the others are still to be seen."""
    begun = time.monotonic()
    try:
        return {"behaviours": behaviours, "memory": memory, "limits": limits}[part](long)
    except Exception as error:
        traceback.print_exc()
        return (0, 1), [f"broke: {error!r}"]
    finally:
        print(f"{part}: {time.monotonic() - begun:.0f} s")


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--long", action="store_true", help="every sixth behaviour × every call, and all others at some call")
    options.add_argument("--only", action="append", choices=PARTS, help="this part alone; may be given again")
    asked = options.parse_args()
    if not os.access(BIN, os.X_OK):
        print(f"there is no binary at {BIN}; build it, or set SCOPEWATCH_BIN")
        return 2
    sys.stdout.reconfigure(line_buffering=True)
    started, tally, controls, parts, results = time.monotonic(), Tally(), Controls(), asked.only or PARTS, {}
    print(f"{len(ZOO)} behaviours are known; a request may take {TIMEOUT:g} s")

    def part(name):
        results[name] = guarded(name, asked.long)

    # These mostly wait; what the pairs say of time, they say with the machine to themselves.
    together([controls.go, *(lambda name=name: part(name) for name in parts if name != "behaviours")])
    print(f"planted defects: {sum(controls.caught.values())} of {sum(controls.planted.values())} found")
    if "behaviours" in parts:
        part("behaviours")
    for line in controls.missed:
        print("WRONG", line)
    for name in parts:
        tally.row(name, *results[name], controls)
    tally.write()
    well = tally.well() and not controls.missed
    print(f"{time.monotonic() - started:.0f} s")
    if not well:
        print("RED. Each line that begins with WRONG names the call and the behaviour (tests/hostile/zoo*.py) that the daemon did not "
              "bear.\nOne part again: python3 tests/hostile/run.py --only PART. On a busy machine: SCOPEWATCH_HOSTILE_TIMEOUT=6")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())

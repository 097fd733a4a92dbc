"""Kills the daemon at every failpoint, stops it past the horizon, kills it at random, and asks the Hub afterwards:
`python3 tests/crash/run.py [--long] [-j N] [--seed N] [--keep] [WORD]…`

Words choose the cases whose names hold one of them.  Prints what is wrong, and a line a test of how much was
planned, run, violated, planted and caught; the same lines go to the file that SCOPEWATCH_TALLY names.  Exit 0
when everything was run, nothing violated and every planted defect caught.
"""

import argparse
import os
import queue
import random
import signal
import sys
import threading
import time
import traceback

import cases
import release
from bench import ARMED, BIN, Broken, Hub


class Row:
    """One line of the tally."""

    def __init__(self, name, planned):
        self.name, self.planned, self.ran, self.violations, self.planted, self.caught = name, planned, 0, 0, 0, 0
        self.counts = dict.fromkeys(("created", "deleted", "quarantined", "open"), 0)

    def line(self):
        return "\t".join(map(str, (self.name, self.planned, self.ran, self.violations, self.planted, self.caught)))

    def good(self):
        return self.ran == self.planned and not self.violations and self.caught == self.planted


def worker(jobs, told, keep):
    hub = None
    try:
        hub = Hub()
        while True:
            case = jobs.get_nowait()
            began = time.monotonic()
            try:
                outcome = case.play(hub, keep)
            except Broken as error:
                outcome = cases.Outcome([f"not run: {error}"], ran=False)
            except Exception:
                outcome = cases.Outcome([f"not run: {traceback.format_exc()}"], ran=False)
            outcome.seconds = time.monotonic() - began
            told.put((case, outcome))
    except queue.Empty:
        pass
    except Exception:
        told.put((None, cases.Outcome([f"a worker broke: {traceback.format_exc()}"], ran=False)))
    finally:
        if hub:
            hub.stop()
        told.put(None)


def play(chosen, threads, keep):
    """Each case with its outcome, as they come."""
    jobs, told = queue.Queue(), queue.Queue()
    for case in chosen:
        jobs.put(case)
    for _ in range(threads):
        threading.Thread(target=worker, args=(jobs, told, keep), daemon=True).start()
    left = threads
    while left:
        one = told.get()
        if one is None:
            left -= 1
        else:
            yield one


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--long", action="store_true", help="ten times as many random kills, every point also under serve")
    options.add_argument("-j", type=int, default=24, help="cases at a time; nearly all of their time is waiting")
    options.add_argument("--seed", type=int, help="of the random kills; one that was printed plays the same again")
    options.add_argument("--keep", action="store_true", help="keep the directory of a case that went wrong")
    options.add_argument("words", nargs="*")
    chosen = options.parse_args()
    for binary in (BIN, ARMED):
        if not os.access(binary, os.X_OK):
            sys.exit(f"{binary} is missing: cargo build --features failpoints, copy it to {ARMED}, then cargo build")
    seed = chosen.seed if chosen.seed is not None else random.randrange(10**6)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"seed {seed}", flush=True)
    planned = cases.planned(seed, chosen.long)
    planned = [c for c in planned if not chosen.words or any(w in c.name for w in chosen.words)]
    rows = {name: Row(name, 0) for name in dict.fromkeys(c.row for c in planned)}
    for case in planned:
        rows[case.row].planned += 0 if case.planted else case.weight
        rows[case.row].planted += bool(case.planted)
    began, spent, broken = time.monotonic(), 0.0, 0
    for case, outcome in play(planned, chosen.j, chosen.keep):
        if case is None:
            broken += 1
            print(outcome.wrong[0], flush=True)
            continue
        spent += outcome.seconds
        row = rows[case.row]
        if case.planted:
            row.caught += bool(outcome.ran and outcome.wrong)
            if outcome.wrong and outcome.ran:
                print(f"caught  {case.name}: {outcome.wrong[0]}", flush=True)
            else:
                print(f"MISSED  {case.name}: {'; '.join(outcome.wrong) or 'nothing was found wrong'}", flush=True)
            continue
        row.ran += case.weight * outcome.ran
        row.violations += len(outcome.wrong) if outcome.ran else 0
        for name in row.counts:
            row.counts[name] += getattr(outcome, name)
        if outcome.wrong:
            print(f"WRONG   {case.name} ({outcome.seconds:.1f} s)\n        " + "\n        ".join(outcome.wrong), flush=True)
    if not chosen.words:
        rows["crash/release"] = row = Row("crash/release", 0)
        for wrong, planted in release.checks():
            row.planned += not planted
            row.ran += not planted
            row.planted += planted
            row.caught += bool(planted and wrong)
            row.violations += bool(wrong and not planted)
            if wrong and not planted:
                print(f"WRONG   crash/release: {wrong}", flush=True)
    for row in rows.values():
        told = ", ".join(f"{count} {name}" for name, count in row.counts.items() if count or name == "quarantined")
        print(f"{row.name}: canaries: {told}{' at a death' if row.counts['open'] else ''}", flush=True)
    print(f"{len(planned)} cases, {spent:.0f} s of theirs in {time.monotonic() - began:.0f} s", flush=True)
    print("test\tplanned\trun\tviolations\tplanted\tcaught")
    lines = [row.line() for row in rows.values()]
    print("\n".join(lines), flush=True)
    if os.environ.get("SCOPEWATCH_TALLY"):
        with open(os.environ["SCOPEWATCH_TALLY"], "a", encoding="utf-8") as tally:
            tally.writelines(line + "\n" for line in lines)
    return 0 if rows and not broken and all(row.good() for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

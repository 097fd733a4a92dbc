"""Strikes at several replicas that share one journal, and asks the Hub afterwards:
`python3 tests/replicas/run.py [--long] [-j N] [--seed N] [--keep] [WORD]…`

Words choose the cases whose names or rows hold one of them.  Prints what is wrong, what was measured, and a line a test of
how much was planned, run, violated, planted and caught; the same lines go to the file that SCOPEWATCH_TALLY names.  Exit 0
when everything was run, nothing violated and every planted defect caught; 77 where PostgreSQL is missing.
"""

import argparse
import os
import random
import signal
import sys
import time

import apart
import replicas  # the first, because it says where the others lie
from bench import ARMED, BIN  # noqa: I001
from run import Row, play

import cluster
import failover
import nemesis
import promotion
import share
import takeover


def planned(seed, long):
    return [nemesis.Nemesis(seed, long), promotion.Promotion(seed, long), share.Share(), *failover.planned(long), *takeover.planned()]


def noted(row, case, outcome):
    """One outcome in its row, and in words."""
    if case.planted:
        caught = outcome.ran and outcome.wrong
        row.caught += bool(caught)
        print(f"caught  {case.name}: {outcome.wrong[0]}" if caught else
              f"MISSED  {case.name}: {'; '.join(outcome.wrong) or 'nothing was found wrong'}", flush=True)
        return
    row.ran += outcome.ran
    row.violations += len(outcome.wrong) if outcome.ran else 0
    for name in row.counts:
        row.counts[name] += getattr(outcome, name)
    if outcome.wrong:
        print(f"WRONG   {case.name} ({outcome.seconds:.1f} s)\n        " + "\n        ".join(outcome.wrong), flush=True)
    if outcome.figures:
        print(f"        {case.name}: {outcome.figures}", flush=True)
    for name, said in getattr(case, "controls", ()):
        row.planted += 1
        row.caught += bool(said)
        print(f"{'caught' if said else 'MISSED'}  judge, {name}: {said[0] if said else 'nothing was found wrong'}", flush=True)


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--long", action="store_true", help="five replicas for ten minutes, and twenty failovers of the database")
    options.add_argument("-j", type=int, default=8, help="cases at a time; nearly all of their time is waiting")
    options.add_argument("--seed", type=int, help="of the strikes; one that was printed strikes at the same moments again")
    options.add_argument("--keep", action="store_true", help="keep the directory of a case that went wrong")
    options.add_argument("words", nargs="*")
    chosen = options.parse_args()
    for binary in (BIN, ARMED):
        if not os.access(binary, os.X_OK):
            sys.exit(f"{binary} is missing: cargo build --features failpoints, copy it to {ARMED}, then cargo build")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not apart.is_apart():
        if why := apart.why_not():
            print(f"no connection is cut: {why}", flush=True)
        else:
            apart.enter()
    apart.prepare()
    try:
        cluster.user(), cluster.program("initdb")
    except cluster.Missing as missing:
        print(missing)
        return 77
    seed = chosen.seed if chosen.seed is not None else random.randrange(10**6)
    print(f"seed {seed}", flush=True)
    cases = [c for c in planned(seed, chosen.long) if not chosen.words or any(w in f"{c.row} {c.name}" for w in chosen.words)]
    rows = {name: Row(name, 0) for name in dict.fromkeys(c.row for c in cases)}
    for case in cases:
        rows[case.row].planned += not case.planted
        rows[case.row].planted += bool(case.planted)
    began, outcomes, broken = time.monotonic(), [], 0
    for case, outcome in play(cases, chosen.j, chosen.keep):
        if case is None:
            broken += 1
            print(outcome.wrong[0], flush=True)
            continue
        outcomes.append((case, outcome))
        noted(rows[case.row], case, outcome)
    for told in (*takeover.summary(outcomes), *failover.summary(outcomes)):
        print(told, flush=True)
    print(f"{len(cases)} cases in {time.monotonic() - began:.0f} s", flush=True)
    print("test\tplanned\trun\tviolations\tplanted\tcaught")
    lines = [row.line() for row in rows.values()]
    print("\n".join(lines), flush=True)
    if os.environ.get("SCOPEWATCH_TALLY"):
        with open(os.environ["SCOPEWATCH_TALLY"], "a", encoding="utf-8") as tally:
            tally.writelines(line + "\n" for line in lines)
    return 0 if rows and not broken and all(row.good() for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

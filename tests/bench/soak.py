#!/usr/bin/env python3
"""Whether `serve` grows: `python3 tests/bench/soak.py [--seconds 600] [--table]`.

Method: 50 tokens with ten read-only checks, few so that what comes and goes of a round is small; a round every second against
fakehub.py, a scrape each second, as it is and packed in turn; /proc tells after each scrape what of its resident memory is no file's. Of
each twenty seconds the least counts, what is held while no round and no scrape is under way; the slope is Theil and Sen's (the median of the
slopes of all pairs), which a few steps of the allocator do not move. The first two minutes are warm-up: what is in use stays as it
is (heaptrack: an eighth of what is resident), but the allocator's arenas grow until their holes fit what rounds and scrapes ask for. What
grows after that are the points of history, 176 bytes a round, up to 288 of them. Of five minutes the slope is rougher than of ten.
The judge is judged first, with series of which the answer is known; and beside the daemon runs a process that keeps a log of all
it hears, at twice the bound: if that one is not seen to grow, the measurement is worth nothing and fails. Limits: what leaks less
than the bound, or only after hours, is not seen. SCOPEWATCH_BIN (else target/release) is measured. Exit 1 above the bound.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path

import table
from scale import Bench, get, wait_for

ROOT = Path(__file__).resolve().parents[2]
TOKENS, EVERY, WINDOW, WARM_UP = 50, 1, 20, 120
BOUND = 120  # kB a minute, so 2 kB a round: 200 kB a day where rounds are a quarter of an hour apart
# As the image and the unit have it. By default there are eight for each core, which grow one after the other for many minutes.
ARENAS = "2"
# Keeps what it is told, a line a second, as a daemon would that forgets to forget; twice the bound.
KEEPER = ("import sys\nkept = []\nfor line in sys.stdin: kept.append(bytearray(line.encode() * (%d * 1024 // 60 // len(line) + 1)))"
          % (2 * BOUND))


def slope(points):
    """kB a minute of (seconds, kB): of the least of each window, by the median over all pairs."""
    windows = {}
    for at, kb in points:
        windows[at // WINDOW] = min((kb, at), windows.get(at // WINDOW, (kb, at)))
    points = [(at, kb) for kb, at in windows.values()]
    each = [60 * (later[1] - sooner[1]) / (later[0] - sooner[0]) for sooner, later in combinations(points, 2)]
    return statistics.median(each) if each else float("nan")


def after_warm_up(points):
    return [point for point in points if point[0] >= WARM_UP]


def judge_the_judge():
    """Series of which the slope is known; ends the run where it is told wrongly."""
    times = range(200)
    noise = [(7919 * at) % 97 - 48 for at in times]
    known = {
        "nothing": ([(t, 20_000) for t in times], 0),
        "noise": ([(t, 20_000 + n) for t, n in zip(times, noise)], 0),
        "a leak": ([(t, 20_000 + 2 * t) for t in times], 120),
        "a leak in noise": ([(t, 20_000 + 2 * t + n) for t, n in zip(times, noise)], 120),
        "a leak in steps": ([(t, 20_000 + 60 * (t // 30)) for t in times], 120),
        "one step": ([(t, 20_000 + (4_000 if t > 170 else 0)) for t in times], 0),
        "peaks that are given back": ([(t, 20_000 + (9_000 if t % 10 < 8 else 0)) for t in times], 0),
        "warm-up": (after_warm_up([(t, 20_000 + 100 * min(t, WARM_UP)) for t in times]), 0),
    }
    for name, (points, wanted) in known.items():
        if abs((found := slope(points)) - wanted) > 12:
            sys.exit(f"the slope of {name} is {found:.0f} kB a minute, not {wanted}")


def resident(pid):
    """kB, and of them those that are no file's."""
    text = Path(f"/proc/{pid}/status").read_text()
    return [int(re.search(rf"{name}:\s+(\d+)", text)[1]) for name in ("VmRSS", "RssAnon")]


def measure(bench, seconds):
    """Memory of the daemon and of the keeper that is no file's, kB each second; and the most that was resident of the daemon."""
    daemon = bench.start("serve", "--config", str(bench.config))
    keeper = subprocess.Popen([sys.executable, "-c", KEEPER], stdin=subprocess.PIPE, text=True)
    try:
        wait_for(bench.url("/-/ready"), daemon)
        began, most, own, kept = time.monotonic(), 0, [], []
        while (at := time.monotonic() - began) < seconds:
            packed = {"Accept-Encoding": "gzip"} if len(own) % 2 else {}
            _, body = get(bench.url("/metrics"), headers=packed)
            keeper.stdin.write(f"{len(body)} bytes\n")
            keeper.stdin.flush()
            if daemon.poll() is not None:
                sys.exit(f"serve ended with {daemon.returncode}")
            whole, anonymous = resident(daemon.pid)
            most = max(most, whole)
            own.append((at, anonymous))
            kept.append((at, resident(keeper.pid)[1]))
            time.sleep(max(0.0, began + len(own) - time.monotonic()))
    finally:
        keeper.stdin.close()
        keeper.wait(10)
    return own, kept, most


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--seconds", type=int, default=600)
    options.add_argument("--series", type=Path, metavar="FILE", help="write seconds, kB and the keeper's kB there")
    options.add_argument("--table", action="store_true")
    chosen = options.parse_args()
    if chosen.seconds < 2 * WARM_UP:
        options.error(f"at least {2 * WARM_UP} seconds: the first {WARM_UP} are warm-up")
    judge_the_judge()
    binary = os.environ.get("SCOPEWATCH_BIN", str(ROOT / "target/release/scopewatch"))
    os.environ["MALLOC_ARENA_MAX"] = ARENAS
    if not shutil.which(binary):
        sys.exit(f"{binary} is missing: cargo build --release")
    with tempfile.TemporaryDirectory(prefix="scopewatch-soak-") as folder:
        bench = Bench(binary, Path(folder), TOKENS, f"*/{EVERY} * * * * *")
        try:
            own, kept, most = measure(bench, chosen.seconds)
            rounds = (bench.folder / "log").read_bytes().count(b"a round ended")
        finally:
            bench.end()
    if rounds < chosen.seconds / EVERY / 2:
        sys.exit(f"only {rounds} rounds: nothing was soaked")
    if chosen.series:
        chosen.series.write_text("".join(f"{at:.1f} {kb} {keeper}\n" for (at, kb), (_, keeper) in zip(own, kept)))
    most /= 1024
    minutes = [statistics.median(kb for at, kb in own if at // 60 == minute) for minute in range(chosen.seconds // 60)]
    print("by the minute, kB: " + " ".join(f"{kb:.0f}" for kb in minutes), file=sys.stderr)
    control = slope(after_warm_up(kept))
    rows = [table.Row("soak: growth of RSS", slope(after_warm_up(own)), f"<={BOUND}", "kB/min", f"{chosen.seconds} s, {rounds} rounds"),
            table.Row("soak: growth of what keeps a log", control, f">={1.5 * BOUND}", "kB/min", "must be seen"),
            table.Row("soak: RSS at most", most, "", "MB", f"{TOKENS} tokens")]
    if chosen.table:
        print("\n".join(row.line() for row in rows))
    else:
        table.show({f"{TOKENS} tokens x 10 checks, a round every {EVERY} s, a scrape each second": rows})
    return 1 if any(row.verdict() != "met" for row in rows[:2]) else 0


if __name__ == "__main__":
    sys.exit(main())

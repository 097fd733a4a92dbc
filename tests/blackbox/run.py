"""Runs the scenarios side by side, since most of their time is waiting: `python3 tests/blackbox/run.py [-j N] [WORD]…`

Knows only unittest: every test becomes a process of its own; words choose tests whose names hold one
of them.  Serves people and CI that want the whole in three minutes; plain `unittest discover` gives
the same answers one after another.  Exit 0 when everything passed, 1 otherwise.
"""

import argparse
import concurrent.futures
import re
import subprocess
import sys
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent


def tests(suite):
    for item in suite:
        yield from tests(item) if isinstance(item, unittest.TestSuite) else (item.id(),)


def run(names):
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-W", "ignore", "-m", "unittest", *names], cwd=HERE, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return names, done.returncode, done.stdout, time.monotonic() - started


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("-j", type=int, default=6, help="processes at a time")
    options.add_argument("words", nargs="*")
    chosen = options.parse_args()
    sys.path.insert(0, str(HERE))
    found = list(tests(unittest.TestLoader().discover(str(HERE), top_level_dir=str(HERE))))
    found = [t for t in found if not chosen.words or any(w in t for w in chosen.words)]
    started, failed, ran, skipped = time.monotonic(), 0, 0, 0
    with concurrent.futures.ThreadPoolExecutor(chosen.j) as pool:
        for names, code, out, seconds in pool.map(run, [[t] for t in found]):
            ran += 1
            if code:
                failed += 1
                print(f"\n{'=' * 70}\nFAILED {names[0]} ({seconds:.1f} s)\n{out}", flush=True)
            elif re.search(r"skipped=1", out):
                skipped += 1
                print(f"skipped {names[0]}", flush=True)
            else:
                print(f"ok {seconds:5.1f} s  {names[0]}", flush=True)
    print(f"\n{ran} tests, {failed} failed, {skipped} skipped, {time.monotonic() - started:.0f} s")
    return 1 if failed or not ran else 0


if __name__ == "__main__":
    sys.exit(main())

"""The two proofs that verdicts are true, side by side: `python3 tests/truth/run.py [-j N] [--long]`

`table.py` asks every question of every kind of token; `faults.py` spoils ten thousand answers.  Knows only how to
run them and to print one after the other.  Serves people and CI.  Exit 0 when both are right, 1 otherwise.
"""

import argparse
import concurrent.futures
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Both mostly wait, for faults that take their time.
SECONDS, LONG_SECONDS = 400, 1800


def run(script, arguments, seconds):
    started = time.monotonic()
    try:
        done = subprocess.run([sys.executable, str(HERE / script), *arguments], text=True, timeout=seconds, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return script, done.returncode, done.stdout, time.monotonic() - started
    except subprocess.TimeoutExpired as late:
        out = late.stdout or b""
        return script, 1, (out if isinstance(out, str) else out.decode("utf-8", "replace")) + "\nran out of time", seconds


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("-j", type=int, default=2, help="processes at a time")
    options.add_argument("--long", action="store_true", help="three times as many probes, with faults dealt out anew")
    chosen = options.parse_args()
    more = ["--rounds", "12", "--seed", str(time.time_ns() % 1_000_000)] if chosen.long else []
    seconds = LONG_SECONDS if chosen.long else SECONDS
    failed = []
    with concurrent.futures.ThreadPoolExecutor(chosen.j) as pool:
        for script, code, out, took in pool.map(run, ("table.py", "faults.py"), ([], more), (seconds, seconds)):
            word = "WRONG" if code else "right"
            print(f"── {script} ──\n{out.rstrip()}\n{script}: {word}, {took:.0f} s\n", flush=True)
            if code:
                failed.append(script)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

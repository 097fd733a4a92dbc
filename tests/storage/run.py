"""The storage tests, side by side where they wait: `python3 tests/storage/run.py [--long] [--only NAME]…`

The short form runs syscalls, flips, full, locks and copies; the long form runs more of each, and powercut.  Knows only
how to run them and to print one after the other.  Serves people and CI.  Exit 0 when each is right, 77 when one cannot
run here (what it lacks is said) and the others are right, 1 otherwise.

Needed: strace (Debian: strace), and to be root or to be allowed to trace; unshare and mount (util-linux, mount) where a
small file system may be mounted; for the power cuts root, qemu-storage-daemon (qemu-utils), e2fsprogs, /dev/fuse and a
loop device.
"""

import argparse
import concurrent.futures
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench import ARMED, NOT_ARMED

HERE = Path(__file__).resolve().parent
# The two that compute come first, one after the other; the rest mostly waits.
BUSY, WAITING, LONG = ("syscalls", "flips"), ("full", "locks", "copies"), ("powercut",)
SECONDS, LONG_SECONDS = 600, 5400


def run(name, more, seconds):
    started = time.monotonic()
    words = [sys.executable, str(HERE / f"{name}.py"), *more]
    # What is mounted goes away with the one that mounted it, however that ends.
    if name in LONG and os.geteuid() == 0 and shutil.which("unshare"):
        words = ["unshare", "-m", "--propagation", "private", *words]
    try:
        done = subprocess.run(words, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        code, out = done.returncode, done.stdout
    except subprocess.TimeoutExpired as late:
        out = late.stdout or b""
        code, out = 1, (out if isinstance(out, str) else out.decode("utf-8", "replace")) + "\nran out of time"
    word = {0: "right", 77: "cannot run here"}.get(code, "WRONG")
    print(f"── {name} ──\n{out.rstrip()}\n{name}: {word}, {time.monotonic() - started:.0f} s\n", flush=True)
    return name, code


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--long", action="store_true", help="more of each, and the power cuts")
    options.add_argument("--only", action="append", choices=[*BUSY, *WAITING, *LONG], help="this one alone (may be given again)")
    chosen = options.parse_args()
    if not shutil.which("strace"):
        print("strace is missing (Debian: strace)")
        return 77
    if not os.access(ARMED, os.X_OK):
        print(NOT_ARMED)
        return 77
    wanted = chosen.only or [*BUSY, *WAITING, *(LONG if chosen.long else ())]
    more, seconds = (["--long"], LONG_SECONDS) if chosen.long else ([], SECONDS)
    jobs = {name: more if name not in LONG else [] for name in wanted}
    with concurrent.futures.ThreadPoolExecutor(1) as one, concurrent.futures.ThreadPoolExecutor(2) as few:
        running = [(one if name in BUSY + LONG else few).submit(run, name, jobs[name], seconds) for name in wanted]
        codes = dict(job.result() for job in running)
    print(", ".join(f"{name}: {'right' if code == 0 else 'cannot run here' if code == 77 else 'WRONG'}"
                    for name, code in codes.items()))
    if any(code not in (0, 77) for code in codes.values()):
        return 1
    return 77 if 77 in codes.values() else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Instructions that a series of the exposition takes: `python3 tests/bench/instructions.py`. A gate: exit 1 above the goal.

Method: callgrind counts what `tests/bench/exposition.rs` does for 200 and for 1,200 tokens of ten checks; the difference,
divided by the series in between, has nothing of the process in it, and only what happens within `write` is counted (--toggle-collect).
User space only, the same within a percent or two on every machine of this kind. Needs valgrind (Debian); it builds the bench.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOAL, SLACK = 900, 1.05
FEW, MANY = 200, 1200
SERIES = 10 * 6 + 4


def built():
    done = subprocess.run(["cargo", "bench", "--locked", "--bench", "exposition", "--no-run", "--message-format", "json"],
                          cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    for line in done.stdout.splitlines():
        told = json.loads(line)
        if told.get("executable") and told["target"]["name"] == "exposition":
            return told["executable"]
    sys.exit("cargo names no bench")


def counted(binary, tokens):
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", "--collect-atstart=no",
                               "--toggle-collect=exposition::write*", binary, "--once", str(tokens)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=True)
    return int(re.search(r"Collected : (\d+)", done.stderr)[1])


def main():
    binary = built()
    each = (counted(binary, MANY) - counted(binary, FEW)) / ((MANY - FEW) * SERIES)
    print(f"{each:.0f} instructions a series, goal {GOAL}")
    return 1 if each > GOAL * SLACK else 0


if __name__ == "__main__":
    sys.exit(main())

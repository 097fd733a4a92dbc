"""Builds what is measured, optimised, and says where it lies.

A bench is built with what tests need of the dependencies (tokio's `test-util`), and cargo then puts a daemon that was built so into
target/release. So the daemon is built last, without: that is the one that people get.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def bench_binaries(*names):
    """Name → executable of each `[[bench]]`; they are started directly, so that they can be held to a core."""
    chosen = [word for name in names for word in ("--bench", name)]
    done = subprocess.run(["cargo", "bench", "--locked", "--quiet", *chosen, "--no-run", "--message-format", "json"],
                          cwd=ROOT, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    found = {}
    for line in done.stdout.splitlines():
        told = json.loads(line)
        if told.get("executable") and told["target"]["name"] in names:
            found[told["target"]["name"]] = told["executable"]
    if missing := set(names) - set(found):
        sys.exit(f"cargo names no bench {missing}")
    daemon()
    return found


def daemon():
    """The daemon as it is released."""
    subprocess.run(["cargo", "build", "--locked", "--release", "--quiet"], cwd=ROOT, check=True, stdin=subprocess.DEVNULL)
    return ROOT / "target/release/scopewatch"

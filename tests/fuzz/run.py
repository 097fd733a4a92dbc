#!/usr/bin/env python3
"""Runs every fuzz target for a while, and the control, which must be found out.

Goal: no input that an evolving search finds breaks a rule of src/foreign.
Method: libFuzzer by cargo-fuzz (on the project's own toolchain: RUSTC_BOOTSTRAP), each target for --seconds from its
corpus; what it finds on the way stays below target/, and is added to the corpus by hand where it is worth it:
    cargo fuzz cmin --fuzz-dir tests/fuzz TARGET
Control: `planted` reads like `create` but for one defect, and must crash.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUT = HERE / "target"
# Slower than this a target does not search, it waits.
LEAST_PER_SECOND = 50


def build():
    environment = dict(os.environ, RUSTC_BOOTSTRAP="1")
    command = ["cargo", "fuzz", "build", "--fuzz-dir", str(HERE), "--sanitizer", "none"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def program(target):
    found = sorted(OUT.glob(f"*/release/{target}"))
    if not found:
        sys.exit(f"run.py: there is no program {target} below {OUT}; does `cargo fuzz build` end well?")
    return found[0]


def fuzz(target, corpora, seconds):
    """Executions, and the inputs that broke a rule."""
    work = OUT / "found" / target
    artifacts = OUT / "broken" / target
    shutil.rmtree(artifacts, ignore_errors=True)
    for folder in (work, artifacts):
        folder.mkdir(parents=True, exist_ok=True)
    command = [program(target), work, *corpora]
    command += [f"-max_total_time={seconds}", "-print_final_stats=1", "-timeout=10", "-rss_limit_mb=2048"]
    command += ["-max_len=6000", "-seed=1", f"-artifact_prefix={artifacts}/"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    told = done.stderr.decode(errors="replace")
    executed = re.search(r"number_of_executed_units:\s*(\d+)", told) or re.search(r"#(\d+)\D*$", told)
    broken = sorted(artifacts.iterdir())
    if done.returncode and not broken:
        sys.exit(f"run.py: {target} ended with {done.returncode}:\n{told[-2000:]}")
    if broken and target != "planted":
        print(told[-3000:])
    return int(executed[1]) if executed else 0, broken


def tally(name, planned, run, violations, planted, caught):
    line = "\t".join(str(word) for word in (name, planned, run, violations, planted, caught))
    print(line, flush=True)
    path = os.environ.get("SCOPEWATCH_TALLY")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="of each target (60)")
    parser.add_argument("--only", action="append", help="this target alone; may be given again")
    chosen = parser.parse_args()
    targets = sorted(file.stem for file in (HERE / "fuzz_targets").glob("*.rs") if file.stem != "planted")
    if chosen.only:
        targets = [target for target in targets if target in chosen.only]
    build()
    _, found = fuzz("planted", [HERE / "corpus" / "create"], 120)
    tally("fuzz/planted", 1, 1, 0, 1, 1 if found else 0)
    bad = not found
    for target in targets:
        corpora = [HERE / "corpus" / target]
        if target == "config":
            corpora.append(ROOT / "tests" / "config")
        executed, broken = fuzz(target, corpora, chosen.seconds)
        planned = chosen.seconds * LEAST_PER_SECOND
        tally(f"fuzz/{target}", planned, executed, len(broken), 0, 0)
        for path in broken:
            print(f"  breaks a rule: {path}\n    {path.read_bytes()[:400]!r}")
        bad = bad or bool(broken) or executed < planned
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

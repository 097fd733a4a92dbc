#!/usr/bin/env python3
"""Instructions that a probe and a series of the exposition take: `python3 tests/bench/instructions.py [--table]`. Exit 1 above a goal.

Method: callgrind counts what the processes do in user space; that is the same within a percent or two on every machine of this kind.

* A probe: `serve` (target/release, else SCOPEWATCH_BIN) asks ten checks that only read (GET, on kept connections) of each of 100 tokens of
  a Hub that answers fast (fakehub.py), over and over, and its counters are written out at the end of each round (--dump-after). Start, config
  and whoami are in the first of them, so that the rounds after it, divided by their probes, are what a probe takes: schedule, budget, sending,
  judging, storing, showing.
* A series: `tests/bench/exposition.rs` for 200 and for 1,200 tokens of ten checks; the difference, divided by the series in between.

`--profile` shows what took most. `--gate` counts fewer probes of the debug binary, up to three times, and holds the least against
`instructions.json`, which `--record` writes; another compiler makes other code, and is not judged (exit 77). Needs valgrind (Debian).
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import scale

ROOT = Path(__file__).resolve().parents[2]
KNOWN = Path(__file__).with_suffix(".json")
# Those that are asked with a GET, on kept connections.
CHECKS = ("repo.read", "repo.write", "org.members", "org.repositories", "org.audit_log", "org.billing", "org.service_accounts",
          "org.network_security", "org.resource_groups", "user.webhooks")
PROBE, SERIES, SLACK = "instructions a probe", "instructions a series", 1.05
GOALS = {PROBE: 95_000, SERIES: 900}
FEW, MANY = 200, 1200
SERIES_A_TOKEN = 10 * 6 + 4
CALLGRIND = ["valgrind", "--tool=callgrind", "--quiet"]
# Called once a round, when its results are stored and shown.
ROUND_ENDS = "*Outlet>::round_ended"


class Daemon(scale.Bench):
    """`serve` under callgrind, which asks all checks again every few seconds."""

    def __init__(self, binary, folder, tokens, every):
        self.every = every
        super().__init__(binary, folder, tokens)

    def write_config(self, comment):
        secrets = self.folder / "s"
        secrets.mkdir()
        lines = [f"# {comment}",
                 f"hub: {{endpoint: 'http://127.0.0.1:{self.hub}', quota_share: 1, max_in_flight: 64}}",
                 f"schedule: {{probe: '*/{self.every} * * * * *', canary: '0 0 0 1 1 *', declared: '0 0 0 1 1 *'}}",
                 "organizations: [{name: acme, janitor: janitor}]",
                 f"server: {{listen: '127.0.0.1:{self.port}'}}",
                 f"store: {{url: 'sqlite://{self.folder}/state.db'}}", "expectations:", "  all:"]
        for permission in CHECKS:
            repo = ", repo: acme/model" if permission.startswith("repo") else ""
            lines.append(f"    - {{permission: {permission}{repo}, access: denied}}")
        named = [("janitor", "hf_janitor_of_scale", "")]
        named += [(f"token-{n:06}", f"hf_scale_{n:028}", ", expect: [all]") for n in range(self.tokens)]
        lines.append("tokens:")
        for name, text, expected in named:
            self.secret(name, text)
            lines.append(f"- {{name: {name}, organization: acme, secret: {{file: {secrets}/{name}}}{expected}}}")
        self.config.write_text("\n".join(lines) + "\n")

    def parts(self):
        """What was written out so far, oldest first."""
        parts = [path for path in self.folder.glob("out.*") if path.suffix[1:].isdigit() and "summary" in path.read_text()]
        return sorted(parts, key=lambda path: int(path.suffix[1:]))

    def count(self, rounds, patience):
        """The counters of so many rounds after the first, as files."""
        counted = [*CALLGRIND, f"--callgrind-out-file={self.folder}/out", f"--dump-after={ROUND_ENDS}", "--fair-sched=yes"]
        process = subprocess.Popen([*counted, self.binary, "serve", "--no-confinement", "--config", str(self.config)],
                                   stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        ends = time.monotonic() + patience
        while len(self.parts()) <= rounds:
            if process.poll() is not None or time.monotonic() > ends:
                sys.exit(f"{len(self.parts())} of {rounds + 1} rounds ended:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.2)
        # Nothing of it is needed any more, and an orderly end takes long.
        process.kill()
        process.wait()
        self.processes.remove(process)
        counts = self.asked()
        asked, wanted = counts["asked"] + counts["doubled"], self.tokens * len(CHECKS) * (rounds + 1)
        if asked < wanted:
            sys.exit(f"the Hub was asked {asked} times, not {wanted}:\n{(self.folder / 'log').read_text()[-2000:]}")
        return self.parts()[1:rounds + 1]


def instructions(part):
    return int(re.search(r"^summary: (\d+)", part.read_text(), re.MULTILINE)[1])


def probe(binary, tokens, rounds, every, profile=False):
    """Instructions of one probe."""
    with tempfile.TemporaryDirectory(prefix="scopewatch-instructions-") as folder:
        daemon = Daemon(binary, Path(folder), tokens, every)
        try:
            parts = daemon.count(rounds, 600)
        finally:
            daemon.end()
        if profile:
            show(parts, tokens * len(CHECKS) * rounds)
        return sum(map(instructions, parts)) / (tokens * len(CHECKS) * rounds)


def show(parts, probes):
    """The functions that took most, with what they call and without it, per probe."""
    for title, option in (("with what it calls", "yes"), ("alone", "no")):
        done = subprocess.run(["callgrind_annotate", f"--inclusive={option}", "--threshold=100", "--auto=no", *map(str, parts)],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        lines = re.findall(r"^ *([\d,]+) (?:\([ \d.]+%\) )? *(?:[^\s:]+:)?(.+)$", done.stdout, re.MULTILINE)
        print(f"instructions a probe, {title}")
        for count, name in lines[:90 if option == "yes" else 45]:
            print(f"  {int(count.replace(',', '')) / probes:10.0f}  {name[:150]}")


def bench():
    done = subprocess.run(["cargo", "bench", "--locked", "--bench", "exposition", "--no-run", "--message-format", "json"],
                          cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    for line in done.stdout.splitlines():
        told = json.loads(line)
        if told.get("executable") and told["target"]["name"] == "exposition":
            return told["executable"]
    sys.exit("cargo names no bench")


def written(binary, tokens):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*CALLGRIND, f"--callgrind-out-file={folder}/out", "--collect-atstart=no", "--toggle-collect=exposition::write*",
                        binary, "--once", str(tokens)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
        return instructions(Path(folder) / "out")


def series():
    binary = bench()
    return (written(binary, MANY) - written(binary, FEW)) / ((MANY - FEW) * SERIES_A_TOKEN)


def gate(record):
    """The debug binary, which is built anyway: other figures, but they grow where those of a release do."""
    compiler = subprocess.run(["rustc", "--version"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    counted = []
    known = None if record else json.loads(KNOWN.read_text())
    # How many results land together in the store depends on the moment, and is worth some percent: the least of three tells what it takes.
    while len(counted) < 3 and not (counted and known and min(counted) <= SLACK * known[PROBE]):
        counted.append(round(probe(chosen_binary("debug"), 10, 2, 3)))
    figure = min(counted)
    if record:
        KNOWN.write_text(json.dumps({"compiler": compiler, PROBE: figure}, indent=2) + "\n")
        return 0
    ratio = figure / known[PROBE]
    print(f"{figure} instructions a probe of a debug build, {ratio:.3f} of the {known[PROBE]} that are recorded, at most {SLACK}")
    if known["compiler"] != compiler:
        print(f"they were recorded with {known['compiler']}; this is {compiler}")
        return 77
    return 1 if ratio > SLACK else 0


def chosen_binary(profile):
    binary = os.environ.get("SCOPEWATCH_BIN", str(ROOT / "target" / profile / "scopewatch"))
    if not shutil.which(binary):
        sys.exit(f"{binary} is missing: cargo build" + (" --release" if profile == "release" else ""))
    return binary


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--table", action="store_true", help="NAME, VALUE, GOAL and UNIT, apart by tabs")
    options.add_argument("--gate", action="store_true", help="few probes of the debug binary, against what is recorded")
    options.add_argument("--record", action="store_true", help="record what --gate compares with")
    options.add_argument("--profile", action="store_true", help="what took most in a probe; no series")
    options.add_argument("--only", choices=("probe", "series"))
    chosen = options.parse_args()
    if not shutil.which("valgrind"):
        print("valgrind is missing")
        return 77
    if chosen.gate or chosen.record:
        return gate(chosen.record)
    figures = {}
    if chosen.only != "series":
        figures[PROBE] = probe(chosen_binary("release"), 100, 2, 10, chosen.profile)
    if chosen.only != "probe" and not chosen.profile:
        figures[SERIES] = series()
    for name, value in figures.items():
        print(f"{name}\t{value:.0f}\t{GOALS[name]}\tinstructions" if chosen.table else f"{value:.0f} {name}, goal {GOALS[name]}")
    return 1 if any(value > GOALS[name] * SLACK for name, value in figures.items()) else 0


if __name__ == "__main__":
    sys.exit(main())

"""No token in any of 22 channels: `python3 tests/leaks/run.py [--long] [--seed N]`

Plants hundreds of marked secrets, drives the daemon and every command through what might make them talk, and searches
every byte that came out, in every spelling; then lets a careless stand-in leak in each channel, and must find that.
Serves people and CI.  Exit 0 when nothing was found but what was planted for it, 1 otherwise.
"""

import argparse
import os
import signal
import sys
import threading
import time
import traceback

import drives
import machine
import mistakes
import source
from bench import BIN, Bench, Broken
from controls import Controls
from liar import Liar
from sieve import FORMS, Mint, Sieve
from worlds import RIGHT, People

CHANNELS = {
    "L1": "logs",
    "L2": "logs of other crates",
    "L3": "parser errors",
    "L4": "panics",
    "L5": "client errors",
    "L6": "error bodies",
    "L7": "minted credentials",
    "L8": "redirects",
    "L9": "Referer, Cookie",
    "L10": "proxy environment",
    "L11": "plain http, TLS keys",
    "L12": "metrics",
    "L13": "page, API, reports",
    "L14": "database, temp files",
    "L15": "alerts",
    "L16": "core dumps",
    "L17": "/proc",
    "L18": "arguments",
    "L19": "children",
    "L20": "swap",
    "L21": "debug endpoints",
    "L22": "repository, CI log",
}
NOT_YET = {
    "L14": "PostgreSQL is not built yet",
    "L22": "no image is built yet",
}
MINTED = 24
PAIRS, LONG_PAIRS = 100_000, 2_000_000


class Said:
    """Everything that this program prints, to be searched as well."""

    def __init__(self):
        self.text = []

    def __call__(self, line=""):
        self.text.append(line)
        print(line, flush=True)


def together(jobs):
    """Runs all side by side; most of their time is waiting. Raises what the first raised."""
    failed = []

    def guarded(job):
        try:
            job()
        except Exception:  # told below, by who started it
            failed.append(traceback.format_exc())

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise Broken("\n".join(failed))


def drive(bench, people, hub, long):
    captures, result = bench.captures, {}

    def library():
        result["shown"], result["pairs"] = source.panics(bench, people), source.audience(long)

    together(
        [
            lambda: drives.serve(bench, people, "text", signal.SIGSEGV),
            lambda: drives.serve(bench, people, "json", signal.SIGABRT),
            lambda: [step(bench, people) for step in (drives.commands, machine.broken_networks, machine.wires)],
            lambda: [
                step(bench, people) for step in (mistakes.arguments, machine.exhausted, machine.swaps, source.compiled)
            ]
            + [library()],
            lambda: mistakes.bad_configs(bench, people),
        ]
    )
    if long:
        machine.census(bench, people)
        drives.demo(bench, people)
    captures.add("L8", f"heard by strangers, of {len(people.lied)} liars", hub.ear.everything() + hub.ear2.everything())
    captures.expect("L8", "nobody came to the strangers", hub.ear.connections + hub.ear2.connections == 0)
    met = sum(hub.told.get(token, 0) > 0 for token in people.lied)
    captures.expect("L8", "every lie was told, and the Hub itself worked", met == len(people.lied) and not hub.broken)
    captures.add(
        "L9", f"heard by the Hub in {hub.count} requests, without Authorization", hub.apart_from_authorization()
    )
    names = {line.split(b":")[0].strip().lower() for line in hub.everything().split(b"\r\n")}
    captures.expect("L9", "no Cookie, no Referer", not names & {b"cookie", b"referer"} and b"authorization" in names)
    for kind, heard in people.told():
        captures.add("L15", f"heard by the sink {kind}", heard)
        captures.expect("L15", f"the sink {kind} was told of grants", b"UnexpectedGrant" in heard)
    for channel in ("L6", "L7"):  # what the Hub echoed and minted may turn up anywhere
        for other in ("L1", "L12", "L13", "L14"):
            for drive, data in captures.bytes[other]:
                captures.add(channel, f"{other}, {drive}", data)
    replaced = sum(data.count(b"[redacted]") for channel in ("L13", "L14") for data in captures.data(channel))
    captures.expect(
        "L6", f"echoes came as far as reports and database, and were replaced ({replaced:,})", replaced > 500
    )
    captures.expect(
        "L1",
        "no secret came as far as the log",
        not any(b"was about to be written" in log for log in captures.data("L1")),
    )
    result["real"] = source.repository(bench, people)
    captures.expect("L22", "every token in a tracked file is a fixture", not result["real"])
    return result


def judge(captures, sieve, controls, say, tell):
    """Prints the table. (channels run, violations, controls found)."""
    cache, run, violations, found = {}, 0, 0, 0
    say(f"\n{'':4} {'channel':22} {'searched':>14} {'drives':>6} {'hits':>5}  control")
    for channel, name in CHANNELS.items():
        hits = {}
        for what, piece in captures.bytes.get(channel, ()):
            if id(piece) not in cache:  # some stand in several channels
                cache[id(piece)] = sieve.scan(piece)
            for mark, form in cache[id(piece)]:
                hits.setdefault((mark.name, form), what)
        wrong = sorted({what for of, what in captures.wrong if of == channel})
        seen, drives = controls.found(sieve, channel), captures.drives.get(channel, {})
        run += bool(drives)
        violations += len(hits) + len(wrong)
        found += seen
        size = f"{sum(map(len, captures.data(channel))):,} B"
        line = f"{channel:4} {name:22} {size:>14} {sum(drives.values()):>6} {len(hits):>5}  {'found' if seen else 'MISSED':8}"
        say((line + NOT_YET.get(channel, "")).rstrip())
        for what, times in drives.items() if tell else ():
            say(f"       {times} × {what}")
        for (mark, form), what in list(hits.items())[:8]:
            say(f"       LEAK: the secret of '{mark}', {form}, by: {what}")
        for broken in wrong:
            say(f"       WRONG: not so: {broken}")
    return run, violations, found


def tally(say, name, planned, run, violations, planted, caught):
    say("\t".join(map(str, (name, planned, run, violations, planted, caught))))
    path = os.environ.get("SCOPEWATCH_TALLY")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write("\t".join(map(str, (name, planned, run, violations, planted, caught))) + "\n")
    return run >= planned and not violations and caught >= planted


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--long", action="store_true", help="ten times the tokens, the demo, and a census of memory")
    options.add_argument("--seed", type=int, help="repeats a run")
    options.add_argument("--tell", action="store_true", help="name everything that was driven, channel by channel")
    options.add_argument("--keep", action="store_true", help="leave the directory of the run behind")
    chosen = options.parse_args()
    seed = chosen.seed if chosen.seed is not None else int.from_bytes(os.urandom(4), "big")
    began, say = time.monotonic(), Said()
    if not os.access(BIN, os.X_OK):
        print(f"there is no binary at {BIN}; build it, or name it with SCOPEWATCH_BIN", file=sys.stderr)
        return 1
    with Bench(chosen.keep) as bench:
        mint = Mint(seed)
        minted = [mint.make(f"minted {n}", ("hf_", "hf_jwt_", "plain", "hf_oauth_")[n % 4]) for n in range(MINTED)]
        hub = Liar(minted)
        people = People(bench, hub, mint, right=RIGHT * 10 if chosen.long else RIGHT)
        say(
            f"{len(people.entries)} tokens are configured, {len(people.lied)} of them meet a lie of their own; "
            f"seed {seed}, as {'a user without rights' if bench.user else 'the user of this test'}"
        )
        try:
            result = drive(bench, people, hub, chosen.long)
            controls = Controls(bench, people, mint, minted, result["shown"])
        except Broken as broken:
            say(f"the bench is broken, nothing is shown:\n{broken}")
            tally(say, "leaks/channels", len(CHANNELS), 0, 0, len(CHANNELS), 0)
            return 1
        sieve = Sieve(mint.marks)
        windows = sum(map(len, sieve.windows.values()))
        say(f"{len(mint.marks)} secrets, {windows:,} windows of them, driven in {time.monotonic() - began:.0f} s")
        bench.captures.add("L22", "what this test printed", "\n".join(say.text))
        run, violations, found = judge(bench.captures, sieve, controls, say, chosen.tell)
        for name, token in result["real"]:
            say(f"       {name.decode(errors='replace')} holds what looks like a real token of {len(token)} characters")
        for channel, what in controls.unbroken():
            say(f"       MISSED: a stand-in that leaks did not break '{what}' of {channel}")
        forms = controls.forms(sieve)
        pairs, _, wrong, planted, caught = result["pairs"]
        say(f"\nin {time.monotonic() - began:.0f} s; test, planned, run, violations, planted, caught:")
        right = [
            tally(
                say, "leaks/channels", len(CHANNELS), run, violations, len(CHANNELS), found - len(controls.unbroken())
            ),
            tally(say, "leaks/forms", len(FORMS), len(FORMS), 0, len(FORMS), len(forms)),
            tally(say, "leaks/audience", LONG_PAIRS if chosen.long else PAIRS, pairs, wrong, planted, caught),
        ]
        if not all(right):
            say(
                f"RED. LEAK: a secret came out there; find what wrote it. WRONG: a condition does not hold. MISSED: this test is"
                f" blind.\nAgain, with its files: python3 tests/leaks/run.py --seed {seed} --keep --tell"
                + (" --long" if chosen.long else "")
            )
        return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""What many tokens cost `scopewatch`: `python3 tests/bench/scale.py [--tokens N] [--idle SECONDS]`.

Method: N tokens with ten read-only checks each, against a Hub that answers fast (fakehub.py), 64 requests in flight, SQLite
on. `check` is timed; `serve` is started, watched through its first round, scraped, left idle, then a second round is begun and the
config reloaded in the middle of it; the Hub counts what it was asked, so that a probe lost or doubled is seen. Memory is
what /proc says of the daemon. SCOPEWATCH_BIN (else target/release) is measured. Limits: everything shares this machine's
cores with the Hub; times are of this machine. No test: prints a table with the goals (`--table`: as table.py reads it), exit 1 where
one is missed. Needs Python 3.11.
"""

import argparse
import gzip
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import fakehub
import table
from port import free_port

ROOT = Path(__file__).resolve().parents[2]
CHECKS = ("repo.read", "repo.write", "job.read", "job.write", "endpoint.read", "endpoint.write", "endpoint.infer",
          "org.members", "org.repositories", "org.resource_groups")
# Goals: what, tokens → at most. Times in seconds, memory in MB, idle in percent of a core.
GOALS = {
    "check s": {10_000: 0.5, 100_000: 5},
    "ready s": {10_000: 1},
    "peak MB": {10_000: 24, 100_000: 80},
    "idle %": {10_000: 0.1},
    "probes lost": {0: 0},
    "probes doubled": {0: 0},
}
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url, data=None, headers=None):
    request = urllib.request.Request(url, data=data, headers=headers or {})
    with OPENER.open(request, timeout=300) as answer:
        return answer.headers, answer.read()


def wait_for(url, process, seconds=300):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if process.poll() is not None:
            sys.exit(f"it ended with {process.returncode} before it was ready")
        try:
            return get(url)
        except OSError:
            time.sleep(0.01)
    sys.exit(f"{url} does not answer")


def memory(pid):
    """MB: the most there ever was, now, and of that what is no file's."""
    text = Path(f"/proc/{pid}/status").read_text()
    return [int(re.search(rf"{name}:\s+(\d+)", text)[1]) / 1024 for name in ("VmHWM", "VmRSS", "RssAnon")]


def cpu(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bench:
    """The Hubs, the config and the daemon. `probe` is the schedule of the checks: by default there is one round, at the start."""

    checks = CHECKS

    def __init__(self, binary, folder, tokens, probe="0 0 0 1 1 *"):
        self.binary, self.folder, self.tokens, self.probe = binary, folder, tokens, probe
        self.port, self.hub, self.real = free_port(), free_port(), free_port()
        self.endpoint, self.fake = f"'http://127.0.0.1:{self.hub}'", None
        self.config, self.log, self.processes = folder / "scopewatch.yaml", open(folder / "log", "wb"), []
        self.write_world()
        self.write_config("")
        self.start("hub", "--listen", f"127.0.0.1:{self.real}", "--world", str(folder / "world.yaml"))
        wait_for(f"http://127.0.0.1:{self.real}/_sim/world", self.processes[-1])
        self.start_fake()

    def start_fake(self):
        self.fake = multiprocessing.get_context("spawn").Process(target=fakehub.serve, args=(self.hub, self.real))
        self.fake.start()
        time.sleep(1)

    def write_world(self):
        tokens = {"probed": {"secret": fakehub.PROBED, "user": "probed-user", "role": "fineGrained", "scopes": []},
                  "janitor": {"secret": "hf_janitor_of_scale", "user": "alice", "role": "fineGrained", "scopes": [
                      {"entity": "org:acme", "permissions": ["repo.write", "org.read"]}]}}
        world = {"organizations": {"acme": {"plan": "enterprise", "rate_limit": 1_000_000_000,
                                            "members": {"alice": "admin", "probed-user": "write"}}},
                 "repos": {"acme/model": {"type": "model", "private": True}}, "tokens": tokens}
        (self.folder / "world.yaml").write_text(json.dumps(world))

    def write_config(self, comment):
        secrets = self.folder / "s"
        if not secrets.exists():
            secrets.mkdir()
            for number in range(self.tokens):
                self.secret(f"token-{number:06}", f"hf_scale_{number:028}")
            self.secret("janitor", "hf_janitor_of_scale")
        lines = [f"# {comment}",
                 f"hub: {{endpoint: {self.endpoint}, quota_share: 1, max_in_flight: 64, in_flight_horizon: 1s}}",
                 f"schedule: {{probe: '{self.probe}', declared: '0 0 0 1 1 *'}}",
                 "organizations: [{name: acme, janitor: janitor}]",
                 f"server: {{listen: '127.0.0.1:{self.port}', lifecycle: true}}",
                 f"store: {{url: 'sqlite://{self.folder}/state.db'}}", "expectations:", "  all:"]
        for permission in self.checks:
            repo = ", repo: acme/model" if permission.startswith("repo") else ""
            lines.append(f"    - {{permission: {permission}{repo}, access: denied}}")
        lines += ["tokens:", f"- {{name: janitor, organization: acme, secret: {{file: {secrets}/janitor}}}}"]
        lines += [f"- {{name: token-{n:06}, organization: acme, secret: {{file: {secrets}/token-{n:06}}}, owner: team-{n % 50}, "
                  "expect: [all]}" for n in range(self.tokens)]
        self.config.write_text("\n".join(lines) + "\n")

    def secret(self, name, text):
        descriptor = os.open(self.folder / "s" / name, os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(descriptor, text.encode())
        os.close(descriptor)

    def start(self, *arguments):
        self.processes.append(subprocess.Popen([self.binary, *arguments], stdout=self.log, stderr=self.log,
                                               stdin=subprocess.DEVNULL))
        return self.processes[-1]

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def asked(self, forget=False):
        return json.loads(get(f"http://127.0.0.1:{self.hub}/_{'reset' if forget else 'counts'}", b"" if forget else None)[1])

    def metric(self, name):
        found = re.search(rf"^{name} (\S+)$", get(self.url("/metrics"))[1].decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def end(self):
        if self.fake:
            self.fake.kill()
            self.fake.join()
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def until_round(bench, daemon, patience):
    """Waits for the end of the round without a scrape, which would change what is measured: by the log."""
    ends = time.monotonic() + patience
    log = bench.folder / "log"
    while log.read_bytes().count(b"a round ended") == 0:
        if daemon.poll() is not None or time.monotonic() > ends:
            return False
        time.sleep(0.1)
    return True


def scrape(bench, figures):
    for name, headers in (("first", {}), ("again", {}), ("gzip first", {"Accept-Encoding": "gzip"}),
                          ("gzip again", {"Accept-Encoding": "gzip"})):
        began = time.perf_counter()
        got, body = get(bench.url("/metrics"), headers=headers)
        figures[f"scrape {name} s"] = time.perf_counter() - began
        figures[f"scrape {name} MB"] = len(body) / 1e6
        if got.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
    figures["series"] = sum(1 for line in body.splitlines() if not line.startswith(b"#"))


def reloaded_in_round(bench, daemon, figures, patience):
    """A second life, whose first round is disturbed by a reload."""
    bench.asked(forget=True)
    bench.write_config("reloaded")
    (bench.folder / "log").write_bytes(b"")
    bench.log.seek(0)
    daemon.send_signal(signal.SIGTERM)
    daemon.wait(60)
    began = time.perf_counter()
    daemon = bench.start("serve", "--config", str(bench.config))
    wait_for(bench.url("/-/ready"), daemon)
    figures["ready again s"] = time.perf_counter() - began
    while bench.asked()["asked"] < bench.tokens:
        time.sleep(0.05)
    began = time.perf_counter()
    get(bench.url("/-/reload"), b"")
    figures["reload s"] = time.perf_counter() - began
    figures["asked when reloaded"] = bench.asked()["asked"]
    done, wanted = until_round(bench, daemon, patience), bench.tokens * len(bench.checks)
    counted = bench.asked()
    figures["probes lost"] = wanted - counted["asked"] if done else wanted
    figures["probes doubled"] = counted["doubled"]


def measure(bench, chosen):
    figures = {}
    began = time.perf_counter()
    subprocess.run([bench.binary, "check", "--config", bench.config], check=True, stdout=bench.log, stderr=bench.log)
    figures["check s"] = time.perf_counter() - began
    began = time.perf_counter()
    daemon = bench.start("serve", "--config", str(bench.config))
    wait_for(bench.url("/-/ready"), daemon)
    figures["ready s"] = time.perf_counter() - began
    figures["ready MB"] = memory(daemon.pid)[1]
    finished = until_round(bench, daemon, chosen.patience)
    figures["round s"] = time.perf_counter() - began if finished else float("inf")
    figures["round cpu s"] = cpu(daemon.pid)
    figures["asked"] = bench.asked()["asked"]
    figures["peak MB"], figures["after round MB"], figures["of it anonymous"] = memory(daemon.pid)
    time.sleep(2)
    before = cpu(daemon.pid)
    time.sleep(chosen.idle)
    figures["idle %"] = 100 * (cpu(daemon.pid) - before) / chosen.idle
    scrape(bench, figures)
    figures["peak after scrapes MB"] = memory(daemon.pid)[0]
    if finished and not chosen.no_reload:
        reloaded_in_round(bench, daemon, figures, chosen.patience)
    return figures


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--tokens", type=int, default=10_000)
    options.add_argument("--idle", type=int, default=60, help="seconds")
    options.add_argument("--patience", type=int, default=600, help="seconds for a round")
    options.add_argument("--no-reload", action="store_true")
    options.add_argument("--table", action="store_true")
    chosen = options.parse_args()
    binary = os.environ.get("SCOPEWATCH_BIN", str(ROOT / "target/release/scopewatch"))
    if not shutil.which(binary):
        sys.exit(f"{binary} is missing: cargo build --release")
    with tempfile.TemporaryDirectory(prefix="scopewatch-scale-") as folder:
        bench = Bench(binary, Path(folder), chosen.tokens)
        try:
            figures = measure(bench, chosen)
        finally:
            bench.end()
    rows = [row(name, value, chosen.tokens) for name, value in figures.items()]
    if chosen.table:
        print("\n".join(one.line() for one in rows))
    else:
        table.show({f"{chosen.tokens} tokens x {len(CHECKS)} checks; {os.cpu_count()} cores, shared with the Hub": rows})
    return 1 if any(one.verdict() == "MISSED" for one in rows) else 0


def row(name, value, tokens):
    words, _, unit = name.rpartition(" ")
    if unit not in ("s", "MB", "%"):
        words, unit = name, ""
    goals = GOALS.get(name, {})
    goal = goals.get(tokens, goals.get(0))
    return table.Row(f"{words}, {tokens:,} tokens", value, "" if goal is None else f"<={goal}", unit)


if __name__ == "__main__":
    sys.exit(main())

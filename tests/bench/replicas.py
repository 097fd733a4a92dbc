#!/usr/bin/env python3
"""What several replicas are worth: `python3 tests/bench/replicas.py [--replicas 1,2,4] [--seconds 20] [--table]`.

Method: 8,000 tokens with ten read-only checks against `peers hub`, which answers after 200 ms; the journal in a PostgreSQL of its own
on this machine, N replicas of `serve` with 64 requests in flight each. While the first round goes on the Hub counts what probed tokens
ask; from two counts so many seconds apart come the checks a second, from /proc over the same time the processor time of the leader, of the
others and of the database, and from PostgreSQL its transactions, each a probe. Limits: all share this machine's cores with the Hub, so
that processor time is what can be compared, and what one more replica adds where the network is what is waited for; the
database is a hair away. SCOPEWATCH_BIN (else target/release), SCOPEWATCH_PEERS (else `cargo bench --bench peers`).
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import scale
import table
from build import bench_binaries
from scale import Bench, cpu, get, wait_for

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/postgres"))

import cluster  # noqa: E402

TOKENS, LATENCY = 8000, 200         # so many that a round is not spread over longer than it takes; of the Hub, in milliseconds
SETTLED = 3                         # seconds after all are there, until counting begins


def family(pid):
    """A process and all its children that live."""
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(path.parent.name))
    return found


class Replicated(Bench):
    """Several daemons with one config, and one journal in a database."""

    def __init__(self, binary, peers, folder, replicas, server):
        self.peers, self.replicas, self.server = peers, replicas, server
        super().__init__(binary, folder, TOKENS)

    def start_fake(self):
        self.binary, binary = self.peers, self.binary
        self.start("hub", "--upstream", f"127.0.0.1:{self.real}", "--listen", f"127.0.0.1:{self.hub}", "--latency", str(LATENCY))
        self.binary = binary
        wait_for(f"http://127.0.0.1:{self.hub}/_counts", self.processes[-1])

    def write_config(self, comment):
        super().write_config(comment)
        name = f"replicas{self.replicas}"
        cluster.ask(self.server, f"CREATE DATABASE {name}")
        self.secret("store-url", self.server.url(name))
        self.secret("canary-key", "k" * 40)
        text = self.config.read_text()
        text = re.sub(r"^store: .*$", f"store: {{url: {{file: {self.folder}/s/store-url}}}}\n"
                      f"canary_key: {{file: {self.folder}/s/canary-key}}", text, flags=re.MULTILINE)
        text = re.sub(r"127\.0\.0\.1:%d" % self.port, "127.0.0.1:0", text)
        self.config.write_text(text)

    def replica(self):
        """A daemon, and where it listens."""
        log = self.folder / f"replica-{len(self.processes)}"
        self.log, before = open(log, "wb"), self.log
        process = self.start("serve", "--config", str(self.config), "--log-format", "json")
        self.log.close()
        self.log = before
        ends = time.monotonic() + 60
        while not (found := re.search(r'"address":"([^"]+)"', log.read_text())):
            if process.poll() is not None or time.monotonic() > ends:
                sys.exit(f"a replica does not listen: {log.read_text()[-1000:]}")
            time.sleep(0.02)
        return process, f"http://{found[1]}/metrics"

    def transactions(self):
        counted = "SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database"
        command = [cluster.program("psql"), "-h", "127.0.0.1", "-p", str(self.server.port), "-U", "scopewatch", "-d", "postgres", "-XAtqc", counted]
        return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def told(page, series):
    found = re.search(rf"^scopewatch_{re.escape(series)} (\S+)$", get(page)[1].decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def until(what, happens, seconds=120):
    ends = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > ends:
            sys.exit(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def measure(bench, seconds):
    """Checks a second; processor time a probe of the leader, of the others and of the database, in µs; transactions a probe; the part of
    the probes that others sent."""
    leader, page = bench.replica()
    until("it leads", lambda: told(page, "leader") == 1)
    others = [bench.replica() for _ in range(bench.replicas - 1)]
    until("all are there", lambda: told(page, 'replicas_waiting{config="same"}') == len(others))
    until("the round goes on", lambda: bench.asked()["asked"] > 100)
    time.sleep(SETTLED)
    database = int((bench.server.data / "postmaster.pid").read_text().split()[0])
    groups = [[leader.pid], [process.pid for process, _ in others]]

    def now():
        spent = [sum(map(cpu, pids)) for pids in [*groups, family(database)]]
        return time.monotonic(), bench.asked()["asked"], spent, bench.transactions(), told(page, 'errands_total{outcome="answered"}')

    began = now()
    time.sleep(seconds)
    ended = now()
    asked = ended[1] - began[1]
    if asked >= TOKENS * len(bench.checks) - began[1]:
        sys.exit("the round was over before its time")
    return {"a second": asked / (ended[0] - began[0]), "spent": [1e6 * (e - b) / asked for b, e in zip(began[2], ended[2])],
            "transactions": (ended[3] - began[3]) / asked, "away": (ended[4] - began[4]) / asked}


def rows(count, figures, alone):
    of, leader, others, database = f", {count} replica{'s' * (count > 1)}", *figures["spent"]
    yield table.Row("checks a second" + of, figures["a second"], "", "", f"{figures['a second'] / alone['a second']:.2f} × one")
    yield table.Row("CPU a check: leader" + of, leader, "", "µs")
    yield table.Row("CPU a check: database" + of, database, "", "µs", f"{figures['transactions']:.3f} transactions")
    if count > 1:
        yield table.Row("CPU a check: the others" + of, others, "", "µs", f"{100 * figures['away']:.0f} % of the checks sent by them")
        more = sum(figures["spent"]) - sum(alone["spent"])
        yield table.Row("CPU of coordination a check that others send" + of, more / max(figures["away"], 0.01), "", "µs", "beyond one replica's")


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--replicas", default="1,2,4", help="how many, each measured by itself; the first is what the others are held to")
    options.add_argument("--seconds", type=int, default=20)
    options.add_argument("--table", action="store_true")
    chosen = options.parse_args()
    binary = os.environ.get("SCOPEWATCH_BIN", str(ROOT / "target/release/scopewatch"))
    peers = os.environ.get("SCOPEWATCH_PEERS") or bench_binaries("peers")["peers"]
    if not shutil.which(binary):
        sys.exit(f"{binary} is missing: cargo build --release")
    found, alone = [], None
    try:
        cluster.user(), cluster.program("initdb")
    except cluster.Missing as missing:
        sys.exit(str(missing))
    for count in map(int, chosen.replicas.split(",")):
        with tempfile.TemporaryDirectory(prefix="scopewatch-bench-replicas-") as folder:
            os.chmod(folder, 0o755)
            server = cluster.Server(Path(folder) / "server", cluster.user(), more=["fsync=on", "full_page_writes=on"])
            bench = Replicated(binary, peers, Path(folder), count, server)
            try:
                figures = measure(bench, chosen.seconds)
            finally:
                bench.end()
                server.stop()
        alone = alone or figures
        found += rows(count, figures, alone)
    if chosen.table:
        print("\n".join(row.line() for row in found))
    else:
        table.show({f"{TOKENS} tokens x {len(scale.CHECKS)} checks, the Hub answers after {LATENCY} ms": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())

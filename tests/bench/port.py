#!/usr/bin/env python3
"""How the daemon's port bears a crowd, and whether its probing notices: `python3 tests/bench/port.py`.

Goal: with 1,000 connections that send a byte of head a second and about 10,000 requests a second beside them,
/-/healthy is answered with p99 <= 50 ms, and as many probes are made, in rounds as short, as without.
Method: `scopewatch serve` against `scopewatch hub`, both of SCOPEWATCH_BIN (else target/release), a round of 24 probes
every second; the slow ones and a kubelet (a fresh connection every 50 ms) are processes of their own, the load is
wrk. The daemon's own counters say what was probed. Limits: everything shares this machine's cores, so that the load
takes time from the daemon, too; wrk is a closed loop (its figures know nothing of requests that it did not send).
No test: prints a table, exit 1 where a goal is missed. Needs wrk (Debian) and Python 3.11.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOKENS = 6
CHECKS = ("repo.read", "repo.write", "job.read", "endpoint.read")
GOAL_MS = 50
HEALTH = "/-/healthy"
# Paths with their weights, connections, and the pause of each in ms: connections / pause bounds the rate.
LOADS = {
    "healthy": ({HEALTH: 1}, 100, 9),
    "page": ({"/": 1}, 100, 9),
    "metrics": ({"/metrics": 1}, 100, 9),
    "mixed": ({HEALTH: 90, "/metrics": 5, "/": 5}, 100, 9),
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        return answer.read().decode()


def wait_for(url, process):
    for _ in range(200):
        if process.poll() is not None:
            sys.exit(f"{process.args[1]} ended with {process.returncode}")
        try:
            return get(url)
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{url} does not answer")


class Bench:
    """A Hub and a daemon, and what the daemon has counted."""

    def __init__(self, binary, folder):
        self.folder, self.hub, self.port = folder, free_port(), free_port()
        users = {f"user-{n}": "write" for n in range(TOKENS)}
        tokens = {f"token-{n}": {"secret": f"hf_bench_{n}", "user": f"user-{n}", "role": "fineGrained", "scopes": []}
                  for n in range(TOKENS)}
        tokens["janitor"] = {"secret": "hf_bench_janitor", "user": "alice", "role": "fineGrained", "scopes": [
            {"entity": "org:acme", "permissions": ["repo.write", "org.read"]}]}
        world = {"organizations": {"acme": {"plan": "enterprise", "members": {"alice": "admin", **users}}},
                 "repos": {"acme/model": {"type": "model", "private": True}}, "tokens": tokens}
        checks = [{"permission": p, "access": "denied", **({"repo": "acme/model"} if p.startswith("repo") else {})}
                  for p in CHECKS]
        for name in tokens:
            (folder / name).write_text(tokens[name]["secret"])
            (folder / name).chmod(0o600)
        config = {
            "hub": {"endpoint": f"http://127.0.0.1:{self.hub}", "quota_share": 1, "in_flight_horizon": "1s"},
            "schedule": {"probe": "* * * * * *", "declared": "0 7 * * * *"},
            "organizations": [{"name": "acme", "janitor": "janitor"}],
            "tokens": [{"name": name, "organization": "acme", "secret": {"file": str(folder / name)},
                        **({} if name == "janitor" else {"expect": checks})} for name in tokens],
            "server": {"listen": f"127.0.0.1:{self.port}"},
            "store": {"url": f"sqlite://{folder}/state.db"},
        }
        # JSON is YAML.
        (folder / "world.yaml").write_text(json.dumps(world))
        (folder / "scopewatch.yaml").write_text(json.dumps(config))
        self.log = open(folder / "log", "wb")
        self.processes = []
        self.start(binary, "hub", "--listen", f"127.0.0.1:{self.hub}", "--world", str(folder / "world.yaml"))
        wait_for(f"http://127.0.0.1:{self.hub}/_sim/world", self.processes[-1])
        self.start(binary, "serve", "--config", str(folder / "scopewatch.yaml"))
        wait_for(self.url(HEALTH), self.processes[-1])

    def start(self, *argv):
        self.processes.append(subprocess.Popen(argv, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL))

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def counted(self):
        """What the daemon has counted so far, and its processor time in seconds."""
        sums = {}
        for line in get(self.url("/metrics")).splitlines():
            if match := re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line):
                name, labels, value = match.groups()
                if name == "scopewatch_probes_total" and 'access="undetermined"' in (labels or ""):
                    sums["undetermined"] = sums.get("undetermined", 0) + float(value)
                sums[name] = sums.get(name, 0) + float(value)
        return {
            "at": time.monotonic(),
            "probes": sums["scopewatch_probes_total"],
            "undetermined": sums["undetermined"],
            "probe_s": sums.get("scopewatch_probe_duration_seconds_sum", 0),
            "probe_n": sums.get("scopewatch_probe_duration_seconds_count", 0),
            "round_s": sums["scopewatch_round_duration_seconds_sum"],
            "round_n": sums["scopewatch_round_duration_seconds_count"],
            "skipped": sums["scopewatch_rounds_skipped_total"],
            "cpu": sums.get("process_cpu_seconds_total", 0),
        }

    def end(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def crowd(port, many, ending, alive):
    """Connections that send a byte of head a second; who is cut off comes again a second later."""
    async def one():
        while not ending.is_set():
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                with alive.get_lock():
                    alive.value += 1
                try:
                    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
                    while not ending.is_set():
                        await writer.drain()
                        await asyncio.sleep(1)
                        writer.write(b"x")
                finally:
                    with alive.get_lock():
                        alive.value -= 1
                    writer.close()
            except OSError:
                pass
            await asyncio.sleep(1)

    async def everyone():
        await asyncio.gather(*(one() for _ in range(many)))

    asyncio.run(everyone())


def kubelet(port, ending, out):
    """Asks for health on a fresh connection every 50 ms; sends its times in ms, failures as infinite."""
    times = []
    while not ending.is_set():
        began = time.perf_counter()
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as stream:
                stream.sendall(f"GET {HEALTH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                answer = b""
                while chunk := stream.recv(4096):
                    answer += chunk
            if not answer.startswith(b"HTTP/1.1 200"):
                raise OSError("no 200")
            times.append((time.perf_counter() - began) * 1000)
        except OSError:
            times.append(float("inf"))
        time.sleep(0.05)
    out.put(times)


def wrk(bench, load, seconds):
    """(requests a second, p50, p99 in ms, answers that were no 2xx, errors of sockets)."""
    paths, connections, pause = LOADS[load]
    script = bench.folder / f"{load}.lua"
    weighted = [path for path, weight in paths.items() for _ in range(weight)]
    script.write_text(
        "local paths = {" + ", ".join(json.dumps(path) for path in weighted) + "}\n"
        "request = function() return wrk.format('GET', paths[math.random(#paths)]) end\n"
        f"delay = function() return {pause} end\n"
        "done = function(s, l, r) io.write(string.format('RESULT %d %d %d %d %d %d\\n', s.requests, s.duration,"
        " l:percentile(50), l:percentile(99), s.errors.status, s.errors.connect + s.errors.read + s.errors.write"
        " + s.errors.timeout)) end\n")
    done = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", script,
                           bench.url("")], capture_output=True, text=True, timeout=seconds + 60)
    if not (match := re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", done.stdout)):
        sys.exit(f"wrk said\n{done.stdout}\n{done.stderr}")
    requests, took, p50, p99, status, errors = map(int, match.groups())
    return requests / (took / 1e6), p50 / 1000, p99 / 1000, status, errors


def percentile(times, share):
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] if times else float("inf")


def phase(bench, name, load, slow, seconds):
    """One row: what was asked, how it was answered, and what was probed meanwhile."""
    ending, out, alive = multiprocessing.Event(), multiprocessing.Queue(), multiprocessing.Value("i", 0)
    asking = multiprocessing.Process(target=kubelet, args=(bench.port, ending, out))
    helpers = [asking]
    if slow:
        helpers.append(multiprocessing.Process(target=crowd, args=(bench.port, slow, ending, alive)))
        helpers[-1].start()
        time.sleep(3)
    before = bench.counted()
    asking.start()
    answered = wrk(bench, load, seconds) if load else time.sleep(seconds)
    held, after = alive.value, bench.counted()
    ending.set()
    times = out.get()
    for helper in helpers:
        helper.join(10)
        helper.kill()
    took = after["at"] - before["at"]
    made = {key: after[key] - before[key] for key in before}
    return {
        "phase": name,
        "req/s": answered and answered[0],
        "p50": answered and answered[1],
        "p99": answered and answered[2],
        "bad": answered and answered[3] + answered[4],
        "kubelet p50": percentile(times, 0.5),
        "kubelet p99": percentile(times, 0.99),
        "slow": held if slow else None,
        "probes/s": made["probes"] / took,
        "unknown": made["undetermined"],
        "probe ms": 1000 * made["probe_s"] / max(made["probe_n"], 1),
        "round ms": 1000 * made["round_s"] / max(made["round_n"], 1),
        "skipped": made["skipped"],
        "cpu": made["cpu"] / took,
    }


def show(rows):
    def cell(value):
        if value is None:
            return "-"
        if isinstance(value, str):
            return value
        return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"
    table = [list(rows[0])] + [[cell(value) for value in row.values()] for row in rows]
    widths = [max(len(line[at]) for line in table) for at in range(len(table[0]))]
    for line in table:
        print("  ".join(text.ljust(w) if not at else text.rjust(w) for at, (text, w) in enumerate(zip(line, widths))))


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--seconds", type=int, default=10, help="of each phase")
    options.add_argument("--slow", type=int, default=1000, help="slow connections")
    chosen = options.parse_args()
    binary = os.environ.get("SCOPEWATCH_BIN", str(ROOT / "target/release/scopewatch"))
    for needed in ("wrk", binary):
        if not shutil.which(needed):
            sys.exit(f"{needed} is missing: apt-get install wrk, cargo build --release")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))
    with tempfile.TemporaryDirectory(prefix="scopewatch-bench-") as folder:
        bench = Bench(binary, Path(folder))
        try:
            time.sleep(3)
            rows = [phase(bench, "quiet", None, 0, chosen.seconds)]
            rows.append(phase(bench, f"{chosen.slow} slow", None, chosen.slow, chosen.seconds))
            for load in LOADS:
                rows.append(phase(bench, load, load, 0, chosen.seconds))
                rows.append(phase(bench, f"{load} + slow", load, chosen.slow, chosen.seconds))
            rows.append(phase(bench, "quiet again", None, 0, chosen.seconds))
        finally:
            bench.end()
    print(f"{os.cpu_count()} cores, shared with the load; times in ms; cpu: cores that the daemon used")
    show(rows)
    due, missed = TOKENS * len(CHECKS), []
    for row in rows:
        if row["kubelet p99"] > GOAL_MS:
            missed.append(f"{row['phase']}: health p99 {row['kubelet p99']:.0f} ms on fresh connections")
        if row["phase"].startswith("healthy") and row["p99"] > GOAL_MS:
            missed.append(f"{row['phase']}: health p99 {row['p99']:.0f} ms")
        if row["probes/s"] < 0.9 * due or row["skipped"]:
            missed.append(f"{row['phase']}: {row['probes/s']:.1f} probes/s, {row['skipped']:.0f} rounds left out")
    print("\n".join(f"MISSED  {one}" for one in missed) or "every goal is met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

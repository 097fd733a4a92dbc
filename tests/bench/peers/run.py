#!/usr/bin/env python3
"""What a probe costs `serve`, beside others that ask the same: `python3 tests/bench/peers/run.py [--full] [--table]`.

Peers: the bare reqwest loop (`peers ask`: the same requests, a typed parse, deadlines, 64 in flight), Debian's
prometheus-blackbox-exporter (a module for each token, GOMAXPROCS=1, 64 at once), and a script with huggingface_hub.
Method: 1,000 tokens with ten checks by GET each, against `peers hub`, plainly and over TLS 1.3. The client is held to core 0,
the Hub and whatever drives the client to core 1. In each round everybody has a turn, one after the other; a figure is
user and system time of the client's process for each probe, a ratio is that of one round; told are medians and the range.
`serve` is measured between the ends of rounds on a schedule, after a first one in which whoami was asked: schedule, budget,
request, verdict, store, metrics, all of it. Limits: wall clock and CPU of a shared machine: a report, no gate; the Hub's chain has two
P-256 certificates, and loopback has no latency. SCOPEWATCH_BIN (else target/release), SCOPEWATCH_PEERS (else what cargo builds) and
SCOPEWATCH_PYTHON (else target/tools/bin/python) are used. What is missing is told and left out. Needs taskset, Python 3.11.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import table
from build import bench_binaries
from port import free_port
from scale import Bench, cpu, get, memory, wait_for

ROOT = Path(__file__).resolve().parents[3]
TOKENS = 1000
# Those that are asked by GET: what is asked by POST takes a fresh connection each time, on purpose.
CHECKS = ("repo.read", "repo.write", "org.members", "org.repositories", "org.audit_log", "org.billing", "org.service_accounts",
          "org.network_security", "org.resource_groups", "user.webhooks")
EVERY = 3  # seconds between rounds of `serve`
# Goals: at least so many times as many probes in a CPU-second as the peer.
GOALS = {("bare", "plain"): 0.85, ("bare", "tls"): 0.85, ("blackbox", "plain"): 25, ("blackbox", "tls"): 40,
         ("official", "plain"): 20, ("official", "tls"): 20}
NAMES = {"bare": "a bare reqwest loop", "blackbox": "blackbox_exporter", "official": "huggingface_hub"}
SENT = {"bare": 30_000, "blackbox": 2_000, "official": 800}


def pinned(core, command):
    """The command, held to one core where there are two."""
    return ["taskset", "-c", str(core), *map(str, command)] if (os.cpu_count() or 1) > 1 else list(map(str, command))


class Scene(Bench):
    """The fast Hub in place of the one in Python, and everybody who asks it."""

    checks = CHECKS

    def __init__(self, binary, peers, folder):
        self.peers, self.tls, self.ca = peers, free_port(), folder / "ca.pem"
        self.scheme, self.exporter = "plain", None
        super().__init__(binary, folder, TOKENS, f"*/{EVERY} * * * * *")

    def start_fake(self):
        self.start_on(1, [self.peers, "hub", "--upstream", f"127.0.0.1:{self.real}", "--listen", f"127.0.0.1:{self.hub}",
                          "--tls", f"127.0.0.1:{self.tls}", "--ca", self.ca])
        wait_for(f"http://127.0.0.1:{self.hub}/_counts", self.processes[-1])

    def start_on(self, core, command, **more):
        self.processes.append(subprocess.Popen(pinned(core, command), stdout=self.log, stderr=self.log,
                                               stdin=subprocess.DEVNULL, **more))
        return self.processes[-1]

    def base(self, scheme):
        return f"http://127.0.0.1:{self.hub}" if scheme == "plain" else f"https://127.0.0.1:{self.tls}"

    def stop(self, process):
        process.terminate()
        process.wait(60)
        self.processes.remove(process)

    def rounds_ended(self):
        return (self.folder / "log").read_bytes().count(b"a round ended")

    def until_rounds(self, daemon, wanted):
        ends = time.monotonic() + 120
        while self.rounds_ended() < wanted:
            if daemon.poll() is not None or time.monotonic() > ends:
                sys.exit(f"serve does not end its rounds:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)
        time.sleep(0.2)  # what is still written of it

    def serve(self, scheme, rounds):
        """CPU-seconds for each probe, and what else is told of `serve`."""
        trust = f", ca_files: ['{self.ca}'], tls_roots: bundled" if scheme == "tls" else ""
        self.endpoint = f"'{self.base(scheme)}'{trust}"
        self.write_config("")
        for old in self.folder.glob("state*"):
            old.unlink()
        os.ftruncate(self.log.fileno(), 0)
        self.log.seek(0)
        daemon = self.start_on(0, [self.binary, "serve", "--config", self.config])
        wait_for(self.url("/-/ready"), daemon)
        self.until_rounds(daemon, 2)
        self.asked(forget=True)
        before, began = cpu(daemon.pid), self.rounds_ended()
        self.until_rounds(daemon, began + rounds)
        used, asked = cpu(daemon.pid) - before, self.asked()
        told = {"cpu": used / max(asked["asked"], 1), "peak_mb": memory(daemon.pid)[0], **asked}
        self.stop(daemon)
        return told

    def bare(self, scheme):
        sent, paths = SENT["bare"], self.folder / "paths"
        trust = ["--ca", self.ca] if scheme == "tls" else []
        command = pinned(0, [self.peers, "ask", "--base", self.base(scheme), "--paths", paths, "--tokens", TOKENS,
                             "--count", sent, *trust])
        asking = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, stdin=subprocess.DEVNULL, text=True)
        told = json.loads(asking.stdout.read())
        _, status, usage = os.wait4(asking.pid, 0)
        asking.returncode = status
        if status or told["good"] != sent:
            sys.exit(f"the bare loop: {told}, status {status}")
        return {"cpu": (usage.ru_utime + usage.ru_stime) / sent}

    def start_exporter(self):
        """One module for each token, since the module holds the secret."""
        lines = ["modules:"]
        for number in range(TOKENS):
            lines.append(f"  t{number}: {{prober: http, timeout: 10s, http: {{valid_status_codes: [200, 401, 403, 404], "
                         f"follow_redirects: false, preferred_ip_protocol: ip4, bearer_token: hf_scale_{number:028}, "
                         f"tls_config: {{ca_file: '{self.ca}'}}}}}}")
        config = self.folder / "blackbox.yml"
        config.write_text("\n".join(lines) + "\n")
        self.exporter = free_port()
        process = self.start_on(0, [shutil.which("prometheus-blackbox-exporter"), f"--config.file={config}",
                                    f"--web.listen-address=127.0.0.1:{self.exporter}", "--log.level=error"],
                                env={**os.environ, "GOMAXPROCS": "1"})
        wait_for(f"http://127.0.0.1:{self.exporter}/-/healthy", process)
        return process

    def blackbox(self, scheme, process):
        sent, paths = SENT["blackbox"], self.folder / "targets"
        targets = [self.base(scheme) + path for path in (self.folder / "paths").read_text().splitlines()]
        paths.write_text("".join(f"/probe?module=t{{token}}&target={urllib.parse.quote(target, safe='')}\n" for target in targets))
        before = cpu(process.pid)
        done = subprocess.run(pinned(1, [self.peers, "ask", "--base", f"http://127.0.0.1:{self.exporter}", "--paths", paths,
                                         "--tokens", TOKENS, "--count", sent, "--expect", "probe_success 1"]),
                              stdout=subprocess.PIPE, stderr=self.log, stdin=subprocess.DEVNULL, text=True, check=True)
        if (told := json.loads(done.stdout))["good"] != sent:
            sys.exit(f"blackbox_exporter: {told}")
        return {"cpu": (cpu(process.pid) - before) / sent, "peak_mb": memory(process.pid)[0]}

    def official(self, scheme, python):
        environment = {**os.environ, "HF_ENDPOINT": self.base(scheme), "HF_HOME": str(self.folder / "hf"),
                       "SSL_CERT_FILE": str(self.ca), "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*"}
        environment.pop("HF_TOKEN", None)
        script = Path(__file__).with_name("official.py")
        done = subprocess.run(pinned(0, [python, script, TOKENS, SENT["official"]]), env=environment, stdout=subprocess.PIPE,
                              stderr=self.log, stdin=subprocess.DEVNULL, text=True, check=True)
        told = json.loads(done.stdout)
        if told["good"] != told["sent"]:
            sys.exit(f"huggingface_hub: {told}")
        return {"cpu": told["cpu"] / told["sent"], "peak_mb": told["peak_mb"]}


def present(python):
    """Who can be measured here, and a sentence for each who cannot."""
    missing = {}
    if not shutil.which("prometheus-blackbox-exporter"):
        missing["blackbox"] = "prometheus-blackbox-exporter (Debian) is missing"
    if subprocess.run([python, "-c", "import huggingface_hub"], stderr=subprocess.DEVNULL).returncode:
        missing["official"] = "huggingface_hub is missing: tests/run --only tools"
    return missing


def measure(scene, schemes, rounds, serve_rounds, missing, python):
    """Each peer's figures of each round: (peer, scheme) → list."""
    figures = {}
    # What `serve` asks is what the others are to ask.
    scene.serve("plain", 1)
    paths = [path["ask"].removeprefix("GET ") for path in scene.asked()["paths"] if path["times"]]
    if len(paths) != len(CHECKS):
        sys.exit(f"{len(paths)} kinds of requests for {len(CHECKS)} checks: {paths}")
    (scene.folder / "paths").write_text("".join(f"{path}\n" for path in paths))
    exporter = None if "blackbox" in missing else scene.start_exporter()
    for turn in range(rounds):
        for scheme in schemes:
            for peer in ("serve", *NAMES):
                if peer in missing:
                    continue
                more = {"serve": [serve_rounds], "blackbox": [exporter], "official": [python]}.get(peer, [])
                figures.setdefault((peer, scheme), []).append(getattr(scene, peer)(scheme, *more))
        print(f"round {turn + 1} of {rounds}", file=sys.stderr)
    return figures


def spread(values, digits=1):
    return f"[{min(values):.{digits}f}–{max(values):.{digits}f}]"


def rows_of(figures, schemes, missing):
    rows = []
    for scheme in schemes:
        own = figures["serve", scheme]
        over = "plain HTTP" if scheme == "plain" else "TLS 1.3"
        costs = [1e6 * one["cpu"] for one in own]
        rows.append(table.Row(f"serve, {over}: CPU a probe", statistics.median(costs), "", "µs", spread(costs)))
        if scheme == "tls":
            rows.append(table.Row("serve, TLS 1.3: CPU at the largest quota, 333 probes a second",
                                  333 * statistics.median(costs) / 1e4, "<=2", "%", "of a core"))
        opened = [one["connections"] / max(one["asked"], 1) for one in own]
        rows.append(table.Row(f"serve, {over}: connections a probe", statistics.median(opened), "", "", spread(opened, 4)))
        for peer, name in NAMES.items():
            goal = f">={GOALS[peer, scheme]}"
            if peer in missing:
                rows.append(table.Row(f"serve / {name}, {over}", None, goal, "×", missing[peer]))
                continue
            pairs = list(zip(figures[peer, scheme], own, strict=True))
            costs = [1e6 * one["cpu"] for one, _ in pairs]
            ratios = [theirs["cpu"] / ours["cpu"] for theirs, ours in pairs]
            rows.append(table.Row(f"{name}, {over}: CPU a probe", statistics.median(costs), "", "µs", spread(costs)))
            rows.append(table.Row(f"serve / {name}, {over}", statistics.median(ratios), goal, "×",
                                  spread(ratios, 2 if peer == "bare" else 1)))
            if peer != "bare":
                shares = [ours["peak_mb"] / theirs["peak_mb"] for theirs, ours in pairs]
                goal = "<=0.333" if peer == "official" else ""
                rows.append(table.Row(f"serve / {name}, {over}: RSS", statistics.median(shares), goal, "",
                                      f"{own[0]['peak_mb']:.1f} of {pairs[0][0]['peak_mb']:.1f} MB, {TOKENS} tokens"))
    return rows


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--full", action="store_true", help="nine rounds instead of five")
    options.add_argument("--rounds", type=int)
    options.add_argument("--scheme", choices=("plain", "tls"), help="only this one")
    options.add_argument("--table", action="store_true")
    chosen = options.parse_args()
    binary = os.environ.get("SCOPEWATCH_BIN", str(ROOT / "target/release/scopewatch"))
    python = os.environ.get("SCOPEWATCH_PYTHON", str(ROOT / "target/tools/bin/python"))
    python = python if shutil.which(python) else sys.executable
    peers = os.environ.get("SCOPEWATCH_PEERS") or bench_binaries("peers")["peers"]
    if not shutil.which(binary):
        sys.exit(f"{binary} is missing: cargo build --release")
    schemes = [chosen.scheme] if chosen.scheme else ["plain", "tls"]
    missing = present(python)
    with tempfile.TemporaryDirectory(prefix="scopewatch-peers-") as folder:
        scene = Scene(binary, peers, Path(folder))
        try:
            figures = measure(scene, schemes, chosen.rounds or (9 if chosen.full else 5), 2, missing, python)
        finally:
            scene.end()
    rows = rows_of(figures, schemes, missing)
    if chosen.table:
        print("\n".join(row.line() for row in rows))
    else:
        table.show({f"{TOKENS} tokens x {len(CHECKS)} checks, {os.cpu_count()} cores": rows})
    return 1 if any(row.verdict() == "MISSED" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

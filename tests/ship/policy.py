"""The NetworkPolicy of deploy/kubernetes, enforced: `python3 tests/ship/policy.py`

Renders the overlay, turns its NetworkPolicy into rules of nftables in the namespace of a pod (a namespace of the cluster is the
addresses that stand for it), and dials from there and to there: what must pass passes, all else does not.  Then the real daemon
works behind it, by names and TLS, up to the alert in a real Alertmanager.  The world has no way out of this machine.  Each policy
that is spoilt must be found.  Needs root, nft, ip, openssl, kubectl and prometheus-alertmanager; exit 77 where one is missing.
"""

import copy
import ipaddress
import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from netns import BIN, HUB, HUB6, NAMESPACES, OTHER, POD, RESOLVER, SCRAPER, STRANGER, TRY, Bench, wait_until
from run import Tally, rendered

# (what, address, port, what listens, whether it passes)
OUT = [
    ("the Hub", HUB, 443, "hub", True),
    ("the Hub over IPv6", HUB6, 443, "hub", True),
    ("Alertmanager", SCRAPER, 9093, "alertmanager", True),
    ("names", RESOLVER, 53, "names", True),
    ("names over TCP", RESOLVER, 53, "ear", True),
    ("the cloud's metadata", "169.254.169.254", 80, "ear", False),
    ("the cloud's metadata by TLS", "169.254.169.254", 443, "ear", False),
    ("the cloud's metadata over IPv6", "fd00:ec2::254", 443, "ear", False),
    ("a private address of 10/8", "10.20.0.5", 443, "ear", False),
    ("a private address of 172.16/12", "172.20.0.5", 443, "ear", False),
    ("a private address of 192.168/16", "192.168.3.5", 443, "ear", False),
    ("a shared address", "100.64.0.5", 443, "ear", False),
    ("the API server", "10.96.0.1", 443, "ear", False),
    ("plain http to another host", OTHER, 80, "ear", False),
    ("the ssh of another host", OTHER, 22, "ear", False),
    ("a name server of the world", OTHER, 53, "names", False),
    ("what else there is beside Alertmanager", SCRAPER, 9090, "ear", False),
    ("another namespace", STRANGER, 9093, "ear", False),
]
# (what, from, port, whether it passes)
IN = [
    ("the scraper", SCRAPER, 10847, True),
    ("another port, by the scraper", SCRAPER, 22, False),
    ("another namespace", STRANGER, 10847, False),
    ("the world", OTHER, 10847, False),
]


# ── A policy as rules ────────────────────────────────────────────────────────────────────────────────────────────

def peers(rule, side):
    """What a rule says of the other side, as matches of nftables; one without a match is anybody."""
    key, end = ("to", "daddr") if side == "egress" else ("from", "saddr")
    matches = [] if rule.get(key) else [""]
    for peer in rule.get(key) or []:
        if set(peer) == {"ipBlock"}:
            block = peer["ipBlock"]
            family = "ip6" if ipaddress.ip_network(block["cidr"]).version == 6 else "ip"
            but = f"{family} {end} != {{ {', '.join(block['except'])} }}" if block.get("except") else ""
            matches.append(f"{family} {end} {block['cidr']} {but}")
        elif set(peer) == {"namespaceSelector"} and set(peer["namespaceSelector"]) <= {"matchLabels"}:
            wanted = peer["namespaceSelector"].get("matchLabels", {})
            for name, addresses in NAMESPACES.items():
                if wanted.items() <= {"kubernetes.io/metadata.name": name}.items():
                    matches += [f"{'ip6' if ':' in one else 'ip'} {end} {one}" for one in addresses]
        else:
            raise SystemExit(f"a peer that this test cannot turn into rules: {peer}")
    return matches


def ports(rule):
    return [f"{one.get('protocol', 'TCP').lower()} dport {one['port']}" for one in rule.get("ports") or []] or [""]


def ruleset(documents):
    """The policies that select the pod: whatever one of them lets pass, passes; a side that none speaks of is open."""
    labels = next(one for one in documents if one["kind"] == "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    policies = [one["spec"] for one in documents if one["kind"] == "NetworkPolicy"]
    policies = [one for one in policies if one["podSelector"].get("matchLabels", {}).items() <= labels.items()]
    chains = []
    for side, hook, loopback in (("egress", "output", "oif"), ("ingress", "input", "iif")):
        speaking = [one for one in policies if side.capitalize() in one["policyTypes"]]
        lines = [f"type filter hook {hook} priority 0; policy {'drop' if speaking else 'accept'};", f"{loopback} lo accept",
                 "ct state established,related accept", "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"]
        passing = [rule for one in speaking for rule in one.get(side) or []]
        lines += [f"{peer} {port} accept" for rule in passing for peer in peers(rule, side) for port in ports(rule)]
        chains.append(f"chain {side} {{\n" + "\n".join(lines) + "\n}")
    return "table inet pod {}\ndelete table inet pod\ntable inet pod {\n" + "\n".join(chains) + "\n}\n"


# ── What is shown ────────────────────────────────────────────────────────────────────────────────────────────────

def judge(bench, documents):
    """What passes and should not, or should and does not."""
    bench.enforce(ruleset(documents))
    with ThreadPoolExecutor() as together:
        out = together.submit(bench.dial, bench.pod, [[None, address, port, kind] for _, address, port, kind, _ in OUT])
        into = together.submit(bench.dial, bench.world, [[source, POD, port, "ear"] for _, source, port, _ in IN])
    seen = [(f"to {one[0]}", one[-1], passed) for one, passed in zip(OUT, out.result(), strict=True)]
    seen += [(f"from {one[0]}", one[-1], passed) for one, passed in zip(IN, into.result(), strict=True)]
    return [f"{'passes' if passed else 'does not pass'}: {what}" for what, wanted, passed in seen if passed != wanted]


def spoilt():
    """Policies that let pass too much or too little: (what is done to the rendered one, what is then seen)."""
    def blocks(policy):
        return [peer["ipBlock"] for rule in policy["egress"] for peer in rule["to"] if "ipBlock" in peer]

    def of_port(policy, port):
        return next(rule for rule in policy["egress"] if any(one["port"] == port for one in rule["ports"]))
    return {
        "private ranges are not excepted": (lambda policy: [one.pop("except") for one in blocks(policy)], "a private address of 10/8"),
        "metadata is not excepted": (lambda policy: blocks(policy)[0]["except"].remove("169.254.0.0/16"), "metadata by TLS"),
        "the private range of IPv6 is not": (lambda policy: blocks(policy)[1]["except"].remove("fc00::/7"), "metadata over IPv6"),
        "plain http is open": (lambda policy: of_port(policy, 443)["ports"].append({"protocol": "TCP", "port": 80}), "plain http"),
        "only what comes in is ruled": (lambda policy: policy.update(policyTypes=["Ingress"]), "the cloud's metadata"),
        "only what goes out is ruled": (lambda policy: policy.update(policyTypes=["Egress"]), "from the world"),
        "any namespace may scrape": (lambda policy: policy["ingress"][0].pop("from"), "from another namespace"),
        "another pod is selected": (lambda policy: policy["podSelector"]["matchLabels"].update(app="other"), "from another namespace"),
        "names are out of reach": (lambda policy: policy["egress"].remove(of_port(policy, 53)), "does not pass: to names"),
        "Alertmanager is out of reach": (lambda policy: policy["egress"].remove(of_port(policy, 9093)), "does not pass: to Alertmanager"),
    }


def rules(bench, tally):
    documents = rendered("try")
    for overlay in ("example", "try"):
        wrong = judge(bench, rendered(overlay))
        tally.check("policy", overlay, wrong)
    if wrong:
        return
    # Without a policy everything is reached: what is held back below is held back by the policy.
    open_ = judge(bench, [one for one in documents if one["kind"] != "NetworkPolicy"])
    tally.check("policy", "without a policy", [one for one in open_ if one.startswith("does not")])
    every = sum(not one[-1] for one in OUT + IN)
    tally.check("policy", "no policy", open_ if len(open_) == every else [], planted=True)
    for what, (change, wanted) in spoilt().items():
        other = copy.deepcopy(documents)
        change(next(one for one in other if one["kind"] == "NetworkPolicy")["spec"])
        found = judge(bench, other)
        tally.check("policy", what, found if wanted in "; ".join(found) else [], planted=True)
    bench.enforce(ruleset(documents))


def config(folder):
    """The config of the overlay, with the Hub where it is in truth: elsewhere, by its name, by TLS."""
    text = (TRY / "scopewatch.yaml").read_text()
    for theirs, ours in {
        "http://127.0.0.1:8099": f"https://hub.example\n  ca_files: [{folder}/ca.pem]",
        "in_flight_horizon: 1s": "in_flight_horizon: 60s",
        "*/15 * * * * *": "*/2 * * * * *",
        "/run/secrets/scopewatch": str(TRY / "tokens"),
        "/var/lib/scopewatch": str(folder),
    }.items():
        if theirs not in text:
            raise SystemExit(f"the config does not name {theirs}")
        text = text.replace(theirs, ours)
    (folder / "scopewatch.yaml").write_text(text)
    return folder / "scopewatch.yaml"


def daemon(bench, tally):
    """The real daemon behind the policy: it works, is scraped, and outlives its Hub without a reason to restart it."""
    began = time.monotonic()
    with open(bench.folder / "serve.log", "w+b") as log:
        process = bench.start(*bench.inside(bench.pod, BIN, "serve", "--config", config(bench.folder)), stdout=log, stderr=log)

    def told():
        alerts = json.loads(bench.get(bench.world, SCRAPER, 9093, "/api/v2/alerts") or "[]")
        return any(one["labels"].get("alertname") == "ScopewatchUnexpectedGrant" for one in alerts)

    def scraped(source):
        return bench.get(bench.world, POD, 10847, "/metrics", source) or ""

    def unwell():
        return [path for path in ("/-/healthy", "/-/ready") if bench.get(bench.pod, "127.0.0.1", 10847, path) is None]
    try:
        wait_until(told, "the grant is in Alertmanager", 60)
        took = time.monotonic() - began
        tally.check("policy", "the scrape", [] if "scopewatch_hub_reachable 1" in scraped(SCRAPER) else ["no metrics"])
        tally.check("policy", "a stranger's scrape", [] if scraped(STRANGER) else ["held back"], planted=True)
        bench.hub.kill()
        wait_until(lambda: "scopewatch_hub_reachable 0" in scraped(SCRAPER), "the daemon misses its Hub", 40)
    except AssertionError as error:
        raise SystemExit(f"{error}\n{(bench.folder / 'serve.log').read_text()[-4000:]}") from error
    print(f"behind the policy: from its start to the alert in Alertmanager {took:.1f} s")
    tally.check("policy", "probes without the Hub", unwell() + ([] if process.poll() is None else ["it ended"]))
    process.terminate()
    tally.check("policy", "its end", [] if process.wait(30) == 0 else [f"exit {process.returncode}"])
    tally.check("policy", "probes of a daemon that is gone", unwell(), planted=True)


def main():
    needed = ("nft", "ip", "openssl", "kubectl", "unshare", "nsenter", "prometheus-alertmanager")
    lacking = [tool for tool in needed if not shutil.which(tool)] + ([] if os.geteuid() == 0 else ["root"])
    if lacking:
        print(f"missing: {', '.join(lacking)}")
        return 77
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="scopewatch-policy-") as folder:
        bench = Bench(Path(folder))
        try:
            bench.wire()
            bench.serve([[address, port, kind] for _, address, port, kind, _ in OUT])
            rules(bench, tally)
            daemon(bench, tally)
        finally:
            bench.end()
    return tally.end()


if __name__ == "__main__":
    sys.exit(main())

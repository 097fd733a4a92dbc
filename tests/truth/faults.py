"""Ten thousand probes whose answers are spoilt on the way, and not one wrong verdict.

Knows which request each fault is to strike, and what an answer may come to then: a question whose answer was spoilt
is undetermined, one that was only slow or lagging is answered right, and so is one that nothing struck.  Reads back
from the Hub what really struck.  Serves run.py.
"""

import argparse
import random
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, replace

from bench import BIN, PREFIX, REASONS, Bench, Broken, verdict_of
from oracle import ALLOWED, DENIED, UNDETERMINED, Oracle
from spoils import AFTERWARDS, DENIAL, GRANT, JANITOR, POSTED, QUICK, SLOW, TOKENS, WIDE, WIRED, Fault
from wire import Wire
from worlds import COLUMNS, Rows, config_of, repository, world_of

AT_LEAST = 10_000
# A creation leaves within two seconds of its preparation or never: on a machine that is busy, some never do.
UNSENT_AT_MOST = 100
KINDS = [("classic write", "admin"), ("classic write", "write"), ("classic write", "read"), ("classic read", "admin"),
         ("classic read", None), ("fg nothing", "admin"), ("fg nothing", "no_access"), ("fg org read+write", "write"),
         ("fg org write", "admin"), ("fg everything", "admin"), ("fg everything", None), ("fg org read", "contributor")]
NAMED = {column.name: column for column in COLUMNS}
# Reading and writing ask of different repositories, so that no path is the beginning of another.
ASKED = [NAMED[name] for name in (
    "new dataset*", "rd public", "rd private", "rd team", "job.read", "job.write", "endp.read", "endp.write",
    "endp.infer", "repos", "audit_log", "billing", "accounts", "groups", "u.webhooks", "u.billing")]
ASKED += [repository("wr public", "repo.write", "public", "push-open"),
          repository("wr private", "repo.write", "private", "push-closed")]
CREATIONS = [NAMED["new model"], NAMED["new space"]]
PAGES = {"repositories": "settings/repositories", "audit_log": "audit-log", "billing": "billing",
         "service_accounts": "service-accounts", "resource_groups": "resource-groups"}
OWN = {"webhooks": "/api/settings/webhooks", "billing": "/api/settings/billing/usage"}


def shape(column):
    """What a grant looks like: OK, {namespace, user}, […], {…}, or a creation."""
    if column.permission.startswith(("job.", "endpoint.")):
        return "place"
    return {"repo.read": "check", "repo.write": "check", "repo.create": "create", "org.billing": "object",
            "user.billing": "object"}.get(column.permission, "list")


def needle(column, organization):
    """Route, and what only this question's path or body holds."""
    family, what = column.permission.split(".")
    if column.permission == "repo.create":
        return "create", '"name":"known-set"' if column.what.endswith("*") else f'"type":"{column.what}"'
    if family == "repo":
        return "auth-check", "/" + dict(column.keys)["repo"].format(org=organization) + "/auth-check"
    if family in ("job", "endpoint"):
        root = {"job": "jobs", "endpoint": "inference-endpoints"}[family]
        return "auth-check", f"/api/{root}/{organization}/auth-check/{what}"
    if family == "user":
        return "user", OWN[what]
    return "organization", f"/api/organizations/{organization}/{PAGES[what]}"


# -- who is asked what -------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Probe:
    row: object
    column: object
    access: str                 # what is right

    @property
    def home(self):
        return self.row.configured

    @property
    def key(self):
        return self.home, self.row.name, self.column.permission, self.column.reported(self.home)

    @property
    def shape(self):
        return shape(self.column)

    @property
    def hoped(self):
        return wish(self.row, self.column)


def wish(row, column):
    return (ALLOWED, DENIED)[(sum(map(ord, row.name)) + len(column.name)) % 2]


class Party:
    """The world: readers that are asked everything, and makers of canaries, two to an organization."""

    def __init__(self, organizations):
        table = Rows()
        for number in range(organizations):
            for kind, role in KINDS:
                table.add(f"{kind}, {role}", kind, org=f"org{number:02d}", org_role=role)
        for number in range(2 * (len(POSTED) + len(AFTERWARDS))):
            column = CREATIONS[number % 2]
            for kind in ("classic write", "fg nothing"):
                table.add(f"{kind}, admin", kind, org=f"maker{number:03d}", org_role="admin", columns=[column.name])
        asked = [tuple(ASKED) if row.configured.startswith("org") else row.columns for row in table.rows]
        self.rows = [replace(row, columns=columns) for row, columns in zip(table.rows, asked)]
        every = list(self.probes(Oracle()))
        self.makers = [probe for probe in every if probe.home.startswith("maker")]
        self.readers = [probe for probe in every if not probe.home.startswith("maker")]

    def probes(self, oracle):
        """The questions whose right answer is documented, and is one."""
        for row in self.rows:
            for column in row.columns:
                truth = oracle.ask(row.subject, column.permission, column.what)
                if truth.exact and truth.access != UNDETERMINED:
                    yield Probe(row, column, truth.access)

    def world(self):
        world = world_of(self.rows)
        for name in world["organizations"]:
            world["repos"][f"{name}/push-open"] = {"type": "model"}
            world["repos"][f"{name}/push-closed"] = {"type": "model", "private": True}
        return world


def config(bench, probes, endpoint=None, **hub):
    by_row = defaultdict(list)
    for probe in probes:
        by_row[probe.row].append(probe.column)
    chosen = [replace(row, columns=tuple(columns)) for row, columns in by_row.items()]
    return bench.config(*config_of(chosen, wish), endpoint, **hub)


# -- what came of it ---------------------------------------------------------------------------------------------

CONTROL, NOTHING = "(what it rests on was struck)", "(nothing struck)"


class Tally:
    """What struck what, and what came of it."""

    def __init__(self):
        self.by_fault = defaultdict(Counter)
        self.by_family = Counter()
        self.outcomes = Counter()
        self.reasons = Counter()
        self.wrong = []

    def take(self, probe, fault, result, where, unsent=False):
        """`fault`: a Fault, CONTROL or NOTHING. `unsent`: the Hub never saw the question."""
        access, reason = result["access"], result["reason"]
        injected = isinstance(fault, Fault)
        name, whom = (fault.title, "struck") if injected else (fault, fault)
        problem = self.problem(probe, fault, result)
        if unsent and (access, reason) == (UNDETERMINED, "network"):
            whom = outcome = "unsent"
            problem = None
        elif access == UNDETERMINED:
            outcome = "undetermined"
            self.reasons[reason] += 1
        else:
            outcome = "right" if access == probe.access else "wrong"
        self.by_fault[name][outcome] += 1
        self.outcomes[whom, outcome] += 1
        if injected and whom == "struck":
            self.by_family[fault.family] += 1
        if problem:
            self.wrong.append(f"{where}: {probe.row.label}: {probe.key}: {name}: {problem}")

    @staticmethod
    def problem(probe, fault, result):
        access, reason = result["access"], result["reason"]
        if reason not in REASONS.get(access, ()):
            return f"{reason!r} is no reason of {access!r}"
        if result["verdict"] != verdict_of(probe.hoped, access):
            return f"verdict {result['verdict']} of {access}"
        if access not in (probe.access, UNDETERMINED):
            return f"{access} ({reason}), though {probe.access} is right"
        if fault == CONTROL:
            return None
        if fault == NOTHING or fault.may is None:
            return None if access == probe.access else f"undetermined ({reason}), though {probe.access} could be told"
        if access == UNDETERMINED and reason in fault.may or access == probe.access and fault.either:
            return None
        return f"{access} ({reason}), though the answer was spoilt: {' or '.join(sorted(fault.may))} is right"

    def count(self, whom=None, outcome=None):
        return sum(number for (w, o), number in self.outcomes.items() if whom in (None, w) and outcome in (None, o))


# -- who is struck by what ---------------------------------------------------------------------------------------

def assign(probes, faults, share, dice):
    """Gives this share of the probes a fault each, every fault as often as any other."""
    chosen, stacks = {}, defaultdict(list)
    for probe in dice.sample(probes, round(len(probes) * share)):
        stack = stacks[probe.shape]
        if not stack:
            fitting = [fault for fault in faults if probe.shape in fault.shapes]
            stack.extend(dice.sample(fitting, len(fitting)))
        chosen[probe] = stack.pop()
    return chosen


def order_of(probe, fault):
    route, contains = needle(probe.column, probe.home)
    order = {"route": route, "token": probe.row.name, "contains": contains, "times": 1, **dict(fault.order)}
    if order["route"] != route:
        # It strikes the canary afterwards, whoever looks or deletes.
        del order["token"]
        order["contains"] = f"{probe.home}/{PREFIX}" if order["route"] == "read" else f'"organization":"{probe.home}"'
    return order


def struck_of(records, probes):
    """The faults that struck each probe, as the Hub remembers it; None where it never saw the question."""
    seen = defaultdict(list)
    for record in records:
        seen[record["token"], record["route"]].append(record)
    struck = {}
    for probe in probes:
        route, contains = needle(probe.column, probe.home)
        hits = [r for r in seen[probe.row.name, route] if contains in r["path"] or contains in squeezed(r["body"])]
        struck[probe] = [r["fault"] for r in hits if r["fault"]] if hits else None
    return struck


def squeezed(body):
    return "".join(f'"{key}":"{value}",' for key, value in body.items()) if isinstance(body, dict) else ""


# -- one audit after the other -----------------------------------------------------------------------------------

def struck_audit(bench, orders, path):
    """One audit under these faults; its results, and what the Hub remembers of it."""
    bench.faults(orders)
    since = bench.last_request()
    report = bench.audit(path)
    bench.faults([])
    return report["by_key"], bench.requests(since)


def narrow(bench, tally, probes, chosen, where, **hub):
    """Each fault strikes one question, once."""
    orders = [order_of(probe, fault) for probe, fault in chosen.items()]
    results, records = struck_audit(bench, orders, config(bench, probes, **hub))
    struck = struck_of(records, probes)
    for probe in probes:
        fault, kinds = chosen.get(probe, NOTHING), struck[probe]
        ordered = [dict(fault.order)["kind"]] if isinstance(fault, Fault) else []
        if kinds is not None and kinds != ordered:
            tally.wrong.append(f"{where}: {probe.key}: {ordered} was ordered, {kinds} struck")
        tally.take(probe, fault, results[probe.key], where, kinds is None)


def wired(bench, tally, probes, chosen):
    """Through a go-between that spoils answers on the wire."""
    owners = {f"Bearer {secret}": name for name, secret in bench.secrets.items()}
    plan = defaultdict(list)
    for probe, fault in chosen.items():
        plan[probe.row.name].append((needle(probe.column, probe.home)[1], fault, probe))

    def choose(path, authorization):
        hits = (hit for hit in plan.get(owners.get(authorization), ()) if hit[0] in path)
        return next(((fault.name, probe) for _, fault, probe in hits), None)

    wire = Wire(bench.url, choose)
    try:
        report = bench.audit(config(bench, probes, wire.url, request_timeout="4s", max_in_flight=300))
    finally:
        wire.close()
    struck = Counter(probe for _, probe in wire.struck)
    for probe in probes:
        if struck[probe] != (probe in chosen):
            tally.wrong.append(f"wire: {probe.key}: struck {struck[probe]} times")
        tally.take(probe, chosen.get(probe, NOTHING), report["by_key"][probe.key], "wire")


def wide(bench, tally, probes):
    """What the answers of an organization rest on is struck: nothing may be wrong, much will be undetermined."""
    homes = {probe.row.name: probe.home for probe in probes}
    scenes = dict(zip(sorted(set(homes.values())), WIDE))
    orders = []
    for home, scene in scenes.items():
        whom = {JANITOR: [f"janitor-{home}"], TOKENS: [name for name, its in homes.items() if its == home]}
        for order in WIDE[scene]:
            place = {"contains": order["contains"].format(o=home)} if "contains" in order else {}
            orders += [{**order, **place, "token": token} for token in whom[order["token"]]]
    results, records = struck_audit(bench, orders, config(bench, probes))
    owners = [record["token"] or "" for record in records if record["fault"]]
    hit = {homes.get(owner) or owner.removeprefix("janitor-") for owner in owners}
    tally.wrong += [f"wide: {scene} never struck" for home, scene in scenes.items() if home not in hit]
    for probe in probes:
        scene = scenes.get(probe.home)
        tally.take(probe, CONTROL if scene else NOTHING, results[probe.key], f"wide, {scene}")


def creations(bench, tally, probes):
    """Canaries are struck when they are asked for, or once they are there; then everything is cleaned up."""
    plan = [fault for fault in POSTED + AFTERWARDS for _ in CREATIONS]
    chosen = {}
    for probe in probes:
        fault = plan[int(probe.home.removeprefix("maker"))]
        # What comes after a grant can only strike where there is one.
        if fault in POSTED or probe.access == ALLOWED:
            chosen[probe] = fault
    path = config(bench, probes, request_timeout="4s", max_in_flight=200)
    results, records = struck_audit(bench, [order_of(probe, fault) for probe, fault in chosen.items()], path)
    struck = struck_of(records, probes)
    after = {(record["route"], canary_home(record)) for record in records if record["fault"]}
    for probe in probes:
        fault, route = chosen.get(probe, NOTHING), None
        if isinstance(fault, Fault):
            route = dict(fault.order).get("route")
            hit = (route, probe.home) in after if route else struck[probe] or struck[probe] is None
            if not hit:
                tally.wrong.append(f"creations: {probe.key}: {fault.title} never struck")
        tally.take(probe, fault, results[probe.key], "creations", struck[probe] is None)
    sweep(bench, path)


def canary_home(record):
    """The organization of the canary that was looked at or deleted."""
    if record["route"] == "delete":
        return record["body"]["organization"]
    return (record["path"].split("/") + [""] * 4)[3]


def sweep(bench, path):
    """`canaries sweep` until it says that nothing is left."""
    for _ in range(60):
        done = subprocess.run([BIN, "canaries", "--config", str(path), "sweep"], stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=120, env=bench.environment(), check=False)
        if done.returncode == 0:
            return
        if done.returncode != 1:
            raise Broken(f"canaries sweep ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
    raise Broken(f"canaries sweep leaves something: {done.stdout.decode()[-2000:]}")


def lies(bench, probes, dice):
    """The comparison's own test: answers that nobody could tell from true ones must be found wrong, all of them."""
    told = {probe: DENIAL if probe.access == ALLOWED else GRANT for probe in probes}
    told = {probe: lie for probe, lie in told.items() if probe.shape in lie.shapes}
    some = {probe: told[probe] for probe in dice.sample(list(told), 60)}
    tally = Tally()
    results, _ = struck_audit(bench, [order_of(probe, lie) for probe, lie in some.items()], config(bench, list(some)))
    for probe, lie in some.items():
        tally.take(probe, lie, results[probe.key], "lies")
    return tally.count(outcome="wrong"), len(tally.wrong), len(some)


# -- on paper ----------------------------------------------------------------------------------------------------

def show(tally):
    print(f"{'fault':<42}{'probes':>8}{'undetermined':>14}{'right':>8}{'wrong':>7}")
    print("-" * 79)
    for name in sorted(tally.by_fault, key=lambda name: (name in (NOTHING, CONTROL), name)):
        count = tally.by_fault[name]
        sent = sum(count.values()) - count["unsent"]
        print(f"{name:<42}{sent:>8}{count['undetermined']:>14}{count['right']:>8}{count['wrong']:>7}")
    print()
    print("by kind: " + "; ".join(f"{name} {number}" for name, number in sorted(tally.by_family.items())))
    print("undetermined because: " + ", ".join(f"{number} {reason}" for reason, number in tally.reasons.most_common()))


def totals(tally, made, harm):
    struck, wrong, right = tally.count("struck"), tally.count(outcome="wrong"), tally.count(outcome="right")
    print(f"{struck} fault-injected probes, {wrong} wrong allowed or denied")
    print(f"  of them {tally.count('struck', 'undetermined')} undetermined; {tally.count('struck', 'right')} right all the "
          "same, where the answer was only late or lagging, or enough of it came")
    print(f"  beside them {tally.count(CONTROL)} probes behind {len(WIDE)} kinds of struck controls, "
          f"{tally.count(CONTROL, 'right')} of them answered; {tally.count(NOTHING)} untouched, "
          f"{tally.count(NOTHING, 'right')} of them answered")
    share = 100 * right / max(1, tally.count() - tally.count("unsent"))
    print(f"  conclusive answers: {right}, {share:.0f} % of all; {tally.count('unsent')} creations never sent in time")
    print(f"  canaries: {made} made, " + ("none left; nothing else was touched" if not harm else f"harm: {len(harm)}"))


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--seed", type=int, default=20261122, help="who is struck by what")
    options.add_argument("--rounds", type=int, default=4, help="audits in which most questions are struck")
    asked = options.parse_args()
    dice, tally = random.Random(asked.seed), Tally()
    party = Party(len(WIDE) + 2)
    # Creations are left out where hundreds are asked at once: all of them would wait for the journal.
    reading = [probe for probe in party.readers if probe.shape != "create"]
    with Bench(party.world()) as bench:
        for number in range(asked.rounds):
            narrow(bench, tally, party.readers, assign(party.readers, QUICK, 0.8, dice), f"round {number + 1}")
        narrow(bench, tally, reading, assign(reading, SLOW, 0.13, dice), "timeouts", request_timeout="4s",
               max_in_flight=300)
        wired(bench, tally, reading, assign(reading, WIRED, 0.22, dice))
        wide(bench, tally, party.readers)
        creations(bench, tally, party.makers)
        taken, found, told = lies(bench, party.readers, dice)
        harm, made = bench.harm()
    show(tally)
    totals(tally, made, harm)
    print(f"  the comparison can fail: {found} of {told} perfect lies were found wrong (seed {asked.seed})")
    failures = tally.wrong + harm
    if tally.count("struck") < AT_LEAST:
        failures.append(f"only {tally.count('struck')} probes were struck; {AT_LEAST} are wanted")
    if tally.count("unsent") > UNSENT_AT_MOST:
        failures.append(f"{tally.count('unsent')} creations were never sent; at most {UNSENT_AT_MOST} may be")
    if not taken == found == told:
        failures.append(f"of {told} lies {taken} were taken for answers and {found} found wrong")
    if not tally.count(outcome="right"):
        failures.append("not one conclusive answer")
    never = {fault.title for fault in QUICK + SLOW + WIRED + POSTED + AFTERWARDS} - set(tally.by_fault)
    failures += [f"never struck: {title}" for title in sorted(never)]
    for line in failures[:60]:
        print("WRONG", line)
    if len(failures) > 60:
        print(f"… and {len(failures) - 60} more")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

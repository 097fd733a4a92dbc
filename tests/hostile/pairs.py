"""Every behaviour against every call, in one daemon that serves all the while.

Knows who is struck by what in which round, what may then be said of each check, and that nothing else may change: no
finding begins or ends by a spoilt answer, what nothing struck is answered right, and whoever was struck is as before
soon after.  Serves run.py; truths come from world.py, calls.py and the behaviours themselves.
"""

import datetime
import itertools
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field

import zoo_content  # noqa: F401  (registers)
import zoo_lies  # noqa: F401  (registers)
from bench import BUSY, REASONS, TIMEOUT, Daemon, free_port, resident
from calls import CALLS
from judge import late
from server import Strike
from world import ALLOWED, UNDETERMINED, Organization
from zoo import EVERY, ZOO

DRIFT = {"unexpected_grant", "unexpected_denial"}
JUDGED = {"latent_grant", "prediction_mismatch"}
# What only an honest whoami may begin.
TOLD = {"declared_changed", "role_changed", "owner_changed", "policy_changed", "rotated", "expires_soon", "unknown_permission"}
LISTED = {"unmanaged_token", "missing_token"}
LATE = 0.5                              # a Hub that was later than this in a round proves nothing of who is undetermined
# Seconds. Of a round's a canary whose deletion stays ambiguous may take 17.
ROUND_ENDS_WITHIN = 37 + 4 * TIMEOUT
RECOVERS_WITHIN = 32 + 4 * TIMEOUT
# A canary that was looked at, or refused its deletion, twice in vain is looked at again a minute after.
VISITED_WITHIN = 70 + 4 * TIMEOUT
# What may change the Hub leaves within two seconds of what it was decided on, or never; then it is told as lost, and the Hub
# has heard nothing of it. On a machine that does much else that happens, but it must be rare.
RARE = 0.005
POOL = {"r": 20, "s": 12, "m": 16, "g": 5, "j": 4, "i": 10, "n": 8}


@dataclass(eq=False)
class Pair:
    call: object
    behaviour: object
    run: bool = False
    rounds: int = 0
    tries: int = 0

    @property
    def title(self):
        return f"{self.call.title} × {self.behaviour.name}"

    @property
    def slow(self):
        return self.behaviour.slow or self.call.name == "create"


# What an organization of a kind answers to a call: the shapes that a strike can meet.
SHAPES = {"whoami.token": "whoami", "whoami.janitor": "whoami", "overview": "overview", "list": "listing", "read": "private",
          "absent": "missing", "anonymous": "unsigned", "proof.read": "described", "proof.write": "described",
          "proof.closed": "closed", "proof.anonymous": "described", "sentinel": "private", "create": "created refused",
          "trial.look": "described", "trial.post": "exists refused", "visit.describe": "canary", "visit.commits": "commits",
          "sweep": "listing", "visit.anonymous": "unsigned", "visit.absent": "missing", "visit.listing": "listing", "delete": "acknowledged",
          "groups": "groups", "group": "group", "delete.refused": "refused", "delete.janitor": "acknowledged",
          "list.page2": "listing", "inventory.tokens": "inventory", "inventory.page2": "inventory",
          "inventory.accounts": "inventory", "inventory.account": "account", "repo.read": "ok hidden",
          "job.read": "place refused"}


def shapes_of(call):
    from world import PROBES
    grants = {permission: f"{shape} refused" for permission, _, _, shape in PROBES}
    return frozenset((SHAPES.get(call.name) or grants[call.name]).split())


def planned():
    """Every pair that is one: where the behaviour is no honest answer to every shape of the call."""
    return [Pair(call, behaviour) for behaviour in ZOO for call in CALLS if shapes_of(call) - behaviour.never]


def covering(pairs, at_least=1):
    """Of every behaviour this many calls, or all it is for; calls in turn, so that every call meets as many."""
    by_behaviour, met, chosen = defaultdict(list), Counter(), []
    for pair in pairs:
        by_behaviour[pair.behaviour.name].append(pair)
    for number, its in enumerate(by_behaviour.values()):
        for _ in range(min(at_least, len(its))):
            # The call that met the fewest; among equals another one each time.
            order = its[number % len(its):] + its[:number % len(its)]
            best = min((p for p in order if p not in chosen[-at_least:]), key=lambda p: met[p.call])
            met[best.call] += 1
            chosen.append(best)
    return chosen


@dataclass(eq=False)
class Seat:
    """One organization, and where it stands: new, well, struck, ailing, leaving."""
    organization: Organization
    state: str = "new"
    since: float = field(default_factory=time.time)
    pair: Pair = None
    strike: Strike = None
    settled: bool = False                # its findings have begun
    base: frozenset = frozenset()        # findings that it had when nothing had struck yet
    left: bool = False                   # a person must look into it

    def become(self, state):
        self.state, self.since = state, time.time()


class Pairs:
    """The whole run."""

    def __init__(self, hub, files, pairs, pool=None, say=print):
        self.hub, self.files, self.say = hub, files, say
        # Slow ones first, and together: a round takes as long as its slowest answer.
        self.queues = {kind: deque(sorted((p for p in pairs if p.call.kind == kind), key=lambda p: not p.slow))
                       for kind in (pool or POOL)}
        self.pairs, self.pool = pairs, pool or POOL
        self.numbers, self.seats = itertools.count(), []
        self.violations, self.unjudged, self.rounds, self.late = [], 0, 0, []
        self.outcomes, self.reasons, self.memory, self.slowest = Counter(), Counter(), [], 0.0
        self.peak = self.files_open = 0

    def wrong(self, what, pair=None):
        self.violations.append(f"{pair.title if pair else 'nothing struck'}: {what}")

    # -- organizations ---------------------------------------------------------------------------------------------
    def seat(self, kind):
        organization = Organization(f"{kind}{next(self.numbers):04d}")
        self.hub.do(lambda: self.hub.add(organization))
        seat = Seat(organization)
        self.seats.append(seat)
        return seat

    def configure(self):
        organizations = [seat.organization for seat in self.seats]
        return self.files.config(organizations, self.hub.url, port=self.port, max_in_flight=160)

    # -- the run ---------------------------------------------------------------------------------------------------
    def run(self, seconds):
        for kind, count in self.pool.items():
            for _ in range(min(count, max(1, len(self.queues[kind])))):
                self.seat(kind)
        self.port, end = free_port(), time.monotonic() + seconds
        with Daemon(self.files, self.configure(), self.port) as self.daemon:
            self.seen = None
            while any(self.queues.values()) or any(seat.state != "well" for seat in self.seats):
                if time.monotonic() > end:
                    self.wrong(f"not done within {seconds} s: {sum(map(len, self.queues.values()))} pairs are left, and "
                               f"{Counter(seat.state for seat in self.seats)}")
                    break
                self.between_rounds(self.next_report())
            self.peak = resident(self.daemon.pid, "VmHWM")
            self.files_open = self.daemon.metric("process_open_fds")
            code = self.daemon.stop()
            if code != 0:
                self.wrong(f"the daemon ended with {code} after SIGTERM")
            self.violations += self.daemon.complaints()
        if len(self.late) > RARE * sum(self.outcomes.values()):
            self.wrong(f"{len(self.late)} creations came too late to be sent: {self.late[:3]}")
        self.violations += [f"on the Hub: {what}" for what in self.hub.violations]
        self.violations += [f"on the Hub: {what}" for seat in self.seats for what in seat.organization.wrong]

    def next_report(self):
        """Waits for the end of a round; the report that tells of it."""
        self.rounds += 1
        began = time.monotonic()
        report = self.daemon.until(lambda: self.ended() or time.monotonic() - began > ROUND_ENDS_WITHIN, 600, "ends a round")
        if report is True:
            struck = [seat for seat in self.seats if seat.pair and seat.state == "struck"]
            self.wrong(f"a round goes on for more than {ROUND_ENDS_WITHIN} s: " + ", ".join(
                seat.pair.title for seat in struck if seat.organization.canaries or len(seat.strike.hits) > 10))
            for seat in struck:
                self.heal(seat)
            return self.next_report()
        return report

    def ended(self):
        size = self.daemon.log.stat().st_size
        if size == getattr(self, "log_size", None):
            return None
        report = self.daemon.finished()
        if report is None or report["finished_at"] == self.seen:
            return None
        self.log_size, self.seen = size, report["finished_at"]
        return report

    def between_rounds(self, report):
        """Judges the round that ended, then says who is struck in the next."""
        begun, ended = instant(report["started_at"]), instant(report["finished_at"])
        lag, self.hub.lag = self.hub.lag, 0.0
        spans, self.hub.spans = self.hub.spans, []
        by_home, findings = defaultdict(dict), self.findings()
        for r in report["results"]:
            by_home[r["organization"]][r["token"], r["permission"], r["target"]] = r
        for seat in list(self.seats):
            self.step(seat, by_home[seat.organization.name], findings[seat.organization.name], begun, ended, lag)
        for finding in findings[""]:
            if finding[0] == "hub_unreachable":
                self.wrong("hub_unreachable, though the Hub answered others")
        self.slowest = max([self.slowest, *(span.seconds for span in spans)])
        self.violations += late(spans, TIMEOUT, lag)
        self.memory.append(resident(self.daemon.pid))
        self.replace()

    def findings(self):
        """The findings that last, by organization."""
        found = defaultdict(set)
        for f in self.daemon.json("/api/v1/findings")["findings"]:
            if f.get("resolved_at") is None:
                found[f["organization"]].add((f["kind"], f.get("token"), f.get("permission"), f.get("target")))
        return found

    # -- one organization ------------------------------------------------------------------------------------------
    def step(self, seat, results, findings, begun, ended, lag):
        organization = seat.organization
        if set(results) != set(organization.checks) or any(instant(r["observed_at"]) < begun for r in results.values()):
            if seat.since < begun - 5 and results:
                self.wrong(f"{organization.name}: not everything was asked in a round", seat.pair)
            return
        full = seat.since < begun
        hits = [hit for hit in seat.strike.hits if begun <= hit[0] <= ended] if seat.strike else []
        clean = self.judge(seat, results, hits, full, lag)
        self.judge_findings(seat, findings)
        if seat.state == "new" and seat.pair is None and clean and self.begun_well(seat, findings):
            seat.base, seat.settled = frozenset(findings), True
            seat.become("well")
        if seat.state == "struck" and full and seat.pair is not None:
            seat.pair.rounds += 1
            if seat.strike.hits and (hits or seat.pair.rounds >= 2 or not seat.pair.call.name.startswith("visit")):
                self.outcomes["run"] += not seat.pair.run
                seat.pair.run = True
                if self.follows(seat):
                    self.strike(seat, self.queues[organization.kind].popleft())
                else:
                    self.heal(seat)
            elif seat.pair.rounds >= 6:
                self.wrong("never struck", seat.pair)
                self.heal(seat)
        elif seat.state in ("ailing", "leaving") and full:
            self.convalesce(seat, clean, findings, results)
        if seat.state == "well":
            self.strike_next(seat)

    def judge(self, seat, results, hits, full, lag):
        """Holds a round's answers against the truth. Says whether all of them were right."""
        organization, pair, clean = seat.organization, seat.pair, True
        must, may = set(), set()
        if pair and seat.state in ("struck",):
            # A round may begin before its seat is struck; what that one heard, this one may still stand on.
            for hit in seat.strike.hits:
                _, role, shape = hit
                decided = pair.call.decides(organization, role)
                may |= decided | pair.call.touches(organization, role)
                if hit in hits and shape not in pair.behaviour.harmless:
                    must |= decided
                if pair.behaviour.reach != "call" and role:
                    may |= set(organization.checks)
                if pair.behaviour.moves and pair.call.moves:
                    # Until a person has looked into it nothing is asked to be created there, not even on a sentinel.
                    may |= {key for key in organization.checks if key[1] == "repo.create"}
        calm = seat.state == "well" or (seat.state == "struck" and full)
        for key, r in results.items():
            access, right = r["access"], organization.truth(key)
            clean &= access == right
            if r["reason"] not in REASONS.get(access, ()):
                self.wrong(f"{key}: {r['reason']!r} is no reason of {access!r}", pair)
            if access not in (right, UNDETERMINED):
                self.wrong(f"{key}: {access} ({r['reason']}), though {right} is right", pair)
            elif access != UNDETERMINED and key in must and full:
                self.wrong(f"{key}: {access}, though its answer was spoilt", pair)
            elif access == UNDETERMINED and key not in must | may and calm and full:
                if lag > LATE or (BUSY and r["reason"] in ("timeout", "network")):
                    self.unjudged += 1
                elif key[1] == "repo.create" and r["reason"] == "network" and not self.heard(organization, key, r):
                    self.late.append(f"{key}: {r['duration_ms']} ms")
                else:
                    self.wrong(f"{key}: undetermined ({r['reason']}), though nothing that it stands on was struck", pair)
            if access == UNDETERMINED:
                self.reasons[r["reason"]] += 1
            if key in must and full:
                self.outcomes["undetermined" if access == UNDETERMINED else "wrong"] += 1
            elif key in may:
                self.outcomes["either: " + ("undetermined" if access == UNDETERMINED else "right")] += 1
            else:
                self.outcomes["untouched"] += 1
        return clean

    def heard(self, organization, key, result):
        """Whether the Hub heard this creation while its check went on."""
        kind, until = "dataset" if key[2] == "dataset" else "model", instant(result["observed_at"]) + 0.1
        since = until - result["duration_ms"] / 1000 - 0.2
        return any(who == (organization.name, key[0], kind) and since <= when <= until for when, who in self.hub.creations)

    def begun_well(self, seat, findings):
        organization = seat.organization
        listed = {(kind, target) for kind, _, _, target in findings if kind in LISTED}
        return {f for f in findings if f[0] in DRIFT} == organization.drifts() and listed == organization.findings()

    def judge_findings(self, seat, findings):
        """What lasts must go on, and nothing may begin."""
        organization, pair = seat.organization, seat.pair
        drift = {f for f in findings if f[0] in DRIFT}
        strange = drift - organization.drifts()
        if strange:
            self.wrong(f"findings that should not be: {sorted(map(str, strange))[:3]}", pair)
        if not seat.settled:
            return
        if drift != organization.drifts():
            self.wrong(f"findings are over: {sorted(map(str, organization.drifts() - drift))[:3]}", pair)
        listed = {(kind, target) for kind, _, _, target in findings if kind in LISTED}
        if listed != organization.findings():
            self.wrong(f"of the inventory: {listed ^ organization.findings()}", pair)
        if pair and (pair.behaviour.family == "lie" or pair.call.name.startswith("whoami")):
            return
        begun = {f for f in findings - seat.base if f[0] in TOLD | JUDGED}
        over = {f for f in seat.base - findings if f[0] in TOLD | JUDGED}
        if begun or over:
            self.wrong(f"begun: {sorted(map(str, begun))[:3]}; over: {sorted(map(str, over))[:3]}", pair)

    # -- striking and healing --------------------------------------------------------------------------------------
    def strike_next(self, seat):
        queue = self.queues[seat.organization.kind]
        if not queue:
            return
        pair = queue.popleft()
        if pair.call.fresh:
            # It is for somebody of whom nothing is known yet: this one makes room.
            self.seats.remove(seat)
            seat = self.seat(seat.organization.kind)
            self.changed = True
        self.strike(seat, pair)

    def strike(self, seat, pair):
        seat.pair, seat.strike = pair, Strike(pair.call.name, pair.behaviour, pair.call.lost, pair.call.times)
        seat.become("struck")
        self.hub.do(lambda: self.hub.strikes.__setitem__(seat.organization.name, seat.strike))

    def follows(self, seat):
        """Whether the next pair of this seat may come at once: the round that shows it shows, too, that this one is over."""
        queue, pair = self.queues[seat.organization.kind], seat.pair
        if not queue or seat.organization.kind not in "rsn" or pair.call.fresh or pair.behaviour.reach != "call":
            return False
        after, everybody = queue[0].call, set(seat.organization.checks)
        decided = set().union(*(of(seat.organization, role) for of in (after.decides, after.touches) for role in ("can", "cannot")))
        return not after.fresh and after.name != pair.call.name and decided != everybody

    def heal(self, seat):
        self.hub.do(lambda: self.hub.strikes.pop(seat.organization.name, None))
        # Whoever did not sign has no window of his own; else what the Hub said holds on.
        lasts = seat.pair.behaviour.lasts and any(role for _, role, _ in seat.strike.hits)
        seat.left = seat.pair.behaviour.moves and seat.pair.call.moves
        seat.become("leaving" if lasts or seat.left else "ailing")

    @staticmethod
    def open_questions(seat, results):
        return [(key, r["access"], r["reason"]) for key, r in results.items() if r["access"] != seat.organization.truth(key)]

    def convalesce(self, seat, clean, findings, results):
        organization, within = seat.organization, VISITED_WITHIN if seat.pair and seat.pair.call.moves else RECOVERS_WITHIN
        late = time.time() - seat.since > within
        kinds = {kind for kind, *_ in findings}
        if seat.state == "leaving":
            told = "canary_left" in kinds or not organization.canaries
            if seat.left and not told and late:
                self.wrong("a canary is left, and nobody is told", seat.pair)
            if not seat.left and organization.canaries and late:
                self.wrong(f"canaries are left: {list(organization.canaries)[:2]}", seat.pair)
            if late or (told if seat.left else not organization.canaries):
                self.seats.remove(seat)
                self.seat(organization.kind)
                self.changed = True
            return
        ill = kinds & {"blind", "token_unusable", "canary_left", "state_reset"}
        if clean and not organization.canaries and not ill and self.begun_well(seat, findings):
            if not seat.settled:
                seat.base, seat.settled = frozenset(findings), True
            seat.pair = seat.strike = None
            seat.become("well")
        elif late:
            # What the Hub refused to delete is left and told; after some looks the next one is minutes away.
            refused = seat.pair and seat.pair.behaviour.family == "4xx" and seat.pair.call.name.startswith("delete")
            if not (refused and organization.canaries and ill == {"canary_left"}):
                self.wrong(f"not as before after {within} s: {ill or ''} canaries {list(organization.canaries)[:2]} "
                       f"{self.open_questions(seat, results)[:3]}", seat.pair)
            self.seats.remove(seat)
            self.seat(organization.kind)
            self.changed = True

    changed = False

    def replace(self):
        """New organizations take the places of those that left."""
        if self.changed:
            self.changed = False
            self.configure()
            self.daemon.reload()


def instant(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()

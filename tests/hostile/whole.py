"""A Hub that is hostile in every call at once: to nothing that it says may anybody listen.

Strikes all calls of a small world together, in one daemon that serves: connections that are refused, dropped or never
read, one and the same answer to everything, and every behaviour of the zoo.  Nothing may be concluded, no finding
begins or ends but that the Hub cannot be reached, and afterwards all is as before.  Serves run.py.
"""

import time

import zoo_content  # noqa: F401  (registers)
import zoo_lies  # noqa: F401  (registers)
from bench import BUSY, NEVER, REASONS, TIMEOUT, Broken, Daemon, Files, free_port
from judge import late
from pairs import DRIFT, LATE
from server import Hub, Strike
from world import OK, UNDETERMINED, Organization, now, refuses, says
from zoo import Behaviour, written

# Refused, dropped and never heard: what happens before any request is read.
CONNECTIONS = ("refused", "closed at once", "reset at once", "never read", "an answer before the question")
BEFORE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nOK"


def same(name, said):
    """One answer to everything: a Hub of which no single answer is odd."""
    async def act(link, _said, _place):
        await link.send(written(said))
        return True
    return Behaviour(name, "everything", act, frozenset(), frozenset())


YES_AND_NO = [
    same("OK to everything", OK), same("an empty object to everything", says({})), same("an empty list to everything", says([])),
    same("denied to everything", refuses(403, "You don't have the required permissions for this operation")),
    same("no such repository to everything", refuses(404, "Repository not found", "RepoNotFound")),
    same("not signed to everything", refuses(401, "Invalid username or password.")),
    same("exists to everything", refuses(409, "You already created this model repo")),
    same("a new repository to everything", says({"url": "x", "name": "x/y", "id": "0" * 24})),
]


class Everything(Strike):
    def meets(self, _call):
        return True


class Whole:
    def __init__(self, say=print):
        self.say, self.violations, self.run, self.planned = say, [], 0, 0

    def go(self, behaviours):
        """Every one of these that ends when it is over, after what happens before any request."""
        behaviours = [b for b in behaviours if not (b.lasts or b.moves or b.latches)]
        self.planned = len(CONNECTIONS) + len(YES_AND_NO) + len(behaviours)
        try:
            self.each(behaviours)
        except Exception as error:  # whatever it is, the pairs are still to be seen
            self.violations.append(f"everything: broke: {error!r}"[:1500])

    def each(self, behaviours):
        with Hub() as hub, Files() as files:
            self.hub, self.reader, self.maker = hub, Organization("r0000"), Organization("m0000")
            self.organizations = [self.reader, self.maker]
            for organization in self.organizations:
                hub.add(organization)
            port = free_port()
            config = files.config(self.organizations, hub.url, port=port, schedule=NEVER)
            with Daemon(files, config, port) as self.daemon:
                self.daemon.until(self.right, 20, "answers right while the Hub is honest")
                for name in CONNECTIONS:
                    self.rest()
                    self.one(name, lambda name=name: self.connect(name), self.reconnect, self.organizations,
                             must=name != "an answer before the question", unreachable=name != "an answer before the question")
                for behaviour in YES_AND_NO:
                    self.rest()
                    self.one(behaviour.name, lambda b=behaviour: self.strike(b, self.organizations), self.spare,
                             self.organizations, must=True)
                # From here on only one organization is struck, and the other must not notice.
                for behaviour in behaviours:
                    # The overview decides whether any answer counts; a lie of another shape may let it pass.
                    must = "overview" not in behaviour.harmless | behaviour.never
                    self.one(behaviour.name, lambda b=behaviour: self.strike(b, [self.reader]), self.spare, [self.reader], must)
                self.violations += self.daemon.complaints()
            self.violations += [f"on the Hub: {what}" for what in hub.violations]
            self.violations += [f"on the Hub: {what}" for organization in self.organizations for what in organization.wrong]

    # -- what is done ----------------------------------------------------------------------------------------------
    def connect(self, name):
        hub = self.hub

        def meet(link):
            if name == "closed at once":
                link.end()
            elif name == "reset at once":
                link.reset()
            elif name == "never read":
                link.transport.pause_reading()
            else:
                link.transport.write(BEFORE)
        if name == "refused":
            hub.server.close()
        hub.whole = meet
        self.hang_up()

    def reconnect(self):
        self.hub.whole = None
        self.hang_up()
        if not self.hub.server.is_serving():
            self.hub.loop.create_task(self.hub.listen())

    def hang_up(self):
        for link in list(self.hub.links):
            link.reset()

    def strike(self, behaviour, organizations):
        for organization in organizations:
            self.hub.strikes[organization.name] = Everything("*", behaviour)

    def spare(self):
        self.hub.strikes.clear()

    @staticmethod
    def rest():
        """Until the canaries of the round before are proven gone: what is looked at then may be struck, too."""
        time.sleep(1.5)

    # -- what comes of it ------------------------------------------------------------------------------------------
    def one(self, name, begin, end, struck, must, unreachable=False):
        self.hub.spans, self.hub.lag, made = [], 0.0, self.maker.creations
        self.hub.do(begin)
        results, findings = self.round()
        self.hub.do(end)
        self.run += 1

        def wrong(what):
            self.violations.append(f"everything × {name}: {what}")
        for organization in self.organizations:
            for key in organization.checks:
                r, right = results[key], organization.truth(key)
                if r["access"] not in (right, UNDETERMINED):
                    wrong(f"{key}: {r['access']}, though {right} is right")
                elif must and organization in struck and r["access"] != UNDETERMINED:
                    wrong(f"{key}: {r['access']}, though nothing was answered")
                elif organization not in struck and r["access"] == UNDETERMINED and self.hub.lag < LATE and not BUSY:
                    wrong(f"{key}: undetermined ({r['reason']}), though nothing of it was struck")
                if r["reason"] not in REASONS[r["access"]]:
                    wrong(f"{key}: {r['reason']!r} is no reason of {r['access']}")
        if must and self.maker in struck and self.maker.creations != made:
            wrong("something was created")
        if {f for f in findings if f[1] in DRIFT} != self.drifts():
            wrong("findings begin or end")
        told = sum(kind == "hub_unreachable" for _, kind, *_ in findings)
        if told > 1 or (unreachable and not told):
            wrong(f"hub_unreachable stands {told} times")
        self.violations += late(self.hub.spans, TIMEOUT, self.hub.lag)
        self.daemon.until(self.right, 60, f"is as before after: everything × {name}")

    def round(self):
        """One round of all tokens, at once; what is known after it."""
        asked, end = now(), time.monotonic() + 60
        for organization in self.organizations:
            for role in ("can", "cannot"):
                self.daemon.get(f"/-/probe?token={organization.tokens[role]}", "POST")
        while time.monotonic() < end:
            report = (self.daemon.finished() or {}).get("results")
            # The first token may have been alone in a round; the others are in the next one then.
            if report and min(r["observed_at"] for r in report) >= asked:
                break
            time.sleep(0.03)
        else:
            raise Broken(f"a round did not end within 60 s\n{self.daemon.tail()}")
        findings = self.daemon.json("/api/v1/findings")["findings"]
        return {(r["token"], r["permission"], r["target"]): r for r in report}, {
            (f["organization"], f["kind"], f.get("token"), f.get("permission"), f.get("target"))
            for f in findings if f.get("resolved_at") is None}

    def drifts(self):
        return {(o.name, kind, *key) for o in self.organizations for kind, *key in o.drifts()}

    def right(self):
        results, findings = self.round()
        answered = all(results[key]["access"] == o.truth(key) for o in self.organizations for key in o.checks)
        gone = not any(o.canaries for o in self.organizations)
        ill = {kind for _, kind, *_ in findings} & {"hub_unreachable", "blind", "canary_left"}
        return answered and gone and not ill and {f for f in findings if f[1] in DRIFT} == self.drifts()

"""What the Hub's own record and the journal say of a case that is over, held against what may never happen.

Knows the canary protocol's promises as they show from outside: one POST for a name, none without an intent, no
DELETE that is not of ours, looked at first and alone within the horizon, nothing left, a journal that tells one
story.  Knows nothing of how a case came about.  Serves every case of this directory.
"""

import datetime
import sqlite3

from bench import PREFIX

JITTER = 0.05                       # between what the daemon's clock and what the Hub's says of one moment
SEND_WITHIN = 2.0                   # from a durable decision, or a look, to the request that stands on it
LATE = 0.5                          # until the Hub has taken note of it, on a busy machine
OVER = (401, 403, 404)              # a DELETE so answered cannot land any more


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Journal:
    """The store as it lies there."""

    def __init__(self, path):
        base = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        base.row_factory = sqlite3.Row
        try:
            self.sound = [row[0] for row in base.execute("PRAGMA integrity_check")] == ["ok"]
            self.canaries = {f"{c['namespace']}/{c['name']}": dict(c) for c in base.execute("SELECT * FROM canaries")}
            self.attempts = [dict(a) for a in base.execute("SELECT * FROM attempts ORDER BY canary, seq")]
            self.alerts = [f["kind"] for f in base.execute("SELECT kind FROM findings WHERE resolved_at IS NULL")]
            self.steps = [dict(t) for t in base.execute("SELECT * FROM transitions ORDER BY canary, seq")]
        finally:
            base.close()

    def of(self, rows, name):
        return [row for row in rows if row["canary"] == self.canaries[name]["id"]]

    def wrong(self):
        """Where the log of transitions and the rows tell two stories."""
        if not self.sound:
            yield "the journal's file is damaged"
        for name, canary in self.canaries.items():
            steps, state = self.of(self.steps, name), None
            for number, step in enumerate(steps):
                if (step["seq"], step["from_state"]) != (number, state):
                    yield f"transition {step['seq']} of {name} does not follow {state}"
                state = step["to_state"]
            if state != canary["state"]:
                yield f"{name} is {canary['state']}, its transitions end with {state}"


class Record:
    """Everything that is known of one case."""

    def __init__(self, home):
        self.home, self.journal = home, Journal(home.store)
        self.requests, self.changes, self.left = home.requests(), home.changes(), home.repos()
        self.posts = [q for q in self.requests if q["route"] == "create"]
        self.deletes = [q for q in self.requests if q["route"] == "delete" and q["token"] != home.stranger]
        self.ours = {c["id"]: c for c in self.changes if c["kind"] == "created" and c["token"] in home.probed}

    @staticmethod
    def name(request):
        body = request["body"] or {}
        return f"{body.get('organization')}/{body.get('name')}"

    def quarantined(self):
        return [name for name, canary in self.journal.canaries.items() if canary["state"] == "quarantined"]

    def violations(self, asleep=None):
        wrong = [*self.journal.wrong(), *self._leaked(), *self._foreign(), *self._posted(), *self._deleted()]
        return wrong + [*self._stale(asleep)] if asleep else wrong

    def _leaked(self):
        for name, repo in self.left.items():
            if repo["id"] in self.ours and name not in self.quarantined():
                yield f"leaked: {name}"
        if self.quarantined() and "canary_left" not in self.journal.alerts:
            yield f"in quarantine without an alert: {', '.join(self.quarantined())}"

    def _foreign(self):
        """Whatever was changed and was not made by a POST of ours; the stranger may do as he likes."""
        for change in self.changes:
            if change["token"] in (None, self.home.stranger):
                continue
            if change["id"] not in self.ours or change["kind"] not in ("created", "deleted"):
                yield f"{change['kind']} {change['repo']} ({change['id']}) by {change['token']}: not ours"
        for name, repo in self.home.before.items():
            if self.left.get(name) != repo:
                yield f"not as before: {name}"

    def _posted(self):
        names = [self.name(q) for q in self.posts]
        for name in sorted(set(names)):
            if names.count(name) > 1:
                yield f"{names.count(name)} POSTs of {name}"
            if name not in self.journal.canaries:
                yield f"POST without an intent: {name}"
        for post in self.posts:
            if post["token"] not in self.home.probed:
                yield f"POST signed by {post['token']}"
            ours = self.name(post).startswith(f"{self.home.org}/{PREFIX}-")
            if not ours or (post["body"] or {}).get("private") is not True:
                yield f"POST of {post['body']}"

    def _deleted(self):
        names = [self.name(q) for q in self.deletes]
        for name in sorted(set(names)):
            if name not in self.journal.canaries:
                yield f"DELETE of what the journal does not know: {name}"
                continue
            sent = [q for q in self.deletes if self.name(q) == name]
            if len(sent) > len(self.journal.of(self.journal.attempts, name)):
                yield f"more DELETEs than attempts: {name}"
            for first, second in zip(sent, sent[1:]):
                gap = moment(second["at"]) - moment(first["at"])
                if first["status"] not in OVER and gap < self.home.horizon - JITTER:
                    yield f"second DELETE of {name} after {gap:.2f} s, within the horizon"
            for request in sent:
                if self._looked(name, request) is None:
                    yield f"DELETE of {name} without a look at it"

    def _looked(self, name, request):
        """When its description was last given to us before that request."""
        looks = [moment(q["at"]) for q in self.requests
                 if q["seq"] < request["seq"] and q["method"] == "GET" and q["path"].endswith("/" + name)
                 and q["status"] == 200]
        return max(looks, default=None)

    def _stale(self, asleep):
        """What was decided before the process fell asleep, and left only when it woke."""
        sent = {q["seq"] for q in self.requests if q["seq"] <= asleep.last_request}
        for post in self.posts:
            if post["seq"] not in sent and self.name(post) in asleep.journal.canaries:
                yield f"POST of {self.name(post)}, whose intent was durable before the sleep"
        for name in {self.name(q) for q in self.deletes} & self.journal.canaries.keys():
            deletes = [q for q in self.deletes if self.name(q) == name]
            attempts = asleep.journal.of(asleep.journal.attempts, name) if name in asleep.journal.canaries else []
            fresh = len(self.journal.of(self.journal.attempts, name)) - len(attempts)
            after = [q for q in deletes if q["seq"] not in sent]
            if len(after) > fresh:
                yield f"{len(after)} DELETEs of {name} after the sleep, {fresh} of them decided after it"
            for request in after:
                age = moment(request["at"]) - (self._looked(name, request) or 0)
                if age > SEND_WITHIN + LATE:
                    yield f"DELETE of {name} {age:.1f} s after the look at it"


class Asleep:
    """What was known when the process fell asleep."""

    def __init__(self, home):
        self.journal = Journal(home.store)
        self.last_request = max((q["seq"] for q in home.requests()), default=0)

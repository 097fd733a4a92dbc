"""What the record of several replicas is held against, beside what tests/crash/record.py asks of every journal.

Knows what may never happen where several processes share a journal: two that create at a time, more creations than the
budget, a check that nobody answers for longer than a failover takes, a process that ends by itself or tells a secret.
Knows nothing of how it came about.  `controls` spoils a good record, once for each judge: each must then find something.
"""

import copy
from dataclasses import dataclass, field

from record import JITTER, LATE, moment
from replicas import FAILOVER, READ

SLACK = 2.0                         # between an answer and the row that tells of it, on a busy machine


@dataclass
class Watched:
    """What was noted of a case while it went on; times are seconds since 1970."""

    period: float = 2.0
    began: float = 0.0
    ended: float = 0.0
    answers: dict = field(default_factory=dict)     # by token: when its check was answered for certain
    down: list = field(default_factory=list)        # from when to when the database was
    struck: list = field(default_factory=list)      # when whoever led then was hit
    logs: list = field(default_factory=list)        # of each replica, as text
    endings: list = field(default_factory=list)     # of replicas that nobody ended


def epochs(record):
    """Each POST with the number of the holding under which its intent was written, in the order of the Hub."""
    known = record.journal.canaries
    return [(moment(q["at"]), known[record.name(q)]["epoch"], record.name(q)) for q in record.posts if record.name(q) in known]


def two_at_a_time(record):
    """Creations of one holding after another one began."""
    begins = {one["epoch"]: one["at"] for one in record.journal.openings}
    highest = 0
    for at, epoch, name in epochs(record):
        if epoch < highest:
            yield f"POST of {name} under epoch {epoch}, after one under {highest}"
        highest = max(highest, epoch)
        later = [(number, began) for number, began in begins.items() if number > epoch and began + JITTER + LATE < at]
        for number, began in later[:1]:
            yield f"POST of {name} under epoch {epoch}, {at - began:.1f} s after epoch {number} began"
        if epoch not in begins:
            yield f"POST of {name} under epoch {epoch}, of which the record has no opening"


def over_budget(record):
    for token in record.home.probed:
        count = sum(q["token"] == token for q in record.posts)
        if count > record.home.budget:
            yield f"{count} creations of {token}, allowed are {record.home.budget}"


def overlap(spans, start, end):
    return sum(max(0.0, min(end, to) - max(start, since)) for since, to in spans)


def silences(watched):
    """Every time between two answers to a check: token, when it began, how long, and how long it may be."""
    for token, times in watched.answers.items():
        times = [watched.began, *sorted(t for t in times if watched.began < t < watched.ended), watched.ended]
        for start, end in zip(times, times[1:]):
            hits = sum(start - SLACK <= at <= end for at in watched.struck)
            bound = watched.period + FAILOVER * max(1, hits) + overlap(watched.down, start, end) + SLACK
            yield token, start, end - start, bound


def too_long(watched):
    for token, start, long, bound in silences(watched):
        if long > bound:
            yield f"nobody answered {READ} of {token} for {long:.1f} s from second {start - watched.began:.1f} on, bound {bound:.1f} s"


def told_wrong(record, watched):
    yield from watched.endings
    for number, text in enumerate(watched.logs):
        for name, secret in record.home.secrets.items():
            if secret in text:
                yield f"replica {number} told the secret of {name}"
        for word in ("panicked", "Broken pipe", "overflow"):
            if word in text:
                at = text.index(word)
                yield f"replica {number}: {text[max(0, at - 200):at + 300]!r}"


def judged(record, watched=None, asleep=None):
    """All that is wrong."""
    wrong = [*record.violations(asleep), *two_at_a_time(record), *over_budget(record)]
    if watched:
        wrong += [*too_long(watched), *told_wrong(record, watched)]
    return wrong


def controls(record, watched):
    """(what is spoilt, what a judge says of it): nothing said is a judge that cannot fail."""
    def spoilt(name, act):
        bad, seen = copy.copy(record), copy.deepcopy(watched)
        bad.posts, bad.journal, bad.home = list(record.posts), copy.copy(record.journal), copy.copy(record.home)
        bad.journal.canaries = dict(record.journal.canaries)
        act(bad, seen)
        before = set(judged(record, watched))
        return name, [one for one in judged(bad, seen) if one not in before]

    def early(bad, _):  # as if the last creation had been decided by the first holder
        name = bad.name(bad.posts[-1])
        bad.journal.canaries[name] = dict(bad.journal.canaries[name], epoch=min(e for _, e, _ in epochs(bad)))

    def hushed(_, seen):
        token = next(iter(seen.answers))
        seen.answers[token] = [t for t in seen.answers[token] if t < seen.began + 1]
        seen.struck, seen.down, seen.ended = [], [], max(seen.ended, seen.began + 60)

    def lower(bad, _):
        bad.home.budget = max(sum(q["token"] == t for q in bad.posts) for t in bad.home.probed) - 1

    yield spoilt("a POST twice", lambda bad, _: bad.posts.append(bad.posts[0]))
    yield spoilt("a POST without its intent", lambda bad, _: bad.journal.canaries.pop(bad.name(bad.posts[0])))
    if len({e for _, e, _ in epochs(record)}) > 1:
        yield spoilt("two that create at a time", early)
    yield spoilt("a budget that is one less", lower)
    yield spoilt("a check without answers", hushed)
    yield spoilt("a secret in a log", lambda bad, seen: seen.logs.append(next(iter(bad.home.secrets.values()))))
    yield spoilt("a panic", lambda _, seen: seen.logs.append("thread 'main' panicked at src/main.rs"))

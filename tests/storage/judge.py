"""The judge: what a history may never show, whatever became of the store.

Knows the promises about canaries (one intent, one POST; nobody else's repository; nothing left) and the shape of the
simulated Hub's record; knows nothing of faults or processes.  Serves every test beside it, and convicts itself: the
histories in `planted` must each go red.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime

from bench import HORIZON, PREFIX, Journal

# An answer by which a DELETE is over: another may follow at once.
OVER = (401, 403, 404)
# Clocks are one and the same here; the record is written a moment after the intent.
LATE = 0.05


@dataclass
class History:
    """One organization from beginning to end."""

    sent: list                                  # creations and deletions as the Hub heard them
    changes: list                               # what they did
    journal: Journal
    standing: dict = field(default_factory=dict)    # repositories at the end, by name
    ours: dict = field(default_factory=dict)    # what is ours from before the record begins: ids, and their names
    lost: bool = False                          # the journal was taken away: what it says proves nothing
    told: frozenset = frozenset()               # names that the program itself says it has left


def seconds(stamp):
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def full_name(request):
    return f"{request['body'].get('organization')}/{request['body'].get('name')}"


def judge(history):
    """Every way in which it breaks a promise; empty when it breaks none."""
    return [*foreign(history), *posts(history), *deletions(history), *leaks(history)]


def foreign(history):
    """Nothing is removed but what our own creation made, and nothing else is changed."""
    ours, seen = dict(history.ours), []
    for change in history.changes:
        if change["request"] is None:
            continue
        ours_by_name = change["repo"].split("/")[-1].startswith(PREFIX + "-")
        if change["kind"] == "created" and ours_by_name:
            ours[change["id"]] = change["repo"]
        elif change["kind"] != "deleted":
            seen.append(f"{change['kind']} {change['repo']}, which is no canary")
        elif ours.get(change["id"]) != change["repo"]:
            seen.append(f"WRONG DELETE: {change['repo']} ({change['id']}) was somebody else's")
    return seen


def posts(history):
    seen, names = [], {}
    for request in history.sent:
        if request["route"] != "create":
            continue
        name = full_name(request)
        names[name] = names.get(name, 0) + 1
        intent = history.journal.canaries.get(name)
        if history.lost:
            continue
        if intent is None:
            seen.append(f"POST without an intent in the store: {name}")
        elif not isinstance(intent["planned_at"], int) or intent["planned_at"] / 1000 > seconds(request["at"]) + LATE:
            seen.append(f"the POST of {name} is older than its intent")
        if request["body"].get("private") is not True:
            seen.append(f"the POST of {name} does not say private")
    return seen + [f"{count} POSTs of {name}" for name, count in names.items() if count > 1]


def deletions(history):
    seen, by_name = [], {}
    for request in history.sent:
        if request["route"] == "delete":
            by_name.setdefault(full_name(request), []).append(request)
    for name, sent in by_name.items():
        attempts = history.journal.canaries.get(name, {}).get("attempts", 0)
        if attempts < len(sent) and not history.lost:
            seen.append(f"{len(sent)} DELETEs of {name}, {attempts} attempts in the store")
        for before, after in zip(sent, sent[1:]):
            gap = seconds(after["at"]) - seconds(before["at"])
            if before["status"] not in OVER and gap < HORIZON - LATE:
                seen.append(f"a second DELETE of {name} {gap:.2f} s after one that may still take effect")
    return seen


def leaks(history):
    left = [name for name, repo in history.standing.items()
            if repo["origin"] == "created" or repo["id"] in history.ours]
    return [f"left on the Hub, and not told of: {name}" for name in left if name not in history.told]


# -- histories that must go red ----------------------------------------------------------------------------------

def _request(route, name, second, status=200, **body):
    organization, short = name.split("/")
    return {"route": route, "status": status, "at": f"2026-01-01T00:00:{second:06.3f}Z",
            "body": {"organization": organization, "name": short, "private": True, **body}}


def _change(kind, name, identity, request=1):
    return {"kind": kind, "repo": name, "id": identity, "request": request}


def _sound():
    name = f"acme/{PREFIX}-x"
    planned = int(seconds("2026-01-01T00:00:01Z") * 1000)
    return History(
        sent=[_request("create", name, 1.01), _request("delete", name, 1.1)],
        changes=[_change("created", name, "a"), _change("deleted", name, "a")],
        journal=Journal("ok", {name: {"planned_at": planned, "attempts": 1, "state": "gone", "id": 1, "repo_id": "a"}}))


def planted():
    """(name, whether the judge convicts it), and that it lets the sound one go."""
    sound = _sound()
    name = f"acme/{PREFIX}-x"
    row = sound.journal.canaries[name]
    twice = [*sound.sent, _request("delete", name, 1.3)]
    standing = {name: {"origin": "created", "id": "a"}}
    cases = {
        "judge: a foreign deletion": replace(sound, changes=[*sound.changes, _change("deleted", "acme/precious", "b")]),
        "judge: a squatter's deletion": replace(sound, changes=[*sound.changes, _change("deleted", name, "b")]),
        "judge: another name's deletion": replace(sound, changes=[
            *sound.changes, _change("deleted", "acme/precious", "a")]),
        "judge: another's repository changed": replace(sound, changes=[_change("moved", "acme/precious", "b")]),
        "judge: a second POST": replace(sound, sent=[*sound.sent, _request("create", name, 9)]),
        "judge: a POST without intent": replace(sound, journal=Journal("ok", {})),
        "judge: a POST before its intent": replace(sound, sent=[_request("create", name, 0.5)]),
        "judge: a public POST": replace(sound, sent=[_request("create", name, 1.01, private=False)]),
        "judge: a DELETE without its attempt": replace(sound, journal=Journal("ok", {name: {**row, "attempts": 0}})),
        "judge: a DELETE within the horizon": replace(
            sound, sent=twice, journal=Journal("ok", {name: {**row, "attempts": 2}})),
        "judge: a leak": replace(sound, standing=standing),
    }
    found = {case: bool(judge(history)) for case, history in cases.items()}
    found["judge: a sound history goes free"] = not judge(sound)
    return found

"""Replicas that wait send what the leader has no room for: the same is found, by whoever sends; none of it is lost when one of
them dies; one whose config differs sends nothing, and the leader says that it is there; no secret comes to lie in the database.
"""

import json
import re

import judge
from cases import Case, Outcome
from replicas import OFTEN, READ, Database, Shared, SharedRecord, asked, wait_until

USERS, SLOW = 10, 150              # tokens; milliseconds until the Hub answers
HELD = "SELECT count(*) FROM errands WHERE helper IS NOT NULL AND answer IS NULL"
FORGED = """INSERT INTO errands (epoch, number, likeness, request, offered_at)
SELECT epoch, {number} + row_number() OVER (), likeness, '{request}', clock_timestamp()
FROM leases, (SELECT DISTINCT likeness FROM helpers) AS every WHERE resource = 'writer'"""
CARRIED = 25                        # errands until something is struck, and again until it is judged


def number(page, series):
    """The value of a series, 0 where it is not told."""
    found = re.search(rf"^scopewatch_{re.escape(series)} ([\d.]+)$", page, re.MULTILINE)
    return float(found[1]) if found else 0.0


def errands(one, outcome):
    return number(one.get("/metrics"), f'errands_total{{outcome="{outcome}"}}')


def undetermined(page):
    """How many answers of the check that only reads were none, and why."""
    pattern = rf'^scopewatch_probes_total{{permission="{READ}",access="undetermined",reason="(\w+)"}} (\d+)$'
    return {reason: int(count) for reason, count in re.findall(pattern, page, re.MULTILINE) if int(count)}


def lies_in(server, words):
    """Which of these words stand in any file of the server: tables, what was overwritten in them, and its log of writes."""
    found, wanted = set(), {word.encode() for word in words}
    for path in server.data.rglob("*"):
        if path.is_file():
            text = path.read_bytes()
            found |= {word.decode() for word in wanted if word in text}
    return found


class Share(Case):
    row, weight = "replicas/share", 3
    home = {"users": USERS, "schedule": OFTEN, "room": 1, "slow": SLOW}

    def __init__(self):
        self.name, self.controls = "replicas that wait send for the leader", []

    def play(self, hub, keep=False):
        database = Database()
        home = Shared(hub, database, budget=1, **self.home)
        try:
            wrong, figures = self.act(home, database)
            wrong += home.stop_all()
            logs = [one.log.read_text("utf-8", "replace") for one in home.replicas]
            record = SharedRecord(home)
            wrong += [*judge.judged(record), *judge.told_wrong(record, judge.Watched(logs=logs))]
            return Outcome(wrong, created=len(record.ours), figures=figures)
        finally:
            if not keep:
                home.close()
            database.close()

    def odd_one(self, home):
        """A replica whose config asks something else."""
        config = json.loads(home.config.read_text())
        config["tokens"][0]["expect"].pop()
        path = home.dir / "odd.yaml"
        path.write_text(json.dumps(config))
        one = home.replica()
        one.kill()
        one.config = path
        one.start()
        return one

    def act(self, home, database):
        leader = home.replica()
        wait_until(leader.leads, 30, "it leads")
        alone = errands(leader, "answered")
        helpers = [home.replica(), home.replica()]
        odd = self.odd_one(home)
        wait_until(lambda: errands(leader, "answered") >= CARRIED, 60, "others send for the leader")
        self.controls = [("nobody helps", ["nothing was sent by others"] if not alone else [])]
        wait_until(lambda: asked(database.server, home.name, HELD) != "0", 60, "somebody holds an errand")
        for one in helpers:
            one.kill()
        wait_until(lambda: errands(leader, "returned") >= 1, 30, "what they held comes back")
        helper, before = home.replica(), errands(leader, "answered")
        wait_until(lambda: errands(leader, "answered") >= before + CARRIED, 60, "the next one goes on")
        wrong = self.told(leader, helper, odd)
        wrong += [f"the secret of {name} lies in the database" for name in self.lies(home, database)]
        wrong += self.forged(home, database, leader)
        figures = f"{self.answered:.0f} answered by others, {self.returned:.0f} returned; {errands(helper, 'carried'):.0f} carried by the last"
        return wrong, figures

    def told(self, leader, helper, odd):
        """What the pages say while the leader leads."""
        wait_until(lambda: number(leader.get("/metrics"), 'replicas_waiting{config="same"}') == 1, 20, "the dead one is not counted")
        page = leader.get("/metrics")
        self.answered, self.returned = errands(leader, "answered"), errands(leader, "returned")
        wrong = [f"answers that are none: {found}"] if (found := undetermined(page)) else []
        if (count := number(page, 'replicas_waiting{config="other"}')) != 1:
            wrong.append(f"{count:.0f} replicas with another config are told, there is one")
        if not errands(helper, "carried"):
            wrong.append("the helper says that it carried nothing")
        if errands(odd, "carried"):
            wrong.append("one with another config carried errands")
        return wrong

    def forged(self, home, database, leader):
        """Whoever writes to the database lets nobody send: what has no seal is declined."""
        number = 10**9
        request = json.dumps({"verb": "GET", "route": "/api/{type}/{namespace}/{repo}", "path": f"/api/models/{home.org}/forged", "token": None})
        asked(database.server, home.name, FORGED.format(number=number, request=request))
        left = f"SELECT count(*) FROM errands WHERE number >= {number}"
        wait_until(lambda: asked(database.server, home.name, left) == "0", 20, "what was forged is taken out")
        sent = [q["path"] for q in home.requests() if "forged" in q["path"]]
        return [f"it sent what somebody wrote into the database: {sent}"] if sent else []

    def lies(self, home, database):
        everything = {**home.secrets, "(planted)": "user-" + home.probed[0]}
        found = lies_in(database.server, everything.values())
        self.controls.append(("a word that lies in the database", [word for word in found if word == everything["(planted)"]]))
        return [name for name, secret in home.secrets.items() if secret in found]

"""A store that is not the one it was: restored, emptied, removed, edited, or put together from two times.

`python3 tests/storage/copies.py [--long]`.  Beforehand the program was killed with a canary open, in each of three
states.  Afterwards it cleans up, or refuses with a sentence, or tells what it no longer knows; it deletes nothing that
is not its own and sends no name a second time.  In every organization stand repositories that bear the prefix and are
somebody else's.
"""

import argparse
import concurrent.futures
import contextlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field

from bench import PREFIX, SETTLED, STANDIN, Broken, Home, Hub, Tally, has_command, main, memory, wait_until, world_of
from judge import History, foreign, posts

STATES = {
    # state: the fault that holds it there, and the call after which it stands so
    "planned": ({"route": "create", "kind": "hang", "apply": "after"}, "create"),
    "created": ({"route": "read", "kind": "hang"}, "read"),
    "deleting": ({"route": "delete", "kind": "hang", "apply": "before"}, "delete"),
}
AGAIN = "planted-again"
# What the program says of what it found and may not touch.
TOLD = ("is not in the journal", "quarantine", "latched off")


@dataclass
class Case:
    tamper: str
    state: str
    org: str
    home: Home = None
    name: str = ""
    outcome: str = ""
    notes: list = field(default_factory=list)
    said: str = ""

    @property
    def kind(self):
        return globals()[self.tamper.replace(" ", "_")]

    def __str__(self):
        return f"{self.tamper}, {self.state} ({self.org})"


# -- what is done to a store -------------------------------------------------------------------------------------
# Each takes the case and the folder that holds the store as it was before the open canary was planned.

def edit(case, *statements):
    """By somebody with sqlite3, who does not mind triggers."""
    store = sqlite3.connect(case.home.db, isolation_level=None)
    store.execute("PRAGMA foreign_keys = OFF")
    for (trigger,) in store.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        store.execute(f'DROP TRIGGER "{trigger}"')
    for statement in statements:
        store.execute(statement, {"name": case.name.split("/")[1]} if ":name" in statement else {})
    store.close()


def restore(case, old, only=()):
    for path in case.home.files():
        if not only or path.name in only:
            path.unlink()
    for path in old.iterdir():
        if not only or path.name in only:
            shutil.copyfile(path, case.home.store_dir / path.name)


def store_files(case):
    return [path for path in case.home.files() if path.name.startswith("state.db") and not path.name.endswith(".lock")]


LOG = ("state.db", "state.db-wal", "state.db-shm")
ONE = "(SELECT id FROM canaries WHERE name = :name)"


def a_copy_of_before(case, old):
    restore(case, old)


def a_copy_of_before_but_its_neighbours(case, old):
    """Only what SQLite owns is brought back; what the program keeps beside it stays."""
    restore(case, old, LOG)


def emptied(case, old):
    for path in store_files(case):
        path.write_bytes(b"")


def the_file_removed(case, old):
    for path in case.home.files():
        if path.name in LOG:
            path.unlink()


def all_but_the_key_removed(case, old):
    for path in case.home.files():
        if path.name != "state.key":
            path.unlink()


def everything_removed(case, old):
    for path in case.home.files():
        path.unlink()


def the_log_removed(case, old):
    (case.home.store_dir / "state.db-wal").unlink()
    (case.home.store_dir / "state.db-shm").unlink(missing_ok=True)


def the_log_cut(case, old):
    path = case.home.store_dir / "state.db-wal"
    with open(path, "r+b") as log:
        log.truncate(path.stat().st_size // 2)


def a_log_of_another_time(case, old):
    shutil.copyfile(old.parent / "log-of-before", case.home.store_dir / "state.db-wal")
    (case.home.store_dir / "state.db-shm").unlink(missing_ok=True)


def a_file_of_before_with_the_log_of_now(case, old):
    restore(case, old, ("state.db",))


def the_key_removed(case, old):
    (case.home.store_dir / "state.key").unlink()


def its_row_deleted(case, old):
    edit(case, *(f"DELETE FROM {table} WHERE canary = {ONE}" for table in ("attempts", "sightings", "transitions")),
         "DELETE FROM canaries WHERE name = :name")


def every_row_deleted(case, old):
    edit(case, *(f"DELETE FROM {table}" for table in ("attempts", "sightings", "transitions", "canaries", "creations")))


def its_row_says_gone(case, old):
    edit(case, "UPDATE canaries SET state = 'gone', next_at = NULL WHERE name = :name")


def its_attempts_deleted(case, old):
    edit(case, f"DELETE FROM attempts WHERE canary = {ONE}")


def an_entry_changed(case, old):
    edit(case, "UPDATE evidence SET at = at - 60000 WHERE seq = 3")


def an_entry_deleted(case, old):
    edit(case, "DELETE FROM evidence WHERE seq = 3")


def the_last_entry_deleted(case, old):
    edit(case, "DELETE FROM evidence WHERE seq = (SELECT max(seq) FROM evidence)")


def its_row_points_at_somebody_elses(case, old):
    edit(case, f"UPDATE canaries SET name = 'precious', repo_id = '{case.precious}', owner = NULL, state = 'created' "
               "WHERE name = :name")


def its_row_points_at_a_prefixed_one(case, old):
    edit(case, f"UPDATE canaries SET name = '{PREFIX}-of-somebody', repo_id = '{case.prefixed}', owner = NULL, "
               "state = 'created' WHERE name = :name")


def emptied_and_unlatched_first(case, old):
    """The first to open what is left is a command that makes no finding: it must say so itself."""
    emptied(case, old)
    case.home.write_config(case.hub_url)
    case.said += case.home.run("canaries", "unlatch").out


TAMPERS = [a_copy_of_before, a_copy_of_before_but_its_neighbours, emptied, the_file_removed, all_but_the_key_removed,
           everything_removed, the_log_removed, the_log_cut, a_log_of_another_time, a_file_of_before_with_the_log_of_now,
           the_key_removed, its_row_deleted, every_row_deleted, its_row_says_gone, its_attempts_deleted, an_entry_changed,
           an_entry_deleted, the_last_entry_deleted, its_row_points_at_somebody_elses, its_row_points_at_a_prefixed_one,
           emptied_and_unlatched_first]
# Here the program knows that it does not know: the finding `state_reset`.
LOST = (a_copy_of_before_but_its_neighbours, emptied, emptied_and_unlatched_first, the_file_removed, all_but_the_key_removed,
        the_log_removed, the_log_cut, a_log_of_another_time)
# Here nobody could: with the key the signature of the names is gone, and they are somebody else's like any other.
BEYOND = (everything_removed,)
# Edits that a record which claims to be complete must show.
CHAIN = (an_entry_changed, an_entry_deleted, the_last_entry_deleted, its_row_deleted, every_row_deleted, its_row_says_gone,
         its_row_points_at_somebody_elses, its_row_points_at_a_prefixed_one)


class Test:
    def __init__(self, folder, chosen):
        self.folder, self.rounds = folder, 4 if chosen.long else 1
        self.tally = Tally("storage/copies")
        self.evidence = has_command("evidence")

    def world(self, orgs):
        world = world_of(orgs)
        for org, other in zip(orgs, orgs[1:] + orgs[:1]):
            # As like a canary as somebody else's can be: the same user's, private, empty.
            world["repos"][f"{org}/{PREFIX}-of-somebody"] = {"type": "model", "private": True, "author": f"user-{org}"}
            world["repos"][f"{org}/precious"]["author"] = f"user-{org}"
        return world

    # -- beforehand ----------------------------------------------------------------------------------------------
    def past(self, case):
        """A first audit in peace; what it leaves is the copy of before."""
        case.hub_url = self.hub.url
        case.home = Home(self.folder / case.org, self.hub.url, [case.org], hub={"request_timeout": "60s"})
        self.keep_log(case)
        time.sleep(1.1)
        case.home.run("canaries", "sweep")          # proven gone, so that nothing of it is due for an hour
        shutil.copytree(case.home.store_dir, self.folder / case.org / "old")
        case.precious, case.prefixed = (self.repos[f"{case.org}/{name}"]["id"] for name in ("precious", f"{PREFIX}-of-somebody"))

    def keep_log(self, case):
        """An audit in peace, and the log as it was in the middle of it."""
        process, log, size = case.home.start("audit"), case.home.store_dir / "state.db-wal", 0
        while process.poll() is None:
            with contextlib.suppress(FileNotFoundError):    # not there yet, or no more: its end takes it away
                now = log.read_bytes()
                if len(now) > size:
                    size = len(now)
                    (self.folder / case.org / "log-of-before").write_bytes(now)
            time.sleep(0.02)
        process.communicate()
        if not size:
            raise Broken(f"{case}: an audit that writes no log")

    def open_one(self, case):
        """An audit that is killed where the fault holds it."""
        process = case.home.start("audit", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        route = STATES[case.state][1]

        def there():
            heard = self.hub.sim("GET", f"requests?since={self.since}")
            mine = {call["body"]["name"] for call in heard
                    if call["route"] == "create" and call["body"].get("organization") == case.org}
            return any(call["route"] == route and (
                (call["body"] or {}).get("name") in mine or any(name in call["path"] for name in mine)) for call in heard)
        wait_until(there, f"{case} comes as far as its {route}")
        time.sleep(0.4)
        process.send_signal(signal.SIGKILL)
        process.wait()
        standing = [name for name, row in case.home.journal().canaries.items() if row["state"] == case.state]
        if len(standing) != 1:
            raise Broken(f"{case}: the store holds {case.home.journal()}")
        case.name = standing[0]

    # -- afterwards ----------------------------------------------------------------------------------------------
    def go_on(self, case):
        case.kind(case, self.folder / case.org / "old")
        case.home.write_config(self.hub.url)
        tampered = case.home.run("evidence", "verify") if self.evidence else None
        done = [case.home.run("canaries", "sweep"), case.home.run("audit"), case.home.run("audit", "--format", "json")]
        if any(one.code == 1 for one in done):
            time.sleep(SETTLED)
            done += [case.home.run("canaries", "sweep")]
            time.sleep(1.2)
        done += [case.home.run("canaries", "sweep"), case.home.run("canaries", "list")]
        for one in done:
            if one.code not in (0, 1, 2, 3) or "panicked" in one.err:
                case.notes.append(f"ended with {one}")
            case.said += one.out + one.err
        case.refused = all(one.code == 2 for one in done)
        case.findings = self.findings(case)
        if tampered and case.kind in CHAIN and tampered.code not in (1, 2):
            case.notes.append(f"`evidence verify` says nothing of it: {tampered} {tampered.out[-200:]}")
        told = case.kind is emptied_and_unlatched_first and "although there was one" in case.said
        must = case.kind in LOST and not told or self.evidence and case.kind in CHAIN
        if must and not case.refused and "state_reset" not in case.findings:
            case.notes.append(f"no finding state_reset, but {sorted(case.findings)}")

    @staticmethod
    def findings(case):
        """The kinds of finding that the store now holds, and `latched` where a breaker is."""
        with tempfile.TemporaryDirectory(dir=memory()) as folder:
            for path in case.home.files():
                shutil.copyfile(path, f"{folder}/{path.name}")
            try:
                with sqlite3.connect(f"{folder}/state.db") as look:
                    found = {kind for (kind,) in look.execute("SELECT kind FROM findings")}
                    found |= {"latched" for _ in look.execute("SELECT 1 FROM breakers")}
                look.close()
            except sqlite3.Error as error:
                found = {str(error)}
        return found

    def weigh(self, case, record):
        history = History(record.sent[case.org], record.changes[case.org], case.home.journal(), lost=True)
        case.notes += foreign(history) + posts(history)
        left = [name for name, repo in record.repos[case.org].items() if repo["origin"] == "created"]
        told = [word for word in TOLD if word in case.said.lower()]
        if case.refused:
            case.outcome = "refused"
        elif not left:
            case.outcome = "cleaned up" + (" and told" if told else "")
        elif told and ("canary_left" in case.findings or all(name in case.said for name in left)):
            case.outcome = "told"
        elif case.tamper in (kind.__name__.replace("_", " ") for kind in BEYOND):
            case.outcome = "beyond knowing"
        else:
            case.outcome = "silent"
            case.notes.append(f"SILENT LOSS: {left[0]} stands, and nothing is said of it")

    def run(self):
        names = [tamper.__name__.replace("_", " ") for tamper in TAMPERS] * self.rounds
        cases = [Case(name, state, f"org-{number:03d}")
                 for number, (name, state) in enumerate((name, state) for name in names for state in STATES)]
        self.tally.planned = len(cases)
        orgs = [case.org for case in cases]
        cousins = [AGAIN, "cousin-grasping", "cousin-resigned"]
        with Hub(self.world(orgs + cousins), self.folder / "hub") as self.hub, \
                concurrent.futures.ThreadPoolExecutor(6) as few, concurrent.futures.ThreadPoolExecutor(64) as many:
            self.repos = self.hub.world()["repos"]
            list(many.map(self.past, cases))
            self.since = self.hub.last_request()
            held = []
            for case in cases:
                needle = f"/{case.org}/{PREFIX}-" if case.state == "created" else f'"organization":"{case.org}"'
                held.append({**STATES[case.state][0], "contains": needle})
            # What stands in a list of prefixed names is read too: only the canary itself hangs.
            self.hub.faults(held)
            list(few.map(self.open_one, cases))
            self.hub.faults([])
            list(many.map(self.go_on, cases))
            self.controls()
            record = self.hub.record()
        for case in cases:
            self.weigh(case, record)
            self.tally.run += bool(case.outcome)
            for what in case.notes:
                self.tally.violation(case, what)
        by_tamper = {}
        for case in cases:
            by_tamper.setdefault(case.tamper, Counter())[case.outcome] += 1
        for name, counts in by_tamper.items():
            self.tally.note(f"{name}: " + ", ".join(f"{n} {word}" for word, n in counts.most_common()))
        return self.tally.end()

    # -- controls ------------------------------------------------------------------------------------------------
    def controls(self):
        """The program with a defect after a kill, and careless ones after a loss: each must be convicted."""
        case = Case("the control of an old copy", "planned", AGAIN)
        self.past(case)
        self.since = self.hub.last_request()
        self.hub.faults([{**STATES[case.state][0], "contains": f'"organization":"{AGAIN}"'}])
        self.open_one(case)
        self.hub.faults([])
        case.home.write_config(self.hub.url)
        case.home.run("audit", planted="re-POST after crash")
        guilty = posts(History(self.hub.record().sent[AGAIN], [], case.home.journal()))
        self.tally.control("the program, re-POST after crash", any("POSTs of" in what for what in guilty))
        for defect, word in (("grasping", "WRONG DELETE"), ("resigned", "SILENT LOSS")):
            case = Case(defect, "created", f"cousin-{defect}")
            case.home = Home(self.folder / case.org, self.hub.url, [case.org])
            case.home.run("audit")
            if defect == "resigned":
                words = {"name": f"{PREFIX}-left", "organization": case.org, "private": True}
                self.post(case.org, words)
                case.home.db.write_bytes(b"")
            subprocess.run([sys.executable, STANDIN, defect, "--hub", self.hub.url, "--organization", case.org, "--token",
                            f"hf_wide_{case.org}", "--db", str(case.home.db)], stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            case.refused, case.findings = False, set()
            self.weigh(case, self.hub.record())
            self.tally.control(f"a program that is {defect} after a loss", any(word in note for note in case.notes))

    def post(self, org, body):
        request = urllib.request.Request(f"{self.hub.url}/api/repos/create", json.dumps(body).encode(), method="POST", headers={
            "Authorization": f"Bearer hf_wide_{org}", "Content-Type": "application/json"})
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()


def test(folder):
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--long", action="store_true", help="four times each")
    options.add_argument("--keep", action="store_true", help="leave the scratch directory")
    return Test(folder, options.parse_args()).run()


if __name__ == "__main__":
    main(test)

"""A thousand stores with one byte changed: detected or harmless, never a wrong DELETE.

`python3 tests/storage/flips.py [--long] [-j N]`.  One store is made by the program itself, killed in the middle: it holds
canaries in every state.  A copy of it with one byte flipped (database, log, head, key) is given to `canaries sweep` or
`audit`, on a Hub where everything stands as it stood then, and where traps are laid: wherever the changed store names
another repository, or another id, somebody else's stands there.  Before each next copy the Hub is put back.

Many flips are one and the same to whoever reads through SQLite: the byte is in free space or in a superseded page, or it
ends the log before the same commit. Where every row, the schema and the integrity check come to what another flip's came to,
and the key and the head beside are untouched, the program runs on every tenth only, and the outcome is that one's.
"""

import argparse
import concurrent.futures
import hashlib
import queue
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from bench import (PREFIX, STANDIN, Broken, Home, Hub, Tally, environment, main, memory, read_journal, wait_until,
                   world_of)
from judge import History, foreign, posts

FLIPS, LONG_FLIPS = 1_000, 10_000
# Of those that read the same.
EVERY = 10
# Names that differ by one bit lead from one to the next.
STATES = {"acme-a": "deleting", "acme-b": "planned", "acme-c": "unknown", "acme-d": "created", "acme-e": "del_unknown",
          "acme-f": "deleted", "acme-g": "quarantined", "acme-h": "refused"}
ORGS = list(STATES)
OURS_TO_DELETE = ("acme-a", "acme-b", "acme-c", "acme-d", "acme-e")
REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
ID = re.compile(r"[0-9a-f]{24}")
# What the program says when it notices: refusals of the store, and findings about it.
REFUSED = ("damaged", "not a store of scopewatch", "does not understand", "reports errors", "cannot be opened",
           "failed unexpectedly", "has version", "hash chain", "evidence", "record", "does not match", "goes back",
           "shorter than 32 bytes", "contradicts")


def flipped(data, at, mask):
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1:]


class Base:
    """The store that is flipped, in two shapes: as the kill left it (all in the log), and folded into one file."""

    def __init__(self, folder):
        self.folder = folder
        world = world_of(ORGS)
        world["organizations"]["acme-h"]["members"]["user-acme-h"] = "read"
        with Hub(world, folder / "hub") as hub:
            home = Home(folder / "home", hub.url, ORGS)
            self.fill(home, hub)
            self.world = self.snapshot(world, hub.world())
        self.shapes = {"log": folder / "log", "one file": folder / "one-file"}
        for shape in self.shapes.values():
            shutil.copytree(home.store_dir, shape)
            for gone in ("state.db-shm", "state.db.lock"):
                (shape / gone).unlink(missing_ok=True)
        # Its last connection folds the log in.
        with sqlite3.connect(self.shapes["one file"] / "state.db") as store:
            store.execute("SELECT count(*) FROM canaries").fetchone()
        store.close()
        self.journal = read_journal(self.shapes["log"] / "state.db")
        self.check()

    def fill(self, home, hub):
        def body(org):
            return f'"organization":"{org}"'

        # A first life in peace, so that both files have a past.
        home.run("audit")
        time.sleep(1.1)
        home.run("canaries", "sweep")
        # One canary somebody commits to: quarantined.
        home.organizations = ["acme-g"]
        home.write_config(hub.url, hub={"request_timeout": "60s"})
        self.kill(home, hub, [{"route": "read", "kind": "hang", "contains": f"/acme-g/{PREFIX}"}], {"acme-g": "read"})
        name = next(name for name in hub.world()["repos"] if name.startswith(f"acme-g/{PREFIX}"))
        hub.sim("POST", "commits", {"repo": name, "user": "mallory", "file": "model.bin"})
        home.run("canaries", "sweep")
        # And the life that is cut short.
        home.organizations = [org for org in ORGS if org != "acme-g"]
        home.write_config(hub.url, hub={"request_timeout": "60s"})
        hang = [{"route": "delete", "kind": "hang", "contains": body("acme-a")},
                {"route": "create", "kind": "hang", "contains": body("acme-b"), "apply": "after"},
                {"route": "create", "kind": "create_then_drop", "contains": body("acme-c")},
                {"route": "read", "kind": "hang", "contains": f"/acme-c/{PREFIX}"},
                {"route": "read", "kind": "hang", "contains": f"/acme-d/{PREFIX}"},
                {"route": "delete", "kind": "reset", "contains": body("acme-e"), "apply": "before"}]
        self.kill(home, hub, hang, {"acme-a": "delete", "acme-b": "create", "acme-c": "create", "acme-d": "read",
                                    "acme-e": "delete", "acme-f": "delete", "acme-h": "create"})
        home.organizations = ORGS
        home.write_config(hub.url)

    def kill(self, home, hub, faults, until):
        """Runs an audit under these faults and kills it once each organization has come so far."""
        since = hub.last_request()
        hub.faults(faults)
        process = home.start("audit", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def far_enough():
            seen = hub.sim("GET", f"requests?since={since}")
            heard = {(org, call["route"]) for call in seen for org in until
                     if (call["body"] or {}).get("organization") == org or f"/{org}/{PREFIX}" in call["path"]}
            return all(pair in heard for pair in until.items())
        wait_until(far_enough, f"an audit comes as far as {until}")
        time.sleep(0.3)                 # what was answered is written down
        process.send_signal(signal.SIGKILL)
        process.wait()
        hub.faults([])

    def snapshot(self, world, now):
        repos = {name: {"type": repo["type"], "private": repo["private"], "id": repo["id"], "author": repo["author"],
                        "created_at": repo["createdAt"]} for name, repo in now["repos"].items()}
        return {**world, "repos": repos}

    def check(self):
        """Nothing is flipped in a store that does not hold what it should."""
        rows = sorted(self.journal.canaries.items(), key=lambda pair: pair[1]["id"])
        found = {name.split("/")[0]: row["state"] for name, row in rows}
        wanted = {**STATES, "acme-f": "del_unknown"}
        if found != wanted or self.journal.health != "ok":
            raise Broken(f"the store to be flipped holds {found}, not {wanted}; {self.journal.health}")
        standing = {name.split("/")[0] for name in self.world["repos"] if f"/{PREFIX}-" in name}
        if standing != {*OURS_TO_DELETE, "acme-g"}:
            raise Broken(f"canaries stand in {sorted(standing)}")
        self.ours = {repo["id"]: name for name, repo in self.world["repos"].items() if f"/{PREFIX}-" in name}


@dataclass
class Flip:
    number: int
    shape: str
    file: str
    at: int
    mask: int
    stratum: str
    command: tuple = ("canaries", "sweep")
    outcome: str = ""
    notes: list = field(default_factory=list)

    def __str__(self):
        return f"flip {self.number}: {self.file} byte {self.at} ^ {self.mask:#04x} ({self.shape}, {self.stratum})"


def what_it_reads(db):
    """All that SQLite reads of a sound store, as one hash; None where it finds anything wrong. Looks at a copy."""
    with tempfile.TemporaryDirectory(prefix="scopewatch-look-", dir=memory()) as folder:
        for end in ("", "-wal"):
            if Path(str(db) + end).exists():
                shutil.copyfile(str(db) + end, f"{folder}/copy.db{end}")
        all_of_it = hashlib.sha256()
        try:
            with sqlite3.connect(f"{folder}/copy.db") as look:
                look.text_factory = bytes
                if look.execute("PRAGMA integrity_check").fetchall() != [(b"ok",)]:
                    return None
                schema = look.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").fetchall()
                numbers = [look.execute(f"PRAGMA {word}").fetchone() for word in ("user_version", "application_id", "encoding")]
                all_of_it.update(repr((schema, numbers)).encode())
                for table in (name.decode() for kind, name, *_ in schema if kind == b"table"):
                    all_of_it.update(repr(look.execute(f'SELECT * FROM "{table}" NOT INDEXED').fetchall()).encode())
            look.close()
        except (sqlite3.Error, ValueError):
            return None
    return all_of_it.digest()


def live(data, names):
    """Where rows of canaries lie: the names, with the record before and the fields behind them."""
    places = set()
    for name in names:
        for found in re.finditer(re.escape(name.encode()), data):
            places.update(range(max(0, found.start() - 40), min(len(data), found.end() + 120)))
    return sorted(places)


class Place:
    """One worker's Hub, which is put back before each case."""

    def __init__(self, base, folder):
        self.base, self.folder = base, folder
        self.hub = Hub(base.world, folder / "hub")
        self.committed()
        self.at = (0, 0)
        self.mark()

    def committed(self):
        name = next(name for name in self.base.world["repos"] if name.startswith(f"acme-g/{PREFIX}"))
        self.hub.sim("POST", "commits", {"repo": name, "user": "mallory", "file": "model.bin"})

    def mark(self):
        counters = self.hub.world()["counters"]
        self.at = (counters["requests"], counters["changes"])

    def restore(self, record):
        """Everything as it stood: what was deleted is back under its id, what was planted is gone."""
        wanted, patch, again = self.base.world["repos"], {}, False
        standing = {name: repo for repos in record.repos.values() for name, repo in repos.items()}
        for name in standing.keys() | wanted.keys():
            if name in wanted and name not in standing:
                patch[name], again = wanted[name], again or name.startswith("acme-g/")
            elif name not in wanted:
                patch[name] = None
            elif standing[name]["id"] != wanted[name]["id"]:
                self.hub.sim("PATCH", "world", {"repos": {name: None}})
                patch[name] = wanted[name]
        if patch:
            self.hub.sim("PATCH", "world", {"repos": patch})
        if again:
            self.committed()
        self.mark()

    def trap(self, journal):
        """Somebody else's repository wherever the changed store points to and the true one did not."""
        true, laid = self.base.journal.canaries, []
        known = {row["id"]: (name, row) for name, row in true.items()}
        for name, row in journal.canaries.items():
            namespace, short = name.split("/", 1) if "/" in name else ("", "")
            if name not in true and namespace in ORGS and REPO.fullmatch(short):
                self.hub.sim("PATCH", "world", {"repos": {name: self.theirs(namespace, row["repo_id"])}})
                laid.append(name)
            elif name in true and row["repo_id"] != true[name]["repo_id"] and ID.fullmatch(str(row["repo_id"])):
                self.hub.sim("PATCH", "world", {"repos": {name: None}})
                self.hub.sim("PATCH", "world", {"repos": {name: self.theirs(namespace, row["repo_id"])}})
                laid.append(f"{name} ({row['repo_id']})")
        return laid if known else []

    @staticmethod
    def theirs(namespace, identity):
        """As like ours as can be: its owner's own, private and empty, with the id that is looked for; made later."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() + 600))
        identity = identity if ID.fullmatch(str(identity)) else None
        return {"type": "model", "private": True, "author": f"user-{namespace}", "created_at": at,
                **({"id": identity} if identity else {})}


class Test:
    def __init__(self, folder, chosen):
        self.folder, self.long = folder, chosen.long
        self.count, self.threads = (LONG_FLIPS if chosen.long else FLIPS), chosen.j
        self.alike, self.lock, self.ran = defaultdict(list), threading.Lock(), 0
        self.tally = Tally("storage/flips")

    def plan(self, base):
        """Half where canaries lie, the rest anywhere; each file has its share."""
        dice = random.Random(20 if not self.long else time.time_ns())
        names = {name.split("/")[1] for name in base.journal.canaries}
        strata = []
        for shape, folder in base.shapes.items():
            for path in sorted(folder.iterdir()):
                data = path.read_bytes()
                if not data:
                    continue
                places = live(data, names) if path.suffix != ".key" else []
                used = (path.name == "state.db") == (shape == "one file")
                share = 8 if used and path.name in ("state.db", "state.db-wal") else 1
                strata.append((shape, path.name, "anywhere", range(len(data)), share))
                if places and used:
                    strata.append((shape, path.name, "in a canary's row", places, 12))
                if path.name in ("state.db", "state.db-wal") and used:
                    strata.append((shape, path.name, "header", range(min(100, len(data))), 2))
        total, flips = sum(share for *_, share in strata), []
        for shape, file, stratum, places, share in strata:
            for _ in range(-(-self.count * share // total)):
                mask = 1 << dice.randrange(8) if dice.random() < 0.7 else dice.randrange(1, 256)
                flips.append(Flip(len(flips), shape, file, dice.choice(places), mask, stratum))
        for flip in flips[::20]:
            flip.command = ("audit",)
        dice.shuffle(flips)
        return flips

    # -- one flip ------------------------------------------------------------------------------------------------
    def home_of(self, place, base, flip):
        home_dir = place.folder / f"flip-{flip.number}"
        shutil.copytree(base.shapes[flip.shape], home_dir / "store")
        path = home_dir / "store" / flip.file
        path.write_bytes(flipped(path.read_bytes(), flip.at, flip.mask))
        return Home(home_dir, place.hub.url, ORGS)

    def one(self, flip, place, base):
        home = self.home_of(place, base, flip)
        # What stands at the head of the file, the program may take differently than this test's SQLite.
        looked_at = flip.file == "state.db-wal" or flip.file == "state.db" and flip.at >= 100
        reads = what_it_reads(home.db) if looked_at else None
        with self.lock:
            alike = self.alike[flip.command, reads]
            alike.append(flip)
            if reads and len(alike) % EVERY != 1:
                shutil.rmtree(home.dir)
                return
            self.ran += 1
        laid = place.trap(home.journal())
        done = home.run(*flip.command, timeout=90)
        record = place.hub.record(*place.at)
        self.weigh(flip, home, done, record, base, laid)
        place.restore(record)
        shutil.rmtree(home.dir, ignore_errors=True)

    def weigh(self, flip, home, done, record, base, laid):
        """Whether harm was done; else whether it was noticed, or made no difference."""
        if done.code not in (0, 1, 2, 3) or "panicked" in done.err:
            flip.notes.append(f"ended with {done}")
        after = home.journal()
        for org in ORGS:
            history = History(record.sent[org], record.changes[org], after, ours=base.ours, lost=done.code == 2)
            flip.notes += foreign(history) + posts(history)
            created = {f"{org}/{call['body'].get('name')}" for call in record.sent[org] if call["route"] == "create"}
            flip.notes += [f"a name of before the flip was POSTed again: {name}"
                           for name in created & base.journal.canaries.keys()]
        left = [name for org in ORGS for name, repo in record.repos[org].items()
                if base.ours.get(repo["id"]) == name and org in OURS_TO_DELETE or repo["origin"] == "created"]
        if laid:
            flip.outcome = "trap left alone"
        elif done.code == 2:
            flip.outcome = "refused"
            if not any(word in done.err for word in REFUSED):
                flip.notes.append(f"refused without a sentence that says why: {done.err[-200:]}")
        elif not left:
            flip.outcome = "harmless"
        elif all(name in done.out + done.err for name in left) or noticed(done):
            flip.outcome = "told"
        else:
            flip.outcome = "silent"
            flip.notes.append(f"SILENT LOSS: {len(left)} canaries stand ({left[0]}, …) and nothing is said; exit {done.code}: "
                              f"{(done.out + done.err)[-600:]!r}")

    def run(self):
        base = Base(self.folder / "base")
        flips = self.plan(base)
        self.tally.planned = len(flips)
        places = queue.SimpleQueue()
        every = []
        try:
            for number in range(self.threads):
                every.append(Place(base, self.folder / f"place-{number}"))
                places.put(every[-1])
            self.unflipped(base, every[0])

            def with_place(flip):
                place = places.get()
                try:
                    self.one(flip, place, base)
                finally:
                    places.put(place)
            with concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(with_place, flips))
            self.controls(base, every[0])
        finally:
            for place in every:
                place.hub.__exit__()
        self.sum_up(flips)
        return self.tally.end()

    def unflipped(self, base, place):
        """Without a flip all is cleaned up, but for what a person must look at; otherwise nothing here means anything."""
        for shape in base.shapes:
            flip = Flip(-1, shape, "state.key", 0, 0, "none")
            self.one(flip, place, base)
            if flip.notes or flip.outcome != "harmless":
                raise Broken(f"the store without any flip ({shape}): {flip.outcome} {flip.notes}")

    def sum_up(self, flips):
        for alike in self.alike.values():
            for flip in alike:
                flip.outcome = flip.outcome or alike[0].outcome
        outcomes, by_place = Counter(), defaultdict(Counter)
        for flip in flips:
            self.tally.run += bool(flip.outcome)
            outcomes[flip.outcome] += 1
            by_place[f"{flip.file} ({flip.shape}, {flip.stratum})"][flip.outcome] += 1
            for what in flip.notes:
                self.tally.violation(flip, what)
        self.tally.note("in all: " + ", ".join(f"{n} {word}" for word, n in outcomes.most_common()))
        self.tally.note(f"the program ran on {self.ran}; the other {len(flips) - self.ran} read the same as one of those")
        for where, counts in sorted(by_place.items()):
            self.tally.note(f"{where}: " + ", ".join(f"{n} {word}" for word, n in counts.most_common()))

    # -- controls ------------------------------------------------------------------------------------------------
    def cousin(self, defect, place, home):
        for org in ORGS:
            subprocess.run([sys.executable, STANDIN, defect, "--hub", place.hub.url, "--organization", org, "--token",
                            f"hf_wide_{org}", "--db", str(home.db)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, env=environment(), check=False)

    def controls(self, base, place):
        """Careless programs on flipped stores: each must be convicted."""
        data = (base.shapes["one file"] / "state.db").read_bytes()
        row = next((name, row) for name, row in base.journal.canaries.items()
                   if name.startswith("acme-d/") and row["state"] == "created")
        name, identity = row[0].split("/")[1].encode(), row[1]["repo_id"].encode()
        spots = {"trusting": [found.end() - 1 for found in re.finditer(re.escape(name), data)],
                 "believing": [found.end() - 1 for found in re.finditer(re.escape(identity), data)]}
        # "a" and "b", "4" and "5": one bit, and still a name and an id.
        for defect, places in spots.items():
            guilty = []
            for number, at in enumerate(places):
                for mask in (1, 2, 3):
                    number_of_all = 90_000 + len(self.tally.planted) * 1000 + number * 10 + mask
                    flip = Flip(number_of_all, "one file", "state.db", at, mask, "control")
                    home = self.home_of(place, base, flip)
                    place.trap(home.journal())
                    self.cousin(defect, place, home)
                    record = place.hub.record(*place.at)
                    for org in ORGS:
                        guilty += foreign(History([], record.changes[org], home.journal(), ours=base.ours))
                    place.restore(record)
            self.tally.control(f"a {defect} program on a flipped store", any("WRONG DELETE" in g for g in guilty))
        flip = Flip(99_000, "log", "state.db-wal", 0, 1, "control")
        home = self.home_of(place, base, flip)
        self.cousin("resigned", place, home)
        record = place.hub.record(*place.at)
        done = subprocess.CompletedProcess([], 0, "nothing is left\n", "")
        done = type("Done", (), {"code": 0, "out": done.stdout, "err": done.stderr})
        self.weigh(flip, home, done, record, base, [])
        self.tally.control("a program that gives up in silence", flip.outcome == "silent")


def noticed(done):
    """Whether the program itself says that its memory is not what it was."""
    said = (done.out + done.err).lower()
    return any(word in said for word in ("state_reset", "latched off", "orphan", "does not know", "not in the journal"))


def test(folder):
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("-j", type=int, default=12, help="Hubs, and so copies, at a time: most of their time is waiting")
    options.add_argument("--long", action="store_true", help=f"{LONG_FLIPS} flips, dealt out anew")
    options.add_argument("--keep", action="store_true", help="leave the scratch directory")
    return Test(folder, options.parse_args()).run()


if __name__ == "__main__":
    main(test)

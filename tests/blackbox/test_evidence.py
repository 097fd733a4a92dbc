"""The record of what happened: real runs, `evidence verify` and `export`, and a verifier of our own.

Knows the rule by which an entry is bound to the one before it, and nothing else of the program: `broken` is
what a third party would write.  Serves whoever must rely on the record, and whoever changes it.
"""

import hashlib
import json
import os
import re
import shutil
import sqlite3
from datetime import datetime, timedelta, timezone

from scenario import NEVER, Case, create, wait_until

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def broken(lines):
    """The number of the first entry that does not fit, or None."""
    prev = "0" * 64
    for number, line in enumerate(lines, 1):
        entry = json.loads(line)
        at = (datetime.fromisoformat(entry["at"].replace("Z", "+00:00")) - EPOCH) // timedelta(milliseconds=1)
        body = json.dumps(entry["body"], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        parts = [p.encode() for p in (prev, str(entry["seq"]), str(at), entry["kind"], body)]
        hashed = hashlib.sha256(b"".join(len(p).to_bytes(8, "big") + p for p in parts)).hexdigest()
        if (entry["seq"], entry["prev"], entry["hash"]) != (number, prev, hashed):
            return number
        prev = hashed
    return None


def tally(name, runs, violations, planted, caught):
    """A row of the table that `tests/run` prints."""
    row = "\t".join(map(str, (name, runs, runs, violations, planted, caught)))
    print(row)
    if "SCOPEWATCH_TALLY" in os.environ:
        with open(os.environ["SCOPEWATCH_TALLY"], "a", encoding="utf-8") as table:
            table.write(row + "\n")


class Evidence(Case):
    def store(self, name="state.db"):
        return self.dir / "state" / name

    def verify(self, *argv, expect=0, config=None):
        return self.with_config("evidence", "verify", *argv, expect=expect, config=config)

    def export(self, expect=0, config=None):
        return self.with_config("evidence", "export", expect=expect, config=config).out.splitlines()

    def head(self, done):
        return re.search(r"^head \d+ ([0-9a-f]{64})$", done.out, re.M)[1]

    def meddle(self, sql):
        """As somebody who knows his way and may write the file."""
        with sqlite3.connect(self.store()) as db:
            for name, in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
                db.execute(f"DROP TRIGGER {name}")
            db.executescript(sql)
        db.close()

    def lived(self):
        """A round that creates and deletes, one that is refused, and a second process."""
        self.widened()
        self.add_member("narrow", expect=[create()])
        self.audit(expect=1)
        self.with_config("canaries", "sweep", expect=0)

    def canaries(self):
        done = self.with_config("canaries", "list", "--json")
        return {c["id"]: c for c in json.loads(done.out)["canaries"]}


class Whole(Evidence):
    def test_what_happened_is_in_the_record_and_anybody_can_verify_it(self):
        self.lived()
        done = self.verify()
        self.assertIn("the record is whole", done.out)
        lines = self.export()
        self.assertIsNone(broken(lines), lines)
        entries = [json.loads(line) for line in lines]
        for entry in entries:
            self.assertEqual(set(entry), {"seq", "at", "kind", "body", "prev", "hash"})
            self.assertRegex(entry["at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(entries[-1]["hash"], self.head(done))
        self.assertIn(f"{len(entries)} entries", done.out)
        self.assertEqual([e["body"]["epoch"] for e in entries if e["kind"] == "opened"], [1, 2])
        shown = self.canaries()
        self.assertEqual(len(shown), 2, shown)
        last = {e["body"]["canary"]["id"]: e["body"]["canary"] for e in entries if e["kind"] == "canary"}
        self.assertEqual({i: c["state"] for i, c in last.items()}, {i: c["journal_state"] for i, c in shown.items()})
        for number, canary in last.items():
            self.assertEqual(f"{canary['namespace']}/{canary['name']}", shown[number]["repo"])
            self.assertEqual(canary["epoch"], 1, "made by the first opening, whoever looked later")
        stories = [e["body"]["canary"]["state"] for e in entries
                   if e["kind"] == "canary" and e["body"]["canary"]["token"] == "wide"]
        self.assertEqual(stories[0], "planned", "the intent is the first that is told")
        self.assertTrue({"created", "deleting", "del_unknown"} <= set(stories), stories)
        self.assertEqual(sum(e["kind"] == "creation" for e in entries), 2)
        text = "\n".join(lines)
        for name, secret in self.secrets.items():
            self.assertNotIn(secret, text, f"the secret of {name}")

    def test_a_file_that_only_its_owner_may_read(self):
        self.lived()
        path = self.dir / "record.jsonl"
        done = self.with_config("evidence", "export", "--output", str(path), expect=0)
        self.assertEqual(done.out, "")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(path.read_text().splitlines(), self.export())
        self.assertIsNone(broken(path.read_text().splitlines()))
        done = self.with_config("evidence", "export", "--output", str(self.dir / "no" / "where"), expect=2)
        self.assertIn("--output", done.err)

    def test_a_head_that_was_kept_is_found_again_and_no_other(self):
        self.lived()
        kept = self.head(self.verify())
        self.audit(expect=1)
        done = self.verify("--head", kept.upper())
        self.assertNotEqual(self.head(done), kept)
        self.assertRegex(done.out, r"that of entry \d+")
        done = self.verify("--head", "0123456789abcdef" * 4, expect=1)
        self.assertIn("no entry has the head", done.out)
        self.verify("--head", "abc", expect=2)

    def test_there_is_nothing_to_verify_before_the_first_run(self):
        self.widened()
        self.assertIn("state.db", self.verify(expect=2).err)
        self.run_binary("evidence", "verify", expect=2)
        self.assertFalse(self.store().exists(), "looking makes nothing")


class Beside(Evidence):
    def test_a_daemon_shows_its_head_and_goes_on(self):
        self.widened()
        daemon = self.serve(schedule={"probe": NEVER, "canary": NEVER, "declared": NEVER})
        wait_until(lambda: self.hub.deleted and daemon.metrics().one(
            "scopewatch_round_last_completed_timestamp_seconds"), "a round with a canary")

        def shown():
            scrape = daemon.metrics()
            heads = scrape.all("scopewatch_evidence_head_info")
            self.assertEqual(len(heads), 1, heads)
            self.assertEqual((set(heads[0][0]), heads[0][1]), ({"head"}, 1.0))
            return heads[0][0]["head"], scrape.one("scopewatch_evidence_records_total")

        head, records = shown()
        done = self.verify("--head", head, config=daemon.path)
        self.assertGreaterEqual(len(self.export(config=daemon.path)), records)
        self.assertIsNone(broken(self.export(config=daemon.path)))
        self.assertGreater(records, 5, str(done))
        wait_until(lambda: shown()[0] not in daemon.output(), "looks after the round, which the log was not told of")
        daemon.stop()
        said = re.findall(r"[0-9a-f]{64}", daemon.output())
        self.assertGreaterEqual(len(said), 2, f"at the start, and after the round\n{daemon.output()}")
        self.assertEqual(said[-1], self.head(self.verify()), "the last one is said before the end")
        for head in said:
            self.verify("--head", head)
        again = self.serve(schedule={"probe": NEVER, "canary": NEVER, "declared": NEVER, "on_start": False})
        self.assertGreater(again.metrics().one("scopewatch_evidence_records_total"), records, "it goes on")
        again.stop()


class Broken(Evidence):
    """Each of these must be told by `verify` with the entry, and by `broken` where the chain itself is hurt."""

    CHAIN = {
        "UPDATE evidence SET body = replace(body, 'planned', 'refused') WHERE seq = 2": 2,
        "UPDATE evidence SET body = body || ' ' WHERE seq = 2": 2,
        "UPDATE evidence SET body = 'nothing' WHERE seq = 2": 2,
        "UPDATE evidence SET at = at + 1 WHERE seq = 3": 3,
        "UPDATE evidence SET kind = 'creation' WHERE seq = 2": 2,
        "UPDATE evidence SET hash = upper(hash) WHERE seq = 4": 4,
        "DELETE FROM evidence WHERE seq = 5": 6,
        "DELETE FROM evidence WHERE seq = 1": 2,
        "UPDATE evidence SET seq = 1000 WHERE seq = 3": 4,
        "UPDATE evidence SET seq = -seq WHERE seq = 2; UPDATE evidence SET seq = 2 WHERE seq = 3;"
        " UPDATE evidence SET seq = 3 WHERE seq = -2": 2,
    }
    ROWS = (
        "UPDATE canaries SET state = 'gone', next_at = NULL WHERE id = 1",
        "UPDATE canaries SET repo_id = '000000000000000000000000' WHERE id = 1",
        "UPDATE attempts SET outcome = 'refused'",
        "DELETE FROM canaries WHERE id = 1; DELETE FROM attempts WHERE canary = 1; DELETE FROM sightings WHERE canary = 1",
        "DELETE FROM creations",
        "DELETE FROM findings",
        "INSERT INTO breakers VALUES ('acme', 1, 'not ours')",
        "UPDATE fence SET epoch = 9",
    )

    def test_every_change_is_told_with_its_entry(self):
        self.lived()
        whole = self.store().read_bytes()
        missed = []
        for sql, seq in self.CHAIN.items():
            self.store().write_bytes(whole)
            self.meddle(sql)
            done = self.verify(expect=1)
            third = broken(self.export(expect=1))
            if f"entry {seq}:" not in done.out or "the record is broken" not in done.out or third is None:
                missed.append((sql, seq, third, done.out))
        for sql in self.ROWS:
            self.store().write_bytes(whole)
            self.meddle(sql)
            done = self.verify(expect=1)
            if "the record is broken" not in done.out or broken(self.export()) is not None:
                missed.append((sql, done.out))
        planted = len(self.CHAIN) + len(self.ROWS)
        tally("evidence: changes of record and rows", planted, 0, planted, planted - len(missed))
        self.assertEqual(missed, [])
        self.store().write_bytes(whole)
        self.verify()

    def test_the_end_cut_off_an_old_copy_and_no_journal_at_all(self):
        self.lived()
        kept, old = self.head(self.verify()), self.store().read_bytes()
        self.meddle("DELETE FROM evidence WHERE seq = (SELECT max(seq) FROM evidence)")
        self.assertIn("old copy", self.verify(expect=1).out)
        self.assertIsNone(broken(self.export()), "by itself it is a good chain")
        self.store().write_bytes(old)
        self.audit(expect=1)
        shutil.copy(self.store("state.db.head"), self.dir / "head")
        for end in ("-wal", "-shm"):
            self.store("state.db" + end).unlink(missing_ok=True)
        self.store().write_bytes(old)
        self.assertIn("old copy", self.verify(expect=1).out)
        self.verify("--head", kept, expect=1)
        self.store("state.db.head").unlink()
        self.verify("--head", kept)
        shutil.copy(self.dir / "head", self.store("state.db.head"))
        self.store().unlink()
        done = self.verify(expect=1)
        self.assertIn("knows entry", done.err)

    def test_a_breaker_is_not_cleared_without_telling_what_was_lost(self):
        self.lived()
        for path in sorted(self.store().parent.glob("state.db*")):
            path.write_bytes(b"")
        done = self.with_config("canaries", "unlatch", expect=0)
        self.assertIn("the journal is empty although there was one", done.out)
        self.assertIn("canaries are on again for", done.out)
        self.assertIn("no breaker was latched", self.with_config("canaries", "unlatch", expect=0).out)

    def test_a_damaged_file_is_broken_evidence(self):
        self.lived()
        pages = self.store().read_bytes()
        self.store().write_bytes(pages[:4096] + b"\xa5" * (len(pages) - 4096))
        self.assertIn("damaged", self.verify(expect=1).err)

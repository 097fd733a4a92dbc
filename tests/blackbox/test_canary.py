"""Canaries: whatever happens between the POST and the proof of absence, nothing of ours stays on the
Hub and nothing of others is touched.

Knows the canary protocol as documented: durable intent, one POST per name, identity before DELETE,
janitor after refusal.  Serves whoever changes the journal, the sweeper or the order of requests.
"""

import re
import threading
import time
import unittest

from scenario import NEVER, Case, create, wait_until

CREATE, DELETE = "^/api/repos/create$", "^/api/repos/delete$"
LOOKS = r"^/api/models(/acme/scopewatch-canary-[^/]*)?$|/settings/repositories$"


class Lost(Case):
    """The answer to a creation or a deletion is lost, or lies."""

    def gone(self, creations=1):
        self.assertEqual(len(self.hub.created), creations, f"creations that the Hub applied\n{self.last}")
        if self.hub.leftovers():
            self.sweep_clean()
        self.assertEqual(self.hub.leftovers(), [])
        self.assertEqual(len(self.hub.deleted), creations)

    def ambiguous(self, **fault):
        """A create that was applied though its answer says nothing; `allowed` only by proved presence."""
        self.widened()
        self.hub.fault("POST", CREATE, apply=True, **fault)
        report = self.audit()
        r = self.result(report, "wide")
        self.assertIn(r["verdict"], ("unknown", "unexpected_grant"), f"never ok\n{self.last}")
        self.assertEqual(self.last.code, 3 if r["verdict"] == "unknown" else 1, str(self.last))
        self.assertEqual(len(self.hub.posts()), 1, "the POST is not repeated")
        self.gone()

    def test_create_then_drop(self):
        self.ambiguous(reset=True)

    def test_create_then_cut_body(self):
        self.ambiguous(cut=True)

    def test_create_answered_500_but_applied(self):
        self.ambiguous(answer=(500, {"error": "Internal Error"}))

    def test_create_applied_and_timed_out(self):
        self.ambiguous(hold=threading.Event())

    def test_create_answered_403_but_applied(self):
        """Only the Hub's word: a refusal is looked after, too, and nothing is left in the end."""
        self.widened()
        self.hub.fault("POST", CREATE, apply=True, answer=(
            403, {"error": 'You don\'t have the rights to create a model under the namespace "acme"'}))
        self.audit()
        if self.hub.leftovers():
            wait_until(lambda: self.with_config("canaries", "sweep") and not self.hub.leftovers(),
                       "a sweep finds what a refusal hid", 20)
        self.assertEqual(self.hub.leftovers(), [])

    def test_delete_refused_to_the_probed_token_is_done_by_the_janitor(self):
        self.widened()
        self.hub.fault("DELETE", DELETE, token="wide", answer=(
            403, {"error": "You have read access but not the required permissions for this operation"}))
        report = self.audit(expect=1)
        self.gone()
        self.assertEqual([d["token"] for d in self.hub.deleted], ["janitor"], str(self.last))
        self.assertEqual(report["canaries"], {"created": 1, "deleted": 1, "unfinished": 0}, str(self.last))
        self.assertEqual(self.hub.posts("janitor"), [], "the janitor never creates")

    def test_token_that_dies_after_creating(self):
        self.widened()
        fault = self.hub.fault("DELETE", DELETE, token="wide", answer=(401, {"error": "Invalid username or password."}))
        self.audit(expect=1)
        self.gone()
        self.assertLessEqual(fault.hits, 1)
        self.assertEqual([d["token"] for d in self.hub.deleted], ["janitor"], str(self.last))

    def test_delete_answer_lost_after_it_was_applied(self):
        self.widened()
        self.hub.fault("DELETE", DELETE, times=1, apply=True, reset=True)
        self.audit(expect=1)
        self.gone()

    def test_delete_lost_before_it_was_applied(self):
        """The second DELETE of that name waits for the in-flight horizon (1 s here)."""
        self.widened()
        self.hub.fault("DELETE", DELETE, times=1, reset=True)
        self.audit(expect=1)
        self.gone()
        first, second = (q["at"] for q in self.hub.seen("DELETE")[:2])
        self.assertGreaterEqual(second - first, 0.95, "no second DELETE of a name within the horizon")

    def test_delete_answered_500_for_ever_is_left_to_the_journal(self):
        self.widened()
        fault = self.hub.fault("DELETE", DELETE, answer=(500, {"error": "Internal Error"}))
        report = self.audit(expect=1)
        self.assertEqual(report["canaries"]["unfinished"], 1, str(self.last))
        self.assertIn(self.result(report, "wide")["canary"]["state"], ("unknown", "quarantined"))
        listing = self.with_config("canaries", "list")
        self.assertIn(listing.code, (0, 1))
        self.assertIn(self.hub.created[0]["name"].split("/")[1], listing.out, f"`canaries list` names it\n{listing}")
        fault.times = 0
        self.gone()

    def test_public_canary_is_deleted_at_once(self):
        self.widened()
        self.hub.force_public = True
        report = self.audit()
        self.assertNotEqual(self.result(report, "wide")["verdict"], "ok", str(self.last))
        self.gone()
        created, deleted = self.hub.created[0]["at"], self.hub.deleted[0]["at"]
        self.assertLess(deleted - created, 30, "a public canary lives less than 30 s")

    def test_public_canary_latches_creation_until_a_person_clears_it(self):
        self.widened()
        self.hub.force_public = True
        self.audit()
        self.gone()
        self.hub.force_public = False
        r = self.result(self.audit(expect=3), "wide")
        self.assertEqual(r["reason"], "no_control", f"the breaker is latched\n{self.last}")
        self.assertEqual(len(self.hub.posts()), 1, "no creation while it is latched")
        self.with_config("canaries", "unlatch", expect=0)
        self.audit(expect=1)
        self.gone(2)

    def test_answer_names_another_repository(self):
        """A 2xx whose name is not the one asked for: no verdict, and that other repository is safe."""
        other = self.hub.repo("acme/scopewatch-canary-of-somebody-else")
        self.widened()
        self.hub.fault("POST", CREATE, answer=(200, {"url": "x", "name": other.name, "id": other.id}))
        r = self.result(self.audit(expect=3), "wide")
        self.assertEqual(r["verdict"], "unknown", str(self.last))
        self.assertIsNotNone(self.hub.find("model", other.name), "it belongs to somebody else")

    def test_canary_that_somebody_committed_to_is_not_deleted(self):
        """Not empty any more: it is somebody's work now, so it goes to quarantine and to a person."""
        self.widened()
        gate = threading.Event()
        fault = self.hub.fault("POST", CREATE, apply=True, hold=gate)

        def touch():
            if fault.reached.wait(20):
                next(r for r in self.hub.repos.values() if r.canary).commits = 3
            gate.set()

        person = threading.Thread(target=touch)
        person.start()
        report = self.audit(expect=1)
        person.join()
        self.assertEqual(self.result(report, "wide")["canary"]["state"], "quarantined", str(self.last))
        self.assertEqual(self.hub.deleted, [], "a repository with commits is never deleted")
        self.leftovers_allowed = True


class Foreign(Case):
    def test_repository_that_bears_the_prefix_is_untouched(self):
        decoys = [self.hub.repo(f"acme/{name}", type=kind) for name, kind in (
            ("scopewatch-canary", "model"), ("scopewatch-canary-precious", "model"),
            ("scopewatch-canary-abcdef-" + "a" * 26 + "-" + "b" * 26, "model"), ("scopewatch-canary-data", "dataset"))]
        self.widened()
        self.audit(expect=1)
        self.with_config("canaries", "sweep", expect=0)
        for decoy in decoys:
            self.assertIs(self.hub.find(decoy.type, decoy.name), decoy, f"{decoy.name} must be untouched")
        self.assertEqual([d["name"] for d in self.hub.deleted], [c["name"] for c in self.hub.created])

    def test_squatter_takes_the_name_after_the_deletion(self):
        """The DELETE was applied, its answer lost; somebody takes the name before we look again."""
        self.widened()
        squat = {}
        gate = threading.Event()
        fault = self.hub.fault("DELETE", DELETE, times=1, apply=True, hold=gate, reset=True)

        def squatter():
            if fault.reached.wait(20):
                squat["repo"] = self.hub.repo(self.hub.deleted[0]["name"], by="mallory")
            gate.set()

        person = threading.Thread(target=squatter)
        person.start()
        self.audit(expect=1)
        person.join()
        self.with_config("canaries", "sweep")
        self.assertIs(self.hub.find("model", squat["repo"].name), squat["repo"], "another id: never deleted")
        self.assertEqual(len(self.hub.deleted), 1)

    def test_squatter_took_the_name_before_the_creation(self):
        """409 exists on a fresh name: somebody else's, whatever it is called."""
        self.widened()
        gate, squat = threading.Event(), {}
        fault = self.hub.fault("POST", CREATE, times=1, hold=gate, late=True)

        def squatter():
            if fault.reached.wait(20):
                squat["repo"] = self.hub.repo("acme/" + self.hub.posts()[0]["body"]["name"], by="mallory", commits=2)
            gate.set()

        person = threading.Thread(target=squatter)
        person.start()
        r = self.result(self.audit(expect=3), "wide")
        person.join()
        self.assertEqual(r["reason"], "conflict", str(self.last))
        self.with_config("canaries", "sweep")
        self.assertIs(self.hub.find("model", squat["repo"].name), squat["repo"])


class Killed(Case):
    """kill -9 at the worst moments; the restart finds and deletes, with one POST per name."""

    def kill_while(self, fault):
        self.config["schedule"] = {"probe": NEVER, "canary": NEVER, "declared": NEVER, "on_start": True}
        daemon = self.serve()
        self.assertTrue(fault.reached.wait(20), f"expected {fault.method} {fault.path}\n{daemon.output()}")
        daemon.kill()
        self.config["schedule"]["on_start"] = False
        return [p["body"]["name"] for p in self.hub.posts()]

    def held(self, method="POST", path=CREATE, **kw):
        self.widened()
        return self.hub.fault(method, path, times=1, hold=threading.Event(), **kw)

    def recovered(self, names):
        self.assertEqual(len(names), 1)
        self.assertEqual([p["body"]["name"] for p in self.hub.posts()].count(names[0]), 1, "exactly one POST of that name")
        self.assertEqual([d["name"] for d in self.hub.deleted if d["name"].endswith(names[0])], [f"acme/{names[0]}"])

    def test_after_the_post_then_sweep(self):
        fault = self.held(apply=True)
        names = self.kill_while(fault)
        self.assertEqual(len(self.hub.leftovers()), 1, "the Hub did apply it")
        fault.hold.set()
        listing = self.with_config("canaries", "list")
        self.assertIn(names[0], listing.out, f"the journal knows it before anything else is asked\n{listing}")
        self.sweep_clean()
        self.recovered(names)

    def test_after_the_post_then_serve(self):
        fault = self.held(apply=True)
        names = self.kill_while(fault)
        fault.hold.set()
        daemon = self.serve()
        wait_until(lambda: not self.hub.leftovers(), "serve finds the canary and deletes it", 20)
        wait_until(lambda: daemon.metrics().one("scopewatch_canaries_unfinished", organization="acme") == 0,
                   "scopewatch_canaries_unfinished is 0", 20)
        daemon.stop()
        self.recovered(names)

    def test_after_the_post_then_audit(self):
        fault = self.held(apply=True)
        names = self.kill_while(fault)
        fault.hold.set()
        self.audit(expect=1)
        if self.hub.leftovers():
            self.sweep_clean()
        self.recovered(names)
        self.assertEqual(len(self.hub.created), 2, "the audit's own canary has another name")

    def test_post_that_takes_effect_only_after_the_restart(self):
        """Held before it is applied; the restart sees nothing at first, and must not believe that."""
        self.config["hub"]["in_flight_horizon"] = "5s"
        fault = self.held(late=True)
        names = self.kill_while(fault)
        self.assertEqual(self.hub.leftovers(), [])
        before = len(self.hub.requests)
        daemon = self.serve(ready=False)
        wait_until(lambda: [q for q in self.hub.requests[before:] if re.search(LOOKS, q["path"])],
                   "the restart looks for the planned canary at once", 4)
        fault.hold.set()
        wait_until(lambda: self.hub.created, "the Hub applies the late POST", 5)
        wait_until(lambda: not self.hub.leftovers(), "the late canary is found and deleted", 30)
        daemon.stop()
        self.recovered(names)

    def test_post_that_never_took_effect(self):
        fault = self.held(answer=(504, {"error": "nobody listens"}))
        names = self.kill_while(fault)
        fault.hold.set()
        self.sweep_clean()
        self.assertEqual(self.hub.created, [])
        self.assertEqual([p["body"]["name"] for p in self.hub.posts()], names, "a planned name is never POSTed again")

    def test_between_delete_and_its_answer(self):
        fault = self.held("DELETE", DELETE, apply=True)
        names = self.kill_while(fault)
        self.assertEqual(self.hub.leftovers(), [])
        fault.hold.set()
        self.sweep_clean()
        self.recovered(names)

    def test_before_delete_took_effect(self):
        fault = self.held("DELETE", DELETE, answer=(504, {"error": "nobody listens"}))
        names = self.kill_while(fault)
        self.assertEqual(len(self.hub.leftovers()), 1)
        fault.hold.set()
        self.sweep_clean()
        self.recovered(names)


class ReadOnlyAndLimits(Case):
    def test_read_only_sends_no_unsafe_method(self):
        self.widened(expect=[create(), {"permission": "repo.read", "repo": "acme/known-private", "access": "allowed"}])
        report = self.audit("--read-only", expect=3)
        r = self.result(report, "wide")
        self.assertEqual((r["verdict"], r["reason"], r["canary"]), ("unknown", "read_only", None), str(self.last))
        self.assertEqual(self.result(report, "wide", "repo.read")["verdict"], "ok", str(self.last))
        self.assertEqual({q["method"] for q in self.hub.requests} - {"GET", "HEAD"}, set())

    def test_two_tokens_of_one_user_never_create_at_once(self):
        self.hub.create_seconds = 0.3
        self.hub.member("acme", "twin", "write")
        for name in ("one", "two", "three"):
            self.add_token(name, "twin", [("org", "acme", ["repo.write"])], expect=[create("allowed")])
        report = self.audit(expect=0)
        self.assertEqual(self.hub.lock_hits, [], "the Hub's per-user lock is never met")
        self.assertEqual(report["canaries"], {"created": 3, "deleted": 3, "unfinished": 0}, str(self.last))

    def test_max_creations_per_day(self):
        """Two creations a day and user: the third check is creation_cap, also in the next process."""
        self.config["organizations"][0]["max_creations_per_day"] = 2
        self.widened(expect=[create("allowed"), create("allowed", type="dataset"), create("allowed", type="space")])
        report = self.audit(expect=3)
        self.assertEqual(report["summary"]["ok"], 2, str(self.last))
        self.assertEqual([r["reason"] for r in report["results"] if r["verdict"] == "unknown"], ["creation_cap"])
        self.assertEqual(len(self.hub.posts()), 2)
        again = self.audit(expect=3)
        self.assertEqual({r["reason"] for r in again["results"]}, {"creation_cap"}, str(self.last))
        self.assertEqual(len(self.hub.posts()), 2, "the day's count survives the process")

    def test_refused_creations_count_too(self):
        self.config["organizations"][0]["max_creations_per_day"] = 1
        self.add_member("limited", expect=[create(), create(type="dataset")])
        report = self.audit(expect=3)
        self.assertEqual(sorted(r["verdict"] for r in report["results"]), ["ok", "unknown"], str(self.last))
        self.assertEqual(len(self.hub.posts()), 1)

    def test_custom_prefix(self):
        self.prefixes = ("probe-x",)
        self.config["organizations"][0]["canary_prefix"] = "probe-x"
        self.widened()
        self.audit(expect=1)
        self.assertTrue(self.hub.created[0]["name"].startswith("acme/probe-x-"))

    def test_list_and_sweep_with_nothing_to_do(self):
        self.add_member("limited")
        self.audit(expect=0)
        before = len(self.hub.requests)
        self.with_config("canaries", "list", expect=0)
        self.assertEqual(len(self.hub.requests), before, "`canaries list` reads the journal only")
        self.with_config("canaries", "sweep", expect=0)
        self.assertEqual([q["method"] for q in self.hub.requests[before:] if q["method"] not in ("GET", "HEAD")], [])

    def test_canary_lives_shortly(self):
        self.widened()
        started = time.monotonic()
        self.audit(expect=1)
        self.assertLess(time.monotonic() - started, 15, "a granted create ends within seconds")
        self.assertLess(self.hub.deleted[0]["at"] - self.hub.created[0]["at"], 5, "deleted right after it was made")


if __name__ == "__main__":
    unittest.main()

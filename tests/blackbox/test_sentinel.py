"""`method: sentinel`: a creation on a name that is taken says who may create, and makes nothing.

Knows the check's keys and the Hub's answers to such a creation.  Serves whoever changes how a sentinel is
looked at, asked for or read.
"""

import threading
import unittest

from hub import CAPPED, LOCKED
from scenario import NEVER, Case, create, wait_until
from test_serve import findings

SENTINEL = "acme/known-private"
CREATE = "^/api/repos/create$"


def ask(access="denied", sentinel=SENTINEL, **target):
    return create(access, method="sentinel", sentinel=sentinel, **target)


class Asking(Case):
    sentinels = (SENTINEL,)

    def wide(self, expect=None, **kw):
        return self.widened(expect=expect or [ask("allowed")], **kw)

    def untouched(self):
        self.assertEqual((self.hub.created, self.hub.deleted), ([], []), f"nothing is made or deleted\n{self.last}")
        self.assertEqual(self.hub.seen("DELETE"), [])

    def one(self, report, token="wide"):
        found = [r for r in report["results"] if r["token"] == token]
        self.assertEqual(len(found), 1, str(self.last))
        return found[0]

    def unknown(self, reason, posts=1):
        r = self.one(self.audit(expect=3))
        self.assertEqual((r["access"], r["reason"], r["canary"]), ("undetermined", reason, None), str(self.last))
        self.assertEqual(len(self.hub.posts()), posts)
        self.untouched()


class Sentinel(Asking):
    def test_exists_is_allowed_and_refused_is_denied(self):
        self.wide()
        self.add_member("limited", expect=[ask()])
        self.add_member("read", "read", [("org", "acme", ["repo.write"])], expect=[ask()])
        report = self.audit(expect=0)
        for token, access, reason, status in (("wide", "allowed", None, 409), ("limited", "denied", "scope", 403),
                                              ("read", "denied", "scope", 403)):
            r = self.one(report, token)
            self.assertEqual((r["access"], r["reason"], r["canary"], r["target"]), (access, reason, None, "model"))
            self.assertEqual([e["status"] for e in r["evidence"] if e["method"] == "POST"], [status], str(r))
            self.assertEqual(r["predicted"], access, str(r))
        for post in self.hub.posts():
            self.assertEqual((post["body"]["organization"], post["body"]["name"]), ("acme", "known-private"))
            self.assertIs(post["body"]["private"], True, "should it be made after all, nobody sees it")
        self.assertEqual(report["canaries"], {"created": 0, "deleted": 0, "unfinished": 0})
        self.untouched()

    def test_drift_both_ways(self):
        self.wide([ask()])
        self.add_member("limited", expect=[ask("allowed")])
        report = self.audit(expect=1)
        self.assertEqual([self.one(report, t)["verdict"] for t in ("wide", "limited")],
                         ["unexpected_grant", "unexpected_denial"])
        self.untouched()

    def test_other_types(self):
        self.hub.repo("acme/known-data", type="dataset")
        self.sentinels += ("acme/known-data",)
        self.wide([ask("allowed", "acme/known-data", type="dataset")])
        self.assertEqual(self.one(self.audit(expect=0))["target"], "dataset")
        self.assertEqual([p["body"]["type"] for p in self.hub.posts()], ["dataset"])
        self.untouched()

    def test_every_round_may_ask_the_same_name_again(self):
        self.wide()
        for _ in range(2):
            self.audit(expect=0)
        self.assertEqual(len(self.hub.posts()), 2)
        self.untouched()

    def test_it_is_looked_at_before_it_is_asked_for(self):
        self.wide()
        self.audit(expect=0)
        before = [q for q in self.hub.requests[:self.hub.requests.index(self.hub.posts()[0])]
                  if q["path"].lower().startswith("/api/models/acme/known-private") and q["status"] == 200]
        self.assertTrue(before, "somebody saw it exist just before")

    def test_a_revoked_token_is_denied_for_that(self):
        self.wide([ask()], revoked_in=("acme",))
        self.assertEqual(self.one(self.audit(expect=0))["reason"], "token_revoked")
        self.untouched()


class Undetermined(Asking):
    def odd(self, reason, **fault):
        self.wide()
        self.hub.fault("POST", CREATE, token="wide", **fault)
        self.unknown(reason)

    def test_the_lock_of_the_user(self):
        self.odd("conflict", answer=(409, {"error": LOCKED}, {}))

    def test_another_conflict(self):
        self.odd("conflict", answer=(409, {"error": "Something is in the way"}, {}))

    def test_no_answer_in_time(self):
        self.config["hub"]["request_timeout"] = "1s"
        self.odd("timeout", hold=threading.Event(), answer=(504, {"error": "late"}, {}))

    def test_a_reset(self):
        self.odd("network", reset=True)

    def test_a_broken_hub(self):
        self.odd("hub_error", answer=(500, {"error": "Internal Error"}, {}))

    def test_the_hubs_own_cap(self):
        self.odd("creation_cap", answer=(429, {"error": CAPPED}, {}))

    def test_a_bill(self):
        self.odd("billing", answer=(402, {"error": "Subscribe"}, {}))

    def test_an_error_in_a_success(self):
        self.odd("unrecognized", answer=(200, {"error": "no"}, {}))

    def test_a_firewall(self):
        self.odd("unrecognized", answer=(403, "<html>no</html>", {}))


class Missing(Asking):
    def test_nothing_is_asked_of_a_name_that_is_free(self):
        self.wide([ask(sentinel="acme/never-was")])
        self.unknown("target_missing", posts=0)

    def test_nor_of_one_of_another_type(self):
        self.wide([ask(type="dataset")])
        self.unknown("target_missing", posts=0)
        self.assertIn("dataset 'acme/known-private'", self.with_config("audit").out, "the name is right, the type is not")

    def test_nor_of_one_that_nobody_of_ours_can_see(self):
        janitor = self.hub.tokens["janitor"]
        self.hub.repo("acme/hidden")
        self.sentinels += ("acme/hidden",)
        self.wide([ask(sentinel="acme/hidden")])
        self.hub.tokens["wide"].scopes = []
        self.hub.fault("GET", "^/api/models/acme/hidden", answer=(
            404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}))
        self.assertTrue(janitor.alive)
        self.unknown("target_missing", posts=0)

    def test_nor_when_the_look_fails(self):
        self.wide()
        self.hub.fault("GET", "^/api/models/acme/known-private$", answer=(500, {"error": "Internal Error"}, {}))
        r = self.one(self.audit(expect=3))
        self.assertEqual(r["access"], "undetermined", str(self.last))
        self.assertEqual(self.hub.posts(), [])
        self.untouched()


class Budget(Asking):
    def test_each_asking_is_a_creation_of_the_day(self):
        self.config["organizations"][0]["max_creations_per_day"] = 1
        self.wide()
        self.audit(expect=0)
        r = self.one(self.audit(expect=3))
        self.assertEqual(r["reason"], "creation_cap", str(self.last))
        self.assertEqual(len(self.hub.posts()), 1)
        self.untouched()


class Vanished(Asking):
    """Somebody deletes the sentinel between our look and our POST, and so the POST makes a repository."""

    leftovers_allowed = True

    def tearDown(self):
        made, self.hub.created = self.hub.created, []
        self.assertEqual([c["name"] for c in made], [SENTINEL] * len(made))
        super().tearDown()

    def vanish(self):
        fault = self.hub.fault("POST", CREATE, times=1, hold=threading.Event(), late=True)

        def somebody():
            if fault.reached.wait(20):
                with self.hub.lock:
                    del self.hub.repos[("model", SENTINEL)]
            fault.hold.set()

        person = threading.Thread(target=somebody)
        person.start()
        self.addCleanup(person.join)

    def test_it_is_a_grant_that_nobody_of_us_deletes_and_that_latches(self):
        self.wide([ask(), create("denied", type="dataset")])
        self.config["tokens"][-1]["expect"] = [ask()]
        self.vanish()
        report = self.audit(expect=1)
        self.assertEqual(self.one(report)["access"], "allowed", str(self.last))
        self.assertEqual(len(self.hub.created), 1)
        self.assertEqual(self.hub.seen("DELETE"), [], "a sentinel is never deleted")
        self.config["tokens"][-1]["expect"] = [create("denied", type="dataset")]
        r = self.one(self.audit(expect=3))
        self.assertEqual((r["reason"], r["evidence"]), ("no_control", []), f"the breaker is latched\n{self.last}")
        listing = self.with_config("canaries", "list")
        self.assertIn("known-private", listing.out + listing.err, f"a person is told where to look\n{listing}")
        self.with_config("canaries", "unlatch", expect=0)
        self.audit(expect=1)
        self.assertEqual(len(self.hub.created), 2, "canaries are made again")
        self.assertEqual([d["type"] for d in self.hub.deleted], ["dataset"])
        self.hub.created.pop()
        self.assertIsNotNone(self.hub.find("model", SENTINEL))

    def test_the_daemon_tells_it(self):
        self.wide([ask()])
        self.config["schedule"] = {"probe": NEVER, "canary": NEVER, "declared": NEVER, "on_start": True}
        self.vanish()
        daemon = self.serve()
        found = wait_until(lambda: findings(daemon.json("/api/v1/findings"), "canary_left"), "canary_left")[0]
        self.assertEqual(found["organization"], "acme")
        self.assertIn("known-private", str(found))
        daemon.stop()
        self.assertEqual(self.hub.seen("DELETE"), [])


if __name__ == "__main__":
    unittest.main()

"""`plan`: what a round would ask, before it is asked, against what the second Hub then sees.

Knows the command, its exit codes and that its JSON is versioned.  Serves whoever changes what a round asks.
"""

import json
import re
import unittest

from scenario import NEVER, Case, create


def fits(route, path):
    pattern = re.sub(r"\\\{[a-z]+\\\}", "[^/]+", re.escape(route))
    return re.fullmatch(pattern, path.split("?")[0]) is not None


class Plan(Case):
    def build(self):
        super().build()
        # No horizon ends while a test looks.
        self.config["hub"]["in_flight_horizon"] = "60s"

    def plan(self, *argv, expect=0):
        done = self.with_config("plan", "--format", "json", *argv, expect=expect)
        self.last = done
        plan = json.loads(done.out)
        self.assertEqual(plan["schema"], 1, str(done))
        return plan

    def planned(self, plan, which):
        """Calls by who signs, method and route template."""
        sums = {}
        for step in plan["steps"]:
            key = (step["token"], step["method"], step["route"])
            sums[key] = sums.get(key, 0) + step["calls"][which]
        return {key: count for key, count in sums.items() if count}

    def made(self, plan):
        """The same of the Hub's record; of the routes that fit, the one with the fewest gaps."""
        routes = sorted({step["route"] for step in plan["steps"]}, key=lambda route: route.count("{"))
        sums = {}
        for request in self.hub.requests:
            route = next((r for r in routes if fits(r, request["path"])), request["path"])
            key = (request["token"] or None, request["method"], route)
            sums[key] = sums.get(key, 0) + 1
        return sums

    def test_asks_nothing_and_needs_no_secret(self):
        self.add_member("limited")
        for token in self.config["tokens"]:
            token["secret"] = {"env": "NOT_SET"}
        text = self.with_config("plan", expect=0).out
        for part in ("limited", "POST /api/repos/create", "as a rule", "at most", "repo.write", "not known yet"):
            self.assertIn(part, text)
        self.assertEqual(self.hub.requests, [], "the Hub was asked")
        self.assertEqual(list((self.dir / "state").iterdir()), [], "something was written")

    def test_a_round_makes_exactly_the_calls_that_were_planned(self):
        self.add_member("limited", expect=[
            create(), create(type="dataset"),
            {"permission": "repo.read", "repo": "acme/known-private", "access": "denied"},
            {"permission": "repo.write", "repo": "acme/known-private", "access": "denied"}])
        self.widened(expect=[create("allowed")])
        plan = self.plan()
        self.assertEqual(len(plan["mutating_checks"]), 3, "only creating may change anything")
        self.audit(expect=0)
        self.assertEqual(self.made(plan), self.planned(plan, "usual"), str(self.last))

    def test_never_more_than_planned_whatever_the_hub_does(self):
        self.widened(expect=[create("allowed"), create("allowed", type="dataset")])
        self.add_member("limited")
        plan = self.plan()
        self.hub.fault("DELETE", "/api/repos/delete", answer=(503, {"error": "later"}, {}), times=2)
        self.hub.fault("POST", "/api/repos/create", apply=True, reset=True, times=1)
        self.hub.fault("GET", "/api/models/", answer=(500, {"error": "oops"}, {}), times=3)
        self.audit()
        bounds = self.planned(plan, "at_most")
        for key, count in self.made(plan).items():
            self.assertLessEqual(count, bounds.get(key, 0), f"{key}\n{self.last}")
        self.hub.heal()
        self.config["hub"]["in_flight_horizon"] = "1s"
        self.sweep_clean()

    def test_whose_a_token_is_comes_from_the_last_round(self):
        self.add_member("limited")
        self.assertEqual([u["user"] for u in self.plan()["users"]], [None, None, None])
        self.audit(expect=0)
        before = len(self.hub.requests)
        plan = self.plan()
        users = {u["user"]: u for u in plan["users"] if u["user"]}
        self.assertEqual(set(users), {"admin-acme", "user-limited"})
        self.assertEqual(users["user-limited"]["creations_per_day"]["used_in_24h"], 1)
        own = {o["token"]: o for o in plan["own_tokens"]}
        self.assertEqual(own["janitor"]["needs"][0]["permission"], "repo.write")
        self.assertEqual((own["janitor"]["has_more"], own["janitor"]["lacks"]), ([], ["org.serviceAccounts.read"]))
        self.assertIn("orgPermissions=repo.write", own["janitor"]["token_page"])
        self.assertEqual(len(self.hub.requests), before, "the Hub was asked")

    def test_beside_a_running_daemon(self):
        self.add_member("limited")
        self.config["schedule"] = {"probe": NEVER, "canary": NEVER, "declared": NEVER}
        daemon = self.serve()
        self.assertEqual(self.plan()["schema"], 1)
        daemon.stop()

    def test_what_will_not_fit_is_said(self):
        self.add_member("limited")
        self.config["tokens"][-1]["declared"] = {"user": "svc"}
        self.config["schedule"]["canary"] = "0 * * * * *"
        text = " ".join(self.plan()["held_back"])
        self.assertRegex(text, r"svc: 1440 creation calls a day, and max_creations_per_day is 200")
        self.assertRegex(text, r"at most 200 times a day")

    def test_a_bad_config_and_a_strange_token_are_usage(self):
        self.with_config("plan", "--token", "nobody", expect=2)
        self.config["tokens"] = []
        self.with_config("plan", expect=2)


if __name__ == "__main__":
    unittest.main()

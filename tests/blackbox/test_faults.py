"""A Hub that answers wrongly, slowly or not at all: always `unknown`, never `ok`, never drift.

Knows which closed reasons an odd answer may carry.  Serves whoever touches timeouts, retries and the
classification of answers.  The matrix gives each fault an organization, a user and a token of its own,
so that one audit shows them all and none can hide behind another.
"""

import threading
import unittest

from hub import CAPPED, LOCKED, Listener
from scenario import Case, create, free_port

HTML = "<!DOCTYPE html><html><head><title>Bad gateway</title></head><body>oops</body></html>"
EMPTY_WINDOW = {"RateLimit": '"api";r=0;t=300', "Retry-After": "300"}
ODD = ("unrecognized", "hub_error")

# name: (what the create probe meets, reasons that are right)
NOT_APPLIED = {
    "e500": (dict(answer=(500, {"error": "Internal Error - We're working hard to fix this as soon as possible!"})), ("hub_error",)),
    "e502": (dict(answer=(502, HTML)), ("hub_error",)),
    "e503": (dict(answer=(503, {"error": "Service Unavailable"}, {"Retry-After": "120"})), ("hub_error",)),
    "window": (dict(answer=(429, {"error": "You have exceeded the rate limit."}, EMPTY_WINDOW)), ("rate_limited",)),
    "cap": (dict(answer=(429, {"error": CAPPED})), ("creation_cap",)),
    "payment": (dict(answer=(402, {"error": "Payment required: subscribe to a plan to continue."})), ("billing",)),
    "lock": (dict(answer=(409, {"error": LOCKED})), ("conflict",)),
    "exists": (dict(answer=(409, {"error": "You already created this model repo"})), ("conflict",)),
    "elsewhere": (dict(answer=(409, {"error": "You already created this model repo", "url": "http://x/acme/y"})), ("unrecognized",)),
    "denied-elsewhere": (dict(answer=(403, {"error": "You don't have the rights to create a model under the namespace \"other\""})), ("unrecognized",)),
    "captcha": (dict(answer=(405, HTML)), ODD),
    "edge403": (dict(answer=(403, HTML)), ODD + ("no_control",)),
    "silent": (dict(hold="never", answer=(504, HTML)), ("timeout",)),
    "reset": (dict(reset=True), ("network",)),
    "portal": (dict(answer=(200, HTML)), ODD),
    "error200": (dict(answer=(200, {"error": "You don't have the rights to create a model under the namespace"})), ODD),
    "shape200": (dict(answer=(200, {"ok": True})), ODD),
    "list200": (dict(answer=(200, [])), ODD),
    "redirect": (dict(answer="redirect"), ODD),
}


class Matrix(Case):
    def build(self):
        pass

    def prepare(self, table):
        for name in table:
            self.acme(f"org-{name}")
            self.add_member(name, organization=f"org-{name}")

    def judge(self, report, table):
        for name, (_, reasons) in table.items():
            with self.subTest(fault=name):
                r = self.result(report, name)
                self.assertEqual((r["access"], r["verdict"]), ("undetermined", "unknown"), str(r))
                self.assertIn(r["reason"], reasons, str(r))
                self.assertEqual(len(self.hub.posts(name)), 1, f"{name}: a POST is never repeated")

    def test_create_meets_every_fault(self):
        other = Listener({"url": "http://x/acme/y", "name": "y", "id": "0" * 24})
        self.addCleanup(other.stop)
        self.prepare(NOT_APPLIED)
        for name, (what, _) in NOT_APPLIED.items():
            what = dict(what)
            if what.get("answer") == "redirect":
                what["answer"] = (307, {"error": "moved"}, {"Location": other.url + "/api/repos/create"})
            if what.get("hold") == "never":
                what["hold"] = threading.Event()
            self.hub.fault("POST", "^/api/repos/create$", token=name, **what)
        report = self.audit(expect=3, timeout=90)
        self.assertEqual(report["summary"]["unknown"], len(NOT_APPLIED), str(self.last))
        self.judge(report, NOT_APPLIED)
        self.assertEqual(other.requests, [], "a redirect is not followed, and no token leaves the Hub")

    def test_reads_meet_every_fault(self):
        table = {n: NOT_APPLIED[n] for n in ("e500", "e502", "window", "captcha", "edge403", "silent", "reset", "portal",
                                             "error200", "redirect")}
        other = Listener()
        self.addCleanup(other.stop)
        for name in table:
            self.acme(f"org-{name}")
            self.hub.repo(f"org-{name}/target")
            self.add_member(name, organization=f"org-{name}", expect=[
                {"permission": p, "repo": f"org-{name}/target", "access": a}
                for p, a in (("repo.read", "denied"), ("repo.write", "allowed"))])
        for name, (what, _) in table.items():
            what = dict(what)
            if what.get("answer") == "redirect":
                what["answer"] = (307, "", {"Location": other.url + "/x"})
            if what.get("hold") == "never":
                what["hold"] = threading.Event()
            self.hub.fault("GET", f"^/api/models/org-{name}/target", token=name, **what)
        report = self.audit(expect=3, timeout=90)
        for r in report["results"]:
            with self.subTest(fault=r["token"], permission=r["permission"]):
                self.assertEqual(r["verdict"], "unknown", str(r))
        self.assertEqual(other.requests, [], "a redirect is not followed")


class WholeHub(Case):
    EXPECT = [create(), create("allowed", type="dataset"),
              {"permission": "repo.read", "repo": "acme/token-test-model", "access": "denied"},
              {"permission": "repo.read", "repo": "acme/known-private", "access": "allowed"},
              {"permission": "repo.write", "repo": "acme/known-private", "access": "allowed"}]

    def setUp(self):
        super().setUp()
        self.widened("wide", self.EXPECT)

    def all_unknown(self, **kw):
        report = self.audit(expect=3, **kw)
        self.assertEqual(report["summary"]["unknown"], len(self.EXPECT), f"never ok, never drift\n{self.last}")
        return report

    def test_200_to_everything(self):
        self.hub.fault(answer=(200, {}))
        self.all_unknown()

    def test_captive_portal(self):
        self.hub.fault(answer=(200, HTML))
        self.all_unknown()

    def test_200_ok_text_to_everything(self):
        self.hub.fault(answer=(200, "OK", {"Content-Type": "text/plain"}))
        self.all_unknown()

    def test_403_to_everything(self):
        self.hub.fault(answer=(403, {"error": "Forbidden"}))
        self.all_unknown()

    def test_403_namespace_text_to_everything(self):
        text = 'You don\'t have the rights to create a model under the namespace "acme"'
        self.hub.fault(answer=(403, {"error": text}, {"X-Error-Message": text}))
        self.all_unknown()

    def test_404_to_everything(self):
        self.hub.fault(answer=(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}))
        self.all_unknown()

    def test_500_to_everything(self):
        self.hub.fault(answer=(500, {"error": "Internal Error"}))
        self.all_unknown()

    def test_429_to_everything_is_not_waited_for(self):
        self.hub.fault(answer=(429, {"error": "You have exceeded the rate limit."}, EMPTY_WINDOW))
        for r in self.all_unknown(timeout=45)["results"]:
            self.assertIn(r["reason"], ("rate_limited", "no_control"), str(r))

    def test_closed_port(self):
        self.config["hub"]["endpoint"] = f"http://127.0.0.1:{free_port()}"
        for r in self.all_unknown()["results"]:
            self.assertIn(r["reason"], ("network", "no_control"), str(r))

    def test_redirect_of_everything_carries_no_token_away(self):
        other = Listener()
        self.addCleanup(other.stop)
        self.hub.fault(answer=(302, "", {"Location": other.url + "/"}))
        self.all_unknown()
        self.assertEqual([q for q in other.requests if "authorization" in q["headers"]], [], "the token went elsewhere")
        self.assertEqual(other.requests, [], "redirects are never followed")


class Controls(Case):
    def test_denied_without_control_is_unknown(self):
        """The Hub's own 403, but nobody can say whether the organization exists under this name."""
        self.add_member("limited")
        self.hub.fault("GET", "^/api/organizations/acme/overview$", answer=(500, {"error": "Internal Error"}))
        r = self.result(self.audit(expect=3), "limited")
        self.assertEqual((r["verdict"], r["reason"]), ("unknown", "no_control"), str(self.last))

    def test_whoami_down_is_no_verdict_of_its_own(self):
        """whoami is strictly limited; a 429 there neither makes a check drift nor an exit of 1."""
        self.add_member("limited")
        self.hub.fault("GET", "whoami", answer=(429, {"error": "rate limit for the /whoami-v2 endpoint"}, EMPTY_WINDOW))
        report = self.audit()
        self.assertIn(self.result(report, "limited")["verdict"], ("ok", "unknown"))
        self.assertIs(self.result(report, "limited")["declared"], False)
        self.assertIn(self.last.code, (0, 3))

    def test_environment_proxy_is_ignored(self):
        dead = f"http://127.0.0.1:{free_port()}"
        self.add_member("limited")
        self.audit(expect=0, env={k: dead for k in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")})


if __name__ == "__main__":
    unittest.main()

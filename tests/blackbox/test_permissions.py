"""Every permission of the contract that is read without creating: granted, denied, answered oddly, not asked at all.

Knows the table of permissions, the Hub's routes for them and the closed lists of reasons.  Serves whoever
adds a permission or changes how an answer is read.
"""

import threading
import unittest

from scenario import Case, create, wait_until

ORG, USER = ("org", "acme"), ("user", None)
# permission: (whose scope, the scope that opens it, method, route)
TABLE = {
    "job.read": (ORG, "job.write", "POST", "/api/jobs/acme/auth-check/read"),
    "job.write": (ORG, "job.write", "POST", "/api/jobs/acme/auth-check/write"),
    "endpoint.read": (ORG, "inference.endpoints.write", "POST", "/api/inference-endpoints/acme/auth-check/read"),
    "endpoint.write": (ORG, "inference.endpoints.write", "POST", "/api/inference-endpoints/acme/auth-check/write"),
    "endpoint.infer": (ORG, "inference.endpoints.infer.write", "POST",
                       "/api/inference-endpoints/acme/auth-check/infer"),
    "org.members": (ORG, "org.members.read", "GET", "/api/organizations/acme/members"),
    "org.repositories": (ORG, "org.repos.read", "GET", "/api/organizations/acme/settings/repositories"),
    "org.audit_log": (ORG, "org.auditLog.write", "GET", "/api/organizations/acme/audit-log/export"),
    "org.billing": (ORG, "org.billing.read", "GET", "/api/organizations/acme/billing/usage"),
    "org.service_accounts": (ORG, "org.serviceAccounts.read", "GET", "/api/organizations/acme/service-accounts"),
    "org.network_security": (ORG, "org.networkSecurity.read", "GET",
                             "/api/organizations/acme/settings/network-security"),
    "org.resource_groups": (ORG, "resourceGroup.write", "GET", "/api/organizations/acme/resource-groups"),
    "user.webhooks": (USER, "user.webhooks.read", "GET", "/api/settings/webhooks"),
    "user.billing": (USER, "user.billing.read", "GET", "/api/settings/billing/usage"),
}
POSTED = [p for p, row in TABLE.items() if row[2] == "POST"]
PROBES = "auth-check|^/api/organizations/acme/(?!overview)|^/api/settings/"
DENIED_TEXT = {"error": "You don't have the required permissions to complete this action on namespace acme, "
                        "missing permissions: something."}


def asked(access="denied", only=TABLE):
    return [{"permission": p, "access": access} for p in only]


class Permissions(Case):
    def build(self):
        super().build()
        self.config["schedule"]["on_start"] = True

    def holder(self, name, permissions, expect, role="admin", **kw):
        """A token of a user of its own that holds the scopes of these permissions and no others."""
        user = f"user-{name}"
        mine = {(kind, where or user): set() for kind, where in (ORG, USER)}
        for permission in permissions:
            (kind, where), scope, _, _ = TABLE[permission]
            mine[(kind, where or user)].add(scope)
        return self.add_member(name, role, [(*who, sorted(held)) for who, held in mine.items() if held], expect, **kw)

    def got(self, report, token):
        return {r["permission"]: r for r in report["results"] if r["token"] == token}

    def odd(self, permissions=TABLE, code=3, **fault):
        """What becomes of each permission when the Hub answers so: never a verdict, and always the exit 3."""
        self.holder("full", TABLE, asked("allowed", permissions))
        self.hub.fault(".*", PROBES, token="full", **fault)
        report = self.audit(expect=code)
        return self.got(report, "full")

    def undetermined(self, results, reason):
        self.assertEqual({p: (r["access"], r["reason"], r["verdict"]) for p, r in results.items()},
                         {p: ("undetermined", reason, "unknown") for p in results}, str(self.last))


class Granted(Permissions):
    def test_each_scope_grants_its_own_permission_and_no_other(self):
        for name, row in TABLE.items():
            same = {p for p, other in TABLE.items() if other[:2] == row[:2]}
            self.holder(name, [name], [{"permission": p, "access": "allowed" if p in same else "denied"} for p in TABLE])
        report = self.audit(expect=0)
        self.assertEqual(report["summary"]["checks"], len(TABLE) ** 2)
        for name, (_, _, method, path) in TABLE.items():
            for r in self.got(report, name).values():
                with self.subTest(token=name, permission=r["permission"]):
                    self.assertEqual((r["verdict"], r["target"], r["declared"], r["canary"]), ("ok", "-", True, None))
                    self.assertIn(r["predicted"], (None, r["access"]), "the documented model does not contradict")
                    self.assertIs(r["reason"] is None, r["access"] == "allowed", str(r))
                    self.assertNotEqual(r["reason"], "hidden")
            own = self.got(report, name)[name]["evidence"][0]
            self.assertEqual((own["method"], own["path"], own["status"]), (method, path, 200))
            sent = self.hub.seen(method, f"^{path}$", name)
            self.assertEqual([q["id"] for q in sent], [own["request_id"]], "asked once, and its request id is told")

    def test_nothing_is_granted_by_being_expected(self):
        self.holder("none", [], asked("allowed"), role="read")
        report = self.audit(expect=1)
        self.assertEqual(report["summary"]["unexpected_denial"], len(TABLE), str(self.last))

    def test_a_grant_that_nobody_expects_is_drift(self):
        self.holder("full", TABLE, asked())
        report = self.audit(expect=1)
        self.assertEqual(report["summary"]["unexpected_grant"], len(TABLE), str(self.last))

    def test_a_pattern_restriction_is_a_grant_all_the_same(self):
        """207: the token may, of the endpoints of these names."""
        self.holder("full", TABLE, asked("allowed", ["endpoint.read", "endpoint.write", "endpoint.infer"]),
                    patterns=("gpt2-*",))
        report = self.audit(expect=0)
        for r in report["results"]:
            self.assertEqual([e["status"] for e in r["evidence"]], [207], str(self.last))

    def test_a_207_of_another_shape_or_place_is_nobodys_grant(self):
        results = self.odd(["endpoint.write", "job.write", "org.members", "user.billing"],
                           answer=(207, {"patternRestrictions": ["*"]}, {}))
        self.undetermined(results, "unrecognized")

    def test_a_page_that_anybody_may_read_grants_nothing(self):
        self.hub.public_members = True
        self.holder("none", [], asked(only=["org.members"]), role="read")
        self.holder("full", TABLE, asked("allowed", ["org.members"]))
        report = self.audit()
        for name in ("none", "full"):
            r = self.got(report, name)["org.members"]
            self.assertNotEqual(r["access"], "allowed", f"{name}\n{self.last}")
        self.assertEqual(report["summary"]["unexpected_grant"], 0)
        self.assertTrue([q for q in self.hub.seen("GET", "/members$") if q["authorization"] is None],
                        "somebody without a token was asked for comparison")


class Denied(Permissions):
    def reasons(self, expected, only=tuple(p for p, row in TABLE.items() if row[0] == ORG)):
        """All denied for that reason, whatever the Hub's text names."""
        self.config["tokens"][-1]["expect"] = asked(only=only)
        report = self.audit(expect=0)
        got = {p: (r["access"], r["reason"]) for p, r in self.got(report, "full").items()}
        self.assertEqual(got, {p: ("denied", expected) for p in only}, str(self.last))

    def test_for_want_of_a_scope(self):
        self.holder("full", [], None)
        self.reasons("scope")

    def test_by_the_policy(self):
        self.holder("full", TABLE, None)
        self.hub.orgs["acme"].policy = "require_approval"
        self.hub.tokens["janitor"].approved = True
        self.reasons("token_policy")

    def test_by_revocation(self):
        self.holder("full", TABLE, None, revoked_in=("acme",))
        self.reasons("token_revoked")

    def test_by_a_restriction_that_only_whoami_names(self):
        for restriction, reason in (("sso", "sso"), ("mfa", "mfa"), ("ip", "ip_restriction")):
            with self.subTest(restriction):
                self.hub.heal()
                self.config["tokens"] = self.config["tokens"][:1]
                self.holder("full", TABLE, None, restrictions=(restriction,))
                self.hub.fault(".*", PROBES, token="full", answer=(403, {"error": "Authorization error."}, {}))
                self.reasons(reason)

    def test_a_spending_limit_is_money_and_not_a_permission(self):
        text = {"error": "You have exceeded your monthly spending limit."}
        results = self.odd(["job.write", "endpoint.infer"], code=None, answer=(403, text, {}))
        for permission, r in results.items():
            self.assertEqual(r["reason"], "billing", f"{permission}\n{self.last}")


class Odd(Permissions):
    def test_an_error_in_a_success(self):
        self.undetermined(self.odd(answer=(200, {"error": "Internal error"}, {})), "unrecognized")

    def test_a_page_for_people(self):
        self.undetermined(self.odd(answer=(200, "<html><body>Welcome</body></html>", {})), "unrecognized")

    def test_nothing_at_all(self):
        self.undetermined(self.odd(answer=(200, "", {})), "unrecognized")

    def test_a_bare_yes(self):
        self.undetermined(self.odd(answer=(200, '"OK"', {})), "unrecognized")

    def test_half_a_list(self):
        self.undetermined(self.odd(answer=(200, "[{", {})), "unrecognized")

    def test_a_list_of_something_else(self):
        listing = [p for p in TABLE if p in ("org.members", "org.repositories", "org.audit_log",
                                             "org.service_accounts", "org.resource_groups")]
        self.undetermined(self.odd(listing, answer=(200, [{"hello": "world"}, 3], {})), "unrecognized")

    def test_another_namespace_than_the_one_asked_for(self):
        answer = {"namespace": {"id": "0" * 24, "name": "other"}, "user": {"id": "1" * 24, "name": "user-full"}}
        self.undetermined(self.odd(POSTED, answer=(200, answer, {})), "unrecognized")

    def test_a_page_that_is_not_there(self):
        """404 is what a Hub without the route says, too: no denial."""
        for r in self.odd(answer=(404, {"error": "Sorry, we can't find the page you are looking for."}, {})).values():
            self.assertEqual(r["access"], "undetermined", str(self.last))
            self.assertIn(r["reason"], ("target_missing", "unrecognized"), str(self.last))

    def test_a_bill(self):
        self.undetermined(self.odd(answer=(402, {"error": "Payment required"}, {})), "billing")

    def test_a_limit(self):
        self.undetermined(self.odd(answer=(429, {"error": "Too many requests"}, {})), "rate_limited")

    def test_a_broken_hub(self):
        for status in (500, 503):
            with self.subTest(status):
                self.hub.heal()
                self.config["tokens"] = self.config["tokens"][:1]
                self.undetermined(self.odd(answer=(status, {"error": "Internal Error"}, {})), "hub_error")

    def test_a_firewall(self):
        for status, body in ((403, "<html>Forbidden</html>"), (405, "<html>captcha</html>"), (403, ""), (403, "{}")):
            with self.subTest(status=status, body=body):
                self.hub.heal()
                self.config["tokens"] = self.config["tokens"][:1]
                self.undetermined(self.odd(answer=(status, body, {})), "unrecognized")

    def test_a_redirect(self):
        self.undetermined(self.odd(answer=(302, "", {"Location": f"{self.hub.url}/api/settings/webhooks"})),
                          "unrecognized")

    def test_a_token_that_dies(self):
        results = self.odd(answer=(401, {"error": "Invalid username or password."}, {}))
        self.undetermined(results, "token_invalid")

    def test_a_lost_answer(self):
        self.undetermined(self.odd(["job.write", "org.billing", "user.webhooks"], reset=True), "network")

    def test_half_an_answer(self):
        self.undetermined(self.odd(["job.write", "org.billing", "user.webhooks"], cut=True), "network")

    def test_no_answer_in_time(self):
        self.config["hub"]["request_timeout"] = "1s"
        self.undetermined(self.odd(["job.write", "org.billing", "user.webhooks"], hold=threading.Event()), "timeout")


class ReadOnly(Permissions):
    def test_nothing_unsafe_leaves_and_the_rest_is_answered(self):
        sentinel = create("allowed", method="sentinel", sentinel="acme/known-private", type="model")
        self.holder("full", TABLE, asked("allowed") + [create("allowed", type="dataset"), sentinel])
        report = self.audit("--read-only", expect=3)
        self.assertEqual({q["method"] for q in self.hub.requests}, {"GET"})
        for r in report["results"]:
            unsafe = r["permission"] in POSTED or r["permission"] == "repo.create"
            self.assertEqual((r["access"], r["reason"]), ("undetermined", "read_only") if unsafe else ("allowed", None),
                             f"{r['permission']}\n{self.last}")
            self.assertEqual(r["evidence"] == [], unsafe, str(r))

    def test_the_daemon_too(self):
        self.holder("full", TABLE, asked("allowed") + [create("allowed")])
        daemon = self.serve("--read-only")
        read = daemon.metrics
        for permission in POSTED:
            wait_until(lambda: read().one("scopewatch_check_undetermined", token="full", permission=permission) == 1,
                       f"{permission} is undetermined")
        daemon.stop()
        self.assertEqual({q["method"] for q in self.hub.requests}, {"GET"})


if __name__ == "__main__":
    unittest.main()

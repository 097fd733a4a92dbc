"""What the documented model says of a token, beside what the Hub does: the report's `predicted`, two findings, two gauges.

Knows the model as far as the contract and the Hub's documents have it, the kinds of finding and the metrics.
Serves whoever changes a rule of the model or what becomes of a difference.
"""

import unittest

from scenario import NEVER, create, wait_until
from test_serve import Served, findings

READ = {"permission": "repo.read", "repo": "acme/known-private"}
WRITE = {"permission": "repo.write", "repo": "acme/known-private"}
ORG_WRITE = ("org", "acme", ["repo.write"])
CREATED = "^/api/repos/create$"
RIGHTS = (403, {"error": 'You don\'t have the rights to create a model under the namespace "acme"'}, {})


class Report(Served):
    def build(self):
        self.acme()

    def predicted(self, name="token", permission="repo.create"):
        return self.result(self.audit(), name, permission)["predicted"]

    def test_a_scope_and_a_role_together_allow(self):
        for role, expected in (("read", "denied"), ("contributor", "allowed"), ("write", "allowed"), ("admin", "allowed")):
            self.add_member(f"token-{role}", role, [ORG_WRITE], [create("allowed" if expected == "allowed" else "denied")])
        report = self.audit(expect=0)
        for role, expected in (("read", "denied"), ("contributor", "allowed"), ("write", "allowed"), ("admin", "allowed")):
            self.assertEqual(self.result(report, f"token-{role}")["predicted"], expected, role)

    def test_a_scope_elsewhere_does_not(self):
        self.add_member("none", "admin", [])
        self.add_member("own", "admin", [("user", "user-own", ["repo.write"])])
        self.add_member("one", "admin", [("model", "acme/known-private", ["repo.write"])],
                        [create(), {**WRITE, "access": "allowed"}])
        report = self.audit(expect=0)
        for token in ("none", "own", "one"):
            self.assertEqual(self.result(report, token)["predicted"], "denied", token)
        self.assertEqual(self.result(report, "one", "repo.write")["predicted"], "allowed")

    def test_classic_roles(self):
        for name, role in (("read", "admin"), ("write", "write")):
            self.hub.member("acme", f"user-{name}", role)
            self.add_token(f"classic-{name}", f"user-{name}", role=name,
                           expect=[create("allowed" if name == "write" else "denied")])
        report = self.audit(expect=0)
        self.assertEqual(self.result(report, "classic-read")["predicted"], "denied")
        self.assertEqual(self.result(report, "classic-write")["predicted"], "allowed")

    def test_a_policy_denies_whoever_asks(self):
        self.widened()
        self.hub.orgs["acme"].policy = "require_approval"
        self.hub.tokens["janitor"].approved = True
        r = self.result(self.audit(expect=0), "wide")
        self.assertEqual((r["predicted"], r["reason"]), ("denied", "token_policy"))

    def test_without_whoami_it_says_nothing(self):
        self.widened()
        self.hub.fault("GET", "^/api/whoami-v2$", token="wide", answer=(500, {"error": "Internal Error"}, {}))
        r = self.result(self.audit(), "wide")
        self.assertEqual((r["predicted"], r["declared"]), (None, False), str(self.last))

    def test_where_the_documents_are_silent_it_says_nothing(self):
        """What a token without the scope sees of the member list is not said."""
        self.add_member("token", "read", expect=[{"permission": "org.members", "access": "denied"}])
        self.assertIsNone(self.predicted(permission="org.members"))

    def test_words_that_nobody_knows_decide_nothing(self):
        self.add_member("token", "emperor", [ORG_WRITE])
        self.assertIsNone(self.predicted())


class Watched(Served):
    def build(self):
        self.acme()
        self.config["schedule"] = {"probe": "* * * * * *", "canary": "* * * * * *", "declared": "* * * * * *"}

    def open(self, daemon, kind, token="wide"):
        return [f for f in findings(daemon.json("/api/v1/findings"), kind) if f["token"] == token]

    def value(self, daemon, name, token="wide", **labels):
        return daemon.metrics().one(f"scopewatch_{name}", token=token, **labels)


class Mismatch(Watched):
    def test_of_a_hub_that_grants_less_and_its_end(self):
        self.add_member("wide", "admin", [ORG_WRITE], [{**WRITE, "access": "denied"}])
        fault = self.hub.fault("GET", "auth-check/write", token="wide", answer=(
            403, {"error": "You have read access but not the required permissions for this operation"}, {}))
        daemon = self.serve()
        found = wait_until(lambda: self.open(daemon, "prediction_mismatch"), "prediction_mismatch")[0]
        self.assertEqual((found["organization"], found["permission"], found["target"], found["severity"]),
                         ("acme", "repo.write", "acme/known-private", "warning"))
        self.assertEqual(self.value(daemon, "prediction_mismatch", permission="repo.write"), 1)
        self.assertEqual(self.value(daemon, "check_drift", permission="repo.write"), 0, "it is as expected all the same")
        report = daemon.json("/api/v1/report")
        self.assertEqual([(r["predicted"], r["access"], r["verdict"]) for r in report["results"]],
                         [("allowed", "denied", "ok")])
        fault.times = 0
        wait_until(lambda: not self.open(daemon, "prediction_mismatch"), "its end")
        wait_until(lambda: self.value(daemon, "prediction_mismatch", permission="repo.write") == 0, "a gauge of 0")
        daemon.stop()

    def test_of_a_hub_that_grants_more(self):
        self.add_member("wide", "write", expect=[{**WRITE, "access": "denied"}])
        self.hub.fault("GET", "auth-check/write", token="wide", answer=(200, "OK", {"Content-Type": "text/plain"}))
        daemon = self.serve()
        wait_until(lambda: self.open(daemon, "prediction_mismatch"), "prediction_mismatch")
        wait_until(lambda: self.open(daemon, "unexpected_grant"), "unexpected_grant, which it does not replace")
        daemon.stop()

    def test_nothing_observed_is_no_mismatch(self):
        self.add_member("wide", "admin", [ORG_WRITE], [{**WRITE, "access": "allowed"}])
        self.hub.fault("GET", "auth-check/write", token="wide", answer=(500, {"error": "Internal Error"}, {}))
        daemon = self.serve()
        wait_until(lambda: self.value(daemon, "check_undetermined", permission="repo.write") == 1, "undetermined")
        self.assertEqual(self.open(daemon, "prediction_mismatch"), [])
        self.assertIn(self.value(daemon, "prediction_mismatch", permission="repo.write"), (0, None))
        daemon.stop()


class Latent(Watched):
    def test_a_denial_that_hangs_on_the_role_alone(self):
        self.add_member("wide", "read", [ORG_WRITE])
        self.add_member("limited", "read")
        daemon = self.serve()
        found = wait_until(lambda: self.open(daemon, "latent_grant"), "latent_grant")[0]
        self.assertEqual((found["organization"], found["permission"], found["target"]), ("acme", "repo.create", "model"))
        self.rounds(daemon, 2)
        self.assertEqual(self.open(daemon, "latent_grant", "limited"), [], "its scope would not allow it")
        self.assertEqual(self.open(daemon, "unexpected_grant"), [])
        self.assertEqual(self.value(daemon, "prediction_mismatch", permission="repo.create"), 0)
        self.hub.tokens["wide"].scopes = [("org", "acme", ["repo.content.read"])]
        wait_until(lambda: not self.open(daemon, "latent_grant"), "its end with the scope")
        daemon.stop()

    def test_it_becomes_a_grant_with_the_role(self):
        self.add_member("wide", "read", [ORG_WRITE])
        daemon = self.serve()
        wait_until(lambda: self.open(daemon, "latent_grant"), "latent_grant")
        self.hub.member("acme", "user-wide", "write")
        wait_until(lambda: self.open(daemon, "unexpected_grant"), "unexpected_grant")
        wait_until(lambda: not self.open(daemon, "latent_grant"), "no longer latent")
        daemon.stop()

    def test_a_denial_that_nobody_hopes_for_is_not_latent(self):
        self.add_member("wide", "read", [ORG_WRITE], [create("allowed")])
        daemon = self.serve()
        wait_until(lambda: self.open(daemon, "unexpected_denial"), "unexpected_denial")
        self.assertEqual(self.open(daemon, "latent_grant"), [])
        daemon.stop()


class Gauges(Watched):
    def build(self):
        super().build()
        self.config["schedule"] = {"probe": NEVER, "canary": NEVER, "declared": "* * * * * *", "on_start": True}

    def test_all_three_of_a_token(self):
        self.add_member("wide", "admin", [("org", "acme", ["repo.write", "job.write", "org.write"])],
                        [{**WRITE, "access": "allowed"}])
        self.config["tokens"][-1]["declared"] = {"role": "fineGrained", "user": "user-wide", "scopes": [
            {"entity": "org:acme", "permissions": ["repo.write", "job.write"]}]}
        daemon = self.serve()
        wait_until(lambda: self.value(daemon, "token_declared_drift") == 1, "declared_drift of 1: org.write is not pinned")
        wait_until(lambda: self.value(daemon, "token_unchecked_permissions") == 1, "org.write: no check and no pin")
        wait_until(lambda: self.value(daemon, "prediction_mismatch", permission="repo.write") == 0, "no mismatch")
        labels = {"organization": "acme", "token": "wide"}
        for name, more in (("token_declared_drift", {}), ("token_unchecked_permissions", {}),
                           ("prediction_mismatch", {"permission": "repo.write", "target": "acme/known-private"})):
            self.assertEqual([got for got, _ in daemon.metrics().all(f"scopewatch_{name}", token="wide")],
                             [{**labels, **more}], name)
        self.hub.tokens["wide"].scopes = [("org", "acme", ["repo.write", "job.write"])]
        wait_until(lambda: self.value(daemon, "token_declared_drift") == 0, "no drift")
        wait_until(lambda: self.value(daemon, "token_unchecked_permissions") == 0, "nothing unchecked")
        daemon.stop()

    def test_what_no_check_asks_is_counted(self):
        self.add_member("wide", "write", [("org", "acme", ["repo.content.read", "job.write", "org.write"]),
                                          ("user", "user-wide", ["user.billing.read"]),
                                          ("org", "elsewhere", ["repo.write"])],
                        [{**READ, "access": "allowed"}])
        daemon = self.serve()
        wait_until(lambda: self.value(daemon, "token_unchecked_permissions") == 3,
                   "job.write, org.write and user.billing.read; what it may elsewhere is not ours")
        self.assertEqual(self.value(daemon, "token_declared_drift"), 0, "nothing is pinned")
        daemon.stop()


if __name__ == "__main__":
    unittest.main()

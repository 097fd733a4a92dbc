"""What tokens declare and who else is in the inventory: pins, changes, rotation, expiry, strangers, the missing.

Knows the kinds of finding, two gauges and the config's keys of the contract.  Serves whoever changes
what becomes of whoami and of the organization's own lists.
"""

import datetime
import json
import unittest

from scenario import NEVER, create, fresh_secret, wait_until
from test_serve import Served, findings

READ = [{"permission": "repo.read", "repo": "acme/known-private", "access": "allowed"}]
SCOPES = [("org", "acme", ["repo.content.read"])]


class Declaring(Served):
    """A daemon that asks whoami every second and looks at one token that may read."""

    def build(self):
        self.acme()
        self.config["schedule"] = {"probe": "*/2 * * * * *", "canary": NEVER, "declared": "* * * * * *"}
        self.token = self.add_member("watched", "write", SCOPES, READ)

    def lasting(self, daemon, kind):
        return [f for f in findings(daemon.json("/api/v1/findings"), kind) if f["token"] in ("watched", None)]

    def begins(self, daemon, kind):
        return wait_until(lambda: self.lasting(daemon, kind), f"a finding {kind}")[0]

    def ends(self, daemon, kind):
        wait_until(lambda: not self.lasting(daemon, kind), f"the end of {kind}")

    def gauge(self, daemon, name):
        return daemon.metrics().one(f"scopewatch_token_{name}", token="watched")


class Declared(Declaring):
    def test_a_pin_that_differs_is_a_finding_and_a_gauge_until_it_is_met(self):
        self.config["tokens"][-1]["declared"] = {
            "user": "user-watched", "role": "fineGrained",
            "scopes": [{"entity": "org:acme", "permissions": ["repo.content.read"]}]}
        daemon = self.serve()
        wait_until(lambda: self.gauge(daemon, "declared_drift") == 0, "declared_drift of 0")
        self.assertEqual(self.lasting(daemon, "declared_changed"), [])
        self.token.scopes = [("org", "acme", ["repo.content.read", "org.write"])]
        found = self.begins(daemon, "declared_changed")
        self.assertEqual((found["severity"], found["organization"], found["target"]), ("warning", "acme", None))
        self.assertIn("org.write on 'org:acme' is declared, not pinned", found["detail"])
        wait_until(lambda: self.gauge(daemon, "declared_drift") == 1, "declared_drift of 1")
        self.token.scopes = SCOPES
        self.ends(daemon, "declared_changed")
        wait_until(lambda: self.gauge(daemon, "declared_drift") == 0, "declared_drift of 0 again")

    def test_a_widened_scope_is_told_over_a_restart_and_until_it_is_narrowed(self):
        daemon = self.serve()
        wait_until(lambda: self.gauge(daemon, "unchecked_permissions") == 0, "nothing unchecked")
        self.token.scopes = [("org", "acme", ["repo.content.read", "repo.write"])]
        since = self.begins(daemon, "declared_changed")["since"]
        self.assertIn("repo.write on 'org:acme'", self.begins(daemon, "unchecked_permission")["detail"])
        wait_until(lambda: self.gauge(daemon, "unchecked_permissions") == 1, "one unchecked permission")
        self.assertEqual(self.gauge(daemon, "declared_drift"), 0, "nothing is pinned")
        daemon.stop()
        daemon = self.serve()
        self.rounds(daemon, 2)
        self.assertEqual(self.begins(daemon, "declared_changed")["since"], since)
        self.token.scopes = SCOPES
        self.ends(daemon, "declared_changed")
        self.ends(daemon, "unchecked_permission")

    def test_a_role_and_a_rule_that_change_are_told_apart(self):
        daemon = self.serve()
        self.rounds(daemon, 1)
        self.hub.member("acme", "user-watched", "admin")
        self.assertIn("'admin', before 'write'", self.begins(daemon, "role_changed")["detail"])
        self.hub.member("acme", "user-watched", "write")
        self.ends(daemon, "role_changed")
        self.hub.orgs["acme"].policy = "require_approval"
        self.assertIn("'token-policy'", self.begins(daemon, "policy_changed")["detail"])
        self.assertEqual(self.lasting(daemon, "role_changed"), [])

    def rotate(self, user, **kw):
        self.secrets["next"] = fresh_secret()
        token = self.hub.token("next", self.secrets["next"], user, label="watched", scopes=SCOPES, **kw)
        self.hub.tokens["watched"].alive = False
        (self.dir / "secret-watched").write_text(self.secrets["next"] + "\n")
        return token

    def test_another_secret_of_the_same_user_is_a_rotation_and_nothing_else(self):
        daemon = self.serve()
        self.rounds(daemon, 1)
        self.rotate("user-watched")
        self.begins(daemon, "rotated")
        self.rounds(daemon, 2)
        for kind in ("owner_changed", "declared_changed", "role_changed", "token_unusable", "missing_token"):
            self.assertEqual(self.lasting(daemon, kind), [], kind)

    def test_a_secret_of_somebody_else_is_told_even_if_it_came_while_nobody_looked(self):
        daemon = self.serve()
        self.rounds(daemon, 1)
        daemon.stop()
        self.hub.member("acme", "mallory", "write")
        self.rotate("mallory")
        daemon = self.serve()
        self.begins(daemon, "rotated")
        self.assertIn("it is mallory's, before user-watched's", self.begins(daemon, "owner_changed")["detail"])
        self.assertNotIn("mallory", daemon.output(), "names of the Hub are not logged")

    def test_an_expiry_ahead_is_told_in_time(self):
        def ahead(days):
            at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
            return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self.token.expires_at = ahead(20)
        daemon = self.serve()
        wait_until(lambda: self.gauge(daemon, "expiry_timestamp_seconds"), "the expiry is known")
        self.assertEqual(self.lasting(daemon, "expires_soon"), [])
        self.token.expires_at = ahead(3)
        self.assertIn(self.token.expires_at, self.begins(daemon, "expires_soon")["detail"])
        self.token.expires_at = ahead(90)
        self.ends(daemon, "expires_soon")

    def test_a_word_that_nobody_knows_is_a_finding_and_no_label_and_no_line_of_the_log(self):
        self.token.scopes = [("org", "acme", ["repo.content.read", "repo.teleport\x1b[31m"])]
        daemon = self.serve()
        self.assertIn("'repo.teleport[31m'", self.begins(daemon, "unknown_permission")["detail"])
        self.assertNotIn("teleport", daemon.metrics().text)
        self.assertNotIn("teleport", daemon.output())
        self.assertIn("unknown_permission", daemon.output())

    def test_a_refused_whoami_changes_nothing(self):
        daemon = self.serve()
        self.rounds(daemon, 1)
        self.token.scopes = [("org", "acme", ["repo.content.read", "org.write"])]
        found = self.begins(daemon, "declared_changed")
        text = ("You've hit the rate limit for the /whoami-v2 endpoint, which is intentionally strict for security "
                "reasons.")
        self.hub.fault("GET", "^/api/whoami-v2$", answer=(429, {"error": text}, {}))
        self.token.scopes = SCOPES
        self.rounds(daemon, 3)
        self.assertEqual(self.begins(daemon, "declared_changed")["since"], found["since"])
        self.assertEqual(self.lasting(daemon, "token_unusable"), [])
        self.assertEqual(self.gauge(daemon, "usable"), 1)
        report = daemon.json("/api/v1/report")
        self.assertEqual(report["summary"]["unknown"], 0, "no check minds")
        self.hub.heal()
        self.ends(daemon, "declared_changed")


class Inventory(Declaring):
    def stranger(self, name="forgotten", user="zoe", **kw):
        self.hub.member("acme", user, "write")
        return self.hub.token(name, fresh_secret(), user, role="write", **kw)

    def test_a_stranger_in_the_inventory_is_a_finding_until_it_is_revoked(self):
        self.hub.inventory_page = 1                     # every entry on a page of its own
        token = self.stranger("zoe's laptop")
        daemon = self.serve()
        found = self.begins(daemon, "unmanaged_token")
        self.assertEqual((found["organization"], found["token"], found["target"]), ("acme", None, token.id))
        for part in ("'zoe's laptop'", "'zoe'", "'write'", token.secret[-4:]):
            self.assertIn(part, found["detail"])
        self.assertNotIn(token.secret, json.dumps(daemon.json("/api/v1/findings")))
        self.assertNotIn("laptop", daemon.output() + daemon.metrics().text)
        token.status = "revoked"
        self.ends(daemon, "unmanaged_token")

    def test_a_live_token_that_is_not_listed_is_missed(self):
        self.token.unlisted = True
        daemon = self.serve()
        self.begins(daemon, "missing_token")
        self.token.unlisted = False
        self.ends(daemon, "missing_token")

    def test_an_inventory_that_may_not_be_read_claims_nothing_and_ends_nothing(self):
        daemon = self.serve()
        self.rounds(daemon, 1)
        token = self.stranger()
        self.begins(daemon, "unmanaged_token")
        janitor = self.hub.tokens["janitor"]
        janitor.scopes, kept = [("org", "acme", ["repo.write"])], janitor.scopes
        token.status, self.token.unlisted = "revoked", True
        before = len(self.hub.seen("GET", "settings/tokens$"))
        wait_until(lambda: len(self.hub.seen("GET", "settings/tokens$")) > before + 1, "it is asked again")
        self.assertEqual(len(self.lasting(daemon, "unmanaged_token")), 1)
        self.assertEqual(self.lasting(daemon, "missing_token"), [])
        self.assertEqual(daemon.json("/api/v1/report")["summary"]["unknown"], 0, "no check minds")
        janitor.scopes = kept
        self.ends(daemon, "unmanaged_token")
        self.begins(daemon, "missing_token")

    def test_service_accounts_are_read_by_whom_the_config_names(self):
        self.hub.account("acme", "svc-ci")
        token = self.hub.token("svc token", fresh_secret(), "svc-ci", scopes=SCOPES)
        self.hub.member("acme", "reader-user", "admin")
        needs = [("org", "acme", ["org.read", "org.serviceAccounts.read"])]
        self.add_token("reader", "reader-user", needs, listed=None)
        self.config["organizations"][0]["inventory"] = "reader"
        daemon = self.serve()
        found = self.begins(daemon, "unmanaged_token")
        self.assertIn(token.id, found["target"])
        self.assertIn("service account 'svc-ci'", found["detail"])
        self.assertEqual({r["token"] for r in self.hub.seen("GET", "(settings/tokens|service-accounts)")}, {"reader"})
        for name in ("reader", "janitor"):
            self.assertEqual(daemon.metrics().one("scopewatch_token_unchecked_permissions", token=name), 0,
                             f"{name} is not nagged for what its job needs")
        self.hub.orgs["acme"].accounts.clear()
        self.ends(daemon, "unmanaged_token")

    def test_an_audit_reads_it_once_and_its_exit_is_that_of_the_checks(self):
        self.stranger()
        done = self.with_config("audit", "--read-only", expect=0)
        self.assertIn("unmanaged_token", done.out)
        self.assertEqual(len(self.hub.seen("GET", "settings/tokens$")), 1)
        self.assertEqual({r["method"] for r in self.hub.seen()}, {"GET"})

    def test_a_reader_that_is_no_token_is_a_mistake(self):
        self.config["organizations"][0]["inventory"] = "janitr"
        done = self.with_config("check", expect=2)
        self.assertIn("no token is named", done.out + done.err)
        self.assertIn("janitor", done.out + done.err)
        self.assertEqual(self.hub.seen(), [])


class Drifting(Declaring):
    def test_findings_of_tokens_do_not_change_an_audits_exit(self):
        self.config["tokens"][-1]["declared"] = {"role": "write"}
        self.config["tokens"][-1]["expect"] = READ + [create()]
        done = self.with_config("audit", expect=0)
        self.assertIn("declared_changed", done.out)
        self.assertIn("role is 'fineGrained', pinned 'write'", done.out)


if __name__ == "__main__":
    unittest.main()

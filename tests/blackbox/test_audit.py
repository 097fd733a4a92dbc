"""`audit`: verdicts, exit codes and the report, against a Hub in good order.

Knows the report's shape, the permissions and the targets of the contract.  Serves whoever changes how
an answer becomes a verdict.
"""

import json
import unittest

from scenario import Case, create

MODEL = "acme/token-test-model"


def repo(permission, access, name=MODEL, **more):
    return {"permission": permission, "repo": name, **more, "access": access}


class Verdicts(Case):
    def test_denials_as_expected_are_ok(self):
        """The question this began with: write through the group, a token that names nothing."""
        self.hub.orgs["acme"].groups["token-test-group"]["members"]["bob"] = "write"
        self.hub.member("acme", "bob", "no_access")
        self.add_token("limited", "bob", expect=[
            create(), create(type="dataset"), create(type="space"), create(resource_group="token-test-group"),
            repo("repo.read", "denied"), repo("repo.write", "denied")])
        report = self.audit(expect=0)
        self.assertEqual(report["summary"], {"checks": 6, "ok": 6, "unexpected_grant": 0, "unexpected_denial": 0,
                                             "unknown": 0}, str(self.last))
        self.assertEqual({r["target"] for r in report["results"]},
                         {"model", "dataset", "space", "model@token-test-group", MODEL})
        for r in report["results"]:
            self.assertEqual((r["organization"], r["access"], r["verdict"]), ("acme", "denied", "ok"))
            self.assertIs(r["declared"], True, "the round knows the whoami of a living token")
        for r in report["results"]:
            if r["permission"] == "repo.create":
                self.assertEqual(r["reason"], "scope", str(r))
                self.assertEqual(r["canary"]["state"], "refused", "a refused POST has a canary that is refused")
                posts = [e for e in r["evidence"] if e["method"] == "POST"]
                self.assertEqual([(e["path"], e["status"]) for e in posts], [("/api/repos/create", 403)], str(r))
        self.assertEqual(report["canaries"], {"created": 0, "deleted": 0, "unfinished": 0})
        self.assertEqual(self.hub.created, [])

    def test_widened_token_is_an_unexpected_grant(self):
        self.widened()
        report = self.audit(expect=1)
        r = self.result(report, "wide")
        self.assertEqual((r["access"], r["verdict"], r["reason"], r["target"]),
                         ("allowed", "unexpected_grant", None, "model"))
        self.assertEqual(report["canaries"], {"created": 1, "deleted": 1, "unfinished": 0})
        self.assertEqual(len(self.hub.created), 1)
        made, gone = self.hub.created[0], self.hub.deleted
        self.assertIs(made["body"].get("private"), True, "the POST's body says private: true")
        self.assertNotIn("visibility", made["body"], "private and visibility exclude each other")
        name = made["name"].split("/")[1]
        self.assertTrue(name.startswith("scopewatch-canary-"), name)
        self.assertLessEqual(len(name), 96)
        self.assertRegex(name, "^[a-z0-9-]+$")
        self.assertEqual(r["canary"], {"repo": made["name"], "type": "model", "state": "deleted"})
        self.assertEqual([d["name"] for d in gone], [made["name"]], "the canary, and only it, is deleted")
        post = next(e for e in r["evidence"] if e["method"] == "POST")
        asked = self.hub.posts("wide")[0]
        self.assertEqual(post, {"method": "POST", "path": "/api/repos/create", "status": 200,
                                "request_id": asked["id"]}, "evidence is what went over the wire")
        self.assertTrue(asked["user_agent"] and "scopewatch" in asked["user_agent"].lower(),
                        "a User-Agent by which the organization's audit log can be read")
        deletion = self.hub.seen("DELETE")[0]
        before = [q for q in self.hub.seen("GET", f"^/api/models/{made['name']}$") if q["at"] < deletion["at"]]
        self.assertTrue(before, "an identity GET before the DELETE")

    def test_allowed_as_expected_is_ok(self):
        self.widened(expect=[create("allowed"), create("allowed", type="dataset"), create("allowed", type="space"),
                             repo("repo.read", "allowed", "acme/known-private"),
                             repo("repo.write", "allowed", "acme/known-private")])
        report = self.audit(expect=0)
        self.assertEqual(report["summary"]["ok"], 5, str(self.last))
        self.assertEqual(sorted(c["type"] for c in self.hub.created), ["dataset", "model", "space"])
        self.assertEqual(next(c for c in self.hub.created if c["type"] == "space")["body"]["sdk"], "static")
        self.assertEqual(report["canaries"], {"created": 3, "deleted": 3, "unfinished": 0})
        self.assertTrue(all(c["body"]["private"] is True for c in self.hub.created))
        self.assertEqual(self.hub.lock_hits, [], "three creations of one user are made one after another")

    def test_unexpected_denial(self):
        self.add_member("narrow", expect=[create("allowed"), repo("repo.write", "allowed", "acme/known-private")])
        report = self.audit(expect=1)
        self.assertEqual(report["summary"]["unexpected_denial"], 2, str(self.last))

    def test_read_and_write_both_ways(self):
        """One reader, one writer, one stranger; expected right for some and wrong for others."""
        scope = [("org", "acme", ["repo.content.read"])]
        self.add_member("reader", "read", scope, [repo("repo.read", "denied", "acme/known-private"),
                                                  repo("repo.write", "denied", "acme/known-private")])
        self.widened("writer", [repo("repo.read", "allowed", "acme/known-private"),
                                repo("repo.write", "denied", "acme/known-private")])
        self.add_token("stranger", "eve", expect=[repo("repo.read", "denied", "acme/known-private"),
                                                  repo("repo.write", "allowed", "acme/known-private")])
        report = self.audit(expect=1)
        got = {(r["token"], r["permission"]): (r["access"], r["verdict"]) for r in report["results"]}
        self.assertEqual(got, {("reader", "repo.read"): ("allowed", "unexpected_grant"),
                               ("reader", "repo.write"): ("denied", "ok"),
                               ("writer", "repo.read"): ("allowed", "ok"),
                               ("writer", "repo.write"): ("allowed", "unexpected_grant"),
                               ("stranger", "repo.read"): ("denied", "ok"),
                               ("stranger", "repo.write"): ("denied", "unexpected_denial")}, str(self.last))
        self.assertEqual(self.hub.posts(), [], "no canary where none is asked for")

    def test_repository_that_does_not_exist_is_no_denial(self):
        self.add_member("reader", "read", [("org", "acme", ["repo.content.read"])],
                        [repo("repo.read", "denied", "acme/no-such-model")])
        report = self.audit(expect=3)
        self.assertEqual(self.result(report, "reader", "repo.read")["reason"], "target_missing", str(self.last))

    def test_resource_group_by_name_and_by_id(self):
        group = self.hub.orgs["acme"].groups["token-test-group"]
        for user in ("user-by-name", "user-by-id"):
            group["members"][user] = "write"
        scope = [("org", "acme", ["repo.write"])]
        self.add_member("by-name", "no_access", scope, [create("allowed", resource_group="token-test-group"), create()])
        self.add_member("by-id", "no_access", scope, [create("allowed", resource_group=group["id"])])
        report = self.audit(expect=0)
        self.assertEqual(report["summary"]["ok"], 3, str(self.last))
        self.assertEqual([c["group"] for c in self.hub.created], ["token-test-group"] * 2)
        self.assertTrue(all(c["body"]["resourceGroupId"] == group["id"] for c in self.hub.created))
        self.assertIn("model@token-test-group", {r["target"] for r in report["results"]})

    def test_unknown_resource_group_is_unknown(self):
        self.add_member("limited", expect=[create(resource_group="no-such-group"),
                                           create(resource_group="0123456789abcdef01234567")])
        report = self.audit(expect=3)
        for r in report["results"]:
            self.assertIn(r["reason"], ("target_missing", "no_control"), str(self.last))

    def test_several_tokens_and_choice_of_one(self):
        self.add_member("limited")
        self.widened()
        report = self.audit("--token", "limited", expect=0)
        self.assertEqual([r["token"] for r in report["results"]], ["limited"])
        self.assertEqual(self.hub.posts("wide"), [], "a token that was not chosen is not probed")

    def test_drift_comes_before_unknown_in_the_exit_code(self):
        self.widened()
        self.add_member("dead", alive=False)
        report = self.audit(expect=1)
        self.assertEqual((report["summary"]["unexpected_grant"], report["summary"]["unknown"]), (1, 1), str(self.last))


class Policies(Case):
    def test_policy_revocation_and_role_are_told_apart(self):
        for name in ("approval", "classic", "revoked"):
            self.acme(f"org-{name}")
        self.hub.orgs["org-approval"].policy = "require_approval"
        self.hub.tokens["janitor-org-approval"].approved = True
        self.hub.orgs["org-classic"].policy = "fine_grained_only"
        self.widened("approval", organization="org-approval")
        self.add_member("classic", organization="org-classic").role = "write"
        self.widened("revoked", organization="org-revoked").revoked_in = ("org-revoked",)
        report = self.audit(expect=0)
        got = {r["token"]: r["reason"] for r in report["results"]}
        self.assertEqual(got, {"approval": "token_policy", "classic": "token_policy", "revoked": "token_revoked"},
                         str(self.last))


class Identity(Case):
    def test_mistyped_organizations_are_unknown(self):
        self.acme("BigCase", configured="bigcase")
        self.add_member("missing-org", organization="acme")
        self.config["tokens"][-1]["organization"] = "acmee"
        self.config["organizations"].append({"name": "acmee", "janitor": "lost-janitor"})
        self.add_token("lost-janitor", "admin-acme", [("org", "acme", ["repo.write"])], organization="acmee", listed=None)
        self.hub.member("BigCase", "user-cased", "write")
        self.add_token("cased", "user-cased", organization="bigcase")
        self.hub.member("BigCase", "user-able", "write")
        self.add_token("able", "user-able", [("org", "BigCase", ["repo.write"])], organization="bigcase")
        report = self.audit(expect=3)
        for token in ("missing-org", "cased", "able"):
            r = self.result(report, token)
            self.assertEqual(r["verdict"], "unknown", f"{token}: a mistyped organization proves nothing\n{self.last}")
            self.assertIn(r["reason"], ("no_control", "target_missing"), str(r))
        self.assertEqual(self.hub.created, [])

    def test_dead_token_is_unknown(self):
        self.add_member("dead", expect=[create(), repo("repo.read", "denied", "acme/known-private"),
                                        repo("repo.write", "denied", "acme/known-private")], alive=False)
        self.add_member("alive")
        report = self.audit(expect=3)
        for r in report["results"]:
            if r["token"] == "dead":
                self.assertEqual((r["verdict"], r["reason"]), ("unknown", "token_invalid"), str(r))
                self.assertIs(r["declared"], False, "nothing is known of a dead token")
        self.assertEqual(self.result(report, "alive")["verdict"], "ok", "the other token is not harmed")

    def test_token_that_dies_between_whoami_and_create(self):
        self.add_member("dying")
        self.hub.fault("POST", "create", token="dying", answer=(401, {"error": "Invalid username or password."}))
        r = self.result(self.audit(expect=3), "dying")
        self.assertEqual(r["reason"], "token_invalid", str(self.last))


class Formats(Case):
    def setUp(self):
        super().setUp()
        self.widened()

    def test_json_to_a_file(self):
        out = self.dir / "report.json"
        done = self.with_config("audit", "--format", "json", "--output", str(out), expect=1)
        self.check_report(json.loads(out.read_text()), done)
        self.assertEqual(done.out.strip(), "", "the report went to the file")

    def test_output_that_cannot_be_written_is_known_before_the_round(self):
        for path in (self.dir / "none" / "report.json", self.dir):
            done = self.with_config("audit", "--format", "json", "--output", str(path), expect=2)
            self.assertIn(str(path), done.err)
        self.assertEqual(self.hub.posts(), [], "nothing was created for a report that nobody can read")

    def test_sentences_stand_beside_json(self):
        done = self.with_config("audit", "--format", "json", expect=1)
        self.check_report(json.loads(done.out), done)
        self.assertIn("narrow the token's scopes", done.err, "a person gets the way out all the same")

    def test_table(self):
        for argv in ((), ("--format", "table")):
            text = self.with_config("audit", *argv, expect=1).out
            for word in ("wide", "repo.create", "acme"):
                self.assertIn(word, text, f"{argv}")
            self.assertRegex(text.lower(), "unexpected.grant", f"{argv}")
            self.assertNotIn("\x1b", text, "no colour with NO_COLOR and without a terminal")


if __name__ == "__main__":
    unittest.main()

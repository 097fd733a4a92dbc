"""Hubs whose answers mean nothing: no verdict, no drift, nothing created, and somebody is told.

Knows the Hub's refusals and the controls as documented: an organization under exactly this name, something
granted and something denied to somebody who can see.  Serves whoever changes what must be shown before an
answer counts.
"""

import unittest

from scenario import Case, create, wait_until
from test_serve import findings

READ = {"permission": "repo.read", "repo": "acme/known-private"}
WRITE = {"permission": "repo.write", "repo": "acme/known-private"}
NOT_FOUND = (404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound",
                                                      "X-Error-Message": "Repository not found"})
RIGHTS = (403, {"error": 'You don\'t have the rights to create a model under the namespace "acme"'},
          {"X-Error-Message": "You don't have the rights"})
POSTED = ["job.read", "job.write", "endpoint.read", "endpoint.write", "endpoint.infer"]
PAGES = ["org.members", "org.repositories", "org.audit_log", "org.billing", "org.service_accounts",
         "org.network_security", "org.resource_groups"]
SCOPES = ["repo.write", "org.read", "job.write", "inference.endpoints.write", "inference.endpoints.infer.write",
          "org.auditLog.write", "org.billing.read", "org.serviceAccounts.read", "org.networkSecurity.read"]


class Meaningless(Case):
    """One token that may do nothing and one that may do all, and that is what is expected of them."""

    sentinels = ("acme/known-private",)

    def build(self):
        super().build()
        self.config["schedule"] = {"probe": "* * * * * *", "canary": "* * * * * *", "declared": "0 7 * * * *"}
        self.hub.repo("acme/known-private", type="dataset")
        self.add_member("none", "read", [], self.everything("denied"))
        self.add_member("full", "admin", [("org", "acme", SCOPES)], self.everything("allowed"))

    def everything(self, access):
        taken = create(access, type="dataset", method="sentinel", sentinel="acme/known-private")
        return [create(access), taken, {**READ, "access": access}, {**WRITE, "access": access},
                *({"permission": p, "access": access} for p in POSTED + PAGES)]

    def lie(self, answer, path=".*", method=".*", **kw):
        self.hub.fault(method, path, answer=answer, **kw)

    def nothing_learned(self, reasons=("no_control", "target_missing", "unrecognized", "token_invalid")):
        """No check is ok by it, none drifts, nothing is made, and the exit says so."""
        report = self.audit(expect=3)
        self.assertEqual(self.hub.created, [], str(self.last))
        self.assertEqual(self.hub.posts(), [], "not even asked for")
        self.assertEqual(self.hub.seen("DELETE"), [])
        self.assertEqual({r["verdict"] for r in report["results"]}, {"unknown"}, str(self.last))
        for r in report["results"]:
            self.assertIn(r["reason"], reasons, f"{r['token']} {r['permission']}\n{self.last}")

    def told(self, heal):
        """`blind` within one round of a daemon, and no more of it once answers mean something again."""
        daemon = self.serve()
        found = wait_until(lambda: findings(daemon.json("/api/v1/findings"), "blind"), "a finding `blind`", 6)
        self.assertTrue(all(f["detail"] for f in found), str(found))
        self.assertEqual(findings(daemon.json("/api/v1/findings"), "unexpected_grant"), [])
        self.assertEqual([v for _, v in daemon.metrics().all("scopewatch_check_drift") if v], [])
        self.assertEqual(self.hub.posts(), [], "nothing is created on such a Hub")
        heal()
        wait_until(lambda: not findings(daemon.json("/api/v1/findings"), "blind"), "the end of `blind`", 10)
        wait_until(lambda: daemon.json("/api/v1/report")["summary"]["unknown"] == 0, "every check answered", 10)
        daemon.stop()


class Hubs(Meaningless):
    def yes(self):
        """Whoami stays the Hub's own; all else succeeds, in the shape of a success where one is known."""
        place = {"namespace": {"id": self.hub.orgs["acme"].id, "name": "acme"},
                 "user": {"id": "0" * 24, "name": "somebody"}}
        self.lie((200, "OK", {"Content-Type": "text/plain"}), "^/api/[a-z]+/acme/[^/]+/auth-check(/write)?$", "GET")
        self.lie((200, place, {}), "auth-check", "POST")
        self.lie((200, {"url": "x", "name": "acme/x", "id": "0" * 24}), "^/api/repos/create$")
        repo = self.hub._shape(self.hub.find("model", "acme/known-private"))
        self.lie((200, repo, {}), "^/api/(models|datasets|spaces)/acme/[^/]+$", "GET")
        self.lie((200, [], {}), "^/api/organizations/acme/(?!overview|billing|settings/network)", "GET")
        self.lie((200, {"usage": {}, "enforceIpRestriction": False}, {}), "^/api/organizations/acme/(billing|settings)")

    def test_that_says_yes(self):
        self.yes()
        self.nothing_learned()
        self.told(self.hub.heal)

    def test_that_says_yes_to_whatever_is_signed(self):
        """The anonymous are refused as they should be; the unguessable name gives it away."""
        shape = self.hub._shape(self.hub.find("model", "acme/known-private"))

        def there(request):
            return 200, {**shape, "id": request["path"].removeprefix("/api/models/")}, {}
        for token in ("none", "full", "janitor"):
            self.lie(there, "^/api/models/acme/[^/]+$", "GET", token=token)
        self.nothing_learned()

    def test_that_echoes(self):
        """Whatever is asked is what it answers: path, method, body and the secret itself."""
        def echo(request):
            last = request["path"].rsplit("/", 1)[-1]
            return 200, {"id": request["path"].split("/api/")[-1].split("/", 1)[-1], "name": last, "path": request["path"],
                         "method": request["method"], "private": True, "namespace": {"name": "acme"},
                         "user": {"name": request["authorization"]}, "usage": request["query"],
                         "authorization": request["authorization"], **request["body"]}, {}
        self.lie(echo)
        self.nothing_learned()
        for format in ("table", "json", "markdown", "sarif", "junit"):
            done = self.with_config("audit", "--format", format, expect=3)
            for secret in self.secrets.values():
                self.assertNotIn(secret, done.out + done.err, format)
        self.hub.heal()
        self.lie(echo, "^/api/(?!whoami)")
        self.nothing_learned()
        self.told(self.hub.heal)

    def test_that_says_no(self):
        self.lie(RIGHTS, "^/api/(?!whoami)")
        self.nothing_learned()
        self.told(self.hub.heal)

    def test_that_says_no_and_knows_the_organization(self):
        self.lie(RIGHTS, "^/api/(?!whoami|organizations/acme/overview)")
        self.nothing_learned()

    def test_that_finds_nothing(self):
        self.lie(NOT_FOUND, "^/api/(?!whoami)")
        self.nothing_learned()
        self.told(self.hub.heal)

    def test_that_finds_nothing_but_the_organization(self):
        self.lie(NOT_FOUND, "^/api/(?!whoami|organizations/acme/overview)")
        self.nothing_learned()

    def test_that_answers_everything_with_one_object(self):
        everything = {"url": "x", "name": "acme", "id": "acme/known-private", "_id": "0" * 24, "private": True,
                      "namespace": {"name": "acme"}, "user": {"name": "full"}, "usage": {}, "error": None}
        self.lie((200, everything, {}), "^/api/(?!whoami)")
        self.nothing_learned()

    def test_that_says_the_same_of_whoami(self):
        self.lie((200, {"ok": True}, {}))
        self.nothing_learned()

    def test_that_shows_private_things_to_anybody(self):
        repo = self.hub._shape(self.hub.find("model", "acme/known-private"))
        self.lie((200, repo, {}), "^/api/models/acme/known-private$", "GET", token="")
        self.nothing_learned()


class Organization(Meaningless):
    def test_of_another_letter_case(self):
        for entry in self.config["organizations"] + self.config["tokens"]:
            key = "name" if "janitor" in entry else "organization"
            entry[key] = "Acme"
            for check in entry.get("expect", []):
                check.update({k: check[k].replace("acme/", "Acme/") for k in ("repo", "sentinel") if k in check})
        self.nothing_learned()

    def test_that_was_renamed(self):
        overview = {"name": "acme-inc", "_id": self.hub.orgs["acme"].id, "fullname": "Acme", "type": "org"}
        self.lie((200, overview, {}), "^/api/organizations/acme/overview$")
        self.nothing_learned()
        self.told(self.hub.heal)

    def test_that_is_none(self):
        self.lie((404, {"error": "Not found"}, {}), "^/api/organizations/acme/overview$")
        self.nothing_learned()


class Janitor(Meaningless):
    def test_that_is_dead(self):
        janitor = self.hub.tokens["janitor"]
        janitor.alive = False
        self.nothing_learned()

        def heal():
            janitor.alive = True
        self.told(heal)

    def test_that_sees_nothing_proves_no_hidden_thing(self):
        """An organization may have nothing private, so the round goes on; but what is hidden from both stays unknown."""
        self.hub.tokens["janitor"].scopes = []
        report = self.audit(expect=3)
        self.assertEqual(report["summary"]["unexpected_denial"], 0, str(self.last))
        self.assertEqual(report["summary"]["unexpected_grant"], 0, str(self.last))
        for permission in ("repo.read", "repo.write"):
            self.assertEqual(self.result(report, "none", permission)["reason"], "target_missing", str(self.last))
        self.assertEqual([d["token"] for d in self.hub.deleted], ["full"], "who made it can see and delete it")


if __name__ == "__main__":
    unittest.main()

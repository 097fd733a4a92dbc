"""The second Hub tested by itself: routes, texts, headers, rights and faults, by urllib alone.

Knows the Hub's documented answers.  Serves those who read a red scenario and ask whether the Hub lied.
"""

import http.client
import json
import threading
import unittest
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from hub import CAPPED, GUARD, LOCKED, Hub, Listener


class HubAnswers(unittest.TestCase):
    def setUp(self):
        self.hub = hub = Hub().start()
        self.addCleanup(hub.stop)
        hub.org("acme")
        hub.member("acme", "alice", "admin")
        hub.member("acme", "bob", "no_access")
        hub.member("acme", "carol", "write")
        self.group = hub.group("acme", "grp", bob="write")
        hub.repo("acme/secret-model", group="grp")
        hub.repo("acme/root-model")
        hub.token("janitor", "hf_janitor", "alice", scopes=[("org", "acme", ["repo.write", "org.read"])])
        hub.token("limited", "hf_limited", "bob")
        hub.token("grouped", "hf_grouped", "bob", scopes=[("org", "acme", ["repo.write"])])
        hub.token("carol-read", "hf_carol_r", "carol", role="read")
        hub.token("carol-write", "hf_carol_w", "carol", role="write")

    def call(self, method, path, secret=None, body=None):
        request = urllib.request.Request(self.hub.url + path, method=method,
                                         data=None if body is None else json.dumps(body).encode())
        if secret:
            request.add_header("Authorization", f"Bearer {secret}")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                text = answer.read().decode()
                status, headers = answer.status, answer.headers
        except urllib.error.HTTPError as error:
            text, status, headers = error.read().decode(), error.code, error.headers
        return status, (json.loads(text) if text[:1] in "[{" else text), headers

    def create(self, secret, name, **body):
        return self.call("POST", "/api/repos/create", secret, {"name": name, "organization": "acme", "private": True, **body})

    def test_anonymous_and_dead(self):
        status, body, headers = self.call("GET", "/api/whoami-v2")
        self.assertEqual((status, body["error"]), (401, "Invalid username or password."))
        self.assertIn("Bearer realm", headers["WWW-Authenticate"])
        self.assertEqual(self.call("GET", "/api/whoami-v2", "hf_garbage")[0], 401)
        self.hub.tokens["limited"].alive = False
        status, body, _ = self.call("GET", "/api/whoami-v2", "hf_limited")
        self.assertEqual((status, body["error"]), (401, 'User Access Token "limited" is expired'))

    def test_whoami(self):
        status, who, headers = self.call("GET", "/api/whoami-v2", "hf_grouped")
        self.assertEqual((status, who["name"]), (200, "bob"))
        scoped = who["auth"]["accessToken"]["fineGrained"]["scoped"][0]
        self.assertEqual((scoped["entity"]["_id"], scoped["permissions"]), (who["orgs"][0]["id"], ["repo.write"]))
        self.assertEqual(who["orgs"][0]["resourceGroups"], [{"id": self.group, "name": "grp", "role": "write"}])
        self.assertRegex(headers["RateLimit"], r'^"api";r=\d+;t=\d+$')
        self.assertRegex(headers["X-Request-Id"], "^Root=1-")

    def test_create_rights(self):
        text = 'You don\'t have the rights to create a model under the namespace "acme"'
        for secret in ("hf_limited", "hf_grouped", "hf_carol_r"):
            status, body, headers = self.create(secret, "x")
            self.assertEqual((status, body["error"], headers["X-Error-Message"]), (403, text, text), secret)
            self.assertIsNone(headers["X-Error-Code"])
        self.assertEqual(self.create("hf_grouped", "g", resourceGroupId=self.group)[0], 200, "the group's writer")
        self.assertEqual(self.create("hf_grouped", "g2", resourceGroupId="0" * 24)[0], 403, "a group that is not there")
        self.assertEqual(self.create("hf_carol_w", "c")[0], 200)
        self.assertEqual(self.create("hf_carol_w", "c")[0], 409, "exists")
        self.assertEqual(self.create("hf_carol_r", "c")[0], 403, "rights come before existence")
        for wrong in ("Acme", "acmee"):
            status, body, _ = self.create("hf_carol_w", "y", organization=wrong)
            self.assertEqual((status, wrong in body["error"]), (403, True), "exact case")
        self.assertEqual(self.create("hf_carol_w", "a--b")[0], 400)
        self.assertEqual(self.create("hf_carol_w", "s", type="space", sdk="gradio")[0], 402)
        self.assertEqual(self.create("hf_carol_w", "s", type="space", sdk="static")[0], 200)
        self.assertEqual(len(self.hub.leftovers()), 3)

    def test_policies(self):
        self.hub.orgs["acme"].policy = "require_approval"
        self.assertIn("needs to be approved", self.create("hf_carol_w", "x")[1]["error"])
        self.hub.orgs["acme"].policy = "allow"
        self.hub.tokens["carol-write"].revoked_in = ("acme",)
        self.assertIn("has been revoked", self.create("hf_carol_w", "x")[1]["error"])
        who = self.call("GET", "/api/whoami-v2", "hf_carol_w")[1]
        self.assertEqual(who["orgs"][0]["securityRestrictions"], ["token-revoked"])

    def test_private_is_hidden(self):
        status, body, headers = self.call("GET", "/api/models/acme/root-model", "hf_limited")
        self.assertEqual((status, headers["X-Error-Code"]), (404, "RepoNotFound"))
        status, body, headers = self.call("GET", "/api/models/acme/root-model")
        self.assertEqual((status, body["error"], headers["X-Error-Code"]), (401, "Invalid username or password.", None))
        status, body, _ = self.call("GET", "/api/models/ACME/Root-Model", "hf_carol_r")
        self.assertEqual((status, body["id"], body["private"]), (200, "acme/root-model", True))
        self.assertEqual(self.call("GET", "/api/models/acme/secret-model", "hf_carol_w")[0], 404, "not in the group")
        self.assertEqual(self.call("GET", "/api/models/acme/secret-model", "hf_janitor")[0], 200, "an admin sees all")

    def test_auth_check(self):
        self.assertEqual(self.call("GET", "/api/models/acme/root-model/auth-check", "hf_carol_r")[:2], (200, "OK"))
        status, body, headers = self.call("GET", "/api/models/acme/root-model/auth-check/write", "hf_carol_r")
        self.assertEqual((status, body["error"], headers["X-Error-Code"]), (403, GUARD, None))
        self.assertEqual(self.call("GET", "/api/models/acme/root-model/auth-check/write", "hf_carol_w")[:2], (200, "OK"))
        self.assertEqual(self.call("GET", "/api/models/acme/none/auth-check/write", "hf_carol_w")[0], 404)

    def test_delete_and_commits(self):
        status, made, _ = self.create("hf_carol_w", "gone-soon")
        self.assertEqual((status, len(made["id"])), (200, 24))
        status, log, headers = self.call("GET", "/api/models/acme/gone-soon/commits/main", "hf_carol_w")
        self.assertEqual((log[0]["authors"][0]["user"], headers["X-Total-Count"]), ("carol", "1"))
        self.assertEqual(self.call("GET", "/api/models/acme/gone-soon", "hf_carol_w")[1]["_id"], made["id"])
        body = {"name": "gone-soon", "organization": "acme"}
        self.assertEqual(self.call("DELETE", "/api/repos/delete", "hf_carol_r", body)[0], 403)
        self.assertEqual(self.call("DELETE", "/api/repos/delete", "hf_carol_w", body)[0], 200)
        status, _, headers = self.call("DELETE", "/api/repos/delete", "hf_carol_w", body)
        self.assertEqual((status, headers["X-Error-Code"]), (404, "RepoNotFound"))
        self.assertEqual(self.hub.leftovers(), [])
        self.assertEqual(self.hub.touched(("gone-",)), [])
        self.assertEqual(self.hub.touched(), [("created", "acme/gone-soon")])

    def test_listing_pages(self):
        for n in range(5):
            self.hub.repo(f"acme/list-{n}")
        status, page, headers = self.call("GET", "/api/models?author=acme&search=list-&limit=2", "hf_carol_r")
        self.assertEqual(([r["id"] for r in page], status), (["acme/list-0", "acme/list-1"], 200))
        self.assertIn('rel="next"', headers["Link"])
        following = urlsplit(headers["Link"].split(">")[0][1:])
        self.assertEqual(self.call("GET", f"{following.path}?{following.query}", "hf_carol_r")[1][0]["id"], "acme/list-2")
        self.assertEqual(self.call("GET", "/api/models?author=acme")[1], [], "nothing private for the anonymous")

    def test_organization(self):
        self.assertEqual(self.call("GET", "/api/organizations/ACME/overview")[1]["name"], "acme")
        self.assertEqual(self.call("GET", "/api/organizations/none/overview")[0], 404)
        self.assertEqual(self.call("GET", "/api/organizations/acme/settings/repositories", "hf_limited")[0], 403)
        self.assertEqual(len(self.call("GET", "/api/organizations/acme/settings/repositories", "hf_janitor")[1]), 2)
        groups = self.call("GET", "/api/organizations/acme/resource-groups", "hf_janitor")[1]
        self.assertEqual([(g["name"], g["id"]) for g in groups], [("grp", self.group)])
        self.assertEqual(self.call("GET", "/api/models/acme/secret-model/resource-group", "hf_janitor")[1]["name"], "grp")

    def test_pages_open_to_their_own_scope(self):
        pages = {"members": "org.members.read", "settings/repositories": "org.repos.read",
                 "audit-log/export": "org.auditLog.write", "billing/usage": "org.billing.read",
                 "service-accounts": "org.serviceAccounts.read", "settings/network-security": "org.networkSecurity.read",
                 "resource-groups": "resourceGroup.write"}
        token = self.hub.token("page", "hf_page", "alice")
        for scope in pages.values():
            token.scopes = [("org", "acme", [scope])]
            opened = {p for p in pages if self.call("GET", f"/api/organizations/acme/{p}", "hf_page")[0] == 200}
            self.assertEqual(opened, {p for p, needed in pages.items() if needed == scope})
        self.assertEqual(self.call("GET", "/api/organizations/acme/members")[0], 401)
        self.hub.public_members = True
        status, page, _ = self.call("GET", "/api/organizations/acme/members")
        self.assertEqual((status, [("role" in m) for m in page]), (200, [False]), "some, and not what they may")

    def test_namespace_auth_checks(self):
        token = self.hub.token("job", "hf_job", "carol", scopes=[("org", "acme", ["job.write"])])
        jobs, endpoints = "/api/jobs/acme/auth-check/", "/api/inference-endpoints/acme/auth-check/"
        status, body, _ = self.call("POST", jobs + "write", "hf_job", {})
        self.assertEqual((status, body["namespace"]["name"], body["user"]["name"]), (200, "acme", "carol"))
        status, body, _ = self.call("POST", endpoints + "infer", "hf_job", {})
        self.assertEqual(status, 403)
        self.assertIn("missing permissions: inference.endpoints.infer.write", body["error"])
        token.scopes, token.patterns = [("org", "acme", ["inference.endpoints.write"])], ("gpt2-*",)
        status, body, _ = self.call("POST", endpoints + "write", "hf_job", {})
        self.assertEqual((status, body["patternRestrictions"]), (207, ["gpt2-*"]))
        self.assertEqual(self.call("POST", endpoints + "infer", "hf_job", {})[0], 403)
        self.assertEqual(self.call("POST", jobs + "own", "hf_job", {})[0], 400)

    def test_the_users_own_settings(self):
        self.hub.token("own", "hf_own", "bob", scopes=[("user", "bob", ["user.webhooks.read"])])
        self.assertEqual(self.call("GET", "/api/settings/webhooks", "hf_own")[:2], (200, []))
        self.assertEqual(self.call("GET", "/api/settings/billing/usage", "hf_own")[0], 403)
        self.assertEqual(self.call("GET", "/api/settings/webhooks")[0], 401)

    def test_lock_and_cap(self):
        self.hub.create_seconds = 0.3
        answers = []
        both = [threading.Thread(target=lambda n=n: answers.append(self.create("hf_carol_w", f"n{n}"))) for n in (1, 2)]
        [t.start() for t in both]
        [t.join() for t in both]
        self.assertEqual(sorted(a[0] for a in answers), [200, 409])
        self.assertIn(LOCKED, [a[1].get("error") for a in answers])
        self.assertEqual(len(self.hub.lock_hits), 1)
        self.hub.creation_cap["carol"] = 0
        status, body, headers = self.create("hf_carol_w", "n3")
        self.assertEqual((status, body["error"]), (429, CAPPED))
        self.assertNotIn("r=0;", headers["RateLimit"])

    def test_faults(self):
        self.hub.fault("POST", "create", times=1, apply=True, reset=True)
        with self.assertRaises((OSError, http.client.HTTPException)):
            self.create("hf_carol_w", "dropped")
        self.assertEqual(self.hub.leftovers(), ["acme/dropped"], "applied, then reset")
        self.hub.fault("POST", "create", times=1, reset=True)
        with self.assertRaises((OSError, http.client.HTTPException)):
            self.create("hf_carol_w", "lost")
        self.assertEqual(len(self.hub.leftovers()), 1, "reset before it was applied")
        self.hub.fault("GET", "whoami", times=1, cut=True)
        with self.assertRaises((OSError, http.client.HTTPException)):
            self.call("GET", "/api/whoami-v2", "hf_carol_w")
        self.hub.fault("GET", "whoami", times=1, answer=(500, "<html>", {"X-Test": "1"}))
        status, body, headers = self.call("GET", "/api/whoami-v2", "hf_carol_w")
        self.assertEqual((status, body, headers["X-Test"]), (500, "<html>", "1"))
        self.hub.fault("GET", "whoami", token="limited", answer=(418, {"error": "tea"}))
        self.assertEqual(self.call("GET", "/api/whoami-v2", "hf_carol_w")[0], 200, "another token's fault")
        self.assertEqual(self.call("GET", "/api/whoami-v2", "hf_limited")[0], 418)
        gate = threading.Event()
        fault = self.hub.fault("POST", "create", times=1, hold=gate, late=True)
        held = threading.Thread(target=self.create, args=("hf_carol_w", "late"))
        held.start()
        self.assertTrue(fault.reached.wait(5))
        self.assertEqual(len(self.hub.leftovers()), 1, "held: not applied yet")
        gate.set()
        held.join(5)
        self.assertIn("acme/late", self.hub.leftovers())

    def test_records(self):
        self.create("hf_carol_w", "twice")
        self.create("hf_carol_w", "twice")
        self.assertEqual(self.hub.doubled(), [("acme", "model", "twice")])
        self.assertEqual(len(self.hub.posts("carol-write")), 2)
        other = Listener()
        self.addCleanup(other.stop)
        urllib.request.urlopen(other.url + "/x", timeout=5).read()
        self.assertNotIn("authorization", other.requests[0]["headers"])


if __name__ == "__main__":
    unittest.main()

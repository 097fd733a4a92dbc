"""Every answer of a documented route has the shape that the Hub's own description gives it.

Asks a simulated Hub every route it serves, in success and in refusal, and holds the answers against shapes.py; what
the description does not have must stand there with where it is known from.  The checker is tested as well: a checker
that finds nothing proves nothing.
"""

import copy
import re
import unittest

from checker import differences
from shapes import ELSEWHERE, ERROR, SHAPES
from simulator import Case

ORG = "/api/organizations/{name}"
GROUP = ORG + "/resource-groups/{resourceGroupId}"
REQUEST_ID = re.compile(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
KINDS = ("models", "datasets", "spaces")
MISSING = "0123456789abcdef01234567"
UNKNOWN = "Invalid username or password."
GUARD = "You have read access but not the required permissions for this operation"


def expanded(routes):
    """Routes with their kinds written out."""
    return {route.replace("{kind}", kind) for route in routes for kind in KINDS}


class Shapes(Case):
    def setUp(self):
        super().setUp()
        self.seen = set()

    def ask(self, status, route, token=None, body=None, /, *, query="", **places):
        """Asks a route and checks what any answer must have, and its shape."""
        method, template = route.split(" ")
        path = re.sub(r"\{(\w+)\}", lambda place: places.get(place[1], "acme"), template)
        answer = self.hub.ask(method, path + query, token, body)
        case = f"{method} {path}{query} as {token or 'nobody'}"
        self.assertEqual(answer.status, status, f"{case}: {answer.text[:300]}")
        self.has_common_headers(answer, case)
        self.seen.add((route, status))
        if status >= 400 and status not in SHAPES.get(route, {}):
            self.is_an_error(answer, case)
        elif shape := SHAPES.get(route, {}).get(status):
            self.assertIn("application/json", answer.headers["Content-Type"], case)
            self.assertEqual(differences(answer.json(), shape), [], f"{case}: not as described")
        return answer

    def has_common_headers(self, answer, case):
        self.assertRegex(answer.headers["X-Request-Id"] or "", REQUEST_ID, case)
        self.assertRegex(answer.headers["RateLimit"] or "", r'^"api";r=\d+;t=\d+$', case)
        self.assertRegex(answer.headers["RateLimit-Policy"] or "", r'^"fixed window";"api";q=\d+;w=\d+$', case)
        self.assertIn("X-Error-Code", answer.headers["Access-Control-Expose-Headers"] or "", case)

    def is_an_error(self, answer, case):
        self.assertEqual(differences(answer.json(), ERROR), [], case)
        self.assertTrue(answer.headers["X-Error-Message"], f"{case}: the header with the text is missing")
        if answer.status == 401:
            self.assertIn("Bearer realm", answer.headers["WWW-Authenticate"] or "", case)

    # -- everything that succeeds ----------------------------------------------------------
    def test_every_described_answer(self):
        self.tokens_and_people()
        self.repositories()
        self.groups()
        self.money()
        described = {(route, status) for route, answers in SHAPES.items() for status in answers}
        self.assertEqual(described - self.seen, set(), "described, and never asked")

    def tokens_and_people(self):
        for token in ("admin", "writer", "reader", "empty", "janitor", "staff", "session", "bot", "outside"):
            me = self.ask(200, "GET /api/whoami-v2", token).json()
            self.assertEqual("accessToken" in me["auth"], token != "session", token)
        shut = self.ask(200, "GET /api/whoami-v2", "outside").json()["orgs"][0]["securityRestrictions"]
        self.assertEqual(shut, ["sso", "ip"])
        self.ask(200, f"GET {ORG}/members", "reader")
        self.ask(200, f"GET {ORG}/settings/network-security", "admin")
        [bot] = self.ask(200, f"GET {ORG}/service-accounts", "bot").json()
        shown = self.ask(200, f"GET {ORG}/service-accounts/{{serviceAccountId}}", "bot", serviceAccountId=bot["_id"])
        self.assertEqual([token["displayName"] for token in shown.json()["accessTokens"]], ["bot"])
        [hook] = self.ask(200, "GET /api/settings/webhooks", "writer").json()
        self.assertEqual(hook["url"], "https://example.com/hook")

    def repositories(self):
        # The dictionary of what to create, and what it is called in paths.
        for kind, plural in (("model", "models"), ("dataset", "datasets"), ("space", "spaces")):
            wish = {"name": "fresh", "organization": "acme", "type": kind, "private": True, "sdk": "static"}
            self.ask(200, "POST /api/repos/create", "writer", wish)
            self.ask(409, "POST /api/repos/create", "writer", wish)
            repo, at = f"/api/{plural}/{{namespace}}/{{repo}}", {"namespace": "acme", "repo": "fresh"}
            for branch in ("POST", "DELETE"):
                self.ask(200, f"{branch} {repo}/branch/{{rev}}", "writer", {}, rev="side", **at)
            self.ask(200, f"POST {repo}/tag/{{rev}}", "writer", {"tag": "v1"}, rev="main", **at)
            self.ask(200, f"GET {repo}/refs", "reader", query="?include_prs=1", **at)
            self.ask(200, f"DELETE {repo}/tag/{{rev}}", "writer", rev="v1", **at)
            self.ask(200, f"GET {repo}/commits/{{rev}}", "reader", rev="main", **at)
            self.ask(200, f"GET {repo}/tree/{{rev}}/{{path}}", "reader", rev="main", path="folder", **at)
            for change in ({}, {"visibility": "public"}, {"private": True}, {"gated": False},
                           {"gated": "auto", "orgMembersGated": True, "discussionsSorting": "trending"}):
                echo = self.ask(200, f"PUT {repo}/settings", "writer", change, **at).json()
                self.assertEqual(echo, change)
            group = self.group_id("lab")
            self.ask(200, f"POST {repo}/resource-group", "admin", {"resourceGroupId": group}, **at)
            self.assertEqual(self.ask(200, f"GET {repo}/resource-group", "admin", **at).json()["name"], "lab")
            self.ask(200, f"POST {repo}/resource-group", "admin", {"resourceGroupId": None}, **at)
            self.ask(200, "POST /api/repos/move", "writer",
                     {"fromRepo": "acme/fresh", "toRepo": "acme/elsewhere", "type": kind})
        for plural, repo, statuses in (("models", "gated", ("pending", "accepted", "rejected")),
                                       ("datasets", "gated-data", ("accepted",))):
            for status in statuses:
                self.ask(200, f"GET /api/{plural}/{{namespace}}/{{repo}}/user-access-request/{{status}}", "writer",
                         repo=repo, status=status)
        self.assertEqual(len(self.ask(200, f"GET {ORG}/settings/repositories", "admin").json()), 11)

    def group_id(self, name):
        return self.hub.steer("GET", "world")["organizations"]["acme"]["resource_group_ids"][name]

    def groups(self):
        self.ask(200, f"GET {ORG}/resource-groups", "admin")
        made = self.ask(200, f"POST {ORG}/resource-groups", "admin",
                        {"name": "new", "users": [{"user": "wim", "role": "write"}]})
        at = {"resourceGroupId": made.json()["id"]}
        self.ask(200, f"POST {GROUP}/users", "admin", {"users": [{"user": "ria", "role": "read"}]}, **at)
        self.ask(200, f"PATCH {GROUP}/users/{{username}}", "admin", {"role": "write"}, username="ria", **at)
        self.ask(200, f"DELETE {GROUP}/users/{{username}}", "admin", username="ria", **at)
        self.assertEqual(len(self.ask(200, f"GET {GROUP}", "admin", **at).json()["users"]), 1)
        self.ask(200, f"DELETE {GROUP}", "admin", **at)
        self.ask(200, f"PUT {ORG}/members/{{username}}/role", "admin", {"role": "contributor"}, username="ria")
        kinds = {event["type"] for event in self.ask(200, f"GET {ORG}/audit-log/export", "admin").json()}
        self.assertLessEqual({"repo.create", "repo.move", "resource_group.create", "org.change_role"}, kinds)

    def money(self):
        for tail in ("usage", "usage-v2", "usage-by-resource-group", "usage/live"):
            self.ask(200, f"GET {ORG}/billing/{tail}", "admin")
        self.ask(200, "GET /api/settings/billing/usage", "janitor")
        self.ask(200, "GET /api/settings/billing/usage-v2", "janitor")
        self.ask(200, "GET /api/jobs/{namespace}", "writer")
        for right in ("read", "write"):
            self.ask(200, "POST /api/jobs/{namespace}/auth-check/{perms}", "writer", {}, perms=right)
        endpoints = "POST /api/inference-endpoints/{namespace}/auth-check/{perms}"
        for right in ("read", "write", "infer"):
            self.ask(200, endpoints, "staff", {}, perms=right)
        group = self.group_id("lab")
        through = self.ask(200, endpoints, "admin", {}, query=f"?resource_group_id={group}", perms="write")
        self.assertEqual(through.json()["resourceGroupId"], group)
        self.ask(207, endpoints, "bot", {}, perms="infer")
        one = "POST /api/inference-endpoints/{namespace}/{endpoint}/auth-check/{perms}"
        self.ask(200, one, "bot", {}, endpoint="gpt2-xl", perms="infer")

    # -- everything that is refused --------------------------------------------------------
    def test_every_route_refuses_nobody_and_who_is_unusable(self):
        # Public ones answer nobody, and still refuse a token that is none.
        public = {f"GET {ORG}/overview", *expanded({"GET /api/{kind}"})}
        for route in self.hub.steer("GET", "routes"):
            places = {"namespace": "acme", "repo": "private", "rev": "main", "perms": "read", "status": "pending"}
            with self.subTest(route):
                if route not in public:
                    answer = self.ask(401, route, None, {} if "GET" not in route else None, **places)
                    self.assertEqual(answer.json()["error"], UNKNOWN)
                for token, text in (("dead", UNKNOWN), ("old", 'User Access Token "old" is expired')):
                    self.assertEqual(self.ask(401, route, token, **places).json()["error"], text)

    def test_refusals_tell_what_is_missing(self):
        lacks = ("You don't have the required permissions to complete this action on namespace {}, missing "
                 "permissions: {}.")
        create = {"name": "x", "organization": "acme"}
        namespace = "You don't have the rights to create a model under the namespace \"{}\""
        approval = ("Due to the organization token policy, your token needs to be approved by the organization before "
                    "you can access this resource.")
        model = "/api/models/{namespace}/{repo}"
        rows = [
            (403, "POST /api/repos/create", "reader", create, {}, namespace.format("acme")),
            # Of what is there and what is not, who lacks the right learns the same.
            (403, "POST /api/repos/create", "empty", {**create, "name": "private"}, {}, namespace.format("acme")),
            (403, "POST /api/repos/create", "writer", {**create, "organization": "ACME"}, {},
             namespace.format("ACME")),
            (403, "POST /api/repos/create", "writer", {**create, "organization": "strict"}, {}, approval),
            (402, "POST /api/repos/create", "poor",
             {"name": "x", "organization": "poor", "type": "space", "sdk": "gradio"}, {}, "a PRO subscription"),
            (400, "POST /api/repos/create", "writer", {**create, "name": "-x"}, {}, "Only regular characters"),
            (404, "DELETE /api/repos/delete", "writer", {"name": "absent", "organization": "acme"}, {}, "not found"),
            (403, "DELETE /api/repos/delete", "reader", {"name": "public", "organization": "acme"}, {}, GUARD),
            (404, f"GET {model}/auth-check", "stranger", None, {"repo": "private"}, "Repository not found"),
            (403, f"GET {model}/auth-check", "stranger", None, {"repo": "gated"}, "Access to model|awaiting a review"),
            (403, f"GET {model}/auth-check/write", "reader", None, {"repo": "private"}, GUARD),
            (403, f"GET {model}/auth-check", "reader", None, {"repo": "shut"}, "Access to this resource is disabled."),
            (403, f"GET {model}", "writer", None, {"namespace": "strict", "repo": "model"}, approval),
            (404, f"GET {model}/commits/{{rev}}", "writer", None, {"repo": "private", "rev": "odd"}, "Invalid rev id"),
            (403, f"PUT {model}/settings", "reader", {}, {"repo": "private"}, GUARD),
            (409, f"POST {model}/branch/{{rev}}", "writer", {}, {"repo": "private", "rev": "main"},
             "Reference refs/heads/main already exists"),
            (403, f"POST {model}/branch/{{rev}}", "reader", {}, {"repo": "private", "rev": "main"}, GUARD),
            (400, f"DELETE {model}/branch/{{rev}}", "writer", None, {"repo": "private", "rev": "main"},
             "Cannot delete refs/heads/main"),
            (403, f"GET {model}/user-access-request/{{status}}", "stranger", None,
             {"repo": "public", "status": "pending"}, GUARD),
            (403, "POST /api/jobs/{namespace}/auth-check/{perms}", "empty", {}, {"perms": "write"},
             lacks.format("acme", "job.write")),
            (402, "POST /api/jobs/{namespace}/auth-check/{perms}", "writer", {},
             {"namespace": "spent", "perms": "write"}, "payment"),
            (403, "POST /api/inference-endpoints/{namespace}/auth-check/{perms}", "bot", {}, {"perms": "write"},
             lacks.format("acme", "inference.endpoints.write")),
            (403, f"GET {ORG}/service-accounts", "janitor", None, {}, lacks.format("acme", "org.serviceAccounts.read")),
            (402, f"GET {ORG}/service-accounts", "poor", None, {"name": "poor"}, "plan"),
            (402, f"GET {ORG}/resource-groups", "poor", None, {"name": "poor"}, "plan"),
            (403, f"GET {ORG}/audit-log/export", "writer", None, {}, lacks.format("acme", "org.auditLog.write")),
            (404, f"GET {ORG}/members", "admin", None, {"name": "nowhere"}, "does not exist"),
            (404, f"GET {GROUP}", "admin", None, {"resourceGroupId": MISSING}, "not found"),
            (403, "GET /api/settings/webhooks", "empty", None, {}, "user.webhooks.read"),
        ]
        for status, route, token, body, places, text in rows:
            answer = self.ask(status, route, token, body, **places)
            told = answer.json()["error"]
            if not re.search(text, told):
                self.assertIn(text, told, f"{route} {body} as {token}")
        codes = [
            ("RepoNotFound", 404, f"GET {model}", "stranger", {"repo": "private"}),
            ("RepoNotFound", 404, f"GET {model}/refs", "writer", {"repo": "absent"}),
            ("RevisionNotFound", 404, f"GET {model}/commits/{{rev}}", "writer", {"repo": "private", "rev": "odd"}),
            ("GatedRepo", 401, f"GET {model}/auth-check", None, {"repo": "gated"}),
            ("GatedRepo", 403, f"GET {model}/auth-check", "stranger", {"repo": "gated"}),
            (None, 403, f"GET {model}/auth-check/write", "reader", {"repo": "private"}),
            (None, 401, f"GET {model}", None, {"repo": "private"}),
        ]
        for code, status, route, token, places in codes:
            method, template = route.split(" ")
            path = re.sub(r"\{(\w+)\}", lambda place, at=places: at.get(place[1], "acme"), template)
            answer = self.hub.ask(method, path, token)
            self.assertEqual((answer.status, answer.headers["X-Error-Code"]), (status, code), f"{route} as {token}")

    def test_too_much_is_refused_with_and_without_quota_left(self):
        for _ in range(2):
            self.ask(200, "GET /api/models/{namespace}/{repo}", "slow", repo="public")
        over = self.ask(429, "GET /api/models/{namespace}/{repo}", "slow", repo="public")
        self.assertRegex(over.headers["RateLimit"], r";r=0;")
        self.hub.steer("PATCH", "world", {"limits": {"whoami": 1, "creations_per_day": 1}})
        self.ask(200, "GET /api/whoami-v2", "writer")
        self.assertIn("strict for security", self.ask(429, "GET /api/whoami-v2", "writer").json()["error"])
        self.ask(200, "POST /api/repos/create", "writer", {"name": "one", "organization": "acme"})
        capped = self.ask(429, "POST /api/repos/create", "writer", {"name": "two", "organization": "acme"})
        text = "You have exceeded the rate limit for repository creation (1 per day)."
        self.assertEqual(capped.json()["error"], text)
        self.assertNotRegex(capped.headers["RateLimit"], r";r=0;")

    # -- the table itself ------------------------------------------------------------------
    def test_every_route_that_is_served_is_accounted_for(self):
        served = set(self.hub.steer("GET", "routes"))
        elsewhere = expanded(ELSEWHERE)
        self.assertEqual(served - set(SHAPES) - elsewhere, set(), "served, and nobody says where it is known from")
        self.assertEqual((set(SHAPES) | elsewhere) - served, set(), "in the table, and not served")
        self.assertEqual(set(SHAPES) & elsewhere, set(), "both described and not")
        self.assertTrue(all(ELSEWHERE.values()), "without a source")


class Checker(unittest.TestCase):
    """Breaks good answers one by one, and shapes that are right."""

    shape = {"id": "hex24", "at?": "date", "kind": "=a|b", "size": "integer", "none": ("string", "null"),
             "inner": [{"ok": "boolean"}], "open": {"...": "number"}, "on": True, "link?": "uri"}
    good = {"id": MISSING, "kind": "a", "size": 3, "none": None, "inner": [{"ok": True}, {"ok": False}],
            "open": {"x": 1.5}, "on": True, "at": "2026-11-22T05:00:00.000Z", "link": "https://example.com/x"}

    def test_what_fits_is_let_through(self):
        self.assertEqual(differences(self.good, self.shape), [])
        without = {key: value for key, value in self.good.items() if key not in ("at", "link")}
        self.assertEqual(differences(without, self.shape), [])

    def test_what_does_not_fit_is_told_with_its_place(self):
        rows = [
            ("id is missing", lambda answer: answer.pop("id")),
            ("more should not be there", lambda answer: answer.update(more=1)),
            ("$.inner[1]: ok is missing", lambda answer: answer["inner"][1].pop("ok")),
            ("$.inner[0]: extra should not", lambda answer: answer["inner"][0].update(extra=None)),
            ("$.id: expected hex24", lambda answer: answer.update(id="0123")),
            ("$.id: expected hex24", lambda answer: answer.update(id=MISSING.upper())),
            ("$.at: expected date", lambda answer: answer.update(at="yesterday")),
            ("$.at: expected date", lambda answer: answer.update(at=None)),
            ("$.kind: 'c' is none of a|b", lambda answer: answer.update(kind="c")),
            ("$.size: expected integer", lambda answer: answer.update(size=1.5)),
            ("$.size: expected integer", lambda answer: answer.update(size=True)),
            ("$.none: fits none of 2", lambda answer: answer.update(none=7)),
            ("$.inner: expected a list", lambda answer: answer.update(inner={})),
            ("$.inner[0]: expected an object", lambda answer: answer.update(inner=[[]])),
            ("$.open.x: expected number", lambda answer: answer["open"].update(x="1")),
            ("$.on: expected True", lambda answer: answer.update(on=1)),
            ("$.link: expected uri", lambda answer: answer.update(link="example.com")),
        ]
        for expected, spoil in rows:
            answer = copy.deepcopy(self.good)
            spoil(answer)
            found = differences(answer, self.shape)
            self.assertEqual(len(found), 1, f"{expected}: {found}")
            self.assertIn(expected, found[0])

    def test_every_shape_is_written_in_the_notation(self):
        # A misspelt kind would raise here, and not only when an answer happens to have the field.
        def probe(shape):
            if isinstance(shape, dict):
                for inner in shape.values():
                    probe(inner)
            elif isinstance(shape, (list, tuple)):
                for inner in shape:
                    probe(inner)
            elif shape is not None:
                differences(None, shape)
        for route, answers in SHAPES.items():
            self.assertRegex(route, r"^(GET|POST|PUT|PATCH|DELETE) /api/")
            probe(answers)


if __name__ == "__main__":
    unittest.main()

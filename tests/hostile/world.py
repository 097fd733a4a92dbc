"""Who is who on the hostile Hub, and what it would answer if it were honest.

Knows: a handful of kinds of organization, their tokens, repositories and checks, the right answer to every request
that a round of them makes, and which CALL each request is; what is created and deleted, by whom, and what of that
must never happen.  Written from the public documents; knows neither sockets, nor behaviours, nor scopewatch's code.
Serves server.py, which asks it before every answer, and pairs.py, which asks it what is right.
"""

import datetime
import itertools
import json
import secrets
import string
from dataclasses import dataclass

PREFIX = "scopewatch-canary"
ALLOWED, DENIED, UNDETERMINED = "allowed", "denied", "undetermined"
GUARD = "You have read access but not the required permissions for this operation"
PLURALS = {"models": "model", "datasets": "dataset", "spaces": "space"}
_ids = itertools.count(0x5f0000000001)

# permission, keys of the check, how a report calls its target ({o} is the organization), the shape of a grant
PROBES = [
    ("repo.read", {"repo": "{o}/closed-model"}, "{o}/closed-model", "ok"),
    ("repo.write", {"repo": "{o}/open-model"}, "{o}/open-model", "ok"),
    ("job.read", {}, "-", "place"), ("job.write", {}, "-", "place"),
    ("endpoint.read", {}, "-", "place"), ("endpoint.write", {}, "-", "place"), ("endpoint.infer", {}, "-", "place"),
    ("org.members", {}, "-", "list"), ("org.repositories", {}, "-", "list"), ("org.audit_log", {}, "-", "list"),
    ("org.billing", {}, "-", "object"), ("org.service_accounts", {}, "-", "list"),
    ("org.network_security", {}, "-", "object"), ("org.resource_groups", {}, "-", "list"),
    ("user.webhooks", {}, "-", "list"), ("user.billing", {}, "-", "object"),
]
PAGES = {"members": "org.members", "settings/repositories": "org.repositories", "audit-log/export": "org.audit_log",
         "billing/usage": "org.billing", "service-accounts": "org.service_accounts",
         "settings/network-security": "org.network_security", "resource-groups": "org.resource_groups"}
NETWORK = {"enforceAuth": False, "enforceIpRestriction": False, "highRateLimits": False, "ipRanges": [],
           "blockedContents": [], "allowedContents": [], "keepReposMetadataVisible": False}


def new_id():
    """24 hex digits, never twice."""
    return f"{0x66a1b2c3d4e5:012x}{next(_ids):012x}"


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def fresh_secret():
    return "hf_" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(34))


@dataclass(frozen=True)
class Said:
    """One right answer. `data` is the body as a value; None where the body is text."""
    status: int
    headers: tuple
    body: bytes
    data: object = None

    @property
    def refusal(self):
        return self.status >= 400


def says(data, status=200, **headers):
    """JSON."""
    extra = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Said(status, (("Content-Type", "application/json; charset=utf-8"), *extra), json.dumps(data).encode(), data)


def refuses(status, text, code=None, **extra):
    """In the Hub's envelope."""
    headers = {"X_Error_Message": text, **({"X_Error_Code": code} if code else {})}
    if status == 401:
        headers["WWW_Authenticate"] = 'Bearer realm="Authentication required", charset="UTF-8"'
    return says({"error": text, **extra}, status, **headers)


OK = Said(200, (("Content-Type", "text/plain; charset=utf-8"),), b"OK")
NOT_SIGNED = refuses(401, "Invalid username or password.")
HIDDEN = refuses(404, "Repository not found", "RepoNotFound")


@dataclass(frozen=True)
class Asked:
    """One request, taken apart."""
    method: str
    path: str
    query: dict
    role: str                   # of the token that signed; "" for nobody
    body: object


@dataclass(frozen=True)
class Reply:
    """Which call a request is, what is right to say, and what happens on the Hub when it takes effect."""
    call: str
    shape: str
    said: Said
    effect: object = None


@dataclass
class Canary:
    name: str
    kind: str
    by: str
    private: bool
    group: str | None
    made: str
    id: str


class Organization:
    """One organization of one kind. `kind` is the letter that its name begins with."""

    def __init__(self, name):
        self.name, self.kind = name, name[0]
        self.id, self.group = new_id(), new_id()
        roles = ["can", "cannot"] if self.kind == "n" else ["janitor", "can", "cannot"]
        self.tokens = {role: f"{name}-{role}" for role in roles}
        self.users = {role: f"{name}-{role}-user" for role in roles}
        self.ids = {role: new_id() for role in roles}
        self.secrets = {role: fresh_secret() for role in roles}
        self.repos = {repo: new_id() for repo in ("kept-private", "closed-model", "open-model", "sentinel-model", "taken-set")}
        self.account, self.made = new_id(), now()
        self.canaries, self.posted, self.wrong = {}, set(), []
        self.creations = self.deletions = 0
        self.checks = {self._key(role, *check): wish for role, check, wish in self._wishes()}

    # -- checks ----------------------------------------------------------------------------------------------------
    def _key(self, role, permission, _keys, target, _shape=None):
        return self.tokens[role], permission, target.format(o=self.name)

    def _wishes(self):
        """(role, (permission, keys, target), expected), so that half of the checks drift."""
        turn = itertools.cycle(((ALLOWED, DENIED), (DENIED, ALLOWED)))
        for check in self._asked():
            for role, wish in zip(("can", "cannot"), next(turn)):
                yield role, check, wish

    def _asked(self):
        read, write, job = PROBES[0], PROBES[1], PROBES[2]
        trial = ("repo.create", {"type": "dataset", "method": "sentinel", "sentinel": "{o}/taken-set"}, "dataset")
        return {"r": PROBES[:7], "s": PROBES[7:],
                "m": [job, ("repo.create", {}, "model"), trial, read],
                "g": [job, ("repo.create", {"resource_group": "team"}, "model@team")],
                "j": [job, ("repo.create", {}, "model")],
                "i": [job, PROBES[8]],
                "n": [job, write]}[self.kind]

    def truth(self, key):
        """What is right."""
        return ALLOWED if key[0] == self.tokens["can"] else DENIED

    def config(self, secret_of):
        """Its entries of the config: the organization, and its tokens."""
        entry = {"name": self.name, "max_creations_per_day": 1_000_000, "canary_prefix": PREFIX}
        if "janitor" in self.tokens:
            entry["janitor"] = self.tokens["janitor"]
        if self.kind == "m":
            entry["sentinel"] = f"{self.name}/sentinel-model"
        if self.kind == "i":
            entry["inventory"] = self.tokens["janitor"]
        expect = {role: [] for role in self.tokens}
        for role, (permission, keys, *_), wish in self._wishes():
            filled = {key: value.format(o=self.name) for key, value in keys.items()}
            expect[role].append({"permission": permission, **filled, "access": wish})
        tokens = [{"name": name, "organization": self.name, "secret": {"file": secret_of(name, self.secrets[role])},
                   **({"expect": expect[role]} if expect[role] else {})} for role, name in self.tokens.items()]
        return entry, tokens

    def drifts(self):
        """(kind, token, permission, target) of the findings that must stand, whatever the Hub does."""
        kinds = {ALLOWED: "unexpected_grant", DENIED: "unexpected_denial"}
        return {(kinds[self.truth(key)], *key) for key, wish in self.checks.items() if wish != self.truth(key)}

    # -- answers ---------------------------------------------------------------------------------------------------
    def may(self, role):
        return role in ("janitor", "can")

    def reply(self, asked):
        """What this request is, and the right answer; None for a request that nobody should ever make."""
        part = asked.path.strip("/").split("/")
        if asked.path == "/api/whoami-v2":
            return Reply("whoami.janitor" if asked.role == "janitor" else "whoami.token", "whoami", self._whoami(asked.role))
        if asked.path in ("/api/settings/webhooks", "/api/settings/billing/usage"):
            permission = "user.webhooks" if "webhooks" in asked.path else "user.billing"
            data = [{"id": "w1", "url": "https://example.com"}] if "webhooks" in asked.path else {"usage": {}}
            return self._probe(permission, asked, says(data), f"This action requires the {permission}.read permission.")
        if asked.path == "/api/repos/create" and asked.method == "POST":
            return self._create(asked)
        if asked.path == "/api/repos/delete" and asked.method == "DELETE":
            return self._delete(asked)
        if part[1] == "organizations" and asked.method == "GET":
            return self._page("/".join(part[3:]), asked)
        if part[1] in PLURALS and asked.method == "GET":
            kind = PLURALS[part[1]]
            return self._list(kind, asked) if len(part) == 2 else self._repo(kind, part[3], "/".join(part[4:]), asked)
        if part[1] in ("jobs", "inference-endpoints") and asked.method == "POST" and len(part) == 5:
            family = {"jobs": "job", "inference-endpoints": "endpoint"}[part[1]]
            place = {"namespace": {"id": self.id, "name": self.name},
                     "user": {"id": self.ids.get(asked.role), "name": self.users.get(asked.role)}}
            return self._probe(f"{family}.{part[4]}", asked, says(place))
        return None

    def _probe(self, permission, asked, grant, text=None):
        shape = next(shape for name, _, _, shape in PROBES if name == permission)
        if not asked.role:
            return Reply("proof.closed", "closed", NOT_SIGNED)
        if self.may(asked.role):
            return Reply(permission, shape, grant)
        need = text or (f"You don't have the required permissions to complete this action on namespace {self.name}, "
                        f"missing permissions: {permission}.")
        return Reply(permission, "refused", refuses(403, need))

    def _whoami(self, role):
        fine = {"canReadGatedRepos": False, "global": [], "scoped": [] if role == "cannot" else [
            {"entity": {"_id": self.id, "type": "org", "name": self.name}, "permissions": ["repo.write", "org.read"]}]}
        access = {"displayName": self.tokens[role], "createdAt": self.made,
                  **({"role": "write"} if role == "can" else {"role": "fineGrained", "fineGrained": fine})}
        org = {"type": "org", "id": self.id, "name": self.name, "fullname": self.name.title(), "plan": "enterprise",
               "avatarUrl": "/a.svg", "roleInOrg": "admin" if self.may(role) else "read", "securityRestrictions": [],
               "resourceGroups": []}
        return says({"type": "user", "id": self.ids[role], "name": self.users[role], "fullname": "Somebody", "isPro": False,
                     "avatarUrl": "/a.svg", "canPay": False, "orgs": [org],
                     "auth": {"type": "access_token", "accessToken": access}})

    def _page(self, what, asked):
        if what == "overview":
            data = {"_id": self.id, "name": self.name, "fullname": self.name.title(), "type": "org", "plan": "enterprise",
                    "isEnterprise": True, "numUsers": 3, "avatarUrl": "/a.svg"}
            return Reply("overview", "overview", says(data))
        if self.kind == "i" and asked.role == "janitor":
            return self._inventory(what, asked)
        if what in ("settings/tokens", "service-accounts") and asked.role == "janitor":
            return Reply("inventory.closed", "refused", refuses(403, "You don't have the required permissions"))
        groups = [{"id": self.group, "name": "team", "users": [], "repos": [],
                   "resources": [{"type": "model", "name": f"{self.name}/kept-private", "private": True}]}]
        if what == "resource-groups" and asked.role == "janitor":
            return Reply("groups", "groups", says(groups))
        if what not in PAGES:
            return None
        member = {"_id": self.ids.get("can"), "user": self.users["can"], "fullname": "Somebody", "type": "user",
                  "isPro": False, "avatarUrl": "/a.svg", "role": "admin"}
        data = {"members": [member], "settings/repositories": [
                    {"id": f"{self.name}/kept-private", "type": "model", "updatedAt": self.made, "storage": 0,
                     "visibility": "private", "storagePercent": 0}],
                "audit-log/export": [{"_id": new_id(), "type": "org.delete", "createdAt": self.made, "message": "m"}],
                "billing/usage": {"usage": {}}, "service-accounts": [self._account()],
                "settings/network-security": NETWORK, "resource-groups": groups}[what]
        return self._probe(PAGES[what], asked, says(data))

    def _account(self):
        return {"_id": self.account, "user": f"{self.name}-svc", "name": "Svc", "email": "svc@example.com",
                "createdAt": self.made}

    def _inventory(self, what, asked):
        """One token that nobody configured on the first page, one of a service account; `can` is missing."""
        def entry(label, owner, number):
            return {"_id": f"{self.account[:20]}{number:04x}", "displayName": label, "role": "write", "last4": "abcd",
                    "createdAt": self.made, "owner": {"user": owner, "_id": new_id()}, "status": "authorized"}
        if what == "settings/tokens" and not asked.query:
            link = f'<https://hub.invalid/api/organizations/{self.name}/settings/tokens?cursor=2>; rel="next"'
            first = [entry("a stranger", "stranger", 1), entry(self.tokens["cannot"], self.users["cannot"], 2)]
            return Reply("inventory.tokens", "inventory", says(first, Link=link))
        if what == "settings/tokens":
            return Reply("inventory.page2", "inventory", says([entry(self.tokens["janitor"], self.users["janitor"], 3)]))
        if what == "service-accounts":
            return Reply("inventory.accounts", "inventory", says([self._account()]))
        if what == f"service-accounts/{self.account}":
            return Reply("inventory.account", "account", says({**self._account(), "accessTokens": [
                {**entry("of the account", "x", 4), "permissions": [], "repoIds": [], "repoPermissions": [],
                 "endpointPatterns": []}]}))
        return None

    def findings(self):
        """(kind, target) of the findings of its inventory that must stand."""
        if self.kind != "i":
            return set()
        strangers = {f"{self.account[:20]}0001", f"service-account/{self.account[:20]}0004"}
        return {("unmanaged_token", target) for target in strangers} | {("missing_token", None)}

    # -- repositories ----------------------------------------------------------------------------------------------
    def _described(self, name, kind, by, private, made, _id):
        return {"_id": _id, "id": f"{self.name}/{name}", "author": self.name, "sha": _id.ljust(40, "0"), "createdAt": made,
                "lastModified": made, "private": private, "gated": False, "disabled": False, "downloads": 0, "likes": 0,
                "tags": [], "siblings": [{"rfilename": ".gitattributes"}]}

    def _describe(self, name):
        kind = "dataset" if name == "taken-set" else "model"
        return self._described(name, kind, "x", name != "open-model", self.made, self.repos[name])

    def _list(self, kind, asked):
        search = asked.query.get("search")
        if search == PREFIX + "-":
            # Something that is called as canaries are, and is nobody's of ours: it is never to be touched.
            foreign = [self._described(f"{PREFIX}-of-somebody", kind, "x", True, self.made, self.repos["open-model"])]
            return Reply("sweep", "listing", says(foreign if kind == "model" else []))
        if search is not None:
            found = [self._described(c.name, c.kind, c.by, c.private, c.made, c.id) for c in self.canaries.values()
                     if c.kind == kind and search in c.name]
            return Reply("visit.listing", "listing", says(found))
        order = {"m": ["sentinel-model", "kept-private"]}.get(self.kind, ["open-model", "kept-private", "closed-model"])
        shown = [name for name in order if asked.role != "cannot" or name == "open-model"] if kind == "model" else []
        if self.kind == "i" and kind == "model":
            if "cursor" in asked.query:
                return Reply("list.page2", "listing", says([self._describe("kept-private")]))
            link = f'<https://hub.invalid/api/models?author={self.name}&limit=100&cursor=2>; rel="next"'
            return Reply("list", "listing", says([self._describe("open-model")], Link=link))
        return Reply("list", "listing", says([self._describe(name) for name in shown]))

    def _repo(self, kind, name, what, asked):
        if what in ("auth-check", "auth-check/write"):
            permission = "repo.write" if what.endswith("write") else "repo.read"
            if self.may(asked.role) or (name == "open-model" and permission == "repo.read"):
                return Reply(permission, "ok", OK)
            if name == "open-model":
                return Reply(permission, "refused", refuses(403, GUARD))
            return Reply(permission, "hidden", HIDDEN)
        if name.startswith(PREFIX):
            return self._visit(kind, name, what, asked)
        if what == "resource-group":
            inside = {"id": self.group, "name": "team", "numUsers": 1} if name == "kept-private" else {}
            return Reply("group", "group", says(inside))
        if what:
            return None
        call = {"kept-private": "read", "closed-model": "proof.read", "open-model": "proof.write",
                "sentinel-model": "sentinel", "taken-set": "trial.look"}.get(name, "absent")
        if call == "absent":
            return Reply("absent", "missing", HIDDEN if asked.role else NOT_SIGNED)
        if not asked.role and name == "open-model":
            return Reply("proof.anonymous", "described", says(self._describe(name)))
        if not asked.role:
            return Reply("anonymous", "unsigned", NOT_SIGNED)
        if not self.may(asked.role) and name != "open-model":
            return Reply(call, "missing", HIDDEN)
        return Reply(call, "private" if call in ("read", "sentinel") else "described", says(self._describe(name)))

    # -- canaries --------------------------------------------------------------------------------------------------
    def _visit(self, kind, name, what, asked):
        canary = self.canaries.get((kind, name))
        if not asked.role:
            return Reply("visit.anonymous", "unsigned", NOT_SIGNED)
        if canary is None:
            return Reply("visit.commits" if what else "visit.absent", "missing", HIDDEN)
        if what == "commits/main":
            log = [{"id": "0" * 40, "title": "initial commit", "message": "", "date": canary.made,
                    "authors": [{"user": canary.by, "avatar": "/a.svg"}]}]
            return Reply("visit.commits", "commits", says(log, X_Total_Count="1"))
        if what:
            return None
        shown = self._described(name, kind, canary.by, canary.private, canary.made, canary.id)
        return Reply("visit.describe", "canary", says(shown))

    def _create(self, asked):
        body = asked.body if isinstance(asked.body, dict) else {}
        kind, name = body.get("type", "model"), str(body.get("name"))
        if body.get("private") is not True or body.get("organization") != self.name:
            self.wrong.append(f"a creation that is not private, or elsewhere: {body}")
        taken = name == "taken-set"
        if not taken:
            if name in self.posted:
                self.wrong.append(f"asked for twice: {name}")
            if not name.startswith(PREFIX + "-"):
                self.wrong.append(f"asked for something that is no canary: {name}")
            self.posted.add(name)
        call = "trial.post" if taken else "create"
        if not self.may(asked.role):
            text = f'You don\'t have the rights to create a {kind} under the namespace "{self.name}"'
            return Reply(call, "refused", refuses(403, text))
        url = f"https://hub.invalid/{'datasets/' if kind == 'dataset' else ''}{self.name}/{name}"
        if taken:
            return Reply(call, "exists", refuses(409, f"You already created this {kind} repo", url=url))
        canary = Canary(name, kind, self.users[asked.role], True, body.get("resourceGroupId"), now(), new_id())

        def effect():
            self.canaries[kind, name] = canary
            self.creations += 1
        return Reply(call, "created", says({"url": url, "name": f"{self.name}/{name}", "id": canary.id}), effect)

    def _delete(self, asked):
        body = asked.body if isinstance(asked.body, dict) else {}
        key, call = (body.get("type", "model"), str(body.get("name"))), "delete"
        if not key[1].startswith(PREFIX + "-") or key[1] not in self.posted or body.get("organization") != self.name:
            self.wrong.append(f"a deletion of what is not ours: {body}")
        if self.kind == "j":
            call = "delete.janitor" if asked.role == "janitor" else "delete.refused"
        if key not in self.canaries:
            return Reply(call, "missing", HIDDEN)
        if call == "delete.refused":
            return Reply(call, "refused", refuses(403, GUARD))

        def effect():
            if self.canaries.pop(key, None):
                self.deletions += 1
        return Reply(call, "acknowledged", says({}), effect)

"""A second Hub, written from the Hub's documentation and not from scopewatch's code.

Knows: routes, texts, headers and the order of checks of huggingface.co as far as scopewatch touches
them; faults that a test orders for a route; and the truth: every request, creation and deletion.
Serves the scenarios of this directory.  Standard library only, loopback only, port 0.
"""

import json
import os
import re
import socket
import struct
import threading
import time
import urllib.parse
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rights import World, now

GUARD = "You have read access but not the required permissions for this operation"
NAME_RULE = ("Only regular characters and '-', '_', '.' are accepted. '--' and '..' are forbidden. '-' and '.' cannot "
             "start or end the name. The name cannot end with \".git\". Max length is 96.")
LOCKED = "Cannot create repo: another conflicting operation is in progress"
CAPPED = "You have exceeded the rate limit for repository creation (300 per day)."
PAGES = {                                  # pages of an organization: each of these scopes opens it, to an administrator
    "members": ("org.read", "org.members.read"), "settings/repositories": ("org.read", "org.repos.read"),
    "settings/tokens": ("org.read",), "service-accounts": ("org.serviceAccounts.read",),
    "audit-log/export": ("org.auditLog.write",), "billing/usage": ("org.billing.read",),
    "settings/network-security": ("org.networkSecurity.read", "org.networkSecurity.write"),
    "resource-groups": ("org.read", "org.write", "resourceGroup.write")}
NETWORK = {"enforceAuth": False, "enforceIpRestriction": False, "highRateLimits": False, "ipRanges": [],
           "blockedContents": [], "allowedContents": [], "keepReposMetadataVisible": False}
JOBS = {"read": "job.write", "write": "job.write"}
ENDPOINTS = {"read": "inference.endpoints.write", "write": "inference.endpoints.write",
             "infer": "inference.endpoints.infer.write"}
KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
QUOTA = 6000


class Refused(Exception):
    def __init__(self, status, text, code=None, extra=None):
        super().__init__(text)
        self.status, self.text, self.code, self.extra = status, text, code, extra or {}


@dataclass
class Fault:
    """What goes wrong, where.  Without `answer`, `reset` or `cut` the Hub's own answer is sent."""
    method: str = ".*"
    path: str = ".*"
    token: str | None = None              # name of the token that must have signed; "" = anonymous
    times: int | None = None
    apply: bool = False                   # do the work before the fault (needed with answer/reset/hold)
    answer: tuple | None = None           # (status, body: str | dict, headers: dict), or what makes it of the request
    reset: bool = False                   # end the connection with RST, no answer
    cut: bool = False                     # send half of the body, then close
    hold: threading.Event | None = None   # wait for it (after `apply`, else before the work)
    late: bool = False                    # with hold: do the work after the wait
    reached: threading.Event = field(default_factory=threading.Event)
    hits: int = 0

    def fits(self, method, path, token):
        return ((self.times is None or self.hits < self.times) and re.fullmatch(self.method, method)
                and re.search(self.path, path)
                and (self.token is None or self.token == (token.name if token else "")))


class Hub(World):
    """The server.  `with Hub() as hub:` or start()/stop()."""

    def __init__(self):
        super().__init__()
        self.requests, self.created, self.deleted, self.faults, self.lock_hits = [], [], [], [], []
        self.other_changes = []
        self.force_public = False          # ignores private:true
        self.creation_cap = {}             # user -> creations left today
        self.inventory_page = 1000         # tokens on one page of the inventory
        self.skew = 0                      # seconds by which its clock is ahead
        self.public_members = False        # anybody sees the members who show themselves
        self.names = {}                    # what users, organizations and groups call themselves, for whoami
        self.create_seconds = 0.05         # how long the per-user create lock is held
        self._creating, self._used = set(), {}
        self.stopping = threading.Event()

    # -- life ------------------------------------------------------------------------------
    def start(self):
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self):
        self.stopping.set()
        for fault in self.faults:
            if fault.hold:
                fault.hold.set()
        self._server.shutdown()
        self._server.server_close()

    __enter__ = start

    def __exit__(self, *_):
        self.stop()

    def fault(self, method=".*", path=".*", **kw):
        fault = Fault(method, path, **kw)
        with self.lock:
            self.faults.append(fault)
        return fault

    def heal(self):
        with self.lock:
            self.faults.clear()

    # -- the truth -------------------------------------------------------------------------
    def seen(self, method=".*", path=".*", token=None):
        """The recorded requests that fit."""
        with self.lock:
            return [r for r in self.requests if re.fullmatch(method, r["method"]) and re.search(path, r["path"])
                    and (token is None or r["token"] == token)]

    def posts(self, token=None):
        return self.seen("POST", "^/api/repos/create$", token)

    def leftovers(self):
        with self.lock:
            return [r.name for r in self.repos.values() if r.canary]

    def touched(self, prefixes=("scopewatch-canary",)):
        """Whatever was made or deleted and was not a canary, and changes by other routes."""
        with self.lock:
            bad = [("deleted", d["name"]) for d in self.deleted if not d["canary"]]
            bad += [("created", c["name"]) for c in self.created
                    if not c["name"].split("/")[1].startswith(tuple(prefixes))]
            return bad + self.other_changes

    def doubled(self, sentinels=()):
        """Names that were POSTed more than once, and are not there for it."""
        names = [(p["body"].get("organization"), p["body"].get("type", "model"), p["body"].get("name"))
                 for p in self.posts() if isinstance(p["body"], dict)
                 and f"{p['body'].get('organization')}/{p['body'].get('name')}" not in sentinels]
        return sorted({n for n in names if names.count(n) > 1}, key=str)

    # -- answers ---------------------------------------------------------------------------
    def answer(self, method, path, query, token, bearer, body):
        """(status, headers, body) as the Hub gives it; changes the world."""
        try:
            return self._route(method, path, query, token, bearer, body)
        except Refused as no:
            headers = {"X-Error-Message": no.text}
            if no.code:
                headers["X-Error-Code"] = no.code
            if no.status == 401:
                headers["WWW-Authenticate"] = 'Bearer realm="Authentication required", charset="UTF-8"'
            return no.status, headers, {"error": no.text, **no.extra}

    def _route(self, method, path, query, token, bearer, body):
        if bearer and (token is None or not token.alive):
            raise Refused(401, "Invalid username or password." if token is None
                          else f'User Access Token "{token.name}" is expired')
        if path == "/api/whoami-v2" and method == "GET":
            return 200, {}, self._whoami(self._signed(token))
        if path == "/api/repos/create" and method == "POST":
            return self._create(self._signed(token), body)
        if path == "/api/repos/delete" and method == "DELETE":
            return self._delete(self._signed(token), body)
        part = [urllib.parse.unquote(p) for p in path.strip("/").split("/")]
        if len(part) >= 2 and part[0] == "api" and part[1] in KINDS:
            if len(part) == 2 and method == "GET":
                return self._list(KINDS[part[1]], part[1], query, token)
            if len(part) >= 4:
                return self._repo(method, KINDS[part[1]], f"{part[2]}/{part[3]}", part[4:], token, body)
        if len(part) >= 4 and part[:2] == ["api", "organizations"] and method == "GET":
            return self._organization(part[2], "/".join(part[3:]), query, token)
        if len(part) == 5 and part[0] == "api" and part[1] in ("jobs", "inference-endpoints") \
                and part[3] == "auth-check" and method == "POST":
            return self._auth_check(part[1], part[2], part[4], self._signed(token))
        if len(part) == 4 and part[:2] == ["api", "users"] and part[3] == "overview" and part[2] in self.user_ids:
            return 200, {}, {"_id": self.user_id(part[2]), "user": part[2], "type": "user"}
        if path in ("/api/settings/webhooks", "/api/settings/billing/usage") and method == "GET":
            need = "user.webhooks.read" if "webhooks" in path else "user.billing.read"
            if not self.scoped(self._signed(token), None, None, None, need):
                raise Refused(403, f"This action requires the {need} permission.")
            return 200, {}, [] if "webhooks" in path else {"usage": {}}
        raise Refused(404, "Sorry, we can't find the page you are looking for.")

    @staticmethod
    def _signed(token):
        if token is None:
            raise Refused(401, "Invalid username or password.")
        return token

    def _whoami(self, token):
        access = {"displayName": token.label or token.name, "role": token.role, "createdAt": token.created_at}
        if token.role == "fineGrained":
            access["fineGrained"] = {"canReadGatedRepos": False, "global": [], "scoped": [
                {"entity": {"_id": self._entity_id(kind, name), "type": kind, "name": name},
                 "permissions": list(permissions)} for kind, name, permissions in token.scopes]}
        orgs = []
        for org in self.orgs.values():
            groups = [{"id": g["id"], "name": n, "role": g["members"][token.user]}
                      for n, g in org.groups.items() if token.user in g["members"]]
            if token.user not in org.members and not groups:
                continue
            limits = (["token-revoked"] if org.name in token.revoked_in
                      else ["token-policy"] if self.refused_by_policy(token, org) else list(token.restrictions))
            orgs.append({"type": "org", "id": org.id, "name": org.name,
                         "fullname": self.names.get(org.name, org.name.title()), "plan": org.plan,
                         "avatarUrl": "https://www.gravatar.com/avatar/0",
                         "roleInOrg": org.members.get(token.user, "no_access"),
                         "securityRestrictions": limits, "resourceGroups": groups})
        return {"type": "user", "id": self.user_id(token.user), "name": token.user,
                "fullname": self.names.get(token.user, token.user.title()), "isPro": False,
                "avatarUrl": "/avatars/0.svg", "canPay": False, "orgs": orgs,
                "auth": {"type": "access_token", "accessToken": access,
                         **({"expiresAt": token.expires_at} if token.expires_at else {})}}

    def _entity_id(self, kind, name):
        if kind == "org":
            return self.orgs[name].id if name in self.orgs else "0" * 24
        if kind == "user":
            return self.user_id(name)
        if kind == "resource-group":
            return next((o.groups[name]["id"] for o in self.orgs.values() if name in o.groups), "0" * 24)
        repo = self.find(kind, name)
        return repo.id if repo else "0" * 24

    def _create(self, token, body):
        kind, name, namespace = body.get("type", "model"), body.get("name"), body.get("organization") or token.user
        if kind not in KINDS.values():
            raise Refused(400, 'Invalid option: expected one of "model"|"dataset"|"space" at type')
        if not isinstance(name, str) or "private" in body and "visibility" in body \
                or kind == "space" and body.get("sdk") not in ("gradio", "docker", "static"):
            raise Refused(400, "Invalid input")
        group_id = body.get("resourceGroupId")
        if group_id is not None and not re.fullmatch("[0-9a-fA-F]{24}", str(group_id)):
            raise Refused(400, "Invalid string: must match pattern /^[0-9a-fA-F]{24}$/ at resourceGroupId")
        if (not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}", name) or "--" in name or ".." in name
                or name[-1] in "-." or name.endswith(".git")):
            raise Refused(400, NAME_RULE)
        if kind == "space" and body["sdk"] != "static":
            raise Refused(402, "Static Spaces are free for everyone, but hosting Gradio and Docker Spaces on free "
                               "cpu-basic requires a PRO subscription. Subscribe at https://huggingface.co/pro")
        rights = f'You don\'t have the rights to create a {kind} under the namespace "{namespace}"'
        group = None
        if namespace != token.user or namespace in self.orgs:
            org = self.orgs.get(namespace)               # exact case: a missing one looks the same
            if org is None:
                raise Refused(403, rights)
            policy = self.refused_by_policy(token, org)
            if policy:
                raise Refused(403, policy)
            group = self.group_by_id(org, group_id) if group_id else None
            if group_id and group is None or not self.may_create(token, org, group):
                raise Refused(403, rights)
        elif not self.scoped(token, None, None, None, "repo.write"):
            raise Refused(403, rights)
        with self.lock:
            if token.user in self._creating:
                self.lock_hits.append((token.user, name))
                raise Refused(409, LOCKED)
            if self.creation_cap.get(token.user, 1) <= 0:
                raise Refused(429, CAPPED)
            self._creating.add(token.user)
        try:
            self.stopping.wait(self.create_seconds)
            with self.lock:
                full = f"{namespace}/{name}"
                if self.find(kind, full):
                    raise Refused(409, f"You already created this {kind} repo", extra={"url": f"{self.url}/{full}"})
                if token.user in self.creation_cap:
                    self.creation_cap[token.user] -= 1
                repo = self.repo(full, type=kind, private=bool(body.get("private")) and not self.force_public,
                                 group=group, by=token.user, canary=True)
                self.created.append({"name": full, "type": kind, "id": repo.id, "token": token.name, "body": body,
                                     "group": group, "at": time.monotonic()})
        finally:
            with self.lock:
                self._creating.discard(token.user)
        prefix = "" if kind == "model" else kind + "s/"
        return 200, {}, {"url": f"{self.url}/{prefix}{full}", "name": full, "id": repo.id}

    def _delete(self, token, body):
        kind, full = body.get("type", "model"), f"{body.get('organization') or token.user}/{body.get('name')}"
        with self.lock:
            repo = self.find(kind, full)
            if repo is None or not self.may(token, repo, "read"):
                raise Refused(404, "Repository not found", "RepoNotFound")
            if not self.may(token, repo, "write"):
                raise Refused(403, GUARD)
            del self.repos[(kind, full.lower())]
            self.deleted.append({"name": repo.name, "type": kind, "id": repo.id, "canary": repo.canary,
                                 "token": token.name, "at": time.monotonic()})
        return 200, {}, {}

    def _visible(self, kind, full, token):
        repo = self.find(kind, full)
        if repo is None or not self.may(token, repo, "read"):
            if token is None:
                raise Refused(401, "Invalid username or password.")
            raise Refused(404, "Repository not found", "RepoNotFound")
        return repo

    def _shape(self, repo):
        tags = [] if repo.type != "space" else ["static"]
        return {"_id": repo.id, "id": repo.name, "author": repo.name.split("/")[0], "sha": repo.id.ljust(40, "0"),
                "createdAt": repo.created_at, "lastModified": repo.created_at, "private": repo.private,
                "gated": False, "disabled": False, "tags": tags, "downloads": 0, "likes": 0,
                "siblings": [{"rfilename": ".gitattributes"}]}

    def _repo(self, method, kind, full, rest, token, body):
        repo = self._visible(kind, full, token)
        what = "/".join(rest)
        if method == "GET" and what in ("", "revision/main"):
            return 200, {}, self._shape(repo)
        if method == "GET" and what == "auth-check":
            return 200, {"Content-Type": "text/plain; charset=utf-8"}, "OK"
        if method == "GET" and what == "auth-check/write":
            if not self.may(token, repo, "write"):
                raise Refused(403, GUARD)
            return 200, {"Content-Type": "text/plain; charset=utf-8"}, "OK"
        if method == "GET" and what == "commits/main":
            log = [{"id": f"{n:040x}", "title": "initial commit" if n == 1 else f"change {n}", "message": "",
                    "date": repo.created_at, "authors": [{"user": repo.by, "avatar": "/avatars/0.svg"}]}
                   for n in range(repo.commits, 0, -1)]
            return 200, {"X-Total-Count": str(len(log))}, log
        if method == "GET" and what.startswith("tree/main"):
            return 200, {}, [{"type": "file", "path": ".gitattributes", "oid": "a" * 40, "size": 1519}]
        if method == "GET" and what == "refs":
            return 200, {}, {"branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": "0" * 40}],
                             "tags": [], "converts": []}
        if what == "resource-group" and method == "GET":
            org = self.orgs.get(repo.name.split("/")[0])
            if not repo.group or org is None:
                return 200, {}, {}
            group = org.groups[repo.group]
            return 200, {}, {"id": group["id"], "name": repo.group, "numUsers": len(group["members"])}
        if method != "GET":
            self.other_changes.append((method, full, what))
            if not self.may(token, repo, "write"):
                raise Refused(403, GUARD)
            return 200, {}, {}
        raise Refused(404, "Sorry, we can't find the page you are looking for.")

    def _list(self, kind, plural, query, token):
        author, search = query.get("author", [""])[0], query.get("search", [""])[0].lower()
        limit, start = int(query.get("limit", ["1000"])[0]), int(query.get("cursor", ["0"])[0])
        with self.lock:
            found = [r for r in self.repos.values() if r.type == kind and self.may(token, r, "read")
                     and (not author or r.name.split("/")[0].lower() == author.lower())
                     and search in r.name.lower()]
        headers = {}
        if start + limit < len(found):
            again = {**{k: v[0] for k, v in query.items()}, "cursor": str(start + limit)}
            headers["Link"] = f'<{self.url}/api/{plural}?{urllib.parse.urlencode(again)}>; rel="next"'
        return 200, headers, [self._shape(r) for r in found[start:start + limit]]

    def _organization(self, name, what, query, token):
        org = self.org_any_case(name)
        if org is None:
            raise Refused(404, "Organization not found" if what == "overview" else "Not found")
        if what == "overview":
            return 200, {}, {"_id": org.id, "name": org.name, "fullname": org.name.title(), "type": "org",
                             "isEnterprise": True, "plan": org.plan, "numUsers": len(org.members),
                             "avatarUrl": "/avatars/0.svg"}
        if what == "members" and self.public_members:
            return 200, {}, [self._member(org, u, None) for u in list(org.members)[:1]]
        self._signed(token)
        account = next((u for u, i in org.accounts.items() if what == f"service-accounts/{i}"), None)
        needs = PAGES.get("service-accounts" if account else what)
        if needs is None:
            raise Refused(404, "Sorry, we can't find the page you are looking for.")
        opened = self.in_groups(token, org) if what == "resource-groups" else \
            any(self.in_org(token, org, need) for need in needs)
        policy = org.members.get(token.user) and self.refused_by_policy(token, org)
        if not opened:
            raise Refused(403, policy or f"You don't have the required permissions to complete this action on "
                                         f"namespace {org.name}, missing permissions: {needs[0]}.")
        if what == "resource-groups":
            return 200, {}, [{"id": g["id"], "name": n, "resources": [], "repos": [],
                              "users": [{"type": "user", "_id": self.user_id(u), "name": u, "role": r}
                                        for u, r in g["members"].items()]}
                             for n, g in org.groups.items()
                             if org.members.get(token.user) == "admin" or token.user in g["members"]]
        if what == "members":
            return 200, {}, [self._member(org, u, r) for u, r in org.members.items()]
        if what == "settings/repositories":
            return 200, {}, [{"id": r.name, "type": r.type, "updatedAt": r.created_at, "storage": 0,
                              "visibility": "private" if r.private else "public", "storagePercent": 0}
                             for r in self.repos.values() if r.name.startswith(org.name + "/")
                             and query.get("search", [""])[0] in r.name]
        if what == "settings/tokens":
            return self._tokens(org, query)
        if account:
            shown = [{**self._listed(t), "permissions": []} for t in self.tokens.values() if t.user == account]
            return 200, {}, {**self._account(org, account), "accessTokens": shown}
        if what == "service-accounts":
            return 200, {}, [self._account(org, user) for user in org.accounts]
        return 200, {}, {"settings/network-security": NETWORK, "billing/usage": {"usage": {}}}.get(what, [])

    def _member(self, org, user, role):
        """With a role only for those who may see it."""
        return {"_id": self.user_id(user), "user": user, "fullname": user.title(), "type": "user", "isPro": False,
                "avatarUrl": "/avatars/0.svg", **({"role": role} if role else {})}

    @staticmethod
    def _account(org, user):
        return {"_id": org.accounts[user], "user": user, "name": user.title(), "email": f"{user}@example.com",
                "createdAt": "2026-01-02T03:04:05.000Z"}

    @staticmethod
    def _listed(token):
        return {"_id": token.id, "displayName": token.label or token.name, "role": token.role,
                "last4": token.secret[-4:], "createdAt": token.created_at}

    def _tokens(self, org, query):
        """The inventory of the members' tokens; a member that whoami would not show has none here."""
        found = [{**self._listed(t), "owner": {"user": t.user, "_id": self.user_id(t.user)}, "status": t.status}
                 for t in self.tokens.values() if t.user in org.members and t.alive and not t.unlisted]
        start = int(query.get("cursor", ["0"])[0])
        headers = {}
        if start + self.inventory_page < len(found):
            after = f"{self.url}/api/organizations/{org.name}/settings/tokens?cursor={start + self.inventory_page}"
            headers["Link"] = f'<{after}>; rel="next"'
        return 200, headers, found[start:start + self.inventory_page]

    def _auth_check(self, what, namespace, level, token):
        org, need = self.org_any_case(namespace), (JOBS if what == "jobs" else ENDPOINTS).get(level)
        if need is None:
            raise Refused(400, "Invalid input")
        if org is None or token.user not in org.members or not self.scoped(token, org, None, None, need):
            raise Refused(403, f"You don't have the required permissions to complete this action on namespace "
                               f"{namespace}, missing permissions: {need}.")
        if self.refused_by_policy(token, org):
            raise Refused(403, self.refused_by_policy(token, org))
        answer = {"namespace": {"id": org.id, "name": org.name},
                  "user": {"id": self.user_id(token.user), "name": token.user}}
        if what != "jobs" and token.patterns:
            return 207, {}, {**answer, "patternRestrictions": list(token.patterns)}
        return 200, {}, answer

    def quota(self, who):
        with self.lock:
            self._used[who] = self._used.get(who, 0) + 1
            left = max(0, QUOTA - self._used[who])
        return {"RateLimit": f'"api";r={left};t=240', "RateLimit-Policy": f'"fixed window";"api";q={QUOTA};w=300'}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_):
        pass                                            # a client that was killed is no error of the Hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        return super().date_time_string((timestamp or time.time()) + self.hub.skew)

    def serve(self):
        hub, length = self.hub, int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        url = urllib.parse.urlsplit(self.path)
        sent = self.headers.get("Authorization")
        bearer = sent[7:] if sent and sent.startswith("Bearer ") else sent
        token = hub.by_secret(bearer) if bearer else None
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            body = {"unparsable": True}
        record = {"method": self.command, "path": url.path, "query": url.query, "token": token.name if token else None,
                  "authorization": sent, "body": body, "status": None, "at": time.monotonic(), "time": now(),
                  "id": f"Root=1-{uuid.uuid4().hex[:8]}-{uuid.uuid4().hex[:24]}",
                  "user_agent": self.headers.get("User-Agent"), "headers": dict(self.headers)}
        with hub.lock:
            hub.requests.append(record)
            fault = next((f for f in hub.faults if f.fits(self.command, url.path, token)), None)
            if fault:
                fault.hits += 1

        def work():
            return hub.answer(self.command, url.path, urllib.parse.parse_qs(url.query), token, bearer, body)

        if fault is None:
            return self.reply(record, token, *work())
        real = work() if fault.apply else None
        fault.reached.set()
        if fault.hold:
            fault.hold.wait(120)
        if fault.late or (real is None and not (fault.answer or fault.reset)):
            real = work()
        if fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            record["status"] = "reset"
            os.close(self.connection.detach())          # at once, whatever still refers to the socket
            return None
        status, headers, answer = real or (None, None, None)
        if fault.answer:
            said = fault.answer(record) if callable(fault.answer) else fault.answer
            status, answer, headers = (*said, {})[:3]
        return self.reply(record, token, status, headers, answer, cut=fault.cut)

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = do_HEAD = serve

    def reply(self, record, token, status, headers, body, cut=False):
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        html = isinstance(body, str) and body.lstrip().startswith("<")
        out = {"Content-Type": "text/html; charset=utf-8" if html else "application/json; charset=utf-8",
               "X-Request-Id": record["id"], "Content-Length": str(len(data)),
               **self.hub.quota(token.user if token else "anonymous"), **headers}
        record["status"] = status
        self.send_response(status)
        for name, value in out.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True


class Listener:
    """Any other HTTP server of a scenario (a redirect's goal, a webhook): records, answers 200 or as told."""

    def __init__(self, answer=None, status=200):
        self.requests, listener = [], self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def serve(self):
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                listener.requests.append({"method": self.command, "path": self.path, "raw": raw,
                                          "headers": {k.lower(): v for k, v in self.headers.items()}})
                data = answer if isinstance(answer, bytes) else json.dumps(answer or {}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = do_PUT = do_HEAD = serve

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

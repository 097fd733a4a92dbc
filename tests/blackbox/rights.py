"""Who may do what on the second Hub.

Knows: organizations, users, roles, resource groups, tokens and repositories, and the documented
rule that a token's power is its own scope cut with its user's role.  Knows nothing of HTTP and
nothing of scopewatch.  Serves hub.py, which asks it before it answers.
"""

import datetime
import itertools
import threading
from dataclasses import dataclass, field

RANK = {None: 0, "no_access": 0, "read": 1, "contributor": 2, "write": 3, "admin": 4}
_ids = itertools.count(0x5f0000000001)


def new_id():
    """24 hex digits, never twice."""
    return f"{0x66a1b2c3d4e5:012x}{next(_ids):012x}"


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


@dataclass
class Org:
    name: str
    plan: str = "enterprise"
    policy: str = "allow"                       # allow | fine_grained_only | require_approval
    members: dict = field(default_factory=dict)  # user -> role
    groups: dict = field(default_factory=dict)   # group name -> {"id":…, "members": {user: role}}
    accounts: dict = field(default_factory=dict)  # service accounts: user -> id
    id: str = field(default_factory=new_id)


@dataclass
class Token:
    name: str
    secret: str
    user: str
    role: str = "fineGrained"                   # read | write | fineGrained
    scopes: list = field(default_factory=list)  # (entity type, entity name, [permissions])
    alive: bool = True
    revoked_in: tuple = ()                      # organizations whose administrator revoked it
    approved: bool = False
    restrictions: tuple = ()                    # what whoami says of it in every organization: sso, mfa, ip
    patterns: tuple = ()                        # the only inference endpoints it may touch, by name
    label: str | None = None                    # what its owner called it; its name here, when absent
    expires_at: str | None = None
    status: str = "authorized"                  # in the inventory
    unlisted: bool = False                      # not in the inventory, for whatever reason
    created_at: str = "2026-01-02T03:04:05.000Z"
    id: str = field(default_factory=new_id)


@dataclass
class Repo:
    name: str                                   # "ns/name"
    type: str = "model"
    private: bool = True
    group: str | None = None                    # name of the resource group
    by: str = "somebody"
    canary: bool = False                        # made by a POST while the tests ran
    commits: int = 1
    created_at: str = field(default_factory=now)
    id: str = field(default_factory=new_id)


class World:
    """The state of the Hub.  Every change happens under `lock`."""

    def __init__(self):
        self.lock = threading.RLock()
        self.orgs, self.tokens, self.repos, self.user_ids = {}, {}, {}, {}

    # -- who is who ------------------------------------------------------------------------
    def org(self, name, **kw):
        self.orgs[name] = Org(name, **kw)
        return self.orgs[name]

    def member(self, org, user, role):
        self.orgs[org].members[user] = role

    def group(self, org, name, **members):
        self.orgs[org].groups[name] = {"id": new_id(), "members": dict(members)}
        return self.orgs[org].groups[name]["id"]

    def account(self, org, user):
        self.orgs[org].accounts[user] = new_id()

    def token(self, name, secret, user, **kw):
        self.tokens[name] = Token(name, secret, user, **kw)
        return self.tokens[name]

    def repo(self, name, **kw):
        made = Repo(name, **kw)
        self.repos[(made.type, name.lower())] = made
        return made

    def user_id(self, user):
        with self.lock:
            return self.user_ids.setdefault(user, new_id())

    def by_secret(self, secret):
        return next((t for t in self.tokens.values() if t.secret == secret), None)

    def find(self, kind, name):
        """Reading is case-insensitive."""
        return self.repos.get((kind, name.lower()))

    def org_any_case(self, name):
        return next((o for o in self.orgs.values() if o.name.lower() == name.lower()), None)

    def group_by_id(self, org, gid):
        return next((n for n, g in org.groups.items() if g["id"] == gid), None)

    # -- what they may ---------------------------------------------------------------------
    def role_in(self, org, group, user):
        """The user's role for a repository of that group; an org admin manages all."""
        mine = org.members.get(user)
        if mine == "admin":
            return "admin"
        return org.groups[group]["members"].get(user) if group else mine

    def scoped(self, token, org, group, repo, permission):
        """Whether the token's own scope allows the permission there."""
        if token.role == "write":
            return True
        if token.role == "read":
            return permission in ("repo.content.read", "org.read")
        wanted = {permission} | ({"repo.write"} if permission == "repo.content.read" else set()) \
            | ({"org.write"} if permission == "org.read" else set())
        for kind, name, permissions in token.scopes:
            here = (kind == "org" and org and name == org.name
                    or kind == "user" and org is None
                    or kind == "resource-group" and group and name == group
                    or repo is not None and kind == repo.type and name == repo.name)
            if here and wanted & set(permissions):
                return True
        return False

    def refused_by_policy(self, token, org):
        """The text of a refusal that the organization's policy causes, or None."""
        if org.name in token.revoked_in:
            return ("Your token has been revoked by the organization administrator, you can no longer access "
                    "organization resources. Please contact them for more information.")
        if org.policy == "require_approval" and not token.approved:
            return ("Due to the organization token policy, your token needs to be approved by the organization "
                    "before you can access this resource.")
        if org.policy == "fine_grained_only" and token.role != "fineGrained":
            return "Due to the organization token policy, only fine-grained tokens can access this resource."
        return None

    def may(self, token, repo, action):
        """action: read | write."""
        if action == "read" and not repo.private:
            return True
        if token is None:
            return False
        namespace = repo.name.split("/")[0]
        org = self.orgs.get(namespace)
        permission = "repo.content.read" if action == "read" else "repo.write"
        if org is None:
            return token.user == namespace and self.scoped(token, None, None, repo, permission)
        if self.refused_by_policy(token, org) or not self.scoped(token, org, repo.group, repo, permission):
            return False
        role = self.role_in(org, repo.group, token.user)
        if action == "write" and role == "contributor":
            return repo.by == token.user
        return RANK.get(role, 0) >= (1 if action == "read" else 3)

    def may_create(self, token, org, group):
        return (self.scoped(token, org, group, None, "repo.write")
                and RANK.get(self.role_in(org, group, token.user), 0) >= RANK["contributor"])

    def in_org(self, token, org, permission):
        return bool(org and token and org.members.get(token.user) == "admin" and not self.refused_by_policy(token, org)
                    and self.scoped(token, org, None, None, permission))

    def in_groups(self, token, org):
        """Who sees resource groups: a member, or somebody in one, whose token reads the organization."""
        if self.refused_by_policy(token, org):
            return False
        known = token.user in org.members or any(token.user in g["members"] for g in org.groups.values())
        return known and any(self.scoped(token, org, None, None, p)
                             for p in ("org.read", "org.write", "resourceGroup.write", "repo.write"))

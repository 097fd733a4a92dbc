"""What the Hub's documentation says a token may do: a second opinion, apart from the daemon and the simulator.

Knows who holds a token, in which organization, and the documented rules, each named with its source; knows
nothing of HTTP, of answers, or of how either side is built.  Where the documents are silent it says so and
is never exact.  `Oracle(flipped=RULE)` believes the opposite of one rule: the tables must notice.
"""

from dataclasses import dataclass, field

ALLOWED, DENIED, UNDETERMINED = "allowed", "denied", "undetermined"
ROLES = ("no_access", "read", "contributor", "write", "admin")

# name: what it says — where that stands
RULES = {
    "dead-token": "a deleted, garbage or expired token is refused with 401 — recorded answers",
    "both-must-allow": "a token's power is its scope and its user's role, both of them — hub docs, oauth, security-tokens",
    "classic-read": "a token of role read writes and creates nothing — hub docs, security-tokens; recorded 403",
    "classic-write": "a token of role write may what its user may — hub docs, security-tokens",
    "public-read": "every token reads public repositories, one without scopes too — the Hub's token page",
    "content-read": "a private repository needs repo.content.read on its organization or on itself — OpenAPI",
    "write-scope": "writing needs repo.write on the organization or on the repository — OpenAPI",
    "create-scope": "creating needs repo.write on the organization; a repository's does not do — huggingface_hub#2955",
    "own-scope": "a scope on the user, or on another organization, says nothing of this one — recorded 403",
    "root-readers": "members read the organization's private repositories — hub docs, organizations-security",
    "root-writers": "write and admin members write to every repository of the root — hub docs, organizations-security",
    "root-creators": "contributor, write and admin members create in the root — hub docs, organizations-security",
    "contributors-own": "contributors modify what they created and nothing else — hub docs, security-resource-groups",
    "no-access": "no_access members and strangers reach nothing private of the root — hub docs, security-resource-groups",
    "group-walls": "a private repository of a group is visible to its members only — hub docs, security-resource-groups",
    "group-admins": "organization admins see and manage every group — hub docs, security-resource-groups",
    "group-writers": "write in a group creates and writes in it — hub docs, security-resource-groups",
    "group-contributors": "contributor in a group creates in it — hub docs, security-resource-groups",
    "group-only": "write through a group creates nothing in the root — granite.build#185",
    "gate-strangers": "a gated repository is closed to strangers who were not let in — recorded 403",
    "gate-granted": "whom the authors let in reads a gated repository — recorded answers",
    "gate-scope": "a fine-grained token needs the gated scope as well — huggingface_hub#2844",
    "job-scope": "jobs need job.write on the organization — recorded 403 'missing permissions: job.write'",
    "endpoint-scope": "endpoints need inference.endpoints.(infer.)write on the organization — OpenAPI",
    "namespace-roles": "jobs and endpoints of an organization are closed to strangers and no_access — hub docs, oauth",
    "admin-namespace": "an admin with the scope runs jobs and endpoints — hub docs, oauth",
    "page-scope": "an organization's pages need a scope on it — hub docs, oauth; OpenAPI",
    "page-strangers": "an organization's settings are closed to strangers and no_access — hub docs, oauth",
    "page-admins": "an admin whose token holds every permission, or is classic, reads all its settings — OpenAPI",
    "account-scope": "org.serviceAccounts.read reads the service accounts — OpenAPI",
    "plan-groups": "resource groups without a plan are answered with 402 — hub docs, programmatic-user-access-control",
    "plan-audit": "there is an audit log from the Team plan on — hub docs, audit-logs",
    "plan-accounts": "there are service accounts from the Enterprise plan on — OpenAPI",
    "own-settings": "the user's own settings need user.webhooks.read or user.billing.read — trufflehog, hub docs",
    "own-elsewhere": "an organization's policy does not touch the user's own settings — hub docs, enterprise-tokens",
    "policy-classic": "under both stricter policies classic tokens are shut out — hub docs, enterprise-tokens-management",
    "policy-approval": "a fine-grained token needs approval under require_approval — hub docs, enterprise-tokens-management",
    "policy-admin": "tokens that admins made are approved by themselves — hub docs, enterprise-tokens-management",
    "revoked": "a revoked token reaches nothing of the organization — hub docs, enterprise-tokens-management",
    "restrictions": "sso, mfa, ip, token-policy, token-revoked shut a token out — OpenAPI, securityRestrictions",
    "exact-case": "creating knows the organization in its exact spelling only: another one proves nothing — recorded 403",
    "no-janitor": "without somebody who sees the target a denial proves nothing — control",
    "target-missing": "a repository that is not there answers everybody with 404 — recorded answers",
}


@dataclass(frozen=True)
class Subject:
    """A token, the user behind it, and the organization it reaches for."""
    role: str                                   # read, write, fineGrained
    org: str = "acme"
    user: str = "u"
    scopes: tuple = ()                          # ((entity, (permission, …)), …); entity as org:acme, model:acme/x
    org_role: str | None = None                 # None: a stranger
    group_role: str | None = None               # in the group "team"
    author: bool = False                        # made the organization's repositories
    gated_scope: bool = False
    granted: bool = False                       # let in by the gated repository's authors
    policy: str = "allow"
    approval: str | None = None
    restrictions: tuple = ()
    plan: str | None = "enterprise"
    service_account: bool = False
    alive: bool = True
    # What spoils the controls, or the target.
    janitor: str = "good"                       # good, dead, none
    exact_case: bool = True


@dataclass(frozen=True)
class Truth:
    """`exact`: access and one of the reasons. Else: never one of `never`, and anything else goes."""
    exact: bool
    access: str | None = None
    reasons: frozenset = frozenset()
    never: frozenset = frozenset()

    def fits(self, access, reason):
        if self.exact:
            return access == self.access and (access == ALLOWED and reason is None or reason in self.reasons)
        return access not in self.never

    @property
    def silent(self):
        return not self.exact and not self.never


def allowed():
    return Truth(True, ALLOWED)


def denied(*reasons):
    return Truth(True, DENIED, frozenset(reasons))


def undetermined(*reasons):
    return Truth(True, UNDETERMINED, frozenset(reasons))


def never(*accesses):
    return Truth(False, never=frozenset(accesses))


SILENT = Truth(False)

PAGES = {"org.members", "org.repositories", "org.audit_log", "org.billing", "org.service_accounts",
         "org.network_security", "org.resource_groups"}
JOBS = {"job.read", "job.write"}
ENDPOINTS = {"endpoint.read": None, "endpoint.write": "inference.endpoints.write",
             "endpoint.infer": "inference.endpoints.infer.write"}
OWN = {"user.webhooks": "user.webhooks.read", "user.billing": "user.billing.read"}
EVERYTHING = (
    "repo.content.read", "repo.write", "repo.access.read", "discussion.write", "collection.read", "collection.write",
    "inference.serverless.write", "inference.endpoints.infer.write", "inference.endpoints.write", "org.read", "org.write",
    "resourceGroup.write", "job.write", "org.serviceAccounts.read", "org.serviceAccounts.write", "org.auditLog.write",
    "org.billing.read", "org.members.read", "org.members.write", "org.networkSecurity.read", "org.networkSecurity.write",
    "org.repos.read")


@dataclass
class Oracle:
    flipped: str | None = None
    used: set = field(default_factory=set)

    def rule(self, name, holds=True):
        """A rule as it stands in the documents, or as the opposite of it."""
        assert name in RULES, name
        self.used.add(name)
        return holds != (name == self.flipped)

    # -- what the token itself may -------------------------------------------------------------------------------
    def has(self, s, permission, repo=None):
        """Whether a fine-grained token was given this on the organization, or on this repository."""
        for entity, permissions in s.scopes:
            if permission not in permissions:
                continue
            if entity == f"org:{s.org}" or (repo and entity == repo):
                return True
            foreign = entity.startswith(("user:", "org:"))
            if foreign and not self.rule("own-scope"):
                return True
        return False

    def holds_group_scope(self, s):
        """Whether and how the Hub gives scopes on resource groups is not documented."""
        return any(entity.startswith("resource-group:") for entity, _ in s.scopes)

    def names_organization(self, s):
        return any(entity == f"org:{s.org}" and permissions for entity, permissions in s.scopes)

    def power(self, s, kind, permission, rule, repo=None):
        """True, False, or None where the documents are silent."""
        if s.role == "write":
            return self.rule("classic-write")
        if s.role == "read":
            return kind == "read" or not self.rule("classic-read")
        if self.has(s, permission, repo):
            return self.rule(rule)
        if self.holds_group_scope(s):
            return None
        return not self.rule(rule)

    def both(self, power, right, reasons):
        """The intersection; a half that is not documented leaves only what the other half decides."""
        if power is False or right is False:
            if self.rule("both-must-allow") or (power is False and right is False):
                return denied(*reasons)
            return allowed()
        if power is None or right is None:
            return SILENT
        return allowed()

    # -- the organization's walls --------------------------------------------------------------------------------
    def shut_out(self, s):
        """The reasons for which an organization refuses the token altogether."""
        why = set()
        classic = s.role != "fineGrained"
        if s.approval == "revoked" and self.rule("revoked"):
            why.add("token_revoked")
        if classic and s.policy in ("fine_grained_only", "require_approval") and self.rule("policy-classic"):
            why.add("token_policy")
        if not classic and s.policy == "require_approval" and s.approval != "revoked":
            by_admin = s.approval is None and s.org_role == "admin" and self.rule("policy-admin")
            if (s.approval != "approved" and not by_admin) == self.rule("policy-approval"):
                why.add("token_policy")
        words = {"sso": "sso", "mfa": "mfa", "ip": "ip_restriction", "token-policy": "token_policy",
                 "token-revoked": "token_revoked"}
        if self.rule("restrictions"):
            why |= {words[word] for word in s.restrictions}
        return why

    # -- the questions -------------------------------------------------------------------------------------------
    def ask(self, s, permission, target="-"):
        """`target`: for repo.create the type, perhaps @team, and * where it is tried on a sentinel; for repo.* one of
        public private team gated missing."""
        dead = not s.alive
        if self.rule("dead-token", dead):
            return undetermined("token_invalid")
        if not s.exact_case and self.rule("exact-case"):
            return undetermined("no_control")
        if s.janitor == "dead" and self.rule("no-janitor"):
            return undetermined("no_control")
        if permission in OWN:
            return self.own_settings(s, permission)
        if permission == "repo.create":
            honest = self.shown(s, target, self.create(s, target.rstrip("*")))
        elif permission in ("repo.read", "repo.write"):
            honest = self.repository(s, permission, target)
        elif permission in JOBS or permission in ENDPOINTS:
            honest = self.namespace(s, permission)
        else:
            honest = self.page(s, permission)
        return self.behind_walls(s, permission, target, honest)

    def behind_walls(self, s, permission, target, honest):
        why = self.shut_out(s)
        if not why:
            return honest
        if target == "missing":
            return honest
        if target in ("public", "gated"):
            # Whether the walls stand around what anybody may read is not documented; nobody gains by them.
            return never(ALLOWED) if honest.exact and honest.access == DENIED else SILENT
        if target in ("private", "team"):
            why = why | {"hidden"}
        if honest.exact and honest.access == DENIED:
            why = why | honest.reasons
        elif not honest.exact:
            why = why | {"scope", "hidden", "other"}
        if honest.exact and honest.access == UNDETERMINED:
            return never(ALLOWED)
        return denied(*why)

    def create(self, s, target):
        power = self.power(s, "write", "repo.write", "create-scope")
        if s.role == "fineGrained" and not self.has(s, "repo.write") and self.any_repo(s, "repo.write"):
            power = not self.rule("create-scope")
        if target.endswith("@team"):
            return self.create_in_group(s, power)
        may = s.service_account or self.rule("root-creators", s.org_role in ("contributor", "write", "admin"))
        if s.org_role in (None, "no_access") and not s.service_account:
            # The same rule twice: strangers with a group's power are a case of its own.
            may = not self.rule("group-only") if s.group_role in ("contributor", "write") else not self.rule("no-access")
        return self.both(power, may, ["scope"])

    def shown(self, s, target, honest):
        """Without a janitor nobody but the token shows the sentinel, and that a group is there."""
        if s.janitor != "none" or not self.rule("no-janitor"):
            return honest
        if target.endswith("*") and self.read(s, "private", f"dataset:{s.org}/known-set") != allowed():
            return undetermined("target_missing", "no_control")
        if "@" in target and honest.exact and honest.access == DENIED and s.group_role is None:
            return undetermined("no_control", "target_missing")
        return honest

    def create_in_group(self, s, power):
        if s.plan is None and self.rule("plan-groups"):
            return undetermined("no_control", "target_missing", "billing")
        outside = s.org_role in (None, "no_access", "read")
        if s.org_role == "admin":
            may = self.rule("group-admins")
        elif s.service_account:
            may = None
        elif outside and s.group_role == "write":
            may = self.rule("group-writers")
        elif outside and s.group_role == "contributor":
            may = self.rule("group-contributors")
        elif outside and s.group_role == "admin":
            may = None          # "cannot add repos": whether that is about creating is not said
        elif outside:
            may = False
        else:
            may = None          # how the roles of group and organization combine is not documented
        if may is False and power is not False and s.group_role is None:
            return never(ALLOWED)               # the answer to a group that is not one's own is not documented
        return self.both(power, may, ["scope"])

    def any_repo(self, s, permission):
        return any(permission in permissions and entity.startswith(("model:", "dataset:", "space:"))
                   for entity, permissions in s.scopes)

    def sees(self, s, target):
        """Whether the user behind the token can see a private repository."""
        if s.service_account:
            return True
        if target == "private":
            if s.org_role in (None, "no_access"):
                return not self.rule("no-access")
            return self.rule("root-readers")
        if s.org_role == "admin":
            return self.rule("group-admins")
        if s.group_role in ("read", "contributor", "write", "admin"):
            return True
        return not self.rule("group-walls")

    def repository(self, s, permission, target):
        if target == "missing":
            if not self.rule("target-missing"):
                return denied("hidden")
            return undetermined("target_missing") if s.janitor == "good" else undetermined("target_missing", "no_control")
        read = permission == "repo.read"
        if target == "gated":
            return self.gated(s) if read else SILENT
        if target == "team" and s.plan is None:
            return SILENT                       # there are no groups without a plan
        repo = {"public": "open", "private": "closed", "team": "team"}[target]
        entity = f"model:{s.org}/{repo}"
        if read:
            return self.read(s, target, entity)
        return self.write(s, target, entity)

    def unseen(self, s, target, honest):
        """A denial that only somebody else's eyes can confirm."""
        if s.janitor == "none" and target in ("private", "team") and honest.exact and honest.access == DENIED:
            return undetermined("no_control") if self.rule("no-janitor") else honest
        return honest

    def read(self, s, target, entity):
        if target == "public":
            return allowed() if self.rule("public-read") else denied("scope")
        power = self.power(s, "read", "repo.content.read", "content-read", entity)
        if power is False and s.role == "fineGrained" and self.has(s, "repo.write", entity):
            power = None                        # whether writing includes reading is not said
        sees = self.sees(s, target)
        reasons = ["hidden"] if s.role != "fineGrained" else ["hidden", "scope"]
        return self.unseen(s, target, self.both(power, sees, reasons))

    def write(self, s, target, entity):
        power = self.power(s, "write", "repo.write", "write-scope", entity)
        right = self.writes(s, target)
        if target == "public":
            return self.both(power, right, ["scope"])
        sees = self.sees(s, target)
        knows = s.role == "read" or s.role == "write" or self.has(s, "repo.content.read", entity)
        reasons = ["scope"] if sees and knows else ["hidden", "scope"]
        if not sees and s.role != "fineGrained":
            reasons = ["hidden"]
        return self.unseen(s, target, self.both(power, right, reasons))

    def writes(self, s, target):
        """Whether the user may write; None where it is not documented."""
        if s.service_account:
            return True
        if target in ("public", "private"):
            if s.org_role in ("write", "admin"):
                return self.rule("root-writers")
            if s.org_role == "contributor":
                return self.rule("contributors-own", s.author)
            return not self.rule("no-access") if s.org_role in (None, "no_access") else not self.rule("root-writers")
        if s.org_role == "admin":
            return self.rule("group-admins")
        if s.org_role in ("write", "contributor"):
            # Whether a role in the organization reaches into a group is not documented.
            return True if s.group_role == "write" else None
        if s.group_role in ("write", "admin"):
            return self.rule("group-writers")
        if s.group_role == "contributor":
            return self.rule("contributors-own", s.author)
        return False

    def gated(self, s):
        if s.org_role is not None or s.service_account:
            return SILENT                       # whether members need to ask depends on a setting
        if not s.granted:
            return denied("other", "scope") if self.rule("gate-strangers") else allowed()
        if s.role == "fineGrained" and not s.gated_scope and self.rule("gate-scope"):
            return denied("scope")
        return allowed() if self.rule("gate-granted") else denied("other", "scope")

    def namespace(self, s, permission):
        if permission in JOBS:
            power = self.power(s, "read" if permission == "job.read" else "write", "job.write", "job-scope")
        else:
            power = self.endpoint_power(s, permission)
        stranger = s.org_role in (None, "no_access") and not s.service_account
        if stranger:
            # Through a group jobs may be billed to it: not documented who may.
            right = None if s.group_role else not self.rule("namespace-roles")
        elif s.org_role == "admin" or s.service_account:
            right = self.rule("admin-namespace")
        else:
            right = None                        # which role runs jobs or endpoints is not documented
        return self.both(power, right, ["scope"])

    def endpoint_power(self, s, permission):
        wanted = ENDPOINTS[permission]
        if s.role == "read":
            # Whether calling an endpoint is reading is not said.
            silent = {"endpoint.read": True, "endpoint.infer": None}
            return silent[permission] if permission in silent else not self.rule("classic-read")
        if s.role == "write":
            return self.rule("classic-write")
        if wanted and self.has(s, wanted):
            return self.rule("endpoint-scope")
        if self.has(s, "inference.endpoints.write") or self.has(s, "inference.endpoints.infer.write"):
            return None                         # which of them includes which other is not said
        return None if self.holds_group_scope(s) else not self.rule("endpoint-scope")

    def page(self, s, permission):
        stranger = s.org_role in (None, "no_access") and not s.service_account
        power = self.page_power(s, permission)
        if permission == "org.members":
            # Parts of it may be public: a grant counts only where nobody gets it without a token.
            return SILENT if not (s.org_role == "admin" and power) else never(DENIED)
        if stranger:
            # Which groups a member of no other right gets listed, and whether an empty list, is not documented.
            listed = s.org_role and permission == "org.resource_groups"
            right = None if listed else not self.rule("page-strangers")
        elif s.org_role == "admin":
            right = self.rule("page-admins")
        else:
            right = None
        if permission == "org.audit_log" and s.plan is None and self.rule("plan-audit"):
            return never(ALLOWED)
        if permission == "org.service_accounts" and s.plan in (None, "team", "academia") and self.rule("plan-accounts"):
            return never(ALLOWED)
        if permission == "org.resource_groups" and s.plan is None and self.rule("plan-groups"):
            return undetermined("billing") if power and right else never(ALLOWED)
        if permission == "org.network_security" and s.plan != "plus" and right is not False:
            right = None if power else right    # the page is documented for Enterprise Plus only
        return self.both(power, right, ["scope", "other"])

    def page_power(self, s, permission):
        if s.role == "write":
            return self.rule("classic-write")
        if s.role == "read":
            return None                         # a read token is documented to read repositories
        confirmed = {"org.service_accounts": "org.serviceAccounts.read"}.get(permission)
        if confirmed and self.has(s, confirmed):
            return self.rule("account-scope")
        for entity, permissions in s.scopes:
            if entity == f"org:{s.org}":
                return self.rule("page-admins") if set(EVERYTHING) <= set(permissions) else None
        if self.holds_group_scope(s):
            return None
        return not self.rule("page-scope")

    def own_settings(self, s, permission):
        if self.shut_out(s) and not self.rule("own-elsewhere"):
            return denied("scope", "other")
        if s.role == "write":
            return allowed() if self.rule("classic-write") else denied("scope", "other")
        if s.role == "read":
            return SILENT                       # a read token is documented to read repositories
        given = any(entity == f"user:{s.user}" and OWN[permission] in permissions for entity, permissions in s.scopes)
        return allowed() if self.rule("own-settings", given) else denied("scope", "other")

"""The rows and columns of the truth table, and the world and config that they make.

A row is a kind of token in a kind of organization, perhaps with a fault; a column is a question.  Knows how a
row becomes users, groups and scopes of a world file; knows nothing of what is right.  Serves table.py.
"""

from dataclasses import dataclass, field

from oracle import EVERYTHING, Subject

ADMIN_SCOPES = ("repo.content.read", "repo.write", "org.read", "org.write", "resourceGroup.write")
GENEROUS = {"rate_limit": 1_000_000, "creations_per_day": 1_000_000}


@dataclass(frozen=True)
class Column:
    name: str                   # as printed
    permission: str
    what: str                   # as the oracle knows it
    keys: tuple = ()            # further keys of the check; {org} is the organization
    target: str = "-"           # as in the report

    def check(self, organization, access):
        more = {key: value.format(org=organization) for key, value in self.keys}
        return {"permission": self.permission, **more, "access": access}

    def reported(self, organization):
        return self.target.format(org=organization)


def creating(name, kind, group=False, sentinel=False):
    keys = [("type", kind)] if kind != "model" else []
    keys += [("resource_group", "team")] if group else []
    keys += [("method", "sentinel"), ("sentinel", "{org}/known-set")] if sentinel else []
    target = kind + ("@team" if group else "")
    return Column(name, "repo.create", target + "*" * sentinel, tuple(keys), target)


def repository(name, permission, what, repo):
    return Column(name, permission, what, (("repo", "{org}/" + repo),), "{org}/" + repo)


CREATE = [creating("new model", "model"), creating("new dataset*", "dataset", sentinel=True), creating("new space", "space"),
          creating("model@team", "model", group=True), creating("dataset@tm*", "dataset", group=True, sentinel=True)]
REPOS = [repository("rd public", "repo.read", "public", "open"), repository("rd private", "repo.read", "private", "closed"),
         repository("rd team", "repo.read", "team", "team"), repository("rd gated", "repo.read", "gated", "gated"),
         repository("rd missing", "repo.read", "missing", "missing"), repository("wr public", "repo.write", "public", "open"),
         repository("wr private", "repo.write", "private", "closed"), repository("wr team", "repo.write", "team", "team"),
         repository("wr missing", "repo.write", "missing", "missing")]
WHOLE = [Column(name, permission, "-") for name, permission in (
    ("job.read", "job.read"), ("job.write", "job.write"), ("endp.read", "endpoint.read"), ("endp.write", "endpoint.write"),
    ("endp.infer", "endpoint.infer"), ("members", "org.members"), ("repos", "org.repositories"), ("audit_log", "org.audit_log"),
    ("billing", "org.billing"), ("accounts", "org.service_accounts"), ("network", "org.network_security"),
    ("groups", "org.resource_groups"), ("u.webhooks", "user.webhooks"), ("u.billing", "user.billing"))]
COLUMNS = CREATE + REPOS + WHOLE


@dataclass(frozen=True)
class Row:
    name: str
    label: str
    subject: Subject
    fault: str | None = None
    columns: tuple = field(default_factory=lambda: tuple(COLUMNS))
    configured: str = ""        # the organization as the config spells it


ROLES = [None, "no_access", "read", "contributor", "write", "admin"]


def scoped(org, *permissions):
    return ((f"org:{org}", tuple(permissions)),)


OWN_SETTINGS = ("user.webhooks.read", "user.billing.read")
OWN_NAMESPACE = ("repo.content.read", "repo.write", "job.write", "inference.endpoints.write")
# Kinds of token: what is said of it, and how it comes to be in organization `o`, of user `u`.
TOKENS = {
    "classic read": lambda o, u: ("read", ()),
    "classic write": lambda o, u: ("write", ()),
    "fg nothing": lambda o, u: ("fineGrained", ()),
    "fg org write": lambda o, u: ("fineGrained", scoped(o, "repo.write")),
    "fg org read": lambda o, u: ("fineGrained", scoped(o, "repo.content.read")),
    "fg org read+write": lambda o, u: ("fineGrained", scoped(o, "repo.content.read", "repo.write")),
    "fg everything": lambda o, u: ("fineGrained", (*scoped(o, *EVERYTHING), (f"user:{u}", OWN_SETTINGS))),
}
SPECIAL = {
    "fg own namespace": lambda o, u: ((f"user:{u}", OWN_NAMESPACE),),
    "fg another org": lambda o, u: scoped("elsewhere", *EVERYTHING),
    "fg one repo read": lambda o, u: ((f"model:{o}/closed", ("repo.content.read",)),),
    "fg one repo write": lambda o, u: ((f"model:{o}/closed", ("repo.content.read", "repo.write")),),
    "fg team repo write": lambda o, u: ((f"model:{o}/team", ("repo.content.read", "repo.write")),),
    "fg group scope": lambda o, u: ((f"resource-group:{o}/team", ("repo.content.read", "repo.write")),),
    "fg jobs": lambda o, u: scoped(o, "job.write"),
    "fg endpoints": lambda o, u: scoped(o, "inference.endpoints.write", "inference.endpoints.infer.write"),
    "fg infer": lambda o, u: scoped(o, "inference.endpoints.infer.write"),
    "fg accounts": lambda o, u: scoped(o, "org.serviceAccounts.read"),
    "fg own settings": lambda o, u: ((f"user:{u}", OWN_SETTINGS),),
    "fg own webhooks": lambda o, u: ((f"user:{u}", ("user.webhooks.read",)),),
    "fg unheard words": lambda o, u: scoped(o, "quantum.entangle", "discussion.write", "collection.write"),
}


class Rows:
    """Collects rows; each has a user and a token of its own."""

    def __init__(self):
        self.rows = []

    def add(self, label, kind, org="acme", fault=None, columns=None, configured=None, **subject):
        name = f"t{len(self.rows):03d}"
        user = f"user-{name}"
        if callable(kind):
            role, scopes = "fineGrained", kind(org, user)
        else:
            role, scopes = TOKENS[kind](org, user)
        made = Subject(role=role, org=org, user=user, scopes=scopes, **subject)
        columns = tuple(c for c in COLUMNS if columns is None or c.name in columns)
        self.rows.append(Row(name, label, made, fault, columns, configured or org))


def described(kind, org_role, group_role=None):
    group = f" + team {group_role}" if group_role else ""
    return f"{kind}, {org_role or 'stranger'}{group}"


def rows():
    """All of them, the fault rows too."""
    table = Rows()
    for kind in TOKENS:
        for role in ROLES:
            table.add(described(kind, role), kind, org_role=role)
    for kind in ("classic write", "fg nothing", "fg org read+write"):
        for role in ("no_access", "read", "write"):
            for group in ("read", "contributor", "write", "admin"):
                table.add(described(kind, role, group), kind, org_role=role, group_role=group)
    for kind, make in SPECIAL.items():
        table.add(described(kind, "admin"), make, org_role="admin")
    for kind in ("fg one repo write", "fg team repo write", "fg group scope"):
        table.add(described(kind, "no_access", "write"), SPECIAL[kind], org_role="no_access", group_role="write")
    authors = (("classic write", "contributor", None), ("fg org read+write", "contributor", None),
               ("classic write", "no_access", "contributor"))
    for number, (kind, role, group) in enumerate(authors):
        label = described(kind, role, group) + ", author"
        table.add(label, kind, org=f"author{number}", org_role=role, group_role=group, author=True)
    gated(table)
    governed(table)
    spoiled(table)
    faulty(table)
    return table.rows


def gated(table):
    for kind in ("classic read", "classic write", "fg nothing"):
        table.add(f"{kind}, stranger, let in", kind, granted=True)
    table.add("fg nothing + gated, stranger, let in", "fg nothing", granted=True, gated_scope=True)
    table.add("fg nothing + gated, stranger", "fg nothing", gated_scope=True)


def governed(table):
    for policy, org in (("fine_grained_only", "finegrained"), ("require_approval", "approving")):
        for kind in ("classic read", "classic write"):
            table.add(f"{kind}, admin; {policy}", kind, org=org, org_role="admin", policy=policy)
        for approval in (None, "pending", "approved", "denied", "revoked"):
            for role in ("write", "admin"):
                if policy == "fine_grained_only" and approval:
                    continue
                label = f"fg everything, {role}; {policy}" + (f", {approval}" if approval else "")
                table.add(label, "fg everything", org=org, org_role=role, policy=policy, approval=approval)
        table.add(f"fg nothing, admin; {policy}, approved", "fg nothing", org=org, org_role="admin", policy=policy,
                  approval="approved")
    for kind in ("classic write", "fg everything"):
        table.add(f"{kind}, admin; revoked", kind, org_role="admin", approval="revoked")
    for restrictions in (("sso",), ("mfa",), ("ip",), ("token-policy",), ("token-revoked",), ("sso", "ip")):
        for kind in ("classic write", "fg everything"):
            table.add(f"{kind}, admin; {'+'.join(restrictions)}", kind, org_role="admin", restrictions=restrictions)
    table.add("fg nothing, read; sso", "fg nothing", org_role="read", restrictions=("sso",))
    for plan in (None, "team", "academia", "plus"):
        for kind in ("classic write", "fg everything", "fg nothing"):
            table.add(f"{kind}, admin; plan {plan or 'none'}", kind, org=f"plan-{plan or 'none'}", org_role="admin", plan=plan)
    for kind in ("fg nothing", "fg org read", "fg org read+write", "fg everything"):
        table.add(f"{kind}, service account", kind, service_account=True)


def spoiled(table):
    for kind in ("classic write", "fg everything"):
        table.add(f"{kind}, admin; deleted", kind, org_role="admin", alive=False)
        table.add(f"{kind}, admin; expired", kind, org_role="admin", alive=False)
    for kind in ("classic write", "fg nothing"):
        table.add(f"{kind}, admin; wrong letter case", kind, org="CamelCase", configured="camelcase", org_role="admin",
                  exact_case=False)
        table.add(f"{kind}, admin; janitor dead", kind, org="orphaned", org_role="admin", janitor="dead")
        table.add(f"{kind}, admin; no janitor", kind, org="alone", org_role="admin", janitor="none")
    table.add("fg org read+write, stranger; no janitor", "fg org read+write", org="alone", janitor="none")


RATE = "RateLimit"
# name: the orders, what an answer must come to, the columns it is tried on when its creations take long to settle.
QUICK = ("new dataset*", *(c.name for c in REPOS + WHOLE))
SLOW = ("new model", *QUICK)
FEW = ("new dataset*", "rd private", "rd public", "wr private", "job.write", "endp.infer", "repos", "u.webhooks")
FAULTS = {
    "429, window used up": ({"kind": "status", "status": 429, "headers": {RATE: '"api";r=0;t=250'}}, {"rate_limited"}, None),
    "429, action cap": ({"kind": "status", "status": 429, "headers": {RATE: '"api";r=900;t=250'},
                         "body": {"error": "You have exceeded the rate limit for repository creation (300 per day)."}},
                        {"rate_limited", "creation_cap"}, None),
    "500": ({"kind": "status", "status": 500}, {"hub_error"}, SLOW),
    "503 page": ({"kind": "html", "status": 503}, {"hub_error"}, SLOW),
    "reset": ({"kind": "reset"}, {"network"}, SLOW),
    "no answer": ({"kind": "hang"}, {"timeout"}, FEW),
    "200 page": ({"kind": "html"}, {"unrecognized"}, SLOW),
    "403 page": ({"kind": "html", "status": 403}, {"unrecognized"}, SLOW),
    "404 page": ({"kind": "html", "status": 404}, {"unrecognized"}, SLOW),
    "403 without envelope": ({"kind": "status", "status": 403, "body": "Forbidden"}, {"unrecognized"}, SLOW),
    "200, wrong shape": ({"kind": "wrong_shape", "apply": "before"}, {"unrecognized"}, SLOW),
    "200, an error in it": ({"kind": "wrong_shape", "apply": "before", "body": {"error": "Internal Error"}},
                            {"unrecognized"}, SLOW),
    "307 elsewhere": ({"kind": "redirect"}, {"unrecognized"}, SLOW),
    "half a body": ({"kind": "cut_body", "apply": "before", "body": {"half": "of it"}}, {"network", "unrecognized"}, SLOW),
    "401": ({"kind": "status", "status": 401}, {"token_invalid"}, None),
    "402": ({"kind": "status", "status": 402}, {"billing"}, None),
    "405": ({"kind": "status", "status": 405}, {"unrecognized"}, SLOW),
    "409 of another kind": ({"kind": "status", "status": 409, "body": {"error": "Conflict"}}, {"conflict"}, SLOW),
    "late, in time": ({"kind": "delay", "delay_ms": 150}, None, None),
}
STRUCK_ROUTES = ("create", "auth-check", "organization", "user")


def faulty(table):
    for number, (name, (_, _, columns)) in enumerate(FAULTS.items()):
        for kind in ("fg everything", "fg nothing"):
            # An organization of its own: canaries that stay unclear hold up those of the others.
            table.add(f"{kind}, admin; {name}", kind, org=f"storm{number}-{kind[3:5]}", fault=name, columns=columns,
                      org_role="admin")


# -- the world file ----------------------------------------------------------------------------------------------

def world_of(all_rows):
    world = {"organizations": {}, "users": {}, "repos": {}, "tokens": {},
             "limits": {"anonymous": 1_000_000, "whoami": 1_000_000, "creations_per_day": 1_000_000}}
    for row in all_rows:
        s = row.subject
        organization = home(world, s)
        world["users"][s.user] = dict(GENEROUS)
        if s.service_account:
            organization["service_accounts"].append(s.user)
        elif s.org_role:
            organization["members"][s.user] = s.org_role
        if s.group_role:
            organization["resource_groups"]["team"][s.user] = s.group_role
        if s.granted:
            world["repos"][f"{s.org}/gated"]["granted"].append(s.user)
        if s.author:
            for repo in ("open", "closed", "team"):
                world["repos"][f"{s.org}/{repo}"]["author"] = s.user
        world["tokens"][row.name] = token_of(row)
    return world


def home(world, s):
    if s.org in world["organizations"]:
        return world["organizations"][s.org]
    boss = f"boss-{s.org.lower()}"
    organization = {"token_policy": s.policy, "members": {boss: "admin"}, "resource_groups": {"team": {}}, "service_accounts": []}
    if s.plan:
        organization["plan"] = s.plan
    world["organizations"][s.org] = organization
    world["users"][boss] = dict(GENEROUS)
    for repo, more in (("open", {}), ("closed", {"private": True}), ("team", {"private": True, "resource_group": "team"}),
                       ("gated", {"gated": "manual", "granted": []})):
        world["repos"][f"{s.org}/{repo}"] = {"type": "model", "author": boss, **more}
    world["repos"][f"{s.org}/known-set"] = {"type": "dataset", "private": True, "author": boss}
    if s.janitor != "none":
        janitor = {"secret": "", "user": boss, "role": "fineGrained", "alive": s.janitor != "dead",
                   "scopes": [{"entity": f"org:{s.org}", "permissions": list(ADMIN_SCOPES)}]}
        world["tokens"][f"janitor-{s.org.lower()}"] = janitor
    return organization


def token_of(row):
    s = row.subject
    token = {"secret": "", "user": s.user, "role": s.role, "gated_repos": s.gated_scope,
             "scopes": [{"entity": entity, "permissions": list(permissions)} for entity, permissions in s.scopes]}
    if s.approval:
        token["approval"] = s.approval
    if s.restrictions:
        token["restrictions"] = list(s.restrictions)
    if not s.alive:
        token |= {"expires_at": "2020-01-01T00:00:00Z"} if "expired" in row.label else {"alive": False}
    return token


def config_of(all_rows, expected):
    """Organizations and tokens for Bench.config; `expected(row, column)` is the access that the config hopes for."""
    organizations, tokens = {}, {}
    for row in all_rows:
        s = row.subject
        entry = {"name": row.configured}
        if s.janitor != "none":
            entry["janitor"] = f"janitor-{s.org.lower()}"
            tokens.setdefault(entry["janitor"], (row.configured, None))
        organizations[row.configured] = entry
        tokens[row.name] = (row.configured, [c.check(row.configured, expected(row, c)) for c in row.columns])
    return list(organizations.values()), tokens


def fault_orders(all_rows):
    return [{"route": route, "token": row.name, **FAULTS[row.fault][0]}
            for row in all_rows if row.fault for route in STRUCK_ROUTES]

//! The Hub's documented model of access as a table: one rule a line, what it concludes, and where it is written.
//!
//! It is the whole belief of `predict`: no factor is found but by a rule of this table. Where the documents are
//! silent the rule says so and concludes nothing; what is well supported but not written is marked INFER.
//!
//! Sources: DOC a page of the Hub's documentation, SPEC its OpenAPI document, CLIENT the official Python client,
//! STAFF a comment by its makers, ISSUE a thread of its users, OBS-3P an answer that a third party recorded.

use crate::access::{DenyReason, words};

use Concludes::{Allows, Aside, Denies, Silent, Unread};
use DenyReason::{Hidden, IpRestriction, Mfa, Scope, Sso, TokenPolicy as Policy, TokenRevoked};
use FactorKind::{Gate, GroupRole, OrganizationRole, Plan, Restriction, Token, Visibility};

words! {
    /// What a factor is about, in the order in which they are asked.
    FactorKind {
        /// What the organization asks of every token: policy, approval, sign-on, address.
        Restriction = "restriction",
        /// The token itself: its kind, role and scopes.
        Token = "token",
        OrganizationRole = "organization_role",
        GroupRole = "group_role",
        /// Whether the repository is public.
        Visibility = "visibility",
        /// Whether the repository asks its readers in one by one.
        Gate = "gate",
        Plan = "plan",
    }
}

/// What a rule says of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concludes {
    Allows,
    Denies(DenyReason),
    /// The documents do not say.
    Silent,
    /// They say, but what it depends on could not be read.
    Unread,
    /// This has no part in the answer.
    Aside,
}

/// One line of the documented model.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    pub id: &'static str,
    pub kind: FactorKind,
    pub concludes: Concludes,
    pub source: &'static str,
    /// The rule as it is written, in one sentence.
    pub sentence: &'static str,
}

macro_rules! rules {
    ($($name:ident = $id:literal, $kind:expr, $concludes:expr, $source:literal, $sentence:literal;)+) => {
        $(pub static $name: Rule =
            Rule { id: $id, kind: $kind, concludes: $concludes, source: $source, sentence: $sentence };)+
        /// All of them, in the order of the table.
        pub static RULES: &[&Rule] = &[$(&$name),+];
    };
}

#[rustfmt::skip]
rules! {
    // What the organization asks of every token.
    RESTRICTION_NONE = "restriction.none", Restriction, Allows, "[SPEC] whoami-v2 securityRestrictions",
        "The Hub lists what bars this token from the organization's data, and lists nothing.";
    RESTRICTION_REVOKED = "restriction.token_revoked", Restriction, Denies(TokenRevoked), "[DOC] security-tokens.md; [SPEC] whoami-v2",
        "A token that the organization revoked reaches nothing of the organization any more.";
    RESTRICTION_POLICY = "restriction.token_policy", Restriction, Denies(Policy), "[DOC] enterprise-tokens-management.md; [SPEC] whoami-v2",
        "A token that the organization's token policy does not let in, or that waits for approval, reaches nothing of it.";
    RESTRICTION_SSO = "restriction.sso", Restriction, Denies(Sso), "[DOC] enterprise-sso.md; [SPEC] whoami-v2",
        "Where single sign-on is enforced, the organization's data needs a session with its identity provider.";
    RESTRICTION_MFA = "restriction.mfa", Restriction, Denies(Mfa), "[SPEC] whoami-v2 securityRestrictions",
        "Where two-factor authentication is enforced, users without it do not reach the organization's data.";
    RESTRICTION_IP = "restriction.ip", Restriction, Denies(IpRestriction), "[DOC] enterprise-network-security.md; [SPEC] whoami-v2",
        "Where access is restricted to address ranges, tokens are refused from everywhere else.";
    RESTRICTION_UNHEARD = "restriction.unheard", Restriction, Silent, "[SPEC] whoami-v2 knows five words; this is none of them",
        "The Hub lists a restriction that its own description does not know.";
    RESTRICTION_PUBLIC = "restriction.public", Restriction, Silent, "[DOC] security-resource-groups.md against [DOC] security-tokens.md",
        "Public repositories are visible to anyone, and a barred token is refused the organization's resources: which holds is not said.";
    RESTRICTION_CLASSIC = "restriction.classic", Restriction, Denies(Policy), "[DOC] enterprise-tokens-management.md, table of policies",
        "Under the policies `only fine-grained` and `require approval`, read and write tokens are refused.";
    RESTRICTION_UNREAD = "restriction.unread", Restriction, Unread, "[SPEC] whoami-v2; whether a token sees organizations that it does not name is UNCONFIRMED",
        "The Hub did not show the organization to this token, so what bars the token could not be read.";
    RESTRICTION_OUTSIDE = "restriction.outside", Restriction, Aside, "[SPEC] whoami-v2 lists restrictions for the user's organizations only",
        "An organization's rules for the tokens of its members do not concern a user who is none.";

    // The token itself: its kind, role and scopes.
    TOKEN_PUBLIC = "token.public", Token, Allows, "[OBS-3P] text of the Hub's token page",
        "Every token may read all public repositories, whatever it names.";
    TOKEN_WRITE = "token.write", Token, Allows, "[DOC] security-tokens.md",
        "A write token names nothing and may do what its user may do in the organization.";
    TOKEN_READ = "token.read", Token, Allows, "[DOC] security-tokens.md",
        "A read token may read the repositories that its user may read.";
    TOKEN_READ_ONLY = "token.read_only", Token, Denies(Scope), "[DOC] security-tokens.md; [OBS-3P] 403 on creation",
        "A read token can only be used for reading.";
    TOKEN_READ_ELSE = "token.read_else", Token, Silent, "[DOC] security-tokens.md speaks of repositories only",
        "What a read token may read besides repositories is not said.";
    TOKEN_WRITE_SETTINGS = "token.write_settings", Token, Silent, "[DOC] security-tokens.md speaks of repositories and organizations only",
        "Whether a write token reaches its user's own settings is not said.";
    TOKEN_GOD = "token.god", Token, Silent, "[SPEC] whoami-v2 names the role and says nothing of it",
        "What a token with the role `god` may do is not said.";
    TOKEN_UNHEARD = "token.unheard", Token, Silent, "[SPEC] whoami-v2 knows four roles; this is none of them",
        "What a token with a role unknown to the documents may do is not said.";
    TOKEN_OTHER = "token.other", Token, Silent, "[DOC] oauth.md; whoami-v2 does not show the scopes of OAuth tokens and applications",
        "This is no user access token, and what others were granted is not shown.";
    SCOPE_NAMESPACE = "scope.namespace", Token, Allows, "[SPEC] service-account permissions; labels of the Hub's token page",
        "A fine-grained token may do on an organization what it names there.";
    SCOPE_REPO = "scope.repo", Token, Allows, "[DOC] security-tokens.md; [SPEC] whoami-v2",
        "A fine-grained token may do on a repository what it names there.";
    SCOPE_USER = "scope.user", Token, Allows, "[SPEC] whoami-v2; labels of the Hub's token page",
        "A fine-grained token may do with its user's own things what it names for the user.";
    SCOPE_EMPTY = "scope.empty", Token, Denies(Scope), "[DOC] security-tokens.md, oauth.md; for creation [OBS-3P] 403; for writing in a group INFER",
        "A fine-grained token that names nothing may do nothing, whatever its user may do.";
    SCOPE_LACKS = "scope.lacks", Token, Denies(Scope), "[DOC] security-tokens.md, oauth.md; [OBS-3P] 403 with a personal scope",
        "A fine-grained token may do nothing that it does not name.";
    SCOPE_REPO_CREATES_NOT = "scope.repo_creates_not", Token, Denies(Scope), "[ISSUE] huggingface_hub#2955; [OBS-3P] 403 with selected repositories",
        "Writing to selected repositories does not include creating new ones: that needs the scope on the organization.";
    SCOPE_MEMBERS = "scope.members", Token, Silent, "[DOC] enterprise-service-accounts.md knows a public member list",
        "Part of an organization's member list is public; what a token without the scope sees of it is not said.";
    SCOPE_UNHEARD = "scope.unheard", Token, Silent, "[SPEC] the list of permissions is open",
        "The token names a permission or a kind of thing that no document knows.";
    SCOPE_HEARSAY = "scope.hearsay", Token, Silent, "[OBS-3P] lists of permissions by third parties; what a wider permission includes is not said",
        "The token names a permission that may include this one, but no document says so.";
    SCOPE_GROUP = "scope.group", Token, Silent, "[SPEC] whoami-v2 names the entity `resource-group`; what it opens is UNCONFIRMED",
        "The token names a resource group, and what such a scope opens is not said.";
    SCOPE_UNNAMED = "scope.unnamed", Token, Unread, "[SPEC] whoami-v2: an entity's name is optional",
        "The token names something by an id alone, which may be this very target.";
    SCOPE_BOTH = "scope.both", Token, Silent, "[SPEC] service-account tokens: repoPermissions override; what whoami-v2 shows of it, and of users' tokens, is UNCONFIRMED",
        "The token names more for the organization than for this repository, and which of the two counts is not said.";

    // The user's role in the organization.
    ROLE_READ = "role.read", OrganizationRole, Allows, "[DOC] organizations-security.md",
        "Every organization role from `read` up reads the organization's repositories.";
    ROLE_CREATE = "role.create", OrganizationRole, Allows, "[DOC] organizations-security.md",
        "The organization roles `contributor`, `write` and `admin` create repositories.";
    ROLE_WRITE = "role.write", OrganizationRole, Allows, "[DOC] organizations-security.md",
        "The organization roles `write` and `admin` write to all of its repositories.";
    ROLE_CONTRIBUTOR = "role.contributor", OrganizationRole, Silent, "[DOC] organizations-security.md; what the write check says of others' repositories is UNCONFIRMED",
        "A contributor writes to the repositories that he created; who created this one is not declared.";
    ROLE_LACKS = "role.lacks", OrganizationRole, Denies(Scope), "[DOC] organizations-security.md, oauth.md",
        "A token never may do more than its user's role in the organization.";
    ROLE_BLIND = "role.blind", OrganizationRole, Denies(Hidden), "[DOC] organizations-security.md; [CLIENT] RepositoryNotFoundError",
        "To a user without a role on it, a private repository does not exist.";
    ROLE_OUTSIDER = "role.outsider", OrganizationRole, Denies(Scope), "[DOC] security-tokens.md; enterprise-service-accounts.md (their tokens are fine-grained); [OBS-3P] 403",
        "A user who is not a member of the organization has no rights in it but to read what is public.";
    ROLE_OUTSIDER_BLIND = "role.outsider_blind", OrganizationRole, Denies(Hidden), "[CLIENT] RepositoryNotFoundError",
        "To a user who is not a member of its organization, a private repository does not exist.";
    ROLE_OWNER = "role.owner", OrganizationRole, Allows, "[DOC] security-tokens.md",
        "In the own namespace a user may do everything.";
    ROLE_SERVICE_ACCOUNT = "role.service_account", OrganizationRole, Allows, "[DOC] enterprise-service-accounts.md",
        "What a service account may do is defined by its tokens entirely: it has no role that could stand in between.";
    ROLE_ADMIN = "role.admin", OrganizationRole, Allows, "[DOC] security-resource-groups.md (features), organizations.md (billing); for other pages INFER",
        "An organization's admin keeps access to every feature of it, and manages its settings, members and billing.";
    ROLE_ADMIN_GROUPS = "role.admin_groups", OrganizationRole, Allows, "[DOC] security-resource-groups.md",
        "An organization's admin manages all of its resource groups.";
    ROLE_MEMBERS = "role.members", OrganizationRole, Allows, "[DOC] organizations-security.md",
        "Every organization role from `read` up reads the member list.";
    ROLE_GROUPS = "role.groups", OrganizationRole, Allows, "[DOC] programmatic-user-access-control.md",
        "The organization roles `write` and `admin` work with the interface of resource groups.";
    ROLE_NO_ACCESS = "role.no_access", OrganizationRole, Denies(Scope), "[DOC] security-resource-groups.md",
        "A member with the role `no_access` has access only inside the resource groups that he is in.";
    ROLE_NOT_SAID = "role.not_said", OrganizationRole, Silent, "[DOC] organizations-security.md does not speak of it",
        "Which role this needs is not said.";
    ROLE_UNHEARD = "role.unheard", OrganizationRole, Silent, "[SPEC] whoami-v2 knows five roles; this is none of them",
        "What a role unknown to the documents may do is not said.";
    ROLE_UNREAD = "role.unread", OrganizationRole, Unread, "[SPEC] whoami-v2; whether a token sees organizations that it does not name is UNCONFIRMED",
        "The Hub did not show this token its user's role in the organization; a service account has none.";
    ROLE_BY_GROUP = "role.by_group", OrganizationRole, Aside, "[DOC] security-resource-groups.md",
        "Inside a resource group, the role in the group is enough.";

    // The user's role in the resource group.
    GROUP_NONE = "group.none", GroupRole, Aside, "[DOC] security-resource-groups.md",
        "Outside of resource groups no group role counts.";
    GROUP_READ = "group.read", GroupRole, Allows, "[DOC] security-resource-groups.md",
        "Every group role from `read` up reads the group's repositories.";
    GROUP_CREATE = "group.create", GroupRole, Allows, "[DOC] security-resource-groups.md",
        "The group roles `contributor`, `write` and `admin` create repositories in the group.";
    GROUP_WRITE = "group.write", GroupRole, Allows, "[DOC] security-resource-groups.md",
        "The group roles `write` and `admin` write to all of the group's repositories.";
    GROUP_LACKS = "group.lacks", GroupRole, Denies(Scope), "[DOC] security-resource-groups.md",
        "Members reach a group's repositories with their role in the group; neither that nor the organization role is enough here.";
    GROUP_BLIND = "group.blind", GroupRole, Denies(Hidden), "[DOC] security-resource-groups.md",
        "A private repository of a resource group is visible to the group's members and the organization's admins only.";
    GROUP_CONTRIBUTOR = "group.contributor", GroupRole, Silent, "[DOC] security-resource-groups.md; what the write check says of others' repositories is UNCONFIRMED",
        "A group's contributor writes to the repositories that he created; who created this one is not declared.";
    GROUP_OR_ROLE = "group.or_role", GroupRole, Silent, "[DOC] security-resource-groups.md does not say how the two combine",
        "The organization role would be enough and the group role is not; which of the two counts is not said.";
    GROUP_UNHEARD = "group.unheard", GroupRole, Silent, "[SPEC] whoami-v2 knows five roles; this is none of them",
        "What a group role unknown to the documents may do is not said.";
    GROUP_UNREAD = "group.unread", GroupRole, Unread, "[SPEC] whoami-v2; whether a token sees groups of organizations that it does not name is UNCONFIRMED",
        "Which group this is about, or the user's role in it, could not be read.";

    // The repository: who may see it at all, and whether it asks its readers in.
    VISIBILITY_PUBLIC = "visibility.public", Visibility, Allows, "[DOC] security-resource-groups.md",
        "Public repositories are visible to anyone, inside and outside of the organization.";
    VISIBILITY_PRIVATE = "visibility.private", Visibility, Aside, "[DOC] security-resource-groups.md",
        "A private repository is read by scope and role.";
    VISIBILITY_EITHER = "visibility.either", Visibility, Aside, "[DOC] security-resource-groups.md",
        "Whether the repository is public makes no difference here.";
    VISIBILITY_UNREAD = "visibility.unread", Visibility, Unread, "[DOC] security-resource-groups.md",
        "A public repository is open to every token; whether this one is public could not be read.";
    GATE_OPEN = "gate.open", Gate, Allows, "[DOC] models-gated.md",
        "A repository without a gate asks its readers for nothing.";
    GATE_ADMIN = "gate.admin", Gate, Allows, "[SPEC] repository settings, orgMembersGated",
        "Admins of the owning organization never have to ask for access to its gated repositories.";
    GATE_OWNER = "gate.owner", Gate, Allows, "[DOC] models-gated.md",
        "The author of a gated repository decides who reads it.";
    GATE_SWITCH = "gate.switch", Gate, Denies(Scope), "[ISSUE] huggingface_hub#2844; [SPEC] whoami-v2 canReadGatedRepos",
        "A fine-grained token reads public gated repositories only if that is switched on in it.";
    GATE_SWITCH_UNREAD = "gate.switch_unread", Gate, Unread, "[SPEC] whoami-v2: canReadGatedRepos is optional",
        "Whether the token may read public gated repositories is not shown.";
    GATE_SWITCH_SCOPED = "gate.switch_scoped", Gate, Silent, "[SPEC] whoami-v2 says it of public gated repositories to which the user has access",
        "Whether a token that names the repository needs the switch for gated ones as well is not said.";
    GATE_CONSENT = "gate.consent", Gate, Unread, "[DOC] models-gated.md; [SPEC] orgMembersGated",
        "A gated repository lets its readers in one by one, and whether this user is let in is not declared.";
    GATE_UNREAD = "gate.unread", Gate, Unread, "[DOC] models-gated.md",
        "Whether the repository is gated could not be read.";

    // The organization's plan.
    PLAN_OFFERS = "plan.offers", Plan, Allows, "[DOC] and [SPEC] of the page; enterprise-service-accounts.md, enterprise-network-security.md",
        "The organization's plan has this page.";
    PLAN_NOT_SAID = "plan.not_said", Plan, Silent, "documents and OpenAPI disagree about the least plan, or give no answer for this one",
        "What the page answers under this plan is not said.";
    PLAN_FEATURE = "plan.feature", Plan, Unread, "[DOC] security-resource-groups.md, granular feature access",
        "An organization may keep jobs and endpoints to its admins or to some groups, and whether it does is not declared.";
    PLAN_UNREAD = "plan.unread", Plan, Unread, "[SPEC] whoami-v2: plan is optional",
        "The Hub showed no plan of the organization: it has none, or this token is not told.";
}

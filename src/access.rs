//! The words of a question and of its answer: token, permission, target, expected, access, verdict.
//!
//! Plain values with closed lists; each word is spelled once, here, as config, reports and labels show it.
//! Nothing here knows how the Hub is asked or what it says.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Declares an enum whose variants have one spelling each, used in config, reports, labels and the store.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// Every value, in the order of the contract.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The one spelling of this value.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = ();
            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($text => Ok($name::$variant),)+ _ => Err(()) }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

/// The name that the config gives to a credential. The secret itself is never part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenName(Arc<str>);

impl TokenName {
    /// Wraps a name that the config has checked.
    pub fn new(name: &str) -> TokenName {
        TokenName(name.into())
    }

    /// The name as written in the config.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

impl Serialize for TokenName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

words! {
    /// The kinds of repository that a canary may be.
    RepoType { Model = "model", Dataset = "dataset", Space = "space" }
}

words! {
    /// What a token may be asked to do; the permissions of the contract.
    Permission {
        RepoCreate = "repo.create",
        RepoRead = "repo.read",
        RepoWrite = "repo.write",
        JobRead = "job.read",
        JobWrite = "job.write",
        EndpointRead = "endpoint.read",
        EndpointWrite = "endpoint.write",
        EndpointInfer = "endpoint.infer",
        OrgMembers = "org.members",
        OrgRepositories = "org.repositories",
        OrgAuditLog = "org.audit_log",
        OrgBilling = "org.billing",
        OrgServiceAccounts = "org.service_accounts",
        OrgNetworkSecurity = "org.network_security",
        OrgResourceGroups = "org.resource_groups",
        UserWebhooks = "user.webhooks",
        UserBilling = "user.billing",
    }
}

words! {
    /// What the config says a token should be able to do.
    Expected { Allowed = "allowed", Denied = "denied" }
}

words! {
    /// Why the Hub refused. Closed, because it is a label.
    DenyReason {
        /// The token or its user lacks the right: the Hub's generic refusals.
        Scope = "scope",
        TokenPolicy = "token_policy",
        TokenRevoked = "token_revoked",
        Sso = "sso",
        Mfa = "mfa",
        IpRestriction = "ip_restriction",
        Billing = "billing",
        /// The Hub says "not found" to this token of a repository that is there.
        Hidden = "hidden",
        /// A refusal in the Hub's own envelope, with a text that is not in our table.
        Other = "other",
    }
}

words! {
    /// Why nothing can be said. Closed, because it is a label.
    UnknownReason {
        TokenInvalid = "token_invalid",
        RateLimited = "rate_limited",
        CreationCap = "creation_cap",
        NoControl = "no_control",
        TargetMissing = "target_missing",
        Conflict = "conflict",
        Billing = "billing",
        HubError = "hub_error",
        Timeout = "timeout",
        Network = "network",
        Unrecognized = "unrecognized",
        IntentNotStored = "intent_not_stored",
        ReadOnly = "read_only",
    }
}

/// What a probe found. Three answers, never two: a question without an answer is not a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// The Hub granted this very request.
    Allowed,
    /// The Hub refused it in its own words, and a control shows that the refusal means something.
    Denied(DenyReason),
    /// Nothing can be said.
    Undetermined(UnknownReason),
}

impl Access {
    /// `allowed`, `denied` or `undetermined`.
    pub fn as_str(self) -> &'static str {
        match self {
            Access::Allowed => "allowed",
            Access::Denied(_) => "denied",
            Access::Undetermined(_) => "undetermined",
        }
    }

    /// The closed reason, where there is one.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Access::Allowed => None,
            Access::Denied(why) => Some(why.as_str()),
            Access::Undetermined(why) => Some(why.as_str()),
        }
    }

    /// The value of its two spellings, as a store keeps them.
    pub fn parse(access: &str, reason: Option<&str>) -> Option<Access> {
        match (access, reason) {
            ("allowed", None) => Some(Access::Allowed),
            ("denied", Some(why)) => why.parse().ok().map(Access::Denied),
            ("undetermined", Some(why)) => why.parse().ok().map(Access::Undetermined),
            _ => None,
        }
    }

    /// `Some(true)` allowed, `Some(false)` denied, `None` undetermined.
    pub fn conclusive(self) -> Option<bool> {
        match self {
            Access::Allowed => Some(true),
            Access::Denied(_) => Some(false),
            Access::Undetermined(_) => None,
        }
    }
}

words! {
    /// The judgement: what was found against what was expected.
    Verdict {
        Ok = "ok",
        UnexpectedGrant = "unexpected_grant",
        UnexpectedDenial = "unexpected_denial",
        Unknown = "unknown",
    }
}

words! {
    /// How loudly an unexpected grant speaks.
    Severity { Critical = "critical", Warning = "warning", Info = "info" }
}

/// A repository's full name, `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoName {
    /// The user or organization that holds it.
    pub namespace: String,
    /// Its name within the namespace.
    pub name: String,
}

impl FromStr for RepoName {
    type Err = ();
    /// Accepts exactly `namespace/name`, both of letters, digits, `-`, `_` and `.`, so that a name can never
    /// change the path it becomes part of.
    fn from_str(text: &str) -> Result<RepoName, ()> {
        let (namespace, name) = text.split_once('/').ok_or(())?;
        let fine = |part: &str| {
            !part.is_empty()
                && part.len() <= 96
                && part != "."
                && part != ".."
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        if fine(namespace) && fine(name) {
            Ok(RepoName { namespace: namespace.to_owned(), name: name.to_owned() })
        } else {
            Err(())
        }
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.namespace, self.name)
    }
}

/// What a permission is asked about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Creating a repository of this kind in the organization's root or in a resource group (name or id, as
    /// the config has it).
    Create { kind: RepoType, group: Option<String> },
    /// One repository.
    Repo { kind: RepoType, repo: RepoName },
    /// The organization, or the token's own user.
    Whole,
}

impl fmt::Display for Target {
    /// As in reports and labels: `model`, `dataset@group`, `acme/x`, `dataset:acme/x`, `-`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Create { kind, group: None } => write!(out, "{kind}"),
            Target::Create { kind, group: Some(group) } => write!(out, "{kind}@{group}"),
            Target::Repo { kind: RepoType::Model, repo } => write!(out, "{repo}"),
            Target::Repo { kind, repo } => write!(out, "{kind}:{repo}"),
            Target::Whole => out.write_str("-"),
        }
    }
}

/// How `repo.create` is tried.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Method {
    /// By creating a private canary, which is then deleted; read-only permissions have no other method.
    Canary,
    /// By creating on a name that was just seen to exist; nothing is ever created.
    Sentinel(RepoName),
}

/// Where the config states something, so that a report can point at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// The file under the name by which it was given; an included one under its own.
    pub file: Arc<str>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl fmt::Display for Stated {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One question about one token, as the config asks it.
#[derive(Debug, Clone, Eq)]
pub struct Check {
    /// The organization under its exact name.
    pub organization: String,
    /// The token under audit.
    pub token: TokenName,
    /// What it may or may not do.
    pub permission: Permission,
    /// To what.
    pub target: Target,
    /// What the organization expects.
    pub expected: Expected,
    /// How it is tried.
    pub method: Method,
    /// The entry that asks it; of a check that comes through a named list, the entry in that list.
    pub stated: Option<Stated>,
}

/// A check that moved to another line asks the same question: where it is stated makes no difference.
impl PartialEq for Check {
    fn eq(&self, other: &Check) -> bool {
        let Check { organization, token, permission, target, expected, method, stated: _ } = self;
        *organization == other.organization
            && *token == other.token
            && *permission == other.permission
            && *target == other.target
            && *expected == other.expected
            && *method == other.method
    }
}

impl Check {
    /// What makes this check itself, through reloads and restarts: never its settings.
    pub fn key(&self) -> CheckKey {
        CheckKey {
            organization: self.organization.clone(),
            token: self.token.clone(),
            permission: self.permission,
            target: self.target.to_string(),
        }
    }

    /// Whether trying it may create something on the Hub. On a sentinel it never does.
    pub fn creates(&self) -> bool {
        self.permission == Permission::RepoCreate && self.method == Method::Canary
    }

    /// The organization whose rules may bar a token from what this asks; none for the settings of its own user.
    pub fn ruled_by(&self) -> Option<&str> {
        match (self.permission, &self.target) {
            (Permission::UserWebhooks | Permission::UserBilling, _) => None,
            (_, Target::Repo { repo, .. }) => Some(&repo.namespace),
            _ => Some(&self.organization),
        }
    }
}

/// The identity of a check: its four labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckKey {
    /// Organization, exact name.
    pub organization: String,
    /// Token name of the config.
    pub token: TokenName,
    /// Permission.
    pub permission: Permission,
    /// Target as shown in reports.
    pub target: String,
}

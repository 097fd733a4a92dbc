//! The words of a question and of its answer: token, permission, target, expected, access, verdict.
//!
//! Plain values with closed lists; each word is spelled once, here, as config, reports and labels show it.
//! Nothing here knows how the Hub is asked or what it says.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use serde::{Serialize, Serializer};

/// Declares an enum whose variants have one spelling each, used in config, reports, labels and the store. With
/// `described` before its name each variant tells what it means, in the words of its own documentation.
macro_rules! words {
    ($(#[$about:meta])* described $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $text:literal),+ $(,)? }) => {
        words! { $(#[$about])* $name { $($(#[doc = $doc])+ $variant = $text),+ } }

        impl $name {
            /// What it means: a sentence or two for people, with spaces before each line.
            pub const fn about(self) -> &'static str {
                match self { $($name::$variant => concat!($($doc),+)),+ }
            }
        }
    };
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenName(Arc<str>);

/// By its letters, which copies share.
impl Ord for TokenName {
    fn cmp(&self, other: &TokenName) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for TokenName {
    fn partial_cmp(&self, other: &TokenName) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

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
    described Permission {
        /// Create a repository: a model, a dataset or a space, in the root or in a resource group.
        RepoCreate = "repo.create",
        /// Read a repository, private ones included.
        RepoRead = "repo.read",
        /// Write to a repository.
        RepoWrite = "repo.write",
        /// See the jobs of the organization.
        JobRead = "job.read",
        /// Run jobs in the organization.
        JobWrite = "job.write",
        /// See the inference endpoints of the organization.
        EndpointRead = "endpoint.read",
        /// Create, change and delete inference endpoints.
        EndpointWrite = "endpoint.write",
        /// Call the inference endpoints of the organization.
        EndpointInfer = "endpoint.infer",
        /// List the members of the organization, those included whom only members see.
        OrgMembers = "org.members",
        /// List all repositories of the organization, with their settings.
        OrgRepositories = "org.repositories",
        /// Read the audit log.
        OrgAuditLog = "org.audit_log",
        /// Read what the organization uses and pays.
        OrgBilling = "org.billing",
        /// List the service accounts.
        OrgServiceAccounts = "org.service_accounts",
        /// Read the network security settings.
        OrgNetworkSecurity = "org.network_security",
        /// List the resource groups.
        OrgResourceGroups = "org.resource_groups",
        /// Read the webhooks of the token's user.
        UserWebhooks = "user.webhooks",
        /// Read what the token's user uses and pays.
        UserBilling = "user.billing",
    }
}

words! {
    /// What the config says a token should be able to do.
    Expected { Allowed = "allowed", Denied = "denied" }
}

words! {
    /// Why the Hub refused. Closed, because it is a label.
    described DenyReason {
        /// The token or its user lacks the right: the Hub's generic refusals.
        Scope = "scope",
        /// The organization's token policy refuses this token: its kind is not accepted, or it waits for approval.
        TokenPolicy = "token_policy",
        /// The organization revoked this token's access.
        TokenRevoked = "token_revoked",
        /// The organization wants a sign-on (SSO) that this token's user has not done.
        Sso = "sso",
        /// The organization wants two factors from this token's user.
        Mfa = "mfa",
        /// The organization does not accept requests from this network address.
        IpRestriction = "ip_restriction",
        /// The plan does not include it, or it was not paid.
        Billing = "billing",
        /// The Hub says "not found" to this token of a repository that is there.
        Hidden = "hidden",
        /// A refusal in the Hub's own envelope, with a text that is not in our table.
        Other = "other",
    }
}

words! {
    /// Why nothing can be said. Closed, because it is a label.
    described UnknownReason {
        /// The token is missing, unreadable, or no longer accepted by the Hub: expired, deleted or mistyped.
        TokenInvalid = "token_invalid",
        /// The Hub asked us to wait (429), or our share of the user's limit is used up.
        RateLimited = "rate_limited",
        /// No canary may be created now: the day's bound, three unresolved canaries, or the Hub's own cap.
        CreationCap = "creation_cap",
        /// Nothing showed that a denial would mean something: the organization, the observer or the Hub's "not found" could not
        /// be verified, or creating is latched off.
        NoControl = "no_control",
        /// The repository or group of the check is not there, or nobody who could see it was asked.
        TargetMissing = "target_missing",
        /// The Hub says that it stands in the way of something else (409).
        Conflict = "conflict",
        /// The Hub asks for a payment (402), which says nothing of the right.
        Billing = "billing",
        /// The Hub failed (5xx).
        HubError = "hub_error",
        /// No answer came in time.
        Timeout = "timeout",
        /// No connection, or it broke.
        Network = "network",
        /// An answer of another shape than the Hub's documents and recordings have: nothing is guessed from it.
        Unrecognized = "unrecognized",
        /// The intent could not be made durable, so nothing was sent that changes the Hub.
        IntentNotStored = "intent_not_stored",
        /// It needs a request that changes something, and `--read-only` was given.
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
    Sentinel(Box<RepoName>),
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

/// One question about one token, as the config asks it. What is asked is shared by all tokens of which it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The token under audit.
    pub token: TokenName,
    /// The question; whoever changes it puts a fresh one in its place.
    pub question: Arc<Question>,
}

/// What is asked of a token.
#[derive(Debug, Clone, Eq)]
pub struct Question {
    /// The organization under its exact name.
    pub organization: String,
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
    /// What it is known by.
    pub labels: Derived<Arc<Labels>>,
}

/// What follows from its neighbours and is worked out when it is first wanted; so it makes no difference between values.
/// Whoever changes a neighbour puts a fresh one in its place.
#[derive(Debug)]
pub struct Derived<T>(OnceLock<T>);

impl<T> Derived<T> {
    /// What it is, worked out now if it was not before.
    pub fn get(&self, work_out: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(work_out)
    }
}

impl<T> Default for Derived<T> {
    fn default() -> Derived<T> {
        Derived(OnceLock::new())
    }
}

impl<T: Clone> Clone for Derived<T> {
    fn clone(&self) -> Derived<T> {
        Derived(self.0.clone())
    }
}

impl<T> PartialEq for Derived<T> {
    fn eq(&self, _: &Derived<T>) -> bool {
        true
    }
}

impl<T> Eq for Derived<T> {}

/// A check that moved to another line asks the same question: where it is stated makes no difference.
impl PartialEq for Question {
    fn eq(&self, other: &Question) -> bool {
        let Question { organization, permission, target, expected, method, stated: _, labels: _ } = self;
        *organization == other.organization
            && *permission == other.permission
            && *target == other.target
            && *expected == other.expected
            && *method == other.method
    }
}

impl std::ops::Deref for Check {
    type Target = Question;
    fn deref(&self) -> &Question {
        &self.question
    }
}

impl Check {
    /// This question about this token.
    pub fn new(token: TokenName, question: impl Into<Arc<Question>>) -> Check {
        Check { token, question: question.into() }
    }

    /// What makes this check itself, through reloads and restarts: never its settings.
    pub fn key(&self) -> CheckKey {
        let labels = || {
            let (organization, target) = (self.organization.clone(), self.target.to_string());
            Arc::new(Labels { organization, permission: self.permission, target })
        };
        CheckKey { token: self.token.clone(), labels: self.labels.get(labels).clone() }
    }
}

impl Question {
    /// One that no config states; a creation is tried with a canary.
    pub fn new(
        organization: impl Into<String>,
        permission: Permission,
        target: Target,
        expected: Expected,
    ) -> Question {
        let (organization, method, stated) = (organization.into(), Method::Canary, None);
        Question { organization, permission, target, expected, method, stated, labels: Derived::default() }
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

/// The identity of a check: its token and three labels more, which copies and tokens share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CheckKey {
    /// Token name of the config.
    pub token: TokenName,
    labels: Arc<Labels>,
}

/// What identifies a check among those of its token.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels {
    /// Organization, exact name.
    pub organization: String,
    /// Permission.
    pub permission: Permission,
    /// Target as shown in reports.
    pub target: String,
}

impl Labels {
    /// What the other one is sorted by after its organization.
    fn of_a_token(&self) -> (Permission, &str) {
        (self.permission, &self.target)
    }
}

/// By organization, token, permission and target.
impl Ord for CheckKey {
    fn cmp(&self, other: &CheckKey) -> Ordering {
        let (mine, theirs) = (&self.labels, &other.labels);
        if Arc::ptr_eq(mine, theirs) {
            return self.token.cmp(&other.token);
        }
        mine.organization
            .cmp(&theirs.organization)
            .then_with(|| self.token.cmp(&other.token))
            .then_with(|| mine.of_a_token().cmp(&theirs.of_a_token()))
    }
}

impl PartialOrd for CheckKey {
    fn partial_cmp(&self, other: &CheckKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl CheckKey {
    /// Of these four.
    pub fn new(
        organization: impl Into<String>,
        token: TokenName,
        permission: Permission,
        target: impl Into<String>,
    ) -> CheckKey {
        let labels = Labels { organization: organization.into(), permission, target: target.into() };
        CheckKey { token, labels: Arc::new(labels) }
    }

    /// Of this token.
    pub fn of(token: TokenName, labels: Arc<Labels>) -> CheckKey {
        CheckKey { token, labels }
    }

    /// What it has in common with checks of other tokens.
    pub fn labels(&self) -> Arc<Labels> {
        self.labels.clone()
    }
}

impl std::ops::Deref for CheckKey {
    type Target = Labels;
    fn deref(&self) -> &Labels {
        &self.labels
    }
}

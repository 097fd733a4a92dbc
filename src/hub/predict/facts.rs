//! The question that a prediction answers, and what is known of it besides what the token declares.
//!
//! What a round could not find out is `None` or `Unknown` here and never stands for a value. Serves the factors.

use serde::{Deserialize, Serialize};

use crate::access::{Permission, RepoName, RepoType, Target, words};
use crate::hub::whoami::{Declared, GroupRole, Membership};

use super::token::{self, Kind};

words! {
    /// A user's role in an organization or a resource group; the order is that of power.
    Role {
        NoAccess = "no_access",
        Read = "read",
        Contributor = "contributor",
        Write = "write",
        Admin = "admin",
    }
}

/// What an organization asks of the tokens that reach for its resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenPolicy {
    Allow,
    FineGrainedOnly,
    RequireApproval,
}

/// A resource group, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Group {
    pub id: Option<String>,
    pub name: Option<String>,
}

/// Where in its organization a repository lies, or is to be created.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Place {
    #[default]
    Unknown,
    /// In no resource group.
    Root,
    In(Group),
}

/// What a round may know of the target and of the token's user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Known {
    /// Whether the repository is private.
    pub private: Option<bool>,
    /// Whether the repository is gated.
    pub gated: Option<bool>,
    /// Of a repository, the group that it is in; of a creation in a group, that group as the Hub knows it (one
    /// with an id exists).
    pub place: Place,
    /// The organization's token policy.
    pub policy: Option<TokenPolicy>,
    /// Whether the token's user is a service account of the organization.
    pub service_account: Option<bool>,
}

/// What a scope is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entity {
    Organization(String),
    User(String),
    Repo(RepoType, RepoName),
}

/// What is to be done to a repository, as roles see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Read,
    Create,
    Write,
}

/// One question, with what the factors look up again and again.
pub(super) struct Case<'a> {
    pub(super) declared: &'a Declared,
    pub(super) organization: &'a str,
    pub(super) permission: Permission,
    pub(super) target: &'a Target,
    pub(super) known: &'a Known,
    /// The organization, or what the repository lies in where that is something else.
    pub(super) namespace: &'a str,
    /// The user's place there, as far as this token is shown it.
    pub(super) member: Option<&'a Membership>,
    pub(super) kind: Kind,
    /// Whether anybody will read the sentences: to write them takes most of the time, and nearly always nobody does.
    pub(super) aloud: bool,
}

impl<'a> Case<'a> {
    pub(super) fn new(
        declared: &'a Declared,
        organization: &'a str,
        permission: Permission,
        target: &'a Target,
        known: &'a Known,
        aloud: bool,
    ) -> Case<'a> {
        let namespace = match target {
            Target::Repo { repo, .. } => repo.namespace.as_str(),
            Target::Create { .. } | Target::Whole => organization,
        };
        let member = declared.membership(namespace);
        let kind = token::kind(declared);
        Case { declared, organization, permission, target, known, namespace, member, kind, aloud }
    }

    /// About the token's user and about no organization.
    pub(super) fn concerns_user(&self) -> bool {
        matches!(self.permission, Permission::UserWebhooks | Permission::UserBilling)
    }

    /// Reading what anyone may see.
    pub(super) fn public_read(&self) -> bool {
        self.permission == Permission::RepoRead && self.known.private == Some(false)
    }

    /// In the namespace of the token's own user.
    pub(super) fn own(&self) -> bool {
        self.member.is_none() && self.namespace == self.declared.user
    }

    pub(super) fn service_account(&self) -> bool {
        self.known.service_account == Some(true) && self.namespace == self.organization
    }

    pub(super) fn need(&self) -> Option<Need> {
        match self.permission {
            Permission::RepoRead => Some(Need::Read),
            Permission::RepoCreate => Some(Need::Create),
            Permission::RepoWrite => Some(Need::Write),
            _ => None,
        }
    }

    /// Where the repository lies or is to be created, the group as the config or the round knows it.
    pub(super) fn place(&self) -> Place {
        match (self.target, &self.known.place) {
            (Target::Create { group: None, .. }, _) => Place::Root,
            (Target::Create { group: Some(_), .. }, Place::In(group)) => Place::In(group.clone()),
            (Target::Create { group: Some(text), .. }, _) => {
                let is_id = text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit());
                Place::In(Group { id: is_id.then(|| text.clone()), name: Some(text.clone()) })
            }
            (_, place) => place.clone(),
        }
    }

    /// Whether a creation's group could be looked up; one that is named in the config alone may not exist.
    pub(super) fn group_may_be_missing(&self) -> bool {
        let Target::Create { group: Some(_), .. } = self.target else { return false };
        let looked_up = matches!(&self.known.place, Place::In(group) if group.id.is_some());
        let Place::In(group) = self.place() else { return false };
        !looked_up && self.mine(&group).is_none()
    }

    /// The user's role in a group, among those that this token is shown.
    pub(super) fn mine(&self, group: &Group) -> Option<&'a GroupRole> {
        let same_id =
            |mine: &GroupRole| group.id.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(&mine.id));
        let same_name = |mine: &GroupRole| group.name.as_ref() == Some(&mine.name);
        let groups = || self.member.into_iter().flat_map(|member| &member.groups);
        groups().find(|mine| same_id(mine)).or_else(|| groups().find(|mine| same_name(mine)))
    }

    /// Whether the token is shown all of its user's groups in the organization: UNCONFIRMED for a fine-grained
    /// token that does not name it.
    pub(super) fn sees_all_groups(&self) -> bool {
        match self.kind {
            Kind::Read | Kind::Write => true,
            Kind::Fine => self.declared.scopes.iter().any(|scope| {
                let id = self.member.and_then(|member| member.id.as_ref());
                let same_id = id.is_some() && id == scope.id.as_ref();
                scope.kind == "org" && (scope.name.as_deref() == Some(self.namespace) || same_id)
            }),
            Kind::Other(_) => false,
        }
    }

    /// The target in words of the config.
    pub(super) fn what(&self) -> String {
        if !self.aloud {
            return String::new();
        }
        match self.target {
            Target::Repo { kind, repo } => format!("the {kind} {repo}"),
            Target::Create { kind, group: None } => format!("new {kind}s in {}", self.namespace),
            Target::Create { kind, group: Some(group) } => {
                format!("new {kind}s in the resource group {group} of {}", self.namespace)
            }
            Target::Whole if self.concerns_user() => "the user's own settings".to_owned(),
            Target::Whole => format!("{} in {}", self.permission, self.namespace),
        }
    }
}

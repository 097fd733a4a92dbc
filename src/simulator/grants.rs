//! The simulator's own table of grants: what a token can do to repositories and namespaces.
//! A token can do what its scope and its user's role both allow, unless the organization bars the token.
//! Shares nothing with the daemon's belief, which is tested against it. Serves the routes.

use crate::simulator::answer;
use crate::simulator::caller::Holder;
use crate::simulator::repo::Repo;
use crate::simulator::words::Approval;
use crate::simulator::words::Entity;
use crate::simulator::words::Kind;
use crate::simulator::words::Restriction;
use crate::simulator::words::Role;
use crate::simulator::words::TokenPolicy;
use crate::simulator::words::TokenRole;
use crate::simulator::world::Organization;
use crate::simulator::world::World;

const WRITE: &str = "repo.write";

/// That writing includes reading is what the token page's labels suggest: UNCONFIRMED.
pub(super) const READ: [&str; 2] = ["repo.content.read", WRITE];

/// Whether a repository shows itself to somebody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sight {
    Seen,
    Hidden,
    /// The user could see it, but the organization bars this token, and says so.
    Barred(&'static str),
}

/// The rights of a holder, or of nobody, in a world.
#[derive(Clone, Copy)]
pub(super) struct Rights<'a> {
    pub(super) world: &'a World,
    pub(super) holder: Option<&'a Holder>,
}

impl<'a> Rights<'a> {
    pub(super) fn sight(self, repo: &Repo) -> Sight {
        if !repo.private {
            return Sight::Seen;
        }
        let Some(holder) = self.holder else { return Sight::Hidden };
        if self.role_on(holder, repo) < Some(Role::Read) {
            return Sight::Hidden;
        }
        if let Some(text) = self.barrier(holder, repo.namespace()) {
            return Sight::Barred(text);
        }
        if scope_covers(holder, repo, &READ) { Sight::Seen } else { Sight::Hidden }
    }

    /// Writing the contents of a repository that one sees.
    pub(super) fn may_write(self, repo: &Repo) -> Result<(), &'static str> {
        let holder = self.holder.ok_or(answer::REPO_GUARD)?;
        let enough = match self.role_on(holder, repo) {
            Some(Role::Write | Role::Admin) => true,
            Some(Role::Contributor) => repo.author == holder.token.user,
            _ => false,
        };
        if let Some(text) = self.barrier(holder, repo.namespace()) {
            return Err(text);
        }
        let granted = enough && may_change(holder) && scope_covers(holder, repo, &[WRITE]);
        if granted { Ok(()) } else { Err(answer::REPO_GUARD) }
    }

    /// Deleting asks for the scope on what the repository is in, not on the repository alone: with a grant on
    /// one repository a token can neither create nor delete. For deletion this is UNCONFIRMED, and so is a
    /// contributor's right to delete what he created, which is granted here.
    pub(super) fn may_delete(self, repo: &Repo) -> Result<(), &'static str> {
        self.may_write(repo)?;
        let holder = self.holder.ok_or(answer::REPO_GUARD)?;
        let singled_out = holder.token.instead(repo.kind, &repo.name, &repo.id).is_some();
        let wide = holder.token.role != TokenRole::FineGrained
            || (!singled_out
                && scope_of_home(holder, repo.namespace(), repo.resource_group.as_deref(), &[WRITE]));
        if wide { Ok(()) } else { Err(answer::REPO_GUARD) }
    }

    /// Creating in a namespace, or in one of its resource groups by id. Gives the group's name.
    ///
    /// The namespace is compared exactly, unlike when reading. The answer to a group that is not this
    /// organization's is UNCONFIRMED; here it is the one text for all causes.
    pub(super) fn may_create(
        self,
        kind: Kind,
        namespace: &str,
        group_id: Option<&str>,
    ) -> Result<Option<String>, String> {
        let denied = || answer::no_namespace_rights(kind.name(), namespace);
        let holder = self.holder.ok_or_else(denied)?;
        let user = holder.token.user.as_str();
        if namespace == user {
            let granted = may_change(holder) && group_id.is_none();
            let covered = scope_of_home(holder, namespace, None, &[WRITE]);
            return if granted && covered { Ok(None) } else { Err(denied()) };
        }
        let organization = self.world.organizations.get(namespace).ok_or_else(denied)?;
        let role = organization.role_of(user).ok_or_else(denied)?;
        if let Some(text) = self.barrier(holder, namespace) {
            return Err(text.to_owned());
        }
        let group = match group_id {
            None => None,
            Some(id) => Some(organization.group_by_id(namespace, id).ok_or_else(denied)?),
        };
        let enough = match group {
            Some(group) => role_in_group(organization, role, group, user) >= Some(Role::Contributor),
            None => role >= Role::Contributor,
        };
        let granted = enough && may_change(holder) && scope_of_home(holder, namespace, group, &[WRITE]);
        if granted { Ok(group.map(str::to_owned)) } else { Err(denied()) }
    }

    /// A permission on a namespace itself, such as `job.write` or `org.read`: one of the names, and a role.
    pub(super) fn may_in_namespace(self, namespace: &str, names: &[&str], least: Role) -> Result<(), Barred> {
        self.may_in_group(namespace, None, names, least)
    }

    /// The same in one of its resource groups, where the role in the group counts.
    pub(super) fn may_in_group(
        self,
        namespace: &str,
        group: Option<&str>,
        names: &[&str],
        least: Role,
    ) -> Result<(), Barred> {
        let holder = self.holder.ok_or(Barred::Lacking)?;
        let user = holder.token.user.as_str();
        let role = match self.world.organizations.get(namespace) {
            Some(organization) => match (organization.role_of(user), group) {
                (Some(role), Some(group)) => role_in_group(organization, role, group, user),
                (role, _) => role,
            },
            None => (namespace == user).then_some(Role::Admin),
        };
        if role.is_none() {
            return Err(Barred::Lacking);
        }
        if let Some(text) = self.barrier(holder, namespace) {
            return Err(Barred::By(text));
        }
        let changes = names.iter().all(|name| name.ends_with(".write"));
        let scoped = scope_of_home(holder, namespace, group, names) && (may_change(holder) || !changes);
        if role >= Some(least) && scoped { Ok(()) } else { Err(Barred::Lacking) }
    }

    /// The user's own role on a repository, whatever his token says.
    ///
    /// How a role in the organization and one in the group combine is UNCONFIRMED. Here a group stands for
    /// itself: members outside it have no role on its repositories, and only admins reach into every group.
    pub(super) fn role_on(self, holder: &Holder, repo: &Repo) -> Option<Role> {
        let user = holder.token.user.as_str();
        if repo.namespace() == user {
            return Some(Role::Admin);
        }
        let organization = self.world.organizations.get(repo.namespace())?;
        let role = organization.role_of(user)?;
        match &repo.resource_group {
            Some(group) => role_in_group(organization, role, group, user),
            None => Some(role),
        }
    }

    /// The text with which an organization bars a token that reaches for it.
    pub(super) fn barrier(self, holder: &Holder, namespace: &str) -> Option<&'static str> {
        let organization = self.world.organizations.get(namespace)?;
        restrictions(organization, holder, namespace).first().map(|restriction| match restriction {
            Restriction::TokenRevoked => answer::REVOKED,
            Restriction::TokenPolicy if holder.token.role == TokenRole::FineGrained => answer::NOT_APPROVED,
            Restriction::TokenPolicy if organization.token_policy == TokenPolicy::RequireApproval => {
                answer::NOT_APPROVED
            }
            Restriction::TokenPolicy => answer::FINE_GRAINED_ONLY,
            Restriction::Sso => answer::NEEDS_SSO,
            Restriction::Mfa => answer::NEEDS_MFA,
            Restriction::Ip => answer::NEEDS_IP,
        })
    }
}

/// Why a namespace permission is not there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Barred {
    Lacking,
    By(&'static str),
}

/// What shuts this token out of an organization, the gravest first; whoami-v2 tells the same.
///
/// A fine-grained token that names nothing of the organization is not held up for approval: nobody asked for
/// any. That the Hub sees it so is UNCONFIRMED.
pub(super) fn restrictions(
    organization: &Organization,
    holder: &Holder,
    namespace: &str,
) -> Vec<Restriction> {
    let token = &holder.token;
    let fine = token.role == TokenRole::FineGrained;
    let reaches = !fine || token.scopes.iter().any(|scope| scope.entity.namespace() == Some(namespace));
    let admin = organization.role_of(&token.user) == Some(Role::Admin);
    let approved = token.approval.map_or(admin, |approval| approval == Approval::Approved);
    let against_policy = match organization.token_policy {
        TokenPolicy::Allow => false,
        TokenPolicy::FineGrainedOnly => !fine,
        TokenPolicy::RequireApproval => !fine || !approved,
    };
    let mut all = Vec::new();
    if reaches && token.approval == Some(Approval::Revoked) {
        all.push(Restriction::TokenRevoked);
    } else if reaches && against_policy {
        all.push(Restriction::TokenPolicy);
    }
    for restriction in token.restrictions.of(namespace) {
        let exempt = *restriction == Restriction::Ip && token.skip_network_security;
        if !all.contains(restriction) && !exempt {
            all.push(*restriction);
        }
    }
    all
}

/// Admins of the organization are admins of every group.
fn role_in_group(organization: &Organization, role: Role, group: &str, user: &str) -> Option<Role> {
    if role == Role::Admin { Some(Role::Admin) } else { organization.group_role(group, user) }
}

/// Whether the token as such may change anything.
fn may_change(holder: &Holder) -> bool {
    holder.token.role != TokenRole::Read
}

/// Whether a scope on the repository, or on what it is in, names one of the permissions. What a service
/// account's token is given for single repositories stands in place of the rest.
pub(super) fn scope_covers(holder: &Holder, repo: &Repo, names: &[&str]) -> bool {
    if let Some(permissions) = holder.token.instead(repo.kind, &repo.name, &repo.id) {
        return holder.token.role != TokenRole::FineGrained || has_one(permissions, names);
    }
    if scope_of_home(holder, repo.namespace(), repo.resource_group.as_deref(), names) {
        return true;
    }
    let itself = Entity::Repository(repo.kind, repo.name.clone());
    holder.token.scopes.iter().any(|scope| scope.entity == itself && has_one(&scope.permissions, names))
}

/// Whether a scope on the namespace or the group names one of the permissions. Classic tokens have no scopes:
/// they reach whatever their user does.
fn scope_of_home(holder: &Holder, namespace: &str, group: Option<&str>, names: &[&str]) -> bool {
    if holder.token.role != TokenRole::FineGrained {
        return true;
    }
    holder.token.scopes.iter().any(|scope| {
        let covers = match &scope.entity {
            Entity::Organization(organization) => organization == namespace,
            Entity::User(name) => name == namespace,
            Entity::ResourceGroup { organization, name } => {
                organization == namespace && Some(name.as_str()) == group
            }
            Entity::Repository(..) | Entity::Other(..) => false,
        };
        covers && has_one(&scope.permissions, names)
    })
}

fn has_one(permissions: &[String], names: &[&str]) -> bool {
    permissions.iter().any(|permission| names.contains(&permission.as_str()))
}

//! What a token declares that nobody said anything about: permissions that no check of its own asks about, and
//! words that this version does not know.
//!
//! Held against the organization that the token is watched in and against its own user; what it may elsewhere is
//! not ours to check. A pin that names a permission on an entity has said something about it. What belongs to no
//! entity (posts, discussions, gated repositories of others) can be neither checked nor pinned and is not counted.

use crate::access::{Check, Permission, Target};

use super::pin::{Pinned, entity_of};
use super::shown::{quoted, shown};
use super::vocabulary::{ENTITIES, word_of};
use super::whoami::{Declared, Scope};

/// What the daemon itself needs a token for; nobody has to expect that of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Jobs {
    /// Sees and deletes canaries.
    pub janitor: bool,
    /// Reads the organization's inventory of tokens.
    pub inventory: bool,
}

/// The token's place in the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Watched<'a> {
    pub organization: &'a str,
    pub checks: &'a [Check],
    pub pinned: &'a Pinned<'a>,
    pub jobs: Jobs,
}

/// Roles of a token that are known (OpenAPI).
const ROLES: &[&str] = &["read", "write", "god", "fineGrained"];
/// Declared here, and neither checked nor pinned: `PERMISSION on 'ENTITY'`, each once.
pub fn unchecked(declared: &Declared, watched: &Watched<'_>) -> Vec<String> {
    let mut told = Vec::new();
    for scope in &declared.scopes {
        let Some(place) = place_of(declared, scope, watched.organization) else { continue };
        for permission in &scope.permissions {
            let said = watched.pinned.names(declared, scope, permission)
                || is_job(watched.jobs, &place, permission)
                || is_asked(declared, scope, &place, permission, watched);
            if !said {
                told.push(format!("{} on {}", shown(permission), quoted(&entity_of(scope))));
            }
        }
    }
    told.sort();
    told.dedup();
    told
}

/// Words that this version does not know, in words; a pin that names such a permission settles it.
pub fn unheard(declared: &Declared, pinned: &Pinned<'_>) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(role) = declared.role.as_deref().filter(|role| !ROLES.contains(role)) {
        told.push(format!("token role {}", quoted(role)));
    }
    for scope in &declared.scopes {
        if !scope.kind.is_empty() && !ENTITIES.contains(&scope.kind.as_str()) {
            told.push(format!("type of entity {}", quoted(&scope.kind)));
        }
        for permission in &scope.permissions {
            if word_of(permission).is_none() && !pinned.names(declared, scope, permission) {
                told.push(format!("permission {} on {}", quoted(permission), quoted(&entity_of(scope))));
            }
        }
    }
    for permission in declared.global.iter().filter(|permission| word_of(permission).is_none()) {
        told.push(format!("permission {} on all of the Hub", quoted(permission)));
    }
    told.sort();
    told.dedup();
    told
}

/// Where a scope reaches, as far as it concerns us.
enum Place {
    Organization,
    User,
    Group,
    /// One repository, or something like it.
    One,
}

/// `None`: it reaches neither the organization nor the token's own user, or nobody can tell what it reaches.
fn place_of(declared: &Declared, scope: &Scope, organization: &str) -> Option<Place> {
    let here = declared.membership(organization);
    let name = scope.name.as_deref();
    match scope.kind.as_str() {
        "org" => {
            let by_id = || scope.id.is_some() && here.is_some_and(|m| m.id == scope.id);
            name.map_or_else(by_id, |name| name == organization).then_some(Place::Organization)
        }
        // A token can be scoped to no user but its own.
        "user" => Some(Place::User),
        "resource-group" => {
            let is = |group: &super::whoami::GroupRole| {
                scope.id.as_ref().map_or(name == Some(group.name.as_str()), |id| *id == group.id)
            };
            let elsewhere = declared.organizations.iter().filter(|m| m.name != organization);
            // One that whoami shows nowhere may be here: better asked about than overlooked.
            let known_elsewhere = elsewhere.flat_map(|m| &m.groups).any(is);
            let is_here = here.is_some_and(|m| m.groups.iter().any(is));
            (is_here || !known_elsewhere).then_some(Place::Group)
        }
        "oauth-app" => None,
        _ => {
            let namespace = name.and_then(|name| name.split_once('/')).map(|(namespace, _)| namespace);
            let ours = |space: &str| space == organization || space == declared.user;
            // One that shows no name may be ours, too.
            (namespace.is_none_or(ours)).then_some(Place::One)
        }
    }
}

/// Whether this is what the daemon's own work needs.
fn is_job(jobs: Jobs, place: &Place, permission: &str) -> bool {
    let janitor = jobs.janitor && matches!(permission, "repo.write" | "org.read");
    let inventory = jobs.inventory && matches!(permission, "org.read" | "org.serviceAccounts.read");
    matches!(place, Place::Organization) && (janitor || inventory)
}

/// Whether some check of the token asks, at a place within the scope, what the permission opens.
fn is_asked(
    declared: &Declared,
    scope: &Scope,
    place: &Place,
    permission: &str,
    watched: &Watched<'_>,
) -> bool {
    let asking = asking(permission);
    watched.checks.iter().filter(|check| check.organization == watched.organization).any(|check| {
        asking.contains(&check.permission)
            && match place {
                Place::Organization => is_of_organization(check),
                Place::User => is_of_user(check, &declared.user),
                Place::Group => is_in_group(declared, scope, check),
                Place::One => match &check.target {
                    Target::Repo { kind, repo } => {
                        kind.as_str() == scope.kind && scope.name.as_deref() == Some(&*repo.to_string())
                    }
                    Target::Create { .. } | Target::Whole => false,
                },
            }
    })
}

/// What a check may ask because of this permission. Whether one may write is not asked by reading.
fn asking(permission: &str) -> Vec<Permission> {
    let names = word_of(permission).map_or(&[][..], |word| word.names);
    let reads =
        |p: &Permission| matches!(p, Permission::RepoRead | Permission::JobRead | Permission::EndpointRead);
    let writes = names.iter().any(|p| !reads(p));
    names.iter().copied().filter(|p| !writes || !reads(p)).collect()
}

fn is_of_organization(check: &Check) -> bool {
    match &check.target {
        Target::Create { .. } => true,
        Target::Repo { repo, .. } => repo.namespace == check.organization,
        Target::Whole => !is_of_own_user(check.permission),
    }
}

fn is_of_user(check: &Check, user: &str) -> bool {
    match &check.target {
        Target::Create { .. } => false,
        Target::Repo { repo, .. } => repo.namespace == user,
        Target::Whole => is_of_own_user(check.permission),
    }
}

fn is_of_own_user(permission: Permission) -> bool {
    matches!(permission, Permission::UserWebhooks | Permission::UserBilling)
}

/// Which repositories are in a group is not known here, so that a check of any of the organization counts.
fn is_in_group(declared: &Declared, scope: &Scope, check: &Check) -> bool {
    match &check.target {
        Target::Create { group: Some(group), .. } => {
            let groups = declared.organizations.iter().flat_map(|m| &m.groups);
            let by_whoami = groups
                .filter(|g| Some(&g.id) == scope.id.as_ref() || Some(&g.name) == scope.name.as_ref())
                .any(|g| g.name == *group || g.id == *group);
            by_whoami || scope.name.as_ref() == Some(group) || scope.id.as_ref() == Some(group)
        }
        Target::Create { group: None, .. } | Target::Whole => false,
        Target::Repo { repo, .. } => repo.namespace == check.organization,
    }
}

#[cfg(test)]
#[path = "coverage_tests.rs"]
mod tests;

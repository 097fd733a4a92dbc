//! What changed between two declarations of one configured token.
//!
//! The parts that are told apart: what the token itself may (`Declared`), its user's place in the organization
//! (`Role`), whose it is (`Owner`) and what the organization rules (`Policy`). Whatever is not in a part (names,
//! dates, other organizations) may change without a word.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::pin::entity_of;
use super::shown::{quoted, shown};
use super::whoami::{Declared, GroupRole, Membership, Scope};

/// One part of what is known of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// The secret itself; no declaration tells it, only its fingerprint.
    Secret,
    Declared,
    Role,
    Owner,
    Policy,
}

impl Topic {
    /// Those that a declaration tells.
    pub const DECLARED: [Topic; 4] = [Topic::Owner, Topic::Declared, Topic::Role, Topic::Policy];
}

/// Every difference in this part, in words; empty when it is the same.
pub fn differences(topic: Topic, organization: &str, before: &Declared, after: &Declared) -> Vec<String> {
    let place = |of: &'_ Declared| of.membership(organization).cloned();
    match topic {
        Topic::Secret => Vec::new(),
        Topic::Owner => owner(before, after),
        Topic::Declared => declared(before, after),
        Topic::Role => role(organization, place(before).as_ref(), place(after).as_ref()),
        Topic::Policy => match (place(before), place(after)) {
            (Some(before), Some(after)) => policy(organization, &before, &after),
            // Who is not in the organization is told nothing of its rules.
            _ => Vec::new(),
        },
    }
}

/// Puts this part of one declaration in the place of another's.
pub fn keep(topic: Topic, organization: &str, from: &Declared, into: &mut Declared) {
    match topic {
        Topic::Secret => {}
        Topic::Owner => {
            into.user.clone_from(&from.user);
            into.principal.clone_from(&from.principal);
        }
        Topic::Declared => {
            into.auth.clone_from(&from.auth);
            into.role.clone_from(&from.role);
            into.scopes.clone_from(&from.scopes);
            into.global.clone_from(&from.global);
            into.reads_gated = from.reads_gated;
        }
        Topic::Role | Topic::Policy => keep_place(topic, organization, from, into),
    }
}

fn keep_place(topic: Topic, organization: &str, from: &Declared, into: &mut Declared) {
    let mine = into.organizations.iter_mut().find(|m| m.name == organization);
    match (from.membership(organization), mine) {
        (Some(from), Some(mine)) if topic == Topic::Role => {
            mine.role.clone_from(&from.role);
            mine.groups.clone_from(&from.groups);
        }
        (Some(from), Some(mine)) => {
            mine.plan.clone_from(&from.plan);
            mine.restrictions.clone_from(&from.restrictions);
        }
        (Some(from), None) if topic == Topic::Role => into.organizations.push(from.clone()),
        (None, Some(_)) if topic == Topic::Role => into.organizations.retain(|m| m.name != organization),
        _ => {}
    }
}

fn owner(before: &Declared, after: &Declared) -> Vec<String> {
    let mut told = Vec::new();
    if before.user != after.user {
        told.push(format!("it is {}'s, before {}'s", shown(&after.user), shown(&before.user)));
    }
    if before.principal != after.principal {
        let (is, was) = (quoted(&after.principal), quoted(&before.principal));
        told.push(format!("its principal is of type {is}, before {was}"));
    }
    told
}

fn declared(before: &Declared, after: &Declared) -> Vec<String> {
    let mut told = Vec::new();
    if before.role != after.role {
        told.push(changed("its role", before.role.as_deref(), after.role.as_deref()));
    }
    if before.auth != after.auth {
        told.push(changed("its kind", before.auth.as_deref(), after.auth.as_deref()));
    }
    told.extend(only_in(&after.scopes, &before.scopes).into_iter().map(|what| format!("gained {what}")));
    told.extend(only_in(&before.scopes, &after.scopes).into_iter().map(|what| format!("lost {what}")));
    let global = |mine: &[String], other: &[String], word: &str| {
        let new: Vec<String> = mine.iter().filter(|p| !other.contains(p)).map(|p| shown(p)).collect();
        new.into_iter().map(|p| format!("{word} {p} on all of the Hub")).collect::<Vec<_>>()
    };
    told.extend(global(&after.global, &before.global, "gained"));
    told.extend(global(&before.global, &after.global, "lost"));
    if before.reads_gated.unwrap_or(false) != after.reads_gated.unwrap_or(false) {
        let word = if after.reads_gated == Some(true) { "gained" } else { "lost" };
        told.push(format!("{word} access to public gated repositories"));
    }
    told
}

fn changed(what: &str, before: Option<&str>, after: Option<&str>) -> String {
    let word = |value: Option<&str>| value.map_or("none".to_owned(), quoted);
    format!("{what} is {}, before {}", word(after), word(before))
}

/// The same entity: by its id where both show one, else by its name. A repository that was renamed is the same.
fn same_entity(one: &Scope, other: &Scope) -> bool {
    one.kind == other.kind
        && match (&one.id, &other.id) {
            (Some(one), Some(other)) => one == other,
            _ => one.name == other.name,
        }
}

/// What these scopes hold and those do not.
fn only_in(these: &[Scope], those: &[Scope]) -> Vec<String> {
    let mut told = Vec::new();
    for scope in these {
        let on = quoted(&entity_of(scope));
        let others: Vec<&Scope> = those.iter().filter(|other| same_entity(scope, other)).collect();
        if scope.permissions.is_empty() && others.is_empty() {
            told.push(on.clone());
        }
        for permission in &scope.permissions {
            if !others.iter().any(|other| other.permissions.contains(permission)) {
                told.push(format!("{} on {on}", shown(permission)));
            }
        }
    }
    told.sort();
    told.dedup();
    told
}

fn role(organization: &str, before: Option<&Membership>, after: Option<&Membership>) -> Vec<String> {
    let (before, after) = match (before, after) {
        (None, None) => return Vec::new(),
        (Some(_), None) => return vec![format!("its user is no longer shown in '{organization}'")],
        (None, Some(now)) => {
            let role = now.role.as_deref().map_or("no role".to_owned(), quoted);
            return vec![format!("its user is now shown in '{organization}', with {role}")];
        }
        (Some(before), Some(after)) => (before, after),
    };
    let mut told = Vec::new();
    if before.role != after.role {
        let what = format!("its user's role in '{organization}'");
        told.push(changed(&what, before.role.as_deref(), after.role.as_deref()));
    }
    let by_id = |of: &'_ [GroupRole]| -> BTreeMap<String, GroupRole> {
        of.iter().map(|group| (group.id.clone(), group.clone())).collect()
    };
    let (were, are) = (by_id(&before.groups), by_id(&after.groups));
    for (id, group) in &are {
        let name = quoted(&group.name);
        match were.get(id) {
            None => {
                let role = group.role.as_deref().map_or("no role".to_owned(), quoted);
                told.push(format!("its user joined resource group {name} with {role}"));
            }
            Some(was) if was.role != group.role => {
                let what = format!("its user's role in resource group {name}");
                told.push(changed(&what, was.role.as_deref(), group.role.as_deref()));
            }
            Some(_) => {}
        }
    }
    for group in were.iter().filter(|(id, _)| !are.contains_key(*id)).map(|(_, group)| group) {
        told.push(format!("its user left resource group {}", quoted(&group.name)));
    }
    told
}

fn policy(organization: &str, before: &Membership, after: &Membership) -> Vec<String> {
    let mut told = Vec::new();
    for new in after.restrictions.iter().filter(|r| !before.restrictions.contains(r)) {
        told.push(format!("'{organization}' now restricts it by {}", quoted(new)));
    }
    for old in before.restrictions.iter().filter(|r| !after.restrictions.contains(r)) {
        told.push(format!("'{organization}' no longer restricts it by {}", quoted(old)));
    }
    if before.plan != after.plan {
        let what = format!("the plan of '{organization}'");
        told.push(changed(&what, before.plan.as_deref(), after.plan.as_deref()));
    }
    told
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;

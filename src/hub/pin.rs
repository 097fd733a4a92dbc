//! What a token declares against what somebody wrote down that it must declare.
//!
//! Scopes are compared as sets of (entity, permission). An entity is `KIND:NAME` in the Hub's own words and to
//! the letter; where whoami shows only an id, the id counts, and what else whoami tells of that id.

use std::collections::BTreeSet;

use super::shown::{quoted, shown};
use super::whoami::{Declared, Scope};

/// What was written down; whatever is absent is not compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pinned<'a> {
    pub user: Option<&'a str>,
    pub role: Option<&'a str>,
    /// Each entity with its permissions: all scopes that there may be.
    pub scopes: Option<Vec<(&'a str, &'a [String])>>,
}

impl Pinned<'_> {
    /// Whether the pinned scopes name this very permission on this entity.
    pub fn names(&self, declared: &Declared, scope: &Scope, permission: &str) -> bool {
        self.scopes.iter().flatten().any(|(entity, permissions)| {
            permissions.iter().any(|pinned| pinned == permission) && is_entity(declared, scope, entity)
        })
    }
}

/// Every difference, in words; empty when all is as it was written down.
pub fn differences(pinned: &Pinned<'_>, declared: &Declared) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(user) = pinned.user.filter(|user| *user != declared.user) {
        told.push(format!("user is {}, pinned {}", quoted(&declared.user), quoted(user)));
    }
    if let Some(role) = pinned.role.filter(|role| declared.role.as_deref() != Some(role)) {
        let is = declared.role.as_deref().map_or("not shown".to_owned(), quoted);
        told.push(format!("role is {is}, pinned {}", quoted(role)));
    }
    if let Some(scopes) = &pinned.scopes {
        told.extend(extra(scopes, declared));
        told.extend(lacking(scopes, declared));
    }
    told
}

/// Declared, but not pinned.
fn extra(pinned: &[(&str, &[String])], declared: &Declared) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    for scope in &declared.scopes {
        let same: Vec<_> = pinned.iter().filter(|(entity, _)| is_entity(declared, scope, entity)).collect();
        if scope.permissions.is_empty() && same.is_empty() {
            told.insert(format!("{} is declared, not pinned", quoted(&entity_of(scope))));
        }
        for permission in &scope.permissions {
            if !same.iter().any(|(_, permissions)| permissions.contains(permission)) {
                let on = quoted(&entity_of(scope));
                told.insert(format!("{} on {on} is declared, not pinned", shown(permission)));
            }
        }
    }
    told
}

/// Pinned, but not declared.
fn lacking(pinned: &[(&str, &[String])], declared: &Declared) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    for (entity, permissions) in pinned {
        let same: Vec<_> = declared.scopes.iter().filter(|s| is_entity(declared, s, entity)).collect();
        if permissions.is_empty() && same.is_empty() {
            told.insert(format!("{} is pinned, not declared", quoted(entity)));
        }
        for permission in *permissions {
            if !same.iter().any(|scope| scope.permissions.contains(permission)) {
                told.insert(format!("{} on {} is pinned, not declared", shown(permission), quoted(entity)));
            }
        }
    }
    told
}

/// The entity as a pin would name it: `KIND:NAME`, or `KIND:ID` where there is no name.
pub fn entity_of(scope: &Scope) -> String {
    let name = scope.name.as_deref().or(scope.id.as_deref()).unwrap_or("?");
    if scope.kind.is_empty() { name.to_owned() } else { format!("{}:{name}", scope.kind) }
}

/// Whether the scope is on the entity that a person wrote as `KIND:NAME`.
fn is_entity(declared: &Declared, scope: &Scope, written: &str) -> bool {
    let Some((kind, name)) = written.split_once(':') else { return false };
    if kind != scope.kind {
        return false;
    }
    match (&scope.name, &scope.id) {
        (Some(shown), _) => shown == name,
        (None, Some(id)) => id == name || is_known_as(declared, kind, id, name),
        // The only user that a token can be scoped to is its own.
        (None, None) => kind == "user" && declared.user == name,
    }
}

/// Whether whoami itself says elsewhere that the entity of this id has this name.
fn is_known_as(declared: &Declared, kind: &str, id: &str, name: &str) -> bool {
    let mut organizations = declared.organizations.iter();
    match kind {
        "org" => organizations.any(|o| o.name == name && o.id.as_deref() == Some(id)),
        "user" => declared.user == name,
        "resource-group" => {
            organizations.flat_map(|o| &o.groups).any(|group| group.name == name && group.id == id)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::whoami::{GroupRole, Membership};

    fn scope(kind: &str, name: Option<&str>, id: Option<&str>, permissions: &[&str]) -> Scope {
        Scope {
            kind: kind.into(),
            name: name.map(Into::into),
            id: id.map(Into::into),
            permissions: permissions.iter().map(|p| (*p).to_owned()).collect(),
        }
    }

    fn declared(scopes: Vec<Scope>) -> Declared {
        let group = GroupRole { id: "g1".into(), name: "group".into(), role: None };
        let acme = Membership {
            name: "acme".into(),
            id: Some("o1".into()),
            role: None,
            plan: None,
            restrictions: vec![],
            groups: vec![group],
        };
        Declared {
            user: "bob".into(),
            role: Some("fineGrained".into()),
            scopes,
            organizations: vec![acme],
            ..Declared::default()
        }
    }

    fn told(pinned: &[(&str, &[&str])], scopes: Vec<Scope>) -> Vec<String> {
        let owned: Vec<(&str, Vec<String>)> =
            pinned.iter().map(|(e, ps)| (*e, ps.iter().map(|p| (*p).to_owned()).collect())).collect();
        let scopes_pinned = owned.iter().map(|(entity, ps)| (*entity, ps.as_slice())).collect();
        differences(&Pinned { scopes: Some(scopes_pinned), ..Pinned::default() }, &declared(scopes))
    }

    #[test]
    fn user_and_role_are_compared_to_the_letter_and_only_where_pinned() {
        let known = declared(vec![]);
        assert_eq!(differences(&Pinned::default(), &known), [""; 0]);
        let same = Pinned { user: Some("bob"), role: Some("fineGrained"), scopes: Some(vec![]) };
        assert_eq!(differences(&same, &known), [""; 0]);
        let other = Pinned { user: Some("Bob"), role: Some("write"), scopes: None };
        assert_eq!(
            differences(&other, &known),
            ["user is 'bob', pinned 'Bob'", "role is 'fineGrained', pinned 'write'"]
        );
        let none = Declared { role: None, ..known };
        assert_eq!(differences(&other, &none)[1], "role is not shown, pinned 'write'");
    }

    #[test]
    fn scopes_are_sets_of_entity_and_permission() {
        let org = |permissions: &[&str]| scope("org", Some("acme"), Some("o1"), permissions);
        let none: [&str; 0] = [];
        assert_eq!(told(&[("org:acme", &["a", "b"])], vec![org(&["b"]), org(&["a", "a"])]), none);
        assert_eq!(told(&[("org:acme", &["a"]), ("org:acme", &["b"])], vec![org(&["a", "b"])]), none);
        assert_eq!(
            told(&[("org:acme", &["a"])], vec![org(&["b"])]),
            ["b on 'org:acme' is declared, not pinned", "a on 'org:acme' is pinned, not declared"]
        );
        assert_eq!(told(&[], vec![org(&["a"])]), ["a on 'org:acme' is declared, not pinned"]);
        assert_eq!(told(&[("org:Acme", &["a"])], vec![org(&["a"])]).len(), 2, "the case counts");
        assert_eq!(told(&[("user:acme", &["a"])], vec![org(&["a"])]).len(), 2, "and the kind");
        assert_eq!(told(&[("org:acme", &[])], vec![org(&[])]), none);
        assert_eq!(told(&[], vec![org(&[])]), ["'org:acme' is declared, not pinned"]);
        assert_eq!(told(&[("org:acme", &[])], vec![]), ["'org:acme' is pinned, not declared"]);
    }

    #[test]
    fn where_there_is_no_name_the_id_counts_and_what_whoami_tells_of_it() {
        let table = [
            ("org:acme", "org", Some("o1"), true),
            ("org:o1", "org", Some("o1"), true),
            ("org:acme", "org", Some("o2"), false),
            ("resource-group:group", "resource-group", Some("g1"), true),
            ("resource-group:g1", "resource-group", Some("g1"), true),
            ("resource-group:group", "resource-group", Some("g2"), false),
            ("user:bob", "user", Some("u1"), true),
            ("user:bob", "user", None, true),
            ("user:eve", "user", Some("u1"), false),
            ("model:acme/x", "model", Some("m1"), false),
            ("model:m1", "model", Some("m1"), true),
        ];
        for (written, kind, id, same) in table {
            let found = told(&[(written, &["p"])], vec![scope(kind, None, id, &["p"])]);
            assert_eq!(found.is_empty(), same, "{written} and {kind} {id:?}: {found:?}");
        }
        // A name that is shown is the name; an id beside it changes nothing.
        assert!(
            !told(&[("org:o1", &["p"])], vec![scope("org", Some("acme"), Some("o1"), &["p"])]).is_empty()
        );
    }

    #[test]
    fn what_the_hub_says_is_shown_tamely() {
        let odd = scope("org", Some("a\u{1b}[2J"), None, &[&"x".repeat(100)]);
        let told = told(&[], vec![odd]).join("");
        assert!(told.contains("'org:a[2J'") && told.contains('…') && told.len() < 200, "{told}");
    }
}

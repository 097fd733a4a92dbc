//! The second factor: what the token itself allows by its kind, its role and its scopes.
//!
//! Permission strings of the Hub are an open list. Only those that a document gives a meaning to open anything
//! here; one that no document knows may open everything, so beside it nothing is denied for want of a scope.

use crate::access::{Permission, Target};
use crate::hub::vocabulary::{ENTITIES, word_of};
use crate::hub::whoami::{Declared, Scope};

use super::facts::{Case, Entity, Place};
use super::rules::{self, Rule};
use super::{Factor, Remedy};

/// What a token is, as far as it concerns what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Fine,
    Read,
    Write,
    /// Nothing is documented; the rule says why.
    Other(&'static Rule),
}

impl Kind {
    /// Of the kinds that have no scopes.
    pub(super) fn is_classic(self) -> bool {
        matches!(self, Kind::Read | Kind::Write)
    }
}

pub(super) fn kind(declared: &Declared) -> Kind {
    let access_token = declared.auth.as_deref().is_none_or(|auth| auth == "access_token");
    let user = declared.principal.is_empty() || declared.principal == "user";
    match declared.role.as_deref() {
        _ if !access_token || !user => Kind::Other(&rules::TOKEN_OTHER),
        None => Kind::Other(&rules::TOKEN_OTHER),
        Some("fineGrained") => Kind::Fine,
        Some("read") => Kind::Read,
        Some("write") => Kind::Write,
        Some("god") => Kind::Other(&rules::TOKEN_GOD),
        Some(_) => Kind::Other(&rules::TOKEN_UNHEARD),
    }
}

pub(super) fn factor(case: &Case<'_>) -> Factor {
    if case.public_read() {
        return Factor::new(&rules::TOKEN_PUBLIC, "every token may read public repositories");
    }
    match case.kind {
        Kind::Fine => fine(case),
        Kind::Read => read_token(case),
        Kind::Write if case.concerns_user() => {
            let sentence = "this is a write token; whether one reaches its user's own settings is not said";
            Factor::new(&rules::TOKEN_WRITE_SETTINGS, sentence)
        }
        Kind::Write => {
            Factor::new(&rules::TOKEN_WRITE, "this is a write token: it may do whatever its user may do")
        }
        Kind::Other(rule) => {
            let sentence = "what this kind of token may do is documented nowhere";
            let word = case.declared.role.as_deref().or(case.declared.auth.as_deref()).unwrap_or_default();
            Factor::new(rule, sentence).with("role", word)
        }
    }
}

fn read_token(case: &Case<'_>) -> Factor {
    use Permission::{EndpointWrite, JobWrite, RepoCreate, RepoRead, RepoWrite};
    match case.permission {
        RepoRead => {
            Factor::new(&rules::TOKEN_READ, "this is a read token: it may read what its user may read")
        }
        RepoCreate | RepoWrite | JobWrite | EndpointWrite => {
            Factor::new(&rules::TOKEN_READ_ONLY, "this is a read token, and a read token changes nothing")
                .remedied(remedy(case))
        }
        _ => Factor::new(
            &rules::TOKEN_READ_ELSE,
            "this is a read token, and what it may read besides repositories is not said",
        ),
    }
}

/// The Hub's words for a permission: those that open it by a document, and those that may include it.
fn words_for(permission: Permission) -> (&'static [&'static str], &'static [&'static str]) {
    match permission {
        Permission::RepoCreate | Permission::RepoWrite => (&["repo.write"], &[]),
        // That writing includes reading is what the labels suggest.
        Permission::RepoRead => (&["repo.content.read"], &["repo.write"]),
        Permission::JobWrite => (&["job.write"], &[]),
        // The Hub names no permission for looking at jobs.
        Permission::JobRead => (&[], &["job.write"]),
        Permission::EndpointWrite => (&["inference.endpoints.write"], &[]),
        Permission::EndpointRead => (&["inference.endpoints.read"], &["inference.endpoints.write"]),
        Permission::EndpointInfer => (&["inference.endpoints.infer.write"], &["inference.endpoints.write"]),
        Permission::OrgMembers => (&["org.read"], &["org.members.read", "org.members.write", "org.write"]),
        Permission::OrgRepositories => (&[], &["org.repos.read", "org.read", "org.write"]),
        Permission::OrgAuditLog => (&[], &["org.auditLog.write", "org.read", "org.write"]),
        Permission::OrgBilling => (&[], &["org.billing.read", "org.read", "org.write"]),
        Permission::OrgServiceAccounts => {
            (&["org.serviceAccounts.read"], &["org.serviceAccounts.write", "org.read", "org.write"])
        }
        Permission::OrgNetworkSecurity => {
            (&[], &["org.networkSecurity.read", "org.networkSecurity.write", "org.read", "org.write"])
        }
        Permission::OrgResourceGroups => (&["org.write"], &["org.read", "resourceGroup.write"]),
        Permission::UserWebhooks => (&["user.webhooks.read"], &["user.webhooks.write"]),
        Permission::UserBilling => (&["user.billing.read"], &[]),
    }
}

/// What a scope is about, seen from the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The namespace that holds the target, or the user whose settings are asked for.
    Holder,
    /// The target repository itself.
    Itself,
    /// Perhaps the target or what it is in; the rule says why that cannot be told.
    Perhaps(&'static Rule),
    Elsewhere,
}

/// How far one scope goes towards the permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    Opens,
    Perhaps(&'static Rule),
    Closed,
}

fn reach(case: &Case<'_>, scope: &Scope) -> Reach {
    if case.concerns_user() {
        let me = scope.kind == "user" && scope.name.as_ref().is_none_or(|name| *name == case.declared.user);
        return if me { Reach::Holder } else { elsewhere_unless_odd(scope) };
    }
    match (scope.kind.as_str(), case.target) {
        ("org", _) => holder(case, scope),
        ("user", _) if case.own() && scope.name.as_deref() == Some(case.namespace) => Reach::Holder,
        ("resource-group", _) => group(case, scope),
        (kind, Target::Repo { kind: wanted, repo }) if kind == wanted.as_str() => match &scope.name {
            None => Reach::Perhaps(&rules::SCOPE_UNNAMED),
            Some(name) if name.eq_ignore_ascii_case(&repo.to_string()) => Reach::Itself,
            Some(_) => Reach::Elsewhere,
        },
        _ => elsewhere_unless_odd(scope),
    }
}

fn holder(case: &Case<'_>, scope: &Scope) -> Reach {
    let shown = case.member.and_then(|member| member.id.as_ref());
    match (&scope.name, &scope.id) {
        (Some(name), _) if name == case.namespace => Reach::Holder,
        (_, Some(id)) if Some(id) == shown => Reach::Holder,
        // By id alone, and the id of the organization is not known either.
        (None, _) if shown.is_none() => Reach::Perhaps(&rules::SCOPE_UNNAMED),
        _ => Reach::Elsewhere,
    }
}

/// What a scope on a group opens is not said; but it opens nothing outside of its group.
fn group(case: &Case<'_>, scope: &Scope) -> Reach {
    match case.place() {
        Place::Root => Reach::Elsewhere,
        Place::In(group) => {
            let id = group.id.clone().or_else(|| case.mine(&group).map(|mine| mine.id.clone()));
            match (id, &scope.id) {
                (Some(here), Some(there)) if !here.eq_ignore_ascii_case(there) => Reach::Elsewhere,
                _ => Reach::Perhaps(&rules::SCOPE_GROUP),
            }
        }
        Place::Unknown => Reach::Perhaps(&rules::SCOPE_GROUP),
    }
}

fn elsewhere_unless_odd(scope: &Scope) -> Reach {
    if ENTITIES.contains(&scope.kind.as_str()) {
        Reach::Elsewhere
    } else {
        Reach::Perhaps(&rules::SCOPE_UNHEARD)
    }
}

fn grade(case: &Case<'_>, scope: &Scope) -> Grade {
    let (opens, may_include) = words_for(case.permission);
    let names = |words: &[&str]| scope.permissions.iter().any(|word| words.contains(&word.as_str()));
    let unheard = scope.permissions.iter().any(|word| word_of(word).is_none());
    match reach(case, scope) {
        Reach::Elsewhere => Grade::Closed,
        Reach::Perhaps(rule) if names(opens) || names(may_include) || unheard => Grade::Perhaps(rule),
        Reach::Holder | Reach::Itself if names(opens) => Grade::Opens,
        Reach::Holder | Reach::Itself if unheard => Grade::Perhaps(&rules::SCOPE_UNHEARD),
        Reach::Holder | Reach::Itself if names(may_include) => Grade::Perhaps(&rules::SCOPE_HEARSAY),
        Reach::Holder | Reach::Itself | Reach::Perhaps(_) => Grade::Closed,
    }
}

fn fine(case: &Case<'_>) -> Factor {
    let graded: Vec<(Reach, Grade)> =
        case.declared.scopes.iter().map(|scope| (reach(case, scope), grade(case, scope))).collect();
    let opens = |at: Reach| graded.iter().any(|(reach, grade)| (*reach, *grade) == (at, Grade::Opens));
    let what = case.what();
    let factor = if opens(Reach::Itself) {
        Factor::new(&rules::SCOPE_REPO, say!(case, "the token names {what} itself, with this permission"))
    } else if opens(Reach::Holder) {
        by_holder(case, graded.iter().any(|(reach, _)| *reach == Reach::Itself))
    } else if let Some(rule) = graded.iter().find_map(|(_, grade)| perhaps(*grade)) {
        Factor::new(rule, say!(case, "the token names something that may or may not open {what}"))
    } else if case.declared.global.iter().any(|word| word_of(word).is_none()) {
        let sentence = "the token has a permission on everything whose meaning no document knows";
        Factor::new(&rules::SCOPE_UNHEARD, sentence)
    } else {
        closed(case)
    };
    case.declared.scopes.iter().fold(factor, |factor, scope| factor.with("scope", &told(scope)))
}

/// Whether a fine-grained token names the target in a way that opens it, or may.
pub(super) fn names(case: &Case<'_>) -> bool {
    !fine(case).denies()
}

fn perhaps(grade: Grade) -> Option<&'static Rule> {
    match grade {
        Grade::Perhaps(rule) => Some(rule),
        Grade::Opens | Grade::Closed => None,
    }
}

/// The organization's or the user's scope opens it, and the repository's own, if there is one, does not.
fn by_holder(case: &Case<'_>, names_itself: bool) -> Factor {
    let (what, name) = (case.what(), case.namespace);
    if names_itself {
        let sentence = say!(
            case,
            "the token names this permission for {name}, but not for {what}, which it names as well"
        );
        Factor::new(&rules::SCOPE_BOTH, sentence)
    } else if case.concerns_user() || case.own() {
        Factor::new(&rules::SCOPE_USER, say!(case, "the token names this permission for {what}"))
    } else {
        Factor::new(&rules::SCOPE_NAMESPACE, say!(case, "the token names this permission for all of {name}"))
    }
}

fn closed(case: &Case<'_>) -> Factor {
    let (what, name) = (case.what(), case.namespace);
    let writes_one = |scope: &Scope| {
        let inside = scope.name.as_ref().and_then(|of| of.split_once('/')).is_some_and(|(at, _)| at == name);
        inside && scope.permissions.iter().any(|word| word == "repo.write")
    };
    if case.permission == Permission::OrgMembers {
        let sentence = say!(
            case,
            "the token names nothing that opens the member list of {name}, part of which is public"
        );
        Factor::new(&rules::SCOPE_MEMBERS, sentence)
    } else if case.declared.scopes.is_empty() {
        Factor::new(
            &rules::SCOPE_EMPTY,
            say!(case, "the token names nothing at all, so nothing opens {what}"),
        )
        .remedied(remedy(case))
    } else if case.permission == Permission::RepoCreate && case.declared.scopes.iter().any(writes_one) {
        let sentence = say!(
            case,
            "the token may write to single repositories of {name}, which does not let it create {what}"
        );
        Factor::new(&rules::SCOPE_REPO_CREATES_NOT, sentence).remedied(remedy(case))
    } else {
        Factor::new(&rules::SCOPE_LACKS, say!(case, "the token names nothing that opens {what}"))
            .remedied(remedy(case))
    }
}

/// The smallest scope that opens it by a document, if there is one.
fn remedy(case: &Case<'_>) -> Option<Remedy> {
    let (opens, may_include) = words_for(case.permission);
    let permission = opens.first().or(may_include.first())?;
    let on = match case.target {
        Target::Repo { kind, repo } => Entity::Repo(*kind, repo.clone()),
        _ if case.concerns_user() => Entity::User(case.declared.user.clone()),
        _ => Entity::Organization(case.namespace.to_owned()),
    };
    Some(Remedy::Scope { permission, on })
}

/// A scope as the Hub shows it: `org acme: repo.write, org.read`.
fn told(scope: &Scope) -> String {
    let name = scope.name.as_deref().or(scope.id.as_deref()).unwrap_or("?");
    format!("{} {name}: {}", scope.kind, scope.permissions.join(", "))
}

//! Which declared permissions somebody spoke of: a table of scopes against checks, and the daemon's own needs.

use super::*;
use crate::access::{Expected, Question, RepoType, TokenName};
use crate::hub::whoami::{GroupRole, Membership};

fn check(permission: Permission, target: Target) -> Check {
    let (organization, token) = ("acme".to_owned(), TokenName::new("ci"));
    Check::new(token, Question::new(organization, permission, target, Expected::Denied))
}

fn repo(permission: Permission, name: &str) -> Check {
    check(permission, Target::Repo { kind: RepoType::Model, repo: name.parse().expect("a name") })
}

fn create(group: Option<&str>) -> Check {
    let target = Target::Create { kind: RepoType::Model, group: group.map(str::to_owned) };
    check(Permission::RepoCreate, target)
}

fn declared(kind: &str, name: Option<&str>, id: Option<&str>, permission: &str) -> Declared {
    let scope = Scope {
        kind: kind.into(),
        name: name.map(Into::into),
        id: id.map(Into::into),
        permissions: vec![permission.into()],
    };
    let place = |name: &str, id: &str, group: &str| Membership {
        name: name.into(),
        id: Some(id.into()),
        role: None,
        plan: None,
        restrictions: vec![],
        groups: vec![GroupRole { id: format!("{group} id"), name: group.into(), role: None }],
    };
    Declared {
        user: "bob".into(),
        role: Some("fineGrained".into()),
        scopes: vec![scope],
        organizations: vec![place("acme", "o1", "ours"), place("other", "o2", "theirs")],
        ..Declared::default()
    }
}

fn count(declared: &Declared, checks: &[Check], jobs: Jobs) -> usize {
    let watched = Watched { organization: "acme", checks, pinned: &Pinned::default(), jobs };
    unchecked(declared, &watched).len()
}

#[test]
fn a_permission_is_covered_by_a_check_that_asks_for_it_at_a_place_within_the_scope() {
    use Permission::{JobRead, JobWrite, OrgMembers, RepoRead, RepoWrite, UserBilling};
    let whole = |permission| check(permission, Target::Whole);
    let acme = Some("acme");
    let table: Vec<(&str, Option<&str>, &str, Check, bool)> = vec![
        ("org", acme, "repo.write", create(None), true),
        ("org", acme, "repo.write", repo(RepoWrite, "acme/x"), true),
        ("org", acme, "repo.write", repo(RepoWrite, "other/x"), false),
        // That it may read says nothing of whether it should write.
        ("org", acme, "repo.write", repo(RepoRead, "acme/x"), false),
        ("org", acme, "repo.content.read", repo(RepoRead, "acme/x"), true),
        ("org", acme, "job.write", whole(JobWrite), true),
        ("org", acme, "job.write", whole(JobRead), false),
        ("org", acme, "org.read", whole(OrgMembers), true),
        ("org", acme, "collection.write", whole(OrgMembers), false),
        ("org", acme, "repo.teleport", create(None), false),
        ("user", Some("bob"), "repo.write", create(None), false),
        ("user", Some("bob"), "repo.write", repo(RepoWrite, "acme/x"), false),
        ("user", Some("bob"), "repo.write", repo(RepoWrite, "bob/x"), true),
        ("user", Some("bob"), "user.billing.read", whole(UserBilling), true),
        ("user", Some("bob"), "job.write", whole(JobWrite), false),
        ("model", Some("acme/x"), "repo.write", repo(RepoWrite, "acme/x"), true),
        ("model", Some("acme/x"), "repo.write", repo(RepoWrite, "acme/X"), false),
        ("dataset", Some("acme/x"), "repo.write", repo(RepoWrite, "acme/x"), false),
        ("model", Some("acme/x"), "repo.write", create(None), false),
        ("resource-group", Some("ours"), "repo.write", create(Some("ours")), true),
        ("resource-group", Some("ours"), "repo.write", create(Some("ours id")), true),
        ("resource-group", Some("ours"), "repo.write", create(Some("another")), false),
        ("resource-group", Some("ours"), "repo.write", create(None), false),
        ("resource-group", Some("ours"), "repo.write", repo(RepoWrite, "acme/x"), true),
    ];
    for (kind, name, permission, check, covered) in table {
        let known = declared(kind, name, None, permission);
        let found = count(&known, std::slice::from_ref(&check), Jobs::default());
        assert_eq!(found == 0, covered, "{permission} on {kind}:{name:?} by {check:?}");
        assert_eq!(count(&known, &[], Jobs::default()), 1, "without any check");
    }
}

#[test]
fn only_what_reaches_the_organization_or_the_own_user_counts() {
    let table = [
        ("org", Some("acme"), None, 1),
        ("org", None, Some("o1"), 1),
        ("org", None, Some("o2"), 0),
        ("org", None, None, 0),
        ("org", Some("Acme"), None, 0),
        ("org", Some("other"), Some("o1"), 0),
        ("user", None, None, 1),
        ("model", Some("acme/x"), None, 1),
        ("bucket", Some("bob/x"), None, 1),
        ("model", Some("other/x"), None, 0),
        ("model", None, Some("m1"), 1),
        ("resource-group", None, Some("ours id"), 1),
        ("resource-group", Some("ours"), Some("theirs id"), 0),
        ("resource-group", Some("unheard"), Some("unheard"), 1),
        ("oauth-app", Some("x"), None, 0),
    ];
    for (kind, name, id, counted) in table {
        let found = count(&declared(kind, name, id, "repo.write"), &[], Jobs::default());
        assert_eq!(found, counted, "{kind} {name:?} {id:?}");
    }
}

#[test]
fn the_daemon_does_not_ask_about_what_it_needs_itself() {
    let org = |permission: &str| declared("org", Some("acme"), None, permission);
    let janitor = Jobs { janitor: true, inventory: false };
    let reader = Jobs { janitor: false, inventory: true };
    let table = [
        ("repo.write", 0, 1),
        ("org.read", 0, 0),
        ("org.serviceAccounts.read", 1, 0),
        ("org.serviceAccounts.write", 1, 1),
        ("org.write", 1, 1),
    ];
    for (permission, as_janitor, as_reader) in table {
        assert_eq!(count(&org(permission), &[], janitor), as_janitor, "{permission}");
        assert_eq!(count(&org(permission), &[], reader), as_reader, "{permission}");
    }
    let user = declared("user", Some("bob"), None, "repo.write");
    assert_eq!(count(&user, &[], janitor), 1, "of the organization only");
}

#[test]
fn a_pin_that_names_it_has_spoken_of_it_and_unheard_words_are_told() {
    let known = declared("org", Some("acme"), None, "repo.teleport");
    let told = ["permission 'repo.teleport' on 'org:acme'"];
    assert_eq!(unheard(&known, &Pinned::default()), told);
    let words = ["repo.teleport".to_owned()];
    let pinned = Pinned { scopes: Some(vec![("org:acme", &words)]), ..Pinned::default() };
    assert_eq!(unheard(&known, &pinned), [""; 0]);
    let watched = Watched { organization: "acme", checks: &[], pinned: &pinned, jobs: Jobs::default() };
    assert_eq!(unchecked(&known, &watched), [""; 0]);
    let elsewhere = Pinned { scopes: Some(vec![("org:other", &words)]), ..Pinned::default() };
    assert_eq!(unheard(&known, &elsewhere), told, "of another entity");

    let mut odd = declared("moonbase", Some("m"), None, "repo.write");
    odd.role = Some("emperor".into());
    odd.global = vec!["post.write".into(), "post.shout".into()];
    assert_eq!(
        unheard(&odd, &Pinned::default()),
        ["permission 'post.shout' on all of the Hub", "token role 'emperor'", "type of entity 'moonbase'"]
    );
    for role in ["read", "write", "god", "fineGrained"] {
        odd.role = Some(role.into());
        assert_eq!(unheard(&odd, &Pinned::default()).len(), 2, "{role}");
    }
}

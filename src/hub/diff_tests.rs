//! Each difference that a declaration can show, in the words in which it is told, and what is told as none.

use super::*;

fn scope(kind: &str, name: &str, id: &str, permissions: &[&str]) -> Scope {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let permissions = permissions.iter().map(|p| (*p).to_owned()).collect();
    Scope { kind: kind.into(), name: some(name), id: some(id), permissions }
}

fn group(id: &str, role: &str) -> GroupRole {
    GroupRole { id: id.into(), name: format!("group {id}"), role: Some(role.into()) }
}

fn plain() -> Declared {
    let acme = Membership {
        name: "acme".into(),
        id: Some("o1".into()),
        role: Some("write".into()),
        plan: Some("team".into()),
        restrictions: vec!["sso".into()],
        groups: vec![group("1", "read"), group("2", "write")],
    };
    Declared {
        user: "bob".into(),
        principal: "user".into(),
        auth: Some("access_token".into()),
        label: Some("ci".into()),
        created_at: Some("2026-01-01T00:00:00Z".into()),
        role: Some("fineGrained".into()),
        scopes: vec![scope("org", "acme", "o1", &["org.read", "repo.write"])],
        global: vec!["post.write".into()],
        reads_gated: None,
        organizations: vec![acme],
        expires_at: None,
    }
}

type Edit = fn(&mut Declared);

#[test]
fn each_change_is_told_once_in_its_own_part() {
    let table: &[(Topic, Edit, &[&str])] = &[
        (Topic::Owner, |d| d.user = "eve".into(), &["it is eve's, before bob's"]),
        (Topic::Owner, |d| d.principal = "app".into(), &["its principal is of type 'app', before 'user'"]),
        (Topic::Declared, |d| d.role = Some("write".into()), &["its role is 'write', before 'fineGrained'"]),
        (Topic::Declared, |d| d.auth = None, &["its kind is none, before 'access_token'"]),
        (
            Topic::Declared,
            |d| d.scopes[0].permissions.push("org.write".into()),
            &["gained org.write on 'org:acme'"],
        ),
        (
            Topic::Declared,
            |d| d.scopes[0].permissions.retain(|p| p == "org.read"),
            &["lost repo.write on 'org:acme'"],
        ),
        (
            Topic::Declared,
            |d| d.scopes = vec![scope("org", "acme", "o2", &["org.read"])],
            &[
                "gained org.read on 'org:acme'",
                "lost org.read on 'org:acme'",
                "lost repo.write on 'org:acme'",
            ],
        ),
        (Topic::Declared, |d| d.scopes.push(scope("org", "other", "", &[])), &["gained 'org:other'"]),
        (
            Topic::Declared,
            |d| d.global = vec!["discussion.write".into()],
            &["gained discussion.write on all of the Hub", "lost post.write on all of the Hub"],
        ),
        (Topic::Declared, |d| d.reads_gated = Some(true), &["gained access to public gated repositories"]),
        (
            Topic::Role,
            |d| d.organizations[0].role = Some("admin".into()),
            &["its user's role in 'acme' is 'admin', before 'write'"],
        ),
        (Topic::Role, |d| d.organizations.clear(), &["its user is no longer shown in 'acme'"]),
        (
            Topic::Role,
            |d| d.organizations[0].groups = vec![group("1", "admin"), group("3", "read")],
            &[
                "its user's role in resource group 'group 1' is 'admin', before 'read'",
                "its user joined resource group 'group 3' with 'read'",
                "its user left resource group 'group 2'",
            ],
        ),
        (
            Topic::Policy,
            |d| d.organizations[0].restrictions = vec!["token-policy".into()],
            &["'acme' now restricts it by 'token-policy'", "'acme' no longer restricts it by 'sso'"],
        ),
        (Topic::Policy, |d| d.organizations[0].plan = None, &["the plan of 'acme' is none, before 'team'"]),
    ];
    for (part, edit, words) in table {
        let (before, mut after) = (plain(), plain());
        edit(&mut after);
        for topic in Topic::DECLARED {
            let told = differences(topic, "acme", &before, &after);
            let expected: &[&str] = if topic == *part { words } else { &[] };
            assert_eq!(told, expected, "{topic:?} of {after:?}");
            // The part of the one put into the other: no difference of that part is left, and every other stays.
            let mut mended = after.clone();
            keep(*part, "acme", &before, &mut mended);
            assert_eq!(differences(topic, "acme", &before, &mended), [""; 0], "{topic:?}");
        }
    }
}

#[test]
fn what_is_no_right_changes_without_a_word() {
    let edits: [Edit; 7] = [
        |d| d.label = Some("other".into()),
        |d| d.created_at = None,
        |d| d.expires_at = Some("2027-01-01T00:00:00Z".into()),
        |d| d.reads_gated = Some(false),
        |d| {
            d.scopes =
                vec![scope("org", "acme", "o1", &["repo.write"]), scope("org", "acme", "o1", &["org.read"])]
        },
        |d| d.scopes[0].name = Some("acme-renamed".into()),
        |d| {
            let elsewhere = Membership { name: "other".into(), ..d.organizations[0].clone() };
            d.organizations.push(elsewhere);
            d.organizations[0].groups.reverse();
        },
    ];
    for edit in edits {
        let (before, mut after) = (plain(), plain());
        edit(&mut after);
        for topic in Topic::DECLARED {
            assert_eq!(differences(topic, "acme", &before, &after), [""; 0], "{after:?}");
        }
    }
}

#[test]
fn who_is_new_in_the_organization_is_told_with_the_role_and_nothing_of_its_rules() {
    let mut before = plain();
    before.organizations.clear();
    let told = differences(Topic::Role, "acme", &before, &plain());
    assert_eq!(told, ["its user is now shown in 'acme', with 'write'"]);
    assert_eq!(differences(Topic::Policy, "acme", &before, &plain()), [""; 0]);
    assert_eq!(differences(Topic::Role, "other", &before, &plain()), [""; 0]);
}

//! The smallest change as a table: each way in which expected and observed can part, and what is to be done.

use super::*;
use crate::access::{DenyReason, Expected, Question, RepoType, TokenName, UnknownReason};

fn check(expected: Expected) -> Check {
    Check::new(
        TokenName::new("ci"),
        Question::new(
            "acme",
            Permission::RepoCreate,
            Target::Create { kind: RepoType::Dataset, group: Some("it's".into()) },
            expected,
        ),
    )
}

fn observed(access: Access) -> Observed {
    Observed { access, at: Timestamp(0), sentence: "so it was.".into(), asked: vec![], recorded: false }
}

fn declared(role: Option<&str>, scopes: &[(&str, &str, &str)]) -> Declared {
    let scope = |(kind, name, permission): &(&str, &str, &str)| Scope {
        kind: (*kind).into(),
        name: Some((*name).into()),
        id: None,
        permissions: vec![(*permission).into()],
    };
    Declared {
        user: "bob\u{202e}".into(),
        role: role.map(str::to_owned),
        scopes: scopes.iter().map(scope).collect(),
        ..Declared::default()
    }
}

/// The steps for what was expected and found of a token that declares this.
fn steps(expected: Expected, access: Access, of: Option<&Declared>) -> String {
    let (check, observed, known) = (check(expected), observed(access), Known::default());
    let facts = Facts {
        check: &check,
        expected: true,
        endpoint: "https://hub.example/",
        declared: of.map(|declared| (declared, Timestamp(0))),
        known: &known,
        observed: Some(&observed),
        untried: "",
    };
    fix(&facts, facts.prediction().as_ref()).join("\n")
}

#[test]
fn a_grant_is_taken_where_it_comes_from() {
    let grant = |of: Option<&Declared>| steps(Expected::Denied, Access::Allowed, of);
    assert!(grant(None).contains("revoke the token now"));
    let classic = grant(Some(&declared(Some("write"), &[])));
    assert!(classic.contains("Replace it by a fine-grained token"), "{classic}");
    assert!(classic.contains("'bob' does so at https://hub.example/settings/tokens"), "{classic}");
    let named = [("org", "acme", "repo.write"), ("org", "other", "repo.write"), ("org", "acme", "job.write")];
    let fine = grant(Some(&declared(Some("fineGrained"), &named)));
    assert!(fine.starts_with("Take 'repo.write' on the org 'acme' from the token:"), "{fine}");
    let unnamed = grant(Some(&declared(Some("fineGrained"), &[("org", "acme", "job.write")])));
    assert!(unnamed.starts_with("The Hub grants what its own documents deny: revoke the token"), "{unnamed}");
}

#[test]
fn a_denial_is_turned_where_it_comes_from() {
    let denial = |why, of: Option<&Declared>| steps(Expected::Allowed, Access::Denied(why), of);
    let bare = denial(DenyReason::Scope, Some(&declared(Some("fineGrained"), &[])));
    assert!(bare.contains("Give the token 'repo.write' on the organization 'acme'"), "{bare}");
    assert!(bare.contains("https://hub.example/settings/tokens/new?"), "{bare}");
    for why in DenyReason::ALL {
        let told = denial(*why, None);
        assert!(told.len() > 20 && told.ends_with('.'), "{why}: {told}");
    }
    assert!(denial(DenyReason::TokenPolicy, None).contains("approves the token"));
}

#[test]
fn what_is_unknown_says_what_to_do_for_each_reason() {
    for why in UnknownReason::ALL {
        let told = steps(Expected::Denied, Access::Undetermined(*why), None);
        assert!(told.ends_with("(so it was)") && told.len() > 25, "{why}: {told}");
    }
}

#[test]
fn what_nobody_expects_can_be_pasted() {
    let (check, known) = (check(Expected::Denied), Known::default());
    let access = observed(Access::Allowed);
    let mut facts = Facts {
        check: &check,
        expected: false,
        endpoint: "https://hub.example",
        declared: None,
        known: &known,
        observed: Some(&access),
        untried: "",
    };
    let entry = "{ permission: repo.create, type: dataset, resource_group: 'it''s', access: allowed }";
    assert!(fix(&facts, None).join("").contains(entry), "{:?}", fix(&facts, None));
    assert_eq!(facts.verdict(), None);
    facts.observed = None;
    assert!(fix(&facts, None).join("").contains("access: allowed|denied"));
}

#[test]
fn lines_are_wrapped_between_words_and_words_are_never_cut() {
    let long = "x".repeat(WIDTH * 2);
    let text = wrapped("  lead  ", &format!("{} {long} end", "word ".repeat(40).trim_end()));
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH || line.contains(&long)));
    assert!(text.lines().skip(1).all(|line| line.starts_with("        ")));
    assert_eq!(text.matches("word").count(), 40);
}

#[test]
fn a_token_that_names_ten_thousand_things_is_told_in_a_few_lines() {
    let scopes: Vec<(&str, &str, &str)> = vec![("org", "acme", "repo.write"); 10_000];
    let (check, known) = (check(Expected::Denied), Known::default());
    for access in [Access::Allowed, Access::Denied(DenyReason::Scope)] {
        let declared = declared(Some("fineGrained"), &scopes);
        let observed = observed(access);
        let facts = Facts {
            check: &check,
            expected: true,
            endpoint: "https://hub.example",
            declared: Some((&declared, Timestamp(0))),
            known: &known,
            observed: Some(&observed),
            untried: "",
        };
        let text = explain(&facts);
        assert!(text.lines().count() < 80, "{} lines", text.lines().count());
        assert!(text.contains("and 9988 more"), "{text}");
    }
}

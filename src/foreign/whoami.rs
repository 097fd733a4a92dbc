//! What a token says of itself, and everything that is made of it: sentences, predictions, what is remembered.
//! Two answers of one text are two declarations of one token.

use crate::access::{Access, Check, Expected, Permission, Question, RepoType, Target, TokenName};
use crate::explain::{Facts, explain};
use crate::hub::coverage::{self, Jobs, Watched};
use crate::hub::diff::{self, Topic};
use crate::hub::past::Past;
use crate::hub::pin::{self, Pinned};
use crate::hub::predict::{Known, latent, mismatch, predict};
use crate::hub::whoami::{Declared, Heard, WhoamiRow, read_row};
use crate::moment::Timestamp;

use super::steers;
use super::wire::{self, is_success, object};

const NOW: Timestamp = Timestamp(1_795_000_000_000);

pub(super) fn whoami(bytes: &[u8]) {
    let mut before: Option<Declared> = None;
    for said in wire::read(bytes) {
        let outcome = said.outcome();
        let (row, heard) = read_row(&outcome);
        match heard {
            Heard::Known(declared) => {
                let Ok(answer) = &outcome else { unreachable!("known without an answer") };
                assert!(row == WhoamiRow::Known && is_success(&outcome) && object(answer).is_some());
                assert!(!declared.user.is_empty(), "a token of nobody");
                remembered(&declared);
                told(&declared, before.as_ref());
                before = Some(*declared);
            }
            Heard::Dead => {
                // A rate limit, a failing Hub or a page in between proves nothing of a token.
                let by_401 = outcome.as_ref().is_ok_and(|a| a.status == 401 && a.content_type != "text/html");
                assert!(by_401 || outcome.is_err(), "dead by {outcome:?}");
            }
            Heard::Unclear(_) => {}
        }
    }
}

/// What is stored comes back as it went in.
fn remembered(declared: &Declared) {
    let text = serde_json::to_string(declared).unwrap_or_default();
    let again = serde_json::from_str::<Declared>(&text).ok();
    assert_eq!(again.as_ref(), Some(declared), "not remembered: {text}");
}

/// Every sentence about it: none steers a terminal, none is without end.
fn told(declared: &Declared, before: Option<&Declared>) {
    let scopes = ["repo.write".to_owned()];
    let pinned =
        Pinned { user: Some("bob"), role: Some("fineGrained"), scopes: Some(vec![("org:acme", &scopes)]) };
    let checks: Vec<Check> = Permission::ALL.iter().map(|permission| check(*permission)).collect();
    let jobs = Jobs { janitor: true, inventory: false };
    let watched = Watched { organization: "acme", checks: &checks, pinned: &pinned, jobs };
    let mut sentences = pin::differences(&pinned, declared);
    sentences.extend(coverage::unheard(declared, &pinned));
    sentences.extend(coverage::unchecked(declared, &watched));
    if let Some(before) = before {
        for topic in Topic::DECLARED {
            let changes = diff::differences(topic, "acme", before, declared);
            assert!(before != declared || changes.is_empty(), "nothing changed: {changes:?}");
            sentences.extend(changes);
        }
        let mut past = Past::new(before.clone(), "mark".to_owned());
        past.hear("acme", &pinned, &std::sync::Arc::new(declared.clone()), NOW);
        let again = serde_json::to_string(&past).ok().and_then(|text| serde_json::from_str(&text).ok());
        assert_eq!(again.as_ref(), Some(&past), "not remembered");
    }
    for sentence in &sentences {
        assert!(!steers(sentence), "{sentence:?}");
        assert!(sentence.chars().count() < 400, "{sentence:?}");
    }
    for check in &checks {
        predicted(declared, check);
    }
}

fn predicted(declared: &Declared, check: &Check) {
    let known = Known::default();
    let prediction = predict(declared, &check.organization, check.permission, &check.target, &known);
    for access in [Access::Allowed, Access::Denied(crate::access::DenyReason::Scope)] {
        let observed = access.conclusive();
        let differs = mismatch(&prediction, access);
        assert_eq!(differs, prediction.outcome.conclusive().map(|said| Some(said) != observed));
        assert!(!latent(&prediction, access) || access != Access::Allowed, "latent, and granted");
    }
    for factor in &prediction.factors {
        assert!(!steers(&factor.sentence) && factor.data.iter().all(|(_, word)| !steers(word)), "{factor:?}");
    }
    let facts = Facts {
        check,
        expected: true,
        endpoint: "https://huggingface.co",
        declared: Some((declared, NOW)),
        known: &known,
        observed: None,
        untried: "it was not tried",
    };
    let text = explain(&facts);
    assert!(text.lines().all(|line| !steers(line)), "{text:?}");
}

fn check(permission: Permission) -> Check {
    let repo = crate::access::RepoName { namespace: "acme".to_owned(), name: "x".to_owned() };
    let target = match permission {
        Permission::RepoCreate => Target::Create { kind: RepoType::Model, group: Some("group".to_owned()) },
        Permission::RepoRead | Permission::RepoWrite => Target::Repo { kind: RepoType::Model, repo },
        _ => Target::Whole,
    };
    Check::new(TokenName::new("ci"), Question::new("acme".to_owned(), permission, target, Expected::Denied))
}

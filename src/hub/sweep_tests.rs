//! Goal: a sweep reads every listing to its end or says that it did not, and what it finds is judged by signature,
//! journal and age, never by its looks.

use serde_json::json;

use super::*;
use crate::exchange::{Answer, Failure};
use crate::hub::names::{NONCE_BYTES, Signer};
use crate::intent::DeleteOutcome;

const RULES: Rules = Rules { horizon: Duration::from_secs(900) };
const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn janitor() -> Credential {
    Credential::Token(TokenName::new("janitor"))
}

fn page(names: &[&str], link: Option<&str>) -> Answer {
    let body = json!(names.iter().map(|name| json!({ "id": name, "private": true })).collect::<Vec<_>>());
    Answer {
        status: 200,
        content_type: "application/json".into(),
        body: body.to_string(),
        link: link.map(str::to_owned),
        ..Answer::default()
    }
}

/// Walks a sweep over these answers, by the kind and page that is asked; gives what was asked and what it came to.
fn sweep(answer: impl Fn(&str) -> Result<Answer, Failure>) -> (Vec<String>, Swept) {
    let mut walk = SweepWalk::new("acme", "canary", janitor());
    let mut asked = Vec::new();
    while let Some(request) = walk.next() {
        assert!(asked.len() < 200, "without an end");
        asked.push(request.path.clone());
        let outcome = answer(&request.path);
        walk.hear(&Exchange { request, sent_at: NOW, elapsed: Duration::ZERO, outcome });
    }
    (asked, walk.finish())
}

#[test]
fn all_kinds_are_read_and_only_what_bears_the_prefix_in_this_organization_counts() {
    let (asked, swept) = sweep(|path| {
        Ok(if path.starts_with("/api/datasets") {
            page(&["acme/canary-a", "other/canary-b", "acme/my-canary-c", "acme/canaryd", "x"], None)
        } else {
            page(&[], None)
        })
    });
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|path| path.contains("author=acme") && path.contains("search=canary-")));
    let hits: Vec<String> = swept.hits.iter().map(|hit| format!("{} {}", hit.kind, hit.repo)).collect();
    assert_eq!((hits, swept.complete), (vec!["dataset acme/canary-a".to_owned()], true));
}

#[test]
fn further_pages_are_read_and_what_could_not_be_read_is_not_called_complete() {
    let next = "<https://hub/api/models?author=acme&cursor=x>; rel=\"next\"";
    let (asked, swept) = sweep(|path| {
        Ok(match path {
            path if path.contains("cursor=x") => page(&["acme/canary-b"], None),
            path if path.starts_with("/api/models") => page(&["acme/canary-a"], Some(next)),
            _ => page(&[], None),
        })
    });
    assert_eq!((asked.len(), swept.hits.len(), swept.complete), (4, 2, true));
    for broken in [Err(Failure::Timeout), Ok(Answer { status: 403, ..Answer::default() })] {
        let (asked, swept) = sweep(|path| {
            if path.starts_with("/api/datasets") {
                broken.clone()
            } else {
                Ok(page(&["acme/canary-a"], None))
            }
        });
        assert_eq!((asked.len(), swept.hits.len(), swept.complete), (3, 2, false), "{broken:?}");
    }
    let endless = |path: &str| Ok(page(&[], Some(&format!("<https://hub{path}>; rel=\"next\""))));
    let (asked, swept) = sweep(endless);
    assert_eq!((asked.len(), swept.complete), (150, false));
    let elsewhere = "<https://hub/api/settings/tokens>; rel=\"next\"";
    assert_eq!(
        sweep(|_| Ok(page(&[], Some(elsewhere)))).0.len(),
        3,
        "only the listing's own pages are asked for"
    );
}

fn hit(created_ago: Option<u64>) -> Hit {
    let repo = Signer::new(&[7; 32]).name("canary", "acme", RepoType::Model, &[1; NONCE_BYTES]);
    let created_at = created_ago.map(|seconds| NOW - Duration::from_secs(seconds));
    Hit { kind: RepoType::Model, repo, created_at }
}

fn journaled(state: CanaryState) -> Canary {
    let mut canary =
        adopted(1, 1, &hit(Some(5000)), &TokenName::new("janitor"), NOW, RULES).expect("old enough");
    canary.state = state;
    canary
}

#[test]
fn what_a_hit_is() {
    let judged = |hit: &Hit, signed, known: Option<&Canary>| judge(hit, signed, known, NOW, RULES);
    for known in [None, Some(&journaled(CanaryState::Gone)), Some(&journaled(CanaryState::Created))] {
        assert_eq!(
            judged(&hit(None), false, known),
            Judged::Foreign,
            "without our signature it is nobody's of ours"
        );
    }
    assert_eq!(judged(&hit(Some(1799)), true, None), Judged::Young);
    assert_eq!(judged(&hit(Some(1800)), true, None), Judged::Orphan);
    assert_eq!(judged(&hit(None), true, None), Judged::Orphan, "of unknown age: told, not waited for");
    for state in CanaryState::ALL {
        let expected = if *state == CanaryState::Gone { Judged::Returned } else { Judged::Known };
        assert_eq!(judged(&hit(Some(9999)), true, Some(&journaled(*state))), expected, "{state}");
    }
    let mut closed = journaled(CanaryState::Quarantined);
    canary::close(&mut closed);
    assert_eq!(judged(&hit(Some(9999)), true, Some(&closed)), Judged::Known, "a person has decided");
}

#[test]
fn only_what_is_known_to_be_old_is_adopted_and_its_identity_is_still_to_be_proven() {
    let janitor = TokenName::new("janitor");
    for (age, old) in [(None, false), (Some(1799), false), (Some(1800), true)] {
        assert_eq!(adopted(7, 3, &hit(age), &janitor, NOW, RULES).is_some(), old, "{age:?}");
    }
    let canary = journaled(CanaryState::Unknown);
    let lost = DeleteAttempt { at: NOW, by: Deleter::Probed, outcome: DeleteOutcome::Lost };
    assert_eq!((canary.repo_id.as_ref(), canary.deletes.as_slice()), (None, [lost].as_slice()));
    assert_eq!((canary.token.as_str(), canary.next_at), ("janitor", Some(NOW)));
    assert!(canary.deletes.iter().all(|d| d.outcome != DeleteOutcome::Acknowledged));
}

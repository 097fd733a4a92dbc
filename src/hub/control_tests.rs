//! Walks of the controls against scripted answers: what passes, what fails, and with which reason.

use std::time::Duration;

use super::*;
use crate::hub::whoami::{GroupRole, Membership};
use crate::moment::Timestamp;

fn plan(janitor: bool) -> Plan {
    Plan {
        organization: "acme".into(),
        observer: Credential::Anonymous,
        janitor,
        sentinel: None,
        absent: "acme/no-such".parse().expect("a name"),
        with_groups: false,
    }
}

fn json_said(status: u16, body: &str) -> Answer {
    Answer { status, content_type: "application/json".into(), body: body.into(), ..Answer::default() }
}

fn missing() -> Answer {
    Answer {
        error_code: Some("RepoNotFound".into()),
        ..json_said(404, r#"{"error":"Repository not found"}"#)
    }
}

/// Answers of a Hub in order; the path of every request is kept.
fn walk(plan: Plan, answer: impl Fn(&str, bool) -> Result<Answer, Failure>) -> (Control, Vec<String>) {
    let mut walk = ControlWalk::new(plan);
    let mut asked = Vec::new();
    while let Some(request) = walk.next() {
        asked.push(request.path.clone());
        assert!(asked.len() < 20, "a walk ends");
        let outcome = answer(&request.path, asked.iter().filter(|p| **p == request.path).count() > 1);
        walk.hear(&Exchange { request, sent_at: Timestamp(0), elapsed: Duration::ZERO, outcome });
    }
    (walk.finish(), asked)
}

fn sound(path: &str, again: bool) -> Result<Answer, Failure> {
    Ok(match path {
        p if p.ends_with("/overview") => json_said(200, r#"{"name":"acme"}"#),
        p if p.starts_with("/api/models?") => {
            json_said(200, r#"[{"id":"acme/open","private":false},{"id":"acme/x","private":true}]"#)
        }
        p if p.starts_with("/api/") && p.contains('?') => json_said(200, "[]"),
        "/api/models/acme/x" if again => json_said(401, r#"{"error":"Invalid username or password."}"#),
        "/api/models/acme/x" => json_said(200, r#"{"id":"acme/x","private":true}"#),
        _ => missing(),
    })
}

#[test]
fn a_sound_hub_passes_and_shows_a_private_repository() {
    let (control, asked) = walk(plan(true), sound);
    assert_eq!(control.result, Ok(()));
    assert_eq!(control.seen.len(), 1);
    assert_eq!(
        asked,
        [
            "/api/organizations/acme/overview",
            "/api/models?author=acme&limit=100",
            "/api/models/acme/x",
            "/api/models/acme/no-such",
            "/api/models/acme/x",
        ]
    );
}

/// Everything as a sound Hub says, but for paths that contain `part`.
fn but(part: &'static str, answer: Result<Answer, Failure>) -> (Control, Vec<String>) {
    walk(plan(true), move |path, again| if path.contains(part) { answer.clone() } else { sound(path, again) })
}

#[test]
fn a_further_page_is_asked_only_of_the_same_list() {
    let pages = |next: &'static str| {
        walk(plan(true), move |path, again| {
            let link = (path == "/api/models?author=acme&limit=100")
                .then(|| format!("<https://hub{next}>; rel=\"next\""));
            match path {
                p if p.starts_with("/api/models?") => Ok(Answer { link, ..json_said(200, "[]") }),
                p => sound(p, again),
            }
        })
        .1
    };
    for next in ["/api/models/acme/x/xet-write-token/main", "/api/datasets?author=acme", "/api/whoami-v2"] {
        assert!(!pages(next).iter().any(|path| path == next), "{next}");
    }
    let further = "/api/models?author=acme&limit=100&cursor=x";
    assert!(pages(further).iter().any(|path| path == further));
}

#[test]
fn whatever_is_not_a_proof_fails_with_its_reason() {
    use UnknownReason::*;
    let table = [
        ("overview", Ok(json_said(404, r#"{"error":"not found"}"#)), NoControl),
        ("overview", Ok(json_said(200, r#"{"name":"Acme"}"#)), NoControl),
        ("overview", Ok(json_said(200, "{}")), NoControl),
        ("overview", Ok(json_said(401, r#"{"error":"x"}"#)), NoControl),
        ("overview", Ok(json_said(500, "{}")), HubError),
        ("overview", Ok(json_said(429, "{}")), RateLimited),
        ("overview", Err(Failure::Timeout), Timeout),
        ("overview", Err(Failure::Unsent), Network),
        ("models?", Ok(json_said(403, r#"{"error":"x"}"#)), NoControl),
        ("acme/x", Ok(missing()), NoControl),
        ("acme/x", Ok(json_said(200, r#"{"id":"acme/x","private":true}"#)), NoControl),
        ("no-such", Ok(json_said(200, r#"{"id":"acme/no-such"}"#)), NoControl),
        ("no-such", Ok(json_said(403, r#"{"error":"x"}"#)), NoControl),
        ("no-such", Ok(json_said(503, "{}")), HubError),
    ];
    for (part, answer, why) in table {
        let (control, _) = but(part, answer.clone());
        assert_eq!(control.result, Err(why), "{part} {answer:?}");
        assert!(!control.why.is_empty(), "{part}");
    }
}

#[test]
fn a_dead_observer_is_the_probed_tokens_fault_only_if_it_is_the_probed_token() {
    let dead = |path: &str, again| match path {
        p if p.ends_with("overview") => Ok(json_said(401, r#"{"error":"Invalid username or password."}"#)),
        p => sound(p, again),
    };
    assert_eq!(walk(plan(false), dead).0.result, Err(UnknownReason::TokenInvalid));
    assert_eq!(walk(plan(true), dead).0.result, Err(UnknownReason::NoControl));
}

#[test]
fn a_hub_that_says_yes_or_no_to_everything_proves_nothing() {
    for (status, body) in
        [(200, r#"{"name":"acme","id":"acme/x","private":true}"#), (403, r#"{"error":"no"}"#)]
    {
        for janitor in [true, false] {
            let (control, _) = walk(plan(janitor), |_, _| Ok(json_said(status, body)));
            assert!(control.result.is_err(), "{status} {janitor}");
        }
    }
}

#[test]
fn capability_needs_a_sight_and_a_whoami_without_restrictions() {
    let (control, _) = walk(plan(true), sound);
    let member = |role: &str, restrictions: &[&str]| Declared {
        user: "alice".into(),
        organizations: vec![Membership {
            name: "acme".into(),
            id: None,
            role: Some(role.into()),
            plan: None,
            restrictions: restrictions.iter().map(|r| (*r).to_owned()).collect(),
            groups: vec![GroupRole { id: "g1".into(), name: "g".into(), role: None }],
        }],
        ..Declared::default()
    };
    assert!(capable(&control, Some(&member("admin", &[])), "acme", None));
    assert!(capable(&control, Some(&member("admin", &[])), "acme", Some("g1")));
    assert!(capable(&control, Some(&member("read", &[])), "acme", None));
    assert!(!capable(&control, Some(&member("read", &[])), "acme", Some("g1")));
    assert!(!capable(&control, Some(&member("no_access", &[])), "acme", None));
    assert!(!capable(&control, Some(&member("admin", &["ip"])), "acme", None));
    assert!(capable(&control, Some(&member("admin", &[])), "not-shown", None));
    assert!(!capable(&control, Some(&member("admin", &[])), "not-shown", Some("g1")));
    assert!(!capable(&control, None, "acme", None));
    let in_group = Control {
        seen: vec![Seen { group: Some("g1".into()), ..control.seen[0].clone() }],
        ..control.clone()
    };
    assert!(capable(&in_group, Some(&member("no_access", &[])), "acme", Some("g1")));
    assert!(!capable(&Control { seen: vec![], ..control }, Some(&member("admin", &[])), "acme", None));
}

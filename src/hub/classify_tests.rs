//! The tables of `classify`, status by status, and the property that no accident is ever a verdict.

use proptest::prelude::*;

use super::*;
use crate::exchange::Answer;

const ID: &str = "0123456789abcdef01234567";
const NAMESPACE_TEXT: &str =
    r#"{"error":"You don't have the rights to create a model under the namespace \"acme\""}"#;

fn said(status: u16, content_type: &str, body: &str) -> Result<Answer, Failure> {
    Ok(Answer { status, content_type: content_type.into(), body: body.into(), ..Answer::default() })
}

fn json_said(status: u16, body: &str) -> Result<Answer, Failure> {
    said(status, "application/json", body)
}

fn heard(outcome: &Result<Answer, Failure>) -> CreateHeard {
    create(outcome, "acme", "canary", &[])
}

fn refused(why: UnknownReason) -> CreateHeard {
    CreateHeard::Refused(Access::Undetermined(why))
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table, one line an answer")]
fn every_answer_to_a_creation() {
    use CreateHeard::Ambiguous;
    use UnknownReason::*;
    let created = CreateHeard::Created { id: ID.into() };
    let table: Vec<(&str, Result<Answer, Failure>, CreateHeard)> = vec![
        (
            "granted",
            json_said(200, &format!(r#"{{"url":"u","name":"acme/canary","id":"{ID}"}}"#)),
            created.clone(),
        ),
        ("granted, bare name", json_said(201, &format!(r#"{{"name":"canary","id":"{ID}"}}"#)), created),
        (
            "another name",
            json_said(200, &format!(r#"{{"name":"acme/other","id":"{ID}"}}"#)),
            Ambiguous(Unrecognized),
        ),
        ("no id", json_said(200, r#"{"name":"acme/canary"}"#), Ambiguous(Unrecognized)),
        ("odd id", json_said(200, r#"{"name":"acme/canary","id":"x"}"#), Ambiguous(Unrecognized)),
        ("200 with an error", json_said(200, r#"{"error":"rate limit"}"#), Ambiguous(Unrecognized)),
        ("captive portal", said(200, "text/html", "<html>"), Ambiguous(Unrecognized)),
        ("refused", json_said(403, NAMESPACE_TEXT), CreateHeard::Refused(Access::Denied(DenyReason::Scope))),
        (
            "new refusal",
            json_said(403, r#"{"error":"new"}"#),
            CreateHeard::Refused(Access::Denied(DenyReason::Other)),
        ),
        ("edge 403", said(403, "text/html", "<html>"), Ambiguous(Unrecognized)),
        ("403 of a proxy", said(403, "text/plain", "blocked"), Ambiguous(Unrecognized)),
        ("dead token", json_said(401, r#"{"error":"Invalid username or password."}"#), refused(TokenInvalid)),
        ("dead token, text", said(401, "text/plain", "Invalid username or password."), refused(TokenInvalid)),
        ("401 of a portal", said(401, "text/html", "<html>"), Ambiguous(Unrecognized)),
        ("402", json_said(402, r#"{"error":"PRO"}"#), refused(Billing)),
        ("402 page", said(402, "text/html", "<html>"), Ambiguous(Billing)),
        ("400", json_said(400, r#"{"error":"Only regular characters"}"#), refused(Unrecognized)),
        ("400 exists", json_said(400, r#"{"error":"Repo already exists"}"#), Ambiguous(Conflict)),
        ("group", json_said(400, r#"{"error":"Resource group not found"}"#), refused(TargetMissing)),
        ("404", json_said(404, r#"{"error":"not found"}"#), refused(TargetMissing)),
        ("404 page", said(404, "text/html", "<html>"), Ambiguous(Unrecognized)),
        ("405", said(405, "text/html", "captcha"), Ambiguous(Unrecognized)),
        (
            "lock",
            json_said(409, r#"{"error":"Cannot create repo: another conflicting operation is in progress"}"#),
            refused(Conflict),
        ),
        (
            "taken",
            json_said(409, r#"{"error":"You already created this model repo","url":"u"}"#),
            Ambiguous(Conflict),
        ),
        ("429", json_said(429, r#"{"error":"slow"}"#), refused(RateLimited)),
        ("429 page", said(429, "text/html", "<html>"), refused(RateLimited)),
        (
            "cap",
            json_said(
                429,
                r#"{"error":"You have exceeded the rate limit for repository creation (300 per day)."}"#,
            ),
            refused(CreationCap),
        ),
        ("500", json_said(500, r#"{"error":"oops"}"#), Ambiguous(HubError)),
        ("502", said(502, "text/html", "<html>"), Ambiguous(HubError)),
        ("503", json_said(503, "{}"), Ambiguous(HubError)),
        ("504", json_said(504, "{}"), Ambiguous(HubError)),
        ("moved", said(307, "text/plain", ""), Ambiguous(Unrecognized)),
        ("timeout", Err(Failure::Timeout), Ambiguous(Timeout)),
        ("lost", Err(Failure::Lost), Ambiguous(Network)),
        ("oversized", Err(Failure::Oversized), Ambiguous(Unrecognized)),
        ("unsent", Err(Failure::Unsent), refused(Network)),
        ("read only", Err(Failure::ReadOnly), refused(ReadOnly)),
        ("no secret", Err(Failure::NoSecret), refused(TokenInvalid)),
    ];
    for (name, outcome, wanted) in table {
        assert_eq!(heard(&outcome), wanted, "{name}");
    }
}

#[test]
fn every_answer_to_an_auth_check() {
    use UnknownReason::*;
    let denied = Access::Denied;
    let unknown = Access::Undetermined;
    let missing = Answer {
        status: 404,
        content_type: "application/json".into(),
        error_code: Some("RepoNotFound".into()),
        body: r#"{"error":"Repository not found"}"#.into(),
        ..Answer::default()
    };
    let guard = r#"{"error":"You have read access but not the required permissions for this operation"}"#;
    let table: Vec<(&str, Result<Answer, Failure>, Access)> = vec![
        ("OK", said(200, "text/plain", "OK"), Access::Allowed),
        ("quoted", json_said(200, "\"OK\""), Access::Allowed),
        ("empty", said(200, "", ""), Access::Allowed),
        ("empty object", json_said(200, "{}"), unknown(Unrecognized)),
        ("portal", said(200, "text/html", "OK"), unknown(Unrecognized)),
        ("error in 200", json_said(200, r#"{"error":"no"}"#), unknown(Unrecognized)),
        ("another shape", json_said(200, r#"{"hello":1}"#), unknown(Unrecognized)),
        ("a list", json_said(200, "[]"), unknown(Unrecognized)),
        ("guard", json_said(403, guard), denied(DenyReason::Scope)),
        ("edge", said(403, "text/html", "no"), unknown(Unrecognized)),
        ("hidden", Ok(missing.clone()), denied(DenyReason::Hidden)),
        ("route gone", json_said(404, r#"{"error":"Cannot GET"}"#), unknown(Unrecognized)),
        ("page 404", said(404, "text/html", "no"), unknown(Unrecognized)),
        ("dead", json_said(401, r#"{"error":"Invalid username or password."}"#), unknown(TokenInvalid)),
        (
            "disabled",
            json_said(403, r#"{"error":"Access to this resource is disabled."}"#),
            unknown(TargetMissing),
        ),
        ("402", json_said(402, "{}"), unknown(Billing)),
        ("409", json_said(409, "{}"), unknown(Conflict)),
        ("429", json_said(429, "{}"), unknown(RateLimited)),
        ("500", json_said(500, "{}"), unknown(HubError)),
        ("302", said(302, "", ""), unknown(Unrecognized)),
        ("timeout", Err(Failure::Timeout), unknown(Timeout)),
        ("lost", Err(Failure::Lost), unknown(Network)),
    ];
    for (name, outcome, wanted) in table {
        assert_eq!(auth_check(&outcome, &[]), wanted, "{name}");
    }
}

proptest! {
    #[test]
    fn no_accident_is_a_verdict(
        status in prop_oneof![Just(402u16), Just(405), Just(408), Just(429), 300u16..400, 500u16..600],
        kind in prop_oneof![Just("application/json"), Just("text/html"), Just("text/plain"), Just("")],
        body in prop_oneof![".*", Just(NAMESPACE_TEXT.to_owned()), Just("OK".to_owned())],
    ) {
        let outcome = said(status, kind, &body);
        prop_assert!(auth_check(&outcome, &[]).conclusive().is_none());
        prop_assert!(heard(&outcome).access().conclusive().is_none());
    }

    #[test]
    fn every_status_has_an_answer(status in 0u16..=999, kind in ".{0,20}", body in ".{0,80}") {
        let outcome = said(status, &kind, &body);
        let granted = matches!(heard(&outcome), CreateHeard::Created { .. });
        prop_assert!(!granted, "a random body is never a creation");
        let read = auth_check(&outcome, &[]);
        prop_assert!(read != Access::Allowed || (200..300).contains(&status));
    }
}

//! The tables of `classify`, status by status, and the property that no accident is ever a verdict.

use proptest::prelude::*;

use super::*;
use crate::access::{DenyReason, Permission, Target};
use crate::hub::probes::{Asked, Row, row_of};

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

fn auth_check(outcome: &Result<Answer, Failure>) -> Access {
    row_of(Permission::RepoWrite).expect("a row").read(outcome, by_bob("acme"), &[])
}

/// The organization as a whole, by bob.
fn by_bob(organization: &str) -> Asked<'_> {
    Asked { organization, target: &Target::Whole, user: Some("bob") }
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
        (
            "a name twice",
            json_said(200, &format!(r#"{{"name":"acme/other","name":"acme/canary","id":"{ID}"}}"#)),
            Ambiguous(Unrecognized),
        ),
        (
            "refused twice",
            json_said(403, r#"{"error":"no","error":"You don't have the required permissions"}"#),
            Ambiguous(Unrecognized),
        ),
        ("captive portal", said(200, "text/html", "<html>"), Ambiguous(Unrecognized)),
        ("refused", json_said(403, NAMESPACE_TEXT), CreateHeard::Refused(Access::Denied(DenyReason::Scope))),
        (
            "refused in another namespace",
            json_said(403, &NAMESPACE_TEXT.replace("acme", "acme-labs")),
            Ambiguous(Unrecognized),
        ),
        (
            "refused in another case",
            json_said(403, &NAMESPACE_TEXT.replace("acme", "ACME")),
            Ambiguous(Unrecognized),
        ),
        (
            "refused, as it was said of old",
            json_said(403, r#"{"error":"You don't have the rights to create a model under this namespace"}"#),
            CreateHeard::Refused(Access::Denied(DenyReason::Scope)),
        ),
        (
            "made elsewhere",
            json_said(200, &format!(r#"{{"url":"https://hub/other/canary","name":"canary","id":"{ID}"}}"#)),
            Ambiguous(Unrecognized),
        ),
        (
            "taken elsewhere",
            json_said(
                409,
                r#"{"error":"You already created this model repo","url":"https://hub/other/canary"}"#,
            ),
            Ambiguous(Unrecognized),
        ),
        (
            "taken, of an address of its own kind",
            json_said(409, r#"{"error":"You already created it","url":"https://hub/datasets/acme/canary"}"#),
            Ambiguous(Conflict),
        ),
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
        ("empty", said(200, "", ""), unknown(Unrecognized)),
        ("no content", said(204, "", ""), unknown(Unrecognized)),
        ("empty object", json_said(200, "{}"), unknown(Unrecognized)),
        ("portal", said(200, "text/html", "OK"), unknown(Unrecognized)),
        ("error in 200", json_said(200, r#"{"error":"no"}"#), unknown(Unrecognized)),
        ("another shape", json_said(200, r#"{"hello":1}"#), unknown(Unrecognized)),
        ("guard twice", json_said(403, &guard.replace('{', r#"{"error":"x","#)), unknown(Unrecognized)),
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
        assert_eq!(auth_check(&outcome), wanted, "{name}");
    }
}

#[test]
fn every_answer_to_a_creation_on_what_exists() {
    type Row = (&'static str, Result<Answer, Failure>, Result<Access, Access>);
    let sentinel: RepoName = "acme/known".parse().expect("a name");
    let unknown = |why| Ok(Access::Undetermined(why));
    let conflict = || unknown(UnknownReason::Conflict);
    let created = format!(r#"{{"name":"acme/known","id":"{ID}"}}"#);
    let lock = r#"{"error":"Cannot create repo: another conflicting operation is in progress"}"#;
    let table: Vec<Row> = vec![
        ("exists", json_said(409, r#"{"error":"You already created this model repo"}"#), Ok(Access::Allowed)),
        (
            "its address",
            json_said(409, r#"{"error":"No","url":"https://hub/acme/known"}"#),
            Ok(Access::Allowed),
        ),
        (
            "another's",
            json_said(409, r#"{"error":"No","url":"https://hub/acme/other"}"#),
            unknown(UnknownReason::Unrecognized),
        ),
        (
            "another's, in known words",
            json_said(
                409,
                r#"{"error":"You already created this model repo","url":"https://hub/other/known"}"#,
            ),
            unknown(UnknownReason::Unrecognized),
        ),
        (
            "refused in another namespace",
            json_said(403, &NAMESPACE_TEXT.replace("acme", "other")),
            unknown(UnknownReason::Unrecognized),
        ),
        ("lock", json_said(409, lock), conflict()),
        ("odd", json_said(409, r#"{"error":"No"}"#), conflict()),
        ("page", said(409, "text/html", "already exists"), conflict()),
        ("clone", json_said(400, r#"{"error":"It already exists"}"#), conflict()),
        ("refused", json_said(403, NAMESPACE_TEXT), Ok(Access::Denied(DenyReason::Scope))),
        ("created", json_said(200, &created), Err(Access::Allowed)),
        ("portal", said(200, "text/html", "<html>"), unknown(UnknownReason::Unrecognized)),
        ("billing", json_said(402, r#"{"error":"PRO"}"#), unknown(UnknownReason::Billing)),
        ("window", json_said(429, "{}"), unknown(UnknownReason::RateLimited)),
        ("timeout", Err(Failure::Timeout), unknown(UnknownReason::Timeout)),
    ];
    for (name, outcome, wanted) in table {
        assert_eq!(create_on_existing(&outcome, &sentinel, &[]).1, wanted, "{name}");
    }
}

#[test]
fn a_documented_field_of_another_kind_describes_nothing() {
    let rows: Vec<&Row> = Permission::ALL.iter().filter_map(|p| row_of(*p)).collect();
    let hollow = [
        r#"[{"user":null}]"#,
        r#"[{"user":"bob"},{"user":null}]"#,
        r#"[{"visibility":null}]"#,
        r#"[{"type":null}]"#,
        r#"[{"id":null}]"#,
        r#"[{"id":0}]"#,
        r#"{"usage":null}"#,
        r#"{"usage":false}"#,
        r#"{"enforceIpRestriction":null}"#,
        r#"{"namespace":{"name":null},"user":{"name":"bob"}}"#,
        r#"{"namespace":null,"user":{"name":"bob"}}"#,
    ];
    for (body, row) in hollow.iter().flat_map(|body| rows.iter().map(move |row| (body, row))) {
        let found = row.read(&json_said(200, body), by_bob("acme"), &[]);
        assert_eq!(found, Access::Undetermined(UnknownReason::Unrecognized), "{} and {body}", row.permission);
    }
}

#[test]
fn every_probe_grants_its_own_shape_and_no_other() {
    let place = r#"{"namespace":{"id":"1","name":"acme"},"user":{"id":"2","name":"bob"}}"#;
    let shapes: Vec<(&str, &[Permission])> = vec![
        ("\"OK\"", &[Permission::RepoRead, Permission::RepoWrite]),
        (
            place,
            &[
                Permission::JobRead,
                Permission::JobWrite,
                Permission::EndpointRead,
                Permission::EndpointWrite,
                Permission::EndpointInfer,
            ],
        ),
        (r#"[{"user":"bob","role":"read"}]"#, &[Permission::OrgMembers, Permission::OrgServiceAccounts]),
        (r#"[{"visibility":"private"}]"#, &[Permission::OrgRepositories]),
        (r#"[{"type":"repo.create"}]"#, &[Permission::OrgAuditLog]),
        (r#"[{"id":"0"}]"#, &[Permission::OrgResourceGroups, Permission::UserWebhooks]),
        (r#"{"usage":{}}"#, &[Permission::OrgBilling, Permission::UserBilling]),
        (r#"{"enforceIpRestriction":false}"#, &[Permission::OrgNetworkSecurity]),
    ];
    let rows: Vec<&Row> = Permission::ALL.iter().filter_map(|p| row_of(*p)).collect();
    for (body, of) in &shapes {
        for row in &rows {
            let wanted = of.contains(&row.permission);
            let found = row.read(&json_said(200, body), by_bob("acme"), &[]);
            assert_eq!(found == Access::Allowed, wanted, "{} and {body}", row.permission);
        }
    }
    let unrecognized = Access::Undetermined(UnknownReason::Unrecognized);
    for row in &rows {
        let hidden = Answer {
            status: 404,
            content_type: "application/json".into(),
            error_code: Some("RepoNotFound".into()),
            body: r#"{"error":"Repository not found"}"#.into(),
            ..Answer::default()
        };
        let about_repo = matches!(row.permission, Permission::RepoRead | Permission::RepoWrite);
        let found = row.read(&Ok(hidden), by_bob("acme"), &[]);
        assert_eq!(found == Access::Denied(DenyReason::Hidden), about_repo, "{}", row.permission);
        let own = if row.permission.as_str().starts_with("user.") { "bob" } else { "acme" };
        let missing = format!(
            r#"{{"error":"You don't have the required permissions to complete this action on namespace {own}, missing permissions: job.write."}}"#
        );
        assert_eq!(
            row.read(&json_said(403, &missing), by_bob("acme"), &[]),
            Access::Denied(DenyReason::Scope)
        );
        let elsewhere = missing.replace(own, "other");
        assert_eq!(row.read(&json_said(403, &elsewhere), by_bob("acme"), &[]), unrecognized, "{elsewhere}");
        for body in ["<html>", "{}", r#"{"error":"x"}"#, "null", "17", "[17]", ""] {
            assert_ne!(row.read(&json_said(200, body), by_bob("acme"), &[]), Access::Allowed, "{body}");
        }
        let limited =
            r#"{"namespace":{"name":"acme"},"user":{"name":"bob"},"patternRestrictions":["gpt2-*"]}"#;
        let endpoint = row.permission.as_str().starts_with("endpoint.");
        assert_eq!(row.read(&json_said(207, limited), by_bob("acme"), &[]) == Access::Allowed, endpoint);
        assert_ne!(row.read(&json_said(207, place), by_bob("acme"), &[]), Access::Allowed);
        for other in [by_bob("other"), by_bob("Acme"), Asked { user: Some("Bob"), ..by_bob("acme") }] {
            assert_ne!(row.read(&json_said(200, place), other, &[]), Access::Allowed, "{other:?}");
        }
        let unknown_user = Asked { user: None, ..by_bob("acme") };
        let found = row.read(&json_said(200, place), unknown_user, &[]);
        assert_eq!(found, row.read(&json_said(200, place), by_bob("acme"), &[]), "whose it is is not known");
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
        prop_assert!(auth_check(&outcome).conclusive().is_none());
        prop_assert!(heard(&outcome).access().conclusive().is_none());
    }

    #[test]
    fn every_status_has_an_answer(status in 0u16..=999, kind in ".{0,20}", body in ".{0,80}") {
        let outcome = said(status, &kind, &body);
        let granted = matches!(heard(&outcome), CreateHeard::Created { .. });
        prop_assert!(!granted, "a random body is never a creation");
        let read = auth_check(&outcome);
        prop_assert!(read != Access::Allowed || (200..300).contains(&status));
    }
}

#[test]
fn an_id_is_four_and_twenty_hexadecimal_digits_and_nothing_else() {
    let id = "0123456789abcdefABCDEF00";
    assert!(is_object_id(id));
    for other in [
        "",
        "0123456789abcdefABCDEF0",
        "0123456789abcdefABCDEF000",
        "0123456789abcdefABCDEFg0",
        "two words that are not one",
    ] {
        assert!(!is_object_id(other), "{other}");
    }
}

//! Answers that decide: creating, deleting, the read-only probes. A grant needs the shape of one, a denial the
//! Hub's own envelope on a status that refuses; nothing else is ever a verdict, and only what the Hub itself
//! refused is over.

use crate::access::{Access, DenyReason, Expected, RepoName, Target, Verdict};
use crate::compare::compare;
use crate::exchange::{Answer, Failure};
use crate::hub::classify::{self, CreateHeard, CreateRow, DeleteRow};
use crate::hub::probes::{self, Asked, ProbeRow};
use crate::intent::DeleteOutcome;

use super::wire::{self, in_envelope, is_success, object};

type Outcome = Result<Answer, Failure>;

const NAMESPACE: &str = "acme";
const WANTED: &str = "canary";

/// Statuses on which the Hub refuses to create, each of them final where it is the Hub that says so.
const FINAL: [u16; 8] = [400, 401, 402, 403, 404, 409, 422, 429];

pub(super) fn create(bytes: &[u8]) {
    create_by(bytes, classify::create_row);
}

/// The rules of creating, over whatever reads the answer.
pub(super) fn create_by(
    bytes: &[u8],
    reader: impl Fn(&Outcome, &str, &str, &[String]) -> (CreateRow, CreateHeard),
) {
    for said in wire::read(bytes) {
        let outcome = said.outcome();
        let (_, heard) = reader(&outcome, NAMESPACE, WANTED, &said.restrictions);
        hold_access(&outcome, heard.access());
        match (&heard, &outcome) {
            (CreateHeard::Created { id }, Ok(answer)) => {
                let body = object(answer);
                let text =
                    |field: &str| body.as_ref().and_then(|b| b.get(field)?.as_str()).unwrap_or_default();
                assert!(is_success(&outcome), "created by status {}", answer.status);
                assert_eq!(text("id"), id, "an id that the answer does not give");
                assert!(id.len() == 24 && id.chars().all(|c| c.is_ascii_hexdigit()), "the id {id:?}");
                assert!([WANTED, "acme/canary"].contains(&text("name")), "another name");
            }
            (CreateHeard::Created { .. }, Err(_)) => unreachable!("created without an answer"),
            (CreateHeard::Refused(access), Ok(answer)) => {
                let (status, own) = (answer.status, in_envelope(answer));
                assert_ne!(*access, Access::Allowed, "refused and allowed");
                assert!(FINAL.contains(&status), "{status} is no refusal");
                assert!(own || matches!(status, 401 | 429), "{status} outside the Hub's envelope is over");
                assert!(status != 401 || answer.content_type != "text/html", "a page in between says 401");
            }
            (CreateHeard::Refused(_), Err(failure)) => {
                assert!(failure.unsent(), "{failure} may have arrived")
            }
            (CreateHeard::Ambiguous(_), outcome) => {
                let sent = outcome.as_ref().err().is_none_or(|failure| !failure.unsent());
                assert!(sent, "what never left created nothing");
            }
        }
        on_existing(&outcome, &said.restrictions);
    }
}

/// Creating on a name that exists: allowed is said by a conflict about that name alone.
fn on_existing(outcome: &Outcome, restrictions: &[String]) {
    let sentinel = RepoName { namespace: NAMESPACE.to_owned(), name: WANTED.to_owned() };
    match (classify::create_on_existing(outcome, &sentinel, restrictions).1, outcome) {
        (Ok(Access::Allowed), Ok(answer)) => {
            assert!(answer.status == 409 && in_envelope(answer), "allowed by {}", answer.status);
        }
        (Ok(Access::Allowed) | Err(_), Err(_)) => unreachable!("an answer that never came"),
        (Ok(access), _) => hold_access(outcome, access),
        (Err(_), _) => assert!(is_success(outcome), "created without a success"),
    }
}

/// No verdict but by the answers that may give one.
fn hold_access(outcome: &Outcome, access: Access) {
    match (access, outcome) {
        (Access::Undetermined(_), _) => {}
        (_, Err(failure)) => unreachable!("{access:?} of {failure}"),
        (Access::Allowed, Ok(answer)) => assert!(is_success(outcome), "allowed by {}", answer.status),
        (Access::Denied(why), Ok(answer)) => {
            let hidden = why == DenyReason::Hidden;
            assert_eq!(answer.status, if hidden { 404 } else { 403 }, "denied: {why}");
            assert!(in_envelope(answer), "denied outside the Hub's envelope");
        }
    }
    for expected in Expected::ALL {
        let unknown = matches!(access, Access::Undetermined(_));
        assert_eq!(compare(*expected, access) == Verdict::Unknown, unknown);
    }
}

pub(super) fn delete(bytes: &[u8]) {
    for said in wire::read(bytes) {
        let outcome = said.outcome();
        let (row, read) = classify::delete(&outcome);
        assert_ne!(read, DeleteOutcome::Pending, "an answer settles the attempt");
        match &outcome {
            Err(failure) => assert_eq!(read == DeleteOutcome::Unsent, failure.unsent(), "{failure}"),
            Ok(answer) => {
                let (status, own) = (answer.status, in_envelope(answer));
                assert_eq!(row == DeleteRow::Redirected, (300..=399).contains(&status));
                assert_ne!(read, DeleteOutcome::Unsent);
                match read {
                    DeleteOutcome::Acknowledged => {
                        assert!(is_success(&outcome) && !own && answer.content_type != "text/html");
                    }
                    // Over: a second DELETE may leave at once, so that only the Hub's own word counts.
                    DeleteOutcome::Refused => assert!(own && matches!(status, 403 | 404), "{status}"),
                    DeleteOutcome::Unauthenticated => assert!(own && status == 401, "{status}"),
                    _ => {}
                }
            }
        }
    }
}

pub(super) fn probes(bytes: &[u8]) {
    let asked = Asked { organization: NAMESPACE, target: &Target::Whole, user: None };
    for said in wire::read(bytes) {
        let outcome = said.outcome();
        for row in probes::ROWS {
            let (decided, access) = row.read_row(&outcome, asked, &said.restrictions);
            hold_access(&outcome, access);
            let about_repo = row.permission.as_str().starts_with("repo.");
            assert!(about_repo || access != Access::Denied(DenyReason::Hidden), "{}", row.permission);
            assert_eq!(decided == ProbeRow::Granted, access == Access::Allowed);
            if let (Access::Allowed, Ok(answer)) = (access, &outcome) {
                assert!(!in_envelope(answer), "allowed by an error: {}", row.permission);
                assert!(!answer.body.trim().is_empty(), "allowed by nothing: {}", row.permission);
                assert!(answer.content_type != "text/html", "allowed by a page: {}", row.permission);
            }
        }
        let _ = probes::shows_roles(&outcome);
    }
}

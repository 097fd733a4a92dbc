//! One table for every status: what an answer, or its absence, means for a creation, and for a deletion.
//!
//! Only two things are ever a verdict: the shape that the Hub gives when it grants, and a refusal in its own
//! envelope. Everything else is undetermined, with a reason. A denial that comes out of here is half of the
//! truth: it counts only together with its control. Each row of a table has its name, so that a test can ask
//! for an answer of each; the read-only questions are in `probes`.

use serde_json::Value;

use crate::access::{Access, RepoName, UnknownReason, words};
use crate::exchange::{Answer, Failure};
use crate::intent::DeleteOutcome;

use super::answers::{
    Object, Refusal, addresses_another, described, envelope, is_action_cap, json, of_failure, of_status,
    refusal, repo_not_found, unreadable,
};

/// What the answer to a creation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateHeard {
    /// Granted, under this id: the repository exists.
    Created { id: String },
    /// Over, by the Hub's own word, or provably never sent: nothing was created.
    Refused(Access),
    /// It may have been created.
    Ambiguous(UnknownReason),
}

impl CreateHeard {
    /// The answer to the check, before its control.
    pub fn access(&self) -> Access {
        match self {
            CreateHeard::Created { .. } => Access::Allowed,
            CreateHeard::Refused(access) => *access,
            CreateHeard::Ambiguous(why) => Access::Undetermined(*why),
        }
    }
}

words! {
    /// The rows of the table of answers to a creation.
    CreateRow {
        Granted = "granted",
        /// A success without the documented shape, or of another name.
        OddSuccess = "odd-success",
        /// The hidden cap on creating.
        Cap = "cap",
        /// The request window.
        Window = "window",
        /// A refusal or a conflict that names another namespace or repository: it says nothing of ours.
        Another = "another",
        Refused = "refused",
        Disabled = "disabled",
        TokenInvalid = "token-invalid",
        Billing = "billing",
        /// The create lock of the user.
        Lock = "lock",
        /// The name is taken.
        Taken = "taken",
        /// Clones say it with 400.
        TakenByClone = "taken-by-clone",
        GroupMissing = "group-missing",
        Invalid = "invalid",
        NotFound = "not-found",
        /// Not in the Hub's envelope, a redirect, or a failure of its own.
        Odd = "odd",
        /// Not one byte was sent.
        Unsent = "unsent",
        /// Sent, perhaps, and no answer.
        Unanswered = "unanswered",
    }
}

/// The answer to `POST /api/repos/create` for the name `wanted` in `namespace`.
pub fn create(
    outcome: &Result<Answer, Failure>,
    namespace: &str,
    wanted: &str,
    restrictions: &[String],
) -> CreateHeard {
    create_row(outcome, namespace, wanted, restrictions).1
}

/// The same, with the row that decided.
pub fn create_row(
    outcome: &Result<Answer, Failure>,
    namespace: &str,
    wanted: &str,
    restrictions: &[String],
) -> (CreateRow, CreateHeard) {
    let refused = |why| CreateHeard::Refused(Access::Undetermined(why));
    let answer = match outcome {
        Err(failure) if failure.unsent() => return (CreateRow::Unsent, refused(of_failure(*failure))),
        Err(failure) => return (CreateRow::Unanswered, CreateHeard::Ambiguous(of_failure(*failure))),
        Ok(answer) => answer,
    };
    let text = envelope(answer);
    let repo = RepoName { namespace: namespace.to_owned(), name: wanted.to_owned() };
    let object = Object { namespace: Some(namespace), repo: None };
    let another = (CreateRow::Another, CreateHeard::Ambiguous(UnknownReason::Unrecognized));
    match (answer.status, text) {
        (403, Some(text)) if object.is_not_in(&text) => another,
        (400 | 409, _) if addresses_another(answer, &repo) => another,
        (200..=299, _) => match created_id(answer, namespace, wanted) {
            Some(id) => (CreateRow::Granted, CreateHeard::Created { id }),
            None => (CreateRow::OddSuccess, CreateHeard::Ambiguous(UnknownReason::Unrecognized)),
        },
        (429, _) if is_action_cap(answer) => (CreateRow::Cap, refused(UnknownReason::CreationCap)),
        (429, _) => (CreateRow::Window, refused(UnknownReason::RateLimited)),
        (403, Some(text)) => match refusal(&text, restrictions) {
            Refusal::Denied(why) => (CreateRow::Refused, CreateHeard::Refused(Access::Denied(why))),
            Refusal::Disabled => (CreateRow::Disabled, refused(UnknownReason::TargetMissing)),
        },
        (401, text) if text.is_some() || answer.content_type != "text/html" => {
            (CreateRow::TokenInvalid, refused(UnknownReason::TokenInvalid))
        }
        (402, Some(_)) => (CreateRow::Billing, refused(UnknownReason::Billing)),
        (409, Some(text)) if text.contains(LOCKED) => (CreateRow::Lock, refused(UnknownReason::Conflict)),
        // Any other 409 says that the name is taken; ours is unguessable, so it may well be our own.
        (409, _) => (CreateRow::Taken, CreateHeard::Ambiguous(UnknownReason::Conflict)),
        (400, Some(text)) if text.to_ascii_lowercase().contains("exist") => {
            (CreateRow::TakenByClone, CreateHeard::Ambiguous(UnknownReason::Conflict))
        }
        (400 | 404 | 422, Some(text)) if text.to_ascii_lowercase().contains("resource group") => {
            (CreateRow::GroupMissing, refused(UnknownReason::TargetMissing))
        }
        (400 | 422, Some(_)) => (CreateRow::Invalid, refused(UnknownReason::Unrecognized)),
        (404, Some(_)) => (CreateRow::NotFound, refused(UnknownReason::TargetMissing)),
        _ => (CreateRow::Odd, CreateHeard::Ambiguous(of_status(answer))),
    }
}

/// The user's create lock is taken (huggingface_hub, `create_repo`).
const LOCKED: &str = "another conflicting operation is in progress";

/// The id in the answer of a creation, if the answer has the documented shape and names what was asked for. The
/// name may or may not carry the namespace.
fn created_id(answer: &Answer, namespace: &str, wanted: &str) -> Option<String> {
    let body = described(answer)?;
    let name = body.get("name").and_then(Value::as_str)?;
    let full = format!("{namespace}/{wanted}");
    let id = body.get("id").and_then(Value::as_str)?;
    let repo = RepoName { namespace: namespace.to_owned(), name: wanted.to_owned() };
    (name == wanted || name == full).then_some(())?;
    // A bare name is one in any namespace.
    (!addresses_another(answer, &repo)).then_some(())?;
    is_object_id(id).then(|| id.to_owned())
}

/// The Hub's ids: 24 hexadecimal digits (OpenAPI).
pub fn is_object_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

words! {
    /// The rows of the table of answers to a creation on a name that exists.
    SentinelRow {
        /// It exists: so the token may create.
        Exists = "exists",
        Lock = "lock",
        /// A conflict that is neither.
        OddConflict = "odd-conflict",
        Refused = "refused",
        /// It was created after all: somebody had deleted it.
        Created = "created",
        /// As for any creation.
        Other = "other",
    }
}

/// The answer to `POST /api/repos/create` for a name that was just seen to exist. The Hub checks rights before
/// existence (huggingface_hub#2419). `Err`: it was created; nothing of ours may delete it.
pub fn create_on_existing(
    outcome: &Result<Answer, Failure>,
    sentinel: &RepoName,
    restrictions: &[String],
) -> (SentinelRow, Result<Access, Access>) {
    let unknown = |why| Ok(Access::Undetermined(why));
    let (row, heard) = create_row(outcome, &sentinel.namespace, &sentinel.name, restrictions);
    match (row, &heard) {
        (CreateRow::Granted, _) => (SentinelRow::Created, Err(Access::Allowed)),
        (CreateRow::Lock, _) => (SentinelRow::Lock, unknown(UnknownReason::Conflict)),
        (CreateRow::Taken, _) if outcome.as_ref().is_ok_and(|answer| says_exists(answer, sentinel)) => {
            (SentinelRow::Exists, Ok(Access::Allowed))
        }
        (CreateRow::Taken | CreateRow::TakenByClone, _) => {
            (SentinelRow::OddConflict, unknown(UnknownReason::Conflict))
        }
        (CreateRow::Refused, heard) => (SentinelRow::Refused, Ok(heard.access())),
        (_, heard) => (SentinelRow::Other, Ok(heard.access())),
    }
}

/// The texts that are known (issues of the official client), or the documented shape: an error, and the address
/// of what exists.
fn says_exists(answer: &Answer, sentinel: &RepoName) -> bool {
    let said = envelope(answer).unwrap_or_default().to_ascii_lowercase();
    let address = json(answer).and_then(|body| Some(body.get("url")?.as_str()?.to_owned()));
    let its_own = address.is_some_and(|url| url.ends_with(&format!("/{sentinel}")));
    said.contains("already created") || said.contains("already exist") || (!said.is_empty() && its_own)
}

words! {
    /// The rows of the table of answers to a deletion.
    DeleteRow {
        Acknowledged = "acknowledged",
        /// A success in the envelope of an error, one that cannot be read, or a page of something in between.
        OddSuccess = "odd-success",
        /// "Repository not found": gone, or hidden from this token.
        NotFound = "not-found",
        Refused = "refused",
        Unauthenticated = "unauthenticated",
        /// Somebody renamed or moved it.
        Redirected = "redirected",
        /// Nothing of the above.
        Odd = "odd",
        /// Not one byte was sent.
        Unsent = "unsent",
        /// Sent, perhaps, and no answer.
        Unanswered = "unanswered",
    }
}

/// The answer to `DELETE /api/repos/delete`. Only the Hub's own word says that it is over.
pub fn delete(outcome: &Result<Answer, Failure>) -> (DeleteRow, DeleteOutcome) {
    let answer = match outcome {
        Err(failure) if failure.unsent() => return (DeleteRow::Unsent, DeleteOutcome::Unsent),
        Err(_) => return (DeleteRow::Unanswered, DeleteOutcome::Lost),
        Ok(answer) => answer,
    };
    match (answer.status, envelope(answer)) {
        (200..=299, None) if answer.content_type != "text/html" && !unreadable(answer) && !errs(answer) => {
            (DeleteRow::Acknowledged, DeleteOutcome::Acknowledged)
        }
        (200..=299, _) => (DeleteRow::OddSuccess, DeleteOutcome::Lost),
        (300..=399, _) => (DeleteRow::Redirected, DeleteOutcome::Lost),
        (404, Some(_)) if repo_not_found(answer) => (DeleteRow::NotFound, DeleteOutcome::Refused),
        (403 | 404, Some(_)) => (DeleteRow::Refused, DeleteOutcome::Refused),
        (401, Some(_)) => (DeleteRow::Unauthenticated, DeleteOutcome::Unauthenticated),
        _ => (DeleteRow::Odd, DeleteOutcome::Lost),
    }
}

/// Whether the body is an object that tells of an error in a form that is not the Hub's.
fn errs(answer: &Answer) -> bool {
    json(answer).is_some_and(|body| body.is_object()) && described(answer).is_none()
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;

//! One table for every status: what an answer, or its absence, means for the question that was asked.
//!
//! Only two things are ever a verdict: the shape that the Hub gives when it grants, and a refusal in its own
//! envelope. Everything else is undetermined, with a reason. A denial that comes out of here is half of the
//! truth: it counts only together with its control.

use serde_json::Value;

use crate::access::{Access, DenyReason, UnknownReason};
use crate::exchange::{Answer, Failure};

use super::answers::{
    Refusal, envelope, is_action_cap, json, of_failure, of_status, refusal, repo_not_found,
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

/// The answer to `POST /api/repos/create` for the name `wanted` in `namespace`.
pub fn create(
    outcome: &Result<Answer, Failure>,
    namespace: &str,
    wanted: &str,
    restrictions: &[String],
) -> CreateHeard {
    let answer = match outcome {
        Err(failure) if failure.unsent() => {
            return CreateHeard::Refused(Access::Undetermined(of_failure(*failure)));
        }
        Err(failure) => return CreateHeard::Ambiguous(of_failure(*failure)),
        Ok(answer) => answer,
    };
    let refused = |why| CreateHeard::Refused(Access::Undetermined(why));
    let text = envelope(answer);
    match (answer.status, text) {
        (200..=299, _) => match created_id(answer, namespace, wanted) {
            Some(id) => CreateHeard::Created { id },
            None => CreateHeard::Ambiguous(UnknownReason::Unrecognized),
        },
        (429, _) if is_action_cap(answer) => refused(UnknownReason::CreationCap),
        (429, _) => refused(UnknownReason::RateLimited),
        (403, Some(text)) => CreateHeard::Refused(match refusal(&text, restrictions) {
            Refusal::Denied(why) => Access::Denied(why),
            Refusal::Disabled => Access::Undetermined(UnknownReason::TargetMissing),
        }),
        (401 | 402, Some(_)) => refused(of_status(answer)),
        (401, None) if answer.content_type != "text/html" => refused(UnknownReason::TokenInvalid),
        (409, Some(text)) if text.contains("another conflicting operation is in progress") => {
            refused(UnknownReason::Conflict)
        }
        // Any other 409 says that the name is taken; ours is unguessable, so it may well be our own.
        (409, _) => CreateHeard::Ambiguous(UnknownReason::Conflict),
        (400, Some(text)) if text.to_ascii_lowercase().contains("exist") => {
            CreateHeard::Ambiguous(UnknownReason::Conflict)
        }
        (400 | 404 | 422, Some(text)) if text.to_ascii_lowercase().contains("resource group") => {
            refused(UnknownReason::TargetMissing)
        }
        (400 | 422, Some(_)) => refused(UnknownReason::Unrecognized),
        (404, Some(_)) => refused(UnknownReason::TargetMissing),
        _ => CreateHeard::Ambiguous(of_status(answer)),
    }
}

/// The id in the answer of a creation, if the answer has the documented shape and names what was asked for. The
/// name may or may not carry the namespace.
fn created_id(answer: &Answer, namespace: &str, wanted: &str) -> Option<String> {
    let body = json(answer)?;
    if body.get("error").is_some() {
        return None;
    }
    let name = body.get("name").and_then(Value::as_str)?;
    let full = format!("{namespace}/{wanted}");
    let id = body.get("id").and_then(Value::as_str)?;
    (name == wanted || name == full).then_some(())?;
    is_object_id(id).then(|| id.to_owned())
}

/// The Hub's ids: 24 hexadecimal digits (OpenAPI).
pub fn is_object_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The answer to an auth-check of a repository.
pub fn auth_check(outcome: &Result<Answer, Failure>, restrictions: &[String]) -> Access {
    read(outcome, restrictions, is_ok_body)
}

/// The answer to any read-only question: granted when the body has the shape that `granted` knows.
pub fn read(
    outcome: &Result<Answer, Failure>,
    restrictions: &[String],
    granted: fn(&Answer) -> bool,
) -> Access {
    let answer = match outcome {
        Err(failure) => return Access::Undetermined(of_failure(*failure)),
        Ok(answer) => answer,
    };
    match (answer.status, envelope(answer)) {
        (200..=299, None) if granted(answer) => Access::Allowed,
        (200..=299, _) => Access::Undetermined(UnknownReason::Unrecognized),
        (403, Some(text)) => match refusal(&text, restrictions) {
            Refusal::Denied(why) => Access::Denied(why),
            Refusal::Disabled => Access::Undetermined(UnknownReason::TargetMissing),
        },
        (404, Some(_)) if repo_not_found(answer) => Access::Denied(DenyReason::Hidden),
        _ => Access::Undetermined(of_status(answer)),
    }
}

/// `OK` is what auth-check says, and the whole of it; some stacks send the status line alone.
fn is_ok_body(answer: &Answer) -> bool {
    let text = answer.body.trim().trim_matches('"');
    answer.content_type != "text/html" && (text.is_empty() || text.eq_ignore_ascii_case("ok"))
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;

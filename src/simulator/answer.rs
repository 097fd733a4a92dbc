//! An answer of the simulated Hub: status, headers, body, and the envelope of its refusals.
//! Knows the Hub's exact texts, each with where it is from; knows nothing of who gets which.
//! Serves every route.

use serde_json::Value;
use serde_json::json;

/// What a route says. A refusal is an answer as well, so routes return `Result<Answer, Answer>`.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

pub(super) type Reply = Result<Answer, Answer>;

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

impl Answer {
    pub(super) fn json(value: &Value) -> Answer {
        Answer { status: 200, headers: Vec::new(), content_type: JSON, body: value.to_string() }
    }

    pub(super) fn text(text: &str) -> Answer {
        Answer { status: 200, headers: Vec::new(), content_type: TEXT, body: text.to_owned() }
    }

    pub(super) fn html(text: &str) -> Answer {
        Answer { content_type: "text/html; charset=utf-8", ..Answer::text(text) }
    }

    /// The Hub's envelope of an error: the same text in the body and in a header.
    pub(super) fn error(status: u16, message: &str) -> Answer {
        let mut answer = Answer::json(&json!({"error": message}));
        answer.status = status;
        answer.with("X-Error-Message", &header_text(message))
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn coded(status: u16, code: &str, message: &str) -> Answer {
        Answer::error(status, message).with("X-Error-Code", code)
    }

    /// Nobody, or a secret that nobody knows. Recorded answers.
    pub(super) fn unauthenticated() -> Answer {
        Answer::unauthorized("Invalid username or password.")
    }

    pub(super) fn unauthorized(message: &str) -> Answer {
        let realm = "Bearer realm=\"Authentication required\", charset=\"UTF-8\"";
        Answer::error(401, message).with("WWW-Authenticate", realm)
    }

    /// What is missing, or must not be known to exist. huggingface_hub tests.
    pub(super) fn repo_not_found() -> Answer {
        Answer::coded(404, "RepoNotFound", "Repository not found")
    }

    pub(super) fn revision_not_found(revision: &str) -> Answer {
        Answer::coded(404, "RevisionNotFound", &format!("Invalid rev id: {revision}"))
    }

    pub(super) fn gated(status: u16, message: &str) -> Answer {
        Answer::coded(status, "GatedRepo", message)
    }

    /// The texts for things other than repositories that are missing are UNCONFIRMED.
    pub(super) fn missing(what: &str) -> Answer {
        Answer::error(404, &format!("{what} not found"))
    }

    /// Text that comes in events; the connection ends after what there is.
    pub(super) fn events(text: &str) -> Answer {
        Answer { content_type: "text/event-stream; charset=utf-8", ..Answer::text(text) }
    }

    /// The text for an address that leads nowhere is UNCONFIRMED.
    pub(super) fn no_such_page() -> Answer {
        Answer::error(404, "Sorry, we can't find the page you are looking for.")
    }

    /// A schema error: the body marks each problem, the header has it in ASCII. Recorded answers.
    pub(super) fn invalid(problem: &str, field: &str) -> Answer {
        let mut answer = Answer::json(&json!({"error": format!("✖ {problem}\n  → at {field}")}));
        answer.status = 400;
        answer.with("X-Error-Message", &format!("* {} * at {field}", header_text(problem)))
    }
}

/// Header values are one ASCII line.
fn header_text(message: &str) -> String {
    message.chars().map(|letter| if letter.is_ascii_graphic() { letter } else { ' ' }).collect()
}

/// The generic refusal on a repository that one can see. Recorded answers.
pub(super) const REPO_GUARD: &str =
    "You have read access but not the required permissions for this operation";

/// Pending and denied alike. Hub docs, enterprise-tokens-management.
pub(super) const NOT_APPROVED: &str = "Due to the organization token policy, your token needs to be approved \
     by the organization before you can access this resource.";

/// Hub docs, security-tokens.
pub(super) const REVOKED: &str = "Your token has been revoked by the organization administrator, you can no \
     longer access organization resources. Please contact them for more information.";

/// The documentation says 403 and gives no text: UNCONFIRMED.
pub(super) const FINE_GRAINED_ONLY: &str = "Due to the organization token policy, only fine-grained tokens \
     can access this resource.";

/// UNCONFIRMED.
pub(super) const NEEDS_SSO: &str = "Access to this resource requires a single sign-on session with the \
     organization.";

/// UNCONFIRMED.
pub(super) const NEEDS_MFA: &str = "Access to this resource requires two-factor authentication.";

/// UNCONFIRMED.
pub(super) const NEEDS_IP: &str = "Access to this resource is not allowed from your IP address.";

/// huggingface_hub issues; billing, not permission.
pub(super) const NEEDS_PRO: &str = "Static Spaces are free for everyone, but hosting Gradio and Docker Spaces \
     on free cpu-basic requires a PRO subscription. Subscribe at https://huggingface.co/pro";

/// The client knows this text and retries at once.
pub(super) const CREATE_LOCK: &str = "Cannot create repo: another conflicting operation is in progress";

/// Recorded answers.
pub(super) const BAD_NAME: &str = "Only regular characters and '-', '_', '.' are accepted. '--' and '..' are \
     forbidden. '-' and '.' cannot start or end the name. The name cannot end with \".git\". Max length is 96.";

/// One text for every cause: token, role, group, or no such namespace.
pub(super) fn no_namespace_rights(kind: &str, namespace: &str) -> String {
    format!("You don't have the rights to create a {kind} under the namespace \"{namespace}\"")
}

/// huggingface_hub tests; comes while the window is not exhausted.
pub(super) fn creation_cap(cap: u64) -> String {
    format!("You have exceeded the rate limit for repository creation ({cap} per day).")
}

/// huggingface_hub knows the text.
pub(super) const DISABLED: &str = "Access to this resource is disabled.";

/// The documentation has the status for resource groups; text, and status elsewhere, are UNCONFIRMED.
pub(super) const NEEDS_PLAN: &str = "This feature requires a paid plan. Please upgrade your organization.";

/// The documentation says "an authorization error"; the text is UNCONFIRMED.
pub(super) const FEATURE_OFF: &str = "This feature is disabled by your organization.";

/// Part of a recorded answer, for inference; that jobs and endpoints say the same is UNCONFIRMED.
pub(super) const SPENT: &str = "You have exceeded your monthly spending limit.";

/// The status is documented, the text is UNCONFIRMED.
pub(super) const NEEDS_PAYMENT: &str = "A valid payment method is required.";

/// Recorded for jobs; that other namespace checks say the same is UNCONFIRMED.
pub(super) fn missing_permission(namespace: &str, permission: &str) -> String {
    format!(
        "You don't have the required permissions to complete this action on namespace {namespace}, missing \
         permissions: {permission}."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stands_in_body_and_header() {
        let answer = Answer::invalid("Invalid input: expected string, received undefined", "name");
        assert!(answer.body.contains("✖ Invalid input: expected string, received undefined\\n  → at name"));
        let header = &answer.headers[0].1;
        assert_eq!(header, "* Invalid input: expected string, received undefined * at name");
        assert!(Answer::repo_not_found().headers.iter().any(|(_, value)| value == "RepoNotFound"));
    }
}

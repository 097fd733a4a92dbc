//! What an answer of the Hub says by itself: its error envelope, its texts, its rate-limit headers.
//!
//! The texts are the Hub's, as recorded in public; a text that is not here is never guessed at.

use std::time::Duration;

use serde_json::Value;

use crate::access::{DenyReason, UnknownReason};
use crate::exchange::{Answer, Failure};

/// The JSON body of an answer that says it is JSON.
pub fn json(answer: &Answer) -> Option<Value> {
    if answer.content_type != "application/json" && !answer.content_type.ends_with("+json") {
        return None;
    }
    serde_json::from_str(&answer.body).ok()
}

/// The error message, if the answer is in the Hub's own envelope: JSON with `error` (text or list), `errors`,
/// or the Hub's error headers. An HTML page of something in between is not.
pub fn envelope(answer: &Answer) -> Option<String> {
    if answer.content_type == "text/html" {
        return None;
    }
    let from_body = json(answer).and_then(|body| match (body.get("error"), body.get("errors")) {
        (Some(Value::String(text)), _) => Some(text.clone()),
        (Some(Value::Array(texts)), _) => {
            Some(texts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "))
        }
        (_, Some(Value::Array(errors))) => Some(
            errors
                .iter()
                .filter_map(|e| e.get("message").and_then(Value::as_str))
                .collect::<Vec<_>>()
                .join("; "),
        ),
        _ => None,
    });
    let from_header =
        || answer.error_message.clone().or_else(|| answer.error_code.as_ref().map(|_| String::new()));
    from_body.or_else(from_header)
}

/// Whether a 404 is the Hub's "Repository not found", which also hides what the token may not see.
pub fn repo_not_found(answer: &Answer) -> bool {
    answer.status == 404
        && envelope(answer).is_some_and(|text| {
            answer.error_code.as_deref() == Some("RepoNotFound")
                || (answer.error_code.is_none() && text.starts_with("Repository not found"))
        })
}

/// Why a 403 in the Hub's envelope refused. `restrictions` are the `securityRestrictions` that whoami shows for
/// the organization with this very token: where the text is generic, they are the documented reason.
pub fn refusal(text: &str, restrictions: &[String]) -> Refusal {
    if text.contains("Access to this resource is disabled") {
        return Refusal::Disabled;
    }
    let known = TEXTS.iter().find(|(fragment, _)| text.contains(fragment)).map(|(_, why)| *why);
    match known {
        Some(why) if !matches!(why, DenyReason::Scope) => Refusal::Denied(why),
        _ => Refusal::Denied(by_restriction(restrictions).or(known).unwrap_or(DenyReason::Other)),
    }
}

/// What a 403 comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The token is refused.
    Denied(DenyReason),
    /// The repository is disabled for everybody, which says nothing of the token.
    Disabled,
}

/// Fragments of refusals that are recorded publicly, and what they mean.
const TEXTS: &[(&str, DenyReason)] = &[
    ("Due to the organization token policy", DenyReason::TokenPolicy),
    ("Your token has been revoked by the organization administrator", DenyReason::TokenRevoked),
    ("spending limit", DenyReason::Billing),
    ("storage limit reached", DenyReason::Billing),
    ("You don't have the rights to create a", DenyReason::Scope),
    ("You have read access but not the required permissions", DenyReason::Scope),
    ("missing permissions:", DenyReason::Scope),
    ("You don't have the required permissions", DenyReason::Scope),
    ("create_pr=1", DenyReason::Scope),
    ("does not have sufficient permissions", DenyReason::Scope),
    ("Please enable access to public gated repositories in your fine-grained token", DenyReason::Scope),
];

fn by_restriction(restrictions: &[String]) -> Option<DenyReason> {
    restrictions.iter().find_map(|word| match word.as_str() {
        "token-policy" => Some(DenyReason::TokenPolicy),
        "token-revoked" => Some(DenyReason::TokenRevoked),
        "sso" => Some(DenyReason::Sso),
        "mfa" => Some(DenyReason::Mfa),
        "ip" => Some(DenyReason::IpRestriction),
        _ => None,
    })
}

/// What a missing answer means for a question.
pub fn of_failure(failure: Failure) -> UnknownReason {
    match failure {
        Failure::Unsent | Failure::Lost | Failure::Stale => UnknownReason::Network,
        Failure::Timeout => UnknownReason::Timeout,
        Failure::Oversized => UnknownReason::Unrecognized,
        Failure::ReadOnly => UnknownReason::ReadOnly,
        Failure::NoSecret => UnknownReason::TokenInvalid,
    }
}

/// What a status that is never a verdict means, whoever asked whatever; the default arm of every table.
pub fn of_status(answer: &Answer) -> UnknownReason {
    match answer.status {
        401 if answer.content_type != "text/html" => UnknownReason::TokenInvalid,
        402 => UnknownReason::Billing,
        409 => UnknownReason::Conflict,
        429 => UnknownReason::RateLimited,
        408 => UnknownReason::Timeout,
        500..=599 => UnknownReason::HubError,
        _ => UnknownReason::Unrecognized,
    }
}

/// The Hub's rate-limit headers: `"api";r=<remaining>;t=<seconds to reset>` and
/// `"fixed window";"api";q=<quota>;w=<window>` (Hub docs, rate-limits). Read leniently: the policy line is not
/// valid structured-field syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimit {
    /// Requests left in the window.
    pub remaining: Option<u32>,
    /// Until the window ends.
    pub reset: Option<Duration>,
    /// Requests per window.
    pub quota: Option<u32>,
    /// Until a retry makes sense, if the Hub said so in seconds; at most a day.
    pub retry_after: Option<Duration>,
}

/// Reads them.
pub fn rate_limit(answer: &Answer) -> RateLimit {
    let number = |line: &Option<String>, key: &str| -> Option<u32> {
        line.as_deref()?
            .split(';')
            .find_map(|part| part.trim().strip_prefix(key)?.strip_prefix('=')?.trim().parse().ok())
    };
    let day = Duration::from_secs(24 * 60 * 60);
    let seconds = |n: u32| Duration::from_secs(u64::from(n)).min(day);
    RateLimit {
        remaining: number(&answer.rate_limit, "r"),
        reset: number(&answer.rate_limit, "t").map(seconds),
        quota: number(&answer.rate_limit_policy, "q"),
        retry_after: answer.retry_after.as_deref().and_then(|text| text.trim().parse().ok()).map(seconds),
    }
}

/// Whether a 429 is the hidden cap on creating rather than the request window: its own text, or a window that
/// is not exhausted (huggingface_hub, tests of the HTTP utilities).
pub fn is_action_cap(answer: &Answer) -> bool {
    answer.status == 429
        && (envelope(answer).is_some_and(|text| text.contains("repository creation"))
            || rate_limit(answer).remaining.is_some_and(|left| left > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> Answer {
        Answer { status, content_type: "application/json".into(), body: body.into(), ..Answer::default() }
    }

    #[test]
    fn only_the_hubs_own_envelope_counts() {
        assert_eq!(envelope(&said(403, r#"{"error":"no"}"#)).as_deref(), Some("no"));
        assert_eq!(envelope(&said(400, r#"{"error":["a","b"]}"#)).as_deref(), Some("a; b"));
        assert_eq!(envelope(&said(400, r#"{"errors":[{"message":"m"}]}"#)).as_deref(), Some("m"));
        assert_eq!(envelope(&said(403, r#"{"message":"no"}"#)), None);
        assert_eq!(envelope(&said(403, "no")), None);
        let page =
            Answer { content_type: "text/html".into(), error_message: Some("x".into()), ..said(403, "<p>") };
        assert_eq!(envelope(&page), None);
        let header =
            Answer { content_type: "text/plain".into(), error_message: Some("x".into()), ..said(403, "x") };
        assert_eq!(envelope(&header).as_deref(), Some("x"));
    }

    #[test]
    fn refusals_are_split_by_text_and_by_restriction() {
        let none: &[String] = &[];
        let table = [
            ("You don't have the rights to create a model under the namespace \"acme\"", DenyReason::Scope),
            (
                "Due to the organization token policy, your token needs to be approved by the organization before you can access this resource.",
                DenyReason::TokenPolicy,
            ),
            (
                "Your token has been revoked by the organization administrator, you can no longer access organization resources.",
                DenyReason::TokenRevoked,
            ),
            ("You have read access but not the required permissions for this operation", DenyReason::Scope),
            ("exceeded your monthly spending limit", DenyReason::Billing),
            (
                "Access to model acme/x is restricted and you are not in the authorized list.",
                DenyReason::Other,
            ),
            ("something new", DenyReason::Other),
        ];
        for (text, why) in table {
            assert_eq!(refusal(text, none), Refusal::Denied(why), "{text}");
        }
        let sso = ["sso".to_owned()];
        assert_eq!(refusal("something new", &sso), Refusal::Denied(DenyReason::Sso));
        assert_eq!(
            refusal("You don't have the rights to create a model", &sso),
            Refusal::Denied(DenyReason::Sso)
        );
        let unheard = ["quantum".to_owned()];
        assert_eq!(refusal("something new", &unheard), Refusal::Denied(DenyReason::Other));
        assert_eq!(refusal("Access to this resource is disabled.", none), Refusal::Disabled);
    }

    #[test]
    fn rate_limit_headers_are_read_leniently() {
        let answer = Answer {
            rate_limit: Some("\"api\";r=12;t=55".into()),
            rate_limit_policy: Some("\"fixed window\";\"api\";q=500;w=300".into()),
            retry_after: Some("7".into()),
            ..said(429, "{}")
        };
        let limit = rate_limit(&answer);
        assert_eq!((limit.remaining, limit.quota), (Some(12), Some(500)));
        assert_eq!(limit.reset, Some(Duration::from_secs(55)));
        assert_eq!(limit.retry_after, Some(Duration::from_secs(7)));
        assert!(is_action_cap(&answer));
        assert!(!is_action_cap(&Answer { rate_limit: Some("\"api\";r=0;t=5".into()), ..said(429, "{}") }));
        assert!(!is_action_cap(&said(429, "{}")));
        assert!(is_action_cap(&said(
            429,
            r#"{"error":"You have exceeded the rate limit for repository creation (300 per day)."}"#
        )));
    }

    proptest::proptest! {
        #[test]
        fn odd_headers_never_panic(limit in ".*", policy in ".*", after in ".*") {
            let answer = Answer {
                rate_limit: Some(limit), rate_limit_policy: Some(policy), retry_after: Some(after),
                ..said(429, "")
            };
            let _ = rate_limit(&answer);
        }
    }
}

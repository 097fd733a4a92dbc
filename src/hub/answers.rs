//! What an answer of the Hub says by itself: its error envelope, its texts, its rate-limit headers.
//!
//! The texts are the Hub's, as known in public; a text that is not here is never guessed at. Each row of a table
//! has its name, under which `tests/answers/` holds an answer with its source.

use std::sync::LazyLock;
use std::time::Duration;

use memchr::memmem::Finder;
use serde_json::Value;

use crate::access::{DenyReason, RepoName, RepoType, UnknownReason, words};
use crate::exchange::{Answer, Failure};

use super::unique::Unique;

/// The JSON body of an answer that says it is JSON. A body in which a key stands twice says two things, and so
/// nothing.
pub fn json(answer: &Answer) -> Option<&Value> {
    answer.read.get(|| {
        let unique = says_json(answer).then(|| serde_json::from_str::<Unique>(&answer.body).ok())?;
        unique.map(|Unique(body)| body)
    })
}

/// The JSON object of an answer that describes something: one that also tells of an error describes nothing.
pub fn described(answer: &Answer) -> Option<&Value> {
    json(answer).filter(|body| body.is_object() && tells_no_error(body))
}

/// Whether neither of the two fields in which the Hub tells of errors is there.
fn tells_no_error(body: &Value) -> bool {
    body.get("error").is_none() && body.get("errors").is_none()
}

fn says_json(answer: &Answer) -> bool {
    answer.content_type == "application/json" || answer.content_type.ends_with("+json")
}

/// Whether there is a body that says it is JSON and cannot be read as such.
pub fn unreadable(answer: &Answer) -> bool {
    cannot_be_read(answer, json(answer))
}

/// The same, of what was read already.
fn cannot_be_read(answer: &Answer, body: Option<&Value>) -> bool {
    body.is_none() && says_json(answer) && !answer.body.trim().is_empty()
}

words! {
    /// The forms of an error; those that huggingface_hub reads.
    EnvelopeRow {
        /// `error` is a text.
        Text = "text",
        /// `error` is a list of texts.
        List = "list",
        /// `errors` is a list of objects with a `message`.
        Errors = "errors",
        /// The error headers alone.
        Header = "header",
        /// None of the Hub's: a page of something in between, or no error at all.
        Foreign = "foreign",
    }
}

/// The error message, if the answer is in the Hub's own envelope: JSON with `error` (text or list), `errors`,
/// or the Hub's error headers. An HTML page of something in between is not, nor what cannot be read.
pub fn envelope(answer: &Answer) -> Option<String> {
    envelope_row(answer).1
}

/// The same, with its form.
pub fn envelope_row(answer: &Answer) -> (EnvelopeRow, Option<String>) {
    if answer.content_type == "text/html" {
        return (EnvelopeRow::Foreign, None);
    }
    let body = json(answer);
    if cannot_be_read(answer, body) {
        return (EnvelopeRow::Foreign, None);
    }
    let body = body.unwrap_or(&Value::Null);
    let joined = |texts: Vec<&str>| Some(texts.join("; "));
    match (body.get("error"), body.get("errors")) {
        (Some(Value::String(text)), _) => (EnvelopeRow::Text, Some(text.clone())),
        (Some(Value::Array(texts)), _) => {
            (EnvelopeRow::List, joined(texts.iter().filter_map(Value::as_str).collect()))
        }
        (_, Some(Value::Array(errors))) => {
            let messages = errors.iter().filter_map(|error| error.get("message")?.as_str());
            (EnvelopeRow::Errors, joined(messages.collect()))
        }
        _ => match (&answer.error_message, &answer.error_code) {
            (None, None) => (EnvelopeRow::Foreign, None),
            (message, _) => (EnvelopeRow::Header, Some(message.clone().unwrap_or_default())),
        },
    }
}

/// Whether a 404 is the Hub's "Repository not found", which also hides what the token may not see.
pub fn repo_not_found(answer: &Answer) -> bool {
    answer.status == 404
        && envelope(answer).is_some_and(|text| {
            answer.error_code.as_deref() == Some("RepoNotFound")
                || (answer.error_code.is_none() && text.starts_with("Repository not found"))
        })
}

/// Whether the Hub itself says that something is closed to whoever asks without a token: its 401, or a refusal in
/// its envelope. What a gateway refuses may be open to all the world, and a page that calls itself JSON is a gateway's.
pub fn closed(answer: &Answer) -> bool {
    match answer.status {
        401 => of_status(answer) == UnknownReason::TokenInvalid && !unreadable(answer),
        403 | 404 => envelope(answer).is_some(),
        _ => false,
    }
}

/// Why a 403 in the Hub's envelope refused. `restrictions` are the `securityRestrictions` that whoami shows for
/// the organization with this very token: where the text is generic, they are the documented reason.
pub fn refusal(text: &str, restrictions: &[String]) -> Refusal {
    refusal_row(text, restrictions).1
}

/// The same, with the row that decided.
pub fn refusal_row(text: &str, restrictions: &[String]) -> (RefusalRow, Refusal) {
    let text = text.as_bytes();
    if DISABLED.find(text).is_some() {
        return (RefusalRow::Disabled, Refusal::Disabled);
    }
    let known = FRAGMENTS.iter().position(|fragment| fragment.find(text).is_some());
    let known = known.and_then(|at| TEXTS.get(at));
    let (row, why) = known.map_or((RefusalRow::Unheard, DenyReason::Other), |(row, _, why)| (*row, *why));
    match by_restriction(restrictions).filter(|_| matches!(why, DenyReason::Scope | DenyReason::Other)) {
        Some(why) => (RefusalRow::Restricted, Refusal::Denied(why)),
        None => (row, Refusal::Denied(why)),
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

/// What was asked about, as a refusal may name it; what is not known is not compared.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    pub namespace: Option<&'a str>,
    /// The repository; none where the question is not about one.
    pub repo: Option<(RepoType, &'a RepoName)>,
}

impl Object<'_> {
    /// Whether a refusal names another namespace or repository, letter for letter. A text that names none, as those
    /// of some years ago, names no other.
    pub fn is_not_in(&self, text: &str) -> bool {
        let namespaces = NAMESPACES.iter().flat_map(|(before, end)| {
            after(text, before).map(|rest| rest.split(*end).next().unwrap_or_default())
        });
        let repo = |kind: RepoType, name: &str| {
            self.repo.is_some_and(|(asked, repo)| asked == kind && name == repo.to_string())
        };
        // The kind comes first, then the name.
        let other_repo = |words: &str| {
            let (kind, rest) = words.split_once(' ').unwrap_or_default();
            let kind = RepoType::ALL.iter().find(|known| known.as_str() == kind);
            kind.is_some_and(|kind| !repo(*kind, rest.split(' ').next().unwrap_or_default()))
        };
        let other = |name: &str| self.namespace.is_some_and(|namespace| namespace != name);
        namespaces.into_iter().any(other) || REPOS.iter().any(|before| after(text, before).any(other_repo))
    }
}

/// Whatever follows this, at every place.
fn after<'a>(text: &'a str, before: &'a Finder<'_>) -> impl Iterator<Item = &'a str> {
    before.find_iter(text.as_bytes()).filter_map(move |at| text.get(at + before.needle().len()..))
}

/// Whether the address that an answer gives is another repository's; where there is none, it is no other's.
pub fn addresses_another(answer: &Answer, repo: &RepoName) -> bool {
    let url = json(answer).and_then(|body| Some(body.get("url")?.as_str()?.to_owned()));
    url.is_some_and(|url| url.contains('/') && !url.trim_end_matches('/').ends_with(&format!("/{repo}")))
}

words! {
    /// The rows of the table of refusals, by what the text is about.
    RefusalRow {
        Disabled = "disabled",
        TokenPolicy = "token-policy",
        TokenRevoked = "token-revoked",
        SpendingLimit = "spending-limit",
        StorageLimit = "storage-limit",
        Namespace = "namespace",
        RepoGuard = "repo-guard",
        RequiredPermissions = "required-permissions",
        MissingPermissions = "missing-permissions",
        PullRequest = "pull-request",
        Providers = "providers",
        GatedScope = "gated-scope",
        /// The text names no reason of its own; whoami does.
        Restricted = "restricted",
        /// Nothing of the above.
        Unheard = "unheard",
    }
}

/// Fragments of refusals that are known publicly, and what they mean.
#[rustfmt::skip]
pub const TEXTS: &[(RefusalRow, &str, DenyReason)] = &[
    (RefusalRow::TokenPolicy, "Due to the organization token policy", DenyReason::TokenPolicy),
    (RefusalRow::TokenRevoked, "Your token has been revoked by the organization administrator", DenyReason::TokenRevoked),
    (RefusalRow::SpendingLimit, "spending limit", DenyReason::Billing),
    (RefusalRow::StorageLimit, "storage limit reached", DenyReason::Billing),
    (RefusalRow::Namespace, "You don't have the rights to create a", DenyReason::Scope),
    (RefusalRow::RepoGuard, "You have read access but not the required permissions", DenyReason::Scope),
    (RefusalRow::RequiredPermissions, "You don't have the required permissions", DenyReason::Scope),
    (RefusalRow::MissingPermissions, "missing permissions:", DenyReason::Scope),
    (RefusalRow::PullRequest, "create_pr=1", DenyReason::Scope),
    (RefusalRow::Providers, "does not have sufficient permissions", DenyReason::Scope),
    (RefusalRow::GatedScope, "Please enable access to public gated repositories in your fine-grained token", DenyReason::Scope),
];

/// What they are looked for with; to make that takes longer than to look.
static FRAGMENTS: LazyLock<Vec<Finder<'static>>> =
    LazyLock::new(|| TEXTS.iter().map(|(_, fragment, _)| Finder::new(fragment)).collect());
static DISABLED: LazyLock<Finder<'static>> =
    LazyLock::new(|| Finder::new("Access to this resource is disabled"));
/// What stands before the name of a namespace, and where the name ends.
static NAMESPACES: LazyLock<[(Finder<'static>, char); 2]> =
    LazyLock::new(|| [(Finder::new("under the namespace \""), '"'), (Finder::new("on namespace "), ',')]);
/// What stands before the kind and the name of a repository.
static REPOS: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new("Access to "), Finder::new("request to access ")]);

/// The `securityRestrictions` of whoami (OpenAPI).
pub const RESTRICTIONS: &[(&str, DenyReason)] = &[
    ("token-policy", DenyReason::TokenPolicy),
    ("token-revoked", DenyReason::TokenRevoked),
    ("sso", DenyReason::Sso),
    ("mfa", DenyReason::Mfa),
    ("ip", DenyReason::IpRestriction),
];

fn by_restriction(restrictions: &[String]) -> Option<DenyReason> {
    let known = |word: &String| RESTRICTIONS.iter().find(|(known, _)| known == word);
    restrictions.iter().find_map(known).map(|(_, why)| *why)
}

/// What a missing answer means for a question.
pub fn of_failure(failure: Failure) -> UnknownReason {
    match failure {
        Failure::Unsent | Failure::Lost | Failure::Stale => UnknownReason::Network,
        Failure::Timeout => UnknownReason::Timeout,
        Failure::Oversized => UnknownReason::Unrecognized,
        Failure::ReadOnly => UnknownReason::ReadOnly,
        Failure::NoSecret => UnknownReason::TokenInvalid,
        Failure::Held => UnknownReason::RateLimited,
    }
}

words! {
    /// The rows of the table of statuses.
    StatusRow {
        TokenInvalid = "token-invalid",
        Billing = "billing",
        Conflict = "conflict",
        RateLimited = "rate-limited",
        Timeout = "timeout",
        HubError = "hub-error",
        /// A redirect, a page of something in between, or what no table knows.
        Odd = "odd",
    }
}

/// What a status that is never a verdict means, whoever asked whatever; the default arm of every table.
pub fn of_status(answer: &Answer) -> UnknownReason {
    status_row(answer).1
}

/// The same, with the row that decided.
pub fn status_row(answer: &Answer) -> (StatusRow, UnknownReason) {
    match answer.status {
        401 if answer.content_type != "text/html" => (StatusRow::TokenInvalid, UnknownReason::TokenInvalid),
        402 => (StatusRow::Billing, UnknownReason::Billing),
        409 => (StatusRow::Conflict, UnknownReason::Conflict),
        429 => (StatusRow::RateLimited, UnknownReason::RateLimited),
        408 => (StatusRow::Timeout, UnknownReason::Timeout),
        500..=599 => (StatusRow::HubError, UnknownReason::HubError),
        _ => (StatusRow::Odd, UnknownReason::Unrecognized),
    }
}

/// What keeps an answer, or its absence, from being one.
pub fn of_outcome(outcome: &Result<Answer, Failure>) -> UnknownReason {
    match outcome {
        Err(failure) => of_failure(*failure),
        Ok(answer) => of_status(answer),
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
    /// How long a window is; at most a day.
    pub length: Option<Duration>,
    /// Until a retry makes sense, if the Hub said so in seconds; at most a day.
    pub retry_after: Option<Duration>,
}

/// Reads them.
pub fn rate_limit(answer: &Answer) -> RateLimit {
    let [remaining, reset] = numbers(answer.rate_limit.as_deref(), ["r", "t"]);
    let [quota, length] = numbers(answer.rate_limit_policy.as_deref(), ["q", "w"]);
    let day = Duration::from_secs(24 * 60 * 60);
    let seconds = |n: u32| Duration::from_secs(u64::from(n)).min(day);
    RateLimit {
        remaining,
        reset: reset.map(seconds),
        quota,
        length: length.map(seconds),
        retry_after: answer.retry_after.as_deref().and_then(|text| text.trim().parse().ok()).map(seconds),
    }
}

/// The first number under each of two keys, in a line of `key=number` between semicolons.
fn numbers(line: Option<&str>, keys: [&str; 2]) -> [Option<u32>; 2] {
    let mut found = [None; 2];
    for part in line.unwrap_or_default().split(';') {
        let Some((key, number)) = part.split_once('=') else { continue };
        for (known, found) in keys.iter().zip(&mut found) {
            if found.is_none() && key.trim_start() == *known {
                *found = number.trim().parse().ok();
            }
        }
    }
    found
}

words! {
    /// What a limit is about.
    LimitRow {
        /// The hidden cap on an action, by its own text.
        CapByText = "cap-by-text",
        /// The same, because the window is not exhausted.
        CapByWindow = "cap-by-window",
        /// The request window.
        Window = "window",
        /// There is no limit in this answer.
        Unlimited = "unlimited",
    }
}

/// Which limit an answer tells of. A 429 is the hidden cap on creating rather than the request window if it
/// says so, or if the window is not exhausted (huggingface_hub, tests of the HTTP utilities).
pub fn limit_row(answer: &Answer) -> LimitRow {
    if answer.status != 429 {
        LimitRow::Unlimited
    } else if envelope(answer).is_some_and(|text| text.contains("repository creation")) {
        LimitRow::CapByText
    } else if rate_limit(answer).remaining.is_some_and(|left| left > 0) {
        LimitRow::CapByWindow
    } else {
        LimitRow::Window
    }
}

/// Whether a 429 is the hidden cap on creating.
pub fn is_action_cap(answer: &Answer) -> bool {
    matches!(limit_row(answer), LimitRow::CapByText | LimitRow::CapByWindow)
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
        for body in
            [r#"{"error":"no","error":"yes"}"#, r#"{"error":"no","of":[{"a":1,"a":2}]}"#, r#"{"error":"n"#]
        {
            let twice = Answer { error_message: Some("no".into()), ..said(403, body) };
            assert_eq!(envelope(&twice), None, "{body}");
        }
        let bare = Answer { error_message: Some("no".into()), ..said(403, " ") };
        assert_eq!(envelope(&bare).as_deref(), Some("no"));
    }

    #[test]
    fn a_copy_of_an_answer_says_what_its_own_body_says() {
        let first = said(200, r#"{"id":1}"#);
        let id = |answer: &Answer| json(answer).and_then(|body| body.get("id")?.as_u64());
        assert_eq!((id(&first), id(&first)), (Some(1), Some(1)));
        let other = Answer { body: r#"{"id":2}"#.into(), ..first.clone() };
        assert_eq!(id(&other), Some(2));
        assert_eq!(first.clone(), first);
    }

    #[test]
    fn the_first_number_under_a_key_counts() {
        for (line, found) in [
            (None, [None, None]),
            (Some("\"api\";r=7;t=90"), [Some(7), Some(90)]),
            (Some("\"api\"; t=90 ; r= 7"), [Some(7), Some(90)]),
            (Some("r=x;r=7;r=8;tt=1;t"), [Some(7), None]),
            (Some("r==7;t=-1;x r=1"), [None, None]),
        ] {
            assert_eq!(numbers(line, ["r", "t"]), found, "{line:?}");
        }
    }

    #[test]
    fn only_the_hub_says_that_something_is_closed() {
        let page = |status| Answer { content_type: "text/html".into(), ..said(status, "<p>") };
        let text = |status| Answer { content_type: "text/plain".into(), ..said(status, "Forbidden") };
        let error = r#"{"error":"no"}"#;
        for answer in [said(401, "{}"), text(401), said(403, error), said(404, error)] {
            assert!(closed(&answer), "{answer:?}");
        }
        let foreign = r#"{"message":"Forbidden"}"#;
        let others = [said(403, foreign), said(404, foreign), text(403), text(404), page(401), page(403)];
        for answer in others.into_iter().chain([said(200, error), said(429, error), said(500, error)]) {
            assert!(!closed(&answer), "{answer:?}");
        }
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
    fn a_refusal_that_names_another_is_about_another() {
        let repo: RepoName = "acme/gated".parse().expect("a name");
        let acme = Object { namespace: Some("acme"), repo: None };
        let gated = Object { repo: Some((RepoType::Model, &repo)), ..acme };
        let create =
            |name| format!("You don't have the rights to create a model under the namespace \"{name}\"");
        let may = |name| {
            format!(
                "You don't have the required permissions to complete this action on namespace {name}, missing permissions: job.write."
            )
        };
        let access = |name| {
            format!(
                "Access to {name} is restricted and you are not in the authorized list. Visit https://huggingface.co/x to ask for access."
            )
        };
        let pending =
            |name| format!("Your request to access {name} is awaiting a review from the repo authors.");
        for (text, object, another) in [
            (create("acme"), acme, false),
            (create("Acme"), acme, true),
            (create("acme-labs"), acme, true),
            (create("other"), Object { namespace: None, repo: None }, false),
            (may("acme"), acme, false),
            (may("acme.labs"), acme, true),
            (format!("{} {}", may("acme"), may("bob")), acme, true),
            (access("model acme/gated"), gated, false),
            (access("model acme/Gated"), gated, true),
            (access("dataset acme/gated"), gated, true),
            (access("model acme/gated"), acme, true),
            (pending("model acme/gated"), gated, false),
            (pending("model other/gated"), gated, true),
            ("You don't have the rights to create a model under this namespace".to_owned(), acme, false),
            ("Access to this resource is disabled.".to_owned(), gated, false),
            ("You have read access but not the required permissions".to_owned(), gated, false),
        ] {
            assert_eq!(object.is_not_in(&text), another, "{text} {object:?}");
        }
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
        assert_eq!(limit.length, Some(Duration::from_secs(300)));
        assert_eq!(limit.retry_after, Some(Duration::from_secs(7)));
        for (said, meant) in [("86399", 86_399), ("86400", 86_400), ("86401", 86_400), ("4294967295", 86_400)]
        {
            let limit = rate_limit(&Answer { retry_after: Some(said.into()), ..answer.clone() });
            assert_eq!(limit.retry_after, Some(Duration::from_secs(meant)), "{said}");
        }
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

//! Answers of a Hub as a text that a person writes and a mutation still leaves readable.
//!
//! `403 application/json`, then `name: value` lines, an empty line, the body; `timeout` in place of the status for
//! an answer that never came. Lines of `---` divide one answer from the next. Whatever is odd is read as something.

use crate::exchange::{Answer, BODY_LIMIT, Failure};
use crate::moment::Timestamp;

/// One answer, and what else was said with it.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    pub(super) outcome: Option<Result<Answer, Failure>>,
    /// `restriction:` lines.
    pub(super) restrictions: Vec<String>,
    /// Seconds since the answer before, of the last `after:` line.
    pub(super) after: u32,
}

impl Said {
    /// What came of the request.
    pub(super) fn outcome(&self) -> Result<Answer, Failure> {
        self.outcome.clone().unwrap_or(Err(Failure::Lost))
    }
}

/// Most answers that are read from one text.
const ANSWERS: usize = 24;

/// Reads all answers of a text.
pub(super) fn read(bytes: &[u8]) -> Vec<Said> {
    let text = String::from_utf8_lossy(bytes);
    text.split("\n---\n").take(ANSWERS).map(one).collect()
}

fn one(text: &str) -> Said {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let (status, content_type) = first.split_once(' ').unwrap_or((first, "application/json"));
    let mut said = Said::default();
    if let Ok(failure) = status.parse::<Failure>() {
        said.outcome = Some(Err(failure));
    }
    // Longer ones become a failure before anybody reads them.
    let body: String = body.chars().take(BODY_LIMIT / 4).collect();
    let content_type = content_type.to_ascii_lowercase();
    let mut answer =
        Answer { status: status.parse().unwrap_or(200), content_type, body, ..Answer::default() };
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        let value = value.to_owned();
        match name {
            "x-error-code" => answer.error_code = Some(value),
            "x-error-message" => answer.error_message = Some(value),
            "x-request-id" => answer.request_id = Some(value),
            "ratelimit" => answer.rate_limit = Some(value),
            "ratelimit-policy" => answer.rate_limit_policy = Some(value),
            "retry-after" => answer.retry_after = Some(value),
            "date" => answer.date = Timestamp::parse_http(&value),
            "link" => answer.link = Some(value),
            "restriction" => said.restrictions.push(value),
            "after" => said.after = value.parse().unwrap_or(1),
            _ => {}
        }
    }
    said.outcome.get_or_insert(Ok(answer));
    said
}

/// Whether the answer is in the Hub's own envelope, by the description of it in the client's documentation: an
/// error in JSON, or the error headers, and never a page.
pub(super) fn in_envelope(answer: &Answer) -> bool {
    let body = object(answer);
    let said = |field: &str| body.as_ref().and_then(|body| body.get(field));
    let texts = said("error").is_some_and(|error| error.is_string() || error.is_array());
    let list = said("errors").is_some_and(serde_json::Value::is_array);
    let headers = answer.error_code.is_some() || answer.error_message.is_some();
    answer.content_type != "text/html" && (texts || list || headers)
}

/// The answer's body, where it is JSON and says so.
pub(super) fn object(answer: &Answer) -> Option<serde_json::Value> {
    let says_so = answer.content_type == "application/json" || answer.content_type.ends_with("+json");
    serde_json::from_str(&answer.body).ok().filter(|_| says_so)
}

/// Whether it is a success.
pub(super) fn is_success(outcome: &Result<Answer, Failure>) -> bool {
    outcome.as_ref().is_ok_and(|answer| (200..=299).contains(&answer.status))
}

//! A request to send, and the answer or the failure that came back.
//!
//! The border between what knows the Hub (`hub`, which never holds a token) and what holds tokens (`probe`,
//! which knows no provider). A request names its credential; an exchange is data, never an error.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use crate::access::{TokenName, words};
use crate::moment::Timestamp;

words! {
    /// The HTTP methods that the daemon uses.
    Verb { Get = "GET", Post = "POST", Delete = "DELETE" }
}

impl Verb {
    /// Whether the method may change something. Such a request is never sent under `--read-only`, never
    /// retried, and always travels on a connection of its own.
    pub fn is_unsafe(self) -> bool {
        self != Verb::Get
    }
}

/// Whose authority a request carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Credential {
    /// No `Authorization` header at all.
    Anonymous,
    /// The token of this name.
    Token(TokenName),
}

/// What to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The method.
    pub verb: Verb,
    /// The route's template, for metrics; a closed list.
    pub route: &'static str,
    /// Path and query below the endpoint's origin; always begins with `/`.
    pub path: String,
    /// JSON body of a POST or DELETE.
    pub body: Option<Value>,
    /// Whose authority it carries.
    pub credential: Credential,
}

/// What came back, as far as anybody may need it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, lower case, without parameters.
    pub content_type: String,
    /// `X-Error-Code`.
    pub error_code: Option<String>,
    /// `X-Error-Message`.
    pub error_message: Option<String>,
    /// First of `X-Request-Id`, `X-Amzn-Trace-Id`, `X-Amz-Cf-Id`; at most 128 printable characters.
    pub request_id: Option<String>,
    /// `RateLimit`, as sent.
    pub rate_limit: Option<String>,
    /// `RateLimit-Policy`, as sent.
    pub rate_limit_policy: Option<String>,
    /// `Retry-After`, as sent.
    pub retry_after: Option<String>,
    /// `Date`: the answering clock, to the second.
    pub date: Option<Timestamp>,
    /// `Link`, as sent.
    pub link: Option<String>,
    /// The whole body, at most [`BODY_LIMIT`] bytes; anything that is not UTF-8 is replaced.
    pub body: String,
    /// What the body says, for whoever reads it.
    pub read: Reading,
}

/// What a body says as JSON, read when that is first wanted: several ask the same answer several things. It is of this
/// very body: a copy reads its own, and no two answers differ in it.
#[derive(Debug, Default)]
pub struct Reading(OnceLock<Option<Value>>);

impl Reading {
    /// What it says, read now if it was not before; `None` where that cannot be read.
    pub fn get(&self, read: impl FnOnce() -> Option<Value>) -> Option<&Value> {
        self.0.get_or_init(read).as_ref()
    }
}

impl Clone for Reading {
    fn clone(&self) -> Reading {
        Reading::default()
    }
}

impl PartialEq for Reading {
    fn eq(&self, _: &Reading) -> bool {
        true
    }
}

/// The largest body that is read, in bytes; more is a [`Failure::Oversized`].
pub const BODY_LIMIT: usize = 1024 * 1024;

words! {
    /// Why no answer came.
    Failure {
        /// Not one byte of the request left: name resolution, TCP or TLS failed.
        Unsent = "unsent",
        /// No complete answer within the deadline; the request may still take effect.
        Timeout = "timeout",
        /// The connection broke after the request may have left.
        Lost = "lost",
        /// The body was larger than the limit.
        Oversized = "oversized",
        /// Not sent: an unsafe method under `--read-only`.
        ReadOnly = "read_only",
        /// Not sent: there is no usable secret for this token.
        NoSecret = "no_secret",
        /// Not sent: the decision to send was too old when its turn came.
        Stale = "stale",
        /// Not sent: the Hub limits it, and the time that it named is not over.
        Held = "held",
    }
}

impl Failure {
    /// Whether it is certain that the Hub never saw the request.
    pub fn unsent(self) -> bool {
        use Failure::{Held, NoSecret, ReadOnly, Stale, Unsent};
        matches!(self, Unsent | ReadOnly | NoSecret | Stale | Held)
    }
}

/// One request and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// What was to be sent.
    pub request: Request,
    /// When it was sent, or would have been.
    pub sent_at: Timestamp,
    /// How long it took until the answer or the failure.
    pub elapsed: Duration,
    /// The answer or the failure.
    pub outcome: Result<Answer, Failure>,
}

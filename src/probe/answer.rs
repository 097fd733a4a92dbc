//! From a response to an answer: read within limits, scrubbed, cut to what anybody may need.

use std::borrow::Cow;

use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, HeaderMap, TRANSFER_ENCODING};

use super::Keyring;
use crate::exchange::{Answer, BODY_LIMIT, Failure, Reading};
use crate::moment::Timestamp;

/// The longest header value that is kept, in characters.
const HEADER_LIMIT: usize = 256;

/// More bytes of headers than this are not an answer; of HTTP/1.1 the client itself would take six times as many.
pub(super) const HEAD_LIMIT: u32 = 64 * 1024;

/// More headers than this are not an answer.
pub(super) const MOST_HEADERS: usize = 100;

/// More values than this in one body are not an answer: once it is read, each takes many times its text. A list of
/// some thousand members or repositories has far fewer.
const VALUES_LIMIT: usize = 32 * 1024;

/// A body that is longer than this is made room for in steps of it.
const STEP: usize = 64 * 1024;

/// A cursor makes `Link` long, and half a link would end a listing too early.
const LINK_LIMIT: usize = 4096;

/// The longest request id that is kept.
const REQUEST_ID_LIMIT: usize = 128;

/// What is kept of a body that is neither JSON nor text.
const OPAQUE_LIMIT: usize = 1024;

/// Where a request id may stand, best first.
const REQUEST_IDS: [&str; 3] = ["x-request-id", "x-amzn-trace-id", "x-amz-cf-id"];

/// An answer as it came, before anything of it may leave the room.
pub(super) struct Raw {
    status: u16,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

/// Reads the response to its end.
///
/// An encoded body (nobody asked for one) is not unpacked, because a small one may be huge inside: it counts
/// as beyond the limit, [`Failure::Oversized`]. So do headers and JSON that would become huge.
pub(super) async fn read(mut response: Response) -> Result<Raw, Failure> {
    let announced = response.content_length().unwrap_or(0);
    let headers = response.headers();
    let huge = usize::try_from(announced).is_ok_and(|length| length > BODY_LIMIT);
    let many = headers.len() > MOST_HEADERS;
    if huge || many || encoded(headers) || size(headers) > HEAD_LIMIT as usize {
        return Err(Failure::Oversized);
    }
    let mut bytes: Vec<u8> = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| Failure::Lost)? {
        if bytes.len() + chunk.len() > BODY_LIMIT {
            return Err(Failure::Oversized);
        }
        if bytes.capacity() - bytes.len() < chunk.len() {
            // Doubling would take twice the limit.
            bytes.reserve_exact(chunk.len().max(STEP));
        }
        bytes.extend_from_slice(&chunk);
    }
    let status = response.status().as_u16();
    Ok(Raw { status, headers: std::mem::take(response.headers_mut()), bytes })
}

impl Raw {
    /// What anybody may need of it. Everything is scrubbed before it is cut, so that no cut leaves half a secret.
    pub(super) fn answer(self, keyring: &Keyring) -> Result<Answer, Failure> {
        let Raw { status, headers, bytes } = self;
        let kept = |name: &str, limit: usize| header(&headers, name, limit, keyring);
        let content_type = kept("content-type", HEADER_LIMIT).unwrap_or_default();
        let mut content_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if json(&content_type) {
            if values(&bytes) > VALUES_LIMIT {
                return Err(Failure::Oversized);
            }
            // JSON is UTF-8 (RFC 8259, 8.1). What is not is no JSON, whatever it calls itself: mended, it would
            // name others.
            if std::str::from_utf8(&bytes).is_err() {
                content_type.clear();
            }
        }
        Ok(Answer {
            status,
            error_code: kept("x-error-code", HEADER_LIMIT),
            error_message: kept("x-error-message", HEADER_LIMIT),
            request_id: REQUEST_IDS.iter().find_map(|name| kept(name, REQUEST_ID_LIMIT)),
            rate_limit: kept("ratelimit", HEADER_LIMIT),
            rate_limit_policy: kept("ratelimit-policy", HEADER_LIMIT),
            retry_after: kept("retry-after", HEADER_LIMIT),
            date: kept("date", HEADER_LIMIT).as_deref().and_then(Timestamp::parse_http),
            link: kept("link", LINK_LIMIT),
            body: body(bytes, &content_type, keyring),
            content_type,
            read: Reading::default(),
        })
    }
}

/// Whether the body is anything but itself; chunks were taken apart already.
fn encoded(headers: &HeaderMap) -> bool {
    let coding = headers.get_all(CONTENT_ENCODING).iter().map(|value| (value, "identity"));
    let transfer = headers.get_all(TRANSFER_ENCODING).iter().map(|value| (value, "chunked"));
    coding
        .chain(transfer)
        .any(|(value, fine)| !value.as_bytes().trim_ascii().eq_ignore_ascii_case(fine.as_bytes()))
}

/// Roughly the bytes that the headers took.
fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// At least as many as there are values in a JSON text.
fn values(text: &[u8]) -> usize {
    text.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count()
}

fn json(content_type: &str) -> bool {
    content_type == "application/json"
        || (content_type.starts_with("application/") && content_type.ends_with("+json"))
}

/// A header's first value: scrubbed, printable, short.
fn header(headers: &HeaderMap, name: &str, limit: usize, keyring: &Keyring) -> Option<String> {
    let value = keyring.scrub(headers.get(name)?.as_bytes());
    let cut = value.get(..limit).unwrap_or(&value);
    let printable = |byte: &u8| if (0x20..0x7F).contains(byte) { *byte } else { b'?' };
    String::from_utf8(cut.iter().map(printable).collect()).ok()
}

fn body(bytes: Vec<u8>, content_type: &str, keyring: &Keyring) -> String {
    let readable = content_type.starts_with("text/") || json(content_type);
    let scrubbed = match keyring.scrub(&bytes) {
        Cow::Owned(clean) => Some(clean),
        Cow::Borrowed(_) => None,
    };
    let mut clean = scrubbed.unwrap_or(bytes);
    if !readable {
        clean.truncate(OPAQUE_LIMIT);
    }
    // Nearly always it is text, and then there is no second copy of it.
    String::from_utf8(clean).unwrap_or_else(|odd| String::from_utf8_lossy(odd.as_bytes()).into_owned())
}

//! What comes from outside into this room, as functions from bytes to assertions: the file of a secret, an answer
//! with its headers, a path or an endpoint. Only tests and fuzz targets have it; see `crate::foreign`.

use std::sync::LazyLock;

use reqwest::header::HeaderValue;
use tokio::runtime::{Builder, Runtime};
use url::Url;

use super::{Keyring, Origin, answer};
use crate::access::TokenName;
use crate::exchange::{BODY_LIMIT, Failure};
use crate::secret::{SECRET_LIMIT, Secret, SecretFault};

/// The bytes of a file or variable become a secret exactly if they are one line of visible ASCII.
pub fn secret(bytes: &[u8]) {
    secret_by(bytes, Secret::from_bytes);
}

/// The rule, over whatever reads the bytes.
pub fn secret_by(bytes: &[u8], reader: impl Fn(&[u8]) -> Result<Secret, SecretFault>) {
    let end = bytes.strip_suffix(b"\n").map_or(bytes, |line| line.strip_suffix(b"\r").unwrap_or(line));
    let fine =
        !end.is_empty() && bytes.len() <= SECRET_LIMIT && end.iter().all(|b| (0x21..=0x7E).contains(b));
    match reader(bytes) {
        Ok(secret) => {
            assert!(fine, "accepted: {bytes:?}");
            assert_eq!(secret.expose().as_bytes(), end, "not what was there");
            assert_eq!(format!("{secret:?}"), "Secret(…)");
            assert!(HeaderValue::try_from(format!("Bearer {}", secret.expose())).is_ok(), "cannot be sent");
        }
        Err(fault) => {
            assert!(!fine, "refused ({fault}): {bytes:?}");
            assert_eq!(reader(bytes).err(), Some(fault));
        }
    }
}

/// A secret of the ring that answers are read with; `$1` and `$2` stand for them in a text.
const SECRETS: [&str; 2] = ["hf_AAAABBBBCCCCDDDDEEEEFFFFGGGG", "s3cr$t-with=signs/and+more"];

static RING: LazyLock<Keyring> = LazyLock::new(|| {
    let mut ring = Keyring::new();
    for (name, secret) in ["one", "two"].into_iter().zip(SECRETS) {
        ring.insert(TokenName::new(name), Secret::from_bytes(secret.as_bytes()));
    }
    ring
});

thread_local! {
    static RUNTIME: Option<Runtime> = Builder::new_current_thread().build().ok();
}

/// An answer as it is read from the wire: a status, header lines, an empty line, the body; any bytes at all.
pub fn answer(bytes: &[u8]) {
    let mut filled = bytes.to_vec();
    for (mark, secret) in [&b"$1"[..], b"$2"].into_iter().zip(SECRETS) {
        filled = replaced(&filled, mark, secret.as_bytes());
    }
    let at = filled.windows(2).position(|pair| pair == b"\n\n").unwrap_or(filled.len());
    let (head, body) = filled.split_at(at);
    let mut lines = head.split(|b| *b == b'\n');
    let status = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.parse().ok()).unwrap_or(200);
    let mut response = hyper::Response::builder().status(status);
    let mut encoded = false;
    for line in lines.take(32) {
        let at = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(at);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let Ok(name) = hyper::header::HeaderName::from_bytes(name) else { continue };
        let Ok(value) = hyper::header::HeaderValue::from_bytes(value) else { continue };
        let fine: &[u8] = if name == "transfer-encoding" { b"chunked" } else { b"identity" };
        let coding = name == "transfer-encoding" || name == "content-encoding";
        encoded |= coding && !value.as_bytes().eq_ignore_ascii_case(fine);
        response = response.header(name, value);
    }
    let body = body.get(2..).unwrap_or_default().to_vec();
    let length = body.len();
    let Ok(response) = response.body(body) else { return };
    let raw = RUNTIME.with(|runtime| Some(runtime.as_ref()?.block_on(answer::read(response.into()))));
    let read = raw.map(|raw| raw.and_then(|raw| raw.answer(&RING)));
    let Some(read) = read else { unreachable!("no runtime") };
    match read {
        Ok(read) => {
            assert!(!encoded, "an encoded body was read");
            assert_eq!(read.status, status);
            assert!(read.body.len() <= 3 * BODY_LIMIT && read.content_type.len() <= 256);
            let kept = [
                (&read.error_code, 256),
                (&read.error_message, 256),
                (&read.request_id, 128),
                (&read.rate_limit, 256),
                (&read.rate_limit_policy, 256),
                (&read.retry_after, 256),
                (&read.link, 4096),
            ];
            for (value, limit) in kept {
                let value = value.as_deref().unwrap_or_default();
                assert!(
                    value.len() <= limit && value.bytes().all(|b| (0x20..0x7F).contains(&b)),
                    "{value:?}"
                );
            }
            let shown = format!("{read:?}{}", read.body);
            for secret in SECRETS {
                assert!(!shown.contains(secret), "a secret in {shown:?}");
            }
        }
        Err(failure) => {
            assert_eq!(failure, Failure::Oversized);
            assert!(encoded || length > BODY_LIMIT, "{length} bytes are not too many");
        }
    }
}

fn replaced(bytes: &[u8], mark: &[u8], with: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(mark.len()).position(|part| part == mark) {
        let (before, from) = rest.split_at(at);
        out.extend_from_slice(before);
        out.extend_from_slice(with);
        rest = from.get(mark.len()..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// Each line an endpoint, then a path below the Hub: a token goes to that origin, by that path, or nowhere.
pub fn origin(bytes: &[u8]) {
    origin_by(bytes, |home, path| Origin::new(home)?.url(path));
}

/// The rule, over whatever makes a URL of a path.
pub fn origin_by(bytes: &[u8], url: impl Fn(&str, &str) -> Option<Url>) {
    let text = String::from_utf8_lossy(bytes);
    for (at, line) in text.split('\n').enumerate() {
        if at % 2 == 0
            && let Some(origin) = Origin::new(line)
        {
            let shown = origin.as_str();
            assert!(
                !shown.contains(['@', '?', '#', ' ', '\\']) && shown.matches('/').count() == 2,
                "{shown:?}"
            );
            assert_eq!(Origin::new(shown).as_ref().map(Origin::as_str), Some(shown));
        }
        for home in ["https://huggingface.co", "http://127.0.0.1:8080"] {
            let Some(url) = url(home, line) else { continue };
            assert_eq!(url.as_str(), format!("{home}{line}"), "sent otherwise than written");
            assert!(Origin::new(home).is_some_and(|origin| origin.owns(&url)));
            assert!(url.username().is_empty() && url.password().is_none());
            let path = line.split('?').next().unwrap_or_default();
            assert!(!path.split('/').any(|part| part == ".."), "{line:?} leads up");
        }
    }
}

//! The generic webhook: one message as JSON, signed where there is a key.
//!
//! The receiver knows an episode by its `id`, and may check that it was us by `X-Scopewatch-Signature`, the HMAC-SHA256
//! of the body in hexadecimal digits. Fields are only ever added.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use url::Url;

use crate::alert::message::Tidings;

use super::{Letter, Outgoing};

const SIGNATURE: &str = "x-scopewatch-signature";

pub(super) fn request(url: Url, letter: &Letter) -> Outgoing {
    let bodies: Vec<_> = letter
        .messages
        .iter()
        .map(|message| {
            let over = message.tidings == Tidings::Resolved;
            json!({
                "schema": 1,
                "id": message.id,
                "event": message.tidings,
                "labels": message.labels(),
                "annotations": message.annotations(),
                "startsAt": message.since,
                "endsAt": over.then_some(message.at),
                "at": message.at,
            })
        })
        .collect();
    let body = bodies.into_iter().next().unwrap_or_default().to_string().into_bytes();
    let headers = match &letter.secret {
        Some(key) => vec![(SIGNATURE, format!("sha256={}", sign(key.expose().as_bytes(), &body)))],
        None => Vec::new(),
    };
    Outgoing { url, body, headers }
}

pub(super) fn sign(key: &[u8], body: &[u8]) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(body);
    HEXLOWER.encode(&mac.finalize().into_bytes())
}

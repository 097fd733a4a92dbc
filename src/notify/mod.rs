//! Carries messages to sinks: one file for each kind of sink, which says how it spells a message and what its answers
//! mean; here is what they share.
//!
//! One request is one request: nothing is retried or followed here, and no proxy of the environment is used. Link-local
//! and metadata addresses are never connected to, whatever name leads there, and in the clear nothing goes to a public
//! one. No error is formatted, because its text holds the address, which may be a secret. Serves the app; when a
//! message goes again is decided in `alert::outbox`.

mod alertmanager;
mod client;
mod email;
mod pagerduty;
mod slack;
#[cfg(test)]
mod tests;
mod webhook;

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use url::Url;

use crate::alert::message::Message;
use crate::alert::outbox::Delivery;
use crate::config::{Reach, SinkKind, reach};
use crate::moment::Timestamp;
use crate::secret::Secret;

pub use client::{Courier, CourierFault};

/// From the first byte to the last of one delivery.
const DEADLINE: Duration = Duration::from_secs(10);
/// Of an answer, so much is looked at.
const ANSWER_LIMIT: usize = 4096;

/// What goes to a sink in one request, and with what.
#[derive(Debug)]
pub struct Letter {
    pub kind: SinkKind,
    /// Where it goes; may itself be a secret.
    pub url: Secret,
    /// Key of the signature, of the service, or password of the mail server.
    pub secret: Option<Secret>,
    /// One, except to a sink that takes several.
    pub messages: Vec<Message>,
    pub now: Timestamp,
}

/// Why a sink did not take a message. Holds nothing of its address or its answer, which may be secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    #[error("its address is none, or lacks what such a sink needs; correct `url`")]
    Address,
    #[error(
        "nothing may be sent there: link-local or metadata address, or a public one in the clear; correct `url`"
    )]
    Forbidden,
    #[error("it lacks its key; give the sink a `secret`")]
    NoSecret,
    #[error("there was no answer within 10 s; see that it runs and can be reached from here")]
    NoAnswer,
    #[error("it answered {0}; its own log says why")]
    Status(u16),
    #[error("its answer is not that of such a sink; see what really listens at its address")]
    NoReceipt,
}

/// What came of a delivery, and why it is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    pub delivery: Delivery,
    pub trouble: Option<Trouble>,
}

impl From<Trouble> for Delivered {
    /// It may be mended.
    fn from(trouble: Trouble) -> Delivered {
        Delivered { delivery: Delivery::Later(None), trouble: Some(trouble) }
    }
}

/// It was taken.
const TAKEN: Delivered = Delivered { delivery: Delivery::Taken, trouble: None };

/// A request as a sink wants it.
struct Outgoing {
    url: Url,
    body: Vec<u8>,
    headers: Vec<(&'static str, String)>,
}

/// The answer to it.
struct Heard {
    status: u16,
    retry_after: Option<Duration>,
    /// Its beginning.
    body: String,
}

impl Courier {
    /// Delivers, once. What cannot be sent may be mended: the messages wait.
    pub async fn deliver(&self, letter: Letter) -> Delivered {
        let Ok(url) = Url::parse(letter.url.expose()) else { return Trouble::Address.into() };
        if letter.messages.is_empty() {
            return TAKEN;
        }
        let outgoing = match letter.kind {
            SinkKind::Email => return email::deliver(self, &url, &letter).await,
            SinkKind::Alertmanager => Some(alertmanager::request(url, &letter)),
            SinkKind::Webhook => Some(webhook::request(url, &letter)),
            SinkKind::Slack => Some(slack::request(url, &letter)),
            SinkKind::Pagerduty => pagerduty::request(url, &letter),
        };
        let Some(outgoing) = outgoing else { return Trouble::NoSecret.into() };
        match self.post(outgoing).await {
            Err(trouble) => trouble.into(),
            Ok(heard) => judge(letter.kind, &heard),
        }
    }

    /// Sends it, if it may go there.
    async fn post(&self, outgoing: Outgoing) -> Result<Heard, Trouble> {
        let client = self.client(&outgoing.url).ok_or(Trouble::Forbidden)?;
        let mut request = client.post(outgoing.url).timeout(DEADLINE).body(outgoing.body);
        request = request.header(CONTENT_TYPE, "application/json");
        for (name, value) in outgoing.headers {
            let mut value = HeaderValue::from_str(&value).map_err(|_| Trouble::NoSecret)?;
            value.set_sensitive(true);
            request = request.header(HeaderName::from_static(name), value);
        }
        let mut answer = request.send().await.map_err(|_| Trouble::NoAnswer)?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let mut body = Vec::new();
        while body.len() < ANSWER_LIMIT
            && let Ok(Some(chunk)) = answer.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
        body.truncate(ANSWER_LIMIT);
        Ok(Heard { status, retry_after, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// The client for this address, if anything may be sent there at all.
    fn client(&self, url: &Url) -> Option<&reqwest::Client> {
        match (url.scheme(), reach(url)) {
            (_, Reach::Forbidden) => None,
            ("https", _) => Some(&self.sealed),
            ("http", Reach::Public) => None,
            ("http", _) => Some(&self.open),
            _ => None,
        }
    }
}

/// What an answer means, where the sink's protocol does not say otherwise: only a 2xx is a receipt; what is wrong with
/// the message itself will never be taken; all else may be mended or pass.
fn judge(kind: SinkKind, heard: &Heard) -> Delivered {
    let delivery = match heard.status {
        200..=299 if kind != SinkKind::Slack || slack::took(heard) => return TAKEN,
        200..=299 => return Trouble::NoReceipt.into(),
        400 | 413 | 422 => Delivery::Refused,
        _ => Delivery::Later(heard.retry_after),
    };
    Delivered { delivery, trouble: Some(Trouble::Status(heard.status)) }
}

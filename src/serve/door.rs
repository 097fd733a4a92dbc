//! The door: what a connection and a request must show before anything but health is answered.
//!
//! Built whole from what was read, and replaced whole by a reload. Knows neither files nor the config.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio_util::sync::CancellationToken;

use super::Access;
use super::passwords::Passwords;
use super::tls::{Client, Clients, Tls, TlsFault, TlsParts};
use crate::moment::Timestamp;

/// What a door is built of. Empty: no TLS, no passwords, no headers but our own.
#[derive(Default)]
pub struct DoorParts {
    pub tls: Option<TlsParts>,
    /// Names, each with the bcrypt hash of its password.
    pub users: BTreeMap<String, String>,
    /// Random, and known to this process alone.
    pub key: [u8; 32],
    /// Headers of every answer; those that we send ourselves stay as they are.
    pub headers: Vec<(&'static str, String)>,
}

/// What stands between the port and what is served. The default is an open door without TLS.
#[derive(Default)]
pub struct Door {
    pub(super) tls: Option<Tls>,
    pub(super) passwords: Option<Passwords>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Another door took its place that asks for something else of connections.
    pub(super) replaced: CancellationToken,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) ip: IpAddr,
    pub(super) tls: bool,
    pub(super) client: Client,
}

impl Default for Peer {
    fn default() -> Peer {
        Peer { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), tls: false, client: Client::Nobody }
    }
}

/// What becomes of a request at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// Open to whoever shows a right password.
    Password,
    Shut(StatusCode, &'static str),
}

const NO_TLS: &str = "This port speaks TLS by now: connect again, by https.";
const NO_CERTIFICATE: &str = "A client certificate is needed here (`client_auth_type` of the web config); only health \
                              (/-/healthy, /-/ready) is answered without one.";
const WRONG_CERTIFICATE: &str = "This client certificate carries none of the names that may come in here \
                                 (`client_allowed_sans` of the web config).";

/// Whether this is a question about health, which everybody may ask: a kubelet has no password.
pub(super) fn is_health(path: &str) -> bool {
    matches!(path, "/-/healthy" | "/-/ready" | "/livez" | "/readyz")
}

impl Door {
    /// A door of these parts, as of `now`.
    pub fn build(parts: DoorParts, now: Timestamp) -> Result<Door, TlsFault> {
        let other = |name: &str| TlsFault::Other(format!("the header {name} cannot be sent"));
        let mut headers = Vec::new();
        for (name, value) in &parts.headers {
            let value = HeaderValue::from_str(value).map_err(|_| other(name))?;
            headers.push((HeaderName::from_bytes(name.as_bytes()).map_err(|_| other(name))?, value));
        }
        Ok(Door {
            tls: parts.tls.map(|tls| tls.build(now)).transpose()?,
            passwords: (!parts.users.is_empty()).then(|| Passwords::new(parts.users, parts.key)),
            headers,
            replaced: CancellationToken::new(),
        })
    }

    /// Whether everybody who comes in is known: by a password or a required certificate. TLS alone tells nobody.
    pub fn authenticates(&self) -> bool {
        self.passwords.is_some() || self.required().is_some()
    }

    /// Whether passwords are asked for, which then travel in the open unless there is TLS.
    pub fn sends_passwords_in_the_open(&self) -> bool {
        self.passwords.is_some() && self.tls.is_none()
    }

    /// Whether the certificate is still within its time.
    pub fn valid_at(&self, now: Timestamp) -> Result<(), TlsFault> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls.valid_at(now))
    }

    fn required(&self) -> Option<&Clients> {
        self.tls.as_ref()?.clients.as_ref().filter(|clients| clients.required)
    }

    /// Whether connections that came through the one may stay under the other.
    fn asks_the_same(&self, other: &Door) -> bool {
        let asked = |door: &Door| door.tls.as_ref().map(|tls| tls.clients.clone());
        asked(self) == asked(other)
    }

    /// What becomes of a request of this peer for this path.
    pub(super) fn gate(&self, peer: &Peer, path: &str) -> Gate {
        if is_health(path) {
            return Gate::Open;
        }
        if self.tls.is_some() && !peer.tls {
            return Gate::Shut(StatusCode::FORBIDDEN, NO_TLS);
        }
        if let Some(clients) = self.required() {
            match &peer.client {
                Client::Verified { by, allowed: true } if by == clients => {}
                Client::Verified { by, allowed: false } if by == clients => {
                    return Gate::Shut(StatusCode::FORBIDDEN, WRONG_CERTIFICATE);
                }
                Client::Verified { .. } | Client::Nobody => {
                    return Gate::Shut(StatusCode::FORBIDDEN, NO_CERTIFICATE);
                }
            }
        }
        if self.passwords.is_some() { Gate::Password } else { Gate::Open }
    }

    /// Adds the configured headers to those of an answer. A policy for content stands beside ours: browsers keep
    /// to all that they are given, so that it can ask for more and never for less.
    pub(super) fn dress(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            if *name == header::CONTENT_SECURITY_POLICY || !headers.contains_key(name) {
                headers.append(name, value.clone());
            }
        }
    }
}

/// Puts new rules in the place of the old. Where they ask for something else of a connection, those that are there
/// end with the answer under way.
pub fn admit(place: &ArcSwap<Access>, mut new: Access) {
    let old = place.load_full();
    let stay = new.door.asks_the_same(&old.door);
    if stay {
        new.door.replaced = old.door.replaced.clone();
    }
    place.store(std::sync::Arc::new(new));
    if !stay {
        old.door.replaced.cancel();
    }
}

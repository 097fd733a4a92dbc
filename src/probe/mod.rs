//! Sends a request with a token and always comes back with an exchange.
//!
//! This room holds tokens and knows no provider. A token travels to one origin only, that of the endpoint: no
//! path, redirect, proxy variable or answer can move it (`origin`). One request is one request: nothing is
//! retried or followed here, but a read that was lost with a kept connection (`kept`), and what may change something
//! travels on a connection of its own. An answer leaves the room only after every loaded secret in it has been
//! blotted out.
//!
//! No error of the HTTP client is ever formatted, because its text holds the URL.

mod answer;
mod blot;
mod client;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod foreign;
mod gate;
mod kept;
mod keyring;
mod origin;
mod reach;
#[cfg(test)]
mod tests;
mod wires;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use tokio::time::{Instant, timeout};

use crate::exchange::{Answer, Credential, Exchange, Failure, Request, Verb};
use crate::moment::Timestamp;
use crate::secret::Secret;

use answer::Raw;
pub use client::{ProberFault, install_crypto};
pub use gate::MayLeave;
use kept::Clients;
pub use keyring::Keyring;
use origin::Origin;
pub use reach::{Obstacle, TlsTrouble, Way};
use wires::Wires;

/// How requests are sent.
#[derive(Clone)]
pub struct Settings {
    /// Origin, e.g. `https://huggingface.co`; tokens go nowhere else.
    pub endpoint: String,
    /// Deadline of one request: connecting, headers and body together.
    pub request_timeout: Duration,
    /// The only proxy that is ever used; may hold a password.
    pub proxy: Option<String>,
    /// Contents of PEM files with CA certificates that are trusted besides the roots.
    pub ca_files: Vec<Vec<u8>>,
    /// Trust the roots compiled in, not the system's.
    pub bundled_roots: bool,
    /// Let no unsafe method out.
    pub read_only: bool,
    /// What the daemon calls itself.
    pub user_agent: String,
}

impl fmt::Debug for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Settings")
            .field("request_timeout", &self.request_timeout)
            .field("proxy", &self.proxy.is_some())
            .field("ca_files", &self.ca_files.len())
            .field("bundled_roots", &self.bundled_roots)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

/// Sends requests to one endpoint. Cheap to clone.
#[derive(Clone)]
pub struct Prober(Arc<Inner>);

struct Inner {
    origin: Origin,
    clients: Clients,
    /// Where they live.
    wires: Wires,
    request_timeout: Duration,
    read_only: bool,
}

impl fmt::Debug for Prober {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Prober({}, read_only: {})", self.0.origin.as_str(), self.0.read_only)
    }
}

impl Prober {
    /// Builds the clients; afterwards nothing of the settings can fail any more.
    pub fn new(settings: Settings) -> Result<Prober, ProberFault> {
        let origin = Origin::new(&settings.endpoint).ok_or(ProberFault::Endpoint)?;
        let clients = Clients::new(&settings, &origin)?;
        let wires = Wires::new().map_err(|_| ProberFault::Threads)?;
        let Settings { request_timeout, read_only, .. } = settings;
        Ok(Prober(Arc::new(Inner { origin, clients, wires, request_timeout, read_only })))
    }

    /// Sends one request. Whatever happens is in the exchange; `elapsed` ends with the answer's last byte.
    pub async fn send(&self, keyring: &Keyring, request: Request, sent_at: Timestamp) -> Exchange {
        let begun = Instant::now();
        let outcome = self.0.outcome(keyring, &request).await;
        Exchange { request, sent_at, elapsed: begun.elapsed(), outcome }
    }

    /// The same for what may change something: once its connection stands, and right before the request is written,
    /// it is asked whether it may still leave. If not, it is [`Failure::Stale`].
    pub async fn send_if(
        &self,
        keyring: &Keyring,
        request: Request,
        sent_at: Timestamp,
        may_leave: Arc<MayLeave>,
    ) -> Exchange {
        let sending = self.send(keyring, request, sent_at);
        let (exchange, refused) = gate::guarded(may_leave, sending).await;
        if refused { Exchange { outcome: Err(Failure::Stale), ..exchange } } else { exchange }
    }
}

impl Inner {
    async fn outcome(&self, keyring: &Keyring, request: &Request) -> Result<Answer, Failure> {
        if self.read_only && request.verb.is_unsafe() {
            return Err(Failure::ReadOnly);
        }
        let secret = match &request.credential {
            Credential::Anonymous => None,
            Credential::Token(name) => Some(keyring.get(name).ok_or(Failure::NoSecret)?),
        };
        let ready = self.prepare(request, secret)?;
        // Dropping the exchange in the middle closes its connection.
        let flight = gate::carried(exchange(self.clients.clone(), ready, request.route));
        match timeout(self.request_timeout, self.wires.run(flight)).await {
            Ok(Some(outcome)) => outcome?.answer(keyring),
            Ok(None) => Err(Failure::Lost),
            // Connecting has a shorter deadline of its own, so that by now the request may have left.
            Err(_) => Err(Failure::Timeout),
        }
    }

    /// The request as the client sends it. The secret is attached last, to a URL that was checked twice.
    fn prepare(&self, request: &Request, secret: Option<&Secret>) -> Result<reqwest::Request, Failure> {
        let url = self.origin.url(&request.path).ok_or(Failure::Unsent)?;
        let method = match request.verb {
            Verb::Get => Method::GET,
            Verb::Post => Method::POST,
            Verb::Delete => Method::DELETE,
        };
        let mut ready = reqwest::Request::new(method, url);
        if let Some(body) = &request.body {
            let bytes = serde_json::to_vec(body).map_err(|_| Failure::Unsent)?;
            ready.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *ready.body_mut() = Some(bytes.into());
        }
        ready.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(secret) = secret {
            let bearer = format!("Bearer {}", secret.expose());
            let mut bearer = HeaderValue::try_from(bearer).map_err(|_| Failure::NoSecret)?;
            bearer.set_sensitive(true);
            if !self.origin.owns(ready.url()) {
                return Err(Failure::Unsent);
            }
            ready.headers_mut().insert(AUTHORIZATION, bearer);
        }
        Ok(ready)
    }
}

/// Sends and reads to the end.
async fn exchange(clients: Clients, ready: reqwest::Request, route: &'static str) -> Result<Raw, Failure> {
    failpoint!("probe.before", route);
    let flight = failpoint!("probe.waiting", route, while clients.execute(ready));
    let response = flight.await.map_err(|error| {
        // `is_builder`: the client itself refused to send it. `is_connect`: names, TCP, TLS or the proxy's
        // tunnel.
        if error.is_builder() || error.is_connect() { Failure::Unsent } else { Failure::Lost }
    })?;
    failpoint!("probe.headed", route);
    let answer = answer::read(response).await;
    failpoint!("probe.read", route);
    answer
}

//! What `doctor` must see of the world, collected and not judged: secrets where they lie, the Hub by reads alone,
//! sinks, the store. Secrets stay here; what leaves is whether they are there, and whether a text holds one.

mod ground;
mod sieve;

use std::sync::Arc;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::access::TokenName;
use crate::alert::message::{Message, Tidings, trial};
use crate::alert::outbox::Delivery;
use crate::config::{Config, Sink};
use crate::exchange::{Exchange, Request};
use crate::logging::Scrub;
use crate::notify::{Courier, Letter, Trouble};
use crate::probe::{Keyring, Prober, Settings, TlsTrouble, Way};
use crate::secret::{Place, SecretFault};

use super::clock::wall_now;
use super::files::{KEYS_WITHIN, Secrets, SinkSecrets, machine_warnings, mode, read_keys};
use super::{Fault, courier, prober, settings};

pub use ground::{Ground, Medium, Stored, ground};
pub use sieve::Sieve;

/// A secret as far as it may be spoken of.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    pub token: TokenName,
    pub place: Place,
    /// What is wrong with it.
    pub fault: Option<SecretFault>,
    /// It begins as the Hub's tokens do.
    pub familiar: bool,
    /// Mode of its file.
    pub mode: Option<u32>,
    /// The first other token with this very secret.
    pub twin: Option<TokenName>,
}

/// What came of a test message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// The sink took a test alert and its end.
    Taken,
    /// Its address or its secret cannot be read.
    NoSecret(SecretFault),
    /// They cannot be read in time.
    Stuck,
    /// It did not take the alert, or the end of it.
    Refused(Option<Trouble>),
}

/// How the Hub's tokens begin.
const FAMILIAR: [&str; 2] = ["hf_", "api_org_"];

/// Asks, and holds the secrets meanwhile.
pub struct Examiner {
    kept: Vec<Kept>,
    ring: Keyring,
    sieve: Sieve,
    settings: Settings,
    prober: Prober,
    courier: Option<Arc<Courier>>,
    sink_secrets: SinkSecrets,
}

impl Examiner {
    /// Reads the secrets of all tokens, which from then on no line of the log may hold. Nothing is asked yet.
    pub async fn new(config: Arc<Config>, scrub: Scrub) -> Result<Examiner, Fault> {
        // Nothing that could change anything leaves.
        let (settings, prober) = (settings(&config, true)?, prober(&config, true)?);
        let courier = courier(&config)?;
        let keys = read_keys(config.clone(), &mut Secrets::default()).await;
        let mut kept = Vec::new();
        for (token, (name, key)) in config.tokens.iter().zip(&keys) {
            let text = key.as_ref().ok().map(|secret| secret.expose());
            let same = |(_, other): &&(TokenName, Result<_, _>)| {
                text.is_some() && other.as_ref().ok().map(crate::secret::Secret::expose) == text
            };
            let first = keys.iter().find(same).map(|(name, _)| name).filter(|first| *first != name);
            kept.push(Kept {
                token: name.clone(),
                place: token.secret.clone(),
                fault: key.as_ref().err().copied(),
                familiar: text.is_some_and(|text| FAMILIAR.iter().any(|begin| text.starts_with(begin))),
                mode: match &token.secret {
                    Place::File(path) => mode(path),
                    Place::Env(_) => None,
                },
                twin: first.cloned(),
            });
        }
        let sieve = Sieve::new(&config, &keys, &scrub)?;
        let mut ring = Keyring::new();
        for (name, key) in keys {
            ring.insert(name, key);
        }
        sieve.plant(&mut ring);
        Ok(Examiner { kept, ring, sieve, settings, prober, courier, sink_secrets: SinkSecrets::default() })
    }

    /// Every token of the config, in its order.
    pub fn secrets(&self) -> &[Kept] {
        &self.kept
    }

    /// What knows the secrets by sight.
    pub fn sieve(&mut self) -> &mut Sieve {
        &mut self.sieve
    }

    /// What would be left of the secrets in an answer that repeats them.
    pub fn echo(&self) -> String {
        self.sieve.echo(&self.ring)
    }

    /// The steps to the Hub.
    pub async fn way(&self) -> Option<Way> {
        self.settings.way().await
    }

    /// Sends one request; only reads leave.
    pub async fn ask(&self, request: Request) -> Exchange {
        self.prober.send(&self.ring, request, wall_now()).await
    }

    /// Why the handshake fails, if it is that.
    pub async fn tls_trouble(&self, request: &Request) -> Option<TlsTrouble> {
        self.prober.tls_trouble(request).await
    }

    /// Sends a test alert and its end.
    pub async fn post(&self, sink: &Sink) -> Posted {
        let Some(courier) = &self.courier else { return Posted::Refused(None) };
        let since = wall_now();
        for tidings in [Tidings::Firing, Tidings::Resolved] {
            let (secrets, of) = (self.sink_secrets.clone(), sink.clone());
            let (url, secret) = match timeout(KEYS_WITHIN, spawn_blocking(move || secrets.of(&of))).await {
                Ok(Ok(Ok(found))) => found,
                Ok(Ok(Err(fault))) => return Posted::NoSecret(fault),
                _ => return Posted::Stuck,
            };
            let now = wall_now();
            let messages: Vec<Message> = vec![trial(tidings, since, now)];
            let letter = Letter { kind: sink.kind, url, secret, messages, now };
            let delivered = courier.deliver(letter).await;
            if delivered.delivery != Delivery::Taken {
                return Posted::Refused(delivered.trouble);
            }
        }
        Posted::Taken
    }

    /// Whether what a sink needs can be read, and nothing is sent.
    pub async fn readable(&self, sink: &Sink) -> Option<SecretFault> {
        let (secrets, of) = (self.sink_secrets.clone(), sink.clone());
        match timeout(KEYS_WITHIN, spawn_blocking(move || secrets.of(&of).err())).await {
            Ok(Ok(fault)) => fault,
            _ => Some(SecretFault::Unreadable),
        }
    }
}

/// What deserves a warning about this process and this machine.
pub fn machine() -> Vec<String> {
    machine_warnings()
}

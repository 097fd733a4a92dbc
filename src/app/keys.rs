//! The secrets of all tokens, read anew: to send with, and what may be known of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::hub::names::Signer;
use crate::logging::Scrub;
use crate::probe::Keyring;
use crate::round::drive::LoadedKeys;

use super::files::{Secrets, read_keys};

/// Reads them, tells the log what to blot out, and knows how fingerprints are made.
pub(super) struct Keys {
    secrets: Secrets,
    signer: Signer,
    scrub: Scrub,
}

impl Keys {
    pub(super) fn new(signer: Signer, scrub: Scrub) -> Keys {
        Keys { secrets: Secrets::default(), signer, scrub }
    }

    /// Another reader of the same.
    pub(super) fn another(&self) -> Keys {
        Keys::new(self.signer.clone(), self.scrub.clone())
    }

    /// What has slipped into the log is owned up to.
    pub(super) fn own_up(&self) {
        crate::logging::own_up(&self.scrub);
    }

    /// Those of this config, as of now.
    pub(super) async fn read(&mut self, config: Arc<Config>) -> LoadedKeys {
        let keys = read_keys(config, &mut self.secrets).await;
        let live: Vec<&str> =
            keys.iter().filter_map(|(_, key)| key.as_ref().ok().map(|s| s.expose())).collect();
        self.scrub.load(&live);
        let mut ring = Keyring::new();
        let mut known = BTreeMap::new();
        for (name, key) in keys {
            known.insert(
                name.clone(),
                key.as_ref().map(|s| self.signer.fingerprint(s.expose().as_bytes())).map_err(|fault| *fault),
            );
            ring.insert(name, key);
        }
        LoadedKeys { ring, known }
    }
}

//! The tokens of this moment, and the blotting out of every one of them in whatever comes back.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use super::blot::blot;
use crate::access::TokenName;
use crate::secret::{Secret, SecretFault, Sought, shapes};

/// What stands where a secret stood.
pub(super) const REDACTED: &str = "[redacted]";

/// Shorter secrets are not looked for: they would be found in ordinary words and spoil every answer. Every
/// token of the Hub is far longer.
const SHORTEST: usize = 8;

/// Name → secret, or the fault that makes it unusable. Filled anew for every round, so that no old secret
/// stays.
#[derive(Default)]
pub struct Keyring {
    secrets: BTreeMap<TokenName, Result<Secret, SecretFault>>,
    /// Finds all of them; made at the first answer.
    sought: OnceLock<Sought>,
}

impl Keyring {
    /// One without tokens.
    pub fn new() -> Keyring {
        Keyring::default()
    }

    /// Adds a token, or takes the place of the one of that name.
    pub fn insert(&mut self, name: TokenName, secret: Result<Secret, SecretFault>) {
        self.secrets.insert(name, secret);
        self.sought = OnceLock::new();
    }

    /// The secret, where it is usable.
    pub fn get(&self, name: &TokenName) -> Option<&Secret> {
        self.secrets.get(name)?.as_ref().ok()
    }

    /// Why the token is unusable; one that was never inserted is missing.
    pub fn fault(&self, name: &TokenName) -> Option<SecretFault> {
        match self.secrets.get(name) {
            None => Some(SecretFault::Missing),
            Some(secret) => secret.as_ref().err().copied(),
        }
    }

    /// All names, usable or not, in order.
    pub fn names(&self) -> impl Iterator<Item = &TokenName> {
        self.secrets.keys()
    }

    /// What would be left of this text in an answer of the Hub.
    pub fn cleaned(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.scrub(text.as_bytes())).into_owned()
    }

    /// The bytes without any secret of this ring, however it is spelled, and without what is shaped like a token
    /// of anybody.
    pub(super) fn scrub<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        // No spelling is shorter than what it spells.
        if bytes.len() < SHORTEST {
            return Cow::Borrowed(bytes);
        }
        let sought = self.sought.get_or_init(|| {
            let known = self.secrets.values().flatten().map(Secret::expose);
            Sought::new(known.filter(|secret| secret.len() >= SHORTEST))
        });
        blot(bytes, REDACTED, |text| sought.find(text).into_iter().chain(shapes(text)).collect())
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.names().map(TokenName::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(secrets: &[&str]) -> Keyring {
        let mut ring = Keyring::new();
        for (number, secret) in secrets.iter().enumerate() {
            ring.insert(TokenName::new(&format!("t{number}")), Secret::from_bytes(secret.as_bytes()));
        }
        ring
    }

    #[test]
    fn each_name_has_its_secret_or_its_fault() {
        let mut ring = ring(&["hf_abcdefgh", "two words"]);
        let [fine, odd, absent] = ["t0", "t1", "t2"].map(TokenName::new);
        assert_eq!(ring.get(&fine).map(Secret::expose), Some("hf_abcdefgh"));
        assert_eq!(ring.fault(&fine), None);
        assert!(ring.get(&odd).is_none() && ring.get(&absent).is_none());
        assert_eq!(ring.fault(&odd), Some(SecretFault::WhiteSpace));
        assert_eq!(ring.fault(&absent), Some(SecretFault::Missing));
        assert_eq!(ring.names().map(TokenName::as_str).collect::<Vec<_>>(), ["t0", "t1"]);
        assert_eq!(format!("{ring:?}"), r#"{"t0", "t1"}"#);
        ring.insert(fine.clone(), Err(SecretFault::Unreadable));
        assert_eq!(ring.fault(&fine), Some(SecretFault::Unreadable));
    }

    #[test]
    fn every_loaded_secret_is_blotted_out_wherever_it_stands() {
        let mut ring = ring(&["hf_abcdefgh", "hf_abcdefghijkl", "hf_other_one", "short"]);
        let told = |ring: &Keyring, text: &str| {
            String::from_utf8(ring.scrub(text.as_bytes()).into_owned()).expect("u")
        };
        assert_eq!(
            told(&ring, "xhf_abcdefghijklx hf_abcdefghhf_other_one"),
            "x[redacted]x [redacted][redacted]"
        );
        assert_eq!(told(&ring, "short hf_abcdefg"), "short hf_abcdefg");
        // Beginnings that differ, few and many.
        for count in [3, 40] {
            let secrets: Vec<String> = (0..count).map(|n| format!("{n:02}x-secret-{n:02}")).collect();
            let ring = self::ring(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
            for secret in &secrets {
                assert_eq!(told(&ring, &format!("00 {secret}x")), "00 [redacted]x");
            }
        }
        ring.insert(TokenName::new("late"), Secret::from_bytes(b"hf_came_later"));
        assert_eq!(told(&ring, "hf_came_later"), "[redacted]");
        assert_eq!(told(&Keyring::new(), "hf_abcdefgh"), "hf_abcdefgh");
    }
}

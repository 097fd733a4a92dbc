//! The tokens of this moment, and the blotting out of every one of them in whatever comes back.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, MatchKind};
use memchr::memmem;

use super::blot::blot;
use crate::access::TokenName;
use crate::secret::{Secret, SecretFault, shapes};

/// What stands where a secret stood.
pub(super) const REDACTED: &str = "[redacted]";

/// Shorter secrets are not looked for: they would be found in ordinary words and spoil every answer. Every
/// token of the Hub is far longer.
const SHORTEST: usize = 8;

/// So many letters of a secret are looked for first: those that all tokens of the Hub share.
const BEGIN: usize = 3;

/// With more beginnings than this it is faster to look for whole secrets at once.
const MOST_BEGINS: usize = 8;

/// What looks for secrets.
enum Finder {
    /// There is nothing to look for.
    Nothing,
    Secrets(Secrets),
    /// There are more secrets than can be looked for (gigabytes of them): nothing may be shown at all.
    Blind,
}

/// All of them in one pass, and how they begin: nearly no text holds even that, and a beginning is found far faster.
struct Secrets {
    whole: AhoCorasick,
    /// Every one of them begins like one of these; none where those are too many to be looked for one by one.
    begins: Option<Vec<memmem::Finder<'static>>>,
}

impl Secrets {
    fn find<'t>(&'t self, text: &'t [u8]) -> impl Iterator<Item = Range<usize>> + 't {
        let absent = |begins: &Vec<memmem::Finder<'_>>| begins.iter().all(|begin| begin.find(text).is_none());
        let searched = !self.begins.as_ref().is_some_and(absent);
        searched.then(|| self.whole.find_iter(text)).into_iter().flatten().map(|found| found.range())
    }
}

/// The different beginnings of these secrets: so few letters that no secret can be told from another by them.
fn begins<'s>(secrets: impl Iterator<Item = &'s str>) -> Option<Vec<memmem::Finder<'static>>> {
    let begins: BTreeSet<&[u8]> = secrets.filter_map(|secret| secret.as_bytes().get(..BEGIN)).collect();
    let few = begins.len() <= MOST_BEGINS;
    few.then(|| begins.into_iter().map(|begin| memmem::Finder::new(begin).into_owned()).collect())
}

/// Name → secret, or the fault that makes it unusable. Filled anew for every round, so that no old secret
/// stays.
#[derive(Default)]
pub struct Keyring {
    secrets: BTreeMap<TokenName, Result<Secret, SecretFault>>,
    /// Finds all of them in one pass; made at the first answer.
    finder: OnceLock<Finder>,
}

impl Keyring {
    /// One without tokens.
    pub fn new() -> Keyring {
        Keyring::default()
    }

    /// Adds a token, or takes the place of the one of that name.
    pub fn insert(&mut self, name: TokenName, secret: Result<Secret, SecretFault>) {
        self.secrets.insert(name, secret);
        self.finder = OnceLock::new();
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
        let finder = match self.finder.get_or_init(|| self.finder()) {
            Finder::Secrets(finder) => Some(finder),
            Finder::Nothing => None,
            Finder::Blind => return Cow::Borrowed(REDACTED.as_bytes()),
        };
        // No spelling is shorter than what it spells.
        if bytes.len() < SHORTEST {
            return Cow::Borrowed(bytes);
        }
        blot(bytes, REDACTED, |text| {
            finder.into_iter().flat_map(|finder| finder.find(text)).chain(shapes(text)).collect()
        })
    }

    fn finder(&self) -> Finder {
        let known = || self.secrets.values().flatten().map(Secret::expose).filter(|s| s.len() >= SHORTEST);
        // Longest first, so that of two secrets that begin alike nothing is left standing. No prefilter: it
        // would keep whole copies of the secrets.
        let whole =
            AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).prefilter(false).build(known());
        match whole {
            Ok(whole) if whole.patterns_len() > 0 => {
                Finder::Secrets(Secrets { whole, begins: begins(known()) })
            }
            Ok(_) => Finder::Nothing,
            Err(_) => Finder::Blind,
        }
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

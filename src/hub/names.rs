//! Names of canaries: `<prefix>-<kid>-<random>-<mac>`.
//!
//! The random part makes a name unguessable, the MAC makes it provably ours for one namespace and one kind of
//! repository, even when the journal is lost. Random bytes come in as an argument; the key is `canary_key` and
//! nothing else, so that another replica or a fresh store knows our own.

use std::fmt;

use data_encoding::{Encoding, Specification};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::access::{RepoName, RepoType};

/// Bytes of randomness in a name: 130 bits are used.
pub const NONCE_BYTES: usize = 17;
/// Characters of the random part and of the MAC, five bits each.
const PART: usize = 26;
/// Characters of the key's fingerprint.
const KID: usize = 5;

/// Signs and recognises names.
#[derive(Clone)]
pub struct Signer {
    key: Vec<u8>,
    kid: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Signer({})", self.kid)
    }
}

fn base32() -> Encoding {
    let mut spec = Specification::new();
    spec.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    // The alphabet is a constant with 32 distinct symbols; RFC 4648's own table is the fallback.
    spec.encoding().unwrap_or(data_encoding::BASE32_NOPAD)
}

/// The first `characters` base-32 digits of `bytes`; trailing bits that fill no digit are dropped.
fn digits(bytes: &[u8], characters: usize) -> String {
    let whole = bytes.len() / 5 * 5;
    let mut padded = bytes.to_vec();
    if padded.len() != whole {
        padded.resize(whole + 5, 0);
    }
    base32().encode(&padded).chars().take(characters).collect()
}

impl Signer {
    /// Takes the key of at least 32 bytes.
    pub fn new(key: &[u8]) -> Signer {
        let mut print = Sha256::new();
        print.update(b"scopewatch canary key id\0");
        print.update(key);
        Signer { key: key.to_vec(), kid: digits(&print.finalize(), KID) }
    }

    /// Which key this is; says nothing of the key itself, and stands in every name.
    pub fn key_id(&self) -> &str {
        &self.kid
    }

    /// A keyed fingerprint of a secret, to notice that it changed; says nothing without the key.
    pub fn fingerprint(&self, secret: &[u8]) -> String {
        digits(&self.mac(&[b"fingerprint", secret]), PART)
    }

    /// This text with a seal before it, which only who has the key can make; good for this place alone, such as one number
    /// of one list.
    pub fn sealed(&self, place: &str, text: &str) -> String {
        format!("{} {text}", self.seal(place, text))
    }

    /// The text behind a seal; `None` where it is not one of this very text in this place.
    pub fn unsealed<'a>(&self, place: &str, sealed: &'a str) -> Option<&'a str> {
        let (seal, text) = sealed.split_once(' ')?;
        (seal == self.seal(place, text)).then_some(text)
    }

    fn seal(&self, place: &str, text: &str) -> String {
        digits(&self.mac(&[b"seal", place.as_bytes(), text.as_bytes()]), PART)
    }

    fn mac(&self, parts: &[&[u8]]) -> Vec<u8> {
        // HMAC takes keys of any length, so that this cannot fail; an empty result would match no name.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return Vec::new() };
        for part in parts {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().to_vec()
    }

    fn signature(&self, prefix: &str, namespace: &str, kind: RepoType, random: &str) -> String {
        let parts: [&[u8]; 5] =
            [b"canary", prefix.as_bytes(), namespace.as_bytes(), kind.as_str().as_bytes(), random.as_bytes()];
        digits(&self.mac(&parts), PART)
    }

    /// A new name in this namespace.
    pub fn name(&self, prefix: &str, namespace: &str, kind: RepoType, nonce: &[u8; NONCE_BYTES]) -> RepoName {
        let random = digits(nonce, PART);
        let mac = self.signature(prefix, namespace, kind, &random);
        RepoName {
            namespace: namespace.to_owned(),
            name: format!("{prefix}-{kid}-{random}-{mac}", kid = self.kid),
        }
    }

    /// Whether we signed this name, for this namespace and kind. The prefix is part of what was signed.
    pub fn is_ours(&self, repo: &RepoName, kind: RepoType) -> bool {
        let mut parts = repo.name.rsplitn(4, '-');
        let (Some(mac), Some(random), Some(kid), Some(prefix)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return false;
        };
        kid == self.kid
            && random.len() == PART
            && mac == self.signature(prefix, &repo.namespace, kind, random)
    }
}

/// A name that nobody can have taken, for the control that asks for what is not there. It does not bear the
/// prefix of canaries, so that it is never taken for one.
pub fn unguessable(namespace: &str, nonce: &[u8; NONCE_BYTES]) -> RepoName {
    RepoName { namespace: namespace.to_owned(), name: format!("no-such-{}", digits(nonce, PART)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_believed_as_it_was_sealed_and_in_its_place() {
        let signer = Signer::new(&[7; 32]);
        for text in ["", "a text", "with {\"json\": \"\\u0000\"}"] {
            let sealed = signer.sealed("request 1 2", text);
            assert_eq!(signer.unsealed("request 1 2", &sealed), Some(text));
            assert_eq!(signer.unsealed("request 1 3", &sealed), None);
            assert_eq!(signer.unsealed("request 1 2", &format!("{sealed}!")), None);
            assert_eq!(signer.unsealed("request 1 2", text), None);
            assert_eq!(Signer::new(&[8; 32]).unsealed("request 1 2", &sealed), None);
        }
        // What runs from the place into the text is another text.
        assert_eq!(signer.unsealed("a", &signer.sealed("a b", "c").replace(" c", " b c")), None);
    }

    #[test]
    fn a_name_is_ours_only_as_it_was_signed() {
        let signer = Signer::new(&[7; 32]);
        let name = signer.name("scopewatch-canary", "acme", RepoType::Model, &[9; NONCE_BYTES]);
        assert!(name.name.len() <= 96, "{name}");
        assert!(name.name.chars().all(|c| matches!(c, 'a'..='z' | '2'..='7' | '-')), "{name}");
        assert!(!name.name.contains("--"));
        assert!(signer.is_ours(&name, RepoType::Model));
        assert!(!signer.is_ours(&name, RepoType::Dataset));
        assert!(!Signer::new(&[8; 32]).is_ours(&name, RepoType::Model));
        let moved = RepoName { namespace: "other".into(), ..name.clone() };
        assert!(!signer.is_ours(&moved, RepoType::Model));
        for at in 0..name.name.len() {
            let mut bytes = name.name.clone().into_bytes();
            bytes[at] = if bytes[at] == b'q' { b'r' } else { b'q' };
            let name = String::from_utf8(bytes).expect("ASCII");
            let forged = RepoName { namespace: "acme".into(), name };
            assert!(!signer.is_ours(&forged, RepoType::Model), "{forged}");
        }
    }

    #[test]
    fn the_same_key_knows_the_names_of_another_replica() {
        let name = Signer::new(b"k".repeat(32).as_slice()).name("p", "acme", RepoType::Space, &[1; 17]);
        assert!(Signer::new(b"k".repeat(32).as_slice()).is_ours(&name, RepoType::Space));
        assert_ne!(
            name,
            Signer::new(b"k".repeat(32).as_slice()).name("p", "acme", RepoType::Space, &[2; 17])
        );
    }

    #[test]
    fn the_longest_prefix_still_fits() {
        let name = Signer::new(&[1; 32]).name(&"p".repeat(24), "acme", RepoType::Model, &[255; 17]);
        assert!(name.name.len() <= 96, "{}", name.name.len());
        assert!(name.to_string().parse::<RepoName>().is_ok());
    }
}

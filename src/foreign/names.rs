//! Names of repositories, and which of them are canaries of ours: exactly those that bear the MAC of this key for
//! this namespace and this kind. The MAC is computed here a second time, by hand.
//!
//! The text: prefix, namespace, kind, randomness, a line each; then candidates, `KIND NAMESPACE EDITS`, the minted
//! name with single characters replaced (a place and a character, again and again), or `KIND NAMESPACE =NAME`.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::access::{RepoName, RepoType};
use crate::exchange::Credential;
use crate::hub::names::{NONCE_BYTES, Signer, unguessable};
use crate::hub::routes;

const KEY: [u8; 32] = *b"the key of canary names in tests";
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

pub(super) fn names(bytes: &[u8]) {
    names_by(bytes, Signer::is_ours);
}

/// The rules, over whatever recognises names.
pub(super) fn names_by(bytes: &[u8], is_ours: impl Fn(&Signer, &RepoName, RepoType) -> bool) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (prefix, namespace, kind, random) = (next(), next(), next(), next());
    let kind = kind_of(kind);
    let mut nonce = [0; NONCE_BYTES];
    nonce.iter_mut().zip(random.bytes()).for_each(|(to, from)| *to = from);
    let signer = Signer::new(&KEY);
    let minted = signer.name(prefix, namespace, kind, &nonce);
    assert!(is_ours(&signer, &minted, kind), "not known again: {minted}");
    assert!(signed(&signer, &minted, kind), "not signed as documented: {minted}");
    assert!(!is_ours(&Signer::new(b"another key, just as long as this"), &minted, kind), "by another key");
    assert!(!is_ours(&signer, &unguessable(namespace, &nonce), kind));
    for line in lines.take(16) {
        let (of, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (place, edits) = rest.split_once(' ').unwrap_or((rest, ""));
        let name = edits.strip_prefix('=').map_or_else(|| edited(&minted.name, edits), str::to_owned);
        let candidate = RepoName { namespace: place.to_owned(), name };
        let of = kind_of(of);
        let ours = is_ours(&signer, &candidate, of);
        assert_eq!(ours, signed(&signer, &candidate, of), "{of} {candidate}");
        if of == kind && place == namespace && candidate.name.len() == minted.name.len() {
            assert_eq!(ours, candidate == minted, "one character makes the difference: {candidate}");
        }
        name_of_repository(&candidate.to_string());
    }
}

fn kind_of(word: &str) -> RepoType {
    word.parse().unwrap_or(RepoType::Model)
}

/// The text with characters replaced: place and character, again and again.
fn edited(text: &str, edits: &str) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let mut edits = edits.chars();
    while let (Some(place), Some(c)) = (edits.next(), edits.next()) {
        let length = chars.len().max(1);
        if let Some(at) = chars.get_mut(place as usize % length) {
            *at = c;
        }
    }
    chars.into_iter().collect()
}

/// Whether the name ends with the fingerprint of the key, 26 characters of randomness, and the MAC over all of it.
fn signed(signer: &Signer, repo: &RepoName, kind: RepoType) -> bool {
    let parts: Vec<&str> = repo.name.split('-').collect();
    let [prefix @ .., kid, random, mac] = parts.as_slice() else { return false };
    if prefix.is_empty() || *kid != signer.key_id() || random.len() != 26 || mac.len() != 26 {
        return false;
    }
    let Ok(mut hmac) = Hmac::<Sha256>::new_from_slice(&KEY) else { return false };
    for part in ["canary", &prefix.join("-"), &repo.namespace, kind.as_str(), random] {
        hmac.update(&(part.len() as u64).to_be_bytes());
        hmac.update(part.as_bytes());
    }
    base32(&hmac.finalize().into_bytes()).starts_with(mac)
}

/// RFC 4648 in small letters; the digits that are whole.
fn base32(bytes: &[u8]) -> String {
    let bit = |at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
    let digit = |at: usize| (0..5).fold(0, |value: u8, more| value << 1 | bit(at * 5 + more));
    (0..bytes.len() * 8 / 5).map(|at| char::from(ALPHABET[usize::from(digit(at))])).collect()
}

/// What may become part of a path keeps to one segment each, and comes back as it went in.
fn name_of_repository(text: &str) {
    let Ok(repo) = text.parse::<RepoName>() else { return };
    assert_eq!(repo.to_string(), text);
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    assert!(text.chars().all(fine) && text.matches('/').count() == 1, "{text:?}");
    assert!(!text.split('/').any(|part| ["", ".", ".."].contains(&part)), "{text:?}");
    let path = routes::repo_info(RepoType::Model, &repo, Credential::Anonymous).path;
    assert_eq!(path, format!("/api/models/{text}"));
}

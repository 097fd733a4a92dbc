//! Identifiers of the simulated Hub: the 24-hex ids of its objects, the 40-hex ids of commits, request ids.
//! Knows how to derive them from words, so that the same world always has the same ids; knows nothing of
//! what they name. Serves every part that mints or looks up an object.

use sha2::Digest;
use sha2::Sha256;

/// The id of an object that is in the world file: the same words give the same id in every run.
pub(super) fn object(words: &[&str]) -> String {
    hex(words, 12)
}

/// A commit's id, in Git's length.
pub(super) fn commit(words: &[&str]) -> String {
    hex(words, 20)
}

/// A resource group's id; organizations may use the same group name without sharing the id.
pub(super) fn resource_group(organization: &str, name: &str) -> String {
    object(&["resource-group", organization, name])
}

/// A request id in the form of the load balancer's trace ids, unique per run and request.
pub(super) fn request(seed: u64, seq: u64, at_seconds: i64) -> String {
    let words = hex(&["request", &seed.to_string(), &seq.to_string()], 28);
    let (trace, rest) = words.split_at(24);
    let uuid = [&rest[..8], &rest[8..12], &rest[12..16], &rest[16..20], &rest[20..32]].join("-");
    format!("Root=1-{:08x}-{trace};{uuid}", at_seconds & 0xffff_ffff)
}

fn hex(words: &[&str], bytes: usize) -> String {
    let mut hasher = Sha256::new();
    for word in words {
        // The separator keeps ("a", "bc") and ("ab", "c") apart.
        hasher.update(word.as_bytes());
        hasher.update([0]);
    }
    hasher.finalize().iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

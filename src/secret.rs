//! A token that cannot be printed, and the place where to find it.
//!
//! `Secret` has no `Display`, no `Serialize` and a `Debug` that says nothing; only an edge that sends may call
//! `expose`. What is wrong with a secret is a named fault that never repeats any part of it.

mod shape;
mod sought;

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

pub use shape::shapes;
pub use sought::Sought;

/// Where a secret lies. Only this is ever part of the config.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// A file, read again for every round.
    File(PathBuf),
    /// An environment variable, read once at the start.
    Env(String),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(out, "file {}", path.display()),
            Place::Env(name) => write!(out, "environment variable {name}"),
        }
    }
}

/// A live credential.
#[derive(Clone)]
pub struct Secret(SecretString);

/// The largest secret that is accepted, in bytes; every token of the Hub is far shorter.
pub const SECRET_LIMIT: usize = 64 * 1024;

/// What is wrong with a secret. Finishes the sentence "the secret …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretFault {
    #[error("does not exist; create it, or correct where it lies in the config")]
    Missing,
    #[error("cannot be read; let this user read it")]
    Unreadable,
    #[error("is not a regular file; name a file")]
    NotAFile,
    #[error("is empty; put the token into it")]
    Empty,
    #[error("is larger than 64 KiB")]
    TooLarge,
    #[error("begins with a byte order mark; save it without one")]
    ByteOrderMark,
    #[error("has more than one line; it must be the token and at most one line end")]
    ManyLines,
    #[error("holds white space; it must be the token and at most one line end")]
    WhiteSpace,
    #[error("holds characters that no token has (control characters or non-ASCII)")]
    OddCharacters,
}

impl Secret {
    /// Takes the bytes of a file or variable: exactly one trailing line end (`\n` or `\r\n`) is stripped,
    /// anything else that is odd is a fault, so that no white space ever travels on the wire.
    pub fn from_bytes(bytes: &[u8]) -> Result<Secret, SecretFault> {
        if bytes.len() > SECRET_LIMIT {
            return Err(SecretFault::TooLarge);
        }
        if bytes.starts_with(&[0xEF, 0xBB, 0xBF]) || bytes.starts_with(&[0xFF, 0xFE]) {
            return Err(SecretFault::ByteOrderMark);
        }
        let text = strip_line_end(bytes);
        if text.is_empty() {
            return Err(SecretFault::Empty);
        }
        if text.iter().any(|b| matches!(b, b'\n' | b'\r')) {
            return Err(SecretFault::ManyLines);
        }
        if text.iter().any(|b| matches!(b, b' ' | b'\t')) {
            return Err(SecretFault::WhiteSpace);
        }
        if !text.iter().all(u8::is_ascii_graphic) {
            return Err(SecretFault::OddCharacters);
        }
        let text = std::str::from_utf8(text).map_err(|_| SecretFault::OddCharacters)?;
        Ok(Secret(SecretString::from(text.to_owned())))
    }

    /// The token itself, for the one who sends it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// The bytes without one trailing `\n` or `\r\n`.
pub fn strip_line_end(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\r\n").or_else(|| bytes.strip_suffix(b"\n")).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_line_end_is_stripped_and_all_else_is_a_named_fault() {
        let good: &[&[u8]] = &[b"hf_abc", b"hf_abc\n", b"hf_abc\r\n"];
        for bytes in good {
            assert_eq!(Secret::from_bytes(bytes).expect("fine").expose(), "hf_abc");
        }
        let bad: &[(&[u8], SecretFault)] = &[
            (b"", SecretFault::Empty),
            (b"\n", SecretFault::Empty),
            (b"hf_abc\n\n", SecretFault::ManyLines),
            (b"hf_abc\r", SecretFault::ManyLines),
            (b"hf_abc\nhf_def", SecretFault::ManyLines),
            (b" hf_abc", SecretFault::WhiteSpace),
            (b"hf_abc \n", SecretFault::WhiteSpace),
            (b"\xEF\xBB\xBFhf_abc", SecretFault::ByteOrderMark),
            (b"\xFF\xFEh\0", SecretFault::ByteOrderMark),
            (b"hf_\x07", SecretFault::OddCharacters),
            ("hf_ä".as_bytes(), SecretFault::OddCharacters),
        ];
        for (bytes, fault) in bad {
            assert_eq!(Secret::from_bytes(bytes).expect_err("a fault"), *fault, "{bytes:?}");
        }
        assert_eq!(
            Secret::from_bytes(&[b'a'; SECRET_LIMIT + 1]).expect_err("a fault"),
            SecretFault::TooLarge
        );
    }

    #[test]
    fn a_secret_prints_nothing_of_itself() {
        let secret = Secret::from_bytes(b"hf_abcdefgh").expect("fine");
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)).matches("abc").count(), 0);
    }
}

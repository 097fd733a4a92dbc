//! What an access token of the Hub looks like, for those who must not let one pass that they do not know.
//!
//! Names may begin like tokens do (`hf_reader`); only a long unbroken run of letters and digits behind the prefix
//! makes a token.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem;

/// How the Hub's tokens begin; `shapes` looks for their first letters.
const PREFIXES: [&str; 2] = ["hf_", "api_org_"];

static BEGINS: LazyLock<[memmem::Finder<'static>; 2]> = LazyLock::new(|| PREFIXES.map(memmem::Finder::new));

/// What may follow the prefix, before a JSON web token.
const SIGNED: [&str; 3] = ["oauth_", "jwt_", "refresh_"];

/// Letters and digits that make a token of what begins like one.
const TOKEN_LENGTH: usize = 20;

/// The longest part of a prefix that may end a token before it.
const SHARED: usize = 3;

/// Where something shaped like a token stands, in order; one may begin within the end of another. Takes time only
/// as the text is long.
pub fn shapes(text: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    // Nearly no text holds even the beginning of one, and that is found far faster.
    if BEGINS.iter().all(|begin| begin.find(text).is_none()) {
        return found;
    }
    let mut at = 0;
    while let Some(next) = text.get(at..).and_then(|rest| rest.iter().position(|byte| b"ha".contains(byte))) {
        at += next;
        at += match text.get(at..).and_then(length) {
            Some(length) => {
                found.push(at..at + length);
                length - SHARED
            }
            None => 1,
        };
    }
    found
}

/// How long the token is that the text begins with, if it does.
fn length(text: &[u8]) -> Option<usize> {
    let tail = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix.as_bytes()))?;
    let signed = SIGNED.iter().find_map(|kind| tail.strip_prefix(kind.as_bytes()));
    let tail = signed.unwrap_or(tail);
    let plain = run(tail, u8::is_ascii_alphanumeric);
    let whole = match signed {
        Some(_) => run(tail, |byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte)),
        None => plain,
    };
    (plain >= TOKEN_LENGTH).then_some(text.len() - tail.len() + whole)
}

fn run(bytes: &[u8], fine: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| fine(byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_shape_and_a_name_is_not_one() {
        let twenty = "aB3".repeat(7);
        for (text, tokens) in [
            (format!("x hf_{twenty}, y"), &[(2, 26)][..]),
            (format!("api_org_{twenty}"), &[(0, 29)][..]),
            (format!("hf_oauth_{twenty}.e-y_J.sig end"), &[(0, 40)][..]),
            (format!("xhf_{twenty}hf_{twenty}\u{e4}"), &[(1, 27), (25, 49)][..]),
            (format!("hf_{twenty}api_org_{twenty}"), &[(0, 27), (24, 53)][..]),
            (format!("hf_jwt_{twenty}hf_{twenty}-"), &[(0, 53)][..]),
            ("hf_short /run/secrets/hf_reader hf_demo_limited api_org_x hf_oauth_".into(), &[][..]),
            (format!("hf_{}", "a".repeat(TOKEN_LENGTH - 1)), &[][..]),
            (format!("hf_{}", "a".repeat(TOKEN_LENGTH)), &[(0, 23)][..]),
        ] {
            let found: Vec<_> =
                shapes(text.as_bytes()).iter().map(|range| (range.start, range.end)).collect();
            assert_eq!(found, tokens, "{text}");
        }
    }
}

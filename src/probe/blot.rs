//! Finds secrets in what came back, however it was spelled: as it is, escaped as JSON or as part of an address, in
//! UTF-16, or with invisible characters in between.
//!
//! Whoever reads an answer undoes such spellings (a JSON string is decoded, invisible characters are dropped before
//! a word is shown), and would have the secret again. Knows bytes only; the keyring knows which secrets there are.

use std::borrow::Cow;
use std::ops::Range;

/// How often one spelling may be wrapped in another: JSON in JSON, an address in JSON. Each more doubles the work.
const WRAPPED: usize = 2;

/// Stands for a character that is part of no secret.
const OTHER: u8 = 0xFF;

/// The bytes with everything that `find` finds in them replaced, in whichever spelling it stands there.
pub(super) fn blot<'a>(
    bytes: &'a [u8],
    with: &str,
    find: impl Fn(&[u8]) -> Vec<Range<usize>>,
) -> Cow<'a, [u8]> {
    let mut found = find(bytes);
    for spelling in SPELLINGS {
        if let Some(layer) = Layer::undo(bytes, spelling) {
            search(&layer, bytes.len(), WRAPPED, &find, &mut found);
        }
    }
    if found.is_empty() {
        return Cow::Borrowed(bytes);
    }
    found.sort_by_key(|range| range.start);
    let mut clean = Vec::with_capacity(bytes.len());
    let mut done = 0;
    for range in found {
        // What begins within the last one only makes it longer.
        if range.start >= done && !range.is_empty() {
            clean.extend_from_slice(bytes.get(done..range.start).unwrap_or_default());
            clean.extend_from_slice(with.as_bytes());
        }
        done = done.max(range.end);
    }
    clean.extend_from_slice(bytes.get(done..).unwrap_or_default());
    Cow::Owned(clean)
}

/// Finds what a layer and all layers above it hold.
fn search(
    layer: &Layer,
    length: usize,
    deep: usize,
    find: &impl Fn(&[u8]) -> Vec<Range<usize>>,
    found: &mut Vec<Range<usize>>,
) {
    found.extend(find(&layer.bytes).into_iter().map(|range| layer.origin(&range, length)));
    if deep <= 1 {
        return;
    }
    for spelling in SPELLINGS {
        if let Some(next) = Layer::undo(&layer.bytes, spelling) {
            search(&next.above(layer), length, deep - 1, find, found);
        }
    }
}

/// What is undone at a time: never both at once, because a secret may hold the signs of the other.
#[derive(Clone, Copy, PartialEq)]
enum Spelling {
    /// Backslashes of JSON; and characters that nobody sees.
    Escapes,
    /// Percent signs of an address; and characters that nobody sees.
    Percents,
}

const SPELLINGS: [Spelling; 2] = [Spelling::Escapes, Spelling::Percents];

/// A text with its outermost spelling undone.
struct Layer {
    bytes: Vec<u8>,
    /// Where the spelling of each byte begins in the text at the bottom. A body is far shorter than what a `u32`
    /// counts, and there may be a million of them.
    begins: Vec<u32>,
}

impl Layer {
    /// `None` where there is nothing to undo.
    fn undo(text: &[u8], spelling: Spelling) -> Option<Layer> {
        // Without a way out in the middle: whole vectors are looked at, and nearly every text is looked at to its end.
        let plain = |byte: &u8| matches!(byte, b' '..=b'~') & (*byte != b'\\');
        let needed = match spelling {
            Spelling::Escapes => !text.iter().fold(true, |all, byte| all & plain(byte)),
            Spelling::Percents => text.contains(&b'%'),
        };
        if !needed {
            return None;
        }
        let mut layer = Layer { bytes: Vec::new(), begins: Vec::new() };
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let (meant, length) = first(rest, spelling);
            if let Some(byte) = meant {
                layer.bytes.push(byte);
                layer.begins.push(u32::try_from(at).unwrap_or(u32::MAX));
            }
            at += length;
        }
        Some(layer)
    }

    /// The same, with places in the text at the bottom, where `below` is what this layer was made of.
    fn above(mut self, below: &Layer) -> Layer {
        for begin in &mut self.begins {
            *begin = below.begin(*begin as usize).unwrap_or(u32::MAX);
        }
        self
    }

    fn begin(&self, at: usize) -> Option<u32> {
        self.begins.get(at).copied()
    }

    /// Where this range stands in the text at the bottom, which is `length` bytes long.
    fn origin(&self, range: &Range<usize>, length: usize) -> Range<usize> {
        let place = |at| self.begin(at).map_or(length, |begin| begin as usize);
        place(range.start)..place(range.end)
    }
}

/// What the text begins with: the byte that is meant, if any, and how many bytes say so.
fn first(text: &[u8], spelling: Spelling) -> (Option<u8>, usize) {
    match (spelling, text) {
        (Spelling::Escapes, [b'\\', b'u', digits @ ..]) => match hex(digits, 4) {
            Some(code) => (meant(code), 6),
            None => (Some(b'\\'), 1),
        },
        (Spelling::Escapes, [b'\\', b'n' | b'r' | b't' | b'b' | b'f', ..]) => (None, 2),
        (Spelling::Escapes, [b'\\', quoted @ (b'"' | b'\\' | b'/'), ..]) => (Some(*quoted), 2),
        (Spelling::Percents, [b'%', digits @ ..]) => match hex(digits, 2) {
            Some(code) => (meant(code), 3),
            None => (Some(b'%'), 1),
        },
        (_, [byte, ..]) if byte.is_ascii() => (meant(u32::from(*byte)), 1),
        _ => wide(text),
    }
}

/// The number that so many hexadecimal digits name.
fn hex(digits: &[u8], count: usize) -> Option<u32> {
    let digits = digits.get(..count).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The byte that a character counts as; none for those that nobody sees.
fn meant(code: u32) -> Option<u8> {
    match u8::try_from(code) {
        Ok(byte @ b' '..=b'~') => Some(byte),
        Ok(0..=0x1F | 0x7F..=0x9F | 0xAD) => None,
        _ => (!invisible(code)).then_some(OTHER),
    }
}

/// Characters without a width, and those that turn the direction of the text around them.
fn invisible(code: u32) -> bool {
    matches!(code, 0x34F | 0x61C | 0x180E | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0xFE00..=0xFE0F | 0xFEFF)
}

/// A character of more than one byte, or a byte that is none.
fn wide(text: &[u8]) -> (Option<u8>, usize) {
    let longest = text.get(..4).unwrap_or(text);
    let valid = match std::str::from_utf8(longest) {
        Ok(valid) => valid,
        Err(error) => {
            longest.get(..error.valid_up_to()).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default()
        }
    };
    valid.chars().next().map_or((Some(OTHER), 1), |c| (meant(u32::from(c)), c.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "hf_a/b\"c\\d%41";

    fn clean(text: &[u8]) -> String {
        let find = |text: &[u8]| {
            let places = text.windows(SECRET.len()).enumerate().filter(|(_, w)| *w == SECRET.as_bytes());
            places.map(|(at, _)| at..at + SECRET.len()).collect()
        };
        String::from_utf8_lossy(&blot(text, "[]", find)).into_owned()
    }

    fn spelled(each: impl Fn(char) -> String) -> String {
        SECRET.chars().map(each).collect()
    }

    #[test]
    fn a_secret_is_found_in_every_spelling_that_a_reader_undoes() {
        let json = serde_json::to_string(SECRET).expect("JSON");
        let json = json.trim_matches('"');
        let twice = serde_json::to_string(json).expect("JSON");
        let unicode = spelled(|c| format!("\\u{:04x}", u32::from(c)));
        let percent = spelled(|c| format!("%{:02X}", u32::from(c)));
        for text in [
            SECRET.to_owned(),
            json.to_owned(),
            json.replace('/', "\\/"),
            twice.trim_matches('"').to_owned(),
            unicode.clone(),
            unicode.to_uppercase().replace("\\U", "\\u"),
            unicode.replace('\\', "\\\\"),
            percent.to_lowercase(),
            percent.replace('%', "%25"),
            percent.clone(),
            unicode.replace('\\', "%5c"),
            spelled(|c| format!("{c}\0")),
            spelled(|c| format!("{c}\n")),
            spelled(|c| format!("{}\\n", if "\"\\".contains(c) { format!("\\{c}") } else { c.to_string() })),
            spelled(|c| format!("{c}\u{200b}\u{202e}\u{ad}")),
            spelled(|c| format!("\\u{:04x}\\u200B", u32::from(c))),
        ] {
            let shown = clean(format!("x {text} y").as_bytes());
            assert!(
                shown.starts_with("x []") && shown.ends_with(" y") && shown.len() < 14,
                "{text:?}: {shown:?}"
            );
        }
    }

    #[test]
    fn what_is_no_secret_stays_byte_for_byte() {
        for text in [
            &b""[..],
            b"plain",
            b"{\"a\": \"\\u00e4\\n\\\"\\q\\u12\", \"b\": \"%zz %4\"}\n",
            "\u{e4}\u{200b}\u{1f600}".as_bytes(),
            b"\xff\xfe\xc3",
            b"hf_a/b\"c\\d",
            b"hf_a/b\"c\\dA",
            "hf_a\u{e4}/b\"c\\d%41".as_bytes(),
        ] {
            assert!(matches!(blot(text, "[]", |_| Vec::new()), Cow::Borrowed(same) if same == text));
            assert_eq!(clean(text), String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn neighbours_and_overlaps_leave_nothing() {
        let all = |text: &[u8]| vec![0..3, 2..5, 5..7, text.len() - 1..text.len()];
        assert_eq!(&*blot(b"abcdefgh-ijk", "[]", all), b"[][]h-ij[]");
    }
}

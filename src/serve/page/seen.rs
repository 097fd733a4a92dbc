//! How a text from outside is written into the page: never as markup, and with nothing in it that cannot be seen.

use std::fmt::{self, Write};

use askama::filters::{Escaper, Html};

/// Escapes markup, and writes a character that hides or turns the text around it as its number: `[U+202E]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen;

impl Escaper for Seen {
    fn write_escaped_str<W: Write>(&self, mut dest: W, string: &str) -> fmt::Result {
        for part in string.split_inclusive(unseen) {
            let last = part.chars().next_back().filter(|c| unseen(*c));
            let text = last.map_or(part, |_| part.strip_suffix(unseen).unwrap_or(part));
            Html.write_escaped_str(&mut dest, text)?;
            if let Some(c) = last {
                write!(dest, "[U+{:04X}]", u32::from(c))?;
            }
        }
        Ok(())
    }
}

/// Control characters but for white space, what has no width, what turns the direction, what stands for a blank and
/// is none. Two names that differ only in these would look the same.
fn unseen(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}')
        || matches!(c, '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}')
        || matches!(c, '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

//! Words of the Hub as people may see them: short, and without characters that steer a terminal or a page.
//!
//! Names, roles and permission strings that come from the Hub are data of strangers. They stand in reports and
//! pages only as `shown` has them, and never in a label or a log line.

/// Longest word that is shown, in characters.
const LIMIT: usize = 64;

/// Control characters, and those that are invisible or turn the direction of the text around them.
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}')
}

/// The word, stripped and cut.
pub fn shown(text: &str) -> String {
    let mut kept = text.chars().filter(|c| !steers(*c));
    let mut word: String = kept.by_ref().take(LIMIT).collect();
    if kept.next().is_some() {
        word.pop();
        word.push('…');
    }
    word
}

/// The word in quotes.
pub fn quoted(text: &str) -> String {
    format!("'{}'", shown(text))
}

/// At most so many of them, and how many more there are.
pub fn listed(items: &[String], most: usize) -> String {
    let mut text = items.iter().take(most).map(String::as_str).collect::<Vec<_>>().join(", ");
    if items.len() > most {
        text.push_str(&format!(" and {} more", items.len() - most));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_cut_and_steers_nothing() {
        assert_eq!(quoted("ci\u{1b}[31m\n\u{202e}bot"), "'ci[31mbot'");
        assert_eq!(shown(&"ä".repeat(64)), "ä".repeat(64));
        assert_eq!(shown(&"ä".repeat(65)), format!("{}…", "ä".repeat(63)));
        let items: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!((listed(&items, 3), listed(&items, 1)), ("a, b, c".to_owned(), "a and 2 more".to_owned()));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_said_stays_short_and_printable(text in "\\PC*|(.|\\n)*") {
            let word = shown(&text);
            proptest::prop_assert!(word.chars().count() <= LIMIT);
            proptest::prop_assert!(!word.chars().any(steers));
        }
    }
}

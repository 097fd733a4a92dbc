//! Words of commands that people paste into a shell.

/// This text as one word that a shell takes as it is, whatever stands in it.
pub fn shell_word(text: &str) -> String {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-=:@".contains(c)) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_it_is_it_stays_one_word() {
        for (text, expected) in [
            ("scopewatch.yaml", "scopewatch.yaml"),
            ("model@group", "model@group"),
            ("a b", "'a b'"),
            ("$(id)'x", "'$(id)'\\''x'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(text), expected);
        }
    }
}

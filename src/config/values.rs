//! Single values: text, numbers, switches, words of a closed list, places of secrets. Each reader notes what is
//! wrong and returns nothing, so that its caller goes on to the next value.

use std::path::PathBuf;
use std::time::Duration;

use super::fields::suggest;
use super::mistakes::Log;
use super::redact::{NEVER, variable};
use super::tree::{Node, Value};
use super::{cron, duration};
use crate::access::RepoName;
use crate::secret::Place;

/// Bytes of one text; names are labels, and labels are short.
const TEXT_LIMIT: usize = 512;

impl Log {
    /// Text of one line, not empty.
    pub(super) fn words<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        let Value::Text(text) = &node.value else {
            let message = format!("text is needed here, not {}", self.quote(node));
            self.mistake(node.at, message, "write it in quotes if it looks like something else");
            return None;
        };
        let wrong = if text.trim().is_empty() {
            "this text is empty"
        } else if text.len() > TEXT_LIMIT {
            "this text is longer than 512 bytes"
        } else if text.chars().any(char::is_control) {
            "this text holds a line end or another control character"
        } else {
            return Some(text);
        };
        self.mistake(node.at, wrong.to_owned(), "one line of plain text is expected");
        None
    }

    /// A name that becomes a label: at most 128 bytes, no white space around it.
    pub(super) fn name<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        let text = self.words(node)?;
        if text.len() > 128 {
            self.mistake(
                node.at,
                format!("{what} is longer than 128 bytes"),
                "names are labels; keep it short",
            );
            return None;
        }
        if text.trim() != text {
            self.mistake(node.at, format!("{what} begins or ends with white space"), "remove it");
            return None;
        }
        Some(text)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, node: &Node) -> Option<bool> {
        match node.word() {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => {
                let message = format!("`true` or `false` is needed here, not {}", self.quote(node));
                self.mistake(node.at, message, "yes, no, on and off are plain text in YAML 1.2");
                None
            }
        }
    }

    /// A whole number within bounds.
    pub(super) fn count(&mut self, node: &Node, least: u64, most: u64) -> Option<u64> {
        let range = format!("a whole number from {least} to {most} is expected");
        match node.word().parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            Ok(number) => {
                let side = if number < least { "small" } else { "large" };
                self.mistake(node.at, format!("{number} is too {side}"), range);
                None
            }
            Err(_) => {
                let message = format!("{} is not a whole number", self.quote(node));
                self.mistake(node.at, message, range);
                None
            }
        }
    }

    /// Above 0 and at most 1.
    pub(super) fn share(&mut self, node: &Node) -> Option<f64> {
        let number = node.word().parse::<f64>().ok().filter(|number| *number > 0.0 && *number <= 1.0);
        if number.is_none() {
            let message = format!("{} is not a share", self.quote(node));
            self.mistake(node.at, message, "a number above 0 and at most 1 is expected, such as 0.1");
        }
        number
    }

    pub(super) fn duration(&mut self, node: &Node) -> Option<Duration> {
        match duration::parse(node.word()) {
            Ok(duration) => Some(duration),
            Err(wrong) => {
                let message = format!("{} is not a duration: it {wrong}", self.quote(node));
                self.mistake(node.at, message, "write it such as 500ms, 10s, 5m, 4h, 7d or 1h30m");
                None
            }
        }
    }

    pub(super) fn cron(&mut self, node: &Node) -> Option<String> {
        let text = self.words(node)?;
        match cron::parse(text) {
            Ok(expression) => Some(expression),
            Err((message, help)) => {
                self.mistake(node.at, message, help);
                None
            }
        }
    }

    pub(super) fn path(&mut self, node: &Node) -> Option<PathBuf> {
        self.words(node).map(PathBuf::from)
    }

    /// `namespace/name`.
    pub(super) fn repo(&mut self, node: &Node) -> Option<RepoName> {
        let text = self.words(node)?;
        let repo = text.parse().ok();
        if repo.is_none() {
            let message = format!("{} is not the full name of a repository", self.quote(node));
            self.mistake(
                node.at,
                message,
                "write it as ORGANIZATION/NAME; letters, digits, `-`, `_` and `.`",
            );
        }
        repo
    }

    /// One of a closed list.
    pub(super) fn choice<T: Copy>(&mut self, node: &Node, what: &str, all: &[(&str, T)]) -> Option<T> {
        let found = all.iter().find(|(name, _)| *name == node.word()).map(|(_, value)| *value);
        if found.is_none() {
            let message = format!("{} is not {what}", self.quote(node));
            let names = all.iter().map(|(name, _)| *name).collect();
            self.mistake(node.at, message, suggest(node.word(), names, "allowed here"));
        }
        found
    }

    /// Where a secret lies: `{file: …}` or `{env: …}`. A value in the open is refused and never shown.
    pub(super) fn place(&mut self, node: &Node) -> Option<Place> {
        let Value::Map(pairs) = &node.value else {
            self.hide(node.at);
            self.mistake(node.at, NEVER.to_owned(), "put the secret there, and only its place here");
            return None;
        };
        let [(key, value)] = pairs.as_slice() else {
            let message = "the place of a secret is one of `file` and `env`".to_owned();
            self.mistake(node.at, message, "write {file: /run/secrets/NAME} or {env: NAME}");
            return None;
        };
        match key.word() {
            "file" => self.path(value).map(Place::File),
            "env" => self.variable(value),
            other => {
                let message = format!("unknown key {} of the place of a secret", self.quote(key));
                self.mistake(key.at, message, suggest(other, vec!["file", "env"], "allowed here"));
                None
            }
        }
    }

    /// The name of an environment variable; anything else may be the secret itself and is not shown.
    fn variable(&mut self, node: &Node) -> Option<Place> {
        let name = node.word();
        if variable(name) {
            return Some(Place::Env(name.to_owned()));
        }
        self.hide(node.at);
        let help = "the name of an environment variable: letters, digits and `_`";
        self.mistake(node.at, "this is not the name of an environment variable".to_owned(), help);
        None
    }
}

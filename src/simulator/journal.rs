//! The memory of the simulated Hub: every request and every change, in order.
//! Knows how to keep secrets out of what it remembers; knows nothing of why a request was answered as it was.
//! Serves `/_sim/requests` and `/_sim/changes`, the witness that tests question.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::Value;

#[derive(Clone, Debug, Serialize)]
pub(super) struct RequestRecord {
    pub(super) seq: u64,
    pub(super) at: String,
    pub(super) request_id: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) route: &'static str,
    /// The token's name in the world, null when there was none or nobody knows it.
    pub(super) token: Option<String>,
    pub(super) user: Option<String>,
    /// Null while unanswered, and for ever when the connection was broken instead.
    pub(super) status: Option<u16>,
    pub(super) body: Option<Value>,
    pub(super) user_agent: Option<String>,
    pub(super) fault: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    pub(super) seq: u64,
    pub(super) at: String,
    /// The request that made it; null when it came by steering.
    pub(super) request: Option<u64>,
    pub(super) kind: &'static str,
    pub(super) repo: String,
    pub(super) r#type: &'static str,
    pub(super) id: String,
    pub(super) token: Option<String>,
    pub(super) user: Option<String>,
    /// What else there is to say: the new name, the branch, …
    pub(super) detail: Option<String>,
}

#[derive(Default)]
pub(super) struct Journal {
    pub(super) requests: VecDeque<RequestRecord>,
    pub(super) changes: Vec<Change>,
    pub(super) last_request: u64,
    pub(super) forgotten: u64,
}

impl Journal {
    pub(super) fn remember(&mut self, record: RequestRecord, at_most: usize) {
        self.requests.push_back(record);
        while self.requests.len() > at_most.max(1) {
            self.requests.pop_front();
            self.forgotten += 1;
        }
    }

    pub(super) fn answered(&mut self, seq: u64, status: u16) {
        let place = self.place(seq);
        if let Some(record) = place.and_then(|place| self.requests.get_mut(place)) {
            record.status = Some(status);
        }
    }

    pub(super) fn request(&self, seq: u64) -> Option<&RequestRecord> {
        self.requests.get(self.place(seq)?)
    }

    /// When a token was last used.
    pub(super) fn last_use(&self, token: &str) -> Option<&str> {
        let last = self.requests.iter().rev().find(|record| record.token.as_deref() == Some(token));
        last.map(|record| record.at.as_str())
    }

    // Sequence numbers have no gaps, so the place follows from the oldest one kept.
    fn place(&self, seq: u64) -> Option<usize> {
        let oldest = self.requests.front().map_or(0, |record| record.seq);
        seq.checked_sub(oldest).and_then(|place| usize::try_from(place).ok())
    }
}

/// Keys whose values are not for remembering, whatever they hold.
const SECRET_KEYS: [&str; 5] = ["secret", "secrets", "token", "password", "credentials"];

/// How secrets of the real Hub begin; one that came here by mistake must not stay.
const SECRET_PREFIXES: [&str; 2] = ["hf_", "api_org_"];

/// Shorter words that begin so are names, such as that of the official client.
const SECRET_LENGTH: usize = 16;

const GONE: &str = "[redacted]";

/// Letters and digits of the shortest real token, without its prefix.
const TOKEN_LENGTH: usize = 20;

/// The text without any of the secrets, and without what looks like one.
pub(super) fn redact(text: &str, secrets: &[&str]) -> String {
    let mut clean = text.to_owned();
    for secret in secrets {
        clean = clean.replace(secret, GONE);
    }
    for prefix in SECRET_PREFIXES {
        clean = redact_words(&clean, prefix);
    }
    clean
}

fn redact_words(text: &str, prefix: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(prefix) {
        let (before, from) = rest.split_at(at);
        let length = from.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let (word, after) = from.split_at(length.unwrap_or(from.len()));
        let inside_a_word = before.ends_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_');
        let run = word.get(prefix.len()..).unwrap_or_default().bytes().take_while(u8::is_ascii_alphanumeric);
        // What is as long as a real token is one even where something was glued to its beginning.
        let harmless = run.count() < TOKEN_LENGTH && (inside_a_word || word.len() < SECRET_LENGTH);
        clean.push_str(before);
        clean.push_str(if harmless { word } else { GONE });
        rest = after;
    }
    clean.push_str(rest);
    clean
}

pub(super) fn redact_value(value: &mut Value, secrets: &[&str]) {
    match value {
        Value::String(text) => *text = redact(text, secrets),
        Value::Array(items) => items.iter_mut().for_each(|item| redact_value(item, secrets)),
        Value::Object(entries) => {
            for (key, entry) in entries.iter_mut() {
                if SECRET_KEYS.contains(&key.as_str()) && !entry.is_null() {
                    *entry = Value::from(GONE);
                } else {
                    redact_value(entry, secrets);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_remembered_holds_no_secret() {
        let cases = [
            ("plain", "plain"),
            ("a demo-secret b", "a [redacted] b"),
            ("hf_abcDEF1234567890", "[redacted]"),
            ("x=hf_abcdefghijklmnop&y=api_org_zyxwvuts", "x=[redacted]&y=[redacted]"),
            ("hf_hub/2.4.0; python", "hf_hub/2.4.0; python"),
            ("half_done stays", "half_done stays"),
            ("rhf_AAAABBBBCCCCDDDDEEEE", "r[redacted]"),
        ];
        for (text, clean) in cases {
            assert_eq!(redact(text, &["demo-secret"]), clean, "{text}");
        }
        let mut body = json!({"name": "x", "secrets": [{"key": "A", "value": "B"}], "deep": {"a": ["hf_abcdefghijklmnop"]}});
        redact_value(&mut body, &[]);
        assert_eq!(body, json!({"name": "x", "secrets": GONE, "deep": {"a": [GONE]}}));
    }

    #[test]
    fn the_oldest_requests_go_first_and_the_rest_keep_their_place() {
        let mut journal = Journal::default();
        for seq in 1..=5 {
            let record = RequestRecord {
                seq,
                at: String::new(),
                request_id: String::new(),
                method: "GET".to_owned(),
                path: "/".to_owned(),
                query: None,
                route: "read",
                token: None,
                user: None,
                status: None,
                body: None,
                user_agent: None,
                fault: None,
            };
            journal.remember(record, 3);
        }
        journal.answered(1, 200);
        journal.answered(4, 404);
        let kept: Vec<_> = journal.requests.iter().map(|record| (record.seq, record.status)).collect();
        assert_eq!(kept, [(3, None), (4, Some(404)), (5, None)]);
        assert_eq!(journal.forgotten, 2);
    }
}

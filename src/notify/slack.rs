//! Slack, by an incoming webhook: blocks for people, a plain line for notifications. Whatever stands in them is escaped,
//! so that no text of a config or of the Hub becomes a link or calls a channel.

use serde_json::{Value, json};
use url::Url;

use crate::access::Severity;
use crate::alert::message::{Message, Tidings};

use super::{Heard, Letter, Outgoing};

/// Slack takes 150 characters in a header and 3,000 in a section.
const HEADER: usize = 140;
const SECTION: usize = 2_800;

pub(super) fn request(url: Url, letter: &Letter) -> Outgoing {
    let body = letter.messages.first().map(blocks).unwrap_or_default().to_string().into_bytes();
    Outgoing { url, body, headers: Vec::new() }
}

/// An incoming webhook says `ok`; a page in between may answer 200 as well.
pub(super) fn took(heard: &Heard) -> bool {
    heard.body.trim() == "ok"
}

fn blocks(message: &Message) -> Value {
    let sign = match (message.tidings, message.words.severity) {
        (Tidings::Resolved, _) => "Resolved",
        (Tidings::Reminder, _) => "Still firing",
        (Tidings::Firing, Severity::Critical) => "CRITICAL",
        (Tidings::Firing, _) => "Firing",
    };
    let title = cut(&format!("{sign}: {}", message.words.summary), HEADER);
    let labels: Vec<String> = message
        .labels()
        .into_iter()
        .filter(|(name, _)| *name != "alertname")
        .map(|(name, value)| format!("*{name}:* {}", escaped(&value)))
        .collect();
    let mut sections = vec![
        json!({"type": "header", "text": {"type": "plain_text", "text": title, "emoji": false}}),
        section(&escaped(&message.words.description)),
        section(&labels.join("\n")),
    ];
    if !message.words.evidence.is_empty() {
        sections.push(section(&format!("*evidence:* {}", escaped(&message.words.evidence))));
    }
    let foot = format!("<{}|Runbook> · {} · {}", message.key.name.runbook(), message.id, message.at);
    sections.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": foot}]}));
    json!({"text": escaped(&title), "blocks": sections})
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": cut(text, SECTION), "verbatim": true}})
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

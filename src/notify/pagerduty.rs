//! PagerDuty, Events API v2: an episode is one incident, by its `dedup_key`; a reminder triggers it again, which
//! PagerDuty adds to the open incident.

use serde_json::json;
use url::Url;

use crate::alert::message::Tidings;

use super::{Letter, Outgoing};

/// PagerDuty takes 1,024 characters.
const SUMMARY: usize = 1_000;

/// `None` without an integration key.
pub(super) fn request(url: Url, letter: &Letter) -> Option<Outgoing> {
    let (key, message) = (letter.secret.as_ref()?, letter.messages.first()?);
    let action = match message.tidings {
        Tidings::Firing | Tidings::Reminder => "trigger",
        Tidings::Resolved => "resolve",
    };
    let summary: String = message.words.summary.chars().take(SUMMARY).collect();
    let body = json!({
        "routing_key": key.expose(),
        "event_action": action,
        "dedup_key": message.id,
        "payload": {
            "summary": summary,
            "source": "scopewatch",
            "severity": message.words.severity,
            "timestamp": message.since,
            "component": message.key.organization,
            "class": message.key.name,
            "custom_details": {
                "labels": message.labels(),
                "annotations": message.annotations(),
                "event": message.tidings,
            },
        },
        "links": [{"href": message.key.name.runbook(), "text": "Runbook"}],
    });
    Some(Outgoing { url, body: body.to_string().into_bytes(), headers: Vec::new() })
}

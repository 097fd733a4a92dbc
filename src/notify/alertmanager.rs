//! Alertmanager, API v2: several alerts in one request, told again and again while they stand.
//!
//! It forgets what is not repeated, so that each alert says how long it holds (`Message::ends_at`). It answers 400 to a
//! bundle of which one alert is wrong although it took the others, which is why a refused bundle goes one by one.

use serde_json::{Value, json};
use url::Url;

use crate::alert::message::{Message, Tidings};
use crate::moment::Timestamp;

use super::{Letter, Outgoing};

const PATH: &str = "/api/v2/alerts";

pub(super) fn request(mut url: Url, letter: &Letter) -> Outgoing {
    let base = url.path().trim_end_matches('/').to_owned();
    if !base.ends_with(PATH) {
        url.set_path(&format!("{base}{PATH}"));
    }
    let alerts: Vec<Value> = letter.messages.iter().map(|message| alert(message, letter.now)).collect();
    Outgoing { url, body: Value::Array(alerts).to_string().into_bytes(), headers: Vec::new() }
}

fn alert(message: &Message, now: Timestamp) -> Value {
    let ends = message.ends_at(now);
    // It must not begin after it ended; clocks may be set in between.
    let begins = match message.tidings {
        Tidings::Resolved => Timestamp(message.since.0.min(ends.0.saturating_sub(1))),
        Tidings::Firing | Tidings::Reminder => message.since,
    };
    json!({
        "labels": message.labels(),
        "annotations": message.annotations(),
        "startsAt": begins,
        "endsAt": ends,
    })
}

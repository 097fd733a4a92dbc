//! Drift that somebody accepted for a while: which findings it silences, and the finding that it becomes itself.
//!
//! An ignore that holds keeps a finding from being raised and its gauge at 0; what was found stands in the report
//! all the same, because accepting it makes it no less true. Once its last day is over the finding is back, and
//! beside it one of the ignore, so that nobody takes an old decision for a present one. Serves `record` and the
//! commands that show findings.

use std::collections::BTreeMap;

use crate::access::Severity;
use crate::config::{Config, Ignore};
use crate::moment::{Moment, Timestamp};
use crate::report::{FindingKey, FindingKind};

use super::Engine;

pub use crate::config::ignores::{accepted, last_day};

/// What an ignore that is over tells a person.
pub fn expired(config: &Config, now: Timestamp) -> impl Iterator<Item = (&Ignore, String)> {
    config.ignores.iter().filter(move |ignore| now >= ignore.until).map(|ignore| (ignore, sentence(ignore)))
}

fn sentence(ignore: &Ignore) -> String {
    let about = match (ignore.permission, &ignore.target) {
        (None, None) => String::new(),
        (permission, target) => {
            let words: Vec<&str> =
                permission.iter().map(|p| p.as_str()).chain(target.iter().map(String::as_str)).collect();
            format!(" ({})", words.join(" "))
        }
    };
    format!(
        "'{}' accepted {} of '{}'{about} until {}: {}; that day is over: mend what it accepted, renew it with a later `until`, or remove it from `ignores`",
        ignore.owner,
        ignore.kind,
        ignore.token,
        last_day(ignore),
        ignore.reason,
    )
}

impl Engine {
    /// Raises a finding for every ignore that is over, and ends those of ignores that were renewed or removed.
    pub(super) fn ignore_findings(&mut self, now: Moment) {
        let config = self.config.clone();
        let mut over: BTreeMap<FindingKey, Vec<String>> = BTreeMap::new();
        for (ignore, sentence) in expired(&config, now.wall) {
            let Some(token) = config.token(&ignore.token) else { continue };
            let key = FindingKey {
                kind: FindingKind::IgnoreExpired,
                organization: token.organization.clone(),
                token: Some(ignore.token.clone()),
                permission: ignore.permission,
                target: ignore.target.clone(),
            };
            over.entry(key).or_default().push(sentence);
        }
        let ended: Vec<FindingKey> = self
            .findings
            .keys()
            .filter(|key| key.kind == FindingKind::IgnoreExpired && !over.contains_key(key))
            .cloned()
            .collect();
        for key in ended {
            self.set_finding(key, false, Severity::Warning, String::new, now.wall);
        }
        for (key, sentences) in over {
            self.set_finding(key, true, Severity::Warning, || sentences.join("; "), now.wall);
        }
    }
}

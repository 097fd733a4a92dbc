//! What is known of checks, tokens and organizations, as Prometheus text straight from the snapshot.
//!
//! A registry would keep a series for each and forget none; written this way, what left the configuration
//! leaves the exposition with it, and a hundred thousand series cost a few milliseconds.

use std::borrow::Cow;
use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::access::{Expected, Verdict};
use crate::moment::Timestamp;
use crate::report::{CheckView, OrganizationView, Snapshot, TokenView};

/// A gauge that is written from the snapshot.
struct Gauge {
    name: &'static str,
    help: &'static str,
}

/// Declares gauges; all their HELP ends in the sentence that values are no older or newer for being scraped.
macro_rules! gauges {
    ($($constant:ident = $name:literal: $help:literal;)+) => {
        $(const $constant: Gauge = Gauge {
            name: $name,
            help: concat!($help, " From the daemon's own schedule, not from the scrape."),
        };)+
    };
}

gauges! {
    CHECK_EXPECTED = "scopewatch_check_expected_allowed": "Whether the configuration expects access.";
    CHECK_ALLOWED = "scopewatch_check_allowed":
        "Whether access was allowed at the last conclusive answer; absent before the first.";
    CHECK_UNDETERMINED = "scopewatch_check_undetermined": "Whether the latest try came to no conclusion.";
    CHECK_DRIFT = "scopewatch_check_drift": "Whether access is, confirmed, not as expected.";
    CHECK_CONCLUSIVE = "scopewatch_check_last_conclusive_timestamp_seconds":
        "When the last conclusive answer was given; absent before the first.";
    PREDICTION_MISMATCH = "scopewatch_prediction_mismatch":
        "Whether the access found differs from what the token's declared scopes predict.";
    TOKEN_INFO = "scopewatch_token_info": "Who answers for a token and how severe its grants are; always 1.";
    TOKEN_USABLE = "scopewatch_token_usable": "Whether the Hub accepts the token.";
    TOKEN_DECLARED_DRIFT = "scopewatch_token_declared_drift":
        "Whether what the token declares differs from what the configuration pins.";
    TOKEN_EXPIRY = "scopewatch_token_expiry_timestamp_seconds": "When the token expires, where the Hub says so.";
    TOKEN_UNCHECKED = "scopewatch_token_unchecked_permissions":
        "Number of declared permissions that no check covers.";
    QUOTA_REMAINING = "scopewatch_hub_quota_remaining_ratio":
        "Lowest remaining share of a rate limit seen in its current window.";
    CANARIES_UNFINISHED = "scopewatch_canaries_unfinished":
        "Number of canary repositories whose absence is not yet proven.";
    CANARY_OLDEST_AGE = "scopewatch_canary_oldest_unfinished_age_seconds":
        "Age of the oldest unfinished canary; 0 when there is none.";
    NOTIFICATIONS_PENDING = "scopewatch_notifications_pending": "Number of messages that a sink has not taken yet.";
    NOTIFICATION_OLDEST_AGE = "scopewatch_notification_oldest_pending_age_seconds":
        "Age of the oldest message that a sink has not taken yet; 0 when there is none.";
    HUB_REACHABLE = "scopewatch_hub_reachable": "Whether the Hub answered at all lately.";
    ROUND_COMPLETED = "scopewatch_round_last_completed_timestamp_seconds": "When the last round was completed.";
}

/// Of the record itself, so that no schedule has a part in it.
const EVIDENCE_HEAD: Gauge = Gauge {
    name: "scopewatch_evidence_head_info",
    help: "Hash of the last entry of the record of evidence, by which `evidence verify --head` knows it again; always 1.",
};

/// Longest label value, in characters.
const LABEL_LIMIT: usize = 200;

/// The value, or, where it is too long, its beginning and a digest: cut names must stay different from each
/// other, because one series that stands twice makes Prometheus refuse the whole page.
pub(super) fn cut(value: &str) -> Cow<'_, str> {
    // No character is shorter than a byte, so this one comparison settles all usual names.
    if value.len() <= LABEL_LIMIT || value.chars().count() <= LABEL_LIMIT {
        return Cow::Borrowed(value);
    }
    let digest = Sha256::digest(value.as_bytes());
    let mut short: String = value.chars().take(LABEL_LIMIT - 9).collect();
    short.push('~');
    for byte in digest.iter().take(4) {
        push(&mut short, format_args!("{byte:02x}"));
    }
    Cow::Owned(short)
}

/// Appends; writing to a string cannot fail.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// Appends `name="value"` after what is there, with the value cut and escaped.
fn push_label(out: &mut String, first: bool, name: &str, value: &str) {
    if !first {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    let value = cut(value);
    if value.bytes().any(|b| matches!(b, b'\\' | b'"' | b'\n')) {
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                other => out.push(other),
            }
        }
    } else {
        out.push_str(&value);
    }
    out.push('"');
}

/// Label sets one behind the other in one buffer, because several families share them.
#[derive(Default)]
struct LabelSets {
    text: String,
    ends: Vec<usize>,
}

impl LabelSets {
    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    fn add(&mut self, labels: &[(&str, &str)]) {
        for (index, (name, value)) in labels.iter().enumerate() {
            push_label(&mut self.text, index == 0, name, value);
        }
        self.ends.push(self.text.len());
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| self.text.get(start..*end).unwrap_or_default())
    }
}

/// Appends one family. Its head is only there where it has samples.
fn family<'a>(out: &mut String, gauge: &Gauge, samples: impl Iterator<Item = (&'a str, &'a str, f64)>) {
    let mut headed = false;
    for (labels, extra, value) in samples {
        if !headed {
            push(out, format_args!("# HELP {0} {1}\n# TYPE {0} gauge\n", gauge.name, gauge.help));
            headed = true;
        }
        out.push_str(gauge.name);
        if !labels.is_empty() {
            out.push('{');
            out.push_str(labels);
            out.push_str(extra);
            out.push('}');
        }
        out.push(' ');
        if value == 0.0 {
            out.push('0');
        } else if value == 1.0 {
            out.push('1');
        } else {
            push(out, format_args!("{value}"));
        }
        out.push('\n');
    }
}

fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

/// The text of one snapshot, in buffers that are used again for the next.
#[derive(Default)]
pub(super) struct StateText {
    out: String,
    labels: LabelSets,
}

impl StateText {
    /// The text last written.
    pub(super) fn as_str(&self) -> &str {
        &self.out
    }

    /// Writes the snapshot's text in place of the last one.
    pub(super) fn write(&mut self, snapshot: &Snapshot) {
        self.out.clear();
        self.write_checks(&snapshot.checks);
        self.write_tokens(&snapshot.tokens);
        self.write_organizations(&snapshot.organizations);
        let reachable = snapshot.hub_reachable.map(|yes| ("", "", flag(yes)));
        family(&mut self.out, &HUB_REACHABLE, reachable.into_iter());
    }

    fn write_checks(&mut self, checks: &[CheckView]) {
        self.labels.clear();
        for check in checks {
            self.labels.add(&[
                ("organization", &check.key.organization),
                ("token", check.key.token.as_str()),
                ("permission", check.key.permission.as_str()),
                ("target", &check.key.target),
            ]);
        }
        let (out, labels) = (&mut self.out, &self.labels);
        let mut each = |gauge: &Gauge, value: fn(&CheckView) -> Option<f64>| {
            let samples = labels.iter().zip(checks);
            family(out, gauge, samples.filter_map(|(labels, check)| Some((labels, "", value(check)?))));
        };
        each(&CHECK_EXPECTED, |check| Some(flag(check.expected == Expected::Allowed)));
        each(&CHECK_ALLOWED, |check| check.allowed.map(flag));
        each(&CHECK_UNDETERMINED, |check| check.undetermined.map(flag));
        each(&CHECK_CONCLUSIVE, |check| check.last_conclusive.map(Timestamp::seconds));
        each(&PREDICTION_MISMATCH, |check| check.prediction_mismatch.map(flag));
        let (grant, denial) = (kind_label(Verdict::UnexpectedGrant), kind_label(Verdict::UnexpectedDenial));
        let drifts = labels.iter().zip(checks).map(|(labels, check)| {
            let kind = if check.expected == Expected::Denied { &grant } else { &denial };
            (labels, kind.as_str(), flag(check.drift))
        });
        family(out, &CHECK_DRIFT, drifts);
    }

    fn write_tokens(&mut self, tokens: &[TokenView]) {
        self.labels.clear();
        for token in tokens {
            self.labels.add(&[
                ("organization", &token.organization),
                ("token", token.token.as_str()),
                ("token_owner", &token.owner),
                ("severity", token.severity.as_str()),
            ]);
        }
        family(&mut self.out, &TOKEN_INFO, self.labels.iter().map(|labels| (labels, "", 1.0)));
        self.labels.clear();
        for token in tokens {
            self.labels.add(&[("organization", &token.organization), ("token", token.token.as_str())]);
        }
        let (out, labels) = (&mut self.out, &self.labels);
        let mut each = |gauge: &Gauge, value: fn(&TokenView) -> Option<f64>| {
            let samples = labels.iter().zip(tokens);
            family(out, gauge, samples.filter_map(|(labels, token)| Some((labels, "", value(token)?))));
        };
        each(&TOKEN_USABLE, |token| token.usable.map(flag));
        each(&TOKEN_DECLARED_DRIFT, |token| token.declared_drift.map(flag));
        each(&TOKEN_EXPIRY, |token| token.expires_at.map(Timestamp::seconds));
        each(&TOKEN_UNCHECKED, |token| token.unchecked_permissions.map(|count| count as f64));
    }

    fn write_organizations(&mut self, organizations: &[OrganizationView]) {
        self.labels.clear();
        for organization in organizations {
            self.labels.add(&[("organization", &organization.name)]);
        }
        let (out, labels) = (&mut self.out, &self.labels);
        let mut each = |gauge: &Gauge, value: fn(&OrganizationView) -> Option<f64>| {
            let samples = labels.iter().zip(organizations);
            family(out, gauge, samples.filter_map(|(labels, each)| Some((labels, "", value(each)?))));
        };
        each(&QUOTA_REMAINING, |organization| organization.quota_remaining);
        each(&CANARIES_UNFINISHED, |organization| Some(organization.unfinished as f64));
    }
}

/// The label by which a drift tells a leak from an outage.
fn kind_label(kind: Verdict) -> String {
    format!(",kind=\"{kind}\"")
}

/// Appends the head of the record. Only the present one is there: whoever wants the earlier ones has them.
pub(super) fn write_head(hash: Option<&str>, out: &mut String) {
    let mut labels = LabelSets::default();
    if let Some(hash) = hash {
        labels.add(&[("head", hash)]);
    }
    family(out, &EVIDENCE_HEAD, labels.iter().map(|labels| (labels, "", 1.0)));
}

/// Appends what changes without a new snapshot: ages, and the end of the last round.
pub(super) fn write_fresh(snapshot: &Snapshot, round: Option<Timestamp>, now: Timestamp, out: &mut String) {
    let mut labels = LabelSets::default();
    for organization in &snapshot.organizations {
        labels.add(&[("organization", &organization.name)]);
    }
    let ages = labels.iter().zip(&snapshot.organizations).map(|(labels, organization)| {
        let age = organization.oldest_unfinished.map_or(0.0, |planned| now.since(planned).as_secs_f64());
        (labels, "", age)
    });
    family(out, &CANARY_OLDEST_AGE, ages);
    let mut sinks = LabelSets::default();
    for sink in &snapshot.sinks {
        sinks.add(&[("sink", &sink.name)]);
    }
    let each = || sinks.iter().zip(&snapshot.sinks);
    family(out, &NOTIFICATIONS_PENDING, each().map(|(labels, sink)| (labels, "", sink.pending as f64)));
    let age = |oldest: Option<Timestamp>| oldest.map_or(0.0, |at| now.since(at).as_secs_f64());
    family(out, &NOTIFICATION_OLDEST_AGE, each().map(|(labels, sink)| (labels, "", age(sink.oldest))));
    family(out, &ROUND_COMPLETED, round.map(|at| ("", "", at.seconds())).into_iter());
}

//! What is known of checks, tokens and organizations, as Prometheus text straight from the snapshot.
//!
//! A registry would keep a series for each and forget none; written this way, what left the configuration
//! leaves the exposition with it, and a hundred thousand series cost a few milliseconds. It is written piece by piece
//! ([`Cursor`]): with ten thousand tokens the whole is larger than all else that the daemon holds.

use std::borrow::Cow;
use std::fmt::Write;

use bytes::{BufMut, BytesMut};
use sha2::{Digest, Sha256};

use crate::access::{Expected, Verdict};
use crate::moment::Timestamp;
use crate::report::{CheckView, OrganizationView, Snapshot, TokenView};

/// A gauge that is written from the snapshot.
#[derive(Clone, Copy)]
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
    short.extend(digest.iter().take(4).map(|byte| format!("{byte:02x}")));
    Cow::Owned(short)
}

/// What stands behind a series.
#[derive(Clone, Copy)]
enum Sample {
    Flag(bool),
    Time(Timestamp),
    Number(f64),
}

/// Of what a family has a series each, and its value; `None` where there is none to tell.
#[derive(Clone, Copy)]
enum Of {
    Checks(fn(&CheckView) -> Option<Sample>),
    /// As checks, with the kind of drift as one more label.
    Drifts(fn(&CheckView) -> Option<Sample>),
    Tokens(fn(&TokenView) -> Option<Sample>),
    /// As tokens, with who answers for them.
    Owners(fn(&TokenView) -> Option<Sample>),
    Organizations(fn(&OrganizationView) -> Option<Sample>),
    Daemon(fn(&Snapshot) -> Option<Sample>),
}

use Sample::{Flag, Number, Time};

/// Every family of the snapshot, in the order of the exposition.
static FAMILIES: [(Gauge, Of); 14] = [
    (CHECK_EXPECTED, Of::Checks(|check| Some(Flag(check.expected == Expected::Allowed)))),
    (CHECK_ALLOWED, Of::Checks(|check| check.allowed.map(Flag))),
    (CHECK_UNDETERMINED, Of::Checks(|check| check.undetermined.map(Flag))),
    (CHECK_CONCLUSIVE, Of::Checks(|check| check.last_conclusive.map(Time))),
    (PREDICTION_MISMATCH, Of::Checks(|check| check.prediction_mismatch.map(Flag))),
    (CHECK_DRIFT, Of::Drifts(|check| Some(Flag(check.drift)))),
    (TOKEN_INFO, Of::Owners(|_| Some(Flag(true)))),
    (TOKEN_USABLE, Of::Tokens(|token| token.usable.map(Flag))),
    (TOKEN_DECLARED_DRIFT, Of::Tokens(|token| token.declared_drift.map(Flag))),
    (TOKEN_EXPIRY, Of::Tokens(|token| token.expires_at.map(Time))),
    (TOKEN_UNCHECKED, Of::Tokens(|token| token.unchecked_permissions.map(|count| Number(count as f64)))),
    (QUOTA_REMAINING, Of::Organizations(|organization| organization.quota_remaining.map(Number))),
    (CANARIES_UNFINISHED, Of::Organizations(|organization| Some(Number(organization.unfinished as f64)))),
    (HUB_REACHABLE, Of::Daemon(|snapshot| snapshot.hub_reachable.map(Flag))),
];

/// The text being written, and whether the family's head is in it.
struct Page<'o> {
    out: &'o mut BytesMut,
    gauge: Gauge,
    headed: bool,
}

impl Page<'_> {
    /// Appends one series. The head of its family is only there where it has any.
    fn series(&mut self, labels: &[(&str, &str)], sample: Option<Sample>) {
        let Some(sample) = sample else { return };
        if !self.headed {
            let Gauge { name, help } = self.gauge;
            for part in ["# HELP ", name, " ", help, "\n# TYPE ", name, " gauge\n"] {
                self.out.extend_from_slice(part.as_bytes());
            }
            self.headed = true;
        }
        self.out.extend_from_slice(self.gauge.name.as_bytes());
        let mut before = b'{';
        for (name, value) in labels {
            self.out.put_u8(before);
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b"=\"");
            push_value(self.out, value);
            self.out.put_u8(b'"');
            before = b',';
        }
        self.out.extend_from_slice(if labels.is_empty() { b" " } else { b"} " });
        push_sample(self.out, sample);
        self.out.put_u8(b'\n');
    }
}

/// Appends the value of a label, cut and escaped.
fn push_value(out: &mut BytesMut, value: &str) {
    let value = cut(value);
    // Without a way out of the loop, so that it goes by many bytes at once.
    let odd = value.bytes().fold(false, |odd, b| odd | (b == b'\\') | (b == b'"') | (b == b'\n'));
    if !odd {
        return out.extend_from_slice(value.as_bytes());
    }
    for byte in value.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(b"\\n"),
            other => out.put_u8(other),
        }
    }
}

fn push_sample(out: &mut BytesMut, sample: Sample) {
    // Writing to memory cannot fail.
    let _ = match sample {
        Flag(value) => return out.put_u8(if value { b'1' } else { b'0' }),
        // Through integers, as the shortest decimal has it: many times faster than through a float.
        Time(at) if at.millis() >= 0 => {
            let (seconds, millis) = (at.millis() / 1000, at.millis() % 1000);
            match millis {
                0 => write!(out, "{seconds}"),
                _ if millis % 100 == 0 => write!(out, "{seconds}.{}", millis / 100),
                _ if millis % 10 == 0 => write!(out, "{seconds}.{:02}", millis / 10),
                _ => write!(out, "{seconds}.{millis:03}"),
            }
        }
        Time(at) => write!(out, "{}", at.seconds()),
        Number(number) => write!(out, "{number}"),
    };
}

fn check_labels(check: &CheckView) -> [(&'static str, &str); 4] {
    let key = &check.key;
    [
        ("organization", &key.organization),
        ("token", key.token.as_str()),
        ("permission", key.permission.as_str()),
        ("target", &key.target),
    ]
}

/// How far the text of a snapshot is written: the family, and of it the token, organization or sink. Always of one and the same snapshot.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cursor {
    family: usize,
    at: usize,
    headed: bool,
}

impl Cursor {
    /// Appends what comes next, until `out` holds `limit` bytes or, by the series of one token, more. Says whether there may be more.
    pub(super) fn write(&mut self, snapshot: &Snapshot, out: &mut BytesMut, limit: usize) -> bool {
        while let Some((gauge, of)) = FAMILIES.get(self.family) {
            let page = Page { out: &mut *out, gauge: *gauge, headed: self.headed };
            if !self.family(snapshot, page, *of, limit) {
                return true;
            }
            *self = Cursor { family: self.family + 1, ..Cursor::default() };
        }
        false
    }

    /// Goes on with a family; says whether it came to its end.
    fn family(&mut self, snapshot: &Snapshot, mut page: Page<'_>, of: Of, limit: usize) -> bool {
        match of {
            Of::Checks(value) => self.each(&snapshot.checks, &mut page, limit, |page, own| {
                own.iter().for_each(|check| page.series(&check_labels(check), value(check)));
            }),
            Of::Drifts(value) => self.each(&snapshot.checks, &mut page, limit, |page, own| {
                for check in own.iter() {
                    let kind = match check.expected {
                        Expected::Denied => Verdict::UnexpectedGrant,
                        Expected::Allowed => Verdict::UnexpectedDenial,
                    };
                    let [organization, token, permission, target] = check_labels(check);
                    let labels = [organization, token, permission, target, ("kind", kind.as_str())];
                    page.series(&labels, value(check));
                }
            }),
            Of::Tokens(value) => self.each(&snapshot.tokens, &mut page, limit, |page, token| {
                let labels = [("organization", &*token.organization), ("token", token.token.as_str())];
                page.series(&labels, value(token));
            }),
            Of::Owners(value) => self.each(&snapshot.tokens, &mut page, limit, |page, token| {
                let labels = [
                    ("organization", &*token.organization),
                    ("token", token.token.as_str()),
                    ("token_owner", &token.owner),
                    ("severity", token.severity.as_str()),
                ];
                page.series(&labels, value(token));
            }),
            Of::Organizations(value) => {
                self.each(&snapshot.organizations, &mut page, limit, |page, organization| {
                    page.series(&[("organization", &organization.name)], value(organization));
                })
            }
            Of::Daemon(value) => {
                page.series(&[], value(snapshot));
                true
            }
        }
    }

    fn each<T>(
        &mut self,
        all: &[T],
        page: &mut Page<'_>,
        limit: usize,
        write: impl Fn(&mut Page<'_>, &T),
    ) -> bool {
        for one in all.get(self.at..).unwrap_or_default() {
            if page.out.len() >= limit {
                self.headed = page.headed;
                return false;
            }
            write(page, one);
            self.at += 1;
        }
        true
    }
}

/// Appends the head of the record. Only the present one is there: whoever wants the earlier ones has them.
pub(super) fn write_head(hash: Option<&str>, out: &mut BytesMut) {
    let mut page = Page { out, gauge: EVIDENCE_HEAD, headed: false };
    if let Some(hash) = hash {
        page.series(&[("head", hash)], Some(Flag(true)));
    }
}

/// Appends what changes without a new snapshot: ages, and the end of the last round.
pub(super) fn write_fresh(snapshot: &Snapshot, round: Option<Timestamp>, now: Timestamp, out: &mut BytesMut) {
    let age = |since: Option<Timestamp>| Some(Number(since.map_or(0.0, |at| now.since(at).as_secs_f64())));
    let mut page = Page { out: &mut *out, gauge: CANARY_OLDEST_AGE, headed: false };
    for organization in &snapshot.organizations {
        page.series(&[("organization", &organization.name)], age(organization.oldest_unfinished));
    }
    let mut page = Page { out: &mut *out, gauge: NOTIFICATIONS_PENDING, headed: false };
    for sink in &snapshot.sinks {
        page.series(&[("sink", &sink.name)], Some(Number(sink.pending as f64)));
    }
    let mut page = Page { out: &mut *out, gauge: NOTIFICATION_OLDEST_AGE, headed: false };
    for sink in &snapshot.sinks {
        page.series(&[("sink", &sink.name)], age(sink.oldest));
    }
    let mut page = Page { out, gauge: ROUND_COMPLETED, headed: false };
    page.series(&[], round.map(Time));
}

//! What is known of checks, tokens and organizations, as Prometheus text straight from the snapshot.
//!
//! A registry would keep a series for each and forget none; written this way, what left the configuration
//! leaves the exposition with it, and a hundred thousand series cost a few milliseconds. It is written piece by piece
//! ([`Cursor`]): with ten thousand tokens the whole is larger than all else that the daemon holds.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::format::Sample::{self, Flag, Number, Time};
use super::format::{push_label, push_sample, push_value};
use crate::access::Expected;
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

type OfCheck = fn(&CheckView) -> Option<Sample>;

/// Of what a family has a series each, and its value; `None` where there is none to tell.
#[derive(Clone, Copy)]
enum Of {
    Checks(OfCheck),
    /// As checks, with the kind of drift as one more label.
    Drifts(OfCheck),
    Tokens(fn(&TokenView) -> Option<Sample>),
    /// As tokens, with who answers for them.
    Owners(fn(&TokenView) -> Option<Sample>),
    Organizations(fn(&OrganizationView) -> Option<Sample>),
    Daemon(fn(&Snapshot) -> Option<Sample>),
}

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
    /// Appends the head of the family, once: it is only there where it has a series.
    fn head(&mut self) {
        if !self.headed {
            let Gauge { name, help } = self.gauge;
            for part in ["# HELP ", name, " ", help, "\n# TYPE ", name, " gauge\n"] {
                self.out.extend_from_slice(part.as_bytes());
            }
            self.headed = true;
        }
    }

    /// Appends one series.
    fn series(&mut self, labels: &[(&str, &str)], sample: Option<Sample>) {
        let Some(sample) = sample else { return };
        self.head();
        self.out.extend_from_slice(self.gauge.name.as_bytes());
        let mut before = b'{';
        for label in labels {
            self.out.put_u8(before);
            push_label(self.out, *label);
            before = b',';
        }
        self.out.extend_from_slice(if labels.is_empty() { b" " } else { b"} " });
        push_sample(self.out, sample);
    }

    /// Appends the series of a token's checks. `start` is room for what they have in common, which is put together only
    /// once: most of a line is copied.
    fn checks(&mut self, checks: &[CheckView], start: &mut BytesMut, value: OfCheck, kinds: bool) {
        for alike in checks.chunk_by(|one, other| owner(one) == owner(other)) {
            start.clear();
            for check in alike {
                let Some(sample) = value(check) else { continue };
                self.head();
                if start.is_empty() {
                    push_start(start, self.gauge.name, check);
                }
                self.out.extend_from_slice(start);
                self.out.extend_from_slice(check.key.permission.as_str().as_bytes());
                self.out.extend_from_slice(b"\",target=\"");
                push_value(self.out, &check.key.target);
                self.out.extend_from_slice(if kinds { kind_end(check) } else { b"\"} " });
                push_sample(self.out, sample);
            }
        }
    }
}

/// What checks of one token have in common.
fn owner(check: &CheckView) -> (&str, &str) {
    (&check.key.organization, check.key.token.as_str())
}

/// Appends a check's line up to the value of `permission`, of which no word needs an escape.
fn push_start(out: &mut BytesMut, name: &str, check: &CheckView) {
    let (organization, token) = owner(check);
    out.extend_from_slice(name.as_bytes());
    out.put_u8(b'{');
    push_label(out, ("organization", organization));
    out.put_u8(b',');
    push_label(out, ("token", token));
    out.extend_from_slice(b",permission=\"");
}

/// The end of a check's labels, with the kind of the drift that it can have.
fn kind_end(check: &CheckView) -> &'static [u8] {
    match check.expected {
        Expected::Denied => b"\",kind=\"unexpected_grant\"} ",
        Expected::Allowed => b"\",kind=\"unexpected_denial\"} ",
    }
}

/// Bytes that the beginning of a line seldom exceeds.
const START: usize = 512;

/// How far the text of a snapshot is written: the family, and of it the token or organization. Always of one and the same snapshot.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    family: usize,
    at: usize,
    headed: bool,
    /// Room for the beginning of a line.
    start: BytesMut,
}

impl Cursor {
    /// Appends what comes next, until `out` holds `limit` bytes or, by the series of one token, more. Says whether there may be more.
    pub(super) fn write(&mut self, snapshot: &Snapshot, out: &mut BytesMut, limit: usize) -> bool {
        while let Some((gauge, of)) = FAMILIES.get(self.family) {
            let page = Page { out: &mut *out, gauge: *gauge, headed: self.headed };
            if !self.family(snapshot, page, *of, limit) {
                return true;
            }
            (self.family, self.at, self.headed) = (self.family + 1, 0, false);
        }
        false
    }

    /// Goes on with a family; says whether it came to its end.
    fn family(&mut self, snapshot: &Snapshot, mut page: Page<'_>, of: Of, limit: usize) -> bool {
        match of {
            Of::Checks(value) => self.checks(&snapshot.checks, &mut page, limit, value, false),
            Of::Drifts(value) => self.checks(&snapshot.checks, &mut page, limit, value, true),
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

    fn checks(
        &mut self,
        all: &[Arc<[CheckView]>],
        page: &mut Page<'_>,
        limit: usize,
        value: OfCheck,
        kinds: bool,
    ) -> bool {
        let mut start = std::mem::take(&mut self.start);
        start.reserve(START);
        let ended = self.each(all, page, limit, |page, own| page.checks(own, &mut start, value, kinds));
        self.start = start;
        ended
    }

    fn each<T>(
        &mut self,
        all: &[T],
        page: &mut Page<'_>,
        limit: usize,
        mut write: impl FnMut(&mut Page<'_>, &T),
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

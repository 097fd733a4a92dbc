//! What rounds came to: the report of the last one, a point for each that the page draws, and why checks that have a
//! finding came out as they did. All of this process, but where it only shows what the journal has.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::access::{Check, CheckKey};
use crate::explain::{Facts, Observed, explain};
use crate::hub::predict::Known;
use crate::moment::{Moment, Timestamp};
use crate::report::{FindingKind, Report, RoundPoint};

use super::Engine;
use super::record::check_finding;

/// Points that are kept: three days of rounds every quarter of an hour.
const KEPT: usize = 288;

/// Texts that are kept, some kilobytes each; of the findings beyond, `explain` tells.
const EXPLAINED: usize = 1000;

/// Kinds of finding that a check may have.
const OF_CHECKS: [FindingKind; 4] = [
    FindingKind::UnexpectedGrant,
    FindingKind::UnexpectedDenial,
    FindingKind::LatentGrant,
    FindingKind::PredictionMismatch,
];

/// What finished rounds left.
#[derive(Debug, Default)]
pub(super) struct History {
    pub report: Option<Arc<Report>>,
    /// When the last one ended.
    pub last: Option<Timestamp>,
    pub points: Arc<[RoundPoint]>,
    /// Why checks that have a finding came out as they did.
    pub explained: Arc<BTreeMap<CheckKey, Arc<str>>>,
}

impl Engine {
    /// A round is over.
    pub(super) fn keep_point(&mut self, report: &Report, now: Moment) {
        let oldest = self.checks.values().filter_map(|state| state.conclusive).map(|(_, at)| at).min();
        let quota =
            self.organization_views(now).iter().filter_map(|view| view.quota_remaining).reduce(f64::min);
        let point = RoundPoint {
            at: report.finished_at,
            summary: report.summary,
            oldest: oldest.map(|at| now.wall.since(at)),
            quota,
        };
        let mut points = self.history.points.to_vec();
        if points.len() >= KEPT {
            points.remove(0);
        }
        points.push(point);
        self.history.points = Arc::from(points);
    }

    /// Tells why this check came out as it did, if there is a finding of it: one that is over is told of as long as it
    /// is shown.
    pub(super) fn explain_check(&mut self, check: &Check, now: Moment) {
        let key = check.key();
        if self.mode.one_shot || !self.has_finding(&key) {
            return;
        }
        let Some(observed) = self.checks.latest(&key).map(|result| Observed::of(result, true)) else {
            return;
        };
        let known = self.known_of(check, now);
        self.keep_explained(check, &known, &observed);
    }

    /// The same of an answer that the journal has.
    pub(super) fn explain_recalled(&mut self, check: &Check, known: &Known, observed: &Observed) {
        if self.has_finding(&check.key()) {
            self.keep_explained(check, known, observed);
        }
    }

    fn keep_explained(&mut self, check: &Check, known: &Known, observed: &Observed) {
        let key = check.key();
        let declared = self.tokens.get(&key.token).and_then(|state| state.declared.as_ref());
        let text = explain(&Facts {
            check,
            expected: true,
            endpoint: self.config.hub.endpoint.as_str(),
            declared: declared.map(|known| (&*known.declared, known.at)),
            known,
            observed: Some(observed),
            untried: "",
        });
        let explained = Arc::make_mut(&mut self.history.explained);
        if explained.len() < EXPLAINED || explained.contains_key(&key) {
            explained.insert(key, Arc::from(text));
        }
    }

    /// Forgets the texts of checks that have no finding any more.
    pub(super) fn forget_explained(&mut self) {
        let gone: Vec<CheckKey> =
            self.history.explained.keys().filter(|key| !self.has_finding(key)).cloned().collect();
        if !gone.is_empty() {
            let explained = Arc::make_mut(&mut self.history.explained);
            explained.retain(|key, _| !gone.contains(key));
        }
    }

    fn has_finding(&self, key: &CheckKey) -> bool {
        self.findings.has(&key.token)
            && OF_CHECKS.iter().any(|kind| self.findings.contains_key(&check_finding(*kind, key)))
    }
}

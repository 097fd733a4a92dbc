//! The state as people and Prometheus see it: one snapshot, made whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{Expected, TokenName};
use crate::config::Token;
use crate::hub::canary;
use crate::moment::Moment;
use crate::report::{CheckView, Finding, FindingKind, OrganizationView, Report, Snapshot};

use super::record::check_finding;
use super::{Effect, Engine, ignores};

/// Resolved findings that are still shown, at most.
const RESOLVED_SHOWN: usize = 100;

/// What was shown last.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The views of each token's checks, as long as nothing changed that they tell of.
    views: BTreeMap<TokenName, Arc<[CheckView]>>,
    /// Something changed that does not wait.
    urgent: bool,
    at: Option<Duration>,
}

impl Shown {
    /// A check of this token changed.
    pub(super) fn changed(&mut self, token: &TokenName) {
        self.views.remove(token);
    }

    /// What changed is to be shown as soon as it is stored.
    pub(super) fn at_once(&mut self) {
        self.urgent = true;
    }
}

impl Engine {
    /// The state as the journal has it, for a process that only shows it: nothing else of this engine comes to anything.
    pub fn only_show(mut self, now: Moment) -> Arc<Snapshot> {
        self.history.report = self.recalled_report();
        self.publish(now);
        let shown = self.out.into_iter().rev().find_map(|effect| match effect {
            Effect::Publish(snapshot) => Some(snapshot),
            _ => None,
        });
        shown.unwrap_or_default()
    }

    /// What was shown before this engine led stays until its first round is over.
    pub fn shows_until_then(&mut self, report: Option<Arc<Report>>) {
        self.history.report = report;
    }

    /// Shows the state as it is now.
    pub(super) fn publish(&mut self, now: Moment) {
        self.changed = false;
        let checks = self.check_views(now);
        let snapshot = Snapshot {
            at: now.wall,
            report: self.history.report.clone(),
            checks,
            tokens: self.config.tokens.iter().map(|token| self.token_view(token, now)).collect(),
            organizations: self.organization_views(now),
            findings: self.shown_findings(),
            canaries: self
                .canaries
                .values()
                .filter(|live| live.canary.next_at.is_some() || live.canary.unfinished())
                .map(|live| live.canary.clone())
                .collect(),
            sweeps: self.sweep_views(),
            sinks: self.sink_views(),
            hub_reachable: self.hub_reachable,
            last_round: self.history.last,
            next_round: self.timetable.next(now.wall).filter(|_| !self.mode.one_shot),
            explained: self.history.explained.clone(),
            history: self.history.points.clone(),
        };
        self.out.push(Effect::Publish(Arc::new(snapshot)));
        self.out.append(&mut self.once_shown);
    }

    /// Whether what changed may be shown by now: at once, but for results that follow one another in a round of many
    /// tokens. That of a finding waits for nothing, nor does the end of the round.
    pub(super) fn may_show(&self, now: Moment) -> bool {
        let waits =
            self.round.is_some() && !self.shown.urgent && self.once_shown.is_empty() && !self.stopping;
        !waits || self.shows_at().is_none_or(|at| now.mono >= at)
    }

    /// When what changed may be shown at the latest.
    pub(super) fn shows_at(&self) -> Option<Duration> {
        let pause = u32::try_from(self.config.tokens.len()).unwrap_or(u32::MAX) / 100;
        Some(self.shown.at? + Duration::from_millis(pause.into()))
    }

    /// Of each token the views of its checks; those that did not change are the same as before.
    fn check_views(&mut self, now: Moment) -> Vec<Arc<[CheckView]>> {
        let mut before = std::mem::take(&mut self.shown.views);
        let config = self.config.clone();
        let views = config.tokens.iter().map(|token| {
            // What is accepted for a while changes by itself.
            let passes = config.ignores.iter().any(|ignore| ignore.token == token.name);
            let views = before.remove(&token.name).filter(|_| !passes);
            if let Some(views) = &views {
                debug_assert_eq!(**views, *self.views_of(token, now), "a change was not noted");
            }
            views.unwrap_or_else(|| self.views_of(token, now))
        });
        let views: Vec<Arc<[CheckView]>> = views.collect();
        let names = config.tokens.iter().map(|token| token.name.clone());
        self.shown =
            Shown { views: names.zip(views.iter().cloned()).collect(), urgent: false, at: Some(now.mono) };
        views
    }

    fn views_of(&self, token: &Token, now: Moment) -> Arc<[CheckView]> {
        let patience = self.patience();
        token
            .checks
            .iter()
            .map(|check| {
                let key = check.key();
                let state = self.checks.get(&key);
                let kind = match check.expected {
                    Expected::Denied => FindingKind::UnexpectedGrant,
                    Expected::Allowed => FindingKind::UnexpectedDenial,
                };
                CheckView {
                    expected: check.expected,
                    allowed: state.and_then(|s| s.conclusive).map(|(allowed, _)| allowed),
                    undetermined: state.map(|s| s.latest.conclusive().is_none()),
                    drift: state.is_some_and(|s| s.drift(check.expected, patience))
                        && ignores::accepted(&self.config, &check_finding(kind, &key), now.wall).is_none(),
                    last_conclusive: state.and_then(|s| s.conclusive).map(|(_, at)| at),
                    prediction_mismatch: self.mismatch_of(&key),
                    key,
                }
            })
            .collect()
    }

    pub(super) fn organization_views(&self, now: Moment) -> Vec<OrganizationView> {
        let mut lowest: BTreeMap<&str, f64> = BTreeMap::new();
        for token in &self.config.tokens {
            let user = self.user_of_token(&token.name);
            if let Some(ratio) = self.pacing.pace.remaining_ratio(&user, now.mono) {
                let entry = lowest.entry(&token.organization).or_insert(ratio);
                *entry = entry.min(ratio);
            }
        }
        self.config
            .organizations
            .iter()
            .map(|organization| {
                let open = || {
                    self.canaries
                        .values()
                        .map(|live| &live.canary)
                        .filter(|c| c.repo.namespace == organization.name && canary::unresolved(c))
                };
                OrganizationView {
                    name: organization.name.clone(),
                    quota_remaining: lowest.get(organization.name.as_str()).copied(),
                    unfinished: u64::try_from(open().count()).unwrap_or(u64::MAX),
                    oldest_unfinished: open().map(|c| c.planned_at).min(),
                    inventory: self.inventory_view(&organization.name),
                }
            })
            .collect()
    }

    fn shown_findings(&self) -> Vec<Finding> {
        let (mut lasting, mut over): (Vec<Finding>, Vec<Finding>) =
            self.findings.values().cloned().partition(|finding| finding.resolved_at.is_none());
        lasting.sort_by_key(|finding| (finding.severity, finding.since));
        over.sort_by_key(|finding| std::cmp::Reverse(finding.resolved_at));
        over.truncate(RESOLVED_SHOWN);
        lasting.extend(over);
        lasting
    }
}

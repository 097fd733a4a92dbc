//! The state as people and Prometheus see it: one snapshot, made whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::access::Expected;
use crate::exchange::Credential;
use crate::hub::canary;
use crate::moment::Moment;
use crate::report::{CheckView, Finding, FindingKind, OrganizationView, Snapshot};

use super::record::check_finding;
use super::{Effect, Engine, ignores};

/// Resolved findings that are still shown, at most.
const RESOLVED_SHOWN: usize = 100;

impl Engine {
    /// Shows the state as it is now.
    pub(super) fn publish(&mut self, now: Moment) {
        self.changed = false;
        let snapshot = Snapshot {
            at: now.wall,
            report: self.history.report.clone(),
            checks: self.check_views(now),
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

    fn check_views(&self, now: Moment) -> Vec<CheckView> {
        let patience = self.patience();
        self.config
            .tokens
            .iter()
            .flat_map(|token| &token.checks)
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
            let user = self.user_of(&Credential::Token(token.name.clone()));
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

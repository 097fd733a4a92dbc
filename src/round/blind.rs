//! Blindness: organizations whose controls failed although the Hub answered, and checks that have had no
//! conclusive answer for too long.

use std::collections::{BTreeMap, BTreeSet};

use crate::access::{Severity, UnknownReason};
use crate::hub::control::Control;
use crate::moment::Moment;
use crate::report::FindingKind;

use super::controls::ControlKey;
use super::record::{check_finding, organization_finding};
use super::{Engine, sentences};

impl Engine {
    /// Draws both from the controls of a round that ended.
    pub(super) fn blind_findings(&mut self, controls: &BTreeMap<ControlKey, Control>, now: Moment) {
        self.blind_organizations(controls, now);
        self.blind_checks(now);
    }

    /// A Hub that says yes to everything, or no to everything, or does not know the organization: its answers
    /// prove nothing, nothing was created, and somebody should know at once. What an outage or a rate limit
    /// keeps from answering is not blindness yet.
    fn blind_organizations(&mut self, controls: &BTreeMap<ControlKey, Control>, now: Moment) {
        let mut failed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut sound: BTreeSet<&str> = BTreeSet::new();
        for ((organization, _), control) in controls {
            match control.result {
                Ok(()) => {
                    sound.insert(organization);
                }
                Err(UnknownReason::NoControl) => {
                    failed.entry(organization).or_default().insert(&control.why);
                }
                Err(_) => {}
            }
        }
        for organization in failed.keys().chain(&sound).copied().collect::<BTreeSet<&str>>() {
            let why = failed.get(organization).map(|why| why.iter().copied().collect::<Vec<_>>().join("; "));
            let key = organization_finding(FindingKind::Blind, organization);
            let detail = || {
                format!(
                    "nothing that the Hub says of '{organization}' proves anything, so nothing was tried: {}",
                    why.clone().unwrap_or_default()
                )
            };
            self.set_finding(key, why.is_some(), Severity::Warning, detail, now.wall);
        }
    }

    fn blind_checks(&mut self, now: Moment) {
        let config = self.config.clone();
        let schedule = &config.schedule;
        let every = [&schedule.probe, &schedule.canary].map(|cron| self.timetable.period(cron, now.wall));
        let [probe, create] = every;
        for check in config.tokens.iter().flat_map(|token| &token.checks) {
            let key = check.key();
            let Some(state) = self.checks.get(&key) else { continue };
            let period = if check.creates() { create } else { probe };
            let stale_after = config.alerts.stale_after.unwrap_or(period * 3);
            // Counted from the start, and by a clock that nobody sets.
            let since = self.checks.concluded(&key).unwrap_or(self.begun.mono);
            let waited = now.mono.saturating_sub(since);
            let blind = state.latest.conclusive().is_none() && waited > stale_after;
            let id = check_finding(FindingKind::Blind, &key);
            self.set_finding(
                id,
                blind,
                Severity::Warning,
                || sentences::finding(FindingKind::Blind, check),
                now.wall,
            );
        }
    }
}

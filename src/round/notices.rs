//! What the sinks are told of the findings: hands what lasts to the teller, and what it says to the store, the counters
//! and the sinks.
//!
//! An engine that runs once, or only observes, tells nobody anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::access::{CheckKey, Severity};
use crate::alert::message::{AlertKey, AlertName, Words, summary};
use crate::alert::outbox::{Delivery, Manner};
use crate::alert::teller::{Said, Sink};
use crate::config::SinkKind;
use crate::moment::{Moment, Timestamp};
use crate::report::{Finding, FindingKind, SinkView};
use crate::store::Write;

use super::record::organization_finding;
use super::{Effect, Engine, Meter};

/// How many findings a description names that stands for several.
const NAMED: usize = 3;

impl Engine {
    /// Whether this engine tells anybody anything.
    fn speaks(&self) -> bool {
        !self.mode.one_shot && !self.observing
    }

    /// The first look: everything that lasts, against everything that was told.
    pub(super) fn take_up_notices(&mut self, now: Moment) {
        for finding in self.findings.values().filter(|finding| finding.resolved_at.is_none()) {
            self.teller.note(&finding.key());
        }
        self.sinks_configured(now);
    }

    /// Sinks may have come or gone.
    pub(super) fn sinks_configured(&mut self, now: Moment) {
        if self.speaks() {
            let sinks = self.config.alerts.sinks.iter();
            let sinks =
                sinks.map(|sink| Sink { name: sink.name.clone(), manner: manner(sink.kind) }).collect();
            let said = self.teller.use_sinks(sinks, now.wall);
            self.heed(said);
        }
    }

    /// Brings what was told up to what lasts, then sends what may be sent.
    pub(super) fn tell_sinks(&mut self, now: Moment) {
        let due = self.teller.due(now.wall);
        if !self.speaks() {
            return;
        }
        let mut lasting = if due.is_empty() { BTreeMap::new() } else { self.lasting(&due) };
        let out = self.hub_is_out();
        for key in due {
            // What is left while the Hub is out, nobody can look at; often it is gone as soon as it can be asked.
            if out && key.name == AlertName::CanaryLeft && !self.teller.fires(&key) {
                self.teller.put_off(key);
                continue;
            }
            let findings = lasting.remove(&key).unwrap_or_default();
            let firing = self.firing(&key, &findings);
            let said = self.teller.look(&key, firing, self.config.alerts.remind_every, now.wall);
            self.heed(said);
        }
        for (sink, messages) in self.teller.send(self.store_faults > 0, now) {
            self.out.push(Effect::Notify { sink, messages });
        }
    }

    /// Whether the Hub did not answer lately, or not in the whole of the last round.
    fn hub_is_out(&self) -> bool {
        let key = organization_finding(FindingKind::HubUnreachable, "");
        let told = self.findings.get(&key).is_some_and(|finding| finding.resolved_at.is_none());
        told || self.hub_reachable == Some(false)
    }

    /// What lasts of these alerts.
    fn lasting(&self, keys: &BTreeSet<AlertKey>) -> BTreeMap<AlertKey, Vec<Finding>> {
        let mut lasting: BTreeMap<AlertKey, Vec<Finding>> = BTreeMap::new();
        for finding in self.findings.values().filter(|finding| finding.resolved_at.is_none()) {
            if let Some(key) = AlertKey::of(&finding.key()).filter(|key| keys.contains(key)) {
                lasting.entry(key).or_default().push(finding.clone());
            }
        }
        lasting
    }

    /// Since when an alert fires, and what is said of it.
    fn firing(&self, key: &AlertKey, findings: &[Finding]) -> Option<(Timestamp, Words)> {
        let since = findings.iter().map(|finding| finding.since).min()?;
        let owner =
            key.token.as_ref().and_then(|token| self.config.token(token)).map(|token| token.owner.clone());
        let named = findings.iter().take(NAMED).map(|finding| finding.detail.clone());
        let more = findings.len().saturating_sub(NAMED);
        let more = (more > 0).then(|| format!("and {more} more, which the page and the API show"));
        let severity = match key.name {
            AlertName::UnexpectedGrant => findings.iter().map(|finding| finding.severity).min(),
            _ => None,
        };
        let words = Words {
            severity: severity.unwrap_or(Severity::Warning),
            token_owner: owner.unwrap_or_default(),
            summary: summary(key),
            description: named.chain(more).collect::<Vec<_>>().join("; "),
            evidence: self.evidence_of(key),
        };
        Some((since, words))
    }

    /// The requests on which an alert about a check stands.
    fn evidence_of(&self, key: &AlertKey) -> String {
        let (Some(token), Some(permission), Some(target)) = (&key.token, key.permission, &key.target) else {
            return String::new();
        };
        let check = CheckKey::new(&*key.organization, token.clone(), permission, target);
        let Some(result) = self.checks.latest(&check) else { return String::new() };
        let evidence = result.evidence();
        let shown = evidence.iter().map(|one| {
            let status = one.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
            let request = one.request_id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default();
            format!("{} {} {status}{request}", one.method, one.path)
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    /// A batch is in the store.
    pub(super) fn notices_stored(&mut self, batch: &[Write]) {
        for write in batch {
            if let Write::Notice(change) = write {
                self.teller.stored(change);
            }
        }
    }

    /// Stores, counts and tells what came of telling.
    fn heed(&mut self, said: Said) {
        for change in said.changes {
            self.remember(Write::Notice(change));
        }
        for (sink, count) in said.counts {
            let (tidings, outcome) = (count.tidings, count.outcome);
            self.out.push(Effect::Meter(Meter::Notification { sink, tidings, outcome }));
        }
        for (sink, message) in said.dropped {
            let (name, tidings) = (message.key.name, message.tidings);
            self.tell(true, format!("a message that sink '{sink}' was owed is dropped: {name}, {tidings}"));
        }
    }

    /// Takes what became of a request to a sink.
    pub(super) fn notified(&mut self, sink: &str, delivery: Delivery, now: Moment) {
        let said = self.teller.answered(sink, delivery, now.mono);
        self.changed = true;
        self.heed(said);
    }

    /// When something may be said that may not be said now.
    pub(super) fn notices_wake(&self, now: Moment) -> Option<Duration> {
        self.teller.wakes(now).filter(|_| self.speaks())
    }

    /// What each sink is owed.
    pub(super) fn sink_views(&self) -> Vec<SinkView> {
        let view = |sink: &crate::config::Sink| {
            let (pending, oldest) = self.teller.pending(&sink.name);
            SinkView { name: sink.name.clone(), pending, oldest }
        };
        self.config.alerts.sinks.iter().map(view).collect()
    }
}

fn manner(kind: SinkKind) -> Manner {
    let alertmanager = kind == SinkKind::Alertmanager;
    Manner { bundles: alertmanager, forgets: alertmanager }
}

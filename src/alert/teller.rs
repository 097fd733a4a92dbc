//! Brings what the sinks know up to what lasts: keeps what was told of each alert and what is still owed, and says what
//! is to be stored, counted and sent.
//!
//! Whatever was missed, by a crash between two batches or before there were sinks, shows as a difference at the next
//! start and is told then. Pure: findings come in as [`Wanted`], both clocks as arguments; nothing is sent here. Serves
//! `round`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::access::Severity;
use crate::moment::{Moment, Timestamp};
use crate::planted::{self, Defect};
use crate::report::FindingKey;

use super::desk::{self, Alert, Step, Wanted};
use super::message::{AlertKey, AlertName, Message, Tidings, Words, summary};
use super::outbox::{After, Count, Delivery, Manner, Outbox, Owed};

/// What is to be stored, in the batch that stores the findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// What was told of an alert.
    Told(Alert),
    Forgotten(AlertKey),
    /// A sink is owed this.
    Owed(Owed),
    /// It is owed these no longer.
    Paid(Vec<i64>),
}

/// What came of telling.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub changes: Vec<Change>,
    /// What became of messages, by sink.
    pub counts: Vec<(String, Count)>,
    /// What was given up, by sink.
    pub dropped: Vec<(String, Message)>,
}

/// A sink that is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink {
    pub name: String,
    pub manner: Manner,
}

/// All that was told, and all that is owed.
#[derive(Debug, Default)]
pub struct Teller {
    sinks: Vec<Sink>,
    alerts: BTreeMap<AlertKey, Alert>,
    outbox: Outbox,
    /// Alerts that are to be looked at.
    changed: BTreeSet<AlertKey>,
    /// Alerts that may be spoken of again at that time.
    waiting: BTreeMap<AlertKey, Timestamp>,
    /// Alerts that nobody looks at any more: their check is no longer configured.
    unwatched: BTreeSet<AlertKey>,
}

impl Teller {
    /// Goes on where the store stopped.
    pub fn new(alerts: Vec<Alert>, owed: Vec<Owed>, now: Timestamp) -> Teller {
        let alerts = if planted::is(Defect::RestartForgets) { Vec::new() } else { alerts };
        let mut alerts: BTreeMap<AlertKey, Alert> =
            alerts.into_iter().map(|alert| (alert.key.clone(), alert)).collect();
        for alert in alerts.values_mut() {
            alert.tame_the_future(now);
        }
        let changed = alerts.keys().cloned().collect();
        Teller { alerts, outbox: Outbox::new(owed), changed, ..Teller::default() }
    }

    /// A finding began, went on or ended.
    pub fn note(&mut self, finding: &FindingKey) {
        if let Some(key) = AlertKey::of(finding) {
            self.unwatched.remove(&key);
            self.changed.insert(key);
        }
    }

    /// A finding is gone because nobody looks there any more.
    pub fn unwatch(&mut self, finding: &FindingKey) {
        if let Some(key) = AlertKey::of(finding) {
            self.unwatched.insert(key.clone());
            self.changed.insert(key);
        }
    }

    /// The clock was set by so many milliseconds.
    pub fn clock_stepped(&mut self, by: i64) {
        for alert in self.alerts.values_mut() {
            alert.clock_stepped(by);
        }
        self.changed.extend(std::mem::take(&mut self.waiting).into_keys());
    }

    /// This is in the store.
    pub fn stored(&mut self, change: &Change) {
        if let Change::Owed(owed) = change {
            self.outbox.is_stored(owed);
        }
    }

    /// These are the sinks from now on: who left is owed nothing, who came hears what fires.
    pub fn use_sinks(&mut self, sinks: Vec<Sink>, now: Timestamp) -> Said {
        let mut said = Said::default();
        self.sinks = sinks;
        let names = self.names();
        for (sink, after) in self.outbox.keep_sinks(&names) {
            said.settle(&sink, after);
        }
        let mut fresh = Vec::new();
        for alert in self.alerts.values_mut().filter(|alert| alert.firing) {
            let new: Vec<String> = names.difference(&alert.sinks).cloned().collect();
            if !new.is_empty() {
                alert.sinks.clone_from(&names);
                said.changes.push(Change::Told(alert.clone()));
                fresh.push((new, alert.message(Tidings::Firing, now)));
            }
        }
        for (new, message) in fresh {
            for sink in new {
                self.owe(&sink, message.clone(), &mut said);
            }
        }
        said
    }

    fn names(&self) -> BTreeSet<String> {
        self.sinks.iter().map(|sink| sink.name.clone()).collect()
    }

    /// The alerts that are to be looked at now.
    pub fn due(&mut self, now: Timestamp) -> BTreeSet<AlertKey> {
        let due: Vec<AlertKey> =
            self.waiting.iter().filter(|(_, at)| now >= **at).map(|(key, _)| key.clone()).collect();
        for key in &due {
            self.waiting.remove(key);
        }
        let mut changed = std::mem::take(&mut self.changed);
        changed.extend(due);
        changed
    }

    /// Looks at it another time.
    pub fn put_off(&mut self, key: AlertKey) {
        self.changed.insert(key);
    }

    /// Whether the last word about it was that it fires.
    pub fn fires(&self, key: &AlertKey) -> bool {
        self.alerts.get(key).is_some_and(|alert| alert.firing)
    }

    /// Looks at one alert. `firing` is since when it fires and what is to be said, if anything of it lasts.
    pub fn look(
        &mut self,
        key: &AlertKey,
        firing: Option<(Timestamp, Words)>,
        remind_every: Duration,
        now: Timestamp,
    ) -> Said {
        let mut said = Said::default();
        let wanted = match firing {
            Some((since, words)) => Wanted::Firing(since, words),
            None if self.unwatched.contains(key) => Wanted::Unwatched,
            None => Wanted::Over,
        };
        // A step may be followed by the wait for the next one; each is another, so that this ends.
        loop {
            let alert = self.alerts.get(key);
            match desk::decide(alert, &wanted, remind_every, now) {
                Step::Nothing => return said,
                Step::Wait(until) => {
                    self.waiting.insert(key.clone(), until);
                    return said;
                }
                Step::Forget => {
                    self.alerts.remove(key);
                    self.unwatched.remove(key);
                    said.changes.push(Change::Forgotten(key.clone()));
                    return said;
                }
                Step::Tell(tidings) => {
                    let names = self.names();
                    let Some(next) = desk::told(alert, key, &wanted, tidings, &names, now) else {
                        return said;
                    };
                    self.tell(next, tidings, now, &mut said);
                }
            }
        }
    }

    fn tell(&mut self, alert: Alert, tidings: Tidings, now: Timestamp, said: &mut Said) {
        let message = alert.message(tidings, now);
        said.changes.push(Change::Told(alert.clone()));
        let hears = |sink: &&Sink| {
            alert.sinks.contains(&sink.name) && !(tidings == Tidings::Reminder && sink.manner.forgets)
        };
        let sinks: Vec<String> = self.sinks.iter().filter(hears).map(|sink| sink.name.clone()).collect();
        self.alerts.insert(alert.key.clone(), alert);
        for sink in sinks {
            self.owe(&sink, message.clone(), said);
        }
    }

    fn owe(&mut self, sink: &str, message: Message, said: &mut Said) {
        let (owed, after) = self.outbox.owe(sink, message);
        if let Some(owed) = owed.filter(|_| !planted::is(Defect::MemoryQueue)) {
            said.changes.push(Change::Owed(owed));
        }
        said.settle(sink, after);
    }

    /// What is to be sent now: one request at a time to each sink, first what it is owed, then what stands.
    /// `unstored_too`: also what fires and could not be stored, because the store fails and nobody must sleep through it.
    pub fn send(&mut self, unstored_too: bool, now: Moment) -> Vec<(String, Vec<Message>)> {
        let mut requests = Vec::new();
        for sink in &self.sinks {
            let owed = self.outbox.next(&sink.name, sink.manner, unstored_too, now.mono);
            let messages = match owed {
                Some(messages) => messages,
                None if sink.manner.forgets && self.outbox.resends(&sink.name, now.mono) => {
                    let standing = desk::standing(&self.alerts, &sink.name, now.wall);
                    standing.chain([watchdog(now.wall)]).collect()
                }
                None => continue,
            };
            requests.push((sink.name.clone(), messages));
        }
        requests
    }

    /// Takes what became of a request to a sink.
    pub fn answered(&mut self, sink: &str, delivery: Delivery, now: Duration) -> Said {
        let mut said = Said::default();
        let after = self.outbox.answered(sink, delivery, now);
        said.settle(sink, after);
        said
    }

    /// When something may be said that may not be said now.
    pub fn wakes(&self, now: Moment) -> Option<Duration> {
        let forgetful: BTreeSet<String> =
            self.sinks.iter().filter(|sink| sink.manner.forgets).map(|sink| sink.name.clone()).collect();
        let waiting = self.waiting.values().min().map(|at| now.mono + at.since(now.wall));
        [waiting, self.outbox.wakes(&forgetful, now.mono)].into_iter().flatten().min()
    }

    /// How many messages a sink is owed, and the time of the oldest.
    pub fn pending(&self, sink: &str) -> (usize, Option<Timestamp>) {
        self.outbox.pending(sink)
    }
}

impl Said {
    fn settle(&mut self, sink: &str, after: After) {
        self.counts.extend(after.counts.into_iter().map(|count| (sink.to_owned(), count)));
        self.dropped.extend(after.dropped.into_iter().map(|message| (sink.to_owned(), message)));
        if !after.over.is_empty() {
            self.changes.push(Change::Paid(after.over));
        }
    }
}

/// The alert whose absence says that nobody watches.
fn watchdog(now: Timestamp) -> Message {
    let key = AlertKey {
        name: AlertName::Watchdog,
        organization: String::new(),
        token: None,
        permission: None,
        target: None,
    };
    let words = Words {
        severity: Severity::Warning,
        token_owner: String::new(),
        summary: summary(&key),
        description:
            "always firing while scopewatch runs and reaches this Alertmanager; its absence is the alert"
                .to_owned(),
        evidence: String::new(),
    };
    Message { id: key.episode(Timestamp(0)), tidings: Tidings::Firing, key, words, since: now, at: now }
}

#[cfg(test)]
#[path = "teller_tests.rs"]
mod tests;

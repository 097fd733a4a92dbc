//! The sinks of a life: one remembers what it heard, one forgets what is not repeated. They are down, lose their
//! receipts, refuse bundles and forget; and they know what they were owed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::alert::message::{AlertKey, Message, Tidings};
use crate::alert::outbox::Delivery;
use crate::moment::Timestamp;
use crate::report::Finding;

use super::life::Dice;

/// The one that forgets, and the one that does not, as the configuration names them.
pub const FORGETS: &str = "am";
pub const REMEMBERS: &str = "hook";
pub const BOTH: [&str; 2] = [FORGETS, REMEMBERS];

/// An alert that fires since then.
type Fired = (AlertKey, Timestamp);

/// What one sink knows of one alert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shown {
    pub firing: bool,
    pub ends: Timestamp,
}

#[derive(Default)]
pub struct Sinks {
    pub down: BTreeSet<&'static str>,
    /// Of what is taken, every so manieth receipt gets lost; 0 is none.
    pub loses_receipts: u64,
    pub refuses_bundles: bool,
    /// What is so, as each was told last.
    pub shown: BTreeMap<(&'static str, AlertKey), Shown>,
    /// What the one that remembers heard, and when.
    pub heard: Vec<(Duration, Message)>,
    /// What was committed, and what a sink heard.
    committed: BTreeSet<Fired>,
    told: BTreeSet<(&'static str, Fired)>,
}

impl Sinks {
    /// Takes a request, or not. `time` is the sink's own clock, which is right.
    pub fn take(
        &mut self,
        sink: &str,
        messages: &[Message],
        time: (Duration, Timestamp),
        dice: &mut Dice,
    ) -> Delivery {
        let Some(sink) = BOTH.into_iter().find(|known| *known == sink) else { return Delivery::Taken };
        if self.down.contains(sink) {
            return Delivery::Later(None);
        }
        for message in messages {
            self.hear(sink, message, time);
        }
        if messages.len() > 1 && self.refuses_bundles {
            return Delivery::Refused;
        }
        if self.loses_receipts > 0 && dice.roll(self.loses_receipts) == 0 {
            return Delivery::Later(None);
        }
        Delivery::Taken
    }

    fn hear(&mut self, sink: &'static str, message: &Message, (now, time): (Duration, Timestamp)) {
        let firing = message.tidings != Tidings::Resolved;
        if firing {
            self.told.insert((sink, (message.key.clone(), message.since)));
        }
        let ends = message.ends_at(time);
        self.shown.insert((sink, message.key.clone()), Shown { firing, ends });
        if sink == REMEMBERS {
            self.heard.push((now, message.clone()));
        }
    }

    /// The one that forgets begins anew.
    pub fn forget(&mut self) {
        self.shown.retain(|(sink, _), _| *sink != FORGETS);
    }

    /// A finding is durable.
    pub fn committed(&mut self, finding: &Finding) {
        let key = AlertKey::of(&finding.key()).filter(|_| finding.resolved_at.is_none());
        self.committed.extend(key.map(|key| (key, finding.since)));
    }

    /// Committed grants of which a sink never heard.
    pub fn lost(&self) -> Vec<String> {
        let grants = self.committed.iter().filter(|(key, _)| key.name.is_grant());
        let pairs = grants.flat_map(|grant| BOTH.map(|sink| (sink, grant)));
        let lost = pairs.filter(|(sink, grant)| !self.told.contains(&(*sink, (*grant).clone())));
        lost.map(|(sink, (key, since))| format!("{sink} never heard of {:?} since {since}", key.token))
            .collect()
    }

    /// Whether a sink was told what never became durable: of that nobody knows who comes after.
    pub fn heard_too_much(&self, key: &AlertKey) -> bool {
        self.told.iter().any(|(_, fired)| fired.0 == *key && !self.committed.contains(fired))
    }

    /// Whether a sink shows this as firing.
    pub fn shows(&self, sink: &'static str, key: &AlertKey, time: Timestamp) -> bool {
        self.shown.get(&(sink, key.clone())).is_some_and(|shown| shown.firing && shown.ends > time)
    }

    /// Messages that the one that remembers took, and how many of them told something new.
    pub fn deliveries(&self) -> (usize, usize) {
        let events: BTreeSet<_> = self.heard.iter().map(|(_, m)| (&m.id, m.tidings, m.at)).collect();
        (self.heard.len(), events.len())
    }
}

//! What is owed to the sinks: which message goes next, when a sink is tried again, what may be left out.
//!
//! At least once, and for each alert in order: a message is forgotten only when its sink took it. A sink that fails
//! is left alone for a while, ever longer; a message that it refuses holds up its own alert and nothing else. The
//! queue of a sink is bounded: reminders give way first, then what is no grant; that a grant fires, never. Pure:
//! times are monotonic. Serves `round`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::planted::{self, Defect};

use super::message::{Message, Tidings};

/// Messages owed to one sink, at most; only first words of grants may go beyond it.
pub const LIMIT: usize = 5_000;
/// Messages in one request, to a sink that takes several.
pub const BATCH: usize = 64;
/// How often a sink without a memory of its own hears everything again.
pub const RESEND_EVERY: Duration = Duration::from_secs(60);
/// Pauses after failures in a row; the last one stays.
const PAUSES: [Duration; 7] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(40),
    Duration::from_secs(60),
];
/// Pause after a message was refused by itself.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);
/// A message that was refused so often is dropped, unless it says that a grant fires.
const REFUSALS: u32 = 5;

/// A message that one sink is owed. Kept in the store until the sink took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Numbers rise with time.
    pub number: i64,
    pub sink: String,
    pub message: Message,
}

/// What became of a request to a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It was taken: a 2xx, or what the sink's protocol has for it.
    Taken,
    /// Not now: nobody answered, or the sink said so; perhaps after this long.
    Later(Option<Duration>),
    /// This will never be taken as it is.
    Refused,
}

/// What a sink can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// It takes several messages at once.
    pub bundles: bool,
    /// It forgets, and must hear again what stands; it hears no reminders.
    pub forgets: bool,
}

/// What is counted of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    pub tidings: Tidings,
    pub outcome: Outcome,
}

crate::access::words! {
    /// What became of a message.
    Outcome {
        Delivered = "delivered",
        Retried = "retried",
        Dropped = "dropped",
    }
}

#[derive(Debug, Clone)]
struct Entry {
    owed: Owed,
    durable: bool,
    refusals: u32,
    /// Goes by itself: in a bundle it was refused.
    alone: bool,
    not_before: Duration,
}

#[derive(Debug, Default)]
struct Line {
    entries: BTreeMap<i64, Entry>,
    /// The numbers that are under way; empty for a re-send.
    busy: Option<Vec<i64>>,
    failures: u32,
    not_before: Duration,
    resend_at: Duration,
}

/// What is owed to every sink.
#[derive(Debug, Default)]
pub struct Outbox {
    lines: BTreeMap<String, Line>,
    last: i64,
}

/// What is to be done after an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct After {
    /// To be forgotten in the store.
    pub over: Vec<i64>,
    pub counts: Vec<Count>,
    /// What was given up, for the log.
    pub dropped: Vec<Message>,
}

impl Outbox {
    /// What the store has.
    pub fn new(owed: Vec<Owed>) -> Outbox {
        let mut outbox = Outbox::default();
        for owed in owed {
            outbox.last = outbox.last.max(owed.number);
            outbox.put(owed, true);
        }
        outbox
    }

    fn put(&mut self, owed: Owed, durable: bool) {
        let line = self.lines.entry(owed.sink.clone()).or_default();
        let not_before = Duration::ZERO;
        line.entries.insert(owed.number, Entry { owed, durable, refusals: 0, alone: false, not_before });
    }

    /// From now on this sink is owed this. Gives what is to be stored, and what had to give way.
    pub fn owe(&mut self, sink: &str, message: Message) -> (Option<Owed>, After) {
        if message.tidings == Tidings::Reminder && self.owes(sink, &message.id) {
            // It has not even heard the first word.
            return (None, After::default());
        }
        self.last += 1;
        let owed = Owed { number: self.last, sink: sink.to_owned(), message };
        self.put(owed.clone(), false);
        let after = self.make_room(sink);
        let there = !after.over.contains(&owed.number);
        (there.then_some(owed), after)
    }

    fn owes(&self, sink: &str, id: &str) -> bool {
        let line = self.lines.get(sink);
        line.is_some_and(|line| line.entries.values().any(|entry| entry.owed.message.id == id))
    }

    /// Within the bound again, by what is least missed: reminders, then whatever is of no grant, then the end of
    /// a grant; of each the oldest.
    fn make_room(&mut self, sink: &str) -> After {
        let mut after = After::default();
        let Some(line) = self.lines.get_mut(sink) else { return after };
        while line.entries.len() > LIMIT {
            let busy = line.busy.clone().unwrap_or_default();
            let rank =
                |entry: &Entry| match (entry.owed.message.tidings, entry.owed.message.key.name.is_grant()) {
                    (Tidings::Reminder, _) => Some(0),
                    (_, false) => Some(1),
                    (Tidings::Resolved, true) => Some(2),
                    (Tidings::Firing, true) => None,
                };
            let candidates = line.entries.iter().filter(|(number, _)| !busy.contains(number));
            let least = candidates.filter_map(|(number, entry)| Some((rank(entry)?, *number))).min();
            let Some(entry) = least.and_then(|(_, number)| line.entries.remove(&number)) else { break };
            after.drop_entry(entry.owed);
        }
        after
    }

    /// This message is in the store.
    pub fn is_stored(&mut self, owed: &Owed) {
        if let Some(entry) =
            self.lines.get_mut(&owed.sink).and_then(|line| line.entries.get_mut(&owed.number))
        {
            entry.durable = true;
        }
    }

    /// What this sink is to be sent now, if anything. `unstored_too`: also what fires and could not be stored, because
    /// the store fails and nobody must sleep through it.
    pub fn next(
        &mut self,
        sink: &str,
        manner: Manner,
        unstored_too: bool,
        now: Duration,
    ) -> Option<Vec<Message>> {
        let line = self.lines.get_mut(sink)?;
        if line.busy.is_some() || now < line.not_before {
            return None;
        }
        let mut alerts = BTreeSet::new();
        let (mut numbers, mut messages) = (Vec::new(), Vec::new());
        let most = if manner.bundles { BATCH } else { 1 };
        for (number, entry) in &line.entries {
            let message = &entry.owed.message;
            // What comes later of an alert waits for what comes before it.
            let first = alerts.insert(&message.key);
            // Who dies before it is stored that something is over would go on as if nobody had been told. Until then
            // the sink shows it as firing, so that nobody sleeps through it if it fires again.
            let urgent = unstored_too && message.tidings != Tidings::Resolved;
            let ready = first && now >= entry.not_before && (entry.durable || urgent);
            if !ready || (entry.alone && !numbers.is_empty()) {
                continue;
            }
            numbers.push(*number);
            messages.push(entry.owed.message.clone());
            if entry.alone || numbers.len() >= most {
                break;
            }
        }
        if numbers.is_empty() {
            return None;
        }
        line.busy = Some(numbers);
        Some(messages)
    }

    /// Whether this sink is to hear now what stands; it counts as being sent.
    pub fn resends(&mut self, sink: &str, now: Duration) -> bool {
        let line = self.lines.entry(sink.to_owned()).or_default();
        if line.busy.is_some() || now < line.not_before || now < line.resend_at {
            return false;
        }
        line.busy = Some(Vec::new());
        line.resend_at = now + RESEND_EVERY;
        true
    }

    /// Takes the end of what was under way to this sink.
    pub fn answered(&mut self, sink: &str, delivery: Delivery, now: Duration) -> After {
        let mut after = After::default();
        let Some(line) = self.lines.get_mut(sink) else { return after };
        let Some(numbers) = line.busy.take() else { return after };
        let single = numbers.len() == 1;
        let delivery = if planted::is(Defect::AckBeforeSend) { Delivery::Taken } else { delivery };
        match delivery {
            Delivery::Taken => {
                line.failures = 0;
                for number in numbers {
                    if let Some(entry) = line.entries.remove(&number) {
                        after.count(&entry.owed, Outcome::Delivered);
                        after.over.push(number);
                    }
                }
            }
            Delivery::Later(wait) => {
                let at = usize::try_from(line.failures).unwrap_or(usize::MAX).min(PAUSES.len() - 1);
                line.failures = line.failures.saturating_add(1);
                line.not_before = now + wait.unwrap_or_default().clamp(PAUSES[at], REFUSED_PAUSE);
                for entry in numbers.iter().filter_map(|number| line.entries.get(number)) {
                    after.count(&entry.owed, Outcome::Retried);
                }
            }
            Delivery::Refused if single => {
                line.failures = 0;
                let number = numbers[0];
                let Some(entry) = line.entries.get_mut(&number) else { return after };
                entry.refusals = entry.refusals.saturating_add(1);
                entry.not_before = now + REFUSED_PAUSE;
                let message = &entry.owed.message;
                let kept = message.key.name.is_grant() && message.tidings == Tidings::Firing;
                if entry.refusals < REFUSALS || kept {
                    after.count(&entry.owed, Outcome::Retried);
                } else if let Some(entry) = line.entries.remove(&number) {
                    after.drop_entry(entry.owed);
                }
            }
            Delivery::Refused => {
                // One of them is at fault, and those that are not may have been taken: each goes by itself.
                line.failures = 0;
                if numbers.is_empty() {
                    return after;
                }
                for number in numbers {
                    if let Some(entry) = line.entries.get_mut(&number) {
                        entry.alone = true;
                        after.count(&entry.owed, Outcome::Retried);
                    }
                }
            }
        }
        after
    }

    /// Only these sinks are configured; what is owed to others is given up.
    pub fn keep_sinks(&mut self, configured: &BTreeSet<String>) -> BTreeMap<String, After> {
        let gone: Vec<String> =
            self.lines.keys().filter(|sink| !configured.contains(*sink)).cloned().collect();
        let mut all = BTreeMap::new();
        for sink in gone {
            let Some(line) = self.lines.remove(&sink) else { continue };
            let after: &mut After = all.entry(sink).or_default();
            for entry in line.entries.into_values() {
                after.drop_entry(entry.owed);
            }
        }
        all
    }

    /// How many messages a sink is owed, and the time of the oldest.
    pub fn pending(&self, sink: &str) -> (usize, Option<crate::moment::Timestamp>) {
        let entries = self.lines.get(sink).map(|line| &line.entries);
        let oldest = entries.and_then(|entries| entries.values().next()).map(|entry| entry.owed.message.at);
        (entries.map_or(0, BTreeMap::len), oldest)
    }

    /// When something may be sent that may not be sent now.
    pub fn wakes(&self, forgetful: &BTreeSet<String>, now: Duration) -> Option<Duration> {
        let idle = self.lines.iter().filter(|(_, line)| line.busy.is_none());
        idle.flat_map(|(sink, line)| {
            let resend = forgetful.contains(sink).then_some(line.resend_at.max(line.not_before));
            let entries = line.entries.values().map(|entry| entry.not_before.max(line.not_before)).min();
            [resend, entries]
        })
        .flatten()
        .filter(|at| *at > now)
        .min()
    }
}

impl After {
    fn count(&mut self, owed: &Owed, outcome: Outcome) {
        self.counts.push(Count { tidings: owed.message.tidings, outcome });
    }

    fn drop_entry(&mut self, owed: Owed) {
        self.count(&owed, Outcome::Dropped);
        self.over.push(owed.number);
        self.dropped.push(owed.message);
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;

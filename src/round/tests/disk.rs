//! The journal of a life: what is durable, what an opening finds, and how it may be lost.
//!
//! Mirrors the store's promises: a batch is there whole or not at all, batches keep their order, a commit that was
//! told to have failed may be there all the same, and who was overtaken writes nothing more.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::access::CheckKey;
use crate::alert::teller::Change;
use crate::intent::{Canary, CanaryState};
use crate::planted::{self, Defect};
use crate::report::FindingKey;
use crate::round::Event;
use crate::store::{Kept, LastAnswer, Past, Write};

use super::hub::Key;
use super::invariants::Invariant;
use super::life::{Life, Pending, nothing_kept};

/// A copy of the journal, as somebody might put it back.
#[derive(Clone)]
pub struct Copy {
    pub kept: Kept,
    pub answers: BTreeMap<CheckKey, LastAnswer>,
    pub journal: BTreeMap<i64, Canary>,
}

impl Life {
    /// What a process finds that opens the journal for writing.
    pub fn open(&mut self) -> Kept {
        self.epoch += 1;
        self.kept.epoch = self.epoch;
        self.read()
    }

    /// What a process finds that only reads it.
    pub fn read(&self) -> Kept {
        let owed =
            |c: &&Canary| c.next_at.is_some() || !matches!(c.state, CanaryState::Gone | CanaryState::Refused);
        let mut kept = self.kept.clone();
        kept.canaries = self.journal.values().filter(owed).cloned().collect();
        kept.last_canary_id = self.journal.keys().copied().max().unwrap_or(0);
        kept
    }

    pub fn store(&mut self, op: u64, batch: Vec<Write>) {
        for write in &batch {
            if let Write::Canary { canary, event, .. } = write
                && event == "intent"
            {
                self.i8_one_open(canary);
            }
        }
        let millis = u64::try_from(self.slow_write.as_millis()).expect("short");
        let takes = Duration::from_millis(1 + self.dice.roll(millis + 1));
        let Some(process) = &mut self.process else { return };
        // Batches become durable in the order in which they were given.
        let asked = self.now.max(process.last_write).saturating_sub(process.zero);
        process.last_write = (self.now + takes).max(process.last_write);
        let after = process.last_write.saturating_sub(self.now);
        let (bad, written) = match self.disk_fault() {
            Some(written) => (true, written),
            None => {
                let bad = self.bad_writes > 0 && self.dice.percent(self.bad_writes);
                // A commit that was told to have failed may be there all the same.
                (bad, !bad || self.dice.percent(30))
            }
        };
        if bad {
            self.ghost.unwritten = true;
            self.fault();
        }
        self.later(after, Pending::Stored { op, batch, written, done: !bad, asked });
    }

    /// A batch has become durable or has not, and its process is told.
    pub fn stored(&mut self, op: u64, batch: Vec<Write>, (written, done): (bool, bool), asked: Duration) {
        let epoch = self.process.as_ref().map_or(0, |process| process.epoch);
        let current = epoch == self.epoch;
        self.r4_stale_writer(epoch, written && current);
        if let Some(watch) = &mut self.watch {
            watch.stored = Some((written && current, done && current));
        }
        if written && current {
            if planted::is(Defect::LossyJournal) {
                let copy = self.copy();
                if let Some(watch) = &mut self.watch {
                    watch.unsynced = Some(copy);
                }
            }
            self.write(batch);
        }
        if written && current && self.ghost.set_after.is_some_and(|before| op > before) {
            self.ghost.set_after = None;
        }
        self.tell(Event::Stored { op, done: done && current, at: asked });
    }

    /// A batch becomes durable.
    pub fn write(&mut self, batch: Vec<Write>) {
        let findings: Vec<FindingKey> = batch
            .iter()
            .filter_map(|write| match write {
                Write::Finding(finding) => Some(finding.key()),
                _ => None,
            })
            .collect();
        // Until then whoever opens it is told what became of it.
        let recorded = |write: &Write| write.of_canaries() || matches!(write, Write::Finding(_));
        if batch.iter().any(recorded) {
            self.kept.past = Past::Continued;
        }
        for write in batch {
            match write {
                Write::Canary { canary, event, .. } => self.write_canary(canary, &event),
                Write::Creation(creation) => self.kept.creations.push(creation),
                Write::Check(state) => {
                    let old = self.kept.checks.iter().position(|old| old.key == state.key);
                    let old = old.map(|at| self.kept.checks.remove(at));
                    self.check_state(old.as_ref(), &state, &findings);
                    self.kept.checks.push(state);
                }
                Write::Answer(answer) => {
                    let known = self.kept.checks.iter().any(|c| c.key == answer.key);
                    self.hold(Invariant::Replay, known, || format!("an answer of no check: {answer:?}"));
                    self.answers.insert(answer.key.clone(), answer);
                }
                Write::ForgetCheck(key) => {
                    self.ghost.checks.remove(&key);
                    self.kept.checks.retain(|old| old.key != key);
                    self.answers.remove(&key);
                }
                Write::Finding(finding) => {
                    self.sinks.committed(&finding);
                    self.kept.findings.retain(|old| old.key() != finding.key());
                    self.kept.findings.push(finding);
                }
                Write::Notice(change) => self.keep_notice(change),
                Write::Breaker(breaker) => {
                    self.kept.breakers.retain(|old| old.organization != breaker.organization);
                    self.kept.breakers.push(breaker);
                }
                Write::Unlatch { .. } => self.kept.breakers.clear(),
                Write::Pause(pause) => {
                    self.kept.pauses.retain(|old| old.owner != pause.owner);
                    self.kept.pauses.push(pause);
                }
                Write::Declared(declared) => {
                    self.kept.declared.retain(|old| old.token != declared.token);
                    self.kept.declared.push(declared);
                }
            }
        }
    }

    fn keep_notice(&mut self, change: Change) {
        let kept = &mut self.kept;
        match change {
            Change::Told(alert) => {
                kept.alerts.retain(|old| old.key != alert.key);
                kept.alerts.push(alert);
            }
            Change::Forgotten(key) => kept.alerts.retain(|old| old.key != key),
            Change::Owed(owed) => {
                kept.owed.retain(|old| old.number != owed.number);
                kept.owed.push(owed);
            }
            Change::Paid(numbers) => kept.owed.retain(|old| !numbers.contains(&old.number)),
        }
    }

    fn write_canary(&mut self, canary: Canary, event: &str) {
        let key: Key = (canary.kind, canary.repo.to_string());
        let old = self.journal.get(&canary.id).cloned();
        if old.as_ref().is_some_and(|old| old.repo != canary.repo) {
            // The store refuses it; nothing in the engine may ever try.
            self.hold(Invariant::Monotone, false, || {
                format!("number {} is given to another canary", canary.id)
            });
        }
        self.i11_monotone(old.as_ref(), &canary);
        self.durable_at.entry(key.clone()).or_insert(self.now);
        if canary.state == CanaryState::Deleting {
            self.ghost.attempted_at.insert(key.clone(), self.now);
        }
        let intent = self.ghost.intents.entry(key.clone()).or_default();
        intent.token = Some(canary.token.clone());
        intent.target.clone_from(&canary.target);
        self.trace(|| format!("  durable: {} {} ({event})", key.1, canary.state));
        let gone = canary.state == CanaryState::Gone;
        self.journal.insert(canary.id, canary);
        if gone {
            self.i6_true_terminal(&key);
        }
    }

    /// What is there now, to be put back later.
    pub fn copy(&self) -> Copy {
        Copy { kept: self.kept.clone(), answers: self.answers.clone(), journal: self.journal.clone() }
    }

    fn put(&mut self, copy: Copy) {
        Copy { kept: self.kept, answers: self.answers, journal: self.journal } = copy;
    }

    /// Somebody puts an old copy in the journal's place; nothing is an empty one. No process runs.
    pub fn replace(&mut self, copy: Option<Copy>, noticed: bool) {
        self.ghost.lost = true;
        self.ghost.fooled |= !noticed;
        let past = match (&copy, noticed) {
            (_, false) => Past::Continued,
            (Some(_), true) => Past::Regressed { known: 2, found: 1 },
            (None, true) => Past::Emptied,
        };
        let nothing = || Copy { kept: nothing_kept(), answers: BTreeMap::new(), journal: BTreeMap::new() };
        self.put(copy.unwrap_or_else(nothing));
        self.kept.past = past;
        self.ghost.checks.clear();
    }

    /// The power fails: without a real sync what was acknowledged last is lost.
    pub fn lose_unsynced(&mut self) {
        if let Some(copy) = self.watch.as_mut().and_then(|watch| watch.unsynced.take()) {
            self.put(copy);
        }
        let posted = self.ghost.intents.iter().filter(|(_, intent)| intent.posted_at.is_some());
        let lost = posted.map(|(key, _)| key).find(|key| self.row(key).is_none()).cloned();
        let known = lost.is_none() || self.ghost.lost;
        self.hold(Invariant::WriteAhead, known, || format!("{lost:?} was asked for, and no row is left"));
    }
}

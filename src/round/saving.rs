//! What is written down: what a request waits for, what nothing waits for, and both in the order in which it happened,
//! through faults of the store.
//!
//! Knows no database: batches leave as effects, and come back as done or not done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::access::{CheckKey, TokenName, UnknownReason};
use crate::alert::message::AlertKey;
use crate::alert::teller::Change;
use crate::intent::Canary;
use crate::moment::Moment;
use crate::report::FindingKey;
use crate::store::{self, Write};

use super::{Effect, Engine};

/// After a store fault, results are tried again after this long.
const STORE_RETRY: Duration = Duration::from_secs(5);
/// Faults of the store in a row after which an engine that is to end does so without having stored everything;
/// what the journal lacks then, the next start looks for.
pub(super) const STORE_PATIENCE: u32 = 4;
/// Results of a round that is under way wait this long for others, so that they are made durable together. Nothing is
/// sent on the strength of them, and nothing is shown before.
const HELD: Duration = Duration::from_millis(100);
/// So many do not wait any longer.
const HELD_MOST: usize = 512;
/// Results kept while the store fails, at most; the oldest go first, never a canary's.
const UNSAVED_LIMIT: usize = 10_000;

/// What waits for a batch to be durable.
#[derive(Debug)]
pub(super) enum Op {
    /// The intent of this canary.
    Intent(i64),
    /// That a creation is tried on a sentinel.
    Trial(u64),
    /// The attempt to delete it; the DELETE must leave before this moment.
    Attempt(i64, Duration),
    /// Results and all else that nothing waits for; kept to be tried again.
    Rest(Vec<Write>),
}

/// Of what there is one version, the latest. The rest is history: all of it counts.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Canary(i64),
    Check(CheckKey),
    Forgotten(CheckKey),
    Answer(CheckKey),
    Finding(FindingKey),
    Declared(TokenName),
    Breaker(String),
    Alert(AlertKey),
    Owed(i64),
}

/// What this is the latest version of.
fn subject(write: &Write) -> Option<Subject> {
    Some(match write {
        Write::Canary { canary, .. } => Subject::Canary(canary.id),
        Write::Check(state) => Subject::Check(state.key.clone()),
        Write::ForgetCheck(key) => Subject::Forgotten(key.clone()),
        Write::Answer(answer) => Subject::Answer(answer.key.clone()),
        Write::Finding(finding) => Subject::Finding(finding.key()),
        Write::Declared(declared) => Subject::Declared(declared.token.clone()),
        Write::Breaker(breaker) => Subject::Breaker(breaker.organization.clone()),
        Write::Unlatch { organization, .. } => Subject::Breaker(organization.clone()),
        Write::Notice(Change::Told(alert)) => Subject::Alert(alert.key.clone()),
        Write::Notice(Change::Forgotten(key)) => Subject::Alert(key.clone()),
        Write::Notice(Change::Owed(owed)) => Subject::Owed(owed.number),
        Write::Creation(_) | Write::Pause(_) | Write::Notice(Change::Paid(_)) => return None,
    })
}

/// Of what no older version counts once this is written.
fn replaced(write: &Write) -> Vec<Subject> {
    let mut replaced: Vec<Subject> = subject(write).into_iter().collect();
    match write {
        Write::ForgetCheck(key) => {
            replaced.extend([Subject::Check(key.clone()), Subject::Answer(key.clone())])
        }
        Write::Notice(Change::Paid(numbers)) => replaced.extend(numbers.iter().copied().map(Subject::Owed)),
        _ => {}
    }
    replaced
}

/// What is not on its way to the store.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    /// Batches that could not be written, by the order in which they were tried.
    failed: BTreeMap<u64, Vec<Write>>,
    /// What came to pass since the last batch left.
    new: Vec<Write>,
    /// Something in it is more than a result.
    pressing: bool,
    /// Since when it waits for more.
    since: Option<Duration>,
}

impl Unsaved {
    pub(super) fn is_empty(&self) -> bool {
        self.failed.is_empty() && self.new.is_empty()
    }

    pub(super) fn push(&mut self, write: Write) {
        self.pressing |= !matches!(write, Write::Check(_) | Write::Answer(_));
        self.new.push(write);
    }

    pub(super) fn extend(&mut self, writes: impl IntoIterator<Item = Write>) {
        writes.into_iter().for_each(|write| self.push(write));
    }

    /// Whether it is nothing but results, and those are few.
    fn may_wait(&self) -> bool {
        self.failed.is_empty() && !self.pressing && self.new.len() < HELD_MOST
    }

    /// Oldest first.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Write> {
        self.failed.values().flatten().chain(&self.new)
    }

    /// A batch could not be written. Later batches may be on their way: what they hold is newer, and must not be
    /// overwritten by this one.
    fn failed(&mut self, op: u64, batch: Vec<Write>, on_their_way: &BTreeSet<Subject>) {
        let newer = |write: &Write| match write {
            // These are about the row of a check that is not written here any more.
            Write::Answer(store::LastAnswer { key, .. }) | Write::ForgetCheck(key)
                if on_their_way.contains(&Subject::Check(key.clone())) =>
            {
                true
            }
            write => subject(write).is_some_and(|subject| on_their_way.contains(&subject)),
        };
        let rest: Vec<Write> = batch.into_iter().filter(|write| !newer(write)).collect();
        self.failed.insert(op, rest);
        self.thin();
    }

    /// Of what has versions only the latest is worth keeping, or a long fault would fill the memory.
    fn thin(&mut self) {
        let mut latest: BTreeSet<Subject> = BTreeSet::new();
        let mut keep = |write: &Write| {
            let keep = subject(write).is_none_or(|subject| !latest.contains(&subject));
            latest.extend(replaced(write));
            keep
        };
        let mut kept = 0;
        for batch in [&mut self.new].into_iter().chain(self.failed.values_mut().rev()) {
            batch.reverse();
            batch.retain(&mut keep);
            batch.reverse();
            kept += batch.len();
        }
        let mut surplus = kept.saturating_sub(UNSAVED_LIMIT);
        for batch in self.failed.values_mut().chain([&mut self.new]) {
            batch.retain(|write| {
                let keep =
                    surplus == 0 || !matches!(write, Write::Check(_) | Write::Answer(_) | Write::Finding(_));
                surplus = surplus.saturating_sub(usize::from(!keep));
                keep
            });
        }
        self.failed.retain(|_, batch| !batch.is_empty());
    }

    fn take(&mut self) -> Vec<Write> {
        (self.pressing, self.since) = (false, None);
        if self.failed.is_empty() {
            return std::mem::take(&mut self.new);
        }
        self.thin();
        let new = std::mem::take(&mut self.new);
        // An answer stands in the row of its check, whose latest version may come after it by now.
        let all = std::mem::take(&mut self.failed).into_values().flatten().chain(new);
        let (answers, mut rest): (Vec<Write>, Vec<Write>) =
            all.partition(|write| matches!(write, Write::Answer(_)));
        rest.extend(answers);
        rest
    }
}

impl Engine {
    /// A batch that something waits for. What is unsaved goes before it, so that nothing is overtaken.
    pub(super) fn store(&mut self, op: Op, batch: Vec<Write>) {
        self.flush();
        self.last_op += 1;
        self.ops.insert(self.last_op, op);
        self.out.push(Effect::Store { op: self.last_op, batch });
    }

    /// Remembers something that nothing waits for.
    pub(super) fn remember(&mut self, write: Write) {
        self.unsaved.push(write);
        self.changed = true;
    }

    pub(super) fn save(&mut self, now: Moment) {
        let rested = self.retry_at.is_none_or(|at| now.mono >= at);
        if !self.saving && rested && !self.holds(now) {
            self.retry_at = None;
            self.flush();
        }
    }

    /// Whether what is unsaved waits for more; a round that is over, or a stop, ends that at once.
    fn holds(&mut self, now: Moment) -> bool {
        if self.unsaved.is_empty() || self.round.is_none() || self.stopping || !self.unsaved.may_wait() {
            return false;
        }
        let since = *self.unsaved.since.get_or_insert(now.mono);
        now.mono < since + HELD
    }

    /// When what waits for more is written at the latest.
    pub(super) fn holds_until(&self) -> Option<Duration> {
        self.unsaved.since.map(|since| since + HELD)
    }

    fn flush(&mut self) {
        if self.unsaved.is_empty() {
            return;
        }
        let mut batch = self.unsaved.take();
        if self.observing {
            batch.retain(Write::of_canaries);
        }
        self.last_op += 1;
        self.ops.insert(self.last_op, Op::Rest(batch.clone()));
        self.saving = true;
        self.out.push(Effect::Store { op: self.last_op, batch });
    }

    /// Canaries as they are on their way to the store, the latest version of each.
    pub(super) fn unstored(&self) -> Vec<Canary> {
        let on_their_way = self.ops.values().filter_map(|op| match op {
            Op::Rest(batch) => Some(batch),
            Op::Intent(_) | Op::Trial(_) | Op::Attempt(..) => None,
        });
        let writes = self.unsaved.failed.values().chain(on_their_way).flatten().chain(&self.unsaved.new);
        let canaries = writes.filter_map(|write| match write {
            Write::Canary { canary, .. } => Some((canary.id, canary.clone())),
            _ => None,
        });
        canaries.collect::<BTreeMap<i64, Canary>>().into_values().collect()
    }

    pub(super) fn stored(&mut self, op: u64, done: bool, at: Duration, now: Moment) {
        if done {
            self.store_faults = 0;
            if std::mem::take(&mut self.store_failed) {
                // What could not be written down waited; it need not wait any longer.
                self.look_at_all_soon(now);
            }
        } else {
            self.store_failed = true;
        }
        let voided = self.voided.remove(&op);
        match self.ops.remove(&op) {
            Some(Op::Trial(id)) if voided => self.trial_unsent(id, now),
            Some(Op::Trial(id)) => self.trial_stored(id, done, now),
            Some(Op::Intent(id)) if voided && done => self.create_unsent(id, UnknownReason::Network, now),
            Some(Op::Intent(id)) => self.intent_stored(id, done, at, now),
            Some(Op::Attempt(id, before)) => self.attempt_stored(id, done && !voided, before, now),
            Some(Op::Rest(batch)) => {
                self.saving = self.ops.values().any(|op| matches!(op, Op::Rest(_)));
                self.changed = true;
                if done {
                    self.notices_stored(&batch);
                } else {
                    self.keep_for_later(op, batch, now);
                }
            }
            None => {}
        }
    }

    /// The store failed: what was to be written is tried again, canaries as they are by then.
    fn keep_for_later(&mut self, op: u64, batch: Vec<Write>, now: Moment) {
        self.retry_at = Some(now.mono + STORE_RETRY);
        self.store_faults = self.store_faults.saturating_add(1);
        let as_now = |write| match write {
            Write::Canary { canary, event, at } => {
                let canary = self.canaries.get(&canary.id).map_or(canary, |live| live.canary.clone());
                Write::Canary { canary, event, at }
            }
            write => write,
        };
        let batch = batch.into_iter().map(as_now).collect();
        let later = self.ops.range(op..).filter_map(|(_, op)| match op {
            Op::Rest(batch) => Some(batch),
            Op::Intent(_) | Op::Trial(_) | Op::Attempt(..) => None,
        });
        let on_their_way = later.flatten().flat_map(replaced).collect();
        self.unsaved.failed(op, batch, &on_their_way);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Permission;
    use crate::moment::Timestamp;
    use crate::store::{Breaker, Pause};

    fn key(target: &str) -> CheckKey {
        let (organization, token) = ("acme".to_owned(), TokenName::new("t"));
        CheckKey::new(organization, token, Permission::RepoCreate, target)
    }

    fn latch(organization: &str, at: i64) -> Write {
        let at = Timestamp(at);
        Write::Breaker(Breaker { organization: organization.to_owned(), at, why: String::new() })
    }

    fn unlatch(organization: &str, at: i64) -> Write {
        Write::Unlatch { organization: organization.to_owned(), at: Timestamp(at) }
    }

    fn pause(at: i64) -> Write {
        let why = UnknownReason::RateLimited;
        Write::Pause(Pause { owner: "bob".to_owned(), at: Timestamp(at), until: Timestamp(at + 1), why })
    }

    fn answer(target: &str) -> Write {
        let at = Timestamp(0);
        Write::Answer(crate::store::LastAnswer { key: key(target), at, body: String::new() })
    }

    fn taken(unsaved: &mut Unsaved) -> Vec<String> {
        unsaved.take().iter().map(|write| format!("{write:?}")).collect()
    }

    fn told(writes: &[Write]) -> Vec<String> {
        writes.iter().map(|write| format!("{write:?}")).collect()
    }

    #[test]
    fn what_failed_is_tried_again_in_the_order_in_which_it_came_to_pass() {
        let mut unsaved = Unsaved::default();
        unsaved.push(pause(5));
        // However the failures are told.
        unsaved.failed(2, vec![pause(3), latch("acme", 3)], &BTreeSet::new());
        unsaved.failed(1, vec![pause(1), unlatch("acme", 1)], &BTreeSet::new());
        assert_eq!(taken(&mut unsaved), told(&[pause(1), pause(3), latch("acme", 3), pause(5)]));
        assert!(unsaved.is_empty());
    }

    #[test]
    fn only_results_wait_for_others_and_not_many_of_them() {
        let mut unsaved = Unsaved::default();
        let fill = |unsaved: &mut Unsaved, count| (0..count).for_each(|_| unsaved.push(answer("a")));
        fill(&mut unsaved, HELD_MOST - 1);
        assert!(unsaved.may_wait());
        unsaved.push(answer("a"));
        assert!(!unsaved.may_wait());
        for more in [pause(1), latch("acme", 1), Write::ForgetCheck(key("a"))] {
            unsaved.take();
            unsaved.push(answer("a"));
            assert!(unsaved.may_wait());
            unsaved.push(more);
            unsaved.push(answer("a"));
            assert!(!unsaved.may_wait());
        }
        unsaved.take();
        unsaved.failed(1, vec![answer("a")], &BTreeSet::new());
        assert!(!unsaved.may_wait());
    }

    #[test]
    fn what_a_later_batch_holds_is_not_overwritten_by_an_older_one() {
        let mut unsaved = Unsaved::default();
        let on_its_way = [unlatch("acme", 2)].iter().flat_map(replaced).collect();
        unsaved.failed(1, vec![latch("acme", 1), latch("other", 1), pause(1)], &on_its_way);
        assert_eq!(taken(&mut unsaved), told(&[latch("other", 1), pause(1)]));
    }

    #[test]
    fn an_answer_comes_after_its_check_and_goes_with_it() {
        let mut unsaved = Unsaved::default();
        unsaved.failed(1, vec![answer("a"), answer("b"), Write::ForgetCheck(key("a"))], &BTreeSet::new());
        unsaved.push(pause(2));
        unsaved.push(Write::ForgetCheck(key("c")));
        unsaved.failed(0, vec![answer("c")], &BTreeSet::new());
        let left = [Write::ForgetCheck(key("a")), pause(2), Write::ForgetCheck(key("c")), answer("b")];
        assert_eq!(taken(&mut unsaved), told(&left));
    }

    #[test]
    fn a_long_fault_fills_no_memory() {
        let mut unsaved = Unsaved::default();
        for op in 0..1000 {
            unsaved.failed(op, vec![latch("acme", 1), answer("a")], &BTreeSet::new());
        }
        assert_eq!(unsaved.iter().count(), 2);
    }
}

//! What is known of each check: one entry each, because there may be a million of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::access::CheckKey;
use crate::alert::CheckState;
use crate::moment::Timestamp;
use crate::report::CheckResult;

/// Of every configured check what is known of it.
#[derive(Debug, Default)]
pub(super) struct Ledger(BTreeMap<CheckKey, Known>);

#[derive(Debug, Default)]
struct Known {
    /// What its answers came to; `None` before the first.
    state: Option<CheckState>,
    /// When it was last answered conclusively in this process.
    concluded: Option<Duration>,
    /// Its latest answer of this process, or of the one that led where this one only shows.
    latest: Option<Arc<CheckResult>>,
    /// Whether the latest conclusive answer differs from its prediction, where there was one.
    mismatched: Option<bool>,
    /// The beginning of the round in which it was asked last.
    turn: Option<Timestamp>,
}

impl Ledger {
    /// What the store kept.
    pub(super) fn of(states: Vec<CheckState>) -> Ledger {
        let known = |state: CheckState| (state.key.clone(), Known { state: Some(state), ..Known::default() });
        Ledger(states.into_iter().map(known).collect())
    }

    /// Its state, if it was ever answered.
    pub(super) fn get(&self, key: &CheckKey) -> Option<&CheckState> {
        self.0.get(key)?.state.as_ref()
    }

    /// The states of all checks that were ever answered.
    pub(super) fn values(&self) -> impl Iterator<Item = &CheckState> {
        self.0.values().filter_map(|known| known.state.as_ref())
    }

    /// Its state after one more answer; with it, when that was, if it was conclusive.
    pub(super) fn insert(&mut self, state: CheckState, concluded: Option<Duration>) {
        let known = self.known(&state.key.clone());
        known.state = Some(state);
        known.concluded = concluded.or(known.concluded);
    }

    /// When it was last answered conclusively in this process.
    pub(super) fn concluded(&self, key: &CheckKey) -> Option<Duration> {
        self.0.get(key)?.concluded
    }

    /// Its latest answer of this process.
    pub(super) fn latest(&self, key: &CheckKey) -> Option<&Arc<CheckResult>> {
        self.0.get(key)?.latest.as_ref()
    }

    /// The same, to be corrected.
    pub(super) fn latest_mut(&mut self, key: &CheckKey) -> Option<&mut CheckResult> {
        self.0.get_mut(key)?.latest.as_mut().map(Arc::make_mut)
    }

    /// The latest answers of all checks.
    #[cfg(test)]
    pub(super) fn results(&self) -> impl Iterator<Item = &Arc<CheckResult>> {
        self.0.values().filter_map(|known| known.latest.as_ref())
    }

    /// A new answer.
    pub(super) fn answered(&mut self, key: &CheckKey, result: CheckResult) {
        self.known(key).latest = Some(Arc::new(result));
    }

    /// Whether its latest conclusive answer differs from what was predicted; `None` where nothing was.
    pub(super) fn mismatched(&self, key: &CheckKey) -> Option<bool> {
        self.0.get(key)?.mismatched
    }

    /// The same, as it is from now on.
    pub(super) fn mismatch(&mut self, key: &CheckKey, differs: Option<bool>) {
        self.known(key).mismatched = differs;
    }

    /// The round in which it was asked last; before this process, when it was answered conclusively.
    pub(super) fn turn(&self, key: &CheckKey) -> Option<Timestamp> {
        let known = self.0.get(key)?;
        let before = || known.state.as_ref()?.conclusive.map(|(_, at)| at);
        known.turn.or_else(before)
    }

    /// It was asked in the round that began then.
    pub(super) fn take_turn(&mut self, key: &CheckKey, round: Timestamp) {
        self.known(key).turn = Some(round);
    }

    /// From now on these are configured: forgets all others, and says which of them had been answered. What stays is known
    /// by these very keys, so that their names are in memory once.
    pub(super) fn keep(&mut self, configured: &BTreeSet<CheckKey>) -> Vec<CheckKey> {
        let mut before = std::mem::take(&mut self.0);
        let known = |key: &CheckKey| {
            let mut known = before.remove(key).unwrap_or_default();
            if let Some(state) = &mut known.state {
                state.key = key.clone();
            }
            (key.clone(), known)
        };
        // All of them at once and in their order: the tree is packed full.
        self.0 = configured.iter().map(known).collect();
        before.into_iter().filter_map(|(key, known)| known.state.map(|_| key)).collect()
    }

    fn known(&mut self, key: &CheckKey) -> &mut Known {
        self.0.entry(key.clone()).or_default()
    }
}

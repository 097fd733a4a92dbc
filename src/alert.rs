//! What lasts: one check's answers over time, and the findings that follow from them.
//!
//! A grant that should not be is drift at the first conclusive sight; a denial needs `confirm_denials` in a
//! row; neither ends but by `resolve_after` conclusive good answers in a row. An undetermined answer changes
//! nothing but the age of the last conclusive one. Pure: state in, state out.

pub mod desk;
pub mod message;
pub mod outbox;
pub mod teller;

use crate::access::{Access, CheckKey, Expected, Verdict};
use crate::compare::compare;
use crate::moment::Timestamp;
use crate::planted::{self, Defect};

/// What is remembered of one check. Its settings are not part of it, so that editing them changes no history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckState {
    /// Which check.
    pub key: CheckKey,
    /// The latest answer, conclusive or not.
    pub latest: Access,
    /// When the latest answer was given.
    pub observed_at: Timestamp,
    /// The last conclusive answer and its time.
    pub conclusive: Option<(bool, Timestamp)>,
    /// Conclusive answers in a row that were not as expected.
    pub bad_streak: u32,
    /// Conclusive answers in a row that were as expected.
    pub good_streak: u32,
    /// Since when the alert of this check fires; `None` when it does not.
    pub firing_since: Option<Timestamp>,
    /// Which way the firing alert drifted.
    pub firing: Option<Verdict>,
}

/// How patient the alerts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Conclusive unexpected denials in a row before they are drift; at least 1.
    pub confirm_denials: u32,
    /// Conclusive good answers in a row before an alert resolves; at least 1.
    pub resolve_after: u32,
}

impl CheckState {
    /// A check that was never answered.
    fn fresh(key: CheckKey, latest: Access, at: Timestamp) -> CheckState {
        CheckState {
            key,
            latest,
            observed_at: at,
            conclusive: None,
            bad_streak: 0,
            good_streak: 0,
            firing_since: None,
            firing: None,
        }
    }

    /// Whether the last conclusive answer is drift, confirmed; it ends with the first good one.
    pub fn drift(&self, expected: Expected, patience: Patience) -> bool {
        match (expected, self.conclusive) {
            (Expected::Denied, Some((true, _))) => true,
            (Expected::Allowed, Some((false, _))) => self.bad_streak >= patience.confirm_denials,
            _ => false,
        }
    }

    /// The state after one more answer.
    #[must_use]
    pub fn after(
        before: Option<&CheckState>,
        key: &CheckKey,
        expected: Expected,
        found: Access,
        patience: Patience,
        now: Timestamp,
    ) -> CheckState {
        let mut state = before.cloned().unwrap_or_else(|| CheckState::fresh(key.clone(), found, now));
        state.latest = found;
        state.observed_at = now;
        let Some(allowed) = found.conclusive().or(unsure_is_fine(expected)) else { return state };
        let verdict = if found.conclusive().is_some() { compare(expected, found) } else { Verdict::Ok };
        let turned = state.conclusive.is_some_and(|(before, _)| before != allowed);
        state.conclusive = Some((allowed, now));
        if verdict == Verdict::Ok {
            state.good_streak = state.good_streak.saturating_add(1);
            state.bad_streak = 0;
            let enough = state.good_streak >= patience.resolve_after;
            if state.firing.is_some() && (enough || planted::is(Defect::ResolveOnFirst)) {
                state.firing = None;
                state.firing_since = None;
            }
            return state;
        }
        state.good_streak = 0;
        state.bad_streak = if turned { 1 } else { state.bad_streak.saturating_add(1) };
        if state.drift(expected, patience) && state.firing != Some(verdict) {
            state.firing = Some(verdict);
            state.firing_since = Some(now);
        }
        state
    }
}

/// What an answer that came to nothing counts as: nothing, but for the planted defect.
fn unsure_is_fine(expected: Expected) -> Option<bool> {
    planted::is(Defect::InconclusiveIsOk).then_some(expected == Expected::Allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{DenyReason, Permission, TokenName, UnknownReason};

    const PATIENCE: Patience = Patience { confirm_denials: 2, resolve_after: 2 };

    fn key() -> CheckKey {
        CheckKey::new("acme", TokenName::new("t"), Permission::RepoCreate, "model")
    }

    /// `+` allowed, `-` denied, `?` undetermined → after each answer: `F` firing, `D` drift not firing, `.` calm,
    /// `f` firing although the drift is over.
    fn story(expected: Expected, answers: &str) -> String {
        let mut state = None;
        let mut told = String::new();
        for (second, answer) in answers.chars().enumerate() {
            let found = match answer {
                '+' => Access::Allowed,
                '-' => Access::Denied(DenyReason::Scope),
                _ => Access::Undetermined(UnknownReason::Timeout),
            };
            let now = Timestamp(i64::try_from(second).expect("short") * 1000);
            let next = CheckState::after(state.as_ref(), &key(), expected, found, PATIENCE, now);
            told.push(match (next.firing.is_some(), next.drift(expected, PATIENCE)) {
                (true, true) => 'F',
                (true, false) => 'f',
                (false, true) => 'D',
                (false, false) => '.',
            });
            state = Some(next);
        }
        told
    }

    #[test]
    fn a_grant_fires_at_once_a_denial_is_confirmed_and_only_evidence_resolves() {
        assert_eq!(story(Expected::Denied, "-+"), ".F");
        assert_eq!(story(Expected::Denied, "+???"), "FFFF");
        assert_eq!(story(Expected::Denied, "+-?-"), "Fff.");
        assert_eq!(story(Expected::Denied, "+-+--"), "FfFf.");
        assert_eq!(story(Expected::Allowed, "+-"), "..");
        assert_eq!(story(Expected::Allowed, "--"), ".F");
        assert_eq!(story(Expected::Allowed, "-?-"), "..F");
        assert_eq!(story(Expected::Allowed, "-+-+"), "....");
        assert_eq!(story(Expected::Allowed, "--++"), ".Ff.");
        assert_eq!(story(Expected::Denied, "????"), "....");
    }
}

//! Which creations are called for where a day does not allow all that are due.
//!
//! Those that had no turn for longest come first, so that none of `n` waits longer than `n / allowed` days, rounded up;
//! of those that had their last turn in the same round (or never one), the tokens of the highest severity. A canary that
//! is left over is tried on the organization's sentinel where that can stand in for it: it is a model, so for models.

use crate::access::{Check, CheckKey, Method, RepoName, RepoType, Severity, Target};
use crate::moment::Timestamp;

/// A creation that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which of the round's it is; given back.
    pub place: usize,
    pub key: CheckKey,
    /// The round in which it was asked last.
    pub last_turn: Option<Timestamp>,
    /// Of its token.
    pub severity: Severity,
    /// Creation calls that its user may make in 24 hours, in its organization.
    pub allowed: usize,
    /// The sentinel on which it may be tried instead.
    pub stand_in: Option<RepoName>,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lot {
    /// It is called for as its check says.
    Canary,
    /// It is tried on this sentinel.
    Sentinel(RepoName),
    /// It waits for its turn.
    Nothing,
}

/// The sentinel that may stand in for the canary of this check.
pub fn stand_in(check: &Check, sentinel: Option<&RepoName>) -> Option<RepoName> {
    let model = matches!(check.target, Target::Create { kind: RepoType::Model, .. });
    sentinel.filter(|_| model && check.method == Method::Canary).cloned()
}

/// What becomes of each of one user's, in the order of choice; `used` calls of the last 24 hours are gone.
pub fn choose(mut due: Vec<Candidate>, used: usize) -> Vec<(usize, Lot)> {
    due.sort_by(|a, b| (a.last_turn, a.severity, &a.key).cmp(&(b.last_turn, b.severity, &b.key)));
    let mut calls = used;
    let lot = |candidate: Candidate| {
        if calls < candidate.allowed {
            calls += 1;
            return (candidate.place, Lot::Canary);
        }
        (candidate.place, candidate.stand_in.map_or(Lot::Nothing, Lot::Sentinel))
    };
    due.into_iter().map(lot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Permission, TokenName};
    use std::collections::BTreeMap;

    fn candidate(place: usize, last: Option<i64>, severity: Severity, allowed: usize) -> Candidate {
        let token = TokenName::new(&format!("t{place:03}"));
        let key = CheckKey::new("acme", token, Permission::RepoCreate, "model");
        let last_turn = last.map(Timestamp);
        Candidate { place, key, last_turn, severity, allowed, stand_in: None }
    }

    fn chosen(due: Vec<Candidate>, used: usize) -> Vec<usize> {
        let lots = choose(due, used).into_iter();
        lots.filter(|(_, lot)| *lot == Lot::Canary).map(|(place, _)| place).collect()
    }

    #[test]
    fn who_waited_longest_comes_first_and_of_those_the_critical_ones() {
        let due = vec![
            candidate(0, Some(5), Severity::Critical, 3),
            candidate(1, None, Severity::Info, 3),
            candidate(2, Some(4), Severity::Info, 3),
            candidate(3, Some(4), Severity::Critical, 3),
            candidate(4, None, Severity::Warning, 3),
        ];
        assert_eq!(chosen(due.clone(), 0), [4, 1, 3]);
        assert_eq!(chosen(due.clone(), 2), [4]);
        assert_eq!(chosen(due, 7), Vec::<usize>::new());
    }

    #[test]
    fn what_is_left_over_is_tried_on_the_sentinel_that_can_stand_in() {
        let sentinel: RepoName = "acme/known".parse().expect("a name");
        let mut due: Vec<Candidate> = (0..3).map(|n| candidate(n, None, Severity::Critical, 1)).collect();
        due[1].stand_in = Some(sentinel.clone());
        let lots = choose(due, 0);
        assert_eq!(lots, [(0, Lot::Canary), (1, Lot::Sentinel(sentinel)), (2, Lot::Nothing)]);
    }

    proptest::proptest! {
        #[test]
        fn never_more_than_allowed_and_none_waits_longer_than_its_days(
            severities in proptest::collection::vec(0usize..3, 1..60),
            allowed in 1usize..40,
            rounds in 1u32..4,
        ) {
            let n = severities.len();
            let days = n.div_ceil(allowed);
            let mut last: BTreeMap<usize, i64> = BTreeMap::new();
            for day in 0..(4 * days + 2) {
                let mut made = 0;
                // Every round of a day finds all of them due.
                for _ in 0..rounds {
                    let due = severities.iter().enumerate().map(|(place, severity)| {
                        let last = last.get(&place).copied();
                        candidate(place, last, Severity::ALL[*severity], allowed)
                    });
                    let turn = i64::try_from(day).expect("few");
                    for place in chosen(due.collect(), made) {
                        made += 1;
                        last.insert(place, turn);
                    }
                }
                proptest::prop_assert!(made <= allowed);
                for place in 0..n {
                    let waited = match last.get(&place) {
                        Some(turn) => day - usize::try_from(*turn).expect("a day"),
                        None => day + 1,
                    };
                    proptest::prop_assert!(waited <= days, "{place} waits {waited} days of {days}");
                }
            }
        }
    }
}

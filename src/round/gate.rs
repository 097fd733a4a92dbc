//! The send gate: what must be true at the very instant in which a request leaves that changes the Hub.
//!
//! `may_leave` is asked by whoever carries a request out, immediately before it is handed to the network: the
//! decision is young, and the journal is still this process's to write. `Engine::assert_sound` is asked before the
//! request is let out of the engine at all; what it asserts can only fail by a mistake of ours, and then a process
//! that ends at once is the only right answer: everything it needs to go on is in the journal.

use std::time::Duration;

use crate::exchange::Request;
use crate::intent::{CanaryState, DeleteOutcome};
use crate::moment::Moment;
use crate::planted::{self, Defect};

use super::clock::go_together;
use super::{Engine, Job};

/// What a request that changes the Hub is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// It leaves no later than this (monotonic), or never: what the decision stood on may be otherwise by then.
    pub before: Duration,
    /// Both clocks, as they stood to one another when it was decided. The monotonic one stands still while the machine
    /// sleeps: if they have come apart since, nobody knows how old the decision is.
    pub clocks: Moment,
    /// The epoch of the journal under which it was decided.
    pub epoch: i64,
}

/// Whether a request may leave now. `epoch` is that under which this process may write to the journal at this
/// moment; `None` when it may not any more, because another process took over or a write could not be trusted.
///
/// What is not bound changes nothing and may leave at any time.
pub fn may_leave(bound: Option<Bound>, now: Moment, epoch: Option<i64>) -> bool {
    if planted::is(Defect::NoCheckAtSend) || (planted::is(Defect::HolderNotEpoch) && epoch.is_some()) {
        return true;
    }
    bound.is_none_or(|bound| bound.in_time(now) && epoch == Some(bound.epoch))
}

impl Bound {
    fn in_time(self, now: Moment) -> bool {
        now.mono <= self.before && go_together(self.clocks, now)
    }
}

/// The two routes that change something; every other request only looks.
pub(super) fn changes(request: &Request) -> bool {
    matches!(request.route, "/api/repos/create" | "/api/repos/delete")
}

impl Engine {
    /// I1, I2, I4, I13, I14 and P3, asserted of a request that is about to be let out.
    pub(super) fn assert_sound(&self, flight: u64, request: &Request, bound: Option<Bound>, now: Moment) {
        if !changes(request) {
            return;
        }
        assert!(bound.is_some(), "P3: a request that changes the Hub is bound to a moment and an epoch");
        if bound.is_some_and(|bound| !bound.in_time(now)) {
            // Too late: the gate will not let it pass, whatever it stood on.
            return;
        }
        assert!(!self.mode.read_only, "no request that changes the Hub is let out under --read-only");
        match self.flights.get(&flight) {
            Some(Job::Create(id)) => self.assert_create(*id),
            Some(Job::Delete(id)) => self.assert_delete(*id, now),
            Some(Job::Trial(id)) => self.assert_trial(*id),
            other => assert!(other.is_none(), "a request that changes the Hub belongs to no walk that may"),
        }
    }

    fn assert_create(&self, id: i64) {
        let live = self.canaries.get(&id);
        let planned = live.is_some_and(|live| live.canary.state == CanaryState::Planned);
        assert!(planned, "I2: a name is asked for once, while its intent is new");
        assert!(live.is_some_and(|live| live.durable), "I1: the intent is durable before its POST");
        let namespace = live.map(|live| live.canary.repo.namespace.clone()).unwrap_or_default();
        assert!(!self.breakers.contains_key(&namespace), "I14: nothing is created while latched");
        assert!(self.config.organization(&namespace).is_some(), "I13: only in a configured organization");
    }

    fn assert_delete(&self, id: i64, now: Moment) {
        let live = self.canaries.get(&id);
        let canary = live.map(|live| &live.canary);
        let deleting = canary.is_some_and(|canary| canary.state == CanaryState::Deleting);
        assert!(deleting && live.is_some_and(|live| live.durable), "I4: its attempt is durable");
        assert!(canary.is_some_and(|canary| canary.repo_id.is_some()), "I4: its id is bound");
        let (last, earlier) = match canary.and_then(|canary| canary.deletes.split_last()) {
            Some((last, earlier)) => (Some(last), earlier),
            None => (None, [].as_slice()),
        };
        let pending = last.is_some_and(|attempt| attempt.outcome == DeleteOutcome::Pending);
        assert!(pending, "I4: its attempt is not over");
        let horizon = self.rules().horizon;
        let over = earlier
            .iter()
            .all(|attempt| crate::hub::canary::is_over(attempt) || now.wall >= attempt.at + horizon);
        let over = over || planted::is(Defect::NoDeleteHorizon);
        assert!(over, "I4: no second deletion before the first can no longer take effect");
        let identified = live.and_then(|live| live.identified_at);
        let fresh = identified.is_some_and(|seen| now.mono.saturating_sub(seen) <= super::SEND_WITHIN);
        assert!(fresh, "I4: its identity was seen within two seconds");
    }

    fn assert_trial(&self, id: u64) {
        let organization = self.trials.get(&id).map(|trial| trial.organization().to_owned());
        let latched = organization.is_none_or(|name| self.breakers.contains_key(&name));
        assert!(!latched, "I14: nothing is asked to be created while latched");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::Timestamp;

    fn at(wall: i64, mono: u64) -> Moment {
        Moment { wall: Timestamp(wall), mono: Duration::from_millis(mono) }
    }

    #[test]
    fn what_changes_the_hub_leaves_in_time_and_under_its_own_epoch() {
        let bound = Bound { before: Duration::from_secs(7), clocks: at(1_000_000, 5000), epoch: 7 };
        let cases = [
            (Some(bound), at(1_002_000, 7000), Some(7), true),
            (Some(bound), at(1_002_001, 7001), Some(7), false),
            (Some(bound), at(1_000_000, 5000), Some(8), false),
            (Some(bound), at(1_000_000, 5000), Some(6), false),
            (Some(bound), at(1_000_000, 5000), None, false),
            // The machine slept, or the clock was set.
            (Some(bound), at(4_600_000, 5001), Some(7), false),
            (Some(bound), at(1_002_250, 7000), Some(7), true),
            (Some(bound), at(1_002_251, 7000), Some(7), false),
            (Some(bound), at(1_001_750, 7000), Some(7), true),
            (Some(bound), at(1_001_749, 7000), Some(7), false),
            (None, at(i64::MAX, u64::MAX / 2), None, true),
        ];
        for (bound, now, epoch, may) in cases {
            assert_eq!(may_leave(bound, now, epoch), may, "{bound:?} {now:?} {epoch:?}");
        }
    }
}

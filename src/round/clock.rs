//! What the engine makes of clocks that jump or are wrong.
//!
//! Horizons are kept in wall time, so that they outlast a restart. Within a process the monotonic clock tells when
//! the wall clock was set: then whatever is still in the air is given its horizon anew, and what is counted by the
//! day is moved along. That the clock is wrong altogether only the Hub's `Date` can tell: then nothing is created,
//! and nothing is taken for ours by its age.

use std::time::Duration;

use crate::exchange::{Credential, Exchange};
use crate::hub::canary;
use crate::moment::{Moment, Timestamp};
use crate::store::Write;

use super::Engine;
use super::canaries::Live;
use super::gate::Bound;

/// The wall clock may differ by this much from what the monotonic one lets expect.
const STEP: Duration = Duration::from_millis(250);
/// Our clock and the Hub's may differ by this much.
const SKEW: Duration = Duration::from_secs(60);
/// So many signed answers in a row must be of another time before the clock counts as wrong: one may be a copy
/// that somebody in between kept.
const ODD_DATES: u32 = 5;

/// What is known of the clock.
#[derive(Debug)]
pub(super) struct Clock {
    /// A moment at which both clocks were read; they have gone together since.
    anchor: Moment,
    /// Answers in a row whose `Date` is not of our time.
    odd: u32,
    /// The Hub's time is another than ours.
    wrong: bool,
    /// Since when, by the monotonic clock, the wall clock is behind what the record of a canary names as past.
    behind_since: Option<Duration>,
}

impl Clock {
    pub(super) fn new(now: Moment) -> Clock {
        Clock { anchor: now, odd: 0, wrong: false, behind_since: None }
    }

    /// What the wall clock should show.
    pub(super) fn expected(&self, now: Moment) -> Timestamp {
        self.anchor.wall + now.mono.saturating_sub(self.anchor.mono)
    }
}

/// Whether the clocks have gone together from the one moment to the other.
pub(super) fn go_together(then: Moment, now: Moment) -> bool {
    let expected = then.wall + now.mono.saturating_sub(then.mono);
    expected.since(now.wall).max(now.wall.since(expected)) <= STEP
}

impl Engine {
    /// Notices that the wall clock was set since it was read last.
    pub(super) fn notice_step(&mut self, now: Moment) {
        if go_together(self.clock.anchor, now) {
            return;
        }
        let expected = self.clock.expected(now);
        self.clock.anchor = now;
        // How old it is what they are written for nobody knows; it is decided anew. What is on its way to the gate is
        // held up there.
        self.voided.extend(self.ops.keys());
        let by = now.wall.millis().saturating_sub(expected.millis());
        if by.unsigned_abs() > 1000 {
            self.tell(
                true,
                format!("the clock was set by {} s; horizons of what is under way begin anew", by / 1000),
            );
        }
        let moved = |at: Timestamp| Timestamp(at.millis().saturating_add(by));
        self.teller.clock_stepped(by);
        for at in self.creations.values_mut().flatten() {
            // By which clock one was written that lay in the journal nobody knows: it is never made older.
            *at = if by > 0 || *at > now.wall { moved(*at) } else { *at };
        }
        for pause in self.pauses.values_mut() {
            pause.until = moved(pause.until);
        }
        let rules = self.rules();
        let mut changed = Vec::new();
        for (id, live) in &mut self.canaries {
            if let Some(event) = canary::clock_stepped(&mut live.canary, expected, now.wall, rules) {
                changed.push((*id, event));
            }
        }
        for (id, event) in changed {
            self.canary_changed(id, event, now);
        }
        self.note_behind(now);
    }

    /// From now on a whole horizon passes before what the record places in the future counts as over.
    fn note_behind(&mut self, now: Moment) {
        let behind = self.canaries.values().any(|live| canary::is_ahead(&live.canary, now.wall));
        self.clock.behind_since = behind.then_some(now.mono);
    }

    /// When that horizon is over.
    pub(super) fn behind_until(&self) -> Option<Duration> {
        self.clock.behind_since.map(|since| since + canary::held_for(self.rules()))
    }

    /// Ends it.
    pub(super) fn catch_up(&mut self, now: Moment) {
        if self.behind_until().is_none_or(|until| now.mono < until) {
            return;
        }
        let rules = self.rules();
        let waited = |(id, live): (&i64, &mut Live)| {
            canary::horizon_waited(&mut live.canary, now.wall, rules).map(|event| (*id, event))
        };
        let changed: Vec<(i64, canary::Event)> = self.canaries.iter_mut().filter_map(waited).collect();
        for (id, event) in changed {
            self.canary_changed(id, event, now);
        }
        self.note_behind(now);
    }

    /// What a request is bound to that is decided now.
    pub(super) fn bound(&self, before: Duration) -> Bound {
        Bound { before, clocks: self.clock.anchor, epoch: self.epoch }
    }

    /// Compares the Hub's clock with ours, by an answer of the Hub's own.
    pub(super) fn hear_date(&mut self, exchange: &Exchange, now: Moment) {
        let Some(date) = exchange.outcome.as_ref().ok().and_then(|answer| answer.date) else { return };
        if exchange.request.credential == Credential::Anonymous {
            return;
        }
        let (sent, heard) = (exchange.sent_at, exchange.sent_at + exchange.elapsed);
        let fits = date + SKEW >= sent && date <= heard + SKEW;
        self.clock.odd = if fits { 0 } else { self.clock.odd.saturating_add(1) };
        if fits {
            self.clock.wrong = false;
        } else if self.clock.odd >= ODD_DATES && !self.clock.wrong {
            self.clock.wrong = true;
            self.latch_all("the clock and the Hub's differ by more than a minute; set the clock right", now);
        }
    }

    /// Whether the Hub's time is another than ours.
    pub(super) fn clock_is_wrong(&self) -> bool {
        self.clock.wrong
    }

    /// Whether the latest answer was of another time: what follows from how much time has passed waits.
    pub(super) fn clock_is_doubtful(&self) -> bool {
        self.clock.odd > 0
    }

    /// Latches creating off wherever it is configured.
    pub(super) fn latch_all(&mut self, why: &str, now: Moment) {
        let config = self.config.clone();
        for organization in &config.organizations {
            if self.creates_in(&organization.name) {
                self.latch_organization(&organization.name, why, now);
            }
        }
    }

    /// Whether any check of this organization may create, or anything created there is still owed.
    pub(super) fn creates_in(&self, organization: &str) -> bool {
        let checked = self.config.tokens.iter().flat_map(|token| &token.checks);
        let mut creating = checked.filter(|check| check.creates() && check.organization == organization);
        creating.next().is_some()
            || self.canaries.values().any(|live| live.canary.repo.namespace == organization)
    }

    /// Ends of pauses and times of creations that lie in the future were written by a clock that was ahead.
    pub(super) fn tame_the_future(&mut self, now: Moment) {
        for at in self.creations.values_mut().flatten() {
            *at = (*at).min(now.wall);
        }
        let rules = self.rules();
        let mut changed = Vec::new();
        for live in self.canaries.values_mut() {
            if live.canary.latest_mark() > now.wall
                && let Some(event) = canary::clock_stepped(&mut live.canary, now.wall, now.wall, rules)
            {
                changed.push(Write::Canary {
                    canary: live.canary.clone(),
                    event: event.to_owned(),
                    at: now.wall,
                });
            }
        }
        self.unsaved.extend(changed);
        self.note_behind(now);
    }
}

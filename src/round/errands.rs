//! What leaves from here, and what a replica that waits for its turn sends meanwhile: questions of checks, once there is no
//! room left here. Everything is decided, counted and judged here all the same, and whatever changes something or
//! stands for others' answers leaves from here alone.

use std::collections::BTreeSet;

use crate::errand::may_travel;
use crate::exchange::Request;
use crate::moment::Moment;

use super::gate::changes;
use super::{Effect, Engine, Job, Meter, Outgoing};

/// The requests that are away, and how many may be.
#[derive(Debug, Default)]
pub(super) struct Errands {
    room: usize,
    out: BTreeSet<u64>,
}

/// Where a request leaves from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Here,
    Away,
}

impl Engine {
    /// How many requests may be in the air at once, in all.
    pub(super) fn room(&self) -> usize {
        self.config.hub.max_in_flight.max(1) + self.errands.room
    }

    /// Whether no further creation is to begin, because those under way could fill all the room that there is here, where
    /// they must leave in time. Without helpers there are never so many checks under way.
    pub(super) fn changes_fill_the_room(&self) -> bool {
        self.errands.room > 0 && self.creating.len() >= self.config.hub.max_in_flight.max(1)
    }

    /// The next request that may leave, and from where, if there is room for it: from here in their order, from elsewhere the
    /// first that may.
    pub(super) fn next_to_leave(&mut self) -> Option<(Outgoing, From)> {
        let here = self.in_air.saturating_sub(self.errands.out.len());
        if here < self.config.hub.max_in_flight.max(1) {
            return self.outgoing.pop_front().map(|next| (next, From::Here));
        }
        if self.errands.out.len() >= self.errands.room {
            return None;
        }
        // Not further than that: behind it there may be a request for each of very many tokens.
        let at = self.outgoing.iter().take(self.room()).position(|next| self.travels(next))?;
        self.outgoing.remove(at).map(|next| (next, From::Away))
    }

    fn travels(&self, next: &Outgoing) -> bool {
        let asks = matches!(self.flights.get(&next.flight), Some(Job::Check(_)));
        asks && next.bound.is_none() && !next.stays && may_travel(&next.request) && !changes(&next.request)
    }

    /// The request leaves.
    pub(super) fn leave(&mut self, outgoing: Outgoing, from: From) {
        let Outgoing { flight, request, bound, .. } = outgoing;
        self.in_air += 1;
        let fingerprint = self.fingerprint(&request.credential).map(str::to_owned);
        if let Some(fingerprint) = &fingerprint {
            self.sent_with.insert(flight, fingerprint.clone());
        }
        self.out.push(match from {
            From::Here => Effect::Send { flight, request, bound },
            From::Away => {
                self.errands.out.insert(flight);
                Effect::SendAway { flight, request, fingerprint }
            }
        });
    }

    /// Its answer came.
    pub(super) fn landed(&mut self, flight: u64) {
        self.in_air = self.in_air.saturating_sub(1);
        if self.errands.out.remove(&flight) {
            self.out.push(Effect::Meter(Meter::Errand { carried: true }));
        }
    }

    /// Other replicas carry so many at once from now on.
    pub(super) fn helped(&mut self, room: usize) {
        self.errands.room = room;
    }

    /// Nobody carried it, as far as is known; it only asks, so that it may leave once more, from here.
    pub(super) fn returned(&mut self, flight: u64, request: Request, now: Moment) {
        if !self.errands.out.remove(&flight) {
            return;
        }
        self.in_air = self.in_air.saturating_sub(1);
        self.sent_with.remove(&flight);
        if let Some(user) = self.pacing.sent_as.remove(&flight) {
            // It may have been seen by the Hub.
            self.pacing.pace.lost(&user, now.mono);
        }
        self.out.push(Effect::Meter(Meter::Errand { carried: false }));
        // Behind what must leave in time.
        self.outgoing.push_back(Outgoing { flight, request, bound: None, stays: true });
    }
}

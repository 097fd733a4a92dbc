//! What leaves when: every request is counted for its user, what the Hub would only refuse does not leave, and checks
//! of a user whose window has no room wait behind one another, never before anybody else's.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::access::{Access, CheckKey, UnknownReason};
use crate::exchange::{Credential, Exchange, Failure, Request};
use crate::hub::answers::{LimitRow, RateLimit, limit_row, rate_limit};
use crate::moment::{Moment, Timestamp};
use crate::pace::{Caps, Manner, Pace, Told, Wait};
use crate::plan::Planned;

use super::{Engine, Job};

/// How long a serving round waits at most for one user's next request before what is left is given up for this round.
const PATIENCE: Duration = Duration::from_secs(60);
/// And how long for all of them.
const SPREAD: Duration = Duration::from_secs(300);
const WHOAMI: &str = "/api/whoami-v2";
const CREATE: &str = "/api/repos/create";

/// What is known of everybody's limits.
#[derive(Debug)]
pub(super) struct Pacing {
    pub pace: Pace,
    pub caps: Caps,
    /// Whose quota each request in the air is charged to.
    pub sent_as: BTreeMap<u64, String>,
    /// Requests that did not leave, because the Hub would only refuse them; they are to be answered as such.
    pub held_back: Vec<(u64, Request)>,
    /// How many creations of 24 hours the Hub let pass before its own cap, and when it said so.
    pub learned: BTreeMap<String, (usize, Timestamp)>,
}

impl Pacing {
    pub(super) fn new(share: f64) -> Pacing {
        Pacing {
            pace: Pace::new(share),
            caps: Caps::default(),
            sent_as: BTreeMap::new(),
            held_back: Vec::new(),
            learned: BTreeMap::new(),
        }
    }
}

/// Checks of one user that wait for room in the user's window, in their order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    checks: VecDeque<usize>,
    /// When to look again; at the next event, if that is not known.
    until: Option<Duration>,
}

impl Queue {
    pub(super) fn wakes_at(&self) -> Option<Duration> {
        self.until
    }
}

impl Engine {
    /// Counts a request that leaves now. Says so, unless the Hub is known to refuse it: then it stays.
    pub(super) fn count_sent(&mut self, flight: u64, request: &Request, now: Moment) -> bool {
        let user = self.user_of(&request.credential);
        // Creating and cleaning up are bounded elsewhere, and never held back here.
        let asks = matches!(
            self.flights.get(&flight),
            Some(Job::Whoami(_) | Job::Control(_) | Job::Proof(_) | Job::Check(_) | Job::Inventory(_))
        );
        let refused = || {
            let window = self.pacing.pace.exhausted(&user, now.mono);
            window.or_else(|| self.pacing.caps.resting(&user, request.route, now.mono))
        };
        if asks && refused().is_some() {
            return false;
        }
        self.pacing.pace.sent(&user, now.mono);
        self.pacing.sent_as.insert(flight, user);
        true
    }

    /// Answers what was held back, as not sent. Says whether there was any.
    pub(super) fn answer_held(&mut self, now: Moment) -> bool {
        let held = std::mem::take(&mut self.pacing.held_back);
        let any = !held.is_empty();
        for (flight, request) in held {
            let (sent_at, elapsed) = (now.wall, Duration::ZERO);
            let exchange = Exchange { request, sent_at, elapsed, outcome: Err(Failure::Held) };
            self.in_air += 1;
            self.heard(flight, &exchange, now);
        }
        any
    }

    /// Takes from an answer what it says of its user's window, and of an action that the Hub capped. Nothing of this is
    /// about anybody else.
    pub(super) fn pace_answer(&mut self, exchange: &Exchange, user: Option<String>, now: Moment) {
        let Some(user) = user.map(|user| self.known_user(&user)) else { return };
        let answer = match &exchange.outcome {
            Ok(answer) => answer,
            Err(failure) if failure.unsent() => return self.pacing.pace.unsent(&user, now.mono),
            Err(_) => return self.pacing.pace.lost(&user, now.mono),
        };
        let (row, route) = (limit_row(answer), exchange.request.route);
        let RateLimit { remaining, reset, quota, length, retry_after } = rate_limit(answer);
        match row {
            LimitRow::Unlimited => self.pacing.caps.passed(&user, route),
            // Creations rest by the journal, whoami by its own allowance.
            LimitRow::CapByText | LimitRow::CapByWindow if route != CREATE && route != WHOAMI => {
                self.pacing.caps.capped(&user, route, retry_after, now.mono);
            }
            // A refusal of one strictly limited route says nothing of the user's other requests.
            LimitRow::Window if route == WHOAMI => return self.pacing.pace.lost(&user, now.mono),
            _ => {}
        }
        let refused = (row == LimitRow::Window).then_some(retry_after.or(reset));
        let told = Told { remaining, reset, quota, length, took: exchange.elapsed, refused };
        self.pacing.pace.heard(&user, told, now.mono);
    }

    /// Whether a check of this user may leave now: there is room in the user's window, and nobody else's check of the
    /// same user waits for it.
    pub(super) fn has_room(&self, user: &str, now: Moment) -> Result<(), Option<Wait>> {
        let Some(round) = &self.round else { return Ok(()) };
        if round.queues.contains_key(user) {
            return Err(None);
        }
        self.pacing.pace.may(user, round.manner, now.mono).map_err(Some)
    }

    /// Puts a check behind those of its user that wait, or gives it up for this round.
    pub(super) fn queue_check(&mut self, at: usize, user: &str, wait: Option<Wait>, now: Moment) {
        if self.too_long(wait, now) {
            return self.give_up(at, now);
        }
        let Some(round) = &mut self.round else { return };
        let queue = round.queues.entry(user.to_owned()).or_default();
        queue.checks.push_back(at);
        if let Some(Wait::Until(until)) = wait {
            queue.until = Some(until);
        }
    }

    /// Whether a round does not wait so long for one user.
    fn too_long(&self, wait: Option<Wait>, now: Moment) -> bool {
        let (Some(Wait::Until(until)), Some(round)) = (wait, &self.round) else { return false };
        let most = round.period / 2;
        self.mode.one_shot
            || until.saturating_sub(now.mono) > PATIENCE.min(most)
            || until.saturating_sub(round.begun.mono) > SPREAD.min(most)
    }

    fn give_up(&mut self, at: usize, now: Moment) {
        let sentence = "the share of the user's rate limit is used up (hub.quota_share); it is asked again in a later round";
        self.finish_check(at, Access::Undetermined(UnknownReason::RateLimited), sentence.to_owned(), now);
    }

    /// Lets those begin that waited and need not any more. Says whether any check moved.
    pub(super) fn release_queues(&mut self, now: Moment) -> bool {
        let Some(round) = &self.round else { return false };
        let due = |queue: &Queue| queue.until.is_none_or(|until| until <= now.mono);
        let users: Vec<String> =
            round.queues.iter().filter(|(_, queue)| due(queue)).map(|(user, _)| user.clone()).collect();
        let mut moved = false;
        for user in users {
            moved |= self.release(&user, now);
        }
        moved
    }

    fn release(&mut self, user: &str, now: Moment) -> bool {
        let room = self.room();
        let Some(mut queue) = self.round.as_mut().and_then(|round| round.queues.remove(user)) else {
            return false;
        };
        let mut moved = false;
        while let Some(at) = queue.checks.front().copied() {
            let (full, may) = match &self.round {
                Some(round) => {
                    (round.active.len() >= room, self.pacing.pace.may(user, round.manner, now.mono))
                }
                None => return moved,
            };
            match may {
                Ok(()) if full => queue.until = None,
                Ok(()) => {
                    queue.checks.pop_front();
                    self.start_check(at, now);
                    moved = true;
                    continue;
                }
                Err(wait) if self.too_long(Some(wait), now) => {
                    queue.checks.drain(..).for_each(|at| self.give_up(at, now));
                    moved = true;
                }
                Err(Wait::Until(until)) => queue.until = Some(until),
                Err(Wait::Answer) => queue.until = None,
            }
            break;
        }
        if let Some(round) = self.round.as_mut().filter(|_| !queue.checks.is_empty()) {
            // What began meanwhile and had to wait is behind those that waited before.
            let later = round.queues.remove(user).unwrap_or_default();
            queue.checks.extend(later.checks);
            round.queues.insert(user.to_owned(), queue);
        }
        moved
    }

    /// The checks of a round, each user's in order of who had no turn for longest. The moments at which a user's checks
    /// begin stay the same; who begins at which changes only when some of them had no turn in the last round.
    pub(super) fn in_turn(&self, mut planned: Vec<Planned>) -> Vec<Planned> {
        let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, one) in planned.iter().enumerate() {
            let user = self.user_of(&Credential::Token(one.check.token.clone()));
            places.entry(user).or_default().push(place);
        }
        for places in places.values() {
            let mut order = places.clone();
            order.sort_by_cached_key(|place| planned.get(*place).map(|one| self.last_turn(&one.check.key())));
            if order == *places {
                continue;
            }
            let checks: Vec<_> =
                order.iter().filter_map(|place| planned.get(*place)).map(|one| one.check.clone()).collect();
            for (place, check) in places.iter().zip(checks) {
                if let Some(one) = planned.get_mut(*place) {
                    one.check = check;
                }
            }
        }
        planned
    }

    /// The round in which a check was asked last; before this process, when it was answered conclusively.
    pub(super) fn last_turn(&self, key: &CheckKey) -> Option<Timestamp> {
        self.checks.turn(key)
    }

    /// A check of this round was asked, and its turn is over, whatever the answer was. One that the Hub's or our own
    /// limits kept from being asked still waits for its turn.
    pub(super) fn take_turn(&mut self, key: &CheckKey, found: Access) {
        let kept =
            matches!(found, Access::Undetermined(UnknownReason::RateLimited | UnknownReason::CreationCap));
        if let Some(round) = self.round.as_ref().filter(|_| !kept) {
            self.checks.take_turn(key, round.begun.wall);
        }
    }

    /// How the checks of a round ask: what somebody waits for is not spread.
    pub(super) fn manner(whole: bool) -> Manner {
        if whole { Manner::AtOnce } else { Manner::Spread }
    }
}

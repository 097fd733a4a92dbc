//! One user's request window, as far as its answers tell of it, and what may still be asked in it.
//!
//! Answers come out of order, and those of the window before may come after the first of the next. In one window what is
//! left only falls, so that the lowest figure is the latest; which window an answer is of, its own end tells. What is in
//! the air counts as not yet counted by the Hub, and so do requests that were lost.

use std::time::Duration;

use super::others::Others;
use super::{Manner, Told, Wait};

/// How long to rest after a 429 that says nothing of when.
const REST: Duration = Duration::from_secs(60);
/// The Hub's window (Hub docs, rate-limits), for when it does not say how long it is.
const LENGTH: Duration = Duration::from_secs(300);
/// Requests in the air before anything was heard of a window.
const TRIALS: u32 = 4;
/// Of the window, what others are left without looking how little they use: what is more is taken at once.
const LEFT_TO_OTHERS: f64 = 0.9;
/// As long as more than this part of the window is to come. Later chance weighs more than the mean.
const EARLY: f64 = 0.5;
/// Less than this part of what is left hurts nobody, however much others seem to use: a round of one token is often no more.
const UNNOTICED: f64 = 0.01;
/// A look at how much is left, where it may be more than what was foreseen: at this part of the time left.
const LOOKS: f64 = 8.0;
const SHORTEST_LOOK: Duration = Duration::from_millis(500);
/// By how much answers of one window may differ in when it ends: they are rounded up, and some took long.
const SLIP: Duration = Duration::from_secs(10);
/// How long a window that is over is remembered, for what it said of others.
const REMEMBERED: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    /// When it ends, at the latest; a request after that is of the next one.
    ends: Duration,
    /// Whether the Hub said so, not we.
    ends_as_told: bool,
    length: Duration,
    quota: Option<u32>,
    /// Whether anything was heard of this window or one before it.
    known: bool,
    /// The least that was left, and when that was heard; `None` as long as nothing was said of this window.
    least: Option<(u32, Duration)>,
    /// The lowest share left.
    lowest: Option<f64>,
    /// Requests of ours in it that were answered or lost.
    ours: u32,
    in_air: u32,
    /// When the latest of ours left.
    sent_at: Option<Duration>,
    /// Nothing may be asked before this.
    paused_until: Duration,
    others: Others,
}

impl Default for Window {
    fn default() -> Window {
        Window {
            ends: Duration::ZERO,
            ends_as_told: false,
            length: LENGTH,
            quota: None,
            known: false,
            least: None,
            lowest: None,
            ours: 0,
            in_air: 0,
            sent_at: None,
            paused_until: Duration::ZERO,
            others: Others::default(),
        }
    }
}

impl Window {
    /// Whether it says anything about what may be asked from now on.
    pub(super) fn counts(&self, now: Duration) -> bool {
        self.in_air > 0 || self.paused_until > now || self.ends + REMEMBERED > now
    }

    pub(super) fn lowest_ratio(&self, now: Duration) -> Option<f64> {
        self.lowest.filter(|_| self.ends > now)
    }

    /// Until when the Hub would refuse everything, as far as is known.
    pub(super) fn exhausted(&self, now: Duration) -> Option<Duration> {
        if self.paused_until > now {
            return Some(self.paused_until);
        }
        let empty = self.least.is_some_and(|(left, _)| left == 0);
        Some(self.ends).filter(|ends| empty && *ends > now)
    }

    /// Two that turned out to be one.
    pub(super) fn join(&mut self, other: &Window) {
        self.in_air += other.in_air;
        self.paused_until = self.paused_until.max(other.paused_until);
        if self.ends > other.ends.saturating_sub(self.length / 2) {
            self.ours += other.ours;
        }
    }

    /// What is to be taken of the window that is at this moment, which may be one after this.
    fn at(&self, now: Duration) -> Window {
        let mut window = *self;
        window.roll(now);
        window
    }

    /// Goes on to the window of this moment. They follow each other without a gap.
    fn roll(&mut self, now: Duration) {
        if !self.known || now < self.ends {
            return;
        }
        let over = (now - self.ends).as_nanos() / self.length.as_nanos().max(1) + 1;
        let over = u32::try_from(over).unwrap_or(u32::MAX);
        let ends = self.length.checked_mul(over).and_then(|passed| self.ends.checked_add(passed));
        self.begin(ends.filter(|ends| *ends > now).unwrap_or(now + self.length));
        self.ends_as_told = false;
    }

    fn begin(&mut self, ends: Duration) {
        self.ends = ends;
        self.ends_as_told = true;
        self.least = None;
        self.lowest = None;
        self.ours = 0;
        self.others.begin();
    }

    pub(super) fn sent(&mut self, now: Duration) {
        self.roll(now);
        self.in_air += 1;
        self.sent_at = Some(now);
    }

    pub(super) fn unsent(&mut self) {
        self.in_air = self.in_air.saturating_sub(1);
    }

    pub(super) fn lost(&mut self, now: Duration) {
        self.roll(now);
        self.unsent();
        self.ours = self.ours.saturating_add(1);
    }

    pub(super) fn heard(&mut self, told: Told, now: Duration) {
        self.unsent();
        if let Some(wait) = told.refused {
            let until = now + wait.or(told.reset).unwrap_or(REST);
            self.paused_until = self.paused_until.max(until);
        }
        self.quota = told.quota.filter(|quota| *quota > 0).or(self.quota);
        self.length = told.length.filter(|length| !length.is_zero()).unwrap_or(self.length);
        self.roll(now);
        let ends = told.reset.map(|reset| now + reset);
        let half = self.length / 2;
        match ends {
            // The first of all.
            _ if !self.known => {
                self.known = true;
                self.begin(ends.unwrap_or(now + self.length));
                self.ends_as_told = ends.is_some();
            }
            Some(ends) if ends > self.ends + half => self.begin(ends),
            // Of the window before, or of none at all: it says nothing of this one. Were it believed, the window would
            // begin anew with the next answer, and what we used of it be taken for what others did.
            Some(ends) if ends + if self.ends_as_told { SLIP.min(half) } else { half } < self.ends => return,
            Some(ends) => {
                self.ends = self.ends.min(ends).max(now);
                self.ends_as_told = true;
            }
            None => {}
        }
        self.ours = self.ours.saturating_add(1);
        if let Some(left) = told.remaining {
            self.look(left, now.saturating_sub(told.took), told.refused.is_some());
        }
    }

    /// So many were left at this moment, or a little later. A refusal says that nothing is, but not who took it: of the
    /// others it would make the worst, and in the next window leave nothing to us.
    fn look(&mut self, left: u32, at: Duration, refused: bool) {
        let first = self.least.is_none();
        if self.least.is_some_and(|(least, _)| least <= left) {
            return;
        }
        let at = self.least.map_or(at, |(_, seen)| seen.max(at));
        self.least = Some((left, at));
        let Some(quota) = self.quota else { return };
        let ratio = (f64::from(left) / f64::from(quota)).clamp(0.0, 1.0);
        self.lowest = Some(self.lowest.map_or(ratio, |lowest| lowest.min(ratio)));
        if refused {
            return;
        }
        let used = f64::from(quota.saturating_sub(left).saturating_sub(self.ours));
        let over = self.length.saturating_sub(self.ends.saturating_sub(at)).as_secs_f64();
        if first && self.others == Others::default() {
            self.others.met(used, over);
        } else {
            self.others.seen(used, over);
        }
    }

    /// Whether a request may leave now.
    pub(super) fn may(&self, share: f64, manner: Manner, now: Duration) -> Result<(), Wait> {
        if self.paused_until > now {
            return Err(Wait::Until(self.paused_until));
        }
        let window = self.at(now);
        // At least one request, or a small quota with a small share would never be used at all.
        let cap = window.quota.map(|quota| (f64::from(quota) * share).max(1.0));
        let taken = f64::from(window.ours) + f64::from(window.in_air);
        if cap.is_some_and(|cap| taken + 1.0 > cap) {
            return Err(window.end());
        }
        let Some((left, seen)) = window.least else {
            // A Hub that does not count has nothing to tell.
            let silent = window.known && window.quota.is_none();
            return if silent || window.in_air < TRIALS { Ok(()) } else { Err(Wait::Answer) };
        };
        let Some(quota) = window.quota else {
            return if left > 0 { Ok(()) } else { Err(window.end()) };
        };
        let room = f64::from(left) - f64::from(window.in_air);
        window.of_room(Room { left: room, quota, seen }, manner, now)
    }

    /// Whether what is left has room for one more of ours beside the others.
    fn of_room(&self, room: Room, manner: Manner, now: Duration) -> Result<(), Wait> {
        if room.left < 1.0 {
            return Err(if self.in_air > 0 { Wait::Answer } else { self.end() });
        }
        // What was heard is so old; since then others went on.
        let unseen = self.ends.saturating_sub(room.seen).as_secs_f64();
        let part = unseen / self.length.as_secs_f64().max(1.0);
        if part > EARLY && room.left - LEFT_TO_OTHERS * f64::from(room.quota) * part >= 1.0 {
            return Ok(());
        }
        if f64::from(self.ours) + f64::from(self.in_air) < UNNOTICED * room.left {
            return Ok(());
        }
        let ahead = self.ends.saturating_sub(now);
        let budget = room.left - self.others.need(unseen);
        if budget >= 1.0 && manner == Manner::AtOnce {
            return Ok(());
        }
        // There may come to be more than could be foreseen. Only an answer tells, and as long as something is surely left
        // now, one look hurts nobody.
        let aged = self.others.need(now.saturating_sub(room.seen).as_secs_f64());
        let look = (room.left - aged >= 1.0).then(|| ahead.div_f64(LOOKS).max(SHORTEST_LOOK));
        let spread = (budget >= 1.0).then(|| ahead.div_f64(budget));
        match look.into_iter().chain(spread).min() {
            Some(gap) => self.after(self.sent_at.unwrap_or(now) + gap, now),
            None => Err(self.end()),
        }
    }

    fn after(&self, at: Duration, now: Duration) -> Result<(), Wait> {
        if at <= now { Ok(()) } else { Err(Wait::Until(at.min(self.ends.max(now + TICK)))) }
    }

    fn end(&self) -> Wait {
        Wait::Until(self.ends)
    }
}

/// The shortest wait.
const TICK: Duration = Duration::from_millis(1);

/// What is left at a moment.
struct Room {
    /// Of the window, less what is in the air.
    left: f64,
    quota: u32,
    /// When the Hub said so.
    seen: Duration,
}

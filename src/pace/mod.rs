//! How gently the Hub is asked: each user's request window, the actions that the Hub capped, and the strict
//! allowance of whoami.
//!
//! The Hub counts requests per user in fixed windows and tells what is left; somebody else uses the same window. Of a
//! window the daemon takes at most its configured share, and only what the others are not expected to need (`others`):
//!
//! * a tenth of the window at once, as long as so much would be left even if the others took the rest of it evenly;
//! * beyond that, what is left less what they are expected to need, spread over the time that is left;
//! * a few requests on trial, as long as nothing was heard of the window.
//!
//! A request counts from the moment it is sent. The whole is pure: monotonic time comes in.

mod allowance;
mod caps;
mod others;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod virtual_tests;
mod window;

use std::collections::BTreeMap;
use std::time::Duration;

pub use allowance::{Allowance, WHOAMI_BURST};
pub use caps::Caps;
use window::Window;

/// What the Hub said of a window in one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Requests left for everybody who shares the window.
    pub remaining: Option<u32>,
    /// Until the window ends; the Hub rounds it up to a second.
    pub reset: Option<Duration>,
    /// Requests per window.
    pub quota: Option<u32>,
    /// How long a window is.
    pub length: Option<Duration>,
    /// How long the answer took: it may be as old as that.
    pub took: Duration,
    /// The window is exhausted (a 429): wait this long, or the default.
    pub refused: Option<Option<Duration>>,
}

/// How somebody who has more to ask than one request wants to ask it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// What is contested is spread over the time left.
    Spread,
    /// Somebody waits for the answers: as fast as they come, within the same bounds.
    AtOnce,
}

/// Until when a request must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// For an answer to one of the same user that is in the air.
    Answer,
    /// For this moment (monotonic), always a later one.
    Until(Duration),
}

/// All windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    share: f64,
    windows: BTreeMap<String, Window>,
    /// The number of windows at which those of the past are dropped.
    full: usize,
}

/// Windows that are kept without looking whether they are over.
const FEW: usize = 64;

impl Pace {
    /// `share` of each user's quota may be used, above 0 and at most 1.
    pub fn new(share: f64) -> Pace {
        Pace { share, windows: BTreeMap::new(), full: FEW }
    }

    /// The share from now on.
    pub fn set_share(&mut self, share: f64) {
        self.share = share;
    }

    /// Whether a request on behalf of this user may leave; else what it waits for.
    pub fn may(&self, user: &str, manner: Manner, now: Duration) -> Result<(), Wait> {
        self.windows.get(user).map_or(Ok(()), |window| window.may(self.share, manner, now))
    }

    /// Takes note of one request on behalf of this user that leaves now.
    pub fn sent(&mut self, user: &str, now: Duration) {
        self.window(user, now).sent(now);
    }

    /// Takes note of the answer to one of them.
    pub fn heard(&mut self, user: &str, told: Told, now: Duration) {
        self.window(user, now).heard(told, now);
    }

    /// Takes note that one of them got no answer. Whether the Hub counted it nobody knows; here it counts.
    pub fn lost(&mut self, user: &str, now: Duration) {
        self.window(user, now).lost(now);
    }

    /// Takes note that one of them never left.
    pub fn unsent(&mut self, user: &str, now: Duration) {
        self.window(user, now).unsent();
    }

    /// What was counted under one name belongs to another: whose a token is has become known.
    pub fn rename(&mut self, from: &str, to: &str) {
        let Some(window) = self.windows.remove(from) else { return };
        match self.windows.get_mut(to) {
            Some(known) => known.join(&window),
            None => {
                self.windows.insert(to.to_owned(), window);
            }
        }
    }

    /// Until when the Hub would refuse every request of this user, as far as is known.
    pub fn exhausted(&self, user: &str, now: Duration) -> Option<Duration> {
        self.windows.get(user)?.exhausted(now)
    }

    /// The lowest remaining share seen in this user's current window.
    pub fn remaining_ratio(&self, user: &str, now: Duration) -> Option<f64> {
        self.windows.get(user)?.lowest_ratio(now)
    }

    fn window(&mut self, user: &str, now: Duration) -> &mut Window {
        // Users come and go. Looking at all of them pays when there are twice as many as were left the last time.
        if self.windows.len() >= self.full && !self.windows.contains_key(user) {
            self.windows.retain(|_, window| window.counts(now));
            self.full = FEW.max(2 * self.windows.len());
        }
        self.windows.entry(user.to_owned()).or_default()
    }
}

//! How gently the Hub is asked: each user's request window, and the strict allowance of whoami.
//!
//! The Hub counts requests per user in fixed windows and tells what is left; the daemon takes at most its
//! configured share of that, and nothing at all while a window is exhausted. Cleaning up is never held back
//! here. Pure: monotonic time comes in.

use std::collections::BTreeMap;
use std::time::Duration;

/// What the Hub said of a window in one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Requests left for everybody who shares the window.
    pub remaining: Option<u32>,
    /// Until the window ends.
    pub reset: Option<Duration>,
    /// Requests per window.
    pub quota: Option<u32>,
    /// The answer was a 429: wait this long, or the default.
    pub refused: Option<Option<Duration>>,
}

/// One user's window as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Window {
    /// When it ends; a request after that begins a new one.
    ends: Duration,
    quota: Option<u32>,
    remaining: Option<u32>,
    /// The lowest remaining share seen in this window.
    lowest: Option<f64>,
    /// Requests of ours in it.
    used: u32,
    /// Nothing may be asked before this.
    paused_until: Duration,
}

/// How long to rest after a 429 that says nothing of when.
const REST: Duration = Duration::from_secs(60);
/// The Hub's window (Hub docs, rate-limits), for when it does not say how much of it is left.
const WINDOW: Duration = Duration::from_secs(300);

/// All windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    share: f64,
    windows: BTreeMap<String, Window>,
}

impl Pace {
    /// `share` of each user's quota may be used, above 0 and at most 1.
    pub fn new(share: f64) -> Pace {
        Pace { share, windows: BTreeMap::new() }
    }

    /// The share from now on.
    pub fn set_share(&mut self, share: f64) {
        self.share = share;
    }

    /// Whether a probe on behalf of this user may start; else when it may.
    pub fn may(&self, user: &str, now: Duration) -> Result<(), Duration> {
        let Some(window) = self.windows.get(user) else { return Ok(()) };
        if window.paused_until > now {
            return Err(window.paused_until);
        }
        if window.ends <= now {
            return Ok(());
        }
        // At least one request, or a small quota with a small share would never be used at all.
        let allowed = window.quota.map(|quota| (f64::from(quota) * self.share).max(1.0));
        if window.remaining == Some(0) || allowed.is_some_and(|allowed| f64::from(window.used) >= allowed) {
            return Err(window.ends);
        }
        Ok(())
    }

    /// Takes note of one answer to a request on behalf of this user.
    pub fn heard(&mut self, user: &str, told: Told, now: Duration) {
        // A window that is over says no more than none; users come and go.
        self.windows.retain(|_, window| window.ends > now || window.paused_until > now);
        let window = self.windows.entry(user.to_owned()).or_default();
        if window.ends <= now {
            let ends = now + told.reset.unwrap_or(WINDOW);
            *window = Window { ends, paused_until: window.paused_until, ..Window::default() };
        }
        window.used = window.used.saturating_add(1);
        if let Some(reset) = told.reset {
            window.ends = now + reset;
        }
        window.quota = told.quota.or(window.quota);
        window.remaining = told.remaining.or(window.remaining);
        if let (Some(left), Some(quota)) = (told.remaining, window.quota.filter(|q| *q > 0)) {
            let ratio = (f64::from(left) / f64::from(quota)).clamp(0.0, 1.0);
            window.lowest = Some(window.lowest.map_or(ratio, |lowest| lowest.min(ratio)));
        }
        if let Some(wait) = told.refused {
            window.paused_until = now + wait.or(told.reset).unwrap_or(REST);
        }
    }

    /// The lowest remaining share seen in this user's current window.
    pub fn remaining_ratio(&self, user: &str, now: Duration) -> Option<f64> {
        self.windows.get(user).filter(|window| window.ends > now)?.lowest
    }
}

/// The allowance of whoami, which the Hub limits per egress address: a burst, then one every so often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowance {
    left: f64,
    at: Duration,
    resting_until: Duration,
}

/// Whoami calls that may be made at once.
pub const WHOAMI_BURST: u32 = 30;
/// Seconds after which there is one more.
const EVERY: f64 = 30.0;

impl Default for Allowance {
    fn default() -> Allowance {
        Allowance { left: f64::from(WHOAMI_BURST), at: Duration::ZERO, resting_until: Duration::ZERO }
    }
}

impl Allowance {
    /// The Hub refused one: none is left before this.
    pub fn rest(&mut self, until: Duration) {
        self.resting_until = self.resting_until.max(until);
    }

    /// One that was taken never reached the Hub.
    pub fn give_back(&mut self) {
        self.left = (self.left + 1.0).min(f64::from(WHOAMI_BURST));
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Duration) -> bool {
        if now < self.resting_until {
            return false;
        }
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.left = (self.left + passed / EVERY).min(f64::from(WHOAMI_BURST));
        self.at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn told(remaining: u32) -> Told {
        Told { remaining: Some(remaining), reset: Some(S(100)), quota: Some(1000), refused: None }
    }

    #[test]
    fn never_more_than_the_share_and_nothing_of_an_empty_window() {
        let mut pace = Pace::new(0.01);
        for second in 0..10 {
            assert_eq!(pace.may("bob", S(0)), Ok(()), "{second}");
            pace.heard("bob", told(900), S(0));
        }
        assert_eq!(pace.may("bob", S(1)), Err(S(100)));
        assert_eq!(pace.may("alice", S(1)), Ok(()));
        assert_eq!(pace.may("bob", S(100)), Ok(()));
        let mut pace = Pace::new(1.0);
        pace.heard("bob", told(0), S(0));
        assert_eq!(pace.may("bob", S(99)), Err(S(100)));
    }

    #[test]
    fn a_429_pauses_for_as_long_as_the_hub_says() {
        let mut pace = Pace::new(1.0);
        pace.heard("bob", Told { refused: Some(None), ..Told::default() }, S(0));
        assert_eq!(pace.may("bob", S(59)), Err(S(60)));
        assert_eq!(pace.may("bob", S(60)), Ok(()));
        pace.heard("bob", Told { refused: Some(Some(S(7))), ..told(5) }, S(60));
        assert_eq!(pace.may("bob", S(61)), Err(S(67)));
    }

    #[test]
    fn the_lowest_share_of_the_window_is_kept_until_it_ends() {
        let mut pace = Pace::new(1.0);
        pace.heard("bob", told(400), S(0));
        pace.heard("bob", told(500), S(1));
        assert_eq!(pace.remaining_ratio("bob", S(2)), Some(0.4));
        assert_eq!(pace.remaining_ratio("bob", S(101)), None);
    }

    #[test]
    fn users_of_the_past_are_forgotten_with_their_windows() {
        let mut pace = Pace::new(1.0);
        pace.heard("paused", Told { refused: Some(Some(S(1000))), ..told(5) }, S(0));
        for second in 0..500 {
            pace.heard(&format!("user-{second}"), told(5), S(second));
        }
        // Those of the last hundred seconds, and who was told to wait.
        assert_eq!(pace.windows.len(), 101);
        assert_eq!(pace.may("paused", S(999)), Err(S(1000)));
    }

    #[test]
    fn whoami_has_a_burst_and_then_a_trickle() {
        let mut allowance = Allowance::default();
        assert_eq!((0..40).filter(|_| allowance.take(S(0))).count(), 30);
        assert!(!allowance.take(S(29)));
        assert!(allowance.take(S(31)));
        allowance.give_back();
        assert!(allowance.take(S(31)) && !allowance.take(S(31)));
        // Refused, it waits as long as the Hub says, and no shorter pause shortens that.
        let mut allowance = Allowance::default();
        allowance.rest(S(300));
        allowance.rest(S(200));
        assert!(!allowance.take(S(299)) && allowance.take(S(300)));
    }

    proptest::proptest! {
        #[test]
        fn ours_never_exceed_the_share_in_one_window(share in 0.01f64..1.0, quota in 1u32..200) {
            let mut pace = Pace::new(share);
            let mut sent = 0u32;
            while pace.may("u", S(0)).is_ok() && sent < 1000 {
                sent += 1;
                let left = quota.saturating_sub(sent);
                pace.heard("u", Told { remaining: Some(left), quota: Some(quota), reset: Some(S(300)), refused: None }, S(0));
            }
            let bound = (f64::from(quota) * share).max(1.0).ceil();
            proptest::prop_assert!(f64::from(sent) <= bound, "{sent} of {quota} at {share}");
        }
    }
}

//! The allowance of whoami, which the Hub limits per egress address and keeps strict: a burst, then a trickle.

use std::time::Duration;

/// One address's allowance.
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
}

//! Actions that the Hub capped: a 429 while the request window is not exhausted. Such a cap holds for one action of one
//! user, for hours, and says nothing of what else the user asks. (Creations have a cap of their own, which is kept in
//! the journal.)

use std::collections::BTreeMap;
use std::time::Duration;

/// The first rest, where the Hub does not say how long; each cap in a row doubles it.
const FIRST: Duration = Duration::from_secs(15 * 60);
/// The longest rest that we choose.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// A cap so long ago begins a new row.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Cap {
    until: Duration,
    /// How long the last rest was.
    rest: Duration,
}

/// All of them, by user and action.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Caps {
    caps: BTreeMap<(String, &'static str), Cap>,
}

impl Caps {
    /// When this action of this user may be tried again, if not now.
    pub fn resting(&self, user: &str, action: &'static str, now: Duration) -> Option<Duration> {
        if self.caps.is_empty() {
            return None;
        }
        self.caps.get(&(user.to_owned(), action)).map(|cap| cap.until).filter(|until| *until > now)
    }

    /// The Hub capped it; `wait` is what it said of how long.
    pub fn capped(&mut self, user: &str, action: &'static str, wait: Option<Duration>, now: Duration) {
        self.caps.retain(|_, cap| cap.until + FORGOTTEN > now);
        let before = self.caps.get(&(user.to_owned(), action)).copied();
        // Several that were in the air together are refused together: that is one cap.
        let again = before.is_some_and(|cap| cap.until > now);
        let rest = match before {
            Some(cap) if again => cap.rest,
            Some(cap) => (cap.rest * 2).min(LONGEST),
            None => FIRST,
        };
        let until = (now + wait.unwrap_or(rest)).max(before.map_or(Duration::ZERO, |cap| cap.until));
        let until = if again && wait.is_none() { before.map_or(until, |cap| cap.until) } else { until };
        self.caps.insert((user.to_owned(), action), Cap { until, rest });
    }

    /// It was answered as anything else: the next cap begins a new row.
    pub fn passed(&mut self, user: &str, action: &'static str) {
        if !self.caps.is_empty() {
            self.caps.remove(&(user.to_owned(), action));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: fn(u64) -> Duration = |minutes| Duration::from_secs(60 * minutes);

    #[test]
    fn a_cap_holds_for_one_action_of_one_user_and_longer_each_time() {
        let mut caps = Caps::default();
        caps.capped("bob", "/a", None, M(0));
        // Two more of the same moment.
        caps.capped("bob", "/a", None, M(1));
        assert_eq!(caps.resting("bob", "/a", M(1)), Some(M(15)));
        assert_eq!((caps.resting("bob", "/b", M(1)), caps.resting("eve", "/a", M(1))), (None, None));
        assert_eq!(caps.resting("bob", "/a", M(15)), None);
        let mut at = M(15);
        for rest in [30, 60, 120, 240, 360, 360] {
            caps.capped("bob", "/a", None, at);
            assert_eq!(caps.resting("bob", "/a", at), Some(at + M(rest)));
            at += M(rest);
        }
        caps.passed("bob", "/a");
        caps.capped("bob", "/a", None, at);
        assert_eq!(caps.resting("bob", "/a", at), Some(at + M(15)));
    }

    #[test]
    fn the_hub_may_say_how_long() {
        let mut caps = Caps::default();
        caps.capped("bob", "/a", Some(M(100)), M(0));
        caps.capped("bob", "/a", Some(M(10)), M(1));
        assert_eq!(caps.resting("bob", "/a", M(99)), Some(M(100)));
        assert_eq!(caps.resting("bob", "/a", M(100)), None);
    }

    #[test]
    fn caps_of_the_past_are_forgotten() {
        let mut caps = Caps::default();
        for day in 0..500 {
            caps.capped(&format!("user-{day}"), "/a", None, M(day * 24 * 60));
        }
        assert!(caps.caps.len() <= 3, "{}", caps.caps.len());
    }
}

//! Rate-limit headers and what the pace makes of them: whatever the Hub says, no wait is longer than a day, nothing
//! overflows, and one user's limits are nobody else's.

use std::time::Duration;

use crate::exchange::Answer;
use crate::hub::answers::{LimitRow, RateLimit, is_action_cap, limit_row, rate_limit};
use crate::pace::{Allowance, Manner, Pace, Told, WHOAMI_BURST, Wait};

use super::wire;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn limits(bytes: &[u8]) {
    limits_by(bytes, rate_limit);
}

/// The rules, over whatever reads the headers.
pub(super) fn limits_by(bytes: &[u8], reader: impl Fn(&Answer) -> RateLimit) {
    let (mut pace, mut allowance) = (Pace::new(0.1), Allowance::default());
    let (mut now, mut taken) = (Duration::ZERO, 0_u32);
    for said in wire::read(bytes) {
        now += Duration::from_secs(u64::from(said.after));
        let Ok(answer) = said.outcome() else { continue };
        let limit = reader(&answer);
        for (shown, line) in [(limit.remaining, &answer.rate_limit), (limit.quota, &answer.rate_limit_policy)]
        {
            let line = line.as_deref().unwrap_or_default();
            assert!(shown.is_none_or(|n| line.contains(&n.to_string())), "{shown:?} of {line:?}");
        }
        for wait in [limit.reset, limit.length, limit.retry_after].into_iter().flatten() {
            assert!(wait <= DAY, "{wait:?}");
        }
        assert_eq!(limit_row(&answer) == LimitRow::Unlimited, answer.status != 429);
        assert!(answer.status == 429 || !is_action_cap(&answer));
        let refused = (answer.status == 429).then_some(limit.retry_after.or(limit.reset));
        let RateLimit { remaining, reset, quota, length, .. } = limit;
        let told = Told { remaining, reset, quota, length, took: Duration::ZERO, refused };
        pace.sent("bob", now);
        pace.heard("bob", told, now);
        for manner in [Manner::Spread, Manner::AtOnce] {
            if let Err(wait) = pace.may("bob", manner, now) {
                // Nothing is in the air that an answer could come to.
                let bounded = matches!(wait, Wait::Until(at) if at > now && at <= now + DAY);
                assert!(bounded, "at {now:?}: {wait:?}");
            }
            if refused.is_some_and(|wait| wait.is_some_and(|wait| wait > Duration::ZERO)) {
                assert!(pace.may("bob", manner, now).is_err(), "a 429 pauses");
            }
            assert_eq!(pace.may("alice", manner, now), Ok(()), "another user");
        }
        assert!(pace.remaining_ratio("bob", now).is_none_or(|left| (0.0..=1.0).contains(&left)));
        if let Some(wait) = refused {
            let wait = wait.unwrap_or_default();
            allowance.rest(now + wait);
            assert!(wait == Duration::ZERO || !allowance.take(now), "whoami rests");
        }
        taken += u32::from(allowance.take(now));
        let earned = now.as_secs() / 30;
        assert!(u64::from(taken) <= u64::from(WHOAMI_BURST) + earned, "{taken} whoami at {now:?}");
    }
}

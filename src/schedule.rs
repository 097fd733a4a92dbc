//! When what is due: which distinct schedules there are, what a tick of one makes due, and how a round is spread.
//!
//! Pure. The clockwork that turns these expressions into ticks is elsewhere; here is only arithmetic.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};
use sha2::{Digest, Sha256};

use crate::access::CheckKey;
use crate::config::Schedule;
use crate::moment::Timestamp;

/// What a tick makes due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Classes {
    /// Checks that only read.
    pub probe: bool,
    /// Checks that may create.
    pub canary: bool,
    /// whoami of every token.
    pub declared: bool,
}

impl Classes {
    /// Everything.
    pub const ALL: Classes = Classes { probe: true, canary: true, declared: true };

    /// Both together.
    #[must_use]
    pub fn and(self, other: Classes) -> Classes {
        Classes {
            probe: self.probe || other.probe,
            canary: self.canary || other.canary,
            declared: self.declared || other.declared,
        }
    }

    /// What of these is not in `other`.
    #[must_use]
    pub fn without(self, other: Classes) -> Classes {
        Classes {
            probe: self.probe && !other.probe,
            canary: self.canary && !other.canary,
            declared: self.declared && !other.declared,
        }
    }

    /// Whether nothing is due.
    pub fn is_empty(self) -> bool {
        self == Classes::default()
    }
}

/// The distinct expressions and what each makes due: one clockwork job each.
pub fn jobs(schedule: &Schedule) -> BTreeMap<String, Classes> {
    let mut jobs: BTreeMap<String, Classes> = BTreeMap::new();
    let due = |probe, canary, declared| Classes { probe, canary, declared };
    for (expression, classes) in [
        (&schedule.probe, due(true, false, false)),
        (&schedule.canary, due(false, true, false)),
        (&schedule.declared, due(false, false, true)),
    ] {
        let entry = jobs.entry(expression.clone()).or_default();
        *entry = entry.and(classes);
    }
    jobs
}

/// Reads a six-field expression, as the config has checked it.
pub fn cron(expression: &str) -> Option<Cron> {
    CronParser::builder().seconds(Seconds::Required).dom_and_dow(true).build().parse(expression).ok()
}

/// The first occurrence after `now` in this zone.
pub fn next(cron: &Cron, zone: Tz, now: Timestamp) -> Option<Timestamp> {
    let at = cron.find_next_occurrence(&now.to_utc().with_timezone(&zone), false).ok()?;
    Some(Timestamp(at.timestamp_millis()))
}

/// The gap between the next two occurrences; a day when there are none.
pub fn period(expression: &str, zone: Tz, now: Timestamp) -> Duration {
    gap(cron(expression).as_ref(), zone, now)
}

fn gap(cron: Option<&Cron>, zone: Tz, now: Timestamp) -> Duration {
    let first = cron.and_then(|cron| Some((cron, next(cron, zone, now)?)));
    let gap = first.and_then(|(cron, first)| Some(next(cron, zone, first)?.since(first)));
    gap.unwrap_or(Duration::from_secs(24 * 3600))
}

/// The expressions of a config, read once: their periods are asked for at every event.
#[derive(Debug, Clone)]
pub struct Timetable {
    zone: Tz,
    crons: BTreeMap<String, Cron>,
}

impl Timetable {
    /// Reads those of this schedule.
    pub fn of(schedule: &Schedule) -> Timetable {
        let crons = jobs(schedule).into_keys().filter_map(|expression| {
            let cron = cron(&expression)?;
            Some((expression, cron))
        });
        Timetable { zone: schedule.timezone, crons: crons.collect() }
    }

    /// When anything is due next.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.crons.values().filter_map(|cron| next(cron, self.zone, now)).min()
    }

    /// The gap between the next two occurrences of one of them; a day when there are none.
    pub fn period(&self, expression: &str, now: Timestamp) -> Duration {
        gap(self.crons.get(expression), self.zone, now)
    }
}

/// Over how long a round is spread: a tenth of its period and at most 30 s; not at all for periods up to 10 s.
pub fn spread(period: Duration) -> Duration {
    if period <= Duration::from_secs(10) {
        return Duration::ZERO;
    }
    (period / 10).min(Duration::from_secs(30))
}

/// A check's place in the spread, from a hash of its name rather than from the time of start:
///
/// ```text
///  period 15 min → window 30 s → "ci-bot repo.create model" always at, say, +17.2 s of each round
///  a restart, a reload or a new neighbour moves no check; a thousand checks do not go off at once
/// ```
pub fn offset(key: &CheckKey, window: Duration) -> Duration {
    if window.is_zero() {
        return window;
    }
    let mut hash = Sha256::new();
    for part in [&key.organization, key.token.as_str(), key.permission.as_str(), &key.target] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    let place = digest.iter().take(4).fold(0u32, |n, byte| (n << 8) | u32::from(*byte));
    let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(u64::from(place).saturating_mul(millis) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Permission, TokenName};

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("RFC 3339")
    }

    #[test]
    fn equal_expressions_are_one_job() {
        let mut schedule = Schedule {
            probe: "0 */15 * * * *".into(),
            canary: "0 */15 * * * *".into(),
            declared: "0 7 * * * *".into(),
            timezone: Tz::UTC,
            on_start: true,
        };
        let one = jobs(&schedule);
        assert_eq!(one.len(), 2);
        assert_eq!(one["0 */15 * * * *"], Classes { probe: true, canary: true, declared: false });
        schedule.canary = "0 5 * * * *".into();
        assert_eq!(jobs(&schedule).len(), 3);
    }

    #[test]
    fn ten_in_the_morning_stays_ten_when_the_clocks_change() {
        let cron = cron("0 0 10 * * *").expect("valid");
        let zone: Tz = "Europe/Berlin".parse().expect("a zone");
        let before = next(&cron, zone, at("2026-03-28T00:00:00Z"));
        assert_eq!(before, Some(at("2026-03-28T09:00:00Z")));
        assert_eq!(next(&cron, zone, at("2026-03-29T00:00:00Z")), Some(at("2026-03-29T08:00:00Z")));
    }

    #[test]
    fn short_periods_are_not_spread_and_long_ones_at_most_half_a_minute() {
        assert_eq!(period("*/2 * * * * *", Tz::UTC, at("2026-01-01T00:00:00Z")), Duration::from_secs(2));
        assert_eq!(spread(Duration::from_secs(10)), Duration::ZERO);
        assert_eq!(spread(Duration::from_secs(60)), Duration::from_secs(6));
        assert_eq!(spread(Duration::from_secs(86400)), Duration::from_secs(30));
    }

    #[test]
    fn a_checks_place_is_its_own_and_inside_the_window() {
        let window = Duration::from_secs(30);
        let places: Vec<Duration> = (0..200)
            .map(|n| {
                let key =
                    CheckKey::new("acme", TokenName::new(&format!("t{n}")), Permission::RepoRead, "acme/x");
                assert_eq!(offset(&key, window), offset(&key, window));
                offset(&key, window)
            })
            .collect();
        assert!(places.iter().all(|place| *place < window));
        let first_half = places.iter().filter(|place| **place < window / 2).count();
        assert!((60..140).contains(&first_half), "{first_half} of 200 in the first half");
    }
}

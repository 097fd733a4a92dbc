//! The simulated Hub's clock: the wall's time at the start plus the runtime's own, so that a test with paused
//! time moves it, plus what a person has skipped by steering. The only reader of a clock in the simulator.
//! Serves quotas, expiries and every date in an answer.

use chrono::DateTime;
use chrono::SecondsFormat;
use chrono::TimeDelta;
use chrono::Utc;
use tokio::time::Instant;

pub(super) struct Clock {
    began: DateTime<Utc>,
    instant: Instant,
    skipped_ms: u64,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the simulator reads a clock")]
    pub(super) fn start() -> Clock {
        Clock { began: Utc::now(), instant: Instant::now(), skipped_ms: 0 }
    }

    pub(super) fn skip(&mut self, milliseconds: u64) {
        self.skipped_ms = self.skipped_ms.saturating_add(milliseconds);
    }

    /// Milliseconds since the start, skipped ones included.
    pub(super) fn elapsed_ms(&self) -> u64 {
        let passed = u64::try_from(self.instant.elapsed().as_millis()).unwrap_or(u64::MAX);
        passed.saturating_add(self.skipped_ms)
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        let passed = TimeDelta::try_milliseconds(i64::try_from(self.elapsed_ms()).unwrap_or(i64::MAX));
        passed.and_then(|passed| self.began.checked_add_signed(passed)).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

/// A date as the Hub writes it.
pub(super) fn date(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

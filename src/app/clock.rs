//! The wall clock. Nothing else in the house reads it.

use crate::moment::Timestamp;

/// What the calendar says now.
pub fn wall_now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    let now = chrono::Utc::now();
    Timestamp(now.timestamp_millis())
}

//! What an entry of `ignores:` accepts, and until when. Serves whoever raises findings or tells of them.

use super::{Config, Ignore};
use crate::moment::Timestamp;
use crate::report::FindingKey;

/// The ignore that accepts this finding at this moment, if any; of several the one that holds longest.
pub fn accepted<'c>(config: &'c Config, key: &FindingKey, now: Timestamp) -> Option<&'c Ignore> {
    let meets = |ignore: &&Ignore| {
        now < ignore.until
            && ignore.kind == key.kind
            && key.token.as_ref() == Some(&ignore.token)
            && ignore.permission.is_none_or(|permission| key.permission == Some(permission))
            && ignore.target.as_ref().is_none_or(|target| key.target.as_ref() == Some(target))
    };
    config.ignores.iter().filter(meets).max_by_key(|ignore| ignore.until)
}

/// The last day on which it holds, as the config has it.
pub fn last_day(ignore: &Ignore) -> String {
    let day = Timestamp(ignore.until.0.saturating_sub(1)).to_utc();
    day.format("%Y-%m-%d").to_string()
}

//! Which checks a round asks, and when each may begin.
//!
//! The order comes from the checks themselves, never from where they stand in the config file.

use std::time::Duration;

use crate::access::{Check, TokenName};
use crate::config::Config;
use crate::schedule::{Classes, offset};

/// One check of a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub check: Check,
    /// Its earliest begin, after the begin of the round.
    pub after: Duration,
}

/// The checks that are due, earliest first. `only` narrows to some tokens; empty means all.
pub fn plan(config: &Config, due: Classes, only: &[TokenName], window: Duration) -> Vec<Planned> {
    let mut planned: Vec<Planned> = config
        .tokens
        .iter()
        .filter(|token| only.is_empty() || only.contains(&token.name))
        .flat_map(|token| &token.checks)
        .filter(|check| if check.creates() { due.canary } else { due.probe })
        .map(|check| Planned { check: check.clone(), after: offset(&check.key(), window) })
        .collect();
    planned.sort_by_cached_key(|p| (p.after, p.check.key()));
    planned
}

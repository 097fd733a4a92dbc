//! What a round asks: which checks in which order, and every call of it before it is made.
//!
//! The order comes from the checks themselves, never from where they stand in the config file. `calls` lists the
//! requests with their bounds, `quota` holds them against what the Hub allows each user, `scopes` says what our
//! own tokens need for it.

pub mod calls;
pub mod choice;
pub mod quota;
pub mod scopes;
#[cfg(test)]
mod tests;

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

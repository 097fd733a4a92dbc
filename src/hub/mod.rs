//! All that is known of the Hub: which requests there are, what its answers mean, how a canary is made, proven
//! ours and removed. Pure; it names tokens and never holds one.

pub mod answers;
pub mod canary;
pub mod classify;
pub mod control;
pub mod coverage;
pub mod diff;
pub mod hands;
pub mod inventory;
pub mod managed;
pub mod names;
pub mod past;
pub mod pin;
pub mod predict;
pub mod probes;
pub mod proof;
pub mod readings;
#[cfg(test)]
mod recorded_tests;
pub mod routes;
pub mod shown;
pub mod sweep;
mod unique;
pub mod visit;
pub mod vocabulary;
pub mod whoami;

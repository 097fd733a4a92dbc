//! What the simulated Hub says at each of its addresses, one file a noun.
//! A route is given the whole state and who asks, and says what the Hub would; it neither counts nor logs.
//! Serves the hub.

pub(super) mod create;
pub(super) mod delete;
mod group;
pub(super) mod list;
pub(super) mod namespace;
pub(super) mod organization;
pub(super) mod relocate;
pub(super) mod repository;
mod revision;
pub(super) mod whoami;

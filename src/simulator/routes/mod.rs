//! What the simulated Hub says at each of its addresses, one file a noun.
//! A route is given the whole state and who asks, and says what the Hub would; it neither counts nor logs.
//! Serves the hub.

mod audit;
pub(super) mod billing;
pub(super) mod create;
pub(super) mod delete;
mod gate;
mod group;
mod inventory;
pub(super) mod list;
pub(super) mod namespace;
pub(super) mod organization;
pub(super) mod relocate;
pub(super) mod repository;
pub(super) mod resource_groups;
mod revision;
mod settings;
pub(super) mod whoami;

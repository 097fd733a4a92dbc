//! A pretend Hugging Face Hub with its own truth: a real HTTP server on loopback, answering as the Hub does.
//!
//! It uses nothing of the rest of the crate, so that what the daemon believes is compared with something else
//! than itself: its grants, texts and order of checks are its own, taken from the Hub's documentation, its
//! OpenAPI, the official client's tests and recorded answers; where those are silent, a comment says
//! UNCONFIRMED. It remembers every request and every change. Serves tests, the demo and `scopewatch hub`.

mod answer;
mod call;
mod caller;
mod clock;
mod fault;
mod grants;
mod hub;
mod id;
mod journal;
mod patch;
mod quota;
mod repo;
mod route;
mod routes;
mod server;
mod state;
mod steer;
mod wire;
mod words;
mod world;

#[cfg(test)]
mod tests;

pub use server::Options;
pub use server::serve;
pub use server::serve_with;
pub use world::World;

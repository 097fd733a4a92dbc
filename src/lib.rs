//! scopewatch shows, all day long, what an organization's Hugging Face access tokens can really do.
//!
//! # The map
//!
//! ```text
//! words      access errand exchange intent moment report secret      plain values, each word spelled once
//! core       config schedule plan pace hub compare alert      decisions: no clock, no dice, no I/O
//!            explain render baseline                          what is told of them, as text
//! edges      probe store metrics notify serve logging         one kind of I/O each, strangers to one another
//! shell      round app cli                                    the story, the life, the commands
//! apart      simulator                                        a pretend Hub; shares nothing with the rest
//!            failpoint planted                                where tests end the process, and what they spoil
//! ```
//!
//! Who may use whom is a table in `tests/architecture.rs`, which reads every file. Four sentences to keep: the
//! core never touches a runtime, a clock, a file or the network; edges never use edges (but `serve` shows what
//! `metrics` renders); only what sends a secret opens one; only `app` reads the wall clock.
//!
//! # The path of a result
//!
//! ```text
//!  config ──▶ schedule ──▶ plan ──▶ round ══▶ hub::classify ──▶ compare ──▶ alert ──▶ store ══▶ snapshot
//!  checks     due          order    controls   Access           Verdict     what      one       ├─▶ metrics
//!                                   and walks                               lasts     batch     └─▶ page, API
//! ```
//!
//! `round` is one engine that owns all state: it is told an event and answers with effects. `round::drive`
//! carries the effects out over `probe` (the network) and `store` (the journal). Whatever changes the Hub is
//! durable as an intent before it is sent, so that a crash leaves a trace for the next start.

#![forbid(unsafe_code)]

#[macro_use]
mod failpoint;

#[cfg(all(feature = "fuzzing", not(debug_assertions)))]
compile_error!(
    "the feature `fuzzing` is for tests/fuzz, which builds with debug assertions; no release has it"
);

pub mod access;
pub mod alert;
pub mod app;
pub mod baseline;
pub mod cli;
pub mod compare;
pub mod config;
pub mod errand;
pub mod exchange;
pub mod explain;
#[cfg(any(test, feature = "fuzzing"))]
pub mod foreign;
pub mod hub;
pub mod intent;
pub mod logging;
pub mod metrics;
pub mod moment;
pub mod notify;
pub mod pace;
pub mod plan;
pub mod planted;
pub mod probe;
pub mod render;
pub mod report;
pub mod round;
pub mod schedule;
pub mod secret;
pub mod serve;
#[cfg(feature = "simulator")]
pub mod simulator;
pub mod store;

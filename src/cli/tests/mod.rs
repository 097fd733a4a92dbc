//! Commands in this process against the simulated Hub over HTTP: what they print, and what the Hub saw of them.

mod baseline;
mod bench;
mod explain;
mod plan;
mod postgres;
mod reference;

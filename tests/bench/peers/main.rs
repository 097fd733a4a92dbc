//! What `scopewatch serve` is measured beside: a Hub that answers fast, and a bare loop of requests.
//!
//! `peers hub` and `peers ask` are processes of their own, so that each can be held to one core and its time counted;
//! `run.py` starts them. Neither judges anything: `hub` repeats what a simulated Hub said, `ask` sends and parses.

#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench: what does not hold ends it, and who runs it reads what it says"
)]

mod answers;
mod ask;
mod hub;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

#[derive(Parser)]
enum Peer {
    /// Repeats the answers of a simulated Hub (`scopewatch hub`), plainly and over TLS 1.3.
    Hub(hub::Options),
    /// Sends the same requests as `serve`, and nothing else: no schedule, no verdict, no store.
    Ask(ask::Options),
}

/// Where the Hub listens.
#[derive(clap::Args)]
struct Doors {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    tls: Option<SocketAddr>,
    /// Where to write the certificate of whoever signed the Hub's.
    #[arg(long, requires = "tls")]
    ca: Option<PathBuf>,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let alone = tokio::task::LocalSet::new();
    match Peer::parse() {
        Peer::Hub(options) => alone.block_on(&runtime, hub::serve(options)),
        Peer::Ask(options) => alone.block_on(&runtime, ask::ask(options)),
    }
}

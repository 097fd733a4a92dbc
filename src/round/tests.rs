//! Goal: whatever the Hub, the store and the power supply do, the engine keeps the promises of the canary protocol
//! and of its verdicts, and it always comes to an end.
//! Method: a by-name Hub with a truth of its own (`hub`), a life in virtual time that checks every effect against
//! that truth (`life`, `truth`), told stories (`stories`, `declared`) and random lives from seeds (`random`). Nothing sleeps.

mod bounds;
mod clock;
mod declared;
mod gate;
mod hub;
mod ignores;
mod inventory;
mod life;
mod planned;
mod predicted;
mod probes;
mod random;
mod recalls;
mod sights;
mod stories;
mod sweeps;
mod truth;

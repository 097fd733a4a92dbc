//! Goal: whatever the Hub, the store and the power supply do, the engine keeps the promises of the canary protocol
//! and of its verdicts, and it always comes to an end.
//! Method: a by-name Hub with a truth of its own (`hub`), a life in virtual time that checks every effect against
//! that truth (`life`, `flights`, `disk`, `invariants`, `verdicts`), told stories (`stories`, `declared`, …) and lives
//! from seeds, short and dense (`lives`) and long (`random`). Nothing sleeps.

mod alerts;
mod basis;
mod bounds;
mod clock;
mod coverage;
mod declared;
mod disk;
mod errands;
mod flights;
mod gate;
mod hub;
mod ignores;
mod invariants;
mod inventory;
mod life;
mod lives;
mod pacing;
mod planned;
mod predicted;
mod probes;
mod random;
mod recalls;
mod showing;
mod sights;
mod sinks;
mod sooner;
mod stories;
mod sweeps;
mod verdicts;
mod watch;

//! Readiness: components take a latch before the daemon starts and drop it when they are ready.
//!
//! Ready means that nobody holds a latch and nobody has said that it ends. The Hub has no part in it: an
//! outage there must not take this daemon's own pages away.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether the daemon can answer; clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<Gate>>);

#[derive(Debug, Default)]
struct Gate {
    stopping: bool,
    waiting: Vec<&'static str>,
}

/// Holds readiness back until it is dropped. Who fails keeps it: a component that never got ready must not
/// look as if it had.
#[derive(Debug)]
pub struct Latch {
    name: &'static str,
    of: Readiness,
}

impl Readiness {
    /// Ready at once, until somebody takes a latch.
    pub fn new() -> Readiness {
        Readiness::default()
    }

    /// A latch under the one word that `/-/ready` shows while it is held: `config`, `store`, `journal`.
    #[must_use = "dropping the latch is what makes ready"]
    pub fn latch(&self, name: &'static str) -> Latch {
        self.gate().waiting.push(name);
        Latch { name, of: self.clone() }
    }

    /// From now on not ready, for good. To be called when stopping begins; the pages stay until it ends.
    pub fn stop(&self) {
        self.gate().stopping = true;
    }

    /// The word for why it is not ready; `None` when it is.
    pub fn missing(&self) -> Option<&'static str> {
        let gate = self.gate();
        if gate.stopping { Some("stopping") } else { gate.waiting.first().copied() }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        let mut gate = self.of.gate();
        if let Some(at) = gate.waiting.iter().position(|name| *name == self.name) {
            gate.waiting.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_when_every_latch_is_dropped_and_nobody_stops() {
        let ready = Readiness::new();
        let (config, store) = (ready.latch("config"), ready.latch("store"));
        assert_eq!(ready.missing(), Some("config"));
        drop(config);
        assert_eq!(ready.missing(), Some("store"));
        drop(store);
        assert_eq!(ready.missing(), None);
        ready.stop();
        let late = ready.latch("journal");
        drop(late);
        assert_eq!(ready.missing(), Some("stopping"));
    }
}

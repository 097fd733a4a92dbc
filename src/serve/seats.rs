//! The places of connections: how many there are, and who gives up his own when somebody else waits for one.
//!
//! Whoever has been silent longest leaves first, so that idle connections, however many, never keep anybody out.
//! Knows neither sockets nor clocks. Serves the accept loop.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, getrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Connections at once, where the system allows it.
const MOST: u64 = 256;
/// File descriptors for everything but connections: the store, the runtime, secrets while they are read.
const OWN_FILES: u64 = 48;
/// Below this nobody could look at a page.
const FEWEST: u64 = 4;

/// How many connections this process may hold: half of the file descriptors that are left, for the other half is
/// needed to probe.
pub(super) fn of_this_process() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from((files.saturating_sub(OWN_FILES) / 2).clamp(FEWEST, MOST)).unwrap_or(1)
}

/// All places.
pub(super) struct Seats {
    places: Arc<Semaphore>,
    silent: Mutex<Silent>,
}

/// Who is silent, in the order in which they fell silent.
#[derive(Default)]
struct Silent {
    order: BTreeMap<u64, CancellationToken>,
    next: u64,
    /// Somebody waits for a place: whoever falls silent now is to leave.
    wanted: bool,
}

/// The place of one connection. Given back when it is dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    leave: CancellationToken,
    at: Mutex<Option<u64>>,
    spoke: AtomicBool,
    _place: OwnedSemaphorePermit,
}

impl Seats {
    pub(super) fn new(places: usize) -> Arc<Seats> {
        Arc::new(Seats { places: Arc::new(Semaphore::new(places)), silent: Mutex::default() })
    }

    /// A place, silent at first. Where there is none, one is made.
    pub(super) async fn take(self: &Arc<Seats>) -> Option<Arc<Seat>> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                self.silent().make_room();
                let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
                self.silent().wanted = false;
                place
            }
        };
        let seat = Seat {
            seats: Arc::clone(self),
            leave: CancellationToken::new(),
            at: Mutex::default(),
            spoke: AtomicBool::new(false),
            _place: place,
        };
        seat.fall_silent();
        Some(Arc::new(seat))
    }

    fn silent(&self) -> MutexGuard<'_, Silent> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Silent {
    fn make_room(&mut self) {
        match self.order.pop_first() {
            Some((_, leave)) => leave.cancel(),
            None => self.wanted = true,
        }
    }
}

impl Seat {
    /// To be awaited: somebody else needs this place.
    pub(super) async fn wanted(&self) {
        self.leave.cancelled().await;
    }

    /// Whether anything was ever asked here.
    pub(super) fn spoke(&self) -> bool {
        self.spoke.load(Ordering::Relaxed)
    }

    /// A request is answered here until the guard is dropped; nobody is sent away in the middle of it.
    pub(super) fn busy(self: &Arc<Seat>) -> Busy {
        self.spoke.store(true, Ordering::Relaxed);
        self.stand_up();
        Busy(Arc::clone(self))
    }

    fn fall_silent(&self) {
        let mut silent = self.seats.silent();
        let at = silent.next;
        silent.next += 1;
        silent.order.insert(at, self.leave.clone());
        *self.at() = Some(at);
        if silent.wanted {
            silent.wanted = false;
            silent.make_room();
        }
    }

    fn stand_up(&self) {
        let mut silent = self.seats.silent();
        if let Some(at) = self.at().take() {
            silent.order.remove(&at);
        }
    }

    fn at(&self) -> MutexGuard<'_, Option<u64>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.stand_up();
    }
}

/// While a request is answered.
pub(super) struct Busy(Arc<Seat>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fall_silent();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_is_sent_away_in_the_middle_of_a_request() {
        let seats = Seats::new(1);
        let first = seats.take().await.expect("there is a place");
        let busy = first.busy();
        let second = seats.take();
        tokio::pin!(second);
        tokio::select! {
            biased;
            _ = &mut second => panic!("there is one place"),
            () = std::future::ready(()) => {}
        }
        assert!(!first.leave.is_cancelled(), "it is being answered");
        drop(busy);
        assert!(first.leave.is_cancelled(), "somebody waits for this place");
        drop(first);
        assert!(second.await.is_some());
    }
}

//! Carries the engine's effects out: the one loop in which time passes, requests fly and batches become durable.
//!
//! Everything that flies reports back to this loop; batches are written one after the other in the engine's
//! order. What is shown, counted or logged is handed to an [`Outlet`], which the app provides.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::access::TokenName;
use crate::alert::message::Message;
use crate::alert::outbox::Delivery;
use crate::exchange::{Exchange, Failure, Request};
use crate::intent::Canary;
use crate::moment::{Moment, Timestamp};
use crate::planted::{self, Defect};
use crate::probe::{Keyring, MayLeave, Prober};
use crate::report::{Report, Snapshot};
use crate::secret::SecretFault;
use crate::store::{Store, Write};

pub use super::away::{Away, World};
use super::gate::{self, Bound};
use super::sweeps::Name;
use super::{Effect, Engine, Event, Grounds, Meter, Notice};

/// Keys as read this moment: the ring to send with, and what the engine may know of each.
pub struct LoadedKeys {
    pub ring: Keyring,
    pub known: BTreeMap<TokenName, Result<String, SecretFault>>,
}

/// What the loop needs of the world besides network and store.
pub trait Outlet: Send {
    /// The wall clock.
    fn wall() -> Timestamp;
    /// Reads all keys.
    fn load_keys(&mut self) -> impl Future<Output = LoadedKeys> + Send;
    /// Shows this from now on.
    fn publish(&mut self, snapshot: Arc<Snapshot>);
    /// Counts this.
    fn meter(&mut self, meter: Meter);
    /// Says this.
    fn tell(&mut self, notice: Notice);
    /// A batch could not be stored.
    fn store_failed(&mut self, fault: &crate::store::StoreFault);
    /// A batch was stored, in this store.
    fn store_works(&mut self, store: &Store);
    /// A round ended.
    fn round_ended(&mut self, report: Arc<Report>);
    /// What an explanation stands on.
    fn explained(&mut self, grounds: Box<Grounds>);
    /// Tells a sink.
    fn notify(&mut self, sink: &str, messages: Vec<Message>) -> BoxFuture<Delivery>;
    /// The engine has looked at what a crash may have left.
    fn recovered(&mut self);
}

/// A future that may be spawned.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How long unfinished business may take after a stop was asked for.
const GRACE: Duration = Duration::from_secs(20);

/// The loop's hands.
pub struct Driver<O: Outlet> {
    pub engine: Engine,
    /// A reload may put another in its place.
    pub prober: Arc<ArcSwap<Prober>>,
    pub store: Arc<Store>,
    pub outlet: O,
    pub events: mpsc::Receiver<Event>,
    /// What the engine is told first.
    pub first: Event,
    /// The way to replicas that wait, where there may be any.
    pub away: Option<Away>,
    /// When monotonic time began.
    pub began: Instant,
    /// Cancelled when the journal is not ours to write to any more.
    pub lost: CancellationToken,
}

/// What is left of the loop when it has ended.
pub struct Ended<O> {
    /// For what it gathered.
    pub outlet: O,
    pub events: mpsc::Receiver<Event>,
}

struct Hands {
    ring: Arc<Keyring>,
    flights: JoinSet<Exchange>,
    /// Which request each task carries, should it never come back.
    manifest: HashMap<tokio::task::Id, (u64, Request)>,
    away: Option<Away>,
    batches: mpsc::UnboundedSender<(u64, Vec<Write>)>,
    /// Requests to sinks, and whose each is, should it never come back.
    notices: JoinSet<Delivery>,
    notified: HashMap<tokio::task::Id, String>,
    ended: bool,
    ending_at: Option<Instant>,
}

/// What a batch came to.
type Written = (u64, Result<Instant, crate::store::StoreFault>);

impl<O: Outlet> Driver<O> {
    fn now(&self) -> Moment {
        moment::<O>(self.began)
    }

    /// Runs until the engine has ended, or the journal is lost.
    pub async fn run(mut self) -> Ended<O> {
        let (batches, written) = mpsc::unbounded_channel();
        let mut writer = JoinSet::new();
        let mut written = write_in_order(&mut writer, self.store.clone(), written);
        let mut hands = Hands {
            ring: Arc::new(Keyring::new()),
            flights: JoinSet::new(),
            manifest: HashMap::new(),
            away: self.away.take(),
            batches,
            notices: JoinSet::new(),
            notified: HashMap::new(),
            ended: false,
            ending_at: None,
        };
        failpoint!("loop.begun");
        let first = std::mem::replace(&mut self.first, Event::Wake);
        self.handle(first, &mut hands).await;
        let mut recovered = false;
        while !hands.ended {
            if !recovered && !self.engine.is_recovering() {
                recovered = true;
                self.outlet.recovered();
                failpoint!("loop.recovered");
            }
            let now = self.now();
            let wake = self.engine.wake_at(now).map(|at| self.began + at);
            let event = tokio::select! {
                Some(event) = self.events.recv() => {
                    if matches!(event, Event::Stop) {
                        failpoint!("loop.stopped");
                        hands.ending_at = Some(Instant::now() + GRACE);
                    }
                    event
                }
                Some(flight) = hands.flights.join_next_with_id() => landed(flight, &mut hands.manifest, now),
                Some(event) = from_away(&mut hands.away) => event,
                Some((op, result)) = written.recv() => self.after_write(op, result),
                Some(notice) = hands.notices.join_next_with_id() => notified(notice, &mut hands.notified),
                () = sleep_until(wake) => Event::Wake,
                () = sleep_until(hands.ending_at) => break,
                () = self.lost.cancelled(), if !planted::is(Defect::NoCheckAtSend) => break,
            };
            self.handle(event, &mut hands).await;
        }
        failpoint!("loop.ended");
        drop(hands.batches);
        if self.lost.is_cancelled() {
            // None of it would be taken, and who has the journal now knows what was: nothing is waited for.
            writer.shutdown().await;
        }
        // What was handed over is written before the store is closed.
        while let Some((op, result)) = written.recv().await {
            self.after_write(op, result);
        }
        while writer.join_next().await.is_some() {}
        failpoint!("loop.drained");
        Ended { outlet: self.outlet, events: self.events }
    }

    fn after_write(&mut self, op: u64, result: Result<Instant, crate::store::StoreFault>) -> Event {
        failpoint!("loop.stored");
        match &result {
            Ok(_) => self.outlet.store_works(&self.store),
            Err(fault) => self.outlet.store_failed(fault),
        }
        let at =
            result.as_ref().map_or(self.began.elapsed(), |asked| asked.saturating_duration_since(self.began));
        Event::Stored { op, done: result.is_ok(), at }
    }

    async fn handle(&mut self, event: Event, hands: &mut Hands) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let now = self.now();
            for effect in self.engine.handle(event, now) {
                events.extend(self.carry_out(effect, hands).await);
            }
        }
    }

    async fn carry_out(&mut self, effect: Effect, hands: &mut Hands) -> Option<Event> {
        match effect {
            Effect::LoadKeys => {
                let loaded = self.outlet.load_keys().await;
                hands.ring = Arc::new(loaded.ring);
                failpoint!("loop.keys");
                return Some(Event::Keys(loaded.known));
            }
            Effect::Send { flight, request, bound } => self.send(flight, request, bound, hands),
            Effect::SendAway { flight, request, fingerprint } => {
                return match &hands.away {
                    Some(away) => away.send(flight, request, fingerprint),
                    None => Some(Event::Returned { flight, request }),
                };
            }
            Effect::Store { op, batch } => {
                // The writer lives as long as this loop, so that this cannot fail.
                let _ = hands.batches.send((op, batch));
            }
            Effect::Recall { organization, names } => {
                return Some(Event::Recalled { organization, found: self.recall(&names).await });
            }
            Effect::Notify { sink, messages } => {
                let task = hands.notices.spawn(self.outlet.notify(&sink, messages));
                hands.notified.insert(task.id(), sink);
            }
            Effect::Publish(snapshot) => {
                self.outlet.publish(snapshot);
                failpoint!("loop.shown");
            }
            Effect::Meter(meter) => self.outlet.meter(meter),
            Effect::Tell(notice) => self.outlet.tell(notice),
            Effect::Explained(grounds) => self.outlet.explained(grounds),
            Effect::RoundEnded(report) => {
                self.outlet.round_ended(report);
                failpoint!("loop.reported");
            }
            Effect::Ended => hands.ended = true,
        }
        None
    }

    /// Rare: only where a sweep found a name of ours that is not in memory.
    async fn recall(&mut self, names: &[Name]) -> Option<Vec<Canary>> {
        match self.store.all_canaries(u32::MAX).await {
            Ok(mut all) => {
                all.retain(|canary| names.contains(&(canary.kind, canary.repo.clone())));
                Some(all)
            }
            Err(fault) => {
                self.outlet.store_failed(&fault);
                None
            }
        }
    }

    fn send(&mut self, flight: u64, request: Request, bound: Option<Bound>, hands: &mut Hands) {
        failpoint!("loop.send", request.route);
        let now = self.now();
        let (prober, ring) = (self.prober.load_full(), hands.ring.clone());
        let sent = request.clone();
        let gate = gate::<O>(self.store.clone(), self.began, bound);
        let task = hands.flights.spawn(async move {
            if gate().await {
                // Asked again where the request is written: a connection takes time, and a process may be stopped.
                prober.send_if(&ring, request, now.wall, gate).await
            } else {
                failed(request, Failure::Stale, now)
            }
        });
        hands.manifest.insert(task.id(), (flight, sent));
    }
}

/// The question at the gate, for whenever it is asked. Whose turn it is says the file, which another process may have
/// taken over; the clocks are read last, because asking takes time.
fn gate<O: Outlet>(store: Arc<Store>, began: Instant, bound: Option<Bound>) -> Arc<MayLeave> {
    Arc::new(move || {
        let store = store.clone();
        Box::pin(async move {
            let epoch = if bound.is_some() { store.epoch_now().await } else { None };
            (store.vouches() || planted::is(Defect::NoCheckAtSend))
                && gate::may_leave(bound, moment::<O>(began), epoch)
        })
    })
}

fn moment<O: Outlet>(began: Instant) -> Moment {
    Moment { wall: O::wall(), mono: began.elapsed() }
}

fn failed(request: Request, failure: Failure, now: Moment) -> Exchange {
    Exchange { request, sent_at: now.wall, elapsed: Duration::ZERO, outcome: Err(failure) }
}

/// What a flight brought back. One that broke down may have reached the Hub.
fn landed(
    flight: Result<(tokio::task::Id, Exchange), JoinError>,
    manifest: &mut HashMap<tokio::task::Id, (u64, Request)>,
    now: Moment,
) -> Event {
    let (id, exchange) = match flight {
        Ok((id, exchange)) => (id, Some(exchange)),
        Err(error) => (error.id(), None),
    };
    match manifest.remove(&id) {
        Some((flight, request)) => {
            failpoint!("loop.landed", request.route);
            let exchange = exchange.unwrap_or_else(|| failed(request, Failure::Lost, now));
            Event::Heard { flight, exchange: Box::new(exchange) }
        }
        None => Event::Wake,
    }
}

/// What a request to a sink came to. One that broke down may have reached it.
fn notified(
    notice: Result<(tokio::task::Id, Delivery), JoinError>,
    sinks: &mut HashMap<tokio::task::Id, String>,
) -> Event {
    let (id, delivery) = match notice {
        Ok((id, delivery)) => (id, delivery),
        Err(error) => (error.id(), Delivery::Later(None)),
    };
    sinks.remove(&id).map_or(Event::Wake, |sink| Event::Notified { sink, delivery })
}

/// One task that writes batches in the order in which they come, so that none overtakes another.
fn write_in_order(
    tasks: &mut JoinSet<()>,
    store: Arc<Store>,
    mut batches: mpsc::UnboundedReceiver<(u64, Vec<Write>)>,
) -> mpsc::UnboundedReceiver<Written> {
    let (done, written) = mpsc::unbounded_channel();
    tasks.spawn(async move {
        while let Some((op, batch)) = batches.recv().await {
            let result = store.write(&batch).await;
            if done.send((op, result)).is_err() {
                break;
            }
        }
    });
    written
}

/// What came of requests that are sent elsewhere; never, where none is.
async fn from_away(away: &mut Option<Away>) -> Option<Event> {
    match away {
        Some(away) => away.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

//! The life of the round loop over its turns: it waits until the journal is this process's to write to, goes on where the
//! journal stops, and waits again when it was lost. Meanwhile it shows what the journal has.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::hub::names::Signer;
use crate::metrics::Metrics;
use crate::moment::Moment;
use crate::probe::Prober;
use crate::report::Snapshot;
use crate::round::drive::{Away, Driver, Ended, Outlet, World};
use crate::round::{Engine, Event, Mode};
use crate::schedule::Classes;
use crate::store::{Durability, Helpers, Store, StoreFault};

use super::Ground;
use super::clock::wall_now;
use super::helper::Helper;
use super::outlet::Shown;
use super::turns::{self, Turn};

/// How often it is looked whether the turn is free: a holder that died is followed this much after its lease at most.
const LOOK: Duration = Duration::from_secs(1);

/// How often a process that waits shows the journal anew, unless reading it takes more than a twentieth of that.
const SHOW: Duration = Duration::from_secs(5);

/// All that outlives a turn.
pub(super) struct Life {
    store: Arc<Store>,
    mode: Mode,
    signer: Signer,
    metrics: Metrics,
    /// A reload may put another in its place.
    pub prober: Arc<ArcSwap<Prober>>,
    outlet: Shown,
    events: mpsc::Receiver<Event>,
    began: Instant,
    /// The turn that began with the opening of a file.
    opened: Option<Term>,
}

/// A turn, and the engine that goes on where the journal stopped.
struct Term {
    turn: Turn,
    engine: Engine,
    first: Event,
}

impl Life {
    /// Begins the turn of whoever opened a file. What is wrong with the journal is told at once.
    pub(super) async fn begin(
        ground: Ground,
        mode: Mode,
        metrics: Metrics,
        events: mpsc::Receiver<Event>,
    ) -> Result<Life, StoreFault> {
        let Ground { store, signer, outlet, prober, began } = ground;
        let prober = Arc::new(ArcSwap::from_pointee(prober));
        let mut life = Life { store, mode, signer, metrics, prober, outlet, events, began, opened: None };
        if !life.store.is_shared()
            && let Some(turn) = Turn::take(&life.store, "").await?
        {
            life.opened = Some(Term { turn, engine: life.engine().await?, first: Event::Wake });
            super::stands(&mut life.outlet, &life.store);
        }
        Ok(life)
    }

    /// Until it is told to stop.
    pub(super) async fn run(mut self) {
        let name = turns::own_name();
        let mut waited = false;
        loop {
            let Some(term) = self.next(&name, waited).await else { break };
            waited = true;
            self.told_to_lead(true);
            self.tell_durability().await;
            let away = self.away(term.engine.epoch());
            let driver = Driver {
                engine: term.engine,
                prober: self.prober.clone(),
                store: self.store.clone(),
                outlet: self.outlet,
                events: self.events,
                away,
                first: term.first,
                began: self.began,
                lost: term.turn.lost.clone(),
            };
            Ended { outlet: self.outlet, events: self.events } = driver.run().await;
            self.told_to_lead(false);
            let lost = term.turn.is_lost();
            if lost {
                tracing::warn!(
                    "the lease of the journal was lost; whoever takes it next goes on, and this replica waits for its turn"
                );
            }
            // Also where the journal is another one now, and the lease still runs: nobody need wait for its end.
            term.turn.give_back(&self.store).await;
            if !lost {
                break;
            }
        }
        self.outlet.tell_head();
        if let Ok(store) = Arc::try_unwrap(self.store) {
            store.close().await;
        }
    }

    fn told_to_lead(&self, leads: bool) {
        if self.store.is_shared() {
            self.metrics.leads(leads);
            if leads {
                tracing::info!("this replica leads: it probes, writes and tells");
            }
        }
    }

    /// The way to the replicas that wait, where there may be any.
    fn away(&self, epoch: i64) -> Option<Away> {
        let metrics = self.metrics.clone();
        let seen = Box::new(move |helpers: Helpers| metrics.waiting(helpers.alike, helpers.unlike));
        let world = World { wall: wall_now, seen };
        let over =
            || Away::over(self.store.clone(), epoch, self.signer.clone(), self.outlet.config.clone(), world);
        self.store.is_shared().then(over)
    }

    /// Helps the leader meanwhile.
    fn help(&self, name: &str) -> JoinSet<()> {
        let helper = Helper {
            name: name.to_owned(),
            store: self.store.clone(),
            config: self.outlet.config.clone(),
            prober: self.prober.clone(),
            keys: self.outlet.more_keys(),
            signer: self.signer.clone(),
            metrics: self.metrics.clone(),
        };
        let mut helping = JoinSet::new();
        helping.spawn(helper.run());
        helping
    }

    /// Where a write lies once it is acknowledged, as far as the store can tell: with a standby that takes over by itself
    /// and was not waited for, the latest writes may be lost.
    async fn tell_durability(&mut self) {
        let Ok(level) = self.store.durability().await else { return };
        self.metrics.durable(level.as_str());
        if self.store.is_shared() && level == Durability::Local {
            tracing::warn!(
                journal_durability = level.as_str(),
                "the database acknowledges what lies on its own machine alone; if another server may take over by itself, set synchronous_standby_names"
            );
        }
    }

    /// Waits for the turn; `None` when told to stop.
    async fn next(&mut self, name: &str, waited: bool) -> Option<Term> {
        if let Some(term) = self.opened.take() {
            return Some(term);
        }
        let mut waited = waited;
        let (mut shows_at, mut began) = (Instant::now(), Instant::now());
        let mut reading: JoinSet<Option<Arc<Snapshot>>> = JoinSet::new();
        let mut helping = None;
        loop {
            let store = self.store.clone();
            let taken = tokio::select! {
                biased;
                () = stopped(&mut self.events) => return None,
                taken = Turn::take(&store, name) => taken,
            };
            match taken {
                Ok(Some(turn)) => match self.engine().await {
                    Ok(mut engine) => {
                        engine.shows_until_then(self.outlet.last_shown());
                        super::stands(&mut self.outlet, &store);
                        // What fell due while nobody led was missed.
                        let at_once = waited || self.outlet.config.load().schedule.on_start;
                        let first = if at_once { Event::Due(Classes::ALL) } else { Event::Wake };
                        return Some(Term { turn, engine, first });
                    }
                    Err(fault) => {
                        turn.give_back(&store).await;
                        self.outlet.store_failed(&fault);
                    }
                },
                Ok(None) => {
                    if !waited {
                        tracing::info!(
                            "another replica leads; this one waits for its turn and shows the journal"
                        );
                        self.told_to_lead(false);
                    }
                    self.outlet.answers();
                    // Until it leads itself, or is told to stop.
                    helping.get_or_insert_with(|| self.help(name));
                }
                Err(fault) => self.outlet.store_failed(&fault),
            }
            waited = true;
            if reading.is_empty() && Instant::now() >= shows_at {
                began = Instant::now();
                reading.spawn(self.read());
            }
            tokio::select! {
                () = stopped(&mut self.events) => return None,
                Some(read) = reading.join_next() => {
                    let read = read.ok().flatten();
                    let pause = if read.is_some() { SHOW.max(began.elapsed() * 20) } else { SHOW };
                    shows_at = Instant::now() + pause;
                    self.show(read);
                }
                () = sleep_until(Instant::now() + LOOK) => {}
            }
        }
    }

    /// An engine that goes on where the journal stopped.
    async fn engine(&mut self) -> Result<Engine, StoreFault> {
        let config = self.outlet.config.load_full();
        super::engine(&self.store, config, self.mode, &self.signer, self.began).await
    }

    /// Reads what the journal has to show, beside looking whether the turn is free: there may be very much of it. What keeps it
    /// from being read is told where the turn is asked for.
    fn read(&self) -> impl Future<Output = Option<Arc<Snapshot>>> + Send + 'static {
        let (store, config) = (self.store.clone(), self.outlet.config.load_full());
        let (mode, signer, began) = (self.mode, self.signer.clone(), self.began);
        async move {
            let mut engine = super::engine(&store, config, mode, &signer, began).await.ok()?;
            let mut after = None;
            loop {
                let answers = store.answers_after(after.as_ref()).await.ok()?;
                let Some(last) = answers.last() else { break };
                after = Some(last.key.clone());
                engine.recall(answers);
            }
            Some(engine.only_show(Moment { wall: wall_now(), mono: began.elapsed() }))
        }
    }

    /// Shows what was read, if it was.
    fn show(&mut self, read: Option<Arc<Snapshot>>) {
        if let Some(snapshot) = read {
            self.outlet.publish(snapshot);
            self.outlet.recovered();
        }
    }
}

/// Until a stop is asked for. What else is asked of a process that does not lead comes to nothing: ticks are the
/// leader's, and a config that was reloaded is read where an engine begins.
async fn stopped(events: &mut mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        if matches!(event, Event::Stop) {
            return;
        }
    }
}

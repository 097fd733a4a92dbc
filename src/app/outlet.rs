//! What the round loop sees of the world: the clock, the keys, and where its results are shown.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::time::timeout;

use crate::alert::message::Message;
use crate::alert::outbox::Delivery;
use crate::config::Config;
use crate::hub::names::Signer;
use crate::logging::Scrub;
use crate::metrics::{CanaryEvent, Metrics};
use crate::moment::Timestamp;
use crate::notify::{Courier, Letter};
use crate::report::{Report, Snapshot};
use crate::round::drive::{BoxFuture, LoadedKeys, Outlet};
use crate::round::{Grounds, Meter, Notice};
use crate::serve::{Latch, Readiness};
use crate::store::{Head, Store, StoreFault};

use super::clock::wall_now;
use super::files::{KEYS_WITHIN, SinkSecrets};
use super::keys::Keys;

/// Batches in a row that could not be stored, before the daemon is not ready: they are tried every five seconds.
const UNREADY_AFTER: u32 = 6;

/// Told of each finished probe, for a progress bar.
pub type Progress = Box<dyn FnMut() + Send>;

/// The outlet of daemon and one-shot runs.
pub struct Shown {
    /// Whose secrets are read; a reload replaces it.
    pub config: Arc<ArcSwap<Config>>,
    keys: Keys,
    /// Those of the sinks, which are read apart from the round.
    sink_secrets: SinkSecrets,
    /// Carries messages to the sinks; a reload may put another in its place, a run that tells nobody has none.
    pub courier: Arc<ArcSwapOption<Courier>>,
    metrics: Metrics,
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// Dropped when the journal was replayed.
    pub journal: Option<Latch>,
    pub progress: Option<Progress>,
    pub last_report: Option<Arc<Report>>,
    pub grounds: Option<Box<Grounds>>,
    /// Told when the store fails for long.
    pub ready: Option<Readiness>,
    store_faults: u32,
    unready: Option<Latch>,
    /// The last entry of the record, and the one that the log was told of.
    head: Option<Head>,
    told: Option<Head>,
    /// The head file could not be written; said once.
    blind_witness: bool,
}

impl Shown {
    pub(super) fn new(
        config: Arc<Config>,
        signer: Signer,
        scrub: Scrub,
        metrics: Metrics,
        snapshot: Arc<ArcSwap<Snapshot>>,
    ) -> Shown {
        Shown {
            config: Arc::new(ArcSwap::new(config)),
            keys: Keys::new(signer, scrub),
            sink_secrets: SinkSecrets::default(),
            courier: Arc::default(),
            metrics,
            snapshot,
            journal: None,
            progress: None,
            last_report: None,
            grounds: None,
            ready: None,
            store_faults: 0,
            unready: None,
            head: None,
            told: None,
            blind_witness: false,
        }
    }

    /// The record stands here: shown in the metrics at once, in the log by [`Shown::tell_head`].
    pub(super) fn record_stands(&mut self, store: &Store) {
        let head = store.head();
        self.metrics.evidence_stands(u64::try_from(head.seq).unwrap_or_default(), &head.hash);
        self.head = Some(head);
        let blind = !store.head_file_works();
        if std::mem::replace(&mut self.blind_witness, blind) != blind {
            if blind {
                tracing::warn!(
                    "the head file beside the store cannot be written; until it can, a journal that was emptied or replaced by an old copy may pass unnoticed"
                );
            } else {
                tracing::info!("the head file beside the store can be written again");
            }
        }
    }

    /// The report that is shown at this moment.
    pub(super) fn last_shown(&self) -> Option<Arc<Report>> {
        self.snapshot.load().report.clone()
    }

    /// Another reader of the same secrets.
    pub(super) fn more_keys(&self) -> Keys {
        self.keys.another()
    }

    /// The store answers.
    pub(super) fn answers(&mut self) {
        self.unready = None;
        if std::mem::take(&mut self.store_faults) > 0 {
            tracing::info!("the store works again");
        }
    }

    /// Says in the log where the record stands, if that is news. Logs are kept elsewhere: `evidence verify --head`
    /// tells later whether the record is still the one of this line.
    pub(super) fn tell_head(&mut self) {
        if let Some(head) = &self.head
            && self.told.as_ref() != Some(head)
        {
            tracing::info!(entries = head.seq, head = head.hash, "the record of evidence stands");
            self.told = Some(head.clone());
        }
    }
}

impl Outlet for Shown {
    fn wall() -> Timestamp {
        wall_now()
    }

    async fn load_keys(&mut self) -> LoadedKeys {
        let config = self.config.load_full();
        self.keys.read(config).await
    }

    fn publish(&mut self, snapshot: Arc<Snapshot>) {
        self.snapshot.store(snapshot);
    }

    fn meter(&mut self, meter: Meter) {
        let metrics = &self.metrics;
        match meter {
            Meter::Probe { permission, found, took } => {
                metrics.count_probe(permission, found);
                metrics.observe_probe(permission, took);
                if let Some(progress) = &mut self.progress {
                    progress();
                }
            }
            Meter::Request { route, outcome, took } => metrics.count_request(route, outcome, took),
            Meter::Errand { carried } => metrics.count_errand(if carried { "answered" } else { "returned" }),
            Meter::CanaryCreated { organization } => {
                metrics.count_canary(&organization, CanaryEvent::Created)
            }
            Meter::CanaryDeleted { organization } => {
                metrics.count_canary(&organization, CanaryEvent::Deleted)
            }
            Meter::CanaryForeign { organization } => {
                metrics.count_canary(&organization, CanaryEvent::Foreign)
            }
            Meter::CanaryAbandoned { organization } => {
                metrics.count_canary(&organization, CanaryEvent::Abandoned)
            }
            Meter::Round { took, finished } => {
                metrics.observe_round(took, finished);
                self.tell_head();
            }
            Meter::RoundSkipped => metrics.count_skipped_round(),
            Meter::Notification { sink, tidings, outcome } => {
                metrics.count_notification(&sink, tidings, outcome)
            }
        }
    }

    fn tell(&mut self, notice: Notice) {
        if notice.warning {
            tracing::warn!("{}", notice.text);
        } else {
            tracing::info!("{}", notice.text);
        }
    }

    fn store_failed(&mut self, fault: &StoreFault) {
        self.metrics.count_store_error(fault.operation());
        self.store_faults = self.store_faults.saturating_add(1);
        // Said once, not with every batch that is tried again.
        if self.store_faults == 1 {
            tracing::error!("{fault}; nothing is created on the Hub until the store works again");
        }
        if self.store_faults == UNREADY_AFTER {
            self.unready = self.ready.as_ref().map(|ready| ready.latch("store"));
        }
    }

    fn store_works(&mut self, store: &Store) {
        self.record_stands(store);
        self.answers();
    }

    fn explained(&mut self, grounds: Box<Grounds>) {
        self.grounds = Some(grounds);
    }

    fn round_ended(&mut self, report: Arc<Report>) {
        let s = report.summary;
        tracing::info!(
            checks = s.checks,
            ok = s.ok,
            unexpected_grant = s.unexpected_grant,
            unexpected_denial = s.unexpected_denial,
            unknown = s.unknown,
            "a round ended"
        );
        self.keys.own_up();
        self.last_report = Some(report);
    }

    fn notify(&mut self, sink: &str, messages: Vec<Message>) -> BoxFuture<Delivery> {
        let config = self.config.load_full();
        let sink = config.alerts.sinks.iter().find(|other| other.name == sink).cloned();
        let (Some(sink), Some(courier)) = (sink, self.courier.load_full()) else {
            return Box::pin(std::future::ready(Delivery::Later(None)));
        };
        let secrets = self.sink_secrets.clone();
        Box::pin(async move {
            let (kind, name) = (sink.kind, sink.name.clone());
            let read = tokio::task::spawn_blocking(move || secrets.of(&sink));
            let (url, secret) = match timeout(KEYS_WITHIN, read).await {
                Ok(Ok(Ok(found))) => found,
                Ok(Ok(Err(fault))) => {
                    tracing::warn!(sink = name, "a secret of the sink {fault}; what it is owed waits");
                    return Delivery::Later(None);
                }
                _ => {
                    tracing::warn!(
                        sink = name,
                        "the secrets of a sink cannot be read; see where they lie; what it is owed waits"
                    );
                    return Delivery::Later(None);
                }
            };
            let delivered = courier.deliver(Letter { kind, url, secret, messages, now: wall_now() }).await;
            if let Some(trouble) = delivered.trouble {
                tracing::warn!(sink = name, "a sink did not take what it was sent: {trouble}; it goes again");
            }
            delivered.delivery
        })
    }

    fn recovered(&mut self) {
        self.journal = None;
    }
}

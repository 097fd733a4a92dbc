//! The life of the daemon: built from a config, started, reloaded, stopped. The only reader of the wall clock.
//!
//! Everything that can fail is done before anything is touched: config, keys, store, port, in this order. What
//! goes wrong is one sentence and an exit code; nothing is left half-built.

mod clock;
mod confine;
mod door;
pub mod exam;
mod files;
mod hardening;
mod helper;
mod keys;
mod life;
mod outlet;
mod serving;
mod ticks;
mod turns;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::access::{Access, Check, CheckKey, TokenName};
use crate::config::{Config, StorePlace, TlsRoots};
use crate::hub::names::{NONCE_BYTES, Signer};
use crate::intent::Canary;
use crate::logging::Scrub;
use crate::metrics::Metrics;
use crate::moment::{Moment, Timestamp};
use crate::notify::Courier;
use crate::plan::quota::Known;
use crate::probe::{Prober, Settings};
use crate::report::{Report, Snapshot};
use crate::round::drive::Driver;
use crate::round::{Engine, Event, Grounds, Mode};
use crate::schedule::Classes;
use crate::store::{self, Store, StoreFault, Write};

pub use clock::wall_now;
pub use confine::Confinement;
pub use door::{check_web_config, speaks_tls};
pub use files::{Loaded, load_config};
pub use hardening::harden;
pub use outlet::Progress;
pub use serving::{Daemon, Start, serve};

use outlet::Shown;
use turns::Turn;

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The user's to mend: usage, config, secrets' places, store, port. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Ours. Exit code 4.
    #[error("{0}")]
    Internal(String),
    /// Somebody ended it before its end (SIGTERM, Ctrl-C). Exit code 130, as shells have it.
    #[error("{0}")]
    Interrupted(String),
}

impl From<StoreFault> for Fault {
    fn from(fault: StoreFault) -> Fault {
        Fault::Usage(fault.to_string())
    }
}

/// The version and, where the build was told, the revision.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The revision that the build was told.
pub const REVISION: &str = match option_env!("SCOPEWATCH_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// The file in which the journal lies, where it lies in one.
pub fn sqlite_path(config: &Config) -> Option<&Path> {
    match &config.store {
        StorePlace::Sqlite(path) => Some(path),
        StorePlace::Postgres(_) | StorePlace::PostgresUrl(_) => None,
    }
}

/// The store of this config, to look into it; works beside a running daemon. The fault within is the store's.
pub async fn store_to_read(config: &Config) -> Result<Result<Store, StoreFault>, Fault> {
    turns::open(config, store::Mode::Read).await
}

/// What the certificate files of the config hold.
fn ca_files(config: &Config) -> Result<Vec<Vec<u8>>, Fault> {
    let mut ca_files = Vec::new();
    for path in &config.hub.ca_files {
        let pem = std::fs::read(path).map_err(|error| {
            Fault::Usage(format!(
                "hub.ca_files: '{}' cannot be read ({}); correct the path",
                path.display(),
                error.kind()
            ))
        })?;
        ca_files.push(pem);
    }
    Ok(ca_files)
}

/// What the daemon calls itself.
fn user_agent() -> String {
    format!("scopewatch/{VERSION} (token audit; canary repositories are deleted at once)")
}

/// What carries messages to the sinks, if there are any.
fn courier(config: &Config) -> Result<Option<Arc<Courier>>, Fault> {
    if config.alerts.sinks.is_empty() {
        return Ok(None);
    }
    let courier = Courier::new(&ca_files(config)?, &user_agent());
    courier.map(|courier| Some(Arc::new(courier))).map_err(|fault| Fault::Usage(fault.to_string()))
}

/// The client for this Hub.
fn prober(config: &Config, read_only: bool) -> Result<Prober, Fault> {
    Prober::new(settings(config, read_only)?).map_err(|fault| Fault::Usage(fault.to_string()))
}

/// How requests are sent to it.
fn settings(config: &Config, read_only: bool) -> Result<Settings, Fault> {
    let hub = &config.hub;
    Ok(Settings {
        endpoint: hub.endpoint.clone(),
        request_timeout: hub.request_timeout,
        proxy: hub.proxy.clone(),
        ca_files: ca_files(config)?,
        bundled_roots: hub.tls_roots == TlsRoots::Bundled,
        read_only,
        user_agent: user_agent(),
    })
}

/// Random bytes for names. Without any there can be no unguessable name, and thus no canary.
fn dice() -> Box<dyn FnMut() -> [u8; NONCE_BYTES] + Send> {
    Box::new(|| {
        let mut nonce = [0; NONCE_BYTES];
        #[expect(
            clippy::expect_used,
            reason = "a system without randomness must not create guessable names"
        )]
        getrandom::fill(&mut nonce).expect("the system gives randomness");
        nonce
    })
}

/// Everything that both a daemon and a one-shot run stand on.
struct Ground {
    store: Arc<Store>,
    signer: Signer,
    outlet: Shown,
    prober: Prober,
    began: Instant,
}

async fn ground(
    config: Arc<Config>,
    read_only: bool,
    scrub: Scrub,
    metrics: Metrics,
    snapshot: Arc<ArcSwap<Snapshot>>,
) -> Result<Ground, Fault> {
    failpoint!("app.begun");
    #[cfg(all(feature = "failpoints", not(test)))]
    files::plant()?;
    let prober = prober(&config, read_only)?;
    let store = Arc::new(turns::open(&config, store::Mode::Write).await??);
    failpoint!("app.opened");
    let signer = Signer::new(&files::canary_key(&config)?);
    failpoint!("app.keyed");
    let outlet = Shown::new(config, signer.clone(), scrub, metrics, snapshot);
    Ok(Ground { store, signer, outlet, prober, began: Instant::now() })
}

/// An engine that goes on where the journal stops.
async fn engine(
    store: &Store,
    config: Arc<Config>,
    mode: Mode,
    signer: &Signer,
    began: Instant,
) -> Result<Engine, StoreFault> {
    let kept = store.load(wall_now()).await?;
    failpoint!("app.loaded");
    let now = Moment { wall: wall_now(), mono: began.elapsed() };
    Ok(Engine::new(config, mode, signer.clone(), dice(), kept, now))
}

/// The outlet tells where the journal stands that an engine goes on from.
fn stands(outlet: &mut Shown, store: &Store) {
    outlet.record_stands(store);
    outlet.tell_head();
    failpoint!("app.built");
}

/// What a one-shot run is to do.
#[derive(Debug, Clone, Default)]
pub struct Once {
    /// Probe the checks; otherwise only unfinished canaries are looked after.
    pub probe: bool,
    /// Only these tokens; empty means all.
    pub only: Vec<TokenName>,
    pub read_only: bool,
    /// The check whose grounds are wanted.
    pub explain: Option<CheckKey>,
    /// Search every organization for canaries that the journal does not know.
    pub sweep: bool,
    /// Keep nothing of what the checks come to: they are not those of the config.
    pub observe: bool,
}

/// What a one-shot run came to.
#[derive(Debug)]
pub struct Done {
    /// The report, if checks were probed to the end.
    pub report: Option<Arc<Report>>,
    /// What the check rests on that was to be explained.
    pub grounds: Option<Box<Grounds>>,
    /// The state at the end.
    pub snapshot: Arc<Snapshot>,
    /// Every canary of the journal that is unfinished.
    pub unfinished: Vec<Canary>,
}

/// One round now, or the unfinished canaries only; then the end. `stop` ends it early and cleanly.
pub async fn run_once(
    config: Arc<Config>,
    once: Once,
    scrub: Scrub,
    progress: Option<Progress>,
    stop: impl Future<Output = ()>,
) -> Result<Done, Fault> {
    let mode = Mode { read_only: once.read_only, one_shot: true };
    let snapshot: Arc<ArcSwap<Snapshot>> = Arc::default();
    let metrics = Metrics::new(VERSION, REVISION);
    let mut ground = ground(config.clone(), once.read_only, scrub, metrics, snapshot.clone()).await?;
    let turn = Turn::now(&ground.store).await?;
    let mut engine = engine(&ground.store, config, mode, &ground.signer, ground.began).await?;
    stands(&mut ground.outlet, &ground.store);
    if once.observe {
        engine.only_observe();
    }
    if let Some(key) = once.explain {
        engine.explain(key);
    }
    ground.outlet.progress = progress;
    let (events, inbox) = mpsc::channel(16);
    let closed = || Fault::Internal("the round loop ended before it began".to_owned());
    if once.sweep {
        events.send(Event::Sweep).await.map_err(|_| closed())?;
    }
    let due = if once.probe { Classes::ALL } else { Classes::default() };
    events.send(Event::Once { due, only: once.only }).await.map_err(|_| closed())?;
    let store = ground.store.clone();
    let driver = Driver {
        engine,
        prober: Arc::new(ArcSwap::from_pointee(ground.prober)),
        store: ground.store,
        outlet: ground.outlet,
        events: inbox,
        away: None,
        first: Event::Wake,
        began: ground.began,
        lost: turn.lost.clone(),
    };
    let run = driver.run();
    let stopping = async {
        stop.await;
        // The loop may have ended by itself.
        let _ = events.send(Event::Stop).await;
        std::future::pending::<()>().await;
    };
    let outlet = tokio::select! {
        ended = run => ended.outlet,
        () = stopping => return Err(Fault::Interrupted("stopped".to_owned())),
    };
    failpoint!("app.ended");
    if turn.is_lost() {
        return Err(Fault::Usage(
            "another process took the journal over before the run was over; run it again".to_owned(),
        ));
    }
    let unfinished = store.all_canaries(10_000).await?.into_iter().filter(Canary::unfinished).collect();
    end(store, turn).await;
    Ok(Done {
        report: outlet.last_report,
        grounds: outlet.grounds,
        snapshot: snapshot.load_full(),
        unfinished,
    })
}

/// Whether another process holds the store, so that nothing may be asked beside it.
pub async fn is_served(config: &Config) -> Result<bool, Fault> {
    match sqlite_path(config) {
        Some(path) => Ok(Store::is_held(path)?),
        None => Ok(store_to_read(config).await??.is_led().await?),
    }
}

/// Whether there is no journal yet.
fn is_absent(config: &Config, fault: &StoreFault) -> bool {
    matches!(fault, StoreFault::Missing { .. }) || sqlite_path(config).is_some_and(|path| !path.exists())
}

/// What the journal has of one check.
#[derive(Debug, Default)]
pub struct Recorded {
    /// The latest answer, when it was given, and what it rests on as `round` wrote it.
    pub answer: Option<(Access, Timestamp, String)>,
    /// The token's last whoami as `round` wrote it, and when it was heard.
    pub declared: Option<(String, Timestamp)>,
}

/// Reads it. Works beside a running daemon; a journal that is not there has nothing.
pub async fn recorded(config: &Config, check: &Check) -> Result<Recorded, Fault> {
    let store = match store_to_read(config).await? {
        Ok(store) => store,
        Err(fault) if is_absent(config, &fault) => return Ok(Recorded::default()),
        Err(fault) => return Err(fault.into()),
    };
    let key = check.key();
    let kept = store.load(wall_now()).await?;
    let basis = store.last_answer(&key).await?;
    store.close().await;
    let state = kept.checks.into_iter().find(|state| state.key == key);
    let declared = kept.declared.into_iter().find(|declared| declared.token == check.token);
    Ok(Recorded {
        answer: state.map(|s| (s.latest, s.observed_at, basis.map(|b| b.body).unwrap_or_default())),
        declared: declared.map(|declared| (declared.body, declared.at)),
    })
}

/// The canaries of the journal, newest first, and the latched breakers. Works beside a running daemon.
pub async fn list_canaries(config: &Config) -> Result<(Vec<Canary>, Vec<store::Breaker>), Fault> {
    let store = store_to_read(config).await??;
    let canaries = store.all_canaries(10_000).await?;
    let breakers = store.load(wall_now()).await?.breakers;
    store.close().await;
    Ok((canaries, breakers))
}

/// What the journal remembers of the tokens and their users, for a plan; and why that is nothing, if it is.
/// Works beside a running daemon.
pub async fn remembered(config: &Config) -> (Known, Option<String>) {
    let nothing =
        |why: &str| (Known::default(), Some(format!("whose the tokens are is not known yet: {why}")));
    let store = match store_to_read(config).await {
        Ok(Ok(store)) => store,
        Ok(Err(fault)) if is_absent(config, &fault) => {
            return nothing("there is no journal; a first round makes one");
        }
        Ok(Err(fault)) => return nothing(&fault.to_string()),
        Err(fault) => return nothing(&fault.to_string()),
    };
    let kept = store.load(wall_now()).await;
    store.close().await;
    match kept {
        Ok(kept) => (known(kept), None),
        Err(fault) => nothing(&fault.to_string()),
    }
}

fn known(kept: store::Kept) -> Known {
    let declared = kept
        .declared
        .into_iter()
        .filter_map(|entry| Some((entry.token, (entry.at, serde_json::from_str(&entry.body).ok()?))));
    Known {
        declared: declared.collect(),
        concluded: kept
            .checks
            .iter()
            .filter_map(|state| Some((state.key.clone(), state.conclusive?.1)))
            .collect(),
        creations: kept.creations.into_iter().map(|creation| creation.owner).collect(),
        unfinished: kept.canaries.iter().filter(|canary| canary.unfinished()).count(),
    }
}

/// A person closes a quarantined canary, by the number that `canaries list` shows.
pub async fn close_canary(config: &Config, id: i64) -> Result<(), Fault> {
    let store = Arc::new(turns::open(config, store::Mode::Write).await??);
    let turn = Turn::now(&store).await?;
    let rules = crate::hub::canary::Rules { horizon: config.hub.in_flight_horizon };
    let found = store.all_canaries(1_000_000).await?.into_iter().find(|canary| canary.id == id);
    let result = match found {
        None => Err(Fault::Usage(format!("there is no canary {id}; see `scopewatch canaries list`"))),
        Some(canary) if !crate::hub::canary::may_close(&canary, wall_now(), rules) => {
            Err(Fault::Usage(format!(
                "canary {id} is {}; a person closes only what is in quarantine, or what is still unknown after its horizon (hub.in_flight_horizon)",
                canary.state
            )))
        }
        Some(mut canary) => {
            let event = crate::hub::canary::close(&mut canary).to_owned();
            store
                .write(&[Write::Canary { canary, event, at: wall_now() }])
                .await
                .map(drop)
                .map_err(Fault::from)
        }
    };
    end(store, turn).await;
    result
}

/// Clears the breakers, and what was found of the journal. Says of which organizations, and what that was.
pub async fn unlatch(config: &Config) -> Result<(Vec<String>, Option<String>), Fault> {
    let store = Arc::new(turns::open(config, store::Mode::Write).await??);
    let turn = Turn::now(&store).await?;
    let kept = store.load(wall_now()).await?;
    let mut latched: Vec<String> = kept.breakers.into_iter().map(|breaker| breaker.organization).collect();
    let told = kept.past.told();
    if told.is_some() {
        // What is wrong with the journal itself latches every organization at the next start; that is cleared too.
        latched.extend(config.organizations.iter().map(|organization| organization.name.clone()));
        latched.sort();
        latched.dedup();
    }
    let at = wall_now();
    let writes: Vec<Write> =
        latched.iter().map(|name| Write::Unlatch { organization: name.clone(), at }).collect();
    if !writes.is_empty() {
        store.write(&writes).await?;
    }
    end(store, turn).await;
    Ok((latched, told))
}

/// Lets the turn go, then the store.
async fn end(store: Arc<Store>, turn: Turn) {
    turn.give_back(&store).await;
    if let Ok(store) = Arc::try_unwrap(store) {
        store.close().await;
    }
}

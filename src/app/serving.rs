//! The daemon: started from a config file, reloaded by a signal or a request, stopped within its grace.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::access::TokenName;
use crate::config::Config;
use crate::logging::Scrub;
use crate::metrics::Metrics;
use crate::notify::Courier;
use crate::probe::Prober;
use crate::report::Snapshot;
use crate::round::{Event, Mode};
use crate::schedule::Classes;
use crate::serve::{Access, Command, Limits, Readiness, Served, admit};

use super::clock::wall_now;
use super::confine::{Confinement, confine_calls, confine_writes};
use super::door::{Entrance, News, Opened, Reading, access};
use super::files::{Loaded, load_config, warnings};
use super::life::Life;
use super::ticks::Ticks;
use super::{Fault, REVISION, VERSION, courier, ground, hardening, prober, sqlite_path};

/// A daemon that is about to start: its config was read, and it writes nowhere but beside its store.
pub struct Start {
    path: PathBuf,
    loaded: Loaded,
    read_only: bool,
    confinement: Confinement,
    /// Why it may write elsewhere, if it may.
    writes: Result<(), String>,
}

impl Start {
    /// Reads the config. With `Full` this thread, and those that it starts from now on, can write only beside the store;
    /// so it comes before the log and the runtime, which have threads of their own.
    pub fn read(path: &Path, read_only: bool, confinement: Confinement) -> Result<Start, Fault> {
        let loaded = load_config(path)?;
        let writes = match confinement {
            Confinement::Full => confine_writes(sqlite_path(&loaded.config)),
            Confinement::Calls | Confinement::Off => Err("it was not asked for".to_owned()),
        };
        Ok(Start { path: path.to_owned(), loaded, read_only, confinement, writes })
    }

    /// Gives up the system calls that a daemon does not need, in every thread.
    fn confine(&self, metrics: &Metrics) {
        if self.confinement != Confinement::Off
            && let Err(why) = confine_calls()
        {
            tracing::warn!(
                why,
                "the system does not let this process confine its system calls; let the container or the service do it"
            );
        }
        if self.confinement == Confinement::Full
            && let Err(why) = &self.writes
        {
            tracing::info!(
                why,
                "nothing of this process's own keeps it from writing outside the store's directory"
            );
        }
        for (check, holds) in hardening::report(self.writes.is_ok()) {
            metrics.hardened(check, holds);
        }
    }
}

/// A started daemon.
pub struct Daemon {
    /// Where it listens.
    pub address: SocketAddr,
    path: PathBuf,
    read_only: bool,
    config: Arc<ArcSwap<Config>>,
    access: Arc<ArcSwap<Access>>,
    entrance: Entrance,
    prober: Arc<ArcSwap<Prober>>,
    courier: Arc<ArcSwapOption<Courier>>,
    metrics: Metrics,
    scrub: Scrub,
    ready: Readiness,
    events: mpsc::Sender<Event>,
    commands: mpsc::Receiver<Command>,
    ticks: Ticks,
    serving: CancellationToken,
    tasks: JoinSet<()>,
    round_over: oneshot::Receiver<()>,
    hangup: Signal,
}

fn warn_of_config(loaded: &Loaded) {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    for warning in warnings(&loaded.config) {
        tracing::warn!("{warning}");
    }
}

/// The metrics, with every series whose labels are known at 0.
fn metrics_for(config: &Config) -> Metrics {
    let metrics = Metrics::new(VERSION, REVISION);
    metrics.set_organizations(&config.organizations.iter().map(|o| o.name.as_str()).collect::<Vec<_>>());
    metrics.set_sinks(&config.alerts.sinks.iter().map(|sink| sink.name.as_str()).collect::<Vec<_>>());
    metrics.set_routes(crate::hub::routes::ALL);
    metrics.config_reloaded(true, wall_now());
    metrics.web_config_reloaded(config.server.web_config.as_ref().map(|_| true));
    metrics
}

/// Starts the round loop.
fn drive(life: Life, tasks: &mut JoinSet<()>) -> oneshot::Receiver<()> {
    let (over, round_over) = oneshot::channel();
    tasks.spawn(async move {
        life.run().await;
        // Whoever waits may have gone.
        let _ = over.send(());
    });
    round_over
}

/// A round at once, where the config wants one. With several replicas it comes with the turn.
async fn first_round(config: &Config, events: &mpsc::Sender<Event>) {
    if config.schedule.on_start && sqlite_path(config).is_some() {
        // The loop was just started; its queue is empty.
        let _ = events.send(Event::Due(Classes::ALL)).await;
    }
}

impl Daemon {
    /// Builds everything, then starts it. Nothing is asked of the Hub before all that can fail has succeeded.
    pub async fn start(start: Start, scrub: Scrub) -> Result<Daemon, Fault> {
        // Before anybody can see that it listens: until then the signal would end the process.
        let hangup = hangup_handler()?;
        let config = start.loaded.config.clone();
        let (entrance, opened) = Entrance::open(&config.server)?;
        warn_of_config(&start.loaded);
        let (listener, address) = bind(config.server.listen)?;
        opened.warn(&config.server, address);
        let metrics = metrics_for(&config);
        let snapshot: Arc<ArcSwap<Snapshot>> = Arc::default();
        let ready = Readiness::new();
        let journal = ready.latch("journal");
        let mode = Mode { read_only: start.read_only, one_shot: false };
        let mut ground =
            ground(config.clone(), mode.read_only, scrub.clone(), metrics.clone(), snapshot.clone()).await?;
        ground.outlet.journal = Some(journal);
        ground.outlet.ready = Some(ready.clone());
        ground.outlet.courier.store(courier(&config)?);

        let (events, inbox) = mpsc::channel(64);
        let (command_sender, commands) = mpsc::channel(4);
        let mut ticks = Ticks::start(events.clone()).await?;
        let access = Arc::new(ArcSwap::from_pointee(access(&config.server, address, opened.door)));
        let served = Served {
            snapshot,
            metrics: metrics.clone(),
            ready: ready.clone(),
            access: access.clone(),
            commands: command_sender,
            now: Arc::new(wall_now),
            limits: Limits::default(),
        };
        let (live, carrier) = (ground.outlet.config.clone(), ground.outlet.courier.clone());
        let life = Life::begin(ground, mode, metrics.clone(), inbox).await?;
        let prober = life.prober.clone();
        // Everything is open, and nothing was heard yet of the Hub or of anybody who asks.
        start.confine(&metrics);
        let serving = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(crate::serve::run(listener, served, serving.clone()));
        let round_over = drive(life, &mut tasks);
        ticks.follow(&config.schedule).await?;
        first_round(&config, &events).await;
        failpoint!("serve.listening");
        tracing::info!(%address, version = VERSION, read_only = start.read_only, "scopewatch listens");
        Ok(Daemon {
            address,
            path: start.path,
            read_only: start.read_only,
            config: live,
            access,
            entrance,
            prober,
            courier: carrier,
            metrics,
            scrub,
            ready,
            events,
            commands,
            ticks,
            serving,
            tasks,
            round_over,
            hangup,
        })
    }

    /// Runs until `stop`, then ends within its grace: no new probe, nothing left half-way.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), Fault> {
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = self.hangup.recv() => {
                    // Said in the log and in a metric by `reload` itself.
                    let _ = self.reload().await;
                }
                Some(command) = self.commands.recv() => self.obey(command).await,
                reading = self.entrance.look() => self.look_at_door(reading),
                _ = &mut self.round_over => {
                    return Err(Fault::Internal("the round loop ended by itself; see the log".to_owned()));
                }
            }
        }
        tracing::info!("stopping: no new probes, finishing what is under way");
        failpoint!("serve.stopping");
        self.ready.stop();
        self.ticks.stop().await;
        // The loop bounds its own end; a closed queue means that it has ended.
        let _ = self.events.send(Event::Stop).await;
        let _ = (&mut self.round_over).await;
        failpoint!("serve.over");
        self.serving.cancel();
        while self.tasks.join_next().await.is_some() {}
        tracing::info!("stopped");
        Ok(())
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Reload(answer) => {
                let result =
                    self.reload().await.map_err(|fault| self.scrub.clean(&fault.to_string()).into_owned());
                // The client may have gone.
                let _ = answer.send(result);
            }
            Command::Probe { token, answer } => {
                let _ = answer.send(self.probe(&token).await);
            }
        }
    }

    /// Certificates, and who may come in, change without a reload. What is broken is said once and changes nothing.
    fn look_at_door(&mut self, reading: Reading) {
        let door = self.access.load_full();
        match self.entrance.judge(reading, &door.door, wall_now()) {
            News::None => {}
            News::Opened(opened) => {
                tracing::info!("the web config or a file of it changed; it holds from now on");
                self.open_door(*opened);
            }
            News::Mended => {
                self.metrics.web_config_reloaded(Some(true));
                tracing::info!("the web config is again as it was before it was broken");
            }
            News::Broken(why) => {
                self.metrics.web_config_reloaded(Some(false));
                tracing::error!(
                    "the web config or a file of it changed and cannot be used, the old one holds:\n{why}"
                );
            }
            News::Expired(why) => {
                tracing::error!("{why}; clients that look at it are not served any more");
            }
        }
    }

    fn open_door(&self, opened: Opened) {
        let config = self.config.load();
        opened.warn(&config.server, self.address);
        admit(&self.access, access(&config.server, self.address, opened.door));
        self.metrics.web_config_reloaded(self.entrance.is_guarded().then_some(true));
    }

    async fn probe(&self, token: &str) -> Result<(), String> {
        let name = TokenName::new(token);
        if self.config.load().token(&name).is_none() {
            // Not repeated: who confuses a token's name with the token would find it in this answer.
            return Err("there is no token of this name in the config".to_owned());
        }
        self.events.send(Event::Probe(name)).await.map_err(|_| "the daemon is stopping".to_owned())
    }

    /// Builds the new whole, then swaps. A bad file changes nothing but a metric and a log line.
    async fn reload(&mut self) -> Result<(), Fault> {
        let result = self.try_reload().await;
        self.metrics.config_reloaded(result.is_ok(), wall_now());
        match &result {
            Ok(()) => tracing::info!("the config was reloaded"),
            Err(fault) => tracing::error!("the config was not reloaded, the old one holds:\n{fault}"),
        }
        result
    }

    async fn try_reload(&mut self) -> Result<(), Fault> {
        let loaded = load_config(&self.path)?;
        let new = &loaded.config;
        let old = self.config.load_full();
        if new.hub.endpoint != old.hub.endpoint {
            return Err(Fault::Usage(
                "hub.endpoint differs: tokens are bound to the Hub they were loaded for; restart to change it".to_owned(),
            ));
        }
        if new.store != old.store || new.canary_key != old.canary_key {
            return Err(Fault::Usage(
                "store and canary_key cannot change while the daemon runs; restart to change them".to_owned(),
            ));
        }
        if new.server.listen != old.server.listen {
            tracing::warn!("server.listen differs; it takes effect at the next start");
        }
        let (entrance, opened) = match Entrance::open(&new.server) {
            Ok(opened) => opened,
            Err(fault) => {
                self.metrics.web_config_reloaded(Some(false));
                if new.server.web_config == old.server.web_config {
                    self.entrance.failed(&fault);
                }
                return Err(fault);
            }
        };
        let prober = prober(new, self.read_only)?;
        let courier = courier(new)?;
        warn_of_config(&loaded);
        self.ticks.follow(&new.schedule).await?;
        self.prober.store(Arc::new(prober));
        self.courier.store(courier);
        self.entrance = entrance;
        self.metrics
            .set_organizations(&new.organizations.iter().map(|o| o.name.as_str()).collect::<Vec<_>>());
        self.metrics.set_sinks(&new.alerts.sinks.iter().map(|sink| sink.name.as_str()).collect::<Vec<_>>());
        self.config.store(new.clone());
        self.open_door(opened);
        self.events
            .send(Event::Configured(new.clone()))
            .await
            .map_err(|_| Fault::Internal("the round loop has ended".to_owned()))
    }
}

fn hangup_handler() -> Result<Signal, Fault> {
    signal(SignalKind::hangup()).map_err(|error| Fault::Internal(format!("no signal handler: {error}")))
}

/// Connections that wait in the kernel until they are accepted. Who comes when there are more is not answered for a
/// second, health included; so there is room for a crowd that comes at once. The kernel has a bound of its own.
const BACKLOG: u32 = 4096;

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Or a restart would have to wait until the connections of the last process are forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Listens, and says where: port 0 takes a free one.
fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Fault> {
    let listener = listen(address).map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "the port is in use; stop what listens there, or choose another server.listen"
            }
            std::io::ErrorKind::PermissionDenied => {
                "this user may not listen there; choose a port above 1023"
            }
            std::io::ErrorKind::AddrNotAvailable => {
                "no interface of this machine has that address; choose another server.listen"
            }
            _ => "the system refuses it",
        };
        Fault::Usage(format!("cannot listen on {address}: {why}"))
    })?;
    let address = listener.local_addr().map_err(|error| Fault::Internal(error.to_string()))?;
    Ok((listener, address))
}

/// Starts the daemon and runs it until `stop`.
pub async fn serve(start: Start, scrub: Scrub, stop: impl Future<Output = ()>) -> Result<(), Fault> {
    Daemon::start(start, scrub).await?.run(stop).await
}

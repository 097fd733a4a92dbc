//! The HTTP side: metrics, health, the API and the page, answered from the snapshot and from nothing slower.
//!
//! The accept loop is our own, because it must hold what a server beyond a trusted network needs: a bound on
//! connections that idle ones cannot use up, on the time a request's head may take, on a connection's life, and a
//! deadline for the end.

mod asked;
mod door;
mod openapi;
mod page;
mod passwords;
mod ready;
mod routes;
mod scrape;
mod seats;
#[cfg(test)]
mod tests;
mod tls;
mod views;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::moment::Timestamp;
use crate::report::Snapshot;
pub use asked::is_well;
use door::Peer;
pub use door::{Door, DoorParts, admit};
pub use openapi::{Needs, REFUSALS, ROUTES, Route, openapi};
pub use ready::{Latch, Readiness};
use seats::{Seat, Seats};
use tls::Tls;
pub use tls::{ClientParts, TlsFault, TlsParts};

/// What is served. All of it is shared with those who change it.
#[derive(Clone)]
pub struct Served {
    /// All state; replaced whole.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// What `/metrics` shows beside the snapshot.
    pub metrics: Metrics,
    /// What `/-/ready` says.
    pub ready: Readiness,
    /// Who may see and do what; a reload may change it, by [`admit`].
    pub access: Arc<ArcSwap<Access>>,
    /// Where commands go; when it is full, the answer is 503.
    pub commands: mpsc::Sender<Command>,
    /// The wall clock, for ages.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// How much of everything.
    pub limits: Limits,
}

/// What is open. `page` stays off where the listener can be reached beyond loopback without authentication.
pub struct Access {
    /// The page and the API.
    pub page: bool,
    /// `POST /-/reload` and `POST /-/probe`.
    pub lifecycle: bool,
    /// What must be shown before anything but health is answered.
    pub door: Door,
}

/// What a client may ask the daemon to do.
#[derive(Debug)]
pub enum Command {
    /// Load the configuration again; the answer's sentence says what is wrong with it.
    Reload(oneshot::Sender<Result<(), String>>),
    /// Probe this token soon; the answer comes when it is accepted, not when it is done.
    Probe {
        /// Name of the configuration.
        token: String,
        /// Accepted, or the sentence why there is no such token.
        answer: oneshot::Sender<Result<(), String>>,
    },
}

/// The bounds of the HTTP side, all in one place.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once. Who comes when all places are taken gets that of whoever has been silent longest; while
    /// all are being answered he waits, and further ones wait in the kernel's queue and cost no file descriptor.
    pub connections: usize,
    /// How long the handshake of TLS may take, then the head of a request, and how long a connection may idle.
    pub head: Duration,
    /// How long a connection may live before its next answer is its last; whoever reads slower than
    /// `life` and `drain` together is cut off.
    pub life: Duration,
    /// How long an answer under way may still take once its connection is to end.
    pub drain: Duration,
    /// How long a command may take.
    pub command: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: seats::of_this_process(),
            head: Duration::from_secs(10),
            life: Duration::from_secs(120),
            drain: Duration::from_secs(5),
            command: Duration::from_secs(30),
        }
    }
}

/// All that would be served of this snapshot, one after the other: page, pages of findings, API.
pub fn whole(snapshot: &Arc<Snapshot>, now: Timestamp) -> String {
    let views = views::Views::default();
    let mut bodies = vec![views.findings(snapshot).ok(), views.canaries(snapshot).ok()];
    bodies.extend(snapshot.report.iter().map(|report| views.report(report).ok()));
    let bodies = bodies.into_iter().flatten().map(|body| String::from_utf8_lossy(&body).into_owned());
    let findings = snapshot.findings.iter().map(|finding| finding.key().id());
    let results = snapshot.report.iter().flat_map(|report| &report.results).map(|result| result.id());
    let pages = findings.chain(results).filter_map(|id| page::one(snapshot, &id, now)?.ok());
    let pages: Vec<String> = pages.chain(page::front(snapshot, "", now)).chain(bodies).collect();
    pages.join("\n")
}

/// Bytes of a request's head, and at once the buffer of a connection.
const HEAD_LIMIT: usize = 32 * 1024;

/// The first and the longest pause after the system refused to accept a connection.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Serves until `shutdown`, then lets answers under way finish within the drain limit.
///
/// To be cancelled last: while the daemon stops, `/-/ready` should say so ([`Readiness::stop`]) and the
/// metrics should still be there.
pub async fn run(listener: TcpListener, served: Served, shutdown: CancellationToken) {
    let (limits, ready, access) = (served.limits, served.ready.clone(), Arc::clone(&served.access));
    let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let router = routes::router(served, loopback);
    let seats = Seats::new(limits.connections);
    // Of its own, so that readiness and the listener are gone before any connection is told to end.
    let ending = CancellationToken::new();
    let mut connections = JoinSet::new();
    let mut pause = PAUSES.0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = PAUSES.0;
                let seat = tokio::select! {
                    biased;
                    () = shutdown.cancelled() => break,
                    seat = seats.take() => seat,
                };
                let Some(seat) = seat else { break };
                let peer = Peer { ip: peer.ip(), ..Peer::default() };
                let host = Host { router: router.clone(), limits, ending: ending.clone(), seat };
                connections.spawn(connection(stream, peer, access.load_full(), host));
            }
            Err(error) if of_one_connection(&error) => {}
            Err(error) => {
                // Out of file descriptors or memory. What is connected goes on, and makes room as it ends.
                if pause == PAUSES.0 {
                    tracing::warn!(%error, "cannot accept HTTP connections; trying again until it works");
                }
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
    drop(listener);
    ready.stop();
    ending.cancel();
    while connections.join_next().await.is_some() {}
}

/// Whether only this one connection failed, before it was accepted.
fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What a connection is served with.
struct Host {
    router: Router,
    limits: Limits,
    ending: CancellationToken,
    seat: Arc<Seat>,
}

/// Serves one connection, by the rules that hold when it comes, until its peer, its life or the daemon ends.
async fn connection(stream: TcpStream, mut peer: Peer, access: Arc<Access>, host: Host) {
    // Only a matter of speed.
    let _ = stream.set_nodelay(true);
    let replaced = access.door.replaced.clone();
    let Some(tls) = &access.door.tls else {
        drop(access);
        return converse(stream, peer, &replaced, &host).await;
    };
    // As silent as any connection that has not asked for anything: whoever needs the place gets it.
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(host.limits.head, shake_hands(stream, tls)) => shaken,
        () = host.ending.cancelled() => return,
        () = host.seat.wanted() => return,
    };
    let Ok(Some(stream)) = shaken else { return };
    peer.tls = true;
    peer.client = tls.met(stream.get_ref().1.peer_certificates());
    drop(access);
    converse(stream, peer, &replaced, &host).await;
}

/// The first byte of whoever speaks TLS.
const HANDSHAKE: u8 = 0x16;
/// For whoever does not.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
                           Content-Length: 44\r\nConnection: close\r\n\r\n\
                           This port speaks TLS: ask by https instead.\n";

/// TLS on a fresh connection; `None` when nothing comes of it.
async fn shake_hands(mut stream: TcpStream, tls: &Tls) -> Option<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await.is_ok_and(|read| read == 1) && first != [HANDSHAKE] {
        // Told as well as can be; nothing hangs on it. What came is read, or the end would overtake the answer.
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(SPEAK_TLS).await;
        return None;
    }
    match TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream).await {
        Ok(stream) => Some(stream),
        Err(error) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
    }
}

/// Answers what is asked on a connection.
async fn converse<S>(stream: S, peer: Peer, replaced: &CancellationToken, host: &Host)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Host { router, limits, ending, seat } = host;
    let (service, its) = (TowerToHyperService::new(router.clone()), Arc::clone(seat));
    let peer = Arc::new(peer);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Arc::clone(&peer));
        let (busy, answer) = (its.busy(), service.call(request));
        async move {
            let _busy = busy;
            answer.await
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "an HTTP connection ended early");
            }
            return;
        }
        () = ending.cancelled() => {}
        () = replaced.cancelled() => {}
        () = tokio::time::sleep(limits.life) => {}
        () = seat.wanted() => {
            if !seat.spoke() {
                return;
            }
        }
    }
    serving.as_mut().graceful_shutdown();
    // Ended, failed or out of time: in all three cases it is over.
    let _ = tokio::time::timeout(limits.drain, serving).await;
}

//! The HTTP server of the simulated Hub: accepts, hands calls to the hub, carries faults onto the wire.
//! Knows sockets and time; knows nothing of what is asked. Serves whoever runs a simulated Hub: tests, the
//! demo, a person.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::body::to_bytes;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Request;
use axum::http::Response;
use axum::http::StatusCode;
use axum::http::header;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::simulator::answer::Answer;
use crate::simulator::call::Call;
use crate::simulator::fault::Fault;
use crate::simulator::fault::FaultKind;
use crate::simulator::hub::Hub;
use crate::simulator::hub::Received;
use crate::simulator::steer;
use crate::simulator::wire::Broken;
use crate::simulator::wire::Fuse;
use crate::simulator::wire::HalfBody;
use crate::simulator::wire::Socket;
use crate::simulator::wire::is_loopback;
use crate::simulator::world::World;

/// The largest body taken; the simulated routes need far less.
const BODY_BYTES: usize = 10 * 1024 * 1024;

/// How long the end waits for answers under way.
const GRACE: Duration = Duration::from_secs(1);

/// How long accepting pauses when the system has no socket to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a simulated Hub is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How the Hub calls itself in answers; the listener's address when absent.
    pub public_url: Option<String>,
    /// Makes ids of created repositories and of requests the same in every run; random when absent.
    pub seed: Option<u64>,
}

/// Runs a simulated Hub on a bound listener until `shutdown` is done.
pub async fn serve(
    listener: TcpListener,
    world: World,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_with(listener, world, Options::default(), shutdown).await
}

/// As [`serve`], with options.
pub async fn serve_with(
    listener: TcpListener,
    world: World,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let own = format!("http://{}", listener.local_addr()?);
    let base = options.public_url.unwrap_or(own);
    let seed = match options.seed {
        Some(seed) => seed,
        None => getrandom::u64().map_err(io::Error::other)?,
    };
    let hub = Hub::new(world, base.trim_end_matches('/').to_owned(), seed);
    let (sender, mut errands) = mpsc::unbounded_channel::<Errand>();
    let graceful = GracefulShutdown::new();
    let mut flights = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let watched = graceful.watch(connection(&hub, stream, peer.ip(), &sender));
                    // A connection's end is its client's business; the journal has what was asked.
                    flights.spawn(async move { drop(watched.await) });
                }
                Err(error) => {
                    tracing::debug!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(errand) = errands.recv() => {
                flights.spawn(errand.run());
            }
            Some(_) = flights.join_next() => {}
        }
    }
    drop(listener);
    // Requests that hang on purpose would hold up the end for ever.
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    flights.shutdown().await;
    Ok(())
}

fn connection(
    hub: &Hub,
    stream: TcpStream,
    peer: IpAddr,
    errands: &mpsc::UnboundedSender<Errand>,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send + 'static {
    let fuse = Fuse::default();
    let socket = TokioIo::new(Socket::new(stream, fuse.clone()));
    let (hub, errands) = (hub.clone(), errands.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (hub, errands, fuse) = (hub.clone(), errands.clone(), fuse.clone());
        async move { serve_one(&hub, request, peer, &errands, &fuse).await }
    });
    http1::Builder::new().serve_connection(socket, service)
}

async fn serve_one(
    hub: &Hub,
    request: Request<Incoming>,
    peer: IpAddr,
    errands: &mpsc::UnboundedSender<Errand>,
    fuse: &Fuse,
) -> Result<Response<Body>, Broken> {
    let call = match read(request, peer).await {
        Ok(call) => call,
        Err(answer) => return Ok(response(&answer)),
    };
    if call.segments().first().is_some_and(|first| first == steer::PREFIX) {
        let answer = if is_loopback(peer) {
            steer::answer(&mut hub.state(), &call)
        } else {
            Answer::error(403, "steering is for this machine only")
        };
        return Ok(response(&answer));
    }
    let (sender, receiver) = oneshot::channel();
    let errand = Errand { hub: hub.clone(), call, done: sender };
    errands.send(errand).map_err(|_| Broken)?;
    match receiver.await {
        Ok(Outcome::Answer(answer)) => Ok(response(&answer)),
        Ok(Outcome::Half(answer)) => Ok(headed(&answer, Body::new(HalfBody::of(&answer.body)))),
        Ok(Outcome::Reset) => {
            fuse.blow();
            Err(Broken)
        }
        Ok(Outcome::Silence) => std::future::pending().await,
        // The Hub is stopping.
        Err(_) => Err(Broken),
    }
}

/// One request on its way. It is carried out apart from its connection, so that it takes effect even when
/// the client gives up meanwhile, as on the Hub.
struct Errand {
    hub: Hub,
    call: Call,
    done: oneshot::Sender<Outcome>,
}

enum Outcome {
    Answer(Answer),
    Half(Answer),
    Reset,
    Silence,
}

impl Errand {
    async fn run(self) {
        let received = self.hub.receive(&self.call);
        let outcome = match &received.fault {
            None => Outcome::Answer(self.honest(&received, Duration::ZERO).await),
            Some(fault) => self.faulty(&received, fault).await,
        };
        // Nobody waits any more when the client has gone.
        let _ = self.done.send(outcome);
        if let Some(late) = received.fault.as_ref().and_then(|fault| fault.late_ms) {
            pause(Duration::from_millis(late)).await;
            drop(self.hub.carry_out(&self.call, &received));
        }
    }

    async fn honest(&self, received: &Received, late: Duration) -> Answer {
        let (answer, lease) = self.hub.carry_out(&self.call, received);
        let takes = match lease {
            Some(_) => Duration::from_millis(self.hub.state().world.limits.create_takes_ms),
            None => Duration::ZERO,
        };
        pause(takes.saturating_add(late)).await;
        drop(lease);
        self.hub.dress(answer, received)
    }

    async fn faulty(&self, received: &Received, fault: &Fault) -> Outcome {
        let delay = Duration::from_millis(fault.delay_ms);
        if fault.kind == FaultKind::Delay && !fault.delays_first() {
            return Outcome::Answer(self.honest(received, delay).await);
        }
        if fault.kind == FaultKind::Lag {
            return Outcome::Answer(self.honest(received, Duration::ZERO).await);
        }
        pause(delay).await;
        let honest = if fault.lets_through() {
            let (answer, _lease) = self.hub.carry_out(&self.call, received);
            Some(answer)
        } else {
            None
        };
        match fault.kind {
            FaultKind::Reset | FaultKind::CreateThenDrop => return Outcome::Reset,
            FaultKind::Hang => return Outcome::Silence,
            _ => {}
        }
        let base = self.hub.state().base.clone();
        let answer = self.hub.dress(fault.disfigure(honest, &base), received);
        if fault.kind == FaultKind::CutBody { Outcome::Half(answer) } else { Outcome::Answer(answer) }
    }
}

/// Nothing to wait for is no reason to yield.
async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

async fn read(request: Request<Incoming>, peer: IpAddr) -> Result<Call, Answer> {
    let (head, body) = request.into_parts();
    let text = |name: HeaderName| {
        let value = head.headers.get(name)?.as_bytes();
        Some(String::from_utf8_lossy(value).into_owned())
    };
    let body = to_bytes(Body::new(body), BODY_BYTES).await;
    let body = body.map_err(|_| Answer::error(413, "Payload too large"))?;
    Ok(Call {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        authorization: text(header::AUTHORIZATION),
        user_agent: text(header::USER_AGENT),
        body: body.to_vec(),
        peer,
    })
}

fn response(answer: &Answer) -> Response<Body> {
    headed(answer, Body::from(answer.body.clone()))
}

fn headed(answer: &Answer, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    for (name, value) in &answer.headers {
        // A fault may ask for headers that HTTP has no way to carry; the rest of it still stands.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            if name == header::CONTENT_TYPE {
                headers.insert(name, value);
            } else {
                headers.append(name, value);
            }
        }
    }
    response
}

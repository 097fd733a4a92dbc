//! A Hub on one thread: connections are kept, answers repeated. `GET /_counts` tells what was asked, `POST /_reset` forgets it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;

use super::Doors;
use super::answers::Answers;
use super::wire;

#[derive(clap::Args)]
pub struct Options {
    /// The simulated Hub whose answers are repeated.
    #[arg(long)]
    upstream: SocketAddr,
    /// Milliseconds until it answers.
    #[arg(long, default_value_t = 0)]
    latency: u64,
    #[command(flatten)]
    doors: Doors,
}

struct Hub {
    answers: Answers,
    latency: Duration,
    /// Connections taken since the counts were forgotten.
    taken: Cell<u64>,
}

/// Until the process is ended.
pub async fn serve(options: Options) {
    let hub = Rc::new(Hub {
        answers: Answers::of(options.upstream),
        latency: Duration::from_millis(options.latency),
        taken: Cell::new(0),
    });
    let plain = TcpListener::bind(options.doors.listen).await.expect("the port is free");
    if let Some(address) = options.doors.tls {
        let acceptor = wire::acceptor(options.doors.ca.as_deref());
        let listener = TcpListener::bind(address).await.expect("the port is free");
        spawn_local(take(listener, hub.clone(), Some(acceptor)));
    }
    take(plain, hub, None).await;
}

async fn take(listener: TcpListener, hub: Rc<Hub>, acceptor: Option<TlsAcceptor>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        spawn_local(connection(stream, hub.clone(), acceptor.clone()));
    }
}

/// Its end, and a handshake that fails, are its client's business.
async fn connection(stream: TcpStream, hub: Rc<Hub>, acceptor: Option<TlsAcceptor>) {
    stream.set_nodelay(true).expect("a socket");
    hub.taken.set(hub.taken.get() + 1);
    match acceptor {
        None => talk(stream, hub).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                talk(stream, hub).await;
            }
        }
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, hub: Rc<Hub>) {
    let service = service_fn(move |request| answer(hub.clone(), request));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(hub: Rc<Hub>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    if path.starts_with("/_") {
        if head.method == Method::POST {
            hub.answers.forget();
            hub.taken.set(0);
        }
        let mut told = hub.answers.counted();
        told["connections"] = hub.taken.get().into();
        return Ok(Response::new(Full::new(Bytes::from(told.to_string()))));
    }
    let secret = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let secret = secret.and_then(|value| value.strip_prefix("Bearer "));
    if !hub.latency.is_zero() {
        tokio::time::sleep(hub.latency).await;
    }
    Ok(hub.answers.to(head.method, path, secret, body).await)
}

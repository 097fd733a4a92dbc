//! HTTP/2: agreed on in TLS, for reads alone; and what a server can do with a connection that many share.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::h2::Reason;
use ::h2::server::{self as h2_server, SendResponse};
use bytes::Bytes;
use hyper::http::{HeaderName, Response as Said};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::tls::{CA, localhost};
use super::*;

/// What the server does with one request.
#[derive(Clone)]
enum Turn {
    /// Answers, with these headers more.
    Answer(Vec<(String, String)>, Vec<u8>),
    /// Ends the stream, for this reason.
    End(Reason),
    /// Breaks the connection off.
    Break,
    /// Keeps the request and says nothing.
    Silence,
}

/// What the servers of one test heard: in which protocol, and method, path and what it was signed with.
#[derive(Clone, Default)]
struct Memory {
    requests: Arc<Mutex<Vec<(&'static str, String)>>>,
    connections: Arc<AtomicUsize>,
    port: u16,
}

impl Memory {
    fn note(&self, protocol: &'static str, line: String) {
        self.requests.lock().expect("unbroken").push((protocol, line));
    }

    /// How often this path was heard in this protocol.
    fn heard(&self, protocol: &str, path: &str) -> usize {
        let all = self.requests.lock().expect("unbroken");
        all.iter().filter(|(spoken, line)| *spoken == protocol && line.contains(path)).count()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn fine() -> Turn {
    Turn::Answer(Vec::new(), b"{}".to_vec())
}

/// A server on loopback that speaks what the client chooses, and a prober that trusts it.
async fn serve(turn: impl Fn(&str) -> Turn + Send + Sync + 'static) -> (Prober, Memory) {
    let turn = Arc::new(turn);
    listen(move |stream, known| {
        let turn = turn.clone();
        async move {
            match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => shared(stream, known, turn).await,
                _ => alone(stream, known).await,
            }
        }
    })
    .await
}

/// The same, with this for each connection.
#[expect(clippy::disallowed_methods, reason = "a server of a test ends with its runtime")]
async fn listen<F: Future<Output = ()> + Send>(
    converse: impl Fn(TlsStream<TcpStream>, Memory) -> F + Send + Sync + 'static,
) -> (Prober, Memory) {
    let mut config = localhost(rustls::ALL_VERSIONS);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (memory, converse) = (Memory { port, ..Memory::default() }, Arc::new(converse));
    let known = memory.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            known.connections.fetch_add(1, Ordering::SeqCst);
            let (acceptor, known, converse) = (acceptor.clone(), known.clone(), converse.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                converse(stream, known).await;
            });
        }
    });
    (trusting(port, true), memory)
}

/// A prober that trusts the servers of this file, and other roots besides: those compiled in, or the system's.
fn trusting(port: u16, bundled_roots: bool) -> Prober {
    let endpoint = format!("https://localhost:{port}");
    let settings = Settings { ca_files: vec![CA.to_vec()], bundled_roots, ..settings(&endpoint) };
    Prober::new(settings).expect("a prober")
}

async fn shared(stream: TlsStream<TcpStream>, known: Memory, turn: Arc<impl Fn(&str) -> Turn + Send + Sync>) {
    let Ok(mut connection) = h2_server::handshake(stream).await else { return };
    let mut held = Vec::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let signed = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let (method, uri) = (request.method().clone(), request.uri().clone());
        known.note("h2", format!("{method} {} {}", uri.path(), signed.unwrap_or_default()));
        match turn(uri.path()) {
            Turn::Answer(headers, body) => answer(respond, headers, body),
            Turn::End(reason) => reset(respond, reason),
            Turn::Break => return,
            Turn::Silence => held.push((request, respond)),
        }
    }
}

fn answer(mut respond: SendResponse<Bytes>, headers: Vec<(String, String)>, body: Vec<u8>) {
    let mut said = Said::builder().header("content-type", "application/json");
    for (name, value) in headers {
        said = said.header(name.parse::<HeaderName>().expect("a name"), value);
    }
    let said = said.body(()).expect("an answer");
    if let Ok(mut stream) = respond.send_response(said, false) {
        let _ = stream.send_data(body.into(), true);
    }
}

fn reset(mut respond: SendResponse<Bytes>, reason: Reason) {
    respond.send_reset(reason);
}

/// HTTP/1.1: answers one request and closes.
async fn alone(mut stream: TlsStream<TcpStream>, known: Memory) {
    let mut buffer = [0; 4096];
    let Ok(length @ 1..) = stream.read(&mut buffer).await else { return };
    let heard = String::from_utf8_lossy(&buffer[..length]).into_owned();
    known.note("http/1.1", heard.lines().next().unwrap_or_default().to_owned());
    let _ = stream.write_all(&ok("connection: close\r\n", "{}")).await;
    let _ = stream.shutdown().await;
}

async fn many(prober: &Prober, path: &'static str, times: usize) -> Vec<Result<Answer, Failure>> {
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..times {
        let prober = prober.clone();
        all.spawn(async move { outcome(&prober, request(Verb::Get, path)).await });
    }
    all.join_all().await
}

/// Answers `/first`, then does this for the rest.
fn after_first(turn: Turn) -> impl Fn(&str) -> Turn {
    move |path| if path == "/first" { fine() } else { turn.clone() }
}

/// A frame: its type, flags, stream and what it carries.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags, 0, 0, 0, stream]);
    bytes.extend(payload);
    bytes
}

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// `:status: 200`, of the static table (RFC 7541, appendix A).
const STATUS_200: &[u8] = &[0x88];

/// A server that speaks in frames of its own: it answers the first request of each connection, and says this to the
/// second. Whoever speaks HTTP/1.1 is answered.
async fn serve_frames(second: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> (Prober, Memory) {
    let second = Arc::new(second);
    listen(move |mut stream, known| {
        let second = second.clone();
        async move {
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                return alone(stream, known).await;
            }
            let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
            let _ = stream.write_all(&frame(SETTINGS, 0, 0, &[])).await;
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                heard.extend(&buffer[..length]);
                // The preface of the client, then its frames.
                while let Some((kind, flags, id)) = next_frame(&mut heard) {
                    let said = match (kind, flags & 1, id) {
                        (SETTINGS, 0, _) => frame(SETTINGS, 1, 0, &[]),
                        (HEADERS, _, 1) => frame(HEADERS, 5, 1, STATUS_200),
                        (HEADERS, ..) => {
                            known.note("h2", "GET /x".to_owned());
                            second()
                        }
                        _ => continue,
                    };
                    let _ = stream.write_all(&said).await;
                }
            }
        }
    })
    .await
}

/// Takes a whole frame off the beginning: its type, its flags and its stream.
fn next_frame(heard: &mut Vec<u8>) -> Option<(u8, u8, u8)> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if heard.starts_with(PREFACE) {
        heard.drain(..PREFACE.len());
    }
    let [a, b, c, kind, flags, _, _, _, stream, ..] = heard[..] else { return None };
    let whole = 9 + usize::from(a) * 65536 + usize::from(b) * 256 + usize::from(c);
    (heard.len() >= whole).then(|| heard.drain(..whole));
    Some((kind, flags, stream))
}

#[tokio::test]
async fn reads_share_one_connection_and_what_may_change_something_never_does() {
    for bundled in [true, false] {
        let (_, memory) = serve(|_| fine()).await;
        let prober = trusting(memory.port, bundled);
        outcome(&prober, request(Verb::Get, "/first")).await.expect("an answer");
        for found in many(&prober, "/x", 64).await {
            assert_eq!(found.expect("an answer").body, "{}");
        }
        assert_eq!((memory.connections(), memory.heard("h2", "/x")), (1, 64));
        assert_eq!(memory.heard("h2", &format!("Bearer {SECRET}")), 65);
        for verb in [Verb::Post, Verb::Delete] {
            outcome(&prober, request(verb, "/y")).await.expect("an answer");
        }
        let changes = (memory.heard("h2", "/y"), memory.heard("http/1.1", "/y"));
        assert_eq!((memory.connections(), changes), (3, (0, 2)));
    }
}

#[tokio::test]
async fn what_a_shared_connection_takes_with_it_is_asked_once_more() {
    let broken = AtomicUsize::new(0);
    let (prober, memory) = serve(move |path| match path {
        "/x" if broken.fetch_add(1, Ordering::SeqCst) == 0 => Turn::Break,
        _ => fine(),
    })
    .await;
    outcome(&prober, request(Verb::Get, "/first")).await.expect("an answer");
    for found in many(&prober, "/x", 8).await {
        assert_eq!(found.expect("an answer").status, 200);
    }
    assert!((1..=8).contains(&memory.heard("http/1.1", "/x")), "{:?}", memory.requests);

    let (prober, memory) = serve(after_first(Turn::End(Reason::REFUSED_STREAM))).await;
    outcome(&prober, request(Verb::Get, "/first")).await.expect("an answer");
    for found in many(&prober, "/x", 8).await {
        assert_eq!(found.expect("an answer").status, 200);
    }
    assert_eq!((memory.heard("h2", "/x"), memory.heard("http/1.1", "/x")), (8, 8), "each once, by itself");

    // The last stream that was looked at is the first; there is no reason.
    let (prober, memory) = serve_frames(|| frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).await;
    outcome(&prober, request(Verb::Get, "/first")).await.expect("an answer");
    assert_eq!(outcome(&prober, request(Verb::Get, "/x")).await.expect("an answer").body, "{}");
    assert_eq!((memory.heard("h2", "/x"), memory.heard("http/1.1", "/x")), (1, 1));
}

#[tokio::test]
async fn a_connection_that_died_without_a_word_is_given_up() {
    let (prober, memory) = serve_frames(Vec::new).await;
    outcome(&prober, request(Verb::Get, "/first")).await.expect("an answer");
    for found in many(&prober, "/x", 4).await {
        assert_eq!(found.expect("before its deadline").body, "{}");
    }
    assert_eq!(memory.heard("http/1.1", "/x"), 4);
}

#[tokio::test]
async fn what_was_refused_with_a_reason_or_was_lost_on_a_fresh_connection_is_not() {
    for reason in [Reason::INTERNAL_ERROR, Reason::ENHANCE_YOUR_CALM, Reason::CANCEL] {
        let (prober, memory) = serve(after_first(Turn::End(reason))).await;
        outcome(&prober, request(Verb::Get, "/first")).await.expect("an answer");
        assert_eq!(outcome(&prober, request(Verb::Get, "/x")).await, Err(Failure::Lost), "{reason:?}");
        assert_eq!((memory.heard("h2", "/x"), memory.heard("http/1.1", "/x")), (1, 0), "{reason:?}");
    }
    let (prober, memory) = serve(|_| Turn::Break).await;
    assert_eq!(outcome(&prober, request(Verb::Get, "/x")).await, Err(Failure::Lost));
    assert_eq!((memory.heard("h2", "/x"), memory.heard("http/1.1", "/x")), (1, 0));
}

/// Frames after which nothing of the connection can be believed, or that ask for calm.
#[tokio::test]
async fn a_server_that_breaks_the_rules_is_not_asked_again() {
    let endless = || {
        let mut bytes = frame(HEADERS, 0, 3, STATUS_200);
        (0..200).for_each(|_| bytes.extend(frame(CONTINUATION, 0, 3, &[0x40; 8192])));
        bytes
    };
    // An entry of the dynamic table that is as large as may be, named as often as it fits.
    let bomb = || {
        let mut block = STATUS_200.to_vec();
        block.extend([0x40, 0x01, b'a', 0x7F, 0xA1, 0x1E]);
        block.extend([b'x'; 4000]);
        block.extend([0xBE; 12_000]);
        frame(HEADERS, 5, 3, &block)
    };
    let calm = || frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 11]);
    let pushed = || frame(5, 4, 3, &[0, 0, 0, 2, 0x82, 0x87, 0x84]);
    let nonsense = || vec![0xFF; 4096];
    let all: [fn() -> Vec<u8>; 5] = [endless, bomb, calm, pushed, nonsense];
    for (number, said) in all.into_iter().enumerate() {
        let (prober, memory) = serve_frames(said).await;
        outcome(&prober, request(Verb::Get, "/first")).await.expect("an answer");
        assert_eq!(outcome(&prober, request(Verb::Get, "/x")).await, Err(Failure::Lost), "{number}");
        assert_eq!((memory.heard("h2", "/x"), memory.heard("http/1.1", "/x")), (1, 0), "{number}");
    }
}

#[tokio::test]
async fn one_stream_that_says_nothing_keeps_no_other_waiting() {
    let (prober, memory) = serve(|path| if path == "/silent" { Turn::Silence } else { fine() }).await;
    outcome(&prober, request(Verb::Get, "/first")).await.expect("an answer");
    let hasty = Duration::from_millis(300);
    let silent = prober.clone();
    let waiting = timeout(hasty, many(&silent, "/silent", 32));
    let others = many(&prober, "/x", 32);
    let (waiting, others) = tokio::join!(waiting, others);
    assert!(waiting.is_err() && others.iter().all(Result::is_ok));
    // Nobody waits for them any more, and the connection goes on.
    outcome(&prober, request(Verb::Get, "/last")).await.expect("an answer");
    assert_eq!((memory.connections(), memory.heard("h2", "/last")), (1, 1));
}

#[tokio::test]
async fn the_limits_of_an_answer_are_those_of_http_1() {
    let header = |name: String, length: usize| (name, "x".repeat(length));
    let many: Vec<_> = (0..120).map(|number| header(format!("x-{number}"), 1)).collect();
    let long: Vec<_> = (0..30).map(|number| header(format!("x-{number}"), 4000)).collect();
    for (turn, found) in [
        (Turn::Answer(many, Vec::new()), Failure::Oversized),
        // The client ends such a stream itself.
        (Turn::Answer(long, Vec::new()), Failure::Lost),
        (Turn::Answer(Vec::new(), vec![b' '; BODY_LIMIT + 1]), Failure::Oversized),
        (Turn::Answer(vec![header("content-encoding".into(), 4)], Vec::new()), Failure::Oversized),
    ] {
        let (prober, memory) = serve(after_first(turn)).await;
        outcome(&prober, request(Verb::Get, "/first")).await.expect("an answer");
        assert_eq!(outcome(&prober, request(Verb::Get, "/x")).await, Err(found));
        assert_eq!((memory.heard("h2", "/x"), memory.heard("http/1.1", "/x")), (1, 0));
        outcome(&prober, request(Verb::Get, "/first")).await.expect("others go on");
    }
    let echo = format!(r#"{{"said":"{SECRET}"}}"#).into_bytes();
    let (prober, _) =
        serve(move |_| Turn::Answer(vec![("x-error-message".into(), SECRET.into())], echo.clone())).await;
    let answer = outcome(&prober, request(Verb::Get, "/x")).await.expect("an answer");
    assert_clean(&format!("{answer:?}"));
}

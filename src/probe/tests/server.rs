//! A server of raw bytes on loopback that remembers what it heard.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a server does once it has heard a whole request.
#[derive(Clone)]
pub(super) enum Reply {
    /// Writes this and listens for the next request on the same connection.
    Keep(Vec<u8>),
    /// Writes this and closes.
    Close(Vec<u8>),
    /// Writes this and breaks the connection off.
    Reset(Vec<u8>),
    /// Writes this and then nothing more.
    Hang(Vec<u8>),
}

/// What it heard: one text a connection.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    pub(super) fn connections(&self) -> usize {
        self.0.lock().expect("unbroken").len()
    }

    pub(super) fn all(&self) -> String {
        self.0.lock().expect("unbroken").concat()
    }

    fn add(&self, connection: usize, bytes: &[u8]) {
        self.0.lock().expect("unbroken")[connection].push_str(&String::from_utf8_lossy(bytes));
    }
}

/// A whole answer with the right length.
pub(super) fn ok(headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Starts a server; returns its endpoint and its memory.
#[expect(clippy::disallowed_methods, reason = "a server of a test ends with its runtime")]
pub(super) async fn serve(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let (heard, reply) = (Heard::default(), Arc::new(reply));
    let memory = heard.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = {
                let mut all = memory.0.lock().expect("unbroken");
                all.push(String::new());
                all.len() - 1
            };
            tokio::spawn(converse(stream, number, memory.clone(), reply.clone()));
        }
    });
    (endpoint, heard)
}

/// A server with threads of its own, which says the first once and the second for as long as anybody takes it.
pub(super) fn flood(once: &'static [u8], again: Vec<u8>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let again = Arc::new(again);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let again = again.clone();
            std::thread::spawn(move || {
                let mut taken = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(once));
                while taken.is_ok() {
                    taken = stream.write_all(&again);
                }
            });
        }
    });
    endpoint
}

async fn converse(
    mut stream: TcpStream,
    number: usize,
    heard: Heard,
    reply: Arc<impl Fn(&str) -> Reply + Send + Sync + 'static>,
) {
    let (mut request, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let Ok(length @ 1..) = stream.read(&mut buffer).await else { return };
        heard.add(number, &buffer[..length]);
        request.push_str(&String::from_utf8_lossy(&buffer[..length]));
        if !whole(&request) {
            continue;
        }
        match reply(&request) {
            Reply::Keep(bytes) => {
                let _ = stream.write_all(&bytes).await;
                request.clear();
            }
            Reply::Close(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Reply::Reset(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.set_zero_linger();
                return;
            }
            Reply::Hang(bytes) => {
                let _ = stream.write_all(&bytes).await;
                tokio::time::sleep(Duration::from_secs(30)).await;
                return;
            }
        }
    }
}

fn whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().expect("a number"))
}

//! What the simulated Hub says, asked once for each method, path and kind of asker, and counted for each probed token.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, DATE, HOST, HeaderMap, TRANSFER_ENCODING};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;

/// Secrets `hf_scale_NUMBER` are probed ones; all are answered as the simulated Hub answers this one.
const PREFIX: &str = "hf_scale_";
const PROBED: &str = "hf_scale_probed";
/// The user of the probed token; each number gets a user of its own.
const USER: &str = "probed-user";
const WHOAMI: &str = "/api/whoami-v2";

/// One answer, and how often each probed token was given it, by its number.
struct Known {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    given: RefCell<Vec<u32>>,
    /// Method and path, as `GET /api/…`; absent where only others than probed tokens ask.
    probed: Option<String>,
}

pub struct Answers {
    upstream: SocketAddr,
    known: RefCell<HashMap<String, Rc<Known>>>,
}

impl Answers {
    pub fn of(upstream: SocketAddr) -> Answers {
        Answers { upstream, known: RefCell::default() }
    }

    pub async fn to(
        &self,
        method: Method,
        path: &str,
        secret: Option<&str>,
        body: Bytes,
    ) -> Response<Full<Bytes>> {
        let number = secret.and_then(|secret| secret.strip_prefix(PREFIX)).and_then(|text| text.parse().ok());
        let asker = if number.is_some() { Some(PROBED) } else { secret };
        let key = format!("{method} {path} {}", asker.unwrap_or_default());
        let found = self.known.borrow().get(&key).cloned();
        let known = match found {
            Some(known) => known,
            None => self.learn(key, method, path, asker, body).await,
        };
        let content = number.map_or_else(|| known.body.clone(), |number| known.for_token(number, path));
        let mut response = Response::new(Full::new(content));
        *response.status_mut() = known.status;
        *response.headers_mut() = known.headers.clone();
        response
    }

    async fn learn(
        &self,
        key: String,
        method: Method,
        path: &str,
        asker: Option<&str>,
        body: Bytes,
    ) -> Rc<Known> {
        let probed = (asker == Some(PROBED)).then(|| format!("{method} {path}"));
        let (status, headers, body) = forward(self.upstream, method, path, asker, body).await;
        let known = Known { status, headers, body, given: RefCell::default(), probed };
        // Somebody else may have learnt it meanwhile; there is one count of each.
        self.known.borrow_mut().entry(key).or_insert_with(|| Rc::new(known)).clone()
    }

    /// What was asked since it was last forgotten: probes, those of them that came again, whoami; and what they are.
    pub fn counted(&self) -> serde_json::Value {
        let (mut probes, mut whoami, mut doubled, mut paths) = (0_u64, 0_u64, 0_u64, Vec::new());
        for known in self.known.borrow().values() {
            let Some(what) = &known.probed else { continue };
            let given = known.given.borrow();
            let all: u64 = given.iter().map(|times| u64::from(*times)).sum();
            if what.ends_with(WHOAMI) {
                whoami += all;
                continue;
            }
            probes += all;
            doubled += given.iter().map(|times| u64::from(times.saturating_sub(1))).sum::<u64>();
            paths.push(json!({"ask": what, "status": known.status.as_u16(), "bytes": known.body.len(), "times": all}));
        }
        json!({"asked": probes, "doubled": doubled, "whoami": whoami, "paths": paths})
    }

    pub fn forget(&self) {
        self.known.borrow().values().for_each(|known| known.given.borrow_mut().clear());
    }
}

impl Known {
    fn for_token(&self, number: usize, path: &str) -> Bytes {
        let mut given = self.given.borrow_mut();
        if given.len() <= number {
            given.resize(number + 1, 0);
        }
        given[number] += 1;
        if path != WHOAMI {
            return self.body.clone();
        }
        let text = std::str::from_utf8(&self.body).expect("JSON");
        Bytes::from(text.replace(USER, &format!("user-{number}")))
    }
}

/// Asks the simulated Hub, on a connection of its own.
async fn forward(
    to: SocketAddr,
    method: Method,
    path: &str,
    secret: Option<&str>,
    body: Bytes,
) -> (StatusCode, HeaderMap, Bytes) {
    let stream = tokio::net::TcpStream::connect(to).await.expect("the simulated Hub");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    let talk = tokio::task::spawn_local(connection);
    let mut request = Request::builder().method(method).uri(path).header(HOST, to.to_string());
    if let Some(secret) = secret {
        request = request.header(AUTHORIZATION, format!("Bearer {secret}"));
    }
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    let answer =
        sender.send_request(request.body(Full::new(body)).expect("a request")).await.expect("an answer");
    let (head, body) = answer.into_parts();
    let body = body.collect().await.expect("its body").to_bytes();
    drop(sender);
    talk.abort();
    let mut headers = head.headers;
    for name in [CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING, DATE] {
        headers.remove(name);
    }
    (head.status, headers, body)
}

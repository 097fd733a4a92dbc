//! The routes, and what holds for all of them: who may see what, headers of every answer, bodies refused.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::HttpBody;
use axum::extract::{Path, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, http};
use tokio::sync::{Semaphore, oneshot};

use super::door::{Gate, Peer, is_health};
use super::passwords::Word;
use super::scrape::{Scrape, takes_gzip};
use super::views::{Exposition, Views};
use super::{Access, Command, Served, page};
use crate::metrics::{Packed, Page};
use crate::moment::Timestamp;
use crate::report::Snapshot;

/// What all handlers share.
struct Site {
    served: Served,
    views: Views,
    exposition: Exposition<Page>,
    packed: Exposition<Packed>,
    /// Held by whoever writes a page.
    pages: Arc<Semaphore>,
    /// Whether the listener can be reached from this machine only.
    loopback: bool,
}

/// No request of ours carries a body; what is larger than this is refused unread.
const BODY_LIMIT: u64 = 4096;

const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
];

const CLOSED: &str = "The page and the API are not served here, because this daemon listens beyond loopback \
                      without authentication: configure `server.web_config` (TLS and passwords), or set \
                      `server.open_page: true`.";
const NO_LIFECYCLE: &str = "Reload and probe by HTTP are off: set `server.lifecycle: true`.";
const WRONG_HOST: &str = "This daemon listens on loopback and answers here only under `localhost` or an IP \
                          address, so that no web page can reach it under a name of its own.";
const WRONG_ORIGIN: &str = "This request was sent by a page of another site.";

const WHO_IS_IT: &str = "A name and its password are needed here (`basic_auth_users` of the web config).";
const TOO_MANY_OF_ONE: &str = "Too many passwords from this address are being looked at; try again.";
const TOO_MANY: &str = "Too many passwords are being looked at; try again.";

/// The whole site. `loopback`: whether only this machine can reach the listener.
pub(super) fn router(served: Served, loopback: bool) -> Router {
    let (views, exposition, packed) = (Views::default(), Exposition::default(), Exposition::default());
    let pages = Arc::new(Semaphore::new(1));
    let site = Arc::new(Site { served, views, exposition, packed, pages, loopback });
    Router::new()
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(healthy))
        .route("/livez", get(healthy))
        .route("/-/ready", get(ready))
        .route("/readyz", get(ready))
        .route("/-/reload", post(reload))
        .route("/-/probe", post(probe))
        .route("/", get(front))
        .route("/style.css", get(style))
        .route("/findings/{id}", get(finding))
        .route("/api/v1/report", get(report))
        .route("/api/v1/findings", get(findings))
        .route("/api/v1/canaries", get(canaries))
        .route("/api/v1/openapi.json", get(described))
        .fallback(async || sentence(StatusCode::NOT_FOUND, "There is nothing here."))
        .method_not_allowed_fallback(async || {
            sentence(StatusCode::METHOD_NOT_ALLOWED, "This route does not know this method.")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&site), guard))
        .layer(middleware::map_response_with_state(Arc::clone(&site), headers))
        .with_state(site)
}

/// A plain answer of one sentence or word.
fn sentence(status: StatusCode, text: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{text}\n")).into_response()
}

fn json(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

async fn headers(State(site): State<Arc<Site>>, mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, http::HeaderValue::from_static(value));
    }
    site.served.access.load().door.dress(response.headers_mut());
    response
}

/// Decides whether a request may be answered at all: first at the door, then by what is asked.
async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    if request.body().size_hint().lower() > BODY_LIMIT {
        let mut response = sentence(StatusCode::PAYLOAD_TOO_LARGE, "No request here needs a body.");
        response.headers_mut().insert(header::CONNECTION, http::HeaderValue::from_static("close"));
        return response;
    }
    let access = site.served.access.load_full();
    let peer = request.extensions().get::<Arc<Peer>>().cloned().unwrap_or_default();
    match access.door.gate(&peer, request.uri().path()) {
        Gate::Open => {}
        Gate::Shut(status, why) => return sentence(status, why),
        Gate::Password => {
            if let Some(refused) = unknown(&access, request.headers(), &peer).await {
                return refused;
            }
        }
    }
    match refusal(&access, site.loopback, request.method(), request.uri().path(), request.headers()) {
        Some((status, why)) => sentence(status, why),
        None => next.run(request).await,
    }
}

/// The answer to whoever shows no right password.
async fn unknown(access: &Access, headers: &HeaderMap, peer: &Peer) -> Option<Response> {
    let passwords = access.door.passwords.as_ref()?;
    let (status, name, value, why) = match passwords.judge(headers, peer.ip).await {
        Word::Right => return None,
        Word::Wrong => {
            let ask = "Basic realm=\"scopewatch\", charset=\"UTF-8\"";
            (StatusCode::UNAUTHORIZED, header::WWW_AUTHENTICATE, ask, WHO_IS_IT)
        }
        Word::TooMany => (StatusCode::TOO_MANY_REQUESTS, header::RETRY_AFTER, "2", TOO_MANY_OF_ONE),
        Word::Busy => (StatusCode::SERVICE_UNAVAILABLE, header::RETRY_AFTER, "5", TOO_MANY),
    };
    let mut response = sentence(status, why);
    response.headers_mut().insert(name, http::HeaderValue::from_static(value));
    Some(response)
}

/// What is not answered even to those who may come in, and why.
fn refusal(
    access: &Access,
    loopback: bool,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Option<(StatusCode, &'static str)> {
    if path == "/metrics" || is_health(path) {
        return None;
    }
    let lifecycle = matches!(path, "/-/reload" | "/-/probe");
    if !lifecycle && !access.page {
        return Some((StatusCode::FORBIDDEN, CLOSED));
    }
    if loopback && !host_is_ours(headers) {
        return Some((StatusCode::FORBIDDEN, WRONG_HOST));
    }
    if lifecycle && *method == Method::POST {
        if !access.lifecycle {
            return Some((StatusCode::FORBIDDEN, NO_LIFECYCLE));
        }
        if !origin_is_ours(headers) {
            return Some((StatusCode::FORBIDDEN, WRONG_ORIGIN));
        }
    }
    None
}

/// Against DNS rebinding: a page of somebody else's name that resolves to us sends that name. A client that
/// sends none is no browser.
fn host_is_ours(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

/// Against forged requests: browsers say which site's page sends a POST.
fn origin_is_ours(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let (Ok(origin), Some(Ok(host))) = (origin.to_str(), headers.get(header::HOST).map(|h| h.to_str()))
    else {
        return false;
    };
    origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

async fn metrics(State(site): State<Arc<Site>>, request: Request) -> Response {
    let its = Arc::clone(&site);
    let page = move || {
        let served = &its.served;
        served.metrics.page(|| served.snapshot.load_full(), (served.now)())
    };
    let its = Arc::clone(&site);
    let body = if takes_gzip(request.headers()) {
        site.packed.of(move || its.served.metrics.pack(&page())).await.map(Scrape::packed)
    } else {
        site.exposition.of(page).await.map(Scrape::text)
    };
    match body {
        Some(body) => body.into_response(),
        None => {
            sentence(StatusCode::INTERNAL_SERVER_ERROR, "The metrics could not be written; the log says why.")
        }
    }
}

async fn healthy() -> Response {
    sentence(StatusCode::OK, "healthy")
}

async fn ready(State(site): State<Arc<Site>>) -> Response {
    match site.served.ready.missing() {
        None => sentence(StatusCode::OK, "ready"),
        Some(why) => sentence(StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

async fn reload(State(site): State<Arc<Site>>) -> Response {
    let (answer, answered) = oneshot::channel();
    match ask(&site, Command::Reload(answer), answered).await {
        Ok(Ok(())) => sentence(StatusCode::OK, "reloaded"),
        Ok(Err(why)) => sentence(StatusCode::INTERNAL_SERVER_ERROR, &why),
        Err(response) => response,
    }
}

async fn probe(State(site): State<Arc<Site>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let mut names = url::form_urlencoded::parse(query.as_bytes());
    let (Some((key, token)), None) = (names.next(), names.next()) else {
        return sentence(StatusCode::BAD_REQUEST, "Say which token: POST /-/probe?token=NAME");
    };
    if key != "token" || token.is_empty() {
        return sentence(StatusCode::BAD_REQUEST, "Say which token: POST /-/probe?token=NAME");
    }
    let (answer, answered) = oneshot::channel();
    match ask(&site, Command::Probe { token: token.into_owned(), answer }, answered).await {
        Ok(Ok(())) => sentence(StatusCode::ACCEPTED, "accepted"),
        Ok(Err(why)) => sentence(StatusCode::NOT_FOUND, &why),
        Err(response) => response,
    }
}

/// Hands a command on and waits for its answer. `Err` is the response when there is none.
async fn ask(
    site: &Site,
    command: Command,
    answered: oneshot::Receiver<Result<(), String>>,
) -> Result<Result<(), String>, Response> {
    let unavailable = |why| sentence(StatusCode::SERVICE_UNAVAILABLE, why);
    if site.served.commands.try_send(command).is_err() {
        return Err(unavailable("Too much is asked at once, or the daemon is stopping; try again."));
    }
    let patience: Duration = site.served.limits.command;
    match tokio::time::timeout(patience, answered).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(unavailable("The daemon is stopping.")),
        Err(_) => Err(unavailable("It takes longer than expected; the log will say what came of it.")),
    }
}

async fn front(State(site): State<Arc<Site>>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    html(&site, move |snapshot, now| Some(page::front(snapshot, &query, now))).await
}

async fn finding(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Response {
    html(&site, move |snapshot, now| page::one(snapshot, &id, now)).await
}

/// Writes a page, apart from what answers and probes, and one at a time: of a thousand tokens it takes milliseconds, and a
/// crowd of readers must leave room for the rest. `None` where there is nothing of which to write one.
async fn html<F>(site: &Site, write: F) -> Response
where
    F: FnOnce(&Snapshot, Timestamp) -> Option<Result<String, askama::Error>> + Send + 'static,
{
    // Never closed, so that there is always a turn.
    let turn = Arc::clone(&site.pages).acquire_owned().await;
    let (snapshot, now) = (site.served.snapshot.load_full(), (site.served.now)());
    let written = tokio::task::spawn_blocking(move || {
        let _held = turn;
        write(&snapshot, now)
    });
    let error = match written.await {
        Ok(Some(Ok(body))) => {
            return ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], body).into_response();
        }
        Ok(None) => return sentence(StatusCode::NOT_FOUND, "No finding or check has this id any more."),
        Ok(Some(Err(error))) => error.to_string(),
        Err(_) => "it was given up".to_owned(),
    };
    tracing::error!(error, "a page could not be written");
    sentence(StatusCode::INTERNAL_SERVER_ERROR, "This page could not be written; the log says why.")
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], page::STYLE).into_response()
}

async fn report(State(site): State<Arc<Site>>) -> Response {
    match &site.served.snapshot.load().report {
        Some(report) => written(site.views.report(report)),
        None => {
            json(StatusCode::SERVICE_UNAVAILABLE, r#"{"schema":1,"error":"no round has been completed yet"}"#)
        }
    }
}

async fn findings(State(site): State<Arc<Site>>) -> Response {
    written(site.views.findings(&site.served.snapshot.load_full()))
}

async fn canaries(State(site): State<Arc<Site>>) -> Response {
    written(site.views.canaries(&site.served.snapshot.load_full()))
}

async fn described() -> Response {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| super::openapi().to_string());
    json(StatusCode::OK, DOCUMENT.as_str())
}

fn written(body: Result<axum::body::Bytes, serde_json::Error>) -> Response {
    match body {
        Ok(body) => json(StatusCode::OK, body),
        Err(error) => {
            tracing::error!(%error, "an answer of the API could not be written");
            json(StatusCode::INTERNAL_SERVER_ERROR, r#"{"schema":1,"error":"cannot be written"}"#)
        }
    }
}

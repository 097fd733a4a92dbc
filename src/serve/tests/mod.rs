//! Every route, over real sockets; the bounds stand in `bounds`.

mod bounds;
mod door;

use std::net::SocketAddr;

use tokio::task::JoinHandle;

use super::*;
use crate::access::{Permission, RepoName, RepoType, Severity, TokenName};
use crate::intent::{Canary, CanaryState, DeleteAttempt, DeleteOutcome, Deleter};
use crate::report::{CanarySummary, Finding, FindingKind, Report, Summary};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const EVIL: &str = "<img src=x onerror=alert('1')>&\"";

/// What is open, without TLS and passwords.
fn open(page: bool, lifecycle: bool) -> Access {
    Access { page, lifecycle, door: Door::default() }
}

/// A running server and the other ends of all that it was given.
struct Site {
    address: SocketAddr,
    served: Served,
    commands: mpsc::Receiver<Command>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

#[expect(clippy::disallowed_methods, reason = "a server of a test ends with its runtime")]
async fn site(change: impl FnOnce(&mut Served)) -> Site {
    let (commands, received) = mpsc::channel(1);
    let mut served = Served {
        snapshot: Arc::default(),
        metrics: Metrics::new("1.2.3", "abc"),
        ready: Readiness::new(),
        access: Arc::new(ArcSwap::from_pointee(open(true, true))),
        commands,
        now: Arc::new(|| NOW),
        limits: Limits::default(),
    };
    change(&mut served);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(run(listener, served.clone(), shutdown.clone()));
    Site { address, served, commands: received, shutdown, running }
}

/// A response, taken apart.
#[derive(Debug)]
struct Heard {
    status: u16,
    head: String,
    body: String,
}

impl Heard {
    fn of(text: &str) -> Heard {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Heard { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> &str {
        let start = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or("")
    }
}

impl Site {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    /// Sends these bytes and reads until the server closes.
    async fn send(&self, bytes: &str) -> Heard {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_bytes()).await.expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("answered");
        Heard::of(&text)
    }

    async fn ask(&self, method: &str, path: &str) -> Heard {
        self.ask_with(method, path, "Host: 127.0.0.1\r\n").await
    }

    async fn ask_with(&self, method: &str, path: &str, headers: &str) -> Heard {
        self.send(&format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")).await
    }

    /// Ends it, and waits until it has ended.
    async fn end(self) {
        self.shutdown.cancel();
        self.running.await.expect("no panic");
    }
}

fn canary(id: i64, state: CanaryState) -> Canary {
    Canary {
        id,
        epoch: 1,
        target: "model".into(),
        given_up_at: None,
        repo: "acme/scopewatch-canary-1".parse::<RepoName>().expect("a name"),
        kind: RepoType::Model,
        group: None,
        token: TokenName::new("ci"),
        owner: None,
        planned_at: NOW,
        state,
        repo_id: Some("0123".into()),
        deletes: vec![DeleteAttempt { at: NOW, by: Deleter::Probed, outcome: DeleteOutcome::Lost }],
        absences: Vec::new(),
        looks: 0,
        next_at: Some(NOW + Duration::from_secs(60)),
        note: EVIL.into(),
    }
}

fn finding(detail: &str, resolved_at: Option<Timestamp>) -> Finding {
    Finding {
        kind: FindingKind::UnexpectedGrant,
        organization: EVIL.into(),
        token: Some(TokenName::new(EVIL)),
        permission: Some(Permission::RepoCreate),
        target: Some(EVIL.into()),
        severity: Severity::Critical,
        since: NOW,
        last_seen: NOW,
        resolved_at,
        detail: detail.into(),
    }
}

fn full() -> Snapshot {
    let summary = Summary { checks: 7, ok: 4, unexpected_grant: 1, unexpected_denial: 0, unknown: 2 };
    Snapshot {
        at: NOW,
        report: Some(Arc::new(Report {
            schema: 1,
            started_at: NOW,
            finished_at: NOW,
            summary,
            results: Vec::new(),
            canaries: CanarySummary::default(),
        })),
        findings: vec![finding(EVIL, None), finding("long over", Some(NOW))],
        canaries: vec![canary(3, CanaryState::DelUnknown), canary(4, CanaryState::Refused)],
        ..Snapshot::default()
    }
}

#[tokio::test]
async fn metrics_and_health_answer_with_what_scrapers_and_kubelets_expect() {
    let site = site(|_| {}).await;
    let heard = site.ask("GET", "/metrics").await;
    assert_eq!((heard.status, heard.header("content-type")), (200, "text/plain; version=0.0.4"));
    assert!(heard.body.contains("scopewatch_build_info{revision=\"abc\",version=\"1.2.3\"} 1\n"));
    for path in ["/-/healthy", "/livez"] {
        let heard = site.ask("GET", path).await;
        assert_eq!((heard.status, heard.body.as_str()), (200, "healthy\n"));
    }
    let head = site.ask("HEAD", "/metrics").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!((heard.header("vary"), heard.header("content-encoding")), ("accept-encoding", ""));
    let packed = site.ask_with("HEAD", "/metrics", "Host: 127.0.0.1\r\nAccept-Encoding: gzip\r\n").await;
    assert_eq!((packed.header("vary"), packed.header("content-encoding")), ("accept-encoding", "gzip"));
    assert!(packed.header("content-length").parse::<usize>().expect("a length") > 1000);
    site.end().await;
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let site = site(|served| served.snapshot.store(Arc::new(full()))).await;
    for path in
        ["/", "/metrics", "/livez", "/api/v1/report", "/style.css", "/findings/0", "/nowhere", "/-/reload"]
    {
        let heard = site.ask("GET", path).await;
        let csp = heard.header("content-security-policy");
        assert!(csp.starts_with("default-src 'none'; style-src 'self';"), "{path}: {csp}");
        assert!(csp.contains("frame-ancestors 'none'") && !csp.contains("unsafe"), "{path}");
        assert_eq!(heard.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(heard.header("cache-control"), "no-store", "{path}");
        assert_eq!(heard.header("referrer-policy"), "no-referrer", "{path}");
    }
    site.end().await;
}

#[tokio::test]
async fn readiness_waits_for_every_latch_and_ends_with_stopping() {
    let mut latches = Vec::new();
    let site = site(|served| {
        latches.extend([served.ready.latch("config"), served.ready.latch("store")]);
    })
    .await;
    let ready = async || {
        let heard = site.ask("GET", "/-/ready").await;
        let alias = site.ask("GET", "/readyz").await;
        assert_eq!((heard.status, &heard.body), (alias.status, &alias.body));
        (heard.status, heard.body)
    };
    assert_eq!(ready().await, (503, "config\n".into()));
    latches.remove(0);
    assert_eq!(ready().await, (503, "store\n".into()));
    latches.clear();
    assert_eq!(ready().await, (200, "ready\n".into()));
    site.served.ready.stop();
    assert_eq!(ready().await, (503, "stopping\n".into()));
    assert_eq!(site.ask("GET", "/livez").await.status, 200);
    site.end().await;
}

#[tokio::test]
async fn the_api_answers_from_the_snapshot() {
    let site = site(|_| {}).await;
    let early = site.ask("GET", "/api/v1/report").await;
    assert_eq!((early.status, early.header("content-type")), (503, "application/json"));
    let said: serde_json::Value = serde_json::from_str(&early.body).expect("JSON");
    assert_eq!(said["error"], "no round has been completed yet");
    assert_eq!(site.ask("GET", "/api/v1/findings").await.body, r#"{"schema":1,"findings":[]}"#);
    assert_eq!(site.ask("GET", "/api/v1/canaries").await.body, r#"{"schema":1,"canaries":[]}"#);

    site.served.snapshot.store(Arc::new(full()));
    let heard = site.ask("GET", "/api/v1/report").await;
    assert_eq!((heard.status, heard.header("content-type")), (200, "application/json"));
    let report: serde_json::Value = serde_json::from_str(&heard.body).expect("JSON");
    assert_eq!((&report["schema"], &report["summary"]["unknown"]), (&1.into(), &2.into()));

    let heard = site.ask("GET", "/api/v1/findings").await;
    let findings: serde_json::Value = serde_json::from_str(&heard.body).expect("JSON");
    assert_eq!(findings["findings"].as_array().expect("a list").len(), 2);
    assert_eq!(findings["findings"][0]["kind"], "unexpected_grant");
    assert_eq!(findings["findings"][0]["resolved_at"], serde_json::Value::Null);
    // The same finding in another episode has the same id.
    assert_eq!(findings["findings"][0]["id"], finding(EVIL, None).key().id());
    assert_eq!(findings["findings"][0]["id"], findings["findings"][1]["id"]);

    let heard = site.ask("GET", "/api/v1/canaries").await;
    let canaries: serde_json::Value = serde_json::from_str(&heard.body).expect("JSON");
    assert_eq!(
        canaries["canaries"][0],
        serde_json::json!({
            "id": 3, "organization": "acme", "repo": "acme/scopewatch-canary-1", "type": "model",
            "token": "ci", "state": "unknown", "journal_state": "del_unknown",
            "planned_at": "2027-01-15T08:00:00.000Z", "repo_id": "0123",
            "next_at": "2027-01-15T08:01:00.000Z",
            "deletes": [{"at": "2027-01-15T08:00:00.000Z", "by": "probed", "outcome": "lost"}],
            "note": EVIL,
        })
    );
    site.end().await;
}

#[tokio::test]
async fn the_page_shows_what_lasts_and_lets_nothing_in() {
    let site = site(|_| {}).await;
    let early = site.ask("GET", "/").await;
    assert_eq!((early.status, early.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(early.body.contains("No round has been completed yet"));

    site.served.snapshot.store(Arc::new(full()));
    let page = site.ask("GET", "/").await.body;
    assert!(page.contains("&#60;img src=x onerror=alert(&#39;1&#39;)&#62;&#38;&#34;"));
    assert!(!page.contains("<img") && !page.contains("<script") && !page.contains(" style="));
    assert!(page.contains("<h1 id=\"now\">1 unexpected grant</h1>"));
    assert!(!page.contains("long over"), "of what is over only the change is told");
    let id = finding(EVIL, None).key().id();
    assert!(page.contains(&format!("href=\"/findings/{id}\"")));
    let one = site.ask("GET", &format!("/findings/{id}")).await;
    assert_eq!((one.status, one.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(one.body.contains("&#60;img src=x") && !one.body.contains("<img"));
    assert_eq!(site.ask("GET", "/findings/0000").await.status, 404);
    assert!(page.contains("unknown (del_unknown)") && !page.contains("<td>4</td>"));
    for link in ["/metrics", "/api/v1/report", "/api/v1/findings", "/api/v1/canaries", "/-/ready"] {
        assert!(page.contains(&format!("href=\"{link}\"")), "{link}");
    }
    let style = site.ask("GET", "/style.css").await;
    assert_eq!((style.status, style.header("content-type")), (200, "text/css; charset=utf-8"));

    let many = Snapshot { findings: vec![finding("x", None); 203], ..Snapshot::default() };
    site.served.snapshot.store(Arc::new(many));
    assert!(site.ask("GET", "/").await.body.contains("And 103 more"));
    site.end().await;
}

#[tokio::test]
async fn every_route_is_described_and_no_other() {
    let code = include_str!("../routes.rs");
    let mut there: Vec<&str> =
        code.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let mut described: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
    there.sort_unstable();
    described.sort_unstable();
    assert_eq!(there, described);
    let closed = open(true, false);
    let site = site(|served| served.access = Arc::new(ArcSwap::from_pointee(closed))).await;
    for route in ROUTES {
        let heard = site.ask(if route.method == "get" { "GET" } else { "POST" }, route.path).await;
        let known = route.answers.iter().any(|(status, ..)| *status == heard.status);
        assert!(known, "{} {} answers {}", route.method, route.path, heard.status);
        let wrong = site.ask(if route.method == "get" { "POST" } else { "GET" }, route.path).await;
        assert_eq!(wrong.status, 405, "{}", route.path);
    }
    site.end().await;
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_apart() {
    let site = site(|_| {}).await;
    assert_eq!(site.ask("GET", "/nowhere").await.status, 404);
    assert_eq!(site.ask("GET", "/api/v1/reports").await.status, 404);
    for (method, path, allow) in [
        ("POST", "/metrics", "get,head"),
        ("DELETE", "/api/v1/report", "get,head"),
        ("GET", "/-/reload", "post"),
        ("GET", "/-/probe?token=ci", "post"),
    ] {
        let heard = site.ask(method, path).await;
        assert_eq!((heard.status, heard.header("allow")), (405, allow), "{method} {path}");
        assert_eq!(heard.body, "This route does not know this method.\n");
    }
    site.end().await;
}

#[tokio::test]
async fn without_the_page_only_metrics_and_health_are_there() {
    let site = site(|served| {
        served.access.store(Arc::new(open(false, true)));
        served.snapshot.store(Arc::new(full()));
    })
    .await;
    for path in [
        "/",
        "/style.css",
        "/findings/0",
        "/api/v1/report",
        "/api/v1/findings",
        "/api/v1/canaries",
        "/nowhere",
    ] {
        let heard = site.ask("GET", path).await;
        assert_eq!(heard.status, 403, "{path}");
        assert!(heard.body.contains("server.web_config") && heard.body.contains("server.open_page"));
        assert_eq!(heard.body.lines().count(), 1);
    }
    for path in ["/metrics", "/-/healthy", "/livez", "/-/ready", "/readyz"] {
        assert_eq!(site.ask("GET", path).await.status, 200, "{path}");
    }
    assert_eq!(site.ask("POST", "/-/probe").await.status, 400, "lifecycle is there");
    site.served.access.store(Arc::new(open(true, true)));
    assert_eq!(site.ask("GET", "/").await.status, 200, "a reload may open it");
    site.end().await;
}

#[tokio::test]
async fn commands_reach_the_app_only_with_lifecycle_and_only_from_our_own_pages() {
    let mut site = site(|served| {
        served.access.store(Arc::new(open(true, false)));
    })
    .await;
    for path in ["/-/reload", "/-/probe?token=ci"] {
        let heard = site.ask("POST", path).await;
        assert_eq!(heard.status, 403);
        assert!(heard.body.contains("server.lifecycle"));
    }
    site.served.access.store(Arc::new(open(true, true)));
    let forged = "Host: 127.0.0.1\r\nOrigin: https://evil.example\r\n";
    assert_eq!(site.ask_with("POST", "/-/reload", forged).await.status, 403);
    let opaque = "Host: 127.0.0.1\r\nOrigin: null\r\n";
    assert_eq!(site.ask_with("POST", "/-/reload", opaque).await.status, 403);
    assert!(site.commands.try_recv().is_err(), "nothing of it got through");
    site.end().await;
}

/// Sends a POST and answers its command.
#[expect(clippy::disallowed_methods, reason = "a server of a test ends with its runtime")]
async fn command(site: &mut Site, path: &str, result: Result<(), String>) -> (Heard, Option<String>) {
    let address = site.address;
    let path = path.to_owned();
    let asking = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://localhost:1\r\n");
        let rest = "Content-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(format!("{head}{rest}").as_bytes()).await.expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("answered");
        Heard::of(&text)
    });
    let named = match site.commands.recv().await.expect("a command") {
        Command::Reload(answer) => {
            answer.send(result).expect("awaited");
            None
        }
        Command::Probe { token, answer } => {
            answer.send(result).expect("awaited");
            Some(token)
        }
    };
    (asking.await.expect("no panic"), named)
}

#[tokio::test]
async fn reload_and_probe_answer_with_what_the_app_says() {
    let mut site = site(|_| {}).await;
    let (heard, _) = command(&mut site, "/-/reload", Ok(())).await;
    assert_eq!((heard.status, heard.body.as_str()), (200, "reloaded\n"));
    let (heard, _) = command(&mut site, "/-/reload", Err("line 3: no such key".into())).await;
    assert_eq!((heard.status, heard.body.as_str()), (500, "line 3: no such key\n"));
    let (heard, token) = command(&mut site, "/-/probe?token=ci%20bot", Ok(())).await;
    assert_eq!((heard.status, token.as_deref()), (202, Some("ci bot")));
    let (heard, _) = command(&mut site, "/-/probe?token=x", Err("there is no token \"x\"".into())).await;
    assert_eq!((heard.status, heard.body.as_str()), (404, "there is no token \"x\"\n"));
    for path in ["/-/probe", "/-/probe?token=", "/-/probe?tokens=a", "/-/probe?token=a&token=b"] {
        assert_eq!(site.ask("POST", path).await.status, 400, "{path}");
    }
    site.end().await;
}

#[tokio::test]
async fn a_command_that_is_not_taken_or_not_answered_is_503() {
    let mut site = site(|served| served.limits.command = Duration::from_millis(50)).await;
    let slow = site.ask("POST", "/-/reload").await;
    assert_eq!((slow.status, slow.body.starts_with("It takes longer")), (503, true));
    let full = site.ask("POST", "/-/reload").await;
    assert_eq!((full.status, full.body.starts_with("Too much")), (503, true));
    site.commands.close();
    while site.commands.try_recv().is_ok() {}
    assert_eq!(site.ask("POST", "/-/probe?token=ci").await.status, 503);
    site.end().await;
}

#[tokio::test]
async fn foreign_names_that_resolve_to_loopback_see_no_page() {
    let site = site(|_| {}).await;
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "a b"] {
        let host = format!("Host: {host}\r\n");
        assert_eq!(site.ask_with("GET", "/", &host).await.status, 403, "{host}");
        assert_eq!(site.ask_with("POST", "/-/reload", &host).await.status, 403, "{host}");
        assert_eq!(site.ask_with("GET", "/metrics", &host).await.status, 200, "{host}");
    }
    for host in ["localhost", "LOCALHOST:10847", "127.0.0.1:1", "[::1]:10847", "10.0.0.1"] {
        assert_eq!(site.ask_with("GET", "/", &format!("Host: {host}\r\n")).await.status, 200, "{host}");
    }
    assert_eq!(site.ask_with("GET", "/", "").await.status, 200, "no browser");
    site.end().await;
}

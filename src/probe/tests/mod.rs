//! The prober against servers that are honest, broken and hostile.

mod audience;
mod h2;
mod kept;
mod server;
mod tls;

use serde_json::json;

use super::*;
use crate::access::TokenName;
use crate::exchange::BODY_LIMIT;
use crate::secret::SecretFault;
use server::{Reply, flood, ok, serve};

const SECRET: &str = "hf_qwertzuiopasdfgh";
const OTHER: &str = "hf_yxcvbnmlkjhgfdsa";

fn settings(endpoint: &str) -> Settings {
    Settings {
        endpoint: endpoint.to_owned(),
        request_timeout: Duration::from_secs(20),
        proxy: None,
        ca_files: Vec::new(),
        bundled_roots: true,
        read_only: false,
        user_agent: "scopewatch/test".into(),
    }
}

fn prober(endpoint: &str) -> Prober {
    Prober::new(settings(endpoint)).expect("a prober")
}

/// One that soon gives up.
fn hasty(endpoint: &str) -> Prober {
    let request_timeout = Duration::from_millis(500);
    Prober::new(Settings { request_timeout, ..settings(endpoint) }).expect("a prober")
}

fn keyring() -> Keyring {
    let mut ring = Keyring::new();
    ring.insert(TokenName::new("ci"), Secret::from_bytes(SECRET.as_bytes()));
    ring.insert(TokenName::new("other"), Secret::from_bytes(OTHER.as_bytes()));
    ring.insert(TokenName::new("broken"), Err(SecretFault::Empty));
    ring
}

fn request(verb: Verb, path: &str) -> Request {
    Request {
        verb,
        route: "/test",
        path: path.to_owned(),
        body: verb.is_unsafe().then(|| json!({"name": "x"})),
        credential: Credential::Token(TokenName::new("ci")),
    }
}

async fn outcome(prober: &Prober, request: Request) -> Result<Answer, Failure> {
    let exchange = prober.send(&keyring(), request.clone(), Timestamp(7)).await;
    assert_eq!((&exchange.request, exchange.sent_at), (&request, Timestamp(7)));
    exchange.outcome
}

/// Fails if the text holds eight characters in a row of a secret.
fn assert_clean(text: &str) {
    for secret in [SECRET, OTHER] {
        for start in 0..=secret.len() - 8 {
            assert!(!text.contains(&secret[start..start + 8]), "{text}");
        }
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nobody_is_followed() {
    let (elsewhere, other) = serve(|_| Reply::Close(ok("", "{}"))).await;
    for status in [301, 302, 303, 307, 308] {
        let head = format!("HTTP/1.1 {status} Go\r\nlocation: {elsewhere}/x\r\ncontent-length: 0\r\n\r\n");
        let (endpoint, heard) = serve(move |_| Reply::Keep(head.clone().into_bytes())).await;
        for verb in Verb::ALL {
            let answer = outcome(&prober(&endpoint), request(*verb, "/api/x")).await.expect("an answer");
            assert_eq!(answer.status, status);
        }
        assert_eq!(heard.all().matches("/api/x").count(), 3);
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test starts itself with another environment")]
async fn the_environment_names_no_proxy() {
    // The environment of this very process cannot be changed, so that another one runs a test of ours.
    let (proxy, heard) = serve(|_| Reply::Close(ok("", "{}"))).await;
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, &proxy);
    }
    command.env_remove("NO_PROXY").env_remove("no_proxy");
    command.args(["--exact", "probe::tests::reads_share_a_connection_and_changes_never_do"]);
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = run.await.expect("ends").expect("runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    assert_eq!(heard.connections(), 0);
}

#[tokio::test]
async fn the_one_proxy_of_the_settings_is_used() {
    let (proxy, heard) = serve(|_| Reply::Close(ok("", "{}"))).await;
    let prober =
        Prober::new(Settings { proxy: Some(proxy), ..settings("http://hub.invalid") }).expect("a prober");
    assert_eq!(outcome(&prober, request(Verb::Get, "/api/x")).await.expect("an answer").status, 200);
    assert!(heard.all().starts_with("GET http://hub.invalid/api/x HTTP/1.1\r\n"), "{}", heard.all());
}

#[tokio::test]
async fn reads_share_a_connection_and_changes_never_do() {
    let (endpoint, heard) = serve(|_| Reply::Keep(ok("set-cookie: a=b\r\n", "{}"))).await;
    let prober = prober(&endpoint);
    for _ in 0..3 {
        outcome(&prober.clone(), request(Verb::Get, "/api/x?y=z")).await.expect("an answer");
    }
    assert_eq!(heard.connections(), 1);
    for verb in [Verb::Post, Verb::Delete, Verb::Post] {
        outcome(&prober, request(verb, "/api/x")).await.expect("an answer");
    }
    assert_eq!(heard.connections(), 4);
    outcome(&prober, request(Verb::Get, "/api/x")).await.expect("an answer");
    assert_eq!(heard.connections(), 4);
    let wire = heard.all().to_ascii_lowercase();
    assert_eq!(wire.matches(&format!("authorization: bearer {SECRET}\r\n")).count(), 7);
    assert_eq!(wire.matches("accept-encoding: identity\r\n").count(), 7);
    assert_eq!(wire.matches("user-agent: scopewatch/test\r\n").count(), 7);
    assert_eq!(wire.matches(r#"{"name":"x"}"#).count(), 3);
    for never in ["cookie", "referer", "expect:", "http/1.0"] {
        assert!(!wire.contains(never), "{wire}");
    }
}

#[tokio::test]
async fn anonymous_means_no_authorization_at_all() {
    let (endpoint, heard) = serve(|_| Reply::Close(ok("", "{}"))).await;
    let request = Request { credential: Credential::Anonymous, ..request(Verb::Get, "/api/x") };
    outcome(&prober(&endpoint), request).await.expect("an answer");
    assert!(!heard.all().to_ascii_lowercase().contains("authorization"));
}

#[tokio::test]
async fn what_must_not_leave_does_not_leave() {
    let (endpoint, heard) = serve(|_| Reply::Close(ok("", "{}"))).await;
    let leashed = Prober::new(Settings { read_only: true, ..settings(&endpoint) }).expect("a prober");
    for verb in [Verb::Post, Verb::Delete] {
        // Before anything else: not even the path is looked at.
        assert_eq!(outcome(&leashed, request(verb, "//evil")).await, Err(Failure::ReadOnly));
    }
    let port = endpoint.rsplit(':').next().expect("a port").to_owned();
    for path in [
        format!("@127.0.0.1:{port}/"),
        format!("//127.0.0.1:{port}/"),
        format!("/\\127.0.0.1:{port}/"),
        "/../x".into(),
        "/x\r\nhost: evil".into(),
        "x".into(),
    ] {
        assert_eq!(
            outcome(&prober(&endpoint), request(Verb::Get, &path)).await,
            Err(Failure::Unsent),
            "{path}"
        );
    }
    for name in ["broken", "absent"] {
        let credential = Credential::Token(TokenName::new(name));
        let request = Request { credential, ..request(Verb::Get, "/api/x") };
        assert_eq!(outcome(&prober(&endpoint), request).await, Err(Failure::NoSecret));
    }
    assert_eq!(heard.connections(), 0);
    assert_eq!(outcome(&leashed, request(Verb::Get, "/x")).await.expect("reads go on").status, 200);
}

#[tokio::test]
async fn every_broken_answer_is_a_failure_of_its_kind() {
    let head = "HTTP/1.1 200 OK\r\n";
    let text = |text: String| text.into_bytes();
    let flood: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let chunk =
        format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n", BODY_LIMIT, "x".repeat(BODY_LIMIT));
    let table: Vec<(&str, Reply, Failure)> = vec![
        ("cut", Reply::Close(text(format!("{head}content-length: 9\r\n\r\nabc"))), Failure::Lost),
        (
            "cut chunk",
            Reply::Close(text(format!("{head}transfer-encoding: chunked\r\n\r\n9\r\nabc"))),
            Failure::Lost,
        ),
        (
            "bad chunk",
            Reply::Close(text(format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\nabc"))),
            Failure::Lost,
        ),
        ("cut head", Reply::Close(text(head.into())), Failure::Lost),
        ("nothing", Reply::Close(Vec::new()), Failure::Lost),
        ("garbage", Reply::Close(text("220 mail.example ESMTP\r\n\r\n".into())), Failure::Lost),
        ("header flood", Reply::Close(text(format!("{head}{flood}\r\n"))), Failure::Lost),
        ("reset", Reply::Reset(Vec::new()), Failure::Lost),
        ("reset in body", Reply::Reset(text(format!("{head}content-length: 9\r\n\r\nabc"))), Failure::Lost),
        ("silence", Reply::Hang(Vec::new()), Failure::Timeout),
        ("half a body", Reply::Hang(text(format!("{head}content-length: 9\r\n\r\nabc"))), Failure::Timeout),
        (
            "announced",
            Reply::Hang(text(format!("{head}content-length: {}\r\n\r\n", BODY_LIMIT + 1))),
            Failure::Oversized,
        ),
        ("endless", Reply::Hang(text(format!("{head}{chunk}1\r\nx\r\n"))), Failure::Oversized),
        ("gzip", Reply::Hang(ok("content-encoding: gzip\r\n", "x")), Failure::Oversized),
        ("two codings", Reply::Hang(ok("content-encoding: identity, br\r\n", "x")), Failure::Oversized),
        (
            "transfer coding",
            Reply::Hang(text(format!("{head}transfer-encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"))),
            Failure::Oversized,
        ),
    ];
    for (name, reply, failure) in table {
        for verb in [Verb::Get, Verb::Post] {
            let reply = reply.clone();
            let (endpoint, heard) = serve(move |_| reply.clone()).await;
            let prober = if failure == Failure::Timeout { hasty(&endpoint) } else { prober(&endpoint) };
            let found = outcome(&prober, request(verb, "/api/x")).await;
            assert_eq!(found, Err(failure), "{name} {verb}");
            assert_eq!(heard.all().matches(" /api/x ").count(), 1, "{name}: sent once, never again");
        }
    }
    assert_eq!(outcome(&prober("http://127.0.0.1:1"), request(Verb::Post, "/x")).await, Err(Failure::Unsent));
    assert_eq!(outcome(&prober("http://hub.invalid"), request(Verb::Post, "/x")).await, Err(Failure::Unsent));
}

#[tokio::test]
async fn a_deadline_is_one_for_all_and_is_told_as_elapsed() {
    let (endpoint, _) =
        serve(|_| Reply::Hang(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab".to_vec())).await;
    let exchange = hasty(&endpoint).send(&keyring(), request(Verb::Get, "/x"), Timestamp(0)).await;
    assert_eq!(exchange.outcome, Err(Failure::Timeout));
    assert!((500..10_000).contains(&exchange.elapsed.as_millis()), "{:?}", exchange.elapsed);
}

#[tokio::test]
async fn a_parser_that_never_pauses_holds_up_no_deadline_and_nobody_else() {
    let endpoint = flood(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", vec![b'0'; 1 << 20]);
    let prober = hasty(&endpoint);
    // More of them than there are threads for connections.
    let mut flights = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let prober = prober.clone();
        flights.spawn(async move { prober.send(&keyring(), request(Verb::Get, "/x"), Timestamp(0)).await });
    }
    while let Some(exchange) = flights.join_next().await {
        let exchange = exchange.expect("ends");
        assert_eq!(exchange.outcome, Err(Failure::Timeout));
        assert!(exchange.elapsed < Duration::from_secs(10), "{:?}", exchange.elapsed);
    }
}

#[tokio::test]
async fn an_answer_is_read_whole_and_cut_to_what_is_needed() {
    let long = "l".repeat(5000);
    let headers = format!(
        "Content-Type: Application/JSON; charset=UTF-8\r\nX-Error-Code: {long}\r\nX-Error-Message: a\tb\u{e9}\r\n\
         X-Amz-Cf-Id: later\r\nX-Amzn-Trace-Id: {long}\r\nRateLimit: \"api\";r=0;t=55\r\nRetry-After: 7\r\n\
         RateLimit-Policy: p\r\nLink: <{long}>\r\nContent-Encoding: Identity\r\n"
    );
    let body = "ä".repeat(BODY_LIMIT / 2);
    let answer = ok(&headers, &body);
    let (endpoint, _) = serve(move |_| Reply::Keep(answer.clone())).await;
    let answer = outcome(&prober(&endpoint), request(Verb::Get, "/x")).await.expect("an answer");
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/json"));
    assert_eq!(answer.error_code.as_deref().map(str::len), Some(256));
    assert_eq!(answer.error_message.as_deref(), Some("a?b??"));
    assert_eq!(answer.request_id.as_deref(), Some(&long[..128]));
    assert_eq!(answer.rate_limit.as_deref(), Some("\"api\";r=0;t=55"));
    assert_eq!((answer.rate_limit_policy.as_deref(), answer.retry_after.as_deref()), (Some("p"), Some("7")));
    assert_eq!(answer.link.as_deref().map(str::len), Some(4096));
    assert_eq!(answer.body.len(), BODY_LIMIT);

    for (kind, kept) in
        [("image/png", 1024), ("", 1024), ("text/html", 2000), ("application/problem+json", 2000)]
    {
        let answer = ok(&format!("content-type: {kind}\r\n"), &"x".repeat(2000));
        let (endpoint, _) = serve(move |_| Reply::Keep(answer.clone())).await;
        let answer = outcome(&prober(&endpoint), request(Verb::Get, "/x")).await.expect("an answer");
        assert_eq!(answer.body.len(), kept, "{kind}");
    }
}

#[tokio::test]
async fn what_would_become_huge_is_no_answer() {
    let zeros = |count: usize| format!("[{}0]", "0,".repeat(count));
    for (headers, body, fine) in [
        (format!("x-filler: {}\r\n", "y".repeat(60_000)), String::new(), true),
        (format!("x-filler: {}\r\n", "y".repeat(66_000)), String::new(), false),
        ("x-filler: yyyyyyyyyy\r\n".repeat(40), String::new(), true),
        (String::new(), zeros(30_000), true),
        (String::new(), zeros(33_000), false),
        (String::new(), format!("[{}]", "[],".repeat(17_000)), false),
        (String::new(), "{\"a\":".repeat(33_000), false),
        (String::new(), format!("\"{}\"", ":".repeat(BODY_LIMIT - 100)), true),
    ] {
        let answer = ok(&format!("content-type: application/json\r\n{headers}"), &body);
        let (endpoint, _) = serve(move |_| Reply::Keep(answer.clone())).await;
        let found = outcome(&prober(&endpoint), request(Verb::Get, "/x")).await;
        assert_eq!(found.err(), (!fine).then_some(Failure::Oversized), "{} {}", headers.len(), body.len());
    }
    // What is no JSON is never read as such.
    let answer = ok("content-type: text/plain\r\n", &zeros(100_000));
    let (endpoint, _) = serve(move |_| Reply::Keep(answer.clone())).await;
    assert!(outcome(&prober(&endpoint), request(Verb::Get, "/x")).await.is_ok());
}

#[tokio::test]
async fn json_in_no_utf_8_is_no_json_and_text_is_mended() {
    for (kind, kept) in
        [("application/json", ""), ("application/problem+json", ""), ("text/html", "text/html")]
    {
        let mut answer = ok(&format!("content-type: {kind}; charset=utf-8\r\n"), "{\"id\":\"acme/?x\"}");
        let at = answer.iter().rposition(|byte| *byte == b'?').expect("a mark");
        answer[at] = 0xFF;
        let (endpoint, _) = serve(move |_| Reply::Keep(answer.clone())).await;
        let answer = outcome(&prober(&endpoint), request(Verb::Get, "/x")).await.expect("an answer");
        assert_eq!((answer.content_type.as_str(), answer.body.contains('\u{FFFD}')), (kept, true), "{kind}");
    }
}

#[tokio::test]
async fn a_secret_that_is_echoed_does_not_leave_the_room() {
    // Placed so that a cut before the scrub would leave half of it.
    let (fore, late) = ("f".repeat(250), "i".repeat(120));
    let (link, opaque) = ("k".repeat(4090), "o".repeat(1015));
    for kind in ["application/json", "image/png", SECRET] {
        let (fore, late, link, opaque) = (fore.clone(), late.clone(), link.clone(), opaque.clone());
        let (endpoint, heard) = serve(move |_| {
            let headers = format!(
                "content-type: {kind}\r\nx-error-code: {SECRET}\r\nx-error-message: {fore}{SECRET}\r\n\
                 x-request-id: {late}{OTHER}\r\nratelimit: {SECRET}\r\nratelimit-policy: {SECRET}\r\n\
                 retry-after: {SECRET}\r\nlink: {link}{SECRET}\r\n"
            );
            Reply::Keep(ok(&headers, &format!("{opaque}{SECRET} Bearer {SECRET}{OTHER}\u{e4}")))
        })
        .await;
        let answer = outcome(&prober(&endpoint), request(Verb::Get, "/x")).await.expect("an answer");
        assert!(heard.all().contains(SECRET), "it was sent");
        assert_clean(&format!("{answer:?}"));
        assert_eq!(answer.error_code.as_deref(), Some("[redacted]"));
        assert!(answer.body.contains("[redacted"));
    }
}

#[tokio::test]
async fn a_secret_that_is_echoed_in_another_spelling_does_not_leave_the_room_either() {
    let spelled = |each: &dyn Fn(char) -> String| SECRET.chars().map(each).collect::<String>();
    let minted = "hf_AnotherTokenThatNobodyKnows0123456";
    for text in [
        spelled(&|c| format!("\\u{:04x}", u32::from(c))),
        spelled(&|c| format!("\\\\u{:04X}", u32::from(c))),
        spelled(&|c| format!("%{:02x}", u32::from(c))),
        spelled(&|c| format!("{c}\u{200b}")),
        spelled(&|c| format!("{c}\\n")),
        minted.to_owned(),
    ] {
        let body = format!("{{\"displayName\":\"{text}\",\"other\":1}}");
        let told = ok(&format!("content-type: application/json\r\nlink: <x?c={minted}>\r\n"), &body);
        let (endpoint, _) = serve(move |_| Reply::Keep(told.clone())).await;
        let answer = outcome(&prober(&endpoint), request(Verb::Get, "/x")).await.expect("an answer");
        let read: serde_json::Value = serde_json::from_str(&answer.body).expect("still JSON");
        let name = read["displayName"].as_str().expect("a text").replace(char::is_control, "");
        assert!(name.starts_with("[redacted]") && name.len() < 14, "{name}");
        assert_eq!((read["other"].as_u64(), answer.link.as_deref()), (Some(1), Some("<x?c=[redacted]>")));
    }
}

#[tokio::test]
async fn nothing_of_ours_prints_a_secret() {
    let proxy = format!("http://user:{OTHER}@127.0.0.1:1");
    let all = Settings { proxy: Some(proxy), ..settings("https://hub.invalid") };
    let prober = Prober::new(all.clone()).expect("a prober");
    let request = request(Verb::Post, "/x");
    let ready = prober.0.prepare(&request, keyring().get(&TokenName::new("ci"))).expect("ready");
    assert!(ready.headers()[AUTHORIZATION].is_sensitive());
    let mut told = format!("{all:#?} {prober:?} {:#?} {ready:?} {:?}", keyring(), ready.headers());
    for fault in [
        Settings { proxy: Some(format!("nonsense://{OTHER}@x:y")), ..all.clone() },
        Settings { endpoint: format!("https://{SECRET}@hub.invalid"), ..all.clone() },
        Settings { user_agent: format!("{SECRET}\n"), ..all.clone() },
        Settings { ca_files: vec![SECRET.into()], ..all },
    ] {
        let fault = Prober::new(fault).expect_err("a fault");
        told.push_str(&format!("{fault:?} {fault}"));
    }
    let exchange = prober.send(&keyring(), request, Timestamp(0)).await;
    assert_clean(&format!("{told} {exchange:?}"));
}

#[test]
fn its_future_can_be_spawned() {
    fn sendable<T: Send + Sync>(value: T) -> T {
        value
    }
    let (prober, keyring) = (sendable(prober("http://127.0.0.1:1")), sendable(keyring()));
    fn spawnable<T: Send>(_: &T) {}
    spawnable(&prober.send(&keyring, request(Verb::Get, "/x"), Timestamp(0)));
}

/// Connecting takes time: what may not leave any more when the connection stands is not written.
#[tokio::test]
async fn a_request_that_may_not_leave_any_more_is_never_written() {
    let (endpoint, heard) = serve(|_| Reply::Close(ok("", "{}"))).await;
    let prober = prober(&endpoint);
    for verb in [Verb::Post, Verb::Delete] {
        let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let before = heard.connections();
        let count = asked.clone();
        let may_leave: Arc<MayLeave> = Arc::new(move || {
            let first = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
            Box::pin(async move { !first })
        });
        let kept = prober.send_if(&keyring(), request(verb, "/kept"), Timestamp(0), may_leave.clone()).await;
        assert_eq!(kept.outcome, Err(Failure::Stale), "{verb}");
        let sent = prober.send_if(&keyring(), request(verb, "/sent"), Timestamp(0), may_leave).await;
        assert_eq!(sent.outcome.map(|answer| answer.status), Ok(200), "{verb}");
        assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 2, "once for each");
        assert_eq!(heard.connections(), before + 2, "the connection stood when it was asked");
    }
    assert!(heard.all().contains("/sent") && !heard.all().contains("/kept"), "{}", heard.all());
}

#[test]
fn what_is_shown_of_settings_and_prober_tells_them_apart_and_holds_no_password() {
    let proxy = Some("http://user:a-password@proxy:3128".to_owned());
    let settings = Settings { proxy, read_only: true, ..settings("http://127.0.0.1:9") };
    let shown = format!("{settings:?}");
    assert!(shown.contains("request_timeout: 20s") && shown.contains("read_only: true"), "{shown}");
    assert!(shown.contains("proxy: true") && !shown.contains("a-password"), "{shown}");
    let prober = prober("http://127.0.0.1:9");
    assert_eq!(format!("{prober:?}"), "Prober(http://127.0.0.1:9, read_only: false)");
}

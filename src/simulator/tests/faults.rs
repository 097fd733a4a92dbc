//! Faults as a raw client meets them on the wire. Time is paused, so hours pass at once.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<std::io::Result<()>>,
}

/// What came before the connection ended, and how it ended.
struct Heard {
    text: String,
    end: Result<(), ErrorKind>,
}

impl Heard {
    fn status(&self) -> u16 {
        self.text.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").unwrap().1
    }
}

impl Running {
    #[expect(clippy::disallowed_methods, reason = "a test may spawn")]
    async fn start() -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let world = World::from_yaml(WORLD).unwrap();
        let ended = tokio::spawn(crate::simulator::serve(listener, world, async { drop(stopped.await) }));
        Running { address, stop, ended }
    }

    async fn send(&self, method: &str, path: &str, secret: &str, body: &Value) -> TcpStream {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nAuthorization: Bearer {secret}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn hear(&self, method: &str, path: &str, secret: &str, body: Value) -> Heard {
        let mut stream = self.send(method, path, secret, &body).await;
        let mut bytes = Vec::new();
        let end = stream.read_to_end(&mut bytes).await.map(drop).map_err(|error| error.kind());
        Heard { text: String::from_utf8(bytes).unwrap(), end }
    }

    async fn get(&self, path: &str) -> Heard {
        self.hear("GET", path, "s-writer", Value::Null).await
    }

    async fn create(&self, name: &str) -> Heard {
        self.hear("POST", "/api/repos/create", "s-writer", json!({"name": name})).await
    }

    async fn order(&self, faults: Value) {
        let heard = self.hear("POST", "/_sim/faults", "", json!({"faults": faults})).await;
        assert_eq!(heard.status(), 200, "{}", heard.text);
    }

    async fn world(&self) -> Value {
        serde_json::from_str(self.get("/_sim/world").await.body()).unwrap()
    }

    async fn exists(&self, name: &str) -> bool {
        !self.world().await["repos"][format!("wim/{name}")].is_null()
    }

    /// Asks until the world is as wanted, without letting time pass.
    async fn until(&self, wanted: impl Fn(&Value) -> bool) {
        for _ in 0..1000 {
            if wanted(&self.world().await) {
                return;
            }
        }
        panic!("the world never became as wanted");
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap().unwrap();
    }
}

const READ: &str = "/api/models/acme/public";

#[tokio::test(start_paused = true)]
async fn an_honest_answer_carries_the_common_headers() {
    let running = Running::start().await;
    let heard = running.get(READ).await;
    assert_eq!((heard.status(), heard.end), (200, Ok(())));
    for part in ["x-request-id: Root=1-", "ratelimit: \"api\";r=5999;", "ratelimit-policy: \"fixed window\""]
    {
        assert!(heard.text.contains(part), "{part} in {}", heard.text);
    }
    let made = running.create("fresh").await;
    assert!(made.body().contains(&format!("http://{}/wim/fresh", running.address)), "{}", made.text);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_a_reset_and_takes_effect_only_when_asked() {
    let running = Running::start().await;
    let rows = [
        ("reset", Value::Null, false),
        ("reset", json!("after"), true),
        ("create_then_drop", Value::Null, true),
    ];
    for (at, (kind, apply, effect)) in rows.into_iter().enumerate() {
        running.order(json!([{"route": "create", "kind": kind, "apply": apply}])).await;
        let name = format!("fresh-{at}");
        let heard = running.create(&name).await;
        assert_eq!((heard.text.as_str(), heard.end), ("", Err(ErrorKind::ConnectionReset)), "{kind}");
        assert_eq!(running.exists(&name).await, effect, "{kind} {apply}");
    }
    let requests: Value = serde_json::from_str(running.get("/_sim/requests").await.body()).unwrap();
    assert_eq!((&requests[0]["status"], &requests[0]["fault"]), (&Value::Null, &json!("reset")));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_body_promises_more_than_it_gives() {
    let running = Running::start().await;
    running.order(json!([{"route": "create", "kind": "cut_body"}])).await;
    let heard = running.create("fresh").await;
    assert_eq!(heard.status(), 200);
    let promised = heard.text.split("content-length: ").nth(1).unwrap();
    let promised: usize = promised.split("\r\n").next().unwrap().parse().unwrap();
    assert_eq!(heard.body().len(), promised / 2, "{}", heard.text);
    assert!(running.exists("fresh").await);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn disfigured_answers() {
    let running = Running::start().await;
    let rows = [
        (json!({"kind": "status"}), 500, "Internal Server Error"),
        (json!({"kind": "status", "status": 429, "headers": {"Retry-After": "9"}}), 429, "retry-after: 9"),
        (json!({"kind": "status", "status": 404, "body": {"detail": "odd"}}), 404, "{\"detail\":\"odd\"}"),
        (
            json!({"kind": "status", "status": 403, "headers": {"X-Error-Code": "Odd"}}),
            403,
            "x-error-code: Odd",
        ),
        (json!({"kind": "html", "status": 405}), 405, "text/html"),
        (json!({"kind": "wrong_shape"}), 200, "{\"unexpected\":true}"),
        (json!({"kind": "wrong_shape", "body": "plain"}), 200, "\r\n\r\nplain"),
        (json!({"kind": "redirect"}), 307, "/elsewhere"),
        (
            json!({"kind": "redirect", "status": 302, "headers": {"Location": "http://x/"}}),
            302,
            "location: http://x/\r\n",
        ),
    ];
    for (mut fault, status, part) in rows {
        fault["route"] = json!("read");
        let case = fault.to_string();
        running.order(json!([fault])).await;
        let heard = running.get(READ).await;
        assert_eq!((heard.status(), heard.end), (status, Ok(())), "{case}");
        assert!(heard.text.contains(part), "{case}: {}", heard.text);
        assert!(heard.text.contains("ratelimit: "), "{case}");
    }
    running.order(json!([])).await;
    assert_eq!(running.get(READ).await.status(), 200);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_status_leaves_things_as_they_are_unless_it_comes_after() {
    let running = Running::start().await;
    for (apply, effect) in [("before", false), ("after", true)] {
        running.order(json!([{"route": "create", "kind": "status", "status": 502, "apply": apply}])).await;
        assert_eq!(running.create(apply).await.status(), 502);
        assert_eq!(running.exists(apply).await, effect, "{apply}");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_strikes_whom_it_names_and_as_often_as_it_says() {
    let running = Running::start().await;
    running
        .order(json!([
            {"route": "read", "kind": "status", "token": "reader", "status": 501},
            {"route": "*", "kind": "status", "method": "delete", "status": 502},
            {"route": "*", "kind": "status", "contains": "gated", "status": 503},
            {"route": "read", "kind": "status", "skip": 1, "times": 1, "status": 504},
        ]))
        .await;
    let rows = [
        ("GET", READ, "s-reader", 501),
        ("DELETE", "/api/repos/delete", "s-writer", 502),
        ("GET", "/api/models/acme/gated", "s-writer", 503),
        ("GET", READ, "s-writer", 200),
        ("GET", READ, "s-writer", 504),
        ("GET", READ, "s-writer", 200),
    ];
    for (at, (method, path, secret, status)) in rows.into_iter().enumerate() {
        assert_eq!(running.hear(method, path, secret, Value::Null).await.status(), status, "row {at}");
    }
    for wrong in [
        json!({"route": "odd", "kind": "reset"}),
        json!({"route": "*", "kind": "odd"}),
        json!({"route": "*", "kind": "reset", "token": "odd"}),
        json!({"route": "*"}),
    ] {
        let heard = running.hear("POST", "/_sim/faults", "", json!({"faults": [wrong]})).await;
        assert_eq!(heard.status(), 400, "{}", heard.text);
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_delayed_answer_comes_late() {
    let running = Running::start().await;
    for apply in ["before", "after"] {
        let delay = json!({"route": "read", "kind": "delay", "delay_ms": 3_600_000, "apply": apply});
        running.order(json!([delay])).await;
        let began = Instant::now();
        assert_eq!(running.get(READ).await.status(), 200);
        assert!(began.elapsed() >= HOUR, "{apply}");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_delayed_request_takes_effect_though_the_client_gave_up() {
    let running = Running::start().await;
    running.order(json!([{"route": "create", "kind": "delay", "delay_ms": 3_600_000}])).await;
    let wish = json!({"name": "late"});
    drop(running.send("POST", "/api/repos/create", "s-writer", &wish).await);
    // It has arrived when the journal has it; until then no time must pass.
    running.until(|world| world["counters"]["requests"] == 1).await;
    assert!(!running.exists("late").await);
    tokio::time::sleep(HOUR + Duration::from_secs(1)).await;
    assert!(running.exists("late").await);
    running.stop().await;
}

/// The answer, or the broken connection, comes at once and says nothing of what happens an hour later.
#[tokio::test(start_paused = true)]
async fn a_request_takes_effect_after_its_fault_was_seen() {
    let running = Running::start().await;
    let cases = [("status", Some(504)), ("reset", None), ("html", Some(200)), ("hang", None)];
    for (kind, status) in cases {
        running
            .order(json!([{"route": "create", "kind": kind, "status": status, "late_ms": 3_600_000}]))
            .await;
        let wish = json!({"name": kind});
        let mut stream = running.send("POST", "/api/repos/create", "s-writer", &wish).await;
        if kind == "hang" {
            running.until(|world| world["counters"]["requests"] == cases.len()).await;
        } else {
            let mut text = String::new();
            let end = stream.read_to_string(&mut text).await;
            assert_eq!(end.is_ok(), kind != "reset", "{kind}");
            assert!(status.is_none_or(|status| text.starts_with(&format!("HTTP/1.1 {status}"))), "{text}");
        }
        assert!(!running.exists(kind).await, "{kind}");
        tokio::time::sleep(HOUR + Duration::from_secs(1)).await;
        assert!(running.exists(kind).await, "{kind}");
    }
    let through = json!([{"route": "create", "kind": "create_then_drop", "late_ms": 1}]);
    let refused = running.hear("POST", "/_sim/faults", "", json!({"faults": through})).await;
    assert_eq!(refused.status(), 400, "it has taken effect by then");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_creation_under_way_locks_its_user_out() {
    let running = Running::start().await;
    let slow =
        json!({"route": "create", "kind": "delay", "delay_ms": 3_600_000, "apply": "after", "times": 1});
    running.order(json!([slow])).await;
    let mut first = running.send("POST", "/api/repos/create", "s-writer", &json!({"name": "one"})).await;
    running.until(|world| !world["repos"]["wim/one"].is_null()).await;
    let second = running.create("two").await;
    assert_eq!(second.status(), 409);
    assert!(second.body().contains("another conflicting operation is in progress"), "{}", second.text);
    let mut text = String::new();
    first.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"));
    assert_eq!(running.create("two").await.status(), 200);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn silence_lasts_and_does_not_hold_up_the_end() {
    let running = Running::start().await;
    for (apply, effect) in [("before", false), ("after", true)] {
        running.order(json!([{"route": "create", "kind": "hang", "apply": apply}])).await;
        assert!(tokio::time::timeout(24 * HOUR, running.create(apply)).await.is_err());
        assert_eq!(running.exists(apply).await, effect, "{apply}");
    }
    let open = running.send("POST", "/api/repos/create", "s-writer", &json!({"name": "x"})).await;
    running.stop().await;
    drop(open);
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_fault_strikes_every_family() {
    let running = Running::start().await;
    let group = crate::simulator::id::resource_group("acme", "lab");
    let rows = [
        ("whoami", "GET", "/api/whoami-v2".to_owned()),
        ("auth-check", "POST", "/api/jobs/acme/auth-check/write".to_owned()),
        ("auth-check", "POST", "/api/inference-endpoints/acme/auth-check/infer".to_owned()),
        ("organization", "GET", "/api/organizations/acme/service-accounts".to_owned()),
        ("organization", "GET", format!("/api/organizations/acme/resource-groups/{group}")),
        ("organization", "GET", "/api/organizations/acme/billing/usage/live".to_owned()),
        ("user", "GET", "/api/settings/billing/usage".to_owned()),
        ("branch", "POST", "/api/models/acme/private/tag/main".to_owned()),
        ("settings", "PUT", "/api/models/acme/private/settings".to_owned()),
        ("read", "GET", "/api/models/acme/gated/user-access-request/pending".to_owned()),
    ];
    for (family, method, path) in rows {
        for (kind, status) in [("status", 500), ("wrong_shape", 200), ("redirect", 307), ("html", 200)] {
            running.order(json!([{"route": family, "kind": kind, "times": 1}])).await;
            let heard = running.hear(method, &path, "s-admin", Value::Null).await;
            assert_eq!(heard.status(), status, "{kind} on {path}");
        }
        for kind in ["reset", "create_then_drop"] {
            running.order(json!([{"route": family, "kind": kind, "times": 1}])).await;
            let heard = running.hear(method, &path, "s-admin", Value::Null).await;
            assert_eq!(heard.end, Err(ErrorKind::ConnectionReset), "{kind} on {path}");
        }
        running.order(json!([{"route": family, "kind": "delay", "delay_ms": 5000, "times": 1}])).await;
        let before = Instant::now();
        running.hear(method, &path, "s-admin", Value::Null).await;
        assert!(before.elapsed() >= Duration::from_secs(5), "{path}");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_made_or_taken_away_takes_a_while_to_show() {
    let running = Running::start().await;
    running
        .order(json!([
            {"route": "create", "kind": "lag", "delay_ms": 60_000, "times": 1},
            {"route": "delete", "kind": "lag", "delay_ms": 60_000, "times": 1},
        ]))
        .await;
    let fresh = "/api/models/wim/fresh";
    let listed = async || running.get("/api/models?author=wim").await.body().contains("wim/fresh");
    assert_eq!(running.create("fresh").await.status(), 200);
    assert_eq!((running.get(fresh).await.status(), listed().await), (404, false));
    // Who makes it again meets the truth.
    assert_eq!(running.create("fresh").await.status(), 409);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!((running.get(fresh).await.status(), listed().await), (200, true));
    let body = json!({"name": "fresh"});
    let gone = running.hear("DELETE", "/api/repos/delete", "s-writer", body.clone()).await;
    assert_eq!(gone.status(), 200);
    assert_eq!((running.get(fresh).await.status(), listed().await), (200, true));
    // Nobody writes into what is gone, and deleting meets the truth.
    let branch = running.hear("POST", &format!("{fresh}/branch/x"), "s-writer", json!({})).await;
    assert_eq!(branch.status(), 404);
    assert_eq!(running.hear("DELETE", "/api/repos/delete", "s-writer", body).await.status(), 404);
    assert!(!running.exists("fresh").await);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!((running.get(fresh).await.status(), listed().await), (404, false));
    let refused =
        running.hear("POST", "/_sim/faults", "", json!({"faults": [{"route": "read", "kind": "lag"}]})).await;
    assert_eq!(refused.status(), 400);
    running.stop().await;
}

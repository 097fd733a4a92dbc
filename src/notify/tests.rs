//! Deliveries over real sockets: what each kind of sink hears, what its answers mean, and where nothing ever goes.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::access::{Permission, Severity, TokenName};
use crate::alert::message::{AlertKey, AlertName, Tidings, Words};

const NOW: Timestamp = Timestamp(1_795_000_000_000);
const KEY: &str = "a-key-of-the-sink";

/// What a sink heard: the head and the body of each request, or the lines of a mail.
type Heard = Arc<Mutex<Vec<(String, String)>>>;

fn courier() -> Courier {
    // Whoever is second finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Courier::new(&[], "scopewatch").expect("a courier")
}

fn message(tidings: Tidings) -> Message {
    let key = AlertKey {
        name: AlertName::UnexpectedGrant,
        organization: "acme".into(),
        token: Some(TokenName::new("ci")),
        permission: Some(Permission::RepoCreate),
        target: Some("model".into()),
    };
    let words = Words {
        severity: Severity::Critical,
        token_owner: "ml <platform>".into(),
        summary: "token 'ci' of 'acme' has repo.create".into(),
        description: "'ci' can create a model & must not".into(),
        evidence: "POST /api/repos/create 200".into(),
    };
    let since = Timestamp(NOW.millis() - 60_000);
    Message { id: "0123456789abcdef".into(), tidings, key, words, since, at: NOW }
}

fn letter(kind: SinkKind, url: &str, messages: Vec<Message>) -> Letter {
    let secret = |text: &str| Secret::from_bytes(text.as_bytes()).expect("a secret");
    Letter { kind, url: secret(url), secret: Some(secret(KEY)), messages, now: NOW }
}

/// A sink that answers every request with this. Returns where it listens and what it hears.
#[expect(clippy::disallowed_methods, reason = "a server of a test ends with its runtime")]
async fn sink(answer: &'static str) -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address").to_string();
    let heard = Heard::default();
    let memory = heard.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(one(stream, answer, memory.clone()));
        }
    });
    (at, heard)
}

async fn one(stream: TcpStream, answer: &str, heard: Heard) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.and_then(|text| text.trim().parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body).await.expect("the body");
    heard.lock().expect("unbroken").push((lower, String::from_utf8(body).expect("text")));
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// Delivers to a sink that says this; what became of it, and what was heard.
async fn told(
    kind: SinkKind,
    answer: &'static str,
    path: &str,
    messages: Vec<Message>,
) -> (Delivery, String, Value) {
    let (at, heard) = sink(answer).await;
    let delivery = courier().deliver(letter(kind, &format!("http://{at}{path}"), messages)).await.delivery;
    let mut heard = heard.lock().expect("unbroken");
    assert_eq!(heard.len(), 1, "one request is one request");
    let (head, body) = heard.remove(0);
    (delivery, head, serde_json::from_str(&body).expect("JSON"))
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn alertmanager_hears_all_of_it_at_once_with_labels_and_how_long_it_holds() {
    for path in ["", "/", "/prefix", "/prefix/api/v2/alerts"] {
        let two = vec![message(Tidings::Firing), message(Tidings::Resolved)];
        let (delivery, head, body) = told(SinkKind::Alertmanager, OK, path, two).await;
        let base = path.trim_end_matches('/').trim_end_matches("/api/v2/alerts");
        assert!(head.starts_with(&format!("post {base}/api/v2/alerts http/1.1")), "{head}");
        assert!(!head.contains(KEY), "{head}");
        assert_eq!(delivery, Delivery::Taken);
        let labels = json!({
            "alertname": "ScopewatchUnexpectedGrant", "organization": "acme", "token": "ci", "permission": "repo.create",
            "target": "model", "severity": "critical", "token_owner": "ml <platform>",
        });
        assert_eq!((&body[0]["labels"], &body[1]["labels"]), (&labels, &labels));
        assert_eq!(body[0]["annotations"]["evidence"], "POST /api/repos/create 200");
        assert_eq!(body[0]["startsAt"], json!(Timestamp(NOW.millis() - 60_000)));
        assert_eq!(body[0]["endsAt"], json!(NOW + Duration::from_secs(24 * 3600)));
        assert_eq!(body[1]["endsAt"], json!(NOW));
    }
}

#[tokio::test]
async fn a_webhook_hears_a_signed_body_with_the_id_of_the_episode() {
    let (delivery, head, body) =
        told(SinkKind::Webhook, OK, "/hook?x=1", vec![message(Tidings::Firing)]).await;
    assert_eq!(delivery, Delivery::Taken);
    assert!(head.starts_with("post /hook?x=1 http/1.1"), "{head}");
    assert_eq!(
        (&body["schema"], &body["id"], &body["event"]),
        (&json!(1), &json!("0123456789abcdef"), &json!("firing"))
    );
    assert_eq!((&body["endsAt"], &body["at"]), (&Value::Null, &json!(NOW)));
    assert!(head.contains("x-scopewatch-signature: sha256="), "{head}");
    // A vector that others publish, because our own code must not be its own witness.
    let known = "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
    assert_eq!(webhook::sign(b"key", b"The quick brown fox jumps over the lazy dog"), known);
}

#[tokio::test]
async fn slack_hears_escaped_text_and_takes_it_only_by_its_own_word() {
    let (delivery, _, body) = told(SinkKind::Slack, OK, "/services/x", vec![message(Tidings::Firing)]).await;
    assert_eq!(delivery, Delivery::Taken);
    let text = body.to_string();
    assert!(text.contains("ml &lt;platform&gt;") && text.contains("model &amp; must not"), "{text}");
    assert!(body["text"].as_str().is_some_and(|line| line.starts_with("CRITICAL: token 'ci'")), "{text}");
    let page = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>";
    let (delivery, ..) = told(SinkKind::Slack, page, "/", vec![message(Tidings::Resolved)]).await;
    assert_eq!(delivery, Delivery::Later(None));
}

#[tokio::test]
async fn pagerduty_hears_one_incident_by_its_key() {
    for (tidings, action) in
        [(Tidings::Firing, "trigger"), (Tidings::Reminder, "trigger"), (Tidings::Resolved, "resolve")]
    {
        let accepted = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
        let (delivery, _, body) =
            told(SinkKind::Pagerduty, accepted, "/v2/enqueue", vec![message(tidings)]).await;
        assert_eq!(delivery, Delivery::Taken);
        assert_eq!((&body["event_action"], &body["routing_key"]), (&json!(action), &json!(KEY)));
        assert_eq!(
            (&body["dedup_key"], &body["payload"]["severity"]),
            (&json!("0123456789abcdef"), &json!("critical"))
        );
    }
    let (at, heard) = sink(OK).await;
    let without = Letter {
        secret: None,
        ..letter(SinkKind::Pagerduty, &format!("http://{at}"), vec![message(Tidings::Firing)])
    };
    assert_eq!(courier().deliver(without).await.delivery, Delivery::Later(None));
    assert!(heard.lock().expect("unbroken").is_empty());
}

#[tokio::test]
async fn only_a_receipt_is_one_and_only_what_is_wrong_in_itself_is_refused() {
    for (answer, expected) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", Delivery::Taken),
        ("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", Delivery::Refused),
        ("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n", Delivery::Refused),
        ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", Delivery::Later(None)),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", Delivery::Later(None)),
        ("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", Delivery::Later(None)),
        (
            "HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            Delivery::Later(None),
        ),
        (
            "HTTP/1.1 429 Slow down\r\nretry-after: 17\r\ncontent-length: 0\r\n\r\n",
            Delivery::Later(Some(Duration::from_secs(17))),
        ),
        ("", Delivery::Later(None)),
        ("no HTTP at all\r\n\r\n", Delivery::Later(None)),
    ] {
        let (delivery, ..) = told(SinkKind::Webhook, answer, "/", vec![message(Tidings::Firing)]).await;
        assert_eq!(delivery, expected, "{answer:?}");
    }
}

#[tokio::test]
async fn nothing_goes_where_nothing_may_go() {
    for url in [
        "http://169.254.169.254/latest",
        "https://169.254.169.254/latest",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://metadata.google.internal/",
        "http://93.184.215.14/in-the-clear",
        "ftp://127.0.0.1/",
    ] {
        let kept = letter(SinkKind::Webhook, url, vec![message(Tidings::Firing)]);
        assert_eq!(courier().deliver(kept).await, Trouble::Forbidden.into(), "{url}");
    }
    let kept = letter(SinkKind::Webhook, "no-address", vec![message(Tidings::Firing)]);
    assert_eq!(courier().deliver(kept).await, Trouble::Address.into());
}

#[test]
fn no_secret_is_printed() {
    let letter =
        letter(SinkKind::Slack, "https://hooks.example/services/T0/B0/xyzzy", vec![message(Tidings::Firing)]);
    let printed = format!("{letter:?}");
    assert!(!printed.contains("xyzzy") && !printed.contains(KEY), "{printed}");
}

/// A mail server of few words; takes one mail, unless it is to refuse.
#[expect(clippy::disallowed_methods, reason = "a server of a test ends with its runtime")]
async fn mail_server(refuses: bool) -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address").to_string();
    let heard = Heard::default();
    let memory = heard.clone();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 here\r\n").await.expect("it hears");
        let mut inside = false;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                break;
            }
            memory.lock().expect("unbroken").push((String::new(), line.clone()));
            let said = match line.trim_end() {
                "." if inside => {
                    inside = false;
                    "250 taken"
                }
                _ if inside => continue,
                "DATA" => {
                    inside = true;
                    "354 go on"
                }
                "QUIT" => break,
                to if refuses && to.starts_with("RCPT") => "550 no such person",
                hello if hello.starts_with("EHLO") => "250-here\r\n250 AUTH PLAIN",
                auth if auth.starts_with("AUTH") => "235 welcome",
                _ => "250 ok",
            };
            stream.write_all(format!("{said}\r\n").as_bytes()).await.expect("it hears");
        }
    });
    (at, heard)
}

#[tokio::test]
async fn a_mail_goes_from_and_to_whom_the_address_says() {
    let path = "/?from=watch@acme.example&to=a@acme.example,b@acme.example";
    for (refuses, expected) in [(false, Delivery::Taken), (true, Delivery::Later(None))] {
        let (at, heard) = mail_server(refuses).await;
        let mail = letter(SinkKind::Email, &format!("smtp://{at}{path}"), vec![message(Tidings::Firing)]);
        assert_eq!(courier().deliver(mail).await.delivery, expected);
        let lines =
            heard.lock().expect("unbroken").iter().map(|(_, lines)| lines.clone()).collect::<String>();
        if !refuses {
            for part in [
                "MAIL FROM:<watch@acme.example>",
                "RCPT TO:<b@acme.example>",
                "Subject: [FIRING] token 'ci'",
                "Message-ID: <0123456789abcdef.firing.",
            ] {
                assert!(lines.contains(part), "{part}: {lines}");
            }
        }
    }
    let nowhere =
        letter(SinkKind::Email, "smtp://127.0.0.1:9/?from=a@acme.example", vec![message(Tidings::Firing)]);
    assert_eq!(courier().deliver(nowhere).await.delivery, Delivery::Later(None), "nobody to send it to");
}

//! `demo`: the question this project began with, played out loud on an embedded Hub.
//!
//! The real daemon runs in this process; whatever is said of tokens, verdicts and canaries is read back from its
//! own HTTP API. A step that does not come true within its time ends the demo with an error.

use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::app::{Confinement, Daemon, Fault, Start};
use crate::logging::Scrub;
use crate::simulator::{World, serve};

use super::{Exit, asked_to_stop, say};

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Where page, metrics and API listen while the demo runs; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:10847")]
    listen: SocketAddr,
    /// End after the last step instead of going on until Ctrl-C.
    #[arg(long)]
    once: bool,
}

const WORLD: &str = include_str!("../../config/demo-world.yaml");
const CONFIG: &str = include_str!("../../config/demo.yaml");
const TOKEN: &str = "limited-test-token";
/// A step that takes longer has gone wrong.
const STEP: Duration = Duration::from_secs(30);

const HEAD: Style = AnsiColor::Cyan.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

pub(super) async fn run(args: DemoArgs, scrub: Scrub) -> Result<Exit, Fault> {
    let folder = Folder::make()?;
    let hub =
        TcpListener::bind("127.0.0.1:0").await.map_err(|error| internal("no port for the Hub", &error))?;
    let hub_at = hub.local_addr().map_err(|error| internal("no port for the Hub", &error))?;
    let world = World::from_yaml(WORLD).map_err(Fault::Internal)?;
    let mut tasks = JoinSet::new();
    let (end_hub, hub_ends) = oneshot::channel::<()>();
    tasks.spawn(async move {
        // Its end is asked for, or the demo is over; a fault of its own shows in the next step.
        let _ = serve(hub, world, async { drop(hub_ends.await) }).await;
    });
    let config = folder.fill(hub_at, args.listen)?;
    // The Hub in this process listens already, and the demo's directory must go at the end: nothing is given up of writing.
    let start = Start::read(&config, false, Confinement::Calls)?;
    let daemon = Daemon::start(start, scrub).await?;
    let stage = Stage { hub: hub_at, daemon: daemon.address };
    let (end_daemon, daemon_ends) = oneshot::channel::<()>();
    let running = daemon.run(async { drop(daemon_ends.await) });
    let stop = asked_to_stop()?;
    let story = async {
        let played = tell(&stage);
        tokio::pin!(played, stop);
        let result = tokio::select! {
            result = &mut played => match result {
                Ok(()) if !args.once => go_on(&stage).map(|()| true),
                result => result.map(|()| false),
            },
            // In the middle of the story: then the daemon ends cleanly, and the demo says that it did not.
            () = &mut stop => Err(Fault::Interrupted("the demo was stopped before its end".to_owned())),
        };
        if matches!(result, Ok(true)) {
            stop.await;
        }
        // The daemon may have ended by itself; then its own fault is what is told.
        let _ = end_daemon.send(());
        result
    };
    let (ran, told) = tokio::join!(running, story);
    ran?;
    told?;
    stage.nothing_left().await?;
    let _ = end_hub.send(());
    while tasks.join_next().await.is_some() {}
    Ok(Exit::Ok)
}

fn internal(what: &str, error: &std::io::Error) -> Fault {
    Fault::Internal(format!("{what} ({})", error.kind()))
}

/// The demo's own directory: secrets, config, journal. Gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Folder, Fault> {
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce)
            .map_err(|_| Fault::Internal("the system gives no randomness".to_owned()))?;
        let path = std::env::temp_dir().join(format!("scopewatch-demo-{:016x}", u64::from_be_bytes(nonce)));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| internal("the demo's directory cannot be made", &error))?;
        Ok(Folder(path))
    }

    fn fill(&self, hub: SocketAddr, listen: SocketAddr) -> Result<PathBuf, Fault> {
        let folder = self.0.display().to_string();
        let config = CONFIG
            .replace("http://127.0.0.1:8099", &format!("http://{hub}"))
            .replace("listen: 127.0.0.1:10847", &format!("listen: \"{listen}\""))
            .replace("/tmp/scopewatch-demo", &folder);
        self.write("limited-test-token", "hf_demo_limited\n")?;
        self.write("janitor", "hf_demo_janitor\n")?;
        self.write("scopewatch.yaml", &config)?;
        Ok(self.0.join("scopewatch.yaml"))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Fault> {
        let path = self.0.join(name);
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
            .map_err(|error| internal("the demo's files cannot be written", &error))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the system's directory for such things, and holds no real secret.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn go_on(stage: &Stage) -> Result<(), Fault> {
    let at = stage.daemon;
    line(&format!("\nThe daemon goes on. Look at http://{at}/ and http://{at}/metrics; Ctrl-C ends it."))
}

async fn tell(stage: &Stage) -> Result<(), Fault> {
    let at = stage.daemon;
    line(&format!("{HEAD}scopewatch demo{HEAD:#}  everything in this process; no network, no real token"))?;
    line(&format!(
        "{DIM}page http://{at}/   metrics http://{at}/metrics   report http://{at}/api/v1/report{DIM:#}\n"
    ))?;
    first_step(stage).await?;
    second_step(stage).await?;
    third_step(stage).await?;
    fourth_step(stage).await
}

async fn first_step(stage: &Stage) -> Result<(), Fault> {
    line(&format!("{HEAD}1. The question{HEAD:#}"))?;
    let report = stage.until("the first round ends", "/api/v1/report", |report| {
        report["results"].as_array().is_some_and(|results| results.len() == 4)
    });
    let report = report.await?;
    line(
        "   bob may write to the model acme/token-test-model, through the resource group token-test-group.",
    )?;
    line(&format!(
        "   His fine-grained token '{TOKEN}' names neither the model nor acme. What can it really do?"
    ))?;
    line(&format!(
        "   {DIM}The daemon watches {} checks of '{TOKEN}' and knows its whoami: {}.{DIM:#}\n",
        results(&report).len(),
        results(&report).iter().all(|r| r["declared"] == true)
    ))
}

async fn second_step(stage: &Stage) -> Result<(), Fault> {
    line(&format!("{HEAD}2. Expectations hold{HEAD:#}"))?;
    let report = stage.until("all four checks are denied, as expected", "/api/v1/report", |report| {
        let results = results(report);
        results.len() == 4 && results.iter().all(|r| r["verdict"] == "ok" && r["access"] == "denied")
    });
    for result in results(&report.await?) {
        line(&format!("   {GOOD}✓{GOOD:#} {}", sentence(result)))?;
    }
    line("   Creating is denied, and so is writing, although bob himself could write.\n")
}

async fn third_step(stage: &Stage) -> Result<(), Fault> {
    line(&format!("{HEAD}3. Somebody widens the token{HEAD:#}  (scope org:acme, permission repo.write)"))?;
    stage.scopes(&json!([{ "entity": "org:acme", "permissions": ["repo.write"] }])).await?;
    let widened = Instant::now();
    let granted = |r: &Value| r["verdict"] == "unexpected_grant" && r["permission"] == "repo.create";
    let report =
        stage.until("the unexpected grant is found and its canary deleted", "/api/v1/report", |report| {
            results(report).iter().any(|r| granted(r) && r["canary"]["state"] == "deleted")
        });
    let report = report.await?;
    let took = widened.elapsed().as_secs_f64();
    for result in results(&report).iter().filter(|r| r["verdict"] == "unexpected_grant") {
        line(&format!("   {BAD}✗ unexpected grant{BAD:#} {}", sentence(result)))?;
        if let Some(repo) = result["canary"]["repo"].as_str() {
            line(&format!("     {DIM}canary {repo}: {}{DIM:#}", word(&result["canary"]["state"])))?;
        }
    }
    let findings = stage.until("the alert fires", "/api/v1/findings", |findings| {
        lasting(findings).iter().any(|f| f["permission"] == "repo.create")
    });
    for finding in lasting(&findings.await?) {
        line(&format!(
            "   {BAD}alert{BAD:#} {} {}, since {}: {}",
            word(&finding["severity"]),
            word(&finding["kind"]),
            word(&finding["since"]),
            word(&finding["detail"])
        ))?;
    }
    let drift = stage.metric("scopewatch_check_drift", "repo.create").await?;
    line(&format!("   {DIM}{drift}{DIM:#}"))?;
    line(&format!("   Found {took:.1} s after the change; the canary is gone again.\n"))
}

async fn fourth_step(stage: &Stage) -> Result<(), Fault> {
    line(&format!("{HEAD}4. The token is narrowed again{HEAD:#}"))?;
    stage.scopes(&json!([])).await?;
    let findings = stage.until("the alerts resolve", "/api/v1/findings", |findings| {
        lasting(findings).is_empty() && !all(findings).is_empty()
    });
    for finding in all(&findings.await?) {
        line(&format!(
            "   {GOOD}resolved{GOOD:#} {} of {} {}, at {}",
            word(&finding["kind"]),
            word(&finding["permission"]),
            word(&finding["target"]),
            word(&finding["resolved_at"])
        ))?;
    }
    let report =
        stage.until("every check is as expected and no canary is left", "/api/v1/report", |report| {
            results(report).iter().all(|r| r["verdict"] == "ok") && report["canaries"]["unfinished"] == 0
        });
    let report = report.await?;
    line(&format!(
        "   {GOOD}✓{GOOD:#} {} of {} checks as expected, {} canaries unfinished",
        report["summary"]["ok"], report["summary"]["checks"], report["canaries"]["unfinished"]
    ))
}

fn line(text: &str) -> Result<(), Fault> {
    say(&format!("{text}\n")).map(|_| ())
}

fn results(report: &Value) -> &[Value] {
    report["results"].as_array().map_or(&[], Vec::as_slice)
}

fn all(findings: &Value) -> &[Value] {
    findings["findings"].as_array().map_or(&[], Vec::as_slice)
}

fn lasting(findings: &Value) -> Vec<&Value> {
    all(findings).iter().filter(|f| f["kind"] == "unexpected_grant" && f["resolved_at"].is_null()).collect()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("–")
}

fn sentence(result: &Value) -> String {
    let evidence = &result["evidence"][0];
    let reason = result["reason"].as_str().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!(
        "{:<12} {:<24} expected {:<7} found {}{reason}   {DIM}{} {} → {}{DIM:#}",
        word(&result["permission"]),
        word(&result["target"]),
        word(&result["expected"]),
        word(&result["access"]),
        word(&evidence["method"]),
        word(&evidence["path"]),
        evidence["status"]
    )
}

/// Where the pieces listen.
struct Stage {
    hub: SocketAddr,
    daemon: SocketAddr,
}

impl Stage {
    /// Asks the daemon's API until it says so.
    async fn until(&self, what: &str, path: &str, so: impl Fn(&Value) -> bool) -> Result<Value, Fault> {
        let deadline = Instant::now() + STEP;
        loop {
            let (status, body) = fetch(self.daemon, "GET", path, None).await.unwrap_or_default();
            if status == 200
                && let Ok(answer) = serde_json::from_str(&body)
                && so(&answer)
            {
                return Ok(answer);
            }
            if Instant::now() >= deadline {
                return Err(Fault::Internal(format!(
                    "the demo failed: within {} s it did not come true that {what} (GET {path})",
                    STEP.as_secs()
                )));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// One line of the daemon's metrics.
    async fn metric(&self, name: &str, part: &str) -> Result<String, Fault> {
        let (_, body) = fetch(self.daemon, "GET", "/metrics", None).await?;
        body.lines()
            .find(|line| line.starts_with(name) && line.contains(part) && line.ends_with(" 1"))
            .map(str::to_owned)
            .ok_or_else(|| {
                Fault::Internal(format!("the demo failed: /metrics shows no {name} of 1 for {part}"))
            })
    }

    /// Changes the token on the simulated Hub.
    async fn scopes(&self, scopes: &Value) -> Result<(), Fault> {
        let patch = json!({ "tokens": { TOKEN: { "scopes": scopes } } });
        match fetch(self.hub, "PATCH", "/_sim/world", Some(&patch)).await? {
            (200, _) => Ok(()),
            (status, _) => Err(Fault::Internal(format!("the simulated Hub refused a change ({status})"))),
        }
    }

    /// The Hub's own record: nothing of ours is left, and nothing else was touched.
    async fn nothing_left(&self) -> Result<(), Fault> {
        let (_, body) = fetch(self.hub, "GET", "/_sim/world", None).await?;
        let world: Value = serde_json::from_str(&body).unwrap_or_default();
        match world["left_over"].as_array() {
            Some(left) if left.is_empty() => Ok(()),
            Some(left) => {
                Err(Fault::Internal(format!("the demo failed: left on the simulated Hub: {left:?}")))
            }
            None => Err(Fault::Internal("the simulated Hub does not say what is left".to_owned())),
        }
    }
}

/// One request on a connection of its own, to a server of this process.
async fn fetch(
    to: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<(u16, String), Fault> {
    let failed = |what: String| Fault::Internal(format!("{method} {path} failed ({what})"));
    let exchange = async {
        let stream = TcpStream::connect(to).await.map_err(|error| error.kind().to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", to.to_string())
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default())))
            .map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok::<_, String>((status, String::from_utf8_lossy(&bytes).into_owned()))
    };
    timeout(Duration::from_secs(5), exchange)
        .await
        .map_err(|_| failed("no answer in 5 s".to_owned()))?
        .map_err(failed)
}

/// The demo's own config is a config like any other.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_world_is_valid_and_the_config_names_what_is_replaced() {
        assert!(World::from_yaml(WORLD).is_ok());
        for part in ["http://127.0.0.1:8099", "listen: 127.0.0.1:10847", "/tmp/scopewatch-demo/janitor"] {
            assert!(CONFIG.contains(part), "{part}");
        }
    }
}

//! A bench: a simulated Hub on a free port, a directory of secrets and journal, a config between them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::app::{self, Once};
use crate::config::Config;
use crate::logging::Scrub;
use crate::report::Report;
use crate::simulator::{Options, World, serve_with};

/// The whole; its Hub and its directory go with it.
pub struct Bench {
    pub hub: SocketAddr,
    pub folder: PathBuf,
    _serving: JoinSet<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Bench {
    /// Serves this world, and lays out the secret of each of its tokens under `s/NAME`.
    pub async fn of(world: &str, secrets: &[(&str, &str)]) -> Bench {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        crate::probe::install_crypto();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("scopewatch-cli-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("s")).expect("a directory");
        for (name, secret) in secrets {
            std::fs::write(folder.join("s").join(name), secret).expect("a secret");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let hub = listener.local_addr().expect("an address");
        let world = World::from_yaml(world).expect("a world");
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let options = Options { seed: Some(7), ..Options::default() };
            serve_with(listener, world, options, std::future::pending()).await.expect("it serves");
        });
        Bench { hub, folder, _serving: serving }
    }

    /// Writes a config; `HUB` and `DIR` in it become what they are.
    pub fn write(&self, text: &str) -> PathBuf {
        let text = text
            .replace("HUB", &format!("http://{}", self.hub))
            .replace("DIR", &self.folder.display().to_string());
        let path = self.folder.join("scopewatch.yaml");
        std::fs::write(&path, text).expect("a config");
        path
    }

    pub fn load(&self, text: &str) -> Arc<Config> {
        app::load_config(&self.write(text)).unwrap_or_else(|fault| panic!("{fault}")).config
    }

    pub async fn audit(&self, config: Arc<Config>) -> Arc<Report> {
        let once = Once { probe: true, ..Once::default() };
        let done = app::run_once(config, once, Scrub::new(), None, std::future::pending()).await;
        done.expect("it runs").report.expect("a report")
    }

    /// What the Hub saw, oldest first.
    pub async fn requests(&self) -> Vec<Value> {
        let body = self.get("/_sim/requests").await;
        body.as_array().cloned().expect("a list of requests")
    }

    async fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(self.hub).await.expect("the Hub is there");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.hub);
        stream.write_all(request.as_bytes()).await.expect("it takes it");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }
}

/// What is said is what was agreed; build with `SCOPEWATCH_BLESS=1` to write what is said now, then read the
/// difference.
pub fn agreed(name: &str, said: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if option_env!("SCOPEWATCH_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, said).expect("written");
    }
    let agreed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(said, agreed, "{name} is not what was agreed");
}

//! A bare loop: the requests of a file again and again, a typed parse, deadlines; so many in flight, on one thread.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use reqwest::{Certificate, Client};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

#[derive(clap::Args)]
pub struct Options {
    /// Scheme, host and port.
    #[arg(long)]
    base: String,
    /// Paths to GET, one a line, in turn for each token; `{token}` becomes the number of the token.
    #[arg(long)]
    paths: PathBuf,
    /// How many tokens there are, with a secret each.
    #[arg(long)]
    tokens: usize,
    /// Requests to send.
    #[arg(long)]
    count: usize,
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// PEM of whoever is to be trusted beside nobody.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Count answers that hold this text as good ones, instead of parsing them.
    #[arg(long)]
    expect: Option<String>,
}

/// What is read of a refusal.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

struct Asking {
    options: Options,
    paths: Vec<String>,
    client: Client,
    next: Cell<usize>,
    good: Cell<usize>,
}

pub async fn ask(options: Options) {
    let text = std::fs::read_to_string(&options.paths).expect("the file of paths");
    let client = client(&options);
    let paths = text.lines().map(str::to_owned).collect();
    let workers = options.in_flight;
    let asking = Rc::new(Asking { options, paths, client, next: Cell::new(0), good: Cell::new(0) });
    let mut all = Vec::new();
    for _ in 0..workers {
        all.push(tokio::task::spawn_local(worker(asking.clone())));
    }
    for one in all {
        one.await.expect("a worker");
    }
    println!("{}", json!({"sent": asking.options.count, "good": asking.good.get()}));
}

fn client(options: &Options) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let trusted = options.ca.iter().map(|path| {
        let pem = std::fs::read(path).expect("the authority's file");
        Certificate::from_pem(&pem).expect("a certificate")
    });
    Client::builder()
        .user_agent("bare")
        .no_proxy()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(10))
        .connect_timeout(Duration::from_secs(7))
        .tls_certs_only(trusted)
        .build()
        .expect("a client")
}

async fn worker(asking: Rc<Asking>) {
    loop {
        let at = asking.next.get();
        if at >= asking.options.count {
            return;
        }
        asking.next.set(at + 1);
        if one(&asking, at).await == Some(true) {
            asking.good.set(asking.good.get() + 1);
        }
    }
}

/// Whether the answer to request `at` is a good one: understood, or with the text that was expected.
async fn one(asking: &Asking, at: usize) -> Option<bool> {
    let token = at / asking.paths.len() % asking.options.tokens;
    let path = asking.paths.get(at % asking.paths.len())?;
    let url = if path.contains("{token}") {
        format!("{}{}", asking.options.base, path.replace("{token}", &token.to_string()))
    } else {
        format!("{}{path}", asking.options.base)
    };
    let sent = asking.client.get(url).bearer_auth(format_args!("hf_scale_{token:028}")).send().await.ok()?;
    let status = sent.status();
    let body = sent.bytes().await.ok()?;
    if let Some(text) = &asking.options.expect {
        return Some(body.windows(text.len()).any(|part| part == text.as_bytes()));
    }
    if status.is_success() {
        return Some(serde_json::from_slice::<IgnoredAny>(&body).is_ok());
    }
    Some(serde_json::from_slice::<Refusal>(&body).is_ok_and(|refusal| !refusal.error.is_empty()))
}

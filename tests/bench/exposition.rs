//! What the exposition of many checks costs: `cargo bench --bench exposition` (`-- --table`: as `table.py` reads it).
//!
//! Goals: at most 8 times as long as copying the same bytes, no allocation once its buffer is there, and (counted by
//! `tests/bench/instructions.py`, which gives `--once TOKENS`) at most 900 instructions a series. Method: a snapshot of ten
//! thousand tokens with ten checks each, written again and again, the copy in between; medians. Limits: the ratio is of a
//! machine that does nothing else.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench: what it takes is its purpose, and who runs it reads what it says"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scopewatch::access::{CheckKey, Expected, Permission, Severity, TokenName};
use scopewatch::metrics::Metrics;
use scopewatch::moment::Timestamp;
use scopewatch::report::{CheckView, Snapshot, TokenView};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const ROUNDS: usize = 15;

fn view(token: &TokenName, number: usize) -> CheckView {
    CheckView {
        key: CheckKey::new("acme", token.clone(), Permission::RepoRead, format!("acme/some-model-{number}")),
        expected: Expected::Denied,
        allowed: Some(false),
        undetermined: Some(false),
        drift: false,
        last_conclusive: Some(Timestamp(NOW.0 + 123)),
        prediction_mismatch: Some(false),
    }
}

fn token(name: TokenName) -> TokenView {
    TokenView {
        organization: "acme".to_owned(),
        token: name,
        owner: "ml-platform".to_owned(),
        severity: Severity::Critical,
        usable: Some(true),
        declared_drift: Some(false),
        expires_at: None,
        unchecked_permissions: Some(0),
    }
}

fn snapshot(tokens: usize) -> Arc<Snapshot> {
    let names: Vec<TokenName> =
        (0..tokens).map(|number| TokenName::new(&format!("token-{number:06}"))).collect();
    Arc::new(Snapshot {
        checks: names.iter().map(|name| (0..10).map(|number| view(name, number)).collect()).collect(),
        tokens: names.into_iter().map(token).collect(),
        ..Snapshot::default()
    })
}

/// Bytes and lines of it, each piece given back as soon as it was written.
fn write(metrics: &Metrics, snapshot: &Arc<Snapshot>) -> usize {
    metrics.page(|| snapshot.clone(), NOW).text().map(|piece| black_box(piece).len()).sum()
}

fn took<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let done = work();
    (begun.elapsed(), done)
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

struct Figures {
    series: usize,
    bytes: usize,
    copying: Duration,
    writing: Duration,
    /// Each writing as a part of the copying beside it.
    ratio: f64,
    packing: Duration,
}

fn measure(metrics: &Metrics, snapshot: &Arc<Snapshot>) -> Figures {
    let whole = metrics.page(|| snapshot.clone(), NOW).whole();
    let series = whole
        .lines()
        .filter(|line| line.starts_with("scopewatch_check") || line.starts_with("scopewatch_prediction"))
        .count();
    let mut copy = vec![0_u8; whole.len()];
    let (mut writing, mut copying, mut packing, mut ratios) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let copied = took(|| black_box(&mut copy).copy_from_slice(black_box(whole.as_bytes()))).0;
        let (time, bytes) = took(|| write(metrics, snapshot));
        assert_eq!(bytes / 1_000, whole.len() / 1_000, "the counters alone may differ");
        copying.push(copied);
        writing.push(time);
        ratios.push(time.as_secs_f64() / copied.as_secs_f64());
    }
    for _ in 0..3 {
        // Of a snapshot that nobody has asked for yet.
        let fresh = Arc::new(Snapshot::clone(snapshot));
        let page = metrics.page(|| fresh.clone(), NOW);
        packing.push(took(|| black_box(metrics.pack(&page))).0);
    }
    ratios.sort_by(f64::total_cmp);
    Figures {
        series,
        bytes: whole.len(),
        copying: median(copying),
        writing: median(writing),
        ratio: ratios[ratios.len() / 2],
        packing: median(packing),
    }
}

fn main() {
    let metrics = Metrics::new("1", "bench");
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["--once", tokens, ..] = words[..] {
        let tokens = tokens.parse().expect("--once TOKENS");
        println!("{}", write(&metrics, &snapshot(tokens)));
        return;
    }
    let found = measure(&metrics, &snapshot(10_000));
    if words.contains(&"--table") {
        println!("exposition, times as long as copying it\t{:.2}\t<=8\t×", found.ratio);
        println!("exposition, written\t{:.2}\t\tms", 1000.0 * found.writing.as_secs_f64());
        println!("exposition, packed\t{:.2}\t\tms", 1000.0 * found.packing.as_secs_f64());
        println!("exposition, series of 100,000 checks\t{}\t\t", found.series);
        return;
    }
    println!("{} series of checks, {:.1} MB", found.series, found.bytes as f64 / 1e6);
    println!("copied   {:>10.2?}", found.copying);
    println!("written  {:>10.2?}  {:.1} times as long (goal 8)", found.writing, found.ratio);
    println!("packed   {:>10.2?}", found.packing);
}

//! What the pure steps of a probe cost, one by one: `cargo bench --bench pure`.
//!
//! Method: divan, which repeats each until its figure is steady. Of the things that a result passes (classify, compare, pace)
//! and of the two that grow with the tokens (config, exposition). Limits: wall time of this machine, caches warm; no goal is held
//! here. The goals of the exposition are in `exposition.rs`.

#![expect(clippy::expect_used, reason = "a bench: what does not hold ends it")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use scopewatch::access::{Access, CheckKey, Expected, Permission, TokenName, UnknownReason};
use scopewatch::compare::compare;
use scopewatch::config::{NoDisk, Source, parse};
use scopewatch::exchange::{Answer, Failure};
use scopewatch::hub::{classify, probes};
use scopewatch::metrics::Metrics;
use scopewatch::moment::Timestamp;
use scopewatch::pace::{Manner, Pace, Told};
use scopewatch::report::{CheckView, Snapshot};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn main() {
    divan::main();
}

/// A refusal in the Hub's envelope.
fn refused() -> Result<Answer, Failure> {
    let text = "You don't have the required permissions to perform this action";
    Ok(Answer {
        status: 403,
        content_type: "application/json".to_owned(),
        error_message: Some(text.to_owned()),
        rate_limit: Some("\"api\";r=5999;t=271".to_owned()),
        rate_limit_policy: Some("\"fixed window\";\"api\";q=6000;w=300".to_owned()),
        body: format!("{{\"error\":\"{text}\"}}"),
        ..Answer::default()
    })
}

#[divan::bench]
fn classify_a_refused_read(bencher: Bencher<'_, '_>) {
    let (outcome, row) = (refused(), probes::row_of(Permission::JobRead).expect("a row"));
    let asked =
        probes::Asked { organization: "acme", target: &scopewatch::access::Target::Whole, user: Some("bob") };
    bencher.bench(|| row.read(black_box(&outcome), asked, &[]));
}

#[divan::bench]
fn classify_a_refused_creation(bencher: Bencher<'_, '_>) {
    let outcome = refused();
    bencher.bench(|| classify::create(black_box(&outcome), "acme", "scopewatch-canary-1", &[]));
}

#[divan::bench]
fn compare_one() -> [scopewatch::access::Verdict; 2] {
    let found = [Access::Allowed, Access::Undetermined(UnknownReason::Network)];
    found.map(|found| compare(black_box(Expected::Denied), black_box(found)))
}

/// One request and its answer, of a user among so many.
#[divan::bench(args = [1, 1000])]
fn pace_a_request(bencher: Bencher<'_, '_>, users: usize) {
    let names: Vec<String> = (0..users).map(|number| format!("user-{number}")).collect();
    let told = Told {
        remaining: Some(900_000),
        reset: Some(Duration::from_secs(200)),
        quota: Some(1_000_000),
        length: Some(Duration::from_secs(300)),
        took: Duration::from_millis(20),
        refused: None,
    };
    let (mut pace, mut at, mut turn) = (Pace::new(1.0), Duration::from_secs(1), 0);
    bencher.bench_local(|| {
        let user = &names[turn % users];
        (turn, at) = (turn + 1, at + Duration::from_micros(10));
        if pace.may(user, Manner::AtOnce, at).is_ok() {
            pace.sent(user, at);
            pace.heard(user, told, at);
        }
    });
}

fn snapshot(tokens: usize) -> Arc<Snapshot> {
    let own = |number: usize| {
        let view = |check: usize| CheckView {
            key: CheckKey::new(
                "acme",
                TokenName::new(&format!("token-{number:06}")),
                Permission::RepoRead,
                format!("acme/model-{check}"),
            ),
            expected: Expected::Denied,
            allowed: Some(false),
            undetermined: Some(false),
            drift: false,
            last_conclusive: Some(Timestamp(NOW.0 + 123)),
            prediction_mismatch: Some(false),
        };
        (0..10).map(view).collect()
    };
    Arc::new(Snapshot { checks: (0..tokens).map(own).collect(), ..Snapshot::default() })
}

#[divan::bench(args = [1000, 10_000])]
fn write_the_exposition(bencher: Bencher<'_, '_>, tokens: usize) {
    let (metrics, snapshot) = (Metrics::new("1", "bench"), snapshot(tokens));
    let write = || -> usize {
        let page = metrics.page(|| snapshot.clone(), NOW);
        page.text().map(|piece| black_box(piece).len()).sum()
    };
    bencher.counter(BytesCount::new(write())).bench_local(write);
}

#[divan::bench(args = [1000, 10_000])]
fn copy_as_many_bytes(bencher: Bencher<'_, '_>, tokens: usize) {
    let metrics = Metrics::new("1", "bench");
    let whole = metrics.page(|| snapshot(tokens), NOW).whole();
    let mut copy = vec![0_u8; whole.len()];
    bencher
        .counter(BytesCount::new(whole.len()))
        .bench_local(|| black_box(&mut copy).copy_from_slice(black_box(whole.as_bytes())));
}

#[divan::bench(args = [1000])]
fn parse_a_config(bencher: Bencher<'_, '_>, tokens: usize) {
    let lines: String = (0..tokens)
        .map(|n| {
            format!("- {{name: token-{n:06}, organization: acme, secret: {{file: /run/{n}}}, owner: team, expect: [all]}}\n")
        })
        .collect();
    let checks = ["job.read", "job.write", "endpoint.read", "endpoint.write", "org.members"]
        .map(|permission| format!("    - {{permission: {permission}, access: denied}}\n"))
        .concat();
    let text = format!(
        "organizations: [{{name: acme}}]\nstore: {{url: 'sqlite:///x.db'}}\nexpectations:\n  all:\n{checks}tokens:\n{lines}"
    );
    bencher
        .counter(ItemsCount::new(tokens))
        .bench_local(|| parse(Source { name: "c.yaml", text: &text }, &NoDisk).expect("a valid config"));
}

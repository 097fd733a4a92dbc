//! What many tokens take of memory, counted by the allocator: a gate, because it is the same on every machine.
//!
//! Goals: writing the exposition allocates nothing once its buffer is there, however many checks there are; a reader who
//! comes again is given what was packed; a token with its checks takes no more bytes than it did. Method: `dhat` counts;
//! differences between a small and a large case, so that what every process takes is not in them. Limits: bytes that were
//! asked for, not what the system gives for them.

#![expect(clippy::expect_used, reason = "a test: what does not hold ends it")]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use scopewatch::access::{CheckKey, Expected, Permission, TokenName};
use scopewatch::config::{NoDisk, Source, parse};
use scopewatch::hub::names::{NONCE_BYTES, Signer};
use scopewatch::metrics::Metrics;
use scopewatch::moment::{Moment, Timestamp};
use scopewatch::report::{CheckView, Snapshot};
use scopewatch::round::{Effect, Engine, Event, Mode};
use scopewatch::store::{Kept, Past};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// Counting is of the whole process: one test at a time.
fn alone() -> (MutexGuard<'static, ()>, dhat::Profiler) {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    (turn, dhat::Profiler::builder().testing().build())
}

fn snapshot(tokens: usize) -> Arc<Snapshot> {
    let own = |number: usize| {
        let view = |check: usize| CheckView {
            key: CheckKey::new(
                "acme",
                TokenName::new(&format!("t{number}")),
                Permission::RepoRead,
                format!("acme/m{check}"),
            ),
            expected: Expected::Denied,
            allowed: Some(false),
            undetermined: Some(false),
            drift: false,
            last_conclusive: Some(Timestamp(NOW.0 + 7)),
            prediction_mismatch: None,
        };
        (0..10).map(view).collect()
    };
    Arc::new(Snapshot { checks: (0..tokens).map(own).collect(), ..Snapshot::default() })
}

/// Allocations while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = dhat::HeapStats::get().total_blocks;
    work();
    dhat::HeapStats::get().total_blocks - before
}

#[test]
fn the_exposition_allocates_nothing_for_a_series() {
    let (_turn, _counting) = alone();
    let metrics = Metrics::new("1", "test");
    let (few, many) = (snapshot(200), snapshot(2000));
    let write = |snapshot: &Arc<Snapshot>| {
        let page = metrics.page(|| snapshot.clone(), NOW);
        allocations(|| assert!(page.text().map(|piece| piece.len()).sum::<usize>() > 100_000))
    };
    let (few, many) = (write(&few), write(&many));
    println!("{} allocations of a scrape for 72,000 series more", many.abs_diff(few));
    assert_eq!(few, many, "18,000 checks more, 72,000 series");
    assert!(many <= 3, "the buffer: {many}");
}

#[test]
fn what_was_packed_is_given_again() {
    let (_turn, _counting) = alone();
    let metrics = Metrics::new("1", "test");
    let snapshot = snapshot(2000);
    let pack = || {
        let page = metrics.page(|| snapshot.clone(), NOW);
        let before = dhat::HeapStats::get().total_bytes;
        drop(metrics.pack(&page));
        dhat::HeapStats::get().total_bytes - before
    };
    let (first, again) = (pack(), pack());
    assert!(first > again + 300_000, "{first} bytes, then {again}");
}

fn nothing_kept() -> Kept {
    Kept {
        canaries: vec![],
        last_canary_id: 0,
        checks: vec![],
        findings: vec![],
        creations: vec![],
        breakers: vec![],
        pauses: vec![],
        declared: vec![],
        alerts: vec![],
        owed: vec![],
        epoch: 0,
        past: Past::First,
    }
}

/// A daemon with so many tokens that has just begun, and what it shows.
fn engine(tokens: usize) -> (Engine, Arc<Snapshot>) {
    let lines: String = (0..tokens)
        .map(|n| format!("- {{name: token-{n:06}, organization: acme, secret: {{file: /run/{n}}}, owner: team, expect: [all]}}\n"))
        .collect();
    let text = format!(
        "hub: {{endpoint: 'http://127.0.0.1:1'}}\norganizations: [{{name: acme}}]\nstore: {{url: 'sqlite:///x.db'}}\nexpectations:\n  all:\n{}tokens:\n{lines}",
        [
            "job.read",
            "job.write",
            "endpoint.read",
            "endpoint.write",
            "endpoint.infer",
            "org.members",
            "org.repositories",
            "org.resource_groups",
            "org.audit_log",
            "org.billing"
        ]
        .map(|permission| format!("    - {{permission: {permission}, access: denied}}\n"))
        .concat()
    );
    let parsed = parse(Source { name: "c.yaml", text: &text }, &NoDisk).expect("a valid config");
    let now = Moment { wall: NOW, mono: Duration::ZERO };
    let (mode, signer) = (Mode { read_only: false, one_shot: false }, Signer::new(&[7; 32]));
    let mut engine = Engine::new(
        Arc::new(parsed.config),
        mode,
        signer,
        Box::new(|| [0; NONCE_BYTES]),
        nothing_kept(),
        now,
    );
    let shown = engine.handle(Event::Wake, now).into_iter().find_map(|effect| match effect {
        Effect::Publish(snapshot) => Some(snapshot),
        _ => None,
    });
    (engine, shown.expect("it shows something"))
}

/// Bytes that a token with ten checks takes before its first answer, names included: config, engine and what is shown. A twentieth
/// above what was counted (3,561).
const TOKEN_BYTES: usize = 3_740;

#[test]
fn a_token_takes_no_more_than_it_did() {
    let (_turn, _counting) = alone();
    let held = |tokens: usize| {
        let before = dhat::HeapStats::get().curr_bytes;
        let engine = engine(tokens);
        let after = dhat::HeapStats::get().curr_bytes;
        drop(engine);
        after - before
    };
    held(10);
    let each = (held(1100) - held(100)) / 1000;
    println!("{each} bytes a token with ten checks");
    assert!(each <= TOKEN_BYTES, "{each} bytes a token with ten checks");
}

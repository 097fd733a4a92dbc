//! What many tokens take of memory, counted by the allocator: a gate, because it is the same on every machine.
//!
//! Goals: writing the exposition allocates nothing once its buffer is there, however many checks there are; a reader who
//! comes again is given what was packed; a token with its checks takes no more bytes than it did. Method: `dhat` counts;
//! differences between a small and a large case, so that what every process takes is not in them. Limits: bytes that were
//! asked for, not what the system gives for them.

#![expect(clippy::expect_used, reason = "a test: what does not hold ends it")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use scopewatch::access::{CheckKey, Expected, Permission, TokenName};
use scopewatch::config::{NoDisk, Source, parse};
use scopewatch::exchange::{Answer, Credential, Exchange, Request};
use scopewatch::hub::names::{NONCE_BYTES, Signer};
use scopewatch::metrics::Metrics;
use scopewatch::moment::{Moment, Timestamp};
use scopewatch::report::{CheckView, Snapshot};
use scopewatch::round::{Effect, Engine, Event, Mode};
use scopewatch::schedule::Classes;
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
    assert!(many <= 4, "the buffer, and the beginning of a line: {many}");
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

/// Of a token's lines: its own name, its secret's file, who answers for it; and the name of its user, which the Hub says.
fn names(number: usize) -> usize {
    [format!("token-{number:06}"), format!("/run/{number}"), "team".to_owned(), user(number)]
        .iter()
        .map(String::len)
        .sum()
}

fn user(number: usize) -> String {
    format!("user-{number:06}")
}

/// The secrets of so many tokens are read.
fn keys(tokens: usize) -> Event {
    let key = |number: usize| (TokenName::new(&format!("token-{number:06}")), Ok(format!("{number:016x}")));
    Event::Keys((0..tokens).map(key).collect())
}

/// A Hub that says whose a token is and that the organization exists, knows no repository and refuses everything else.
fn heard(flight: u64, request: Request, now: Moment) -> Event {
    let asker = match &request.credential {
        Credential::Token(name) => name.as_str().replace("token", "user"),
        Credential::Anonymous => String::new(),
    };
    let (status, error_code, body) = match request.path.as_str() {
        "/api/whoami-v2" => {
            let organization = r#"{"name":"acme","roleInOrg":"read"}"#;
            (200, None, format!(r#"{{"name":"{asker}","auth":{{}},"orgs":[{organization}]}}"#))
        }
        "/api/organizations/acme/overview" => (200, None, r#"{"name":"acme"}"#.to_owned()),
        path if path.starts_with("/api/models/") => {
            (404, Some("RepoNotFound".to_owned()), r#"{"error":"Repository not found"}"#.to_owned())
        }
        _ => (403, None, r#"{"error":"You don't have the required permissions"}"#.to_owned()),
    };
    let content_type = "application/json".to_owned();
    let outcome = Ok(Answer { status, content_type, error_code, body, ..Answer::default() });
    let elapsed = Duration::from_millis(20);
    Event::Heard { flight, exchange: Box::new(Exchange { request, sent_at: now.wall, elapsed, outcome }) }
}

/// A first round, in virtual time and with a store that stores: what is shown at its end, and what was answered.
fn first_round(engine: &mut Engine, tokens: usize) -> (Arc<Snapshot>, usize) {
    let mut now = Moment { wall: NOW, mono: Duration::ZERO };
    let mut events = VecDeque::from([keys(tokens), Event::Due(Classes::ALL)]);
    let (mut shown, mut ended, mut answers) = (None, false, 0);
    while !(ended && events.is_empty()) {
        let event = events.pop_front().unwrap_or_else(|| {
            let wait = engine.wake_at(now).expect("it waits for something") - now.mono;
            // A little later than it asked for.
            now = Moment {
                wall: now.wall + wait + Duration::from_millis(1),
                mono: now.mono + wait + Duration::from_millis(1),
            };
            Event::Wake
        });
        for effect in engine.handle(event, now) {
            match effect {
                Effect::LoadKeys => events.push_back(keys(tokens)),
                Effect::Send { flight, request, .. } => {
                    answers += 1;
                    events.push_back(heard(flight, request, now));
                }
                Effect::Store { op, .. } => events.push_back(Event::Stored { op, done: true, at: now.mono }),
                Effect::Publish(snapshot) => shown = Some(snapshot),
                Effect::RoundEnded(_) => ended = true,
                _ => {}
            }
        }
    }
    (shown.expect("it shows something"), answers)
}

/// Bytes that a token with ten checks takes before its first answer, and after it, names included: config, engine and what is
/// shown. A twentieth above what was counted (2,793, 5,921).
const TOKEN_BYTES: [usize; 2] = [2_930, 6_210];

#[test]
fn a_token_takes_no_more_than_it_did() {
    let (_turn, _counting) = alone();
    let held = |tokens: usize| {
        let before = dhat::HeapStats::get().curr_bytes;
        let (mut engine, first) = engine(tokens);
        let begun = dhat::HeapStats::get().curr_bytes - before;
        drop(first);
        let (shown, answers) = first_round(&mut engine, tokens);
        assert!(answers >= 11 * tokens, "{answers} answers: whoami and ten checks each");
        let known =
            shown.checks.iter().flat_map(|own| own.iter()).filter(|check| check.undetermined.is_some());
        assert_eq!(known.count(), 10 * tokens);
        let answered = dhat::HeapStats::get().curr_bytes - before;
        [begun, answered]
    };
    held(10);
    // Twice doubled, so that what grows by doubling is as full in both.
    let (few, many) = (held(100), held(400));
    let names = (100..400).map(names).sum::<usize>() / 300;
    for (at, when) in ["before", "after"].into_iter().enumerate() {
        let each = (many[at] - few[at]) / 300;
        println!("{each} bytes a token with ten checks {when} its first answers");
        println!("{} bytes a token beside its names {when} its first answers", each - names);
        assert!(each <= TOKEN_BYTES[at], "{each} bytes a token {when} its first answers");
    }
}

//! What is asserted of a request that changes the Hub, before it is let out: each condition broken once, and each
//! limit met exactly.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::access::{RepoName, RepoType, TokenName};
use crate::exchange::{Credential, Request, Verb};
use crate::hub::canary::{Intent, planned};
use crate::hub::names::Signer;
use crate::hub::routes;
use crate::intent::{Canary, CanaryState, DeleteAttempt, DeleteOutcome, Deleter};
use crate::moment::{Moment, Timestamp};
use crate::round::gate::Bound;
use crate::round::{Engine, Event, Job, Mode};
use crate::schedule::Classes;
use crate::store::{Breaker, Kept};

use super::life::{Fate, S, configured, nothing_kept};
use super::probes::TRIAL;
use super::stories::{AUDIT, PLAIN, only, world};

const WALL: Timestamp = Timestamp(1_795_000_000_000);
const NOW: Moment = Moment { wall: WALL, mono: Duration::from_secs(1000) };
const H: Duration = Duration::from_secs(60);
const FLIGHT: u64 = 77;

fn bound(before: Duration) -> Option<Bound> {
    Some(Bound { before, clocks: NOW, epoch: 0 })
}

fn canary() -> Canary {
    let repo = RepoName { namespace: "acme".into(), name: "scopewatch-canary-x".into() };
    let intent = Intent {
        id: 1,
        epoch: 0,
        repo,
        kind: RepoType::Model,
        group: None,
        target: "model".into(),
        token: TokenName::new("open"),
        owner: None,
    };
    planned(intent, WALL - Duration::from_secs(1))
}

/// An engine that has this one canary, and a request of it in the air.
fn engine(job: Job) -> Engine {
    engine_with(vec![canary()], job)
}

fn engine_with(canaries: Vec<Canary>, job: Job) -> Engine {
    let kept = Kept { canaries, ..nothing_kept() };
    let dice = Box::new(|| [7; crate::hub::names::NONCE_BYTES]);
    let mode = Mode { read_only: false, one_shot: false };
    let mut engine = Engine::new(configured(PLAIN), mode, Signer::new(&[7; 32]), dice, kept, NOW);
    engine.flights.insert(FLIGHT, job);
    engine
}

/// Whether the request is let out.
fn sound(engine: &Engine, request: &Request, bound: Option<Bound>) -> bool {
    catch_unwind(AssertUnwindSafe(|| engine.assert_sound(FLIGHT, request, bound, NOW))).is_ok()
}

fn latch(engine: &mut Engine, organization: &str) {
    let breaker = Breaker { organization: organization.into(), at: WALL, why: "x".into() };
    engine.breakers.insert(organization.to_owned(), breaker);
}

type Bend = (&'static str, fn(&mut Engine), bool);

/// Each way of bending an engine, and whether its request may leave then.
fn every(bends: &[Bend], fine: impl Fn() -> Engine, request: &Request) {
    assert!(sound(&fine(), request, bound(NOW.mono)), "at the last moment");
    assert!(!sound(&fine(), request, None), "not bound");
    for (what, bend, leaves) in bends {
        let mut engine = fine();
        bend(&mut engine);
        assert_eq!(sound(&engine, request, bound(NOW.mono)), *leaves, "{what}");
        // What comes too late the gate keeps, whatever it stood on.
        assert!(sound(&engine, request, bound(NOW.mono - Duration::from_millis(1))), "late: {what}");
        let look = routes::whoami(Credential::Anonymous);
        assert!(sound(&engine, &look, None), "what only looks: {what}");
    }
}

fn own(engine: &mut Engine) -> &mut Canary {
    &mut engine.canaries.get_mut(&1).expect("there").canary
}

#[test]
fn a_creation_leaves_once_and_only_while_its_intent_is_new_and_durable() {
    let repo = canary().repo;
    let request = routes::create(&repo, RepoType::Model, None, Credential::Token(TokenName::new("open")));
    let fine = || {
        let mut engine = engine(Job::Create(1));
        own(&mut engine).state = CanaryState::Planned;
        engine.canaries.get_mut(&1).expect("there").durable = true;
        engine
    };
    let bends: &[Bend] = &[
        ("nothing", |_| {}, true),
        ("it was asked for", |engine| own(engine).state = CanaryState::Unknown, false),
        ("not durable", |engine| engine.canaries.get_mut(&1).expect("there").durable = false, false),
        ("latched", |engine| latch(engine, "acme"), false),
        ("another is latched", |engine| latch(engine, "other"), true),
        ("elsewhere", |engine| own(engine).repo.namespace = "eve".into(), false),
        ("nobody's", |engine| drop(engine.canaries.remove(&1)), false),
        ("read-only", |engine| engine.mode.read_only = true, false),
        ("a look's", |engine| drop(engine.flights.insert(FLIGHT, Job::Visit(1))), false),
    ];
    every(bends, fine, &request);
}

fn attempt(ago: Duration, outcome: DeleteOutcome) -> DeleteAttempt {
    DeleteAttempt { at: WALL - ago, by: Deleter::Probed, outcome }
}

fn push_before_last(engine: &mut Engine, earlier: DeleteAttempt) {
    own(engine).deletes.insert(0, earlier);
}

#[test]
fn a_deletion_leaves_only_for_what_was_just_seen_to_be_ours_and_never_beside_another() {
    let request = routes::delete(&canary().repo, RepoType::Model, Credential::Token(TokenName::new("open")));
    let fine = || {
        let mut engine = engine(Job::Delete(1));
        let canary = own(&mut engine);
        canary.state = CanaryState::Deleting;
        canary.repo_id = Some("0123456789abcdef01234567".into());
        canary.deletes = vec![attempt(Duration::ZERO, DeleteOutcome::Pending)];
        let live = engine.canaries.get_mut(&1).expect("there");
        live.durable = true;
        live.identified_at = Some(NOW.mono);
        engine
    };
    let bends: &[Bend] = &[
        ("nothing", |_| {}, true),
        ("no attempt is under way", |engine| own(engine).state = CanaryState::Created, false),
        ("not durable", |engine| engine.canaries.get_mut(&1).expect("there").durable = false, false),
        ("no id", |engine| own(engine).repo_id = None, false),
        ("no attempt", |engine| own(engine).deletes.clear(), false),
        ("its attempt is over", |engine| own(engine).deletes[0].outcome = DeleteOutcome::Lost, false),
        (
            "one was lost a moment ago",
            |e| push_before_last(e, attempt(Duration::ZERO, DeleteOutcome::Lost)),
            false,
        ),
        (
            "one may still land",
            |e| push_before_last(e, attempt(H - Duration::from_millis(1), DeleteOutcome::Lost)),
            false,
        ),
        ("one was lost a horizon ago", |e| push_before_last(e, attempt(H, DeleteOutcome::Lost)), true),
        (
            "one was acknowledged",
            |e| push_before_last(e, attempt(Duration::ZERO, DeleteOutcome::Acknowledged)),
            false,
        ),
        ("one was refused", |e| push_before_last(e, attempt(Duration::ZERO, DeleteOutcome::Refused)), true),
        ("one never left", |e| push_before_last(e, attempt(Duration::ZERO, DeleteOutcome::Unsent)), true),
        (
            "it was never seen",
            |engine| engine.canaries.get_mut(&1).expect("there").identified_at = None,
            false,
        ),
        (
            "it was seen two seconds ago",
            |engine| {
                engine.canaries.get_mut(&1).expect("there").identified_at = Some(NOW.mono - S(2));
            },
            true,
        ),
        (
            "it was seen earlier",
            |engine| {
                let at = NOW.mono - S(2) - Duration::from_millis(1);
                engine.canaries.get_mut(&1).expect("there").identified_at = Some(at);
            },
            false,
        ),
        // Cleaning up goes on.
        ("latched", |engine| latch(engine, "acme"), true),
        ("read-only", |engine| engine.mode.read_only = true, false),
        ("nobody's", |engine| drop(engine.canaries.remove(&1)), false),
    ];
    every(bends, fine, &request);
}

#[test]
fn a_creation_on_a_sentinel_leaves_only_while_nothing_is_latched() {
    let mut life = world(configured(TRIAL), AUDIT, 1);
    life.fate = only(Verb::Post, 1, Fate::Late(S(40)));
    life.start();
    life.tell(Event::Once { due: Classes::ALL, only: vec![] });
    life.run_until(S(3), 500);
    let now = life.moment();
    let engine = life.engine_mut().expect("alive");
    let trial = engine.flights.iter().find(|(_, job)| matches!(job, Job::Trial(_)));
    let flight = *trial.expect("a trial is in the air").0;
    let who = Credential::Token(TokenName::new("open"));
    let sentinel = RepoName { namespace: "acme".into(), name: "known".into() };
    let request = routes::create(&sentinel, RepoType::Model, None, who);
    let leaves = |engine: &Engine| {
        let bound = Some(Bound { before: now.mono, clocks: now, epoch: 0 });
        let asked = || engine.assert_sound(flight, &request, bound, now);
        catch_unwind(AssertUnwindSafe(asked)).is_ok()
    };
    assert!(leaves(engine));
    latch(engine, "other");
    assert!(leaves(engine), "another organization is latched");
    latch(engine, "acme");
    assert!(!leaves(engine), "latched");
    engine.breakers.clear();
    engine.trials.clear();
    assert!(!leaves(engine), "of no trial");
}

#[test]
fn no_creation_leaves_where_what_was_gone_is_found_again_and_the_bound_is_full() {
    for (others, may) in [(0, true), (2, true), (3, false)] {
        let there = (1..=1 + others).map(|id| Canary { id, ..canary() }).collect();
        let engine = engine_with(there, Job::Create(1));
        assert_eq!(engine.may_still_create(1), may, "{others} others");
    }
}

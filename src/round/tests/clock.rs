//! Clocks that jump or are wrong: no horizon ends early, no budget is freed, nothing fires and nothing is created.

use std::time::Duration;

use crate::access::UnknownReason;
use crate::exchange::Verb;
use crate::intent::CanaryState;
use crate::report::FindingKind;
use crate::round::Event;
use crate::schedule::Classes;
use crate::store::{Creation, Write};

use super::life::{Fate, Life, Pending, S, configured};
use super::stories::{AUDIT, PLAIN, SERVE, audit, only, result, serve_for, until, world};

const HOUR: i64 = 3_600_000;
const YEAR: i64 = 365 * 24 * HOUR;

/// A life that has just served long enough for one request of this method to meet its fate.
fn struck(verb: Verb, fate: Fate, seed: u64) -> Life {
    let mut life = world(configured(PLAIN), SERVE, seed);
    life.fate = only(verb, 1, fate);
    life.start();
    life.tell(Event::Due(Classes::ALL));
    life.run_until(S(20), 5000);
    life
}

#[test]
fn no_horizon_ends_early_and_none_without_end_when_the_clock_is_set() {
    // The life itself asserts that no second DELETE leaves within the horizon (D6) and that what is called gone
    // is gone (I6); each fate lands when an early end would have believed otherwise.
    for by in [-YEAR, -HOUR, -90_000, 90_000, HOUR, YEAR] {
        for (verb, fate) in [
            (Verb::Delete, Fate::Late(S(40))),
            (Verb::Delete, Fate::LostTimeout),
            (Verb::Post, Fate::Late(S(40))),
            (Verb::Post, Fate::AppliedTimeout),
        ] {
            // Whether a process begins after it is set, whether it is set right before one begins, and whether ever.
            for (restarts, set_right_between, stays) in
                [(false, false, false), (true, false, false), (false, true, false), (false, false, true)]
            {
                if stays && by > 0 {
                    // Nothing that is written down lies ahead then, and what the tokens declared is too old by now.
                    continue;
                }
                let mut life = struck(verb, fate, 3);
                life.set_by += by;
                if restarts {
                    // What happened while no process was there only the Hub's clock can tell.
                    life.hub.tells_time = Some(0);
                    life.restart();
                }
                if stays {
                    // Then it was wrong before, and is right now.
                    life.hub.tells_time = Some(by);
                }
                if set_right_between {
                    // What this process writes down by the wrong clock, the next one reads by the right one.
                    life.tell(Event::Wake);
                    life.run_until(S(24), 5000);
                    life.crash();
                    life.set_by = 0;
                    life.start();
                }
                life.run_until(S(300), 20_000);
                if !stays {
                    life.set_by = 0;
                }
                life.run_until(S(1200), 20_000);
                life.check_cleaned_up();
                let open = life.journal.values().filter(|c| c.unfinished()).count();
                assert_eq!(open, 0, "{verb} {fate:?} {by} {restarts} {set_right_between} {stays}");
            }
        }
    }
}

#[test]
fn a_late_creation_is_not_called_absent_because_the_clock_was_set_forward() {
    let mut life = struck(Verb::Post, Fate::Late(S(45)), 5);
    life.set_by += HOUR;
    life.run_until(S(50), 5000);
    let gone = life.journal.values().any(|c| c.state == CanaryState::Gone && c.given_up_at.is_some());
    assert!(!gone, "absence was believed within the horizon");
}

#[test]
fn the_budget_of_a_day_is_not_freed_by_the_clock() {
    let text = PLAIN.replace("max_creations_per_day: 200", "max_creations_per_day: 2");
    let mut life = world(configured(&text), SERVE, 1);
    life.start();
    serve_for(&mut life, 900);
    assert_eq!(life.posts.iter().filter(|(_, user, _)| user == "bob").count(), 2);
    for by in [25 * HOUR, -YEAR] {
        life.set_by += by;
        serve_for(&mut life, 3600);
        assert_eq!(life.posts.iter().filter(|(_, user, _)| user == "bob").count(), 2, "{by}");
    }
    let tomorrow = life.now + S(24 * 3600);
    life.run_until(tomorrow, 50_000);
    serve_for(&mut life, 900);
    assert_eq!(life.posts.iter().filter(|(_, user, _)| user == "bob").count(), 4, "a day has passed");
}

#[test]
fn nobody_goes_blind_because_the_clock_was_set() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    life.start();
    serve_for(&mut life, 900);
    life.fate =
        Box::new(|request, _| if request.route.ends_with("auth-check") { Fate::Error } else { Fate::Fine });
    life.set_by += YEAR;
    serve_for(&mut life, 900);
    let blind = |life: &Life| life.kept.findings.iter().any(|f| f.kind == FindingKind::Blind);
    assert!(!blind(&life));
    serve_for(&mut life, 3 * 900);
    assert!(blind(&life), "it really was without an answer for three periods");
}

#[test]
fn nothing_is_created_while_our_clock_and_the_hubs_differ() {
    for (off, wrong) in [(0, false), (59_000, false), (-59_000, false), (62_000, true), (-HOUR, true)] {
        let mut life = world(configured(PLAIN), AUDIT, 1);
        life.quick = true;
        life.hub.tells_time = Some(off);
        audit(&mut life);
        let found = result(&life, "model", "open");
        let why = found.found.reason().filter(|_| wrong);
        assert_eq!(why, wrong.then_some(UnknownReason::NoControl.as_str()), "{off}");
        assert_eq!(life.posts.is_empty(), wrong, "{off}");
        assert_eq!(!life.kept.breakers.is_empty(), wrong, "{off}");
        assert!(result(&life, "acme/known", "narrow").found.reason().is_none(), "what only looks goes on");
    }
}

/// When the next request of this method would leave, while it is being written down, or while it is on its way.
fn leaves_soon(life: &Life, verb: Verb, stored: bool) -> Option<std::time::Duration> {
    let state = if verb == Verb::Post { CanaryState::Planned } else { CanaryState::Deleting };
    let bears = |batch: &[Write]| {
        batch.iter().any(|write| matches!(write, Write::Canary { canary, .. } if canary.state == state))
    };
    life.queue.iter().map(|((at, _), (_, pending))| (*at, pending)).find_map(|(at, pending)| {
        let soon = match pending {
            Pending::Stored { batch, .. } => stored && bears(batch),
            Pending::Dispatch { request, bound: Some(bound), .. } => {
                !stored && request.verb == verb && at <= bound.before
            }
            _ => false,
        };
        (soon && at > life.now).then_some(at)
    })
}

#[test]
fn what_was_decided_before_the_machine_slept_or_the_clock_was_set_does_not_leave() {
    for (verb, stored) in
        [(Verb::Post, true), (Verb::Post, false), (Verb::Delete, true), (Verb::Delete, false)]
    {
        for by in [-HOUR, -1000, 1000, 70_000, HOUR] {
            let mut life = world(configured(PLAIN), SERVE, 3);
            life.slow_write = S(1);
            life.delays = if stored { 0 } else { 60 };
            life.start();
            life.tell(Event::Due(Classes::ALL));
            let left = |life: &Life| life.posts.len() + life.deletes.values().sum::<usize>();
            until(&mut life, |life| leaves_soon(life, verb, stored).is_some());
            let (at, before) = (leaves_soon(&life, verb, stored).expect("soon"), left(&life));
            life.set_by += by;
            life.run_until(at, 5000);
            assert_eq!(left(&life), before, "{verb} {stored} {by}");
            life.delays = 0;
            life.run_until(S(400), 20_000);
            life.check_cleaned_up();
        }
    }
}

#[test]
fn a_clock_that_is_set_right_makes_no_creation_of_before_older() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    let at = life.time() - Duration::from_secs(3600);
    life.kept.creations.push(Creation { owner: "bob".to_owned(), at });
    life.set_clock(YEAR);
    life.start();
    life.set_clock(0);
    life.tell(Event::Wake);
    assert_eq!(life.engine().expect("it serves").creations["bob"], [at]);
}

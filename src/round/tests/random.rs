//! Random lives: every fault there is, at any time, then quiet; at the end nothing of ours may be left. A seed tells
//! the whole life again: `SEEDS` says how many are lived.

use std::sync::Arc;
use std::time::Duration;

use crate::access::TokenName;
use crate::config::Config;
use crate::exchange::{Credential, Request, Verb};
use crate::round::{Event, Mode};
use crate::schedule::Classes;

use super::hub::Key;
use super::life::{Dice, Fate, Life, S, configured};
use super::stories::{AUDIT, PLAIN, SERVE, holder, serve_for, world};

/// How many lives of each kind.
const SEEDS: u64 = 1000;
/// The horizon of `PLAIN`.
const H: u64 = 60;

/// What a request meets in hard times; nothing takes effect later than the horizon allows.
pub fn trouble(request: &Request, dice: &mut Dice, chance: u64, horizon: Duration) -> Fate {
    if !dice.percent(chance) {
        return Fate::Fine;
    }
    let late = horizon.mul_f64(dice.roll(1000) as f64 / 1001.0);
    let fates = [
        Fate::Unsent,
        Fate::AppliedError,
        Fate::Error,
        Fate::AppliedTimeout,
        Fate::LostTimeout,
        Fate::Late(late),
        Fate::LateAcknowledged(late),
        Fate::Html,
        Fate::Odd,
        Fate::Limited,
        Fate::Cap,
        Fate::Busy,
        Fate::Refused,
    ];
    let sides = u64::try_from(fates.len()).expect("few");
    let fate = fates[usize::try_from(dice.roll(sides)).expect("few")];
    let by_janitor = request.credential == Credential::Token(TokenName::new("janitor"));
    match (request.verb, fate) {
        // A refusal that need not be would be a lie, which the life does not forgive in a creation; and a canary
        // that the janitor may not delete is a person's.
        (Verb::Post, Fate::Refused) => Fate::Error,
        (Verb::Delete, Fate::Refused | Fate::Cap | Fate::Busy) if by_janitor => Fate::Error,
        _ => fate,
    }
}

/// A world in which much may be wrong from the beginning.
fn troubled(config: &Arc<Config>, seed: u64, mode: Mode) -> Life {
    let mut life = world(config.clone(), mode, seed);
    let chance = life.dice.roll(60);
    let horizon = life.horizon();
    life.fate = Box::new(move |request, dice| trouble(request, dice, chance, horizon));
    life.crashes = life.dice.roll(2) * life.dice.roll(6);
    life.bad_writes = life.dice.roll(2) * life.dice.roll(40);
    life.delays = life.dice.roll(2) * life.dice.roll(30);
    life.slow_write = Duration::from_millis(life.dice.roll(2) * life.dice.roll(4000));
    if life.dice.percent(20) {
        life.hub.holders.insert(TokenName::new("open"), holder("bob", true, true, false));
    }
    if life.dice.percent(10) {
        life.bad_keys.push(TokenName::new(if life.dice.percent(50) { "open" } else { "narrow" }));
    }
    life
}

/// Strangers take names that are free, people remove what is ours; never beside a DELETE of ours.
fn meddle(life: &mut Life) {
    let quiet = |life: &Life, key: &Key| {
        life.journal.values().filter(|c| c.repo.to_string() == key.1).all(|c| {
            let resting = life.now.as_secs() < 5 || c.deletes.is_empty();
            resting && c.next_at.is_some_and(|at| at > life.wall() + S(5))
        })
    };
    let ours: Vec<Key> = life.hub.left().into_iter().cloned().collect();
    for key in ours {
        if life.dice.percent(20) && quiet(life, &key) {
            let now = life.time();
            life.hub.remove(&key, now);
        }
    }
    for key in life.hub.known_names.clone() {
        if key.1 != "acme/known" && !life.hub.repos.contains_key(&key) && life.dice.percent(20) {
            let now = life.wall();
            life.hub.make(key.clone(), "mallory", false, now);
            life.odd.push(key);
        }
    }
}

/// All faults end; what was begun must come to its end within two horizons and ten minutes.
fn recover(life: &mut Life) {
    life.fate = Box::new(|_, _| Fate::Fine);
    (life.crashes, life.bad_writes, life.delays, life.slow_write) = (0, 0, 0, S(0));
    life.bad_keys.clear();
    if life.ended || life.process.is_none() {
        life.mode = SERVE;
        life.restart();
    }
    let end = life.now + S(2 * H + 600);
    // Rounds that only read go on: they see to it that whoami is known.
    for _ in 0..=(2 * H + 600) / 300 {
        life.tell(Event::Due(Classes { probe: true, ..Classes::default() }));
        let until = life.now + S(300).min(end.saturating_sub(life.now));
        life.run_until(until, 5000);
    }
    life.check_cleaned_up();
}

#[test]
fn serving_lives_keep_every_promise_and_leave_nothing() {
    let config = configured(PLAIN);
    for seed in 0..SEEDS {
        let mut life = troubled(&config, seed, SERVE);
        life.start();
        let rounds = 1 + life.dice.roll(3);
        for _ in 0..rounds {
            let seconds = 60 + life.dice.roll(900);
            serve_for(&mut life, seconds);
            if seed % 4 == 0 {
                meddle(&mut life);
            }
        }
        recover(&mut life);
    }
}

#[test]
fn audits_end_and_keep_every_promise_whatever_happens() {
    let config = configured(PLAIN);
    for seed in 0..SEEDS {
        let mut life = troubled(&config, seed, AUDIT);
        for _ in 0..=life.dice.roll(3) {
            life.start();
            life.tell(Event::Once { due: Classes::ALL, only: vec![] });
            let crashes = life.crashes;
            let begun = life.now;
            while !life.ended {
                let until = life.now + S(1800);
                let restarts = life.restarts;
                life.run_until(until, 20_000);
                if life.restarts > restarts && !life.ended {
                    // The audit died; whoever ran it runs it again, and this time it lives.
                    life.crashes = 0;
                    life.tell(Event::Once { due: Classes::ALL, only: vec![] });
                }
                assert!(life.now < begun + S(4 * 3600), "seed {seed}: an audit without an end");
            }
            life.crashes = crashes;
            life.crash();
            life.ended = false;
            let gap = life.now + S(life.dice.roll(200));
            life.run_until(gap, 5000);
        }
        recover(&mut life);
    }
}

#[test]
fn two_weeks_of_service_through_storms_and_calm() {
    for seed in 0..2 {
        let mut life = world(configured(PLAIN), SERVE, seed);
        life.start();
        for day in 0..14 {
            let stormy = day % 3 == 1;
            life.fate =
                Box::new(move |request, dice| trouble(request, dice, if stormy { 30 } else { 0 }, S(H)));
            life.crashes = u64::from(stormy);
            serve_for(&mut life, 3600);
            let night = life.now + S(23 * 3600);
            life.run_until(night, 50_000);
        }
        assert!(life.posts.len() > 100);
        recover(&mut life);
    }
}

#[test]
fn the_anonymous_change_nothing() {
    let mut life = troubled(&configured(PLAIN), 7, SERVE);
    let inner = std::mem::replace(&mut life.fate, Box::new(|_, _| Fate::Fine));
    let mut inner = inner;
    life.fate = Box::new(move |request, dice| {
        let named = request.credential != Credential::Anonymous;
        assert!(named || request.verb == Verb::Get);
        inner(request, dice)
    });
    life.start();
    serve_for(&mut life, 3600);
}

//! The plan against what is done: every request of a run is one that the plan lists, of each no more than its
//! bound whatever happens, and exactly its usual number when nothing does.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{RepoType, TokenName};
use crate::config::Config;
use crate::exchange::{Credential, Verb};
use crate::plan::calls::{CONTROLS_OF_VISITS, CallPlan, Scope, Times, VISITS_OF_A_RUN, calls};
use crate::round::{Event, Mode};
use crate::schedule::Classes;

use super::hub::Holder;
use super::life::{Dice, Fate, Life, S, configured};
use super::random::trouble;
use super::stories::holder;

/// How many lives of each kind.
const SEEDS: u64 = 1500;

/// What of a request the plan must foresee.
type Kind = (Credential, Verb, &'static str);

/// A world, and the config whose expectations are true in it.
struct Case {
    config: Arc<Config>,
    holders: Vec<(TokenName, Holder)>,
    text: String,
}

const USERS: [&str; 3] = ["bob", "carl", "dora"];
const PAGES: [&str; 9] = [
    "job.read",
    "job.write",
    "endpoint.infer",
    "org.members",
    "org.billing",
    "org.network_security",
    "org.audit_log",
    "user.webhooks",
    "org.service_accounts",
];

/// Some tokens of some users, with some checks each. `true_to` the world, or expecting anything.
fn case(dice: &mut Dice, true_to: bool) -> Case {
    let janitor = dice.percent(80);
    let sentinel = janitor && dice.percent(40);
    let mut text = format!(
        "hub: {{ endpoint: \"http://127.0.0.1:9\", in_flight_horizon: {}, max_in_flight: {}, quota_share: 1 }}\n",
        if dice.percent(30) { "1s" } else { "900s" },
        1 + dice.roll(5)
    );
    let janitor_key = if janitor { ", janitor: janitor" } else { "" };
    let reader_key = if dice.percent(30) { ", inventory: t0" } else { "" };
    let sentinel_key = if sentinel { ", sentinel: acme/alone" } else { "" };
    let _ = writeln!(
        text,
        "organizations: [{{ name: acme{janitor_key}{reader_key}{sentinel_key} }}]\ntokens:\n  - {{ name: janitor, organization: acme, secret: {{ env: J }} }}"
    );
    let admin = holder("alice", true, true, true);
    let mut holders = vec![(TokenName::new("janitor"), admin)];
    for number in 0..1 + dice.roll(4) {
        let user = USERS[usize::try_from(dice.roll(3)).expect("few")];
        let creates = dice.percent(50);
        // Without a janitor it is the token that observes, of which the plan takes it that it sees nothing.
        let sees = janitor && (true_to && creates || dice.percent(50));
        // As a rule, who may create may delete what it made.
        let deletes = (sees || !janitor) && (true_to && creates || dice.percent(50));
        holders.push((TokenName::new(&format!("t{number}")), holder(user, creates, sees, deletes)));
        let mut entries = String::new();
        let mut expect = |dice: &mut Dice, entry: String, truth: bool| {
            let said = if true_to { truth } else { dice.percent(50) };
            let _ = write!(
                entries,
                "\n      - {{ {entry}, access: {} }}",
                if said { "allowed" } else { "denied" }
            );
        };
        for kind in RepoType::ALL.iter().filter(|kind| **kind != RepoType::Space) {
            // A token that creates sees what it made, and there is nobody who may delete it.
            if dice.percent(40) && (deletes || !creates || janitor) {
                let by_sentinel = janitor && dice.percent(30) && *kind == RepoType::Model;
                let how = if by_sentinel { ", method: sentinel, sentinel: acme/known" } else { "" };
                expect(dice, format!("permission: repo.create, type: {kind}{how}"), creates);
            }
        }
        for repo in ["known", "other"] {
            if dice.percent(40) && janitor {
                expect(dice, format!("permission: repo.read, repo: acme/{repo}"), sees);
            }
            if dice.percent(40) && janitor {
                expect(dice, format!("permission: repo.write, repo: acme/{repo}"), sees && deletes);
            }
        }
        for page in PAGES {
            if dice.percent(25) {
                let truth = match page {
                    "user.webhooks" => false,
                    page if page.starts_with("org.") => deletes,
                    _ => creates,
                };
                expect(dice, format!("permission: {page}"), truth);
            }
        }
        if entries.is_empty() {
            entries.push_str("\n      - { permission: user.webhooks, access: denied }");
        }
        let _ = write!(
            text,
            "  - name: t{number}\n    organization: acme\n    secret: {{ env: T{number} }}\n    expect:{entries}\n"
        );
    }
    Case { config: configured(&text), holders, text }
}

fn life_of(case: &Case, mode: Mode, seed: u64) -> Life {
    let mut life = Life::new(case.config.clone(), mode, seed);
    let now = life.wall();
    for name in ["acme/alone", "acme/known", "acme/other"] {
        life.hub.furnish(name, now);
    }
    life.hub.holders.extend(case.holders.iter().cloned());
    life
}

fn audit(life: &mut Life, only: &[TokenName]) {
    life.start();
    life.tell(Event::Once { due: Classes::ALL, only: only.to_vec() });
    let until = life.now + S(6 * 3600);
    life.run_until(until, 50_000);
    assert!(life.ended, "an audit ends");
}

fn planned(plan: &CallPlan) -> BTreeMap<Kind, Times> {
    let mut sums: BTreeMap<Kind, Times> = BTreeMap::new();
    for step in &plan.steps {
        let sum = sums.entry((step.who.clone(), step.verb, step.route)).or_default();
        *sum = sum.and(step.times);
    }
    sums
}

fn made(life: &Life) -> BTreeMap<Kind, u32> {
    let mut sums: BTreeMap<Kind, u32> = BTreeMap::new();
    for (_, request) in &life.asked {
        *sums.entry((request.credential.clone(), request.verb, request.route)).or_default() += 1;
    }
    sums
}

/// No request that is not planned, and none more often.
fn within(plan: &CallPlan, life: &Life, about: &str) {
    let planned = planned(plan);
    for (kind, times) in made(life) {
        let bound = planned.get(&kind).map_or(0, |planned| planned.at_most);
        assert!(times <= bound, "{times} × {kind:?}, planned at most {bound}\n{about}");
    }
}

#[test]
fn a_run_without_faults_makes_exactly_the_usual_calls() {
    let mut creations = 0;
    for seed in 0..SEEDS {
        let mut dice = Dice::new(seed);
        let case = case(&mut dice, true);
        let read_only = dice.percent(20);
        let only: Vec<TokenName> = if dice.percent(25) { vec![TokenName::new("t0")] } else { vec![] };
        let plan = calls(&case.config, Scope { due: Classes::ALL, only: &only, read_only });
        let mut life = life_of(&case, Mode { read_only, one_shot: true }, seed);
        // Answers come at once, so that no horizon ends within the run.
        life.quick = true;
        audit(&mut life, &only);
        let report = life.reports.last().expect("a report");
        let off: Vec<_> = report.results.iter().filter(|r| r.verdict.as_str() != "ok").collect();
        assert!(read_only || off.is_empty(), "seed {seed}: {off:#?}\n{}", case.text);
        let usual: BTreeMap<Kind, u32> = planned(&plan)
            .into_iter()
            .filter(|(_, times)| times.usual > 0)
            .map(|(kind, times)| (kind, times.usual))
            .collect();
        assert_eq!(made(&life), usual, "seed {seed}\n{}", case.text);
        within(&plan, &life, &case.text);
        creations += plan.creations().usual;
        let barred = report.results.iter().filter(|r| r.found.reason() == Some("read_only")).count();
        assert_eq!(barred, plan.barred.len(), "seed {seed}\n{}", case.text);
    }
    assert!(creations > 500, "too few creations to say anything: {creations}");
}

#[test]
fn whatever_happens_no_call_is_made_that_was_not_planned() {
    for seed in 0..SEEDS {
        let mut dice = Dice::new(seed);
        let case = case(&mut dice, false);
        let read_only = dice.percent(10);
        let plan = calls(&case.config, Scope { due: Classes::ALL, only: &[], read_only });
        let mut life = life_of(&case, Mode { read_only, one_shot: true }, seed);
        let chance = dice.roll(100);
        let horizon = life.horizon();
        life.fate = Box::new(move |request, dice| trouble(request, dice, chance, horizon));
        life.bad_writes = dice.roll(2) * dice.roll(40);
        life.delays = dice.roll(2) * dice.roll(30);
        life.slow_write = Duration::from_millis(dice.roll(2) * dice.roll(4000));
        if dice.percent(20) {
            life.bad_keys.push(TokenName::new(if dice.percent(50) { "janitor" } else { "t0" }));
        }
        if dice.percent(20) {
            let token = TokenName::new(if dice.percent(50) { "janitor" } else { "t0" });
            life.hub.holders.get_mut(&token).expect("a holder").dead = true;
        }
        life.hub.endless = dice.percent(20);
        audit(&mut life, &[]);
        within(&plan, &life, &format!("seed {seed}\n{}", case.text));
    }
}

#[test]
fn a_canary_that_never_comes_to_rest_ends_with_its_visits() {
    for (verb, fate) in
        [(Verb::Delete, Fate::LostTimeout), (Verb::Delete, Fate::Unsent), (Verb::Post, Fate::AppliedTimeout)]
    {
        let mut dice = Dice::new(3);
        let case = loop {
            let case = case(&mut dice, false);
            let creating =
                calls(&case.config, Scope { due: Classes::ALL, only: &[], read_only: false }).mutating;
            if creating.len() > 2 && case.config.organizations[0].janitor.is_some() {
                break case;
            }
        };
        let plan = calls(&case.config, Scope { due: Classes::ALL, only: &[], read_only: false });
        let mut life = life_of(&case, Mode { read_only: false, one_shot: true }, 1);
        for (_, holder) in life.hub.holders.iter_mut() {
            holder.creates = true;
        }
        life.fate = Box::new(move |request, _| if request.verb == verb { fate } else { Fate::Fine });
        audit(&mut life, &[]);
        within(&plan, &life, &format!("{verb} {fate:?}\n{}", case.text));
        assert!(!life.hub.left().is_empty() || verb == Verb::Post, "it was left to the journal");
    }
}

/// Two users' canaries that never come to rest, in a run that a third user's many tokens make long.
fn long_run(horizon: &str, verb: Verb, fate: Fate) -> (CallPlan, Life) {
    let mut text = format!(
        "hub: {{ endpoint: \"http://127.0.0.1:9\", in_flight_horizon: {horizon}, quota_share: 1 }}
organizations: [{{ name: acme, janitor: janitor, max_creations_per_day: 10000 }}]
expectations: {{ all: [{{ permission: repo.create, access: denied }}, {{ permission: repo.create, type: dataset, access: denied }}] }}
tokens:
  - {{ name: janitor, organization: acme, secret: {{ env: J }} }}\n"
    );
    let mut names = vec!["a-stuck".to_owned(), "m-stuck".to_owned()];
    names.extend((0..200).map(|number| format!("t{:03}", number)));
    for name in &names {
        let _ =
            writeln!(text, "  - {{ name: {name}, organization: acme, secret: {{ env: T }}, expect: [all] }}");
    }
    let config = configured(&text);
    let plan = calls(&config, Scope { due: Classes::ALL, only: &[], read_only: false });
    let mut life = Life::new(config, Mode { read_only: false, one_shot: true }, 1);
    life.hub.furnish("acme/known", life.wall());
    for name in &names {
        let stuck = name.ends_with("stuck");
        let user = if *name == names[0] {
            "bob"
        } else if stuck {
            "dora"
        } else {
            "carl"
        };
        let holder = Holder {
            user,
            role: "write",
            creates: stuck,
            sees: false,
            deletes: stuck,
            dead: false,
            barred: None,
        };
        life.hub.holders.insert(TokenName::new(name), holder);
    }
    let admin = Holder {
        user: "alice",
        role: "admin",
        creates: false,
        sees: true,
        deletes: true,
        dead: false,
        barred: None,
    };
    life.hub.holders.insert(TokenName::new("janitor"), admin);
    life.slow_write = Duration::from_secs(6);
    life.fate = Box::new(move |request, _| {
        let stuck = matches!(&request.credential, Credential::Token(who) if who.as_str().ends_with("stuck"));
        let stuck = stuck || request.credential == Credential::Token(TokenName::new("janitor"));
        if request.verb == verb && stuck { fate } else { Fate::Fine }
    });
    (plan, life)
}

#[test]
fn a_long_run_keeps_to_its_bounds_too() {
    let janitor = Credential::Token(TokenName::new("janitor"));
    let (plan, mut life) = long_run("1s", Verb::Delete, Fate::LostTimeout);
    audit(&mut life, &[]);
    within(&plan, &life, "deletions are lost");
    let looks = made(&life)[&(janitor.clone(), Verb::Get, "/api/{type}/{namespace}/{repo}/commits/{rev}")];
    assert_eq!(looks, 2 * VISITS_OF_A_RUN, "both were visited as often as may be, in {:?}", life.now);
    let (plan, mut life) = long_run("900s", Verb::Post, Fate::LostTimeout);
    audit(&mut life, &[]);
    within(&plan, &life, "creations are lost");
    let walks = made(&life)[&(janitor, Verb::Get, "/api/organizations/{name}/overview")];
    assert_eq!(walks, 1 + CONTROLS_OF_VISITS, "it was asked for as often as may be, in {:?}", life.now);
}

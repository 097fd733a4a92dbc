//! How soon what changed is found: within a period by the schedule, at once where a token declares it, and where an answer
//! wants another one, soon.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::access::TokenName;
use crate::config::Config;
use crate::exchange::Credential;
use crate::moment::Timestamp;
use crate::report::FindingKind;
use crate::round::Event;
use crate::schedule::{Classes, spread};

use super::life::{Dice, Life, S, configured};
use super::stories::{SERVE, world};

const PERIOD: u64 = 900;

fn watched() -> Arc<Config> {
    configured(
        "
hub: { endpoint: \"http://127.0.0.1:9\", in_flight_horizon: 60s, max_in_flight: 4 }
schedule: { probe: \"0 */15 * * * *\", canary: \"0 */15 * * * *\", declared: \"0 7 * * * *\" }
organizations: [{ name: acme, janitor: janitor, max_creations_per_day: 200 }]
tokens:
  - { name: janitor, organization: acme, secret: { env: J } }
  - name: open
    organization: acme
    secret: { env: A }
    expect:
      - { permission: repo.create, access: denied }
      - { permission: repo.read, repo: acme/known, access: allowed }
  - name: narrow
    organization: acme
    secret: { env: B }
    expect: [{ permission: repo.read, repo: acme/known, access: allowed }]
",
    )
}

/// As it should be, after two rounds of everything.
fn calm(seed: u64) -> Life {
    let mut life = world(watched(), SERVE, seed);
    let open = life.hub.holders.get_mut(&token("open")).expect("a holder");
    (open.creates, open.sees) = (false, true);
    life.start();
    for _ in 0..2 {
        tick(&mut life, Classes::ALL, PERIOD);
    }
    assert!(
        found(&life, FindingKind::UnexpectedDenial).is_none()
            && found(&life, FindingKind::UnexpectedGrant).is_none()
    );
    life
}

fn token(name: &str) -> TokenName {
    TokenName::new(name)
}

/// A tick of the schedule, and so many seconds.
fn tick(life: &mut Life, due: Classes, seconds: u64) {
    life.tell(Event::Due(due));
    let until = life.now + S(seconds);
    life.run_until(until, 50_000);
}

fn sees(life: &mut Life, name: &str, sees: bool) {
    life.hub.holders.get_mut(&token(name)).expect("a holder").sees = sees;
}

/// Since when there is a finding of this kind that lasts.
fn found(life: &Life, kind: FindingKind) -> Option<Timestamp> {
    life.kept.findings.iter().find(|f| f.kind == kind && f.resolved_at.is_none()).map(|f| f.since)
}

/// Checks of this token that were asked so far, its own questions alone.
fn asked(life: &Life, name: &str) -> usize {
    let own = |r: &&(Duration, crate::exchange::Request)| {
        r.1.credential == Credential::Token(token(name)) && r.1.route != "/api/whoami-v2"
    };
    life.asked.iter().filter(own).count()
}

fn declared(permissions: &[&str]) -> Value {
    json!({
        "type": "user", "name": "bob",
        "auth": { "type": "access_token", "accessToken": {
            "displayName": "ci", "createdAt": "2026-01-01T00:00:00.000Z", "role": "fineGrained",
            "fineGrained": { "scoped": [{
                "entity": { "_id": "0000000000000000000000aa", "type": "org", "name": "acme" },
                "permissions": permissions,
            }] },
        } },
        "orgs": [{ "id": "0000000000000000000000aa", "name": "acme", "roleInOrg": "write" }],
    })
}

#[test]
fn a_token_that_declares_something_else_is_probed_at_once_and_no_other() {
    let mut life = calm(3);
    let whoami = Classes { declared: true, ..Classes::default() };
    life.hub.whoami.insert(token("open"), declared(&["repo.content.read"]));
    tick(&mut life, whoami, 120);
    let before = (asked(&life, "open"), asked(&life, "narrow"));
    tick(&mut life, whoami, 120);
    assert_eq!((asked(&life, "open"), asked(&life, "narrow")), before, "nothing changed");
    // Somebody widens the token; its checks would be due in ten minutes.
    life.hub.whoami.insert(token("open"), declared(&["repo.content.read", "repo.write"]));
    life.hub.holders.get_mut(&token("open")).expect("a holder").creates = true;
    let changed = life.wall();
    tick(&mut life, whoami, 30);
    let since = found(&life, FindingKind::UnexpectedGrant).expect("the grant is found");
    assert!(since.since(changed) < S(10), "{:?}", since.since(changed));
    assert_eq!(asked(&life, "narrow"), before.1, "nobody else is asked");
    // Where the round asks its checks anyway, they are asked once.
    let before = asked(&life, "open");
    tick(&mut life, Classes::ALL, PERIOD);
    let usual = asked(&life, "open") - before;
    life.hub.whoami.insert(token("open"), declared(&["repo.content.read"]));
    let before = asked(&life, "open");
    tick(&mut life, Classes::ALL, PERIOD);
    assert_eq!(asked(&life, "open") - before, usual);
}

#[test]
fn a_token_that_declares_something_else_every_time_is_probed_once_a_minute_at_most() {
    let mut life = calm(4);
    let whoami = Classes { declared: true, ..Classes::default() };
    tick(&mut life, whoami, 60);
    let before = asked(&life, "open");
    life.hub.whoami.insert(token("open"), declared(&["repo.write"]));
    tick(&mut life, whoami, 300);
    let once = asked(&life, "open") - before;
    assert!(once > 0);
    let before = asked(&life, "open");
    for turn in 0..30 {
        let says = if turn % 2 == 0 { declared(&["repo.content.read"]) } else { declared(&["repo.write"]) };
        life.hub.whoami.insert(token("open"), says);
        tick(&mut life, whoami, 10);
    }
    let asked = asked(&life, "open") - before;
    assert!((once..=once * 6).contains(&asked), "{asked} in five minutes, {once} each time");
}

#[test]
fn a_denial_that_wants_another_gets_it_in_a_quarter_of_its_period_and_then_no_more() {
    let mut life = calm(5);
    sees(&mut life, "open", false);
    let begun = life.wall();
    let probe = Classes { probe: true, ..Classes::default() };
    tick(&mut life, probe, 200);
    assert_eq!(found(&life, FindingKind::UnexpectedDenial), None, "one is none");
    let others = asked(&life, "narrow");
    let until = life.now + S(100);
    life.run_until(until, 50_000);
    let since = found(&life, FindingKind::UnexpectedDenial).expect("the denial is confirmed");
    assert!(since.since(begun) <= S(PERIOD / 4) + spread(S(PERIOD)) + S(1), "{:?}", since.since(begun));
    assert_eq!(asked(&life, "narrow"), others, "nobody else is asked");
    let before = asked(&life, "open");
    let until = life.now + S(3600);
    life.run_until(until, 50_000);
    assert_eq!(asked(&life, "open"), before, "what is confirmed waits for its schedule");
}

/// Whenever it flips: a grant is found within a period, its jitter and a timeout; a denial, which wants another one, a quarter
/// of a period later.
#[test]
fn every_flip_is_found_within_a_period() {
    let timeout = watched().hub.request_timeout;
    let within = S(PERIOD) + spread(S(PERIOD)) + timeout;
    let mut latest = (Duration::ZERO, Duration::ZERO);
    for seed in 0..60 {
        let mut dice = Dice::new(seed);
        for grant in [true, false] {
            let mut life = calm(seed);
            // What flips in the middle of a round is told as it was.
            life.held.lenient = true;
            life.tell(Event::Due(Classes::ALL));
            let flips = life.now + Duration::from_millis(dice.roll(PERIOD * 1000));
            let next = life.now + S(PERIOD);
            life.run_until(flips, 50_000);
            let open = life.hub.holders.get_mut(&token("open")).expect("a holder");
            (open.creates, open.sees) = (grant, grant);
            let flipped = life.wall();
            life.run_until(next, 50_000);
            for _ in 0..2 {
                tick(&mut life, Classes::ALL, PERIOD);
            }
            let kind = if grant { FindingKind::UnexpectedGrant } else { FindingKind::UnexpectedDenial };
            let took = found(&life, kind).unwrap_or_else(|| panic!("{kind} of {seed}")).since(flipped);
            let bound = if grant { within } else { within + S(PERIOD / 4) + timeout };
            assert!(took <= bound, "{kind} of {seed}: {took:?}");
            let slot = if grant { &mut latest.0 } else { &mut latest.1 };
            *slot = (*slot).max(took);
        }
    }
    assert!(
        latest.0 > S(PERIOD / 2) && latest.1 > S(PERIOD / 2),
        "some flip right after a probe: {latest:?}"
    );
}

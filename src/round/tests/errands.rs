//! What other replicas send for the one that leads, within whole rounds: the same is found, nothing else is sent by them, and
//! what they do not send is sent from here.

use crate::access::TokenName;
use crate::exchange::Verb;
use crate::round::{Event, Mode};

use super::life::{Life, configured};
use super::stories::{AUDIT, audit, holder, result, world};

/// One request at a time from here, and checks of three kinds: that only read, that create, that are read with two requests.
const CONFIG: &str = "
hub: { endpoint: \"http://127.0.0.1:9\", in_flight_horizon: 1s, max_in_flight: 1 }
organizations: [{ name: acme, janitor: janitor, max_creations_per_day: 200 }]
tokens:
  - { name: janitor, organization: acme, secret: { env: J } }
  - { name: open, organization: acme, secret: { env: A }, expect: [rows] }
  - { name: narrow, organization: acme, secret: { env: B }, expect: [rows, known] }
expectations:
  rows:
    - { permission: repo.create, access: denied }
    - { permission: job.read, access: denied }
    - { permission: org.members, access: denied }
    - { permission: org.billing, access: denied }
    - { permission: org.network_security, access: denied }
  known:
    - { permission: repo.read, repo: acme/known, access: allowed }
    - { permission: repo.write, repo: acme/known, access: denied }
";

fn audited(helpers: Option<usize>, unhelped: u64) -> Life {
    let mode = Mode { read_only: false, ..AUDIT };
    let mut life = world(configured(CONFIG), mode, 1);
    life.helpers = helpers;
    life.unhelped = unhelped;
    audit(&mut life);
    life
}

fn found(life: &Life) -> Vec<String> {
    let report = life.reports.last().expect("a report");
    let told = report.results.iter().map(|r| {
        format!("{} {} {} {} {:?}", r.token, r.permission, r.target, r.found.as_str(), r.found.reason())
    });
    let mut told: Vec<String> = told.collect();
    told.sort();
    told
}

#[test]
fn the_same_is_found_whoever_sends() {
    let alone = audited(None, 0);
    assert!(alone.away.is_empty());
    assert_eq!(result(&alone, "acme/known", "narrow").found.as_str(), "allowed");
    for (helpers, unhelped) in [(1, 0), (8, 0), (8, 50), (8, 100)] {
        let helped = audited(Some(helpers), unhelped);
        assert_eq!(found(&helped), found(&alone), "{helpers} helpers, {unhelped} % come back");
        assert!(!helped.away.is_empty());
    }
}

#[test]
fn only_questions_of_checks_are_sent_by_others_and_what_comes_back_stays() {
    let helped = audited(Some(8), 100);
    assert!(helped.away.iter().all(|request| request.body.is_none() && request.verb != Verb::Delete));
    assert!(helped.away.iter().all(|request| request.route != "/api/whoami-v2"), "limited by address");
    // What came back was sent from here, and is not sent away again.
    for request in &helped.away {
        let asked = helped.asked.iter().filter(|(_, asked)| asked == request).count();
        assert!(asked >= 1, "{request:?}");
    }
    let mut once = helped.away.clone();
    once.dedup();
    assert_eq!(once.len(), helped.away.len(), "sent away twice in a row");
}

#[test]
fn as_many_are_in_the_air_as_there_is_room_here_and_elsewhere() {
    for (helpers, most) in [(0, 1), (1, 2), (2, 3)] {
        let mut life = world(configured(CONFIG), AUDIT, 1);
        life.helpers = Some(helpers);
        life.start();
        life.tell(Event::Once { due: crate::schedule::Classes::ALL, only: vec![] });
        let (mut seen, end) = (0, life.now + super::life::S(600));
        while !life.ended && life.now < end {
            let next = life.now + std::time::Duration::from_millis(1);
            life.run_until(next, 5000);
            seen = seen.max(life.engine().map_or(0, |engine| engine.in_air));
        }
        assert!(life.ended);
        assert_eq!(seen, most, "{helpers} helpers");
    }
}

#[test]
fn what_nobody_had_is_not_taken_back() {
    let mut life = world(configured(CONFIG), AUDIT, 1);
    life.start();
    let request = crate::exchange::Request {
        verb: Verb::Get,
        route: "/api/whoami-v2",
        path: "/api/whoami-v2".into(),
        body: None,
        credential: crate::exchange::Credential::Anonymous,
    };
    life.tell(Event::Returned { flight: 77, request });
    assert!(life.engine().is_some_and(|engine| engine.outgoing.is_empty() && engine.in_air == 0));
}

#[test]
fn creations_wait_until_there_is_room_for_them_here() {
    let names: Vec<String> = (0..6).map(|number| format!("maker{number}")).collect();
    let tokens = names.iter().map(|name| {
        format!("  - {{ name: {name}, organization: acme, secret: {{ env: A }}, expect: [{{ permission: repo.create, access: allowed }}] }}\n")
    });
    let text = format!(
        "hub: {{ endpoint: \"http://127.0.0.1:9\", in_flight_horizon: 1s, max_in_flight: 1 }}\n\
         organizations: [{{ name: acme, janitor: janitor, max_creations_per_day: 200 }}]\n\
         tokens:\n  - {{ name: janitor, organization: acme, secret: {{ env: J }} }}\n{}",
        tokens.collect::<String>()
    );
    let mut life = world(configured(&text), AUDIT, 1);
    for (name, user) in names.iter().zip(["u0", "u1", "u2", "u3", "u4", "u5"]) {
        life.hub.holders.insert(TokenName::new(name), holder(user, true, false, true));
    }
    life.helpers = Some(8);
    audit(&mut life);
    // An intent that waits behind others for longer than it is good for comes to nothing.
    for told in found(&life) {
        assert!(told.ends_with("allowed None"), "{told}");
    }
    assert_eq!(life.posts.len(), names.len());
}

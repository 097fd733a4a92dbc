//! The read-only probes and the creation on a sentinel, within whole rounds; and the Hubs whose word is worth
//! nothing.

use crate::access::TokenName;
use crate::exchange::Verb;
use crate::report::FindingKind;
use crate::round::{Event, Mode};
use crate::schedule::Classes;

use super::hub::Key;
use super::life::{Fate, Life, configured};
use super::stories::{AUDIT, PLAIN, SERVE, audit, holder, only, result, serve_for, world};

const TABLE: &str = "
hub: { endpoint: \"http://127.0.0.1:9\", in_flight_horizon: 60s, max_in_flight: 4 }
organizations: [{ name: acme, janitor: janitor, max_creations_per_day: 200 }]
tokens:
  - { name: janitor, organization: acme, secret: { env: J } }
  - name: open
    organization: acme
    secret: { env: A }
    expect: [rows]
  - name: narrow
    organization: acme
    secret: { env: B }
    expect: [rows]
expectations:
  rows:
    - { permission: job.read, access: denied }
    - { permission: org.members, access: denied }
    - { permission: org.billing, access: denied }
    - { permission: org.network_security, access: denied }
    - { permission: user.webhooks, access: denied }
";

pub const TRIAL: &str = "
hub: { endpoint: \"http://127.0.0.1:9\", in_flight_horizon: 60s, max_in_flight: 4 }
organizations: [{ name: acme, janitor: janitor, max_creations_per_day: 200 }]
tokens:
  - { name: janitor, organization: acme, secret: { env: J } }
  - name: open
    organization: acme
    secret: { env: A }
    expect: [tried]
  - name: narrow
    organization: acme
    secret: { env: B }
    expect: [tried]
expectations:
  tried: [{ permission: repo.create, method: sentinel, sentinel: acme/known, access: denied }]
";

fn found(life: &Life, permission: &str, token: &str) -> (&'static str, Option<&'static str>) {
    let report = life.reports.last().expect("a report");
    let wanted =
        |r: &&crate::report::CheckResult| r.permission.as_str() == permission && r.token.as_str() == token;
    report
        .results
        .iter()
        .map(AsRef::as_ref)
        .find(wanted)
        .map(|r| (r.found.as_str(), r.found.reason()))
        .expect("a result")
}

/// The reasons why the organization is blind, if it is.
fn blindness(life: &Life) -> Option<String> {
    let blind = |f: &&crate::report::Finding| f.kind == FindingKind::Blind && f.permission.is_none();
    let lasting = life.kept.findings.iter().filter(blind).find(|f| f.resolved_at.is_none());
    lasting.map(|finding| finding.detail.clone())
}

#[test]
fn every_row_is_asked_and_judged() {
    let mut life = world(configured(TABLE), AUDIT, 1);
    audit(&mut life);
    for permission in ["job.read", "org.members", "org.billing", "org.network_security"] {
        assert_eq!(found(&life, permission, "open"), ("allowed", None), "{permission}");
        assert_eq!(found(&life, permission, "narrow"), ("denied", Some("scope")), "{permission}");
    }
    assert_eq!(found(&life, "user.webhooks", "open"), ("denied", Some("scope")));
    assert!(life.posts.is_empty() && life.journal.is_empty());
}

#[test]
fn an_answer_to_another_user_is_none_to_this_token() {
    let own = world(configured(TABLE), AUDIT, 1).hub.holders[&TokenName::new("open")].user;
    for (name, access) in [(own, "allowed"), ("somebody", "undetermined")] {
        let mut life = world(configured(TABLE), AUDIT, 1);
        let whoami = serde_json::json!({ "type": "user", "name": name, "auth": {}, "orgs": [] });
        life.hub.whoami.insert(TokenName::new("open"), whoami);
        audit(&mut life);
        assert_eq!(found(&life, "job.read", "open").0, access, "{name}");
    }
}

#[test]
fn what_is_open_to_everybody_is_no_grant() {
    let mut life = world(configured(TABLE), AUDIT, 1);
    life.hub.open_members = true;
    audit(&mut life);
    assert_eq!(found(&life, "org.members", "open"), ("undetermined", Some("no_control")));
    assert_eq!(found(&life, "org.members", "narrow"), ("undetermined", Some("no_control")));
}

#[test]
fn who_is_shown_more_than_everybody_is_granted_it() {
    let mut life = world(configured(TABLE), AUDIT, 1);
    (life.hub.open_members, life.hub.roles) = (true, true);
    audit(&mut life);
    assert_eq!(found(&life, "org.members", "open"), ("allowed", None));
    assert_eq!(found(&life, "org.members", "narrow"), ("undetermined", Some("no_control")));
}

#[test]
fn under_read_only_no_post_leaves_though_it_would_change_nothing() {
    for text in [TABLE, TRIAL] {
        let mut life = world(configured(text), Mode { read_only: true, one_shot: true }, 1);
        audit(&mut life);
        let report = life.reports.last().expect("a report");
        let read_only = report.results.iter().filter(|r| r.found.reason() == Some("read_only")).count();
        assert_eq!(read_only, 2);
    }
}

#[test]
fn a_sentinel_shows_who_may_create_and_creates_nothing() {
    let mut life = world(configured(TRIAL), AUDIT, 1);
    audit(&mut life);
    assert_eq!(found(&life, "repo.create", "open"), ("allowed", None));
    assert_eq!(found(&life, "repo.create", "narrow"), ("denied", Some("scope")));
    assert_eq!((life.trials, life.posts.len(), life.hub.left().len()), (2, 0, 0));
    assert!(life.journal.is_empty() && result(&life, "model", "open").canary.is_none());
}

#[test]
fn a_sentinel_that_is_not_seen_is_not_tried() {
    let mut life = world(configured(TRIAL), AUDIT, 1);
    life.hub.repos.clear();
    audit(&mut life);
    assert_eq!(found(&life, "repo.create", "open"), ("undetermined", Some("target_missing")));
    assert_eq!(life.trials, 0);
}

#[test]
fn a_sentinel_whose_trial_is_not_durable_is_not_tried() {
    let mut life = world(configured(TRIAL), AUDIT, 1);
    life.bad_writes = 100;
    audit(&mut life);
    assert_eq!(found(&life, "repo.create", "open"), ("undetermined", Some("intent_not_stored")));
    assert_eq!(life.trials, 0);
}

#[test]
fn a_sentinel_that_vanished_is_never_deleted_and_latches() {
    let mut life = world(configured(TRIAL), AUDIT, 1);
    life.hub.vanishing = true;
    audit(&mut life);
    assert_eq!(found(&life, "repo.create", "open"), ("allowed", None));
    assert_eq!((life.kept.breakers.len(), life.deletes.len()), (1, 0));
    let key: Key = (crate::access::RepoType::Model, "acme/known".to_owned());
    assert!(life.hub.repos.contains_key(&key), "what it made is for a person");
    let left = life.kept.findings.iter().find(|f| f.kind == FindingKind::CanaryLeft).expect("a finding");
    assert!(left.detail.contains("acme/known"), "{}", left.detail);
    // Latched: nothing is tried any more.
    let tried = life.trials;
    life.mode = AUDIT;
    audit(&mut life);
    assert_eq!(life.trials, tried);
}

#[test]
fn accidents_on_a_sentinel_are_no_verdict_and_leave_no_lock() {
    let fates =
        [Fate::AppliedTimeout, Fate::Error, Fate::Html, Fate::Odd, Fate::Limited, Fate::Cap, Fate::Busy];
    for fate in fates {
        let mut life = world(configured(TRIAL), SERVE, 1);
        life.fate = only(Verb::Post, 1, fate);
        life.start();
        serve_for(&mut life, 800);
        // Whose POST came first fared badly; the other one did not.
        let both = ["open", "narrow"].map(|token| found(&life, "repo.create", token).0);
        assert_eq!(both.iter().filter(|access| **access == "undetermined").count(), 1, "{fate:?}: {both:?}");
        serve_for(&mut life, 24 * 3600);
        assert_eq!(found(&life, "repo.create", "open"), ("allowed", None), "{fate:?}");
        assert_eq!(found(&life, "repo.create", "narrow").0, "denied", "{fate:?}");
    }
}

#[test]
fn tokens_of_one_user_try_one_after_the_other_and_soon_after_the_look() {
    let more = "
  - { name: second, organization: acme, secret: { env: C }, expect: [tried] }
  - { name: third, organization: acme, secret: { env: D }, expect: [{ permission: repo.create, access: denied }] }
expectations:";
    let mut tried = 0;
    for seed in 1..30 {
        let mut life = world(configured(&TRIAL.replace("\nexpectations:", more)), SERVE, seed);
        for token in ["second", "third"] {
            life.hub.holders.insert(TokenName::new(token), holder("bob", true, false, true));
        }
        life.delays = 50;
        life.slow_write = super::life::S(3);
        life.start();
        serve_for(&mut life, 1800);
        // Whatever was too late was not sent: that is what the life itself checks.
        tried += life.trials;
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn a_stop_in_the_middle_of_a_trial_ends_it() {
    for events in 1..40 {
        let mut life = world(configured(TRIAL), SERVE, 1);
        life.start();
        life.tell(Event::Due(Classes::ALL));
        for _ in 0..events {
            let Some((at, _)) = life.queue.keys().next().copied() else { break };
            life.run_until(at, 5000);
        }
        life.tell(Event::Stop);
        let until = life.now + super::life::S(60);
        life.run_until(until, 5000);
        assert!(life.ended, "after {events} moments");
    }
}

#[test]
fn a_hub_that_says_yes_or_no_to_everything_is_blindness_and_nothing_is_created() {
    for (says, config) in [(true, PLAIN), (false, PLAIN), (true, TRIAL), (false, TABLE)] {
        let mut life = world(configured(config), AUDIT, 1);
        life.hub.says = Some(says);
        audit(&mut life);
        let report = life.reports.last().expect("a report");
        assert_eq!(report.summary.unknown, report.summary.checks, "{says}");
        assert_eq!((life.posts.len(), life.trials), (0, 0), "nothing is tried");
        let why = blindness(&life).expect("it says so");
        assert!(why.contains("acme") && why.contains("did not confirm"), "{why}");
        life.hub.says = None;
        audit(&mut life);
        assert_eq!(blindness(&life), None, "it ends with the first round whose controls hold");
    }
}

#[test]
fn an_outage_or_a_limit_is_not_blindness() {
    for fate in [Fate::LostTimeout, Fate::Error, Fate::Limited] {
        let mut life = world(configured(PLAIN), AUDIT, 1);
        life.fate = Box::new(move |_, _| fate);
        audit(&mut life);
        assert_eq!(blindness(&life), None, "{fate:?}");
    }
}

#[test]
fn what_is_latched_off_during_the_look_at_a_sentinel_or_the_write_of_an_intent_is_not_tried() {
    let mut latched = 0;
    for config in [TRIAL.to_owned(), PLAIN.replace("repo.create, type: dataset", "org.billing")] {
        for seed in 1..60 {
            let mut life = world(configured(&config), SERVE, seed);
            life.hub.holders.insert(TokenName::new("narrow"), holder("carl", true, true, true));
            (life.hub.vanishing, life.hub.makes_public) = (true, true);
            life.slow_write = super::life::S(3);
            life.start();
            // That nothing is asked although it is latched is what the life itself checks.
            serve_for(&mut life, 900);
            latched += life.kept.breakers.len();
        }
    }
    assert!(latched > 100, "{latched}");
}

#[test]
fn what_bars_a_token_from_the_organization_is_no_reason_of_its_users_own_settings() {
    let mut life = world(configured(TABLE), AUDIT, 1);
    let whoami = serde_json::json!({ "name": "carl", "auth": {},
        "orgs": [{ "name": "acme", "roleInOrg": "write", "securityRestrictions": ["sso"] }] });
    life.hub.whoami.insert(TokenName::new("narrow"), whoami);
    audit(&mut life);
    assert_eq!(found(&life, "org.billing", "narrow"), ("denied", Some("sso")));
    assert_eq!(found(&life, "user.webhooks", "narrow"), ("denied", Some("scope")));
    let report = life.reports.last().expect("a report");
    let told = |permission: &str| {
        let mut mine = report.results.iter().filter(|r| r.token.as_str() == "narrow");
        mine.any(|r| r.permission.as_str() == permission && r.explanation().contains("restricts this token"))
    };
    assert!(told("org.billing") && !told("user.webhooks"));
}

#[test]
fn a_repository_elsewhere_is_under_the_rules_of_its_own_organization() {
    let config = configured(&TABLE.replace("permission: job.read", "permission: repo.read, repo: other/x"));
    let ruled: Vec<Option<&str>> = config.tokens[1].checks.iter().map(|check| check.ruled_by()).collect();
    assert_eq!(ruled, [Some("other"), Some("acme"), Some("acme"), Some("acme"), None]);
}

#[test]
fn trials_of_past_days_are_not_remembered() {
    let mut life = world(configured(TRIAL), SERVE, 1);
    life.start();
    serve_for(&mut life, 4 * 24 * 3600);
    let remembered = life.engine().expect("it serves").creations.values().flatten().count();
    assert!(life.trials > 500 && remembered < life.trials / 3, "{remembered} of {}", life.trials);
}

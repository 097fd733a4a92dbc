//! Predictions within rounds: what is predicted stands beside what is observed, and where they part a finding
//! says so; an answer that is none changes nothing.

use serde_json::{Value, json};

use crate::access::{RepoType, TokenName};
use crate::exchange::{Credential, Request, Verb};
use crate::report::{CheckResult, Finding, FindingKind};
use crate::round::Event;

use super::hub::Holder;
use super::life::{Fate, Life, configured};
use super::stories::{AUDIT, SERVE, audit, holder, serve_for, world};

const ASKED: &str = "
hub: { endpoint: \"http://127.0.0.1:9\", in_flight_horizon: 60s, max_in_flight: 4 }
organizations: [{ name: acme, janitor: janitor, max_creations_per_day: 200 }]
tokens:
  - { name: janitor, organization: acme, secret: { env: J } }
  - name: open
    organization: acme
    secret: { env: A }
    expect: [{ permission: repo.create, access: denied }]
";

/// A fine-grained token of bob, who has this role, naming these permissions of the organization.
pub fn whoami(role: &str, permissions: &[&str]) -> Value {
    let scoped = json!([{ "entity": { "_id": "0".repeat(24), "type": "org", "name": "acme" },
                          "permissions": permissions }]);
    let fine = json!({ "scoped": scoped });
    let token = json!({ "displayName": "t", "role": "fineGrained", "createdAt": "x", "fineGrained": fine });
    let org = json!({ "name": "acme", "id": "0".repeat(24), "roleInOrg": role, "plan": "enterprise" });
    json!({ "type": "user", "name": "bob", "auth": { "type": "access_token", "accessToken": token },
            "orgs": [org] })
}

fn life(role: &str, permissions: &[&str], holds: Holder) -> Life {
    let mut life = world(configured(ASKED), AUDIT, 1);
    let open = TokenName::new("open");
    life.hub.holders.insert(open.clone(), holds);
    life.hub.whoami.insert(open, whoami(role, permissions));
    life
}

fn created(life: &Life) -> CheckResult {
    let report = life.reports.last().expect("a report");
    report.results.iter().find(|r| r.target == "model").expect("a result").as_ref().clone()
}

fn lasting(life: &Life, kind: FindingKind) -> Vec<String> {
    let of = life.kept.findings.iter().filter(|f| f.kind == kind && f.resolved_at.is_none());
    of.map(|f| f.detail.clone()).collect()
}

fn mismatch(life: &Life) -> Option<bool> {
    let shown = life.shown.clone().expect("something is shown");
    shown
        .checks
        .iter()
        .flat_map(|own| own.iter())
        .find(|c| c.key.target == "model")
        .expect("it is there")
        .prediction_mismatch
}

#[test]
fn what_agrees_is_shown_and_raises_nothing() {
    let mut life = life("write", &["repo.write"], holder("bob", true, false, true));
    audit(&mut life);
    assert_eq!((created(&life).found.as_str(), created(&life).predicted), ("allowed", Some("allowed")));
    assert_eq!(mismatch(&life), Some(false));
    assert_eq!(lasting(&life, FindingKind::PredictionMismatch), [""; 0]);
}

#[test]
fn a_grant_that_the_documents_deny_is_a_mismatch_until_they_agree() {
    let mut life = life("write", &[], holder("bob", true, false, true));
    audit(&mut life);
    assert_eq!((created(&life).found.as_str(), created(&life).predicted), ("allowed", Some("denied")));
    assert_eq!(mismatch(&life), Some(true));
    let [told]: [String; 1] = lasting(&life, FindingKind::PredictionMismatch).try_into().expect("one");
    let wanted = "'open' can create a model in 'acme', though the Hub's documented model denies it";
    assert!(told.starts_with(wanted), "{told}");
    let open = TokenName::new("open");
    life.hub.whoami.insert(open, whoami("write", &["repo.write"]));
    audit(&mut life);
    assert_eq!(mismatch(&life), Some(false));
    assert_eq!(lasting(&life, FindingKind::PredictionMismatch), [""; 0]);
}

#[test]
fn a_denial_by_the_role_alone_is_a_latent_grant() {
    let mut life = life("read", &["repo.write"], holder("bob", false, false, true));
    audit(&mut life);
    assert_eq!((created(&life).found.as_str(), created(&life).predicted), ("denied", Some("denied")));
    let [told]: [String; 1] = lasting(&life, FindingKind::LatentGrant).try_into().expect("one");
    assert!(told.contains("only because of its user's role"), "{told}");
    // Neither scope nor role: nothing is latent.
    life.hub.whoami.insert(TokenName::new("open"), whoami("read", &[]));
    audit(&mut life);
    assert_eq!(lasting(&life, FindingKind::LatentGrant), [""; 0]);
}

#[test]
fn no_answer_changes_no_prediction() {
    let mut life = life("write", &[], holder("bob", true, false, true));
    life.mode = SERVE;
    life.start();
    serve_for(&mut life, 600);
    assert_eq!(lasting(&life, FindingKind::PredictionMismatch).len(), 1);
    life.hub.whoami.insert(TokenName::new("open"), whoami("write", &["repo.write"]));
    for fate in [Fate::Error, Fate::Limited, Fate::LostTimeout, Fate::Html] {
        life.fate = Box::new(move |request, _| if request.verb == Verb::Post { fate } else { Fate::Fine });
        serve_for(&mut life, 3600);
        assert_eq!(lasting(&life, FindingKind::PredictionMismatch).len(), 1, "{fate:?}");
    }
    life.tell(Event::Stop);
}

#[test]
fn what_changed_since_the_whoami_is_asked_again_before_it_is_told() {
    let mut life = life("write", &[], holder("bob", false, false, true));
    life.mode = SERVE;
    life.start();
    serve_for(&mut life, 600);
    assert_eq!((created(&life).found.as_str(), mismatch(&life)), ("denied", Some(false)));
    // Somebody widens the token; the next whoami is an hour away.
    let open = TokenName::new("open");
    life.hub.holders.insert(open.clone(), holder("bob", true, false, true));
    life.hub.whoami.insert(open, whoami("write", &["repo.write"]));
    serve_for(&mut life, 1200);
    assert_eq!((created(&life).found.as_str(), mismatch(&life)), ("allowed", Some(false)));
    let ever = |kind| life.kept.findings.iter().any(|f| f.kind == kind);
    assert!(!ever(FindingKind::PredictionMismatch) && !ever(FindingKind::LatentGrant));
}

#[test]
fn a_mismatch_that_somebody_accepted_is_no_reason_to_ask_whoami_in_every_round() {
    let ignores = "ignores: [{ token: open, permission: repo.create, target: model, kind: prediction_mismatch, owner: me, reason: known, until: 2030-01-01 }]\n";
    let schedule =
        "schedule: { probe: \"0 */15 * * * *\", canary: \"0 */15 * * * *\", declared: \"0 7 * * * *\" }\n";
    let asked = |text: &str| {
        let mut life = world(configured(text), SERVE, 1);
        let open = TokenName::new("open");
        life.hub.holders.insert(open.clone(), holder("bob", true, false, true));
        life.hub.whoami.insert(open.clone(), whoami("write", &[]));
        let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let seen = count.clone();
        life.fate = Box::new(move |request, _| {
            if request.route == "/api/whoami-v2" && request.credential == Credential::Token(open.clone()) {
                seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            Fate::Fine
        });
        life.start();
        serve_for(&mut life, 6 * 3600);
        count.load(std::sync::atomic::Ordering::Relaxed)
    };
    let plain = asked(&format!("{ASKED}{schedule}"));
    let accepted = asked(&format!("{ASKED}{schedule}{ignores}"));
    assert_eq!(accepted, plain);
}

#[test]
fn an_answer_from_before_a_change_is_not_held_against_what_is_declared_after_it() {
    let both =
        ASKED.replace("denied }]", "denied }, { permission: repo.create, type: dataset, access: denied }]");
    let mut life = life("write", &[], holder("bob", false, false, true));
    life.config = configured(&both);
    life.mode = SERVE;
    life.start();
    serve_for(&mut life, 600);
    let open = TokenName::new("open");
    for (may, named) in [(true, &["repo.write"][..]), (false, &[]), (true, &["repo.write"])] {
        life.hub.holders.insert(open.clone(), holder("bob", may, false, true));
        life.hub.whoami.insert(open.clone(), whoami("write", named));
        serve_for(&mut life, 1200);
        let mismatches = life.kept.findings.iter().filter(|f| f.kind == FindingKind::PredictionMismatch);
        assert_eq!(mismatches.count(), 0, "the Hub does as its documents say all along");
    }
}

const READ: &str = "
hub: { endpoint: \"http://127.0.0.1:9\", in_flight_horizon: 60s, max_in_flight: 4 }
organizations: [{ name: acme, janitor: janitor }]
tokens:
  - { name: janitor, organization: acme, secret: { env: J } }
  - name: open
    organization: acme
    secret: { env: A }
    expect: [{ permission: repo.read, repo: acme/other, access: denied }]
";

/// A token that names nothing of the repository and is refused it, for some minutes.
fn reader() -> Life {
    let mut life = world(configured(READ), SERVE, 1);
    let (open, now) = (TokenName::new("open"), life.wall());
    life.hub.furnish("acme/other", now);
    life.hub.holders.insert(open.clone(), holder("bob", false, false, false));
    life.hub.whoami.insert(open, whoami("write", &["job.write"]));
    life.start();
    serve_for(&mut life, 600);
    assert_eq!(read(&life), ("denied", Some("denied")));
    life
}

fn read(life: &Life) -> (&'static str, Option<&'static str>) {
    let found = life.reports.last().and_then(|report| report.results.first()).expect("a result");
    (found.found.as_str(), found.predicted)
}

#[test]
fn a_repository_that_became_public_is_looked_at_again_before_it_is_told() {
    let mut life = reader();
    let other = (RepoType::Model, "acme/other".to_owned());
    life.hub.repos.get_mut(&other).expect("it is there").private = false;
    serve_for(&mut life, 3 * 3600);
    // Whether it is gated this Hub does not say, so that nothing is predicted any more.
    assert_eq!(read(&life), ("allowed", None));
    let told = |f: &&Finding| f.kind == FindingKind::PredictionMismatch;
    let ever: Vec<&Finding> = life.kept.findings.iter().filter(told).collect();
    assert!(ever.is_empty(), "{ever:?}");
}

#[test]
fn a_mismatch_about_a_repository_outlives_the_process_and_a_hub_without_an_answer() {
    let mut life = reader();
    life.hub.holders.get_mut(&TokenName::new("open")).expect("a holder").sees = true;
    serve_for(&mut life, 3600);
    assert_eq!(read(&life), ("allowed", Some("denied")));
    assert_eq!(lasting(&life, FindingKind::PredictionMismatch).len(), 1);
    let looks = |request: &Request| request.path == "/api/models/acme/other";
    for fate in [Fate::Error, Fate::LostTimeout, Fate::Fine] {
        life.crash();
        life.start();
        life.fate = Box::new(move |request, _| if looks(request) { fate } else { Fate::Fine });
        serve_for(&mut life, 3 * 3600);
        assert_eq!(read(&life).0, "allowed");
        assert_eq!(lasting(&life, FindingKind::PredictionMismatch).len(), 1, "{fate:?}");
        assert_eq!(
            life.kept.findings.iter().filter(|f| f.kind == FindingKind::PredictionMismatch).count(),
            1
        );
    }
}

#[test]
fn a_repository_that_left_its_group_is_not_judged_by_that_group() {
    let text = ASKED.replace(
        "[{ permission: repo.create, access: denied }]",
        "[{ permission: repo.write, repo: acme/known, access: denied },
             { permission: repo.create, resource_group: team, access: denied }]",
    );
    let mut life = world(configured(&text), SERVE, 1);
    let open = TokenName::new("open");
    life.hub.holders.insert(open.clone(), holder("bob", false, true, false));
    let id = "a".repeat(24);
    let mut said = whoami("no_access", &["repo.write"]);
    said["orgs"][0]["resourceGroups"] = json!([{ "id": id, "name": "team", "role": "write" }]);
    life.hub.whoami.insert(open, said);
    let listed = |resources: Value| {
        let groups = json!([{ "id": id, "name": "team", "users": [], "resources": resources }]);
        super::hub::said(200, &groups)
    };
    let page = "/api/organizations/acme/resource-groups";
    let inside = listed(json!([{ "type": "model", "name": "acme/known", "private": true }]));
    life.hub.pages.insert(page.to_owned(), inside);
    life.start();
    serve_for(&mut life, 600);
    let told = |life: &Life| {
        let mismatches = lasting(life, FindingKind::PredictionMismatch);
        mismatches.iter().any(|detail| detail.contains("write to 'acme/known'"))
    };
    assert!(told(&life), "by the documents the group's writers write");
    life.hub.pages.insert(page.to_owned(), listed(json!([])));
    serve_for(&mut life, 1200);
    assert!(!told(&life), "where it is now nobody knows");
}

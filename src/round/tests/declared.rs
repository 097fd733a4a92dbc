//! Stories of what tokens declare: pinned, widened, narrowed, rotated, lent to another user, about to expire; with
//! restarts and rate limits in between.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::access::TokenName;
use crate::config::Config;
use crate::exchange::{Credential, Request};
use crate::report::{Finding, FindingKind, Snapshot, TokenView};
use crate::round::Event;
use crate::schedule::Classes;

use super::hub::refused;
use super::life::{Fate, Life, Pending, S, configured};
use super::stories::{AUDIT, PLAIN, SERVE, audit, world};

const HOUR: u64 = 3600;

/// One token of bob's that is watched, with this pin; nothing is created in these stories.
fn watched(pin: &str) -> Arc<Config> {
    configured(&format!(
        "
hub: {{ endpoint: \"http://127.0.0.1:9\", in_flight_horizon: 60s, max_in_flight: 4 }}
schedule: {{ probe: \"0 */15 * * * *\", declared: \"0 7 * * * *\" }}
organizations: [{{ name: acme, janitor: janitor }}]
tokens:
  - {{ name: janitor, organization: acme, secret: {{ env: J }} }}
  - name: open
    organization: acme
    secret: {{ env: A }}
    expect: [{{ permission: repo.read, repo: acme/known, access: allowed }}]
{pin}"
    ))
}

fn said(user: &str, permissions: &[&str], role: &str) -> Value {
    json!({
        "type": "user", "name": user,
        "auth": { "type": "access_token", "accessToken": {
            "displayName": "ci", "createdAt": "2026-01-01T00:00:00.000Z", "role": "fineGrained",
            "fineGrained": { "scoped": [{
                "entity": { "_id": "0000000000000000000000aa", "type": "org", "name": "acme" },
                "permissions": permissions,
            }] },
        } },
        "orgs": [{ "id": "0000000000000000000000aa", "name": "acme", "roleInOrg": role }],
    })
}

fn narrow() -> Value {
    said("bob", &["repo.content.read"], "write")
}

fn life_of(config: Arc<Config>) -> Life {
    let mut life = world(config, SERVE, 7);
    life.hub.holders.get_mut(&open()).expect("a holder").sees = true;
    declare(&mut life, narrow());
    // Whom the Hub lists is another story.
    life.hub.pages.insert("/api/organizations/acme/settings/tokens".to_owned(), refused(403, "no"));
    life.start();
    life
}

fn open() -> TokenName {
    TokenName::new("open")
}

fn declare(life: &mut Life, body: Value) {
    life.hub.whoami.insert(open(), body);
}

/// A round of whoami, and some minutes.
fn ask(life: &mut Life) {
    life.tell(Event::Due(Classes { declared: true, probe: true, canary: false }));
    let until = life.now + S(600);
    life.run_until(until, 2000);
}

fn hours(life: &mut Life, hours: u64) {
    for _ in 0..hours {
        ask(life);
        let until = life.now + S(HOUR - 600);
        life.run_until(until, 2000);
    }
}

fn snapshot(life: &Life) -> Arc<Snapshot> {
    life.shown.clone().expect("something is shown")
}

/// The lasting findings of the token, which the engine shows and has stored alike.
fn lasting(life: &Life) -> Vec<FindingKind> {
    let of = |findings: &[Finding]| {
        let mine = findings.iter().filter(|f| f.resolved_at.is_none() && f.token == Some(open()));
        let mine = mine.filter(|f| f.permission.is_none());
        let mut kinds: Vec<FindingKind> = mine.map(|f| f.kind).collect();
        kinds.sort();
        kinds
    };
    assert_eq!(of(&snapshot(life).findings), of(&life.kept.findings), "what is shown is stored");
    of(&snapshot(life).findings)
}

fn detail(life: &Life, kind: FindingKind) -> String {
    let shown = snapshot(life);
    let found = shown.findings.iter().find(|f| f.kind == kind && f.token == Some(open()));
    found.unwrap_or_else(|| panic!("no {kind}")).detail.clone()
}

fn view(life: &Life) -> TokenView {
    snapshot(life).tokens.iter().find(|token| token.token == open()).expect("it is configured").clone()
}

#[test]
fn a_token_that_is_not_as_pinned_is_a_finding_as_long_as_it_differs() {
    let pin = "    declared: { user: bob, role: write, scopes: [{ entity: \"org:acme\", permissions: [repo.content.read] }] }";
    let mut life = life_of(watched(pin));
    assert_eq!(view(&life).declared_drift, None, "before the first whoami");
    ask(&mut life);
    assert_eq!(lasting(&life), [FindingKind::DeclaredChanged]);
    assert_eq!(
        detail(&life, FindingKind::DeclaredChanged),
        "'open' is not as pinned: role is 'fineGrained', pinned 'write'; correct the token on the Hub, or its `declared` in the config"
    );
    assert_eq!(view(&life).declared_drift, Some(true));
    hours(&mut life, 30);
    assert_eq!(lasting(&life), [FindingKind::DeclaredChanged], "no day makes it right");
    // The pin is corrected; what is known is judged anew at once, without another whoami.
    life.tell(Event::Configured(watched(&pin.replace("role: write", "role: fineGrained"))));
    assert_eq!(view(&life).declared_drift, Some(false));
    ask(&mut life);
    assert_eq!(lasting(&life), []);
    // With scopes pinned, a change of scopes is the pin's to tell.
    declare(&mut life, said("bob", &["repo.content.read", "org.write"], "write"));
    ask(&mut life);
    assert!(lasting(&life).contains(&FindingKind::DeclaredChanged));
    assert!(!detail(&life, FindingKind::DeclaredChanged).contains("than before"));
    declare(&mut life, narrow());
    ask(&mut life);
    assert_eq!(lasting(&life), []);
}

#[test]
fn a_scope_that_is_widened_in_mid_life_is_told_until_it_is_narrowed() {
    let mut life = life_of(watched(""));
    hours(&mut life, 3);
    assert_eq!((lasting(&life), view(&life).declared_drift), (vec![], Some(false)));
    declare(&mut life, said("bob", &["repo.content.read", "repo.write"], "write"));
    ask(&mut life);
    assert_eq!(lasting(&life), [FindingKind::DeclaredChanged, FindingKind::UncheckedPermission]);
    assert!(detail(&life, FindingKind::DeclaredChanged).contains("gained repo.write on 'org:acme'"));
    assert_eq!((view(&life).declared_drift, view(&life).unchecked_permissions), (Some(false), Some(1)));
    declare(&mut life, narrow());
    ask(&mut life);
    assert_eq!((lasting(&life), view(&life).unchecked_permissions), (vec![], Some(0)));
    declare(&mut life, said("bob", &["repo.content.read", "org.write"], "write"));
    hours(&mut life, 24);
    assert!(lasting(&life).contains(&FindingKind::DeclaredChanged));
    hours(&mut life, 2);
    assert_eq!(lasting(&life), [FindingKind::UncheckedPermission], "after a day it is the new normal");
}

#[test]
fn role_and_rules_of_the_organization_are_told_apart() {
    let mut life = life_of(watched(""));
    ask(&mut life);
    declare(&mut life, said("bob", &["repo.content.read"], "admin"));
    ask(&mut life);
    assert_eq!(lasting(&life), [FindingKind::RoleChanged]);
    assert!(detail(&life, FindingKind::RoleChanged).contains("is 'admin', before 'write'"));
    let mut restricted = narrow();
    restricted["orgs"][0]["securityRestrictions"] = json!(["sso"]);
    declare(&mut life, restricted);
    ask(&mut life);
    assert_eq!(lasting(&life), [FindingKind::PolicyChanged]);
    declare(&mut life, said("bob", &["repo.content.read"], "write"));
    life.hub.whoami.get_mut(&open()).expect("whoami")["orgs"] = json!([]);
    ask(&mut life);
    assert_eq!(lasting(&life), [FindingKind::RoleChanged]);
    assert!(detail(&life, FindingKind::RoleChanged).contains("no longer shown in 'acme'"));
}

#[test]
fn a_rotated_secret_is_told_also_over_a_restart_and_of_the_same_user_nothing_else() {
    let mut life = life_of(watched(""));
    ask(&mut life);
    life.rotated.insert(open(), "another print");
    ask(&mut life);
    assert_eq!(lasting(&life), [FindingKind::Rotated]);
    hours(&mut life, 2);
    life.restart();
    hours(&mut life, 2);
    assert_eq!(lasting(&life), [FindingKind::Rotated]);
    let begun = snapshot(&life).findings[0].since;
    hours(&mut life, 21);
    assert_eq!(lasting(&life), []);
    assert_eq!(snapshot(&life).findings[0].since, begun, "one episode");
    life.restart();
    hours(&mut life, 2);
    assert_eq!(lasting(&life), [], "and none more");
}

#[test]
fn a_rotation_while_the_daemon_was_off_is_told_with_the_new_owner_and_scopes() {
    let mut life = life_of(watched(""));
    ask(&mut life);
    life.crash();
    life.rotated.insert(open(), "another print");
    declare(&mut life, said("eve", &["repo.content.read", "repo.write"], "write"));
    // The first whoami of the new secret is refused: of its owner nothing is said yet.
    life.fate = limited_whoami();
    life.start();
    ask(&mut life);
    assert_eq!(lasting(&life), [FindingKind::Rotated]);
    assert_eq!((view(&life).declared_drift, view(&life).unchecked_permissions), (None, None));
    life.fate = Box::new(|_, _| Fate::Fine);
    ask(&mut life);
    let all = [
        FindingKind::Rotated,
        FindingKind::DeclaredChanged,
        FindingKind::OwnerChanged,
        FindingKind::UncheckedPermission,
    ];
    assert_eq!(lasting(&life), all);
    assert!(detail(&life, FindingKind::OwnerChanged).contains("it is eve's, before bob's"));
    life.restart();
    ask(&mut life);
    assert_eq!(lasting(&life), all);
    // The old secret is put back.
    life.rotated.clear();
    declare(&mut life, narrow());
    ask(&mut life);
    assert_eq!(lasting(&life), []);
}

fn limited_whoami() -> super::life::Decider {
    Box::new(
        |request: &Request, _| {
            if request.route == "/api/whoami-v2" { Fate::Limited } else { Fate::Fine }
        },
    )
}

#[test]
fn a_refused_or_failed_whoami_changes_nothing_that_is_told() {
    for fate in [Fate::Limited, Fate::Error, Fate::LostTimeout, Fate::Html, Fate::LateAcknowledged(S(1))] {
        let mut life = life_of(watched(""));
        ask(&mut life);
        declare(&mut life, said("eve", &["repo.write"], "admin"));
        ask(&mut life);
        let (before, shown) = (lasting(&life), view(&life));
        assert_eq!(before.len(), 4, "{before:?}");
        declare(&mut life, narrow());
        life.fate =
            Box::new(move |request, _| if request.route == "/api/whoami-v2" { fate } else { Fate::Fine });
        hours(&mut life, 3);
        assert_eq!(lasting(&life), before, "{fate:?}");
        assert_eq!(view(&life), TokenView { usable: Some(true), ..shown }, "{fate:?}");
        let unusable = FindingKind::TokenUnusable;
        assert!(!life.kept.findings.iter().any(|f| f.kind == unusable), "{fate:?} proves nothing of a token");
    }
}

#[test]
fn an_expiry_ahead_is_told_in_time_and_stays_told_when_it_is_past() {
    let mut life = life_of(watched(""));
    let ahead = |life: &Life, days: u64| {
        let mut body = narrow();
        body["auth"]["expiresAt"] = json!((life.wall() + S(days * 24 * HOUR)).to_string());
        body
    };
    for (days, told) in [(15, false), (14, true), (30, false), (1, true)] {
        let body = ahead(&life, days);
        declare(&mut life, body);
        ask(&mut life);
        assert_eq!(lasting(&life), if told { vec![FindingKind::ExpiresSoon] } else { vec![] }, "{days} days");
    }
    assert!(detail(&life, FindingKind::ExpiresSoon).contains("expires at"));
    assert!(view(&life).expires_at.is_some());
    hours(&mut life, 26);
    assert_eq!(lasting(&life), [FindingKind::ExpiresSoon]);
    assert!(detail(&life, FindingKind::ExpiresSoon).contains("expired at"));
    declare(&mut life, narrow());
    ask(&mut life);
    assert_eq!(lasting(&life), []);
}

#[test]
fn words_that_nobody_knows_are_a_finding_and_stay_out_of_the_log() {
    let mut life = life_of(watched(""));
    declare(&mut life, said("bob", &["repo.content.read", "repo.\u{1b}[31mteleport"], "emperor"));
    ask(&mut life);
    assert_eq!(lasting(&life), [FindingKind::UnknownPermission, FindingKind::UncheckedPermission]);
    assert!(
        detail(&life, FindingKind::UnknownPermission)
            .contains("permission 'repo.[31mteleport' on 'org:acme'")
    );
    declare(&mut life, said("teleporter", &["repo.teleport"], "emperor"));
    ask(&mut life);
    declare(&mut life, narrow());
    ask(&mut life);
    assert!(life.log.iter().any(|line| line.starts_with("unknown_permission: token 'open' of 'acme'")));
    assert!(life.log.iter().any(|line| line.starts_with("owner_changed is over: token 'open' of 'acme'")));
    for line in &life.log {
        assert!(!["teleport", "emperor", "bob"].iter().any(|word| line.contains(word)), "{line}");
    }
}

#[test]
fn what_was_accepted_is_no_finding_until_the_day_is_over() {
    let ignores =
        "ignores: [{ token: open, kind: declared_changed, owner: me, reason: x, until: 2026-11-21 }]\n";
    let pin = "    declared: { role: write }\n";
    let mut life = life_of(watched(&format!("{pin}{ignores}")));
    // It is a minute and a half before midnight.
    ask(&mut life);
    assert_eq!((lasting(&life), view(&life).declared_drift), (vec![], Some(false)));
    ask(&mut life);
    assert_eq!(
        (lasting(&life), view(&life).declared_drift),
        (vec![FindingKind::DeclaredChanged, FindingKind::IgnoreExpired], Some(true))
    );
    let narrowed = "ignores: [{ token: open, kind: declared_changed, permission: repo.read, owner: me, reason: x, until: 2027-11-22 }]\n";
    life.tell(Event::Configured(watched(&format!("{pin}{narrowed}"))));
    assert_eq!(view(&life).declared_drift, Some(true), "of a check, not of the token");
}

#[test]
fn a_body_of_the_first_version_is_taken_over() {
    let mut life = life_of(watched(""));
    let body = r#"{"user":"bob","role":"fineGrained","scopes":[{"kind":"org","name":"acme","id":null,"permissions":["org.read"]}],
        "expires_at":null,"organizations":[{"name":"acme","id":null,"role":"read","restrictions":[],"groups":[]}]}"#;
    life.kept.declared.push(crate::store::Declared {
        token: open(),
        fingerprint: "print of open".into(),
        at: life.wall(),
        body: body.into(),
    });
    let mut now = narrow();
    now["orgs"][0]["plan"] = json!("team");
    declare(&mut life, now);
    life.restart();
    ask(&mut life);
    assert_eq!(lasting(&life), [FindingKind::DeclaredChanged, FindingKind::RoleChanged]);
    assert!(
        !detail(&life, FindingKind::DeclaredChanged).contains("access_token"),
        "read now for the first time"
    );
    hours(&mut life, 1);
    assert_eq!(lasting(&life).len(), 2);
}

#[test]
fn another_canary_key_makes_no_secret_another_one() {
    let mut life = life_of(watched(""));
    ask(&mut life);
    let stored = life.kept.declared.iter_mut().find(|kept| kept.token == open()).expect("stored");
    assert!(stored.body.contains("\"key\":\""));
    let mut body: Value = serde_json::from_str(&stored.body).expect("JSON");
    body["key"] = json!("other");
    stored.body = body.to_string();
    life.rotated.insert(open(), "print by another key");
    life.restart();
    ask(&mut life);
    assert_eq!(lasting(&life), []);
    life.rotated.insert(open(), "another print by it");
    ask(&mut life);
    assert_eq!(lasting(&life), [FindingKind::Rotated]);
}

#[test]
fn a_restriction_is_said_of_what_was_denied_or_undetermined() {
    let mut life = world(configured(PLAIN), AUDIT, 1);
    let mut body = said("carl", &["repo.content.read"], "write");
    body["orgs"][0]["securityRestrictions"] = json!(["sso", "quantum"]);
    life.hub.whoami.insert(TokenName::new("narrow"), body);
    life.fate = Box::new(|request, _| {
        let write = request.route == "/api/{type}/{namespace}/{repo}/auth-check/write";
        if write { Fate::Error } else { Fate::Fine }
    });
    audit(&mut life);
    let report = life.reports.last().expect("a report").clone();
    let of = |permission: &str| {
        let found = report
            .results
            .iter()
            .find(|r| r.token.as_str() == "narrow" && r.permission.as_str() == permission);
        found.unwrap_or_else(|| panic!("no {permission}")).explanation()
    };
    let sentence = "whoami shows that 'acme' restricts this token (another, sso)";
    assert!(of("repo.create").contains(sentence) && of("repo.write").contains(sentence));
    assert!(!of("repo.read").contains("restricts"), "what is allowed is not restricted");
}

/// Whoami is asked once an hour of each token, however often checks run, and not again for some minutes after
/// it was refused; what was heard is used as long as it is fresh.
#[test]
fn whoami_has_a_pace_of_its_own() {
    let far = watched("").as_ref().clone();
    let mut far = Config { ..far };
    (far.hub.loopback, far.hub.endpoint) = (false, "https://hub.example".into());
    let mut life = life_of(Arc::new(far));
    let asked = |life: &Life| {
        let whoami = |(_, r): &&(std::time::Duration, Request)| r.route == "/api/whoami-v2";
        let mine = |(_, r): &&(std::time::Duration, Request)| r.credential == Credential::Token(open());
        life.asked.iter().filter(whoami).filter(mine).count()
    };
    let probe = |life: &mut Life, seconds: u64| {
        life.tell(Event::Due(Classes { probe: true, canary: false, declared: false }));
        let until = life.now + S(seconds);
        life.run_until(until, 500);
    };
    for _ in 0..50 {
        probe(&mut life, 60);
    }
    assert_eq!(asked(&life), 1, "fresh for an hour");
    life.fate = limited_whoami();
    let known = life.reports.last().expect("a report").results[0].declared;
    assert!(known);
    for _ in 0..60 {
        probe(&mut life, 60);
    }
    let refused = asked(&life) - 1;
    assert!((5..=11).contains(&refused), "after its hour once in five minutes: {refused}");
    assert!(!life.reports.last().expect("a report").results[0].declared, "too old to count");
    assert_eq!(snapshot(&life).tokens[1].usable, Some(true));
    // Even a schedule that asks every minute is held back.
    let before = asked(&life);
    for _ in 0..10 {
        life.tell(Event::Due(Classes { probe: false, canary: false, declared: true }));
        let until = life.now + S(60);
        life.run_until(until, 500);
    }
    assert!(asked(&life) - before <= 3, "{}", asked(&life) - before);
}

/// A daemon that starts before the network, or before the Hub is well, must not wait longer than it has to: who is not known
/// proves nothing, so that canaries stay open and their checks unknown.
#[test]
fn a_whoami_that_never_reached_the_hub_is_asked_again_in_the_next_round() {
    let away = |fate: Fate, rounds: u32| {
        let far = watched("").as_ref().clone();
        let mut far = Config { ..far };
        (far.hub.loopback, far.hub.endpoint) = (false, "https://hub.example".into());
        let mut life = life_of(Arc::new(far));
        let known_after = |life: &mut Life, rounds: u32| {
            (0..rounds).find(|_| {
                life.tell(Event::Due(Classes { probe: true, canary: false, declared: false }));
                let until = life.now + S(15);
                life.run_until(until, 500);
                snapshot(life).tokens[1].declared_drift.is_some()
            })
        };
        life.fate = Box::new(move |_, _| fate);
        assert_eq!(known_after(&mut life, rounds), None);
        life.fate = Box::new(|_, _| Fate::Fine);
        known_after(&mut life, 40)
    };
    assert_eq!(away(Fate::Unsent, 1), Some(0), "in the next round");
    // A hundred rounds take more than the burst, and one may be under way when the Hub is back.
    assert!(away(Fate::Unsent, 100).is_some_and(|rounds| rounds <= 1));
    for fate in [Fate::LostTimeout, Fate::Error] {
        assert!(away(fate, 1).is_some_and(|rounds| (1..=5).contains(&rounds)), "{fate:?}: a minute");
    }
}

#[test]
fn what_the_hub_says_of_a_secret_says_nothing_of_the_one_that_took_its_place() {
    let mut life = life_of(watched(""));
    ask(&mut life);
    assert_eq!(view(&life).usable, Some(true));
    // Asked with the old secret, which the Hub refuses by the time; the new one is in place when that is heard.
    life.tell(Event::Due(Classes { declared: true, probe: false, canary: false }));
    let now = life.now;
    life.run_until(now, 2000);
    life.hub.holders.get_mut(&open()).expect("a holder").dead = true;
    life.rotated.insert(open(), "another print");
    life.later(S(0), Pending::Keys);
    life.run_until(now, 2000);
    let until = life.now + S(1);
    life.run_until(until, 2000);
    assert_ne!(view(&life).usable, Some(false), "nobody has asked with it yet");
    let kept = life.kept.declared.iter().filter(|kept| kept.token == open());
    assert!(kept.clone().all(|kept| kept.fingerprint != "another print"), "nobody has asked with it yet");
}

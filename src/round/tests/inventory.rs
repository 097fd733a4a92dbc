//! Stories of inventories: who is in them and not in the config, who is missed, and what an unread one changes.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::access::TokenName;
use crate::config::Config;
use crate::exchange::{Answer, Credential, Verb};
use crate::report::{FindingKind, InventoryView, Snapshot};
use crate::round::{Event, Mode};
use crate::schedule::Classes;

use super::hub::{refused, said};
use super::life::{Fate, Life, S, configured};
use super::stories::{SERVE, world};

const TOKENS: &str = "/api/organizations/acme/settings/tokens";
const ACCOUNTS: &str = "/api/organizations/acme/service-accounts";
const SVC: &str = "00000000000000000000005c";
const AUDIT: Mode = Mode { read_only: true, one_shot: true };

fn config() -> Arc<Config> {
    configured(
        "
hub: { endpoint: \"http://127.0.0.1:9\", in_flight_horizon: 60s, max_in_flight: 4 }
schedule: { probe: \"0 */15 * * * *\", declared: \"0 7 * * * *\" }
organizations: [{ name: acme, janitor: janitor }]
tokens:
  - { name: janitor, organization: acme, secret: { env: J } }
  - name: open
    organization: acme
    secret: { env: A }
    expect: [{ permission: repo.read, repo: acme/known, access: allowed }]
",
    )
}

fn entry(number: u64, label: &str, owner: &str) -> Value {
    json!({
        "_id": format!("{number:024x}"), "displayName": label, "owner": { "_id": "x", "user": owner },
        "role": "write", "last4": "abcd", "status": "active", "createdAt": "2026-01-01T00:00:00.000Z",
    })
}

fn whoami(user: &str, label: &str) -> Value {
    json!({
        "type": "user", "name": user,
        "auth": { "type": "access_token", "accessToken": {
            "displayName": label, "createdAt": "2026-01-01T00:00:00.000Z", "role": "write",
        } },
        "orgs": [{ "id": "0000000000000000000000aa", "name": "acme", "roleInOrg": "write" }],
    })
}

fn ours() -> Vec<Value> {
    vec![entry(1, "janitor's", "alice"), entry(2, "ci", "bob")]
}

fn list(life: &mut Life, entries: &[Value]) {
    life.hub.pages.insert(TOKENS.to_owned(), said(200, &json!(entries)));
}

/// A life whose Hub lists exactly the two configured tokens, and tells nobody of service accounts.
fn life_of(mode: Mode) -> Life {
    let mut life = world(config(), mode, 5);
    life.hub.holders.get_mut(&TokenName::new("open")).expect("a holder").sees = true;
    life.hub.whoami.insert(TokenName::new("janitor"), whoami("alice", "janitor's"));
    life.hub.whoami.insert(TokenName::new("open"), whoami("bob", "ci"));
    list(&mut life, &ours());
    life.hub.pages.insert(ACCOUNTS.to_owned(), refused(403, "no"));
    life.start();
    life
}

fn ask(life: &mut Life) {
    life.tell(Event::Due(Classes { declared: true, probe: true, canary: false }));
    let until = life.now + S(600);
    life.run_until(until, 3000);
}

fn snapshot(life: &Life) -> Arc<Snapshot> {
    life.shown.clone().expect("something is shown")
}

fn lasting(life: &Life) -> Vec<(FindingKind, Option<String>)> {
    let shown = snapshot(life);
    let wanted = [FindingKind::UnmanagedToken, FindingKind::MissingToken];
    let open = shown.findings.iter().filter(|f| f.resolved_at.is_none() && wanted.contains(&f.kind));
    let mut all: Vec<_> =
        open.map(|f| (f.kind, f.target.clone().or(f.token.as_ref().map(|t| t.to_string())))).collect();
    all.sort();
    let stored = life.kept.findings.iter().filter(|f| f.resolved_at.is_none() && wanted.contains(&f.kind));
    assert_eq!(all.len(), stored.count(), "what is shown is stored");
    all
}

fn unmanaged(number: u64) -> (FindingKind, Option<String>) {
    (FindingKind::UnmanagedToken, Some(format!("{number:024x}")))
}

fn view(life: &Life) -> InventoryView {
    snapshot(life).organizations[0].inventory.clone().expect("it was read")
}

#[test]
fn who_is_in_the_inventory_and_not_in_the_config_is_told_until_it_is_gone() {
    let mut life = life_of(SERVE);
    assert_eq!(maybe_view(&life), None);
    ask(&mut life);
    assert_eq!((lasting(&life), view(&life).tokens), (vec![], Ok(2)));
    let mut all = ours();
    all.push(entry(3, "old \u{1b}laptop", "zoe"));
    all.push(
        json!({ "_id": format!("{:024x}", 4), "displayName": "gone", "owner": "zoe", "status": "revoked" }),
    );
    all.push(json!({ "_id": "zoe's own", "displayName": "odd", "owner": "zoe" }));
    list(&mut life, &all);
    ask(&mut life);
    let told = lasting(&life);
    assert_eq!((told.len(), told.contains(&unmanaged(3))), (2, true), "{told:?}");
    for (_, target) in &told {
        let target = target.as_deref().expect("a target");
        assert!(target.len() == 24 && target.bytes().all(|b| b.is_ascii_hexdigit()), "{target}");
    }
    let shown = snapshot(&life);
    let finding = shown.findings.iter().find(|f| f.target.as_deref() == Some(&format!("{:024x}", 3)));
    let finding = finding.expect("a finding");
    assert_eq!((finding.organization.as_str(), finding.token.as_ref()), ("acme", None));
    assert_eq!(
        finding.detail,
        "the Hub lists a token of 'acme' that is not in the config: 'old laptop' of user 'zoe' (role 'write', last four 'abcd', status 'active', last used not shown); add it to `tokens`, or revoke it in the organization's settings"
    );
    assert!(life.log.iter().any(|line| line.contains("2 more in the inventory of 'acme'")));
    assert!(life.log.iter().all(|line| !line.contains("zoe") && !line.contains("laptop")), "{:?}", life.log);
    life.restart();
    ask(&mut life);
    assert_eq!(lasting(&life), told, "one episode over a restart");
    list(&mut life, &ours());
    ask(&mut life);
    assert_eq!(lasting(&life), []);
}

fn maybe_view(life: &Life) -> Option<InventoryView> {
    life.shown.as_ref().and_then(|shown| shown.organizations[0].inventory.clone())
}

#[test]
fn a_live_token_that_the_hub_does_not_list_is_missed_until_it_is() {
    let mut life = life_of(SERVE);
    list(&mut life, &ours()[..1]);
    ask(&mut life);
    assert_eq!(lasting(&life), [(FindingKind::MissingToken, Some("open".into()))]);
    // Its end is told otherwise.
    life.hub.holders.get_mut(&TokenName::new("open")).expect("a holder").dead = true;
    ask(&mut life);
    assert_eq!(lasting(&life), []);
    life.hub.holders.get_mut(&TokenName::new("open")).expect("a holder").dead = false;
    ask(&mut life);
    assert_eq!(lasting(&life).len(), 1);
    list(&mut life, &ours());
    ask(&mut life);
    assert_eq!(lasting(&life), []);
}

#[test]
fn an_inventory_that_is_not_read_changes_nothing_and_says_why() {
    let mut life = life_of(SERVE);
    list(&mut life, &[ours()[0].clone(), entry(3, "laptop", "zoe")]);
    ask(&mut life);
    let told = lasting(&life);
    assert_eq!(told.len(), 2, "one unmanaged, one missing");
    let spoilt = |status: u16, body: Value| said(status, &body);
    let answers: Vec<(Answer, &str)> = vec![
        (refused(403, "no"), "'janitor' may not read it (403)"),
        (refused(404, "no"), "no such list of 'acme' (404)"),
        (refused(402, "no"), "the plan of 'acme'"),
        (refused(429, "no"), "limited the rate"),
        (refused(500, "no"), "answered 500"),
        (spoilt(200, json!({ "error": "no" })), "does not know"),
        (spoilt(200, json!(["x"])), "does not know"),
    ];
    for (answer, why) in answers {
        life.hub.pages.insert(TOKENS.to_owned(), answer.clone());
        ask(&mut life);
        assert_eq!(lasting(&life), told, "{answer:?}");
        let said = view(&life).tokens.expect_err("unread");
        assert!(said.contains(why), "{said}");
        assert!(life.reports.last().expect("a report").summary.unknown == 0, "no check minds");
    }
    // A further page fails: half a list is none.
    let mut first = said(200, &json!(ours()));
    first.link = Some(format!("<https://hub{TOKENS}?cursor=2>; rel=\"next\""));
    life.hub.pages.insert(TOKENS.to_owned(), first);
    life.hub.pages.insert(format!("{TOKENS}?cursor=2"), refused(500, "no"));
    ask(&mut life);
    assert_eq!(lasting(&life), told);
    life.hub.pages.insert(format!("{TOKENS}?cursor=2"), said(200, &json!([entry(9, "late", "eve")])));
    ask(&mut life);
    assert_eq!(lasting(&life), [unmanaged(9)], "and the whole of it is one");
}

#[test]
fn while_a_whoami_is_not_known_nobody_is_called_unmanaged() {
    let mut life = life_of(SERVE);
    life.fate = Box::new(|request, _| {
        let open = request.credential == Credential::Token(TokenName::new("open"));
        if open && request.route == "/api/whoami-v2" { Fate::Limited } else { Fate::Fine }
    });
    let mut all = ours();
    all.push(entry(3, "laptop", "zoe"));
    list(&mut life, &all);
    ask(&mut life);
    assert_eq!(lasting(&life), []);
    assert!(view(&life).pending.expect("a reason").contains("'open'"));
    life.fate = Box::new(|_, _| Fate::Fine);
    ask(&mut life);
    assert_eq!((lasting(&life), view(&life).pending), (vec![unmanaged(3)], None));
    // Rotated, and what the new one is called is not known: what was told stays, and nothing begins.
    life.rotated.insert(TokenName::new("open"), "another print");
    life.fate =
        Box::new(|request, _| if request.route == "/api/whoami-v2" { Fate::Limited } else { Fate::Fine });
    all.push(entry(4, "ci, once more", "bob"));
    list(&mut life, &all);
    ask(&mut life);
    assert_eq!(lasting(&life), [unmanaged(3)]);
    // A secret that cannot be read leaves the token what it was.
    life.rotated.clear();
    life.fate = Box::new(|_, _| Fate::Fine);
    ask(&mut life);
    assert_eq!(lasting(&life), [unmanaged(3), unmanaged(4)]);
    life.bad_keys.push(TokenName::new("open"));
    list(&mut life, &ours());
    ask(&mut life);
    assert_eq!((lasting(&life), view(&life).pending), (vec![], None));
}

#[test]
fn service_accounts_are_a_list_of_their_own() {
    let mut life = life_of(SERVE);
    let detail = format!("{ACCOUNTS}/{SVC}");
    let account = json!({ "_id": SVC, "user": "svc-ci", "name": "CI", "email": "x", "createdAt": "x" });
    let with = |tokens: Value| {
        let mut body = account.clone();
        body["accessTokens"] = tokens;
        said(200, &body)
    };
    life.hub.pages.insert(ACCOUNTS.to_owned(), said(200, &json!([account])));
    let expired = json!({ "_id": format!("{:024x}", 8), "displayName": "old", "role": "fineGrained", "expiration": "2026-01-01T00:00:00Z" });
    let token = json!({ "_id": format!("{:024x}", 7), "displayName": "API Token", "role": "fineGrained" });
    life.hub.pages.insert(detail.clone(), with(json!([token, expired])));
    ask(&mut life);
    let told = [(FindingKind::UnmanagedToken, Some(format!("service-account/{:024x}", 7)))];
    assert_eq!((lasting(&life), view(&life).accounts), (told.to_vec(), Ok(2)));
    // Not readable any more: of the one list nothing changes, of the other all does.
    life.hub.pages.insert(ACCOUNTS.to_owned(), refused(403, "no"));
    list(&mut life, &[ours()[0].clone(), ours()[1].clone(), entry(3, "laptop", "zoe")]);
    ask(&mut life);
    assert_eq!(lasting(&life), [unmanaged(3), told[0].clone()]);
    list(&mut life, &ours());
    ask(&mut life);
    assert_eq!(lasting(&life), told);
    life.hub.pages.insert(ACCOUNTS.to_owned(), said(200, &json!([account])));
    life.hub.pages.insert(detail, with(json!([])));
    ask(&mut life);
    assert_eq!(lasting(&life), []);
}

#[test]
fn five_hundred_are_told_one_by_one_and_the_rest_as_a_number() {
    let mut life = life_of(SERVE);
    let many = |count: u64| -> Vec<Value> {
        ours().into_iter().chain((100..100 + count).map(|n| entry(n, &format!("t{n}"), "zoe"))).collect()
    };
    list(&mut life, &many(503));
    ask(&mut life);
    let told = lasting(&life);
    assert_eq!(told.len(), 501);
    let rest = told.iter().filter(|(_, target)| target.is_none()).count();
    assert_eq!(rest, 1);
    let shown = snapshot(&life);
    let counted = shown.findings.iter().find(|f| f.kind == FindingKind::UnmanagedToken && f.target.is_none());
    assert!(counted.expect("counted").detail.contains("lists 3 more tokens of 'acme'"));
    assert!(life.log.iter().filter(|line| line.contains("unmanaged")).count() <= 2, "not a line for each");
    list(&mut life, &many(499));
    ask(&mut life);
    assert_eq!(lasting(&life).len(), 499);
}

/// In an audit it is read once, after the checks, by the configured token, without a changing request; and the
/// audit shows what it found.
#[test]
fn an_audit_reads_it_once_and_after_its_checks() {
    let mut life = life_of(AUDIT);
    list(&mut life, &[ours()[0].clone(), ours()[1].clone(), entry(3, "laptop", "zoe")]);
    life.tell(Event::Once { due: Classes::ALL, only: vec![] });
    life.run_until(S(3600), 3000);
    assert!(life.ended);
    assert_eq!(lasting(&life), [unmanaged(3)]);
    let inventory: Vec<_> = life.asked.iter().filter(|(_, r)| r.path.starts_with(TOKENS)).collect();
    assert_eq!(inventory.len(), 1);
    assert_eq!(inventory[0].1.credential, Credential::Token(TokenName::new("janitor")));
    let last_check = life.asked.iter().rposition(|(_, r)| r.path.contains("auth-check")).expect("a check");
    let first = life.asked.iter().position(|(_, r)| r.path.starts_with(TOKENS)).expect("it was read");
    assert!(first > last_check);
    assert!(life.asked.iter().all(|(_, request)| request.verb == Verb::Get));
}

#[test]
fn an_audit_of_some_tokens_draws_no_conclusion_about_the_organization() {
    let mut life = life_of(AUDIT);
    list(&mut life, &[entry(3, "laptop", "zoe")]);
    life.tell(Event::Once { due: Classes::ALL, only: vec![TokenName::new("open")] });
    life.run_until(S(3600), 3000);
    assert!(life.ended && life.asked.iter().all(|(_, request)| !request.path.starts_with(TOKENS)));
    assert_eq!(lasting(&life), []);
}

#[test]
fn another_reader_reads_it_and_without_one_nothing_is_told_any_more() {
    let mut life = life_of(SERVE);
    let mut other = config().as_ref().clone();
    other.organizations[0].inventory = Some(TokenName::new("open"));
    life.tell(Event::Configured(Arc::new(other.clone())));
    list(&mut life, &[ours()[0].clone(), ours()[1].clone(), entry(3, "laptop", "zoe")]);
    ask(&mut life);
    assert_eq!(lasting(&life), [unmanaged(3)]);
    let readers = life.asked.iter().filter(|(_, r)| r.path.starts_with(TOKENS));
    assert!(
        readers.map(|(_, r)| r.credential.clone()).all(|r| r == Credential::Token(TokenName::new("open")))
    );
    life.bad_keys.push(TokenName::new("open"));
    ask(&mut life);
    assert!(view(&life).tokens.expect_err("unread").contains("'open'"));
    assert_eq!(lasting(&life), [unmanaged(3)]);
    other.organizations[0].inventory = None;
    life.tell(Event::Configured(Arc::new(other)));
    life.run_until(life.now + S(5), 100);
    assert_eq!((lasting(&life), maybe_view(&life)), (vec![], None));
}

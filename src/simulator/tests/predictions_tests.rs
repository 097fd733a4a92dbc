//! What we predict from a token's whoami against what the simulated Hub then does, over random worlds.
//!
//! The two were written apart, from the same documents: where they contradict each other one has misread them.
//! A prediction may be unknown; how often, and that each permission is predicted both ways, is printed and held
//! to a floor, so that a model that shrugs at everything is noticed. A failure names the seed of its world.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::access::{Permission, Target};
use crate::exchange;
use crate::hub::predict::{self, Group, Known, Place, Prediction, RULES, TokenPolicy};
use crate::hub::whoami;
use crate::simulator::id;
use crate::simulator::words::Feature;
use crate::simulator::words::Gate;
use crate::simulator::words::Kind;
use crate::simulator::words::Plan;
use crate::simulator::words::Role;
use crate::simulator::words::TokenPolicy as Asked;
use crate::simulator::world::Organization;
use crate::simulator::world::RepoEntry;
use crate::simulator::world::Token;
use crate::simulator::world::User;

const WORLDS: u64 = 100_000;
const ME: &str = "uma";

/// Of a hundred predictions of each permission, how many must say something; and of a hundred grants of the Hub,
/// how many must have been foretold. A little below what they are.
#[rustfmt::skip]
const FLOORS: [(Permission, u64, u64); 17] = [
    (Permission::RepoCreate, 82, 58), (Permission::RepoRead, 59, 47), (Permission::RepoWrite, 79, 58),
    (Permission::JobRead, 68, 11), (Permission::JobWrite, 74, 46), (Permission::EndpointRead, 69, 19),
    (Permission::EndpointWrite, 75, 44), (Permission::EndpointInfer, 69, 38), (Permission::OrgMembers, 37, 53),
    (Permission::OrgRepositories, 66, 25), (Permission::OrgAuditLog, 66, 27), (Permission::OrgBilling, 66, 29),
    (Permission::OrgServiceAccounts, 66, 44), (Permission::OrgNetworkSecurity, 64, 12),
    (Permission::OrgResourceGroups, 68, 24), (Permission::UserWebhooks, 53, 29), (Permission::UserBilling, 53, 29),
];

/// How often each rule must be reached, but for those about words that the simulated Hub never says.
const REACHED: u64 = 20;
#[rustfmt::skip]
const UNHEARD: [&str; 6] = [
    "restriction.unheard", "token.unheard", "scope.unnamed", "role.unheard", "group.unheard", "gate.switch_unread",
];

/// SplitMix64: the same worlds in every run.
struct Dice(u64);

impl Dice {
    fn of(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// One question to a world, and what a round happens to know of its target.
struct Question {
    permission: Permission,
    target: Target,
    known: Known,
    method: &'static str,
    path: String,
    body: Value,
}

/// The repository of a world that is asked about.
struct Repository {
    name: String,
    private: bool,
    gated: bool,
    group: Option<&'static str>,
}

struct Scene {
    hub: Hub,
    repo: Repository,
    policy: Asked,
    service_account: bool,
    wanted: Permission,
}

const GROUPS: [&str; 2] = ["lab", "vault"];
const ROLES: [Role; 5] = [Role::NoAccess, Role::Read, Role::Contributor, Role::Write, Role::Admin];

/// The Hub's word that opens a permission, so that some tokens of a random world have what is asked.
fn word(permission: Permission) -> &'static str {
    match permission {
        Permission::RepoCreate | Permission::RepoWrite => "repo.write",
        Permission::RepoRead => "repo.content.read",
        Permission::JobRead | Permission::JobWrite => "job.write",
        Permission::EndpointRead => "inference.endpoints.read",
        Permission::EndpointWrite => "inference.endpoints.write",
        Permission::EndpointInfer => "inference.endpoints.infer.write",
        Permission::OrgMembers | Permission::OrgRepositories => "org.read",
        Permission::OrgAuditLog => "org.auditLog.write",
        Permission::OrgBilling => "org.billing.read",
        Permission::OrgServiceAccounts => "org.serviceAccounts.read",
        Permission::OrgNetworkSecurity => "org.networkSecurity.read",
        Permission::OrgResourceGroups => "org.write",
        Permission::UserWebhooks => "user.webhooks.read",
        Permission::UserBilling => "user.billing.read",
    }
}

fn organization(dice: &mut Dice, service_account: bool) -> Organization {
    let plans = [Some(Plan::Enterprise), Some(Plan::Plus), Some(Plan::Team), Some(Plan::Academia), None];
    let mut acme = Organization {
        plan: dice.pick(&[plans[0], plans[0], plans[1], plans[1], plans[2], plans[3], plans[4]]),
        token_policy: dice.pick(&[
            Asked::Allow,
            Asked::Allow,
            Asked::Allow,
            Asked::FineGrainedOnly,
            Asked::RequireApproval,
        ]),
        ..Organization::default()
    };
    for group in GROUPS {
        let mut users = BTreeMap::from([("ann".to_owned(), Role::Admin)]);
        if !service_account && dice.chance(35) {
            users.insert(ME.to_owned(), dice.pick(&ROLES));
        }
        acme.resource_groups.insert(group.to_owned(), users);
    }
    acme.members.insert("ann".to_owned(), Role::Admin);
    if service_account {
        acme.service_accounts.insert(ME.to_owned());
    } else if dice.chance(85) {
        acme.members
            .insert(ME.to_owned(), dice.pick(&[ROLES[0], ROLES[1], ROLES[2], ROLES[3], ROLES[4], ROLES[4]]));
    }
    acme.can_pay = dice.pick(&[None, None, None, Some(true), Some(false)]);
    // Admins always keep access to every feature (Hub docs, resource groups).
    if acme.members.get(ME) != Some(&Role::Admin) && dice.chance(15) {
        acme.features_off = vec![Feature::Jobs, Feature::InferenceEndpoints];
    }
    acme
}

fn repository(dice: &mut Dice) -> (Repository, RepoEntry) {
    let name = match dice.below(20) {
        0 => format!("{ME}/x"),
        1 => "other/x".to_owned(),
        _ => "acme/x".to_owned(),
    };
    let group = dice.pick(&[None, None, Some(GROUPS[0]), Some(GROUPS[0]), Some(GROUPS[1])]);
    let group = group.filter(|_| name.starts_with("acme/"));
    let (private, gated) = (dice.chance(70), dice.chance(20));
    let mut entry = RepoEntry {
        kind: Some(Kind::Model),
        private,
        gated: Gate::Plain(gated),
        resource_group: group.map(str::to_owned),
        org_members_gated: dice.chance(30),
        author: dice.chance(40).then(|| ME.to_owned()),
        ..RepoEntry::default()
    };
    if dice.chance(50) {
        entry.granted.insert(ME.to_owned());
    }
    (Repository { name, private, gated, group }, entry)
}

fn scopes(dice: &mut Dice, wanted: Permission, repo: &str) -> Value {
    let itself = format!("model:{repo}");
    let entities = [
        "org:acme",
        "org:acme",
        "org:acme",
        "org:acme",
        "user:uma",
        "user:uma",
        "org:other",
        itself.as_str(),
        itself.as_str(),
        "dataset:acme/x",
        "model:acme/y",
        "resource-group:acme/lab",
        "resource-group:acme/vault",
        "collection:acme/z",
    ];
    let words = [
        "repo.write",
        "repo.content.read",
        "org.read",
        "org.write",
        "job.write",
        "inference.endpoints.write",
        "discussion.write",
        "resourceGroup.write",
        "org.members.read",
        "org.serviceAccounts.write",
        "user.webhooks.write",
        "repo.teleport",
    ];
    let one = |dice: &mut Dice| {
        let mut permissions = Vec::new();
        for _ in 0..=dice.below(2) {
            // The last word is one that nobody has heard of.
            let known = if dice.chance(75) { words.len() - 1 } else { words.len() };
            permissions.push(if dice.chance(55) { word(wanted) } else { dice.pick(&words[..known]) });
        }
        let user = word(wanted).starts_with("user.") && dice.chance(60);
        json!({"entity": if user { "user:uma" } else { dice.pick(&entities) }, "permissions": permissions})
    };
    (0..dice.pick(&[0, 1, 1, 1, 2, 3])).map(|_| one(dice)).collect()
}

/// A service account's tokens are fine-grained (Hub docs, service accounts).
fn token(dice: &mut Dice, wanted: Permission, repo: &str, service_account: bool) -> Token {
    let fine = service_account || dice.chance(58);
    let role = if fine {
        "fineGrained"
    } else {
        dice.pick(&["write", "write", "write", "write", "write", "write", "read", "read", "read", "god"])
    };
    let mut token = json!({"secret": "s-uma", "user": ME, "role": role});
    if fine {
        token["scopes"] = scopes(dice, wanted, repo);
        token["gated_repos"] = json!(dice.chance(50));
    }
    if service_account && dice.chance(50) {
        token["permissions"] = json!([word(wanted)]);
        token["repo_ids"] = if dice.chance(40) { json!([format!("model:{repo}")]) } else { json!([]) };
        token["repo_permissions"] = json!([dice.pick(&["repo.content.read", "repo.write"])]);
    } else if dice.chance(4) {
        token["principal"] = json!(dice.pick(&["oauth", "app"]));
    }
    let approval = dice.pick(&["", "", "", "", "", "approved", "approved", "pending", "denied", "revoked"]);
    if !approval.is_empty() {
        token["approval"] = json!(approval);
    }
    if dice.chance(12) {
        let one = dice.pick(&["sso", "mfa", "ip", "token-policy", "token-revoked"]);
        token["restrictions"] = if dice.chance(50) { json!([one]) } else { json!({"acme": [one]}) };
    }
    serde_json::from_value(token).unwrap()
}

fn scene(dice: &mut Dice) -> Scene {
    let wanted = dice.pick(Permission::ALL);
    let service_account = dice.chance(8);
    let acme = organization(dice, service_account);
    let policy = acme.token_policy;
    let (repo, entry) = repository(dice);
    let mut other = Organization::default();
    if dice.chance(40) {
        other.members.insert(ME.to_owned(), dice.pick(&ROLES));
    }
    let mut world = World::default();
    world.organizations.insert("acme".to_owned(), acme);
    world.organizations.insert("other".to_owned(), other);
    world.users.insert(ME.to_owned(), User { hide_orgs: dice.chance(15), ..User::default() });
    world.tokens.insert("mine".to_owned(), token(dice, wanted, &repo.name, service_account));
    world.repos.insert(repo.name.clone(), entry);
    let hub = Hub::new(world, "http://hub.test".to_owned(), 7);
    Scene { hub, repo, policy, service_account, wanted }
}

/// What a round knows is true; what it does not know it does not know.
fn known(dice: &mut Dice, scene: &Scene) -> Known {
    let policy = match scene.policy {
        Asked::Allow => TokenPolicy::Allow,
        Asked::FineGrainedOnly => TokenPolicy::FineGrainedOnly,
        Asked::RequireApproval => TokenPolicy::RequireApproval,
    };
    let group =
        |name: &str| Group { id: Some(id::resource_group("acme", name)), name: Some(name.to_owned()) };
    Known {
        private: dice.chance(85).then_some(scene.repo.private),
        gated: dice.chance(90).then_some(scene.repo.gated),
        place: match dice.chance(80) {
            true => scene.repo.group.map_or(Place::Root, |name| Place::In(group(name))),
            false => Place::Unknown,
        },
        policy: dice.chance(50).then_some(policy),
        service_account: dice.chance(60).then_some(scene.service_account),
    }
}

fn creation(dice: &mut Dice, known: &mut Known) -> (Target, Value) {
    let kind = dice.pick(crate::access::RepoType::ALL);
    let mut body = json!({"name": format!("new-{}", dice.below(1 << 40)), "organization": "acme", "private": true,
                          "type": kind.as_str(), "sdk": "static"});
    let group = match dice.below(20) {
        0..=8 => None,
        9 => Some(("nowhere", id::resource_group("acme", "nowhere"))),
        at => Some((GROUPS[at % 2], id::resource_group("acme", GROUPS[at % 2]))),
    };
    known.place = Place::Unknown;
    if let Some((name, id)) = &group {
        body["resourceGroupId"] = json!(id);
        if *name != "nowhere" && dice.chance(70) {
            known.place = Place::In(Group { id: Some(id.clone()), name: Some((*name).to_owned()) });
        }
    }
    let named = group.map(|(name, id)| if dice.chance(80) { name.to_owned() } else { id });
    (Target::Create { kind, group: named }, body)
}

fn question(dice: &mut Dice, scene: &Scene, permission: Permission) -> Question {
    let mut known = known(dice, scene);
    let repo =
        || Target::Repo { kind: crate::access::RepoType::Model, repo: scene.repo.name.parse().unwrap() };
    let (target, method, path, body) = match permission {
        Permission::RepoCreate => {
            let (target, body) = creation(dice, &mut known);
            (target, "POST", "/api/repos/create".to_owned(), body)
        }
        Permission::RepoRead => {
            (repo(), "GET", format!("/api/models/{}/auth-check", scene.repo.name), Value::Null)
        }
        Permission::RepoWrite => {
            (repo(), "GET", format!("/api/models/{}/auth-check/write", scene.repo.name), Value::Null)
        }
        whole => {
            let (method, path) = address(whole);
            (Target::Whole, method, path.to_owned(), Value::Null)
        }
    };
    Question { permission, target, known, method, path, body }
}

fn address(permission: Permission) -> (&'static str, &'static str) {
    match permission {
        Permission::JobRead => ("POST", "/api/jobs/acme/auth-check/read"),
        Permission::JobWrite => ("POST", "/api/jobs/acme/auth-check/write"),
        Permission::EndpointRead => ("POST", "/api/inference-endpoints/acme/auth-check/read"),
        Permission::EndpointWrite => ("POST", "/api/inference-endpoints/acme/auth-check/write"),
        Permission::EndpointInfer => ("POST", "/api/inference-endpoints/acme/auth-check/infer"),
        Permission::OrgMembers => ("GET", "/api/organizations/acme/members"),
        Permission::OrgRepositories => ("GET", "/api/organizations/acme/settings/repositories"),
        Permission::OrgAuditLog => ("GET", "/api/organizations/acme/audit-log/export"),
        Permission::OrgBilling => ("GET", "/api/organizations/acme/billing/usage"),
        Permission::OrgServiceAccounts => ("GET", "/api/organizations/acme/service-accounts"),
        Permission::OrgNetworkSecurity => ("GET", "/api/organizations/acme/settings/network-security"),
        Permission::OrgResourceGroups => ("GET", "/api/organizations/acme/resource-groups"),
        Permission::UserWebhooks => ("GET", "/api/settings/webhooks"),
        Permission::UserBilling => ("GET", "/api/settings/billing/usage"),
        Permission::RepoCreate | Permission::RepoRead | Permission::RepoWrite => panic!("about repositories"),
    }
}

/// The reading of this test, apart from the daemon's: a status is all it looks at.
fn granted(status: u16) -> Option<bool> {
    match status {
        200..=299 => Some(true),
        403 | 404 => Some(false),
        402 => None,
        other => panic!("a token that is alive was answered {other}"),
    }
}

fn declared(hub: &Hub) -> whoami::Declared {
    let answer = ask(hub, "GET", "/api/whoami-v2", &Value::Null);
    let heard = whoami::read(&Ok(exchange::Answer {
        status: answer.status,
        content_type: "application/json".into(),
        body: answer.body,
        ..exchange::Answer::default()
    }));
    let whoami::Heard::Known(declared) = heard else { panic!("whoami: {heard:?}") };
    *declared
}

/// Without the headers that every answer carries: there are many answers here, and nobody reads theirs.
fn ask(hub: &Hub, method: &str, path: &str, body: &Value) -> Answer {
    let call = call(Some("s-uma"), method, path, body);
    hub.carry_out(&call, &hub.receive(&call)).0
}

/// How the predictions of one permission turned out.
#[derive(Default)]
struct Tally {
    allowed: u64,
    denied: u64,
    unknown: u64,
    /// By the Hub.
    granted: u64,
}

#[derive(Default)]
struct Report {
    tallies: BTreeMap<Permission, Tally>,
    rules: BTreeMap<&'static str, u64>,
    contradictions: Vec<String>,
    cells: BTreeSet<String>,
}

impl Report {
    fn add(&mut self, other: Report) {
        for (permission, theirs) in other.tallies {
            let mine = self.tallies.entry(permission).or_default();
            mine.allowed += theirs.allowed;
            mine.denied += theirs.denied;
            mine.unknown += theirs.unknown;
            mine.granted += theirs.granted;
        }
        for (rule, times) in other.rules {
            *self.rules.entry(rule).or_default() += times;
        }
        self.contradictions.extend(other.contradictions);
        self.cells.extend(other.cells);
    }

    fn note(&mut self, question: &Question, prediction: &Prediction, observed: Option<bool>) {
        let tally = self.tallies.entry(question.permission).or_default();
        match prediction.outcome.conclusive() {
            Some(true) => tally.allowed += 1,
            Some(false) => tally.denied += 1,
            None => tally.unknown += 1,
        }
        tally.granted += u64::from(observed == Some(true));
        for factor in &prediction.factors {
            *self.rules.entry(factor.rule.id).or_default() += 1;
        }
    }
}

fn play(seeds: std::ops::Range<u64>) -> Report {
    let mut report = Report::default();
    for seed in seeds {
        let dice = &mut Dice::of(seed);
        let scene = scene(dice);
        let declared = declared(&scene.hub);
        // What the token was made for, and now and then something else.
        let other = dice.chance(50).then(|| dice.pick(Permission::ALL));
        for permission in std::iter::once(scene.wanted).chain(other) {
            let question = question(dice, &scene, permission);
            let prediction =
                predict::predict(&declared, "acme", permission, &question.target, &question.known);
            let answer = ask(&scene.hub, question.method, &question.path, &question.body);
            let observed = granted(answer.status);
            report.note(&question, &prediction, observed);
            if let (Some(predicted), Some(observed)) = (prediction.outcome.conclusive(), observed)
                && predicted != observed
            {
                let rules: Vec<&str> = prediction.factors.iter().map(|factor| factor.rule.id).collect();
                report.cells.insert(format!("{permission} predicted {predicted}: {rules:?}"));
                report.contradictions.push(format!(
                    "seed {seed}: {permission} on {}: predicted {:?}, answered {} {}\n  {rules:?}\n  {declared:?}\n  {:?}",
                    question.target, prediction.outcome, answer.status, answer.body, question.known
                ));
            }
        }
    }
    report
}

#[test]
fn no_prediction_contradicts_what_the_hub_then_does() {
    let half = WORLDS / 2;
    let mut report = Report::default();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| play(half..WORLDS));
        report.add(play(0..half));
        report.add(other.join().unwrap());
    });
    let shrugged = table(&report);
    let shown: Vec<&String> = report.contradictions.iter().take(3).collect();
    assert!(
        report.contradictions.is_empty(),
        "{} contradictions\n{shown:#?}\n{:#?}",
        report.contradictions.len(),
        report.cells
    );
    assert!(shrugged.is_empty(), "{shrugged:#?}");
}

/// Prints how it went, and gives what was said too seldom.
fn table(report: &Report) -> Vec<String> {
    let mut seldom = Vec::new();
    println!(
        "{:22}{:>9}{:>9}{:>9}{:>11}{:>11}",
        "permission", "allowed", "denied", "unknown", "said", "of grants"
    );
    for (permission, said_floor, grants_floor) in FLOORS {
        let Tally { allowed, denied, unknown, granted } = report.tallies[&permission];
        let said = (allowed + denied) * 100 / (allowed + denied + unknown);
        let of_grants = allowed * 100 / granted;
        println!("{permission:22}{allowed:>9}{denied:>9}{unknown:>9}{said:>10}%{of_grants:>10}%");
        if said < said_floor || of_grants < grants_floor || allowed < 50 || denied < 50 {
            seldom.push(format!("{permission}: too often unknown, or never one way"));
        }
    }
    println!("rules reached: {} of {}", report.rules.len(), RULES.len());
    for rule in RULES {
        let times = report.rules.get(rule.id).copied().unwrap_or_default();
        println!("{:28}{times:>8}", rule.id);
        if times < REACHED && !UNHEARD.contains(&rule.id) {
            seldom.push(format!("{}: reached {times} times", rule.id));
        }
    }
    seldom
}

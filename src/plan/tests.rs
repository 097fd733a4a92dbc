//! Goal: the plan counts by user, by window and by day as the Hub does, says what will not fit, and asks of our own
//! tokens what the round needs and nothing else.
//! Method: small configs with one thing each. That the calls themselves are the ones made is tested where rounds
//! are lived (`round::tests::planned`) and against the simulated Hub (`cli::tests::plan`).

use super::calls::{Bucket, Part, Scope, Times, calls};
use super::quota::{Budget, FREE_QUOTA, HUB_CREATIONS_A_DAY, Known, Source, User, budget, called};
use super::scopes::{Own, own_tokens};
use super::*;
use crate::config::{NoDisk, Source as Text, parse};
use crate::exchange::{Credential, Verb};
use crate::hub::whoami::{Declared, Membership, Scope as Granted};
use crate::moment::Timestamp;

fn read(text: &str) -> Config {
    let parsed = parse(Text { name: "test.yaml", text }, &NoDisk);
    parsed.unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}")).config
}

fn now() -> Timestamp {
    Timestamp::parse("2026-11-22T05:00:00Z").expect("a time")
}

const HEAD: &str =
    "schedule: { probe: \"0 */15 * * * *\", canary: \"0 5 * * * *\", declared: \"0 7 * * * *\" }\n";

/// A config of these tokens in acme, with a janitor.
fn acme(tokens: &str) -> Config {
    read(&format!(
        "{HEAD}organizations: [{{ name: acme, janitor: janitor, inventory: reader, max_creations_per_day: 200 }}]
tokens:
  - {{ name: janitor, organization: acme, secret: {{ env: J }} }}
  - {{ name: reader, organization: acme, secret: {{ env: R }} }}
{tokens}"
    ))
}

fn token(name: &str, expect: &str) -> String {
    format!("  - {{ name: {name}, organization: acme, secret: {{ env: T }}, expect: [{expect}] }}\n")
}

const CREATE: &str = "{ permission: repo.create, access: denied }";

fn whoami(user: &str, plan: Option<&str>) -> Declared {
    let membership = Membership {
        name: "acme".into(),
        id: Some("0123456789abcdef01234567".into()),
        role: None,
        plan: plan.map(str::to_owned),
        restrictions: vec![],
        groups: vec![],
    };
    Declared {
        user: user.into(),
        role: Some("fineGrained".into()),
        organizations: vec![membership],
        ..Declared::default()
    }
}

fn knowing(entries: &[(&str, Declared)]) -> Known {
    let declared = entries.iter().map(|(token, declared)| (TokenName::new(token), (now(), declared.clone())));
    Known { declared: declared.collect(), ..Known::default() }
}

fn whole(config: &Config, known: &Known) -> Budget {
    budget(config, &[], false, known, now())
}

#[test]
fn tokens_of_one_user_share_everything() {
    let config = acme(&(token("a", CREATE) + &token("b", CREATE) + &token("c", CREATE)));
    let known = knowing(&[
        ("a", whoami("svc", Some("team"))),
        ("b", whoami("svc", None)),
        ("janitor", whoami("alice", Some("enterprise"))),
    ]);
    let made = whole(&config, &known);
    let seen: Vec<_> = made
        .users
        .iter()
        .filter(|user| called(user) != "the user of 'reader'")
        .map(|user| (called(user), user.tokens.len(), user.quota, user.allowed, user.creations.usual))
        .collect();
    assert_eq!(
        seen,
        [
            ("alice".to_owned(), 1, 6000, 600, 0),
            ("svc".to_owned(), 2, 3000, 300, 2),
            ("the user of 'c'".to_owned(), 1, FREE_QUOTA, 100, 1),
            ("whoever has no token".to_owned(), 0, 500, 50, 0),
        ]
    );
    let svc = made.users.iter().find(|user| called(user) == "svc").expect("svc");
    assert_eq!(svc.source, Some(Source::Whoami(now())));
    // What all pay is what is asked.
    let sum = made.users.iter().fold(Times::default(), |sum, user| sum.and(user.round));
    assert_eq!(sum, made.round.times());
    assert_eq!(made.round.creations(), Times { usual: 3, at_most: 3 });
}

#[test]
fn a_pin_says_whose_a_token_is_until_whoami_does() {
    let pinned = "  - { name: a, organization: acme, secret: { env: T }, declared: { user: svc }, expect: [{ permission: job.read, access: denied }] }\n";
    let config = acme(pinned);
    let mine = |user: &&User| user.tokens.contains(&TokenName::new("a"));
    let user = |known: &Known| whole(&config, known).users.iter().find(mine).cloned().expect("its user");
    assert_eq!(
        (called(&user(&Known::default())), user(&Known::default()).source),
        ("svc".into(), Some(Source::Pin))
    );
    let known = knowing(&[("a", whoami("other", None))]);
    assert_eq!((called(&user(&known)), user(&known).source), ("other".into(), Some(Source::Whoami(now()))));
}

#[test]
fn a_day_and_a_window_follow_from_the_schedules() {
    let config = acme(&token("a", &format!("{CREATE}, {{ permission: user.billing, access: denied }}")));
    let made = whole(&config, &Known::default());
    let of_a = made.users.iter().find(|user| user.tokens.contains(&TokenName::new("a"))).expect("its user");
    // Once an hour, at minute 5; the quarter before it has the probe, minute 7 has whoami.
    assert_eq!(of_a.creations_a_day, 24);
    assert_eq!(of_a.window.usual, 1 + 1 + 1);
    assert_eq!(of_a.round.usual, 3, "whoami, the creation, the question");
    let fast = read(
        "schedule: { probe: \"* * * * * *\", declared: \"0 0 0 1 1 *\" }
organizations: [{ name: acme }]
tokens: [{ name: a, organization: acme, secret: { env: T }, expect: [{ permission: repo.create, access: denied }] }]",
    );
    let made = whole(&fast, &Known::default());
    assert_eq!(made.users[0].creations_a_day, 86_400);
    let calls =
        calls(&fast, Scope { due: Classes { declared: false, ..Classes::ALL }, only: &[], read_only: false });
    let of_a =
        calls.steps.iter().filter(|step| step.who != Credential::Anonymous).map(|step| step.times.usual);
    assert_eq!(made.users[0].window.usual, 300 * of_a.sum::<u32>(), "300 of them in five minutes");
}

#[test]
fn what_does_not_fit_is_said_with_what_would() {
    let said = |config: &Config, known: &Known| whole(config, known).held_back.join("\n");
    let config = acme(&token("a", CREATE));
    assert_eq!(said(&config, &Known::default()), "", "24 a day fit");
    let many: String = (0..10).map(|n| token(&format!("t{n}"), CREATE)).collect();
    let config = acme(&many);
    assert_eq!(said(&config, &Known::default()), "", "ten users with 24 each fit");
    let all: Vec<(String, Declared)> = (0..10).map(|n| (format!("t{n}"), whoami("svc", None))).collect();
    let known =
        knowing(&all.iter().map(|(name, declared)| (name.as_str(), declared.clone())).collect::<Vec<_>>());
    let words = said(&config, &known);
    assert!(words.contains("svc: 240 creation calls a day, and max_creations_per_day is 200"), "{words}");
    assert!(words.contains("at most 20 times a day"), "{words}");
    let mut generous = config.clone();
    generous.organizations[0].max_creations_per_day = 1000;
    assert_eq!(said(&generous, &known), "", "240 are fewer than the Hub is known to allow");
    generous.schedule.canary = "0 */30 * * * *".to_owned();
    let words = said(&generous, &known);
    assert!(words.contains(&format!("the Hub is known to allow {HUB_CREATIONS_A_DAY}")), "{words}");
    assert!(words.contains("at most 30 times a day"), "{words}");
    let mut narrow = config.clone();
    narrow.hub.quota_share = 0.01;
    let words = said(&narrow, &known);
    assert!(words.contains("svc: 20 calls a round are more than our share of 10"), "{words}");
    let crowd: String =
        (0..40).map(|n| token(&format!("t{n}"), "{ permission: job.read, access: denied }")).collect();
    let words = said(&acme(&crowd), &Known::default());
    assert!(words.contains("whoami of 12 tokens waits"), "{words}");
}

#[test]
fn under_read_only_nothing_unsafe_is_planned() {
    let checks = format!(
        "{CREATE}, {{ permission: job.read, access: denied }}, {{ permission: user.billing, access: denied }}"
    );
    let config = acme(&token("a", &checks));
    let plan = calls(&config, Scope { due: Classes::ALL, only: &[], read_only: true });
    assert!(plan.steps.iter().all(|step| step.verb == Verb::Get && !step.mutating));
    assert_eq!((plan.barred.len(), plan.mutating.len()), (2, 0));
    let plan = calls(&config, Scope { due: Classes::ALL, only: &[], read_only: false });
    assert_eq!((plan.barred.len(), plan.mutating.len()), (0, 1));
    // An auth-check is a POST and changes nothing; what creates and what deletes does.
    for step in plan.steps.iter().filter(|step| step.verb.is_unsafe()) {
        assert_eq!(step.mutating, step.route.starts_with("/api/repos/"), "{}", step.path);
        assert_eq!(step.bucket() == Bucket::Creation, step.path == "/api/repos/create");
    }
}

#[test]
fn the_parts_stand_in_the_order_in_which_they_are_asked() {
    let config =
        acme(&token("a", &format!("{CREATE}, {{ permission: repo.read, repo: acme/x, access: denied }}")));
    let plan = calls(&config, Scope { due: Classes::ALL, only: &[], read_only: false });
    let at = |part| plan.steps.iter().position(|step| step.part == part).expect("such a part");
    assert!(at(Part::Declared) < at(Part::Control) && at(Part::Control) < at(Part::Check));
    assert!(at(Part::Check) < at(Part::Proof));
    assert_eq!(plan.steps[0].who, Credential::Token(TokenName::new("janitor")), "observers come first");
}

fn own(config: &Config, declared: Option<Declared>) -> Own {
    let known = declared.map(|declared| knowing(&[("janitor", declared)])).unwrap_or_default();
    let all = own_tokens(config, &whole(config, &known).round, &known);
    all.into_iter().find(|own| own.token.as_str() == "janitor").expect("a janitor")
}

fn granted(kind: &str, name: &str, permissions: &[&str]) -> Granted {
    Granted {
        kind: kind.into(),
        name: Some(name.into()),
        id: None,
        permissions: permissions.iter().map(|p| (*p).to_owned()).collect(),
    }
}

#[test]
fn our_own_token_needs_what_the_round_asks_with_it() {
    let needs = |config: &Config| own(config, None).needs.iter().map(|n| n.permission).collect::<Vec<_>>();
    let reading = acme(&token("a", "{ permission: repo.read, repo: acme/x, access: denied }"));
    assert_eq!(needs(&reading), ["repo.content.read"]);
    assert!(own(&reading, None).role.starts_with("read"));
    let creating = acme(&token("a", CREATE));
    assert_eq!(needs(&creating), ["repo.write"]);
    let grouped = acme(&token("a", "{ permission: repo.create, resource_group: g, access: denied }"));
    assert_eq!(needs(&grouped), ["repo.write", "org.read"]);
    assert!(own(&grouped, None).role.starts_with("admin"));
    assert_eq!(
        own(&grouped, None).link,
        "https://huggingface.co/settings/tokens/new?tokenType=fineGrained&orgs=acme&orgPermissions=repo.write&orgPermissions=org.read"
    );
    assert!(!own(&grouped, None).needs[1].confirmed, "no document says that this word lists groups");
    let trying =
        acme(&token("a", "{ permission: repo.create, method: sentinel, sentinel: acme/x, access: denied }"));
    assert_eq!(needs(&trying), ["repo.content.read"], "on a sentinel nothing is made that would be deleted");
    let read_only = budget(&creating, &[], true, &Known::default(), now());
    let ours = own_tokens(&creating, &read_only.round, &Known::default());
    assert_eq!(ours[0].needs[0].permission, "repo.content.read", "under --read-only nothing is deleted");
    let some = calls(
        &creating,
        Scope { due: Classes { declared: false, ..Classes::ALL }, only: &[], read_only: false },
    );
    assert_eq!(
        own_tokens(&creating, &some, &Known::default()).len(),
        1,
        "the inventory is read with whoami only"
    );
    let nothing = acme("");
    let idle = own_tokens(&nothing, &whole(&nothing, &Known::default()).round, &Known::default());
    let [reader] = idle.as_slice() else { panic!("a janitor of nothing needs nothing: {idle:?}") };
    let needs: Vec<_> = reader.needs.iter().map(|need| (need.permission, need.confirmed)).collect();
    assert_eq!(needs, [("org.read", false), ("org.serviceAccounts.read", true)]);
    assert_eq!((reader.token.as_str(), reader.purpose), ("reader", "reader of the inventory"));
    assert!(reader.role.starts_with("admin"));
    let both = own(
        &read("organizations: [{ name: acme, janitor: janitor }]
tokens:
  - { name: janitor, organization: acme, secret: { env: J } }
  - { name: a, organization: acme, secret: { env: T }, expect: [{ permission: repo.create, access: denied }] }"),
        None,
    );
    let needs: Vec<_> = both.needs.iter().map(|need| need.permission).collect();
    assert_eq!(
        needs,
        ["repo.write", "org.read", "org.serviceAccounts.read"],
        "without a reader the janitor reads"
    );
    assert_eq!(both.purpose, "janitor and reader of the inventory");
}

#[test]
fn what_it_has_beyond_that_is_said() {
    let config = acme(&token("a", CREATE));
    let with = |scopes: Vec<Granted>| own(&config, Some(Declared { scopes, ..whoami("alice", None) }));
    let fine = with(vec![granted("org", "acme", &["repo.write", "repo.content.read"])]);
    assert_eq!((fine.more, fine.lacks, fine.known), (vec![], vec![], Some(now())));
    let wide = with(vec![
        granted("org", "acme", &["repo.write", "org.write", "moon\u{1b}[31m.read"]),
        granted("user", "alice", &["repo.write"]),
        granted("org", "other", &["repo.write"]),
    ]);
    assert_eq!(
        wide.more,
        ["org:acme: org.write", "org:acme: moon[31m.read", "user:alice: repo.write", "org:other: repo.write"]
    );
    assert_eq!(
        with(vec![granted("model", "acme/x", &["repo.write"])]).lacks,
        ["repo.write"],
        "not on one repository"
    );
    // By its id, where the Hub does not show the name.
    let by_id = Granted {
        name: None,
        id: Some("0123456789abcdef01234567".into()),
        ..granted("org", "", &["repo.write"])
    };
    assert_eq!((with(vec![by_id.clone()]).lacks, with(vec![by_id]).more), (vec![], Vec::<String>::new()));
    let classic = own(&config, Some(Declared { role: Some("write".into()), ..whoami("alice", None) }));
    assert!(classic.more[0].contains("it may whatever its user may"), "{:?}", classic.more);
    let reads = own(&config, Some(Declared { role: Some("read".into()), ..whoami("alice", None) }));
    assert_eq!(reads.lacks, ["repo.write"]);
}

#[test]
fn what_the_config_expects_a_janitor_to_have_is_not_too_much() {
    let text = "organizations: [{ name: acme, janitor: janitor }]
tokens:
  - { name: janitor, organization: acme, secret: { env: J }, expect: [{ permission: job.write, access: allowed }] }
  - { name: a, organization: acme, secret: { env: T }, expect: [{ permission: repo.read, repo: acme/x, access: denied }] }";
    let scopes = vec![granted("org", "acme", &["repo.content.read", "job.write", "collection.write"])];
    let own = own(&read(text), Some(Declared { scopes, ..whoami("alice", None) }));
    assert_eq!(own.more, ["org:acme: collection.write"]);
}

#[test]
fn a_janitor_of_two_is_weighed_for_each() {
    let text = "organizations: [{ name: acme, janitor: janitor, inventory: r }, { name: beta, janitor: janitor, inventory: r }]
tokens:
  - { name: janitor, organization: acme, secret: { env: J } }
  - { name: a, organization: acme, secret: { env: T }, expect: [{ permission: repo.create, access: denied }] }
  - { name: r, organization: acme, secret: { env: R } }
  - { name: b, organization: beta, secret: { env: T }, expect: [{ permission: repo.read, repo: beta/x, access: denied }] }";
    let config = read(text);
    let scopes = vec![granted("org", "acme", &["repo.write"]), granted("org", "beta", &["repo.write"])];
    let known = knowing(&[("janitor", Declared { scopes, ..whoami("alice", None) })]);
    let own = own_tokens(&config, &whole(&config, &known).round, &known);
    let janitors = own.iter().filter(|own| own.token.as_str() == "janitor");
    let more: Vec<_> = janitors.map(|own| (own.organization.as_str(), own.more.join(" "))).collect();
    assert_eq!(more, [("acme", String::new()), ("beta", "org:beta: repo.write".to_owned())]);
}

#[test]
fn what_becomes_of_creations_for_which_the_day_does_not_suffice_is_said() {
    let text = "organizations: [{ name: acme, max_creations_per_day: 2, sentinel: acme/known }]
tokens:
  - { name: a, organization: acme, severity: info, secret: { env: T }, declared: { user: svc }, expect: [{ permission: repo.create, access: denied }] }
  - { name: b, organization: acme, secret: { env: T }, declared: { user: svc }, expect: [{ permission: repo.create, access: denied }] }
  - { name: c, organization: acme, secret: { env: T }, declared: { user: svc }, expect: [{ permission: repo.create, access: denied }] }
  - { name: d, organization: acme, severity: info, secret: { env: T }, declared: { user: svc }, expect: [{ permission: repo.create, type: dataset, access: denied }] }
";
    let config = read(text);
    let said = whole(&config, &Known::default()).held_back.join("\n");
    let wanted = "svc: of 4 creations due in a round 2 are called for now, 0 of 2 a day being used: those that waited longest, of them the most severe first, so that each has its turn within 2 days (b model, c model); tried on the organization's sentinel: a model; left for another day (creation_cap): d dataset";
    assert!(said.contains(wanted), "{said}");
    // Whoever had a turn comes after those who had none.
    let mut known = Known { creations: vec!["svc".to_owned()], ..Known::default() };
    known.concluded = config.tokens[1]
        .checks
        .iter()
        .chain(&config.tokens[2].checks)
        .map(|check| (check.key(), now()))
        .collect();
    let said = whole(&config, &known).held_back.join("\n");
    assert!(
        said.contains("1 are called for now, 1 of 2 a day being used") && said.contains("(a model); "),
        "{said}"
    );
    let mut enough = config.clone();
    enough.organizations[0].max_creations_per_day = 4;
    let said = whole(&enough, &Known::default()).held_back.join("\n");
    assert!(!said.contains("called for now"), "{said}");
}

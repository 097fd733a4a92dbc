//! Goal: one user's limits are nobody else's business, a capped action is let rest while everything else goes on, no
//! check starves where a share or a day does not suffice for all, and what matters most has its turn first.
//! Method: a Hub that counts as the real one does (`Counting`), a daemon that serves for hours in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::access::TokenName;
use crate::moment::Timestamp;
use crate::round::Event;
use crate::schedule::Classes;

use super::hub::Counting;
use super::life::{BEGIN, Life, S, configured};
use super::stories::{SERVE, holder, serve_for};

/// A token: its name, whose it is, how severe, what is expected of it.
type Tokens<'t> = &'t [(&'static str, &'static str, &'static str, &'t str)];

fn world(hub: &str, organization: &str, tokens: Tokens<'_>, counting: Counting) -> Life {
    let mut text = format!(
        "hub: {{ endpoint: \"http://127.0.0.1:9\", in_flight_horizon: 1s, max_in_flight: 4, {hub} }}
schedule: {{ probe: \"0 */15 * * * *\", canary: \"0 */15 * * * *\", declared: \"0 7 * * * *\" }}
organizations: [{{ name: acme, janitor: janitor, {organization} }}]
tokens:
  - {{ name: janitor, organization: acme, secret: {{ env: J }} }}
"
    );
    for (name, _, severity, expect) in tokens {
        text += &format!(
            "  - {{ name: {name}, organization: acme, severity: {severity}, secret: {{ env: A }}, expect: [{expect}] }}\n"
        );
    }
    let mut life = Life::new(configured(&text), SERVE, 1);
    let now = life.wall();
    life.hub.furnish("acme/known", now);
    (0..20).for_each(|n| life.hub.furnish(&format!("acme/r{n}"), now));
    life.hub.holders.insert(TokenName::new("janitor"), holder("alice", false, true, true));
    for (name, user, ..) in tokens {
        life.hub.holders.insert(TokenName::new(name), holder(user, true, false, true));
    }
    life.hub.counting = Some(counting);
    life
}

fn reads(count: usize) -> String {
    let read = |n| format!("{{ permission: repo.read, repo: acme/r{n}, access: denied }}");
    (0..count).map(read).collect::<Vec<_>>().join(", ")
}

const CREATE: &str = "{ permission: repo.create, access: allowed }";

fn counting(life: &Life) -> &Counting {
    life.hub.counting.as_ref().expect("it counts")
}

/// How often each reason was given in this and all later rounds, by token and permission.
fn reasons(life: &Life, from: usize) -> BTreeMap<(String, &'static str, &'static str), usize> {
    let mut all = BTreeMap::new();
    for result in life.reports.iter().skip(from).flat_map(|report| &report.results) {
        let reason = result.found.reason().unwrap_or("none");
        let key = (result.token.to_string(), result.permission.as_str(), reason);
        *all.entry(key).or_default() += 1;
    }
    all
}

/// The longest time between two answers to the same check that told something, and how many checks there are.
fn longest_wait(life: &Life, permission: &str) -> (Duration, usize) {
    let mut last: BTreeMap<_, Timestamp> = BTreeMap::new();
    let mut longest = S(0);
    let end = life.reports.last().expect("a report").finished_at;
    for result in life.reports.iter().flat_map(|report| &report.results) {
        if result.permission.as_str() != permission {
            continue;
        }
        let before = last.entry(result.key()).or_insert(BEGIN);
        if result.found.conclusive().is_some() {
            longest = longest.max(result.observed_at.since(*before));
            *before = result.observed_at;
        }
    }
    let open = last.values().map(|at| end.since(*at)).max().unwrap_or_default();
    (longest.max(open), last.len())
}

#[test]
fn one_users_window_delays_nobody_else() {
    let many = reads(16);
    let one = "{ permission: repo.read, repo: acme/r0, access: denied }";
    // Others have used up all but five of what bob may ask.
    let others = BTreeMap::from([("bob".to_owned(), 95)]);
    let limits = Counting { quota: 100, others, ..Counting::default() };
    let tokens = [("bobs", "bob", "critical", many.as_str()), ("carls", "carl", "critical", one)];
    let mut life = world("quota_share: 1", "max_creations_per_day: 5", &tokens, limits);
    life.start();
    life.tell(Event::Due(Classes { probe: true, canary: false, declared: true }));
    let answered = |life: &Life, token: &str| {
        let results = life.engine().into_iter().flat_map(|engine| engine.checks.results());
        results.filter(|result| result.token.as_str() == token && result.found.conclusive().is_some()).count()
    };
    // The first round is not spread.
    life.run_until(S(20), 10_000);
    assert_eq!(answered(&life, "carls"), 1);
    assert!(answered(&life, "bobs") < 5);
    life.run_until(S(400), 20_000);
    assert_eq!(counting(&life).refused, BTreeMap::new(), "nobody is refused");
    assert!(reasons(&life, 0).contains_key(&("bobs".to_owned(), "repo.read", "rate_limited")));
    serve_for(&mut life, 3600);
    assert_eq!(counting(&life).refused, BTreeMap::new(), "nor later");
}

#[test]
fn after_the_first_refusal_of_the_daily_cap_nothing_is_created_and_everything_else_goes_on() {
    let read = "{ permission: repo.read, repo: acme/r0, access: allowed }";
    let tokens = [
        ("a", "bob", "critical", CREATE),
        ("b", "bob", "critical", "{ permission: repo.create, type: dataset, access: allowed }"),
        ("c", "bob", "critical", read),
        ("d", "carl", "critical", CREATE),
    ];
    let limits = Counting { creations_a_day: 7, ..Counting::default() };
    let mut life = world("quota_share: 0.5", "max_creations_per_day: 200", &tokens, limits);
    life.hub.holders.get_mut(&TokenName::new("c")).expect("c").sees = true;
    life.start();
    serve_for(&mut life, 3 * 3600);
    let capped = counting(&life).capped.clone();
    // One for bob, one for carl, each the first of its kind.
    assert_eq!(capped.len(), 2, "{capped:?}");
    serve_for(&mut life, 20 * 3600);
    assert_eq!(counting(&life).capped.len(), 2, "what the Hub let pass is what is asked for");
    serve_for(&mut life, 25 * 3600);
    assert!(counting(&life).capped.len() <= 6, "learned anew once a day: {:?}", counting(&life).capped);
    let told = reasons(&life, 0);
    let rounds = life.reports.len();
    assert!(told[&("c".to_owned(), "repo.read", "none")] >= rounds - 2, "reads go on: {told:?}");
    assert_eq!(counting(&life).refused, BTreeMap::new());
}

#[test]
fn no_token_starves_where_the_share_is_smaller_than_what_is_due() {
    let few = reads(4);
    let names: Vec<&'static str> = (0..10).map(|n| &*format!("t{n}").leak()).collect();
    let tokens: Vec<_> = names.iter().map(|name| (*name, "bob", "critical", few.as_str())).collect();
    let mut life = world("quota_share: 0.1", "max_creations_per_day: 5", &tokens, Counting::default());
    // Ten in a window; whoami takes all of them once an hour.
    life.hub.counting = Some(Counting { quota: 100, ..Counting::default() });
    life.start();
    serve_for(&mut life, 12 * 3600);
    assert_eq!(counting(&life).refused, BTreeMap::new());
    let (longest, checks) = longest_wait(&life, "repo.read");
    let rounds = life.reports.len();
    let answered: usize =
        life.reports.iter().flat_map(|r| &r.results).filter(|r| r.found.conclusive().is_some()).count();
    println!("{checks} checks, {answered} answers in {rounds} rounds; the longest wait was {longest:?}");
    assert_eq!(checks, 40);
    // Rounds that it takes for all of them, one in which whoami took the share, and one that was under way.
    let a_round = answered / rounds;
    let bound = u64::try_from(checks.div_ceil(a_round) + 2).expect("few") * 900;
    assert!(longest <= S(bound), "{longest:?} of at most {bound} s");
}

#[test]
fn under_the_daily_cap_all_have_their_turn_and_the_critical_ones_first() {
    let names: Vec<&'static str> = (0..7).map(|n| &*format!("t{n}").leak()).collect();
    let severity = |n: usize| if n >= 5 { "critical" } else { "warning" };
    let tokens: Vec<_> =
        names.iter().enumerate().map(|(n, name)| (*name, "bob", severity(n), CREATE)).collect();
    let mut life = world("quota_share: 1", "max_creations_per_day: 3", &tokens, Counting::default());
    life.start();
    serve_for(&mut life, 5 * 24 * 3600);
    let made: Vec<(u64, String)> =
        life.posts.iter().map(|(at, user, _)| (at.as_secs(), user.clone())).collect();
    for (at, _) in &made {
        let day = made.iter().filter(|(other, _)| *other <= *at && other + 24 * 3600 > *at).count();
        assert!(day <= 3, "{day} in the day before {at}");
    }
    assert!(made.len() >= 14, "the day is used: {}", made.len());
    let first = life.reports.iter().find(|report| !report.results.is_empty()).expect("a round");
    let chosen: Vec<&str> =
        first.results.iter().filter(|r| r.found.reason().is_none()).map(|r| r.token.as_str()).collect();
    assert!(chosen.contains(&"t5") && chosen.contains(&"t6") && chosen.len() == 3, "{chosen:?}");
    let (longest, checks) = longest_wait(&life, "repo.create");
    println!("{checks} canaries, 3 a day: the longest wait was {longest:?}");
    // Three days, each of them over at the next round.
    assert!(checks == 7 && longest <= S(3 * (24 * 3600 + 900)), "{longest:?}");
}

#[test]
fn what_no_canary_of_the_day_can_ask_is_tried_on_the_sentinel() {
    let names: Vec<&'static str> = (0..5).map(|n| &*format!("t{n}").leak()).collect();
    let dataset = "{ permission: repo.create, type: dataset, access: allowed }";
    let expect = |n: usize| if n == 4 { dataset } else { CREATE };
    let tokens: Vec<_> =
        names.iter().enumerate().map(|(n, name)| (*name, "bob", "info", expect(n))).collect();
    let limits = "max_creations_per_day: 2, sentinel: acme/known";
    let mut life = world("quota_share: 1", limits, &tokens, Counting::default());
    life.start();
    serve_for(&mut life, 600);
    let told = reasons(&life, 0);
    assert_eq!((life.posts.len(), life.trials), (2, 2), "{told:?}");
    assert_eq!(told.get(&("t4".to_owned(), "repo.create", "creation_cap")), Some(&1), "it is no model");
    assert_eq!(told.values().sum::<usize>(), 5);
    // Together they stay below what the Hub is known to allow, and the canaries have their turn all the same.
    serve_for(&mut life, 4 * 24 * 3600);
    let calls = life.posts.len() + life.trials;
    assert!(calls <= 5 * 300, "{calls}");
    assert!(life.posts.len() >= 8, "{}", life.posts.len());
}

#[test]
fn a_capped_read_rests_for_its_user_and_longer_each_time_while_all_else_goes_on() {
    let both =
        "{ permission: repo.read, repo: acme/r0, access: denied }, { permission: job.read, access: allowed }";
    let tokens = [("a", "bob", "critical", both), ("b", "carl", "critical", both)];
    let route = "/api/{type}/{namespace}/{repo}/auth-check";
    let limits = Counting { capped_route: Some(("bob", route)), ..Counting::default() };
    let mut life = world("quota_share: 0.5", "max_creations_per_day: 5", &tokens, limits);
    life.start();
    serve_for(&mut life, 24 * 3600);
    // After a quarter of an hour, half of one, one, two, four and six hours, each time at the next round.
    let refused = counting(&life).route_refused.len();
    assert!((5..=9).contains(&refused), "{:?}", counting(&life).route_refused);
    let (told, rounds) = (reasons(&life, 0), life.reports.len());
    let of = |token: &str, permission, reason| told.get(&(token.to_owned(), permission, reason)).copied();
    assert_eq!(of("a", "repo.read", "rate_limited"), Some(rounds), "{told:?}");
    assert_eq!(
        (of("a", "job.read", "none"), of("b", "job.read", "none")),
        (Some(rounds), Some(rounds)),
        "{told:?}"
    );
    assert_eq!(of("b", "repo.read", "rate_limited"), None);
}

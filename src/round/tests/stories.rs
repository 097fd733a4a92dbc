//! Stories: one thing goes wrong at a time, and the whole of what follows is told.

use std::sync::Arc;
use std::time::Duration;

use crate::access::{CheckKey, RepoType, TokenName};
use crate::config::Config;
use crate::exchange::{Credential, Exchange, Verb};
use crate::hub::routes;
use crate::intent::{CanaryState, ShownState};
use crate::moment::Moment;
use crate::report::{CheckResult, FindingKind};
use crate::round::controls::ControlJob;
use crate::round::{Event, Mode};
use crate::schedule::Classes;

use super::hub::{Holder, missing};
use super::life::{Decider, Fate, Life, S, configured};

pub const AUDIT: Mode = Mode { read_only: false, one_shot: true };
pub const SERVE: Mode = Mode { read_only: false, one_shot: false };

pub const PLAIN: &str = "
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
      - { permission: repo.create, type: dataset, access: denied }
  - name: narrow
    organization: acme
    secret: { env: B }
    expect:
      - { permission: repo.create, access: denied }
      - { permission: repo.read, repo: acme/known, access: allowed }
      - { permission: repo.write, repo: acme/known, access: denied }
";

pub fn holder(user: &'static str, creates: bool, sees: bool, deletes: bool) -> Holder {
    let role = if deletes { "admin" } else { "write" };
    Holder { user, role, creates, sees, deletes, dead: false, barred: None }
}

/// A janitor who may do all, one token that may create and delete, one that may only read.
pub fn world(config: Arc<Config>, mode: Mode, seed: u64) -> Life {
    let mut life = Life::new(config, mode, seed);
    let now = life.wall();
    life.hub.furnish("acme/known", now);
    life.hub.holders.insert(TokenName::new("janitor"), holder("alice", false, true, true));
    life.hub.holders.insert(TokenName::new("open"), holder("bob", true, false, true));
    life.hub.holders.insert(TokenName::new("narrow"), holder("carl", false, true, false));
    life
}

pub fn audit(life: &mut Life) {
    life.start();
    life.tell(Event::Once { due: Classes::ALL, only: vec![] });
    let until = life.now + S(3600);
    life.run_until(until, 5000);
    assert!(life.ended, "an audit ends");
    life.crash();
}

/// Serves for so many seconds, with ticks as the schedule has them.
pub fn serve_for(life: &mut Life, seconds: u64) {
    let end = life.now + S(seconds);
    while life.now < end && !life.ended {
        let due = Classes { declared: life.now.as_secs().is_multiple_of(3600), ..Classes::ALL };
        life.tell(Event::Due(due));
        let next = S((life.now.as_secs() / 900 + 1) * 900).min(end);
        life.run_until(next, 5000);
    }
}

/// Lets time pass until this is so.
pub fn until(life: &mut Life, so: impl Fn(&Life) -> bool) {
    for _ in 0..200_000 {
        if so(life) {
            return;
        }
        let next = life.now + Duration::from_millis(1);
        life.run_until(next, 5000);
    }
    panic!("it does not come to that");
}

pub fn result(life: &Life, target: &str, token: &str) -> CheckResult {
    let report = life.reports.last().expect("a report");
    let found = report.results.iter().find(|r| r.target == target && r.token.as_str() == token);
    found.unwrap_or_else(|| panic!("no result of {target}")).as_ref().clone()
}

/// This fate for the n-th request of this method, else all is fine.
pub fn only(verb: Verb, nth: u32, fate: Fate) -> Decider {
    let mut seen = 0;
    Box::new(move |request, _| {
        seen += u32::from(request.verb == verb);
        if request.verb == verb && seen == nth { fate } else { Fate::Fine }
    })
}

#[test]
fn the_last_rounds_and_the_next_are_shown() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    life.start();
    serve_for(&mut life, 4 * 900);
    let shown = life.shown.as_ref().expect("a snapshot");
    let (rounds, last) = (life.reports.len(), life.reports.last().expect("a report"));
    assert_eq!(
        (shown.history.len(), shown.history.last().map(|point| point.summary)),
        (rounds, Some(last.summary))
    );
    assert!(rounds >= 4 && shown.history.windows(2).all(|pair| pair[0].at < pair[1].at));
    assert!(shown.history.iter().all(|point| point.oldest.is_some_and(|age| age < S(1800))));
    assert!(shown.next_round.is_some_and(|next| next > shown.at && next.since(shown.at) <= S(900)));
}

#[test]
fn why_is_told_of_what_has_a_finding_and_of_nothing_else() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    life.start();
    serve_for(&mut life, 2 * 900);
    let shown = life.shown.as_ref().expect("a snapshot");
    let mut wanted: Vec<CheckKey> =
        life.reports.last().expect("a report").results.iter().map(|result| result.key()).collect();
    wanted.retain(|key| {
        shown.findings.iter().any(|f| {
            f.token.as_ref() == Some(&key.token)
                && f.permission == Some(key.permission)
                && f.target.as_ref() == Some(&key.target)
        })
    });
    wanted.sort();
    let told: Vec<&CheckKey> = shown.explained.keys().collect();
    assert!(!wanted.is_empty() && told == wanted.iter().collect::<Vec<_>>(), "{told:?}");
    let created = result(&life, "model", "open").key();
    let text = shown.explained.get(&created).expect("a text");
    for part in
        ["May 'open' create a model in", "Verdict: UNEXPECTED GRANT", "What to do:", "POST /api/repos/create"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn an_audit_finds_what_may_be_created_and_leaves_nothing() {
    let mut life = world(configured(PLAIN), AUDIT, 1);
    audit(&mut life);
    for target in ["model", "dataset"] {
        let found = result(&life, target, "open");
        assert_eq!((found.found.as_str(), found.verdict.as_str()), ("allowed", "unexpected_grant"));
        assert_eq!(found.canary.map(|c| c.state), Some(ShownState::Deleted));
    }
    assert_eq!(result(&life, "model", "narrow").found.as_str(), "denied");
    assert_eq!(result(&life, "acme/known", "narrow").verdict.as_str(), "ok");
    assert_eq!((life.posts.len(), life.deletes.len()), (3, 2));
    life.check_cleaned_up();
}

#[test]
fn read_only_sends_nothing_that_changes_anything() {
    let mut life = world(configured(PLAIN), Mode { read_only: true, one_shot: true }, 1);
    audit(&mut life);
    assert_eq!(result(&life, "model", "open").found.reason(), Some("read_only"));
    assert_eq!((life.posts.len(), life.deletes.len()), (0, 0));
}

#[test]
fn a_creation_that_was_lost_but_took_effect_is_found_and_becomes_a_grant() {
    let mut life = world(configured(PLAIN), AUDIT, 1);
    let mut posts = 0;
    life.fate = Box::new(move |request, _| {
        let open = request.credential == Credential::Token(TokenName::new("open"));
        posts += u32::from(open && request.verb == Verb::Post);
        if open && request.verb == Verb::Post && posts == 1 { Fate::AppliedTimeout } else { Fate::Fine }
    });
    audit(&mut life);
    let granted = ["model", "dataset"].map(|target| result(&life, target, "open").found.as_str());
    assert_eq!(granted, ["allowed", "allowed"]);
    life.check_cleaned_up();
}

#[test]
fn a_lost_delete_is_not_sent_again_before_the_horizon() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    life.fate = only(Verb::Delete, 1, Fate::LostTimeout);
    life.start();
    serve_for(&mut life, 800);
    let mut sent: Vec<usize> = life.deletes.values().copied().collect();
    sent.sort_unstable();
    // Of the user's two checks the second waited for the first one's canary.
    assert_eq!(sent, [2]);
    life.check_cleaned_up();
}

#[test]
fn what_the_probed_token_may_not_delete_the_janitor_deletes_at_once() {
    let mut life = world(configured(PLAIN), AUDIT, 1);
    life.hub.holders.insert(TokenName::new("open"), holder("bob", true, false, false));
    audit(&mut life);
    assert_eq!(life.deletes.values().copied().collect::<Vec<_>>(), [2, 2]);
    assert!(life.now < S(60));
    life.check_cleaned_up();
}

#[test]
fn a_public_canary_is_deleted_and_latches_its_organization() {
    let mut life = world(configured(PLAIN), AUDIT, 1);
    life.hub.makes_public = true;
    audit(&mut life);
    assert_eq!((life.kept.breakers.len(), life.posts.iter().filter(|p| p.1 == "bob").count()), (1, 1));
    life.check_cleaned_up();
}

#[test]
fn a_public_canary_latches_even_if_its_creation_was_never_answered() {
    let mut life = world(configured(PLAIN), AUDIT, 1);
    life.hub.makes_public = true;
    life.fate = Box::new(|request, _| match request.verb {
        Verb::Post => Fate::AppliedTimeout,
        _ => Fate::Fine,
    });
    audit(&mut life);
    assert_eq!(life.kept.breakers.len(), 1);
    assert!(life.journal.values().any(|c| c.state == CanaryState::Quarantined));
}

#[test]
fn a_stranger_under_its_name_is_never_touched() {
    let mut life = world(configured(PLAIN), AUDIT, 1);
    life.fate = only(Verb::Delete, 1, Fate::AppliedTimeout);
    audit(&mut life);
    let key = life.deletes.keys().next().expect("one was deleted").clone();
    let now = life.wall();
    let free = life.hub.known_names.iter().find(|name| name.1 == key.1).expect("known").clone();
    life.hub.make(free.clone(), "mallory", false, now);
    life.mode = SERVE;
    life.start();
    serve_for(&mut life, 4 * 3600);
    assert!(life.hub.repos.contains_key(&free));
}

#[test]
fn without_a_store_nothing_is_asked_that_changes_anything_and_an_audit_ends() {
    let mut life = world(configured(PLAIN), AUDIT, 1);
    life.bad_writes = 100;
    audit(&mut life);
    assert_eq!(result(&life, "model", "open").found.reason(), Some("intent_not_stored"));
    assert_eq!(life.posts.len(), 0);
    assert_eq!(result(&life, "acme/known", "narrow").found.as_str(), "allowed");
}

#[test]
fn a_dead_janitor_means_no_control_and_a_dead_token_says_nothing() {
    let mut life = world(configured(PLAIN), AUDIT, 1);
    life.hub.holders.get_mut(&TokenName::new("janitor")).expect("there").dead = true;
    audit(&mut life);
    assert!(life.reports[0].results.iter().all(|r| r.found.as_str() == "undetermined"));
    assert_eq!(life.posts.len(), 0);
    let mut life = world(configured(PLAIN), AUDIT, 1);
    life.hub.holders.get_mut(&TokenName::new("narrow")).expect("there").dead = true;
    audit(&mut life);
    assert_eq!(result(&life, "acme/known", "narrow").found.reason(), Some("token_invalid"));
}

#[test]
fn a_group_by_id_that_nobody_can_show_may_be_granted_but_is_never_denied() {
    let group = "resource_group: 0123456789abcdef01234567, access: denied";
    let text = PLAIN.replace("repo.create, access: denied", &format!("repo.create, {group}"));
    for (fate, narrow) in [(Fate::Error, "no_control"), (Fate::Fine, "target_missing")] {
        let mut life = world(configured(&text), AUDIT, 1);
        life.fate = Box::new(
            move |request, _| {
                if request.path.ends_with("/resource-groups") { fate } else { Fate::Fine }
            },
        );
        audit(&mut life);
        let target = "model@0123456789abcdef01234567";
        assert_eq!(result(&life, target, "narrow").found.reason(), Some(narrow));
        // Listed in full, and not there: then nothing is asked.
        let granted = result(&life, target, "open").found.as_str() == "allowed";
        assert_eq!(granted, narrow == "no_control");
        life.check_cleaned_up();
    }
}

#[test]
fn an_organization_of_another_letter_case_is_never_denied() {
    let mut life = world(configured(&PLAIN.replace("acme", "Acme")), AUDIT, 1);
    audit(&mut life);
    assert!(life.reports[0].results.iter().all(|r| r.found.reason() == Some("no_control")));
}

#[test]
fn what_somebody_else_removed_is_proven_gone() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    // The answer to the creation is known, every DELETE and every look fails until the repository is gone.
    life.fate = Box::new(|request, _| match request.verb {
        Verb::Get if request.path.contains("canary") => Fate::Error,
        _ => Fate::Fine,
    });
    life.start();
    serve_for(&mut life, 60);
    assert_eq!(life.hub.left().len(), 1);
    life.hub.repos.retain(|_, repo| !repo.ours);
    life.fate = Box::new(|_, _| Fate::Fine);
    // No further round: the visits have to find a control of their own.
    life.run_until(S(3000), 5000);
    life.check_cleaned_up();
}

#[test]
fn another_janitor_in_the_middle_of_a_round_leaves_no_check_waiting_for_ever() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    life.hub.holders.insert(TokenName::new("other"), holder("dora", false, true, true));
    let text = PLAIN.replace("janitor: janitor", "janitor: other").replace("name: janitor,", "name: other,");
    for millis in (0..4000).step_by(100) {
        let mut life = world(life.config.clone(), SERVE, millis);
        life.hub.holders.insert(TokenName::new("other"), holder("dora", false, true, true));
        life.start();
        life.tell(Event::Due(Classes::ALL));
        life.at(Duration::from_millis(millis), Event::Configured(configured(&text)));
        life.run_until(S(600), 5000);
        assert_eq!(life.reports.len(), 1, "reloaded after {millis} ms");
    }
}

#[test]
fn ticks_that_come_too_early_are_counted_and_a_stop_ends() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    life.start();
    life.tell(Event::Due(Classes::ALL));
    life.tell(Event::Due(Classes::ALL));
    assert_eq!(life.skipped, 1);
    for millis in 0..200 {
        let mut life = world(life.config.clone(), SERVE, millis);
        life.start();
        life.tell(Event::Due(Classes::ALL));
        life.at(Duration::from_millis(millis * 40), Event::Stop);
        life.run_until(S(20), 5000);
        assert!(life.ended, "stopped after {millis} ms");
    }
}

#[test]
fn creations_before_a_user_was_known_count_for_that_user() {
    let mut life = world(configured(&PLAIN.replace("200", "2")), AUDIT, 1);
    life.fate = Box::new(|request, _| match request.route {
        "/api/whoami-v2" => Fate::Error,
        _ => Fate::Fine,
    });
    audit(&mut life);
    // Who is not known may be anybody: two creations in all.
    assert_eq!(life.posts.len(), 2);
    life.fate = Box::new(|_, _| Fate::Fine);
    // The life itself holds every POST against the budget of its user.
    audit(&mut life);
    assert_eq!(life.posts.iter().filter(|post| post.1 == "bob").count(), 2);
}

#[test]
fn a_slow_commit_lets_no_post_leave_late() {
    for seed in 0..20 {
        let mut life = world(configured(PLAIN), AUDIT, seed);
        life.slow_write = S(6);
        audit(&mut life);
    }
}

#[test]
fn a_creation_that_lands_at_the_end_of_the_horizon_is_still_found() {
    for (horizon, late) in [(60, 1), (60, 49), (60, 51), (60, 59), (900, 1), (900, 880), (900, 899)] {
        let text = PLAIN.replace("60s", &format!("{horizon}s"));
        let mut life = world(configured(&text), SERVE, late);
        life.fate = Box::new(move |request, _| match request.verb {
            Verb::Post => Fate::Late(S(late)),
            _ => Fate::Fine,
        });
        life.start();
        life.tell(Event::Due(Classes::ALL));
        // Two horizons and ten minutes, and rounds that see to it that whoami is known.
        for at in (300..=2 * horizon + 600).step_by(300) {
            life.run_until(S(at), 5000);
            life.tell(Event::Due(Classes { probe: true, ..Classes::default() }));
        }
        life.check_cleaned_up();
        assert!(!life.deletes.is_empty(), "landed {late} s after it was given up on");
        // Its check was told "unknown" long before; the grant is not lost for that.
        let granted = life.kept.findings.iter().any(|f| f.kind == FindingKind::UnexpectedGrant);
        assert!(granted, "a grant that showed {late} s late is a finding");
    }
}

/// Every creation is lost; with so many users, how many are POSTed in two rounds?
fn posts_that_are_lost(users: &[(&str, &'static str)]) -> (usize, Option<&'static str>) {
    let more: String = users
        .iter()
        .map(|(token, _)| {
            format!(
                "  - {{ name: {token}, organization: acme, secret: {{ env: X }}, \
                 expect: [{{ permission: repo.create, access: denied }}] }}\n"
            )
        })
        .collect();
    let text = format!("{}{more}", PLAIN.replace("60s", "900s"));
    let mut life = world(configured(&text), SERVE, 1);
    for (token, user) in users {
        life.hub.holders.insert(TokenName::new(token), holder(user, true, false, true));
    }
    life.fate = Box::new(|request, _| match request.verb {
        Verb::Post => Fate::LostTimeout,
        _ => Fate::Fine,
    });
    life.start();
    serve_for(&mut life, 600);
    life.tell(Event::Due(Classes::ALL));
    life.run_until(S(700), 5000);
    assert_eq!(life.reports.len(), 2);
    (life.posts.len(), result(&life, "dataset", "open").found.reason())
}

#[test]
fn one_open_canary_of_a_user_and_three_of_an_organization_are_enough() {
    assert_eq!(posts_that_are_lost(&[]), (2, Some("creation_cap")));
    // Those under way count, too: each of them may come to nothing clear.
    let users = [("a", "ann"), ("b", "ben"), ("c", "cleo"), ("d", "dora"), ("e", "eve")];
    assert_eq!(posts_that_are_lost(&users), (3, Some("creation_cap")));
}

#[test]
fn not_found_from_somebody_who_cannot_see_is_no_absence() {
    let mut life = world(configured(&PLAIN.replace("60s", "900s")), SERVE, 1);
    life.fate = Box::new(|request, _| match request.verb {
        Verb::Delete => Fate::LostTimeout,
        _ => Fate::Fine,
    });
    life.start();
    serve_for(&mut life, 60);
    assert_eq!(life.hub.left().len(), 1);
    // The janitor loses its sight, and they are no longer those of their maker: nobody sees them any more.
    life.hub.holders.insert(TokenName::new("janitor"), holder("alice", false, false, true));
    life.hub.repos.values_mut().filter(|repo| repo.ours).for_each(|repo| repo.user = "zoe".into());
    life.fate = Box::new(|request, _| match request.verb {
        Verb::Get => Fate::Fine,
        _ => Fate::Error,
    });
    serve_for(&mut life, 4 * 3600);
    assert_eq!(life.hub.left().len(), 1);
    assert_eq!(life.journal.values().filter(|c| c.repo_id.is_some() && c.unfinished()).count(), 1);
}

#[test]
fn an_answer_to_another_walk_is_no_answer_to_this_control() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    life.start();
    let now = life.moment();
    let engine = life.engine_mut().expect("it runs");
    let key = ("acme".to_owned(), Credential::Token(TokenName::new("janitor")));
    engine.start_control(&key, now);
    // The absent name of a walk that was begun before: its "not found" would fail this one's overview.
    let absent = "acme/no-such-x".parse().expect("a name");
    let request = routes::repo_info(RepoType::Model, &absent, key.1.clone());
    let outcome = Ok(missing());
    let exchange = Exchange { request, sent_at: now.wall, elapsed: S(0), outcome };
    engine.hear_control(&key, &exchange, now);
    assert!(engine.control(&key).is_none(), "the walk still waits for its own answer");
}

#[test]
fn a_control_that_began_too_long_ago_begins_anew_with_the_round() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    life.start();
    let now = life.moment();
    let engine = life.engine_mut().expect("it runs");
    let key = ("acme".to_owned(), Credential::Token(TokenName::new("janitor")));
    engine.start_control(&key, now);
    for (seconds, began) in [(120, 0), (121, 121)] {
        let later = Moment { mono: now.mono + S(seconds), ..now };
        engine.start_control(&key, later);
        let since = match engine.controls.get(&key) {
            Some(ControlJob::Walking { began, .. }) => *began,
            _ => panic!("it is under way"),
        };
        assert_eq!(since, now.mono + S(began), "{seconds}");
    }
}

#[test]
fn a_finding_that_ended_long_ago_is_forgotten() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    let ended = |days: u64| crate::report::Finding {
        kind: FindingKind::Rotated,
        organization: "acme".into(),
        token: Some(TokenName::new(if days > 30 { "open" } else { "narrow" })),
        permission: None,
        target: None,
        severity: crate::access::Severity::Warning,
        since: life.wall() - S(60 * 24 * 3600),
        last_seen: life.wall() - S(days * 24 * 3600),
        resolved_at: Some(life.wall() - S(days * 24 * 3600)),
        detail: "it was another".into(),
    };
    life.kept.findings = vec![ended(31), ended(29)];
    life.start();
    serve_for(&mut life, 900);
    let shown = life.shown.clone().expect("something is shown");
    let told: Vec<&str> = shown
        .findings
        .iter()
        .filter(|f| f.kind == FindingKind::Rotated)
        .filter_map(|f| f.token.as_ref())
        .map(TokenName::as_str)
        .collect();
    assert!(told.contains(&"narrow") && !told.contains(&"open"), "{told:?}");
}

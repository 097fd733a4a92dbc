//! Goal: who shows the journal without having asked tells what the one tells that asked.
//! Method: whenever all of a troubled life is durable, an engine reads what the journal holds, and its results are held against
//! those of the process that asked; and texts whose words are not ours.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::access::{Access, CheckKey, RepoType, TokenName};
use crate::exchange::Verb;
use crate::hub::names::{NONCE_BYTES, Signer};
use crate::report::{CheckResult, Snapshot};
use crate::round::{Engine, Event};
use crate::schedule::Classes;

use super::life::{Dice, Fate, Life, S, configured};
use super::predicted::whoami;
use super::random::trouble;
use super::stories::{PLAIN, SERVE, holder, serve_for, until, world};

/// What a process shows that only reads this journal.
fn shown_by_a_reader(life: &Life) -> Arc<Snapshot> {
    let dice = Box::new(|| [0; NONCE_BYTES]);
    let signer = Signer::new(&[7; 32]);
    let mut engine = Engine::new(life.config.clone(), SERVE, signer, dice, life.read(), life.moment());
    engine.recall(life.answers.values().cloned().collect());
    engine.only_show(life.moment())
}

fn results(snapshot: &Snapshot) -> BTreeMap<CheckKey, CheckResult> {
    let all = snapshot.report.iter().flat_map(|report| &report.results);
    all.map(|result| (result.key(), result.as_ref().clone())).collect()
}

/// All that it decided is durable.
fn is_durable(life: &Life) -> bool {
    life.engine().is_some_and(|engine| engine.unsaved.is_empty() && !engine.saving && engine.ops.is_empty())
}

/// The results of the process, each as a reader tells it.
fn compared_with_a_reader(life: &mut Life) -> Vec<Arc<CheckResult>> {
    until(life, is_durable);
    let told = results(&shown_by_a_reader(life));
    let led: Vec<Arc<CheckResult>> = life.engine().expect("a process").checks.results().cloned().collect();
    for result in &led {
        assert_eq!(told.get(&result.key()), Some(&**result));
    }
    led
}

#[test]
fn a_reader_tells_what_the_process_tells_that_asked() {
    let config = configured(PLAIN);
    let (mut compared, mut canaries, mut unanswered) = (0, 0, 0);
    for seed in 0..40 {
        let mut life = world(config.clone(), SERVE, seed);
        let (chance, horizon) = (Dice::new(seed).roll(40), life.horizon());
        life.fate = Box::new(move |request, dice| trouble(request, dice, chance, horizon));
        life.crashes = seed % 2;
        life.start();
        for second in 0..120 {
            if second % 40 == 0 {
                life.tell(Event::Due(Classes::ALL));
            }
            let next = life.now + S(20);
            life.run_until(next, 5000);
            for result in compared_with_a_reader(&mut life) {
                compared += 1;
                canaries += usize::from(result.canary.is_some());
                unanswered += result.evidence().iter().filter(|one| one.failure.is_some()).count();
            }
        }
    }
    assert!(compared > 500 && canaries > 50 && unanswered > 20, "{compared} {canaries} {unanswered}");
}

/// What became of the first result, each time compared with what a reader tells by then.
fn courses(life: &mut Life, end: Duration) -> Vec<(Access, Option<&'static str>)> {
    let mut course = Vec::new();
    while life.step(end) {
        let first = life.engine().and_then(|engine| engine.checks.results().next());
        course.extend(first.map(|result| (result.found, result.predicted)));
        if is_durable(life) {
            compared_with_a_reader(life);
        }
    }
    course.dedup();
    course
}

/// Two tokens and one repository, of which is known what it is once somebody was refused it.
const LATER: &str = "
hub: { endpoint: \"http://127.0.0.1:9\", in_flight_horizon: 60s, max_in_flight: 1 }
organizations: [{ name: acme, janitor: janitor, max_creations_per_day: 200 }]
tokens:
  - { name: janitor, organization: acme, secret: { env: J } }
  - name: first
    organization: acme
    secret: { env: A }
    expect: [{ permission: repo.read, repo: acme/other, access: allowed }]
  - name: second
    organization: acme
    secret: { env: B }
    expect: [{ permission: repo.read, repo: acme/other, access: denied }]
";

#[test]
fn a_reader_tells_what_became_known_after_the_answer() {
    let mut life = world(configured(LATER), SERVE, 1);
    let now = life.wall();
    life.hub.furnish("acme/other", now);
    life.hub.holders.insert(TokenName::new("first"), holder("bob", false, true, false));
    life.hub.holders.insert(TokenName::new("second"), holder("carl", false, false, false));
    life.hub.whoami.insert(TokenName::new("first"), whoami("write", &["job.write"]));
    life.start();
    life.tell(Event::Due(Classes::ALL));
    let course = courses(&mut life, S(300));
    assert_eq!(course, [None, Some("denied")].map(|predicted| (Access::Allowed, predicted)));
    // It is public from now on, which is seen when it is looked at because of that.
    let other = (RepoType::Model, "acme/other".to_owned());
    life.hub.repos.get_mut(&other).expect("it is there").private = false;
    life.tell(Event::Due(Classes { canary: false, ..Classes::ALL }));
    let course = courses(&mut life, S(600));
    assert_eq!(course.last(), Some(&(Access::Allowed, None)), "{course:?}");
}

#[test]
fn a_reader_tells_of_a_canary_that_was_found_late() {
    let mut life = world(configured(&PLAIN.replace("60s", "900s")), SERVE, 1);
    life.fate = Box::new(|request, _| match request.verb {
        Verb::Post => Fate::Late(S(400)),
        _ => Fate::Fine,
    });
    life.start();
    life.tell(Event::Due(Classes::ALL));
    while life.step(S(1000)) {
        if !life.reports.is_empty() && is_durable(&life) {
            compared_with_a_reader(&mut life);
        }
    }
    let told = |results: &[Arc<CheckResult>]| {
        results.iter().filter(|r| r.canary.is_some()).map(|r| r.found.as_str()).collect::<Vec<_>>()
    };
    let before = told(&life.reports.first().expect("a report").results);
    let after = told(&compared_with_a_reader(&mut life));
    assert!(before.contains(&"undetermined") && !before.contains(&"allowed"), "{before:?}");
    assert!(after.contains(&"allowed"), "{after:?}");
}

#[test]
fn a_reader_tells_the_report_and_the_reasons_of_the_last_round() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    life.start();
    serve_for(&mut life, 900);
    until(&mut life, is_durable);
    let (read, led) = (shown_by_a_reader(&life), life.shown.clone().expect("a snapshot"));
    let (mine, theirs) = (read.report.clone().expect("a report"), led.report.clone().expect("a report"));
    assert_eq!(
        (mine.summary, mine.canaries, &mine.results),
        (theirs.summary, theirs.canaries, &theirs.results)
    );
    let at = || mine.results.iter().map(|result| result.observed_at);
    assert_eq!((Some(mine.started_at), Some(mine.finished_at)), (at().min(), at().max()));
    assert_eq!(read.explained, led.explained);
    assert!(!read.explained.is_empty());
}

/// What the journal has of a check, told in other words; whether there is a result of it then.
fn retold(life: &mut Life, key: &CheckKey, change: impl FnOnce(&mut Value)) -> Option<CheckResult> {
    let before = life.answers.clone();
    let answer = life.answers.get_mut(key).expect("an answer");
    let mut body: Value = serde_json::from_str(&answer.body).expect("JSON");
    change(&mut body);
    answer.body = body.to_string();
    let told = results(&shown_by_a_reader(life)).remove(key);
    life.answers = before;
    told
}

#[test]
fn what_is_not_in_our_words_is_left_out_and_a_later_grant_is_told() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    life.start();
    serve_for(&mut life, 900);
    until(&mut life, is_durable);
    let all = results(&shown_by_a_reader(&life));
    let (key, whole) = all
        .iter()
        .find(|(_, result)| result.canary.is_some() && result.found == Access::Allowed)
        .expect("a canary");
    assert_eq!(retold(&mut life, key, |_| ()).as_ref(), Some(whole));
    for (place, word) in [
        ("/access", json!("perhaps")),
        ("/reason", json!("because")),
        ("/predicted", json!("perhaps")),
        ("/duration", json!(-1)),
        ("/declared", Value::Null),
        ("/evidence/0/method", json!("PUT")),
        ("/evidence/0/failure", json!("tired")),
        ("/canary/state", json!("lost")),
        ("/canary/kind", json!("bucket")),
        ("/known", json!("nothing")),
    ] {
        let told = retold(&mut life, key, |body| match body.pointer_mut(place) {
            Some(said) => *said = word.clone(),
            None => *body = json!({}),
        });
        assert_eq!(told, None, "{place}");
    }
    // Found later: the state of the check knows it, and the text is of before. The other way round it is newer than what
    // was read of the state.
    let timeout = |body: &mut Value| {
        body["access"] = json!("undetermined");
        body["reason"] = json!("timeout");
        body["explanation"] = json!("not known");
    };
    let told = retold(&mut life, key, timeout).expect("a result");
    assert_eq!((told.found, told.verdict), (Access::Allowed, whole.verdict));
    assert!(told.explanation().contains(key.token.as_str()), "{}", told.explanation());
    let answer = life.answers.get_mut(key).expect("an answer");
    answer.at = answer.at + S(1);
    let told = retold(&mut life, key, timeout).expect("a result");
    assert_eq!((told.found.reason(), told.explanation().as_str()), (Some("timeout"), "not known"));
}

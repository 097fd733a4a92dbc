//! How a journal must behave, whatever it is kept in: what is written comes back.
//!
//! Each of these tests is run with a file, with a database on a server, and with one behind a pooler; what is about files
//! alone is in `hardship`, `past` and `record`, what is about servers alone in `server`, `shared`, `leases` and `errands`.

mod errands;
mod hardship;
mod histories;
mod leases;
mod notices;
mod past;
pub(crate) mod place;
mod record;
mod server;
mod shared;

use std::path::PathBuf;

use sqlx::ConnectOptions;

use super::*;
use crate::access::{Access, DenyReason, Permission, RepoType, Severity, Verdict};
use crate::intent::{DeleteAttempt, DeleteOutcome, Deleter};
use crate::report::FindingKind;
use place::{Place, everywhere};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn at(seconds: i64) -> Timestamp {
    Timestamp(NOW.0 + seconds * 1000)
}

fn canary(id: i64) -> Canary {
    Canary {
        id,
        epoch: 1,
        repo: format!("acme/scopewatch-canary-{id}").parse().expect("a name"),
        kind: RepoType::Dataset,
        group: Some("65f0".into()),
        target: "dataset@group".into(),
        token: TokenName::new("ci"),
        owner: Some("bob".into()),
        planned_at: NOW,
        given_up_at: None,
        state: CanaryState::Planned,
        repo_id: None,
        deletes: Vec::new(),
        absences: Vec::new(),
        looks: 0,
        next_at: Some(at(1)),
        note: "planned".into(),
    }
}

fn step(canary: &Canary, event: &str) -> Write {
    Write::Canary { canary: canary.clone(), event: event.into(), at: at(2) }
}

fn key(target: &str) -> CheckKey {
    CheckKey::new("acme", TokenName::new("ci"), Permission::RepoCreate, target)
}

fn check(target: &str, latest: Access) -> CheckState {
    CheckState {
        key: key(target),
        latest,
        observed_at: at(3),
        conclusive: latest.conclusive().map(|allowed| (allowed, at(3))),
        bad_streak: 7,
        good_streak: u32::MAX,
        firing_since: latest.conclusive().map(|_| at(4)),
        firing: latest.conclusive().map(|_| Verdict::UnexpectedGrant),
    }
}

fn finding(kind: FindingKind, token: Option<&str>) -> Finding {
    Finding {
        kind,
        organization: if token.is_some() { "acme".into() } else { String::new() },
        token: token.map(TokenName::new),
        permission: token.map(|_| Permission::RepoWrite),
        target: token.map(|_| "acme/it's \"x\"; --".to_owned()),
        severity: Severity::Critical,
        since: at(5),
        last_seen: at(6),
        resolved_at: None,
        detail: "ä sentence\nwith '; DROP TABLE findings; --".into(),
    }
}

fn creation(owner: &str, at: Timestamp) -> Write {
    Write::Creation(Creation { owner: owner.into(), at })
}

everywhere! {
    everything_comes_back_as_it_was_written_also_after_a_restart,
    findings_that_ended_long_ago_are_not_told_any_more,
    results_that_follow_one_another_are_written_as_if_one_by_one,
    what_an_answer_rests_on_is_kept_until_its_check_is_forgotten,
    answers_are_read_in_the_order_of_their_keys_page_by_page,
    later_entries_take_the_place_of_earlier_ones_and_old_creations_are_pruned,
    a_canary_goes_through_all_its_states_and_each_step_is_kept,
    names_and_numbers_are_unique_and_a_batch_is_all_or_nothing,
}

async fn everything_comes_back_as_it_was_written_also_after_a_restart(place: Place) {
    let store = place.store().await;
    let empty = store.load(NOW).await.expect("loads");
    assert!(empty.past == Past::First && empty.canaries.is_empty() && empty.last_canary_id == 0);

    let checks = vec![
        check("a", Access::Allowed),
        check("b", Access::Denied(DenyReason::Hidden)),
        check("c", Access::Undetermined(UnknownReason::CreationCap)),
    ];
    let findings = vec![finding(FindingKind::Blind, None), finding(FindingKind::LatentGrant, Some("ci"))];
    let breaker = Breaker { organization: "acme".into(), at: at(1), why: "a public canary".into() };
    let pause = Pause { owner: "bob".into(), at: at(0), until: at(60), why: UnknownReason::RateLimited };
    let over = Pause { owner: "eve".into(), at: at(0), until: at(-1), why: UnknownReason::CreationCap };
    let declared = Declared {
        token: TokenName::new("ci"),
        fingerprint: "f1".into(),
        at: at(8),
        body: r#"{"name":"bob"}"#.into(),
    };
    let mut batch: Vec<Write> = checks.iter().cloned().map(Write::Check).collect();
    batch.extend(findings.iter().cloned().map(Write::Finding));
    batch.extend([
        Write::Breaker(breaker.clone()),
        Write::Breaker(Breaker { organization: "other".into(), ..breaker.clone() }),
        Write::Pause(pause.clone()),
        Write::Pause(over),
        Write::Declared(Declared { fingerprint: "f0".into(), ..declared.clone() }),
        Write::Declared(declared.clone()),
        step(&canary(3), "planned"),
        creation("bob", at(-24 * 3600)),
        creation("bob", at(-24 * 3600 + 1)),
        creation("eve", at(9)),
    ]);
    store.write(&batch).await.expect("writes");
    store.write(&[Write::Unlatch { organization: "other".into(), at: at(2) }]).await.expect("writes");

    let mut expected = Kept {
        canaries: vec![canary(3)],
        last_canary_id: 3,
        checks,
        findings,
        creations: vec![
            Creation { owner: "bob".into(), at: at(-24 * 3600 + 1) },
            Creation { owner: "eve".into(), at: at(9) },
        ],
        breakers: vec![breaker],
        pauses: vec![pause],
        declared: vec![declared],
        alerts: vec![],
        owed: vec![],
        epoch: 1,
        past: Past::First,
    };
    assert_eq!(store.load(NOW).await.expect("loads"), expected);
    store.close().await;
    let store = place.store().await;
    (expected.epoch, expected.past) = (2, Past::Continued);
    assert_eq!(store.load(NOW).await.expect("loads"), expected);
    store.close().await;
}

async fn findings_that_ended_long_ago_are_not_told_any_more(place: Place) {
    let store = place.store().await;
    let day = 24 * 3600;
    let ended = |kind, days: i64| Finding { resolved_at: Some(at(-days * day)), ..finding(kind, Some("ci")) };
    let lasting = finding(FindingKind::Blind, None);
    let batch = [ended(FindingKind::Rotated, 31), ended(FindingKind::RoleChanged, 29), lasting.clone()];
    store.write(&batch.clone().map(Write::Finding)).await.expect("writes");
    let kept = store.load(NOW).await.expect("loads").findings;
    assert_eq!(kept.len(), 2);
    assert!(kept.contains(&batch[1]) && kept.contains(&lasting));
    store.close().await;
}

/// More than one statement holds, and not a whole number of them; what comes later stays.
async fn results_that_follow_one_another_are_written_as_if_one_by_one(place: Place) {
    let store = place.store().await;
    let mut batch = Vec::new();
    for n in 0..100 {
        // Each stands in it twice, the second time with another answer.
        let (target, turn) = (format!("t{}", n % 50), n / 50);
        let latest = if turn == 0 { Access::Allowed } else { Access::Denied(DenyReason::Scope) };
        batch.push(Write::Check(check(&target, latest)));
        batch.push(Write::Answer(LastAnswer {
            key: key(&target),
            at: at(n),
            body: format!("{turn} {target}"),
        }));
        if n == 70 {
            batch.push(Write::ForgetCheck(key("t3")));
        }
    }
    store.write(&batch).await.expect("writes");
    let kept = store.load(at(9)).await.expect("reads").checks;
    let denied = kept.iter().filter(|state| state.latest == Access::Denied(DenyReason::Scope)).count();
    assert_eq!((kept.len(), denied), (49, 49));
    // And two versions side by side, in one statement.
    let twice = [Access::Allowed, Access::Denied(DenyReason::Sso)].map(|latest| check("t0", latest));
    let bodies = ["first", "second"].map(|body| LastAnswer { key: key("t0"), at: at(9), body: body.into() });
    let rest = (0..40).map(|n| check(&format!("u{n}"), Access::Allowed));
    let batch = twice.iter().cloned().chain(rest).map(Write::Check).chain(bodies.map(Write::Answer));
    store.write(&batch.collect::<Vec<_>>()).await.expect("writes");
    assert_eq!(store.load(at(9)).await.expect("reads").checks[0], twice[1]);
    assert_eq!(store.last_answer(&key("t0")).await.expect("reads").expect("one").body, "second");
    for n in 1..50 {
        let body = store.last_answer(&key(&format!("t{n}"))).await.expect("reads").map(|last| last.body);
        assert_eq!(body, (n != 3).then(|| format!("1 t{n}")));
    }
    store.close().await;
}

async fn what_an_answer_rests_on_is_kept_until_its_check_is_forgotten(place: Place) {
    let store = place.store().await;
    let answer = |target: &str, body: &str| LastAnswer { key: key(target), at: at(5), body: body.to_owned() };
    let (first, second) = (answer("a", "{}"), answer("a", r#"{"evidence":[]}"#));
    assert_eq!(store.last_answer(&key("a")).await.expect("reads"), None);
    let batch = [first, second.clone(), answer("b", "{}")].map(Write::Answer);
    store.write(&batch).await.expect("writes");
    assert_eq!(store.last_answer(&key("a")).await.expect("reads"), Some(second));
    store.write(&[Write::ForgetCheck(key("a"))]).await.expect("writes");
    assert_eq!(store.last_answer(&key("a")).await.expect("reads"), None);
    assert!(store.last_answer(&key("b")).await.expect("reads").is_some());
    store.close().await;
}

/// In pages, so that there may be very many.
async fn answers_are_read_in_the_order_of_their_keys_page_by_page(place: Place) {
    let store = place.store().await;
    assert_eq!(store.answers_after(None).await.expect("reads"), []);
    let answer = |n: i64| LastAnswer { key: key(&format!("t{n:04}")), at: at(n), body: format!("{n}") };
    // Not in the order in which they are to be read.
    let all: Vec<LastAnswer> = (0..2300).map(answer).collect();
    let batch = all.iter().rev().cloned().map(Write::Answer);
    store.write(&batch.collect::<Vec<_>>()).await.expect("writes");
    let (mut read, mut pages): (Vec<LastAnswer>, Vec<usize>) = (Vec::new(), Vec::new());
    loop {
        let page = store.answers_after(read.last().map(|last| &last.key)).await.expect("reads");
        if page.is_empty() {
            break;
        }
        pages.push(page.len());
        read.extend(page);
    }
    assert_eq!((read == all, pages), (true, vec![1000, 1000, 300]));
    store.close().await;
}

#[tokio::test]
async fn a_journal_of_version_1_is_taken_over_with_all_it_holds() {
    let place = Place::new();
    let store = place.store().await;
    store.write(&[step(&canary(3), "planned"), creation("eve", at(9))]).await.expect("writes");
    store.close().await;
    place
        .meddle(
            "DROP TABLE answers; DROP TABLE evidence; DROP TABLE fence; DROP TABLE alerts; DROP TABLE outbox",
        )
        .await;
    place.meddle("ALTER TABLE canaries DROP COLUMN epoch; ALTER TABLE pauses DROP COLUMN at").await;
    place.meddle("PRAGMA user_version = 1").await;
    std::fs::remove_file(place.dir().join("state.db.head")).expect("rm");
    let store = place.store().await;
    let kept = store.load(NOW).await.expect("loads");
    assert_eq!(
        (kept.canaries, kept.creations.len(), kept.past),
        (vec![Canary { epoch: 0, ..canary(3) }], 1, Past::Continued)
    );
    let answer = LastAnswer { key: key("a"), at: at(5), body: "{}".into() };
    store.write(&[Write::Answer(answer)]).await.expect("writes");
    store.close().await;
}

async fn later_entries_take_the_place_of_earlier_ones_and_old_creations_are_pruned(place: Place) {
    let store = place.store().await;
    let latent = finding(FindingKind::LatentGrant, Some("ci"));
    store
        .write(&[
            Write::Finding(finding(FindingKind::Blind, None)),
            Write::Finding(latent.clone()),
            Write::Check(check("a", Access::Allowed)),
            Write::Check(check("b", Access::Allowed)),
            Write::Check(check("a", Access::Denied(DenyReason::Sso))),
            creation("bob", at(-24 * 3600)),
            creation("eve", at(9)),
        ])
        .await
        .expect("writes");

    let ended = Finding { resolved_at: Some(at(20)), ..finding(FindingKind::Blind, None) };
    store
        .write(&[Write::Finding(ended.clone()), Write::ForgetCheck(key("b")), creation("eve", at(30 * 3600))])
        .await
        .expect("writes");
    let kept = store.load(at(30 * 3600)).await.expect("loads");
    assert_eq!(kept.findings, [ended, latent]);
    assert_eq!(kept.checks, [check("a", Access::Denied(DenyReason::Sso))]);
    assert_eq!(kept.creations.len(), 1, "of the last 24 hours");
    let pruned = store.load(NOW).await.expect("loads").creations;
    assert!(pruned.iter().all(|creation| creation.owner == "eve") && pruned.len() == 2, "{pruned:?}");
    store.close().await;
}

async fn a_canary_goes_through_all_its_states_and_each_step_is_kept(place: Place) {
    let store = place.store().await;
    let mut one = canary(1);
    let mut told = Vec::new();
    for (number, state) in CanaryState::ALL.iter().enumerate() {
        one.state = *state;
        one.looks = u32::try_from(number).expect("few");
        one.repo_id = (number > 2).then(|| "650000000000000000000001".to_owned());
        if number > 3 {
            let outcome = DeleteOutcome::ALL[number % DeleteOutcome::ALL.len()];
            let by = if number % 2 == 0 { Deleter::Probed } else { Deleter::Janitor };
            one.deletes.push(DeleteAttempt { at: at(10), by, outcome });
            one.absences.push(at(11));
        }
        store.write(&[step(&one, state.as_str())]).await.expect("writes");
        assert_eq!(store.load(NOW).await.expect("loads").canaries, [one.clone()], "{state}");
        told.push(state.as_str().to_owned());
    }
    // Seen again: its sightings of absence are void, and an attempt got its answer.
    one.absences.truncate(1);
    one.deletes[0].outcome = DeleteOutcome::Acknowledged;
    store.write(&[step(&one, "seen again")]).await.expect("writes");
    assert_eq!(store.load(NOW).await.expect("loads").canaries, [one.clone()]);
    told.push("seen again".into());

    let story = store.transitions(1).await.expect("loads");
    assert_eq!(story.iter().map(|t| t.event.clone()).collect::<Vec<_>>(), told);
    assert_eq!((story[0].from, story[0].to), (None, CanaryState::Planned));
    assert!(story.windows(2).all(|pair| pair[1].from == Some(pair[0].to)));

    // What is owed nothing is not loaded at a start, but never forgotten; what needs a person always is
    // loaded.
    one.next_at = None;
    for (state, loaded) in [
        (CanaryState::Quarantined, 1),
        (CanaryState::Unknown, 1),
        (CanaryState::Refused, 0),
        (CanaryState::Gone, 0),
    ] {
        one.state = state;
        store.write(&[step(&one, "ends")]).await.expect("writes");
        assert_eq!(store.load(NOW).await.expect("loads").canaries.len(), loaded, "{state}");
    }
    store.write(&[step(&canary(9), "planned")]).await.expect("writes");
    assert_eq!(store.load(NOW).await.expect("loads").last_canary_id, 9);
    assert_eq!(store.all_canaries(5).await.expect("loads"), [canary(9), one]);
    assert_eq!(store.all_canaries(1).await.expect("loads"), [canary(9)]);
    store.close().await;
}

async fn names_and_numbers_are_unique_and_a_batch_is_all_or_nothing(place: Place) {
    let store = place.store().await;
    store.write(&[step(&canary(1), "planned")]).await.expect("writes");
    let same_name = Canary { id: 2, kind: RepoType::Model, ..canary(1) };
    let same_number = Canary { id: 1, ..canary(5) };
    let mut shrunk = canary(1);
    shrunk.deletes.push(DeleteAttempt { at: NOW, by: Deleter::Probed, outcome: DeleteOutcome::Pending });
    store.write(&[step(&shrunk, "deleting")]).await.expect("writes");
    shrunk.deletes.clear();
    for wrong in [same_name, same_number, shrunk] {
        let batch = [creation("bob", NOW), step(&canary(7), "planned"), step(&wrong, "planned")];
        let fault = store.write(&batch).await.expect_err("refused");
        assert!(matches!(fault, StoreFault::Conflict { .. }), "{fault}");
        assert_eq!(fault.operation(), "write");
        let kept = store.load(NOW).await.expect("loads");
        assert!(kept.creations.is_empty() && kept.last_canary_id == 1);
    }
    // The memory of a canary cannot be taken away, even by a mistake of ours.
    store.close().await;
    for sql in ["DELETE FROM canaries", "DELETE FROM transitions", "UPDATE transitions SET event = 'x'"] {
        assert!(!place.try_to(sql).await, "{sql}");
    }
    assert!(place.try_to("DELETE FROM creations").await, "it is the journal");
}

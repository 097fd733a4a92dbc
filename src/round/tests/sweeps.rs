//! Sweeps: what the journal lost is found, told, and deleted only where the config says so; what is not ours stays.

use std::time::Duration;

use crate::access::{RepoType, TokenName};
use crate::exchange::Verb;
use crate::hub::names::{NONCE_BYTES, Signer};
use crate::intent::CanaryState;
use crate::report::{Finding, FindingKind};
use crate::round::Event;
use crate::schedule::Classes;
use crate::store::Past;

use super::hub::Key;
use super::life::{Fate, Life, S, configured};
use super::stories::{AUDIT, PLAIN, SERVE, audit, holder, result, serve_for, world};

/// A repository that bears our signature, made so long ago.
fn orphan(life: &mut Life, kind: RepoType, nonce: u8, ago: Duration) -> Key {
    let name = Signer::new(&[7; 32]).name("scopewatch-canary", "acme", kind, &[nonce; NONCE_BYTES]);
    let (key, at) = ((kind, name.to_string()), life.time() - ago);
    life.hub.make(key.clone(), "bob", true, at);
    key
}

fn adopting() -> String {
    PLAIN.replace("janitor: janitor,", "janitor: janitor, adopt_authentic: true,")
}

fn lasting(life: &Life, kind: FindingKind) -> Option<&Finding> {
    life.kept.findings.iter().find(|f| f.kind == kind && f.resolved_at.is_none())
}

#[test]
fn an_orphan_is_told_and_latches_and_is_not_touched() {
    for kind in RepoType::ALL {
        let mut life = world(configured(PLAIN), SERVE, 1);
        let key = orphan(&mut life, *kind, 1, S(3600));
        life.start();
        serve_for(&mut life, 900);
        let told = lasting(&life, FindingKind::CanaryLeft).expect("a finding");
        assert!(told.detail.contains(&key.1) && told.detail.contains("adopt_authentic"), "{}", told.detail);
        assert_eq!(life.kept.breakers.len(), 1);
        assert!(life.hub.repos.contains_key(&key), "nothing is deleted that the journal does not know");
        assert!(!life.deletes.contains_key(&key));
        // Somebody deletes it by hand: the next sweep no longer sees it.
        life.hub.repos.remove(&key);
        serve_for(&mut life, 2 * 3600);
        let told = lasting(&life, FindingKind::CanaryLeft).expect("the breaker is still latched");
        assert!(!told.detail.contains("adopt_authentic"), "{}", told.detail);
    }
}

#[test]
fn an_orphan_is_adopted_where_the_config_says_so_and_only_when_nobody_is_about_it() {
    for ago in [S(30), S(100), S(3600)] {
        let mut life = world(configured(&adopting()), SERVE, 1);
        let key = orphan(&mut life, RepoType::Dataset, 2, ago);
        life.start();
        serve_for(&mut life, 15);
        let young = ago < life.horizon() * 2 - S(15);
        assert!(!young || !life.journal.values().any(|canary| canary.repo.to_string() == key.1), "{ago:?}");
        // What is too young at the first sweep is looked for as soon as it is not, and not an hour later.
        serve_for(&mut life, 800);
        assert!(!life.hub.repos.contains_key(&key), "{ago:?}");
        assert!(life.kept.breakers.is_empty(), "what is adopted is in hand");
        serve_for(&mut life, 3 * 3600);
        life.check_cleaned_up();
    }
}

#[test]
fn what_is_adopted_must_still_prove_to_be_ours() {
    for (why, commits, private) in [("somebody committed to it", 2, true), ("not private", 1, false)] {
        let mut life = world(configured(&adopting()), SERVE, 1);
        let key = orphan(&mut life, RepoType::Model, 3, S(3600));
        let repo = life.hub.repos.get_mut(&key).expect("it is there");
        (repo.commits, repo.private) = (commits, private);
        life.start();
        serve_for(&mut life, 900);
        assert!(life.hub.repos.contains_key(&key), "{why}");
        let state = life.journal.values().find(|c| c.repo.to_string() == key.1).map(|c| c.state);
        assert_eq!(state, Some(CanaryState::Quarantined), "{why}");
        assert!(lasting(&life, FindingKind::CanaryLeft).is_some());
    }
}

#[test]
fn who_only_looks_like_a_canary_is_left_alone() {
    let mut life = world(configured(&adopting()), SERVE, 1);
    let other = Signer::new(&[8; 32]).name("scopewatch-canary", "acme", RepoType::Model, &[1; NONCE_BYTES]);
    let mine = Signer::new(&[7; 32]).name("scopewatch-canary", "acme", RepoType::Dataset, &[1; NONCE_BYTES]);
    // Another key's; ours, but signed for another kind; and one that somebody called so.
    for name in [other.to_string(), mine.to_string(), "acme/scopewatch-canary-mine".to_owned()] {
        let at = life.time() - S(9999);
        life.hub.make((RepoType::Model, name), "carol", false, at);
    }
    life.start();
    serve_for(&mut life, 2 * 3600);
    assert_eq!(life.hub.repos.len(), 4, "and what was always there");
    assert!(lasting(&life, FindingKind::CanaryLeft).is_none());
    assert!(life.kept.breakers.is_empty());
}

#[test]
fn what_was_proven_gone_and_is_back_goes_to_a_person() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    life.start();
    serve_for(&mut life, 900);
    let canary = life.journal.values().find(|c| c.repo_id.is_some()).expect("a canary").clone();
    // Long after its last recheck, when it is no longer in memory.
    let weeks = life.now + S(9 * 24 * 3600);
    life.run_until(weeks, 50_000);
    life.restart();
    let (key, at) = ((canary.kind, canary.repo.to_string()), life.time());
    life.hub.make(key.clone(), "bob", false, at);
    serve_for(&mut life, 2 * 3600);
    assert_eq!(life.journal[&canary.id].state, CanaryState::Quarantined);
    assert!(life.hub.repos.contains_key(&key));
}

#[test]
fn after_a_loss_a_sweep_comes_first_and_after_a_change_a_person() {
    let changed = Past::Broken { seq: 3, why: "x".to_owned() };
    let old = Past::Regressed { known: 9, found: 3 };
    for (past, latches) in [(Past::Emptied, false), (old, true), (changed, true), (Past::First, false)] {
        let reset = past != Past::First;
        let mut life = world(configured(PLAIN), AUDIT, 1);
        life.kept.past = past.clone();
        audit(&mut life);
        let listed =
            life.asked.iter().position(|(_, request)| request.path.contains("search=scopewatch-canary-&"));
        let listed =
            listed.or(life.asked.iter().position(|(_, r)| r.path.ends_with("search=scopewatch-canary-")));
        let posted = life.asked.iter().position(|(_, request)| request.route == "/api/repos/create");
        assert_eq!(listed.is_some(), reset, "{past:?}");
        assert_eq!(posted.is_some(), !latches, "{past:?}");
        assert!(listed.is_none() || posted.is_none() || listed < posted, "{past:?}: the sweep comes first");
        assert_eq!(lasting(&life, FindingKind::StateReset).is_some(), reset, "{past:?}");
        assert_eq!(result(&life, "model", "open").found.reason().is_some(), latches);
    }
}

#[test]
fn nothing_is_created_after_a_loss_while_no_sweep_can_be_read() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    life.kept.past = Past::Emptied;
    life.fate =
        Box::new(
            |request, _| {
                if request.path.contains("search=scopewatch-canary") { Fate::Error } else { Fate::Fine }
            },
        );
    life.start();
    serve_for(&mut life, 1800);
    assert!(life.posts.is_empty());
    // The next process does not forget it.
    life.kept.past = Past::Continued;
    life.restart();
    serve_for(&mut life, 1800);
    assert!(life.posts.is_empty());
    life.fate = Box::new(|_, _| Fate::Fine);
    serve_for(&mut life, 1800);
    assert!(!life.posts.is_empty(), "once it could be read");
    serve_for(&mut life, 26 * 3600);
    assert!(lasting(&life, FindingKind::StateReset).is_none());
}

#[test]
fn a_person_may_have_everything_swept_and_it_ends() {
    // It waits for what is over in a moment, and leaves the rest to the next process.
    for (horizon, gone) in [("1s", true), ("60s", false)] {
        let mut life = world(configured(&adopting().replace("60s", horizon)), AUDIT, 1);
        let key = orphan(&mut life, RepoType::Space, 4, S(3600));
        life.start();
        life.tell(Event::Sweep);
        life.tell(Event::Once { due: Classes::default(), only: vec![] });
        life.run_until(S(3600), 5000);
        assert!(life.ended);
        assert!(life.hub.repos.contains_key(&key) != gone && life.posts.is_empty(), "{horizon}");
        assert!(life.journal.values().any(|c| c.repo.to_string() == key.1), "{horizon}");
    }
}

#[test]
fn by_a_journal_that_was_changed_nothing_is_deleted_and_by_an_old_copy_not_before_the_horizon() {
    let changed = Past::Broken { seq: 3, why: "x".to_owned() };
    let old = Past::Regressed { known: 9, found: 3 };
    for (past, deleted_after) in [(Past::Continued, Some(S(0))), (old, Some(S(60))), (changed, None)] {
        let mut life = world(configured(PLAIN), SERVE, 1);
        life.fate =
            Box::new(|request, _| if request.verb == Verb::Delete { Fate::Unsent } else { Fate::Fine });
        life.start();
        serve_for(&mut life, 60);
        life.crash();
        life.fate = Box::new(|_, _| Fate::Fine);
        life.kept.past = past.clone();
        let begun = life.now;
        life.start();
        let until = begun + S(50);
        life.run_until(until, 5000);
        let early = deleted_after.is_some_and(|after| after < S(50));
        assert_eq!(life.hub.left().is_empty(), early, "{past:?}");
        let until = begun + S(900);
        life.run_until(until, 20_000);
        assert_eq!(life.hub.left().is_empty(), deleted_after.is_some(), "{past:?}");
        let held = life.journal.values().any(|c| c.state == CanaryState::Quarantined);
        assert_eq!(held, deleted_after.is_none(), "{past:?}");
    }
}

#[test]
fn what_is_adopted_is_not_deleted_before_a_deletion_that_was_lost_can_no_longer_land() {
    let mut life = world(configured(&adopting()), SERVE, 1);
    let key = orphan(&mut life, RepoType::Model, 5, S(3600));
    life.start();
    serve_for(&mut life, 55);
    assert!(life.journal.values().any(|c| c.repo.to_string() == key.1), "it is adopted");
    assert!(!life.deletes.contains_key(&key), "the journal that knew it may have known of a deletion, too");
    serve_for(&mut life, 600);
    assert_eq!(life.deletes.get(&key), Some(&1));
    life.check_cleaned_up();
}

#[test]
fn an_orphan_that_none_of_our_users_made_is_told_and_left_alone() {
    let mut life = world(configured(&adopting()), SERVE, 1);
    let name = Signer::new(&[7; 32]).name("scopewatch-canary", "acme", RepoType::Model, &[6; NONCE_BYTES]);
    let (key, at) = ((RepoType::Model, name.to_string()), life.time() - S(3600));
    // Whoever took the name of a canary that is gone has a signed name.
    life.hub.make(key.clone(), "mallory", false, at);
    life.start();
    serve_for(&mut life, 4 * 3600);
    assert!(life.hub.repos.contains_key(&key));
    let told = lasting(&life, FindingKind::CanaryLeft).expect("a finding");
    assert!(told.detail.contains(&key.1), "{}", told.detail);
}

#[test]
fn a_sweep_by_somebody_who_sees_nothing_is_none() {
    let janitor = TokenName::new("janitor");
    let mut life = world(configured(PLAIN), SERVE, 1);
    life.kept.past = Past::Emptied;
    life.hub.holders.insert(janitor.clone(), holder("alice", false, false, true));
    life.start();
    serve_for(&mut life, 1800);
    assert!(life.posts.is_empty(), "what the journal lost may stand there");
    life.hub.holders.insert(janitor, holder("alice", false, true, true));
    serve_for(&mut life, 1800);
    assert!(!life.posts.is_empty(), "once it could be seen");
    serve_for(&mut life, 26 * 3600);
    assert!(lasting(&life, FindingKind::StateReset).is_none());
}

#[test]
fn what_is_listed_again_is_told_where_nobody_may_look() {
    let nobody = PLAIN.replace("janitor: janitor,", "").replace("- name: open", "- name: other");
    for (text, told) in [(nobody.as_str(), true), (PLAIN, false)] {
        let mut life = world(configured(PLAIN), SERVE, 1);
        life.start();
        serve_for(&mut life, 900);
        let canary = life.journal.values().find(|c| c.repo_id.is_some()).expect("a canary").clone();
        assert_eq!(canary.state, CanaryState::Gone);
        life.hub.holders.insert(TokenName::new("other"), holder("dora", false, true, false));
        life.config = configured(text);
        life.tell(Event::Configured(life.config.clone()));
        let (key, at) = ((canary.kind, canary.repo.to_string()), life.time());
        life.hub.make(key.clone(), "bob", true, at);
        life.hub.repos.get_mut(&key).expect("it is there").restored = true;
        serve_for(&mut life, 2 * 3600);
        let again = lasting(&life, FindingKind::CanaryLeft);
        let again = again.is_some_and(|f| f.detail.contains("listed again") && f.detail.contains(&key.1));
        assert_eq!(again, told, "{told}");
        // Somebody deletes it by hand.
        life.hub.repos.remove(&key);
        serve_for(&mut life, 2 * 3600);
        let again = lasting(&life, FindingKind::CanaryLeft);
        assert!(!again.is_some_and(|f| f.detail.contains("listed again")), "{told}");
    }
}

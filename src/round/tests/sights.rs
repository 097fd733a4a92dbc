//! What a look proves: that it is ours only where all of it is of one repository and its maker is shown, that it is
//! gone only where whoever looks can still see.

use crate::access::TokenName;
use crate::exchange::{Credential, Request, Verb};
use crate::intent::CanaryState;
use crate::report::FindingKind;
use crate::round::Event;
use crate::schedule::Classes;

use super::hub::Key;
use super::life::{Fate, Life, S, configured};
use super::stories::{PLAIN, SERVE, holder, only, serve_for, until, world};

/// Somebody deletes this repository and takes its name.
fn take(life: &mut Life, key: &Key) {
    let now = life.time();
    life.hub.repos.remove(key).expect("it is there");
    life.hub.make(key.clone(), "mallory", false, now);
}

#[test]
fn whoever_went_blind_after_its_control_proves_no_absence() {
    let text = PLAIN.replace("in_flight_horizon: 60s", "in_flight_horizon: 20s");
    let mut life = world(configured(&text), SERVE, 1);
    life.fate = only(Verb::Post, 1, Fate::AppliedTimeout);
    life.start();
    life.tell(Event::Due(Classes::ALL));
    until(&mut life, |life| !life.hub.left().is_empty());
    life.hub.holders.insert(TokenName::new("janitor"), holder("alice", false, false, true));
    let key = life.hub.left()[0].clone();
    while life.now < S(300) {
        let next = life.now + S(1);
        life.run_until(next, 5000);
        let canary = life.journal.values().find(|c| c.repo.to_string() == key.1).expect("its intent");
        let gone = canary.state == CanaryState::Gone;
        assert!(!gone || !life.hub.repos.contains_key(&key), "it lives");
    }
    life.hub.holders.insert(TokenName::new("janitor"), holder("alice", false, true, true));
    serve_for(&mut life, 1800);
    life.check_cleaned_up();
}

#[test]
fn whoever_was_blind_until_its_witness_was_asked_for_proves_no_absence() {
    let text = PLAIN.replace("in_flight_horizon: 60s", "in_flight_horizon: 1s");
    for seed in 0..5 {
        let mut life = world(configured(&text), SERVE, seed);
        life.hub.holders.insert(TokenName::new("open"), holder("bob", true, false, false));
        life.start();
        life.tell(Event::Due(Classes::ALL));
        until(&mut life, |life| !life.hub.left().is_empty());
        let key = life.hub.left()[0].clone();
        life.hub.holders.insert(TokenName::new("janitor"), holder("alice", false, false, false));
        let name = key.1.trim_start_matches("acme/").to_owned();
        let listed = |(_, request): &(_, Request)| request.path.ends_with(&format!("search={name}"));
        until(&mut life, |life| life.asked.iter().any(listed) || life.now > S(600));
        assert!(life.asked.iter().any(listed), "{seed}");
        let known = |life: &Life| {
            let asked = life.asked.iter().skip_while(|asked| !listed(asked));
            asked.filter(|(_, request)| request.path.ends_with("/acme/known")).count()
        };
        until(&mut life, |life| life.now > S(900) || known(life) > 0);
        life.hub.holders.insert(TokenName::new("janitor"), holder("alice", false, true, false));
        let soon = life.now + S(5);
        life.run_until(soon, 5000);
        let canary = life.journal.values().find(|c| c.repo.to_string() == key.1).expect("its intent");
        assert!(life.hub.repos.contains_key(&key) && canary.state != CanaryState::Gone, "{seed}: it lives");
    }
}

type Hidden = Box<dyn Fn(&Request) -> bool>;

#[test]
fn what_was_never_answered_is_ours_only_if_its_maker_is_shown() {
    let open = Credential::Token(TokenName::new("open"));
    let commits = |request: &Request| request.path.contains("/commits/");
    // Nobody may read who made it; or whose the token is, which asked for it, is not known.
    let hidden: [Hidden; 2] = [
        Box::new(commits),
        Box::new(move |request| request.route == "/api/whoami-v2" && request.credential == open),
    ];
    for (at, hidden) in hidden.into_iter().enumerate() {
        let mut life = world(configured(PLAIN), SERVE, 1);
        life.fate = Box::new(move |request, _| match request.verb {
            Verb::Post => Fate::AppliedTimeout,
            _ if hidden(request) => Fate::Error,
            _ => Fate::Fine,
        });
        life.start();
        serve_for(&mut life, 600);
        assert_eq!(life.hub.left().len(), 1, "{at}: it may be anybody's");
        assert!(life.journal.values().all(|c| c.state != CanaryState::Quarantined), "{at}");
        life.fate = Box::new(|_, _| Fate::Fine);
        serve_for(&mut life, 3600);
        life.check_cleaned_up();
    }
}

#[test]
fn who_takes_its_name_while_it_is_looked_at_loses_nothing() {
    // The Hub itself panics when somebody else's is deleted.
    for fate in [Fate::Fine, Fate::AppliedTimeout] {
        let mut life = world(configured(PLAIN), SERVE, 1);
        life.hub.holders.insert(TokenName::new("open"), holder("bob", true, true, true));
        life.fate = only(Verb::Post, 1, fate);
        life.start();
        life.tell(Event::Due(Classes::ALL));
        let anonymous = |life: &Life| {
            let looks = |request: &Request| {
                request.credential == Credential::Anonymous && request.path.contains("canary")
            };
            life.asked.iter().any(|(_, request)| looks(request))
        };
        // Who made it was read; what it is is asked last.
        until(&mut life, anonymous);
        let key = life.hub.left()[0].clone();
        take(&mut life, &key);
        let soon = life.now + S(5);
        life.run_until(soon, 5000);
        assert!(life.hub.repos.contains_key(&key), "{fate:?}");
        serve_for(&mut life, 3600);
        assert!(life.hub.repos.contains_key(&key), "{fate:?}");
    }
}

#[test]
fn whoever_goes_blind_while_it_is_controlled_proves_no_absence() {
    // A start looks at what is open beside the control; when which answer comes differs by the seed.
    for (seed, fails) in (0..30).flat_map(|seed| [(seed, false), (seed, true)]) {
        let text = PLAIN.replace("in_flight_horizon: 60s", "in_flight_horizon: 1s");
        let mut life = world(configured(&text), SERVE, seed);
        life.hub.holders.insert(TokenName::new("open"), holder("bob", true, false, false));
        life.start();
        life.tell(Event::Due(Classes::ALL));
        until(&mut life, |life| life.journal.values().any(|c| c.repo_id.is_some()));
        life.restart();
        // Nor does a control that came to nothing prove that it can see.
        life.fate = Box::new(move |request, _| match request.route {
            "/api/organizations/{name}/overview" if fails => Fate::Error,
            _ => Fate::Fine,
        });
        let key = life.hub.left()[0].clone();
        until(&mut life, |life| life.deletes.contains_key(&key));
        life.hub.holders.insert(TokenName::new("janitor"), holder("alice", false, false, false));
        let soon = life.now + S(90);
        life.run_until(soon, 5000);
        let canary = life.journal.values().find(|c| c.repo.to_string() == key.1).expect("its intent");
        let lives = life.hub.repos.contains_key(&key);
        assert!(lives && canary.state != CanaryState::Gone, "{seed}, its control fails: {fails}: it lives");
    }
}

#[test]
fn that_anybody_sees_it_latches_whatever_else_a_look_comes_to() {
    for described in [false, true] {
        let mut life = world(configured(PLAIN), SERVE, 1);
        life.fate = Box::new(move |request, _| match request.verb {
            Verb::Get if request.path.contains("canary-") && !request.path.contains("search=") => {
                let anonymous = request.credential == Credential::Anonymous;
                if anonymous || described { Fate::Fine } else { Fate::Error }
            }
            _ => Fate::Fine,
        });
        life.start();
        life.tell(Event::Due(Classes::ALL));
        until(&mut life, |life| !life.hub.left().is_empty());
        let key = life.hub.left()[0].clone();
        life.hub.repos.get_mut(&key).expect("it is there").private = false;
        serve_for(&mut life, 300);
        assert_eq!(life.kept.breakers.len(), 1, "described to us: {described}");
    }
}

#[test]
fn what_stands_although_the_hub_took_its_deletion_is_told_though_nobody_can_see_it() {
    let text = PLAIN.replace("in_flight_horizon: 60s", "in_flight_horizon: 20s");
    let mut life = world(configured(&text), SERVE, 1);
    // What each may do changes here, so that it cannot be judged by.
    life.held.lenient = true;
    // Acknowledged at once, and never done.
    life.fate = only(Verb::Delete, 1, Fate::Strange(2));
    life.start();
    life.tell(Event::Due(Classes::ALL));
    until(&mut life, |life| !life.deletes.is_empty());
    life.hub.holders.insert(TokenName::new("janitor"), holder("alice", false, false, true));
    let key = life.hub.left()[0].clone();
    life.hub.holders.get_mut(&TokenName::new("open")).expect("there").dead = true;
    life.tell(Event::Due(Classes::ALL));
    serve_for(&mut life, 2 * 20 + 660);
    let told = life.shown.iter().flat_map(|shown| &shown.findings).any(|finding| {
        finding.kind == FindingKind::CanaryLeft
            && finding.resolved_at.is_none()
            && finding.detail.contains(&key.1)
    });
    let canary = life.journal.values().find(|c| c.repo.to_string() == key.1).expect("its intent");
    assert!(life.hub.repos.contains_key(&key));
    assert!(told, "{canary:?}");
    assert!(life.held.broken.is_none(), "{:?}", life.held.broken);
}

//! What a look proves: that it is ours only where its maker is shown, that it is gone only where
//! whoever looks can still see.

use crate::access::TokenName;
use crate::exchange::{Credential, Request, Verb};
use crate::intent::CanaryState;
use crate::round::Event;
use crate::schedule::Classes;

use super::life::{Fate, S, configured};
use super::stories::{PLAIN, SERVE, holder, only, serve_for, until, world};

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

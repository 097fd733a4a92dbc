//! What a look proves: that it is gone only where whoever looks can still see.

use crate::access::TokenName;
use crate::exchange::Verb;
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

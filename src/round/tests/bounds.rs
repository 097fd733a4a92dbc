//! What bounds canaries: how long a round waits for one, what brings them forward, and what nobody's journal can
//! talk the engine into.

use crate::exchange::Verb;
use crate::intent::CanaryState;
use crate::round::Event;
use crate::schedule::Classes;

use super::life::{Fate, S, configured};
use super::stories::{PLAIN, SERVE, serve_for, world};

#[test]
fn one_canary_that_stays_ambiguous_does_not_hold_up_the_rounds() {
    let text = PLAIN.replace("in_flight_horizon: 60s", "in_flight_horizon: 1s");
    let mut life = world(configured(&text), SERVE, 1);
    life.fate = Box::new(|request, _| if request.verb == Verb::Delete { Fate::Error } else { Fate::Fine });
    life.start();
    life.tell(Event::Due(Classes::ALL));
    life.run_until(S(60), 20_000);
    assert_eq!(life.reports.len(), 1, "its round has ended");
    life.fate = Box::new(|_, _| Fate::Fine);
    serve_for(&mut life, 900);
    life.check_cleaned_up();
}

#[test]
fn what_the_store_held_up_goes_on_as_soon_as_it_works_again() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    life.start();
    life.tell(Event::Due(Classes::ALL));
    life.run_until(S(1), 5000);
    life.bad_writes = 100;
    life.run_until(S(200), 20_000);
    let open = life.journal.values().filter(|c| c.unfinished()).count();
    assert!(open > 0, "the disk was full before it could be deleted");
    let worked = life.now;
    life.bad_writes = 0;
    life.run_until(worked + S(30), 5000);
    assert!(life.hub.left().is_empty(), "deleted soon after the store works again, not by the timetable");
}

#[test]
fn a_row_that_points_at_somebody_elses_repository_deletes_nothing() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    life.fate = Box::new(|request, _| if request.verb == Verb::Delete { Fate::Unsent } else { Fate::Fine });
    life.start();
    serve_for(&mut life, 60);
    life.crash();
    let at = life.time();
    let id = life.hub.make((crate::access::RepoType::Dataset, "acme/precious".into()), "bob", false, at);
    for canary in life.journal.values_mut().filter(|c| c.repo_id.is_some()) {
        (canary.repo, canary.repo_id, canary.owner) =
            ("acme/precious".parse().expect("a name"), Some(id.clone()), None);
    }
    life.fate = Box::new(|_, _| Fate::Fine);
    life.start();
    serve_for(&mut life, 1800);
    let held = life.journal.values().any(|c| c.state == CanaryState::Quarantined);
    assert!(held && life.hub.repos.values().any(|repo| repo.id == id), "its name is not signed by us");
}

#[test]
fn what_is_left_is_told_in_time_however_rare_the_rounds_are() {
    let mut life = world(configured(PLAIN), SERVE, 1);
    life.fate = Box::new(|request, _| if request.verb == Verb::Delete { Fate::Unsent } else { Fate::Fine });
    life.start();
    life.tell(Event::Due(Classes::ALL));
    let told = |life: &super::life::Life| {
        life.kept
            .findings
            .iter()
            .any(|f| f.kind == crate::report::FindingKind::CanaryLeft && f.resolved_at.is_none())
    };
    // Two horizons and ten minutes, and not one round more.
    life.run_until(S(700), 20_000);
    assert!(!told(&life));
    life.run_until(S(740), 20_000);
    assert!(told(&life) && life.reports.len() == 1);
    // However far the clock is set back meanwhile.
    let mut life = world(configured(PLAIN), SERVE, 1);
    life.fate = Box::new(|request, _| if request.verb == Verb::Delete { Fate::Unsent } else { Fate::Fine });
    life.start();
    life.tell(Event::Due(Classes::ALL));
    life.run_until(S(60), 20_000);
    life.set_by -= 24 * 3_600_000;
    life.run_until(S(800), 20_000);
    assert!(told(&life));
}

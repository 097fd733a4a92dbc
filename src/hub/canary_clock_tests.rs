//! Goal: a clock that is set, a journal that is old or not ours: no horizon ends early by it, nothing is believed
//! gone by it, and what was over stays over. Method: tables of times and states, with the limits themselves.

use super::*;

/// A canary with one attempt at this second, with this outcome.
fn attempted(at: u64, outcome: DeleteOutcome) -> Canary {
    let mut canary = standing(CanaryState::DelUnknown);
    canary.deletes = vec![DeleteAttempt { at: after(at), by: Deleter::Probed, outcome }];
    canary.planned_at = after(0) - Duration::from_secs(100_000);
    canary
}

/// What the clock showed, what it shows, and whether the attempt gets its horizon anew.
const STEPS: &[(u64, u64, u64, bool)] = &[
    // Its horizon was not over: however far the clock goes.
    (1000, 1001, 5000, true),
    (1000, 1899, 1_000_000, true),
    (1000, 1899, 1000, true),
    // It was over, and the new time agrees.
    (1000, 1900, 5000, false),
    (1000, 1900, 1000, false),
    // The record names a moment that has not come yet.
    (1000, 1900, 999, true),
    (1000, 5000, 10, true),
    (1000, 1001, 10, true),
];

#[test]
fn what_is_in_the_air_is_given_its_horizon_anew_when_the_clock_is_set_and_nothing_else_is() {
    for (at, expected, now, moves) in STEPS {
        let mut canary = attempted(*at, DeleteOutcome::Lost);
        let event = clock_stepped(&mut canary, after(*expected), after(*now), RULES);
        assert_eq!(event.is_some(), *moves, "{at} {expected} {now}");
        let began = canary.deletes.last().map(|attempt| attempt.at);
        // Never back: were the clock set right again, it would count as older than it is.
        assert_eq!(began, Some(after(if *moves { *now.max(at) } else { *at })), "{at} {expected} {now}");
        for over in [DeleteOutcome::Refused, DeleteOutcome::Unauthenticated, DeleteOutcome::Unsent] {
            let mut canary = attempted(*at, over);
            assert_eq!(clock_stepped(&mut canary, after(*expected), after(*now), RULES), None, "{over}");
            assert_eq!(canary.deletes.last().map(|attempt| attempt.at), Some(after(*at)));
        }
    }
}

#[test]
fn what_the_record_places_in_the_future_is_over_after_a_horizon_by_another_clock() {
    for state in [CanaryState::Created, CanaryState::DelUnknown, CanaryState::Quarantined, CanaryState::Gone]
    {
        let mut canary = attempted(1000, DeleteOutcome::Lost);
        canary.state = state;
        canary.given_up_at = Some(after(900));
        canary.next_at = Some(after(5000));
        assert!(clock_stepped(&mut canary, after(1001), after(10), RULES).is_some(), "{state}");
        assert!(is_ahead(&canary, after(10)) && !may_delete(&canary, after(10), RULES), "{state}");
        assert!(horizon_waited(&mut canary, after(910), RULES).is_some(), "{state}");
        assert!(!is_ahead(&canary, after(910)) && may_delete(&canary, after(910), RULES), "{state}");
        let again = horizon_waited(&mut canary, after(911), RULES);
        assert_eq!(again, None, "{state}: there was nothing left to wait for");
        let looked_at = matches!(state, CanaryState::Created | CanaryState::DelUnknown);
        assert_eq!(canary.next_at == Some(after(910)), looked_at, "{state}");
    }
    for state in [CanaryState::Planned, CanaryState::Deleting] {
        let mut canary = attempted(1000, DeleteOutcome::Pending);
        canary.state = state;
        assert_eq!(horizon_waited(&mut canary, after(10), RULES), None, "{state}: a request is under way");
    }
}

#[test]
fn a_creation_that_may_still_land_is_given_its_horizon_anew() {
    let quick = Rules { horizon: Duration::from_secs(1) };
    // Planned at 0; given up on at `up`; by which clock, and whether it counts from now on.
    for (rules, up, expected, now, moves) in [
        (RULES, Some(100), 999, 5000, true),
        (RULES, Some(100), 1000, 5000, false),
        (RULES, Some(100), 5000, 999, true),
        (RULES, Some(100), 5000, 1000, false),
        (RULES, None, 899, 5000, true),
        (RULES, None, 900, 5000, false),
        // However short the horizon, ten seconds.
        (quick, Some(100), 109, 500, true),
        (quick, Some(100), 110, 500, false),
    ] {
        let mut canary = standing(CanaryState::Unknown);
        canary.given_up_at = up.map(after);
        let event = clock_stepped(&mut canary, after(expected), after(now), rules);
        let began = if moves { Some(after(now)) } else { up.map(after) };
        assert_eq!((event.is_some(), canary.given_up_at), (moves, began), "{up:?} {expected} {now}");
    }
    for (state, asked) in [
        (CanaryState::Planned, false),
        (CanaryState::Unknown, true),
        (CanaryState::Refused, true),
        (CanaryState::Created, true),
        (CanaryState::Quarantined, true),
        (CanaryState::Gone, false),
    ] {
        let mut canary = fresh();
        canary.state = state;
        clock_stepped(&mut canary, after(10), after(5000), RULES);
        assert_eq!(canary.given_up_at.is_some(), asked, "{state}");
    }
}

#[test]
fn sightings_begin_anew_and_what_is_gone_keeps_its_checks() {
    let mut canary = standing(CanaryState::DelUnknown);
    canary.deletes.clear();
    canary.planned_at = after(0) - Duration::from_secs(100_000);
    canary.absences = vec![after(10), after(20)];
    canary.next_at = Some(after(9000));
    assert!(clock_stepped(&mut canary, after(30), after(60), RULES).is_some());
    assert_eq!((canary.absences.len(), canary.next_at), (0, Some(after(60))));
    assert!(
        clock_stepped(&mut canary, after(60), after(90), RULES).is_none(),
        "there was nothing to begin anew"
    );
    canary.state = CanaryState::Quarantined;
    canary.next_at = Some(after(9000));
    clock_stepped(&mut canary, after(90), after(95), RULES);
    assert_eq!(canary.next_at, Some(after(9000)), "a person decides");
    for shown in [30, 3000, 1_000_000] {
        let mut gone = standing(CanaryState::Gone);
        gone.deletes.clear();
        gone.next_at = Some(after(5000));
        assert!(clock_stepped(&mut gone, after(2500), after(shown), RULES).is_some());
        let (ago, left) = (Duration::from_secs(500), Duration::from_secs(2500));
        assert_eq!(gone.absences, [after(shown) - ago], "{shown}");
        assert_eq!(gone.next_at, Some(after(shown) + left), "{shown}");
    }
    // Written by a clock that was ahead.
    let mut gone = standing(CanaryState::Gone);
    gone.next_at = Some(after(90_000));
    assert!(clock_stepped(&mut gone, after(1000), after(1000), RULES).is_some());
    assert_eq!((gone.absences, gone.next_at), (vec![after(1000)], Some(after(4600))));
    // What is looked at no more stays as it was written down.
    let mut gone = standing(CanaryState::Gone);
    (gone.absences, gone.next_at) = (vec![after(2000)], None);
    let as_written = gone.clone();
    assert!(clock_stepped(&mut gone, after(2500), after(9000), RULES).is_none());
    assert_eq!(gone, as_written);
}

#[test]
fn the_latest_mark_is_the_latest_of_all_that_is_past() {
    let mut canary = fresh();
    assert_eq!(canary.latest_mark(), T0);
    canary.given_up_at = Some(after(7));
    assert_eq!(canary.latest_mark(), after(7));
    canary.absences = vec![after(90), after(80)];
    assert_eq!(canary.latest_mark(), after(90));
    canary.deletes = attempted(200, DeleteOutcome::Unsent).deletes;
    assert_eq!(canary.latest_mark(), after(200));
    canary.planned_at = after(300);
    assert_eq!(canary.latest_mark(), after(300));
}

#[test]
fn nothing_is_deleted_by_a_journal_that_somebody_changed() {
    let states = CanaryState::ALL.iter().map(|state| {
        let open = !matches!(state, CanaryState::Quarantined | CanaryState::Gone);
        (Canary { next_at: None, ..standing(*state) }, open)
    });
    // Of one that the Hub took the deletion of, and of one that was refused, one look is owed; it deletes what it finds.
    let mut deleted = attempted(5, DeleteOutcome::Acknowledged);
    deleted.absences = vec![after(6)];
    let never_seen = Canary { repo_id: None, next_at: Some(after(30)), ..standing(CanaryState::Gone) };
    let seen = Canary { repo_id: Some("a".repeat(24)), ..never_seen.clone() };
    let over = Canary { next_at: None, ..never_seen.clone() };
    let owed = [(deleted, true), (never_seen, true), (seen, false), (over, false)];
    for (mut canary, open) in states.chain(owed) {
        let (before, state) = (canary.clone(), canary.state);
        assert_eq!(distrusted(&mut canary).is_some(), open, "{state}");
        if open {
            assert_eq!((canary.state, canary.next_at), (CanaryState::Quarantined, None), "{state}");
        } else {
            assert_eq!(canary, before, "{state}");
        }
    }
}

#[test]
fn an_old_copy_of_the_journal_may_not_know_of_a_deletion_in_the_air() {
    for state in CanaryState::ALL {
        let mut canary = standing(*state);
        canary.absences.push(after(10));
        canary.next_at = Some(after(30));
        let before = canary.clone();
        let open = *state != CanaryState::Quarantined;
        assert_eq!(rewound(&mut canary, after(50)).is_some(), open, "{state}");
        if !open {
            assert_eq!(canary, before, "{state}");
            continue;
        }
        let lost = DeleteAttempt { at: after(50), by: Deleter::Probed, outcome: DeleteOutcome::Lost };
        assert_eq!(canary.deletes.last(), Some(&lost), "{state}");
        if *state == CanaryState::Gone {
            // It is looked at as before, and no more once nothing is owed.
            assert_eq!(canary, Canary { deletes: canary.deletes.clone(), ..before.clone() });
            let mut over = Canary { next_at: None, ..before };
            assert_eq!(rewound(&mut over, after(50)), None);
            continue;
        }
        assert_eq!((canary.absences.len(), canary.next_at), (0, Some(after(50))), "{state}");
        let expected = if *state == CanaryState::Created { CanaryState::DelUnknown } else { *state };
        assert_eq!(canary.state, expected);
    }
}

#[test]
fn only_what_a_person_closed_counts_as_closed() {
    for state in CanaryState::ALL {
        assert!(!is_closed(&standing(*state)), "{state}");
    }
    let mut canary = standing(CanaryState::Quarantined);
    close(&mut canary);
    assert!(is_closed(&canary));
}

#[test]
fn a_restart_under_a_clock_that_is_behind_moves_no_mark_back() {
    let mut canary = attempted(200, DeleteOutcome::Pending);
    canary.state = CanaryState::Deleting;
    assert!(after_restart(&mut canary, after(100)).is_some());
    // It may have left two seconds after it was decided.
    let lost = DeleteAttempt { at: after(202), by: Deleter::Probed, outcome: DeleteOutcome::Lost };
    assert_eq!(canary.deletes, [lost]);
    let mut canary = standing(CanaryState::Planned);
    canary.planned_at = after(300);
    assert!(after_restart(&mut canary, after(100)).is_some());
    assert_eq!(canary.given_up_at, Some(after(302)));
}

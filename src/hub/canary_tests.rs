//! Goal: every state meets every event, and nothing is deleted, believed gone or forgotten against the rules.
//! Method: tables over all states; the properties over random histories are in `canary_properties_tests`.

use super::*;
use crate::access::Access;
use crate::access::DenyReason;
use crate::access::UnknownReason;
use crate::exchange::Credential;

#[test]
fn what_nobody_can_see_is_given_to_a_person_after_a_day() {
    let patience = RULES.horizon.as_secs() * 2 + 24 * 3600;
    for (seconds, why, state) in [
        (patience - 1, UnknownReason::NoControl, CanaryState::Unknown),
        (patience, UnknownReason::HubError, CanaryState::Unknown),
        (patience, UnknownReason::NoControl, CanaryState::Quarantined),
    ] {
        let mut canary = fresh();
        after_create(&mut canary, &CreateHeard::Ambiguous(UnknownReason::Timeout), T0, RULES);
        look(&mut canary, &Sight::Blind(why), seconds);
        assert_eq!(canary.state, state, "{why} after {seconds} s");
    }
}

#[path = "canary_clock_tests.rs"]
mod clock;
#[path = "canary_ends_tests.rs"]
mod ends;
#[path = "canary_properties_tests.rs"]
mod properties;

pub(super) const H: Duration = Duration::from_secs(900);
pub(super) const RULES: Rules = Rules { horizon: H };
pub(super) const BOTH: Hands = Hands { probed: true, janitor: true };
pub(super) const T0: Timestamp = Timestamp(1_700_000_000_000);
pub(super) const ID: &str = "0123456789abcdef01234567";
const OTHER: &str = "89abcdef0123456789abcdef";

pub(super) fn after(seconds: u64) -> Timestamp {
    T0 + Duration::from_secs(seconds)
}

pub(super) fn fresh() -> Canary {
    let repo = "acme/scopewatch-canary-x".parse().expect("a name");
    let intent = Intent {
        id: 1,
        epoch: 1,
        repo,
        kind: RepoType::Model,
        group: None,
        target: "model".into(),
        token: TokenName::new("t"),
        owner: Some("bob".into()),
    };
    planned(intent, T0)
}

/// Our own repository, as a visit describes it.
pub(super) fn ours() -> Identity {
    Identity {
        full_name: Some("acme/scopewatch-canary-x".into()),
        id: Some(ID.into()),
        author: Some("acme".into()),
        private: Some(true),
        created_at: Some(after(1)),
        files: Some(vec![".gitattributes".into()]),
        commits: Some((1, Some("bob".into()))),
        anonymous_saw: Some(false),
    }
}

pub(super) fn present(identity: Identity) -> Sight {
    Sight::Present(Box::new(identity), Credential::Token(TokenName::new("janitor")))
}

/// A canary in this state, with its id bound where the state says that it was seen.
fn standing(state: CanaryState) -> Canary {
    let mut canary = fresh();
    canary.state = state;
    if !matches!(state, CanaryState::Planned | CanaryState::Unknown | CanaryState::Refused) {
        canary.repo_id = Some(ID.into());
    }
    if matches!(state, CanaryState::Deleting | CanaryState::DelUnknown | CanaryState::Gone) {
        let outcome = match state {
            CanaryState::Deleting => DeleteOutcome::Pending,
            _ => DeleteOutcome::Acknowledged,
        };
        canary.deletes.push(DeleteAttempt { at: after(5), by: Deleter::Probed, outcome });
    }
    if state == CanaryState::Gone {
        canary.absences.push(after(2000));
    }
    canary
}

fn look(canary: &mut Canary, sight: &Sight, seconds: u64) -> (Event, Next) {
    after_sight(canary, sight, true, BOTH, after(seconds), RULES)
}

#[test]
fn the_answer_to_the_post_decides_where_it_stands_and_when_it_is_looked_at() {
    let unknown = UnknownReason::Timeout;
    let table = [
        (CreateHeard::Created { id: ID.to_uppercase() }, CanaryState::Created, 3, Some(ID)),
        (CreateHeard::Refused(Access::Denied(DenyReason::Scope)), CanaryState::Refused, 900, None),
        (CreateHeard::Refused(Access::Undetermined(unknown)), CanaryState::Refused, 900, None),
        (CreateHeard::Ambiguous(unknown), CanaryState::Unknown, 5, None),
    ];
    for (heard, state, next, id) in table {
        let mut canary = fresh();
        after_create(&mut canary, &heard, after(3), RULES);
        let stands = (canary.state, canary.next_at, canary.repo_id.as_deref());
        assert_eq!(stands, (state, Some(after(next)), id), "{heard:?}");
    }
}

#[test]
fn every_state_meets_the_sight_of_our_own_repository() {
    use CanaryState::*;
    let delete = Next::Delete(Deleter::Probed);
    let table = [
        (Planned, Planned, Next::Rest),
        (Unknown, Created, delete),
        (Refused, Created, delete),
        (Created, Created, delete),
        (Deleting, Deleting, Next::Rest),
        (DelUnknown, Created, delete),
        (Gone, Quarantined, Next::Rest),
        (Quarantined, Quarantined, Next::Rest),
    ];
    for (state, expected, wanted) in table {
        let mut canary = standing(state);
        let (_, next) = look(&mut canary, &present(ours()), 1000);
        assert_eq!((canary.state, next), (expected, wanted), "from {state}");
        if matches!(next, Next::Delete(_)) {
            assert_eq!(canary.repo_id.as_deref(), Some(ID), "bound before anything is deleted");
        }
    }
}

#[test]
fn every_state_meets_a_stranger_in_its_place() {
    use CanaryState::*;
    let stranger = Identity { id: Some(OTHER.into()), commits: Some((1, Some("eve".into()))), ..ours() };
    for state in CanaryState::ALL {
        let mut canary = standing(*state);
        let (_, next) = look(&mut canary, &present(stranger.clone()), 1000);
        assert_eq!(next, Next::Rest, "from {state}");
        let expected = if matches!(state, Planned | Deleting) { *state } else { Quarantined };
        assert_eq!(canary.state, expected, "from {state}");
    }
}

#[test]
fn every_state_meets_absence() {
    use CanaryState::*;
    for state in CanaryState::ALL {
        let mut canary = standing(*state);
        let before = canary.absences.len();
        let (_, next) = look(&mut canary, &Sight::Absent { listed_absent: true }, 1000);
        assert_eq!(next, Next::Rest);
        let expected = if *state == Refused { Gone } else { *state };
        assert_eq!(canary.state, expected, "one sighting proves nothing, from {state}");
        let counts = matches!(state, Unknown | Created | DelUnknown);
        assert_eq!(canary.absences.len(), before + usize::from(counts), "from {state}");
    }
}

#[test]
fn every_state_meets_a_name_that_leads_elsewhere() {
    use CanaryState::*;
    for state in CanaryState::ALL {
        let mut canary = standing(*state);
        assert_eq!(look(&mut canary, &Sight::Moved, 1000).1, Next::Rest);
        let expected = match state {
            Planned | Deleting | Refused => *state,
            _ => Quarantined,
        };
        assert_eq!((canary.state, canary.next_at), (expected, None), "from {state}");
    }
    // Refused after it was once bound: the name is ours all the same.
    let mut canary = Canary { repo_id: Some(ID.into()), ..standing(Refused) };
    look(&mut canary, &Sight::Moved, 1000);
    assert_eq!(canary.state, Quarantined);
}

#[test]
fn blindness_changes_nothing_but_the_time_of_the_next_look() {
    use CanaryState::*;
    for state in CanaryState::ALL {
        let mut canary = standing(*state);
        let before = canary.clone();
        let (_, next) = look(&mut canary, &Sight::Blind(UnknownReason::Timeout), 1000);
        assert_eq!(next, Next::Rest);
        let owed = !matches!(state, Planned | Deleting | Quarantined);
        assert_eq!(canary.next_at.is_some_and(|at| at > after(1000)), owed, "from {state}");
        let same = Canary { looks: before.looks + 1, next_at: canary.next_at, ..before };
        assert_eq!(canary, same, "from {state}");
    }
}

#[test]
fn after_a_refusal_three_blind_looks_are_enough() {
    let mut canary = standing(CanaryState::Refused);
    let owed: Vec<bool> = (0..3)
        .map(|n| {
            look(&mut canary, &Sight::Blind(UnknownReason::NoControl), 900 + n * 300);
            canary.next_at.is_some()
        })
        .collect();
    assert_eq!(owed, [true, true, false]);
}

#[test]
fn a_restart_never_posts_again_takes_a_pending_delete_for_lost_and_looks_at_once() {
    use CanaryState::*;
    let table = [
        (Planned, Unknown, true),
        (Unknown, Unknown, true),
        (Refused, Refused, false),
        (Created, Created, true),
        (Deleting, DelUnknown, true),
        (DelUnknown, DelUnknown, true),
        (Gone, Gone, false),
        (Quarantined, Quarantined, false),
    ];
    for (state, expected, looks) in table {
        let mut canary = standing(state);
        canary.next_at = matches!(state, Refused | Gone).then(|| after(9000));
        let event = after_restart(&mut canary, after(100));
        assert_eq!(canary.state, expected, "from {state}");
        assert_eq!(event.is_some(), state != expected, "from {state}");
        assert_eq!(canary.next_at == Some(after(100)), looks, "from {state}");
        assert!(canary.deletes.iter().all(|d| d.outcome != DeleteOutcome::Pending));
    }
}

#[test]
fn a_restart_keeps_the_sightings_and_leaves_a_seen_deletion_its_timetable() {
    let mut canary = standing(CanaryState::DelUnknown);
    canary.absences = vec![after(7)];
    canary.next_at = Some(after(900));
    assert_eq!(after_restart(&mut canary, after(100)), None);
    assert_eq!((canary.next_at, canary.absences), (Some(after(900)), vec![after(7)]));
}

fn said(status: u16, content_type: &str, body: &str) -> Result<Answer, Failure> {
    Ok(Answer { status, content_type: content_type.into(), body: body.into(), ..Answer::default() })
}

fn in_json(status: u16, body: &str) -> Result<Answer, Failure> {
    said(status, "application/json", body)
}

#[test]
fn every_answer_to_a_delete_is_read_as_the_table_says() {
    use DeleteOutcome::*;
    let refusal = r#"{"error":"You have read access but not the required permissions"}"#;
    let missing = in_json(404, r#"{"error":"Repository not found"}"#);
    let table = [
        (in_json(200, ""), Acknowledged, CanaryState::DelUnknown, Some(20)),
        (said(204, "text/plain", "OK"), Acknowledged, CanaryState::DelUnknown, Some(20)),
        (in_json(200, r#"{"error":"no"}"#), Lost, CanaryState::DelUnknown, Some(22)),
        (said(200, "text/html", "<p>"), Lost, CanaryState::DelUnknown, Some(22)),
        (missing, Refused, CanaryState::DelUnknown, Some(20)),
        (in_json(403, refusal), Refused, CanaryState::DelUnknown, Some(20)),
        (
            in_json(401, r#"{"error":"Invalid username or password."}"#),
            Unauthenticated,
            CanaryState::DelUnknown,
            Some(20),
        ),
        (said(403, "text/html", "<p>"), Lost, CanaryState::DelUnknown, Some(22)),
        (said(404, "text/html", "<p>"), Lost, CanaryState::DelUnknown, Some(22)),
        (in_json(405, r#"{"error":"x"}"#), Lost, CanaryState::DelUnknown, Some(22)),
        (in_json(429, r#"{"error":"x"}"#), Lost, CanaryState::DelUnknown, Some(22)),
        (in_json(500, r#"{"error":"x"}"#), Lost, CanaryState::DelUnknown, Some(22)),
        (said(307, "", ""), Lost, CanaryState::Quarantined, None),
        (Err(Failure::Timeout), Lost, CanaryState::DelUnknown, Some(22)),
        (Err(Failure::Lost), Lost, CanaryState::DelUnknown, Some(22)),
        (Err(Failure::Oversized), Lost, CanaryState::DelUnknown, Some(22)),
        (Err(Failure::Unsent), Unsent, CanaryState::Created, Some(22)),
        (Err(Failure::Stale), Unsent, CanaryState::Created, Some(22)),
        (Err(Failure::NoSecret), Unsent, CanaryState::Created, Some(22)),
        (Err(Failure::ReadOnly), Unsent, CanaryState::Created, Some(22)),
    ];
    for (answer, outcome, state, next) in table {
        let mut canary = standing(CanaryState::Created);
        before_delete(&mut canary, Deleter::Probed, after(8));
        assert_eq!((canary.state, canary.next_at), (CanaryState::Deleting, None));
        after_delete(&mut canary, &answer, after(20), RULES);
        let open = matches!(outcome, Acknowledged | Lost);
        let attempt = canary.deletes.last().expect("the attempt");
        assert_eq!((attempt.outcome, attempt.at), (outcome, after(if open { 20 } else { 8 })), "{answer:?}");
        assert_eq!((canary.state, canary.next_at), (state, next.map(after)), "{answer:?}");
    }
}

/// One DELETE with this outcome, then sights of our own repository at these seconds: which of them delete?
fn deletes_again(outcome: DeleteOutcome, at: &[u64]) -> Vec<bool> {
    at.iter()
        .map(|seconds| {
            let mut canary = standing(CanaryState::DelUnknown);
            canary.deletes = vec![DeleteAttempt { at: after(5), by: Deleter::Probed, outcome }];
            matches!(look(&mut canary, &present(ours()), *seconds).1, Next::Delete(_))
        })
        .collect()
}

#[test]
fn a_second_delete_waits_for_the_horizon_unless_the_first_was_refused_or_never_left() {
    use DeleteOutcome::*;
    let around = [6, 904, 905];
    for outcome in [Acknowledged, Lost, Pending] {
        assert_eq!(deletes_again(outcome, &around), [false, false, true], "{outcome}");
    }
    for outcome in [Refused, Unsent] {
        assert_eq!(deletes_again(outcome, &around), [true, true, true], "{outcome}");
    }
}

#[test]
fn who_deletes() {
    use DeleteOutcome::*;
    let [none, probed, janitor] = [(false, false), (true, false), (false, true)];
    let both = (true, true);
    let [p, j] = [Deleter::Probed, Deleter::Janitor];
    type Row<'a> = (&'a [(Deleter, DeleteOutcome)], (bool, bool), Result<Deleter, bool>);
    let table: [Row<'_>; 14] = [
        (&[], both, Ok(p)),
        (&[], probed, Ok(p)),
        (&[], janitor, Ok(j)),
        (&[], none, Err(false)),
        (&[(p, Refused)], both, Ok(j)),
        (&[(p, Refused)], probed, Err(true)),
        (&[(p, Refused)], janitor, Ok(j)),
        (&[(p, Lost)], both, Ok(p)),
        (&[(p, Lost), (p, Lost)], both, Ok(j)),
        (&[(p, Lost), (p, Lost)], probed, Ok(p)),
        (&[(p, Refused), (j, Refused)], both, Err(true)),
        (&[(j, Refused)], janitor, Err(true)),
        (&[(p, Unsent)], both, Ok(p)),
        (&[(p, Acknowledged)], both, Ok(p)),
    ];
    for (past, (probed, janitor), expected) in table {
        let mut canary = standing(CanaryState::Created);
        canary.deletes =
            past.iter().map(|(by, outcome)| DeleteAttempt { at: T0, by: *by, outcome: *outcome }).collect();
        let found = deleter(&canary, Hands { probed, janitor }).map_err(|why| why.is_some());
        assert_eq!(found, expected, "{past:?} {probed} {janitor}");
    }
}

#[test]
fn a_person_closes_what_is_in_quarantine_or_unknown_after_its_horizon() {
    for (state, seconds, may) in [
        (CanaryState::Quarantined, 0, true),
        (CanaryState::Unknown, 899, false),
        (CanaryState::Unknown, 900, true),
        (CanaryState::DelUnknown, 900, true),
        (CanaryState::Created, 5000, false),
        (CanaryState::Planned, 5000, false),
        (CanaryState::Deleting, 5000, false),
    ] {
        let canary = Canary { given_up_at: Some(T0), ..standing(state) };
        let canary = Canary { deletes: vec![], ..canary };
        assert_eq!(may_close(&canary, after(seconds), RULES), may, "{state} after {seconds} s");
    }
}

#[test]
fn without_any_hand_it_is_looked_at_again_and_not_given_up() {
    let mut canary = standing(CanaryState::Created);
    let none = Hands { probed: false, janitor: false };
    let (_, next) = after_sight(&mut canary, &present(ours()), true, none, after(20), RULES);
    assert_eq!((canary.state, next, canary.next_at), (CanaryState::Created, Next::Rest, Some(after(28))));
}

#[test]
fn the_timetable_of_looks() {
    let mut canary = fresh();
    after_create(&mut canary, &CreateHeard::Ambiguous(UnknownReason::Timeout), T0, RULES);
    let mut looks = Vec::new();
    for _ in 0..9 {
        let now = canary.next_at.expect("a look is owed");
        looks.push(now.since(T0).as_secs());
        look(&mut canary, &Sight::Blind(UnknownReason::Timeout), now.since(T0).as_secs());
    }
    assert_eq!(looks, [2, 10, 60, 360, 660, 900, 1200, 1500, 1800]);
    // The earliest possible proof is a look of its own.
    canary.absences = vec![after(895)];
    assert_eq!(next_look(&canary, after(901), RULES), after(955));
    let short = Rules { horizon: Duration::from_secs(1) };
    canary.absences = vec![after(2)];
    // However short the horizon, a creation that nobody answered is looked for once more after ten seconds.
    assert_eq!(next_look(&canary, after(2), short), after(10));
    let deleted = Canary { given_up_at: None, ..canary.clone() };
    assert_eq!(next_look(&deleted, after(2), short), after(3));
    assert_eq!((RULES.spacing(), short.spacing()), (Duration::from_secs(60), Duration::from_secs(1)));
}

#[test]
fn a_deletion_that_was_seen_to_be_true_rests_until_it_can_be_proven() {
    let mut canary = standing(CanaryState::DelUnknown);
    look(&mut canary, &Sight::Absent { listed_absent: false }, 6);
    assert_eq!(canary.next_at, Some(after(905)));
    // Without a listing the proof fails and is tried again.
    look(&mut canary, &Sight::Absent { listed_absent: false }, 905);
    assert_eq!((canary.state, canary.next_at), (CanaryState::DelUnknown, Some(after(955))));
    look(&mut canary, &Sight::Absent { listed_absent: false }, 955);
    assert_eq!((canary.state, canary.next_at), (CanaryState::DelUnknown, Some(after(1255))));
}

#[test]
fn gone_needs_the_horizon_the_spacing_a_second_sighting_and_the_listing() {
    let table = [
        (vec![], 1000, true, false),
        (vec![941], 1000, true, false),
        (vec![940], 1000, false, false),
        (vec![940], 1000, true, true),
        (vec![10], 904, true, false),
        (vec![10], 905, true, true),
    ];
    for (before, now, listed_absent, gone) in table {
        for state in [CanaryState::DelUnknown, CanaryState::Created, CanaryState::Unknown] {
            let mut canary = Canary { deletes: standing(CanaryState::DelUnknown).deletes, ..standing(state) };
            canary.absences = before.iter().map(|at| after(*at)).collect();
            let due = proof_is_due(&canary, after(now), RULES);
            look(&mut canary, &Sight::Absent { listed_absent }, now);
            let proven = canary.state == CanaryState::Gone;
            assert_eq!(proven, gone, "{state} {before:?} at {now}, listing {listed_absent}");
            assert!(due || !gone, "the listing is asked whenever it could be the proof");
            assert!(gone || canary.next_at.is_some_and(|at| at > after(now)));
        }
    }
}

#[test]
fn a_sight_of_it_takes_back_every_sighting_of_absence() {
    let mut canary = standing(CanaryState::DelUnknown);
    canary.absences = vec![after(10), after(60)];
    look(&mut canary, &present(ours()), 70);
    assert_eq!(canary.absences, []);
}

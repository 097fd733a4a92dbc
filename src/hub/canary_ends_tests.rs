//! Goal: how a canary ends, word by word: what each answer to a DELETE makes of it, when the listing is worth asking, what
//! is settled, adopted and still checked. Method: tables, a row for each mutant that lived.

use super::*;

fn answered(status: u16, body: &str) -> Result<Answer, Failure> {
    Ok(Answer { status, content_type: "application/json".into(), body: body.into(), ..Answer::default() })
}

#[test]
fn each_answer_to_a_deletion_has_its_words_and_its_next_look() {
    let not_found = r#"{"error":"Repository not found"}"#;
    let denied = r#"{"error":"You don't have the rights to delete this repository"}"#;
    let dead = r#"{"error":"Invalid username or password."}"#;
    let rows = [
        (
            answered(200, "{}"),
            "deletion acknowledged",
            "deleted by the Hub's word; absence to be proven",
            Some(20),
        ),
        (answered(404, not_found), "deletion refused", "the Hub refused its deletion", Some(20)),
        (answered(403, denied), "deletion refused", "the Hub refused its deletion", Some(20)),
        (
            answered(401, dead),
            "deletion refused",
            "the Hub did not accept the token of its deletion",
            Some(20),
        ),
        (
            answered(502, "bad gateway"),
            "deletion unknown",
            "the Hub did not say whether it was deleted",
            None,
        ),
        (Err(Failure::Timeout), "deletion unknown", "the Hub did not say whether it was deleted", None),
    ];
    for (answer, event, note, next) in rows {
        let mut canary = standing(CanaryState::Deleting);
        assert_eq!(after_delete(&mut canary, &answer, after(20), RULES), event, "{answer:?}");
        assert_eq!((canary.state, canary.note.as_str()), (CanaryState::DelUnknown, note), "{answer:?}");
        let at = canary.next_at.expect("it is looked at");
        assert_eq!(at == after(20), next.is_some(), "{answer:?}: {at}");
    }
}

#[test]
fn the_listing_is_asked_when_a_second_sight_of_absence_would_be_the_proof() {
    let rows = [(899, 100, false), (905, 899, false), (905, 100, true), (960, 900, true), (959, 900, false)];
    for (now, first, due) in rows {
        let mut canary = standing(CanaryState::DelUnknown);
        canary.absences = vec![after(first)];
        assert_eq!(proof_is_due(&canary, after(now), RULES), due, "{first} {now}");
    }
    assert!(
        !proof_is_due(&standing(CanaryState::DelUnknown), after(90_000), RULES),
        "never seen to be absent"
    );
}

#[test]
fn what_is_gone_is_looked_at_three_times_more() {
    let absent = Sight::Absent { listed_absent: true };
    for (seconds, next) in [
        (2000 + 3600, Some(2000 + 24 * 3600)),
        (2000 + 24 * 3600, Some(2000 + 7 * 24 * 3600)),
        (2000 + 7 * 24 * 3600, None),
    ] {
        let mut canary = standing(CanaryState::Gone);
        assert_eq!(look(&mut canary, &absent, seconds).0, "looked: still gone");
        assert_eq!((canary.state, canary.next_at), (CanaryState::Gone, next.map(after)), "{seconds}");
    }
}

#[test]
fn a_sight_before_its_own_deletion_can_land_again_waits_and_says_so() {
    let mut canary = standing(CanaryState::DelUnknown);
    canary.deletes[0].outcome = DeleteOutcome::Lost;
    assert_eq!(look(&mut canary, &present(ours()), 100), ("looked: still there", Next::Rest));
    let (event, next) = look(&mut canary, &present(ours()), 905);
    assert_eq!((event, next), ("found and bound", Next::Delete(Deleter::Probed)));
    let mut canary = standing(CanaryState::Created);
    assert_eq!(look(&mut canary, &present(ours()), 10).0, "looked: ours");
}

#[test]
fn what_is_settled_and_what_was_adopted() {
    use CanaryState::*;
    for (state, is) in [
        (Planned, false),
        (Unknown, false),
        (Created, false),
        (Deleting, false),
        (Quarantined, true),
        (Gone, true),
    ] {
        assert_eq!(settled(&standing(state)), is, "{state:?}");
    }
    let mut canary = fresh();
    assert!(!is_adopted(&canary));
    NO_TARGET.clone_into(&mut canary.target);
    assert!(is_adopted(&canary));
}

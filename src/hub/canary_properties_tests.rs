//! Goal: what a canary's record promises holds through any history, and nothing but proof makes it ours.
//! Method: each field of an identity bent once; quarantine, rechecks; random histories against the rules.

use proptest::prelude::*;

use super::*;
use crate::access::UnknownReason;

const EVE: &str = "eve";

/// Each way in which what is seen may differ from what is ours, and whether it still counts as ours when the id
/// is bound, and when it is not.
type Bent = (&'static str, fn(&mut Identity), bool, bool);

const BENDS: &[Bent] = &[
    ("nothing", |_| {}, true, true),
    ("full name", |seen| seen.full_name = Some("acme/other".into()), false, false),
    ("case of the name", |seen| seen.full_name = Some("acme/Scopewatch-canary-x".into()), false, false),
    ("no full name", |seen| seen.full_name = None, true, false),
    ("id", |seen| seen.id = Some(OTHER.into()), false, true),
    ("case of the id", |seen| seen.id = Some(ID.to_uppercase()), true, true),
    ("no id", |seen| seen.id = None, true, false),
    ("namespace", |seen| seen.author = Some(EVE.into()), false, false),
    ("no namespace", |seen| seen.author = None, true, true),
    ("no word of privacy", |seen| seen.private = None, true, false),
    ("public", |seen| seen.private = Some(false), true, false),
    ("seen by everybody", |seen| seen.anonymous_saw = Some(true), true, false),
    ("no anonymous look", |seen| seen.anonymous_saw = None, true, true),
    ("a file", |seen| seen.files = Some(vec!["model.safetensors".into()]), false, false),
    ("no files told", |seen| seen.files = None, true, true),
    ("two commits", |seen| seen.commits = Some((2, None)), false, false),
    ("a commit of somebody else", |seen| seen.commits = Some((1, Some(EVE.into()))), false, false),
    ("a commit of nobody", |seen| seen.commits = Some((1, None)), true, true),
    ("no commits told", |seen| seen.commits = None, true, false),
    ("made before the intent", |seen| seen.created_at = Some(T0 - Duration::from_secs(61)), true, false),
    ("made within the skew", |seen| seen.created_at = Some(T0 - Duration::from_secs(60)), true, true),
    ("made at the end of the horizon", |seen| seen.created_at = Some(after(960)), true, true),
    ("made after the horizon", |seen| seen.created_at = Some(after(961)), true, false),
    ("no time told", |seen| seen.created_at = None, true, true),
];

#[test]
fn every_field_that_differs_is_held_against_it_and_adoption_needs_all_proofs() {
    for (what, bend, bound, unbound) in BENDS {
        let mut seen = ours();
        bend(&mut seen);
        let mut canary = Canary { repo_id: Some(ID.into()), ..fresh() };
        // Once a DELETE was sent, an id of another kind is no longer believed.
        canary.deletes.push(DeleteAttempt { at: T0, by: Deleter::Probed, outcome: DeleteOutcome::Refused });
        let found = prove(&canary, &seen, true, RULES);
        assert_eq!(!matches!(found, Proof::Foreign(_)), *bound, "bound: {what}: {found:?}");
        let public = seen.private == Some(false) || seen.anonymous_saw == Some(true);
        assert_eq!(found == Proof::OursPublic, public && *bound, "{what}");
        let found = prove(&fresh(), &seen, true, RULES);
        assert_eq!(found == Proof::Ours, *unbound, "unbound: {what}: {found:?}");
        assert!(matches!(prove(&fresh(), &seen, false, RULES), Proof::Foreign(_)), "unsigned: {what}");
    }
}

#[test]
fn another_id_than_the_creations_is_believed_once_and_only_with_its_maker_and_its_time() {
    let canary = Canary { repo_id: Some(ID.into()), ..fresh() };
    let seen = Identity { id: Some(OTHER.into()), ..ours() };
    assert_eq!(prove(&canary, &seen, true, RULES), Proof::Ours);
    let bends: [fn(&mut Identity); 4] = [
        |seen| seen.commits = None,
        |seen| seen.commits = Some((1, None)),
        |seen| seen.created_at = None,
        |seen| seen.private = Some(false),
    ];
    for (at, bend) in bends.iter().enumerate() {
        let mut bent = seen.clone();
        bend(&mut bent);
        assert!(matches!(prove(&canary, &bent, true, RULES), Proof::Foreign(_)), "{at}");
    }
    assert!(matches!(prove(&canary, &seen, false, RULES), Proof::Foreign(_)));
    let ownerless = Canary { owner: None, ..canary };
    assert!(matches!(prove(&ownerless, &seen, true, RULES), Proof::Foreign(_)));
}

#[test]
fn quarantine_ends_by_a_person_and_by_nothing_else() {
    let mut canary = Canary { repo_id: Some(ID.into()), state: CanaryState::Created, ..fresh() };
    look(&mut canary, &Sight::Moved, 10);
    let sights = [
        present(ours()),
        Sight::Absent { listed_absent: true },
        Sight::Moved,
        Sight::Blind(UnknownReason::Timeout),
    ];
    for (at, sight) in (2000..).step_by(1000).zip(sights.iter().cycle().take(12)) {
        assert_eq!(look(&mut canary, sight, at).1, Next::Rest);
        assert_eq!(after_restart(&mut canary, after(at)), None);
        assert_eq!((canary.state, canary.next_at), (CanaryState::Quarantined, None));
        assert!(canary.unfinished());
    }
    close(&mut canary);
    assert_eq!((canary.state, canary.next_at), (CanaryState::Gone, None));
    assert!(!canary.unfinished());
}

#[test]
fn what_is_gone_is_checked_after_an_hour_a_day_and_a_week_and_then_no_more() {
    let mut canary = Canary { repo_id: Some(ID.into()), state: CanaryState::DelUnknown, ..fresh() };
    canary.absences = vec![after(800)];
    look(&mut canary, &Sight::Absent { listed_absent: true }, 1000);
    let mut checks = Vec::new();
    while let Some(at) = canary.next_at {
        checks.push(at.since(after(1000)).as_secs());
        look(&mut canary, &Sight::Absent { listed_absent: false }, at.since(T0).as_secs());
        assert_eq!(canary.state, CanaryState::Gone);
    }
    assert_eq!(checks, [3600, 86_400, 604_800]);
}

#[test]
fn what_was_never_seen_is_checked_again_and_deleted_if_it_landed_after_all() {
    let mut canary = Canary { state: CanaryState::Unknown, absences: vec![after(800)], ..fresh() };
    look(&mut canary, &Sight::Absent { listed_absent: true }, 1000);
    assert_eq!((canary.state, canary.next_at), (CanaryState::Gone, Some(after(4600))));
    let (_, next) = look(&mut canary, &present(ours()), 4600);
    assert_eq!((canary.state, next), (CanaryState::Created, Next::Delete(Deleter::Probed)));
}

/// One thing that may happen to a canary.
#[derive(Debug, Clone)]
enum Happening {
    Seen(usize, bool),
    Absent(bool),
    Moved,
    Blind,
    Restart,
    /// The DELETE was answered with this status and body, or not at all.
    Answered(Result<(u16, bool), Failure>),
    Pass(u64),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let statuses = prop::sample::select(vec![200_u16, 204, 307, 401, 403, 404, 429, 500, 504]);
    let failures =
        prop::sample::select(vec![Failure::Unsent, Failure::Stale, Failure::Timeout, Failure::Lost]);
    let one = prop_oneof![
        4 => (Just(0), any::<bool>()).prop_map(|(bend, signed)| Happening::Seen(bend, signed)),
        1 => (0..BENDS.len(), Just(true)).prop_map(|(bend, signed)| Happening::Seen(bend, signed)),
        4 => any::<bool>().prop_map(Happening::Absent),
        1 => Just(Happening::Moved),
        1 => Just(Happening::Blind),
        1 => Just(Happening::Restart),
        4 => (statuses, any::<bool>()).prop_map(|answer| Happening::Answered(Ok(answer))),
        2 => failures.prop_map(|failure| Happening::Answered(Err(failure))),
        6 => prop::sample::select(vec![1, 10, 59, 60, 300, 899, 900, 1000]).prop_map(Happening::Pass),
    ];
    prop::collection::vec(one, 1..60)
}

fn answer(of: Result<(u16, bool), Failure>) -> Result<Answer, Failure> {
    let (status, enveloped) = of?;
    let body = if enveloped && status >= 300 { r#"{"error":"no"}"# } else { "" };
    Ok(Answer { status, content_type: "application/json".into(), body: body.into(), ..Answer::default() })
}

/// A DELETE that left, as the Hub knows it: when, and whether it is certain that it will not land any more.
struct Left {
    at: Timestamp,
    over: bool,
}

fn check_delete(canary: &Canary, left: &[Left], now: Timestamp, signed: bool, seen: &Identity) {
    assert!(canary.repo_id.is_some(), "no DELETE without a bound id");
    assert!(!matches!(prove(canary, seen, signed, RULES), Proof::Foreign(_)), "no DELETE without a proof");
    for earlier in left {
        assert!(earlier.over || now >= earlier.at + H, "a second DELETE within the horizon");
    }
}

fn check_gone(before: &Canary, sight: &Sight, now: Timestamp, left: &[Left]) {
    let listed = matches!(sight, Sight::Absent { listed_absent: true });
    assert!(listed || before.state == CanaryState::Refused, "gone without the listing");
    if before.state != CanaryState::Refused {
        assert!(before.absences.iter().any(|at| now >= *at + RULES.spacing()), "gone at one sighting");
        assert!(now >= before.planned_at + H, "gone before the POST's horizon");
        assert!(left.iter().all(|sent| sent.over || now >= sent.at + H), "gone before a DELETE's horizon");
    }
}

fn check_record(canary: &Canary) {
    let under_way = matches!(canary.state, CanaryState::Planned | CanaryState::Deleting);
    if canary.unfinished() && !under_way && canary.state != CanaryState::Quarantined {
        assert!(canary.next_at.is_some(), "nobody will ever look again: {canary:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]
    #[test]
    fn through_any_history_the_rules_hold(
        first in 0..3_usize, story in happenings(), hands in (any::<bool>(), any::<bool>()),
    ) {
        let hands = Hands { probed: hands.0, janitor: hands.1 };
        let mut now = after(3);
        let mut canary = fresh();
        let mut left: Vec<Left> = Vec::new();
        let heard = [
            CreateHeard::Created { id: ID.into() },
            CreateHeard::Refused(Access::Denied(DenyReason::Scope)),
            CreateHeard::Ambiguous(UnknownReason::Timeout),
        ];
        after_create(&mut canary, &heard[first], now, RULES);
        for happening in story {
            let before = canary.clone();
            let sight = match happening {
                Happening::Seen(bend, signed) => {
                    let mut seen = ours();
                    BENDS[bend].1(&mut seen);
                    let sight = present(seen.clone());
                    let (_, next) = after_sight(&mut canary, &sight, signed, hands, now, RULES);
                    if let Next::Delete(by) = next {
                        check_delete(&canary, &left, now, signed, &seen);
                        before_delete(&mut canary, by, now);
                        left.push(Left { at: now, over: false });
                    }
                    Some(sight)
                }
                Happening::Absent(listed_absent) => Some(Sight::Absent { listed_absent }),
                Happening::Moved => Some(Sight::Moved),
                Happening::Blind => Some(Sight::Blind(UnknownReason::Timeout)),
                Happening::Restart => {
                    after_restart(&mut canary, now);
                    None
                }
                Happening::Answered(of) => {
                    if canary.state == CanaryState::Deleting {
                        after_delete(&mut canary, &answer(of), now, RULES);
                        let over = match of {
                            Ok((status, enveloped)) => matches!(status, 401 | 403 | 404) && enveloped,
                            Err(failure) => failure.unsent(),
                        };
                        left.last_mut().expect("it was sent").over = over;
                    }
                    None
                }
                Happening::Pass(seconds) => {
                    now = now + Duration::from_secs(seconds);
                    None
                }
            };
            if let Some(sight) = &sight {
                if !matches!(sight, Sight::Present(..)) {
                    after_sight(&mut canary, sight, true, hands, now, RULES);
                }
                if canary.state == CanaryState::Gone && before.state != CanaryState::Gone {
                    check_gone(&before, sight, now, &left);
                }
            }
            if before.state == CanaryState::Quarantined {
                prop_assert_eq!(canary.state, CanaryState::Quarantined);
            }
            prop_assert!(before.deletes.len() <= canary.deletes.len(), "attempts only ever grow");
            check_record(&canary);
        }
    }
}

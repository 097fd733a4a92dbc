//! Goal: A3–A6 and A11: a grant is told at the first sight; what comes and goes is told at most once each way in the
//! hold-down but for the first time; nothing ends because nobody looks, and nothing is forgotten by a restart.
//! Method: stories of one letter a step, and what was told.

use std::collections::BTreeSet;

use super::*;
use crate::access::{Permission, Severity, TokenName};
use crate::alert::message::AlertName;

const DAY: i64 = 24 * 3600;
const REMIND: Duration = Duration::from_secs(4 * 3600);

fn key(name: AlertName) -> AlertKey {
    AlertKey {
        name,
        organization: "acme".into(),
        token: Some(TokenName::new("ci")),
        permission: Some(Permission::RepoCreate),
        target: Some("model".into()),
    }
}

fn words(severity: Severity) -> Words {
    Words {
        severity,
        token_owner: "ml".into(),
        summary: "s".into(),
        description: "d".into(),
        evidence: String::new(),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp(second * 1000)
}

/// Plays (second, what lasts: `F` fires, `.` over, `-` nobody looks) and gives what was told when.
fn story(name: AlertName, steps: &[(i64, char)]) -> Vec<(i64, Tidings)> {
    let (key, sinks) = (key(name), BTreeSet::from(["am".to_owned()]));
    let mut alert = None;
    let mut said = Vec::new();
    let mut told_of = |alert: &mut Option<Alert>, second: i64, wanted: &Wanted| {
        loop {
            match decide(alert.as_ref(), wanted, REMIND, at(second)) {
                Step::Tell(tidings) => {
                    *alert = told(alert.as_ref(), &key, wanted, tidings, &sinks, at(second));
                    said.push((second, tidings));
                }
                Step::Forget => return *alert = None,
                Step::Nothing | Step::Wait(_) => return,
            }
        }
    };
    for (second, what) in steps {
        let wanted = match what {
            'F' => Wanted::Firing(at(*second), words(Severity::Critical)),
            '.' => Wanted::Over,
            _ => Wanted::Unwatched,
        };
        told_of(&mut alert, *second, &wanted);
    }
    said
}

#[test]
fn a_grant_is_told_at_once_always_and_anything_else_at_most_once_each_way_in_half_an_hour() {
    use AlertName::{UnexpectedDenial, UnexpectedGrant};
    use Tidings::{Firing, Reminder, Resolved};
    let flapping = [(0, 'F'), (60, '.'), (120, 'F'), (180, '.'), (1799, '.'), (1860, '.')];
    assert_eq!(
        story(UnexpectedGrant, &flapping),
        [(0, Firing), (60, Resolved), (120, Firing), (1860, Resolved)]
    );
    assert_eq!(story(UnexpectedDenial, &flapping), [(0, Firing), (60, Resolved)]);
    let lasting = [(0, 'F'), (60, '.'), (120, 'F'), (1799, 'F'), (1800, 'F')];
    assert_eq!(story(UnexpectedDenial, &lasting), [(0, Firing), (60, Resolved), (1800, Firing)]);
    for name in [UnexpectedGrant, UnexpectedDenial] {
        assert_eq!(story(name, &[(0, 'F'), (14_399, 'F'), (14_400, 'F')]), [(0, Firing), (14_400, Reminder)]);
        assert_eq!(story(name, &[(0, '.'), (5, '.')]), []);
        // A check that is no longer configured ends nothing, and nothing more is said of it.
        assert_eq!(story(name, &[(0, 'F'), (60, '-'), (DAY, '-')]), [(0, Firing)]);
        assert_eq!(
            story(name, &[(0, 'F'), (9000, '.'), (2 * DAY, 'F')]),
            [(0, Firing), (9000, Resolved), (2 * DAY, Firing)]
        );
    }
}

fn firing(name: AlertName, second: i64) -> Alert {
    let wanted = Wanted::Firing(at(second), words(Severity::Critical));
    let sinks = BTreeSet::from(["am".to_owned()]);
    told(None, &key(name), &wanted, Tidings::Firing, &sinks, at(second)).expect("an alert")
}

#[test]
fn an_episode_keeps_its_name_and_its_labels_whatever_is_edited_meanwhile() {
    let first = firing(AlertName::UnexpectedGrant, 0);
    let sinks = BTreeSet::from(["am".to_owned()]);
    let resolved =
        told(Some(&first), &first.key, &Wanted::Over, Tidings::Resolved, &sinks, at(60)).expect("kept");
    let other = Wanted::Firing(at(90), words(Severity::Info));
    let again = |second| {
        told(Some(&resolved), &first.key, &other, Tidings::Firing, &sinks, at(second)).expect("kept")
    };
    let name = |alert: &Alert| alert.message(Tidings::Firing, at(0)).id;
    assert_eq!((name(&again(90)), again(90).words.severity), (name(&first), Severity::Critical));
    assert_ne!(name(&again(60 + 1800)), name(&first));
    assert_eq!(again(60 + 1800).words.severity, Severity::Info);
    assert_eq!(again(90).since, at(90));
}

#[test]
fn what_stands_is_what_fires_and_what_ended_within_a_quarter_of_an_hour() {
    let firing = firing(AlertName::UnexpectedGrant, 0);
    let mut resolved = firing.clone();
    resolved.firing = false;
    resolved.resolved_at = Some(at(100));
    let stands = |alert: &Alert, sink: &str, second| {
        let alerts = BTreeMap::from([(alert.key.clone(), alert.clone())]);
        standing(&alerts, sink, at(second)).map(|message| message.tidings).collect::<Vec<_>>()
    };
    assert_eq!(stands(&firing, "am", DAY), [Tidings::Firing]);
    assert_eq!(stands(&firing, "other", DAY), []);
    assert_eq!(stands(&resolved, "am", 100 + 899), [Tidings::Resolved]);
    assert_eq!(stands(&resolved, "am", 100 + 900), []);
}

#[test]
fn a_clock_that_is_set_moves_what_was_counted_and_holds_nothing_back() {
    let mut alert = firing(AlertName::UnexpectedDenial, 10_000);
    alert.firing = false;
    alert.resolved_at = Some(at(10_060));
    alert.clock_stepped(-9_000_000);
    let wanted = Wanted::Firing(at(1_100), words(Severity::Warning));
    assert_eq!(decide(Some(&alert), &wanted, REMIND, at(1_100)), Step::Wait(at(2_800)));
    alert.clock_stepped(DAY * 1000);
    alert.tame_the_future(at(500));
    assert_eq!(decide(Some(&alert), &wanted, REMIND, at(2_300)), Step::Tell(Tidings::Firing));
}

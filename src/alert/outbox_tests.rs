//! Goal: at least once and for each alert in order, whatever a sink does; one bad message holds up nobody else; the
//! bound holds and never costs the first word of a grant. Method: small scripts, and a flood.

use super::*;
use crate::access::{Severity, TokenName};
use crate::alert::message::{AlertKey, AlertName, Words};
use crate::moment::Timestamp;

const SINGLE: Manner = Manner { bundles: false, forgets: false };
const BUNDLES: Manner = Manner { bundles: true, forgets: true };

fn message(name: AlertName, id: &str, tidings: Tidings) -> Message {
    Message {
        id: id.to_owned(),
        tidings,
        key: AlertKey {
            name,
            organization: "acme".into(),
            token: Some(TokenName::new(id)),
            permission: None,
            target: None,
        },
        words: Words {
            severity: Severity::Warning,
            token_owner: String::new(),
            summary: String::new(),
            description: String::new(),
            evidence: String::new(),
        },
        since: Timestamp(0),
        at: Timestamp(0),
    }
}

fn grant(id: &str, tidings: Tidings) -> Message {
    message(AlertName::UnexpectedGrant, id, tidings)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Owes it, as if it were stored.
fn owe(outbox: &mut Outbox, message: Message) {
    let (owed, _) = outbox.owe("s", message);
    outbox.is_stored(&owed.expect("owed"));
}

fn next(outbox: &mut Outbox, manner: Manner, now: u64) -> Vec<(String, Tidings)> {
    let messages = outbox.next("s", manner, false, seconds(now)).unwrap_or_default();
    messages.into_iter().map(|message| (message.id, message.tidings)).collect()
}

fn one(id: &str, tidings: Tidings) -> Vec<(String, Tidings)> {
    vec![(id.to_owned(), tidings)]
}

#[test]
fn nothing_is_sent_before_it_is_stored_unless_the_store_fails_and_nothing_is_forgotten_before_it_was_taken() {
    let mut outbox = Outbox::default();
    let (owed, _) = outbox.owe("s", grant("a", Tidings::Firing));
    assert_eq!(outbox.next("s", SINGLE, false, seconds(0)), None);
    assert!(outbox.next("s", SINGLE, true, seconds(0)).is_some());
    assert!(outbox.answered("s", Delivery::Later(None), seconds(0)).over.is_empty());
    outbox.is_stored(&owed.expect("owed"));
    assert_eq!(next(&mut outbox, SINGLE, 0), []);
    assert_eq!(next(&mut outbox, SINGLE, 1), one("a", Tidings::Firing));
    assert_eq!(next(&mut outbox, SINGLE, 1), [], "one request at a time");
    let after = outbox.answered("s", Delivery::Taken, seconds(1));
    assert_eq!(after.over, [1]);
    assert_eq!(after.counts, [Count { tidings: Tidings::Firing, outcome: Outcome::Delivered }]);
    assert_eq!(outbox.pending("s"), (0, None));
}

#[test]
fn an_episode_is_told_in_order_and_the_others_do_not_wait_for_it() {
    let mut outbox = Outbox::default();
    for (id, tidings) in [("a", Tidings::Firing), ("a", Tidings::Resolved), ("b", Tidings::Firing)] {
        owe(&mut outbox, grant(id, tidings));
    }
    assert_eq!(next(&mut outbox, SINGLE, 0), one("a", Tidings::Firing));
    let _ = outbox.answered("s", Delivery::Refused, seconds(0));
    assert_eq!(next(&mut outbox, SINGLE, 0), one("b", Tidings::Firing));
    let _ = outbox.answered("s", Delivery::Taken, seconds(0));
    assert_eq!(next(&mut outbox, SINGLE, 299), []);
    assert_eq!(next(&mut outbox, SINGLE, 300), one("a", Tidings::Firing));
    let _ = outbox.answered("s", Delivery::Taken, seconds(300));
    assert_eq!(next(&mut outbox, SINGLE, 300), one("a", Tidings::Resolved));
}

#[test]
fn a_bundle_that_is_refused_goes_one_by_one_and_the_guilty_one_ends_alone() {
    let mut outbox = Outbox::default();
    for id in ["a", "bad", "c"] {
        owe(&mut outbox, message(AlertName::Blind, id, Tidings::Firing));
    }
    assert_eq!(next(&mut outbox, BUNDLES, 0).len(), 3);
    let after = outbox.answered("s", Delivery::Refused, seconds(0));
    assert_eq!((after.over.len(), after.counts.len()), (0, 3));
    let mut now = 0;
    let mut taken = Vec::new();
    let mut dropped = Vec::new();
    while outbox.pending("s").0 > 0 {
        let sent = next(&mut outbox, BUNDLES, now);
        if sent.is_empty() {
            now += 1;
            continue;
        }
        assert_eq!(sent.len(), 1);
        let delivery = if sent[0].0 == "bad" { Delivery::Refused } else { Delivery::Taken };
        let after = outbox.answered("s", delivery, seconds(now));
        dropped.extend(after.dropped.into_iter().map(|message| message.id));
        taken.extend(sent.into_iter().filter(|_| delivery == Delivery::Taken).map(|(id, _)| id));
    }
    assert_eq!((taken, dropped), (vec!["a".to_owned(), "c".to_owned()], vec!["bad".to_owned()]));
}

#[test]
fn the_first_word_of_a_grant_is_never_given_up() {
    let mut outbox = Outbox::default();
    owe(&mut outbox, grant("a", Tidings::Firing));
    for round in 0..100 {
        let now = round * 300;
        assert_eq!(next(&mut outbox, SINGLE, now), one("a", Tidings::Firing), "{round}");
        assert!(outbox.answered("s", Delivery::Refused, seconds(now)).over.is_empty());
    }
}

#[test]
fn a_sink_that_fails_is_left_alone_for_longer_and_longer_and_as_long_as_it_says() {
    let mut outbox = Outbox::default();
    owe(&mut outbox, grant("a", Tidings::Firing));
    let mut now = Duration::ZERO;
    for pause in [1, 2, 5, 10, 20, 40, 60, 60, 60] {
        assert!(outbox.next("s", SINGLE, false, now).is_some());
        let _ = outbox.answered("s", Delivery::Later(None), now);
        assert!(outbox.next("s", SINGLE, false, now + seconds(pause) - Duration::from_millis(1)).is_none());
        assert_eq!(outbox.wakes(&BTreeSet::new(), now), Some(now + seconds(pause)));
        now += seconds(pause);
    }
    assert!(outbox.next("s", SINGLE, false, now).is_some());
    let _ = outbox.answered("s", Delivery::Later(Some(seconds(120))), now);
    assert_eq!(outbox.wakes(&BTreeSet::new(), now), Some(now + seconds(120)));
    let _ = outbox.next("s", SINGLE, false, now + seconds(120));
    let _ = outbox.answered("s", Delivery::Later(Some(seconds(9_999_999))), now);
    assert_eq!(outbox.wakes(&BTreeSet::new(), now), Some(now + seconds(300)));
}

#[test]
fn a_flood_costs_reminders_first_then_what_is_no_grant_and_never_that_a_grant_fires() {
    let mut outbox = Outbox::default();
    for at in 0..10 {
        owe(&mut outbox, message(AlertName::UnexpectedDenial, &format!("r{at}"), Tidings::Reminder));
    }
    for at in 0..LIMIT {
        owe(&mut outbox, message(AlertName::UnexpectedDenial, &format!("d{at}"), Tidings::Firing));
    }
    assert_eq!(outbox.pending("s").0, LIMIT);
    let mut dropped = 0;
    for at in 0..LIMIT + 7 {
        let (owed, after) = outbox.owe("s", grant(&format!("g{at}"), Tidings::Firing));
        assert!(owed.is_some());
        assert!(after.dropped.iter().all(|message| !message.key.name.is_grant()));
        dropped += after.dropped.len();
    }
    assert_eq!((dropped, outbox.pending("s").0), (LIMIT, LIMIT + 7));
    // What is refused a place is not owed, and is counted.
    let (owed, after) = outbox.owe("s", message(AlertName::Blind, "late", Tidings::Firing));
    assert_eq!(
        (owed, after.counts),
        (None, vec![Count { tidings: Tidings::Firing, outcome: Outcome::Dropped }])
    );
}

#[test]
fn who_has_not_heard_the_first_word_needs_no_reminder_and_who_left_is_owed_nothing() {
    let mut outbox = Outbox::default();
    owe(&mut outbox, grant("a", Tidings::Firing));
    assert_eq!(outbox.owe("s", grant("a", Tidings::Reminder)).0, None);
    let gone = outbox.keep_sinks(&BTreeSet::from(["other".to_owned()]));
    assert_eq!(gone.get("s").map(|after| after.over.len()), Some(1));
    assert_eq!(outbox.pending("s"), (0, None));
}

#[test]
fn what_stands_is_said_again_every_minute_but_never_beside_something_else() {
    let mut outbox = Outbox::default();
    owe(&mut outbox, grant("a", Tidings::Firing));
    assert_eq!(next(&mut outbox, BUNDLES, 0).len(), 1);
    assert!(!outbox.resends("s", seconds(0)));
    let _ = outbox.answered("s", Delivery::Taken, seconds(0));
    assert!(outbox.resends("s", seconds(0)));
    assert!(!outbox.resends("s", seconds(1)), "one request at a time");
    assert_eq!(outbox.answered("s", Delivery::Taken, seconds(1)), After::default());
    assert!(!outbox.resends("s", seconds(59)));
    assert_eq!(outbox.wakes(&BTreeSet::from(["s".to_owned()]), seconds(59)), Some(seconds(60)));
    assert!(outbox.resends("s", seconds(60)));
}

#[test]
fn an_end_that_is_not_stored_waits_and_so_does_what_comes_after_it_of_the_same_alert() {
    let mut outbox = Outbox::default();
    let again = Message { id: "a2".into(), ..grant("a", Tidings::Firing) };
    let (over, _) = outbox.owe("s", grant("a", Tidings::Resolved));
    for message in [again, grant("b", Tidings::Firing)] {
        assert!(outbox.owe("s", message).0.is_some());
    }
    let urgent = |outbox: &mut Outbox| {
        let messages = outbox.next("s", SINGLE, true, seconds(0)).unwrap_or_default();
        outbox.answered("s", Delivery::Taken, seconds(0));
        messages.into_iter().map(|message| (message.id, message.tidings)).collect::<Vec<_>>()
    };
    assert_eq!(urgent(&mut outbox), one("b", Tidings::Firing), "though nothing can be stored");
    assert_eq!(urgent(&mut outbox), []);
    outbox.is_stored(&over.expect("owed"));
    assert_eq!(urgent(&mut outbox), one("a", Tidings::Resolved));
    assert_eq!(urgent(&mut outbox), one("a2", Tidings::Firing));
}

//! How long a change is told: stories by the hour, and random ones against a slow second opinion.

use super::*;
use crate::hub::whoami::{Membership, Scope};

const HOUR: i64 = 3_600_000;
const NONE: Pinned<'_> = Pinned { user: None, role: None, scopes: None };

fn at(hours: i64) -> Timestamp {
    Timestamp(1_795_305_500_000 + hours * HOUR)
}

fn world(user: &str, scopes: &[&str], role: &str, restrictions: &[&str]) -> Declared {
    let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let place = Membership {
        name: "acme".into(),
        id: None,
        role: Some(role.into()),
        plan: None,
        restrictions: owned(restrictions),
        groups: vec![],
    };
    let scope = Scope { kind: "org".into(), name: Some("acme".into()), id: None, permissions: owned(scopes) };
    Declared { user: user.into(), scopes: vec![scope], organizations: vec![place], ..Declared::default() }
}

fn narrow() -> Declared {
    world("bob", &["org.read"], "write", &[])
}

fn wide() -> Declared {
    world("bob", &["org.read", "repo.write"], "write", &[])
}

fn tells(past: &mut Past, topic: Topic, present: &Declared, hours: i64) -> bool {
    let mark = past.mark.clone();
    past.tells(topic, "acme", Some(present), &mark, at(hours))
}

#[test]
fn a_change_is_told_for_a_day_or_until_it_is_undone() {
    let mut past = Past::new(narrow(), "one");
    past.hear("acme", &NONE, &Arc::new(narrow()), at(0));
    assert!(!tells(&mut past, Topic::Declared, &narrow(), 0), "the first that is known is no change");
    past.hear("acme", &NONE, &Arc::new(wide()), at(1));
    assert!(tells(&mut past, Topic::Declared, &wide(), 1) && tells(&mut past, Topic::Declared, &wide(), 24));
    assert!(!tells(&mut past, Topic::Role, &wide(), 2), "of its own part only");
    past.hear("acme", &NONE, &Arc::new(narrow()), at(24));
    assert!(!tells(&mut past, Topic::Declared, &narrow(), 24), "undone");
    past.hear("acme", &NONE, &Arc::new(wide()), at(25));
    assert!(tells(&mut past, Topic::Declared, &wide(), 48));
    assert!(!tells(&mut past, Topic::Declared, &wide(), 49), "the new normal");
    past.hear("acme", &NONE, &Arc::new(wide()), at(50));
    assert!(!tells(&mut past, Topic::Declared, &wide(), 50));
    past.hear("acme", &NONE, &Arc::new(narrow()), at(51));
    assert!(tells(&mut past, Topic::Declared, &narrow(), 51), "and the old one is a change now");
}

#[test]
fn another_change_of_the_same_part_begins_a_new_day() {
    let wider = world("bob", &["org.read", "repo.write", "org.write"], "write", &[]);
    let mut past = Past::new(narrow(), "one");
    past.hear("acme", &NONE, &Arc::new(wide()), at(0));
    past.hear("acme", &NONE, &Arc::new(wide()), at(10));
    past.hear("acme", &NONE, &Arc::new(wider.clone()), at(20));
    assert!(tells(&mut past, Topic::Declared, &wider, 43) && !tells(&mut past, Topic::Declared, &wider, 44));
}

#[test]
fn the_secret_is_a_part_of_its_own() {
    let mut past = Past::new(narrow(), "one");
    past.hear_mark(&"one".into(), at(0));
    assert!(!past.tells(Topic::Secret, "acme", None, &"one".into(), at(0)));
    past.hear_mark(&"two".into(), at(1));
    assert!(past.tells(Topic::Secret, "acme", None, &"two".into(), at(24)));
    past.hear("acme", &NONE, &Arc::new(narrow()), at(2));
    assert!(
        past.tells(Topic::Secret, "acme", None, &"two".into(), at(24)),
        "what it declares says nothing of it"
    );
    past.hear_mark(&"three".into(), at(24));
    assert!(past.tells(Topic::Secret, "acme", None, &"three".into(), at(47)));
    past.hear_mark(&"one".into(), at(47));
    assert!(!past.tells(Topic::Secret, "acme", None, &"one".into(), at(47)), "put back");
    past.hear_mark(&"two".into(), at(48));
    assert!(!past.tells(Topic::Secret, "acme", None, &"two".into(), at(72)));
    past.hear_mark(&"two".into(), at(73));
    assert!(!past.tells(Topic::Secret, "acme", None, &"two".into(), at(73)), "the new normal");
}

#[test]
fn where_a_pin_speaks_it_alone_speaks_also_after_it_was_taken_away() {
    let mut past = Past::new(narrow(), "one");
    let pinned = Pinned { user: Some("bob"), role: None, scopes: Some(vec![]) };
    let other = world("eve", &["org.read", "repo.write"], "admin", &[]);
    past.hear("acme", &pinned, &Arc::new(other.clone()), at(0));
    assert_eq!(past.open.keys().copied().collect::<Vec<_>>(), [Topic::Role]);
    past.hear("acme", &NONE, &Arc::new(other.clone()), at(1));
    assert_eq!(past.open.keys().copied().collect::<Vec<_>>(), [Topic::Role]);
}

#[test]
fn what_an_earlier_version_did_not_read_has_not_changed() {
    let mut old = wide();
    old.principal = String::new();
    let mut past = Past { partial: true, ..Past::new(old, "one") };
    let mut now = narrow();
    now.principal = "user".into();
    now.auth = Some("access_token".into());
    now.global = vec!["post.write".into()];
    now.reads_gated = Some(true);
    now.organizations[0].plan = Some("team".into());
    past.hear("acme", &NONE, &Arc::new(now.clone()), at(0));
    assert_eq!(past.open.keys().copied().collect::<Vec<_>>(), [Topic::Declared], "but what it did read");
    let told = differences(Topic::Declared, "acme", &past.declared, &now);
    assert_eq!(told, ["lost repo.write on 'org:acme'"]);
    now.global.clear();
    past.hear("acme", &NONE, &Arc::new(now.clone()), at(1));
    assert_eq!(differences(Topic::Declared, "acme", &past.declared, &now).len(), 2, "only once");
}

proptest::proptest! {
    /// A second opinion that remembers everything: a part is told if it differs from its reference and was not
    /// the same for a day; and saving and loading anywhere changes nothing.
    #[test]
    fn a_part_is_told_as_long_as_it_differs_and_a_day_has_not_passed(
        steps in proptest::collection::vec((0usize..3, 0usize..3, 0usize..2, 1i64..20), 1..40)
    ) {
        let users = ["bob", "eve", "zoe"];
        let scopes: [&[&str]; 3] = [&["org.read"], &["org.read", "repo.write"], &["org.write"]];
        let restrictions: [&[&str]; 2] = [&[], &["sso"]];
        let first = world("bob", scopes[0], "write", &[]);
        let mut past = Past::new(first.clone(), "one");
        let mut slow = vec![(0usize, 0usize, 0i64); 3];
        let mut hour = 0;
        for (user, scope, restricted, passed) in steps {
            hour += passed;
            let present = world(users[user], scopes[scope], "write", restrictions[restricted]);
            past.hear("acme", &NONE, &Arc::new(present.clone()), at(hour));
            let topics = [(Topic::Owner, user), (Topic::Declared, scope), (Topic::Policy, restricted)];
            for ((topic, value), (reference, last, since)) in topics.into_iter().zip(&mut slow) {
                if value == *reference {
                    *last = value;
                } else if value != *last {
                    (*last, *since) = (value, hour);
                }
                let told = value != *reference && hour - *since < 24;
                proptest::prop_assert_eq!(tells(&mut past, topic, &present, hour), told, "{:?} at {}", topic, hour);
                if !told {
                    *reference = value;
                }
            }
            let saved = serde_json::to_string(&past).expect("writes");
            proptest::prop_assert_eq!(&serde_json::from_str::<Past>(&saved).expect("reads"), &past);
            // Where nothing is told, the reference is the present.
            proptest::prop_assert!(!past.open.is_empty() || *past.declared == present);
        }
    }
}

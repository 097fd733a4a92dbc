//! What a leader lets others send: each errand is carried by one helper of its likeness, while the leader leads, or comes back.

use std::time::Duration;

use tokio::time::sleep;

use super::*;
use crate::store::{Claimed, Helper, Helpers, Offer};

everywhere! {
    on_a_server_only:
    an_errand_is_claimed_once_and_its_answer_is_collected_once,
    many_helpers_claim_each_what_nobody_else_has,
    only_who_is_alike_carries_and_both_are_counted,
    what_nobody_claims_comes_back_and_is_not_answered_any_more,
    what_a_helper_holds_that_is_gone_comes_back,
    who_does_not_lead_offers_nothing_and_of_who_led_before_nothing_is_claimed,
    hostile_text_arrives_as_it_is,
}

const PATIENT: Duration = Duration::from_secs(60);

async fn opened(place: &Place) -> Store {
    Store::connect(place.server(), Mode::Write).await.expect("connects")
}

async fn leading(place: &Place) -> (Store, Lease) {
    let store = opened(place).await;
    let lease = store.take(WRITER, "the leader").await.expect("answers").expect("free");
    let lease = store.lead(&lease, NOW).await.expect("leads");
    (store, lease)
}

fn helper(name: &str) -> Helper {
    Helper { name: name.into(), likeness: "alike".into(), room: 4 }
}

fn offers(numbers: impl IntoIterator<Item = i64>) -> Vec<Offer> {
    let offer = |number| Offer {
        number,
        fingerprint: (number % 2 == 0).then(|| "print".into()),
        request: format!("r{number}"),
    };
    numbers.into_iter().map(offer).collect()
}

fn numbers(claimed: &[Claimed]) -> Vec<i64> {
    claimed.iter().map(|one| one.number).collect()
}

async fn an_errand_is_claimed_once_and_its_answer_is_collected_once(place: Place) {
    let (leader, lease) = leading(&place).await;
    let store = opened(&place).await;
    assert_eq!(leader.offer("alike", &offers([1, 2])).await.expect("offers"), []);
    let claimed = store.help(&helper("a"), &[], 9).await.expect("claims");
    assert_eq!(numbers(&claimed), [1, 2]);
    assert_eq!(claimed[0].epoch, lease.epoch);
    assert_eq!((claimed[1].request.as_str(), claimed[1].fingerprint.as_deref()), ("r2", Some("print")));
    assert_eq!(claimed[0].fingerprint, None);
    // No longer than the leader itself may count on its lease.
    assert!(
        claimed[0].until <= lease.until + Duration::from_millis(50),
        "{:?} {:?}",
        claimed[0].until,
        lease.until
    );
    assert_eq!(store.help(&helper("b"), &[], 9).await.expect("claims"), []);

    let done = [(lease.epoch, 2, "two".to_owned())];
    assert_eq!(store.help(&helper("b"), &[(lease.epoch, 1, "stolen".into())], 0).await.expect("told"), []);
    store.help(&helper("a"), &done, 0).await.expect("told");
    store.help(&helper("a"), &[(lease.epoch, 2, "again".into())], 0).await.expect("told");
    assert_eq!(leader.offer("alike", &[]).await.expect("collects"), [(2, "two".to_owned())]);
    assert_eq!(leader.offer("alike", &[]).await.expect("collects"), []);
    store.help(&helper("a"), &[(lease.epoch, 1, "one".into())], 0).await.expect("told");
    assert_eq!(leader.offer("alike", &[]).await.expect("collects"), [(1, "one".to_owned())]);
    place.end().await;
}

async fn many_helpers_claim_each_what_nobody_else_has(place: Place) {
    let (leader, _) = leading(&place).await;
    leader.offer("alike", &offers(1..=40)).await.expect("offers");
    let mut claims = tokio::task::JoinSet::new();
    for number in 0..8 {
        let store = opened(&place).await;
        claims
            .spawn(async move { store.help(&helper(&format!("h{number}")), &[], 5).await.expect("claims") });
    }
    let mut all: Vec<i64> = claims.join_all().await.iter().flat_map(|claimed| numbers(claimed)).collect();
    // Whoever came while another held a row passed it by; what is left is there for the next one.
    let last = opened(&place).await;
    all.extend(numbers(&last.help(&helper("last"), &[], 99).await.expect("claims")));
    all.sort_unstable();
    assert_eq!(all, (1..=40).collect::<Vec<_>>());
    place.end().await;
}

async fn only_who_is_alike_carries_and_both_are_counted(place: Place) {
    let (leader, _) = leading(&place).await;
    let store = opened(&place).await;
    assert_eq!(leader.attend("alike", PATIENT).await.expect("attends").0, Helpers::default());
    let other = Helper { likeness: "other".into(), ..helper("b") };
    leader.offer("alike", &offers([1])).await.expect("offers");
    assert_eq!(store.help(&other, &[], 9).await.expect("claims"), []);
    store.help(&helper("a"), &[], 0).await.expect("is there");
    // Who leads is no helper of its own, whatever it was before.
    store.help(&helper("the leader"), &[], 0).await.expect("is there");
    let (helpers, _) = leader.attend("alike", PATIENT).await.expect("attends");
    assert_eq!(helpers, Helpers { room: 4, alike: 1, unlike: 1 });
    place.end().await;
}

async fn what_nobody_claims_comes_back_and_is_not_answered_any_more(place: Place) {
    let (leader, _) = leading(&place).await;
    leader.offer("alike", &offers([1, 2])).await.expect("offers");
    assert_eq!(leader.attend("alike", PATIENT).await.expect("attends").1, Vec::<i64>::new());
    let mut back = Vec::new();
    for _ in 0..100 {
        back.extend(leader.attend("alike", PATIENT).await.expect("attends").1);
        if back.len() == 2 {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    back.sort_unstable();
    assert_eq!(back, [1, 2]);
    let store = opened(&place).await;
    assert_eq!(store.help(&helper("a"), &[], 9).await.expect("claims"), []);
    place.end().await;
}

async fn what_a_helper_holds_that_is_gone_comes_back(place: Place) {
    let (leader, lease) = leading(&place).await;
    let store = opened(&place).await;
    leader.offer("alike", &offers([1, 2])).await.expect("offers");
    assert_eq!(numbers(&store.help(&helper("gone"), &[], 1).await.expect("claims")), [1]);
    assert_eq!(numbers(&store.help(&helper("slow"), &[], 1).await.expect("claims")), [2]);
    // The one is not seen any more, the other is but takes too long.
    sleep(Duration::from_millis(5200)).await;
    store.help(&helper("slow"), &[], 0).await.expect("is there");
    assert_eq!(leader.attend("alike", PATIENT).await.expect("attends").1, [1]);
    assert_eq!(leader.attend("alike", Duration::from_secs(5)).await.expect("attends").1, [2]);
    store.help(&helper("slow"), &[(lease.epoch, 2, "late".into())], 0).await.expect("told");
    assert_eq!(leader.offer("alike", &[]).await.expect("collects"), []);
    place.end().await;
}

async fn who_does_not_lead_offers_nothing_and_of_who_led_before_nothing_is_claimed(place: Place) {
    let (leader, lease) = leading(&place).await;
    let store = opened(&place).await;
    assert!(store.offer("alike", &offers([1])).await.is_err());
    assert!(store.attend("alike", PATIENT).await.is_err());
    leader.offer("alike", &offers([1, 2])).await.expect("offers");
    assert!(leader.release(&lease).await.expect("answers"));
    assert_eq!(store.help(&helper("a"), &[], 9).await.expect("claims"), [], "nobody leads");
    let (next, lease) = leading(&place).await;
    assert_eq!(store.help(&helper("a"), &[], 9).await.expect("claims"), [], "another leads");
    next.offer("alike", &offers([1])).await.expect("offers");
    let claimed = store.help(&helper("a"), &[], 9).await.expect("claims");
    assert_eq!((numbers(&claimed), claimed[0].epoch), (vec![1], lease.epoch));
    // What the one before left is cleared away, and never told.
    assert_eq!(next.attend("alike", PATIENT).await.expect("attends").1, Vec::<i64>::new());
    assert_eq!(store.ask("SELECT count(*) FROM errands").await, "1");
    place.end().await;
}

async fn hostile_text_arrives_as_it_is(place: Place) {
    let (leader, lease) = leading(&place).await;
    let store = opened(&place).await;
    for text in
        [r#"{"body":"\u0000 \ud83d\ude00 \\u0000"}"#, "'; DROP TABLE errands; --", "\u{202e}\n\t\"\\", "💥"]
    {
        let offer = Offer { number: 1, fingerprint: None, request: text.to_owned() };
        leader.offer("alike", &[offer]).await.expect("offers");
        let claimed = store.help(&helper("a"), &[], 9).await.expect("claims");
        assert_eq!(claimed[0].request, text);
        store.help(&helper("a"), &[(lease.epoch, 1, text.to_owned())], 0).await.expect("told");
        assert_eq!(leader.offer("alike", &[]).await.expect("collects"), [(1, text.to_owned())]);
    }
    place.end().await;
}

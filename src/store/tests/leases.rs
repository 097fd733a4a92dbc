//! Who may write to a shared journal: one holder at a time, by the clock of the database, and nothing arrives of one
//! that was replaced.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::store::lease;
use crate::store::sql::{Connection, Purpose};

everywhere! {
    on_a_server_only:
    one_of_many_takes_it_and_each_holding_has_a_higher_number,
    a_lease_ends_by_the_clock_of_the_database,
    a_lease_is_renewed_in_time_or_not_at_all,
    who_was_replaced_writes_nothing_more,
    a_lease_that_is_over_writes_nothing_although_nobody_took_it,
    nobody_takes_over_in_the_middle_of_a_write,
    a_number_never_comes_back,
    who_judged_for_long_has_a_whole_lease,
    a_lease_of_another_resource_is_another_lease,
}

async fn opened(place: &Place) -> Store {
    Store::connect(place.server(), Mode::Write).await.expect("connects")
}

async fn taken(store: &Store, holder: &str) -> Lease {
    store.take(WRITER, holder).await.expect("answers").expect("free")
}

async fn one_of_many_takes_it_and_each_holding_has_a_higher_number(place: Place) {
    let stores = [opened(&place).await, opened(&place).await, opened(&place).await];
    for epoch in 1..4 {
        let [one, two, three] = [0, 1, 2].map(|n: usize| stores[n].take(WRITER, ["a", "b", "c"][n]));
        let (one, two, three) = tokio::join!(one, two, three);
        let all = [one, two, three].map(|lease| lease.expect("answers"));
        let held: Vec<&Lease> = all.iter().flatten().collect();
        assert_eq!(held.len(), 1, "{all:?}");
        assert_eq!(held[0].epoch, epoch);
        for store in &stores {
            assert_eq!(store.take(WRITER, "d").await.expect("answers"), None, "it is held");
        }
        let holder = all.iter().position(Option::is_some).expect("one");
        let other = Lease { holder: "somebody else".into(), ..held[0].clone() };
        assert!(!stores[holder].release(&other).await.expect("answers"), "not theirs");
        assert!(stores[holder].release(held[0]).await.expect("answers"));
        assert!(!stores[holder].release(held[0]).await.expect("answers"), "it is over");
        assert_eq!(stores[holder].renew(held[0]).await.expect("answers"), None, "it is over");
    }
    place.end().await;
}

async fn a_lease_ends_by_the_clock_of_the_database(place: Place) {
    let store = opened(&place).await;
    let before = Instant::now();
    let first = taken(&store, "a").await;
    // Counted from before it was asked for, and less than the database counts.
    assert!(first.until >= before + Duration::from_secs(12));
    assert!(first.until <= Instant::now() + Duration::from_secs(12));
    let left = "SELECT (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint FROM leases";
    let left: i64 = store.ask(left).await.parse().expect("a number");
    assert!((14_000..=15_000).contains(&left), "{left} ms");

    // However long a transaction has lasted already, it is the time at the end that counts.
    let mut waiting = Connection::Postgres(place.direct().await);
    waiting.begin(Purpose::Write).await.expect("begins");
    crate::store::evidence::tail(&mut waiting).await.expect("it has a snapshot");
    place.meddle("UPDATE leases SET expires_at = clock_timestamp() + interval '200 milliseconds'").await;
    assert_eq!(lease::take(&mut waiting, WRITER, "b").await.expect("answers"), None, "not yet");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second = lease::take(&mut waiting, WRITER, "b").await.expect("answers").expect("by now");
    waiting.commit().await.expect("commits");
    assert_eq!(second.epoch, first.epoch + 1);
    assert_eq!(store.renew(&first).await.expect("answers"), None);
    waiting.close().await;
    place.end().await;
}

async fn a_lease_is_renewed_in_time_or_not_at_all(place: Place) {
    let (store, lease) = place.led().await;
    let renewed = store.renew(&lease).await.expect("answers").expect("in time");
    assert!(renewed.until >= lease.until && renewed.epoch == lease.epoch);
    assert_eq!(store.epoch_now().await, Some(lease.epoch));
    assert!(store.vouches(), "by our own clock");
    tokio::time::pause();
    tokio::time::advance(TTL - MARGIN).await;
    assert!(!store.vouches(), "whatever the database says");
    tokio::time::resume();
    place.meddle("UPDATE leases SET expires_at = clock_timestamp()").await;
    assert_eq!(store.renew(&lease).await.expect("answers"), None, "too late, although nobody took it");
    assert_eq!(store.epoch_now().await, None);
    let other = Lease { holder: "somebody else".into(), ..taken(&store, "a").await };
    assert_eq!(store.renew(&other).await.expect("answers"), None, "not theirs");
    place.end().await;
}

async fn is_refused(store: &Store, reader: &Store) {
    let before = reader.load(NOW).await.expect("loads");
    let head = reader.verify().await.expect("reads").head;
    for _ in 0..2 {
        let fault =
            store.write(&[step(&canary(7), "planned"), creation("bob", NOW)]).await.expect_err("refused");
        assert!(matches!(fault, StoreFault::Superseded { .. }), "{fault}");
        assert!(!store.is_current());
        assert_eq!(store.epoch_now().await, None);
    }
    assert_eq!(reader.load(NOW).await.expect("loads"), before, "nothing was written");
    assert_eq!(reader.verify().await.expect("reads").head, head);
}

async fn who_was_replaced_writes_nothing_more(place: Place) {
    let (first, lease) = place.led().await;
    first.write(&[step(&canary(1), "planned")]).await.expect("writes");
    assert!(first.is_current());
    let (second, other) = place.led().await;
    assert!(other.epoch > lease.epoch);
    assert!(first.is_current(), "it cannot know yet");
    assert_eq!(first.epoch_now().await, None, "but who asks is told");
    is_refused(&first, &second).await;
    second.write(&[step(&canary(2), "planned")]).await.expect("writes");
    assert_eq!(first.lead(&lease, NOW).await.expect_err("not with that lease").operation(), "write");
    // It may become the writer again, with another number.
    assert!(second.release(&other).await.expect("answers"));
    let fault = second.write(&[]).await.expect_err("it let go");
    assert!(matches!(fault, StoreFault::Superseded { .. }), "{fault}");
    let again = first.lead(&taken(&first, "a").await, NOW).await.expect("leads");
    assert!(again.epoch > other.epoch && first.is_current());
    first.write(&[step(&canary(3), "planned")]).await.expect("writes");
    let kept = first.load(NOW).await.expect("loads");
    assert_eq!((kept.canaries.len(), kept.epoch, kept.past), (3, again.epoch, Past::Continued));
    place.end().await;
}

async fn a_lease_that_is_over_writes_nothing_although_nobody_took_it(place: Place) {
    let (store, lease) = place.led().await;
    place.meddle("UPDATE leases SET expires_at = clock_timestamp()").await;
    is_refused(&store, &place.reader().await).await;
    assert!(store.lead(&lease, NOW).await.is_err());
    let store = opened(&place).await;
    let fault = store.write(&[creation("bob", NOW)]).await.expect_err("it never had one");
    assert!(matches!(fault, StoreFault::Superseded { .. }), "{fault}");
    assert!(!store.is_current());
    place.end().await;
}

async fn nobody_takes_over_in_the_middle_of_a_write(place: Place) {
    let (first, lease) = place.led().await;
    let mut writing = Connection::Postgres(place.direct().await);
    place.meddle("UPDATE leases SET expires_at = clock_timestamp() + interval '300 milliseconds'").await;
    writing.begin(Purpose::Write).await.expect("begins");
    lease::hold(&mut writing, &lease).await.expect("ours");
    // It is over before the write is.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let second = opened(&place).await;
    let began = Instant::now();
    let take = async { (taken(&second, "b").await, began.elapsed()) };
    let write = async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        writing.commit().await.expect("commits");
    };
    let ((taken, waited), ()) = tokio::join!(take, write);
    assert!(waited >= Duration::from_millis(600), "{waited:?}");
    assert_eq!(taken.epoch, lease.epoch + 1);
    let fault = first.write(&[]).await.expect_err("replaced");
    assert!(matches!(fault, StoreFault::Superseded { .. }), "{fault}");
    place.end().await;
}

async fn who_judged_for_long_has_a_whole_lease(place: Place) {
    let store = opened(&place).await;
    let lease = taken(&store, "a").await;
    place.meddle("UPDATE leases SET expires_at = clock_timestamp() + interval '1 second'").await;
    let lease = Lease { until: Instant::now(), ..lease };
    let led = store.lead(&lease, NOW).await.expect("leads");
    assert!(led.until > Instant::now() + Duration::from_secs(11) && led.epoch == lease.epoch);
    let left = "SELECT (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint FROM leases";
    let left: i64 = store.ask(left).await.parse().expect("a number");
    assert!((14_000..=15_000).contains(&left), "{left} ms");
    place.end().await;
}

async fn a_number_never_comes_back(place: Place) {
    let (store, _) = place.led().await;
    store.close().await;
    place.meddle("UPDATE fence SET epoch = 40; DELETE FROM leases").await;
    let (store, lease) = place.led().await;
    assert_eq!(lease.epoch, 41, "not 1, although the lease counted from the beginning");
    assert_eq!(store.load(NOW).await.expect("loads").epoch, 41);
    assert_eq!(store.epoch_now().await, Some(41));
    store.write(&[step(&canary(1), "planned")]).await.expect("writes");
    assert!(store.renew(&lease).await.expect("answers").is_some());
    place.end().await;
}

async fn a_lease_of_another_resource_is_another_lease(place: Place) {
    let (store, lease) = place.led().await;
    let other = store.take("probes/bob", "a").await.expect("answers").expect("free");
    assert_eq!(other.epoch, 1);
    assert!(store.release(&other).await.expect("answers"));
    store.write(&[]).await.expect("the writer's is still ours");
    assert!(store.renew(&lease).await.expect("answers").is_some());
    place.end().await;
}

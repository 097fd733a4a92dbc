//! What a shared journal is to the one that a process saw before: whoever takes it over finds no less, and no other.

use super::*;

everywhere! {
    on_a_server_only:
    a_new_journal_is_the_first_and_then_goes_on,
    rows_that_a_failover_lost_are_noticed_by_who_wrote_them,
    rows_that_a_failover_lost_are_noticed_by_who_saw_them,
    who_finds_rows_missing_keeps_the_lease_no_longer,
    an_emptied_journal_is_noticed,
    another_server_is_noticed,
    a_reader_changes_nothing,
}

const LOSE: &str = "SET session_replication_role = replica;
    DELETE FROM evidence WHERE seq > 3; DELETE FROM canaries WHERE id > 1; DELETE FROM transitions WHERE canary > 1;
    DELETE FROM creations WHERE rowid > 1; DELETE FROM leases;
    UPDATE fence SET epoch = 1";

/// The same, of a lease that is older than what was lost: the standby has it.
const LOSE_BUT_THE_LEASE: &str = "SET session_replication_role = replica;
    DELETE FROM evidence WHERE seq > 3; DELETE FROM canaries WHERE id > 1; DELETE FROM transitions WHERE canary > 1;
    DELETE FROM creations WHERE rowid > 1;
    UPDATE fence SET epoch = 1";

const EMPTY: &str = "SET session_replication_role = replica;
    DELETE FROM evidence; DELETE FROM canaries; DELETE FROM transitions; DELETE FROM creations; DELETE FROM leases;
    UPDATE fence SET epoch = 0";

async fn leads(store: &Store, place: &Place) -> Past {
    place.meddle("UPDATE leases SET expires_at = clock_timestamp()").await;
    let lease = store.take(WRITER, "again").await.expect("answers").expect("free");
    store.lead(&lease, NOW).await.expect("leads");
    store.load(NOW).await.expect("loads").past
}

async fn writes(store: &Store, id: i64) {
    store.write(&[step(&canary(id), "planned"), creation("bob", NOW)]).await.expect("writes");
}

async fn a_new_journal_is_the_first_and_then_goes_on(place: Place) {
    let (store, _) = place.led().await;
    assert_eq!(store.load(NOW).await.expect("loads").past, Past::First);
    writes(&store, 1).await;
    assert_eq!(leads(&store, &place).await, Past::Continued);
    writes(&store, 2).await;
    assert_eq!(place.led().await.0.load(NOW).await.expect("loads").past, Past::Continued, "another process");
    let verified = store.verify().await.expect("reads");
    assert_eq!((verified.flaws, verified.lost, verified.epoch), (vec![], None, 3));
    assert_eq!(store.durability().await.expect("answers"), Durability::Local);
    place.end().await;
}

async fn rows_that_a_failover_lost_are_noticed_by_who_wrote_them(place: Place) {
    let (store, _) = place.led().await;
    for id in 1..4 {
        writes(&store, id).await;
    }
    let known = store.head();
    assert_eq!(known.seq, 7);
    place.meddle(LOSE).await;
    assert_eq!(store.verify().await.expect("reads").lost, Some(known));
    let fault = store.write(&[creation("bob", NOW)]).await.expect_err("not what it left");
    assert!(matches!(fault, StoreFault::Superseded { .. }), "{fault}");
    assert_eq!(leads(&store, &place).await, Past::Regressed { known: 7, found: 3 });
    writes(&store, 4).await;
    // It is told until a person has looked, also by others.
    let (other, _) = place.led().await;
    assert_eq!(other.load(NOW).await.expect("loads").past, Past::Regressed { known: 7, found: 3 });
    other.write(&[Write::Unlatch { organization: "acme".into(), at: at(20) }]).await.expect("writes");
    assert_eq!(leads(&store, &place).await, Past::Continued);
    place.end().await;
}

async fn rows_that_a_failover_lost_are_noticed_by_who_saw_them(place: Place) {
    let (leader, _) = place.led().await;
    let follower = Store::connect(place.server(), Mode::Write).await.expect("connects");
    for id in 1..4 {
        writes(&leader, id).await;
        assert_eq!(follower.take(WRITER, "b").await.expect("answers"), None);
    }
    leader.close().await;
    place.meddle(LOSE).await;
    // Also if the journal has since grown past where it was.
    let (unaware, _) = place.led().await;
    for id in 4..9 {
        writes(&unaware, id).await;
    }
    assert_eq!(unaware.load(NOW).await.expect("loads").past, Past::Continued, "it saw nothing of it");
    assert_eq!(follower.take(WRITER, "b").await.expect("answers"), None);
    let past = leads(&follower, &place).await;
    assert!(matches!(past, Past::Regressed { known: 7, found } if found > 7), "{past:?}");
    place.end().await;
}

async fn who_finds_rows_missing_keeps_the_lease_no_longer(place: Place) {
    let (store, lease) = place.led().await;
    for id in 1..4 {
        writes(&store, id).await;
    }
    place.meddle(LOSE_BUT_THE_LEASE).await;
    assert!(store.renew(&lease).await.expect("answers").is_some(), "nothing was noticed yet");
    store.write(&[creation("bob", NOW)]).await.expect_err("not what it left");
    assert_eq!(store.renew(&lease).await.expect("answers"), None);
    assert!(store.release(&lease).await.expect("answers"), "nobody need wait for its end");
    let again = store.take(WRITER, "again").await.expect("answers").expect("free");
    store.lead(&again, NOW).await.expect("leads");
    assert_eq!(store.load(NOW).await.expect("loads").past, Past::Regressed { known: 7, found: 3 });
    assert!(store.renew(&again).await.expect("answers").is_some(), "it is the writer of what is there now");
    place.end().await;
}

async fn an_emptied_journal_is_noticed(place: Place) {
    let (store, _) = place.led().await;
    writes(&store, 1).await;
    place.meddle(EMPTY).await;
    assert_eq!(leads(&store, &place).await, Past::Emptied);
    // By what is left of it, where nobody saw it before.
    place.meddle("SET session_replication_role = replica; DELETE FROM evidence").await;
    let (other, _) = place.led().await;
    assert_eq!(other.load(NOW).await.expect("loads").past, Past::Emptied);
    place.end().await;
}

async fn another_server_is_noticed(place: Place) {
    let (store, _) = place.led().await;
    writes(&store, 1).await;
    // What cannot be told, and what went on as it should, is no reason to doubt.
    for (system, timeline) in [(None, None), (None, Some("00000000")), (None, Some("00000001"))] {
        store.saw_it_elsewhere(system, timeline);
        assert_eq!(leads(&store, &place).await, Past::Continued, "{timeline:?}");
    }
    let known = store.head().seq;
    store.saw_it_elsewhere(Some("1"), None);
    assert_eq!(leads(&store, &place).await, Past::Regressed { known, found: known });
    store.write(&[Write::Unlatch { organization: "acme".into(), at: at(20) }]).await.expect("writes");
    assert_eq!(leads(&store, &place).await, Past::Continued);
    store.saw_it_elsewhere(None, Some("00000002"));
    let past = leads(&store, &place).await;
    assert!(
        matches!(past, Past::Regressed { .. }),
        "a server that a standby has replaced came back: {past:?}"
    );
    place.end().await;
}

async fn a_reader_changes_nothing(place: Place) {
    let (store, lease) = place.led().await;
    writes(&store, 1).await;
    let reader = place.reader().await;
    assert_eq!(reader.all_canaries(9).await.expect("loads").len(), 1);
    assert_eq!(reader.load(NOW).await.expect("loads").past, Past::Continued);
    for fault in
        [reader.write(&[]).await.expect_err("reads"), reader.lead(&lease, NOW).await.expect_err("reads")]
    {
        assert!(matches!(fault, StoreFault::ReadOnly { .. }), "{fault}");
    }
    assert!(!reader.is_current());
    store.close().await;
    place.end().await;
}

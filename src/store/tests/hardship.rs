//! Opening, locking, damage, a full disk: every hardship is a clear fault, and what can go on goes on.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use sqlx::Executor;

use super::*;

#[tokio::test]
async fn one_writer_and_readers_beside_it() {
    let place = Place::new();
    let fault = Store::open(&place.file(), Mode::Read, NOW).await.expect_err("nothing to read");
    assert!(matches!(fault, StoreFault::Missing { .. }), "{fault}");
    let store = place.store().await;
    let fault = Store::open(&place.file(), Mode::Write, NOW).await.expect_err("locked");
    assert!(matches!(fault, StoreFault::Locked { .. }), "{fault}");
    let link = place.dir().join("link.db");
    std::os::unix::fs::symlink(place.file(), &link).expect("a link");
    let fault = Store::open(&link, Mode::Write, NOW).await.expect_err("locked by its other name");
    assert!(matches!(fault, StoreFault::Locked { .. }), "{fault}");

    let reader = Store::open(&place.file(), Mode::Read, NOW).await.expect("opens");
    store.write(&[step(&canary(1), "planned")]).await.expect("writes");
    let kept = reader.load(NOW).await.expect("loads");
    assert!(kept.canaries.len() == 1 && (kept.epoch, kept.past) == (1, Past::Continued));
    let fault = reader.write(&[creation("bob", NOW)]).await.expect_err("a reader");
    assert!(matches!(fault, StoreFault::ReadOnly { .. }), "{fault}");
    store.write(&[step(&canary(2), "planned")]).await.expect("a reader holds up nobody");
    assert_eq!(reader.all_canaries(9).await.expect("loads").len(), 2);
    store.close().await;
    reader.close().await;

    let alone = Store::open(&place.file(), Mode::Read, NOW).await.expect("reads without a writer");
    assert_eq!(alone.load(NOW).await.expect("loads").canaries.len(), 2);
    alone.close().await;
    place.store().await.close().await;
    for name in ["state.db", "state.db.lock"] {
        let mode = std::fs::metadata(place.dir().join(name)).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_our_store_is_refused_and_left_as_it_is() {
    async fn refused(path: &Path) -> StoreFault {
        let fault = Store::open(path, Mode::Write, NOW).await.expect_err("refused");
        let told = fault.to_string();
        assert_eq!(fault.operation(), "open");
        assert!(told.contains(&fault::shown(path)) && told.contains("; "), "{told}");
        fault
    }
    let place = Place::new();
    let nowhere = place.dir().join("absent/state.db");
    assert!(matches!(refused(&nowhere).await, StoreFault::NoDirectory { .. }));
    assert!(!place.dir().join("absent").exists());
    assert!(matches!(refused(place.dir()).await, StoreFault::NotAFile { .. }));

    std::fs::write(place.file(), "hello, this is no database but a text of some length\n".repeat(100))
        .expect("w");
    assert!(matches!(refused(&place.file()).await, StoreFault::NotAStore { .. }));
    assert!(std::fs::read(place.file()).expect("r").starts_with(b"hello"));

    std::fs::remove_file(place.file()).expect("rm");
    place.meddle("CREATE TABLE theirs (x); PRAGMA user_version = 1").await;
    assert!(matches!(refused(&place.file()).await, StoreFault::NotAStore { .. }));

    std::fs::remove_file(place.file()).expect("rm");
    place.store().await.close().await;
    place.meddle("PRAGMA user_version = 5").await;
    let newer = refused(&place.file()).await;
    assert!(matches!(newer, StoreFault::Newer { found: 5, known: 4, .. }), "{newer}");
    let fault = Store::open(&place.file(), Mode::Read, NOW).await.expect_err("a reader refuses it too");
    assert_eq!(fault, newer);
}

#[tokio::test]
async fn damage_shows_at_the_start_and_rows_beyond_us_are_never_skipped() {
    let place = Place::new();
    let store = place.store().await;
    let many: Vec<Write> = (1..200).map(|id| step(&canary(id), "planned")).collect();
    store.write(&many).await.expect("writes");
    store.close().await;
    let whole = std::fs::read(place.file()).expect("r");

    let mut torn = whole.clone();
    for page in torn.chunks_mut(4096).skip(1) {
        page[..64].fill(0xA5);
    }
    std::fs::write(place.file(), &torn).expect("w");
    let fault = Store::open(&place.file(), Mode::Write, NOW).await.expect_err("damaged");
    assert!(matches!(fault, StoreFault::Damaged { .. }), "{fault}");
    std::fs::write(place.file(), &whole[..whole.len() / 2]).expect("w");
    let fault = Store::open(&place.file(), Mode::Write, NOW).await.expect_err("damaged");
    assert!(matches!(fault, StoreFault::Damaged { .. }), "{fault}");

    for meddled in [
        "UPDATE canaries SET state = 'elsewhere' WHERE id = 5",
        "UPDATE canaries SET name = '../../org/acme' WHERE id = 5",
        "UPDATE canaries SET looks = -1 WHERE id = 5",
    ] {
        std::fs::write(place.file(), &whole).expect("w");
        place.meddle(meddled).await;
        let store = place.store().await;
        let fault = store.load(NOW).await.expect_err("beyond us");
        assert!(matches!(fault, StoreFault::Unreadable { table: "canaries", .. }), "{fault}");
        assert_eq!(fault.operation(), "load");
        store.close().await;
    }
}

#[tokio::test]
async fn a_full_disk_is_a_fault_and_later_writes_work_again() {
    let place = Place::new();
    let store = place.store().await;
    store.ask("PRAGMA max_page_count = 1").await;
    let big =
        Declared { token: TokenName::new("ci"), fingerprint: "f".into(), at: NOW, body: "x".repeat(1 << 20) };
    let batch = [step(&canary(1), "planned"), Write::Declared(big)];
    let fault = store.write(&batch).await.expect_err("full");
    assert!(matches!(fault, StoreFault::Full { during: Operation::Write, .. }), "{fault}");
    assert!(store.load(NOW).await.expect("reads").canaries.is_empty());
    store.write(&batch).await.expect("there is space again");
    assert_eq!(store.load(NOW).await.expect("reads").canaries.len(), 1);
    store.close().await;
}

everywhere! { a_dropped_write_leaves_the_store_usable }

async fn a_dropped_write_leaves_the_store_usable(place: Place) {
    let store = place.store().await;
    for id in 1..40_i64 {
        let batch: Vec<Write> = (0..50).map(|n| step(&canary(id * 100 + n), "planned")).collect();
        // Given up at another moment each time; all of the batch is there or nothing of it.
        let patience = Duration::from_micros(u64::try_from(id).expect("positive") * 200);
        let _ = tokio::time::timeout(patience, store.write(&batch)).await;
    }
    store.write(&[step(&canary(9_999), "planned")]).await.expect("writes");
    let kept = store.load(NOW).await.expect("loads");
    assert_eq!((kept.canaries.len() - 1) % 50, 0);
    store.close().await;
}

#[tokio::test]
async fn another_program_that_holds_the_file_makes_it_busy_not_broken() {
    let place = Place::new();
    let store = place.store().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(place.file());
    let mut other = options.connect().await.expect("connects");
    other.execute(sqlx::raw_sql("BEGIN IMMEDIATE")).await.expect("holds");
    let fault = store.write(&[creation("bob", NOW)]).await.expect_err("busy");
    assert!(matches!(fault, StoreFault::Busy { .. }), "{fault}");
    other.execute(sqlx::raw_sql("ROLLBACK")).await.expect("lets go");
    store.write(&[creation("bob", NOW)]).await.expect("writes");
    store.close().await;
}

#[tokio::test]
async fn what_is_acknowledged_survives_a_power_cut_because_of_these_settings() {
    let place = Place::new();
    let store = place.store().await;
    for _ in 0..2 {
        assert_eq!(store.ask("SELECT synchronous FROM pragma_synchronous").await, "2", "FULL");
        assert_eq!(store.ask("SELECT journal_mode FROM pragma_journal_mode").await, "wal");
        assert_eq!(store.ask("SELECT foreign_keys FROM pragma_foreign_keys").await, "1");
        assert_eq!(store.ask("SELECT temp_store FROM pragma_temp_store").await, "2", "memory");
        // A failure costs the connection; the next one is no weaker.
        let stranger = Canary { repo: canary(8).repo, ..canary(1) };
        store.write(&[step(&canary(1), "planned"), step(&stranger, "planned")]).await.expect_err("refused");
        store.load(NOW).await.expect("loads");
    }
    store.close().await;
}

#[test]
fn its_futures_can_be_spawned() {
    fn sendable<T: Send>(_: &T) {}
    let path = Path::new("/nowhere/state.db");
    sendable(&Store::open(path, Mode::Write, NOW));
    let _ = async |store: &Store| {
        sendable(&store.load(NOW));
        sendable(&store.write(&[]));
        sendable(&store.all_canaries(1));
    };
    let _ = async |store: &Store, lease: &Lease, server: Server| {
        sendable(&store.take(WRITER, ""));
        sendable(&store.renew(lease));
        sendable(&store.lead(lease, NOW));
        sendable(&store.epoch_now());
        sendable(&Store::connect(server, Mode::Write));
    };
}

//! Who may still write, and what a journal is to the ones before it: taken over, emptied, replaced by an old copy.

use std::os::unix::fs::PermissionsExt;

use super::*;

impl Place {
    fn head(&self) -> PathBuf {
        self.dir().join("state.db.head")
    }

    /// Opens it, looks what it is to the ones before it, and closes it.
    pub(super) async fn past(&self) -> Past {
        let store = self.store().await;
        let past = store.load(NOW).await.expect("loads").past;
        store.close().await;
        past
    }

    /// Another life of the daemon.
    pub(super) async fn life(&self, canary_id: i64) {
        let store = Store::open(&self.file(), Mode::Write, at(canary_id)).await.expect("opens");
        store.write(&[step(&canary(canary_id), "planned"), creation("bob", NOW)]).await.expect("writes");
        store.close().await;
    }

    pub(super) fn remove(&self) {
        for end in ["state.db", "state.db-wal", "state.db-shm"] {
            let _ = std::fs::remove_file(self.dir().join(end));
        }
    }
}

#[tokio::test]
async fn every_opening_for_writing_has_a_higher_number_and_a_canary_keeps_that_of_its_intent() {
    let place = Place::new();
    for epoch in 1..4 {
        let store = place.store().await;
        assert_eq!(store.load(NOW).await.expect("loads").epoch, epoch);
        let reader = Store::open(&place.file(), Mode::Read, NOW).await.expect("opens");
        assert_eq!(reader.load(NOW).await.expect("loads").epoch, epoch, "a reader counts nothing");
        reader.close().await;
        store.close().await;
    }
    assert!(!Store::is_held(&place.file()).expect("says so"));
    let store = place.store().await;
    assert!(Store::is_held(&place.file()).expect("says so"));
    let mine = Canary { epoch: 4, ..canary(1) };
    store.write(&[step(&mine, "planned")]).await.expect("writes");
    let moved = Canary { epoch: 5, ..mine.clone() };
    let fault = store.write(&[step(&moved, "looked")]).await.expect_err("refused");
    assert!(matches!(fault, StoreFault::Conflict { .. }), "{fault}");
    assert_eq!(store.load(NOW).await.expect("loads").canaries, [mine]);
    assert!(store.is_current());
    store.close().await;
}

/// The one that was replaced: nothing of what it writes arrives, now or later.
async fn writes_nothing_more(store: &Store) {
    for _ in 0..2 {
        let fault = store.write(&[step(&canary(7), "planned")]).await.expect_err("superseded");
        assert!(matches!(fault, StoreFault::Superseded { .. }), "{fault}");
        assert_eq!(fault.operation(), "write");
        assert!(!store.is_current());
    }
}

#[tokio::test]
async fn who_was_replaced_although_a_lock_was_there_writes_nothing_more() {
    let place = Place::new();
    let first = place.store().await;
    first.write(&[step(&canary(1), "planned")]).await.expect("writes");
    assert_eq!(first.epoch_now().await, Some(1));
    // As on a file system whose locks mean nothing.
    std::fs::remove_file(place.dir().join("state.db.lock")).expect("rm");
    let second = place.store().await;
    assert_eq!((first.epoch_now().await, first.is_current()), (Some(2), true), "before it writes again");
    assert!(first.is_current(), "it cannot know yet");
    writes_nothing_more(&first).await;
    second.write(&[step(&canary(2), "planned")]).await.expect("writes");
    let kept = second.load(NOW).await.expect("loads");
    assert_eq!((kept.epoch, kept.canaries), (2, vec![canary(1), canary(2)]));
    assert!(second.is_current());
    first.close().await;
    second.close().await;
}

#[tokio::test]
async fn a_file_that_is_replaced_or_rewound_below_a_writer_ends_its_writing() {
    let rewound = "DROP TRIGGER evidence_stays; DELETE FROM evidence WHERE seq = 1";
    let counted = "UPDATE fence SET epoch = epoch + 1";
    let uncounted = "DELETE FROM fence";
    for meddled in [None, Some("gone"), Some(rewound), Some(counted), Some(uncounted)] {
        let place = Place::new();
        let store = place.store().await;
        let copy = place.dir().join("copy.db");
        std::fs::copy(place.file(), &copy).expect("cp");
        match meddled {
            None => std::fs::rename(&copy, place.file()).expect("mv"),
            Some("gone") => std::fs::remove_file(place.file()).expect("rm"),
            Some(sql) => place.meddle(sql).await,
        }
        writes_nothing_more(&store).await;
        store.close().await;
    }
}

#[tokio::test]
async fn a_journal_that_is_as_it_was_left_continues() {
    let place = Place::new();
    assert_eq!(place.past().await, Past::First);
    assert_eq!(place.past().await, Past::Continued);
    place.life(1).await;
    // A process that ended between a commit and the head file.
    let lagging = std::fs::read(place.head()).expect("r");
    place.life(2).await;
    std::fs::write(place.head(), lagging).expect("w");
    assert_eq!(place.past().await, Past::Continued);
    // It is a witness, not a source.
    std::fs::remove_file(place.head()).expect("rm");
    assert_eq!(place.past().await, Past::Continued);
    let mode = std::fs::metadata(place.head()).expect("made again").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let left: Vec<_> =
        std::fs::read_dir(place.dir()).expect("ls").map(|e| e.expect("e").file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".new")), "{left:?}");
}

#[tokio::test]
async fn an_emptied_journal_is_noticed_by_what_lies_beside_it() {
    let place = Place::new();
    place.life(1).await;
    place.remove();
    assert_eq!(place.past().await, Past::Emptied, "the head file knows");
    place.remove();
    std::fs::write(place.file(), "").expect("w");
    assert_eq!(place.past().await, Past::Emptied, "an empty file is no journal");

    place.remove();
    std::fs::remove_file(place.head()).expect("rm");
    std::fs::write(place.dir().join("state.key"), [7; 32]).expect("w");
    assert_eq!(place.past().await, Past::Emptied, "the key of canary names knows");
    let link = Place::new();
    std::os::unix::fs::symlink(place.file(), link.file()).expect("ln");
    place.remove();
    std::fs::remove_file(place.head()).expect("rm");
    std::fs::rename(place.dir().join("state.key"), link.dir().join("state.key")).expect("mv");
    std::fs::write(place.file(), "").expect("w");
    assert_eq!(link.past().await, Past::Emptied, "a key beside the link by which the store is named");
    std::fs::remove_file(place.head()).expect("rm");

    place.meddle("DROP TRIGGER evidence_stays; DELETE FROM evidence").await;
    assert_eq!(place.past().await, Past::Emptied, "a journal of this version has a record");
}

#[tokio::test]
async fn an_old_copy_is_noticed_by_the_head_file() {
    let place = Place::new();
    place.life(1).await;
    let old = std::fs::read(place.file()).expect("r");
    place.life(2).await;
    let newer = std::fs::read(place.head()).expect("r");
    std::fs::write(place.file(), &old).expect("w");
    let past = place.past().await;
    assert!(matches!(past, Past::Regressed { known, found } if known > found && found > 0), "{past:?}");

    // It has grown past where it was, another way.
    std::fs::write(place.file(), &old).expect("w");
    std::fs::remove_file(place.head()).expect("rm");
    for id in 3..9 {
        place.life(id).await;
    }
    std::fs::write(place.head(), newer).expect("w");
    let past = place.past().await;
    assert!(matches!(past, Past::Regressed { known, found } if known < found), "{past:?}");
}

#[tokio::test]
async fn a_head_file_that_is_no_head_says_nothing() {
    let hash = "0123456789abcdef".repeat(4);
    let torn = [
        String::new(),
        "3".into(),
        format!("3 {hash}"),
        format!("3 {}\n", &hash[1..]),
        format!("3 {}\n", hash.to_uppercase()),
        format!("x {hash}\n"),
        format!("0 {hash}\n"),
        format!("-1 {hash}\n"),
        format!("3 {hash}\n3 {hash}\n"),
        format!("3  {hash}\n"),
        "\0".repeat(70),
    ];
    for text in torn {
        let place = Place::new();
        std::fs::write(place.head(), &text).expect("w");
        assert_eq!(place.past().await, Past::First, "{text:?}");
        std::fs::write(place.head(), &text).expect("w");
        assert_eq!(place.past().await, Past::Continued, "{text:?}");
    }
    let place = Place::new();
    std::fs::write(place.head(), format!("3 {hash}\n")).expect("w");
    assert_eq!(place.past().await, Past::Emptied, "this one is a head");
    let place = Place::new();
    std::fs::create_dir(place.head()).expect("mkdir");
    assert_eq!(place.past().await, Past::First);
    place.life(1).await;
}

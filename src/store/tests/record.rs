//! Goal: the record tells what happened, to the letter; whoever changes it or the rows behind our back is found
//! out; what was found is told until a person has looked.
//! Method: the entries of a small history as text; every bit of every entry changed, every entry taken out, put
//! twice, swapped; the end cut off; every table meddled with. Random histories are in `histories`.

use super::*;
use crate::store::replay::Replay;

impl Place {
    async fn lines(&self) -> Vec<Line> {
        let store = self.reader().await;
        let lines = store.record(0, 10_000).await.expect("reads");
        store.close().await;
        lines
    }

    async fn verified(&self) -> Verified {
        let store = self.reader().await;
        let verified = store.verify().await.expect("reads");
        store.close().await;
        verified
    }

    /// The journal as somebody would change it who knows his way.
    async fn forge(&self, sql: String) {
        let open = match self.is_a_file() {
            true => {
                "DROP TRIGGER IF EXISTS evidence_stays; DROP TRIGGER IF EXISTS evidence_stays_as_written;
                 DROP TRIGGER IF EXISTS canaries_stay; PRAGMA foreign_keys = off; "
            }
            false => "SET session_replication_role = replica; ",
        };
        assert!(self.try_any(format!("{open}{sql}")).await, "{sql}");
    }

    /// A journal with entries of every kind, and the file as it is at rest.
    async fn history(&self) -> Vec<u8> {
        self.happens().await;
        std::fs::read(self.file()).expect("r")
    }

    /// Entries of every kind.
    async fn happens(&self) {
        let store = self.store().await;
        let mut one = canary(1);
        store.write(&[step(&one, "intent"), creation("bob", at(2))]).await.expect("writes");
        one.state = CanaryState::DelUnknown;
        one.deletes.push(DeleteAttempt { at: at(3), by: Deleter::Probed, outcome: DeleteOutcome::Lost });
        one.absences = vec![at(4), at(5)];
        let breaker = Breaker { organization: "acme".into(), at: at(6), why: "a public canary".into() };
        let pause = Pause { owner: "bob".into(), at: at(7), until: at(60), why: UnknownReason::CreationCap };
        let lasting = finding(FindingKind::LatentGrant, Some("ci"));
        let ended = Finding { resolved_at: Some(at(9)), ..finding(FindingKind::Blind, None) };
        store
            .write(&[
                step(&one, "looked"),
                Write::Breaker(Breaker { organization: "other".into(), ..breaker.clone() }),
                Write::Unlatch { organization: "other".into(), at: at(7) },
                Write::Breaker(breaker),
                Write::Pause(pause),
                Write::Finding(finding(FindingKind::Blind, None)),
                Write::Finding(lasting.clone()),
            ])
            .await
            .expect("writes");
        store
            .write(&[
                // Seen once more: nothing begins or ends.
                Write::Finding(Finding { last_seen: at(8), ..lasting }),
                Write::Finding(ended.clone()),
                Write::Finding(ended),
                Write::Check(check("a", Access::Allowed)),
            ])
            .await
            .expect("writes");
        store.close().await;
    }
}

everywhere! { the_record_tells_what_happened_to_the_letter }

async fn the_record_tells_what_happened_to_the_letter(place: Place) {
    place.happens().await;
    let lines = place.lines().await;
    let told: Vec<(i64, i64, &str)> =
        lines.iter().map(|l| (l.seq, l.at.since(NOW).as_secs().try_into().expect("few"), &*l.kind)).collect();
    let expected = [
        (1, 0, "opened"),
        (2, 2, "canary"),
        (3, 2, "creation"),
        (4, 2, "canary"),
        (5, 6, "breaker"),
        (6, 7, "unlatched"),
        (7, 6, "breaker"),
        (8, 7, "pause"),
        (9, 5, "finding_began"),
        (10, 5, "finding_began"),
        (11, 9, "finding_ended"),
    ];
    assert_eq!(told, expected);
    assert_eq!(
        lines[0].body,
        format!(
            r#"{{"epoch":1,"flaws":[],"found":null,"known":null,"past":"first","version":"{}"}}"#,
            env!("CARGO_PKG_VERSION")
        )
    );
    assert_eq!(
        lines[3].body,
        concat!(
            r#"{"canary":{"absences":[1800000004000,1800000005000],"deletes":[{"at":1800000003000,"#,
            r#""by":"probed","outcome":"lost"}],"epoch":1,"given_up_at":null,"group":"65f0","id":1,"#,
            r#""kind":"dataset","looks":0,"name":"scopewatch-canary-1","namespace":"acme","#,
            r#""next_at":1800000001000,"note":"planned","owner":"bob","planned_at":1800000000000,"#,
            r#""repo_id":null,"state":"del_unknown","target":"dataset@group","token":"ci"},"#,
            r#""event":"looked","from":"planned"}"#
        )
    );
    assert_eq!(lines[2].body, r#"{"owner":"bob"}"#);
    assert_eq!(lines[4].body, r#"{"organization":"other","why":"a public canary"}"#);
    assert_eq!(lines[5].body, r#"{"organization":"other"}"#);
    assert_eq!(lines[7].body, r#"{"owner":"bob","until":1800000060000,"why":"creation_cap"}"#);
    assert_eq!(
        lines[8].body,
        concat!(
            r#"{"detail":"ä sentence\nwith '; DROP TABLE findings; --","kind":"blind","organization":"","#,
            r#""permission":null,"resolved_at":null,"severity":"critical","since":1800000005000,"#,
            r#""target":null,"token":null}"#
        )
    );
    // The hash by another way: each part with its length in front.
    let mut parts = Vec::new();
    for part in [&lines[2].hash, "4", "1800000002000", "canary", &lines[3].body] {
        parts.extend(u64::try_from(part.len()).expect("fits").to_be_bytes());
        parts.extend(part.bytes());
    }
    use sha2::Digest;
    assert_eq!(lines[3].hash, data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(&parts)));
    let verified = place.verified().await;
    assert_eq!((verified.entries, verified.epoch, verified.flaws), (11, 1, vec![]));
    assert_eq!(verified.head, Head { seq: 11, hash: lines[10].hash.clone() });
    assert_eq!(verified.kinds.get(&Kind::Canary), Some(&2));
    assert_eq!((verified.first_at, verified.last_at), (Some(at(0)), Some(at(9))));
    assert_eq!((verified.lost, verified.noted), (None, vec![]));
}

/// Tells these entries, and says whether anything was wrong with them.
fn flawed(lines: &[Line]) -> bool {
    flawed_after(None, lines)
}

/// The same of entries that follow this one.
fn flawed_after(before: Option<&Line>, lines: &[Line]) -> bool {
    let head = before.map(|line| Head { seq: line.seq, hash: line.hash.clone() });
    let mut replay = Replay { head, ..Replay::default() };
    lines.iter().for_each(|line| replay.tell(line));
    !replay.flaws.is_empty()
}

#[tokio::test]
async fn no_bit_of_an_entry_can_change_unnoticed() {
    let place = Place::new();
    place.history().await;
    let lines = place.lines().await;
    assert!(!flawed(&lines));
    let mut changes = 0;
    for (at, line) in lines.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| &lines[at]);
        let unnoticed = |changed: Line| {
            let next = lines.get(at + 1).cloned();
            !flawed_after(before, &[vec![changed], next.into_iter().collect()].concat())
        };
        assert!(unnoticed(line.clone()));
        let texts: [fn(&mut Line) -> &mut String; 3] = [|l| &mut l.kind, |l| &mut l.body, |l| &mut l.hash];
        for text in texts {
            let whole = text(&mut line.clone()).clone().into_bytes();
            for place in 0..whole.len() {
                for bit in 0..8 {
                    let mut bytes = whole.clone();
                    bytes[place] ^= 1 << bit;
                    let mut changed = line.clone();
                    *text(&mut changed) = String::from_utf8_lossy(&bytes).into_owned();
                    assert!(!unnoticed(changed), "entry {at}, byte {place}, bit {bit}");
                    changes += 1;
                }
            }
        }
        for bit in 0..64 {
            let later = Line { at: Timestamp(line.at.0 ^ (1 << bit)), ..line.clone() };
            assert!(!unnoticed(later), "time of {at}, bit {bit}");
            let moved = Line { seq: line.seq ^ (1 << bit), ..line.clone() };
            assert!(!unnoticed(moved), "number of {at}, bit {bit}");
            changes += 2;
        }
    }
    assert!(changes > 20_000, "{changes}");
}

#[tokio::test]
async fn no_entry_can_be_taken_out_put_in_or_swapped_unnoticed() {
    let place = Place::new();
    place.history().await;
    let lines = place.lines().await;
    for at in 0..lines.len() {
        if at + 1 < lines.len() {
            let mut fewer = lines.clone();
            fewer.remove(at);
            let mut replay = Replay::default();
            fewer.iter().for_each(|line| replay.tell(line));
            let flaw = &replay.flaws[0];
            let number = i64::try_from(at + 1).expect("few");
            assert!(flaw.seq == number + 1 && flaw.why.contains(&format!("missing: {number} ")), "{flaw:?}");
            // Whoever closes the gap must still bind the next one anew.
            for (line, seq) in fewer.iter_mut().zip(1..) {
                line.seq = seq;
            }
            assert!(flawed(&fewer), "without {at}, numbered anew");
        }
        for other in 0..at {
            let mut swapped = lines.clone();
            swapped.swap(at, other);
            assert!(flawed(&swapped), "{at} and {other}");
            let (a, b) = (swapped[at].seq, swapped[other].seq);
            (swapped[at].seq, swapped[other].seq) = (b, a);
            assert!(flawed(&swapped), "{at} and {other}, numbered anew");
        }
        let mut more = lines.clone();
        let mut forged = lines[at].clone();
        forged.hash =
            evidence::hash(&lines[at].hash, forged.seq + 1, forged.at.0, &forged.kind, &forged.body);
        more.insert(at + 1, forged);
        for (line, seq) in more.iter_mut().zip(1..) {
            line.seq = seq;
        }
        // At the end it is a good entry; there the rows and the head file are what tells.
        assert_eq!(flawed(&more), at + 1 < lines.len(), "after {at}");
    }
}

#[tokio::test]
async fn a_record_without_its_end_is_found_out_by_the_head_file_and_by_the_rows() {
    let place = Place::new();
    let whole = place.history().await;
    let head = std::fs::read(place.dir().join("state.db.head")).expect("r");
    let lines = i64::try_from(place.lines().await.len()).expect("few");
    for cut in 1..lines {
        std::fs::write(place.file(), &whole).expect("w");
        std::fs::write(place.dir().join("state.db.head"), &head).expect("w");
        place.forge(format!("DELETE FROM evidence WHERE seq > {}", lines - cut)).await;
        let verified = place.verified().await;
        assert_eq!(verified.lost.as_ref().map(|head| head.seq), Some(lines), "without the last {cut}");
        let past = place.past().await;
        match past {
            // Some entries leave no row behind that could contradict.
            Past::Regressed { known, found } => assert_eq!((known, found), (lines, lines - cut)),
            Past::Broken { .. } => assert!(!verified.flaws.is_empty()),
            other => panic!("without the last {cut}: {other:?}"),
        }
    }
    // A chain that was bound anew from the beginning verifies by itself.
    std::fs::write(place.file(), &whole).expect("w");
    std::fs::write(place.dir().join("state.db.head"), &head).expect("w");
    let mut anew = place.lines().await;
    anew[2].body = r#"{"owner":"eve"}"#.to_owned();
    let mut before = Head::none().hash;
    let mut sql = "UPDATE creations SET owner = 'eve'; DELETE FROM evidence; ".to_owned();
    for line in &anew {
        before = evidence::hash(&before, line.seq, line.at.0, &line.kind, &line.body);
        let quoted = line.body.replace('\'', "''");
        let (seq, at, kind) = (line.seq, line.at.0, &line.kind);
        sql += &format!("INSERT INTO evidence VALUES ({seq}, {at}, '{kind}', '{quoted}', '{before}'); ");
    }
    place.forge(sql).await;
    let verified = place.verified().await;
    assert_eq!(verified.flaws, []);
    assert!(verified.lost.is_some());
    let past = place.past().await;
    assert!(matches!(past, Past::Regressed { known, found } if known == found), "{past:?}");
}

/// What somebody may do to the rows, and the entry where it must show.
const MEDDLED: &[(&str, i64)] = &[
    ("UPDATE canaries SET state = 'gone'", 4),
    ("UPDATE canaries SET state = 'elsewhere'", 4),
    ("UPDATE canaries SET note = 'x'", 4),
    ("UPDATE canaries SET epoch = 2", 4),
    ("UPDATE canaries SET next_at = NULL", 4),
    ("UPDATE canaries SET name = 'somebody-elses'", 4),
    ("UPDATE canaries SET id = 2; UPDATE attempts SET canary = 2; UPDATE sightings SET canary = 2", 0),
    ("DELETE FROM canaries", 4),
    ("UPDATE attempts SET outcome = 'refused'", 4),
    ("UPDATE attempts SET at = at - 1", 4),
    ("DELETE FROM attempts", 4),
    ("DELETE FROM sightings WHERE seq = 1", 4),
    ("INSERT INTO sightings VALUES (1, 2, 9)", 4),
    ("DELETE FROM breakers", 7),
    ("UPDATE breakers SET why = 'nothing'", 7),
    ("INSERT INTO breakers VALUES ('third', 1, 'x')", 0),
    ("DELETE FROM pauses", 8),
    ("UPDATE pauses SET until = 1", 8),
    ("DELETE FROM creations", 3),
    ("UPDATE creations SET at = at + 1", 3),
    ("INSERT INTO creations (owner, at) SELECT owner, at FROM creations", 3),
    ("DELETE FROM findings WHERE resolved_at IS NULL", 10),
    ("UPDATE findings SET resolved_at = 1 WHERE resolved_at IS NULL", 10),
    ("UPDATE findings SET since = since + 1", 10),
    ("UPDATE findings SET target = 'other' WHERE resolved_at IS NULL", 10),
    ("UPDATE findings SET resolved_at = NULL", 0),
    ("UPDATE fence SET epoch = 7", 11),
    ("UPDATE fence SET epoch = 0", 11),
    ("DELETE FROM fence", 11),
];

#[tokio::test]
async fn rows_that_are_not_what_the_record_says_are_told_with_their_entry() {
    let place = Place::new();
    let whole = place.history().await;
    let head = std::fs::read(place.dir().join("state.db.head")).expect("r");
    for (sql, seq) in MEDDLED {
        std::fs::write(place.file(), &whole).expect("w");
        std::fs::write(place.dir().join("state.db.head"), &head).expect("w");
        is_told_until_it_is_cleared(&place, sql, *seq).await;
    }
}

#[tokio::test]
async fn rows_on_a_server_that_are_not_what_the_record_says_are_told_as_well() {
    for (sql, seq) in MEDDLED {
        let Some(place) = Place::on(place::Kind::Server).await else { return };
        place.happens().await;
        is_told_until_it_is_cleared(&place, sql, *seq).await;
        place.end().await;
    }
}

async fn is_told_until_it_is_cleared(place: &Place, sql: &str, seq: i64) {
    place.forge(sql.to_owned()).await;
    let flaws = place.verified().await.flaws;
    assert!(flaws.iter().any(|flaw| flaw.seq == seq), "{sql}: {flaws:?}");
    // It starts all the same, says so each time, and as the same thing, so that a person can clear it.
    for _ in 0..2 {
        place.store().await.close().await;
        let noted = place.verified().await.noted;
        let last = noted.last().expect("noted");
        assert!(matches!(last.past, Past::Broken { .. }), "{sql}: {last:?}");
        assert!(last.past.told().is_some_and(|told| told.contains("entry")));
        assert_eq!(last.past, noted[0].past, "{sql}");
    }
    let store = place.store().await;
    store.write(&[Write::Unlatch { organization: "x".into(), at: at(20) }]).await.expect("writes");
    store.close().await;
    let before = place.verified().await.noted;
    place.store().await.close().await;
    assert_eq!(place.verified().await.noted, before, "{sql}: cleared");
}

#[tokio::test]
async fn what_was_found_is_told_at_every_start_until_a_person_clears_it() {
    let place = Place::new();
    place.history().await;
    place.forge("UPDATE evidence SET at = at + 1 WHERE seq = 3; DELETE FROM pauses".to_owned()).await;
    let first = place.past().await;
    assert!(matches!(&first, Past::Broken { seq: 3, .. }), "{first:?}");
    assert_eq!(place.past().await, first, "told again");
    let store = place.store().await;
    store.write(&[Write::Unlatch { organization: "acme".into(), at: at(20) }]).await.expect("writes");
    store.close().await;
    assert_eq!(place.past().await, Past::Continued, "a person has looked");
    assert_eq!(place.verified().await.flaws.len(), 4, "but the chain stays broken");
    place.forge("UPDATE evidence SET body = '{}' WHERE seq = 8".to_owned()).await;
    let second = place.past().await;
    assert!(matches!(&second, Past::Broken { seq: 8, .. }), "{second:?}");
    assert_eq!(place.past().await, second);

    let place = Place::new();
    place.history().await;
    place.remove();
    assert_eq!(place.past().await, Past::Emptied);
    assert_eq!(place.past().await, Past::Emptied, "though by now there is a journal");
    let store = place.store().await;
    let reset = finding(FindingKind::StateReset, None);
    let over = Finding { resolved_at: Some(at(9)), ..reset.clone() };
    store.write(&[Write::Finding(reset)]).await.expect("writes");
    assert_eq!(place.verified().await.past(), Past::Emptied);
    store.write(&[Write::Finding(over)]).await.expect("writes");
    assert_eq!(place.verified().await.past(), Past::Continued, "what was lost was looked for");
    store.close().await;
    let old = std::fs::read(place.file()).expect("r");
    place.life(5).await;
    std::fs::write(place.file(), old).expect("w");
    let past = place.past().await;
    assert!(matches!(past, Past::Regressed { .. }), "{past:?}");
    assert_eq!(place.past().await, past);
    let noted = place.verified().await.noted;
    let told: Vec<(&str, bool)> = noted.iter().map(|noted| (noted.past.as_str(), noted.cleared)).collect();
    let (emptied, regressed) = (("emptied", true), ("regressed", false));
    assert_eq!(told, [emptied, emptied, emptied, regressed, regressed]);
    let store = place.store().await;
    let again =
        Finding { since: at(30), resolved_at: Some(at(31)), ..finding(FindingKind::StateReset, None) };
    store.write(&[Write::Finding(again)]).await.expect("writes");
    assert_eq!(store.verify().await.expect("reads").past(), past, "an old copy is for a person");
    store.write(&[Write::Unlatch { organization: "acme".into(), at: at(20) }]).await.expect("writes");
    store.close().await;
    assert_eq!(place.past().await, Past::Continued);
    assert!(place.verified().await.noted.iter().all(|noted| noted.cleared));
}

#[tokio::test]
async fn a_journal_of_version_2_gets_a_record_of_all_it_holds() {
    let place = Place::new();
    place.meddle(include_str!("../migrations/sqlite/0001_journal.sql")).await;
    place.meddle(include_str!("../migrations/sqlite/0002_answers.sql")).await;
    place
        .meddle(
            "INSERT INTO canaries VALUES (1, 'acme', 'c-1', 'model', NULL, 'model', 'ci', 'bob', 1, NULL,
                 'gone', '65', 3, NULL, 'seen gone'),
                 (4, 'acme', 'c-4', 'space', 'g', 'space@g', 'ci', NULL, 2, 3, 'del_unknown', NULL, 0, 9, 'n');
             INSERT INTO attempts VALUES (4, 0, 5, 'probed', 'lost'), (4, 1, 6, 'janitor', 'acknowledged');
             INSERT INTO sightings VALUES (4, 0, 7);
             INSERT INTO transitions VALUES (4, 0, 2, NULL, 'planned', 'intent');
             INSERT INTO creations VALUES ('bob', 1), ('bob', 1), ('eve', 500000000);
             INSERT INTO breakers VALUES ('acme', 8, 'public');
             INSERT INTO pauses VALUES ('bob', 1800000060000, 'conflict');
             INSERT INTO findings VALUES ('blind', '', NULL, NULL, NULL, 'warning', 4, 5, NULL, 'd'),
                 ('rotated', 'acme', 'ci', NULL, NULL, 'warning', 4, 5, 6, 'd');
             INSERT INTO declared VALUES ('ci', 'f', 3, '{}')",
        )
        .await;
    std::fs::write(place.dir().join("state.key"), [7; 32]).expect("w");
    let fault = Store::open(&place.file(), Mode::Read, NOW).await.expect_err("a reader changes nothing");
    assert!(matches!(fault, StoreFault::Older { found: 2, known: 4, .. }), "{fault}");
    let store = place.store().await;
    let kept = store.load(NOW).await.expect("loads");
    assert_eq!((kept.epoch, kept.past, kept.last_canary_id), (1, Past::Continued, 4));
    assert_eq!(kept.canaries.iter().map(|c| (c.id, c.epoch)).collect::<Vec<_>>(), [(4, 0)]);
    assert_eq!((kept.findings.len(), kept.breakers.len(), kept.declared.len()), (1, 1, 1));
    assert_eq!(kept.pauses[0].at, Timestamp(0));
    let all = store.all_canaries(9).await.expect("loads");
    assert_eq!((all[0].deletes.len(), all[0].absences.len(), all[1].state), (2, 1, CanaryState::Gone));
    assert_eq!(store.transitions(4).await.expect("loads").len(), 1);
    let verified = store.verify().await.expect("reads");
    assert_eq!(verified.flaws, []);
    let kinds: Vec<(&str, u64)> =
        verified.kinds.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    let expected =
        [("opened", 1), ("canary", 2), ("creation", 3), ("breaker", 1), ("pause", 1), ("finding_began", 1)];
    assert_eq!(kinds, expected);
    store.close().await;
    assert_eq!(place.past().await, Past::Continued);
    place.forge("UPDATE canaries SET state = 'unknown' WHERE id = 1".to_owned()).await;
    let past = place.past().await;
    assert!(matches!(past, Past::Broken { .. }), "what was carried over is guarded: {past:?}");
}

#[tokio::test]
async fn a_copy_from_before_there_was_a_record_is_an_old_copy() {
    let place = Place::new();
    place.life(1).await;
    place.remove();
    place.meddle(include_str!("../migrations/sqlite/0001_journal.sql")).await;
    assert_eq!(place.past().await, Past::Regressed { known: 3, found: 0 });
}

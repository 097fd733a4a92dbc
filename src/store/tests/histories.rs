//! Goal: whatever happens, telling the record yields the rows. Method: random histories with restarts and clocks that
//! jump, told again by an oracle that knows only JSON.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// One thing that happens in a random history.
#[derive(Debug, Clone)]
enum Happening {
    Step { id: i64, state: usize, looks: u32, attempt: bool, answered: bool, absences: usize, note: String },
    Creation { owner: u8, hours: i64 },
    Latch { organization: u8, why: String },
    Clear { organization: u8 },
    Pause { owner: u8, until: i64 },
    Finding { which: u8, since: i64, over: bool },
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (1..4_i64, 0..8_usize, 0..9_u32, any::<bool>(), any::<bool>(), 0..3_usize, ".{0,12}").prop_map(
            |(id, state, looks, attempt, answered, absences, note)| Happening::Step {
                id, state, looks, attempt, answered, absences, note
            }
        ),
        3 => (0..3_u8, -60..60_i64).prop_map(|(owner, hours)| Happening::Creation { owner, hours }),
        1 => (0..3_u8, ".{0,12}").prop_map(|(organization, why)| Happening::Latch { organization, why }),
        1 => (0..3_u8).prop_map(|organization| Happening::Clear { organization }),
        1 => (0..3_u8, -9..9_i64).prop_map(|(owner, until)| Happening::Pause { owner, until }),
        3 => (0..4_u8, 0..3_i64, any::<bool>())
            .prop_map(|(which, since, over)| Happening::Finding { which, since, over }),
        1 => Just(Happening::Restart),
    ]
}

/// The entry that writes it; canaries go on from what they are.
fn written(happening: &Happening, canaries: &mut BTreeMap<i64, Canary>) -> Option<Write> {
    Some(match happening.clone() {
        Happening::Step { id, state, looks, attempt, answered, absences, note } => {
            let one = canaries.entry(id).or_insert_with(|| canary(id));
            one.state = CanaryState::ALL[state];
            (one.looks, one.note) = (looks, note);
            one.next_at = attempt.then(|| at(looks.into()));
            if attempt {
                let outcome = DeleteOutcome::Pending;
                one.deletes.push(DeleteAttempt { at: at(state as i64), by: Deleter::Janitor, outcome });
            }
            if let Some(last) = one.deletes.last_mut().filter(|_| answered) {
                last.outcome = DeleteOutcome::Acknowledged;
            }
            one.absences = (0..absences).map(|n| at(n as i64)).collect();
            step(one, "random")
        }
        Happening::Creation { owner, hours } => creation(&format!("user-{owner}"), at(hours * 3600)),
        Happening::Latch { organization, why } => {
            Write::Breaker(Breaker { organization: format!("org-{organization}"), at: at(1), why })
        }
        Happening::Clear { organization } => {
            Write::Unlatch { organization: format!("org-{organization}"), at: at(2) }
        }
        Happening::Pause { owner, until } => Write::Pause(Pause {
            owner: format!("user-{owner}"),
            at: at(3),
            until: at(until),
            why: UnknownReason::Conflict,
        }),
        Happening::Finding { which, since, over } => Write::Finding(Finding {
            since: at(since),
            resolved_at: over.then(|| at(9)),
            ..finding(FindingKind::ALL[usize::from(which)], (which % 2 == 0).then_some("ci"))
        }),
        Happening::Restart => return None,
    })
}

/// What the last word of the record on each canary is, read as any reader of JSON would.
fn last_words(lines: &[Line]) -> BTreeMap<i64, Value> {
    let steps = lines.iter().filter(|line| line.kind == "canary").map(|line| {
        let body: Value = serde_json::from_str(&line.body).expect("JSON");
        assert_eq!(body.to_string(), line.body, "compact, with sorted keys");
        (body["canary"]["id"].as_i64().expect("a number"), body["canary"].clone())
    });
    steps.collect()
}

async fn lives(place: &Place, batches: Vec<Vec<Happening>>) {
    let mut store = place.store().await;
    let mut canaries = BTreeMap::new();
    for batch in batches {
        let writes: Vec<Write> = batch.iter().filter_map(|h| written(h, &mut canaries)).collect();
        store.write(&writes).await.expect("writes");
        if batch.iter().any(|h| matches!(h, Happening::Restart)) {
            store.close().await;
            store = place.store().await;
            assert_eq!(store.load(NOW).await.expect("loads").past, Past::Continued);
        }
    }
    let verified = store.verify().await.expect("reads");
    assert_eq!((verified.flaws, verified.lost), (vec![], None));
    assert_eq!(store.head(), verified.head);
    let lines = store.record(0, 100_000).await.expect("reads");
    let words = last_words(&lines);
    let rows = store.all_canaries(100).await.expect("loads");
    assert_eq!(rows.len(), canaries.len());
    assert_eq!(words.len(), canaries.len());
    for row in rows {
        let mut expected = canaries[&row.id].clone();
        if !place.is_a_file() {
            expected.note = expected.note.replace('\0', "\u{fffd}"); // PostgreSQL has no such character
        }
        assert_eq!(row, expected);
        let told = &words[&row.id];
        let millis = |value: &Value| value.as_i64().map(Timestamp);
        assert_eq!(told["state"], row.state.as_str());
        assert_eq!(told["note"], row.note.as_str());
        assert_eq!(millis(&told["next_at"]), row.next_at);
        let absences: Vec<_> =
            told["absences"].as_array().expect("a list").iter().filter_map(millis).collect();
        assert_eq!(absences, row.absences);
        let outcomes: Vec<_> =
            told["deletes"].as_array().expect("a list").iter().map(|d| d["outcome"].clone()).collect();
        assert_eq!(outcomes, row.deletes.iter().map(|d| d.outcome.as_str()).collect::<Vec<_>>());
    }
    store.close().await;
}

fn batches() -> impl Strategy<Value = Vec<Vec<Happening>>> {
    prop::collection::vec(prop::collection::vec(happening(), 0..6), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn whatever_happens_the_record_yields_the_rows(batches in batches()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(lives(&Place::new(), batches));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn whatever_happens_the_record_on_a_server_yields_the_rows(batches in batches()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            if let Some(place) = Place::on(place::Kind::Server).await {
                lives(&place, batches).await;
                place.end().await;
            }
        });
    }
}

//! The whole record against itself and against the rows: told page by page, so that its length costs time and no
//! memory.

use std::collections::BTreeMap;

use super::bodies;
use super::evidence;
use super::fault::Trouble;
use super::head::Head;
use super::replay::{FindingWords, Replay};
use super::rows;
use super::sql::{self, Connection, Row};
use super::{Past, Verified};
use crate::moment::Timestamp;

/// Rows that are read at once.
const PAGE: i64 = 500;

/// Tells the record and compares what it comes to with the rows.
pub(super) async fn whole(connection: &mut Connection) -> Result<Verified, Trouble> {
    let mut replay = Replay::default();
    let mut after = i64::MIN;
    loop {
        let page = evidence::page(connection, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        page.iter().for_each(|line| replay.tell(line));
    }
    canaries(connection, &mut replay).await?;
    bounds(connection, &mut replay).await?;
    findings(connection, &mut replay).await?;
    let counted = rows::epoch(connection).await?;
    let head = replay.head.take().unwrap_or_else(Head::none);
    if counted != replay.epoch {
        let why =
            format!("opening {} is the last one in the record, but {counted} were counted", replay.epoch);
        replay.flaw(head.seq, why);
    }
    Ok(Verified {
        entries: replay.entries,
        kinds: replay.kinds,
        first_at: replay.first_at,
        last_at: replay.last_at,
        head,
        epoch: replay.epoch,
        noted: replay.noted,
        flaws: replay.flaws,
        more_flaws: replay.more_flaws,
        lost: None,
    })
}

async fn canaries(connection: &mut Connection, replay: &mut Replay) -> Result<(), Trouble> {
    let mut after = i64::MIN;
    loop {
        let page = rows::canary_page(connection, after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        for (id, row) in &page {
            match (replay.canaries.remove(id), row) {
                (None, _) => replay.flaw(0, format!("no entry tells of canary {id}, which has a row")),
                (Some((seq, _)), None) => {
                    replay.flaw(
                        seq,
                        format!("the row of canary {id} says what this program does not understand"),
                    );
                }
                (Some((seq, print)), Some(row)) if print != bodies::print_of(row) => {
                    replay.flaw(seq, format!("the row of canary {id} is not what the record says last"));
                }
                _ => {}
            }
        }
    }
    let mut without: Vec<(i64, i64)> = replay.canaries.iter().map(|(id, (seq, _))| (*seq, *id)).collect();
    without.sort_unstable();
    for (seq, id) in without {
        replay.flaw(seq, format!("canary {id}, of which it tells, has no row any more"));
    }
    Ok(())
}

/// What bounds canaries: breakers, pauses, and creation calls that count.
async fn bounds(connection: &mut Connection, replay: &mut Replay) -> Result<(), Trouble> {
    fn number(row: &Row, column: &'static str, table: &'static str) -> Result<i64, Trouble> {
        row.get(column).ok_or(Trouble::Row(table))
    }
    fn text(row: &Row, column: &'static str, table: &'static str) -> Result<String, Trouble> {
        row.get(column).ok_or(Trouble::Row(table))
    }
    let mut found = BTreeMap::new();
    for row in sql::query("SELECT organization, at, why FROM breakers").rows(connection).await? {
        let get = |column| text(&row, column, "breakers");
        found.insert(get("organization")?, (number(&row, "at", "breakers")?, get("why")?));
    }
    let told: BTreeMap<String, (i64, (i64, String))> = std::mem::take(&mut replay.breakers)
        .into_iter()
        .map(|(name, (seq, at, why))| (name, (seq, (at, why))))
        .collect();
    compare(replay, "breaker", &told, &found);

    let mut found = BTreeMap::new();
    for row in sql::query("SELECT owner, at, until, why FROM pauses").rows(connection).await? {
        let (number, text) = (|name| number(&row, name, "pauses"), |name| text(&row, name, "pauses"));
        found.insert(text("owner")?, (number("at")?, number("until")?, text("why")?));
    }
    let told: BTreeMap<String, (i64, (i64, i64, String))> = std::mem::take(&mut replay.pauses)
        .into_iter()
        .map(|(name, (seq, at, until, why))| (name, (seq, (at, until, why))))
        .collect();
    compare(replay, "pause", &told, &found);

    let mut found: BTreeMap<(String, i64), u64> = BTreeMap::new();
    for row in sql::query("SELECT at, owner FROM creations").rows(connection).await? {
        let owner = text(&row, "owner", "creations")?;
        *found.entry((owner, number(&row, "at", "creations")?)).or_default() += 1;
    }
    let told = std::mem::take(&mut replay.creations);
    compare(replay, "creation call", &told, &found);
    Ok(())
}

/// Findings that last. Those that ended are history, which the record keeps by itself.
async fn findings(connection: &mut Connection, replay: &mut Replay) -> Result<(), Trouble> {
    let mut found: BTreeMap<FindingWords, i64> = BTreeMap::new();
    let rows = sql::query(
        "SELECT kind, organization, coalesce(token, '') AS token, coalesce(permission, '') AS permission,
             coalesce(target, '') AS target, since
         FROM findings WHERE resolved_at IS NULL",
    )
    .rows(connection)
    .await?;
    for row in rows {
        let get = |column| row.get::<String>(column).ok_or(Trouble::Row("findings"));
        let words = [get("kind")?, get("organization")?, get("token")?, get("permission")?, get("target")?];
        found.insert(words, row.get("since").ok_or(Trouble::Row("findings"))?);
    }
    let told = std::mem::take(&mut replay.findings);
    compare(replay, "finding", &told, &found);
    Ok(())
}

/// The rows of one kind against the entries that made them.
fn compare<K: Ord + Named, V: PartialEq>(
    replay: &mut Replay,
    what: &str,
    told: &BTreeMap<K, (i64, V)>,
    found: &BTreeMap<K, V>,
) {
    for (key, (seq, value)) in told {
        match found.get(key) {
            None => {
                replay.flaw(*seq, format!("the {what} of '{}', of which it tells, has no row", key.named()))
            }
            Some(row) if row != value => {
                replay.flaw(*seq, format!("the row of the {what} of '{}' is not what it says", key.named()));
            }
            Some(_) => {}
        }
    }
    for key in found.keys().filter(|key| !told.contains_key(key)) {
        replay.flaw(0, format!("no entry tells of the {what} of '{}', which has a row", key.named()));
    }
}

/// How a row is called in a sentence.
trait Named {
    fn named(&self) -> String;
}

impl Named for String {
    fn named(&self) -> String {
        self.replace(char::is_control, "\u{fffd}")
    }
}

impl Named for (String, i64) {
    fn named(&self) -> String {
        format!("{} at {}", self.0.named(), Timestamp(self.1))
    }
}

impl Named for FindingWords {
    fn named(&self) -> String {
        let words: Vec<&str> = self.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
        words.join(" ").replace(char::is_control, "\u{fffd}")
    }
}

impl Verified {
    /// What this journal is to the ones before it, by the record alone: what was found and not yet cleared by a
    /// person stays.
    pub(super) fn past(&self) -> Past {
        let cleared =
            |flaw: &&super::Flaw| self.noted.iter().any(|noted| noted.cleared && noted.flaws.contains(flaw));
        if let Some(flaw) = self.flaws.iter().find(|flaw| !cleared(flaw)) {
            return Past::Broken { seq: flaw.seq, why: flaw.why.clone() };
        }
        let standing = self.noted.iter().rev().find(|noted| !noted.cleared);
        standing.map_or(Past::Continued, |noted| noted.past.clone())
    }
}

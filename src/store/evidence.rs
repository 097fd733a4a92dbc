//! The record of what happened, entry by entry: each is bound by a hash to everything before it, so that nothing
//! can be changed, taken out or put in between without breaking the chain.
//!
//! `hash = SHA-256(previous hash ‖ seq ‖ at ‖ kind ‖ body)`: every part is text, preceded by its length in bytes as
//! eight bytes, big end first. Hashes are 64 hexadecimal digits (zeros before the first entry), numbers decimal,
//! the time in milliseconds. Bodies are compact JSON with sorted keys and no fractions, so that whoever reads
//! them as JSON can write them again to the letter.

use data_encoding::HEXLOWER;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::fault::Trouble;
use super::head::Head;
use super::sql::{self, Connection, Row};
use crate::access::words;
use crate::moment::Timestamp;

words! {
    /// What an entry records.
    Kind {
        /// A process opened the store for writing.
        Opened = "opened",
        /// A step in the life of a canary, with all that is known of it afterwards.
        Canary = "canary",
        /// A creation call, for the quota of a Hub user.
        Creation = "creation",
        /// The canaries of an organization are off.
        Breaker = "breaker",
        /// A person cleared the breaker of an organization.
        Unlatched = "unlatched",
        /// The creations of a Hub user rest.
        Pause = "pause",
        /// A finding begins to last.
        FindingBegan = "finding_began",
        /// A finding ended.
        FindingEnded = "finding_ended",
    }
}

/// One entry as it stands in the file. Its words need not be ours: somebody may have changed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub seq: i64,
    pub at: Timestamp,
    pub kind: String,
    pub body: String,
    pub hash: String,
}

impl Line {
    /// Whether it is bound to the entry before it, and as it was written.
    pub fn follows(&self, before: &Head) -> bool {
        self.seq == before.seq.saturating_add(1) && self.fits(&before.hash)
    }

    /// Whether its hash is the one that it must have after this one.
    pub(super) fn fits(&self, before: &str) -> bool {
        self.hash == hash(before, self.seq, self.at.0, &self.kind, &self.body)
    }

    /// What its body says; `None` when that is beyond us.
    pub(super) fn read<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_str(&self.body).ok()
    }
}

/// Whatever stands there: where it was no text of ours, the hash will not fit.
fn text(row: &Row, column: &'static str) -> Result<String, Trouble> {
    row.any_text(column).ok_or(Trouble::Row("evidence"))
}

/// The entries after this one, oldest first, so many at most.
pub(super) async fn page(connection: &mut Connection, after: i64, limit: i64) -> Result<Vec<Line>, Trouble> {
    let rows =
        sql::query("SELECT seq, at, kind, body, hash FROM evidence WHERE seq > $1 ORDER BY seq LIMIT $2")
            .bind(after)
            .bind(limit)
            .rows(connection)
            .await?;
    rows.iter()
        .map(|row| {
            let number = |column: &'static str| row.get::<i64>(column).ok_or(Trouble::Row("evidence"));
            Ok(Line {
                seq: number("seq")?,
                at: Timestamp(number("at")?),
                kind: text(row, "kind")?,
                body: text(row, "body")?,
                hash: text(row, "hash")?,
            })
        })
        .collect()
}

/// The hash of an entry that follows `previous`.
pub(super) fn hash(previous: &str, seq: i64, at: i64, kind: &str, body: &str) -> String {
    let mut hash = Sha256::new();
    for part in [previous, &seq.to_string(), &at.to_string(), kind, body] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    HEXLOWER.encode(&hash.finalize())
}

/// The last entry of the file.
pub(super) async fn tail(connection: &mut Connection) -> Result<Head, Trouble> {
    let row =
        sql::query("SELECT seq, hash FROM evidence ORDER BY seq DESC LIMIT 1").first(connection).await?;
    row.map_or(Ok(Head::none()), |row| {
        let seq = row.get("seq").ok_or(Trouble::Row("evidence"))?;
        Ok(Head { seq, hash: text(&row, "hash")? })
    })
}

/// Whether the entry is in the record, at its place.
pub(super) async fn holds(connection: &mut Connection, head: &Head) -> Result<bool, Trouble> {
    let row = sql::query("SELECT hash FROM evidence WHERE seq = $1").bind(head.seq).first(connection).await?;
    Ok(row.map(|row| text(&row, "hash")).transpose()?.as_ref() == Some(&head.hash))
}

/// The number of the entry with this hash.
pub(super) async fn seq_of(connection: &mut Connection, hash: &str) -> Result<Option<i64>, Trouble> {
    let found = sql::query("SELECT seq FROM evidence WHERE hash = $1 ORDER BY seq LIMIT 1").bind(hash);
    found.number(connection, "evidence").await
}

/// Adds one entry after `head`, and moves `head` on to it.
pub(super) async fn append(
    connection: &mut Connection,
    head: &mut Head,
    at: Timestamp,
    kind: Kind,
    body: &str,
) -> Result<(), Trouble> {
    let seq = head.seq.checked_add(1).ok_or(Trouble::Row("evidence"))?;
    let hash = hash(&head.hash, seq, at.0, kind.as_str(), body);
    sql::query("INSERT INTO evidence (seq, at, kind, body, hash) VALUES ($1, $2, $3, $4, $5)")
        .bind(seq)
        .bind(at.0)
        .bind(kind.as_str())
        .bind(body)
        .bind(&hash)
        .execute(connection)
        .await?;
    failpoint!("row.evidence", kind.as_str());
    *head = Head { seq, hash };
    Ok(())
}

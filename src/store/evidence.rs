//! The record of what happened, entry by entry: each is bound by a hash to everything before it, so that nothing
//! can be changed, taken out or put in between without breaking the chain.
//!
//! `hash = SHA-256(previous hash ‖ seq ‖ at ‖ kind ‖ body)`: every part is text, preceded by its length in bytes as
//! eight bytes, big end first. Hashes are 64 hexadecimal digits (zeros before the first entry), numbers decimal,
//! the time in milliseconds. Bodies are compact JSON with sorted keys and no fractions, so that whoever reads
//! them as JSON can write them again to the letter.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::fault::Trouble;
use super::head::Head;
use crate::access::words;
use crate::moment::Timestamp;

words! {
    /// What an entry records.
    Kind {
        /// A process opened the store for writing.
        Opened = "opened",
    }
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
pub(super) async fn tail(connection: &mut SqliteConnection) -> Result<Head, Trouble> {
    let row = sqlx::query("SELECT seq, hash FROM evidence ORDER BY seq DESC LIMIT 1")
        .fetch_optional(connection)
        .await?;
    row.map_or(Ok(Head::none()), |row| {
        let beyond = |_| Trouble::Row("evidence");
        Ok(Head { seq: row.try_get("seq").map_err(beyond)?, hash: row.try_get("hash").map_err(beyond)? })
    })
}

/// The hash of the entry of this number.
pub(super) async fn hash_at(connection: &mut SqliteConnection, seq: i64) -> Result<Option<String>, Trouble> {
    Ok(sqlx::query_scalar("SELECT hash FROM evidence WHERE seq = $1")
        .bind(seq)
        .fetch_optional(connection)
        .await?)
}

/// Adds one entry after `head`, and moves `head` on to it.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    head: &mut Head,
    at: Timestamp,
    kind: Kind,
    body: &str,
) -> Result<(), Trouble> {
    let seq = head.seq.checked_add(1).ok_or(Trouble::Row("evidence"))?;
    let hash = hash(&head.hash, seq, at.0, kind.as_str(), body);
    sqlx::query("INSERT INTO evidence (seq, at, kind, body, hash) VALUES ($1, $2, $3, $4, $5)")
        .bind(seq)
        .bind(at.0)
        .bind(kind.as_str())
        .bind(body)
        .bind(&hash)
        .execute(connection)
        .await?;
    *head = Head { seq, hash };
    Ok(())
}

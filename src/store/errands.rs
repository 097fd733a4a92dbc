//! Errands and who carries them, as rows: what a leader offers, what a helper claims, what comes back.
//!
//! Nothing rests on these rows: they are over within seconds, so that their transactions do not wait for the disk. All times
//! are of the database's clock. An errand is claimed only while the lease under which it was offered runs, and each by one
//! helper. Serves `keeper`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::fault::Trouble;
use super::lease::{MARGIN, WRITER};
use super::sql::{self, Connection};
use super::{Claimed, Helper, Helpers, Offer};

/// A helper that was not seen for so long is taken to be gone.
const GONE: Duration = Duration::from_secs(5);

/// An errand that nobody claimed for so long is taken back: helpers look far more often.
const UNCLAIMED: Duration = Duration::from_secs(3);

/// After so long nothing is known of a helper any more.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// As the database is told.
fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Offers these under this epoch to helpers of this likeness.
pub(super) async fn offer(
    connection: &mut Connection,
    epoch: i64,
    likeness: &str,
    offers: &[Offer],
) -> Result<(), Trouble> {
    let rows: Value = offers
        .iter()
        .map(|one| json!({ "number": one.number, "fingerprint": one.fingerprint, "request": one.request }))
        .collect();
    let insert = sql::query(
        "INSERT INTO errands (epoch, number, likeness, fingerprint, request, offered_at)
         SELECT $1, (e->>'number')::bigint, $2, e->>'fingerprint', e->>'request', clock_timestamp()
         FROM json_array_elements($3::json) AS e",
    );
    insert.bind(epoch).bind(likeness).bind(&rows.to_string()).execute(connection).await.map(drop)
}

/// Takes out what came back under this epoch: each number, and what it came to.
pub(super) async fn collect(connection: &mut Connection, epoch: i64) -> Result<Vec<(i64, String)>, Trouble> {
    let collected =
        sql::query("DELETE FROM errands WHERE epoch = $1 AND answer IS NOT NULL RETURNING number, answer");
    let rows = collected.bind(epoch).rows(connection).await?;
    let read = |row: sql::Row| Some((row.get("number")?, row.get("answer")?));
    rows.into_iter().map(|row| read(row).ok_or(Trouble::Row("errands"))).collect()
}

/// Takes back what nobody claimed, what was not answered within `patience`, and what a helper holds that is gone; and what
/// leaders before left. Whoever answers one of them later finds it no more.
pub(super) async fn take_back(
    connection: &mut Connection,
    epoch: i64,
    patience: Duration,
) -> Result<Vec<i64>, Trouble> {
    sql::query("DELETE FROM errands WHERE epoch <> $1").bind(epoch).execute(connection).await?;
    let back = sql::query(
        "DELETE FROM errands WHERE epoch = $1 AND answer IS NULL AND CASE
             WHEN helper IS NULL THEN offered_at < clock_timestamp() - $2 * interval '1 millisecond'
             ELSE offered_at < clock_timestamp() - $3 * interval '1 millisecond'
                  OR NOT EXISTS (
                      SELECT 1 FROM helpers WHERE helpers.name = errands.helper
                      AND helpers.seen_at > clock_timestamp() - $4 * interval '1 millisecond')
         END RETURNING number",
    );
    let back = back.bind(epoch).bind(millis(UNCLAIMED)).bind(millis(patience)).bind(millis(GONE));
    let rows = back.rows(connection).await?;
    rows.iter().map(|row| row.get("number").ok_or(Trouble::Row("errands"))).collect()
}

/// Who waits besides the leader, as helpers of this likeness or of another; forgets those that are long gone.
pub(super) async fn helpers(connection: &mut Connection, likeness: &str) -> Result<Helpers, Trouble> {
    let forget = "DELETE FROM helpers WHERE seen_at < clock_timestamp() - $1 * interval '1 millisecond'";
    sql::query(forget).bind(millis(FORGOTTEN)).execute(connection).await?;
    let count = sql::query(
        "SELECT coalesce(sum(room) FILTER (WHERE likeness = $1), 0)::bigint AS room,
                count(*) FILTER (WHERE likeness = $1) AS alike, count(*) FILTER (WHERE likeness <> $1) AS unlike
         FROM helpers
         WHERE seen_at > clock_timestamp() - $2 * interval '1 millisecond'
           AND name NOT IN (SELECT holder FROM leases WHERE resource = $3)",
    );
    let row = count.bind(likeness).bind(millis(GONE)).bind(WRITER).first(connection).await?;
    let number =
        |name| row.as_ref().and_then(|row| row.get::<i64>(name)).and_then(|n| usize::try_from(n).ok());
    match (number("room"), number("alike"), number("unlike")) {
        (Some(room), Some(alike), Some(unlike)) => Ok(Helpers { room, alike, unlike }),
        _ => Err(Trouble::Row("helpers")),
    }
}

/// This helper is there.
pub(super) async fn present(connection: &mut Connection, helper: &Helper) -> Result<(), Trouble> {
    let present = sql::query(
        "INSERT INTO helpers (name, likeness, room, seen_at) VALUES ($1, $2, $3, clock_timestamp())
         ON CONFLICT (name) DO UPDATE SET
             likeness = excluded.likeness, room = excluded.room, seen_at = excluded.seen_at",
    );
    let room = i64::try_from(helper.room).unwrap_or(i64::MAX);
    present.bind(&helper.name).bind(&helper.likeness).bind(room).execute(connection).await.map(drop)
}

/// Gives what its errands came to.
pub(super) async fn answer(
    connection: &mut Connection,
    helper: &Helper,
    answers: &[(i64, i64, String)],
) -> Result<(), Trouble> {
    let rows: Value = answers
        .iter()
        .map(|(epoch, number, answer)| json!({ "epoch": epoch, "number": number, "answer": answer }))
        .collect();
    let update = sql::query(
        "UPDATE errands SET answer = e->>'answer' FROM json_array_elements($1::json) AS e
         WHERE errands.epoch = (e->>'epoch')::bigint AND errands.number = (e->>'number')::bigint
           AND errands.helper = $2 AND errands.answer IS NULL",
    );
    update.bind(&rows.to_string()).bind(&helper.name).execute(connection).await.map(drop)
}

/// Claims `most` errands of its likeness, oldest first, past those that others are just claiming.
pub(super) async fn claim(
    connection: &mut Connection,
    helper: &Helper,
    most: usize,
) -> Result<Vec<Claimed>, Trouble> {
    let asked_at = Instant::now();
    let claim = sql::query(
        "WITH lead AS MATERIALIZED (
             SELECT epoch, (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint AS remaining
             FROM leases WHERE resource = $4 AND expires_at > clock_timestamp()
         ), chosen AS MATERIALIZED (
             SELECT epoch, number FROM errands
             WHERE helper IS NULL AND likeness = $2 AND epoch = (SELECT epoch FROM lead)
             ORDER BY number LIMIT $3 FOR UPDATE SKIP LOCKED
         )
         UPDATE errands SET helper = $1 FROM chosen, lead
         WHERE errands.epoch = chosen.epoch AND errands.number = chosen.number
         RETURNING errands.epoch, errands.number, errands.fingerprint, errands.request, lead.remaining",
    );
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let claim = claim.bind(&helper.name).bind(&helper.likeness).bind(most).bind(WRITER);
    let rows = claim.rows(connection).await?;
    let read = |row: sql::Row| {
        let remaining = Duration::from_millis(u64::try_from(row.get::<i64>("remaining")?).ok()?);
        Some(Claimed {
            epoch: row.get("epoch")?,
            number: row.get("number")?,
            fingerprint: row.get("fingerprint")?,
            request: row.get("request")?,
            until: asked_at + remaining.saturating_sub(MARGIN),
        })
    };
    rows.into_iter().map(|row| read(row).ok_or(Trouble::Row("errands"))).collect()
}

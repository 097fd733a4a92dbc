//! The rows of the journal, written: each entry of a batch as its statements. All SQL is static text with
//! bound values.

use std::time::Duration;

use super::bodies;
use super::evidence::{self, Kind};
use super::fault::Trouble;
use super::head::Head;
use super::replay::CREATIONS_STAY;
use super::sql::{self, Connection, Words};
use super::{Breaker, Creation, Declared, Pause, Write};
use super::{notices, results};
use crate::access::CheckKey;
use crate::intent::Canary;
use crate::moment::Timestamp;
use crate::report::Finding;

pub(super) use super::rows::{answers_after, kept, last_answer, latest_canaries, transitions};

/// Over how long creation calls count.
pub(super) const CREATIONS_COUNT: Duration = Duration::from_secs(24 * 3600);

/// Writes entries in their order. Results that follow one another are written together, checks first: an answer stands
/// beside its check, and nothing else is between them.
pub(super) async fn write_all(
    connection: &mut Connection,
    head: &mut Head,
    entries: &[Write],
) -> Result<(), Trouble> {
    let is_result = |entry: &Write| matches!(entry, Write::Check(_) | Write::Answer(_));
    for run in entries.chunk_by(|one, next| is_result(one) && is_result(next)) {
        match run {
            [entry] => write(connection, head, entry).await?,
            run => results::write(connection, run).await?,
        }
    }
    Ok(())
}

/// Writes one entry: its rows, and what the record is to say of it after `head`.
async fn write(connection: &mut Connection, head: &mut Head, entry: &Write) -> Result<(), Trouble> {
    match entry {
        Write::Canary { canary, event, at } => {
            let before = stored_state(connection, canary.id).await?;
            canary_row(connection, canary).await?;
            failpoint!("row.canary", canary.state.as_str());
            canary_children(connection, canary).await?;
            let body = bodies::step(canary, event, before.as_deref());
            evidence::append(connection, head, *at, Kind::Canary, &body).await?;
            transition(connection, canary, before, event, *at).await?;
            failpoint!("row.transition", canary.state.as_str());
            return Ok(());
        }
        Write::Creation(creation) => write_creation(connection, creation).await?,
        Write::Check(state) => results::checks(connection, &[state]).await?,
        Write::Answer(answer) => results::answers(connection, &[answer]).await?,
        Write::ForgetCheck(key) => forget_check(connection, key).await?,
        Write::Finding(finding) => {
            let news = is_news(connection, finding).await?;
            write_finding(connection, finding).await?;
            if !news {
                return Ok(());
            }
        }
        Write::Breaker(breaker) => write_breaker(connection, breaker).await?,
        Write::Unlatch { organization, .. } => unlatch(connection, organization).await?,
        Write::Pause(pause) => write_pause(connection, pause).await?,
        Write::Declared(declared) => write_declared(connection, declared).await?,
        Write::Notice(change) => notices::write(connection, change).await?,
    }
    note(connection, head, entry).await
}

/// Adds to the record what happened, where it belongs there. Steps of canaries know where they came from and are
/// recorded where they are written.
pub(super) async fn note(connection: &mut Connection, head: &mut Head, entry: &Write) -> Result<(), Trouble> {
    let (at, kind, body) = match entry {
        Write::Creation(creation) => (creation.at, Kind::Creation, bodies::creation(&creation.owner)),
        Write::Finding(finding) => match finding.resolved_at {
            None => (finding.since, Kind::FindingBegan, bodies::finding(finding)),
            Some(at) => (at, Kind::FindingEnded, bodies::finding(finding)),
        },
        Write::Breaker(breaker) => {
            (breaker.at, Kind::Breaker, bodies::breaker(&breaker.organization, &breaker.why))
        }
        Write::Unlatch { organization, at } => (*at, Kind::Unlatched, bodies::unlatched(organization)),
        Write::Pause(pause) => {
            (pause.at, Kind::Pause, bodies::pause(&pause.owner, pause.until.0, pause.why.as_str()))
        }
        Write::Canary { .. }
        | Write::Check(_)
        | Write::Answer(_)
        | Write::ForgetCheck(_)
        | Write::Declared(_)
        | Write::Notice(_) => return Ok(()),
    };
    evidence::append(connection, head, at, kind, &body).await
}

/// The key of a finding: absent parts count as empty.
macro_rules! finding_key {
    ($or:literal) => {
        concat!("kind, organization, ", $or, "(token, ''), ", $or, "(permission, ''), ", $or, "(target, '')")
    };
}

macro_rules! known_finding {
    ($or:literal) => {
        concat!(
            "SELECT since, resolved_at FROM findings
             WHERE (",
            finding_key!($or),
            ") = ($1, $2, ",
            $or,
            "($3, ''), ",
            $or,
            "($4, ''), ",
            $or,
            "($5, ''))"
        )
    };
}

macro_rules! upsert_finding {
    ($or:literal) => {
        concat!(
            "INSERT INTO findings
                 (kind, organization, token, permission, target, severity, since, last_seen, resolved_at, detail)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             ON CONFLICT (",
            finding_key!($or),
            ") DO UPDATE SET
                 severity = excluded.severity, since = excluded.since, last_seen = excluded.last_seen,
                 resolved_at = excluded.resolved_at, detail = excluded.detail"
        )
    };
}

/// An index of expressions is used only where they are written as in the index: SQLite's stands in files of ours, and
/// PostgreSQL knows no `ifnull`.
const KNOWN_FINDING: Words = Words { sqlite: known_finding!("ifnull"), postgres: known_finding!("coalesce") };

const UPSERT_FINDING: Words =
    Words { sqlite: upsert_finding!("ifnull"), postgres: upsert_finding!("coalesce") };

/// Whether this finding begins or ends, unlike one that is seen once more.
async fn is_news(connection: &mut Connection, finding: &Finding) -> Result<bool, Trouble> {
    let row = sql::query(KNOWN_FINDING)
        .bind(finding.kind.as_str())
        .bind(&finding.organization)
        .bind(finding.token.as_ref().map(|token| token.as_str()))
        .bind(finding.permission.map(|permission| permission.as_str()))
        .bind(&finding.target)
        .first(connection)
        .await?;
    let Some(row) = row else { return Ok(true) };
    const BEYOND: Trouble = Trouble::Row("findings");
    let since: i64 = row.get("since").ok_or(BEYOND)?;
    let resolved: Option<i64> = row.get("resolved_at").ok_or(BEYOND)?;
    Ok(match finding.resolved_at {
        None => resolved.is_some() || since != finding.since.0,
        Some(_) => resolved.is_none() || since != finding.since.0,
    })
}

async fn stored_state(connection: &mut Connection, id: i64) -> Result<Option<String>, Trouble> {
    let row = sql::query("SELECT state FROM canaries WHERE id = $1").bind(id).first(connection).await?;
    row.map(|row| row.at(0).ok_or(Trouble::Row("canaries"))).transpose()
}

/// What was planned never changes: an entry that reuses a number for another plan is refused, because it
/// would overwrite the memory of a repository that may exist.
async fn canary_row(connection: &mut Connection, canary: &Canary) -> Result<(), Trouble> {
    let done = sql::query(
        "INSERT INTO canaries
             (id, namespace, name, kind, group_id, target, token, owner, planned_at, given_up_at, state,
              repo_id, looks, next_at, note, epoch)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
         ON CONFLICT (id) DO UPDATE SET
             owner = excluded.owner, state = excluded.state, repo_id = excluded.repo_id,
             looks = excluded.looks, next_at = excluded.next_at, note = excluded.note,
             given_up_at = excluded.given_up_at
         WHERE canaries.namespace = excluded.namespace AND canaries.name = excluded.name
             AND canaries.kind = excluded.kind AND canaries.group_id IS NOT DISTINCT FROM excluded.group_id
             AND canaries.token = excluded.token AND canaries.planned_at = excluded.planned_at
             AND canaries.epoch = excluded.epoch",
    )
    .bind(canary.id)
    .bind(&canary.repo.namespace)
    .bind(&canary.repo.name)
    .bind(canary.kind.as_str())
    .bind(&canary.group)
    .bind(&canary.target)
    .bind(canary.token.as_str())
    .bind(&canary.owner)
    .bind(canary.planned_at.0)
    .bind(canary.given_up_at.map(|at| at.0))
    .bind(canary.state.as_str())
    .bind(&canary.repo_id)
    .bind(canary.looks)
    .bind(canary.next_at.map(|at| at.0))
    .bind(&canary.note)
    .bind(canary.epoch)
    .execute(connection)
    .await?;
    if done == 1 { Ok(()) } else { Err(Trouble::Contradiction) }
}

async fn canary_children(connection: &mut Connection, canary: &Canary) -> Result<(), Trouble> {
    for (attempt, seq) in canary.deletes.iter().zip(0_i64..) {
        sql::query(
            "INSERT INTO attempts (canary, seq, at, signer, outcome) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (canary, seq) DO UPDATE SET
                 at = excluded.at, signer = excluded.signer, outcome = excluded.outcome",
        )
        .bind(canary.id)
        .bind(seq)
        .bind(attempt.at.0)
        .bind(attempt.by.as_str())
        .bind(attempt.outcome.as_str())
        .execute(connection)
        .await?;
        failpoint!("row.attempt");
    }
    for (at, seq) in canary.absences.iter().zip(0_i64..) {
        sql::query(
            "INSERT INTO sightings (canary, seq, at) VALUES ($1, $2, $3)
             ON CONFLICT (canary, seq) DO UPDATE SET at = excluded.at",
        )
        .bind(canary.id)
        .bind(seq)
        .bind(at.0)
        .execute(connection)
        .await?;
        failpoint!("row.sighting");
    }
    // A canary that is seen again loses its sightings of absence; attempts only ever grow.
    let (deletes, absences) = (count(canary.deletes.len())?, count(canary.absences.len())?);
    let more = sql::query("SELECT seq FROM attempts WHERE canary = $1 AND seq >= $2 LIMIT 1")
        .bind(canary.id)
        .bind(deletes)
        .first(connection)
        .await?;
    if more.is_some() {
        return Err(Trouble::Contradiction);
    }
    sql::query("DELETE FROM sightings WHERE canary = $1 AND seq >= $2")
        .bind(canary.id)
        .bind(absences)
        .execute(connection)
        .await?;
    Ok(())
}

fn count(length: usize) -> Result<i64, Trouble> {
    i64::try_from(length).map_err(|_| Trouble::Contradiction)
}

async fn transition(
    connection: &mut Connection,
    canary: &Canary,
    before: Option<String>,
    event: &str,
    at: Timestamp,
) -> Result<(), Trouble> {
    sql::query(
        "INSERT INTO transitions (canary, seq, at, from_state, to_state, event)
         VALUES ($1, (SELECT coalesce(max(seq) + 1, 0) FROM transitions WHERE canary = $1), $2, $3, $4, $5)",
    )
    .bind(canary.id)
    .bind(at.0)
    .bind(&before)
    .bind(canary.state.as_str())
    .bind(event)
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_creation(connection: &mut Connection, creation: &Creation) -> Result<(), Trouble> {
    sql::query("DELETE FROM creations WHERE at < $1")
        .bind((creation.at - CREATIONS_STAY).0)
        .execute(connection)
        .await?;
    sql::query("INSERT INTO creations (owner, at) VALUES ($1, $2)")
        .bind(&creation.owner)
        .bind(creation.at.0)
        .execute(connection)
        .await?;
    failpoint!("row.creation");
    Ok(())
}

async fn forget_check(connection: &mut Connection, key: &CheckKey) -> Result<(), Trouble> {
    for table in [
        "DELETE FROM checks WHERE organization = $1 AND token = $2 AND permission = $3 AND target = $4",
        "DELETE FROM answers WHERE organization = $1 AND token = $2 AND permission = $3 AND target = $4",
    ] {
        sql::query(table).bind_key(key).execute(connection).await?;
    }
    Ok(())
}

async fn write_finding(connection: &mut Connection, finding: &Finding) -> Result<(), Trouble> {
    sql::query(UPSERT_FINDING)
        .bind(finding.kind.as_str())
        .bind(&finding.organization)
        .bind(finding.token.as_ref().map(|token| token.as_str()))
        .bind(finding.permission.map(|permission| permission.as_str()))
        .bind(&finding.target)
        .bind(finding.severity.as_str())
        .bind(finding.since.0)
        .bind(finding.last_seen.0)
        .bind(finding.resolved_at.map(|at| at.0))
        .bind(&finding.detail)
        .execute(connection)
        .await?;
    failpoint!("row.finding");
    Ok(())
}

async fn write_breaker(connection: &mut Connection, breaker: &Breaker) -> Result<(), Trouble> {
    sql::query(
        "INSERT INTO breakers (organization, at, why) VALUES ($1, $2, $3)
         ON CONFLICT (organization) DO UPDATE SET at = excluded.at, why = excluded.why",
    )
    .bind(&breaker.organization)
    .bind(breaker.at.0)
    .bind(&breaker.why)
    .execute(connection)
    .await?;
    Ok(())
}

async fn unlatch(connection: &mut Connection, organization: &str) -> Result<(), Trouble> {
    sql::query("DELETE FROM breakers WHERE organization = $1").bind(organization).execute(connection).await?;
    Ok(())
}

async fn write_pause(connection: &mut Connection, pause: &Pause) -> Result<(), Trouble> {
    sql::query(
        "INSERT INTO pauses (owner, until, why, at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (owner) DO UPDATE SET until = excluded.until, why = excluded.why, at = excluded.at",
    )
    .bind(&pause.owner)
    .bind(pause.until.0)
    .bind(pause.why.as_str())
    .bind(pause.at.0)
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_declared(connection: &mut Connection, declared: &Declared) -> Result<(), Trouble> {
    sql::query(
        "INSERT INTO declared (token, fingerprint, at, body) VALUES ($1, $2, $3, $4)
         ON CONFLICT (token) DO UPDATE SET
             fingerprint = excluded.fingerprint, at = excluded.at, body = excluded.body",
    )
    .bind(declared.token.as_str())
    .bind(&declared.fingerprint)
    .bind(declared.at.0)
    .bind(&declared.body)
    .execute(connection)
    .await?;
    failpoint!("row.declared");
    Ok(())
}

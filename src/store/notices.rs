//! The rows of alerts that were told and of messages that are owed: written and read back.
//!
//! An absent part of a key is the empty text; the names of sinks are a JSON list. A message lies here until its sink
//! took it. Serves `journal` and `rows`.

use super::fault::Trouble;
use super::rows::{Line, each};
use super::sql::{self, Connection};
use crate::access::TokenName;
use crate::alert::desk::Alert;
use crate::alert::message::{AlertKey, Message, Words};
use crate::alert::outbox::Owed;
use crate::alert::teller::Change;

/// The parts of a key, as they stand in columns.
fn parts(key: &AlertKey) -> [&str; 5] {
    [
        key.name.as_str(),
        &key.organization,
        key.token.as_ref().map(TokenName::as_str).unwrap_or_default(),
        key.permission.map(|permission| permission.as_str()).unwrap_or_default(),
        key.target.as_deref().unwrap_or_default(),
    ]
}

pub(super) async fn write(connection: &mut Connection, change: &Change) -> Result<(), Trouble> {
    match change {
        Change::Told(alert) => write_alert(connection, alert).await,
        Change::Forgotten(key) => forget_alert(connection, key).await,
        Change::Owed(owed) => write_owed(connection, owed).await,
        Change::Paid(numbers) => forget_owed(connection, numbers).await,
    }
}

async fn write_alert(connection: &mut Connection, alert: &Alert) -> Result<(), Trouble> {
    let sinks = serde_json::to_string(&alert.sinks).unwrap_or_default();
    let [name, organization, token, permission, target] = parts(&alert.key);
    sql::query(
        "INSERT INTO alerts
             (name, organization, token, permission, target, episode, firing, since, fired_at, resolved_at,
              spoken_at, sinks, severity, token_owner, summary, description, evidence)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
         ON CONFLICT (name, organization, token, permission, target) DO UPDATE SET
             episode = excluded.episode, firing = excluded.firing, since = excluded.since,
             fired_at = excluded.fired_at, resolved_at = excluded.resolved_at, spoken_at = excluded.spoken_at,
             sinks = excluded.sinks, severity = excluded.severity, token_owner = excluded.token_owner,
             summary = excluded.summary, description = excluded.description, evidence = excluded.evidence",
    )
    .bind(name)
    .bind(organization)
    .bind(token)
    .bind(permission)
    .bind(target)
    .bind(alert.episode.0)
    .bind(alert.firing)
    .bind(alert.since.0)
    .bind(alert.fired_at.0)
    .bind(alert.resolved_at.map(|at| at.0))
    .bind(alert.spoken_at.0)
    .bind(&sinks)
    .bind(alert.words.severity.as_str())
    .bind(&alert.words.token_owner)
    .bind(&alert.words.summary)
    .bind(&alert.words.description)
    .bind(&alert.words.evidence)
    .execute(connection)
    .await?;
    failpoint!("row.alert");
    Ok(())
}

async fn forget_alert(connection: &mut Connection, key: &AlertKey) -> Result<(), Trouble> {
    let [name, organization, token, permission, target] = parts(key);
    sql::query(
        "DELETE FROM alerts
         WHERE name = $1 AND organization = $2 AND token = $3 AND permission = $4 AND target = $5",
    )
    .bind(name)
    .bind(organization)
    .bind(token)
    .bind(permission)
    .bind(target)
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_owed(connection: &mut Connection, owed: &Owed) -> Result<(), Trouble> {
    let message = &owed.message;
    let [name, organization, token, permission, target] = parts(&message.key);
    sql::query(
        "INSERT INTO outbox
             (number, sink, id, tidings, since, at, name, organization, token, permission, target, severity,
              token_owner, summary, description, evidence)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
         ON CONFLICT (number) DO UPDATE SET
             sink = excluded.sink, id = excluded.id, tidings = excluded.tidings, since = excluded.since,
             at = excluded.at, name = excluded.name, organization = excluded.organization,
             token = excluded.token, permission = excluded.permission, target = excluded.target,
             severity = excluded.severity, token_owner = excluded.token_owner, summary = excluded.summary,
             description = excluded.description, evidence = excluded.evidence",
    )
    .bind(owed.number)
    .bind(&owed.sink)
    .bind(&message.id)
    .bind(message.tidings.as_str())
    .bind(message.since.0)
    .bind(message.at.0)
    .bind(name)
    .bind(organization)
    .bind(token)
    .bind(permission)
    .bind(target)
    .bind(message.words.severity.as_str())
    .bind(&message.words.token_owner)
    .bind(&message.words.summary)
    .bind(&message.words.description)
    .bind(&message.words.evidence)
    .execute(connection)
    .await?;
    failpoint!("row.owed");
    Ok(())
}

/// The sinks took these.
async fn forget_owed(connection: &mut Connection, numbers: &[i64]) -> Result<(), Trouble> {
    for number in numbers {
        sql::query("DELETE FROM outbox WHERE number = $1").bind(*number).execute(connection).await?;
    }
    Ok(())
}

fn key(line: &Line<'_>) -> Result<AlertKey, Trouble> {
    let part = |column| line.get::<&str>(column).map(|text| Some(text).filter(|text| !text.is_empty()));
    let permission = match part("permission")? {
        Some(_) => Some(line.word("permission")?),
        None => None,
    };
    Ok(AlertKey {
        name: line.word("name")?,
        organization: line.get("organization")?,
        token: part("token")?.map(TokenName::new),
        permission,
        target: part("target")?.map(str::to_owned),
    })
}

fn words(line: &Line<'_>) -> Result<Words, Trouble> {
    Ok(Words {
        severity: line.word("severity")?,
        token_owner: line.get("token_owner")?,
        summary: line.get("summary")?,
        description: line.get("description")?,
        evidence: line.get("evidence")?,
    })
}

/// Every alert that was told.
pub(super) async fn alerts(connection: &mut Connection) -> Result<Vec<Alert>, Trouble> {
    let rows = sql::query("SELECT * FROM alerts ORDER BY name, organization, token, permission, target");
    let rows = rows.rows(connection).await?;
    each("alerts", &rows, |line| {
        let sinks = serde_json::from_str(line.get("sinks")?).map_err(|_| Trouble::Row("alerts"))?;
        Ok(Alert {
            key: key(line)?,
            episode: line.at("episode")?,
            firing: line.get("firing")?,
            since: line.at("since")?,
            fired_at: line.at("fired_at")?,
            resolved_at: line.maybe_at("resolved_at")?,
            spoken_at: line.at("spoken_at")?,
            sinks,
            words: words(line)?,
        })
    })
}

/// Every message that is owed, in order.
pub(super) async fn owed(connection: &mut Connection) -> Result<Vec<Owed>, Trouble> {
    let rows = sql::query("SELECT * FROM outbox ORDER BY number").rows(connection).await?;
    each("outbox", &rows, |line| {
        Ok(Owed {
            number: line.get("number")?,
            sink: line.get("sink")?,
            message: Message {
                id: line.get("id")?,
                tidings: line.word("tidings")?,
                key: key(line)?,
                words: words(line)?,
                since: line.at("since")?,
                at: line.at("at")?,
            },
        })
    })
}

//! The rows of the journal, read back into words. A row that is beyond us is a fault that names its table; it
//! is never skipped, because what is skipped is forgotten.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::Arc;

use super::FINDINGS_STAY;
use super::fault::Trouble;
use super::journal::CREATIONS_COUNT;
use super::notices;
use super::sql::{self, Cell, Connection, Row};
use super::{Breaker, Creation, Declared, Kept, LastAnswer, Past, Pause, Transition, Write};
use crate::access::{Access, CheckKey, Labels, RepoName, TokenName};
use crate::alert::CheckState;
use crate::intent::{Canary, DeleteAttempt};
use crate::moment::Timestamp;
use crate::report::Finding;

/// A row, and the table that a fault would name.
pub(super) struct Line<'a> {
    row: &'a Row,
    table: &'static str,
}

impl<'a> Line<'a> {
    pub(super) fn get<T: Cell<'a>>(&self, column: &'static str) -> Result<T, Trouble> {
        self.row.get(column).ok_or(Trouble::Row(self.table))
    }

    /// A number of things, which is never negative.
    fn count(&self, column: &'static str) -> Result<u32, Trouble> {
        u32::try_from(self.get::<i64>(column)?).map_err(|_| Trouble::Row(self.table))
    }

    /// A word of a closed list.
    pub(super) fn word<T: FromStr>(&self, column: &'static str) -> Result<T, Trouble> {
        self.get::<&str>(column)?.parse().map_err(|_| Trouble::Row(self.table))
    }

    fn maybe_word<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, Trouble> {
        let text = self.get::<Option<&str>>(column)?;
        text.map(|text| text.parse().map_err(|_| Trouble::Row(self.table))).transpose()
    }

    pub(super) fn at(&self, column: &'static str) -> Result<Timestamp, Trouble> {
        Ok(Timestamp(self.get(column)?))
    }

    pub(super) fn maybe_at(&self, column: &'static str) -> Result<Option<Timestamp>, Trouble> {
        Ok(self.get::<Option<i64>>(column)?.map(Timestamp))
    }

    fn token(&self, column: &'static str) -> Result<TokenName, Trouble> {
        Ok(TokenName::new(self.get(column)?))
    }
}

/// Reads every row of an answer.
pub(super) fn each<T>(
    table: &'static str,
    rows: &[Row],
    read: impl Fn(&Line<'_>) -> Result<T, Trouble>,
) -> Result<Vec<T>, Trouble> {
    rows.iter().map(|row| read(&Line { row, table })).collect()
}

/// Everything but what this journal is to the ones before it, which the opening found out.
pub(in crate::store) async fn kept(connection: &mut Connection, now: Timestamp) -> Result<Kept, Trouble> {
    let last_canary_id =
        sql::query("SELECT coalesce(max(id), 0) FROM canaries").number(connection, "canaries").await?;
    let findings = sql::query(
        "SELECT * FROM findings WHERE resolved_at IS NULL OR resolved_at > $1 ORDER BY since, rowid",
    )
    .bind((now - FINDINGS_STAY).0)
    .rows(connection)
    .await?;
    let creations = sql::query("SELECT * FROM creations WHERE at > $1 ORDER BY at, rowid")
        .bind((now - CREATIONS_COUNT).0)
        .rows(connection)
        .await?;
    let breakers = sql::query("SELECT * FROM breakers ORDER BY organization").rows(connection).await?;
    let pauses = sql::query("SELECT * FROM pauses WHERE until > $1 ORDER BY owner")
        .bind(now.0)
        .rows(connection)
        .await?;
    Ok(Kept {
        canaries: owed_canaries(connection).await?,
        last_canary_id: last_canary_id.unwrap_or_default(),
        checks: checks(connection).await?,
        findings: each("findings", &findings, finding)?,
        creations: each("creations", &creations, creation)?,
        breakers: each("breakers", &breakers, breaker)?,
        pauses: each("pauses", &pauses, pause)?,
        declared: declared(connection).await?,
        alerts: notices::alerts(connection).await?,
        owed: notices::owed(connection).await?,
        epoch: epoch(connection).await?,
        past: Past::Continued,
    })
}

/// Rows that are read at a time, where there may be hundreds of thousands: what SQLite hands over is ten times as large as
/// what it says.
const PAGE: usize = 1000;

/// Every check that was ever answered, in the order of its key. Names that stand in many rows are in memory once.
async fn checks(connection: &mut Connection) -> Result<Vec<CheckState>, Trouble> {
    let mut all: Vec<CheckState> = Vec::new();
    let mut labels: HashSet<Arc<Labels>> = HashSet::new();
    loop {
        let rows = sql::query(
            "SELECT organization, token, permission, target, access, reason, observed_at, allowed, conclusive_at,
                    bad_streak, good_streak, firing_since, firing FROM checks
             WHERE (organization, token, permission, target) > ($1, $2, $3, $4)
             ORDER BY organization, token, permission, target LIMIT 1000",
        )
        .bind_after(all.last().map(|state| &state.key))
        .rows(connection).await?;
        for mut state in each("checks", &rows, check)? {
            let mut token = state.key.token.clone();
            if let Some(before) = all.last().filter(|before| before.key.token == token) {
                token = before.key.token.clone();
            }
            let shared = labels.get(&state.key.labels()).cloned();
            let shared = shared.unwrap_or_else(|| {
                labels.insert(state.key.labels());
                state.key.labels()
            });
            state.key = CheckKey::of(token, shared);
            all.push(state);
        }
        if rows.len() < PAGE {
            return Ok(all);
        }
    }
}

/// The last whoami of each token, in the order of their names.
async fn declared(connection: &mut Connection) -> Result<Vec<Declared>, Trouble> {
    let mut all: Vec<Declared> = Vec::new();
    loop {
        let rows = sql::query(
            "SELECT token, fingerprint, at, body FROM declared WHERE token > $1 ORDER BY token LIMIT 1000",
        )
        .bind(all.last().map(|last| last.token.as_str()).unwrap_or_default())
        .rows(connection)
        .await?;
        all.extend(each("declared", &rows, |line| {
            Ok(Declared {
                token: line.token("token")?,
                fingerprint: line.get("fingerprint")?,
                at: line.at("at")?,
                body: line.get("body")?,
            })
        })?);
        if rows.len() < PAGE {
            return Ok(all);
        }
    }
}

/// The number of the latest opening for writing; 0 where somebody removed it, which is nobody's number.
pub(in crate::store) async fn epoch(connection: &mut Connection) -> Result<i64, Trouble> {
    let found = sql::query("SELECT epoch FROM fence").number(connection, "fence").await?;
    Ok(found.unwrap_or_default())
}

/// Everything that bounds canaries, and every finding that lasts, as entries that would write it. The latest
/// creation first: then none of them counts as too old beside another.
pub(in crate::store) async fn lasting(connection: &mut Connection) -> Result<Vec<Write>, Trouble> {
    let findings = sql::query("SELECT * FROM findings WHERE resolved_at IS NULL ORDER BY since, rowid");
    let findings = findings.rows(connection).await?;
    let creations = sql::query("SELECT * FROM creations ORDER BY at DESC, rowid");
    let creations = creations.rows(connection).await?;
    let breakers = sql::query("SELECT * FROM breakers ORDER BY organization");
    let breakers = breakers.rows(connection).await?;
    let pauses = sql::query("SELECT * FROM pauses ORDER BY owner").rows(connection).await?;
    let mut all = each("findings", &findings, |line| finding(line).map(Write::Finding))?;
    all.extend(each("creations", &creations, |line| creation(line).map(Write::Creation))?);
    all.extend(each("breakers", &breakers, |line| breaker(line).map(Write::Breaker))?);
    all.extend(each("pauses", &pauses, |line| pause(line).map(Write::Pause))?);
    Ok(all)
}

/// All that is owed something. Wider than "to be looked at": one that is neither gone nor refused is never
/// lost from sight, even if a mistake left it without a next look.
async fn owed_canaries(connection: &mut Connection) -> Result<Vec<Canary>, Trouble> {
    let canaries = sql::query(
        "SELECT * FROM canaries WHERE next_at IS NOT NULL OR state NOT IN ('gone', 'refused') ORDER BY id",
    )
    .rows(connection)
    .await?;
    let attempts = sql::query(
        "SELECT * FROM attempts WHERE canary IN
             (SELECT id FROM canaries WHERE next_at IS NOT NULL OR state NOT IN ('gone', 'refused'))
         ORDER BY canary, seq",
    )
    .rows(connection)
    .await?;
    let sightings = sql::query(
        "SELECT * FROM sightings WHERE canary IN
             (SELECT id FROM canaries WHERE next_at IS NOT NULL OR state NOT IN ('gone', 'refused'))
         ORDER BY canary, seq",
    )
    .rows(connection)
    .await?;
    assemble(&canaries, &attempts, &sightings)
}

/// The latest of all, newest first.
pub(in crate::store) async fn latest_canaries(
    connection: &mut Connection,
    limit: u32,
) -> Result<Vec<Canary>, Trouble> {
    let canaries =
        sql::query("SELECT * FROM canaries ORDER BY id DESC LIMIT $1").bind(limit).rows(connection).await?;
    let attempts = sql::query(
        "SELECT * FROM attempts WHERE canary IN (SELECT id FROM canaries ORDER BY id DESC LIMIT $1)
         ORDER BY canary, seq",
    )
    .bind(limit)
    .rows(connection)
    .await?;
    let sightings = sql::query(
        "SELECT * FROM sightings WHERE canary IN (SELECT id FROM canaries ORDER BY id DESC LIMIT $1)
         ORDER BY canary, seq",
    )
    .bind(limit)
    .rows(connection)
    .await?;
    assemble(&canaries, &attempts, &sightings)
}

/// All canaries whose number is above `after`, lowest first, so many at most; `None` for one that is beyond us.
pub(in crate::store) async fn canary_page(
    connection: &mut Connection,
    after: i64,
    limit: i64,
) -> Result<Vec<(i64, Option<Canary>)>, Trouble> {
    let canaries = sql::query("SELECT * FROM canaries WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after)
        .bind(limit)
        .rows(connection)
        .await?;
    let number = |row: &Row| row.get::<i64>("id").ok_or(Trouble::Row("canaries"));
    let Some(last) = canaries.last().map(number).transpose()? else { return Ok(Vec::new()) };
    let attempts =
        sql::query("SELECT * FROM attempts WHERE canary > $1 AND canary <= $2 ORDER BY canary, seq")
            .bind(after)
            .bind(last)
            .rows(connection)
            .await?;
    let sightings =
        sql::query("SELECT * FROM sightings WHERE canary > $1 AND canary <= $2 ORDER BY canary, seq")
            .bind(after)
            .bind(last)
            .rows(connection)
            .await?;
    if let Ok(all) = assemble(&canaries, &attempts, &sightings) {
        return Ok(all.into_iter().map(|canary| (canary.id, Some(canary))).collect());
    }
    // One by one, to tell what is beyond us from the others.
    let mut found = Vec::new();
    for row in &canaries {
        let id = number(row)?;
        found.push((id, one_canary(connection, id).await?));
    }
    Ok(found)
}

/// The canary of this number; `None` for one that is beyond us.
async fn one_canary(connection: &mut Connection, id: i64) -> Result<Option<Canary>, Trouble> {
    let canary = sql::query("SELECT * FROM canaries WHERE id = $1").bind(id).rows(connection).await?;
    let attempts =
        sql::query("SELECT * FROM attempts WHERE canary = $1 ORDER BY seq").bind(id).rows(connection).await?;
    let sightings = sql::query("SELECT * FROM sightings WHERE canary = $1 ORDER BY seq")
        .bind(id)
        .rows(connection)
        .await?;
    match assemble(&canary, &attempts, &sightings) {
        Ok(one) => Ok(one.into_iter().next()),
        Err(Trouble::Row(_)) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// Canaries in the given order, each with its children.
fn assemble(canaries: &[Row], attempts: &[Row], sightings: &[Row]) -> Result<Vec<Canary>, Trouble> {
    let mut deletes: HashMap<i64, Vec<DeleteAttempt>> = HashMap::new();
    for (id, attempt) in each("attempts", attempts, |line| {
        let attempt =
            DeleteAttempt { at: line.at("at")?, by: line.word("signer")?, outcome: line.word("outcome")? };
        Ok((line.get::<i64>("canary")?, attempt))
    })? {
        deletes.entry(id).or_default().push(attempt);
    }
    let mut absences: HashMap<i64, Vec<Timestamp>> = HashMap::new();
    for (id, at) in each("sightings", sightings, |line| Ok((line.get::<i64>("canary")?, line.at("at")?)))? {
        absences.entry(id).or_default().push(at);
    }
    let mut all = each("canaries", canaries, canary)?;
    for canary in &mut all {
        canary.deletes = deletes.remove(&canary.id).unwrap_or_default();
        canary.absences = absences.remove(&canary.id).unwrap_or_default();
    }
    Ok(all)
}

/// Checked as if a person had typed it: this name becomes part of a DELETE's path.
fn repo_name(line: &Line<'_>) -> Result<RepoName, Trouble> {
    let (namespace, name): (&str, &str) = (line.get("namespace")?, line.get("name")?);
    format!("{namespace}/{name}").parse().map_err(|()| Trouble::Row(line.table))
}

fn canary(line: &Line<'_>) -> Result<Canary, Trouble> {
    Ok(Canary {
        id: line.get("id")?,
        repo: repo_name(line)?,
        kind: line.word("kind")?,
        group: line.get("group_id")?,
        target: line.get::<String>("target")?,
        token: line.token("token")?,
        owner: line.get("owner")?,
        planned_at: line.at("planned_at")?,
        given_up_at: line.maybe_at("given_up_at")?,
        state: line.word("state")?,
        repo_id: line.get("repo_id")?,
        deletes: Vec::new(),
        absences: Vec::new(),
        looks: line.count("looks")?,
        next_at: line.maybe_at("next_at")?,
        note: line.get("note")?,
        epoch: line.get("epoch")?,
    })
}

/// The story of one canary, oldest step first.
pub(in crate::store) async fn transitions(
    connection: &mut Connection,
    canary: i64,
) -> Result<Vec<Transition>, Trouble> {
    let rows = sql::query("SELECT * FROM transitions WHERE canary = $1 ORDER BY seq")
        .bind(canary)
        .rows(connection)
        .await?;
    each("transitions", &rows, |line| {
        Ok(Transition {
            at: line.at("at")?,
            from: line.maybe_word("from_state")?,
            to: line.word("to_state")?,
            event: line.get("event")?,
        })
    })
}

/// What the latest answer to a check rests on.
pub(in crate::store) async fn last_answer(
    connection: &mut Connection,
    key: &CheckKey,
) -> Result<Option<LastAnswer>, Trouble> {
    let rows = sql::query(
        "SELECT at, body FROM answers
         WHERE organization = $1 AND token = $2 AND permission = $3 AND target = $4",
    )
    .bind_key(key)
    .rows(connection)
    .await?;
    let found = each("answers", &rows, |line| {
        Ok(LastAnswer { key: key.clone(), at: line.at("at")?, body: line.get("body")? })
    })?;
    Ok(found.into_iter().next())
}

/// What the latest answers to checks rest on, in the order of their keys: a page of those after this one.
pub(in crate::store) async fn answers_after(
    connection: &mut Connection,
    after: Option<&CheckKey>,
) -> Result<Vec<LastAnswer>, Trouble> {
    let rows = sql::query(
        "SELECT organization, token, permission, target, at, body FROM answers
         WHERE (organization, token, permission, target) > ($1, $2, $3, $4)
         ORDER BY organization, token, permission, target LIMIT 1000",
    )
    .bind_after(after)
    .rows(connection)
    .await?;
    each("answers", &rows, |line| {
        Ok(LastAnswer { key: key(line)?, at: line.at("at")?, body: line.get("body")? })
    })
}

fn key(line: &Line<'_>) -> Result<CheckKey, Trouble> {
    let (organization, target): (String, String) = (line.get("organization")?, line.get("target")?);
    Ok(CheckKey::new(organization, line.token("token")?, line.word("permission")?, target))
}

fn check(line: &Line<'_>) -> Result<CheckState, Trouble> {
    let allowed: Option<bool> = line.get("allowed")?;
    Ok(CheckState {
        key: key(line)?,
        latest: Access::parse(line.get("access")?, line.get("reason")?).ok_or(Trouble::Row(line.table))?,
        observed_at: line.at("observed_at")?,
        conclusive: match (allowed, line.maybe_at("conclusive_at")?) {
            (Some(allowed), Some(at)) => Some((allowed, at)),
            (None, None) => None,
            _ => return Err(Trouble::Row(line.table)),
        },
        bad_streak: line.count("bad_streak")?,
        good_streak: line.count("good_streak")?,
        firing_since: line.maybe_at("firing_since")?,
        firing: line.maybe_word("firing")?,
    })
}

fn creation(line: &Line<'_>) -> Result<Creation, Trouble> {
    Ok(Creation { owner: line.get("owner")?, at: line.at("at")? })
}

fn breaker(line: &Line<'_>) -> Result<Breaker, Trouble> {
    Ok(Breaker {
        organization: line.get::<String>("organization")?,
        at: line.at("at")?,
        why: line.get("why")?,
    })
}

fn pause(line: &Line<'_>) -> Result<Pause, Trouble> {
    Ok(Pause {
        owner: line.get("owner")?,
        at: line.at("at")?,
        until: line.at("until")?,
        why: line.word("why")?,
    })
}

fn finding(line: &Line<'_>) -> Result<Finding, Trouble> {
    Ok(Finding {
        kind: line.word("kind")?,
        organization: line.get("organization")?,
        token: line.get::<Option<&str>>("token")?.map(TokenName::new),
        permission: line.maybe_word("permission")?,
        target: line.get("target")?,
        severity: line.word("severity")?,
        since: line.at("since")?,
        last_seen: line.at("last_seen")?,
        resolved_at: line.maybe_at("resolved_at")?,
        detail: line.get("detail")?,
    })
}

//! Results: the latest state of each check and what its answer rests on. There are thousands of them in a round, so that
//! many go in one statement.
//!
//! A statement for many says the same as that for one, many times. SQLite goes through its rows in their order, so that
//! of two versions of a check the later one stays; PostgreSQL takes only one version, so that it is given the later one.
//! Serves `journal`.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::fault::Trouble;
use super::sql::{self, Connection, Words};
use super::{LastAnswer, Write};
use crate::access::CheckKey;
use crate::alert::CheckState;

/// Rows in one statement; what is left over goes row by row, so that there are two statements in all.
const TOGETHER: usize = 32;

/// A statement, for each kind of database.
struct Statement {
    sqlite: String,
    postgres: String,
}

impl Statement {
    /// `before VALUES (…), (…) after`, for so many rows of so many values.
    fn of(rows: usize, values: usize, before: &str, after: &str) -> Statement {
        let statement = |place: fn(usize) -> String| {
            let row =
                |row| (1..=values).map(|value| place(row * values + value)).collect::<Vec<_>>().join(", ");
            let rows: Vec<String> = (0..rows).map(|number| format!("({})", row(number))).collect();
            format!("{before} VALUES {} {after}", rows.join(", "))
        };
        // Where values have names SQLite looks each of them up among all.
        Statement {
            sqlite: statement(|_| "?".to_owned()),
            postgres: statement(|number| format!("${number}")),
        }
    }

    fn words(&'static self) -> Words {
        Words { sqlite: &self.sqlite, postgres: &self.postgres }
    }
}

/// A row of checks and so many, upserted.
static CHECKS: LazyLock<[Statement; 2]> = LazyLock::new(|| {
    let before = "INSERT INTO checks
             (organization, token, permission, target, access, reason, observed_at, allowed, conclusive_at,
              bad_streak, good_streak, firing_since, firing)";
    let after = "ON CONFLICT (organization, token, permission, target) DO UPDATE SET
             access = excluded.access, reason = excluded.reason, observed_at = excluded.observed_at,
             allowed = excluded.allowed, conclusive_at = excluded.conclusive_at,
             bad_streak = excluded.bad_streak, good_streak = excluded.good_streak,
             firing_since = excluded.firing_since, firing = excluded.firing";
    [1, TOGETHER].map(|rows| Statement::of(rows, 13, before, after))
});

static ANSWERS: LazyLock<[Statement; 2]> = LazyLock::new(|| {
    let before = "INSERT INTO answers (organization, token, permission, target, at, body)";
    let after = "ON CONFLICT (organization, token, permission, target) DO UPDATE SET
             at = excluded.at, body = excluded.body";
    [1, TOGETHER].map(|rows| Statement::of(rows, 6, before, after))
});

/// Of several rows with one key, the last.
fn latest<'r, T>(rows: &[&'r T], key: impl Fn(&'r T) -> &'r CheckKey) -> Vec<&'r T> {
    let mut seen = HashSet::new();
    let mut latest: Vec<&T> = rows.iter().rev().filter(|row| seen.insert(key(row))).copied().collect();
    latest.reverse();
    latest
}

/// Checks and answers, and nothing else.
pub(super) async fn write(connection: &mut Connection, entries: &[Write]) -> Result<(), Trouble> {
    let mut states = Vec::new();
    let mut found = Vec::new();
    for entry in entries {
        match entry {
            Write::Check(state) => states.push(state),
            Write::Answer(answer) => found.push(answer),
            _ => return Err(Trouble::Contradiction),
        }
    }
    checks(connection, &states).await?;
    answers(connection, &found).await
}

/// The states of checks, in their order.
pub(super) async fn checks(connection: &mut Connection, states: &[&CheckState]) -> Result<(), Trouble> {
    let once = connection.wants_each_once().then(|| latest(states, |state| &state.key));
    for (statement, states) in statements(&CHECKS, once.as_deref().unwrap_or(states)) {
        let mut query = sql::query(statement);
        for state in states {
            query = query
                .bind_key(&state.key)
                .bind(state.latest.as_str())
                .bind(state.latest.reason())
                .bind(state.observed_at.0)
                .bind(state.conclusive.map(|(allowed, _)| allowed))
                .bind(state.conclusive.map(|(_, at)| at.0))
                .bind(state.bad_streak)
                .bind(state.good_streak)
                .bind(state.firing_since.map(|at| at.0))
                .bind(state.firing.map(|verdict| verdict.as_str()));
        }
        query.execute(connection).await?;
        failpoint!("row.check");
    }
    Ok(())
}

/// What answers rest on, in their order.
pub(super) async fn answers(connection: &mut Connection, found: &[&LastAnswer]) -> Result<(), Trouble> {
    let once = connection.wants_each_once().then(|| latest(found, |answer| &answer.key));
    for (statement, found) in statements(&ANSWERS, once.as_deref().unwrap_or(found)) {
        let mut query = sql::query(statement);
        for answer in found {
            query = query.bind_key(&answer.key).bind(answer.at.0).bind(&answer.body);
        }
        query.execute(connection).await?;
        failpoint!("row.answer");
    }
    Ok(())
}

/// The rows as the statements for one and for many take them.
fn statements<'r, T>(
    [one, many]: &'static [Statement; 2],
    rows: &'r [T],
) -> impl Iterator<Item = (Words, &'r [T])> {
    let (whole, rest) = rows.split_at(rows.len() - rows.len() % TOGETHER);
    let whole = whole.chunks(TOGETHER).map(|rows| (many.words(), rows));
    whole.chain(rest.chunks(1).map(|row| (one.words(), row)))
}

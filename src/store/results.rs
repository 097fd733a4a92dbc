//! Results: the latest state of each check and what its answer rests on. There are thousands of them in a round, so that
//! many go in one statement.
//!
//! A statement for many says the same as that for one, many times; SQLite goes through its rows in their order, so that
//! of two versions of a check the later one stays. Serves `journal`.

use std::sync::LazyLock;

use super::fault::Trouble;
use super::sql::{self, Connection};
use super::{LastAnswer, Write};
use crate::alert::CheckState;

/// Rows in one statement; what is left over goes row by row, so that there are two statements in all.
const TOGETHER: usize = 32;

/// A row of checks, as `INSERT … VALUES` has it, and an upsert of so many.
static CHECKS: LazyLock<[String; 2]> = LazyLock::new(|| {
    [1, TOGETHER].map(|rows| {
        format!(
            "INSERT INTO checks
                 (organization, token, permission, target, access, reason, observed_at, allowed, conclusive_at,
                  bad_streak, good_streak, firing_since, firing)
             VALUES {}
             ON CONFLICT (organization, token, permission, target) DO UPDATE SET
                 access = excluded.access, reason = excluded.reason, observed_at = excluded.observed_at,
                 allowed = excluded.allowed, conclusive_at = excluded.conclusive_at,
                 bad_streak = excluded.bad_streak, good_streak = excluded.good_streak,
                 firing_since = excluded.firing_since, firing = excluded.firing",
            places(rows, 13)
        )
    })
});

static ANSWERS: LazyLock<[String; 2]> = LazyLock::new(|| {
    [1, TOGETHER].map(|rows| {
        format!(
            "INSERT INTO answers (organization, token, permission, target, at, body)
             VALUES {}
             ON CONFLICT (organization, token, permission, target) DO UPDATE SET
                 at = excluded.at, body = excluded.body",
            places(rows, 6)
        )
    })
});

/// `(?, ?), (?, ?)`: so many rows of so many values.
fn places(rows: usize, values: usize) -> String {
    let row = format!("({})", vec!["?"; values].join(", "));
    vec![row.as_str(); rows].join(", ")
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
    for (statement, states) in statements(&CHECKS, states) {
        let mut query = sql::query(statement);
        for state in states {
            query = query
                .bind(&state.key.organization)
                .bind(state.key.token.as_str())
                .bind(state.key.permission.as_str())
                .bind(&state.key.target)
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
    for (statement, found) in statements(&ANSWERS, found) {
        let mut query = sql::query(statement);
        for answer in found {
            query = query
                .bind(&answer.key.organization)
                .bind(answer.key.token.as_str())
                .bind(answer.key.permission.as_str())
                .bind(&answer.key.target)
                .bind(answer.at.0)
                .bind(&answer.body);
        }
        query.execute(connection).await?;
        failpoint!("row.answer");
    }
    Ok(())
}

/// The rows as the statements for one and for many take them.
fn statements<'r, T>(
    [one, many]: &'static [String; 2],
    rows: &'r [T],
) -> impl Iterator<Item = (&'static str, &'r [T])> {
    let (whole, rest) = rows.split_at(rows.len() - rows.len() % TOGETHER);
    let whole = whole.chunks(TOGETHER).map(|rows| (many.as_str(), rows));
    whole.chain(rest.chunks(1).map(|row| (one.as_str(), row)))
}

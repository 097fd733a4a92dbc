//! SQL to the database that the journal is kept in: a statement, its values, the rows of its answer.
//!
//! What is said is static text with `$n` for values, in words that every database of ours understands; values go in and
//! come out as text, whole numbers, yes or no, or nothing. Serves everything in the store that reads and writes rows.

use std::borrow::Cow;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnection, PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Connection as _, Row as _};

use super::fault::Trouble;
use crate::access::CheckKey;

/// How long a server may take for one statement before it ends it by itself, and how long it may wait for a lock or, in
/// a transaction, for us. Said anew in every transaction, because a pooler gives another session each time.
macro_rules! settings {
    () => {
        "; SET LOCAL statement_timeout = 5000; SET LOCAL lock_timeout = 2000; \
         SET LOCAL idle_in_transaction_session_timeout = 5000"
    };
}

/// As of one instant, and nothing is changed.
const LOOK: &str = concat!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", settings!());

/// What is acknowledged is on the disk, and on those of the standbys that the server waits for.
const WRITE: &str =
    concat!("BEGIN ISOLATION LEVEL READ COMMITTED", settings!(), "; SET LOCAL synchronous_commit = on");

/// What is gone tomorrow anyway does not wait for the disk.
const PASS: &str =
    concat!("BEGIN ISOLATION LEVEL READ COMMITTED", settings!(), "; SET LOCAL synchronous_commit = off");

/// How long we wait for a server's answer: longer than it waits itself, so that its word comes first where it has one.
const PATIENCE: Duration = Duration::from_secs(8);

/// The answer of a server, within our patience.
pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Trouble> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Trouble::Late),
    }
}

/// An open connection.
pub(super) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To see everything as of one instant.
    Look,
    Write,
    /// To write what nothing rests on.
    Pass,
}

impl Connection {
    /// Begins a transaction. Whoever leaves it unfinished gives the connection up, which ends it.
    pub(super) async fn begin(&mut self, purpose: Purpose) -> Result<(), Trouble> {
        match (&*self, purpose) {
            (Connection::Sqlite(_), Purpose::Look) => self.say("BEGIN").await,
            // A transaction that begins as a reader cannot wait for its turn to write.
            (Connection::Sqlite(_), Purpose::Write | Purpose::Pass) => self.say("BEGIN IMMEDIATE").await,
            (Connection::Postgres(_), Purpose::Look) => self.script(LOOK).await,
            (Connection::Postgres(_), Purpose::Write) => self.script(WRITE).await,
            (Connection::Postgres(_), Purpose::Pass) => self.script(PASS).await,
        }
    }

    pub(super) async fn commit(&mut self) -> Result<(), Trouble> {
        self.say("COMMIT").await
    }

    pub(super) async fn rollback(&mut self) -> Result<(), Trouble> {
        self.say("ROLLBACK").await
    }

    async fn say(&mut self, text: &'static str) -> Result<(), Trouble> {
        query(text).execute(self).await.map(drop)
    }

    /// Runs a script: statements without values.
    pub(super) async fn script(&mut self, text: &'static str) -> Result<(), Trouble> {
        match self {
            Connection::Sqlite(connection) => {
                sqlx::raw_sql(text).execute(connection).await?;
            }
            Connection::Postgres(connection) => {
                in_time(sqlx::raw_sql(text).execute(connection)).await?;
            }
        }
        Ok(())
    }

    /// Whether one statement may not have two versions of one row.
    pub(super) fn wants_each_once(&self) -> bool {
        matches!(self, Connection::Postgres(_))
    }

    /// Ends it in peace.
    pub(super) async fn close(self) {
        // A failure here loses nothing: what was committed is in the journal, which the next start reads.
        match self {
            Connection::Sqlite(connection) => drop(connection.close().await),
            Connection::Postgres(connection) => drop(in_time(connection.close()).await),
        }
    }

    /// Ends it at once, and waits until it is let go, so that the next connection does not find the journal busy.
    pub(super) async fn close_hard(self) {
        match self {
            Connection::Sqlite(connection) => drop(connection.close_hard().await),
            // A server that does not answer is not waited for.
            Connection::Postgres(connection) => drop(connection),
        }
    }
}

/// A value that is bound. Nothing has a type, too: some databases want to know of what there is none.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'q> {
    Text(Option<&'q str>),
    Number(Option<i64>),
    Truth(Option<bool>),
}

impl<'q> From<&'q str> for Value<'q> {
    fn from(text: &'q str) -> Value<'q> {
        Value::Text(Some(text))
    }
}

impl<'q> From<&'q String> for Value<'q> {
    fn from(text: &'q String) -> Value<'q> {
        Value::Text(Some(text))
    }
}

impl<'q> From<Option<&'q str>> for Value<'q> {
    fn from(text: Option<&'q str>) -> Value<'q> {
        Value::Text(text)
    }
}

impl<'q> From<&'q Option<String>> for Value<'q> {
    fn from(text: &'q Option<String>) -> Value<'q> {
        Value::Text(text.as_deref())
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Number(Some(number))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        Value::Number(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Value::Number(Some(number.into()))
    }
}

impl From<bool> for Value<'_> {
    fn from(truth: bool) -> Self {
        Value::Truth(Some(truth))
    }
}

impl From<Option<bool>> for Value<'_> {
    fn from(truth: Option<bool>) -> Self {
        Value::Truth(truth)
    }
}

/// What is said where databases have no common words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    pub sqlite: &'static str,
    pub postgres: &'static str,
}

impl From<&'static str> for Words {
    fn from(text: &'static str) -> Words {
        Words { sqlite: text, postgres: text }
    }
}

/// A statement with its values.
pub(super) struct Query<'q> {
    words: Words,
    values: Vec<Value<'q>>,
}

/// A statement, to which values are bound in the order of their numbers.
pub(super) fn query<'q>(words: impl Into<Words>) -> Query<'q> {
    Query { words: words.into(), values: Vec::new() }
}

impl<'q> Query<'q> {
    pub(super) fn bind(mut self, value: impl Into<Value<'q>>) -> Query<'q> {
        self.values.push(value.into());
        self
    }

    /// The four parts of a check's key, in the order of its columns.
    pub(super) fn bind_key(self, key: &'q CheckKey) -> Query<'q> {
        self.bind(&*key.organization)
            .bind(key.token.as_str())
            .bind(key.permission.as_str())
            .bind(&*key.target)
    }

    /// The same of the key after which a page begins; before the first page that is none, and no key comes before it.
    pub(super) fn bind_after(self, key: Option<&'q CheckKey>) -> Query<'q> {
        match key {
            Some(key) => self.bind_key(key),
            None => self.bind("").bind("").bind("").bind(""),
        }
    }

    /// Without a name on the server: the next statement may reach another session.
    fn of_postgres(self) -> sqlx::query::Query<'q, Postgres, PgArguments> {
        let mut query = sqlx::query(self.words.postgres).persistent(false);
        for value in self.values {
            query = match value {
                Value::Text(text) => query.bind(text.map(storable)),
                Value::Number(number) => query.bind(number),
                Value::Truth(truth) => query.bind(truth),
            };
        }
        query
    }

    fn of_sqlite(self) -> sqlx::query::Query<'q, Sqlite, SqliteArguments> {
        let mut query = sqlx::query(self.words.sqlite);
        for value in self.values {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
                Value::Truth(truth) => query.bind(truth),
            };
        }
        query
    }

    /// Runs it; says how many rows it changed.
    pub(super) async fn execute(self, connection: &mut Connection) -> Result<u64, Trouble> {
        Ok(match connection {
            Connection::Sqlite(connection) => self.of_sqlite().execute(connection).await?.rows_affected(),
            Connection::Postgres(connection) => {
                in_time(self.of_postgres().execute(connection)).await?.rows_affected()
            }
        })
    }

    /// Every row of its answer.
    pub(super) async fn rows(self, connection: &mut Connection) -> Result<Vec<Row>, Trouble> {
        Ok(match connection {
            Connection::Sqlite(connection) => {
                self.of_sqlite().fetch_all(connection).await?.into_iter().map(Row::Sqlite).collect()
            }
            Connection::Postgres(connection) => {
                let rows = in_time(self.of_postgres().fetch_all(connection)).await?;
                rows.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// The first row of its answer.
    pub(super) async fn first(self, connection: &mut Connection) -> Result<Option<Row>, Trouble> {
        Ok(match connection {
            Connection::Sqlite(connection) => {
                self.of_sqlite().fetch_optional(connection).await?.map(Row::Sqlite)
            }
            Connection::Postgres(connection) => {
                in_time(self.of_postgres().fetch_optional(connection)).await?.map(Row::Postgres)
            }
        })
    }

    /// The number in the first column of the first row; `table` is for the fault where it is none.
    pub(super) async fn number(
        self,
        connection: &mut Connection,
        table: &'static str,
    ) -> Result<Option<i64>, Trouble> {
        let row = self.first(connection).await?;
        row.map(|row| row.at(0).ok_or(Trouble::Row(table))).transpose()
    }
}

/// A row of an answer.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// What a column may hold: text, a whole number, yes or no, or perhaps nothing.
pub(super) trait Cell<'r>:
    sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite> + sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>
{
}

impl<'r, T> Cell<'r> for T where
    T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite> + sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>
{
}

/// Text as PostgreSQL keeps it: it has no character NUL.
fn storable(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

impl Row {
    /// The column of this name; `None` where it is not there or not of this kind.
    pub(super) fn get<'r, T: Cell<'r>>(&'r self, column: &'static str) -> Option<T> {
        match self {
            Row::Sqlite(row) => row.try_get(column).ok(),
            Row::Postgres(row) => row.try_get(column).ok(),
        }
    }

    /// The same of the column at this place.
    pub(super) fn at<'r, T: Cell<'r>>(&'r self, place: usize) -> Option<T> {
        match self {
            Row::Sqlite(row) => row.try_get(place).ok(),
            Row::Postgres(row) => row.try_get(place).ok(),
        }
    }

    /// Text that somebody may have changed: bytes that are no UTF-8 stand for themselves as well as they can.
    pub(super) fn any_text(&self, column: &'static str) -> Option<String> {
        match self {
            Row::Sqlite(row) => {
                row.try_get::<&[u8], _>(column).ok().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            }
            Row::Postgres(row) => row.try_get(column).ok(),
        }
    }
}

//! Rows that nobody here wrote, read as those of the journal: from a line of JSON for each row to what a start is
//! given. Only tests and fuzz targets have it; see `crate::foreign`.
//!
//! The tables are the real ones, so that what SQLite itself refuses (a wrong type, a second row of one key) is not
//! in them; words, numbers and bytes of text are anything. A text that begins with `0x` is bytes in hexadecimal.

use std::cell::RefCell;

use serde_json::{Map, Value};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};
use tokio::runtime::{Builder, Runtime};

use super::fault::Trouble;
use super::opening::MIGRATIONS;
use super::sql::{Connection, Purpose};
use super::{Kept, journal};
use crate::moment::Timestamp;

/// Tables in the order of their references, with the columns that hold text and may hold any bytes.
const TABLES: &[&str] = &[
    "canaries",
    "attempts",
    "sightings",
    "transitions",
    "creations",
    "checks",
    "findings",
    "breakers",
    "pauses",
    "declared",
    "answers",
];

struct Journal {
    runtime: Runtime,
    connection: Connection,
}

impl Journal {
    fn open() -> Option<Journal> {
        let runtime = Builder::new_current_thread().enable_all().build().ok()?;
        let connection = runtime.block_on(async {
            let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
            let connection = options.disable_statement_logging().connect().await.ok()?;
            let mut connection = Connection::Sqlite(connection);
            for (_, script) in MIGRATIONS {
                connection.script(script).await.ok()?;
            }
            Some(connection)
        })?;
        Some(Journal { runtime, connection })
    }
}

thread_local! {
    static JOURNAL: RefCell<Option<Journal>> = const { RefCell::new(None) };
}

/// What a start is given of these rows; `None` where a row was refused. Nothing is ever skipped.
pub fn kept(bytes: &[u8], now: Timestamp) -> Option<Kept> {
    JOURNAL.with_borrow_mut(|journal| {
        let journal = match journal {
            Some(journal) => journal,
            empty => empty.insert(Journal::open()?),
        };
        journal.runtime.block_on(read(&mut journal.connection, bytes, now))
    })
}

async fn read(all: &mut Connection, bytes: &[u8], now: Timestamp) -> Option<Kept> {
    let text = String::from_utf8_lossy(bytes);
    let rows = text.lines().take(12).filter_map(|line| serde_json::from_str::<Map<String, Value>>(line).ok());
    let mut rows: Vec<(usize, Map<String, Value>)> = rows
        .filter_map(|row| {
            let table = row.get("table")?.as_str()?;
            Some((TABLES.iter().position(|known| *known == table)?, row))
        })
        .collect();
    rows.sort_by_key(|(table, _)| *table);
    all.begin(Purpose::Look).await.ok()?;
    let mut there = Vec::new();
    for (table, row) in rows {
        if insert(all, TABLES.get(table)?, &row).await {
            there.push(*TABLES.get(table)?);
        }
    }
    let read = journal::kept(all, now).await;
    let latest = journal::latest_canaries(all, 100).await;
    let steps = journal::transitions(all, 1).await;
    all.rollback().await.ok()?;
    for trouble in [latest.err(), steps.err()].into_iter().flatten() {
        hold_refusal(&trouble, &there);
    }
    match read {
        Ok(kept) => {
            let count = |table: &str| there.iter().filter(|known| **known == table).count();
            assert_eq!(kept.checks.len(), count("checks"), "a check was skipped");
            assert_eq!(kept.breakers.len(), count("breakers"), "a breaker was skipped");
            assert_eq!(kept.declared.len(), count("declared"), "a declaration was skipped");
            assert!(kept.canaries.len() <= count("canaries") && kept.last_canary_id >= 0);
            Some(kept)
        }
        Err(trouble) => {
            hold_refusal(&trouble, &there);
            None
        }
    }
}

/// A row is refused by the name of its table, and only where there is one.
fn hold_refusal(trouble: &Trouble, there: &[&str]) {
    match trouble {
        Trouble::Row(table) => assert!(there.contains(table), "{table} is refused and has no row"),
        Trouble::Sql(error) => assert!(!there.is_empty(), "{error}"),
        _ => unreachable!("nothing was written"),
    }
}

/// Whether the row went in.
async fn insert(connection: &mut Connection, table: &str, row: &Map<String, Value>) -> bool {
    let cells: Vec<(&String, &Value)> = row.iter().filter(|(name, _)| *name != "table").collect();
    let plain = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !name.is_empty();
    if cells.is_empty() || !cells.iter().all(|(name, _)| plain(name)) {
        return false;
    }
    let names: Vec<&str> = cells.iter().map(|(name, _)| name.as_str()).collect();
    let places: Vec<String> = cells
        .iter()
        .enumerate()
        .map(|(at, (_, value))| match raw(value) {
            Some(_) => format!("CAST(${} AS TEXT)", at + 1),
            None => format!("${}", at + 1),
        })
        .collect();
    let sql = format!("INSERT INTO {table} (\"{}\") VALUES ({})", names.join("\", \""), places.join(", "));
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (_, value) in cells {
        query = match (raw(value), value) {
            (Some(bytes), _) => query.bind(bytes),
            (_, Value::String(text)) => query.bind(text.clone()),
            (_, Value::Bool(yes)) => query.bind(*yes),
            (_, Value::Number(number)) => match number.as_i64() {
                Some(whole) => query.bind(whole),
                None => query.bind(number.as_f64()),
            },
            _ => query.bind(None::<i64>),
        };
    }
    let Connection::Sqlite(connection) = connection else { return false };
    query.execute(connection).await.is_ok()
}

/// The bytes of a text that begins with `0x`.
fn raw(value: &Value) -> Option<Vec<u8>> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(value.as_str()?.strip_prefix("0x")?.as_bytes()).ok()
}

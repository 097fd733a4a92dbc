//! The journal in one SQLite file: opening, locking, versions, transactions.
//!
//! WAL with `synchronous=FULL`, one connection, one writer (a lock file beside the store). The rows are in
//! `journal`.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::sync::Mutex;

use super::fault::{Trouble, file_fault, shown};
use super::{Kept, LastAnswer, Mode, Operation, StoreFault, Transition, Write, journal};
use crate::access::CheckKey;
use crate::intent::Canary;
use crate::moment::Timestamp;

/// Every version of the file, in order; each script ends by setting `user_version` to its number.
const MIGRATIONS: &[(i64, &str)] = &[
    (1, include_str!("migrations/sqlite/0001_journal.sql")),
    (2, include_str!("migrations/sqlite/0002_answers.sql")),
];

/// The version that this program reads and writes.
const KNOWN: i64 = 2;

/// Marks a file as ours, so that the database of another program is never touched.
const APPLICATION_ID: i64 = 1_396_922_192;

/// How long another program may hold the file before a call gives up.
const BUSY: Duration = Duration::from_millis(if cfg!(test) { 250 } else { 5_000 });

/// The open journal. Dropping it ends it too, but only `close` waits until the file is at rest.
pub struct Store {
    path: PathBuf,
    mode: Mode,
    first_start: bool,
    /// `None` after a failure; the next call opens another.
    connection: Mutex<Option<SqliteConnection>>,
    /// An fsync failed; nothing that this process sees of the file can be trusted to be on the disk.
    untrusted: AtomicBool,
    /// Held for its lock; declared after the connection, because fields are dropped in order.
    _lock: Option<File>,
}

impl fmt::Debug for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Store({}, {:?})", shown(&self.path), self.mode)
    }
}

impl Store {
    /// Opens the journal, as its one writer or beside it.
    pub async fn open(path: &Path, mode: Mode) -> Result<Store, StoreFault> {
        // Absolute, so that no name (`file:…`) is taken for a URI, and no change of directory moves the
        // store.
        let path = std::path::absolute(path).map_err(|error| file_fault(path, &error))?;
        // One file has one lock, by whatever link it is named.
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        if path.to_str().is_none() {
            return Err(StoreFault::OddPath { path: shown(&path) });
        }
        let lock = match mode {
            Mode::Write => Some(prepare_file(&path)?),
            Mode::Read => None,
        };
        match std::fs::metadata(&path) {
            Ok(about) if about.is_file() => {}
            Ok(_) => return Err(StoreFault::NotAFile { path: shown(&path) }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreFault::Missing { path: shown(&path) });
            }
            Err(error) => return Err(file_fault(&path, &error)),
        }
        let told = |trouble: Trouble| trouble.told(&path, Operation::Open);
        let mut connection = connect(&path, mode).await.map_err(told)?;
        check_health(&mut connection, &path).await?;
        let first_start = match mode {
            Mode::Write => migrate(&mut connection, &path).await?,
            Mode::Read => {
                check_version(&mut connection, &path).await?;
                false
            }
        };
        Ok(Store {
            path,
            mode,
            first_start,
            connection: Mutex::new(Some(connection)),
            untrusted: AtomicBool::new(false),
            _lock: lock,
        })
    }

    /// Everything that a start needs, as of one instant.
    pub async fn load(&self, now: Timestamp) -> Result<Kept, StoreFault> {
        self.run(Operation::Load, async |connection: &mut SqliteConnection| {
            let mut snapshot = connection.begin().await?;
            let mut kept = journal::kept(&mut snapshot, now).await?;
            kept.first_start = self.first_start;
            snapshot.rollback().await?;
            Ok(kept)
        })
        .await
    }

    /// The latest `limit` canaries of all there ever were, newest first.
    pub async fn all_canaries(&self, limit: u32) -> Result<Vec<Canary>, StoreFault> {
        self.run(Operation::Load, async |connection: &mut SqliteConnection| {
            let mut snapshot = connection.begin().await?;
            let found = journal::latest_canaries(&mut snapshot, limit).await?;
            snapshot.rollback().await?;
            Ok(found)
        })
        .await
    }

    /// What the latest answer to this check rests on; `None` before the first.
    pub async fn last_answer(&self, key: &CheckKey) -> Result<Option<LastAnswer>, StoreFault> {
        self.run(Operation::Load, async |connection: &mut SqliteConnection| {
            journal::last_answer(connection, key).await
        })
        .await
    }

    /// The story of one canary, oldest step first; empty when there is no such canary.
    pub async fn transitions(&self, canary: i64) -> Result<Vec<Transition>, StoreFault> {
        self.run(Operation::Load, async |connection: &mut SqliteConnection| {
            journal::transitions(connection, canary).await
        })
        .await
    }

    /// Writes all of the batch or nothing; `Ok` means that it survives a power cut.
    pub async fn write(&self, batch: &[Write]) -> Result<(), StoreFault> {
        if self.mode == Mode::Read {
            return Err(StoreFault::ReadOnly { path: shown(&self.path) });
        }
        self.run(Operation::Write, async |connection: &mut SqliteConnection| {
            // IMMEDIATE: a transaction that begins as a reader cannot wait for its turn to write.
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            for entry in batch {
                journal::write(&mut transaction, entry).await?;
            }
            transaction.commit().await?;
            Ok(())
        })
        .await
    }

    /// Ends it: the log is folded into the file, then the lock is let go.
    pub async fn close(self) {
        if let Some(connection) = self.connection.into_inner() {
            // A failure here loses nothing: what was committed is in the log, which the next start reads.
            let _ = connection.close().await;
        }
    }

    /// Runs one call on the connection. The connection is put back only after a success: whatever a failed or
    /// dropped call left half done ends with its connection, and the next call opens another.
    async fn run<T, F>(&self, during: Operation, call: F) -> Result<T, StoreFault>
    where
        F: AsyncFnOnce(&mut SqliteConnection) -> Result<T, Trouble>,
    {
        let mut held = self.connection.lock().await;
        if self.untrusted.load(Ordering::Acquire) {
            return Err(StoreFault::Untrusted { path: shown(&self.path), during });
        }
        let told = |trouble: Trouble| {
            let fault = trouble.told(&self.path, during);
            if matches!(fault, StoreFault::Untrusted { .. }) {
                self.untrusted.store(true, Ordering::Release);
            }
            fault
        };
        let mut connection = match held.take() {
            Some(connection) => connection,
            None => connect(&self.path, self.mode).await.map_err(told)?,
        };
        match call(&mut connection).await {
            Ok(value) => {
                *held = Some(connection);
                Ok(value)
            }
            Err(trouble) => {
                // Waits until the file is let go, so that the next connection does not find it busy.
                let _ = connection.close_hard().await;
                Err(told(trouble))
            }
        }
    }

    /// What the connection says to a test.
    #[cfg(test)]
    pub(super) async fn ask(&self, sql: &'static str) -> String {
        let mut held = self.connection.lock().await;
        let row = sqlx::query(sql).fetch_one(held.as_mut().expect("open")).await.expect("an answer");
        row.try_get::<String, _>(0)
            .or_else(|_| row.try_get::<i64, _>(0).map(|n| n.to_string()))
            .expect("a value")
    }
}

/// Takes the writer's lock and makes the file, readable by its owner alone, if it is absent.
fn prepare_file(path: &Path) -> Result<File, StoreFault> {
    let fault = |error: &std::io::Error| file_fault(path, error);
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(PathBuf::from(beside))
        .map_err(|e| fault(&e))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StoreFault::Locked { path: shown(path) }),
        Err(TryLockError::Error(error)) => return Err(fault(&error)),
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            file.sync_all().map_err(|e| fault(&e))?;
            // Without this the file's name may be gone after a power cut, and with it every intent.
            let directory = path.parent().unwrap_or(Path::new("/"));
            File::open(directory).and_then(|d| d.sync_all()).map_err(|e| fault(&e))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            for end in ["", "-wal", "-shm"] {
                writable(path, end)?;
            }
        }
        Err(error) => return Err(fault(&error)),
    }
    Ok(lock)
}

/// SQLite would open a file that may not be written for reading, and its companions with the same mode: then
/// nothing could ever be stored, and it would be said far too late.
fn writable(path: &Path, end: &str) -> Result<(), StoreFault> {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    let file = PathBuf::from(name);
    match OpenOptions::new().write(true).open(&file) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(file_fault(&file, &error)),
    }
}

async fn connect(path: &Path, mode: Mode) -> Result<SqliteConnection, Trouble> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .disable_statement_logging();
    let options = match mode {
        Mode::Write => options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full),
        Mode::Read => options.read_only(true),
    };
    Ok(options.connect().await?)
}

/// Looks through the whole file once.
async fn check_health(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreFault> {
    let told = |error: sqlx::Error| Trouble::Sql(error).told(path, Operation::Open);
    let row = sqlx::query("PRAGMA quick_check(1)").fetch_one(connection).await.map_err(told)?;
    match row.try_get::<&str, _>(0) {
        Ok("ok") => Ok(()),
        _ => Err(StoreFault::Damaged { path: shown(path), during: Operation::Open }),
    }
}

/// The file's version; 0 for an empty one. A file that is not ours, or is from the future, is refused.
async fn version(connection: &mut SqliteConnection, path: &Path) -> Result<i64, StoreFault> {
    let told = |error: sqlx::Error| Trouble::Sql(error).told(path, Operation::Open);
    let application: i64 =
        sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(told)?;
    let found: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await.map_err(told)?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await
        .map_err(told)?;
    match (application, found, tables) {
        (0, 0, 0) => Ok(0),
        (APPLICATION_ID, found, _) if found > KNOWN => {
            Err(StoreFault::Newer { path: shown(path), found, known: KNOWN })
        }
        (APPLICATION_ID, found, _) if found > 0 => Ok(found),
        _ => Err(StoreFault::NotAStore { path: shown(path) }),
    }
}

/// Brings the file to our version, all of it or nothing; tells whether there was no journal before.
async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<bool, StoreFault> {
    let told = |error: sqlx::Error| Trouble::Sql(error).told(path, Operation::Open);
    // Begun as a writer even if nothing is to be done, so that a file that cannot be written shows now.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(told)?;
    let found = version(&mut transaction, path).await?;
    for (_, script) in MIGRATIONS.iter().filter(|(number, _)| *number > found) {
        sqlx::raw_sql(*script).execute(&mut *transaction).await.map_err(told)?;
    }
    transaction.commit().await.map_err(told)?;
    Ok(found == 0)
}

/// A reader changes nothing, so that the version must already be ours.
async fn check_version(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreFault> {
    let found = version(connection, path).await?;
    if found < KNOWN {
        return Err(StoreFault::Older { path: shown(path), found, known: KNOWN });
    }
    Ok(())
}

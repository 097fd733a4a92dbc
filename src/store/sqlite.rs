//! The journal in one SQLite file: where it lies, its lock, its connection.
//!
//! WAL with `synchronous=FULL`, one connection, one writer (a lock file beside the store, and the epoch in it for
//! where locks lie). How it is opened is in `opening`. Serves `keeper`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use super::fault::{Trouble, file_fault, shown};
use super::head::{Head, HeadFile};
use super::opening::{self, Opened, Witnesses};
use super::sql::Connection;
use super::{Mode, Operation, Store, StoreFault};
use crate::moment::Timestamp;
use crate::planted::{self, Defect};

/// How long another program may hold the file before a call gives up.
const BUSY: Duration = Duration::from_millis(if cfg!(test) { 250 } else { 5_000 });

/// The file of an open journal.
pub(super) struct File {
    path: PathBuf,
    /// Device and number of the file, which must stay what they are.
    identity: (u64, u64),
    /// Held for its lock.
    _lock: Option<std::fs::File>,
}

impl File {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn shown(&self) -> String {
        shown(&self.path)
    }

    /// Whether the path still leads to the file that was opened.
    pub(super) fn is_same(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|about| (about.dev(), about.ino()) == self.identity)
    }

    /// What the head file says.
    pub(super) fn head(&self) -> Option<Head> {
        HeadFile::beside(&self.path).read()
    }

    pub(super) async fn connect(&self, mode: Mode) -> Result<Connection, Trouble> {
        connect(&self.path, mode).await
    }
}

impl Store {
    /// Opens the journal, as its one writer or beside it. `now` is when, for the record of openings.
    pub async fn open(path: &Path, mode: Mode, now: Timestamp) -> Result<Store, StoreFault> {
        let (named, path) = opening::resolve(path)?;
        let lock = match mode {
            Mode::Write => {
                let lock = opening::lock(&path)?;
                failpoint!("open.locked");
                opening::prepare_file(&path)?;
                Some(lock)
            }
            Mode::Read => None,
        };
        let identity = match std::fs::metadata(&path) {
            Ok(about) if about.is_file() => (about.dev(), about.ino()),
            Ok(_) => return Err(StoreFault::NotAFile { path: shown(&path) }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreFault::Missing { path: shown(&path) });
            }
            Err(error) => return Err(file_fault(&path, &error)),
        };
        let told = |trouble: Trouble| trouble.told(&path, Operation::Open);
        let mut connection = connect(&path, mode).await.map_err(told)?;
        failpoint!("open.connected");
        let opened = begin(&mut connection, mode, &[&named, &path], now).await;
        let opened = match opened {
            Ok(opened) => opened,
            Err(fault) => {
                retire(connection, &fault).await;
                return Err(fault);
            }
        };
        let file = File { path, identity, _lock: lock };
        Ok(Store::of_file(file, mode, connection, opened))
    }

    /// Whether a writer holds this store. Leaves nothing behind but the lock file.
    pub fn is_held(path: &Path) -> Result<bool, StoreFault> {
        let (_, path) = opening::resolve(path)?;
        match opening::lock(&path) {
            Ok(_) => Ok(false),
            Err(StoreFault::Locked { .. }) => Ok(true),
            Err(fault) => Err(fault),
        }
    }

    /// The same, and nothing is made: where there is no lock file, nobody holds it.
    pub fn is_held_now(path: &Path) -> Result<bool, StoreFault> {
        let (_, resolved) = opening::resolve(path)?;
        if !opening::lock_file(&resolved).exists() {
            return Ok(false);
        }
        Store::is_held(path)
    }

    /// What the head file beside this store says, whether there is a store or not.
    pub fn witness(path: &Path) -> Option<Head> {
        opening::resolve(path).ok().and_then(|(_, path)| HeadFile::beside(&path).read())
    }
}

/// Looks through the file and takes it over, or merely looks whether it can be read. The last of its names is the one
/// behind all links.
async fn begin(
    connection: &mut Connection,
    mode: Mode,
    names: &[&Path; 2],
    now: Timestamp,
) -> Result<Option<Opened>, StoreFault> {
    let path = names[1];
    opening::check_health(connection, path).await?;
    failpoint!("open.checked");
    match mode {
        Mode::Write => opening::take_over(connection, &Witnesses::of(names), now, path).await.map(Some),
        Mode::Read => opening::check_version(connection, path).await.map(|()| None),
    }
}

/// Ends a connection that failed. After a failed fsync it is left as it is until the process ends: closing it would
/// fold the log into the file, and so write on and sync again what may never have reached the disk.
pub(super) async fn retire(connection: Connection, fault: &StoreFault) {
    if matches!(fault, StoreFault::Untrusted { .. }) {
        Box::leak(Box::new(connection));
    } else {
        connection.close_hard().await;
    }
}

async fn connect(path: &Path, mode: Mode) -> Result<Connection, Trouble> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .disable_statement_logging();
    let lossy = planted::is(Defect::LossyJournal);
    let synchronous = if lossy { SqliteSynchronous::Normal } else { SqliteSynchronous::Full };
    let options = match mode {
        // Nothing is sorted in files elsewhere: the daemon may write nowhere but beside its store.
        Mode::Write => options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .pragma("temp_store", "memory"),
        Mode::Read => options.read_only(true),
    };
    Ok(Connection::Sqlite(options.connect().await?))
}

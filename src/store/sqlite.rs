//! The journal in one SQLite file: its connection, its transactions, and who may still write.
//!
//! WAL with `synchronous=FULL`, one connection, one writer (a lock file beside the store, and the epoch in it for
//! where locks lie). How it is opened is in `opening`, the rows are in `journal` and `rows`.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::fault::{Trouble, file_fault, shown};
use super::head::{Head, HeadFile, Stand};
use super::opening::{self, Opened, Witnesses};
#[cfg(test)]
use super::sql;
use super::sql::{Connection, Purpose};
use super::{
    Kept, LastAnswer, Line, Mode, Operation, Past, StoreFault, Transition, Verified, Write, evidence,
    journal, rows, verify,
};
use crate::access::CheckKey;
use crate::intent::Canary;
use crate::moment::Timestamp;
use crate::planted::{self, Defect};

/// How long another program may hold the file before a call gives up.
const BUSY: Duration = Duration::from_millis(if cfg!(test) { 250 } else { 5_000 });

/// The open journal. Dropping it ends it too, but only `close` waits until the file is at rest.
pub struct Store {
    path: PathBuf,
    mode: Mode,
    /// What the opening found; of a reader, what says nothing.
    epoch: i64,
    past: Past,
    /// Device and number of the file, which must stay what they are.
    identity: (u64, u64),
    /// `None` after a failure; the next call opens another.
    connection: Mutex<Option<Connection>>,
    /// An fsync failed; nothing that this process sees of the file can be trusted to be on the disk.
    untrusted: AtomicBool,
    /// The file is somebody else's by now.
    superseded: AtomicBool,
    stand: std::sync::Mutex<Stand>,
    /// Held for its lock; declared after the connection, because fields are dropped in order.
    _lock: Option<File>,
}

impl fmt::Debug for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Store({}, {:?})", shown(&self.path), self.mode)
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
        let Opened { epoch, past, head } = match opened {
            Ok(opened) => opened,
            Err(fault) => {
                retire(connection, &fault).await;
                return Err(fault);
            }
        };
        let stand = Stand::new(head, &path);
        Ok(Store {
            path,
            mode,
            epoch,
            past,
            identity,
            connection: Mutex::new(Some(connection)),
            untrusted: AtomicBool::new(false),
            superseded: AtomicBool::new(false),
            stand: std::sync::Mutex::new(stand),
            _lock: lock,
        })
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

    /// Whether this process may still act on what it stored: nobody has taken the store over, as far as the last
    /// write saw, and nothing that it wrote is in doubt. Once false, always false.
    pub fn is_current(&self) -> bool {
        !self.untrusted.load(Ordering::Acquire) && !self.superseded.load(Ordering::Acquire)
    }

    /// The epoch that the file has at this moment, if this process may still act on what it stored. Whatever keeps it
    /// from being read is a no.
    pub async fn epoch_now(&self) -> Option<i64> {
        let read = async |connection: &mut Connection| rows::epoch(connection).await;
        let epoch = self.run(Operation::Load, read).await.ok()?;
        (self.is_same_file() && self.is_current()).then_some(epoch)
    }

    /// Everything that a start needs, as of one instant.
    pub async fn load(&self, now: Timestamp) -> Result<Kept, StoreFault> {
        self.run(Operation::Load, async |connection: &mut Connection| {
            connection.begin(Purpose::Look).await?;
            let mut kept = journal::kept(connection, now).await?;
            kept.past = self.past.clone();
            connection.rollback().await?;
            Ok(kept)
        })
        .await
    }

    /// The latest `limit` canaries of all there ever were, newest first.
    pub async fn all_canaries(&self, limit: u32) -> Result<Vec<Canary>, StoreFault> {
        self.run(Operation::Load, async |connection: &mut Connection| {
            connection.begin(Purpose::Look).await?;
            let found = journal::latest_canaries(connection, limit).await?;
            connection.rollback().await?;
            Ok(found)
        })
        .await
    }

    /// What the latest answer to this check rests on; `None` before the first.
    pub async fn last_answer(&self, key: &CheckKey) -> Result<Option<LastAnswer>, StoreFault> {
        self.run(Operation::Load, async |connection: &mut Connection| {
            journal::last_answer(connection, key).await
        })
        .await
    }

    /// The story of one canary, oldest step first; empty when there is no such canary.
    pub async fn transitions(&self, canary: i64) -> Result<Vec<Transition>, StoreFault> {
        self.run(Operation::Load, async |connection: &mut Connection| {
            journal::transitions(connection, canary).await
        })
        .await
    }

    /// Tells the whole record from its beginning, and compares it with the rows and with the head file.
    pub async fn verify(&self) -> Result<Verified, StoreFault> {
        // Before the snapshot: beside a running writer the head file must not be ahead of what is read.
        let known = HeadFile::beside(&self.path).read();
        self.run(Operation::Load, async |connection: &mut Connection| {
            connection.begin(Purpose::Look).await?;
            let mut verified = verify::whole(connection).await?;
            if let Some(known) = known
                && !evidence::holds(connection, &known).await?
            {
                verified.lost = Some(known);
            }
            connection.rollback().await?;
            Ok(verified)
        })
        .await
    }

    /// The entries of the record after this one, oldest first, `limit` at most.
    pub async fn record(&self, after: i64, limit: u32) -> Result<Vec<Line>, StoreFault> {
        self.run(Operation::Load, async |connection: &mut Connection| {
            evidence::page(connection, after, i64::from(limit)).await
        })
        .await
    }

    /// The number of the entry with this hash, if the record has it.
    pub async fn entry_of(&self, hash: &str) -> Result<Option<i64>, StoreFault> {
        self.run(Operation::Load, async |connection: &mut Connection| {
            evidence::seq_of(connection, hash).await
        })
        .await
    }

    /// The last entry of the record, as far as this writer knows for certain.
    pub fn head(&self) -> Head {
        self.stand().head()
    }

    /// Whether the head file could be written after the last commit.
    pub fn head_file_works(&self) -> bool {
        self.stand().file_works()
    }

    /// Writes all of the batch or nothing; `Ok` means that it survives a power cut, and says when its commit was asked
    /// for.
    pub async fn write(&self, batch: &[Write]) -> Result<Instant, StoreFault> {
        if self.mode == Mode::Read {
            return Err(StoreFault::ReadOnly { path: shown(&self.path) });
        }
        if self.superseded.load(Ordering::Acquire) {
            return Err(StoreFault::Superseded { path: shown(&self.path) });
        }
        let (head, asked_at) = self
            .run(Operation::Write, async |connection: &mut Connection| {
                failpoint!("write.asked", step(batch));
                connection.begin(Purpose::Write).await?;
                failpoint!("write.begun", step(batch));
                let mut head = self.still_ours(connection).await?;
                journal::write_all(connection, &mut head, batch).await?;
                self.stand().may_move_to(&head);
                failpoint!("write.filled", step(batch));
                let asked_at = Instant::now();
                connection.commit().await?;
                failpoint!("write.committed", step(batch));
                Ok((head, asked_at))
            })
            .await?;
        self.stand().moved_to(head);
        Ok(asked_at)
    }

    /// The end of the record, if the file is the one that was opened, the opening is the last one, and the record
    /// ends where this process left it.
    async fn still_ours(&self, connection: &mut Connection) -> Result<Head, Trouble> {
        let same = self.is_same_file();
        let head = evidence::tail(connection).await?;
        if !same || !self.stand().expects(&head) || rows::epoch(connection).await? != self.epoch {
            self.superseded.store(true, Ordering::Release);
            return Err(Trouble::Superseded);
        }
        Ok(head)
    }

    /// Whether the path still leads to the file that was opened.
    fn is_same_file(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|about| (about.dev(), about.ino()) == self.identity)
    }

    fn stand(&self) -> MutexGuard<'_, Stand> {
        self.stand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it: the log is folded into the file, then the lock is let go.
    pub async fn close(self) {
        failpoint!("store.closing");
        if let Some(connection) = self.connection.into_inner() {
            connection.close().await;
        }
        failpoint!("store.closed");
    }

    /// Runs one call on the connection. The connection is put back only after a success: whatever a failed or
    /// dropped call left half done ends with its connection, and the next call opens another.
    async fn run<T, F>(&self, during: Operation, call: F) -> Result<T, StoreFault>
    where
        F: AsyncFnOnce(&mut Connection) -> Result<T, Trouble>,
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
                let fault = told(trouble);
                retire(connection, &fault).await;
                Err(fault)
            }
        }
    }

    /// What the connection says to a test.
    #[cfg(test)]
    pub(super) async fn ask(&self, sql: &'static str) -> String {
        let mut held = self.connection.lock().await;
        let row = sql::query(sql).first(held.as_mut().expect("open")).await.expect("an answer");
        let row = row.expect("a row");
        row.at::<String>(0).or_else(|| row.at::<i64>(0).map(|number| number.to_string())).expect("a value")
    }
}

/// What a batch is about, for the points of crash tests: the state to which it brings its last canary.
fn step(batch: &[Write]) -> &'static str {
    let states = batch.iter().rev().filter_map(|entry| match entry {
        Write::Canary { canary, .. } => Some(canary.state.as_str()),
        _ => None,
    });
    states.into_iter().next().unwrap_or("rest")
}

/// Looks through the file and takes it over, or merely looks whether it can be read. The last of its names is the one
/// behind all links.
async fn begin(
    connection: &mut Connection,
    mode: Mode,
    names: &[&Path; 2],
    now: Timestamp,
) -> Result<Opened, StoreFault> {
    let path = names[1];
    opening::check_health(connection, path).await?;
    failpoint!("open.checked");
    match mode {
        Mode::Write => opening::take_over(connection, &Witnesses::of(names), now, path).await,
        Mode::Read => {
            opening::check_version(connection, path).await?;
            Ok(Opened { epoch: 0, past: Past::Continued, head: Head::none() })
        }
    }
}

/// Ends a connection that failed. After a failed fsync it is left as it is until the process ends: closing it would
/// fold the log into the file, and so write on and sync again what may never have reached the disk.
async fn retire(connection: Connection, fault: &StoreFault) {
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

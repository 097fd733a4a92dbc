//! Opening the journal: the lock, the health of the file, its version, and what it is to the journals before it; and
//! the same judgement where the journal is on a server and another process becomes its writer.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::bodies;
use super::evidence::{self, Kind};
use super::fault::{Trouble, file_fault, shown};
use super::head::{Head, HeadFile};
use super::lease::{self, Lease};
use super::sql::{self, Connection, Purpose};
use super::{Flaw, Operation, Past, StoreFault, journal, rows, verify};
use crate::moment::Timestamp;

/// Every version of the file, in order; each script ends by setting `user_version` to its number.
pub(super) const MIGRATIONS: &[(i64, &str)] = &[
    (1, include_str!("migrations/sqlite/0001_journal.sql")),
    (2, include_str!("migrations/sqlite/0002_answers.sql")),
    (3, include_str!("migrations/sqlite/0003_evidence.sql")),
    (4, include_str!("migrations/sqlite/0004_notices.sql")),
];

/// The version that this program reads and writes.
const KNOWN: i64 = 4;

/// The version from which on there is a record.
const RECORDED: i64 = 3;

/// Marks a file as ours, so that the database of another program is never touched.
const APPLICATION_ID: i64 = 1_396_922_192;

/// What lies outside the store and outlives it.
pub(super) struct Witnesses {
    /// What the head file says, or what this process saw of a shared journal.
    pub head: Option<Head>,
    /// The key of canary names is there, which is made after the first opening.
    pub key: bool,
    /// This is another server than the one that was seen, or one that a standby has replaced before.
    pub elsewhere: bool,
}

impl Witnesses {
    /// Looks for them, under every name that the store goes by.
    pub(super) fn of(names: &[&Path]) -> Witnesses {
        let keys = names.iter().map(|name| (name, name.with_extension("key")));
        Witnesses {
            head: names.iter().find_map(|name| HeadFile::beside(name).read()),
            key: keys.into_iter().any(|(name, key)| key != **name && key.exists()),
            elsewhere: false,
        }
    }
}

/// What an opening for writing found and made.
pub(super) struct Opened {
    pub epoch: i64,
    pub past: Past,
    pub head: Head,
}

/// The absolute path, and the one behind all links.
pub(super) fn resolve(path: &Path) -> Result<(PathBuf, PathBuf), StoreFault> {
    // Absolute, so that no name (`file:…`) is taken for a URI, and no change of directory moves the store.
    let named = std::path::absolute(path).map_err(|error| file_fault(path, &error))?;
    // One file has one lock, by whatever link it is named.
    let path = std::fs::canonicalize(&named).unwrap_or_else(|_| named.clone());
    if path.to_str().is_none() {
        return Err(StoreFault::OddPath { path: shown(&path) });
    }
    Ok((named, path))
}

/// The file beside the store whose lock is the writer's.
pub(super) fn lock_file(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    PathBuf::from(beside)
}

/// Takes the writer's lock.
pub(super) fn lock(path: &Path) -> Result<File, StoreFault> {
    let fault = |error: &std::io::Error| file_fault(path, error);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(lock_file(path))
        .map_err(|e| fault(&e))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreFault::Locked { path: shown(path) }),
        Err(TryLockError::Error(error)) => Err(fault(&error)),
    }
}

/// Makes the file, readable by its owner alone, if it is absent.
pub(super) fn prepare_file(path: &Path) -> Result<(), StoreFault> {
    let fault = |error: &std::io::Error| file_fault(path, error);
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            file.sync_all().map_err(|e| fault(&e))?;
            // Without this the file's name may be gone after a power cut, and with it every intent.
            let directory = path.parent().unwrap_or(Path::new("/"));
            File::open(directory).and_then(|d| d.sync_all()).map_err(|e| fault(&e))?;
            failpoint!("open.made");
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            for end in ["", "-wal", "-shm"] {
                writable(path, end)?;
            }
        }
        Err(error) => return Err(fault(&error)),
    }
    Ok(())
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

/// Looks through the whole file once.
pub(super) async fn check_health(connection: &mut Connection, path: &Path) -> Result<(), StoreFault> {
    let told = |trouble: Trouble| trouble.told(path, Operation::Open);
    let row = sql::query("PRAGMA quick_check(1)").first(connection).await.map_err(told)?;
    match row.as_ref().and_then(|row| row.at::<&str>(0)) {
        Some("ok") => Ok(()),
        _ => Err(StoreFault::Damaged { path: shown(path), during: Operation::Open }),
    }
}

/// The file's version; 0 for an empty one. A file that is not ours, or is from the future, is refused.
async fn version(connection: &mut Connection, path: &Path) -> Result<i64, StoreFault> {
    let mut numbers = [0; 3];
    for (number, question) in numbers.iter_mut().zip([
        "PRAGMA application_id",
        "PRAGMA user_version",
        "SELECT count(*) FROM sqlite_schema",
    ]) {
        let answer = sql::query(question).number(connection, "sqlite_schema").await;
        *number = answer.map_err(|trouble| trouble.told(path, Operation::Open))?.unwrap_or_default();
    }
    let [application, found, tables] = numbers;
    match (application, found, tables) {
        (0, 0, 0) => Ok(0),
        (APPLICATION_ID, found, _) if found > KNOWN => {
            Err(StoreFault::Newer { path: shown(path), found, known: KNOWN })
        }
        (APPLICATION_ID, found, _) if found > 0 => Ok(found),
        _ => Err(StoreFault::NotAStore { path: shown(path) }),
    }
}

/// Brings the file to our version, counts this opening and records it: all of it or nothing.
pub(super) async fn take_over(
    connection: &mut Connection,
    witnesses: &Witnesses,
    now: Timestamp,
    path: &Path,
) -> Result<Opened, StoreFault> {
    let told = |trouble: Trouble| trouble.told(path, Operation::Open);
    // Begun as a writer even if nothing is to be done, so that a file that cannot be written shows now.
    connection.begin(Purpose::Write).await.map_err(told)?;
    failpoint!("migrate.begun");
    let found = version(connection, path).await?;
    for (_, script) in MIGRATIONS.iter().filter(|(number, _)| *number > found) {
        connection.script(script).await.map_err(told)?;
    }
    failpoint!("migrate.scripted");
    let judged = judge(connection, found, witnesses).await.map_err(told)?;
    let opened = record(connection, judged, 0, now).await.map_err(told)?;
    failpoint!("migrate.recorded");
    connection.commit().await.map_err(told)?;
    failpoint!("migrate.done");
    Ok(opened)
}

/// Makes the holder of this lease the writer of a shared journal, as an opening makes one of a file's. The caller
/// commits; until then nobody can take the lease over.
pub(super) async fn succeed(
    connection: &mut Connection,
    lease: &Lease,
    witnesses: &Witnesses,
    now: Timestamp,
) -> Result<(Lease, Opened), Trouble> {
    lease::hold(connection, lease).await?;
    let untouched = rows::epoch(connection).await? == 0
        && evidence::tail(connection).await?.seq == 0
        && rows::canary_page(connection, i64::MIN, 1).await?.is_empty();
    let judged = judge(connection, if untouched { 0 } else { RECORDED }, witnesses).await?;
    let opened = record(connection, judged, lease.epoch, now).await?;
    Ok((lease::settle(connection, lease, opened.epoch).await?, opened))
}

/// What this journal is to the ones before it, by its record and by what lies beside it.
struct Judged {
    past: Past,
    flaws: Vec<Flaw>,
    /// The last opening of which the record tells.
    epoch: i64,
}

impl Judged {
    fn without_record(past: Past) -> Judged {
        Judged { past, flaws: Vec::new(), epoch: 0 }
    }
}

/// Judges a journal that had this version before.
async fn judge(connection: &mut Connection, found: i64, witnesses: &Witnesses) -> Result<Judged, Trouble> {
    let last = evidence::tail(connection).await?.seq;
    match (&witnesses.head, found) {
        (None, 0) if !witnesses.key => return Ok(Judged::without_record(Past::First)),
        (_, 0) => return Ok(Judged::without_record(Past::Emptied)),
        // From then on there is a record.
        (_, RECORDED..) if last == 0 => return Ok(Judged::without_record(Past::Emptied)),
        _ => {}
    }
    let mut judged = if found < RECORDED {
        Judged::without_record(Past::Continued)
    } else {
        let verified = verify::whole(connection).await?;
        Judged { past: verified.past(), flaws: verified.flaws, epoch: verified.epoch }
    };
    if let Some(known) = &witnesses.head
        && !matches!(judged.past, Past::Broken { .. })
        && (witnesses.elsewhere || !evidence::holds(connection, known).await?)
    {
        judged.past = Past::Regressed { known: known.seq, found: last };
    }
    Ok(judged)
}

/// Counts and records this opening, with this number at least; of a journal that had no record before, what is in it.
async fn record(
    connection: &mut Connection,
    judged: Judged,
    at_least: i64,
    now: Timestamp,
) -> Result<Opened, Trouble> {
    let Judged { past, flaws, epoch } = judged;
    let mut head = evidence::tail(connection).await?;
    let epoch = rows::epoch(connection).await?.max(epoch).saturating_add(1).max(at_least);
    let count = "INSERT INTO fence (one, epoch) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET epoch = excluded.epoch";
    sql::query(count).bind(epoch).execute(connection).await?;
    let first = head.seq == 0;
    let body = bodies::opened(epoch, &past, &flaws);
    evidence::append(connection, &mut head, now, Kind::Opened, &body).await?;
    if first {
        carry_over(connection, &mut head, now).await?;
    }
    Ok(Opened { epoch, past, head })
}

/// Records what was there before there was a record, so that telling the record yields the rows. A row that is
/// beyond us has no entry, which the next opening notices.
async fn carry_over(connection: &mut Connection, head: &mut Head, now: Timestamp) -> Result<(), Trouble> {
    let mut after = i64::MIN;
    loop {
        let page = rows::canary_page(connection, after, 500).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        for canary in page.iter().filter_map(|(_, canary)| canary.as_ref()) {
            let body = bodies::step(canary, "carried over from a journal without a record", None);
            evidence::append(connection, head, now, Kind::Canary, &body).await?;
        }
    }
    for bound in rows::lasting(connection).await? {
        journal::note(connection, head, &bound).await?;
    }
    Ok(())
}

/// A reader changes nothing, so that the version must already be ours.
pub(super) async fn check_version(connection: &mut Connection, path: &Path) -> Result<(), StoreFault> {
    let found = version(connection, path).await?;
    if found < KNOWN {
        return Err(StoreFault::Older { path: shown(path), found, known: KNOWN });
    }
    Ok(())
}

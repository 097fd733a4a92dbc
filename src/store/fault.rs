//! What can go wrong with the store: one sentence each that names the file and the way out, never SQL.

use std::path::Path;

use crate::access::words;

words! {
    /// What the store was asked to do; a label of metrics.
    Operation { Open = "open", Load = "load", Write = "write" }
}

/// Why the store did not do as it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    #[error("the store {path} cannot be made because its directory does not exist; create the directory")]
    NoDirectory { path: String },
    #[error("the store {path} does not exist; start `scopewatch serve` once, or correct store.url")]
    Missing { path: String },
    #[error("the store {path} is not a regular file; let store.url name a file")]
    NotAFile { path: String },
    #[error("the store {path} has a path that is not UTF-8; choose another one")]
    OddPath { path: String },
    #[error(
        "the store {path} is in use: a `scopewatch serve` or another command that writes is running; stop it first, or give this one a store of its own"
    )]
    Locked { path: String },
    #[error(
        "the store {path} has version {found} and this program knows versions up to {known}; use the newer \
         program that wrote it, or another store"
    )]
    Newer { path: String, found: i64, known: i64 },
    #[error(
        "the store {path} has version {found} and must be brought to version {known} before it can be read; \
         start `scopewatch serve` once"
    )]
    Older { path: String, found: i64, known: i64 },
    #[error("{path} is not a store of scopewatch; let store.url name another file")]
    NotAStore { path: String },
    #[error(
        "the store {path} is damaged; keep a copy of it, then restore a backup or move it away to begin anew"
    )]
    Damaged { path: String, during: Operation },
    #[error(
        "the store {path} holds something in its table {table} that this program does not understand; use \
         the program that wrote it, or restore a backup"
    )]
    Unreadable { path: String, table: &'static str },
    #[error(
        "the store {path} cannot be opened; check that this user may read and write it and its directory"
    )]
    Denied { path: String, during: Operation },
    #[error(
        "the store {path} was opened for reading only; this is a mistake of the program, please report it"
    )]
    ReadOnly { path: String },
    #[error("the store {path} cannot grow because the disk or a quota is full; free some space")]
    Full { path: String, during: Operation },
    #[error("the store {path} is being held by another program; close whatever has it open")]
    Busy { path: String, during: Operation },
    #[error("the disk under the store {path} reports errors; check the disk and the kernel's log")]
    Disk { path: String, during: Operation },
    #[error(
        "a write to the store {path} could not be made durable, so that nothing more is written to it; check \
         the disk, then restart"
    )]
    Untrusted { path: String, during: Operation },
    #[error(
        "another process took over the store {path} or replaced its file, so that this one writes nothing more \
         to it; see that only one uses it, then restart"
    )]
    Superseded { path: String },
    #[error(
        "the store {path} refused an entry that contradicts what it holds (a canary's name or number used \
         twice); this is a mistake of the program, please report it"
    )]
    Conflict { path: String },
    #[error("the store {path} failed unexpectedly (SQLite code {code}); try again, then restart")]
    Failed { path: String, during: Operation, code: i32 },
}

/// `SQLITE_IOERR_FSYNC` and `SQLITE_IOERR_DIR_FSYNC`: what was not synced may be lost although it reads well.
const FSYNC_CODES: [i32; 2] = [1034, 1290];

impl StoreFault {
    /// What the store was asked to do: `open`, `load` or `write`.
    pub fn operation(&self) -> &'static str {
        match self {
            StoreFault::NoDirectory { .. }
            | StoreFault::Missing { .. }
            | StoreFault::NotAFile { .. }
            | StoreFault::OddPath { .. }
            | StoreFault::Locked { .. }
            | StoreFault::Newer { .. }
            | StoreFault::Older { .. }
            | StoreFault::NotAStore { .. } => Operation::Open,
            StoreFault::Unreadable { .. } => Operation::Load,
            StoreFault::ReadOnly { .. } | StoreFault::Superseded { .. } | StoreFault::Conflict { .. } => {
                Operation::Write
            }
            StoreFault::Damaged { during, .. }
            | StoreFault::Denied { during, .. }
            | StoreFault::Full { during, .. }
            | StoreFault::Busy { during, .. }
            | StoreFault::Disk { during, .. }
            | StoreFault::Untrusted { during, .. }
            | StoreFault::Failed { during, .. } => *during,
        }
        .as_str()
    }
}

/// Why a step inside the store failed, before it is told as a fault.
#[derive(Debug)]
pub(super) enum Trouble {
    Sql(sqlx::Error),
    /// A row of this table is beyond us.
    Row(&'static str),
    /// An entry contradicts what is there.
    Contradiction,
    /// The file is somebody else's by now.
    Superseded,
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Trouble {
        Trouble::Sql(error)
    }
}

/// A path as it may stand in a sentence: no control characters, whatever the file system allows.
pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().replace(char::is_control, "\u{fffd}")
}

impl Trouble {
    /// As a fault of this store. The error itself is looked at only for its code: its text may quote values.
    pub(super) fn told(self, path: &Path, during: Operation) -> StoreFault {
        let path = shown(path);
        let error = match self {
            Trouble::Row(table) => return StoreFault::Unreadable { path, table },
            Trouble::Contradiction => return StoreFault::Conflict { path },
            Trouble::Superseded => return StoreFault::Superseded { path },
            Trouble::Sql(error) => error,
        };
        let code = match &error {
            sqlx::Error::Database(error) => {
                error.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or(-1)
            }
            _ => -1,
        };
        if FSYNC_CODES.contains(&code) {
            return StoreFault::Untrusted { path, during };
        }
        // The lower byte is the class; https://www.sqlite.org/rescode.html.
        match if code < 0 { code } else { code & 0xff } {
            3 | 8 | 14 | 23 => StoreFault::Denied { path, during },
            5 | 6 => StoreFault::Busy { path, during },
            10 => StoreFault::Disk { path, during },
            11 => StoreFault::Damaged { path, during },
            13 => StoreFault::Full { path, during },
            19 => StoreFault::Conflict { path },
            26 => StoreFault::NotAStore { path },
            _ => StoreFault::Failed { path, during, code },
        }
    }
}

/// A failed call of the file system while opening.
pub(super) fn file_fault(path: &Path, error: &std::io::Error) -> StoreFault {
    let (path, during) = (shown(path), Operation::Open);
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => StoreFault::NoDirectory { path },
        std::io::ErrorKind::IsADirectory => StoreFault::NotAFile { path },
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            StoreFault::Full { path, during }
        }
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            StoreFault::Denied { path, during }
        }
        _ => StoreFault::Disk { path, during },
    }
}

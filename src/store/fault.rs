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
        "another process took over the store {path}, or it was replaced, so that this one writes nothing more to it; a \
         file is for one process, so see that only one uses it, then restart; on a server the next lease mends it"
    )]
    Superseded { path: String },
    #[error(
        "the store {path} refused an entry that contradicts what it holds (a canary's name or number used \
         twice); this is a mistake of the program, please report it"
    )]
    Conflict { path: String },
    #[error("the store {path} failed unexpectedly (SQLite code {code}); try again, then restart")]
    Failed { path: String, during: Operation, code: i32 },

    #[error(
        "store.url {why}; write postgres://USER:PASSWORD@HOST:PORT/DATABASE, in a file if it holds a password"
    )]
    BadUrl { why: &'static str },
    #[error(
        "the database {path} cannot be reached; see that the server runs and that store.url, the network and its \
         firewalls lead to it"
    )]
    Unreachable { path: String, during: Operation },
    #[error("the database {path} did not answer in time; see what holds the server or the network up")]
    Late { path: String, during: Operation },
    #[error(
        "TLS to the database {path} failed: no encryption is offered, or its certificate is not trusted, over, or of \
         another name; correct the server, or sslmode and sslrootcert in store.url"
    )]
    Insecure { path: String, during: Operation },
    #[error(
        "the database {path} refuses the user or the password; correct them in store.url or on the server"
    )]
    Refused { path: String, during: Operation },
    #[error(
        "the database user of {path} may not do what is needed; let it own the schema, or grant it what it lacks"
    )]
    Forbidden { path: String, during: Operation },
    #[error("the server has no database {path}; create it, or correct store.url")]
    NoDatabase { path: String },
    #[error("the database {path} has no free connection; raise max_connections, or let others use fewer")]
    Crowded { path: String, during: Operation },
    #[error("the database {path} only reads, as a standby does; let store.url lead to the primary")]
    Standby { path: String, during: Operation },
    #[error("the database {path} failed unexpectedly (SQLSTATE {state}); see the server's log")]
    Server { path: String, during: Operation, state: String },
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
            | StoreFault::BadUrl { .. }
            | StoreFault::NoDatabase { .. }
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
            | StoreFault::Failed { during, .. }
            | StoreFault::Unreachable { during, .. }
            | StoreFault::Late { during, .. }
            | StoreFault::Insecure { during, .. }
            | StoreFault::Refused { during, .. }
            | StoreFault::Forbidden { during, .. }
            | StoreFault::Crowded { during, .. }
            | StoreFault::Standby { during, .. }
            | StoreFault::Server { during, .. } => *during,
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
    /// The journal is somebody else's by now.
    Superseded,
    /// Somebody else writes to it now.
    Taken,
    /// A server did not answer within our patience.
    Late,
    /// There is no journal.
    Missing,
    /// It is another program's.
    NotOurs,
    /// It is of a later program.
    Newer {
        found: i64,
        known: i64,
    },
    /// It is of an earlier one.
    Older {
        found: i64,
        known: i64,
    },
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
    /// As a fault of the store in this file. The error itself is looked at only for its code: its text may quote values.
    pub(super) fn told(self, path: &Path, during: Operation) -> StoreFault {
        let path = shown(path);
        let error = match self.plain(&path, during) {
            Ok(fault) => return fault,
            Err(error) => error,
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

    /// As a fault of the database of this name, likewise by its code alone.
    pub(super) fn told_of_server(self, name: &str, during: Operation) -> StoreFault {
        let path = name.to_owned();
        let state = match self.plain(name, during) {
            Ok(fault) => return fault,
            Err(sqlx::Error::Database(error)) => error.code().unwrap_or_default().into_owned(),
            Err(sqlx::Error::Tls(_)) => return StoreFault::Insecure { path, during },
            Err(sqlx::Error::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                return StoreFault::Insecure { path, during }; // what rustls says of a certificate
            }
            // The driver reads certificates when it connects, and says so.
            Err(sqlx::Error::Configuration(_)) => return StoreFault::Insecure { path, during },
            Err(sqlx::Error::Io(_)) => return StoreFault::Unreachable { path, during },
            Err(_) => "none".to_owned(),
        };
        // https://www.postgresql.org/docs/current/errcodes-appendix.html: a class of two, then its member.
        match (state.get(..2).unwrap_or_default(), state.as_str()) {
            (_, "25006") => StoreFault::Standby { path, during },
            (_, "25P03" | "57014" | "55P03") => StoreFault::Late { path, during },
            (_, "40001" | "40P01") => StoreFault::Busy { path, during },
            (_, "3D000") => StoreFault::NoDatabase { path },
            (_, "42501" | "3F000") => StoreFault::Forbidden { path, during },
            (_, "53100") => StoreFault::Full { path, during },
            (_, "53300") => StoreFault::Crowded { path, during },
            (_, "57P04") => StoreFault::NoDatabase { path },
            ("28", _) => StoreFault::Refused { path, during },
            // 57P01 to 57P03: it is shutting down, has crashed, or starts.
            ("08" | "57", _) => StoreFault::Unreachable { path, during },
            ("23", _) => StoreFault::Conflict { path },
            ("58", _) => StoreFault::Disk { path, during },
            ("XX", "XX001" | "XX002") => StoreFault::Damaged { path, during },
            _ => StoreFault::Server { path, during, state },
        }
    }

    /// What is a fault of any store, or the error of its driver.
    fn plain(self, path: &str, during: Operation) -> Result<StoreFault, sqlx::Error> {
        let path = path.to_owned();
        Ok(match self {
            Trouble::Row(table) => StoreFault::Unreadable { path, table },
            Trouble::Contradiction => StoreFault::Conflict { path },
            Trouble::Superseded => StoreFault::Superseded { path },
            Trouble::Taken => StoreFault::Locked { path },
            Trouble::Late => StoreFault::Late { path, during },
            Trouble::Missing => StoreFault::Missing { path },
            Trouble::NotOurs => StoreFault::NotAStore { path },
            Trouble::Newer { found, known } => StoreFault::Newer { path, found, known },
            Trouble::Older { found, known } => StoreFault::Older { path, found, known },
            Trouble::Sql(error) => return Err(error),
        })
    }

    /// Whether somebody else did the same at once, so that it is worth another try.
    pub(super) fn is_a_clash(&self) -> bool {
        let Trouble::Sql(sqlx::Error::Database(error)) = self else { return false };
        // Not serializable, deadlock, lock or statement timed out; and what is made twice: a row, a table, a function.
        const CLASHES: [&str; 8] = ["40001", "40P01", "55P03", "57014", "23505", "42P07", "42723", "XX000"];
        error.code().is_some_and(|code| CLASHES.contains(&&*code))
    }

    /// Whether the connection ended, and not what was asked.
    pub(super) fn is_a_lost_line(&self) -> bool {
        match self {
            Trouble::Sql(sqlx::Error::Io(_) | sqlx::Error::Protocol(_)) => true,
            Trouble::Sql(sqlx::Error::Database(error)) => error
                .code()
                .is_some_and(|code| code.starts_with("08") || code.starts_with("57P") || code == "25P03"),
            _ => false,
        }
    }

    /// Whether a server understood the question and does not answer it.
    pub(super) fn is_refused(&self) -> bool {
        // Not there, not allowed, or not now.
        const REFUSALS: [&str; 3] = ["42", "0A", "55"];
        match self {
            Trouble::Sql(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| REFUSALS.iter().any(|class| code.starts_with(class)))
            }
            _ => false,
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

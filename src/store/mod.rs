//! The journal: what must outlive the process. Intents before anything is asked, and all that followed.
//!
//! `write` is one transaction and its `Ok` means durable: only then may a request that changes the Hub leave.
//! The latest version of a row is the truth; canaries and their transitions are never deleted. Nothing here
//! reads a clock, and no secret ever gets here.
//!
//! Every opening for writing has a number, the epoch, which is in the file. A writer that finds another one there
//! has been replaced, and writes nothing more: the lock should prevent it, but on some file systems locks lie.
//!
//! After a failed `write` nothing of its batch is there, with one exception: when the failure struck while
//! the commit itself was made durable, or the future was dropped meanwhile, its outcome is unknown. The
//! caller must take it as not written and use none of its names again. Later calls work on a fresh
//! connection, which rolls back whatever was unfinished; after a failed fsync they fail cleanly instead until
//! a restart has read the file again, because what the system then holds in memory may never reach the disk.

mod bodies;
mod errands;
mod evidence;
mod fault;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod foreign;
mod head;
mod journal;
mod keeper;
mod lease;
mod notices;
mod opening;
mod plain;
mod postgres;
mod replay;
mod results;
mod rows;
mod sql;
mod sqlite;
#[cfg(test)]
pub(crate) mod tests;
mod verify;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::access::{CheckKey, TokenName, UnknownReason};
use crate::alert::CheckState;
use crate::alert::desk::Alert;
use crate::alert::outbox::Owed;
use crate::alert::teller::Change;
use crate::intent::{Canary, CanaryState};
use crate::moment::Timestamp;
use crate::report::Finding;

pub use evidence::{Kind, Line};
pub use fault::{Operation, StoreFault};
pub use head::Head;
pub use keeper::Store;
pub use lease::{Lease, MARGIN, RENEW_EVERY, TTL, WRITER};
pub use postgres::Server;

/// For how long a finding that ended is still told of. Its row stays.
pub const FINDINGS_STAY: Duration = Duration::from_secs(30 * 24 * 3600);

/// How the store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The one writer: takes the exclusive lock, makes the file if it is absent, brings it to our version.
    Write,
    /// Beside a running writer; changes nothing.
    Read,
}

/// A question that others may send for the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its number, never given twice under one epoch.
    pub number: i64,
    /// Of the secret that is meant, where it carries one.
    pub fingerprint: Option<String>,
    /// Text made by others; opaque here, never a secret.
    pub request: String,
}

/// A replica that waits for its turn, and sends for the leader meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helper {
    /// A name that no other process has.
    pub name: String,
    /// What must be alike for one to carry the errands of another; opaque here.
    pub likeness: String,
    /// How many it carries at once.
    pub room: usize,
}

/// An errand that a helper carries now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    pub epoch: i64,
    pub number: i64,
    pub fingerprint: Option<String>,
    pub request: String,
    /// From then on it does not leave any more: the leader may not lead any more.
    pub until: Instant,
}

/// Who waits besides the leader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Helpers {
    /// How many errands those that are alike carry at once.
    pub room: usize,
    /// How many are alike, and how many are not.
    pub alike: usize,
    pub unlike: usize,
}

/// On how many machines at least a write lies when it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On the one of the store: if it is lost, or another takes its place, the last writes may be gone.
    Local,
    /// On a standby as well.
    Remote,
}

impl Durability {
    /// In one word; a label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::Local => "local",
            Durability::Remote => "remote",
        }
    }
}

/// Everything that a start needs to go on where the last process stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Canaries that are still owed something or still being verified, oldest first.
    pub canaries: Vec<Canary>,
    /// The highest number ever given to a canary; 0 when there was none.
    pub last_canary_id: i64,
    /// Every check that was ever answered and not forgotten.
    pub checks: Vec<CheckState>,
    /// Every finding that lasts, and those that ended in the last days ([`FINDINGS_STAY`]).
    pub findings: Vec<Finding>,
    /// Creation calls of the last 24 hours, oldest first.
    pub creations: Vec<Creation>,
    /// Latched breakers.
    pub breakers: Vec<Breaker>,
    /// Pauses that are not over.
    pub pauses: Vec<Pause>,
    /// The last whoami of each token.
    pub declared: Vec<Declared>,
    /// What was told of each alert.
    pub alerts: Vec<Alert>,
    /// Messages that no sink has taken yet, in order.
    pub owed: Vec<Owed>,
    /// The number of this opening: every opening for writing has a higher one. A reader gets the writer's.
    pub epoch: i64,
    /// What this journal is to the ones before it. A reader does not judge: to it, everything continues.
    pub past: Past,
}

/// What a journal that was opened for writing is to the ones before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Past {
    /// Nothing was ever here.
    First,
    /// It goes on where it stopped.
    Continued,
    /// There is no record, although the head file or the key of canary names beside the store says that there
    /// was one.
    Emptied,
    /// An old copy: the head file knows an entry that is not in it, or not as it was.
    Regressed {
        /// The number of the entry that the head file knows.
        known: i64,
        /// The number of the last entry that is there.
        found: i64,
    },
    /// Somebody changed it: the record does not verify, or the rows are not what it says.
    Broken {
        /// The entry where that shows.
        seq: i64,
        /// What is wrong there.
        why: String,
    },
}

/// Something in the record or in the rows that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The entry where it shows; 0 where there is none.
    pub seq: i64,
    /// What is wrong there, as the end of a sentence.
    pub why: String,
}

/// An opening that found something wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// Its entry.
    pub seq: i64,
    pub at: Timestamp,
    /// What it found.
    pub past: Past,
    /// Every flaw that it found.
    pub flaws: Vec<Flaw>,
    /// It is not told any more: a person has since cleared a breaker, or, where the journal was emptied, the
    /// finding about that has ended.
    pub cleared: bool,
}

/// What the whole record came to when it was told from its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Number of its entries, in all and of each kind.
    pub entries: u64,
    pub kinds: BTreeMap<Kind, u64>,
    pub first_at: Option<Timestamp>,
    pub last_at: Option<Timestamp>,
    /// Its last entry.
    pub head: Head,
    /// The number of the last opening.
    pub epoch: i64,
    /// Openings that found something wrong.
    pub noted: Vec<Noted>,
    /// The first flaws; none when every entry is bound to the one before it and the rows are what it says.
    pub flaws: Vec<Flaw>,
    /// How many more there are.
    pub more_flaws: usize,
    /// What the head file knows and the record has not.
    pub lost: Option<Head>,
}

impl Past {
    /// In one word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Past::First => "first",
            Past::Continued => "continued",
            Past::Emptied => "emptied",
            Past::Regressed { .. } => "regressed",
            Past::Broken { .. } => "broken",
        }
    }

    /// What happened, for people; `None` when all is as it should be.
    pub fn told(&self) -> Option<String> {
        match self {
            Past::First | Past::Continued => None,
            Past::Emptied => Some(
                "the journal is empty although there was one: what it knew of canaries is lost".to_owned(),
            ),
            Past::Regressed { known, found } => Some(format!(
                "the journal is an old copy: it ends with entry {found}, and entry {known} was written once"
            )),
            Past::Broken { seq: 0, why } => Some(format!("the journal was changed by somebody else: {why}")),
            Past::Broken { seq, why } => {
                Some(format!("the journal was changed by somebody else: at entry {seq} of its record {why}"))
            }
        }
    }
}

/// One creation call of a Hub user, for the quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creation {
    pub owner: String,
    pub at: Timestamp,
}

/// An organization whose canaries are off until a person says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    pub organization: String,
    pub at: Timestamp,
    pub why: String,
}

/// A Hub user whose creations rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    pub owner: String,
    /// Since when.
    pub at: Timestamp,
    pub until: Timestamp,
    pub why: UnknownReason,
}

/// What a token said of itself last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    pub token: TokenName,
    /// Tells one secret of that name from the next; opaque here.
    pub fingerprint: String,
    pub at: Timestamp,
    /// JSON made by others; opaque here, never a secret.
    pub body: String,
}

/// What the latest answer to a check rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastAnswer {
    pub key: CheckKey,
    pub at: Timestamp,
    /// JSON made by others; opaque here, never a secret.
    pub body: String,
}

/// One step in the life of a canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    pub at: Timestamp,
    /// `None`: the intent was made.
    pub from: Option<CanaryState>,
    pub to: CanaryState,
    pub event: String,
}

/// One thing to be written.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// The canary as it is now, and what happened to it when; a transition is appended.
    Canary {
        canary: Canary,
        event: String,
        at: Timestamp,
    },
    Creation(Creation),
    Check(CheckState),
    Answer(LastAnswer),
    /// The check is no longer configured.
    ForgetCheck(CheckKey),
    Finding(Finding),
    Breaker(Breaker),
    /// A person cleared the breaker.
    Unlatch {
        organization: String,
        at: Timestamp,
    },
    Pause(Pause),
    Declared(Declared),
    /// What sinks were told, or are owed.
    Notice(Change),
}

impl Write {
    /// Whether it is about canaries and what bounds them, which is never left out.
    pub fn of_canaries(&self) -> bool {
        match self {
            Write::Canary { .. }
            | Write::Creation(_)
            | Write::Breaker(_)
            | Write::Unlatch { .. }
            | Write::Pause(_) => true,
            Write::Check(_)
            | Write::Answer(_)
            | Write::ForgetCheck(_)
            | Write::Finding(_)
            | Write::Declared(_)
            | Write::Notice(_) => false,
        }
    }
}

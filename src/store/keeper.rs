//! The open journal, whatever it is kept in: its connections, its transactions, and who may still write.
//!
//! A file has one writer from its opening on. A database on a server may be open to many processes: each reads, and
//! becomes the writer with a lease (in `leading`), which every transaction that writes shows again; the
//! others may send for it what only reads (in `sharing`). How a journal
//! is judged when a writer begins is in `opening`, the rows are in `journal` and `rows`.

mod leading;
mod sharing;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{MutexGuard, PoisonError};

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::fault::Trouble;
use super::head::{Head, Stand};
use super::opening::{Opened, Witnesses};
use super::postgres::{self, Identity, Server};
use super::sql::{Connection, Purpose};
use super::{
    Durability, Kept, LastAnswer, Line, Mode, Operation, Past, StoreFault, Transition, Verified, Write,
    evidence, journal, lease, rows, sqlite, verify,
};
use super::{Lease, plain};
use crate::access::CheckKey;
use crate::intent::Canary;
use crate::moment::Timestamp;

/// The open journal. Dropping it ends it too, but only `close` waits until it is at rest.
pub struct Store {
    mode: Mode,
    /// `None` after a failure; the next call opens another.
    connection: Mutex<Option<Connection>>,
    /// Another one to a server, for leases: they do not wait for what is being written.
    aside: Mutex<Option<Connection>>,
    /// A third one, for errands: they wait for neither.
    errands: Mutex<Option<Connection>>,
    /// An fsync failed; nothing that this process sees of the file can be trusted to be on the disk.
    untrusted: AtomicBool,
    /// The journal is somebody else's by now.
    superseded: AtomicBool,
    /// Of a writer.
    writing: std::sync::Mutex<Option<Writing>>,
    /// Of a server: what was seen of its journal.
    seen: std::sync::Mutex<Seen>,
    /// Declared after the connections, because fields are dropped in order and it holds the lock of a file.
    back: Back,
}

/// What the journal is kept in.
enum Back {
    File(sqlite::File),
    Server(Box<Server>),
}

/// What makes this process the writer.
struct Writing {
    /// The number of its opening, and what it found.
    epoch: i64,
    past: Past,
    stand: Stand,
    /// Of a server.
    lease: Option<Lease>,
}

/// How far a shared journal was known to go, and where: whoever takes it over later finds no less and no other.
#[derive(Default)]
struct Seen {
    head: Option<Head>,
    identity: Identity,
}

impl Seen {
    fn rise_to(&mut self, head: &Head) {
        if head.seq > self.head.as_ref().map_or(0, |known| known.seq) {
            self.head = Some(head.clone());
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.back {
            Back::File(file) => write!(out, "Store({}, {:?})", file.shown(), self.mode),
            Back::Server(server) => write!(out, "Store({}, {:?})", server.name(), self.mode),
        }
    }
}

fn locked<T>(mutex: &std::sync::Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    fn new(back: Back, mode: Mode, connection: Connection) -> Store {
        Store {
            mode,
            connection: Mutex::new(Some(connection)),
            aside: Mutex::default(),
            errands: Mutex::default(),
            untrusted: AtomicBool::new(false),
            superseded: AtomicBool::new(false),
            writing: std::sync::Mutex::default(),
            seen: std::sync::Mutex::default(),
            back,
        }
    }

    /// Of a file, as `sqlite` opened it: a writer's has its opening.
    pub(super) fn of_file(
        file: sqlite::File,
        mode: Mode,
        connection: Connection,
        opened: Option<Opened>,
    ) -> Store {
        let writing = opened.map(|Opened { epoch, past, head }| Writing {
            epoch,
            past,
            stand: Stand::new(head, Some(file.path())),
            lease: None,
        });
        let store = Store::new(Back::File(file), mode, connection);
        *locked(&store.writing) = writing;
        store
    }

    /// Opens the journal in a database on a server, to read it; with `Mode::Write` its tables are made or brought to our
    /// version, and it can be taken over.
    pub async fn connect(server: Server, mode: Mode) -> Result<Store, StoreFault> {
        let told = |trouble| server.told(trouble, Operation::Open);
        let mut identity = Identity::default();
        let connection = match mode {
            Mode::Write => {
                let mut connection = postgres::migrate(&server).await.map_err(told)?;
                identity = postgres::identity(&mut connection).await.map_err(told)?;
                connection
            }
            Mode::Read => postgres::look(&server).await.map_err(told)?,
        };
        let store = Store::new(Back::Server(Box::new(server)), mode, connection);
        locked(&store.seen).identity = identity;
        Ok(store)
    }

    /// On how many machines at least a write lies when it is acknowledged.
    pub async fn durability(&self) -> Result<Durability, StoreFault> {
        if let Back::File(_) = self.back {
            return Ok(Durability::Local);
        }
        let standbys = self.run(&self.aside, Operation::Load, None, postgres::standbys).await?;
        let any = standbys.is_some_and(|names| !names.trim().is_empty());
        Ok(if any { Durability::Remote } else { Durability::Local })
    }

    /// Whether this process may still act on what it stored: nobody has taken the store over, as far as the last
    /// write saw, and nothing that it wrote is in doubt. Of a file: once false, always false.
    pub fn is_current(&self) -> bool {
        let leads = matches!(self.back, Back::File(_)) || locked(&self.writing).is_some();
        leads && !self.untrusted.load(Ordering::Acquire) && !self.superseded.load(Ordering::Acquire)
    }

    /// The epoch that the journal has at this moment, if this process may still act on what it stored. Whatever keeps it
    /// from being read is a no.
    pub async fn epoch_now(&self) -> Option<i64> {
        match &self.back {
            Back::File(file) => {
                let read = async |connection: &mut Connection| rows::epoch(connection).await;
                let epoch = self.one(Operation::Load, read).await.ok()?;
                (file.is_same() && self.is_current()).then_some(epoch)
            }
            Back::Server(_) => {
                let (epoch, lease) = {
                    let writing = locked(&self.writing);
                    let writing = writing.as_ref()?;
                    (writing.epoch, writing.lease.clone()?)
                };
                let look = async |connection: &mut Connection| lease::is_ours(connection, &lease).await;
                let ours = self.run(&self.aside, Operation::Load, Some(Purpose::Look), look).await.ok()?;
                let until = locked(&self.writing).as_ref()?.lease.as_ref()?.until;
                (ours && self.is_current() && Instant::now() < until).then_some(epoch)
            }
        }
    }

    /// Everything that a start needs, as of one instant.
    pub async fn load(&self, now: Timestamp) -> Result<Kept, StoreFault> {
        let past = locked(&self.writing).as_ref().map_or(Past::Continued, |writing| writing.past.clone());
        self.snapshot(async |connection: &mut Connection| {
            let mut kept = journal::kept(connection, now).await?;
            kept.past = past;
            Ok(kept)
        })
        .await
    }

    /// The latest `limit` canaries of all there ever were, newest first.
    pub async fn all_canaries(&self, limit: u32) -> Result<Vec<Canary>, StoreFault> {
        self.snapshot(async |connection: &mut Connection| journal::latest_canaries(connection, limit).await)
            .await
    }

    /// What the latest answer to this check rests on; `None` before the first.
    pub async fn last_answer(&self, key: &CheckKey) -> Result<Option<LastAnswer>, StoreFault> {
        self.one(Operation::Load, async |connection: &mut Connection| {
            journal::last_answer(connection, key).await
        })
        .await
    }

    /// What the latest answers to checks rest on, in the order of their keys: those after this one, a thousand at most;
    /// none when there are no more.
    pub async fn answers_after(&self, after: Option<&CheckKey>) -> Result<Vec<LastAnswer>, StoreFault> {
        self.one(Operation::Load, async |connection: &mut Connection| {
            journal::answers_after(connection, after).await
        })
        .await
    }

    /// The story of one canary, oldest step first; empty when there is no such canary.
    pub async fn transitions(&self, canary: i64) -> Result<Vec<Transition>, StoreFault> {
        self.one(Operation::Load, async |connection: &mut Connection| {
            journal::transitions(connection, canary).await
        })
        .await
    }

    /// Tells the whole record from its beginning, and compares it with the rows and with what is known of it elsewhere.
    pub async fn verify(&self) -> Result<Verified, StoreFault> {
        // Before the snapshot: beside a running writer the head file must not be ahead of what is read.
        let known = match &self.back {
            Back::File(file) => file.head(),
            Back::Server(_) => locked(&self.seen).head.clone(),
        };
        self.snapshot(async |connection: &mut Connection| {
            let mut verified = verify::whole(connection).await?;
            if let Some(known) = known
                && !evidence::holds(connection, &known).await?
            {
                verified.lost = Some(known);
            }
            Ok(verified)
        })
        .await
    }

    /// The entries of the record after this one, oldest first, `limit` at most.
    pub async fn record(&self, after: i64, limit: u32) -> Result<Vec<Line>, StoreFault> {
        self.one(Operation::Load, async |connection: &mut Connection| {
            evidence::page(connection, after, i64::from(limit)).await
        })
        .await
    }

    /// The number of the entry with this hash, if the record has it.
    pub async fn entry_of(&self, hash: &str) -> Result<Option<i64>, StoreFault> {
        self.one(Operation::Load, async |connection: &mut Connection| {
            evidence::seq_of(connection, hash).await
        })
        .await
    }

    /// The last entry of the record, as far as this writer knows for certain.
    pub fn head(&self) -> Head {
        locked(&self.writing).as_ref().map_or_else(Head::none, |writing| writing.stand.head())
    }

    /// Whether the head file could be written after the last commit, where there is to be one.
    pub fn head_file_works(&self) -> bool {
        locked(&self.writing).as_ref().is_none_or(|writing| writing.stand.file_works())
    }

    /// Writes all of the batch or nothing; `Ok` means that it survives a power cut, and says when its commit was asked
    /// for.
    pub async fn write(&self, batch: &[Write]) -> Result<Instant, StoreFault> {
        if self.mode == Mode::Read {
            return Err(self.read_only());
        }
        if self.superseded.load(Ordering::Acquire) {
            return Err(self.told(Trouble::Superseded, Operation::Write));
        }
        let plain = match self.back {
            Back::File(_) => batch.into(),
            Back::Server(_) => plain::batch(batch),
        };
        failpoint!("write.asked", step(batch));
        let (head, asked_at) = self
            .run(
                &self.connection,
                Operation::Write,
                Some(Purpose::Write),
                async |connection: &mut Connection| {
                    failpoint!("write.begun", step(batch));
                    let mut head = self.still_ours(connection).await?;
                    journal::write_all(connection, &mut head, &plain).await?;
                    self.at_stand(|stand| stand.may_move_to(&head));
                    failpoint!("write.filled", step(batch));
                    let asked_at = Instant::now();
                    connection.commit().await?;
                    failpoint!("write.committed", step(batch));
                    Ok((head, asked_at))
                },
            )
            .await?;
        if let Back::Server(_) = self.back {
            locked(&self.seen).rise_to(&head);
        }
        self.at_stand(|stand| stand.moved_to(head));
        Ok(asked_at)
    }

    /// The end of the record, if the journal is the one that was opened, the opening is the last one, and the record
    /// ends where this process left it. On a server nobody takes it over before the transaction ends.
    async fn still_ours(&self, connection: &mut Connection) -> Result<Head, Trouble> {
        let writer = locked(&self.writing).as_ref().map(|writing| (writing.epoch, writing.lease.clone()));
        let ours = async {
            let Some((epoch, lease)) = writer else { return Err(Trouble::Superseded) };
            let same = match (&self.back, &lease) {
                (Back::File(file), _) => file.is_same(),
                (Back::Server(_), Some(lease)) => lease::hold(connection, lease).await.map(|()| true)?,
                (Back::Server(_), None) => false,
            };
            let head = evidence::tail(connection).await?;
            let expected = self.at_stand(|stand| stand.expects(&head)).unwrap_or_default();
            if !same || !expected || rows::epoch(connection).await? != epoch {
                return Err(Trouble::Superseded);
            }
            Ok(head)
        };
        let ours = ours.await;
        if let Err(Trouble::Superseded) = &ours {
            self.superseded.store(true, Ordering::Release);
        }
        ours
    }

    fn at_stand<T>(&self, act: impl FnOnce(&mut Stand) -> T) -> Option<T> {
        locked(&self.writing).as_mut().map(|writing| act(&mut writing.stand))
    }

    /// Ends it: what was written is folded into the file, then the lock is let go.
    pub async fn close(self) {
        failpoint!("store.closing");
        let lines = [self.connection, self.aside, self.errands];
        for connection in lines.into_iter().filter_map(Mutex::into_inner) {
            connection.close().await;
        }
        failpoint!("store.closed");
    }

    fn read_only(&self) -> StoreFault {
        StoreFault::ReadOnly {
            path: match &self.back {
                Back::File(file) => file.shown(),
                Back::Server(server) => server.name().to_owned(),
            },
        }
    }

    fn told(&self, trouble: Trouble, during: Operation) -> StoreFault {
        match &self.back {
            Back::File(file) => trouble.told(file.path(), during),
            Back::Server(server) => server.told(trouble, during),
        }
    }

    /// One question. On a server it is in a transaction as well, so that it has our settings and one session.
    async fn one<T, F>(&self, during: Operation, call: F) -> Result<T, StoreFault>
    where
        F: AsyncFnOnce(&mut Connection) -> Result<T, Trouble>,
    {
        let purpose = match self.back {
            Back::File(_) => None,
            Back::Server(_) => Some(Purpose::Look),
        };
        self.run(&self.connection, during, purpose, call).await
    }

    /// Several questions, answered as of one instant.
    async fn snapshot<T, F>(&self, call: F) -> Result<T, StoreFault>
    where
        F: AsyncFnOnce(&mut Connection) -> Result<T, Trouble>,
    {
        self.run(&self.connection, Operation::Load, Some(Purpose::Look), call).await
    }

    /// Runs one call on the connection, within a transaction where it is to have one; one that writes commits it itself.
    /// The connection is put back only after a success: whatever a failed or dropped call left half done ends with its
    /// connection, and the next call opens another.
    async fn run<T, F>(
        &self,
        line: &Mutex<Option<Connection>>,
        during: Operation,
        purpose: Option<Purpose>,
        call: F,
    ) -> Result<T, StoreFault>
    where
        F: AsyncFnOnce(&mut Connection) -> Result<T, Trouble>,
    {
        let mut held = line.lock().await;
        if self.untrusted.load(Ordering::Acquire) {
            return Err(match &self.back {
                Back::File(file) => StoreFault::Untrusted { path: file.shown(), during },
                Back::Server(server) => server.told(Trouble::Superseded, during),
            });
        }
        let told = |trouble: Trouble| {
            let fault = self.told(trouble, during);
            if matches!(fault, StoreFault::Untrusted { .. }) {
                self.untrusted.store(true, Ordering::Release);
            }
            fault
        };
        let held_before = held.take();
        let may_be_lost = held_before.is_some() && matches!(self.back, Back::Server(_));
        let mut connection = match held_before {
            Some(connection) => connection,
            None => self.another().await.map_err(told)?,
        };
        let mut begun = begin(&mut connection, purpose).await;
        // A server that was started anew since the last call ended it then, and nothing has happened yet.
        if may_be_lost && begun.as_ref().is_err_and(Trouble::is_a_lost_line) {
            connection = self.another().await.map_err(told)?;
            begun = begin(&mut connection, purpose).await;
        }
        let done = match begun {
            Ok(()) => looked(call(&mut connection).await, &mut connection, purpose).await,
            Err(trouble) => Err(trouble),
        };
        match done {
            Ok(value) => {
                *held = Some(connection);
                Ok(value)
            }
            Err(trouble) => {
                let fault = told(trouble);
                sqlite::retire(connection, &fault).await;
                Err(fault)
            }
        }
    }

    /// What the connection says to a test.
    #[cfg(test)]
    pub(super) async fn ask(&self, text: &'static str) -> String {
        let ask = async |connection: &mut Connection| {
            let row = super::sql::query(text).first(connection).await?.expect("a row");
            Ok(row.at::<String>(0).or_else(|| row.at::<i64>(0).map(|number| number.to_string())))
        };
        self.one(Operation::Load, ask).await.expect("an answer").expect("a value")
    }

    /// As if the journal had been seen on another server.
    #[cfg(test)]
    pub(super) fn saw_it_elsewhere(&self, system: Option<&str>, timeline: Option<&str>) {
        let [system, timeline] = [system, timeline].map(|part| part.map(str::to_owned));
        locked(&self.seen).identity = Identity { system, timeline };
    }

    async fn another(&self) -> Result<Connection, Trouble> {
        match &self.back {
            Back::File(file) => file.connect(self.mode).await,
            Back::Server(server) => server.connect().await,
        }
    }
}

/// Begins what the call is to have. One to a server that has its own transactions gets a connection that stands.
async fn begin(connection: &mut Connection, purpose: Option<Purpose>) -> Result<(), Trouble> {
    match (purpose, &*connection) {
        (Some(purpose), _) => connection.begin(purpose).await,
        (None, Connection::Sqlite(_)) => Ok(()),
        (None, Connection::Postgres(_)) => {
            connection.begin(Purpose::Look).await?;
            connection.rollback().await
        }
    }
}

/// What a call came to; the transaction of one that only looked is over.
async fn looked<T>(
    done: Result<T, Trouble>,
    connection: &mut Connection,
    purpose: Option<Purpose>,
) -> Result<T, Trouble> {
    if done.is_ok() && purpose == Some(Purpose::Look) {
        connection.rollback().await?;
    }
    done
}

/// What a batch is about, for the points of crash tests: the state to which it brings its last canary.
fn step(batch: &[Write]) -> &'static str {
    let states = batch.iter().rev().filter_map(|entry| match entry {
        Write::Canary { canary, .. } => Some(canary.state.as_str()),
        _ => None,
    });
    states.into_iter().next().unwrap_or("rest")
}

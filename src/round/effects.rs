//! What the engine is told and what it wants done: the values that pass between it and whoever carries them out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{Access, Permission, TokenName};
use crate::alert::message::{Message, Tidings};
use crate::alert::outbox::{Delivery, Outcome};
use crate::config::Config;
use crate::exchange::{Exchange, Request};
use crate::hub::predict::Known;
use crate::hub::whoami::Declared;
use crate::intent::Canary;
use crate::moment::Timestamp;
use crate::report::{Report, Snapshot};
use crate::schedule::Classes;
use crate::secret::SecretFault;
use crate::store::Write;

use super::gate::Bound;
use super::sweeps::Name;

/// What may happen to the engine.
#[derive(Debug)]
pub enum Event {
    /// Schedules are due.
    Due(Classes),
    /// The one task of a one-shot engine: what is due, of these tokens (none named: of all).
    Once { due: Classes, only: Vec<TokenName> },
    /// Everything of this token, soon; the schedules are not touched.
    Probe(TokenName),
    /// Every organization is to be searched for canaries now.
    Sweep,
    /// What the journal has under the names of a sweep; `None` if it could not be read.
    Recalled { organization: String, found: Option<Vec<Canary>> },
    /// The keys were read: the fingerprint of each usable one, or what is wrong with it.
    Keys(BTreeMap<TokenName, Result<String, SecretFault>>),
    /// A request came back.
    Heard { flight: u64, exchange: Box<Exchange> },
    /// Other replicas carry so many requests at once.
    Helpers(usize),
    /// A request that was to leave from elsewhere came back, and was not answered.
    Returned { flight: u64, request: Request },
    /// A batch is durable, or not; `at` is when its commit was asked for, since when what stands on it grows old.
    Stored { op: u64, done: bool, at: Duration },
    /// Time has passed.
    Wake,
    /// What became of a request to a sink.
    Notified { sink: String, delivery: Delivery },
    /// A new configuration, valid as a whole.
    Configured(Arc<Config>),
    /// Begin nothing new; end what must not be left half-way.
    Stop,
}

/// What the engine wants done.
#[derive(Debug)]
pub enum Effect {
    /// Read all keys again; answered by [`Event::Keys`].
    LoadKeys,
    /// Send, if it may still leave ([`super::gate::may_leave`]); answered by [`Event::Heard`].
    Send { flight: u64, request: Request, bound: Option<Bound> },
    /// Let another replica send it, with the secret of this fingerprint; answered by [`Event::Heard`] or
    /// [`Event::Returned`].
    SendAway { flight: u64, request: Request, fingerprint: Option<String> },
    /// Make durable, in one transaction and in this order; answered by [`Event::Stored`].
    Store { op: u64, batch: Vec<Write> },
    /// Read from the journal what it has under these names; answered by [`Event::Recalled`].
    Recall { organization: String, names: Vec<Name> },
    /// Tell this sink all of this in one request; answered by [`Event::Notified`].
    Notify { sink: String, messages: Vec<Message> },
    /// Show this from now on.
    Publish(Arc<Snapshot>),
    /// Count this.
    Meter(Meter),
    /// Say this in the log.
    Tell(Notice),
    /// A round ended.
    RoundEnded(Arc<Report>),
    /// What the answer to the check that was to be explained rests on.
    Explained(Box<Grounds>),
    /// Everything that was asked of a one-shot engine is done, or the engine has stopped.
    Ended,
}

/// What an explanation of one check stands on, besides its result.
#[derive(Debug, Clone, PartialEq)]
pub struct Grounds {
    /// What the token declares, and when that was asked.
    pub declared: Option<(Declared, Timestamp)>,
    /// What was seen of the target.
    pub known: Known,
}

/// What is counted. An errand is what another replica sent, or was to send and did not.
#[derive(Debug, Clone, PartialEq)]
pub enum Meter {
    Probe { permission: Permission, found: Access, took: Duration },
    Request { route: &'static str, outcome: Result<u16, &'static str>, took: Duration },
    Errand { carried: bool },
    CanaryCreated { organization: String },
    CanaryDeleted { organization: String },
    CanaryAbandoned { organization: String },
    CanaryForeign { organization: String },
    Round { took: Duration, finished: Timestamp },
    RoundSkipped,
    Notification { sink: String, tidings: Tidings, outcome: Outcome },
}

/// What is said. Names are those of the config; nothing in it comes from the Hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whether somebody should look.
    pub warning: bool,
    /// Readable by itself.
    pub text: String,
}

/// How the engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// No unsafe method ever leaves the process.
    pub read_only: bool,
    /// One round, then the end: nothing is spread and no window is waited for.
    pub one_shot: bool,
}

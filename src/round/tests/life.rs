//! A life of the daemon in virtual time: requests fly and batches become durable as the dice will have it, the
//! process may die, stop or be overtaken between any two events, and every effect is held against the truth of the
//! Hub and the journal.
//!
//! Here are the processes, the time and the one loop; `flights` is the network, `disk` the journal, `invariants` and
//! `verdicts` are what must hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{CheckKey, TokenName};
use crate::config::{self, Config, NoDisk, Source};
use crate::errand::may_travel;
use crate::exchange::{Answer, Failure, Request, Verb};
use crate::hub::names::{NONCE_BYTES, Signer};
use crate::intent::{Canary, CanaryState};
use crate::moment::{Moment, Timestamp};
use crate::report::{FindingKind, Report, Snapshot};
use crate::store::{Kept, LastAnswer, Past, Write};

use crate::round::gate::Bound;
use crate::round::{Effect, Engine, Event, Meter, Mode};

pub use super::flights::{Decider, Fate};
use super::hub::{Hub, Key};
use super::invariants::Held;
use super::sinks::Sinks;
use super::verdicts::Ghost;
use super::watch::Watch;

pub const S: fn(u64) -> Duration = Duration::from_secs;
/// A Sunday, a little before a full hour.
pub const BEGIN: Timestamp = Timestamp(1_795_305_500_000);
/// What a request takes until it is given up on.
pub const TIMEOUT: Duration = Duration::from_secs(10);

pub fn configured(text: &str) -> Arc<Config> {
    let parsed = config::parse(Source { name: "test.yaml", text }, &NoDisk);
    Arc::new(parsed.unwrap_or_else(|mistakes| panic!("{mistakes}")).config)
}

/// Reproducible dice: xorshift, seeded.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
    pub fn percent(&mut self, chance: u64) -> bool {
        self.roll(100) < chance
    }
    pub fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let sides = u64::try_from(of.len()).expect("few");
        &of[usize::try_from(self.roll(sides)).expect("few")]
    }
}

pub enum Pending {
    Dispatch {
        flight: u64,
        request: Request,
        bound: Option<Bound>,
    },
    /// Reaches the Hub; what comes of it, if anything is told, is told after this long.
    Land {
        request: Request,
        tell: Option<(u64, Duration)>,
        /// The Hub has said yes: what the token may do by now no longer counts.
        accepted: bool,
    },
    Heard {
        flight: u64,
        request: Request,
        outcome: Box<Result<Answer, Failure>>,
        sent: Duration,
    },
    Stored {
        op: u64,
        batch: Vec<Write>,
        written: bool,
        done: bool,
        /// When its commit was asked for, by the clock of its process.
        asked: Duration,
    },
    Keys,
    Event(Event),
}

/// One DELETE that left.
pub struct Left {
    pub at: Duration,
    pub over: bool,
}

/// One process of the daemon.
pub struct Process {
    pub engine: Engine,
    pub number: u64,
    /// The opening of the store on which it stands.
    pub epoch: i64,
    /// When its monotonic clock showed zero.
    pub zero: Duration,
    /// It gets no processor before this.
    pub stopped_until: Option<Duration>,
    /// Batches become durable in the order in which they were given.
    pub last_write: Duration,
    /// How many events it was told.
    pub told: u32,
}

/// Everything: Hub, journal, processes, and the time.
pub struct Life {
    pub hub: Hub,
    pub dice: Dice,
    pub config: Arc<Config>,
    pub mode: Mode,
    pub process: Option<Process>,
    /// Processes that were overtaken, and do not know it.
    pub others: Vec<Process>,
    /// How often the journal was opened.
    pub epoch: i64,
    pub kept: Kept,
    /// What the latest answers rest on.
    pub answers: BTreeMap<CheckKey, LastAnswer>,
    pub journal: BTreeMap<i64, Canary>,
    /// When each intent became durable.
    pub durable_at: BTreeMap<Key, Duration>,
    pub now: Duration,
    /// By how many milliseconds the daemon's wall clock is wrong.
    pub set_by: i64,
    pub fate: Decider,
    /// Chances in a hundred, of each event: that the process dies, that a write fails, that sending is delayed.
    pub crashes: u64,
    pub bad_writes: u64,
    pub delays: u64,
    /// Slowest write.
    pub slow_write: Duration,
    /// Of the effects of the next event that leaves a canary in this state, and has more of them, only so many are
    /// carried out, then the process dies.
    pub cut_after: Option<(usize, CanaryState)>,
    pub bad_keys: Vec<TokenName>,
    pub reports: Vec<Arc<Report>>,
    pub shown: Option<Arc<Snapshot>>,
    /// What was said in the log, and what was asked when.
    pub log: Vec<String>,
    pub asked: Vec<(Duration, Request)>,
    /// Secrets that are not those of the beginning.
    pub rotated: BTreeMap<TokenName, &'static str>,
    /// How many requests other replicas carry at once, and the chance in a hundred that they carry none of one.
    pub helpers: Option<usize>,
    pub unhelped: u64,
    /// What went away.
    pub away: Vec<Request>,
    /// Answers take no time to speak of.
    pub quick: bool,
    pub skipped: usize,
    pub ended: bool,
    pub events: u64,
    pub restarts: u64,
    pub posts: Vec<(Duration, String, Key)>,
    /// Creations on sentinels that left.
    pub trials: usize,
    pub deletes: BTreeMap<Key, usize>,
    /// Names that something happened to which only a person can judge.
    pub odd: Vec<Key>,
    pub queue: BTreeMap<(Duration, u64), (u64, Pending)>,
    pub sequence: u64,
    /// How many processes there were.
    pub processes: u64,
    /// Whose creations are in the air, by process and flight.
    pub posting: BTreeMap<(u64, u64), &'static str>,
    pub left: BTreeMap<Key, Vec<Left>>,
    pub deleting: BTreeMap<(u64, u64), Key>,
    /// When each repository was last described to us, and with which id.
    pub identity: BTreeMap<(u64, Key), (Duration, String)>,
    pub ghost: Ghost,
    pub held: Held,
    pub watch: Option<Box<Watch>>,
    pub sinks: Sinks,
}

pub fn nothing_kept() -> Kept {
    Kept {
        canaries: vec![],
        last_canary_id: 0,
        checks: vec![],
        findings: vec![],
        creations: vec![],
        breakers: vec![],
        pauses: vec![],
        declared: vec![],
        alerts: vec![],
        owed: vec![],
        epoch: 0,
        past: Past::First,
    }
}

impl Life {
    pub fn new(config: Arc<Config>, mode: Mode, seed: u64) -> Life {
        Life {
            hub: Hub::default(),
            dice: Dice::new(seed),
            config,
            mode,
            process: None,
            others: vec![],
            epoch: 0,
            kept: nothing_kept(),
            answers: BTreeMap::new(),
            journal: BTreeMap::new(),
            durable_at: BTreeMap::new(),
            now: Duration::ZERO,
            set_by: 0,
            fate: Box::new(|_, _| Fate::Fine),
            crashes: 0,
            bad_writes: 0,
            delays: 0,
            slow_write: S(0),
            cut_after: None,
            bad_keys: vec![],
            reports: vec![],
            shown: None,
            log: vec![],
            asked: vec![],
            rotated: BTreeMap::new(),
            helpers: None,
            unhelped: 0,
            away: vec![],
            quick: false,
            skipped: 0,
            ended: false,
            events: 0,
            restarts: 0,
            posts: vec![],
            trials: 0,
            deletes: BTreeMap::new(),
            odd: vec![],
            queue: BTreeMap::new(),
            sequence: 0,
            processes: 0,
            posting: BTreeMap::new(),
            left: BTreeMap::new(),
            deleting: BTreeMap::new(),
            identity: BTreeMap::new(),
            ghost: Ghost::default(),
            held: Held::default(),
            watch: None,
            sinks: Sinks::default(),
        }
    }

    /// The Hub's time, which is right.
    pub fn time(&self) -> Timestamp {
        BEGIN + self.now
    }

    /// What the daemon's clock shows.
    pub fn wall(&self) -> Timestamp {
        Timestamp(self.time().millis() + self.set_by)
    }

    pub fn moment(&self) -> Moment {
        let zero = self.process.as_ref().map_or(Duration::ZERO, |process| process.zero);
        Moment { wall: self.wall(), mono: self.now.saturating_sub(zero) }
    }

    pub fn engine(&self) -> Option<&Engine> {
        self.process.as_ref().map(|process| &process.engine)
    }

    pub fn engine_mut(&mut self) -> Option<&mut Engine> {
        self.process.as_mut().map(|process| &mut process.engine)
    }

    /// Which process this is.
    pub fn number(&self) -> u64 {
        self.process.as_ref().map_or(0, |process| process.number)
    }

    pub fn horizon(&self) -> Duration {
        self.config.hub.in_flight_horizon
    }

    /// A process begins, with what the journal holds.
    pub fn start(&mut self) {
        self.processes += 1;
        self.ended = false;
        let kept = self.open();
        let epoch = kept.epoch;
        let mut dice = Dice::new(self.dice.roll(u64::MAX));
        let nonces = Box::new(move || {
            let mut nonce = [0; NONCE_BYTES];
            nonce.fill_with(|| u8::try_from(dice.roll(256)).expect("a byte"));
            nonce
        });
        let now = Moment { wall: self.wall(), mono: Duration::ZERO };
        let engine = Engine::new(self.config.clone(), self.mode, Signer::new(&[7; 32]), nonces, kept, now);
        self.process = Some(Process {
            engine,
            number: self.processes,
            epoch,
            zero: self.now,
            stopped_until: None,
            last_write: self.now,
            told: 0,
        });
        self.tell(self.helpers.map_or(Event::Wake, Event::Helpers));
    }

    /// Somebody sets the clock to be wrong by so much.
    pub fn set_clock(&mut self, by: i64) {
        self.set_by = by;
        self.ghost.set_after = self.engine().map(|engine| engine.last_op);
    }

    /// The process dies. What flies may still land; of what is being written a beginning may be durable.
    pub fn crash(&mut self) {
        let Some(process) = self.process.take() else { return };
        let (number, epoch) = (process.number, process.epoch);
        drop(process);
        self.ghost.set_unnoticed |= self.ghost.set_after.take().is_some();
        let mut written = true;
        let mut old: Vec<(Duration, u64)> =
            self.queue.iter().filter(|(_, (of, _))| *of == number).map(|(at, _)| *at).collect();
        old.sort_by_key(|(_, sequence)| *sequence);
        for at in old {
            match self.queue.remove(&at) {
                Some((_, Pending::Stored { batch, .. })) => {
                    written &= self.dice.percent(50);
                    if written && epoch == self.epoch {
                        self.write(batch);
                    }
                }
                Some((of, landing @ Pending::Land { .. })) => {
                    self.queue.insert(at, (of, landing));
                }
                _ => {}
            }
        }
        self.give_up(number);
        self.posting.retain(|(of, _), _| *of != number);
        self.deleting.retain(|(of, _), _| *of != number);
    }

    /// Nobody waits any more for what this process sent: from now on it takes effect within the horizon, or never.
    pub fn give_up(&mut self, number: u64) {
        let last = self.now + self.horizon().saturating_sub(Duration::from_millis(1));
        let late = |at: &Duration, of: u64, p: &Pending| {
            *at > last && of == number && matches!(p, Pending::Land { .. })
        };
        let late: Vec<_> =
            self.queue.iter().filter(|((at, _), (of, p))| late(at, *of, p)).map(|(at, _)| *at).collect();
        for at in late {
            if let Some(entry) = self.queue.remove(&at) {
                self.queue.insert((last, at.1), entry);
            }
        }
    }

    pub fn restart(&mut self) {
        self.crash();
        self.restarts += 1;
        self.start();
    }

    pub fn later(&mut self, after: Duration, pending: Pending) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), (self.number(), pending));
    }

    /// Something happens to the engine after so long.
    pub fn at(&mut self, after: Duration, event: Event) {
        self.later(after, Pending::Event(event));
    }

    pub fn tell(&mut self, event: Event) {
        self.events += 1;
        let now = self.moment();
        self.before_event(&event);
        let Some(process) = &mut self.process else { return };
        process.told += 1;
        if let Some(round) = &process.engine.round {
            self.ghost.round_began = round.begun.mono;
        }
        let effects = process.engine.handle(event, now);
        let waits = process.engine.wake_at(now);
        assert!(waits.is_none_or(|at| at > now.mono), "it would spin: woken at {waits:?} at {now:?}");
        let cut = self.cut_after.filter(|(cut, state)| {
            let mut canaries = process.engine.canaries.values();
            *cut < effects.len() && canaries.any(|live| live.canary.state == *state)
        });
        let cut = cut.map(|(cut, _)| cut);
        self.after_event(&effects);
        for (nth, effect) in effects.into_iter().enumerate() {
            if cut == Some(nth) {
                self.cut_after = None;
                return self.die();
            }
            self.carry_out(effect);
        }
        self.i12_replay();
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::LoadKeys => self.later(S(0), Pending::Keys),
            Effect::Send { flight, request, bound } => {
                let let_out = (self.now, self.moment().mono);
                if bound.is_some() {
                    self.ghost.let_out.insert((self.number(), flight), let_out);
                }
                if bound.is_some() {
                    self.i15_separation(&request);
                }
                if request.route == "/api/repos/create" {
                    self.i14_kill_switch(&request);
                }
                let late = self.delays > 0 && self.dice.percent(self.delays);
                let after = if late { S(self.dice.roll(4)) } else { S(0) };
                self.later(after, Pending::Dispatch { flight, request, bound });
            }
            Effect::SendAway { flight, request, .. } => {
                let changes = request.route.starts_with("/api/repos/");
                assert!(may_travel(&request) && !changes, "only what reads is sent by others: {request:?}");
                self.away.push(request.clone());
                match self.dice.percent(self.unhelped) {
                    true => self.later(S(1), Pending::Event(Event::Returned { flight, request })),
                    false => self.later(S(0), Pending::Dispatch { flight, request, bound: None }),
                }
            }
            Effect::Store { op, batch } => self.store(op, batch),
            Effect::RoundEnded(report) => {
                self.judge(&report);
                self.reports.push(report);
            }
            Effect::Recall { organization, names } => {
                let found = self.journal.values().filter(|c| names.contains(&(c.kind, c.repo.clone())));
                let found = Some(found.cloned().collect());
                self.later(S(0), Pending::Event(Event::Recalled { organization, found }));
            }
            Effect::Notify { sink, messages } => {
                let time = (self.now, self.time());
                let delivery = self.sinks.take(&sink, &messages, time, &mut self.dice);
                self.later(S(1), Pending::Event(Event::Notified { sink, delivery }));
            }
            Effect::Ended => self.ended = true,
            Effect::Meter(Meter::RoundSkipped) => self.skipped += 1,
            Effect::Explained(_) | Effect::Meter(_) => {}
            Effect::Publish(snapshot) => {
                let left = snapshot.findings.iter().filter(|f| f.kind == FindingKind::CanaryLeft);
                let words: Vec<String> = left.map(|f| f.detail.clone()).collect();
                for (key, intent) in &mut self.ghost.intents {
                    intent.told |= words.iter().any(|words| words.contains(&key.1));
                }
                self.shown = Some(snapshot);
            }
            Effect::Tell(notice) => self.log.push(notice.text),
        }
    }

    /// When the engine of this process wants to be woken.
    fn wake_of(&self, process: &Process) -> Option<Duration> {
        let now = Moment { wall: self.wall(), mono: self.now.saturating_sub(process.zero) };
        let wake = process.engine.wake_at(now)? + process.zero;
        Some(process.stopped_until.map_or(wake, |until| wake.max(until)))
    }

    /// When something happens next, and to whom it is only the time.
    pub fn next(&self) -> Option<(Duration, Option<u64>)> {
        let processes = self.process.iter().filter(|_| !self.ended).chain(&self.others);
        let wakes = processes.filter_map(|p| Some((self.wake_of(p)?, Some(p.number))));
        let queued = self.queue.keys().next().map(|(at, _)| (*at, None));
        queued.into_iter().chain(wakes).min()
    }

    /// Lets the next thing happen that happens until then. Says whether anything did.
    pub fn step(&mut self, until: Duration) -> bool {
        let Some((at, whose)) = self.next().filter(|(at, _)| *at <= until) else { return false };
        self.now = self.now.max(at);
        match whose {
            None => {
                let ((_, sequence), (number, pending)) =
                    self.queue.pop_first().expect("something is pending");
                self.happen(sequence, number, pending);
            }
            Some(number) => self.of(number, |life| life.tell(Event::Wake)),
        }
        true
    }

    /// Lets time pass until then, or until the engine has ended.
    pub fn run_until(&mut self, until: Duration, events: u64) {
        let bound = self.events + events;
        while !self.ended {
            assert!(self.events < bound, "no end: {} events until {:?}", self.events, self.now);
            if !self.step(until) {
                break;
            }
            if self.process.is_some() && !self.ended && self.crashes > 0 && self.dice.percent(self.crashes) {
                self.restart();
            }
        }
        if !self.ended {
            self.now = self.now.max(until);
        }
    }

    /// Does this as the process of this number, if there still is one.
    pub fn of(&mut self, number: u64, act: impl FnOnce(&mut Life)) {
        if self.number() == number && self.process.is_some() {
            return act(self);
        }
        let Some(at) = self.others.iter().position(|process| process.number == number) else { return };
        let (current, ended) = (self.process.take(), self.ended);
        self.process = Some(self.others.remove(at));
        self.ended = false;
        act(self);
        let over = self.ended;
        let other = std::mem::replace(&mut self.process, current);
        self.ended = ended;
        self.others.extend(other.filter(|_| !over));
    }

    fn happen(&mut self, sequence: u64, number: u64, pending: Pending) {
        if let Pending::Land { request, tell, accepted } = pending {
            return self.land(number, request, tell, accepted);
        }
        let stopped = self.process.iter().chain(&self.others).find(|process| process.number == number);
        if let Some(until) = stopped.and_then(|process| process.stopped_until).filter(|at| *at > self.now) {
            self.queue.insert((until, sequence), (number, pending));
            return;
        }
        self.of(number, |life| match pending {
            Pending::Stored { op, batch, written, done, asked } => {
                life.stored(op, batch, (written, done), asked);
            }
            Pending::Dispatch { flight, request, bound } => life.dispatch(flight, request, bound),
            Pending::Heard { flight, request, outcome, sent } => life.heard(flight, request, *outcome, sent),
            Pending::Keys => life.tell_keys(),
            Pending::Event(event) => life.tell(event),
            Pending::Land { .. } => {}
        });
    }

    /// Whether such a request of this name may still take effect.
    pub fn flying(&self, key: &Key, verb: Verb) -> bool {
        self.queue.values().any(|(_, pending)| {
            matches!(pending, Pending::Land { request, .. }
                if request.verb == verb && request.body.is_some() && super::hub::named(request) == *key)
        })
    }
}

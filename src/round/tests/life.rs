//! A life of the daemon in virtual time: requests fly and batches become durable as the dice will have it, the
//! process may die between any two events, and every effect is held against the truth of the Hub and the journal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::access::TokenName;
use crate::config::{self, Config, NoDisk, Source};
use crate::exchange::{Answer, Credential, Exchange, Failure, Request};
use crate::hub::names::{NONCE_BYTES, Signer};
use crate::intent::{Canary, CanaryState};
use crate::moment::{Moment, Timestamp};
use crate::report::{Report, Snapshot};
use crate::secret::SecretFault;
use crate::store::{Kept, Past, Write};

use crate::round::gate::Bound;
use crate::round::{Engine, Event, Mode};

use super::hub::{Hub, Key, described};

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
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fate {
    Fine,
    /// Not one byte leaves.
    Unsent,
    /// Takes effect; the answer is a 500.
    AppliedError,
    /// A 500, and nothing happens.
    Error,
    /// Takes effect; no answer within the deadline.
    AppliedTimeout,
    /// Nothing happens; no answer.
    LostTimeout,
    /// No answer within the deadline; takes effect so long after we gave up.
    Late(Duration),
    /// 2xx at once; takes effect so long after.
    LateAcknowledged(Duration),
    /// A page of something in between.
    Html,
    /// 2xx of no known shape, after it took effect.
    Odd,
    Limited,
    Cap,
    Busy,
    /// Refused in the Hub's own envelope, though it need not be.
    Refused,
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
    },
    Keys,
    Event(Event),
}

/// One DELETE that left.
pub struct Left {
    pub at: Duration,
    pub over: bool,
}

/// Decides over each request.
pub type Decider = Box<dyn FnMut(&Request, &mut Dice) -> Fate>;

/// Everything: Hub, journal, process, and the time.
pub struct Life {
    pub hub: Hub,
    pub dice: Dice,
    pub config: Arc<Config>,
    pub mode: Mode,
    pub engine: Option<Engine>,
    pub kept: Kept,
    pub journal: BTreeMap<i64, Canary>,
    /// When each intent became durable.
    pub durable_at: BTreeMap<i64, Duration>,
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
    pub bad_keys: Vec<TokenName>,
    pub reports: Vec<Arc<Report>>,
    pub shown: Option<Arc<Snapshot>>,
    /// What was said in the log, and what was asked when.
    pub log: Vec<String>,
    pub asked: Vec<(Duration, Request)>,
    /// Secrets that are not those of the beginning.
    pub rotated: BTreeMap<TokenName, &'static str>,
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
    pub life: u64,
    pub last_write: Duration,
    pub posting: BTreeMap<u64, &'static str>,
    pub left: BTreeMap<Key, Vec<Left>>,
    pub deleting: BTreeMap<u64, Key>,
    pub identity: BTreeMap<Key, (Duration, String)>,
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
        epoch: 1,
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
            engine: None,
            kept: nothing_kept(),
            journal: BTreeMap::new(),
            durable_at: BTreeMap::new(),
            now: Duration::ZERO,
            set_by: 0,
            fate: Box::new(|_, _| Fate::Fine),
            crashes: 0,
            bad_writes: 0,
            delays: 0,
            slow_write: S(0),
            bad_keys: vec![],
            reports: vec![],
            shown: None,
            log: vec![],
            asked: vec![],
            rotated: BTreeMap::new(),
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
            life: 0,
            last_write: Duration::ZERO,
            posting: BTreeMap::new(),
            left: BTreeMap::new(),
            deleting: BTreeMap::new(),
            identity: BTreeMap::new(),
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
        Moment { wall: self.wall(), mono: self.now }
    }

    pub fn horizon(&self) -> Duration {
        self.config.hub.in_flight_horizon
    }

    /// A process begins, with what the journal holds.
    pub fn start(&mut self) {
        self.life += 1;
        self.ended = false;
        let owed =
            |c: &&Canary| c.next_at.is_some() || !matches!(c.state, CanaryState::Gone | CanaryState::Refused);
        let mut kept = self.kept.clone();
        kept.canaries = self.journal.values().filter(owed).cloned().collect();
        kept.last_canary_id = self.journal.keys().copied().max().unwrap_or(0);
        let mut dice = Dice::new(self.dice.roll(u64::MAX));
        let nonces = Box::new(move || {
            let mut nonce = [0; NONCE_BYTES];
            nonce.fill_with(|| u8::try_from(dice.roll(256)).expect("a byte"));
            nonce
        });
        let signer = Signer::new(&[7; 32]);
        let engine = Engine::new(self.config.clone(), self.mode, signer, nonces, kept, self.moment());
        self.engine = Some(engine);
        self.tell(Event::Wake);
    }

    /// The process dies. What flies may still land; of what is being written a beginning may be durable.
    pub fn crash(&mut self) {
        self.engine = None;
        let mut written = true;
        let old: Vec<(Duration, u64)> =
            self.queue.iter().filter(|(_, (life, _))| *life == self.life).map(|(at, _)| *at).collect();
        for at in old {
            match self.queue.remove(&at) {
                Some((_, Pending::Stored { batch, .. })) => {
                    written &= self.dice.percent(50);
                    if written {
                        self.write(batch);
                    }
                }
                Some((life, landing @ Pending::Land { .. })) => {
                    self.queue.insert(at, (life, landing));
                }
                _ => {}
            }
        }
        self.posting.clear();
        self.deleting.clear();
    }

    pub fn restart(&mut self) {
        self.crash();
        self.restarts += 1;
        self.start();
    }

    pub fn later(&mut self, after: Duration, pending: Pending) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), (self.life, pending));
    }

    /// Something happens to the engine after so long.
    pub fn at(&mut self, after: Duration, event: Event) {
        self.later(after, Pending::Event(event));
    }

    pub fn tell(&mut self, event: Event) {
        self.events += 1;
        let now = self.moment();
        let Some(engine) = &mut self.engine else { return };
        let effects = engine.handle(event, now);
        let waits = engine.wake_at(now);
        assert!(waits.is_none_or(|at| at > self.now), "it would spin: woken at {waits:?} at {:?}", self.now);
        for effect in effects {
            self.carry_out(effect);
        }
    }

    /// Lets time pass until then, or until the engine has ended.
    pub fn run_until(&mut self, until: Duration, events: u64) {
        let bound = self.events + events;
        while !self.ended {
            assert!(self.events < bound, "no end: {} events until {:?}", self.events, self.now);
            let now = self.moment();
            let wake = self.engine.as_ref().and_then(|engine| engine.wake_at(now));
            let next = self.queue.keys().next().map(|(at, _)| *at);
            let at = [wake, next].into_iter().flatten().min();
            let Some(at) = at.filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            if next.is_some_and(|next| wake.is_none_or(|wake| next <= wake)) {
                let (_, (life, pending)) = self.queue.pop_first().expect("something is pending");
                self.happen(life, pending);
            } else {
                self.tell(Event::Wake);
            }
            if self.engine.is_some() && !self.ended && self.crashes > 0 && self.dice.percent(self.crashes) {
                self.restart();
            }
        }
        if !self.ended {
            self.now = self.now.max(until);
        }
    }

    fn happen(&mut self, life: u64, pending: Pending) {
        match pending {
            Pending::Land { request, tell } => {
                let answer = self.hub.answer(&request, self.time());
                if let Some((flight, after)) = tell
                    && life == self.life
                {
                    self.later(
                        after,
                        Pending::Heard { flight, request, outcome: Box::new(Ok(answer)), sent: self.now },
                    );
                }
            }
            Pending::Stored { op, batch, written, done } => {
                if written {
                    self.write(batch);
                }
                self.tell(Event::Stored { op, done, at: self.now });
            }
            Pending::Dispatch { flight, request, bound } => self.dispatch(flight, request, bound),
            Pending::Heard { flight, request, outcome, sent } => self.heard(flight, request, *outcome, sent),
            Pending::Keys => self.tell_keys(),
            Pending::Event(event) => self.tell(event),
        }
    }

    fn heard(&mut self, flight: u64, request: Request, outcome: Result<Answer, Failure>, sent: Duration) {
        // A read is answered with the truth of the moment in which it is heard.
        let outcome = match outcome {
            Ok(answer) if answer.status == 0 => Ok(self.hub.answer(&request, self.time())),
            outcome => outcome,
        };
        self.posting.remove(&flight);
        if let Some(key) = self.deleting.remove(&flight) {
            let over = match &outcome {
                Ok(answer) => matches!(answer.status, 401 | 403 | 404) && answer.content_type != "text/html",
                Err(failure) => failure.unsent(),
            };
            self.left.get_mut(&key).and_then(|left| left.last_mut()).expect("it left").over = over;
        }
        if let (Some(key), Ok(answer)) = (described(&request), &outcome)
            && answer.status == 200
            && request.credential != Credential::Anonymous
        {
            let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let id = body["_id"].as_str().unwrap_or_default().to_owned();
            self.identity.insert(key, (self.now, id));
        }
        let elapsed = self.now.saturating_sub(sent);
        let sent_at = self.wall() - elapsed;
        let exchange = Box::new(Exchange { request, sent_at, elapsed, outcome });
        self.tell(Event::Heard { flight, exchange });
    }

    fn tell_keys(&mut self) {
        let known = self.config.tokens.iter().map(|token| {
            let bad = self.bad_keys.contains(&token.name);
            let print = self.rotated.get(&token.name).copied().unwrap_or("print");
            let key = if bad { Err(SecretFault::Empty) } else { Ok(format!("{print} of {}", token.name)) };
            (token.name.clone(), key)
        });
        let known = known.collect();
        self.tell(Event::Keys(known));
    }
}

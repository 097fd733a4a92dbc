//! The story: one owner of all state, told one event at a time, answering with what is to be done.
//!
//! A tick makes checks due; the round reads the keys, asks who the tokens are, runs the controls, then the
//! checks, each a short walk; answers become access, verdict, state and findings, are stored, and only then
//! shown. Canaries live on beside the rounds until their absence is proven. The engine sends and stores nothing
//! itself and reads no clock: `drive` carries its effects out, a simulation can do the same.
//!
//! `rounds`, `pacing`, `tokens`, `controls`, `checks`, `proofs`, `creations`, `sentinels`, `canaries` and `record` each hold
//! one part of the story; the state is here.

mod away;
mod basis;
mod blind;
mod canaries;
mod checks;
mod choosing;
mod clock;
mod controls;
mod creations;
mod declared;
pub mod drive;
mod effects;
mod errands;
mod findings;
pub mod gate;
mod history;
pub mod ignores;
mod inventory;
mod ledger;
mod notices;
mod pacing;
mod predicted;
mod proofs;
mod record;
mod rounds;
mod saving;
mod sentences;
mod sentinels;
mod showing;
mod sooner;
pub mod sweeps;
mod tokens;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::access::{CheckKey, RepoName, RepoType, TokenName};
use crate::alert::Patience;
use crate::alert::teller::Teller;
use crate::config::Config;
use crate::exchange::{Credential, Exchange, Request};
use crate::hub::canary::{self, Rules, SEND_WITHIN};
use crate::hub::names::{NONCE_BYTES, Signer};
use crate::intent::Canary;
use crate::moment::{Moment, Timestamp};
use crate::pace::Allowance;
use crate::report::Told;
use crate::schedule::{Classes, Timetable};
use crate::store::{Breaker, Declared, Kept, Past, Pause};

pub use effects::{Effect, Event, Grounds, Meter, Mode, Notice};

use canaries::Live;
use clock::Clock;
use controls::{ControlJob, ControlKey};
use errands::Errands;
use findings::Findings;
use gate::Bound;
use history::History;
use inventory::Inventory;
use ledger::Ledger;
use pacing::Pacing;
use predicted::Sighted;
use rounds::Round;
use saving::{Op, STORE_PATIENCE, Unsaved};
use sentinels::Trial;
use showing::Shown;
use sooner::OutOfTurn;
use sweeps::Sweep;
use tokens::TokenState;

/// Which question an answer belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Job {
    Whoami(TokenName),
    Control(ControlKey),
    Proof(proofs::ProofKey),
    Check(usize),
    Trial(u64),
    Create(i64),
    Visit(i64),
    Delete(i64),
    Inventory(String),
    Sweep(String),
}

struct Outgoing {
    flight: u64,
    request: Request,
    bound: Option<Bound>,
    /// No other replica is to send it.
    stays: bool,
}

/// All state of the daemon.
pub struct Engine {
    config: Arc<Config>,
    timetable: Timetable,
    mode: Mode,
    signer: Signer,
    dice: Box<dyn FnMut() -> [u8; NONCE_BYTES] + Send>,
    begun: Moment,
    clock: Clock,
    out: Vec<Effect>,
    last_flight: u64,
    last_op: u64,
    last_canary: i64,
    /// Which opening of the store this process stands on; part of every intent.
    epoch: i64,
    flights: BTreeMap<u64, Job>,
    /// The fingerprint of the key that each request in the air was sent with.
    sent_with: BTreeMap<u64, String>,
    ops: BTreeMap<u64, Op>,
    /// Batches that were under way when the clock was set: what they were written for does not leave.
    voided: BTreeSet<u64>,
    outgoing: VecDeque<Outgoing>,
    in_air: usize,
    errands: Errands,
    pacing: Pacing,
    allowance: Allowance,
    tokens: BTreeMap<TokenName, TokenState>,
    /// Those of which a whoami is under way.
    asking: BTreeSet<TokenName>,
    keys_loaded: bool,
    keys_read_at: Option<Duration>,
    controls: BTreeMap<ControlKey, ControlJob>,
    inventories: BTreeMap<String, Inventory>,
    visit_controls: BTreeMap<ControlKey, u32>,
    canaries: BTreeMap<i64, Live>,
    creating: BTreeSet<String>,
    trials: BTreeMap<u64, Trial>,
    last_trial: u64,
    /// When each owner called for a creation in the last 24 hours. It is asked at every turn of every check that waits.
    creations: BTreeMap<String, Vec<Timestamp>>,
    breakers: BTreeMap<String, Breaker>,
    sweeps: BTreeMap<String, Sweep>,
    /// Something went into quarantine that no finding tells yet.
    left_changed: bool,
    /// When a canary whose end is not proven is to be told as left.
    left_due: Option<Duration>,
    /// When the journal was found to be another than before.
    reset_at: Option<Duration>,
    pauses: BTreeMap<String, Pause>,
    checks: Ledger,
    findings: Findings,
    teller: Teller,
    history: History,
    /// What descriptions of repositories said in passing.
    sighted: BTreeMap<(RepoType, RepoName), Sighted>,
    /// Checks whose answer waits for a whoami that was asked because of it.
    suspected: BTreeSet<CheckKey>,
    /// What results have in common.
    told: HashSet<Arc<Told>>,
    due: Classes,
    only: Vec<TokenName>,
    /// A one-shot engine was given its task; before that it has not done everything, but nothing.
    tasked: bool,
    out_of_turn: OutOfTurn,
    recovering: bool,
    round: Option<Round>,
    unsaved: Unsaved,
    saving: bool,
    retry_at: Option<Duration>,
    /// The latest batch could not be stored.
    store_failed: bool,
    /// Batches of results in a row that could not be stored.
    store_faults: u32,
    changed: bool,
    shown: Shown,
    /// A round counts as completed only once its results are shown: who sees the count reads them next.
    once_shown: Vec<Effect>,
    hub_reachable: Option<bool>,
    /// The Hub answered something in this round as only the Hub does.
    answered_in_round: bool,
    stopping: bool,
    ended: bool,
    observing: bool,
    /// The check whose grounds are wanted at the end of the round.
    explaining: Option<CheckKey>,
}

impl Engine {
    /// Goes on where the journal stopped. Canaries that are unfinished are looked at before the first round.
    pub fn new(
        config: Arc<Config>,
        mode: Mode,
        signer: Signer,
        dice: Box<dyn FnMut() -> [u8; NONCE_BYTES] + Send>,
        kept: Kept,
        now: Moment,
    ) -> Engine {
        let engine = Engine {
            mode,
            signer,
            dice,
            begun: now,
            clock: Clock::new(now),
            out: Vec::new(),
            last_flight: 0,
            last_op: 0,
            last_canary: kept.last_canary_id,
            epoch: kept.epoch,
            flights: BTreeMap::new(),
            sent_with: BTreeMap::new(),
            ops: BTreeMap::new(),
            voided: BTreeSet::new(),
            outgoing: VecDeque::new(),
            in_air: 0,
            errands: Errands::default(),
            pacing: Pacing::new(config.hub.quota_share),
            allowance: Allowance::default(),
            tokens: BTreeMap::new(),
            asking: BTreeSet::new(),
            keys_loaded: false,
            keys_read_at: None,
            controls: BTreeMap::new(),
            inventories: BTreeMap::new(),
            visit_controls: BTreeMap::new(),
            canaries: BTreeMap::new(),
            creating: BTreeSet::new(),
            trials: BTreeMap::new(),
            last_trial: 0,
            creations: creations::by_owner(kept.creations),
            breakers: kept.breakers.into_iter().map(|b| (b.organization.clone(), b)).collect(),
            pauses: kept.pauses.into_iter().map(|p| (p.owner.clone(), p)).collect(),
            checks: Ledger::of(kept.checks),
            findings: kept.findings.into_iter().collect(),
            teller: Teller::new(kept.alerts, kept.owed, now.wall),
            history: History::default(),
            sighted: BTreeMap::new(),
            suspected: BTreeSet::new(),
            told: HashSet::new(),
            due: Classes::default(),
            only: Vec::new(),
            tasked: false,
            out_of_turn: OutOfTurn::default(),
            sweeps: BTreeMap::new(),
            left_changed: false,
            left_due: None,
            reset_at: None,
            recovering: false,
            round: None,
            unsaved: Unsaved::default(),
            saving: false,
            retry_at: None,
            store_failed: false,
            store_faults: 0,
            changed: true,
            shown: Shown::default(),
            once_shown: Vec::new(),
            hub_reachable: None,
            answered_in_round: false,
            stopping: false,
            ended: false,
            observing: false,
            explaining: None,
            timetable: Timetable::of(&config.schedule),
            config,
        };
        engine.resume(kept.declared, kept.canaries, &kept.past, now)
    }

    /// Takes over what the journal holds, as it is to be taken after whatever happened since.
    fn resume(mut self, declared: Vec<Declared>, canaries: Vec<Canary>, past: &Past, now: Moment) -> Engine {
        self.remember_declared(declared);
        for canary in canaries {
            self.resume_canary(canary, now);
        }
        self.tame_the_future(now);
        self.forget_unconfigured(now);
        self.ignore_findings(now);
        self.take_past(past, now);
        self.take_up_notices(now);
        self.recovering = self.canaries_unlooked() || self.canaries_due(now);
        self
    }

    /// From now on this engine only looks: what it learns is told, but neither kept nor judged as findings, since
    /// its checks may be others than the config's, and a change that it noticed must still be news to the daemon.
    /// Canaries are kept as ever.
    pub fn only_observe(&mut self) {
        self.observing = true;
    }

    /// At the end of the round, tells what the answer to this check rests on.
    pub fn explain(&mut self, key: CheckKey) {
        self.explaining = Some(key);
    }

    /// The epoch of the journal under which this engine decides.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// The waits of the canary protocol.
    fn rules(&self) -> Rules {
        Rules { horizon: self.config.hub.in_flight_horizon }
    }

    fn patience(&self) -> Patience {
        let alerts = &self.config.alerts;
        Patience {
            confirm_denials: alerts.confirm_denials.max(1),
            resolve_after: alerts.resolve_after.max(1),
        }
    }

    /// Takes one event and says what is to be done. The effects are to be carried out in their order.
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        self.notice_step(now);
        self.catch_up(now);
        match event {
            Event::Due(classes) => self.due(classes),
            Event::Once { due, only } => {
                self.only = only;
                self.due = due;
                self.tasked = true;
            }
            Event::Probe(token) => self.out_of_turn.asked.push(token),
            Event::Sweep => self.want_sweeps(),
            Event::Recalled { organization, found } => self.recalled(&organization, found, now),
            Event::Keys(keys) => self.take_keys(keys, now),
            Event::Heard { flight, exchange } => self.heard(flight, &exchange, now),
            Event::Helpers(room) => self.helped(room),
            Event::Returned { flight, request } => self.returned(flight, request, now),
            Event::Stored { op, done, at } => self.stored(op, done, at, now),
            Event::Wake => {}
            Event::Configured(config) => self.configure(config, now),
            Event::Notified { sink, delivery } => self.notified(&sink, delivery, now),
            Event::Stop => self.stop(now),
        }
        self.advance(now);
        while self.answer_held(now) {
            self.advance(now);
        }
        std::mem::take(&mut self.out)
    }

    /// Whether what a crash may have left was not yet looked at.
    pub fn is_recovering(&self) -> bool {
        self.recovering
    }

    /// When the engine wants to be woken at the latest, even if nothing happens.
    pub fn wake_at(&self, now: Moment) -> Option<Duration> {
        // By the clock as it was when it was last looked at: whether it was set since is noticed on waking.
        let now = Moment { wall: self.clock.expected(now), ..now };
        let canaries = self.canary_wakes(now);
        let round = self.round.as_ref().and_then(Round::wake_at);
        // What is due already waits for something that will be an event of its own: waking for it would spin.
        let shows = self.shows_at().filter(|_| self.changed);
        let saved = [
            self.retry_at,
            self.holds_until(),
            self.left_due,
            self.behind_until(),
            self.notices_wake(now),
            shows,
        ];
        [canaries, round, self.sweep_wakes(), self.sooner_wakes()]
            .into_iter()
            .chain(saved)
            .flatten()
            .filter(|at| *at > now.mono)
            .min()
    }

    fn due(&mut self, classes: Classes) {
        let scheduled = self.round.as_ref().filter(|round| !round.awaited);
        let running = scheduled.map_or(Classes::default(), |round| round.due);
        let overlap = classes.without(classes.without(running.and(self.due)));
        if !overlap.is_empty() {
            self.out.push(Effect::Meter(Meter::RoundSkipped));
            self.tell(true, "a round was skipped: the one before it is still running".to_owned());
        }
        self.due = self.due.and(classes.without(running));
    }

    fn configure(&mut self, config: Arc<Config>, now: Moment) {
        self.pacing.pace.set_share(config.hub.quota_share);
        self.timetable = Timetable::of(&config.schedule);
        self.config = config;
        self.shown = Shown::default();
        self.forget_sooner();
        self.forget_unconfigured(now);
        self.ignore_findings(now);
        self.recall_creations(now);
        self.sinks_configured(now);
        self.changed = true;
    }

    fn stop(&mut self, now: Moment) {
        self.stopping = true;
        self.due = Classes::default();
        self.out_of_turn = OutOfTurn::default();
        self.drop_round(now);
    }

    /// Moves everything that can move, until nothing can.
    fn advance(&mut self, now: Moment) {
        // Each step either changes state for good or reports that nothing moved, so that this ends; the bound
        // is there in case a step lies.
        for _ in 0..100_000 {
            let moved = self.begin_round(now)
                | self.step_round(now)
                | self.tend_canaries(now)
                | self.tend_sweeps(now);
            if !moved {
                break;
            }
        }
        self.tell_left(now);
        self.tell_sinks(now);
        self.save(now);
        self.launch(now);
        // While the store fails, what is shown goes on from the state in memory.
        let stored = !self.saving && self.unsaved.is_empty();
        if self.changed && (stored || self.store_faults > 0) && self.may_show(now) {
            self.publish(now);
        }
        self.end_if_done(now);
    }

    fn end_if_done(&mut self, now: Moment) {
        let stored = self.unsaved.is_empty() || self.store_faults >= STORE_PATIENCE;
        let quiet = self.flights.is_empty() && self.ops.is_empty() && stored;
        let idle = self.round.is_none()
            && self.due.is_empty()
            && self.out_of_turn.asked.is_empty()
            && !self.recovering
            && !self.sweeping();
        let wanted = self.stopping || (self.mode.one_shot && self.tasked && idle);
        if wanted && quiet && !self.ended && !self.canaries_busy(now) {
            self.ended = true;
            self.out.push(Effect::Ended);
        }
    }

    /// Queues a request; it leaves when there is room in the air.
    fn ask(&mut self, job: Job, request: Request, bound: Option<Bound>) {
        self.last_flight += 1;
        let flight = self.last_flight;
        let urgent = matches!(job, Job::Create(_) | Job::Trial(_) | Job::Delete(_) | Job::Visit(_));
        self.flights.insert(flight, job);
        let outgoing = Outgoing { flight, request, bound, stays: false };
        if urgent {
            self.outgoing.push_front(outgoing);
        } else {
            self.outgoing.push_back(outgoing);
        }
    }

    fn launch(&mut self, now: Moment) {
        while let Some((outgoing, from)) = self.next_to_leave() {
            self.assert_sound(outgoing.flight, &outgoing.request, outgoing.bound, now);
            if self.count_sent(outgoing.flight, &outgoing.request, now) {
                self.leave(outgoing, from);
            } else {
                self.pacing.held_back.push((outgoing.flight, outgoing.request));
            }
        }
    }

    fn heard(&mut self, flight: u64, exchange: &Exchange, now: Moment) {
        let Some(job) = self.flights.remove(&flight) else { return };
        self.landed(flight);
        let sent_with = self.sent_with.remove(&flight);
        let replaced = sent_with.as_deref() != self.fingerprint(&exchange.request.credential);
        let charged = self.pacing.sent_as.remove(&flight);
        self.pace_answer(exchange, charged, now);
        self.note_answer(exchange, replaced, now);
        match job {
            Job::Whoami(token) => self.hear_whoami(&token, exchange, replaced, now),
            Job::Control(key) => self.hear_control(&key, exchange, now),
            Job::Proof(key) => self.hear_proof(&key, exchange, now),
            Job::Check(at) => self.hear_check(at, exchange, now),
            Job::Trial(id) => self.hear_trial(id, exchange, now),
            Job::Create(id) => self.hear_create(id, exchange, now),
            Job::Visit(id) => self.hear_visit(id, exchange, now),
            Job::Delete(id) => self.hear_delete(id, exchange, now),
            Job::Inventory(organization) => self.hear_inventory(&organization, exchange, now),
            Job::Sweep(organization) => self.hear_sweep(&organization, exchange, now),
        }
    }

    fn tell(&mut self, warning: bool, text: String) {
        self.out.push(Effect::Tell(Notice { warning, text }));
    }

    /// Who signs for an organization: its janitor, else the probed token.
    fn observer(&self, organization: &str, probed: &TokenName) -> Credential {
        let janitor = self.config.organization(organization).and_then(|o| o.janitor.clone());
        Credential::Token(janitor.unwrap_or_else(|| probed.clone()))
    }

    /// Whether the canaries of this organization are off until a person says otherwise.
    fn latched(&self, organization: &str) -> bool {
        self.breakers.contains_key(organization)
    }

    /// Canaries of this organization that count against the bound on unresolved ones: those under way, too, because
    /// each of them may come to nothing clear.
    fn unresolved(&self, organization: &str) -> usize {
        self.canaries
            .values()
            .filter(|live| live.canary.repo.namespace == organization)
            .filter(|live| canary::unresolved(&live.canary))
            .count()
    }
}

#[cfg(test)]
mod tests;

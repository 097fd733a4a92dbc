//! A round: from the keys to the last check's answer.
//!
//! Keys, then whoami where it is due, then the controls, then the checks; each phase ends before the next
//! begins, so that every check stands on a control of its own round.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::access::{Access, TokenName, UnknownReason};
use crate::hub::canary;
use crate::hub::control::Control;
use crate::intent::CanaryState;
use crate::moment::Moment;
use crate::pace::Manner;
use crate::plan::choice::Lot;
use crate::plan::plan;
use crate::planted::{self, Defect};
use crate::schedule::{Classes, spread};

use super::checks::{CheckJob, Walk};
use super::controls::ControlKey;
use super::pacing::Queue;
use super::proofs::{Proof, ProofKey};
use super::{Effect, Engine, Job};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Keys,
    Declared,
    Controls,
    Checks,
    /// One-shot only: canaries that are due within a short horizon.
    CleanUp,
}

/// One round, under way.
#[derive(Debug)]
pub(super) struct Round {
    pub begun: Moment,
    pub due: Classes,
    /// Only looks at unfinished canaries, before the first real round.
    pub recovery: bool,
    /// Out of turn: the schedules do not know of it.
    pub awaited: bool,
    pub phase: Phase,
    pub jobs: Vec<CheckJob>,
    pub waiting: VecDeque<usize>,
    /// Checks that wait for room in their user's window, by user.
    pub queues: BTreeMap<String, Queue>,
    pub manner: Manner,
    /// Canaries for which the day's creations do not suffice, and what takes their place.
    pub lots: BTreeMap<usize, Lot>,
    pub blocked: Vec<usize>,
    /// Checks whose walk is under way.
    pub active: BTreeSet<usize>,
    /// Those of them that were heard and wait for something else before they can be judged.
    pub unjudged: BTreeSet<usize>,
    pub proofs: BTreeMap<ProofKey, Proof>,
    pub controls: BTreeSet<ControlKey>,
    /// What they came to.
    pub done: BTreeMap<ControlKey, Control>,
    pub tokens: Vec<TokenName>,
    pub period: Duration,
    pub clean_up_until: Duration,
}

impl Round {
    /// The walk of the check at this place, if it is under way.
    pub(super) fn walk(&mut self, at: usize) -> Option<&mut Walk> {
        self.jobs.get_mut(at)?.walk_mut()
    }

    pub(super) fn wake_at(&self) -> Option<Duration> {
        match self.phase {
            Phase::Checks => {
                let next = self.waiting.front().and_then(|at| self.jobs.get(*at)).map(|job| job.starts_at);
                next.into_iter().chain(self.queues.values().filter_map(Queue::wakes_at)).min()
            }
            Phase::CleanUp => Some(self.clean_up_until),
            _ => None,
        }
    }
}

impl Engine {
    /// Begins the next round, if one is due and none is running.
    pub(super) fn begin_round(&mut self, now: Moment) -> bool {
        let nothing = self.due.is_empty()
            && self.out_of_turn.asked.is_empty()
            && !self.recovering
            && !self.sooner_is_due(now);
        if self.round.is_some() || self.stopping || nothing {
            return false;
        }
        self.answered_in_round = false;
        let recovery = self.recovering;
        let (due, only) = self.next_scope(recovery, now);
        let schedule = &self.config.schedule;
        let class = if due.canary && !due.probe { &schedule.canary } else { &schedule.probe };
        let every = self.timetable.period(class, now.wall);
        // What somebody waits for is not spread.
        let awaited = !only.is_empty() || (self.history.last.is_none() && schedule.on_start);
        let whole = self.mode.one_shot || awaited;
        let window = if whole { Duration::ZERO } else { spread(every) };
        let planned = self.in_turn(plan(&self.config, due, &only, window));
        let jobs: Vec<CheckJob> =
            planned.into_iter().map(|p| CheckJob::new(p.check, now.mono + p.after)).collect();
        self.round = Some(Round {
            begun: now,
            due,
            recovery,
            awaited: !only.is_empty() && only != self.only,
            phase: Phase::Keys,
            waiting: (0..jobs.len()).collect(),
            queues: BTreeMap::new(),
            manner: Engine::manner(whole),
            lots: BTreeMap::new(),
            jobs,
            blocked: Vec::new(),
            active: BTreeSet::new(),
            unjudged: BTreeSet::new(),
            proofs: BTreeMap::new(),
            controls: BTreeSet::new(),
            done: BTreeMap::new(),
            tokens: Vec::new(),
            period: every,
            clean_up_until: Duration::ZERO,
        });
        self.out.push(Effect::LoadKeys);
        true
    }

    /// What the next round is about: what a crash left, what is due, a token that was asked for, or
    /// what was heard of one.
    fn next_scope(&mut self, recovery: bool, now: Moment) -> (Classes, Vec<TokenName>) {
        if recovery {
            return (Classes::default(), Vec::new());
        }
        if self.due.is_empty() && !self.out_of_turn.asked.is_empty() {
            let due = Classes { probe: true, canary: true, declared: false };
            return (due, std::mem::take(&mut self.out_of_turn.asked));
        }
        if self.due.is_empty() {
            return self.take_sooner(now);
        }
        (std::mem::take(&mut self.due), self.only.clone())
    }

    /// Ends a round without its results, because the daemon stops.
    pub(super) fn drop_round(&mut self, now: Moment) {
        self.round = None;
        self.recovering = false;
        for live in self.canaries.values_mut() {
            live.check = None;
        }
        for outgoing in std::mem::take(&mut self.outgoing) {
            match self.flights.get(&outgoing.flight) {
                Some(Job::Visit(_) | Job::Delete(_)) => self.outgoing.push_back(outgoing),
                Some(Job::Create(id)) => {
                    let id = *id;
                    self.flights.remove(&outgoing.flight);
                    self.create_unsent(id, UnknownReason::Network, now);
                }
                Some(Job::Trial(id)) => {
                    let id = *id;
                    self.flights.remove(&outgoing.flight);
                    self.drop_trial(id);
                }
                _ => {
                    self.flights.remove(&outgoing.flight);
                }
            }
        }
    }

    pub(super) fn keys_taken(&mut self, now: Moment) {
        let Some(round) = &mut self.round else { return };
        if round.phase != Phase::Keys {
            return;
        }
        if planted::is(Defect::RePost) {
            self.post_again(now);
        }
        let Some(round) = &mut self.round else { return };
        let mut tokens: BTreeSet<TokenName> = round.jobs.iter().map(|job| job.check.token.clone()).collect();
        if round.due.declared {
            let only = &self.only;
            tokens.extend(
                self.config
                    .tokens
                    .iter()
                    .map(|token| token.name.clone())
                    .filter(|name| only.is_empty() || only.contains(name)),
            );
        }
        let mut organizations: BTreeSet<String> =
            round.jobs.iter().map(|job| job.check.organization.clone()).collect();
        for live in self.canaries.values().filter(|live| live.canary.next_at.is_some()) {
            organizations.insert(live.canary.repo.namespace.clone());
            // Whose it must be, where that is not known, is asked until it is.
            let wanted =
                round.recovery || (live.canary.owner.is_none() && live.canary.state == CanaryState::Unknown);
            if wanted && self.config.token(&live.canary.token).is_some() {
                tokens.insert(live.canary.token.clone());
            }
            if wanted && canary::is_adopted(&live.canary) {
                // Any of their users may have made it.
                let organization = &live.canary.repo.namespace;
                let own = self.config.tokens.iter().filter(|token| token.organization == *organization);
                tokens.extend(own.map(|token| token.name.clone()));
            }
        }
        for organization in &organizations {
            tokens.extend(self.config.organization(organization).and_then(|o| o.janitor.clone()));
        }
        round.tokens = tokens.into_iter().collect();
        round.phase = Phase::Declared;
        let (wanted, due) = (round.tokens.clone(), round.due);
        self.ask_whoami(&wanted, due, now);
    }

    /// Moves the round on. Says whether anything moved.
    pub(super) fn step_round(&mut self, now: Moment) -> bool {
        let Some(round) = &self.round else { return false };
        match round.phase {
            Phase::Keys => false,
            Phase::Declared => self.end_declared(now),
            Phase::Controls => self.end_controls(now),
            Phase::Checks => self.step_checks(now),
            Phase::CleanUp => self.step_clean_up(now),
        }
    }

    fn end_declared(&mut self, now: Moment) -> bool {
        let Some(round) = &self.round else { return false };
        if self.asks_any(&round.tokens) {
            return false;
        }
        let usable = |who: &TokenName| self.tokens.get(who).is_some_and(super::tokens::TokenState::usable);
        let mut wanted: BTreeSet<ControlKey> = BTreeSet::new();
        for job in &round.jobs {
            let check = &job.check;
            let observer = self.observer(&check.organization, &check.token);
            // A token that is dead proves nothing, and its own checks say so without a control.
            if usable(&check.token) {
                wanted.insert((check.organization.clone(), observer));
            }
        }
        if round.recovery {
            for live in self.canaries.values().filter(|live| live.canary.next_at.is_some()) {
                let organization = live.canary.repo.namespace.clone();
                let observer = self.observer(&organization, &live.canary.token);
                wanted.insert((organization, observer));
            }
        }
        for key in &wanted {
            // One that a visit began lately is of this moment, too.
            self.start_control(key, now);
        }
        if let Some(round) = &mut self.round {
            round.controls = wanted;
            round.phase = Phase::Controls;
        }
        true
    }

    fn end_controls(&mut self, now: Moment) -> bool {
        let Some(round) = &self.round else { return false };
        if round.controls.iter().any(|key| self.control(key).is_none()) {
            return false;
        }
        let done = round.controls.iter().filter_map(|key| Some((key.clone(), self.control(key)?.clone())));
        let done: BTreeMap<ControlKey, Control> = done.collect();
        if let Some(round) = &mut self.round {
            round.done = done;
            round.phase = Phase::Checks;
        }
        self.choose_canaries(now);
        true
    }

    /// The control of this round, which a later one of a visit does not replace.
    pub(super) fn round_control(&self, key: &ControlKey) -> Option<&Control> {
        self.round.as_ref()?.done.get(key)
    }

    fn step_checks(&mut self, now: Moment) -> bool {
        // Whatever ended may have made room for what waits: that is tried first.
        if self.start_due_checks(now) | self.conclude_checks(now) {
            return true;
        }
        let Some(round) = &self.round else { return false };
        let idle = round.waiting.is_empty() && round.active.is_empty() && round.queues.is_empty();
        // What holds the blocked ones may pass within the round; if nothing of ours is under way any more, it
        // will not.
        // For a while: one canary that stays ambiguous must not hold up the rounds of everybody.
        let patient = now.mono.saturating_sub(round.begun.mono) < self.clearing_patience();
        let may_clear = patient && self.canaries_may_clear(now);
        if idle && !round.blocked.is_empty() && !may_clear && !self.sweeping() {
            let blocked = self.round.as_mut().map(|round| std::mem::take(&mut round.blocked));
            for at in blocked.unwrap_or_default() {
                let why =
                    self.round.as_ref().and_then(|round| round.jobs.get(at)).map(|job| job.why.to_string());
                let found = Access::Undetermined(UnknownReason::CreationCap);
                self.finish_check(at, found, why.unwrap_or_default(), now);
            }
            return true;
        }
        if idle && self.round.as_ref().is_some_and(|round| round.blocked.is_empty()) && self.recovered() {
            self.end_checks(now);
            return true;
        }
        false
    }

    /// Before the first round every unfinished canary was looked at once.
    fn recovered(&self) -> bool {
        let recovery = self.round.as_ref().is_some_and(|round| round.recovery);
        !recovery || !self.canaries_unlooked()
    }

    /// How long a round waits for canaries that may clear by themselves.
    fn clearing_patience(&self) -> Duration {
        self.config.hub.in_flight_horizon * 2 + Duration::from_secs(15)
    }

    fn end_checks(&mut self, now: Moment) {
        let short = self.config.hub.in_flight_horizon <= Duration::from_secs(10);
        let patience = self.clearing_patience();
        // Before an audit's own round nothing is waited for; its end does that.
        let last = !self.round.as_ref().is_some_and(|round| round.recovery) || self.due.is_empty();
        if self.mode.one_shot && short && last && self.canaries_open(patience, now) {
            if let Some(round) = &mut self.round {
                round.phase = Phase::CleanUp;
                round.clean_up_until = now.mono + patience;
            }
        } else {
            self.end_round(now);
        }
    }

    fn step_clean_up(&mut self, now: Moment) -> bool {
        let until = self.round.as_ref().map_or(now.mono, |round| round.clean_up_until);
        if now.mono >= until || !self.canaries_open(until - now.mono, now) {
            self.end_round(now);
            return true;
        }
        false
    }
}

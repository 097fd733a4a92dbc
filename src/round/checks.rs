//! The checks of a round, each a short walk: asked, answered, judged.
//!
//! A denial waits for the proof that its target is there; a creation waits for its canary to come to rest.

use std::time::Duration;

use crate::access::{Access, Check, DenyReason, Method, Target, TokenName, UnknownReason};
use crate::exchange::{Credential, Exchange, Request};
use crate::hub::canary;
use crate::hub::classify::CreateHeard;
use crate::hub::probes::{self, Asked, Control};
use crate::hub::whoami::Declared;
use crate::moment::{Moment, Timestamp};
use crate::plan::choice::Lot;
use crate::report::Evidence;

use super::proofs::ProofKey;
use super::sentinels::Place;
use super::{Effect, Engine, Job, Meter};

/// Where one check stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    Asking,
    /// Refused; whether that means something depends on the target, as it was asked for: a reload may meanwhile
    /// have put another observer in place.
    Denied(DenyReason, ProofKey),
    /// Granted; whether that means something depends on what others get. With it, whether the answer shows what
    /// only members are shown.
    Granted(ProofKey, bool),
    /// Its canary is under way.
    Creating(i64),
    /// It is tried on its sentinel.
    Trying,
    Done,
}

impl Stage {
    /// The proof without which the answer does not count.
    pub(super) fn waits_for(&self) -> Option<&ProofKey> {
        match self {
            Stage::Denied(_, key) | Stage::Granted(key, _) => Some(key),
            _ => None,
        }
    }
}

/// One check of the round. All of them are there from its beginning, few of them under way.
#[derive(Debug)]
pub(super) struct CheckJob {
    pub check: Check,
    pub starts_at: Duration,
    /// What it came to; `None` before its end.
    pub found: Option<Access>,
    /// What its walk had to say of that, or what it waits for.
    pub why: Box<str>,
    /// From its first step until it is recorded; of one with a canary until the end of the round.
    walk: Option<Box<Walk>>,
}

/// A check that is under way.
#[derive(Debug)]
pub(super) struct Walk {
    pub stage: Stage,
    begun: Moment,
    took: Duration,
    pub canary: Option<i64>,
    pub evidence: Vec<Evidence>,
    pub ended: Timestamp,
}

impl CheckJob {
    pub(super) fn new(check: Check, starts_at: Duration) -> CheckJob {
        CheckJob { check, starts_at, found: None, why: Box::default(), walk: None }
    }

    /// Its walk, as far as there is one.
    pub fn walk(&self) -> Option<&Walk> {
        self.walk.as_deref()
    }

    /// The same, to go on.
    pub fn walk_mut(&mut self) -> Option<&mut Walk> {
        self.walk.as_deref_mut()
    }

    /// Its walk, which begins now if it did not before.
    fn under_way(&mut self, now: Moment) -> &mut Walk {
        self.walk.get_or_insert_with(|| {
            Box::new(Walk {
                stage: Stage::Waiting,
                begun: now,
                took: Duration::ZERO,
                canary: None,
                evidence: Vec::new(),
                ended: Timestamp(0),
            })
        })
    }

    /// The proof without which its answer does not count.
    pub fn waits_for(&self) -> Option<&ProofKey> {
        self.walk()?.stage.waits_for()
    }

    /// Its answer is recorded. What became of a canary may change it until the end of the round.
    pub fn recorded(&mut self) {
        if self.walk().is_some_and(|walk| walk.canary.is_none()) {
            self.walk = None;
        }
    }
}

impl Walk {
    /// How long it took until the Hub's answer was known, clean-up not counted.
    pub fn took(&self) -> Duration {
        self.took
    }
}

impl Engine {
    pub(super) fn start_due_checks(&mut self, now: Moment) -> bool {
        let mut moved = false;
        let room = self.room();
        let blocked = self.round.as_mut().map(|round| std::mem::take(&mut round.blocked)).unwrap_or_default();
        for at in blocked {
            // It moved only if it is no longer blocked.
            self.start_check(at, now);
            moved |= self.round.as_ref().is_some_and(|round| !round.blocked.contains(&at));
        }
        moved |= self.release_queues(now);
        loop {
            let Some(round) = &mut self.round else { return moved };
            let next = round.waiting.front().copied().filter(|at| {
                round.active.len() < room && round.jobs.get(*at).is_some_and(|job| job.starts_at <= now.mono)
            });
            let Some(at) = next else { return moved };
            round.waiting.pop_front();
            self.start_check(at, now);
            moved = true;
        }
    }

    /// Begins one check, or says why not.
    pub(super) fn start_check(&mut self, at: usize, now: Moment) {
        let Some(job) = self.round.as_mut().and_then(|round| round.jobs.get_mut(at)) else { return };
        job.under_way(now);
        let check = job.check.clone();
        if let Err((why, sentence)) = self.may_start(&check) {
            return self.finish_check(at, Access::Undetermined(why), sentence, now);
        }
        let user = self.user_of(&Credential::Token(check.token.clone()));
        if let Err(wait) = self.has_room(&user, now) {
            return self.queue_check(at, &user, wait, now);
        }
        let lot = self.round.as_ref().and_then(|round| round.lots.get(&at)).cloned();
        match (&check.target, &check.method) {
            (Target::Create { kind, group }, Method::Canary) if lot.is_some() => {
                let to = (*kind, group.as_deref());
                self.begin_without_canary(at, &check, lot.unwrap_or(Lot::Nothing), to, now);
            }
            (Target::Create { kind, group }, Method::Canary) => {
                self.begin_create(at, &check, *kind, group.as_deref(), now);
            }
            (Target::Create { kind, group }, Method::Sentinel(sentinel)) => {
                self.begin_trial(at, &check, sentinel, (*kind, group.as_deref()), Place::Own, now);
            }
            _ => self.begin_probe(at, &check, now),
        }
    }

    /// Asks a read-only question, as its row says.
    fn begin_probe(&mut self, at: usize, check: &Check, now: Moment) {
        let who = Credential::Token(check.token.clone());
        let row = probes::row_of(check.permission);
        let request = row.and_then(|row| row.request(&check.organization, &check.target, who));
        match request {
            // A method may change something, whatever we know of the route: that is what the switch promises.
            Some(request) if request.verb.is_unsafe() && self.mode.read_only => {
                let sentence = "asking takes a POST, and --read-only lets none leave".to_owned();
                self.finish_check(at, Access::Undetermined(UnknownReason::ReadOnly), sentence, now);
            }
            Some(request) => self.ask_check(at, request),
            None => {
                let sentence = format!("{} cannot be asked of {}", check.permission, check.target);
                self.finish_check(at, Access::Undetermined(UnknownReason::Unrecognized), sentence, now);
            }
        }
    }

    /// Whether an answer could mean anything; else why not.
    fn may_start(&self, check: &Check) -> Result<(), (UnknownReason, String)> {
        let state = self.tokens.get(&check.token);
        if let Some(Err(fault)) = state.and_then(|state| state.key.as_ref()) {
            let place = self.config.token(&check.token).map(|token| token.secret.to_string());
            let sentence = format!("its secret ({}) {fault}", place.unwrap_or_default());
            return Err((UnknownReason::TokenInvalid, sentence));
        }
        if state.is_some_and(|state| state.spent) {
            return Err((
                UnknownReason::TokenInvalid,
                "the Hub does not accept the token (401); renew it".to_owned(),
            ));
        }
        let key = (check.organization.clone(), self.observer(&check.organization, &check.token));
        match self.round_control(&key) {
            Some(control) => {
                if let Err(why) = control.result {
                    return Err((self.blind(why), control.why.clone()));
                }
            }
            None => {
                return Err((UnknownReason::NoControl, "there is no control for it".to_owned()));
            }
        }
        Ok(())
    }

    /// Why a failed control leaves a check without an answer. A Hub that answered other questions of this round
    /// is there: then it is the control that is missing, whatever became of it.
    fn blind(&self, why: UnknownReason) -> UnknownReason {
        match why {
            UnknownReason::TokenInvalid | UnknownReason::TargetMissing => why,
            _ if self.answered_in_round => UnknownReason::NoControl,
            why => why,
        }
    }

    fn ask_check(&mut self, at: usize, request: Request) {
        if let Some(round) = &mut self.round {
            round.active.insert(at);
            if let Some(walk) = round.walk(at) {
                walk.stage = Stage::Asking;
            }
        }
        self.ask(Job::Check(at), request, None);
    }

    /// Puts a check back: what it needs is held by another.
    pub(super) fn block_check(&mut self, at: usize, why: String) {
        if let Some(round) = &mut self.round {
            round.active.remove(&at);
            round.unjudged.remove(&at);
            round.blocked.push(at);
            if let Some(job) = round.jobs.get_mut(at) {
                job.why = why.into();
            }
        }
    }

    pub(super) fn check_tries(&mut self, at: usize) {
        if let Some(round) = &mut self.round {
            round.active.insert(at);
            if let Some(walk) = round.walk(at) {
                walk.stage = Stage::Trying;
            }
        }
    }

    pub(super) fn check_creates(&mut self, at: usize, canary: i64) {
        if let Some(round) = &mut self.round {
            round.active.insert(at);
            round.unjudged.insert(at);
            if let Some(walk) = round.walk(at) {
                walk.stage = Stage::Creating(canary);
                walk.canary = Some(canary);
            }
        }
    }

    /// Keeps an exchange as evidence of a check.
    pub(super) fn keep_evidence(&mut self, at: usize, exchange: &Exchange) {
        if let Some(walk) = self.round.as_mut().and_then(|round| round.walk(at)) {
            walk.evidence.push(evidence(exchange));
        }
    }

    /// The answer to the question itself is known; what follows is not part of the probe's time.
    pub(super) fn check_answered(&mut self, at: usize, now: Moment) {
        if let Some(walk) = self.round.as_mut().and_then(|round| round.walk(at)) {
            walk.took = now.mono.saturating_sub(walk.begun.mono);
        }
    }

    pub(super) fn hear_check(&mut self, at: usize, exchange: &Exchange, now: Moment) {
        self.keep_evidence(at, exchange);
        self.check_answered(at, now);
        let Some(job) = self.round.as_ref().and_then(|round| round.jobs.get(at)) else { return };
        let check = job.check.clone();
        let Some(row) = probes::row_of(check.permission) else { return };
        let declared = self.declared(&check.token, now);
        let known = declared.zip(check.ruled_by());
        let restrictions = known.map_or(&[][..], |(declared, ruler)| declared.restrictions(ruler));
        let user = declared.and_then(Declared::user_name);
        let asked = Asked { organization: &check.organization, target: &check.target, user };
        let found = row.read(&exchange.outcome, asked, restrictions);
        let (stage, proof) = match (found, row.control) {
            (Access::Denied(why), Control::Target) => match self.target_proof(&check) {
                Some(key) => (Stage::Denied(why, key.clone()), key),
                None => return self.finish_check(at, found, String::new(), now),
            },
            (Access::Allowed, Control::Closed) => {
                let key = ProofKey::Closed(check.permission, check.organization.clone());
                (Stage::Granted(key.clone(), probes::shows_roles(&exchange.outcome)), key)
            }
            _ => return self.finish_check(at, found, String::new(), now),
        };
        if let Some(round) = &mut self.round {
            round.unjudged.insert(at);
            if let Some(walk) = round.walk(at) {
                walk.stage = stage;
            }
        }
        self.ask_proof(&proof);
    }

    /// Ends what can be ended: denials whose target is known, creations whose canary has come to rest.
    pub(super) fn conclude_checks(&mut self, now: Moment) -> bool {
        let Some(round) = &self.round else { return false };
        let mut ends: Vec<(usize, Access, String)> = Vec::new();
        // All that are under way are many, and this is asked at every event.
        for at in round.unjudged.intersection(&round.active) {
            let Some(job) = round.jobs.get(*at) else { continue };
            let Some(walk) = job.walk() else { continue };
            match &walk.stage {
                Stage::Denied(..) | Stage::Granted(..) => {
                    if let Some((found, sentence)) = self.judge_by_proof(&job.check, &walk.stage, now) {
                        ends.push((*at, found, sentence));
                    }
                }
                Stage::Creating(id) => {
                    if let Some((found, sentence)) = self.judge_creation(*id, now) {
                        ends.push((*at, found, sentence));
                    }
                }
                Stage::Waiting | Stage::Asking | Stage::Trying | Stage::Done => {}
            }
        }
        let moved = !ends.is_empty();
        for (at, found, sentence) in ends {
            self.finish_check(at, found, sentence, now);
        }
        moved
    }

    /// "Not found" is no proof of life: it needs an answer of this process that only a live token gets, or a
    /// fresh whoami.
    pub(super) fn known_alive(&self, token: &TokenName, now: Moment) -> bool {
        self.tokens.get(token).is_some_and(|state| state.alive && !state.spent)
            || self.declared(token, now).is_some()
    }

    /// What a creation came to, once its canary has come to rest or was waited for long enough.
    pub(super) fn judge_creation(&self, id: i64, now: Moment) -> Option<(Access, String)> {
        let live = self.canaries.get(&id)?;
        let heard = live.heard.as_ref()?;
        let at_rest = match heard {
            CreateHeard::Refused(_) => true,
            _ => canary::settled(&live.canary) || live.waited_enough(now),
        };
        if !at_rest {
            return None;
        }
        Some((creation_access(heard, live.canary.repo_id.is_some()), String::new()))
    }

    /// Records the end of a check.
    pub(super) fn finish_check(&mut self, at: usize, found: Access, why: String, now: Moment) {
        let Some(round) = &mut self.round else { return };
        round.active.remove(&at);
        round.unjudged.remove(&at);
        let Some(job) = round.jobs.get_mut(at) else { return };
        if job.found.is_some() {
            return;
        }
        job.found = Some(found);
        job.why = why.into();
        let (permission, key) = (job.check.permission, job.check.key());
        let walk = job.under_way(now);
        walk.stage = Stage::Done;
        walk.ended = now.wall;
        if walk.took.is_zero() {
            walk.took = now.mono.saturating_sub(walk.begun.mono);
        }
        let (took, canary) = (walk.took, walk.canary);
        self.out.push(Effect::Meter(Meter::Probe { permission, found, took }));
        if let Some(id) = canary {
            self.release_canary(id);
        }
        self.take_turn(&key, found);
        self.record_check(at, now);
        if let Some(job) = self.round.as_mut().and_then(|round| round.jobs.get_mut(at)) {
            job.recorded();
        }
    }
}

/// What a creation answers: presence that was proved later turns "don't know" into a grant.
pub(super) fn creation_access(heard: &CreateHeard, proved_present: bool) -> Access {
    match heard {
        CreateHeard::Ambiguous(_) if proved_present => Access::Allowed,
        heard => heard.access(),
    }
}

/// An exchange as evidence: no query, no body, no token.
pub(super) fn evidence(exchange: &Exchange) -> Evidence {
    let path = exchange.request.path.split('?').next().unwrap_or_default().to_owned();
    let method = exchange.request.verb.as_str();
    match &exchange.outcome {
        Ok(answer) => Evidence {
            method,
            path,
            status: Some(answer.status),
            request_id: answer.request_id.clone(),
            failure: None,
        },
        Err(failure) => {
            Evidence { method, path, status: None, request_id: None, failure: Some(failure.as_str()) }
        }
    }
}

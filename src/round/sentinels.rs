//! Creating on a name that exists: a sentinel seen a moment ago, then a POST that can only be refused or told
//! that the name is taken. Nothing is created and nothing is ever deleted here.
//!
//! The call counts against the user's creations and is durable as such before it leaves. Should the Hub create
//! something after all, because somebody deleted the sentinel in between, creating is latched off for a person.

use crate::access::{Access, Check, DenyReason, RepoName, RepoType, UnknownReason};
use crate::exchange::{Credential, Exchange};
use crate::hub::classify;
use crate::hub::routes;
use crate::moment::Moment;
use crate::store::{Creation, Write};

use super::creations::latched_off;
use super::proofs::{Proof, there};
use super::{Engine, Job, Op, SEND_WITHIN};

/// One trial, under way.
#[derive(Debug)]
pub(super) struct Trial {
    /// The check of the round that it is for.
    at: usize,
    check: Check,
    sentinel: RepoName,
    kind: RepoType,
    group: Option<String>,
    /// Whose creations wait for it.
    user: String,
    /// Whose calls of the day it is one of.
    counts_as: String,
    /// When the sentinel was seen; before that it was only asked for.
    seen_at: Option<Moment>,
}

/// Why a creation is tried on a sentinel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Its check says so.
    Own,
    /// The day's creations do not suffice for a canary.
    OfACanary,
}

/// Under whose name those are counted that take the place of a canary. No user of the Hub has a colon in the name.
pub(super) fn in_place_of(user: &str) -> String {
    format!("sentinel:{user}")
}

impl Trial {
    /// Where something might be created.
    pub(super) fn organization(&self) -> &str {
        &self.check.organization
    }
}

impl Engine {
    /// Looks at the sentinel, or says why not.
    pub(super) fn begin_trial(
        &mut self,
        at: usize,
        check: &Check,
        sentinel: &RepoName,
        (kind, group): (RepoType, Option<&str>),
        place: Place,
        now: Moment,
    ) {
        let (group, user) = match self.may_create(check, group, now) {
            Ok(found) => found,
            Err((why, sentence)) => {
                return self.finish_check(at, Access::Undetermined(why), sentence, now);
            }
        };
        let (counts_as, wait) = match place {
            Place::Own => (user.clone(), self.user_must_wait(check, &user, now)),
            Place::OfACanary => (in_place_of(&user), self.user_is_held(&user, now)),
        };
        if let Some(why) = wait {
            return self.block_check(at, why);
        }
        self.creating.insert(user.clone());
        self.last_trial += 1;
        let id = self.last_trial;
        let observer = self.observer(&check.organization, &check.token);
        let (check, sentinel) = (check.clone(), sentinel.clone());
        let request = routes::repo_info(kind, &sentinel, observer);
        self.trials.insert(id, Trial { at, check, sentinel, kind, group, user, counts_as, seen_at: None });
        self.check_tries(at);
        self.ask(Job::Trial(id), request, None);
    }

    pub(super) fn hear_trial(&mut self, id: u64, exchange: &Exchange, now: Moment) {
        let Some(trial) = self.trials.get_mut(&id) else { return };
        let at = trial.at;
        if trial.seen_at.is_some() {
            self.keep_evidence(at, exchange);
            self.check_answered(at, now);
            return self.hear_creation_on_sentinel(id, exchange, now);
        }
        let (kind, sentinel) = (trial.kind, trial.sentinel.clone());
        if let Proof::Not(why) = there(&exchange.outcome, &sentinel, false) {
            self.keep_evidence(at, exchange);
            let sentence = format!(
                "the sentinel, {kind} '{sentinel}', could not be seen under exactly this name, so nothing was tried; name a repository that lasts and that the janitor can read"
            );
            return self.end_trial(id, Access::Undetermined(why), sentence, now);
        }
        trial.seen_at = Some(now);
        let creation = Creation { owner: trial.counts_as.clone(), at: now.wall };
        self.keep_evidence(at, exchange);
        self.count_creation(creation.clone(), now);
        self.store(Op::Trial(id), vec![Write::Creation(creation)]);
    }

    pub(super) fn trial_stored(&mut self, id: u64, done: bool, now: Moment) {
        let Some(trial) = self.trials.get(&id) else { return };
        if !done || self.stopping {
            let sentence = "that a creation is tried could not be stored, so nothing was asked; see the store's error in the log";
            let why = if done { UnknownReason::Network } else { UnknownReason::IntentNotStored };
            return self.end_trial(id, Access::Undetermined(why), sentence.to_owned(), now);
        }
        let Some(seen_at) = trial.seen_at else { return };
        if !self.may_still_try(id) {
            return self.trial_recalled(id, now);
        }
        let who = Credential::Token(trial.check.token.clone());
        let request = routes::create(&trial.sentinel, trial.kind, trial.group.as_deref(), who);
        let bound = self.bound(seen_at.mono + SEND_WITHIN);
        self.ask(Job::Trial(id), request, Some(bound));
    }

    /// Whether nothing has come up since the look: no accident, and no reload after which nobody asks for it.
    pub(super) fn may_still_try(&self, id: u64) -> bool {
        let check = self.trials.get(&id).map(|trial| &trial.check);
        check.is_some_and(|check| !self.latched(&check.organization) && self.is_configured(check))
    }

    /// Creating was latched off, or is no longer asked for, before it left.
    pub(super) fn trial_recalled(&mut self, id: u64, now: Moment) {
        let Some(trial) = self.trials.get(&id) else { return };
        let sentence = if self.latched(trial.organization()) {
            latched_off(trial.organization())
        } else {
            "the configuration does not ask for it any more, so nothing was tried".to_owned()
        };
        self.end_trial(id, Access::Undetermined(UnknownReason::NoControl), sentence, now);
    }

    /// The clock was set while it was written down.
    pub(super) fn trial_unsent(&mut self, id: u64, now: Moment) {
        let sentence = "the clock was set a moment before it was tried, so nothing was asked; the next round tries again".to_owned();
        self.end_trial(id, Access::Undetermined(UnknownReason::Network), sentence, now);
    }

    /// What was queued will not leave any more.
    pub(super) fn drop_trial(&mut self, id: u64) {
        if let Some(trial) = self.trials.remove(&id) {
            self.creating.remove(&trial.user);
        }
    }

    fn hear_creation_on_sentinel(&mut self, id: u64, exchange: &Exchange, now: Moment) {
        let Some(trial) = self.trials.get(&id) else { return };
        let organization = trial.check.organization.clone();
        let restrictions =
            self.declared(&trial.check.token, now).map(|d| d.restrictions(&organization).to_vec());
        let (_, heard) = classify::create_on_existing(
            &exchange.outcome,
            &trial.sentinel,
            &restrictions.unwrap_or_default(),
        );
        let (sentinel, user, at) = (trial.sentinel.clone(), trial.user.clone(), trial.at);
        let (found, sentence) = match heard {
            Ok(Access::Denied(DenyReason::Scope | DenyReason::Other)) if !self.group_is_shown(at, now) => {
                (Access::Undetermined(UnknownReason::NoControl), String::new())
            }
            Ok(found) => (found, String::new()),
            Err(found) => {
                let why = format!(
                    "creating on the sentinel '{sentinel}' created it, because somebody had deleted it; look at it, then keep or delete it"
                );
                self.latch_organization(&organization, &why, now);
                (found, why)
            }
        };
        if let Access::Undetermined(why) = found {
            self.rest_creations(&user, why, exchange, now);
        }
        self.end_trial(id, found, sentence, now);
    }

    fn end_trial(&mut self, id: u64, found: Access, sentence: String, now: Moment) {
        let Some(trial) = self.trials.remove(&id) else { return };
        self.creating.remove(&trial.user);
        self.finish_check(trial.at, found, sentence, now);
    }
}

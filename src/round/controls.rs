//! The controls, run for a round or for a visit to a canary, and what they say of an observer.

use std::time::Duration;

use crate::access::{RepoName, RepoType, TokenName};
use crate::exchange::{Credential, Exchange};
use crate::hub::control::{self, Control, ControlWalk, Plan};
use crate::hub::names;
use crate::intent::{Canary, DeleteOutcome};
use crate::moment::Moment;
use crate::plan::calls::CONTROLS_OF_VISITS;
use crate::planted::{self, Defect};

use super::{Engine, Job};

/// Which control: of which organization, as seen by whom.
pub(super) type ControlKey = (String, Credential);

/// One control, under way or done.
#[derive(Debug)]
pub(super) enum ControlJob {
    /// Under way since then.
    Walking { walk: Box<ControlWalk>, began: Duration },
    /// What it came to. That something was seen shows how things stood when it began, not how they stand at its end;
    /// that nothing was seen may be of its last moment.
    Done { control: Control, began: Duration, ended: Duration },
}

/// How long a control of a round serves visits to canaries.
const FRESH: Duration = Duration::from_secs(120);

fn is_fresh(since: Duration, now: Moment) -> bool {
    now.mono.saturating_sub(since) <= FRESH
}

impl Engine {
    /// Begins a control, unless it is under way.
    pub(super) fn start_control(&mut self, key: &ControlKey, now: Moment) {
        if matches!(self.controls.get(key), Some(ControlJob::Walking { began, .. }) if is_fresh(*began, now))
        {
            return;
        }
        let (organization, observer) = key;
        let configured = self.config.organization(organization);
        let janitor = configured.and_then(|o| o.janitor.as_ref());
        let is_janitor =
            matches!((observer, janitor), (Credential::Token(who), Some(janitor)) if who == janitor);
        let names_group = |check: &crate::access::Check| {
            matches!(&check.target, crate::access::Target::Create { group: Some(_), .. })
        };
        // Whoever asks why wants to know the group of the target, too.
        let with_groups = self.explaining.is_some()
            || self
                .config
                .tokens
                .iter()
                .any(|token| token.organization == *organization && token.checks.iter().any(names_group))
            || self
                .canaries
                .values()
                .any(|live| live.canary.repo.namespace == *organization && live.canary.group.is_some());
        let sentinel = configured.and_then(|o| o.sentinel.clone());
        let nonce = (self.dice)();
        let walk = ControlWalk::new(Plan {
            organization: organization.clone(),
            observer: observer.clone(),
            janitor: is_janitor,
            sentinel,
            absent: names::unguessable(organization, &nonce),
            with_groups,
        });
        if let Some(request) = walk.next() {
            self.ask(Job::Control(key.clone()), request, None);
        }
        self.controls.insert(key.clone(), ControlJob::Walking { walk: Box::new(walk), began: now.mono });
    }

    pub(super) fn hear_control(&mut self, key: &ControlKey, exchange: &Exchange, now: Moment) {
        let Some(ControlJob::Walking { walk, .. }) = self.controls.get_mut(key) else { return };
        // A round begins its controls anew; an answer to the walk before is no answer to this one's question.
        if walk.next().as_ref() != Some(&exchange.request) {
            return;
        }
        walk.hear(exchange);
        if let Some(request) = walk.next() {
            self.ask(Job::Control(key.clone()), request, None);
            return;
        }
        if let Some(ControlJob::Walking { walk, began }) = self.controls.remove(key) {
            let control = walk.finish();
            self.sight_groups(key, &control, now);
            self.controls.insert(key.clone(), ControlJob::Done { control, began, ended: now.mono });
        }
    }

    /// Whether something private was seen that is no canary of ours.
    fn sees_others(&self, control: &Control) -> bool {
        control.sentinel_seen || control.seen.iter().any(|seen| !self.signer.is_ours(&seen.repo, seen.kind))
    }

    /// The control, once it is done.
    pub(super) fn control(&self, key: &ControlKey) -> Option<&Control> {
        match self.controls.get(key) {
            Some(ControlJob::Done { control, .. }) => Some(control),
            _ => None,
        }
    }

    /// Sees to it that there is a control no older than a visit needs. Says whether it is there now.
    pub(super) fn ensure_control(&mut self, key: &ControlKey, now: Moment) -> bool {
        match self.controls.get(key) {
            Some(ControlJob::Done { began, .. }) if is_fresh(*began, now) => true,
            Some(ControlJob::Walking { .. }) => false,
            _ if self.mode.one_shot && self.controls_of_visits(key) >= CONTROLS_OF_VISITS => true,
            _ => {
                *self.visit_controls.entry(key.clone()).or_default() += 1;
                self.start_control(key, now);
                false
            }
        }
    }

    /// How often a visit asked for this control anew. A run that asks once and stops does so a few times only, and
    /// then looks without: who has no fresh control sees nothing, and what is open is left to the journal.
    fn controls_of_visits(&self, key: &ControlKey) -> u32 {
        self.visit_controls.get(key).copied().unwrap_or(0)
    }

    /// Something private that this token saw when it was last controlled, and that is no canary of ours; where
    /// possible in the group of this one.
    pub(super) fn witness(&self, who: &TokenName, canary: &Canary) -> Option<(RepoType, RepoName)> {
        if planted::is(Defect::BlindTrusted) {
            return None;
        }
        let key = (canary.repo.namespace.clone(), Credential::Token(who.clone()));
        let seen = || {
            let seen = self.control(&key).into_iter().flat_map(|control| &control.seen);
            seen.filter(|seen| !self.signer.is_ours(&seen.repo, seen.kind))
        };
        let in_group = seen().find(|seen| seen.group == canary.group);
        in_group.or_else(|| seen().next()).map(|seen| (seen.kind, seen.repo.clone()))
    }

    /// Whether "not found" from this token proves that the canary is gone: it is not refused, its whoami is
    /// fresh and free of restrictions, and it has lately seen this very canary or something else private there.
    pub(super) fn capable(
        &self,
        who: &TokenName,
        canary: &Canary,
        seen_at: Option<Duration>,
        now: Moment,
    ) -> bool {
        if planted::is(Defect::BlindTrusted) {
            return true;
        }
        if !self.tokens.get(who).is_some_and(super::tokens::TokenState::usable) {
            return false;
        }
        let organization = &canary.repo.namespace;
        let Some(declared) = self.declared(who, now) else { return false };
        if !declared.restrictions(organization).is_empty() {
            return false;
        }
        let key = (organization.clone(), Credential::Token(who.clone()));
        let latest = match self.controls.get(&key) {
            Some(ControlJob::Done { control, began, ended }) => Some((control, *began, *ended)),
            _ => None,
        };
        // Whoever saw it and has since been seen to see nothing private at all may have lost sight of this one, too,
        // and so may whoever was not controlled yet or in vain, unless the Hub took its deletion.
        let taken = canary.deletes.iter().any(|delete| delete.outcome == DeleteOutcome::Acknowledged);
        let in_vain = |control: &Control, ended: Duration, seen: Duration| {
            (ended >= seen || control.result.is_err()) && !self.sees_others(control)
        };
        let lost_sight =
            |seen: Duration| !taken && latest.is_none_or(|(control, _, ended)| in_vain(control, ended, seen));
        if seen_at.is_some_and(|at| is_fresh(at, now) && !lost_sight(at)) {
            return true;
        }
        latest.is_some_and(|(control, began, _)| {
            // Whoever saw nothing but canaries has no witness: it may have gone blind since.
            is_fresh(began, now)
                && (taken || self.sees_others(control))
                && control::capable(control, Some(declared), organization, canary.group.as_deref())
        })
    }
}

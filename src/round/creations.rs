//! Creations: a canary planned within bounds, its intent durable, its one POST, and what the answer means.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::access::{Access, Check, RepoType, Target, TokenName, UnknownReason};
use crate::exchange::{Credential, Exchange};
use crate::hub::answers::rate_limit;
use crate::hub::canary;
use crate::hub::classify::{self, CreateHeard, is_object_id};
use crate::hub::routes;
use crate::intent::{Canary, CanaryState};
use crate::moment::{Moment, Timestamp};
use crate::planted::{self, Defect};
use crate::store::{Creation, Pause, Write};

use super::canaries::Live;
use super::{Engine, Job, Op, SEND_WITHIN};

/// Unresolved canaries of one organization, at most; one leak must not become a hundred.
const UNRESOLVED_MAX: usize = 3;
/// How long a user's creations rest after the Hub's own cap, which is counted by the day.
const CAP_REST: Duration = Duration::from_secs(6 * 3600);
/// And after the Hub's create lock was found taken by somebody else.
const LOCK_REST: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Why nothing is created after an accident.
pub(super) fn latched_off(organization: &str) -> String {
    format!(
        "canaries of '{organization}' are latched off after an accident; see `canaries list`, then `canaries unlatch`"
    )
}

/// When each owner called for a creation.
pub(super) fn by_owner(creations: Vec<Creation>) -> BTreeMap<String, Vec<Timestamp>> {
    let mut calls: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
    for creation in creations {
        calls.entry(creation.owner).or_default().push(creation.at);
    }
    calls
}

/// Whether this canary answers this check of its token.
pub(super) fn asks_for(check: &Check, canary: &Canary) -> bool {
    check.creates()
        && check.organization == canary.repo.namespace
        && check.target.to_string() == canary.target
}

impl Engine {
    /// Plans a canary for this check, or says why it must wait or cannot be.
    pub(super) fn begin_create(
        &mut self,
        at: usize,
        check: &Check,
        kind: RepoType,
        group: Option<&str>,
        now: Moment,
    ) {
        let (group, user) = match self.may_create(check, group, now) {
            Ok(found) => found,
            Err((why, sentence)) => {
                return self.finish_check(at, Access::Undetermined(why), sentence, now);
            }
        };
        if let Some(why) = self.creation_must_wait(check, &user, now) {
            return self.block_check(at, why);
        }
        self.plan_canary(at, check, kind, group, user, now);
    }

    /// Whether a creation may be tried at all; then the id of its resource group, and its user.
    pub(super) fn may_create(
        &self,
        check: &Check,
        group: Option<&str>,
        now: Moment,
    ) -> Result<(Option<String>, String), (UnknownReason, String)> {
        if self.mode.read_only {
            return Err((UnknownReason::ReadOnly, "creating is off (--read-only)".to_owned()));
        }
        if self.latched(&check.organization) {
            return Err((UnknownReason::NoControl, latched_off(&check.organization)));
        }
        if self.clock_is_wrong() {
            let sentence = "the clock and the Hub's differ by more than a minute, so that nothing is created; set the clock right";
            return Err((UnknownReason::NoControl, sentence.to_owned()));
        }
        if self.sweep_owed(&check.organization) == Some(false) {
            let sentence = format!(
                "the journal was lost, and '{}' could not be searched for canaries that it knew; see to it that its janitor can list repositories and sees a private one, or run `scopewatch canaries sweep`",
                check.organization
            );
            return Err((UnknownReason::NoControl, sentence));
        }
        let group = self.resolve_group(check, group, now)?;
        Ok((group, self.user_of(&Credential::Token(check.token.clone()))))
    }

    /// The id of a resource group that the config gives by name or by id.
    fn resolve_group(
        &self,
        check: &Check,
        group: Option<&str>,
        now: Moment,
    ) -> Result<Option<String>, (UnknownReason, String)> {
        let Some(wanted) = group else { return Ok(None) };
        let organization = &check.organization;
        let (may_list, known) = self.known_groups(check, now);
        let found = known.iter().find(|(name, id)| name == wanted || id.eq_ignore_ascii_case(wanted));
        if let Some((_, id)) = found {
            return Ok(Some(id.clone()));
        }
        if !may_list && known.is_empty() && is_object_id(wanted) {
            // An id needs no look-up. A grant is a grant; that a refusal means something nobody can show then.
            return Ok(Some(wanted.to_ascii_lowercase()));
        }
        if !may_list && known.is_empty() {
            return Err((
                UnknownReason::NoControl,
                format!(
                    "no token may list the resource groups of '{organization}', so that '{wanted}' cannot be looked up; give the janitor a role that may"
                ),
            ));
        }
        let what = if is_object_id(wanted) { "id" } else { "name" };
        Err((
            UnknownReason::TargetMissing,
            format!(
                "there is no resource group of {what} '{wanted}' in '{organization}'; correct it in the config"
            ),
        ))
    }

    /// The resource groups that are known, by name and id, and whether the observer may list all of them.
    pub(super) fn known_groups(&self, check: &Check, now: Moment) -> (bool, Vec<(String, String)>) {
        let organization = &check.organization;
        let observer = self.observer(organization, &check.token);
        let listed =
            self.round_control(&(organization.clone(), observer.clone())).and_then(|c| c.groups.clone());
        let may_list = listed.is_some();
        let mut known: Vec<(String, String)> = listed.unwrap_or_default();
        let mut also: Vec<&TokenName> = vec![&check.token];
        if let Credential::Token(observer) = &observer {
            also.push(observer);
        }
        for token in also {
            let membership = self.declared(token, now).and_then(|d| d.membership(organization));
            known.extend(
                membership.into_iter().flat_map(|m| &m.groups).map(|g| (g.name.clone(), g.id.clone())),
            );
        }
        (may_list, known)
    }

    /// Bounds, budgets and locks: why a probe waits its turn before its intent is written, if it must.
    fn creation_must_wait(&self, check: &Check, user: &str, now: Moment) -> Option<String> {
        // Asked first, because it is quickly told of the many that wait.
        if self.unresolved(&check.organization) >= UNRESOLVED_MAX {
            return Some(format!(
                "{UNRESOLVED_MAX} canaries of the organization are not resolved; see `scopewatch canaries list`"
            ));
        }
        if let Some(why) = self.user_must_wait(check, user, now) {
            return Some(why);
        }
        if self.sweep_owed(&check.organization).is_some() {
            return Some(
                "the organization is being searched for canaries that a lost journal knew".to_owned(),
            );
        }
        if let Some(id) = self.open_intent(user, &check.token) {
            return Some(format!(
                "canary {id} of its user is not resolved yet; see `scopewatch canaries list`"
            ));
        }
        None
    }

    /// What holds for every call that may create, on a sentinel too: the user's lock, pauses and budget.
    pub(super) fn user_must_wait(&self, check: &Check, user: &str, now: Moment) -> Option<String> {
        if let Some(why) = self.user_is_held(user, now) {
            return Some(why);
        }
        let (used, budget) =
            (self.creations_of(user, now), self.creations_a_day(&check.organization, user, now));
        (used >= budget).then(|| {
            let by_hub = self.learned(user, now).is_some_and(|learned| learned == budget);
            let whose = if by_hub { "what the Hub let pass" } else { "max_creations_per_day" };
            format!("its user's creations of 24 hours are used up ({whose}: {budget})")
        })
    }

    /// Creation calls that a user may make in 24 hours.
    pub(super) fn creations_a_day(&self, organization: &str, user: &str, now: Moment) -> usize {
        let budget = self.config.organization(organization).map_or(0, |o| o.max_creations_per_day);
        let budget = usize::try_from(budget).unwrap_or(usize::MAX);
        self.learned(user, now).map_or(budget, |learned| budget.min(learned))
    }

    /// How many the Hub let pass before its own cap, for a day after it said so.
    fn learned(&self, user: &str, now: Moment) -> Option<usize> {
        let (learned, at) = self.pacing.learned.get(user)?;
        (now.wall.since(*at) < DAY).then_some((*learned).max(1))
    }

    /// Creation calls of a user in the last 24 hours.
    pub(super) fn creations_of(&self, user: &str, now: Moment) -> usize {
        // What a token did before its user was known, its user did; and who is not known may be anybody.
        let unknown = user.starts_with("token:");
        let own = self.creations.iter().filter(|(owner, _)| unknown || self.known_user(owner) == user);
        own.flat_map(|(_, calls)| calls).filter(|at| now.wall.since(**at) < DAY).count()
    }

    /// The user's lock and pauses.
    pub(super) fn user_is_held(&self, user: &str, now: Moment) -> Option<String> {
        // While it is not known whose a token is, it may be anybody's: then nothing is created beside it.
        let unknown = |user: &str| user.starts_with("token:");
        let locked = self.creating.contains(user)
            || (unknown(user) && !self.creating.is_empty())
            || self.creating.iter().any(|other| unknown(other));
        if locked {
            return Some("another creation of its user is under way".to_owned());
        }
        if self.changes_fill_the_room() {
            return Some("as many creations are under way as requests may be at once".to_owned());
        }
        // What a token did before its user was known, its user did; and who is not known may be anybody.
        let by_user = |owner: &str| unknown(user) || self.known_user(owner) == user;
        if let Some(pause) =
            self.pauses.values().find(|pause| pause.until > now.wall && by_user(&pause.owner))
        {
            return Some(format!(
                "the Hub itself held its user's creations up ({}); they rest until {}",
                pause.why, pause.until
            ));
        }
        None
    }

    /// A canary of this user that is still open: its creation or its deletion may yet take effect.
    fn open_intent(&self, user: &str, token: &TokenName) -> Option<i64> {
        let open = |canary: &&Canary| {
            canary.unfinished()
                && canary.state != CanaryState::Quarantined
                && canary.owner.as_ref().map_or(canary.token == *token, |owner| owner == user)
        };
        self.canaries.values().map(|live| &live.canary).find(open).map(|canary| canary.id)
    }

    /// The user behind an owner that was written down, as far as it is known by now.
    pub(super) fn known_user(&self, owner: &str) -> String {
        match owner.strip_prefix("token:") {
            Some(token) => self.user_of(&Credential::Token(TokenName::new(token))),
            None => owner.to_owned(),
        }
    }

    fn plan_canary(
        &mut self,
        at: usize,
        check: &Check,
        kind: RepoType,
        group: Option<String>,
        user: String,
        now: Moment,
    ) {
        let Some(organization) = self.config.organization(&check.organization) else { return };
        let nonce = (self.dice)();
        let name = self.signer.name(&organization.canary_prefix, &organization.name, kind, &nonce);
        self.last_canary += 1;
        let id = self.last_canary;
        let owner = self.declared(&check.token, now).map(|d| d.user.clone());
        let intent = canary::Intent {
            id,
            epoch: self.epoch,
            repo: name,
            kind,
            group,
            target: check.target.to_string(),
            token: check.token.clone(),
            owner,
        };
        let canary = canary::planned(intent, now.wall);
        let creation = Creation { owner: user.clone(), at: now.wall };
        self.count_creation(creation.clone(), now);
        self.creating.insert(user.clone());
        let write = Write::Canary { canary: canary.clone(), event: "intent".to_owned(), at: now.wall };
        let mut live = Live::new(canary, now);
        live.check = Some(at);
        live.lock = Some(user);
        live.busy = true;
        self.canaries.insert(id, live);
        self.check_creates(at, id);
        if planted::is(Defect::PostFirst) {
            // It is written down with what becomes of it.
            return self.intent_stored(id, true, now.mono, now);
        }
        self.store(Op::Intent(id), vec![write, Write::Creation(creation)]);
    }

    /// Counts a call against its user's budget, which is one of 24 hours.
    pub(super) fn count_creation(&mut self, creation: Creation, now: Moment) {
        self.creations.retain(|_, calls| {
            calls.retain(|at| now.wall.since(*at) < DAY);
            !calls.is_empty()
        });
        self.creations.entry(creation.owner).or_default().push(creation.at);
    }

    pub(super) fn intent_stored(&mut self, id: i64, done: bool, stored_at: Duration, now: Moment) {
        let Some(live) = self.canaries.get_mut(&id) else { return };
        live.busy = false;
        live.durable = done;
        if !done {
            // Whatever became of the commit, this name is never sent.
            let at = live.check;
            self.release_canary(id);
            self.canaries.remove(&id);
            if let Some(at) = at {
                let sentence =
                    "the intent could not be stored, so nothing was asked; see the store's error in the log"
                        .to_owned();
                self.finish_check(at, Access::Undetermined(UnknownReason::IntentNotStored), sentence, now);
            }
            return;
        }
        if self.stopping {
            return self.create_unsent(id, UnknownReason::Network, now);
        }
        if !self.may_still_create(id) {
            return self.create_unsent(id, UnknownReason::NoControl, now);
        }
        let Some(live) = self.canaries.get_mut(&id) else { return };
        live.busy = true;
        let canary = &live.canary;
        let credential = Credential::Token(canary.token.clone());
        let request = routes::create(&canary.repo, canary.kind, canary.group.as_deref(), credential);
        let bound = self.bound(stored_at + SEND_WITHIN);
        self.ask(Job::Create(id), request, Some(bound));
    }

    /// Whether nothing has come up since it was planned: no accident, and no reload after which nobody asks for it.
    pub(super) fn may_still_create(&self, id: i64) -> bool {
        let Some(canary) = self.canaries.get(&id).map(|live| &live.canary) else { return false };
        let organization = &canary.repo.namespace;
        let mut checks = self.config.token(&canary.token).into_iter().flat_map(|token| &token.checks);
        // One that was gone may have been found again.
        let room = self.unresolved(organization) <= UNRESOLVED_MAX;
        room && !self.latched(organization) && checks.any(|check| asks_for(check, canary))
    }

    /// Its POST will never leave.
    pub(super) fn create_unsent(&mut self, id: i64, why: UnknownReason, now: Moment) {
        let heard = CreateHeard::Refused(Access::Undetermined(why));
        self.take_create(id, heard, now);
    }

    pub(super) fn hear_create(&mut self, id: i64, exchange: &Exchange, now: Moment) {
        let Some(live) = self.canaries.get(&id) else { return };
        let canary = &live.canary;
        let restrictions = self
            .declared(&canary.token, now)
            .map(|d| d.restrictions(&canary.repo.namespace).to_vec())
            .unwrap_or_default();
        let heard =
            classify::create(&exchange.outcome, &canary.repo.namespace, &canary.repo.name, &restrictions);
        let heard = match (&heard, live.check) {
            (CreateHeard::Refused(Access::Denied(_)), Some(at)) if !self.group_is_shown(at, now) => {
                CreateHeard::Refused(Access::Undetermined(UnknownReason::NoControl))
            }
            _ => heard,
        };
        if let Some(at) = live.check {
            self.keep_evidence(at, exchange);
            self.check_answered(at, now);
        }
        let owner = self.canaries.get(&id).and_then(|live| live.lock.clone());
        if let (CreateHeard::Refused(Access::Undetermined(why)), Some(owner)) = (&heard, owner) {
            self.rest_creations(&owner, *why, exchange, now);
        }
        self.take_create(id, heard, now);
    }

    /// Whether anybody showed that the resource group of this check exists, if it names one.
    pub(super) fn group_is_shown(&self, at: usize, now: Moment) -> bool {
        let job = self.round.as_ref().and_then(|round| round.jobs.get(at));
        let Some(Target::Create { group: Some(group), .. }) = job.map(|job| &job.check.target) else {
            return true;
        };
        job.is_some_and(|job| {
            let (_, known) = self.known_groups(&job.check, now);
            known.iter().any(|(name, id)| name == group || id.eq_ignore_ascii_case(group))
        })
    }

    /// The Hub's own cap, or its lock held by somebody else: this user's creations rest.
    pub(super) fn rest_creations(
        &mut self,
        owner: &str,
        why: UnknownReason,
        exchange: &Exchange,
        now: Moment,
    ) {
        let said = exchange.outcome.as_ref().ok().and_then(|answer| rate_limit(answer).retry_after);
        let rest = match why {
            UnknownReason::CreationCap => {
                // The call that it refused is among those that are counted.
                let passed = self.creations_of(owner, now).saturating_sub(1);
                self.pacing.learned.insert(owner.to_owned(), (passed, now.wall));
                said.unwrap_or(CAP_REST).max(LOCK_REST)
            }
            UnknownReason::Conflict => LOCK_REST,
            _ => return,
        };
        let pause = Pause { owner: owner.to_owned(), at: now.wall, until: now.wall + rest, why };
        self.pauses.insert(owner.to_owned(), pause.clone());
        self.remember(Write::Pause(pause));
    }

    fn take_create(&mut self, id: i64, heard: CreateHeard, now: Moment) {
        let rules = self.rules();
        let Some(live) = self.canaries.get_mut(&id) else { return };
        live.busy = false;
        let event = canary::after_create(&mut live.canary, &heard, now.wall, rules);
        live.heard = Some(heard);
        live.answered_at = Some(now.mono);
        self.canary_changed(id, event, now);
    }
}

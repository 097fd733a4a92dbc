//! Canaries under way: the visits that prove them ours, their deletion, and the proof of their absence.
//!
//! What a step means is decided in `hub::canary`; here it is seen to that each is durable before what depends on
//! it leaves, and that nobody is visited twice at once. How they come to be is told in `creations`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::access::{TokenName, UnknownReason};
use crate::exchange::{Credential, Exchange, Failure};
use crate::hub::canary::{self, Next, Proof, Rules};
use crate::hub::classify::CreateHeard;
use crate::hub::hands::Hands;
use crate::hub::routes;
use crate::hub::visit::{Observer, Sight, Visit};
use crate::intent::{Canary, CanaryState, Deleter, ShownState};
use crate::moment::{Moment, Timestamp};
use crate::plan::calls::VISITS_OF_A_RUN;
use crate::planted::{self, Defect};
use crate::store::{Breaker, Write};

use super::tokens::TokenState;
use super::{Effect, Engine, Job, Meter, Op, SEND_WITHIN};

/// A canary with what only this process needs to know of it.
#[derive(Debug)]
pub(super) struct Live {
    pub canary: Canary,
    /// When this process first knew of it.
    pub known_at: Duration,
    /// The check of the running round that made it.
    pub check: Option<usize>,
    /// Whose creations wait for it.
    pub lock: Option<String>,
    /// The answer to its POST.
    pub heard: Option<CreateHeard>,
    pub answered_at: Option<Duration>,
    /// A request or a batch of it is under way.
    pub busy: bool,
    visit: Option<Visit>,
    /// Who saw it, and when last.
    seen: BTreeMap<Credential, Duration>,
    /// What its record says of a request that may change something is durable.
    pub durable: bool,
    /// When a look last proved what it is.
    pub identified_at: Option<Duration>,
    /// It was looked at since the start.
    looked: bool,
    /// How often, in this process.
    visits: u32,
    counted_created: bool,
    counted_deleted: bool,
}

/// What no canary may turn out to be. The name alone proves that we asked for it to be private, whoever's it is, and
/// whatever else the look came to.
fn accident(
    canary: &Canary,
    sight: &Sight,
    signed: bool,
    rules: Rules,
    public: bool,
) -> Option<&'static str> {
    if signed && public {
        return Some("a canary was public although it was asked to be private");
    }
    let Sight::Present(seen, _) = sight else { return None };
    let other = Proof::Foreign(canary::ID_DIFFERS);
    (canary::prove(canary, seen, signed, rules) == other).then_some("a canary's id changed under its name")
}

/// Whether what a sight leads to would rest on how much time has passed: that it is ours by when it was created, that
/// an earlier deletion is over, that it stays away.
fn rests_on_time(canary: &Canary, sight: &Sight) -> bool {
    match sight {
        Sight::Present(..) => canary.repo_id.is_none() || !canary.deletes.is_empty(),
        Sight::Absent { .. } => true,
        Sight::Moved | Sight::Blind(_) => false,
    }
}

/// When an answer came; it may have waited to be heard. A wall clock that was set meanwhile makes it older, never newer
/// than the moment in which it is heard.
fn answered_at(exchange: &Exchange, now: Moment) -> Duration {
    now.mono.saturating_sub(now.wall.since(exchange.sent_at + exchange.elapsed))
}

/// A check waits so long for its canary after an answer that left things open: two looks.
const LOOKS_OF_A_CHECK: Duration = Duration::from_millis(10_500);
/// Keys are read again between rounds at most this often.
const KEYS_AGAIN: Duration = Duration::from_secs(30);

impl Live {
    pub(super) fn new(canary: Canary, now: Moment) -> Live {
        let bound = canary.repo_id.is_some();
        let deleted = canary.shown() == ShownState::Deleted;
        Live {
            canary,
            known_at: now.mono,
            check: None,
            lock: None,
            heard: None,
            answered_at: None,
            busy: false,
            visit: None,
            seen: BTreeMap::new(),
            durable: false,
            identified_at: None,
            looked: false,
            visits: 0,
            counted_created: bound,
            counted_deleted: deleted,
        }
    }

    /// Whether the check that made it should be told what is known by now: nothing of it is under way, and the
    /// time of two looks has passed or the next one lies beyond it.
    pub(super) fn waited_enough(&self, now: Moment) -> bool {
        let Some(ends) = self.patience_ends() else { return false };
        let next = self.canary.next_at.map(|at| now.mono + at.since(now.wall));
        !self.busy && (now.mono >= ends || next.is_none_or(|next| next > ends))
    }

    fn patience_ends(&self) -> Option<Duration> {
        self.heard.as_ref()?;
        Some(self.answered_at? + LOOKS_OF_A_CHECK)
    }
}

impl Engine {
    /// Takes over a canary from the journal.
    pub(super) fn resume_canary(&mut self, mut canary: Canary, now: Moment) {
        let again = planted::is(Defect::RePost) && canary.state == CanaryState::Planned;
        let event = if again { None } else { canary::after_restart(&mut canary, now.wall) };
        if let Some(event) = event {
            self.unsaved.push(Write::Canary {
                canary: canary.clone(),
                event: event.to_owned(),
                at: now.wall,
            });
        }
        self.canaries.insert(canary.id, Live::new(canary, now));
    }

    /// What a crash left planned is asked for again: the defect of that name.
    pub(super) fn post_again(&mut self, now: Moment) {
        let planned = |live: &Live| live.canary.state == CanaryState::Planned && live.check.is_none();
        let again: Vec<i64> =
            self.canaries.iter().filter(|(_, live)| planned(live)).map(|(id, _)| *id).collect();
        for id in again {
            self.intent_stored(id, true, now.mono, now);
        }
    }

    /// Writes the canary down and counts what is new about it.
    pub(super) fn canary_changed(&mut self, id: i64, event: &str, now: Moment) {
        let Some(live) = self.canaries.get_mut(&id) else { return };
        let canary = live.canary.clone();
        let organization = canary.repo.namespace.clone();
        let mut meters = Vec::new();
        if canary.repo_id.is_some() && !std::mem::replace(&mut live.counted_created, canary.repo_id.is_some())
        {
            meters.push(Meter::CanaryCreated { organization: organization.clone() });
        }
        if canary.shown() == ShownState::Deleted && !std::mem::replace(&mut live.counted_deleted, true) {
            meters.push(Meter::CanaryDeleted { organization: organization.clone() });
        }
        if event == "quarantined" {
            self.left_changed = true;
            meters.push(Meter::CanaryAbandoned { organization });
            let text = format!(
                "canary {} ({} {}) is in quarantine: {}",
                canary.id, canary.kind, canary.repo, canary.note
            );
            self.tell(true, text);
        }
        self.out.extend(meters.into_iter().map(Effect::Meter));
        self.remember(Write::Canary { canary, event: event.to_owned(), at: now.wall });
    }

    /// The check is told; other creations of its user may go on.
    pub(super) fn release_canary(&mut self, id: i64) {
        let Some(live) = self.canaries.get_mut(&id) else { return };
        live.check = None;
        if let Some(lock) = live.lock.take() {
            self.creating.remove(&lock);
        }
    }

    /// When it is to be looked at next. In a run that asks once and stops the visits are counted, so that its plan
    /// holds; what is open after them is left to the journal.
    fn look_at(&self, live: &Live) -> Option<Timestamp> {
        live.canary.next_at.filter(|_| !self.mode.one_shot || live.visits < VISITS_OF_A_RUN)
    }

    /// Begins every visit that is due. Says whether any began.
    pub(super) fn tend_canaries(&mut self, now: Moment) -> bool {
        if !self.keys_loaded {
            return false;
        }
        let due: Vec<i64> = self
            .canaries
            .iter()
            .filter(|(_, live)| !live.busy && self.look_at(live).is_some_and(|at| at <= now.wall))
            .map(|(id, _)| *id)
            .collect();
        let mut moved = false;
        for id in due {
            moved |= self.begin_visit(id, now);
        }
        moved
    }

    fn janitor_of(&self, canary: &Canary) -> Option<TokenName> {
        self.config.organization(&canary.repo.namespace).and_then(|o| o.janitor.clone())
    }

    pub(super) fn usable(&self, token: &TokenName) -> bool {
        self.config.token(token).is_some() && self.tokens.get(token).is_some_and(TokenState::usable)
    }

    /// Who may be asked about a canary: the janitor, and whoever made it.
    pub(super) fn askable(&self, canary: &Canary) -> Vec<TokenName> {
        let mut who: Vec<TokenName> = self.janitor_of(canary).into_iter().collect();
        if !who.contains(&canary.token) {
            who.push(canary.token.clone());
        }
        who.retain(|token| self.usable(token));
        who
    }

    fn begin_visit(&mut self, id: i64, now: Moment) -> bool {
        let rules = self.rules();
        let Some(live) = self.canaries.get(&id) else { return false };
        let canary = live.canary.clone();
        let seen = live.seen.clone();
        let who = self.askable(&canary);
        // After a refusal one look is owed, to the Hub's word; it is no proof and needs none.
        let owed_only = canary.state == CanaryState::Refused;
        // A first look expects to find it. If that said nothing, the next ones must be able to prove absence too.
        let expected = canary.state == CanaryState::Created && canary.looks == 0;
        let saw = |token: &TokenName| seen.get(&Credential::Token(token.clone())).copied();
        if let Some(first) = who.first().filter(|_| !owed_only && !expected)
            && !self.capable(first, &canary, saw(first), now)
        {
            let key = (canary.repo.namespace.clone(), Credential::Token(first.clone()));
            if !self.ensure_control(&key, now) {
                return false;
            }
        }
        let observers: Vec<Observer> = who
            .iter()
            .map(|token| Observer {
                credential: Credential::Token(token.clone()),
                capable: owed_only || self.capable(token, &canary, saw(token), now),
                witness: self.witness(token, &canary),
            })
            .collect();
        let with_listing = canary::proof_is_due(&canary, now.wall, rules);
        let bound = canary.repo_id.clone();
        let visit = Visit::new(canary.repo.clone(), canary.kind, observers, expected, with_listing, bound);
        match visit.next() {
            Some(request) => {
                if let Some(live) = self.canaries.get_mut(&id) {
                    live.busy = true;
                    live.visit = Some(visit);
                }
                self.ask(Job::Visit(id), request, None);
            }
            None => self.end_visit(id, visit, now.mono, now),
        }
        true
    }

    /// Between rounds a token that is suddenly refused may have been replaced: its file is read again.
    fn reread_keys(&mut self, exchange: &Exchange, now: Moment) {
        let refused = matches!(&exchange.outcome, Ok(answer) if answer.status == 401)
            && exchange.request.credential != Credential::Anonymous;
        let rested = self.keys_read_at.is_none_or(|at| now.mono.saturating_sub(at) >= KEYS_AGAIN);
        if refused && rested && self.round.is_none() {
            self.keys_read_at = Some(now.mono);
            self.out.push(Effect::LoadKeys);
        }
    }

    pub(super) fn hear_visit(&mut self, id: i64, exchange: &Exchange, now: Moment) {
        self.reread_keys(exchange, now);
        let Some(mut visit) = self.canaries.get_mut(&id).and_then(|live| live.visit.take()) else { return };
        visit.hear(exchange);
        match visit.next() {
            Some(request) => {
                if let Some(live) = self.canaries.get_mut(&id) {
                    live.visit = Some(visit);
                }
                self.ask(Job::Visit(id), request, None);
            }
            None => self.end_visit(id, visit, answered_at(exchange, now), now),
        }
    }

    /// `seen_at`: when its last answer came.
    fn end_visit(&mut self, id: i64, visit: Visit, seen_at: Duration, now: Moment) {
        let rules = self.rules();
        let Some(live) = self.canaries.get(&id) else { return };
        let hands = Hands {
            probed: self.usable(&live.canary.token),
            janitor: self.janitor_of(&live.canary).is_some_and(|janitor| self.usable(&janitor)),
        };
        let signed = self.signer.is_ours(&live.canary.repo, live.canary.kind);
        let public = visit.saw_it_public();
        let mut sight = visit.sight();
        if self.clock_is_doubtful() && rests_on_time(&live.canary, &sight) {
            sight = Sight::Blind(UnknownReason::Conflict);
        }
        let maker = self.maker_of(&live.canary, &sight);
        let Some(live) = self.canaries.get_mut(&id) else { return };
        if live.canary.owner.is_none() {
            live.canary.owner = maker;
        }
        let accident = accident(&live.canary, &sight, signed, rules, public);
        live.busy = false;
        live.looked = true;
        live.visits = live.visits.saturating_add(1);
        if let Sight::Present(_, who) = &sight {
            live.seen.insert(who.clone(), now.mono);
            live.identified_at = Some(seen_at);
        }
        let bound = live.canary.repo_id.is_some();
        let (event, next) = canary::after_sight(&mut live.canary, &sight, signed, hands, now.wall, rules);
        let found = !bound && live.canary.repo_id.is_some() && live.check.is_none();
        self.canary_changed(id, event, now);
        if found {
            self.record_late_grant(id, now);
        }
        if let Some(why) = accident {
            self.latch(id, why, now);
        }
        if let Next::Delete(by) = next {
            self.begin_delete(id, by, seen_at, now);
        }
    }

    /// Who must have made it, where that was not known when it was planned: the user of its token, as far as that is
    /// known by now; of one that a lost journal knew, whoever is shown to have made it and is one of our users.
    fn maker_of(&self, canary: &Canary, sight: &Sight) -> Option<String> {
        let user = |token: &TokenName| Some(self.tokens.get(token)?.declared.as_ref()?.declared.user.clone());
        if !canary::is_adopted(canary) {
            return user(&canary.token);
        }
        let Sight::Present(seen, _) = sight else { return None };
        let (_, author) = seen.commits.as_ref()?;
        let own = self.config.tokens.iter().filter(|token| token.organization == canary.repo.namespace);
        let mut users = own.filter_map(|token| user(&token.name));
        author.clone().filter(|author| users.any(|user| user == *author))
    }

    /// After an accident the next canary would be another one: no more are made. Cleaning up goes on.
    fn latch(&mut self, id: i64, why: &str, now: Moment) {
        let Some(organization) = self.canaries.get(&id).map(|live| live.canary.repo.namespace.clone()) else {
            return;
        };
        self.latch_organization(&organization, why, now);
    }

    /// The same, of an organization.
    pub(super) fn latch_organization(&mut self, organization: &str, why: &str, now: Moment) {
        if self.breakers.contains_key(organization) {
            return;
        }
        let (organization, why) = (organization.to_owned(), why.to_owned());
        self.changed = true;
        self.tell(
            true,
            format!(
                "canaries of '{organization}' are latched off: {why}; look into it, then `canaries unlatch`"
            ),
        );
        let breaker = Breaker { organization: organization.clone(), at: now.wall, why };
        self.breakers.insert(organization.clone(), breaker.clone());
        self.remember(Write::Breaker(breaker));
        self.recall_creations(now);
    }

    /// Creations that are still queued and that nothing allows any more do not leave.
    pub(super) fn recall_creations(&mut self, now: Moment) {
        for outgoing in std::mem::take(&mut self.outgoing) {
            match self.flights.get(&outgoing.flight) {
                Some(Job::Create(id)) if !self.may_still_create(*id) => {
                    let id = *id;
                    self.flights.remove(&outgoing.flight);
                    self.create_unsent(id, UnknownReason::NoControl, now);
                }
                Some(Job::Trial(id)) if outgoing.bound.is_some() && !self.may_still_try(*id) => {
                    let id = *id;
                    self.flights.remove(&outgoing.flight);
                    self.trial_recalled(id, now);
                }
                _ => self.outgoing.push_back(outgoing),
            }
        }
    }

    fn begin_delete(&mut self, id: i64, by: Deleter, seen_at: Duration, now: Moment) {
        let read_only = self.mode.read_only;
        let Some(live) = self.canaries.get_mut(&id) else { return };
        if read_only {
            live.canary.next_at = Some(now.wall + Duration::from_secs(300));
            return self.canary_changed(id, "not deleted: --read-only", now);
        }
        let event = canary::before_delete(&mut live.canary, by, now.wall);
        live.busy = true;
        live.durable = false;
        let write = Write::Canary { canary: live.canary.clone(), event: event.to_owned(), at: now.wall };
        self.store(Op::Attempt(id, seen_at + SEND_WITHIN), vec![write]);
    }

    pub(super) fn attempt_stored(&mut self, id: i64, done: bool, before: Duration, now: Moment) {
        let Some(live) = self.canaries.get_mut(&id) else { return };
        live.durable = done;
        let Some(live) = self.canaries.get(&id) else { return };
        let canary = &live.canary;
        let by = canary.deletes.last().map(|attempt| attempt.by);
        let who = match by {
            Some(Deleter::Janitor) => self.janitor_of(canary),
            _ => Some(canary.token.clone()),
        };
        match who.filter(|_| done) {
            Some(who) => {
                let request = routes::delete(&canary.repo, canary.kind, Credential::Token(who));
                let bound = self.bound(before);
                self.ask(Job::Delete(id), request, Some(bound));
            }
            None => self.take_delete(id, &Err(Failure::Stale), now),
        }
    }

    pub(super) fn hear_delete(&mut self, id: i64, exchange: &Exchange, now: Moment) {
        self.take_delete(id, &exchange.outcome, now);
    }

    fn take_delete(&mut self, id: i64, outcome: &Result<crate::exchange::Answer, Failure>, now: Moment) {
        let rules = self.rules();
        let Some(live) = self.canaries.get_mut(&id) else { return };
        live.busy = false;
        let event = canary::after_delete(&mut live.canary, outcome, now.wall, rules);
        self.canary_changed(id, event, now);
    }

    /// When the canaries want to be looked at next, and when a check stops waiting for one. What is due already
    /// waits for something that will be an event of its own.
    pub(super) fn canary_wakes(&self, now: Moment) -> Option<Duration> {
        let mono = |at: Timestamp| now.mono + at.since(now.wall);
        let looks = self
            .canaries
            .values()
            .filter(|live| !live.busy)
            .filter_map(|live| self.look_at(live).filter(|at| *at > now.wall).map(mono));
        let waits = self
            .canaries
            .values()
            .filter(|live| live.check.is_some())
            .filter_map(|live| live.patience_ends().filter(|ends| *ends > now.mono));
        let pauses =
            self.pauses.values().filter(|pause| pause.until > now.wall).map(|pause| mono(pause.until));
        looks.chain(waits).chain(pauses).min()
    }

    /// Every unfinished canary is looked at now, whatever its timetable says.
    pub(super) fn look_at_all_soon(&mut self, now: Moment) {
        for live in self.canaries.values_mut() {
            let canary = &mut live.canary;
            if !live.busy && canary.unfinished() && canary.state != CanaryState::Quarantined {
                canary.next_at = canary.next_at.map(|at| at.min(now.wall));
            }
        }
    }

    /// Whose a token is has become known: what could not be called ours for want of that is looked at now.
    pub(super) fn look_for_makers(&mut self, now: Moment) {
        for live in self.canaries.values_mut() {
            let canary = &mut live.canary;
            if !live.busy && canary.owner.is_none() && canary.state == CanaryState::Unknown {
                canary.next_at = canary.next_at.map(|at| at.min(now.wall));
            }
        }
    }

    /// Whether a request or a batch of a canary is under way, or something unfinished is due this moment.
    pub(super) fn canaries_busy(&self, now: Moment) -> bool {
        self.canaries.values().any(|live| {
            let due = self.look_at(live).is_some_and(|at| at <= now.wall);
            live.busy || (self.keys_loaded && due && live.canary.unfinished())
        })
    }

    /// Whether anything unfinished is under way or will be looked at within this time.
    pub(super) fn canaries_open(&self, within: Duration, now: Moment) -> bool {
        let until = now.wall + within;
        self.canaries.values().any(|live| {
            live.busy || (live.canary.unfinished() && self.look_at(live).is_some_and(|at| at <= until))
        })
    }

    /// Whether an unfinished canary of the journal was not yet looked at.
    pub(super) fn canaries_unlooked(&self) -> bool {
        self.canaries.values().any(|live| {
            live.busy || (!live.looked && live.canary.unfinished() && live.canary.next_at.is_some())
        })
    }

    /// Whether anything is to be looked at this moment.
    pub(super) fn canaries_due(&self, now: Moment) -> bool {
        self.canaries.values().any(|live| self.look_at(live).is_some_and(|at| at <= now.wall))
    }

    /// Whether what holds creations back may pass within this round.
    pub(super) fn canaries_may_clear(&self, now: Moment) -> bool {
        let soon = now.wall + Duration::from_secs(12);
        let short = self.config.hub.in_flight_horizon <= Duration::from_secs(10);
        let canaries = self.canaries.values().any(|live| {
            live.busy || (live.canary.unfinished() && self.look_at(live).is_some_and(|at| at <= soon))
        });
        let pauses = self.pauses.values().any(|pause| pause.until > now.wall && pause.until <= soon);
        (short && canaries) || pauses
    }
}

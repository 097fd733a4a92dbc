//! The life of a canary: from the intent to the proof of its absence, as pure steps on its record.
//!
//! A name is POSTed at most once, after its intent is durable. Nothing is deleted that is not proven ours by a
//! fresh look; no second DELETE leaves until the first can no longer take effect, unless the Hub itself refused
//! it; "gone" needs the horizon and two sightings of absence by an observer that can see. Whatever does not fit
//! goes into quarantine, where a person decides.

use std::time::Duration;

use crate::access::{RepoName, RepoType, TokenName, UnknownReason};
use crate::exchange::{Answer, Failure};
use crate::intent::{Canary, CanaryState, DeleteAttempt, DeleteOutcome, Deleter, ShownState};
use crate::moment::Timestamp;
use crate::planted::{self, Defect};

use super::classify::{self, CreateHeard, DeleteRow};
use super::hands::{Hands, deleter};
use super::visit::{Identity, Sight};

pub use super::proof::{ID_DIFFERS, Proof, prove};

/// The waits of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// H: how long a request may still take effect after we gave up on it.
    pub horizon: Duration,
}

/// Pauses before the first looks: two, ten and sixty seconds after the answer. Later ones are [`LOOK_EVERY`] apart.
const PAUSES: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(8), Duration::from_secs(50)];
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// Beside two horizons: how long is looked for somebody who can see.
const BLIND_PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// Absence of a creation that nobody answered counts from so late on, however short the horizon.
const LEAST_WAIT: Duration = Duration::from_secs(10);
/// From the commit of an intent, or from the look that proved identity, to the request that stands on it.
pub const SEND_WITHIN: Duration = Duration::from_secs(2);
/// Checks of what is already proven gone: an hour, a day and a week after.
const RECHECKS: [Duration; 3] =
    [Duration::from_secs(3600), Duration::from_secs(24 * 3600), Duration::from_secs(7 * 24 * 3600)];

impl Rules {
    /// Between two sightings of absence.
    pub fn spacing(self) -> Duration {
        self.horizon.min(Duration::from_secs(60))
    }
}

/// What a sight calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Delete it now, signed by this one; the identity is proven and must be at most two seconds old.
    Delete(Deleter),
    /// Nothing before `next_at`.
    Rest,
}

/// The words of a canary that a person closed.
const CLOSED: &str = "closed by a person";

/// What a step did, for the log of transitions.
pub type Event = &'static str;

/// What an intent is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Unique within the store.
    pub id: i64,
    /// Which opening of the store makes it.
    pub epoch: i64,
    pub repo: RepoName,
    pub kind: RepoType,
    /// Resource group id.
    pub group: Option<String>,
    /// The check's target, as reports show it.
    pub target: String,
    pub token: TokenName,
    /// The Hub user, where known.
    pub owner: Option<String>,
}

/// The intent. It must be durable before the POST leaves.
pub fn planned(intent: Intent, now: Timestamp) -> Canary {
    Canary {
        id: intent.id,
        epoch: intent.epoch,
        repo: intent.repo,
        kind: intent.kind,
        group: intent.group,
        target: intent.target,
        token: intent.token,
        owner: intent.owner,
        planned_at: now,
        given_up_at: None,
        state: CanaryState::Planned,
        repo_id: None,
        deletes: Vec::new(),
        absences: Vec::new(),
        looks: 0,
        next_at: None,
        note: String::new(),
    }
}

fn become_state(canary: &mut Canary, state: CanaryState, note: &str) {
    canary.state = state;
    canary.looks = 0;
    note.clone_into(&mut canary.note);
}

fn quarantine(canary: &mut Canary, note: &str) -> Event {
    become_state(canary, CanaryState::Quarantined, note);
    canary.next_at = None;
    "quarantined"
}

/// Whether a DELETE is over: it cannot take effect any more, however long one waits.
pub fn is_over(attempt: &DeleteAttempt) -> bool {
    matches!(attempt.outcome, DeleteOutcome::Refused | DeleteOutcome::Unauthenticated | DeleteOutcome::Unsent)
}

/// The last moment at which a request that may still take effect was sent or given up on.
fn last_send(canary: &Canary) -> Timestamp {
    let posted = canary.given_up_at.unwrap_or(canary.planned_at);
    canary.deletes.iter().filter(|d| !is_over(d)).map(|d| d.at).fold(posted, Timestamp::max)
}

/// From when on absence counts: every request of ours is over. A creation that nobody answered is given ten
/// seconds at least, the time of its second look, however short the horizon.
fn settled_at(canary: &Canary, rules: Rules) -> Timestamp {
    if planted::is(Defect::NoCreateHorizon) {
        return canary.planned_at;
    }
    let posted = canary.given_up_at.map(|at| at + rules.horizon.max(LEAST_WAIT));
    let others = last_send(canary) + rules.horizon;
    posted.map_or(others, |at| at.max(others))
}

/// When to look next: by the timetable, at the end of the horizon, or at the earliest moment at which a second
/// sighting of absence would be a proof; whichever comes first after `now`. Between an acknowledged deletion that
/// was seen to be true and its proof there is nothing to look for.
fn next_look(canary: &Canary, now: Timestamp, rules: Rules) -> Timestamp {
    let settled = settled_at(canary, rules);
    let proof = canary.absences.first().map(|first| settled.max(*first + rules.spacing()));
    if let Some(proof) = proof.filter(|at| *at > now && canary.shown() == ShownState::Deleted) {
        return proof;
    }
    let looks = usize::try_from(canary.looks).unwrap_or(usize::MAX);
    let pause = PAUSES.get(looks).copied().unwrap_or(LOOK_EVERY);
    [Some(settled), proof].into_iter().flatten().filter(|at| *at > now).fold(now + pause, Timestamp::min)
}

/// When a request has left at the latest that was decided at this moment by a process which is no more. By a clock that
/// is behind, all that is known is how long it could wait to leave.
fn left_by(decided: Timestamp, now: Timestamp) -> Timestamp {
    if now < decided { decided + SEND_WITHIN } else { now }
}

/// After a restart: a name that was planned is never POSTed again, an attempt without an answer is lost, and
/// everything that is unfinished is looked at now, whatever its timetable says.
pub fn after_restart(canary: &mut Canary, now: Timestamp) -> Option<Event> {
    let event = match canary.state {
        CanaryState::Planned => {
            become_state(canary, CanaryState::Unknown, "the daemon ended before the answer to its creation");
            canary.given_up_at = Some(left_by(canary.planned_at, now));
            Some("recovered: the creation may have been sent")
        }
        CanaryState::Deleting => {
            let decided = canary.deletes.last().map_or(now, |attempt| attempt.at);
            settle_attempt(canary, DeleteOutcome::Lost, left_by(decided, now));
            become_state(
                canary,
                CanaryState::DelUnknown,
                "the daemon ended before the answer to its deletion",
            );
            Some("recovered: the deletion may have been sent")
        }
        _ => None,
    };
    if canary.unfinished() && canary.state != CanaryState::Quarantined {
        canary.next_at = Some(now);
    }
    event
}

/// The clock was set: it would show `expected`, and shows `now`. Whatever could still take effect is given its
/// horizon anew, because how much of it has passed the record no longer tells; sightings of absence begin anew.
/// Nothing that was over becomes open again. A mark is never moved back: were the clock set right while no process
/// runs, the next one would take it for older than it is. [`horizon_waited`] ends it.
pub fn clock_stepped(
    canary: &mut Canary,
    expected: Timestamp,
    now: Timestamp,
    rules: Rules,
) -> Option<Event> {
    let open = |at: Timestamp| at > now || expected < at + rules.horizon;
    let mut moved = false;
    for attempt in canary.deletes.iter_mut().filter(|attempt| !is_over(attempt) && open(attempt.at)) {
        attempt.at = attempt.at.max(now);
        moved = true;
    }
    let posted = canary.given_up_at.unwrap_or(canary.planned_at);
    let asked = !matches!(canary.state, CanaryState::Planned | CanaryState::Gone);
    if asked && posted.max(canary.planned_at) + rules.horizon.max(LEAST_WAIT) > expected.min(now) {
        canary.given_up_at = Some(posted.max(now));
        moved = true;
    }
    if canary.state == CanaryState::Gone {
        // As long ago as before, and looked at as soon; of what is looked at no more nothing is owed.
        if let Some(next_at) = canary.next_at {
            let ahead = canary.absences.iter().any(|at| *at > expected);
            let as_long_ago = |at: &mut Timestamp| *at = now - expected.since(*at);
            canary.absences.iter_mut().for_each(as_long_ago);
            let latest = if ahead { RECHECKS[0] } else { RECHECKS[2] };
            canary.next_at = Some(now + next_at.since(expected).min(latest));
            moved = true;
        }
    } else {
        moved |= !canary.absences.is_empty();
        canary.absences.clear();
        let looked_at = canary.next_at.is_some() && canary.state != CanaryState::Quarantined;
        canary.next_at = canary.next_at.map(|at| if looked_at { now } else { at });
    }
    moved.then_some("the clock was set")
}

/// How long a process waits, by a clock that nobody sets, before it takes for over what its record places in the
/// future.
pub fn held_for(rules: Rules) -> Duration {
    rules.horizon.max(LEAST_WAIT)
}

/// Whether the record places in the future what may still take effect.
pub fn is_ahead(canary: &Canary, now: Timestamp) -> bool {
    last_send(canary) > now
}

/// [`held_for`] has passed since the clock was found behind the record: what the record places in the future is over.
pub fn horizon_waited(canary: &mut Canary, now: Timestamp, rules: Rules) -> Option<Event> {
    if !is_ahead(canary, now) || matches!(canary.state, CanaryState::Planned | CanaryState::Deleting) {
        return None;
    }
    let over = now - held_for(rules);
    for attempt in canary.deletes.iter_mut().filter(|attempt| attempt.at > now) {
        attempt.at = over;
    }
    if canary.given_up_at.unwrap_or(canary.planned_at) > now {
        canary.given_up_at = Some(over);
    }
    if canary.unfinished() && canary.state != CanaryState::Quarantined {
        canary.next_at = Some(now);
    }
    Some("a horizon was waited for after the clock was set")
}

/// The journal was changed by somebody else: what it says of this canary proves nothing, so that nothing is deleted by
/// it, be it unfinished or only looked at once more.
pub fn distrusted(canary: &mut Canary) -> Option<Event> {
    let looked_at = match canary.state {
        CanaryState::Quarantined => false,
        // One that was seen is deleted no more, whatever is found.
        CanaryState::Gone => canary.next_at.is_some() && canary.repo_id.is_none(),
        _ => true,
    };
    looked_at.then(|| {
        quarantine(
            canary,
            "the journal was changed by somebody else; look at it, delete it by hand and close it",
        )
    })
}

/// The journal is an old copy: what it says was true, and what happened since it does not know. A deletion may be in
/// the air that is not in it, also of what was refused or gone then, because it may have landed after all.
pub fn rewound(canary: &mut Canary, now: Timestamp) -> Option<Event> {
    let over = canary.state == CanaryState::Gone && canary.next_at.is_none();
    if over || canary.state == CanaryState::Quarantined {
        return None;
    }
    canary.deletes.push(DeleteAttempt { at: now, by: Deleter::Probed, outcome: DeleteOutcome::Lost });
    if canary.state == CanaryState::Gone {
        return Some(REWOUND);
    }
    if canary.state == CanaryState::Created {
        become_state(
            canary,
            CanaryState::DelUnknown,
            "the journal is an old copy: its deletion may be in the air",
        );
    }
    canary.absences.clear();
    canary.next_at = Some(now);
    Some(REWOUND)
}

const REWOUND: Event = "recovered: a deletion may have been sent since this copy of the journal";

/// After the answer to the POST, or after it was found that it never left.
pub fn after_create(canary: &mut Canary, heard: &CreateHeard, now: Timestamp, rules: Rules) -> Event {
    match heard {
        CreateHeard::Created { id } => {
            become_state(canary, CanaryState::Created, "created");
            canary.repo_id = Some(id.to_ascii_lowercase());
            canary.next_at = Some(now);
            "created"
        }
        CreateHeard::Refused(_) => {
            become_state(canary, CanaryState::Refused, "the Hub refused to create it");
            // It is only the Hub's word: one look after the horizon.
            canary.next_at = Some(canary.planned_at + rules.horizon);
            "refused"
        }
        CreateHeard::Ambiguous(_) => {
            become_state(canary, CanaryState::Unknown, "the Hub did not say whether it was created");
            canary.given_up_at = Some(now);
            canary.next_at = Some(next_look(canary, now, rules));
            "unknown"
        }
    }
}

/// Whether a further DELETE may leave: every earlier one was refused, never left, or is older than the horizon.
fn may_delete(canary: &Canary, now: Timestamp, rules: Rules) -> bool {
    planted::is(Defect::NoDeleteHorizon)
        || canary.deletes.iter().all(|d| is_over(d) || now >= d.at + rules.horizon)
}

/// After a visit. `signed` as in [`prove`].
pub fn after_sight(
    canary: &mut Canary,
    sight: &Sight,
    signed: bool,
    hands: Hands,
    now: Timestamp,
    rules: Rules,
) -> (Event, Next) {
    canary.looks = canary.looks.saturating_add(1);
    // Nothing is decided beside a request that is under way, and a person decides what is in quarantine.
    if matches!(canary.state, CanaryState::Planned | CanaryState::Deleting | CanaryState::Quarantined) {
        canary.next_at = None;
        return ("looked: not ours to decide now", Next::Rest);
    }
    let unshown = Sight::Blind(UnknownReason::Unrecognized);
    let sight = match sight {
        Sight::Present(identity, _) if prove(canary, identity, signed, rules) == Proof::Unshown => &unshown,
        sight => sight,
    };
    match sight {
        Sight::Present(identity, _) => after_presence(canary, identity, signed, hands, now, rules),
        Sight::Absent { listed_absent } => (after_absence(canary, *listed_absent, now, rules), Next::Rest),
        Sight::Moved if canary.state == CanaryState::Refused && canary.repo_id.is_none() => {
            canary.next_at = None;
            ("looked: the name leads elsewhere", Next::Rest)
        }
        Sight::Moved => {
            (quarantine(canary, "somebody renamed or moved it; delete it by hand and close it"), Next::Rest)
        }
        Sight::Blind(UnknownReason::NoControl)
            if canary.unfinished() && now >= last_send(canary) + rules.horizon * 2 + BLIND_PATIENCE =>
        {
            // Everybody who may be asked answers, and from none of them does "not found" mean anything.
            let note = "no token can see whether it is there; look for it by hand and close it, and give the \
                        organization a janitor that can see";
            (quarantine(canary, note), Next::Rest)
        }
        Sight::Blind(_) => {
            canary.next_at = match canary.state {
                // One look is owed after a refusal, not a siege.
                CanaryState::Refused if canary.looks >= 3 => None,
                // Tried again every hour, until the last check would have been.
                CanaryState::Gone => {
                    Some(now + RECHECKS[0]).filter(|at| *at <= gone_at(canary, now) + RECHECKS[2])
                }
                _ => Some(next_look(canary, now, rules)),
            };
            ("looked: nothing can be said", Next::Rest)
        }
    }
}

fn after_presence(
    canary: &mut Canary,
    identity: &Identity,
    signed: bool,
    hands: Hands,
    now: Timestamp,
    rules: Rules,
) -> (Event, Next) {
    // What was never seen before may have landed after all; what was seen and gone must not come back.
    if canary.state == CanaryState::Gone && canary.repo_id.is_some() {
        return (quarantine(canary, "it is there again after it was proven gone"), Next::Rest);
    }
    if let Proof::Foreign(why) = prove(canary, identity, signed, rules) {
        return (quarantine(canary, why), Next::Rest);
    }
    canary.absences.clear();
    if let Some(id) = &identity.id {
        canary.repo_id = Some(id.to_ascii_lowercase());
    }
    if !may_delete(canary, now, rules) {
        canary.next_at = Some(next_look(canary, now, rules));
        return ("looked: still there", Next::Rest);
    }
    let bound = if canary.state == CanaryState::Created { "looked: ours" } else { "found and bound" };
    become_state(canary, CanaryState::Created, "created");
    match deleter(canary, hands) {
        Ok(by) => {
            canary.next_at = Some(now);
            (bound, Next::Delete(by))
        }
        Err(Some(why)) => (quarantine(canary, why), Next::Rest),
        Err(None) => {
            canary.next_at = Some(now + PAUSES[1]);
            ("found: no token can delete it at this moment", Next::Rest)
        }
    }
}

/// When its absence was proven.
fn gone_at(canary: &Canary, now: Timestamp) -> Timestamp {
    canary.absences.last().copied().unwrap_or(now)
}

fn after_absence(canary: &mut Canary, listed_absent: bool, now: Timestamp, rules: Rules) -> Event {
    match canary.state {
        CanaryState::Gone => {
            // Each later check pushes the next one out; after the last nothing is owed.
            let since = gone_at(canary, now);
            canary.next_at = RECHECKS.iter().map(|after| since + *after).find(|at| *at > now);
            return "looked: still gone";
        }
        CanaryState::Refused => {
            become_state(canary, CanaryState::Gone, "the Hub refused to create it");
            canary.next_at = None;
            return "gone";
        }
        _ => {}
    }
    canary.absences.push(now);
    let settled = now >= settled_at(canary, rules);
    let spaced = canary.absences.first().is_some_and(|first| now >= *first + rules.spacing());
    if settled && spaced && listed_absent {
        become_state(canary, CanaryState::Gone, "proven absent");
        canary.absences = vec![now];
        canary.next_at = Some(now + RECHECKS[0]);
        return "gone";
    }
    canary.next_at = Some(next_look(canary, now, rules));
    "looked: not there"
}

/// Whether a sighting of absence now could be the proof, so that the listing is worth asking.
pub fn proof_is_due(canary: &Canary, now: Timestamp, rules: Rules) -> bool {
    now >= settled_at(canary, rules)
        && canary.absences.first().is_some_and(|first| now >= *first + rules.spacing())
}

/// The attempt. It must be durable before the DELETE leaves.
pub fn before_delete(canary: &mut Canary, by: Deleter, now: Timestamp) -> Event {
    canary.deletes.push(DeleteAttempt { at: now, by, outcome: DeleteOutcome::Pending });
    become_state(canary, CanaryState::Deleting, "being deleted");
    canary.next_at = None;
    "deleting"
}

fn settle_attempt(canary: &mut Canary, outcome: DeleteOutcome, now: Timestamp) {
    if let Some(attempt) = canary.deletes.last_mut().filter(|a| a.outcome == DeleteOutcome::Pending) {
        attempt.outcome = outcome;
        if matches!(outcome, DeleteOutcome::Acknowledged | DeleteOutcome::Lost) {
            // The horizon runs from the moment when nothing more was waited for, not from the decision to send. It is
            // never moved back: the clock may be behind now and right again for the next process.
            attempt.at = attempt.at.max(now);
        }
    }
}

/// After the answer to the DELETE, or after it was found that it never left.
pub fn after_delete(
    canary: &mut Canary,
    outcome: &Result<Answer, Failure>,
    now: Timestamp,
    rules: Rules,
) -> Event {
    let (row, read) = classify::delete(outcome);
    if row == DeleteRow::Redirected {
        settle_attempt(canary, DeleteOutcome::Lost, now);
        return quarantine(canary, "its deletion was answered with a redirect: somebody renamed or moved it");
    }
    settle_attempt(canary, read, now);
    if planted::is(Defect::NotFoundIsGone) && row == DeleteRow::NotFound {
        become_state(canary, CanaryState::Gone, "not found");
        canary.absences = vec![now];
        return "gone";
    }
    if read == DeleteOutcome::Unsent {
        become_state(canary, CanaryState::Created, "its deletion could not be sent");
        // It is tried again, more and more rarely: what keeps it from leaving may last.
        let tries = canary.deletes.iter().rev().take_while(|d| d.outcome == DeleteOutcome::Unsent).count();
        canary.next_at = Some(now + PAUSES.get(tries.saturating_sub(1)).copied().unwrap_or(LOOK_EVERY));
        return "deletion not sent";
    }
    let (note, event) = match read {
        DeleteOutcome::Acknowledged => {
            ("deleted by the Hub's word; absence to be proven", "deletion acknowledged")
        }
        DeleteOutcome::Refused => ("the Hub refused its deletion", "deletion refused"),
        DeleteOutcome::Unauthenticated => {
            ("the Hub did not accept the token of its deletion", "deletion refused")
        }
        _ => ("the Hub did not say whether it was deleted", "deletion unknown"),
    };
    become_state(canary, CanaryState::DelUnknown, note);
    canary.next_at = match read {
        DeleteOutcome::Acknowledged | DeleteOutcome::Refused | DeleteOutcome::Unauthenticated => Some(now),
        _ => Some(next_look(canary, now, rules)),
    };
    event
}

/// Whether a person may close it: it is in quarantine, or nobody could tell what became of it although every
/// request of ours is over.
pub fn may_close(canary: &Canary, now: Timestamp, rules: Rules) -> bool {
    match canary.state {
        CanaryState::Quarantined => true,
        CanaryState::Unknown | CanaryState::DelUnknown => now >= settled_at(canary, rules),
        _ => false,
    }
}

/// A person closes a canary.
pub fn close(canary: &mut Canary) -> Event {
    become_state(canary, CanaryState::Gone, CLOSED);
    canary.next_at = None;
    CLOSED
}

/// The target of a canary that a sweep found and no check of ours is known to have made.
pub const NO_TARGET: &str = "-";

/// Whether a sweep found it, and the journal did not know it.
pub fn is_adopted(canary: &Canary) -> bool {
    canary.target == NO_TARGET
}

/// Whether a person closed it.
pub fn is_closed(canary: &Canary) -> bool {
    canary.state == CanaryState::Gone && canary.note == CLOSED
}

/// Whether the probe that made it may be told its end: refused, seen gone, or in quarantine.
pub fn settled(canary: &Canary) -> bool {
    !canary.unfinished() || canary.state == CanaryState::Quarantined
}

/// Whether it counts against the bound on unresolved canaries; one that is under way is not asked.
pub fn unresolved(canary: &Canary) -> bool {
    canary.unfinished()
}

#[cfg(test)]
#[path = "canary_tests.rs"]
mod tests;

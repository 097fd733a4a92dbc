//! Who watches a life: what happened to which canary in which state, which faults struck, and what was told.

use std::collections::VecDeque;
use std::time::Duration;

use crate::access::UnknownReason;
use crate::exchange::{Answer, Credential, Exchange, Failure, Request, Verb};
use crate::hub::answers::of_outcome;
use crate::hub::classify;
use crate::hub::proof::is_public;
use crate::hub::readings::{self, DescriptionRow, ListedRow};
use crate::intent::{Canary, CanaryState};
use crate::round::saving::Op;
use crate::round::{Effect, Engine, Event, Job};
use crate::store::Write;

pub use super::coverage::{Coverage, Happening, Landing, Mark, Seen, Stored};
use super::disk::Copy;
use super::flights::{Fate, elsewhere};
use super::hub::Key;
use super::invariants::Invariant;
use super::life::{Dice, Life};

/// What a look may be made to meet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Look {
    Unanswered,
    Odd,
    Refused,
    /// The name leads elsewhere, says somebody in between.
    Moved,
    /// An old listing, in which it stands.
    Listed,
    /// A listing that nobody can read.
    Unlisted,
    /// An answer that somebody kept from another time.
    Kept,
    /// The answer is about another repository.
    Another,
}

impl Look {
    /// Those after which it is looked at again.
    pub const PASSING: [Look; 5] = [Look::Unanswered, Look::Odd, Look::Refused, Look::Unlisted, Look::Kept];

    /// As what it is seen.
    pub fn seen(self) -> Seen {
        match self {
            Look::Unanswered => Seen::Unanswered,
            Look::Odd => Seen::Odd,
            Look::Refused => Seen::Refused,
            Look::Moved => Seen::Moved,
            Look::Listed => Seen::ListedYet,
            Look::Unlisted => Seen::Absent,
            Look::Kept => Seen::Doubtful,
            Look::Another => Seen::Foreign,
        }
    }

    pub fn of_listing(self) -> bool {
        matches!(self, Look::Listed | Look::Unlisted)
    }

    fn fate(self, dice: &mut Dice) -> Fate {
        let fates: &[Fate] = match self {
            Look::Unanswered => &[Fate::LostTimeout, Fate::LateAcknowledged(Duration::ZERO), Fate::Unsent],
            Look::Odd | Look::Unlisted => {
                &[Fate::Error, Fate::Html, Fate::Odd, Fate::Limited, Fate::Strange(0), Fate::Strange(6)]
            }
            Look::Refused => {
                &[Fate::Said(401, "Invalid username or password."), Fate::Said(403, "Forbidden")]
            }
            Look::Moved => &[Fate::Said(307, "")],
            Look::Listed => &[Fate::Listed],
            Look::Kept => &[Fate::Kept],
            Look::Another => &[Fate::Other],
        };
        *dice.one_of(fates)
    }
}

/// Faults that last for a while.
#[derive(Debug, Default)]
pub struct Weather {
    /// Requests meet this fate until then.
    pub hub: Option<(Duration, Fate)>,
    /// Writes fail until then.
    pub disk: Option<Duration>,
    /// So many more writes fail; whether they are there all the same.
    pub writes: Vec<bool>,
    /// What is read is old until then.
    pub behind: Option<Duration>,
    /// The Hub's clock is another until then, and ours.
    pub hub_clock: Option<Duration>,
    pub clock: Option<Duration>,
    /// Looks at a canary in this state meet one of these after the other, each until it was seen.
    pub looks: Option<(CanaryState, VecDeque<Look>)>,
}

impl Weather {
    /// A look at a canary in this state was seen so: the next one meets something else.
    fn met(&mut self, state: CanaryState, seen: Seen) {
        if let Some((of, looks)) = &mut self.looks
            && *of == state
            && looks.front().is_some_and(|look| look.seen() == seen)
        {
            looks.pop_front();
        }
    }
}

/// The watch over one life.
#[derive(Default)]
pub struct Watch {
    pub coverage: Coverage,
    /// Faults that really struck.
    pub faults: u64,
    pub weather: Weather,
    /// The story of this life, if it is to be told.
    pub trace: Option<Vec<String>>,
    /// What became of the batch that is being told of: written, and told so.
    pub stored: Option<(bool, bool)>,
    before: Vec<Canary>,
    about: Option<(Job, Result<Answer, Failure>, Request)>,
    of_batch: Vec<i64>,
    /// An earlier state of the journal.
    pub copy: Option<Copy>,
    /// The journal as of the last sync that was real.
    pub unsynced: Option<Copy>,
}

impl Life {
    /// A fault strikes.
    pub fn fault(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.faults += 1;
        }
    }

    pub fn trace(&mut self, line: impl FnOnce() -> String) {
        let (now, number) = (self.now, self.number());
        if let Some(trace) = self.watch.as_mut().and_then(|watch| watch.trace.as_mut()) {
            trace.push(format!("{:>10.3} p{number} {}", now.as_secs_f64(), line()));
        }
    }

    /// What all requests meet at this moment.
    pub fn weather(&self, request: &Request) -> Option<Fate> {
        let (until, fate) = self.watch.as_ref()?.weather.hub?;
        let of_reads = matches!(fate, Fate::Strange(_)) && request.verb.is_unsafe();
        (self.now < until && !of_reads).then_some(fate)
    }

    /// What looks in particular meet.
    pub fn aimed(&mut self, request: &Request) -> Option<Fate> {
        let (state, looks) = self.watch.as_ref()?.weather.looks.as_ref()?;
        let look = *looks.front()?;
        let of_listing = request.route == "/api/{type}";
        if request.verb != Verb::Get
            || request.credential == Credential::Anonymous
            || look.of_listing() != of_listing && look != Look::Kept
        {
            return None;
        }
        let asked = |canary: &Canary| look == Look::Kept || request.path.contains(canary.repo.name.as_str());
        let mut canaries = self.engine()?.canaries.values();
        let visited = canaries.any(|l| l.busy && l.canary.state == *state && asked(&l.canary));
        // Of another repository only what is there is told again and again: that it is not would be a lie about ours.
        if look == Look::Another && self.hub.answer(&elsewhere(request), self.time()).status != 200 {
            return None;
        }
        visited.then(|| look.fate(&mut self.dice))
    }

    /// Whether a write fails now, and is there all the same.
    pub fn disk_fault(&mut self) -> Option<bool> {
        let now = self.now;
        let weather = &mut self.watch.as_mut()?.weather;
        if weather.disk.is_some_and(|until| now < until) {
            return Some(false);
        }
        weather.writes.pop()
    }

    /// The canaries of the process, or of the journal if there is none.
    pub fn canaries(&self) -> Vec<Canary> {
        match self.engine() {
            Some(engine) => engine.canaries.values().map(|live| live.canary.clone()).collect(),
            None => self.journal.values().cloned().collect(),
        }
    }

    /// This happens to every canary.
    pub fn mark_all(&mut self, what: Happening) {
        if self.watch.is_none() {
            return;
        }
        let states: Vec<CanaryState> = match self.engine() {
            Some(engine) => engine.canaries.values().map(|live| live.canary.state).collect(),
            None => self.journal.values().map(|canary| canary.state).collect(),
        };
        let Some(watch) = &mut self.watch else { return };
        for state in states {
            watch.coverage.mark(Mark::Happening(what), state);
        }
    }

    /// This happens to the canary of this name.
    pub fn mark_of(&mut self, key: &Key, mark: Mark) {
        let of = |canary: &&Canary| canary.kind == key.0 && canary.repo.to_string() == key.1;
        let live = self
            .engine()
            .and_then(|engine| engine.canaries.values().map(|live| &live.canary).find(of))
            .or_else(|| self.journal.values().find(of));
        let Some(state) = live.map(|canary| canary.state) else { return };
        if let Some(watch) = &mut self.watch {
            watch.coverage.mark(mark, state);
        }
    }

    /// The process ends in the middle of what it was doing.
    pub fn die(&mut self) {
        self.mark_all(Happening::CrashBetween);
        self.fault();
        self.trace(|| "dies between two effects".to_owned());
        self.crash();
    }

    pub fn before_event(&mut self, event: &Event) {
        if self.watch.is_none() {
            return;
        }
        let Some(process) = &self.process else { return };
        let engine = &process.engine;
        let before: Vec<Canary> = engine.canaries.values().map(|live| live.canary.clone()).collect();
        let about = match event {
            Event::Heard { flight, exchange } => {
                let Exchange { request, outcome, .. } = exchange.as_ref();
                engine.flights.get(flight).map(|job| (job.clone(), outcome.clone(), request.clone()))
            }
            _ => None,
        };
        let of_batch = match event {
            Event::Stored { op, .. } => match engine.ops.get(op) {
                Some(Op::Intent(id) | Op::Attempt(id, _)) => vec![*id],
                Some(Op::Rest(batch)) => batch.iter().filter_map(of_canary).collect(),
                _ => vec![],
            },
            _ => vec![],
        };
        let what = match event {
            Event::Wake => Some(Happening::Wake),
            Event::Due(_) | Event::Once { .. } => Some(Happening::Due),
            _ => None,
        };
        if let Some(what) = what {
            self.mark_all(what);
        }
        let told = self.watch.as_ref().is_some_and(|watch| watch.trace.is_some()).then(|| shown(event));
        if let Some(told) = told {
            self.trace(|| told);
        }
        let Some(watch) = &mut self.watch else { return };
        (watch.before, watch.about, watch.of_batch) = (before, about, of_batch);
    }

    /// What the event was to the canaries that it was about.
    pub fn after_event(&mut self, effects: &[Effect]) {
        let Some(mut watch) = self.watch.take() else { return };
        let before = std::mem::take(&mut watch.before);
        let state_of = |id: i64| before.iter().find(|b| b.id == id).map(|b| b.state);
        if let Some((written, done)) = watch.stored.take() {
            let mark = match (written, done) {
                (true, true) => Stored::Durable,
                (true, false) => Stored::InDoubt,
                (false, _) => Stored::Failed,
            };
            for id in std::mem::take(&mut watch.of_batch) {
                if let Some(state) = state_of(id) {
                    watch.coverage.mark(Mark::Stored(mark), state);
                }
            }
        }
        let about = watch.about.take();
        if let Some((id, mark)) = about.as_ref().and_then(answered)
            && let Some(state) = state_of(id)
        {
            watch.coverage.mark(mark, state);
        }
        let mut latched = None;
        if let Some(engine) = self.engine() {
            for (id, live) in &engine.canaries {
                let Some(b) = before.iter().find(|b| b.id == *id) else { continue };
                let own = matches!(&about, Some((Job::Visit(of), _, _)) if of == id);
                let seen = match &about {
                    Some((_, outcome, request)) if own && live.canary != *b => {
                        let event = last_event(*id, effects, engine);
                        if !was_looked_at(b, &live.canary) || event == Some(STEPPED) || event == Some(WAITED)
                        {
                            continue;
                        }
                        let (blind, waits) = (event == Some(BLIND), event == Some(WAITS));
                        // One look is owed to a refusal, which is no proof.
                        let proven = event.is_some_and(|event| PROVEN.contains(&event))
                            && b.state != CanaryState::Refused;
                        let doubtful = engine.clock_is_doubtful();
                        Some(sight(&live.canary, (blind, doubtful, waits, proven), outcome, request))
                    }
                    Some(_) if own => None,
                    _ if live.canary.looks == b.looks + 1 && live.canary.state == b.state => {
                        Some(Seen::Nobody)
                    }
                    _ => None,
                };
                // An old copy of the journal may call refused or gone what was found and deleted since.
                let outdated = self.ghost.lost && matches!(b.state, CanaryState::Refused | CanaryState::Gone);
                if let Some(seen) = seen.filter(|seen| !(outdated && *seen == Seen::NotYet)) {
                    watch.coverage.mark(Mark::Seen(seen), b.state);
                    watch.weather.met(b.state, seen);
                    if seen == Seen::Public {
                        latched = Some(engine.latched(&live.canary.repo.namespace));
                    }
                }
            }
        }
        if let Some(trace) = &mut watch.trace {
            let now = self.now.as_secs_f64();
            trace.extend(
                effects.iter().filter_map(told_effect).map(|line| format!("{now:>10.3}    -> {line}")),
            );
        }
        self.watch = Some(watch);
        if let Some(latched) = latched {
            self.hold(Invariant::Private, latched, || {
                "a public canary was seen and nothing is latched".to_owned()
            });
        }
    }
}

/// What the answer to a request of a canary is, that changes something.
fn answered((job, outcome, request): &(Job, Result<Answer, Failure>, Request)) -> Option<(i64, Mark)> {
    match job {
        Job::Create(id) => {
            let name = super::hub::named(request).1;
            let wanted = name.split('/').next_back().unwrap_or_default();
            Some((*id, Mark::Create(classify::create_row(outcome, "acme", wanted, &[]).0)))
        }
        Job::Delete(id) => Some((*id, Mark::Delete(classify::delete(outcome).0))),
        _ => None,
    }
}

/// A clock that was set changes a canary too, but neither its state nor how often it was looked at.
fn was_looked_at(before: &Canary, after: &Canary) -> bool {
    (before.looks, before.state) != (after.looks, after.state)
}

/// What the engine calls a visit that showed nothing.
const BLIND: &str = "looked: nothing can be said";
/// What is no visit, but changes a canary all the same.
const STEPPED: &str = "the clock was set";
const WAITED: &str = "a horizon was waited for after the clock was set";
/// And those that proved that it is gone.
const PROVEN: [&str; 2] = ["gone", "looked: still gone"];
/// And one that found it while an earlier deletion is not over.
const WAITS: &str = "looked: still there";

/// What the engine says last of what happened to this canary.
fn last_event<'a>(id: i64, effects: &'a [Effect], engine: &'a Engine) -> Option<&'a str> {
    let stored = effects.iter().filter_map(|effect| match effect {
        Effect::Store { batch, .. } => Some(batch.as_slice()),
        _ => None,
    });
    let writes = stored.flatten().chain(engine.unsaved.iter());
    writes
        .filter_map(|write| match write {
            Write::Canary { canary, event, .. } if canary.id == id => Some(event.as_str()),
            _ => None,
        })
        .last()
}

fn of_canary(write: &Write) -> Option<i64> {
    match write {
        Write::Canary { canary, .. } => Some(canary.id),
        _ => None,
    }
}

/// What a visit came to, told by its last answer and by what it changed.
fn sight(
    after: &Canary,
    (blind, doubtful, waits, proven): (bool, bool, bool, bool),
    outcome: &Result<Answer, Failure>,
    request: &Request,
) -> Seen {
    let told = outcome.as_ref().is_ok_and(|answer| matches!(answer.status, 200 | 404));
    if blind && doubtful && told {
        return Seen::Doubtful;
    }
    let own = request.path.contains(&format!("/{}", after.repo));
    if !own && request.route != "/api/{type}" {
        // The witness was asked, who must still see something else.
        return if blind { Seen::Incapable } else { Seen::AbsentListed };
    }
    if request.route == "/api/{type}" {
        return match readings::listed(outcome, &after.repo) {
            ListedRow::Listed => Seen::ListedYet,
            ListedRow::Missing => Seen::AbsentListed,
            ListedRow::Unclear => Seen::Absent,
        };
    }
    let (row, identity) = readings::description(outcome);
    match (row, identity) {
        (_, Some(identity)) => {
            let public = is_public(&identity);
            if waits {
                return Seen::NotYet;
            }
            match (after.state, public) {
                (_, true) => Seen::Public,
                (CanaryState::Quarantined, _) => Seen::Foreign,
                _ => Seen::Ours,
            }
        }
        (DescriptionRow::Moved, _) => Seen::Moved,
        (DescriptionRow::NotFound, _) if blind => Seen::Incapable,
        // The last look of a proof, after the listing and the witness.
        (DescriptionRow::NotFound, _) if proven => Seen::AbsentListed,
        (DescriptionRow::NotFound, _) => Seen::Absent,
        (DescriptionRow::Unanswered, _) => Seen::Unanswered,
        _ if of_outcome(outcome) == UnknownReason::TokenInvalid => Seen::Refused,
        _ if outcome.as_ref().is_ok_and(|a| a.status == 403 && a.content_type == "application/json") => {
            Seen::Refused
        }
        _ => Seen::Odd,
    }
}

fn shown(event: &Event) -> String {
    match event {
        Event::Heard { exchange, .. } => {
            let Exchange { request, outcome, .. } = exchange.as_ref();
            let heard = match outcome {
                Ok(answer) => {
                    format!("{} {}", answer.status, answer.body.chars().take(100).collect::<String>())
                }
                Err(failure) => failure.as_str().to_owned(),
            };
            let body = request.body.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("{} {} {body} by {:?}: {heard}", request.verb, request.path, request.credential)
        }
        Event::Configured(_) => "a new configuration".to_owned(),
        other => format!("{other:?}"),
    }
}

fn told_effect(effect: &Effect) -> Option<String> {
    match effect {
        Effect::Send { request, bound, .. } => {
            Some(format!("send {} {} {:?} {bound:?}", request.verb, request.path, request.credential))
        }
        Effect::SendAway { request, .. } => Some(format!("lets others send {}", request.path)),
        Effect::Store { op, batch } => {
            let canaries = batch.iter().filter_map(|write| match write {
                Write::Canary { canary, event, .. } => Some(format!(
                    "{} {} ({event}) next {:?}",
                    canary.id,
                    canary.state,
                    canary.next_at.map(|at| at.to_string())
                )),
                Write::Check(state) => Some(format!("check {} {}", state.key.target, state.latest.as_str())),
                Write::Finding(f) => Some(format!("finding {} {:?}", f.kind, f.resolved_at.is_some())),
                _ => None,
            });
            Some(format!("store {op}: {}", canaries.collect::<Vec<_>>().join("; ")))
        }
        Effect::Tell(notice) => Some(format!("says: {}", notice.text)),
        Effect::LoadKeys => Some("reads the keys".to_owned()),
        Effect::Notify { sink, messages } => Some(format!("tells {sink}: {} messages", messages.len())),
        Effect::Recall { names, .. } => Some(format!("asks the journal for {} names", names.len())),
        Effect::RoundEnded(_) => Some("a round ends".to_owned()),
        Effect::Ended => Some("ends".to_owned()),
        Effect::Publish(_) | Effect::Meter(_) | Effect::Explained(_) => None,
    }
}

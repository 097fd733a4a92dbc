//! A round held against what the Hub allows each of its users: requests in a window of five minutes, whoami at a
//! time, creations a day.
//!
//! The Hub counts by user, so that tokens of one user share everything. Whose a token is only its whoami says;
//! what the last one said, or the pin of the config, is told to us. The Hub's figures are those of its
//! documentation (rate limits, "September '25" values); whoever is not known gets the smallest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::access::{Check, CheckKey, TokenName};
use crate::config::{Config, Schedule};
use crate::exchange::Credential;
use crate::hub::whoami::Declared;
use crate::moment::Timestamp;
use crate::schedule::{Classes, cron, jobs, next, period, spread};

use super::calls::{Bucket, CallPlan, Part, Scope, Step, Times, calls};
use super::choice::{Candidate, Lot, choose, stand_in};

/// The Hub's window.
pub const WINDOW: Duration = Duration::from_secs(300);
/// Requests in a window for whoever has no plan.
pub const FREE_QUOTA: u32 = 1000;
/// Requests in a window without a token, for each address.
pub const ANONYMOUS_QUOTA: u32 = 500;
/// Creations of one user and day, as one recorded answer of the Hub has it; not documented.
pub const HUB_CREATIONS_A_DAY: u32 = 300;
/// What an answer is taken to need, for an estimate of the duration.
pub const LATENCY: Duration = Duration::from_millis(200);

/// Requests in a window by plan.
const QUOTAS: [(&str, u32); 4] = [("team", 3000), ("academia", 3000), ("enterprise", 6000), ("plus", 10_000)];

/// How it is known whose a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Its last whoami, of this moment.
    Whoami(Timestamp),
    /// The config's pin `declared.user`.
    Pin,
}

/// What is known beside the config.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Known {
    /// The last whoami of tokens.
    pub declared: BTreeMap<TokenName, (Timestamp, Declared)>,
    /// When checks were last answered conclusively.
    pub concluded: BTreeMap<CheckKey, Timestamp>,
    /// Who made creation calls in the last 24 hours: a user, or `token:NAME`; what was tried on a
    /// sentinel in place of a canary stands under `sentinel:USER`, and counts for nobody here.
    pub creations: Vec<String>,
    /// Canaries of the journal that are unfinished; a run looks after them first, beside this plan.
    pub unfinished: usize,
}

/// One of the Hub's users, and what the round costs them.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// `None`: nobody, without a token.
    pub name: Option<String>,
    /// Its tokens, as far as they sign anything. One whose user is not known is taken for a user of its own.
    pub tokens: Vec<TokenName>,
    pub source: Option<Source>,
    /// Requests in a window for everything that this user does.
    pub quota: u32,
    /// The plan that the quota follows from; `None` when it is not known.
    pub plan: Option<String>,
    /// Our share of it.
    pub allowed: u32,
    /// Of the whole round.
    pub round: Times,
    pub whoami: Times,
    pub creations: Times,
    /// In the busiest window of the schedule.
    pub window: Times,
    /// Creation calls of a day of the schedule.
    pub creations_a_day: u64,
    /// Of them at most so many are made (`max_creations_per_day`).
    pub creations_allowed: u32,
    /// Creation calls of the last 24 hours.
    pub creations_used: u32,
    /// What becomes of the creations of a round that began now.
    pub lots: Vec<(CheckKey, Lot)>,
}

/// Everything that `plan` has to say of a round and its users.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// The whole round, everything due at once.
    pub round: CallPlan,
    pub users: Vec<User>,
    /// How long it takes if every answer takes [`LATENCY`].
    pub takes: Duration,
    /// Over how long the daemon spreads the beginnings of a round of probes beside that.
    pub spread: Duration,
    /// What is put off or left out, and what to do.
    pub held_back: Vec<String>,
}

/// Plans the whole round, and holds it against everybody's allowance.
pub fn budget(config: &Config, only: &[TokenName], read_only: bool, known: &Known, now: Timestamp) -> Budget {
    let scope = |due| Scope { due, only, read_only };
    let round = calls(config, scope(Classes::ALL));
    let ticks: Vec<Tick> = jobs(&config.schedule)
        .into_iter()
        .map(|(expression, due)| Tick::of(&expression, &config.schedule, calls(config, scope(due)), now))
        .collect();
    let mut users = users(config, &round, known);
    for user in &mut users {
        fill(user, config, &round, &ticks, known);
    }
    let every = period(&config.schedule.probe, config.schedule.timezone, now);
    let mut budget = Budget {
        takes: takes(config, &round, &users),
        spread: spread(every),
        held_back: Vec::new(),
        round,
        users,
    };
    budget.held_back = held_back(&budget, config);
    budget
}

/// A schedule's ticks, and what each of them asks.
struct Tick {
    asks: CallPlan,
    a_day: u64,
    a_window: u32,
}

/// Ticks of a day that are looked at one by one; a faster schedule goes on as it began.
const TICKS_SEEN: usize = 3000;

impl Tick {
    fn of(expression: &str, schedule: &Schedule, asks: CallPlan, now: Timestamp) -> Tick {
        let day = Duration::from_secs(24 * 3600);
        let mut at: Vec<Timestamp> = Vec::new();
        if let Some(cron) = cron(expression) {
            let mut from = now;
            while at.len() < TICKS_SEEN {
                let Some(tick) = next(&cron, schedule.timezone, from).filter(|tick| tick.since(now) <= day)
                else {
                    break;
                };
                at.push(tick);
                from = tick;
            }
        }
        let mut a_window = 0;
        let mut first = 0;
        for (place, tick) in at.iter().enumerate() {
            while at.get(first).is_some_and(|earlier| tick.since(*earlier) >= WINDOW) {
                first += 1;
            }
            a_window = a_window.max(place + 1 - first);
        }
        let a_day = match (at.first(), at.last()) {
            (Some(first), Some(last)) if at.len() >= TICKS_SEEN => {
                (at.len() - 1) as f64 * day.as_secs_f64() / last.since(*first).as_secs_f64().max(1.0)
            }
            _ => at.len() as f64,
        };
        Tick { asks, a_day: a_day.round() as u64, a_window: u32::try_from(a_window).unwrap_or(u32::MAX) }
    }
}

/// Everybody who signs anything, in the order in which they come up; nobody comes last.
fn users(config: &Config, round: &CallPlan, known: &Known) -> Vec<User> {
    let mut users: Vec<User> = Vec::new();
    let signing: BTreeSet<&Credential> = round.steps.iter().map(|step| &step.who).collect();
    for token in config.tokens.iter().filter(|t| signing.contains(&Credential::Token(t.name.clone()))) {
        let declared = known.declared.get(&token.name);
        let pinned = token.declared.as_ref().and_then(|pin| pin.user.clone());
        let (name, source) = match (declared, pinned) {
            (Some((at, declared)), _) => (declared.user.clone(), Some(Source::Whoami(*at))),
            (None, Some(pinned)) => (pinned, Some(Source::Pin)),
            (None, None) => (format!("token:{}", token.name), None),
        };
        let quota = declared.and_then(|(_, declared)| quota_of(declared));
        match users.iter_mut().find(|user| user.name.as_ref() == Some(&name)) {
            Some(user) => {
                user.tokens.push(token.name.clone());
                if let (Some((plan, quota)), None) = (quota, &user.plan) {
                    (user.plan, user.quota) = (Some(plan), quota);
                }
            }
            None => users.push(User {
                name: Some(name),
                tokens: vec![token.name.clone()],
                source,
                quota: quota.as_ref().map_or(FREE_QUOTA, |(_, quota)| *quota),
                plan: quota.map(|(plan, _)| plan),
                ..User::nobody()
            }),
        }
    }
    if signing.contains(&Credential::Anonymous) {
        users.push(User { quota: ANONYMOUS_QUOTA, ..User::nobody() });
    }
    users
}

/// The best plan among the organizations that whoami shows. Which of several counts is not documented.
fn quota_of(declared: &Declared) -> Option<(String, u32)> {
    let plans = declared.organizations.iter().filter_map(|membership| membership.plan.as_deref());
    let known = plans.filter_map(|plan| QUOTAS.iter().find(|(name, _)| *name == plan));
    known.max_by_key(|(_, quota)| *quota).map(|(plan, quota)| ((*plan).to_owned(), *quota))
}

impl User {
    fn nobody() -> User {
        User {
            name: None,
            tokens: Vec::new(),
            source: None,
            quota: 0,
            plan: None,
            allowed: 0,
            round: Times::default(),
            whoami: Times::default(),
            creations: Times::default(),
            window: Times::default(),
            creations_a_day: 0,
            creations_allowed: 0,
            creations_used: 0,
            lots: Vec::new(),
        }
    }

    fn signs(&self, step: &Step) -> bool {
        match &step.who {
            Credential::Anonymous => self.name.is_none(),
            Credential::Token(token) => self.tokens.contains(token),
        }
    }

    fn of(&self, plan: &CallPlan, which: impl Fn(&Step) -> bool) -> Times {
        let own = plan.steps.iter().filter(|step| self.signs(step) && which(step));
        own.fold(Times::default(), |sum, step| sum.and(step.times))
    }
}

fn fill(user: &mut User, config: &Config, round: &CallPlan, ticks: &[Tick], known: &Known) {
    let share = f64::from(user.quota) * config.hub.quota_share;
    // As the pacer has it: at least one, or a small share would never ask at all.
    user.allowed = share.max(1.0) as u32;
    user.round = user.of(round, |_| true);
    user.whoami = user.of(round, |step| step.bucket() == Bucket::Whoami);
    user.creations = user.of(round, |step| step.bucket() == Bucket::Creation);
    for tick in ticks {
        let asks = user.of(&tick.asks, |_| true);
        let times = |calls: u32| calls.saturating_mul(tick.a_window);
        user.window = user.window.and(Times { usual: times(asks.usual), at_most: times(asks.at_most) });
        let creations = user.of(&tick.asks, |step| step.bucket() == Bucket::Creation);
        user.creations_a_day += u64::from(creations.usual).saturating_mul(tick.a_day);
    }
    let creating = |check: &Check| check.creates() && user.tokens.contains(&check.token);
    let organizations = config.tokens.iter().flat_map(|token| &token.checks).filter(|check| creating(check));
    let budgets = organizations.filter_map(|check| config.organization(&check.organization));
    user.creations_allowed = budgets.map(|o| o.max_creations_per_day).min().unwrap_or(0);
    let own = |owner: &&String| match owner.strip_prefix("token:") {
        Some(token) => user.tokens.contains(&TokenName::new(token)),
        None => user.name.as_ref() == Some(owner),
    };
    let used = known.creations.iter().filter(own).count();
    user.creations_used = u32::try_from(used).unwrap_or(u32::MAX);
    user.lots = lots(user, config, round, known, used);
}

/// The lots that a round would draw for this user now.
fn lots(user: &User, config: &Config, round: &CallPlan, known: &Known, used: usize) -> Vec<(CheckKey, Lot)> {
    let asked: BTreeSet<&CheckKey> = round
        .steps
        .iter()
        .filter(|step| step.bucket() == Bucket::Creation && user.signs(step))
        .filter_map(|step| step.check.as_ref())
        .collect();
    let all = config.tokens.iter().flat_map(|token| token.checks.iter().map(move |check| (token, check)));
    let mut checks: Vec<(CheckKey, Candidate)> = Vec::new();
    for (token, check) in all {
        let key = check.key();
        let Some(organization) = config.organization(&check.organization).filter(|_| asked.contains(&key))
        else {
            continue;
        };
        let candidate = Candidate {
            place: checks.len(),
            key: key.clone(),
            last_turn: known.concluded.get(&key).copied(),
            severity: token.severity,
            allowed: usize::try_from(organization.max_creations_per_day).unwrap_or(usize::MAX),
            stand_in: stand_in(check, organization.sentinel.as_ref()),
        };
        checks.push((key, candidate));
    }
    let drawn = choose(checks.iter().map(|(_, candidate)| candidate.clone()).collect(), used);
    let named = drawn.into_iter().filter_map(|(place, lot)| Some((checks.get(place)?.0.clone(), lot)));
    named.collect()
}

/// How long the calls follow each other, as a rule: parts one after the other, within them as many at a time as
/// may fly, and each user's creations in single file.
fn takes(config: &Config, round: &CallPlan, users: &[User]) -> Duration {
    let room = u32::try_from(config.hub.max_in_flight.max(1)).unwrap_or(u32::MAX);
    let usual = |part: Part| {
        let steps = round.steps.iter().filter(move |step| step.part == part);
        steps.map(|step| step.times.usual).sum::<u32>()
    };
    // A control is a walk: the longest of them, or all of them by the room there is.
    let mut walks: BTreeMap<(&Option<String>, &Credential), u32> = BTreeMap::new();
    for step in round.steps.iter().filter(|step| step.part == Part::Control) {
        *walks.entry((&step.organization, &step.who)).or_default() += step.times.usual;
    }
    let longest = walks.values().copied().max().unwrap_or(0);
    let controls = longest.max(usual(Part::Control).div_ceil(room));
    let creating = |user: &User| {
        let own = |step: &&Step| {
            let token = step.check.as_ref().map(|key| &key.token);
            token.is_some_and(|token| user.tokens.contains(token))
                && (step.part == Part::Canary || step.bucket() == Bucket::Creation)
        };
        round.steps.iter().filter(own).map(|step| step.times.usual).sum::<u32>()
    };
    let creations = users.iter().map(creating).max().unwrap_or(0);
    let reads = (usual(Part::Check) + usual(Part::Proof)).div_ceil(room).max(1);
    LATENCY * (usual(Part::Declared).div_ceil(room) + controls + creations.max(reads))
}

/// Who a line is about.
pub fn called(user: &User) -> String {
    match &user.name {
        None => "whoever has no token".to_owned(),
        Some(name) => match name.strip_prefix("token:") {
            Some(token) => format!("the user of '{token}'"),
            None => name.clone(),
        },
    }
}

fn held_back(budget: &Budget, config: &Config) -> Vec<String> {
    let mut said = Vec::new();
    if !budget.round.barred.is_empty() {
        said.push(format!(
            "{} of the checks take a method that --read-only lets not leave; they are unknown (read_only)",
            budget.round.barred.len()
        ));
    }
    if budget.round.later > 0 {
        said.push(format!(
            "whoami of {} tokens waits for a later round: the Hub limits it strictly, so that one run asks at most {} of them",
            budget.round.later,
            crate::pace::WHOAMI_BURST
        ));
    }
    for user in budget.users.iter().filter(|user| user.name.is_some()) {
        let who = called(user);
        if user.round.usual > user.allowed {
            said.push(format!(
                "{who}: {} calls a round are more than our share of {} in five minutes; what is over is unknown (rate_limited) and asked again later. Raise hub.quota_share, or spread the tokens over more users",
                user.round.usual, user.allowed
            ));
        } else if user.window.usual > user.allowed {
            said.push(format!(
                "{who}: {} calls in the busiest five minutes are more than our share of {}; rounds are put off. Let schedule.probe come less often, or raise hub.quota_share",
                user.window.usual, user.allowed
            ));
        }
        said.extend(creations_held_back(user, config, &who));
        said.extend(lots_held_back(user, &who));
    }
    said
}

/// Names that a sentence lists, at most.
const LISTED: usize = 8;

/// What a round that began now would do with creations for which the day does not suffice.
fn lots_held_back(user: &User, who: &str) -> Option<String> {
    let of = |wanted: fn(&Lot) -> bool| -> Vec<String> {
        let own = user.lots.iter().filter(|(_, lot)| wanted(lot));
        own.map(|(key, _)| format!("{} {}", key.token, key.target)).collect()
    };
    let made = of(|lot| *lot == Lot::Canary);
    let (tried, left) = (of(|lot| matches!(lot, Lot::Sentinel(_))), of(|lot| *lot == Lot::Nothing));
    if tried.is_empty() && left.is_empty() {
        return None;
    }
    let list = |names: &[String]| {
        let shown = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
        let more = names.len().saturating_sub(LISTED);
        if more > 0 { format!("{shown} and {more} more") } else { shown }
    };
    let days = user.lots.len().div_ceil(usize::try_from(user.creations_allowed.max(1)).unwrap_or(1));
    let mut said = format!(
        "{who}: of {} creations due in a round {} are called for now, {} of {} a day being used: those that waited longest, of them the most severe first, so that each has its turn within {days} {}",
        user.lots.len(),
        made.len(),
        user.creations_used,
        user.creations_allowed,
        if days == 1 { "day" } else { "days" },
    );
    if !made.is_empty() {
        said += &format!(" ({})", list(&made));
    }
    if !tried.is_empty() {
        said += &format!("; tried on the organization's sentinel: {}", list(&tried));
    }
    if !left.is_empty() {
        said += &format!("; left for another day (creation_cap): {}", list(&left));
    }
    Some(said)
}

fn creations_held_back(user: &User, config: &Config, who: &str) -> Option<String> {
    let a_round = u64::from(user.creations.usual);
    let least = u64::from(user.creations_allowed.min(HUB_CREATIONS_A_DAY));
    if a_round == 0 || user.creations_a_day <= least && a_round <= least {
        return None;
    }
    let fitting = least / a_round;
    let which = if user.creations_allowed <= HUB_CREATIONS_A_DAY {
        format!("max_creations_per_day is {}", user.creations_allowed)
    } else {
        format!("the Hub is known to allow {HUB_CREATIONS_A_DAY}")
    };
    let todo = if fitting == 0 {
        "Raise it, or ask fewer of them with `method: canary`".to_owned()
    } else {
        format!("Let schedule.canary come at most {fitting} times a day (now: {})", config.schedule.canary)
    };
    Some(format!(
        "{who}: {} creation calls a day, and {which}; what is over is unknown (creation_cap). {todo}",
        user.creations_a_day
    ))
}

//! One life from its seed: which world, what befalls it in which state, then the calm in which all must come to rest.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::intent::{Canary, CanaryState};
use crate::round::Event;
use crate::schedule::Classes;

use super::super::coverage::Coverage;
use super::super::flights::Fate;
use super::super::invariants::{Held, Invariant};
use super::super::life::{Dice, Life, S};
use super::super::stories::SERVE;
use super::super::watch::{Happening, Watch, Weather};
use super::plan::{Plan, When};
use super::strikes::ROUND;
use super::worlds::inhabit;

/// Events of a life, at most: what the engine is told, what takes effect at the Hub, and every strike.
pub const EVENTS: u64 = 200;
/// Of these the trouble takes so many at most; the rest is for the calm.
const TROUBLE: u64 = 110;
/// Events of a process that was overtaken, before it is ended.
const STALE: u32 = 12;

/// What became of a life.
pub struct Lived {
    pub held: Held,
    pub coverage: Coverage,
    pub faults: u64,
    pub canaries: usize,
    pub events: u64,
    /// It had not come to rest when its events were used up.
    pub cut: bool,
    pub trace: Vec<String>,
}

/// Lives the life of this seed.
pub fn live(seed: u64, told: bool) -> Lived {
    live_without(seed, told, None)
}

/// The same, with dice that never strike so in this state.
pub fn live_without(seed: u64, told: bool, withheld: Option<(Happening, CanaryState)>) -> Lived {
    let mut dice = Dice::new(seed.wrapping_add(1).wrapping_mul(0x2545_F491_4F6C_DD1D));
    dice.roll(2);
    let mut plan = Plan::new(&mut dice);
    plan.withheld = withheld;
    let mut life = inhabit(plan.world, plan.mode, dice.roll(u64::MAX));
    life.held.lenient = true;
    let mut watch = Watch::default();
    watch.trace = told.then(Vec::new);
    life.watch = Some(Box::new(watch));
    life.fate = plan.fates(life.horizon());
    life.bad_writes = plan.bad_writes;
    life.slow_write = Duration::from_millis(*dice.one_of(&[0, 0, 0, 300, 2500]));
    life.delays = *dice.one_of(&[0, 0, 0, 10, 30]);
    if let Some(watch) = &mut life.watch {
        watch.weather.looks = plan.looks.clone();
    }
    life.trace(|| {
        let Plan { mode, bias, prelude, strikes, when, looks, .. } = &plan;
        format!("seed {seed}: {mode:?}, aimed at {bias} by {prelude:?}: {strikes:?} {when:?}, {looks:?}")
    });
    life.start();
    life.cut_after = plan.cut.then_some((1, plan.bias));
    life.tell(match plan.mode.one_shot {
        true => Event::Once { due: ROUND, only: vec![] },
        false => Event::Due(ROUND),
    });
    let whole = plan.world.whole.clone();
    trouble(&mut life, plan, &mut dice);
    let cut = !calm(&mut life, &whole, &mut dice);
    let watch = life.watch.take().unwrap_or_default();
    Lived {
        held: life.held,
        coverage: watch.coverage,
        faults: watch.faults,
        canaries: life.ghost.intents.len(),
        events: life.events,
        cut,
        trace: watch.trace.unwrap_or_default(),
    }
}

/// What lasts only for a while is over, and who was overtaken long ago ends.
fn pass(life: &mut Life) {
    let (now, runs) = (life.now, life.runs());
    let Some(watch) = &mut life.watch else { return };
    let weather = &mut watch.weather;
    let over = |until: &mut Option<Duration>| until.take_if(|until| *until <= now).is_some();
    let (caught_up, hub_set) = (over(&mut weather.behind), over(&mut weather.hub_clock));
    let set_right = runs && over(&mut weather.clock);
    if caught_up {
        life.hub.behind = Duration::ZERO;
    }
    if hub_set {
        life.hub.tells_time = Some(0);
    }
    if set_right {
        life.set_clock(0);
        life.trace(|| "the clock is set right".to_owned());
        life.tell(Event::Wake);
    }
    let stale: Vec<u64> =
        life.others.iter().filter(|process| process.told > STALE).map(|process| process.number).collect();
    for number in stale {
        life.of(number, Life::crash);
    }
}

fn trouble(life: &mut Life, mut plan: Plan, dice: &mut Dice) {
    let rest = match plan.when {
        When::Eve => 9 * 24 * 3600,
        _ => 4200,
    };
    let end = life.now + life.horizon() * 3 + S(rest);
    let mut after = 0;
    let most = if plan.when == When::Eve { TROUBLE + 30 } else { TROUBLE };
    while life.events < most && life.now < end && life.held.broken.is_none() {
        pass(life);
        if life.process.is_none() {
            let away = *dice.one_of(&[0, 0, 1, 40]);
            life.begin_again(S(away));
            continue;
        }
        if life.ended {
            // An audit is over; from now on the daemon serves.
            life.crash();
            life.mode = SERVE;
            let away = *dice.one_of(&[0, 5, 70]);
            life.begin_again(S(away));
            continue;
        }
        let due =
            if life.mode.one_shot { Event::Once { due: ROUND, only: vec![] } } else { Event::Due(ROUND) };
        let next = life.next().map_or(end, |(at, _)| at);
        if plan.when == When::Eve
            && let Some(eve) = eve(life).filter(|_| life.queue.is_empty())
        {
            // Whoami is asked in time: who was not asked for long proves nothing.
            life.now = eve;
            strike(life, &mut plan, dice);
            life.say(Event::Due(Classes { declared: true, ..Classes::default() }));
        } else if plan.when != When::Eve && next > life.now + S(900) && dice.percent(70) {
            // Rounds go on in between, and whoami is asked in them; another canary where one is needed yet.
            let looks = match plan.bias != CanaryState::Gone && !plan.strikes.is_empty() {
                true => {
                    life.now += S(900);
                    ROUND
                }
                false => {
                    life.now = next - S(90);
                    Classes { probe: true, canary: false, declared: true }
                }
            };
            life.say(if life.mode.one_shot { due } else { Event::Due(looks) });
        } else if !life.step(end) {
            break;
        }
        strike(life, &mut plan, dice);
        if plan.strikes.is_empty() && !life.looks_left() {
            after += 1;
            if after > if plan.when == When::Eve { 30 } else { 8 } {
                break;
            }
        }
    }
}

/// A little before what is gone is looked at again.
fn eve(life: &Life) -> Option<Duration> {
    let gone = life.find(|canary| canary.state == CanaryState::Gone && canary.next_at.is_some())?;
    let left = gone.next_at?.since(life.wall());
    (left > S(100)).then(|| life.now + left - S(90))
}

/// What befalls it next, if its moment has come.
fn strike(life: &mut Life, plan: &mut Plan, dice: &mut Dice) {
    if let Some((state, what)) = plan.prelude.front().copied() {
        let subject = life.find(|canary| canary.state == state && plan.withheld != Some((what, state)));
        if subject.is_some_and(|subject| life.strike(what, &subject, plan.world)) {
            plan.prelude.pop_front();
        }
        return;
    }
    if plan.when == When::Soon && !dice.percent(70) {
        return;
    }
    for _ in 0..1 + dice.roll(plan.volley) {
        let Some(subject) = life.find(|canary| canary.state == plan.bias && life.is_time(plan.when, canary))
        else {
            return;
        };
        let Some(what) = plan.strikes.pop_front() else { return };
        if plan.withheld == Some((what, subject.state)) {
            continue;
        }
        if life.watch.as_ref().is_some_and(|watch| watch.copy.is_none()) {
            let copy = life.copy();
            life.watch.as_mut().expect("it is watched").copy = Some(copy);
        }
        if life.strike(what, &subject, plan.world) {
            if matches!(plan.when, When::InTheAir | When::Tried) {
                plan.when = When::Soon;
            }
            continue;
        }
        // It may find something to strike a little later.
        plan.misses += 1;
        let place = if plan.misses.is_multiple_of(4) { plan.strikes.len() } else { 0 };
        if plan.misses < 24 {
            plan.strikes.insert(place, what);
        }
        return;
    }
}

/// All faults end, as far as they can; what was begun must come to its end within two horizons and ten minutes. Says
/// whether the life got that far within its events.
fn calm(life: &mut Life, whole: &Arc<Config>, dice: &mut Dice) -> bool {
    if life.held.broken.is_some() {
        return true;
    }
    life.trace(|| "calm".to_owned());
    end_faults(life);
    if life.ghost.lost {
        // Where nothing is created any more nobody searches for what a lost journal knew.
        life.config = whole.clone();
        if life.process.is_some() {
            life.tell(Event::Configured(whole.clone()));
        }
    }
    if dice.percent(75) || life.hub.repos.values().any(|repo| repo.restored) {
        for holder in life.hub.holders.values_mut() {
            (holder.dead, holder.barred) = (false, None);
            (holder.sees, holder.deletes) = (holder.user != "bob", holder.user != "carl");
        }
    }
    if life.ended || life.mode.one_shot {
        life.crash();
        life.mode = SERVE;
        life.begin_again(S(0));
    }
    let looks = Classes { probe: true, ..Classes::default() };
    life.say(Event::Due(looks));
    let end = life.now + life.horizon() * 2 + S(660);
    rest(life, end);
    if life.ghost.lost || life.hub.repos.values().any(|repo| repo.restored) {
        // A journal that was lost is made good by the sweeps, which are an hour apart, and what comes back after it
        // was gone is found by them.
        life.now = life.now.max(end);
        life.tell(Event::Due(looks));
        let end = life.now + S(3700);
        rest(life, end);
        life.now = life.now.max(end);
    }
    life.now = life.now.max(end);
    life.tell(Event::Due(looks));
    let last = life.reports.len();
    let end = life.now + S(120);
    while life.reports.len() == last && life.held.broken.is_none() && life.events < EVENTS && life.step(end) {
    }
    if life.held.broken.is_some() {
        return true;
    }
    if life.reports.len() == last {
        return false;
    }
    // What the round found is shown once it is stored.
    let shown = life.now + S(1);
    while life.held.broken.is_none() && life.step(shown) {}
    if life.held.broken.is_some() {
        return true;
    }
    life.i5_no_silent_leak();
    life.comes_to_rest();
    true
}

/// Requests, writes and clocks are as they should be, and of the processes one is left.
fn end_faults(life: &mut Life) {
    life.fate = Box::new(|_, _| Fate::Fine);
    (life.bad_writes, life.delays, life.slow_write, life.cut_after) = (0, 0, S(0), None);
    life.bad_keys.clear();
    life.hub.behind = Duration::ZERO;
    life.hub.catch_up();
    life.hub.tells_time = Some(0);
    if let Some(watch) = &mut life.watch {
        watch.weather = Weather::default();
    }
    let stale: Vec<u64> = life.others.iter().map(|process| process.number).collect();
    stale.into_iter().for_each(|number| life.of(number, Life::crash));
    if let Some(until) = life.process.as_ref().and_then(|process| process.stopped_until) {
        // What waits for the process keeps its order.
        while life.held.broken.is_none() && life.step(until) {}
        life.now = life.now.max(until);
        if let Some(process) = &mut life.process {
            process.stopped_until = None;
        }
    }
    if life.process.is_none() {
        life.begin_again(S(0));
    }
    if life.set_by != 0 {
        life.set_by = 0;
        life.tell(Event::Wake);
    }
}

/// Lets time pass until then.
fn rest(life: &mut Life, end: Duration) {
    while life.events < EVENTS && life.held.broken.is_none() && life.step(end) {}
}

#[cfg(test)]
impl Life {
    /// The first canary that is so.
    fn find(&self, is_so: impl Fn(&Canary) -> bool) -> Option<Canary> {
        match self.engine() {
            Some(engine) => engine.canaries.values().map(|live| &live.canary).find(|c| is_so(c)).cloned(),
            None => self.journal.values().find(|c| is_so(c)).cloned(),
        }
    }

    /// Whether looks are yet to meet something in particular; in this state.
    fn looks_left(&self) -> bool {
        let looks = self.watch.as_ref().and_then(|watch| watch.weather.looks.as_ref());
        looks.is_some_and(|(_, looks)| !looks.is_empty())
    }

    fn looks_left_at(&self, state: CanaryState) -> bool {
        let looks = self.watch.as_ref().and_then(|watch| watch.weather.looks.as_ref());
        looks.is_some_and(|(of, looks)| *of == state && !looks.is_empty())
    }

    /// Whether what is to befall this canary comes now.
    fn is_time(&self, when: When, canary: &Canary) -> bool {
        match when {
            When::Soon => !self.looks_left_at(canary.state),
            When::Eve => {
                !self.looks_left() && canary.next_at.is_some_and(|at| at.since(self.wall()) <= S(100))
            }
            When::InTheAir => self.in_the_air(canary),
            When::Tried => !canary.deletes.is_empty(),
        }
    }

    /// What is still unfinished is told, or waits for somebody who can see.
    fn comes_to_rest(&mut self) {
        let told = self.shown.iter().flat_map(|shown| &shown.findings).any(|finding| {
            finding.kind == crate::report::FindingKind::CanaryLeft && finding.resolved_at.is_none()
        });
        // One whose commit was told to have failed is never sent; the next start looks for it all the same.
        let sent = |name: &str| self.posts.iter().any(|(_, _, key)| key.1 == name);
        let owed = |c: &&Canary| c.state != CanaryState::Planned || sent(&c.repo.to_string());
        // What the last look found there is being deleted, and that takes its horizon.
        let (now, horizon) = (self.wall(), self.horizon());
        let begun = |c: &Canary| c.deletes.last().is_some_and(|d| now.since(d.at) <= horizon + S(60));
        let mut open = self.journal.values().filter(|canary| canary.unfinished() && !begun(canary));
        let open = open.find(owed).cloned();
        self.hold(Invariant::ComesToRest, open.is_none() || told, || format!("still open, untold: {open:?}"));
    }
}

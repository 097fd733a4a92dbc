//! Goal: whatever becomes of the sinks, the store, the process, the clock and the Hub, no committed grant is lost to any
//! sink, an outage of the Hub alone tells of nothing but itself, each event is told about once, and once the faults
//! are over every sink shows what is so.
//! Method: lives of the whole engine in virtual time, a quarter of an hour a round, with rights that change and the
//! sinks of `sinks`; each weakening of the alert model is planted and must be noticed. `SCOPEWATCH_ALERT_LIVES=n` says
//! how many are lived, `SCOPEWATCH_SEED=n` tells one.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::access::TokenName;
use crate::alert::message::{AlertKey, AlertName, Tidings};
use crate::config::Config;
use crate::exchange::Verb;
use crate::planted::{self, Defect};
use crate::report::FindingKind;
use crate::round::Event;
use crate::schedule::Classes;

use super::life::{Fate, Life, S, configured};
use super::lives::{setting, tell_row};
use super::sinks::{BOTH, FORGETS};
use super::stories::{SERVE, holder};

static CONFIG: LazyLock<Arc<Config>> = LazyLock::new(|| {
    configured(
        "
hub: { endpoint: \"http://127.0.0.1:9\", in_flight_horizon: 60s, max_in_flight: 4 }
schedule: { probe: \"0 */15 * * * *\", declared: \"0 7 * * * *\" }
alerts:
  sinks:
    - { name: am, type: alertmanager, url: \"http://127.0.0.1:9093\" }
    - { name: hook, type: webhook, url: \"http://127.0.0.1:9/hook\" }
organizations: [{ name: acme, janitor: janitor, max_creations_per_day: 200 }]
tokens:
  - { name: janitor, organization: acme, secret: { env: J } }
  - { name: open, organization: acme, secret: { env: A }, expect: [{ permission: repo.create, access: denied }] }
  - { name: curious, organization: acme, secret: { env: B }, expect: [{ permission: repo.read, repo: acme/known, access: denied }] }
  - { name: loyal, organization: acme, secret: { env: C }, expect: [{ permission: repo.read, repo: acme/known, access: allowed }] }
",
    )
});

/// Rounds with strikes, and rounds of peace after them.
const STRUCK: u64 = 8;
const CALM: u64 = 8;
const ROUND: Duration = Duration::from_secs(900);
/// What was on its way when an outage began may still come to a verdict.
const UNDER_WAY: Duration = Duration::from_secs(15);
const FEW: u64 = 60;

/// One life, and what it came to.
struct Lived {
    life: Life,
    broken: Vec<String>,
    outages: u64,
}

fn inhabited(seed: u64) -> Life {
    let mut life = Life::new(CONFIG.clone(), SERVE, seed);
    life.held.lenient = true;
    let now = life.time();
    life.hub.furnish("acme/known", now);
    life.hub.tells_time = Some(0);
    for (name, person) in [
        ("janitor", holder("alice", false, true, true)),
        ("open", holder("bob", false, false, false)),
        ("curious", holder("carl", false, false, false)),
        ("loyal", holder("dora", false, true, false)),
    ] {
        life.hub.holders.insert(TokenName::new(name), person);
    }
    life
}

impl Lived {
    fn round(&mut self) {
        let life = &mut self.life;
        let hourly = life.now.as_secs().is_multiple_of(3600);
        life.tell(Event::Due(Classes { declared: hourly, ..Classes::ALL }));
        let next = S((life.now.as_secs() / ROUND.as_secs() + 1) * ROUND.as_secs());
        life.run_until(next, 20_000);
    }

    /// A right is given or taken.
    fn flip(&mut self, name: &'static str) {
        let person = self.life.hub.holders.get_mut(&TokenName::new(name)).expect("somebody");
        let right = if name == "open" { &mut person.creates } else { &mut person.sees };
        *right = !*right;
    }

    /// Something changes, or the Hub is out for a while.
    fn strike(&mut self) {
        let life = &mut self.life;
        match life.dice.roll(14) {
            0 | 1 => self.flip("open"),
            2 | 3 => self.flip("curious"),
            4 => self.flip("loyal"),
            sink @ (5 | 6) => {
                let sink = BOTH[usize::from(sink == 6)];
                if !life.sinks.down.remove(sink) {
                    life.sinks.down.insert(sink);
                }
            }
            7 => life.sinks.loses_receipts = 10 * life.dice.roll(2),
            8 => life.sinks.refuses_bundles = !life.sinks.refuses_bundles,
            9 => life.sinks.forget(),
            10 => life.bad_writes = 40 - life.bad_writes.min(40),
            11 => life.restart(),
            12 => {
                life.crash();
                life.now += S(life.dice.roll(2 * 3600));
                life.start();
            }
            _ => self.outage(),
        }
    }

    /// The Hub is out, and nothing else happens. What is told of it?
    fn outage(&mut self) {
        self.outages += 1;
        let (began, first) = (self.life.time() + UNDER_WAY, self.life.sinks.heard.len());
        let silent = self.life.dice.percent(50);
        self.life.fate = Box::new(move |_, _| if silent { Fate::LostTimeout } else { Fate::Error });
        for _ in 0..=self.life.dice.roll(3) {
            self.round();
        }
        for (_, message) in &self.life.sinks.heard[first..] {
            let name = message.key.name;
            let of_it = [AlertName::HubUnreachable, AlertName::Blind].contains(&name);
            if message.at > began && message.tidings == Tidings::Firing && !of_it {
                let token = &message.key.token;
                self.broken.push(format!("A2: {name} of {token:?} fires at {} in an outage", message.at));
            }
        }
        self.life.fate = Box::new(|_, _| Fate::Fine);
    }

    /// The faults are over; some rounds later everybody shows what is so.
    fn calm(&mut self) {
        let sinks = &mut self.life.sinks;
        sinks.down.clear();
        sinks.loses_receipts = 0;
        sinks.refuses_bundles = false;
        self.life.bad_writes = 0;
        for _ in 0..CALM {
            self.round();
        }
        let lost = self.life.sinks.lost();
        self.broken.extend(lost.into_iter().map(|lost| format!("A3: {lost}")));
        self.episodes();
        self.convergence();
    }

    /// An episode keeps its name for as long as it lasts, also over restarts.
    fn episodes(&mut self) {
        let sinks = &self.life.sinks;
        let (mut open, mut known) = (BTreeSet::new(), BTreeSet::new());
        for (_, message) in sinks.heard.iter().filter(|(_, message)| !sinks.heard_too_much(&message.key)) {
            let (key, new) = (&message.key, known.insert(&message.id));
            if message.tidings == Tidings::Resolved {
                open.remove(key);
            } else if !open.insert(key) && new {
                self.broken.push(format!("A6: an episode of {} begins while another lasts", key.name));
            }
        }
    }

    fn convergence(&mut self) {
        let (life, time) = (&self.life, self.life.time());
        let lasting = life.kept.findings.iter().filter(|finding| finding.resolved_at.is_none());
        let lasting: BTreeSet<AlertKey> =
            lasting.filter_map(|finding| AlertKey::of(&finding.key())).collect();
        for sink in BOTH {
            let shown = life.sinks.shown.keys().filter(|(of, _)| *of == sink).map(|(_, key)| key.clone());
            let shown: BTreeSet<AlertKey> = shown
                .filter(|key| life.sinks.shows(sink, key, time) && key.name != AlertName::Watchdog)
                .collect();
            for key in shown.symmetric_difference(&lasting).filter(|key| !life.sinks.heard_too_much(key)) {
                let (name, token, lasts) = (key.name, &key.token, lasting.contains(key));
                self.broken
                    .push(format!("A7: {name} of {token:?} lasts: {lasts}, and {sink} shows the opposite"));
            }
        }
        let mut known = life.sinks.shown.iter();
        let alive = known.any(|((sink, key), shown)| {
            *sink == FORGETS && key.name == AlertName::Watchdog && shown.ends > time
        });
        if !alive {
            self.broken.push("A9: no watchdog".to_owned());
        }
        if !life.kept.owed.is_empty() {
            self.broken.push(format!("A7: {} messages are still owed", life.kept.owed.len()));
        }
        self.broken.extend(life.held.broken.iter().map(|(invariant, what)| format!("{invariant}: {what}")));
    }
}

fn live(seed: u64) -> Lived {
    let life = inhabited(seed);
    let mut lived = Lived { life, broken: Vec::new(), outages: 0 };
    lived.life.start();
    for _ in 0..STRUCK {
        lived.strike();
        lived.round();
    }
    lived.calm();
    lived
}

/// What many lives came to.
#[derive(Default)]
struct Sum {
    lives: u64,
    deliveries: usize,
    events: usize,
    grants: usize,
    outages: u64,
    broken: Vec<(u64, Vec<String>)>,
}

impl Sum {
    fn take(&mut self, seed: u64) {
        let lived = live(seed);
        let (deliveries, events) = lived.life.sinks.deliveries();
        self.lives += 1;
        self.deliveries += deliveries;
        self.events += events;
        self.grants +=
            lived.life.sinks.heard.iter().filter(|(_, message)| message.key.name.is_grant()).count();
        self.outages += lived.outages;
        if !lived.broken.is_empty() {
            self.broken.push((seed, lived.broken));
        }
    }

    fn add(&mut self, other: Sum) {
        self.lives += other.lives;
        self.deliveries += other.deliveries;
        self.events += other.events;
        self.grants += other.grants;
        self.outages += other.outages;
        self.broken.extend(other.broken);
    }
}

#[test]
fn no_grant_is_lost_and_no_outage_cries_wolf() {
    let wanted = setting("SCOPEWATCH_ALERT_LIVES").unwrap_or(FEW);
    let first = setting("SCOPEWATCH_SEED").unwrap_or(0);
    let hands = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let sum = std::thread::scope(|scope| {
        let own = |hand| {
            let mut sum = Sum::default();
            (first..first + wanted).filter(|seed| seed % hands == hand).for_each(|seed| sum.take(seed));
            sum
        };
        let all: Vec<_> = (0..hands).map(|hand| scope.spawn(move || own(hand))).collect();
        all.into_iter().fold(Sum::default(), |mut sum, part| {
            sum.add(part.join().expect("a life is lived to its end"));
            sum
        })
    });
    let Sum { lives, deliveries, events, grants, outages, broken } = sum;
    println!(
        "{lives} lives: {deliveries} deliveries of {events} events, {grants} of grants; {outages} outages of the Hub"
    );
    for (seed, what) in broken.iter().take(10) {
        println!("seed {seed}: {what:?}");
    }
    tell_row("alerts/lives", wanted, lives, u64::try_from(broken.len()).expect("few"), (0, 0));
    assert!(broken.is_empty(), "{} of {lives} lives broke a promise", broken.len());
    assert!(events > 0 && deliveries * 10 <= events * 12, "{deliveries} deliveries of {events} events");
}

#[test]
fn each_weakening_of_the_alert_model_is_noticed() {
    let (_, weakenings) = Defect::MODELS;
    let mut caught = 0;
    for defect in weakenings {
        let found = (0..500).find(|seed| planted::with(Some(*defect), || !live(*seed).broken.is_empty()));
        println!("{defect}: noticed by seed {found:?}");
        caught += usize::from(found.is_some());
    }
    let planted = weakenings.len();
    tell_row("alerts/weakenings", planted as u64, planted as u64, 0, (planted, caught));
    assert_eq!(caught, planted);
}

#[test]
fn what_is_left_while_the_hub_is_out_is_told_to_nobody_before_it_answers() {
    let mut lived = Lived { life: inhabited(1), broken: Vec::new(), outages: 0 };
    lived.flip("open");
    let mut out = false;
    lived.life.fate = Box::new(move |request, _| {
        let fate = if out { Fate::LostTimeout } else { Fate::Fine };
        out |= request.verb == Verb::Post;
        fate
    });
    let left = |life: &Life| {
        let findings = life.shown.iter().flat_map(|shown| &shown.findings);
        findings.filter(|f| f.resolved_at.is_none()).any(|f| f.kind == FindingKind::CanaryLeft)
    };
    let told = |life: &Life| life.sinks.heard.iter().any(|(_, m)| m.key.name == AlertName::CanaryLeft);
    lived.life.start();
    for _ in 0..4 {
        lived.round();
    }
    assert!(left(&lived.life) && !told(&lived.life), "the page shows it, and nobody is bothered");
    lived.life.fate = Box::new(|_, _| Fate::Fine);
    for _ in 0..8 {
        lived.round();
    }
    assert!(!left(&lived.life), "it was deleted when the Hub answered");
}

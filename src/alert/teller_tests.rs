//! Goal: A1, A3–A7 and A11 over whole lives: no committed grant is lost to any sink, nothing ends without evidence, and
//! once the faults are over every sink shows what is so. Method: random lives with sinks that are down, forget, refuse
//! and lose their receipts, a daemon that dies, a store that fails and a clock that is set; each weakening of the model
//! is planted and must be noticed. `SCOPEWATCH_ALERT_LIVES=n` lives more; a seed tells its life again.

use std::collections::BTreeMap;

use super::*;
use crate::access::{Access, CheckKey, DenyReason, Expected, Permission, TokenName, UnknownReason};
use crate::alert::{CheckState, Patience};
use crate::report::FindingKind;

const PATIENCE: Patience = Patience { confirm_denials: 2, resolve_after: 2 };
const REMIND: Duration = Duration::from_secs(4 * 3600);
const HOOK: &str = "hook";
const AM: &str = "am";

/// A generator of the simplest kind: one seed, one life.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What the store holds, and what is on its way there.
#[derive(Default)]
struct Store {
    checks: BTreeMap<CheckKey, CheckState>,
    /// What the test had counted by then: what never became durable was never seen.
    good: BTreeMap<CheckKey, u32>,
    alerts: BTreeMap<AlertKey, Alert>,
    owed: BTreeMap<i64, Owed>,
    fails: bool,
}

/// What a sink that forgets shows of an alert.
struct Shown {
    firing: bool,
    ends: Timestamp,
}

#[derive(Default)]
struct Sinks {
    down: BTreeMap<&'static str, bool>,
    lost_receipts: bool,
    refuses_bundles: bool,
    /// The last event of each alert that the webhook heard.
    heard: BTreeMap<AlertKey, Tidings>,
    shown: BTreeMap<AlertKey, Shown>,
    labels: BTreeMap<String, String>,
    /// What each heard to begin, and what of that became durable: of the rest nobody knows who comes after.
    told: BTreeSet<(&'static str, AlertKey, Timestamp)>,
    durable: BTreeSet<(AlertKey, Timestamp)>,
    deliveries: u64,
    events: BTreeSet<(String, Tidings, i64)>,
}

struct Life {
    dice: Dice,
    wall: i64,
    mono: Duration,
    store: Store,
    sinks: Sinks,
    /// `None` while the daemon is dead.
    teller: Option<Teller>,
    checks: BTreeMap<CheckKey, CheckState>,
    pending: Vec<Change>,
    /// Committed grants that a sink has not shown yet.
    owed: BTreeSet<(&'static str, AlertKey)>,
    broken: Vec<String>,
    /// Good answers in a row since the last bad one, counted by the test itself.
    good: BTreeMap<CheckKey, u32>,
}

fn check(at: u64) -> (CheckKey, Expected) {
    let expected = if at < 2 { Expected::Denied } else { Expected::Allowed };
    let key = CheckKey::new(
        "acme",
        TokenName::new(["a", "b", "c"][usize::try_from(at).expect("few")]),
        Permission::RepoCreate,
        "model",
    );
    (key, expected)
}

fn finding(key: &CheckKey, expected: Expected) -> FindingKey {
    FindingKey {
        kind: match expected {
            Expected::Denied => FindingKind::UnexpectedGrant,
            Expected::Allowed => FindingKind::UnexpectedDenial,
        },
        organization: key.organization.clone(),
        token: Some(key.token.clone()),
        permission: Some(key.permission),
        target: Some(key.target.clone()),
    }
}

fn sinks() -> Vec<Sink> {
    vec![
        Sink { name: AM.into(), manner: Manner { bundles: true, forgets: true } },
        Sink { name: HOOK.into(), manner: Manner { bundles: false, forgets: false } },
    ]
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut life = Life {
            dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            wall: 1_795_000_000_000,
            mono: Duration::ZERO,
            store: Store::default(),
            sinks: Sinks::default(),
            teller: None,
            checks: BTreeMap::new(),
            pending: Vec::new(),
            owed: BTreeSet::new(),
            broken: Vec::new(),
            good: BTreeMap::new(),
        };
        life.start();
        life
    }

    fn moment(&self) -> Moment {
        Moment { wall: Timestamp(self.wall), mono: self.mono }
    }

    fn start(&mut self) {
        let alerts = self.store.alerts.values().cloned().collect();
        let owed = self.store.owed.values().cloned().collect();
        let now = Timestamp(self.wall);
        let mut teller = Teller::new(alerts, owed, now);
        self.checks.clone_from(&self.store.checks);
        self.good.clone_from(&self.store.good);
        for (at, _) in (0..3).zip(0..) {
            let (key, expected) = check(at);
            if self.checks.get(&key).is_some_and(|state| state.firing.is_some()) {
                teller.note(&finding(&key, expected));
            }
        }
        let said = teller.use_sinks(sinks(), now);
        self.teller = Some(teller);
        self.pending = said.changes;
        self.work();
    }

    fn crash(&mut self) {
        self.teller = None;
        self.pending.clear();
    }

    /// The daemon tells, stores and sends what it can.
    fn work(&mut self) {
        for _ in 0..50 {
            let now = self.moment();
            let Some(teller) = &mut self.teller else { return };
            for key in teller.due(now.wall) {
                let firing = self.checks.iter().find(|(check, _)| Some(&check.token) == key.token.as_ref());
                let firing =
                    firing.and_then(|(_, state)| state.firing_since).map(|since| (since, said_of(since)));
                let fires = firing.is_some();
                let said = teller.look(&key, firing, REMIND, now.wall);
                let over = |change: &Change| matches!(change, Change::Owed(owed) if owed.message.tidings == Tidings::Resolved);
                if fires && said.changes.iter().any(over) {
                    self.broken.push("A4: resolved while it fires".to_owned());
                }
                self.pending.extend(said.changes);
            }
            self.commit();
            let Some(teller) = &mut self.teller else { return };
            let requests = teller.send(self.store.fails, now);
            if requests.is_empty() {
                return;
            }
            for (sink, messages) in requests {
                let delivery = self.deliver(&sink, &messages);
                let Some(teller) = &mut self.teller else { return };
                let said = teller.answered(&sink, delivery, now.mono);
                self.pending.extend(said.changes);
            }
        }
    }

    fn commit(&mut self) {
        if self.store.fails {
            return;
        }
        for (key, state) in &self.checks {
            let before = self.store.checks.insert(key.clone(), state.clone());
            let fires = state.firing == Some(crate::access::Verdict::UnexpectedGrant);
            if fires && before.is_none_or(|before| before.firing_since != state.firing_since) {
                let alert = AlertKey::of(&finding(key, Expected::Denied)).expect("an alert");
                for sink in [HOOK, AM] {
                    let since = state.firing_since.expect("since when");
                    if !self.sinks.told.contains(&(sink, alert.clone(), since)) {
                        self.owed.insert((sink, alert.clone()));
                    }
                }
            }
        }
        self.store.good.clone_from(&self.good);
        for change in std::mem::take(&mut self.pending) {
            if let Some(teller) = &mut self.teller {
                teller.stored(&change);
            }
            match change {
                Change::Told(alert) => {
                    self.sinks.durable.insert((alert.key.clone(), alert.since));
                    self.store.alerts.insert(alert.key.clone(), alert);
                }
                Change::Forgotten(key) => drop(self.store.alerts.remove(&key)),
                Change::Owed(owed) => drop(self.store.owed.insert(owed.number, owed)),
                Change::Paid(numbers) => self.store.owed.retain(|number, _| !numbers.contains(number)),
            }
        }
    }

    fn deliver(&mut self, sink: &str, messages: &[Message]) -> Delivery {
        let now = Timestamp(self.wall);
        let name = if sink == AM { AM } else { HOOK };
        if self.sinks.down.get(name).copied().unwrap_or_default() {
            return Delivery::Later(None);
        }
        let bad = self.sinks.refuses_bundles && messages.len() > 1;
        for message in messages {
            if message.key.name == AlertName::Watchdog {
                continue;
            }
            self.take(name, message, now);
        }
        if bad {
            return Delivery::Refused;
        }
        if self.sinks.lost_receipts && self.dice.roll(4) == 0 {
            return Delivery::Later(None);
        }
        Delivery::Taken
    }

    fn take(&mut self, sink: &'static str, message: &Message, now: Timestamp) {
        let labels = format!("{:?}", message.labels());
        let known = self.sinks.labels.entry(message.id.clone()).or_insert_with(|| labels.clone());
        if *known != labels {
            self.broken.push(format!("A6: other labels for {}", message.id));
        }
        if message.tidings != Tidings::Resolved {
            self.owed.remove(&(sink, message.key.clone()));
            self.sinks.told.insert((sink, message.key.clone(), message.since));
        }
        if sink == AM {
            let ends = message.ends_at(now);
            let firing = message.tidings != Tidings::Resolved;
            self.sinks.shown.insert(message.key.clone(), Shown { firing, ends });
            return;
        }
        let lasts = self.sinks.heard.get(&message.key).is_some_and(|last| *last != Tidings::Resolved);
        let again = self.sinks.events.iter().any(|(id, ..)| *id == message.id);
        if lasts && !again && self.is_durable(&message.key) {
            self.broken.push("A6: an episode begins while another lasts".to_owned());
        }
        self.sinks.deliveries += 1;
        self.sinks.events.insert((message.id.clone(), message.tidings, message.at.0));
        self.sinks.heard.insert(message.key.clone(), message.tidings);
    }

    /// Whether all that was told of this alert became durable.
    fn is_durable(&self, key: &AlertKey) -> bool {
        let told = self.sinks.told.iter().filter(|(_, of, _)| of == key);
        let durable = |since: &Timestamp| self.sinks.durable.contains(&(key.clone(), *since));
        told.map(|(_, _, since)| since).all(durable)
    }

    fn observe(&mut self, at: u64, answer: u64) {
        if self.teller.is_none() {
            return;
        }
        let (key, expected) = check(at);
        let found = match answer {
            0..4 => Access::Allowed,
            4..8 => Access::Denied(DenyReason::Scope),
            _ => Access::Undetermined(UnknownReason::Timeout),
        };
        let good = self.good.entry(key.clone()).or_default();
        match found.conclusive() {
            Some(allowed) if allowed == (expected == Expected::Allowed) => *good += 1,
            Some(_) => *good = 0,
            None => {}
        }
        let good = *good;
        let before = self.checks.get(&key);
        let state = CheckState::after(before, &key, expected, found, PATIENCE, Timestamp(self.wall));
        let ended = before.is_some_and(|before| before.firing.is_some()) && state.firing.is_none();
        if ended && good < PATIENCE.resolve_after {
            self.broken.push(format!("A4: over after {good} good answers"));
        }
        if before.map(|before| before.firing_since) != Some(state.firing_since)
            && let Some(teller) = &mut self.teller
        {
            teller.note(&finding(&key, expected));
        }
        self.checks.insert(key, state);
        self.work();
    }

    fn pass(&mut self, seconds: u64) {
        let mut left = Duration::from_secs(seconds);
        while left > Duration::ZERO {
            let wake = self.teller.as_ref().and_then(|teller| teller.wakes(self.moment()));
            let step =
                wake.map_or(left, |at| at.saturating_sub(self.mono).clamp(Duration::from_secs(1), left));
            self.mono += step;
            self.wall += i64::try_from(step.as_millis()).expect("short");
            left -= step;
            self.expire();
            self.work();
        }
    }

    /// What a sink that forgets no longer holds for true. It must not be what we still say.
    fn expire(&mut self) {
        for (key, shown) in &mut self.sinks.shown {
            if shown.firing && self.wall > shown.ends.0 {
                shown.firing = false;
                self.broken.push(format!("endsAt of {} passed while it fires", key.name));
            }
        }
    }

    fn event(&mut self) {
        match self.dice.roll(24) {
            0..8 => {
                let (at, answer) = (self.dice.roll(3), self.dice.roll(10));
                self.observe(at, answer);
            }
            8..13 => {
                let seconds = [30, 300, 900, 1900, 7200][usize::try_from(self.dice.roll(5)).expect("few")];
                self.pass(seconds);
            }
            13 | 14 => self.crash(),
            15 | 16 if self.teller.is_none() => self.start(),
            17 => flip(self.sinks.down.entry(AM).or_default()),
            18 => flip(self.sinks.down.entry(HOOK).or_default()),
            19 => flip(&mut self.sinks.lost_receipts),
            20 => flip(&mut self.sinks.refuses_bundles),
            21 => self.sinks.shown.clear(),
            22 => {
                flip(&mut self.store.fails);
                self.work();
            }
            23 => {
                let by = 3_600_000 * (i64::try_from(self.dice.roll(5)).expect("few") - 2);
                self.wall += by;
                for shown in self.sinks.shown.values_mut() {
                    shown.ends = Timestamp(shown.ends.0 + by);
                }
                if let Some(teller) = &mut self.teller {
                    teller.clock_stepped(by);
                }
            }
            _ => {}
        }
    }

    /// The faults are over; some hours later everybody shows what is so.
    fn calm(&mut self) {
        self.sinks.down.clear();
        self.sinks.lost_receipts = false;
        self.sinks.refuses_bundles = false;
        self.store.fails = false;
        if self.teller.is_none() {
            self.start();
        }
        self.work();
        self.pass(2 * 3600);
        for (sink, key) in std::mem::take(&mut self.owed) {
            self.broken.push(format!("A3: {sink} never heard of {}", key.token.expect("of a token")));
        }
        for at in 0..3 {
            let (check, expected) = check(at);
            let key = AlertKey::of(&finding(&check, expected)).expect("an alert");
            let fires = self.checks.get(&check).is_some_and(|state| state.firing.is_some());
            let heard = self.sinks.heard.get(&key).is_some_and(|last| *last != Tidings::Resolved);
            let shown = self.sinks.shown.get(&key).is_some_and(|shown| shown.firing);
            if (heard != fires || shown != fires) && self.is_durable(&key) {
                self.broken
                    .push(format!("A7: {} fires: {fires}, heard: {heard}, shown: {shown}", check.token));
            }
        }
        if self.teller.as_ref().is_some_and(|teller| teller.pending(HOOK).0 + teller.pending(AM).0 > 0) {
            self.broken.push("A7: something is still owed".to_owned());
        }
    }
}

fn flip(flag: &mut bool) {
    *flag = !*flag;
}

fn said_of(since: Timestamp) -> Words {
    Words {
        severity: Severity::Critical,
        token_owner: "ml".into(),
        summary: since.to_string(),
        description: String::new(),
        evidence: String::new(),
    }
}

/// Lives one life and says what broke.
fn live(seed: u64) -> Life {
    let mut life = Life::new(seed);
    for _ in 0..60 {
        life.event();
    }
    life.calm();
    life
}

fn lives() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "how many lives, for people")]
    let wanted = std::env::var("SCOPEWATCH_ALERT_LIVES").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or(300)
}

#[test]
fn no_grant_is_lost_nothing_ends_without_evidence_and_all_converge() {
    let (mut deliveries, mut events) = (0, 0);
    for seed in 0..lives() {
        let life = live(seed);
        assert!(life.broken.is_empty(), "life {seed}: {:?}", life.broken);
        deliveries += life.sinks.deliveries;
        events += u64::try_from(life.sinks.events.len()).expect("few");
    }
    println!("{deliveries} deliveries of {events} events");
    assert!(events > 1000 && deliveries * 10 <= events * 12, "{deliveries} deliveries of {events} events");
}

#[test]
fn each_weakening_of_the_model_is_noticed() {
    let (_, weakenings) = Defect::MODELS;
    for defect in weakenings {
        let found = (0..2000).find(|seed| planted::with(Some(*defect), || !live(*seed).broken.is_empty()));
        assert!(found.is_some(), "{defect} was not noticed");
    }
}

#[test]
fn a_sink_that_comes_hears_what_fires_and_one_that_goes_is_owed_nothing() {
    let now = Timestamp(1_795_000_000_000);
    let sink =
        |name: &str| vec![Sink { name: name.into(), manner: Manner { bundles: false, forgets: false } }];
    let owed = |said: &Said| -> Vec<(String, String, Tidings)> {
        let owed = said.changes.iter().filter_map(|change| match change {
            Change::Owed(owed) => Some(owed),
            _ => None,
        });
        owed.map(|owed| (owed.sink.clone(), owed.message.id.clone(), owed.message.tidings)).collect()
    };
    let (check, expected) = check(0);
    let key = AlertKey::of(&finding(&check, expected)).expect("an alert");
    let mut teller = Teller::new(Vec::new(), Vec::new(), now);
    assert_eq!(teller.use_sinks(sink("one"), now), Said::default());
    let first = owed(&teller.look(&key, Some((now, said_of(now))), REMIND, now));
    let [(name, id, Tidings::Firing)] = first.as_slice() else { panic!("{first:?}") };
    assert_eq!(name, "one");

    let later = now + Duration::from_secs(60);
    let said = teller.use_sinks(sink("two"), later);
    assert_eq!(owed(&said), [("two".to_owned(), id.clone(), Tidings::Firing)], "the same episode");
    assert_eq!((said.dropped.len(), said.dropped[0].0.as_str()), (1, "one"));
    assert!(said.changes.contains(&Change::Paid(vec![1])), "forgotten in the store, too: {:?}", said.changes);
    assert_eq!((teller.pending("one").0, teller.pending("two").0), (0, 1));
}

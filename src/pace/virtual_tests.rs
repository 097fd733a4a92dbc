//! Goal: beside others who use the same window, of unknown phase, we get at least 95 % of what we may use, are never
//! refused, and nobody is refused because of us.
//! Method: a window in virtual time, deterministic by seed: others arrive as a Poisson process, in waves or in bursts,
//! our requests take 100 to 300 ms and their answers overtake one another. What we *may use* of a window is the
//! smaller of our share of the quota and what others left of it; a refusal of others is ours if there would have been
//! room without us. Whole windows are counted for use, all of them for refusals. Policies that are known to be wrong,
//! and ours with one rule taken out at a time, must fail.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::{Manner, Pace, Told, Wait};

const WINDOW: f64 = 300.0;

/// Reproducible dice: xorshift, seeded.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Evenly from 0 to 1.
    fn part(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Seconds to the next event of a Poisson process of this rate.
    fn gap(&mut self, rate: f64) -> f64 {
        -(1.0 - self.part()).ln() / rate
    }
}

/// How others come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// As a Poisson process.
    Even,
    /// Half a minute at twice the rate, half a minute not at all.
    Waves,
    /// So many at once.
    Bursts(u32),
}

/// One life: what the user's window is like, and what others do.
#[derive(Clone, Copy, Debug)]
struct World {
    quota: u32,
    share: f64,
    /// What others use, as a part of the quota.
    others: f64,
    shape: Shape,
    /// Whole windows.
    windows: u32,
    /// Requests in the air at most.
    room: u32,
    seed: u64,
}

/// What decides when to send.
trait Policy {
    /// Whether to send now; else when to ask again, if not at the next answer.
    fn may(&mut self, now: Duration) -> Result<(), Option<Duration>>;
    fn sent(&mut self, now: Duration);
    fn heard(&mut self, told: Told, now: Duration);
}

impl Policy for Pace {
    fn may(&mut self, now: Duration) -> Result<(), Option<Duration>> {
        Pace::may(self, "u", Manner::Spread, now).map_err(|wait| match wait {
            Wait::Answer => None,
            Wait::Until(at) => {
                assert!(at > now, "a wait of nothing, at {now:?}");
                Some(at)
            }
        })
    }

    fn sent(&mut self, now: Duration) {
        Pace::sent(self, "u", now);
    }

    fn heard(&mut self, told: Told, now: Duration) {
        Pace::heard(self, "u", told, now);
    }
}

/// As fast as possible; after a refusal it waits for the next window.
#[derive(Default)]
struct Fast {
    until: Duration,
}

impl Policy for Fast {
    fn may(&mut self, now: Duration) -> Result<(), Option<Duration>> {
        if now < self.until { Err(Some(self.until)) } else { Ok(()) }
    }

    fn sent(&mut self, _: Duration) {}

    fn heard(&mut self, told: Told, now: Duration) {
        if told.refused.is_some() {
            self.until = now + told.reset.unwrap_or_default();
        }
    }
}

/// Four fifths of the quota at an even rate, whatever the Hub says.
struct Flat {
    every: Duration,
    next: Duration,
}

impl Policy for Flat {
    fn may(&mut self, now: Duration) -> Result<(), Option<Duration>> {
        if now < self.next { Err(Some(self.next)) } else { Ok(()) }
    }

    fn sent(&mut self, now: Duration) {
        self.next = now + self.every;
    }

    fn heard(&mut self, _: Told, _: Duration) {}
}

/// Ours without one of its rules.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Without {
    /// What others use is not looked at.
    Others,
    /// A request counts when it is answered.
    Sent,
    /// Windows are taken to begin with us.
    Phase,
    /// All that is left is ours.
    Share,
}

struct Weak {
    pace: Pace,
    without: Without,
}

impl Policy for Weak {
    fn may(&mut self, now: Duration) -> Result<(), Option<Duration>> {
        Policy::may(&mut self.pace, now)
    }

    fn sent(&mut self, now: Duration) {
        if self.without != Without::Sent {
            Policy::sent(&mut self.pace, now);
        }
    }

    fn heard(&mut self, mut told: Told, now: Duration) {
        match self.without {
            Without::Others => told.remaining = told.quota,
            Without::Phase => {
                let into = now.as_secs_f64() % WINDOW;
                told.reset = Some(Duration::from_secs_f64(WINDOW - into));
            }
            Without::Sent | Without::Share => {}
        }
        Policy::heard(&mut self.pace, told, now);
    }
}

/// What a life came to.
#[derive(Clone, Copy, Debug, Default)]
struct Came {
    /// Requests of ours in whole windows, and what might have been used of them.
    used: f64,
    might: f64,
    /// The largest part of a quota that was ours in one window.
    most: f64,
    refused: u64,
    caused: u64,
    /// The most of ours within one second, as a part of the quota.
    densest: f64,
}

impl Came {
    fn and(self, other: Came) -> Came {
        Came {
            used: self.used + other.used,
            might: self.might + other.might,
            most: self.most.max(other.most),
            refused: self.refused + other.refused,
            caused: self.caused + other.caused,
            densest: self.densest.max(other.densest),
        }
    }

    fn part(&self) -> f64 {
        self.used / self.might.max(1.0)
    }

    fn good(&self, share: f64) -> bool {
        self.part() >= 0.95 && self.refused == 0 && self.caused == 0 && self.most <= share + 1e-9
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Happens {
    Others,
    Arrives { sent: u64 },
    Heard { left: u32, ends: f64, refused: bool, sent: u64 },
    Looks,
}

/// The user's window at the Hub, and everything on the way to it and back.
struct Life {
    world: World,
    dice: Dice,
    phase: f64,
    queue: BinaryHeap<(Reverse<u64>, Reverse<u64>, usize)>,
    happens: Vec<Happens>,
    free: Vec<usize>,
    sequence: u64,
    window: u64,
    ours: u32,
    others: u32,
    in_air: u32,
    look_at: Option<u64>,
    recent: std::collections::VecDeque<u64>,
    came: Came,
}

fn micros(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

impl Life {
    fn new(world: World) -> Life {
        let mut dice = Dice::new(world.seed);
        let phase = dice.part() * WINDOW;
        Life {
            world,
            dice,
            phase,
            queue: BinaryHeap::new(),
            happens: Vec::new(),
            free: Vec::new(),
            sequence: 0,
            window: 0,
            ours: 0,
            others: 0,
            in_air: 0,
            look_at: None,
            recent: std::collections::VecDeque::new(),
            came: Came::default(),
        }
    }

    fn at(&mut self, micros: u64, what: Happens) {
        self.sequence += 1;
        let place = self.free.pop().unwrap_or(self.happens.len());
        if place == self.happens.len() {
            self.happens.push(what);
        } else {
            self.happens[place] = what;
        }
        self.queue.push((Reverse(micros), Reverse(self.sequence), place));
    }

    fn run(mut self, policy: &mut dyn Policy) -> Came {
        let end = micros(WINDOW * f64::from(self.world.windows + 1));
        if self.world.others > 0.0 {
            self.next_other(0);
        }
        // Others were there before us: we begin in the middle of their window.
        let begin = micros(WINDOW - self.phase) % micros(WINDOW);
        self.at(begin, Happens::Looks);
        self.look_at = Some(begin);
        while let Some((Reverse(now), _, place)) = self.queue.pop() {
            if now > end {
                break;
            }
            self.free.push(place);
            self.turn(now);
            self.happen(self.happens[place], now, policy);
            if now >= begin {
                self.send(now, begin, policy);
            }
        }
        self.turn(end + micros(WINDOW));
        self.came
    }

    /// The time of the daemon, which began with it.
    fn own(now: u64, begin: u64) -> Duration {
        Duration::from_micros(now - begin)
    }

    fn turn(&mut self, now: u64) {
        let window = now / micros(WINDOW);
        if window == self.window {
            return;
        }
        let quota = f64::from(self.world.quota);
        let whole = self.window >= 1 && self.window <= u64::from(self.world.windows);
        if whole {
            let might = (quota * self.world.share).floor().min(quota - f64::from(self.others)).max(0.0);
            self.came.used += f64::from(self.ours).min(might);
            self.came.might += might;
        }
        self.came.most = self.came.most.max(f64::from(self.ours) / quota);
        (self.window, self.ours, self.others) = (window, 0, 0);
    }

    fn next_other(&mut self, now: u64) {
        let rate = self.world.others * f64::from(self.world.quota) / WINDOW;
        let after = match self.world.shape {
            Shape::Even => self.dice.gap(rate),
            Shape::Bursts(size) => self.dice.gap(rate / f64::from(size)),
            Shape::Waves => {
                // In the time in which they come at all, put together.
                let seconds = now as f64 / 1e6;
                let (whole, into) = ((seconds / 60.0).floor(), (seconds % 60.0).min(30.0));
                let come = whole * 30.0 + into + self.dice.gap(2.0 * rate);
                (come / 30.0).floor() * 60.0 + come % 30.0 - seconds
            }
        };
        self.at(now + micros(after).max(1), Happens::Others);
    }

    fn happen(&mut self, what: Happens, now: u64, policy: &mut dyn Policy) {
        let quota = self.world.quota;
        match what {
            Happens::Others => {
                let size = if let Shape::Bursts(size) = self.world.shape { size } else { 1 };
                for _ in 0..size {
                    self.others += 1;
                    self.came.caused += u64::from(self.others <= quota && self.ours + self.others > quota);
                }
                self.next_other(now);
            }
            Happens::Arrives { sent } => {
                let refused = self.ours + self.others >= quota;
                self.ours += u32::from(!refused);
                self.came.refused += u64::from(refused);
                let left = quota.saturating_sub(self.ours + self.others);
                let ends = ((self.window + 1) * micros(WINDOW) - now) as f64 / 1e6;
                let back = micros(0.05 + 0.1 * self.dice.part());
                self.at(now + back, Happens::Heard { left, ends: ends.ceil(), refused, sent });
            }
            Happens::Heard { left, ends, refused, sent } => {
                self.in_air -= 1;
                let reset = Duration::from_secs_f64(ends);
                let told = Told {
                    remaining: Some(left),
                    reset: Some(reset),
                    quota: Some(quota),
                    length: Some(Duration::from_secs_f64(WINDOW)),
                    took: Duration::from_micros(now - sent),
                    refused: refused.then_some(Some(reset)),
                };
                let begin = micros(WINDOW - self.phase) % micros(WINDOW);
                policy.heard(told, Life::own(now, begin));
            }
            Happens::Looks => {
                if self.look_at == Some(now) {
                    self.look_at = None;
                }
            }
        }
    }

    fn send(&mut self, now: u64, begin: u64, policy: &mut dyn Policy) {
        while self.in_air < self.world.room {
            match policy.may(Life::own(now, begin)) {
                Ok(()) => {
                    policy.sent(Life::own(now, begin));
                    self.in_air += 1;
                    self.recent.push_back(now);
                    while self.recent.front().is_some_and(|at| at + 1_000_000 <= now) {
                        self.recent.pop_front();
                    }
                    let dense = self.recent.len() as f64 / f64::from(self.world.quota);
                    self.came.densest = self.came.densest.max(dense);
                    let there = micros(0.05 + 0.1 * self.dice.part());
                    self.at(now + there, Happens::Arrives { sent: now });
                }
                Err(Some(at)) => {
                    // To the next microsecond, or it would ask for ever.
                    let at = begin + u64::try_from(at.as_nanos().div_ceil(1000)).expect("a short life");
                    if self.look_at.is_none_or(|look| look > at) {
                        self.look_at = Some(at);
                        self.at(at, Happens::Looks);
                    }
                    return;
                }
                Err(None) => return,
            }
        }
    }
}

/// The worlds that the goal speaks of.
fn worlds(share: f64, seeds: u64) -> Vec<World> {
    let mut all = Vec::new();
    for (quota, windows) in [(1000, 12), (6000, 4), (100_000, 1)] {
        // Of the largest one says as much as many, and costs as much.
        let seeds = if quota > 10_000 { 1 } else { seeds };
        for others in [0.0, 0.3, 0.6] {
            for shape in [Shape::Even, Shape::Waves, Shape::Bursts(quota * 3 / 1000)] {
                for seed in 0..seeds {
                    if others > 0.0 || shape == Shape::Even {
                        let room = (quota / 400).clamp(16, 256);
                        all.push(World { quota, share, others, shape, windows, room, seed: seed + 1 });
                    }
                }
            }
        }
    }
    all
}

fn ours(world: World) -> Came {
    Life::new(world).run(&mut Pace::new(world.share))
}

fn fast(world: World) -> Came {
    Life::new(world).run(&mut Fast::default())
}

fn flat(world: World) -> Came {
    let every = Duration::from_secs_f64(WINDOW / (0.8 * f64::from(world.quota)));
    Life::new(world).run(&mut Flat { every, next: Duration::ZERO })
}

fn weak(world: World, without: Without) -> Came {
    let share = if without == Without::Share { 1.0 } else { world.share };
    let pace = Pace::new(share);
    Life::new(world).run(&mut Weak { pace, without })
}

/// One line for each kind of traffic: all seeds of it together.
fn table(name: &str, worlds: Vec<World>, run: impl Fn(World) -> Came) -> Vec<(String, Came)> {
    let mut rows: Vec<(String, Came)> = Vec::new();
    for world in worlds {
        let World { quota, share, others, shape, .. } = world;
        let key =
            format!("{name:<6} {share:>5} {quota:>7} {:>4.0} % {:<12}", 100.0 * others, format!("{shape:?}"));
        let came = run(world);
        match rows.iter_mut().find(|(row, _)| *row == key) {
            Some((_, sum)) => *sum = sum.and(came),
            None => rows.push((key, came)),
        }
    }
    rows
}

fn tell(rows: &[(String, Came)]) {
    for (row, came) in rows {
        let (part, most) = (100.0 * came.part(), 100.0 * came.most);
        let dense = 100.0 * came.densest;
        println!(
            "{row}  {part:>6.1} %  {most:>5.1} %  {:>6}  {:>6}  {dense:>6.2} %",
            came.refused, came.caused
        );
    }
}

const HEAD: &str =
    "policy share   quota  others         of what it may  most  own 429  caused  densest second";

#[test]
fn the_whole_of_what_others_leave_and_no_refusal() {
    println!("{HEAD}");
    let mut bad = Vec::new();
    for (share, seeds, largest) in [(1.0, 3, 100_000), (0.5, 1, 6000), (0.1, 1, 1000)] {
        let worlds = worlds(share, seeds).into_iter().filter(|world| world.quota <= largest);
        let rows = table("ours", worlds.collect(), ours);
        tell(&rows);
        bad.extend(rows.into_iter().filter(|(_, came)| !came.good(share)));
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn what_is_known_to_be_wrong_is_caught() {
    println!("{HEAD}");
    let small = || worlds(1.0, 1).into_iter().filter(|world| world.quota <= 6000).collect();
    for rows in [table("fast", small(), fast), table("flat80", small(), flat)] {
        tell(&rows);
        let loaded = rows.iter().filter(|(row, _)| row.contains("60 %"));
        for (row, came) in loaded {
            assert!(came.refused > 0 && came.caused > 0, "{row}: {came:?}");
        }
    }
}

#[test]
fn each_rule_is_missed() {
    for (without, share) in
        [(Without::Others, 1.0), (Without::Sent, 0.1), (Without::Phase, 1.0), (Without::Share, 0.1)]
    {
        let caught = worlds(share, 1).into_iter().filter(|world| world.quota <= 1000);
        let caught: Vec<Came> =
            caught.map(|world| weak(world, without)).filter(|came| !came.good(share)).collect();
        println!("without {without:?}: caught in {} worlds, first {:?}", caught.len(), caught.first());
        assert!(!caught.is_empty(), "{without:?}");
    }
}

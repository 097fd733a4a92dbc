//! Lives from seeds: short and dense, each with a canary and two faults at least and 200 events at most, in virtual
//! time, held against every promise. A failing life names its seed; that seed tells it again.
//!
//! `SCOPEWATCH_LIVES=n` says how many are lived, `SCOPEWATCH_SEED=n` from which seed on; one life alone is told in full.

mod plan;
mod script;
mod strikes;
mod worlds;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::intent::CanaryState;
use crate::planted::{self, Defect};

use super::coverage::{Coverage, Happening, Mark};
use super::invariants::Invariant;
use script::{Lived, live, live_without};

/// What many lives came to.
#[derive(Default)]
struct Tally {
    lives: u64,
    seeds: u64,
    cut: u64,
    events: u64,
    faults: u64,
    canaries: u64,
    held: Vec<u64>,
    coverage: Coverage,
    broken: Vec<(u64, String)>,
    /// Pairs that there cannot be, and were visited.
    surprises: Vec<(u64, String)>,
}

/// Lives the life of a seed; an assertion of the engine that fails is a broken promise, too.
fn lived(seed: u64, told: bool) -> Result<Lived, String> {
    catch_unwind(AssertUnwindSafe(|| live(seed, told))).map_err(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        said.or(panic.downcast_ref::<&str>().map(|said| (*said).to_owned())).unwrap_or_default()
    })
}

impl Tally {
    fn take(&mut self, seed: u64, lived: Result<Lived, String>) {
        self.seeds += 1;
        let lived = match lived {
            Ok(lived) => lived,
            Err(said) => return self.broken.push((seed, format!("asserted: {said}"))),
        };
        if let Some((invariant, what)) = &lived.held.broken {
            self.broken.push((seed, format!("{invariant}: {what}")));
        }
        if lived.faults < 2 || lived.canaries == 0 {
            return;
        }
        self.lives += 1;
        self.cut += u64::from(lived.cut);
        self.events += lived.events;
        self.faults += lived.faults;
        self.canaries += u64::try_from(lived.canaries).expect("few");
        self.coverage.add(&lived.coverage);
        for (mark, state, _) in lived.coverage.surprises() {
            self.surprises.push((seed, format!("a pair that cannot be: {mark:?} while {state}")));
        }
        self.held.resize(Invariant::ALL.len(), 0);
        for (sum, count) in self.held.iter_mut().zip(&lived.held.counts) {
            *sum += count;
        }
    }

    fn add(&mut self, other: Tally) {
        self.lives += other.lives;
        self.seeds += other.seeds;
        self.cut += other.cut;
        self.events += other.events;
        self.faults += other.faults;
        self.canaries += other.canaries;
        self.held.resize(Invariant::ALL.len(), 0);
        self.held.iter_mut().zip(&other.held).for_each(|(sum, count)| *sum += count);
        self.coverage.add(&other.coverage);
        self.broken.extend(other.broken);
        self.surprises.extend(other.surprises);
    }

    fn tell(&self) {
        let Tally { lives, seeds, cut, .. } = self;
        println!("{lives} lives of {seeds} seeds; {cut} were cut before they came to rest");
        let mean = |sum: u64| sum / lives.max(&1);
        println!(
            "events {}, faults {}, canaries {} a life",
            mean(self.events),
            mean(self.faults),
            mean(self.canaries * 10)
        );
        for (invariant, count) in Invariant::ALL.iter().zip(&self.held) {
            println!("  {invariant:<32} {count:>12}");
        }
        println!("{}", self.coverage.table());
        for (seed, what) in self.surprises.iter().chain(&self.broken).take(20) {
            println!("seed {seed}: {what}");
        }
    }
}

pub fn setting(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test is told by its environment how much it is to do")]
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// One row of the table of all suites, printed and kept where it is asked for.
pub fn tell_row(name: &str, planned: u64, run: u64, violations: u64, (planted, caught): (usize, usize)) {
    let row = format!("{name}\t{planned}\t{run}\t{violations}\t{planted}\t{caught}");
    println!("{row}");
    #[expect(clippy::disallowed_methods, reason = "a test is told by its environment where its figures go")]
    let path = std::env::var("SCOPEWATCH_TALLY").ok().filter(|path| !path.is_empty());
    if let Some(path) = path {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        writeln!(file.expect("the tally can be written"), "{row}").expect("the tally can be written");
    }
}

/// Lives so many lives of the seeds from this one on, with this defect or none; ends early at so many broken ones.
fn lives(wanted: u64, first: u64, planted: Option<Defect>, enough: usize) -> Tally {
    let hands = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let (next, tally) = (AtomicU64::new(first), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..hands {
            scope.spawn(|| {
                planted::with(planted, || {
                    loop {
                        let from = next.fetch_add(SHARE, Ordering::Relaxed);
                        let mut own = Tally::default();
                        (from..from + SHARE).for_each(|seed| own.take(seed, lived(seed, false)));
                        let mut tally = tally.lock().expect("nobody panics with it");
                        tally.add(own);
                        if tally.lives >= wanted || tally.broken.len() >= enough {
                            return;
                        }
                    }
                });
            });
        }
    });
    let mut tally = tally.into_inner().expect("nobody panics with it");
    tally.broken.sort_unstable();
    tally
}

/// Seeds that one thread takes at a time.
const SHARE: u64 = 25;
/// Lives of an ordinary `cargo test`, and those of which every pair must be visited so often.
const FEW: u64 = 300;
const MANY: u64 = 100_000;
const VISITS: u64 = 1000;
/// Lives in which one pair is withheld.
const SOME: u64 = 100;
/// Within so many lives each weakening is noticed.
const PATIENCE: u64 = 20_000;

#[test]
fn lives_keep_every_promise() {
    let first = setting("SCOPEWATCH_SEED").unwrap_or(0);
    let wanted = setting("SCOPEWATCH_LIVES").unwrap_or(FEW);
    if wanted == 1 {
        let lived = live(first, true);
        println!("{}", lived.trace.join("\n"));
        println!("{} events, {} faults, cut: {}", lived.events, lived.faults, lived.cut);
        assert!(lived.held.broken.is_none(), "{:?}", lived.held.broken);
        return;
    }
    let tally = lives(wanted, first, None, 50);
    tally.tell();
    let broken = tally.broken.len() as u64;
    tell_row("lives", wanted, tally.lives, broken, (0, 0));
    let (_, _, least) = tally.coverage.rarest();
    let surprises = tally.surprises.len() as u64;
    // Of fewer lives nothing is expected of every pair, it is only told.
    let planned = if wanted < MANY { 0 } else { VISITS };
    tell_row("lives/coverage: visits of the rarest pair", planned, least, surprises, (0, 0));
    assert_eq!(broken, 0, "lives broke a promise");
    assert_eq!(surprises, 0, "pairs that cannot be");
    assert!(least >= planned, "the rarest pair was visited {least} times of {planned}");
}

#[test]
fn a_pair_that_is_never_struck_is_noticed() {
    let pair = (Mark::Happening(Happening::Squatted), CanaryState::Created);
    // All others were visited often enough.
    let mut others = Coverage::default();
    for (mark, state, _) in others.pairs().into_iter().filter(|(mark, state, _)| (*mark, *state) != pair) {
        (0..VISITS).for_each(|_| others.mark(mark, state));
    }
    let visits = |withheld| {
        let mut all = others.clone();
        (0..SOME).for_each(|seed| all.add(&live_without(seed, false, withheld).coverage));
        let (mark, state, visits) = all.rarest();
        assert_eq!((mark, state), pair);
        visits
    };
    let caught = usize::from(visits(Some((Happening::Squatted, CanaryState::Created))) == 0);
    tell_row("lives/coverage: a pair withheld", SOME, SOME, 0, (1, caught));
    assert_eq!(caught, 1);
    assert!(visits(None) > 0, "it is struck where it is not withheld");
}

#[test]
fn each_weakening_of_the_model_is_noticed() {
    let mut caught = 0;
    let (weakenings, _) = Defect::MODELS;
    for defect in weakenings {
        let tally = lives(PATIENCE, 0, Some(*defect), 1);
        let first = tally.broken.first();
        caught += usize::from(first.is_some());
        match first {
            Some((seed, what)) => {
                let what: String = what.chars().take(160).collect();
                println!("{defect}: after {} lives, by seed {seed}: {what}", tally.seeds);
            }
            None => println!("{defect}: not noticed in {} lives", tally.lives),
        }
    }
    let planted = weakenings.len();
    tell_row("lives/weakenings", planted as u64, planted as u64, 0, (planted, caught));
    assert_eq!(caught, planted);
}

//! Goal: whatever comes in, no rule of any entry is broken, on the toolchain that everybody has.
//! Method: the corpus of the fuzz targets, bent with a fixed seed; SCOPEWATCH_EXECUTIONS inputs for each entry.
//! Control: readers with a defect planted in each must be found out by the same inputs.

mod controls;
mod mutate;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::ENTRIES;
use mutate::Mutator;

/// Inputs for each entry where nobody asks for more.
const EXECUTIONS: usize = 1000;
/// Inputs that one thread takes at a time.
const PORTION: usize = 500;

/// What is fuzzed begins with these.
fn corpus(entry: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("tests/fuzz/corpus").join(entry)];
    if entry == "config" {
        folders.push(root.join("tests/config"));
    }
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("the corpus can be read"));
    let mut paths: Vec<_> = files.map(|file| file.expect("an entry").path()).collect();
    paths.retain(|path| path.is_file() && path.extension().is_none_or(|end| end != "expected"));
    paths.sort();
    let items: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("a file")).collect();
    assert!(!items.is_empty(), "{entry} has no corpus");
    items
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a test runs, and where its figures go, is for who runs it"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn executions() -> usize {
    variable("SCOPEWATCH_EXECUTIONS").map_or(EXECUTIONS, |text| text.parse().expect("a number"))
}

/// Tells the figures of one test, also where they are collected.
fn tally(name: &str, planned: usize, run: usize, violations: usize, (planted, caught): (usize, usize)) {
    let line = format!("{name}\t{planned}\t{run}\t{violations}\t{planted}\t{caught}\n");
    print!("{line}");
    if let Some(path) = variable("SCOPEWATCH_TALLY") {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).expect("the tally");
        file.write_all(line.as_bytes()).expect("written");
    }
}

/// Whether the rules hold for this input; the words of the first that does not.
fn holds(run: &(dyn Fn(&[u8]) + Sync), input: &[u8]) -> Result<(), String> {
    panic::catch_unwind(AssertUnwindSafe(|| run(input))).map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
    })
}

/// Inputs of one portion: the corpus itself first, then what is made of it.
fn inputs(corpus: &[Vec<u8>], portion: usize, count: usize) -> impl Iterator<Item = Vec<u8>> + '_ {
    let seed = 0x5C09_E3A7 + u64::try_from(portion).expect("small");
    let mut mutator = Mutator::new(seed, corpus);
    let first = if portion == 0 { corpus.len().min(count) } else { 0 };
    let made = (first..count).map(move |_| mutator.input(corpus));
    corpus.iter().take(first).cloned().chain(made)
}

#[test]
fn whatever_comes_in_no_rule_is_broken() {
    let each = executions();
    let portions = each.div_ceil(PORTION);
    let corpora: Vec<Vec<Vec<u8>>> = ENTRIES.iter().map(|entry| corpus(entry.name)).collect();
    let (next, run) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let violations: Mutex<BTreeMap<&str, Vec<(usize, String)>>> = Mutex::default();
    let work = || {
        while let Some((at, portion)) = Some(next.fetch_add(1, Ordering::Relaxed))
            .map(|job| (job % ENTRIES.len(), job / ENTRIES.len()))
            .filter(|(_, portion)| *portion < portions)
        {
            let count = PORTION.min((each / ENTRIES[at].cost).saturating_sub(portion * PORTION));
            for input in inputs(&corpora[at], portion, count) {
                run.fetch_add(1, Ordering::Relaxed);
                if let Err(why) = holds(&ENTRIES[at].run, &input) {
                    let text = format!("{why}\n  {}", input.escape_ascii());
                    let mut violations = violations.lock().expect("whole");
                    violations.entry(ENTRIES[at].name).or_default().push((text.len(), text));
                }
            }
        }
    };
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            threads.spawn(work);
        }
    });
    let mut violations = violations.into_inner().expect("whole");
    let count = violations.values().map(Vec::len).sum();
    let planned = ENTRIES.iter().map(|entry| each / entry.cost).sum();
    tally("fuzz/properties", planned, run.into_inner(), count, (0, 0));
    let mut told = String::new();
    for (entry, found) in &mut violations {
        // The shortest say most.
        found.sort();
        told += &format!("\n{entry}: {} inputs break a rule\n", found.len());
        found.iter().take(3).for_each(|(_, text)| told += &format!("{text}\n"));
    }
    assert!(violations.is_empty(), "{told}");
}

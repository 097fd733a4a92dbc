//! Many secrets that are looked for at once, none of which is kept.
//!
//! Of each there is how it begins, how long it is, and a keyed hash: enough to tell it where it stands, a tenth of what an
//! automaton of all of them takes, and nothing that anybody could read. What merely has the hash of a secret would be
//! taken for one, once in 2^64 times.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::Range;

/// No secret that is looked for may be shorter than this, in bytes.
const BEGIN: usize = 6;

/// What is looked for.
#[derive(Default)]
pub struct Sought {
    keys: RandomState,
    /// Sorted, each of them once.
    secrets: Box<[Mark]>,
    /// Of each pair of first bytes whether a secret begins with it.
    pairs: Pairs,
}

/// One secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    begin: [u8; BEGIN],
    length: u32,
    hash: u64,
}

impl Sought {
    /// Looks for these; those that are shorter than `BEGIN` or longer than 4 GB are left out.
    pub fn new<S: AsRef<str>>(secrets: impl Iterator<Item = S>) -> Sought {
        let (keys, mut pairs) = (RandomState::new(), Pairs::default());
        let mut all: Vec<Mark> =
            secrets.filter_map(|secret| Mark::of(secret.as_ref().as_bytes(), &keys)).collect();
        all.sort_unstable();
        all.dedup();
        all.iter().for_each(|mark| pairs.insert(mark.begin));
        Sought { keys, secrets: all.into(), pairs }
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Where they stand: of those that begin at the same place the longest; they may overlap.
    pub fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let places = text.windows(BEGIN).enumerate().filter(|(_, begin)| self.pairs.holds(begin));
        places
            .filter_map(|(at, begin)| self.at(text.get(at..)?, begin).map(|length| at..at + length))
            .collect()
    }

    /// The length of the longest with which this text begins.
    fn at(&self, text: &[u8], begin: &[u8]) -> Option<usize> {
        let first = self.secrets.partition_point(|mark| mark.begin.as_slice() < begin);
        let alike = self.secrets.iter().skip(first).take_while(|mark| mark.begin == begin);
        let (mut longest, mut hashed) = (None, None);
        for mark in alike {
            let length = usize::try_from(mark.length).ok()?;
            let Some(whole) = text.get(..length) else { break };
            if hashed.is_none_or(|(of, _)| of != length) {
                hashed = Some((length, self.keys.hash_one(whole)));
            }
            if hashed.is_some_and(|(_, hash)| hash == mark.hash) {
                longest = Some(length);
            }
        }
        longest
    }
}

impl Mark {
    fn of(secret: &[u8], keys: &RandomState) -> Option<Mark> {
        let begin = *secret.first_chunk()?;
        Some(Mark { begin, length: u32::try_from(secret.len()).ok()?, hash: keys.hash_one(secret) })
    }
}

/// A bit for every two bytes.
struct Pairs(Box<[u64; 1024]>);

impl Default for Pairs {
    fn default() -> Pairs {
        Pairs(Box::new([0; 1024]))
    }
}

impl Pairs {
    fn insert(&mut self, begin: [u8; BEGIN]) {
        let [high, low, ..] = begin;
        let (word, bit) = place(high, low);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    fn holds(&self, begin: &[u8]) -> bool {
        let [high, low, ..] = begin else { return false };
        let (word, bit) = place(*high, *low);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// The word of a pair, and its bit there.
fn place(high: u8, low: u8) -> (usize, u64) {
    (usize::from(high) * 4 + usize::from(low / 64), 1 << (low % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_those_that_begin_alike_the_longest_is_found() {
        let sought = Sought::new(["hf_abc", "hf_abcdef", "hf_abcxyz", "short"].into_iter());
        assert_eq!(sought.find(b"xhf_abcdefgh hf_abcxyhf_abc"), [1..10, 13..19, 21..27]);
        assert!(sought.find(b"short hf_ab").is_empty());
        assert!(Sought::default().is_empty() && Sought::default().find(b"hf_abcdef").is_empty());
    }

    proptest! {
        #[test]
        fn it_finds_what_a_plain_search_finds(
            secrets in proptest::collection::vec("[ab\u{fc}]{1,9}", 0..6), text in "[ab\u{fc}]{0,60}",
        ) {
            let sought = Sought::new(secrets.iter().map(String::as_str));
            let plain: Vec<Range<usize>> = (0..text.len())
                .filter_map(|at| {
                    let rest = text.as_bytes().get(at..)?;
                    let here = secrets.iter().filter(|s| s.len() >= BEGIN && rest.starts_with(s.as_bytes()));
                    here.map(|secret| at..at + secret.len()).max_by_key(Range::len)
                })
                .collect();
            prop_assert_eq!(sought.find(text.as_bytes()), plain);
        }
    }
}

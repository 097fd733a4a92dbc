//! The record, told from its beginning: whether every entry is bound to the one before it, and what the rows must
//! be if nothing but what it says ever happened. Pure: entries in, flaws and expected rows out.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::bodies::{self, Print};
use super::evidence::{Kind, Line};
use super::head::Head;
use super::{Flaw, Noted, Past};
use crate::moment::Timestamp;
use crate::report::FindingKind;

/// When creation calls are pruned: later than they count, so that a clock that was wrong by less than a day
/// forgets none.
pub(super) const CREATIONS_STAY: Duration = Duration::from_secs(48 * 3600);

/// Flaws that are told one by one.
const FLAWS_TOLD: usize = 50;

/// What makes a finding the same one: kind, organization, token, permission, target; absent is empty.
pub(super) type FindingWords = [String; 5];

/// What the record says, as far as it was told.
#[derive(Default)]
pub(super) struct Replay {
    pub entries: u64,
    pub kinds: BTreeMap<Kind, u64>,
    pub first_at: Option<Timestamp>,
    pub last_at: Option<Timestamp>,
    /// The last entry; `None` before the first.
    pub head: Option<Head>,
    pub epoch: i64,
    /// Openings that found something wrong.
    pub noted: Vec<Noted>,
    pub flaws: Vec<Flaw>,
    pub more_flaws: usize,
    /// Each canary's last entry.
    pub canaries: HashMap<i64, (i64, Print)>,
    /// Latched breakers: entry, since when, why.
    pub breakers: BTreeMap<String, (i64, i64, String)>,
    /// Pauses: entry, since when, until when, why.
    pub pauses: BTreeMap<String, (i64, i64, i64, String)>,
    /// Creation calls that are kept: whose and when, the last entry and how many.
    pub creations: BTreeMap<(String, i64), (i64, u64)>,
    /// Findings that last: entry, since when.
    pub findings: BTreeMap<FindingWords, (i64, i64)>,
}

impl Replay {
    /// Something is not as it was written.
    pub(super) fn flaw(&mut self, seq: i64, why: String) {
        if self.flaws.len() < FLAWS_TOLD {
            self.flaws.push(Flaw { seq, why });
        } else {
            self.more_flaws += 1;
        }
    }

    /// Tells the next entry.
    pub(super) fn tell(&mut self, line: &Line) {
        let before = self.head.take().unwrap_or_else(Head::none);
        let expected = before.seq.saturating_add(1);
        if line.seq != expected {
            self.flaw(line.seq, format!("the entry before it is missing: {expected} should stand there"));
        } else if !line.fits(&before.hash) {
            self.flaw(line.seq, "the hash does not fit: it, or the one before it, was changed".to_owned());
        }
        self.entries += 1;
        self.first_at = self.first_at.or(Some(line.at));
        self.last_at = Some(line.at);
        self.head = Some(Head { seq: line.seq, hash: line.hash.clone() });
        // Also where the chain is broken: what follows is told against it.
        let told = line.kind.parse().ok().and_then(|kind| {
            *self.kinds.entry(kind).or_default() += 1;
            self.apply(kind, line)
        });
        if told.is_none() {
            self.flaw(line.seq, "it says something that this program does not understand".to_owned());
        }
    }

    fn apply(&mut self, kind: Kind, line: &Line) -> Option<()> {
        let (seq, at) = (line.seq, line.at.0);
        match kind {
            Kind::Opened => self.opened(line)?,
            Kind::Canary => {
                let (id, print) = bodies::read_step(&line.body)?;
                self.canaries.insert(id, (seq, print));
            }
            Kind::Creation => {
                let read: bodies::CreationRead = line.read()?;
                let kept_from = (line.at - CREATIONS_STAY).0;
                self.creations.retain(|(_, at), _| *at >= kept_from);
                let (last, count) = self.creations.entry((read.owner, at)).or_default();
                (*last, *count) = (seq, *count + 1);
            }
            Kind::Breaker => {
                let read: bodies::BreakerRead = line.read()?;
                self.breakers.insert(read.organization, (seq, at, read.why));
            }
            Kind::Unlatched => {
                let read: bodies::UnlatchedRead = line.read()?;
                self.breakers.remove(&read.organization);
                // A person has looked; what was found before is not told again.
                self.noted.iter_mut().for_each(|noted| noted.cleared = true);
            }
            Kind::Pause => {
                let read: bodies::PauseRead = line.read()?;
                self.pauses.insert(read.owner, (seq, at, read.until, read.why));
            }
            Kind::FindingBegan | Kind::FindingEnded => {
                let read: bodies::FindingRead = line.read()?;
                let words = [
                    read.kind,
                    read.organization,
                    read.token.unwrap_or_default(),
                    read.permission.unwrap_or_default(),
                    read.target.unwrap_or_default(),
                ];
                if kind == Kind::FindingBegan {
                    self.findings.insert(words, (seq, read.since));
                    return Some(());
                }
                if words[0] == FindingKind::StateReset.as_str() {
                    // What was lost was looked for; nobody changed anything, so that no person need look.
                    let emptied = self.noted.iter_mut().filter(|noted| noted.past == Past::Emptied);
                    emptied.for_each(|noted| noted.cleared = true);
                }
                self.findings.remove(&words);
            }
        }
        Some(())
    }

    fn opened(&mut self, line: &Line) -> Option<()> {
        let read: bodies::OpenedRead = line.read()?;
        if read.epoch <= self.epoch {
            let why = format!("it counts as opening {}, and so many came before it", read.epoch);
            self.flaw(line.seq, why);
        }
        self.epoch = read.epoch;
        if let Some((past, flaws)) = read.trouble() {
            self.noted.push(Noted { seq: line.seq, at: line.at, past, flaws, cleared: false });
        }
        Some(())
    }
}

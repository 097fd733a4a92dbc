//! What happened to canaries in which state: every pair of state and event, how often it was visited, and which pairs
//! there cannot be.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::access::words;
use crate::hub::classify::{CreateRow, DeleteRow};
use crate::intent::CanaryState;

words! {
    /// What a visit came to.
    Seen {
        Ours = "seen: ours",
        NotYet = "seen: ours, an earlier deletion is not over",
        Public = "seen: public",
        Foreign = "seen: not as ours must be",
        Moved = "seen: moved",
        Absent = "seen: absent",
        AbsentListed = "seen: absent, from the listing too",
        ListedYet = "seen: absent, and listed",
        Incapable = "seen: absent, by one who cannot see",
        Doubtful = "seen: while the clock is doubtful",
        Refused = "seen: refused (401, 403)",
        Odd = "seen: an odd answer (5xx, 429, page, cut)",
        Unanswered = "seen: no answer",
        Nobody = "seen: nobody to ask",
    }
}

words! {
    /// What became of a batch that holds a canary.
    Stored {
        Durable = "stored",
        Failed = "not stored",
        InDoubt = "stored, told otherwise",
    }
}

words! {
    /// A request takes effect that nobody waits for any more.
    Landing {
        LateCreation = "its creation takes effect late",
        LateDeletion = "its deletion takes effect late",
    }
}

words! {
    /// Whatever else happens.
    Happening {
        Wake = "time passes",
        Due = "a round is due",
        Crash = "crash",
        CrashBetween = "crash between two effects of one event",
        CrashTwice = "crash during recovery",
        Restart = "start",
        PauseShort = "paused for a second",
        PauseLong = "paused for longer than two seconds",
        PauseBeyond = "paused beyond the horizon",
        Suspend = "suspended",
        Takeover = "taken over while it is paused",
        Stop = "told to stop",
        KeysSame = "keys read again",
        KeysChanged = "its key is another",
        KeysBad = "its key cannot be read",
        ReloadSame = "reload",
        ReloadNoJanitor = "reload: no janitor",
        ReloadNoCheck = "reload: its check is gone",
        ReloadNoToken = "reload: its token is gone",
        PersonCloses = "a person closes it",
        PersonUnlatches = "a person unlatches",
        ClockAhead = "clock set an hour ahead",
        ClockBehind = "clock set an hour back",
        ClockYearAhead = "clock set a year ahead",
        ClockYearBehind = "clock set a year back",
        RowLost = "its row is lost",
        OldCopy = "journal: an old copy",
        Emptied = "journal: emptied",
        WritesFail = "writes begin to fail",
        DiskFull = "the disk is full for a while",
        WritesSlow = "writes become slow",
        Revoked = "its token is revoked",
        NoDelete = "its token may not delete any more",
        JanitorRevoked = "the janitor is revoked",
        JanitorBlind = "the janitor goes blind",
        Barred = "its token is barred (sso, ip)",
        Outage = "the Hub is down for a while",
        Limited = "the Hub limits the rate for a while",
        Behind = "the Hub answers from an old copy",
        Strange = "odd bodies for a while",
        HubClock = "the Hub's clock is another",
        Removed = "somebody deletes it",
        Renamed = "somebody renames it",
        Published = "somebody makes it public",
        Committed = "somebody commits to it",
        Squatted = "somebody else takes its name",
        Restored = "what was deleted is there again",
    }
}

/// One kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    Create(CreateRow),
    Delete(DeleteRow),
    Seen(Seen),
    Stored(Stored),
    Landing(Landing),
    Happening(Happening),
}

impl Mark {
    pub fn all() -> Vec<Mark> {
        let mut all: Vec<Mark> = CreateRow::ALL.iter().map(|row| Mark::Create(*row)).collect();
        all.extend(DeleteRow::ALL.iter().map(|row| Mark::Delete(*row)));
        all.extend(Seen::ALL.iter().map(|seen| Mark::Seen(*seen)));
        all.extend(Stored::ALL.iter().map(|stored| Mark::Stored(*stored)));
        all.extend(Landing::ALL.iter().map(|landing| Mark::Landing(*landing)));
        all.extend(Happening::ALL.iter().map(|what| Mark::Happening(*what)));
        all
    }

    fn words(self) -> String {
        match self {
            Mark::Create(row) => format!("POST answered: {row}"),
            Mark::Delete(row) => format!("DELETE answered: {row}"),
            Mark::Seen(seen) => seen.as_str().to_owned(),
            Mark::Stored(stored) => stored.as_str().to_owned(),
            Mark::Landing(landing) => landing.as_str().to_owned(),
            Mark::Happening(what) => what.as_str().to_owned(),
        }
    }
}

/// Why there is no such pair, where there is none.
pub fn impossible(mark: Mark, state: CanaryState) -> Option<&'static str> {
    use CanaryState::{Created, DelUnknown, Deleting, Gone, Planned, Quarantined, Refused, Unknown};
    match (mark, state) {
        (Mark::Create(_), state) if state != Planned => Some("a creation is answered while PLANNED only"),
        (Mark::Delete(_), state) if state != Deleting => Some("a deletion is answered while DELETING only"),
        (Mark::Seen(_), Planned | Deleting) => Some("nothing is visited beside a request under way"),
        (Mark::Seen(_), Quarantined) => Some("what is in quarantine is a person's to look at"),
        (Mark::Seen(Seen::Incapable | Seen::AbsentListed | Seen::ListedYet), Refused) => {
            Some("a refusal is owed one look, which is no proof and needs none")
        }
        (Mark::Seen(Seen::NotYet), Refused | Gone) => Some("no deletion of it is in the air"),
        (Mark::Landing(Landing::LateCreation), Created | Deleting | DelUnknown | Refused) => {
            Some("the creation had its answer, or the repository was seen")
        }
        (Mark::Landing(Landing::LateDeletion), Planned | Unknown | Refused | Created) => {
            Some("no deletion is in the air")
        }
        (Mark::Landing(_), Gone) => Some("I6: gone means that nothing can take effect any more"),
        (Mark::Happening(Happening::Squatted), Deleting) => {
            Some("taking its place between look and deletion is for people who may delete it themselves")
        }
        _ => None,
    }
}

/// How often each pair was visited.
#[derive(Debug, Default, Clone)]
pub struct Coverage {
    visits: BTreeMap<(Mark, CanaryState), u64>,
}

impl Coverage {
    pub fn mark(&mut self, mark: Mark, state: CanaryState) {
        *self.visits.entry((mark, state)).or_default() += 1;
    }

    pub fn add(&mut self, other: &Coverage) {
        for (pair, visits) in &other.visits {
            *self.visits.entry(*pair).or_default() += visits;
        }
    }

    pub fn visits(&self, mark: Mark, state: CanaryState) -> u64 {
        self.visits.get(&(mark, state)).copied().unwrap_or(0)
    }

    /// Every pair that there can be, and how often it was visited.
    pub fn pairs(&self) -> Vec<(Mark, CanaryState, u64)> {
        let pairs =
            Mark::all().into_iter().flat_map(|mark| CanaryState::ALL.iter().map(move |state| (mark, *state)));
        let possible = pairs.filter(|(mark, state)| impossible(*mark, *state).is_none());
        possible.map(|(mark, state)| (mark, state, self.visits(mark, state))).collect()
    }

    /// Visits of pairs that there cannot be.
    pub fn surprises(&self) -> Vec<(Mark, CanaryState, u64)> {
        let odd = |((mark, state), visits): (&(Mark, CanaryState), &u64)| {
            impossible(*mark, *state).map(|_| (*mark, *state, *visits))
        };
        self.visits.iter().filter_map(odd).collect()
    }

    /// The pair that there can be and that was visited least.
    pub fn rarest(&self) -> (Mark, CanaryState, u64) {
        self.pairs().into_iter().min_by_key(|(_, _, visits)| *visits).expect("there are pairs")
    }

    /// The table, with the smallest number at its end.
    pub fn table(&self) -> String {
        let mut text = format!("{:<46}", "event \\ state");
        for state in CanaryState::ALL {
            let _ = write!(text, " {:>11}", state.as_str());
        }
        text.push('\n');
        for mark in Mark::all() {
            let _ = write!(text, "{:<46}", mark.words());
            for state in CanaryState::ALL {
                match impossible(mark, *state) {
                    Some(_) => text.push_str("           -"),
                    None => {
                        let _ = write!(text, " {:>11}", self.visits(mark, *state));
                    }
                }
            }
            text.push('\n');
        }
        let pairs = self.pairs();
        if let Some((mark, state, visits)) = pairs.iter().min_by_key(|(_, _, visits)| *visits) {
            let _ =
                writeln!(text, "{} pairs; the rarest: {} while {state}: {visits}", pairs.len(), mark.words());
        }
        text
    }
}

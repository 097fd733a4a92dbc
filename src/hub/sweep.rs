//! A sweep: every repository of an organization whose name begins as canaries' names do, and what each of them is.
//!
//! It finds what the journal has lost: the name of a canary is signed, so that a fresh store still knows its own.
//! What does not bear our signature is somebody else's, whatever it is called, and is only counted. Only looks; what
//! is made of an orphan is decided by `judge`, and carried out by the shell.

use std::time::Duration;

use crate::access::{RepoName, RepoType, TokenName};
use crate::exchange::{Credential, Exchange, Request};
use crate::intent::{Canary, CanaryState, DeleteAttempt, DeleteOutcome, Deleter};
use crate::moment::Timestamp;

use super::canary::{self, Rules};
use super::{readings, routes};

/// Pages of one listing, at most.
const PAGES: u32 = 50;
/// Names that are kept of one sweep, at most; whoever makes more of them hides nothing, because then the sweep
/// counts as unfinished.
const HITS: usize = 1000;

/// One repository whose name begins as a canary's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    pub kind: RepoType,
    pub repo: RepoName,
    /// When it was created, if the listing says so.
    pub created_at: Option<Timestamp>,
}

/// What a sweep came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    pub hits: Vec<Hit>,
    /// Every listing was read to its end: what is not among the hits, its reader does not see.
    pub complete: bool,
}

/// The walk: `next` says what to ask, `hear` takes what came back.
#[derive(Debug, Clone)]
pub struct SweepWalk {
    organization: String,
    prefix: String,
    reader: Credential,
    kinds: &'static [RepoType],
    asked: Option<Request>,
    pages: u32,
    swept: Swept,
}

impl SweepWalk {
    /// A sweep that has not begun.
    pub fn new(organization: &str, canary_prefix: &str, reader: Credential) -> SweepWalk {
        let mut walk = SweepWalk {
            organization: organization.to_owned(),
            prefix: format!("{canary_prefix}-"),
            reader,
            kinds: RepoType::ALL,
            asked: None,
            pages: 0,
            swept: Swept { hits: Vec::new(), complete: true },
        };
        walk.turn_to_first_page();
        walk
    }

    fn turn_to_first_page(&mut self) {
        self.pages = 0;
        let list = |kind: &RepoType| {
            routes::list(*kind, &self.organization, Some(&self.prefix), self.reader.clone())
        };
        self.asked = self.kinds.first().map(list);
    }

    fn turn_to_next_kind(&mut self) {
        self.kinds = self.kinds.split_first().map_or(&[], |(_, rest)| rest);
        self.turn_to_first_page();
    }

    /// The next request, or `None` when the sweep is over.
    pub fn next(&self) -> Option<Request> {
        self.asked.clone()
    }

    /// Takes the answer to the request of `next`.
    pub fn hear(&mut self, exchange: &Exchange) {
        let (Some(kind), Some(asked)) = (self.kinds.first().copied(), self.asked.clone()) else { return };
        let Some(named) = readings::named(&exchange.outcome) else {
            self.swept.complete = false;
            return self.turn_to_next_kind();
        };
        for (repo, created_at) in named {
            if repo.namespace != self.organization || !repo.name.starts_with(&self.prefix) {
                continue;
            }
            let hit = Hit { kind, repo, created_at };
            if self.swept.hits.len() >= HITS {
                self.swept.complete = false;
            } else if !self.swept.hits.contains(&hit) {
                self.swept.hits.push(hit);
            }
        }
        self.pages += 1;
        let link = exchange.outcome.as_ref().ok().and_then(|answer| answer.link.as_deref());
        match link.and_then(|link| routes::page_after(link, &asked)) {
            Some(_) if self.pages >= PAGES => {
                self.swept.complete = false;
                self.turn_to_next_kind();
            }
            Some(next) => self.asked = Some(next),
            None => {
                // A further page that leads elsewhere is none of ours to ask, and what stands on it is not known.
                self.swept.complete &= !link.is_some_and(|link| link.contains("rel=\"next\""));
                self.turn_to_next_kind();
            }
        }
    }

    /// What it came to.
    pub fn finish(self) -> Swept {
        self.swept
    }
}

/// What one hit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// Not signed by us: never touched.
    Foreign,
    /// The journal knows it and is about it anyhow.
    Known,
    /// The journal believed it gone; it must be looked at.
    Returned,
    /// Signed, unknown to the journal, and so young that another process with our key may still be about it.
    Young,
    /// Signed, unknown to the journal, and old enough that nobody is about it.
    Orphan,
}

/// So many horizons after its creation nobody is about a canary any more.
const ABANDONED: u32 = 2;

/// What a hit is. `signed`: its name bears our signature for this namespace and kind. `known`: what the journal has
/// under this name.
pub fn judge(hit: &Hit, signed: bool, known: Option<&Canary>, now: Timestamp, rules: Rules) -> Judged {
    match known {
        _ if !signed => Judged::Foreign,
        Some(canary) if canary.state == CanaryState::Gone && !canary::is_closed(canary) => Judged::Returned,
        Some(_) => Judged::Known,
        None if grown_at(hit, rules).is_some_and(|grown| now < grown) => Judged::Young,
        None => Judged::Orphan,
    }
}

/// From when on a hit is not young any more.
pub fn grown_at(hit: &Hit, rules: Rules) -> Option<Timestamp> {
    hit.created_at.map(|at| at + abandoned_after(rules))
}

fn abandoned_after(rules: Rules) -> Duration {
    rules.horizon * ABANDONED
}

/// The record under which an orphan is looked at and deleted, by `janitor`. It must be durable before anything
/// else; only what is known to be old enough may be adopted. Its id is bound by the first look, and all of the proof
/// must then be shown. It is not deleted before a deletion that the journal has lost can no longer take effect.
pub fn adopted(
    id: i64,
    epoch: i64,
    hit: &Hit,
    janitor: &TokenName,
    now: Timestamp,
    rules: Rules,
) -> Option<Canary> {
    let created_at = hit.created_at.filter(|at| now >= *at + abandoned_after(rules))?;
    let intent = canary::Intent {
        id,
        epoch,
        repo: hit.repo.clone(),
        kind: hit.kind,
        group: None,
        target: canary::NO_TARGET.to_owned(),
        token: janitor.clone(),
        owner: None,
    };
    let mut canary = canary::planned(intent, created_at);
    canary.state = CanaryState::Unknown;
    canary.given_up_at = Some(created_at);
    canary.next_at = Some(now);
    // Whoever knew it may have deleted it a moment ago.
    canary.deletes.push(DeleteAttempt { at: now, by: Deleter::Probed, outcome: DeleteOutcome::Lost });
    "adopted: its name is signed, the journal did not know it".clone_into(&mut canary.note);
    Some(canary)
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;

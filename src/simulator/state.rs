//! Everything the simulated Hub knows while it runs: the world, its repositories, quotas in use, the journal.
//! Knows how to look things up and how to note a change; decides nothing about rights.
//! Serves the routes and the steering, one request at a time.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::TimeZone;
use chrono::Utc;

use crate::simulator::caller::Holder;
use crate::simulator::clock::Clock;
use crate::simulator::clock::date;
use crate::simulator::fault::Faults;
use crate::simulator::id;
use crate::simulator::journal::Change;
use crate::simulator::journal::Journal;
use crate::simulator::quota::Quotas;
use crate::simulator::repo::Birth;
use crate::simulator::repo::Origin;
use crate::simulator::repo::Repo;
use crate::simulator::words::Kind;
use crate::simulator::world::RepoEntry;
use crate::simulator::world::World;
use crate::simulator::world::repo_key;

/// A kind and a full name; the Hub lets a model and a dataset share a name.
pub(super) type RepoKey = (Kind, String);

pub(super) struct State {
    /// Its `repos` are empty: `repos` below is the truth of them.
    pub(super) world: World,
    pub(super) repos: BTreeMap<RepoKey, Repo>,
    /// Former names, each with the id of what went away.
    pub(super) moved: BTreeMap<RepoKey, String>,
    pub(super) quotas: Quotas,
    pub(super) faults: Faults,
    pub(super) journal: Journal,
    pub(super) clock: Clock,
    pub(super) seed: u64,
    pub(super) base: String,
    minted: u64,
}

/// Who made a change, and by which request.
#[derive(Clone, Copy)]
pub(super) struct Doer<'a> {
    pub(super) holder: Option<&'a Holder>,
    pub(super) request: Option<u64>,
}

impl Doer<'_> {
    pub(super) const STEERING: Doer<'static> = Doer { holder: None, request: None };
}

impl State {
    pub(super) fn new(mut world: World, base: String, seed: u64) -> State {
        let entries = std::mem::take(&mut world.repos);
        let mut state = State {
            world,
            repos: BTreeMap::new(),
            moved: BTreeMap::new(),
            quotas: Quotas::default(),
            faults: Faults::default(),
            journal: Journal::default(),
            clock: Clock::start(),
            seed,
            base,
            minted: 0,
        };
        for (key, entry) in &entries {
            // The world was validated when it was read, so every key parses.
            if let Ok((kind, name)) = repo_key(key, entry.kind) {
                state.place(kind, name, entry);
            }
        }
        state
    }

    /// Puts a repository of the world file on the Hub.
    pub(super) fn place(&mut self, kind: Kind, name: &str, entry: &RepoEntry) {
        let namespace = name.split_once('/').map_or(name, |(namespace, _)| namespace);
        let id = entry.id.clone().unwrap_or_else(|| id::object(&["repo", kind.name(), name]));
        let mut repo = Repo::new(Birth {
            kind,
            name: name.to_owned(),
            id,
            author: entry.author.clone().unwrap_or_else(|| namespace.to_owned()),
            at: entry.created_at.map_or_else(long_ago, |at| at.0),
            origin: Origin::World,
        });
        repo.files.insert("README.md".to_owned());
        repo.take_over(entry);
        self.repos.insert((kind, name.to_owned()), repo);
    }

    /// An id that no repository before has had.
    pub(super) fn mint_id(&mut self, name: &str) -> String {
        self.minted += 1;
        id::object(&["minted", &self.seed.to_string(), &self.minted.to_string(), name])
    }

    /// The key of a repository that is asked for by a name in any case; reading is forgiving on the Hub.
    pub(super) fn find(&self, kind: Kind, name: &str) -> Option<RepoKey> {
        let exact = (kind, name.to_owned());
        if self.repos.contains_key(&exact) {
            return Some(exact);
        }
        let same = |key: &&RepoKey| key.0 == kind && key.1.eq_ignore_ascii_case(name);
        self.repos.keys().find(same).cloned()
    }

    /// Where a repository that was once called so is now.
    pub(super) fn moved_to(&self, kind: Kind, name: &str) -> Option<&Repo> {
        let id = self.moved.get(&(kind, name.to_owned()))?;
        self.repos.values().find(|repo| &repo.id == id)
    }

    /// The organization's name as it is really written.
    pub(super) fn canonical_organization(&self, name: &str) -> Option<String> {
        if self.world.organizations.contains_key(name) {
            return Some(name.to_owned());
        }
        let same = |known: &&String| known.eq_ignore_ascii_case(name);
        self.world.organizations.keys().find(same).cloned()
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(super) fn note(&mut self, doer: Doer<'_>, kind: &'static str, repo: &Repo, detail: Option<String>) {
        let change = Change {
            seq: self.journal.changes.len() as u64 + 1,
            at: date(self.clock.now()),
            request: doer.request,
            kind,
            repo: repo.name.clone(),
            r#type: repo.kind.name(),
            id: repo.id.clone(),
            token: doer.holder.map(|holder| holder.name.clone()),
            user: doer.holder.map(|holder| holder.token.user.clone()),
            detail,
        };
        self.journal.changes.push(change);
    }
}

/// When things of the world file began, unless it says: the same in every run.
pub(super) fn long_ago() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2025, 1, 1, 0, 0, 0).single().unwrap_or_default()
}

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
    /// How long what the request under way changes takes to show; a fault asks for it.
    pub(super) lag_ms: u64,
    ghosts: Vec<Ghost>,
    minted: u64,
}

/// A repository that is gone and is still shown.
struct Ghost {
    repo: Repo,
    until_ms: u64,
}

/// What was changed; its name begins with the namespace that it is in.
pub(super) struct Thing<'a> {
    pub(super) name: &'a str,
    pub(super) kind: &'static str,
    pub(super) id: &'a str,
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
            lag_ms: 0,
            ghosts: Vec::new(),
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

    /// A repository as its readers find it: what was just made or taken away may take a while to show.
    pub(super) fn shown(&self, kind: Kind, name: &str) -> Option<(RepoKey, Repo)> {
        let same = |repo: &&Repo| repo.kind == kind && repo.name.eq_ignore_ascii_case(name);
        let exact = self.repos.get(&(kind, name.to_owned())).filter(|repo| self.is_shown(repo));
        let repo = exact.or_else(|| self.all_shown().find(same))?;
        Some(((kind, repo.name.clone()), repo.clone()))
    }

    /// Every repository that readers find.
    pub(super) fn all_shown(&self) -> impl Iterator<Item = &Repo> {
        let now = self.clock.elapsed_ms();
        let ghosts = self.ghosts.iter().filter(move |ghost| ghost.until_ms > now).map(|ghost| &ghost.repo);
        self.repos.values().filter(|repo| self.is_shown(repo)).chain(ghosts)
    }

    fn is_shown(&self, repo: &Repo) -> bool {
        repo.shown_from_ms <= self.clock.elapsed_ms()
    }

    /// When what is made now begins to show.
    pub(super) fn shows_from(&self) -> u64 {
        if self.lag_ms == 0 { 0 } else { self.clock.elapsed_ms().saturating_add(self.lag_ms) }
    }

    /// Keeps what goes now in its readers' sight for as long as the lag is.
    pub(super) fn linger(&mut self, repo: &Repo) {
        let now = self.clock.elapsed_ms();
        self.ghosts.retain(|ghost| ghost.until_ms > now);
        if self.lag_ms > 0 {
            self.ghosts.push(Ghost { repo: repo.clone(), until_ms: now.saturating_add(self.lag_ms) });
        }
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
        let thing = Thing { name: &repo.name, kind: repo.kind.name(), id: &repo.id };
        self.note_about(doer, kind, &thing, detail);
    }

    pub(super) fn note_about(
        &mut self,
        doer: Doer<'_>,
        kind: &'static str,
        thing: &Thing<'_>,
        detail: Option<String>,
    ) {
        let change = Change {
            seq: self.journal.changes.len() as u64 + 1,
            at: date(self.clock.now()),
            request: doer.request,
            kind,
            repo: thing.name.to_owned(),
            r#type: thing.kind,
            id: thing.id.to_owned(),
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

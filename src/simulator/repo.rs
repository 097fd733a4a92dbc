//! A repository of the simulated Hub as it stands now: visibility, group, commits, branches, files.
//! Knows how one begins and how the Hub describes it; knows nothing of tokens or who may see it.
//! Serves the routes about repositories and the steering ones.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::Utc;
use serde_json::Value;
use serde_json::json;

use crate::simulator::clock::date;
use crate::simulator::id;
use crate::simulator::words::Gate;
use crate::simulator::words::Kind;
use crate::simulator::world::RepoEntry;

/// Where a repository came from; what was `Created` is what a careful caller has to clean up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    World,
    Created,
    Planted,
}

impl Origin {
    pub(super) fn name(self) -> &'static str {
        match self {
            Origin::World => "world",
            Origin::Created => "created",
            Origin::Planted => "planted",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Commit {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) user: String,
    pub(super) at: DateTime<Utc>,
}

#[derive(Clone, Debug)]
pub(super) struct Repo {
    pub(super) kind: Kind,
    /// `namespace/name`.
    pub(super) name: String,
    pub(super) id: String,
    pub(super) private: bool,
    pub(super) resource_group: Option<String>,
    pub(super) gated: Gate,
    pub(super) granted: BTreeSet<String>,
    pub(super) requested: BTreeSet<String>,
    pub(super) org_members_gated: bool,
    pub(super) disabled: bool,
    /// When its readers begin to find it.
    pub(super) shown_from_ms: u64,
    /// The user whose token created it.
    pub(super) author: String,
    pub(super) created_at: DateTime<Utc>,
    pub(super) origin: Origin,
    pub(super) sdk: Option<String>,
    /// Oldest first.
    pub(super) commits: Vec<Commit>,
    pub(super) branches: BTreeMap<String, String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) files: BTreeSet<String>,
}

/// What a new repository is made of.
pub(super) struct Birth {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) id: String,
    pub(super) author: String,
    pub(super) at: DateTime<Utc>,
    pub(super) origin: Origin,
}

impl Repo {
    /// A fresh repository: one commit by its user, with nothing but `.gitattributes`.
    pub(super) fn new(birth: Birth) -> Repo {
        let first = Commit {
            id: id::commit(&[&birth.id, "0"]),
            title: "initial commit".to_owned(),
            user: birth.author.clone(),
            at: birth.at,
        };
        Repo {
            branches: BTreeMap::from([("main".to_owned(), first.id.clone())]),
            commits: vec![first],
            files: BTreeSet::from([".gitattributes".to_owned()]),
            kind: birth.kind,
            name: birth.name,
            id: birth.id,
            private: false,
            resource_group: None,
            gated: Gate::default(),
            granted: BTreeSet::new(),
            requested: BTreeSet::new(),
            org_members_gated: false,
            disabled: false,
            shown_from_ms: 0,
            tags: BTreeMap::new(),
            author: birth.author,
            created_at: birth.at,
            origin: birth.origin,
            sdk: (birth.kind == Kind::Space).then(|| "static".to_owned()),
        }
    }

    pub(super) fn namespace(&self) -> &str {
        self.name.split_once('/').map_or(self.name.as_str(), |(namespace, _)| namespace)
    }

    /// Takes over what a world entry says; history stays.
    pub(super) fn take_over(&mut self, entry: &RepoEntry) {
        self.private = entry.private;
        self.resource_group.clone_from(&entry.resource_group);
        self.gated = entry.gated.clone();
        self.granted.clone_from(&entry.granted);
        self.requested.clone_from(&entry.requested);
        self.org_members_gated = entry.org_members_gated;
        self.disabled = entry.disabled;
        if let Some(author) = &entry.author {
            self.author.clone_from(author);
        }
        if let Some(id) = &entry.id {
            self.id.clone_from(id);
        }
        if let Some(at) = entry.created_at {
            self.created_at = at.0;
        }
    }

    pub(super) fn commit(&mut self, title: &str, user: &str, at: DateTime<Utc>) -> String {
        let id = id::commit(&[&self.id, &self.commits.len().to_string(), title, user]);
        self.commits.push(Commit { id: id.clone(), title: title.to_owned(), user: user.to_owned(), at });
        self.branches.insert("main".to_owned(), id.clone());
        id
    }

    /// The commit that a branch, a tag or a commit's id names.
    pub(super) fn revision(&self, revision: &str) -> Option<&Commit> {
        let branch = revision.strip_prefix("refs/heads/").unwrap_or(revision);
        let id = self.branches.get(branch).or_else(|| self.tags.get(revision));
        let id = id.map_or(revision, String::as_str);
        self.commits.iter().find(|commit| commit.id == id)
    }

    fn head(&self) -> Option<&Commit> {
        self.revision("main")
    }

    /// As `GET /api/models/ns/name` shows it. `author` is the namespace there, not the person.
    pub(super) fn info(&self) -> Value {
        let head = self.head();
        let mut info = self.summary();
        info["sha"] = json!(head.map(|commit| &commit.id));
        info["disabled"] = json!(self.disabled);
        info["siblings"] = self.files.iter().map(|file| json!({"rfilename": file})).collect();
        info["usedStorage"] = json!(0);
        info
    }

    /// As listings show it.
    pub(super) fn summary(&self) -> Value {
        let modified = self.head().map_or(self.created_at, |commit| commit.at);
        let mut summary = json!({
            "_id": self.id,
            "id": self.name,
            "author": self.namespace(),
            "private": self.private,
            "gated": self.gated,
            "createdAt": date(self.created_at),
            "lastModified": date(modified),
            "downloads": 0,
            "likes": 0,
            "tags": ["region:us"],
        });
        match self.kind {
            Kind::Model => summary["modelId"] = json!(self.name),
            Kind::Space => summary["sdk"] = json!(self.sdk),
            Kind::Dataset => {}
        }
        summary
    }

    /// The repository in the shape of the world file.
    pub(super) fn entry(&self) -> Value {
        json!({
            "type": self.kind,
            "private": self.private,
            "resource_group": self.resource_group,
            "gated": self.gated,
            "granted": self.granted,
            "requested": self.requested,
            "org_members_gated": self.org_members_gated,
            "disabled": self.disabled,
            "author": self.author,
            "id": self.id,
            "created_at": date(self.created_at),
        })
    }

    /// The path of its page.
    pub(super) fn page(&self) -> String {
        match self.kind {
            Kind::Model => format!("/{}", self.name),
            Kind::Dataset | Kind::Space => format!("/{}/{}", self.kind.plural(), self.name),
        }
    }
}

//! A visit to a canary: a few reads that show whether it is there, whether it is ours, or whether it is gone.
//!
//! Only looks. The one who is asked first is the observer whose "not found" means something; who cannot see is
//! blind, and blindness is never absence. What a visit means for the canary is decided in `canary`.

use crate::access::{RepoName, RepoType, UnknownReason};
use crate::exchange::{Answer, Credential, Exchange, Failure, Request};
use crate::moment::Timestamp;

use super::answers::of_outcome;
use super::proof::is_public;
use super::readings::{self, AnonymousRow, DescriptionRow, ListedRow, LookRow};
use super::routes;

/// Somebody who may be asked, and whether "not found" from them proves absence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observer {
    pub credential: Credential,
    pub capable: bool,
    /// Something else that is private and that it lately saw. It must see it still, after it did not find what it was
    /// asked for: whoever has lost its sight in between finds nothing either.
    pub witness: Option<(RepoType, RepoName)>,
}

/// What the Hub says a repository is. A field that the answer lacks is `None` and is not compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    pub full_name: Option<String>,
    pub id: Option<String>,
    /// The namespace, not the person (huggingface_hub, `ModelInfo`).
    pub author: Option<String>,
    pub private: Option<bool>,
    pub created_at: Option<Timestamp>,
    /// Names of its files.
    pub files: Option<Vec<String>>,
    /// Number of commits, and who made the only one.
    pub commits: Option<(usize, Option<String>)>,
    /// Whether an anonymous look saw it.
    pub anonymous_saw: Option<bool>,
}

/// What a visit came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// It is there, as described; seen by this credential.
    Present(Box<Identity>, Credential),
    /// A capable observer does not see it; `listed` says that the listing by name does not show it either.
    Absent { listed_absent: bool },
    /// The name leads elsewhere: somebody renamed or moved a repository.
    Moved,
    /// Nothing can be said.
    Blind(UnknownReason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    First,
    Commits,
    Anonymous,
    Fresh,
    Listing,
    Witness,
    /// Whether it is still not there, asked after it was shown that whoever looks can see.
    Last,
    Done,
}

/// The walk: `next` says what to ask, `hear` takes what came back.
#[derive(Debug, Clone)]
pub struct Visit {
    repo: RepoName,
    kind: RepoType,
    observers: Vec<Observer>,
    at: usize,
    stage: Stage,
    with_listing: bool,
    /// The id that it must have, where one is bound.
    bound: Option<String>,
    /// As it was described before what surrounds it was asked.
    described: Identity,
    /// Somebody without a token was shown it, or its description says that anybody may be.
    public: bool,
    sight: Sight,
}

impl Visit {
    /// A visit that has not begun. `expected` says that the repository should be there: then what surrounds it
    /// is asked first, so that its own description is as fresh as can be. `with_listing` asks the listing too, and
    /// whether the observer still sees at all, before absence is told.
    pub fn new(
        repo: RepoName,
        kind: RepoType,
        observers: Vec<Observer>,
        expected: bool,
        with_listing: bool,
        bound: Option<String>,
    ) -> Visit {
        let stage = match (observers.is_empty(), expected) {
            (true, _) => Stage::Done,
            (false, true) => Stage::Commits,
            (false, false) => Stage::First,
        };
        // Nobody to ask: their tokens may come back.
        let sight = Sight::Blind(UnknownReason::TokenInvalid);
        let described = Identity::default();
        Visit { repo, kind, observers, at: 0, stage, with_listing, bound, described, public: false, sight }
    }

    /// The next request, or `None` when the visit is over.
    pub fn next(&self) -> Option<Request> {
        let observer = self.observers.get(self.at)?.credential.clone();
        let (kind, repo) = (self.kind, &self.repo);
        Some(match self.stage {
            Stage::First | Stage::Fresh | Stage::Last => routes::repo_info(kind, repo, observer),
            Stage::Commits => routes::commits(kind, repo, observer),
            Stage::Anonymous => routes::repo_info(kind, repo, Credential::Anonymous),
            Stage::Listing => routes::list(kind, &repo.namespace, Some(&repo.name), observer),
            Stage::Witness => {
                let (kind, repo) = self.witness()?;
                routes::repo_info(*kind, repo, observer)
            }
            Stage::Done => return None,
        })
    }

    /// Whether anything that was seen on the way shows that it is public, whatever the visit came to.
    pub fn saw_it_public(&self) -> bool {
        self.public
    }

    /// What the visit came to.
    pub fn sight(self) -> Sight {
        self.sight
    }

    /// Takes the answer to the request of `next`.
    pub fn hear(&mut self, exchange: &Exchange) {
        let outcome = &exchange.outcome;
        match self.stage {
            Stage::First | Stage::Fresh => self.hear_description(outcome),
            Stage::Commits => {
                self.described.commits = readings::commits(outcome).1;
                self.stage = Stage::Anonymous;
            }
            Stage::Anonymous => {
                self.described.anonymous_saw = match readings::anonymous(outcome) {
                    AnonymousRow::Refused => Some(false),
                    AnonymousRow::Seen => Some(true),
                    AnonymousRow::Unclear => None,
                };
                self.public |= self.described.anonymous_saw == Some(true);
                self.stage = Stage::Fresh;
            }
            Stage::Listing => self.hear_listing(outcome),
            Stage::Witness => self.hear_witness(outcome),
            Stage::Last => match readings::description(outcome).0 {
                DescriptionRow::NotFound => self.end(Sight::Absent { listed_absent: true }),
                _ => self.blind(UnknownReason::Conflict),
            },
            Stage::Done => {}
        }
    }

    fn end(&mut self, sight: Sight) {
        self.sight = sight;
        self.stage = Stage::Done;
    }

    fn hear_description(&mut self, outcome: &Result<Answer, Failure>) {
        let (row, identity) = readings::description(outcome);
        self.public |= identity.as_ref().is_some_and(is_public);
        match (row, identity) {
            (_, Some(identity)) if self.stage == Stage::First => {
                self.described = identity;
                self.stage = Stage::Commits;
            }
            // What was read of who made it is of the repository that is described on both sides of that.
            (_, Some(identity)) if self.is_another(&identity) => {
                if self.described.id.is_some() {
                    return self.blind(UnknownReason::Conflict);
                }
                self.described = identity;
                self.stage = Stage::Commits;
            }
            (_, Some(identity)) => {
                let Some(observer) = self.observers.get(self.at) else { return };
                let surrounded = Identity {
                    commits: self.described.commits.take(),
                    anonymous_saw: self.described.anonymous_saw,
                    ..identity
                };
                let seen = Sight::Present(Box::new(surrounded), observer.credential.clone());
                self.end(seen);
            }
            (DescriptionRow::Moved, _) => self.end(Sight::Moved),
            (DescriptionRow::NotFound, _) => self.hear_absence(),
            (DescriptionRow::Described | DescriptionRow::OddSuccess, _) => {
                self.blind(UnknownReason::Unrecognized);
            }
            (DescriptionRow::Status | DescriptionRow::Unanswered, _) => self.blind(of_outcome(outcome)),
        }
    }

    /// Whether this describes another repository than the one that was seen a moment ago or, before any was, than the
    /// one that is bound.
    fn is_another(&self, identity: &Identity) -> bool {
        let expected = self.described.id.as_ref().or(self.bound.as_ref());
        matches!((expected, &identity.id), (Some(a), Some(b)) if !a.eq_ignore_ascii_case(b))
    }

    fn hear_absence(&mut self) {
        if !self.observers.get(self.at).is_some_and(|observer| observer.capable) {
            return self.blind(UnknownReason::NoControl);
        }
        if self.with_listing {
            self.stage = Stage::Listing;
        } else {
            self.end(Sight::Absent { listed_absent: false });
        }
    }

    fn hear_listing(&mut self, outcome: &Result<Answer, Failure>) {
        match readings::listed(outcome, &self.repo) {
            ListedRow::Listed => self.blind(UnknownReason::Conflict),
            ListedRow::Missing if self.witness().is_some() => self.stage = Stage::Witness,
            row => self.end(Sight::Absent { listed_absent: row == ListedRow::Missing }),
        }
    }

    fn witness(&self) -> Option<&(RepoType, RepoName)> {
        self.observers.get(self.at)?.witness.as_ref()
    }

    fn hear_witness(&mut self, outcome: &Result<Answer, Failure>) {
        let row = self.witness().map(|(_, repo)| readings::look(outcome, repo));
        match row {
            // Whoever was blind a moment ago found nothing either.
            Some(LookRow::Private) => self.stage = Stage::Last,
            Some(LookRow::NotFound) | None => self.blind(UnknownReason::NoControl),
            Some(LookRow::Unclear) => self.blind(of_outcome(outcome)),
        }
    }

    /// This observer cannot tell; the next one may.
    fn blind(&mut self, why: UnknownReason) {
        if self.at + 1 < self.observers.len() {
            self.at += 1;
            // What surrounds it was asked as somebody who may have seen nothing.
            self.described = Identity::default();
            self.stage = Stage::First;
        } else {
            self.end(Sight::Blind(why));
        }
    }
}

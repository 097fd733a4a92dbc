//! A visit to a canary: a few reads that show whether it is there, whether it is ours, or whether it is gone.
//!
//! Only looks. The one who is asked first is the observer whose "not found" means something; who cannot see is
//! blind, and blindness is never absence. What a visit means for the canary is decided in `canary`.

use serde_json::Value;

use crate::access::{RepoName, RepoType, UnknownReason};
use crate::exchange::{Answer, Credential, Exchange, Failure, Request};
use crate::moment::Timestamp;

use super::answers::{json, of_failure, of_status, repo_not_found};
use super::routes;

/// Somebody who may be asked, and whether "not found" from them proves absence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observer {
    pub credential: Credential,
    pub capable: bool,
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
    described: Identity,
    sight: Sight,
}

impl Visit {
    /// A visit that has not begun. `expected` says that the repository should be there: then what surrounds it
    /// is asked first, so that its own description is as fresh as can be. `with_listing` asks the listing too
    /// before absence is told.
    pub fn new(
        repo: RepoName,
        kind: RepoType,
        observers: Vec<Observer>,
        expected: bool,
        with_listing: bool,
    ) -> Visit {
        let stage = match (observers.is_empty(), expected) {
            (true, _) => Stage::Done,
            (false, true) => Stage::Commits,
            (false, false) => Stage::First,
        };
        // Nobody to ask: their tokens may come back.
        let sight = Sight::Blind(UnknownReason::TokenInvalid);
        Visit { repo, kind, observers, at: 0, stage, with_listing, described: Identity::default(), sight }
    }

    /// The next request, or `None` when the visit is over.
    pub fn next(&self) -> Option<Request> {
        let observer = self.observers.get(self.at)?.credential.clone();
        let (kind, repo) = (self.kind, &self.repo);
        Some(match self.stage {
            Stage::First | Stage::Fresh => routes::repo_info(kind, repo, observer),
            Stage::Commits => routes::commits(kind, repo, observer),
            Stage::Anonymous => routes::repo_info(kind, repo, Credential::Anonymous),
            Stage::Listing => routes::list(kind, &repo.namespace, Some(&repo.name), observer),
            Stage::Done => return None,
        })
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
                self.described.commits = commits_of(outcome);
                self.stage = Stage::Anonymous;
            }
            Stage::Anonymous => {
                self.described.anonymous_saw = match outcome {
                    Ok(answer) if matches!(answer.status, 401 | 403 | 404) => Some(false),
                    // Only a description shows it; whatever else comes back says nothing of who can see it.
                    Ok(answer) if (200..300).contains(&answer.status) => identity_of(answer).map(|_| true),
                    _ => None,
                };
                self.stage = Stage::Fresh;
            }
            Stage::Listing => self.hear_listing(outcome),
            Stage::Done => {}
        }
    }

    fn end(&mut self, sight: Sight) {
        self.sight = sight;
        self.stage = Stage::Done;
    }

    fn hear_description(&mut self, outcome: &Result<Answer, Failure>) {
        match outcome {
            Ok(answer) if (200..300).contains(&answer.status) => match identity_of(answer) {
                Some(identity) if self.stage == Stage::First => {
                    self.described = identity;
                    self.stage = Stage::Commits;
                }
                Some(identity) => {
                    let Some(observer) = self.observers.get(self.at) else { return };
                    let surrounded = Identity {
                        commits: self.described.commits.take(),
                        anonymous_saw: self.described.anonymous_saw,
                        ..identity
                    };
                    let seen = Sight::Present(Box::new(surrounded), observer.credential.clone());
                    self.end(seen);
                }
                None => self.blind(UnknownReason::Unrecognized),
            },
            Ok(answer) if (300..400).contains(&answer.status) => self.end(Sight::Moved),
            Ok(answer) if repo_not_found(answer) => self.hear_absence(),
            Ok(answer) => self.blind(of_status(answer)),
            Err(failure) => self.blind(of_failure(*failure)),
        }
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
        let full = self.repo.to_string();
        let listed = match outcome {
            Ok(answer) if (200..300).contains(&answer.status) => match json(answer) {
                Some(Value::Array(items)) => {
                    Some(items.iter().any(|item| item.get("id").and_then(Value::as_str) == Some(&full)))
                }
                _ => None,
            },
            _ => None,
        };
        match listed {
            Some(true) => self.blind(UnknownReason::Conflict),
            told => self.end(Sight::Absent { listed_absent: told.is_some() }),
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

fn identity_of(answer: &Answer) -> Option<Identity> {
    let body = json(answer)?;
    if !body.is_object() || body.get("error").is_some() {
        return None;
    }
    let text = |field: &str| body.get(field).and_then(Value::as_str).map(str::to_owned);
    let files = body.get("siblings").and_then(Value::as_array).map(|siblings| {
        siblings
            .iter()
            .filter_map(|s| s.get("rfilename").and_then(Value::as_str).map(str::to_owned))
            .collect()
    });
    let identity = Identity {
        full_name: text("id"),
        id: text("_id"),
        author: text("author"),
        private: body.get("private").and_then(Value::as_bool),
        created_at: text("createdAt").as_deref().and_then(Timestamp::parse),
        files,
        commits: None,
        anonymous_saw: None,
    };
    // An object that names nothing describes nothing.
    (identity.full_name.is_some() || identity.id.is_some()).then_some(identity)
}

fn commits_of(outcome: &Result<Answer, Failure>) -> Option<(usize, Option<String>)> {
    let answer = outcome.as_ref().ok().filter(|answer| (200..300).contains(&answer.status))?;
    let Value::Array(commits) = json(answer)? else { return None };
    let author = match commits.as_slice() {
        [only] => only
            .get("authors")
            .and_then(Value::as_array)
            .and_then(|authors| authors.first()?.get("user")?.as_str().map(str::to_owned)),
        _ => None,
    };
    Some((commits.len(), author))
}

//! What is remembered of a canary: the intent written before anything is asked, and all that follows.
//!
//! A plain record. Which transition is allowed when, and what may be deleted, is decided in `hub::canary`;
//! how the record is kept is the store's business.

use crate::access::{RepoName, RepoType, TokenName, words};
use crate::moment::Timestamp;

words! {
    /// Where a canary stands.
    CanaryState {
        /// The intent is durable; the POST may or may not have left.
        Planned = "planned",
        /// The POST may have taken effect; nobody has said so.
        Unknown = "unknown",
        /// The Hub refused the POST, or it provably never left.
        Refused = "refused",
        /// It exists and its id is bound.
        Created = "created",
        /// An attempt to delete it is durable; the DELETE may or may not have left.
        Deleting = "deleting",
        /// The DELETE was sent; its absence is not yet proven.
        DelUnknown = "del_unknown",
        /// Proven absent.
        Gone = "gone",
        /// Something about it is not ours to decide; a person must look.
        Quarantined = "quarantined",
    }
}

words! {
    /// Who signs a DELETE.
    Deleter {
        /// The token that made the canary: the smallest power that may suffice.
        Probed = "probed",
        /// The organization's janitor.
        Janitor = "janitor",
    }
}

words! {
    /// What became of a DELETE.
    DeleteOutcome {
        /// Durable, not yet answered; after a restart it counts as lost.
        Pending = "pending",
        /// 2xx.
        Acknowledged = "acknowledged",
        /// Refused in the Hub's own envelope (403, 404): it is over and cannot land late.
        Refused = "refused",
        /// Refused because the Hub does not accept the token (401): over as well, but it says nothing of the right.
        Unauthenticated = "unauthenticated",
        /// Lost, or answered oddly: it may still take effect until the horizon has passed.
        Lost = "lost",
        /// Not one byte of it left.
        Unsent = "unsent",
    }
}

/// One DELETE of a canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteAttempt {
    /// When the attempt was made durable, just before it was sent; once it is lost, when we gave up on it.
    pub at: Timestamp,
    /// Who signed it.
    pub by: Deleter,
    /// What became of it.
    pub outcome: DeleteOutcome,
}

/// A canary and its whole story. Stored after every step; the latest version is the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// Number of the intent, unique within the store; what a person types after `canaries close`.
    pub id: i64,
    /// Which opening of the store made the intent; 0 where that was not yet written down. Never changes.
    pub epoch: i64,
    /// The repository's full name; its namespace is the organization.
    pub repo: RepoName,
    /// Model, dataset or space.
    pub kind: RepoType,
    /// Resource group id, where it was to be created in one.
    pub group: Option<String>,
    /// The target of the check that made it, as reports show it.
    pub target: String,
    /// The token that was probed.
    pub token: TokenName,
    /// The Hub user whose token it is, where known when the intent was made.
    pub owner: Option<String>,
    /// When the intent was made. A POST leaves within two seconds of its commit or never.
    pub planned_at: Timestamp,
    /// When we gave up on an answer to its POST; `None` while it is under way and once it was answered.
    pub given_up_at: Option<Timestamp>,
    /// Where it stands.
    pub state: CanaryState,
    /// The Hub's id of the repository, once an answer gave one.
    pub repo_id: Option<String>,
    /// Every DELETE, oldest first.
    pub deletes: Vec<DeleteAttempt>,
    /// Capable sightings of absence since it was last seen or changed, oldest first.
    pub absences: Vec<Timestamp>,
    /// How often it was looked at since its state last changed.
    pub looks: u32,
    /// When it is to be looked at next; `None` when nothing is owed any more.
    pub next_at: Option<Timestamp>,
    /// Why it stands where it stands, for people; never text of the Hub.
    pub note: String,
}

impl Canary {
    /// Whether its absence is still owed. Refused ones, and those whose deletion was acknowledged and which an
    /// observer saw gone, are not unfinished although the journal goes on verifying them.
    pub fn unfinished(&self) -> bool {
        !matches!(self.shown(), ShownState::Refused | ShownState::Deleted) && self.state != CanaryState::Gone
    }

    /// The latest moment that its record names as past.
    pub fn latest_mark(&self) -> Timestamp {
        let deletes = self.deletes.iter().map(|attempt| attempt.at);
        let marks = deletes.chain(self.absences.iter().copied()).chain(self.given_up_at);
        marks.fold(self.planned_at, Timestamp::max)
    }

    /// The state as reports show it.
    pub fn shown(&self) -> ShownState {
        let acknowledged = self.deletes.iter().any(|d| d.outcome == DeleteOutcome::Acknowledged);
        match self.state {
            CanaryState::Refused => ShownState::Refused,
            CanaryState::Quarantined => ShownState::Quarantined,
            CanaryState::Gone if self.repo_id.is_none() => ShownState::Refused,
            CanaryState::Gone => ShownState::Deleted,
            CanaryState::DelUnknown if acknowledged && !self.absences.is_empty() => ShownState::Deleted,
            _ => ShownState::Unknown,
        }
    }
}

words! {
    /// The state of a canary in reports.
    ShownState {
        Refused = "refused",
        Deleted = "deleted",
        Unknown = "unknown",
        Quarantined = "quarantined",
    }
}

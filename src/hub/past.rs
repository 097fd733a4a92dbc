//! What a token's present is held against, and for how long a change is told.
//!
//! A change is told from the moment it is seen until it was undone, or until it has been as it is for a day:
//! then it is the new normal. Another change of the same part begins a new day. Where a pin speaks for a part,
//! the pin alone speaks. Pure; the reference outlives the process with the declaration that it belongs to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::moment::Timestamp;

use super::diff::{Topic, differences, keep};
use super::pin::Pinned;
use super::whoami::Declared;

/// How long a change is told that nobody undoes.
pub const LASTS: Duration = Duration::from_secs(24 * 3600);

/// The reference of one configured token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// As it was before the changes that are still told; where none is, as it was last.
    pub declared: Arc<Declared>,
    /// Tells one secret from the next; opaque here, and empty while none is known.
    pub mark: Arc<str>,
    /// The parts that differ from the reference.
    #[serde(default)]
    pub open: BTreeMap<Topic, Open>,
    /// Made of a declaration that an earlier version remembered, which read less of it.
    #[serde(default)]
    pub partial: bool,
}

/// One part that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// When it was seen to change last, in milliseconds since 1970.
    at: i64,
    /// Which difference that was.
    digest: String,
}

impl Past {
    /// The first that is known of a token: there is nothing to hold it against.
    pub fn new(declared: impl Into<Arc<Declared>>, mark: impl Into<Arc<str>>) -> Past {
        Past { declared: declared.into(), mark: mark.into(), open: BTreeMap::new(), partial: false }
    }

    /// Takes what the token declares now.
    pub fn hear(&mut self, organization: &str, pinned: &Pinned<'_>, present: &Arc<Declared>, now: Timestamp) {
        if std::mem::take(&mut self.partial) {
            self.fill(organization, present);
        }
        self.leave_to(pinned, present);
        let mut reference = present.clone();
        for topic in Topic::DECLARED {
            let told = differences(topic, organization, &self.declared, present);
            if self.note(topic, told.is_empty(), &told.join("\n"), now) {
                keep(topic, organization, &self.declared, Arc::make_mut(&mut reference));
            }
        }
        self.declared = reference;
    }

    /// Secrets are marked in another way from now on: the next mark is the first.
    pub fn forget_mark(&mut self) {
        self.mark = Arc::default();
        self.open.remove(&Topic::Secret);
    }

    /// Takes which secret there is now.
    pub fn hear_mark(&mut self, mark: &Arc<str>, now: Timestamp) {
        // One that is the same is in memory once.
        if self.mark.is_empty() || self.mark == *mark {
            self.mark = mark.clone();
        }
        let same = self.mark == *mark;
        self.note(Topic::Secret, same, mark, now);
    }

    /// Ends what is told of this part if it was undone or is a day old; says whether it is told. `present` is
    /// nothing where only the secret is asked about.
    pub fn tells(
        &mut self,
        topic: Topic,
        organization: &str,
        present: Option<&Declared>,
        mark: &Arc<str>,
        now: Timestamp,
    ) -> bool {
        let Some(open) = self.open.get(&topic) else { return false };
        if now.since(Timestamp(open.at)) < LASTS {
            return true;
        }
        self.open.remove(&topic);
        match (topic, present) {
            (Topic::Secret, _) => self.mark = mark.clone(),
            (topic, Some(present)) => keep(topic, organization, present, Arc::make_mut(&mut self.declared)),
            (_, None) => {}
        }
        false
    }

    /// Begins, goes on with or ends what is told of a part. Says whether it differs.
    fn note(&mut self, topic: Topic, same: bool, difference: &str, now: Timestamp) -> bool {
        if same {
            self.open.remove(&topic);
            return false;
        }
        let digest: String =
            Sha256::digest(difference.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        if self.open.get(&topic).is_none_or(|open| open.digest != digest) {
            self.open.insert(topic, Open { at: now.millis(), digest });
        }
        true
    }

    /// What a pin speaks for changes without a word of ours.
    fn leave_to(&mut self, pinned: &Pinned<'_>, present: &Declared) {
        let mine = &mut self.declared;
        if pinned.user.is_some() && mine.user != present.user {
            Arc::make_mut(mine).user.clone_from(&present.user);
        }
        if pinned.role.is_some() && mine.role != present.role {
            Arc::make_mut(mine).role.clone_from(&present.role);
        }
        if pinned.scopes.is_some() && mine.scopes != present.scopes {
            Arc::make_mut(mine).scopes.clone_from(&present.scopes);
        }
    }

    /// What the earlier version did not read cannot have changed.
    fn fill(&mut self, organization: &str, present: &Declared) {
        let mine = Arc::make_mut(&mut self.declared);
        mine.principal.clone_from(&present.principal);
        mine.auth.clone_from(&present.auth);
        mine.global.clone_from(&present.global);
        mine.reads_gated = present.reads_gated;
        let plan = present.membership(organization).and_then(|m| m.plan.clone());
        if let Some(place) = mine.organizations.iter_mut().find(|m| m.name == organization) {
            place.plan = plan;
        }
    }
}

#[cfg(test)]
#[path = "past_tests.rs"]
mod tests;

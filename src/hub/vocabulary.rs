//! The permission strings that the Hub is known to use, where each was seen, and which of our permissions it
//! names.
//!
//! The list is open: the Hub may say a word tomorrow that is not here. Such a word is shown and is a finding on
//! a watched token, never an error. What a word really opens is for the probes to find out.

use crate::access::Permission;

use Permission::{
    EndpointInfer, EndpointRead, EndpointWrite, JobRead, JobWrite, OrgAuditLog, OrgBilling, OrgMembers,
    OrgNetworkSecurity, OrgRepositories, OrgResourceGroups, OrgServiceAccounts, RepoCreate, RepoRead,
    RepoWrite, UserBilling, UserWebhooks,
};

/// Where a word was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// In the Hub's own OpenAPI document, in code of its makers, or in its error texts.
    Confirmed,
    /// In lists of third parties only; UNCONFIRMED.
    Listed,
}

/// One permission string of the Hub.
#[derive(Debug, Clone, Copy)]
pub struct Word {
    pub text: &'static str,
    pub seen: Seen,
    /// What a check may ask about because of it; empty where no check of ours can.
    pub names: &'static [Permission],
}

const fn word(text: &'static str, seen: Seen, names: &'static [Permission]) -> Word {
    Word { text, seen, names }
}

/// All of them.
#[rustfmt::skip]
pub const WORDS: &[Word] = &[
    word("repo.content.read", Seen::Confirmed, &[RepoRead]),
    word("repo.write", Seen::Confirmed, &[RepoCreate, RepoRead, RepoWrite]),
    word("repo.access.read", Seen::Listed, &[]),
    word("discussion.write", Seen::Confirmed, &[]),
    word("post.write", Seen::Confirmed, &[]),
    word("collection.read", Seen::Confirmed, &[]),
    word("collection.write", Seen::Confirmed, &[]),
    word("inference.serverless.write", Seen::Confirmed, &[]),
    word("inference.endpoints.infer.write", Seen::Confirmed, &[EndpointInfer]),
    word("inference.endpoints.write", Seen::Confirmed, &[EndpointRead, EndpointWrite]),
    word("inference.endpoints.read", Seen::Confirmed, &[EndpointRead]),
    word("org.read", Seen::Confirmed, &[OrgMembers, OrgRepositories, OrgResourceGroups]),
    word("org.write", Seen::Confirmed, &[OrgMembers, OrgRepositories, OrgResourceGroups]),
    word("resourceGroup.write", Seen::Confirmed, &[OrgResourceGroups]),
    word("job.write", Seen::Confirmed, &[JobRead, JobWrite]),
    word("org.serviceAccounts.read", Seen::Confirmed, &[OrgServiceAccounts]),
    word("org.serviceAccounts.write", Seen::Confirmed, &[OrgServiceAccounts]),
    word("org.networkSecurity.read", Seen::Listed, &[OrgNetworkSecurity]),
    word("org.networkSecurity.write", Seen::Confirmed, &[OrgNetworkSecurity]),
    word("org.auditLog.write", Seen::Listed, &[OrgAuditLog]),
    word("org.billing.read", Seen::Listed, &[OrgBilling]),
    word("org.members.read", Seen::Listed, &[OrgMembers]),
    word("org.members.write", Seen::Listed, &[OrgMembers]),
    word("org.repos.read", Seen::Listed, &[OrgRepositories]),
    word("user.billing.read", Seen::Confirmed, &[UserBilling]),
    word("user.webhooks.read", Seen::Confirmed, &[UserWebhooks]),
    word("user.webhooks.write", Seen::Confirmed, &[UserWebhooks]),
    word("user.mcp.read", Seen::Listed, &[]),
    word("user.notifications.read", Seen::Listed, &[]),
    word("user.notifications.write", Seen::Listed, &[]),
    word("user.papers.write", Seen::Listed, &[]),
    word("user.preferences.write", Seen::Listed, &[]),
    word("user.settings.notifications.write", Seen::Listed, &[]),
    word("user.social.likes.write", Seen::Listed, &[]),
    word("sql-console.embed.write", Seen::Listed, &[]),
];

/// The types of entity that a scope is known to be about (OpenAPI).
pub const ENTITIES: &[&str] = &[
    "dataset",
    "model",
    "space",
    "bucket",
    "kernel",
    "collection",
    "org",
    "user",
    "resource-group",
    "oauth-app",
];

/// The word, if it is one that is known.
pub fn word_of(text: &str) -> Option<&'static Word> {
    WORDS.iter().find(|word| word.text == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_stands_once_and_every_permission_is_named_by_one() {
        for (at, word) in WORDS.iter().enumerate() {
            assert!(WORDS.iter().skip(at + 1).all(|other| other.text != word.text), "{} twice", word.text);
            assert!(word_of(word.text).is_some_and(|found| found.names == word.names));
        }
        for permission in Permission::ALL {
            assert!(WORDS.iter().any(|word| word.names.contains(permission)), "nothing names {permission}");
        }
        assert!(word_of("repo.teleport").is_none());
    }
}

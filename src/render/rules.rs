//! What each kind of finding means, for readers who meet it in another program: a title, what was seen, what to do.
//!
//! One rule a kind, and one for what stayed unknown. The match is exhaustive, so that a new kind cannot be told of
//! without its words. Knows no format.

use crate::report::FindingKind;

/// How loudly a rule speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// More access than the organization wants anybody to have.
    Error,
    /// Something to look after.
    Warning,
    /// No verdict.
    Note,
}

/// The words of one kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// The kind's one spelling.
    pub(super) id: &'static str,
    pub(super) level: Level,
    /// A title.
    pub(super) short: &'static str,
    /// What was seen, and what that means.
    pub(super) full: &'static str,
    /// What to do.
    pub(super) help: &'static str,
}

/// Every rule, in the order of the contract; the unknown comes last.
pub(super) fn all() -> impl Iterator<Item = &'static Rule> {
    FindingKind::ALL.iter().map(|kind| of(*kind)).chain([&UNKNOWN])
}

/// The rule of a kind.
pub(super) const fn of(kind: FindingKind) -> &'static Rule {
    match kind {
        FindingKind::UnexpectedGrant => &UNEXPECTED_GRANT,
        FindingKind::UnexpectedDenial => &UNEXPECTED_DENIAL,
        FindingKind::LatentGrant => &LATENT_GRANT,
        FindingKind::PredictionMismatch => &PREDICTION_MISMATCH,
        FindingKind::TokenUnusable => &TOKEN_UNUSABLE,
        FindingKind::ExpiresSoon => &EXPIRES_SOON,
        FindingKind::Rotated => &ROTATED,
        FindingKind::DeclaredChanged => &DECLARED_CHANGED,
        FindingKind::RoleChanged => &ROLE_CHANGED,
        FindingKind::OwnerChanged => &OWNER_CHANGED,
        FindingKind::PolicyChanged => &POLICY_CHANGED,
        FindingKind::UnknownPermission => &UNKNOWN_PERMISSION,
        FindingKind::UncheckedPermission => &UNCHECKED_PERMISSION,
        FindingKind::UnmanagedToken => &UNMANAGED_TOKEN,
        FindingKind::MissingToken => &MISSING_TOKEN,
        FindingKind::CanaryLeft => &CANARY_LEFT,
        FindingKind::StateReset => &STATE_RESET,
        FindingKind::HubUnreachable => &HUB_UNREACHABLE,
        FindingKind::Blind => &BLIND,
        FindingKind::IgnoreExpired => &IGNORE_EXPIRED,
    }
}

/// What stayed unknown is no finding, and has its rule so that it is never lost.
pub(super) static UNKNOWN: Rule = Rule {
    id: "unknown",
    level: Level::Note,
    short: "Nobody can say whether a token can do this",
    full: "The check was tried and nothing can be said: the answer was no answer, or no control showed that it would \
           mean something. Unknown is neither granted nor denied.",
    help: "Read the reason. What passes by itself (rate limits, faults of the Hub, the network) is asked again in the \
           next round; a target that does not exist and a token that the Hub refuses are for a person.",
};

static UNEXPECTED_GRANT: Rule = Rule {
    id: FindingKind::UnexpectedGrant.as_str(),
    level: Level::Error,
    short: "A token can do what it must not",
    full: "The Hub granted what the organization expects it to deny: the token has more power than anybody \
           gave it on purpose.",
    help: "Narrow the token's scopes, or the role of its user in the organization or the resource group. If \
           the access is meant, change the expectation, or accept it for a while under `ignores:` with an \
           owner and a reason.",
};

static UNEXPECTED_DENIAL: Rule = Rule {
    id: FindingKind::UnexpectedDenial.as_str(),
    level: Level::Warning,
    short: "A token cannot do what it should",
    full: "The Hub refused what the organization expects it to grant: what depends on the token does not \
           work.",
    help: "Read the reason of the denial: missing scopes or roles, the organization's token policy, a \
           revocation, single sign-on, billing. Grant what is missing, or change the expectation.",
};

static LATENT_GRANT: Rule = Rule {
    id: FindingKind::LatentGrant.as_str(),
    level: Level::Warning,
    short: "Only the user's role stands between a token and what it must not do",
    full: "The access is denied, as hoped, but only because of the user's role: the token's own scope would \
           allow it. The day the user gets a wider role, the token can do it.",
    help: "Narrow the token's scope, so that the denial does not depend on its user's role.",
};

static PREDICTION_MISMATCH: Rule = Rule {
    id: FindingKind::PredictionMismatch.as_str(),
    level: Level::Warning,
    short: "The Hub does not do what its documents say",
    full: "What the Hub did differs from what its documented model gives for what the token declares. \
           Something that cannot be seen takes part, or the Hub and its documents differ.",
    help: "Look at the factors with `scopewatch explain`; the Hub's support asks for the request ids of the \
           evidence.",
};

static TOKEN_UNUSABLE: Rule = Rule {
    id: FindingKind::TokenUnusable.as_str(),
    level: Level::Warning,
    short: "A token cannot be used",
    full: "The Hub does not accept the token, or its secret cannot be read. Nothing that depends on it can be \
           checked.",
    help: "Renew the token, or correct the place of its secret.",
};

static EXPIRES_SOON: Rule = Rule {
    id: FindingKind::ExpiresSoon.as_str(),
    level: Level::Warning,
    short: "A token expires soon",
    full: "The token's expiry is nearer than `alerts.expires_within`.",
    help: "Issue a new token in time and replace the secret.",
};

static ROTATED: Rule = Rule {
    id: FindingKind::Rotated.as_str(),
    level: Level::Warning,
    short: "A token was replaced",
    full: "The secret is another one than before, which is as it should be only if somebody replaced it on \
           purpose.",
    help: "Ask the token's owner whether the replacement was meant, and see that the old token is deleted.",
};

static DECLARED_CHANGED: Rule = Rule {
    id: FindingKind::DeclaredChanged.as_str(),
    level: Level::Warning,
    short: "A token declares something else than it did",
    full: "What the Hub says of the token differs from what is pinned under `declared:`, or from what it said \
           before.",
    help: "Find out who changed the token. If the change is meant, change the pin.",
};

static ROLE_CHANGED: Rule = Rule {
    id: FindingKind::RoleChanged.as_str(),
    level: Level::Warning,
    short: "A role changed",
    full: "The role of the token, or of its user, is another one than is pinned or than it was.",
    help: "Find out who changed it. If the change is meant, change the pin.",
};

static OWNER_CHANGED: Rule = Rule {
    id: FindingKind::OwnerChanged.as_str(),
    level: Level::Warning,
    short: "A token belongs to somebody else",
    full: "The Hub user whose token it is, is another one than is pinned or than it was.",
    help: "Find out whose token the secret holds; a token of another user has that user's rights.",
};

static POLICY_CHANGED: Rule = Rule {
    id: FindingKind::PolicyChanged.as_str(),
    level: Level::Warning,
    short: "The token policy treats a token differently",
    full: "The organization's token policy now treats the token in another way: pending, denied, revoked or \
           approved.",
    help: "Ask an admin of the organization what was decided about the token, and why.",
};

static UNKNOWN_PERMISSION: Rule = Rule {
    id: FindingKind::UnknownPermission.as_str(),
    level: Level::Warning,
    short: "A token has a permission that is not known here",
    full: "The token declares a permission of which this program does not know what it allows.",
    help: "Find out what it allows before the token keeps it; a newer release may know it.",
};

static UNCHECKED_PERMISSION: Rule = Rule {
    id: FindingKind::UncheckedPermission.as_str(),
    level: Level::Warning,
    short: "Nobody said whether a token should have a permission",
    full: "The token declares a permission that no check covers.",
    help: "Add a check of it to the token's `expect:`, or take the permission away from the token.",
};

static UNMANAGED_TOKEN: Rule = Rule {
    id: FindingKind::UnmanagedToken.as_str(),
    level: Level::Warning,
    short: "A token that the config does not know",
    full: "The organization's inventory holds a token that the config does not name, so nothing is expected \
           of it.",
    help: "Add it to `tokens:` with its expectations, or have it deleted.",
};

static MISSING_TOKEN: Rule = Rule {
    id: FindingKind::MissingToken.as_str(),
    level: Level::Warning,
    short: "A token that the organization does not have",
    full: "The config names a token that the organization's inventory does not hold.",
    help: "Remove it from the config, or find out why it is gone.",
};

static CANARY_LEFT: Rule = Rule {
    id: FindingKind::CanaryLeft.as_str(),
    level: Level::Warning,
    short: "A test repository may be left on the Hub",
    full: "A canary was made and its absence is not proven, or something about it is for a person to decide.",
    help: "See `scopewatch canaries list`; `sweep` goes on with the clean-up, `close` ends what a person has \
           looked at.",
};

static STATE_RESET: Rule = Rule {
    id: FindingKind::StateReset.as_str(),
    level: Level::Warning,
    short: "What was remembered is gone",
    full: "The store does not hold what it held before: older findings and unfinished canaries are no longer \
           known.",
    help: "Find out what happened to the store, and look on the Hub for repositories with the canary prefix.",
};

static HUB_UNREACHABLE: Rule = Rule {
    id: FindingKind::HubUnreachable.as_str(),
    level: Level::Warning,
    short: "The Hub gives no usable answer",
    full: "A whole round had no usable answer of the Hub: nothing is being checked.",
    help: "Check the network, `hub.endpoint` and the Hub's status page.",
};

static BLIND: Rule = Rule {
    id: FindingKind::Blind.as_str(),
    level: Level::Warning,
    short: "No conclusive answer for too long",
    full: "There was no conclusive answer for longer than `alerts.stale_after`, or a control did not answer \
           as it must: drift would not be seen.",
    help: "Read the reasons of the latest results, and see to what hinders them.",
};

static IGNORE_EXPIRED: Rule = Rule {
    id: FindingKind::IgnoreExpired.as_str(),
    level: Level::Warning,
    short: "What was accepted for a while is accepted no longer",
    full: "The last day of an entry of `ignores:` is over: what it accepted is a finding again.",
    help: "Mend what it accepted, renew it with a later `until`, or remove it.",
};

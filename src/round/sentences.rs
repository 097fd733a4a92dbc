//! One sentence for a person: what happened, to what, and what to do.

use crate::access::{Access, Check, DenyReason, UnknownReason, Verdict};
use crate::explain::deed;
use crate::hub::predict::{Concludes, Prediction};
use crate::report::FindingKind;

/// The sentence of a result. `why` is what the walk itself had to say.
pub(super) fn result(check: &Check, verdict: Verdict, found: Access, why: &str) -> String {
    let (token, deed) = (&check.token, deed(check));
    match (verdict, found) {
        (Verdict::UnexpectedGrant, _) => {
            let also = if why.is_empty() { String::new() } else { format!(" ({why})") };
            format!(
                "'{token}' can {deed}, which is expected to be denied; narrow the token's scopes or its user's role{also}"
            )
        }
        (Verdict::UnexpectedDenial, Access::Denied(reason)) => {
            format!("'{token}' cannot {deed}, which is expected to be allowed: {}", denial(reason))
        }
        (_, Access::Undetermined(reason)) if why.is_empty() => {
            format!("whether '{token}' can {deed} is unknown: {}", unknown(reason))
        }
        (_, Access::Undetermined(_)) => format!("whether '{token}' can {deed} is unknown: {why}"),
        (_, Access::Allowed) => format!("'{token}' can {deed}, as expected"),
        (_, Access::Denied(reason)) => format!("'{token}' cannot {deed}, as expected: {}", denial(reason)),
    }
}

fn denial(reason: DenyReason) -> &'static str {
    match reason {
        DenyReason::Scope => "the token's scopes or its user's role do not include it",
        DenyReason::TokenPolicy => {
            "the organization's token policy does not admit the token; an admin must approve it"
        }
        DenyReason::TokenRevoked => "an admin of the organization revoked the token; issue another",
        DenyReason::Sso => "the organization asks for single sign-on",
        DenyReason::Mfa => "the organization asks for two-factor authentication",
        DenyReason::IpRestriction => "the organization does not admit this address",
        DenyReason::Billing => "a spending or storage limit of the organization refuses it",
        DenyReason::Hidden => "the Hub hides the repository from the token",
        DenyReason::Other => {
            "the Hub refused with a text that is not in our table; see the evidence's request id"
        }
    }
}

fn unknown(reason: UnknownReason) -> &'static str {
    match reason {
        UnknownReason::TokenInvalid => "the Hub does not accept the token; renew it",
        UnknownReason::RateLimited => "the Hub limited the rate; it is asked again later",
        UnknownReason::CreationCap => {
            "the creations of this user are used up for now; it is asked again later"
        }
        UnknownReason::NoControl => "no control shows that an answer would mean something",
        UnknownReason::TargetMissing => {
            "the target does not exist under exactly this name; correct the config"
        }
        UnknownReason::Conflict => {
            "the Hub said that the name or the user's create lock was taken; it is asked again"
        }
        UnknownReason::Billing => "the Hub asks for a subscription (402), which says nothing of permissions",
        UnknownReason::HubError => "the Hub had an error of its own (5xx); it is asked again",
        UnknownReason::Timeout => "the Hub did not answer in time (hub.request_timeout); it is asked again",
        UnknownReason::Network => "the Hub could not be reached; check the network and hub.endpoint",
        UnknownReason::Unrecognized => {
            "the answer was not one of the Hub's; check what stands between it and us"
        }
        UnknownReason::IntentNotStored => {
            "the intent could not be stored, so nothing was asked; see the store"
        }
        UnknownReason::ReadOnly => "trying it may change something, and --read-only is on",
    }
}

/// What to do where the Hub does otherwise than its documents say, or where only a role stands in between.
pub(super) fn predicted(kind: FindingKind, check: &Check, prediction: &Prediction, found: Access) -> String {
    let (token, deed) = (&check.token, deed(check));
    if kind == FindingKind::LatentGrant {
        return format!(
            "'{token}' cannot {deed}, but only because of its user's role: the token's own scope would allow it the day that role changes; narrow the token's scopes"
        );
    }
    let (can, says) = match found {
        Access::Allowed => ("can", "denies"),
        _ => ("cannot", "allows"),
    };
    let deciding =
        prediction.factors.iter().find(|factor| matches!(factor.rule.concludes, Concludes::Denies(_)));
    let because = deciding.map(|factor| format!(" ({})", factor.sentence)).unwrap_or_default();
    format!(
        "'{token}' {can} {deed}, though the Hub's documented model {says} it{because}; see `scopewatch explain {token} {}`, and if nothing there explains it, show the request id to the Hub's support",
        check.permission
    )
}

/// What to do about a lasting finding of a check.
pub(super) fn finding(kind: FindingKind, check: &Check) -> String {
    let (token, deed) = (&check.token, deed(check));
    match kind {
        FindingKind::UnexpectedGrant => {
            format!("'{token}' can {deed} although it must not; narrow the token's scopes or its user's role")
        }
        FindingKind::UnexpectedDenial => {
            format!("'{token}' cannot {deed} although it should; see the reason in the report")
        }
        _ => format!(
            "there has been no conclusive answer to whether '{token}' can {deed} for too long; see the reason in the report"
        ),
    }
}

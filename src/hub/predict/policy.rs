//! The first factor: what an organization asks of every token, whatever it names and whoever holds it.
//!
//! whoami-v2 lists what bars this very token; the policy says it too, where a round knows it.

use super::Factor;
use super::facts::{Case, TokenPolicy};
use super::rules::{self, Rule};
use super::token::Kind;

/// What whoami-v2 calls each restriction, the gravest first, and what to do about it.
const KNOWN: [(&str, &Rule, &str); 5] = [
    ("token-revoked", &rules::RESTRICTION_REVOKED, "has revoked this token; only a new one helps"),
    (
        "token-policy",
        &rules::RESTRICTION_POLICY,
        "does not let this token in: it is of a kind that the policy refuses, or an admin has not approved it",
    ),
    ("sso", &rules::RESTRICTION_SSO, "asks for a single sign-on session that this token does not have"),
    (
        "mfa",
        &rules::RESTRICTION_MFA,
        "asks for two-factor authentication, which the token's user has not set up",
    ),
    ("ip", &rules::RESTRICTION_IP, "refuses tokens from the address that this one is used from"),
];

pub(super) fn factors(case: &Case<'_>) -> Vec<Factor> {
    if case.own() {
        return Vec::new();
    }
    let mut found = listed(case);
    found.extend(by_policy(case));
    if found.is_empty() {
        found.push(unlisted(case));
    }
    found
}

fn listed(case: &Case<'_>) -> Vec<Factor> {
    let words = case.member.map_or(&[][..], |member| &member.restrictions);
    let known = KNOWN.iter().filter(|(word, _, _)| words.iter().any(|listed| listed == word));
    let known = known.map(|(_, rule, what)| bar(case, rule, &say!(case, "{} {what}", case.namespace)));
    let odd = words.iter().filter(|word| KNOWN.iter().all(|(known, _, _)| known != word));
    let odd = odd.map(|word| {
        let sentence = say!(case, "{} bars this token in a way that no document describes", case.namespace);
        Factor::new(&rules::RESTRICTION_UNHEARD, sentence).with("restriction", word)
    });
    known.chain(odd).collect()
}

/// A bar, but for what anyone may read: there two documents contradict each other.
fn bar(case: &Case<'_>, rule: &'static Rule, sentence: &str) -> Factor {
    if case.public_read() {
        let sentence = say!(case, "{sentence}; whether that keeps it from a public repository is not said");
        return Factor::new(&rules::RESTRICTION_PUBLIC, sentence);
    }
    Factor::new(rule, sentence)
}

fn by_policy(case: &Case<'_>) -> Option<Factor> {
    let told =
        case.member.is_some_and(|member| member.restrictions.iter().any(|word| word == "token-policy"));
    if told || case.namespace != case.organization {
        return None;
    }
    let name = case.namespace;
    match (case.known.policy?, case.kind) {
        (TokenPolicy::FineGrainedOnly | TokenPolicy::RequireApproval, Kind::Read | Kind::Write) => {
            let sentence =
                say!(case, "{name} lets in fine-grained tokens only, and this is a read or write token");
            Some(bar(case, &rules::RESTRICTION_CLASSIC, &sentence))
        }
        _ => None,
    }
}

/// Nothing is listed: because there is nothing, or because the token was not told.
fn unlisted(case: &Case<'_>) -> Factor {
    let name = case.namespace;
    if case.member.is_some() {
        return Factor::new(&rules::RESTRICTION_NONE, say!(case, "nothing bars this token from {name}"));
    }
    if case.public_read() || (case.kind.is_classic() && !case.service_account()) {
        let sentence =
            say!(case, "{name} is not among the user's organizations, so its rules for members do not apply");
        return Factor::new(&rules::RESTRICTION_OUTSIDE, sentence);
    }
    let sentence =
        say!(case, "the Hub did not show {name} to this token, so nobody can tell what bars it there");
    Factor::new(&rules::RESTRICTION_UNREAD, sentence)
}

//! The last factors: whether the repository is public, whether it asks its readers in, what the plan offers.

use crate::access::Permission;

use super::facts::{Case, Role};
use super::rules;
use super::token::{self, Kind};
use super::{Factor, Remedy};

/// `before` are the factors so far: whether visibility matters depends on them.
pub(super) fn factors(case: &Case<'_>, before: &[Factor]) -> Vec<Factor> {
    match case.permission {
        Permission::RepoRead => vec![visibility(case, before), gate(case)],
        _ => plan(case).into_iter().collect(),
    }
}

fn visibility(case: &Case<'_>, before: &[Factor]) -> Factor {
    let what = case.what();
    match case.known.private {
        Some(false) => Factor::new(&rules::VISIBILITY_PUBLIC, say!(case, "{what} is public")),
        Some(true) => Factor::new(&rules::VISIBILITY_PRIVATE, say!(case, "{what} is private")),
        None if before.iter().all(Factor::lets_pass) => {
            Factor::new(&rules::VISIBILITY_EITHER, say!(case, "whether {what} is public makes no difference"))
        }
        None => {
            let sentence =
                say!(case, "whether {what} is public could not be read; if it is, every token may read it");
            Factor::new(&rules::VISIBILITY_UNREAD, sentence)
        }
    }
}

fn gate(case: &Case<'_>) -> Factor {
    let what = case.what();
    match case.known.gated {
        None => {
            return Factor::new(&rules::GATE_UNREAD, say!(case, "whether {what} is gated could not be read"));
        }
        Some(false) => return Factor::new(&rules::GATE_OPEN, say!(case, "{what} is not gated")),
        Some(true) if case.own() => {
            return Factor::new(
                &rules::GATE_OWNER,
                say!(case, "{what} is gated, and the token's user is its author"),
            );
        }
        Some(true) => {}
    }
    if case.kind == Kind::Fine
        && let Some(closed) = switch(case)
    {
        return closed;
    }
    if is_admin(case) {
        let sentence = say!(case, "{what} is gated, and the user is an admin of {}", case.namespace);
        return Factor::new(&rules::GATE_ADMIN, sentence);
    }
    let sentence = say!(case, "{what} is gated, and whether its authors let this user in is not declared");
    Factor::new(&rules::GATE_CONSENT, sentence)
}

fn is_admin(case: &Case<'_>) -> bool {
    case.member.is_some_and(|member| member.role.as_deref() == Some(Role::Admin.as_str()))
}

/// What a fine-grained token needs besides its user's right; nothing when it has that.
fn switch(case: &Case<'_>) -> Option<Factor> {
    let what = case.what();
    match case.declared.reads_gated {
        Some(true) => return None,
        None => {
            let sentence = "the Hub does not show whether the token may read gated repositories";
            return Some(Factor::new(&rules::GATE_SWITCH_UNREAD, sentence));
        }
        Some(false) => {}
    }
    if token::names(case) {
        let sentence =
            say!(case, "the token names {what} but does not have the switch for public gated repositories");
        return Some(Factor::new(&rules::GATE_SWITCH_SCOPED, sentence));
    }
    let sentence = say!(case, "{what} is gated, and the token's switch for public gated repositories is off");
    Some(Factor::new(&rules::GATE_SWITCH, sentence).remedied(Some(Remedy::GatedSwitch)))
}

/// The pages of an organization that not every plan has, with the plans for which a document says that it has.
fn plan(case: &Case<'_>) -> Option<Factor> {
    let offering: &[&str] = match case.permission {
        Permission::OrgAuditLog => &["team", "enterprise", "plus"],
        Permission::OrgResourceGroups => &["team", "academia", "enterprise", "plus"],
        Permission::OrgServiceAccounts => &["enterprise", "plus"],
        Permission::OrgNetworkSecurity => &["plus"],
        _ => return feature(case),
    };
    let name = case.namespace;
    let Some(plan) = case.member.and_then(|member| member.plan.as_deref()) else {
        let sentence = say!(case, "the Hub shows no plan of {name}, and not every plan has this page");
        return Some(Factor::new(&rules::PLAN_UNREAD, sentence));
    };
    let (rule, sentence) = if offering.contains(&plan) {
        (&rules::PLAN_OFFERS, say!(case, "the plan of {name} has this page"))
    } else {
        (&rules::PLAN_NOT_SAID, say!(case, "whether the plan of {name} has this page is not said"))
    };
    Some(Factor::new(rule, sentence).with("plan", plan))
}

/// What an organization can keep to its admins, who always have it.
fn feature(case: &Case<'_>) -> Option<Factor> {
    use Permission::{EndpointInfer, EndpointRead, EndpointWrite, JobRead, JobWrite};
    let costs = matches!(case.permission, JobRead | JobWrite | EndpointRead | EndpointWrite | EndpointInfer);
    let sentence =
        say!(case, "whether {} keeps this to its admins or to some groups is not declared", case.namespace);
    (costs && !is_admin(case)).then(|| Factor::new(&rules::PLAN_FEATURE, sentence))
}

//! The third and the fourth factor: the user's role in the organization, and in the resource group.
//!
//! How the two combine is not written down. Inside a group the group's role is enough (a member without any
//! access to the organization has it there), and an admin of the organization reaches into every group; where
//! only the organization role would be enough, the documents are silent.

use crate::access::Permission;
use crate::hub::whoami::{GroupRole, Membership};

use super::facts::{Case, Need, Place, Role};
use super::rules::{self, Rule};
use super::{Factor, Remedy};

/// What a role alone allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Can {
    Yes,
    No,
    /// To what its holder created, and that is not declared.
    Own,
    /// No document knows the role.
    Unheard,
}

fn can(role: Option<&str>, need: Need) -> Can {
    let Some(role) = role.and_then(|word| word.parse::<Role>().ok()) else { return Can::Unheard };
    let least = least(need);
    match (role, need) {
        (Role::Contributor, Need::Write) => Can::Own,
        _ if role >= least => Can::Yes,
        _ => Can::No,
    }
}

fn least(need: Need) -> Role {
    match need {
        Need::Read => Role::Read,
        Need::Create => Role::Contributor,
        Need::Write => Role::Write,
    }
}

pub(super) fn factors(case: &Case<'_>) -> Vec<Factor> {
    if case.public_read() {
        return Vec::new();
    }
    if case.own() {
        return vec![Factor::new(&rules::ROLE_OWNER, "this is the token's own user's namespace")];
    }
    if case.service_account() {
        let sentence = "the user is a service account: its tokens alone define what it may do";
        let account = Factor::new(&rules::ROLE_SERVICE_ACCOUNT, sentence);
        return std::iter::once(account).chain(case.group_may_be_missing().then(unresolved)).collect();
    }
    match (case.member, case.need()) {
        (None, need) => vec![stranger(case, need)],
        (Some(member), Some(need)) => on_repositories(case, member, need),
        (Some(member), None) => vec![on_organization(case, member)],
    }
}

/// The organization is not among those that the token is shown.
fn stranger(case: &Case<'_>, need: Option<Need>) -> Factor {
    let name = case.namespace;
    // An organization is found under a name in any case, and created in under the exact one only.
    let nearly = case.declared.organizations.iter().any(|other| other.name.eq_ignore_ascii_case(name));
    if nearly || !case.kind.is_classic() {
        let sentence = say!(case, "the Hub did not show this token what role its user has in {name}");
        return Factor::new(&rules::ROLE_UNREAD, sentence);
    }
    let sentence = say!(case, "the token's user is not a member of {name}");
    if case.permission == Permission::OrgMembers {
        return Factor::new(
            &rules::ROLE_NOT_SAID,
            say!(case, "{sentence}; part of its member list is public"),
        );
    }
    let hidden = need == Some(Need::Read) || (need == Some(Need::Write) && case.known.private == Some(true));
    let rule = if hidden { &rules::ROLE_OUTSIDER_BLIND } else { &rules::ROLE_OUTSIDER };
    let wanted = need.map_or(Role::Admin, least);
    Factor::new(rule, sentence).remedied(Some(Remedy::OrganizationRole(wanted)))
}

/// The permissions on the organization itself. Who may do what besides repositories is documented for admins,
/// and little of it for others.
fn on_organization(case: &Case<'_>, member: &Membership) -> Factor {
    let name = case.namespace;
    let word = member.role.as_deref().unwrap_or_default();
    let factor = |rule, sentence: String| Factor::new(rule, sentence).with("role", word);
    let Ok(role) = word.parse::<Role>() else {
        return factor(&rules::ROLE_UNHEARD, say!(case, "no document knows the user's role in {name}"));
    };
    let not_said = |why: &str| {
        factor(&rules::ROLE_NOT_SAID, say!(case, "which role in {name} this needs is not said{why}"))
    };
    match (role, case.permission) {
        (Role::Admin, _) => {
            let sentence = say!(case, "the user is an admin of {name}, and admins may use all of it");
            factor(&rules::ROLE_ADMIN, sentence)
        }
        (Role::NoAccess, Permission::OrgMembers) => not_said(": part of the member list is public"),
        (_, Permission::OrgMembers) => {
            factor(&rules::ROLE_MEMBERS, say!(case, "the user's role in {name} reads the member list"))
        }
        (Role::Write, Permission::OrgResourceGroups) => factor(
            &rules::ROLE_GROUPS,
            say!(case, "the user's role in {name} works with its resource groups"),
        ),
        (_, Permission::OrgResourceGroups) => not_said(" for those who manage no groups"),
        (Role::NoAccess, _) if member.groups.is_empty() && case.sees_all_groups() => {
            let sentence =
                say!(case, "the user has no access to {name} and is in none of its resource groups");
            factor(&rules::ROLE_NO_ACCESS, sentence).remedied(Some(Remedy::OrganizationRole(Role::Admin)))
        }
        _ => not_said(""),
    }
}

fn on_repositories(case: &Case<'_>, member: &Membership, need: Need) -> Vec<Factor> {
    let by_role = can(member.role.as_deref(), need);
    let admin = member.role.as_deref() == Some(Role::Admin.as_str());
    match case.place() {
        Place::Root => {
            let none = Factor::new(&rules::GROUP_NONE, say!(case, "no resource group holds {}", case.what()));
            vec![in_root(case, member, need, by_role), none]
        }
        Place::In(group) => {
            let mine = case.mine(&group);
            if admin {
                let missing = case.group_may_be_missing().then(unresolved);
                return std::iter::once(admin_of_groups(case, member)).chain(missing).collect();
            }
            in_group(case, member, need, mine)
        }
        Place::Unknown if admin => vec![admin_of_groups(case, member)],
        Place::Unknown => somewhere(case, member, need, by_role),
    }
}

fn unresolved() -> Factor {
    Factor::new(&rules::GROUP_UNREAD, "the resource group could not be looked up, so it may not exist")
}

fn admin_of_groups(case: &Case<'_>, member: &Membership) -> Factor {
    let sentence =
        say!(case, "the user is an admin of {}, and admins reach into all of its groups", case.namespace);
    Factor::new(&rules::ROLE_ADMIN_GROUPS, sentence).with("role", member.role.as_deref().unwrap_or_default())
}

/// The organization role alone decides.
fn in_root(case: &Case<'_>, member: &Membership, need: Need, by_role: Can) -> Factor {
    let (name, what) = (case.namespace, case.what());
    let (rule, sentence) = match by_role {
        Can::Yes => (allowing(need), say!(case, "the user's role in {name} is enough for {what}")),
        Can::Own => (
            &rules::ROLE_CONTRIBUTOR,
            say!(case, "the user may write to what he created in {name}; who created {what} is not declared"),
        ),
        Can::Unheard => (&rules::ROLE_UNHEARD, say!(case, "no document knows the user's role in {name}")),
        Can::No if need == Need::Read || case.known.private == Some(true) && is_none(member) => {
            (&rules::ROLE_BLIND, say!(case, "the user has no role in {name} that shows him {what}"))
        }
        Can::No => (&rules::ROLE_LACKS, say!(case, "the user's role in {name} is not enough for {what}")),
    };
    let remedy = (by_role == Can::No).then(|| Remedy::OrganizationRole(least(need)));
    Factor::new(rule, sentence).with("role", member.role.as_deref().unwrap_or_default()).remedied(remedy)
}

fn is_none(member: &Membership) -> bool {
    member.role.as_deref() == Some(Role::NoAccess.as_str())
}

fn allowing(need: Need) -> &'static Rule {
    match need {
        Need::Read => &rules::ROLE_READ,
        Need::Create => &rules::ROLE_CREATE,
        Need::Write => &rules::ROLE_WRITE,
    }
}

/// In a group that is known, for somebody who is no admin of the organization.
fn in_group(case: &Case<'_>, member: &Membership, need: Need, mine: Option<&GroupRole>) -> Vec<Factor> {
    let what = case.what();
    let shown = |factor: Factor| match mine {
        Some(mine) => {
            factor.with("group", &mine.name).with("group role", mine.role.as_deref().unwrap_or_default())
        }
        None => factor,
    };
    let by_role = can(member.role.as_deref(), need);
    let by_group = match mine {
        Some(mine) => can(mine.role.as_deref(), need),
        None if case.sees_all_groups() => Can::No,
        None => {
            let sentence =
                say!(case, "the Hub did not show this token whether its user is in the group of {what}");
            return vec![beside(case, member, by_role), Factor::new(&rules::GROUP_UNREAD, sentence)];
        }
    };
    let sees = mine.is_some_and(|mine| can(mine.role.as_deref(), Need::Read) == Can::Yes);
    let hidden = match need {
        Need::Read => true,
        Need::Write => by_role == Can::No && case.known.private == Some(true) && !sees,
        Need::Create => false,
    };
    let (rule, sentence): (&'static Rule, String) = match (by_group, by_role) {
        (Can::Yes, _) => {
            let rule = match need {
                Need::Read => &rules::GROUP_READ,
                Need::Create => &rules::GROUP_CREATE,
                Need::Write => &rules::GROUP_WRITE,
            };
            (rule, say!(case, "the user's role in the resource group is enough for {what}"))
        }
        (Can::Unheard, _) => {
            (&rules::GROUP_UNHEARD, "no document knows the user's role in the group".to_owned())
        }
        (Can::Own, _) => (
            &rules::GROUP_CONTRIBUTOR,
            say!(
                case,
                "the user may write to what he created in the group; who created {what} is not declared"
            ),
        ),
        (Can::No, _) if hidden && (mine.is_none() || by_role == Can::No) => (
            &rules::GROUP_BLIND,
            say!(case, "the user is not among those who see {what} in its resource group"),
        ),
        (Can::No, Can::No) => (
            &rules::GROUP_LACKS,
            say!(
                case,
                "neither in the resource group nor in {} has the user a role that is enough for {what}",
                case.namespace
            ),
        ),
        (Can::No, Can::Yes | Can::Own | Can::Unheard) => (
            &rules::GROUP_OR_ROLE,
            say!(
                case,
                "the user's role in the group is not enough for {what}; his role in {} may be",
                case.namespace
            ),
        ),
    };
    let denied = matches!(rule.concludes, super::Concludes::Denies(_));
    let remedy = denied.then(|| Remedy::GroupRole(least(need)));
    vec![beside(case, member, by_role), shown(Factor::new(rule, sentence).remedied(remedy))]
}

/// The organization role where a group decides, or may decide.
fn beside(case: &Case<'_>, member: &Membership, by_role: Can) -> Factor {
    let sentence = match by_role {
        Can::Yes => say!(case, "the user's role in {} would be enough outside of groups", case.namespace),
        Can::No | Can::Own | Can::Unheard => {
            say!(case, "the user's role in {} does not open {} by itself", case.namespace, case.what())
        }
    };
    Factor::new(&rules::ROLE_BY_GROUP, sentence).with("role", member.role.as_deref().unwrap_or_default())
}

/// In a group or in none, nobody knows. What is the same wherever it lies is said.
fn somewhere(case: &Case<'_>, member: &Membership, need: Need, by_role: Can) -> Vec<Factor> {
    let in_any = member.groups.iter().map(|group| can(group.role.as_deref(), need));
    let nowhere =
        case.sees_all_groups() && by_role == Can::No && in_any.into_iter().all(|can| can == Can::No);
    if nowhere {
        return vec![in_root(case, member, need, by_role)];
    }
    let sentence =
        say!(case, "whether {} is in a resource group, and in which, could not be read", case.what());
    vec![beside(case, member, by_role), Factor::new(&rules::GROUP_UNREAD, sentence)]
}

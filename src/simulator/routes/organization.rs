//! The pages of an organization: overview for everybody, the others for members whose token may read them.
//! Knows which permission, role and plan open each page; the names are partly third parties' lists and so
//! UNCONFIRMED. Tokens, audit log, billing and groups have files of their own. Serves the hub.

use serde_json::Value;
use serde_json::json;

use crate::simulator::answer;
use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::call::Call;
use crate::simulator::caller::Caller;
use crate::simulator::clock::date;
use crate::simulator::id;
use crate::simulator::repo::Repo;
use crate::simulator::route::OrgPage;
use crate::simulator::routes::audit;
use crate::simulator::routes::billing;
use crate::simulator::routes::inventory;
use crate::simulator::routes::list::Page;
use crate::simulator::routes::namespace::require;
use crate::simulator::routes::resource_groups;
use crate::simulator::routes::whoami::avatar;
use crate::simulator::routes::whoami::organization_id;
use crate::simulator::routes::whoami::user_id;
use crate::simulator::state::Doer;
use crate::simulator::state::State;
use crate::simulator::state::Thing;
use crate::simulator::words::Kind;
use crate::simulator::words::Plan;
use crate::simulator::words::Role;
use crate::simulator::world::Organization;

/// What opens a page: one of the permissions (a refusal names the first), the least role, the least plan.
type Key = (&'static [&'static str], Role, Option<Plan>);

/// That the pages ask for no more than these plans is UNCONFIRMED.
fn key_of(page: &OrgPage) -> Key {
    let accounts = &["org.serviceAccounts.read", "org.serviceAccounts.write"];
    match page {
        OrgPage::Overview => (&[], Role::NoAccess, None),
        OrgPage::Members => {
            (&["org.members.read", "org.members.write", "org.read", "org.write"], Role::Read, None)
        }
        OrgPage::ChangeRole(_) => (&["org.write", "org.members.write"], Role::Admin, Some(Plan::Team)),
        OrgPage::Repositories => (&["org.repos.read", "org.read", "org.write"], Role::Admin, None),
        OrgPage::Tokens => (&["org.read", "org.write"], Role::Admin, None),
        OrgPage::NetworkSecurity => (
            &["org.networkSecurity.read", "org.networkSecurity.write", "org.read", "org.write"],
            Role::Admin,
            Some(Plan::Enterprise),
        ),
        OrgPage::ServiceAccounts | OrgPage::ServiceAccount(_) => {
            (accounts, Role::Admin, Some(Plan::Enterprise))
        }
        OrgPage::AuditLog => (&["org.auditLog.write"], Role::Admin, Some(Plan::Team)),
        OrgPage::Billing(_) => (&["org.billing.read"], Role::Admin, None),
    }
}

pub(in crate::simulator) fn answer(
    state: &mut State,
    caller: &Caller,
    call: &Call,
    doer: Doer<'_>,
    name: &str,
    page: &OrgPage,
) -> Reply {
    if *page == OrgPage::Overview {
        caller.optional()?;
    } else {
        caller.required()?;
    }
    let name = &existing(state, name)?;
    let organization = &state.world.organizations[name];
    if *page != OrgPage::Overview {
        let (names, least, plan) = key_of(page);
        require(state, caller, name, names, least)?;
        subscribed(organization, plan)?;
    }
    let about = About { state, name, organization };
    let body = match page {
        OrgPage::Overview => about.overview(),
        OrgPage::Members => return about.paged(call, &about.members(call), "members"),
        OrgPage::ChangeRole(user) => return change_role(state, call, doer, name, user),
        OrgPage::Repositories => {
            return about.paged(call, &about.repositories(call), "settings/repositories");
        }
        OrgPage::Tokens => inventory::tokens(state, call, name, organization),
        OrgPage::NetworkSecurity => about.network_security(),
        OrgPage::ServiceAccounts => inventory::service_accounts(organization),
        OrgPage::ServiceAccount(id) => return inventory::service_account(state, name, organization, id),
        OrgPage::AuditLog => return Ok(audit::export(state, call, name)),
        OrgPage::Billing(bill) => return Ok(billing::of_organization(state, name, *bill)),
    };
    Ok(Answer::json(&body))
}

/// The organization's name as it is; reading is forgiving about letter case. The text is UNCONFIRMED.
pub(super) fn existing(state: &State, name: &str) -> Result<String, Answer> {
    let missing = || Answer::error(404, "This organization does not exist.");
    state.canonical_organization(name).ok_or_else(missing)
}

/// That a right is asked before a plan is UNCONFIRMED.
pub(super) fn subscribed(organization: &Organization, least: Option<Plan>) -> Result<(), Answer> {
    if least.is_none_or(|least| organization.offers(least)) {
        return Ok(());
    }
    Err(Answer::error(402, answer::NEEDS_PLAN))
}

/// `{role, resourceGroups?}`: without the groups, the member leaves all of them. Hub docs, programmatic user
/// access control.
fn change_role(state: &mut State, call: &Call, doer: Doer<'_>, name: &str, user: &str) -> Reply {
    let body = resource_groups::object(call)?;
    let role = resource_groups::role(&body)?;
    let Some(organization) = state.world.organizations.get_mut(name) else {
        return Err(Answer::missing("Organization"));
    };
    if !organization.members.contains_key(user) {
        return Err(Answer::missing("Member"));
    }
    let mut wanted = Vec::new();
    for entry in body["resourceGroups"].as_array().into_iter().flatten() {
        let id = entry["id"].as_str().unwrap_or_default();
        let group = organization.group_by_id(name, id).ok_or_else(|| Answer::missing("Resource group"))?;
        wanted.push((group.to_owned(), resource_groups::role(entry)?));
    }
    organization.members.insert(user.to_owned(), role);
    for users in organization.resource_groups.values_mut() {
        users.remove(user);
    }
    for (group, role) in wanted {
        organization.resource_groups.entry(group).or_default().insert(user.to_owned(), role);
    }
    let thing = Thing { name: &format!("{name}/{user}"), kind: "member", id: &user_id(user) };
    state.note_about(doer, "member_changed", &thing, None);
    Ok(Answer::json(&json!({"success": true})))
}

struct About<'a> {
    state: &'a State,
    name: &'a str,
    organization: &'a Organization,
}

impl About<'_> {
    fn overview(&self) -> Value {
        let public = |kind: Kind| self.repos().filter(|repo| repo.kind == kind && !repo.private).count();
        json!({
            "_id": organization_id(self.name),
            "name": self.name,
            "fullname": self.name,
            "avatarUrl": avatar(self.name),
            "type": "org",
            "isVerified": false,
            "plan": self.organization.plan,
            "numUsers": self.organization.members.len(),
            "numModels": public(Kind::Model),
            "numDatasets": public(Kind::Dataset),
            "numSpaces": public(Kind::Space),
            "numFollowers": 0,
        })
    }

    fn repos(&self) -> impl Iterator<Item = &Repo> {
        self.state.all_shown().filter(|repo| repo.namespace() == self.name)
    }

    fn paged(&self, call: &Call, all: &[Value], tail: &str) -> Reply {
        let page = Page::of(call)?;
        let answer = Answer::json(&Value::from(page.cut(all)));
        let address = format!("{}/api/organizations/{}/{tail}", self.state.base, self.name);
        Ok(page.link(answer, all.len(), call, &address))
    }

    /// Service accounts are not members. What others than admins see less is UNCONFIRMED.
    fn members(&self, call: &Call) -> Vec<Value> {
        let search = call.query("search").unwrap_or_default().to_ascii_lowercase();
        let groups_of = |user: &str| -> Vec<Value> {
            let groups = self.organization.resource_groups.iter();
            let his = groups.filter_map(|(group, users)| Some((group, users, users.get(user)?)));
            his.map(|(group, users, role)| {
                let id = id::resource_group(self.name, group);
                json!({"id": id, "name": group, "numUsers": users.len(), "role": role})
            })
            .collect()
        };
        let member = |(user, role): (&String, &Role)| {
            json!({
                "_id": user_id(user),
                "user": user,
                "fullname": user,
                "avatarUrl": avatar(user),
                "isPro": self.state.world.is_pro(user),
                "type": "user",
                "role": role,
                "resourceGroups": groups_of(user),
                "twoFaEnabled": true,
                "isExternalCollaborator": false,
            })
        };
        let found = self.organization.members.iter();
        found.filter(|(user, _)| user.to_ascii_lowercase().contains(&search)).map(member).collect()
    }

    fn repositories(&self, call: &Call) -> Vec<Value> {
        let kind = call.query("type");
        let search = call.query("search").unwrap_or_default().to_ascii_lowercase();
        let wanted = |repo: &&Repo| {
            kind.as_deref().is_none_or(|kind| kind == repo.kind.name())
                && repo.name.to_ascii_lowercase().contains(&search)
        };
        let shown = self.repos().filter(wanted).map(|repo| {
            json!({
                "id": repo.name,
                "type": repo.kind,
                "updatedAt": date(repo.commits.last().map_or(repo.created_at, |commit| commit.at)),
                "visibility": if repo.private { "private" } else { "public" },
                "storage": 0,
                "storagePercent": 0,
            })
        });
        shown.collect()
    }

    fn network_security(&self) -> Value {
        let rules = &self.organization.network_security;
        json!({
            "enforceAuth": rules.enforce_auth,
            "enforceIpRestriction": rules.enforce_ip_restriction,
            "highRateLimits": rules.high_rate_limits,
            "ipRanges": rules.ip_ranges,
            "blockedContents": [],
            "allowedContents": [],
            "keepReposMetadataVisible": rules.keep_repos_metadata_visible,
        })
    }
}

//! The pages of an organization: overview for everybody, the others for members whose token may read them.
//! Knows which permission opens each page; the names are partly third parties' lists and so UNCONFIRMED.
//! Serves the hub.

use serde_json::Value;
use serde_json::json;

use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::call::Call;
use crate::simulator::caller::Caller;
use crate::simulator::caller::Holder;
use crate::simulator::clock::date;
use crate::simulator::id;
use crate::simulator::repo::Repo;
use crate::simulator::route::OrgPage;
use crate::simulator::routes::list::Page;
use crate::simulator::routes::namespace::require;
use crate::simulator::routes::whoami::avatar;
use crate::simulator::routes::whoami::organization_id;
use crate::simulator::routes::whoami::user_id;
use crate::simulator::state::State;
use crate::simulator::state::long_ago;
use crate::simulator::words::Approval;
use crate::simulator::words::Entity;
use crate::simulator::words::Kind;
use crate::simulator::words::Role;
use crate::simulator::words::TokenPolicy;
use crate::simulator::words::TokenRole;
use crate::simulator::world::Organization;
use crate::simulator::world::Token;

/// The permission names that open a page, the one a refusal names first, and the least role.
fn key_of(page: OrgPage) -> (&'static [&'static str], Role) {
    match page {
        OrgPage::Overview => (&[], Role::NoAccess),
        OrgPage::Members => (&["org.members.read", "org.members.write", "org.read", "org.write"], Role::Read),
        OrgPage::ResourceGroups => (&["org.read", "org.write", "resourceGroup.write"], Role::NoAccess),
        OrgPage::Repositories => (&["org.repos.read", "org.read", "org.write"], Role::Admin),
        OrgPage::Tokens => (&["org.read", "org.write"], Role::Admin),
        OrgPage::NetworkSecurity => {
            (&["org.networkSecurity.read", "org.networkSecurity.write", "org.read", "org.write"], Role::Admin)
        }
        OrgPage::ServiceAccounts => (&["org.serviceAccounts.read", "org.serviceAccounts.write"], Role::Admin),
        OrgPage::AuditLog => (&["org.auditLog.write"], Role::Admin),
        OrgPage::Billing => (&["org.billing.read"], Role::Admin),
    }
}

pub(in crate::simulator) fn answer(
    state: &State,
    caller: &Caller,
    call: &Call,
    name: &str,
    page: OrgPage,
) -> Reply {
    let holder = if page == OrgPage::Overview { caller.optional()? } else { Some(caller.required()?) };
    // Reading is forgiving about letter case, and answers with the name as it is.
    let missing = || Answer::error(404, "This organization does not exist.");
    let canonical = state.canonical_organization(name).ok_or_else(missing)?;
    let organization = state.world.organizations.get(&canonical).ok_or_else(missing)?;
    if page != OrgPage::Overview {
        let (names, least) = key_of(page);
        require(state, caller, &canonical, names, least)?;
    }
    let about = About { state, name: &canonical, organization };
    let body = match page {
        OrgPage::Overview => about.overview(),
        OrgPage::Members => return about.paged(call, &about.members(), "members"),
        OrgPage::ResourceGroups => about.groups(holder),
        OrgPage::Repositories => {
            return about.paged(call, &about.repositories(call), "settings/repositories");
        }
        OrgPage::Tokens => about.tokens(),
        OrgPage::NetworkSecurity => json!({
            "enforceAuth": false,
            "enforceIpRestriction": false,
            "highRateLimits": false,
            "ipRanges": [],
            "blockedContents": [],
            "allowedContents": [],
            "keepReposMetadataVisible": false,
        }),
        OrgPage::ServiceAccounts => about.service_accounts(),
        OrgPage::AuditLog => about.audit_log(),
        OrgPage::Billing => json!({"usage": {}}),
    };
    Ok(Answer::json(&body))
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
        self.state.repos.values().filter(|repo| repo.namespace() == self.name)
    }

    fn paged(&self, call: &Call, all: &[Value], tail: &str) -> Reply {
        let page = Page::of(call)?;
        let answer = Answer::json(&Value::from(page.cut(all)));
        let address = format!("{}/api/organizations/{}/{tail}", self.state.base, self.name);
        Ok(page.link(answer, all.len(), call, &address))
    }

    fn members(&self) -> Vec<Value> {
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
        self.organization.members.iter().map(member).collect()
    }

    /// The groups that the user is in; an admin sees all of them.
    fn groups(&self, holder: Option<&Holder>) -> Value {
        let user = holder.map_or("", |holder| holder.token.user.as_str());
        let admin = self.organization.role_of(user) == Some(Role::Admin);
        let groups = self.organization.resource_groups.iter();
        let shown = groups.filter(|(_, users)| admin || users.contains_key(user)).map(|(group, users)| {
            let users = users.iter().map(|(user, role)| {
                json!({
                    "type": "user",
                    "_id": user_id(user),
                    "name": user,
                    "fullname": user,
                    "avatarUrl": avatar(user),
                    "role": role,
                })
            });
            let inside = self.repos().filter(|repo| repo.resource_group.as_ref() == Some(group));
            let resources =
                inside.map(|repo| json!({"type": repo.kind, "name": repo.name, "private": repo.private}));
            json!({
                "id": id::resource_group(self.name, group),
                "name": group,
                "users": users.collect::<Value>(),
                "resources": resources.collect::<Value>(),
            })
        });
        shown.collect()
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

    /// The inventory of tokens that reach for the organization; its fields are from a documentation change,
    /// not from the OpenAPI, and the form of `owner` is UNCONFIRMED.
    fn tokens(&self) -> Value {
        let reaches = |token: &&Token| {
            let named = token.scopes.iter().any(|scope| scope.entity.namespace() == Some(self.name));
            let member = self.organization.role_of(&token.user).is_some();
            token.alive && member && (token.role != TokenRole::FineGrained || named)
        };
        let tokens = self.state.world.tokens.iter().filter(|(_, token)| reaches(token));
        let shown = tokens.map(|(name, token)| {
            let secret = token.secret.0.as_str();
            json!({
                "_id": id::object(&["token", name]),
                "displayName": name,
                "owner": {"_id": user_id(&token.user), "user": token.user, "type": "user"},
                "role": token.role,
                "last4": last_four(secret),
                "status": self.status(token),
                "createdAt": date(token.created_at.map_or_else(long_ago, |at| at.0)),
            })
        });
        shown.collect()
    }

    fn status(&self, token: &Token) -> &'static str {
        let asks = self.organization.token_policy == TokenPolicy::RequireApproval;
        match token.approval {
            Some(Approval::Revoked) => "revoked",
            Some(Approval::Denied) => "denied",
            Some(Approval::Pending) => "pending",
            Some(Approval::Approved) => "active",
            None if asks && self.organization.role_of(&token.user) != Some(Role::Admin) => "pending",
            None => "active",
        }
    }

    fn service_accounts(&self) -> Value {
        let shown = self.organization.service_accounts.iter().map(|user| {
            json!({
                "_id": user_id(user),
                "user": user,
                "name": user,
                "email": format!("{user}@example.com"),
                "createdAt": date(long_ago()),
                "accessTokens": self.account_tokens(user),
            })
        });
        shown.collect()
    }

    fn account_tokens(&self, user: &str) -> Value {
        let tokens = self.state.world.tokens.iter().filter(|(_, token)| token.user == user);
        let shown = tokens.map(|(name, token)| {
            let wide = |entity: &Entity| matches!(entity, Entity::Organization(name) if name == self.name);
            let scopes = token.scopes.iter().filter(|scope| wide(&scope.entity));
            json!({
                "_id": id::object(&["token", name]),
                "displayName": name,
                "createdAt": date(token.created_at.map_or_else(long_ago, |at| at.0)),
                "role": token.role,
                "permissions": scopes.flat_map(|scope| &scope.permissions).collect::<Vec<_>>(),
                "repoIds": [],
                "repoPermissions": [],
                "endpointPatterns": [],
            })
        });
        shown.collect()
    }

    /// What was created, deleted and moved here, as the audit log tells it.
    fn audit_log(&self) -> Value {
        let prefix = format!("{}/", self.name);
        let changes = self.state.journal.changes.iter().filter(|change| change.repo.starts_with(&prefix));
        let events = changes.filter_map(|change| {
            let kind = match change.kind {
                "created" => "repo.create",
                "deleted" => "repo.delete",
                "moved" => "repo.move",
                "updated" => "repo.update_settings",
                "grouped" => "repo.update_resource_group",
                _ => return None,
            };
            let user = change.user.as_deref().unwrap_or("system");
            let token = change
                .token
                .as_deref()
                .map(|name| json!({"type": "access_token", "id": id::object(&["token", name])}));
            Some(json!({
                "_id": id::object(&["event", &change.seq.to_string()]),
                "createdAt": change.at,
                "type": kind,
                "message": format!("{kind} {}", change.repo),
                "author": {"_id": user_id(user), "user": user, "type": "user"},
                "token": token,
            }))
        });
        events.collect()
    }
}

/// Short secrets give nothing away.
fn last_four(secret: &str) -> Option<&str> {
    let at = secret.len().checked_sub(4).filter(|at| *at >= 8)?;
    secret.get(at..)
}

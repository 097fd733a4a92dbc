//! `GET /api/whoami-v2`: what a token declares of itself and of its user.
//! Knows the answer's shape (OpenAPI, whoami-v2) and this route's own strict limit; grants nothing.
//! Serves the hub.

use chrono::TimeDelta;
use serde_json::Value;
use serde_json::json;

use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::caller::Caller;
use crate::simulator::caller::Holder;
use crate::simulator::clock::date;
use crate::simulator::grants;
use crate::simulator::id;
use crate::simulator::repo::Repo;
use crate::simulator::state::State;
use crate::simulator::state::long_ago;
use crate::simulator::words::Entity;
use crate::simulator::words::Principal;
use crate::simulator::words::TokenRole;
use crate::simulator::world::Organization;
use crate::simulator::world::Scope;
use crate::simulator::world::Token;

/// The limit's size, and whether it is per token, user or address, are UNCONFIRMED; here it is per token and,
/// like the Hub's other caps on one action, says nothing in the headers.
pub(in crate::simulator) fn answer(state: &mut State, caller: &Caller) -> Reply {
    let holder = caller.required()?;
    let limits = &state.world.limits;
    let (quota, seconds, now) = (limits.whoami, limits.window_seconds, state.clock.elapsed_ms());
    if state.quotas.count_whoami(&holder.name, quota, seconds, now).exhausted {
        let text = "You've hit the rate limit for the /whoami-v2 endpoint, which is intentionally strict for \
                    security reasons.";
        return Err(Answer::error(429, text));
    }
    Ok(Answer::json(&shown(state, holder)))
}

fn shown(state: &State, holder: &Holder) -> Value {
    match holder.token.principal {
        Principal::App => application(state, holder),
        Principal::User | Principal::Oauth => whoami(state, holder),
    }
}

/// An application that speaks for itself, as clients describe it: it has a scope and no organizations.
/// Everything else about it is UNCONFIRMED.
fn application(state: &State, holder: &Holder) -> Value {
    let entities: Vec<Value> =
        holder.token.scopes.iter().map(|granted| scope(state, granted)["entity"].clone()).collect();
    let writes =
        holder.token.scopes.iter().any(|scope| scope.permissions.iter().any(|name| name.ends_with(".write")));
    json!({
        "type": "app",
        "id": id::object(&["app", &holder.name]),
        "name": holder.name,
        "scope": {"role": if writes { "write" } else { "read" }, "entities": entities},
        "auth": {"type": "app_token"},
    })
}

/// Organizations and groups are shown whatever the token's scopes, unless the world hides them: what the Hub
/// does for a fine-grained token that names none of them is UNCONFIRMED. A service account is no member
/// (OpenAPI, service accounts); that its own organization is not shown to it is UNCONFIRMED.
fn whoami(state: &State, holder: &Holder) -> Value {
    let world = &state.world;
    let token = &holder.token;
    let user = token.user.as_str();
    let about = world.users.get(user);
    let fine = token.role == TokenRole::FineGrained;
    let shy = fine && about.is_some_and(|about| about.hide_orgs);
    let names_it = |name: &str| token.scopes.iter().any(|scope| scope.entity.namespace() == Some(name));
    let mine = world.organizations.iter().filter(|(name, organization)| {
        let employed =
            organization.service_accounts.contains(user) && !organization.members.contains_key(user);
        organization.role_of(user).is_some() && !employed && (!shy || names_it(name))
    });
    let orgs: Vec<Value> = mine.map(|(name, organization)| membership(name, organization, holder)).collect();
    let mut answer = json!({
        "type": "user",
        "id": user_id(user),
        "name": user,
        "fullname": about.and_then(|about| about.fullname.as_deref()).unwrap_or(user),
        "avatarUrl": avatar(user),
        "isPro": world.is_pro(user),
        "canPay": false,
        "periodEnd": null,
        "orgs": orgs,
        "auth": authentication(state, holder),
    });
    // A fine-grained token without any right on the profile does not learn the address.
    let own = |scope: &Scope| matches!(&scope.entity, Entity::User(name) if name == user);
    if !fine || token.scopes.iter().any(own) {
        let email = about.and_then(|about| about.email.clone());
        answer["email"] = json!(email.unwrap_or_else(|| format!("{user}@example.com")));
        answer["emailVerified"] = json!(true);
    }
    answer
}

/// An OAuth session has no access token to tell of, and always an end; the documented one is eight hours. The
/// word for its type, and what `resource` names, are UNCONFIRMED.
fn authentication(state: &State, holder: &Holder) -> Value {
    let token = &holder.token;
    let created = token.created_at.map_or_else(long_ago, |at| at.0);
    if token.principal == Principal::Oauth {
        let end = token.expires_at.map_or_else(|| state.now() + TimeDelta::hours(8), |at| at.0);
        return json!({"type": "oauth", "expiresAt": date(end), "resource": {"sub": user_id(&token.user)}});
    }
    let mut access = json!({"displayName": holder.name, "role": token.role, "createdAt": date(created)});
    if token.role == TokenRole::FineGrained {
        let mut scoped: Vec<Value> = token.scopes.iter().map(|granted| scope(state, granted)).collect();
        scoped.extend(singled_out(state, token));
        access["fineGrained"] = json!({
            "canReadGatedRepos": token.gated_repos,
            "global": token.global,
            "scoped": scoped,
        });
    }
    let mut auth = json!({"type": "access_token", "accessToken": access});
    if let Some(at) = token.expires_at {
        auth["expiresAt"] = json!(date(at.0));
    }
    auth
}

/// A service account's token tells of its repositories like any other's: UNCONFIRMED.
fn singled_out<'a>(state: &'a State, token: &'a Token) -> impl Iterator<Item = Value> + 'a {
    let named = |repo: &&Repo| token.instead(repo.kind, &repo.name, &repo.id).is_some();
    state.repos.values().filter(named).map(|repo| {
        json!({
            "entity": {"_id": repo.id, "type": repo.kind, "name": repo.name},
            "permissions": token.repo_permissions,
        })
    })
}

fn scope(state: &State, scope: &Scope) -> Value {
    let id = match &scope.entity {
        Entity::Organization(name) => organization_id(name),
        Entity::User(name) => user_id(name),
        Entity::Repository(kind, name) => {
            let there = state.repos.get(&(*kind, name.clone())).map(|repo| repo.id.clone());
            there.unwrap_or_else(|| id::object(&["repo", kind.name(), name]))
        }
        Entity::ResourceGroup { organization, name } => id::resource_group(organization, name),
        Entity::Other(kind, name) => id::object(&[kind, name]),
    };
    let name = match &scope.entity {
        Entity::ResourceGroup { name, .. } => name.clone(),
        entity => entity.name(),
    };
    json!({
        "entity": {"_id": id, "type": scope.entity.type_name(), "name": name},
        "permissions": scope.permissions,
    })
}

fn membership(name: &str, organization: &Organization, holder: &Holder) -> Value {
    let user = holder.token.user.as_str();
    let role_in = |users: &std::collections::BTreeMap<_, _>| users.get(user).copied();
    let groups = organization.resource_groups.iter().filter_map(|(group, users)| {
        let role = role_in(users)?;
        Some(json!({"id": id::resource_group(name, group), "name": group, "role": role}))
    });
    let groups: Vec<Value> = groups.collect();
    let mut membership = json!({
        "type": "org",
        "id": organization_id(name),
        "name": name,
        "fullname": name,
        "email": null,
        "canPay": organization.can_pay.unwrap_or(false),
        "periodEnd": null,
        "avatarUrl": avatar(name),
        "roleInOrg": organization.role_of(user),
    });
    if let Some(plan) = organization.plan {
        membership["plan"] = json!(plan);
    }
    if !groups.is_empty() {
        membership["resourceGroups"] = json!(groups);
    }
    let restrictions = grants::restrictions(organization, holder, name);
    if !restrictions.is_empty() {
        membership["securityRestrictions"] = json!(restrictions);
    }
    membership
}

pub(in crate::simulator) fn organization_id(name: &str) -> String {
    id::object(&["org", name])
}

pub(in crate::simulator) fn user_id(name: &str) -> String {
    id::object(&["user", name])
}

pub(super) fn avatar(name: &str) -> String {
    format!("/avatars/{}.svg", id::object(&["avatar", name]))
}

//! The tokens that reach for an organization: its members', and those of its service accounts.
//! Knows how the Hub lists them; what they may do is the table of grants' business. Serves the organization's
//! pages and, for a secret's end, the audit log.

use serde_json::Value;
use serde_json::json;

use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::call::Call;
use crate::simulator::clock::date;
use crate::simulator::id;
use crate::simulator::routes::whoami::user_id;
use crate::simulator::state::State;
use crate::simulator::state::long_ago;
use crate::simulator::words::Approval;
use crate::simulator::words::Entity;
use crate::simulator::words::Role;
use crate::simulator::words::TokenPolicy;
use crate::simulator::words::TokenRole;
use crate::simulator::world::Organization;
use crate::simulator::world::Token;

/// The inventory of members' tokens; revoked ones only on demand. Its fields are from a documentation change,
/// not from the OpenAPI; the form of `owner`, the words of `status`, and that service accounts' tokens are
/// not here are UNCONFIRMED.
pub(super) fn tokens(state: &State, call: &Call, name: &str, organization: &Organization) -> Value {
    let all = call.query("status").as_deref() == Some("all");
    let reaches = |token: &Token| {
        let named = token.scopes.iter().any(|scope| scope.entity.namespace() == Some(name));
        let member = organization.role_of(&token.user).is_some()
            && !organization.service_accounts.contains(&token.user);
        token.alive && member && (token.role != TokenRole::FineGrained || named)
    };
    let tokens = state.world.tokens.iter().filter(|(_, token)| reaches(token));
    let shown = tokens.filter_map(|(known_as, token)| {
        let status = status(organization, token);
        if status == "revoked" && !all {
            return None;
        }
        let mut shown = json!({
            "_id": id::object(&["token", known_as]),
            "displayName": known_as,
            "owner": {"_id": user_id(&token.user), "user": token.user, "type": "user"},
            "role": token.role,
            "status": status,
            "createdAt": created(token),
        });
        add_use(state, known_as, token, &mut shown);
        Some(shown)
    });
    shown.collect()
}

fn status(organization: &Organization, token: &Token) -> &'static str {
    let asks = organization.token_policy == TokenPolicy::RequireApproval;
    match token.approval {
        Some(Approval::Revoked) => "revoked",
        Some(Approval::Denied) => "denied",
        Some(Approval::Pending) => "pending",
        Some(Approval::Approved) => "active",
        None if asks && organization.role_of(&token.user) != Some(Role::Admin) => "pending",
        None => "active",
    }
}

/// Without their tokens, as in the OpenAPI.
pub(super) fn service_accounts(organization: &Organization) -> Value {
    organization.service_accounts.iter().map(|user| account(user)).collect()
}

/// One, with its tokens.
pub(super) fn service_account(state: &State, name: &str, organization: &Organization, id: &str) -> Reply {
    let found = organization.service_accounts.iter().find(|user| user_id(user).eq_ignore_ascii_case(id));
    let user = found.ok_or_else(|| Answer::missing("Service account"))?;
    let tokens = state.world.tokens.iter().filter(|(_, token)| token.user == *user && token.alive);
    let mut shown = account(user);
    shown["accessTokens"] =
        tokens.map(|(known_as, token)| account_token(state, name, known_as, token)).collect();
    Ok(Answer::json(&shown))
}

fn account(user: &str) -> Value {
    json!({
        "_id": user_id(user),
        "user": user,
        "name": user,
        "email": format!("{user}@example.com"),
        "createdAt": date(long_ago()),
    })
}

fn account_token(state: &State, organization: &str, known_as: &str, token: &Token) -> Value {
    let usable = state.world.usable(token);
    let here = |entity: &Entity| matches!(entity, Entity::Organization(name) if name == organization);
    let wide = usable.scopes.iter().filter(|scope| here(&scope.entity)).flat_map(|scope| &scope.permissions);
    let mut shown = json!({
        "_id": id::object(&["token", known_as]),
        "displayName": known_as,
        "createdAt": created(token),
        "role": token.role,
        "permissions": wide.collect::<Vec<_>>(),
        "repoIds": repo_ids(state, token),
        "repoPermissions": token.repo_permissions,
        "endpointPatterns": token.endpoint_patterns,
        "skipNetworkSecurity": token.skip_network_security,
    });
    if let Some(at) = token.expires_at {
        shown["expiration"] = json!(date(at.0));
    }
    add_use(state, known_as, token, &mut shown);
    shown
}

/// The ids of the repositories that the token is given one by one, as far as they are there.
fn repo_ids(state: &State, token: &Token) -> Vec<String> {
    let named = state.repos.values().filter(|repo| token.instead(repo.kind, &repo.name, &repo.id).is_some());
    named.map(|repo| repo.id.clone()).collect()
}

fn created(token: &Token) -> String {
    date(token.created_at.map_or_else(long_ago, |at| at.0))
}

/// When it was last used and how its secret ends, where there is something to tell.
fn add_use(state: &State, known_as: &str, token: &Token, shown: &mut Value) {
    if let Some(at) = state.journal.last_use(known_as) {
        shown["lastUsedAt"] = json!(at);
    }
    if let Some(last) = last_four(&token.secret.0) {
        shown["last4"] = json!(last);
    }
}

/// Short secrets give nothing away.
pub(super) fn last_four(secret: &str) -> Option<&str> {
    let at = secret.len().checked_sub(4).filter(|at| *at >= 8)?;
    secret.get(at..)
}

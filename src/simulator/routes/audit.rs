//! The audit log of an organization: what was changed in it, as the Hub's export tells it.
//! Knows which change is which event (OpenAPI, audit log) and how to pick by type; the rest of the query's
//! language is UNCONFIRMED. Serves the organization's pages.

use serde_json::Value;
use serde_json::json;

use crate::simulator::answer::Answer;
use crate::simulator::call::Call;
use crate::simulator::id;
use crate::simulator::journal::Change;
use crate::simulator::routes::inventory::last_four;
use crate::simulator::routes::whoami::avatar;
use crate::simulator::routes::whoami::user_id;
use crate::simulator::state::State;
use crate::simulator::words::TokenRole;

/// The export's bound; OpenAPI.
const MOST: usize = 100_000;

/// Oldest first; the Hub's order is UNCONFIRMED.
pub(super) fn export(state: &State, call: &Call, organization: &str) -> Answer {
    let prefix = format!("{organization}/");
    let query = call.query("q").unwrap_or_default();
    let here = state.journal.changes.iter().filter(|change| change.repo.starts_with(&prefix));
    let events: Vec<Value> = here.filter_map(|change| event(state, change)).collect();
    let wanted = |event: &&Value| query.split_whitespace().all(|term| fits(event, term));
    let found: Vec<&Value> = events.iter().filter(wanted).collect();
    let last = &found[found.len().saturating_sub(MOST)..];
    let name = format!("attachment; filename=\"audit-log-{organization}.json\"");
    Answer::json(&json!(last)).with("Content-Disposition", &name)
}

fn fits(event: &Value, term: &str) -> bool {
    match term.split_once(':') {
        Some(("type", kind)) => event["type"] == kind,
        _ => event["message"].as_str().is_some_and(|message| message.contains(term)),
    }
}

fn event(state: &State, change: &Change) -> Option<Value> {
    let kind = match change.kind {
        "created" => "repo.create",
        "deleted" => "repo.delete",
        "moved" => "repo.move",
        "updated" => "repo.update_settings",
        "grouped" => "repo.update_resource_group",
        "group_created" => "resource_group.create",
        "group_deleted" => "resource_group.delete",
        "users_added" => "resource_group.add_users",
        "user_removed" => "resource_group.remove_users",
        "user_changed" => "resource_group.change_role",
        "member_changed" => "org.change_role",
        _ => return None,
    };
    let user = change.user.as_deref().unwrap_or("system");
    let author_type = if change.user.is_some() { "user" } else { "system" };
    let mut event = json!({
        "_id": id::object(&["event", &change.seq.to_string()]),
        "createdAt": change.at,
        "type": kind,
        "message": format!("{kind} {}", change.repo),
        "author": {"_id": user_id(user), "user": user, "avatarUrl": avatar(user), "type": author_type},
    });
    if let Some(name) = &change.token {
        event["token"] = token(state, name);
    }
    let request = change.request.and_then(|seq| state.journal.request(seq));
    if let Some(agent) = request.and_then(|request| request.user_agent.as_deref()) {
        event["userAgent"] = json!(agent);
    }
    Some(event)
}

fn token(state: &State, name: &str) -> Value {
    let known = state.world.tokens.get(name);
    let deleted = known.is_none_or(|token| !token.alive);
    let mut shown = json!({"type": "access_token", "id": id::object(&["token", name]), "deleted": deleted});
    let Some(token) = known else { return shown };
    if token.role != TokenRole::God {
        shown["role"] = json!(token.role);
    }
    if let Some(last) = last_four(&token.secret.0) {
        shown["last4"] = json!(last);
    }
    shown
}

//! `PUT …/settings` of a repository: visibility and gate; the other settings are accepted and echoed.
//! Knows the fields and what may stand in them (OpenAPI, repository settings); the right is seen to. Serves
//! the repository routes.

use serde_json::Map;
use serde_json::Value;

use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::call::Call;
use crate::simulator::routes::resource_groups::object;
use crate::simulator::state::Doer;
use crate::simulator::state::RepoKey;
use crate::simulator::state::State;
use crate::simulator::words::Gate;
use crate::simulator::words::Kind;

const FIELDS: [&str; 8] = [
    "private",
    "visibility",
    "discussionsDisabled",
    "discussionsSorting",
    "gated",
    "orgMembersGated",
    "gatedNotificationsEmail",
    "gatedNotificationsMode",
];

/// The answer echoes what was sent of the fields that there are. That an empty request leaves no trace is
/// UNCONFIRMED.
pub(super) fn change(state: &mut State, key: &RepoKey, call: &Call, doer: Doer<'_>) -> Reply {
    let body = object(call)?;
    let private = visibility(&body, key.0)?;
    let gate = gate(&body)?;
    let members = flag(&body, "orgMembersGated")?;
    flag(&body, "discussionsDisabled")?;
    let echo: Map<String, Value> =
        FIELDS.iter().filter_map(|field| Some(((*field).to_owned(), body.get(*field)?.clone()))).collect();
    let Some(repo) = state.repos.get_mut(key) else { return Err(Answer::repo_not_found()) };
    if echo.is_empty() {
        return Ok(Answer::json(&Value::Object(echo)));
    }
    repo.private = private.unwrap_or(repo.private);
    repo.org_members_gated = members.unwrap_or(repo.org_members_gated);
    if let Some(gate) = gate {
        repo.gated = gate;
    }
    let repo = repo.clone();
    let fields: Vec<&str> = echo.keys().map(String::as_str).collect();
    state.note(doer, "updated", &repo, Some(fields.join(", ")));
    Ok(Answer::json(&Value::Object(echo)))
}

fn visibility(body: &Value, kind: Kind) -> Result<Option<bool>, Answer> {
    let private = flag(body, "private")?;
    match body.get("visibility").map(Value::as_str) {
        None => Ok(private),
        Some(Some("public")) => Ok(Some(false)),
        Some(Some("private")) => Ok(Some(true)),
        Some(Some("protected")) if kind == Kind::Space => Ok(Some(true)),
        Some(_) => {
            Err(Answer::invalid("Invalid option: expected one of \"private\"|\"public\"", "visibility"))
        }
    }
}

fn gate(body: &Value) -> Result<Option<Gate>, Answer> {
    let Some(value) = body.get("gated") else { return Ok(None) };
    let problem = "Invalid option: expected one of false|\"auto\"|\"manual\"";
    match serde_json::from_value(value.clone()) {
        Ok(gate) if gate != Gate::Plain(true) => Ok(Some(gate)),
        _ => Err(Answer::invalid(problem, "gated")),
    }
}

fn flag(body: &Value, field: &str) -> Result<Option<bool>, Answer> {
    match body.get(field) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(Answer::invalid("Invalid input: expected boolean", field)),
    }
}

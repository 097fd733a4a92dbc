//! `POST /api/repos/move`: a repository gets another name, and its former one leads there.
//! Knows nothing of what else a move changes on the Hub (stars, discussions). Serves the hub.

use serde_json::Value;
use serde_json::json;

use crate::simulator::answer;
use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::call::Call;
use crate::simulator::caller::Caller;
use crate::simulator::grants::Rights;
use crate::simulator::grants::Sight;
use crate::simulator::routes::create::is_good_name;
use crate::simulator::routes::create::kind;
use crate::simulator::routes::create::required_text;
use crate::simulator::state::Doer;
use crate::simulator::state::State;

/// A move needs the right to delete here and to create there. That a move into another namespace leaves the
/// resource group is UNCONFIRMED, but a group is of one organization.
pub(in crate::simulator) fn answer(state: &mut State, caller: &Caller, call: &Call, doer: Doer<'_>) -> Reply {
    let holder = caller.required()?;
    let body = call.json().filter(Value::is_object);
    let body = body.ok_or_else(|| Answer::invalid("Invalid input: expected object", "body"))?;
    let from = required_text(&body, "fromRepo")?;
    let to = required_text(&body, "toRepo")?;
    let kind = kind(&body)?;
    let (namespace, name) = to
        .split_once('/')
        .ok_or_else(|| Answer::invalid("Invalid input: expected namespace/name", "toRepo"))?;
    if !is_good_name(name) {
        return Err(Answer::error(400, answer::BAD_NAME));
    }
    let rights = Rights { world: &state.world, holder: Some(holder) };
    let repo = state.repos.get(&(kind, from.clone())).ok_or_else(Answer::repo_not_found)?;
    match rights.sight(repo) {
        Sight::Seen => {}
        Sight::Hidden => return Err(Answer::repo_not_found()),
        Sight::Barred(text) => return Err(Answer::error(403, text)),
    }
    rights.may_delete(repo).map_err(|text| Answer::error(403, text))?;
    let stays = repo.namespace() == namespace;
    if !stays {
        rights.may_create(kind, namespace, None).map_err(|text| Answer::error(403, &text))?;
    }
    if state.find(kind, &to).is_some_and(|key| key.1 != from) {
        return Err(Answer::error(409, "A repository of this name already exists"));
    }
    let Some(mut repo) = state.repos.remove(&(kind, from.clone())) else {
        return Err(Answer::repo_not_found());
    };
    state.linger(&repo);
    repo.name.clone_from(&to);
    repo.shown_from_ms = state.shows_from();
    if !stays {
        repo.resource_group = None;
    }
    state.moved.insert((kind, from.clone()), repo.id.clone());
    state.moved.remove(&(kind, to.clone()));
    state.note(doer, "moved", &repo, Some(format!("from {from}")));
    let url = format!("{}{}", state.base, repo.page());
    state.repos.insert((kind, to), repo);
    Ok(Answer::json(&json!({"url": url})))
}

//! The resource group of one repository: which it is, and putting it into another or none.
//! Knows that a repository is in at most one; roles inside groups are the table of grants' business.
//! Serves the repository routes.

use serde_json::Value;
use serde_json::json;

use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::call::Call;
use crate::simulator::caller::Holder;
use crate::simulator::grants::Barred;
use crate::simulator::grants::Rights;
use crate::simulator::id;
use crate::simulator::repo::Repo;
use crate::simulator::routes::create::optional_text;
use crate::simulator::routes::repository::guarded;
use crate::simulator::state::Doer;
use crate::simulator::state::RepoKey;
use crate::simulator::state::State;
use crate::simulator::words::Role;

/// What is said of a repository that is in none is UNCONFIRMED; the OpenAPI describes one that is in a group.
pub(super) fn of(state: &State, repo: &Repo) -> Value {
    let Some(group) = &repo.resource_group else { return json!({}) };
    let organization = state.world.organizations.get(repo.namespace());
    let users = organization.and_then(|home| home.resource_groups.get(group)).map_or(0, |users| users.len());
    json!({"id": id::resource_group(repo.namespace(), group), "name": group, "numUsers": users})
}

/// Only admins of the organization put a repository into a group (Hub docs, resource groups); which scope
/// their fine-grained token needs is UNCONFIRMED.
pub(super) fn assign(
    state: &mut State,
    key: &RepoKey,
    holder: Option<&Holder>,
    call: &Call,
    doer: Doer<'_>,
) -> Reply {
    let holder = holder.ok_or_else(Answer::unauthenticated)?;
    let namespace = key.1.split_once('/').map_or("", |(namespace, _)| namespace).to_owned();
    let rights = Rights { world: &state.world, holder: Some(holder) };
    rights.may_in_namespace(&namespace, &["resourceGroup.write", "org.write"], Role::Admin).map_err(
        |barred| match barred {
            Barred::Lacking => guarded(),
            Barred::By(text) => Answer::error(403, text),
        },
    )?;
    let body = call.json().filter(Value::is_object);
    let body = body.ok_or_else(|| Answer::invalid("Invalid input: expected object", "body"))?;
    let id = optional_text(&body, "resourceGroupId")?;
    let organization = state.world.organizations.get(&namespace);
    let group = match (&id, organization) {
        (None, _) => None,
        (Some(id), Some(organization)) => {
            let group = organization.group_by_id(&namespace, id).map(str::to_owned);
            Some(group.ok_or_else(|| Answer::error(404, "Resource group not found"))?)
        }
        (Some(_), None) => return Err(guarded()),
    };
    let Some(repo) = state.repos.get_mut(key) else { return Err(Answer::repo_not_found()) };
    repo.resource_group.clone_from(&group);
    let repo = repo.clone();
    state.note(doer, "grouped", &repo, group);
    // The repository, not the group: OpenAPI.
    Ok(Answer::json(&json!({
        "name": repo.name,
        "type": repo.kind,
        "private": repo.private,
        "addedBy": holder.token.user,
    })))
}

//! The steering routes under `/_sim`: look at the world and change it, order faults, read the journal.
//! For people and tests on this machine, without a token; they are neither counted nor remembered.
//! Knows nothing of sockets. Serves the server, which lets only loopback in.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::call::Call;
use crate::simulator::clock::date;
use crate::simulator::fault::Faults;
use crate::simulator::id;
use crate::simulator::repo::Birth;
use crate::simulator::repo::Origin;
use crate::simulator::repo::Repo;
use crate::simulator::route::Route;
use crate::simulator::routes::whoami::organization_id;
use crate::simulator::state::Doer;
use crate::simulator::state::State;
use crate::simulator::words::Kind;
use crate::simulator::world::repo_key;

/// The first part of every steering path.
pub(super) const PREFIX: &str = "_sim";

pub(super) fn answer(state: &mut State, call: &Call) -> Answer {
    let reply = match call.json() {
        Some(body) => steer(state, call, body),
        None => Err(bad("the body is no JSON")),
    };
    reply.unwrap_or_else(|refusal| refusal)
}

fn steer(state: &mut State, call: &Call, body: Value) -> Reply {
    let segments = call.segments();
    let page = segments.get(1).map_or("", String::as_str);
    match (call.method.as_str(), page) {
        ("GET", "world") => Ok(Answer::json(&world(state))),
        ("PATCH", "world") => {
            state.patch(body).map_err(|text| bad(&text))?;
            Ok(Answer::json(&world(state)))
        }
        ("GET", "routes") => Ok(Answer::json(&Route::all().map(Value::from).collect())),
        ("GET", "faults") => Ok(Answer::json(&json!({"faults": state.faults.list()}))),
        ("POST", "faults") => {
            state.faults = Faults::parse(body, &state.world).map_err(|text| bad(&text))?;
            Ok(Answer::json(&json!({"faults": state.faults.list()})))
        }
        ("GET", "requests") => {
            let since = since(call);
            let shown = state.journal.requests.iter().filter(|record| record.seq > since);
            Ok(Answer::json(&shown.map(|record| json!(record)).collect()))
        }
        ("GET", "changes") => {
            let since = since(call);
            let shown = state.journal.changes.iter().filter(|change| change.seq > since);
            Ok(Answer::json(&shown.map(|change| json!(change)).collect()))
        }
        ("POST", "repos") => plant(state, read(body)?),
        ("POST", "commits") => commit(state, read(body)?),
        ("POST", "clock") => {
            let skip: Skip = read(body)?;
            state.clock.skip(skip.advance_ms);
            Ok(Answer::json(&json!({"now": date(state.now())})))
        }
        _ => Err(Answer::error(404, "the steering has no such route")),
    }
}

fn read<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, Answer> {
    serde_json::from_value(body).map_err(|error| bad(&error.to_string()))
}

fn bad(text: &str) -> Answer {
    Answer::error(400, text)
}

fn since(call: &Call) -> u64 {
    call.query("since").and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    advance_ms: u64,
}

/// A repository that somebody else puts there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seedling {
    name: String,
    #[serde(default, rename = "type")]
    kind: Option<Kind>,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    resource_group: Option<String>,
    #[serde(default)]
    user: Option<String>,
}

fn plant(state: &mut State, seedling: Seedling) -> Reply {
    let (kind, name) = repo_key(&seedling.name, seedling.kind).map_err(|text| bad(&text))?;
    if state.find(kind, name).is_some() {
        return Err(Answer::error(409, "there is a repository of this name and type"));
    }
    let mut repo = Repo::new(Birth {
        kind,
        name: name.to_owned(),
        id: state.mint_id(name),
        author: seedling.user.unwrap_or_else(|| "somebody-else".to_owned()),
        at: state.now(),
        origin: Origin::Planted,
    });
    let groups = state.world.organizations.get(repo.namespace()).map(|home| &home.resource_groups);
    let known = |group: &String| groups.is_some_and(|groups| groups.contains_key(group));
    if !seedling.resource_group.as_ref().is_none_or(known) {
        return Err(bad("the organization has no such resource group"));
    }
    repo.private = seedling.private;
    repo.resource_group = seedling.resource_group;
    state.note(Doer::STEERING, "planted", &repo, Some(format!("by {}", repo.author)));
    let shown = repository(&repo);
    state.moved.remove(&(kind, name.to_owned()));
    state.repos.insert((kind, name.to_owned()), repo);
    Ok(Answer::json(&shown))
}

/// A commit that somebody pushes into a repository.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Push {
    repo: String,
    #[serde(default, rename = "type")]
    kind: Option<Kind>,
    user: String,
    #[serde(default)]
    title: Option<String>,
    /// A file that the commit adds.
    #[serde(default)]
    file: Option<String>,
}

fn commit(state: &mut State, push: Push) -> Reply {
    let (kind, name) = repo_key(&push.repo, push.kind).map_err(|text| bad(&text))?;
    let now = state.now();
    let title = push.title.unwrap_or_else(|| "Upload".to_owned());
    let Some(repo) = state.repos.get_mut(&(kind, name.to_owned())) else {
        return Err(Answer::error(404, "there is no such repository"));
    };
    repo.commit(&title, &push.user, now);
    repo.files.extend(push.file);
    let repo = repo.clone();
    state.note(Doer::STEERING, "committed", &repo, Some(format!("by {}", push.user)));
    Ok(Answer::json(&repository(&repo)))
}

/// The world as it is now. Secrets stay inside.
fn world(state: &State) -> Value {
    let organizations = state.world.organizations.iter().map(|(name, organization)| {
        let mut shown = json!(organization);
        shown["id"] = json!(organization_id(name));
        let groups = organization.resource_groups.keys();
        let ids: BTreeMap<&str, String> =
            groups.map(|group| (group.as_str(), id::resource_group(name, group))).collect();
        shown["resource_group_ids"] = json!(ids);
        (name.clone(), shown)
    });
    let tokens = state.world.tokens.iter().map(|(name, token)| {
        let mut shown = json!(token);
        if let Value::Object(entries) = &mut shown {
            entries.remove("secret");
        }
        (name.clone(), shown)
    });
    let repos = state.repos.values().map(|repo| (short_key(state, repo), repository(repo)));
    let left = state.repos.values().filter(|repo| repo.origin == Origin::Created);
    let left: Vec<String> = left.map(|repo| short_key(state, repo)).collect();
    json!({
        "now": date(state.now()),
        "organizations": organizations.collect::<Map<_, _>>(),
        "users": state.world.users,
        "repos": repos.collect::<Map<_, _>>(),
        "tokens": tokens.collect::<Map<_, _>>(),
        "limits": state.world.limits,
        "left_over": left,
        "counters": counters(state),
    })
}

/// As in the world file: the name alone, unless another type has it too.
fn short_key(state: &State, repo: &Repo) -> String {
    let same = state.repos.keys().filter(|(_, name)| *name == repo.name).count();
    if same == 1 { repo.name.clone() } else { format!("{}:{}", repo.kind.name(), repo.name) }
}

fn repository(repo: &Repo) -> Value {
    json!({
        "name": repo.name,
        "type": repo.kind,
        "private": repo.private,
        "id": repo.id,
        "createdAt": date(repo.created_at),
        "author": repo.author,
        "resource_group": repo.resource_group,
        "gated": repo.gated,
        "commits": repo.commits.len(),
        "origin": repo.origin.name(),
    })
}

fn counters(state: &State) -> Value {
    let mut routes: BTreeMap<&str, u64> = BTreeMap::new();
    let mut statuses: BTreeMap<String, u64> = BTreeMap::new();
    let mut tokens: BTreeMap<&str, u64> = BTreeMap::new();
    let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
    let mut faults = 0_u64;
    for record in &state.journal.requests {
        *routes.entry(record.route).or_default() += 1;
        let status = record.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        *statuses.entry(status).or_default() += 1;
        if let Some(token) = &record.token {
            *tokens.entry(token).or_default() += 1;
        }
        if record.status == Some(429) && record.fault.is_none() {
            *refused.entry(record.user.as_deref().unwrap_or("anonymous")).or_default() += 1;
        }
        faults += u64::from(record.fault.is_some());
    }
    let changes = |kind: &str| state.journal.changes.iter().filter(|change| change.kind == kind).count();
    let window = state.quotas.used(state.world.limits.window_seconds, state.clock.elapsed_ms());
    json!({
        "requests": state.journal.last_request,
        "forgotten_requests": state.journal.forgotten,
        "by_route": routes,
        "by_status": statuses,
        "by_token": tokens,
        "over_quota": refused,
        "faults": faults,
        "created": changes("created"),
        "deleted": changes("deleted"),
        "changes": state.journal.changes.len(),
        "window": window,
    })
}

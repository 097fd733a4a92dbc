//! An organization's resource groups: which there are, making and deleting them, who is in them as what.
//! Knows the Hub docs' list of refusals, whose texts are UNCONFIRMED; which repository is in which group is
//! told by the repository. Serves the hub.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::json;

use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::call::Call;
use crate::simulator::caller::Caller;
use crate::simulator::id;
use crate::simulator::route::GroupAsk;
use crate::simulator::routes::create::required_text;
use crate::simulator::routes::namespace::require;
use crate::simulator::routes::organization::existing;
use crate::simulator::routes::organization::subscribed;
use crate::simulator::routes::whoami::avatar;
use crate::simulator::routes::whoami::user_id;
use crate::simulator::state::Doer;
use crate::simulator::state::State;
use crate::simulator::state::Thing;
use crate::simulator::words::Plan;
use crate::simulator::words::Role;
use crate::simulator::world::Organization;

type Users = BTreeMap<String, Role>;

/// Whoever reads sees the groups that he is in, an admin all. Changing them takes the role write on the
/// organization and a token that may manage groups or members; Hub docs, programmatic user access control.
pub(in crate::simulator) fn answer(
    state: &mut State,
    caller: &Caller,
    call: &Call,
    doer: Doer<'_>,
    organization: &str,
    ask: &GroupAsk,
) -> Reply {
    caller.required()?;
    let name = &existing(state, organization)?;
    let reads = matches!(ask, GroupAsk::List | GroupAsk::One(_));
    let (names, least): (&[&str], Role) = if reads {
        (&["org.read", "org.write", "resourceGroup.write"], Role::NoAccess)
    } else {
        (&["resourceGroup.write", "org.write"], Role::Write)
    };
    let user = require(state, caller, name, names, least)?.token.user.as_str();
    subscribed(&state.world.organizations[name], Some(Plan::Team))?;
    match ask {
        GroupAsk::List => Ok(Answer::json(&list(state, name, user))),
        GroupAsk::One(id) => {
            let group = find(state, name, id, user)?;
            Ok(Answer::json(&shown(state, name, &group)))
        }
        GroupAsk::Create => create(state, call, doer, name, user),
        GroupAsk::Delete(id) => {
            let group = find(state, name, id, user)?;
            delete(state, doer, name, &group)
        }
        GroupAsk::AddUsers(id) => {
            let group = find(state, name, id, user)?;
            add_users(state, call, doer, name, &group)
        }
        GroupAsk::ChangeUser(id, who) => {
            let group = find(state, name, id, user)?;
            let role = role(&object(call)?)?;
            change_user(state, doer, name, &group, who, Some(role))
        }
        GroupAsk::RemoveUser(id, who) => {
            let group = find(state, name, id, user)?;
            change_user(state, doer, name, &group, who, None)
        }
    }
}

fn home<'a>(state: &'a mut State, name: &str) -> Result<&'a mut Organization, Answer> {
    state.world.organizations.get_mut(name).ok_or_else(|| Answer::missing("Organization"))
}

/// The group's name; to whom it does not show, it is missing.
fn find(state: &State, organization: &str, id: &str, user: &str) -> Result<String, Answer> {
    let home = &state.world.organizations[organization];
    let group = home.group_by_id(organization, id).filter(|group| shows(home, group, user));
    group.map(str::to_owned).ok_or_else(|| Answer::missing("Resource group"))
}

fn shows(organization: &Organization, group: &str, user: &str) -> bool {
    organization.role_of(user) == Some(Role::Admin) || organization.group_role(group, user).is_some()
}

fn list(state: &State, organization: &str, user: &str) -> Value {
    let home = &state.world.organizations[organization];
    let his = home.resource_groups.keys().filter(|group| shows(home, group, user));
    his.map(|group| shown(state, organization, group)).collect()
}

fn shown(state: &State, organization: &str, group: &str) -> Value {
    let home = &state.world.organizations[organization];
    let users = home.resource_groups.get(group).into_iter().flatten().map(|(user, role)| {
        json!({
            "type": "user",
            "_id": user_id(user),
            "name": user,
            "fullname": user,
            "avatarUrl": avatar(user),
            "role": role,
        })
    });
    let inside = state
        .repos
        .values()
        .filter(|repo| repo.namespace() == organization && repo.resource_group.as_deref() == Some(group));
    let resources = inside.map(|repo| json!({"type": repo.kind, "name": repo.name, "private": repo.private}));
    json!({
        "id": id::resource_group(organization, group),
        "name": group,
        "users": users.collect::<Value>(),
        "resources": resources.collect::<Value>(),
    })
}

/// Repositories in the request are not simulated, nor are descriptions and who joins by himself.
fn create(state: &mut State, call: &Call, doer: Doer<'_>, organization: &str, user: &str) -> Reply {
    let body = object(call)?;
    let name = required_text(&body, "name")?;
    if name.is_empty() || name.chars().count() > 200 {
        return Err(Answer::invalid("Too big: expected string to have <=200 characters", "name"));
    }
    let users = wanted_users(state, organization, &body)?;
    let home = home(state, organization)?;
    if home.resource_groups.contains_key(&name) {
        return Err(Answer::error(400, "A resource group of this name already exists"));
    }
    let admin = |user: &String| home.members.get(user) == Some(&Role::Admin);
    if home.role_of(user) != Some(Role::Admin) && !users.keys().any(admin) {
        return Err(Answer::error(400, "At least one of the users must be an admin of the organization"));
    }
    home.resource_groups.insert(name.clone(), users);
    note(state, doer, "group_created", organization, &name);
    Ok(Answer::json(&shown(state, organization, &name)))
}

/// What was in the group is in none afterwards: UNCONFIRMED.
fn delete(state: &mut State, doer: Doer<'_>, organization: &str, group: &str) -> Reply {
    home(state, organization)?.resource_groups.remove(group);
    for repo in state.repos.values_mut() {
        if repo.namespace() == organization && repo.resource_group.as_deref() == Some(group) {
            repo.resource_group = None;
        }
    }
    note(state, doer, "group_deleted", organization, group);
    Ok(Answer::json(&json!({"success": true})))
}

fn add_users(state: &mut State, call: &Call, doer: Doer<'_>, organization: &str, group: &str) -> Reply {
    let users = wanted_users(state, organization, &object(call)?)?;
    if users.is_empty() {
        return Err(Answer::invalid("Too small: expected array to have >=1 items", "users"));
    }
    let inside = home(state, organization)?.resource_groups.entry(group.to_owned()).or_default();
    if users.keys().any(|user| inside.contains_key(user)) {
        return Err(Answer::error(403, "User is already in the resource group"));
    }
    inside.extend(users);
    note(state, doer, "users_added", organization, group);
    Ok(Answer::json(&shown(state, organization, group)))
}

/// Another role, or none at all.
fn change_user(
    state: &mut State,
    doer: Doer<'_>,
    organization: &str,
    group: &str,
    user: &str,
    role: Option<Role>,
) -> Reply {
    let inside = home(state, organization)?.resource_groups.entry(group.to_owned()).or_default();
    if !inside.contains_key(user) {
        return Err(Answer::missing("User"));
    }
    match role {
        Some(role) => inside.insert(user.to_owned(), role),
        None => inside.remove(user),
    };
    note(state, doer, if role.is_some() { "user_changed" } else { "user_removed" }, organization, group);
    Ok(Answer::json(&shown(state, organization, group)))
}

/// `users: [{user or name, role}]` of a request: known to the Hub, each once, in the organization.
fn wanted_users(state: &State, organization: &str, body: &Value) -> Result<Users, Answer> {
    let home = &state.world.organizations[organization];
    let mut users = Users::new();
    for entry in body["users"].as_array().into_iter().flatten() {
        let field = if entry.get("user").is_some() { "user" } else { "name" };
        let user = required_text(entry, field)?;
        if home.role_of(&user).is_none() {
            let known = state.world.tokens.values().any(|token| token.user == user)
                || state.world.organizations.values().any(|other| other.role_of(&user).is_some());
            return Err(if known {
                Answer::error(403, "User is not a member of the organization")
            } else {
                Answer::error(400, "User not found")
            });
        }
        if users.insert(user, role(entry)?).is_some() {
            return Err(Answer::error(400, "Duplicate users"));
        }
    }
    Ok(users)
}

pub(super) fn object(call: &Call) -> Result<Value, Answer> {
    let body = call.json().filter(Value::is_object);
    body.ok_or_else(|| Answer::invalid("Invalid input: expected object", "body"))
}

pub(super) fn role(body: &Value) -> Result<Role, Answer> {
    let problem =
        "Invalid option: expected one of \"admin\"|\"write\"|\"contributor\"|\"read\"|\"no_access\"";
    serde_json::from_value(body["role"].clone()).map_err(|_| Answer::invalid(problem, "role"))
}

fn note(state: &mut State, doer: Doer<'_>, kind: &'static str, organization: &str, group: &str) {
    let name = format!("{organization}/{group}");
    let id = id::resource_group(organization, group);
    state.note_about(doer, kind, &Thing { name: &name, kind: "resource-group", id: &id }, None);
}

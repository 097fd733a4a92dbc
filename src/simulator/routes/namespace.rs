//! Checks on a namespace that are about no repository: jobs, inference endpoints, a user's own settings.
//! Knows which permission names open each; that ordinary tokens may use the checks at all is UNCONFIRMED.
//! Serves the hub and, for refusals, the organization's pages.

use serde_json::json;

use crate::simulator::answer;
use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::caller::Caller;
use crate::simulator::grants::Barred;
use crate::simulator::grants::Rights;
use crate::simulator::routes::whoami::organization_id;
use crate::simulator::routes::whoami::user_id;
use crate::simulator::state::State;
use crate::simulator::words::Role;

/// The Hub names one permission for jobs; that it is needed for reading too is UNCONFIRMED.
pub(in crate::simulator) fn jobs(state: &State, caller: &Caller, namespace: &str, right: &str) -> Reply {
    let least = if right == "write" { Role::Contributor } else { Role::Read };
    let names: &[&str] = if right == "write" { &["job.write"] } else { &["job.read", "job.write"] };
    require(state, caller, namespace, names, least)?;
    Ok(Answer::json(&place(state, caller, namespace)))
}

pub(in crate::simulator) fn endpoints(state: &State, caller: &Caller, namespace: &str, right: &str) -> Reply {
    let (names, least): (&[&str], Role) = match right {
        "write" => (&["inference.endpoints.write"], Role::Contributor),
        "infer" => (&["inference.endpoints.infer.write", "inference.endpoints.write"], Role::Read),
        _ => (&["inference.endpoints.read", "inference.endpoints.write"], Role::Read),
    };
    require(state, caller, namespace, names, least)?;
    Ok(Answer::json(&place(state, caller, namespace)))
}

pub(in crate::simulator) fn webhooks(state: &State, caller: &Caller) -> Reply {
    let user = caller.required()?.token.user.clone();
    require(state, caller, &user, &["user.webhooks.read", "user.webhooks.write"], Role::Admin)?;
    Ok(Answer::json(&json!([])))
}

pub(in crate::simulator) fn billing(state: &State, caller: &Caller) -> Reply {
    let user = caller.required()?.token.user.clone();
    require(state, caller, &user, &["user.billing.read"], Role::Admin)?;
    Ok(Answer::json(&json!({"usage": {}})))
}

/// One of the permissions on a namespace and a role there, or the refusal that names the first of them.
pub(super) fn require(
    state: &State,
    caller: &Caller,
    namespace: &str,
    names: &[&str],
    least: Role,
) -> Result<(), Answer> {
    let holder = caller.required()?;
    let rights = Rights { world: &state.world, holder: Some(holder) };
    rights.may_in_namespace(namespace, names, least).map_err(|barred| match barred {
        Barred::By(text) => Answer::error(403, text),
        Barred::Lacking => {
            let missing = names.first().copied().unwrap_or_default();
            Answer::error(403, &answer::missing_permission(namespace, missing))
        }
    })
}

fn place(state: &State, caller: &Caller, namespace: &str) -> serde_json::Value {
    let user = caller.holder().map_or("", |holder| holder.token.user.as_str());
    let id = if state.world.organizations.contains_key(namespace) {
        organization_id(namespace)
    } else {
        user_id(namespace)
    };
    json!({"namespace": {"id": id, "name": namespace}, "user": {"id": user_id(user), "name": user}})
}

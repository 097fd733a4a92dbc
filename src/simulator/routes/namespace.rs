//! Checks on a namespace that are about no repository: jobs, inference endpoints, a user's own webhooks.
//! Knows which permission names open each, and that a refusal may be about money; that ordinary tokens may
//! use the checks at all is UNCONFIRMED. Serves the hub and, for refusals, the organization's pages.

use serde_json::Value;
use serde_json::json;

use crate::simulator::answer;
use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::call::Call;
use crate::simulator::caller::Caller;
use crate::simulator::caller::Holder;
use crate::simulator::grants::Barred;
use crate::simulator::grants::Rights;
use crate::simulator::id;
use crate::simulator::route::JobsAsk;
use crate::simulator::routes::whoami::avatar;
use crate::simulator::routes::whoami::organization_id;
use crate::simulator::routes::whoami::user_id;
use crate::simulator::state::State;
use crate::simulator::words::Feature;
use crate::simulator::words::Role;
use crate::simulator::words::TokenRole;

/// The Hub names one permission for jobs; that it is needed for reading too is UNCONFIRMED, and so is a name
/// for reading alone.
pub(in crate::simulator) fn jobs(state: &State, caller: &Caller, namespace: &str, ask: &JobsAsk) -> Reply {
    let writes = matches!(ask, JobsAsk::AuthCheck(right) if right == "write");
    let (names, least): (&[&str], Role) =
        if writes { (&["job.write"], Role::Contributor) } else { (&["job.read", "job.write"], Role::Read) };
    require(state, caller, namespace, names, least)?;
    if writes {
        money(state, namespace, None, Feature::Jobs)?;
    }
    match ask {
        // No job ever runs here.
        JobsAsk::List => Ok(Answer::json(&json!([]))),
        JobsAsk::AuthCheck(_) => Ok(Answer::json(&place(state, caller, namespace))),
    }
}

/// Without a name the answer tells to which names the token is confined; a name beyond them is refused, with
/// what text is UNCONFIRMED. Whose endpoint it is (`own`, `creator_id`, …) is accepted and ignored.
pub(in crate::simulator) fn endpoints(
    state: &State,
    caller: &Caller,
    call: &Call,
    namespace: &str,
    endpoint: Option<&str>,
    right: &str,
) -> Reply {
    let (names, least): (&[&str], Role) = match right {
        "write" => (&["inference.endpoints.write"], Role::Contributor),
        "infer" => (&["inference.endpoints.infer.write", "inference.endpoints.write"], Role::Read),
        _ => (&["inference.endpoints.read", "inference.endpoints.write"], Role::Read),
    };
    let holder = caller.required()?;
    let group_id = call.query("resource_group_id");
    let organization = state.world.organizations.get(namespace);
    let group = match (&group_id, organization) {
        (None, _) => None,
        (Some(id), Some(organization)) => {
            let group = organization.group_by_id(namespace, id);
            Some(group.ok_or_else(|| lacking(namespace, names))?)
        }
        (Some(_), None) => return Err(lacking(namespace, names)),
    };
    let rights = Rights { world: &state.world, holder: Some(holder) };
    rights
        .may_in_group(namespace, group, names, least)
        .map_err(|barred| refusal(barred, namespace, names))?;
    if right != "read" || call.query("incur_cost").is_some() {
        money(state, namespace, group, Feature::InferenceEndpoints)?;
    }
    let mut body = place(state, caller, namespace);
    if holder.token.role == TokenRole::God {
        body["user"]["hasHfLevelAccess"] = json!(true);
    }
    if let Some(id) = group_id {
        body["resourceGroupId"] = json!(id);
    }
    let patterns = &holder.token.endpoint_patterns;
    let confined = organization.is_some() && !patterns.is_empty();
    match endpoint {
        Some(name) if confined && !patterns.iter().any(|pattern| fits(pattern, name)) => {
            Err(lacking(namespace, names))
        }
        None if confined => {
            body["patternRestrictions"] = json!(patterns);
            Ok(Answer { status: 207, ..Answer::json(&body) })
        }
        _ => Ok(Answer::json(&body)),
    }
}

pub(in crate::simulator) fn webhooks(state: &State, caller: &Caller) -> Reply {
    let user = caller.required()?.token.user.clone();
    require(state, caller, &user, &["user.webhooks.read", "user.webhooks.write"], Role::Admin)?;
    let his = state.world.users.get(&user).map_or(&[][..], |about| about.webhooks.as_slice());
    let shown = his.iter().map(|url| {
        json!({
            "id": id::object(&["webhook", &user, url]),
            "url": url,
            "disabled": false,
            "watched": [{"name": user, "type": "user", "avatarUrl": avatar(&user)}],
            "hasSecret": false,
            "domains": ["repo"],
        })
    });
    Ok(Answer::json(&shown.collect()))
}

/// One of the permissions on a namespace and a role there, or the refusal that names the first of them.
pub(super) fn require<'a>(
    state: &State,
    caller: &'a Caller,
    namespace: &str,
    names: &[&str],
    least: Role,
) -> Result<&'a Holder, Answer> {
    let holder = caller.required()?;
    let rights = Rights { world: &state.world, holder: Some(holder) };
    let granted = rights.may_in_namespace(namespace, names, least);
    granted.map(|()| holder).map_err(|barred| refusal(barred, namespace, names))
}

fn refusal(barred: Barred, namespace: &str, names: &[&str]) -> Answer {
    match barred {
        Barred::By(text) => Answer::error(403, text),
        Barred::Lacking => lacking(namespace, names),
    }
}

fn lacking(namespace: &str, names: &[&str]) -> Answer {
    let missing = names.first().copied().unwrap_or_default();
    Answer::error(403, &answer::missing_permission(namespace, missing))
}

/// What is switched off or may spend no more is refused like a right that is not there; what nobody pays for
/// is not. That rights are asked first is UNCONFIRMED.
fn money(state: &State, namespace: &str, group: Option<&str>, feature: Feature) -> Result<(), Answer> {
    let Some(organization) = state.world.organizations.get(namespace) else { return Ok(()) };
    if organization.features_off.contains(&feature) {
        return Err(Answer::error(403, answer::FEATURE_OFF));
    }
    let groups = group.and_then(|group| organization.spent_groups.get(group));
    let spent = organization.spent.contains(&feature) || groups.is_some_and(|spent| spent.contains(&feature));
    if spent {
        return Err(Answer::error(403, answer::SPENT));
    }
    if organization.can_pay == Some(false) {
        return Err(Answer::error(402, answer::NEEDS_PAYMENT));
    }
    Ok(())
}

fn place(state: &State, caller: &Caller, namespace: &str) -> Value {
    let user = caller.holder().map_or("", |holder| holder.token.user.as_str());
    let id = if state.world.organizations.contains_key(namespace) {
        organization_id(namespace)
    } else {
        user_id(namespace)
    };
    json!({"namespace": {"id": id, "name": namespace}, "user": {"id": user_id(user), "name": user}})
}

/// Whether a name fits a pattern, in which `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(start) else { return false };
    loop {
        if fits(rest, left) {
            return true;
        }
        let mut letters = left.chars();
        if letters.next().is_none() {
            return false;
        }
        left = letters.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        let rows = [
            ("gpt2-*", "gpt2-large", true),
            ("gpt2-*", "gpt2-", true),
            ("gpt2-*", "my-gpt2-large", false),
            ("*-prod", "a-prod", true),
            ("*-prod", "a-prod-b", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
            ("*", "", true),
        ];
        for (pattern, name, expected) in rows {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}

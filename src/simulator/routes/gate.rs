//! The gate of a repository whose files need the authors' consent: who passes, and who has asked.
//! Knows the Hub's texts for those who do not pass; a repository's other pages stay open. Serves the
//! repository routes.

use serde_json::Value;
use serde_json::json;

use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::caller::Holder;
use crate::simulator::clock::date;
use crate::simulator::grants::READ;
use crate::simulator::grants::Rights;
use crate::simulator::grants::scope_covers;
use crate::simulator::id;
use crate::simulator::repo::Repo;
use crate::simulator::routes::whoami::avatar;
use crate::simulator::routes::whoami::user_id;
use crate::simulator::words::Role;
use crate::simulator::words::TokenRole;
use crate::simulator::world::World;

/// Reading the files. Recorded answers, huggingface_hub issues. Members of the owning organization need not
/// ask unless it says so (OpenAPI, repository settings). That a fine-grained token whose scope names the
/// repository needs no word about gated ones is UNCONFIRMED.
pub(super) fn pass(world: &World, repo: &Repo, holder: Option<&Holder>) -> Reply {
    if !repo.gated.is_closed() {
        return Ok(Answer::text("OK"));
    }
    let (kind, name) = (repo.kind.name(), &repo.name);
    let Some(holder) = holder else {
        let text = format!(
            "Access to {kind} {name} is restricted. You must have access to it and be authenticated to access \
             it. Please log in."
        );
        return Err(Answer::gated(401, &text));
    };
    let user = holder.token.user.as_str();
    if !is_let_in(world, repo, holder) {
        let text = if repo.requested.contains(user) {
            format!("Your request to access {kind} {name} is awaiting a review from the repo authors.")
        } else {
            format!(
                "Access to {kind} {name} is restricted and you are not in the authorized list. Visit \
                 https://huggingface.co/{name} to ask for access."
            )
        };
        return Err(Answer::gated(403, &text));
    }
    let own = repo.namespace() == user || scope_covers(holder, repo, &READ);
    if holder.token.role == TokenRole::FineGrained && !holder.token.gated_repos && !own {
        let text = "Please enable access to public gated repositories in your fine-grained token settings to \
                    view this repository.";
        return Err(Answer::error(403, text));
    }
    Ok(Answer::text("OK"))
}

fn is_let_in(world: &World, repo: &Repo, holder: &Holder) -> bool {
    let user = holder.token.user.as_str();
    let member = Rights { world, holder: Some(holder) }.role_on(holder, repo);
    let enough = if repo.org_members_gated { Role::Admin } else { Role::Read };
    repo.author == user || repo.granted.contains(user) || member >= Some(enough)
}

/// Who has asked. The right is seen to; that a repository without a gate says 400 is from a recorded answer,
/// its text is UNCONFIRMED. Nobody is ever rejected here.
pub(super) fn requests(world: &World, repo: &Repo, status: &str) -> Reply {
    if !repo.gated.is_closed() {
        return Err(Answer::error(400, "This repository is not gated"));
    }
    let nobody = Default::default();
    let users = match status {
        "pending" => &repo.requested,
        "accepted" => &repo.granted,
        _ => &nobody,
    };
    let shown = users.iter().map(|user| {
        json!({
            "user": {
                "_id": user_id(user),
                "avatarUrl": avatar(user),
                "fullname": user,
                "isPro": world.is_pro(user),
                "user": user,
                "type": "user",
                "verifiedOrgNames": [],
            },
            // The OpenAPI does not have it; the official client cannot do without it.
            "requestId": id::object(&["access-request", &repo.id, user]),
            "status": status,
            "timestamp": date(repo.created_at),
        })
    });
    Ok(Answer::json(&shown.collect::<Value>()))
}

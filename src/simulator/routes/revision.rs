//! A repository's history: commits, files, references, and the making and removing of branches and tags.
//! Knows nothing of rights; whoever calls has seen to them. Serves the repository routes.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::json;

use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::call::Call;
use crate::simulator::clock::date;
use crate::simulator::id;
use crate::simulator::repo::Commit;
use crate::simulator::repo::Repo;
use crate::simulator::routes::create::required_text;
use crate::simulator::routes::resource_groups::object;
use crate::simulator::routes::whoami::avatar;
use crate::simulator::state::Doer;
use crate::simulator::state::RepoKey;
use crate::simulator::state::State;

const COMMITS_A_PAGE: usize = 50;

/// The commits up to a revision, the youngest first.
pub(super) fn commits(repo: &Repo, call: &Call, revision: &str, base: &str) -> Reply {
    let tip = repo.revision(revision).ok_or_else(|| Answer::revision_not_found(revision))?;
    let upto = repo.commits.iter().position(|commit| commit.id == tip.id).map_or(0, |at| at + 1);
    let all: Vec<&Commit> = repo.commits[..upto].iter().rev().collect();
    let number = |key: &str| call.query(key).and_then(|text| text.parse::<usize>().ok());
    let limit = number("limit").unwrap_or(COMMITS_A_PAGE).clamp(1, 1000);
    let page = number("p").unwrap_or(0);
    let shown = all.iter().skip(page.saturating_mul(limit)).take(limit).map(|commit| {
        json!({
            "id": commit.id,
            "title": commit.title,
            "message": "",
            "date": date(commit.at),
            "authors": [{"user": commit.user, "avatar": avatar(&commit.user)}],
        })
    });
    let answer = Answer::json(&shown.collect()).with("X-Total-Count", &all.len().to_string());
    if page.saturating_add(1).saturating_mul(limit) >= all.len() {
        return Ok(answer);
    }
    let next = format!("<{base}{}?limit={limit}&p={}>; rel=\"next\"", call.path, page + 1);
    Ok(answer.with("Link", &next))
}

/// Files lie flat; every revision has the same.
pub(super) fn tree(repo: &Repo, revision: &str) -> Reply {
    repo.revision(revision).ok_or_else(|| Answer::revision_not_found(revision))?;
    let files = repo.files.iter().map(|path| {
        let size = if path == ".gitattributes" { 1519 } else { 0 };
        json!({"type": "file", "path": path, "oid": id::commit(&["file", path]), "size": size})
    });
    Ok(Answer::json(&files.collect()))
}

/// Pull requests are not simulated; whoever asks for them is told of none.
pub(super) fn refs(repo: &Repo, call: &Call) -> Value {
    let named = |all: &BTreeMap<String, String>, place: &str| -> Value {
        let shown = all.iter();
        shown
            .map(|(name, commit)| json!({"name": name, "ref": format!("refs/{place}/{name}"), "targetCommit": commit}))
            .collect()
    };
    let mut refs = json!({"branches": named(&repo.branches, "heads"), "tags": named(&repo.tags, "tags"), "converts": []});
    if call.query("include_prs").is_some() {
        refs["pullRequests"] = json!([]);
    }
    refs
}

/// The text of the conflict is from huggingface_hub's tests; the body of a success is UNCONFIRMED.
pub(super) fn create_branch(
    state: &mut State,
    key: &RepoKey,
    call: &Call,
    doer: Doer<'_>,
    branch: &str,
) -> Reply {
    let body = object(call)?;
    let Some(repo) = state.repos.get_mut(key) else { return Err(Answer::repo_not_found()) };
    let overwrite = body.get("overwrite").and_then(Value::as_bool).unwrap_or(false);
    if repo.branches.contains_key(branch) && !overwrite {
        return Err(Answer::error(409, &format!("Reference refs/heads/{branch} already exists")));
    }
    let start = body.get("startingPoint").and_then(Value::as_str).unwrap_or("main");
    let commit = repo.revision(start).map(|commit| commit.id.clone());
    let commit = commit.ok_or_else(|| Answer::revision_not_found(start))?;
    repo.branches.insert(branch.to_owned(), commit);
    let repo = repo.clone();
    state.note(doer, "branch_created", &repo, Some(branch.to_owned()));
    Ok(Answer::json(&json!({})))
}

/// The status for the main branch is UNCONFIRMED, its text is from huggingface_hub's tests.
pub(super) fn delete_branch(state: &mut State, key: &RepoKey, doer: Doer<'_>, branch: &str) -> Reply {
    let Some(repo) = state.repos.get_mut(key) else { return Err(Answer::repo_not_found()) };
    if branch == "main" {
        return Err(Answer::error(400, "Cannot delete refs/heads/main"));
    }
    if repo.branches.remove(branch).is_none() {
        return Err(Answer::error(404, &format!("Reference refs/heads/{branch} does not exist")));
    }
    let repo = repo.clone();
    state.note(doer, "branch_deleted", &repo, Some(branch.to_owned()));
    Ok(Answer::json(&json!({})))
}

/// That an existing tag is a conflict is from huggingface_hub's tests; its text, and the body of a success,
/// are UNCONFIRMED.
pub(super) fn create_tag(
    state: &mut State,
    key: &RepoKey,
    call: &Call,
    doer: Doer<'_>,
    revision: &str,
) -> Reply {
    let tag = required_text(&object(call)?, "tag")?;
    let Some(repo) = state.repos.get_mut(key) else { return Err(Answer::repo_not_found()) };
    let commit = repo.revision(revision).map(|commit| commit.id.clone());
    let commit = commit.ok_or_else(|| Answer::revision_not_found(revision))?;
    if repo.tags.contains_key(&tag) {
        return Err(Answer::error(409, &format!("Reference refs/tags/{tag} already exists")));
    }
    repo.tags.insert(tag.clone(), commit);
    let repo = repo.clone();
    state.note(doer, "tag_created", &repo, Some(tag));
    Ok(Answer::json(&json!({})))
}

pub(super) fn delete_tag(state: &mut State, key: &RepoKey, doer: Doer<'_>, tag: &str) -> Reply {
    let Some(repo) = state.repos.get_mut(key) else { return Err(Answer::repo_not_found()) };
    if repo.tags.remove(tag).is_none() {
        return Err(Answer::revision_not_found(tag));
    }
    let repo = repo.clone();
    state.note(doer, "tag_deleted", &repo, Some(tag.to_owned()));
    Ok(Answer::json(&json!({})))
}

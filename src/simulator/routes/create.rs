//! `POST /api/repos/create`: the order of its checks and what a fresh repository is.
//! Knows what the Hub asks of the request itself; the right to create is the table of grants' business.
//! Serves the hub and, for names, the move.

use serde_json::Value;
use serde_json::json;

use crate::simulator::answer;
use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::call::Call;
use crate::simulator::caller::Caller;
use crate::simulator::grants::Rights;
use crate::simulator::quota;
use crate::simulator::repo::Birth;
use crate::simulator::repo::Origin;
use crate::simulator::repo::Repo;
use crate::simulator::state::Doer;
use crate::simulator::state::State;
use crate::simulator::words::Kind;

struct Wish {
    kind: Kind,
    namespace: String,
    name: String,
    private: Option<bool>,
    group_id: Option<String>,
    sdk: Option<String>,
}

/// Who asks, what is asked, the token policy, the namespace, billing, existence, the lock, the cap: in this
/// order. That rights are asked before existence is known; that a malformed name is told before either is
/// UNCONFIRMED. A name that exists or is locked does not count as a creation: UNCONFIRMED as well.
pub(in crate::simulator) fn answer(state: &mut State, caller: &Caller, call: &Call, doer: Doer<'_>) -> Reply {
    let holder = caller.required()?;
    let user = holder.token.user.clone();
    let wish = Wish::read(call, &user)?;
    let rights = Rights { world: &state.world, holder: Some(holder) };
    let group = rights
        .may_create(wish.kind, &wish.namespace, wish.group_id.as_deref())
        .map_err(|text| Answer::error(403, &text))?;
    refuse_unpaid(state, &wish)?;
    let full = format!("{}/{}", wish.namespace, wish.name);
    if let Some(key) = state.find(wish.kind, &full) {
        return Err(already_there(state, &state.repos[&key]));
    }
    if state.quotas.is_locked(&user) {
        return Err(Answer::error(409, answer::CREATE_LOCK));
    }
    let now_ms = state.clock.elapsed_ms();
    let cap = quota::creation_cap(&state.world, &user, &wish.namespace);
    if state.quotas.created_today(&user, now_ms) >= cap {
        return Err(Answer::error(429, &answer::creation_cap(cap)));
    }
    state.quotas.lock(&user);
    state.quotas.note_creation(&user, now_ms);
    let default = state.world.organizations.get(&wish.namespace).is_some_and(|home| home.private_by_default);
    let mut repo = Repo::new(Birth {
        kind: wish.kind,
        id: state.mint_id(&full),
        name: full.clone(),
        author: user,
        at: state.now(),
        origin: Origin::Created,
    });
    repo.private = wish.private.unwrap_or(default);
    repo.resource_group = group;
    repo.shown_from_ms = state.shows_from();
    if wish.sdk.is_some() {
        repo.sdk = wish.sdk;
    }
    state.note(doer, "created", &repo, repo.resource_group.clone());
    let url = format!("{}{}", state.base, repo.page());
    let body = json!({"url": url, "name": full, "id": repo.id});
    // A new repository takes its name back from one that was once called so.
    state.moved.remove(&(wish.kind, full.clone()));
    state.repos.insert((wish.kind, full), repo);
    Ok(Answer::json(&body))
}

fn already_there(state: &State, repo: &Repo) -> Answer {
    let text = format!("You already created this {} repo", repo.kind.name());
    let url = format!("{}{}", state.base, repo.page());
    let mut refusal = Answer::error(409, &text);
    refusal.body = json!({"error": text, "url": url}).to_string();
    refusal
}

/// Spaces that compute cost money; told even before "exists".
fn refuse_unpaid(state: &State, wish: &Wish) -> Result<(), Answer> {
    let plan = state.world.organizations.get(&wish.namespace).and_then(|home| home.plan);
    let paid = plan.is_some() || state.world.is_pro(&wish.namespace);
    let computes = wish.kind == Kind::Space && wish.sdk.as_deref() != Some("static");
    if computes && !paid { Err(Answer::error(402, answer::NEEDS_PRO)) } else { Ok(()) }
}

impl Wish {
    fn read(call: &Call, user: &str) -> Result<Wish, Answer> {
        let body = call.json().filter(Value::is_object);
        let body = body.ok_or_else(|| Answer::invalid("Invalid input: expected object", "body"))?;
        let name = required_text(&body, "name")?;
        let kind = kind(&body)?;
        let sdk = optional_text(&body, "sdk")?;
        let known = |sdk: &String| ["gradio", "docker", "static", "streamlit"].contains(&sdk.as_str());
        if kind == Kind::Space && !sdk.as_ref().is_some_and(known) {
            let problem = "Invalid option: expected one of \"gradio\"|\"docker\"|\"static\"";
            return Err(Answer::invalid(problem, "sdk"));
        }
        let group_id = optional_text(&body, "resourceGroupId")?;
        let hex = |id: &String| id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if group_id.as_ref().is_some_and(|id| !hex(id)) {
            let problem = "Invalid string: must match pattern /^[0-9a-fA-F]{24}$/";
            return Err(Answer::invalid(problem, "resourceGroupId"));
        }
        let private = visibility(&body, kind)?;
        if !is_good_name(&name) {
            return Err(Answer::error(400, answer::BAD_NAME));
        }
        let namespace = optional_text(&body, "organization")?.unwrap_or_else(|| user.to_owned());
        Ok(Wish { kind, namespace, name, private, group_id, sdk })
    }
}

fn visibility(body: &Value, kind: Kind) -> Result<Option<bool>, Answer> {
    let private = match body.get("private") {
        None | Some(Value::Null) => None,
        Some(Value::Bool(private)) => Some(*private),
        Some(_) => return Err(Answer::invalid("Invalid input: expected boolean", "private")),
    };
    let visibility = optional_text(body, "visibility")?;
    match visibility.as_deref() {
        None => Ok(private),
        Some(_) if private.is_some() => {
            Err(Answer::invalid("Cannot specify both `private` and `visibility`", "visibility"))
        }
        Some("private") => Ok(Some(true)),
        Some("public") => Ok(Some(false)),
        // The code of a protected Space is hidden, its app is not; as a repository it counts as private.
        Some("protected") if kind == Kind::Space => Ok(Some(true)),
        Some(_) => {
            Err(Answer::invalid("Invalid option: expected one of \"private\"|\"public\"", "visibility"))
        }
    }
}

/// The type in a request's body, a model when it does not say.
pub(super) fn kind(body: &Value) -> Result<Kind, Answer> {
    let Some(name) = optional_text(body, "type")? else { return Ok(Kind::Model) };
    let problem = "Invalid option: expected one of \"model\"|\"dataset\"|\"space\"";
    Kind::from_name(&name).ok_or_else(|| Answer::invalid(problem, "type"))
}

pub(super) fn required_text(body: &Value, field: &str) -> Result<String, Answer> {
    let problem = "Invalid input: expected string, received undefined";
    optional_text(body, field)?.ok_or_else(|| Answer::invalid(problem, field))
}

pub(super) fn optional_text(body: &Value, field: &str) -> Result<Option<String>, Answer> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Answer::invalid("Invalid input: expected string", field)),
    }
}

pub(super) fn is_good_name(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let edge = |letter: char| matches!(letter, '-' | '.');
    (1..=96).contains(&name.len())
        && name.chars().all(plain)
        && !name.starts_with(edge)
        && !name.ends_with(edge)
        && !name.contains("--")
        && !name.contains("..")
        && !name.ends_with(".git")
}

//! `DELETE /api/repos/delete`, by name in the body.
//! Knows that what one must not see is missing; the right to delete is the table of grants' business.
//! Serves the hub.

use serde_json::Value;

use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::call::Call;
use crate::simulator::caller::Caller;
use crate::simulator::grants::Rights;
use crate::simulator::grants::Sight;
use crate::simulator::routes::create::kind;
use crate::simulator::routes::create::optional_text;
use crate::simulator::routes::create::required_text;
use crate::simulator::state::Doer;
use crate::simulator::state::State;

/// The name is taken exactly, and a former name is not followed: both UNCONFIRMED, and the careful choice for
/// a call that destroys. The text of a refusal and the body of a success are UNCONFIRMED too.
pub(in crate::simulator) fn answer(state: &mut State, caller: &Caller, call: &Call, doer: Doer<'_>) -> Reply {
    let holder = caller.required()?;
    let body = call.json().filter(Value::is_object);
    let body = body.ok_or_else(|| Answer::invalid("Invalid input: expected object", "body"))?;
    let name = required_text(&body, "name")?;
    let kind = kind(&body)?;
    let namespace = optional_text(&body, "organization")?.unwrap_or_else(|| holder.token.user.clone());
    let key = (kind, format!("{namespace}/{name}"));
    let rights = Rights { world: &state.world, holder: Some(holder) };
    let repo = state.repos.get(&key).ok_or_else(Answer::repo_not_found)?;
    match rights.sight(repo) {
        Sight::Seen => {}
        Sight::Hidden => return Err(Answer::repo_not_found()),
        Sight::Barred(text) => return Err(Answer::error(403, text)),
    }
    rights.may_delete(repo).map_err(|text| Answer::error(403, text))?;
    if let Some(repo) = state.repos.remove(&key) {
        state.note(doer, "deleted", &repo, None);
        state.linger(&repo);
    }
    Ok(Answer::text("OK"))
}

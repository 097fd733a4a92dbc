//! The routes of one repository: how it is found, hidden or said to be elsewhere, then what is asked of it.
//! Knows what comes before every question about a repository; its history, group, gate and settings have files
//! of their own. Serves the hub.

use crate::simulator::answer;
use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::call::Call;
use crate::simulator::caller::Caller;
use crate::simulator::caller::Holder;
use crate::simulator::grants::Rights;
use crate::simulator::grants::Sight;
use crate::simulator::repo::Repo;
use crate::simulator::route::RepoAsk;
use crate::simulator::routes::gate;
use crate::simulator::routes::group;
use crate::simulator::routes::revision;
use crate::simulator::routes::settings;
use crate::simulator::state::Doer;
use crate::simulator::state::RepoKey;
use crate::simulator::state::State;
use crate::simulator::words::Kind;

/// What is asked of which repository.
pub(in crate::simulator) struct Question<'a> {
    pub(in crate::simulator) kind: Kind,
    pub(in crate::simulator) name: &'a str,
    pub(in crate::simulator) ask: &'a RepoAsk,
}

pub(in crate::simulator) fn answer(
    state: &mut State,
    caller: &Caller,
    call: &Call,
    doer: Doer<'_>,
    question: &Question<'_>,
) -> Reply {
    let holder = caller.optional()?;
    let (key, repo) = look_up(state, holder, call, question)?;
    let repo = &repo;
    match question.ask {
        RepoAsk::Info(revision) => {
            if let Some(revision) = revision.as_deref().filter(|name| repo.revision(name).is_none()) {
                return Err(Answer::revision_not_found(revision));
            }
            Ok(Answer::json(&repo.info()))
        }
        RepoAsk::Commits(name) => revision::commits(repo, call, name, &state.base),
        RepoAsk::Tree(name) => revision::tree(repo, name),
        RepoAsk::Refs => Ok(Answer::json(&revision::refs(repo, call))),
        RepoAsk::AuthCheck => gate::pass(&state.world, repo, holder),
        RepoAsk::AuthCheckWrite => {
            write_access(state, holder, repo)?;
            Ok(Answer::text("OK"))
        }
        RepoAsk::CreateBranch(branch) => {
            write_access(state, holder, repo)?;
            revision::create_branch(state, &key, call, doer, branch)
        }
        RepoAsk::DeleteBranch(branch) => {
            write_access(state, holder, repo)?;
            revision::delete_branch(state, &key, doer, branch)
        }
        RepoAsk::Settings => {
            write_access(state, holder, repo)?;
            settings::change(state, &key, call, doer)
        }
        RepoAsk::CreateTag(revision) => {
            write_access(state, holder, repo)?;
            revision::create_tag(state, &key, call, doer, revision)
        }
        RepoAsk::DeleteTag(tag) => {
            write_access(state, holder, repo)?;
            revision::delete_tag(state, &key, doer, tag)
        }
        RepoAsk::AccessRequests(status) => {
            write_access(state, holder, repo)?;
            gate::requests(&state.world, repo, status)
        }
        RepoAsk::Group => Ok(Answer::json(&group::of(state, repo))),
        RepoAsk::AssignGroup => group::assign(state, &key, holder, call, doer),
    }
}

/// Finds a repository for somebody. To whom must not see it, it is missing; to nobody, "who are you?".
///
/// That a member whose fine-grained token lacks the scope gets the same 404 is UNCONFIRMED.
fn look_up(
    state: &State,
    holder: Option<&Holder>,
    call: &Call,
    question: &Question<'_>,
) -> Result<(RepoKey, Repo), Answer> {
    let absent = || match holder {
        Some(_) => Answer::repo_not_found(),
        None => Answer::unauthenticated(),
    };
    let rights = Rights { world: &state.world, holder };
    let Some((key, repo)) = state.shown(question.kind, question.name) else {
        let there = state.moved_to(question.kind, question.name).ok_or_else(absent)?;
        return Err(match rights.sight(there) {
            Sight::Seen => redirect(call, question.name, there),
            Sight::Hidden => absent(),
            Sight::Barred(text) => Answer::error(403, text),
        });
    };
    match rights.sight(&repo) {
        Sight::Seen if repo.disabled => Err(Answer::error(403, answer::DISABLED)),
        Sight::Seen => Ok((key, repo)),
        Sight::Hidden => Err(absent()),
        Sight::Barred(text) => Err(Answer::error(403, text)),
    }
}

fn redirect(call: &Call, old: &str, repo: &Repo) -> Answer {
    let there = call.path.replacen(old, &repo.name, 1);
    let query = call.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("{there}{query}");
    let mut answer = Answer::text(&format!("Temporary Redirect. Redirecting to {location}"));
    answer.status = 307;
    answer.with("Location", &location)
}

/// Nobody is asked who he is; somebody without the right gets the guard's text, which for these routes is
/// UNCONFIRMED.
fn write_access(state: &State, holder: Option<&Holder>, repo: &Repo) -> Result<(), Answer> {
    if holder.is_none() {
        return Err(Answer::unauthenticated());
    }
    let rights = Rights { world: &state.world, holder };
    rights.may_write(repo).map_err(|text| Answer::error(403, text))
}

/// The refusal on a repository that one sees but may not manage.
pub(super) fn guarded() -> Answer {
    Answer::error(403, answer::REPO_GUARD)
}

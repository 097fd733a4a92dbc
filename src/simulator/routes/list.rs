//! The listings of models, datasets and spaces: public ones, and private ones that the token sees.
//! Knows filters and pages; the Hub's sort orders and field choices are accepted and ignored.
//! Serves the hub.

use serde_json::Value;
use url::form_urlencoded;

use crate::simulator::answer::Answer;
use crate::simulator::answer::Reply;
use crate::simulator::call::Call;
use crate::simulator::caller::Caller;
use crate::simulator::grants::Rights;
use crate::simulator::grants::Sight;
use crate::simulator::repo::Repo;
use crate::simulator::state::State;
use crate::simulator::words::Kind;

const MOST: usize = 1000;

pub(in crate::simulator) fn answer(state: &State, caller: &Caller, call: &Call, kind: Kind) -> Reply {
    let holder = caller.optional()?;
    let rights = Rights { world: &state.world, holder };
    let author = call.query("author");
    let search = call.query("search").map(|text| text.to_ascii_lowercase());
    let wanted = |repo: &&Repo| {
        let by = author.as_deref().is_none_or(|author| repo.namespace().eq_ignore_ascii_case(author));
        let found = search.as_deref().is_none_or(|part| repo.name.to_ascii_lowercase().contains(part));
        repo.kind == kind && by && found && rights.sight(repo) == Sight::Seen
    };
    let mut all: Vec<&Repo> = state.all_shown().filter(wanted).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    let page = Page::of(call)?;
    let shown: Vec<Value> = page.cut(&all).iter().map(|repo| repo.summary()).collect();
    let address = format!("{}/api/{}", state.base, kind.plural());
    Ok(page.link(Answer::json(&Value::from(shown)), all.len(), call, &address))
}

/// A stretch of a listing. The cursor is the place of the first item; on the Hub it is opaque.
pub(super) struct Page {
    from: usize,
    limit: usize,
}

impl Page {
    pub(super) fn of(call: &Call) -> Result<Page, Answer> {
        let number = |key: &str| match call.query(key) {
            None => Ok(None),
            Some(text) => text
                .parse::<usize>()
                .map(Some)
                .map_err(|_| Answer::invalid("Invalid input: expected number", key)),
        };
        let limit = number("limit")?.unwrap_or(MOST).clamp(1, MOST);
        Ok(Page { from: number("cursor")?.unwrap_or(0), limit })
    }

    pub(super) fn cut<'a, T>(&self, all: &'a [T]) -> &'a [T] {
        let from = self.from.min(all.len());
        &all[from..from.saturating_add(self.limit).min(all.len())]
    }

    /// Tells where the next page is, if there is one.
    pub(super) fn link(&self, answer: Answer, all: usize, call: &Call, address: &str) -> Answer {
        let next = self.from.saturating_add(self.limit);
        if next >= all {
            return answer;
        }
        let old = form_urlencoded::parse(call.query.as_deref().unwrap_or_default().as_bytes());
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(old.filter(|(key, _)| key != "cursor"));
        query.append_pair("cursor", &next.to_string());
        answer.with("Link", &format!("<{address}?{}>; rel=\"next\"", query.finish()))
    }
}

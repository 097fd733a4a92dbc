//! What a single answer says to the walks: the organization's name, a listing, a look at a repository, one
//! without a token, what surrounds it.
//!
//! Each table names its rows, as those of `classify` and `probes` do; what a walk makes of a row is the walk's.
//! Serves `control` and `visit`.

use serde_json::Value;

use crate::access::{RepoName, RepoType, words};
use crate::exchange::{Answer, Failure};
use crate::moment::Timestamp;

use super::answers::{closed, described, json, repo_not_found};
use super::classify::is_object_id;
use super::visit::Identity;

type Outcome = Result<Answer, Failure>;

fn good(outcome: &Outcome) -> Option<&Answer> {
    outcome.as_ref().ok().filter(|answer| (200..300).contains(&answer.status))
}

/// The list that a successful answer is: of objects that all have an `id`, as the Hub's lists do. One item that is
/// not so spoils it all, because it may be any.
fn items(outcome: &Outcome) -> Option<&[Value]> {
    match good(outcome).and_then(json)? {
        Value::Array(items) if items.iter().all(|item| id_of(item).is_some()) => Some(items),
        _ => None,
    }
}

fn id_of(item: &Value) -> Option<&str> {
    item.get("id").and_then(Value::as_str)
}

words! {
    /// What the overview says of an organization's name.
    OverviewRow {
        Confirmed = "confirmed",
        /// It is spelled otherwise; creating is case-sensitive.
        OtherCase = "other-case",
        Absent = "absent",
        Unclear = "unclear",
    }
}

/// The answer to the overview of `wanted`, with the name that it gives.
pub fn overview(outcome: &Outcome, wanted: &str) -> (OverviewRow, Option<String>) {
    let body = good(outcome).and_then(described);
    let name = body.and_then(|body| body.get("name").and_then(Value::as_str).map(str::to_owned));
    match (name, outcome) {
        (Some(name), _) if name == wanted => (OverviewRow::Confirmed, Some(name)),
        (Some(name), _) if name.eq_ignore_ascii_case(wanted) => (OverviewRow::OtherCase, Some(name)),
        (_, Ok(answer)) if answer.status == 404 => (OverviewRow::Absent, None),
        _ => (OverviewRow::Unclear, None),
    }
}

words! {
    /// What a listing says to somebody who looks for a private repository.
    ListingRow {
        Private = "private",
        /// None of them is private.
        Nothing = "nothing",
        Unclear = "unclear",
    }
}

/// The first private repository of the organization in a listing that is not among those `known`.
pub fn listing(
    outcome: &Outcome,
    organization: &str,
    known: impl Fn(&RepoName) -> bool,
) -> (ListingRow, Option<RepoName>) {
    let Some(items) = items(outcome) else { return (ListingRow::Unclear, None) };
    let found = items
        .iter()
        .filter(|item| item.get("private") == Some(&Value::Bool(true)))
        .filter_map(|item| item.get("id").and_then(Value::as_str)?.parse::<RepoName>().ok())
        .find(|repo| repo.namespace == organization && !known(repo));
    (if found.is_some() { ListingRow::Private } else { ListingRow::Nothing }, found)
}

/// The repositories that a listing names, with when they were created where it says so; `None` if it is none.
pub fn named(outcome: &Outcome) -> Option<Vec<(RepoName, Option<Timestamp>)>> {
    let read = |item: &Value| {
        let repo = item.get("id").and_then(Value::as_str)?.parse().ok()?;
        let created = item.get("createdAt").and_then(Value::as_str).and_then(Timestamp::parse);
        Some((repo, created))
    };
    Some(items(outcome)?.iter().filter_map(read).collect())
}

words! {
    /// What a listing says of one repository.
    ListedRow { Listed = "listed", Missing = "missing", Unclear = "unclear" }
}

/// Whether the listing names the repository.
pub fn listed(outcome: &Outcome, repo: &RepoName) -> ListedRow {
    let full = repo.to_string();
    let named = |item: &Value| id_of(item) == Some(&full);
    let goes_on = good(outcome)
        .is_some_and(|answer| answer.link.as_deref().is_some_and(|l| l.contains("rel=\"next\"")));
    match items(outcome) {
        Some(items) if items.iter().any(named) => ListedRow::Listed,
        // What is not on this page may be on the next.
        Some(_) if goes_on => ListedRow::Unclear,
        Some(_) => ListedRow::Missing,
        None => ListedRow::Unclear,
    }
}

words! {
    /// What a look at a repository says of its being there and private.
    LookRow { Private = "private", NotFound = "not-found", Unclear = "unclear" }
}

/// Whether the answer describes exactly this repository, and as a private one; or is the Hub's "not found".
pub fn look(outcome: &Outcome, repo: &RepoName) -> LookRow {
    let private = good(outcome).and_then(described).is_some_and(|body| {
        id_of(body) == Some(&repo.to_string()) && body.get("private") == Some(&Value::Bool(true))
    });
    match outcome {
        _ if private => LookRow::Private,
        Ok(answer) if repo_not_found(answer) => LookRow::NotFound,
        _ => LookRow::Unclear,
    }
}

words! {
    /// What a look without a token says.
    AnonymousRow { Refused = "refused", Seen = "seen", Unclear = "unclear" }
}

/// Whether everybody sees a repository. Only a description shows it; whatever else comes back says nothing of
/// who can see it.
pub fn anonymous(outcome: &Outcome) -> AnonymousRow {
    match outcome {
        Ok(answer) if closed(answer) => AnonymousRow::Refused,
        _ if good(outcome).and_then(identity).is_some() => AnonymousRow::Seen,
        _ => AnonymousRow::Unclear,
    }
}

words! {
    /// What a look at a canary says.
    DescriptionRow {
        Described = "described",
        /// A success that names nothing.
        OddSuccess = "odd-success",
        Moved = "moved",
        NotFound = "not-found",
        /// Nothing of the above: its status alone counts.
        Status = "status",
        Unanswered = "unanswered",
    }
}

/// What the Hub says a repository is.
pub fn description(outcome: &Outcome) -> (DescriptionRow, Option<Identity>) {
    let row = match outcome {
        Ok(answer) if (200..300).contains(&answer.status) => match identity(answer) {
            Some(identity) => return (DescriptionRow::Described, Some(identity)),
            None => DescriptionRow::OddSuccess,
        },
        Ok(answer) if (300..400).contains(&answer.status) => DescriptionRow::Moved,
        Ok(answer) if repo_not_found(answer) => DescriptionRow::NotFound,
        Ok(_) => DescriptionRow::Status,
        Err(_) => DescriptionRow::Unanswered,
    };
    (row, None)
}

fn identity(answer: &Answer) -> Option<Identity> {
    let body = described(answer)?;
    let text = |field: &str| body.get(field).and_then(Value::as_str).map(str::to_owned);
    // What is there and of another kind than documented would pass for missing, and what is missing is not compared.
    let lacks = |field: &str| body.get(field).is_none_or(Value::is_null);
    let fits = |field: &str, is: fn(&Value) -> bool| lacks(field) || body.get(field).is_some_and(is);
    if !["id", "_id", "author"].iter().all(|field| fits(field, Value::is_string))
        || !fits("private", Value::is_boolean)
    {
        return None;
    }
    let name = |file: &Value| file.get("rfilename").and_then(Value::as_str).map(str::to_owned);
    let files = match body.get("siblings") {
        _ if lacks("siblings") => None,
        Some(files) => Some(files.as_array()?.iter().map(name).collect::<Option<Vec<_>>>()?),
        None => None,
    };
    let identity = Identity {
        full_name: text("id"),
        id: text("_id"),
        author: text("author"),
        private: body.get("private").and_then(Value::as_bool),
        created_at: text("createdAt").as_deref().and_then(Timestamp::parse),
        files,
        commits: None,
        anonymous_saw: None,
    };
    // An object that names nothing describes nothing.
    (identity.full_name.is_some() || identity.id.is_some()).then_some(identity)
}

words! {
    /// Whether something is told; where it is not, it is not compared.
    TellingRow { Told = "told", Untold = "untold" }
}

impl TellingRow {
    fn of<T>(told: Option<T>) -> (TellingRow, Option<T>) {
        (if told.is_some() { TellingRow::Told } else { TellingRow::Untold }, told)
    }
}

/// How many commits there are, and who made the only one.
pub fn commits(outcome: &Outcome) -> (TellingRow, Option<(usize, Option<String>)>) {
    let author = |only: &Value| {
        let authors = only.get("authors").and_then(Value::as_array)?;
        authors.first()?.get("user")?.as_str().map(str::to_owned)
    };
    TellingRow::of(items(outcome).map(|commits| match commits {
        [only] => (1, author(only)),
        more => (more.len(), None),
    }))
}

/// The organization's resource groups, by name and id: all of them, or untold.
pub fn groups(outcome: &Outcome) -> (TellingRow, Option<Vec<(String, String)>>) {
    let group = |item: &Value| {
        let id = id_of(item).filter(|id| is_object_id(id))?;
        Some((item.get("name").and_then(Value::as_str)?.to_owned(), id.to_owned()))
    };
    TellingRow::of(items(outcome).and_then(|items| items.iter().map(group).collect()))
}

/// The repositories of listed groups. Kinds of resource that are none of ours are left out.
pub fn grouped(outcome: &Outcome) -> Vec<(RepoType, RepoName, String)> {
    let inside = |item: &Value| -> Option<Vec<(RepoType, RepoName, String)>> {
        let id = item.get("id").and_then(Value::as_str).filter(|id| is_object_id(id))?;
        let resources = item.get("resources").and_then(Value::as_array)?;
        let read = |resource: &Value| {
            let kind = resource.get("type").and_then(Value::as_str)?.parse().ok()?;
            Some((kind, resource.get("name").and_then(Value::as_str)?.parse().ok()?, id.to_owned()))
        };
        Some(resources.iter().filter_map(read).collect())
    };
    items(outcome).unwrap_or_default().iter().filter_map(inside).flatten().collect()
}

/// The id of the resource group that a repository is in.
pub fn group_of(outcome: &Outcome) -> (TellingRow, Option<String>) {
    let body = good(outcome).and_then(described);
    let id = body.and_then(id_of).filter(|id| is_object_id(id));
    TellingRow::of(id.map(str::to_owned))
}

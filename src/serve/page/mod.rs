//! The page: where things stand, in plain HTML without a script. Templates escape whatever comes from outside.
//!
//! `look` and `findings` decide what is shown, `plots` draws, `seen` writes names so that they are seen as they are, the
//! templates say how it looks; here each is filled in.

mod findings;
mod look;
mod plots;
mod seen;
#[cfg(test)]
mod tests;

use askama::Template;

use crate::moment::Timestamp;
use crate::report::Snapshot;

use findings::{Change, Group};
use look::{Banner, CanaryRow, Count, Filter, FindingPage, Matrix};
use plots::Plot;

/// The style sheet, served beside the page so that no inline style needs to be allowed.
pub(super) const STYLE: &str = include_str!("style.css");

#[derive(Template)]
#[template(path = "front.html", config = "src/serve/page/askama.toml")]
struct Front<'a> {
    banner: Banner,
    round: String,
    next: String,
    counts: Vec<Count>,
    groups: Vec<Group<'a>>,
    more_findings: usize,
    matrix: Matrix<'a>,
    filter: &'a Filter,
    /// What of the filter is said again: nothing that is no part of any name, because it may be a secret.
    token: &'a str,
    owners: Vec<&'a str>,
    organizations: Vec<&'a str>,
    changes: Vec<Change<'a>>,
    plots: Vec<Plot>,
    canaries: Vec<CanaryRow<'a>>,
}

#[derive(Template)]
#[template(path = "finding.html", config = "src/serve/page/askama.toml")]
struct One<'a> {
    page: FindingPage<'a>,
}

/// The front page of a snapshot. `query` is that of the address; what it does not know is left out of account.
pub(super) fn front(snapshot: &Snapshot, query: &str, now: Timestamp) -> Result<String, askama::Error> {
    let filter = Filter::of(query);
    let (groups, more_findings) = findings::groups(snapshot, now);
    let front = Front {
        banner: look::banner(snapshot, now),
        round: look::round(snapshot, now),
        next: look::next(snapshot, now),
        counts: look::counts(snapshot),
        groups,
        more_findings,
        matrix: look::matrix(snapshot, &filter, now),
        owners: look::owners(snapshot),
        organizations: snapshot.organizations.iter().map(|one| one.name.as_str()).collect(),
        token: look::known_part(snapshot, &filter.token),
        filter: &filter,
        changes: findings::changes(snapshot, now),
        plots: plots::of(&snapshot.history),
        canaries: look::canaries(snapshot, now),
    };
    front.render()
}

/// The page of one finding or check, by its id; `None` where there is no such thing.
pub(super) fn one(snapshot: &Snapshot, id: &str, now: Timestamp) -> Option<Result<String, askama::Error>> {
    look::one(snapshot, id, now).map(|page| One { page }.render())
}

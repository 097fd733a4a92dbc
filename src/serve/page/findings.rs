//! The findings as the page shows them: what lasts, the worst first and together with what is about the same token;
//! and what began and ended lately.
//!
//! Pure: a snapshot and the time in, rows out. Knows nothing of HTML.

use std::collections::BTreeMap;

use crate::access::Permission;
use crate::moment::Timestamp;
use crate::report::{Finding, FindingKind, Snapshot};

use super::look::age;

/// Findings on the front page; the API has all.
const ROWS: usize = 100;
const CHANGES: usize = 30;

pub(super) fn lasting(snapshot: &Snapshot) -> impl Iterator<Item = &Finding> {
    snapshot.findings.iter().filter(|finding| finding.resolved_at.is_none())
}

/// Whether it is what this program is for.
pub(super) fn is_grant(finding: &Finding) -> bool {
    finding.kind == FindingKind::UnexpectedGrant
}

/// The lasting findings about one token, or about one organization where no token is meant.
pub(super) struct Group<'a> {
    /// The token's name; else the organization's; empty where the daemon itself is meant.
    pub name: &'a str,
    pub organization: &'a str,
    pub owner: &'a str,
    /// The worst of them.
    pub class: &'static str,
    pub rows: Vec<FindingRow<'a>>,
}

/// A finding that lasts.
pub(super) struct FindingRow<'a> {
    pub finding: &'a Finding,
    pub class: &'static str,
    pub href: String,
    pub what: String,
    pub since: String,
}

/// The findings that last, those with a grant first and the oldest of them before others; and how many more there are.
pub(super) fn groups(snapshot: &Snapshot, now: Timestamp) -> (Vec<Group<'_>>, usize) {
    let mut all: Vec<&Finding> = lasting(snapshot).collect();
    all.sort_by_key(|finding| (!is_grant(finding), finding.since));
    let more = all.len().saturating_sub(ROWS);
    let owners: BTreeMap<(&str, &str), &str> = snapshot
        .tokens
        .iter()
        .map(|token| ((token.organization.as_str(), token.token.as_str()), token.owner.as_str()))
        .collect();
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut places: BTreeMap<(&str, Option<&str>), usize> = BTreeMap::new();
    for finding in all.into_iter().take(ROWS) {
        let organization = finding.organization.as_str();
        let token = finding.token.as_ref().map(|token| token.as_str());
        let place = *places.entry((organization, token)).or_insert_with(|| {
            let owner = token.and_then(|token| owners.get(&(organization, token)));
            groups.push(Group {
                name: token.unwrap_or(organization),
                organization: token.map_or("", |_| organization),
                owner: owner.copied().unwrap_or_default(),
                class: class(finding),
                rows: Vec::new(),
            });
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(place) {
            group.rows.push(FindingRow {
                finding,
                class: class(finding),
                href: address(finding),
                what: asked(finding),
                since: age(finding.since, now),
            });
        }
    }
    (groups, more)
}

fn class(finding: &Finding) -> &'static str {
    if is_grant(finding) { "bad" } else { "warn" }
}

fn address(finding: &Finding) -> String {
    format!("/findings/{}", finding.key().id())
}

/// What was asked, in words: the permission and its target, as far as there are any.
fn asked(finding: &Finding) -> String {
    let target = finding.target.as_deref().filter(|target| *target != "-");
    match (finding.permission, target) {
        (Some(permission), Some(target)) => format!("{permission} on {target}"),
        (Some(permission), None) => permission.to_string(),
        (None, target) => target.unwrap_or_default().to_owned(),
    }
}

/// What a finding is about, in one line.
pub(super) fn about(finding: &Finding) -> String {
    let token = finding.token.as_ref().map(|token| token.as_str());
    let permission = finding.permission.map(Permission::as_str);
    let target = finding.target.as_deref().filter(|target| *target != "-");
    let parts =
        [Some(finding.organization.as_str()).filter(|name| !name.is_empty()), token, permission, target];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// When a finding began or ended.
pub(super) struct Change<'a> {
    pub at: Timestamp,
    pub ago: String,
    pub class: &'static str,
    pub word: &'static str,
    pub finding: &'a Finding,
    pub what: String,
    pub href: String,
}

pub(super) fn changes(snapshot: &Snapshot, now: Timestamp) -> Vec<Change<'_>> {
    let began = snapshot.findings.iter().map(|finding| (finding.since, finding, class(finding), "began"));
    let ended = snapshot
        .findings
        .iter()
        .filter_map(|finding| finding.resolved_at.map(|at| (at, finding, "good", "ended")));
    let mut changes: Vec<_> = began.chain(ended).collect();
    changes.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
    let change = |(at, finding, class, word)| Change {
        at,
        ago: age(at, now),
        class,
        word,
        finding,
        what: about(finding),
        href: address(finding),
    };
    changes.into_iter().take(CHANGES).map(change).collect()
}

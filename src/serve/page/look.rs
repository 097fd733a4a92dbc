//! What the page shows of a snapshot: the one sentence on top, the matrix of tokens and permissions, canaries, and the
//! page of a single finding or check.
//!
//! Pure: a snapshot, a query and the time in, rows out. Knows nothing of HTML.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::access::{Expected, Permission, Verdict};
use crate::intent::Canary;
use crate::moment::Timestamp;
use crate::render::shell_word;
use crate::report::{CheckResult, CheckView, Evidence, FindingKind, Snapshot, Summary};

use super::findings::{about, is_grant, lasting};

/// Rows of the matrix on one page.
const TOKENS: usize = 50;
/// Rows of the other tables; the API has all.
const ROWS: usize = 100;
/// Tokens that the sentence on top names.
const NAMES: usize = 3;

/// An image of its own size, without a request: the policy of the page lets images in so, and nothing else.
macro_rules! icon {
    ($colour:literal) => {
        concat!(
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E",
            "%3Ccircle cx='4' cy='4' r='4' fill='%23",
            $colour,
            "'/%3E%3C/svg%3E"
        )
    };
}

/// The sentence on top.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Banner {
    /// `bad`, `warn`, `unsure` or `good`.
    pub class: &'static str,
    pub title: String,
    pub text: String,
}

impl Banner {
    /// A dot of the banner's colour, for the tab; its title says the same in words.
    pub fn icon(&self) -> &'static str {
        match self.class {
            "bad" => icon!("d1242f"),
            "warn" => icon!("b7791f"),
            "good" => icon!("1a7f4b"),
            _ => icon!("6469b8"),
        }
    }
}

/// What of the matrix is shown, as the address says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub token: String,
    pub owner: String,
    pub organization: String,
    pub verdict: String,
    pub page: usize,
}

impl Filter {
    pub fn of(query: &str) -> Filter {
        let mut filter = Filter { page: 1, ..Filter::default() };
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match key.as_ref() {
                "token" => filter.token = value.into_owned(),
                "owner" => filter.owner = value.into_owned(),
                "organization" => filter.organization = value.into_owned(),
                "verdict" => filter.verdict = value.into_owned(),
                "page" => filter.page = value.parse().unwrap_or(1).max(1),
                _ => {}
            }
        }
        filter
    }

    pub fn is_set(&self) -> bool {
        *self != Filter { page: self.page, ..Filter::default() }
    }

    pub fn wants(&self, verdict: &str) -> bool {
        self.verdict == verdict
    }

    /// The address of another page of the same.
    fn address(&self, page: usize) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let all = [
            ("token", &self.token),
            ("owner", &self.owner),
            ("organization", &self.organization),
            ("verdict", &self.verdict),
        ];
        for (key, value) in all.into_iter().filter(|(_, value)| !value.is_empty()) {
            query.append_pair(key, value);
        }
        query.append_pair("page", &page.to_string());
        format!("/?{}#matrix", query.finish())
    }
}

/// How long ago, in words; of the future, how far away.
pub(super) fn age(at: Timestamp, now: Timestamp) -> String {
    let apart = spell(now.millis().abs_diff(at.millis()) / 1000);
    if at.millis() > now.millis() { format!("in {apart}") } else { format!("{apart} ago") }
}

/// A moment as people write it, to the second.
fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    let (second, _) = text.split_once('.').unwrap_or((text.as_str(), ""));
    format!("{} UTC", second.replace('T', " "))
}

/// So many seconds, in words.
pub(super) fn spell(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..90 => (seconds, "s"),
        90..5400 => (seconds / 60, "min"),
        5400..172_800 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    format!("{count} {unit}")
}

pub(super) fn banner(snapshot: &Snapshot, now: Timestamp) -> Banner {
    let of = |kind: FindingKind| lasting(snapshot).filter(move |finding| finding.kind == kind);
    let banner = |class, title: String, text: String| Banner { class, title, text };
    let grants = lasting(snapshot).filter(|finding| is_grant(finding)).count();
    if let Some(first) = of(FindingKind::UnexpectedGrant).map(|finding| finding.since).min() {
        let noun = if grants == 1 { "grant" } else { "grants" };
        let text = format!(
            "{} can do what must be denied, since {} ({}).",
            holders(snapshot),
            clock(first),
            age(first, now)
        );
        return banner("bad", format!("{grants} unexpected {noun}"), text);
    }
    let Some(report) = &snapshot.report else {
        let text = "No round has been completed yet.".to_owned();
        return banner("unsure", "Nothing is known yet".into(), text);
    };
    if of(FindingKind::HubUnreachable).next().is_some() {
        let text = "Nothing is concluded from that: what was known before is shown with its age.".to_owned();
        return banner("unsure", "The Hub does not answer".into(), text);
    }
    let others = lasting(snapshot).count();
    if others > 0 {
        let noun = if others == 1 { "finding" } else { "findings" };
        let text = match report.summary.unexpected_grant {
            0 => "Nothing is granted that should not be; something else wants a look.",
            _ => "What is granted and should not be is accepted for a while; something else wants a look.",
        };
        return banner("warn", format!("{others} {noun}, none of them a grant"), text.to_owned());
    }
    let (class, title, text) = calm(report.summary);
    banner(class, title, text)
}

/// What is said where nothing lasts that wants a look.
fn calm(summary: Summary) -> (&'static str, String, String) {
    let are = |number: usize| if number == 1 { "check is" } else { "checks are" };
    let odd = summary.unexpected_grant + summary.unexpected_denial;
    let aside = match odd {
        0 => String::new(),
        _ => format!(" {odd} {} not as expected: accepted for a while, or not confirmed yet.", are(odd)),
    };
    let Summary { checks, unknown, .. } = summary;
    match (unknown, odd) {
        (0, 0) => {
            ("good", "All as expected".to_owned(), format!("{checks} checks, each answered by the Hub."))
        }
        (0, _) => ("unsure", "No finding, and not all as expected".to_owned(), aside.trim_start().to_owned()),
        _ => {
            let fine = checks.saturating_sub(unknown + odd);
            let text = format!("Of {checks} checks {fine} came out as expected.{aside}");
            ("unsure", format!("{unknown} {} unknown", are(unknown)), text)
        }
    }
}

/// The tokens with an unexpected grant: the first few by name, in the order of the findings.
fn holders(snapshot: &Snapshot) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut known = BTreeSet::new();
    for finding in lasting(snapshot).filter(|finding| is_grant(finding)) {
        let token = finding.token.as_ref().map_or("a token", |token| token.as_str());
        if known.insert((finding.organization.as_str(), token)) {
            names.push(token);
        }
    }
    let shown = names.iter().take(NAMES).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// How many checks stand so, and where they are.
pub(super) struct Count {
    pub class: &'static str,
    pub mark: &'static str,
    pub word: &'static str,
    pub count: usize,
    pub href: String,
}

/// Of each standing the number of checks, where there are any.
pub(super) fn counts(snapshot: &Snapshot) -> Vec<Count> {
    let mut of: BTreeMap<&str, usize> = BTreeMap::new();
    for view in snapshot.checks.iter().flat_map(|own| own.iter()) {
        *of.entry(standing(view).0).or_default() += 1;
    }
    let all = [
        ("grant", "!", "unexpected grant", "unexpected grants"),
        ("denial", "×", "unexpected denial", "unexpected denials"),
        ("unknown", "?", "unknown", "unknown"),
        ("accepted", "~", "accepted", "accepted"),
        ("ok", "✓", "as expected", "as expected"),
    ];
    let count = |(class, mark, one, more)| {
        let count = of.get(class).copied().unwrap_or_default();
        let word = if count == 1 { one } else { more };
        Count { class, mark, word, count, href: format!("/?verdict={class}#matrix") }
    };
    all.into_iter().map(count).filter(|one| one.count > 0).collect()
}

/// The last round; where it was another replica's, the latest result.
pub(super) fn round(snapshot: &Snapshot, now: Timestamp) -> String {
    let recalled = || snapshot.report.as_ref().map(|report| report.finished_at);
    snapshot.last_round.or_else(recalled).map_or_else(|| "none yet".to_owned(), |at| age(at, now))
}

pub(super) fn next(snapshot: &Snapshot, now: Timestamp) -> String {
    match snapshot.next_round {
        Some(at) if at.millis() >= now.millis() + 1000 => age(at, now),
        Some(_) => "now".to_owned(),
        None => "not planned".to_owned(),
    }
}

/// The matrix: a row for each token, a column for each permission that any of them is checked for.
pub(super) struct Matrix<'a> {
    pub columns: Vec<Permission>,
    pub rows: Vec<Row<'a>>,
    /// Tokens that fit the filter, all that are checked for something, and those that are not.
    pub shown: usize,
    pub all: usize,
    pub unchecked: usize,
    pub page: usize,
    pub pages: usize,
    pub before: Option<String>,
    pub after: Option<String>,
}

pub(super) struct Row<'a> {
    pub organization: &'a str,
    pub token: &'a str,
    pub owner: &'a str,
    /// Whether the Hub refuses the token itself.
    pub dead: bool,
    pub cells: Vec<Vec<Chip<'a>>>,
}

/// One check.
pub(super) struct Chip<'a> {
    pub class: &'static str,
    pub mark: &'static str,
    pub word: &'static str,
    pub permission: Permission,
    pub target: &'a str,
    pub expected: &'static str,
    /// `None` where nothing is predicted.
    pub predicted: Option<&'static str>,
    pub age: String,
    pub href: String,
}

type Results<'a> = BTreeMap<(&'a str, &'a str, Permission, &'a str), &'a CheckResult>;

fn results(snapshot: &Snapshot) -> Results<'_> {
    let all = snapshot.report.iter().flat_map(|report| &report.results).map(|result| &**result);
    all.map(|one| ((one.organization.as_str(), one.token.as_str(), one.permission, one.target.as_str()), one))
        .collect()
}

fn chip<'a>(view: &'a CheckView, results: &Results<'a>, now: Timestamp) -> Chip<'a> {
    let key = &view.key;
    let result =
        results.get(&(key.organization.as_str(), key.token.as_str(), key.permission, key.target.as_str()));
    let (class, mark, word) = standing(view);
    Chip {
        class,
        mark,
        word,
        permission: key.permission,
        target: &key.target,
        expected: view.expected.as_str(),
        predicted: result.and_then(|result| result.predicted),
        age: view.last_conclusive.map_or_else(|| "never answered".to_owned(), |at| age(at, now)),
        href: result.map_or_else(String::new, |result| format!("/findings/{}", result.id())),
    }
}

/// How a check stands: its class, its mark and what was observed, in words. What differs from the expectation and is no
/// drift was accepted by an ignore, or is a denial that has to be seen again.
fn standing(view: &CheckView) -> (&'static str, &'static str, &'static str) {
    match (view.undetermined, view.allowed) {
        (None, _) => ("unknown", "?", "not asked yet"),
        (Some(true), Some(true)) if view.drift => ("grant", "!", "allowed, now unknown"),
        (Some(true), Some(false)) if view.drift => ("denial", "×", "denied, now unknown"),
        (Some(true), Some(true)) => ("unknown", "?", "unknown, last allowed"),
        (Some(true), Some(false)) => ("unknown", "?", "unknown, last denied"),
        (_, None) => ("unknown", "?", "unknown"),
        (_, Some(true)) => match (view.expected, view.drift) {
            (Expected::Allowed, _) => ("ok", "✓", "allowed"),
            (Expected::Denied, true) => ("grant", "!", "allowed"),
            (Expected::Denied, false) => ("accepted", "~", "allowed, accepted for a while"),
        },
        (_, Some(false)) => match (view.expected, view.drift) {
            (Expected::Denied, _) => ("ok", "✓", "denied"),
            (Expected::Allowed, true) => ("denial", "×", "denied"),
            (Expected::Allowed, false) => ("denial", "×", "denied, accepted or not confirmed yet"),
        },
    }
}

/// This, if it is part of a token's name; else nothing.
pub(super) fn known_part<'a>(snapshot: &Snapshot, part: &'a str) -> &'a str {
    let known = snapshot.tokens.iter().any(|token| token.token.as_str().contains(part));
    if known { part } else { "" }
}

pub(super) fn owners(snapshot: &Snapshot) -> Vec<&str> {
    let owners: BTreeSet<&str> = snapshot.tokens.iter().map(|token| token.owner.as_str()).collect();
    owners.into_iter().filter(|owner| !owner.is_empty()).collect()
}

pub(super) fn matrix<'a>(snapshot: &'a Snapshot, filter: &Filter, now: Timestamp) -> Matrix<'a> {
    let results = results(snapshot);
    let mut checks: BTreeMap<(&str, &str), Vec<(Permission, Chip<'a>)>> = BTreeMap::new();
    let mut columns = BTreeSet::new();
    for view in snapshot.checks.iter().flat_map(|own| own.iter()) {
        let of = (view.key.organization.as_str(), view.key.token.as_str());
        columns.insert(view.key.permission);
        checks.entry(of).or_default().push((view.key.permission, chip(view, &results, now)));
    }
    let columns: Vec<Permission> = columns.into_iter().collect();
    let mut rows: Vec<(usize, Row<'a>)> = Vec::new();
    let all = checks.len();
    for token in &snapshot.tokens {
        let (organization, name) = (token.organization.as_str(), token.token.as_str());
        let own = checks.remove(&(organization, name)).unwrap_or_default();
        let fits = name.contains(&filter.token)
            && (filter.owner.is_empty() || filter.owner == token.owner)
            && (filter.organization.is_empty() || filter.organization == organization)
            && (filter.verdict.is_empty() || own.iter().any(|(_, chip)| chip.class == filter.verdict));
        if own.is_empty() || !fits {
            continue;
        }
        let rank = |class: &str| {
            ["grant", "denial", "unknown", "accepted"].iter().position(|one| *one == class).unwrap_or(4)
        };
        let worst = own.iter().map(|(_, chip)| rank(chip.class)).min().unwrap_or(4);
        let mut cells: Vec<Vec<Chip<'a>>> = columns.iter().map(|_| Vec::new()).collect();
        for (permission, chip) in own {
            let cell =
                columns.iter().position(|column| *column == permission).and_then(|at| cells.get_mut(at));
            if let Some(cell) = cell {
                cell.push(chip);
            }
        }
        let dead = token.usable == Some(false);
        rows.push((worst, Row { organization, token: name, owner: &token.owner, dead, cells }));
    }
    rows.sort_by_key(|(worst, _)| *worst);
    let (shown, unchecked) = (rows.len(), snapshot.tokens.len().saturating_sub(all));
    let pages = shown.div_ceil(TOKENS).max(1);
    let page = filter.page.min(pages);
    let rows = rows.into_iter().skip((page - 1) * TOKENS).take(TOKENS).map(|(_, row)| row).collect();
    let before = (page > 1).then(|| filter.address(page - 1));
    let after = (page < pages).then(|| filter.address(page + 1));
    Matrix { columns, rows, shown, all, unchecked, page, pages, before, after }
}

/// A canary that owes something.
pub(super) struct CanaryRow<'a> {
    pub id: i64,
    pub repo: String,
    pub kind: &'static str,
    pub token: &'a str,
    pub state: String,
    pub planned: String,
    pub note: &'a str,
}

pub(super) fn canaries<'a>(snapshot: &'a Snapshot, now: Timestamp) -> Vec<CanaryRow<'a>> {
    let row = |canary: &'a Canary| CanaryRow {
        id: canary.id,
        repo: canary.repo.to_string(),
        kind: canary.kind.as_str(),
        token: canary.token.as_str(),
        state: format!("{} ({})", canary.shown(), canary.state),
        planned: age(canary.planned_at, now),
        note: &canary.note,
    };
    snapshot.canaries.iter().filter(|canary| canary.unfinished()).take(ROWS).map(row).collect()
}

/// The page of one finding or check.
pub(super) struct FindingPage<'a> {
    /// The kind of finding, or the verdict of the check.
    pub kind: &'static str,
    /// What it is about.
    pub what: String,
    pub class: &'static str,
    pub facts: Vec<(&'static str, String)>,
    /// What happened and what to do.
    pub detail: Cow<'a, str>,
    pub evidence: Vec<Evidence>,
    /// The whole reasoning, as `explain` tells it; `None` where no answer is known here.
    pub explained: Option<&'a str>,
    /// The command that asks anew and tells the same.
    pub command: Option<String>,
}

pub(super) fn one<'a>(snapshot: &'a Snapshot, id: &str, now: Timestamp) -> Option<FindingPage<'a>> {
    let finding = snapshot.findings.iter().find(|finding| finding.key().id() == id);
    let results = snapshot.report.iter().flat_map(|report| &report.results).map(|result| &**result);
    let result = results.clone().find(|result| match finding {
        Some(finding) => {
            result.organization == finding.organization
                && Some(&result.token) == finding.token.as_ref()
                && Some(result.permission) == finding.permission
                && Some(&result.target) == finding.target.as_ref()
        }
        None => result.id() == id,
    });
    let mut facts: Vec<(&'static str, String)> = Vec::new();
    if let Some(finding) = finding {
        facts.push(("severity", finding.severity.to_string()));
        facts.push(("since", format!("{} ({})", finding.since, age(finding.since, now))));
        facts.extend(finding.resolved_at.map(|at| ("over since", format!("{at} ({})", age(at, now)))));
    }
    if let Some(result) = result {
        facts.push(("expected", result.expected.to_string()));
        let reason = result.found.reason().map(|reason| format!(" ({reason})")).unwrap_or_default();
        facts.push((
            "observed",
            format!("{}{reason}, {}", result.found.as_str(), age(result.observed_at, now)),
        ));
        facts.push(("predicted", result.predicted.unwrap_or("not said").to_owned()));
        facts.push(("declared", if result.declared { "known" } else { "not known" }.to_owned()));
        facts.extend(
            result.canary.as_ref().map(|canary| ("canary", format!("{} ({})", canary.repo, canary.state))),
        );
    }
    let (kind, what) = match (finding, result) {
        (Some(finding), _) => (finding.kind.as_str(), about(finding)),
        (None, Some(result)) => {
            let parts =
                [&result.organization, result.token.as_str(), result.permission.as_str(), &result.target];
            (result.verdict.as_str(), parts.join(" · "))
        }
        (None, None) => return None,
    };
    let class = match finding {
        Some(finding) if finding.resolved_at.is_some() => "good",
        Some(finding) if finding.kind == FindingKind::UnexpectedGrant => "bad",
        Some(_) => "warn",
        None if result.is_some_and(|result| result.verdict == Verdict::Ok) => "good",
        None => "unsure",
    };
    let command = result.map(|result| {
        format!(
            "scopewatch explain --config CONFIG {} {} {}",
            shell_word(result.token.as_str()),
            result.permission,
            shell_word(&result.target)
        )
    });
    Some(FindingPage {
        kind,
        what,
        class,
        facts,
        detail: finding.map_or_else(
            || result.map_or("".into(), |result| result.explanation().into()),
            |finding| finding.detail.as_str().into(),
        ),
        evidence: result.map(CheckResult::evidence).unwrap_or_default(),
        explained: explained(snapshot, result),
        command,
    })
}

/// What was reasoned about the check of this result.
fn explained<'a>(snapshot: &'a Snapshot, result: Option<&CheckResult>) -> Option<&'a str> {
    snapshot.explained.get(&result?.key()).map(|text| &**text)
}

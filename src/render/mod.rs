//! A round told in the formats of other programs: SARIF for code scanning, JUnit for CI, Markdown for people.
//!
//! Pure: a config, a report and the lasting findings come in, one text goes out. What is shown of names and of the
//! Hub's words is cut and freed of control characters here, and escaped by each format in its own way.

mod junit;
mod markdown;
mod rules;
mod sarif;
mod schema;
mod shell;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::access::{CheckKey, Permission, Stated, TokenName, Verdict};
use crate::config::ignores::{accepted, last_day};
use crate::config::{Config, Ignore};
use crate::report::{CheckResult, Evidence, Finding, FindingKey, FindingKind, Report};

pub use junit::junit;
pub use markdown::markdown;
pub use sarif::sarif;
pub use schema::{canaries_schema, findings_schema, report_schema};
pub use shell::shell_word;

/// What one round came to, with all that is needed to tell it.
#[derive(Debug, Clone, Copy)]
pub struct Round<'a> {
    pub config: &'a Config,
    pub report: &'a Report,
    /// As in the snapshot; resolved ones are left out here.
    pub findings: &'a [Finding],
    /// Of this program.
    pub version: &'a str,
    /// The directory against which addresses of files are made relative.
    pub base: Option<&'a Path>,
}

/// One thing to tell: a result that is not ok, or a finding that lasts.
struct Item<'a> {
    id: String,
    rule: &'static rules::Rule,
    organization: &'a str,
    token: Option<&'a TokenName>,
    permission: Option<Permission>,
    target: Option<&'a str>,
    message: String,
    /// Where the config states what is not met.
    stated: Option<Stated>,
    /// Who accepted it, and why.
    accepted: Option<&'a Ignore>,
    source: Source<'a>,
}

/// Where an item comes from.
#[derive(Clone, Copy)]
enum Source<'a> {
    Result(&'a CheckResult),
    Finding(&'a Finding),
}

impl<'a> Round<'a> {
    /// Everything to tell: the round's results that are not ok, in its order, then what else lasts.
    fn items(&self) -> Vec<Item<'a>> {
        let results = self.report.results.iter().filter_map(|result| self.result(result));
        results.chain(self.others()).collect()
    }

    /// A result that is not ok.
    fn result(&self, result: &'a CheckResult) -> Option<Item<'a>> {
        let kind = match result.verdict {
            Verdict::Ok => return None,
            Verdict::Unknown => None,
            Verdict::UnexpectedGrant => Some(FindingKind::UnexpectedGrant),
            Verdict::UnexpectedDenial => Some(FindingKind::UnexpectedDenial),
        };
        let token = Some(&result.token);
        let target = Some(result.target.as_str());
        let accepted = kind.and_then(|kind| {
            let key = FindingKey {
                kind,
                organization: result.organization.clone(),
                token: token.cloned(),
                permission: Some(result.permission),
                target: target.map(str::to_owned),
            };
            accepted(self.config, &key, self.report.finished_at)
        });
        Some(Item {
            id: result.id(),
            rule: kind.map_or(&rules::UNKNOWN, rules::of),
            organization: &result.organization,
            token,
            permission: Some(result.permission),
            target,
            message: sentence(&result.explanation()),
            stated: self.stated(&result.organization, token, Some(result.permission), target),
            accepted,
            source: Source::Result(result),
        })
    }

    /// Findings that last and that no result of this round tells of.
    fn others(&self) -> impl Iterator<Item = Item<'a>> {
        let round = *self;
        self.findings.iter().filter(move |finding| !round.told(finding)).map(move |finding| {
            let (token, target) = (finding.token.as_ref(), finding.target.as_deref());
            Item {
                id: finding.key().id(),
                rule: rules::of(finding.kind),
                organization: &finding.organization,
                token,
                permission: finding.permission,
                target,
                message: sentence(&finding.detail),
                stated: round.stated(&finding.organization, token, finding.permission, target),
                accepted: accepted(round.config, &finding.key(), round.report.finished_at),
                source: Source::Finding(finding),
            }
        })
    }

    /// Whether it is over, or the round itself has asked the same: its own answer is newer, and may well be ok.
    fn told(&self, finding: &Finding) -> bool {
        let of_a_verdict =
            matches!(finding.kind, FindingKind::UnexpectedGrant | FindingKind::UnexpectedDenial);
        let asked = |result: &CheckResult| {
            result.organization == finding.organization
                && Some(&result.token) == finding.token.as_ref()
                && Some(result.permission) == finding.permission
                && Some(&result.target) == finding.target.as_ref()
        };
        finding.resolved_at.is_some()
            || (of_a_verdict && self.report.results.iter().any(|result| asked(result)))
    }

    /// The line that states the expectation; else that of the token, of the organization, or the config's first.
    fn stated(
        &self,
        organization: &str,
        token: Option<&TokenName>,
        permission: Option<Permission>,
        target: Option<&str>,
    ) -> Option<Stated> {
        let entry = token.and_then(|name| self.config.token(name));
        if let (Some(entry), Some(permission), Some(target)) = (entry, permission, target) {
            let key = CheckKey::new(organization, entry.name.clone(), permission, target);
            if let Some(check) = entry.checks.iter().find(|check| check.key() == key) {
                return check.stated.clone();
            }
        }
        if let Some(entry) = entry {
            return entry.stated.clone();
        }
        if let Some(organization) = self.config.organization(organization) {
            return organization.stated.clone();
        }
        let any = self.config.organizations.iter().find_map(|organization| organization.stated.clone());
        any.map(|stated| Stated { line: 1, column: 1, ..stated })
    }
}

/// "accepted by OWNER until DAY: REASON".
fn acceptance(ignore: &Ignore) -> String {
    let (owner, reason) = (clean(&ignore.owner, NAME), clean(&ignore.reason, SENTENCE));
    format!("accepted by {owner} until {}: {reason}", last_day(ignore))
}

/// One request in words: `POST /api/repos/create → 403 (request …)`.
pub fn evidence(evidence: &Evidence) -> String {
    let came = match (evidence.status, evidence.failure) {
        (Some(status), _) => status.to_string(),
        (None, failure) => failure.unwrap_or("no answer").to_owned(),
    };
    let request = evidence.request_id.as_deref().map(|id| format!(" (request {id})")).unwrap_or_default();
    clean(&format!("{} {} → {came}{request}", evidence.method, evidence.path), SENTENCE)
}

/// Characters of a name that are shown; what the config admits is shorter.
const NAME: usize = 600;
/// Characters of a sentence that are shown.
const SENTENCE: usize = 2000;

fn sentence(text: &str) -> String {
    clean(text, SENTENCE)
}

/// The text on one line, without what moves a cursor, turns the direction or has no place in XML; cut to length.
fn clean(text: &str, limit: usize) -> String {
    let shown = |c: char| match c {
        c if c.is_control() => ' ',
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
            '\u{fffd}'
        }
        '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        c => c,
    };
    let mut cut: String = text.chars().take(limit).map(shown).collect();
    if text.chars().nth(limit).is_some() {
        cut.push('…');
    }
    cut
}

//! The report for people: drift first, with the reason and what to do, then tokens against checks at a glance.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use crate::access::Verdict;
use crate::config::{Config, Ignore};
use crate::moment::Timestamp;
use crate::render;
use crate::report::{CheckResult, Finding, FindingKey, FindingKind, Report};
use crate::round::ignores;

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const GREEN: Style = AnsiColor::Green.on_default();
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Columns of one block of the matrix, so that it fits a terminal of 100 characters beside the names.
const COLUMNS: usize = 7;

fn painted(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// The mark, its style and its words.
fn mark(verdict: Verdict) -> (&'static str, Style, &'static str) {
    match verdict {
        Verdict::Ok => ("✓", GREEN, "as expected"),
        Verdict::UnexpectedGrant => ("✗", RED, "UNEXPECTED GRANT"),
        Verdict::UnexpectedDenial => ("!", RED, "UNEXPECTED DENIAL"),
        Verdict::Unknown => ("?", YELLOW, "unknown"),
    }
}

/// The whole text, with colours that the stream drops where they do not belong.
pub(super) fn render(config: &Config, report: &Report, findings: &[Finding]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = head(&mut text, config, report);
    let mut results: Vec<&CheckResult> =
        report.results.iter().map(|r| &**r).filter(|r| r.verdict != Verdict::Ok).collect();
    results.sort_by_key(|r| match r.verdict {
        Verdict::UnexpectedGrant => 0,
        Verdict::UnexpectedDenial => 1,
        _ => 2,
    });
    for result in results {
        let _ = detail(&mut text, result, accepted(config, result, report.finished_at));
    }
    let _ = others(&mut text, findings);
    let _ = matrix(&mut text, report);
    let _ = foot(&mut text, report);
    text
}

fn head(text: &mut String, config: &Config, report: &Report) -> std::fmt::Result {
    let names: Vec<&str> = config.organizations.iter().map(|o| o.name.as_str()).collect();
    let took = report.finished_at.since(report.started_at);
    writeln!(
        text,
        "{} {} on {}, {} checks in {:.1} s\n",
        painted(BOLD, "scopewatch audit:"),
        names.join(", "),
        config.hub.endpoint,
        report.summary.checks,
        took.as_secs_f64()
    )
}

/// Who accepted this drift, for as long as that holds. It stays what it is, and counts.
fn accepted<'c>(config: &'c Config, result: &CheckResult, now: Timestamp) -> Option<&'c Ignore> {
    let kind = match result.verdict {
        Verdict::UnexpectedGrant => FindingKind::UnexpectedGrant,
        Verdict::UnexpectedDenial => FindingKind::UnexpectedDenial,
        Verdict::Ok | Verdict::Unknown => return None,
    };
    let key = FindingKey {
        kind,
        organization: result.organization.clone(),
        token: Some(result.token.clone()),
        permission: Some(result.permission),
        target: Some(result.target.clone()),
    };
    ignores::accepted(config, &key, now)
}

fn detail(text: &mut String, result: &CheckResult, accepted: Option<&Ignore>) -> std::fmt::Result {
    let (mark, style, words) = mark(result.verdict);
    let what = format!("{}  {} {}", result.token, result.permission, result.target);
    writeln!(text, "{}  {}", painted(style, &format!("{mark} {words}")), painted(BOLD, &what))?;
    writeln!(text, "    {}", result.explanation())?;
    if let Some(ignore) = accepted {
        let (owner, until, reason) = (&ignore.owner, ignores::last_day(ignore), &ignore.reason);
        let words = format!("accepted by {owner} until {until} ({reason}): no finding and no alert");
        writeln!(text, "    {}", painted(YELLOW, &words))?;
    }
    let evidence: Vec<String> = result.evidence().iter().map(render::evidence).collect();
    let mut proof = evidence.join("; ");
    if let Some(canary) = &result.canary {
        let _ = write!(proof, "; canary {} {}", canary.repo, canary.state);
    }
    if !proof.is_empty() {
        writeln!(text, "    {}", painted(DIM, &proof))?;
    }
    writeln!(text)
}

/// Findings that are of a token or an organization rather than of a check.
fn others(text: &mut String, findings: &[Finding]) -> std::fmt::Result {
    let mut any = false;
    for finding in findings.iter().filter(|f| f.resolved_at.is_none()) {
        if matches!(
            finding.kind,
            FindingKind::UnexpectedGrant | FindingKind::UnexpectedDenial | FindingKind::Blind
        ) {
            continue;
        }
        any = true;
        writeln!(text, "{}  {}", painted(YELLOW, &format!("• {}", finding.kind)), finding.detail)?;
    }
    if any { writeln!(text) } else { Ok(()) }
}

fn matrix(text: &mut String, report: &Report) -> std::fmt::Result {
    let mut columns: Vec<String> = Vec::new();
    let mut tokens: Vec<&str> = Vec::new();
    for result in &report.results {
        let column = column(result);
        if !columns.contains(&column) {
            columns.push(column);
        }
        if !tokens.contains(&result.token.as_str()) {
            tokens.push(result.token.as_str());
        }
    }
    let width = tokens.iter().map(|token| token.chars().count()).max().unwrap_or(0).max(5);
    for (block, part) in columns.chunks(COLUMNS).enumerate() {
        let first = block * COLUMNS + 1;
        for (number, name) in (first..).zip(part) {
            writeln!(text, "  {}  {name}", painted(DIM, &format!("{number:>2}")))?;
        }
        let mut numbers = format!("{:width$}", "token");
        for (number, _) in (first..).zip(part) {
            write!(numbers, "  {number:<9}")?;
        }
        writeln!(text, "\n{}", numbers.trim_end())?;
        for token in &tokens {
            write!(text, "{token:width$}")?;
            for name in part {
                let found = report
                    .results
                    .iter()
                    .map(|r| &**r)
                    .find(|r| r.token.as_str() == *token && column(r) == *name);
                write!(text, "  {}", cell(found))?;
            }
            writeln!(text)?;
        }
        writeln!(text)?;
    }
    Ok(())
}

fn column(result: &CheckResult) -> String {
    format!("{} {}", result.permission, result.target)
}

/// Nine characters wide, however it is coloured.
fn cell(result: Option<&CheckResult>) -> String {
    let Some(result) = result else { return painted(DIM, &format!("{:<9}", "·")) };
    let (mark, style, _) = mark(result.verdict);
    let word = if result.verdict == Verdict::Unknown { "unknown" } else { result.found.as_str() };
    painted(style, &format!("{:<9}", format!("{mark} {word}")))
}

fn foot(text: &mut String, report: &Report) -> std::fmt::Result {
    let s = report.summary;
    let part = |count: usize, style: Style, words: &str| {
        let plain = format!("{count} {words}");
        if count == 0 { painted(DIM, &plain) } else { painted(style, &plain) }
    };
    writeln!(
        text,
        "{}, {}, {}, {}",
        part(s.ok, GREEN, "as expected"),
        part(s.unexpected_grant, RED, "unexpectedly granted"),
        part(s.unexpected_denial, RED, "unexpectedly denied"),
        part(s.unknown, YELLOW, "unknown"),
    )?;
    let c = report.canaries;
    if c.created + c.unfinished > 0 {
        let left = if c.unfinished > 0 {
            painted(YELLOW, &format!("{} unfinished, see `scopewatch canaries list`", c.unfinished))
        } else {
            "nothing left on the Hub".to_owned()
        };
        writeln!(text, "canaries: {} created, {} deleted, {left}", c.created, c.deleted)?;
    }
    Ok(())
}

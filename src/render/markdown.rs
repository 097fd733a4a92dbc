//! Markdown, for a comment on a pull request or a page of a wiki: one line of figures, drift first, then all tokens
//! against all checks.
//!
//! Whatever comes from the config or from the Hub is shown as text: it breaks no table and makes no link, image,
//! mention or tag.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use super::rules::Level;
use super::{Item, NAME, Round, Source, acceptance, clean, evidence};
use crate::access::Verdict;
use crate::report::CheckResult;

/// Things told at length, and rows of the matrix: a comment has its limits, and the rest is in the JSON report.
const SHOWN: usize = 100;

/// The whole text.
pub fn markdown(round: &Round<'_>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = head(&mut text, round);
    let items = round.items();
    let of = |wanted: fn(&Item<'_>) -> bool| items.iter().filter(|item| wanted(item)).collect::<Vec<_>>();
    let mut drift = of(|item| matches!(item.source, Source::Result(r) if r.verdict != Verdict::Unknown));
    let unknown = of(|item| matches!(item.source, Source::Result(r) if r.verdict == Verdict::Unknown));
    let findings = of(|item| matches!(item.source, Source::Finding(_)));
    // What nobody accepted comes first, grants before denials.
    drift.sort_by_key(|item| (item.accepted.is_some(), item.rule.level != Level::Error));
    let _ = section(&mut text, "Drift", &drift);
    let _ = section(&mut text, "Unknown", &unknown);
    let _ = matrix(&mut text, &round.report.results);
    let _ = section(&mut text, "Findings", &findings);
    let _ = canaries(&mut text, round);
    text
}

fn head(text: &mut String, round: &Round<'_>) -> std::fmt::Result {
    let names: Vec<String> = round.config.organizations.iter().map(|o| name(&o.name)).collect();
    let s = round.report.summary;
    writeln!(text, "## scopewatch audit of {}\n", names.join(", "))?;
    writeln!(
        text,
        "**{} checks: {} as expected, {} unexpectedly granted, {} unexpectedly denied, {} unknown.** Round of {} to \
         {}, on {}.",
        s.checks,
        s.ok,
        s.unexpected_grant,
        s.unexpected_denial,
        s.unknown,
        round.report.started_at,
        round.report.finished_at,
        name(&round.config.hub.endpoint),
    )
}

fn section(text: &mut String, title: &str, items: &[&Item<'_>]) -> std::fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n### {title}\n")?;
    for item in items.iter().take(SHOWN) {
        told(text, item)?;
    }
    left_out(text, items.len())
}

fn left_out(text: &mut String, all: usize) -> std::fmt::Result {
    if all > SHOWN {
        writeln!(text, "\nAnd {} more, which `--format json` shows.", all - SHOWN)?;
    }
    Ok(())
}

fn told(text: &mut String, item: &Item<'_>) -> std::fmt::Result {
    let mark = match item.source {
        Source::Result(result) => mark(result.verdict),
        Source::Finding(_) => "•",
    };
    let of = [item.token.map(|token| token.as_str()), item.permission.map(|p| p.as_str()), item.target];
    let of: Vec<String> = of.into_iter().flatten().map(name).collect();
    writeln!(text, "- {mark} **{}** {}: {}", prose(item.rule.id), of.join(" "), prose(&item.message))?;
    if let Source::Result(result) = item.source {
        for request in result.evidence() {
            writeln!(text, "  - evidence: {}", name(&evidence(&request)))?;
        }
        if let Some(canary) = &result.canary {
            writeln!(text, "  - canary: {} {}", name(&canary.repo), canary.state)?;
        }
    }
    if let Some(stated) = &item.stated {
        writeln!(text, "  - stated in {}", name(&stated.to_string()))?;
    }
    if let Some(ignore) = item.accepted {
        writeln!(text, "  - {}", prose(&acceptance(ignore)))?;
    }
    writeln!(text, "  - id: `{}`", item.id)
}

fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "✅",
        Verdict::UnexpectedGrant => "❌",
        Verdict::UnexpectedDenial => "❗",
        Verdict::Unknown => "❔",
    }
}

/// Tokens down, checks across.
fn matrix(text: &mut String, results: &[Arc<CheckResult>]) -> std::fmt::Result {
    let mut columns: Vec<(&str, &str)> = Vec::new();
    let mut tokens: Vec<(&str, &str)> = Vec::new();
    let mut cells = HashMap::new();
    let (mut known_columns, mut known_tokens) = (HashMap::new(), HashMap::new());
    for result in results {
        let column = (result.permission.as_str(), result.target.as_str());
        let token = (result.organization.as_str(), result.token.as_str());
        known_columns.entry(column).or_insert_with(|| columns.push(column));
        known_tokens.entry(token).or_insert_with(|| tokens.push(token));
        cells.insert((token, column), result);
    }
    if tokens.is_empty() {
        return Ok(());
    }
    write!(text, "\n### Tokens and checks\n\n| token |")?;
    for (permission, target) in &columns {
        write!(text, " {permission} {} |", name(target))?;
    }
    writeln!(text, "\n|---|{}", "---|".repeat(columns.len()))?;
    for token in tokens.iter().take(SHOWN) {
        write!(text, "| {} |", name(token.1))?;
        for column in &columns {
            match cells.get(&(*token, *column)) {
                None => write!(text, " · |")?,
                Some(result) if result.verdict == Verdict::Unknown => write!(text, " ❔ unknown |")?,
                Some(result) => write!(text, " {} {} |", mark(result.verdict), result.found.as_str())?,
            }
        }
        writeln!(text)?;
    }
    left_out(text, tokens.len())
}

fn canaries(text: &mut String, round: &Round<'_>) -> std::fmt::Result {
    let c = round.report.canaries;
    if c.created + c.unfinished == 0 {
        return Ok(());
    }
    let left = match c.unfinished {
        0 => "nothing is left on the Hub".to_owned(),
        some => format!("{some} unfinished, see `scopewatch canaries list`"),
    };
    writeln!(text, "\n### Canaries\n\n{} created, {} deleted; {left}.", c.created, c.deleted)
}

/// A name or another thing that is to be read to the letter: as code, in which nothing has a meaning. What would
/// end the code or the cell of a table is written as prose.
fn name(text: &str) -> String {
    let text = clean(text, NAME);
    if text.trim() != text || text.is_empty() || text.contains(['`', '|', '\\']) {
        prose(&text)
    } else {
        format!("`{text}`")
    }
}

/// Text of one line in which nothing has a meaning. A backslash is enough for what Markdown itself reads; addresses,
/// mentions and numbers are made into links by what shows the text, so they are taken apart.
fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            // An invisible space after it: an at sign alone mentions nobody and is no part of an address.
            '@' | '#' => out.extend(['\\', c, '\u{200b}']),
            // As in `https://x` and `www.x`; at the end of a word they are only what they are.
            ':' if rest.peek().is_some_and(|next| !next.is_whitespace()) => out.extend(['\\', c]),
            '.' if matches!(before, 'w' | 'W') => out.extend(['\\', c]),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '|' | '&' | '~' | '$' => {
                out.extend(['\\', c]);
            }
            c => out.push(c),
        }
        before = c;
    }
    out
}

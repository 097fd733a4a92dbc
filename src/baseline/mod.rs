//! Today's answers as expectations: which questions are asked beside the config's own, and the text of it.
//!
//! The text is YAML in the words of the config, one `expect` a token. What was found is captured, never approved:
//! every line says so, what differs from the config says that too, and what nobody could tell is a comment.
//! Knows nothing of how the answers came about.

use std::fmt::Write;

use crate::access::{Access, Check, Expected, Method, Permission, Question, RepoType, Target, TokenName};
use crate::config::{Config, Token};
use crate::moment::Timestamp;
use crate::report::{CheckResult, Report};

/// The config with what else can be asked without changing anything: every permission of the organization and of
/// the token's user, for tokens of which nothing is expected, or for all.
pub fn asking(config: &Config, only: &[TokenName], all: bool) -> Config {
    let mut config = config.clone();
    for token in config.tokens.iter_mut().filter(|token| chosen(token, only)) {
        if all || token.checks.is_empty() {
            let more: Vec<Check> = Permission::ALL
                .iter()
                .filter(|permission| !of_a_repository(**permission))
                .filter(|permission| token.checks.iter().all(|check| check.permission != **permission))
                .map(|permission| {
                    Check::new(
                        token.name.clone(),
                        Question::new(
                            token.organization.clone(),
                            *permission,
                            Target::Whole,
                            Expected::Denied,
                        ),
                    )
                })
                .collect();
            token.checks.extend(more);
        }
    }
    config
}

fn of_a_repository(permission: Permission) -> bool {
    matches!(permission, Permission::RepoCreate | Permission::RepoRead | Permission::RepoWrite)
}

fn chosen(token: &Token, only: &[TokenName]) -> bool {
    only.is_empty() || only.contains(&token.name)
}

/// What was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// The YAML.
    pub text: String,
    /// Entries that are expectations.
    pub captured: usize,
    /// Questions without an answer.
    pub unknown: usize,
    /// Entries that the config expects otherwise.
    pub differing: usize,
}

/// Writes down what the report found. `asked` is the config that was asked, `config` the one that is expected.
pub fn capture(config: &Config, asked: &Config, report: &Report, only: &[TokenName]) -> Baseline {
    let mut baseline = Baseline { text: String::new(), captured: 0, unknown: 0, differing: 0 };
    let mut blocks = String::new();
    for token in asked.tokens.iter().filter(|token| chosen(token, only)) {
        let entries: Vec<Entry> = token
            .checks
            .iter()
            .filter_map(|check| {
                let result = result_of(report, check)?;
                let before = config.token(&token.name).and_then(|token| expected(token, check));
                Some(entry(check, before, result))
            })
            .collect();
        baseline.captured += entries.iter().filter(|entry| entry.conclusive).count();
        baseline.unknown += entries.iter().filter(|entry| !entry.conclusive).count();
        baseline.differing += entries.iter().filter(|entry| entry.differs).count();
        blocks.push_str(&block(token, &entries));
    }
    baseline.text = format!("{}tokens:\n{blocks}", head(config, report.started_at, &baseline));
    baseline
}

fn result_of<'r>(report: &'r Report, check: &Check) -> Option<&'r CheckResult> {
    let target = check.target.to_string();
    report.results.iter().map(|result| &**result).find(|result| {
        result.token == check.token && result.permission == check.permission && result.target == target
    })
}

fn expected(token: &Token, check: &Check) -> Option<Expected> {
    token.checks.iter().find(|own| own.key() == check.key()).map(|own| own.expected)
}

fn head(config: &Config, at: Timestamp, baseline: &Baseline) -> String {
    format!(
        "# What the tokens can do on {}, seen {at}:
# {} captured, {} unknown, {} other than the config expects until now.
#
# Captured, not approved: this is what is, not what should be. Read every line; what a token does not need is to
# be taken from it, not to be expected. Then put each `expect` in the place of the same token's in the config.
",
        config.hub.endpoint, baseline.captured, baseline.unknown, baseline.differing
    )
}

/// One line below `expect`.
struct Entry {
    yaml: String,
    said: String,
    conclusive: bool,
    differs: bool,
}

fn entry(check: &Check, before: Option<Expected>, result: &CheckResult) -> Entry {
    let day = result.observed_at.to_utc().format("%Y-%m-%d");
    let until_now = before.map(|before| format!("expected {before} until now"));
    let found = match result.found {
        Access::Allowed => Some(Expected::Allowed),
        Access::Denied(_) => Some(Expected::Denied),
        Access::Undetermined(_) => None,
    };
    let reason = result.found.reason().map(|why| format!(" ({why})")).unwrap_or_default();
    match (found, before) {
        (Some(found), before) => {
            let differs = before.is_some_and(|before| before != found);
            let drift = until_now.filter(|_| differs).map(|words| format!("; {words}")).unwrap_or_default();
            let said = format!("captured, not approved: {found}{reason} on {day}{drift}");
            Entry { yaml: written(check, found), said, conclusive: true, differs }
        }
        (None, before) => {
            let yaml = match before {
                // Kept as it stands, so that nobody loses a check by pasting.
                Some(before) => written(check, before),
                None => check.permission.to_string(),
            };
            let kept = until_now.map(|words| format!("; {words}")).unwrap_or_default();
            let sentence = one_line(&result.explanation());
            // What is asked stands in the line already.
            let sentence = sentence.split_once(" is unknown: ").map_or(sentence.as_str(), |(_, why)| why);
            Entry {
                yaml,
                said: format!("unknown{reason} on {day}: {sentence}{kept}"),
                conclusive: false,
                differs: false,
            }
        }
    }
}

/// The widest entry that still decides where the comments of its token begin.
const ALIGNED: usize = 60;

fn block(token: &Token, entries: &[Entry]) -> String {
    let nothing = if entries.iter().any(|entry| entry.conclusive) { "" } else { " []" };
    let mut text = format!(
        "  - name: {}\n    organization: {}\n    expect:{nothing}\n",
        scalar(token.name.as_str()),
        scalar(&token.organization)
    );
    let widths = entries.iter().filter(|entry| entry.conclusive).map(|entry| entry.yaml.chars().count());
    let width = widths.filter(|width| *width <= ALIGNED).max().unwrap_or(0);
    for Entry { yaml, said, conclusive, .. } in entries {
        // Writing to a String cannot fail.
        let _ = if *conclusive {
            writeln!(text, "      - {yaml:width$}  # {said}")
        } else {
            writeln!(text, "      # - {yaml}  # {said}")
        };
    }
    text
}

/// The entry of the config that asks this and expects that.
fn written(check: &Check, expected: Expected) -> String {
    let mut keys = vec![("permission", check.permission.as_str().to_owned())];
    match &check.target {
        Target::Create { kind, group } => {
            if *kind != RepoType::Model {
                keys.push(("type", kind.as_str().to_owned()));
            }
            keys.extend(group.iter().map(|group| ("resource_group", scalar(group))));
            if let Method::Sentinel(repo) = &check.method {
                keys.push(("method", "sentinel".to_owned()));
                keys.push(("sentinel", scalar(&repo.to_string())));
            }
        }
        Target::Repo { kind, repo } => {
            if *kind != RepoType::Model {
                keys.push(("type", kind.as_str().to_owned()));
            }
            keys.push(("repo", scalar(&repo.to_string())));
        }
        Target::Whole => {}
    }
    keys.push(("access", expected.as_str().to_owned()));
    let pairs: Vec<String> = keys.into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// Words that YAML or one of its readers takes for something else than text.
const TAKEN: [&str; 12] =
    ["true", "false", "null", "yes", "no", "on", "off", "y", "n", ".inf", ".nan", "none"];

/// A text as YAML: plain where no reader could take it for anything else, else in double quotes.
pub fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
        && !TAKEN.contains(&text.to_ascii_lowercase().as_str());
    if plain {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            c if c.is_alphanumeric() => quoted.push(c),
            // Marks, spaces and line ends of other scripts look like nothing, or like something else.
            c => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
        }
    }
    quoted.push('"');
    quoted
}

/// A sentence that stays a comment, whatever is in it.
fn one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c };
    text.chars().map(shown).take(300).collect()
}

#[cfg(test)]
mod tests;

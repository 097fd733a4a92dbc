//! SARIF 2.1.0, for code scanning: one rule a kind of finding, one result a thing that is not as it should be, each
//! at the line of the config that expects otherwise.
//!
//! Only those parts of the format that are used here. Whatever was accepted under `ignores:` is told as suppressed.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::rules::{self, Level, Rule};
use super::{Item, NAME, Round, Source, acceptance, clean};
use crate::access::Stated;

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The whole log, one run in it.
pub fn sarif(round: &Round<'_>) -> Result<String, serde_json::Error> {
    let results = round.items().iter().map(|item| told(item, round.base)).collect();
    let log = Log {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: "scopewatch",
                    version: round.version,
                    rules: rules::all().map(described).collect(),
                },
            },
            invocations: [Invocation {
                execution_successful: true,
                start_time_utc: round.report.started_at.to_string(),
                end_time_utc: round.report.finished_at.to_string(),
            }],
            column_kind: "unicodeCodePoints",
            results,
        }],
    };
    serde_json::to_string_pretty(&log).map(|text| text + "\n")
}

fn described(rule: &'static Rule) -> Descriptor {
    Descriptor {
        id: rule.id,
        name: rule.id.split('_').map(capitalized).collect(),
        short_description: Message::of(rule.short),
        full_description: Message::of(rule.full),
        help: Message::of(rule.help),
        default_configuration: Configuration { level: level(rule) },
        properties: Tags { tags: ["security", "access-control"] },
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

fn level(rule: &Rule) -> &'static str {
    match rule.level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "note",
    }
}

fn told(item: &Item<'_>, base: Option<&Path>) -> Outcome {
    let suppressed = item.accepted.map(|ignore| Suppression {
        kind: "external",
        status: "accepted",
        justification: acceptance(ignore),
    });
    Outcome {
        rule_id: item.rule.id,
        rule_index: rules::all().position(|rule| rule.id == item.rule.id).unwrap_or_default(),
        level: level(item.rule),
        message: Message::of(&item.message),
        locations: item.stated.iter().map(|stated| location(stated, base)).collect(),
        partial_fingerprints: BTreeMap::from([("scopewatchFinding/v1", item.id.clone())]),
        suppressions: suppressed.into_iter().collect(),
        properties: properties(item),
    }
}

/// What the finding is of, and what was seen.
fn properties(item: &Item<'_>) -> Map<String, Value> {
    let name = |text: &str| clean(text, NAME);
    let mut all = Map::new();
    let mut set = |key: &str, value: Value| all.insert(key.to_owned(), value);
    set("organization", json!(name(item.organization)));
    set("token", json!(item.token.map(|token| name(token.as_str()))));
    set("permission", json!(item.permission));
    set("target", json!(item.target.map(name)));
    match item.source {
        Source::Result(result) => {
            set("expected", json!(result.expected));
            set("access", json!(result.found.as_str()));
            set("reason", json!(result.found.reason()));
            set("declared", json!(result.declared));
            set("predicted", json!(result.predicted));
            set("observedAt", json!(result.observed_at));
            let evidence = result.evidence().into_iter().map(|request| {
                json!({
                    "method": request.method, "path": name(&request.path), "status": request.status,
                    "requestId": request.request_id.as_deref().map(name),
                })
            });
            set("evidence", evidence.collect());
            set("canary", json!(result.canary));
        }
        Source::Finding(finding) => {
            set("severity", json!(finding.severity));
            set("since", json!(finding.since));
            set("lastSeen", json!(finding.last_seen));
        }
    }
    all
}

fn location(stated: &Stated, base: Option<&Path>) -> Location {
    Location {
        physical_location: Physical {
            artifact_location: Artifact { uri: uri(&stated.file, base) },
            region: Region { start_line: stated.line, start_column: stated.column },
        },
    }
}

/// The address of a file: relative where it lies below `base` or was given so, else absolute.
pub(super) fn uri(file: &str, base: Option<&Path>) -> String {
    let path = Path::new(file);
    let path = base.and_then(|base| path.strip_prefix(base).ok()).unwrap_or(path);
    let mut text = String::new();
    if path.is_absolute() {
        text.push_str("file://");
    }
    let path = path.to_string_lossy();
    for byte in path.strip_prefix("./").unwrap_or(&path).bytes() {
        // A colon is encoded too: in the first part of a relative address it would end a scheme.
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[derive(Serialize)]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Tool<'a>,
    invocations: [Invocation; 1],
    /// How columns are counted: the config's reader counts characters.
    column_kind: &'static str,
    results: Vec<Outcome>,
}

#[derive(Serialize)]
struct Tool<'a> {
    driver: Driver<'a>,
}

#[derive(Serialize)]
struct Driver<'a> {
    name: &'static str,
    version: &'a str,
    rules: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    start_time_utc: String,
    end_time_utc: String,
}

/// A `reportingDescriptor`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    id: &'static str,
    name: String,
    short_description: Message,
    full_description: Message,
    help: Message,
    default_configuration: Configuration,
    properties: Tags,
}

#[derive(Serialize)]
struct Configuration {
    level: &'static str,
}

#[derive(Serialize)]
struct Tags {
    tags: [&'static str; 2],
}

/// A `result`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    rule_id: &'static str,
    rule_index: usize,
    level: &'static str,
    message: Message,
    locations: Vec<Location>,
    partial_fingerprints: BTreeMap<&'static str, String>,
    /// There even when empty: who tells suppressions at all says of every result that it has them or not.
    suppressions: Vec<Suppression>,
    properties: Map<String, Value>,
}

#[derive(Serialize)]
struct Message {
    text: String,
}

impl Message {
    /// In a message `{0}` is a placeholder and `[text](address)` a link; text that was not written for SARIF must
    /// become neither.
    fn of(text: &str) -> Message {
        let mut text = text.replace('{', "{{").replace('}', "}}");
        if text.contains("](") {
            text = text.replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]");
        }
        Message { text }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: Physical,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Physical {
    artifact_location: Artifact,
    region: Region,
}

#[derive(Serialize)]
struct Artifact {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: usize,
    start_column: usize,
}

#[derive(Serialize)]
struct Suppression {
    kind: &'static str,
    status: &'static str,
    justification: String,
}

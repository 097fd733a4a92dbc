//! Goal: every format tells the same round, points at the right line, and lets nothing of a name or of the Hub's
//! words become markup.
//! Method: a config whose names are made to break each format, a round over it, and the texts read back with
//! readers of their own. Limits: that SARIF and JUnit keep to their schemas is shown by tests/reports.

use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::access::{Access, DenyReason, Expected, Severity, UnknownReason};
use crate::config::{NoDisk, Source, parse};
use crate::intent::ShownState;
use crate::moment::Timestamp;
use crate::report::{CanaryShown, CanarySummary, Detailed, Summary};

/// Names a pipe, a tag, quotes, a link, a mention, an issue, an address and what is not ASCII.
const EVIL: &str = "a|b<script>\"'`](http://x.example) @team #1 {0} www.x.example \\| ä\u{202e}";

fn config() -> Config {
    let evil = serde_json::to_string(EVIL).expect("a string");
    let text = format!(
        r#"organizations:
  - name: acme
tokens:
  - name: ci
    organization: acme
    secret: {{ env: CI }}
    owner: ml-platform
    expect:
      - {{ permission: repo.create, access: denied }}
      - {{ permission: repo.read, repo: acme/x, access: allowed }}
      - {{ permission: job.read, access: denied }}
      - {{ permission: job.write, access: denied }}
  - name: {evil}
    organization: acme
    secret: {{ env: EVIL }}
    expect: [shared]
expectations:
  shared:
    - {{ permission: repo.create, resource_group: {evil}, access: denied }}
ignores:
  - {{ token: {evil}, permission: repo.create, kind: unexpected_grant, owner: {evil}, reason: {evil}, until: 2027-01-31 }}
  - {{ token: ci, kind: latent_grant, owner: me, reason: it is over, until: 2027-01-14 }}
"#
    );
    parse(Source { name: "conf/audit a.yaml", text: &text }, &NoDisk).expect("a config").config
}

const NOW: Timestamp = Timestamp(1_800_000_000_000); // 2027-01-15T08:00:00Z

/// One answer a check, in the order of the config.
fn report(config: &Config) -> Report {
    let found = [
        Access::Allowed,
        Access::Denied(DenyReason::Scope),
        Access::Undetermined(UnknownReason::NoControl),
        Access::Denied(DenyReason::Scope),
        Access::Allowed,
    ];
    let checks = config.tokens.iter().flat_map(|token| &token.checks);
    let results: Vec<Arc<CheckResult>> = checks
        .zip(found)
        .map(|(check, found)| {
            Arc::new(CheckResult::from(Detailed {
                key: check.key(),
                expected: check.expected,
                verdict: match (check.expected, found) {
                    (_, Access::Undetermined(_)) => Verdict::Unknown,
                    (Expected::Denied, Access::Allowed) => Verdict::UnexpectedGrant,
                    (Expected::Allowed, Access::Denied(_)) => Verdict::UnexpectedDenial,
                    _ => Verdict::Ok,
                },
                declared: true,
                predicted: None,
                observed_at: NOW,
                duration: Duration::from_millis(1012),
                evidence: vec![Evidence {
                    method: "POST",
                    path: "/api/repos/create".into(),
                    status: Some(200),
                    request_id: Some(format!("Root=1-{EVIL}")),
                    failure: None,
                }],
                canary: Some(CanaryShown {
                    repo: "acme/scopewatch-canary-1".into(),
                    kind: "model",
                    state: ShownState::Deleted,
                }),
                explanation: format!("'{}' did it: {EVIL}\u{1b}[31m\nand on", check.token),
                found,
            }))
        })
        .collect();
    Report {
        schema: 1,
        started_at: NOW,
        finished_at: NOW,
        summary: Summary::of(&results),
        results,
        canaries: CanarySummary { created: 2, deleted: 2, unfinished: 0 },
    }
}

fn finding(kind: FindingKind, token: Option<&str>, check: Option<(Permission, &str)>) -> Finding {
    Finding {
        kind,
        organization: if kind == FindingKind::HubUnreachable { String::new() } else { "acme".into() },
        token: token.map(TokenName::new),
        permission: check.map(|(permission, _)| permission),
        target: check.map(|(_, target)| target.to_owned()),
        severity: Severity::Warning,
        since: NOW,
        last_seen: NOW,
        resolved_at: None,
        detail: format!("what happened: {EVIL}"),
    }
}

fn findings() -> Vec<Finding> {
    let create = Some((Permission::RepoCreate, "model"));
    let mut over = finding(FindingKind::ExpiresSoon, Some("ci"), None);
    over.resolved_at = Some(NOW);
    vec![
        // Told by the round itself, and one that the round found to be over although its alert still lasts.
        finding(FindingKind::UnexpectedGrant, Some("ci"), create),
        finding(FindingKind::UnexpectedGrant, Some("ci"), Some((Permission::JobWrite, "-"))),
        finding(FindingKind::LatentGrant, Some("ci"), Some((Permission::JobWrite, "-"))),
        finding(FindingKind::TokenUnusable, Some(EVIL), None),
        finding(FindingKind::CanaryLeft, None, None),
        finding(FindingKind::HubUnreachable, None, None),
        over,
    ]
}

/// What one of the formats makes of it all.
fn told<T>(of: impl FnOnce(&Round<'_>) -> T) -> T {
    let config = config();
    let (report, findings) = (report(&config), findings());
    let base = Path::new("/work");
    of(&Round { config: &config, report: &report, findings: &findings, version: "1.2.3", base: Some(base) })
}

fn sarif_value() -> Value {
    serde_json::from_str(&told(|round| sarif(round).expect("a text"))).expect("JSON")
}

#[test]
fn sarif_tells_each_thing_once_at_its_line() {
    let run = &sarif_value()["runs"][0];
    let shown: Vec<(String, String, String)> = run["results"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|result| {
            let place = &result["locations"][0]["physicalLocation"];
            let region = &place["region"];
            assert_eq!(place["artifactLocation"]["uri"], "conf/audit%20a.yaml");
            (
                result["ruleId"].as_str().expect("a rule").to_owned(),
                result["level"].as_str().expect("a level").to_owned(),
                format!("{}:{}", region["startLine"], region["startColumn"]),
            )
        })
        .collect();
    let expected = [
        ("unexpected_grant", "error", "9:9"),
        ("unexpected_denial", "warning", "10:9"),
        ("unknown", "note", "11:9"),
        ("unexpected_grant", "error", "19:7"),
        ("latent_grant", "warning", "12:9"),
        ("token_unusable", "warning", "13:11"),
        ("canary_left", "warning", "2:5"),
        ("hub_unreachable", "warning", "1:1"),
    ];
    let expected = expected.map(|(rule, level, at)| (rule.to_owned(), level.to_owned(), at.to_owned()));
    assert_eq!(shown, expected);
}

#[test]
fn sarif_has_one_rule_a_kind_and_results_name_theirs() {
    let run = &sarif_value()["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().expect("a list");
    let ids: Vec<&str> = rules.iter().filter_map(|rule| rule["id"].as_str()).collect();
    let kinds: Vec<&str> = FindingKind::ALL.iter().map(|kind| kind.as_str()).chain(["unknown"]).collect();
    assert_eq!(ids, kinds);
    for rule in rules {
        for words in ["shortDescription", "fullDescription", "help"] {
            assert!(rule[words]["text"].as_str().is_some_and(|text| text.len() > 10), "{rule}");
        }
    }
    let mut told = Vec::new();
    for result in run["results"].as_array().expect("a list") {
        let index = usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small");
        assert_eq!(result["ruleId"], rules[index]["id"]);
        told.push(result["partialFingerprints"]["scopewatchFinding/v1"].as_str().expect("an id"));
    }
    let grant = finding(FindingKind::UnexpectedGrant, Some("ci"), Some((Permission::RepoCreate, "model")));
    assert_eq!(told[0], grant.key().id(), "a result and the finding of it are one");
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 8);
}

#[test]
fn sarif_suppresses_what_was_accepted_and_nothing_else() {
    let run = &sarif_value()["runs"][0];
    let results = run["results"].as_array().expect("a list");
    let suppressed: Vec<usize> = (0..results.len())
        .filter(|at| results[*at]["suppressions"].as_array().is_some_and(|all| !all.is_empty()))
        .collect();
    assert_eq!(suppressed, [3], "{results:#?}");
    let why = &results[3]["suppressions"][0];
    assert_eq!((&why["kind"], &why["status"]), (&"external".into(), &"accepted".into()));
    let said = why["justification"].as_str().expect("a reason");
    assert!(said.starts_with("accepted by a|b<script>") && said.contains("until 2027-01-31: a|b"), "{said}");
    assert!(results.iter().all(|result| result["suppressions"].is_array()));
}

#[test]
fn sarif_messages_hold_no_placeholder_and_no_link() {
    let run = &sarif_value()["runs"][0];
    for result in run["results"].as_array().expect("a list") {
        let text = result["message"]["text"].as_str().expect("a text");
        assert!(
            text.contains("{{0}}") && !text.replace("{{", "").replace("}}", "").contains(['{', '}']),
            "{text}"
        );
        assert!(!text.replace("\\]", "").contains("]("), "{text}");
        assert!(!text.contains(['\n', '\u{1b}', '\u{202e}']), "{text}");
    }
    assert_eq!(run["results"][0]["properties"]["token"], "ci");
    assert_eq!(run["results"][0]["properties"]["evidence"][0]["method"], "POST");
}

#[test]
fn addresses_of_files_are_relative_where_they_can_be() {
    let of = |file: &str| super::sarif::uri(file, Some(Path::new("/srv/repo")));
    assert_eq!(of("scopewatch.yaml"), "scopewatch.yaml");
    assert_eq!(of("./conf/ä%.yaml"), "conf/%C3%A4%25.yaml");
    assert_eq!(of("a:b/c d.yaml"), "a%3Ab/c%20d.yaml");
    assert_eq!(of("../x.yaml"), "../x.yaml");
    assert_eq!(of("/srv/repo/conf/x.yaml"), "conf/x.yaml");
    assert_eq!(of("/etc/scope watch/x?#.yaml"), "file:///etc/scope%20watch/x%3F%23.yaml");
}

/// An element of an XML text: its name, its attributes as they are meant, its text.
type Element = (String, Vec<(String, String)>, String);

/// All of them, in order.
fn elements(xml: &str) -> Vec<Element> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(xml);
    let mut all: Vec<Element> = Vec::new();
    loop {
        match reader.read_event().expect("well-formed XML") {
            Event::Start(element) | Event::Empty(element) => {
                let attributes = element.attributes().map(|attribute| {
                    let attribute = attribute.expect("an attribute");
                    let key = attribute.key.as_ref().to_owned();
                    (key, quick_xml::escape::unescape(&attribute.value).expect("entities").into_owned())
                });
                let attributes = attributes.collect();
                all.push((element.name().as_ref().to_owned(), attributes, String::new()));
            }
            Event::Text(text) => {
                if let Some(last) = all.last_mut() {
                    last.2.push_str(&text);
                }
            }
            Event::Eof => return all,
            _ => {}
        }
    }
}

fn attribute<'e>(element: &'e Element, name: &str) -> &'e str {
    element.1.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
}

#[test]
fn junit_has_a_suite_a_token_and_unknown_is_never_green() {
    let all = elements(&told(|round| junit(round).expect("a text")));
    let suites: Vec<_> = all
        .iter()
        .filter(|element| element.0 == "testsuite")
        .map(|e| ["name", "tests", "failures", "errors"].map(|name| attribute(e, name).to_owned()))
        .collect();
    let shown = clean(EVIL, NAME);
    let expected = [["ci", "4", "2", "1"], [&shown, "1", "1", "0"], ["findings", "4", "4", "0"]];
    assert_eq!(suites, expected.map(|suite| suite.map(str::to_owned)));
    let fates: Vec<_> = all
        .iter()
        .filter(|e| e.0 == "failure" || e.0 == "error")
        .map(|e| (&*e.0, attribute(e, "type")))
        .collect();
    let expected = [
        ("failure", "unexpected_grant"),
        ("failure", "unexpected_denial"),
        ("error", "unknown"),
        ("failure", "unexpected_grant"),
        ("failure", "latent_grant"),
        ("failure", "token_unusable"),
        ("failure", "canary_left"),
        ("failure", "hub_unreachable"),
    ];
    assert_eq!(fates, expected);
    let cases: Vec<_> = all.iter().filter(|e| e.0 == "testcase").collect();
    assert_eq!(
        (attribute(cases[0], "classname"), attribute(cases[0], "name")),
        ("acme.ci", "repo.create model")
    );
    assert_eq!(attribute(cases[0], "time"), "1.012");
    assert_eq!(
        attribute(cases[4], "name"),
        format!("repo.create model@{shown}"),
        "names come back to the letter"
    );
    let accepted = all.iter().filter(|e| e.0 == "failure" && e.2.contains("ignored: accepted by")).count();
    assert_eq!(accepted, 1);
}

/// The cells of a row as a reader of Markdown splits them.
fn cells(row: &str) -> usize {
    let mut bars = 0;
    let mut escaped = false;
    for c in row.chars() {
        bars += usize::from(c == '|' && !escaped);
        escaped = c == '\\' && !escaped;
    }
    bars - 1
}

/// The text without code and without what a backslash makes harmless.
fn bare(text: &str) -> String {
    let mut out = String::new();
    let (mut escaped, mut code) = (false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if !code => escaped = true,
            '`' => code = !code,
            c if !code => out.push(c),
            _ => {}
        }
    }
    assert!(!code, "a code span is left open in {text}");
    out
}

#[test]
fn markdown_lets_no_name_become_markup() {
    let text = told(markdown);
    for line in text.lines() {
        let bare = bare(line);
        let said = bare.trim_start_matches(['|', '-', ' ', '#']).replace("**", "");
        assert!(
            !said.trim_matches(['|', ' ', '-']).replace(" | ", "").contains(['<', '[', ']', '*', '_', '&']),
            "{line}"
        );
        assert!(!bare.contains("://") && !bare.contains("www.") && !bare.contains("@"), "{line}\n{bare}");
    }
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 4, "{text}");
    assert!(rows.iter().all(|row| cells(row) == 6), "{rows:#?}");
}

#[test]
fn markdown_tells_drift_first_with_its_evidence() {
    let text = told(markdown);
    let start = text.find("### Drift").expect("a section");
    let (unknown, matrix) = (text.find("### Unknown").expect("one"), text.find("### Tokens").expect("one"));
    assert!(
        start < unknown && unknown < matrix && matrix < text.find("### Findings").expect("one"),
        "{text}"
    );
    assert!(
        text.contains(
            "**5 checks: 1 as expected, 2 unexpectedly granted, 1 unexpectedly denied, 1 unknown.**"
        )
    );
    let drift = &text[start..unknown];
    assert!(
        drift.contains("- ❌ **unexpected\\_grant** `ci` `repo.create` `model`: 'ci' did it:"),
        "{drift}"
    );
    assert!(
        drift.contains(
            "  - canary: `acme/scopewatch-canary-1` deleted\n  - stated in `conf/audit a.yaml:9:9`"
        )
    );
    let order =
        ["'ci' did it", "unexpected\\_denial", "accepted by"].map(|part| drift.find(part).expect("told"));
    assert!(order.is_sorted(), "grants first, and last what somebody accepted: {drift}");
    assert!(text.contains("| `ci` | ❌ allowed | ❗ denied | ❔ unknown | ✅ denied | · |"), "{text}");
    assert!(text.ends_with("2 created, 2 deleted; nothing is left on the Hub.\n"), "{text}");
}

#[test]
fn a_quiet_round_is_short() {
    let mut config = config();
    config.ignores.clear();
    let mut report = report(&config);
    report.results.retain(|result| result.verdict == Verdict::Ok);
    report.summary = Summary::of(&report.results);
    let round = Round { config: &config, report: &report, findings: &[], version: "1.2.3", base: None };
    let value: Value = serde_json::from_str(&sarif(&round).expect("a text")).expect("JSON");
    assert_eq!(value["runs"][0]["results"], Value::Array(Vec::new()));
    let xml = junit(&round).expect("a text");
    assert!(!xml.contains("failure ") && !xml.contains("error ") && !xml.contains("\"findings\""), "{xml}");
    let text = markdown(&round);
    assert!(!text.contains("### Drift") && !text.contains("### Findings"), "{text}");
}

/// Every key of the value, and of the schema for it; a `$`-path to those of the two that differ.
fn unlike(value: &Value, schema: &Value, at: &str, found: &mut Vec<String>) {
    let schema = schema["anyOf"].as_array().and_then(|all| all.last()).unwrap_or(schema);
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&str> = map.keys().map(String::as_str).collect();
            let mut known: Vec<&str> =
                schema["properties"].as_object().into_iter().flatten().map(|p| &**p.0).collect();
            let mut needed: Vec<&str> =
                schema["required"].as_array().into_iter().flatten().filter_map(|k| k.as_str()).collect();
            keys.sort_unstable();
            known.sort_unstable();
            needed.sort_unstable();
            if keys != known || keys != needed || schema["additionalProperties"] != false {
                found.push(format!("{at}: {keys:?}, schema {known:?}, required {needed:?}"));
            }
            for (key, inner) in map {
                unlike(inner, &schema["properties"][key], &format!("{at}.{key}"), found);
            }
        }
        Value::Array(items) => {
            items.iter().for_each(|item| unlike(item, &schema["items"], &format!("{at}[]"), found));
        }
        _ => {}
    }
}

#[test]
fn the_schema_has_the_keys_of_the_report() {
    let value = serde_json::to_value(report(&config())).expect("JSON");
    let mut found = Vec::new();
    unlike(&value, &report_schema(), "$", &mut found);
    assert_eq!(found, Vec::<String>::new());
}

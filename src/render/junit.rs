//! JUnit XML, for CI: a suite a token, a case a check; and a suite of findings that are not of a check's verdict.
//!
//! There is no one schema of it. What is written here keeps to what those of Ant and of Jenkins (4 to 10) all admit:
//! no `skipped`, properties of suites only. An unknown is an `error`: skipped cases are shown green, and nobody knows
//! whether the token is. An accepted drift stays a failure, as it does in the exit code and in the JSON report.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::{Item, NAME, Round, Source, acceptance, clean, evidence};
use crate::access::Verdict;
use crate::moment::Timestamp;
use crate::report::CheckResult;

/// What became of a case.
enum Fate {
    Passed,
    Failure { kind: &'static str, message: String, text: String },
    Error { kind: &'static str, message: String, text: String },
}

struct Case {
    class: String,
    name: String,
    millis: u64,
    fate: Fate,
}

struct Suite {
    name: String,
    properties: Vec<(&'static str, String)>,
    cases: Vec<Case>,
    /// What is worth a word and is no case.
    notes: Vec<String>,
}

/// The whole document.
pub fn junit(round: &Round<'_>) -> io::Result<String> {
    let mut suites = tokens(round);
    suites.extend(findings(round));
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer.create_element("testsuites").write_inner_content(|writer| {
        for (number, suite) in suites.iter().enumerate() {
            write_suite(writer, number, suite, round.report.started_at)?;
        }
        Ok(())
    })?;
    let mut text = String::from_utf8(writer.into_inner()).map_err(io::Error::other)?;
    text.push('\n');
    Ok(text)
}

/// One suite a token that the round asked, in the order of the report.
fn tokens(round: &Round<'_>) -> Vec<Suite> {
    let mut suites: Vec<Suite> = Vec::new();
    let mut last = None;
    for result in &round.report.results {
        let this = Some((&result.organization, &result.token));
        if last != this {
            last = this;
            suites.push(Suite {
                name: clean(result.token.as_str(), NAME),
                properties: about(round, result),
                cases: Vec::new(),
                notes: Vec::new(),
            });
        }
        if let Some(suite) = suites.last_mut() {
            suite.cases.push(case(round, result));
        }
    }
    suites
}

fn about(round: &Round<'_>, result: &CheckResult) -> Vec<(&'static str, String)> {
    let mut properties = vec![
        ("scopewatch", round.version.to_owned()),
        ("hub", clean(&round.config.hub.endpoint, NAME)),
        ("organization", clean(&result.organization, NAME)),
    ];
    if let Some(token) = round.config.token(&result.token) {
        properties.push(("owner", clean(&token.owner, NAME)));
        properties.push(("severity", token.severity.to_string()));
    }
    properties
}

fn case(round: &Round<'_>, result: &CheckResult) -> Case {
    let fate = match round.result(result) {
        None => Fate::Passed,
        Some(item) => {
            let (kind, text) = (item.rule.id, lines(&item).join("\n"));
            match result.verdict {
                Verdict::Unknown => Fate::Error { kind, message: item.message, text },
                _ => Fate::Failure { kind, message: item.message, text },
            }
        }
    };
    Case {
        class: class(&result.organization, Some(result.token.as_str())),
        name: clean(&format!("{} {}", result.permission, result.target), NAME),
        millis: result.duration_ms.into(),
        fate,
    }
}

fn class(organization: &str, token: Option<&str>) -> String {
    let parts: Vec<&str> =
        [Some(organization), token].into_iter().flatten().filter(|p| !p.is_empty()).collect();
    if parts.is_empty() { "scopewatch".to_owned() } else { clean(&parts.join("."), NAME) }
}

/// What else lasts. What somebody accepted is a note, since no check's verdict hangs on it.
fn findings(round: &Round<'_>) -> Option<Suite> {
    let mut suite = Suite {
        name: "findings".to_owned(),
        properties: vec![("scopewatch", round.version.to_owned())],
        cases: Vec::new(),
        notes: Vec::new(),
    };
    for item in round.others() {
        if let Some(ignore) = item.accepted {
            suite.notes.push(format!("{}: {} ({})", item.rule.id, item.message, acceptance(ignore)));
            continue;
        }
        let of: Vec<&str> =
            [item.permission.map(|p| p.as_str()), item.target].into_iter().flatten().collect();
        suite.cases.push(Case {
            class: class(item.organization, item.token.map(|token| token.as_str())),
            name: clean([&[item.rule.id][..], &of[..]].concat().join(" ").as_str(), NAME),
            millis: 0,
            fate: Fate::Failure { kind: item.rule.id, text: lines(&item).join("\n"), message: item.message },
        });
    }
    (!suite.cases.is_empty() || !suite.notes.is_empty()).then_some(suite)
}

/// All that is known of it, a fact a line.
fn lines(item: &Item<'_>) -> Vec<String> {
    let mut lines = vec![item.message.clone()];
    let mut say = |name: &str, value: &str| lines.push(format!("{name}: {value}"));
    match item.source {
        Source::Result(result) => {
            say("expected", result.expected.as_str());
            say("access", result.found.as_str());
            say("reason", result.found.reason().unwrap_or("-"));
            say("predicted", result.predicted.unwrap_or("-"));
            for request in result.evidence() {
                say("evidence", &evidence(&request));
            }
            if let Some(canary) = &result.canary {
                say("canary", &format!("{} {}", canary.repo, canary.state));
            }
        }
        Source::Finding(finding) => say("since", &finding.since.to_string()),
    }
    if let Some(stated) = &item.stated {
        say("stated", &clean(&stated.to_string(), NAME));
    }
    if let Some(ignore) = item.accepted {
        say("ignored", &acceptance(ignore));
    }
    say("id", &item.id);
    say("what to do", item.rule.help);
    lines
}

type Out = Writer<Vec<u8>>;

fn write_suite(writer: &mut Out, number: usize, suite: &Suite, at: Timestamp) -> io::Result<()> {
    let count =
        |wanted: fn(&Fate) -> bool| suite.cases.iter().filter(|case| wanted(&case.fate)).count().to_string();
    let millis = suite.cases.iter().map(|case| case.millis).fold(0, u64::saturating_add);
    let element = writer
        .create_element("testsuite")
        .with_attribute(("id", number.to_string().as_str()))
        .with_attribute(("name", suite.name.as_str()))
        .with_attribute(("package", "scopewatch"))
        // In UTC; a zone is not admitted. Which machine asked is not known here, and the format wants a name.
        .with_attribute(("timestamp", at.to_utc().format("%Y-%m-%dT%H:%M:%S").to_string().as_str()))
        .with_attribute(("hostname", "localhost"))
        .with_attribute(("tests", suite.cases.len().to_string().as_str()))
        .with_attribute(("failures", count(|fate| matches!(fate, Fate::Failure { .. })).as_str()))
        .with_attribute(("errors", count(|fate| matches!(fate, Fate::Error { .. })).as_str()))
        .with_attribute(("time", seconds(millis).as_str()));
    element.write_inner_content(|writer| {
        writer.create_element("properties").write_inner_content(|writer| {
            for (name, value) in &suite.properties {
                let property = writer.create_element("property").with_attribute(("name", *name));
                property.with_attribute(("value", value.as_str())).write_empty()?;
            }
            Ok(())
        })?;
        for case in &suite.cases {
            write_case(writer, case)?;
        }
        let notes = suite.notes.join("\n");
        writer.create_element("system-out").write_text_content(BytesText::new(&notes))?;
        writer.create_element("system-err").write_text_content(BytesText::new(""))?;
        Ok(())
    })?;
    Ok(())
}

fn write_case(writer: &mut Out, case: &Case) -> io::Result<()> {
    let element = writer
        .create_element("testcase")
        .with_attribute(("classname", case.class.as_str()))
        .with_attribute(("name", case.name.as_str()))
        .with_attribute(("time", seconds(case.millis).as_str()));
    let (name, kind, message, text) = match &case.fate {
        Fate::Passed => return element.write_empty().map(drop),
        Fate::Failure { kind, message, text } => ("failure", kind, message, text),
        Fate::Error { kind, message, text } => ("error", kind, message, text),
    };
    element.write_inner_content(|writer| {
        let fate = writer.create_element(name).with_attribute(("type", *kind));
        fate.with_attribute(("message", message.as_str())).write_text_content(BytesText::new(text))?;
        Ok(())
    })?;
    Ok(())
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

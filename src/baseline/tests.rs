//! Goal: what is captured is read back by the config as exactly what was seen, whatever things are called, and
//! nothing that nobody could tell becomes an expectation.
//! Method: random answers under random names, written and read again; one text in full.

use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::access::{DenyReason, Derived, Question, RepoName, UnknownReason, Verdict};
use crate::compare::compare;
use crate::config::{NoDisk, Source, parse};
use crate::report::{CanarySummary, Detailed, Summary};

fn read(text: &str) -> Config {
    let parsed = parse(Source { name: "test.yaml", text }, &NoDisk);
    parsed.unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}")).config
}

const LEAST: &str =
    "organizations: [{ name: acme }]\ntokens: [{ name: ci, organization: acme, secret: { env: CI } }]\n";

fn seen(check: &Check, found: Access) -> CheckResult {
    told(check, found, "whatever\nit: was # - { permission: job.read, access: allowed }")
}

fn told(check: &Check, found: Access, explanation: &str) -> CheckResult {
    CheckResult::from(Detailed {
        key: check.key(),
        expected: check.expected,
        verdict: compare(check.expected, found),
        declared: true,
        predicted: None,
        observed_at: Timestamp::parse("2026-11-22T05:00:00Z").expect("a time"),
        duration: Duration::from_millis(1),
        evidence: vec![],
        canary: None,
        explanation: explanation.to_owned(),
        found,
    })
}

fn reported(results: Vec<CheckResult>) -> Report {
    let at = Timestamp::parse("2026-11-22T05:00:00Z").expect("a time");
    let results: Vec<Arc<CheckResult>> = results.into_iter().map(Arc::new).collect();
    Report {
        schema: 1,
        started_at: at,
        finished_at: at,
        summary: Summary::of(&results),
        results,
        canaries: CanarySummary::default(),
    }
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![
        Just(Access::Allowed),
        proptest::sample::select(DenyReason::ALL).prop_map(Access::Denied),
        proptest::sample::select(UnknownReason::ALL).prop_map(Access::Undetermined),
    ]
}

/// Any name that the config takes: one line, nothing at its ends, short.
fn name() -> impl Strategy<Value = String> {
    let odd = proptest::sample::select(vec![
        "true",
        "null",
        "~",
        "1e3",
        "0x1f",
        "- x",
        "a: b",
        "a #b",
        "{a}",
        "[a",
        "&a",
        "*a",
        "!a",
        "|",
        ">",
        "'",
        "\"",
        "\\",
        "%",
        "@",
        "`",
        "é",
        "日本",
        "a\u{2028}b",
        "a\u{85}b",
        "\u{feff}a",
        "a\u{300}",
        "😀",
        "no",
        "2026-11-22",
        "=",
        "<<",
        "?",
        "-",
        "---",
        "...",
        "a,b",
        ":a",
        "a:",
        "\u{202e}b",
    ])
    .prop_map(str::to_owned);
    prop_oneof![odd, "[a-zA-Z0-9 :#'\"{}\\[\\],&*!|>%@`~é日._/-]{1,20}", any::<String>()]
        .prop_map(|text| text.trim().to_owned())
        .prop_filter("not one the config would take", |text| {
            !text.is_empty() && text.len() <= 128 && !text.chars().any(char::is_control)
        })
}

fn check() -> impl Strategy<Value = Check> {
    let repo =
        "[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,10}".prop_map(|name| RepoName { namespace: "acme".into(), name });
    let kind = proptest::sample::select(RepoType::ALL);
    let create = (kind.clone(), proptest::option::of(name()), proptest::option::of(repo.clone())).prop_map(
        |(kind, group, sentinel)| {
            let method = sentinel.map_or(Method::Canary, |repo| Method::Sentinel(Box::new(repo)));
            (Permission::RepoCreate, Target::Create { kind, group }, method)
        },
    );
    let rooms = proptest::sample::select(vec![Permission::RepoRead, Permission::RepoWrite]);
    let about = (rooms, kind, repo)
        .prop_map(|(permission, kind, repo)| (permission, Target::Repo { kind, repo }, Method::Canary));
    let rest: Vec<Permission> = Permission::ALL.iter().copied().filter(|p| !of_a_repository(*p)).collect();
    let whole =
        proptest::sample::select(rest).prop_map(|permission| (permission, Target::Whole, Method::Canary));
    (prop_oneof![create, about, whole], proptest::sample::select(Expected::ALL)).prop_map(
        |((permission, target, method), expected)| {
            Check::new(
                TokenName::new("ci"),
                Question {
                    organization: "acme".into(),
                    permission,
                    target,
                    expected,
                    method,
                    stated: None,
                    labels: Derived::default(),
                },
            )
        },
    )
}

/// The `expect` of the only token, pasted where the example has it.
fn pasted(text: &str, name: &str) -> String {
    let (_, expect) = text.split_once("    expect:").expect("an expect");
    format!(
        "organizations: [{{ name: acme }}]\ntokens:\n  - name: {name}\n    organization: acme\n    secret: {{ env: CI }}\n    expect:{expect}"
    )
}

proptest! {
    #[test]
    fn what_was_captured_is_read_back_as_what_was_seen(
        drafts in proptest::collection::vec((check(), access()), 1..12), token in name(),
    ) {
        let mut config = read(LEAST);
        config.tokens[0].name = TokenName::new(&token);
        let mut results: Vec<CheckResult> = Vec::new();
        for (mut check, found) in drafts {
            check.token = TokenName::new(&token);
            if config.tokens[0].checks.iter().all(|other| other.key() != check.key()) {
                results.push(seen(&check, found));
                config.tokens[0].checks.push(check);
            }
        }
        let baseline = capture(&config, &config, &reported(results.clone()), &[]);
        // The name as well as the entries, each as the config itself reads it.
        let named = baseline.text.lines().find_map(|line| line.strip_prefix("  - name: ")).expect("a name");
        let back = read(&pasted(&baseline.text, named));
        prop_assert_eq!(back.tokens[0].name.as_str(), token.as_str());
        let mut wanted = Vec::new();
        for (check, result) in config.tokens[0].checks.iter().zip(&results) {
            if let Some(allowed) = result.found.conclusive() {
                let expected = if allowed { Expected::Allowed } else { Expected::Denied };
                wanted.push(Check::new(check.token.clone(), Question { expected, ..Question::clone(&check.question) }));
            }
        }
        prop_assert_eq!(&back.tokens[0].checks, &wanted);
        for (check, result) in wanted.iter().zip(results.iter().filter(|r| r.found.conclusive().is_some())) {
            prop_assert_eq!(compare(check.expected, result.found), Verdict::Ok);
        }
        prop_assert_eq!((baseline.captured, baseline.unknown), (wanted.len(), results.len() - wanted.len()));
        let lines = baseline.text.lines().filter(|line| line.starts_with("      - "));
        prop_assert!(lines.clone().all(|line| line.contains("# captured, not approved: ")), "{}", baseline.text);
        prop_assert_eq!(lines.count(), wanted.len());
    }
}

#[test]
fn it_reads_as_a_config_does_and_says_what_differs() {
    let config = read(
        "organizations: [{ name: acme }]
tokens:
  - name: ci
    organization: acme
    secret: { env: CI }
    expect:
      - { permission: repo.create, access: denied }
      - { permission: repo.create, type: dataset, resource_group: \"a: b\", access: denied }
      - { permission: repo.create, type: space, method: sentinel, sentinel: acme/known, access: denied }
      - { permission: repo.write, type: dataset, repo: acme/x, access: allowed }
  - { name: other, organization: acme, secret: { env: O } }
",
    );
    let asked = asking(&config, &[TokenName::new("ci")], true);
    assert_eq!(asked.tokens[0].checks.len(), 4 + 14);
    assert_eq!(asked.tokens[1].checks.len(), 0, "not chosen");
    let found = [
        Access::Allowed,
        Access::Denied(DenyReason::Scope),
        Access::Undetermined(UnknownReason::TargetMissing),
        Access::Undetermined(UnknownReason::Timeout),
    ];
    let seen = |check: &Check, found| told(check, found, "nobody could tell\nwhy");
    let mut results: Vec<CheckResult> =
        config.tokens[0].checks.iter().zip(found).map(|(check, found)| seen(check, found)).collect();
    results.extend(
        asked.tokens[0].checks[4..6]
            .iter()
            .map(|check| seen(check, Access::Undetermined(UnknownReason::HubError))),
    );
    let baseline = capture(&config, &asked, &reported(results), &[TokenName::new("ci")]);
    assert_eq!((baseline.captured, baseline.unknown, baseline.differing), (2, 4, 1));
    let (_, text) = baseline.text.split_once("tokens:\n").expect("tokens");
    assert_eq!(
        text,
        "  - name: ci
    organization: acme
    expect:
      - { permission: repo.create, access: allowed }  # captured, not approved: allowed on 2026-11-22; expected denied until now
      - { permission: repo.create, type: dataset, resource_group: \"a: b\", access: denied }  # captured, not approved: denied (scope) on 2026-11-22
      # - { permission: repo.create, type: space, method: sentinel, sentinel: acme/known, access: denied }  # unknown (target_missing) on 2026-11-22: nobody could tell why; expected denied until now
      # - { permission: repo.write, type: dataset, repo: acme/x, access: allowed }  # unknown (timeout) on 2026-11-22: nobody could tell why; expected allowed until now
      # - job.read  # unknown (hub_error) on 2026-11-22: nobody could tell why
      # - job.write  # unknown (hub_error) on 2026-11-22: nobody could tell why
"
    );
}

#[test]
fn nothing_is_asked_that_changes_anything_unless_the_config_does() {
    let config = read(LEAST);
    for all in [false, true] {
        let asked = asking(&config, &[], all);
        assert!(asked.tokens[0].checks.iter().all(|check| !check.creates() && check.target == Target::Whole));
        assert_eq!(asked.tokens[0].checks.len(), 14);
    }
    let with = format!(
        "{}, expect: [{{ permission: job.read, access: allowed }}] }}]",
        LEAST.trim_end().trim_end_matches(" }]")
    );
    let with = read(&with);
    assert_eq!(asking(&with, &[], false), with, "who has expectations is asked no more than them");
    let all = asking(&with, &[], true);
    assert_eq!(all.tokens[0].checks.len(), 14);
    assert_eq!(all.tokens[0].checks[0].expected, Expected::Allowed, "its own stay as they are");
    let nothing = capture(&config, &asking(&config, &[], false), &reported(vec![]), &[]);
    assert!(nothing.text.ends_with("    expect: []\n"), "{}", nothing.text);
}

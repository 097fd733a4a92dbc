//! Goal: a configuration is read whole or refused with every mistake in it, and no secret is ever shown.
//! Method: the documented examples, one bad file a message under `tests/config`, cut and edited texts.

mod secrets;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::access::{Expected, Method, RepoType, Target};

/// A text with every key of the contract.
const WHOLE: &str = include_str!("../../tests/config/whole.yaml");

/// A disk of these directories and files.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) directories: Vec<(&'static str, Vec<&'static str>)>,
    pub(super) files: Vec<(&'static str, &'static str)>,
}

impl Disk for Shelf {
    fn list(&self, directory: &Path) -> Result<Vec<String>, String> {
        let found = self.directories.iter().find(|(name, _)| Path::new(name) == directory);
        let (_, files) = found.ok_or("No such file or directory (os error 2)")?;
        Ok(files.iter().map(|file| (*file).to_owned()).collect())
    }

    fn include(&self, pattern: &str) -> Result<Vec<(String, String)>, String> {
        let start = pattern.trim_end_matches("*.yaml");
        let fits = self.files.iter().filter(|(name, _)| name.starts_with(start));
        Ok(fits.map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }
}

pub(super) fn read(text: &str) -> Result<Parsed, Mistakes> {
    let shelf = Shelf {
        directories: vec![("/run/secrets/hf", vec!["one", "two", "..data"]), ("/run/secrets/none", vec![])],
        files: vec![
            ("tokens.d/a.yaml", include_str!("../../tests/config/included/a.yaml")),
            ("tokens.d/b.yaml", include_str!("../../tests/config/included/b.yaml")),
            ("broken.d/c.yaml", include_str!("../../tests/config/included/broken.yaml")),
        ],
    };
    parse(Source { name: "scopewatch.yaml", text }, &shelf)
}

fn fine(text: &str) -> Parsed {
    read(text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn the_example_is_valid_and_says_nothing_odd() {
    let parsed = fine(EXAMPLE);
    assert_eq!(parsed.warnings, Vec::<String>::new());
    assert_eq!(parsed.config.tokens.len(), 2);
}

#[test]
fn what_the_example_only_suggests_is_valid_too() {
    let suggested = |line: &str| {
        let text = line.trim_start().strip_prefix('#')?;
        let indent = &line[..line.len() - line.trim_start().len()];
        let text = text.strip_prefix(' ').unwrap_or(text);
        if text.starts_with("          ") {
            return None; // a column of the table of permissions
        }
        let known = text.trim_start().split(':').next().is_some_and(keys::known);
        let item = text.trim_start().starts_with("- {");
        let written = known && (text.contains(": ") || text.ends_with(':')) || item;
        written.then(|| format!("{indent}{text}"))
    };
    let text: Vec<String> = EXAMPLE.lines().map(|l| suggested(l).unwrap_or_else(|| l.to_owned())).collect();
    let Parsed { config, warnings } = fine(&text.join("\n"));
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!((config.tokens.len(), config.alerts.sinks.len(), config.ignores.len()), (6, 5, 1));
    assert_ne!(config.schedule.canary, config.schedule.probe);
    assert!(config.tokens[0].declared.is_some() && config.canary_key.is_some());
}

#[test]
fn the_whole_of_the_contract_is_read() {
    let Parsed { config, warnings } = fine(WHOLE);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(config.hub.endpoint, "https://huggingface.co");
    assert_eq!(config.hub.in_flight_horizon, Duration::from_secs(900));
    assert_eq!(config.hub.ca_files, [Path::new("/etc/ssl/acme.pem")]);
    assert_eq!(config.schedule.canary, "0 5 * * * *");
    assert_eq!(config.alerts.stale_after, Some(Duration::from_secs(2700)));
    assert_eq!(config.alerts.sinks.len(), 5);
    assert_eq!(config.alerts.sinks[1].url, SinkUrl::Secret(Place::File("/run/secrets/slack".into())));
    assert_eq!(config.server.web_config.as_deref(), Some(Path::new("/etc/scopewatch/web.yml")));
    assert_eq!(config.store, StorePlace::Sqlite("/var/lib/scopewatch/state.db".into()));
    assert_eq!(config.ignores[0].until, Timestamp::parse("2027-01-01T00:00:00Z").expect("a time"));
    let names: Vec<_> = config.tokens.iter().map(|token| token.name.as_str()).collect();
    assert_eq!(names, ["limited-test-token", "janitor", "one", "two", "ci-bot", "deploy"]);
    let token = &config.tokens[0];
    assert_eq!(token.checks.len(), 5);
    assert_eq!(token.checks[4].target.to_string(), "acme/token-test-model");
    assert_eq!(
        token.checks[2].target,
        Target::Create { kind: RepoType::Model, group: Some("token-test-group".into()) }
    );
    assert_eq!(token.declared.as_ref().and_then(|pin| pin.scopes.as_ref()).map(Vec::len), Some(0));
    assert_eq!(config.tokens[2].secret, Place::File("/run/secrets/hf/one".into()));
    let last = &config.tokens[4].checks;
    assert_eq!(last[0].method, Method::Sentinel(Box::new("acme/known-private".parse().expect("a name"))));
    assert_eq!(last[1].expected, Expected::Allowed);
    assert_eq!(config.organization("acme").and_then(|o| o.janitor.clone()), Some(TokenName::new("janitor")));
    let reader = config.organization("acme").and_then(|o| o.inventory.clone());
    assert_eq!(reader, Some(TokenName::new("one")));
    assert_eq!(
        fine(EXAMPLE).config.organizations[0].inventory,
        Some(TokenName::new("janitor")),
        "the janitor else"
    );
    assert_eq!(fine(LEAST).config.organizations[0].inventory, None);
}

#[test]
fn every_check_token_and_organization_knows_its_line() {
    let config = fine(WHOLE).config;
    let texts = [
        ("scopewatch.yaml", WHOLE),
        ("tokens.d/a.yaml", include_str!("../../tests/config/included/a.yaml")),
        ("tokens.d/b.yaml", include_str!("../../tests/config/included/b.yaml")),
    ];
    // The file, and the text from that place on.
    let at = |stated: &Option<Stated>| {
        let stated = stated.as_ref().expect("a place");
        let (name, text) = texts.iter().find(|(name, _)| *name == &*stated.file).expect("a file");
        let line = text.lines().nth(stated.line - 1).expect("a line");
        format!("{name} {}", line.chars().skip(stated.column - 1).collect::<String>())
    };
    let checks = |token: usize| config.tokens[token].checks.iter().map(|check| at(&check.stated)).collect();
    let listed: Vec<String> = WHOLE
        .lines()
        .filter_map(|line| Some(format!("scopewatch.yaml {}", line.strip_prefix("    - ")?)))
        .skip_while(|line| !line.contains("repo.create"))
        .take(4)
        .collect();
    let jobs = [
        "tokens.d/a.yaml { permission: job.read, access: allowed }",
        "tokens.d/a.yaml { permission: repo.read, type: dataset, repo: acme/data, access: allowed }",
    ];
    assert_eq!(at(&config.organizations[0].stated), "scopewatch.yaml name: acme");
    assert_eq!(at(&config.tokens[0].stated), "scopewatch.yaml limited-test-token");
    assert!(at(&config.tokens[2].stated).starts_with("scopewatch.yaml /run/secrets/hf, org"));
    assert_eq!(at(&config.tokens[4].stated), "tokens.d/a.yaml ci-bot");
    // The entries of a list, however many tokens use it, and a token's own.
    let first: Vec<String> = checks(0);
    assert_eq!(first[..4], listed);
    let own = "scopewatch.yaml { permission: repo.write, repo: acme/token-test-model, access: denied }]";
    assert_eq!(first[4..], [own]);
    assert_eq!(checks(2), listed);
    assert!(checks(4)[0].starts_with("tokens.d/a.yaml { permission: repo.create, method: sentinel"));
    assert_eq!(checks(4)[1..], jobs);
    // A list of another file than the token's.
    let last: Vec<String> = checks(5);
    assert_eq!((&last[..2], &last[2..]), (&jobs.map(str::to_owned)[..], &listed[..]));
}

#[test]
fn a_check_that_only_moved_is_the_same() {
    let (before, moved) = (fine(WHOLE).config, fine(&format!("# one line more\n\n{WHOLE}")).config);
    assert_ne!(before.tokens[0].checks[0].stated, moved.tokens[0].checks[0].stated);
    assert_ne!(before.organizations[0].stated, moved.organizations[0].stated);
    assert_eq!(before, moved);
    assert_eq!(before.tokens[0].checks[0].key(), moved.tokens[0].checks[0].key());
    let other = fine(
        &WHOLE
            .replace("repo.write, repo: acme/token-test-model, access: denied", "job.write, access: denied"),
    );
    assert_ne!(before, other.config);
}

const LEAST: &str =
    "organizations: [{ name: acme }]\ntokens: [{ name: ci, organization: acme, secret: { env: CI } }]\n";

#[test]
fn what_is_not_given_is_what_the_example_shows() {
    let least = fine(LEAST).config;
    let example = fine(EXAMPLE).config;
    assert_eq!(least.hub, example.hub);
    assert_eq!(least.alerts, example.alerts);
    assert_eq!(least.server, example.server);
    assert_eq!(least.store, example.store);
    assert_eq!(least.schedule, example.schedule);
    assert_eq!(least.schedule.canary, least.schedule.probe);
    assert_eq!(least.organizations[0].canary_prefix, "scopewatch-canary");
    assert_eq!(least.organizations[0].max_creations_per_day, 200);
    assert_eq!(least.tokens[0].severity, Severity::Critical);
    assert_eq!(least.alerts.stale_after, None);
}

/// One bad file a message, with exactly what is said of it beside it. Build with `SCOPEWATCH_BLESS=1` to write
/// what is said now, then read the difference.
#[test]
fn every_mistake_is_told_as_it_was_agreed() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut wrong = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(&directory).expect("a directory").flatten().collect();
    files.sort_by_key(|file| file.path());
    for path in files.iter().map(|file| file.path()).filter(|p| p.extension().is_some_and(|e| e == "yaml")) {
        if path.ends_with("whole.yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a file");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let said = match read(&text) {
            Ok(parsed) => panic!("{name} is read without a mistake: {:?}", parsed.warnings),
            Err(mistakes) => format!("{mistakes}\n"),
        };
        assert!(!said.contains("Planted") && !said.contains("S3cret"), "{name} shows a secret:\n{said}");
        let expected = path.with_extension("expected");
        if option_env!("SCOPEWATCH_BLESS").is_some() {
            std::fs::write(&expected, &said).expect("written");
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != said {
            wrong.push(format!("--- {name} says\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn said(text: &str) -> String {
    match read(text) {
        Ok(parsed) => parsed.warnings.join("\n"),
        Err(mistakes) => format!("{mistakes}\n{mistakes:?}"),
    }
}

#[test]
fn a_text_cut_at_any_byte_is_read_or_refused() {
    let mut read_whole = 0;
    for end in 0..=EXAMPLE.len() {
        let text = String::from_utf8_lossy(&EXAMPLE.as_bytes()[..end]);
        match read(&text) {
            Ok(_) => read_whole += 1,
            Err(mistakes) => {
                assert!(mistakes.count() > 0 && mistakes.to_string().contains("scopewatch.yaml:"))
            }
        }
    }
    assert!(read_whole > 0);
}

/// Values, and not how deep each of them lies: this is a configuration with a hundred thousand of them.
#[test]
fn a_value_counts_once_however_deep_it_lies() {
    let one = "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]";
    let text = format!("unheard: [{}]\n", vec![one; 5_000].join(", "));
    let said = said(&text);
    assert!(!said.contains("more than 2000000 values"), "{said}");
}

/// An anchor keeps a copy of all that it names.
#[test]
fn anchors_within_anchors_are_counted() {
    let open: String = (0..40).map(|n| format!("&a{n} [")).collect();
    let text = format!("unheard: {open}{}{}\n", "x, ".repeat(80_000), "]".repeat(40));
    let said = said(&text);
    assert!(said.contains("more than 2000000 values"), "{said}");
}

#[test]
fn bombs_are_defused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let one = format!("*a{}", n - 1);
        text += &format!("a{n}: &a{n} [{}]\n", vec![one; 10].join(", "));
    }
    let said = said(&text);
    assert!(said.contains("more than 2000000 values"), "{said}");
    assert!(said.lines().count() < 200);
    for opening in ["[", "{", "- ", "a: [", "{a: "] {
        assert!(read(&opening.repeat(100_000)).is_err());
    }
}

#[test]
fn aliases_repeat_a_value() {
    let text = "organizations: [{ name: acme }]\ntokens:\n  - { name: a, organization: acme, secret: { env: A }, \
                expect: &e [{ permission: job.read, access: denied }] }\n  - { name: b, organization: acme, \
                secret: { env: B }, expect: *e }\n";
    let config = fine(text).config;
    assert_eq!(config.tokens[1].checks.len(), 1);
}

#[test]
fn what_is_odd_is_warned_of_with_its_place() {
    let text = "organizations: [{ name: acme }]\ntokens:\n  - { name: ci, organization: acme, secret: { env: CI }, \
                declared: { role: finegrained } }\n  - name: x\n    organization: acme\n    secret: { env: X }\n    \
                expect:\n      - { permission: repo.read, repo: other/x, access: denied }\n      - { permission: \
                repo.create, access: denied }\nexpectations: { idle: [] }\nalerts: { sinks: [{ name: s, type: \
                webhook, url: \"http://hook.example.com\" }] }\nignores: [{ token: x, permission: job.read, kind: \
                blind, owner: me, reason: r, until: 2027-01-01 }]\ninclude: [nothing/*.yaml]\n\
                store: { url: postgres://db/x }\n";
    let said = fine(text).warnings.join("\n");
    for part in [
        "scopewatch.yaml:3:76: the Hub is not known to have a role `finegrained`; did you mean `fineGrained`?",
        "scopewatch.yaml:8:9: `other/x` is not in `acme`, the organization of token `x`",
        "no token uses the expectations `idle`",
        "the expectations `idle` are empty",
        "plain http to a name",
        "this ignore meets no check of token `x`",
        "`nothing/*.yaml` matches no file",
        "`acme` has no janitor",
        "nothing is expected of token `ci`",
        "there is none",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
}

#[test]
fn ten_thousand_tokens_are_read_in_good_time() {
    let mut text = "organizations: [{ name: acme }]\ntokens:\n".to_owned();
    for n in 0..10_000 {
        text += &format!(
            "  - {{ name: t{n}, organization: acme, secret: {{ file: /s/t{n} }}, expect: [all] }}\n"
        );
    }
    text += "expectations: { all: [{ permission: job.read, access: denied }, { permission: repo.create, access: denied }] }\n";
    assert_eq!(fine(&text).config.tokens.len(), 10_000);
    // One mistake in the list that all share is told once.
    let wrong = read(&text.replace("job.read", "job.raed")).expect_err("a mistake");
    assert_eq!(wrong.count(), 1);
}

/// A very small part of JSON Schema, enough for what `schema` makes.
fn fits(node: &tree::Node, schema: &serde_json::Value) -> bool {
    let each = |key: &str| schema[key].as_array().cloned().unwrap_or_default();
    let any = each("anyOf").into_iter().chain(each("oneOf")).collect::<Vec<_>>();
    if !any.is_empty() {
        return any.iter().any(|one| fits(node, one));
    }
    if !each("enum").is_empty() {
        return each("enum").iter().any(|word| word == node.word());
    }
    let types = match &schema["type"] {
        serde_json::Value::String(one) => vec![one.clone()],
        many => many.as_array().into_iter().flatten().filter_map(|t| t.as_str().map(str::to_owned)).collect(),
    };
    let is = |name: &str| types.iter().any(|one| one == name);
    match &node.value {
        tree::Value::Empty => is("null"),
        tree::Value::Text(text) => {
            is("string")
                || is("number") && text.parse::<f64>().is_ok()
                || is("integer") && text.parse::<u64>().is_ok()
                || is("boolean") && text.parse::<bool>().is_ok()
        }
        tree::Value::List(items) => is("array") && items.iter().all(|item| fits(item, &schema["items"])),
        tree::Value::Map(pairs) => {
            let required = each("required");
            is("object")
                && required.iter().all(|key| node.under(key.as_str().unwrap_or_default()).is_some())
                && pairs.iter().all(|(key, value)| match &schema["properties"][key.word()] {
                    serde_json::Value::Null => {
                        let more = &schema["additionalProperties"];
                        more.is_object() && fits(value, more)
                    }
                    known => fits(value, known),
                })
        }
    }
}

#[test]
fn the_schema_knows_what_the_reader_knows() {
    let schema = schema();
    let tree_of = |text: &str| {
        let mut log = mistakes::Log::new();
        let source = log.add("x", text);
        tree::read(&mut log, source).expect("a tree")
    };
    let included = include_str!("../../tests/config/included/a.yaml");
    assert!(fits(&tree_of(EXAMPLE), &schema));
    assert!(fits(&tree_of(WHOLE), &schema));
    for bad in ["unknown_keys", "missing_keys", "wrong_shapes", "expect_permission", "severity"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/config/{bad}.yaml"));
        assert!(!fits(&tree_of(&std::fs::read_to_string(path).expect("a file")), &schema), "{bad}");
    }
    assert_eq!(schema["properties"]["hub"]["properties"]["max_in_flight"]["default"], 16);
    assert_eq!(schema["properties"]["hub"]["properties"]["endpoint"]["default"], "https://huggingface.co");
    // The readers panic in tests when nobody asks for a key, so a text with every key closes the circle.
    for section in keys::SECTIONS {
        for name in section.names() {
            let given = |text: &str| text.contains(&format!("{name}:"));
            assert!(given(WHOLE) || given(included), "no test writes `{name}` of {}", section.what);
            assert!(EXAMPLE.contains(&format!("{name}:")), "the example does not show `{name}`");
        }
    }
}

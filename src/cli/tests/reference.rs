//! The reference under `deploy/docs/reference`, made of the tables that the program itself is made of.

use std::fmt::Write as _;

use clap::CommandFactory as _;
use serde_json::Value;

use super::bench::agreed;
use crate::access::{DenyReason, Permission, RepoType, Severity, Target, UnknownReason};
use crate::alert::message::AlertName;
use crate::cli::Cli;
use crate::exchange::Credential;
use crate::hub::probes::{self, Control};
use crate::report::FindingKind;
use crate::serve::{REFUSALS, ROUTES};

/// A page: its name, its title, what stands above its tables, and them.
fn page(name: &str, title: &str, lead: &str, body: &str) {
    let text = format!(
        "# {title}\n\n<!-- Generated from the code; a test compares it. `SCOPEWATCH_BLESS=1 cargo test reference` writes it anew. -->\n\n{lead}\n\n{}\n",
        body.trim_end()
    );
    agreed(&format!("../../deploy/docs/reference/{name}.md"), &text);
}

/// As a cell of a table: one line, no column of its own.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|one| cell(one)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

#[test]
fn reference_of_permissions() {
    let organization = "ORG";
    let repo = Target::Repo { kind: RepoType::Model, repo: "ORG/NAME".parse().expect("a name") };
    let row = |permission: Permission| {
        let Some(row) = probes::row_of(permission) else {
            let how = "`POST /api/repos/create`, then `DELETE /api/repos/delete`; with `method: sentinel` the POST alone, on a name that exists";
            let needs = "`type`, `resource_group`, `method`, `sentinel`";
            return vec![
                format!("`{permission}`"),
                permission.about().to_owned(),
                needs.into(),
                how.into(),
                "a canary, if it is allowed".into(),
            ];
        };
        let target = if matches!(row.ask, probes::Ask::Repo(_)) { &repo } else { &Target::Whole };
        let request = row.request(organization, target, Credential::Anonymous).expect("a request");
        let target = if matches!(row.ask, probes::Ask::Repo(_)) { "`repo`, `type`" } else { "–" };
        let control = match row.control {
            Control::Target => "a denial counts when somebody who can see the repository sees it",
            Control::Round => "the round's own controls",
            Control::Closed => "a grant counts when nobody gets the same without a token",
        };
        let asked = format!("`GET {}` ({}); {control}", request.route, row.source);
        vec![format!("`{permission}`"), permission.about().to_owned(), target.into(), asked, "no".into()]
    };
    let head = [
        "permission",
        "what it means",
        "keys",
        "how it is tried, and what must be shown beside it",
        "changes the Hub",
    ];
    let lead = "What a check may ask: the `permission` of an `expect` entry, and of a label. Routes are those of the Hub; where they \
                come from stands in parentheses.";
    page("permissions", "Permissions", lead, &table(&head, Permission::ALL.iter().map(|one| row(*one))));
}

#[test]
fn reference_of_findings() {
    let row = |kind: FindingKind| {
        let alert = AlertName::of(kind);
        let severity = match kind {
            FindingKind::UnexpectedGrant => "`severity` of the token, else `critical`".to_owned(),
            _ => format!("`{}`", Severity::Warning),
        };
        let alert =
            alert.map_or_else(|| "none".to_owned(), |name| format!("[{name}](../../runbooks/{name}.md)"));
        vec![format!("`{kind}`"), kind.about().to_owned(), alert, severity]
    };
    let lead = "What is not as it should be and lasts: kinds of finding, in the API, on the page and in `ignores`. Only some are alerts, \
                because nothing but an unexpected grant may wake somebody.";
    let head = ["kind", "what it means", "alert", "severity of the alert"];
    page("findings", "Findings", lead, &table(&head, FindingKind::ALL.iter().map(|kind| row(*kind))));
}

#[test]
fn reference_of_reasons() {
    let head = ["reason", "what it means"];
    let row = |word: &str, about: &str| vec![format!("`{word}`"), about.to_owned()];
    let denied = table(&head, DenyReason::ALL.iter().map(|one| row(one.as_str(), one.about())));
    let unknown = table(&head, UnknownReason::ALL.iter().map(|one| row(one.as_str(), one.about())));
    let lead = "Why a check came out as it did: `reason` in reports and metrics. An answer that is allowed has none.";
    let body = format!(
        "## Of `denied`\n\n{denied}\n## Of `undetermined`\n\nNone of these is ever a verdict.\n\n{unknown}"
    );
    page("reasons", "Reasons", lead, &body);
}

#[test]
fn reference_of_metrics() {
    let exposed = crate::metrics::tests::example();
    let help = |name: &str| {
        let head = format!("# HELP {name} ");
        exposed
            .lines()
            .find_map(|line| line.strip_prefix(head.as_str()))
            .unwrap_or_else(|| panic!("{name} has no help"))
    };
    let listed = include_str!("../../../tests/metrics.catalogue")
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#') && !line.contains("later:"));
    let rows = listed.map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, kind, labels, ..] = words.as_slice() else { panic!("{line}") };
        let labels: Vec<String> = labels.split(',').filter(|l| *l != "-").map(|l| format!("`{l}`")).collect();
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        vec![format!("`{name}`"), (*kind).to_owned(), labels, help(name).to_owned()]
    });
    let lead = "What `GET /metrics` shows. Label values come from the config or from closed lists, never from the Hub.";
    page("metrics", "Metrics", lead, &table(&["name", "type", "labels", "what it is"], rows));
}

#[test]
fn reference_of_the_api() {
    let rows = ROUTES.iter().map(|route| {
        let answers: Vec<String> =
            route.answers.iter().map(|(status, media, _)| format!("{status} `{media}`")).collect();
        let method = route.method.to_uppercase();
        vec![
            format!("`{method} {}`", route.path),
            route.about.to_owned(),
            route.needs.about().to_owned(),
            answers.join(", "),
        ]
    });
    let lead = "Every route of the daemon. No route takes an address or a secret, and every answer comes from memory. The OpenAPI \
                document, with the shapes of all answers, is at `/api/v1/openapi.json`; `scopewatch schema api` prints it.";
    let routes = table(&["route", "what it is for", "who may ask", "answers"], rows);
    let refusals = REFUSALS.iter().map(|(status, about)| vec![(*status).to_owned(), (*about).to_owned()]);
    let refusals = table(&["answer", "what it means"], refusals);
    page("api", "HTTP", lead, &format!("{routes}\nAnd, where it is not for everybody:\n\n{refusals}"));
}

#[test]
fn reference_of_the_config() {
    let mut body = String::new();
    sections(&crate::config::schema(), "", &mut body);
    let lead = "Every key of the config. Unknown keys are errors. [config/scopewatch.yaml](../../../config/scopewatch.yaml) shows them in \
                place; `scopewatch schema` prints the JSON Schema, with which editors complete and check; `scopewatch check` finds every mistake at once.";
    page("config", "Configuration", lead, &body);
}

/// A table for each mapping of the schema, under the path of its key.
fn sections(schema: &Value, path: &str, body: &mut String) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let shown = if path.is_empty() { "At the top".to_owned() } else { format!("`{path}`") };
    let rows = properties.iter().map(|(name, of)| {
        let default = match &of["default"] {
            Value::Null if required.contains(&name.as_str()) => "required".to_owned(),
            Value::Null => "–".to_owned(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        vec![
            format!("`{name}`"),
            form(of),
            default,
            of["description"].as_str().unwrap_or_default().to_owned(),
        ]
    });
    let _ = write!(
        body,
        "## {shown}\n\n{}\n",
        table(&["key", "what it holds", "default", "what it means"], rows)
    );
    let told_elsewhere = path.ends_with("of a directory");
    for (name, of) in properties.iter().filter(|_| !told_elsewhere) {
        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        mappings(of, &below, body);
    }
}

/// The mappings that a value may be or hold.
fn mappings(of: &Value, path: &str, body: &mut String) {
    if is_place(of) {
        return;
    }
    sections(of, path, body);
    mappings_of(&of["items"], &format!("{path}[]"), body);
    mappings_of(&of["additionalProperties"], &format!("{path}.NAME"), body);
}

fn mappings_of(of: &Value, path: &str, body: &mut String) {
    let forms = of["anyOf"].as_array().cloned().unwrap_or_else(|| vec![of.clone()]);
    for form in forms.iter().filter(|form| form.is_object()) {
        let about =
            form["properties"]["permission"]["enum"].as_array().and_then(|words| words.first()?.as_str());
        let first =
            form["properties"].as_object().and_then(|keys| keys.keys().find(|key| *key == "from_directory"));
        let check = form["properties"]["access"].is_object().then_some(about).flatten();
        let path = match (check, first) {
            (Some("repo.create"), _) => "a check of repo.create".to_owned(),
            (Some("repo.read"), _) => "a check of repo.read or repo.write".to_owned(),
            (Some(_), _) => "a check of another permission".to_owned(),
            (None, Some(_)) => format!("{path} of a directory"),
            (None, None) => path.to_owned(),
        };
        if !body.contains(&format!("## `{path}`\n")) {
            mappings(form, &path, body);
        }
    }
}

fn is_place(of: &Value) -> bool {
    of["oneOf"].as_array().is_some_and(|forms| forms.iter().any(|one| one["properties"]["file"].is_object()))
}

/// What a value may be, in words.
fn form(of: &Value) -> String {
    if is_place(of) {
        return "`{file: PATH}` or `{env: NAME}`".to_owned();
    }
    if let Some(words) = of["enum"].as_array() {
        let words: Vec<String> =
            words.iter().map(|word| format!("`{}`", word.as_str().unwrap_or("null"))).collect();
        return words.join(", ");
    }
    if let Some(forms) = of["anyOf"].as_array() {
        let mut words: Vec<String> = forms.iter().map(form).collect();
        words.dedup();
        return words.join(", or ");
    }
    let kind = |wanted: &str| {
        of["type"] == wanted || of["type"].as_array().is_some_and(|all| all.contains(&wanted.into()))
    };
    let pattern = of["pattern"].as_str().unwrap_or_default();
    match () {
        () if kind("array") => format!("a list: {}", form(&of["items"])),
        () if kind("object") && of["additionalProperties"].is_object() => {
            "names, each with a list".to_owned()
        }
        () if kind("object") => "keys of their own".to_owned(),
        () if kind("boolean") => "`true` or `false`".to_owned(),
        () if kind("integer") => format!("{} to {}", of["minimum"], of["maximum"]),
        () if kind("number") && of["maximum"].is_number() => "above 0, at most 1".to_owned(),
        () if pattern.contains("d)?") => "a duration: `10s`, `5m`, `4h`, `7d`".to_owned(),
        () if pattern.contains("{5}") => "six cron fields: second minute hour day month weekday".to_owned(),
        () if pattern.contains("{4}-") => "a day: `2026-12-31`".to_owned(),
        () if pattern.contains('/') => "`ORGANIZATION/NAME`".to_owned(),
        () => "text".to_owned(),
    }
}

#[test]
fn reference_of_the_commands() {
    let mut whole = Cli::command().term_width(100);
    whole.build();
    let mut body = String::new();
    for command in whole.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        let help = command.render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        let _ = write!(body, "## {}\n\n```text\n{}\n```\n\n", command.get_name(), help.join("\n").trim_end());
    }
    let lead = "Every command with its arguments. Results go to stdout, everything else to stderr. Secrets are never accepted as \
                arguments. `scopewatch man --output DIR` writes manual pages, `scopewatch completions SHELL` completions.";
    page("commands", "Commands", lead, &body);
}

//! Every key of the configuration, once: the readers refuse what is not here, and the JSON Schema is made of it.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::access::{Expected, Permission, RepoType, Severity};
use crate::report::FindingKind;

/// What a value must be.
pub(super) enum Form {
    Text,
    Flag,
    /// A whole number of at least this and at most that.
    Count(u64, u64),
    /// Above 0 and at most 1.
    Share,
    Duration,
    Cron,
    Date,
    /// `namespace/name`.
    Repo,
    /// One of a closed list.
    Word(fn() -> Vec<&'static str>),
    /// `{file: …}` or `{env: …}`.
    Place,
    /// An address in the open, or the place of one.
    TextOrPlace,
    Section(&'static Section),
    List(&'static Form),
    /// Any names, each with a value of this form.
    Named(&'static Form),
    /// The form that fits, of several.
    Either(&'static [Form]),
}

/// One key.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) required: bool,
    pub(super) about: &'static str,
}

impl Form {
    /// How such a value is written, for a message about one that is missing.
    pub(super) fn example(&self) -> String {
        match self {
            Form::Word(words) => format!("one of {}", words().join(", ")),
            Form::Place | Form::TextOrPlace => "{ file: PATH } or { env: NAME }".to_owned(),
            Form::Date => "such as 2026-12-31".to_owned(),
            Form::Repo => "ORGANIZATION/NAME".to_owned(),
            Form::List(_) => "a list".to_owned(),
            _ => "text".to_owned(),
        }
    }
}

/// A mapping with closed keys.
pub(super) struct Section {
    /// For messages: "the keys of …".
    pub(super) what: &'static str,
    pub(super) keys: &'static [Key],
}

const fn key(name: &'static str, form: Form, about: &'static str) -> Key {
    Key { name, form, required: false, about }
}

const fn must(name: &'static str, form: Form, about: &'static str) -> Key {
    Key { name, form, required: true, about }
}

impl Section {
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }

    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// Whether this is a key, or one of the fixed words, of the configuration.
pub(super) fn known(word: &str) -> bool {
    static WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        let sections = SECTIONS.iter().chain(super::web::SECTIONS);
        let mut words: HashSet<&str> = sections.flat_map(|section| section.names()).collect();
        words.extend(["file", "env", "true", "false", "null"]);
        words.extend(Permission::ALL.iter().map(|p| p.as_str()));
        words.extend(FindingKind::ALL.iter().map(|k| k.as_str()));
        words.extend(["allowed", "denied", "model", "dataset", "space", "canary", "sentinel"]);
        words
    });
    WORDS.contains(word)
}

/// All sections, for `known`, the schema and the tests.
pub(super) static SECTIONS: &[&Section] = &[
    &ROOT,
    &INCLUDED,
    &HUB,
    &SCHEDULE,
    &ORGANIZATION,
    &TOKEN,
    &DIRECTORY,
    &PIN,
    &SCOPE,
    &IGNORE,
    &CREATE,
    &REPO,
    &WHOLE,
    &ALERTS,
    &SINK,
    &SERVER,
    &STORE,
];

fn severities() -> Vec<&'static str> {
    Severity::ALL.iter().map(|word| word.as_str()).collect()
}

fn accesses() -> Vec<&'static str> {
    Expected::ALL.iter().map(|word| word.as_str()).collect()
}

fn repo_types() -> Vec<&'static str> {
    RepoType::ALL.iter().map(|word| word.as_str()).collect()
}

fn permissions() -> Vec<&'static str> {
    Permission::ALL.iter().map(|word| word.as_str()).collect()
}

fn repo_permissions() -> Vec<&'static str> {
    vec![Permission::RepoRead.as_str(), Permission::RepoWrite.as_str()]
}

fn whole_permissions() -> Vec<&'static str> {
    permissions().into_iter().filter(|name| !name.starts_with("repo.")).collect()
}

/// What may be ignored: whatever is about a configured token, because an ignore names one. Not an ignore that is
/// over, or one could be silenced for ever by the next.
pub(super) fn ignorable() -> impl Iterator<Item = FindingKind> {
    const OTHERS: &[FindingKind] = &[
        FindingKind::IgnoreExpired,
        FindingKind::UnmanagedToken,
        FindingKind::CanaryLeft,
        FindingKind::StateReset,
        FindingKind::HubUnreachable,
    ];
    FindingKind::ALL.iter().copied().filter(|kind| !OTHERS.contains(kind))
}

fn kinds() -> Vec<&'static str> {
    ignorable().map(FindingKind::as_str).collect()
}

static TEXT: Form = Form::Text;
static CHECK: Form = Form::Either(&[Form::Section(&CREATE), Form::Section(&REPO), Form::Section(&WHOLE)]);
static CHECKS: Form = Form::List(&CHECK);
static EXPECTED: Form =
    Form::Either(&[Form::Text, Form::Section(&CREATE), Form::Section(&REPO), Form::Section(&WHOLE)]);
static TOKENS: Form = Form::Either(&[Form::Section(&TOKEN), Form::Section(&DIRECTORY)]);

const TOKENS_ABOUT: &str = "The credentials under audit.";
const EXPECTATIONS_ABOUT: &str = "Named lists of checks, for use by many tokens.";

pub(super) static ROOT: Section = Section {
    what: "the configuration",
    keys: &[
        key("hub", Form::Section(&HUB), "Which Hub, and how gently it is asked."),
        key("schedule", Form::Section(&SCHEDULE), "When what is due."),
        must("organizations", Form::List(&Form::Section(&ORGANIZATION)), "Whose tokens they are."),
        must("tokens", Form::List(&TOKENS), TOKENS_ABOUT),
        key("include", Form::List(&TEXT), "Files with more tokens and expectations, relative to this one."),
        key("ignores", Form::List(&Form::Section(&IGNORE)), "Drift accepted for a while."),
        key("expectations", Form::Named(&CHECKS), EXPECTATIONS_ABOUT),
        key("alerts", Form::Section(&ALERTS), "When drift is told, and to whom."),
        key("server", Form::Section(&SERVER), "Metrics, health, page and API."),
        key("store", Form::Section(&STORE), "Where the journal lies."),
        key("canary_key", Form::Place, "Key that signs canary names; 32 bytes or more."),
    ],
};

pub(super) static INCLUDED: Section = Section {
    what: "an included file",
    keys: &[
        key("tokens", Form::List(&TOKENS), TOKENS_ABOUT),
        key("expectations", Form::Named(&CHECKS), EXPECTATIONS_ABOUT),
    ],
};

pub(super) static HUB: Section = Section {
    what: "`hub`",
    keys: &[
        key("endpoint", Form::Text, "Origin of the Hub."),
        key(
            "allow_insecure",
            Form::Flag,
            "Let tokens travel over plain http to a host that is not loopback.",
        ),
        key("request_timeout", Form::Duration, "Deadline of one request, answer included."),
        key("max_in_flight", Form::Count(1, 10_000), "Requests at the same time."),
        key("quota_share", Form::Share, "Share of each user's rate limit that may be used."),
        key(
            "in_flight_horizon",
            Form::Duration,
            "How long a request that we gave up on may still take effect.",
        ),
        key("proxy", Form::Text, "The only proxy that is ever used."),
        key("ca_files", Form::List(&TEXT), "PEM files trusted in addition to the roots."),
        key("tls_roots", Form::Word(|| vec!["system", "bundled"]), "Where trust begins."),
    ],
};

pub(super) static SCHEDULE: Section = Section {
    what: "`schedule`",
    keys: &[
        key("probe", Form::Cron, "Read-only checks."),
        key("canary", Form::Cron, "Checks that may create; as `probe` when absent."),
        key("declared", Form::Cron, "whoami-v2 of every token."),
        key("timezone", Form::Text, "IANA zone of the schedules."),
        key("on_start", Form::Flag, "A round and whoami at start."),
    ],
};

pub(super) static ORGANIZATION: Section = Section {
    what: "an organization",
    keys: &[
        must("name", Form::Text, "Its exact name; the case counts."),
        key("janitor", Form::Text, "The token that observes and cleans up."),
        key(
            "inventory",
            Form::Text,
            "The token that reads the organization's list of tokens; the janitor when absent.",
        ),
        key("canary_prefix", Form::Text, "How the names of canaries begin."),
        key("max_creations_per_day", Form::Count(1, 1_000_000), "Creation calls per Hub user and 24 hours."),
        key("sentinel", Form::Repo, "A private repository that the janitor can see."),
        key("adopt_authentic", Form::Flag, "Delete signed canaries that the journal does not know."),
    ],
};

const OWNER: &str = "Who answers for it; carried into alerts.";
const SEVERITY: &str = "Of an unexpected grant.";
const EXPECT: &str = "Checks, and names of lists of checks.";
const PIN_ABOUT: &str = "What whoami must say; any difference is a finding.";

pub(super) static TOKEN: Section = Section {
    what: "a token",
    keys: &[
        must("name", Form::Text, "Our name for it; never the secret."),
        must("organization", Form::Text, "One of `organizations`."),
        must("secret", Form::Place, "Where the secret lies."),
        key("owner", Form::Text, OWNER),
        key("severity", Form::Word(severities), SEVERITY),
        key("expect", Form::List(&EXPECTED), EXPECT),
        key("declared", Form::Section(&PIN), PIN_ABOUT),
    ],
};

pub(super) static DIRECTORY: Section = Section {
    what: "a directory of tokens",
    keys: &[
        must("from_directory", Form::Text, "A directory with one token per file, named after the file."),
        must("organization", Form::Text, "One of `organizations`."),
        key("owner", Form::Text, OWNER),
        key("severity", Form::Word(severities), SEVERITY),
        key("expect", Form::List(&EXPECTED), EXPECT),
        key("declared", Form::Section(&PIN), PIN_ABOUT),
    ],
};

pub(super) static PIN: Section = Section {
    what: "`declared`",
    keys: &[
        key("user", Form::Text, "The Hub user it belongs to."),
        key("role", Form::Text, "`fineGrained`, `read` or `write`."),
        key("scopes", Form::List(&Form::Section(&SCOPE)), "All of its scopes."),
    ],
};

pub(super) static SCOPE: Section = Section {
    what: "a scope",
    keys: &[
        must("entity", Form::Text, "`org:acme`, `user:bob`, `model:acme/x`, …"),
        must("permissions", Form::List(&TEXT), "As the Hub names them."),
    ],
};

pub(super) static IGNORE: Section = Section {
    what: "an ignore",
    keys: &[
        must("token", Form::Text, "Name of a token."),
        key("permission", Form::Word(permissions), "Only of this permission."),
        key("target", Form::Text, "Only of this target, as in reports."),
        must("kind", Form::Word(kinds), "Which kind of finding."),
        must("owner", Form::Text, "Who accepted it."),
        must("reason", Form::Text, "Why."),
        must("until", Form::Date, "The last day on which it holds, in UTC."),
    ],
};

const PERMISSION: &str = "What the token may or may not do.";
const ACCESS: &str = "What is expected.";
const TYPE: &str = "Kind of repository; `model` when absent.";

pub(super) static CREATE: Section = Section {
    what: "a check of `repo.create`",
    keys: &[
        must("permission", Form::Word(|| vec!["repo.create"]), PERMISSION),
        must("access", Form::Word(accesses), ACCESS),
        key("type", Form::Word(repo_types), TYPE),
        key("resource_group", Form::Text, "Name or id; the organization's root when absent."),
        key("method", Form::Word(|| vec!["canary", "sentinel"]), "How it is tried; `canary` when absent."),
        key("sentinel", Form::Repo, "With `method: sentinel`: a repository that exists."),
    ],
};

pub(super) static REPO: Section = Section {
    what: "a check of `repo.read` or `repo.write`",
    keys: &[
        must("permission", Form::Word(repo_permissions), PERMISSION),
        must("access", Form::Word(accesses), ACCESS),
        must("repo", Form::Repo, "Which repository."),
        key("type", Form::Word(repo_types), TYPE),
    ],
};

pub(super) static WHOLE: Section = Section {
    what: "a check",
    keys: &[
        must("permission", Form::Word(whole_permissions), PERMISSION),
        must("access", Form::Word(accesses), ACCESS),
    ],
};

pub(super) static ALERTS: Section = Section {
    what: "`alerts`",
    keys: &[
        key("confirm_denials", Form::Count(1, 1000), "Unexpected denials in a row before they are drift."),
        key("resolve_after", Form::Count(1, 1000), "Good results in a row before an alert resolves."),
        key(
            "stale_after",
            Form::Duration,
            "No conclusive answer for so long is `blind`; three probe periods.",
        ),
        key("expires_within", Form::Duration, "How long before its expiry a token is a finding."),
        key("remind_every", Form::Duration, "Pause between reminders of what still fires."),
        key("sinks", Form::List(&Form::Section(&SINK)), "Where alerts go."),
    ],
};

pub(super) static SINK: Section = Section {
    what: "a sink",
    keys: &[
        must("name", Form::Text, "A label in metrics."),
        must("type", Form::Word(sink_kinds), "What speaks there."),
        key("url", Form::TextOrPlace, "Its address, or the place of one that is itself a secret."),
        key(
            "secret",
            Form::Place,
            "Key of a webhook's signature, of PagerDuty, or password of the mail server.",
        ),
    ],
};

/// Spellings of the kinds of sink.
pub(super) fn sink_kinds() -> Vec<&'static str> {
    vec!["alertmanager", "webhook", "slack", "pagerduty", "email"]
}

pub(super) static SERVER: Section = Section {
    what: "`server`",
    keys: &[
        key("listen", Form::Text, "IP address and port."),
        key("lifecycle", Form::Flag, "POST /-/reload and POST /-/probe."),
        key("open_page", Form::Flag, "Page and API without authentication beyond loopback."),
        key("web_config", Form::Text, "TLS and basic auth, the exporter-toolkit's file."),
    ],
};

pub(super) static STORE: Section = Section {
    what: "`store`",
    keys: &[key(
        "url",
        Form::TextOrPlace,
        "sqlite://… or postgres://…, or the place of a URL with a password.",
    )],
};

//! The simulated Hub says the words that stand in `tests/answers/` with their sources.
//!
//! Every file there that says `simulated: true` is asked for here, and answered with its status, text and error
//! headers; every text of `answer` is one of them. The files are read by themselves, without the daemon's types.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use super::Bench;
use super::call;
use super::header;
use crate::simulator::answer;
use crate::simulator::answer::Answer;

#[derive(Deserialize)]
struct Said {
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    simulated: bool,
}

/// What an answer says beyond its figures and addresses.
#[derive(Debug, PartialEq)]
struct Words {
    status: u16,
    content_type: String,
    text: String,
    headers: Vec<Option<String>>,
}

const ERROR_HEADERS: [&str; 3] = ["X-Error-Code", "X-Error-Message", "WWW-Authenticate"];

fn words(status: u16, content_type: &str, body: &str, header: impl Fn(&str) -> Option<String>) -> Words {
    let error =
        serde_json::from_str(body).ok().and_then(|body: Value| body["error"].as_str().map(str::to_owned));
    Words {
        status,
        content_type: content_type.to_owned(),
        text: error.unwrap_or_else(|| body.to_owned()),
        headers: ERROR_HEADERS.iter().map(|name| header(name)).collect(),
    }
}

fn of_file(said: &Said) -> Words {
    let kind = said.headers.get("Content-Type").expect("a content type");
    words(said.status.expect("a status"), kind, &said.body, |name| said.headers.get(name).cloned())
}

fn of_answer(answer: &Answer) -> Words {
    let headers = |name: &str| header(answer, name).map(str::to_owned);
    words(answer.status, answer.content_type, &answer.body, headers)
}

/// The files with `simulated: true`, by question and name.
fn files() -> BTreeMap<String, Said> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/answers");
    let folders = fs::read_dir(root).unwrap().map(|folder| folder.unwrap().path());
    let mut files = BTreeMap::new();
    for file in folders.filter(|path| path.is_dir()).flat_map(|folder| fs::read_dir(folder).unwrap()) {
        let path = file.unwrap().path();
        let said: Said = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let question = path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        let name = format!("{question}/{}", path.file_stem().unwrap().to_string_lossy());
        if said.simulated {
            files.insert(name, said);
        }
    }
    files
}

const HERE: &str = r#"
organizations:
  acme: { plan: enterprise, members: { ann: admin, wim: write, ria: read } }
  strict: { token_policy: require_approval, members: { wim: write } }
  fine: { token_policy: fine_grained_only, members: { wim: write } }
  free: { members: { wim: write } }
  "off": { plan: enterprise, members: { wim: write }, features_off: [jobs] }
  spent: { plan: enterprise, members: { wim: write }, spent: [jobs] }
  unpaid: { plan: enterprise, members: { wim: write }, can_pay: false }
users: { wim: { rate_limit: 1000 } }
repos:
  acme/private: { private: true }
  acme/canary: { private: true }
  acme/sentinel: { private: true }
  acme/public: {}
  acme/gated: { gated: manual, granted: [gus] }
  acme/disabled: { disabled: true }
  strict/private: { private: true }
tokens:
  admin: { secret: s-admin, user: ann, role: write }
  writer: { secret: s-writer, user: wim, role: write }
  reader: { secret: s-reader, user: wim, role: read }
  stranger: { secret: s-stranger, user: oz, role: write }
  none: { secret: s-none, user: wim, role: fineGrained }
  guest: { secret: s-guest, user: gus, role: fineGrained }
  dead: { secret: s-dead, user: wim, role: write, alive: false }
  old: { secret: s-old, user: wim, role: write, expires_at: 2020-02-01T00:00:00Z }
  revoked: { secret: s-revoked, user: wim, role: write, approval: revoked }
  sso: { secret: s-sso, user: wim, role: write, restrictions: [sso] }
  mfa: { secret: s-mfa, user: wim, role: write, restrictions: [mfa] }
  ip: { secret: s-ip, user: wim, role: write, restrictions: [ip] }
"#;

/// Who asks for what, in a row of answers; each name is the path of a file.
type Asked = Vec<(&'static str, Answer)>;

fn creations() -> Asked {
    let bench = Bench::of(HERE);
    let of_kind = |name: &str, kind: &str, sdk: Option<&str>| {
        let body = json!({"name": "x", "organization": name, "type": kind, "sdk": sdk, "private": true});
        bench.ask("writer", "POST", "/api/repos/create", body)
    };
    let locked = Bench::of(HERE);
    locked.hub.state().quotas.lock("wim");
    let capped = Bench::of(HERE);
    for _ in 0..300 {
        capped.hub.state().quotas.note_creation("wim", 0);
    }
    let scheme = json!({"name": "x", "organization": "acme"}).to_string().into_bytes();
    let mut unheard = call(None, "POST", "/api/repos/create", &Value::Null);
    (unheard.authorization, unheard.body) = (Some("Basic s-writer".to_owned()), scheme);
    vec![
        ("repo.create/billing", of_kind("free", "space", Some("docker"))),
        ("repo.create/cap", capped.create("writer", "acme/x")),
        ("repo.create/invalid-name", bench.create("writer", "acme/a--b")),
        ("repo.create/invalid-schema", of_kind("acme", "space", None)),
        ("repo.create/lock", locked.create("writer", "acme/x")),
        ("repo.create/refused-classic-token", bench.create("writer", "fine/x")),
        ("repo.create/refused-ip", bench.create("ip", "acme/x")),
        ("repo.create/refused-mfa", bench.create("mfa", "acme/x")),
        ("repo.create/refused-namespace-model", bench.create("none", "acme/x")),
        ("repo.create/refused-not-approved", bench.create("writer", "strict/x")),
        ("repo.create/refused-revoked", bench.create("revoked", "acme/x")),
        ("repo.create/refused-sso", bench.create("sso", "acme/x")),
        ("repo.create/taken", bench.create("writer", "acme/canary")),
        ("repo.create/token-invalid", bench.create("dead", "acme/x")),
        ("repo.create/token-invalid-expired", bench.create("old", "acme/x")),
        ("repo.create/token-invalid-scheme", bench.hub.ask(&unheard)),
        ("repo.create-sentinel/exists", bench.create("writer", "acme/sentinel")),
        ("repo.create-sentinel/lock", locked.create("writer", "acme/other")),
        ("repo.create-sentinel/other-dead", bench.create("dead", "acme/sentinel")),
        ("repo.create-sentinel/refused", bench.create("reader", "acme/sentinel")),
        ("repo.delete/not-found", bench.delete("writer", "acme/no-such")),
        ("repo.delete/refused", bench.delete("reader", "acme/private")),
        ("repo.delete/unauthenticated", bench.delete("dead", "acme/private")),
    ]
}

fn reads() -> Asked {
    let bench = Bench::of(HERE);
    let get = |token: &str, path: &str| bench.get(token, &format!("/api/models/{path}"));
    let away = json!({"fromRepo": "acme/canary", "toRepo": "acme/renamed", "type": "model"});
    let hidden = || get("stranger", "acme/private/auth-check");
    let mut asked = vec![
        ("repo.read/hidden", hidden()),
        ("repo.read/disabled", get("writer", "acme/disabled/auth-check")),
        ("repo.read/refused-gated", get("stranger", "acme/gated/auth-check")),
        ("repo.read/refused-gated-scope", get("guest", "acme/gated/auth-check")),
        ("repo.read/refused-not-approved", get("writer", "strict/private/auth-check")),
        ("repo.read/refused-revoked", get("revoked", "acme/private/auth-check")),
        ("repo.read/status-dead", get("dead", "acme/private/auth-check")),
        ("repo.read/status-no-such-page", bench.get("writer", "/api/nowhere")),
        ("repo.write/hidden", get("stranger", "acme/private/auth-check/write")),
        ("repo.write/refused", get("reader", "acme/private/auth-check/write")),
        ("look/not-found", get("stranger", "acme/private")),
        ("absent/not-found", get("writer", "acme/no-such")),
        ("anonymous/refused", get("", "acme/private")),
        ("description/not-found", get("stranger", "acme/canary")),
        ("description/status-barred", get("writer", "strict/private")),
        ("description/status-dead", get("dead", "acme/canary")),
        ("overview/absent", bench.get("writer", "/api/organizations/acme2/overview")),
        ("overview/unclear-dead", bench.get("dead", "/api/organizations/acme/overview")),
        ("commits/untold", Answer::revision_not_found("main")),
    ];
    assert_eq!(bench.ask("admin", "POST", "/api/repos/move", away).status, 200);
    asked.push(("description/moved", get("admin", "acme/canary")));
    asked
}

fn pages() -> Asked {
    let bench = Bench::of(HERE);
    let page = |tail: &str| bench.get("none", &format!("/api/organizations/acme/{tail}"));
    let job =
        |name: &str| bench.ask("writer", "POST", &format!("/api/jobs/{name}/auth-check/write"), Value::Null);
    let check = |path: &str| bench.ask("none", "POST", &format!("/api/{path}"), Value::Null);
    vec![
        ("job.read/refused", check("jobs/acme/auth-check/read")),
        ("job.write/refused", check("jobs/acme/auth-check/write")),
        ("endpoint.read/refused", check("inference-endpoints/acme/auth-check/read")),
        ("endpoint.write/refused", check("inference-endpoints/acme/auth-check/write")),
        ("endpoint.infer/refused", check("inference-endpoints/acme/auth-check/infer")),
        ("org.members/refused", page("members")),
        ("org.repositories/refused", page("settings/repositories")),
        ("org.audit_log/refused", page("audit-log/export")),
        ("org.billing/refused", page("billing/usage")),
        ("org.service_accounts/refused", page("service-accounts")),
        ("org.network_security/refused", page("settings/network-security")),
        ("org.resource_groups/refused", page("resource-groups")),
        ("groups/untold", page("resource-groups")),
        ("tokens/status-refused", page("settings/tokens")),
        ("accounts/status-refused", page("service-accounts")),
        (
            "org.resource_groups/status-no-plan",
            bench.get("writer", "/api/organizations/free/resource-groups"),
        ),
        ("job.write/refused-feature-off", job("off")),
        ("job.write/refused-spent", job("spent")),
        ("job.write/status-billing", job("unpaid")),
        ("user.webhooks/refused", bench.get("none", "/api/settings/webhooks")),
        ("user.billing/refused", bench.get("none", "/api/settings/billing/usage")),
    ]
}

/// The answer to one more request than there may be.
fn once_more(token: &str, path: &str, quota: u64) -> Answer {
    let bench = Bench::of(HERE);
    for _ in 0..quota {
        assert_ne!(bench.get(token, path).status, 429);
    }
    bench.get(token, path)
}

fn limits() -> Asked {
    let bench = Bench::of(HERE);
    vec![
        ("whoami/dead", bench.get("dead", "/api/whoami-v2")),
        ("whoami/dead-expired", bench.get("old", "/api/whoami-v2")),
        ("whoami/status-limited", once_more("writer", "/api/whoami-v2", 60)),
        ("limits/window", once_more("writer", "/api/models/acme/public", 1000)),
        ("limits/window-anonymous", once_more("", "/api/models/acme/public", 500)),
    ]
}

#[test]
fn every_file_that_says_so_is_what_the_simulated_hub_says() {
    let files = files();
    let asked: BTreeMap<&str, Answer> =
        [creations(), reads(), pages(), limits()].into_iter().flatten().collect();
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(names, asked.keys().copied().collect::<Vec<_>>());
    for (name, answer) in asked {
        assert_eq!(of_answer(&answer), of_file(&files[name]), "{name}");
    }
}

#[test]
fn every_text_of_the_simulated_hub_has_its_file() {
    macro_rules! texts {
        ($($name:ident),+ $(,)?) => {
            [$((stringify!($name), answer::$name)),+]
        };
    }
    let constants = texts![
        REPO_GUARD,
        NOT_APPROVED,
        REVOKED,
        FINE_GRAINED_ONLY,
        NEEDS_SSO,
        NEEDS_MFA,
        NEEDS_IP,
        NEEDS_PRO,
        CREATE_LOCK,
        BAD_NAME,
        DISABLED,
        NEEDS_PLAN,
        FEATURE_OFF,
        SPENT,
        NEEDS_PAYMENT,
    ];
    let declared = include_str!("../answer.rs").lines().filter_map(|line| {
        line.strip_prefix("pub(super) const ")?.split_once(": &str").map(|(name, _)| name)
    });
    assert_eq!(declared.collect::<Vec<_>>(), constants.map(|(name, _)| name));
    let said: Vec<String> = files().values().map(|said| of_file(said).text).collect();
    for (name, text) in constants {
        assert!(said.iter().any(|known| known == text), "{name} is in no file that says `simulated: true`");
    }
}

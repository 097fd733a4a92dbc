//! Every judgement as a table: what was seen, how it stands, a word of what is said and of what to do.

use std::io::ErrorKind;
use std::time::Duration;

use super::rows::State;
use super::rows::State::{Fail, Ok as Fine, Warn};
use super::*;
use crate::access::UnknownReason;
use crate::app::exam::{Ground, Kept, Medium, Posted, Stored};
use crate::exchange::{Answer, Request};
use crate::hub::whoami::{Membership, Scope as Entity};
use crate::moment::Timestamp;
use crate::notify::Trouble;
use crate::plan::scopes::{Need, Own};
use crate::probe::{Obstacle, TlsTrouble, Way};
use crate::secret::{Place, SecretFault};
use crate::store::StoreFault;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn config(text: &str) -> Config {
    let whole = format!(
        "{{organizations: [{{name: acme, janitor: ci}}], {text} tokens: [{{name: ci, organization: acme, secret: {{file: /s}}}}]}}"
    );
    parse(Source { name: "x", text: &whole }, &NoDisk).unwrap_or_else(|wrong| panic!("{wrong}")).config
}

/// The row stands so, says this, and whatever is not ok says what to do.
fn holds(row: &Row, state: State, seen: &str, remedy: &str) {
    assert_eq!(row.state, state, "{row:?}");
    assert!(row.seen.contains(seen), "«{seen}» is not in {row:?}");
    assert_eq!(row.remedy.is_some(), state != Fine, "{row:?}");
    let told = row.remedy.as_deref().unwrap_or_default();
    assert!(told.contains(remedy) && (state == Fine || told.len() > 8), "«{remedy}» is not in {row:?}");
    assert!(!row.seen.contains('\n') && !row.seen.ends_with('.'), "{row:?}");
}

fn exchange(outcome: Result<Answer, Failure>) -> Exchange {
    let request: Request = routes::overview("acme", Credential::Anonymous);
    Exchange { request, sent_at: NOW, elapsed: Duration::from_millis(40), outcome }
}

fn said(status: u16, body: &str) -> Exchange {
    let content_type = "application/json".to_owned();
    exchange(Ok(Answer { status, content_type, body: body.to_owned(), ..Answer::default() }))
}

#[test]
fn secrets_where_they_lie() {
    let kept = Kept {
        token: TokenName::new("ci"),
        place: Place::File("/run/secrets/ci".into()),
        fault: None,
        familiar: true,
        mode: Some(0o600),
        twin: None,
    };
    let with = |change: fn(&mut Kept)| {
        let mut kept = kept.clone();
        change(&mut kept);
        tokens::secret(&kept)
    };
    holds(&tokens::secret(&kept), Fine, "mode 0600", "");
    holds(&with(|k| k.mode = Some(0o640)), Fine, "0640", "");
    holds(&with(|k| k.mode = Some(0o644)), Warn, "0644", "chmod o-rwx '/run/secrets/ci'");
    holds(
        &with(|k| k.fault = Some(SecretFault::Missing)),
        Fail,
        "/run/secrets/ci does not exist",
        "create it",
    );
    holds(&with(|k| k.fault = Some(SecretFault::Empty)), Fail, "is empty", "put the token into it");
    holds(&with(|k| k.fault = Some(SecretFault::TooLarge)), Fail, "64 KiB", "the token, and nothing else");
    holds(&with(|k| k.familiar = false), Warn, "does not begin like a token", "not its name");
    holds(
        &with(|k| k.twin = Some(TokenName::new("other"))),
        Warn,
        "same secret as that of 'other'",
        "own secret",
    );
    holds(&with(|k| (k.place, k.mode) = (Place::Env("CI".into()), None)), Fine, "variable CI holds", "");
}

#[test]
fn the_way_to_the_hub() {
    let way = |found, connected| Way { host: "hub:443".into(), proxied: false, found, connected };
    let address = "10.0.0.1:443".parse().expect("an address");
    let good = way(Ok(vec![address]), Some(Ok((address, Duration::from_millis(7)))));
    let rows = hub::way(Some(&good));
    holds(&rows[0], Fine, "hub:443 leads to 10.0.0.1", "");
    holds(&rows[1], Fine, "7 ms", "");
    assert!(hub::passable(Some(&good)) && !hub::passable(None));
    let rows = hub::way(Some(&Way { proxied: true, ..good.clone() }));
    holds(&rows[1], Fine, "the proxy", "");
    holds(&hub::way(Some(&way(Err(Obstacle::NoAddress), None)))[0], Fail, "no address", "resolv.conf");
    for (obstacle, seen, remedy) in [
        (Obstacle::Refused, "refuses", "the port of hub.endpoint"),
        (Obstacle::NoRoute, "no route", "firewall"),
        (Obstacle::Silent, "does not answer", "hub.proxy"),
        (Obstacle::Other, "cannot be connected", "hub.endpoint"),
    ] {
        let way = way(Ok(vec![address]), Some(Err(obstacle)));
        holds(&hub::way(Some(&way))[1], Fail, seen, remedy);
        assert!(!hub::passable(Some(&way)));
    }
    let proxy = Way { proxied: true, ..way(Ok(vec![address]), Some(Err(Obstacle::Refused))) };
    holds(&hub::way(Some(&proxy))[1], Fail, "the proxy hub:443 refuses", "hub.proxy");
    holds(&hub::way(None)[0], Fail, "no host", "https://");
}

#[test]
fn tls_and_the_first_answer() {
    let secure = config("").hub;
    let rows = hub::answer(&secure, &said(200, "{}"), None);
    holds(&rows[0], Fine, "good by the system's roots", "");
    holds(&rows[1], Fine, "answered with 200 in 40 ms", "");
    let own = config("hub: {tls_roots: bundled, ca_files: [/a.pem]},").hub;
    holds(&hub::answer(&own, &said(200, "{}"), None)[0], Fine, "bundled roots and 1 file", "");
    let open = config("hub: {endpoint: 'http://hub.example', allow_insecure: true},").hub;
    holds(&hub::answer(&open, &said(200, "{}"), None)[0], Warn, "in the open", "https://");
    let here = config("hub: {endpoint: 'http://127.0.0.1:1'},").hub;
    holds(&hub::answer(&here, &said(200, "{}"), None)[0], Fine, "within this machine", "");
    for (trouble, remedy) in [
        (TlsTrouble::UnknownIssuer, "hub.ca_files"),
        (TlsTrouble::OtherName, "the name that the certificate is for"),
        (TlsTrouble::Expired, "clock"),
        (TlsTrouble::NotYet, "clock"),
        (TlsTrouble::NotTls, "the port"),
        (TlsTrouble::Broken, "firewall"),
        (TlsTrouble::Revoked, "what listens"),
        (TlsTrouble::Certificate, "what listens"),
    ] {
        let rows = hub::answer(&secure, &exchange(Err(Failure::Unsent)), Some(trouble));
        assert_eq!(rows.len(), 1);
        holds(&rows[0], Fail, &trouble.to_string(), remedy);
    }
    for (outcome, state, seen, remedy) in [
        (said(429, "{}"), Warn, "429", "wait five minutes"),
        (said(503, "{}"), Fail, "503", "later"),
        (said(302, ""), Fail, "leads elsewhere", "redirects are never followed"),
        (said(404, "{}"), Fine, "404", ""),
        (exchange(Err(Failure::Timeout)), Fail, "hub.request_timeout", "between"),
        (exchange(Err(Failure::Lost)), Fail, "broke", "between"),
        (exchange(Err(Failure::Oversized)), Fail, "too long", "hub.endpoint"),
    ] {
        let rows = hub::answer(&secure, &outcome, None);
        holds(&rows[rows.len() - 1], state, seen, remedy);
    }
}

#[test]
fn organizations_under_their_names() {
    let judge = |exchange: &Exchange| hub::organization("acme", exchange);
    holds(&judge(&said(200, r#"{"name":"acme"}"#)), Fine, "exactly this name", "");
    holds(&judge(&said(200, r#"{"name":"Acme"}"#)), Fail, "spells it 'Acme'", "name: 'Acme'");
    holds(&judge(&said(404, r#"{"error":"x"}"#)), Fail, "knows no organization", "hub.endpoint");
    holds(&judge(&said(500, "{}")), Fail, "hub_error", "later");
    holds(&judge(&said(200, "<html>")), Fail, "not clear", "hub above");
}

#[test]
fn clocks_that_differ() {
    let dated = |by: i64| {
        let date = Some(Timestamp((NOW.millis() + 20 + by).div_euclid(1000) * 1000));
        exchange(Ok(Answer { date, ..Answer::default() }))
    };
    // Within its second the Hub's date says nothing.
    for by in [-900, 0, 900] {
        assert!(hub::skew([&dated(by)]).expect("a date").abs() < 1000, "{by}");
    }
    // One old copy is no clock.
    assert!(hub::skew([&dated(-3_600_000), &dated(0)]).expect("a date").abs() < 1000);
    assert!(hub::skew([&dated(7000)]).expect("a date") > 5000);
    assert!(hub::skew([&dated(-7000)]).expect("a date") < -5000);
    assert_eq!(hub::skew([&exchange(Err(Failure::Lost)), &said(200, "")]), None);
    for (skew, state, seen) in [
        (Some(0), Fine, "within 1 s"),
        (Some(-5000), Fine, "within 5 s"),
        (Some(5001), Warn, "5.0 s behind"),
        (Some(-60_000), Warn, "60.0 s ahead of"),
        (Some(60_001), Fail, "nothing is created"),
        (Some(-3_600_000), Fail, "3600.0 s ahead of"),
        (None, Warn, "no answer"),
    ] {
        holds(&hub::clock(skew), state, seen, if state == Fine { "" } else { "clock" });
    }
}

fn declared() -> Declared {
    let acme = Membership {
        name: "acme".into(),
        id: Some("1".into()),
        role: Some("write".into()),
        plan: None,
        restrictions: Vec::new(),
        groups: Vec::new(),
    };
    Declared {
        user: "bob".into(),
        principal: "user".into(),
        role: Some("fineGrained".into()),
        organizations: vec![acme],
        ..Declared::default()
    }
}

fn told(change: impl FnOnce(&mut Declared)) -> Heard {
    let mut declared = declared();
    change(&mut declared);
    Heard::Known(Box::new(declared))
}

#[test]
fn tokens_as_the_hub_knows_them() {
    let config = config("");
    let token = &config.tokens[0];
    let soon = NOW + Duration::from_secs(14 * 86_400);
    let judge = |heard: &Heard| tokens::whoami(token, heard, NOW, soon);
    let until = |by: i64| Some(Timestamp(NOW.millis() + by * 86_400_000).to_string());
    holds(
        &judge(&told(|_| ())),
        Fine,
        "user 'bob', fineGrained without scopes, in acme write, no end date",
        "",
    );
    let scoped = |d: &mut Declared| {
        let permissions = vec!["repo.write".into(), "\u{1b}[31mx".into()];
        d.scopes = vec![Entity { kind: "org".into(), name: None, id: None, permissions }];
        d.expires_at = until(30);
        d.user = "b\u{1b}ob".into();
    };
    let row = judge(&told(scoped));
    holds(&row, Fine, "with 2 permissions, in acme write, until 2027-", "");
    assert!(!row.seen.contains('\u{1b}'));
    holds(&judge(&told(|d| d.expires_at = until(13))), Warn, "ends soon", "issue a new one");
    holds(&judge(&told(|d| d.expires_at = until(-1))), Fail, "it is over", "file /s");
    holds(&judge(&told(|d| d.organizations.clear())), Warn, "shows no place in acme", "right token");
    let barred = |d: &mut Declared| d.organizations[0].restrictions = vec!["sso".into()];
    holds(&judge(&told(barred)), Warn, "acme bars it (sso)", "denied for that");
    holds(&judge(&Heard::Dead), Fail, "does not accept it", "file /s");
    holds(&judge(&Heard::Unclear(UnknownReason::RateLimited)), Warn, "not asked", "--token ci");
    holds(&judge(&Heard::Unclear(UnknownReason::HubError)), Fail, "hub_error", "later");
    let mut pinned = token.clone();
    pinned.declared = Some(crate::config::Pin { user: Some("alice".into()), role: None, scopes: None });
    let swapped = tokens::whoami(&pinned, &told(|d| d.expires_at = until(13)), NOW, soon);
    holds(&swapped, Fail, "of user 'alice'", "the right token");
}

fn need(permission: &'static str, confirmed: bool) -> Need {
    Need { permission, why: "x", confirmed }
}

#[test]
fn what_our_own_tokens_lack() {
    let own = Own {
        token: TokenName::new("janitor"),
        organization: "acme".into(),
        purpose: "janitor",
        needs: vec![
            need("repo.write", true),
            need("org.read", false),
            need("org.serviceAccounts.read", true),
        ],
        role: "write: who may only read deletes nothing",
        link: "https://hub/new".into(),
        known: Some(NOW),
        more: Vec::new(),
        lacks: Vec::new(),
    };
    let judge = |change: &dyn Fn(&mut Own), role: Option<&str>| {
        let mut own = own.clone();
        change(&mut own);
        tokens::own(&own, role)
    };
    holds(&judge(&|_| (), Some("write")), Fine, "has what it needs (repo.write, org.read, ", "");
    holds(&judge(&|_| (), None), Fine, "no more", "");
    let lacks = |lacks: &'static [&'static str]| move |own: &mut Own| own.lacks = lacks.to_vec();
    holds(
        &judge(&lacks(&["repo.write"]), Some("admin")),
        Fail,
        "lacks repo.write on org:acme",
        "https://hub/new",
    );
    holds(&judge(&lacks(&["repo.write", "org.read"]), None), Fail, "repo.write on org:acme, org.read on", "");
    holds(&judge(&lacks(&["org.read"]), None), Warn, "lacks org.read", "https://hub/new");
    let accounts = lacks(&["org.serviceAccounts.read"]);
    holds(&judge(&accounts, Some("admin")), Warn, "service accounts are not listed", "");
    holds(&judge(&|_| (), Some("read")), Fail, "role there is read; needed is write", "the role write");
    holds(&judge(&|_| (), Some("no_access")), Fail, "no_access", "");
    let admin = |own: &mut Own| own.role = "admin: what is private is seen by admins";
    holds(&judge(&admin, Some("write")), Warn, "needed is admin: what is private", "the role admin");
    holds(&judge(&admin, Some("read")), Fail, "there is read; needed is admin", "the role admin");
    let more = |own: &mut Own| own.more = vec!["org:acme: job.write".into()];
    holds(&judge(&more, Some("admin")), Warn, "more than it needs: org:acme: job.write", "worth stealing");
    for (sight, state, seen, remedy) in [
        (Sight::Sees("acme/x".into()), Fine, "such as acme/x", ""),
        (Sight::NotThis("acme/x".into()), Fail, "does not see acme/x", "correct sentinel"),
        (Sight::Nothing, Warn, "no private repository", "sentinel"),
        (Sight::Unclear(UnknownReason::HubError), Fail, "hub_error", "later"),
    ] {
        holds(&tokens::sight("janitor", "acme", &sight), state, seen, remedy);
    }
}

fn ground() -> Ground {
    Ground {
        path: "/x/state.db".into(),
        shared: false,
        held: Ok(false),
        stored: Ok(Some(Stored { unfinished: 0, latched: Vec::new() })),
        written: Some(Ok(())),
        medium: Some(Medium { magic: 0xEF53, free: 1 << 40 }),
        key: Ok(Some(Place::File("/x/state.key".into()))),
    }
}

/// The row of this subject once the ground is changed so.
fn stands(subject: &str, change: &dyn Fn(&mut Ground)) -> Row {
    let mut ground = ground();
    change(&mut ground);
    let rows = super::ground::store(&ground);
    let row = rows.into_iter().find(|row| row.subject == subject);
    row.unwrap_or_else(|| panic!("no row {subject}"))
}

#[test]
fn the_ground_of_the_store() {
    let path = || "/x/state.db".to_owned();
    holds(&stands("journal", &|_| ()), Fine, "nothing in it is unfinished", "");
    holds(&stands("journal", &|g| g.stored = Ok(None)), Fine, "not there yet", "");
    let damaged = |g: &mut Ground| g.stored = Err(StoreFault::NotAStore { path: path() });
    holds(&stands("journal", &damaged), Fail, "is not a store of scopewatch", "another file");
    let open = |g: &mut Ground| g.stored = Ok(Some(Stored { unfinished: 2, latched: Vec::new() }));
    holds(&stands("journal", &open), Warn, "unfinished in it: 2", "canaries list");
    let latched =
        |g: &mut Ground| g.stored = Ok(Some(Stored { unfinished: 0, latched: vec!["acme".into()] }));
    holds(&stands("journal", &latched), Warn, "latched off in acme", "unlatch");
    holds(&stands("writing", &|_| ()), Fine, "durably", "");
    holds(&stands("writing", &|g| (g.held, g.written) = (Ok(true), None)), Fine, "only read", "");
    holds(&stands("writing", &|g| g.written = None), Warn, "in time", "disk");
    for (kind, remedy) in [
        (ErrorKind::NotFound, "create the directory"),
        (ErrorKind::PermissionDenied, "chown"),
        (ErrorKind::ReadOnlyFilesystem, "mount it"),
        (ErrorKind::StorageFull, "free some space"),
        (ErrorKind::Other, "kernel's log"),
    ] {
        holds(
            &stands("writing", &|g| g.written = Some(Err(kind))),
            Fail,
            "/x/state.db cannot be written",
            remedy,
        );
    }
    for (magic, free, state, seen) in [
        (0xEF53, 1 << 40, Fine, "1024 GiB are free"),
        (0xEF53, 255 << 20, Warn, "only 255 MiB"),
        (0xEF53, 15 << 20, Fail, "only 15 MiB"),
        (0x0102_1994, 1 << 40, Warn, "tmpfs"),
        (0x794c_7630, 1 << 40, Warn, "container"),
        (0x6969, 1 << 40, Warn, "nfs"),
        (0xff53_4d42, 1 << 40, Warn, "cifs"),
    ] {
        holds(&stands("disk", &|g| g.medium = Some(Medium { magic, free })), state, seen, "");
    }
    holds(&stands("key", &|g| g.key = Ok(None)), Fine, "first round", "");
    let short = |g: &mut Ground| g.key = Err("the key 'x' is shorter than 32 bytes; restore it".into());
    holds(&stands("key", &short), Fail, "shorter than 32 bytes", "restore it");
}

#[test]
fn who_may_reach_the_port() {
    let of = |keys: &str, web: Result<Vec<String>, String>| {
        let config = config(&format!("server: {{ {keys} }},"));
        ground::server(&config.server, &web)
    };
    let one = |keys: &str| of(keys, Ok(Vec::new())).remove(0);
    holds(&one("listen: 127.0.0.1:1"), State::Ok, "this machine alone", "");
    holds(&one("listen: 0.0.0.0:1"), State::Ok, "metrics and health only", "");
    holds(&one("listen: 0.0.0.0:1, open_page: true"), State::Warn, "open to whoever", "server.web_config");
    holds(&one("listen: 0.0.0.0:1, web_config: /etc/web.yml"), State::Ok, "by the rules of /etc/web.yml", "");
    let broken = of("web_config: /etc/web.yml", Err("key_file: 'x' is not there; correct the path".into()));
    assert_eq!(broken.len(), 1);
    holds(&broken[0], State::Fail, "key_file: 'x' is not there", "correct the path");
    let lines = of("web_config: /etc/web.yml", Err("error: /etc/web.yml:1:1: no\n  | x\n  help: y".into()));
    holds(&lines[0], State::Fail, "/etc/web.yml:1:1: no", "scopewatch check");
    let odd = of("web_config: /etc/web.yml", Ok(vec!["'x' may be read by all; chmod o-rwx it".into()]));
    holds(&odd[1], State::Warn, "may be read by all", "chmod");
}

#[test]
fn sinks_and_leaks() {
    let posted = |posted| super::ground::posted("am", "Alertmanager", posted);
    holds(&posted(Posted::Taken), Fine, "the Alertmanager took a test alert", "");
    holds(&posted(Posted::Stuck), Fail, "in time", "disk");
    holds(
        &posted(Posted::NoSecret(SecretFault::Missing)),
        Fail,
        "its address or its secret does not",
        "create it",
    );
    for (trouble, seen, remedy) in [
        (Trouble::Status(403), "it answered 403", "its own log"),
        (Trouble::NoAnswer, "no answer within 10 s", "runs and can be reached"),
        (Trouble::Address, "its address is none", "correct `url`"),
        (Trouble::Forbidden, "nothing may be sent there", "correct `url`"),
        (Trouble::NoSecret, "lacks its key", "secret"),
        (Trouble::NoReceipt, "not that of such a sink", "really listens"),
    ] {
        holds(&posted(Posted::Refused(Some(trouble))), Fail, seen, remedy);
    }
    holds(&super::ground::unposted("am", None, "--no-alerts"), Fine, "nothing was sent (--no-alerts)", "");
    holds(&super::ground::unposted("am", Some(SecretFault::Empty), ""), Fail, "is empty", "put");
    let rows = super::ground::leaks(3, &["the log", "the metrics"], &[]);
    holds(&rows[0], Fine, "3 secrets, one of them made up", "");
    let rows = super::ground::leaks(3, &["the log"], &[("the log", "'ci'".into())]);
    holds(&rows[0], Fail, "of the secret of 'ci'", "report this");
}

/// Whoever shows the answers of a Hub as they come is found out in every place that shows one.
#[test]
fn every_place_would_show_a_leak() {
    let config = config("expectations: {}, ");
    let metrics = Metrics::new("1", "2");
    let echo = "hf_PLANTEDplantedPLANTEDx";
    let mut token = config.clone();
    let check = crate::access::Check::new(
        TokenName::new("ci"),
        crate::access::Question::new(
            "acme",
            crate::access::Permission::OrgMembers,
            crate::access::Target::Whole,
            crate::access::Expected::Denied,
        ),
    );
    token.tokens[0].checks.push(check);
    let places = specimens::all(&token, echo, &metrics, NOW);
    let named: Vec<&str> =
        places.iter().filter(|(_, text)| text.contains(echo)).map(|(place, _)| *place).collect();
    assert_eq!(named, ["page and API", "alerts", "reports"]);
    for (place, text) in &places {
        assert!(text.len() > 100, "{place} is empty");
    }
}

#[test]
fn the_table_says_what_to_do_and_json_is_stable() {
    let rows = vec![
        Row::ok(Part::Config, "file", "fine"),
        Row::warn(Part::Secrets, "ci", "odd", "do this"),
        Row::fail(Part::Secrets, "janitor", "bad", "do that"),
    ];
    let text =
        anstream::adapter::strip_str(&table::render("acme on x", &rows, "scopewatch audit")).to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            "scopewatch doctor: acme on x",
            "",
            "Config",
            "  ok    file     fine",
            "",
            "Secrets",
            "  warn  ci       odd",
            "                 → do this",
            "  FAIL  janitor  bad",
            "                 → do that",
            "",
            "1 ok, 1 warn, 1 FAIL",
            "Mend what says FAIL, from the top: the first is often the cause of the others.",
        ]
    );
    let json = as_json(&config(""), Path::new("x.yaml"), &rows).expect("json");
    let read: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(read["schema"], 1);
    assert_eq!(read["summary"], json!({ "ok": 1, "warn": 1, "fail": 1 }));
    assert_eq!(
        read["items"][1],
        json!({ "part": "secrets", "subject": "ci", "state": "warn", "seen": "odd", "remedy": "do this" })
    );
    assert_eq!(serde_json::to_value(Part::OwnTokens).expect("a word"), "own_tokens");
}

//! What is exposed, against the catalogue and against the words of the contract.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::access::{CheckKey, Expected, Severity, TokenName};
use crate::report::{CheckView, OrganizationView, SinkView, TokenView};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn key(token: &str) -> CheckKey {
    CheckKey::new("acme", TokenName::new(token), Permission::RepoCreate, "dataset@group")
}

fn check(token: &str) -> CheckView {
    CheckView {
        key: key(token),
        expected: Expected::Denied,
        allowed: Some(true),
        undetermined: Some(false),
        drift: true,
        last_conclusive: Some(Timestamp(1_799_999_999_500)),
        prediction_mismatch: Some(true),
    }
}

fn token(name: &str) -> TokenView {
    TokenView {
        organization: "acme".into(),
        token: TokenName::new(name),
        owner: "ml-platform".into(),
        severity: Severity::Critical,
        usable: Some(true),
        declared_drift: Some(false),
        expires_at: Some(NOW + Duration::from_secs(86_400)),
        unchecked_permissions: Some(3),
    }
}

fn organization() -> OrganizationView {
    OrganizationView {
        name: "acme".into(),
        quota_remaining: Some(0.25),
        unfinished: 1,
        oldest_unfinished: Some(NOW - Duration::from_secs(90)),
        inventory: None,
    }
}

/// A snapshot in which everything is known.
fn full() -> Snapshot {
    Snapshot {
        at: NOW,
        checks: vec![Arc::from([check("ci")])],
        tokens: vec![token("ci")],
        organizations: vec![organization()],
        sweeps: vec![],
        sinks: vec![SinkView { name: "am".into(), pending: 2, oldest: Some(NOW - Duration::from_secs(5)) }],
        hub_reachable: Some(true),
        last_round: Some(NOW),
        ..Snapshot::default()
    }
}

/// Metrics on which everything has happened once.
fn busy() -> Metrics {
    let metrics = Metrics::new("1.2.3", "abc");
    metrics.set_organizations(&["acme"]);
    metrics.set_sinks(&["am"]);
    metrics.observe_probe(Permission::RepoCreate, Duration::from_millis(30));
    metrics.count_request("POST /api/repos/create", Ok(200), Duration::from_millis(12));
    metrics.observe_round(Duration::from_secs(2), NOW);
    metrics.config_reloaded(true, NOW);
    metrics.web_config_reloaded(Some(true));
    metrics.leads(true);
    metrics.waiting(2, 1);
    metrics.durable("local");
    for check in Hardening::ALL {
        metrics.hardened(*check, true);
    }
    metrics.evidence_stands(3, &"3".repeat(64));
    metrics
}

fn rendered(metrics: &Metrics, snapshot: Snapshot) -> String {
    metrics.page(|| Arc::new(snapshot), NOW).whole()
}

/// A snapshot with so many checks, ten a token.
pub(crate) fn many(checks: usize) -> Snapshot {
    let name = |number: usize| format!("token-{number:05}");
    Snapshot {
        checks: (0..checks.div_ceil(10))
            .map(|token| {
                let own = (token * 10..checks.min(token * 10 + 10)).map(|number| {
                    let (name, target) = (name(token), format!("acme/some-model-{}", number % 10));
                    CheckView {
                        key: CheckKey::new("acme", TokenName::new(&name), Permission::RepoRead, target),
                        ..check(&name)
                    }
                });
                own.collect()
            })
            .collect(),
        tokens: (0..checks.div_ceil(10)).map(|number| token(&name(number))).collect(),
        ..full()
    }
}

/// An exposition in which every metric is there.
pub(crate) fn example() -> String {
    rendered(&busy(), full())
}

/// Reads an exposition: family → (type, label names), and checks the grammar on the way.
fn families(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut all: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut series = BTreeSet::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(help.len() > 10 && help.ends_with('.'), "{line}");
            assert!(helped.insert(name.to_owned()), "{name} has two heads");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert!(helped.contains(name), "{name} has no HELP");
            all.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(series.insert(name.to_owned()), "{name} stands twice");
            let (name, labels) = name.split_once('{').unwrap_or((name, ""));
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|end| name.strip_suffix(end))
                .find(|base| all.contains_key(*base))
                .unwrap_or(name);
            let known = &mut all.get_mut(family).unwrap_or_else(|| panic!("{family} has no TYPE")).1;
            for label in labels.trim_end_matches('}').split("\",").filter(|l| !l.is_empty()) {
                let (label, _) = label.split_once('=').expect("a label");
                if label != "le" {
                    known.insert(label.to_owned());
                }
            }
        }
    }
    all
}

#[test]
fn what_is_exposed_is_what_the_catalogue_lists() {
    let exposed = families(&example());
    let mut listed = BTreeMap::new();
    let mut later = BTreeSet::new();
    for line in include_str!("../../tests/metrics.catalogue").lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (entry, note) = line.split_once("later:").unwrap_or((line, ""));
        let mut words = entry.split_whitespace();
        let (name, kind, labels) = (words.next(), words.next(), words.next());
        let (name, kind, labels) = (name.expect("name"), kind.expect("type"), labels.expect("labels"));
        let labels: BTreeSet<String> = labels.split(',').filter(|l| *l != "-").map(str::to_owned).collect();
        assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
        if note.is_empty() {
            assert!(listed.insert(name.to_owned(), (kind.to_owned(), labels)).is_none(), "{name} twice");
        } else {
            later.insert(name.to_owned());
        }
    }
    assert_eq!(exposed, listed);
    let done: Vec<_> = later.iter().filter(|name| exposed.contains_key(*name)).collect();
    assert!(done.is_empty(), "{done:?} are exposed; they are no longer for later");
    assert_eq!(
        listed.len() + later.len(),
        45,
        "the contract's metrics, the web config's, hardening, journal durability and seven process_ ones"
    );
}

#[test]
fn each_value_stands_under_the_labels_of_the_contract() {
    let text = rendered(&busy(), full());
    let check = r#"{organization="acme",token="ci",permission="repo.create",target="dataset@group""#;
    let token = r#"{organization="acme",token="ci""#;
    for (name, rest) in [
        ("scopewatch_check_expected_allowed", "} 0"),
        ("scopewatch_check_allowed", "} 1"),
        ("scopewatch_check_undetermined", "} 0"),
        ("scopewatch_check_drift", ",kind=\"unexpected_grant\"} 1"),
        ("scopewatch_check_last_conclusive_timestamp_seconds", "} 1799999999.5"),
        ("scopewatch_prediction_mismatch", "} 1"),
    ] {
        assert!(text.contains(&format!("\n{name}{check}{rest}\n")), "{name}");
    }
    for (name, rest) in [
        ("scopewatch_token_info", ",token_owner=\"ml-platform\",severity=\"critical\"} 1"),
        ("scopewatch_token_usable", "} 1"),
        ("scopewatch_token_declared_drift", "} 0"),
        ("scopewatch_token_expiry_timestamp_seconds", "} 1800086400"),
        ("scopewatch_token_unchecked_permissions", "} 3"),
    ] {
        assert!(text.contains(&format!("\n{name}{token}{rest}\n")), "{name}");
    }
    for line in [
        r#"scopewatch_hub_quota_remaining_ratio{organization="acme"} 0.25"#,
        r#"scopewatch_canaries_unfinished{organization="acme"} 1"#,
        r#"scopewatch_canary_oldest_unfinished_age_seconds{organization="acme"} 90"#,
        "scopewatch_hub_reachable 1",
        "scopewatch_round_last_completed_timestamp_seconds 1800000000",
        "scopewatch_config_last_reload_successful 1",
        "scopewatch_config_last_reload_success_timestamp_seconds 1800000000",
        r#"scopewatch_build_info{revision="abc",version="1.2.3"} 1"#,
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}");
    }
}

#[test]
fn the_kind_of_a_drift_follows_from_what_is_expected() {
    let mut snapshot = full();
    Arc::make_mut(&mut snapshot.checks[0])[0].expected = Expected::Allowed;
    let text = rendered(&busy(), snapshot);
    assert!(text.contains("kind=\"unexpected_denial\"} 1\n"));
    assert!(!text.contains("kind=\"unexpected_grant\""));
}

#[test]
fn what_is_not_known_is_absent() {
    let metrics = Metrics::new("1", "unknown");
    let mut snapshot = full();
    Arc::make_mut(&mut snapshot.checks[0])[0] = CheckView {
        key: key("ci"),
        expected: Expected::Denied,
        allowed: None,
        undetermined: None,
        drift: false,
        last_conclusive: None,
        prediction_mismatch: None,
    };
    snapshot.tokens[0] = TokenView {
        usable: None,
        declared_drift: None,
        expires_at: None,
        unchecked_permissions: None,
        ..token("ci")
    };
    snapshot.organizations[0] = OrganizationView {
        name: "acme".into(),
        quota_remaining: None,
        unfinished: 0,
        oldest_unfinished: None,
        inventory: None,
    };
    (snapshot.hub_reachable, snapshot.last_round) = (None, None);
    let text = rendered(&metrics, snapshot);
    let there = families(&text);
    for absent in [
        "scopewatch_check_allowed",
        "scopewatch_check_undetermined",
        "scopewatch_check_last_conclusive_timestamp_seconds",
        "scopewatch_prediction_mismatch",
        "scopewatch_token_usable",
        "scopewatch_token_declared_drift",
        "scopewatch_token_expiry_timestamp_seconds",
        "scopewatch_token_unchecked_permissions",
        "scopewatch_hub_quota_remaining_ratio",
        "scopewatch_hub_reachable",
        "scopewatch_round_last_completed_timestamp_seconds",
        "scopewatch_config_last_reload_successful",
        "scopewatch_config_last_reload_success_timestamp_seconds",
        "scopewatch_web_config_last_reload_successful",
    ] {
        assert!(!there.contains_key(absent), "{absent}");
    }
    for present in ["scopewatch_check_expected_allowed", "scopewatch_check_drift", "scopewatch_token_info"] {
        assert!(there.contains_key(present), "{present}");
    }
    assert!(text.contains("scopewatch_canary_oldest_unfinished_age_seconds{organization=\"acme\"} 0\n"));
}

#[test]
fn closed_counters_are_there_at_zero() {
    let metrics = Metrics::new("1", "unknown");
    metrics.set_organizations(&["acme", "beta"]);
    metrics.set_routes(&["GET /api/whoami-v2"]);
    let text = rendered(&metrics, Snapshot::default());
    let zeros = |name: &str| {
        text.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.ends_with("} 0")).count()
    };
    let reasons = 1 + DenyReason::ALL.len() + UnknownReason::ALL.len();
    assert_eq!(zeros("scopewatch_probes_total"), Permission::ALL.len() * reasons);
    assert_eq!(zeros("scopewatch_canaries_total"), 2 * 4);
    assert_eq!(zeros("scopewatch_store_errors_total"), 3);
    assert_eq!(zeros("scopewatch_hub_requests_total"), 1);
    assert!(text.contains("\nscopewatch_rounds_skipped_total 0\n"));
    assert!(text.contains(r#"{access="allowed",permission="repo.create",reason=""} 0"#));

    metrics.set_organizations(&["beta"]);
    metrics.count_canary("beta", CanaryEvent::Foreign);
    let text = rendered(&metrics, Snapshot::default());
    assert!(!text.contains("acme"));
    assert!(text.contains("scopewatch_canaries_total{event=\"foreign\",organization=\"beta\"} 1\n"));
}

#[test]
fn counters_count_under_the_right_words() {
    let metrics = Metrics::new("1", "unknown");
    metrics.count_probe(Permission::RepoWrite, Access::Denied(DenyReason::Sso));
    metrics.count_probe(Permission::RepoWrite, Access::Undetermined(UnknownReason::Timeout));
    let route = "GET /api/models/{repo}";
    for outcome in [Ok(101), Ok(204), Ok(302), Ok(403), Ok(429), Ok(503), Ok(999), Err("lost")] {
        metrics.count_request(route, outcome, Duration::from_millis(1));
    }
    metrics.count_skipped_round();
    metrics.count_store_error("write");
    metrics.config_reloaded(true, NOW);
    metrics.config_reloaded(false, NOW + Duration::from_secs(9));
    metrics.web_config_reloaded(Some(true));
    metrics.web_config_reloaded(Some(false));
    let text = rendered(&metrics, Snapshot::default());
    for code in ["1xx", "2xx", "3xx", "403", "429", "5xx", "other", "lost"] {
        let line = format!("scopewatch_hub_requests_total{{code=\"{code}\",endpoint=\"{route}\"}} 1\n");
        assert!(text.contains(&line), "{code}");
    }
    for line in [
        r#"scopewatch_probes_total{access="denied",permission="repo.write",reason="sso"} 1"#,
        r#"scopewatch_probes_total{access="undetermined",permission="repo.write",reason="timeout"} 1"#,
        "scopewatch_rounds_skipped_total 1",
        r#"scopewatch_store_errors_total{operation="write"} 1"#,
        "scopewatch_config_last_reload_successful 0",
        "scopewatch_config_last_reload_success_timestamp_seconds 1800000000",
        "scopewatch_web_config_last_reload_successful 0",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}");
    }
    metrics.web_config_reloaded(None);
    assert!(
        !rendered(&metrics, Snapshot::default()).contains("scopewatch_web_config"),
        "there is none any more"
    );
}

#[test]
fn label_values_are_escaped_and_cut_and_stay_different() {
    let mut snapshot = full();
    Arc::make_mut(&mut snapshot.checks[0])[0].key =
        CheckKey::new("acme", TokenName::new("ci"), Permission::RepoCreate, "a\\b\"c\nd{}=,ä");
    let text = rendered(&busy(), snapshot.clone());
    assert!(text.contains(r#"target="a\\b\"c\nd{}=,ä"} 0"#));

    let long = "ö".repeat(250);
    snapshot.checks = vec![Arc::from([check(&format!("{long}1"))]), Arc::from([check(&format!("{long}2"))])];
    let text = rendered(&busy(), snapshot);
    families(&text);
    let names: BTreeSet<&str> = text
        .lines()
        .filter(|line| line.starts_with("scopewatch_check_allowed"))
        .filter_map(|line| line.split("token=\"").nth(1)?.split('"').next())
        .collect();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|name| name.chars().count() == 200));
    assert_eq!(format::cut(&"ö".repeat(200)).chars().count(), 200);
    assert!(matches!(format::cut(&"ö".repeat(200)), std::borrow::Cow::Borrowed(_)));
}

#[test]
fn removed_tokens_leave_and_ages_go_on() {
    let metrics = busy();
    let first = Snapshot {
        checks: vec![Arc::from([check("ci")]), Arc::from([check("old")])],
        tokens: vec![token("ci"), token("old")],
        ..full()
    };
    let first = Arc::new(first);
    assert!(metrics.page(|| first.clone(), NOW).whole().contains("token=\"old\""));
    let later = metrics.page(|| first.clone(), NOW + Duration::from_secs(10)).whole();
    assert!(later.contains("scopewatch_canary_oldest_unfinished_age_seconds{organization=\"acme\"} 100\n"));
    let text = rendered(&metrics, full());
    assert!(!text.contains("token=\"old\""));
    assert!(text.contains("token=\"ci\""));
}

#[test]
fn a_round_that_is_counted_has_its_results_in_the_same_page() {
    let metrics = busy();
    let page = metrics.page(
        || {
            // Between the counters and the snapshot: counted in the next page, shown in this one.
            metrics.count_skipped_round();
            Arc::new(full())
        },
        NOW,
    );
    assert!(page.whole().contains("scopewatch_rounds_skipped_total 0\n"));
}

#[test]
fn moments_are_written_as_the_shortest_decimal_of_their_seconds() {
    for millis in
        [0, 1, 10, 100, 999, 1000, 1_799_999_999_500, 1_799_999_999_050, 1_799_999_999_007, -1, -1500]
    {
        let mut snapshot = full();
        Arc::make_mut(&mut snapshot.checks[0])[0].last_conclusive = Some(Timestamp(millis));
        let text = rendered(&busy(), snapshot);
        let line =
            text.lines().find(|l| l.starts_with("scopewatch_check_last_conclusive_timestamp_seconds{"));
        let value = line.and_then(|line| line.rsplit_once(' ')).expect("it is there").1;
        assert_eq!(value, format!("{}", Timestamp(millis).seconds()), "{millis}");
    }
}

#[test]
fn cached_results_say_so_in_their_help() {
    let text = rendered(&busy(), full());
    for name in ["scopewatch_check_allowed", "scopewatch_token_usable", "scopewatch_canaries_unfinished"] {
        let help = text.lines().find(|line| line.starts_with(&format!("# HELP {name} "))).expect("there");
        assert!(help.ends_with("From the daemon's own schedule, not from the scrape."), "{help}");
    }
}

#[test]
fn only_the_present_head_of_the_record_is_shown_and_its_entries_are_never_fewer() {
    let metrics = Metrics::new("1", "a");
    let fresh = rendered(&metrics, full());
    assert!(fresh.contains("scopewatch_evidence_records_total 0\n"));
    assert!(!fresh.contains("scopewatch_evidence_head_info"));
    let (old, new) = ("a1".repeat(32), "b2".repeat(32));
    metrics.evidence_stands(7, &old);
    assert!(rendered(&metrics, full()).contains("scopewatch_evidence_records_total 7\n"));
    metrics.evidence_stands(9, &new);
    let text = rendered(&metrics, full());
    assert!(text.contains("scopewatch_evidence_records_total 9\n"));
    assert!(text.contains(&format!("\nscopewatch_evidence_head_info{{head=\"{new}\"}} 1\n")));
    assert!(!text.contains(&old));
    metrics.evidence_stands(9, &new);
    assert_eq!(rendered(&metrics, full()).matches("scopewatch_evidence_records_total 9\n").count(), 1);
}

#[test]
fn two_daemons_in_one_process_do_not_meet() {
    let (one, two) = (Metrics::new("1", "a"), Metrics::new("1", "b"));
    one.count_skipped_round();
    assert!(rendered(&one, full()).contains("scopewatch_rounds_skipped_total 1\n"));
    assert!(rendered(&two, full()).contains("scopewatch_rounds_skipped_total 0\n"));
}

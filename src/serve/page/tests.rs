//! Goal: the page says first what matters most, shows every check with what is known of it and how old that is, and
//! lets nothing of what a stranger may have named become markup. Method: tables, and names that attack.

use std::sync::Arc;
use std::time::Duration;

use super::findings::{changes, groups};
use super::look::{age, banner, counts, matrix, next, one};
use super::*;
use crate::access::{Access, CheckKey, DenyReason, Expected, Permission, Severity, TokenName, Verdict};
use crate::report::{
    CanarySummary, CheckResult, CheckView, Detailed, Evidence, Finding, FindingKind, OrganizationView,
    Report, RoundPoint, Summary, TokenView,
};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn token(name: &str, owner: &str) -> TokenView {
    TokenView {
        organization: "acme".into(),
        token: TokenName::new(name),
        owner: owner.into(),
        severity: Severity::Critical,
        usable: Some(true),
        declared_drift: None,
        expires_at: None,
        unchecked_permissions: None,
    }
}

fn check(name: &str, target: &str, allowed: Option<bool>, undetermined: Option<bool>) -> CheckView {
    CheckView {
        key: CheckKey::new("acme", TokenName::new(name), Permission::RepoWrite, target),
        expected: Expected::Denied,
        allowed,
        undetermined,
        drift: allowed == Some(true),
        last_conclusive: allowed.map(|_| NOW - Duration::from_secs(7200)),
        prediction_mismatch: None,
    }
}

fn finding(kind: FindingKind, name: &str, resolved_at: Option<Timestamp>) -> Finding {
    Finding {
        kind,
        organization: "acme".into(),
        token: Some(TokenName::new(name)),
        permission: Some(Permission::RepoWrite),
        target: Some("acme/m".into()),
        severity: Severity::Critical,
        since: NOW - Duration::from_secs(600),
        last_seen: NOW,
        resolved_at,
        detail: format!("'{name}' can write"),
    }
}

fn result(name: &str) -> CheckResult {
    CheckResult::from(Detailed {
        key: CheckKey::new("acme", TokenName::new(name), Permission::RepoWrite, "acme/m"),
        expected: Expected::Denied,
        verdict: Verdict::Ok,
        declared: true,
        predicted: Some("denied"),
        observed_at: NOW,
        duration: Duration::from_millis(3),
        evidence: vec![Evidence {
            method: "GET",
            path: format!("/api/models/acme/{name}/auth-check/write"),
            status: Some(403),
            request_id: Some("id-1".into()),
            failure: None,
        }],
        canary: None,
        explanation: "as it should be".into(),
        found: Access::Denied(DenyReason::Scope),
    })
}

fn report(summary: Summary, results: Vec<CheckResult>) -> Option<Arc<Report>> {
    let canaries = CanarySummary::default();
    Some(Arc::new(Report {
        schema: 1,
        started_at: NOW,
        finished_at: NOW,
        summary,
        results: results.into_iter().map(Arc::new).collect(),
        canaries,
    }))
}

#[test]
fn the_sentence_on_top_says_what_matters_most() {
    let calm = Summary { checks: 3, ok: 3, ..Summary::default() };
    let unsure = Summary { checks: 3, ok: 1, unknown: 2, ..Summary::default() };
    let accepted =
        Summary { checks: 3, ok: 1, unexpected_grant: 1, unexpected_denial: 1, ..Summary::default() };
    let both = Summary { unknown: 1, ok: 0, ..accepted };
    let told = |report, kinds: &[FindingKind]| {
        let findings = kinds.iter().map(|kind| finding(*kind, "ci", None)).collect();
        let shown = banner(&Snapshot { report, findings, ..Snapshot::default() }, NOW);
        (shown.class, shown.title)
    };
    let (grant, out, other) =
        (FindingKind::UnexpectedGrant, FindingKind::HubUnreachable, FindingKind::Rotated);
    for (report, kinds, class, title) in [
        (None, &[][..], "unsure", "Nothing is known yet"),
        (None, &[grant], "bad", "1 unexpected grant"),
        (report(unsure, vec![]), &[other, out, grant, grant], "bad", "2 unexpected grants"),
        (report(unsure, vec![]), &[other, out], "unsure", "The Hub does not answer"),
        (report(unsure, vec![]), &[other], "warn", "1 finding, none of them a grant"),
        (report(unsure, vec![]), &[], "unsure", "2 checks are unknown"),
        (report(calm, vec![]), &[], "good", "All as expected"),
        (report(accepted, vec![]), &[], "unsure", "No finding, and not all as expected"),
        (report(both, vec![]), &[], "unsure", "1 check is unknown"),
    ] {
        assert_eq!(told(report, kinds), (class, title.to_owned()), "{kinds:?}");
    }
    let over = Snapshot {
        report: report(calm, vec![]),
        findings: vec![finding(grant, "ci", Some(NOW))],
        ..Snapshot::default()
    };
    assert_eq!(banner(&over, NOW).class, "good", "what is over no longer alarms");
}

#[test]
fn a_grant_is_told_with_whose_it_is_and_since_when() {
    let grant = |name: &str, seconds| Finding {
        since: NOW - Duration::from_secs(seconds),
        ..finding(FindingKind::UnexpectedGrant, name, None)
    };
    let told = |findings: Vec<Finding>| banner(&Snapshot { findings, ..Snapshot::default() }, NOW).text;
    let since = "can do what must be denied, since 2027-01-15 07:58:20 UTC (100 s ago).";
    let since = since.replace("100 s", "1 min");
    assert_eq!(told(vec![grant("a", 100), grant("a", 30)]), format!("a {since}"));
    let five = ["a", "b", "c", "d", "e"].map(|name| grant(name, 100)).to_vec();
    assert_eq!(told(five), format!("a, b, c and 2 more {since}"));
    let snapshot = |next_round| Snapshot { next_round, ..Snapshot::default() };
    assert_eq!(next(&snapshot(Some(NOW + Duration::from_millis(900))), NOW), "now");
    assert_eq!(next(&snapshot(Some(NOW + Duration::from_secs(1))), NOW), "in 1 s");
}

#[test]
fn findings_of_one_token_stand_together_a_grant_first() {
    let whole =
        Finding { token: None, permission: None, target: None, ..finding(FindingKind::Blind, "", None) };
    let snapshot = Snapshot {
        tokens: vec![token("b", "ml-platform")],
        findings: vec![
            whole,
            finding(FindingKind::LatentGrant, "a", None),
            finding(FindingKind::Rotated, "b", None),
            finding(FindingKind::UnexpectedGrant, "b", None),
            finding(FindingKind::UnexpectedGrant, "a", Some(NOW)),
        ],
        ..Snapshot::default()
    };
    let (shown, more) = groups(&snapshot, NOW);
    let told: Vec<_> = shown.iter().map(|one| (one.name, one.owner, one.class, one.rows.len())).collect();
    assert_eq!(told, [("b", "ml-platform", "bad", 2), ("acme", "", "warn", 1), ("a", "", "warn", 1)]);
    assert_eq!((more, shown[0].rows[0].what.as_str()), (0, "repo.write on acme/m"));
    assert_eq!(shown[1].rows[0].what, "");
    let findings = (0..103).map(|n| finding(FindingKind::Rotated, &format!("t-{n}"), None)).collect();
    let snapshot = Snapshot { findings, ..Snapshot::default() };
    let (shown, more) = groups(&snapshot, NOW);
    assert_eq!((shown.len(), more), (100, 3));
}

#[test]
fn every_check_is_counted_once_by_how_it_stands() {
    let told: Vec<(&str, usize)> = counts(&many()).iter().map(|one| (one.word, one.count)).collect();
    assert_eq!(told, [("unexpected grant", 1), ("unknown", 2), ("as expected", 117)]);
    assert!(counts(&Snapshot::default()).is_empty());
}

#[test]
fn what_cannot_be_seen_is_written_out_and_a_form_sends_it_back_as_it_is() {
    let name = "a\u{202e}b\u{200b}<i>";
    let snapshot = Snapshot {
        checks: vec![Arc::from([check(name, "\u{feff}\u{0}ä\u{202e}", None, None)])],
        tokens: vec![token(name, "\u{200d}")],
        ..Snapshot::default()
    };
    let page = front(
        &snapshot,
        &format!("token={}", url::form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>()),
        NOW,
    );
    let page = page.expect("it is written");
    assert!(page.contains(">a[U+202E]b[U+200B]&#60;i&#62;</bdi>"));
    assert!(page.contains(">[U+FEFF][U+0000]ä[U+202E]</bdi>"));
    assert!(page.contains("<option value=\"\u{200d}\">[U+200D]</option>"));
    assert!(page.contains("value=\"a\u{202e}b\u{200b}&#60;i&#62;\""));
}

fn many() -> Snapshot {
    let names: Vec<String> = (0..120).map(|n| format!("t-{n:03}")).collect();
    let mut checks: Vec<CheckView> =
        names.iter().map(|name| check(name, "acme/m", Some(false), Some(false))).collect();
    checks[70] = check(&names[70], "acme/m", Some(true), Some(false));
    checks[80] = check(&names[80], "acme/m", Some(false), Some(true));
    checks[90] = check(&names[90], "acme/m", None, None);
    let owner = |n: usize| if n.is_multiple_of(2) { "even" } else { "odd" };
    let tokens = names.iter().enumerate().map(|(n, name)| token(name, owner(n))).collect();
    Snapshot {
        checks: checks.into_iter().map(|check| Arc::from([check])).collect(),
        tokens,
        ..Snapshot::default()
    }
}

#[test]
fn the_matrix_shows_the_worst_first_by_pages_and_by_what_is_asked_for() {
    let snapshot = many();
    let of = |query: &str| matrix(&snapshot, &Filter::of(query), NOW);
    let all = of("");
    assert_eq!((all.shown, all.all, all.page, all.pages), (120, 120, 1, 3));
    let first: Vec<(&str, &str)> =
        all.rows[..4].iter().map(|row| (row.token, row.cells[0][0].word)).collect();
    let expected = [
        ("t-070", "allowed"),
        ("t-080", "unknown, last denied"),
        ("t-090", "not asked yet"),
        ("t-000", "denied"),
    ];
    assert_eq!(first, expected);
    assert_eq!((all.rows.len(), all.before, all.after.as_deref()), (50, None, Some("/?page=2#matrix")));
    let last = of("owner=even&page=99");
    assert_eq!((last.shown, last.page, last.pages, last.after), (60, 2, 2, None));
    assert_eq!(last.before.as_deref(), Some("/?owner=even&page=1#matrix"));
    for (query, shown) in [
        ("token=t-07", 10),
        ("verdict=grant", 1),
        ("verdict=unknown", 2),
        ("organization=other", 0),
        ("page=x&odd", 120),
    ] {
        assert_eq!(of(query).shown, shown, "{query}");
    }
    let chip = &all.rows[0].cells[0][0];
    assert_eq!((chip.class, chip.expected, chip.age.as_str()), ("grant", "denied", "2 h ago"));
}

#[test]
fn what_is_asked_for_is_repeated_only_if_it_is_part_of_a_name() {
    let snapshot = many();
    let page = |query: &str| front(&snapshot, query, NOW).expect("it is written");
    assert!(page("token=t-07").contains("value=\"t-07\""));
    for key in ["token", "owner", "organization", "verdict", "page", "other"] {
        assert!(!page(&format!("{key}=hf_pasted")).contains("hf_pasted"), "{key}");
    }
}

#[test]
fn a_check_is_called_what_it_is() {
    use Expected::{Allowed, Denied};
    for (expected, allowed, undetermined, drift, class, word) in [
        (Denied, None, None, false, "unknown", "not asked yet"),
        (Denied, None, Some(true), false, "unknown", "unknown"),
        (Denied, Some(false), Some(false), false, "ok", "denied"),
        (Denied, Some(true), Some(false), true, "grant", "allowed"),
        (Denied, Some(true), Some(true), true, "grant", "allowed, now unknown"),
        (Denied, Some(true), Some(false), false, "accepted", "allowed, accepted for a while"),
        (Denied, Some(false), Some(true), false, "unknown", "unknown, last denied"),
        (Allowed, Some(true), Some(false), false, "ok", "allowed"),
        (Allowed, Some(true), Some(true), false, "unknown", "unknown, last allowed"),
        (Allowed, Some(false), Some(false), true, "denial", "denied"),
        (Allowed, Some(false), Some(true), true, "denial", "denied, now unknown"),
        (Allowed, Some(false), Some(false), false, "denial", "denied, accepted or not confirmed yet"),
    ] {
        let view = CheckView { expected, drift, ..check("ci", "acme/m", allowed, undetermined) };
        let snapshot = Snapshot {
            checks: vec![Arc::from([view])],
            tokens: vec![token("ci", "")],
            ..Snapshot::default()
        };
        let shown = matrix(&snapshot, &Filter::of(""), NOW);
        let chip = &shown.rows[0].cells[0][0];
        assert_eq!((chip.class, chip.word), (class, word), "{expected} {allowed:?} {undetermined:?} {drift}");
    }
}

#[test]
fn a_finding_and_a_check_have_pages_of_their_own() {
    let snapshot = Snapshot {
        report: report(Summary::default(), vec![result("ci"), result("other")]),
        findings: vec![finding(FindingKind::UnexpectedGrant, "ci", None)],
        explained: Arc::new([(result("ci").key(), Arc::from("because"))].into()),
        ..Snapshot::default()
    };
    let page = one(&snapshot, &snapshot.findings[0].key().id(), NOW).expect("a page");
    assert_eq!((page.class, &*page.detail, page.evidence.len()), ("bad", "'ci' can write", 1));
    assert_eq!(page.explained, Some("because"));
    let known = ("predicted", "denied".to_owned());
    assert!(
        page.facts.contains(&known) && page.facts.contains(&("observed", "denied (scope), 0 s ago".into()))
    );
    let page = one(&snapshot, &result("other").id(), NOW).expect("a page");
    assert_eq!((page.class, &*page.detail, page.explained), ("good", "as it should be", None));
    assert!(one(&snapshot, "0000000000000000", NOW).is_none());
}

#[test]
fn changes_are_told_latest_first() {
    let ended = Some(NOW - Duration::from_secs(60));
    let findings = vec![
        finding(FindingKind::UnexpectedGrant, "a", ended),
        Finding { since: NOW, ..finding(FindingKind::Rotated, "b", None) },
    ];
    let snapshot = Snapshot { findings, ..Snapshot::default() };
    let told: Vec<(&str, &str)> =
        changes(&snapshot, NOW).iter().map(|change| (change.class, change.word)).collect();
    assert_eq!(told, [("warn", "began"), ("good", "ended"), ("bad", "began")]);
    assert_eq!(age(NOW + Duration::from_secs(120), NOW), "in 2 min");
}

#[test]
fn no_name_becomes_markup() {
    let tags = ["<script>", "<img src=x onerror=", "<svg/onload=", "</title><script>", "<a href=javascript:"];
    let quotes = ["\"", "'", "\" onmouseover=", "' style=", "`"];
    let ends = [
        ">",
        "/>",
        "<!--",
        "]]>",
        "&lt;",
        "\u{202e}",
        "\0",
        "{{ 7*7 }}",
        "{% raw %}",
        "<style>",
        "%3Cscript%3E",
        "\n\n",
    ];
    let mut names = Vec::new();
    for tag in tags {
        for quote in quotes {
            for end in ends {
                names.extend([format!("{tag}{quote}alert(1){end}"), format!("{quote}{end}{tag}")]);
            }
        }
    }
    assert!(names.len() >= 500);
    for name in names {
        let snapshot = Snapshot {
            report: report(Summary::default(), vec![result(&name)]),
            checks: vec![Arc::from([check(&name, &name, Some(true), Some(false))])],
            tokens: vec![token(&name, &name)],
            organizations: ["acme", name.as_str()].map(organization).to_vec(),
            findings: vec![finding(FindingKind::UnexpectedGrant, &name, None)],
            history: Arc::from([point(), point()]),
            explained: Arc::new([(result(&name).key(), Arc::from(name.as_str()))].into()),
            ..Snapshot::default()
        };
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("token", &name).finish();
        let id = snapshot.findings[0].key().id();
        let pages = [front(&snapshot, &query, NOW), one_page(&snapshot, &id)];
        for page in pages.map(|page| page.expect("it is written")) {
            let harmless = page.replace("<a href=\"", "");
            for markup in ["<script", "<img", "<svg/", "<a href=", "<style", "<!--"] {
                assert!(!harmless.contains(markup), "{name:?} gives {markup}");
            }
            for attribute in ["\" onmouseover=", "' style=", "\"onmouseover"] {
                assert!(!page.contains(attribute), "{name:?} gives {attribute}");
            }
        }
    }
}

fn one_page(snapshot: &Snapshot, id: &str) -> Result<String, askama::Error> {
    super::one(snapshot, id, NOW).expect("there is one")
}

fn organization(name: &str) -> OrganizationView {
    OrganizationView {
        name: name.into(),
        quota_remaining: None,
        unfinished: 0,
        oldest_unfinished: None,
        inventory: None,
    }
}

fn point() -> RoundPoint {
    let summary = Summary { checks: 4, ok: 2, unexpected_grant: 1, unexpected_denial: 0, unknown: 1 };
    RoundPoint { at: NOW, summary, oldest: Some(Duration::from_secs(90)), quota: Some(0.5) }
}

#[test]
fn plots_need_two_rounds_and_stay_within_their_frame() {
    assert!(plots::of(&[]).is_empty() && plots::of(&[point()]).is_empty());
    let odd = RoundPoint { oldest: None, quota: Some(7.0), summary: Summary::default(), ..point() };
    let drawn = plots::of(&[point(), odd, point()]);
    assert_eq!(drawn.len(), 3);
    assert_eq!(drawn[0].bars.len(), 6, "three of each round that was of checks");
    assert_eq!(drawn[1].line, "0.0,2.0 300.0,2.0");
    assert_eq!(drawn[2].line, "0.0,31.0 150.0,2.0 300.0,31.0");
    assert!(drawn[0].text.contains("2 ok, 1 unknown, 1 drift"), "{}", drawn[0].text);
}

//! Everything that the daemon shows of itself, written once over a state in which every free text is an echo of the
//! secrets: the search for leaks looks through it. Pure but for the counters of the metrics.

use std::sync::Arc;
use std::time::Duration;

use crate::access::{Access, Check, DenyReason, Severity, Verdict};
use crate::alert::message::{Tidings, trial};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::moment::Timestamp;
use crate::render::{self, Round};
use crate::report::{
    CanarySummary, CheckResult, CheckView, Detailed, Evidence, Finding, FindingKind, OrganizationView,
    Report, Snapshot, Summary, TokenView,
};

use super::super::matrix;

/// At most so many checks are shown: what one shows of a secret they all show.
const MOST: usize = 50;

/// Each place, and what would stand there.
pub(super) fn all(
    config: &Config,
    echo: &str,
    metrics: &Metrics,
    now: Timestamp,
) -> Vec<(&'static str, String)> {
    let snapshot = Arc::new(snapshot(config, echo, now));
    metrics.set_organizations(&config.organizations.iter().map(|o| o.name.as_str()).collect::<Vec<_>>());
    let mut places = vec![
        ("the config as it is loaded", format!("{config:?} {config:#?}")),
        ("the metrics", metrics.page(|| snapshot.clone(), now).whole()),
        ("page and API", crate::serve::whole(&snapshot, now)),
        ("alerts", alerts(echo, now)),
    ];
    if let Some(report) = &snapshot.report {
        places.push(("reports", reports(config, report, &snapshot.findings)));
    }
    places
}

fn reports(config: &Config, report: &Report, findings: &[Finding]) -> String {
    let round = Round { config, report, findings, version: crate::app::VERSION, base: None };
    [
        serde_json::to_string(report).unwrap_or_default(),
        matrix::render(config, report, findings),
        render::sarif(&round).unwrap_or_default(),
        render::junit(&round).unwrap_or_default(),
        render::markdown(&round),
    ]
    .join("\n")
}

fn alerts(echo: &str, now: Timestamp) -> String {
    let mut message = trial(Tidings::Firing, now, now);
    message.words.description = echo.to_owned();
    message.words.evidence = echo.to_owned();
    format!("{:?} {:?} {message:?}", message.labels(), message.annotations())
}

/// A state in which the Hub repeated the secrets wherever it could.
fn snapshot(config: &Config, echo: &str, now: Timestamp) -> Snapshot {
    let checks = || config.tokens.iter().flat_map(|token| &token.checks).take(MOST);
    let results: Vec<Arc<CheckResult>> = checks().map(|check| Arc::new(result(check, echo, now))).collect();
    let report = Report {
        schema: 1,
        started_at: now,
        finished_at: now,
        summary: Summary::of(&results),
        results,
        canaries: CanarySummary::default(),
    };
    Snapshot {
        at: now,
        report: Some(Arc::new(report)),
        checks: checks().map(|check| Arc::from([view(check)])).collect(),
        tokens: config.tokens.iter().map(token).collect(),
        organizations: config.organizations.iter().map(organization).collect(),
        findings: config.tokens.iter().take(MOST).map(|token| finding(token, echo, now)).collect(),
        hub_reachable: Some(true),
        ..Snapshot::default()
    }
}

fn result(check: &Check, echo: &str, now: Timestamp) -> CheckResult {
    let request = Evidence {
        method: "GET",
        path: format!("/api/{echo}"),
        status: Some(403),
        request_id: Some(echo.to_owned()),
        failure: None,
    };
    CheckResult::from(Detailed {
        key: check.key(),
        expected: check.expected,
        verdict: Verdict::UnexpectedDenial,
        declared: true,
        predicted: None,
        observed_at: now,
        duration: Duration::from_millis(1),
        evidence: vec![request],
        canary: None,
        explanation: echo.to_owned(),
        found: Access::Denied(DenyReason::Other),
    })
}

fn view(check: &Check) -> CheckView {
    CheckView {
        key: check.key(),
        expected: check.expected,
        allowed: Some(false),
        undetermined: Some(false),
        drift: true,
        last_conclusive: None,
        prediction_mismatch: None,
    }
}

fn token(token: &crate::config::Token) -> TokenView {
    TokenView {
        organization: token.organization.clone(),
        token: token.name.clone(),
        owner: token.owner.clone(),
        severity: token.severity,
        usable: Some(true),
        declared_drift: None,
        expires_at: None,
        unchecked_permissions: None,
    }
}

fn organization(organization: &crate::config::Organization) -> OrganizationView {
    OrganizationView {
        name: organization.name.clone(),
        quota_remaining: None,
        unfinished: 0,
        oldest_unfinished: None,
        inventory: None,
    }
}

fn finding(token: &crate::config::Token, echo: &str, now: Timestamp) -> Finding {
    Finding {
        kind: FindingKind::TokenUnusable,
        organization: token.organization.clone(),
        token: Some(token.name.clone()),
        permission: None,
        target: None,
        severity: Severity::Warning,
        since: now,
        last_seen: now,
        resolved_at: None,
        detail: echo.to_owned(),
    }
}

//! Accepted drift: silent while it holds, of whatever kind, and loud once its day is over.

use std::sync::Arc;

use crate::access::{Permission, TokenName};
use crate::config::Config;
use crate::moment::Timestamp;
use crate::report::{Finding, FindingKey, FindingKind, Report, Snapshot};
use crate::round::{Event, ignores};

use super::life::{BEGIN, Life, S, configured};
use super::stories::{AUDIT, PLAIN, SERVE, audit, serve_for, world};

/// Lives begin a little before it.
const LAST_DAY: &str = "2026-11-22";
const OPEN_CREATES: &str = "token: open, permission: repo.create, target: model, kind: unexpected_grant";

fn ignoring(which: &str, until: &str) -> Arc<Config> {
    let entry = format!("{{ {which}, owner: ml-platform, reason: \"TICKET-1\", until: {until} }}");
    configured(&format!("{PLAIN}ignores: [{entry}]\n"))
}

fn lasting(life: &Life, kind: FindingKind) -> Vec<Finding> {
    let lasting = |f: &&Finding| f.kind == kind && f.resolved_at.is_none();
    life.kept.findings.iter().filter(lasting).cloned().collect()
}

fn shown(life: &Life) -> Arc<Snapshot> {
    life.shown.clone().expect("something was shown")
}

fn report(life: &Life) -> Arc<Report> {
    life.reports.last().expect("a report").clone()
}

#[test]
fn an_accepted_drift_is_no_finding_and_still_the_truth() {
    let mut life = world(ignoring(OPEN_CREATES, LAST_DAY), AUDIT, 1);
    audit(&mut life);
    // The dataset is nobody's to ignore; the model is.
    let grants = lasting(&life, FindingKind::UnexpectedGrant);
    assert_eq!(grants.iter().map(|f| f.target.as_deref()).collect::<Vec<_>>(), [Some("dataset")]);
    assert_eq!(report(&life).summary.unexpected_grant, 2, "the report says what is");
    let drift: Vec<(String, bool)> = shown(&life)
        .checks
        .iter()
        .flat_map(|own| own.iter())
        .filter(|check| check.key.token.as_str() == "open")
        .map(|check| (check.key.target.clone(), check.drift))
        .collect();
    assert_eq!(drift, [("model".to_owned(), false), ("dataset".to_owned(), true)]);
    assert!(lasting(&life, FindingKind::IgnoreExpired).is_empty());
}

#[test]
fn when_its_day_is_over_both_the_drift_and_the_ignore_are_findings() {
    let mut life = world(ignoring(OPEN_CREATES, LAST_DAY), SERVE, 1);
    life.start();
    serve_for(&mut life, 60);
    assert_eq!(lasting(&life, FindingKind::UnexpectedGrant).len(), 1);
    let end = Timestamp::parse("2026-11-23T00:00:00Z").expect("a time").since(BEGIN);
    let until = end - life.now;
    serve_for(&mut life, until.as_secs() - 1);
    assert_eq!(lasting(&life, FindingKind::UnexpectedGrant).len(), 1, "to the last second of its day");
    assert!(lasting(&life, FindingKind::IgnoreExpired).is_empty());
    serve_for(&mut life, 1000);
    assert_eq!(lasting(&life, FindingKind::UnexpectedGrant).len(), 2);
    let over = lasting(&life, FindingKind::IgnoreExpired);
    let [over] = over.as_slice() else { panic!("one finding, not {over:?}") };
    assert_eq!(
        (over.token.clone(), over.permission, over.target.as_deref()),
        (Some(TokenName::new("open")), Some(Permission::RepoCreate), Some("model"))
    );
    for word in ["'ml-platform'", "TICKET-1", LAST_DAY, "unexpected_grant", "mend", "renew", "remove"] {
        assert!(over.detail.contains(word), "{word} is not in: {}", over.detail);
    }
}

#[test]
fn an_expired_ignore_is_over_as_soon_as_it_is_renewed_or_removed() {
    for renewed in [Some("2026-12-31"), None] {
        // It names a check that is not there, and is told of all the same.
        let stray = "token: narrow, permission: job.read, kind: blind";
        let mut life = world(ignoring(stray, "2026-11-01"), SERVE, 1);
        life.start();
        life.run_until(S(1), 1000);
        assert_eq!(lasting(&life, FindingKind::IgnoreExpired).len(), 1, "at the start already");
        serve_for(&mut life, 900);
        let since = lasting(&life, FindingKind::IgnoreExpired)[0].since;
        life.crash();
        life.start();
        serve_for(&mut life, 60);
        assert_eq!(
            lasting(&life, FindingKind::IgnoreExpired)[0].since,
            since,
            "one episode through a restart"
        );
        life.config = renewed.map_or_else(|| configured(PLAIN), |until| ignoring(stray, until));
        life.tell(Event::Configured(life.config.clone()));
        let now = life.now + S(60);
        life.run_until(now, 1000);
        assert!(lasting(&life, FindingKind::IgnoreExpired).is_empty(), "{renewed:?}");
    }
}

#[test]
fn findings_without_a_permission_can_be_accepted_too() {
    for (which, accepted) in
        [("token: open, kind: token_unusable", true), ("token: narrow, kind: token_unusable", false)]
    {
        let mut life = world(ignoring(which, LAST_DAY), AUDIT, 1);
        life.bad_keys.push(TokenName::new("open"));
        audit(&mut life);
        assert_eq!(lasting(&life, FindingKind::TokenUnusable).is_empty(), accepted, "{which}");
    }
}

#[test]
fn an_ignore_meets_what_it_names_and_nothing_else() {
    let config = configured(&format!(
        "{PLAIN}ignores:
  - {{ token: open, kind: expires_soon, owner: o, reason: r, until: 2026-11-22 }}
  - {{ token: open, permission: repo.create, kind: latent_grant, owner: o, reason: r, until: 2026-11-22 }}
  - {{ token: open, permission: repo.create, target: model, kind: blind, owner: o, reason: r, until: 2026-11-22 }}
  - {{ token: open, permission: repo.create, kind: blind, owner: late, reason: r, until: 2026-11-25 }}
"
    ));
    let key = |kind, token: &str, permission, target: Option<&str>| FindingKey {
        kind,
        organization: "acme".to_owned(),
        token: Some(TokenName::new(token)),
        permission,
        target: target.map(str::to_owned),
    };
    let holds = |key: &FindingKey| ignores::accepted(&config, key, BEGIN).is_some();
    for kind in FindingKind::ALL {
        let create = Some(Permission::RepoCreate);
        for token in ["open", "narrow"] {
            for (permission, target) in [
                (None, None),
                (create, Some("model")),
                (create, Some("dataset")),
                (Some(Permission::JobRead), Some("-")),
            ] {
                let meant = token == "open"
                    && match kind {
                        FindingKind::ExpiresSoon => true,
                        FindingKind::LatentGrant | FindingKind::Blind => permission == create,
                        _ => false,
                    };
                assert_eq!(
                    holds(&key(*kind, token, permission, target)),
                    meant,
                    "{kind} {token} {permission:?} {target:?}"
                );
            }
        }
        let of_nobody = FindingKey { token: None, ..key(*kind, "open", None, None) };
        assert!(!holds(&of_nobody), "an ignore is of a token");
    }
    let both = key(FindingKind::Blind, "open", Some(Permission::RepoCreate), Some("model"));
    assert_eq!(
        ignores::accepted(&config, &both, BEGIN).map(|i| i.owner.as_str()),
        Some("late"),
        "the longest"
    );
    assert_eq!(
        ignores::accepted(&config, &both, BEGIN + S(2 * 24 * 3600)).map(|i| i.owner.as_str()),
        Some("late")
    );
    assert_eq!(ignores::accepted(&config, &both, BEGIN + S(5 * 24 * 3600)), None);
}

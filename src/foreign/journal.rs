//! A journal that somebody else wrote, and a daemon that starts on it: whatever is remembered, nothing overflows,
//! nothing is sent before it was looked at, and a canary is deleted only by what is seen of it.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{Access, DenyReason, Expected, UnknownReason};
use crate::alert::{CheckState, Patience};
use crate::config::{self, Config, Disk, Source};
use crate::exchange::{Credential, Failure};
use crate::hub::canary::{self, Next, Rules};
use crate::hub::hands::Hands;
use crate::hub::names::{NONCE_BYTES, Signer};
use crate::hub::visit::{Identity, Sight};
use crate::intent::{Canary, CanaryState};
use crate::moment::{Moment, Timestamp};
use crate::round::{Effect, Engine, Event, Mode};
use crate::store::LastAnswer;
use crate::store::foreign::kept;

use super::steers;

const NOW: Timestamp = Timestamp(1_795_000_000_000);
const RULES: Rules = Rules { horizon: Duration::from_secs(900) };

pub(super) fn journal(bytes: &[u8]) {
    let Some(kept) = kept(bytes, NOW) else { return };
    for found in &kept.canaries {
        let owed =
            found.next_at.is_some() || !matches!(found.state, CanaryState::Gone | CanaryState::Refused);
        assert!(owed, "nothing is owed: {found:?}");
        let again = found.repo.to_string().parse();
        assert_eq!(again.as_ref(), Ok(&found.repo), "it becomes part of a path");
        step(found);
    }
    let patience = Patience { confirm_denials: 2, resolve_after: 2 };
    for state in &kept.checks {
        for found in
            [Access::Allowed, Access::Denied(DenyReason::Scope), Access::Undetermined(UnknownReason::Timeout)]
        {
            for expected in Expected::ALL {
                let next = CheckState::after(Some(state), &state.key, *expected, found, patience, NOW);
                let asleep = found.conclusive().is_none();
                assert!(!asleep || (next.firing, next.conclusive) == (state.firing, state.conclusive));
            }
        }
    }
    start(kept);
}

/// Every step that a canary of the journal may take next.
fn step(found: &Canary) {
    let ours = Identity {
        full_name: Some(found.repo.to_string()),
        id: found.repo_id.clone().or(Some("0123456789abcdef01234567".to_owned())),
        private: Some(true),
        created_at: Some(found.planned_at),
        ..Identity::default()
    };
    let elsewhere = Identity { full_name: Some("acme/other".to_owned()), ..ours.clone() };
    let sights = [
        Sight::Present(Box::new(ours), Credential::Anonymous),
        Sight::Present(Box::new(elsewhere), Credential::Anonymous),
        Sight::Absent { listed_absent: true },
        Sight::Moved,
        Sight::Blind(UnknownReason::NoControl),
    ];
    for (at, sight) in sights.iter().enumerate() {
        for now in [NOW, found.planned_at, Timestamp(i64::MAX), Timestamp(i64::MIN)] {
            let mut canary = found.clone();
            canary::clock_stepped(&mut canary, found.planned_at, now, RULES);
            assert_eq!(canary.state, found.state, "a clock decides nothing");
            canary::after_restart(&mut canary, now);
            assert!(!matches!(canary.state, CanaryState::Planned | CanaryState::Deleting), "still under way");
            let hands = Hands { probed: true, janitor: true };
            let (_, next) = canary::after_sight(&mut canary, sight, true, hands, now, RULES);
            assert!(at == 0 || next == Next::Rest, "deleted by {sight:?}");
            if let Next::Delete(by) = next {
                assert!(canary.repo_id.is_some() && found.state != CanaryState::Quarantined);
                canary::before_delete(&mut canary, by, now);
                canary::after_delete(&mut canary, &Err(Failure::Lost), now, RULES);
                assert_eq!(canary.state, CanaryState::DelUnknown);
            }
            let _ = (canary.shown(), canary.unfinished(), canary::may_close(&canary, now, RULES));
            let _ = canary::proof_is_due(&canary, now, RULES);
        }
    }
}

struct Nothing;

impl Disk for Nothing {
    fn list(&self, _: &std::path::Path) -> Result<Vec<String>, String> {
        Err("no directory".to_owned())
    }
    fn include(&self, _: &str) -> Result<Vec<(String, String)>, String> {
        Err("no file".to_owned())
    }
}

/// A daemon with one organization, two tokens and two checks.
const CONFIG: &str = "organizations: [{ name: acme, janitor: janitor }]
tokens:
  - { name: janitor, organization: acme, secret: { file: /j }, expect: [] }
  - name: ci
    organization: acme
    secret: { file: /c }
    declared: { user: bob }
    expect:
      - { permission: repo.create, access: denied }
      - { permission: repo.read, repo: acme/x, access: allowed }
";

thread_local! {
    static CONFIGURED: RefCell<Option<Arc<Config>>> = const { RefCell::new(None) };
}

fn configured() -> Option<Arc<Config>> {
    CONFIGURED.with_borrow_mut(|made| {
        if made.is_none() {
            let parsed = config::parse(Source { name: "scopewatch.yaml", text: CONFIG }, &Nothing).ok()?;
            *made = Some(Arc::new(parsed.config));
        }
        made.clone()
    })
}

/// The body of an answer, at a replica that only shows what the journal has: there is a result or none, and what it says is in
/// the words of the contract and by what the check came to, whatever the body says.
pub(super) fn recalled(bytes: &[u8]) {
    let Some(mut kept) = kept(b"", NOW) else { unreachable!("an empty journal can be read") };
    let Some(check) = configured().and_then(|config| config.tokens.get(1)?.checks.first().cloned()) else {
        unreachable!("the config of this test is not valid")
    };
    let patience = Patience { confirm_denials: 2, resolve_after: 2 };
    let key = check.key();
    let state = CheckState::after(None, &key, check.expected, Access::Allowed, patience, NOW);
    kept.checks = vec![state];
    let (mut engine, now) = engine(kept);
    let body = String::from_utf8_lossy(bytes).into_owned();
    engine.recall(vec![LastAnswer { key: key.clone(), at: NOW, body }]);
    let snapshot = engine.only_show(now);
    let Some(report) = &snapshot.report else { return };
    assert_eq!((report.started_at, report.finished_at), (NOW, NOW));
    assert!(report.results.len() == 1 && report.summary.unexpected_grant == 1, "{report:?}");
    for result in &report.results {
        assert_eq!((result.key(), result.found), (key.clone(), Access::Allowed));
        assert!(result.predicted.is_none_or(|said| ["allowed", "denied"].contains(&said)), "{result:?}");
        let evidence = result.evidence();
        assert!(evidence.iter().all(|one| ["GET", "POST", "DELETE"].contains(&one.method)), "{evidence:?}");
        let kind = result.canary.as_ref().map_or("model", |canary| canary.kind);
        assert!(["model", "dataset", "space"].contains(&kind), "{kind}");
    }
    assert!(serde_json::to_string(report.as_ref()).is_ok(), "{report:?}");
}

fn engine(kept: crate::store::Kept) -> (Engine, Moment) {
    let Some(config) = configured() else { unreachable!("the config of this test is not valid") };
    let mode = Mode { read_only: false, one_shot: false };
    let dice = Box::new(|| [7; NONCE_BYTES]);
    let signer = Signer::new(b"the key of canary names in tests");
    let now = Moment { wall: NOW, mono: Duration::ZERO };
    (Engine::new(config, mode, signer, dice, kept, now), now)
}

fn start(kept: crate::store::Kept) {
    let (mut engine, now) = engine(kept);
    let effects = engine.handle(Event::Wake, now);
    for effect in &effects {
        match effect {
            Effect::Send { request, .. } => {
                assert!(!request.verb.is_unsafe(), "sent before anything was looked at: {}", request.path);
            }
            Effect::Tell(notice) => assert!(!steers(&notice.text), "{:?}", notice.text),
            _ => {}
        }
    }
    let _ = engine.wake_at(now);
}

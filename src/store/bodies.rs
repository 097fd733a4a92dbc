//! What entries of the record say, as text and read back: compact JSON, keys sorted, times in milliseconds, no
//! fractions. Nothing here is secret: what the record says stands in the journal's rows as well.

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{Flaw, Past};
use crate::intent::Canary;
use crate::report::Finding;

/// The whole canary. Two that differ in anything are written differently.
fn canary(canary: &Canary) -> serde_json::Value {
    let deletes: Vec<_> = canary
        .deletes
        .iter()
        .map(|attempt| json!({ "at": attempt.at.0, "by": attempt.by, "outcome": attempt.outcome }))
        .collect();
    let absences: Vec<i64> = canary.absences.iter().map(|at| at.0).collect();
    json!({
        "absences": absences,
        "deletes": deletes,
        "epoch": canary.epoch,
        "given_up_at": canary.given_up_at.map(|at| at.0),
        "group": canary.group,
        "id": canary.id,
        "kind": canary.kind.as_str(),
        "looks": canary.looks,
        "name": canary.repo.name,
        "namespace": canary.repo.namespace,
        "next_at": canary.next_at.map(|at| at.0),
        "note": canary.note,
        "owner": canary.owner,
        "planned_at": canary.planned_at.0,
        "repo_id": canary.repo_id,
        "state": canary.state,
        "target": canary.target,
        "token": canary.token.as_str(),
    })
}

/// A canary after a step, what happened, and where it stood before.
pub(super) fn step(record: &Canary, event: &str, from: Option<&str>) -> String {
    json!({ "canary": canary(record), "event": event, "from": from }).to_string()
}

/// Tells one version of a canary from every other.
pub(super) type Print = [u8; 32];

/// Of a canary as it stands in its rows.
pub(super) fn print_of(record: &Canary) -> Print {
    Sha256::digest(canary(record).to_string()).into()
}

/// Of the canary that a step left behind, with its number.
pub(super) fn read_step(body: &str) -> Option<(i64, Print)> {
    #[derive(Deserialize)]
    struct Step<'a> {
        #[serde(borrow)]
        canary: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Numbered {
        id: i64,
    }
    let step: Step<'_> = serde_json::from_str(body).ok()?;
    let numbered: Numbered = serde_json::from_str(step.canary.get()).ok()?;
    Some((numbered.id, Sha256::digest(step.canary.get()).into()))
}

/// A creation call of this Hub user.
pub(super) fn creation(owner: &str) -> String {
    json!({ "owner": owner }).to_string()
}

#[derive(Deserialize)]
pub(super) struct CreationRead {
    pub owner: String,
}

/// The canaries of this organization are off, and why.
pub(super) fn breaker(organization: &str, why: &str) -> String {
    json!({ "organization": organization, "why": why }).to_string()
}

#[derive(Deserialize)]
pub(super) struct BreakerRead {
    pub organization: String,
    pub why: String,
}

/// A person cleared the breaker.
pub(super) fn unlatched(organization: &str) -> String {
    json!({ "organization": organization }).to_string()
}

#[derive(Deserialize)]
pub(super) struct UnlatchedRead {
    pub organization: String,
}

/// A user's creations rest.
pub(super) fn pause(owner: &str, until: i64, why: &str) -> String {
    json!({ "owner": owner, "until": until, "why": why }).to_string()
}

#[derive(Deserialize)]
pub(super) struct PauseRead {
    pub owner: String,
    pub until: i64,
    pub why: String,
}

/// A finding as it begins or ends. When it was last seen is not part of it: that changes with every round.
pub(super) fn finding(finding: &Finding) -> String {
    json!({
        "detail": finding.detail,
        "kind": finding.kind,
        "organization": finding.organization,
        "permission": finding.permission.map(|permission| permission.as_str()),
        "resolved_at": finding.resolved_at.map(|at| at.0),
        "severity": finding.severity.as_str(),
        "since": finding.since.0,
        "target": finding.target,
        "token": finding.token.as_ref().map(|token| token.as_str()),
    })
    .to_string()
}

#[derive(Deserialize)]
pub(super) struct FindingRead {
    pub kind: String,
    pub organization: String,
    pub permission: Option<String>,
    pub since: i64,
    pub target: Option<String>,
    pub token: Option<String>,
}

/// An opening for writing, and what it found.
pub(super) fn opened(epoch: i64, past: &Past, flaws: &[Flaw]) -> String {
    let (known, found) = match past {
        Past::Regressed { known, found } => (Some(known), Some(found)),
        _ => (None, None),
    };
    let flaws: Vec<_> = flaws.iter().map(|flaw| json!({ "seq": flaw.seq, "why": flaw.why })).collect();
    json!({
        "epoch": epoch,
        "flaws": flaws,
        "found": found,
        "known": known,
        "past": past.as_str(),
        "version": env!("CARGO_PKG_VERSION"),
    })
    .to_string()
}

#[derive(Deserialize)]
pub(super) struct OpenedRead {
    pub epoch: i64,
    flaws: Vec<FlawRead>,
    found: Option<i64>,
    known: Option<i64>,
    past: String,
}

#[derive(Deserialize)]
struct FlawRead {
    seq: i64,
    why: String,
}

impl OpenedRead {
    /// What the opening found to be wrong, and every single flaw of it.
    pub(super) fn trouble(self) -> Option<(Past, Vec<Flaw>)> {
        let flaws: Vec<Flaw> =
            self.flaws.into_iter().map(|FlawRead { seq, why }| Flaw { seq, why }).collect();
        let past = match self.past.as_str() {
            "emptied" => Past::Emptied,
            "regressed" => Past::Regressed {
                known: self.known.unwrap_or_default(),
                found: self.found.unwrap_or_default(),
            },
            "broken" => flaws.first().map(|f| Past::Broken { seq: f.seq, why: f.why.clone() })?,
            _ => return None,
        };
        Some((past, flaws))
    }
}

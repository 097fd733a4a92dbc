//! What is told to people, scripts and Prometheus: a round's report, findings, and the snapshot of all state
//! that the HTTP side serves. Shapes of the public contract; no behaviour.

use std::collections::{BTreeMap, HashSet};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use memchr::memmem;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::access::{Access, CheckKey, Expected, Labels, Permission, Severity, TokenName, Verdict, words};
use crate::intent::{Canary, ShownState};
use crate::moment::Timestamp;

/// One request of a probe, as evidence. Never a token, never a body.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Evidence {
    /// HTTP method.
    pub method: &'static str,
    /// Path without query.
    pub path: String,
    /// HTTP status; null when there was no answer.
    pub status: Option<u16>,
    /// The Hub's request id; its support asks for it.
    pub request_id: Option<String>,
    /// Why there was no answer; for people, not part of the contract's JSON.
    #[serde(skip)]
    pub failure: Option<&'static str>,
}

/// A canary as part of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CanaryShown {
    /// Full name.
    pub repo: String,
    /// `model`, `dataset` or `space`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where it stands.
    pub state: ShownState,
}

/// What one check of a round came to. There may be a million of them, so that what many have in common is kept once.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckResult {
    pub token: TokenName,
    pub observed_at: Timestamp,
    /// Whole milliseconds.
    pub duration_ms: u32,
    pub canary: Option<Box<CanaryShown>>,
    /// The Hub's ids of the requests, one a line; an empty line where it gave none.
    request_ids: Box<str>,
    /// All that another token could have come to as well.
    told: Arc<Told>,
}

/// What a check came to, whosever it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Told {
    pub labels: Arc<Labels>,
    pub expected: Expected,
    pub verdict: Verdict,
    /// Whether this round knows the token's whoami.
    pub declared: bool,
    /// What the documented model predicts; null where it is silent.
    pub predicted: Option<&'static str>,
    /// The answer as a value.
    pub found: Access,
    /// The requests without their ids.
    requests: Box<[Evidence]>,
    /// The sentence up to the token's name.
    before: Box<str>,
    /// What follows the name; none where it does not say it.
    after: Option<Box<str>>,
}

/// A result in the making: all that is known of it, in full.
#[derive(Debug, Clone)]
pub struct Detailed {
    pub key: CheckKey,
    pub expected: Expected,
    pub verdict: Verdict,
    pub declared: bool,
    pub predicted: Option<&'static str>,
    pub found: Access,
    pub observed_at: Timestamp,
    pub duration: Duration,
    pub evidence: Vec<Evidence>,
    pub canary: Option<CanaryShown>,
    /// One sentence for a person: what happened and what to do.
    pub explanation: String,
}

impl From<Detailed> for CheckResult {
    fn from(detailed: Detailed) -> CheckResult {
        let Detailed { key, expected, verdict, declared, predicted, found, .. } = detailed;
        let mut requests = detailed.evidence;
        let ids: Vec<String> =
            requests.iter_mut().map(|request| request.request_id.take().unwrap_or_default()).collect();
        let token = key.token.clone();
        let (before, after) = parted(&detailed.explanation, &token);
        let labels = key.labels();
        let requests = requests.into();
        let told = Told { labels, expected, verdict, declared, predicted, found, requests, before, after };
        CheckResult {
            token,
            observed_at: detailed.observed_at,
            duration_ms: u32::try_from(detailed.duration.as_millis()).unwrap_or(u32::MAX),
            canary: detailed.canary.map(Box::new),
            request_ids: ids.join("\n").into(),
            told: Arc::new(told),
        }
    }
}

/// The sentence before and after the token's name.
fn parted(sentence: &str, token: &TokenName) -> (Box<str>, Option<Box<str>>) {
    let name = token.as_str();
    // To make the searcher of the standard library takes longer than this takes in all.
    let at = memmem::find(sentence.as_bytes(), name.as_bytes());
    let parts = at.and_then(|at| Some((sentence.get(..at)?, sentence.get(at + name.len()..)?)));
    match parts {
        Some((before, after)) => (before.into(), Some(after.into())),
        None => (sentence.into(), None),
    }
}

impl CheckResult {
    /// The check that it is of.
    pub fn key(&self) -> CheckKey {
        CheckKey::of(self.token.clone(), self.labels.clone())
    }

    /// The id of the finding that this result is one sight of; of an unknown one, as if unknown were a kind.
    pub fn id(&self) -> String {
        let token = Some(self.token.as_str());
        id_of(self.verdict.as_str(), &self.organization, token, Some(self.permission), Some(&self.target))
    }

    /// What was asked, and how it was answered.
    pub fn evidence(&self) -> Vec<Evidence> {
        let ids = self.request_ids.split('\n').map(|id| (!id.is_empty()).then(|| id.to_owned()));
        let with_id = |(request, request_id): (&Evidence, _)| Evidence { request_id, ..request.clone() };
        self.requests.iter().zip(ids).map(with_id).collect()
    }

    /// One sentence for a person: what happened and what to do. Not part of the contract's JSON.
    pub fn explanation(&self) -> String {
        match &self.after {
            Some(after) => format!("{}{}{after}", self.before, self.token),
            None => self.before.to_string(),
        }
    }

    /// Tells it as others do that came to the same, if there are any.
    pub fn share(&mut self, known: &mut HashSet<Arc<Told>>) {
        match known.get(&self.told) {
            Some(told) => self.told = told.clone(),
            None => {
                known.insert(self.told.clone());
            }
        }
    }

    /// The Hub granted it after all.
    pub fn granted(&mut self, verdict: Verdict, explanation: &str) {
        let (before, after) = parted(explanation, &self.token);
        let told = Arc::make_mut(&mut self.told);
        (told.found, told.verdict, told.before, told.after) = (Access::Allowed, verdict, before, after);
    }

    /// What became known since of its token.
    pub fn retell(&mut self, declared: bool, predicted: Option<&'static str>, explanation: &str) {
        let (before, after) = parted(explanation, &self.token);
        let told = Arc::make_mut(&mut self.told);
        (told.declared, told.predicted, told.before, told.after) = (declared, predicted, before, after);
    }

    /// Another prediction than it was told with.
    pub fn predict(&mut self, predicted: Option<&'static str>) {
        if self.predicted != predicted {
            Arc::make_mut(&mut self.told).predicted = predicted;
        }
    }
}

impl Deref for CheckResult {
    type Target = Told;
    fn deref(&self) -> &Told {
        &self.told
    }
}

impl Deref for Told {
    type Target = Labels;
    fn deref(&self) -> &Labels {
        &self.labels
    }
}

impl Serialize for CheckResult {
    /// The contract's JSON.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            organization: &'a str,
            token: &'a TokenName,
            permission: Permission,
            target: &'a str,
            expected: Expected,
            access: &'static str,
            reason: Option<&'static str>,
            verdict: Verdict,
            declared: bool,
            predicted: Option<&'static str>,
            observed_at: Timestamp,
            duration_ms: u32,
            evidence: Vec<Evidence>,
            canary: Option<&'a CanaryShown>,
        }
        let shown = Shown {
            organization: &self.organization,
            token: &self.token,
            permission: self.permission,
            target: &self.target,
            expected: self.expected,
            access: self.found.as_str(),
            reason: self.found.reason(),
            verdict: self.verdict,
            declared: self.declared,
            predicted: self.predicted,
            observed_at: self.observed_at,
            duration_ms: self.duration_ms,
            evidence: self.evidence(),
            canary: self.canary.as_deref(),
        };
        shown.serialize(to)
    }
}

/// How many checks came to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    pub checks: usize,
    pub ok: usize,
    pub unexpected_grant: usize,
    pub unexpected_denial: usize,
    pub unknown: usize,
}

impl Summary {
    /// Counts the verdicts.
    pub fn of(results: &[Arc<CheckResult>]) -> Summary {
        let count = |wanted: Verdict| results.iter().filter(|r| r.verdict == wanted).count();
        Summary {
            checks: results.len(),
            ok: count(Verdict::Ok),
            unexpected_grant: count(Verdict::UnexpectedGrant),
            unexpected_denial: count(Verdict::UnexpectedDenial),
            unknown: count(Verdict::Unknown),
        }
    }
}

/// What became of the round's canaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CanarySummary {
    /// Known to have been created in this round.
    pub created: usize,
    /// Deleted and seen gone in this round.
    pub deleted: usize,
    /// Of this and earlier rounds: absence still owed.
    pub unfinished: usize,
}

/// A round's report: `audit --format json` and `GET /api/v1/report`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Version of this shape.
    pub schema: u32,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub summary: Summary,
    /// Shared with the rounds to come, which replace what they ask again.
    pub results: Vec<Arc<CheckResult>>,
    pub canaries: CanarySummary,
}

words! {
    /// Kinds of finding.
    described FindingKind {
        /// The Hub allowed what is expected to be denied.
        UnexpectedGrant = "unexpected_grant",
        /// The Hub denied what is expected to be allowed, as often in a row as `alerts.confirm_denials` says.
        UnexpectedDenial = "unexpected_denial",
        /// Denied, as expected, but only because of the user's role: the token's own scope would allow it.
        LatentGrant = "latent_grant",
        /// The Hub does otherwise than its documents say of what the token declares.
        PredictionMismatch = "prediction_mismatch",
        /// The token cannot be read, or the Hub does not accept it.
        TokenUnusable = "token_unusable",
        /// The token expires within `alerts.expires_within`.
        ExpiresSoon = "expires_soon",
        /// The secret is another than before.
        Rotated = "rotated",
        /// What the token declares changed, or differs from what is pinned under `declared`.
        DeclaredChanged = "declared_changed",
        /// The user's role in the organization or in a resource group changed.
        RoleChanged = "role_changed",
        /// The token belongs to another user than before.
        OwnerChanged = "owner_changed",
        /// What the organization bars this token from changed.
        PolicyChanged = "policy_changed",
        /// The token declares a permission that this version does not know.
        UnknownPermission = "unknown_permission",
        /// The token declares a permission that no check covers.
        UncheckedPermission = "unchecked_permission",
        /// A token of the organization that the config does not name.
        UnmanagedToken = "unmanaged_token",
        /// A token of the config that the organization's inventory does not show.
        MissingToken = "missing_token",
        /// A canary whose absence is not proven, or creating was latched off.
        CanaryLeft = "canary_left",
        /// The journal is not the one of before: emptied, replaced, restored or changed.
        StateReset = "state_reset",
        /// A whole round got no usable answer.
        HubUnreachable = "hub_unreachable",
        /// No conclusive answer for longer than `alerts.stale_after`, or the controls failed although the Hub answers.
        Blind = "blind",
        /// An entry of `ignores` is past its last day.
        IgnoreExpired = "ignore_expired",
    }
}

/// Something that is not as it should be and lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: FindingKind,
    /// The organization; empty where the finding concerns all of them.
    pub organization: String,
    pub token: Option<TokenName>,
    pub permission: Option<Permission>,
    pub target: Option<String>,
    pub severity: Severity,
    /// When it was first seen in this episode.
    pub since: Timestamp,
    /// When it was last confirmed.
    pub last_seen: Timestamp,
    /// When it ended; null while it lasts.
    pub resolved_at: Option<Timestamp>,
    /// One sentence: what happened, to what, and what to do.
    pub detail: String,
}

impl Finding {
    /// What makes a finding the same one in the next round.
    pub fn key(&self) -> FindingKey {
        FindingKey {
            kind: self.kind,
            organization: self.organization.clone(),
            token: self.token.clone(),
            permission: self.permission,
            target: self.target.clone(),
        }
    }
}

/// The identity of a finding, through restarts and reloads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindingKey {
    pub kind: FindingKind,
    pub organization: String,
    pub token: Option<TokenName>,
    pub permission: Option<Permission>,
    pub target: Option<String>,
}

impl FindingKey {
    /// A short name of the finding, for machines: of the finding, not of the episode. It comes back unchanged when
    /// the same thing is wrong again, after restarts and reloads, on every machine.
    pub fn id(&self) -> String {
        let token = self.token.as_ref().map(TokenName::as_str);
        id_of(self.kind.as_str(), &self.organization, token, self.permission, self.target.as_deref())
    }
}

/// The first 16 hexadecimal digits of a SHA-256 over the parts. Each part is preceded by its length, an absent one
/// is no part of length zero, so that no two keys are written alike.
fn id_of(
    kind: &str,
    organization: &str,
    token: Option<&str>,
    permission: Option<Permission>,
    target: Option<&str>,
) -> String {
    let mut hash = Sha256::new_with_prefix("scopewatch finding 1");
    for part in [Some(kind), Some(organization), token, permission.map(Permission::as_str), target] {
        match part {
            Some(text) => hash.update(format!(";{}:{text}", text.len())),
            None => hash.update(";-"),
        }
    }
    HEXLOWER.encode(hash.finalize().as_slice()).chars().take(16).collect()
}

/// What is known of one check at this moment.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckView {
    pub key: CheckKey,
    pub expected: Expected,
    /// Last conclusive answer; `None` before the first.
    pub allowed: Option<bool>,
    /// Whether the latest try was undetermined; `None` before the first try.
    pub undetermined: Option<bool>,
    /// Confirmed drift.
    pub drift: bool,
    /// When the last conclusive answer was given.
    pub last_conclusive: Option<Timestamp>,
    /// Observed differs from predicted; `None` while there is no prediction.
    pub prediction_mismatch: Option<bool>,
}

/// What is known of one token at this moment.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenView {
    pub organization: String,
    pub token: TokenName,
    pub owner: String,
    pub severity: Severity,
    /// Whether the Hub accepts it; `None` before anything is known.
    pub usable: Option<bool>,
    /// Whether what it declares differs from what is pinned; `None` before its first whoami.
    pub declared_drift: Option<bool>,
    /// When it expires, where the Hub says so.
    pub expires_at: Option<Timestamp>,
    /// Declared permissions that no check covers; `None` before its first whoami.
    pub unchecked_permissions: Option<u64>,
}

/// What is known of one organization at this moment.
#[derive(Debug, Clone, PartialEq)]
pub struct OrganizationView {
    pub name: String,
    /// Lowest remaining share of a user's rate-limit window seen in the current window, 0 to 1.
    pub quota_remaining: Option<f64>,
    /// Canaries whose absence is owed.
    pub unfinished: u64,
    /// When the oldest of them was planned.
    pub oldest_unfinished: Option<Timestamp>,
    /// What came of its inventory of tokens when it was read last; `None` before that, and where nobody reads it.
    pub inventory: Option<InventoryView>,
}

/// What came of reading an organization's inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryView {
    pub at: Timestamp,
    /// How many tokens stand in the list, or a sentence that says why it is not known.
    pub tokens: Result<usize, String>,
    /// The same of the tokens of service accounts.
    pub accounts: Result<usize, String>,
    /// Why entries that nobody knows are not called unmanaged yet, if they are not.
    pub pending: Option<String>,
}

/// What the search of one organization for lost canaries came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepView {
    pub organization: String,
    /// Every listing was read to its end.
    pub complete: bool,
    /// Signed by us and unknown to the journal: type and name.
    pub orphans: Vec<String>,
}

/// What a sink is owed at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkView {
    pub name: String,
    /// Messages that it has not taken yet.
    pub pending: usize,
    /// When the oldest of them came to be.
    pub oldest: Option<Timestamp>,
}

/// A finished round, as plots show it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoundPoint {
    pub at: Timestamp,
    pub summary: Summary,
    /// Age of the oldest conclusive answer then; `None` before the first.
    pub oldest: Option<Duration>,
    /// Lowest remaining share of a rate-limit window, 0 to 1; `None` where the Hub does not say.
    pub quota: Option<f64>,
}

/// All state that is served: replaced whole whenever it changes, never read from the store.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// When it was made.
    pub at: Timestamp,
    /// The last finished round; `None` before the first.
    pub report: Option<Arc<Report>>,
    /// For every configured token the views of its checks, both in config order. What did not change is shared with the
    /// snapshot before.
    pub checks: Vec<Arc<[CheckView]>>,
    /// One for every configured token, in config order.
    pub tokens: Vec<TokenView>,
    /// One for every configured organization, in config order.
    pub organizations: Vec<OrganizationView>,
    /// Lasting findings first, then those resolved lately.
    pub findings: Vec<Finding>,
    /// Every canary that is unfinished or still being verified, oldest first.
    pub canaries: Vec<Canary>,
    /// What the search for lost canaries came to, of every organization that was searched.
    pub sweeps: Vec<SweepView>,
    /// One for every configured sink, in config order.
    pub sinks: Vec<SinkView>,
    /// Whether the Hub answered at all lately; `None` before the first request.
    pub hub_reachable: Option<bool>,
    /// End of the last completed round.
    pub last_round: Option<Timestamp>,
    /// When the schedule makes something due next.
    pub next_round: Option<Timestamp>,
    /// Why a check came out as it did, of up to a thousand checks that have a finding and a result.
    pub explained: Arc<BTreeMap<CheckKey, Arc<str>>>,
    /// The last rounds of this process, oldest first.
    pub history: Arc<[RoundPoint]>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn key(kind: FindingKind, organization: &str, rest: [Option<&str>; 2]) -> FindingKey {
        let [token, target] = rest;
        FindingKey {
            kind,
            organization: organization.into(),
            token: token.map(TokenName::new),
            permission: target.map(|_| Permission::RepoCreate),
            target: target.map(str::to_owned),
        }
    }

    #[test]
    fn ids_are_what_they_have_always_been() {
        // Kept in ticket systems and in the fingerprints of code scanning: a change here opens everything anew.
        let grant = key(FindingKind::UnexpectedGrant, "acme", [Some("limited-test-token"), Some("model")]);
        assert_eq!(grant.id(), "30f7bd619b464953");
        assert_eq!(key(FindingKind::HubUnreachable, "", [None, None]).id(), "7d00054078f43c96");
    }

    #[test]
    fn no_two_keys_share_an_id() {
        let parts = ["", "-", "a", "1:a", ";1:a", "a;1:a", ";-", "acme", "model"];
        let mut ids = BTreeSet::new();
        let mut keys = 0;
        for kind in FindingKind::ALL {
            for organization in parts {
                for token in parts.map(Some).into_iter().chain([None]) {
                    for target in parts.map(Some).into_iter().chain([None]) {
                        keys += 1;
                        ids.insert(key(*kind, organization, [token, target]).id());
                    }
                }
            }
        }
        assert_eq!(ids.len(), keys);
        assert!(ids.iter().all(|id| id.len() == 16));
    }
}

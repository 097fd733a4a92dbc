//! What must hold of answers, check states and findings: nothing is called allowed or denied that the Hub did not
//! say, and only what it said moves what lasts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::access::{Access, CheckKey, Expected, Permission, TokenName, Verdict};
use crate::alert::CheckState;
use crate::exchange::{Answer, Failure, Request, Verb};
use crate::moment::Timestamp;
use crate::report::{Finding, FindingKey, FindingKind, Report};

use super::hub::{Key, named};
use super::invariants::Invariant;
use super::life::Life;

/// What the truth remembers of one name that was planned.
#[derive(Debug, Default, Clone)]
pub struct Intent {
    pub token: Option<TokenName>,
    pub target: String,
    pub posted_at: Option<Duration>,
    /// The Hub made it.
    pub made: bool,
    /// The Hub told us that it refused it, in its own words.
    pub refused: bool,
    /// A person closed it.
    pub closed: bool,
    /// People were told that it is left.
    pub told: bool,
    /// The Hub said that it deleted it, and did not.
    pub perjured: bool,
}

/// What nobody in the daemon knows.
#[derive(Debug, Default)]
pub struct Ghost {
    pub intents: BTreeMap<Key, Intent>,
    /// When the latest attempt to delete each name became durable.
    pub attempted_at: BTreeMap<Key, Duration>,
    /// A journal was lost in this life; and in a way that nothing could notice.
    pub lost: bool,
    pub fooled: bool,
    /// What the Hub said last to each question of each token: yes, no, or nothing.
    pub told: BTreeMap<(TokenName, String), Option<bool>>,
    /// When the Hub last confirmed an organization's name, and "not found" of a name that cannot exist.
    pub confirmed_at: BTreeMap<u64, Duration>,
    pub absent_at: BTreeMap<u64, Duration>,
    /// When the running round began, by the clock of its process.
    pub round_began: Duration,
    /// When each request that changes the Hub was let out, by the true clock and by that of its process.
    pub let_out: BTreeMap<(u64, u64), (Duration, Duration)>,
    /// The daemon's clock was set in this life.
    pub clock_set: bool,
    /// The clock was set, and nothing was written after this batch.
    pub set_after: Option<u64>,
    /// The process died before it could write that the clock was set: the next one cannot know (README).
    pub set_unnoticed: bool,
    /// A batch was not written in this life.
    pub unwritten: bool,
    /// Usable answers since the last round ended.
    pub usable: u32,
    /// Of each check: whether it fires, and good answers since.
    pub checks: BTreeMap<CheckKey, (Option<Verdict>, u32)>,
}

fn in_envelope(answer: &Answer) -> bool {
    answer.content_type == "application/json" && answer.body.contains("\"error\"")
}

impl Life {
    /// The daemon hears an answer: that is what it may rest on.
    pub fn note_told(&mut self, request: &Request, outcome: &Result<Answer, Failure>) {
        let answer = outcome.as_ref().ok();
        let said = answer.and_then(|answer| match answer.status {
            200..=299 if !in_envelope(answer) && answer.content_type == "application/json" => Some(true),
            403 | 404 if in_envelope(answer) => Some(false),
            409 if answer.body.contains("already created") => Some(true),
            _ => None,
        });
        let valid = |a: &Answer| serde_json::from_str::<serde_json::Value>(&a.body).is_ok();
        self.ghost.usable += u32::from(answer.is_some_and(|a| match a.status {
            200..=299 => a.content_type == "application/json" && valid(a),
            400..=428 => in_envelope(a),
            _ => false,
        }));
        if request.route.ends_with("/overview") && said == Some(true) {
            self.ghost.confirmed_at.insert(self.number(), self.moment().mono);
        }
        if request.path.contains("/no-such-") && answer.is_some_and(|answer| answer.status == 404) {
            self.ghost.absent_at.insert(self.number(), self.moment().mono);
        }
        if request.route == "/api/repos/create" && request.body.is_some() {
            let key = named(request);
            let refused = answer.is_some_and(|answer| answer.status == 403 && in_envelope(answer));
            self.ghost.intents.entry(key).or_default().refused |= refused;
        }
        if let crate::exchange::Credential::Token(token) = &request.credential
            && request.verb != Verb::Delete
        {
            self.ghost.told.insert((token.clone(), question(request)), said);
        }
    }

    /// A round has ended, and says what it found.
    pub fn judge(&mut self, report: &Report) {
        if !self.held.lenient {
            self.judge_by_rights(report);
        }
        self.i9_sound_verdict(report);
        self.a2_outage_silence(report);
        self.a8_staleness_visible();
        self.ghost.usable = 0;
    }

    fn i9_sound_verdict(&mut self, report: &Report) {
        if self.ghost.clock_set {
            // Then nobody can tell by its time which result is of this round.
            return;
        }
        let begun = report.started_at;
        let lately = |at: Timestamp| at >= begun && at <= report.finished_at;
        for result in report.results.iter().filter(|result| lately(result.observed_at)) {
            let conclusive = result.found.conclusive();
            if conclusive.is_none() {
                let unknown = result.verdict == Verdict::Unknown;
                self.hold(Invariant::SoundVerdict, unknown, || format!("undetermined, and yet: {result:?}"));
                continue;
            }
            let allowed = conclusive == Some(true);
            let told = match (&result.canary, result.permission) {
                (Some(canary), _) => {
                    let intents = &self.ghost.intents;
                    let mut of_it = intents.iter().filter(|(key, _)| key.1 == canary.repo).map(|(_, i)| i);
                    of_it.any(|intent| if allowed { intent.made } else { intent.refused })
                }
                (None, Permission::RepoRead | Permission::RepoWrite) => {
                    let write = if result.permission == Permission::RepoWrite { "/write" } else { "" };
                    let path = format!("/api/models/{}/auth-check{write}", result.target);
                    self.ghost.told.get(&(result.token.clone(), path)) == Some(&Some(allowed))
                }
                _ => true,
            };
            // A round may stand on a control that a visit began a little before it.
            let since = self.ghost.round_began.saturating_sub(super::life::S(120));
            let own = self.number();
            let fresh = |at: &BTreeMap<u64, Duration>| at.get(&own).is_some_and(|at| *at >= since);
            let controlled = allowed || (fresh(&self.ghost.confirmed_at) && fresh(&self.ghost.absent_at));
            self.hold(Invariant::SoundVerdict, told && controlled, || {
                format!("told {told}, controlled {controlled}: {result:?}")
            });
        }
    }

    /// The Hub gave no usable answer in a whole round: drift neither begins nor ends, and one finding says so.
    fn a2_outage_silence(&mut self, report: &Report) {
        // By a clock that was set nobody can tell what moved since the round began.
        if self.ghost.usable > 0 || report.results.is_empty() || self.ghost.clock_set {
            return;
        }
        let Some(engine) = self.engine() else { return };
        let at = report.finished_at;
        let drift = [FindingKind::UnexpectedGrant, FindingKind::UnexpectedDenial];
        let findings = engine.findings.values();
        let moved = findings
            .filter(|f| drift.contains(&f.kind))
            .find(|f| {
                // What the round before found in its last moment is not of this one.
                f.since > report.started_at && f.since <= at || f.resolved_at > Some(report.started_at)
            })
            .map(|f| f.detail.clone());
        let told = engine
            .findings
            .values()
            .filter(|f| f.kind == FindingKind::HubUnreachable && f.resolved_at.is_none())
            .count();
        let unreachable = report.results.iter().any(|result| {
            use crate::access::UnknownReason::{HubError, Network, Timeout};
            // What the round before found in its last moment is not of this one.
            matches!(result.found, Access::Undetermined(Network | Timeout | HubError))
                && result.observed_at > report.started_at
        });
        // Then nobody can tell by its time what is of this round.
        let quiet = moved.is_none() || self.ghost.clock_set;
        self.hold(Invariant::OutageSilence, quiet && (told == 1 || !unreachable), || {
            format!("in an outage {moved:?} moved, and {told} findings tell of it")
        });
    }

    /// What was not answered conclusively for too long is a finding, and is never shown as if it had been.
    fn a8_staleness_visible(&mut self) {
        let (now, config) = (self.moment(), self.config.clone());
        let Some(stale_after) = config.alerts.stale_after else { return };
        let Some(engine) = self.engine() else { return };
        let mut hidden = None;
        let mut asked = 0;
        for check in config.tokens.iter().flat_map(|token| &token.checks) {
            let key = check.key();
            let Some(state) = engine.checks.get(&key) else { continue };
            let lately =
                engine.checks.concluded(&key).is_some_and(|at| now.mono.saturating_sub(at) <= stale_after);
            if lately || now.mono <= stale_after || state.latest.conclusive().is_some() {
                continue;
            }
            asked += 1;
            let blind = engine.findings.values().any(|f| {
                f.kind == FindingKind::Blind
                    && f.resolved_at.is_none()
                    && f.token.as_ref() == Some(&key.token)
                    && f.target.as_ref() == Some(&key.target)
            });
            if !blind {
                hidden = Some(key);
            }
        }
        if asked > 0 {
            self.hold(Invariant::StalenessVisible, hidden.is_none(), || {
                format!("{hidden:?} is stale in silence")
            });
        }
    }

    /// What fires, and what is called drift.
    pub fn alarms(&self) -> Vec<String> {
        let Some(engine) = self.engine() else { return vec![] };
        let drift = [FindingKind::UnexpectedGrant, FindingKind::UnexpectedDenial, FindingKind::LatentGrant];
        // What was seen to be created is a grant at any time, and is told when its round ends.
        let created = |token: &TokenName, target: &str| {
            let canaries = engine.canaries.values().map(|live| &live.canary);
            let mut bound = canaries.filter(|canary| canary.repo_id.is_some());
            bound.any(|canary| canary.token == *token && canary.target == target)
        };
        let seen = |f: &&Finding| matches!((&f.token, &f.target), (Some(token), Some(target)) if created(token, target));
        let findings = engine.findings.values().filter(|f| drift.contains(&f.kind) && !seen(f));
        let findings = findings.map(|f| format!("{:?} {}", f.key(), f.resolved_at.is_some()));
        let fires = |c: &&CheckState| c.firing.is_some() && !created(&c.key.token, &c.key.target);
        let firing = engine.checks.values().filter(fires);
        let firing = firing.map(|c| format!("{:?} {:?} {}", c.key, c.firing, c.good_streak));
        findings.chain(firing).collect()
    }

    /// The clock was set: nothing fires and nothing resolves for that.
    pub fn a12_time_safe(&mut self, before: &[String]) {
        let after = self.alarms();
        self.hold(Invariant::TimeSafe, before == after, || format!("{before:?} -> {after:?}"));
    }

    /// The state of a check becomes durable.
    pub fn check_state(&mut self, old: Option<&CheckState>, new: &CheckState, with: &[FindingKey]) {
        self.a1_three_valued(old, new);
        // A batch that was told to have failed, and was there all the same, is written again with all that it held.
        // By a clock that was set back an answer looks older, too; then it counts as the engine counts it.
        let older = old.is_some_and(|old| old.observed_at > new.observed_at);
        match older {
            false => self.a4_evidence_to_resolve(old, new),
            true if self.ghost.clock_set => {
                self.ghost.checks.insert(new.key.clone(), (new.firing, new.good_streak));
            }
            true => {}
        }
        self.a11_asymmetry(new, with);
    }

    fn a1_three_valued(&mut self, old: Option<&CheckState>, new: &CheckState) {
        let Some(old) = old.filter(|_| new.latest.conclusive().is_none()) else { return };
        let still = |state: &CheckState| {
            (state.conclusive, state.bad_streak, state.good_streak, state.firing, state.firing_since)
        };
        // What was found between the two was not written down by itself: the store failed, and only the latest is kept.
        let between =
            |at: Timestamp| at != new.observed_at && old.conclusive.is_none_or(|(_, then)| at != then);
        let same = still(old) == still(new)
            || new.conclusive.is_some_and(|(_, at)| between(at))
            || old.latest.conclusive().is_some() && old.observed_at > new.observed_at;
        self.hold(Invariant::ThreeValued, same, || format!("{old:?} -> {new:?}"));
    }

    /// Good answers are counted here anew, from what each state says was found.
    fn a4_evidence_to_resolve(&mut self, old: Option<&CheckState>, new: &CheckState) {
        let again = old.is_some_and(|old| old == new);
        let needed = self.config.alerts.resolve_after.max(1);
        let expected = self.expected(&new.key);
        let (fired, good) =
            self.ghost.checks.get(&new.key).copied().unwrap_or((old.and_then(|o| o.firing), 0));
        let as_hoped = match (expected, new.latest.conclusive()) {
            (Some(Expected::Allowed), Some(allowed)) => Some(allowed),
            (Some(Expected::Denied), Some(allowed)) => Some(!allowed),
            _ => None,
        };
        let good = match as_hoped {
            // What was found while the store failed was not written down one by one.
            Some(true) if !again && self.ghost.unwritten => new.good_streak.max(good + 1),
            Some(true) if !again => good + 1,
            Some(false) => 0,
            _ => good,
        };
        if fired.is_some() && new.firing.is_none() && expected.is_some() && !again {
            self.hold(Invariant::EvidenceToResolve, good >= needed, || {
                format!("resolved after {good} good answers of {needed}: {old:?} -> {new:?}")
            });
        }
        let good = if fired != new.firing { 0 } else { good };
        self.ghost.checks.insert(new.key.clone(), (new.firing, good));
    }

    /// A grant that should not be fires at its first sight, and is told by a finding of the same batch or before it.
    fn a11_asymmetry(&mut self, new: &CheckState, with: &[FindingKey]) {
        if self.expected(&new.key) != Some(Expected::Denied) || new.latest != Access::Allowed {
            return;
        }
        let fires = new.firing == Some(Verdict::UnexpectedGrant);
        let of_it = |kind: FindingKind, token: Option<&TokenName>, target: Option<&String>| {
            kind == FindingKind::UnexpectedGrant
                && token == Some(&new.key.token)
                && target == Some(&new.key.target)
        };
        // What somebody accepted is no finding.
        let told = !self.config.ignores.is_empty()
            || with.iter().any(|f| of_it(f.kind, f.token.as_ref(), f.target.as_ref()))
            || self.engine().is_none_or(|engine| {
                engine.findings.values().any(|f| of_it(f.kind, f.token.as_ref(), f.target.as_ref()))
            });
        self.hold(Invariant::Asymmetry, fires && told, || format!("a grant is not told at once: {new:?}"));
    }

    fn expected(&self, key: &CheckKey) -> Option<Expected> {
        let checks = self.config.tokens.iter().flat_map(|token| &token.checks);
        checks.into_iter().find(|check| check.key() == *key).map(|check| check.expected)
    }

    /// By what each token may do, where that never changes in a life: what a report says is true, or it says that
    /// it does not know.
    fn judge_by_rights(&self, report: &Report) {
        for result in &report.results {
            let holder = &self.hub.holders[&result.token];
            let may = match result.permission {
                Permission::RepoCreate
                | Permission::JobRead
                | Permission::JobWrite
                | Permission::EndpointInfer => holder.creates,
                Permission::UserWebhooks => false,
                Permission::OrgMembers if self.hub.open_members => self.hub.roles && holder.deletes,
                Permission::RepoRead => {
                    let mut repos = self.hub.repos.iter();
                    let repo = repos.find(|((_, name), _)| *name == result.target).map(|(_, repo)| repo);
                    holder.sees || repo.is_some_and(|repo| !repo.private)
                }
                _ => holder.deletes,
            };
            match result.found {
                Access::Allowed => assert!(may, "allowed, which it is not: {result:?}"),
                Access::Denied(_) => assert!(!may, "denied, which it is not: {result:?}"),
                Access::Undetermined(_) => assert_eq!(result.verdict, Verdict::Unknown),
            }
            assert!(!holder.dead || result.found.conclusive().is_none(), "the dead know nothing");
        }
    }
}

/// What is asked, as one word.
fn question(request: &Request) -> String {
    if request.body.is_some() {
        format!("{} {}", request.route, named(request).1)
    } else {
        request.path.clone()
    }
}

//! From a finished check to what lasts: results, check states, findings, report.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{Access, Check, CheckKey, Severity, Target, TokenName, UnknownReason, Verdict};
use crate::alert::CheckState;
use crate::compare::compare;
use crate::config::Token;
use crate::hub::predict::Prediction;
use crate::intent::{Canary, CanaryState, ShownState};
use crate::moment::{Moment, Timestamp};
use crate::report::{
    CanaryShown, CanarySummary, CheckResult, Detailed, Finding, FindingKey, FindingKind, Report, Summary,
};
use crate::store::{FINDINGS_STAY, Write};

use super::canaries::Live;
use super::checks::{CheckJob, creation_access};
use super::creations::asks_for;
use super::{Effect, Engine, Meter, declared, ignores, sentences};

/// Findings that ended, kept in memory at most.
const ENDED_KEPT: usize = 1000;

impl Engine {
    /// Takes the end of a check into its state, its finding and the latest results.
    pub(super) fn record_check(&mut self, at: usize, now: Moment) {
        let check = self.round.as_ref().and_then(|round| round.jobs.get(at)).map(|job| job.check.clone());
        if let Some(check) = check {
            let prediction = self.prediction(&check, now);
            let Some(mut result) = self.result_of(at, prediction.as_ref(), now) else { return };
            result.share(&mut self.told);
            self.record_answer(&check, result.found, now);
            self.record_prediction(&check, prediction.as_ref(), result.found, now);
            if self.is_configured(&check) {
                let answer = self.answer(&check, &result, now);
                self.remember(answer);
                self.checks.answered(&check.key(), result);
                self.explain_check(&check, now);
            }
        }
    }

    /// Whether the config still asks this; a reload in the middle of a round may have taken it away.
    pub(super) fn is_configured(&self, check: &Check) -> bool {
        let token = self.config.token(&check.token);
        let key = check.key();
        // Nearly always the config has the very question.
        let asks = |other: &Check| Arc::ptr_eq(&other.question, &check.question) || other.key() == key;
        token.is_some_and(|token| token.checks.iter().any(asks))
    }

    /// Takes an answer into the state of its check and into its findings.
    fn record_answer(&mut self, check: &Check, found: Access, now: Moment) {
        if !self.is_configured(check) {
            return;
        }
        let key = check.key();
        let patience = self.patience();
        let before = self.checks.get(&key);
        let state = CheckState::after(before, &key, check.expected, found, patience, now.wall);
        let firing = state.firing;
        if found.conclusive().is_some() && state.bad_streak > 0 && firing.is_none() {
            self.probe_again(check, now);
        }
        self.checks.insert(state.clone(), found.conclusive().map(|_| now.mono));
        self.shown.changed(&key.token);
        self.remember(Write::Check(state));
        for (kind, verdict) in [
            (FindingKind::UnexpectedGrant, Verdict::UnexpectedGrant),
            (FindingKind::UnexpectedDenial, Verdict::UnexpectedDenial),
        ] {
            let lasts = firing == Some(verdict);
            if !lasts && !self.findings.has(&key.token) {
                continue;
            }
            let severity = match kind {
                FindingKind::UnexpectedGrant => {
                    self.config.token(&key.token).map_or(Severity::Critical, |token| token.severity)
                }
                _ => Severity::Warning,
            };
            let id = check_finding(kind, &key);
            self.set_finding(id, lasts, severity, || sentences::finding(kind, check), now.wall);
        }
    }

    /// A canary was found after its check had been told "unknown", or after a restart: the Hub did grant it.
    pub(super) fn record_late_grant(&mut self, id: i64, now: Moment) {
        let Some(canary) = self.canaries.get(&id).map(|live| live.canary.clone()) else { return };
        let config = self.config.clone();
        let mut checks = config.token(&canary.token).into_iter().flat_map(|token| &token.checks);
        let Some(check) = checks.find(|check| asks_for(check, &canary)) else { return };
        self.record_answer(check, Access::Allowed, now);
        let prediction = self.prediction(check, now);
        self.record_prediction(check, prediction.as_ref(), Access::Allowed, now);
        if let Some(result) = self.checks.latest_mut(&check.key()) {
            let verdict = compare(check.expected, Access::Allowed);
            result.granted(verdict, &sentences::result(check, verdict, Access::Allowed, ""));
            result.canary = Some(Box::new(shown(&canary)));
        }
        self.explain_check(check, now);
        self.changed = true;
    }

    /// The result of a check of this round, as of now.
    fn result_of(&self, at: usize, prediction: Option<&Prediction>, now: Moment) -> Option<CheckResult> {
        let job = self.round.as_ref()?.jobs.get(at)?;
        let walk = job.walk()?;
        let live = walk.canary.and_then(|id| self.canaries.get(&id));
        // Presence that was proved after the check was ended still turns its answer into a grant.
        let found = match live.and_then(|live| live.heard.as_ref().map(|heard| (heard, live))) {
            Some((heard, live)) => creation_access(heard, live.canary.repo_id.is_some()),
            None => job.found?,
        };
        let canary = live.map(|live| shown(&live.canary));
        let check = &job.check;
        let detailed = Detailed {
            key: check.key(),
            expected: check.expected,
            verdict: compare(check.expected, found),
            declared: self.declared(&check.token, now).is_some(),
            predicted: prediction.and_then(|p| p.outcome.as_str()),
            observed_at: walk.ended,
            duration: walk.took(),
            evidence: walk.evidence.clone(),
            canary,
            explanation: self.sentence(job, found, now),
            found,
        };
        Some(detailed.into())
    }

    /// What is told to a person who reads that this check came to this.
    fn sentence(&self, job: &CheckJob, found: Access, now: Moment) -> String {
        let check = &job.check;
        let mut sentence = sentences::result(check, compare(check.expected, found), found, &job.why);
        let known = self.declared(&check.token, now);
        if let (Some(known), Some(ruler)) = (known, check.ruled_by().filter(|_| found != Access::Allowed)) {
            sentence.push_str(&declared::barred(ruler, known.restrictions(ruler)));
        }
        sentence
    }

    /// Begins, confirms or ends a finding. One that somebody accepted does not last while that holds.
    pub(super) fn set_finding(
        &mut self,
        key: FindingKey,
        lasts: bool,
        severity: Severity,
        detail: impl FnOnce() -> String,
        now: Timestamp,
    ) {
        if self.observing {
            return;
        }
        let lasts = lasts && ignores::accepted(&self.config, &key, now).is_none();
        let current = self.findings.get(&key).filter(|finding| finding.resolved_at.is_none());
        let finding = match (current, lasts) {
            (None, false) => return,
            (None, true) => Finding {
                kind: key.kind,
                organization: key.organization.clone(),
                token: key.token.clone(),
                permission: key.permission,
                target: key.target.clone(),
                severity,
                since: now,
                last_seen: now,
                resolved_at: None,
                detail: detail(),
            },
            (Some(finding), true) => {
                Finding { last_seen: now, severity, detail: detail(), ..finding.clone() }
            }
            (Some(finding), false) => Finding { resolved_at: Some(now), ..finding.clone() },
        };
        let (begins, ends) = (current.is_none(), finding.resolved_at.is_some());
        if let Some(what) = for_the_log(&finding) {
            if begins {
                self.tell(true, format!("{}: {what}", finding.kind));
            } else if ends {
                self.tell(false, format!("{} is over: {what}", finding.kind));
            }
        }
        self.shown.at_once();
        self.teller.note(&finding.key());
        self.findings.insert(key, finding.clone());
        self.remember(Write::Finding(finding));
    }

    /// Ends the round: its results are final, what they say of tokens, organizations and the Hub is drawn.
    pub(super) fn end_round(&mut self, now: Moment) {
        let count = self.round.as_ref().map_or(0, |round| round.jobs.len());
        for at in 0..count {
            self.finish_late(at, now);
        }
        self.told.retain(|told| Arc::strong_count(told) > 1);
        let Some(round) = self.round.take() else { return };
        self.prune_canaries();
        let old = now.wall - FINDINGS_STAY;
        self.findings.retain(|finding| finding.resolved_at.is_none_or(|at| at > old));
        self.forget_old_findings();
        self.forget_explained();
        self.ignore_findings(now);
        if round.recovery {
            self.recovering = false;
            return;
        }
        self.token_findings(now);
        if round.due.declared {
            self.start_inventories(now);
        }
        if round.jobs.is_empty() && !self.mode.one_shot {
            // A round of whoami only: it says nothing of any check.
            return;
        }
        self.organization_findings(now);
        self.hub_findings(&round.jobs, now);
        self.end_state_reset(now);
        self.blind_findings(&round.done, now);
        self.history.last = Some(now.wall);
        let took = now.mono.saturating_sub(round.begun.mono);
        self.once_shown.push(Effect::Meter(Meter::Round { took, finished: now.wall }));
        // In service the report is of all checks.
        let own = if self.mode.one_shot { round.jobs.as_slice() } else { &[] };
        let keys: BTreeSet<CheckKey> = own.iter().map(|job| job.check.key()).collect();
        let report = Arc::new(self.report(&keys, round.begun.wall, now.wall));
        self.keep_point(&report, now);
        self.history.report = Some(report.clone());
        self.changed = true;
        self.tell_grounds(now);
        self.out.push(Effect::RoundEnded(report));
    }

    /// Of findings that ended only the latest are kept in memory: a Hub that shows others every time must not fill it.
    fn forget_old_findings(&mut self) {
        let mut ended: Vec<(Timestamp, FindingKey)> = self
            .findings
            .iter()
            .filter_map(|(key, finding)| Some((finding.resolved_at?, key.clone())))
            .collect();
        let surplus = ended.len().saturating_sub(ENDED_KEPT);
        if surplus > 0 {
            ended.sort();
            for (_, key) in ended.into_iter().take(surplus) {
                self.findings.remove(&key);
            }
        }
    }

    /// What became known after the check was told: the canary's end, or its presence.
    fn finish_late(&mut self, at: usize, now: Moment) {
        let Some(job) = self.round.as_ref().and_then(|round| round.jobs.get(at)) else { return };
        if job.walk().is_none() {
            return self.retell(at, now);
        }
        let prediction = self.prediction(&job.check, now);
        let Some(result) = self.result_of(at, prediction.as_ref(), now) else { return };
        let key = result.key();
        match self.checks.latest(&key) {
            // Nearly always: the report goes on sharing what it has.
            Some(latest) if **latest == result => {}
            Some(latest) if latest.found == result.found => {
                let check = job.check.clone();
                self.checks.answered(&key, result);
                self.remember_answer(&check, now);
            }
            _ => self.record_check(at, now),
        }
    }

    /// What became known of the token, or of the repository, after the check was told.
    fn retell(&mut self, at: usize, now: Moment) {
        let Some(job) = self.round.as_ref().and_then(|round| round.jobs.get(at)) else { return };
        let (check, key) = (&job.check, job.check.key());
        let same = |latest: &&Arc<CheckResult>| job.found == Some(latest.found);
        let Some(latest) = self.checks.latest(&key).filter(same) else { return };
        let heard_at = self.tokens.get(&key.token).and_then(|state| state.declared.as_ref()).map(|k| k.at);
        let declared = self.declared(&key.token, now).is_some();
        let news = latest.declared != declared || heard_at.is_some_and(|at| at >= latest.observed_at);
        if !news && check.target == Target::Whole {
            // Nearly always, and there may be a million of them.
            return;
        }
        let predicted = self.prediction(check, now).and_then(|prediction| prediction.outcome.as_str());
        let sentence = self.sentence(job, latest.found, now);
        if latest.declared == declared && latest.predicted == predicted && latest.explanation() == sentence {
            return;
        }
        let check = check.clone();
        if let Some(latest) = self.checks.latest_mut(&key) {
            latest.retell(declared, predicted, &sentence);
            latest.share(&mut self.told);
            self.remember_answer(&check, now);
        }
    }

    /// In a one-shot run the round's own results; in service the latest of every check, because a round of one
    /// kind says nothing of the others.
    pub(super) fn report(
        &self,
        round: &BTreeSet<CheckKey>,
        started_at: Timestamp,
        finished_at: Timestamp,
    ) -> Report {
        let results: Vec<Arc<CheckResult>> = self
            .config
            .tokens
            .iter()
            .flat_map(|token| &token.checks)
            .map(crate::access::Check::key)
            .filter(|key| !self.mode.one_shot || round.contains(key))
            .filter_map(|key| self.checks.latest(&key).cloned())
            .collect();
        let shown = |wanted: ShownState| {
            results.iter().filter(|r| r.canary.as_ref().is_some_and(|c| c.state == wanted)).count()
        };
        let created = results
            .iter()
            .filter(|r| {
                r.canary.as_ref().is_some_and(|c| c.state != ShownState::Refused)
                    && r.found == Access::Allowed
            })
            .count();
        let unfinished = self.canaries.values().filter(|live| live.canary.unfinished()).count();
        Report {
            schema: 1,
            started_at,
            finished_at,
            summary: Summary::of(&results),
            canaries: CanarySummary { created, deleted: shown(ShownState::Deleted), unfinished },
            results,
        }
    }

    /// A canary whose end is not proven so long after its intent is told as left.
    fn left_after(&self) -> Duration {
        self.rules().horizon * 2 + Duration::from_secs(600)
    }

    /// When a canary whose end is not proven is to be told as left: by the wall clock, which outlasts a restart, but no later than if
    /// its intent were as new as this process's knowledge of it, because that clock may have been set back.
    fn left_at(&self, live: &Live, now: Moment) -> Duration {
        let patience = self.left_after() + Duration::from_secs(1);
        let by_wall = now.mono + (live.canary.planned_at + patience).since(now.wall);
        by_wall.min(live.known_at + patience)
    }

    /// When the next one must be told as left.
    pub(super) fn left_wakes(&self, now: Moment) -> Option<Duration> {
        let open = self.canaries.values().filter(|live| stands_open(&live.canary));
        open.map(|live| self.left_at(live, now)).filter(|at| *at > now.mono).min()
    }

    /// Tells what is left as soon as that changes; rounds may be a day apart.
    pub(super) fn tell_left(&mut self, now: Moment) {
        let due = self.left_due.is_some_and(|at| now.mono >= at);
        if due || self.left_changed {
            self.organization_findings(now);
        }
        self.left_due = self.left_wakes(now);
    }

    pub(super) fn organization_findings(&mut self, now: Moment) {
        let config = self.config.clone();
        self.left_changed = false;
        for organization in &config.organizations {
            let left: Vec<String> = self
                .canaries
                .values()
                .filter(|live| live.canary.repo.namespace == organization.name)
                .filter(|live| {
                    live.canary.state == CanaryState::Quarantined
                        || (stands_open(&live.canary) && now.mono >= self.left_at(live, now))
                })
                .map(|live| format!("{} ({})", live.canary.repo, live.canary.note))
                .collect();
            let key = organization_finding(FindingKind::CanaryLeft, &organization.name);
            let latched = self.breakers.get(&organization.name).map(|breaker| breaker.why.clone());
            let mut detail: Vec<String> = Vec::new();
            if !left.is_empty() {
                let left = left.join(", ");
                detail.push(format!(
                    "canaries whose absence is not proven: {left}; see `scopewatch canaries list`"
                ));
            }
            if let Some(why) = latched {
                detail.push(format!(
                    "creating is latched off: {why}; look into it, then `scopewatch canaries unlatch`"
                ));
            }
            let orphans = self.orphans_of(&organization.name);
            if !orphans.is_empty() {
                detail.push(format!(
                    "with our signature but not in the journal: {}; delete them by hand, or set adopt_authentic",
                    orphans.join(", ")
                ));
            }
            let returned = self.returned_of(&organization.name);
            if !returned.is_empty() {
                let returned = returned.join(", ");
                detail.push(format!(
                    "gone, and listed again: {returned}; look at them, then delete them by hand"
                ));
            }
            let lasts = !detail.is_empty();
            self.set_finding(key, lasts, Severity::Warning, || detail.join("; "), now.wall);
        }
    }

    fn hub_findings(&mut self, jobs: &[CheckJob], now: Moment) {
        let failed = |job: &CheckJob| {
            matches!(
                job.found,
                Some(Access::Undetermined(
                    UnknownReason::Network | UnknownReason::Timeout | UnknownReason::HubError
                ))
            )
        };
        // One question without an answer is no outage while the Hub answers others.
        let lasts = !self.answered_in_round && jobs.iter().any(failed);
        if !lasts && !self.answered_in_round {
            return;
        }
        let detail = format!(
            "the Hub at {} gave no usable answer in a whole round; check the network, hub.endpoint and the Hub's status page",
            self.config.hub.endpoint
        );
        let key = organization_finding(FindingKind::HubUnreachable, "");
        self.set_finding(key, lasts, Severity::Warning, || detail, now.wall);
    }

    /// Forgets what is no longer configured.
    pub(super) fn forget_unconfigured(&mut self, now: Moment) {
        self.judge_declared();
        let configured: BTreeSet<CheckKey> = self
            .config
            .tokens
            .iter()
            .flat_map(|token| &token.checks)
            .map(crate::access::Check::key)
            .collect();
        let gone = self.checks.keep(&configured);
        self.unsaved.extend(gone.into_iter().map(Write::ForgetCheck));
        let config = self.config.clone();
        let unwatched = |key: &FindingKey| {
            let organization =
                key.organization.is_empty() || config.organization(&key.organization).is_some();
            // A token that moved to another organization is watched there.
            let here = |token: &Token| key.organization.is_empty() || token.organization == key.organization;
            let token = key.token.as_ref().is_none_or(|token| config.token(token).is_some_and(here));
            let check = match (&key.token, key.permission, &key.target) {
                // An ignore may name a check that is not there; its finding is about the ignore.
                _ if key.kind == FindingKind::IgnoreExpired => true,
                (Some(token), Some(permission), Some(target)) => {
                    configured.contains(&CheckKey::new(&*key.organization, token.clone(), permission, target))
                }
                _ => true,
            };
            let inventory = match key.kind {
                FindingKind::UnmanagedToken | FindingKind::MissingToken => {
                    config.organization(&key.organization).is_some_and(|o| o.inventory.is_some())
                }
                _ => true,
            };
            !(organization && token && check && inventory)
        };
        let gone: Vec<FindingKey> = self.findings.keys().filter(|key| unwatched(key)).cloned().collect();
        for key in gone {
            // What is no longer watched is no longer shown, and does not come back with the next start.
            if let Some(finding) = self.findings.remove(&key).filter(|finding| finding.resolved_at.is_none())
            {
                self.teller.unwatch(&finding.key());
                self.unsaved.push(Write::Finding(Finding { resolved_at: Some(now.wall), ..finding }));
            }
        }
    }

    /// Canaries that owe nothing any more are only in the store.
    fn prune_canaries(&mut self) {
        self.canaries.retain(|_, live| {
            live.canary.next_at.is_some() || live.canary.unfinished() || live.check.is_some()
        });
    }
}

/// What the log says of a finding: its sentence, unless words of the Hub may be in it.
fn for_the_log(finding: &Finding) -> Option<String> {
    match finding.kind {
        FindingKind::DeclaredChanged
        | FindingKind::RoleChanged
        | FindingKind::OwnerChanged
        | FindingKind::PolicyChanged
        | FindingKind::UnknownPermission
        | FindingKind::UncheckedPermission
        | FindingKind::MissingToken => {
            let token = finding.token.as_ref().map(TokenName::as_str).unwrap_or_default();
            Some(format!("token '{token}' of '{}'; the findings say what", finding.organization))
        }
        // There may be hundreds at once; who reads the inventory says how many.
        FindingKind::UnmanagedToken => None,
        _ => Some(finding.detail.clone()),
    }
}

/// Whether its end is not proven. A deletion that the Hub took is no proof: nobody may be able to see.
fn stands_open(canary: &Canary) -> bool {
    !matches!(canary.state, CanaryState::Gone | CanaryState::Refused)
}

/// A canary as reports show it.
fn shown(canary: &Canary) -> CanaryShown {
    CanaryShown { repo: canary.repo.to_string(), kind: canary.kind.as_str(), state: canary.shown() }
}

pub(super) fn check_finding(kind: FindingKind, key: &CheckKey) -> FindingKey {
    FindingKey {
        kind,
        organization: key.organization.clone(),
        token: Some(key.token.clone()),
        permission: Some(key.permission),
        target: Some(key.target.clone()),
    }
}

pub(super) fn organization_finding(kind: FindingKind, organization: &str) -> FindingKey {
    FindingKey { kind, organization: organization.to_owned(), token: None, permission: None, target: None }
}

//! What the Hub's documented model predicts for a check, from what its token declares and what was seen of its
//! target on the way; and what follows where the Hub does otherwise.

use std::collections::BTreeSet;

use crate::access::{
    Access, Check, CheckKey, Expected, RepoName, RepoType, Severity, Target, TokenName, UnknownReason,
};
use crate::exchange::{Answer, Credential, Failure};
use crate::hub::answers::json;
use crate::hub::control::Control;
use crate::hub::predict::{Group, Known, Place, Prediction, foresee, latent, mismatch, predict};
use crate::moment::{Moment, Timestamp};
use crate::report::{FindingKey, FindingKind};

use super::controls::ControlKey;
use super::proofs::Proof;
use super::record::check_finding;
use super::{Effect, Engine, Grounds, Job, ignores, sentences};

/// What was seen of a repository, for predictions only; a proof of anything it is not.
#[derive(Debug, Clone, Default)]
pub(super) struct Sighted {
    private: Option<bool>,
    gated: Option<bool>,
    /// The id of its resource group, and who was shown it there: observers see different groups.
    group: Option<(String, Credential)>,
    /// When it was described last.
    at: Option<Timestamp>,
    /// Checks whose prediction waits for another look; one is under way then.
    awaited: BTreeSet<CheckKey>,
}

impl Engine {
    /// What is predicted for this check, without sentences; `None` while nothing is declared.
    pub(super) fn prediction(&self, check: &Check, now: Moment) -> Option<Prediction> {
        let declared = self.declared(&check.token, now)?;
        let known = self.known_of(check, now);
        Some(foresee(declared, &check.organization, check.permission, &check.target, &known))
    }

    /// The same, to be told.
    fn told_prediction(&self, check: &Check, now: Moment) -> Option<Prediction> {
        let declared = self.declared(&check.token, now)?;
        let known = self.known_of(check, now);
        Some(predict(declared, &check.organization, check.permission, &check.target, &known))
    }

    pub(super) fn known_of(&self, check: &Check, now: Moment) -> Known {
        match &check.target {
            Target::Whole => Known::default(),
            Target::Create { group: None, .. } => Known { place: Place::Root, ..Known::default() },
            Target::Create { group: Some(wanted), .. } => {
                let (_, groups) = self.known_groups(check, now);
                let found =
                    groups.iter().find(|(name, id)| name == wanted || id.eq_ignore_ascii_case(wanted));
                let place = found
                    .map(|(name, id)| Place::In(Group { id: Some(id.clone()), name: Some(name.clone()) }));
                Known { place: place.unwrap_or_default(), ..Known::default() }
            }
            Target::Repo { kind, repo } => {
                let Some(seen) = self.sighted.get(&(*kind, repo.clone())) else { return Known::default() };
                let place = seen.group.as_ref().map(|(id, _)| {
                    let (_, groups) = self.known_groups(check, now);
                    let name = groups.into_iter().find(|(_, known)| known == id).map(|(name, _)| name);
                    Place::In(Group { id: Some(id.clone()), name })
                });
                Known {
                    private: seen.private,
                    gated: seen.gated,
                    place: place.unwrap_or_default(),
                    ..Known::default()
                }
            }
        }
    }

    /// Takes from a description of a repository what predictions depend on, and draws those that waited for it.
    pub(super) fn sight(
        &mut self,
        kind: RepoType,
        repo: &RepoName,
        outcome: &Result<Answer, Failure>,
        shown: Proof,
        now: Moment,
    ) {
        let body = outcome.as_ref().ok().filter(|a| (200..300).contains(&a.status)).and_then(json);
        let named =
            |body: &&serde_json::Value| body.get("id").and_then(|id| id.as_str()) == Some(&repo.to_string());
        let place = (kind, repo.clone());
        if let Some(body) = body.filter(named) {
            let seen = self.sighted.entry(place.clone()).or_default();
            seen.private = body.get("private").and_then(serde_json::Value::as_bool);
            // `false`, or how its authors let readers in.
            seen.gated = body.get("gated").map(|gated| gated.as_bool() != Some(false));
            seen.at = Some(now.wall);
        } else if let Some(seen) = self.sighted.get_mut(&place) {
            match shown {
                // Nobody sees it any more, so that what was seen of it counts no more.
                Proof::Not(UnknownReason::TargetMissing | UnknownReason::NoControl) => {
                    (seen.private, seen.gated, seen.at) = (None, None, Some(now.wall));
                }
                // No answer: the next round looks again.
                _ => seen.awaited.clear(),
            }
        }
        let awaited = self.sighted.get_mut(&place).map(|seen| std::mem::take(&mut seen.awaited));
        let config = self.config.clone();
        for key in awaited.unwrap_or_default() {
            let checks = config.token(&key.token).map(|token| &token.checks);
            if let Some(check) = checks.and_then(|checks| checks.iter().find(|check| check.key() == key)) {
                self.draw_again(check, now);
            }
        }
    }

    /// Takes from a control which repository is in which group. What this observer was shown in one before and is
    /// not any more has left it.
    pub(super) fn sight_groups(&mut self, key: &ControlKey, control: &Control, now: Moment) {
        let (organization, observer) = key;
        if control.groups.is_some() {
            let mine = |seen: &Sighted| seen.group.as_ref().is_some_and(|(_, by)| by == observer);
            for ((_, repo), seen) in &mut self.sighted {
                if repo.namespace == *organization && mine(seen) {
                    seen.group = None;
                }
            }
        }
        // Groups may hold thousands of repositories of which nobody asks.
        let config = self.config.clone();
        let checks = config.tokens.iter().flat_map(|token| &token.checks);
        let asked: BTreeSet<(RepoType, &RepoName)> = checks
            .filter_map(|check| match &check.target {
                Target::Repo { kind, repo } => Some((*kind, repo)),
                _ => None,
            })
            .collect();
        for (kind, repo, group) in
            control.grouped.iter().filter(|(kind, repo, _)| asked.contains(&(*kind, repo)))
        {
            let entry = self.sighted.entry((*kind, repo.clone())).or_default();
            entry.group = Some((group.clone(), observer.clone()));
        }
        for seen in &control.seen {
            let entry = self.sighted.entry((seen.kind, seen.repo.clone())).or_default();
            entry.private = Some(true);
            // Whether it is gated was not asked.
            if entry.gated.is_none() {
                entry.at = Some(now.wall);
            }
            if let Some(group) = &seen.group {
                entry.group = Some((group.clone(), observer.clone()));
            }
        }
    }

    /// Draws what follows from an answer and its prediction. An answer that is none changes nothing.
    pub(super) fn record_prediction(
        &mut self,
        check: &Check,
        prediction: Option<&Prediction>,
        found: Access,
        now: Moment,
    ) {
        let since = self.round.as_ref().map_or(now.wall, |round| round.begun.wall);
        self.draw_prediction(check, prediction, found, since, now);
    }

    /// A whoami was heard that was asked because of an answer: that answer is held against it. Older ones are
    /// not: what has changed since the answer is no fault of the documents.
    pub(super) fn predict_again(&mut self, token: &TokenName, now: Moment) {
        let config = self.config.clone();
        for check in config.token(token).into_iter().flat_map(|token| &token.checks) {
            if self.suspected.remove(&check.key()) {
                self.draw_again(check, now);
            }
        }
    }

    /// The latest answer to this check is held against what is known by now.
    fn draw_again(&mut self, check: &Check, now: Moment) {
        let Some(latest) = self.checks.latest(&check.key()) else { return };
        let (found, observed) = (latest.found, latest.observed_at);
        let since = self.round.as_ref().map_or(observed, |round| round.begun.wall.min(observed));
        let prediction = self.prediction(check, now);
        self.draw_prediction(check, prediction.as_ref(), found, since, now);
        let predicted = prediction.and_then(|p| p.outcome.as_str());
        if let Some(latest) = self.checks.latest_mut(&check.key()) {
            latest.predict(predicted);
            self.changed = true;
            self.remember_answer(check, now);
            self.explain_check(check, now);
        }
    }

    /// Nothing new is told on the word of a whoami, or of a look at the repository, that is older than `since`:
    /// token, role or repository may have changed before the answer. Then they are asked anew, whoami as far as its
    /// own strict limit lets us.
    fn draw_prediction(
        &mut self,
        check: &Check,
        prediction: Option<&Prediction>,
        found: Access,
        since: Timestamp,
        now: Moment,
    ) {
        let Some(prediction) = prediction else { return };
        if found.conclusive().is_none() {
            return;
        }
        let key = check.key();
        let differs = mismatch(prediction, found);
        let latent = check.expected == Expected::Denied && latent(prediction, found);
        if differs != Some(true) && !latent && !self.findings.has(&key.token) {
            // Nothing begins, and there is nothing that could end.
            self.shown.changed(&key.token);
            return self.checks.mismatch(&key, differs);
        }
        let drawn = [
            (check_finding(FindingKind::PredictionMismatch, &key), differs == Some(true)),
            (check_finding(FindingKind::LatentGrant, &key), latent),
        ];
        let heard_at = self.tokens.get(&check.token).and_then(|state| state.declared.as_ref()).map(|k| k.at);
        // What the gauge tells already is no news; and of what somebody accepted nothing is told.
        let known = |key: &FindingKey| match key.kind {
            FindingKind::PredictionMismatch => self.mismatch_of(&check.key()) == Some(true),
            _ => ignores::accepted(&self.config, key, now.wall).is_some(),
        };
        let begins = drawn.iter().any(|(key, lasts)| *lasts && !self.lasts(key) && !known(key));
        if begins && heard_at.is_none_or(|at| at < since) {
            if self.ask_whoami_again(&check.token, now) {
                self.suspected.insert(key);
            }
            return;
        }
        // Nor is a mismatch over because its repository was not looked at since the start.
        let lost = differs.is_none() && self.lasts(&check_finding(FindingKind::PredictionMismatch, &key));
        if (begins || lost) && self.waits_for_a_look(check, since, lost) {
            return;
        }
        self.shown.changed(&key.token);
        self.checks.mismatch(&key, differs);
        let told = drawn.iter().any(|(_, lasts)| *lasts).then(|| self.told_prediction(check, now)).flatten();
        for (key, lasts) in drawn {
            let kind = key.kind;
            let told = told.as_ref().unwrap_or(prediction);
            let detail = || sentences::predicted(kind, check, told, found);
            self.set_finding(key, lasts, Severity::Warning, detail, now.wall);
        }
    }

    /// Whether what is known of the check's repository is older than `since`; then it is looked at again. What was
    /// never seen had no part in a prediction, and is looked at only where one was `lost`.
    fn waits_for_a_look(&mut self, check: &Check, since: Timestamp, lost: bool) -> bool {
        let Target::Repo { kind, repo } = &check.target else { return false };
        let Some(key) = self.target_proof(check) else { return false };
        let at = self.sighted.get(&(*kind, repo.clone())).and_then(|seen| seen.at);
        if at.map_or(!lost, |at| at >= since) {
            return false;
        }
        let asked = self.round.as_ref().map(|round| round.proofs.get(&key).copied());
        match asked {
            // Asked in this round already: nobody sees it, or there was no answer.
            Some(Some(Proof::Not(UnknownReason::TargetMissing | UnknownReason::NoControl))) => return false,
            Some(Some(Proof::Not(_))) => return true,
            _ => {}
        }
        let waiting = &mut self.sighted.entry((*kind, repo.clone())).or_default().awaited;
        let under_way = !waiting.is_empty();
        waiting.insert(check.key());
        match (asked, key.request()) {
            (Some(_), _) => self.ask_proof(&key),
            (None, Some(request)) if !under_way && !self.mode.one_shot && !self.stopping => {
                self.ask(Job::Proof(key), request, None);
            }
            _ => {}
        }
        true
    }

    fn lasts(&self, key: &FindingKey) -> bool {
        self.findings.get(key).is_some_and(|finding| finding.resolved_at.is_none())
    }

    /// Tells the grounds of the check that is to be explained, if one is.
    pub(super) fn tell_grounds(&mut self, now: Moment) {
        let Some(key) = self.explaining.take() else { return };
        let config = self.config.clone();
        let check = config.token(&key.token).and_then(|t| t.checks.iter().find(|check| check.key() == key));
        let Some(check) = check else { return };
        let declared = self.tokens.get(&key.token).and_then(|state| state.declared.as_ref());
        let grounds = Grounds {
            declared: declared.map(|known| ((*known.declared).clone(), known.at)),
            known: self.known_of(check, now),
        };
        self.out.push(Effect::Explained(Box::new(grounds)));
    }

    /// Whether the latest conclusive answer differs from what was predicted; `None` where nothing was.
    pub(super) fn mismatch_of(&self, key: &CheckKey) -> Option<bool> {
        self.checks.mismatched(key)
    }
}

//! What a result rests on, as text of the journal: written when the result is known or corrected, for whoever asks why
//! beside the daemon, and read by a replica that shows the journal without having asked.
//!
//! What a text does not say, or says in words that are not ours, was written by another version or by somebody else: such a
//! result is left out until the check is asked again.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::{Access, Check, RepoType};
use crate::alert::CheckState;
use crate::compare::compare;
use crate::exchange::{Failure, Verb};
use crate::explain::Observed;
use crate::hub::predict::{Known, Outcome};
use crate::intent::ShownState;
use crate::moment::{Moment, Timestamp};
use crate::report::{CanaryShown, CheckResult, Detailed, Evidence, Report};
use crate::store::{LastAnswer, Write};

use super::{Engine, sentences};

/// The text, as far as a result needs it.
#[derive(Serialize, Deserialize)]
struct Basis<'a> {
    access: Cow<'a, str>,
    canary: Option<Canary<'a>>,
    declared: bool,
    /// Whole milliseconds.
    duration: u32,
    evidence: Vec<Asked<'a>>,
    explanation: String,
    known: Known,
    predicted: Option<Cow<'a, str>>,
    reason: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
struct Canary<'a> {
    kind: Cow<'a, str>,
    repo: Cow<'a, str>,
    state: Cow<'a, str>,
}

/// A request of it, with what the contract's JSON leaves out.
#[derive(Serialize, Deserialize)]
struct Asked<'a> {
    failure: Option<Cow<'a, str>>,
    method: Cow<'a, str>,
    path: String,
    request_id: Option<String>,
    status: Option<u16>,
}

/// What may be absent, read; `None` where it is there and not ours.
fn ours<T, U>(said: Option<T>, read: impl FnOnce(T) -> Option<U>) -> Option<Option<U>> {
    match said {
        Some(said) => read(said).map(Some),
        None => Some(None),
    }
}

impl Basis<'_> {
    fn of(result: &CheckResult, known: Known) -> Basis<'_> {
        let asked = |e: Evidence| Asked {
            failure: e.failure.map(Cow::Borrowed),
            method: Cow::Borrowed(e.method),
            path: e.path,
            request_id: e.request_id,
            status: e.status,
        };
        let canary = result.canary.as_ref().map(|canary| Canary {
            kind: Cow::Borrowed(canary.kind),
            repo: Cow::Borrowed(&canary.repo),
            state: Cow::Borrowed(canary.state.as_str()),
        });
        Basis {
            access: Cow::Borrowed(result.found.as_str()),
            canary,
            declared: result.declared,
            duration: result.duration_ms,
            evidence: result.evidence().into_iter().map(asked).collect(),
            explanation: result.explanation(),
            known,
            predicted: result.predicted.map(Cow::Borrowed),
            reason: result.found.reason().map(Cow::Borrowed),
        }
    }

    /// The result of which this is the text, by what its check has come to; `None` where a word is not ours.
    fn result(self, check: &Check, state: &CheckState, observed_at: Timestamp) -> Option<CheckResult> {
        let told = Access::parse(&self.access, self.reason.as_deref())?;
        // Texts are read after states: one may be of an answer that the state does not know yet.
        let found = if state.observed_at < observed_at { told } else { state.latest };
        let verdict = compare(check.expected, found);
        let evidence: Option<Vec<Evidence>> = self.evidence.into_iter().map(Asked::evidence).collect();
        let word = |word: &str| [true, false].map(Outcome::word).into_iter().find(|known| *known == word);
        let detailed = Detailed {
            key: check.key(),
            expected: check.expected,
            verdict,
            declared: self.declared,
            predicted: ours(self.predicted.as_deref(), word)?,
            found,
            observed_at,
            duration: Duration::from_millis(self.duration.into()),
            evidence: evidence?,
            canary: ours(self.canary, Canary::shown)?,
            // A canary that was found later made a grant of it.
            explanation: if told == found {
                self.explanation
            } else {
                sentences::result(check, verdict, found, "")
            },
        };
        Some(detailed.into())
    }
}

impl Canary<'_> {
    fn shown(self) -> Option<CanaryShown> {
        let (kind, state): (RepoType, ShownState) = (self.kind.parse().ok()?, self.state.parse().ok()?);
        Some(CanaryShown { repo: self.repo.into_owned(), kind: kind.as_str(), state })
    }
}

impl Asked<'_> {
    fn evidence(self) -> Option<Evidence> {
        Some(Evidence {
            method: self.method.parse::<Verb>().ok()?.as_str(),
            path: self.path,
            status: self.status,
            request_id: self.request_id,
            failure: ours(self.failure, |word| word.parse::<Failure>().ok())?.map(Failure::as_str),
        })
    }
}

impl Engine {
    /// Remembers the latest answer to this check, as it is told now.
    pub(super) fn remember_answer(&mut self, check: &Check, now: Moment) {
        let latest = self.checks.latest(&check.key());
        if let Some(write) = latest.map(|latest| self.answer(check, latest, now)) {
            self.remember(write);
        }
    }

    /// What the journal is to have of this result.
    pub(super) fn answer(&self, check: &Check, result: &CheckResult, now: Moment) -> Write {
        let basis = Basis::of(result, self.known_of(check, now));
        // Nothing in it can fail: all keys are texts.
        let body = serde_json::to_string(&basis).unwrap_or_default();
        Write::Answer(LastAnswer { key: check.key(), at: result.observed_at, body })
    }

    /// Takes answers that the journal has, for a process that only shows them.
    pub fn recall(&mut self, answers: Vec<LastAnswer>) {
        let config = self.config.clone();
        for LastAnswer { key, at, body } in answers {
            let checks = config.token(&key.token).map(|token| &token.checks);
            let check = checks.and_then(|checks| checks.iter().find(|check| check.key() == key));
            let (Some(check), Some(state)) = (check, self.checks.get(&key)) else { continue };
            let Ok(basis) = serde_json::from_str::<Basis<'_>>(&body) else { continue };
            let known = basis.known.clone();
            let Some(mut result) = basis.result(check, state, at) else { continue };
            result.share(&mut self.told);
            self.explain_recalled(check, &known, &Observed::of(&result, true));
            self.checks.answered(&key, result);
        }
    }

    /// The report of what was recalled: the latest result of every check, from the oldest of them to the newest.
    pub(super) fn recalled_report(&self) -> Option<Arc<Report>> {
        let whole = self.report(&BTreeSet::new(), Timestamp(0), Timestamp(0));
        let seen = || whole.results.iter().map(|result| result.observed_at);
        let (started_at, finished_at) = (seen().min()?, seen().max()?);
        Some(Arc::new(Report { started_at, finished_at, ..whole }))
    }
}

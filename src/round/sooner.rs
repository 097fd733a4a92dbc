//! Probes out of turn: of a token that declares something else than before, and of a check whose answer counts only
//! together with the next one. So that what changed is known at once, and what is not certain soon.
//!
//! Never sooner than a bound and never for long: a Hub that says something else every time gets no more than one round
//! out of turn per token and bound.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::access::{Check, TokenName};
use crate::hub::diff::{Topic, differences};
use crate::hub::whoami::Declared;
use crate::moment::Moment;
use crate::schedule::Classes;

use super::Engine;
use super::rounds::Phase;

/// Tokens to be probed out of turn.
#[derive(Debug, Default)]
pub(super) struct OutOfTurn {
    /// Because a person asked, in the next round that is free.
    pub asked: Vec<TokenName>,
    /// Because of what was heard, in a round of their own.
    sooner: BTreeMap<TokenName, Sooner>,
    /// When that was last done.
    last: BTreeMap<TokenName, Duration>,
}

/// What a token is wanted for before its schedule, and from when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sooner {
    at: Duration,
    due: Classes,
}

/// The shortest time between two rounds out of turn for one token, and after an answer that wants another.
const SOONEST: Duration = Duration::from_secs(60);
/// The longest time until an answer that wants another gets it.
const LATEST: Duration = Duration::from_secs(600);

/// How long after an answer that is not certain the same is asked again: a quarter of its period within bounds. `None`
/// where the schedule is as soon.
pub(super) fn again_after(period: Duration) -> Option<Duration> {
    let after = (period / 4).clamp(SOONEST, LATEST);
    (after < period).then_some(after)
}

/// The class of a check.
fn class_of(check: &Check) -> Classes {
    Classes { probe: !check.creates(), canary: check.creates(), declared: false }
}

/// Whether what a token declares differs in anything that its access may depend on.
pub(super) fn declares_otherwise(organization: &str, before: &Declared, now: &Declared) -> bool {
    Topic::DECLARED.iter().any(|topic| !differences(*topic, organization, before, now).is_empty())
}

impl Engine {
    /// The token declares something else: its checks are asked at once, but for those that this round asks anyway.
    pub(super) fn probe_changed(&mut self, token: &TokenName, now: Moment) {
        let checks = self.config.token(token).map_or(&[][..], |token| &token.checks);
        let wanted = checks.iter().map(class_of).fold(Classes::default(), Classes::and);
        let asked = match &self.round {
            Some(round) if matches!(round.phase, Phase::Keys | Phase::Declared | Phase::Controls) => {
                let own = round.jobs.iter().filter(|job| job.check.token == *token);
                own.map(|job| class_of(&job.check)).fold(Classes::default(), Classes::and)
            }
            _ => Classes::default(),
        };
        self.want_sooner(token, wanted.without(asked), Duration::ZERO, now);
    }

    /// An answer of this check counts only together with another one, which is asked for soon.
    pub(super) fn probe_again(&mut self, check: &Check, now: Moment) {
        let due = class_of(check);
        let schedule = &self.config.schedule;
        let period =
            self.timetable.period(if due.canary { &schedule.canary } else { &schedule.probe }, now.wall);
        if let Some(after) = again_after(period) {
            self.want_sooner(&check.token, due, after, now);
        }
    }

    fn want_sooner(&mut self, token: &TokenName, due: Classes, after: Duration, now: Moment) {
        if due.is_empty() || self.mode.one_shot || self.observing || self.stopping {
            return;
        }
        let rested = self.out_of_turn.last.get(token).map_or(Duration::ZERO, |last| *last + SOONEST);
        let at = (now.mono + after).max(rested);
        let wanted = self.out_of_turn.sooner.entry(token.clone()).or_insert(Sooner { at, due });
        *wanted = Sooner { at: wanted.at.min(at), due: wanted.due.and(due) };
    }

    /// Whether anything is wanted by now.
    pub(super) fn sooner_is_due(&self, now: Moment) -> bool {
        self.sooner_wakes().is_some_and(|at| at <= now.mono)
    }

    /// What is wanted by now, for a round of its own: which checks, and whose.
    pub(super) fn take_sooner(&mut self, now: Moment) -> (Classes, Vec<TokenName>) {
        let ripe: Vec<TokenName> = self
            .out_of_turn
            .sooner
            .iter()
            .filter(|(_, wanted)| wanted.at <= now.mono)
            .map(|(token, _)| token.clone())
            .collect();
        let mut due = Classes::default();
        for token in &ripe {
            due = self.out_of_turn.sooner.remove(token).map_or(due, |wanted| due.and(wanted.due));
            self.out_of_turn.last.insert(token.clone(), now.mono);
        }
        (due, ripe)
    }

    /// Tokens that are configured no more are wanted no more.
    pub(super) fn forget_sooner(&mut self) {
        let config = &self.config;
        self.out_of_turn.sooner.retain(|token, _| config.token(token).is_some());
        self.out_of_turn.last.retain(|token, _| config.token(token).is_some());
    }

    /// When the next is wanted.
    pub(super) fn sooner_wakes(&self) -> Option<Duration> {
        self.out_of_turn.sooner.values().map(|wanted| wanted.at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn again_is_a_quarter_of_the_period_within_bounds() {
        let s = Duration::from_secs;
        for (period, after) in [
            (s(10), None),
            (s(60), None),
            (s(61), Some(s(60))),
            (s(900), Some(s(225))),
            (s(3600), Some(s(600))),
            (s(86400), Some(s(600))),
        ] {
            assert_eq!(again_after(period), after, "{period:?}");
        }
    }
}

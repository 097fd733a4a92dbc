//! What sinks were told of each alert, and what they are to be told next.
//!
//! Asymmetric: a grant is told at the first sight, always; anything else that comes and goes is told at most once
//! each way in half an hour, except the first time of an episode. What ends an alert is decided where findings end;
//! here nothing ends by time, restart, reload or because a check is no longer configured. Pure; times are the wall
//! clock's, so that they outlast a restart. Serves `round` and the store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::moment::Timestamp;
use crate::planted::{self, Defect};

use super::message::{AlertKey, Message, Tidings, Words};

/// Within this of the last time, an alert that comes and goes is one episode, and is told no more often.
pub const HOLD: Duration = Duration::from_secs(30 * 60);
/// What ended is said again for so long to a sink that keeps no memory of its own.
pub const RESOLVED_FOR: Duration = Duration::from_secs(15 * 60);

/// What was told of one alert. Kept in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    pub key: AlertKey,
    /// When its episode began.
    pub episode: Timestamp,
    /// Whether the last word was that it fires.
    pub firing: bool,
    /// Since when it fires, or fired.
    pub since: Timestamp,
    /// When it was last told to fire.
    pub fired_at: Timestamp,
    /// When it was last told to be over.
    pub resolved_at: Option<Timestamp>,
    /// When it was last spoken of while it fires.
    pub spoken_at: Timestamp,
    /// Which sinks were told.
    pub sinks: BTreeSet<String>,
    /// As they were told; labels must not change while an episode lasts.
    pub words: Words,
}

/// How an alert should stand, by what lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// It fires, since then, and this is to be said.
    Firing(Timestamp, Words),
    /// It was seen to be over.
    Over,
    /// Nobody looks any more: nothing ends by that, and nothing more is said.
    Unwatched,
}

/// What is to be done about an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Step {
    Nothing,
    /// Not before this time.
    Wait(Timestamp),
    Tell(Tidings),
    /// Forget it.
    Forget,
}

impl Alert {
    /// The message about it as it stands.
    pub fn message(&self, tidings: Tidings, at: Timestamp) -> Message {
        Message {
            id: self.key.episode(self.episode),
            tidings,
            key: self.key.clone(),
            words: self.words.clone(),
            since: self.since,
            at,
        }
    }

    /// Takes new words over. The labels stay as they were told: they are its identity.
    fn say(&mut self, words: &Words) {
        self.words.summary.clone_from(&words.summary);
        self.words.description.clone_from(&words.description);
        self.words.evidence.clone_from(&words.evidence);
    }

    /// The clock was set by so many milliseconds: what was counted goes on where it was.
    pub fn clock_stepped(&mut self, by: i64) {
        let moved = |at: Timestamp| Timestamp(at.millis().saturating_add(by));
        self.fired_at = moved(self.fired_at);
        self.spoken_at = moved(self.spoken_at);
        self.resolved_at = self.resolved_at.map(moved);
    }

    /// Times of the future were written by a clock that was ahead.
    pub fn tame_the_future(&mut self, now: Timestamp) {
        self.fired_at = self.fired_at.min(now);
        self.spoken_at = self.spoken_at.min(now);
        self.resolved_at = self.resolved_at.map(|at| at.min(now));
    }
}

/// The decision. `remind_every` is the pause between reminders.
pub fn decide(alert: Option<&Alert>, wanted: &Wanted, remind_every: Duration, now: Timestamp) -> Step {
    let Some(alert) = alert else {
        return if matches!(wanted, Wanted::Firing(..)) {
            Step::Tell(Tidings::Firing)
        } else {
            Step::Nothing
        };
    };
    match (alert.firing, wanted) {
        (false, Wanted::Firing(..)) => {
            let next = alert.fired_at + HOLD;
            let told = alert.key.name.is_grant() || now >= next || !same_episode(alert, now);
            if told { Step::Tell(Tidings::Firing) } else { Step::Wait(next) }
        }
        (true, Wanted::Firing(..)) => {
            let next = alert.spoken_at + remind_every;
            if now >= next { Step::Tell(Tidings::Reminder) } else { Step::Wait(next) }
        }
        (true, Wanted::Over) => match alert.resolved_at.map(|at| at + HOLD) {
            Some(next) if now < next => Step::Wait(next),
            _ => Step::Tell(Tidings::Resolved),
        },
        (true, Wanted::Unwatched) => Step::Forget,
        (false, Wanted::Over | Wanted::Unwatched) => match alert.resolved_at.map(|at| at + HOLD) {
            Some(next) if now < next => Step::Wait(next),
            _ => Step::Forget,
        },
    }
}

/// Whether what begins now goes on with the episode that was told last.
fn same_episode(alert: &Alert, now: Timestamp) -> bool {
    alert.resolved_at.is_some_and(|at| now < at + HOLD)
}

/// The alert after it was told, by [`decide`], and the message. `sinks` are those that are told.
pub fn told(
    alert: Option<&Alert>,
    key: &AlertKey,
    wanted: &Wanted,
    tidings: Tidings,
    sinks: &BTreeSet<String>,
    now: Timestamp,
) -> Option<Alert> {
    let mut next = match (alert, wanted) {
        (Some(alert), _) => alert.clone(),
        (None, Wanted::Firing(since, words)) => Alert {
            key: key.clone(),
            episode: now,
            firing: false,
            since: *since,
            fired_at: now,
            resolved_at: None,
            spoken_at: now,
            sinks: BTreeSet::new(),
            words: words.clone(),
        },
        (None, _) => return None,
    };
    match tidings {
        Tidings::Firing => {
            let goes_on = same_episode(&next, now);
            if !goes_on {
                next.episode = now;
                next.resolved_at = None;
            }
            if let Wanted::Firing(since, words) = wanted {
                next.since = *since;
                next.say(words);
                if !goes_on {
                    next.words = words.clone();
                }
            }
            next.firing = true;
            next.fired_at = now;
            next.spoken_at = now;
            next.sinks = sinks.clone();
        }
        Tidings::Reminder => {
            if let Wanted::Firing(_, words) = wanted {
                next.say(words);
            }
            next.spoken_at = now;
        }
        Tidings::Resolved => {
            next.firing = false;
            next.resolved_at = Some(now);
        }
    }
    Some(next)
}

/// What a sink without a memory of its own must hear again: what fires, and what ended lately.
pub fn standing<'a>(
    alerts: &'a BTreeMap<AlertKey, Alert>,
    sink: &'a str,
    now: Timestamp,
) -> impl Iterator<Item = Message> + 'a {
    alerts.values().filter(move |alert| alert.sinks.contains(sink)).filter_map(move |alert| {
        if planted::is(Defect::NoResend) {
            return None;
        }
        let lately = alert.resolved_at.is_some_and(|at| now < at + RESOLVED_FOR);
        match alert.firing {
            true => Some(alert.message(Tidings::Firing, alert.fired_at)),
            false if lately => Some(alert.message(Tidings::Resolved, alert.resolved_at.unwrap_or(now))),
            false => None,
        }
    })
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;

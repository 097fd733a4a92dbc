//! What is known of each token: its key, whether the Hub accepts it, whose it is, and what it may still ask.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{TokenName, UnknownReason};
use crate::exchange::{Answer, Credential, Exchange, Failure};
use crate::hub::answers::{envelope, json, of_status, rate_limit};
use crate::hub::past::Past;
use crate::hub::routes;
use crate::hub::whoami::{self, Declared, Heard};
use crate::moment::{Moment, Timestamp};
use crate::schedule::Classes;
use crate::secret::SecretFault;

use super::declared::Standing;
use super::{Effect, Engine, Job, Meter};

/// One token, as far as it is known in this process.
#[derive(Debug, Default)]
pub(super) struct TokenState {
    /// The fingerprint of its key, or what is wrong with it; `None` before the keys were read.
    pub key: Option<Result<Arc<str>, SecretFault>>,
    /// What it declared last, and when.
    pub declared: Option<Known>,
    /// The Hub said in its last answer that it does not accept it.
    pub dead: bool,
    /// It said so in this round, so that nothing more is asked with it before the next.
    pub spent: bool,
    /// Whether the Hub answered in this round as it answers only a live token.
    pub alive: bool,
    /// Whether it ever did in this process, and did not take it back.
    pub accepted: bool,
    /// When whoami was asked last.
    asked_at: Option<Duration>,
    /// For how long after that it is not asked again without a schedule.
    rest: Duration,
    /// What its declarations are held against; goes on when the secret changes.
    pub past: Option<Box<Past>>,
    /// What the config makes of `declared`; there as long as that is.
    pub standing: Option<Box<Standing>>,
}

/// A whoami that was heard.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub declared: Arc<Declared>,
    /// Of the key that it was asked with.
    pub fingerprint: Arc<str>,
    pub at: Timestamp,
}

/// A failed whoami is not asked again in every round.
const ASK_AGAIN: Duration = Duration::from_secs(300);
/// Nor one that an ailing Hub may have counted; but once that is well, nothing should wait for long.
const ASK_AGAIN_SOON: Duration = Duration::from_secs(60);

/// How long whoami of a token rests after it came to this. What never reached the Hub counts for nothing there.
fn rest_after(outcome: &Result<Answer, Failure>) -> Duration {
    match outcome {
        Err(Failure::Unsent) => Duration::ZERO,
        Err(_) => ASK_AGAIN_SOON,
        Ok(answer) if answer.status >= 500 => ASK_AGAIN_SOON,
        Ok(_) => ASK_AGAIN,
    }
}

impl TokenState {
    /// Whether there is a key, and the Hub has not refused it.
    pub fn usable(&self) -> bool {
        matches!(self.key, Some(Ok(_))) && !self.spent
    }

    /// Whether whoami may be asked again.
    fn rested(&self, now: Moment) -> bool {
        self.asked_at.is_none_or(|at| now.mono.saturating_sub(at) >= self.rest)
    }
}

/// Whether an answer is one that only the Hub gives, and not one of its failures.
pub(super) fn of_the_hub(exchange: &Exchange) -> bool {
    match &exchange.outcome {
        Ok(answer) if (200..300).contains(&answer.status) => json(answer).is_some(),
        Ok(answer) => (400..429).contains(&answer.status) && envelope(answer).is_some(),
        Err(_) => false,
    }
}

impl Engine {
    /// Tells the key of a credential from the next of the same name; none without a usable one.
    pub(super) fn fingerprint(&self, credential: &Credential) -> Option<&str> {
        let Credential::Token(token) = credential else { return None };
        self.tokens.get(token)?.key.as_ref()?.as_deref().ok()
    }

    pub(super) fn take_keys(&mut self, keys: BTreeMap<TokenName, Result<String, SecretFault>>, now: Moment) {
        for (token, key) in keys {
            let key = key.map(Arc::<str>::from);
            let state = self.tokens.entry(token).or_default();
            state.spent = false;
            state.alive = false;
            let changed = state.key.as_ref() != Some(&key);
            if changed {
                // Another secret under the same name: what was known of the old one says nothing of it.
                state.dead = false;
                state.accepted = false;
                state.asked_at = None;
            }
            let same = matches!((&key, &state.declared), (Ok(now), Some(known)) if *now == known.fingerprint);
            if !same {
                state.declared = None;
                state.standing = None;
            }
            if let (Ok(fingerprint), Some(past)) = (&key, &mut state.past) {
                past.hear_mark(fingerprint, now.wall);
            }
            state.key = Some(key);
        }
        self.keys_loaded = true;
        self.keys_read_at = Some(now.mono);
        self.keys_taken(now);
    }

    /// What the token declared, if that is no older than the schedule says.
    pub(super) fn declared(&self, token: &TokenName, now: Moment) -> Option<&Declared> {
        let known = self.tokens.get(token)?.declared.as_ref()?;
        let age = now.wall.since(known.at);
        // The period costs a walk through the calendar, and is often not needed.
        (age <= ASK_AGAIN || age <= self.declared_for(now)).then_some(&known.declared)
    }

    /// How long a whoami counts: the period of its schedule, and time enough for a slow round.
    fn declared_for(&self, now: Moment) -> Duration {
        let period = self.timetable.period(&self.config.schedule.declared, now.wall);
        period.max(ASK_AGAIN) + Duration::from_secs(60)
    }

    /// Whose quota and create lock a token shares; the token's own name while that is not known.
    pub(super) fn user_of(&self, credential: &Credential) -> String {
        match credential {
            Credential::Anonymous => "anonymous".to_owned(),
            Credential::Token(token) => self.user_of_token(token).into_owned(),
        }
    }

    pub(super) fn user_of_token(&self, token: &TokenName) -> Cow<'_, str> {
        match self.tokens.get(token).and_then(|state| state.declared.as_ref()) {
            Some(known) => Cow::Borrowed(&known.declared.user),
            None => Cow::Owned(format!("token:{token}")),
        }
    }

    /// Asks whoami of the tokens of this round whose answer is due or missing. Says whether any is under way.
    pub(super) fn ask_whoami(&mut self, wanted: &[TokenName], due: Classes, now: Moment) -> bool {
        // Observers first, then who was asked longest ago: a strict allowance must not starve the same ones.
        let mut order: Vec<&TokenName> = wanted.iter().collect();
        let janitor =
            |token: &TokenName| self.config.organizations.iter().any(|o| o.janitor.as_ref() == Some(token));
        order.sort_by_cached_key(|token| {
            let known_at = self.tokens.get(*token).and_then(|s| s.declared.as_ref()).map(|known| known.at);
            (!janitor(token), known_at)
        });
        for token in order {
            let fresh = self.declared(token, now).is_some();
            let loopback = self.config.hub.loopback;
            let state = self.tokens.entry(token.clone()).or_default();
            let rested = state.rested(now);
            let due = due.declared || (!fresh && rested);
            if !due || self.asking.contains(token) || !matches!(state.key, Some(Ok(_))) {
                continue;
            }
            if !loopback && !self.allowance.take(now.mono) {
                continue;
            }
            state.asked_at = Some(now.mono);
            self.asking.insert(token.clone());
            let request = routes::whoami(Credential::Token(token.clone()));
            self.ask(Job::Whoami(token.clone()), request, None);
        }
        self.asks_any(wanted)
    }

    /// Whether a whoami of one of these, which stand in order, is under way.
    pub(super) fn asks_any(&self, wanted: &[TokenName]) -> bool {
        // Those under way are mostly of these, so that the first of them settles it; it is asked at every answer.
        self.asking.iter().any(|token| wanted.binary_search(token).is_ok())
    }

    pub(super) fn hear_whoami(
        &mut self,
        token: &TokenName,
        exchange: &Exchange,
        replaced: bool,
        now: Moment,
    ) {
        let state = self.tokens.entry(token.clone()).or_default();
        state.rest = rest_after(&exchange.outcome);
        if state.rest.is_zero() && !self.config.hub.loopback {
            self.allowance.give_back();
        }
        self.asking.remove(token);
        self.changed = true;
        let heard = whoami::read(&exchange.outcome);
        if let (Heard::Unclear(UnknownReason::RateLimited), Ok(answer)) = (&heard, &exchange.outcome) {
            // Of a token this proves nothing, but whoever is refused once does not go on asking.
            let wait = rate_limit(answer).retry_after;
            self.allowance.rest(now.mono + wait.unwrap_or(ASK_AGAIN));
        }
        // Of a secret that was replaced meanwhile it says nothing of the one that took its place.
        let Some(Heard::Known(declared)) = Some(heard).filter(|_| !replaced) else {
            self.suspected.retain(|key| key.token != *token);
            return;
        };
        let Some(Ok(fingerprint)) = self.tokens.get(token).and_then(|state| state.key.clone()) else {
            return;
        };
        let news = self.tokens.get(token).is_none_or(|state| state.declared.is_none());
        self.pacing.pace.rename(&format!("token:{token}"), &declared.user);
        self.take_declared(token, Arc::from(declared), fingerprint, now);
        if news {
            self.look_for_makers(now);
        }
        self.predict_again(token, now);
    }

    /// Asks whoami of a token out of turn, once a round at most. Says whether one of this round is under way.
    pub(super) fn ask_whoami_again(&mut self, token: &TokenName, now: Moment) -> bool {
        let loopback = self.config.hub.loopback;
        let begun = self.round.as_ref().map(|round| round.begun.mono);
        let Some(state) = self.tokens.get(token) else { return false };
        let asked = |since: Option<Duration>| state.asked_at.is_some_and(|at| since.is_none_or(|s| at >= s));
        let rested = state.rested(now);
        let fit = matches!(state.key, Some(Ok(_))) && !asked(begun);
        if self.asking.contains(token) {
            return true;
        }
        if !fit || !(loopback || (rested && self.allowance.take(now.mono))) {
            return false;
        }
        if let Some(state) = self.tokens.get_mut(token) {
            state.asked_at = Some(now.mono);
            self.asking.insert(token.clone());
        }
        self.ask(Job::Whoami(token.clone()), routes::whoami(Credential::Token(token.clone())), None);
        true
    }

    /// Takes from any answer what it says beside the point: that the Hub is there, that the token is alive or
    /// dead (unless its secret was replaced since it was sent).
    pub(super) fn note_answer(&mut self, exchange: &Exchange, replaced: bool, now: Moment) {
        if exchange.outcome == Err(Failure::Held) {
            return;
        }
        let outcome = match &exchange.outcome {
            Ok(answer) => Ok(answer.status),
            Err(failure) => Err(failure.as_str()),
        };
        let route = exchange.request.route;
        self.out.push(Effect::Meter(Meter::Request { route, outcome, took: exchange.elapsed }));
        let answer = match &exchange.outcome {
            Ok(answer) => answer,
            Err(Failure::ReadOnly | Failure::NoSecret | Failure::Stale) => return,
            Err(_) => {
                self.hub_reachable = Some(false);
                return;
            }
        };
        self.hub_reachable = Some(answer.status < 500);
        let hubs = of_the_hub(exchange);
        self.answered_in_round |= hubs;
        if hubs {
            self.hear_date(exchange, now);
        }
        let Credential::Token(token) = &exchange.request.credential else { return };
        if replaced {
            return;
        }
        let state = self.tokens.entry(token.clone()).or_default();
        match answer.status {
            200..=299 if answer.content_type != "text/html" => {
                state.alive = true;
                state.accepted = true;
                state.dead = false;
            }
            // In the Hub's envelope.
            403 if hubs => {
                state.alive = true;
                state.accepted = true;
                state.dead = false;
            }
            401 if of_status(answer) == UnknownReason::TokenInvalid => {
                state.alive = false;
                state.accepted = false;
                state.dead = true;
                state.spent = true;
            }
            _ => {}
        }
    }
}

//! What tokens declare, held against what is pinned, what was before, and what is checked: the findings of tokens.
//!
//! A finding of a change lasts as `hub::past` has it: until it is undone, or for a day. What is pinned lasts while
//! it differs. Nothing is concluded from a whoami that was not heard: findings stay as they are until the next one.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::access::{Severity, TokenName};
use crate::config::{Config, Token};
use crate::hub::coverage::{self, Jobs, Watched};
use crate::hub::diff::{Topic, differences};
use crate::hub::past::Past;
use crate::hub::pin::{self, Pinned};
use crate::hub::shown::listed;
use crate::hub::whoami::Declared;
use crate::moment::{Moment, Timestamp};
use crate::report::{FindingKey, FindingKind, TokenView};
use crate::store::{self, Write};

use super::sooner::declares_otherwise;
use super::tokens::{Known, TokenState};
use super::{Engine, ignores};

/// Things of one kind that a sentence lists, at most.
const LISTED: usize = 8;

/// What is stored of a token: its last whoami and what that is held against.
#[derive(Serialize, Deserialize)]
pub(super) struct Body {
    #[serde(flatten)]
    pub declared: Arc<Declared>,
    /// The key that its fingerprints were made with; absent where an earlier version stored it.
    #[serde(default)]
    pub key: Option<String>,
    /// Absent where nothing differs: then the last whoami is its own past.
    #[serde(default)]
    pub past: Option<Past>,
}

/// What the config makes of a declaration; judged anew with every whoami and every config.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Differences from the pin.
    pinned: Vec<String>,
    /// Words that this version does not know.
    unheard: Vec<String>,
    /// What no check covers and no pin names.
    unchecked: Vec<String>,
}

/// The pin, without what only a config needs.
fn pinned(token: &Token) -> Pinned<'_> {
    let Some(pin) = &token.declared else { return Pinned::default() };
    let scopes = pin.scopes.as_ref().map(|scopes| {
        scopes.iter().map(|scope| (scope.entity.as_str(), scope.permissions.as_slice())).collect()
    });
    Pinned { user: pin.user.as_deref(), role: pin.role.as_deref(), scopes }
}

fn stand(config: &Config, token: &Token, declared: &Declared) -> Standing {
    let pinned = pinned(token);
    let organization = config.organization(&token.organization);
    let is = |name: Option<&TokenName>| name == Some(&token.name);
    let jobs = Jobs {
        janitor: organization.is_some_and(|o| is(o.janitor.as_ref())),
        inventory: organization.is_some_and(|o| is(o.inventory.as_ref())),
    };
    let watched = Watched { organization: &token.organization, checks: &token.checks, pinned: &pinned, jobs };
    Standing {
        pinned: pin::differences(&pinned, declared),
        unheard: coverage::unheard(declared, &pinned),
        unchecked: coverage::unchecked(declared, &watched),
    }
}

impl Engine {
    pub(super) fn remember_declared(&mut self, kept: Vec<store::Declared>) {
        let key = self.signer.key_id().to_owned();
        for entry in kept {
            let Ok(body) = serde_json::from_str::<Body>(&entry.body) else { continue };
            let Body { declared, key: signed, past } = body;
            let mut past = past.unwrap_or_else(|| Past {
                partial: signed.is_none(),
                ..Past::new(declared.clone(), entry.fingerprint.clone())
            });
            if signed.is_some_and(|signed| signed != key) {
                // Another canary key makes other fingerprints of the same secrets.
                past.forget_mark();
            }
            let state = self.tokens.entry(entry.token).or_default();
            state.past = Some(Box::new(past));
            state.declared = Some(Known { declared, fingerprint: entry.fingerprint.into(), at: entry.at });
        }
    }

    /// Takes a whoami that was just heard, asked with the secret of this fingerprint.
    pub(super) fn take_declared(
        &mut self,
        token: &TokenName,
        declared: Arc<Declared>,
        fingerprint: Arc<str>,
        now: Moment,
    ) {
        let config = self.config.clone();
        let state = self.tokens.entry(token.clone()).or_default();
        let past =
            state.past.get_or_insert_with(|| Box::new(Past::new(declared.clone(), fingerprint.clone())));
        if let Some(token) = config.token(token) {
            past.hear(&token.organization, &pinned(token), &declared, now.wall);
            state.standing = Some(Box::new(stand(&config, token, &declared)));
        }
        let known = state.declared.as_ref().map(|known| &known.declared);
        let differs = config.token(token).zip(known).is_some_and(|(configured, known)| {
            declares_otherwise(&configured.organization, known, &declared)
        });
        let past = (!past.open.is_empty()).then(|| Past::clone(past));
        let body = Body { declared: declared.clone(), key: Some(self.signer.key_id().to_owned()), past };
        state.declared = Some(Known { declared, fingerprint: fingerprint.clone(), at: now.wall });
        if differs {
            self.probe_changed(token, now);
        }
        let Ok(body) = serde_json::to_string(&body) else { return };
        let token = token.clone();
        self.remember(Write::Declared(store::Declared {
            token,
            fingerprint: fingerprint.to_string(),
            at: now.wall,
            body,
        }));
    }

    /// Judges all that is known by the config as it is now.
    pub(super) fn judge_declared(&mut self) {
        let config = self.config.clone();
        for token in &config.tokens {
            let Some(state) = self.tokens.get_mut(&token.name) else { continue };
            state.standing =
                state.declared.as_ref().map(|known| Box::new(stand(&config, token, &known.declared)));
        }
    }

    pub(super) fn token_findings(&mut self, now: Moment) {
        let config = self.config.clone();
        let open: BTreeSet<(FindingKind, TokenName)> = self
            .findings
            .values()
            .filter(|finding| finding.resolved_at.is_none() && finding.target.is_none())
            .filter_map(|finding| Some((finding.kind, finding.token.clone()?)))
            .collect();
        for token in &config.tokens {
            let Some(state) = self.tokens.get_mut(&token.name) else { continue };
            let heard = state.declared.as_ref().map(|known| known.at);
            for (kind, told) in told(&config, token, state, now) {
                let key = token_finding(kind, token);
                let told = told.filter(|_| ignores::accepted(&config, &key, now.wall).is_none());
                if told.is_some() || open.contains(&(kind, token.name.clone())) {
                    self.tell_of_token(key, told, heard, now);
                }
            }
        }
    }

    /// Begins, confirms or ends a finding of a token. What nothing new was heard of is not confirmed again.
    fn tell_of_token(
        &mut self,
        key: FindingKey,
        told: Option<String>,
        heard: Option<Timestamp>,
        now: Moment,
    ) {
        let current = self.findings.get(&key).filter(|finding| finding.resolved_at.is_none());
        let confirmed = current.is_some_and(|finding| {
            told.as_ref() == Some(&finding.detail) && heard.is_some_and(|at| at <= finding.last_seen)
        });
        if !confirmed || key.kind == FindingKind::TokenUnusable {
            let lasts = told.is_some();
            self.set_finding(key, lasts, Severity::Warning, || told.unwrap_or_default(), now.wall);
        }
    }

    pub(super) fn token_view(&self, token: &Token, now: Moment) -> TokenView {
        let state = self.tokens.get(&token.name);
        let usable = state.and_then(|state| match &state.key {
            Some(Err(_)) => Some(false),
            _ if state.dead => Some(false),
            _ if state.accepted || state.declared.is_some() => Some(true),
            _ => None,
        });
        let declared = state.and_then(|state| state.declared.as_ref()).map(|known| &known.declared);
        let standing = state.and_then(|state| state.standing.as_ref());
        let drift = token_finding(FindingKind::DeclaredChanged, token);
        let accepted = || ignores::accepted(&self.config, &drift, now.wall).is_some();
        TokenView {
            organization: token.organization.clone(),
            token: token.name.clone(),
            owner: token.owner.clone(),
            severity: token.severity,
            usable,
            declared_drift: standing.map(|standing| !standing.pinned.is_empty() && !accepted()),
            expires_at: declared.and_then(|declared| declared.expiry()),
            unchecked_permissions: standing
                .map(|standing| u64::try_from(standing.unchecked.len()).unwrap_or(u64::MAX)),
        }
    }
}

pub(super) fn token_finding(kind: FindingKind, token: &Token) -> FindingKey {
    FindingKey {
        kind,
        organization: token.organization.clone(),
        token: Some(token.name.clone()),
        permission: None,
        target: None,
    }
}

/// Of each kind what is to be told, or nothing; kinds of which nothing can be said are left out.
fn told(
    config: &Config,
    token: &Token,
    state: &mut TokenState,
    now: Moment,
) -> Vec<(FindingKind, Option<String>)> {
    let mut all = vec![(FindingKind::TokenUnusable, unusable(token, state))];
    let mark = match &state.key {
        Some(Ok(fingerprint)) => fingerprint.clone(),
        _ => Arc::default(),
    };
    let organization = &token.organization;
    if let (false, Some(past)) = (mark.is_empty(), &mut state.past) {
        let lasts = past.tells(Topic::Secret, organization, None, &mark, now.wall);
        all.push((FindingKind::Rotated, lasts.then(|| rotated(token))));
    }
    let Some(known) = &state.declared else { return all };
    let declared = &known.declared;
    all.push((FindingKind::ExpiresSoon, expires(config, token, declared, now.wall)));
    let mut changes = Vec::new();
    if let Some(past) = &mut state.past {
        for topic in Topic::DECLARED {
            let lasts = past.tells(topic, organization, Some(declared), &mark, now.wall);
            let what = lasts.then(|| differences(topic, organization, &past.declared, declared));
            changes.push((topic, what.unwrap_or_default()));
        }
    }
    let Some(standing) = &state.standing else { return all };
    for (topic, what) in changes {
        let (kind, sentence) = match topic {
            Topic::Owner => (FindingKind::OwnerChanged, owner_changed(token, &what)),
            Topic::Role => (FindingKind::RoleChanged, role_changed(token, &what)),
            Topic::Policy => (FindingKind::PolicyChanged, policy_changed(token, &what)),
            Topic::Declared | Topic::Secret => {
                (FindingKind::DeclaredChanged, declared_changed(token, &standing.pinned, &what))
            }
        };
        all.push((kind, sentence));
    }
    all.push((FindingKind::UnknownPermission, unheard(token, &standing.unheard)));
    all.push((FindingKind::UncheckedPermission, unchecked(token, &standing.unchecked)));
    all
}

fn unusable(token: &Token, state: &TokenState) -> Option<String> {
    match &state.key {
        Some(Err(fault)) => Some(format!("the secret of '{}' ({}) {fault}", token.name, token.secret)),
        _ if state.dead => {
            Some(format!("the Hub does not accept the token '{}' (401); renew it", token.name))
        }
        _ => None,
    }
}

fn rotated(token: &Token) -> String {
    format!(
        "the secret of '{}' ({}) is another than before; if nobody rotated it, find out who put it there",
        token.name, token.secret
    )
}

fn expires(config: &Config, token: &Token, declared: &Declared, now: Timestamp) -> Option<String> {
    let at = declared.expiry()?;
    let (name, soon) = (&token.name, config.alerts.expires_within);
    if at <= now {
        return Some(format!("the token '{name}' expired at {at}; issue another and replace its secret"));
    }
    (at.since(now) <= soon)
        .then(|| format!("the token '{name}' expires at {at}; issue another and replace its secret in time"))
}

fn declared_changed(token: &Token, pinned: &[String], changed: &[String]) -> Option<String> {
    let name = &token.name;
    let by_pin = (!pinned.is_empty()).then(|| {
        format!(
            "'{name}' is not as pinned: {}; correct the token on the Hub, or its `declared` in the config",
            listed(pinned, LISTED)
        )
    });
    let by_change = (!changed.is_empty()).then(|| {
        format!(
            "'{name}' declares other rights than before: {}; if nobody meant that, undo it on the Hub or issue another token",
            listed(changed, LISTED)
        )
    });
    match (by_pin, by_change) {
        (Some(pin), Some(change)) => Some(format!("{pin}; and {change}")),
        (pin, change) => pin.or(change),
    }
}

fn owner_changed(token: &Token, what: &[String]) -> Option<String> {
    (!what.is_empty()).then(|| {
        format!(
            "'{}' belongs to somebody else than before: {}; make sure that its secret ({}) was not mixed up with another's",
            token.name,
            listed(what, LISTED),
            token.secret
        )
    })
}

fn role_changed(token: &Token, what: &[String]) -> Option<String> {
    (!what.is_empty()).then(|| {
        format!(
            "what '{}' can do changed with its user: {}; if nobody meant that, put the role back in the organization's settings",
            token.name,
            listed(what, LISTED)
        )
    })
}

fn policy_changed(token: &Token, what: &[String]) -> Option<String> {
    (!what.is_empty()).then(|| {
        format!(
            "the organization's rules for '{}' changed: {}; see its settings for token policy, single sign-on, addresses and plan",
            token.name,
            listed(what, LISTED)
        )
    })
}

fn unheard(token: &Token, what: &[String]) -> Option<String> {
    (!what.is_empty()).then(|| {
        format!(
            "'{}' declares what this version does not know: {}; find out what it opens, then pin it under `declared.scopes` or take it away",
            token.name,
            listed(what, LISTED)
        )
    })
}

fn unchecked(token: &Token, what: &[String]) -> Option<String> {
    (!what.is_empty()).then(|| {
        format!(
            "'{}' declares what none of its checks asks about: {}; say in its `expect` whether it should, pin it under `declared.scopes`, or take it away",
            token.name,
            listed(what, LISTED)
        )
    })
}

/// What bars the token from the organization, as the end of a sentence on an answer that was no grant; nothing
/// where nothing does.
pub(super) fn barred(organization: &str, restrictions: &[String]) -> String {
    if restrictions.is_empty() {
        return String::new();
    }
    let known = ["mfa", "token-policy", "token-revoked", "sso", "ip"];
    let mut words: Vec<&str> = restrictions
        .iter()
        .map(|word| known.iter().find(|k| **k == word).copied().unwrap_or("another"))
        .collect();
    words.sort_unstable();
    words.dedup();
    format!("; whoami shows that '{organization}' restricts this token ({})", words.join(", "))
}

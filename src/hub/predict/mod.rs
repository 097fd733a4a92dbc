//! What the Hub's documented model says a token can do, given what it declares: allowed, denied, or not said.
//!
//! A pure function. It walks the factors in the documented order (restrictions, token, organization role, group
//! role, the repository's gate, the plan) and finds for each the rule of the table that applies. One documented
//! denial is enough, whatever the others say; allowed needs every factor to allow; all else is unknown. What is
//! not known comes in as not known. Serves the rounds, which compare with what was observed, and explanations.

pub mod facts;
pub mod link;
pub mod rules;

/// A sentence about this case, as `format!` makes it; empty where nobody will read it.
macro_rules! say {
    ($case:expr, $($text:tt)+) => { if $case.aloud { format!($($text)+) } else { String::new() } };
}

mod gate;
mod policy;
mod role;
mod token;

use crate::access::{Access, DenyReason, Permission, Target};

use super::shown::shown;
use super::whoami::Declared;

pub use facts::{Entity, Group, Known, Place, Role, TokenPolicy};
pub use link::{Wanted, token_page};
pub use rules::{Concludes, FactorKind, RULES, Rule};

use facts::Case;

/// What the model says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every factor allows it, each by a document.
    Allowed,
    /// One factor denies it, by a document.
    Denied(DenyReason),
    /// The documents are silent, or what they depend on could not be read.
    Unknown,
}

impl Outcome {
    /// `Some(true)` allowed, `Some(false)` denied, `None` unknown.
    pub fn conclusive(self) -> Option<bool> {
        match self {
            Outcome::Allowed => Some(true),
            Outcome::Denied(_) => Some(false),
            Outcome::Unknown => None,
        }
    }

    /// The word for an outcome that allows, or does not.
    pub fn word(allowed: bool) -> &'static str {
        if allowed { "allowed" } else { "denied" }
    }

    /// `allowed`, `denied`, or nothing: as reports show it.
    pub fn as_str(self) -> Option<&'static str> {
        self.conclusive().map(Outcome::word)
    }
}

/// One step on the way to an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Factor {
    /// The rule that applies; it says what this factor is about and what it concludes.
    pub rule: &'static Rule,
    /// The rule applied to this very question, for people. Holds words of ours and of the config only.
    pub sentence: String,
    /// Words of the Hub that the sentence is about, each with what it is; cut, without control characters.
    pub data: Vec<(&'static str, String)>,
    /// What would turn a denial around, where the documents say.
    pub remedy: Option<Remedy>,
}

impl Factor {
    fn new(rule: &'static Rule, sentence: impl Into<String>) -> Factor {
        Factor { rule, sentence: sentence.into(), data: Vec::new(), remedy: None }
    }

    fn with(mut self, what: &'static str, word: &str) -> Factor {
        self.data.push((what, shown(word)));
        self
    }

    fn remedied(mut self, remedy: Option<Remedy>) -> Factor {
        self.remedy = remedy;
        self
    }

    fn denies(&self) -> bool {
        matches!(self.rule.concludes, Concludes::Denies(_))
    }

    /// Nothing that could not be read or is not said, and no denial.
    fn lets_pass(&self) -> bool {
        matches!(self.rule.concludes, Concludes::Allows | Concludes::Aside)
    }
}

/// What would open what a factor denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// This permission of the Hub on this entity, in the token.
    Scope { permission: &'static str, on: facts::Entity },
    /// The token's switch for public gated repositories.
    GatedSwitch,
    /// At least this role in the organization, for the token's user.
    OrganizationRole(facts::Role),
    /// At least this role in the resource group, for the token's user.
    GroupRole(facts::Role),
}

/// The outcome and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    pub outcome: Outcome,
    /// In the documented order.
    pub factors: Vec<Factor>,
}

impl Prediction {
    /// What the token itself allows, whatever its user may do; nothing when that is not said.
    pub fn scope_allows(&self) -> Option<bool> {
        self.says(&[FactorKind::Token])
    }

    /// What the user's roles allow, whatever the token names.
    pub fn role_allows(&self) -> Option<bool> {
        self.says(&[FactorKind::OrganizationRole, FactorKind::GroupRole])
    }

    fn says(&self, kinds: &[FactorKind]) -> Option<bool> {
        let mine = || self.factors.iter().filter(|factor| kinds.contains(&factor.rule.kind));
        if mine().any(Factor::denies) {
            return Some(false);
        }
        let allowed = mine().any(|factor| factor.rule.concludes == Concludes::Allows);
        (allowed && mine().all(Factor::lets_pass)).then_some(true)
    }

    /// What a new token would have to name so that no scope stands in between; nothing when none does.
    pub fn wanted(&self) -> Option<Wanted> {
        let mut wanted = Wanted::default();
        let mut lacking = false;
        for remedy in self.factors.iter().filter_map(|factor| factor.remedy.as_ref()) {
            lacking |= wanted.add(remedy);
        }
        lacking.then_some(wanted)
    }
}

/// What the documents say of `permission` on `target` for a token that declares this.
pub fn predict(
    declared: &Declared,
    organization: &str,
    permission: Permission,
    target: &Target,
    known: &Known,
) -> Prediction {
    of_case(&Case::new(declared, organization, permission, target, known, true))
}

/// The same outcome by the same rules, but without the sentences.
pub fn foresee(
    declared: &Declared,
    organization: &str,
    permission: Permission,
    target: &Target,
    known: &Known,
) -> Prediction {
    of_case(&Case::new(declared, organization, permission, target, known, false))
}

fn of_case(case: &Case<'_>) -> Prediction {
    let mut factors = Vec::new();
    if case.concerns_user() {
        factors.push(token::factor(case));
    } else {
        factors.extend(policy::factors(case));
        factors.push(token::factor(case));
        factors.extend(role::factors(case));
        let last = gate::factors(case, &factors);
        factors.extend(last);
    }
    Prediction { outcome: outcome(&factors), factors }
}

/// The first denial decides. Of a repository that may be public, scope and role deny nothing for sure.
fn outcome(factors: &[Factor]) -> Outcome {
    let maybe_public = factors.iter().any(|factor| factor.rule == &rules::VISIBILITY_UNREAD);
    let stands = |factor: &&Factor| !maybe_public || factor.rule.kind == FactorKind::Gate;
    let denied = factors.iter().filter(stands).find_map(|factor| match factor.rule.concludes {
        Concludes::Denies(why) => Some(why),
        _ => None,
    });
    match denied {
        Some(why) => Outcome::Denied(why),
        None if factors.iter().all(Factor::lets_pass) => Outcome::Allowed,
        None => Outcome::Unknown,
    }
}

/// Whether what was observed differs from the prediction; nothing when either says nothing. That nobody pays, or
/// that a spending limit is reached, is declared nowhere, so it contradicts nothing.
pub fn mismatch(prediction: &Prediction, observed: Access) -> Option<bool> {
    if observed == Access::Denied(DenyReason::Billing) && prediction.outcome == Outcome::Allowed {
        return None;
    }
    Some(prediction.outcome.conclusive()? != observed.conclusive()?)
}

/// Denied, but by nothing that the token lacks: its own scope would allow this, nothing bars the token, and only
/// its user's role stands in between. The day that role changes, so does the access.
pub fn latent(prediction: &Prediction, observed: Access) -> bool {
    // Other reasons are told by the Hub in words of their own, so something else stands in between.
    let by_role = matches!(observed, Access::Denied(DenyReason::Scope | DenyReason::Hidden));
    // A plan that may lack the page does not say what the Hub said.
    let asked = [FactorKind::Token, FactorKind::OrganizationRole, FactorKind::GroupRole, FactorKind::Plan];
    let mut others = prediction.factors.iter().filter(|factor| !asked.contains(&factor.rule.kind));
    by_role
        && prediction.role_allows() == Some(false)
        && prediction.scope_allows() == Some(true)
        && others.all(Factor::lets_pass)
}

#[cfg(test)]
mod tests;

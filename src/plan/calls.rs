//! Every call of a round, in order, before it is made: who signs it, which route, how often as a rule and at most.
//!
//! The requests are those of `hub::routes`, so that what is planned is what is sent; the walks that make them are
//! followed here with a finger on their longest path. A rule means: every expectation holds, nothing fails, and
//! whoever observes finds a private model on the first page of the organization's list. The bounds are those of
//! a run that asks once and stops (`audit`); a daemon's cleaning up is never held back and has none.

use std::collections::BTreeSet;

use crate::access::{Check, CheckKey, Expected, Method, RepoName, RepoType, Target, TokenName};
use crate::config::{Config, Organization};
use crate::exchange::{Credential, Request, Verb};
use crate::hub::control::PAGES;
use crate::hub::inventory;
use crate::hub::probes::{self, Control};
use crate::hub::routes;
use crate::pace::WHOAMI_BURST;
use crate::schedule::Classes;

use super::plan;

/// Visits to one canary in a run that asks once and stops; what is open then is left to the journal.
pub const VISITS_OF_A_RUN: u32 = 10;
/// Controls that visits to canaries may ask for anew in such a run, for each observer of an organization.
pub const CONTROLS_OF_VISITS: u32 = 3;

/// A part of a round. They follow each other in this order, but for the looks at canaries, which go on beside the
/// checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Who the tokens are.
    Declared,
    /// What shows that an answer means something.
    Control,
    /// The question itself.
    Check,
    /// What its answer must be accompanied by.
    Proof,
    /// Looking at a canary, deleting it, seeing that it is gone.
    Canary,
    /// Which tokens the organization has.
    Inventory,
}

impl Part {
    /// Its one spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Part::Declared => "declared",
            Part::Control => "control",
            Part::Check => "check",
            Part::Proof => "proof",
            Part::Canary => "canary",
            Part::Inventory => "inventory",
        }
    }
}

/// Which of the Hub's allowances a call counts against. All count as requests; these two are limited apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bucket {
    Api,
    Whoami,
    Creation,
}

impl Bucket {
    /// Its one spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Bucket::Api => "api",
            Bucket::Whoami => "whoami",
            Bucket::Creation => "creation",
        }
    }

    /// The bucket of a request.
    pub fn of(verb: Verb, route: &str) -> Bucket {
        match (verb, route) {
            (Verb::Get, "/api/whoami-v2") => Bucket::Whoami,
            (Verb::Post, "/api/repos/create") => Bucket::Creation,
            _ => Bucket::Api,
        }
    }
}

/// How often something is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    pub usual: u32,
    pub at_most: u32,
}

impl Times {
    const ONCE: Times = Times { usual: 1, at_most: 1 };

    fn never_but(at_most: u32) -> Times {
        Times { usual: 0, at_most }
    }

    /// As a rule once if this holds; at most once in any case.
    fn once_if(usually: bool) -> Times {
        Times { usual: u32::from(usually), at_most: 1 }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Times) -> Times {
        Times {
            usual: self.usual.saturating_add(other.usual),
            at_most: self.at_most.saturating_add(other.at_most),
        }
    }
}

/// One request of the round.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub part: Part,
    pub who: Credential,
    pub verb: Verb,
    /// The route's template.
    pub route: &'static str,
    /// Path and query; names that are not known before read `xxxxx`.
    pub path: String,
    pub times: Times,
    /// Whether it creates or deletes something, should the Hub grant it.
    pub mutating: bool,
    pub organization: Option<String>,
    /// The check that it is made for, if it is for one alone.
    pub check: Option<CheckKey>,
    /// What it is for, for people.
    pub why: &'static str,
}

impl Step {
    /// The allowance that it counts against.
    pub fn bucket(&self) -> Bucket {
        Bucket::of(self.verb, self.route)
    }
}

/// What a round asks, and what of it is left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CallPlan {
    pub steps: Vec<Step>,
    /// Checks that may change something on the Hub.
    pub mutating: Vec<Check>,
    /// Checks that are not tried, because trying takes a method that `--read-only` lets not leave.
    pub barred: Vec<Check>,
    /// Tokens whose whoami waits for a later round, because the Hub limits it strictly.
    pub later: u32,
}

impl CallPlan {
    /// All steps together.
    pub fn times(&self) -> Times {
        self.steps.iter().fold(Times::default(), |sum, step| sum.and(step.times))
    }

    /// Calls to create, which the Hub counts by the day.
    pub fn creations(&self) -> Times {
        let creating = self.steps.iter().filter(|step| step.bucket() == Bucket::Creation);
        creating.fold(Times::default(), |sum, step| sum.and(step.times))
    }
}

/// Which round.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub due: Classes,
    /// Only these tokens; empty means all.
    pub only: &'a [TokenName],
    pub read_only: bool,
}

/// Every call of this round, in order.
pub fn calls(config: &Config, scope: Scope<'_>) -> CallPlan {
    let checks: Vec<Check> = plan(config, scope.due, scope.only, std::time::Duration::ZERO)
        .into_iter()
        .map(|planned| planned.check)
        .collect();
    let mut writer = Writer { config, plan: CallPlan::default() };
    writer.declared(&checks, scope);
    writer.controls(&checks, scope.read_only);
    writer.checks(&checks, scope.read_only);
    // Who asks about some tokens only draws no conclusion about the organization.
    if scope.due.declared && scope.only.is_empty() {
        writer.inventories();
    }
    writer.plan
}

struct Writer<'c> {
    config: &'c Config,
    plan: CallPlan,
}

/// A name that is not known before.
fn unknown(organization: &str, prefix: &str) -> RepoName {
    RepoName { namespace: organization.to_owned(), name: format!("{prefix}xxxxx") }
}

impl Writer<'_> {
    fn step(&mut self, part: Part, request: Request, times: Times, why: &'static str) {
        self.plan.steps.push(Step {
            part,
            who: request.credential,
            verb: request.verb,
            route: request.route,
            path: request.path,
            times,
            mutating: false,
            organization: None,
            check: None,
            why,
        });
    }

    fn organization(&self, name: &str) -> Option<&Organization> {
        self.config.organization(name)
    }

    fn janitor(&self, organization: &str) -> Option<TokenName> {
        self.organization(organization).and_then(|o| o.janitor.clone())
    }

    /// Who observes for the checks of this token.
    fn observer(&self, check: &Check) -> Credential {
        Credential::Token(self.janitor(&check.organization).unwrap_or_else(|| check.token.clone()))
    }

    fn declared(&mut self, checks: &[Check], scope: Scope<'_>) {
        let due = scope.due.declared;
        let meant = |name: &TokenName| scope.only.is_empty() || scope.only.contains(name);
        let mut wanted: BTreeSet<TokenName> = checks.iter().map(|check| check.token.clone()).collect();
        if due {
            wanted.extend(self.config.tokens.iter().map(|t| t.name.clone()).filter(meant));
        }
        let organizations: BTreeSet<&str> = checks.iter().map(|check| check.organization.as_str()).collect();
        let janitors: BTreeSet<TokenName> = organizations.iter().filter_map(|o| self.janitor(o)).collect();
        wanted.extend(janitors.iter().cloned());
        let is_janitor =
            |token: &TokenName| self.config.organizations.iter().any(|o| o.janitor.as_ref() == Some(token));
        let mut order: Vec<TokenName> = wanted.into_iter().collect();
        order.sort_by_key(|token| !is_janitor(token));
        let room = if self.config.hub.loopback { usize::MAX } else { WHOAMI_BURST as usize };
        for (place, token) in order.into_iter().enumerate() {
            // Between their own times a whoami is asked only where the last one failed.
            let times = Times { usual: u32::from(due && place < room), at_most: 1 };
            self.plan.later += u32::from(place >= room);
            let why = "whose token it is, and what it declares";
            self.step(Part::Declared, routes::whoami(Credential::Token(token)), times, why);
        }
    }

    fn controls(&mut self, checks: &[Check], read_only: bool) {
        let creating: Vec<&Check> =
            checks.iter().filter(|c| c.creates() && c.method == Method::Canary && !read_only).collect();
        let mut keys: BTreeSet<(String, Credential, bool)> = BTreeSet::new();
        for check in checks {
            keys.insert((check.organization.clone(), self.observer(check), true));
        }
        for check in creating.iter().filter(|check| self.janitor(&check.organization).is_some()) {
            // Where the janitor cannot be used, the token itself looks after its canary.
            let own = Credential::Token(check.token.clone());
            if !keys.contains(&(check.organization.clone(), own.clone(), true)) {
                keys.insert((check.organization.clone(), own, false));
            }
        }
        for (organization, observer, of_the_round) in keys {
            let visits =
                if creating.iter().any(|c| c.organization == organization) { CONTROLS_OF_VISITS } else { 0 };
            let walks = Times { usual: u32::from(of_the_round), at_most: u32::from(of_the_round) + visits };
            self.control(&organization, &observer, walks);
        }
    }

    /// One control walk, so many times.
    fn control(&mut self, organization: &str, observer: &Credential, walks: Times) {
        let janitor = self.janitor(organization);
        let is_janitor = matches!((observer, &janitor), (Credential::Token(who), Some(j)) if who == j);
        let sentinel =
            self.organization(organization).and_then(|o| o.sentinel.clone()).filter(|_| is_janitor);
        let groups = self.names_groups(organization);
        let who = || observer.clone();
        let first = self.plan.steps.len();
        // Of a token that is no janitor nothing is known but that it must not see much.
        let sees = is_janitor;
        let times = |usual: bool, most: u32| Times { usual: u32::from(usual), at_most: most };
        let part = Part::Control;
        self.step(
            part,
            routes::overview(organization, who()),
            Times::ONCE,
            "the organization has exactly this name",
        );
        if groups {
            let request = routes::resource_groups(organization, who());
            self.step(part, request, Times::ONCE, "resource groups that the config names have these ids");
        }
        if let Some(sentinel) = &sentinel {
            let request = routes::repo_info(RepoType::Model, sentinel, who());
            self.step(part, request, Times::ONCE, "the observer sees what is private: the sentinel");
        }
        for (at, kind) in RepoType::ALL.iter().enumerate() {
            let request = routes::list(*kind, organization, None, who());
            let why = "in search of something private that the observer sees";
            self.step(part, request, times(!sees || at == 0, u32::from(PAGES)), why);
        }
        let found = unknown(organization, "");
        let request = routes::repo_info(RepoType::Model, &found, who());
        self.step(part, request, times(sees, 1), "the observer can read what it lists");
        if groups {
            let request = routes::repo_group(RepoType::Model, &found, who());
            self.step(part, request, times(sees, 1), "which resource group that is in");
        }
        let absent = unknown(organization, "no-such-");
        let request = routes::repo_info(RepoType::Model, &absent, who());
        self.step(part, request, Times::ONCE, "what is not there is not found");
        let request = routes::repo_info(RepoType::Model, &found, Credential::Anonymous);
        self.step(
            part,
            request,
            times(sees || sentinel.is_some(), 1),
            "what is private is refused without a token",
        );
        for step in self.plan.steps.iter_mut().skip(first) {
            step.times.usual = step.times.usual.saturating_mul(walks.usual);
            step.times.at_most = step.times.at_most.saturating_mul(walks.at_most);
            step.organization = Some(organization.to_owned());
        }
    }

    fn names_groups(&self, organization: &str) -> bool {
        let names = |check: &Check| matches!(&check.target, Target::Create { group: Some(_), .. });
        let of_it = self.config.tokens.iter().filter(|token| token.organization == organization);
        of_it.flat_map(|token| &token.checks).any(names)
    }

    fn inventories(&mut self) {
        let first = self.plan.steps.len();
        for organization in &self.config.organizations {
            let Some(reader) = &organization.inventory else { continue };
            let (name, who) = (&organization.name, || Credential::Token(reader.clone()));
            let once = |at_most| Times { usual: 1, at_most };
            let part = Part::Inventory;
            let request = routes::organization_tokens(name, who());
            self.step(part, request, once(inventory::PAGES), "the organization's tokens");
            let request = routes::service_accounts(name, who());
            self.step(part, request, once(inventory::PAGES), "its service accounts");
            let request = routes::service_account(name, "xxxxx", who());
            self.step(part, request, Times::never_but(inventory::ACCOUNTS), "the tokens of each of them");
            for step in self.plan.steps.iter_mut().skip(first).filter(|step| step.organization.is_none()) {
                step.organization = Some(name.clone());
            }
        }
    }

    fn checks(&mut self, checks: &[Check], read_only: bool) {
        let mut proofs: Vec<(Request, bool, &'static str)> = Vec::new();
        for check in checks {
            let first = self.plan.steps.len();
            match (&check.target, &check.method) {
                (Target::Create { .. }, _) if read_only => self.plan.barred.push(check.clone()),
                (Target::Create { kind, group }, Method::Canary) => {
                    self.canary(check, *kind, group.as_deref())
                }
                (Target::Create { kind, group }, Method::Sentinel(sentinel)) => {
                    let request = routes::repo_info(*kind, sentinel, self.observer(check));
                    self.step(Part::Check, request, Times::ONCE, "the sentinel is there");
                    let who = Credential::Token(check.token.clone());
                    let request = routes::create(sentinel, *kind, group.as_deref(), who);
                    self.step(
                        Part::Check,
                        request,
                        Times::ONCE,
                        "creating on a taken name: refused, or told so",
                    );
                }
                _ => self.probe(check, read_only, &mut proofs),
            }
            for step in self.plan.steps.iter_mut().skip(first) {
                step.organization = Some(check.organization.clone());
                step.check = Some(check.key());
            }
        }
        for (request, usually, why) in proofs {
            self.step(Part::Proof, request, Times::once_if(usually), why);
        }
    }

    fn probe(&mut self, check: &Check, read_only: bool, proofs: &mut Vec<(Request, bool, &'static str)>) {
        let who = Credential::Token(check.token.clone());
        let Some(row) = probes::row_of(check.permission) else { return };
        let Some(request) = row.request(&check.organization, &check.target, who) else { return };
        if request.verb.is_unsafe() && read_only {
            return self.plan.barred.push(check.clone());
        }
        self.step(Part::Check, request, Times::ONCE, "the question itself; changes nothing");
        let (proof, usually, why) = match (row.control, &check.target) {
            (Control::Target, Target::Repo { kind, repo }) => {
                let janitor = self.janitor(&check.organization);
                let observer = janitor.map_or(Credential::Anonymous, Credential::Token);
                let denied = check.expected == Expected::Denied;
                (
                    Some(routes::repo_info(*kind, repo, observer)),
                    denied,
                    "after a denial: its target is there",
                )
            }
            (Control::Closed, _) => {
                let anonymous = row.request(&check.organization, &Target::Whole, Credential::Anonymous);
                let allowed = check.expected == Expected::Allowed;
                (anonymous, allowed, "after a grant: nobody gets the same without a token")
            }
            _ => (None, false, ""),
        };
        let Some(proof) = proof else { return };
        // Each is asked once in a round and serves every check that needs it.
        match proofs.iter_mut().find(|(known, _, _)| *known == proof) {
            Some((_, usual, _)) => *usual |= usually,
            None => proofs.push((proof, usually, why)),
        }
    }

    /// A creation and what follows it: a look that proves it ours, its deletion, a look that it is gone.
    fn canary(&mut self, check: &Check, kind: RepoType, group: Option<&str>) {
        self.plan.mutating.push(check.clone());
        let first = self.plan.steps.len();
        let prefix = self.organization(&check.organization).map(|o| o.canary_prefix.clone());
        let repo = unknown(&check.organization, &format!("{}-", prefix.unwrap_or_default()));
        let own = Credential::Token(check.token.clone());
        let janitor = self.janitor(&check.organization).map(Credential::Token);
        let mut observers: Vec<Credential> = janitor.into_iter().collect();
        if !observers.contains(&own) {
            observers.push(own.clone());
        }
        let request = routes::create(&repo, kind, group, own.clone());
        self.step(Part::Check, request, Times::ONCE, "creates a private repository, if it may");
        let granted = u32::from(check.expected == Expected::Allowed);
        let part = Part::Canary;
        let everybody = u32::try_from(observers.len()).unwrap_or(2);
        let times =
            |usual: u32, a_visit: u32| Times { usual: usual * granted, at_most: VISITS_OF_A_RUN * a_visit };
        let anonymous = routes::repo_info(kind, &repo, Credential::Anonymous);
        for (place, observer) in observers.into_iter().enumerate() {
            let first = u32::from(place == 0);
            let request = routes::commits(kind, &repo, observer.clone());
            self.step(part, request, times(first, 1), "it is ours: who made it");
            let request = routes::repo_info(kind, &repo, observer.clone());
            self.step(part, request, times(2 * first, 2), "it is ours: its id; later: it is gone");
            let request = routes::list(kind, &repo.namespace, Some(&repo.name), observer.clone());
            self.step(part, request, Times::never_but(VISITS_OF_A_RUN), "it is gone from the list, too");
            let other = routes::repo_info(kind, &unknown(&repo.namespace, ""), observer.clone());
            let why = "who no longer finds it still sees what else is private";
            self.step(part, other, Times::never_but(VISITS_OF_A_RUN), why);
            let deletes = u32::from(observer == own);
            let request = routes::delete(&repo, kind, observer);
            self.step(part, request, times(deletes, 1), "deletes it");
        }
        self.step(part, anonymous, times(1, everybody), "it is private");
        for step in self.plan.steps.iter_mut().skip(first) {
            step.mutating = step.verb.is_unsafe();
        }
    }
}

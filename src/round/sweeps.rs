//! Sweeps: once an hour every organization is searched for repositories that bear canaries' names, so that what the
//! journal has lost is found all the same.
//!
//! Foreign ones are counted and never touched. One of ours that the journal does not know latches creating off and
//! is told, or, where the config says so, is adopted: written down first, then looked at and deleted as every
//! other. After a journal was lost or changed nothing is created before a sweep has been read to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::access::{RepoName, RepoType, Severity, TokenName};
use crate::exchange::{Credential, Exchange};
use crate::hub::canary;
use crate::hub::control::Control;
use crate::hub::sweep::{self, Hit, Judged, SweepWalk, Swept};
use crate::intent::{Canary, CanaryState};
use crate::moment::Moment;
use crate::planted::{self, Defect};
use crate::report::{FindingKind, SweepView};
use crate::store::{Past, Write};

use super::canaries::Live;
use super::controls::ControlKey;
use super::record::organization_finding;
use super::{Effect, Engine, Job, Meter};

/// Between two sweeps of an organization.
const EVERY: Duration = Duration::from_secs(3600);
/// After one that could not be read, or whose hits could not be looked up.
const AGAIN: Duration = Duration::from_secs(300);

/// And no sooner than so long after any other.
const SOON: Duration = Duration::from_secs(1);

/// What was gone and is listed again is told after so many sweeps.
const TOLD: u32 = 2;
/// Foreign names that are told apart, at most.
const FOREIGN: usize = 10_000;

/// The name of a repository, with its kind.
pub type Name = (RepoType, RepoName);

/// What is known of one organization's sweeps.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    walk: Option<Box<SweepWalk>>,
    /// What was found, while the journal is asked for the names; with what is on its way there.
    looked_up: Option<(Swept, Vec<Canary>)>,
    /// When it is to be swept next; `None` before the first.
    next_at: Option<Duration>,
    /// Nothing is created before a sweep has been read to its end.
    owed: bool,
    /// It waits until it is known whether its reader can see.
    awaits: bool,
    /// Whether the latest was read to its end; `None` before the first.
    complete: Option<bool>,
    /// Asked for by a person.
    wanted: bool,
    /// Names of others, each counted once.
    foreign: BTreeSet<Name>,
    /// Ours, but not the journal's.
    pub(super) orphans: BTreeSet<Name>,
    /// Listed although they were gone, by how many sweeps in a row.
    returned: BTreeMap<Name, u32>,
}

impl Sweep {
    fn under_way(&self) -> bool {
        self.walk.is_some() || self.looked_up.is_some()
    }
}

impl Engine {
    /// What the journal is to the ones before it: after a loss, a sweep comes before the next canary; after a change
    /// that nobody here made, a person does.
    pub(super) fn take_past(&mut self, past: &Past, now: Moment) {
        let config = self.config.clone();
        let key = organization_finding(FindingKind::StateReset, "");
        let open = self.findings.get(&key).is_some_and(|finding| finding.resolved_at.is_none());
        let Some(told) = past.told() else {
            if open {
                // The process before this one may not have come to it.
                self.owe_sweeps(now);
            }
            return;
        };
        self.tell(true, told.clone());
        self.hold_back(past, now);
        self.owe_sweeps(now);
        let changed = matches!(past, Past::Regressed { .. } | Past::Broken { .. });
        for organization in config.organizations.iter().filter(|_| changed) {
            let name = &organization.name;
            if !self.creates_in(name) {
                continue;
            }
            self.latch_organization(name, &told, now);
        }
        let detail = format!(
            "{told}; what it knew of alerts and canaries begins anew, and nothing is created before a sweep for canaries is through"
        );
        self.set_finding(key, true, Severity::Warning, || detail, now.wall);
    }

    /// What a changed journal says of canaries is not acted on; what an old one says is not all there is.
    fn hold_back(&mut self, past: &Past, now: Moment) {
        let mut changed = Vec::new();
        for (id, live) in &mut self.canaries {
            let event = match past {
                Past::Broken { .. } => canary::distrusted(&mut live.canary),
                Past::Regressed { .. } => canary::rewound(&mut live.canary, now.wall),
                Past::First | Past::Continued | Past::Emptied => None,
            };
            changed.extend(event.map(|event| (*id, event)));
        }
        for (id, event) in changed {
            self.canary_changed(id, event, now);
        }
    }

    fn owe_sweeps(&mut self, now: Moment) {
        self.reset_at = Some(now.mono);
        let config = self.config.clone();
        for organization in &config.organizations {
            if self.creates_in(&organization.name) || organization.janitor.is_some() {
                self.sweeps.entry(organization.name.clone()).or_default().owed = true;
            }
        }
    }

    /// The finding about a lost journal ends a day after, once everything was swept.
    pub(super) fn end_state_reset(&mut self, now: Moment) {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let lasts = self.reset_at.is_some_and(|at| now.mono.saturating_sub(at) < DAY)
            || self.sweeps.values().any(|sweep| sweep.owed);
        let key = organization_finding(FindingKind::StateReset, "");
        let detail = self.findings.get(&key).filter(|finding| finding.resolved_at.is_none());
        if let Some(detail) = detail.map(|finding| finding.detail.clone()) {
            self.set_finding(key, lasts, Severity::Warning, || detail, now.wall);
        }
    }

    /// Whether a sweep must come before the next creation, and whether it is on its way.
    pub(super) fn sweep_owed(&self, organization: &str) -> Option<bool> {
        let sweep = self.sweeps.get(organization).filter(|sweep| sweep.owed)?;
        Some(sweep.under_way() || sweep.awaits)
    }

    /// A person wants every organization swept now.
    pub(super) fn want_sweeps(&mut self) {
        let config = self.config.clone();
        for organization in &config.organizations {
            if self.creates_in(&organization.name) || organization.janitor.is_some() {
                self.sweeps.entry(organization.name.clone()).or_default().wanted = true;
            }
        }
        if !self.keys_loaded {
            self.out.push(Effect::LoadKeys);
        }
    }

    /// Whether a sweep is under way or wanted.
    pub(super) fn sweeping(&self) -> bool {
        self.sweeps.values().any(|sweep| sweep.under_way() || sweep.wanted)
    }

    /// When the next sweep is due.
    pub(super) fn sweep_wakes(&self) -> Option<Duration> {
        if self.mode.one_shot {
            return None;
        }
        self.sweeps.values().filter(|sweep| !sweep.under_way()).filter_map(|sweep| sweep.next_at).min()
    }

    /// Begins every sweep that is due. Says whether any began.
    pub(super) fn tend_sweeps(&mut self, now: Moment) -> bool {
        // What a crash left is looked after first: then the journal knows its own.
        if !self.keys_loaded || self.recovering || self.stopping || planted::is(Defect::NoSweeper) {
            return false;
        }
        let config = self.config.clone();
        let mut moved = false;
        for organization in &config.organizations {
            let name = &organization.name;
            let state = self.sweeps.entry(name.clone()).or_default();
            let rested = state.next_at.is_none_or(|at| at <= now.mono);
            let asked = state.wanted || (rested && state.owed);
            if state.under_way() || !(asked || (rested && !self.mode.one_shot)) {
                continue;
            }
            // Also where nothing is created any more: what the journal lost may be from before.
            let needed = asked || self.last_canary > 0 || self.creates_in(name);
            // A reload names tokens whose secrets only the next round reads: until then nobody can be asked.
            if needed
                && !asked
                && self.sweeper(name).is_none()
                && self.readers(name).any(|token| !self.has_key(token))
            {
                continue;
            }
            let state = self.sweeps.entry(name.clone()).or_default();
            if !needed {
                // Looked at again by the hour, because it costs a walk through all checks.
                state.next_at = Some(now.mono + EVERY);
                continue;
            }
            // What the janitor does not see counts only if it is shown that it can see.
            let owed = state.owed;
            let control = self.janitors_control(name).filter(|_| owed);
            let awaits = control.is_some_and(|key| !self.ensure_control(&key, now));
            let reader = self.sweeper(name);
            let state = self.sweeps.entry(name.clone()).or_default();
            state.awaits = awaits;
            if awaits {
                continue;
            }
            state.wanted = false;
            state.next_at = Some(now.mono + EVERY);
            moved = true;
            let Some(reader) = reader else {
                self.sweep_failed(name, now);
                continue;
            };
            let walk = SweepWalk::new(name, &organization.canary_prefix, Credential::Token(reader));
            if let Some(request) = walk.next() {
                self.ask(Job::Sweep(name.clone()), request, None);
            }
            self.sweeps.entry(name.clone()).or_default().walk = Some(Box::new(walk));
        }
        moved
    }

    /// Who reads the listings: the janitor, or whoever may create.
    fn sweeper(&self, organization: &str) -> Option<TokenName> {
        self.readers(organization).find(|name| self.usable(name)).cloned()
    }

    fn readers<'a>(&'a self, organization: &'a str) -> impl Iterator<Item = &'a TokenName> {
        let janitor = self.config.organization(organization).and_then(|o| o.janitor.as_ref());
        let creators = self.config.tokens.iter().filter(move |token| {
            token.checks.iter().any(|check| check.creates() && check.organization == organization)
        });
        janitor.into_iter().chain(creators.map(|token| &token.name))
    }

    /// Whether its secret was read, be it any good or not.
    fn has_key(&self, token: &TokenName) -> bool {
        self.tokens.get(token).is_some_and(|state| state.key.is_some())
    }

    /// Whether the janitor, who reads the listings of an owed sweep, saw nothing private when it was last controlled:
    /// then it may see no canary either. Who has none reads as one who creates, and sees at least its own.
    fn is_blind(&self, organization: &str) -> bool {
        let Some(key) = self.janitors_control(organization) else { return false };
        let owed = self.sweeps.get(organization).is_some_and(|sweep| sweep.owed);
        let sees = |control: &Control| control.result.is_ok() && !control.seen.is_empty();
        owed && !self.control(&key).is_some_and(sees)
    }

    fn janitors_control(&self, organization: &str) -> Option<ControlKey> {
        let janitor = self.config.organization(organization).and_then(|o| o.janitor.clone());
        let janitor = janitor.filter(|janitor| self.usable(janitor))?;
        Some((organization.to_owned(), Credential::Token(janitor)))
    }

    fn sweep_failed(&mut self, organization: &str, now: Moment) {
        self.changed = true;
        if let Some(sweep) = self.sweeps.get_mut(organization) {
            sweep.complete = Some(false);
            sweep.walk = None;
            sweep.looked_up = None;
            sweep.next_at = Some(now.mono + AGAIN);
        }
    }

    pub(super) fn hear_sweep(&mut self, organization: &str, exchange: &Exchange, now: Moment) {
        let Some(sweep) = self.sweeps.get_mut(organization) else { return };
        let Some(mut walk) = sweep.walk.take() else { return };
        walk.hear(exchange);
        if let Some(request) = walk.next() {
            sweep.walk = Some(walk);
            return self.ask(Job::Sweep(organization.to_owned()), request, None);
        }
        let swept = walk.finish();
        let unstored = self.unstored();
        let known = self.canaries.values().map(|live| &live.canary).chain(&unstored);
        let known: BTreeSet<Name> = known.map(|canary| (canary.kind, canary.repo.clone())).collect();
        let names: Vec<Name> = swept
            .hits
            .iter()
            .map(|hit| (hit.kind, hit.repo.clone()))
            .filter(|name| self.signer.is_ours(&name.1, name.0) && !known.contains(name))
            .collect();
        if names.is_empty() {
            return self.end_sweep(organization, swept, &unstored, now);
        }
        if let Some(sweep) = self.sweeps.get_mut(organization) {
            sweep.looked_up = Some((swept, unstored));
        }
        self.out.push(Effect::Recall { organization: organization.to_owned(), names });
    }

    /// What the journal has under the names of a sweep; `None` if it could not be read.
    pub(super) fn recalled(&mut self, organization: &str, found: Option<Vec<Canary>>, now: Moment) {
        let Some((swept, unstored)) =
            self.sweeps.get_mut(organization).and_then(|sweep| sweep.looked_up.take())
        else {
            return;
        };
        match found {
            Some(mut found) => {
                found.extend(unstored);
                self.end_sweep(organization, swept, &found, now);
            }
            None => self.sweep_failed(organization, now),
        }
    }

    fn end_sweep(&mut self, organization: &str, swept: Swept, found: &[Canary], now: Moment) {
        let rules = self.rules();
        let mut known: BTreeMap<Name, Canary> =
            found.iter().map(|canary| ((canary.kind, canary.repo.clone()), canary.clone())).collect();
        known.extend(self.canaries.values().map(|live| {
            let canary = &live.canary;
            ((canary.kind, canary.repo.clone()), canary.clone())
        }));
        let mut orphans = Vec::new();
        let mut returned = BTreeMap::new();
        let mut grown = None;
        for hit in &swept.hits {
            let name = (hit.kind, hit.repo.clone());
            let signed = self.signer.is_ours(&hit.repo, hit.kind);
            match sweep::judge(hit, signed, known.get(&name), now.wall, rules) {
                Judged::Foreign => self.count_foreign(organization, name),
                Judged::Known => {}
                Judged::Young => grown = grown.max(sweep::grown_at(hit, rules)),
                Judged::Returned => {
                    let before = self.sweeps.get(organization).and_then(|sweep| sweep.returned.get(&name));
                    let nobody = known.get(&name).is_some_and(|canary| self.askable(canary).is_empty());
                    // One listing may be an old copy, and a look settles it; nobody looks where nobody may be asked.
                    let times = if nobody { TOLD } else { before.map_or(1, |times| times.saturating_add(1)) };
                    self.look_again(known.get(&name), now);
                    returned.insert(name, times);
                }
                Judged::Orphan => orphans.push(hit.clone()),
            }
        }
        self.take_orphans(organization, &orphans, now);
        let counts = swept.complete && !self.is_blind(organization);
        let sweep = self.sweeps.entry(organization.to_owned()).or_default();
        sweep.complete = Some(counts);
        if !swept.complete {
            let unread = std::mem::take(&mut sweep.returned);
            unread.into_iter().for_each(|(name, times)| _ = returned.entry(name).or_insert(times));
        }
        sweep.returned = returned;
        if counts {
            sweep.owed = false;
            let left: BTreeSet<Name> = orphans.into_iter().map(|hit| (hit.kind, hit.repo)).collect();
            sweep.orphans.retain(|name| left.contains(name));
            // What is too young to be judged is looked for once it is not: an hour would be long for what a crash left.
            let early = grown.map(|grown| now.mono + grown.since(now.wall).max(SOON));
            sweep.next_at = sweep.next_at.into_iter().chain(early).min();
        } else {
            sweep.next_at = Some(now.mono + AGAIN);
        }
        self.organization_findings(now);
        self.changed = true;
    }

    fn count_foreign(&mut self, organization: &str, name: Name) {
        let sweep = self.sweeps.entry(organization.to_owned()).or_default();
        if sweep.foreign.len() < FOREIGN && sweep.foreign.insert(name) {
            self.out.push(Effect::Meter(Meter::CanaryForeign { organization: organization.to_owned() }));
        }
    }

    /// What the journal believed gone is listed: a visit shows whether it is back.
    fn look_again(&mut self, canary: Option<&Canary>, now: Moment) {
        let Some(canary) = canary else { return };
        let live = self.canaries.entry(canary.id).or_insert_with(|| Live::new(canary.clone(), now));
        if !live.busy {
            live.canary.next_at = Some(now.wall);
        }
    }

    fn take_orphans(&mut self, organization: &str, orphans: &[Hit], now: Moment) {
        let configured = self.config.organization(organization);
        let adopts = configured.is_some_and(|o| o.adopt_authentic) && !self.mode.read_only;
        let janitor = configured.and_then(|o| o.janitor.clone()).filter(|janitor| self.usable(janitor));
        for hit in orphans {
            if let Some(janitor) = janitor.as_ref().filter(|_| adopts && !self.clock_is_doubtful())
                && self.adopt(hit, janitor, now)
            {
                continue;
            }
            let sweep = self.sweeps.entry(organization.to_owned()).or_default();
            if sweep.orphans.insert((hit.kind, hit.repo.clone())) {
                let why =
                    format!("{} '{}' bears our signature and is not in the journal", hit.kind, hit.repo);
                self.tell(true, format!("{why}; look at it, then delete it by hand or set adopt_authentic"));
                self.latch_organization(organization, &why, now);
            }
        }
    }

    /// Writes an orphan down as ours to delete. Says whether it is old enough for that.
    fn adopt(&mut self, hit: &Hit, janitor: &TokenName, now: Moment) -> bool {
        let id = self.last_canary + 1;
        let Some(canary) = sweep::adopted(id, self.epoch, hit, janitor, now.wall, self.rules()) else {
            return false;
        };
        self.last_canary = id;
        self.tell(
            true,
            format!("canary {id} ({} {}) is adopted: the journal did not know it", hit.kind, hit.repo),
        );
        self.remember(Write::Canary { canary: canary.clone(), event: "adopted".to_owned(), at: now.wall });
        self.canaries.insert(id, Live::new(canary, now));
        if self.mode.one_shot {
            // Whoever looks must know who the tokens are, and what they can see.
            self.recovering = true;
        }
        true
    }

    /// Orphans that were found and not adopted, as they are told.
    pub(super) fn orphans_of(&self, organization: &str) -> Vec<String> {
        let orphans = self.sweeps.get(organization).map(|sweep| &sweep.orphans);
        orphans.into_iter().flatten().map(|(kind, repo)| format!("{kind} {repo}")).collect()
    }

    /// Gone by the journal, and listed all the same, where no look could settle it.
    pub(super) fn returned_of(&self, organization: &str) -> Vec<String> {
        let returned = self.sweeps.get(organization).map(|sweep| &sweep.returned);
        let told = returned.into_iter().flatten().filter(|(_, times)| **times >= TOLD).map(|(name, _)| name);
        let gone = |(kind, repo): &&Name| {
            let mut named = self.canaries.values().map(|live| &live.canary);
            named.any(|c| c.kind == *kind && c.repo == *repo && c.state == CanaryState::Gone)
        };
        told.filter(gone).map(|(kind, repo)| format!("{kind} {repo}")).collect()
    }

    /// What the sweeps came to so far.
    pub(super) fn sweep_views(&self) -> Vec<SweepView> {
        let swept = self.sweeps.iter().filter_map(|(name, sweep)| Some((name, sweep.complete?)));
        swept
            .map(|(name, complete)| SweepView {
                organization: name.clone(),
                complete,
                orphans: self.orphans_of(name),
            })
            .collect()
    }
}

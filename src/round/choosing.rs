//! Which canaries of a round are made where the day's creations do not suffice for all that are due, and what becomes of
//! the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::access::{Access, Check, RepoType, Severity, Target, UnknownReason};
use crate::exchange::Credential;
use crate::moment::Moment;
use crate::plan::choice::{Candidate, Lot, choose, stand_in};
use crate::plan::quota::HUB_CREATIONS_A_DAY;

use super::Engine;
use super::sentinels::{Place, in_place_of};

impl Engine {
    /// Draws the lots of this round, once whose each token is is known as well as it will be.
    pub(super) fn choose_canaries(&mut self, now: Moment) {
        let Some(round) = &self.round else { return };
        let mut due: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
        for (at, job) in round.jobs.iter().enumerate() {
            let check = &job.check;
            // One that cannot be asked at all takes nobody's place.
            let usable = self.tokens.get(&check.token).is_some_and(super::tokens::TokenState::usable);
            if !usable || !matches!(check.target, Target::Create { .. }) {
                continue;
            }
            let user = self.user_of(&Credential::Token(check.token.clone()));
            let allowed = self.creations_a_day(&check.organization, &user, now);
            let sentinel = self.config.organization(&check.organization).and_then(|o| o.sentinel.as_ref());
            let candidate = Candidate {
                place: at,
                key: check.key(),
                last_turn: self.last_turn(&check.key()),
                severity: self.config.token(&check.token).map_or(Severity::Info, |token| token.severity),
                allowed,
                stand_in: stand_in(check, sentinel),
            };
            due.entry(user).or_default().push(candidate);
        }
        let mut lots = BTreeMap::new();
        for (user, candidates) in due {
            let used = self.creations_of(&user, now);
            lots.extend(choose(candidates, used).into_iter().filter(|(_, lot)| *lot != Lot::Canary));
        }
        if let Some(round) = &mut self.round {
            round.lots = lots;
        }
    }

    /// Asks on the sentinel what no canary of this day can ask, or leaves it.
    pub(super) fn begin_without_canary(
        &mut self,
        at: usize,
        check: &Check,
        lot: Lot,
        to: (RepoType, Option<&str>),
        now: Moment,
    ) {
        let user = self.user_of(&Credential::Token(check.token.clone()));
        // It may well count at the Hub; all together stay below what the Hub is known to allow.
        let owners: BTreeSet<String> = [user.clone(), in_place_of(&user)].into();
        let made: usize = owners.iter().map(|owner| self.creations_of(owner, now)).sum();
        let room = made < usize::try_from(HUB_CREATIONS_A_DAY).unwrap_or(usize::MAX);
        match lot {
            Lot::Sentinel(sentinel) if room => {
                self.begin_trial(at, check, &sentinel, to, Place::OfACanary, now);
            }
            _ => {
                let allowed = self.creations_a_day(&check.organization, &user, now);
                let sentence = format!(
                    "its user's creations of 24 hours ({allowed}) do not suffice for all that are due; others waited longer or matter more, and its turn comes"
                );
                self.finish_check(at, Access::Undetermined(UnknownReason::CreationCap), sentence, now);
            }
        }
    }
}

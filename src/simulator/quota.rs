//! The simulated Hub's rate limits: requests per window, whoami calls per token, creations per day, one
//! creation at a time. Knows the documented numbers; knows nothing of HTTP or of why something was asked.
//! Serves every answer (its headers tell what is left) and the creation route.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;

use crate::simulator::words::Plan;
use crate::simulator::world::Organization;
use crate::simulator::world::World;

/// Of an Enterprise Plus organization that switched it on. Hub docs, rate-limits.
const HIGHER_QUOTA: u64 = 100_000;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What is left of a window after this request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Meter {
    pub(super) quota: u64,
    pub(super) remaining: u64,
    /// Seconds to the next window.
    pub(super) reset: u64,
    pub(super) window: u64,
    pub(super) exhausted: bool,
}

#[derive(Default)]
struct Window {
    index: u64,
    used: u64,
}

#[derive(Default)]
pub(super) struct Quotas {
    requests: BTreeMap<String, Window>,
    whoami: BTreeMap<String, Window>,
    creations: BTreeMap<String, VecDeque<u64>>,
    creating: BTreeSet<String>,
}

impl Quotas {
    /// Counts one request of a user, or of an address when there is no user.
    pub(super) fn count(&mut self, who: &str, quota: u64, seconds: u64, now_ms: u64) -> Meter {
        let entry = self.requests.entry(who.to_owned()).or_default();
        entry.count(quota, seconds, now_ms)
    }

    pub(super) fn count_whoami(&mut self, token: &str, quota: u64, seconds: u64, now_ms: u64) -> Meter {
        self.whoami.entry(token.to_owned()).or_default().count(quota, seconds, now_ms)
    }

    /// Creations of a user in the last 24 hours. Whether the Hub's day is a calendar day is UNCONFIRMED.
    pub(super) fn created_today(&mut self, user: &str, now_ms: u64) -> u64 {
        let Some(times) = self.creations.get_mut(user) else { return 0 };
        times.retain(|at| now_ms.saturating_sub(*at) < DAY_MS);
        times.len() as u64
    }

    pub(super) fn note_creation(&mut self, user: &str, now_ms: u64) {
        self.creations.entry(user.to_owned()).or_default().push_back(now_ms);
    }

    /// Takes the user's creation lock; false when another creation holds it.
    pub(super) fn lock(&mut self, user: &str) -> bool {
        self.creating.insert(user.to_owned())
    }

    pub(super) fn is_locked(&self, user: &str) -> bool {
        self.creating.contains(user)
    }

    pub(super) fn unlock(&mut self, user: &str) {
        self.creating.remove(user);
    }

    /// Requests in the current window, by user or address.
    pub(super) fn used(&self, seconds: u64, now_ms: u64) -> BTreeMap<&str, u64> {
        let index = window_index(seconds, now_ms);
        let current = self.requests.iter().filter(|(_, window)| window.index == index);
        current.map(|(who, window)| (who.as_str(), window.used)).collect()
    }
}

impl Window {
    fn count(&mut self, quota: u64, seconds: u64, now_ms: u64) -> Meter {
        let index = window_index(seconds, now_ms);
        if self.index != index {
            *self = Window { index, used: 0 };
        }
        self.used += 1;
        let into = (now_ms / 1000) % seconds.max(1);
        Meter {
            quota,
            remaining: quota.saturating_sub(self.used),
            reset: seconds.max(1) - into,
            window: seconds,
            exhausted: self.used > quota,
        }
    }
}

// Windows are fixed; where on the clock the Hub's begin is UNCONFIRMED, here it is the start of the run.
fn window_index(seconds: u64, now_ms: u64) -> u64 {
    now_ms / (seconds.max(1) * 1000)
}

/// Requests a user may send in a window: the best of his plans. Hub docs, rate-limits.
pub(super) fn request_quota(world: &World, user: &str) -> u64 {
    if let Some(own) = world.users.get(user).and_then(|user| user.rate_limit) {
        return own;
    }
    let mine = || world.organizations.values().filter(|organization| organization.role_of(user).is_some());
    // An organization that sets a number sets it for its members, be it lower than a free user's.
    if let Some(set) = mine().filter_map(|organization| organization.rate_limit).max() {
        return set;
    }
    let personal = if world.is_pro(user) { 2500 } else { 1000 };
    let offered = |organization: &Organization| {
        let higher = organization.network_security.high_rate_limits && organization.plan == Some(Plan::Plus);
        if higher { HIGHER_QUOTA } else { plan_quota(organization.plan) }
    };
    mine().map(offered).fold(personal, u64::max)
}

fn plan_quota(plan: Option<Plan>) -> u64 {
    match plan {
        None => 1000,
        Some(Plan::Team | Plan::Academia) => 3000,
        Some(Plan::Enterprise) => 6000,
        Some(Plan::Plus) => 10_000,
    }
}

/// Repositories a user may create in a day in this namespace.
pub(super) fn creation_cap(world: &World, user: &str, namespace: &str) -> u64 {
    let own = world.users.get(user).and_then(|user| user.creations_per_day);
    let organization = world.organizations.get(namespace).and_then(|home| home.creations_per_day);
    own.or(organization).unwrap_or(world.limits.creations_per_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_fixed_and_each_user_has_his_own() {
        let mut quotas = Quotas::default();
        let meter = quotas.count("bob", 2, 300, 10_000);
        assert_eq!(meter, Meter { quota: 2, remaining: 1, reset: 290, window: 300, exhausted: false });
        assert!(!quotas.count("bob", 2, 300, 20_000).exhausted);
        let over = quotas.count("bob", 2, 300, 299_999);
        assert!(over.exhausted && over.remaining == 0 && over.reset == 1);
        assert!(!quotas.count("alice", 2, 300, 299_999).exhausted);
        assert!(!quotas.count("bob", 2, 300, 300_000).exhausted);
    }

    #[test]
    fn a_creation_counts_for_a_day() {
        let mut quotas = Quotas::default();
        quotas.note_creation("bob", 5);
        assert_eq!(quotas.created_today("bob", DAY_MS), 1);
        assert_eq!(quotas.created_today("bob", DAY_MS + 5), 0);
    }

    #[test]
    fn the_quota_follows_the_plan() {
        let world = World::from_yaml(
            "organizations:\n  a: {plan: enterprise, members: {bob: read}}\n  b: {members: {bob: read, eve: read}}\n\
             \x20 c: {plan: team, rate_limit: 7, members: {kim: read}}\n\
             \x20 d: {plan: plus, members: {lea: read}}\n\
             \x20 e: {plan: plus, network_security: {high_rate_limits: true}, members: {lou: read}}\nusers: {pro: {pro: true}, own: {rate_limit: 3}}\n",
        )
        .unwrap();
        let cases = [
            ("bob", 6000),
            ("eve", 1000),
            ("kim", 7),
            ("lea", 10_000),
            ("lou", 100_000),
            ("pro", 2500),
            ("own", 3),
            ("nobody", 1000),
        ];
        for (user, quota) in cases {
            assert_eq!(request_quota(&world, user), quota, "{user}");
        }
    }
}

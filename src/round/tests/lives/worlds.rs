//! The worlds in which lives are lived: a few configurations, each with what a reload may make of it, and a Hub that
//! fits.

use std::sync::{Arc, LazyLock};

use crate::access::TokenName;
use crate::config::Config;
use crate::round::Mode;

use super::super::hub::said;
use super::super::life::{Life, configured};
use super::super::stories::holder;

/// One configuration, and what a reload may put in its place.
pub struct World {
    pub whole: Arc<Config>,
    pub no_janitor: Arc<Config>,
    pub no_check: Arc<Config>,
    pub no_token: Arc<Config>,
    /// The organization has a janitor.
    pub janitor: bool,
}

/// The group in which some canaries are made.
const GROUP: &str = "0123456789abcdef01234567";

/// Settings of the hub, of the organization and of alerts; and what is expected of the token that may create.
#[rustfmt::skip]
const KINDS: [(&str, &str, &str, &str); 9] = [
    ("in_flight_horizon: 60s", "janitor: janitor", "", MODEL),
    ("in_flight_horizon: 60s", "janitor: janitor, sentinel: acme/known", "confirm_denials: 1, resolve_after: 1", BOTH),
    ("in_flight_horizon: 60s", "max_creations_per_day: 50", "", MODEL),
    ("in_flight_horizon: 1s", "janitor: janitor", "stale_after: 2m", MODEL),
    ("in_flight_horizon: 900s, max_in_flight: 2", "janitor: janitor", "resolve_after: 3", MODEL),
    ("in_flight_horizon: 120s, quota_share: 1", "janitor: janitor, max_creations_per_day: 2", "stale_after: 5m", MODEL),
    ("in_flight_horizon: 60s", "janitor: janitor, adopt_authentic: true", "", MODEL),
    ("in_flight_horizon: 60s", "janitor: janitor", "", GROUPED),
    ("in_flight_horizon: 60s", "janitor: janitor, sentinel: acme/known", "confirm_denials: 3", HOPED),
];

const MODEL: &str = "{ permission: repo.create, access: denied }";
const BOTH: &str =
    "{ permission: repo.create, access: denied }, { permission: repo.create, type: dataset, access: denied }";
const GROUPED: &str =
    "{ permission: repo.create, resource_group: 0123456789abcdef01234567, type: space, access: denied }";
const HOPED: &str = "{ permission: repo.create, access: allowed }";

fn text(hub: &str, organization: &str, alerts: &str, open: &str, narrow: &str) -> String {
    let janitor = "  - { name: janitor, organization: acme, secret: { env: J } }\n";
    let expecting = |name: &str, expected: &str| match expected {
        "" => String::new(),
        expected => format!(
            "  - {{ name: {name}, organization: acme, secret: {{ env: X }}, expect: [{expected}] }}\n"
        ),
    };
    let tokens = [expecting("open", open), expecting("narrow", narrow)].concat();
    let janitor = if organization.contains("janitor: ") { janitor } else { "" };
    format!(
        "hub: {{ endpoint: \"http://127.0.0.1:9\", {hub} }}\n\
         schedule: {{ probe: \"0 */15 * * * *\", canary: \"0 */15 * * * *\", declared: \"0 7 * * * *\" }}\n\
         organizations: [{{ name: acme, {organization} }}]\n\
         alerts: {{ {alerts} }}\n\
         tokens:\n{janitor}{tokens}"
    )
}

/// What is expected of the token that may create nothing.
const NARROW: [&str; 3] = [
    "{ permission: repo.create, access: denied }, { permission: repo.read, repo: acme/known, access: denied }",
    "{ permission: repo.read, repo: acme/known, access: allowed }",
    "{ permission: repo.create, access: denied }, { permission: repo.write, repo: acme/known, access: denied }",
];

/// All of them, read once.
pub static WORLDS: LazyLock<Vec<World>> = LazyLock::new(|| {
    let make = |(nth, (hub, organization, alerts, open)): (usize, &(&str, &str, &str, &str))| {
        let narrow = NARROW[nth % NARROW.len()];
        let read = |organization: &str, open: &str, narrow: &str| {
            configured(&text(hub, organization, alerts, open, narrow))
        };
        let alone = organization
            .replace("janitor: janitor, ", "")
            .replace("janitor: janitor", "canary_prefix: scopewatch-canary");
        World {
            whole: read(organization, open, narrow),
            no_janitor: read(&alone, open, narrow),
            no_check: read(organization, NARROW[1], narrow),
            no_token: read(organization, "", narrow),
            janitor: organization.contains("janitor: "),
        }
    };
    KINDS.iter().enumerate().map(make).collect()
});

/// A Hub that fits: a janitor who may do all but create, one token that may create and delete, one that may only read.
pub fn inhabit(world: &World, mode: Mode, seed: u64) -> Life {
    let mut life = Life::new(world.whole.clone(), mode, seed);
    let now = life.time();
    life.hub.furnish("acme/known", now);
    life.hub.catch_up();
    life.hub.tells_time = Some(0);
    // One world in three has replicas that wait, and one of three errands comes back from them.
    life.helpers = seed.is_multiple_of(3).then_some(3);
    life.unhelped = 33;
    life.hub.holders.insert(TokenName::new("janitor"), holder("alice", false, true, true));
    life.hub.holders.insert(TokenName::new("open"), holder("bob", true, false, true));
    life.hub.holders.insert(TokenName::new("narrow"), holder("carl", false, true, false));
    let groups = serde_json::json!([{ "id": GROUP, "name": "group", "resources": [] }]);
    life.hub.pages.insert("/api/organizations/acme/resource-groups".to_owned(), said(200, &groups));
    life
}

//! A reload takes effect at once: what nobody asks for any more is not created, however far it had come.

use std::time::Duration;

use crate::round::Event;
use crate::schedule::Classes;

use super::life::{S, configured};
use super::stories::{SERVE, world};

/// One request in the air at a time, so that a creation has to wait for its turn.
fn text(open: &str) -> String {
    format!(
        "
hub: {{ endpoint: \"http://127.0.0.1:9\", in_flight_horizon: 60s, max_in_flight: 1 }}
schedule: {{ probe: \"0 */15 * * * *\", canary: \"0 */15 * * * *\", declared: \"0 7 * * * *\" }}
organizations: [{{ name: acme, janitor: janitor, max_creations_per_day: 200 }}]
tokens:
  - {{ name: janitor, organization: acme, secret: {{ env: J }} }}
{open}"
    )
}

fn open(check: &str) -> String {
    text(&format!(
        "  - {{ name: open, organization: acme, secret: {{ env: A }}, expect: [{{ {check} }}] }}\n"
    ))
}

const CREATES: &str = "permission: repo.create, access: denied";
const TRIES: &str = "permission: repo.create, method: sentinel, sentinel: acme/known, access: denied";
const READS: &str = "permission: repo.read, repo: acme/known, access: denied";

#[test]
fn after_a_reload_nothing_is_created_that_nobody_asks_for_any_more() {
    for before in [CREATES, TRIES] {
        let mut created = 0;
        for after in [open(READS), text("")].map(|text| configured(&text)) {
            for millis in (0..4000).step_by(20) {
                let mut life = world(configured(&open(before)), SERVE, millis);
                life.slow_write = S(1);
                life.start();
                life.tell(Event::Due(Classes::ALL));
                let reload = Duration::from_millis(millis);
                life.run_until(reload, 5000);
                life.config = after.clone();
                life.tell(Event::Configured(after.clone()));
                life.run_until(S(60), 5000);
                for (at, request) in &life.asked {
                    if request.route == "/api/repos/create" {
                        created += 1;
                        assert!(*at <= reload, "{before}: {at:?} after a reload at {reload:?}");
                    }
                }
            }
        }
        assert!(created > 0, "{before}: nothing came so far");
    }
}

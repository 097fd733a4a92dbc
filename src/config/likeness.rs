//! What two replicas must have in common to work for one another: a digest of what is asked of the Hub, and how gently.
//!
//! Not in it: where secrets lie, the server, the store, the sinks, and how the Hub is reached from here (proxy, certificates),
//! which may differ from place to place.

use std::fmt::Debug;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::Config;

impl Config {
    /// Sixteen hexadecimal digits: the same where organizations, the names of tokens, their checks and `hub` are. Another
    /// version of this program may find others for the same config.
    pub fn likeness(&self) -> &str {
        self.likeness.get(|| {
            let mut said = Said(Sha256::new());
            let hub = &self.hub;
            said.add(&(&hub.endpoint, hub.request_timeout, hub.max_in_flight));
            said.add(&(hub.quota_share.to_bits(), hub.in_flight_horizon));
            for one in &self.organizations {
                said.add(&(&one.name, &one.janitor, &one.inventory, &one.sentinel));
                said.add(&(&one.canary_prefix, one.max_creations_per_day, one.adopt_authentic));
            }
            for token in &self.tokens {
                said.add(&(&token.name, &token.organization));
                for check in &token.checks {
                    let asked = &check.question;
                    said.add(&(&asked.permission, &asked.target, &asked.expected, &asked.method));
                }
            }
            let digest = said.0.finalize();
            HEXLOWER.encode(digest.get(..8).unwrap_or_default())
        })
    }
}

struct Said(Sha256);

impl Said {
    /// Names are quoted in it, so that no two values run into one another.
    fn add(&mut self, value: &impl Debug) {
        self.0.update(format!("{value:?}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EXAMPLE, NoDisk, Source, parse};

    fn likeness(change: (&str, &str)) -> String {
        let text = EXAMPLE.replacen(change.0, change.1, 1);
        assert!(text != EXAMPLE || change.0 == change.1, "{} is not in the example", change.0);
        let parsed = parse(Source { name: "a.yaml", text: &text }, &NoDisk);
        parsed.unwrap_or_else(|why| panic!("{why:?}")).config.likeness().to_owned()
    }

    #[test]
    fn what_is_asked_makes_a_difference_and_where_things_lie_does_not() {
        let as_it_is = likeness(("", ""));
        assert_eq!(as_it_is.len(), 16);
        for (before, after) in [
            ("hub:", "# a comment\n\nhub:"),
            ("secret: { file: /run/secrets/limited-test-token }", "secret: { file: /elsewhere }"),
            ("listen: 0.0.0.0:10847", "listen: 127.0.0.1:10848"),
        ] {
            assert_eq!(likeness((before, after)), as_it_is, "{after}");
        }
        let mut seen = vec![as_it_is];
        for (before, after) in [
            ("max_in_flight: 16 ", "max_in_flight: 17 "),
            ("name: limited-test-token ", "name: another-test-token "),
            ("access: denied", "access: allowed"),
            ("max_creations_per_day: 200", "max_creations_per_day: 201"),
        ] {
            let other = likeness((before, after));
            assert!(!seen.contains(&other), "{after}");
            seen.push(other);
        }
    }
}

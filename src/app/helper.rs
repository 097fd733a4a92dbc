//! What a replica does for the leader while it waits: it sends questions that the leader has no room for, and gives
//! back what the Hub said.
//!
//! It decides nothing. It carries only what the leader's own lease still covers, with the very secret that the leader means,
//! and for a leader with a config like its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep};

use crate::access::TokenName;
use crate::config::Config;
use crate::errand::{Fruit, fruit_text, place_of_fruit, place_of_request, request_of};
use crate::exchange::{Credential, Exchange, Failure, Request};
use crate::hub::names::Signer;
use crate::hub::routes;
use crate::metrics::Metrics;
use crate::probe::{Keyring, MayLeave, Prober};
use crate::round::drive::LoadedKeys;
use crate::store::{self, Claimed, Store};

use super::clock::wall_now;
use super::keys::Keys;

/// How often it is looked for errands while a round goes on that has any, and else.
const BUSY: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_millis(500);

/// A round has no more of them when none came for so long.
const LULL: Duration = Duration::from_secs(3);

/// After a failure of the store it is tried again so soon.
const AGAIN: Duration = Duration::from_secs(1);

/// Secrets are read anew after so long, and forgotten when nothing was to be sent for so long.
const FRESH: Duration = Duration::from_secs(60);

/// One that differs from what the leader means is read anew, but not more often than this.
const REREAD: Duration = Duration::from_secs(2);

/// One replica that waits.
pub(super) struct Helper {
    pub name: String,
    pub store: Arc<Store>,
    pub config: Arc<ArcSwap<Config>>,
    pub prober: Arc<ArcSwap<Prober>>,
    pub keys: Keys,
    pub signer: Signer,
    pub metrics: Metrics,
}

/// The secrets as they were read last.
struct Held {
    ring: Arc<Keyring>,
    /// The fingerprint of each that is usable.
    prints: BTreeMap<TokenName, String>,
    read_at: Instant,
}

/// What was claimed, and what is to be sent for it.
type Asked = (Option<Request>, Claimed);

/// What the requests in the air are to be told as: epoch and number.
type Manifest = HashMap<Id, (i64, i64)>;

impl Helper {
    /// Carries errands until it is dropped, which ends what is in the air.
    pub(super) async fn run(mut self) {
        let mut flights: JoinSet<Fruit> = JoinSet::new();
        let mut manifest = Manifest::new();
        let mut answers: Vec<(i64, i64, String)> = Vec::new();
        let mut held: Option<Held> = None;
        let mut used_at = Instant::now();
        loop {
            while let Some(landed) = flights.try_join_next_with_id() {
                let (id, fruit) = match landed {
                    Ok((id, fruit)) => (id, fruit),
                    Err(error) => (error.id(), Fruit::Declined),
                };
                if let Some((epoch, number)) = manifest.remove(&id) {
                    if fruit != Fruit::Declined {
                        self.metrics.count_errand("carried");
                    }
                    answers.push(self.told(epoch, number, &fruit));
                }
            }
            let config = self.config.load_full();
            let helper = store::Helper {
                name: self.name.clone(),
                likeness: config.likeness().to_owned(),
                room: config.hub.max_in_flight.max(1),
            };
            let most = helper.room.saturating_sub(flights.len());
            let Ok(claimed) = self.store.help(&helper, &answers, most).await else {
                sleep(AGAIN).await;
                continue;
            };
            answers.clear();
            let claimed: Vec<_> = claimed.into_iter().map(|one| (self.request(&one), one)).collect();
            if !claimed.is_empty() {
                used_at = Instant::now();
                self.freshen(&mut held, &claimed, config).await;
            }
            for (request, one) in claimed {
                let (epoch, number) = (one.epoch, one.number);
                match held.as_ref().and_then(|held| self.carry(request?, one, held)) {
                    Some(flight) => {
                        manifest.insert(flights.spawn(flight).id(), (epoch, number));
                    }
                    None => answers.push(self.told(epoch, number, &Fruit::Declined)),
                }
            }
            // What is offered next comes after what was answered: in between there is nothing to claim.
            let busy = !flights.is_empty() || !answers.is_empty() || used_at.elapsed() < LULL;
            if used_at.elapsed() > FRESH && flights.is_empty() && held.take().is_some() {
                self.keys.own_up();
            }
            sleep(if busy { BUSY } else { IDLE }).await;
        }
    }

    /// Reads the secrets where they were not read for long, or where one differs from what is meant.
    async fn freshen(&mut self, held: &mut Option<Held>, claimed: &[Asked], config: Arc<Config>) {
        let differs = |held: &Held| {
            let meant =
                |(request, one): &Asked| request.as_ref().is_none_or(|request| held.means(request, one));
            !claimed.iter().all(meant)
        };
        let stale = held.as_ref().is_none_or(|held| {
            let age = held.read_at.elapsed();
            age > FRESH || (age > REREAD && differs(held))
        });
        if stale {
            let LoadedKeys { ring, known } = self.keys.read(config).await;
            let prints = known.into_iter().filter_map(|(name, print)| Some((name, print.ok()?))).collect();
            *held = Some(Held { ring: Arc::new(ring), prints, read_at: Instant::now() });
        }
    }

    /// What an errand came to, for the leader alone to believe.
    fn told(&self, epoch: i64, number: i64, fruit: &Fruit) -> (i64, i64, String) {
        (epoch, number, self.signer.sealed(&place_of_fruit(epoch, number), &fruit_text(fruit)))
    }

    /// What is to be sent; `None` where no leader said so, or where it is not known here.
    fn request(&self, one: &Claimed) -> Option<Request> {
        let place = place_of_request(one.epoch, one.number, one.fingerprint.as_deref());
        request_of(self.signer.unsealed(&place, &one.request)?, routes::ALL)
    }

    /// The flight of an errand; `None` where it is not one that this replica can carry.
    fn carry(
        &self,
        request: Request,
        one: Claimed,
        held: &Held,
    ) -> Option<impl Future<Output = Fruit> + Send + use<>> {
        if !held.means(&request, &one) {
            return None;
        }
        let (prober, ring, may_leave) = (self.prober.load_full(), held.ring.clone(), only_until(one.until));
        Some(async move { fruit(prober.send_if(&ring, request, wall_now(), may_leave).await) })
    }
}

impl Held {
    /// Whether the secret that this request would be sent with is the one that is meant.
    fn means(&self, request: &Request, one: &Claimed) -> bool {
        match &request.credential {
            Credential::Anonymous => one.fingerprint.is_none(),
            Credential::Token(name) => {
                one.fingerprint.is_some() && self.prints.get(name) == one.fingerprint.as_ref()
            }
        }
    }
}

/// What is told of it. That no answer came may be due to this replica's way to the Hub; a question may be asked once more
/// by the leader, who then knows of its own.
fn fruit(exchange: Exchange) -> Fruit {
    match exchange.outcome {
        Ok(_) | Err(Failure::Oversized) => Fruit::Carried(exchange.elapsed, Box::new(exchange.outcome)),
        Err(_) => Fruit::Declined,
    }
}

/// Nothing leaves any more from then on.
fn only_until(until: Instant) -> Arc<MayLeave> {
    Arc::new(move || Box::pin(std::future::ready(Instant::now() < until)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Verb;

    fn held(prints: &[(&str, &str)]) -> Held {
        let prints = prints.iter().map(|(name, print)| (TokenName::new(name), (*print).to_owned())).collect();
        Held { ring: Arc::new(Keyring::new()), prints, read_at: Instant::now() }
    }

    fn request(credential: Credential) -> Request {
        Request { verb: Verb::Get, route: "/api/whoami-v2", path: "/".into(), body: None, credential }
    }

    fn meant(credential: Credential, fingerprint: Option<&str>) -> bool {
        let one = Claimed {
            epoch: 1,
            number: 1,
            fingerprint: fingerprint.map(str::to_owned),
            request: String::new(),
            until: Instant::now(),
        };
        held(&[("a", "print a"), ("b", "print b")]).means(&request(credential), &one)
    }

    #[test]
    fn a_request_is_sent_with_the_very_secret_that_is_meant_or_not_at_all() {
        let token = |name| Credential::Token(TokenName::new(name));
        assert!(meant(token("a"), Some("print a")));
        assert!(meant(Credential::Anonymous, None));
        for (credential, fingerprint) in [
            (token("a"), Some("print b")), // replaced meanwhile, here or there
            (token("a"), None),
            (token("c"), Some("print c")), // not known here, or not usable
            (token("c"), None),
            (Credential::Anonymous, Some("print a")),
        ] {
            assert!(!meant(credential.clone(), fingerprint), "{credential:?} {fingerprint:?}");
        }
    }

    #[test]
    fn only_what_the_hub_said_is_told_and_the_rest_is_the_leaders_to_ask() {
        let request = request(Credential::Anonymous);
        let exchange = |outcome| Exchange {
            request: request.clone(),
            sent_at: crate::moment::Timestamp(0),
            elapsed: Duration::from_secs(1),
            outcome,
        };
        let answer = Ok(crate::exchange::Answer::default());
        assert_eq!(fruit(exchange(answer.clone())), Fruit::Carried(Duration::from_secs(1), Box::new(answer)));
        for failure in Failure::ALL {
            let told = fruit(exchange(Err(*failure)));
            assert_eq!(told == Fruit::Declined, *failure != Failure::Oversized, "{failure}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_leaves_once_the_leader_may_not_lead_any_more() {
        let may_leave = only_until(Instant::now() + Duration::from_secs(3));
        assert!(may_leave().await);
        tokio::time::advance(Duration::from_millis(2999)).await;
        assert!(may_leave().await);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!may_leave().await);
    }
}

//! The requests that other replicas send for this one while it leads: handed over in batches through the database that they
//! share, and their answers brought back.
//!
//! What nobody carries comes back as well, and is then sent from here. Serves `drive`; what may be away at all is decided in
//! `errands`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::config::Config;
use crate::errand::{Fruit, fruit_of, place_of_fruit, place_of_request, request_text};
use crate::exchange::{Exchange, Request};
use crate::hub::names::Signer;
use crate::moment::Timestamp;
use crate::store::{Helpers, Offer, Store};

use super::Event;

/// How often what is offered is handed over and what came back is taken, while anything is away: what a request waits
/// longer than one from here.
const TURN: Duration = Duration::from_millis(10);

/// How often it is looked who is there.
const ATTEND: Duration = Duration::from_secs(1);

/// What a claimed request may take beyond the deadline of a request.
const SLACK: Duration = Duration::from_secs(5);

/// What neither came back nor was taken back so long after it should have been is not in the database any more: a transaction
/// that took it out went through, and nobody was told.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// A request that is to be sent elsewhere.
struct Errand {
    flight: u64,
    request: Request,
    fingerprint: Option<String>,
}

/// The way to other replicas. Dropping it ends it; what is away is then nobody's.
pub struct Away {
    offers: UnboundedSender<Errand>,
    events: UnboundedReceiver<Event>,
    _desk: JoinSet<()>,
}

/// What it needs of the world.
pub struct World {
    /// The wall clock.
    pub wall: fn() -> Timestamp,
    /// Told who is there besides this replica.
    pub seen: Box<dyn FnMut(Helpers) + Send>,
}

impl Away {
    /// Over this store, of which this process is the writer under this epoch. What config holds now says who is alike.
    pub fn over(
        store: Arc<Store>,
        epoch: i64,
        signer: Signer,
        config: Arc<ArcSwap<Config>>,
        world: World,
    ) -> Away {
        let (offers, offered) = mpsc::unbounded_channel();
        let (told, events) = mpsc::unbounded_channel();
        let desk = Desk { store, epoch, signer, config, world, told, away: HashMap::new(), room: 0 };
        let mut tasks = JoinSet::new();
        tasks.spawn(desk.run(offered));
        Away { offers, events, _desk: tasks }
    }

    /// Lets it be sent elsewhere. Says what became of it where that is known at once.
    pub(super) fn send(&self, flight: u64, request: Request, fingerprint: Option<String>) -> Option<Event> {
        let sent = self.offers.send(Errand { flight, request, fingerprint });
        sent.err().map(|back| Event::Returned { flight, request: back.0.request })
    }

    /// What the engine is to be told next.
    pub(super) async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

struct Desk {
    store: Arc<Store>,
    epoch: i64,
    signer: Signer,
    config: Arc<ArcSwap<Config>>,
    world: World,
    told: UnboundedSender<Event>,
    /// Each with when it was offered.
    away: HashMap<u64, (Request, Instant)>,
    room: usize,
}

impl Desk {
    async fn run(mut self, mut offered: UnboundedReceiver<Errand>) {
        let mut attends_at = Instant::now();
        let mut turns_at = Instant::now();
        loop {
            let mut errands = Vec::new();
            tokio::select! {
                () = sleep_until(attends_at) => {}
                () = sleep_until(turns_at), if !self.away.is_empty() => {}
                errand = offered.recv(), if self.away.is_empty() => match errand {
                    Some(errand) => errands.push(errand),
                    None => return,
                },
            }
            while let Ok(errand) = offered.try_recv() {
                errands.push(errand);
            }
            if !errands.is_empty() || !self.away.is_empty() {
                self.turn(errands).await;
                turns_at = Instant::now() + TURN;
            }
            if attends_at <= Instant::now() {
                self.attend().await;
                attends_at = Instant::now() + ATTEND;
            }
        }
    }

    /// Hands over what is offered, and brings back what came back.
    async fn turn(&mut self, errands: Vec<Errand>) {
        let offers: Vec<Offer> = errands.iter().filter_map(|errand| self.offer(errand)).collect();
        let numbers: Vec<u64> = errands.iter().map(|errand| errand.flight).collect();
        let now = Instant::now();
        self.away.extend(errands.into_iter().map(|errand| (errand.flight, (errand.request, now))));
        let config = self.config.load_full();
        match self.store.offer(config.likeness(), &offers).await {
            Ok(answers) => answers.into_iter().for_each(|(number, answer)| self.answered(number, &answer)),
            // Whether they got there is not known; who has one finds nothing to answer, or is not heard.
            Err(_) => numbers.into_iter().for_each(|flight| self.back(flight)),
        }
    }

    fn answered(&mut self, number: i64, answer: &str) {
        let Ok(flight) = u64::try_from(number) else { return };
        let place = place_of_fruit(self.epoch, number);
        let fruit = self.signer.unsealed(&place, answer).and_then(fruit_of);
        let Some(Fruit::Carried(elapsed, outcome)) = fruit else { return self.back(flight) };
        let Some((request, _)) = self.away.remove(&flight) else { return };
        // By this clock: the helper's may be another.
        let sent_at = (self.world.wall)() - elapsed;
        let exchange = Exchange { request, sent_at, elapsed, outcome: *outcome };
        self.tell(Event::Heard { flight, exchange: Box::new(exchange) });
    }

    fn back(&mut self, flight: u64) {
        if let Some((request, _)) = self.away.remove(&flight) {
            self.tell(Event::Returned { flight, request });
        }
    }

    /// Who is there, and what nobody carries.
    async fn attend(&mut self) {
        let config = self.config.load_full();
        let patience = config.hub.request_timeout + SLACK;
        // What keeps the store from answering is told elsewhere; the lease ends by itself.
        let Ok((helpers, back)) = self.store.attend(config.likeness(), patience).await else { return };
        back.into_iter().filter_map(|number| u64::try_from(number).ok()).for_each(|flight| self.back(flight));
        forgotten(&self.away, patience).into_iter().for_each(|flight| self.back(flight));
        (self.world.seen)(helpers);
        if self.room != helpers.room {
            self.room = helpers.room;
            self.tell(Event::Helpers(helpers.room));
        }
    }

    fn offer(&self, errand: &Errand) -> Option<Offer> {
        let number = i64::try_from(errand.flight).ok()?;
        let place = place_of_request(self.epoch, number, errand.fingerprint.as_deref());
        let request = self.signer.sealed(&place, &request_text(&errand.request));
        Some(Offer { number, fingerprint: errand.fingerprint.clone(), request })
    }

    /// Whoever is told may have ended.
    fn tell(&self, event: Event) {
        let _ = self.told.send(event);
    }
}

/// Those of which nothing will be heard any more.
fn forgotten(away: &HashMap<u64, (Request, Instant)>, patience: Duration) -> Vec<u64> {
    let long_ago = |(_, (_, since)): &(&u64, &(Request, Instant))| since.elapsed() > patience + FORGOTTEN;
    away.iter().filter(long_ago).map(|(flight, _)| *flight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Credential, Verb};

    #[tokio::test(start_paused = true)]
    async fn what_the_database_lost_comes_back_at_last() {
        let request = Request {
            verb: Verb::Get,
            route: "/api/whoami-v2",
            path: "/".into(),
            body: None,
            credential: Credential::Anonymous,
        };
        let mut away = HashMap::from([(1, (request.clone(), Instant::now()))]);
        let patience = Duration::from_secs(15);
        tokio::time::advance(patience + FORGOTTEN).await;
        away.insert(2, (request, Instant::now()));
        assert_eq!(forgotten(&away, patience), Vec::<u64>::new());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(forgotten(&away, patience), [1]);
    }
}

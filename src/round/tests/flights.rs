//! The network of a life: what becomes of a request between the engine and the Hub.

use std::time::Duration;

use crate::exchange::{Answer, Credential, Exchange, Failure, Request, Verb};
use crate::moment::Timestamp;
use crate::round::Event;
use crate::round::gate::{Bound, may_leave};
use crate::secret::SecretFault;

use super::hub::{Key, described, named, refused, said};
use super::life::{Dice, Life, Pending, S, TIMEOUT};
use super::watch::{Landing, Mark};

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fate {
    Fine,
    /// Not one byte leaves.
    Unsent,
    /// Takes effect; the answer is a 500.
    AppliedError,
    /// A 500, and nothing happens.
    Error,
    /// Takes effect; no answer within the deadline.
    AppliedTimeout,
    /// Nothing happens; no answer.
    LostTimeout,
    /// No answer within the deadline; takes effect so long after we gave up.
    Late(Duration),
    /// 2xx at once; takes effect so long after.
    LateAcknowledged(Duration),
    /// A page of something in between.
    Html,
    /// 2xx of no known shape, after it took effect.
    Odd,
    Limited,
    Cap,
    Busy,
    /// Refused in the Hub's own envelope, though it need not be.
    Refused,
    /// The same of a creation that takes effect all the same: the Hub's word is only its word.
    RefusedApplied,
    /// The Hub says this, and nothing happens.
    Said(u16, &'static str),
    /// The answer is about another repository; what was asked takes effect.
    Other,
    /// A body that no shape foresees, the n-th of them; nothing happens.
    Strange(usize),
    /// A listing of long ago: what is looked for stands in it.
    Listed,
    /// The truth, with a date of long ago.
    Kept,
}

/// Decides over each request.
pub type Decider = Box<dyn FnMut(&Request, &mut Dice) -> Fate>;

/// Bodies that no parser should be surprised by.
pub const STRANGE: [&str; 8] = [
    "",
    "null",
    "[]",
    "{\"id\":18446744073709551616,\"name\":1e999}",
    "{\"error\":{\"error\":{\"error\":null}}}",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    "{\"_id\":null,\"id\":null,\"private\":\"true\",\"createdAt\":-1}",
    "\u{0}\u{fffd}{",
];

impl Life {
    /// The gate is asked and the request leaves, or it does not.
    pub fn dispatch(&mut self, flight: u64, request: Request, bound: Option<Bound>) {
        let sent = self.now;
        self.asked.push((sent, request.clone()));
        let current = Some(self.epoch).filter(|_| self.process.is_some());
        if !may_leave(bound, self.moment(), current) {
            let outcome = Err(Failure::Stale);
            // An attempt that never left is none.
            self.later(S(0), Pending::Heard { flight, request, outcome: Box::new(outcome), sent });
            return;
        }
        let fate = self.fate_of(&request);
        let takes = Duration::from_millis(if self.quick { 1 } else { 5 + self.dice.roll(800) });
        match request.verb {
            Verb::Get => {
                let outcome = read_fate(fate);
                let after = if matches!(outcome, Err(Failure::Timeout)) { TIMEOUT } else { takes };
                return self
                    .later(after, Pending::Heard { flight, request, outcome: Box::new(outcome), sent });
            }
            Verb::Post if request.body.is_none() => {
                assert!(!self.mode.read_only, "a POST under --read-only");
            }
            Verb::Post => self.check_creation(flight, &request, bound),
            Verb::Delete => self.check_delete(flight, &request, bound),
        }
        self.fly(flight, request, fate, takes);
    }

    /// What this life has in store for it.
    fn fate_of(&mut self, request: &Request) -> Fate {
        let fate = match self.aimed(request).or_else(|| self.weather(request)) {
            Some(fate) => fate,
            None => (self.fate)(request, &mut self.dice),
        };
        if fate != Fate::Fine {
            self.fault();
        }
        fate
    }

    fn fly(&mut self, flight: u64, request: Request, fate: Fate, takes: Duration) {
        let sent = self.now;
        let post = request.verb == Verb::Post;
        let told = |answer: Answer| (takes, Ok(answer));
        let never = (TIMEOUT, Err(Failure::Timeout));
        let rights = "You don't have the rights to create a thing";
        let (landing, (after, outcome)) = match fate {
            Fate::Fine => {
                let tell = Some((flight, takes));
                return self.later(takes, Pending::Land { request, tell, accepted: false });
            }
            Fate::Unsent => (None, (takes, Err(Failure::Unsent))),
            Fate::AppliedError => (Some(takes / 2), told(refused(500, "oops"))),
            Fate::Error => (None, told(refused(503, "oops"))),
            Fate::AppliedTimeout => (Some(takes), never),
            Fate::LostTimeout => (None, never),
            Fate::Late(after) => (Some(TIMEOUT + after), never),
            Fate::LateAcknowledged(_) if !post && !self.hub.would_delete(&request) => {
                (None, told(refused(403, rights)))
            }
            Fate::LateAcknowledged(after) if !post => {
                (Some(after), told(said(200, &serde_json::Value::Null)))
            }
            Fate::LateAcknowledged(after) => (Some(after), told(refused(502, "oops"))),
            Fate::Html => {
                (None, told(Answer { status: 403, content_type: "text/html".into(), ..Answer::default() }))
            }
            Fate::Odd => (Some(takes / 2), told(said(200, &serde_json::json!({ "error": "odd" })))),
            Fate::Limited => (None, told(refused(429, "slow down"))),
            Fate::Cap if post => {
                (None, told(refused(429, "You have exceeded the rate limit for repository creation")))
            }
            Fate::Busy if post => (None, told(refused(409, "another conflicting operation is in progress"))),
            Fate::RefusedApplied if post => (Some(takes / 2), told(refused(403, rights))),
            Fate::Cap | Fate::Busy | Fate::Refused | Fate::RefusedApplied => {
                (None, told(refused(403, rights)))
            }
            Fate::Said(status, text) => (None, told(saying(status, text))),
            Fate::Other => {
                let other = serde_json::json!({ "name": "acme/known", "id": "00000000000000000000ffff" });
                (Some(takes / 2), told(said(200, &other)))
            }
            Fate::Strange(n) => (None, told(strange(n))),
            Fate::Listed | Fate::Kept => (None, never),
        };
        if let Some(after) = landing {
            let accepted = !post && matches!(fate, Fate::LateAcknowledged(_));
            self.later(after, Pending::Land { request: request.clone(), tell: None, accepted });
        }
        self.later(after, Pending::Heard { flight, request, outcome: Box::new(outcome), sent });
    }

    /// A request takes effect at the Hub.
    pub fn land(&mut self, number: u64, request: Request, tell: Option<(u64, Duration)>, accepted: bool) {
        self.events += u64::from(self.watch.is_some());
        let wronged = self.hub.wronged.len();
        let answer = if accepted {
            self.hub.delete_accepted(&request, self.time())
        } else {
            self.hub.answer(&request, self.time())
        };
        if request.body.is_some() {
            let key = named(&request);
            let late = tell.is_none() && !self.waits_for(number, &key);
            if request.verb == Verb::Post && answer.status == 200 {
                let intent = self.ghost.intents.entry(key.clone()).or_default();
                intent.made = true;
                // What a person closed, or the Hub said that it refused, is over by their word.
                let over = intent.closed || intent.refused;
                if late && !over {
                    self.mark_of(&key, Mark::Landing(Landing::LateCreation));
                }
                if late {
                    // The horizon holds for both together: how late it lands, and how long copies do not show it.
                    self.hub.catch_up();
                }
                self.i6_true_terminal(&key);
            }
            if request.verb == Verb::Delete && answer.status == 200 {
                // A row from an old copy may be in any state.
                if late && !self.ghost.lost {
                    self.mark_of(&key, Mark::Landing(Landing::LateDeletion));
                }
                self.i3_no_foreign_deletion(wronged);
            }
            self.trace(|| format!("  the Hub takes {} {}: {}", request.verb, key.1, answer.status));
        }
        let alive = self.process.iter().chain(&self.others).any(|process| process.number == number);
        if let Some((flight, after)) = tell.filter(|_| alive) {
            let sent = self.now;
            let heard = Pending::Heard { flight, request, outcome: Box::new(Ok(answer)), sent };
            self.sequence += 1;
            self.queue.insert((self.now + after, self.sequence), (number, heard));
        }
    }

    /// Whether a process still waits for the answer to a request about this name.
    fn waits_for(&self, number: u64, key: &super::hub::Key) -> bool {
        self.queue.values().any(|(of, pending)| {
            *of == number
                && matches!(pending, Pending::Heard { request, .. } if request.body.is_some() && named(request) == *key)
        })
    }

    pub fn heard(&mut self, flight: u64, request: Request, outcome: Result<Answer, Failure>, sent: Duration) {
        // A read is answered with the truth of the moment in which it is heard.
        let outcome = match outcome {
            Ok(answer) if answer.status == 0 => Ok(self.hub.answer(&request, self.time())),
            Ok(answer) if answer.status == 2 => {
                let name = request.path.split_once("search=").map(|(_, name)| name).unwrap_or_default();
                let item = serde_json::json!({ "id": format!("acme/{name}"), "private": true });
                Ok(said(200, &serde_json::json!([item])))
            }
            Ok(answer) if answer.status == 3 => {
                let date = Some(Timestamp(self.time().millis() - 3_600_000));
                Ok(Answer { date, ..self.hub.answer(&request, self.time()) })
            }
            Ok(answer) if answer.status == 1 => Ok(self.hub.answer(&elsewhere(&request), self.time())),
            outcome => outcome,
        };
        self.posting.remove(&(self.number(), flight));
        if let Some(key) = self.deleting.remove(&(self.number(), flight)) {
            let over = match &outcome {
                Ok(answer) => matches!(answer.status, 401 | 403 | 404) && answer.content_type != "text/html",
                Err(failure) => failure.unsent(),
            };
            self.left.get_mut(&key).and_then(|left| left.last_mut()).expect("it left").over = over;
            self.note_perjury(&key, &outcome);
        }
        if let (Some(key), Ok(answer)) = (described(&request), &outcome)
            && answer.status == 200
            && request.credential != Credential::Anonymous
        {
            let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
            if let Some(id) = body["_id"].as_str().filter(|_| body["id"] == key.1) {
                self.identity.insert((self.number(), key), (self.now, id.to_owned()));
            }
        }
        self.note_told(&request, &outcome);
        let elapsed = self.now.saturating_sub(sent);
        let sent_at = self.wall() - elapsed;
        let exchange = Box::new(Exchange { request, sent_at, elapsed, outcome });
        self.tell(Event::Heard { flight, exchange });
    }

    /// The Hub says of a deletion that it is done.
    fn note_perjury(&mut self, key: &Key, outcome: &Result<Answer, Failure>) {
        let odd = |answer: &Answer| answer.status == 200 && STRANGE.contains(&answer.body.as_str());
        let there = self.hub.repos.values().any(|repo| repo.ours && repo.origin == *key && !repo.restored);
        if outcome.as_ref().is_ok_and(odd) && there {
            self.ghost.intents.entry(key.clone()).or_default().perjured = true;
        }
    }

    pub fn tell_keys(&mut self) {
        let known = self.config.tokens.iter().map(|token| {
            let bad = self.bad_keys.contains(&token.name);
            let print = self.rotated.get(&token.name).copied().unwrap_or("print");
            let key = if bad { Err(SecretFault::Empty) } else { Ok(format!("{print} of {}", token.name)) };
            (token.name.clone(), key)
        });
        let known = known.collect();
        self.tell(Event::Keys(known));
    }
}

/// An answer with this text in the Hub's envelope; some texts stand for a form of their own.
fn saying(status: u16, text: &str) -> Answer {
    match status {
        // The window is not exhausted, so that this is the cap on creating.
        429 => Answer { rate_limit: Some("\"api\";r=12;t=55".into()), ..refused(429, text) },
        300..=399 => Answer { status, ..Answer::default() },
        _ => refused(status, text),
    }
}

fn strange(n: usize) -> Answer {
    let body = STRANGE[n % STRANGE.len()].to_owned();
    Answer { status: 200, content_type: "application/json".into(), body, ..Answer::default() }
}

/// The same question about another repository.
pub fn elsewhere(request: &Request) -> Request {
    let mut other = request.clone();
    let parts: Vec<&str> = request.path.splitn(5, '/').collect();
    if let ["", "api", _, "acme", rest] = parts.as_slice() {
        let tail = rest.split_once('/').map(|(_, tail)| format!("/{tail}")).unwrap_or_default();
        // One that is there, of whatever kind.
        other.path = format!("/api/models/acme/known{tail}");
    }
    other
}

fn read_fate(fate: Fate) -> Result<Answer, Failure> {
    match fate {
        Fate::Fine | Fate::Cap | Fate::Busy | Fate::Refused | Fate::RefusedApplied => Ok(Answer::default()),
        Fate::Other => Ok(Answer { status: 1, ..Answer::default() }),
        Fate::Unsent => Err(Failure::Unsent),
        Fate::AppliedError | Fate::Error => Ok(refused(500, "oops")),
        Fate::AppliedTimeout | Fate::LostTimeout | Fate::Late(_) => Err(Failure::Timeout),
        Fate::LateAcknowledged(_) => Err(Failure::Lost),
        Fate::Html => Ok(Answer { status: 403, content_type: "text/html".into(), ..Answer::default() }),
        Fate::Odd => Ok(said(200, &serde_json::json!({ "error": "odd" }))),
        Fate::Limited => Ok(refused(429, "slow down")),
        Fate::Said(status, text) => Ok(saying(status, text)),
        Fate::Strange(n) => Ok(strange(n)),
        Fate::Listed => Ok(Answer { status: 2, ..Answer::default() }),
        Fate::Kept => Ok(Answer { status: 3, ..Answer::default() }),
    }
}

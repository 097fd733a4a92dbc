//! What a life does with the engine's effects, and the invariants that each of them is held against.

use std::time::Duration;

use crate::access::{Access, Method, Permission, Verdict};
use crate::exchange::{Answer, Credential, Failure, Request, Verb};
use crate::intent::{Canary, CanaryState, DeleteOutcome};
use crate::report::Report;
use crate::round::gate::{Bound, may_leave};
use crate::round::{Effect, Engine, Event, Meter};
use crate::store::Write;

use super::hub::{Key, named, refused, said};
use super::life::{Fate, Left, Life, Pending, S, TIMEOUT};

impl Life {
    pub fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::LoadKeys => self.later(S(0), Pending::Keys),
            Effect::Send { flight, request, bound } => {
                let creates = request.route == "/api/repos/create";
                let latched = self.engine.as_ref().is_some_and(|engine| engine.latched("acme"));
                assert!(!(creates && latched), "I14: asked to create although latched");
                let late = self.delays > 0 && self.dice.percent(self.delays);
                let after = if late { S(self.dice.roll(4)) } else { S(0) };
                self.later(after, Pending::Dispatch { flight, request, bound });
            }
            Effect::Store { op, batch } => self.store(op, batch),
            Effect::RoundEnded(report) => {
                self.judge(&report);
                self.reports.push(report);
            }
            Effect::Recall { organization, names } => {
                let found = self.journal.values().filter(|c| names.contains(&(c.kind, c.repo.clone())));
                let found = Some(found.cloned().collect());
                self.later(S(0), Pending::Event(Event::Recalled { organization, found }));
            }
            Effect::Ended => self.ended = true,
            Effect::Meter(Meter::RoundSkipped) => self.skipped += 1,
            Effect::Explained(_) => {}
            Effect::Publish(snapshot) => self.shown = Some(snapshot),
            Effect::Tell(notice) => self.log.push(notice.text),
            Effect::Meter(_) => {}
        }
    }

    fn store(&mut self, op: u64, batch: Vec<Write>) {
        let millis = u64::try_from(self.slow_write.as_millis()).expect("short");
        let takes = Duration::from_millis(1 + self.dice.roll(millis + 1));
        // Batches become durable in the order in which they were given.
        self.last_write = (self.now + takes).max(self.last_write);
        let bad = self.bad_writes > 0 && self.dice.percent(self.bad_writes);
        // A commit that was told to have failed may be there all the same.
        let written = !bad || self.dice.percent(30);
        let after = self.last_write.saturating_sub(self.now);
        self.later(after, Pending::Stored { op, batch, written, done: !bad });
    }

    /// A batch becomes durable.
    pub fn write(&mut self, batch: Vec<Write>) {
        for write in batch {
            match write {
                Write::Canary { canary, .. } => {
                    if let Some(old) = self.journal.get(&canary.id) {
                        assert_eq!((&old.repo, old.planned_at), (&canary.repo, canary.planned_at));
                        assert!(old.deletes.len() <= canary.deletes.len(), "attempts only ever grow");
                        let left = old.state == CanaryState::Quarantined && canary.state != old.state;
                        assert!(!left, "out of quarantine without a person");
                    }
                    self.durable_at.entry(canary.id).or_insert(self.now);
                    self.journal.insert(canary.id, canary);
                }
                Write::Creation(creation) => self.kept.creations.push(creation),
                Write::Check(state) => {
                    self.kept.checks.retain(|old| old.key != state.key);
                    self.kept.checks.push(state);
                }
                Write::Answer(answer) => assert!(self.kept.checks.iter().any(|c| c.key == answer.key)),
                Write::ForgetCheck(key) => self.kept.checks.retain(|old| old.key != key),
                Write::Finding(finding) => {
                    self.kept.findings.retain(|old| old.key() != finding.key());
                    self.kept.findings.push(finding);
                }
                Write::Breaker(breaker) => self.kept.breakers.push(breaker),
                Write::Unlatch { .. } => self.kept.breakers.clear(),
                Write::Pause(pause) => {
                    self.kept.pauses.retain(|old| old.owner != pause.owner);
                    self.kept.pauses.push(pause);
                }
                Write::Declared(declared) => {
                    self.kept.declared.retain(|old| old.token != declared.token);
                    self.kept.declared.push(declared);
                }
            }
        }
    }

    pub fn dispatch(&mut self, flight: u64, request: Request, bound: Option<Bound>) {
        let sent = self.now;
        self.asked.push((sent, request.clone()));
        if !may_leave(bound, self.moment(), self.engine.as_ref().map(Engine::epoch)) {
            let outcome = Err(Failure::Stale);
            // An attempt that never left is none.
            self.later(S(0), Pending::Heard { flight, request, outcome: Box::new(outcome), sent });
            return;
        }
        let fate = (self.fate)(&request, &mut self.dice);
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
            Verb::Post if self.is_sentinel(&request) => self.check_trial(flight, &request),
            Verb::Post => self.check_post(flight, &request),
            Verb::Delete => self.check_delete(flight, &request),
        }
        self.fly(flight, request, fate, takes);
    }

    fn fly(&mut self, flight: u64, request: Request, fate: Fate, takes: Duration) {
        let sent = self.now;
        let post = request.verb == Verb::Post;
        let told = |answer: Answer| (takes, Ok(answer));
        let never = (TIMEOUT, Err(Failure::Timeout));
        let (landing, (after, outcome)) = match fate {
            Fate::Fine => {
                return self.later(takes, Pending::Land { request, tell: Some((flight, takes)) });
            }
            Fate::Unsent => (None, (takes, Err(Failure::Unsent))),
            Fate::AppliedError => (Some(takes / 2), told(refused(500, "oops"))),
            Fate::Error => (None, told(refused(503, "oops"))),
            Fate::AppliedTimeout => (Some(takes), never),
            Fate::LostTimeout => (None, never),
            Fate::Late(after) => (Some(TIMEOUT + after), never),
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
            Fate::Cap | Fate::Busy | Fate::Refused => {
                (None, told(refused(403, "You don't have the rights to create a thing")))
            }
        };
        if let Some(after) = landing {
            self.later(after, Pending::Land { request: request.clone(), tell: None });
        }
        self.later(after, Pending::Heard { flight, request, outcome: Box::new(outcome), sent });
    }

    fn check_post(&mut self, flight: u64, request: &Request) {
        assert!(!self.mode.read_only, "a POST under --read-only");
        let key = named(request);
        let durable = self.journal.values().find(|c| c.repo.to_string() == key.1 && c.kind == key.0);
        let canary = durable.expect("I1: a POST whose intent is not durable");
        assert_eq!(canary.state, CanaryState::Planned);
        assert!(!self.posts.iter().any(|(_, _, other)| *other == key), "I2: a second POST of {}", key.1);
        assert_eq!(request.body.as_ref().expect("a body")["private"], true, "I7");
        let age = self.now.saturating_sub(self.durable_at[&canary.id]);
        assert!(age <= S(2), "P3: a POST {age:?} after its intent was durable");
        assert!(self.kept.breakers.is_empty(), "I14: a POST although latched");
        assert_ne!(request.credential, Credential::Token(crate::access::TokenName::new("janitor")), "I15");
        let user = self.hub.holder(&request.credential).expect("a holder").user;
        assert!(self.posting.values().all(|other| *other != user), "two creations of {user} at once");
        self.posting.insert(flight, user);
        let day = Duration::from_secs(24 * 3600);
        let today = self.posts.iter().filter(|(at, of, _)| of == user && *at + day > self.now).count();
        let budget = self.config.organizations[0].max_creations_per_day;
        assert!(today < usize::try_from(budget).expect("small"), "I8: over the budget of {user}");
        let unresolved = self.engine.as_ref().expect("it sends").unresolved("acme");
        assert!(unresolved <= 3, "P10: {unresolved} unresolved");
        self.posts.push((self.now, user.to_owned(), key));
    }

    fn is_sentinel(&self, request: &Request) -> bool {
        let (_, name) = named(request);
        self.config
            .tokens
            .iter()
            .flat_map(|token| &token.checks)
            .any(|check| matches!(&check.method, Method::Sentinel(sentinel) if sentinel.to_string() == name))
    }

    /// A creation on a sentinel: seen a moment ago, counted durably, alone of its user.
    fn check_trial(&mut self, flight: u64, request: &Request) {
        assert!(!self.mode.read_only, "a POST under --read-only");
        let key = named(request);
        let (seen, _) = self.identity.get(&key).expect("nobody looked at the sentinel");
        assert!(self.now <= *seen + S(2), "the sentinel was seen {:?} ago", self.now.saturating_sub(*seen));
        assert_eq!(request.body.as_ref().expect("a body")["private"], true, "I7");
        assert!(self.kept.breakers.is_empty(), "I14: a POST although latched");
        self.trials += 1;
        let intents = self.durable_at.len();
        assert!(self.kept.creations.len() >= self.trials + intents, "a creation that is not counted durably");
        let user = self.hub.holder(&request.credential).expect("a holder").user;
        assert!(self.posting.values().all(|other| *other != user), "two creations of {user} at once");
        self.posting.insert(flight, user);
    }

    fn check_delete(&mut self, flight: u64, request: &Request) {
        assert!(!self.mode.read_only, "a DELETE under --read-only");
        let key = named(request);
        let durable = self.journal.values().find(|c| c.repo.to_string() == key.1 && c.kind == key.0);
        let canary = durable.expect("I3: a DELETE of what the journal does not know");
        assert_eq!(canary.state, CanaryState::Deleting, "I4: its attempt is not durable");
        let pending = canary.deletes.last().is_some_and(|d| d.outcome == DeleteOutcome::Pending);
        assert!(pending, "I4: its attempt is not durable");
        let (seen, id) = self.identity.get(&key).expect("I4: nobody looked before");
        assert!(self.now <= *seen + S(2), "I4: the look is {:?} old", self.now.saturating_sub(*seen));
        assert_eq!(canary.repo_id.as_ref(), Some(id), "I4: the bound id is not the one that was seen");
        let horizon = self.horizon();
        let left = self.left.entry(key.clone()).or_default();
        for earlier in left.iter() {
            assert!(
                earlier.over || self.now >= earlier.at + horizon,
                "D6: a second DELETE within the horizon"
            );
        }
        left.push(Left { at: self.now, over: false });
        self.deleting.insert(flight, key.clone());
        *self.deletes.entry(key).or_default() += 1;
    }

    /// I9: what a report says is true, or it says that it does not know.
    fn judge(&self, report: &Report) {
        for result in &report.results {
            let holder = &self.hub.holders[&result.token];
            let may = match result.permission {
                Permission::RepoCreate
                | Permission::JobRead
                | Permission::JobWrite
                | Permission::EndpointInfer => holder.creates,
                Permission::UserWebhooks => false,
                Permission::OrgMembers if self.hub.open_members => self.hub.roles && holder.deletes,
                Permission::RepoRead => {
                    let mut repos = self.hub.repos.iter();
                    let repo = repos.find(|((_, name), _)| *name == result.target).map(|(_, repo)| repo);
                    holder.sees || repo.is_some_and(|repo| !repo.private)
                }
                _ => holder.deletes,
            };
            match result.found {
                Access::Allowed => assert!(may, "allowed, which it is not: {result:?}"),
                Access::Denied(_) => assert!(!may, "denied, which it is not: {result:?}"),
                Access::Undetermined(_) => assert_eq!(result.verdict, Verdict::Unknown),
            }
            assert!(!holder.dead || result.found.conclusive().is_none(), "the dead know nothing");
        }
    }

    /// I5, I6: nothing of ours is left and nothing is unfinished, but for what only a person can judge.
    pub fn check_cleaned_up(&self) {
        // An intent whose commit was told to have failed is never sent; the next start looks for it all the same.
        let sent = |name: &str| self.posts.iter().any(|(_, _, key)| key.1 == name);
        let owed = |c: &&Canary| c.state != CanaryState::Planned || sent(&c.repo.to_string());
        let open: Vec<_> = self.journal.values().filter(|c| c.unfinished()).filter(owed).collect();
        for canary in &open {
            let key: Key = (canary.kind, canary.repo.to_string());
            assert!(self.odd.contains(&key), "unfinished at {:?}: {canary:?}", self.now);
        }
        for key in self.hub.left() {
            assert!(open.iter().any(|c| c.repo.to_string() == key.1), "I5: a silent leak: {}", key.1);
        }
    }
}

fn read_fate(fate: Fate) -> Result<Answer, Failure> {
    match fate {
        Fate::Fine | Fate::Cap | Fate::Busy | Fate::Refused => Ok(Answer::default()),
        Fate::Unsent => Err(Failure::Unsent),
        Fate::AppliedError | Fate::Error => Ok(refused(500, "oops")),
        Fate::AppliedTimeout | Fate::LostTimeout | Fate::Late(_) => Err(Failure::Timeout),
        Fate::LateAcknowledged(_) => Err(Failure::Lost),
        Fate::Html => Ok(Answer { status: 403, content_type: "text/html".into(), ..Answer::default() }),
        Fate::Odd => Ok(said(200, &serde_json::json!({ "error": "odd" }))),
        Fate::Limited => Ok(refused(429, "slow down")),
    }
}

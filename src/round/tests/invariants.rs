//! What must hold, by name: the invariants of the canary protocol (I), of alerts (A) and of several processes (R),
//! each a function that is asked where it can be broken. How often each was asked is counted, because a promise that
//! was never put to the test was not kept, only not broken.

use std::time::Duration;

use crate::access::{Method, RepoType, TokenName, words};
use crate::exchange::{Credential, Request};
use crate::intent::{Canary, CanaryState, DeleteOutcome};
use crate::report::FindingKind;
use crate::round::gate::Bound;

use super::hub::{Holder, Key, named};
use super::life::{Life, S};

words! {
    /// One promise.
    Invariant {
        WriteAhead = "I1 write-ahead",
        Once = "I2 once",
        NoForeignDeletion = "I3 no foreign deletion",
        Guarded = "I4 guarded",
        NoSilentLeak = "I5 no silent leak",
        TrueTerminal = "I6 true terminal",
        Private = "I7 private",
        Bounded = "I8 bounded",
        SoundVerdict = "I9 sound verdict",
        Fenced = "I10 fenced",
        Monotone = "I11 monotone",
        Replay = "I12 replay",
        Scope = "I13 scope",
        KillSwitch = "I14 kill switch",
        Separation = "I15 credential separation",
        ThreeValued = "A1 three-valued",
        OutageSilence = "A2 outage silence",
        EvidenceToResolve = "A4 evidence to resolve",
        StalenessVisible = "A8 staleness visible",
        Asymmetry = "A11 asymmetry",
        TimeSafe = "A12 time-safe",
        InTime = "R2 no send after its deadline",
        StaleWriter = "R4 stale writer",
        Regression = "R6 regression noticed",
        ComesToRest = "every canary comes to rest",
    }
}

/// How often each promise was put to the test, and the first that was broken.
#[derive(Debug, Default)]
pub struct Held {
    pub counts: [u64; Invariant::ALL.len()],
    pub broken: Option<(Invariant, String)>,
    /// A broken promise ends the life instead of the test.
    pub lenient: bool,
}

impl Life {
    /// Puts a promise to the test.
    pub fn hold(&mut self, invariant: Invariant, holds: bool, what: impl FnOnce() -> String) {
        if let Some(count) = self.held.counts.get_mut(invariant as usize) {
            *count += 1;
        }
        if holds {
            return;
        }
        let what = what();
        assert!(self.held.lenient, "{invariant}: {what}");
        self.held.broken.get_or_insert((invariant, what));
    }

    /// A POST leaves.
    pub fn check_post(&mut self, flight: u64, request: &Request, bound: Option<Bound>) {
        let key = named(request);
        let durable = self.row(&key).cloned();
        self.i1_write_ahead(&key, durable.as_ref());
        self.i2_once(&key);
        self.i7_private(request);
        self.i13_scope(&key);
        self.r2_in_time(&key, bound, self.durable_at.get(&key).map(|since| self.age(flight, *since)));
        self.i8_bounded(flight, request);
        let user = self.hub.holder(&request.credential).expect("a holder").user;
        self.posting.insert((self.number(), flight), user);
        let intent = self.ghost.intents.entry(key.clone()).or_default();
        intent.posted_at = Some(self.now);
        self.posts.push((self.now, user.to_owned(), key));
    }

    /// The durable row of this name.
    pub fn row(&self, key: &Key) -> Option<&Canary> {
        self.journal.values().find(|c| c.kind == key.0 && key.1 == c.repo.to_string())
    }

    fn i1_write_ahead(&mut self, key: &Key, durable: Option<&Canary>) {
        let epoch = self.process.as_ref().map(|process| process.epoch);
        let holds = durable.is_some_and(|c| c.state == CanaryState::Planned && Some(c.epoch) == epoch);
        self.hold(Invariant::WriteAhead, holds, || format!("POST {} stands on {durable:?}", key.1));
    }

    fn i2_once(&mut self, key: &Key) {
        let again = self.posts.iter().any(|(_, _, other)| other == key);
        self.hold(Invariant::Once, !again, || format!("a second POST of {}", key.1));
    }

    fn i7_private(&mut self, request: &Request) {
        let body = request.body.as_ref().expect("a body");
        let holds = body["private"] == true && body.get("visibility").is_none();
        self.hold(Invariant::Private, holds, || format!("asked for {body}"));
    }

    fn i13_scope(&mut self, key: &Key) {
        let namespace = key.1.split('/').next().unwrap_or_default();
        let holds = self.config.organizations.iter().any(|o| o.name == namespace);
        self.hold(Invariant::Scope, holds, || format!("changes {}", key.1));
    }

    /// The engine lets a creation out. What comes up after that cannot call it back.
    pub fn i14_kill_switch(&mut self, request: &Request) {
        let key = named(request);
        let durable = if self.is_sentinel(request) { None } else { self.row(&key).cloned() };
        let known = self.engine().is_some_and(|engine| engine.latched("acme"));
        let latched = known || !self.kept.breakers.is_empty();
        let config = self.engine().map_or(self.config.clone(), |engine| engine.config.clone());
        let checks =
            durable.as_ref().and_then(|c| config.token(&c.token)).map(|token| token.checks.as_slice());
        let asked = durable.is_none() || checks.is_some_and(|checks| checks.iter().any(|c| c.creates()));
        let holds = !latched && asked && !self.mode.read_only;
        self.hold(Invariant::KillSwitch, holds, || {
            format!("POST {} although latched ({latched}) or switched off ({})", key.1, !asked)
        });
    }

    /// As the process knows it: a reload may have to wait for a processor.
    fn janitor(&self) -> Option<&TokenName> {
        let config = self.engine().map_or(&self.config, |engine| &engine.config);
        config.organizations[0].janitor.as_ref()
    }

    /// The engine lets a change out. A reload after that cannot call it back.
    pub fn i15_separation(&mut self, request: &Request) {
        let durable = if self.is_sentinel(request) { None } else { self.row(&named(request)) };
        let own = durable.map(|canary| Credential::Token(canary.token.clone()));
        let janitor = self.janitor().cloned().map(Credential::Token);
        let signs = Some(&request.credential);
        let holds = match request.verb {
            crate::exchange::Verb::Post => {
                own.is_none() || (signs == own.as_ref() && signs != janitor.as_ref())
            }
            _ => signs == own.as_ref() || signs == janitor.as_ref(),
        };
        self.hold(Invariant::Separation, holds, || {
            format!("{:?} signs {}", request.credential, request.verb)
        });
    }

    /// How old something is when a request leaves: by a clock that nobody stops until it was let out, and from there by
    /// the clock of its process. That a machine is put to sleep between the gate and the wire nobody can prevent.
    fn age(&self, flight: u64, since: Duration) -> Duration {
        match self.ghost.let_out.get(&(self.number(), flight)) {
            Some((out, mono)) => out.saturating_sub(since) + self.moment().mono.saturating_sub(*mono),
            None => self.now.saturating_sub(since),
        }
    }

    /// P3: what changes the Hub leaves within two seconds of what it stands on, by a clock that nobody sets or stops.
    fn r2_in_time(&mut self, key: &Key, bound: Option<Bound>, age: Option<std::time::Duration>) {
        let in_time = bound.is_some_and(|bound| self.moment().mono <= bound.before);
        let young = age.is_some_and(|age| age <= S(2));
        self.hold(Invariant::InTime, in_time && young, || {
            format!("{} leaves {age:?} after its commit", key.1)
        });
        let current = self.process.as_ref().is_some_and(|process| process.epoch == self.epoch);
        let same = bound.map(|bound| bound.epoch) == Some(self.epoch);
        self.hold(Invariant::Fenced, current && same, || format!("{} leaves under {bound:?}", key.1));
    }

    fn i8_bounded(&mut self, flight: u64, request: &Request) {
        let number = self.number();
        let user = self.hub.holder(&request.credential).expect("a holder").user;
        let beside = self.posting.iter().any(|(at, other)| *at != (number, flight) && *other == user);
        self.hold(Invariant::Bounded, !beside, || format!("two creations of {user} at once"));
        if self.ghost.lost || self.ghost.clock_set && number > 1 {
            // What a lost journal had counted nobody can know, nor, after a start, how often the clock was set before.
            return;
        }
        let day = S(24 * 3600);
        let today = self.posts.iter().filter(|(at, of, _)| of == user && *at + day > self.now).count();
        let budget = usize::try_from(self.config.organizations[0].max_creations_per_day).expect("small");
        self.hold(Invariant::Bounded, today < budget, || format!("over the budget of {user}"));
        let unresolved = self.engine().map_or(0, |engine| engine.unresolved("acme"));
        self.hold(Invariant::Bounded, unresolved <= 3, || format!("{unresolved} unresolved"));
    }

    /// An intent is written: none of its user is open.
    pub fn i8_one_open(&mut self, intent: &Canary) {
        let Some(user) = intent.owner.clone() else { return };
        let key: Key = (intent.kind, intent.repo.to_string());
        let open = |c: &&Canary| {
            let own = self.hub.holders.get(&c.token).is_some_and(|holder| holder.user == user);
            let unknown = c.owner.is_none();
            // One whose commit was told to have failed is never sent, and nobody remembers it before the next start.
            let sent = self.posts.iter().any(|(_, _, key)| key.1 == c.repo.to_string());
            own && !unknown
                && (sent || c.state != CanaryState::Planned)
                && c.unfinished()
                && c.state != CanaryState::Quarantined
                && key.1 != c.repo.to_string()
        };
        let open: Vec<String> = self.canaries().iter().filter(open).map(|c| format!("{c:?}")).collect();
        self.hold(Invariant::Bounded, open.is_empty(), || format!("beside an open intent: {open:?}"));
    }

    fn is_sentinel(&self, request: &Request) -> bool {
        let (kind, name) = named(request);
        // The organization's may stand in for canaries of models.
        let own = self.config.organizations.iter().filter_map(|organization| organization.sentinel.as_ref());
        if kind == RepoType::Model && own.into_iter().any(|sentinel| sentinel.to_string() == name) {
            return true;
        }
        let checks = self.config.tokens.iter().flat_map(|token| &token.checks);
        checks
            .into_iter()
            .any(|check| matches!(&check.method, Method::Sentinel(sentinel) if sentinel.to_string() == name))
    }

    /// A creation leaves: of a canary, or on a sentinel, which was seen a moment ago, is counted durably and is
    /// alone of its user.
    pub fn check_creation(&mut self, flight: u64, request: &Request, bound: Option<Bound>) {
        if !self.is_sentinel(request) {
            return self.check_post(flight, request, bound);
        }
        let key = named(request);
        let seen = self.identity.get(&(self.number(), key.clone()));
        let seen = seen.map(|(seen, _)| self.now.saturating_sub(*seen));
        self.hold(Invariant::Guarded, seen.is_some_and(|age| age <= S(2)), || {
            format!("the sentinel was seen {seen:?} ago")
        });
        self.i7_private(request);
        self.i13_scope(&key);
        self.trials += 1;
        let counted = self.kept.creations.len() >= self.trials + self.durable_at.len() || self.ghost.lost;
        self.hold(Invariant::Bounded, counted, || "a creation that is not counted durably".to_owned());
        let user = self.hub.holder(&request.credential).expect("a holder").user;
        let beside = self.posting.values().any(|other| *other == user);
        self.hold(Invariant::Bounded, !beside, || format!("two creations of {user} at once"));
        self.posting.insert((self.number(), flight), user);
    }

    /// A DELETE leaves.
    pub fn check_delete(&mut self, flight: u64, request: &Request, bound: Option<Bound>) {
        let key = named(request);
        let durable = self.row(&key).cloned();
        self.hold(Invariant::KillSwitch, !self.mode.read_only, || "a DELETE under --read-only".to_owned());
        self.i13_scope(&key);
        self.i4_guarded(flight, &key, durable.as_ref());
        let age = self.ghost.attempted_at.get(&key).map(|since| self.age(flight, *since));
        self.r2_in_time(&key, bound, age);
        self.left.entry(key.clone()).or_default().push(super::life::Left { at: self.now, over: false });
        self.deleting.insert((self.number(), flight), key.clone());
        *self.deletes.entry(key).or_default() += 1;
    }

    fn i4_guarded(&mut self, flight: u64, key: &Key, durable: Option<&Canary>) {
        let pending = durable.is_some_and(|c| {
            c.state == CanaryState::Deleting
                && c.deletes.last().is_some_and(|d| d.outcome == DeleteOutcome::Pending)
        });
        self.hold(Invariant::Guarded, pending, || format!("its attempt is not durable: {durable:?}"));
        let seen = self.identity.get(&(self.number(), key.clone())).cloned();
        let age = seen.as_ref().map(|(at, _)| self.age(flight, *at));
        self.hold(Invariant::Guarded, age.is_some_and(|age| age <= S(2)), || {
            format!("the look at {} is {age:?} old", key.1)
        });
        let bound = durable.and_then(|c| c.repo_id.clone());
        let same = bound.is_some() && bound == seen.map(|(_, id)| id);
        self.hold(Invariant::Guarded, same, || format!("the id of {} is not the bound {bound:?}", key.1));
        let horizon = self.horizon();
        let sent = self.left.get(key);
        let open = sent.is_some_and(|left| left.iter().any(|d| !d.over && self.now < d.at + horizon));
        let flying = self.flying(key, crate::exchange::Verb::Delete);
        // An old copy that nothing tells from the latest remembers no later attempt, and whoever begins after the clock
        // was set, which nobody could write down, takes an attempt for older than it is.
        let fooled = self.ghost.fooled || self.ghost.set_unnoticed;
        let (open, flying) = (open && !fooled, flying && !fooled);
        self.hold(Invariant::Guarded, !open && !flying, || {
            format!("a second DELETE of {} within the horizon", key.1)
        });
    }

    /// A deletion took effect, or none.
    pub fn i3_no_foreign_deletion(&mut self, wronged_before: usize) {
        let wronged = self.hub.wronged.get(wronged_before).cloned();
        self.hold(Invariant::NoForeignDeletion, wronged.is_none(), || {
            wronged.map(|(key, user)| format!("deleted {} of {user}", key.1)).unwrap_or_default()
        });
    }

    /// What is called gone is not there under any name, and nothing that was sent can bring it back.
    pub fn i6_true_terminal(&mut self, key: &Key) {
        let intent = self.ghost.intents.get(key);
        // What a person closed is the person's; what the Hub says that it refused, or deleted, is the Hub's word.
        let closed = intent.is_some_and(|intent| intent.closed || intent.refused || intent.perjured);
        if closed || self.row(key).is_none_or(|row| row.state != CanaryState::Gone) {
            return;
        }
        let there = self.hub.repos.values().any(|repo| repo.ours && repo.origin == *key && !repo.restored);
        let coming = self.flying(key, crate::exchange::Verb::Post);
        let row = self.row(key).cloned();
        self.hold(Invariant::TrueTerminal, !there && !coming, || {
            format!("{} is called gone: there {there}, coming {coming}: {row:?}", key.1)
        });
    }

    /// A row becomes durable: which steps there are, and who may write at all.
    pub fn i11_monotone(&mut self, old: Option<&Canary>, new: &Canary) {
        let Some(old) = old else { return };
        let key: Key = (new.kind, new.repo.to_string());
        let same = (&old.repo, old.planned_at, old.epoch) == (&new.repo, new.planned_at, new.epoch);
        let grows = old.deletes.len() <= new.deletes.len();
        let by_person = self.ghost.intents.get(&key).is_some_and(|intent| intent.closed);
        let step = follows(old, new) || by_person;
        self.hold(Invariant::Monotone, same && grows && step, || {
            format!("{} became {}: {old:?} -> {new:?}", old.state, new.state)
        });
    }

    /// All is stored, says the engine: then the rows are what it has in memory.
    pub fn i12_replay(&mut self) {
        let Some(process) = &self.process else { return };
        let engine = &process.engine;
        if !(engine.unsaved.is_empty() && engine.ops.is_empty()) || process.epoch != self.epoch {
            return;
        }
        // When it is looked at next is of no account: a start and a sweep decide it anew.
        let same = |a: &Canary, b: &Canary| Canary { next_at: b.next_at, ..a.clone() } == *b;
        let durable = |id: i64| self.journal.get(&id);
        let other = engine
            .canaries
            .values()
            .find(|live| durable(live.canary.id).is_none_or(|row| !same(row, &live.canary)))
            .map(|live| (live.canary.clone(), self.journal.get(&live.canary.id).cloned()));
        self.hold(Invariant::Replay, other.is_none(), || format!("memory and journal differ: {other:?}"));
    }

    /// A write of a process that was overtaken.
    pub fn r4_stale_writer(&mut self, epoch: i64, written: bool) {
        let current = self.epoch;
        self.hold(Invariant::StaleWriter, epoch == current || !written, || {
            format!("epoch {epoch} wrote into a journal of epoch {current}")
        });
    }

    /// The calm has lasted: what is ours is gone, or somebody is told of it.
    pub fn i5_no_silent_leak(&mut self) {
        // What somebody renamed bears our signature no more: without its row nobody can know it.
        let lost = |key: &Key, origin: &Key| self.ghost.lost && key != origin && self.row(origin).is_none();
        // What the Hub says it refused is owed one look, which may see nothing: that the Hub lies is not ours to mend.
        let refused = |origin: &Key| self.ghost.intents.get(origin).is_some_and(|intent| intent.refused);
        // What was gone, and is brought back by somebody who also renames it, no listing shows as ours: it is found at
        // the next of the looks that are owed to what is gone, an hour, a day and a week after.
        let gone = |origin: &Key| self.row(origin).is_some_and(|row| row.state == CanaryState::Gone);
        let renamed = |key: &Key, origin: &Key| {
            key != origin && gone(origin) && self.hub.repos.get(key).is_some_and(|repo| repo.restored)
        };
        let lost = |key: &Key, origin: &Key| lost(key, origin) || refused(origin) || renamed(key, origin);
        let ours = self.hub.repos.iter().filter(|(key, repo)| repo.ours && !lost(key, &repo.origin));
        let left: Vec<Key> = ours.map(|(_, repo)| repo.origin.clone()).collect();
        let told = |key: &Key| {
            let findings = self.shown.iter().flat_map(|shown| &shown.findings);
            let mut lasting = findings.filter(|f| f.resolved_at.is_none());
            let unknown = self.row(key).is_none();
            lasting.any(|f| match f.kind {
                FindingKind::CanaryLeft => f.detail.contains(&key.1),
                FindingKind::StateReset => unknown,
                // That nobody can see anything is told, too.
                FindingKind::Blind => unknown && f.token.is_none(),
                _ => false,
            })
        };
        // What a person closed is the person's; what the Hub says that it deleted, and nobody can see, is the Hub's word.
        let closed =
            |key: &Key| self.ghost.intents.get(key).is_some_and(|intent| intent.closed || intent.perjured);
        // Who was told once knows it still when the journal forgets it in a way that nothing can notice.
        let known =
            |key: &Key| self.ghost.fooled && self.ghost.intents.get(key).is_some_and(|intent| intent.told);
        // A row that went in a way that nothing can notice, and whoever reads the listings sees nothing private: then
        // neither the journal nor a listing knows of it.
        let makes = TokenName::new("open");
        let reader = self.janitor().unwrap_or(&makes);
        let blind =
            |holder: &Holder| holder.dead || holder.barred.is_some() || !holder.sees && *reader != makes;
        let unread = self.hub.holders.get(reader).is_some_and(blind);
        let unseen = |key: &Key| self.ghost.fooled && self.row(key).is_none() && unread;
        let silent =
            left.iter().find(|key| !told(key) && !closed(key) && !known(key) && !unseen(key)).cloned();
        let row = silent.as_ref().and_then(|key| self.row(key).cloned());
        self.hold(Invariant::NoSilentLeak, silent.is_none(), || {
            format!("{silent:?} is left and nobody is told: {row:?}")
        });
    }
}

/// Whether a row may become another in one write. A write may hold several steps.
fn follows(old: &Canary, new: &Canary) -> bool {
    use CanaryState::{Created, DelUnknown, Deleting, Gone, Planned, Quarantined, Refused, Unknown};
    match (old.state, new.state) {
        (a, b) if a == b => true,
        (Quarantined, _) => false,
        // What was proven gone can only be found to be there again; what was never seen may have come late.
        (Gone, Quarantined) => true,
        (Gone, Created | Deleting | DelUnknown) => old.repo_id.is_none(),
        (Gone, _) => false,
        (_, Planned) => false,
        (Planned, _) => true,
        (Refused, Unknown) | (Created | Deleting | DelUnknown, Unknown | Refused) => false,
        (Unknown, Refused) => false,
        _ => true,
    }
}

impl Life {
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

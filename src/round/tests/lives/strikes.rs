//! What may befall a life, and how it is carried out. A strike that finds nothing to strike leaves no trace and does
//! not count.

use std::time::Duration;

use crate::access::TokenName;
use crate::exchange::{Request, Verb};
use crate::hub::canary::{self, Rules};
use crate::intent::{Canary, CanaryState};
use crate::round::Event;
use crate::schedule::Classes;
use crate::store::Write;

use super::super::flights::{Fate, STRANGE};
use super::super::hub::Key;
use super::super::life::{Life, Pending, S};
use super::super::watch::{Happening, Mark};
use super::worlds::World;

/// What a round asks here: never the inventory, which is another story.
pub const ROUND: Classes = Classes { probe: true, canary: true, declared: false };

fn key_of(canary: &Canary) -> Key {
    (canary.kind, canary.repo.to_string())
}

impl Life {
    /// Carries it out; `subject` is the canary that it is meant for. Says whether it struck.
    pub fn strike(&mut self, what: Happening, subject: &Canary, world: &World) -> bool {
        let struck = match what {
            Happening::Wake | Happening::Restart | Happening::CrashBetween | Happening::Due => {
                self.strike_process(what, subject)
            }
            Happening::Crash
            | Happening::CrashTwice
            | Happening::PauseShort
            | Happening::PauseLong
            | Happening::PauseBeyond
            | Happening::Suspend
            | Happening::Takeover
            | Happening::Stop => self.strike_process(what, subject),
            Happening::KeysSame | Happening::KeysChanged | Happening::KeysBad => {
                self.strike_keys(what, subject)
            }
            Happening::ReloadSame
            | Happening::ReloadNoJanitor
            | Happening::ReloadNoCheck
            | Happening::ReloadNoToken => self.strike_config(what, world),
            Happening::PersonCloses | Happening::PersonUnlatches => self.strike_person(what, subject),
            Happening::ClockAhead
            | Happening::ClockBehind
            | Happening::ClockYearAhead
            | Happening::ClockYearBehind => self.strike_clock(what),
            Happening::RowLost | Happening::OldCopy | Happening::Emptied => {
                self.strike_journal(what, subject)
            }
            Happening::WritesFail | Happening::DiskFull | Happening::WritesSlow => self.strike_disk(what),
            Happening::Revoked
            | Happening::NoDelete
            | Happening::JanitorRevoked
            | Happening::JanitorBlind
            | Happening::Barred => self.strike_rights(what, subject, world),
            Happening::Outage
            | Happening::Limited
            | Happening::Behind
            | Happening::Strange
            | Happening::HubClock => self.strike_hub(what),
            Happening::Removed
            | Happening::Renamed
            | Happening::Published
            | Happening::Committed
            | Happening::Squatted
            | Happening::Restored => self.strike_repo(what, subject),
        };
        if struck {
            self.events += 1;
        }
        struck
    }

    /// It happens, to all of them.
    fn befalls(&mut self, what: Happening) {
        self.mark_all(what);
        self.trace(|| format!("* {what}"));
        self.fault();
    }

    fn strike_process(&mut self, what: Happening, subject: &Canary) -> bool {
        if self.process.is_none() || self.ended {
            return false;
        }
        match what {
            Happening::Wake => {
                self.say(Event::Wake);
                return true;
            }
            Happening::Due => {
                self.say(Event::Due(ROUND));
                return true;
            }
            Happening::CrashBetween => {
                // The mark comes when it strikes.
                let cut = *self.dice.one_of(&[1, 1, 2, 3]);
                self.cut_after = Some((cut, subject.state));
                return true;
            }
            _ => self.befalls(what),
        }
        let (horizon, in_the_air) = (self.horizon(), self.in_the_air(subject));
        match what {
            Happening::Crash => {
                self.crash();
                self.lose_unsynced();
                let long = horizon + S(5);
                let away = match in_the_air {
                    true => *self.dice.one_of(&[S(30), long, long]),
                    false => *self.dice.one_of(&[S(0), S(1), S(30), long]),
                };
                self.begin_again(away);
            }
            Happening::CrashTwice => {
                self.crash();
                self.begin_again(S(0));
                for _ in 0..self.dice.roll(6) {
                    let until = self.now + S(1);
                    self.step(until);
                }
                self.crash();
                self.begin_again(S(0));
            }
            Happening::PauseShort => self.pause(Duration::from_millis(900)),
            Happening::PauseLong => self.pause(Duration::from_millis(2500)),
            Happening::PauseBeyond => self.pause(horizon + S(15)),
            Happening::Suspend => {
                let away = *self.dice.one_of(&[S(3), S(70), horizon + S(20), S(4000)]);
                self.suspend(away);
            }
            Happening::Takeover => self.take_over(),
            Happening::Stop => {
                self.say(Event::Stop);
                let until = self.now + S(25);
                while !self.ended && self.step(until) {}
                self.crash();
                self.begin_again(S(1));
            }
            _ => {}
        }
        true
    }

    /// A process begins after so long.
    pub fn begin_again(&mut self, after: Duration) {
        let until = self.now + after;
        while self.step(until) {}
        self.now = self.now.max(until);
        self.mark_all(Happening::Restart);
        self.trace(|| "a process begins".to_owned());
        self.restarts += 1;
        self.start();
    }

    /// Whether a process is there and gets a processor.
    pub fn runs(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.stopped_until.is_none_or(|at| at <= self.now))
    }

    /// Tells the process, as soon as it gets a processor.
    pub fn say(&mut self, event: Event) {
        match self.process.as_ref().and_then(|process| process.stopped_until) {
            Some(until) if until > self.now => self.later(S(0), Pending::Event(event)),
            _ => self.tell(event),
        }
    }

    fn pause(&mut self, away: Duration) {
        if let Some(process) = &mut self.process {
            let from = process.stopped_until.map_or(self.now, |until| until.max(self.now));
            process.stopped_until = Some(from + away);
        }
    }

    /// The machine sleeps: its monotonic clock stands still, the wall clock and the Hub go on.
    fn suspend(&mut self, away: Duration) {
        self.pause(away);
        if let Some(process) = &mut self.process {
            process.zero += away;
        }
    }

    /// Another process opens the journal while this one gets no processor, and it wakes some time later.
    fn take_over(&mut self) {
        let away = *self.dice.one_of(&[Duration::from_millis(600), S(3), self.horizon() + S(30)]);
        self.pause(away);
        let Some(overtaken) = self.process.take() else { return };
        let number = overtaken.number;
        self.others.push(overtaken);
        self.give_up(number);
        self.mark_all(Happening::Restart);
        self.start();
    }

    fn strike_keys(&mut self, what: Happening, subject: &Canary) -> bool {
        if self.process.is_none() {
            return false;
        }
        self.befalls(what);
        match what {
            Happening::KeysChanged => {
                self.rotated.insert(subject.token.clone(), "another print");
            }
            Happening::KeysBad => self.bad_keys.push(subject.token.clone()),
            _ => {}
        }
        self.later(S(0), Pending::Keys);
        true
    }

    fn strike_config(&mut self, what: Happening, world: &World) -> bool {
        let config = match what {
            Happening::ReloadNoJanitor if world.janitor => &world.no_janitor,
            Happening::ReloadNoJanitor => return false,
            Happening::ReloadNoCheck => &world.no_check,
            Happening::ReloadNoToken => &world.no_token,
            _ => &world.whole,
        };
        if self.process.is_none() {
            return false;
        }
        self.befalls(what);
        self.config = config.clone();
        self.say(Event::Configured(config.clone()));
        true
    }

    /// Somebody types a command; the daemon has to be down for it.
    fn strike_person(&mut self, what: Happening, subject: &Canary) -> bool {
        self.crash();
        self.befalls(what);
        let epoch = self.open().epoch;
        let row = self.journal.get(&subject.id).filter(|row| row.repo == subject.repo).cloned();
        match (what, row) {
            (Happening::PersonCloses, Some(mut row)) => {
                let rules = Rules { horizon: self.horizon() };
                if canary::may_close(&row, self.wall(), rules) {
                    let key = key_of(&row);
                    // Whoever closes it has looked: what is ours is deleted by hand.
                    let now = self.time();
                    let there: Vec<Key> = self.left_of(&key);
                    there.iter().for_each(|key| self.hub.remove(key, now));
                    let event = canary::close(&mut row).to_owned();
                    self.ghost.intents.entry(key).or_default().closed = true;
                    let at = self.wall();
                    self.write(vec![Write::Canary { canary: row, event, at }]);
                }
            }
            (Happening::PersonUnlatches, _) => {
                let at = self.wall();
                self.write(vec![Write::Unlatch { organization: "acme".to_owned(), at }]);
            }
            _ => {}
        }
        debug_assert_eq!(epoch, self.epoch);
        self.begin_again(S(0));
        true
    }

    /// What is there of what was made under this name, under whatever name.
    fn left_of(&self, key: &Key) -> Vec<Key> {
        let ours = self.hub.repos.iter().filter(|(_, repo)| repo.ours && repo.origin == *key);
        ours.map(|(key, _)| key.clone()).collect()
    }

    fn strike_clock(&mut self, what: Happening) -> bool {
        const HOUR: i64 = 3_600_000;
        let by = match what {
            Happening::ClockAhead => HOUR,
            Happening::ClockBehind => -HOUR,
            Happening::ClockYearAhead => 365 * 24 * HOUR,
            _ => -365 * 24 * HOUR,
        };
        if !self.runs() {
            // What is done to the clock while no process is there to notice, only the Hub's clock can tell.
            return false;
        }
        self.befalls(what);
        self.ghost.clock_set = true;
        let before = self.alarms();
        self.set_clock(self.set_by + by);
        self.tell(Event::Wake);
        if self.process.is_some() {
            self.a12_time_safe(&before);
        }
        // Somebody sets it right again, sooner or later.
        let after = *self.dice.one_of(&[S(1), S(1), S(40), S(4000)]);
        if let Some(watch) = &mut self.watch {
            watch.weather.clock = Some(self.now + after);
        }
        true
    }

    fn strike_journal(&mut self, what: Happening, subject: &Canary) -> bool {
        if !self.others.is_empty() {
            return false;
        }
        let noticed = self.dice.percent(70);
        let copy = match what {
            Happening::Emptied => None,
            Happening::OldCopy => match self.watch.as_ref().and_then(|watch| watch.copy.clone()) {
                Some(copy) => Some(copy),
                None => return false,
            },
            _ => {
                let mut copy = self.copy();
                if copy.journal.remove(&subject.id).is_none() {
                    return false;
                }
                Some(copy)
            }
        };
        self.befalls(what);
        self.crash();
        let noticed = noticed || copy.is_none();
        self.replace(copy, noticed);
        self.begin_again(S(0));
        true
    }

    fn strike_disk(&mut self, what: Happening) -> bool {
        self.befalls(what);
        let until = self.now + S(4 + self.dice.roll(30));
        let kinds: Vec<bool> = (0..=self.dice.roll(2)).map(|_| self.dice.percent(50)).collect();
        if what == Happening::WritesSlow {
            self.slow_write = Duration::from_millis(3500);
        }
        let Some(watch) = &mut self.watch else { return false };
        match what {
            Happening::DiskFull => watch.weather.disk = Some(until),
            Happening::WritesFail => watch.weather.writes = kinds,
            _ => {}
        }
        true
    }

    fn strike_rights(&mut self, what: Happening, subject: &Canary, world: &World) -> bool {
        let janitor = TokenName::new("janitor");
        let who = match what {
            Happening::JanitorRevoked | Happening::JanitorBlind => &janitor,
            _ => &subject.token,
        };
        if *who == janitor && !world.janitor {
            return false;
        }
        self.befalls(what);
        let dice = self.dice.percent(50);
        let Some(holder) = self.hub.holders.get_mut(who) else { return false };
        match what {
            Happening::Revoked | Happening::JanitorRevoked => holder.dead = true,
            Happening::NoDelete => holder.deletes = false,
            Happening::JanitorBlind => holder.sees = false,
            _ => holder.barred = Some(if dice { "sso" } else { "ip" }),
        }
        true
    }

    fn strike_hub(&mut self, what: Happening) -> bool {
        self.befalls(what);
        let lasts = S(5 + self.dice.roll(60));
        let late = Duration::from_millis(self.dice.roll(1000));
        let least = self.horizon().min(S(30));
        let fate = match what {
            Happening::Outage => {
                *self.dice.one_of(&[Fate::Error, Fate::LostTimeout, Fate::Unsent, Fate::Html])
            }
            Happening::Limited => Fate::Limited,
            _ => Fate::Strange(usize::try_from(self.dice.roll(STRANGE.len() as u64)).expect("few")),
        };
        let now = self.now;
        let Some(watch) = &mut self.watch else { return false };
        match what {
            Happening::Behind => {
                watch.weather.behind = Some(now + lasts);
                // A copy may be behind by as long as a request may take, which is what the horizon is for.
                self.hub.behind = least.mul_f64(late.as_secs_f64());
            }
            Happening::HubClock => {
                watch.weather.hub_clock = Some(now + lasts);
                let off = *self.dice.one_of(&[-3_600_000, -50_000, 50_000, 3_600_000]);
                self.hub.tells_time = Some(off);
            }
            _ => watch.weather.hub = Some((now + lasts, fate)),
        }
        true
    }

    fn strike_repo(&mut self, what: Happening, subject: &Canary) -> bool {
        let key = key_of(subject);
        let now = self.time();
        let ours = self.hub.repos.get(&key).is_some_and(|repo| repo.ours);
        let free = !self.hub.repos.contains_key(&key) || ours;
        let known = self.hub.known_names.contains(&key);
        let possible = match what {
            // Between our look and our deletion only those take a name who may delete it themselves.
            // Whoever may rename what is ours may do anything with it.
            Happening::Squatted => {
                free && known && !self.hub.moved.contains_key(&key) && !self.deletes_now(&key, subject)
            }
            Happening::Restored => {
                self.hub.gone.iter().any(|(of, repo)| *of == key && repo.ours) && free && !ours
            }
            _ => ours,
        };
        if !possible {
            return false;
        }
        self.mark_of(&key, Mark::Happening(what));
        self.trace(|| format!("* {what}: {}", key.1));
        self.fault();
        self.odd.push(key.clone());
        match what {
            Happening::Removed => self.hub.remove(&key, now),
            Happening::Renamed => self.hub.rename(&key, now),
            Happening::Squatted => {
                self.hub.remove(&key, now);
                self.hub.make(key.clone(), "mallory", false, now);
                self.hub.catch_up();
            }
            Happening::Restored => {
                self.hub.remember(now);
                let at = self.hub.gone.iter().rposition(|(of, repo)| *of == key && repo.ours);
                let (key, mut repo) = self.hub.gone.remove(at.expect("it was deleted"));
                repo.restored = true;
                self.hub.repos.insert(key, repo);
            }
            _ => {
                self.hub.remember(now);
                if let Some(repo) = self.hub.repos.get_mut(&key) {
                    match what {
                        Happening::Published => repo.private = false,
                        _ => repo.commits = 2,
                    }
                }
            }
        }
        true
    }

    /// Whether a request that makes or deletes it may still take effect.
    pub fn in_the_air(&self, canary: &Canary) -> bool {
        let key = key_of(canary);
        let creates = self.hub.holders.get(&canary.token).is_some_and(|holder| holder.creates);
        creates && self.flying(&key, Verb::Post) || self.flying(&key, Verb::Delete)
    }

    /// Whether a deletion of this name is decided, leaves or may still land.
    fn deletes_now(&self, key: &Key, subject: &Canary) -> bool {
        let of_it =
            |request: &Request| request.verb == Verb::Delete && super::super::hub::named(request) == *key;
        let queued = self.queue.values().any(|(_, pending)| match pending {
            Pending::Land { request, .. } | Pending::Dispatch { request, .. } => of_it(request),
            _ => false,
        });
        let decided = self.journal.values().any(|c| key_of(c) == *key && c.state == CanaryState::Deleting);
        let live = self.engine().into_iter().chain(self.others.iter().map(|p| &p.engine));
        let live = live
            .flat_map(|engine| engine.canaries.values())
            .any(|live| key_of(&live.canary) == *key && live.canary.state == CanaryState::Deleting);
        queued || decided || live || subject.state == CanaryState::Deleting
    }
}

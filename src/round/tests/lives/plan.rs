//! What a life is to be: which world, which state most of it befalls, what befalls it, and what requests meet.
//!
//! The dice are loaded so that rare pairs of state and event are met often enough; nothing depends on any other life.

use std::collections::VecDeque;
use std::time::Duration;

use crate::exchange::{Request, Verb};
use crate::intent::CanaryState;
use crate::round::Mode;

use super::super::coverage::{Mark, impossible};
use super::super::flights::Fate;
use super::super::life::{Decider, Dice, S};
use super::super::stories::{AUDIT, SERVE};
use super::super::watch::{Happening, Look};
use super::worlds::{WORLDS, World};

/// What a life is to be.
pub struct Plan {
    pub world: &'static World,
    pub mode: Mode,
    /// The state in which most of it befalls.
    pub bias: CanaryState,
    /// What brings it there: this, in that state, one after the other.
    pub prelude: VecDeque<(CanaryState, Happening)>,
    pub strikes: VecDeque<Happening>,
    /// When they come.
    pub when: When,
    /// How many may come at one moment.
    pub volley: u64,
    /// What looks at a canary in this state meet, before any strike comes.
    pub looks: Option<(CanaryState, VecDeque<Look>)>,
    /// The process dies between two effects of an event that brings a canary into that state.
    pub cut: bool,
    /// What never strikes in this state: so it is shown that its want is noticed.
    pub withheld: Option<(Happening, CanaryState)>,
    /// How often nothing was there to strike.
    pub misses: u32,
    /// What creations and deletions are answered with, and how often out of a hundred.
    posts: (u64, Choice),
    deletes: (u64, Choice),
    noise: u64,
    other_noise: u64,
    /// How many writes out of a hundred fail.
    pub bad_writes: u64,
}

/// When strikes come, once a canary is in the state in which they are to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// Soon.
    Soon,
    /// A little before it is looked at again, which may be long after.
    Eve,
    /// While a request that changes the Hub is in the air.
    InTheAir,
    /// Once a deletion of it was tried.
    Tried,
}

/// What a life is about.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Theme {
    /// Anything.
    Any,
    /// What people do to the repository.
    Repo,
    /// What looks at it meet.
    Looks,
    /// What takes effect when nobody waits for it any more.
    Late,
    /// The process dies between two effects.
    Cut,
    /// A deletion that nobody answered, and one that never left.
    Again,
}

/// Which answers are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Choice {
    /// Any.
    Any,
    /// It took effect, and nobody was told so.
    Applied,
    /// It took effect, or may, long after.
    Late,
    /// It did not take effect.
    Kept,
    /// Left open.
    Open,
    /// Nothing was answered, and nothing happened.
    Lost,
    /// The same, and whatever is tried after that does not leave.
    LostThenUnsent,
    /// The Hub says no.
    Refused,
    /// The Hub says no, and does it all the same.
    RefusedApplied,
}

/// A state, how many lives are aimed at it, and of a hundred of these how many are about what.
type Bias = (CanaryState, u64, &'static [(Theme, u64)]);

/// Each state as often as it is hard to strike in.
#[rustfmt::skip]
const BIASES: [Bias; 8] = [
    (CanaryState::Planned, 32, &[(Theme::Any, 34), (Theme::Repo, 47), (Theme::Late, 14), (Theme::Cut, 5)]),
    (CanaryState::Unknown, 25, &[(Theme::Any, 38), (Theme::Repo, 38), (Theme::Looks, 20), (Theme::Cut, 4)]),
    (CanaryState::Refused, 16, &[(Theme::Any, 2), (Theme::Repo, 75), (Theme::Looks, 23)]),
    (CanaryState::Created, 37, &[(Theme::Any, 56), (Theme::Repo, 16), (Theme::Looks, 16), (Theme::Again, 7), (Theme::Cut, 5)]),
    (CanaryState::Deleting, 44, &[(Theme::Any, 66), (Theme::Repo, 14), (Theme::Late, 14), (Theme::Cut, 6)]),
    (CanaryState::DelUnknown, 28, &[(Theme::Any, 50), (Theme::Repo, 27), (Theme::Looks, 19), (Theme::Cut, 4)]),
    (CanaryState::Gone, 36, &[(Theme::Any, 10), (Theme::Looks, 90)]),
    (CanaryState::Quarantined, 34, &[(Theme::Any, 34), (Theme::Repo, 24), (Theme::Late, 37), (Theme::Cut, 5)]),
];

/// One of these, each as often as is said.
fn weighted<'a, T>(dice: &mut Dice, of: &'a [T], weight: impl Fn(&T) -> u64) -> &'a T {
    let mut at = dice.roll(of.iter().map(&weight).sum());
    let chosen = of.iter().find(|one| {
        let here = at < weight(one);
        at = at.saturating_sub(weight(one));
        here
    });
    chosen.expect("the weights have this sum")
}

impl Plan {
    pub fn new(dice: &mut Dice) -> Plan {
        let world = dice.one_of(&WORLDS);
        let (bias, _, themes) = weighted(dice, &BIASES, |(_, weight, _)| *weight);
        let (theme, _) = *weighted(dice, themes, |(_, weight)| *weight);
        let mut plan = Plan {
            world,
            mode: if dice.percent(10) { AUDIT } else { SERVE },
            bias: *bias,
            prelude: VecDeque::new(),
            strikes: any_strikes(dice, *bias),
            when: When::Soon,
            volley: 1,
            looks: None,
            cut: theme == Theme::Cut,
            withheld: None,
            misses: 0,
            posts: (*dice.one_of(&[0, 0, 20, 40]), Choice::Any),
            deletes: (*dice.one_of(&[0, 0, 20]), Choice::Any),
            noise: *dice.one_of(&[0, 0, 8, 25]),
            other_noise: *dice.one_of(&[0, 0, 0, 4, 12]),
            bad_writes: *dice.one_of(&[0, 0, 0, 0, 0, 0, 12, 25]),
        };
        plan.reach(theme, dice);
        match theme {
            Theme::Any | Theme::Cut => {}
            Theme::Repo => {
                plan.strikes.truncate(usize::try_from(dice.roll(4)).expect("few"));
                of_repo(dice, *bias).into_iter().rev().for_each(|what| plan.strikes.push_front(what));
                plan.volley = 12;
            }
            Theme::Looks if *bias == CanaryState::Gone => plan.long_afterwards(dice),
            Theme::Looks => plan.looked_at(dice),
            Theme::Late => plan.late(dice),
            Theme::Again => {
                plan.quietly(dice);
                (plan.posts, plan.deletes) = ((0, Choice::Any), (100, Choice::LostThenUnsent));
                (plan.when, plan.volley) = (When::Tried, 1);
                plan.strikes.truncate(1);
                plan.strikes.push_front(*dice.one_of(&[Happening::ClockBehind, Happening::ClockYearBehind]));
            }
        }
        plan
    }

    /// Requests meet what brings a canary into that state.
    fn reach(&mut self, theme: Theme, dice: &mut Dice) {
        use CanaryState::{Created, DelUnknown, Deleting, Gone, Planned, Quarantined, Refused, Unknown};
        let repo = theme == Theme::Repo;
        match self.bias {
            Planned if repo => self.posts = (95, Choice::Applied),
            Planned => (self.posts, self.volley) = ((80, Choice::Any), 9),
            Created | Deleting => self.volley = 12,
            Unknown if repo => self.posts = (95, Choice::Applied),
            Unknown => self.posts = (85, Choice::Open),
            Refused if repo => self.posts = (95, Choice::RefusedApplied),
            Refused => self.posts = (85, Choice::Refused),
            DelUnknown if repo => self.deletes = (90, Choice::Kept),
            DelUnknown => (self.deletes, self.volley) = ((60, Choice::Any), 7),
            Gone => (self.deletes, self.volley) = ((*dice.one_of(&[0, 0, 0, 20]), Choice::Any), 2),
            Quarantined => {
                self.volley = 6;
                self.bad_writes = *dice.one_of(&[0, 18, 25]);
                let state = *dice.one_of(&[Created, Created, Created, Unknown, DelUnknown, DelUnknown]);
                let what =
                    [Happening::Committed, Happening::Renamed, Happening::Squatted, Happening::Published];
                // What still has its name may yet be taken, renamed or brought back.
                let many = if repo {
                    1
                } else if state == Unknown {
                    4
                } else {
                    3
                };
                self.prelude.push_back((state, *dice.one_of(&what[..many])));
                match state {
                    Unknown => self.posts = (95, Choice::Applied),
                    DelUnknown => {
                        self.deletes = (100, *dice.one_of(&[Choice::Late, Choice::Late, Choice::Kept]))
                    }
                    _ => {}
                }
            }
        }
        if self.bias == Deleting && theme != Theme::Repo {
            self.deletes = (60, Choice::Any);
        }
    }

    /// Looks at a canary in that state meet one thing after the other.
    fn looked_at(&mut self, dice: &mut Dice) {
        self.quietly(dice);
        let may = |look: &&Look| impossible(Mark::Seen(look.seen()), self.bias).is_none();
        let passing: Vec<Look> = Look::PASSING.iter().filter(may).copied().collect();
        let last = [Look::Moved, Look::Another, Look::Listed, Look::Listed, Look::Listed];
        let last: Vec<Look> = last.iter().filter(may).copied().collect();
        let last = *dice.one_of(&last);
        // Until the listing is asked it has to be looked at more than once anyway.
        let before = if last == Look::Listed { dice.roll(2) } else { 2 };
        let mut looks: VecDeque<Look> = (0..before).map(|_| *dice.one_of(&passing)).collect();
        looks.push_back(last);
        if looks.iter().any(|look| look.of_listing()) {
            // The listing is asked about what was not found.
            match self.bias {
                CanaryState::Created => self.prelude.push_back((CanaryState::Created, Happening::Removed)),
                CanaryState::Unknown => self.posts = (100, Choice::Lost),
                CanaryState::DelUnknown => self.deletes = (100, Choice::Applied),
                _ => {}
            }
            self.by_the_janitor(self.bias, looks.contains(&Look::Listed));
        } else if self.bias == CanaryState::Refused {
            match dice.roll(10) {
                0..4 => self.posts = (95, Choice::RefusedApplied),
                4..7 => {
                    // Nobody is left who could look.
                    looks.clear();
                    self.prelude.push_back((self.bias, Happening::ReloadNoJanitor));
                    self.prelude.push_back((self.bias, Happening::KeysBad));
                }
                _ => {}
            }
        }
        self.looks = Some((self.bias, looks));
        self.strikes.truncate(2);
    }

    /// Only what is meant to befall it does, in a world in which absence can be proven.
    fn quietly(&mut self, dice: &mut Dice) {
        let with_janitor: Vec<&'static World> = WORLDS.iter().filter(|world| world.janitor).collect();
        (self.world, self.mode) = (*dice.one_of(&with_janitor), SERVE);
        (self.noise, self.other_noise, self.bad_writes) = (0, 0, 0);
    }

    /// What only the janitor is asked about is not asked of a second one, who may see nothing.
    fn by_the_janitor(&mut self, state: CanaryState, alone: bool) {
        if alone {
            self.prelude.push_back((state, Happening::ReloadNoToken));
        }
    }

    /// What is gone is looked at again an hour, a day and a week after; and at last something is there, or nobody is
    /// left who could look.
    fn long_afterwards(&mut self, dice: &mut Dice) {
        use Happening::{
            Committed, JanitorRevoked, Published, Removed, Renamed, Restored, Revoked, Squatted,
        };
        self.quietly(dice);
        (self.posts, self.deletes) = ((0, Choice::Any), (0, Choice::Any));
        (self.when, self.volley) = (When::Eve, 20);
        self.strikes.clear();
        let mut looks: VecDeque<Look> = (0..1 + dice.roll(2)).map(|_| *dice.one_of(&Look::PASSING)).collect();
        match dice.roll(13) {
            0 => looks.push_back(Look::Moved),
            1 => self.strikes.extend([Revoked, JanitorRevoked]),
            2 | 3 => {
                self.by_the_janitor(CanaryState::DelUnknown, true);
                looks.push_back(Look::Listed);
            }
            4..6 => {
                let last = *dice.one_of(&[Published, Published, Renamed, Renamed, Renamed]);
                self.strikes.extend([Restored, Removed, Restored, Committed, last]);
            }
            6..8 => self.strikes.push_back(Squatted),
            at => {
                // It was never seen, so that it may be ours that came late.
                self.posts = (100, Choice::Applied);
                self.prelude.push_back((CanaryState::Unknown, Removed));
                self.strikes.push_back(Restored);
                if at < 10 {
                    self.strikes
                        .push_back(*dice.one_of(&[Published, Published, Published, Renamed, Committed]));
                }
            }
        }
        self.looks = Some((CanaryState::Gone, looks));
    }

    /// The process dies while its request is in the air; or what it sent takes effect when it is in quarantine.
    fn late(&mut self, dice: &mut Dice) {
        match self.bias {
            CanaryState::Quarantined => {
                self.prelude.clear();
                // Of two canaries that are under way at once both are meant.
                let looks = VecDeque::from([*dice.one_of(&[Look::Moved, Look::Another]); 2]);
                let created = dice.percent(70);
                let of = if created { &mut self.posts } else { &mut self.deletes };
                *of = (100, Choice::Late);
                let state = if created { CanaryState::Unknown } else { CanaryState::DelUnknown };
                self.looks = Some((state, looks));
            }
            state => {
                let of = if state == CanaryState::Planned { &mut self.posts } else { &mut self.deletes };
                *of = (100, Choice::Late);
                self.when = When::InTheAir;
                self.strikes.push_front(Happening::Crash);
            }
        }
    }

    /// What requests meet in the time of trouble.
    pub fn fates(&self, horizon: Duration) -> Decider {
        let (posts, deletes) = (self.posts, self.deletes);
        let (noise, other_noise) = (self.noise, self.other_noise);
        let (mut created, mut deleted) = (false, 0);
        Box::new(move |request: &Request, dice: &mut Dice| match request.verb {
            Verb::Post if request.body.is_some() => {
                created = true;
                if dice.percent(posts.0) { of_creation(posts.1, horizon, dice) } else { Fate::Fine }
            }
            Verb::Delete if dice.percent(deletes.0) => {
                deleted += 1;
                match deletes.1 {
                    Choice::LostThenUnsent if deleted > 1 => Fate::Unsent,
                    choice => of_deletion(choice, horizon, dice),
                }
            }
            Verb::Get => {
                let of_canary = request.path.contains("scopewatch-canary-x");
                let proof = of_canary && request.route == "/api/{type}";
                // Without a canary it would not be a life.
                match created && dice.percent(if of_canary { noise } else { other_noise }) {
                    true if proof && dice.percent(60) => Fate::Listed,
                    true => of_look(dice),
                    false => Fate::Fine,
                }
            }
            _ => Fate::Fine,
        })
    }
}

/// Anything that may befall in this state. A start is what comes of other strikes.
fn any_strikes(dice: &mut Dice, state: CanaryState) -> VecDeque<Happening> {
    let may = |what: &&Happening| {
        impossible(Mark::Happening(**what), state).is_none()
            && !matches!(what, Happening::Wake | Happening::Restart)
    };
    let possible: Vec<Happening> = Happening::ALL.iter().filter(may).copied().collect();
    let many = 11 + dice.roll(4);
    (0..many).map(|_| *dice.one_of(&possible)).collect()
}

/// What people do to the repository, in an order in which each finds it there.
fn of_repo(dice: &mut Dice, state: CanaryState) -> Vec<Happening> {
    use Happening::{Committed, Published, Removed, Renamed, Restored, Squatted};
    let mut strikes: Vec<Happening> =
        [Published, Committed].into_iter().filter(|_| dice.percent(60)).collect();
    if dice.percent(60) {
        strikes.extend([Removed, Restored]);
    }
    let last = [Renamed, Squatted];
    let may = if impossible(Mark::Happening(Squatted), state).is_none() { 2 } else { 1 };
    // What was refused is looked at only once, and that look should find it there.
    if strikes.is_empty() || dice.percent(if state == CanaryState::Refused { 45 } else { 70 }) {
        strikes.push(*dice.one_of(&last[..may]));
    }
    strikes
}

fn some_time(dice: &mut Dice, horizon: Duration) -> Duration {
    horizon.mul_f64(dice.roll(1000) as f64 / 1001.0)
}

fn of_creation(choice: Choice, horizon: Duration, dice: &mut Dice) -> Fate {
    let late = some_time(dice, horizon);
    let applied = [Fate::AppliedError, Fate::AppliedTimeout, Fate::Odd, Fate::Other];
    let in_the_air = [Fate::Late(late), Fate::LateAcknowledged(late)];
    let odd = [Fate::Error, Fate::LostTimeout, Fate::Html, Fate::Strange(1), Fate::Said(307, "")];
    // What only a look can tell apart: that it is there already, or that somebody else was meant.
    let said = [
        Fate::Said(409, "You already created this model repo"),
        Fate::Said(400, "This name does already exist"),
        Fate::Said(403, "You don't have the rights to create a model under the namespace \"other\""),
    ];
    let refused = [
        Fate::Limited,
        Fate::Cap,
        Fate::Busy,
        Fate::Said(401, "Invalid username or password."),
        Fate::Said(402, "Payment required"),
        Fate::Said(403, "Access to this resource is disabled."),
        Fate::Said(400, "No such resource group"),
        Fate::Said(422, "Invalid input"),
        Fate::Said(404, "Not found"),
        Fate::Said(429, "Too many"),
    ];
    match choice {
        Choice::Applied => *dice.one_of(&applied),
        Choice::Late => *dice.one_of(&in_the_air),
        Choice::Open | Choice::Kept => match dice.roll(10) {
            0..2 => *dice.one_of(&applied),
            2..3 => *dice.one_of(&in_the_air),
            3..5 => *dice.one_of(&odd),
            _ => *dice.one_of(&said),
        },
        Choice::Lost | Choice::LostThenUnsent => *dice.one_of(&[Fate::Error, Fate::LostTimeout]),
        Choice::Refused => *dice.one_of(&refused),
        Choice::RefusedApplied => Fate::RefusedApplied,
        Choice::Any => {
            let of = *dice.one_of(&[
                Choice::Open,
                Choice::Refused,
                Choice::Refused,
                Choice::Refused,
                Choice::RefusedApplied,
            ]);
            of_creation(of, horizon, dice)
        }
    }
}

fn of_deletion(choice: Choice, horizon: Duration, dice: &mut Dice) -> Fate {
    let late = some_time(dice, horizon);
    let applied = [Fate::AppliedError, Fate::AppliedTimeout, Fate::Odd, Fate::Odd, Fate::Fine];
    let in_the_air = [Fate::Late(late), Fate::LateAcknowledged(late)];
    let kept = [
        Fate::Unsent,
        Fate::Error,
        Fate::LostTimeout,
        Fate::Html,
        Fate::Limited,
        Fate::Refused,
        Fate::Said(401, "Invalid username or password."),
        Fate::Said(401, "Invalid username or password."),
        Fate::Said(404, "Repository not found"),
        Fate::Said(404, "Repository not found"),
        Fate::Said(307, ""),
        Fate::Said(307, ""),
        Fate::Said(307, ""),
        Fate::Strange(2),
    ];
    match choice {
        Choice::Late => *dice.one_of(&in_the_air),
        Choice::Kept => *dice.one_of(&kept),
        Choice::Applied => *dice.one_of(&applied),
        Choice::Lost | Choice::LostThenUnsent => *dice.one_of(&[Fate::Error, Fate::LostTimeout]),
        _ => match dice.roll(10) {
            0..3 => *dice.one_of(&applied),
            3..5 => *dice.one_of(&in_the_air),
            _ => *dice.one_of(&kept),
        },
    }
}

fn of_look(dice: &mut Dice) -> Fate {
    let strange = usize::try_from(dice.roll(8)).expect("few");
    *dice.one_of(&[
        Fate::Unsent,
        Fate::Error,
        Fate::LostTimeout,
        Fate::LateAcknowledged(S(0)),
        Fate::Html,
        Fate::Odd,
        Fate::Limited,
        Fate::Other,
        Fate::Strange(strange),
        Fate::Said(401, "Invalid username or password."),
        Fate::Said(403, "Forbidden"),
    ])
}

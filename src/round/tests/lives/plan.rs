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
use super::super::watch::Happening;
use super::worlds::{WORLDS, World};

/// What a life is to be.
pub struct Plan {
    pub world: &'static World,
    pub mode: Mode,
    /// The state in which most of it befalls.
    pub bias: CanaryState,
    /// What brings it there: this, in that state.
    pub prelude: Option<(CanaryState, Happening)>,
    pub strikes: VecDeque<Happening>,
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
    /// The Hub says no.
    Refused,
    /// The Hub says no, and does it all the same.
    RefusedApplied,
}

/// Strikes that need the repository to be there, or to have been.
const OF_REPO: [Happening; 6] = [
    Happening::Removed,
    Happening::Renamed,
    Happening::Published,
    Happening::Committed,
    Happening::Squatted,
    Happening::Restored,
];

/// Each state as often as it is hard to strike in.
const BIASES: [CanaryState; 14] = [
    CanaryState::Planned,
    CanaryState::Unknown,
    CanaryState::Unknown,
    CanaryState::Refused,
    CanaryState::Created,
    CanaryState::Created,
    CanaryState::Deleting,
    CanaryState::Deleting,
    CanaryState::DelUnknown,
    CanaryState::Gone,
    CanaryState::Gone,
    CanaryState::Quarantined,
    CanaryState::Quarantined,
    CanaryState::Quarantined,
];

impl Plan {
    pub fn new(dice: &mut Dice) -> Plan {
        use CanaryState::{Created, DelUnknown, Deleting, Gone, Planned, Quarantined, Refused, Unknown};
        let world = dice.one_of(&WORLDS);
        let bias = *dice.one_of(&BIASES);
        let may = |what: &&Happening| impossible(Mark::Happening(**what), bias).is_none();
        let possible: Vec<Happening> = Happening::ALL.iter().filter(may).copied().collect();
        let of_repo: Vec<Happening> = OF_REPO.iter().filter(may).copied().collect();
        let about_repo = dice.percent(30) && !of_repo.is_empty();
        let many = match bias {
            Planned | Created | Deleting => 3 + dice.roll(3),
            _ => 4 + dice.roll(4),
        };
        let mut strikes: VecDeque<Happening> = (0..many).map(|_| *dice.one_of(&possible)).collect();
        if about_repo {
            strikes.push_front(*dice.one_of(&of_repo));
        }
        let dies_late = matches!(bias, Planned | Deleting) && dice.percent(25);
        if dies_late {
            strikes.push_front(Happening::Crash);
        }
        let prelude = (bias == Quarantined).then(|| {
            let state = *dice.one_of(&[Created, Created, Unknown, DelUnknown, DelUnknown]);
            let what = [Happening::Renamed, Happening::Committed, Happening::Squatted, Happening::Published];
            (state, *dice.one_of(&what[..if state == Unknown { 4 } else { 3 }]))
        });
        let posts = match bias {
            Planned if dies_late => (100, Choice::Late),
            Unknown if about_repo => (95, Choice::Applied),
            Unknown => (85, Choice::Open),
            Refused if about_repo => (95, Choice::RefusedApplied),
            Refused => (85, Choice::Refused),
            Quarantined if prelude.is_some_and(|(state, _)| state == Unknown) => (95, Choice::Applied),
            _ => (*dice.one_of(&[0, 0, 0, 30]), Choice::Any),
        };
        let deletes = match bias {
            Deleting if dies_late => (100, Choice::Late),
            DelUnknown if about_repo => (90, Choice::Kept),
            Quarantined if prelude.is_some_and(|(state, _)| state == DelUnknown) => {
                (100, *dice.one_of(&[Choice::Late, Choice::Kept]))
            }
            DelUnknown | Deleting => (60, Choice::Any),
            Gone => (*dice.one_of(&[0, 0, 0, 20]), Choice::Any),
            _ => (*dice.one_of(&[0, 0, 20]), Choice::Any),
        };
        Plan {
            world,
            mode: if dice.percent(10) { AUDIT } else { SERVE },
            bias,
            prelude,
            strikes,
            misses: 0,
            posts,
            deletes,
            noise: *dice.one_of(&[0, 0, 8, 25]),
            other_noise: *dice.one_of(&[0, 0, 0, 4, 12]),
            bad_writes: *dice.one_of(&[0, 0, 0, 0, 0, 0, 12, 25]),
        }
    }

    /// What requests meet in the time of trouble.
    pub fn fates(&self, horizon: Duration) -> Decider {
        let (posts, deletes) = (self.posts, self.deletes);
        let (noise, other_noise) = (self.noise, self.other_noise);
        Box::new(move |request: &Request, dice: &mut Dice| match request.verb {
            Verb::Post if request.body.is_some() && dice.percent(posts.0) => {
                of_creation(posts.1, horizon, dice)
            }
            Verb::Delete if dice.percent(deletes.0) => of_deletion(deletes.1, horizon, dice),
            Verb::Get => {
                let of_canary = request.path.contains("scopewatch-canary-x");
                let proof = of_canary && request.route == "/api/{type}";
                match dice.percent(if of_canary { noise } else { other_noise }) {
                    true if proof && dice.percent(60) => Fate::Listed,
                    true => of_look(dice),
                    false => Fate::Fine,
                }
            }
            _ => Fate::Fine,
        })
    }
}

fn some_time(dice: &mut Dice, horizon: Duration) -> Duration {
    horizon.mul_f64(dice.roll(1000) as f64 / 1001.0)
}

fn of_creation(choice: Choice, horizon: Duration, dice: &mut Dice) -> Fate {
    let late = some_time(dice, horizon);
    let applied = [Fate::AppliedError, Fate::AppliedTimeout, Fate::Odd, Fate::Other];
    let in_the_air = [Fate::Late(late), Fate::LateAcknowledged(late)];
    let open = [
        Fate::Error,
        Fate::LostTimeout,
        Fate::Html,
        Fate::Strange(1),
        Fate::Said(409, "You already created this model repo"),
        Fate::Said(400, "This name does already exist"),
        Fate::Said(307, ""),
        Fate::Said(403, "You don't have the rights to create a model under the namespace \"other\""),
    ];
    let refused = [
        Fate::Refused,
        Fate::Limited,
        Fate::Cap,
        Fate::Busy,
        Fate::Unsent,
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
            0..3 => *dice.one_of(&applied),
            3..5 => *dice.one_of(&in_the_air),
            _ => *dice.one_of(&open),
        },
        Choice::Refused => *dice.one_of(&refused),
        Choice::RefusedApplied => Fate::RefusedApplied,
        Choice::Any => {
            let of = *dice.one_of(&[Choice::Open, Choice::Refused, Choice::RefusedApplied]);
            of_creation(of, horizon, dice)
        }
    }
}

fn of_deletion(choice: Choice, horizon: Duration, dice: &mut Dice) -> Fate {
    let late = some_time(dice, horizon);
    let applied = [Fate::AppliedError, Fate::AppliedTimeout, Fate::Odd, Fate::Fine];
    let in_the_air = [Fate::Late(late), Fate::LateAcknowledged(late)];
    let kept = [
        Fate::Unsent,
        Fate::Error,
        Fate::LostTimeout,
        Fate::Html,
        Fate::Limited,
        Fate::Refused,
        Fate::Said(401, "Invalid username or password."),
        Fate::Said(404, "Repository not found"),
        Fate::Said(307, ""),
        Fate::Strange(2),
    ];
    match choice {
        Choice::Late => *dice.one_of(&in_the_air),
        Choice::Kept => *dice.one_of(&kept),
        Choice::Applied => *dice.one_of(&applied),
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

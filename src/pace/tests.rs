//! Goal: what one answer, or the lack of one, does to what may be asked next. The whole of it is lived in `virtual_tests`.

use super::*;

const S: fn(u64) -> Duration = Duration::from_secs;

fn told(remaining: u32) -> Told {
    Told { remaining: Some(remaining), reset: Some(S(100)), quota: Some(1000), ..Told::default() }
}

/// May it, for somebody who waits?
fn may(pace: &Pace, user: &str, at: u64) -> Result<(), Wait> {
    pace.may(user, Manner::AtOnce, S(at))
}

fn until(second: u64) -> Result<(), Wait> {
    Err(Wait::Until(S(second)))
}

fn ask(pace: &mut Pace, user: &str, told: Told, at: u64) {
    pace.sent(user, S(at));
    pace.heard(user, told, S(at));
}

#[test]
fn never_more_than_the_share_and_nothing_of_an_empty_window() {
    let mut pace = Pace::new(0.01);
    for second in 0..10 {
        assert_eq!(may(&pace, "bob", 0), Ok(()), "{second}");
        ask(&mut pace, "bob", told(900 - second), 0);
    }
    assert_eq!(may(&pace, "bob", 1), until(100));
    assert_eq!(may(&pace, "alice", 1), Ok(()));
    assert_eq!(may(&pace, "bob", 100), Ok(()));
    let mut pace = Pace::new(1.0);
    ask(&mut pace, "bob", told(0), 0);
    assert_eq!(may(&pace, "bob", 99), until(100));
}

#[test]
fn a_429_pauses_for_as_long_as_the_hub_says() {
    let mut pace = Pace::new(1.0);
    ask(&mut pace, "bob", Told { refused: Some(None), ..Told::default() }, 0);
    assert_eq!(may(&pace, "bob", 59), until(60));
    assert_eq!(may(&pace, "bob", 60), Ok(()));
    ask(&mut pace, "bob", Told { refused: Some(Some(S(7))), ..told(900) }, 60);
    assert_eq!(may(&pace, "bob", 61), until(67));
    assert_eq!(may(&pace, "alice", 61), Ok(()));
}

#[test]
fn as_long_as_nothing_was_heard_only_a_few_are_tried() {
    let mut pace = Pace::new(1.0);
    let tried = (0..20).filter(|_| may(&pace, "bob", 0).map(|()| pace.sent("bob", S(0))).is_ok()).count();
    assert_eq!(tried, 4);
    assert_eq!(may(&pace, "bob", 0), Err(Wait::Answer));
    // One that never left is none.
    pace.unsent("bob", S(0));
    assert_eq!(may(&pace, "bob", 0), Ok(()));
    // A Hub that does not count tells nothing, and then nothing is waited for.
    pace.heard("bob", Told::default(), S(1));
    for _ in 0..100 {
        assert_eq!(may(&pace, "bob", 1), Ok(()));
        pace.sent("bob", S(1));
    }
}

#[test]
fn what_is_in_the_air_and_what_was_lost_counts() {
    let mut pace = Pace::new(0.01);
    ask(&mut pace, "bob", told(900), 0);
    (0..9).for_each(|_| pace.sent("bob", S(0)));
    assert_eq!(may(&pace, "bob", 0), until(100));
    pace.unsent("bob", S(0));
    assert_eq!(may(&pace, "bob", 0), Ok(()), "it never left");
    (0..8).for_each(|_| pace.lost("bob", S(1)));
    pace.sent("bob", S(1));
    assert_eq!(may(&pace, "bob", 1), until(100), "nobody knows whether they were counted");
}

#[test]
fn an_answer_of_the_window_before_says_nothing_of_this_one() {
    let mut pace = Pace::new(1.0);
    ask(&mut pace, "bob", Told { reset: Some(S(10)), ..told(0) }, 0);
    pace.sent("bob", S(9));
    ask(&mut pace, "bob", Told { reset: Some(S(299)), ..told(990) }, 11);
    assert_eq!(may(&pace, "bob", 12), Ok(()));
    pace.heard("bob", Told { reset: Some(S(1)), remaining: Some(0), ..told(0) }, S(12));
    assert_eq!(may(&pace, "bob", 12), Ok(()));
    // And of those of one window the lowest is the latest.
    ask(&mut pace, "bob", Told { reset: Some(S(200)), ..told(0) }, 110);
    ask(&mut pace, "bob", Told { reset: Some(S(200)), ..told(500) }, 110);
    assert_eq!(may(&pace, "bob", 110), until(310));
}

#[test]
fn a_refusal_that_contradicts_the_window_does_not_end_it() {
    let mut pace = Pace::new(0.5);
    let told = |left, reset| Told { reset: Some(S(reset)), length: Some(S(300)), ..told(left) };
    ask(&mut pace, "bob", told(999, 295), 0);
    (0..300).for_each(|_| pace.sent("bob", S(1)));
    (0..300).for_each(|number| pace.heard("bob", told(998 - number, 144), S(151)));
    // Nothing is left, for no time at all: then who wants to may ask at once.
    ask(&mut pace, "bob", Told { refused: Some(None), ..told(0, 0) }, 152);
    assert_eq!(may(&pace, "bob", 153), Ok(()));
    ask(&mut pace, "bob", told(697, 142), 153);
    assert_eq!(may(&pace, "bob", 153), Ok(()), "the 300 were ours, not others'");
    let more =
        (0..).take_while(|_| may(&pace, "bob", 154).map(|()| pace.sent("bob", S(154))).is_ok()).count();
    assert_eq!(more, 500 - 302, "and they count towards our share");
}

#[test]
fn what_is_contested_is_spread_and_what_is_not_is_taken() {
    let after = |asked: u32, left: u32, manner| {
        let mut pace = Pace::new(1.0);
        for _ in 0..asked {
            ask(&mut pace, "bob", Told { reset: Some(S(100)), ..told(left) }, 0);
        }
        pace.may("bob", manner, S(0))
    };
    let at_last = |left: u32, manner| after(10, left, manner);
    // 200 seconds of it are over.
    assert_eq!(at_last(990, Manner::AtOnce), Ok(()));
    assert!(matches!(at_last(600, Manner::Spread), Err(Wait::Until(at)) if at < S(2)));
    assert_eq!(at_last(600, Manner::AtOnce), Ok(()), "others need fewer than 400 more");
    assert!(matches!(at_last(200, Manner::AtOnce), Err(Wait::Until(_))), "they need it all");
    // But for a hundredth, whatever they need.
    assert_eq!(after(1, 200, Manner::AtOnce), Ok(()));
    assert!(after(2, 200, Manner::AtOnce).is_err());
    let mut early = Pace::new(1.0);
    ask(&mut early, "bob", Told { reset: Some(S(300)), ..told(999) }, 0);
    let at_once = (0..500).take_while(|_| {
        let may = early.may("bob", Manner::Spread, S(0));
        early.sent("bob", S(0));
        may.is_ok()
    });
    assert_eq!(at_once.count(), 99, "a tenth of it, less what was used");
}

#[test]
fn whose_a_token_is_may_become_known_while_its_requests_fly() {
    let mut pace = Pace::new(0.01);
    (0..3).for_each(|_| ask(&mut pace, "token:a", told(900), 0));
    (0..4).for_each(|_| ask(&mut pace, "token:b", told(890), 0));
    pace.rename("token:a", "bob");
    pace.rename("token:b", "bob");
    pace.rename("token:c", "bob");
    (0..3).for_each(|_| ask(&mut pace, "bob", told(880), 1));
    assert_eq!(may(&pace, "bob", 1), until(100));
}

#[test]
fn the_lowest_share_of_the_window_is_kept_until_it_ends() {
    let mut pace = Pace::new(1.0);
    ask(&mut pace, "bob", told(400), 0);
    ask(&mut pace, "bob", told(500), 1);
    assert_eq!(pace.remaining_ratio("bob", S(2)), Some(0.4));
    assert_eq!(pace.remaining_ratio("bob", S(101)), None);
}

#[test]
fn users_of_the_past_are_forgotten_with_their_windows() {
    let mut pace = Pace::new(1.0);
    ask(&mut pace, "paused", Told { refused: Some(Some(S(1_000_000))), ..told(5) }, 0);
    for minute in 0..5000 {
        ask(&mut pace, &format!("user-{minute}"), told(5), 60 * minute);
    }
    assert!(pace.windows.len() <= 2 * FEW, "{}", pace.windows.len());
    assert_eq!(may(&pace, "paused", 999), until(1_000_000));
}

proptest::proptest! {
    #[test]
    fn ours_never_exceed_the_share_in_one_window(share in 0.01f64..1.0, quota in 1u32..200, lag in 0usize..20) {
        let mut pace = Pace::new(share);
        let (mut sent, mut heard) = (0u32, 0u32);
        while sent < 1000 {
            match may(&pace, "u", 0) {
                Ok(()) => {
                    sent += 1;
                    pace.sent("u", S(0));
                }
                Err(_) if heard == sent => break,
                Err(_) => {}
            }
            if (sent - heard) as usize > lag || may(&pace, "u", 0).is_err() {
                heard += 1;
                let left = quota.saturating_sub(heard);
                let told = Told { remaining: Some(left), quota: Some(quota), reset: Some(S(300)), ..Told::default() };
                pace.heard("u", told, S(0));
            }
        }
        // Before the first answer nobody knows how small it is.
        let bound = (f64::from(quota) * share).max(1.0).ceil().max(4.0);
        proptest::prop_assert!(f64::from(sent) <= bound, "{sent} of {quota} at {share}");
    }
}

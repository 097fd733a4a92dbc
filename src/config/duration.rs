//! Durations as people write them: `10s 5m 4h 7d`, also `500ms` and `1h30m`.

use std::time::Duration;

/// The longest duration that makes sense here: ten years.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 3600);

/// Units, largest first; a compound duration names them in this order, each at most once.
const UNITS: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// What is wrong with a duration, in words that follow "a duration ".
pub(super) fn parse(text: &str) -> Result<Duration, &'static str> {
    let mut rest = text;
    let mut next_unit = 0;
    let mut millis: u64 = 0;
    if rest.is_empty() {
        return Err("must not be empty");
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        if number.is_empty() {
            return Err("is a whole number and a unit");
        }
        if unit.is_empty() {
            return Err("needs a unit");
        }
        let place = UNITS[next_unit..].iter().position(|(name, _)| *name == unit);
        let Some(place) = place.map(|place| place + next_unit) else {
            return Err("has the units d, h, m, s and ms, largest first");
        };
        let number: u64 = number.parse().map_err(|_| "must be at most ten years")?;
        millis = number
            .checked_mul(UNITS[place].1)
            .and_then(|part| millis.checked_add(part))
            .ok_or("must be at most ten years")?;
        next_unit = place + 1;
        rest = tail;
    }
    match Duration::from_millis(millis) {
        Duration::ZERO => Err("must be longer than zero"),
        longer if longer > LONGEST => Err("must be at most ten years"),
        fine => Ok(fine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (text, millis) in
            [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("4h", 14_400_000), ("7d", 604_800_000)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)));
        }
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5400)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        let bad = [
            "",
            "0s",
            "10",
            "s",
            "10 s",
            "-1s",
            "1.5h",
            "5M",
            "1m1h",
            "1s1s",
            "99999999999999999999d",
            "9999d",
            "1w",
        ];
        for text in bad {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

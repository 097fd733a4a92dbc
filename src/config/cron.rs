//! Six-field cron expressions, with messages that name the field.
//!
//! croner 4 reads them as the scheduler does: day of month *and* day of week must match.

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};

/// The fields in order, with what each may hold.
const FIELDS: [(&str, &str); 6] = [
    ("second", "0-59"),
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of month", "1-31"),
    ("month", "1-12 or JAN-DEC"),
    ("day of week", "0-7 or SUN-SAT"),
];

/// Nicknames of other crons, and what they mean.
const NICKNAMES: &[(&str, &str)] = &[
    ("@yearly", "0 0 0 1 1 *"),
    ("@annually", "0 0 0 1 1 *"),
    ("@monthly", "0 0 0 1 * *"),
    ("@weekly", "0 0 0 * * 0"),
    ("@daily", "0 0 0 * * *"),
    ("@midnight", "0 0 0 * * *"),
    ("@hourly", "0 0 * * * *"),
];

/// What is wrong with an expression, and what would be right.
pub(super) type Flaw = (String, String);

/// The expression with single spaces between its fields.
pub(super) fn parse(text: &str) -> Result<String, Flaw> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let order = "the fields are: second minute hour day-of-month month day-of-week";
    if let Some((_, meaning)) = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text.trim())) {
        return Err(("a schedule has six fields, no nickname".to_owned(), format!("write \"{meaning}\"")));
    }
    match fields.len() {
        6 => {}
        5 => {
            let message = "a schedule has six fields, this one has five; the seconds come first".to_owned();
            return Err((message, "prefix it with `0 `, for the second 0 of the minute".to_owned()));
        }
        7 => {
            let message = "a schedule has six fields, this one has seven; there is no year".to_owned();
            return Err((message, order.to_owned()));
        }
        many => return Err((format!("a schedule has six fields, this one has {many}"), order.to_owned())),
    }
    let cron = read(&fields.join(" ")).map_err(|error| blame(&fields, &error))?;
    // Without a year the calendar repeats, so any instant will do to ask whether there is a next time.
    let start: DateTime<Utc> = DateTime::from_timestamp(1_700_000_000, 0).unwrap_or_default();
    if cron.find_next_occurrence(&start, false).is_err() {
        let help = "day of month and day of week must both match, in one of the months".to_owned();
        return Err(("this schedule never comes".to_owned(), help));
    }
    Ok(fields.join(" "))
}

fn read(text: &str) -> Result<Cron, CronError> {
    CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Disallowed)
        .dom_and_dow(true)
        .build()
        .parse(text)
}

/// Finds the field by trying each of them alone.
fn blame(fields: &[&str], error: &CronError) -> Flaw {
    for (at, (name, range)) in FIELDS.iter().enumerate() {
        let mut alone = ["*"; 6];
        alone[at] = fields[at];
        if read(&alone.join(" ")).is_err() {
            let message = format!("the {name} {} is not valid", super::mistakes::quoted(fields[at]));
            return (
                message,
                format!("a {name} is {range}, `*`, a list `a,b`, a range `a-b` or steps `*/n`"),
            );
        }
    }
    (super::redact::text(&error.to_string()), "see the six fields in the documented example".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_fields_are_read() {
        for text in ["0 */15 * * * *", "0 0 10 * * MON-FRI", "*/10 * * * * *", "0 0 0 29 2 *", "0 0 0 L * *"]
        {
            assert_eq!(parse(text).as_deref(), Ok(text));
        }
        assert_eq!(parse(" 0  5 * * * *").as_deref(), Ok("0 5 * * * *"));
    }

    #[test]
    fn what_is_no_schedule_is_refused_by_field() {
        for (text, part) in [
            ("*/15 * * * *", "five"),
            ("0 0 0 1 1 * 2027", "no year"),
            ("@hourly", "nickname"),
            ("0 61 * * * *", "the minute `61`"),
            ("0 0 0 * * FOO", "the day of week `FOO`"),
            ("0 0 0 30 2 *", "never"),
            ("", "has 0"),
        ] {
            let flaw = parse(text).expect_err(text);
            assert!(flaw.0.contains(part), "{text}: {flaw:?}");
        }
    }
}

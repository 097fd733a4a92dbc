//! What is written, and above all what is not.

use std::fmt::Display;
use std::io::Write;
use std::sync::{Arc, Mutex};

use super::*;

const TOKEN: &str = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345";
const ODD_SECRET: &str = "s3cr\"et\\with=signs";

/// Where the lines of a test go.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("whole").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("whole").clone()).expect("UTF-8")
    }
}

/// What is logged while `speak` runs.
fn heard(format: Format, level: Level, color: bool, scrub: &Scrub, speak: impl FnOnce()) -> String {
    let sink = Sink::default();
    let to = sink.clone();
    let subscriber = subscriber(format, level, color, scrub.clone(), move || to.clone());
    tracing::subscriber::with_default(subscriber, speak);
    sink.text()
}

/// Shows its text in pieces of one character, as formatters may.
struct Pieces(&'static str);

impl Display for Pieces {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|c| write!(out, "{c}"))
    }
}

#[test]
fn a_text_line_has_time_level_module_spans_message_and_fields() {
    let text = heard(Format::Text, Level::Info, false, &Scrub::new(), || {
        let span = tracing::info_span!("probe", token = "ci bot", attempt = 2);
        let _entered = span.enter();
        tracing::info!(target: "scopewatch::round", checks = 4, error = %"a b", empty = "", "done");
    });
    let (time, rest) = text.split_once(' ').expect("a time");
    assert!(crate::moment::Timestamp::parse(time).is_some() && time.ends_with('Z') && time.len() >= 24);
    assert_eq!(rest, " INFO round: probe{token=\"ci bot\" attempt=2}: done checks=4 error=a b empty=\"\"\n");
}

#[test]
fn a_json_line_is_one_object_without_a_key_that_stands_twice() {
    let text = heard(Format::Json, Level::Info, false, &Scrub::new(), || {
        let span = tracing::info_span!("probe", token = "ci", late = tracing::field::Empty);
        let _entered = span.enter();
        span.record("late", 7);
        tracing::warn!(target: "scopewatch::round", level = "mine", target = "model", ok = true, n = -1, "a\nb");
    });
    assert_eq!(text.lines().count(), 1);
    assert_eq!(text.matches("\"level\":").count(), 1);
    let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&line["level"], &line["module"]), (&"WARN".into(), &"scopewatch::round".into()));
    assert_eq!((&line["message"], &line["level_"]), (&"a\nb".into(), &"mine".into()));
    assert_eq!((&line["target"], &line["ok"], &line["n"]), (&"model".into(), &true.into(), &(-1).into()));
    let span = serde_json::json!([{"name": "probe", "fields": {"token": "ci", "late": 7}}]);
    assert_eq!(line["spans"], span);
    assert!(text.starts_with("{\"timestamp\":\"20"));
}

#[test]
fn foreign_text_cannot_move_the_cursor_break_the_line_or_turn_it_round() {
    let evil = "a\x1b[2Jb\r\nc\x07\u{9b}31m\u{202e}d\u{200b}\u{2028}e";
    let speak = || {
        let _span = tracing::info_span!("probe", field = evil, shown = %evil).entered();
        tracing::info!(plain = evil, shown = %evil, debug = ?evil, "{evil}");
    };
    for format in [Format::Text, Format::Json] {
        let text = heard(format, Level::Info, false, &Scrub::new(), speak);
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        let odd = text.trim_end().chars().find(|c| c.is_control() || "\u{202e}\u{200b}\u{2028}".contains(*c));
        assert_eq!(odd, None, "{text:?}");
        if format == Format::Json {
            let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!((&line["message"], &line["plain"]), (&evil.into(), &evil.into()));
        }
    }
}

#[test]
fn color_is_there_when_asked_for() {
    let speak = || tracing::error!(count = 1, "bad");
    let text = heard(Format::Text, Level::Info, true, &Scrub::new(), speak);
    assert!(text.contains("\x1b[31mERROR\x1b[0m") && text.contains("\x1b[2mcount=\x1b[0m1\n"));
    assert!(!heard(Format::Json, Level::Info, true, &Scrub::new(), speak).contains('\x1b'));
}

#[test]
fn a_secret_is_redacted_wherever_it_stands() {
    let scrub = Scrub::new();
    scrub.load(&[ODD_SECRET, "plain-password"]);
    let speak = || {
        let _span = tracing::info_span!("probe", token = TOKEN, odd = ODD_SECRET).entered();
        tracing::info!(field = TOKEN, shown = %ODD_SECRET, debug = ?Some(ODD_SECRET), "Bearer {TOKEN}");
        tracing::info!(pieces = %Pieces(TOKEN), "plain-password {}", Pieces("plain-password"));
        tracing::info!(nested = ?format!("{:?}", ODD_SECRET), "https://x/?q=s3cr%22et%5Cwith%3Dsigns&r=1");
    };
    for format in [Format::Text, Format::Json] {
        for color in [false, true] {
            let before = scrub.hits();
            let text = heard(format, Level::Trace, color, &scrub, speak);
            for part in ["AbCd", "2345", "s3cr", "signs", "plain-"] {
                assert!(!text.contains(part), "{part} in {text}");
            }
            assert_eq!(text.lines().count(), 3);
            // Two in the span of each line, four, three and two in the events.
            assert_eq!(scrub.hits() - before, 6 + 4 + 3 + 2, "{text}");
            assert!(text.contains("Bearer [redacted]") && text.contains("?q=[redacted]&r=1"));
            if format == Format::Json {
                assert!(text.lines().all(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()), "{text}");
            }
        }
    }
}

#[test]
fn a_secret_in_several_writes_of_one_event_is_redacted() {
    let (scrub, sink) = (Scrub::new(), Sink::default());
    let to = sink.clone();
    let writers = scrub::Scrubbed::new(scrub.clone(), move || to.clone());
    let mut writer = writers.make_writer();
    let (one, two) = TOKEN.as_bytes().split_at(9);
    for part in [b"a ", one, two, b" b\n"] {
        writer.write_all(part).expect("held");
        writer.flush().expect("ignored");
    }
    assert_eq!(sink.text(), "", "not before it is whole");
    drop(writer);
    assert_eq!((sink.text().as_str(), scrub.hits()), ("a [redacted] b\n", 1));
}

#[test]
fn tokens_are_known_by_their_shape_and_names_are_left_alone() {
    let scrub = Scrub::new();
    let twenty = "aB3".repeat(7);
    for (text, clean) in [
        (format!("x hf_{twenty}, y"), "x [redacted], y".to_owned()),
        (format!("api_org_{twenty}"), "[redacted]".to_owned()),
        (format!("hf_oauth_{twenty}.e-y_J.sig end"), "[redacted] end".to_owned()),
        (format!("hf_jwt_{twenty}.x.y\""), "[redacted]\"".to_owned()),
        (format!("xhf_{twenty}hf_{twenty}ä"), "x[redacted]ä".to_owned()),
        (
            "hf_short and hf_demo_limited and api_org_x".into(),
            "hf_short and hf_demo_limited and api_org_x".into(),
        ),
    ] {
        assert_eq!(scrub.clean(&text), clean);
    }
}

#[test]
fn overlapping_secrets_leave_nothing_and_a_new_set_takes_the_place_of_the_old() {
    let scrub = Scrub::new();
    scrub.load(&["abcdefgh", "efghijkl", "abcdefghX", "tiny"]);
    assert_eq!(scrub.clean("-abcdefghijkl-abcdefghX-tiny-ä"), "-[redacted]-[redacted]-tiny-ä");
    assert_eq!(scrub.hits(), 2);
    scrub.load(&["second-one"]);
    assert_eq!(scrub.clone().clean("abcdefgh second-one"), "abcdefgh [redacted]");
    scrub.load(&[]);
    assert_eq!(scrub.clean("second-one"), "second-one");
    assert_eq!(scrub.hits(), 3);
}

#[test]
fn other_crates_are_heard_only_when_they_warn_or_at_trace() {
    let speak = || {
        tracing::debug!(target: "hyper::proto", "other debug");
        tracing::warn!(target: "sqlx::query", "other warning");
        tracing::warn!(target: "sqlx::postgres::notice", "words of a server");
        tracing::debug!("our debug");
        tracing::trace!(target: "h2", "other trace");
    };
    let count = |level| heard(Format::Text, level, false, &Scrub::new(), speak).lines().count();
    assert_eq!(
        [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace].map(count),
        [0, 1, 1, 2, 5]
    );
}

#[test]
fn a_secret_that_was_stopped_at_the_last_moment_is_owned_up_to_once() {
    let scrub = Scrub::new();
    let text = heard(Format::Text, Level::Warn, false, &scrub, || {
        own_up(&scrub);
        tracing::error!("{TOKEN} and {TOKEN}");
        own_up(&scrub);
        own_up(&scrub);
    });
    let warnings: Vec<&str> = text.lines().filter(|line| line.contains(" WARN ")).collect();
    assert!(warnings.len() == 1 && warnings[0].ends_with(" hits=2"), "{text}");
}

#[test]
fn a_panic_shows_its_place_and_never_what_it_says() {
    let text = heard(Format::Json, Level::Error, false, &Scrub::new(), || {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(|panic| report_panic(panic.location())));
        let outcome = std::panic::catch_unwind(|| panic!("secret payload {}", 1));
        std::panic::set_hook(before);
        assert!(outcome.is_err());
    });
    assert!(!text.contains("payload"), "{text}");
    assert!(text.contains("src/logging/tests.rs:") && text.contains("failed unexpectedly"), "{text}");
}

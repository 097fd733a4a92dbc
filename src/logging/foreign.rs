//! Foreign words on their way into a log line, and secrets on their way out of one, as functions from bytes to
//! assertions. Only tests and fuzz targets have it; see `crate::foreign`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::{LazyLock, PoisonError};

use tracing::Dispatch;

use super::{Format, Kept, Level, Scrub, subscriber};

/// Live secrets: one of the usual shape, one of odd characters, and one that begins as the other ends. `$1`, `$2`
/// and `$3` stand for them in a text, so that they come through a mutation whole.
const SECRETS: [&str; 3] =
    ["hf_AAAABBBBCCCCDDDDEEEEFFFFGGGG", "s3cr\"et\\with=signs", "signs-and-more-of-it"];

fn filled(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    for (mark, secret) in ["$1", "$2", "$3"].into_iter().zip(SECRETS) {
        text = text.replace(mark, secret);
    }
    text
}

/// One that knows them. What finds them is made once: it takes longer than any text.
fn loaded() -> Scrub {
    static LOADED: LazyLock<Scrub> = LazyLock::new(|| {
        let scrub = Scrub::new();
        scrub.load(&SECRETS);
        scrub
    });
    LOADED.clone()
}

impl Kept {
    fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A log of each format; making one for every line would cost more than the line.
fn logs() -> [(Format, Dispatch, Kept); 2] {
    [Format::Text, Format::Json].map(|format| {
        let kept = Kept::default();
        let to = kept.clone();
        (format, Dispatch::new(subscriber(format, Level::Trace, false, loaded(), move || to.clone())), kept)
    })
}

thread_local! {
    static LOGS: RefCell<Option<[(Format, Dispatch, Kept); 2]>> = const { RefCell::new(None) };
}

/// The text as message, as field in each way of showing one, and as a span's: one line comes out, which steers
/// nothing and shows no secret; the line for machines is JSON and says what was said.
pub fn line(bytes: &[u8]) {
    let text = filled(bytes);
    LOGS.with_borrow_mut(|logs_made| {
        for (format, dispatch, kept) in logs_made.get_or_insert_with(logs) {
            tracing::dispatcher::with_default(dispatch, || {
                let _span = tracing::info_span!("probe", word = %text).entered();
                tracing::info!(plain = text.as_str(), debug = ?text, level = %text, "{text}");
            });
            hold_line(*format, &kept.take(), &text);
        }
    });
}

fn hold_line(format: Format, line: &str, said: &str) {
    assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "not one line: {line:?}");
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    assert!(!line.trim_end_matches('\n').contains(odd), "it steers: {line:?}");
    hold_clean(line);
    if format == Format::Json {
        let read: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(read.is_ok(), "not JSON: {line:?}");
        let read = read.unwrap_or_default();
        let [message, plain] = ["message", "plain"].map(|field| read[field].as_str().unwrap_or_default());
        hold_clean(message);
        let nothing_hidden = *loaded().clean(said) == *said;
        assert!(!nothing_hidden || (message == said && plain == said), "{said:?} became {line:?}");
    }
}

fn hold_clean(text: &str) {
    for secret in SECRETS {
        let quoted = secret.replace('\\', "\\\\").replace('"', "\\\"");
        assert!(!text.contains(secret) && !text.contains(&quoted), "a secret in {text:?}");
    }
}

/// Any text with secrets in it comes out without them, and is then left as it is.
pub fn scrub(bytes: &[u8]) {
    scrub_by(bytes, Scrub::clean);
}

/// The rule, over whatever cleans.
pub fn scrub_by(bytes: &[u8], clean: impl for<'a> Fn(&Scrub, &'a str) -> Cow<'a, str>) {
    let text = filled(bytes);
    let scrub = loaded();
    let cleaned = clean(&scrub, &text);
    hold_clean(&cleaned);
    if !text.contains("[redacted]") {
        // Of secrets that lie over one another no part is left, either.
        let mut covered = vec![false; text.len()];
        for secret in SECRETS {
            for at in
                (0..text.len()).filter(|at| text.get(*at..).is_some_and(|rest| rest.starts_with(secret)))
            {
                covered[at..at + secret.len()].fill(true);
            }
        }
        let open = covered.iter().filter(|covered| !**covered).count();
        assert!(cleaned.replace("[redacted]", "").len() <= open, "a part of a secret in {cleaned:?}");
    }
    let rest = text.replace('\\', "");
    let shapeless = !rest.contains("hf_") && !rest.contains("api_org_") && !rest.contains('%');
    if shapeless && !SECRETS.iter().any(|secret| rest.contains(&secret.replace('\\', ""))) {
        assert_eq!(cleaned, text, "changed without a reason");
    }
    let again = clean(&scrub, &cleaned);
    assert_eq!(again, cleaned, "cleaned twice, it is another");
}

//! Logging: one line an event on stderr, as text for people or as JSON for machines, and never a secret.
//!
//! The last thing before stderr is a writer that replaces every loaded secret and whatever is shaped like a
//! token; it gets each event whole, so that nothing slips through between two writes. The daemon's lines go through
//! a bounded queue to a thread of their own: who blocks stderr does not block the daemon.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod foreign;
mod lines;
#[cfg(test)]
mod panic_tests;
mod queue;
mod scrub;
#[cfg(test)]
mod tests;

use std::io;
use std::io::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::NoSubscriber;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt, registry};

use crate::access::words;
use lines::{JsonLines, TextFields, TextLines};
pub use scrub::Scrub;

words! {
    /// What a line looks like.
    Format { Text = "text", Json = "json" }
}

words! {
    /// The least important events that are shown.
    Level { Error = "error", Warn = "warn", Info = "info", Debug = "debug", Trace = "trace" }
}

impl Level {
    fn filter(self) -> LevelFilter {
        match self {
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        }
    }
}

/// The way to stderr of a process that must not wait for its readers.
static QUEUE: OnceLock<queue::Queue> = OnceLock::new();

/// How long the end of the process waits for whoever reads its log.
const PATIENCE: Duration = Duration::from_secs(1);

/// Starts logging to stderr for the whole process: straight, or past readers that do not read (`queued`). Fails
/// where it was started before: the second `scrub` would guard nothing.
pub fn start(format: Format, level: Level, color: bool, scrub: Scrub, queued: bool) -> io::Result<()> {
    let set = if queued {
        let queue = queue::Queue::start(queue::ROOM, io::stderr(), |lines| {
            tracing::warn!(
                lines,
                "lines of this log were dropped, because nobody read it; see to what reads stderr"
            );
        })?;
        let queue = QUEUE.get_or_init(|| queue).clone();
        tracing::subscriber::set_global_default(subscriber(format, level, color, scrub, queue))
    } else {
        tracing::subscriber::set_global_default(subscriber(format, level, color, scrub, io::stderr))
    };
    set.map_err(io::Error::other)
}

/// The line that the log would be of an event with this text as message and field, kept in memory.
pub fn sample(format: Format, scrub: &Scrub, text: &str) -> String {
    let kept = Kept::default();
    let to = kept.clone();
    let log = subscriber(format, Level::Info, false, scrub.clone(), move || to.clone());
    tracing::subscriber::with_default(log, || tracing::info!(text, "{text}"));
    String::from_utf8_lossy(&kept.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

/// Lines that are not written anywhere.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what still waits. To be called last.
pub fn finish() {
    if let Some(queue) = QUEUE.get() {
        queue.finish(PATIENCE);
    }
}

/// From now on a panic is told by its place alone, in the log or, where none was started, as a line on stderr.
pub fn hide_panics() {
    std::panic::set_hook(Box::new(|panic| report_panic(panic.location())));
}

/// Says in the log whether a secret came as far as the redactor since this was last asked. It did no harm, but it
/// should never have come so far.
pub fn own_up(scrub: &Scrub) {
    let hits = scrub.unsaid();
    if hits > 0 {
        tracing::warn!(
            hits,
            "a secret was about to be written and was replaced; please report this with the lines around '[redacted]'"
        );
    }
}

/// Everything from an event to the written line.
fn subscriber<M>(format: Format, level: Level, color: bool, scrub: Scrub, to: M) -> impl Subscriber
where
    M: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let writer = scrub::Scrubbed::new(scrub, to);
    let plain = fmt::layer::<Registry>().with_writer(writer).log_internal_errors(false);
    let layer = match format {
        Format::Text => plain.with_ansi(color).fmt_fields(TextFields).event_format(TextLines).boxed(),
        Format::Json => plain.with_ansi(false).fmt_fields(JsonFields::new()).event_format(JsonLines).boxed(),
    };
    registry().with(layer).with(shown(level))
}

/// Our own events at the level asked for. Other crates say at most their warnings, except at `trace`, where
/// everything is shown. What a database server says in words of its own is told as a fault of the store instead.
fn shown(level: Level) -> Targets {
    let (others, server) = match level {
        Level::Trace => (LevelFilter::TRACE, LevelFilter::TRACE),
        level => (level.min(Level::Warn).filter(), LevelFilter::OFF),
    };
    Targets::new()
        .with_default(others)
        .with_target("sqlx::postgres::notice", server)
        .with_target("scopewatch", level.filter())
}

/// What is said of a panic.
const PANICKED: &str = "a part of scopewatch failed unexpectedly; please report this place in its source";

/// A panic's place, never its payload, which may hold anything.
fn report_panic(location: Option<&std::panic::Location<'_>>) {
    let place = location.map(ToString::to_string).unwrap_or_default();
    // Nobody listens before the log is started, and while a line is written: a panic there is told past the log.
    if tracing::dispatcher::get_default(|to| to.is::<NoSubscriber>()) {
        // Where stderr is gone there is nobody left to tell.
        let _ = writeln!(io::stderr(), "error: {PANICKED} place={place}");
    } else {
        tracing::error!(place, "{PANICKED}");
        // It may be the last thing that this process does.
        finish();
    }
}

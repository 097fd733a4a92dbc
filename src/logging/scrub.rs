//! The redactor: replaces live secrets, and whatever is shaped like a token of the Hub, in all that is written.
//!
//! It is the last line of defence, not the first: nothing should ever hand it a secret, and `hits` counts how
//! often something did.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use tracing_subscriber::fmt::MakeWriter;

use crate::secret::{Sought, shapes};

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";

/// Shorter secrets are not looked for: they would take ordinary words out of every line.
const SHORTEST: usize = 6;

/// The live secrets, and how often they were found where they should not be. Clones share both.
#[derive(Clone, Default)]
pub struct Scrub(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Every spelling of every live secret; `None` while there are none.
    live: ArcSwapOption<Sought>,
    hits: AtomicU64,
    /// As many of them as were told of.
    said: AtomicU64,
}

impl Scrub {
    /// Knows no secret yet; only what is shaped like a token is replaced.
    pub fn new() -> Scrub {
        Scrub::default()
    }

    /// Looks for these secrets from now on, and for no others: give it the old one of a rotated pair as long
    /// as it may still be written.
    pub fn load(&self, secrets: &[&str]) {
        let spellings = secrets.iter().filter(|s| s.len() >= SHORTEST).flat_map(|s| spellings(s));
        let live = Some(Sought::new(spellings)).filter(|live| !live.is_empty());
        self.0.live.store(live.map(Arc::new));
    }

    /// How many secrets have been replaced so far.
    pub fn hits(&self) -> u64 {
        self.0.hits.load(Ordering::Relaxed)
    }

    /// How many were replaced since this was last asked.
    pub(super) fn unsaid(&self) -> u64 {
        let hits = self.hits();
        hits.saturating_sub(self.0.said.swap(hits, Ordering::Relaxed))
    }

    /// The text without secrets.
    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut found: Vec<Range<usize>> = Vec::new();
        if let Some(live) = self.0.live.load().as_deref() {
            found.extend(live.find(text.as_bytes()));
        }
        found.extend(shapes(text.as_bytes()));
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        found.sort_by_key(|range| range.start);
        let mut clean = String::with_capacity(text.len());
        let (mut done, mut hits) = (0, 0);
        for range in found {
            // What begins within the last one only makes it longer.
            if hits == 0 || range.start >= done {
                clean.push_str(text.get(done..range.start).unwrap_or_default());
                clean.push_str(REDACTED);
                hits += 1;
            }
            done = done.max(range.end);
        }
        clean.push_str(text.get(done..).unwrap_or_default());
        self.0.hits.fetch_add(hits, Ordering::Relaxed);
        Cow::Owned(clean)
    }
}

/// How deep a secret may be quoted: a value shown by `Debug`, shown by `Debug` again, and all that in JSON.
const QUOTED: usize = 3;

/// The ways in which a secret may come to be written: as part of an address, as it is, and quoted again and
/// again. Only quotes and backslashes make a difference there; other odd characters no secret has.
fn spellings(secret: &str) -> Vec<String> {
    let mut all: Vec<String> = vec![url::form_urlencoded::byte_serialize(secret.as_bytes()).collect()];
    let mut spelling = secret.to_owned();
    for _ in 0..QUOTED {
        let quoted = spelling.replace('\\', "\\\\").replace('"', "\\\"");
        all.push(std::mem::replace(&mut spelling, quoted));
    }
    all.push(spelling);
    // Nearly always they are one and the same.
    all.dedup();
    all
}

/// Makes writers that take one event each and pass it on clean.
pub(super) struct Scrubbed<M> {
    scrub: Scrub,
    to: M,
}

impl<M> Scrubbed<M> {
    pub(super) fn new(scrub: Scrub, to: M) -> Scrubbed<M> {
        Scrubbed { scrub, to }
    }
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Scrubbed<M> {
    type Writer = Event<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Event { held: Vec::new(), scrub: self.scrub.clone(), to: self.to.make_writer() }
    }
}

/// Holds an event until it is whole, so that no secret is split between two writes.
pub(super) struct Event<W: io::Write> {
    held: Vec<u8>,
    scrub: Scrub,
    to: W,
}

impl<W: io::Write> io::Write for Event<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Does nothing: the event ends when its writer is dropped.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: io::Write> Drop for Event<W> {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.held);
        // Where the log cannot be written, there is nobody left to tell.
        let _ = self.to.write_all(self.scrub.clean(&text).as_bytes());
    }
}

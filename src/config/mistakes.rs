//! Mistakes: where each stands, what is wrong, what would be right; all of them, never with a secret in them.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::document::EXAMPLE;
use super::redact;
use super::tree::{Node, Value};
use crate::access::Stated;

/// A place in one of the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Spot {
    /// Which source, in the order in which they were read.
    pub(super) source: usize,
    /// From 1.
    pub(super) line: usize,
    /// From 1, in characters.
    pub(super) column: usize,
    /// Bytes from the start of the text.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// One mistake, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
    /// The line, secrets hidden.
    snippet: String,
    /// Where the caret stands under the snippet, and how long it is; in characters.
    caret: (usize, usize),
}

/// Every mistake of one reading, ordered by file and line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    all: Vec<Mistake>,
}

impl Mistakes {
    /// All of them, in order; at least one.
    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.all.iter()
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.all.len()
    }
}

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.all {
            writeln!(out, "{mistake}")?;
        }
        match self.all.len() {
            1 => write!(out, "1 mistake in the configuration"),
            many => write!(out, "{many} mistakes in the configuration"),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mistake { file, line, column, message, help, snippet, caret } = self;
        let pad = " ".repeat(line.to_string().len());
        writeln!(out, "error: {file}:{line}:{column}: {message}")?;
        writeln!(out, "{pad} |")?;
        writeln!(out, "{line} | {snippet}")?;
        writeln!(out, "{pad} | {}{}", " ".repeat(caret.0), "^".repeat(caret.1))?;
        writeln!(out, "{pad} = {help}")
    }
}

struct Text {
    name: Arc<str>,
    text: Arc<str>,
    /// Bytes that are never shown.
    hidden: Vec<Range<usize>>,
    /// Whether no tree came of it, so that nothing is known of what its lines hold.
    broken: bool,
}

struct Entry {
    at: Spot,
    message: String,
    help: String,
}

/// Collects mistakes and warnings of one reading, and knows the texts they stand in.
pub(super) struct Log {
    texts: Vec<Text>,
    entries: Vec<Entry>,
    warnings: Vec<String>,
    hidden: HashSet<Spot>,
    revealed: HashSet<Spot>,
}

impl Log {
    /// The embedded defaults are always source 0.
    pub(super) fn new() -> Log {
        let name = "the embedded defaults".into();
        let text = Text { name, text: EXAMPLE.into(), hidden: Vec::new(), broken: false };
        Log {
            texts: vec![text],
            entries: Vec::new(),
            warnings: Vec::new(),
            hidden: HashSet::new(),
            revealed: HashSet::new(),
        }
    }

    /// Takes a text in; the number by which spots name it.
    pub(super) fn add(&mut self, name: &str, text: &str) -> usize {
        let (name, text) = (redact::text(name).into(), text.into());
        self.texts.push(Text { name, text, hidden: Vec::new(), broken: false });
        self.texts.len() - 1
    }

    pub(super) fn text_of(&self, source: usize) -> Arc<str> {
        self.texts.get(source).map_or_else(|| "".into(), |text| text.text.clone())
    }

    /// The place as reports show it.
    pub(super) fn stated(&self, at: Spot) -> Option<Stated> {
        let text = self.texts.get(at.source)?;
        Some(Stated { file: text.name.clone(), line: at.line, column: at.column })
    }

    /// Notes a mistake. One that concerns a token in the open was reported already, and more could be told of it.
    pub(super) fn mistake(&mut self, at: Spot, message: String, help: impl Into<String>) {
        if !self.revealed.contains(&at) {
            // Values in messages were quoted with care; this is the second net.
            let (message, help) = (redact::sentence(&message), redact::sentence(&help.into()));
            self.entries.push(Entry { at, message, help });
        }
    }

    /// Notes that the text is not YAML.
    pub(super) fn broken(&mut self, at: Spot, message: String) {
        let help = "indentation is by spaces; text with `: ` or ` #` in it, or beginning with one of \
                    `*&!%@[{`, stands in quotes";
        self.mistake(at, message, help);
    }

    /// Notes a secret in the open: nothing else is ever said of this value.
    pub(super) fn reveal(&mut self, at: Spot, message: &str, help: &str) {
        self.mistake(at, message.to_owned(), help);
        self.revealed.insert(at);
    }

    /// Never show this value.
    pub(super) fn hide(&mut self, at: Spot) {
        self.hidden.insert(at);
        if let Some(text) = self.texts.get_mut(at.source) {
            text.hidden.push(at.start..at.end);
        }
    }

    pub(super) fn warn(&mut self, at: Spot, message: String) {
        let name = self.texts.get(at.source).map(|text| &*text.name).unwrap_or_default();
        let message = redact::sentence(&message);
        self.warnings.push(format!("{name}:{}:{}: {message}", at.line, at.column));
    }

    /// The value in back quotes, or words for it where it must not be shown.
    pub(super) fn quote(&self, node: &Node) -> String {
        match &node.value {
            _ if self.hidden.contains(&node.at) => "this value".to_owned(),
            Value::Text(text) => quoted(text),
            Value::Empty => "nothing".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    /// The lines of this source belong to no tree, so nothing is known of what they hold.
    pub(super) fn distrust(&mut self, source: usize) {
        if let Some(text) = self.texts.get_mut(source) {
            text.broken = true;
        }
    }

    /// What was read, with the warnings; or every mistake.
    pub(super) fn finish<T>(mut self, read: Option<T>) -> Result<(T, Vec<String>), Mistakes> {
        if self.entries.is_empty() {
            if let Some(read) = read {
                let mut told = HashSet::new();
                self.warnings.retain(|warning| told.insert(warning.clone()));
                return Ok((read, self.warnings));
            }
            // A reader gave up without a word: a defect of ours, but never a silent one.
            let top = Spot { source: 0, line: 1, column: 1, start: 0, end: 0 };
            self.mistake(
                top,
                "this configuration cannot be read".to_owned(),
                "please report this as a defect",
            );
        }
        self.entries.sort_by(|a, b| (a.at, &a.message).cmp(&(b.at, &b.message)));
        self.entries.dedup_by(|a, b| a.at == b.at && a.message == b.message);
        let all = self.entries.iter().filter_map(|entry| self.shown(entry)).collect();
        Err(Mistakes { all })
    }

    fn shown(&self, entry: &Entry) -> Option<Mistake> {
        let text = self.texts.get(entry.at.source)?;
        let (snippet, caret) = snippet(text, entry.at);
        Some(Mistake {
            file: text.name.to_string(),
            line: entry.at.line,
            column: entry.at.column,
            message: entry.message.clone(),
            help: entry.help.clone(),
            snippet,
            caret,
        })
    }
}

/// A text in back quotes, without secrets, control characters or excess length.
pub(super) fn quoted(text: &str) -> String {
    let text = redact::text(text);
    let shown: String = text.chars().take(80).map(plain).collect();
    let more = if text.chars().count() > 80 { redact::HIDDEN } else { "" };
    format!("`{shown}{more}`")
}

/// A text of any length as a terminal may be given it.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(plain).collect()
}

/// What a terminal may be given of a character: nothing that moves the cursor or turns the direction.
fn plain(c: char) -> char {
    match c {
        '\t' => ' ',
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => '?',
        c if c.is_control() => '?',
        c => c,
    }
}

/// The line of a spot as it may be shown, and the caret below it.
fn snippet(text: &Text, at: Spot) -> (String, (usize, usize)) {
    let all = &*text.text;
    let start = floor(all, at.start.min(all.len()));
    let begin = all[..start].rfind('\n').map_or(0, |at| at + 1);
    let end = all[start..].find('\n').map_or(all.len(), |at| start + at);
    let line = all[begin..end].trim_end_matches('\r');
    let mut hidden = if text.broken { redact::rough(line) } else { redact::ranges(line) };
    let mine = |r: &&Range<usize>| r.start < end && r.end > begin;
    hidden.extend(
        text.hidden
            .iter()
            .filter(mine)
            .map(|r| r.start.saturating_sub(begin)..(r.end - begin).min(line.len())),
    );

    let covered = |at: usize| hidden.iter().any(|range| range.contains(&at));
    let mut cells: Vec<(usize, char)> = Vec::new();
    let mut under_cover = false;
    for (at, c) in line.char_indices() {
        match (covered(at), under_cover) {
            (true, true) => {}
            (true, false) => cells.push((at, '…')),
            (false, _) => cells.push((at, plain(c))),
        }
        under_cover = covered(at);
    }
    let (first, past) = (start - begin, floor(all, at.end.clamp(start, end)) - begin);
    // A hidden part is one cell, found by any byte in it; past the end of the line stands the caret alone.
    let from = match cells.iter().take_while(|(at, _)| *at <= first).count() {
        _ if first >= line.len() => cells.len(),
        count => count.saturating_sub(1),
    };
    let to = cells.iter().take_while(|(at, _)| *at < past).count();
    crop(&cells, from, to.saturating_sub(from).max(1))
}

/// At most a hundred characters around the caret.
fn crop(cells: &[(usize, char)], from: usize, length: usize) -> (String, (usize, usize)) {
    const WIDTH: usize = 100;
    let skip = if from > 70 { from - 40 } else { 0 };
    let shown: String = cells.iter().skip(skip).take(WIDTH).map(|(_, c)| *c).collect();
    let shown = if skip > 0 { format!("…{shown}") } else { shown };
    let from = from - skip + usize::from(skip > 0);
    let more = if cells.len() > skip + WIDTH { "…" } else { "" };
    let length = length.min((shown.chars().count()).saturating_sub(from).max(1));
    ((shown + more).trim_end().to_owned(), (from, length))
}

/// The nearest character boundary at or before this byte.
fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

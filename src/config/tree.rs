//! YAML text as a tree in which every value knows where it was written.
//!
//! Lenient on purpose: what stands in the text is kept as text, so that every mistake can be collected by the
//! readers instead of stopping at the first one. Size, depth and alias copies are bounded.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span};

use super::mistakes::{Log, Spot};

/// Bytes of one file; far above any real configuration.
const TEXT_LIMIT: usize = 16 * 1024 * 1024;
/// Values in one file, copies made by aliases included.
const NODE_LIMIT: usize = 2_000_000;
/// Nesting; the deepest key of the configuration lies at eight.
const DEPTH_LIMIT: usize = 48;

/// One value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: Spot,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Empty,
    Text(String),
    List(Vec<Node>),
    /// Keys are text, each of them once.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// The text of a scalar; empty for anything else.
    pub(super) fn word(&self) -> &str {
        match &self.value {
            Value::Text(text) => text,
            _ => "",
        }
    }

    /// The value under this key of a mapping.
    pub(super) fn under(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(pairs) => pairs.iter().find(|(k, _)| k.word() == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The mapping with those of its pairs whose key passes.
    pub(super) fn filtered(&self, pass: impl Fn(&Node) -> bool) -> Node {
        let value = match &self.value {
            Value::Map(pairs) => Value::Map(pairs.iter().filter(|(key, _)| pass(key)).cloned().collect()),
            other => other.clone(),
        };
        Node { value, at: self.at }
    }

    fn weight(&self) -> usize {
        match &self.value {
            Value::Empty | Value::Text(_) => 1,
            Value::List(items) => 1 + items.iter().map(Node::weight).sum::<usize>(),
            Value::Map(pairs) => 1 + pairs.iter().map(|(_, value)| 1 + value.weight()).sum::<usize>(),
        }
    }
}

/// A list or mapping that is not closed yet.
struct Open {
    at: Spot,
    anchor: usize,
    map: bool,
    parts: Vec<Node>,
}

struct Builder<'l> {
    log: &'l mut Log,
    source: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

/// The tree of the log's source number `source`; `None` after a mistake that leaves no tree to read.
pub(super) fn read(log: &mut Log, source: usize) -> Option<Node> {
    let text = log.text_of(source);
    let top = Spot { source, line: 1, column: 1, start: 0, end: 0 };
    if text.len() > TEXT_LIMIT {
        log.mistake(top, "the file is larger than 16 MiB".to_owned(), "split it with `include:`");
        return None;
    }
    let mut builder =
        Builder { log, source, open: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    for step in Parser::new_from_str(&text) {
        let (event, span) = match step {
            Ok(pair) => pair,
            Err(error) => {
                let mark = error.marker();
                let start = mark.byte_offset().unwrap_or(text.len());
                let at = Spot { source, line: mark.line().max(1), column: mark.col() + 1, start, end: start };
                builder.log.broken(at, format!("this is not YAML: {}", error.info()));
                return None;
            }
        };
        builder.take(event, span)?;
    }
    Some(builder.root.take().unwrap_or(Node { value: Value::Empty, at: top }))
}

impl Builder<'_> {
    /// Takes one event; `None` when reading cannot go on.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let at = self.spot(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), at);
                let empty = style == ScalarStyle::Plain
                    && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL");
                let value = if empty { Value::Empty } else { Value::Text(text.into_owned()) };
                self.place(Node { value, at }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), at);
                self.enter(Open { at, anchor, map: false, parts: Vec::new() })
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), at);
                self.enter(Open { at, anchor, map: true, parts: Vec::new() })
            }
            Event::SequenceEnd | Event::MappingEnd => self.leave(),
            Event::Alias(anchor) => {
                let Some(copy) = self.anchors.get(&anchor).cloned() else {
                    let help = "an alias can only repeat a value that is complete before it";
                    self.log.mistake(at, "this alias repeats the value that it stands in".to_owned(), help);
                    return None;
                };
                // It copies a whole tree, so the weight is counted, not the event: this is what defuses bombs.
                self.nodes += copy.weight();
                self.place(copy, 0)
            }
            Event::DocumentStart(..) if self.root.is_some() => {
                let help =
                    "remove the `---`, or move the rest to a file of its own and name it in `include:`";
                self.log.mistake(at, "the file holds more than one YAML document".to_owned(), help);
                None
            }
            _ => Some(()),
        }
    }

    fn spot(&self, span: Span) -> Spot {
        let start = span.start.byte_offset().unwrap_or(0);
        let end = span.end.byte_offset().unwrap_or(start).max(start);
        Spot { source: self.source, line: span.start.line().max(1), column: span.start.col() + 1, start, end }
    }

    fn refuse_tag(&mut self, tagged: bool, at: Spot) {
        if tagged {
            self.log.mistake(at, "YAML tags (`!…`) have no meaning here".to_owned(), "remove the tag");
        }
    }

    fn enter(&mut self, open: Open) -> Option<()> {
        if self.open.len() >= DEPTH_LIMIT {
            let message = format!("values are nested more than {DEPTH_LIMIT} deep");
            self.log.mistake(open.at, message, "no key of the configuration lies that deep");
            return None;
        }
        self.open.push(open);
        Some(())
    }

    fn leave(&mut self) -> Option<()> {
        let Some(open) = self.open.pop() else { return Some(()) };
        let value = if open.map { Value::Map(self.pairs(open.parts)) } else { Value::List(open.parts) };
        self.place(Node { value, at: open.at }, open.anchor)
    }

    fn place(&mut self, node: Node, anchor: usize) -> Option<()> {
        // What it is made of was counted when it came.
        self.nodes += 1;
        if anchor != 0 {
            self.nodes += node.weight();
        }
        if self.nodes > NODE_LIMIT {
            let help = "no real configuration is that large; aliases that repeat aliases grow fast";
            self.log.mistake(node.at, format!("the file holds more than {NODE_LIMIT} values"), help);
            return None;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            Some(open) => open.parts.push(node),
            None => self.root = Some(node),
        }
        Some(())
    }

    /// Keys and values in turn become pairs; a key that is no text or stands twice is a mistake.
    fn pairs(&mut self, parts: Vec<Node>) -> Vec<(Node, Node)> {
        let mut pairs: Vec<(Node, Node)> = Vec::with_capacity(parts.len() / 2);
        let mut seen: HashMap<String, Spot> = HashMap::new();
        let mut parts = parts.into_iter();
        while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
            let Value::Text(name) = &key.value else {
                self.log.mistake(key.at, "a key must be text".to_owned(), "write `name: value`");
                continue;
            };
            if name == "<<" {
                let help = "repeat the keys, or use a named list under `expectations:`";
                self.log.mistake(key.at, "merge keys (`<<`) are not supported".to_owned(), help);
                continue;
            }
            if let Some(first) = seen.get(name) {
                let message = format!("the key {} stands twice", self.log.quote(&key));
                let help = format!("it is already given in line {}; keep one of them", first.line);
                self.log.mistake(key.at, message, help);
                continue;
            }
            seen.insert(name.clone(), key.at);
            pairs.push((key, value));
        }
        pairs
    }
}

//! What a line looks like: text for people, JSON for machines. Control characters, and those that turn the
//! direction of writing, are escaped wherever they come from: a line is always one line and always what it
//! seems.

use std::fmt::{self, Debug, Write};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// The time of an event: UTC, RFC 3339. The library's clock; it decides nothing.
fn now() -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

/// Whether a character must not reach a terminal as it is: controls, line separators, and those without a
/// width or with a direction.
fn odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// Escapes odd characters on their way to a writer, in Rust's spelling.
struct Tame<'a>(&'a mut dyn Write);

impl Write for Tame<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(odd) {
            let (fine, from) = rest.split_at(at);
            self.0.write_str(fine)?;
            let mut chars = from.chars();
            if let Some(c) = chars.next() {
                match c {
                    '\n' => self.0.write_str("\\n")?,
                    '\r' => self.0.write_str("\\r")?,
                    '\t' => self.0.write_str("\\t")?,
                    other => write!(self.0, "\\u{{{:x}}}", u32::from(other))?,
                }
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

/// The name of a field as people write it.
fn name_of(field: &Field) -> &'static str {
    field.name().strip_prefix("r#").unwrap_or(field.name())
}

/// Fields as text: the message, then `name=value`.
pub(super) struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = TextVisitor { writer, begun: false, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct TextVisitor<'w> {
    writer: Writer<'w>,
    begun: bool,
    result: fmt::Result,
}

impl TextVisitor<'_> {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.result.is_ok() {
            self.result = self.try_put(field, value);
        }
    }

    fn try_put(&mut self, field: &Field, value: fmt::Arguments<'_>) -> fmt::Result {
        if self.begun {
            self.writer.write_char(' ')?;
        }
        self.begun = true;
        let name = name_of(field);
        if name != "message" {
            if self.writer.has_ansi_escapes() {
                write!(self.writer, "{DIM}{name}={PLAIN}")?;
            } else {
                write!(self.writer, "{name}=")?;
            }
        }
        Tame(&mut self.writer).write_fmt(value)
    }
}

impl Visit for TextVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let bare = !value.is_empty() && !value.contains([' ', '"', '=']);
        if bare || field.name() == "message" {
            self.put(field, format_args!("{value}"));
        } else {
            self.put(field, format_args!("{value:?}"));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}

/// A line for people: time, level, module, spans, message, fields.
pub(super) struct TextLines;

impl<S> FormatEvent<S, TextFields> for TextLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, TextFields>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let module = target.strip_prefix("scopewatch::").unwrap_or(target);
        if out.has_ansi_escapes() {
            let color = match level {
                Level::ERROR => "\x1b[31m",
                Level::WARN => "\x1b[33m",
                Level::INFO => "\x1b[32m",
                _ => "\x1b[34m",
            };
            write!(out, "{DIM}{}{PLAIN} {color}{level:>5}{PLAIN} {DIM}{module}:{PLAIN} ", now())?;
        } else {
            write!(out, "{} {level:>5} {module}: ", now())?;
        }
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if out.has_ansi_escapes() {
                write!(out, "{BOLD}{}{PLAIN}", span.name())?;
            } else {
                out.write_str(span.name())?;
            }
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<FormattedFields<TextFields>>()
                && !fields.is_empty()
            {
                write!(out, "{{{fields}}}")?;
            }
            out.write_str(": ")?;
        }
        context.field_format().format_fields(out.by_ref(), event)?;
        writeln!(out)
    }
}

/// A line for machines: one flat object; the fields of an event stand beside time, level and module.
pub(super) struct JsonLines;

/// Keys of the line itself. A field of such a name gets an underscore, because a key must not stand twice.
const OWN_KEYS: [&str; 4] = ["timestamp", "level", "module", "spans"];

#[derive(Default)]
struct JsonVisitor(Vec<(&'static str, Value)>);

impl Visit for JsonVisitor {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.push((name_of(field), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.push((name_of(field), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.push((name_of(field), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.push((name_of(field), value.into()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((name_of(field), value.into()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.push((name_of(field), value.to_string().into()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push((name_of(field), format!("{value:?}").into()));
    }
}

/// Appends a value as JSON. Odd characters can only stand within strings, where JSON has an escape for them.
fn put_json(out: &mut Writer<'_>, value: &Value) -> fmt::Result {
    for c in value.to_string().chars() {
        if odd(c) {
            write!(out, "\\u{:04x}", u32::from(c))?;
        } else {
            out.write_char(c)?;
        }
    }
    Ok(())
}

impl<S> FormatEvent<S, JsonFields> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        write!(out, "{{\"timestamp\":\"{}\",\"level\":\"{}\",\"module\":", now(), metadata.level())?;
        put_json(&mut out, &metadata.target().into())?;
        let mut fields = JsonVisitor::default();
        event.record(&mut fields);
        for (name, value) in fields.0 {
            let more = if OWN_KEYS.contains(&name) { "_" } else { "" };
            write!(out, ",\"{name}{more}\":")?;
            put_json(&mut out, &value)?;
        }
        let mut spans = Vec::new();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<JsonFields>>();
            let fields = fields.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            let entries = [("name", span.name().into()), ("fields", Value::Object(fields))];
            let shown: Map<String, Value> =
                entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            spans.push(Value::Object(shown));
        }
        if !spans.is_empty() {
            out.write_str(",\"spans\":")?;
            put_json(&mut out, &Value::Array(spans))?;
        }
        out.write_str("}\n")
    }
}

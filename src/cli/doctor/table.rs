//! The rows for people: by part, the state in colour, what to do beneath what is not ok.

use std::fmt::{Result, Write};

use anstyle::{AnsiColor, Style};

use super::rows::{Part, Row, State, Sum};

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const GREEN: Style = AnsiColor::Green.on_default();
const HEAD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

fn painted(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

fn title(part: Part) -> &'static str {
    match part {
        Part::Config => "Config",
        Part::Secrets => "Secrets",
        Part::Machine => "Process and machine",
        Part::Hub => "Way to the Hub",
        Part::Clock => "Clock",
        Part::Organizations => "Organizations",
        Part::Tokens => "Tokens, as the Hub knows them",
        Part::OwnTokens => "Our own tokens",
        Part::Store => "Store",
        Part::Server => "Who may reach it",
        Part::Sinks => "Sinks",
        Part::Leaks => "Leaks of secrets",
    }
}

fn mark(state: State) -> String {
    match state {
        State::Ok => painted(GREEN, "ok  "),
        State::Warn => painted(YELLOW, "warn"),
        State::Fail => painted(RED, "FAIL"),
    }
}

/// The whole text, with colours that the stream drops where they do not belong. `next` is what to type when nothing
/// failed.
pub(super) fn render(head: &str, rows: &[Row], next: &str) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, head, rows, next);
    text
}

fn write(text: &mut String, head: &str, rows: &[Row], next: &str) -> Result {
    writeln!(text, "{} {head}\n", painted(HEAD, "scopewatch doctor:"))?;
    let width = rows.iter().map(|row| row.subject.chars().count()).max().unwrap_or(0).min(24);
    for group in rows.chunk_by(|one, other| one.part == other.part) {
        let Some(first) = group.first() else { continue };
        writeln!(text, "{}", painted(HEAD, title(first.part)))?;
        for row in group {
            writeln!(text, "  {}  {:width$}  {}", mark(row.state), row.subject, row.seen)?;
            if let Some(remedy) = &row.remedy {
                writeln!(text, "        {:width$}  {}", "", painted(DIM, &format!("→ {remedy}")))?;
            }
        }
        writeln!(text)?;
    }
    let Sum { ok, warn, fail } = Sum::of(rows);
    let count = |number: usize, style: Style, word: &str| match number {
        0 => format!("0 {word}"),
        number => painted(style, &format!("{number} {word}")),
    };
    writeln!(
        text,
        "{}, {}, {}",
        count(ok, GREEN, "ok"),
        count(warn, YELLOW, "warn"),
        count(fail, RED, "FAIL")
    )?;
    match fail {
        0 => writeln!(text, "Next: {next}"),
        _ => writeln!(text, "Mend what says FAIL, from the top: the first is often the cause of the others."),
    }
}

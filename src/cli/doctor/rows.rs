//! What `doctor` says: one row for each thing that was looked at, and what they come to.

use serde::Serialize;

/// What is looked at, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    Config,
    Secrets,
    Machine,
    Hub,
    Clock,
    Organizations,
    Tokens,
    OwnTokens,
    Store,
    Server,
    Sinks,
    Leaks,
}

/// How something stands; the worse the later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Ok,
    /// It works, and there is something to think of.
    Warn,
    /// It does not work as it is.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub part: Part,
    /// A name of the config, or what of the part it is.
    pub subject: String,
    pub state: State,
    /// What was seen.
    pub seen: String,
    /// What to do, unless it is ok.
    pub remedy: Option<String>,
}

impl Row {
    pub(super) fn ok(part: Part, subject: impl Into<String>, seen: impl Into<String>) -> Row {
        Row { part, subject: subject.into(), state: State::Ok, seen: seen.into(), remedy: None }
    }

    fn troubled(
        part: Part,
        subject: impl Into<String>,
        state: State,
        seen: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Row {
        Row { part, subject: subject.into(), state, seen: seen.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn warn(
        part: Part,
        subject: impl Into<String>,
        seen: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Row {
        Row::troubled(part, subject, State::Warn, seen, remedy)
    }

    pub(super) fn fail(
        part: Part,
        subject: impl Into<String>,
        seen: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Row {
        Row::troubled(part, subject, State::Fail, seen, remedy)
    }
}

/// A sentence of the house says what is wrong and, after a semicolon, what to do: its two halves.
pub(super) fn halves(sentence: &str) -> (String, String) {
    let (seen, remedy) = sentence.rsplit_once("; ").unwrap_or((sentence, "see the README"));
    (seen.to_owned(), remedy.to_owned())
}

/// How many are how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Sum {
    pub ok: usize,
    pub warn: usize,
    pub fail: usize,
}

impl Sum {
    pub(super) fn of(rows: &[Row]) -> Sum {
        let count = |state| rows.iter().filter(|row| row.state == state).count();
        Sum { ok: count(State::Ok), warn: count(State::Warn), fail: count(State::Fail) }
    }
}

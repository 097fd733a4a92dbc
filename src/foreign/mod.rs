//! Everything that meets bytes of strangers, as functions from bytes to assertions.
//!
//! Each entry hands arbitrary bytes to one reader and holds what comes out against rules that are written here
//! anew, not taken from the reader. Serves the properties (`tests`) and the fuzz targets (`tests/fuzz`); no release
//! build has it. A reader that needs more than its room shows is asked in its room, in a file of the same name.

mod answers;
mod journal;
mod limits;
mod names;
#[cfg(test)]
mod tests;
mod texts;
mod walks;
mod whoami;
mod wire;

/// One entry: whose bytes, and what is asserted of them.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Of its corpus and of its fuzz target.
    pub name: &'static str,
    /// How many times longer than most it takes; it gets as many times fewer inputs of a search that is bounded.
    pub cost: usize,
    pub run: fn(&[u8]),
}

/// All of them, by name.
#[rustfmt::skip]
pub const ENTRIES: &[Entry] = &[
    Entry { name: "answer",     cost: 1, run: crate::probe::foreign::answer },
    Entry { name: "config",     cost: 5, run: texts::config },
    Entry { name: "control",    cost: 1, run: walks::control },
    Entry { name: "create",     cost: 1, run: answers::create },
    Entry { name: "delete",     cost: 1, run: answers::delete },
    Entry { name: "exposition", cost: 5, run: crate::metrics::foreign::labels },
    Entry { name: "inventory",  cost: 1, run: walks::inventory },
    Entry { name: "journal",    cost: 5, run: journal::journal },
    Entry { name: "limits",     cost: 1, run: limits::limits },
    Entry { name: "log",        cost: 1, run: crate::logging::foreign::line },
    Entry { name: "names",      cost: 1, run: names::names },
    Entry { name: "origin",     cost: 1, run: crate::probe::foreign::origin },
    Entry { name: "probes",     cost: 1, run: answers::probes },
    Entry { name: "readings",   cost: 1, run: walks::readings },
    Entry { name: "recalled",   cost: 1, run: journal::recalled },
    Entry { name: "recorded",   cost: 1, run: crate::cli::foreign::recorded },
    Entry { name: "scrub",      cost: 1, run: crate::logging::foreign::scrub },
    Entry { name: "secret",     cost: 1, run: crate::probe::foreign::secret },
    Entry { name: "sweep",      cost: 1, run: walks::sweep },
    Entry { name: "visit",      cost: 1, run: walks::visit },
    Entry { name: "whoami",     cost: 5, run: whoami::whoami },
    Entry { name: "world",      cost: 5, run: texts::world },
];

/// Runs the entry of this name; a name that there is not is a mistake of the caller.
pub fn run(name: &str, bytes: &[u8]) {
    let entry = ENTRIES.iter().find(|entry| entry.name == name);
    assert!(entry.is_some(), "there is no entry {name:?}");
    if let Some(entry) = entry {
        (entry.run)(bytes);
    }
}

/// A defect planted on purpose, for the fuzzer to find: a reader that takes a failing Hub's error for a refusal.
pub fn planted(bytes: &[u8]) {
    answers::create_by(bytes, |outcome, namespace, wanted, restrictions| match outcome {
        Ok(answer) if answer.status == 503 && answer.body.contains("rights") => {
            let denied = crate::access::Access::Denied(crate::access::DenyReason::Scope);
            let heard = crate::hub::classify::CreateHeard::Refused(denied);
            (crate::hub::classify::CreateRow::Refused, heard)
        }
        _ => crate::hub::classify::create_row(outcome, namespace, wanted, restrictions),
    });
}

/// Whether a text for people steers a terminal or a page: control characters, and those that are invisible or turn
/// the direction of writing.
pub(crate) fn steers(text: &str) -> bool {
    text.chars().any(|c| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    })
}

/// What is shaped like a token of the Hub in a text: `hf_` and at least twenty letters and digits.
pub(crate) fn token_shapes(text: &str) -> Vec<&str> {
    let shape = |(at, _): (usize, &str)| {
        let rest = text.get(at + 3..).unwrap_or_default();
        let length = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
        text.get(at..at + 3 + length).filter(|_| length >= 20)
    };
    text.match_indices("hf_").filter_map(shape).collect()
}

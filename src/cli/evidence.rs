//! `evidence`: the record of what happened, for whoever must rely on it. Verify it here, or export it and verify it
//! elsewhere, with another program.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::app::{self, Fault};
use crate::store::{Head, Line, Past, Store, StoreFault, Verified};

use super::{Exit, complain, complain_mildly, say};

#[derive(Debug, Args)]
pub(super) struct EvidenceArgs {
    /// The config file; may stand before or after what is to be done.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Tells the whole record again and compares it with the journal. Works beside a running daemon.
    Verify {
        /// A head that you kept elsewhere, from the log or the metric `scopewatch_evidence_head_info`; the record
        /// must still have it.
        #[arg(long, value_name = "HASH", value_parser = hash)]
        head: Option<String>,
    },
    /// Writes the record as JSON, one entry a line, oldest first. Works beside a running daemon.
    Export {
        /// Where it goes; stdout if not given.
        #[arg(long, value_name = "PATH")]
        output: Option<PathBuf>,
    },
}

/// Reads a hash as people paste it.
fn hash(text: &str) -> Result<String, String> {
    let hash = text.trim().to_ascii_lowercase();
    let whole = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    if whole { Ok(hash) } else { Err("a head is 64 hexadecimal digits".to_owned()) }
}

pub(super) async fn run(args: EvidenceArgs) -> Result<Exit, Fault> {
    let path = args.config.ok_or_else(|| {
        Fault::Usage("--config FILE is needed: the journal lies where the config says".to_owned())
    })?;
    let config = app::load_config(&path)?.config;
    let place = app::sqlite_path(&config);
    let done = match app::store_to_read(&config).await? {
        Ok(store) => {
            let done = match args.action {
                Action::Verify { head } => verify(&store, head).await,
                Action::Export { output } => export(&store, output.as_deref()).await,
            };
            store.close().await;
            done
        }
        Err(fault) => Err(Trouble::Store(fault)),
    };
    match done {
        Ok(exit) => Ok(exit),
        Err(Trouble::Other(fault)) => Err(fault),
        // There is no worse break than a file that cannot be read any more.
        Err(Trouble::Store(fault @ (StoreFault::Damaged { .. } | StoreFault::Unreadable { .. }))) => {
            complain(&fault.to_string());
            Ok(Exit::Drift)
        }
        Err(Trouble::Store(fault @ StoreFault::Missing { .. })) => match place.and_then(Store::witness) {
            Some(head) => {
                complain(&format!("{fault}; it was there: its head file knows entry {}", head.seq));
                Ok(Exit::Drift)
            }
            None => Err(fault.into()),
        },
        Err(Trouble::Store(fault)) => Err(fault.into()),
    }
}

/// What may go wrong on the way.
enum Trouble {
    Store(StoreFault),
    Other(Fault),
}

impl From<StoreFault> for Trouble {
    fn from(fault: StoreFault) -> Trouble {
        Trouble::Store(fault)
    }
}

async fn verify(store: &Store, head: Option<String>) -> Result<Exit, Trouble> {
    let verified = store.verify().await?;
    let mut text = summary(&verified);
    let mut whole = verified.flaws.is_empty() && verified.lost.is_none();
    text += &broken(&verified);
    if let Some(hash) = head {
        match store.entry_of(&hash).await? {
            Some(seq) => line(&mut text, format_args!("the head that you gave is that of entry {seq}")),
            None => {
                whole = false;
                line(
                    &mut text,
                    format_args!(
                        "no entry has the head that you gave: this is another record, or an older or a forged one"
                    ),
                );
            }
        }
    }
    text += if whole {
        "the record is whole: every entry is bound to the one before it, and the journal is what it says\n"
    } else {
        "the record is broken: keep a copy of the store and of its head file, and find out who could write there; \
         then restore a backup that verifies, or go on with `scopewatch canaries unlatch` once you know what to \
         make of it\n"
    };
    say(&text).map_err(Trouble::Other)?;
    Ok(if whole { Exit::Ok } else { Exit::Drift })
}

/// Appends a line; writing to a string cannot fail.
fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{words}");
}

/// What is there.
fn summary(verified: &Verified) -> String {
    let mut text = match verified.entries {
        1 => "1 entry".to_owned(),
        entries => format!("{entries} entries"),
    };
    if let (Some(first), Some(last)) = (verified.first_at, verified.last_at) {
        text += &format!(", from {first} to {last}");
    }
    line(&mut text, format_args!(""));
    for (kind, count) in &verified.kinds {
        line(&mut text, format_args!("{count:>9} {kind}"));
    }
    line(&mut text, format_args!("head {} {}", verified.head.seq, verified.head.hash));
    line(&mut text, format_args!("epoch {}: so often was the store opened for writing", verified.epoch));
    for noted in &verified.noted {
        let what = noted.past.told().unwrap_or_default();
        let cleared = if noted.cleared { "it is cleared" } else { "nobody has cleared it yet" };
        line(&mut text, format_args!("entry {} noted at {}: {what}; {cleared}", noted.seq, noted.at));
    }
    text
}

/// Where it is broken.
fn broken(verified: &Verified) -> String {
    let mut text = String::new();
    for flaw in &verified.flaws {
        match flaw.seq {
            0 => line(&mut text, format_args!("{}", flaw.why)),
            seq => line(&mut text, format_args!("entry {seq}: {}", flaw.why)),
        }
    }
    if verified.more_flaws > 0 {
        line(&mut text, format_args!("and {} more of the kind", verified.more_flaws));
    }
    if let Some(lost) = &verified.lost {
        let past = Past::Regressed { known: lost.seq, found: verified.head.seq };
        line(&mut text, format_args!("{}", past.told().unwrap_or_default()));
    }
    text
}

/// Entries that are read at once.
const PAGE: u32 = 500;

async fn export(store: &Store, output: Option<&Path>) -> Result<Exit, Trouble> {
    let mut out: Box<dyn Write> = match output {
        None => Box::new(io::stdout()),
        Some(path) => Box::new(created(path).map_err(Trouble::Other)?),
    };
    let mut before = Head::none();
    let mut broken = None;
    loop {
        let page = store.record(before.seq, PAGE).await?;
        let mut text = String::new();
        for entry in &page {
            if !entry.follows(&before) {
                broken = broken.or(Some(entry.seq));
            }
            text += &shown(entry, &before.hash);
            before = Head { seq: entry.seq, hash: entry.hash.clone() };
        }
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => {}
            // A reader that has gone away is no fault.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            Err(error) => return Err(Trouble::Other(unwritten(output, error.kind()))),
        }
        if page.is_empty() {
            break;
        }
    }
    let Some(seq) = broken else { return Ok(Exit::Ok) };
    complain_mildly(&format!(
        "the record is exported as it is, but it is broken at entry {seq}; `scopewatch evidence verify` says more"
    ));
    Ok(Exit::Drift)
}

/// Readable by its owner alone: it says who may do what, and where.
fn created(path: &Path) -> Result<std::fs::File, Fault> {
    let opened = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path);
    opened.map_err(|error| unwritten(Some(path), error.kind()))
}

fn unwritten(path: Option<&Path>, kind: ErrorKind) -> Fault {
    let place = path.map_or("stdout".to_owned(), |path| format!("'{}'", path.display()));
    Fault::Usage(format!("the record cannot be written to {place} ({kind}); name another --output"))
}

/// One entry as a line of JSON. A body that is not as we write JSON, because somebody changed it, is shown as text:
/// whoever reads the line must be able to tell.
fn shown(entry: &Line, before: &str) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let read = serde_json::from_str::<serde_json::Value>(&entry.body).map(|body| body.to_string());
    let body = read.ok().filter(|body| *body == entry.body).unwrap_or_else(|| quoted(&entry.body));
    format!(
        "{{\"seq\":{},\"at\":\"{}\",\"kind\":{},\"body\":{body},\"prev\":{},\"hash\":{}}}\n",
        entry.seq,
        entry.at,
        quoted(&entry.kind),
        quoted(before),
        quoted(&entry.hash),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::Timestamp;

    #[test]
    fn a_head_is_taken_as_people_paste_it() {
        let hex = "0123456789abcdef".repeat(4);
        assert_eq!(hash(&format!(" {}\n", hex.to_uppercase())), Ok(hex.clone()));
        for wrong in ["", "0", &hex[1..], &format!("{hex}0"), &hex.replace('a', "g")] {
            assert!(hash(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_entry_is_one_line_of_json_whatever_its_body() {
        let zeros = Head::none().hash;
        for (body, expected) in [
            (r#"{"a":[1,null]}"#, serde_json::json!({ "a": [1, null] })),
            ("{\"a\":\n1}", serde_json::json!("{\"a\":\n1}")),
            ("{\"a\": 1}", serde_json::json!("{\"a\": 1}")),
            ("{\"a\":1,\"a\":2}", serde_json::json!("{\"a\":1,\"a\":2}")),
            ("{\"a\":1", serde_json::json!("{\"a\":1")),
            ("", serde_json::json!("")),
        ] {
            let entry = Line {
                seq: 1,
                at: Timestamp(1_800_000_000_000),
                kind: "can\"ary".into(),
                body: body.into(),
                hash: "x".into(),
            };
            let text = shown(&entry, &zeros);
            assert_eq!(text.matches('\n').count(), 1);
            let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let whole = serde_json::json!({
                "seq": 1, "at": "2027-01-15T08:00:00.000Z", "kind": "can\"ary", "body": expected,
                "prev": zeros, "hash": "x",
            });
            assert_eq!(read, whole);
        }
    }
}

//! What the ground of the store, the sinks and the search for leaks come to. Pure.

use std::io::ErrorKind;

use crate::app::exam::{Ground, Medium, Posted};
use crate::config::{Config, Server};

use super::rows::{Part, Row, halves};

/// Kinds of file system on which a journal is not safe, by the kernel's numbers (statfs(2)), and why.
const UNSAFE: [(u64, &str, &str); 7] = [
    (0x0102_1994, "tmpfs", MEMORY),
    (0x8584_58f6, "ramfs", MEMORY),
    (0x794c_7630, "overlay", "what is written there is gone with the container"),
    (0x6969, "nfs", LOCKS),
    (0xff53_4d42, "cifs", LOCKS),
    (0xfe53_4d42, "smb", LOCKS),
    (0x0000_517b, "smbfs", LOCKS),
];
const MEMORY: &str = "what is written there is gone after a restart of the machine";
const LOCKS: &str = "locks and durability are not to be trusted there";

/// Room below which the journal will not live long, and below which it does not work, in bytes.
const ROOM: (u64, u64) = (256 << 20, 16 << 20);

fn mebibytes(bytes: u64) -> String {
    if bytes >> 30 >= 10 { format!("{} GiB", bytes >> 30) } else { format!("{} MiB", bytes >> 20) }
}

/// The port: who sees what there. `web`: what reading the web config came to, its oddities or why it is broken.
pub(super) fn server(server: &Server, web: &Result<Vec<String>, String>) -> Vec<Row> {
    let at = server.listen;
    let beyond = !at.ip().is_loopback();
    let odd = |sentence: &String| {
        let (seen, remedy) = halves(sentence);
        Row::warn(Part::Server, "port", seen, remedy)
    };
    let first = match (web, &server.web_config) {
        (Err(why), _) => {
            let (seen, remedy) = match why.split_once('\n') {
                None => halves(why),
                // Every mistake with its lines; here the first has to do.
                Some((first, _)) => (
                    first.trim_start_matches("error: ").to_owned(),
                    "`scopewatch check` shows every mistake in it, with what would be right".to_owned(),
                ),
            };
            return vec![Row::fail(Part::Server, "web_config", seen, remedy)];
        }
        (Ok(_), Some(path)) => {
            let seen = format!("{at} by the rules of {}; health is open to everybody", path.display());
            Row::ok(Part::Server, "web_config", seen)
        }
        (Ok(_), None) if beyond && server.open_page => Row::warn(
            Part::Server,
            "port",
            format!("{at}: page and API are open to whoever reaches it"),
            "ask for passwords or client certificates (server.web_config), or take server.open_page out",
        ),
        (Ok(_), None) if beyond => {
            let more = if server.lifecycle { ", reload and probe" } else { "" };
            Row::ok(Part::Server, "port", format!("{at}: metrics and health only{more}, no page and no API"))
        }
        (Ok(_), None) => Row::ok(Part::Server, "port", format!("{at}: for this machine alone")),
    };
    let odd = web.iter().flatten().map(odd);
    [first].into_iter().chain(odd).collect()
}

/// The store: whether it opens, can be written, and lies where it stays.
pub(super) fn store(ground: &Ground) -> Vec<Row> {
    let path = ground.path.as_str();
    let fault = |subject: &str, sentence: &str| {
        let (seen, remedy) = halves(sentence);
        Row::fail(Part::Store, subject, seen, remedy)
    };
    let mut rows = vec![match &ground.stored {
        Err(why) => fault("journal", &why.to_string()),
        Ok(None) => {
            Row::ok(Part::Store, "journal", format!("{path} is not there yet; the first round makes it"))
        }
        Ok(Some(stored)) if !stored.latched.is_empty() => Row::warn(
            Part::Store,
            "journal",
            format!("{path} opens; creating is latched off in {}", stored.latched.join(", ")),
            "look at `scopewatch canaries list`, then `scopewatch canaries unlatch`",
        ),
        Ok(Some(stored)) if stored.unfinished > 0 => Row::warn(
            Part::Store,
            "journal",
            format!("{path} opens; canaries that are unfinished in it: {}", stored.unfinished),
            "a round looks after them; `scopewatch canaries list` shows them",
        ),
        Ok(Some(_)) => {
            Row::ok(Part::Store, "journal", format!("{path} opens, and nothing in it is unfinished"))
        }
    }];
    rows.push(match (&ground.held, &ground.written) {
        (Err(why), _) => fault("writing", &why.to_string()),
        (Ok(true), _) => Row::ok(Part::Store, "writing", "a running scopewatch holds it; it was only read"),
        (Ok(false), None) if ground.shared => {
            Row::ok(Part::Store, "writing", "no replica leads at this moment; it was only read")
        }
        (Ok(false), Some(Err(kind))) => unwritable(path, *kind),
        (Ok(false), Some(Ok(()))) => {
            Row::ok(Part::Store, "writing", "its directory takes what is written, durably")
        }
        (Ok(false), None) => Row::warn(
            Part::Store,
            "writing",
            "it could not be tried in time",
            "look at the disk under store.url",
        ),
    });
    rows.extend(ground.medium.map(medium));
    rows.push(match &ground.key {
        Ok(Some(place)) => Row::ok(Part::Store, "key", format!("the key of canary names is in {place}")),
        Ok(None) => {
            Row::ok(Part::Store, "key", "the key of canary names is made beside it by the first round")
        }
        Err(sentence) => fault("key", sentence),
    });
    rows
}

fn unwritable(path: &str, kind: ErrorKind) -> Row {
    let (why, remedy) = match kind {
        ErrorKind::NotFound | ErrorKind::NotADirectory => (
            "its directory does not exist",
            "create the directory for scopewatch's user, or correct store.url",
        ),
        ErrorKind::PermissionDenied => (
            "this user may not write it or its directory",
            "give them to scopewatch's user (chown), or run this as that user",
        ),
        ErrorKind::ReadOnlyFilesystem => {
            ("its file system is read-only", "mount it for writing, or let store.url name another place")
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            ("the disk or a quota is full", "free some space")
        }
        _ => ("the disk refuses", "look at the disk and the kernel's log"),
    };
    Row::fail(Part::Store, "writing", format!("{path} cannot be written: {why}"), remedy)
}

fn medium(medium: Medium) -> Row {
    let room = mebibytes(medium.free);
    if medium.free < ROOM.1 {
        return Row::fail(Part::Store, "disk", format!("only {room} are free"), "free some space");
    }
    let kind = UNSAFE.iter().find(|(magic, ..)| *magic == medium.magic);
    if let Some((_, name, why)) = kind {
        let seen = format!("{room} are free, but it is {name}: {why}");
        return Row::warn(
            Part::Store,
            "disk",
            seen,
            "keep it on a local disk or a volume that outlives the process",
        );
    }
    if medium.free < ROOM.0 {
        return Row::warn(Part::Store, "disk", format!("only {room} are free"), "free some space");
    }
    Row::ok(Part::Store, "disk", format!("{room} are free, on a file system that stays"))
}

/// A sink that was sent a test alert.
pub(super) fn posted(name: &str, kind: &str, posted: Posted) -> Row {
    match posted {
        Posted::Taken => Row::ok(
            Part::Sinks,
            name,
            format!("the {kind} took a test alert (ScopewatchWatchdog, target test) and its end"),
        ),
        Posted::NoSecret(fault) => unreadable(name, &fault),
        Posted::Stuck => Row::fail(
            Part::Sinks,
            name,
            "what it needs cannot be read in time",
            "look at the disk on which its secrets lie",
        ),
        Posted::Refused(trouble) => {
            let sentence =
                trouble.map_or_else(|| "it did not take it; see its own log".to_owned(), |t| t.to_string());
            let (seen, remedy) = halves(&sentence);
            Row::fail(Part::Sinks, name, format!("the {kind} did not take a test alert: {seen}"), remedy)
        }
    }
}

fn unreadable(name: &str, fault: &crate::secret::SecretFault) -> Row {
    let (seen, remedy) = halves(&fault.to_string());
    Row::fail(Part::Sinks, name, format!("its address or its secret {seen}"), remedy)
}

/// A sink that was sent nothing, for this reason.
pub(super) fn unposted(name: &str, fault: Option<crate::secret::SecretFault>, why: &str) -> Row {
    match fault {
        Some(fault) => unreadable(name, &fault),
        None => Row::ok(Part::Sinks, name, format!("what it needs can be read; nothing was sent ({why})")),
    }
}

/// No sink at all.
pub(super) fn no_sinks(config: &Config) -> Option<Row> {
    config.alerts.sinks.is_empty().then(|| {
        Row::ok(
            Part::Sinks,
            "none",
            "no alerts are sent; the rules for Prometheus in deploy/ wake people instead",
        )
    })
}

/// Where something of a secret stood, and whose; `looked` is where was looked.
pub(super) fn leaks(count: usize, looked: &[&str], found: &[(&str, String)]) -> Vec<Row> {
    if found.is_empty() {
        let seen = format!(
            "{}, one of them made up, and nowhere eight characters of one: {}",
            super::super::counted(count, "secret"),
            looked.join(", ")
        );
        return vec![Row::ok(Part::Leaks, "all", seen)];
    }
    let row = |(place, whose): &(&str, String)| {
        Row::fail(
            Part::Leaks,
            *place,
            format!("eight characters or more of the secret of {whose} stand in it"),
            "stop scopewatch, replace that token on the Hub, and report this",
        )
    };
    found.iter().map(row).collect()
}

//! `init`: a few questions, and a commented config that is valid and holds no secret.
//!
//! Pure are `text` (answers → YAML) and `answers` (what is wrong with one); `ask` loops over a reader and a writer.
//! Here is what touches terminal and disk.

mod answers;
mod ask;
#[cfg(test)]
mod tests;
mod text;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, ErrorKind, IsTerminal, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use clap::Args;

use crate::app::{self, Fault};
use crate::config::{Parsed, StorePlace};
use crate::plan::quota::{Known, budget};
use crate::plan::scopes::own_tokens;
use crate::render::shell_word;
use crate::secret::Place;

use super::{Exit, complain_mildly, counted, say};
use answers::{Answers, HUB, Named};
use ask::{Asker, Line, Who};

#[derive(Debug, Default, Args)]
pub(super) struct InitArgs {
    /// The organization on the Hub, by its exact name.
    #[arg(long, value_name = "NAME")]
    org: Option<String>,
    /// A token to watch, by a name of yours; may be given more than once.
    #[arg(long, value_name = "NAME")]
    token: Vec<String>,
    /// The token that observes and cleans up, by a name of yours; `-` for none.
    #[arg(long, value_name = "NAME")]
    janitor: Option<String>,
    /// Where the secret of one token will lie: a file, or env:NAME. Never the secret itself.
    #[arg(long, value_name = "TOKEN=PLACE")]
    secret: Vec<String>,
    /// Where the secrets of the others will lie, each in a file named like its token.
    #[arg(long, value_name = "DIRECTORY", default_value = "/run/secrets")]
    secrets: String,
    /// A token that should be able to create repositories; may be given more than once.
    #[arg(long, value_name = "TOKEN")]
    may_create: Vec<String>,
    /// A repository that a token should be able to write to (ORG/NAME, dataset:ORG/NAME); without `TOKEN=`, each token.
    #[arg(long, value_name = "[TOKEN=]REPO")]
    may_write: Vec<String>,
    /// A private repository that a token must not write to; without `TOKEN=`, each token.
    #[arg(long, value_name = "[TOKEN=]REPO")]
    must_not_write: Vec<String>,
    /// A resource group in which creating is tried, too; `-` for none.
    #[arg(long, value_name = "NAME")]
    resource_group: Option<String>,
    /// Whether private repositories may be made, and deleted at once, to see what tokens may create.
    #[arg(long, value_name = "yes|no")]
    canaries: Option<String>,
    /// Instead: try creating on the name of this repository, which makes nothing; `-` for not at all.
    #[arg(long, value_name = "REPO")]
    sentinel: Option<String>,
    /// The file (or address) in which the journal is kept.
    #[arg(long, value_name = "FILE|URL")]
    store: Option<String>,
    /// The Hub.
    #[arg(long, value_name = "URL", default_value = HUB)]
    endpoint: String,
    /// Where the config goes; `-` is stdout.
    #[arg(long, value_name = "FILE", default_value = "scopewatch.yaml")]
    output: PathBuf,
    /// Put the new config in the place of a file that is there.
    #[arg(long)]
    force: bool,
    /// Ask nothing: flags and defaults.
    #[arg(long)]
    yes: bool,
}

/// How long is waited for a piped answer: a pipe that nobody writes to must not hold it for ever.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest line that is read, in bytes.
const LINE_LIMIT: u64 = 64 * 1024;

pub(super) fn run(args: &InitArgs) -> Result<Exit, Fault> {
    let to_stdout = args.output == Path::new("-");
    if !to_stdout {
        // Before anybody has answered in vain.
        free(&args.output, args.force)?;
    }
    let who = match (args.yes, io::stdin().is_terminal()) {
        (true, _) => Who::Nobody,
        (false, true) => Who::Person,
        (false, false) => Who::Pipe,
    };
    let mut lines = lines(who);
    let mut out = anstream::stderr();
    let answers = ask::gather(args, &mut Asker { who, lines: &mut lines, out: &mut out })?;
    let text = text::render(&answers);
    let parsed = answers::parsed(&answers).map_err(Fault::Usage)?;
    if to_stdout {
        say(&text)?;
    } else {
        write(&args.output, &text, args.force)?;
    }
    for warning in &parsed.warnings {
        complain_mildly(warning);
    }
    let next = next_steps(&args.output, &answers, &parsed);
    if to_stdout {
        // Where stderr is gone there is nobody left to tell.
        let _ = out.write_all(next.as_bytes());
        return Ok(Exit::Ok);
    }
    say(&next)
}

/// The lines of stdin, one at a time. A thread reads them, so that a pipe in which nothing comes ends the waiting and
/// not the program.
fn lines(who: Who) -> impl FnMut() -> Line {
    let (sender, receiver) = channel();
    if who != Who::Nobody {
        std::thread::spawn(move || {
            let mut input = io::stdin().lock();
            while let Some(line) = read_line(&mut input) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    move || next_line(&receiver, who)
}

fn next_line(lines: &Receiver<String>, who: Who) -> Line {
    let line = match who {
        Who::Person => lines.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Who::Pipe | Who::Nobody => lines.recv_timeout(PATIENCE),
    };
    line.map_or(Line::End, Line::Answer)
}

/// The next line without its end; what is not UTF-8 is replaced, which no answer's reader accepts.
fn read_line(input: &mut impl BufRead) -> Option<String> {
    let mut bytes = Vec::new();
    match input.take(LINE_LIMIT).read_until(b'\n', &mut bytes) {
        Ok(0) | Err(_) => None,
        Ok(_) => {
            Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).replace('\u{fffd}', "\0"))
        }
    }
}

fn unwritten(path: &Path, why: &str) -> Fault {
    Fault::Usage(format!("the config cannot be written to '{}': {why}", path.display()))
}

/// Whether nothing is in the way.
fn free(path: &Path, force: bool) -> Result<(), Fault> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => Err(unwritten(path, "it is a directory; name a file by --output")),
        Ok(_) if !force => Err(taken(path)),
        _ => Ok(()),
    }
}

fn taken(path: &Path) -> Fault {
    unwritten(path, "there is a file already; name another by --output, or replace it by --force")
}

/// Writes it whole or not at all, readable by everybody: it holds no secret, and the daemon may run as another user.
fn write(path: &Path, text: &str, force: bool) -> Result<(), Fault> {
    let fault = |error: &io::Error| {
        let why = match error.kind() {
            ErrorKind::NotFound => {
                "its directory does not exist; create it, or name another file by --output"
            }
            ErrorKind::PermissionDenied => "this user may not write there; name another file by --output",
            _ => return unwritten(path, &error.kind().to_string()),
        };
        unwritten(path, why)
    };
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.new", std::process::id()));
    let draft = PathBuf::from(draft);
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&draft)?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if force {
            return fs::rename(&draft, path);
        }
        // Unlike a renaming, a link never takes the place of what is there.
        fs::hard_link(&draft, path)
    };
    let result = written();
    if result.is_err() || !force {
        // Its name may be the only thing that is left of it.
        let _ = fs::remove_file(&draft);
    }
    if result.is_ok()
        && let Ok(directory) =
            File::open(path.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new(".")))
    {
        // The text itself is safe; that its name is may fail where directories cannot be synced.
        let _ = directory.sync_all();
    }
    result.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => taken(path),
        _ => fault(&error),
    })
}

/// What was written, and what to type next.
fn next_steps(output: &Path, answers: &Answers, parsed: &Parsed) -> String {
    let config = &parsed.config;
    let checks: usize = config.tokens.iter().map(|token| token.checks.len()).sum();
    let (file, shown) = match output.to_str() {
        Some("-") => ("FILE".to_owned(), "the config".to_owned()),
        _ => (shell_word(&output.to_string_lossy()), output.display().to_string()),
    };
    let (tokens, checks) = (counted(config.tokens.len(), "token"), counted(checks, "check"));
    let mut text = format!("{shown} is written: {tokens}, {checks}. Next:\n\n");
    text.push_str(
        "  1. Put each token where the config says, for nobody else to read (paste, Enter, Ctrl-D):\n",
    );
    let all: Vec<&Named> =
        answers.janitor.iter().chain(answers.tokens.iter().map(|token| &token.token)).collect();
    for named in all {
        text.push_str(&match &named.place {
            Place::File(path) => {
                format!("       (umask 077; cat > {})\n", shell_word(&path.to_string_lossy()))
            }
            Place::Env(name) => {
                format!("       the variable {name}, in the environment of scopewatch only\n")
            }
        });
    }
    if let StorePlace::Sqlite(file) = &config.store
        && let Some(directory) = file.parent().filter(|directory| !directory.as_os_str().is_empty())
    {
        let directory = shell_word(&directory.to_string_lossy());
        text.push_str(&format!(
            "     And make the journal's directory, for the user that scopewatch runs as:\n       (umask 077; mkdir -p {directory})\n"
        ));
    }
    let round = budget(config, &[], false, &Known::default(), app::wall_now()).round;
    for own in own_tokens(config, &round, &Known::default()) {
        let needs: Vec<&str> = own.needs.iter().map(|need| need.permission).collect();
        text.push_str(&format!(
            "     The {} needs {}; its user's role: {}.\n     The Hub's page for it, filled in: {}\n",
            own.purpose,
            needs.join(", "),
            own.role.split(':').next().unwrap_or(own.role),
            own.link
        ));
    }
    for (number, (command, why)) in [
        ("check", "every mistake at once; touches no network"),
        ("doctor", "secrets, Hub, clock, tokens, store and sinks, each with what to do"),
        ("audit", "one round now; --read-only to begin with changes nothing on the Hub"),
    ]
    .iter()
    .enumerate()
    {
        let command = format!("scopewatch {command} --config {file}");
        text.push_str(&format!("  {}. {command:<44} # {why}\n", number + 2));
    }
    text
}

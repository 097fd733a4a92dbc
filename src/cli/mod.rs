//! The command line: what each command is called, takes and answers with its exit code.
//!
//! Results go to stdout, everything else to stderr. Secrets are never accepted as arguments.

mod audit;
mod baseline;
mod canaries;
#[cfg(feature = "simulator")]
mod demo;
mod doctor;
mod evidence;
mod explain;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod foreign;
mod healthcheck;
#[cfg(feature = "simulator")]
mod hub;
mod init;
mod matrix;
mod plan;
mod plan_table;
#[cfg(test)]
#[cfg(feature = "simulator")]
mod tests;

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::app::{self, Confinement, Fault, Start};
use crate::logging::{self, Format, Level, Scrub};
use crate::secret::shapes;

/// What the process answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Ok = 0,
    /// Drift, or something is left.
    Drift = 1,
    /// Usage, config, secrets' places, store or port.
    Usage = 2,
    /// Nothing unexpected, but something unknown.
    Unknown = 3,
    /// A fault of ours.
    Internal = 4,
    /// Ended from outside before its end.
    Interrupted = 130,
}

/// Shows what an organization's Hugging Face access tokens can really do.
#[derive(Debug, Parser)]
#[command(name = "scopewatch", version, max_term_width = 100, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    talk: Talk,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Talk {
    /// What a line of the log looks like.
    #[arg(long, global = true, value_name = "text|json", default_value = "text", value_parser = word::<Format>)]
    log_format: Format,
    /// The least important log lines that are shown: error, warn, info, debug, trace.
    #[arg(long, global = true, value_name = "LEVEL", value_parser = word::<Level>)]
    log_level: Option<Level>,
    /// Only errors in the log, and no progress bar.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// More of the log; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Args)]
struct ConfigArg {
    /// The config file; `scopewatch schema` and config/scopewatch.yaml say what may stand in it.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// No unsafe method ever leaves the process; checks that need one are unknown.
    #[arg(long)]
    read_only: bool,
    /// Keep every system call and every place to write to. Where the daemon works only with this, please report it.
    #[arg(long)]
    no_confinement: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon: probes on its schedules and serves metrics, API and page.
    Serve(ServeArgs),
    /// One round now, a report, and the end. Exit 0 all ok, 1 drift, 2 usage or config, 3 something unknown.
    Audit(audit::AuditArgs),
    /// One round now, and the `expect` entries that would make it ok. Exit 0, 2 usage or config, 3 something unknown.
    Baseline(baseline::BaselineArgs),
    /// Why a check comes out as it does: expected, declared, predicted, observed, and the fix. Exit 0, 1 drift, 2
    /// usage or config, 3 unknown.
    Explain(explain::ExplainArgs),
    /// Validates a config: every mistake at once. Touches no network.
    Check {
        #[command(flatten)]
        config: ConfigArg,
    },
    /// What a round would ask, call by call, before anything is asked. Needs no network and no secret.
    Plan(plan::PlanArgs),
    /// Asks the daemon of this config, on this machine, whether it answers. Exit 0, 1 if it does not, 2 usage or config.
    Healthcheck(healthcheck::HealthcheckArgs),
    /// The journal of canaries. Exit 0, 1 if something is left, 2 usage or config.
    Canaries(canaries::CanariesArgs),
    /// Asks a few questions and writes a commented config that holds no secret. Exit 0, 2 usage.
    Init(Box<init::InitArgs>),
    /// Tests config, secrets, the way to the Hub, clock, tokens, store and sinks, and says what to mend. Exit 0 (warnings
    /// allowed), 1 something fails, 2 usage or config.
    Doctor(doctor::DoctorArgs),
    /// The record of what happened: verify it, or export it. Exit 0, 1 if it is broken, 2 usage or config.
    Evidence(evidence::EvidenceArgs),
    /// Everything in one process on an embedded Hub: a token is widened, found, narrowed again.
    #[cfg(feature = "simulator")]
    Demo(demo::DemoArgs),
    /// The simulated Hub alone.
    #[cfg(feature = "simulator")]
    Hub(hub::HubArgs),
    /// The JSON Schema of the config or of the report, or the OpenAPI document of the HTTP side.
    Schema {
        /// Of what.
        #[arg(value_enum, default_value_t = Described::Config)]
        of: Described,
    },
    /// Completions for a shell.
    Completions {
        /// bash, elvish, fish, powershell or zsh.
        shell: clap_complete::Shell,
    },
    /// The manual: one page, or with --output a page for every command.
    Man {
        /// Write the pages into this directory, which is made if it is not there.
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
}

/// Said instead of anything that would repeat it.
const TOKEN_AS_ARGUMENT: &str = "one of the arguments looks like an access token, and every user of this machine can \
                                 read arguments; put the token into a file that the config names, and replace it on \
                                 the Hub if anybody else uses this machine";

/// What there is a schema of.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Described {
    /// The config file.
    Config,
    /// What `audit --format json` and `GET /api/v1/report` answer.
    Report,
    /// Every route of the daemon.
    Api,
}

impl Described {
    fn schema(self) -> serde_json::Value {
        match self {
            Described::Config => crate::config::schema(),
            Described::Report => crate::render::report_schema(),
            Described::Api => crate::serve::openapi(),
        }
    }
}

/// Reads one of a closed list of words.
fn word<T: std::str::FromStr<Err = ()>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|()| "not one of the words that may stand here".to_owned())
}

/// Everything: arguments, log, runtime, command, exit code.
pub fn main() -> ExitCode {
    // Before anything that could hold a secret, fail, or leave a file behind.
    let open = app::harden();
    logging::hide_panics();
    if std::env::args_os().any(|argument| !shapes(argument.as_encoded_bytes()).is_empty()) {
        complain(TOKEN_AS_ARGUMENT);
        return ExitCode::from(Exit::Usage as u8);
    }
    let scrub = Scrub::new();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not mistakes. A closed pipe is nobody's mistake either.
            let _ = if error.use_stderr() {
                // The sentence repeats what was typed, and that may be a secret in the wrong place.
                write!(anstream::stderr(), "{}", scrub.clean(&error.render().ansi().to_string()))
            } else {
                error.print()
            };
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
        }
    };
    let outcome = match cli.command {
        Command::Serve(args) => serve(&args, &cli.talk, &open, scrub.clone()),
        command => start_log(&cli.talk, false, &open, scrub.clone())
            .and_then(|()| run(command, &cli.talk, scrub.clone())),
    };
    logging::own_up(&scrub);
    logging::finish();
    let exit = match outcome {
        Ok(exit) => exit,
        Err(fault) => {
            complain(&scrub.clean(&fault.to_string()));
            match fault {
                Fault::Usage(_) => Exit::Usage,
                Fault::Internal(_) => Exit::Internal,
                Fault::Interrupted(_) => Exit::Interrupted,
            }
        }
    };
    ExitCode::from(exit as u8)
}

/// Starts the log, and says what is open of the process.
fn start_log(talk: &Talk, daemon: bool, open: &[&str], scrub: Scrub) -> Result<(), Fault> {
    // A person at a terminal reads the result, not the log; the daemon's log is all there is to read.
    let usual = if daemon { Level::Info } else { Level::Error };
    let level = talk.log_level.unwrap_or(match (talk.quiet, talk.verbose) {
        (true, _) => Level::Error,
        (false, 0) => usual,
        (false, 1) => Level::Debug,
        (false, _) => Level::Trace,
    });
    let color = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    logging::start(talk.log_format, level, color, scrub, daemon)
        .map_err(|error| Fault::Internal(error.to_string()))?;
    for warning in open {
        tracing::warn!("{warning}");
    }
    Ok(())
}

/// The daemon. What it gives up of writing it gives up thread by thread, so before the log and the runtime start any.
fn serve(args: &ServeArgs, talk: &Talk, open: &[&str], scrub: Scrub) -> Result<Exit, Fault> {
    let confinement = if args.no_confinement { Confinement::Off } else { Confinement::Full };
    let start = Start::read(&args.config.config, args.read_only, confinement)?;
    start_log(talk, true, open, scrub.clone())?;
    block_on(async move { app::serve(start, scrub, asked_to_stop()?).await.map(|()| Exit::Ok) })
}

fn run(command: Command, talk: &Talk, scrub: Scrub) -> Result<Exit, Fault> {
    let progress = !talk.quiet && io::stderr().is_terminal();
    match command {
        Command::Serve(args) => serve(&args, talk, &[], scrub),
        Command::Audit(args) => block_on(audit::run(args, scrub, progress)),
        Command::Explain(args) => block_on(explain::run(args, scrub)),
        Command::Baseline(args) => block_on(baseline::run(args, scrub, progress)),
        Command::Check { config } => check(&config.config),
        Command::Plan(args) => block_on(plan::run(args)),
        Command::Healthcheck(args) => block_on(healthcheck::run(args)),
        Command::Canaries(args) => block_on(canaries::run(args, scrub)),
        Command::Init(args) => init::run(&args),
        Command::Doctor(args) => block_on(doctor::run(args, scrub, progress)),
        Command::Evidence(args) => block_on(evidence::run(args)),
        #[cfg(feature = "simulator")]
        Command::Demo(args) => block_on(demo::run(args, scrub)),
        #[cfg(feature = "simulator")]
        Command::Hub(args) => block_on(hub::run(args)),
        Command::Schema { of } => say(&format!("{:#}\n", of.schema())),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "scopewatch", &mut text);
            say(&String::from_utf8_lossy(&text))
        }
        Command::Man { output } => man(output.as_deref()),
    }
}

fn check(path: &std::path::Path) -> Result<Exit, Fault> {
    let loaded = app::load_config(path)?;
    let of_web = app::check_web_config(&loaded.config)?;
    for warning in loaded.warnings.iter().chain(&of_web) {
        complain_mildly(warning);
    }
    let config = &loaded.config;
    let checks: usize = config.tokens.iter().map(|token| token.checks.len()).sum();
    say(&format!(
        "{} is valid: {}, {}, {}\n",
        path.display(),
        counted(config.organizations.len(), "organization"),
        counted(config.tokens.len(), "token"),
        counted(checks, "check"),
    ))
}

fn man(output: Option<&std::path::Path>) -> Result<Exit, Fault> {
    if let Some(directory) = output {
        let written = std::fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
        return written.map(|()| Exit::Ok).map_err(|error| {
            Fault::Usage(format!(
                "the manual cannot be written to '{}' ({}); name a directory that may be written",
                directory.display(),
                error.kind()
            ))
        });
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut text)
        .map_err(|error| Fault::Internal(format!("the manual cannot be made ({error})")))?;
    say(&String::from_utf8_lossy(&text))
}

/// Runs a command on the runtime.
fn block_on(command: impl Future<Output = Result<Exit, Fault>>) -> Result<Exit, Fault> {
    crate::probe::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .map_err(|error| Fault::Internal(format!("no runtime can be started ({error})")))?;
    let result = runtime.block_on(command);
    // A read that hangs on a dead disk must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

/// Ends when somebody wants the process to end: SIGTERM, or Ctrl-C.
fn asked_to_stop() -> Result<impl Future<Output = ()>, Fault> {
    use tokio::signal::unix::{SignalKind, signal};
    let handler = |kind| signal(kind).map_err(|error| Fault::Internal(format!("no signal handler: {error}")));
    let (mut term, mut interrupt) = (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// "1 token", "2 tokens".
fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Writes a result. A reader that has gone away is no fault.
fn say(text: &str) -> Result<Exit, Fault> {
    let mut out = anstream::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Exit::Ok),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(error) => Err(Fault::Internal(format!("the result cannot be written ({})", error.kind()))),
    }
}

/// Says what went wrong. Where even that cannot be written, the exit code has to do.
fn complain(text: &str) {
    let text = text.trim_end();
    // Mistakes of a config are many lines and begin with the word themselves.
    let lead = if text.starts_with("error") { "" } else { "error: " };
    let _ = writeln!(anstream::stderr(), "{lead}{text}");
}

fn complain_mildly(text: &str) {
    let lead = if text.starts_with("warning") { "" } else { "warning: " };
    let _ = writeln!(anstream::stderr(), "{lead}{text}");
}

//! `audit`: one round now, the report, and an exit code for scripts.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::access::{TokenName, Verdict};
use crate::app::{self, Fault, Once, Progress};
use crate::config::Config;
use crate::logging::Scrub;
use crate::render::{self, Round};
use crate::report::{Finding, FindingKind, Report};

use super::{ConfigArg, Exit, asked_to_stop, complain_mildly, matrix, say};

#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Only this token; may be given more than once.
    #[arg(long, value_name = "NAME")]
    token: Vec<String>,
    /// How the report looks.
    #[arg(long, value_enum, default_value_t = Shape::Table)]
    format: Shape,
    /// Where the report goes; stdout if not given.
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// No unsafe method ever leaves the process; checks that need one are unknown.
    #[arg(long)]
    read_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// For people.
    Table,
    /// For scripts; the shape of the API, which `scopewatch schema report` describes.
    Json,
    /// For code scanning: SARIF 2.1.0, each result at the line of the config that expects otherwise.
    Sarif,
    /// For CI: JUnit XML, a suite a token.
    Junit,
    /// For a comment on a pull request, or a page of a wiki.
    Markdown,
}

pub(super) async fn run(args: AuditArgs, scrub: Scrub, progress: bool) -> Result<Exit, Fault> {
    let loaded = app::load_config(&args.config.config)?;
    for warning in &loaded.warnings {
        complain_mildly(warning);
    }
    let config = loaded.config;
    let only = named(&config, &args.token)?;
    if let Some(path) = &args.output {
        writable(path)?;
    }
    let once = Once { probe: true, only: only.clone(), read_only: args.read_only, ..Once::default() };
    let bar = progress.then(|| progress_bar(&config, &only));
    let ticking: Option<Progress> = bar.clone().map(|bar| -> Progress { Box::new(move || bar.inc(1)) });
    let done = app::run_once(config.clone(), once, scrub, ticking, asked_to_stop()?).await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let done = done?;
    let Some(report) = done.report else {
        return Err(Fault::Interrupted(
            "the round was stopped before its end; what it had begun is cleaned up or in the journal"
                .to_owned(),
        ));
    };
    let text = written(args.format, &config, &report, &done.snapshot.findings)?;
    if args.format != Shape::Table || args.output.is_some() {
        tell_apart(&report, &done.snapshot.findings);
    }
    match &args.output {
        None => {
            say(&text)?;
        }
        Some(path) => {
            let plain = match args.format {
                Shape::Table => anstream::adapter::strip_str(&text).to_string(),
                _ => text,
            };
            std::fs::write(path, plain).map_err(|error| {
                Fault::Usage(format!(
                    "the report cannot be written to '{}' ({})",
                    path.display(),
                    error.kind()
                ))
            })?
        }
    }
    Ok(exit(&report))
}

/// The report in the format that was asked for.
fn written(format: Shape, config: &Config, report: &Report, findings: &[Finding]) -> Result<String, Fault> {
    let failed =
        |error: &dyn std::fmt::Display| Fault::Internal(format!("the report cannot be written ({error})"));
    let here = std::env::current_dir().ok();
    let round = Round { config, report, findings, version: app::VERSION, base: here.as_deref() };
    match format {
        Shape::Table => Ok(matrix::render(config, report, findings)),
        Shape::Json => serde_json::to_string_pretty(report).map(|json| json + "\n").map_err(|e| failed(&e)),
        Shape::Sarif => render::sarif(&round).map_err(|e| failed(&e)),
        Shape::Junit => render::junit(&round).map_err(|e| failed(&e)),
        Shape::Markdown => Ok(render::markdown(&round)),
    }
}

/// Whether the report can be written where it is to go: asked before anything is done on the Hub.
fn writable(path: &Path) -> Result<(), Fault> {
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
    opened.map(|_| ()).map_err(|error| {
        let why = match error.kind() {
            ErrorKind::NotFound => {
                "its directory does not exist; create it, or name another --output".to_owned()
            }
            ErrorKind::IsADirectory => "it is a directory; name a file".to_owned(),
            kind => format!("{kind}; name another --output"),
        };
        Fault::Usage(format!("the report cannot be written to '{}': {why}", path.display()))
    })
}

/// Where the report itself is for a program, a person still gets the sentences.
fn tell_apart(report: &Report, findings: &[Finding]) {
    for result in report.results.iter().filter(|result| result.verdict != Verdict::Ok) {
        complain_mildly(&result.explanation());
    }
    for finding in findings.iter().filter(|f| f.resolved_at.is_none() && f.kind == FindingKind::TokenUnusable)
    {
        complain_mildly(&finding.detail);
    }
}

/// Drift before unknown: who sees both must act on the drift.
fn exit(report: &Report) -> Exit {
    let summary = report.summary;
    if summary.unexpected_grant + summary.unexpected_denial > 0 {
        Exit::Drift
    } else if summary.unknown > 0 {
        Exit::Unknown
    } else {
        Exit::Ok
    }
}

/// The tokens of these names; a name that is not in the config is a mistake, never silently nothing.
pub(super) fn named(config: &Config, names: &[String]) -> Result<Vec<TokenName>, Fault> {
    names
        .iter()
        .map(|name| {
            let token = TokenName::new(name);
            if config.token(&token).is_some() {
                return Ok(token);
            }
            let near = config
                .tokens
                .iter()
                .map(|t| t.name.as_str())
                .map(|known| (strsim::damerau_levenshtein(name, known), known))
                .filter(|(slips, known)| slips * 3 <= known.len().max(3))
                .min()
                .map(|(_, known)| format!("; did you mean '{known}'?"));
            Err(Fault::Usage(format!("there is no token '{name}' in the config{}", near.unwrap_or_default())))
        })
        .collect()
}

pub(super) fn progress_bar(config: &Config, only: &[TokenName]) -> ProgressBar {
    let checks: usize = config
        .tokens
        .iter()
        .filter(|token| only.is_empty() || only.contains(&token.name))
        .map(|token| token.checks.len())
        .sum();
    let bar = ProgressBar::with_draw_target(Some(checks as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("probing {wide_bar} {pos}/{len} checks, {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}

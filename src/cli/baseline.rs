//! `baseline`: one round now, and today's answers as `expect` entries for a person to read and to paste.

use std::sync::Arc;

use clap::Args;

use crate::app::{self, Fault, Once, Progress};
use crate::baseline::{self, Baseline};
use crate::config::Config;
use crate::logging::Scrub;

use super::{ConfigArg, Exit, asked_to_stop, audit, complain_mildly, say};

#[derive(Debug, Args)]
pub(super) struct BaselineArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Only this token; may be given more than once.
    #[arg(long, value_name = "NAME")]
    token: Vec<String>,
    /// Also ask, of tokens that have expectations, everything else that changes nothing. Tokens of which nothing
    /// is expected are always asked so.
    #[arg(long)]
    all: bool,
    /// No unsafe method ever leaves the process; what needs one is unknown.
    #[arg(long)]
    read_only: bool,
}

pub(super) async fn run(args: BaselineArgs, scrub: Scrub, progress: bool) -> Result<Exit, Fault> {
    let loaded = app::load_config(&args.config.config)?;
    for warning in &loaded.warnings {
        complain_mildly(warning);
    }
    let only = audit::named(&loaded.config, &args.token)?;
    let asked = Arc::new(baseline::asking(&loaded.config, &only, args.all));
    let bar = progress.then(|| audit::progress_bar(&asked, &only));
    let ticking: Option<Progress> = bar.clone().map(|bar| -> Progress { Box::new(move || bar.inc(1)) });
    let once = Once { probe: true, only, read_only: args.read_only, observe: true, ..Once::default() };
    let captured = observe(&loaded.config, asked, once, scrub, ticking, asked_to_stop()?).await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let captured = captured?;
    say(&captured.text)?;
    Ok(if captured.unknown > 0 { Exit::Unknown } else { Exit::Ok })
}

pub(super) async fn observe(
    config: &Config,
    asked: Arc<Config>,
    once: Once,
    scrub: Scrub,
    progress: Option<Progress>,
    stop: impl Future<Output = ()>,
) -> Result<Baseline, Fault> {
    let only = once.only.clone();
    let done = app::run_once(asked.clone(), once, scrub, progress, stop).await?;
    let report = done.report.ok_or_else(|| {
        Fault::Interrupted(
            "the round was stopped before its end; what it had begun is cleaned up or in the journal"
                .to_owned(),
        )
    })?;
    Ok(baseline::capture(config, &asked, &report, &only))
}

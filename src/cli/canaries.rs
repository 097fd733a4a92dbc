//! `canaries`: the journal for people. List it, finish what is unfinished, close what only a person can judge.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::app::{self, Fault, Once};
use crate::intent::Canary;
use crate::logging::Scrub;
use crate::report::Snapshot;
use crate::store::Breaker;

use super::{Exit, asked_to_stop, counted, say};

#[derive(Debug, Args)]
pub(super) struct CanariesArgs {
    /// The config file; may stand before or after what is to be done.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Shows the journal, newest first. Works beside a running daemon.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Looks at every unfinished canary now, deletes what is proven ours, and searches for what the journal lost.
    Sweep,
    /// Closes a canary in quarantine, or one still unknown after its horizon, once you have looked on the Hub.
    Close {
        /// The number that `list` shows.
        id: i64,
    },
    /// Clears the breaker after an accident, so that canaries are made again.
    Unlatch,
}

pub(super) async fn run(args: CanariesArgs, scrub: Scrub) -> Result<Exit, Fault> {
    let path = args.config.ok_or_else(|| {
        Fault::Usage("--config FILE is needed: the journal lies where the config says".to_owned())
    })?;
    let config = app::load_config(&path)?.config;
    match args.action {
        Action::List { json } => {
            let (canaries, latched) = app::list_canaries(&config).await?;
            say(&if json { as_json(&canaries, &latched)? } else { listed(&canaries) + &off(&latched) })?;
            Ok(left(&canaries))
        }
        Action::Sweep => {
            let once = Once { sweep: true, ..Once::default() };
            let done = app::run_once(config, once, scrub, None, asked_to_stop()?).await?;
            let told = orphans(&done.snapshot);
            if done.unfinished.is_empty() && told.is_empty() {
                return say("nothing is left: every canary is refused, or deleted and seen gone\n");
            }
            let journal = if done.unfinished.is_empty() { String::new() } else { listed(&done.unfinished) };
            say(&(journal + &told))?;
            Ok(Exit::Drift)
        }
        Action::Close { id } => {
            app::close_canary(&config, id).await?;
            say(&format!("canary {id} is closed\n"))
        }
        Action::Unlatch => {
            let (names, past) = app::unlatch(&config).await?;
            if names.is_empty() {
                return say("no breaker was latched\n");
            }
            // This may be the first that anybody hears of it.
            let past = past
                .map(|told| format!("{told}; look for what is left with `scopewatch canaries sweep`\n"))
                .unwrap_or_default();
            say(&format!("{past}canaries are on again for {}\n", names.join(", ")))
        }
    }
}

/// What the search found that the journal does not know, and where it could not be read.
fn orphans(snapshot: &Snapshot) -> String {
    snapshot.sweeps.iter().fold(String::new(), |mut text, sweep| {
        for orphan in &sweep.orphans {
            let _ = writeln!(
                text,
                "{orphan} bears our signature and is not in the journal: delete it by hand, or set adopt_authentic for '{}'",
                sweep.organization
            );
        }
        if !sweep.complete {
            let _ = writeln!(
                text,
                "'{}' could not be searched to the end: let its janitor list repositories, then sweep again",
                sweep.organization
            );
        }
        text
    })
}

fn left(canaries: &[Canary]) -> Exit {
    if canaries.iter().any(Canary::unfinished) { Exit::Drift } else { Exit::Ok }
}

fn listed(canaries: &[Canary]) -> String {
    if canaries.is_empty() {
        return "no canary was ever planned\n".to_owned();
    }
    let mut text = String::new();
    for canary in canaries {
        let open = if canary.unfinished() { "unfinished" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:>5}  {}  {:<11}  {:<10}  {:<7}  {}",
            canary.id,
            canary.planned_at,
            canary.shown(),
            open,
            canary.kind,
            canary.repo
        );
        let _ = writeln!(text, "       made with '{}': {}", canary.token, canary.note);
    }
    let unfinished = canaries.iter().filter(|canary| canary.unfinished()).count();
    let _ = writeln!(text, "{}, {unfinished} unfinished", counted(canaries.len(), "intent"));
    text
}

/// Where nothing is created until a person has looked, and at what.
fn off(latched: &[Breaker]) -> String {
    latched.iter().fold(String::new(), |mut text, breaker| {
        let Breaker { organization, at, why } = breaker;
        let _ = writeln!(
            text,
            "creating in {organization} is latched off since {at}: {why}; then `scopewatch canaries unlatch`"
        );
        text
    })
}

fn as_json(canaries: &[Canary], latched: &[Breaker]) -> Result<String, Fault> {
    let shown: Vec<serde_json::Value> = canaries
        .iter()
        .map(|canary| {
            serde_json::json!({
                "id": canary.id,
                "organization": canary.repo.namespace,
                "repo": canary.repo.to_string(),
                "type": canary.kind,
                "token": canary.token,
                "state": canary.shown(),
                "journal_state": canary.state,
                "unfinished": canary.unfinished(),
                "planned_at": canary.planned_at,
                "note": canary.note,
            })
        })
        .collect();
    let latched: Vec<serde_json::Value> = latched
        .iter()
        .map(|off| serde_json::json!({ "organization": off.organization, "since": off.at, "why": off.why }))
        .collect();
    serde_json::to_string_pretty(&serde_json::json!({ "schema": 1, "canaries": shown, "latched": latched }))
        .map(|json| format!("{json}\n"))
        .map_err(|error| Fault::Internal(format!("the list cannot be written ({error})")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        canaries: CanariesArgs,
    }

    #[test]
    fn the_config_may_stand_on_either_side() {
        for words in [["_", "--config", "a.yaml", "list"], ["_", "list", "--config", "a.yaml"]] {
            let parsed = Alone::try_parse_from(words).expect("it is understood").canaries;
            assert_eq!(parsed.config, Some(PathBuf::from("a.yaml")));
        }
        let parsed = Alone::try_parse_from(["_", "sweep"]).expect("it is understood").canaries;
        assert_eq!(parsed.config, None);
    }
}

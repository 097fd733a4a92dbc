//! `healthcheck`: whether the daemon of a config answers, for container runtimes.

use clap::Args;

use crate::app::{self, Fault};
use crate::serve::is_well;

use super::{ConfigArg, Exit, complain};

#[derive(Debug, Args)]
pub(super) struct HealthcheckArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Ask whether it is ready, and not only whether it answers.
    #[arg(long)]
    ready: bool,
}

pub(super) async fn run(args: HealthcheckArgs) -> Result<Exit, Fault> {
    let loaded = app::load_config(&args.config.config)?;
    let server = &loaded.config.server;
    let tls = app::speaks_tls(&loaded.config)?;
    match is_well(server.listen, tls, args.ready).await {
        Ok(()) => Ok(Exit::Ok),
        Err(why) => {
            complain(&format!("{why}; see the daemon's log"));
            Ok(Exit::Drift)
        }
    }
}

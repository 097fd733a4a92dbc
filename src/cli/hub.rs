//! `hub`: the simulated Hub alone, for trying a config or a client against it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tokio::net::TcpListener;

use crate::app::Fault;
use crate::simulator::{World, serve};

use super::{Exit, asked_to_stop, say};

#[derive(Debug, Args)]
pub(super) struct HubArgs {
    /// Where it listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8099")]
    listen: SocketAddr,
    /// Who is who in it; config/demo-world.yaml is an example.
    #[arg(long, value_name = "FILE")]
    world: PathBuf,
}

pub(super) async fn run(args: HubArgs) -> Result<Exit, Fault> {
    let path = args.world.display();
    let text = std::fs::read_to_string(&args.world)
        .map_err(|error| Fault::Usage(format!("the world '{path}' cannot be read ({})", error.kind())))?;
    let world = World::from_yaml(&text)
        .map_err(|error| Fault::Usage(format!("the world '{path}' is not valid: {error}")))?;
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| Fault::Usage(format!("cannot listen on {}: {}", args.listen, error.kind())))?;
    let address = listener.local_addr().map_err(|error| Fault::Internal(error.to_string()))?;
    say(&format!(
        "the simulated Hub listens on http://{address} (HF_ENDPOINT=http://{address}); Ctrl-C ends it\n"
    ))?;
    serve(listener, world, asked_to_stop()?)
        .await
        .map_err(|error| Fault::Internal(format!("the simulated Hub failed ({})", error.kind())))?;
    Ok(Exit::Ok)
}

//! Whose turn it is to write to the journal. Of a file it is whoever opened it; of a database that several replicas share
//! it is whoever holds the lease, for as long as it is renewed.
//!
//! A turn that is lost is noticed here at the latest when the lease is over by our own clock. What makes that safe is
//! elsewhere: the store writes nothing without the lease, and nothing is sent that it does not vouch for.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::store::{self, Lease, RENEW_EVERY, Store, StoreFault, WRITER};

use super::clock::wall_now;
use super::{Fault, dice, files};

/// After a renewal that failed it is tried again so soon.
const AGAIN: Duration = Duration::from_secs(1);

/// How long giving a lease back may take, before it is left to expire.
const GIVING_BACK: Duration = Duration::from_secs(1);

/// The store of this config, to read it or to have turns of writing to it; of a file that is the one turn. What is wrong with
/// the store itself is the inner fault.
pub(super) async fn open(config: &Config, mode: store::Mode) -> Result<Result<Store, StoreFault>, Fault> {
    Ok(match (files::server(config)?, super::sqlite_path(config)) {
        (Some(server), _) => Store::connect(server, mode).await,
        (None, Some(path)) => Store::open(path, mode, wall_now()).await,
        (None, None) => return Err(Fault::Internal("the config names no store".to_owned())),
    })
}

/// The name of this process among the replicas.
pub(super) fn own_name() -> String {
    HEXLOWER.encode(&dice()())
}

/// One turn of writing.
pub(super) struct Turn {
    lease: Option<Lease>,
    /// Cancelled when it was lost.
    pub lost: CancellationToken,
    keeper: JoinSet<()>,
}

impl Turn {
    /// Takes the turn, if nobody has it. Whoever opened a file has it already.
    pub(super) async fn take(store: &Arc<Store>, name: &str) -> Result<Option<Turn>, StoreFault> {
        let lost = CancellationToken::new();
        let mut keeper = JoinSet::new();
        if !store.is_shared() {
            return Ok(Some(Turn { lease: None, lost, keeper }));
        }
        let Some(lease) = store.take(WRITER, name).await? else { return Ok(None) };
        // Judging a long record may take longer than the lease; nobody takes it meanwhile, and it begins anew at the end.
        match store.lead(&lease, wall_now()).await {
            Ok(lease) => {
                keeper.spawn(keep(store.clone(), lease.clone(), lost.clone()));
                Ok(Some(Turn { lease: Some(lease), lost, keeper }))
            }
            Err(fault) => {
                let _ = timeout(GIVING_BACK, store.release(&lease)).await;
                Err(fault)
            }
        }
    }

    /// The turn of a run that does not wait for it.
    pub(super) async fn now(store: &Arc<Store>) -> Result<Turn, Fault> {
        Turn::take(store, &own_name()).await?.ok_or_else(|| store.is_taken().into())
    }

    /// Whether it was lost before it was given back.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Lets the next one begin at once.
    pub(super) async fn give_back(mut self, store: &Store) {
        self.keeper.shutdown().await;
        if let Some(lease) = self.lease {
            // Else it expires.
            let _ = timeout(GIVING_BACK, store.release(&lease)).await;
        }
    }
}

/// Renews the lease until it is lost: somebody else has it, or it is over before a renewal went through.
async fn keep(store: Arc<Store>, mut lease: Lease, lost: CancellationToken) {
    let mut pause = RENEW_EVERY;
    loop {
        sleep(pause).await;
        pause = match timeout_at(lease.until, store.renew(&lease)).await {
            Ok(Ok(Some(renewed))) => {
                lease = renewed;
                RENEW_EVERY
            }
            Ok(Err(_)) if Instant::now() + AGAIN < lease.until => AGAIN,
            Ok(Ok(None) | Err(_)) | Err(_) => return lost.cancel(),
        };
    }
}

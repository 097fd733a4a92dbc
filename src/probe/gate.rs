//! The last question about a request that may change something: may it still leave? Asked when its connection
//! stands, because names, TCP and TLS take time in which what it was decided on may have changed.
//!
//! What the answer rests on is the caller's; this room asks, once, right before the request is written.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tower::{Layer, Service};

/// Says whether a request may leave at this moment.
pub type MayLeave = dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync;

tokio::task_local! {
    /// Of the request that this task sends.
    static GATE: Gate;
}

#[derive(Clone)]
struct Gate {
    may_leave: Arc<MayLeave>,
    refused: Arc<AtomicBool>,
}

/// Carries out what sends a request; then whether the gate kept it back.
pub(super) async fn guarded<F: Future>(may_leave: Arc<MayLeave>, sending: F) -> (F::Output, bool) {
    let refused = Arc::new(AtomicBool::new(false));
    let gate = Gate { may_leave, refused: refused.clone() };
    let output = GATE.scope(gate, sending).await;
    (output, refused.load(Ordering::Acquire))
}

/// The same work, which takes the question along to whatever task carries it out.
pub(super) fn carried<F: Future>(sending: F) -> impl Future<Output = F::Output> {
    let gate = GATE.try_with(Gate::clone).ok();
    async move {
        match gate {
            Some(gate) => GATE.scope(gate, sending).await,
            None => sending.await,
        }
    }
}

/// The request was kept back.
#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the request may not leave any more")
    }
}

impl Error for Refused {}

/// Puts the question behind the making of each connection. A client that keeps none makes one for each request, in
/// the task that sends it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gated;

impl<S> Layer<S> for Gated {
    type Service = Gatekeeper<S>;

    fn layer(&self, connect: S) -> Gatekeeper<S> {
        Gatekeeper { connect }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Gatekeeper<S> {
    connect: S,
}

type BoxError = Box<dyn Error + Send + Sync>;

impl<S, Address> Service<Address> for Gatekeeper<S>
where
    S: Service<Address, Error = BoxError>,
    S::Future: Send + 'static,
    S::Response: Send,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connect.poll_ready(context)
    }

    fn call(&mut self, address: Address) -> Self::Future {
        let connecting = self.connect.call(address);
        Box::pin(async move {
            let connection = connecting.await?;
            if let Ok(gate) = GATE.try_with(Gate::clone)
                && !(gate.may_leave)().await
            {
                gate.refused.store(true, Ordering::Release);
                return Err(Refused.into());
            }
            Ok(connection)
        })
    }
}

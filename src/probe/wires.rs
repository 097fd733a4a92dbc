//! The threads on which connections live, apart from everything else of the daemon.
//!
//! What a server sends is taken apart by a parser that is not ours and may go on for seconds without a pause: the
//! size of a chunk may begin with any number of zeros. Here that holds up other connections to the same endpoint,
//! but no deadline, no decision, and nobody who asks whether the daemon is alive.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// One that is held up leaves another.
const THREADS: usize = 2;

/// Their runtime; there until it is dropped.
pub(super) struct Wires(Option<Runtime>);

impl Wires {
    pub(super) fn new() -> io::Result<Wires> {
        let runtime =
            Builder::new_multi_thread().worker_threads(THREADS).thread_name("probe").enable_all().build()?;
        Ok(Wires(Some(runtime)))
    }

    /// Does this there, and brings the result back; `None` if it broke down. Whoever stops waiting ends it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let task = self.0.as_ref()?.spawn(work);
        AbortOnDropHandle::new(task).await.ok()
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Waiting for the threads here would block who drops it, and one of them may be held up.
            runtime.shutdown_background();
        }
    }
}

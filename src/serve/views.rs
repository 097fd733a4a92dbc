//! The bodies of the API, each written once for a snapshot and kept until there is another; and that of the metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::body::Bytes;
use serde::Serialize;

use crate::access::TokenName;
use crate::intent::{Canary, CanaryState, DeleteOutcome, Deleter, ShownState};
use crate::moment::Timestamp;
use crate::report::{Finding, Report, Snapshot};

/// The exposition of the metrics, written by one for all who wait for it. Nobody is given one that was begun before
/// he asked, so that what he did before asking is in it.
pub(super) struct Exposition<T> {
    asked: AtomicU64,
    last: Arc<tokio::sync::Mutex<(u64, Option<T>)>>,
}

impl<T> Default for Exposition<T> {
    fn default() -> Exposition<T> {
        Exposition { asked: AtomicU64::new(0), last: Arc::default() }
    }
}

impl<T: Clone + Send + 'static> Exposition<T> {
    /// What `write` gives, which may take its time; `None` if it broke.
    pub(super) async fn of<W>(&self, write: W) -> Option<T>
    where
        W: FnOnce() -> T + Send + 'static,
    {
        let mine = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut last = Arc::clone(&self.last).lock_owned().await;
        if last.0 >= mine {
            return last.1.clone();
        }
        let all_before = self.asked.load(Ordering::SeqCst);
        // Not on the threads that probe and that answer for health: with many tokens it is megabytes. The turn goes with
        // it, or those who ask and leave at once would have any number written at the same time.
        let written = tokio::task::spawn_blocking(move || {
            let written = write();
            // Kept for those who are waiting; who comes later is given another.
            *last = (all_before, Some(written.clone()));
            written
        });
        written.await.ok()
    }
}

/// Version of the shape of findings and canaries.
const SCHEMA: u32 = 1;

/// All bodies that are kept.
#[derive(Default)]
pub(super) struct Views {
    report: Kept<Report>,
    findings: Kept<Snapshot>,
    canaries: Kept<Snapshot>,
}

/// A body and what it was written of. While the weak pointer lives, no other value can have its address.
struct Kept<T>(Mutex<Option<(Weak<T>, Bytes)>>);

impl<T> Default for Kept<T> {
    fn default() -> Kept<T> {
        Kept(Mutex::default())
    }
}

impl<T> Kept<T> {
    /// The kept body when it was written of this very value, else a new one.
    fn of<E>(&self, value: &Arc<T>, write: impl FnOnce(&T) -> Result<Vec<u8>, E>) -> Result<Bytes, E> {
        // Held while writing, so that a crowd of readers makes one of them write.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let this = Arc::downgrade(value);
        if let Some((of, body)) = kept.as_ref()
            && of.ptr_eq(&this)
        {
            return Ok(body.clone());
        }
        let body = Bytes::from(write(value)?);
        *kept = Some((this, body.clone()));
        Ok(body)
    }
}

impl Views {
    /// The last round's report.
    pub(super) fn report(&self, report: &Arc<Report>) -> Result<Bytes, serde_json::Error> {
        self.report.of(report, serde_json::to_vec)
    }

    /// All findings.
    pub(super) fn findings(&self, snapshot: &Arc<Snapshot>) -> Result<Bytes, serde_json::Error> {
        self.findings.of(snapshot, |s| {
            let findings = s.findings.iter().map(|f| FindingOut { id: f.key().id(), finding: f }).collect();
            serde_json::to_vec(&FindingsShown { schema: SCHEMA, findings })
        })
    }

    /// All canaries of the journal that are not done with.
    pub(super) fn canaries(&self, snapshot: &Arc<Snapshot>) -> Result<Bytes, serde_json::Error> {
        self.canaries.of(snapshot, |s| {
            let canaries = s.canaries.iter().map(CanaryOut::of).collect();
            serde_json::to_vec(&CanariesShown { schema: SCHEMA, canaries })
        })
    }
}

#[derive(Serialize)]
struct FindingsShown<'a> {
    schema: u32,
    findings: Vec<FindingOut<'a>>,
}

/// A finding as the API shows it, with the name by which machines know it again.
#[derive(Serialize)]
struct FindingOut<'a> {
    id: String,
    #[serde(flatten)]
    finding: &'a Finding,
}

#[derive(Serialize)]
struct CanariesShown<'a> {
    schema: u32,
    canaries: Vec<CanaryOut<'a>>,
}

/// A canary as the API shows it.
#[derive(Serialize)]
struct CanaryOut<'a> {
    id: i64,
    organization: &'a str,
    repo: String,
    #[serde(rename = "type")]
    kind: &'static str,
    token: &'a TokenName,
    state: ShownState,
    journal_state: CanaryState,
    planned_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    repo_id: Option<&'a str>,
    next_at: Option<Timestamp>,
    deletes: Vec<DeleteOut>,
    note: &'a str,
}

/// One DELETE as the API shows it.
#[derive(Serialize)]
struct DeleteOut {
    at: Timestamp,
    by: Deleter,
    outcome: DeleteOutcome,
}

impl CanaryOut<'_> {
    fn of(canary: &Canary) -> CanaryOut<'_> {
        CanaryOut {
            id: canary.id,
            organization: &canary.repo.namespace,
            repo: canary.repo.to_string(),
            kind: canary.kind.as_str(),
            token: &canary.token,
            state: canary.shown(),
            journal_state: canary.state,
            planned_at: canary.planned_at,
            repo_id: canary.repo_id.as_deref(),
            next_at: canary.next_at,
            deletes: canary
                .deletes
                .iter()
                .map(|delete| DeleteOut { at: delete.at, by: delete.by, outcome: delete.outcome })
                .collect(),
            note: &canary.note,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_and_leaves_keeps_his_turn_until_it_is_written() {
        let exposition: Exposition<String> = Exposition::default();
        let (begun, begin) = tokio::sync::oneshot::channel();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let leaves = exposition.of(move || {
            // Whoever is told may be gone, and the other one too.
            let _ = begun.send(());
            let _ = wait.recv();
            "the first".to_owned()
        });
        tokio::select! {
            _ = leaves => panic!("it is held up"),
            begun = begin => begun.expect("it is being written"),
        }
        assert!(exposition.last.try_lock().is_err(), "nobody else may begin while it is being written");
        go_on.send(()).expect("the first waits");
        let second = exposition.of(|| "the second".to_owned()).await;
        assert_eq!(second.as_deref(), Some("the second"));
    }

    #[tokio::test]
    async fn who_waits_shares_what_was_begun_after_he_asked_and_nothing_older() {
        let exposition = Exposition::default();
        let written = Arc::new(AtomicU64::new(0));
        let (begun, begin) = tokio::sync::oneshot::channel();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let count = |written: &Arc<AtomicU64>| {
            let written = Arc::clone(written);
            move || (written.fetch_add(1, Ordering::SeqCst) + 1).to_string()
        };
        let number = count(&written);
        let first = exposition.of(move || {
            // Whoever is told may be gone, and the other one too.
            let _ = begun.send(());
            let _ = wait.recv();
            number()
        });
        let others = async {
            begin.await.expect("the first writes");
            let all = async {
                tokio::join!(
                    exposition.of(count(&written)),
                    exposition.of(count(&written)),
                    exposition.of(count(&written))
                )
            };
            tokio::pin!(all);
            tokio::select! {
                biased;
                _ = &mut all => panic!("they wait for the first"),
                () = std::future::ready(()) => {}
            }
            go_on.send(()).expect("the first waits");
            all.await
        };
        let (first, (second, third, fourth)) = tokio::join!(first, others);
        assert_eq!(first.as_deref(), Some("1"));
        assert_eq!([second, third, fourth].map(|text| text.expect("written")), ["2"; 3].map(str::to_owned));
        assert_eq!(exposition.of(count(&written)).await.as_deref(), Some("3"));
    }

    #[tokio::test]
    async fn a_broken_writer_does_not_break_the_next() {
        let exposition: Exposition<&str> = Exposition::default();
        assert_eq!(exposition.of(|| panic!("broken")).await, None);
        assert_eq!(exposition.of(|| "x").await, Some("x"));
    }
}

//! Every metric, declared once: what the daemon does as counters and histograms, what it knows as gauges
//! written straight from the snapshot (`state`).
//!
//! Each `Metrics` has a registry of its own, so that two daemons live in one process without meeting.
//! `tests/metrics.catalogue` lists every name, type and label; a test compares it with what is exposed.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod foreign;
mod format;
mod page;
#[cfg(test)]
mod plain_tests;
mod state;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};

use crate::access::{Access, DenyReason, Permission, UnknownReason, words};
use crate::alert::message::Tidings;
use crate::alert::outbox::Outcome;
use crate::moment::Timestamp;
use crate::report::Snapshot;
use page::Packer;
pub use page::{Packed, Page, Pieces};

words! {
    /// What became of a canary, as counted.
    CanaryEvent {
        /// Known to exist.
        Created = "created",
        /// Known to be gone again.
        Deleted = "deleted",
        /// Left to a person.
        Abandoned = "abandoned",
        /// Something with a canary's name that is not ours.
        Foreign = "foreign",
    }
}

words! {
    /// What protects the process.
    described Hardening {
        /// No other process of its user may read its memory, and no core of it is written.
        Dumpable = "dumpable",
        /// Its core dumps are limited to nothing.
        Core = "core",
        /// It does not run as root.
        Root = "root",
        /// Its memory does not come to lie in swap.
        Swap = "swap",
        /// Its system calls are filtered.
        Seccomp = "seccomp",
        /// It can write only beside its store.
        Landlock = "landlock",
        /// It can gain no privileges by starting a program.
        NewPrivileges = "new_privileges",
        /// It has no capability.
        Capabilities = "capabilities",
    }
}

/// The store's operations that are counted when they fail.
pub const STORE_OPERATIONS: [&str; 3] = ["open", "load", "write"];

/// What becomes of requests that one replica sends for another: carried for the leader; of the leader's own, answered by
/// others, or returned by them unsent.
pub const ERRANDS: [&str; 3] = ["carried", "answered", "returned"];

/// What stands in for "no round yet".
const NEVER: i64 = i64::MIN;

const PROBE_SECONDS: [f64; 11] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
const REQUEST_SECONDS: [f64; 10] = [0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const ROUND_SECONDS: [f64; 11] = [0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0];

/// The daemon's metrics; cheap to clone, all clones count into the same numbers.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    probes: IntCounterVec,
    probe_duration: HistogramVec,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    canaries: IntCounterVec,
    organizations: Mutex<Vec<String>>,
    round_duration: Histogram,
    round_finished: AtomicI64,
    rounds_skipped: IntCounter,
    reload_successful: GaugeVec,
    reload_success_at: GaugeVec,
    web_reload_successful: GaugeVec,
    leader: GaugeVec,
    waiting: GaugeVec,
    errands: IntCounterVec,
    durability: GaugeVec,
    hardening: GaugeVec,
    store_errors: IntCounterVec,
    notifications: IntCounterVec,
    evidence_records: IntCounter,
    /// The hash of the last entry; `None` before the record is open.
    evidence_head: Mutex<Option<String>>,
    packer: Packer,
}

/// Takes what a constructor of the prometheus crate gave, and registers it.
#[expect(clippy::expect_used, reason = "names, labels and buckets are constants: a test that starts sees it")]
fn declare<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    // Names, labels and buckets are constants of this file: whatever could fail here fails in every test.
    let metric = made.expect("a metric's name, labels and buckets are valid");
    registry.register(Box::new(metric.clone())).expect("no metric is declared twice");
    metric
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    declare(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

/// A gauge that is absent until it is first set, unlike one without labels, which would begin at 0.
fn absent_gauge(registry: &Registry, name: &str, help: &str) -> GaugeVec {
    declare(registry, GaugeVec::new(Opts::new(name, help), &[]))
}

fn histograms(registry: &Registry, name: &str, help: &str, label: &str, buckets: &[f64]) -> HistogramVec {
    let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    declare(registry, HistogramVec::new(opts, &[label]))
}

fn set(gauge: &GaugeVec, value: f64) {
    gauge.with_label_values::<&str>(&[]).set(value);
}

fn store_errors(registry: &Registry) -> IntCounterVec {
    let help = "Operations of the store that failed.";
    counters(registry, "scopewatch_store_errors_total", help, &["operation"])
}

fn hardening(registry: &Registry) -> GaugeVec {
    let help = "Whether the process is protected in this respect, as of its start; absent where the system does not tell.";
    declare(registry, GaugeVec::new(Opts::new("scopewatch_hardening", help), &["check"]))
}

fn web_reload(registry: &Registry) -> GaugeVec {
    let help =
        "Whether the last attempt to read server.web_config and its files succeeded; absent without one.";
    absent_gauge(registry, "scopewatch_web_config_last_reload_successful", help)
}

fn canaries(registry: &Registry) -> IntCounterVec {
    let help = "Canary repositories, by what became of them.";
    counters(registry, "scopewatch_canaries_total", help, &["organization", "event"])
}

fn leader(registry: &Registry) -> GaugeVec {
    let help = "Whether this replica leads: it probes, writes and tells; absent without several replicas.";
    absent_gauge(registry, "scopewatch_leader", help)
}

fn waiting(registry: &Registry) -> GaugeVec {
    let help = "Replicas that wait while this one leads, by whether their organizations, tokens, checks and hub are the leader's (same) or not (other), so that they cannot help it.";
    declare(registry, GaugeVec::new(Opts::new("scopewatch_replicas_waiting", help), &["config"]))
}

fn errands(registry: &Registry) -> IntCounterVec {
    let help = "Questions that one replica sends for another: carried for the leader; of the leader's own, answered by others or returned unsent.";
    counters(registry, "scopewatch_errands_total", help, &["outcome"])
}

fn durability(registry: &Registry) -> GaugeVec {
    let help = "Where a write to the journal lies when it is acknowledged: on the machine of its store alone (local), or on a standby as well (remote).";
    declare(registry, GaugeVec::new(Opts::new("scopewatch_journal_durability", help), &["level"]))
}

fn notifications(registry: &Registry) -> IntCounterVec {
    let help = "Messages to sinks, by what they say and what became of them; repetitions to a sink that forgets are none.";
    counters(registry, "scopewatch_notifications_total", help, &["sink", "event", "outcome"])
}

impl Metrics {
    /// All metrics at their beginning: every counter whose labels are a closed list stands at 0.
    pub fn new(version: &str, revision: &str) -> Metrics {
        let registry = Registry::new();
        let r = &registry;
        #[cfg(target_os = "linux")]
        declare_process(r);
        declare_build(r, version, revision);
        let round = HistogramOpts::new("scopewatch_round_duration_seconds", "Duration of a round of checks.")
            .buckets(ROUND_SECONDS.to_vec());
        let skipped = "Rounds that were due while another was still running, and were left out.";
        let records = "Entries of the record of evidence, those of earlier runs included.";
        let inner = Inner {
            probes: counters(
                r,
                "scopewatch_probes_total",
                "Answers of probes, by permission, access found and its reason (empty when allowed).",
                &["permission", "access", "reason"],
            ),
            probe_duration: histograms(
                r,
                "scopewatch_probe_duration_seconds",
                "Duration of a probe with all its requests.",
                "permission",
                &PROBE_SECONDS,
            ),
            requests: counters(
                r,
                "scopewatch_hub_requests_total",
                "Requests to the Hub, by route and by status (exact for 4xx) or kind of failure.",
                &["endpoint", "code"],
            ),
            request_duration: histograms(
                r,
                "scopewatch_hub_request_duration_seconds",
                "Duration of a request to the Hub until its answer or failure.",
                "endpoint",
                &REQUEST_SECONDS,
            ),
            canaries: canaries(r),
            organizations: Mutex::default(),
            round_duration: declare(r, Histogram::with_opts(round)),
            round_finished: AtomicI64::new(NEVER),
            rounds_skipped: declare(r, IntCounter::new("scopewatch_rounds_skipped_total", skipped)),
            reload_successful: absent_gauge(
                r,
                "scopewatch_config_last_reload_successful",
                "Whether the last attempt to load the configuration succeeded.",
            ),
            reload_success_at: absent_gauge(
                r,
                "scopewatch_config_last_reload_success_timestamp_seconds",
                "When the configuration was last loaded successfully.",
            ),
            web_reload_successful: web_reload(r),
            leader: leader(r),
            waiting: waiting(r),
            errands: errands(r),
            durability: durability(r),
            hardening: hardening(r),
            store_errors: store_errors(r),
            notifications: notifications(r),
            evidence_records: declare(r, IntCounter::new("scopewatch_evidence_records_total", records)),
            evidence_head: Mutex::default(),
            packer: Packer::default(),
            registry,
        };
        let metrics = Metrics(Arc::new(inner));
        metrics.prefill();
        metrics
    }

    /// Touches every series whose labels are known beforehand, so that it is there at 0.
    fn prefill(&self) {
        for permission in Permission::ALL {
            self.probes(*permission, Access::Allowed);
            for why in DenyReason::ALL {
                self.probes(*permission, Access::Denied(*why));
            }
            for why in UnknownReason::ALL {
                self.probes(*permission, Access::Undetermined(*why));
            }
        }
        for operation in STORE_OPERATIONS {
            self.0.store_errors.with_label_values(&[operation]);
        }
    }

    fn probes(&self, permission: Permission, found: Access) -> IntCounter {
        let labels = [permission.as_str(), found.as_str(), found.reason().unwrap_or("")];
        self.0.probes.with_label_values(&labels)
    }

    /// Counts the answer of a probe.
    pub fn count_probe(&self, permission: Permission, found: Access) {
        self.probes(permission, found).inc();
    }

    /// Records how long a probe took.
    pub fn observe_probe(&self, permission: Permission, took: Duration) {
        self.0.probe_duration.with_label_values(&[permission.as_str()]).observe(took.as_secs_f64());
    }

    /// Puts the Hub's routes at 0, for code `2xx`; other codes appear when they are first seen.
    pub fn set_routes(&self, routes: &[&'static str]) {
        for route in routes {
            self.0.requests.with_label_values(&[*route, "2xx"]);
        }
    }

    /// Counts a request to the Hub: its route template and its status, or the closed word of its failure.
    pub fn count_request(&self, route: &'static str, outcome: Result<u16, &'static str>, took: Duration) {
        let exact;
        let code = match outcome {
            Ok(100..=199) => "1xx",
            Ok(200..=299) => "2xx",
            Ok(300..=399) => "3xx",
            Ok(status @ 400..=499) => {
                exact = status.to_string();
                &exact
            }
            Ok(500..=599) => "5xx",
            Ok(_) => "other",
            Err(failure) => failure,
        };
        self.0.requests.with_label_values(&[route, code]).inc();
        self.0.request_duration.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    /// Puts the counters of every configured organization at 0 and drops those of removed ones.
    pub fn set_organizations<S: AsRef<str>>(&self, names: &[S]) {
        let names: Vec<String> = names.iter().map(|name| format::cut(name.as_ref()).into_owned()).collect();
        for name in &names {
            for event in CanaryEvent::ALL {
                self.0.canaries.with_label_values(&[name.as_str(), event.as_str()]);
            }
        }
        let mut known = self.0.organizations.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in known.iter().filter(|name| !names.contains(name)) {
            for event in CanaryEvent::ALL {
                // Fails only where the series is not there, which is what is wanted.
                let _ = self.0.canaries.remove_label_values(&[gone.as_str(), event.as_str()]);
            }
        }
        *known = names;
    }

    /// Counts what became of a canary of this organization.
    pub fn count_canary(&self, organization: &str, event: CanaryEvent) {
        self.0.canaries.with_label_values(&[&*format::cut(organization), event.as_str()]).inc();
    }

    /// Records a completed round.
    pub fn observe_round(&self, took: Duration, finished: Timestamp) {
        self.0.round_duration.observe(took.as_secs_f64());
        self.0.round_finished.fetch_max(finished.millis(), Ordering::Relaxed);
    }

    /// Counts a round that was due and left out.
    pub fn count_skipped_round(&self) {
        self.0.rounds_skipped.inc();
    }

    /// Records an attempt to load the configuration, the one at start included.
    pub fn config_reloaded(&self, ok: bool, at: Timestamp) {
        set(&self.0.reload_successful, if ok { 1.0 } else { 0.0 });
        if ok {
            set(&self.0.reload_success_at, at.seconds());
        }
    }

    /// Records an attempt to read the web config, the one at start included; `None` where there is none.
    pub fn web_config_reloaded(&self, ok: Option<bool>) {
        match ok {
            Some(ok) => set(&self.0.web_reload_successful, if ok { 1.0 } else { 0.0 }),
            None => self.0.web_reload_successful.reset(),
        }
    }

    /// Records whether this replica leads, where there may be several.
    pub fn leads(&self, leads: bool) {
        set(&self.0.leader, if leads { 1.0 } else { 0.0 });
        self.0.waiting.reset();
        for outcome in ERRANDS {
            self.0.errands.with_label_values(&[outcome]);
        }
    }

    /// Records who waits while this replica leads: how many with its config, and how many with another.
    pub fn waiting(&self, alike: usize, unlike: usize) {
        for (config, count) in [("same", alike), ("other", unlike)] {
            self.0.waiting.with_label_values(&[config]).set(count as f64);
        }
    }

    /// Counts a request that one replica sends for another: one of [`ERRANDS`].
    pub fn count_errand(&self, outcome: &str) {
        self.0.errands.with_label_values(&[outcome]).inc();
    }

    /// Records where a write to the journal lies when it is acknowledged.
    pub fn durable(&self, level: &str) {
        self.0.durability.reset();
        self.0.durability.with_label_values(&[level]).set(1.0);
    }

    /// Records whether the process is protected in this respect.
    pub fn hardened(&self, check: Hardening, holds: bool) {
        self.0.hardening.with_label_values(&[check.as_str()]).set(if holds { 1.0 } else { 0.0 });
    }

    /// Counts what became of a message to a sink.
    pub fn count_notification(&self, sink: &str, tidings: Tidings, outcome: Outcome) {
        self.0.notifications.with_label_values(&[sink, tidings.as_str(), outcome.as_str()]).inc();
    }

    /// These sinks are configured: each of their counters is there from the start. A counter keeps what it has
    /// counted for a sink that left.
    pub fn set_sinks(&self, names: &[&str]) {
        for name in names {
            for tidings in Tidings::ALL {
                for outcome in Outcome::ALL {
                    self.0.notifications.with_label_values(&[name, tidings.as_str(), outcome.as_str()]);
                }
            }
        }
    }

    /// Counts a failed operation of the store; one of [`STORE_OPERATIONS`].
    pub fn count_store_error(&self, operation: &'static str) {
        self.0.store_errors.with_label_values(&[operation]).inc();
    }

    /// The record of evidence has so many entries, of which the last has this hash. It never loses any.
    pub fn evidence_stands(&self, entries: u64, hash: &str) {
        let mut head = self.0.evidence_head.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.evidence_records.inc_by(entries.saturating_sub(self.0.evidence_records.get()));
        *head = Some(hash.to_owned());
    }

    /// The exposition of this moment. The snapshot is taken after the counters were read, so that no round is counted
    /// whose results are not in it; `now` is what ages are measured against.
    pub fn page(&self, snapshot: impl FnOnce() -> Arc<Snapshot>, now: Timestamp) -> Page {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.0.registry.gather(), &mut text) {
            tracing::error!(%error, "some of the daemon's own metrics cannot be shown");
        }
        let observed = Some(self.0.round_finished.load(Ordering::Relaxed)).filter(|at| *at != NEVER);
        let snapshot = snapshot();
        let mut fresh = BytesMut::from(Bytes::from(text));
        {
            let head = self.0.evidence_head.lock().unwrap_or_else(PoisonError::into_inner);
            state::write_head(head.as_deref(), &mut fresh);
        }
        state::write_fresh(&snapshot, observed.map(Timestamp).max(snapshot.last_round), now, &mut fresh);
        Page { fresh: fresh.freeze(), snapshot }
    }

    /// The same, packed with gzip. The part that a snapshot says is kept until another is asked for.
    pub fn pack(&self, page: &Page) -> Packed {
        self.0.packer.pack(page)
    }
}

/// The version of this build, as labels.
fn declare_build(registry: &Registry, version: &str, revision: &str) {
    let help = "Version and source revision of this build; always 1.";
    let opts = Opts::new("scopewatch_build_info", help);
    let build = declare(registry, GaugeVec::new(opts, &["version", "revision"]));
    build.with_label_values(&[version, revision]).set(1.0);
}

/// The `process_` metrics; they need `/proc`.
#[cfg(target_os = "linux")]
#[expect(clippy::expect_used, reason = "the names are constants: a test that starts sees it")]
fn declare_process(registry: &Registry) {
    let process = prometheus::process_collector::ProcessCollector::for_self();
    registry.register(Box::new(process)).expect("no metric is declared twice");
}

//! Points at which a crash test ends or stops the process, each named once here and placed once by `failpoint!`.
//!
//! Only what touches the world has them: store, network, the loop between, start and stop. Without the cargo
//! feature `failpoints` the macro is nothing, and a build without debug assertions cannot have the feature, so that
//! no release does. Serves tests/crash, which says with an environment variable where the process is to die.

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!(
    "the feature `failpoints` is for crash tests; a build without debug assertions cannot have it"
);

/// `failpoint!("name")` is a point; `failpoint!("name", kind)` one for each kind of work, called `name.kind`;
/// `failpoint!("name", kind, while future)` is that future, with a point in the middle of its waiting.
#[cfg(feature = "failpoints")]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::failpoint::reach($name, "")
    };
    ($name:literal, $kind:expr) => {
        $crate::failpoint::reach($name, $kind)
    };
    ($name:literal, $kind:expr, while $future:expr) => {
        $crate::failpoint::watch($name, $kind, $future)
    };
}

#[cfg(not(feature = "failpoints"))]
macro_rules! failpoint {
    ($name:literal) => {};
    // The kind is checked, and never worked out.
    ($name:literal, $kind:expr) => {
        if false {
            let _ = $kind;
        }
    };
    ($name:literal, $kind:expr, while $future:expr) => {{
        failpoint!($name, $kind);
        $future
    }};
}

/// Every point, and of which kinds of work it is one; a kind is the last part of a route's template, or the state
/// to which a batch brings a canary. Other kinds pass without being points.
#[cfg(any(feature = "failpoints", test))]
#[rustfmt::skip]
const POINTS: &[(&str, &[&str])] = &[
    // The start.
    ("app.begun",       &[]),
    ("open.locked",     &[]),
    ("open.made",       &[]),
    ("open.connected",  &[]),
    ("open.checked",    &[]),
    ("migrate.begun",   &[]),
    ("migrate.scripted", &[]),
    ("migrate.recorded", &[]),
    ("migrate.done",    &[]),
    ("app.opened",      &[]),
    ("key.drafted",     &[]),
    ("key.synced",      &[]),
    ("key.renamed",     &[]),
    ("app.keyed",       &[]),
    ("app.loaded",      &[]),
    ("app.built",       &[]),
    ("serve.listening", &[]),
    // The loop.
    ("loop.begun",      &[]),
    ("loop.keys",       &[]),
    ("loop.recovered",  &[]),
    ("loop.stored",     &[]),
    ("loop.shown",      &[]),
    ("loop.reported",   &[]),
    ("loop.send",       &["create", "delete", "overview", "repo", "rev", "type", "whoami-v2"]),
    ("loop.landed",     &["create", "delete", "overview", "repo", "rev", "type", "whoami-v2"]),
    // One request.
    ("probe.before",    &["create", "delete", "repo"]),
    ("probe.waiting",   &["create", "delete", "repo"]),
    ("probe.headed",    &["create", "delete", "repo"]),
    ("probe.read",      &["create", "delete", "repo"]),
    // One batch; the rows in the order of the tables.
    ("write.asked",     &["planned", "deleting"]),
    ("write.begun",     &["planned", "deleting"]),
    ("write.filled",    &["planned", "created", "deleting", "del_unknown", "gone", "unknown", "rest"]),
    ("write.committed", &["planned", "created", "deleting", "del_unknown", "gone", "unknown", "rest"]),
    ("head.drafted",    &[]),
    ("head.replaced",   &[]),
    ("row.canary",      &["planned", "created", "deleting", "unknown"]),
    ("row.attempt",     &[]),
    ("row.evidence",    &["opened", "canary", "creation", "finding_began"]),
    ("row.sighting",    &[]),
    ("row.transition",  &["planned", "created", "deleting", "del_unknown"]),
    ("row.creation",    &[]),
    ("row.check",       &[]),
    ("row.answer",      &[]),
    ("row.finding",     &[]),
    ("row.alert",       &[]),
    ("row.owed",        &[]),
    ("row.declared",    &[]),
    // The end.
    ("serve.stopping",  &[]),
    ("loop.stopped",    &[]),
    ("loop.ended",      &[]),
    ("loop.drained",    &[]),
    ("app.ended",       &[]),
    ("store.closing",   &[]),
    ("store.closed",    &[]),
    ("serve.over",      &[]),
];

#[cfg(feature = "failpoints")]
pub use armed::{reach, watch};

#[cfg(feature = "failpoints")]
mod armed {
    //! What happens at a point: what the environment asks for, `NAME[@HIT]:kill|abort|stop|trace`, or nothing.

    use std::future::Future;
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::POINTS;

    const VARIABLE: &str = "SCOPEWATCH_FAILPOINT";
    /// How far into its waiting a watched future is interrupted.
    const MIDDLE: Duration = Duration::from_millis(150);
    /// Within this every thread has stopped.
    const STOPPING: Duration = Duration::from_millis(100);

    #[derive(Clone, Copy)]
    enum Action {
        Kill,
        Abort,
        Stop,
        /// Says the name of each point that is reached.
        Trace,
    }

    struct Order {
        point: String,
        /// Which time it is reached.
        hit: u64,
        action: Action,
        hits: AtomicU64,
    }

    fn complain(text: &str) {
        // Nobody may be listening.
        let _ = writeln!(std::io::stderr(), "failpoint: {text}");
    }

    fn named(point: &str, kind: &str) -> String {
        let kind = kind.rsplit('/').next().unwrap_or(kind).trim_matches(['{', '}']);
        if kind.is_empty() { point.to_owned() } else { format!("{point}.{kind}") }
    }

    fn is_point(name: &str) -> bool {
        POINTS.iter().any(|(point, kinds)| {
            if kinds.is_empty() {
                *point == name
            } else {
                kinds.iter().any(|kind| named(point, kind) == name)
            }
        })
    }

    fn parse(text: &str) -> Option<Order> {
        let (place, action) = text.split_once(':')?;
        let (point, hit) = place.split_once('@').unwrap_or((place, "1"));
        let action = match action {
            "kill" => Action::Kill,
            "abort" => Action::Abort,
            "stop" => Action::Stop,
            "trace" => Action::Trace,
            _ => return None,
        };
        let known = is_point(point) || matches!(action, Action::Trace);
        let order =
            Order { point: point.to_owned(), hit: hit.parse().ok()?, action, hits: AtomicU64::new(0) };
        known.then_some(order)
    }

    fn order() -> Option<&'static Order> {
        static ORDER: OnceLock<Option<Order>> = OnceLock::new();
        let read = || {
            #[expect(
                clippy::disallowed_methods,
                reason = "a crash test can say in no other way where to die; no release has this"
            )]
            let text = std::env::var(VARIABLE).ok()?;
            let order = parse(&text);
            if order.is_none() {
                complain(&format!("{VARIABLE}={text:?} names no point or nothing to do"));
                std::process::abort();
            }
            order
        };
        ORDER.get_or_init(read).as_ref()
    }

    fn kill() -> ! {
        let _ = kill_process(getpid(), Signal::KILL);
        // A signal that could not be sent must not look like a point that was survived.
        std::process::abort()
    }

    /// The process gets here.
    pub fn reach(point: &str, kind: &str) {
        let Some(order) = order() else { return };
        let name = named(point, kind);
        if matches!(order.action, Action::Trace) {
            if is_point(&name) {
                complain(&name);
            }
            return;
        }
        if name != order.point || order.hits.fetch_add(1, Ordering::Relaxed) + 1 != order.hit {
            return;
        }
        match order.action {
            Action::Abort => std::process::abort(),
            Action::Kill => kill(),
            Action::Stop => {
                let _ = kill_process(getpid(), Signal::STOP);
                // The signal may reach another thread first; this one must not get ahead meanwhile.
                #[expect(clippy::disallowed_methods, reason = "the whole process is being stopped")]
                std::thread::sleep(STOPPING);
            }
            Action::Trace => {}
        }
    }

    /// The future, with the point a moment after it began to wait.
    pub async fn watch<F: Future>(point: &str, kind: &str, future: F) -> F::Output {
        if order().is_none() {
            return future.await;
        }
        tokio::pin!(future);
        tokio::select! {
            biased;
            output = &mut future => return output,
            () = tokio::time::sleep(MIDDLE) => reach(point, kind),
        }
        future.await
    }
}

#[cfg(test)]
mod tests {
    //! Every point is named once and placed once, and nothing but the crash tests can switch them on.

    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use super::POINTS;

    /// The name of each `failpoint!` of a text, and whether it has kinds.
    fn placed(text: &str) -> Vec<(String, bool)> {
        let places = text.split("failpoint!(").skip(1);
        let named = places.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split_once('"'));
        named.map(|(name, rest)| (name.to_owned(), rest.starts_with(','))).collect()
    }

    fn walk(folder: &Path, found: &mut Vec<(String, bool)>) {
        for entry in fs::read_dir(folder).expect("src can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if !path.ends_with("src/failpoint.rs") {
                found.extend(placed(&fs::read_to_string(&path).expect("text")));
            }
        }
    }

    #[test]
    fn every_point_is_placed_once_and_none_is_unnamed() {
        let mut found = Vec::new();
        walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        let mut counts: BTreeMap<(String, bool), usize> = BTreeMap::new();
        for point in found {
            *counts.entry(point).or_default() += 1;
        }
        let named = POINTS.iter().map(|(name, kinds)| (((*name).to_owned(), !kinds.is_empty()), 1));
        assert_eq!(counts, named.collect(), "left: how often each is placed in src; right: POINTS");
        let all: usize = POINTS.iter().map(|(_, kinds)| kinds.len().max(1)).sum();
        assert!(all >= 60, "{all} points are too few to cover the way of a canary");
    }

    #[test]
    fn a_point_is_found_however_it_is_broken_over_lines() {
        let text = "failpoint!(\"a.b\"); failpoint!(\n  \"c.d\", x); let f = failpoint!(\"e\", x, while y);";
        let found = [("a.b", false), ("c.d", true), ("e", true)];
        assert_eq!(placed(text), found.map(|(name, kinds)| (name.to_owned(), kinds)));
    }

    /// The rest is the `compile_error!` above.
    #[test]
    fn neither_a_default_nor_the_release_profile_lets_them_in() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).expect("Cargo.toml");
        let of = |line: &str| manifest.lines().find(|l| l.starts_with(line)).unwrap_or_default().to_owned();
        assert!(of("default =").contains("simulator") && !of("default =").contains("failpoints"));
        assert!(!manifest.contains("debug-assertions"), "a profile must not bring them into a release");
    }
}

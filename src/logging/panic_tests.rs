//! Panics whose payload holds a secret: of every kind that Rust has, in every place where code of ours runs, before
//! the log is started, while it writes and afterwards.
//!
//! They happen in a process of their own, whose every output is searched. The same process without our hook is the
//! control: there the secret must be found, or this test could not fail.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::process::Command;

use super::*;

/// Says to the process what it is to do.
const ROLE: &str = "SCOPEWATCH_TEST_PANICS";
/// The secret of a harness that searches the output too.
const GIVEN: &str = "SCOPEWATCH_TEST_SECRET";
const SECRET: &str = "hf_PaNiCsAnDpRoBeSaNdPaYlOaDs0123456789";

/// Holds its secret where formatters look for it.
struct Holder(String);

impl std::fmt::Debug for Holder {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("while shown: {}", self.0)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("while dropped: {}", self.0);
        }
    }
}

/// A result that nobody can see through beforehand.
fn failed<T>(value: T) -> Result<(), T> {
    if std::hint::black_box(true) { Err(value) } else { Ok(()) }
}

/// A way to panic with this secret.
type Way = fn(&str);

#[rustfmt::skip]
const WAYS: &[(&str, Way)] = &[
    ("panic!", |s| panic!("{s}")),
    ("unwrap of a text", |s| failed(s.to_owned()).unwrap()),
    ("expect with a text", |s| { failed(s).expect(s); }),
    ("expect_err", |s| { failed(()).map_or_else(|()| Ok::<_, u8>(s.to_owned()), |()| Err(1)).expect_err("x"); }),
    ("assert!", |s| assert!(s.is_empty(), "{s}")),
    ("assert_eq!", |s| assert_eq!(s, "")),
    ("assert_ne!", |s| assert_ne!(s, s.to_owned())),
    ("unreachable!", |s| unreachable!("{s}")),
    ("a key that is not there", |s| { HashMap::<&str, u8>::new().get(s).ok_or(s).unwrap(); }),
    ("a cut through a character", |s| { let text = format!("{s}\u{e4}"); let _ = &text[..s.len() + 1]; }),
    ("beyond the end", |s| { let _ = &s[s.len() + 1..]; }),
    ("a payload that is a text", |s| panic_any(s.to_owned())),
    ("a payload of its own kind", |s| panic_any(Holder(s.to_owned()).0.clone())),
    ("JSON", |s| { serde_json::from_str::<u8>(&format!("\"{s}\"")).unwrap(); }),
    ("YAML", |s| { serde_saphyr::from_str::<u8>(s).unwrap(); }),
    ("a header", |s| { failed(reqwest::header::HeaderValue::from_str(s).unwrap()).unwrap(); }),
    ("an address", |s| { failed(url::Url::parse(&format!("https://{s}.example/")).unwrap()).unwrap(); }),
    ("a borrow", |s| { let cell = RefCell::new(s); let _held = cell.borrow_mut(); failed((cell.try_borrow().is_err(), s)).unwrap(); }),
    ("while shown", |s| drop(format!("{:?}", std::mem::ManuallyDrop::new(Holder(s.to_owned()))))),
    ("while dropped", |s| drop(Holder(s.to_owned()))),
    ("while a line is written", |s| tracing::error!(shown = ?std::mem::ManuallyDrop::new(Holder(s.to_owned())), "x")),
];

/// Every way, in this thread, in another, and in a task. Gives how many panics there were.
fn storm(secret: &str) -> usize {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let mut seen = 0;
    for (name, way) in WAYS {
        // Without a log nobody asks what would be shown in its line.
        let nobody = tracing::dispatcher::get_default(|to| to.is::<NoSubscriber>());
        if nobody && name.contains("a line is written") {
            continue;
        }
        let _span = tracing::error_span!("storm").entered();
        let whole = || catch_unwind(AssertUnwindSafe(|| way(secret))).is_ok();
        assert!(!whole(), "{name}");
        let (here, there) = (secret.to_owned(), secret.to_owned());
        assert!(std::thread::spawn(move || way(&here)).join().is_err(), "{name}");
        assert!(runtime.block_on(runtime.spawn(async move { way(&there) })).is_err(), "{name}");
        seen += 3;
    }
    seen
}

/// What the process of its own does, and says last.
fn play(role: &str, secret: &str) {
    if role == "shown" {
        println!("\npanics: {}", storm(secret));
        return;
    }
    hide_panics();
    let before = storm(secret);
    let format = role.parse().expect("a format");
    start(format, Level::Trace, false, Scrub::new(), false).expect("the first log");
    println!("\npanics: {}", before + storm(secret));
}

#[expect(clippy::disallowed_methods, reason = "a test starts itself with another environment")]
fn output(role: &str, secret: &str) -> String {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.env(ROLE, role).env(GIVEN, secret).env("RUST_BACKTRACE", "full");
    command.args(["--exact", "logging::panic_tests::no_panic_shows_what_it_says", "--nocapture"]);
    let output = command.output().expect("runs");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(output.status.success(), "{told}");
    told
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test starts itself with another environment")]
fn no_panic_shows_what_it_says() {
    let given = std::env::var(GIVEN).unwrap_or(SECRET.to_owned());
    if let Ok(role) = std::env::var(ROLE) {
        return play(&role, &given);
    }
    let held = |told: &str| {
        given.as_bytes().windows(8).filter(|w| told.as_bytes().windows(8).any(|t| t == *w)).count()
    };
    let mut lines = 0;
    for role in ["text", "json"] {
        let told = output(role, &given);
        assert_eq!(held(&told), 0, "{told}");
        let panics: usize =
            told.lines().find_map(|l| l.strip_prefix("panics: ")).expect("said").parse().expect("a number");
        assert!(panics >= 100, "{panics}");
        let places = told.lines().filter(|line| line.contains(PANICKED));
        // Each has a line of its own, with the place.
        assert!(places.clone().all(|line| line.contains(".rs:")), "{told}");
        assert_eq!(places.count(), panics, "{told}");
        lines += panics;
        println!("hidden {role}\n{told}");
    }
    let shown = output("shown", &given);
    assert!(held(&shown) > 0, "the control shows nothing: {shown}");
    println!("panics driven: {lines}\nshown\n{shown}");
}

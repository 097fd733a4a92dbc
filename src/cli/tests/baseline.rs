//! Goal: what `baseline` prints makes the next `audit` ok, and observing leaves nothing behind but itself.
//! Method: the demo's world and one of awkward names, over HTTP; the output pasted back; the demo's under snapshot.

use std::path::Path;

use crate::access::TokenName;
use crate::app::Once;
use crate::baseline::{Baseline, asking};
use crate::logging::Scrub;

use super::super::baseline::observe;
use super::bench::{Bench, agreed};

pub const DEMO_WORLD: &str = include_str!("../../../config/demo-world.yaml");
const DEMO: &str = include_str!("../../../config/demo.yaml");
pub const DEMO_SECRETS: [(&str, &str); 2] =
    [("limited-test-token", "hf_demo_limited"), ("janitor", "hf_demo_janitor")];

/// The demo's config on this bench.
pub fn demo() -> String {
    DEMO.replace("http://127.0.0.1:8099", "HUB")
        .replace("/tmp/scopewatch-demo/state.db", "DIR/state.db")
        .replace("/tmp/scopewatch-demo", "DIR/s")
}

async fn captured(bench: &Bench, text: &str, only: &[&str], all: bool) -> Baseline {
    let config = bench.load(text);
    let only: Vec<TokenName> = only.iter().map(|name| TokenName::new(name)).collect();
    let asked = asking(&config, &only, all).into();
    let once = Once { probe: true, only, observe: true, ..Once::default() };
    observe(&config, asked, once, Scrub::new(), None, std::future::pending()).await.expect("it observes")
}

/// The config with each token's `expect` as it was captured.
fn pasted(text: &str, baseline: &Baseline) -> String {
    let mut text = text.to_owned();
    for block in baseline.text.split("\n  - name: ").skip(1) {
        let (name, rest) = block.split_once('\n').expect("a name and more");
        let (_, expect) = rest.split_once("    expect:").expect("an expect");
        let (before, after) =
            text.split_once(&format!("- name: {name}\n")).unwrap_or_else(|| panic!("{name} in {text}"));
        let (entry, tail) = after.split_once("\n\n").expect("an empty line after each token");
        let entry = entry.split("\n    expect:").next().expect("a part");
        text = format!("{before}- name: {name}\n{entry}\n    expect:{}\n\n{tail}", expect.trim_end());
    }
    text
}

/// Addresses and days are of the moment.
fn normal(bench: &Bench, text: &str) -> String {
    let mut out = String::new();
    for line in text.replace(&bench.hub.to_string(), "127.0.0.1:8099").lines() {
        let mut line = line.to_owned();
        for (mark, length) in [(", seen ", 24), (" on 20", 8)] {
            if let Some(at) = line.find(mark) {
                let from = at + mark.len() - if mark == " on 20" { 2 } else { 0 };
                let length = if mark == " on 20" { 10 } else { length };
                line.replace_range(from..from + length, if length == 24 { "TIME" } else { "DAY" });
            }
        }
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_reads_well_and_makes_the_next_audit_ok() {
    let bench = Bench::of(DEMO_WORLD, &DEMO_SECRETS).await;
    let baseline = captured(&bench, &demo(), &[], false).await;
    agreed("baseline.demo.yaml", &normal(&bench, &baseline.text));
    assert_eq!(baseline.differing, 0);
    let config = bench.load(&pasted(&demo(), &baseline));
    let captured: usize = config.tokens.iter().map(|token| token.checks.len()).sum();
    assert_eq!(captured, baseline.captured);
    let report = bench.audit(config).await;
    assert_eq!((report.summary.ok, report.summary.checks), (captured, captured), "{:?}", report.results);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_said_and_then_ok() {
    let wide =
        DEMO_WORLD.replace("scopes: [] }", "scopes: [{ entity: \"org:acme\", permissions: [repo.write] }] }");
    let bench = Bench::of(&wide, &DEMO_SECRETS).await;
    let baseline = captured(&bench, &demo(), &["limited-test-token"], false).await;
    assert!(baseline.differing > 0 && baseline.unknown == 0, "{}", baseline.text);
    assert_eq!(baseline.text.matches("; expected denied until now").count(), baseline.differing);
    assert!(!baseline.text.contains("name: janitor"), "one token was asked for");
    let report = bench.audit(bench.load(&pasted(&demo(), &baseline))).await;
    assert_eq!(
        report.summary.unexpected_grant + report.summary.unexpected_denial + report.summary.unknown,
        0
    );
    let left: Vec<_> = bench.requests().await.into_iter().filter(|r| r["method"] == "POST").collect();
    assert!(left.len() >= 2, "it created, as the config asks");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_yaml_takes_for_something_else_come_back_as_they_are() {
    let awkward = ["a: b #1", "true", "{x}", "\u{e9}\u{300} \"q\" \\"];
    let mut world = "organizations:\n  acme:\n    plan: enterprise\n    members: { alice: admin, bob: write }\n    resource_groups:\n".to_owned();
    let mut expect = String::new();
    for name in awkward {
        let quoted = serde_json::to_string(name).expect("text");
        world += &format!("      {quoted}: {{ bob: write }}\n");
        expect +=
            &format!("\n      - {{ permission: repo.create, resource_group: {quoted}, access: denied }}");
    }
    world += "repos: { acme/known: { private: true } }\ntokens:
  janitor: { secret: s-janitor, user: alice, role: fineGrained, scopes: [{ entity: \"org:acme\", permissions: [repo.write, org.read] }] }
  wide: { secret: s-wide, user: bob, role: fineGrained, scopes: [{ entity: \"org:acme\", permissions: [repo.write] }] }\n";
    let bench = Bench::of(&world, &[("janitor", "s-janitor"), ("wide", "s-wide")]).await;
    let config = format!(
        "hub: {{ endpoint: HUB, in_flight_horizon: 1s, quota_share: 1 }}
organizations: [{{ name: acme, janitor: janitor }}]
store: {{ url: \"sqlite://DIR/state.db\" }}
tokens:
  - name: \"no: 1\"
    organization: acme
    secret: {{ file: DIR/s/wide }}
    expect:{expect}

  - name: janitor
    organization: acme
    secret: {{ file: DIR/s/janitor }}

"
    );
    let baseline = captured(&bench, &config, &["no: 1"], false).await;
    assert_eq!((baseline.captured, baseline.differing), (4, 4), "{}", baseline.text);
    let report = bench.audit(bench.load(&pasted(&config, &baseline))).await;
    assert_eq!((report.summary.ok, report.summary.checks), (4, 4), "{:?}", report.results);
}

#[tokio::test(flavor = "multi_thread")]
async fn observing_keeps_no_state_of_checks_and_raises_no_finding() {
    let bench = Bench::of(DEMO_WORLD, &DEMO_SECRETS).await;
    let config = bench.load(&demo());
    captured(&bench, &demo(), &[], true).await;
    let store = crate::store::Store::open(
        &Path::new(&bench.folder).join("state.db"),
        crate::store::Mode::Read,
        crate::app::wall_now(),
    )
    .await;
    let store = store.expect("a journal");
    let kept = store.load(crate::app::wall_now()).await.expect("it loads");
    assert_eq!((kept.checks, kept.findings, kept.declared), (vec![], vec![], vec![]));
    assert!(!kept.creations.is_empty() && kept.last_canary_id > 0, "canaries are kept as ever");
    store.close().await;
    bench.audit(config).await;
}

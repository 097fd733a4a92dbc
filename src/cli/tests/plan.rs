//! Goal: the plan lists every request before the Hub sees it, over HTTP and against the Hub's own record; and it
//! reads well.
//! Method: the demo's world as it is and widened; the record of the simulated Hub, request by request; the demo's
//! plan under snapshot, before anything is known and after a first round.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::app;
use crate::config::Config;
use crate::exchange::Verb;
use crate::hub::routes;
use crate::moment::Timestamp;
use crate::plan::calls::{CallPlan, Scope, Times, calls};
use crate::schedule::Classes;

use super::super::plan::{as_json, made};
use super::super::plan_table;
use super::baseline::{DEMO_SECRETS, DEMO_WORLD, demo};
use super::bench::{Bench, agreed};

/// Who signed (nobody: empty), by which method, on which route.
type Kind = (String, String, &'static str);

/// The demo, but that no horizon ends within a test.
fn patient() -> String {
    demo().replace("in_flight_horizon: 1s ", "in_flight_horizon: 60s ")
}

/// The template that a path was made of: of those that fit the one with the fewest gaps.
fn route_of(path: &str) -> &'static str {
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |route: &&&'static str| {
        let template: Vec<&str> = route.split('/').collect();
        template.len() == parts.len()
            && template.iter().zip(&parts).all(|(t, p)| t.starts_with('{') || t == p)
    };
    let found = routes::ALL.iter().filter(fits).min_by_key(|route| route.matches('{').count());
    found.unwrap_or_else(|| panic!("no route makes {path}"))
}

async fn seen(bench: &Bench) -> BTreeMap<Kind, u32> {
    let mut sums: BTreeMap<Kind, u32> = BTreeMap::new();
    for request in bench.requests().await {
        let text = |field: &str| request[field].as_str().unwrap_or_default().to_owned();
        *sums.entry((text("token"), text("method"), route_of(&text("path")))).or_default() += 1;
    }
    sums
}

fn planned(plan: &CallPlan) -> BTreeMap<Kind, Times> {
    let mut sums: BTreeMap<Kind, Times> = BTreeMap::new();
    for step in &plan.steps {
        let who = super::super::plan::signer(step).unwrap_or_default().to_owned();
        let sum = sums.entry((who, step.verb.as_str().to_owned(), step.route)).or_default();
        *sum = sum.and(step.times);
    }
    sums
}

fn whole(config: &Config) -> CallPlan {
    calls(config, Scope { due: Classes::ALL, only: &[], read_only: false })
}

#[tokio::test(flavor = "multi_thread")]
async fn where_expectations_hold_the_hub_sees_exactly_the_usual_calls() {
    let bench = Bench::of(DEMO_WORLD, &DEMO_SECRETS).await;
    let config = bench.load(&patient());
    let plan = whole(&config);
    bench.audit(config).await;
    let usual: BTreeMap<Kind, u32> = planned(&plan)
        .into_iter()
        .filter(|(_, times)| times.usual > 0)
        .map(|(kind, times)| (kind, times.usual))
        .collect();
    assert_eq!(seen(&bench).await, usual);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_token_turns_out_to_do_the_hub_sees_nothing_unplanned() {
    for scopes in [
        "[{ entity: \"org:acme\", permissions: [repo.write] }]",
        "[{ entity: \"org:acme\", permissions: [repo.content.read] }]",
        "[{ entity: \"model:acme/token-test-model\", permissions: [repo.write] }]",
    ] {
        let world = DEMO_WORLD.replace("scopes: [] }", &format!("scopes: {scopes} }}"));
        let bench = Bench::of(&world, &DEMO_SECRETS).await;
        let config = bench.load(&patient());
        let plan = planned(&whole(&config));
        bench.audit(config).await;
        for (kind, times) in seen(&bench).await {
            let bound = plan.get(&kind).map_or(0, |times| times.at_most);
            assert!(times <= bound, "{times} × {kind:?}, planned at most {bound} ({scopes})");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn planning_asks_nothing_and_needs_no_secret() {
    let bench = Bench::of(DEMO_WORLD, &[]).await;
    let config = bench.load(&demo());
    let (known, doubt) = app::remembered(&config).await;
    assert!(known.declared.is_empty() && doubt.is_some_and(|why| why.contains("no journal")));
    assert!(!bench.folder.join("state.db").exists(), "it makes no journal either");
    assert_eq!(seen(&bench).await.len(), 0);
}

fn plan_of(
    config: Arc<Config>,
    known: (crate::plan::quota::Known, Option<String>),
) -> super::super::plan::Plan {
    made(config, &[], false, known, Timestamp::parse("2026-11-22T05:00:00Z").expect("a time"))
}

/// Without addresses, colours and the time of a whoami.
fn normal(bench: &Bench, text: &str) -> String {
    let plain =
        anstream::adapter::strip_str(text).to_string().replace(&bench.hub.to_string(), "127.0.0.1:8099");
    let mut out = String::new();
    for line in plain.lines() {
        let mut line = line.to_owned();
        while let Some(at) = stamp(&line) {
            line.replace_range(at..at + 24, "TIME");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Where a time stands in a line.
fn stamp(line: &str) -> Option<usize> {
    line.char_indices().map(|(at, _)| at).find(|at| {
        line.get(*at..*at + 24).is_some_and(|part| part.ends_with('Z') && Timestamp::parse(part).is_some())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_reads_well_before_and_after_its_first_round() {
    let bench = Bench::of(DEMO_WORLD, &DEMO_SECRETS).await;
    let config = bench.load(&demo());
    let before = plan_of(config.clone(), app::remembered(&config).await);
    agreed("plan.demo.txt", &normal(&bench, &plan_table::render(&before)));
    bench.audit(config.clone()).await;
    let after = plan_of(config.clone(), app::remembered(&config).await);
    agreed("plan.demo.known.txt", &normal(&bench, &plan_table::render(&after)));
    let json = format!("{:#}", as_json(&after));
    agreed("plan.demo.known.json", &normal(&bench, &json));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_json_adds_up() {
    let bench = Bench::of(DEMO_WORLD, &DEMO_SECRETS).await;
    let config = bench.load(&demo());
    let json = as_json(&plan_of(config, (crate::plan::quota::Known::default(), None)));
    assert_eq!(json["schema"], 1);
    for which in ["usual", "at_most"] {
        let of = |list: &str, path: &[&str]| -> u64 {
            let items = json[list].as_array().expect("a list");
            items
                .iter()
                .map(|item| path.iter().fold(item, |of, key| &of[*key])[which].as_u64().expect("a number"))
                .sum()
        };
        assert_eq!(json["calls"][which].as_u64(), Some(of("steps", &["calls"])));
        assert_eq!(json["calls"][which].as_u64(), Some(of("users", &["round", "calls"])));
    }
    let unsafe_steps =
        json["steps"].as_array().expect("steps").iter().filter(|step| step["mutating"] == true);
    assert!(unsafe_steps.clone().all(|step| step["method"] != Verb::Get.as_str()));
    assert_eq!(json["mutating_checks"].as_array().map(Vec::len), Some(2));
}

//! Goal: `explain` reads well to who has never seen the Hub's access model, names the smallest change, and tells
//! the same beside a daemon that holds the store.
//! Method: worlds over HTTP, the demo's texts under snapshot; a change that was named is made, and helps.

use std::path::Path;

use crate::access::TokenName;
use crate::logging::Scrub;
use crate::store::{Mode, Store};

use super::super::explain::{ask, check_of};
use super::bench::{Bench, agreed};

const WORLD: &str = include_str!("../../../config/demo-world.yaml");
const CONFIG: &str = include_str!("../../../config/demo.yaml");
const SECRETS: [(&str, &str); 2] =
    [("limited-test-token", "hf_demo_limited"), ("janitor", "hf_demo_janitor")];

fn config() -> String {
    CONFIG
        .replace("http://127.0.0.1:8099", "HUB")
        .replace("/tmp/scopewatch-demo/state.db", "DIR/state.db")
        .replace("/tmp/scopewatch-demo", "DIR/s")
}

/// What is said of this check of the limited token, and whether it is as expected.
async fn said(bench: &Bench, text: &str, permission: &str, target: &str) -> String {
    let config = bench.load(text);
    let token = TokenName::new("limited-test-token");
    let target = Some(target).filter(|target| !target.is_empty());
    let (check, expected) =
        check_of(&config, &token, permission.parse().expect("a permission"), target).expect("a check");
    let (text, _) = ask(&config, &check, expected, Scrub::new(), std::future::pending()).await.expect("told");
    normal(bench, &text)
}

/// Addresses, moments and ids are of this run.
fn normal(bench: &Bench, text: &str) -> String {
    let folder = format!("{}/", bench.folder.display());
    let text = text.replace(&bench.hub.to_string(), "127.0.0.1:8099").replace(&folder, "");
    let word = |word: &str| {
        let bare = word.trim_end_matches([')', '\n', '.']);
        let time = bare.len() == 24 && bare.starts_with("20") && bare.ends_with('Z');
        let name = if time { "TIME" } else { "REQUEST" };
        if time || bare.starts_with("Root=") { word.replace(bare, name) } else { word.to_owned() }
    };
    text.split_inclusive([' ', '\n'])
        .map(|part| {
            let (body, end) = part.split_at(part.trim_end().len());
            format!("{}{end}", word(body))
        })
        .collect()
}

/// The world in which the token names this of the organization, and its user has this role there.
fn world(permissions: &str, role: &str) -> String {
    let scopes = format!("scopes: [{{ entity: \"org:acme\", permissions: [{permissions}] }}] }}");
    WORLD.replace("scopes: [] }", &scopes).replace("bob: no_access", &format!("bob: {role}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_question_of_the_demo_reads_well() {
    let bench = Bench::of(WORLD, &SECRETS).await;
    agreed("explain.demo.create.txt", &said(&bench, &config(), "repo.create", "").await);
    agreed("explain.demo.write.txt", &said(&bench, &config(), "repo.write", "").await);
    agreed("explain.demo.unasked.txt", &said(&bench, &config(), "job.write", "").await);
    agreed("explain.demo.untried.txt", &said(&bench, &config(), "repo.create", "space").await);
    let wide = Bench::of(&world("repo.write", "write"), &SECRETS).await;
    agreed("explain.wide.create.txt", &said(&wide, &config(), "repo.create", "").await);
    let wished = config().replace("repo.create, access: denied", "repo.create, access: allowed");
    agreed("explain.demo.wished.txt", &said(&bench, &wished, "repo.create", "").await);
    let latent = Bench::of(&world("repo.write", "read"), &SECRETS).await;
    agreed("explain.latent.create.txt", &said(&latent, &config(), "repo.create", "").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_change_that_is_named_is_the_one_that_helps() {
    // What is taken: a grant is gone.
    let wide = Bench::of(&world("repo.write", "write"), &SECRETS).await;
    let told = said(&wide, &config(), "repo.create", "").await;
    assert!(told.contains("Verdict: UNEXPECTED GRANT"), "{told}");
    assert!(told.contains("Take 'repo.write' on the org 'acme' from the token"), "{told}");
    let narrowed = Bench::of(&world("", "write"), &SECRETS).await;
    assert!(said(&narrowed, &config(), "repo.create", "").await.contains("Verdict: as expected"));
    // What is given: scope and role, both.
    let wished = config().replace("repo.create, access: denied", "repo.create, access: allowed");
    let bare = Bench::of(WORLD, &SECRETS).await;
    let told = said(&bare, &wished, "repo.create", "").await;
    assert!(told.contains("Verdict: UNEXPECTED DENIAL"), "{told}");
    assert!(told.contains("Give the token 'repo.write' on the organization 'acme'"), "{told}");
    assert!(told.contains("at least the role 'contributor' in 'acme'"), "{told}");
    let page = "/settings/tokens/new?tokenType=fineGrained&orgs=acme&orgPermissions=repo.write";
    assert!(told.contains(page), "{told}");
    let given = Bench::of(&world("repo.write", "contributor"), &SECRETS).await;
    assert!(said(&given, &wished, "repo.create", "").await.contains("Verdict: as expected"));
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_daemon_it_tells_what_was_recorded_and_asks_nothing() {
    let bench = Bench::of(WORLD, &SECRETS).await;
    let config = bench.load(&self::config());
    bench.audit(config.clone()).await;
    let before = bench.requests().await.len();
    let journal = bench.folder.join("state.db");
    let held = Store::open(Path::new(&journal), Mode::Write, crate::app::wall_now()).await.expect("it opens");
    let told = said(&bench, &self::config(), "repo.write", "").await;
    assert!(told.contains("observed   denied (hidden), recorded at TIME"), "{told}");
    assert!(told.contains("auth-check/write → 404  (request id REQUEST)"), "{told}");
    assert!(told.contains("predicted  denied") && told.contains("Verdict: as expected"), "{told}");
    let untried = said(&bench, &self::config(), "org.members", "").await;
    assert!(untried.contains("a daemon is running, and its config does not ask this"), "{untried}");
    assert_eq!(bench.requests().await.len(), before, "nothing is asked");
    held.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_leaves_nothing_but_canaries_behind() {
    let bench = Bench::of(&world("repo.write", "write"), &SECRETS).await;
    said(&bench, &config(), "repo.create", "").await;
    let store = Store::open(&bench.folder.join("state.db"), Mode::Write, crate::app::wall_now())
        .await
        .expect("it opens");
    let kept = store.load(crate::app::wall_now()).await.expect("it loads");
    assert!(kept.checks.is_empty() && kept.findings.is_empty() && kept.declared.is_empty());
    assert_eq!((kept.last_canary_id, kept.creations.len()), (1, 1));
    store.close().await;
}

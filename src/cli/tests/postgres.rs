//! What only looks into the store does so on a PostgreSQL server too, by a URL that lies in a file; what would write needs
//! the lease. Needs tests/postgres/cluster.py.

use crate::app;
use crate::moment::Timestamp;
use crate::store::tests::place::{Kind, Place};
use crate::store::{Breaker, StoreFault, Write};

use super::bench::Bench;

const WORLD: &str = include_str!("../../../config/demo-world.yaml");
const CONFIG: &str = include_str!("../../../config/demo.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn what_only_looks_works_on_a_server_too() {
    let Some(place) = Place::on(Kind::Pooler).await else { return };
    let bench = Bench::of(WORLD, &[]).await;
    let text = CONFIG
        .replace("http://127.0.0.1:8099", "HUB")
        .replace("sqlite:///tmp/scopewatch-demo/state.db", "{ file: DIR/url }")
        .replace("/tmp/scopewatch-demo", "DIR/s");
    let config = bench.load(&text);
    let url = bench.folder.join("url");

    let fault = app::list_canaries(&config).await.expect_err("no URL");
    assert!(fault.to_string().contains("does not exist"), "{fault}");
    std::fs::write(&url, "postgres://bob:S3cretPlanted@/x").expect("w");
    let fault = app::list_canaries(&config).await.expect_err("none");
    assert!(fault.to_string().contains("is no URL") && !format!("{fault:?}").contains("S3cret"), "{fault:?}");

    std::fs::write(&url, format!("{}\n", place.url())).expect("w");
    let absent = app::store_to_read(&config).await.expect("a URL").expect_err("nothing there");
    assert!(matches!(absent, StoreFault::Missing { .. }), "{absent}");
    assert!(app::remembered(&config).await.1.is_some_and(|why| why.contains("there is no journal")));

    let (store, lease) = place.led().await;
    let latched = Breaker { organization: "acme".into(), at: Timestamp(1), why: "a public canary".into() };
    store.write(&[Write::Breaker(latched.clone())]).await.expect("writes");
    let (canaries, breakers) = app::list_canaries(&config).await.expect("reads");
    assert_eq!((canaries.len(), breakers), (0, vec![latched]));
    assert_eq!(app::remembered(&config).await.1, None);
    let reader = app::store_to_read(&config).await.expect("a URL").expect("opens");
    assert_eq!(reader.verify().await.expect("reads").entries, 2);

    assert!(app::is_served(&config).await.expect("reads"));
    let fault = app::unlatch(&config).await.expect_err("it would write");
    assert!(fault.to_string().contains("is in use"), "{fault}");
    store.release(&lease).await.expect("releases");
    assert!(!app::is_served(&config).await.expect("reads"));
    assert_eq!(app::unlatch(&config).await.expect("nobody leads").0, ["acme"]);
    place.end().await;
}

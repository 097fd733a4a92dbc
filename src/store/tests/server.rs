//! How a server is reached, and what is told when it cannot be: address, user, password, TLS, tables of others, servers
//! that end, stand still or only read. No password is ever told.

use std::time::Duration;

use sqlx::Executor;
use tokio::time::Instant;

use super::place::{Kind, told};
use super::*;
use crate::store::lease;
use crate::store::sql::{Purpose, query};

everywhere! {
    on_a_server_only:
    every_transaction_has_our_settings_whatever_session_it_gets,
    many_may_make_the_tables_at_once,
    a_database_that_is_not_our_store_is_refused_and_left_as_it_is,
    a_server_that_only_reads_is_told,
    a_lost_connection_costs_nothing,
}

/// A password that is nobody's.
const PLANTED: &str = "S3cretPlanted";

async fn fault_of(url: &str) -> StoreFault {
    let server = Server::of(url).expect("a URL");
    assert!(!format!("{server:?}").contains(PLANTED), "{server:?}");
    let fault = Store::connect(server, Mode::Write).await.expect_err("refused");
    let shown = fault.to_string();
    assert!(!shown.contains(PLANTED) && !format!("{fault:?}").contains(PLANTED), "{fault:?}");
    assert!(shown.contains("; "), "{shown}");
    fault
}

#[test]
fn a_url_is_read_as_libpq_reads_it_and_never_quoted() {
    let name =
        |url: &str| Server::of(url).map(|server| server.name().to_owned()).map_err(|fault| fault.to_string());
    for (url, expected) in [
        ("postgres://bob@db.example/state", "db.example:5432/state"),
        ("postgresql://bob:x%40y@db.example:6543/a%20b?sslmode=require", "db.example:6543/a b"),
        ("postgres://[::1]/state", "[::1]:5432/state"),
        ("postgres:///state?host=/var/run/postgresql&user=bob", "/var/run/postgresql:5432/state"),
        ("postgres://db/x?dbname=y&port=7&connect_timeout=3&target_session_attrs=primary", "db:7/y"),
        ("postgres://db/x%0ay?application_name=watch", "db:5432/x\u{fffd}y"),
        ("postgres://db/x?sslrootcert=/ca.pem&sslmode=verify-full", "db:5432/x"),
    ] {
        assert_eq!(name(url), Ok(expected.to_owned()));
    }
    for (url, why) in [
        (format!("postgres://bob:{PLANTED}@/x"), "no URL"),
        (format!("mysql://bob:{PLANTED}@db/x"), "PostgreSQL"),
        (format!("postgres:///x?password={PLANTED}"), "no host"),
        (format!("postgres://bob:{PLANTED}@db"), "no database"),
        (format!("postgres://bob:{PLANTED}@one,two/x"), "several hosts"),
        (format!("postgres://db/x?passwort={PLANTED}"), "parameter"),
        (format!("postgres://bob:{PLANTED}@db/x?port={PLANTED}"), "port"),
        (format!("postgres://bob:{PLANTED}@db/x?sslmode={PLANTED}"), "sslmode"),
        (format!("postgres://bob:{PLANTED}@db/x?sslmode=verify-ca"), "verify-full"),
        (format!("postgres://bob:{PLANTED}@db/x?sslmode=require&sslrootcert=/ca.pem"), "verify-full"),
        (format!("postgres://bob:{PLANTED}@db/x?sslkey=/key"), "certificate"),
    ] {
        let fault = name(&url).expect_err(&url);
        assert!(fault.contains(why) && !fault.contains(PLANTED), "{url}: {fault}");
    }
}

#[tokio::test]
async fn who_cannot_be_reached_is_named() {
    let port = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        listener.local_addr().expect("bound").port()
    };
    let fault = fault_of(&format!("postgres://bob:{PLANTED}@127.0.0.1:{port}/x")).await;
    assert!(matches!(fault, StoreFault::Unreachable { during: Operation::Open, .. }), "{fault}");
    assert!(fault.to_string().contains(&format!("127.0.0.1:{port}/x")), "{fault}");
    // One that accepts and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = silent.local_addr().expect("bound").port();
    let began = Instant::now();
    let fault = fault_of(&format!("postgres://bob:{PLANTED}@127.0.0.1:{port}/x")).await;
    assert!(matches!(fault, StoreFault::Late { .. }), "{fault}");
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_password_is_right_or_wrong_and_tls_is_ours_or_not() {
    let Some(url) = told("SCOPEWATCH_POSTGRES") else { return };
    let (Some(bare), Some(files)) = (told("SCOPEWATCH_POSTGRES_POOLER"), told("SCOPEWATCH_POSTGRES_FILES"))
    else {
        return;
    };
    let Some(place) = Place::on(Kind::Server).await else { return };
    let as_user = |user: &str| place.url().replace("scopewatch@", &format!("{user}@"));
    Store::connect(Server::of(&as_user("keyed:right")).expect("a URL"), Mode::Write)
        .await
        .expect("the right one");
    for user in [format!("keyed:{PLANTED}"), "keyed".into()] {
        let fault = fault_of(&as_user(&user)).await;
        assert!(matches!(fault, StoreFault::Refused { .. }), "{fault}");
    }
    let fault = fault_of(&url.replace("/postgres?", "/nowhere?")).await;
    assert!(matches!(fault, StoreFault::NoDatabase { .. }), "{fault}");
    let Some(empty) = Place::on(Kind::Server).await else { return };
    let fault = fault_of(&empty.url().replace("scopewatch@", "weak@")).await;
    assert!(matches!(fault, StoreFault::Forbidden { .. }), "{fault}");
    empty.end().await;

    let with = |words: &str| as_user("sealed").replace("sslmode=disable", words);
    let by_name = |words: &str| with(words).replace("127.0.0.1", "localhost");
    let fault = fault_of(&with("sslmode=disable")).await;
    assert!(matches!(fault, StoreFault::Refused { .. }), "{fault}");
    for good in [
        with("sslmode=require"),
        with("application_name=x"), // on this host it is preferred
        by_name(&format!("sslmode=verify-full&sslrootcert={files}/ca.pem")),
        by_name(&format!("sslrootcert={files}/ca.pem")),
    ] {
        let store = Store::connect(Server::of(&good).expect("a URL"), Mode::Write).await.expect("is reached");
        let sealed = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert_eq!(store.ask(sealed).await, "true", "{good}");
    }
    for bad in [
        by_name(&format!("sslmode=verify-full&sslrootcert={files}/other.pem")),
        by_name("sslmode=verify-full"),
        with(&format!("sslmode=verify-full&sslrootcert={files}/ca.pem")), // another name
        by_name(&format!("sslmode=verify-full&sslrootcert={files}/absent.pem")),
        bare.replace("sslmode=disable", "sslmode=require"), // one that has no TLS
    ] {
        let fault = fault_of(&bad).await;
        assert!(matches!(fault, StoreFault::Insecure { .. }), "{bad}: {fault:?}");
    }
    place.end().await;
}

async fn every_transaction_has_our_settings_whatever_session_it_gets(place: Place) {
    let mut lines = Vec::new();
    for _ in 0..4 {
        lines.push(place.server().connect().await.expect("connects"));
    }
    // Sessions of a pooler go from one to the other.
    for _ in 0..3 {
        for connection in &mut lines {
            for (purpose, durable) in [(Purpose::Look, None), (Purpose::Write, Some("on"))] {
                connection.begin(purpose).await.expect("begins");
                for (name, expected) in [
                    ("SELECT current_setting('statement_timeout')", Some("5s")),
                    ("SELECT current_setting('lock_timeout')", Some("2s")),
                    ("SELECT current_setting('idle_in_transaction_session_timeout')", Some("5s")),
                    ("SELECT current_setting('synchronous_commit')", durable),
                ] {
                    let Some(expected) = expected else { continue };
                    let row = query(name).first(connection).await.expect("answers").expect("a row");
                    assert_eq!(row.at::<String>(0).as_deref(), Some(expected), "{name}, {purpose:?}");
                }
                connection.rollback().await.expect("ends");
            }
            // As others leave a session.
            connection
                .script("SET synchronous_commit = off; SET statement_timeout = 0")
                .await
                .expect("is set");
        }
        for connection in &mut lines {
            connection.script("SET synchronous_commit = off").await.expect("is set");
        }
    }
    place.end().await;
}

async fn many_may_make_the_tables_at_once(place: Place) {
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let server = place.server();
        all.spawn(async move { Store::connect(server, Mode::Write).await });
    }
    let mut stores = Vec::new();
    while let Some(opened) = all.join_next().await {
        stores.push(opened.expect("ends").expect("opens"));
    }
    assert_eq!(stores[0].ask("SELECT count(*) FROM scopewatch WHERE version = 1").await, "1");
    assert_eq!(stores[7].ask("SELECT count(*) FROM fence").await, "1");
    for store in stores {
        store.close().await;
    }
    place.end().await;
}

async fn a_database_that_is_not_our_store_is_refused_and_left_as_it_is(place: Place) {
    let fault = Store::connect(place.server(), Mode::Read).await.expect_err("nothing to read");
    assert!(matches!(fault, StoreFault::Missing { .. }), "{fault}");
    place.meddle("CREATE TABLE theirs (x int)").await;
    for mode in [Mode::Read, Mode::Write] {
        let fault = Store::connect(place.server(), mode).await.expect_err("refused");
        assert!(matches!(fault, StoreFault::NotAStore { .. }), "{fault}");
    }
    assert!(!place.try_to("SELECT 1 FROM scopewatch").await, "left as it is");
    place.meddle("DROP TABLE theirs").await;
    place.led().await.0.close().await;
    place.meddle("UPDATE scopewatch SET version = 2").await;
    for mode in [Mode::Read, Mode::Write] {
        let fault = Store::connect(place.server(), mode).await.expect_err("refused");
        assert!(matches!(fault, StoreFault::Newer { found: 2, known: 1, .. }), "{fault}");
    }
    place.end().await;
}

async fn a_server_that_only_reads_is_told(place: Place) {
    let (store, lease) = place.led().await;
    store.close().await;
    let mut connection = place.direct().await;
    let only_reads = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', \
                      current_database()); END $$";
    connection.execute(only_reads).await.expect("is set");
    // A session that a pooler holds has begun before.
    let server = place.server();
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                  AND pid <> pg_backend_pid()";
    connection.execute(others).await.expect("they end");
    let store = Store::connect(server, Mode::Write).await.expect("nothing is to be done to its tables");
    assert!(store.load(NOW).await.is_ok());
    let fault = store.renew(&lease).await.expect_err("it only reads");
    assert!(matches!(fault, StoreFault::Standby { during: Operation::Write, .. }), "{fault}");
    place.end().await;
}

async fn a_lost_connection_costs_nothing(place: Place) {
    let (store, lease) = place.led().await;
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                 AND pid <> pg_backend_pid()";
    for id in 1..4 {
        store.write(&[step(&canary(id), "planned")]).await.expect("writes");
        assert_eq!(store.epoch_now().await, Some(lease.epoch));
        place.meddle(ended).await;
        assert_eq!(store.load(NOW).await.expect("loads").canaries.len(), usize::try_from(id).expect("few"));
        place.meddle(ended).await;
    }
    // One that ends in the middle: nothing is there, and the next one goes on.
    let batch: Vec<Write> = (100..400).map(|id| step(&canary(id), "planned")).collect();
    let cut = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        place.meddle(ended).await;
    };
    let (written, ()) = tokio::join!(store.write(&batch), cut);
    if let Err(fault) = &written {
        assert!(matches!(fault, StoreFault::Unreachable { during: Operation::Write, .. }), "{fault}");
    }
    let count = if written.is_ok() { 303 } else { 3 };
    assert_eq!(store.load(NOW).await.expect("loads").canaries.len(), count);
    store.write(&[step(&canary(9), "planned")]).await.expect("writes");
    assert_eq!(store.verify().await.expect("reads").flaws, vec![]);
    place.end().await;
}

/// A replica that stands still in the middle of a write holds the row of its lease; it is cut off.
#[tokio::test]
async fn who_stands_still_in_a_transaction_is_cut_off() {
    let Some(place) = Place::on(Kind::Server).await else { return };
    let (stopped, lease) = place.led().await;
    let mut still = place.server().connect().await.expect("connects");
    still.begin(Purpose::Write).await.expect("begins");
    lease::hold(&mut still, &lease).await.expect("ours");
    let began = Instant::now();
    let other = Store::connect(place.server(), Mode::Write).await.expect("connects");
    // What is held cannot be changed by us either, so that its end is awaited here as its expiry is in earnest.
    while !place.try_to("SET lock_timeout = '1s'; UPDATE leases SET expires_at = clock_timestamp()").await {
        assert!(began.elapsed() < Duration::from_secs(9), "it is still held");
    }
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(other.take(WRITER, "b").await.expect("answers").is_some());
    assert!(query("SELECT 1").first(&mut still).await.is_err(), "cut off");
    assert!(stopped.write(&[]).await.is_err());
    place.end().await;
}

/// Struck dead and started anew between writes: what was acknowledged is there, and writing goes on.
#[tokio::test]
async fn a_server_that_was_struck_goes_on_where_it_stopped() {
    let (Some(place), Some(strike)) = (Place::on(Kind::Frail).await, told("SCOPEWATCH_POSTGRES_STRIKE"))
    else {
        return;
    };
    let strike = std::path::Path::new(&strike).join("strike");
    let (store, lease) = place.led().await;
    assert_eq!(store.durability().await.expect("answers"), Durability::Local);
    for id in 1..4 {
        store.write(&[step(&canary(id), "planned")]).await.expect("writes");
        std::fs::write(&strike, "").expect("w");
        while strike.exists() {
            // Whatever is asked meanwhile is answered, or told as what it is.
            if let Err(fault) = store.write(&[]).await {
                assert!(matches!(fault, StoreFault::Unreachable { .. }), "{fault:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(store.renew(&lease).await.expect("answers").is_some(), "the lease outlives the server");
    }
    assert!(store.is_current());
    store.write(&[step(&canary(9), "planned")]).await.expect("writes");
    let kept = store.load(NOW).await.expect("loads");
    assert_eq!((kept.canaries.len(), kept.epoch), (4, lease.epoch));
    assert_eq!(store.verify().await.expect("reads").flaws, vec![]);

    let mut connection = place.direct().await;
    for (setting, expected) in [
        ("ALTER SYSTEM SET synchronous_standby_names = 'elsewhere'", Durability::Remote),
        ("ALTER SYSTEM RESET synchronous_standby_names", Durability::Local),
    ] {
        connection.execute(setting).await.expect("is set");
        connection.execute("SELECT pg_reload_conf()").await.expect("is read");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(store.durability().await.expect("answers"), expected);
    }
    place.end().await;
}

#[tokio::test]
async fn a_stream_of_nul_is_kept_as_what_it_can_be() {
    let Some(place) = Place::on(Kind::Server).await else { return };
    let (store, _) = place.led().await;
    let odd = Canary { note: "a\0b".into(), owner: Some("\0".into()), ..canary(1) };
    let odd_finding = Finding { detail: "x\0".into(), ..finding(FindingKind::Blind, None) };
    let odd_answer = LastAnswer { key: key("a"), at: at(5), body: "\0".into() };
    store
        .write(&[step(&odd, "a\0step"), Write::Finding(odd_finding), Write::Answer(odd_answer)])
        .await
        .expect("writes");
    assert_eq!(store.verify().await.expect("reads").flaws, vec![]);
    assert_eq!(store.load(NOW).await.expect("loads").canaries[0].note, "a\u{fffd}b");
    place.end().await;
}

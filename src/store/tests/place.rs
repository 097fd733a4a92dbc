//! Where a test keeps its journal: a file in a directory of its own, or a database of its own on the server that
//! tests/postgres/cluster.py started, straight or through its pooler.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use super::super::{Lease, Mode, Server, Store, WRITER};
use super::NOW;

/// Runs each of these with a place of every kind.
macro_rules! everywhere {
    (on_a_server_only: $($name:ident),+ $(,)?) => {
        mod on_a_server {
            use $crate::store::tests::place::{Kind, Place};
            $(#[tokio::test]
            async fn $name() {
                if let Some(place) = Place::on(Kind::Server).await {
                    super::$name(place).await;
                }
            })+
        }
        mod behind_a_pooler {
            use $crate::store::tests::place::{Kind, Place};
            $(#[tokio::test]
            async fn $name() {
                if let Some(place) = Place::on(Kind::Pooler).await {
                    super::$name(place).await;
                }
            })+
        }
    };
    ($($name:ident),+ $(,)?) => {
        mod in_a_file {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::store::tests::place::Place::new()).await;
            })+
        }
        everywhere! { on_a_server_only: $($name),+ }
    };
}
pub(super) use everywhere;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Server,
    Pooler,
    /// The one that can be struck.
    Frail,
}

/// A place of its own for each test.
pub(crate) struct Place {
    /// Gone afterwards.
    dir: PathBuf,
    database: Option<Database>,
}

struct Database {
    name: String,
    /// As the store is to reach it, and as the test reaches the server itself.
    url: String,
    direct: String,
}

/// What cluster.py told; `None`, and a line that says so, where it did not start anything.
pub(crate) fn told(variable: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "how a test learns of the server that was started for it")]
    let told = std::env::var(variable).ok();
    if told.is_none() {
        println!("skipped: {variable} is not set; run `python3 tests/postgres/cluster.py -- cargo test`");
    }
    told
}

fn number() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn direct(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().expect("a URL");
    options.disable_statement_logging().connect().await.expect("connects")
}

impl Place {
    pub(crate) fn new() -> Place {
        let dir = std::env::temp_dir().join(format!("scopewatch-store-{}", number()));
        std::fs::create_dir_all(&dir).expect("a directory");
        Place { dir, database: None }
    }

    /// With a database of its own on this server; `None` where there is no server.
    pub(crate) async fn on(kind: Kind) -> Option<Place> {
        let server = told("SCOPEWATCH_POSTGRES")?;
        let (url, server) = match kind {
            Kind::Server => (server.clone(), server),
            Kind::Pooler => (told("SCOPEWATCH_POSTGRES_POOLER")?, server),
            Kind::Frail => (told("SCOPEWATCH_POSTGRES_FRAIL")?, told("SCOPEWATCH_POSTGRES_FRAIL")?),
        };
        let name = format!("scopewatch_{}", number());
        let mut connection = direct(&server).await;
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a database");
        connection.close().await.expect("closes");
        let in_it = |url: String| url.replace("/postgres?", &format!("/{name}?"));
        let (url, direct) = (in_it(url), in_it(server));
        let mut place = Place::new();
        place.database = Some(Database { url, direct, name });
        Some(place)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn is_a_file(&self) -> bool {
        self.database.is_none()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.join("state.db")
    }

    /// As the store is to reach it.
    pub(crate) fn url(&self) -> &str {
        &self.database.as_ref().expect("on a server").url
    }

    pub(crate) fn server(&self) -> Server {
        Server::of(self.url()).expect("a URL")
    }

    /// Open for writing.
    pub(crate) async fn store(&self) -> Store {
        match self.database {
            None => Store::open(&self.file(), Mode::Write, NOW).await.expect("opens"),
            Some(_) => self.led().await.0,
        }
    }

    /// The writer of a shared journal. Who held it before is held to be gone.
    pub(crate) async fn led(&self) -> (Store, Lease) {
        let store = Store::connect(self.server(), Mode::Write).await.expect("connects");
        self.meddle("UPDATE leases SET expires_at = clock_timestamp()").await;
        let lease = store.take(WRITER, &number()).await.expect("answers").expect("free");
        let lease = store.lead(&lease, NOW).await.expect("leads");
        (store, lease)
    }

    /// Open beside a writer.
    pub(crate) async fn reader(&self) -> Store {
        match self.database {
            None => Store::open(&self.file(), Mode::Read, NOW).await.expect("opens"),
            Some(_) => Store::connect(self.server(), Mode::Read).await.expect("connects"),
        }
    }

    /// A connection to the database itself, past any pooler.
    pub(crate) async fn direct(&self) -> PgConnection {
        direct(&self.database.as_ref().expect("on a server").direct).await
    }

    /// The journal as another program would change it.
    pub(crate) async fn meddle(&self, sql: &'static str) {
        assert!(self.try_to(sql).await, "{sql}");
    }

    /// The same; whether the database let it be done.
    pub(crate) async fn try_to(&self, sql: &'static str) -> bool {
        self.try_any(sql.to_owned()).await
    }

    pub(crate) async fn try_any(&self, sql: String) -> bool {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        if self.database.is_some() {
            let mut connection = self.direct().await;
            let done = connection.execute(sql).await.is_ok();
            connection.close().await.expect("closes");
            return done;
        }
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.file()).create_if_missing(true);
        let mut connection = options.connect().await.expect("connects");
        let done = connection.execute(sql).await.is_ok();
        connection.close().await.expect("closes");
        done
    }

    /// Takes the database away. One that a failed test leaves ends with its server.
    pub(crate) async fn end(self) {
        let Some(Database { name, direct, .. }) = &self.database else { return };
        let mut connection = self::direct(&direct.replace(&format!("/{name}?"), "/postgres?")).await;
        let gone = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
        connection.execute(gone).await.expect("is dropped");
        connection.close().await.expect("closes");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

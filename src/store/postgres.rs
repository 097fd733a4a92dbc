//! A PostgreSQL server that holds the journal: where it is, how it is reached, and its tables.
//!
//! Nothing rests on a session, so that a pooler in transaction mode may stand in between: no prepared statement has a
//! name, settings are those of a transaction, and no lock outlives one. The URL may hold a password, which is told
//! nowhere: not in a fault, not by `Debug`. Serves `keeper`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::time::{sleep, timeout};
use url::Url;

use super::StoreFault;
use super::fault::{Operation, Trouble};
use super::sql::{self, Connection, Purpose};

/// Every version of the tables, in order; each script ends with the number of its version in `scopewatch`.
const MIGRATIONS: &[(i64, &str)] = &[(1, include_str!("migrations/postgres/0001_journal.sql"))];

/// The version that this program reads and writes.
const KNOWN: i64 = 1;

/// Which lock of the database is that of migrations: 'SCWP', as in the mark of a file.
const MIGRATING: i64 = 1_396_922_192;

/// How long it may take until a connection stands.
const CONNECT: Duration = Duration::from_secs(5);

/// How often it is tried to bring the tables to our version, while others may be doing the same.
const TRIES: u32 = 10;

/// A database on a server, as a URL names it.
pub struct Server {
    options: PgConnectOptions,
    /// The file of the authority that is to have signed its certificate.
    root: Option<PathBuf>,
    /// `host:port/database`.
    name: String,
}

impl fmt::Debug for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Server({})", self.name)
    }
}

/// What is wrong with a URL, never quoting it.
fn wrong(why: &'static str) -> StoreFault {
    StoreFault::BadUrl { why }
}

impl Server {
    /// The server that this URL names, in the words that libpq knows: `postgres://user:password@host:5432/database` with
    /// `sslmode`, `sslrootcert` and a few more. Without `sslmode`, a server that is not on this host must show a
    /// certificate that is good for its name.
    pub fn of(url: &str) -> Result<Server, StoreFault> {
        let url = Url::parse(url).map_err(|_| wrong("is no URL"))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(wrong("is no URL of PostgreSQL"));
        }
        let mut said = Said::default();
        said.read(&url)?;
        said.server()
    }

    /// As it may be shown: `host:port/database`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn connect(&self) -> Result<Connection, Trouble> {
        if let Some(root) = &self.root
            && let Err(error) = tokio::fs::File::open(root).await
        {
            // Else it would pass for a fault of the network.
            return Err(Trouble::Sql(sqlx::Error::Tls(error.into())));
        }
        match timeout(CONNECT, self.options.connect()).await {
            Ok(connection) => Ok(Connection::Postgres(connection?)),
            Err(_) => Err(Trouble::Late),
        }
    }

    /// As a fault of this database.
    pub(super) fn told(&self, trouble: Trouble, during: Operation) -> StoreFault {
        trouble.told_of_server(&self.name, during)
    }
}

/// What a URL says.
#[derive(Default)]
struct Said {
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    mode: Option<String>,
    root: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    program: Option<String>,
}

impl Said {
    fn read(&mut self, url: &Url) -> Result<(), StoreFault> {
        let text = |part: &str| -> Option<String> {
            let plain = percent_decode_str(part).decode_utf8().ok()?.into_owned();
            (!plain.is_empty()).then_some(plain)
        };
        self.host = url.host_str().and_then(text);
        self.port = url.port();
        self.user = text(url.username());
        self.password = url.password().and_then(text);
        self.database = text(url.path().trim_start_matches('/'));
        for (name, value) in url.query_pairs() {
            let value = value.into_owned();
            match &*name {
                "host" | "hostaddr" => self.host = Some(value),
                "port" => self.port = Some(value.parse().map_err(|_| wrong("has a port that is none"))?),
                "user" => self.user = Some(value),
                "password" => self.password = Some(value),
                "dbname" => self.database = Some(value),
                "sslmode" => self.mode = Some(value),
                "sslrootcert" => self.root = Some(value),
                "sslcert" => self.certificate = Some(value),
                "sslkey" => self.key = Some(value),
                "application_name" => self.program = Some(value),
                // How long is ours to say, and a server that only reads is noticed.
                "connect_timeout" | "target_session_attrs" => {}
                _ => return Err(wrong("has a parameter that this program does not know")),
            }
        }
        Ok(())
    }

    fn server(self) -> Result<Server, StoreFault> {
        let host = self.host.ok_or(wrong("names no host"))?;
        if host.contains(',') {
            return Err(wrong("names several hosts, and this program asks one"));
        }
        let database = self.database.ok_or(wrong("names no database"))?;
        let port = self.port.unwrap_or(5432);
        let is_socket = host.starts_with('/');
        let mode = ssl_mode(self.mode.as_deref(), is_socket || is_here(&host), self.root.is_some())?;
        let mut options = PgConnectOptions::new_without_pgpass()
            .port(port)
            .database(&database)
            // Also where there is none: what the environment holds is for other programs.
            .password(self.password.as_deref().unwrap_or_default())
            .application_name(self.program.as_deref().unwrap_or("scopewatch"))
            .ssl_mode(mode)
            .statement_cache_capacity(0)
            // Poolers know a few settings of a session, and this one is not among them.
            .extra_float_digits(None)
            .disable_statement_logging();
        options = if is_socket { options.socket(&host) } else { options.host(&host) };
        if let Some(user) = &self.user {
            options = options.username(user);
        }
        let root = self.root.filter(|root| root != "system");
        if let Some(root) = &root {
            options = options.ssl_root_cert(root);
        }
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                options = options.ssl_client_cert(certificate).ssl_client_key(key);
            }
            (None, None) => {}
            _ => return Err(wrong("names a certificate without its key, or a key without its certificate")),
        }
        let name = format!("{host}:{port}/{database}").replace(char::is_control, "\u{fffd}");
        Ok(Server { options, name, root: root.map(PathBuf::from) })
    }
}

/// Whether nothing of what is said to this host leaves ours.
fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// How the connection is kept secret. A certificate is either not looked at or checked with its name: whoever may make
/// certificates for any name at all would otherwise be believed to be our server.
fn ssl_mode(said: Option<&str>, is_here: bool, has_root: bool) -> Result<PgSslMode, StoreFault> {
    Ok(match said {
        None if is_here && !has_root => PgSslMode::Prefer,
        None | Some("verify-full") => PgSslMode::VerifyFull,
        Some("disable") => PgSslMode::Disable,
        Some("allow" | "prefer") => PgSslMode::Prefer,
        Some("require") if !has_root => PgSslMode::Require,
        Some("require" | "verify-ca") => {
            return Err(wrong(
                "asks for a certificate without its name (verify-ca); say sslmode=verify-full",
            ));
        }
        Some(_) => return Err(wrong("has an sslmode that there is not")),
    })
}

/// The version of the tables; 0 where there is nothing at all. A database that is not ours, or is from the future, is
/// refused.
async fn version(connection: &mut Connection) -> Result<i64, Trouble> {
    let tables = "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = current_schema()";
    let ours = "SELECT count(*) FROM pg_catalog.pg_tables
                WHERE schemaname = current_schema() AND tablename = 'scopewatch'";
    if sql::query(ours).number(connection, "pg_tables").await? == Some(0) {
        return match sql::query(tables).number(connection, "pg_tables").await? {
            Some(0) => Ok(0),
            _ => Err(Trouble::NotOurs),
        };
    }
    match sql::query("SELECT version FROM scopewatch").number(connection, "scopewatch").await? {
        Some(found) if found > KNOWN => Err(Trouble::Newer { found, known: KNOWN }),
        Some(found) if found > 0 => Ok(found),
        _ => Err(Trouble::NotOurs),
    }
}

/// A connection to read over. A reader changes nothing, so that the version must already be ours.
pub(super) async fn look(server: &Server) -> Result<Connection, Trouble> {
    open(server, check_version).await
}

/// Brings the tables to our version, however many are doing the same.
pub(super) async fn migrate(server: &Server) -> Result<Connection, Trouble> {
    open(server, migrate_once).await
}

/// A connection on which this was done. It is tried again where somebody else did the same at once, and where the line was
/// one that a pooler held and that had ended meanwhile.
async fn open(
    server: &Server,
    first: impl AsyncFn(&mut Connection) -> Result<(), Trouble>,
) -> Result<Connection, Trouble> {
    let mut tried = 0;
    loop {
        let mut connection = server.connect().await?;
        match first(&mut connection).await {
            Ok(()) => return Ok(connection),
            Err(trouble) if tried < TRIES && (trouble.is_a_clash() || trouble.is_a_lost_line()) => {
                tried += 1;
                connection.close_hard().await;
                sleep(Duration::from_millis(50) * tried).await;
            }
            Err(trouble) => return Err(trouble),
        }
    }
}

async fn check_version(connection: &mut Connection) -> Result<(), Trouble> {
    connection.begin(Purpose::Look).await?;
    let found = version(connection).await?;
    connection.rollback().await?;
    match found {
        0 => Err(Trouble::Missing),
        found if found < KNOWN => Err(Trouble::Older { found, known: KNOWN }),
        _ => Ok(()),
    }
}

/// One try, of which all happens or nothing. Nothing is locked where nothing is to be done.
async fn migrate_once(connection: &mut Connection) -> Result<(), Trouble> {
    connection.begin(Purpose::Look).await?;
    let found = version(connection).await?;
    connection.rollback().await?;
    if found == KNOWN {
        return Ok(());
    }
    connection.begin(Purpose::Write).await?;
    // Until the end of the transaction, and not of a session.
    sql::query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATING).execute(connection).await?;
    let found = version(connection).await?;
    for (_, script) in MIGRATIONS.iter().filter(|(number, _)| *number > found) {
        connection.script(script).await?;
    }
    connection.commit().await
}

/// Which server this is; what it does not let be read is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// The number that a cluster gets when it is made.
    pub system: Option<String>,
    /// How often a standby has become the primary.
    pub timeline: Option<String>,
}

impl Identity {
    /// Whether this is another server than the one that was seen: of another cluster, or on an earlier timeline, as one
    /// is that a standby has replaced and that came back.
    pub(super) fn is_elsewhere(&self, seen: &Identity) -> bool {
        let another = |(seen, found): (&String, &String)| seen != found;
        let earlier = |(seen, found): (&String, &String)| seen > found; // eight hexadecimal digits each
        seen.system.as_ref().zip(self.system.as_ref()).is_some_and(another)
            || seen.timeline.as_ref().zip(self.timeline.as_ref()).is_some_and(earlier)
    }
}

/// Asks for it, each question in a transaction of its own, because one that is refused ends it.
pub(super) async fn identity(connection: &mut Connection) -> Result<Identity, Trouble> {
    let system = ask(connection, "SELECT system_identifier::text FROM pg_control_system()").await?;
    let timeline = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";
    Ok(Identity { system, timeline: ask(connection, timeline).await? })
}

/// The standbys that the server waits for before it acknowledges; empty where it waits for none.
pub(super) async fn standbys(connection: &mut Connection) -> Result<Option<String>, Trouble> {
    ask(connection, "SELECT current_setting('synchronous_standby_names')").await
}

/// An answer of one text; `None` where the server refuses it.
async fn ask(connection: &mut Connection, question: &'static str) -> Result<Option<String>, Trouble> {
    connection.begin(Purpose::Look).await?;
    let answer = match sql::query(question).first(connection).await {
        Ok(row) => row.and_then(|row| row.at(0)),
        Err(trouble) if trouble.is_refused() => None,
        Err(trouble) => return Err(trouble),
    };
    connection.rollback().await?;
    Ok(answer)
}

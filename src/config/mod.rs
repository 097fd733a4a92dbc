//! The validated configuration: what the daemon may rely on.
//!
//! `parse` turns text into a `Config` or into every mistake in it. It is given text and directory listings; it
//! never opens a file, reads the environment or holds a secret (only the place of one).

mod address;
mod checks;
mod cron;
mod document;
mod duration;
mod fields;
pub mod ignores;
mod keys;
mod likeness;
mod mistakes;
mod redact;
mod schema;
mod settings;
#[cfg(test)]
mod tests;
mod tokens;
mod tree;
mod values;
pub mod web;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::access::{Check, Derived, Permission, RepoName, Severity, Stated, TokenName};
use crate::moment::Timestamp;
use crate::report::FindingKind;
use crate::secret::Place;

pub use address::{Reach, reach, reach_of};
pub use mistakes::{Mistake, Mistakes};
pub use schema::schema;

/// A text to read, and the name that mistakes in it carry.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

/// What `parse` must know of the disk; answered by whoever may look.
pub trait Disk {
    /// The names of the files in a directory of secrets, without those that begin with a dot (Kubernetes'
    /// `..data`); or why it cannot be listed.
    fn list(&self, directory: &Path) -> Result<Vec<String>, String>;

    /// Name and text of each file that a pattern of `include:` matches, relative to the main file, sorted; or
    /// why one cannot be read.
    fn include(&self, pattern: &str) -> Result<Vec<(String, String)>, String>;
}

/// For a text that stands alone: no other file and no directory is there.
pub struct NoDisk;

impl Disk for NoDisk {
    fn list(&self, _: &Path) -> Result<Vec<String>, String> {
        Err("no directory".into())
    }
    fn include(&self, _: &str) -> Result<Vec<(String, String)>, String> {
        Err("no file".into())
    }
}

/// A valid configuration, and what is odd about it without being wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    pub config: Config,
    /// `file:line:column: …`, ready to be shown.
    pub warnings: Vec<String>,
}

/// The documented example, which is also where the defaults come from.
pub const EXAMPLE: &str = document::EXAMPLE;

/// Reads a configuration: the whole of it, or every mistake in it.
pub fn parse(main: Source<'_>, disk: &dyn Disk) -> Result<Parsed, Mistakes> {
    document::read(main, disk)
}

/// A path of the configuration as a message may show it: somebody may have pasted a secret in its place.
pub fn shown(path: &Path) -> String {
    mistakes::printable(&redact::text(&path.display().to_string()))
}

/// The whole configuration, valid in itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub hub: Hub,
    pub schedule: Schedule,
    pub organizations: Vec<Organization>,
    pub tokens: Vec<Token>,
    pub ignores: Vec<Ignore>,
    pub alerts: Alerts,
    pub server: Server,
    pub store: StorePlace,
    /// Key that signs canary names; made beside the SQLite store when absent.
    pub canary_key: Option<Place>,
    /// Where in `tokens` each stands: they are looked up at every answer.
    pub places: Derived<HashMap<TokenName, usize>>,
    /// What replicas must have in common.
    pub likeness: Derived<String>,
}

/// Which Hub, and how gently.
#[derive(Debug, Clone, PartialEq)]
pub struct Hub {
    /// Origin without a trailing slash, e.g. `https://huggingface.co`.
    pub endpoint: String,
    /// Whether the endpoint's host is a loopback address or `localhost`.
    pub loopback: bool,
    /// Deadline of one request, answer included.
    pub request_timeout: Duration,
    /// Requests in flight at once.
    pub max_in_flight: usize,
    /// Share of each user's rate limit that may be used, above 0 and at most 1.
    pub quota_share: f64,
    /// H: how long a request may still take effect after we gave up on it.
    pub in_flight_horizon: Duration,
    /// The only proxy that is ever used.
    pub proxy: Option<String>,
    /// PEM files trusted in addition to the roots.
    pub ca_files: Vec<PathBuf>,
    /// Where trust begins.
    pub tls_roots: TlsRoots,
}

/// Which CA roots are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsRoots {
    /// Those of the operating system.
    System,
    /// Those compiled in.
    Bundled,
}

/// When what is due.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Read-only checks; six-field cron (sec min hour day-of-month month day-of-week).
    pub probe: String,
    /// Checks that may create.
    pub canary: String,
    /// whoami-v2 of every token.
    pub declared: String,
    /// The zone of all three.
    pub timezone: chrono_tz::Tz,
    /// A round and whoami at start.
    pub on_start: bool,
}

/// One organization.
#[derive(Debug, Clone)]
pub struct Organization {
    /// Exact case.
    pub name: String,
    /// The token that observes and cleans up.
    pub janitor: Option<TokenName>,
    /// The token that reads the organization's inventory of tokens: the one given, else the janitor.
    pub inventory: Option<TokenName>,
    pub canary_prefix: String,
    /// Creation calls per Hub user and 24 hours, refused ones included.
    pub max_creations_per_day: u32,
    /// A private repository that the janitor can see.
    pub sentinel: Option<RepoName>,
    /// Delete canaries with our signature that the journal does not know.
    pub adopt_authentic: bool,
    /// Its entry.
    pub stated: Option<Stated>,
}

/// Where it is stated makes no difference, as for a check.
impl PartialEq for Organization {
    fn eq(&self, other: &Organization) -> bool {
        let Organization {
            name,
            janitor,
            inventory,
            canary_prefix,
            max_creations_per_day,
            sentinel,
            adopt_authentic,
            stated: _,
        } = self;
        *name == other.name
            && *janitor == other.janitor
            && *inventory == other.inventory
            && *canary_prefix == other.canary_prefix
            && *max_creations_per_day == other.max_creations_per_day
            && *sentinel == other.sentinel
            && *adopt_authentic == other.adopt_authentic
    }
}

/// One token under audit, with its checks.
#[derive(Debug, Clone)]
pub struct Token {
    pub name: TokenName,
    pub organization: String,
    pub secret: Place,
    /// Who answers for it; carried into alerts. Empty when not given.
    pub owner: String,
    /// Of an unexpected grant.
    pub severity: Severity,
    /// Its expectations, named lists expanded, in order.
    pub checks: Vec<Check>,
    pub declared: Option<Pin>,
    /// Its entry; of a token from a directory, the entry that names the directory.
    pub stated: Option<Stated>,
}

/// Where it is stated makes no difference, as for a check.
impl PartialEq for Token {
    fn eq(&self, other: &Token) -> bool {
        let Token { name, organization, secret, owner, severity, checks, declared, stated: _ } = self;
        *name == other.name
            && *organization == other.organization
            && *secret == other.secret
            && *owner == other.owner
            && *severity == other.severity
            && *checks == other.checks
            && *declared == other.declared
    }
}

/// What the token's whoami must say.
#[derive(Debug, Clone, PartialEq)]
pub struct Pin {
    pub user: Option<String>,
    pub role: Option<String>,
    pub scopes: Option<Vec<PinScope>>,
}

/// One pinned scope.
#[derive(Debug, Clone, PartialEq)]
pub struct PinScope {
    /// `org:acme`, `user:bob`, `model:acme/x`, …
    pub entity: String,
    pub permissions: Vec<String>,
}

/// A drift that somebody accepted for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Ignore {
    pub token: TokenName,
    pub permission: Option<Permission>,
    pub target: Option<String>,
    pub kind: FindingKind,
    pub owner: String,
    pub reason: String,
    /// Midnight (UTC) at the end of the last day on which it holds.
    pub until: Timestamp,
}

/// When drift is told, and to whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Alerts {
    pub confirm_denials: u32,
    pub resolve_after: u32,
    /// `None`: three probe periods.
    pub stale_after: Option<Duration>,
    pub expires_within: Duration,
    pub remind_every: Duration,
    pub sinks: Vec<Sink>,
}

/// Where alerts go.
#[derive(Debug, Clone, PartialEq)]
pub struct Sink {
    pub name: String,
    pub kind: SinkKind,
    pub url: SinkUrl,
    /// Key of the webhook's signature.
    pub secret: Option<Place>,
}

/// A sink's address: in the open, or itself a secret.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkUrl {
    Plain(String),
    Secret(Place),
}

/// The kinds of sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkKind {
    Alertmanager,
    Webhook,
    Slack,
    Pagerduty,
    Email,
}

/// The HTTP side.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    pub listen: SocketAddr,
    pub lifecycle: bool,
    pub open_page: bool,
    pub web_config: Option<PathBuf>,
}

/// Where the journal lies.
#[derive(Debug, Clone, PartialEq)]
pub enum StorePlace {
    Sqlite(PathBuf),
    /// Where a PostgreSQL URL lies, which may hold a password.
    Postgres(Place),
    /// A PostgreSQL URL that stands in the configuration and holds none.
    PostgresUrl(String),
}

impl Config {
    /// The organization of this exact name.
    pub fn organization(&self, name: &str) -> Option<&Organization> {
        self.organizations.iter().find(|o| o.name == name)
    }

    /// The token of this name.
    pub fn token(&self, name: &TokenName) -> Option<&Token> {
        let places = || self.tokens.iter().enumerate().map(|(at, token)| (token.name.clone(), at)).collect();
        self.tokens.get(*self.places.get(places).get(name)?)
    }
}

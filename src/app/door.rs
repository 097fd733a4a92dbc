//! Who may reach the port: the web config and the files it names, read, watched, and made a door of.
//!
//! They are looked at every few seconds by their contents, because certificates are renewed by others who tell
//! nobody. What is broken changes nothing: the last good door stays.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::config::web::{self, TlsVersion, Web, WebTls};
use crate::config::{self, Config, Server, Source};
use crate::moment::Timestamp;
use crate::serve::{Access, ClientParts, Door, DoorParts, TlsParts};

use super::Fault;
use super::clock::wall_now;
use super::files::O_NONBLOCK;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Bytes of the web config, of a certificate with its intermediates, and of a key.
const FILE_LIMIT: u64 = 64 * 1024;
/// Bytes of a file of authorities: a whole system's are a quarter of that.
const CA_LIMIT: u64 = 1024 * 1024;

/// What may be seen and done at this address, behind this door.
pub(super) fn access(server: &Server, address: SocketAddr, door: Door) -> Access {
    let page = server.open_page || address.ip().is_loopback() || door.authenticates();
    Access { page, lifecycle: server.lifecycle, door }
}

/// What is odd about a door at this address without being wrong.
fn oddities(server: &Server, address: SocketAddr, door: &Door) -> Vec<String> {
    let mut said = Vec::new();
    if address.ip().is_loopback() {
        return said;
    }
    if door.sends_passwords_in_the_open() {
        said.push(format!(
            "passwords travel in the clear: the web config asks for them without TLS, and {address} can be reached from other machines; add `tls_server_config` to it, or listen on loopback behind a proxy that speaks TLS"
        ));
    }
    if server.lifecycle && !door.authenticates() {
        said.push(format!(
            "whoever reaches {address} may make this daemon reload and probe (server.lifecycle); ask for passwords or client certificates in server.web_config"
        ));
    }
    said
}

/// Everything that a door is made of, as it lay on the disk at one time.
pub(super) struct Reading {
    /// Of the names and contents of all files; the same means the same door.
    digest: [u8; 32],
    found: Result<Found, String>,
}

struct Found {
    parts: DoorParts,
    warnings: Vec<String>,
}

/// A door that was opened, and what is odd about it.
pub(super) struct Opened {
    pub(super) door: Door,
    pub(super) warnings: Vec<String>,
}

impl Reading {
    /// Reads the web config of this path with all that it names.
    pub(super) fn take(path: &Path) -> Reading {
        let mut digest = Sha256::new();
        let found = read(path, &mut digest);
        if let Err(why) = &found {
            digest.update(why);
        }
        Reading { digest: digest.finalize().into(), found }
    }

    fn open(self, path: &Path, now: Timestamp) -> Result<Opened, String> {
        let Found { parts, warnings } = self.found?;
        let door = Door::build(parts, now)
            .map_err(|fault| format!("the web config '{}': {fault}", config::shown(path)))?;
        Ok(Opened { door, warnings })
    }
}

fn read(path: &Path, digest: &mut Sha256) -> Result<Found, String> {
    let (bytes, mode) = read_part("server.web_config", path, FILE_LIMIT, digest)?;
    let name = config::shown(path);
    let text = String::from_utf8(bytes)
        .map_err(|_| format!("server.web_config: '{name}' is not UTF-8 text; save it as such"))?;
    let (web, mut warnings) =
        web::parse(Source { name: &name, text: &text }).map_err(|mistakes| mistakes.to_string())?;
    if !web.users.is_empty() && mode & 0o007 != 0 {
        warnings.push(format!(
            "'{name}' holds hashes of passwords and may be read by every user of this machine; chmod o-rwx it"
        ));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let tls = web.tls.as_ref().map(|tls| tls_parts(tls, folder, digest, &mut warnings)).transpose()?;
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|_| "the system gives no randomness".to_owned())?;
    let Web { headers, users, tls: _ } = web;
    let users = users.into_iter().map(|(name, hash)| (name, hash.as_str().to_owned())).collect();
    Ok(Found { parts: DoorParts { tls, users, key, headers }, warnings })
}

fn tls_parts(
    tls: &WebTls,
    folder: &Path,
    digest: &mut Sha256,
    warnings: &mut Vec<String>,
) -> Result<TlsParts, String> {
    let (cert, _) = read_part("cert_file", &folder.join(&tls.cert_file), FILE_LIMIT, digest)?;
    let key_file = folder.join(&tls.key_file);
    let (key, mode) = read_part("key_file", &key_file, FILE_LIMIT, digest)?;
    if mode & 0o007 != 0 {
        let key_file = config::shown(&key_file);
        warnings
            .push(format!("key_file '{key_file}' may be read by every user of this machine; chmod o-rwx it"));
    }
    let clients = match &tls.clients {
        None => None,
        Some(clients) => {
            let (ca, _) = read_part("client_ca_file", &folder.join(&clients.ca_file), CA_LIMIT, digest)?;
            let allowed_sans = clients.allowed_sans.clone();
            Some(ClientParts { ca, required: clients.required, allowed_sans })
        }
    };
    let speaks = |version| tls.versions.contains(&version);
    let versions = (speaks(TlsVersion::Tls12), speaks(TlsVersion::Tls13));
    Ok(TlsParts { cert, key, versions, clients })
}

/// Contents and mode of one regular file, opened once, so that a link that is swapped cannot be read half-way.
fn read_part(what: &str, path: &Path, limit: u64, digest: &mut Sha256) -> Result<(Vec<u8>, u32), String> {
    let shown = config::shown(path);
    let why = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            format!("{what}: '{shown}' does not exist; correct the path")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{what}: '{shown}' may not be read by this user; change its mode or owner")
        }
        kind => format!("{what}: '{shown}' cannot be read ({kind})"),
    };
    // Without waiting: a pipe in the place of a file would hold the daemon for ever.
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path).map_err(why)?;
    let about: fs::Metadata = file.metadata().map_err(why)?;
    if !about.is_file() {
        return Err(format!("{what}: '{shown}' is not a regular file; name the file itself"));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(why)?;
    if bytes.len() as u64 > limit {
        return Err(format!("{what}: '{shown}' is larger than {} KiB; name another file", limit / 1024));
    }
    digest.update(path.as_os_str().as_encoded_bytes());
    digest.update([0]);
    digest.update(Sha256::digest(&bytes));
    Ok((bytes, about.mode()))
}

/// What a look at the files came to.
pub(super) enum News {
    /// Nothing that was not told before.
    None,
    /// There is another door.
    Opened(Box<Opened>),
    /// What was broken is again as it was before.
    Mended,
    /// The old door stays, because of this.
    Broken(String),
    /// The door is as it was, and its certificate is out of its time now.
    Expired(String),
}

/// Watches what the door in force was made of.
pub(super) struct Entrance {
    path: Option<PathBuf>,
    in_force: [u8; 32],
    trouble: Option<String>,
    expired: bool,
    looks: Interval,
    looking: Option<JoinHandle<Reading>>,
}

impl Entrance {
    /// Opens the door that this server asks for: an open one where it names no web config.
    pub(super) fn open(server: &Server) -> Result<(Entrance, Opened), Fault> {
        let path = server.web_config.clone();
        let (in_force, opened) = match &path {
            None => ([0; 32], Opened { door: Door::default(), warnings: Vec::new() }),
            Some(path) => {
                let reading = Reading::take(path);
                (reading.digest, reading.open(path, wall_now()).map_err(Fault::Usage)?)
            }
        };
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.reset();
        Ok((Entrance { path, in_force, trouble: None, expired: false, looks, looking: None }, opened))
    }

    /// Whether there is a web config.
    pub(super) fn is_guarded(&self) -> bool {
        self.path.is_some()
    }

    /// The files as they are at the next look. Nothing is lost where it is not awaited to its end. A look that hangs
    /// on a dead disk is waited for, and no second one begun.
    pub(super) async fn look(&mut self) -> Reading {
        let Some(path) = &self.path else { return std::future::pending().await };
        loop {
            if let Some(looking) = &mut self.looking {
                let looked = looking.await;
                self.looking = None;
                if let Ok(reading) = looked {
                    return reading;
                }
            }
            self.looks.tick().await;
            let path = path.clone();
            self.looking = Some(tokio::task::spawn_blocking(move || Reading::take(&path)));
        }
    }

    /// A reload found the files broken: the next look that finds them as they are in force says that they are mended.
    pub(super) fn failed(&mut self, why: &Fault) {
        self.trouble = Some(why.to_string());
    }

    /// What to make of them, where `door` is in force.
    pub(super) fn judge(&mut self, reading: Reading, door: &Door, now: Timestamp) -> News {
        let Some(path) = &self.path else { return News::None };
        if reading.digest == self.in_force {
            if self.trouble.take().is_some() {
                return News::Mended;
            }
            let valid = door.valid_at(now);
            let before = std::mem::replace(&mut self.expired, valid.is_err());
            return match valid {
                Err(fault) if !before => News::Expired(fault.to_string()),
                _ => News::None,
            };
        }
        let digest = reading.digest;
        match reading.open(path, now) {
            Ok(opened) => {
                (self.in_force, self.trouble, self.expired) = (digest, None, false);
                News::Opened(Box::new(opened))
            }
            Err(why) if self.trouble.as_ref() == Some(&why) => News::None,
            Err(why) => {
                self.trouble = Some(why.clone());
                News::Broken(why)
            }
        }
    }
}

impl Opened {
    /// Says what is odd about it, here and in its files.
    pub(super) fn warn(&self, server: &Server, address: SocketAddr) {
        for warning in self.warnings.iter().chain(&oddities(server, address, &self.door)) {
            tracing::warn!("{warning}");
        }
    }
}

/// Whether the port of this config speaks TLS. The certificate may have expired meanwhile; the port speaks it all the same.
pub fn speaks_tls(config: &Config) -> Result<bool, Fault> {
    let Some(path) = &config.server.web_config else { return Ok(false) };
    Reading::take(path).found.map(|found| found.parts.tls.is_some()).map_err(Fault::Usage)
}

/// Reads the web config as `serve` would, and says what is odd about it. Opens no port.
pub fn check_web_config(config: &Config) -> Result<Vec<String>, Fault> {
    let server = &config.server;
    let Opened { door, mut warnings } = match &server.web_config {
        None => Opened { door: Door::default(), warnings: Vec::new() },
        Some(path) => Reading::take(path).open(path, wall_now()).map_err(Fault::Usage)?,
    };
    warnings.extend(oddities(server, server.listen, &door));
    Ok(warnings)
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;

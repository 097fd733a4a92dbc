//! What the daemon reads of disk and environment: config, included files, secrets, the key of canary names.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::access::TokenName;
use crate::config::{self, Config, Disk, Sink, SinkUrl, Source, StorePlace};
use crate::round::ignores;
use crate::secret::{Place, SECRET_LIMIT, Secret, SecretFault, strip_line_end};
use crate::store::Server;

use super::{Fault, hardening, wall_now};

/// A config that was read.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Arc<Config>,
    /// What is odd about it without being wrong.
    pub warnings: Vec<String>,
}

/// The largest config file, in bytes.
const CONFIG_LIMIT: u64 = 16 * 1024 * 1024;

/// Reads and validates a config file with everything that it includes.
pub fn load_config(path: &Path) -> Result<Loaded, Fault> {
    let text =
        read_text(path).map_err(|why| Fault::Usage(format!("the config file '{}' {why}", path.display())))?;
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let name = path.display().to_string();
    let parsed = config::parse(Source { name: &name, text: &text }, &RealDisk { folder })
        .map_err(|mistakes| Fault::Usage(mistakes.to_string()))?;
    let mut warnings = parsed.warnings;
    // Whether a day is over only a clock can say, which the reader of the text has not.
    warnings.extend(
        ignores::expired(&parsed.config, wall_now()).map(|(_, sentence)| format!("{name}: {sentence}")),
    );
    Ok(Loaded { config: Arc::new(parsed.config), warnings })
}

fn read_text(path: &Path) -> Result<String, String> {
    let why = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "does not exist; name another with --config".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "may not be read by this user; change its mode or owner".to_owned()
        }
        io::ErrorKind::InvalidData => "is not UTF-8 text; save it as such".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory; name the file in it".to_owned(),
        kind => format!("cannot be read ({kind})"),
    };
    let file = File::open(path).map_err(why)?;
    if file.metadata().map_err(why)?.is_dir() {
        return Err("is a directory; name the file in it".to_owned());
    }
    let mut text = String::new();
    file.take(CONFIG_LIMIT + 1).read_to_string(&mut text).map_err(why)?;
    if text.len() as u64 > CONFIG_LIMIT {
        return Err("is larger than 16 MiB".to_owned());
    }
    Ok(text)
}

struct RealDisk {
    folder: PathBuf,
}

impl Disk for RealDisk {
    fn list(&self, directory: &Path) -> Result<Vec<String>, String> {
        let entries = fs::read_dir(directory).map_err(|error| error.kind().to_string())?;
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .filter(|entry| !entry.path().is_dir())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        Ok(names)
    }

    fn include(&self, pattern: &str) -> Result<Vec<(String, String)>, String> {
        let whole = self.folder.join(pattern);
        let paths = glob::glob(&whole.to_string_lossy()).map_err(|error| error.msg.to_owned())?;
        let mut files = Vec::new();
        for path in paths {
            let path = path.map_err(|error| error.error().kind().to_string())?;
            let text = read_text(&path).map_err(|why| format!("'{}' {why}", path.display()))?;
            files.push((path.display().to_string(), text));
        }
        files.sort();
        Ok(files)
    }
}

/// Reads secrets where they lie. A variable is read once, because it cannot change; a file is read every time.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    variables: BTreeMap<String, Result<Secret, SecretFault>>,
}

impl Secrets {
    pub(super) fn read(&mut self, place: &Place) -> Result<Secret, SecretFault> {
        match place {
            Place::File(path) => Secret::from_bytes(&read_secret_file(path)?),
            Place::Env(name) => {
                self.variables.entry(name.clone()).or_insert_with(|| read_variable(name)).clone()
            }
        }
    }
}

/// The address of a sink, and its secret.
type SinkParts = (Secret, Option<Secret>);

/// Reads what sinks need, beside the round; clones share the variables.
#[derive(Debug, Clone, Default)]
pub(super) struct SinkSecrets(Arc<Mutex<Secrets>>);

impl SinkSecrets {
    pub(super) fn of(&self, sink: &Sink) -> Result<SinkParts, SecretFault> {
        let mut secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let url = match &sink.url {
            SinkUrl::Plain(url) => Secret::from_bytes(url.as_bytes())?,
            SinkUrl::Secret(place) => secrets.read(place)?,
        };
        let secret = sink.secret.as_ref().map(|place| secrets.read(place)).transpose()?;
        Ok((url, secret))
    }
}

fn read_variable(name: &str) -> Result<Secret, SecretFault> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads a secret from the environment")]
    let value = std::env::var_os(name).ok_or(SecretFault::Missing)?;
    Secret::from_bytes(value.as_encoded_bytes())
}

/// Linux's number of the flag.
pub(super) const O_NONBLOCK: i32 = 0o4000;

/// Opens once and looks at what was opened, so that a swapped link cannot be read half-way.
fn read_secret_file(path: &Path) -> Result<Vec<u8>, SecretFault> {
    // Without waiting: a pipe in the place of a file would hold the daemon for ever.
    let opened = fs::OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path);
    let file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => SecretFault::Missing,
        _ => SecretFault::Unreadable,
    })?;
    let about = file.metadata().map_err(|_| SecretFault::Unreadable)?;
    if !about.is_file() {
        return Err(SecretFault::NotAFile);
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(SECRET_LIMIT).unwrap_or(u64::MAX);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|_| SecretFault::Unreadable)?;
    Ok(bytes)
}

/// What deserves a warning about secrets and process: files that others may read, and running as root.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut said = Vec::new();
    for token in &config.tokens {
        if let Place::File(path) = &token.secret
            && mode(path).is_some_and(|mode| mode & 0o007 != 0)
        {
            said.push(format!(
                "the secret of '{}' may be read by every user of this machine; chmod o-rwx '{}'",
                token.name,
                path.display()
            ));
        }
    }
    said.extend(machine_warnings());
    said
}

/// Who may do what with a file, as `chmod` has it.
pub(super) fn mode(path: &Path) -> Option<u32> {
    Some(fs::metadata(path).ok()?.mode() & 0o7777)
}

/// What deserves a warning about process and machine.
pub(super) fn machine_warnings() -> Vec<String> {
    let root = "scopewatch runs as root; it needs no privileges, so give it a user of its own";
    let root = hardening::is_root().then(|| root.to_owned());
    root.into_iter().chain(hardening::swap_warning().map(str::to_owned)).collect()
}

/// Secrets that cannot be read within this are unreadable.
pub(super) const KEYS_WITHIN: Duration = Duration::from_secs(10);

/// The tokens of the config, each with its secret or what is wrong with it.
pub(super) type Keys = Vec<(TokenName, Result<Secret, SecretFault>)>;

/// Reads the secrets of all tokens. Files may lie on anything, and nobody waits for a disk for ever.
pub(super) async fn read_keys(config: Arc<Config>, secrets: &mut Secrets) -> Keys {
    let mut taken = std::mem::take(secrets);
    let names: Vec<TokenName> = config.tokens.iter().map(|token| token.name.clone()).collect();
    let read = tokio::task::spawn_blocking(move || {
        let keys = config.tokens.iter().map(|t| (t.name.clone(), taken.read(&t.secret))).collect();
        (keys, taken)
    });
    match timeout(KEYS_WITHIN, read).await {
        Ok(Ok((keys, taken))) => {
            *secrets = taken;
            keys
        }
        _ => names.into_iter().map(|name| (name, Err(SecretFault::Unreadable))).collect(),
    }
}

/// Plants the defect that a test asks for.
#[cfg(all(feature = "failpoints", not(test)))]
pub(super) fn plant() -> Result<(), Fault> {
    use crate::planted;
    #[expect(clippy::disallowed_methods, reason = "the defect of a test; no release has this")]
    let Ok(word) = std::env::var("SCOPEWATCH_PLANTED") else { return Ok(()) };
    let defect = word.parse().map_err(|()| Fault::Internal(format!("there is no defect '{word}'")))?;
    planted::choose(defect);
    Ok(())
}

/// The server that holds the store; `None` where it is a file.
pub(super) fn server(config: &Config) -> Result<Option<Server>, Fault> {
    let place = match &config.store {
        StorePlace::Sqlite(_) => return Ok(None),
        StorePlace::PostgresUrl(url) => return Ok(Some(Server::of(url)?)),
        StorePlace::Postgres(place) => place,
    };
    let url = Secrets::default().read(place);
    let url = url.map_err(|fault| Fault::Usage(format!("store.url: the secret in {place} {fault}")))?;
    Ok(Some(Server::of(url.expose())?))
}

/// Bytes of a key that is made here.
const KEY_BYTES: usize = 32;

/// The key that signs canary names: the configured one, else the one beside the SQLite store, made if absent.
pub(super) fn canary_key(config: &Config) -> Result<Vec<u8>, Fault> {
    match (&config.canary_key, &config.store) {
        (Some(place), _) => configured_key(place),
        (None, StorePlace::Sqlite(store)) => key_beside(&store.with_extension("key")),
        (None, StorePlace::Postgres(_) | StorePlace::PostgresUrl(_)) => Err(Fault::Usage(
            "canary_key is needed with PostgreSQL: 32 bytes or more, the same for every replica".to_owned(),
        )),
    }
}

/// Whether there is a good key, without making one: `None` where the first start will make it.
pub(super) fn canary_key_stands(config: &Config) -> Result<Option<Place>, Fault> {
    if let (None, StorePlace::Sqlite(store)) = (&config.canary_key, &config.store) {
        let key = store.with_extension("key");
        return match fs::symlink_metadata(&key) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => key_beside(&key).map(|_| Some(Place::File(key))),
        };
    }
    canary_key(config).map(|_| config.canary_key.clone())
}

fn configured_key(place: &Place) -> Result<Vec<u8>, Fault> {
    let read = match place {
        Place::File(path) => fs::read(path).map_err(|error| error.kind().to_string()),
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that reads the key from the environment"
        )]
        Place::Env(name) => std::env::var_os(name)
            .map(|v| v.as_encoded_bytes().to_vec())
            .ok_or_else(|| "it is not set".to_owned()),
    };
    let bytes = read.map_err(|why| Fault::Usage(format!("canary_key ({place}) cannot be read: {why}")))?;
    let key = strip_line_end(&bytes);
    if key.len() < KEY_BYTES {
        return Err(Fault::Usage(format!(
            "canary_key ({place}) is shorter than 32 bytes; make one with `head -c 32 /dev/urandom | base64`"
        )));
    }
    Ok(key.to_vec())
}

fn key_beside(path: &Path) -> Result<Vec<u8>, Fault> {
    let fault = |what: &str, error: &io::Error| {
        Fault::Usage(format!(
            "the key of canary names '{}' {what} ({}); set canary_key, or mend the directory",
            path.display(),
            error.kind()
        ))
    };
    match fs::read(path) {
        Ok(key) if key.len() >= KEY_BYTES => return Ok(key),
        Ok(_) => {
            return Err(Fault::Usage(format!(
                "the key of canary names '{}' is shorter than 32 bytes; restore it from a backup, or remove it to have a new one made",
                path.display()
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fault("cannot be read", &error)),
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|_| Fault::Internal("the system gives no randomness".to_owned()))?;
    let write = || -> io::Result<()> {
        // Under another name first, so that a crash leaves no half of a key.
        let draft = path.with_extension("key.new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&key)?;
        failpoint!("key.drafted");
        file.sync_all()?;
        failpoint!("key.synced");
        fs::rename(&draft, path)?;
        failpoint!("key.renamed");
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| fault("cannot be made", &error))?;
    Ok(key.to_vec())
}

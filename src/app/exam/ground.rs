//! The ground on which the journal stands: directory, disk, lock, the file itself. Looked at without disturbing whoever
//! uses it, and nothing of it is left behind.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{statfs, statvfs};

use crate::config::Config;
use crate::secret::Place;
use crate::store::{self, Store, StoreFault};

use super::super::files::canary_key_stands;
use super::super::{Fault, sqlite_path, store_to_read, wall_now};

/// What lies under the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Medium {
    /// The kernel's number of the kind of file system.
    pub magic: u64,
    /// Bytes that this user may still write.
    pub free: u64,
}

/// What is in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub unfinished: usize,
    /// Organizations in which creating is latched off.
    pub latched: Vec<String>,
}

/// All that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// Its path, or that it is a database.
    pub path: String,
    /// Whether it is a database on a server, which several replicas may use.
    pub shared: bool,
    /// Whether a running process holds it.
    pub held: Result<bool, StoreFault>,
    /// What is in it; `None` where there is no file yet.
    pub stored: Result<Option<Stored>, StoreFault>,
    /// Whether something can be written beside it and made durable; `None` where it was not tried, because it is held.
    pub written: Option<Result<(), io::ErrorKind>>,
    pub medium: Option<Medium>,
    /// Where the key of canary names lies; `None` where the first start will make it. Or the sentence about what is
    /// wrong with it.
    pub key: Result<Option<Place>, String>,
}

/// Looks.
pub async fn ground(config: &Arc<Config>) -> Result<Ground, Fault> {
    let key = canary_key_stands(config).map_err(|fault| fault.to_string());
    let Some(path) = sqlite_path(config) else { return shared(config, key).await };
    let path = path.to_owned();
    let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
    let held = Store::is_held_now(&path);
    let stored = match absolute.exists() {
        true => match Store::open(&path, store::Mode::Read, wall_now()).await {
            Ok(store) => stored(store).await.map(Some),
            Err(fault) => Err(fault),
        },
        false => Ok(None),
    };
    let directory = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    let try_it = held != Ok(true);
    let file = absolute.exists().then(|| absolute.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let written = try_it.then(|| writable(&directory, file.as_deref()).map_err(|error| error.kind()));
        (written, medium(&directory))
    });
    let (written, medium) = looked.await.unwrap_or((None, None));
    Ok(Ground { path: path.display().to_string(), shared: false, held, stored, written, medium, key })
}

/// A database on a server: it is opened as a replica would, and read.
async fn shared(config: &Config, key: Result<Option<Place>, String>) -> Result<Ground, Fault> {
    let (held, stored) = match store_to_read(config).await? {
        Ok(store) => {
            let held = store.is_led().await;
            (held, stored(store).await.map(Some))
        }
        Err(StoreFault::Missing { .. }) => (Ok(false), Ok(None)),
        Err(fault) => (Err(fault.clone()), Err(fault)),
    };
    let path = "the database".to_owned();
    Ok(Ground { path, shared: true, held, stored, written: None, medium: None, key })
}

async fn stored(store: Store) -> Result<Stored, StoreFault> {
    let kept = store.load(wall_now()).await;
    store.close().await;
    let kept = kept?;
    Ok(Stored {
        unfinished: kept.canaries.iter().filter(|canary| canary.unfinished()).count(),
        latched: kept.breakers.into_iter().map(|breaker| breaker.organization).collect(),
    })
}

/// Writes a little beside the store and makes it durable, then takes it away; and opens the store itself for writing.
fn writable(directory: &Path, file: Option<&Path>) -> io::Result<()> {
    let trial = directory.join(format!(".scopewatch-doctor-{}", std::process::id()));
    let written = || -> io::Result<()> {
        let mut made = OpenOptions::new().write(true).create_new(true).open(&trial)?;
        made.write_all(&[0; 4096])?;
        made.sync_all()?;
        File::open(directory)?.sync_all()
    };
    let result = written();
    match fs::remove_file(&trial) {
        Err(error) if result.is_ok() => return Err(error),
        _ => result?,
    }
    match file {
        Some(file) => OpenOptions::new().write(true).open(file).map(drop),
        None => Ok(()),
    }
}

fn medium(directory: &Path) -> Option<Medium> {
    let magic = statfs(directory).ok()?.f_type;
    let room = statvfs(directory).ok()?;
    let magic = u64::try_from(magic).unwrap_or_default();
    Some(Medium { magic, free: room.f_bavail.saturating_mul(room.f_frsize) })
}

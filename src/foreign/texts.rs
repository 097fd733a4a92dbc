//! Files that people write: the configuration with what it includes, and the world of the simulated Hub. What is
//! accepted is sound, what is refused is refused in words that show no token, and each reading is like the last.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use crate::config::{self, Config, Disk, Source};

use super::{steers, token_shapes};

/// The files beside the main one, as the text has them.
struct Folder<'t> {
    files: Vec<(&'t str, &'t str)>,
}

impl Disk for Folder<'_> {
    fn list(&self, directory: &Path) -> Result<Vec<String>, String> {
        let names = self.files.iter().map(|(name, _)| (*name).to_owned()).collect();
        if directory.ends_with("none") { Err("no such directory".to_owned()) } else { Ok(names) }
    }

    fn include(&self, pattern: &str) -> Result<Vec<(String, String)>, String> {
        let fits = |(name, _): &&(&str, &str)| pattern.contains('*') || *name == pattern;
        let found = self.files.iter().filter(fits);
        Ok(found.map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }
}

/// The main file; then, after a line `--- NAME`, each further file.
pub(super) fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split("\n--- ");
    let main = parts.next().unwrap_or_default();
    let files = parts.take(4).map(|part| part.split_once('\n').unwrap_or((part, ""))).collect();
    let disk = Folder { files };
    let source = Source { name: "scopewatch.yaml", text: main };
    let read = config::parse(source, &disk);
    let shapes = token_shapes(&text);
    match &read {
        Ok(parsed) => {
            sound(&parsed.config);
            let shown = format!("{:?}", parsed.config);
            // Names of files in a directory of secrets are names of tokens; those are shown.
            let named = disk.files.iter().any(|(name, _)| !token_shapes(name).is_empty());
            assert!(named || token_shapes(&shown).is_empty(), "a token in what was read: {shown}");
            for warning in &parsed.warnings {
                assert!(named || token_shapes(warning).is_empty(), "{warning:?}");
                assert!(!steers(warning), "{warning:?}");
            }
        }
        Err(mistakes) => {
            assert!(mistakes.count() > 0, "refused without a mistake");
            let shown = mistakes.to_string();
            let leaked = shapes.iter().find(|shape| shown.contains(**shape));
            assert_eq!(leaked, None, "a token in what is told: {shown}");
            assert!(shown.lines().all(|line| !steers(line) && line.chars().count() < 1000), "{shown:?}");
            assert!(mistakes.iter().all(|one| one.line > 0 && one.column > 0 && !one.help.is_empty()));
        }
    }
    // Maps without order would tell another story at every reload.
    assert_eq!(config::parse(source, &disk), read, "read again, it is another");
}

/// What the rest of the daemon relies on without looking again.
fn sound(config: &Config) {
    let hub = &config.hub;
    assert!(hub.quota_share > 0.0 && hub.quota_share <= 1.0 && hub.max_in_flight > 0);
    let floor = Duration::from_secs(if hub.loopback { 1 } else { 60 });
    assert!(hub.in_flight_horizon >= floor && hub.request_timeout > Duration::ZERO);
    assert!(hub.endpoint.starts_with("http") && !hub.endpoint.ends_with('/') && !hub.endpoint.contains('@'));
    assert!(!config.tokens.is_empty() && !config.organizations.is_empty());
    let names: HashSet<&str> = config.tokens.iter().map(|token| token.name.as_str()).collect();
    assert_eq!(names.len(), config.tokens.len(), "two tokens of one name");
    for token in &config.tokens {
        assert!(config.organization(&token.organization).is_some(), "nowhere: {}", token.organization);
        let keys: HashSet<_> = token.checks.iter().map(|check| check.key()).collect();
        assert_eq!(keys.len(), token.checks.len(), "a check stands twice");
        assert!(token.checks.iter().all(|check| check.token == token.name));
    }
    for organization in &config.organizations {
        let prefix = &organization.canary_prefix;
        let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        assert!(prefix.bytes().all(fine) && prefix.len() <= 24 && !prefix.contains("--"), "{prefix:?}");
        for named in [&organization.janitor, &organization.inventory].into_iter().flatten() {
            assert!(config.token(named).is_some(), "there is no token {named}");
        }
        assert!(organization.sentinel.as_ref().is_none_or(|s| s.namespace == organization.name));
    }
    for ignore in &config.ignores {
        assert!(config.token(&ignore.token).is_some() && !ignore.reason.is_empty());
    }
}

#[cfg(feature = "simulator")]
pub(super) fn world(bytes: &[u8]) {
    use crate::simulator::World;

    let text = String::from_utf8_lossy(bytes);
    match World::from_yaml(&text) {
        Ok(world) => {
            let again = serde_json::to_string(&world).unwrap_or_default();
            let read =
                World::from_yaml(&again).map(|world| serde_json::to_string(&world).unwrap_or_default());
            assert_eq!(read, Ok(again.clone()), "written out, it is another world");
        }
        Err(why) => {
            assert!(!why.is_empty());
            let leaked = token_shapes(&text).into_iter().find(|shape| why.contains(*shape));
            assert_eq!(leaked, None, "a token in what is told: {why}");
        }
    }
}

/// Without the simulator there is no world.
#[cfg(not(feature = "simulator"))]
pub(super) fn world(_: &[u8]) {}

//! Changing the world while it runs: a JSON merge patch (RFC 7386) on it in the world file's shape.
//! Knows how repositories that were created meanwhile come through; knows nothing of HTTP.
//! Serves the steering.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Map;
use serde_json::Value;

use crate::simulator::state::Doer;
use crate::simulator::state::RepoKey;
use crate::simulator::state::State;
use crate::simulator::words::Kind;
use crate::simulator::world::RepoEntry;
use crate::simulator::world::World;
use crate::simulator::world::repo_key;

impl State {
    /// All or nothing: a patch that makes no sense changes nothing.
    pub(super) fn patch(&mut self, mut patch: Value) -> Result<(), String> {
        if !patch.is_object() {
            return Err("a patch of the world is an object in the world file's shape".to_owned());
        }
        let mut file = serde_json::to_value(&self.world).map_err(|error| error.to_string())?;
        let repos = self.repos.values().map(|repo| (full_key(repo.kind, &repo.name), repo.entry()));
        file["repos"] = Value::Object(repos.collect());
        if let Some(Value::Object(repos)) = patch.get_mut("repos") {
            *repos = self.name_fully(std::mem::take(repos))?;
        }
        merge(&mut file, patch);
        let mut world = World::from_json(file)?;
        let entries = std::mem::take(&mut world.repos);
        let entries = entries.into_iter().map(|(key, entry)| {
            let (kind, name) = repo_key(&key, entry.kind)?;
            Ok(((kind, name.to_owned()), entry))
        });
        let entries = entries.collect::<Result<BTreeMap<RepoKey, RepoEntry>, String>>()?;
        self.world = world;
        self.reconcile(&entries);
        Ok(())
    }

    fn reconcile(&mut self, entries: &BTreeMap<RepoKey, RepoEntry>) {
        let gone: BTreeSet<RepoKey> =
            self.repos.keys().filter(|key| !entries.contains_key(*key)).cloned().collect();
        for key in gone {
            if let Some(repo) = self.repos.remove(&key) {
                self.note(Doer::STEERING, "removed", &repo, None);
            }
        }
        for (key, entry) in entries {
            if let Some(repo) = self.repos.get_mut(key) {
                repo.take_over(entry);
            } else {
                self.place(key.0, &key.1, entry);
                let repo = self.repos[key].clone();
                self.note(Doer::STEERING, "planted", &repo, None);
            }
        }
    }

    /// Gives every key of a patch its type, so that it meets the repository it means.
    fn name_fully(&self, repos: Map<String, Value>) -> Result<Map<String, Value>, String> {
        let mut named = Map::new();
        for (key, value) in repos {
            let declared = value.get("type").and_then(Value::as_str).and_then(Kind::from_name);
            let (kind, name) = repo_key(&key, declared)?;
            let plain = declared.is_none() && !key.contains(':');
            let mut same = self.repos.keys().filter(|(_, known)| known == name).map(|(kind, _)| *kind);
            let kind = match (plain, same.next(), same.next()) {
                (true, Some(only), None) => only,
                _ => kind,
            };
            named.insert(full_key(kind, name), value);
        }
        Ok(named)
    }
}

fn full_key(kind: Kind, name: &str) -> String {
    format!("{}:{name}", kind.name())
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(entries) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            entries.remove(&key);
        } else {
            merge(entries.entry(key).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merging_follows_the_rfc() {
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b", "b": 1}), json!({"a": null}), json!({"b": 1})),
            (json!({"a": ["b"]}), json!({"a": {"c": null, "d": 1}}), json!({"a": {"d": 1}})),
            (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": 3}}), json!({"a": {"b": 3, "c": 2}})),
            (json!([1]), json!([2]), json!([2])),
        ];
        for (mut target, patch, expected) in cases {
            merge(&mut target, patch);
            assert_eq!(target, expected);
        }
    }
}

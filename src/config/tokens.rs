//! Organizations, their tokens, and the drift that was accepted: who refers to whom.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::checks::{self, Expectation, Lists};
use super::fields::{Fields, suggest};
use super::keys;
use super::mistakes::{Log, Spot, quoted};
use super::redact;
use super::tree::{Node, Value};
use super::{Disk, Pin, PinScope, Token};
use crate::access::{Severity, TokenName};
use crate::secret::Place;

/// Tokens as they are read, from all files.
pub(super) struct Tokens<'a> {
    pub(super) all: Vec<Token>,
    /// Where each name was given first.
    pub(super) names: BTreeMap<String, Spot>,
    pub(super) organizations: &'a [String],
    pub(super) lists: &'a Lists,
    /// Lists that some token uses.
    pub(super) used: std::collections::HashSet<&'a str>,
}

/// What tokens have in common, whether given one by one or by directory.
struct Common<'a> {
    organization: Option<String>,
    owner: String,
    severity: Severity,
    expect: Vec<Expectation<'a>>,
    declared: Option<Pin>,
}

impl<'a> Tokens<'a> {
    pub(super) fn read(&mut self, items: &[Node], defaults: Option<&Node>, disk: &dyn Disk, log: &mut Log) {
        for item in items {
            if item.under("from_directory").is_some() {
                self.directory(item, defaults, disk, log);
            } else {
                self.single(item, defaults, log);
            }
        }
    }

    fn single(&mut self, node: &Node, defaults: Option<&Node>, log: &mut Log) {
        let Some(token) = Fields::open(Some(node), node.at, defaults, &keys::TOKEN, log) else { return };
        let name = token.need("name", log);
        let at = name.map_or(node.at, |name| name.at);
        let name = name.and_then(|node| log.name(node, "the name of a token"));
        let secret = token.need("secret", log).and_then(|node| log.place(node));
        let common = self.common(&token, log);
        if let Some(name) = name {
            self.admit(name, at, secret, &common, log);
        }
    }

    fn directory(&mut self, node: &Node, defaults: Option<&Node>, disk: &dyn Disk, log: &mut Log) {
        if let Value::Map(pairs) = &node.value {
            for (key, _) in pairs.iter().filter(|(key, _)| matches!(key.word(), "name" | "secret")) {
                let message = format!("`{}` has no meaning beside `from_directory`", key.word());
                log.mistake(
                    key.at,
                    message,
                    "each file is a token, named after the file, its content the secret",
                );
            }
        }
        let node = node.filtered(|key| !matches!(key.word(), "name" | "secret"));
        let Some(entry) = Fields::open(Some(&node), node.at, defaults, &keys::DIRECTORY, log) else { return };
        let directory = entry.need("from_directory", log);
        let at = directory.map_or(node.at, |node| node.at);
        let directory = directory.and_then(|node| log.path(node));
        let common = self.common(&entry, log);
        let Some(directory) = directory else { return };
        match disk.list(&directory) {
            Err(why) => {
                let message = format!("the directory of tokens cannot be listed: {}", redact::text(&why));
                log.mistake(
                    at,
                    message,
                    "it must exist and be readable, or nobody knows which tokens there are",
                );
            }
            Ok(mut files) => {
                files.retain(|file| !file.starts_with('.'));
                files.sort();
                if files.is_empty() {
                    log.warn(at, "the directory of tokens is empty".to_owned());
                }
                for file in files {
                    self.file(&directory, &file, at, &common, log);
                }
            }
        }
    }

    fn file(&mut self, directory: &Path, file: &str, at: Spot, common: &Common<'a>, log: &mut Log) {
        if redact::holds_token(file) {
            let message = "a file in this directory is named like an access token".to_owned();
            log.mistake(at, message, "name it after what the token is for; the secret is its content");
            return;
        }
        let name = Node { value: Value::Text(file.to_owned()), at };
        if let Some(name) = log.name(&name, "the name of a file of this directory") {
            let place = Place::File(directory.join(name));
            self.admit(name, at, Some(place), common, log);
        }
    }

    fn common(&mut self, token: &Fields<'_>, log: &mut Log) -> Common<'a> {
        let organization = token.need("organization", log).and_then(|node| {
            let name = log.words(node)?;
            // With no valid organization at all there is nothing to compare with, and one mistake is enough.
            if !self.organizations.is_empty() && !self.organizations.iter().any(|known| known == name) {
                let message = format!("no organization is named {}", log.quote(node));
                let known = self.organizations.iter().map(String::as_str).collect();
                log.mistake(node.at, message, suggest(name, known, "under `organizations:` are"));
                return None;
            }
            Some(name.to_owned())
        });
        let owner = token.own("owner").and_then(|node| log.name(node, "an owner"));
        let severities: Vec<_> = Severity::ALL.iter().map(|word| (word.as_str(), *word)).collect();
        let severity = token.get("severity").and_then(|node| log.choice(node, "a severity", &severities));
        let expect = checks::expectations(token.list("expect", log), self.lists, log);
        for expectation in &expect {
            if let Expectation::Listed(_, name, _) = expectation {
                self.used.insert(name);
            }
        }
        let declared = token.own("declared").and_then(|node| pin(node, log));
        Common {
            organization,
            owner: owner.unwrap_or_default().to_owned(),
            severity: severity.unwrap_or(Severity::Critical),
            expect,
            declared,
        }
    }

    /// One token more, unless its name is taken.
    fn admit(&mut self, name: &str, at: Spot, secret: Option<Place>, common: &Common<'a>, log: &mut Log) {
        if let Some(first) = self.names.get(name) {
            let message = format!("two tokens are named {}", quoted(name));
            let file = if first.source == at.source { "" } else { " of another file" };
            log.mistake(
                at,
                message,
                format!("the first is in line {}{file}; a name stands for one token", first.line),
            );
            return;
        }
        self.names.insert(name.to_owned(), at);
        let name = TokenName::new(name);
        let organization = common.organization.as_deref().unwrap_or_default();
        let checks = checks::checks(&name, organization, &common.expect, log);
        if let (Some(secret), Some(organization)) = (secret, &common.organization) {
            self.all.push(Token {
                name,
                organization: organization.clone(),
                secret,
                owner: common.owner.clone(),
                severity: common.severity,
                checks,
                declared: common.declared.clone(),
                stated: log.stated(at),
            });
        }
    }
}

/// What whoami must say.
fn pin(node: &Node, log: &mut Log) -> Option<Pin> {
    let pin = Fields::open(Some(node), node.at, None, &keys::PIN, log)?;
    let user = pin.own("user").map(|node| log.name(node, "the name of a user"));
    let role = pin.own("role").map(|node| {
        let role = log.name(node, "a role")?;
        let known = ["fineGrained", "read", "write"];
        if !known.contains(&role) {
            let advice = suggest(role, known.to_vec(), "roles that are known");
            log.warn(node.at, format!("the Hub is not known to have a role {}; {advice}", quoted(role)));
        }
        Some(role)
    });
    let scopes = pin.own("scopes").map(|_| pin.list("scopes", log));
    let scopes = scopes.map(|items| items.iter().filter_map(|item| scope(item, log)).collect());
    if user.is_none() && role.is_none() && scopes.is_none() {
        log.warn(node.at, "`declared` pins nothing; give it `user`, `role` or `scopes`".to_owned());
        return None;
    }
    Some(Pin { user: user.flatten().map(str::to_owned), role: role.flatten().map(str::to_owned), scopes })
}

fn scope(node: &Node, log: &mut Log) -> Option<PinScope> {
    let scope = Fields::open(Some(node), node.at, None, &keys::SCOPE, log)?;
    let entity = scope.need("entity", log).and_then(|node| {
        let entity = log.words(node)?;
        if !entity.split_once(':').is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty()) {
            let message = format!("{} is not an entity", log.quote(node));
            log.mistake(
                node.at,
                message,
                "write it as KIND:NAME, such as org:acme, user:bob or model:acme/x",
            );
            return None;
        }
        Some(entity.to_owned())
    });
    scope.need("permissions", log);
    let permissions = scope.list("permissions", log);
    let permissions = permissions.iter().filter_map(|node| log.words(node).map(str::to_owned)).collect();
    Some(PinScope { entity: entity?, permissions })
}

/// A reference to a token by its name.
pub(super) fn reference(node: &Node, names: &BTreeMap<String, Spot>, log: &mut Log) -> Option<TokenName> {
    let name = log.words(node)?;
    if names.contains_key(name) {
        return Some(TokenName::new(name));
    }
    let message = format!("no token is named {}", log.quote(node));
    let known: Vec<&str> = names.keys().map(String::as_str).collect();
    log.mistake(node.at, message, suggest(name, known, "the tokens are"));
    None
}

/// Warns of lists that no token uses.
pub(super) fn unused(lists: &Lists, used: &std::collections::HashSet<&str>, log: &mut Log) {
    let mut idle: HashMap<&str, Spot> = HashMap::new();
    idle.extend(
        lists.iter().filter(|(name, _)| !used.contains(name.as_str())).map(|(n, (at, _))| (n.as_str(), *at)),
    );
    for (name, at) in idle {
        log.warn(at, format!("no token uses the expectations {}", quoted(name)));
    }
}

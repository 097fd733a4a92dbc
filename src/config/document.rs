//! The whole document: files into trees, trees into sections, sections into one `Config`, and every reference
//! between them followed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

use chrono::{NaiveDate, NaiveTime};

use super::checks::{self, Lists};
use super::fields::Fields;
use super::keys;
use super::mistakes::{Log, Mistakes, Spot, quoted};
use super::tokens::{self, Tokens};
use super::tree::{self, Node, Value};
use super::{Config, Disk, Ignore, Organization, Parsed, Source, StorePlace, redact, settings};
use crate::access::{Check, Derived, Permission, RepoName, TokenName};
use crate::moment::Timestamp;

/// The documented example. What it says is what holds where a configuration says nothing.
pub(super) const EXAMPLE: &str = include_str!("../../config/scopewatch.yaml");

/// The tree of the example, read once.
pub(super) static DEFAULTS: LazyLock<Node> = LazyLock::new(|| {
    let nothing = Node { value: Value::Empty, at: Spot { source: 0, line: 1, column: 1, start: 0, end: 0 } };
    tree::read(&mut Log::new(), 0).unwrap_or(nothing)
});

/// See `parse`.
pub(super) fn read(main: Source<'_>, disk: &dyn Disk) -> Result<Parsed, Mistakes> {
    let mut log = Log::new();
    let main = log.add(main.name, main.text);
    let config = tree(main, &mut log).and_then(|node| assemble(&node, &DEFAULTS, disk, &mut log));
    let (config, warnings) = log.finish(config)?;
    Ok(Parsed { config, warnings })
}

/// The tree of one source, with all that must be hidden in it noted.
fn tree(source: usize, log: &mut Log) -> Option<Node> {
    let node = tree::read(log, source);
    match &node {
        Some(node) => redact::scan(node, log),
        None => log.distrust(source),
    }
    node
}

fn assemble(main: &Node, defaults: &Node, disk: &dyn Disk, log: &mut Log) -> Option<Config> {
    let root = Fields::open(Some(main), main.at, None, &keys::ROOT, log)?;
    let included = included(&root, disk, log);
    let files: Vec<Fields<'_>> = included
        .iter()
        .filter_map(|node| Fields::open(Some(node), node.at, None, &keys::INCLUDED, log))
        .collect();

    let mut lists = Lists::new();
    for file in std::iter::once(&root).chain(&files) {
        checks::lists(file, &mut lists, log);
    }
    let shared = ["canary_prefix", "max_creations_per_day", "adopt_authentic"];
    let defaults_of_organizations = first(defaults, "organizations", &shared);
    let written = organizations(&root, defaults_of_organizations.as_ref(), log);
    let organizations: Vec<String> = written.iter().map(|one| one.name.clone()).collect();
    let defaults_of_tokens = first(defaults, "tokens", &["severity"]);
    let mut tokens = Tokens {
        all: Vec::new(),
        names: BTreeMap::new(),
        organizations: &organizations,
        lists: &lists,
        used: HashSet::new(),
    };
    for file in std::iter::once(&root).chain(&files) {
        tokens.read(file.list("tokens", log), defaults_of_tokens.as_ref(), disk, log);
    }
    if tokens.names.is_empty() && root.own("tokens").is_none_or(is_empty_list) {
        let help = "add at least one to `tokens`: - { name: ci, organization: acme, secret: { file: … } }";
        let at = root.own("tokens").map_or(root.at, |node| node.at);
        log.mistake(at, "there is no token to watch".to_owned(), help);
    }
    tokens::unused(&lists, &tokens.used, log);
    let organizations: Vec<Organization> =
        written.into_iter().filter_map(|one| one.finish(&tokens.names, log)).collect();
    let ignores = root.list("ignores", log).iter().filter_map(|node| ignore(node, &tokens, log)).collect();

    let hub = settings::hub(&root, defaults, log);
    let schedule = settings::schedule(&root, defaults, log);
    let alerts = settings::alerts(&root, defaults, log);
    let server = settings::server(&root, defaults, log);
    let store = settings::store(&root, defaults, log);
    let canary_key = root.own("canary_key").map(|node| log.place(node));
    let config = Config {
        hub: hub?,
        schedule: schedule?,
        organizations,
        tokens: tokens.all,
        ignores,
        alerts: alerts?,
        server: server?,
        store: store?,
        canary_key: canary_key.flatten(),
        places: Derived::default(),
        likeness: Derived::default(),
    };
    mind(&config, root.at, log);
    Some(config)
}

fn is_empty_list(node: &Node) -> bool {
    matches!(&node.value, Value::List(items) if items.is_empty())
}

/// The trees of the files that `include:` names.
fn included(root: &Fields<'_>, disk: &dyn Disk, log: &mut Log) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut taken = HashSet::new();
    for pattern in root.list("include", log) {
        let Some(text) = log.words(pattern) else { continue };
        match disk.include(text) {
            Err(why) => {
                let message = format!("{} cannot be included: {}", log.quote(pattern), redact::text(&why));
                log.mistake(
                    pattern.at,
                    message,
                    "a path or a pattern such as tokens.d/*.yaml, relative to this file",
                );
            }
            Ok(files) if files.is_empty() => {
                let message = format!("{} matches no file", log.quote(pattern));
                log.warn(pattern.at, message);
            }
            Ok(files) => {
                for (name, text) in files {
                    if taken.insert(name.clone()) {
                        let source = log.add(&name, &text);
                        nodes.extend(tree(source, log));
                    }
                }
            }
        }
    }
    nodes
}

/// Of the example's first item under this key: the keys that are defaults of every item.
fn first(defaults: &Node, key: &str, shared: &[&str]) -> Option<Node> {
    match defaults.under(key).map(|node| &node.value) {
        Some(Value::List(items)) => {
            items.first().map(|item| item.filtered(|key| shared.contains(&key.word())))
        }
        _ => None,
    }
}

/// Bytes of a canary's prefix: the rest of its name takes up to 72 of the 96 that the Hub allows.
const PREFIX_LIMIT: usize = 24;

/// An organization whose references are still to be followed.
struct Written<'n> {
    name: String,
    janitor: Option<&'n Node>,
    inventory: Option<&'n Node>,
    rest: Option<(String, u32, bool)>,
    sentinel: Option<Option<RepoName>>,
    at: Spot,
}

impl Written<'_> {
    fn finish(self, tokens: &BTreeMap<String, Spot>, log: &mut Log) -> Option<Organization> {
        let janitor = self.janitor.map(|node| tokens::reference(node, tokens, log));
        let inventory = self.inventory.map(|node| tokens::reference(node, tokens, log));
        let (canary_prefix, max_creations_per_day, adopt_authentic) = self.rest?;
        Some(Organization {
            name: self.name,
            inventory: inventory.unwrap_or_else(|| janitor.clone().flatten()),
            janitor: janitor.flatten(),
            canary_prefix,
            max_creations_per_day,
            sentinel: self.sentinel.flatten(),
            adopt_authentic,
            stated: log.stated(self.at),
        })
    }
}

fn organizations<'n>(root: &Fields<'n>, defaults: Option<&'n Node>, log: &mut Log) -> Vec<Written<'n>> {
    let mut names: HashMap<String, Spot> = HashMap::new();
    let mut all = Vec::new();
    for node in root.list("organizations", log) {
        all.extend(organization(node, defaults, &mut names, log));
    }
    if names.is_empty() && root.own("organizations").is_none_or(is_empty_list) {
        let help = "add at least one to `organizations`: - { name: acme, janitor: NAME-OF-A-TOKEN }";
        let at = root.own("organizations").map_or(root.at, |node| node.at);
        log.mistake(at, "there is no organization".to_owned(), help);
    }
    all
}

fn organization<'n>(
    node: &'n Node,
    defaults: Option<&'n Node>,
    names: &mut HashMap<String, Spot>,
    log: &mut Log,
) -> Option<Written<'n>> {
    let entry = Fields::open(Some(node), node.at, defaults, &keys::ORGANIZATION, log)?;
    let name_node = entry.need("name", log);
    let name = name_node.and_then(|node| organization_name(node, log));
    let (janitor, inventory) = (entry.own("janitor"), entry.own("inventory"));
    let prefix = entry.need("canary_prefix", log).and_then(|node| prefix(node, log));
    let creations = entry.count("max_creations_per_day", log);
    let adopt = entry.need("adopt_authentic", log).and_then(|node| log.flag(node));
    let sentinel = entry.own("sentinel").map(|node| (node, log.repo(node)));
    let (name_node, name) = (name_node?, name?);
    if let Some((node, Some(repo))) = &sentinel
        && repo.namespace != name
    {
        let message = format!("the sentinel {} is not in {}", log.quote(node), quoted(&name));
        log.mistake(node.at, message, "write ORGANIZATION/NAME; the case counts");
    }
    if let Some(first) = names.insert(name.to_lowercase(), name_node.at) {
        let message = format!("two organizations are named {}", log.quote(name_node));
        let help = format!("the first is in line {}; on the Hub names differ in more than case", first.line);
        log.mistake(name_node.at, message, help);
        return None;
    }
    let rest = prefix.zip(creations).zip(adopt);
    let rest = rest.and_then(|((p, c), a)| Some((p, u32::try_from(c).ok()?, a)));
    let sentinel = sentinel.map(|(_, repo)| repo);
    Some(Written { name, janitor, inventory, rest, sentinel, at: entry.at })
}

/// What may become part of a path, as `RepoName` has it.
fn organization_name(node: &Node, log: &mut Log) -> Option<String> {
    let name = log.words(node)?;
    if format!("{name}/x").parse::<RepoName>().is_err() {
        let message = format!("{} is not the name of an organization", log.quote(node));
        log.mistake(
            node.at,
            message,
            "its name as in its address on the Hub: letters, digits, `-`, `_` and `.`",
        );
        return None;
    }
    Some(name.to_owned())
}

fn prefix(node: &Node, log: &mut Log) -> Option<String> {
    let prefix = log.words(node)?;
    let wrong = if !prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        "holds more than a-z, 0-9 and `-`"
    } else if prefix.starts_with('-') || prefix.ends_with('-') {
        "begins or ends with `-`"
    } else if prefix.contains("--") {
        "holds `--`"
    } else if prefix.len() > PREFIX_LIMIT {
        "is longer than 24 characters"
    } else {
        return Some(prefix.to_owned());
    };
    let message = format!("the canary prefix {} {wrong}", log.quote(node));
    log.mistake(
        node.at,
        message,
        "such as scopewatch-canary; the Hub allows 96 characters for the whole name",
    );
    None
}

fn ignore(node: &Node, tokens: &Tokens<'_>, log: &mut Log) -> Option<Ignore> {
    let ignore = Fields::open(Some(node), node.at, None, &keys::IGNORE, log)?;
    let token = ignore.need("token", log).and_then(|node| tokens::reference(node, &tokens.names, log));
    let permissions: Vec<_> = Permission::ALL.iter().map(|p| (p.as_str(), *p)).collect();
    let permission = ignore.own("permission").map(|node| log.choice(node, "a permission", &permissions));
    let target = ignore.own("target").map(|node| log.words(node));
    let kinds: Vec<_> = keys::ignorable().map(|kind| (kind.as_str(), kind)).collect();
    let kind = ignore.need("kind", log).and_then(|node| log.choice(node, "a kind of finding", &kinds));
    let owner = ignore.need("owner", log).and_then(|node| log.words(node));
    let reason = ignore.need("reason", log).and_then(|node| log.words(node));
    let until = ignore.need("until", log).and_then(|node| last_day(node, log));
    let ignore = Ignore {
        token: token?,
        permission: permission.flatten(),
        target: target.flatten().map(str::to_owned),
        kind: kind?,
        owner: owner?.to_owned(),
        reason: reason?.to_owned(),
        until: until?,
    };
    let of_a_check = ignore.permission.is_some() || ignore.target.is_some();
    let meant = tokens.all.iter().filter(|token| token.name == ignore.token).flat_map(|token| &token.checks);
    let meets = |check: &Check| {
        ignore.permission.is_none_or(|p| p == check.permission)
            && ignore.target.as_ref().is_none_or(|t| *t == check.target.to_string())
    };
    if of_a_check && !meant.clone().any(meets) {
        log.warn(node.at, format!("this ignore meets no check of token {}", quoted(ignore.token.as_str())));
    }
    Some(ignore)
}

/// Midnight (UTC) at the end of a day.
fn last_day(node: &Node, log: &mut Log) -> Option<Timestamp> {
    let end = NaiveDate::parse_from_str(node.word(), "%Y-%m-%d")
        .ok()
        .filter(|_| node.word().len() == 10)
        .and_then(|day| day.succ_opt())
        .map(|next| Timestamp(next.and_time(NaiveTime::MIN).and_utc().timestamp_millis()));
    if end.is_none() {
        let message = format!("{} is not a day", log.quote(node));
        log.mistake(node.at, message, "the last day on which it holds, such as 2026-12-31");
    }
    end
}

/// What is allowed, and probably not meant.
fn mind(config: &Config, at: Spot, log: &mut Log) {
    let ours = |token: &TokenName| {
        config.organizations.iter().any(|o| [&o.janitor, &o.inventory].contains(&&Some(token.clone())))
    };
    for token in config.tokens.iter().filter(|t| t.checks.is_empty() && !ours(&t.name)) {
        log.warn(at, format!("nothing is expected of token {}", quoted(token.name.as_str())));
    }
    for organization in config.organizations.iter().filter(|o| o.janitor.is_none()) {
        let creates = |check: &Check| check.organization == organization.name && check.creates();
        if config.tokens.iter().flat_map(|token| &token.checks).any(creates) {
            let name = quoted(&organization.name);
            log.warn(at, format!("{name} has no janitor: a canary that its own token cannot delete stays"));
        }
    }
    let postgres = matches!(config.store, StorePlace::Postgres(_) | StorePlace::PostgresUrl(_));
    if postgres && config.canary_key.is_none() {
        log.warn(at, "with PostgreSQL the replicas share a `canary_key`; there is none".to_owned());
    }
}

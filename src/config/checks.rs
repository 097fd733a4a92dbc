//! What is expected of a token: checks in place, and named lists of them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::fields::{Fields, suggest};
use super::keys::{self, Section};
use super::mistakes::{Log, Spot, quoted};
use super::tree::{Node, Value};
use crate::access::{
    Check, CheckKey, Derived, Expected, Method, Permission, Question, RepoName, RepoType, Target, TokenName,
};

/// A check before it is known whose it is.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    at: Spot,
    permission: Permission,
    target: Target,
    expected: Expected,
    method: Method,
    /// As asked of the tokens of each organization, which all share it.
    asked: RefCell<HashMap<String, Arc<Question>>>,
}

impl Draft {
    fn of(&self, organization: &str, log: &Log) -> Arc<Question> {
        if let Some(asked) = self.asked.borrow().get(organization) {
            return asked.clone();
        }
        let asked = Arc::new(Question {
            organization: organization.to_owned(),
            permission: self.permission,
            target: self.target.clone(),
            expected: self.expected,
            method: self.method.clone(),
            stated: log.stated(self.at),
            labels: Derived::default(),
        });
        self.asked.borrow_mut().insert(organization.to_owned(), asked.clone());
        asked
    }
}

/// The named lists, each with its place.
pub(super) type Lists = HashMap<String, (Spot, Vec<Draft>)>;

const PERMISSIONS: &[Permission] = Permission::ALL;

/// Adds the lists of one file's `expectations:`.
pub(super) fn lists(file: &Fields<'_>, into: &mut Lists, log: &mut Log) {
    let Some(node) = file.own("expectations") else { return };
    let Value::Map(pairs) = &node.value else {
        let help = "write `NAME: [ … ]`, one list of checks a name";
        log.mistake(node.at, "`expectations` must be a mapping of names to lists".to_owned(), help);
        return;
    };
    for (key, value) in pairs {
        let Some(name) = log.name(key, "the name of a list") else { continue };
        let items = match &value.value {
            Value::List(items) => items.as_slice(),
            Value::Empty => &[],
            _ => {
                let message = format!("the expectations {} must be a list", log.quote(key));
                log.mistake(value.at, message, "write `- { permission: …, access: … }`");
                continue;
            }
        };
        if items.is_empty() {
            log.warn(key.at, format!("the expectations {} are empty", quoted(name)));
        }
        let drafts = items.iter().filter_map(|item| draft(item, log)).collect();
        if let Some((first, _)) = into.get(name) {
            let message = format!("two lists of expectations are named {}", log.quote(key));
            log.mistake(key.at, message, format!("the first is in line {} of its file", first.line));
        } else {
            into.insert(name.to_owned(), (key.at, drafts));
        }
    }
}

/// The keys that a check of this permission has.
fn section(permission: Permission) -> &'static Section {
    match permission {
        Permission::RepoCreate => &keys::CREATE,
        Permission::RepoRead | Permission::RepoWrite => &keys::REPO,
        _ => &keys::WHOLE,
    }
}

/// One check in place.
fn draft(node: &Node, log: &mut Log) -> Option<Draft> {
    if !matches!(node.value, Value::Map(_)) {
        let message = format!("a check is needed here, not {}", log.quote(node));
        log.mistake(node.at, message, "write { permission: …, access: allowed|denied }");
        return None;
    }
    let Some(written) = node.under("permission") else {
        let help = suggest("", PERMISSIONS.iter().map(|p| p.as_str()).collect(), "one of");
        log.mistake(node.at, "a check needs `permission`".to_owned(), help);
        return None;
    };
    let all: Vec<_> = PERMISSIONS.iter().map(|p| (p.as_str(), *p)).collect();
    let permission = log.choice(written, "a permission", &all)?;
    let node = &refuse_foreign_keys(node, permission, log);
    let check = Fields::open(Some(node), node.at, None, section(permission), log)?;
    check.own("permission");
    let accesses: Vec<_> = Expected::ALL.iter().map(|word| (word.as_str(), *word)).collect();
    let expected = check.need("access", log).and_then(|node| log.choice(node, "an expectation", &accesses));
    let (target, method) = match permission {
        Permission::RepoCreate => created(&check, log),
        Permission::RepoRead | Permission::RepoWrite => {
            let kind = kind(&check, log);
            let repo = check.need("repo", log).and_then(|node| log.repo(node));
            let target = kind.zip(repo).map(|(kind, repo)| Target::Repo { kind, repo });
            (target, Some(Method::Canary))
        }
        _ => (Some(Target::Whole), Some(Method::Canary)),
    };
    Some(Draft {
        at: check.at,
        permission,
        target: target?,
        expected: expected?,
        method: method?,
        asked: RefCell::default(),
    })
}

/// A key that another permission has, but not this one: said so, and left out.
fn refuse_foreign_keys(node: &Node, permission: Permission, log: &mut Log) -> Node {
    let own = section(permission);
    let foreign = |key: &Node| {
        let elsewhere = keys::CREATE.key(key.word()).is_some() || keys::REPO.key(key.word()).is_some();
        elsewhere && own.key(key.word()).is_none()
    };
    if let Value::Map(pairs) = &node.value {
        for (key, _) in pairs.iter().filter(|(key, _)| foreign(key)) {
            let message = format!("`{}` has no meaning for `{permission}`", key.word());
            log.mistake(key.at, message, format!("remove it; allowed here: {}", own.names().join(", ")));
        }
    }
    node.filtered(|key| !foreign(key))
}

fn kind(check: &Fields<'_>, log: &mut Log) -> Option<RepoType> {
    let all: Vec<_> = RepoType::ALL.iter().map(|kind| (kind.as_str(), *kind)).collect();
    check.own("type").map_or(Some(RepoType::Model), |node| log.choice(node, "a kind of repository", &all))
}

fn created(check: &Fields<'_>, log: &mut Log) -> (Option<Target>, Option<Method>) {
    let kind = kind(check, log);
    let group = check.own("resource_group").map(|node| log.name(node, "the name of a resource group"));
    let written = check.own("sentinel");
    let by_sentinel = match check.own("method") {
        None => Some(false),
        Some(node) => log.choice(node, "a method", &[("canary", false), ("sentinel", true)]),
    };
    let method = match (by_sentinel, written) {
        (Some(true), Some(node)) => log.repo(node).map(|repo| Method::Sentinel(Box::new(repo))),
        (Some(true), None) => {
            let help = "ORGANIZATION/NAME of a repository that exists: creating on its name creates nothing";
            log.mistake(check.at, "`method: sentinel` needs `sentinel`".to_owned(), help);
            None
        }
        (Some(false), Some(node)) => {
            let message = "`sentinel` has a meaning only with `method: sentinel`".to_owned();
            log.mistake(node.at, message, "add `method: sentinel`, or remove it");
            None
        }
        (Some(false), None) => Some(Method::Canary),
        (None, _) => None,
    };
    let target = match (kind, group) {
        (Some(kind), None) => Some(Target::Create { kind, group: None }),
        (Some(kind), Some(Some(group))) => Some(Target::Create { kind, group: Some(group.to_owned()) }),
        _ => None,
    };
    (target, method)
}

/// An entry of `expect:`, read once for however many tokens share it.
pub(super) enum Expectation<'l> {
    Own(Draft),
    /// A named list, and where it is asked for.
    Listed(Spot, &'l str, &'l [Draft]),
}

/// The entries of `expect:`; names are looked up in the lists.
pub(super) fn expectations<'l>(items: &[Node], lists: &'l Lists, log: &mut Log) -> Vec<Expectation<'l>> {
    let mut found = Vec::new();
    for item in items {
        if let Value::Map(_) = item.value {
            found.extend(draft(item, log).map(Expectation::Own));
            continue;
        }
        let Some(name) = log.words(item) else { continue };
        match lists.get_key_value(name) {
            Some((name, (_, drafts))) => found.push(Expectation::Listed(item.at, name, drafts)),
            None => {
                let message = format!("no list of expectations is named {}", log.quote(item));
                let mut names: Vec<&str> = lists.keys().map(String::as_str).collect();
                names.sort_unstable();
                log.mistake(item.at, message, suggest(name, names, "the lists under `expectations:` are"));
            }
        }
    }
    found
}

/// The checks of one token: each of them once, sentinels in its organization.
pub(super) fn checks(
    token: &TokenName,
    organization: &str,
    expectations: &[Expectation<'_>],
    log: &mut Log,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut seen: HashMap<CheckKey, Spot> = HashMap::new();
    for expectation in expectations {
        let (drafts, asked) = match expectation {
            Expectation::Own(draft) => (std::slice::from_ref(draft), None),
            Expectation::Listed(at, name, drafts) => (*drafts, Some((*at, *name))),
        };
        for draft in drafts {
            let check = Check::new(token.clone(), draft.of(organization, log));
            let at = asked.map_or(draft.at, |(at, _)| at);
            if let Some(first) = seen.get(&check.key()) {
                let what = quoted(&format!("{} {}", check.permission, check.target));
                let from = asked.map_or(String::new(), |(_, list)| format!(", through {}", quoted(list)));
                let message =
                    format!("the check {what} stands twice on token {}{from}", quoted(token.as_str()));
                let file = if first.source == at.source { "" } else { " of another file" };
                let help = format!("it is already given by line {}{file}; keep one of them", first.line);
                log.mistake(at, message, help);
                continue;
            }
            seen.insert(check.key(), at);
            mind_organization(&check, draft.at, log);
            checks.push(check);
        }
    }
    // They stay, and there may be a hundred thousand lists of them.
    checks.shrink_to_fit();
    checks
}

/// A sentinel lies in the organization; a repository that lies elsewhere is worth a word.
fn mind_organization(check: &Check, at: Spot, log: &mut Log) {
    let organization = &check.organization;
    // Without a valid organization that mistake is told already.
    let elsewhere = |repo: &RepoName| !organization.is_empty() && repo.namespace != *organization;
    match (&check.method, &check.target) {
        (Method::Sentinel(repo), _) if elsewhere(repo) => {
            let message =
                format!("the sentinel is not in {}, the token's organization", quoted(organization));
            log.mistake(at, message, "write ORGANIZATION/NAME; the case counts");
        }
        (_, Target::Repo { repo, .. }) if elsewhere(repo) => {
            let token = quoted(check.token.as_str());
            let repo = quoted(&repo.to_string());
            log.warn(
                at,
                format!("{repo} is not in {}, the organization of token {token}", quoted(organization)),
            );
        }
        _ => {}
    }
}

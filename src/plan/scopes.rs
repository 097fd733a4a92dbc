//! The least that our own tokens need for what a round asks with them, and what they have beyond it.
//!
//! An auditor's token is worth stealing. What is needed follows from the calls of the plan, not from a list of
//! good advice; what a token has follows from its last whoami, as far as one is known. Permission words are the
//! Hub's; those whose meaning no document confirms are marked.

use std::collections::BTreeSet;

use crate::access::{Expected, TokenName};
use crate::config::Config;
use crate::exchange::{Credential, Verb};
use crate::hub::predict::{Wanted, token_page};
use crate::hub::vocabulary::word_of;
use crate::hub::whoami::{Declared, Scope};
use crate::moment::Timestamp;

use super::calls::{CallPlan, Part, Step};
use super::quota::Known;

/// One permission that a token of ours needs on an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// In the Hub's word.
    pub permission: &'static str,
    pub why: &'static str,
    /// Whether a document says that this word is the right one.
    pub confirmed: bool,
}

/// A token of ours and an organization that it works in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    pub token: TokenName,
    pub organization: String,
    /// What it is to us.
    pub purpose: &'static str,
    pub needs: Vec<Need>,
    /// The role of its user in the organization, and why.
    pub role: &'static str,
    /// The Hub's page for a new token, filled in.
    pub link: String,
    /// When it was last heard what it has; `None`: never.
    pub known: Option<Timestamp>,
    /// What it has beyond its needs, each as `entity: permission`.
    pub more: Vec<String>,
    /// What it lacks.
    pub lacks: Vec<&'static str>,
}

/// The janitors of the organizations that this round touches, and the readers of their inventories.
pub fn own_tokens(config: &Config, round: &CallPlan, known: &Known) -> Vec<Own> {
    let mut all: Vec<Own> = Vec::new();
    for organization in &config.organizations {
        let (janitor, reader) = (organization.janitor.as_ref(), organization.inventory.as_ref());
        let both: BTreeSet<&TokenName> = janitor.into_iter().chain(reader).collect();
        for token in both {
            let purpose = match (janitor == Some(token), reader == Some(token)) {
                (true, true) => "janitor and reader of the inventory",
                (true, false) => "janitor",
                _ => "reader of the inventory",
            };
            all.extend(own_token(config, round, known, (token, &organization.name, purpose)));
        }
    }
    all
}

fn own_token(
    config: &Config,
    round: &CallPlan,
    known: &Known,
    (token, organization, purpose): (&TokenName, &str, &'static str),
) -> Option<Own> {
    let who = Credential::Token(token.clone());
    let of_it = |step: &&Step| {
        // What it is asked as a token under audit needs nothing: that is the question.
        let asked = step.check.as_ref().is_some_and(|key| key.token == *token) && step.part == Part::Check;
        step.who == who && !asked && step.organization.as_deref() == Some(organization)
    };
    let steps: Vec<&Step> = round.steps.iter().filter(of_it).collect();
    if steps.is_empty() {
        return None;
    }
    let needs = needs(&steps);
    let declared = known.declared.get(token);
    let mut own = Own {
        token: token.clone(),
        organization: organization.to_owned(),
        purpose,
        role: role(&steps),
        link: link(&config.hub.endpoint, organization, &needs),
        known: declared.map(|(at, _)| *at),
        more: Vec::new(),
        lacks: Vec::new(),
        needs,
    };
    if let Some((_, declared)) = declared {
        weigh(&mut own, config, declared);
    }
    Some(own)
}

const GROUPS: &str = "/api/organizations/{name}/resource-groups";
const TOKENS: &str = "/api/organizations/{name}/settings/tokens";
const ACCOUNTS: &str = "/api/organizations/{name}/service-accounts";

fn needs(steps: &[&Step]) -> Vec<Need> {
    let deletes = steps.iter().any(|step| step.verb == Verb::Delete);
    let reads = steps.iter().any(|step| step.route.starts_with("/api/{type}"));
    let groups = steps.iter().any(|step| step.route == GROUPS);
    let mut needs = Vec::new();
    if deletes {
        // Only on the organization: rights on single repositories do not reach a canary (huggingface_hub#2955).
        needs.push(Need {
            permission: "repo.write",
            why: "it deletes canaries that the audited token may not delete, and sees what is private",
            confirmed: true,
        });
    } else if reads {
        needs.push(Need {
            permission: "repo.content.read",
            why: "it shows that the private repositories which others are refused are there",
            confirmed: true,
        });
    }
    let lists = steps.iter().any(|step| step.route == TOKENS);
    if groups || lists {
        // The documents name the right to manage groups, not the one to list them, and none for the list of
        // tokens: UNCONFIRMED.
        let why = match (groups, lists) {
            (true, false) => "it looks up the ids of the resource groups that checks name",
            (false, _) => "it lists the organization's tokens",
            (true, true) => {
                "it looks up the ids of the resource groups that checks name, and lists the organization's tokens"
            }
        };
        needs.push(Need { permission: "org.read", why, confirmed: false });
    }
    if steps.iter().any(|step| step.part == Part::Inventory && step.route == ACCOUNTS) {
        needs.push(Need {
            permission: "org.serviceAccounts.read",
            why: "it lists the service accounts and their tokens",
            confirmed: true,
        });
    }
    needs
}

fn role(steps: &[&Step]) -> &'static str {
    if steps.iter().any(|step| step.route == GROUPS) {
        "admin: what is private in a resource group is seen by its members and by admins"
    } else if steps.iter().any(|step| step.route == TOKENS) {
        "admin: whose tokens an organization has is its admins' to know"
    } else if steps.iter().any(|step| step.verb == Verb::Delete) {
        "write: who may only read deletes nothing"
    } else {
        "read"
    }
}

/// What covers a permission: itself, or a wider one.
fn covers(have: &str, need: &str) -> bool {
    have == need
        || matches!(
            (have, need),
            ("repo.write", "repo.content.read")
                | ("org.write", "org.read")
                | ("org.serviceAccounts.write", "org.serviceAccounts.read")
        )
}

fn weigh(own: &mut Own, config: &Config, declared: &Declared) {
    if declared.role.as_deref() != Some("fineGrained") {
        let role = declared
            .role
            .as_deref()
            .map_or("no role is shown".to_owned(), |role| format!("role {}", shown(role)));
        own.more.push(format!("{role}: it may whatever its user may, everywhere; issue a fine-grained one"));
        if declared.role.as_deref() == Some("read") {
            own.lacks =
                own.needs.iter().map(|need| need.permission).filter(|p| p.ends_with(".write")).collect();
        }
        return;
    }
    let id = declared.membership(&own.organization).and_then(|membership| membership.id.as_deref());
    let here = |scope: &&Scope| {
        scope.kind == "org"
            && (scope.name.as_deref() == Some(&own.organization)
                || (id.is_some() && scope.id.as_deref() == id))
    };
    let have: BTreeSet<&str> = declared
        .scopes
        .iter()
        .filter(here)
        .flat_map(|scope| &scope.permissions)
        .map(String::as_str)
        .collect();
    let lacking = own.needs.iter().filter(|need| !have.iter().any(|have| covers(have, need.permission)));
    own.lacks = lacking.map(|need| need.permission).collect();
    let elsewhere: BTreeSet<&str> = config
        .organizations
        .iter()
        .filter(|o| [&o.janitor, &o.inventory].iter().any(|ours| ours.as_ref() == Some(&own.token)))
        .filter(|o| o.name != own.organization)
        .map(|o| o.name.as_str())
        .collect();
    for scope in &declared.scopes {
        // What it needs in another organization is weighed there.
        if scope.kind == "org" && scope.name.as_deref().is_some_and(|name| elsewhere.contains(name)) {
            continue;
        }
        for permission in &scope.permissions {
            let needed = here(&scope)
                && own
                    .needs
                    .iter()
                    .any(|need| permission == need.permission || covers(need.permission, permission));
            if !needed && !wanted(config, &own.token, permission) {
                let name = scope.name.as_deref().or(scope.id.as_deref()).unwrap_or("?");
                own.more.push(format!("{}:{}: {}", shown(&scope.kind), shown(name), shown(permission)));
            }
        }
    }
    own.more.extend(declared.global.iter().map(|permission| format!("everywhere: {}", shown(permission))));
}

/// Whether the config itself expects the token to have this.
fn wanted(config: &Config, token: &TokenName, permission: &str) -> bool {
    let Some(word) = word_of(permission) else { return false };
    let checks = config.token(token).map_or(&[][..], |token| &token.checks);
    checks.iter().any(|check| check.expected == Expected::Allowed && word.names.contains(&check.permission))
}

/// Words of the Hub are data: short, and without anything that moves a cursor.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// The Hub's page for a new token with these permissions on the organization.
fn link(endpoint: &str, organization: &str, needs: &[Need]) -> String {
    let wanted = Wanted {
        organizations: vec![organization.to_owned()],
        organization_permissions: needs.iter().map(|need| need.permission).collect(),
        ..Wanted::default()
    };
    token_page(endpoint, &wanted)
}

//! The world file: who is in which organization, which repositories are there, which tokens.
//! Knows the file's shape and what in it cannot be; knows nothing of HTTP, quotas in use or what happened
//! since. Serves the start, and every change of the world while it runs.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::simulator::journal;
use crate::simulator::words::Approval;
use crate::simulator::words::Entity;
use crate::simulator::words::Feature;
use crate::simulator::words::Gate;
use crate::simulator::words::Kind;
use crate::simulator::words::Plan;
use crate::simulator::words::Principal;
use crate::simulator::words::Restriction;
use crate::simulator::words::Role;
use crate::simulator::words::Secret;
use crate::simulator::words::TokenPolicy;
use crate::simulator::words::TokenRole;

/// Who is who on the simulated Hub. An unknown key is an error that names its line.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct World {
    pub(super) organizations: BTreeMap<String, Organization>,
    /// Only for what is special about a user; whoever is named elsewhere exists without an entry.
    pub(super) users: BTreeMap<String, User>,
    /// By `ns/name`, or `dataset:ns/name` where two kinds share a name.
    pub(super) repos: BTreeMap<String, RepoEntry>,
    pub(super) tokens: BTreeMap<String, Token>,
    pub(super) limits: Limits,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Organization {
    pub(super) plan: Option<Plan>,
    pub(super) token_policy: TokenPolicy,
    pub(super) members: BTreeMap<String, Role>,
    pub(super) resource_groups: BTreeMap<String, BTreeMap<String, Role>>,
    pub(super) service_accounts: BTreeSet<String>,
    /// What a repository is when the request does not say.
    pub(super) private_by_default: bool,
    /// Whether it pays for what costs money: with `false` that is refused as unpaid. whoami-v2 shows it.
    pub(super) can_pay: Option<bool>,
    /// What the organization has switched off for its members.
    pub(super) features_off: Vec<Feature>,
    /// What has reached its spending limit, in the organization or in one of its groups.
    pub(super) spent: Vec<Feature>,
    pub(super) spent_groups: BTreeMap<String, Vec<Feature>>,
    pub(super) network_security: NetworkSecurity,
    /// In place of the number in `limits`, for repositories created here.
    pub(super) creations_per_day: Option<u64>,
    /// In place of the plan's requests in a window, for each member.
    pub(super) rate_limit: Option<u64>,
}

/// An organization's network rules, as the page of them shows. That addresses outside `ip_ranges` are shut
/// out is for a token's `restrictions` to say: every caller here has the same address.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NetworkSecurity {
    pub(super) enforce_auth: bool,
    pub(super) enforce_ip_restriction: bool,
    /// Ten times the requests; Hub docs, rate limits.
    pub(super) high_rate_limits: bool,
    pub(super) ip_ranges: Vec<String>,
    pub(super) keep_repos_metadata_visible: bool,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct User {
    pub(super) pro: bool,
    /// Whether his fine-grained tokens hide the organizations that they do not name from whoami-v2. What the
    /// Hub does is UNCONFIRMED.
    pub(super) hide_orgs: bool,
    /// Where his webhooks lead.
    pub(super) webhooks: Vec<String>,
    pub(super) fullname: Option<String>,
    pub(super) email: Option<String>,
    pub(super) creations_per_day: Option<u64>,
    pub(super) rate_limit: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RepoEntry {
    #[serde(rename = "type")]
    pub(super) kind: Option<Kind>,
    pub(super) private: bool,
    pub(super) resource_group: Option<String>,
    pub(super) gated: Gate,
    /// Users whom the authors of a gated repository let in.
    pub(super) granted: BTreeSet<String>,
    /// Users who asked and wait.
    pub(super) requested: BTreeSet<String>,
    /// Whether members of the owning organization have to ask as well.
    pub(super) org_members_gated: bool,
    /// Shut by the Hub itself.
    pub(super) disabled: bool,
    /// The user who created it; the namespace's name when absent.
    pub(super) author: Option<String>,
    pub(super) id: Option<String>,
    pub(super) created_at: Option<Moment>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Token {
    pub(super) secret: Secret,
    pub(super) user: String,
    pub(super) role: TokenRole,
    #[serde(default)]
    pub(super) scopes: Vec<Scope>,
    /// Permissions that belong to no entity.
    #[serde(default)]
    pub(super) global: Vec<String>,
    /// Whether a fine-grained token may read gated repositories that its user may read.
    #[serde(default)]
    pub(super) gated_repos: bool,
    #[serde(default)]
    pub(super) expires_at: Option<Moment>,
    #[serde(default)]
    pub(super) created_at: Option<Moment>,
    /// A token that is not alive was deleted by its user: to the Hub it is garbage.
    #[serde(default = "yes")]
    pub(super) alive: bool,
    #[serde(default)]
    pub(super) approval: Option<Approval>,
    #[serde(default)]
    pub(super) restrictions: Restrictions,
    #[serde(default)]
    pub(super) principal: Principal,
    /// What a service account's token may do in all of its organization.
    #[serde(default)]
    pub(super) permissions: Vec<String>,
    /// Repositories for which `repo_permissions` stand in place of `permissions`: ids, or as in a scope.
    #[serde(default)]
    pub(super) repo_ids: Vec<String>,
    #[serde(default)]
    pub(super) repo_permissions: Vec<String>,
    /// The only inference endpoints, by name with `*`, for which the token counts; all when empty.
    #[serde(default)]
    pub(super) endpoint_patterns: Vec<String>,
    /// Whether the organization's network rules are not for this token.
    #[serde(default)]
    pub(super) skip_network_security: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scope {
    pub(super) entity: Entity,
    pub(super) permissions: Vec<String>,
}

/// The same restrictions in every organization, or those of each.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum Restrictions {
    Everywhere(Vec<Restriction>),
    Each(BTreeMap<String, Vec<Restriction>>),
}

impl Default for Restrictions {
    fn default() -> Restrictions {
        Restrictions::Everywhere(Vec::new())
    }
}

impl Restrictions {
    pub(super) fn of(&self, organization: &str) -> &[Restriction] {
        match self {
            Restrictions::Everywhere(all) => all,
            Restrictions::Each(each) => each.get(organization).map_or(&[], Vec::as_slice),
        }
    }
}

/// The Hub's own numbers. Those that are not documented are generous guesses.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) window_seconds: u64,
    /// Requests of one address without a token in a window.
    pub(super) anonymous: u64,
    /// whoami-v2 calls of one token in a window; the Hub's number is UNCONFIRMED.
    pub(super) whoami: u64,
    pub(super) creations_per_day: u64,
    /// For how long a creation holds its user's lock.
    pub(super) create_takes_ms: u64,
    /// Requests remembered; the oldest go first.
    pub(super) remembered_requests: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            window_seconds: 300,
            anonymous: 500,
            whoami: 60,
            creations_per_day: 300,
            create_takes_ms: 0,
            remembered_requests: 1_000_000,
        }
    }
}

/// A date of the world file, RFC 3339.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Moment(pub(super) DateTime<Utc>);

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Moment, String> {
        let parsed = DateTime::parse_from_rfc3339(&text);
        let wrong = |_| format!("{text:?} is no date: write it like 2026-12-31T00:00:00Z");
        parsed.map(|at| Moment(at.to_utc())).map_err(wrong)
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> String {
        crate::simulator::clock::date(moment.0)
    }
}

fn yes() -> bool {
    true
}

impl World {
    /// Reads a world file. The message of a failure names the line where it can.
    pub fn from_yaml(text: &str) -> Result<World, String> {
        // Without the snippet: the lines around a mistake may hold a secret.
        let options = serde_saphyr::options! { with_snippet: false };
        let told = |error: serde_saphyr::Error| journal::redact(&error.to_string(), &[]);
        let world: World = serde_saphyr::from_str_with_options(text, options).map_err(told)?;
        world.validate()?;
        Ok(world)
    }

    pub(super) fn from_json(value: serde_json::Value) -> Result<World, String> {
        let world: World = serde_json::from_value(value).map_err(|error| error.to_string())?;
        world.validate()?;
        Ok(world)
    }

    fn validate(&self) -> Result<(), String> {
        let mut keys = BTreeSet::new();
        for (key, entry) in &self.repos {
            let (kind, name) = repo_key(key, entry.kind)?;
            if !keys.insert((kind, name)) {
                return Err(format!("repos: the {} {name} stands there twice", kind.name()));
            }
            self.validate_group(name, entry)?;
        }
        let mut secrets = BTreeSet::new();
        for (name, token) in &self.tokens {
            if token.secret.0.is_empty() || !secrets.insert(&token.secret.0) {
                return Err(format!("tokens.{name}: the secret is empty or another token's too"));
            }
            self.validate_token(token).map_err(|text| format!("tokens.{name}: {text}"))?;
        }
        if self.limits.window_seconds == 0 {
            return Err("limits.window_seconds: must be at least 1".to_owned());
        }
        Ok(())
    }

    fn validate_token(&self, token: &Token) -> Result<(), &'static str> {
        let lent = !token.permissions.is_empty() || !token.repo_ids.is_empty();
        if token.role != TokenRole::FineGrained && (lent || !token.scopes.is_empty()) {
            return Err("only a fineGrained token has scopes");
        }
        if lent && self.employer(&token.user).is_none() {
            return Err("only a service account's token has `permissions` and `repo_ids`");
        }
        Ok(())
    }

    /// The organization whose service account this is.
    pub(super) fn employer(&self, user: &str) -> Option<&str> {
        let mut all = self.organizations.iter();
        all.find(|(_, organization)| organization.service_accounts.contains(user))
            .map(|(name, _)| name.as_str())
    }

    /// A token with what its service account's organization gave it written as scopes. For single
    /// repositories see `Token::instead`.
    pub(super) fn usable(&self, token: &Token) -> Token {
        let mut token = token.clone();
        if let Some(home) = self.employer(&token.user)
            && !token.permissions.is_empty()
        {
            let entity = Entity::Organization(home.to_owned());
            token.scopes.push(Scope { entity, permissions: token.permissions.clone() });
        }
        token
    }

    fn validate_group(&self, name: &str, entry: &RepoEntry) -> Result<(), String> {
        let Some(group) = &entry.resource_group else { return Ok(()) };
        let namespace = name.split_once('/').map_or(name, |(namespace, _)| namespace);
        let organization = self.organizations.get(namespace);
        if organization.is_some_and(|organization| organization.resource_groups.contains_key(group)) {
            return Ok(());
        }
        Err(format!("repos.{name}: {namespace} has no resource group {group:?}"))
    }

    pub(super) fn is_pro(&self, user: &str) -> bool {
        self.users.get(user).is_some_and(|user| user.pro)
    }
}

impl Token {
    /// The permissions that stand in place of those on the whole organization, for a repository by its id and
    /// its name. OpenAPI, service accounts.
    pub(super) fn instead(&self, kind: Kind, name: &str, id: &str) -> Option<&[String]> {
        let itself = Entity::Repository(kind, name.to_owned());
        let named = |text: &String| {
            text.eq_ignore_ascii_case(id)
                || Entity::try_from(text.clone()).is_ok_and(|entity| entity == itself)
        };
        self.repo_ids.iter().any(named).then_some(self.repo_permissions.as_slice())
    }
}

impl Organization {
    /// Whether its plan offers what plans from this one on offer.
    pub(super) fn offers(&self, least: Plan) -> bool {
        self.plan.is_some_and(|plan| plan.level() >= least.level())
    }

    /// A user's role, if he is in the organization at all.
    ///
    /// A service account has no membership entry; its tokens alone bound it, so it counts as admin unless the
    /// world gives it a role. Whether the Hub does the same is UNCONFIRMED.
    pub(super) fn role_of(&self, user: &str) -> Option<Role> {
        if let Some(role) = self.members.get(user) {
            return Some(*role);
        }
        if self.service_accounts.contains(user) {
            return Some(Role::Admin);
        }
        let in_a_group = self.resource_groups.values().any(|users| users.contains_key(user));
        in_a_group.then_some(Role::NoAccess)
    }

    pub(super) fn group_role(&self, group: &str, user: &str) -> Option<Role> {
        self.resource_groups.get(group)?.get(user).copied()
    }

    /// The name of the group with this id.
    pub(super) fn group_by_id(&self, organization: &str, id: &str) -> Option<&str> {
        let same = |name: &&String| super::id::resource_group(organization, name).eq_ignore_ascii_case(id);
        self.resource_groups.keys().find(same).map(String::as_str)
    }
}

/// What a key of `repos` names.
pub(super) fn repo_key(key: &str, declared: Option<Kind>) -> Result<(Kind, &str), String> {
    let (prefix, name) = match key.split_once(':') {
        Some((prefix, name)) => {
            (Some(Kind::from_name(prefix).ok_or(format!("repos: {prefix:?} is no type"))?), name)
        }
        None => (None, key),
    };
    if prefix.is_some() && declared.is_some() && prefix != declared {
        return Err(format!("repos.{key}: the key and `type` disagree"));
    }
    match name.split_once('/') {
        Some((namespace, rest)) if !namespace.is_empty() && !rest.is_empty() && !rest.contains('/') => {
            Ok((prefix.or(declared).unwrap_or_default(), name))
        }
        _ => Err(format!("repos.{key}: write it as namespace/name")),
    }
}

//! The simulated Hub's words: kinds of repository, roles, plans, policies, restrictions, and what a token's
//! scope is about. Knows their spelling in the world file and in answers; knows nothing of who may do what.
//! Serves the world file and every route.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

/// A kind of repository. The Hub's other kinds (buckets, kernels) are not simulated.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Model,
    Dataset,
    Space,
}

impl Kind {
    pub(super) const PLURALS: [&'static str; 3] = ["models", "datasets", "spaces"];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Model => "model",
            Kind::Dataset => "dataset",
            Kind::Space => "space",
        }
    }

    /// As it stands in API paths.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
            Kind::Space => "spaces",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Kind> {
        [Kind::Model, Kind::Dataset, Kind::Space].into_iter().find(|kind| kind.name() == name)
    }

    pub(super) fn from_plural(name: &str) -> Option<Kind> {
        [Kind::Model, Kind::Dataset, Kind::Space].into_iter().find(|kind| kind.plural() == name)
    }
}

/// A role in an organization or a resource group; the order is that of power.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    NoAccess,
    Read,
    Contributor,
    Write,
    Admin,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Plan {
    Team,
    Academia,
    Enterprise,
    Plus,
}

impl Plan {
    /// What the plan offers, in steps. That an academic plan offers what a team's does is UNCONFIRMED; their
    /// rate limits are the same.
    pub(super) fn level(self) -> u8 {
        match self {
            Plan::Team | Plan::Academia => 1,
            Plan::Enterprise => 2,
            Plan::Plus => 3,
        }
    }
}

/// What costs money and can be switched off, or be out of money; Hub docs, resource groups.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    Jobs,
    InferenceEndpoints,
}

/// What kind of caller a token speaks for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Principal {
    /// A user's access token, or a service account's.
    #[default]
    User,
    /// A user who signed in through an OAuth application.
    Oauth,
    /// The application itself.
    App,
}

/// What an organization asks of the tokens that reach for its resources.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenPolicy {
    #[default]
    Allow,
    FineGrainedOnly,
    RequireApproval,
}

/// What the organization's admins said of a token.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Approval {
    Pending,
    Approved,
    Denied,
    Revoked,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum TokenRole {
    #[serde(rename = "read")]
    Read,
    #[serde(rename = "write")]
    Write,
    /// The Hub's own staff. What it may do is not documented: here, what its user may (UNCONFIRMED).
    #[serde(rename = "god")]
    God,
    #[serde(rename = "fineGrained")]
    FineGrained,
}

/// A security restriction under which an organization shuts out an otherwise able token.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restriction {
    Mfa,
    TokenPolicy,
    TokenRevoked,
    Sso,
    Ip,
}

/// Whether a repository's files need the author's consent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Gate {
    Plain(bool),
    Named(GateMode),
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GateMode {
    Auto,
    Manual,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate::Plain(false)
    }
}

impl Gate {
    pub(super) fn is_closed(&self) -> bool {
        *self != Gate::Plain(false)
    }
}

/// What a fine-grained token's scope is about, written `org:acme`, `user:bob`, `model:acme/x`, …
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Entity {
    Organization(String),
    User(String),
    Repository(Kind, String),
    ResourceGroup {
        organization: String,
        name: String,
    },
    /// Something that the Hub knows and the simulator does nothing with.
    Other(String, String),
}

/// The Hub's further entity types; OpenAPI, whoami-v2.
const OTHER_ENTITIES: [&str; 4] = ["bucket", "kernel", "collection", "oauth-app"];

impl TryFrom<String> for Entity {
    type Error = String;

    fn try_from(text: String) -> Result<Entity, String> {
        let help = "write org:NAME, user:NAME, model:NS/NAME, dataset:NS/NAME, space:NS/NAME or \
                    resource-group:ORG/NAME";
        let wrong = || format!("{text:?} is no entity of a scope: {help}");
        let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty()).ok_or_else(wrong)?;
        let pair = name.split_once('/').filter(|(first, second)| !first.is_empty() && !second.is_empty());
        match (kind, pair) {
            ("org", None) => Ok(Entity::Organization(name.to_owned())),
            ("user", None) => Ok(Entity::User(name.to_owned())),
            ("resource-group", Some((organization, group))) => {
                Ok(Entity::ResourceGroup { organization: organization.to_owned(), name: group.to_owned() })
            }
            (other, _) if OTHER_ENTITIES.contains(&other) => {
                Ok(Entity::Other(other.to_owned(), name.to_owned()))
            }
            (repository, Some(_)) => match Kind::from_name(repository) {
                Some(kind) => Ok(Entity::Repository(kind, name.to_owned())),
                None => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }
}

impl From<Entity> for String {
    fn from(entity: Entity) -> String {
        format!("{}:{}", entity.type_name(), entity.name())
    }
}

impl Entity {
    pub(super) fn type_name(&self) -> &str {
        match self {
            Entity::Organization(_) => "org",
            Entity::User(_) => "user",
            Entity::Repository(kind, _) => kind.name(),
            Entity::ResourceGroup { .. } => "resource-group",
            Entity::Other(kind, _) => kind,
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Entity::Organization(name)
            | Entity::User(name)
            | Entity::Repository(_, name)
            | Entity::Other(_, name) => name.clone(),
            Entity::ResourceGroup { organization, name } => format!("{organization}/{name}"),
        }
    }

    /// The organization in whose walls this lies, if it is not a user's.
    pub(super) fn namespace(&self) -> Option<&str> {
        match self {
            Entity::Organization(name) => Some(name),
            Entity::ResourceGroup { organization, .. } => Some(organization),
            Entity::Repository(_, name) => name.split_once('/').map(|(namespace, _)| namespace),
            Entity::User(_) | Entity::Other(..) => None,
        }
    }
}

/// A token's secret: readable for comparing, never shown.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

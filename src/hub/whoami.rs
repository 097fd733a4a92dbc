//! What `whoami-v2` says of a token: whose it is, its role and scopes, the user's roles, the restrictions.
//!
//! Words of the Hub (roles, permissions, restrictions) are data: an unheard one is kept, never an error. Field
//! names are those of the OpenAPI document.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::{UnknownReason, words};
use crate::exchange::{Answer, Failure};
use crate::moment::Timestamp;

use super::answers::{described, of_failure, of_status};

/// What a token declares.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Declared {
    /// The Hub user whose quota and create lock it shares; of an app its name, or its id where it has none.
    pub user: String,
    /// `user`, `app`, `org`, …; the OpenAPI document knows only `user`.
    #[serde(default)]
    pub principal: String,
    /// `access_token` for a user's own token; another word for OAuth and apps.
    #[serde(default)]
    pub auth: Option<String>,
    /// What its owner called it on the Hub.
    #[serde(default)]
    pub label: Option<String>,
    /// RFC 3339: when it was issued.
    #[serde(default)]
    pub created_at: Option<String>,
    /// `read`, `write`, `fineGrained`, `god`; absent for OAuth and most app principals.
    pub role: Option<String>,
    /// Scopes of a fine-grained token, or the entities of an app.
    pub scopes: Vec<Scope>,
    /// Permissions of a fine-grained token that belong to no entity.
    #[serde(default)]
    pub global: Vec<String>,
    /// Whether a fine-grained token may read public gated repositories that its user may read.
    #[serde(default)]
    pub reads_gated: Option<bool>,
    /// The user's organizations, as far as shown to this token.
    pub organizations: Vec<Membership>,
    /// RFC 3339, where the Hub says when it expires.
    pub expires_at: Option<String>,
}

/// One scope of a fine-grained token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// `org`, `user`, `model`, …
    pub kind: String,
    /// The entity's name, where shown.
    pub name: Option<String>,
    /// The entity's id.
    pub id: Option<String>,
    pub permissions: Vec<String>,
}

/// The user's place in one organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Exact name.
    pub name: String,
    pub id: Option<String>,
    pub role: Option<String>,
    /// `team`, `enterprise`, `plus`, `academia`; absent without one.
    #[serde(default)]
    pub plan: Option<String>,
    /// What bars this very token from the organization's data.
    pub restrictions: Vec<String>,
    pub groups: Vec<GroupRole>,
}

/// The user's role in one resource group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRole {
    pub id: String,
    pub name: String,
    pub role: Option<String>,
}

impl Declared {
    /// The membership in the organization of exactly this name.
    pub fn membership(&self, organization: &str) -> Option<&Membership> {
        self.organizations.iter().find(|m| m.name == organization)
    }

    /// The name of the user, where it is one: that an app is called the same everywhere is UNCONFIRMED.
    pub fn user_name(&self) -> Option<&str> {
        (self.principal == "user").then_some(self.user.as_str())
    }

    /// When it expires, if that is known.
    pub fn expiry(&self) -> Option<Timestamp> {
        self.expires_at.as_deref().and_then(Timestamp::parse)
    }

    /// What bars the token from the organization; empty when nothing does or nothing is shown.
    pub fn restrictions(&self, organization: &str) -> &[String] {
        self.membership(organization).map_or(&[], |m| &m.restrictions)
    }
}

/// What asking whoami came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The token is alive and declares this.
    Known(Box<Declared>),
    /// The Hub does not accept the token.
    Dead,
    /// Nothing can be said; a rate limit proves nothing about a token.
    Unclear(UnknownReason),
}

words! {
    /// The rows of the table of answers.
    WhoamiRow {
        Known = "known",
        /// A success that names nobody.
        OddSuccess = "odd-success",
        Dead = "dead",
        /// Nothing of the above: its status alone counts.
        Status = "status",
        /// There was no secret to ask with.
        NoSecret = "no-secret",
        Unanswered = "unanswered",
    }
}

/// Reads the answer.
pub fn read(outcome: &Result<Answer, Failure>) -> Heard {
    read_row(outcome).1
}

/// The same, with the row that decided.
pub fn read_row(outcome: &Result<Answer, Failure>) -> (WhoamiRow, Heard) {
    let answer = match outcome {
        Err(Failure::NoSecret) => return (WhoamiRow::NoSecret, Heard::Dead),
        Err(failure) => return (WhoamiRow::Unanswered, Heard::Unclear(of_failure(*failure))),
        Ok(answer) => answer,
    };
    if !(200..300).contains(&answer.status) {
        return match of_status(answer) {
            UnknownReason::TokenInvalid => (WhoamiRow::Dead, Heard::Dead),
            why => (WhoamiRow::Status, Heard::Unclear(why)),
        };
    }
    match described(answer).and_then(declared) {
        Some(declared) => (WhoamiRow::Known, Heard::Known(Box::new(declared))),
        None => (WhoamiRow::OddSuccess, Heard::Unclear(UnknownReason::Unrecognized)),
    }
}

fn text(of: &Value, field: &str) -> Option<String> {
    of.get(field).and_then(Value::as_str).map(str::to_owned)
}

fn list<'a>(of: &'a Value, field: &str) -> &'a [Value] {
    of.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn texts(of: &Value, field: &str) -> Vec<String> {
    list(of, field).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whether it can be what a user is called: it becomes a key of what is kept for long. The Hub's own names are at
/// most this long (its refusal of a longer one says so, of repositories).
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= NAME_LIMIT && !text.chars().any(char::is_control)
}

const NAME_LIMIT: usize = 96;

fn declared(body: &Value) -> Option<Declared> {
    let auth = body.get("auth").unwrap_or(&Value::Null);
    let token = auth.get("accessToken").unwrap_or(&Value::Null);
    let fine = token.get("fineGrained").unwrap_or(&Value::Null);
    let scopes = list(fine, "scoped").iter().map(|scope| {
        let entity = scope.get("entity").unwrap_or(&Value::Null);
        Scope {
            kind: text(entity, "type").unwrap_or_default(),
            name: text(entity, "name"),
            id: text(entity, "_id"),
            permissions: texts(scope, "permissions"),
        }
    });
    let organizations = list(body, "orgs").iter().filter_map(|org| {
        let groups = list(org, "resourceGroups").iter().filter_map(|group| {
            Some(GroupRole { id: text(group, "id")?, name: text(group, "name")?, role: text(group, "role") })
        });
        Some(Membership {
            name: text(org, "name")?,
            id: text(org, "id"),
            role: text(org, "roleInOrg"),
            plan: text(org, "plan"),
            restrictions: texts(org, "securityRestrictions"),
            groups: groups.collect(),
        })
    });
    let app = body.get("scope").or_else(|| auth.get("scope")).unwrap_or(&Value::Null);
    let entities = list(app, "entities").iter().map(entity_of_app);
    let name = text(body, "name").or_else(|| text(body, "id"));
    Some(Declared {
        user: name.filter(|name| is_name(name))?,
        principal: text(body, "type").unwrap_or_default(),
        auth: text(auth, "type"),
        label: text(token, "displayName"),
        created_at: text(token, "createdAt"),
        role: text(token, "role").or_else(|| text(app, "role")),
        scopes: scopes.chain(entities).collect(),
        global: texts(fine, "global"),
        reads_gated: fine.get("canReadGatedRepos").and_then(Value::as_bool),
        organizations: organizations.collect(),
        expires_at: text(auth, "expiresAt").or_else(|| text(token, "expiration")),
    })
}

/// An app names what it reaches as `{type, name}` or as plain text (a client's schema; not in the OpenAPI
/// document, so UNCONFIRMED). What it may do there it does not say.
fn entity_of_app(entity: &Value) -> Scope {
    match entity {
        Value::String(name) => {
            Scope { kind: String::new(), name: Some(name.clone()), id: None, permissions: Vec::new() }
        }
        entity => Scope {
            kind: text(entity, "type").unwrap_or_default(),
            name: text(entity, "name"),
            id: text(entity, "_id").or_else(|| text(entity, "id")),
            permissions: Vec::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> Result<Answer, Failure> {
        Ok(Answer { status, content_type: "application/json".into(), body: body.into(), ..Answer::default() })
    }

    #[test]
    fn a_user_token_is_read_in_full_and_unheard_words_are_kept() {
        let body = r#"{"type":"user","id":"1","name":"bob","auth":{"type":"access_token","expiresAt":"2027-01-01T00:00:00.000Z",
            "accessToken":{"displayName":"t","role":"fineGrained","createdAt":"x","fineGrained":{
              "global":["post.write"],"canReadGatedRepos":true,"scoped":[
              {"entity":{"_id":"aa","type":"moonbase","name":"m"},"permissions":["repo.teleport"]}]}}},
            "orgs":[{"type":"org","id":"o1","name":"acme","plan":"team","roleInOrg":"no_access","securityRestrictions":["sso","quantum"],
              "resourceGroups":[{"id":"g1","name":"group","role":"write"}]}]}"#;
        let Heard::Known(known) = read(&said(200, body)) else { panic!("known") };
        assert_eq!(known.user, "bob");
        assert_eq!(known.role.as_deref(), Some("fineGrained"));
        assert_eq!((known.label.as_deref(), known.created_at.as_deref()), (Some("t"), Some("x")));
        assert_eq!((known.principal.as_str(), known.auth.as_deref()), ("user", Some("access_token")));
        assert_eq!((known.global.join(","), known.reads_gated), ("post.write".to_owned(), Some(true)));
        assert_eq!(known.membership("acme").and_then(|m| m.plan.as_deref()), Some("team"));
        assert_eq!(known.scopes[0].kind, "moonbase");
        assert_eq!(known.scopes[0].permissions, ["repo.teleport"]);
        assert_eq!(known.restrictions("acme"), ["sso", "quantum"]);
        assert_eq!(known.restrictions("Acme"), [""; 0]);
        assert_eq!(known.membership("acme").map(|m| m.groups[0].id.as_str()), Some("g1"));
        assert_eq!(known.expiry().map(|at| at.to_string()).as_deref(), Some("2027-01-01T00:00:00.000Z"));
    }

    #[test]
    fn an_oauth_principal_has_no_access_token_and_is_known_all_the_same() {
        let body = r#"{"type":"user","name":"bob","auth":{"type":"oauth","expiresAt":"x"},"orgs":[]}"#;
        let Heard::Known(known) = read(&said(200, body)) else { panic!("known") };
        assert_eq!((known.role, known.expires_at.as_deref()), (None, Some("x")));
    }

    #[test]
    fn an_app_shows_what_it_reaches_but_not_what_it_may_do() {
        let body = r#"{"type":"app","id":"42","auth":{"type":"app_token"},
            "scope":{"role":"write","entities":[{"type":"org","name":"acme"},"acme/x"]}}"#;
        let Heard::Known(known) = read(&said(200, body)) else { panic!("known") };
        assert_eq!((known.user.as_str(), known.principal.as_str()), ("42", "app"));
        assert_eq!((known.auth.as_deref(), known.role.as_deref()), (Some("app_token"), Some("write")));
        assert_eq!((known.scopes[0].kind.as_str(), known.scopes[0].name.as_deref()), ("org", Some("acme")));
        assert_eq!((known.scopes[1].kind.as_str(), known.scopes[1].name.as_deref()), ("", Some("acme/x")));
    }

    #[test]
    fn who_is_called_what_nobody_is_called_is_not_understood() {
        let named =
            |name: &str| read(&said(200, &serde_json::json!({ "name": name, "id": "42" }).to_string()));
        for name in ["", "bob\n", "bob\u{7f}", "\u{9b}0m", &"b".repeat(97)] {
            assert_eq!(named(name), Heard::Unclear(UnknownReason::Unrecognized), "{name:?}");
        }
        for name in ["b", "böb [OIDC]", &"ö".repeat(96)] {
            assert!(matches!(named(name), Heard::Known(known) if known.user == name), "{name:?}");
        }
    }

    #[test]
    fn what_an_earlier_version_remembered_is_still_read() {
        let kept = r#"{"user":"bob","role":"read","scopes":[],"expires_at":null,
            "organizations":[{"name":"acme","id":null,"role":null,"restrictions":[],"groups":[]}]}"#;
        let known: Declared = serde_json::from_str(kept).expect("readable");
        assert_eq!(
            (known.user.as_str(), known.label, known.organizations[0].plan.clone()),
            ("bob", None, None)
        );
    }

    #[test]
    fn a_rate_limit_proves_nothing_and_a_401_proves_death() {
        assert_eq!(read(&said(401, r#"{"error":"Invalid username or password."}"#)), Heard::Dead);
        assert_eq!(read(&Err(Failure::NoSecret)), Heard::Dead);
        assert_eq!(read(&said(429, "{}")), Heard::Unclear(UnknownReason::RateLimited));
        assert_eq!(read(&said(500, "{}")), Heard::Unclear(UnknownReason::HubError));
        assert_eq!(
            read(&said(200, r#"{"error":"x","name":"y"}"#)),
            Heard::Unclear(UnknownReason::Unrecognized)
        );
        assert_eq!(read(&said(200, "[]")), Heard::Unclear(UnknownReason::Unrecognized));
        assert_eq!(read(&Err(Failure::Timeout)), Heard::Unclear(UnknownReason::Timeout));
    }
}

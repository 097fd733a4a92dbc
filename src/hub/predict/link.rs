//! The Hub's page for a new token, with what is missing already filled in.
//!
//! Knows the page's parameters as documentation and third parties use them. It never asks for more than is
//! missing: single repositories have no parameter and are left for the user to pick. Serves explanations.

use url::Url;

use crate::hub::routes::segment;

use super::Remedy;
use super::facts::Entity;

/// What the new token shall name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Permissions for the user's own things.
    pub own: Vec<&'static str>,
    /// Organizations, all with the same permissions.
    pub organizations: Vec<String>,
    pub organization_permissions: Vec<&'static str>,
    /// Reading public gated repositories.
    pub gated: bool,
}

impl Wanted {
    /// Takes in what a remedy asks of a token; false when it asks nothing of one.
    pub(super) fn add(&mut self, remedy: &Remedy) -> bool {
        match remedy {
            Remedy::Scope { permission, on: Entity::Organization(name) } => {
                self.organizations.push(name.clone());
                self.organization_permissions.push(permission);
            }
            Remedy::Scope { permission, on: Entity::User(_) } => self.own.push(permission),
            Remedy::Scope { on: Entity::Repo(..), .. } => {}
            Remedy::GatedSwitch => self.gated = true,
            Remedy::OrganizationRole(_) | Remedy::GroupRole(_) => return false,
        }
        true
    }
}

/// The page below the origin of `endpoint`; below none, if `endpoint` has none.
pub fn token_page(endpoint: &str, wanted: &Wanted) -> String {
    let origin = Url::parse(endpoint).ok().map(|url| url.origin().ascii_serialization());
    let mut page = origin.filter(|origin| origin != "null").unwrap_or_default();
    page.push_str("/settings/tokens/new?tokenType=fineGrained");
    let mut parameter = |name: &str, value: &str| {
        page.push('&');
        page.push_str(name);
        page.push('=');
        page.push_str(&segment(value));
    };
    for permission in &wanted.own {
        parameter("ownUserPermissions", permission);
    }
    if wanted.gated {
        parameter("canReadGatedRepos", "true");
    }
    for name in &wanted.organizations {
        parameter("orgs", name);
    }
    for permission in &wanted.organization_permissions {
        parameter("orgPermissions", permission);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_for_what_is_missing_and_for_no_more() {
        let mut wanted = Wanted::default();
        let on = |on| Remedy::Scope { permission: "repo.write", on };
        assert!(
            wanted.add(&on(Entity::Repo(crate::access::RepoType::Model, "acme/x".parse().expect("a name"))))
        );
        assert!(!wanted.add(&Remedy::GroupRole(super::super::facts::Role::Write)));
        let bare = "https://huggingface.co/settings/tokens/new?tokenType=fineGrained";
        assert_eq!(token_page("https://huggingface.co", &wanted), bare);
        assert!(wanted.add(&on(Entity::Organization("a&b c".into()))));
        assert!(
            wanted.add(&Remedy::Scope { permission: "user.billing.read", on: Entity::User("bob".into()) })
        );
        assert!(wanted.add(&Remedy::GatedSwitch));
        assert_eq!(
            token_page("https://huggingface.co", &wanted),
            format!(
                "{bare}&ownUserPermissions=user.billing.read&canReadGatedRepos=true&orgs=a%26b%20c\
                 &orgPermissions=repo.write"
            )
        );
    }

    #[test]
    fn of_the_endpoint_only_the_origin_is_taken() {
        let wanted = Wanted::default();
        let page = "/settings/tokens/new?tokenType=fineGrained";
        for (endpoint, origin) in [
            ("https://hub.example:8443/base/?q#f", "https://hub.example:8443"),
            ("http://user:word@127.0.0.1:1234", "http://127.0.0.1:1234"),
            ("no address", ""),
            ("data:text/plain,x", ""),
        ] {
            assert_eq!(token_page(endpoint, &wanted), format!("{origin}{page}"));
        }
    }
}

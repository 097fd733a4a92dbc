//! The requests that are ever sent to the Hub: a closed list, one function each.
//!
//! Nothing outside this file spells a path of the Hub. The only methods that change something are `create` and
//! `delete`; the auth-checks of jobs and endpoints are POSTs that change nothing. Every other POST or DELETE is
//! deliberately absent.

use serde_json::{Value, json};

use crate::access::{RepoName, RepoType};
use crate::exchange::{Credential, Request, Verb};

/// The templates of all of them, for metrics.
pub const ALL: &[&str] = &[
    "/api/whoami-v2",
    "/api/organizations/{name}/overview",
    "/api/organizations/{name}/resource-groups",
    "/api/organizations/{name}/settings/tokens",
    "/api/organizations/{name}/service-accounts/{id}",
    "/api/{type}",
    "/api/{type}/{namespace}/{repo}",
    "/api/{type}/{namespace}/{repo}/commits/{rev}",
    "/api/{type}/{namespace}/{repo}/resource-group",
    "/api/{type}/{namespace}/{repo}/auth-check",
    "/api/{type}/{namespace}/{repo}/auth-check/write",
    "/api/jobs/{namespace}/auth-check/{perms}",
    "/api/inference-endpoints/{namespace}/auth-check/{perms}",
    "/api/organizations/{name}/members",
    "/api/organizations/{name}/settings/repositories",
    "/api/organizations/{name}/audit-log/export",
    "/api/organizations/{name}/billing/usage",
    "/api/organizations/{name}/service-accounts",
    "/api/organizations/{name}/settings/network-security",
    "/api/settings/webhooks",
    "/api/settings/billing/usage",
    "/api/repos/create",
    "/api/repos/delete",
];

/// The path segment of a kind of repository.
fn plural(kind: RepoType) -> &'static str {
    match kind {
        RepoType::Model => "models",
        RepoType::Dataset => "datasets",
        RepoType::Space => "spaces",
    }
}

fn get(route: &'static str, path: String, credential: Credential) -> Request {
    Request { verb: Verb::Get, route, path, body: None, credential }
}

/// Letters, digits, `-`, `_`, `.` stay; all else is percent-encoded, so that a name changes neither a path nor a
/// query that it becomes part of.
pub(super) fn segment(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

fn repo_path(kind: RepoType, repo: &RepoName) -> String {
    format!("/api/{}/{}/{}", plural(kind), segment(&repo.namespace), segment(&repo.name))
}

/// Who the token belongs to and what it declares (OpenAPI). The Hub limits it strictly.
pub fn whoami(credential: Credential) -> Request {
    get("/api/whoami-v2", "/api/whoami-v2".to_owned(), credential)
}

/// The organization's public face; answers with its canonical name (huggingface_hub, `get_organization_overview`).
pub fn overview(organization: &str, credential: Credential) -> Request {
    let path = format!("/api/organizations/{}/overview", segment(organization));
    get("/api/organizations/{name}/overview", path, credential)
}

/// The resource groups that the token's user has access to (OpenAPI).
pub fn resource_groups(organization: &str, credential: Credential) -> Request {
    let path = format!("/api/organizations/{}/resource-groups", segment(organization));
    get("/api/organizations/{name}/resource-groups", path, credential)
}

/// One service account, with what its tokens are called and may (OpenAPI).
pub fn service_account(organization: &str, id: &str, credential: Credential) -> Request {
    let path = format!("/api/organizations/{}/service-accounts/{}", segment(organization), segment(id));
    get("/api/organizations/{name}/service-accounts/{id}", path, credential)
}

/// One repository's description.
pub fn repo_info(kind: RepoType, repo: &RepoName, credential: Credential) -> Request {
    get("/api/{type}/{namespace}/{repo}", repo_path(kind, repo), credential)
}

/// Its commits on `main`.
pub fn commits(kind: RepoType, repo: &RepoName, credential: Credential) -> Request {
    let path = format!("{}/commits/main", repo_path(kind, repo));
    get("/api/{type}/{namespace}/{repo}/commits/{rev}", path, credential)
}

/// The resource group it is in (OpenAPI).
pub fn repo_group(kind: RepoType, repo: &RepoName, credential: Credential) -> Request {
    let path = format!("{}/resource-group", repo_path(kind, repo));
    get("/api/{type}/{namespace}/{repo}/resource-group", path, credential)
}

/// An organization's repositories, those that the token may see; `search` narrows by name.
pub fn list(kind: RepoType, organization: &str, search: Option<&str>, credential: Credential) -> Request {
    let mut path = format!("/api/{}?author={}&limit=100", plural(kind), segment(organization));
    if let Some(search) = search {
        path.push_str("&search=");
        path.push_str(&segment(search));
    }
    get("/api/{type}", path, credential)
}

/// The page after the one that was asked, from its `Link` header, by the same token. Nothing but the query may
/// differ: neither origin nor route is the answer's to choose.
pub fn page_after(link: &str, asked: &Request) -> Option<Request> {
    let same = |path: &str| path.split('?').next().map(str::to_owned);
    let path = next_path(link).filter(|path| same(path) == same(&asked.path))?;
    Some(Request { path, ..asked.clone() })
}

fn next_path(link: &str) -> Option<String> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let url = next.split('<').nth(1)?.split('>').next()?;
    url.get(url.find("/api/")?..).map(str::to_owned)
}

/// Whether the token may read the repository (huggingface_hub, `auth_check`).
pub fn auth_check(kind: RepoType, repo: &RepoName, credential: Credential) -> Request {
    let path = format!("{}/auth-check", repo_path(kind, repo));
    get("/api/{type}/{namespace}/{repo}/auth-check", path, credential)
}

/// Whether the token may write its content (huggingface_hub, `auth_check(write=True)`); changes nothing.
pub fn auth_check_write(kind: RepoType, repo: &RepoName, credential: Credential) -> Request {
    let path = format!("{}/auth-check/write", repo_path(kind, repo));
    get("/api/{type}/{namespace}/{repo}/auth-check/write", path, credential)
}

/// Declares requests for pages of an organization, each with its template, its path and its query.
macro_rules! organization_pages {
    ($($(#[$about:meta])* $name:ident = $page:literal $(? $query:literal)?),+ $(,)?) => {
        $($(#[$about])*
        pub fn $name(organization: &str, credential: Credential) -> Request {
            let query = concat!($("?", $query)?);
            let path = format!(concat!("/api/organizations/{}", $page, "{}"), segment(organization), query);
            get(concat!("/api/organizations/{name}", $page), path, credential)
        })+
    };
}

organization_pages! {
    /// The members (OpenAPI); a few are enough. The public ones may be shown to anybody.
    members = "/members" ? "limit=10",
    /// All repositories with their sizes (OpenAPI); a few are enough.
    repositories = "/settings/repositories" ? "limit=10",
    /// The audit log (OpenAPI). Asked for what hardly ever happens, because an answer may hold 100 000 events.
    audit_log = "/audit-log/export" ? "q=type:org.delete",
    /// What the organization uses and pays (OpenAPI).
    billing = "/billing/usage",
    /// The tokens that reach for it (hub-docs, newer than the OpenAPI document).
    organization_tokens = "/settings/tokens",
    /// The service accounts (OpenAPI).
    service_accounts = "/service-accounts",
    /// Address ranges and content policies (OpenAPI).
    network_security = "/settings/network-security",
}

/// The webhooks of the token's own user (OpenAPI).
pub fn webhooks(credential: Credential) -> Request {
    get("/api/settings/webhooks", "/api/settings/webhooks".to_owned(), credential)
}

/// What the token's own user uses and pays (OpenAPI).
pub fn user_billing(credential: Credential) -> Request {
    get("/api/settings/billing/usage", "/api/settings/billing/usage".to_owned(), credential)
}

/// Whether the token may do this with jobs of the namespace (OpenAPI); `right` is `read` or `write`. A POST
/// that changes nothing.
pub fn jobs_auth_check(namespace: &str, right: &str, credential: Credential) -> Request {
    let path = format!("/api/jobs/{}/auth-check/{right}", segment(namespace));
    let route = "/api/jobs/{namespace}/auth-check/{perms}";
    Request { verb: Verb::Post, route, path, body: None, credential }
}

/// The same for inference endpoints; `right` is `read`, `write` or `infer`.
pub fn endpoints_auth_check(namespace: &str, right: &str, credential: Credential) -> Request {
    let path = format!("/api/inference-endpoints/{}/auth-check/{right}", segment(namespace));
    let route = "/api/inference-endpoints/{namespace}/auth-check/{perms}";
    Request { verb: Verb::Post, route, path, body: None, credential }
}

/// Creates a private, empty repository. `private` is always true; a space is the kind that bills nobody.
pub fn create(repo: &RepoName, kind: RepoType, group: Option<&str>, credential: Credential) -> Request {
    let mut body = json!({
        "name": repo.name,
        "organization": repo.namespace,
        "type": kind.as_str(),
        "private": true,
    });
    if let Value::Object(fields) = &mut body {
        if let Some(group) = group {
            fields.insert("resourceGroupId".to_owned(), json!(group));
        }
        if kind == RepoType::Space {
            fields.insert("sdk".to_owned(), json!("static"));
        }
    }
    Request {
        verb: Verb::Post,
        route: "/api/repos/create",
        path: "/api/repos/create".to_owned(),
        body: Some(body),
        credential,
    }
}

/// Deletes a repository by name. Only `canary` decides when, and only for what is proven ours.
pub fn delete(repo: &RepoName, kind: RepoType, credential: Credential) -> Request {
    Request {
        verb: Verb::Delete,
        route: "/api/repos/delete",
        path: "/api/repos/delete".to_owned(),
        body: Some(json!({ "name": repo.name, "organization": repo.namespace, "type": kind.as_str() })),
        credential,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_creation_is_always_private_and_in_the_organization() {
        let repo: RepoName = "acme/x".parse().expect("a name");
        for kind in RepoType::ALL {
            for group in [None, Some("0123456789abcdef01234567")] {
                let body = create(&repo, *kind, group, Credential::Anonymous).body.expect("a body");
                assert_eq!(body["private"], true);
                assert_eq!(body["organization"], "acme");
                assert_eq!(body["type"], kind.as_str());
                assert_eq!(body.get("visibility"), None);
                assert_eq!(body.get("sdk").is_some(), *kind == RepoType::Space);
                assert_eq!(body.get("resourceGroupId").and_then(Value::as_str), group);
            }
        }
    }

    #[test]
    fn the_next_page_is_one_of_our_own_origin() {
        let asked = list(RepoType::Model, "acme", None, Credential::Anonymous);
        let next = |link| page_after(link, &asked).map(|request| request.path);
        let link = "<https://elsewhere.example/api/models?author=acme&cursor=x>; rel=\"next\"";
        assert_eq!(next(link).as_deref(), Some("/api/models?author=acme&cursor=x"));
        assert_eq!(next("<https://hub/api/models?p=0>; rel=\"prev\""), None);
        assert_eq!(next("<https://hub/other>; rel=\"next\""), None);
        assert_eq!(next("rel=\"next\""), None);
        for other in ["datasets?p=1", "models/acme/x/xet-write-token/main", "models/../whoami-v2?p=1"] {
            let link = format!("<https://hub/api/{other}>; rel=\"next\"");
            assert_eq!(page_after(&link, &asked), None, "{other}");
        }
    }

    #[test]
    fn a_further_page_is_one_of_the_same_list() {
        let asked = organization_tokens("acme", Credential::Anonymous);
        let next = |path| page_after(&format!("<https://hub{path}>; rel=\"next\""), &asked);
        let path = "/api/organizations/acme/settings/tokens?cursor=x";
        assert_eq!(next(path), Some(Request { path: path.to_owned(), ..asked.clone() }));
        for other in ["/api/organizations/acme/members?cursor=x", "/api/models/acme/x/jwt?write=true", "/x"] {
            assert_eq!(next(other), None, "{other}");
        }
    }

    #[test]
    fn a_name_cannot_leave_its_segment() {
        let asked = overview("a/../b?x#y", Credential::Anonymous);
        assert_eq!(asked.path, "/api/organizations/a%2F..%2Fb%3Fx%23y/overview");
    }
}

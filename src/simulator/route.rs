//! The simulated Hub's addresses: one table of methods and paths, each with the question that it asks.
//! Knows paths and nothing of answers. Serves the hub, which answers, faults, which strike by family, and
//! whoever wants to know what there is to ask (`/_sim/routes`).

use crate::simulator::words::Kind;

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Route {
    Whoami,
    Create,
    Delete,
    Move,
    List(Kind),
    Repo { kind: Kind, name: String, ask: RepoAsk },
    Organization { name: String, page: OrgPage },
    Groups { organization: String, ask: GroupAsk },
    Jobs { namespace: String, ask: JobsAsk },
    Endpoints { namespace: String, endpoint: Option<String>, right: String },
    Webhooks,
    Billing(Bill),
    Unknown,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum RepoAsk {
    Info(Option<String>),
    Commits(String),
    Tree(String),
    Refs,
    Group,
    AssignGroup,
    Settings,
    AuthCheck,
    AuthCheckWrite,
    CreateBranch(String),
    DeleteBranch(String),
    CreateTag(String),
    DeleteTag(String),
    AccessRequests(String),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum OrgPage {
    Overview,
    Members,
    ChangeRole(String),
    Repositories,
    Tokens,
    NetworkSecurity,
    ServiceAccounts,
    ServiceAccount(String),
    AuditLog,
    Billing(Bill),
}

/// Questions about resource groups; the first word is a group's id, the second a user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum GroupAsk {
    List,
    Create,
    One(String),
    Delete(String),
    AddUsers(String),
    ChangeUser(String, String),
    RemoveUser(String, String),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum JobsAsk {
    List,
    AuthCheck(String),
}

/// Ways in which the Hub shows what was used and what it cost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Bill {
    Usage,
    UsageByDay,
    ByResourceGroup,
    Live,
}

/// Names by which a fault may ask for a route.
pub(super) const FAMILIES: [&str; 12] = [
    "whoami",
    "create",
    "delete",
    "move",
    "list",
    "read",
    "auth-check",
    "branch",
    "settings",
    "overview",
    "organization",
    "user",
];

/// What stood in a path's places, in their order.
type Places<'a> = &'a [&'a str];

/// Nothing when a place holds a word that leads nowhere.
type Ask = fn(Places<'_>) -> Option<Route>;

/// Every address. `{kind}` stands for models, datasets and spaces; the last place may hold several parts.
const TABLE: &[(&str, &str, Ask)] = &[
    ("GET", "/api/whoami-v2", |_| Some(Route::Whoami)),
    ("POST", "/api/repos/create", |_| Some(Route::Create)),
    ("DELETE", "/api/repos/delete", |_| Some(Route::Delete)),
    ("POST", "/api/repos/move", |_| Some(Route::Move)),
    ("GET", "/api/settings/webhooks", |_| Some(Route::Webhooks)),
    ("GET", "/api/settings/billing/usage", |_| Some(Route::Billing(Bill::Usage))),
    ("GET", "/api/settings/billing/usage-v2", |_| Some(Route::Billing(Bill::UsageByDay))),
    ("GET", "/api/jobs/{namespace}", |at| jobs(at, JobsAsk::List)),
    ("POST", "/api/jobs/{namespace}/auth-check/{perms}", |at| {
        ["read", "write"].contains(&at[1]).then(|| jobs(at, JobsAsk::AuthCheck(word(at[1]))))?
    }),
    ("POST", "/api/inference-endpoints/{namespace}/auth-check/{perms}", |at| endpoints(at[0], None, at[1])),
    ("POST", "/api/inference-endpoints/{namespace}/{endpoint}/auth-check/{perms}", |at| {
        endpoints(at[0], Some(word(at[1])), at[2])
    }),
    ("GET", "/api/organizations/{name}/overview", |at| organization(at, OrgPage::Overview)),
    ("GET", "/api/organizations/{name}/members", |at| organization(at, OrgPage::Members)),
    ("PUT", "/api/organizations/{name}/members/{username}/role", |at| {
        organization(at, OrgPage::ChangeRole(word(at[1])))
    }),
    ("GET", "/api/organizations/{name}/settings/repositories", |at| organization(at, OrgPage::Repositories)),
    ("GET", "/api/organizations/{name}/settings/tokens", |at| organization(at, OrgPage::Tokens)),
    ("GET", "/api/organizations/{name}/settings/network-security", |at| {
        organization(at, OrgPage::NetworkSecurity)
    }),
    ("GET", "/api/organizations/{name}/service-accounts", |at| organization(at, OrgPage::ServiceAccounts)),
    ("GET", "/api/organizations/{name}/service-accounts/{serviceAccountId}", |at| {
        organization(at, OrgPage::ServiceAccount(word(at[1])))
    }),
    ("GET", "/api/organizations/{name}/audit-log/export", |at| organization(at, OrgPage::AuditLog)),
    ("GET", "/api/organizations/{name}/billing/usage", |at| organization(at, OrgPage::Billing(Bill::Usage))),
    ("GET", "/api/organizations/{name}/billing/usage-v2", |at| {
        organization(at, OrgPage::Billing(Bill::UsageByDay))
    }),
    ("GET", "/api/organizations/{name}/billing/usage-by-resource-group", |at| {
        organization(at, OrgPage::Billing(Bill::ByResourceGroup))
    }),
    ("GET", "/api/organizations/{name}/billing/usage/live", |at| {
        organization(at, OrgPage::Billing(Bill::Live))
    }),
    ("GET", "/api/organizations/{name}/resource-groups", |at| groups(at, GroupAsk::List)),
    ("POST", "/api/organizations/{name}/resource-groups", |at| groups(at, GroupAsk::Create)),
    ("GET", "/api/organizations/{name}/resource-groups/{resourceGroupId}", |at| {
        groups(at, GroupAsk::One(word(at[1])))
    }),
    ("DELETE", "/api/organizations/{name}/resource-groups/{resourceGroupId}", |at| {
        groups(at, GroupAsk::Delete(word(at[1])))
    }),
    ("POST", "/api/organizations/{name}/resource-groups/{resourceGroupId}/users", |at| {
        groups(at, GroupAsk::AddUsers(word(at[1])))
    }),
    ("PATCH", "/api/organizations/{name}/resource-groups/{resourceGroupId}/users/{username}", |at| {
        groups(at, GroupAsk::ChangeUser(word(at[1]), word(at[2])))
    }),
    ("DELETE", "/api/organizations/{name}/resource-groups/{resourceGroupId}/users/{username}", |at| {
        groups(at, GroupAsk::RemoveUser(word(at[1]), word(at[2])))
    }),
    ("GET", "/api/{kind}", |at| Some(Route::List(Kind::from_plural(at[0])?))),
    // A name without a namespace is one of the Hub's oldest; there are none here, so it is missing.
    ("GET", "/api/{kind}/{repo}", |at| {
        let kind = Kind::from_plural(at[0])?;
        Some(Route::Repo { kind, name: word(at[1]), ask: RepoAsk::Info(None) })
    }),
    ("GET", "/api/{kind}/{namespace}/{repo}", |at| repo(at, RepoAsk::Info(None))),
    ("GET", "/api/{kind}/{namespace}/{repo}/revision/{rev}", |at| repo(at, RepoAsk::Info(Some(word(at[3]))))),
    ("GET", "/api/{kind}/{namespace}/{repo}/commits/{rev}", |at| repo(at, RepoAsk::Commits(word(at[3])))),
    ("GET", "/api/{kind}/{namespace}/{repo}/tree/{rev}", |at| repo(at, RepoAsk::Tree(word(at[3])))),
    ("GET", "/api/{kind}/{namespace}/{repo}/tree/{rev}/{path}", |at| repo(at, RepoAsk::Tree(word(at[3])))),
    ("GET", "/api/{kind}/{namespace}/{repo}/refs", |at| repo(at, RepoAsk::Refs)),
    ("GET", "/api/{kind}/{namespace}/{repo}/resource-group", |at| repo(at, RepoAsk::Group)),
    ("POST", "/api/{kind}/{namespace}/{repo}/resource-group", |at| repo(at, RepoAsk::AssignGroup)),
    ("PUT", "/api/{kind}/{namespace}/{repo}/settings", |at| repo(at, RepoAsk::Settings)),
    ("GET", "/api/{kind}/{namespace}/{repo}/auth-check", |at| repo(at, RepoAsk::AuthCheck)),
    ("GET", "/api/{kind}/{namespace}/{repo}/auth-check/write", |at| repo(at, RepoAsk::AuthCheckWrite)),
    ("POST", "/api/{kind}/{namespace}/{repo}/branch/{rev}", |at| {
        repo(at, RepoAsk::CreateBranch(word(at[3])))
    }),
    ("DELETE", "/api/{kind}/{namespace}/{repo}/branch/{rev}", |at| {
        repo(at, RepoAsk::DeleteBranch(word(at[3])))
    }),
    ("POST", "/api/{kind}/{namespace}/{repo}/tag/{rev}", |at| repo(at, RepoAsk::CreateTag(word(at[3])))),
    ("DELETE", "/api/{kind}/{namespace}/{repo}/tag/{rev}", |at| repo(at, RepoAsk::DeleteTag(word(at[3])))),
    ("GET", "/api/{kind}/{namespace}/{repo}/user-access-request/{status}", |at| {
        let known = ["pending", "accepted", "rejected"].contains(&at[3]) && at[0] != "spaces";
        known.then(|| repo(at, RepoAsk::AccessRequests(word(at[3]))))?
    }),
];

fn word(word: &str) -> String {
    word.to_owned()
}

fn repo(at: Places<'_>, ask: RepoAsk) -> Option<Route> {
    Some(Route::Repo { kind: Kind::from_plural(at[0])?, name: format!("{}/{}", at[1], at[2]), ask })
}

fn organization(at: Places<'_>, page: OrgPage) -> Option<Route> {
    Some(Route::Organization { name: word(at[0]), page })
}

fn groups(at: Places<'_>, ask: GroupAsk) -> Option<Route> {
    Some(Route::Groups { organization: word(at[0]), ask })
}

fn jobs(at: Places<'_>, ask: JobsAsk) -> Option<Route> {
    Some(Route::Jobs { namespace: word(at[0]), ask })
}

fn endpoints(namespace: &str, endpoint: Option<String>, right: &str) -> Option<Route> {
    let known = ["read", "write", "infer"].contains(&right);
    known.then(|| Route::Endpoints { namespace: word(namespace), endpoint, right: word(right) })
}

impl Route {
    pub(super) fn of(method: &str, segments: &[String]) -> Route {
        let method = if method == "HEAD" { "GET" } else { method };
        let mut fitting = TABLE.iter().filter(|(known, _, _)| *known == method);
        let found = fitting.find_map(|(_, path, ask)| ask(&places(path, segments)?));
        found.unwrap_or(Route::Unknown)
    }

    /// The name under which faults and the record know this route.
    pub(super) fn family(&self) -> &'static str {
        match self {
            Route::Whoami => "whoami",
            Route::Create => "create",
            Route::Delete => "delete",
            Route::Move => "move",
            Route::List(_) => "list",
            Route::Repo { ask, .. } => match ask {
                RepoAsk::AuthCheck | RepoAsk::AuthCheckWrite => "auth-check",
                RepoAsk::CreateBranch(_)
                | RepoAsk::DeleteBranch(_)
                | RepoAsk::CreateTag(_)
                | RepoAsk::DeleteTag(_) => "branch",
                RepoAsk::Settings | RepoAsk::AssignGroup => "settings",
                _ => "read",
            },
            Route::Organization { page: OrgPage::Overview, .. } => "overview",
            Route::Organization { .. } | Route::Groups { .. } => "organization",
            Route::Jobs { .. } | Route::Endpoints { .. } => "auth-check",
            Route::Webhooks | Route::Billing(_) => "user",
            Route::Unknown => "unknown",
        }
    }

    /// Every method and path, with the kinds written out.
    pub(super) fn all() -> impl Iterator<Item = String> {
        let plurals = |path: &str| if path.contains("{kind}") { Kind::PLURALS.as_slice() } else { &[""] };
        let written = move |(method, path, _): &(&str, &'static str, Ask)| {
            let address = format!("{method} {path}");
            plurals(path).iter().map(move |plural| address.replace("{kind}", plural))
        };
        // Access requests are not for Spaces.
        TABLE
            .iter()
            .flat_map(written)
            .filter(|path| !path.ends_with("/user-access-request/{status}") || !path.contains("/spaces/"))
    }
}

/// What stands in a path's places, if the path fits.
fn places<'a>(path: &str, segments: &'a [String]) -> Option<Vec<&'a str>> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let open_ended = path.ends_with("{path}") && segments.len() > parts.len();
    if segments.len() != parts.len() && !open_ended {
        return None;
    }
    let mut held = Vec::new();
    for (part, segment) in parts.iter().zip(segments) {
        if part.starts_with('{') {
            held.push(segment.as_str());
        } else if part != segment {
            return None;
        }
    }
    Some(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Route {
        let (method, path) = address.split_once(' ').unwrap();
        let segments: Vec<String> = path.split('/').skip(1).map(str::to_owned).collect();
        Route::of(method, &segments)
    }

    #[test]
    fn every_address_of_the_table_leads_to_a_question_of_its_own() {
        let mut seen = Vec::new();
        for address in Route::all() {
            let filled = address.replace("{perms}", "read").replace("{status}", "pending");
            let route = of(&filled);
            assert_ne!(route, Route::Unknown, "{address}");
            // A tree asks the same whatever the folder.
            assert!(
                !seen.contains(&route) || address.ends_with("{path}"),
                "{address} asks what another asks"
            );
            assert!(FAMILIES.contains(&route.family()), "{address}");
            seen.push(route);
        }
        assert!(seen.len() > 60, "{}", seen.len());
    }

    #[test]
    fn what_is_not_in_the_table_leads_nowhere() {
        let rows = [
            "GET /api/repos/create",
            "POST /api/jobs/acme/auth-check/admin",
            "POST /api/inference-endpoints/acme/auth-check/admin",
            "GET /api/buckets/acme/x",
            "GET /api/spaces/acme/x/user-access-request/pending",
            "GET /api/models/acme/x/user-access-request/odd",
            "GET /api/models/acme/x/refs/more",
            "GET /acme/x",
        ];
        for address in rows {
            assert_eq!(of(address), Route::Unknown, "{address}");
        }
        let tree = of("GET /api/models/acme/x/tree/main/a/b/c");
        assert!(matches!(tree, Route::Repo { ask: RepoAsk::Tree(rev), .. } if rev == "main"));
        assert_eq!(of("HEAD /api/whoami-v2"), Route::Whoami);
    }
}

//! The simulated Hub's addresses: which question a method and a path ask.
//! Knows paths and nothing of answers. Serves the hub, which answers, and faults, which strike by route.

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
    Jobs { namespace: String, right: String },
    Endpoints { namespace: String, right: String },
    Webhooks,
    Billing,
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
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum OrgPage {
    Overview,
    Members,
    ResourceGroups,
    Repositories,
    Tokens,
    NetworkSecurity,
    ServiceAccounts,
    AuditLog,
    Billing,
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

impl Route {
    pub(super) fn of(method: &str, segments: &[String]) -> Route {
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        let method = if method == "HEAD" { "GET" } else { method };
        match (method, parts.as_slice()) {
            ("GET", ["api", "whoami-v2"]) => Route::Whoami,
            ("POST", ["api", "repos", "create"]) => Route::Create,
            ("DELETE", ["api", "repos", "delete"]) => Route::Delete,
            ("POST", ["api", "repos", "move"]) => Route::Move,
            ("GET", ["api", "settings", "webhooks"]) => Route::Webhooks,
            ("GET", ["api", "settings", "billing", "usage" | "usage-v2"]) => Route::Billing,
            ("POST", ["api", "jobs", namespace, "auth-check", right @ ("read" | "write")]) => {
                Route::Jobs { namespace: (*namespace).to_owned(), right: (*right).to_owned() }
            }
            (
                "POST",
                ["api", "inference-endpoints", namespace, "auth-check", right @ ("read" | "write" | "infer")],
            ) => Route::Endpoints { namespace: (*namespace).to_owned(), right: (*right).to_owned() },
            ("GET", ["api", "organizations", name, rest @ ..]) => match OrgPage::of(rest) {
                Some(page) => Route::Organization { name: (*name).to_owned(), page },
                None => Route::Unknown,
            },
            (_, ["api", kind, rest @ ..]) => match Kind::from_plural(kind) {
                Some(kind) => Route::of_kind(method, kind, rest),
                None => Route::Unknown,
            },
            _ => Route::Unknown,
        }
    }

    fn of_kind(method: &str, kind: Kind, parts: &[&str]) -> Route {
        match (method, parts) {
            ("GET", []) => Route::List(kind),
            // A name without a namespace is one of the Hub's oldest; there are none here, so it is missing.
            ("GET", [name]) => Route::Repo { kind, name: (*name).to_owned(), ask: RepoAsk::Info(None) },
            (_, [namespace, name, rest @ ..]) => match RepoAsk::of(method, rest) {
                Some(ask) => Route::Repo { kind, name: format!("{namespace}/{name}"), ask },
                None => Route::Unknown,
            },
            _ => Route::Unknown,
        }
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
                RepoAsk::CreateBranch(_) | RepoAsk::DeleteBranch(_) => "branch",
                RepoAsk::Settings | RepoAsk::AssignGroup => "settings",
                _ => "read",
            },
            Route::Organization { page: OrgPage::Overview, .. } => "overview",
            Route::Organization { .. } => "organization",
            Route::Jobs { .. } | Route::Endpoints { .. } => "auth-check",
            Route::Webhooks | Route::Billing => "user",
            Route::Unknown => "unknown",
        }
    }
}

impl RepoAsk {
    fn of(method: &str, parts: &[&str]) -> Option<RepoAsk> {
        let ask = match (method, parts) {
            ("GET", []) => RepoAsk::Info(None),
            ("GET", ["revision", revision]) => RepoAsk::Info(Some((*revision).to_owned())),
            ("GET", ["commits", revision]) => RepoAsk::Commits((*revision).to_owned()),
            ("GET", ["tree", revision, ..]) => RepoAsk::Tree((*revision).to_owned()),
            ("GET", ["refs"]) => RepoAsk::Refs,
            ("GET", ["resource-group"]) => RepoAsk::Group,
            ("POST", ["resource-group"]) => RepoAsk::AssignGroup,
            ("PUT", ["settings"]) => RepoAsk::Settings,
            ("GET", ["auth-check"]) => RepoAsk::AuthCheck,
            ("GET", ["auth-check", "write"]) => RepoAsk::AuthCheckWrite,
            ("POST", ["branch", branch]) => RepoAsk::CreateBranch((*branch).to_owned()),
            ("DELETE", ["branch", branch]) => RepoAsk::DeleteBranch((*branch).to_owned()),
            _ => return None,
        };
        Some(ask)
    }
}

impl OrgPage {
    fn of(parts: &[&str]) -> Option<OrgPage> {
        let page = match parts {
            ["overview"] => OrgPage::Overview,
            ["members"] => OrgPage::Members,
            ["resource-groups"] => OrgPage::ResourceGroups,
            ["settings", "repositories"] => OrgPage::Repositories,
            ["settings", "tokens"] => OrgPage::Tokens,
            ["settings", "network-security"] => OrgPage::NetworkSecurity,
            ["service-accounts"] => OrgPage::ServiceAccounts,
            ["audit-log", "export"] => OrgPage::AuditLog,
            ["billing", "usage" | "usage-v2"] => OrgPage::Billing,
            _ => return None,
        };
        Some(page)
    }
}

//! whoami-v2, an organization's pages, and the checks on namespaces.

use serde_json::json;

use super::*;

#[test]
fn whoami_declares_scopes_roles_and_groups() {
    let bench = Bench::patched(json!({"tokens": {"none": {
        "expires_at": "2099-01-01T00:00:00Z",
        "scopes": [{"entity": "resource-group:acme/lab", "permissions": ["repo.write"]}],
    }}}));
    let me = json(&bench.get("none", "/api/whoami-v2"));
    assert_eq!((&me["type"], &me["name"], &me["isPro"]), (&json!("user"), &json!("wim"), &json!(false)));
    assert_eq!(me["auth"]["type"], "access_token");
    assert_eq!(me["auth"]["expiresAt"], "2099-01-01T00:00:00.000Z");
    assert_eq!(me["auth"]["accessToken"]["displayName"], "none");
    assert_eq!(me["auth"]["accessToken"]["role"], "fineGrained");
    let group = crate::simulator::id::resource_group("acme", "lab");
    let scoped = json!([{"entity": {"_id": group, "type": "resource-group", "name": "lab"},
                         "permissions": ["repo.write"]}]);
    assert_eq!(me["auth"]["accessToken"]["fineGrained"]["scoped"], scoped);
    assert_eq!(me.get("email"), None);
    let classic = json(&bench.get("writer", "/api/whoami-v2"));
    assert_eq!(classic["auth"]["accessToken"].get("fineGrained"), None);
    assert_eq!(classic["email"], "wim@example.com");
    let org = &classic["orgs"][0];
    assert_eq!((&org["name"], &org["plan"]), (&json!("acme"), &json!("enterprise")));
    assert_eq!((&org["roleInOrg"], org.get("resourceGroups")), (&json!("write"), None));
    bench.patch(json!({"tokens": {"rg": {"secret": "s-rg", "user": "rg", "role": "read"}}}));
    let org = json(&bench.get("rg", "/api/whoami-v2"))["orgs"][0].clone();
    assert_eq!(org["roleInOrg"], "no_access");
    assert_eq!(org["resourceGroups"], json!([{"id": group, "name": "lab", "role": "write"}]));
    assert_eq!(error(&bench.get("", "/api/whoami-v2")), "Invalid username or password.");
}

#[test]
fn an_overview_is_for_everybody_and_spells_the_name_as_it_is() {
    let bench = Bench::new();
    for (token, name) in [("", "acme"), ("none", "ACME"), ("stranger", "aCmE")] {
        let answer = bench.get(token, &format!("/api/organizations/{name}/overview"));
        assert_eq!((answer.status, &json(&answer)["name"]), (200, &json!("acme")), "{name}");
    }
    assert_eq!(bench.get("", "/api/organizations/nowhere/overview").status, 404);
    assert_eq!(bench.get("dead", "/api/organizations/acme/overview").status, 401);
}

#[test]
fn an_organizations_pages_open_by_permission_and_role() {
    let rows = [
        ("members", "org.members.read", "org.members.read", false),
        ("resource-groups", "org.read", "resourceGroup.write", false),
        ("settings/repositories", "org.repos.read", "org.repos.read", true),
        ("settings/tokens", "org.read", "org.write", true),
        ("settings/network-security", "org.networkSecurity.read", "org.read", true),
        ("service-accounts", "org.serviceAccounts.read", "org.serviceAccounts.write", true),
        ("audit-log/export", "org.auditLog.write", "org.auditLog.write", true),
        ("billing/usage", "org.billing.read", "org.billing.read", true),
        ("billing/usage-v2", "org.billing.read", "org.billing.read", true),
        ("billing/usage/live", "org.billing.read", "org.billing.read", true),
        ("billing/usage-by-resource-group", "org.billing.read", "org.billing.read", true),
    ];
    for (page, named, opens, admins_only) in rows {
        let path = format!("/api/organizations/acme/{page}");
        let bench = Bench::new();
        assert_eq!(bench.get("admin", &path).status, 200, "{page}");
        assert_eq!(bench.get("", &path).status, 401, "{page}");
        assert_eq!(bench.get("reader", &path).status, if admins_only { 403 } else { 200 }, "{page}");
        let refused = bench.get("none", &path);
        let text = format!(
            "You don't have the required permissions to complete this action on namespace acme, missing \
             permissions: {named}."
        );
        assert_eq!((refused.status, error(&refused)), (403, text), "{page}");
        assert_eq!(bench.get("stranger", &path).status, 403, "{page}");
        let scopes = json!([{"entity": "org:acme", "permissions": [opens]}]);
        bench.patch(json!({"tokens": {"janitor": {"scopes": scopes}}}));
        assert_eq!(bench.get("janitor", &path).status, 200, "{page} with {opens}");
    }
    assert_eq!(Bench::new().get("admin", "/api/organizations/nowhere/members").status, 404);
}

#[test]
fn the_pages_tell_what_is_there() {
    let bench = Bench::new();
    let page = |token: &str, page: &str| json(&bench.get(token, &format!("/api/organizations/acme/{page}")));
    let ria = page("admin", "members")[4].clone();
    assert_eq!((&ria["user"], &ria["role"]), (&json!("ria"), &json!("read")));
    assert_eq!(ria["resourceGroups"][0]["role"], "write");
    assert_eq!(page("admin", "resource-groups").as_array().unwrap().len(), 2);
    // Wim is in no group, and only admins see all.
    assert_eq!(page("writer", "resource-groups"), json!([]));
    assert_eq!(page("admin", "settings/repositories?search=lab&type=model")[0]["id"], "acme/lab");
    assert_eq!(page("admin", "settings/repositories?limit=2").as_array().unwrap().len(), 2);
    assert_eq!(page("admin", "service-accounts")[0]["user"], "svc-ci");
    let tokens = page("admin", "settings/tokens");
    let names: Vec<&str> =
        tokens.as_array().unwrap().iter().map(|token| token["displayName"].as_str().unwrap()).collect();
    // Neither dead ones nor fine-grained ones that name nothing here.
    assert_eq!(names, ["admin", "janitor", "old", "reader", "writer"]);
    bench.create("writer", "acme/fresh");
    bench.delete("writer", "acme/fresh");
    let log = page("admin", "audit-log/export");
    let events: Vec<&str> =
        log.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(events, ["repo.create", "repo.delete"]);
    assert_eq!(log[0]["author"]["user"], "wim");
}

#[test]
fn namespace_checks_follow_scope_and_role() {
    let scoped = |entity: &str, permission: &str| {
        let scopes = json!([{"entity": entity, "permissions": [permission]}]);
        Bench::patched(json!({"tokens": {"none": {"scopes": scopes}}}))
    };
    let rows = [
        ("org:acme", "job.write", "jobs/acme/auth-check/write", 200),
        ("org:acme", "job.write", "jobs/acme/auth-check/read", 200),
        ("org:acme", "repo.write", "jobs/acme/auth-check/write", 403),
        ("org:acme", "inference.endpoints.write", "inference-endpoints/acme/auth-check/write", 200),
        ("org:acme", "inference.endpoints.infer.write", "inference-endpoints/acme/auth-check/infer", 200),
        ("org:acme", "inference.endpoints.infer.write", "inference-endpoints/acme/auth-check/write", 403),
        ("org:acme", "job.write", "jobs/nowhere/auth-check/write", 403),
        ("org:other", "job.write", "jobs/other/auth-check/write", 403),
        ("user:wim", "job.write", "jobs/wim/auth-check/write", 200),
    ];
    for (entity, permission, path, status) in rows {
        let answer = scoped(entity, permission).ask("none", "POST", &format!("/api/{path}"), json!({}));
        assert_eq!(answer.status, status, "{entity} {permission} {path}");
    }
    let own = [
        ("user.webhooks.read", "webhooks", 200),
        ("user.billing.read", "billing/usage", 200),
        ("user.billing.read", "webhooks", 403),
    ];
    for (permission, path, status) in own {
        let answer = scoped("user:wim", permission).get("none", &format!("/api/settings/{path}"));
        assert_eq!(answer.status, status, "{permission} {path}");
    }
    let bench = Bench::new();
    assert_eq!(bench.ask("reader", "POST", "/api/jobs/acme/auth-check/write", json!({})).status, 403);
    assert_eq!(bench.ask("writer", "POST", "/api/jobs/acme/auth-check/write", json!({})).status, 200);
    assert_eq!(bench.get("reader", "/api/settings/webhooks").status, 200);
}

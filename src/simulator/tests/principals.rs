//! The kinds of caller: service accounts with tokens of their own, OAuth sessions, applications, staff; and
//! how the organization lists those that reach for it.

use serde_json::json;

use super::*;

/// The scopes of a service account's token, and what it may do with acme/private and acme/public.
fn account(permissions: Value, repo_ids: Value, repo_permissions: Value) -> Bench {
    Bench::patched(json!({"tokens": {"bot": {
        "secret": "s-bot-secret-1234", "user": "svc-ci", "role": "fineGrained",
        "permissions": permissions, "repo_ids": repo_ids, "repo_permissions": repo_permissions,
    }}}))
}

#[test]
fn a_service_accounts_token_may_what_it_was_given_and_singled_out_repositories_stand_apart() {
    let write = json!(["repo.write"]);
    let read = json!(["repo.content.read"]);
    let one = json!(["model:acme/private"]);
    // Create in the root, read and write acme/private, write acme/public, delete acme/private.
    let rows = [
        (json!([]), json!([]), json!([]), [403, 404, 404, 403, 404]),
        (write.clone(), json!([]), json!([]), [200, 200, 200, 200, 200]),
        (read.clone(), json!([]), json!([]), [403, 200, 403, 403, 403]),
        // The grant on the one takes the place of the wide one, be it more or less.
        (write.clone(), one.clone(), read.clone(), [200, 200, 403, 200, 403]),
        (read, one.clone(), write.clone(), [403, 200, 200, 403, 403]),
        (write.clone(), one.clone(), write.clone(), [200, 200, 200, 200, 403]),
        (write, one.clone(), json!([]), [200, 404, 404, 200, 404]),
    ];
    for (permissions, ids, repo_permissions, expected) in rows {
        let case = format!("{permissions} {ids} {repo_permissions}");
        let bench = account(permissions, ids, repo_permissions);
        let get = |path: &str| bench.get("bot", path).status;
        let is = [
            bench.create("bot", "acme/fresh").status,
            get("/api/models/acme/private"),
            get("/api/models/acme/private/auth-check/write"),
            get("/api/models/acme/public/auth-check/write"),
            bench.delete("bot", "acme/private").status,
        ];
        assert_eq!(is, expected, "{case}");
    }
}

#[test]
fn a_service_account_is_listed_with_its_tokens_and_is_no_member() {
    let bench = account(json!(["org.read"]), json!(["acme", "model:acme/private"]), json!(["repo.write"]));
    let page = |page: &str| bench.get("admin", &format!("/api/organizations/acme/{page}"));
    let all = json(&page("service-accounts"));
    assert_eq!((&all[0]["user"], all[0].get("accessTokens")), (&json!("svc-ci"), None));
    let id = all[0]["_id"].as_str().unwrap();
    let one = json(&page(&format!("service-accounts/{id}")));
    let token = &one["accessTokens"][0];
    assert_eq!(token["permissions"], json!(["org.read"]));
    assert_eq!(token["repoPermissions"], json!(["repo.write"]));
    assert_eq!(token["last4"], "1234");
    let repo = json(&bench.get("admin", "/api/models/acme/private"))["_id"].clone();
    assert_eq!(token["repoIds"], json!([repo]));
    assert!(!one.to_string().contains("s-bot-secret"));
    assert_eq!(page("service-accounts/0123456789abcdef01234567").status, 404);
    assert!(!page("members").body.contains("svc-ci"));
    assert!(!page("settings/tokens").body.contains("bot"));
    let me = json(&bench.get("bot", "/api/whoami-v2"));
    assert_eq!((&me["type"], &me["name"], &me["orgs"]), (&json!("user"), &json!("svc-ci"), &json!([])));
    let scoped = &me["auth"]["accessToken"]["fineGrained"]["scoped"];
    assert_eq!((&scoped[0]["entity"]["name"], &scoped[1]["entity"]["_id"]), (&json!("acme"), &repo));
    // Its own permissions open the list to it, as to a member's token.
    for (permission, status) in
        [("org.serviceAccounts.read", 200), ("org.serviceAccounts.write", 200), ("org.read", 403)]
    {
        let bench = account(json!([permission]), json!([]), json!([]));
        let path = format!("/api/organizations/acme/service-accounts/{id}");
        assert_eq!(bench.get("bot", &path).status, status, "{permission}");
    }
}

#[test]
fn the_inventory_hides_what_was_revoked_unless_asked() {
    let bench = Bench::patched(json!({"tokens": {
        "writer": {"approval": "revoked"},
        "reader": {"approval": "denied", "secret": "s-reader-abcd"},
    }}));
    let names = |query: &str| -> Vec<(String, String)> {
        let all = json(&bench.get("admin", &format!("/api/organizations/acme/settings/tokens{query}")));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        all.as_array()
            .unwrap()
            .iter()
            .map(|token| (text(&token["displayName"]), text(&token["status"])))
            .collect()
    };
    let listed = |query: &str, name: &str| names(query).into_iter().find(|(known, _)| known == name);
    assert_eq!(listed("", "writer"), None);
    assert_eq!(listed("?status=all", "writer").unwrap().1, "revoked");
    assert_eq!(listed("", "reader").unwrap().1, "denied");
    assert_eq!(listed("", "admin").unwrap().1, "active");
    let all = json(&bench.get("admin", "/api/organizations/acme/settings/tokens"));
    let of = |name: &str| {
        all.as_array().unwrap().iter().find(|token| token["displayName"] == name).unwrap().clone()
    };
    assert_eq!(of("reader")["last4"], "abcd");
    // The listing itself was a use of the admin's token; nobody used the other.
    assert!(of("admin")["lastUsedAt"].is_string() && of("reader").get("lastUsedAt").is_none());
}

#[test]
fn whoami_of_those_who_are_no_plain_user() {
    let bench = Bench::patched(json!({"tokens": {
        "session": {"secret": "s-1", "user": "wim", "role": "fineGrained", "principal": "oauth",
                    "scopes": [{"entity": "org:acme", "permissions": ["repo.write"]}]},
        "app": {"secret": "s-2", "user": "wim", "role": "fineGrained", "principal": "app",
                "scopes": [{"entity": "org:acme", "permissions": ["repo.content.read"]}]},
        "staff": {"secret": "s-3", "user": "wim", "role": "god"},
        "global": {"secret": "s-4", "user": "wim", "role": "fineGrained", "gated_repos": true,
                   "global": ["discussion.write", "post.write"]},
    }, "users": {"wim": {"pro": true}}}));
    let me = |token: &str| json(&bench.get(token, "/api/whoami-v2"));
    let session = me("session");
    assert_eq!((&session["type"], session["auth"].get("accessToken")), (&json!("user"), None));
    assert_ne!(session["auth"]["type"], "access_token");
    assert!(session["auth"]["expiresAt"].is_string());
    assert_eq!(session["isPro"], true);
    // It can do what its scopes say all the same.
    assert_eq!(bench.create("session", "acme/fresh").status, 200);
    let app = me("app");
    assert_eq!((&app["type"], app.get("orgs")), (&json!("app"), None));
    assert_eq!(app["scope"]["role"], "read");
    assert_eq!(app["scope"]["entities"][0]["name"], "acme");
    assert_eq!(me("staff")["auth"]["accessToken"]["role"], "god");
    assert_eq!(bench.create("staff", "acme/by-staff").status, 200);
    assert_eq!(bench.create("staff", "other/by-staff").status, 403);
    let fine = &me("global")["auth"]["accessToken"]["fineGrained"];
    let expected =
        json!({"canReadGatedRepos": true, "global": ["discussion.write", "post.write"], "scoped": []});
    assert_eq!(*fine, expected);
}

#[test]
fn a_world_may_hide_organizations_from_tokens_that_do_not_name_them() {
    let bench = Bench::patched(json!({"users": {"ann": {"hide_orgs": true}, "wim": {"hide_orgs": true}}}));
    let orgs = |token: &str| json(&bench.get(token, "/api/whoami-v2"))["orgs"].as_array().unwrap().len();
    assert_eq!((orgs("none"), orgs("writer"), orgs("janitor")), (0, 1, 1));
    bench.patch(json!({"users": {"wim": null}}));
    assert_eq!(orgs("none"), 1);
}

#[test]
fn an_address_rule_spares_tokens_that_are_exempt() {
    let bench = account(json!(["repo.write"]), json!([]), json!([]));
    bench.patch(json!({"tokens": {"bot": {"restrictions": ["ip"]}}}));
    assert_eq!(bench.get("bot", "/api/models/acme/private").status, 403);
    bench.patch(json!({"tokens": {"bot": {"skip_network_security": true}}}));
    assert_eq!(bench.get("bot", "/api/models/acme/private").status, 200);
    bench.patch(json!({"tokens": {"bot": {"restrictions": ["sso"]}}}));
    assert_eq!(bench.get("bot", "/api/models/acme/private").status, 403);
}

#[test]
fn the_audit_log_tells_who_and_with_which_token_and_picks_by_type() {
    let bench = Bench::patched(json!({"tokens": {"writer": {"secret": "s-writer-wxyz"}}}));
    bench.create("writer", "acme/fresh");
    bench.delete("writer", "acme/fresh");
    let log = |query: &str| {
        let answer = bench.get("admin", &format!("/api/organizations/acme/audit-log/export{query}"));
        assert!(header(&answer, "Content-Disposition").unwrap().contains("attachment"));
        json(&answer).as_array().unwrap().clone()
    };
    assert_eq!(log("").len(), 2);
    let made = &log("?q=type:repo.create")[..];
    assert_eq!(made.len(), 1);
    assert_eq!((&made[0]["author"]["user"], &made[0]["userAgent"]), (&json!("wim"), &json!("a test")));
    assert_eq!((&made[0]["token"]["last4"], &made[0]["token"]["deleted"]), (&json!("wxyz"), &json!(false)));
    assert!(log("?q=type:repo.move").is_empty());
}

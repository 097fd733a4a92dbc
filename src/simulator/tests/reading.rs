//! Reading: who sees what, listings, history, gates, moved repositories.

use serde_json::json;

use super::*;
use crate::simulator::answer;

#[test]
fn what_one_must_not_see_is_missing_and_nobody_is_asked_who_he_is() {
    let bench = Bench::new();
    let rows = [
        ("", "/api/models/acme/private", 401, "Invalid username or password.", None),
        ("", "/api/models/acme/absent", 401, "Invalid username or password.", None),
        ("dead", "/api/models/acme/public", 401, "Invalid username or password.", None),
        ("stranger", "/api/models/acme/private", 404, "Repository not found", Some("RepoNotFound")),
        ("none", "/api/models/acme/private", 404, "Repository not found", Some("RepoNotFound")),
        ("writer", "/api/models/acme/absent", 404, "Repository not found", Some("RepoNotFound")),
        ("writer", "/api/models/absent", 404, "Repository not found", Some("RepoNotFound")),
        ("writer", "/api/spaces/acme/private", 404, "Repository not found", Some("RepoNotFound")),
        ("writer", "/api/models/acme/private/revision/x", 404, "Invalid rev id: x", Some("RevisionNotFound")),
        ("", "/api/models/acme/public/auth-check/write", 401, "Invalid username or password.", None),
        ("none", "/api/models/acme/public/auth-check/write", 403, answer::REPO_GUARD, None),
        (
            "stranger",
            "/api/models/acme/private/auth-check/write",
            404,
            "Repository not found",
            Some("RepoNotFound"),
        ),
    ];
    for (token, path, status, text, code) in rows {
        let answer = bench.get(token, path);
        assert_eq!((answer.status, error(&answer).as_str()), (status, text), "{token} {path}");
        assert_eq!(header(&answer, "X-Error-Code"), code, "{token} {path}");
    }
    for (token, path) in [("", "public"), ("none", "public"), ("writer", "private"), ("writer", "PRIVATE")] {
        assert_eq!(bench.get(token, &format!("/api/models/acme/{path}")).status, 200, "{token} {path}");
    }
    assert_eq!(bench.get("writer", "/api/models/acme/private/auth-check/write").body, "OK");
}

#[test]
fn listings_show_public_ones_and_what_the_token_sees() {
    let bench = Bench::new();
    let names = |token: &str, query: &str| -> Vec<String> {
        let all = json(&bench.get(token, &format!("/api/models?{query}")));
        all.as_array().unwrap().iter().map(|repo| repo["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("", "author=acme"), ["acme/gated", "acme/public"]);
    assert_eq!(names("none", "author=acme"), ["acme/gated", "acme/public"]);
    assert_eq!(names("reader", "author=ACME"), ["acme/gated", "acme/private", "acme/public"]);
    assert_eq!(names("janitor", "author=acme&search=LAB"), ["acme/lab"]);
    assert_eq!(names("stranger", "search=own"), Vec::<String>::new());
    assert_eq!(bench.get("dead", "/api/models").status, 401);
    let first = bench.get("janitor", "/api/models?author=acme&limit=3");
    let next = header(&first, "Link").unwrap();
    assert_eq!(next, "<http://hub.test/api/models?author=acme&limit=3&cursor=3>; rel=\"next\"");
    let last = bench.get("janitor", "/api/models?author=acme&limit=3&cursor=3");
    assert_eq!((json(&last).as_array().unwrap().len(), header(&last, "Link")), (1, None));
    assert_eq!(bench.get("janitor", "/api/models?limit=many").status, 400);
}

#[test]
fn a_gate_lets_in_whom_the_authors_granted_and_whose_token_may() {
    let path = "/api/models/acme/gated/auth-check";
    let bench = Bench::new();
    assert_eq!(bench.get("", "/api/models/acme/gated").status, 200);
    let rows = [
        ("", 401, Some("Please log in.")),
        ("stranger", 403, Some("you are not in the authorized list.")),
        ("writer", 200, None),
    ];
    for (token, status, part) in rows {
        let answer = bench.get(token, path);
        assert_eq!(answer.status, status, "{token}");
        if let Some(part) = part {
            assert!(error(&answer).contains(part), "{token}: {}", answer.body);
            assert_eq!(header(&answer, "X-Error-Code"), Some("GatedRepo"));
        }
    }
    assert!(error(&bench.get("none", path)).starts_with("Please enable access to public gated repositories"));
    bench.patch(json!({"tokens": {"none": {"gated_repos": true}}}));
    assert_eq!(bench.get("none", path).status, 200);
}

#[test]
fn members_need_not_ask_unless_the_gate_is_for_them_too() {
    let bench = Bench::new();
    let path = "/api/models/acme/gated/auth-check";
    bench.patch(json!({"tokens": {"con": {"secret": "s-con", "user": "con", "role": "read"}}}));
    assert_eq!(bench.get("con", path).status, 200);
    bench.patch(json!({"repos": {"acme/gated": {"org_members_gated": true}}}));
    assert!(error(&bench.get("con", path)).ends_with("to ask for access."));
    assert_eq!(bench.get("admin", path).status, 200);
    bench.patch(json!({"repos": {"acme/gated": {"requested": ["con"], "gated": "auto"}}}));
    let waits = bench.get("con", path);
    let text = "Your request to access model acme/gated is awaiting a review from the repo authors.";
    assert_eq!((waits.status, error(&waits).as_str()), (403, text));
    assert_eq!(header(&waits, "X-Error-Code"), Some("GatedRepo"));
    // A scope that names the organization reads its gated ones too.
    assert_eq!(bench.get("janitor", path).status, 200);
    let asked = |token: &str, repo: &str, status: &str| {
        bench.get(token, &format!("/api/models/acme/{repo}/user-access-request/{status}"))
    };
    assert_eq!(json(&asked("writer", "gated", "pending"))[0]["user"]["user"], "con");
    assert_eq!(json(&asked("writer", "gated", "rejected")), json!([]));
    // The right comes first, so that a refusal tells nothing of the gate.
    for repo in ["gated", "public"] {
        let shut = asked("stranger", repo, "pending");
        assert_eq!((shut.status, error(&shut).as_str()), (403, answer::REPO_GUARD), "{repo}");
    }
    assert_eq!(asked("writer", "public", "pending").status, 400);
}

#[test]
fn a_disabled_repository_says_so_to_those_who_see_it() {
    let bench = Bench::patched(json!({"repos": {"acme/private": {"disabled": true}}}));
    let shut = bench.get("writer", "/api/models/acme/private");
    assert_eq!((shut.status, error(&shut).as_str()), (403, "Access to this resource is disabled."));
    assert_eq!(bench.get("stranger", "/api/models/acme/private").status, 404);
}

#[test]
fn settings_need_writing_and_echo_what_was_sent() {
    let bench = Bench::new();
    let put = |token: &str, body: Value| bench.ask(token, "PUT", "/api/models/acme/public/settings", body);
    for token in ["reader", "none", "stranger"] {
        let shut = put(token, json!({"private": true}));
        assert_eq!((shut.status, error(&shut).as_str()), (403, answer::REPO_GUARD), "{token}");
    }
    assert_eq!(put("", json!({})).status, 401);
    assert_eq!(json(&put("writer", json!({}))), json!({}));
    assert_eq!(json(&put("writer", json!({"private": true}))), json!({"private": true}));
    assert_eq!(bench.get("stranger", "/api/models/acme/public").status, 404);
    let wish = json!({"visibility": "public", "gated": "auto", "unheard": 1});
    assert_eq!(json(&put("writer", wish)), json!({"visibility": "public", "gated": "auto"}));
    assert_eq!(json(&bench.get("", "/api/models/acme/public"))["gated"], "auto");
    assert_eq!(json(&put("writer", json!({"gated": false}))), json!({"gated": false}));
    for wrong in [json!({"gated": true}), json!({"visibility": "protected"}), json!({"private": "yes"})] {
        assert_eq!(put("writer", wrong.clone()).status, 400, "{wrong}");
    }
}

#[test]
fn tags_are_made_once_by_those_who_may_write() {
    let bench = Bench::new();
    let tag = |token: &str, method: &str, at: &str, body: Value| {
        bench.ask(token, method, &format!("/api/models/acme/private/tag/{at}"), body)
    };
    let wish = json!({"tag": "v1"});
    assert_eq!(error(&tag("reader", "POST", "main", wish.clone())), answer::REPO_GUARD);
    assert_eq!(tag("writer", "POST", "main", wish.clone()).status, 200);
    assert_eq!(tag("writer", "POST", "main", wish.clone()).status, 409);
    assert_eq!(tag("writer", "POST", "nowhere", wish).status, 404);
    let refs = json(&bench.get("writer", "/api/models/acme/private/refs"));
    assert_eq!(refs["tags"][0]["ref"], "refs/tags/v1");
    assert_eq!(bench.get("writer", "/api/models/acme/private/revision/v1").status, 200);
    assert_eq!(tag("writer", "DELETE", "v1", Value::Null).status, 200);
    assert_eq!(tag("writer", "DELETE", "v1", Value::Null).status, 404);
}

#[test]
fn branches_need_writing_and_conflicts_come_after_rights() {
    let bench = Bench::new();
    let branch = |token: &str, method: &str, name: &str, body: Value| {
        bench.ask(token, method, &format!("/api/models/acme/private/branch/{name}"), body)
    };
    assert_eq!(error(&branch("reader", "POST", "main", json!({}))), answer::REPO_GUARD);
    let there = branch("writer", "POST", "main", json!({}));
    assert_eq!((there.status, error(&there).as_str()), (409, "Reference refs/heads/main already exists"));
    assert_eq!(branch("writer", "POST", "a%2Fb", json!({})).status, 200);
    let refs = json(&bench.get("writer", "/api/models/acme/private/refs"));
    assert_eq!(refs["branches"][0]["ref"], "refs/heads/a/b");
    assert_eq!(branch("writer", "POST", "c", json!({"startingPoint": "nowhere"})).status, 404);
    assert_eq!(error(&branch("writer", "DELETE", "main", Value::Null)), "Cannot delete refs/heads/main");
    assert_eq!(branch("writer", "DELETE", "a%2Fb", Value::Null).status, 200);
    assert_eq!(branch("writer", "DELETE", "a%2Fb", Value::Null).status, 404);
}

#[test]
fn a_moved_repository_leads_on_for_those_who_see_it() {
    let bench = Bench::new();
    let wish = json!({"fromRepo": "acme/private", "toRepo": "acme/elsewhere", "type": "model"});
    let shut = bench.ask("reader", "POST", "/api/repos/move", wish.clone());
    assert_eq!((shut.status, error(&shut).as_str()), (403, answer::REPO_GUARD));
    assert_eq!(bench.ask("writer", "POST", "/api/repos/move", wish).status, 200);
    let led = bench.get("writer", "/api/models/acme/private/commits/main?limit=1");
    assert_eq!(led.status, 307);
    assert_eq!(header(&led, "Location"), Some("/api/models/acme/elsewhere/commits/main?limit=1"));
    assert_eq!(bench.get("stranger", "/api/models/acme/private").status, 404);
    assert_eq!(bench.get("", "/api/models/acme/private").status, 401);
    assert_eq!(bench.delete("writer", "acme/private").status, 404);
    // A new repository takes the name back.
    assert_eq!(bench.create("writer", "acme/private").status, 200);
    assert_eq!(bench.get("writer", "/api/models/acme/private").status, 200);
    assert_eq!(bench.get("writer", "/api/models/acme/elsewhere").status, 200);
}

#[test]
fn only_admins_put_repositories_into_groups() {
    let bench = Bench::new();
    let path = "/api/models/acme/private/resource-group";
    let group = crate::simulator::id::resource_group("acme", "lab");
    let assign = |token: &str, id: Value| bench.ask(token, "POST", path, json!({"resourceGroupId": id}));
    assert_eq!(json(&bench.get("writer", path)), json!({}));
    assert_eq!(assign("writer", json!(group)).status, 403);
    let there = json!({"name": "acme/private", "type": "model", "private": true, "addedBy": "ann"});
    assert_eq!(json(&assign("admin", json!(group))), there);
    assert_eq!(json(&bench.get("admin", path)), json!({"id": group, "name": "lab", "numUsers": 4}));
    assert_eq!(bench.get("writer", path).status, 404);
    assert_eq!(assign("admin", json!("0123456789abcdef01234567")).status, 404);
    assert_eq!(assign("admin", Value::Null).status, 200);
    assert_eq!(json(&bench.get("writer", path)), json!({}));
}

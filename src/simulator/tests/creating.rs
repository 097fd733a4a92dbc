//! Creating and deleting: the texts, the order of checks, what a fresh repository is.

use serde_json::json;

use super::*;
use crate::simulator::answer;

const CREATE: &str = "/api/repos/create";

#[test]
fn one_text_for_every_lack_of_rights_and_for_what_is_not_there() {
    let bench = Bench::new();
    let rows = [
        ("reader", "acme/x"),
        ("none", "acme/x"),
        ("stranger", "acme/x"),
        ("admin", "Acme/x"),
        ("admin", "nowhere/x"),
        ("admin", "wim/x"),
        // Rights come before existence.
        ("none", "acme/private"),
    ];
    for (token, name) in rows {
        let answer = bench.create(token, name);
        let namespace = name.split('/').next().unwrap();
        let text = format!("You don't have the rights to create a model under the namespace \"{namespace}\"");
        assert_eq!((answer.status, error(&answer)), (403, text), "{token} {name}");
        assert_eq!(header(&answer, "X-Error-Code"), None);
    }
    let body = json!({"name": "x", "organization": "acme", "type": "dataset"});
    let text = error(&bench.ask("none", "POST", CREATE, body));
    assert_eq!(text, "You don't have the rights to create a dataset under the namespace \"acme\"");
}

#[test]
fn a_foreign_or_unknown_group_gets_the_same_text() {
    let bench = Bench::new();
    for group in ["vault", "unheard-of"] {
        let id = crate::simulator::id::resource_group("acme", group);
        let body = json!({"name": "x", "organization": "acme", "resourceGroupId": id});
        let answer = bench.ask("writer", "POST", CREATE, body);
        assert_eq!((answer.status, error(&answer)), (403, answer::no_namespace_rights("model", "acme")));
    }
}

#[test]
fn who_asks_comes_first() {
    let bench = Bench::new();
    let rows = [
        ("", "Invalid username or password."),
        ("dead", "Invalid username or password."),
        ("old", "User Access Token \"old\" is expired"),
    ];
    for (token, text) in rows {
        let answer = bench.ask(token, "POST", CREATE, json!({"name": "--"}));
        assert_eq!((answer.status, error(&answer).as_str()), (401, text), "{token}");
        assert!(header(&answer, "WWW-Authenticate").unwrap().starts_with("Bearer realm="));
    }
    let mut odd = call(None, "POST", CREATE, &json!({"name": "x"}));
    odd.authorization = Some("Basic abc".to_owned());
    assert_eq!(error(&bench.hub.ask(&odd)), "Invalid credentials in Authorization header");
    odd.authorization = Some("Bearer unknown".to_owned());
    assert_eq!(error(&bench.hub.ask(&odd)), "Invalid username or password.");
}

#[test]
fn what_is_there_is_a_conflict_that_tells_where() {
    let bench = Bench::new();
    let answer = bench.create("writer", "acme/private");
    assert_eq!(answer.status, 409);
    assert_eq!(error(&answer), "You already created this model repo");
    assert_eq!(json(&answer)["url"], "http://hub.test/acme/private");
    // Letter case does not make another name; another type does.
    assert_eq!(bench.create("writer", "acme/PRIVATE").status, 409);
    let space = json!({"name": "private", "organization": "acme", "type": "space", "sdk": "static"});
    assert_eq!(bench.ask("writer", "POST", CREATE, space).status, 200);
}

#[test]
fn malformed_wishes_are_told_what_is_wrong() {
    let bench = Bench::new();
    let rows = [
        (json!({}), "→ at name"),
        (json!({"name": 7}), "→ at name"),
        (json!([]), "→ at body"),
        (json!({"name": "x", "type": "kernel"}), "→ at type"),
        (json!({"name": "x", "type": "space"}), "→ at sdk"),
        (json!({"name": "x", "private": "yes"}), "→ at private"),
        (json!({"name": "x", "private": true, "visibility": "private"}), "→ at visibility"),
        (json!({"name": "x", "visibility": "protected"}), "→ at visibility"),
        (json!({"name": "x", "resourceGroupId": "short"}), "→ at resourceGroupId"),
    ];
    for (body, place) in rows {
        let answer = bench.ask("writer", "POST", CREATE, body.clone());
        assert_eq!(answer.status, 400, "{body}");
        assert!(error(&answer).ends_with(place), "{body}: {}", error(&answer));
    }
    let long = "a".repeat(97);
    for name in ["", "-a", "a-", ".a", "a.", "a--b", "a..b", "a.git", "a/b", "ä", long.as_str()] {
        let answer = bench.ask("writer", "POST", CREATE, json!({"name": name}));
        assert_eq!((answer.status, error(&answer).as_str()), (400, answer::BAD_NAME), "{name:?}");
    }
    assert_eq!(bench.ask("writer", "POST", CREATE, json!({"name": "a".repeat(96)})).status, 200);
}

#[test]
fn a_fresh_repository_is_what_was_wished() {
    let bench = Bench::new();
    let group = crate::simulator::id::resource_group("acme", "lab");
    let wish = json!({"name": "fresh", "organization": "acme", "visibility": "private", "type": "dataset",
                      "resourceGroupId": group});
    let made = json(&bench.ask("admin", "POST", CREATE, wish));
    assert_eq!(made["url"], "http://hub.test/datasets/acme/fresh");
    assert_eq!(made["name"], "acme/fresh");
    let info = json(&bench.get("admin", "/api/datasets/acme/fresh"));
    assert_eq!(info["_id"], made["id"]);
    assert_eq!(made["id"].as_str().unwrap().len(), 24);
    assert_eq!((&info["private"], &info["author"]), (&json!(true), &json!("acme")));
    assert_eq!(info["siblings"], json!([{"rfilename": ".gitattributes"}]));
    let commits = bench.get("admin", "/api/datasets/acme/fresh/commits/main");
    assert_eq!(header(&commits, "X-Total-Count"), Some("1"));
    assert_eq!(json(&commits)[0]["title"], "initial commit");
    assert_eq!(json(&commits)[0]["authors"][0]["user"], "ann");
    assert_eq!(json(&commits)[0]["id"], info["sha"]);
    let inside = json(&bench.get("admin", "/api/datasets/acme/fresh/resource-group"));
    assert_eq!(inside, json!({"id": group, "name": "lab", "numUsers": 4}));
    // The same name again is another repository.
    let body = json!({"name": "fresh", "organization": "acme", "type": "dataset"});
    assert_eq!(bench.ask("admin", "DELETE", "/api/repos/delete", body.clone()).status, 200);
    assert_ne!(json(&bench.ask("admin", "POST", CREATE, body))["id"], made["id"]);
}

#[test]
fn visibility_is_public_unless_the_organization_or_the_wish_says_otherwise() {
    let private = |bench: &Bench, wish: Value| {
        let mut body = json!({"name": "x", "organization": "acme"});
        body.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
        assert_eq!(bench.ask("admin", "POST", CREATE, body).status, 200);
        json(&bench.get("admin", "/api/models/acme/x"))["private"] == json!(true)
    };
    assert!(!private(&Bench::new(), json!({})));
    assert!(private(&Bench::new(), json!({"private": true})));
    let hidden = || Bench::patched(json!({"organizations": {"acme": {"private_by_default": true}}}));
    assert!(private(&hidden(), json!({"private": null})));
    assert!(!private(&hidden(), json!({"private": false})));
}

#[test]
fn money_is_asked_for_before_existence_but_after_rights() {
    let bench = Bench::new();
    let space = |organization: &str, sdk: &str| json!({"name": "app", "organization": organization, "type": "space", "sdk": sdk});
    assert_eq!(bench.ask("stranger", "POST", CREATE, space("other", "static")).status, 200);
    let refused = bench.ask("stranger", "POST", CREATE, space("other", "gradio"));
    assert_eq!((refused.status, error(&refused).as_str()), (402, answer::NEEDS_PRO));
    assert_eq!(bench.ask("admin", "POST", CREATE, space("other", "gradio")).status, 403);
    assert_eq!(bench.ask("admin", "POST", CREATE, space("acme", "gradio")).status, 200);
}

#[test]
fn one_creation_at_a_time_for_each_user() {
    let bench = Bench::new();
    let first = call(Some("s-writer"), "POST", CREATE, &json!({"name": "one"}));
    let received = bench.hub.receive(&first);
    let (answer, lease) = bench.hub.carry_out(&first, &received);
    assert_eq!(answer.status, 200);
    let locked = bench.create("writer", "wim/two");
    assert_eq!((locked.status, error(&locked).as_str()), (409, answer::CREATE_LOCK));
    // What exists is told before the lock, and other users have locks of their own.
    assert_eq!(error(&bench.create("writer", "wim/one")), "You already created this model repo");
    assert_eq!(bench.create("admin", "acme/two").status, 200);
    drop(lease);
    assert_eq!(bench.create("writer", "wim/two").status, 200);
}

#[test]
fn what_one_must_not_see_cannot_be_deleted_and_is_not_there() {
    let bench = Bench::new();
    for (token, name) in [("writer", "acme/absent"), ("stranger", "acme/private"), ("writer", "acme/PRIVATE")]
    {
        let answer = bench.delete(token, name);
        assert_eq!((answer.status, error(&answer).as_str()), (404, "Repository not found"), "{token} {name}");
        assert_eq!(header(&answer, "X-Error-Code"), Some("RepoNotFound"));
    }
    assert_eq!(bench.delete("", "acme/public").status, 401);
    // Without an organization it is the caller's own.
    let own =
        bench.ask("writer", "DELETE", "/api/repos/delete", json!({"name": "own", "organization": null}));
    assert_eq!((own.status, own.body.as_str()), (200, "OK"));
}

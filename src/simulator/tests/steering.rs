//! The steering: the world as it is shown and patched, the journal, what is planted.

use serde_json::json;

use super::*;

#[test]
fn the_world_is_shown_without_secrets() {
    let bench = Bench::new();
    bench.create("writer", "acme/fresh");
    let answer = bench.steer("GET", "/_sim/world", Value::Null);
    assert!(!answer.body.contains("s-writer") && !answer.body.contains("secret"));
    let world = json(&answer);
    assert_eq!(world["left_over"], json!(["acme/fresh"]));
    let fresh = &world["repos"]["acme/fresh"];
    assert_eq!((&fresh["origin"], &fresh["author"]), (&json!("created"), &json!("wim")));
    assert_eq!((&fresh["type"], &fresh["private"]), (&json!("model"), &json!(true)));
    // Two of one name are told apart by their types.
    assert_eq!(world["repos"]["model:acme/private"]["origin"], "world");
    assert_eq!(world["repos"]["dataset:acme/private"]["type"], "dataset");
    let group = crate::simulator::id::resource_group("acme", "lab");
    assert_eq!(world["organizations"]["acme"]["resource_group_ids"]["lab"], group);
    assert_eq!(world["tokens"]["writer"]["user"], "wim");
    assert_eq!(world["counters"]["by_route"]["create"], 1);
    assert_eq!(world["counters"]["created"], 1);
}

#[test]
fn a_patch_changes_what_it_names_and_created_repositories_survive() {
    let bench = Bench::new();
    bench.create("writer", "acme/fresh");
    let before = json(&bench.steer("GET", "/_sim/world", Value::Null))["repos"]["acme/fresh"].clone();
    let widened = json!([{"entity": "org:acme", "permissions": ["repo.write"]}]);
    let patch = json!({
        "tokens": {"none": {"scopes": widened}, "reader": null, "new": {"secret": "n", "user": "oz", "role": "read"}},
        "organizations": {"acme": {"members": {"ria": null}}},
        "repos": {"acme/public": {"private": true}, "acme/lab": null, "acme/more": {"private": true}},
    });
    let world = json(&bench.steer("PATCH", "/_sim/world", patch));
    assert_eq!(world["repos"]["acme/fresh"], before);
    assert_eq!(world["repos"]["acme/public"]["private"], true);
    assert_eq!(world["repos"].get("acme/lab"), None);
    assert_eq!(world["repos"]["acme/more"]["origin"], "world");
    assert_eq!(world["tokens"].get("reader"), None);
    assert_eq!(bench.create("none", "acme/now-allowed").status, 200);
    assert_eq!(bench.get("new", "/api/whoami-v2").status, 200);
    // A created repository can be taken away, or changed, by its plain name.
    bench.patch(json!({"repos": {"acme/fresh": null, "acme/now-allowed": {"private": false}}}));
    assert_eq!(bench.get("admin", "/api/models/acme/fresh").status, 404);
    assert_eq!(bench.get("", "/api/models/acme/now-allowed").status, 200);
}

#[test]
fn a_senseless_patch_changes_nothing() {
    let bench = Bench::new();
    let before = bench.steer("GET", "/_sim/world", Value::Null);
    let rows = [
        (json!({"tokens": {"reader": null, "new": {"user": "oz"}}}), "secret"),
        (json!({"organisations": {}}), "organisations"),
        (json!({"repos": {"acme/public": null, "nameless": {}}}), "namespace/name"),
        (json!({"repos": {"acme/public": {"resource_group": "absent"}}}), "no resource group"),
        (json!({"tokens": {"reader": {"secret": "s-writer"}}}), "another token's"),
        (json!({"tokens": {"none": {"scopes": [{"entity": "acme", "permissions": []}]}}}), "no entity"),
        (json!([]), "an object"),
    ];
    for (patch, part) in rows {
        let answer = bench.steer("PATCH", "/_sim/world", patch.clone());
        assert_eq!(answer.status, 400, "{patch}");
        assert!(error(&answer).contains(part), "{patch}: {}", answer.body);
    }
    let after = bench.steer("GET", "/_sim/world", Value::Null);
    let without_time = |answer: &Answer| {
        let mut world = json(answer);
        world["now"] = Value::Null;
        world
    };
    assert_eq!(without_time(&before), without_time(&after));
}

#[test]
fn every_request_and_every_change_is_remembered() {
    let bench = Bench::new();
    bench.get("", "/api/models/acme/private?x=s-writer");
    let wish = json!({"name": "fresh", "organization": "acme", "secrets": [{"key": "A", "value": "B"}]});
    bench.ask("writer", "POST", "/api/repos/create", wish);
    bench.hub.ask(&call(Some("unknown"), "GET", "/api/whoami-v2", &Value::Null));
    bench.delete("admin", "acme/fresh");
    let requests = json(&bench.steer("GET", "/_sim/requests", Value::Null));
    let shown: Vec<Value> = requests
        .as_array()
        .unwrap()
        .iter()
        .map(|request| {
            json!([request["seq"], request["method"], request["route"], request["token"], request["status"]])
        })
        .collect();
    let expected = json!([
        [1, "GET", "read", null, 401],
        [2, "POST", "create", "writer", 200],
        [3, "GET", "whoami", null, 401],
        [4, "DELETE", "delete", "admin", 200],
    ]);
    assert_eq!(Value::from(shown), expected);
    assert_eq!(requests[0]["query"], "x=[redacted]");
    assert_eq!(requests[1]["body"]["secrets"], "[redacted]");
    assert_eq!(requests[1]["user_agent"], "a test");
    let changes = json(&bench.steer("GET", "/_sim/changes", Value::Null));
    assert_eq!((&changes[0]["kind"], &changes[0]["request"]), (&json!("created"), &json!(2)));
    assert_eq!((&changes[1]["kind"], &changes[1]["user"]), (&json!("deleted"), &json!("ann")));
    assert_eq!(changes[0]["id"], changes[1]["id"]);
    let later = json(&bench.steer("GET", "/_sim/requests?since=3", Value::Null));
    assert_eq!(later.as_array().unwrap().len(), 1);
    assert_eq!(json(&bench.steer("GET", "/_sim/world", Value::Null))["left_over"], json!([]));
}

#[test]
fn others_can_plant_repositories_and_push_into_them() {
    let bench = Bench::new();
    let seedling = json!({"name": "acme/foreign", "private": true, "user": "mallory"});
    assert_eq!(json(&bench.steer("POST", "/_sim/repos", seedling.clone()))["origin"], "planted");
    assert_eq!(bench.steer("POST", "/_sim/repos", seedling).status, 409);
    let push = json!({"repo": "acme/foreign", "user": "eve", "title": "mine now", "file": "weights.bin"});
    assert_eq!(json(&bench.steer("POST", "/_sim/commits", push))["commits"], 2);
    let commits = json(&bench.get("admin", "/api/models/acme/foreign/commits/main"));
    let by: Vec<&Value> =
        commits.as_array().unwrap().iter().map(|commit| &commit["authors"][0]["user"]).collect();
    assert_eq!(by, ["eve", "mallory"]);
    let files = json(&bench.get("admin", "/api/models/acme/foreign/tree/main"));
    assert_eq!(files[1]["path"], "weights.bin");
    assert_eq!(json(&bench.steer("GET", "/_sim/world", Value::Null))["left_over"], json!([]));
    assert_eq!(bench.steer("POST", "/_sim/commits", json!({"repo": "a/b", "user": "x"})).status, 404);
    assert_eq!(bench.steer("GET", "/_sim/nothing", Value::Null).status, 404);
}

#[test]
fn a_world_file_says_where_it_is_wrong_and_never_shows_a_secret() {
    let rows = [
        ("organizations:\n  acme: {memberz: {}}\n", "line 2"),
        ("repos: {x: {}}\n", "namespace/name"),
        ("repos:\n  \"dataset:a/b\": {type: model}\n", "disagree"),
        ("tokens:\n  a: {secret: s3cret-x, user: u, role: fineGrained, scops: []}\n", "line 2"),
        ("tokens:\n  a: {secret: s3cret-x, user: u, role: owner}\n", "line 2"),
        ("tokens:\n  a: {secret: s3cret-x, user: u, role: read,\n      expires_at: tomorrow}\n", "line 3"),
        (
            "tokens: {a: {secret: s3cret-x, user: u, role: read}, b: {secret: s3cret-x, user: u, role: read}}",
            "another token's",
        ),
        (
            "tokens: {a: {secret: s3cret-x, user: u, role: read, scopes: [{entity: 'org:a', permissions: []}]}}",
            "only a fineGrained token",
        ),
        (
            "tokens: {a: {secret: s3cret-x, user: u, role: fineGrained, permissions: [org.read]}}",
            "only a service account's token",
        ),
        ("limits: {window_seconds: 0}", "window_seconds"),
    ];
    for (yaml, part) in rows {
        let told = World::from_yaml(yaml).unwrap_err();
        assert!(told.contains(part), "{yaml}: {told}");
        assert!(!told.contains("s3cret"), "{told}");
    }
}

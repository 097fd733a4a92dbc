//! Resource groups as an administrator's program manages them, and the roles of members.

use serde_json::json;

use super::*;

const GROUPS: &str = "/api/organizations/acme/resource-groups";

#[test]
fn groups_are_made_filled_and_taken_away() {
    let bench = Bench::new();
    let wish = json!({"name": "new", "users": [{"user": "con", "role": "write"}]});
    let made = bench.ask("admin", "POST", GROUPS, wish.clone());
    assert_eq!(made.status, 200, "{}", made.body);
    let id = json(&made)["id"].as_str().unwrap().to_owned();
    assert_eq!(bench.ask("admin", "POST", GROUPS, wish).status, 400);
    let at = |tail: &str| format!("{GROUPS}/{id}{tail}");
    // What the group gives is given at once.
    bench.patch(json!({"tokens": {"con": {"secret": "s-con", "user": "con", "role": "write"}}}));
    let create = json!({"name": "x", "organization": "acme", "resourceGroupId": id});
    assert_eq!(bench.ask("con", "POST", "/api/repos/create", create).status, 200);
    let role_of = |user: &str| {
        let users = json(&bench.get("admin", &at("")))["users"].clone();
        users
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["name"] == user)
            .map(|entry| entry["role"].clone())
    };
    assert_eq!(role_of("con"), Some(json!("write")));
    let add = |body: Value| bench.ask("admin", "POST", &at("/users"), body).status;
    assert_eq!(add(json!({"users": [{"name": "ria", "role": "read"}]})), 200);
    assert_eq!(add(json!({"users": [{"user": "ria", "role": "read"}]})), 403);
    assert_eq!(add(json!({"users": [{"user": "oz", "role": "read"}]})), 403);
    assert_eq!(add(json!({"users": [{"user": "nobody-at-all", "role": "read"}]})), 400);
    assert_eq!(add(json!({"users": [{"user": "wim", "role": "owner"}]})), 400);
    assert_eq!(add(json!({"users": []})), 400);
    let change = json!({"role": "contributor"});
    assert_eq!(bench.ask("admin", "PATCH", &at("/users/ria"), change.clone()).status, 200);
    assert_eq!(role_of("ria"), Some(json!("contributor")));
    assert_eq!(bench.ask("admin", "PATCH", &at("/users/wim"), change).status, 404);
    assert_eq!(bench.ask("admin", "DELETE", &at("/users/ria"), Value::Null).status, 200);
    assert_eq!(role_of("ria"), None);
    assert_eq!(json(&bench.ask("admin", "DELETE", &at(""), Value::Null)), json!({"success": true}));
    assert_eq!(bench.get("admin", &at("")).status, 404);
    let log = json(&bench.get("admin", "/api/organizations/acme/audit-log/export?q=new"));
    let kinds: Vec<&str> =
        log.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    let expected = [
        "resource_group.create",
        "resource_group.add_users",
        "resource_group.change_role",
        "resource_group.remove_users",
        "resource_group.delete",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn managing_groups_takes_the_role_write_and_a_token_that_may() {
    let wish = |users: Value| json!({"name": "new", "users": users});
    let with_an_admin = wish(json!([{"user": "ann", "role": "admin"}]));
    let rows = [
        ("wim", "write", json!([]), with_an_admin.clone(), 200),
        // Whoever is no admin must bring one in.
        ("wim", "write", json!([]), wish(json!([])), 400),
        ("wim", "read", json!([]), with_an_admin.clone(), 403),
        ("con", "write", json!([]), with_an_admin.clone(), 403),
        (
            "wim",
            "fineGrained",
            json!([{"entity": "org:acme", "permissions": ["org.read"]}]),
            with_an_admin.clone(),
            403,
        ),
        (
            "wim",
            "fineGrained",
            json!([{"entity": "org:acme", "permissions": ["resourceGroup.write"]}]),
            with_an_admin.clone(),
            200,
        ),
        ("oz", "write", json!([]), with_an_admin, 403),
    ];
    for (user, role, scopes, wish, expected) in rows {
        let token = json!({"secret": "s", "user": user, "role": role, "scopes": scopes});
        let bench = Bench::patched(json!({"tokens": {"probe": token}}));
        assert_eq!(bench.ask("probe", "POST", GROUPS, wish).status, expected, "{user} {role} {scopes}");
    }
    // A group that one is not in is missing.
    let vault = crate::simulator::id::resource_group("acme", "vault");
    let bench = Bench::new();
    assert_eq!(bench.get("writer", &format!("{GROUPS}/{vault}")).status, 404);
    assert_eq!(bench.ask("writer", "DELETE", &format!("{GROUPS}/{vault}"), Value::Null).status, 404);
}

#[test]
fn a_members_role_changes_and_what_is_not_said_of_groups_is_lost() {
    let bench = Bench::new();
    let path = "/api/organizations/acme/members/ria/role";
    let role = |body: Value| bench.ask("admin", "PUT", path, body);
    let ria = || json(&bench.get("admin", "/api/organizations/acme/members?search=RI"))[0].clone();
    assert_eq!(ria()["resourceGroups"][0]["name"], "lab");
    assert_eq!(bench.ask("writer", "PUT", path, json!({"role": "admin"})).status, 403);
    assert_eq!(json(&role(json!({"role": "write"}))), json!({"success": true}));
    assert_eq!((&ria()["role"], &ria()["resourceGroups"]), (&json!("write"), &json!([])));
    let lab = crate::simulator::id::resource_group("acme", "lab");
    assert_eq!(role(json!({"role": "read", "resourceGroups": [{"id": lab, "role": "write"}]})).status, 200);
    assert_eq!(ria()["resourceGroups"][0]["role"], "write");
    assert_eq!(role(json!({"role": "owner"})).status, 400);
    assert_eq!(
        bench.ask("admin", "PUT", "/api/organizations/acme/members/oz/role", json!({"role": "read"})).status,
        404
    );
    let log = json(&bench.get("admin", "/api/organizations/acme/audit-log/export?q=type:org.change_role"));
    assert_eq!(log.as_array().unwrap().len(), 2);
}

//! The table of grants, row by row: role × resource group × scope × policy.

use serde_json::json;

use super::*;
use crate::simulator::answer;

const WRITE: &str = "repo.write";
const READ: &str = "repo.content.read";

/// Entities and a permission on each.
type Scopes = &'static [(&'static str, &'static str)];

/// A user, the role and scopes of his token, a repository, and what deleting it gives.
type Deletion = (&'static str, &'static str, Scopes, &'static str, u16);

/// What one may do, as statuses: create in the root, create in the group `lab`, write acme/private,
/// write acme/lab, read acme/private, read acme/lab.
fn powers(bench: &Bench, token: &str) -> [u16; 6] {
    let group = crate::simulator::id::resource_group("acme", "lab");
    let create = |name: &str, group: Value| {
        let body = json!({"name": name, "organization": "acme", "private": true, "resourceGroupId": group});
        bench.ask(token, "POST", "/api/repos/create", body).status
    };
    let get = |path: &str| bench.get(token, path).status;
    [
        create("fresh-root", Value::Null),
        create("fresh-lab", json!(group)),
        get("/api/models/acme/private/auth-check/write"),
        get("/api/models/acme/lab/auth-check/write"),
        get("/api/models/acme/private"),
        get("/api/models/acme/lab"),
    ]
}

fn token(user: &str, role: &str, scopes: &[(&str, &str)]) -> Value {
    let scopes: Vec<Value> = scopes
        .iter()
        .map(|(entity, permission)| json!({"entity": entity, "permissions": [permission]}))
        .collect();
    json!({"tokens": {"probe": {"secret": "s-probe", "user": user, "role": role, "scopes": scopes}}})
}

#[test]
fn a_classic_token_can_do_what_its_user_can() {
    let rows = [
        ("ann", "write", [200, 200, 200, 200, 200, 200]),
        // Outside the group, a role in the organization is none in the group.
        ("wim", "write", [200, 403, 200, 404, 200, 404]),
        ("con", "write", [200, 403, 403, 403, 200, 200]),
        ("ria", "write", [403, 200, 403, 200, 200, 200]),
        ("rg", "write", [403, 200, 404, 200, 404, 200]),
        // A contributor of the group, who made acme/lab.
        ("nora", "write", [403, 200, 404, 200, 404, 200]),
        ("svc-ci", "write", [200, 200, 200, 200, 200, 200]),
        ("oz", "write", [403, 403, 404, 404, 404, 404]),
        ("ann", "read", [403, 403, 403, 403, 200, 200]),
        ("wim", "read", [403, 403, 403, 404, 200, 404]),
        ("rg", "read", [403, 403, 404, 403, 404, 200]),
    ];
    for (user, role, expected) in rows {
        let bench = Bench::patched(token(user, role, &[]));
        assert_eq!(powers(&bench, "probe"), expected, "{user} with a {role} token");
    }
}

#[test]
fn a_fine_grained_token_needs_the_scope_and_the_role() {
    let rows: [(&str, Scopes, [u16; 6]); 13] = [
        ("ann", &[], [403, 403, 404, 404, 404, 404]),
        ("ann", &[("org:acme", WRITE)], [200, 200, 200, 200, 200, 200]),
        ("ann", &[("org:acme", READ)], [403, 403, 403, 403, 200, 200]),
        ("ann", &[("org:acme", "org.write")], [403, 403, 404, 404, 404, 404]),
        ("ann", &[("org:other", WRITE)], [403, 403, 404, 404, 404, 404]),
        ("ann", &[("user:ann", WRITE)], [403, 403, 404, 404, 404, 404]),
        ("ann", &[("resource-group:acme/lab", WRITE)], [403, 200, 404, 200, 404, 200]),
        ("ann", &[("resource-group:acme/vault", WRITE)], [403, 403, 404, 404, 404, 404]),
        ("ann", &[("model:acme/private", WRITE)], [403, 403, 200, 404, 200, 404]),
        ("ann", &[("dataset:acme/private", WRITE)], [403, 403, 404, 404, 404, 404]),
        // The question this project began with: write through the group, and a token that names none of it.
        ("rg", &[], [403, 403, 404, 404, 404, 404]),
        ("rg", &[("org:acme", WRITE)], [403, 200, 404, 200, 404, 200]),
        ("ria", &[("org:acme", WRITE)], [403, 200, 403, 200, 200, 200]),
    ];
    for (user, scopes, expected) in rows {
        let bench = Bench::patched(token(user, "fineGrained", scopes));
        assert_eq!(powers(&bench, "probe"), expected, "{user} with {scopes:?}");
    }
}

#[test]
fn deleting_needs_the_namespace_or_the_group_and_a_contributor_his_own() {
    let rows: [Deletion; 11] = [
        ("wim", "write", &[], "acme/private", 200),
        ("wim", "read", &[], "acme/private", 403),
        ("ria", "write", &[], "acme/private", 403),
        ("ria", "write", &[], "acme/lab", 200),
        ("con", "write", &[], "acme/lab", 403),
        ("nora", "write", &[], "acme/lab", 200),
        ("nora", "write", &[], "acme/private", 404),
        ("oz", "write", &[], "acme/public", 403),
        ("ann", "fineGrained", &[("org:acme", WRITE)], "acme/lab", 200),
        ("ann", "fineGrained", &[("resource-group:acme/lab", WRITE)], "acme/lab", 200),
        ("ann", "fineGrained", &[("model:acme/private", WRITE)], "acme/private", 403),
    ];
    for (user, role, scopes, repo, expected) in rows {
        let bench = Bench::patched(token(user, role, scopes));
        let answer = bench.delete("probe", repo);
        assert_eq!(answer.status, expected, "{user} {role} {scopes:?} {repo}");
        if expected == 403 {
            assert_eq!(error(&answer), answer::REPO_GUARD);
        }
    }
    let bench = Bench::patched(token("con", "write", &[]));
    assert_eq!(bench.create("probe", "acme/mine").status, 200);
    assert_eq!(bench.delete("probe", "acme/mine").status, 200);
}

#[test]
fn an_organization_bars_tokens_by_policy_and_by_name() {
    let scopes = json!([{"entity": "org:acme", "permissions": ["repo.write"]}]);
    let fine = |extra: Value| {
        let mut token = json!({"secret": "s", "user": "wim", "role": "fineGrained", "scopes": scopes});
        token.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        token
    };
    let classic = json!({"secret": "s", "user": "wim", "role": "write"});
    let admins = json!({"secret": "s", "user": "ann", "role": "fineGrained", "scopes": scopes});
    let unscoped = json!({"secret": "s", "user": "wim", "role": "fineGrained"});
    let namespace = answer::no_namespace_rights("model", "acme");
    let rows = [
        ("allow", classic.clone(), None, None),
        ("fine_grained_only", classic.clone(), Some(answer::FINE_GRAINED_ONLY), Some("token-policy")),
        ("fine_grained_only", fine(json!({})), None, None),
        ("require_approval", classic, Some(answer::NOT_APPROVED), Some("token-policy")),
        ("require_approval", fine(json!({})), Some(answer::NOT_APPROVED), Some("token-policy")),
        ("require_approval", fine(json!({"approval": "approved"})), None, None),
        (
            "require_approval",
            fine(json!({"approval": "denied"})),
            Some(answer::NOT_APPROVED),
            Some("token-policy"),
        ),
        ("require_approval", admins, None, None),
        ("require_approval", unscoped, Some(namespace.as_str()), None),
        ("allow", fine(json!({"approval": "revoked"})), Some(answer::REVOKED), Some("token-revoked")),
        ("allow", fine(json!({"restrictions": ["sso"]})), Some(answer::NEEDS_SSO), Some("sso")),
        ("allow", fine(json!({"restrictions": {"acme": ["ip"]}})), Some(answer::NEEDS_IP), Some("ip")),
        ("allow", fine(json!({"restrictions": {"other": ["ip"]}})), None, None),
    ];
    for (policy, token, text, restriction) in rows {
        let case = format!("{policy} {token}");
        let patch = json!({"organizations": {"acme": {"token_policy": policy}}, "tokens": {"probe": token}});
        let bench = Bench::patched(patch);
        let answer = bench.create("probe", "acme/fresh");
        match text {
            None => assert_eq!(answer.status, 200, "{case}"),
            Some(text) => assert_eq!((answer.status, error(&answer).as_str()), (403, text), "{case}"),
        }
        let whoami = json(&bench.get("probe", "/api/whoami-v2"));
        let expected = restriction.map_or(Value::Null, |restriction| json!([restriction]));
        assert_eq!(whoami["orgs"][0]["securityRestrictions"], expected, "{case}");
        // What bars creating bars reading too, with the same words.
        let read = bench.get("probe", "/api/models/acme/private");
        if restriction.is_some() {
            assert_eq!((read.status, error(&read).as_str()), (403, text.unwrap()), "{case}");
        }
    }
}

#[test]
fn own_namespace_and_foreign_one() {
    let rows = [("writer", "wim/new", 200), ("reader", "wim/new", 403), ("none", "wim/new", 403)];
    for (token, name, expected) in rows {
        assert_eq!(Bench::new().create(token, name).status, expected, "{token} {name}");
    }
    assert_eq!(Bench::new().create("stranger", "wim/new").status, 403);
    let bench = Bench::patched(token("wim", "fineGrained", &[("user:wim", "repo.write")]));
    assert_eq!(bench.create("probe", "wim/new").status, 200);
    // A scope on somebody else's namespace gives nothing.
    let bench = Bench::patched(token("oz", "fineGrained", &[("user:wim", "repo.write")]));
    assert_eq!(bench.create("probe", "wim/new").status, 403);
    assert_eq!(bench.get("probe", "/api/models/wim/own").status, 404);
}

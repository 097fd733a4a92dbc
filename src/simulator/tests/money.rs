//! What is refused for want of money: plans, spending limits, payment; and what was switched off.

use serde_json::json;

use super::*;
use crate::simulator::answer;

#[test]
fn pages_ask_for_a_plan_after_the_right() {
    let rows = [
        ("resource-groups", ["team", "academia", "enterprise", "plus"].as_slice()),
        ("audit-log/export", &["team", "academia", "enterprise", "plus"]),
        ("service-accounts", &["enterprise", "plus"]),
        ("settings/network-security", &["enterprise", "plus"]),
        ("members", &["none", "team", "academia", "enterprise", "plus"]),
        ("settings/tokens", &["none", "team", "academia", "enterprise", "plus"]),
    ];
    for (page, offered_by) in rows {
        let path = format!("/api/organizations/acme/{page}");
        for plan in ["none", "team", "academia", "enterprise", "plus"] {
            let set = if plan == "none" { Value::Null } else { json!(plan) };
            let bench = Bench::patched(json!({"organizations": {"acme": {"plan": set}}}));
            let answer = bench.get("admin", &path);
            let expected = if offered_by.contains(&plan) { 200 } else { 402 };
            assert_eq!(answer.status, expected, "{page} with {plan}");
            if expected == 402 {
                assert_eq!(error(&answer), answer::NEEDS_PLAN);
            }
            assert_eq!(bench.get("none", &path).status, 403, "{page} with {plan}");
        }
    }
}

#[test]
fn jobs_and_endpoints_are_refused_for_money_only_to_those_who_may() {
    let jobs = "/api/jobs/acme/auth-check/write";
    let endpoints = "/api/inference-endpoints/acme/auth-check/write";
    let rows = [
        (json!({}), 200, 200, ""),
        (json!({"features_off": ["jobs"]}), 403, 200, answer::FEATURE_OFF),
        (json!({"spent": ["jobs"]}), 403, 200, answer::SPENT),
        (json!({"spent": ["inference-endpoints"]}), 200, 403, answer::SPENT),
        (json!({"can_pay": false}), 402, 402, answer::NEEDS_PAYMENT),
        (json!({"can_pay": true}), 200, 200, ""),
    ];
    for (organization, for_jobs, for_endpoints, text) in rows {
        let bench = Bench::patched(json!({"organizations": {"acme": organization}}));
        for (path, expected) in [(jobs, for_jobs), (endpoints, for_endpoints)] {
            let answer = bench.ask("writer", "POST", path, json!({}));
            assert_eq!(answer.status, expected, "{path} with {organization}");
            if expected != 200 {
                assert_eq!(error(&answer), text);
            }
            // Who has no right learns nothing of the money.
            assert!(error(&bench.ask("none", "POST", path, json!({}))).contains("missing permissions: "));
        }
        for path in ["/api/jobs/acme/auth-check/read", "/api/inference-endpoints/acme/auth-check/read"] {
            assert_eq!(
                bench.ask("writer", "POST", path, json!({})).status,
                200,
                "{path} with {organization}"
            );
        }
        assert_eq!(bench.get("writer", "/api/jobs/acme").body, "[]");
        let whoami = json(&bench.get("writer", "/api/whoami-v2"));
        assert_eq!(whoami["orgs"][0]["canPay"], organization.get("can_pay").cloned().unwrap_or(json!(false)));
    }
}

#[test]
fn a_groups_own_limit_is_for_what_is_billed_to_it() {
    let group = crate::simulator::id::resource_group("acme", "lab");
    let bench = Bench::patched(json!({
        "organizations": {"acme": {"spent_groups": {"lab": ["inference-endpoints"]}}},
        "tokens": {"rg": {"secret": "s-rg", "user": "rg", "role": "write"}},
    }));
    let check = |token: &str, query: &str| {
        let path = format!("/api/inference-endpoints/acme/auth-check/write{query}");
        bench.ask(token, "POST", &path, json!({}))
    };
    assert_eq!(check("admin", "").status, 200);
    assert_eq!(error(&check("admin", &format!("?resource_group_id={group}"))), answer::SPENT);
    bench.patch(json!({"organizations": {"acme": {"spent_groups": null}}}));
    // Through the group his role is enough, on the whole organization it is not.
    assert_eq!(check("rg", "").status, 403);
    let through = check("rg", &format!("?resource_group_id={group}"));
    assert_eq!((through.status, &json(&through)["resourceGroupId"]), (200, &json!(group)));
    assert_eq!(check("admin", "?resource_group_id=0123456789abcdef01234567").status, 403);
}

#[test]
fn a_token_that_is_confined_to_endpoints_is_told_so() {
    let bench = Bench::patched(json!({"tokens": {"bot": {
        "secret": "s-bot", "user": "svc-ci", "role": "fineGrained",
        "permissions": ["inference.endpoints.infer.write"], "endpoint_patterns": ["gpt2-*", "prod"],
    }}}));
    let check =
        |path: &str| bench.ask("bot", "POST", &format!("/api/inference-endpoints/acme/{path}"), json!({}));
    let told = check("auth-check/infer");
    assert_eq!((told.status, &json(&told)["patternRestrictions"]), (207, &json!(["gpt2-*", "prod"])));
    let rows = [
        ("gpt2-xl/auth-check/infer", 200),
        ("prod/auth-check/infer", 200),
        ("prod-2/auth-check/infer", 403),
        ("auth-check/write", 403),
        ("prod/auth-check/write", 403),
    ];
    for (path, status) in rows {
        assert_eq!(check(path).status, status, "{path}");
    }
}

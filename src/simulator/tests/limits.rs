//! Quotas as a client meets them: headers on every answer, the window, whoami's own limit, the daily cap.

use serde_json::json;

use super::*;

#[test]
fn every_answer_tells_what_is_left_and_has_its_own_request_id() {
    let bench = Bench::new();
    let mut ids = std::collections::BTreeSet::new();
    let rows = [
        ("admin", "/api/whoami-v2", 6000),
        ("stranger", "/api/models/acme/absent", 1000),
        ("dead", "/api/whoami-v2", 6000),
        ("", "/api/models/acme/private", 500),
        ("", "/nowhere", 500),
    ];
    for (token, path, quota) in rows {
        let answer = bench.get(token, path);
        let policy = format!("\"fixed window\";\"api\";q={quota};w=300");
        assert_eq!(header(&answer, "RateLimit-Policy"), Some(policy.as_str()), "{token} {path}");
        let left = header(&answer, "RateLimit").unwrap();
        assert!(left.starts_with("\"api\";r=") && left.contains(";t="), "{left}");
        ids.insert(header(&answer, "X-Request-Id").unwrap().to_owned());
    }
    assert_eq!(ids.len(), 5);
}

#[test]
fn an_exhausted_window_refuses_everything_until_the_next() {
    let bench = Bench::patched(json!({"users": {"wim": {"rate_limit": 2}}, "limits": {"anonymous": 1}}));
    // Two tokens of one user share his window.
    assert_eq!(bench.get("writer", "/api/models/acme/public").status, 200);
    assert_eq!(bench.get("reader", "/api/models/acme/public").status, 200);
    let refused = bench.create("writer", "acme/fresh");
    assert_eq!(refused.status, 429);
    assert!(header(&refused, "RateLimit").unwrap().starts_with("\"api\";r=0;t="));
    assert!(!bench.hub.state().repos.contains_key(&(Default::default(), "acme/fresh".to_owned())));
    assert_eq!(bench.get("", "/api/models/acme/public").status, 200);
    let refused = bench.get("", "/api/models/acme/public");
    assert!(error(&refused).starts_with("We had to rate limit your IP (127.0.0.1)."));
    assert_eq!(bench.get("admin", "/api/models/acme/public").status, 200);
    let counters = json(&bench.steer("GET", "/_sim/world", Value::Null))["counters"].clone();
    assert_eq!(counters["over_quota"], json!({"anonymous": 1, "wim": 1}));
    bench.steer("POST", "/_sim/clock", json!({"advance_ms": 300_000}));
    assert_eq!(bench.get("writer", "/api/models/acme/public").status, 200);
    assert_eq!(bench.get("", "/api/models/acme/public").status, 200);
}

#[test]
fn whoami_has_a_strict_limit_of_its_own_that_no_header_shows() {
    let bench = Bench::patched(json!({"limits": {"whoami": 1}}));
    assert_eq!(bench.get("writer", "/api/whoami-v2").status, 200);
    let refused = bench.get("writer", "/api/whoami-v2");
    assert_eq!(refused.status, 429);
    assert!(!header(&refused, "RateLimit").unwrap().contains("r=0"));
    assert_eq!(bench.get("reader", "/api/whoami-v2").status, 200);
    bench.steer("POST", "/_sim/clock", json!({"advance_ms": 300_000}));
    assert_eq!(bench.get("writer", "/api/whoami-v2").status, 200);
}

#[test]
fn the_daily_cap_counts_what_was_created_and_shows_in_no_header() {
    let bench = Bench::patched(json!({"organizations": {"acme": {"creations_per_day": 2}}}));
    assert_eq!(bench.create("writer", "acme/one").status, 200);
    assert_eq!(bench.create("none", "acme/refused").status, 403);
    assert_eq!(bench.create("writer", "acme/one").status, 409);
    assert_eq!(bench.create("writer", "acme/two").status, 200);
    let capped = bench.create("writer", "acme/three");
    let text = "You have exceeded the rate limit for repository creation (2 per day).";
    assert_eq!((capped.status, error(&capped).as_str()), (429, text));
    assert!(!header(&capped, "RateLimit").unwrap().contains("r=0"));
    // Rights and existence are still told first.
    assert_eq!(bench.create("writer", "acme/two").status, 409);
    assert_eq!(bench.create("admin", "acme/three").status, 200);
    // Deleting gives nothing back; a day does.
    assert_eq!(bench.delete("writer", "acme/one").status, 200);
    assert_eq!(bench.create("writer", "acme/four").status, 429);
    bench.steer("POST", "/_sim/clock", json!({"advance_ms": 86_400_000}));
    assert_eq!(bench.create("writer", "acme/four").status, 200);
}

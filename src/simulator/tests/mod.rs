//! Tests of the simulated Hub as a whole, one file a concern, and what they share: a world with one of each
//! kind of user, and a bench on which to ask without a network.
//! What one part alone promises is tested beside that part.

mod answers;
mod creating;
mod faults;
mod granting;
mod groups;
mod limits;
mod money;
mod organizations;
mod predictions_tests;
mod principals;
mod reading;
mod steering;

use std::net::IpAddr;

use serde_json::Value;

use crate::simulator::answer::Answer;
use crate::simulator::call::Call;
use crate::simulator::hub::Hub;
use crate::simulator::world::World;

const WORLD: &str = r#"
organizations:
  acme:
    plan: enterprise
    members: { ann: admin, wim: write, con: contributor, ria: read, nora: no_access, rg: no_access }
    resource_groups:
      lab: { rg: write, ria: write, con: read, nora: contributor }
      vault: { ann: admin }
    service_accounts: [svc-ci]
  other: { members: { oz: admin } }
repos:
  acme/private: { private: true }
  acme/public: {}
  acme/lab: { private: true, resource_group: lab, author: nora }
  acme/gated: { gated: manual, granted: [ria, wim] }
  dataset:acme/private: { private: true }
  wim/own: { private: true }
tokens:
  admin: { secret: s-admin, user: ann, role: write }
  writer: { secret: s-writer, user: wim, role: write }
  reader: { secret: s-reader, user: wim, role: read }
  stranger: { secret: s-stranger, user: oz, role: write }
  none: { secret: s-none, user: wim, role: fineGrained }
  dead: { secret: s-dead, user: wim, role: write, alive: false }
  old: { secret: s-old, user: wim, role: write, expires_at: 2025-02-01T00:00:00Z }
  janitor: { secret: s-janitor, user: ann, role: fineGrained,
             scopes: [ { entity: "org:acme", permissions: [repo.write, org.read] } ] }
"#;

struct Bench {
    hub: Hub,
}

impl Bench {
    fn new() -> Bench {
        Bench::of(WORLD)
    }

    fn of(yaml: &str) -> Bench {
        let world = World::from_yaml(yaml).unwrap();
        Bench { hub: Hub::new(world, "http://hub.test".to_owned(), 7) }
    }

    /// The test world with a patch on it.
    fn patched(patch: Value) -> Bench {
        let bench = Bench::new();
        bench.patch(patch);
        bench
    }

    fn patch(&self, patch: Value) {
        self.hub.state().patch(patch).unwrap();
    }

    /// Asks with a token by its name in the world; the empty name is nobody.
    fn ask(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        let secret = self.hub.state().world.tokens.get(token).map(|token| token.secret.0.clone());
        assert!(secret.is_some() || token.is_empty(), "no token {token}");
        self.hub.ask(&call(secret.as_deref(), method, path, &body))
    }

    fn get(&self, token: &str, path: &str) -> Answer {
        self.ask(token, "GET", path, Value::Null)
    }

    fn create(&self, token: &str, name: &str) -> Answer {
        let (namespace, name) = name.split_once('/').unwrap();
        let body = serde_json::json!({"name": name, "organization": namespace, "private": true});
        self.ask(token, "POST", "/api/repos/create", body)
    }

    fn delete(&self, token: &str, name: &str) -> Answer {
        let (namespace, name) = name.split_once('/').unwrap();
        let body = serde_json::json!({"name": name, "organization": namespace});
        self.ask(token, "DELETE", "/api/repos/delete", body)
    }

    fn steer(&self, method: &str, path: &str, body: Value) -> Answer {
        crate::simulator::steer::answer(&mut self.hub.state(), &call(None, method, path, &body))
    }
}

fn call(secret: Option<&str>, method: &str, path: &str, body: &Value) -> Call {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    Call {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.map(str::to_owned),
        authorization: secret.map(|secret| format!("Bearer {secret}")),
        user_agent: Some("a test".to_owned()),
        body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
        peer: IpAddr::from([127, 0, 0, 1]),
    }
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap()
}

/// The text of a refusal, which stands in the body and, in ASCII, in a header.
fn error(answer: &Answer) -> String {
    let text = json(answer)["error"].as_str().unwrap().to_owned();
    if text.is_ascii() {
        assert_eq!(header(answer, "X-Error-Message"), Some(text.as_str()));
    }
    text
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let found = answer.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

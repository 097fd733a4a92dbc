//! Errands: requests that only ask, which a replica that waits for its turn sends for the one that leads, and what came back. Both
//! travel as text through the database that they share.
//!
//! An errand names its token and tells the fingerprint of the secret that is meant; the secret itself never travels. What
//! comes back is what the probe let out of its room: no secret is in it. Both carry a seal of the key that the replicas share,
//! so that whoever writes to the database can neither send with a token nor answer for the Hub; it is good for one place.

use std::time::Duration;

use serde_json::{Value, json};

use crate::access::TokenName;
use crate::exchange::{Answer, Credential, Failure, Reading, Request, Verb};
use crate::moment::Timestamp;

/// What an errand came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Fruit {
    /// It was sent: how long it took, and the answer or the failure.
    Carried(Duration, Box<Result<Answer, Failure>>),
    /// It was not, or no answer came: the helper lacks what it takes, such as that secret, this route or a way to the Hub.
    Declined,
}

/// Whether a request may be an errand, as far as its shape tells: it gives nothing and takes nothing away. Some questions are
/// asked by POST; which of them change nothing knows whoever lets them travel.
pub fn may_travel(request: &Request) -> bool {
    request.verb != Verb::Delete && request.body.is_none()
}

/// The place of an errand's request, by the epoch and the number of the errand and the fingerprint of its secret.
pub fn place_of_request(epoch: i64, number: i64, fingerprint: Option<&str>) -> String {
    format!("request {epoch} {number} {}", fingerprint.unwrap_or("-"))
}

/// The place of what an errand came to.
pub fn place_of_fruit(epoch: i64, number: i64) -> String {
    format!("fruit {epoch} {number}")
}

/// A request that may travel, as text.
pub fn request_text(request: &Request) -> String {
    let token = match &request.credential {
        Credential::Anonymous => None,
        Credential::Token(name) => Some(name.as_str()),
    };
    json!({ "verb": request.verb, "route": request.route, "path": request.path, "token": token }).to_string()
}

/// The request of this text; `None` where it is not one of these routes.
pub fn request_of(text: &str, routes: &[&'static str]) -> Option<Request> {
    let said: Value = serde_json::from_str(text).ok()?;
    let route = said.get("route")?.as_str()?;
    let request = Request {
        verb: said.get("verb")?.as_str()?.parse().ok()?,
        route: routes.iter().copied().find(|known| *known == route)?,
        path: said.get("path")?.as_str()?.to_owned(),
        body: None,
        credential: match said.get("token")? {
            Value::Null => Credential::Anonymous,
            name => Credential::Token(TokenName::new(name.as_str()?)),
        },
    };
    may_travel(&request).then_some(request)
}

/// What an errand came to, as text.
pub fn fruit_text(fruit: &Fruit) -> String {
    let (took, outcome) = match fruit {
        Fruit::Declined => return json!({ "declined": true }).to_string(),
        Fruit::Carried(took, outcome) => (u64::try_from(took.as_micros()).unwrap_or(u64::MAX), outcome),
    };
    let said = match outcome.as_ref() {
        Err(failure) => json!({ "took": took, "failure": failure.as_str() }),
        Ok(answer) => json!({ "took": took, "answer": told(answer) }),
    };
    said.to_string()
}

fn told(answer: &Answer) -> Value {
    let Answer {
        status,
        content_type,
        error_code,
        error_message,
        request_id,
        rate_limit,
        rate_limit_policy,
        retry_after,
        date,
        link,
        body,
        read: _,
    } = answer;
    json!({
        "status": status, "content_type": content_type, "error_code": error_code, "error_message": error_message,
        "request_id": request_id, "rate_limit": rate_limit, "rate_limit_policy": rate_limit_policy,
        "retry_after": retry_after, "date": date.map(Timestamp::millis), "link": link, "body": body,
    })
}

/// What this text says; `None` where it says nothing that was told by [`fruit_text`].
pub fn fruit_of(text: &str) -> Option<Fruit> {
    let mut said: Value = serde_json::from_str(text).ok()?;
    if said.get("declined").is_some() {
        return Some(Fruit::Declined);
    }
    let took = Duration::from_micros(said.get("took")?.as_u64()?);
    let outcome = match said.get("failure") {
        Some(failure) => Err(failure.as_str()?.parse().ok()?),
        None => Ok(heard(said.get_mut("answer")?)?),
    };
    Some(Fruit::Carried(took, Box::new(outcome)))
}

fn heard(said: &mut Value) -> Option<Answer> {
    let mut text = |name: &str| match said.get_mut(name)?.take() {
        Value::String(text) => Some(Some(text)),
        Value::Null => Some(None),
        _ => None,
    };
    let (content_type, body) = (text("content_type")??, text("body")??);
    let (error_code, error_message, request_id) =
        (text("error_code")?, text("error_message")?, text("request_id")?);
    let (rate_limit, rate_limit_policy, retry_after, link) =
        (text("rate_limit")?, text("rate_limit_policy")?, text("retry_after")?, text("link")?);
    Some(Answer {
        status: u16::try_from(said.get("status")?.as_u64()?).ok()?,
        content_type,
        error_code,
        error_message,
        request_id,
        rate_limit,
        rate_limit_policy,
        retry_after,
        date: match said.get("date")? {
            Value::Null => None,
            millis => Some(Timestamp(millis.as_i64()?)),
        },
        link,
        body,
        read: Reading::default(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROUTES: &[&str] = &["/api/whoami-v2", "/api/{type}/{repo}"];

    fn request(credential: Credential) -> Request {
        Request {
            verb: Verb::Get,
            route: ROUTES[1],
            path: "/api/models/acme/x?full=1".into(),
            body: None,
            credential,
        }
    }

    #[test]
    fn nothing_that_gives_or_takes_away_may_travel() {
        let reads = request(Credential::Anonymous);
        assert!(may_travel(&reads));
        assert!(may_travel(&Request { verb: Verb::Post, ..reads.clone() }));
        let deletes = Request { verb: Verb::Delete, ..reads.clone() };
        assert!(!may_travel(&deletes));
        assert_eq!(request_of(&request_text(&deletes), ROUTES), None);
        assert!(!may_travel(&Request { body: Some(json!({})), ..reads }));
    }

    #[test]
    fn a_request_arrives_as_it_left_and_one_of_another_route_is_none() {
        for credential in [Credential::Anonymous, Credential::Token(TokenName::new("ci \"bot\""))] {
            let sent = request(credential);
            let text = request_text(&sent);
            assert_eq!(request_of(&text, ROUTES), Some(sent));
            assert_eq!(request_of(&text, &ROUTES[..1]), None);
        }
        for text in ["", "{}", "[]", r#"{"verb":"GET","route":"/api/whoami-v2","path":7,"token":null}"#] {
            assert_eq!(request_of(text, ROUTES), None, "{text}");
        }
        let token = r#"{"verb":"GET","route":"/api/whoami-v2","path":"/","token":7}"#;
        assert_eq!(request_of(token, ROUTES), None, "a credential that is none is not anonymous");
    }

    fn answers() -> impl Strategy<Value = Answer> {
        let text = || proptest::option::of(any::<String>());
        let heads = (text(), text(), text(), text(), text(), text(), text());
        (any::<u16>(), any::<String>(), heads, proptest::option::of(0i64..1 << 50), any::<String>()).prop_map(
            |(status, content_type, heads, date, body)| {
                let (error_code, error_message, request_id, rate_limit, rate_limit_policy, retry_after, link) = heads;
                Answer {
                    status,
                    content_type,
                    error_code,
                    error_message,
                    request_id,
                    rate_limit,
                    rate_limit_policy,
                    retry_after,
                    date: date.map(Timestamp),
                    link,
                    body,
                    read: Reading::default(),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn an_answer_arrives_as_it_came(answer in answers(), micros in 0u64..1 << 40) {
            let fruit = Fruit::Carried(Duration::from_micros(micros), Box::new(Ok(answer)));
            prop_assert_eq!(fruit_of(&fruit_text(&fruit)), Some(fruit));
        }

        #[test]
        fn any_text_is_read_or_none(text in any::<String>()) {
            prop_assert_eq!(fruit_of(&text), None);
        }
    }

    #[test]
    fn every_failure_arrives_and_what_lacks_a_part_is_none() {
        for failure in Failure::ALL {
            let fruit = Fruit::Carried(Duration::from_millis(3), Box::new(Err(*failure)));
            assert_eq!(fruit_of(&fruit_text(&fruit)), Some(fruit));
        }
        assert_eq!(fruit_of(&fruit_text(&Fruit::Declined)), Some(Fruit::Declined));
        let whole = fruit_text(&Fruit::Carried(Duration::ZERO, Box::new(Ok(Answer::default()))));
        let Value::Object(said) = serde_json::from_str(&whole).expect("JSON") else { panic!("an object") };
        let Some(Value::Object(answer)) = said.get("answer") else { panic!("an answer") };
        for part in answer.keys() {
            let mut less = said.clone();
            less["answer"].as_object_mut().expect("an object").remove(part);
            assert_eq!(fruit_of(&Value::Object(less).to_string()), None, "without {part}");
        }
    }
}

//! A request as the routes see it: method, path, query, body, who asks.
//! Knows how to take an HTTP request apart; knows nothing of routes or rights.
//! Serves the server, which makes it, and every route.

use std::net::IpAddr;

use serde_json::Value;
use url::form_urlencoded;

#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: String,
    /// As it came.
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) authorization: Option<String>,
    pub(super) user_agent: Option<String>,
    pub(super) body: Vec<u8>,
    pub(super) peer: IpAddr,
}

impl Call {
    /// The path's parts, each decoded after splitting, so that `%2F` stays inside its part.
    pub(super) fn segments(&self) -> Vec<String> {
        self.path.split('/').filter(|part| !part.is_empty()).map(percent_decode).collect()
    }

    /// The last value of a query key.
    pub(super) fn query(&self, key: &str) -> Option<String> {
        let pairs = form_urlencoded::parse(self.query.as_deref().unwrap_or_default().as_bytes());
        pairs.filter(|(name, _)| name == key).last().map(|(_, value)| value.into_owned())
    }

    /// The body as JSON; an empty one is an empty object, as for a client that sends none.
    pub(super) fn json(&self) -> Option<Value> {
        if self.body.is_empty() {
            return Some(Value::Object(serde_json::Map::new()));
        }
        serde_json::from_slice(&self.body).ok()
    }
}

fn percent_decode(part: &str) -> String {
    let bytes = part.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let pair = part.get(at + 1..at + 3).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (byte, pair) {
            (b'%', Some(value)) => {
                decoded.push(value);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_after_it_is_split() {
        let call = Call {
            method: "GET".to_owned(),
            path: "/api/models/acme/x/branch/a%2Fb%zz%4".to_owned(),
            query: Some("search=a+b%26c&limit=1&limit=2".to_owned()),
            authorization: None,
            user_agent: None,
            body: Vec::new(),
            peer: IpAddr::from([127, 0, 0, 1]),
        };
        assert_eq!(call.segments(), ["api", "models", "acme", "x", "branch", "a/b%zz%4"]);
        assert_eq!(call.query("search").as_deref(), Some("a b&c"));
        assert_eq!(call.query("limit").as_deref(), Some("2"));
    }
}

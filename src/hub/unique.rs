//! A JSON value in which no object names a key twice.
//!
//! Of a key that stands twice one reader takes the first and another the last, so that such an object says two
//! things; whoever stands between may make use of that. Serves `answers`, through which every body is read.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The value, at every depth of which a repeated key is an error.
#[derive(Debug)]
pub(super) struct Unique(pub(super) Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unique, D::Error> {
        deserializer.deserialize_any(Once).map(Unique)
    }
}

struct Once;

impl<'de> Visitor<'de> for Once {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value without repeated keys")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some((key, Unique(value))) = fields.next_entry::<String, Unique>()? {
            if all.insert(key, value).is_some() {
                return Err(A::Error::custom("a key stands twice"));
            }
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Value> {
        serde_json::from_str::<Unique>(text).ok().map(|unique| unique.0)
    }

    #[test]
    fn a_key_that_stands_twice_is_an_error_at_every_depth() {
        for text in [
            r#"{"private":false,"id":"acme/x","private":true}"#,
            r#"{"id":"acme/x","\u0069d":"acme/x"}"#,
            r#"[{"a":{"b":1,"b":1}}]"#,
            r#"{"a":[[{"b":null,"b":null}]]}"#,
        ] {
            assert!(serde_json::from_str::<Value>(text).is_ok(), "{text} is JSON");
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(
            read(r#"{"a":{"a":1},"b":[{"a":1},{"a":2}]}"#).map(|v| v["b"][1]["a"].clone()),
            Some(2.into())
        );
        assert_eq!(read("NaN"), None);
        assert_eq!(read(&"[".repeat(10_000)), None);
    }

    fn any_value() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e300f64..1e300).prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map(".*", inner, 0..5)
                    .prop_map(|all| Value::Object(all.into_iter().collect())),
            ]
        })
    }

    proptest::proptest! {
        #[test]
        fn all_else_is_read_as_ever(value in any_value()) {
            let text = value.to_string();
            proptest::prop_assert_eq!(read(&text), serde_json::from_str::<Value>(&text).ok());
        }
    }
}

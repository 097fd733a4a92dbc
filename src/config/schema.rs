//! The JSON Schema of the configuration, made of the same table of keys that the readers use, so that the two
//! cannot drift apart. Editors complete and check with it; `check` knows more (references, bounds that depend).

use serde_json::{Map, Value, json};

use super::document::DEFAULTS;
use super::keys::{Form, ROOT, Section};
use super::tree::Node;

/// JSON Schema (2020-12) of the configuration as it is written.
pub fn schema() -> Value {
    let mut whole = section(&ROOT, Some(&DEFAULTS));
    if let Value::Object(map) = &mut whole {
        map.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        map.insert("title".to_owned(), json!("scopewatch configuration"));
    }
    whole
}

/// A mapping; `defaults` is the example's, where the section has defaults.
fn section(section: &Section, defaults: Option<&Node>) -> Value {
    let mut properties = Map::new();
    for key in section.keys {
        let default = defaults.and_then(|node| node.under(key.name));
        let mut value = form(&key.form, default);
        if let Value::Object(map) = &mut value {
            map.insert("description".to_owned(), json!(key.about));
            if let Some(default) = default.and_then(|node| shown(&key.form, node)) {
                map.insert("default".to_owned(), default);
            }
        }
        properties.insert(key.name.to_owned(), value);
    }
    let required: Vec<&str> = section.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    json!({
        "type": "object", "additionalProperties": false, "properties": properties, "required": required,
    })
}

fn form(form_of: &Form, defaults: Option<&Node>) -> Value {
    match form_of {
        Form::Text => json!({ "type": ["string", "number"] }),
        Form::Flag => json!({ "type": "boolean" }),
        Form::Count(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Form::Share => json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 }),
        Form::Duration => {
            let pattern = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";
            json!({ "type": "string", "pattern": pattern, "minLength": 2 })
        }
        Form::Cron => json!({ "type": "string", "pattern": "^\\s*(\\S+\\s+){5}\\S+\\s*$" }),
        // YAML readers of editors take an unquoted day for a date; both spellings are the same text.
        Form::Date => json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" }),
        Form::Repo => json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,96}/[A-Za-z0-9._-]{1,96}$" }),
        Form::Word(words) => json!({ "enum": words() }),
        Form::Place => place(),
        Form::TextOrPlace => json!({ "anyOf": [{ "type": "string" }, place()] }),
        // Sections with defaults may be empty; their entries are then all commented out.
        Form::Section(inner) => {
            let mut value = section(inner, defaults);
            if inner.keys.iter().all(|key| !key.required) {
                value["type"] = json!(["object", "null"]);
            }
            value
        }
        Form::List(inner) => json!({ "type": ["array", "null"], "items": form(inner, None) }),
        Form::Named(inner) => {
            json!({ "type": ["object", "null"], "additionalProperties": form(inner, None) })
        }
        Form::Either(forms) => {
            let each: Vec<Value> = forms.iter().map(|one| form(one, None)).collect();
            json!({ "anyOf": each })
        }
    }
}

fn place() -> Value {
    let one = |name: &str, about: &str| {
        json!({
            "type": "object", "additionalProperties": false, "required": [name],
            "properties": { name: { "type": "string", "minLength": 1, "description": about } },
        })
    };
    json!({ "oneOf": [
        one("file", "A file, read again for every round."),
        one("env", "An environment variable, read once at the start."),
    ] })
}

/// A scalar default, with the type that its form has.
fn shown(form: &Form, node: &Node) -> Option<Value> {
    let text = node.word();
    match form {
        Form::Flag => text.parse::<bool>().ok().map(Value::from),
        Form::Count(..) => text.parse::<u64>().ok().map(Value::from),
        Form::Share => text.parse::<f64>().ok().map(Value::from),
        Form::Text | Form::Duration | Form::Cron | Form::Word(_) | Form::TextOrPlace if !text.is_empty() => {
            Some(json!(text))
        }
        _ => None,
    }
}

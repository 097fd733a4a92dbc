//! Reading one mapping by the table of keys: what is unknown is refused, what is missing is named, and what is
//! not given comes from the embedded defaults.

use super::keys::{Form, Section};
use super::mistakes::{Log, Spot, quoted};
use super::tree::{Node, Value};

/// The keys of one mapping, checked against its section.
pub(super) struct Fields<'n> {
    section: &'static Section,
    /// Where the mapping stands; also where a missing key is reported.
    pub(super) at: Spot,
    own: Vec<(&'static str, &'n Node)>,
    defaults: Option<&'n Node>,
    #[cfg(test)]
    asked: std::cell::RefCell<std::collections::HashSet<&'static str>>,
}

impl<'n> Fields<'n> {
    /// The fields of this mapping; none of its own where the mapping itself is absent (`None` or empty).
    pub(super) fn open(
        node: Option<&'n Node>,
        at: Spot,
        defaults: Option<&'n Node>,
        section: &'static Section,
        log: &mut Log,
    ) -> Option<Fields<'n>> {
        let mut fields = Fields {
            section,
            at: node.map_or(at, |node| node.at),
            own: Vec::new(),
            defaults,
            #[cfg(test)]
            asked: Default::default(),
        };
        match node.map(|node| &node.value) {
            None | Some(Value::Empty) => {}
            Some(Value::Map(pairs)) => {
                for (key, value) in pairs {
                    fields.admit(key, value, log);
                }
            }
            Some(Value::Text(_) | Value::List(_)) => {
                let help = format!("its keys are: {}", section.names().join(", "));
                log.mistake(fields.at, format!("{} must be a mapping, `key: value`", section.what), help);
                return None;
            }
        }
        Some(fields)
    }

    fn admit(&mut self, key: &Node, value: &'n Node, log: &mut Log) {
        let Some(known) = self.section.key(key.word()) else {
            let message = format!("unknown key {} in {}", log.quote(key), self.section.what);
            log.mistake(key.at, message, suggest(key.word(), self.section.names(), "allowed here"));
            return;
        };
        // A section or list whose entries are all commented out is as good as absent; a lone key is a slip.
        let hollow = matches!(known.form, Form::Section(_) | Form::List(_) | Form::Named(_));
        if matches!(value.value, Value::Empty) {
            if !hollow {
                let message = format!("`{}` has no value", known.name);
                log.mistake(key.at, message, "give one, or remove the key");
            }
            if !hollow || !known.required {
                // So that it is not reported as missing too.
                self.own.push((known.name, value));
            }
            return;
        }
        self.own.push((known.name, value));
    }

    fn find(&self, key: &'static str) -> Option<&'n Node> {
        debug_assert!(self.section.key(key).is_some(), "{key} is not in the table of {}", self.section.what);
        #[cfg(test)]
        self.asked.borrow_mut().insert(key);
        self.own.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    /// The value as given, if any.
    pub(super) fn own(&self, key: &'static str) -> Option<&'n Node> {
        self.find(key).filter(|node| !matches!(node.value, Value::Empty))
    }

    /// The value as given, or its default.
    pub(super) fn get(&self, key: &'static str) -> Option<&'n Node> {
        self.own(key).or_else(|| self.defaults.and_then(|defaults| defaults.under(key)))
    }

    /// The value as given, or its default; a mistake when there is neither.
    pub(super) fn need(&self, key: &'static str, log: &mut Log) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() && self.find(key).is_none() {
            let known = self.section.key(key);
            let help =
                known.map(|known| format!("add `{key}: …` ({}): {}", known.form.example(), known.about));
            log.mistake(self.at, format!("{} needs `{key}`", self.section.what), help.unwrap_or_default());
        }
        found
    }

    /// A whole number within the bounds that the table gives for this key; as `need`.
    pub(super) fn count(&self, key: &'static str, log: &mut Log) -> Option<u64> {
        let node = self.need(key, log)?;
        match self.section.key(key).map(|key| &key.form) {
            Some(Form::Count(least, most)) => log.count(node, *least, *most),
            _ => None,
        }
    }

    /// The items of a list; empty when absent.
    pub(super) fn list(&self, key: &'static str, log: &mut Log) -> &'n [Node] {
        match self.own(key).map(|node| (node, &node.value)) {
            Some((_, Value::List(items))) => items,
            Some((node, _)) => {
                let help = "write `[…]`, or one `- …` a line";
                log.mistake(node.at, format!("`{key}` must be a list"), help);
                &[]
            }
            None => &[],
        }
    }
}

#[cfg(test)]
impl Drop for Fields<'_> {
    /// A key that may be written and is never read would be a promise that nobody keeps.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for (name, _) in &self.own {
            assert!(self.asked.borrow().contains(name), "nobody reads `{name}` of {}", self.section.what);
        }
    }
}

/// "did you mean …", or all that there is.
pub(super) fn suggest(wrong: &str, right: Vec<&str>, otherwise: &str) -> String {
    match nearest(wrong, right.iter().copied()) {
        Some(near) => format!("did you mean {}?", quoted(near)),
        None if right.is_empty() => format!("{otherwise}: none"),
        None => {
            let more = if right.len() > 20 { ", …" } else { "" };
            let shown: Vec<&str> = right.into_iter().take(20).collect();
            super::redact::text(&format!("{otherwise}: {}{more}", shown.join(", ")))
        }
    }
}

/// The candidate that a slip of the keyboard could have meant.
pub(super) fn nearest<'c>(wrong: &str, right: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let wrong = wrong.to_lowercase();
    let length = wrong.chars().count();
    if length > 128 {
        return None;
    }
    right
        .filter(|candidate| candidate.len().abs_diff(length) <= 3.max(candidate.len() / 3))
        .map(|candidate| (strsim::damerau_levenshtein(&wrong, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            // Another form of the word (deny, denied) is as near as a slip of the finger.
            let stem =
                wrong.chars().zip(candidate.to_lowercase().chars()).take_while(|(a, b)| a == b).count();
            *distance <= 1.max(candidate.chars().count() / 3) || (stem >= 3 && *distance <= 3)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

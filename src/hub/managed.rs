//! The inventory held against the tokens that are configured: which entry is whose.
//!
//! An entry and a token belong together by what the token is called on the Hub and by its user; when it was issued
//! decides only between several. What cannot be told apart counts as managed: nobody is accused by a guess.

use std::collections::HashMap;

use crate::moment::Timestamp;

use super::inventory::{Entry, Listed};
use super::whoami::{Declared, Scope};

/// Entries by what they are called.
pub struct Index<'e> {
    entries: &'e [Entry],
    by_label: HashMap<&'e str, Vec<usize>>,
    /// Those that show no name may be anybody's of the same user.
    unnamed: Vec<usize>,
}

impl<'e> Index<'e> {
    pub fn new(entries: &'e [Entry]) -> Index<'e> {
        let mut index = Index { entries, by_label: HashMap::new(), unnamed: Vec::new() };
        for (at, entry) in entries.iter().enumerate() {
            match &entry.label {
                Some(label) => index.by_label.entry(label).or_default().push(at),
                None => index.unnamed.push(at),
            }
        }
        index
    }

    /// Where the entries stand that belong to this token.
    fn places(&self, declared: &Declared) -> Vec<usize> {
        let Some(label) = declared.label.as_deref() else { return Vec::new() };
        let named = self.by_label.get(label).into_iter().flatten();
        let candidates: Vec<(usize, &Entry)> = named
            .chain(&self.unnamed)
            .filter_map(|at| Some((*at, self.entries.get(*at)?)))
            .filter(|(_, entry)| {
                entry.owner.as_ref().is_none_or(|owner| owner.eq_ignore_ascii_case(&declared.user))
            })
            .collect();
        let second = |at: &Option<String>| Some(Timestamp::parse(at.as_deref()?)?.millis() / 1000);
        let issued = second(&declared.created_at);
        let same = |entry: &Entry| issued.is_some() && second(&entry.created_at) == issued;
        let decided = candidates.iter().any(|(_, entry)| same(entry));
        candidates.into_iter().filter(|(_, entry)| !decided || same(entry)).map(|(at, _)| at).collect()
    }

    /// Whether one of them belongs to this token.
    pub fn holds(&self, declared: &Declared) -> bool {
        !self.places(declared).is_empty()
    }

    /// The active ones that belong to none of these tokens.
    pub fn unmanaged(&self, known: &[&Declared], now: Timestamp) -> Vec<&'e Entry> {
        let mut managed = vec![false; self.entries.len()];
        for at in known.iter().flat_map(|declared| self.places(declared)) {
            if let Some(managed) = managed.get_mut(at) {
                *managed = true;
            }
        }
        let pairs = self.entries.iter().zip(managed);
        pairs.filter(|(entry, managed)| !managed && entry.is_active(now)).map(|(entry, _)| entry).collect()
    }
}

/// Everything that was read, by what it is called.
pub struct Lists<'e> {
    /// `None`: not read whole.
    pub tokens: Option<Index<'e>>,
    /// The users and the tokens of service accounts.
    pub accounts: Option<(&'e [String], Index<'e>)>,
}

impl<'e> Lists<'e> {
    pub fn new(listed: &'e Listed) -> Lists<'e> {
        let accounts = listed.accounts.as_ref().ok();
        Lists {
            tokens: listed.tokens.as_ref().ok().map(|entries| Index::new(entries)),
            accounts: accounts.map(|a| (a.users.as_slice(), Index::new(&a.tokens))),
        }
    }

    /// Whether a live token should stand in one of them and does not; `None` where what was not read could tell.
    pub fn miss(&self, declared: &Declared, organization: &str) -> Option<bool> {
        let barred = declared.restrictions(organization).iter().any(|word| word.starts_with("token-"));
        // Revoked ones are not listed unless asked for, and whether those are that wait for approval is nowhere
        // said; what is called nothing is found nowhere.
        if declared.label.is_none() || barred || !reaches(declared, organization) {
            return Some(false);
        }
        if self.tokens.as_ref()?.holds(declared) {
            return Some(false);
        }
        let is_member = declared.membership(organization).is_some_and(|m| m.role.is_some());
        match &self.accounts {
            Some((users, tokens)) => {
                let mine = |user: &String| user.eq_ignore_ascii_case(&declared.user);
                // Neither a member, as far as is shown, nor a service account: nobody knows where it should stand.
                let expected = is_member || users.iter().any(mine);
                Some(expected && !tokens.holds(declared))
            }
            // A service account is no member (Hub docs), so that a member's token stands among the members'.
            None => is_member.then_some(true),
        }
    }
}

/// Whether what the token declares reaches the organization; of what shows no name that is not known.
fn reaches(declared: &Declared, organization: &str) -> bool {
    let here = declared.membership(organization);
    let scope = |scope: &Scope| {
        let name = scope.name.as_deref();
        match scope.kind.as_str() {
            "org" => match name {
                Some(name) => name == organization,
                None => scope.id.is_some() && here.is_some_and(|m| m.id == scope.id),
            },
            "resource-group" => {
                here.is_some_and(|m| m.groups.iter().any(|group| Some(&group.id) == scope.id.as_ref()))
            }
            "user" | "oauth-app" => false,
            _ => name.and_then(|name| name.split_once('/')).is_some_and(|(space, _)| space == organization),
        }
    };
    match declared.role.as_deref() {
        Some("fineGrained") => declared.scopes.iter().any(scope),
        Some("read" | "write") => here.is_some(),
        _ => false,
    }
}

#[cfg(test)]
#[path = "managed_tests.rs"]
mod tests;

//! The findings that are known, and which tokens have any: most have none, and that is asked at every answer.

use std::collections::BTreeMap;
use std::ops::Deref;

use crate::access::TokenName;
use crate::report::{Finding, FindingKey};

/// All of them by their keys; read like the map that it is.
#[derive(Debug, Default)]
pub(super) struct Findings {
    all: BTreeMap<FindingKey, Finding>,
    /// How many of them are about each token.
    of: BTreeMap<TokenName, usize>,
}

impl Findings {
    /// Whether any is about this token: one that lasts, or one that is over and still told of.
    pub(super) fn has(&self, token: &TokenName) -> bool {
        self.of.contains_key(token)
    }

    /// In place of the one with this key.
    pub(super) fn insert(&mut self, key: FindingKey, finding: Finding) {
        let token = key.token.clone();
        if self.all.insert(key, finding).is_none()
            && let Some(token) = token
        {
            *self.of.entry(token).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, key: &FindingKey) -> Option<Finding> {
        let removed = self.all.remove(key)?;
        if let Some(token) = &key.token
            && let Some(count) = self.of.get_mut(token)
        {
            *count -= 1;
            if *count == 0 {
                self.of.remove(token);
            }
        }
        Some(removed)
    }

    /// Removes all others.
    pub(super) fn retain(&mut self, keep: impl Fn(&Finding) -> bool) {
        let gone: Vec<FindingKey> =
            self.all.iter().filter(|(_, finding)| !keep(finding)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.remove(&key);
        }
    }
}

impl FromIterator<Finding> for Findings {
    fn from_iter<I: IntoIterator<Item = Finding>>(findings: I) -> Findings {
        let mut all = Findings::default();
        findings.into_iter().for_each(|finding| all.insert(finding.key(), finding));
        all
    }
}

impl Deref for Findings {
    type Target = BTreeMap<FindingKey, Finding>;
    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Severity;
    use crate::moment::Timestamp;
    use crate::report::FindingKind;

    fn finding(kind: FindingKind, token: Option<&str>) -> Finding {
        Finding {
            kind,
            organization: "acme".to_owned(),
            token: token.map(TokenName::new),
            permission: None,
            target: None,
            severity: Severity::Info,
            since: Timestamp(0),
            last_seen: Timestamp(0),
            resolved_at: None,
            detail: String::new(),
        }
    }

    #[test]
    fn a_token_has_findings_until_the_last_of_them_is_gone() {
        let [expires, rotated, left] = [
            finding(FindingKind::ExpiresSoon, Some("a")),
            finding(FindingKind::Rotated, Some("a")),
            finding(FindingKind::CanaryLeft, None),
        ];
        let (a, b) = (TokenName::new("a"), TokenName::new("b"));
        let mut all: Findings = [expires.clone(), rotated.clone(), left].into_iter().collect();
        assert_eq!((all.len(), all.has(&a), all.has(&b)), (3, true, false));
        // One that is seen again is no second one.
        all.insert(expires.key(), expires.clone());
        assert!(all.remove(&expires.key()).is_some() && all.remove(&expires.key()).is_none());
        assert!(all.has(&a));
        all.retain(|finding| finding.kind != FindingKind::Rotated);
        assert_eq!((all.len(), all.has(&a)), (1, false));
        all.insert(rotated.key(), rotated);
        assert!(all.has(&a));
    }
}

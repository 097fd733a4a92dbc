//! What leaves the daemon about a finding: which alert it belongs to, its labels, its words.
//!
//! An alert is what a sink can tell apart: a name and the labels of its subject. Several kinds of finding may be one
//! alert, and some are none, because nothing but an unexpected grant may wake somebody. Pure; how a sink spells it
//! is `notify`'s.

use std::collections::BTreeMap;
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::access::{Permission, Severity, TokenName, words};
use crate::moment::Timestamp;
use crate::planted::{self, Defect};
use crate::report::{FindingKey, FindingKind};

words! {
    /// The alerts, by the names that rules, routes and runbooks use.
    AlertName {
        UnexpectedGrant = "ScopewatchUnexpectedGrant",
        UnexpectedDenial = "ScopewatchUnexpectedDenial",
        DeclaredDrift = "ScopewatchDeclaredDrift",
        TokenUnusable = "ScopewatchTokenUnusable",
        CanaryLeft = "ScopewatchCanaryLeft",
        Blind = "ScopewatchBlind",
        HubUnreachable = "ScopewatchHubUnreachable",
        StateReset = "ScopewatchStateReset",
        Watchdog = "ScopewatchWatchdog",
    }
}

words! {
    /// What a message says of its alert.
    Tidings {
        Firing = "firing",
        Reminder = "reminder",
        Resolved = "resolved",
    }
}

/// Where the runbooks lie; each is named after its alert.
pub const RUNBOOKS: &str = "https://github.com/scopewatch/scopewatch/blob/main/deploy/runbooks/";

impl AlertName {
    /// The kinds of finding that fire it.
    pub const fn kinds(self) -> &'static [FindingKind] {
        match self {
            AlertName::UnexpectedGrant => &[FindingKind::UnexpectedGrant],
            AlertName::UnexpectedDenial => &[FindingKind::UnexpectedDenial],
            AlertName::DeclaredDrift => &[
                FindingKind::DeclaredChanged,
                FindingKind::RoleChanged,
                FindingKind::OwnerChanged,
                FindingKind::PolicyChanged,
            ],
            AlertName::TokenUnusable => &[FindingKind::TokenUnusable],
            AlertName::CanaryLeft => &[FindingKind::CanaryLeft],
            AlertName::Blind => &[FindingKind::Blind],
            AlertName::HubUnreachable => &[FindingKind::HubUnreachable],
            AlertName::StateReset => &[FindingKind::StateReset],
            AlertName::Watchdog => &[],
        }
    }

    /// The alert that a kind of finding fires, if any.
    pub fn of(kind: FindingKind) -> Option<AlertName> {
        AlertName::ALL.iter().copied().find(|name| name.kinds().contains(&kind))
    }

    /// Where its runbook lies.
    pub fn runbook(self) -> String {
        format!("{RUNBOOKS}{}.md", self.as_str())
    }

    /// Whether it is never damped, bundled or dropped.
    pub const fn is_grant(self) -> bool {
        matches!(self, AlertName::UnexpectedGrant)
    }
}

/// The identity of an alert: what its labels tell apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertKey {
    pub name: AlertName,
    /// Empty where it concerns all of them.
    pub organization: String,
    pub token: Option<TokenName>,
    pub permission: Option<Permission>,
    pub target: Option<String>,
}

impl AlertKey {
    /// The alert to which a finding belongs, if any. Blindness is told by the organization: one outage makes every
    /// check of it blind, and that is one alert.
    pub fn of(finding: &FindingKey) -> Option<AlertKey> {
        let name = AlertName::of(finding.kind)?;
        let whole = name == AlertName::Blind;
        Some(AlertKey {
            name,
            organization: finding.organization.clone(),
            token: finding.token.clone().filter(|_| !whole),
            permission: finding.permission.filter(|_| !whole),
            target: finding.target.clone().filter(|_| !whole),
        })
    }

    /// The name of an episode of this alert: the same after restarts and reloads, another for every episode.
    pub fn episode(&self, began: Timestamp) -> String {
        let mut hash = Sha256::new_with_prefix("scopewatch episode 1");
        let token = self.token.as_ref().map(TokenName::as_str);
        let permission = self.permission.map(Permission::as_str);
        let target = self.target.as_deref();
        for part in [Some(self.name.as_str()), Some(self.organization.as_str()), token, permission, target] {
            match part {
                Some(text) => hash.update(format!(";{}:{text}", text.len())),
                None => hash.update(";-"),
            }
        }
        hash.update(format!(";{}", began.millis()));
        HEXLOWER.encode(hash.finalize().as_slice()).chars().take(32).collect()
    }
}

/// What an alert says, besides whom it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    pub severity: Severity,
    /// Who answers for the token; empty where nobody is named or no token is concerned.
    pub token_owner: String,
    /// One line.
    pub summary: String,
    /// What happened, to what, and what to do.
    pub description: String,
    /// The requests on which it stands, and their answers; empty where there are none.
    pub evidence: String,
}

/// One message, as every sink gets it before it spells it its own way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The episode; the same in every message about it.
    pub id: String,
    pub tidings: Tidings,
    pub key: AlertKey,
    pub words: Words,
    /// Since when it fires, or fired.
    pub since: Timestamp,
    /// When what this message says came to be.
    pub at: Timestamp,
}

/// How long an alert holds that nobody repeats: longer than any restart, failover or night without us, because our
/// death is no resolution.
const HOLDS: Duration = Duration::from_secs(24 * 3600);
/// That of the watchdog: its end is what it is there for.
const WATCHDOG_HOLDS: Duration = Duration::from_secs(5 * 60);
/// What the planted defect makes of it.
const SHORT: Duration = Duration::from_secs(30);

impl Message {
    /// Until when a sink that forgets is to take it as firing.
    pub fn ends_at(&self, now: Timestamp) -> Timestamp {
        match (self.tidings, self.key.name) {
            (Tidings::Resolved, _) => self.at,
            (_, AlertName::Watchdog) => now + WATCHDOG_HOLDS,
            _ if planted::is(Defect::ShortEndsAt) => now + SHORT,
            _ => now + HOLDS,
        }
    }

    /// The labels, as rules and Alertmanager have them; what does not apply is absent.
    pub fn labels(&self) -> BTreeMap<&'static str, String> {
        let token = self.key.token.as_ref().map(|token| token.as_str().to_owned());
        let all = [
            ("alertname", Some(self.key.name.as_str().to_owned())),
            ("organization", Some(self.key.organization.clone())),
            ("token", token),
            ("permission", self.key.permission.map(|permission| permission.as_str().to_owned())),
            ("target", self.key.target.clone()),
            ("severity", Some(self.words.severity.as_str().to_owned())),
            ("token_owner", Some(self.words.token_owner.clone())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.filter(|v| !v.is_empty())?))).collect()
    }

    /// The annotations, as rules have them.
    pub fn annotations(&self) -> BTreeMap<&'static str, String> {
        let all = [
            ("summary", self.words.summary.clone()),
            ("description", self.words.description.clone()),
            ("runbook_url", self.key.name.runbook()),
            ("evidence", self.words.evidence.clone()),
        ];
        all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }
}

/// A message that shows whether a sink takes one. Its labels are those of no alert that means something: not even the
/// watchdog's, whose end it would be.
pub fn trial(tidings: Tidings, since: Timestamp, at: Timestamp) -> Message {
    let key = AlertKey {
        name: AlertName::Watchdog,
        organization: String::new(),
        token: None,
        permission: None,
        target: Some("test".to_owned()),
    };
    let words = Words {
        severity: Severity::Info,
        token_owner: String::new(),
        summary: "TEST by `scopewatch doctor`: nothing happened, and nothing is to be done".to_owned(),
        description:
            "Somebody tries whether alerts of scopewatch arrive here. This is one of two messages: a test \
                      alert, and its end."
                .to_owned(),
        evidence: String::new(),
    };
    Message { id: key.episode(since), tidings, key, words, since, at }
}

/// The one line about an alert.
pub fn summary(key: &AlertKey) -> String {
    let token = key.token.as_ref().map(TokenName::as_str).unwrap_or_default();
    let organization = &key.organization;
    let what = match (key.permission, &key.target) {
        (Some(permission), Some(target)) if target != "-" => format!("{permission} on {target}"),
        (Some(permission), _) => permission.to_string(),
        _ => String::new(),
    };
    match key.name {
        AlertName::UnexpectedGrant => format!("token '{token}' of '{organization}' has {what}, and must not"),
        AlertName::UnexpectedDenial => format!("token '{token}' of '{organization}' lacks {what}"),
        AlertName::DeclaredDrift => {
            format!("token '{token}' of '{organization}' declares other rights than before")
        }
        AlertName::TokenUnusable => format!("token '{token}' of '{organization}' cannot be used"),
        AlertName::CanaryLeft => format!("something that scopewatch made in '{organization}' needs a person"),
        AlertName::Blind => format!("scopewatch cannot tell what tokens of '{organization}' may do"),
        AlertName::HubUnreachable => "the Hub does not answer scopewatch".to_owned(),
        AlertName::StateReset => format!("the journal of '{organization}' is not what it was"),
        AlertName::Watchdog => "scopewatch is alive".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_marked_and_is_the_end_of_no_other_alert() {
        let (began, over) = (Timestamp(1_000), Timestamp(2_000));
        let fires = trial(Tidings::Firing, began, began);
        let ends = trial(Tidings::Resolved, began, over);
        assert_eq!((fires.labels(), &fires.id), (ends.labels(), &ends.id));
        assert!(fires.words.summary.starts_with("TEST"));
        assert_eq!(fires.labels().get("severity").map(String::as_str), Some("info"));
        assert_eq!(ends.ends_at(over), over);
        // The watchdog's key, and whatever a finding may become, has no such target.
        let watchdog = AlertKey { target: None, ..fires.key.clone() };
        assert_ne!(fires.key, watchdog);
        assert!(AlertName::Watchdog.kinds().is_empty());
    }
}

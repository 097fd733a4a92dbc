//! Why a check came out as it did, told to somebody who has never seen the Hub's access model: expected,
//! declared, predicted and observed side by side, the factors in their order, the evidence, and what to change.
//!
//! Pure: what was found comes in, one text goes out. Words of the Hub are cut and stripped before they are
//! shown. Serves the command `explain` and the page of a finding.

mod fix;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use crate::access::{Access, Check, Permission, Stated, Target, Verdict};
use crate::compare::compare;
use crate::hub::predict::{Concludes, Factor, FactorKind, Known, Prediction, mismatch, predict};
use crate::hub::shown::{quoted, shown};
use crate::hub::whoami::{Declared, Membership, Scope};
use crate::moment::Timestamp;
use crate::report::{CheckResult, Evidence};

pub use fix::fix;

/// One request behind an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub status: Option<u16>,
    /// As an answer gave it: printable, and short enough to be shown whole.
    pub request_id: Option<String>,
    /// Why there was no answer.
    pub failure: Option<String>,
}

/// An answer, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub access: Access,
    pub at: Timestamp,
    /// The sentence of the result.
    pub sentence: String,
    pub asked: Vec<Asked>,
    /// Recorded by a daemon, not asked just now.
    pub recorded: bool,
}

impl Observed {
    /// What a round came to. `recorded`: not asked just now.
    pub fn of(result: &CheckResult, recorded: bool) -> Observed {
        let asked = |e: &Evidence| Asked {
            method: e.method.to_owned(),
            path: e.path.clone(),
            status: e.status,
            request_id: e.request_id.clone(),
            failure: e.failure.map(str::to_owned),
        };
        Observed {
            access: result.found,
            at: result.observed_at,
            sentence: result.explanation(),
            asked: result.evidence().iter().map(asked).collect(),
            recorded,
        }
    }
}

/// Everything that is known of one check.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The check; its expectation counts only with `expected`.
    pub check: &'a Check,
    /// Whether the config states an expectation.
    pub expected: bool,
    /// The Hub's origin, for addresses of its pages.
    pub endpoint: &'a str,
    /// What the token declares, and when that was asked.
    pub declared: Option<(&'a Declared, Timestamp)>,
    /// What was seen of the target.
    pub known: &'a Known,
    pub observed: Option<&'a Observed>,
    /// Why it was not tried, where it was not.
    pub untried: &'a str,
}

impl Facts<'_> {
    fn prediction(&self) -> Option<Prediction> {
        let (declared, _) = self.declared?;
        let check = self.check;
        Some(predict(declared, &check.organization, check.permission, &check.target, self.known))
    }

    /// The verdict, where something is expected and something was observed.
    pub fn verdict(&self) -> Option<Verdict> {
        let observed = self.observed.filter(|_| self.expected)?;
        Some(compare(self.check.expected, observed.access))
    }
}

/// The whole text.
pub fn explain(facts: &Facts<'_>) -> String {
    let mut text = String::new();
    let prediction = facts.prediction();
    // Writing to a String cannot fail.
    let _ = head(&mut text, facts, prediction.as_ref());
    let _ = factors(&mut text, facts, prediction.as_ref());
    let _ = evidence(&mut text, facts);
    let _ = conclusion(&mut text, facts, prediction.as_ref());
    text
}

fn head(text: &mut String, facts: &Facts<'_>, prediction: Option<&Prediction>) -> std::fmt::Result {
    let check = facts.check;
    writeln!(text, "May '{}' {}?\n", check.token, deed(check))?;
    let expected = if facts.expected {
        format!("{}{}", check.expected, stated(check.stated.as_ref()))
    } else {
        "nothing: no check of the config asks this".to_owned()
    };
    writeln!(text, "  expected   {expected}")?;
    match facts.declared {
        None => writeln!(text, "  declared   not known: the token's whoami was not heard yet")?,
        Some((declared, at)) => {
            writeln!(text, "  declared   {}  (whoami of {at})", token_line(declared))?;
            for line in standing(declared, &check.organization) {
                writeln!(text, "             {line}")?;
            }
        }
    }
    let predicted = match prediction.map(|p| p.outcome.as_str()) {
        None => "nothing, because nothing is declared".to_owned(),
        Some(None) => "nothing: the Hub's documents do not decide it".to_owned(),
        Some(Some(word)) => format!("{word}, by the Hub's documented model"),
    };
    writeln!(text, "  predicted  {predicted}")?;
    let observed = match facts.observed {
        None => format!("nothing: {}", facts.untried),
        Some(observed) => {
            let reason = observed.access.reason().map(|why| format!(" ({why})")).unwrap_or_default();
            let how = if observed.recorded { "recorded at" } else { "asked at" };
            format!("{}{reason}, {how} {}", observed.access.as_str(), observed.at)
        }
    };
    writeln!(text, "  observed   {observed}")
}

fn stated(place: Option<&Stated>) -> String {
    place.map(|at| format!("  ({}:{})", at.file, at.line)).unwrap_or_default()
}

/// What the check asks, as part of a sentence: "create a model in 'acme'".
pub fn deed(check: &Check) -> String {
    let organization = &check.organization;
    match (check.permission, &check.target) {
        (Permission::RepoCreate, Target::Create { kind, group: None }) => {
            format!("create a {kind} in '{organization}'")
        }
        (Permission::RepoCreate, Target::Create { kind, group: Some(group) }) => {
            format!("create a {kind} in resource group '{group}' of '{organization}'")
        }
        (Permission::RepoRead, target) => format!("read '{target}'"),
        (Permission::RepoWrite, target) => format!("write to '{target}'"),
        (Permission::JobRead, _) => format!("see the jobs of '{organization}'"),
        (Permission::JobWrite, _) => format!("run jobs in '{organization}'"),
        (Permission::EndpointRead, _) => format!("see the inference endpoints of '{organization}'"),
        (Permission::EndpointWrite, _) => format!("manage the inference endpoints of '{organization}'"),
        (Permission::EndpointInfer, _) => format!("call the inference endpoints of '{organization}'"),
        (Permission::OrgMembers, _) => format!("list the members of '{organization}'"),
        (Permission::OrgRepositories, _) => format!("list all repositories of '{organization}'"),
        (Permission::OrgAuditLog, _) => format!("read the audit log of '{organization}'"),
        (Permission::OrgBilling, _) => format!("read the billing of '{organization}'"),
        (Permission::OrgServiceAccounts, _) => format!("list the service accounts of '{organization}'"),
        (Permission::OrgNetworkSecurity, _) => {
            format!("read the network security settings of '{organization}'")
        }
        (Permission::OrgResourceGroups, _) => format!("list resource groups of '{organization}'"),
        (Permission::UserWebhooks, _) => "read the webhooks of its user".to_owned(),
        (Permission::UserBilling, _) => "read the billing of its user".to_owned(),
        (permission, _) => format!("use {permission} on '{organization}'"),
    }
}

fn token_line(declared: &Declared) -> String {
    let kind = match declared.role.as_deref() {
        Some("fineGrained") => "a fine-grained token".to_owned(),
        Some(role) => format!("a classic token with the role {}", quoted(role)),
        None => format!("a credential of kind {}", quoted(declared.auth.as_deref().unwrap_or("unknown"))),
    };
    let label = declared.label.as_deref().map(|label| format!(", called {}", quoted(label)));
    format!("{kind} of the user {}{}", quoted(&declared.user), label.unwrap_or_default())
}

/// What the token names and what its user is in the organization, a line each.
fn standing(declared: &Declared, organization: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if declared.role.as_deref() == Some("fineGrained") && declared.scopes.is_empty() {
        lines.push("it names no organization, no repository and no user".to_owned());
    }
    let more = declared.scopes.len().saturating_sub(SCOPES);
    lines.extend(declared.scopes.iter().take(SCOPES).map(scope_line));
    if more > 0 {
        lines.push(format!("and {more} more scopes"));
    }
    match declared.membership(organization) {
        None => {
            lines.push(format!("'{organization}' is not among its user's organizations, as far as it shows"))
        }
        Some(member) => lines.extend(member_lines(member)),
    }
    lines
}

/// Scopes and groups that are listed, at most.
const SCOPES: usize = 12;

fn scope_line(scope: &Scope) -> String {
    let permissions: Vec<String> = scope.permissions.iter().take(SCOPES).map(|word| shown(word)).collect();
    let on = scope.name.as_deref().or(scope.id.as_deref()).unwrap_or("(no name)");
    let permissions =
        if permissions.is_empty() { "no permission".to_owned() } else { permissions.join(", ") };
    format!("it names the {} {}: {permissions}", shown(&scope.kind), quoted(on))
}

fn member_lines(member: &Membership) -> Vec<String> {
    let role = member.role.as_deref().map_or("a role that is not shown".to_owned(), quoted);
    let mut lines = vec![format!("its user has the role {role} in '{}'", shown(&member.name))];
    lines.extend(member.groups.iter().take(SCOPES).map(|group| {
        let role = group.role.as_deref().map_or("a role that is not shown".to_owned(), quoted);
        format!("and the role {role} in the resource group {}", quoted(&group.name))
    }));
    if !member.restrictions.is_empty() {
        let words: Vec<String> = member.restrictions.iter().take(SCOPES).map(|word| shown(word)).collect();
        lines.push(format!("the organization bars this token: {}", words.join(", ")));
    }
    lines
}

/// What the tags of rules mean.
const LEGEND: &str = "DOC the Hub's documentation, SPEC its OpenAPI, CLIENT its Python client, STAFF its makers, \
                      ISSUE its users,\n  OBS-3P an answer that others recorded, INFER concluded by us";

fn factors(text: &mut String, facts: &Facts<'_>, prediction: Option<&Prediction>) -> std::fmt::Result {
    let Some(prediction) = prediction else { return Ok(()) };
    writeln!(text, "\nWhat decides it, in the order in which the documents have it:")?;
    for factor in &prediction.factors {
        let mark = match factor.rule.concludes {
            Concludes::Allows => "allows",
            Concludes::Denies(_) => "denies",
            Concludes::Silent => "not written",
            Concludes::Unread => "not readable",
            Concludes::Aside => "no part",
        };
        let lead = format!("  {mark:<12}  {:<18}  ", about(factor.rule.kind));
        text.push_str(&wrapped(&lead, &sentence(factor)));
        let rule = format!("{} {}", factor.rule.sentence, factor.rule.source);
        text.push_str(&wrapped(&" ".repeat(lead.len()), &rule));
    }
    writeln!(text, "  ({LEGEND})")?;
    if facts.observed.is_some_and(|o| mismatch(prediction, o.access) == Some(true)) {
        writeln!(text, "  The Hub does otherwise than these documents say.")?;
    }
    Ok(())
}

/// Columns of a line, where words allow.
const WIDTH: usize = 110;

/// The words behind their lead, in lines of which the further ones are indented like the first.
fn wrapped(lead: &str, words: &str) -> String {
    let mut text = String::new();
    let mut line = lead.to_owned();
    let indent = lead.chars().count();
    let mut empty = true;
    for word in words.split(' ') {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(line.trim_end());
            text.push('\n');
            line = " ".repeat(indent);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    text.push_str(line.trim_end());
    text.push('\n');
    text
}

fn about(kind: FactorKind) -> &'static str {
    match kind {
        FactorKind::Restriction => "organization rules",
        FactorKind::Token => "the token's scope",
        FactorKind::OrganizationRole => "organization role",
        FactorKind::GroupRole => "group role",
        FactorKind::Visibility => "visibility",
        FactorKind::Gate => "gate",
        FactorKind::Plan => "plan",
    }
}

fn sentence(factor: &Factor) -> String {
    let data: Vec<String> =
        factor.data.iter().map(|(what, word)| format!("{what}: {}", quoted(word))).collect();
    let more = data.len().saturating_sub(SCOPES);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let told = data.iter().take(SCOPES).map(String::as_str).collect::<Vec<_>>().join("; ");
    let data = if data.is_empty() { String::new() } else { format!(" ({told}{more})") };
    format!("{}{data}.", factor.sentence)
}

fn evidence(text: &mut String, facts: &Facts<'_>) -> std::fmt::Result {
    let Some(observed) = facts.observed else { return Ok(()) };
    writeln!(text, "\nWhat the Hub was asked:")?;
    if observed.asked.is_empty() {
        writeln!(text, "  nothing; {}", observed.sentence)?;
    }
    for asked in &observed.asked {
        let came = match (asked.status, &asked.failure) {
            (Some(status), _) => status.to_string(),
            (None, Some(failure)) => shown(failure),
            (None, None) => "no answer".to_owned(),
        };
        let id = asked.request_id.as_deref().map(|id| format!("  (request id {id})"));
        writeln!(text, "  {} {} → {came}{}", asked.method, asked.path, id.unwrap_or_default())?;
    }
    Ok(())
}

fn conclusion(text: &mut String, facts: &Facts<'_>, prediction: Option<&Prediction>) -> std::fmt::Result {
    let verdict = match (facts.verdict(), facts.observed) {
        (Some(Verdict::Ok), _) => "as expected",
        (Some(Verdict::UnexpectedGrant), _) => "UNEXPECTED GRANT",
        (Some(Verdict::UnexpectedDenial), _) => "UNEXPECTED DENIAL",
        (Some(Verdict::Unknown), _) => "unknown",
        (None, None) => "not tried",
        (None, Some(_)) => "nothing is expected",
    };
    writeln!(text, "\nVerdict: {verdict}")?;
    // The sentence holds it against an expectation; without one it would say what nobody said.
    let told = |o: &&Observed| facts.expected && !o.sentence.is_empty() && !o.asked.is_empty();
    if let Some(observed) = facts.observed.filter(told) {
        text.push_str(&wrapped("  ", &format!("{}.", observed.sentence.trim_end_matches('.'))));
    }
    writeln!(text, "\nWhat to do:")?;
    for step in fix(facts, prediction) {
        text.push_str(&wrapped("  ", &step));
    }
    Ok(())
}

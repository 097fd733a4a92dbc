//! The read-only probes: one row a permission, with what is asked, what a grant looks like, and what else must
//! be shown before an answer counts.
//!
//! To add one: a row here, an answer with its source under `tests/answers/`, a grant in the simulator. Creating
//! is not here; it has protocols of its own.

use serde_json::Value;

use crate::access::{Access, DenyReason, Permission, RepoName, RepoType, Target, UnknownReason, words};
use crate::exchange::{Answer, Credential, Failure, Request};

use super::answers::{
    Object, Refusal, described, envelope, json, of_failure, of_status, refusal, repo_not_found,
};
use super::routes;

/// One read-only probe.
#[derive(Debug)]
pub struct Row {
    pub permission: Permission,
    /// The one request.
    pub ask: Ask,
    /// Whether a successful answer has the documented shape. Anything else that succeeds is undetermined.
    pub granted: fn(&Answer) -> bool,
    /// What an answer must be accompanied by.
    pub control: Control,
    /// Where route and shape come from.
    pub source: &'static str,
}

/// About what it is asked.
#[derive(Debug, Clone, Copy)]
pub enum Ask {
    Repo(fn(RepoType, &RepoName, Credential) -> Request),
    Organization(fn(&str, Credential) -> Request),
    User(fn(Credential) -> Request),
}

/// Who asked about what; an answer that names another is none to this question.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub organization: &'a str,
    pub target: &'a Target,
    /// The Hub's name of the token's user, where a fresh whoami tells it.
    pub user: Option<&'a str>,
}

/// What shows that an answer means something, beside the round's own controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// A denial counts when somebody who can see the repository sees it.
    Target,
    /// A refusal in the Hub's envelope counts by itself: the round showed that the organization is there, and
    /// only a live token is refused so.
    Round,
    /// A grant counts when nobody gets the same without a token: parts of it may be public.
    Closed,
}

/// All of them.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(Permission::RepoRead, Ask::Repo(routes::auth_check), says_ok, Control::Target, "huggingface_hub, auth_check"),
    row(Permission::RepoWrite, Ask::Repo(routes::auth_check_write), says_ok, Control::Target, "huggingface_hub, auth_check(write=True)"),
    row(Permission::JobRead, Ask::Organization(|o, who| routes::jobs_auth_check(o, "read", who)), |a| a.status != 207 && names_place(a), Control::Round, "OpenAPI"),
    row(Permission::JobWrite, Ask::Organization(|o, who| routes::jobs_auth_check(o, "write", who)), |a| a.status != 207 && names_place(a), Control::Round, "OpenAPI"),
    row(Permission::EndpointRead, Ask::Organization(|o, who| routes::endpoints_auth_check(o, "read", who)), names_place, Control::Round, "OpenAPI"),
    row(Permission::EndpointWrite, Ask::Organization(|o, who| routes::endpoints_auth_check(o, "write", who)), names_place, Control::Round, "OpenAPI"),
    row(Permission::EndpointInfer, Ask::Organization(|o, who| routes::endpoints_auth_check(o, "infer", who)), names_place, Control::Round, "OpenAPI"),
    row(Permission::OrgMembers, Ask::Organization(routes::members), |a| lists(a, "user"), Control::Closed, "OpenAPI"),
    row(Permission::OrgRepositories, Ask::Organization(routes::repositories), |a| lists(a, "visibility"), Control::Round, "OpenAPI"),
    row(Permission::OrgAuditLog, Ask::Organization(routes::audit_log), |a| lists(a, "type"), Control::Round, "OpenAPI"),
    row(Permission::OrgBilling, Ask::Organization(routes::billing), |a| describes(a, "usage", Value::is_object), Control::Round, "OpenAPI"),
    row(Permission::OrgServiceAccounts, Ask::Organization(routes::service_accounts), |a| lists(a, "user"), Control::Round, "OpenAPI"),
    row(Permission::OrgNetworkSecurity, Ask::Organization(routes::network_security), |a| describes(a, "enforceIpRestriction", Value::is_boolean), Control::Round, "OpenAPI"),
    row(Permission::OrgResourceGroups, Ask::Organization(routes::resource_groups), |a| lists(a, "id"), Control::Round, "OpenAPI"),
    row(Permission::UserWebhooks, Ask::User(routes::webhooks), |a| lists(a, "id"), Control::Round, "OpenAPI"),
    row(Permission::UserBilling, Ask::User(routes::user_billing), |a| describes(a, "usage", Value::is_object), Control::Round, "OpenAPI"),
];

const fn row(
    permission: Permission,
    ask: Ask,
    granted: fn(&Answer) -> bool,
    control: Control,
    source: &'static str,
) -> Row {
    Row { permission, ask, granted, control, source }
}

/// The row of a permission; none for creating.
pub fn row_of(permission: Permission) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.permission == permission)
}

words! {
    /// The rows of the table of answers to any of them.
    ProbeRow {
        Granted = "granted",
        /// A success that is not the documented one.
        OddSuccess = "odd-success",
        /// It names another organization, repository or user than the one asked about.
        Another = "another",
        Refused = "refused",
        Disabled = "disabled",
        /// The Hub says "not found" of a repository, which also hides it.
        Hidden = "hidden",
        /// Nothing of the above: its status alone counts.
        Status = "status",
        Unanswered = "unanswered",
    }
}

impl Row {
    /// The request, if the target is one that the row is about.
    pub fn request(&self, organization: &str, target: &Target, who: Credential) -> Option<Request> {
        match (self.ask, target) {
            (Ask::Repo(ask), Target::Repo { kind, repo }) => Some(ask(*kind, repo, who)),
            (Ask::Organization(ask), Target::Whole) => Some(ask(organization, who)),
            (Ask::User(ask), Target::Whole) => Some(ask(who)),
            _ => None,
        }
    }

    /// What the answer says. A denial is half of the truth: it counts together with its control.
    /// `restrictions` are whoami's `securityRestrictions` for the organization that was asked about.
    pub fn read(
        &self,
        outcome: &Result<Answer, Failure>,
        asked: Asked<'_>,
        restrictions: &[String],
    ) -> Access {
        self.read_row(outcome, asked, restrictions).1
    }

    /// The same, with the row that decided.
    pub fn read_row(
        &self,
        outcome: &Result<Answer, Failure>,
        asked: Asked<'_>,
        restrictions: &[String],
    ) -> (ProbeRow, Access) {
        let unknown = Access::Undetermined;
        let answer = match outcome {
            Err(failure) => return (ProbeRow::Unanswered, unknown(of_failure(*failure))),
            Ok(answer) => answer,
        };
        let about_repo = matches!(self.ask, Ask::Repo(_));
        let object = self.object(asked);
        // An organization's restrictions are no reason why the user's own settings are closed.
        let restrictions = if matches!(self.ask, Ask::User(_)) { &[] } else { restrictions };
        match (answer.status, envelope(answer)) {
            (200..=299, None) if names_another(answer, asked) => {
                (ProbeRow::Another, unknown(UnknownReason::Unrecognized))
            }
            (200..=299, None) if (self.granted)(answer) => (ProbeRow::Granted, Access::Allowed),
            (200..=299, _) => (ProbeRow::OddSuccess, unknown(UnknownReason::Unrecognized)),
            (403, Some(text)) if object.is_not_in(&text) => {
                (ProbeRow::Another, unknown(UnknownReason::Unrecognized))
            }
            (403, Some(text)) => match refusal(&text, restrictions) {
                Refusal::Denied(why) => (ProbeRow::Refused, Access::Denied(why)),
                Refusal::Disabled => (ProbeRow::Disabled, unknown(UnknownReason::TargetMissing)),
            },
            (404, Some(_)) if about_repo && repo_not_found(answer) => {
                (ProbeRow::Hidden, Access::Denied(DenyReason::Hidden))
            }
            _ => (ProbeRow::Status, unknown(of_status(answer))),
        }
    }

    /// What a refusal of this question names, if it names anything.
    fn object<'a>(&self, asked: Asked<'a>) -> Object<'a> {
        match (self.ask, asked.target) {
            (Ask::Repo(_), Target::Repo { kind, repo }) => {
                Object { namespace: Some(&repo.namespace), repo: Some((*kind, repo)) }
            }
            (Ask::User(_), _) => Object { namespace: asked.user, repo: None },
            _ => Object { namespace: Some(asked.organization), repo: None },
        }
    }
}

/// `OK` is what auth-check says, and the whole of it. An empty success is nobody's word: a body may get lost on
/// the way, and whatever stands in between may answer so.
fn says_ok(answer: &Answer) -> bool {
    let text = answer.body.trim().trim_matches('"');
    // The headers of an error make it one, whatever the body says.
    let sound = answer.error_code.is_none() && answer.error_message.is_none();
    sound && answer.content_type != "text/html" && text.eq_ignore_ascii_case("ok")
}

/// `{namespace: {name}, user: {name}}`; with status 207, which only endpoints have, also the patterns to which the
/// token is limited.
fn names_place(answer: &Answer) -> bool {
    let Some(body) = described(answer) else { return false };
    let named = |field: &str| body.get(field).and_then(|of| of.get("name")).is_some_and(Value::is_string);
    let limited = body.get("patternRestrictions").is_some_and(Value::is_array);
    named("namespace") && named("user") && (answer.status != 207 || limited)
}

/// Whether a success says that it is about another namespace, or another user, than the one asked about. Letter for
/// letter: the round's controls showed that the organization is called exactly so.
fn names_another(answer: &Answer, asked: Asked<'_>) -> bool {
    let Some(body) = json(answer) else { return false };
    let differs = |field: &str, wanted: &str| {
        body.get(field).and_then(|of| of.get("name")?.as_str()).is_some_and(|name| name != wanted)
    };
    differs("namespace", asked.organization) || asked.user.is_some_and(|user| differs("user", user))
}

/// A list of objects of which each has this field, a text in all of them; an empty list is one, too.
fn lists(answer: &Answer, field: &str) -> bool {
    match json(answer) {
        Some(Value::Array(items)) => items.iter().all(|item| item.get(field).is_some_and(Value::is_string)),
        _ => false,
    }
}

/// Whether a list of members shows roles, which are for members of the organization (OpenAPI: optional; that the
/// public list has none is UNCONFIRMED).
pub fn shows_roles(outcome: &Result<Answer, Failure>) -> bool {
    let body = outcome.as_ref().ok().and_then(json);
    matches!(body, Some(Value::Array(items)) if items.iter().any(|item| item.get("role").is_some_and(Value::is_string)))
}

/// An object with this field, of the documented kind: what is null describes nothing.
fn describes(answer: &Answer, field: &str, fits: fn(&Value) -> bool) -> bool {
    described(answer).is_some_and(|body| body.get(field).is_some_and(fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organizations_restrictions_explain_what_is_refused_in_it_and_not_the_users_own() {
        let body = r#"{"error":"You don't have the required permissions"}"#.to_owned();
        let refused =
            Answer { status: 403, content_type: "application/json".into(), body, ..Answer::default() };
        for row in ROWS {
            let own = matches!(row.ask, Ask::User(_));
            let why = if own { DenyReason::Scope } else { DenyReason::Sso };
            let asked = Asked { organization: "acme", target: &Target::Whole, user: None };
            let found = row.read(&Ok(refused.clone()), asked, &["sso".to_owned()]);
            assert_eq!(found, Access::Denied(why), "{}", row.permission);
        }
    }

    #[test]
    fn every_permission_but_creating_has_one_row_whose_request_is_on_the_list() {
        let repo = Target::Repo { kind: RepoType::Model, repo: "acme/x".parse().expect("a name") };
        for permission in Permission::ALL {
            let rows: Vec<&Row> = ROWS.iter().filter(|row| row.permission == *permission).collect();
            assert_eq!(rows.len(), usize::from(*permission != Permission::RepoCreate), "{permission}");
            let Some(row) = row_of(*permission) else { continue };
            let asked: Vec<Request> = [&repo, &Target::Whole]
                .into_iter()
                .filter_map(|target| row.request("acme", target, Credential::Anonymous))
                .collect();
            let [asked] = asked.as_slice() else { panic!("{permission}: one kind of target") };
            assert!(routes::ALL.contains(&asked.route), "{}", asked.route);
            assert!(asked.body.is_none() && !row.source.is_empty());
        }
    }
}

//! The smallest change that makes what is observed match what is expected.
//!
//! Where the documents know which factor stands in the way, that one is named, and nothing beside it; where they
//! do not, the Hub's own reason is, and what to ask whom.

use crate::access::{Access, DenyReason, UnknownReason, Verdict};
use crate::hub::predict::{Entity, Known, Outcome, Place, Prediction, Remedy, Wanted, latent, token_page};
use crate::hub::shown::{listed, quoted, shown};
use crate::hub::vocabulary;
use crate::hub::whoami::{Declared, Scope};

use super::{Facts, SCOPES};

/// The steps, each a sentence; never empty.
pub fn fix(facts: &Facts<'_>, prediction: Option<&Prediction>) -> Vec<String> {
    let Some(observed) = facts.observed else {
        return vec![format!(
            "Add a check to the token's `expect`: {{ permission: {}, {}access: allowed|denied }}.",
            facts.check.permission,
            target_keys(facts)
        )];
    };
    match (facts.verdict(), observed.access) {
        (Some(Verdict::Ok), access) if prediction.is_some_and(|p| latent(p, access)) => {
            vec![
                "Nothing for now; but narrow the token, because only its user's role stands in between (a latent \
                 grant)."
                    .to_owned(),
            ]
        }
        (Some(Verdict::Ok), _) => vec!["Nothing.".to_owned()],
        (Some(Verdict::UnexpectedGrant), _) => narrow(facts, prediction),
        (Some(Verdict::UnexpectedDenial), Access::Denied(why)) => widen(facts, prediction, why),
        (_, Access::Undetermined(why)) => vec![unknown(why, &observed.sentence)],
        (_, access) => vec![format!(
            "If this is as it should be, say so in the token's `expect`: {{ permission: {}, {}access: {} }}.",
            facts.check.permission,
            target_keys(facts),
            access.as_str()
        )],
    }
}

fn target_keys(facts: &Facts<'_>) -> String {
    use crate::access::{RepoType, Target};
    let kind = |kind: &RepoType| match kind {
        RepoType::Model => String::new(),
        kind => format!("type: {kind}, "),
    };
    match &facts.check.target {
        Target::Whole => String::new(),
        Target::Create { kind: of, group } => {
            let group = group
                .as_ref()
                .map(|group| format!("resource_group: '{}', ", group.replace('\'', "''")))
                .unwrap_or_default();
            format!("{}{group}", kind(of))
        }
        Target::Repo { kind: of, repo } => format!("repo: {repo}, {}", kind(of)),
    }
}

/// A grant that should not be: what the token names is taken from it.
fn narrow(facts: &Facts<'_>, prediction: Option<&Prediction>) -> Vec<String> {
    let page = format!("{}/settings/tokens", facts.endpoint.trim_end_matches('/'));
    let Some((declared, _)) = facts.declared else {
        return vec![
            "The token's whoami is not known, so that nobody can say which scope grants it; ask again later, or \
             revoke the token now."
                .to_owned(),
        ];
    };
    let owner = quoted(&declared.user);
    if declared.role.as_deref() != Some("fineGrained") {
        return vec![format!(
            "Replace it by a fine-grained token that does not name this: a classic token may do whatever its user \
             may. Its owner {owner} does so at {page}."
        )];
    }
    let opening: Vec<(String, &Scope)> = declared
        .scopes
        .iter()
        .filter(|scope| reaches(scope, facts, declared))
        .flat_map(|scope| scope.permissions.iter().map(move |word| (word.clone(), scope)))
        .filter(|(word, _)| {
            vocabulary::word_of(word).is_some_and(|word| word.names.contains(&facts.check.permission))
        })
        .collect();
    if opening.is_empty() {
        let model = match prediction.map(|p| p.outcome) {
            Some(Outcome::Denied(_)) => "The Hub grants what its own documents deny",
            _ => "Nothing that the token declares is known to open this",
        };
        return vec![format!(
            "{model}: revoke the token (its owner {owner} does so at {page}), and show the request ids above to \
             the Hub's support."
        )];
    }
    let taken: Vec<String> = opening
        .iter()
        .map(|(word, scope)| {
            let on = scope.name.as_deref().or(scope.id.as_deref()).unwrap_or("(no name)");
            format!("'{}' on the {} {}", shown(word), shown(&scope.kind), quoted(on))
        })
        .collect();
    let all = if taken.len() > SCOPES { listed(&taken, SCOPES) } else { taken.join(" and ") };
    vec![format!("Take {all} from the token: its owner {owner} edits it at {page}.")]
}

/// Whether a scope is about the target, or about what it lies in.
fn reaches(scope: &Scope, facts: &Facts<'_>, declared: &Declared) -> bool {
    use crate::access::Target;
    let check = facts.check;
    let namespace = match &check.target {
        Target::Repo { repo, .. } => repo.namespace.as_str(),
        _ => check.organization.as_str(),
    };
    let named = |name: &str| scope.name.as_deref() == Some(name);
    let by_id = |id: Option<&str>| id.is_some() && scope.id.as_deref() == id;
    match (scope.kind.as_str(), &check.target) {
        ("org", _) => named(namespace) || by_id(declared.membership(namespace).and_then(|m| m.id.as_deref())),
        ("user", _) => named(&declared.user),
        ("resource-group", _) => in_group(scope, facts.known),
        (kind, Target::Repo { kind: of, repo }) => kind == of.as_str() && named(&repo.to_string()),
        _ => false,
    }
}

fn in_group(scope: &Scope, known: &Known) -> bool {
    let Place::In(group) = &known.place else { return false };
    (group.id.is_some() && group.id == scope.id) || (group.name.is_some() && group.name == scope.name)
}

/// A denial that should not be: each documented factor that denies is turned around.
fn widen(facts: &Facts<'_>, prediction: Option<&Prediction>, why: DenyReason) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    for factor in prediction.into_iter().flat_map(|p| &p.factors) {
        steps.extend(factor.remedy.as_ref().map(|remedy| remedied(remedy, facts)));
    }
    if let Some(wanted) = prediction.and_then(Prediction::wanted) {
        let page = token_page(facts.endpoint, &wanted);
        // Single repositories have no parameter.
        let filled = if wanted == Wanted::default() {
            "A new token; pick the repository on its page"
        } else {
            "A new token with this already filled in"
        };
        steps.push(format!("{filled}: {page}"));
    }
    if steps.is_empty() {
        steps.push(by_reason(why).to_owned());
    }
    steps
}

fn remedied(remedy: &Remedy, facts: &Facts<'_>) -> String {
    let owner = facts.declared.map(|(declared, _)| format!(" (its owner is {})", quoted(&declared.user)));
    let owner = owner.unwrap_or_default();
    match remedy {
        Remedy::Scope { permission, on } => {
            let on = match on {
                Entity::Organization(name) => format!("the organization {}", quoted(name)),
                Entity::User(name) => format!("the user {}", quoted(name)),
                Entity::Repo(kind, repo) => format!("the {kind} '{repo}'"),
            };
            format!("Give the token '{permission}' on {on}{owner}.")
        }
        Remedy::GatedSwitch => format!("Let the token read public gated repositories{owner}."),
        Remedy::OrganizationRole(role) => format!(
            "Give its user at least the role '{role}' in '{}'; an admin of the organization does so.",
            facts.check.organization
        ),
        Remedy::GroupRole(role) => format!(
            "Give its user at least the role '{role}' in the resource group; an admin of the organization or of \
             the group does so."
        ),
    }
}

fn by_reason(why: DenyReason) -> &'static str {
    match why {
        DenyReason::TokenPolicy => {
            "An admin of the organization approves the token, or its policy lets this kind of token in."
        }
        DenyReason::TokenRevoked => "Issue another token: the organization revoked this one for good.",
        DenyReason::Sso => "Its user signs on through the organization's identity provider.",
        DenyReason::Mfa => "Its user turns on two-factor authentication.",
        DenyReason::IpRestriction => {
            "Ask from an address that the organization admits, or let it admit this one."
        }
        DenyReason::Billing => "Raise the spending or storage limit that refuses it.",
        DenyReason::Scope | DenyReason::Hidden | DenyReason::Other => {
            "The documents name no single cause; show the request ids above to the Hub's support."
        }
    }
}

fn unknown(why: UnknownReason, sentence: &str) -> String {
    let step = match why {
        UnknownReason::TokenInvalid => "Renew the token, or mend where its secret lies.",
        UnknownReason::RateLimited => "Wait for the next round, or raise hub.quota_share.",
        UnknownReason::CreationCap => {
            "Wait until its user's creations are free again, or raise max_creations_per_day."
        }
        UnknownReason::NoControl => "Mend the control, so that an answer can mean something.",
        UnknownReason::TargetMissing => "Correct the name in the config; the case counts.",
        UnknownReason::Conflict => "Nothing: it is asked again in the next round.",
        UnknownReason::Billing => {
            "The organization or the user needs another subscription before this can be told."
        }
        UnknownReason::HubError | UnknownReason::Timeout => {
            "Nothing, if the Hub is unwell; else see its status page."
        }
        UnknownReason::Network => "Check the network and hub.endpoint.",
        UnknownReason::Unrecognized => "Check what stands between here and the Hub.",
        UnknownReason::IntentNotStored => "Mend the store; its error is in the log.",
        UnknownReason::ReadOnly => "Ask without --read-only.",
    };
    if sentence.is_empty() { step.to_owned() } else { format!("{step} ({})", sentence.trim_end_matches('.')) }
}

//! Every rule of the table at work, one case a line, and what else a prediction promises.
//!
//! A line reads: the rule, the token, its user in the organization acme, the question, what the round knows, the
//! outcome. The rule must be among the factors found, and no rule may be without a line.

use super::facts::{Entity, Role};
use super::*;
use crate::access::UnknownReason;
use crate::hub::whoami::{GroupRole, Membership, Scope};

#[rustfmt::skip]
const CASES: &[&str] = &[
    // Restrictions
    "restriction.none          | write                             | admin                  | repo.create model         |                      | allowed",
    "restriction.token_revoked | write                             | admin !token-revoked   | repo.create model         |                      | denied token_revoked",
    "restriction.token_policy  | fine org:acme=repo.write          | admin !token-policy    | repo.write acme/x         | private root         | denied token_policy",
    "restriction.sso           | write                             | admin !sso             | org.billing -             |                      | denied sso",
    "restriction.mfa           | write                             | admin !mfa             | job.write -               |                      | denied mfa",
    "restriction.ip            | write                             | admin !ip              | repo.read acme/x          | private root ungated | denied ip_restriction",
    "restriction.unheard       | write                             | admin !quantum         | repo.create model         |                      | unknown",
    "restriction.unheard       | read                              | admin !quantum         | repo.create model         |                      | denied scope",
    "restriction.public        | write                             | admin !sso             | repo.read acme/x          | public ungated       | unknown",
    "restriction.classic       | write                             | admin                  | repo.create model         | policy=fine          | denied token_policy",
    "restriction.classic       | read                              | outsider               | org.billing -             | policy=approval      | denied token_policy",
    "restriction.none          | fine org:acme=repo.write          | admin                  | repo.create model         | policy=approval      | allowed",
    "restriction.unread        | fine org:acme=repo.write          | outsider               | repo.create model         |                      | unknown",
    "restriction.outside       | write                             | outsider               | repo.read acme/x          | public ungated       | allowed",

    // The kind of token
    "token.public              | fine                              | no_access              | repo.read acme/x          | public ungated       | allowed",
    "token.public              | god                               | outsider               | repo.read acme/x          | public ungated       | allowed",
    "token.write               | write                             | admin                  | job.read -                |                      | allowed",
    "token.read                | read                              | read                   | repo.read acme/x          | private root ungated | allowed",
    "token.read_only           | read                              | admin                  | repo.write acme/x         | private root         | denied scope",
    "token.read_only           | read                              | admin                  | endpoint.write -          |                      | denied scope",
    "token.read_else           | read                              | admin                  | org.members -             |                      | unknown",
    "token.write_settings      | write                             | admin                  | user.webhooks -           |                      | unknown",
    "token.god                 | god                               | admin                  | repo.create model         |                      | unknown",
    "token.god                 | god                               | admin !sso             | repo.create model         |                      | denied sso",
    "token.unheard             | turbo                             | admin                  | repo.create model         |                      | unknown",
    "token.other               | oauth                             | admin                  | repo.create model         |                      | unknown",
    "token.other               | app                               | admin                  | user.billing -            |                      | unknown",

    // Scopes
    "scope.namespace           | fine org:acme=job.write           | admin                  | job.write -               |                      | allowed",
    "scope.repo                | fine model:acme/x=repo.write      | write                  | repo.write acme/x         | private root         | allowed",
    "scope.user                | fine user:uma=user.billing.read   | outsider               | user.billing -            |                      | allowed",
    "scope.empty               | fine                              | no_access lab:write    | repo.write acme/x         | private in:lab       | denied scope",
    "scope.empty               | fine                              | outsider               | endpoint.infer -          |                      | denied scope",
    "scope.lacks               | fine user:uma=repo.write          | admin                  | repo.create model         |                      | denied scope",
    "scope.lacks               | fine org:acme=repo.content.read   | admin                  | repo.write acme/x         | private root         | denied scope",
    "scope.lacks               | fine dataset:acme/x=repo.write    | admin                  | repo.write acme/x         | private root         | denied scope",
    "scope.lacks               | fine collection:acme/x=repo.write | admin                  | repo.write acme/x         | private root         | denied scope",
    "scope.lacks               | fine user:bob=user.billing.read   | admin                  | user.billing -            |                      | denied scope",
    "scope.repo_creates_not    | fine model:acme/y=repo.write      | admin                  | repo.create model         |                      | denied scope",
    "scope.members             | fine                              | admin                  | org.members -             |                      | unknown",
    "scope.unheard             | fine org:acme=repo.teleport       | admin                  | repo.create model         |                      | unknown",
    "scope.unheard             | fine moonbase:m=repo.write        | admin                  | repo.write acme/x         | private root         | unknown",
    "scope.unheard             | fine global=all.write             | admin                  | job.write -               |                      | unknown",
    "scope.unheard             | fine org:acme=repo.teleport       | no_access              | repo.create model         |                      | denied scope",
    "scope.hearsay             | fine org:acme=org.auditLog.write  | admin plan=plus        | org.audit_log -           |                      | unknown",
    "scope.hearsay             | fine org:acme=repo.write          | admin                  | repo.read acme/x          | private root ungated | unknown",
    "scope.group               | fine resource-group:lab=repo.write | admin lab:write       | repo.create model@lab     | in:lab               | unknown",
    "scope.lacks               | fine resource-group:lab=repo.write | admin lab:write       | repo.create model         |                      | denied scope",
    "scope.lacks               | fine resource-group:lab=repo.write | admin                 | repo.write acme/x         | in:vault             | denied scope",
    "scope.unnamed             | fine model:=repo.write            | admin                  | repo.write acme/x         | private root         | unknown",
    "scope.both                | fine org:acme=repo.write model:acme/x=repo.content.read | admin | repo.write acme/x    | private root         | unknown",

    // The role in the organization
    "role.read                 | fine org:acme=repo.content.read   | read                   | repo.read acme/x          | private root ungated | allowed",
    "role.create               | write                             | contributor            | repo.create space         |                      | allowed",
    "role.write                | write                             | write                  | repo.write acme/x         | public root          | allowed",
    "role.contributor          | write                             | contributor            | repo.write acme/x         | public root          | unknown",
    "role.lacks                | write                             | read                   | repo.create model         |                      | denied scope",
    "role.lacks                | write                             | no_access lab:write    | repo.create model         |                      | denied scope",
    "role.blind                | write                             | no_access              | repo.read acme/x          | private root ungated | denied hidden",
    "role.blind                | write                             | no_access              | repo.write acme/x         | private root         | denied hidden",
    "role.blind                | write                             | no_access              | repo.read acme/x          | private              | denied hidden",
    "role.outsider             | write                             | outsider               | repo.create model         |                      | denied scope",
    "role.outsider_blind       | read                              | outsider               | repo.read acme/x          | private              | denied hidden",
    "role.owner                | fine user:uma=repo.content.read   | outsider               | repo.read uma/x           | private root ungated | allowed",
    "role.service_account      | fine org:acme=repo.write          | none                   | repo.create model         | account              | allowed",
    "role.admin                | fine org:acme=org.serviceAccounts.read | admin plan=plus   | org.service_accounts -    |                      | allowed",
    "role.admin_groups         | write                             | admin                  | repo.write acme/x         | private in:lab       | allowed",
    "role.members              | fine org:acme=org.read            | read                   | org.members -             |                      | allowed",
    "role.groups               | fine org:acme=org.write           | write plan=team        | org.resource_groups -     |                      | allowed",
    "role.no_access            | write                             | no_access              | org.audit_log -           |                      | denied scope",
    "role.not_said             | write                             | write                  | endpoint.write -          |                      | unknown",
    "role.not_said             | write                             | no_access lab:write    | job.write -               |                      | unknown",
    "role.unheard              | write                             | emperor                | repo.create model         |                      | unknown",
    "role.unheard              | write                             | emperor                | org.billing -             |                      | unknown",
    "role.unread               | fine org:acme=repo.write          | outsider               | repo.write acme/x         | private root         | unknown",
    "role.by_group             | write                             | no_access lab:write    | repo.write acme/x         | private in:lab       | allowed",

    // The role in the group
    "group.none                | write                             | write                  | repo.create dataset       |                      | allowed",
    "group.read                | read                              | no_access lab:read     | repo.read acme/x          | private in:lab ungated | allowed",
    "group.create              | write                             | read lab:contributor   | repo.create model@lab     |                      | allowed",
    "group.write               | fine org:acme=repo.write          | no_access lab:write    | repo.write acme/x         | private in:lab       | allowed",
    "group.lacks               | write                             | read lab:read          | repo.create model@lab     | in:lab               | denied scope",
    "group.lacks               | write                             | no_access vault:write  | repo.create model@lab     | in:lab               | denied scope",
    "group.blind               | write                             | write vault:write      | repo.read acme/x          | private in:lab ungated | denied hidden",
    "group.blind               | write                             | read                   | repo.write acme/x         | private in:lab       | denied hidden",
    "group.contributor         | write                             | write lab:contributor  | repo.write acme/x         | private in:lab       | unknown",
    "group.or_role             | write                             | write lab:read         | repo.write acme/x         | private in:lab       | unknown",
    "group.or_role             | write                             | write                  | repo.create model@lab     | in:lab               | unknown",
    "group.unheard             | write                             | read lab:emperor       | repo.write acme/x         | private in:lab       | unknown",
    "group.unread              | write                             | write                  | repo.write acme/x         | private              | unknown",
    "group.unread              | fine model:acme/x=repo.write      | read                   | repo.write acme/x         | private in:lab       | unknown",
    "group.unread              | write                             | admin                  | repo.create model@lab     |                      | unknown",

    // The repository
    "visibility.public         | read                              | outsider               | repo.read acme/x          | public ungated       | allowed",
    "visibility.private        | write                             | write                  | repo.read acme/x          | private root ungated | allowed",
    "visibility.either         | write                             | write                  | repo.read acme/x          | root ungated         | allowed",
    "visibility.unread         | fine                              | read                   | repo.read acme/x          | root ungated         | unknown",
    "visibility.unread         | write                             | admin !sso             | repo.read acme/x          | root ungated         | unknown",
    "gate.open                 | fine                              | read                   | repo.read acme/x          | public ungated       | allowed",
    "gate.admin                | write                             | admin                  | repo.read acme/x          | public gated         | allowed",
    "gate.owner                | write                             | outsider               | repo.read uma/x           | public gated         | allowed",
    "gate.switch               | fine closed                       | read                   | repo.read acme/x          | public gated         | denied scope",
    "gate.switch               | fine closed                       | read                   | repo.read acme/x          | gated                | denied scope",
    "gate.switch_unread        | fine                              | admin                  | repo.read acme/x          | public gated         | unknown",
    "gate.switch_scoped        | fine closed org:acme=repo.content.read | admin             | repo.read acme/x          | public gated         | unknown",
    "gate.consent              | fine open                         | read                   | repo.read acme/x          | public gated         | unknown",
    "gate.unread               | fine                              | read                   | repo.read acme/x          | public               | unknown",

    // The plan
    "plan.offers               | write                             | admin plan=team        | org.audit_log -           |                      | allowed",
    "plan.not_said             | write                             | admin plan=team        | org.network_security -    |                      | unknown",
    "plan.unread               | write                             | admin                  | org.resource_groups -     |                      | unknown",
    "plan.feature              | fine org:acme=job.write           | none                   | job.write -               | account              | unknown",
    "plan.unread               | fine                              | admin                  | org.resource_groups -     |                      | denied scope",
];

fn group_id(name: &str) -> String {
    name.bytes().map(|b| format!("{b:02x}")).collect::<String>().repeat(12).chars().take(24).collect()
}

fn token(text: &str) -> Declared {
    let mut words = text.split_whitespace();
    let kind = words.next().unwrap_or_default();
    let mut declared = Declared {
        user: "uma".into(),
        principal: if kind == "app" { "app" } else { "user" }.into(),
        auth: Some(if kind == "oauth" { "oauth" } else { "access_token" }.into()),
        role: (kind != "oauth").then(|| if kind == "fine" { "fineGrained" } else { kind }.into()),
        ..Declared::default()
    };
    for word in words {
        match word.split_once('=') {
            None => declared.reads_gated = Some(word == "open"),
            Some(("global", all)) => declared.global.push(all.into()),
            Some((entity, permissions)) => {
                let (kind, name) = entity.split_once(':').expect("an entity");
                declared.scopes.push(Scope {
                    kind: kind.into(),
                    name: (!name.is_empty()).then(|| name.into()),
                    id: (kind == "resource-group").then(|| group_id(name)),
                    permissions: permissions.split(',').map(str::to_owned).collect(),
                });
            }
        }
    }
    declared
}

fn member(text: &str) -> Option<Membership> {
    let mut words = text.split_whitespace();
    let role = words.next().filter(|role| !["outsider", "none"].contains(role));
    let mut member = Membership {
        name: "acme".into(),
        id: Some("acme-id".into()),
        role: role.map(str::to_owned),
        plan: None,
        restrictions: Vec::new(),
        groups: Vec::new(),
    };
    for word in words {
        if let Some(restriction) = word.strip_prefix('!') {
            member.restrictions.push(restriction.into());
        } else if let Some(plan) = word.strip_prefix("plan=") {
            member.plan = Some(plan.into());
        } else if let Some((name, role)) = word.split_once(':') {
            member.groups.push(GroupRole { id: group_id(name), name: name.into(), role: Some(role.into()) });
        }
    }
    (!text.starts_with("outsider")).then_some(member)
}

fn target(text: &str) -> Target {
    match (text.split_once('@'), text) {
        (_, "-") => Target::Whole,
        (None, repo) if repo.contains('/') => {
            Target::Repo { kind: crate::access::RepoType::Model, repo: repo.parse().expect("a repository") }
        }
        (None, kind) => Target::Create { kind: kind.parse().expect("a kind"), group: None },
        (Some((kind, group)), _) => {
            Target::Create { kind: kind.parse().expect("a kind"), group: Some(group.into()) }
        }
    }
}

fn known(text: &str) -> Known {
    let mut known = Known::default();
    for word in text.split_whitespace() {
        match word {
            "private" => known.private = Some(true),
            "public" => known.private = Some(false),
            "gated" => known.gated = Some(true),
            "ungated" => known.gated = Some(false),
            "root" => known.place = Place::Root,
            "account" => known.service_account = Some(true),
            "policy=fine" => known.policy = Some(TokenPolicy::FineGrainedOnly),
            "policy=approval" => known.policy = Some(TokenPolicy::RequireApproval),
            word => {
                let name = word.strip_prefix("in:").expect("a group");
                known.place = Place::In(Group { id: Some(group_id(name)), name: Some(name.into()) });
            }
        }
    }
    known
}

/// The prediction of one line without its first and its last column.
fn case(text: &str) -> Prediction {
    let columns: Vec<&str> = text.split('|').map(str::trim).collect();
    let [token_text, user, question, knows] = columns[..] else { panic!("four columns: {text}") };
    let mut declared = token(token_text);
    declared.organizations.extend(member(user));
    let (permission, on) = question.split_once(' ').expect("a permission and a target");
    let (permission, on, knows) = (permission.parse().expect("a permission"), target(on), known(knows));
    let told = predict(&declared, "acme", permission, &on, &knows);
    // Whether anybody reads the sentences makes no other difference.
    let silent = foresee(&declared, "acme", permission, &on, &knows);
    let rules = |of: &Prediction| of.factors.iter().map(|factor| factor.rule.id).collect::<Vec<_>>();
    assert_eq!((silent.outcome, rules(&silent)), (told.outcome, rules(&told)));
    told
}

fn shown(outcome: Outcome) -> String {
    match outcome {
        Outcome::Allowed => "allowed".into(),
        Outcome::Denied(why) => format!("denied {why}"),
        Outcome::Unknown => "unknown".into(),
    }
}

#[test]
fn every_rule_has_its_case_and_every_case_its_outcome() {
    let mut wrong = Vec::new();
    let mut reached = Vec::new();
    for line in CASES {
        let (rule, rest) = line.split_once('|').expect("a rule");
        let (question, expected) = rest.rsplit_once('|').expect("an outcome");
        let prediction = case(question);
        let rules: Vec<&str> = prediction.factors.iter().map(|factor| factor.rule.id).collect();
        if shown(prediction.outcome) != expected.trim() || !rules.contains(&rule.trim()) {
            wrong.push(format!("{line}\n    is {} by {rules:?}", shown(prediction.outcome)));
        }
        reached.push(rule.trim());
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let untried: Vec<&str> = RULES.iter().map(|rule| rule.id).filter(|id| !reached.contains(id)).collect();
    assert!(untried.is_empty(), "rules without a case: {untried:?}");
}

#[test]
fn every_rule_is_told_once_with_its_source() {
    const TAGS: [&str; 7] =
        ["[DOC]", "[SPEC]", "[CLIENT]", "[STAFF]", "[ISSUE]", "[OBS-3P]", "documents and OpenAPI disagree"];
    for (at, rule) in RULES.iter().enumerate() {
        assert!(TAGS.iter().any(|tag| rule.source.starts_with(tag)), "{} has no source", rule.id);
        assert!(RULES.iter().skip(at + 1).all(|other| other.id != rule.id), "{} twice", rule.id);
        assert!(rule.sentence.ends_with('.'), "{} is no sentence", rule.id);
        let group = rule.id.split_once('.').expect("a group and a name").0;
        let kinds = RULES
            .iter()
            .filter(|other| other.id.starts_with(&format!("{group}.")))
            .all(|o| o.kind == rule.kind);
        assert!(kinds, "{group} is about more than one thing");
    }
}

#[test]
fn factors_come_in_the_documented_order() {
    for line in CASES {
        let (_, rest) = line.split_once('|').expect("a rule");
        let (question, _) = rest.rsplit_once('|').expect("an outcome");
        let kinds: Vec<FactorKind> = case(question).factors.iter().map(|factor| factor.rule.kind).collect();
        assert!(kinds.is_sorted(), "{line}: {kinds:?}");
        assert!(kinds.contains(&FactorKind::Token), "{line}: nothing about the token");
    }
}

#[test]
fn the_question_that_the_project_began_with_is_answered_with_a_denial() {
    // Write through the resource group, and a fine-grained token that names none of it.
    let asked = |question: &str| case(&format!("fine | no_access lab:write | {question}"));
    let questions = [
        "repo.create model |",
        "repo.create model@lab |",
        "repo.create model@lab | in:lab",
        "repo.write acme/x | private in:lab",
        "repo.write acme/x |",
        "repo.read acme/x | private in:lab ungated",
    ];
    for question in questions {
        let prediction = asked(question);
        assert_eq!(prediction.outcome, Outcome::Denied(DenyReason::Scope), "{question}");
        assert_eq!(prediction.scope_allows(), Some(false), "{question}");
    }
    // He himself could: it is the token alone that stands in between.
    assert_eq!(asked(questions[2]).role_allows(), Some(true));
    assert_eq!(asked(questions[3]).role_allows(), Some(true));
    // And once the token is widened, it can what he can, and no more.
    let widened =
        |question: &str| case(&format!("fine org:acme=repo.write | no_access lab:write | {question}"));
    assert_eq!(widened("repo.create model@lab | in:lab").outcome, Outcome::Allowed);
    assert_eq!(widened("repo.create model |").outcome, Outcome::Denied(DenyReason::Scope));
}

#[test]
fn an_empty_token_gets_nothing_of_the_organization_but_what_is_public() {
    for permission in Permission::ALL {
        let on = match permission {
            Permission::RepoCreate => "model",
            Permission::RepoRead | Permission::RepoWrite => "acme/x",
            _ => "-",
        };
        let outcome =
            case(&format!("fine | admin plan=plus | {permission} {on} | private root ungated")).outcome;
        // Part of a member list is public.
        let expected = match permission {
            Permission::OrgMembers => Outcome::Unknown,
            _ => Outcome::Denied(DenyReason::Scope),
        };
        assert_eq!(outcome, expected, "{permission}");
    }
}

#[test]
fn latent_is_what_only_the_role_denies() {
    let scope = Access::Denied(DenyReason::Scope);
    let latent_if = |text: &str, observed| latent(&case(text), observed);
    let by_role = "fine org:acme=repo.write | no_access lab:write | repo.create model |";
    assert!(latent_if(by_role, scope));
    assert!(latent_if("write | read | repo.create model |", scope));
    assert!(latent_if(
        "write | write | repo.read acme/x | private in:lab ungated",
        Access::Denied(DenyReason::Hidden)
    ));
    for observed in [
        Access::Allowed,
        Access::Undetermined(UnknownReason::Timeout),
        Access::Denied(DenyReason::Sso),
        Access::Denied(DenyReason::Other),
    ] {
        assert!(!latent_if(by_role, observed), "{observed:?}");
    }
    for text in [
        // The token itself lacks it, something bars it, the role allows it, or the role is not documented.
        "fine | read | repo.create model |",
        "read | read | repo.create model |",
        "fine org:acme=repo.write | read !sso | repo.create model |",
        "fine org:acme=repo.write | read !quantum | repo.create model |",
        "fine org:acme=repo.write | write | repo.create model |",
        "fine org:acme=repo.write | contributor | repo.write acme/x | private root",
        "god | read | repo.create model |",
        "fine org:acme=repo.content.read | no_access | repo.read acme/x | root ungated",
    ] {
        assert!(!latent_if(text, scope), "{text}");
    }
}

#[test]
fn a_mismatch_takes_two_answers() {
    let allowed = case("write | admin | repo.create model |");
    let denied = case("read | admin | repo.create model |");
    let unknown = case("god | admin | repo.create model |");
    let refused = Access::Denied(DenyReason::Other);
    assert_eq!(mismatch(&allowed, Access::Allowed), Some(false));
    assert_eq!(mismatch(&allowed, refused), Some(true));
    assert_eq!(mismatch(&denied, Access::Allowed), Some(true));
    assert_eq!(mismatch(&denied, refused), Some(false));
    assert_eq!(mismatch(&unknown, Access::Allowed), None);
    let unpaid = Access::Denied(DenyReason::Billing);
    assert_eq!((mismatch(&allowed, unpaid), mismatch(&denied, unpaid)), (None, Some(false)));
    assert_eq!(mismatch(&allowed, Access::Undetermined(UnknownReason::RateLimited)), None);
}

#[test]
fn a_denial_says_what_would_open_it() {
    let remedies = |text: &str| -> Vec<Remedy> {
        case(text).factors.into_iter().filter_map(|factor| factor.remedy).collect()
    };
    let scope = |permission, on| Remedy::Scope { permission, on };
    let acme = || Entity::Organization("acme".into());
    let x = || Entity::Repo(crate::access::RepoType::Model, "acme/x".parse().expect("a name"));
    assert_eq!(
        remedies("fine | read | repo.create model |"),
        [scope("repo.write", acme()), Remedy::OrganizationRole(Role::Contributor)]
    );
    assert_eq!(
        remedies("fine | no_access lab:read | repo.write acme/x | in:lab"),
        [scope("repo.write", x()), Remedy::GroupRole(Role::Write)]
    );
    assert_eq!(
        remedies("fine | admin | user.billing - |"),
        [scope("user.billing.read", Entity::User("uma".into()))]
    );
    assert_eq!(remedies("fine closed | read | repo.read acme/x | public gated"), [Remedy::GatedSwitch]);
    assert_eq!(remedies("write | admin !sso | repo.create model |"), []);
    let page = |text: &str| case(text).wanted().map(|wanted| token_page("https://huggingface.co", &wanted));
    let base = "https://huggingface.co/settings/tokens/new?tokenType=fineGrained";
    let create = format!("{base}&orgs=acme&orgPermissions=repo.write");
    assert_eq!(page("fine | read | repo.create model |"), Some(create));
    assert_eq!(page("fine | write | repo.write acme/x | root"), Some(base.to_owned()));
    assert_eq!(page("write | read | repo.create model |"), None);
}

#[test]
fn words_of_the_hub_stand_beside_the_sentence_and_are_made_harmless() {
    let long = format!("\u{1b}[31m\u{202e}evil {}", "x".repeat(300));
    let mut declared = token("fine");
    declared.scopes.push(Scope {
        kind: "org".into(),
        name: Some(long.clone()),
        id: None,
        permissions: vec![long.clone()],
    });
    let mut acme = member("admin").expect("a member");
    acme.role = Some(long.clone());
    acme.restrictions.push(long.clone());
    acme.plan = Some(long.clone());
    acme.groups.push(GroupRole { id: group_id("lab"), name: long.clone(), role: Some(long) });
    declared.organizations.push(acme);
    let mut told = 0;
    for permission in Permission::ALL {
        let on = match permission {
            Permission::RepoCreate => target("model@lab"),
            Permission::RepoRead | Permission::RepoWrite => target("acme/x"),
            _ => Target::Whole,
        };
        let prediction = predict(&declared, "acme", *permission, &on, &known("private in:lab gated"));
        for factor in prediction.factors {
            assert!(!factor.sentence.contains("evil"), "{}", factor.sentence);
            for (_, word) in &factor.data {
                assert!(word.chars().count() <= 97 && !word.chars().any(char::is_control), "{word:?}");
                assert!(!word.contains('\u{202e}'), "{word:?}");
                told += usize::from(word.contains("evil"));
            }
        }
    }
    assert!(told > 20, "{told}");
}

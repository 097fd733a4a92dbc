//! What each question makes of an answer: always the function, or the walk, that the daemon uses.

use std::time::Duration;

use super::file_tests::{Means, Outcome};
use crate::access::{Access, Permission, RepoName, RepoType, Target, TokenName};
use crate::exchange::{Answer, Credential, Exchange, Failure, Request};
use crate::hub::answers::{
    EnvelopeRow, LimitRow, Refusal, RefusalRow, StatusRow, envelope, envelope_row, limit_row, rate_limit,
    refusal_row, status_row,
};
use crate::hub::classify::{self, CreateHeard, CreateRow, DeleteRow, SentinelRow};
use crate::hub::control::{ControlWalk, Plan};
use crate::hub::inventory::{Entry, InventoryWalk, Unread};
use crate::hub::probes::{Ask, Asked, ProbeRow, Row, row_of};
use crate::hub::readings::{
    self, AnonymousRow, DescriptionRow, ListedRow, ListingRow, LookRow, OverviewRow, TellingRow,
};
use crate::hub::visit::{Observer, Sight, Visit};
use crate::hub::whoami::{self, Heard, WhoamiRow};
use crate::moment::Timestamp;

/// The questions that are not permissions.
pub(super) const QUESTIONS: &[&str] = &[
    "repo.create",
    "repo.create-sentinel",
    "repo.delete",
    "whoami",
    "overview",
    "listing",
    "look",
    "absent",
    "anonymous",
    "groups",
    "repo-group",
    "tokens",
    "accounts",
    "account",
    "description",
    "listed",
    "commits",
    "refusal",
    "status",
    "envelope",
    "limits",
];

/// The rows of a question's table; `None` where there is no such question.
pub(super) fn rows(question: &str) -> Option<Vec<&'static str>> {
    macro_rules! all {
        ($rows:ident) => {
            $rows::ALL.iter().map(|row| row.as_str()).collect()
        };
    }
    Some(match question {
        "repo.create" => all!(CreateRow),
        "repo.create-sentinel" => all!(SentinelRow),
        "repo.delete" => all!(DeleteRow),
        "whoami" => all!(WhoamiRow),
        "overview" => all!(OverviewRow),
        "listing" => all!(ListingRow),
        "look" | "absent" => all!(LookRow),
        "anonymous" => all!(AnonymousRow),
        "groups" | "repo-group" | "commits" => all!(TellingRow),
        "description" => all!(DescriptionRow),
        "listed" => all!(ListedRow),
        "tokens" | "accounts" => vec!["read", "status", "failed", "odd", "long"],
        "account" => vec!["read", "status", "failed", "odd"],
        "refusal" => all!(RefusalRow),
        "status" => all!(StatusRow),
        "envelope" => all!(EnvelopeRow),
        "limits" => all!(LimitRow),
        permission => {
            row_of(permission.parse::<Permission>().ok()?)?;
            all!(ProbeRow)
        }
    })
}

/// The row that decides, and what the answer means; `None` where the question cannot be asked of it.
pub(super) fn read(
    question: &str,
    outcome: &Outcome,
    asked: Option<&str>,
    restrictions: &[String],
) -> Option<(&'static str, Means)> {
    let (row, means) = match question {
        "repo.create" => {
            let namespace = asked.unwrap_or("acme");
            let (row, heard) = classify::create_row(outcome, namespace, "canary", restrictions);
            let reading = match heard {
                CreateHeard::Created { .. } => "created",
                CreateHeard::Refused(_) => "nothing-created",
                CreateHeard::Ambiguous(_) => "may-exist",
            };
            (row.as_str(), Means { reading: Some(reading.into()), ..of(heard.access()) })
        }
        "repo.create-sentinel" => {
            let (row, access) = classify::create_on_existing(outcome, &repo("sentinel"), restrictions);
            let reading = access.is_err().then(|| "created".to_owned());
            (row.as_str(), Means { reading, ..of(access.unwrap_or_else(|access| access)) })
        }
        "repo.delete" => {
            let (row, read) = classify::delete(outcome);
            (row.as_str(), reading(read.as_str()))
        }
        "whoami" => {
            let (row, heard) = whoami::read_row(outcome);
            (row.as_str(), of_whoami(heard))
        }
        "refusal" | "status" | "envelope" | "limits" => of_any(question, outcome, restrictions)?,
        "description" | "listed" | "commits" => (of_visit(question, outcome), visited(question, outcome)),
        "tokens" | "accounts" | "account" => of_inventory(question, outcome),
        permission if rows(permission)? == rows("repo.read")? => {
            let (row, access) = probed(row_of(permission.parse().ok()?)?, outcome, asked, restrictions);
            (row, of(access))
        }
        control => (of_control(control, outcome), controlled(control, outcome)),
    };
    let request_id = outcome.as_ref().ok().and_then(|answer| answer.request_id.clone());
    Some((row, Means { request_id, ..means }))
}

fn probed(
    row: &Row,
    outcome: &Outcome,
    asked: Option<&str>,
    restrictions: &[String],
) -> (&'static str, Access) {
    let (mut organization, mut user, mut about) = ("acme", "bob", repo("private"));
    match (row.ask, asked) {
        (_, None) => {}
        (Ask::Repo(_), Some(name)) => about = name.parse().expect("a repository's name"),
        (Ask::Organization(_), Some(name)) => organization = name,
        (Ask::User(_), Some(name)) => user = name,
    }
    let target = match row.ask {
        Ask::Repo(_) => Target::Repo { kind: RepoType::Model, repo: about },
        Ask::Organization(_) | Ask::User(_) => Target::Whole,
    };
    let asked = Asked { organization, target: &target, user: Some(user) };
    let (row, access) = row.read_row(outcome, asked, restrictions);
    (row.as_str(), access)
}

fn repo(name: &str) -> RepoName {
    RepoName { namespace: "acme".into(), name: name.into() }
}

fn reading(word: &str) -> Means {
    Means { reading: Some(word.to_owned()), ..Means::default() }
}

fn of(access: Access) -> Means {
    let reason = access.reason().map(str::to_owned);
    Means { access: Some(access.as_str().into()), reason, ..Means::default() }
}

fn of_whoami(heard: Heard) -> Means {
    match heard {
        Heard::Known(known) => {
            let restrictions = known.restrictions("acme").join(" ");
            Means {
                user: Some(known.user.clone()),
                role: known.role.clone(),
                restrictions: Some(restrictions).filter(|all| !all.is_empty()),
                ..reading("known")
            }
        }
        Heard::Dead => reading("dead"),
        Heard::Unclear(why) => Means { reason: Some(why.as_str().into()), ..reading("unclear") },
    }
}

/// What is read of any answer, whatever was asked.
fn of_any(question: &str, outcome: &Outcome, restrictions: &[String]) -> Option<(&'static str, Means)> {
    let answer = outcome.as_ref().ok()?;
    Some(match question {
        "refusal" => {
            let text = envelope(answer).filter(|_| answer.status == 403)?;
            let (row, refusal) = refusal_row(&text, restrictions);
            let access = match refusal {
                Refusal::Denied(why) => Access::Denied(why),
                Refusal::Disabled => Access::Undetermined(crate::access::UnknownReason::TargetMissing),
            };
            (row.as_str(), of(access))
        }
        "status" => {
            let (row, why) = status_row(answer);
            (row.as_str(), Means { reason: Some(why.as_str().into()), ..Means::default() })
        }
        "envelope" => {
            let (row, text) = envelope_row(answer);
            (row.as_str(), Means { text, ..Means::default() })
        }
        _ => {
            let limit = rate_limit(answer);
            let means = Means {
                remaining: limit.remaining.map(u64::from),
                reset: limit.reset.map(|time| time.as_secs()),
                quota: limit.quota.map(u64::from),
                retry_after: limit.retry_after.map(|time| time.as_secs()),
                ..Means::default()
            };
            (limit_row(answer).as_str(), means)
        }
    })
}

fn of_control(question: &str, outcome: &Outcome) -> &'static str {
    match question {
        "overview" => readings::overview(outcome, "acme").0.as_str(),
        "listing" => readings::listing(outcome, "acme", |_| false).0.as_str(),
        "look" => readings::look(outcome, &repo("private")).as_str(),
        "absent" => readings::look(outcome, &repo("no-such")).as_str(),
        "anonymous" => readings::anonymous(outcome).as_str(),
        "groups" => readings::groups(outcome).0.as_str(),
        "repo-group" => readings::group_of(outcome).0.as_str(),
        other => panic!("nobody asks {other}"),
    }
}

fn of_visit(question: &str, outcome: &Outcome) -> &'static str {
    match question {
        "description" => readings::description(outcome).0.as_str(),
        "listed" => readings::listed(outcome, &repo("canary")).as_str(),
        _ => readings::commits(outcome).0.as_str(),
    }
}

fn said(status: u16, body: &str) -> Outcome {
    Ok(Answer { status, content_type: "application/json".into(), body: body.into(), ..Answer::default() })
}

fn not_found() -> Outcome {
    said(404, r#"{"error":"Repository not found"}"#)
}

fn exchange(request: Request, outcome: Outcome) -> Exchange {
    Exchange { request, sent_at: Timestamp(0), elapsed: Duration::ZERO, outcome }
}

/// A round's controls with a janitor, where the Hub is sound but for the answer to this question.
fn controlled(question: &str, outcome: &Outcome) -> Means {
    let mut walk = ControlWalk::new(Plan {
        organization: "acme".into(),
        observer: Credential::Token(TokenName::new("janitor")),
        janitor: true,
        sentinel: None,
        absent: repo("no-such"),
        with_groups: true,
    });
    while let Some(request) = walk.next() {
        let (asked, sound) = match request.path.as_str() {
            path if path.ends_with("/overview") => ("overview", said(200, r#"{"name":"acme"}"#)),
            path if path.ends_with("/resource-groups") => ("groups", said(200, "[]")),
            path if path.ends_with("/resource-group") => ("repo-group", said(200, "{}")),
            path if path.contains("/models?") => {
                ("listing", said(200, r#"[{"id":"acme/private","private":true}]"#))
            }
            path if path.contains('?') => ("listing", said(200, "[]")),
            path if path.ends_with("/no-such") => ("absent", not_found()),
            _ if request.credential == Credential::Anonymous => ("anonymous", said(401, "{}")),
            _ => ("look", said(200, r#"{"id":"acme/private","private":true}"#)),
        };
        walk.hear(&exchange(request, if asked == question { outcome.clone() } else { sound }));
    }
    let control = walk.finish();
    let text = match question {
        "groups" => control.groups.map(|all| all.into_iter().map(|(name, _)| name).collect()),
        "repo-group" => control.seen.into_iter().find_map(|seen| seen.group),
        _ => None,
    };
    match control.result {
        Ok(()) => Means { text, ..reading("sound") },
        Err(why) => Means { reason: Some(why.as_str().into()), ..reading("void") },
    }
}

/// The inventory, where the Hub is sound but for the answer to this question.
fn of_inventory(question: &str, outcome: &Outcome) -> (&'static str, Means) {
    let mut walk = InventoryWalk::new("acme", Credential::Token(TokenName::new("reader")));
    while let Some(request) = walk.next() {
        let account = r#"[{"_id":"6650f0c2a1b2c3d4e5f60718","user":"svc-ci"}]"#;
        let (asked, sound) = match request.path.as_str() {
            path if path.ends_with("/settings/tokens") => ("tokens", said(200, "[]")),
            path if path.ends_with("/service-accounts") => ("accounts", said(200, account)),
            _ => ("account", said(200, r#"{"user":"svc-ci"}"#)),
        };
        walk.hear(&exchange(request, if asked == question { outcome.clone() } else { sound }));
    }
    let listed = walk.finish();
    let names = |entries: Vec<Entry>| -> Vec<String> {
        let name = |entry: Entry| Some(format!("{} by {}", entry.label?, entry.owner?));
        entries.into_iter().filter_map(name).collect()
    };
    let read = match question {
        "tokens" => listed.tokens.map(names),
        "accounts" => listed.accounts.map(|accounts| accounts.users),
        _ => listed.accounts.map(|accounts| names(accounts.tokens)),
    };
    let row = match &read {
        Ok(_) => "read",
        Err(Unread::NotAsked) => "not-asked",
        Err(Unread::Status(_)) => "status",
        Err(Unread::Failed(_)) => "failed",
        Err(Unread::Odd) => "odd",
        Err(Unread::Long) => "long",
    };
    (row, Means { text: read.ok().map(|names| names.join(", ")), ..Means::default() })
}

/// A visit by one who can see, where the Hub is sound but for the answer to this question.
fn visited(question: &str, outcome: &Outcome) -> Means {
    let observer =
        Observer { credential: Credential::Token(TokenName::new("janitor")), capable: true, witness: None };
    let (expected, with_listing) = (question == "commits", question == "listed");
    let mut visit = Visit::new(repo("canary"), RepoType::Model, vec![observer], expected, with_listing, None);
    while let Some(request) = visit.next() {
        let (asked, sound) = match request.path.as_str() {
            path if path.contains('?') => ("listed", said(200, "[]")),
            path if path.contains("/commits/") => ("commits", Err(Failure::Timeout)),
            _ if request.credential == Credential::Anonymous => ("anonymous", said(401, "{}")),
            _ if with_listing => ("description", not_found()),
            _ => ("description", said(200, r#"{"id":"acme/canary","private":true}"#)),
        };
        visit.hear(&exchange(request, if asked == question { outcome.clone() } else { sound }));
    }
    match visit.sight() {
        Sight::Present(identity, _) => {
            let told = identity.commits.map(|(count, author)| match author {
                Some(author) => format!("{count} by {author}"),
                None => count.to_string(),
            });
            Means { text: told, ..reading("present") }
        }
        Sight::Absent { listed_absent: true } => reading("absent"),
        Sight::Absent { listed_absent: false } => reading("not-seen"),
        Sight::Moved => reading("moved"),
        Sight::Blind(why) => Means { reason: Some(why.as_str().into()), ..reading("blind") },
    }
}

//! `explain`: one check asked now, or as a running daemon recorded it, and why it came out as it did.

use std::future::Future;
use std::sync::Arc;

use clap::Args;
use serde_json::Value;

use crate::access::{
    Access, Check, Expected, Permission, Question, RepoName, RepoType, Target, TokenName, Verdict,
};
use crate::app::{self, Fault, Once, Recorded};
use crate::config::Config;
use crate::explain::{Asked, Facts, Observed, explain};
use crate::hub::predict::Known;
use crate::hub::shown::steers;
use crate::logging::Scrub;
use crate::moment::Timestamp;
use crate::round::Grounds;

use super::{ConfigArg, Exit, asked_to_stop, audit, complain_mildly, say};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The token's name in the config.
    token: String,
    /// What it may or may not do: repo.create, repo.write, job.write, …
    #[arg(value_parser = permission)]
    permission: Permission,
    /// To what, as reports show it: model, dataset@group, acme/x, dataset:acme/x. Not needed where the token has
    /// one check of this permission.
    target: Option<String>,
}

fn permission(text: &str) -> Result<Permission, String> {
    text.parse().map_err(|()| {
        let all: Vec<&str> = Permission::ALL.iter().map(|permission| permission.as_str()).collect();
        format!("there is no such permission; there are {}", all.join(", "))
    })
}

pub(super) async fn run(args: ExplainArgs, scrub: Scrub) -> Result<Exit, Fault> {
    let loaded = app::load_config(&args.config.config)?;
    for warning in &loaded.warnings {
        complain_mildly(warning);
    }
    let config = loaded.config;
    let token = audit::named(&config, std::slice::from_ref(&args.token))?.remove(0);
    let (check, expected) = check_of(&config, &token, args.permission, args.target.as_deref())?;
    let (text, exit) = ask(&config, &check, expected, scrub, asked_to_stop()?).await?;
    say(&text)?;
    Ok(exit)
}

/// Asks, or reads what was recorded, and tells.
pub(super) async fn ask(
    config: &Arc<Config>,
    check: &Check,
    expected: bool,
    scrub: Scrub,
    stop: impl Future<Output = ()>,
) -> Result<(String, Exit), Fault> {
    let answer = answer(config, check, expected, scrub, stop).await?;
    let facts = Facts {
        check,
        expected,
        endpoint: config.hub.endpoint.as_str(),
        declared: answer.grounds.declared.as_ref().map(|(declared, at)| (declared, *at)),
        known: &answer.grounds.known,
        observed: answer.observed.as_ref(),
        untried: &answer.untried,
    };
    Ok((explain(&facts), exit(facts.verdict(), answer.observed.as_ref())))
}

fn exit(verdict: Option<Verdict>, observed: Option<&Observed>) -> Exit {
    match (verdict, observed) {
        (Some(Verdict::Ok), _) => Exit::Ok,
        (Some(Verdict::UnexpectedGrant | Verdict::UnexpectedDenial), _) => Exit::Drift,
        (Some(Verdict::Unknown), _) | (None, None) => Exit::Unknown,
        (None, Some(observed)) if observed.access.conclusive().is_none() => Exit::Unknown,
        (None, Some(_)) => Exit::Ok,
    }
}

/// The check that is meant, and whether the config has it.
pub(super) fn check_of(
    config: &Config,
    token: &TokenName,
    permission: Permission,
    target: Option<&str>,
) -> Result<(Check, bool), Fault> {
    let Some(configured) = config.token(token) else {
        return Err(Fault::Usage(format!("there is no token '{token}' in the config")));
    };
    let of_permission: Vec<&Check> =
        configured.checks.iter().filter(|check| check.permission == permission).collect();
    let found = match (target, of_permission.as_slice()) {
        (Some(wanted), all) => all.iter().find(|check| check.target.to_string() == wanted).copied(),
        (None, [only]) => Some(*only),
        (None, []) => None,
        // What the config means where it says no type.
        (None, many) if many.iter().any(|check| check.target.to_string() == "model") => {
            many.iter().find(|check| check.target.to_string() == "model").copied()
        }
        (None, many) => {
            let targets: Vec<String> = many.iter().map(|check| check.target.to_string()).collect();
            return Err(Fault::Usage(format!(
                "'{token}' has {} checks of {permission}; name the target: {}",
                many.len(),
                targets.join(", ")
            )));
        }
    };
    if let Some(check) = found {
        return Ok((check.clone(), true));
    }
    let target = parsed(permission, target.unwrap_or_default()).ok_or_else(|| {
        let form = form(permission);
        Fault::Usage(match target {
            Some(wrong) => format!("'{wrong}' is no target of {permission}, which takes {form}"),
            None => format!("{permission} needs a target: {form}"),
        })
    })?;
    let check = Check::new(
        token.clone(),
        Question::new(configured.organization.clone(), permission, target, Expected::Denied),
    );
    Ok((check, false))
}

fn form(permission: Permission) -> &'static str {
    match permission {
        Permission::RepoCreate => "model, dataset or space, and @GROUP for a resource group",
        Permission::RepoRead | Permission::RepoWrite => "ORGANIZATION/NAME, or dataset:ORGANIZATION/NAME",
        _ => "no target, or -",
    }
}

/// A target as reports show it.
fn parsed(permission: Permission, text: &str) -> Option<Target> {
    match permission {
        Permission::RepoCreate => {
            let (kind, group) = match text.split_once('@') {
                Some((kind, group)) => (kind, Some(group.to_owned())),
                None => (text, None),
            };
            let kind = if kind.is_empty() { Some(RepoType::Model) } else { kind.parse().ok() };
            kind.map(|kind| Target::Create { kind, group })
        }
        Permission::RepoRead | Permission::RepoWrite => {
            let (kind, repo) = match text.split_once(':') {
                Some((kind, repo)) => (kind.parse().ok()?, repo),
                None => (RepoType::Model, text),
            };
            repo.parse::<RepoName>().ok().map(|repo| Target::Repo { kind, repo })
        }
        _ => (text.is_empty() || text == "-").then_some(Target::Whole),
    }
}

/// What is known of the check by now.
struct Answer {
    grounds: Grounds,
    observed: Option<Observed>,
    untried: String,
}

async fn answer(
    config: &Arc<Config>,
    check: &Check,
    expected: bool,
    scrub: Scrub,
    stop: impl Future<Output = ()>,
) -> Result<Answer, Fault> {
    if app::is_served(config).await? {
        return recorded(config, check, expected).await;
    }
    let untried = !expected && check.creates();
    let mut asked = Config::clone(config);
    for token in &mut asked.tokens {
        token.checks.clear();
        if token.name == check.token {
            token.checks.push(check.clone());
        }
    }
    let once = Once {
        probe: true,
        only: vec![check.token.clone()],
        // A creation that no check asks for is not tried; all else about it can be read.
        read_only: untried,
        sweep: false,
        observe: true,
        explain: Some(check.key()),
    };
    let done = app::run_once(Arc::new(asked), once, scrub, None, stop).await?;
    let result = done.report.as_ref().and_then(|report| report.results.first());
    let result =
        result.ok_or_else(|| Fault::Interrupted("the check was stopped before its end".to_owned()))?;
    let none = || Grounds { declared: None, known: Known::default() };
    let grounds = done.grounds.map_or_else(none, |grounds| *grounds);
    if untried {
        let why = "trying it may create a repository, which only a check of the config asks for".to_owned();
        return Ok(Answer { grounds, observed: None, untried: why });
    }
    Ok(Answer { grounds, observed: Some(Observed::of(result, false)), untried: String::new() })
}

/// What a running daemon wrote down; it holds the store, so that nothing may be asked beside it.
async fn recorded(config: &Config, check: &Check, expected: bool) -> Result<Answer, Fault> {
    let recorded = app::recorded(config, check).await?;
    let grounds = grounds_of(&recorded);
    let untried = if expected {
        "the daemon that is running has not tried it yet".to_owned()
    } else {
        "a daemon is running, and its config does not ask this".to_owned()
    };
    let observed = recorded.answer.map(|(access, at, body)| remembered(access, at, &body));
    Ok(Answer { grounds, observed, untried })
}

/// An answer as the journal has it. What does not read like one is not shown, and nothing that steers a terminal:
/// the file may have been written by somebody else.
pub(super) fn remembered(access: Access, at: Timestamp, body: &str) -> Observed {
    let body: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let tame = |text: &str| text.chars().filter(|c| !steers(*c)).collect::<String>();
    let text = |of: &Value, field: &str| of.get(field).and_then(Value::as_str).map(tame);
    let asked = body.get("evidence").and_then(Value::as_array).map_or(&[][..], Vec::as_slice).iter();
    let asked = asked.map(|e| Asked {
        method: text(e, "method").unwrap_or_default(),
        path: text(e, "path").unwrap_or_default(),
        status: e.get("status").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok()),
        request_id: text(e, "request_id"),
        failure: text(e, "failure"),
    });
    Observed {
        access,
        at,
        sentence: text(&body, "explanation").unwrap_or_default(),
        asked: asked.collect(),
        recorded: true,
    }
}

pub(super) fn grounds_of(recorded: &Recorded) -> Grounds {
    let declared = recorded.declared.as_ref();
    let declared = declared.and_then(|(body, at)| Some((serde_json::from_str(body).ok()?, *at)));
    let body = recorded.answer.as_ref().map(|(_, _, body)| body.as_str()).unwrap_or_default();
    let body: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let known = body.get("known").cloned().and_then(|known| serde_json::from_value(known).ok());
    Grounds { declared, known: known.unwrap_or_default() }
}

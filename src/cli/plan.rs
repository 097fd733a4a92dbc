//! `plan`: what a round would ask, before anything is asked. No network, no secret.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::access::CheckKey;
use crate::app::{self, Fault};
use crate::config::Config;
use crate::exchange::Credential;
use crate::moment::Timestamp;
use crate::plan::calls::{Step, Times};
use crate::plan::choice::Lot;
use crate::plan::quota::{Budget, HUB_CREATIONS_A_DAY, Known, LATENCY, Source, User, WINDOW, budget, called};
use crate::plan::scopes::{Own, own_tokens};

use super::{ConfigArg, Exit, audit, complain_mildly, plan_table, say};

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Only this token; may be given more than once.
    #[arg(long, value_name = "NAME")]
    token: Vec<String>,
    /// How the plan looks.
    #[arg(long, value_enum, default_value_t = Shape::Table)]
    format: Shape,
    /// As with --read-only: no unsafe method.
    #[arg(long)]
    read_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// For people.
    Table,
    /// For scripts.
    Json,
}

/// Everything that is shown.
pub(super) struct Plan {
    pub config: std::sync::Arc<Config>,
    pub read_only: bool,
    pub budget: Budget,
    pub own: Vec<Own>,
    /// What it stands on.
    pub assumes: Vec<String>,
}

pub(super) async fn run(args: PlanArgs) -> Result<Exit, Fault> {
    let loaded = app::load_config(&args.config.config)?;
    for warning in &loaded.warnings {
        complain_mildly(warning);
    }
    let only = audit::named(&loaded.config, &args.token)?;
    let (known, doubt) = app::remembered(&loaded.config).await;
    let plan = made(loaded.config, &only, args.read_only, (known, doubt), app::wall_now());
    match args.format {
        Shape::Table => say(&plan_table::render(&plan)),
        Shape::Json => {
            let json = serde_json::to_string_pretty(&as_json(&plan))
                .map_err(|error| Fault::Internal(format!("the plan cannot be written ({error})")))?;
            say(&format!("{json}\n"))
        }
    }
}

/// Makes the plan. `doubt` is why nothing is remembered, if nothing is.
pub(super) fn made(
    config: std::sync::Arc<Config>,
    only: &[crate::access::TokenName],
    read_only: bool,
    (known, doubt): (Known, Option<String>),
    now: Timestamp,
) -> Plan {
    let budget = budget(&config, only, read_only, &known, now);
    let own = own_tokens(&config, &budget.round, &known);
    let assumes = assumes(&budget, &known, doubt);
    Plan { config, read_only, budget, own, assumes }
}

fn assumes(budget: &Budget, known: &Known, doubt: Option<String>) -> Vec<String> {
    let mut said = vec![
        "as a rule: every expectation holds and nothing fails; whoever observes finds a private model on the first page of the organization's list; who may create may delete what it made".to_owned(),
        "`xxxxx` in a path is a name that is only known then".to_owned(),
        "at most: in one run of `audit`, whatever the Hub answers; a daemon's cleaning up after faults is never held back and has no bound".to_owned(),
        format!(
            "an answer takes {} ms; a window of the Hub is {} minutes; its quotas are those of its documentation of September 2025",
            LATENCY.as_millis(),
            WINDOW.as_secs() / 60
        ),
    ];
    if budget.users.iter().any(|user| user.name.is_some() && user.plan.is_none()) {
        said.push(
            "where a user's plan is not known, the quota of a free account is taken, which is the smallest"
                .to_owned(),
        );
    }
    if budget.users.iter().any(|user| user.name.is_some() && user.source.is_none()) {
        said.push("a token whose user is not known is counted as a user of its own; a round of `serve` or `audit` finds out, or the pin `declared.user` says it".to_owned());
    }
    if known.unfinished > 0 {
        said.push(format!(
            "{} unfinished in the journal; a run looks after them first, beside this plan (see `scopewatch canaries list`)",
            if known.unfinished == 1 { "1 canary is".to_owned() } else { format!("{} canaries are", known.unfinished) }
        ));
    }
    if budget.round.creations().usual > 0 {
        said.push("after the round, once hub.in_flight_horizon has passed: a look or two at each canary's name, and after an hour, a day and a week one more where it was created".to_owned());
    }
    said.extend(doubt);
    said
}

fn times(times: Times) -> Value {
    json!({ "usual": times.usual, "at_most": times.at_most })
}

pub(super) fn signer(step: &Step) -> Option<&str> {
    match &step.who {
        Credential::Anonymous => None,
        Credential::Token(token) => Some(token.as_str()),
    }
}

pub(super) fn as_json(plan: &Plan) -> Value {
    let budget = &plan.budget;
    let mutating = budget.round.steps.iter().filter(|step| step.mutating);
    let mutating = mutating.fold(Times::default(), |sum, step| sum.and(step.times));
    let check = |check: &crate::access::Check| {
        json!({
            "organization": check.organization, "token": check.token, "permission": check.permission,
            "target": check.target.to_string(), "expected": check.expected,
        })
    };
    json!({
        "schema": 1,
        "endpoint": plan.config.hub.endpoint,
        "read_only": plan.read_only,
        "calls": times(budget.round.times()),
        "mutating_calls": times(mutating),
        "creation_calls": times(budget.round.creations()),
        "duration": {
            "usual_seconds": budget.takes.as_secs_f64(),
            "assumed_latency_ms": LATENCY.as_millis(),
            "spread_seconds": budget.spread.as_secs_f64(),
        },
        "steps": budget.round.steps.iter().map(step).collect::<Vec<_>>(),
        "mutating_checks": budget.round.mutating.iter().map(check).collect::<Vec<_>>(),
        "barred_checks": budget.round.barred.iter().map(check).collect::<Vec<_>>(),
        "users": budget.users.iter().map(|one| user(one, &plan.config)).collect::<Vec<_>>(),
        "held_back": budget.held_back,
        "own_tokens": plan.own.iter().map(own).collect::<Vec<_>>(),
        "assumes": plan.assumes,
    })
}

fn step(step: &Step) -> Value {
    json!({
        "part": step.part.as_str(),
        "token": signer(step),
        "bucket": step.bucket().as_str(),
        "method": step.verb,
        "route": step.route,
        "path": step.path,
        "mutating": step.mutating,
        "calls": times(step.times),
        "organization": step.organization,
        "check": step.check.as_ref().map(|key| json!({
            "token": key.token, "permission": key.permission, "target": key.target,
        })),
        "why": step.why,
    })
}

fn user(user: &User, config: &Config) -> Value {
    let share = |calls: u32| f64::from(calls) / f64::from(user.quota.max(1));
    json!({
        "user": user.name.as_deref().filter(|name| !name.starts_with("token:")),
        "called": called(user),
        "tokens": user.tokens,
        "known_from": user.source.map(|source| match source {
            Source::Whoami(at) => json!({ "whoami": at }),
            Source::Pin => json!("pin"),
        }),
        "quota": {
            "per_window": user.quota,
            "window_seconds": WINDOW.as_secs(),
            "plan": user.plan,
            "share": config.hub.quota_share,
            "allowed": user.allowed,
        },
        "round": {
            "calls": times(user.round),
            "whoami": times(user.whoami),
            "creations": times(user.creations),
            "share_of_quota": share(user.round.usual),
        },
        "busiest_window": { "calls": times(user.window), "share_of_quota": share(user.window.usual) },
        "creations_per_day": {
            "planned": user.creations_a_day,
            "max_creations_per_day": (user.creations.at_most > 0).then_some(user.creations_allowed),
            "hub_cap": HUB_CREATIONS_A_DAY,
            "used_in_24h": user.creations_used,
            "now": lots(user),
        },
    })
}

/// What a round that began now would do with each creation of this user, in the order of choice.
fn lots(user: &User) -> Value {
    let lot = |(key, lot): &(CheckKey, Lot)| {
        json!({
            "token": key.token, "target": key.target,
            "lot": match lot { Lot::Canary => "called", Lot::Sentinel(_) => "sentinel", Lot::Nothing => "left" },
            "sentinel": match lot { Lot::Sentinel(sentinel) => Some(sentinel.to_string()), _ => None },
        })
    };
    user.lots.iter().map(lot).collect()
}

fn own(own: &Own) -> Value {
    let needs = own.needs.iter().map(|need| {
        json!({
            "entity": format!("org:{}", own.organization), "permission": need.permission,
            "why": need.why, "confirmed": need.confirmed,
        })
    });
    json!({
        "token": own.token,
        "organization": own.organization,
        "purpose": own.purpose,
        "needs": needs.collect::<Vec<_>>(),
        "role": own.role,
        "token_page": own.link,
        "known_at": own.known,
        "has_more": own.more,
        "lacks": own.lacks,
    })
}

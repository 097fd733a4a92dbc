//! The plan for people: the sum first, then every call in order, then who pays for it, then what our own tokens
//! need.

use std::fmt::{Result, Write};

use anstyle::{AnsiColor, Style};

use crate::plan::calls::{Part, Step, Times};
use crate::plan::quota::{HUB_CREATIONS_A_DAY, LATENCY, Source, User, called};
use crate::plan::scopes::Own;

use super::plan::{Plan, signer};

const HEAD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Characters of a path that are shown.
const PATH: usize = 64;

fn painted(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// The whole text, with colours that the stream drops where they do not belong.
pub(super) fn render(plan: &Plan) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = sum(&mut text, plan);
    let _ = steps(&mut text, plan);
    let _ = users(&mut text, plan);
    let _ = changes(&mut text, plan);
    let _ = list(&mut text, "Held back", &plan.budget.held_back, YELLOW);
    let _ = own_tokens(&mut text, &plan.own);
    let _ = list(&mut text, "What this stands on", &plan.assumes, DIM);
    text
}

fn spoken(times: Times) -> String {
    if times.usual == times.at_most {
        times.usual.to_string()
    } else {
        format!("{} as a rule, at most {}", times.usual, times.at_most)
    }
}

fn sum(text: &mut String, plan: &Plan) -> Result {
    let budget = &plan.budget;
    let names: Vec<&str> = plan.config.organizations.iter().map(|o| o.name.as_str()).collect();
    writeln!(
        text,
        "{} {} on {}",
        painted(HEAD, "scopewatch plan:"),
        names.join(", "),
        plan.config.hub.endpoint
    )?;
    writeln!(
        text,
        "One round with everything due at once, as `scopewatch audit` does it. Nothing was asked of the Hub.\n"
    )?;
    writeln!(text, "  calls      {}", spoken(budget.round.times()))?;
    writeln!(text, "             {}", creating(plan))?;
    let spread = budget.spread.as_secs();
    let beside = if spread == 0 {
        String::new()
    } else {
        format!("; the daemon spreads a round over up to {spread} s more")
    };
    writeln!(
        text,
        "  takes      about {:.1} s at {} ms an answer{beside}\n",
        budget.takes.as_secs_f64(),
        LATENCY.as_millis()
    )
}

fn creating(plan: &Plan) -> String {
    let calls = plan.budget.round.creations().usual as usize;
    let canaries = plan.budget.round.mutating.len();
    match (calls, canaries) {
        (0, _) => "none of them can change anything on the Hub".to_owned(),
        (calls, 0) => format!("{calls} of them try to create on a name that is taken, which makes nothing"),
        (calls, canaries) if calls == canaries => {
            format!("{calls} of them try to create: what they make is a private repository, deleted at once")
        }
        (calls, canaries) => format!(
            "{calls} of them try to create: {canaries} make a private repository if they may, deleted at once; the others are on a name that is taken and make nothing"
        ),
    }
}

fn title(part: Part) -> &'static str {
    match part {
        Part::Declared => "who the tokens are",
        Part::Control => "controls: whether an answer of this round can mean anything",
        Part::Check | Part::Canary => "checks",
        Part::Proof => "proofs: what an answer must be accompanied by",
        Part::Inventory => "the organization's own list of its tokens",
    }
}

fn steps(text: &mut String, plan: &Plan) -> Result {
    writeln!(text, "{}", painted(HEAD, "In order"))?;
    let steps = &plan.budget.round.steps;
    let usual = steps.iter().filter(|step| step.times.usual > 0);
    let width = usual.clone().map(|step| who(step).chars().count()).max().unwrap_or(0);
    let path = usual.map(|step| shown(step).chars().count()).max().unwrap_or(0);
    let (mut before, mut place) = ("", 0);
    for group in steps.chunk_by(same_group) {
        let Some(first) = group.first() else { continue };
        if title(first.part) != before {
            before = title(first.part);
            place += 1;
            writeln!(text, "  {place}  {before}")?;
        }
        if let Some(key) = &first.check {
            writeln!(text, "     {} {} {}{}", key.token, key.permission, key.target, expected(plan, first))?;
        }
        for step in group.iter().filter(|step| step.times.usual > 0) {
            let mark = if step.mutating { painted(YELLOW, "!") } else { " ".to_owned() };
            let line =
                format!("   {mark}   {:width$}  {:path$}  {:>3}  ", who(step), shown(step), step.times.usual);
            writeln!(text, "{line}{}", painted(DIM, step.why))?;
        }
        let all = group.iter().fold(Times::default(), |sum, step| sum.and(step.times));
        if all.at_most > all.usual {
            let words = format!("and up to {} more, {}", all.at_most - all.usual, more(group));
            writeln!(text, "       {}", painted(DIM, &words))?;
        }
    }
    writeln!(text)
}

fn who(step: &Step) -> &str {
    signer(step).unwrap_or("(no token)")
}

/// A walk, or all that one check asks.
fn same_group(one: &Step, next: &Step) -> bool {
    let checks = |step: &Step| matches!(step.part, Part::Check | Part::Canary);
    let begins = next.route == "/api/organizations/{name}/overview";
    (one.part == next.part || (checks(one) && checks(next))) && one.check == next.check && !begins
}

/// When the calls of a group are made that are not the rule.
fn more(group: &[Step]) -> String {
    let Some(first) = group.first() else { return String::new() };
    match first.part {
        Part::Declared => "where the last one failed".to_owned(),
        Part::Control if group.iter().all(|step| step.times.usual == 0) => {
            format!("by {}, should the janitor fail it while a canary is looked after", who(first))
        }
        Part::Control => "where pages are many, or a canary keeps the run waiting".to_owned(),
        Part::Check | Part::Canary => {
            "that prove it ours, delete it and see it gone, should it be made".to_owned()
        }
        Part::Proof => "should an answer be another than the expected".to_owned(),
        Part::Inventory => "where there are many pages, or service accounts".to_owned(),
    }
}

fn expected(plan: &Plan, step: &Step) -> String {
    let key = step.check.as_ref();
    let token = key.and_then(|key| plan.config.token(&key.token));
    let check = token.and_then(|token| token.checks.iter().find(|check| Some(&check.key()) == key));
    check.map_or(String::new(), |check| painted(DIM, &format!("  (expected {})", check.expected)))
}

fn shown(step: &Step) -> String {
    let path = step.path.split('?').next().unwrap_or_default();
    let path = if path.chars().count() > PATH {
        let head: String = path.chars().take(PATH - 1).collect();
        format!("{head}…")
    } else {
        path.to_owned()
    };
    format!("{} {path}", step.verb)
}

fn users(text: &mut String, plan: &Plan) -> Result {
    writeln!(text, "{}", painted(HEAD, "Who pays for it"))?;
    writeln!(
        text,
        "  {}",
        painted(
            DIM,
            "The Hub counts by user: tokens of one user share its quota, its day's creations and its create lock."
        )
    )?;
    for user in &plan.budget.users {
        one_user(text, user)?;
    }
    writeln!(text)
}

fn one_user(text: &mut String, user: &User) -> Result {
    let tokens: Vec<&str> = user.tokens.iter().map(crate::access::TokenName::as_str).collect();
    let known = match (&user.name, user.source) {
        (None, _) => "counted by address".to_owned(),
        (_, Some(Source::Whoami(at))) => format!("{}; its whoami of {at}", tokens.join(", ")),
        (_, Some(Source::Pin)) => format!("{}; by the pin `declared.user`", tokens.join(", ")),
        (_, None) => "its user is not known yet".to_owned(),
    };
    writeln!(text, "  {}  {}", called(user), painted(DIM, &format!("({known})")))?;
    let plan = match (&user.name, &user.plan) {
        (None, _) => "without a token".to_owned(),
        (_, Some(plan)) => format!("plan {plan}"),
        (_, None) => "plan not known".to_owned(),
    };
    writeln!(text, "      a round         calls: {}", spoken(user.round))?;
    let share = |calls: u32| f64::from(calls) * 100.0 / f64::from(user.quota.max(1));
    // Nobody shares out what is counted by address.
    let ours = if user.name.is_some() {
        format!(", of which {} are our share", user.allowed)
    } else {
        String::new()
    };
    writeln!(
        text,
        "      five minutes    {} calls in the busiest ones of the schedule: {:.1} % of {} ({plan}){ours}",
        user.window.usual,
        share(user.window.usual),
        user.quota,
    )?;
    if user.creations.at_most > 0 {
        writeln!(
            text,
            "      a day           {} creation calls; max_creations_per_day {}, the Hub is known to allow {HUB_CREATIONS_A_DAY}; {} in the last 24 hours",
            user.creations_a_day, user.creations_allowed, user.creations_used
        )?;
    }
    Ok(())
}

fn changes(text: &mut String, plan: &Plan) -> Result {
    writeln!(text, "{}", painted(HEAD, "May change something on the Hub"))?;
    let mutating = &plan.budget.round.mutating;
    if mutating.is_empty() {
        writeln!(text, "  nothing does")?;
    }
    for check in mutating {
        writeln!(
            text,
            "  {} {} {} {} in {}: a private repository, deleted at once, if the Hub lets it",
            painted(YELLOW, "!"),
            check.token,
            check.permission,
            check.target,
            check.organization
        )?;
    }
    writeln!(text)
}

fn list(text: &mut String, title: &str, lines: &[String], style: Style) -> Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(text, "{}", painted(HEAD, title))?;
    for line in lines {
        writeln!(text, "  {} {line}", painted(style, "•"))?;
    }
    writeln!(text)
}

fn own_tokens(text: &mut String, own: &[Own]) -> Result {
    if own.is_empty() {
        return Ok(());
    }
    writeln!(text, "{}", painted(HEAD, "The least that our own tokens need"))?;
    for one in own {
        writeln!(
            text,
            "  {}  {}",
            one.token,
            painted(DIM, &format!("({} of {})", one.purpose, one.organization))
        )?;
        for need in &one.needs {
            let doubt = if need.confirmed { "" } else { " (no document confirms that this is the word)" };
            writeln!(text, "      {:24} on org:{}: {}{doubt}", need.permission, one.organization, need.why)?;
        }
        writeln!(text, "      its user's role          {}", one.role)?;
        writeln!(text, "      to make such a one       {}", one.link)?;
        match one.known {
            None => writeln!(text, "      {}", painted(DIM, "what it has is not known yet"))?,
            Some(at) if one.more.is_empty() && one.lacks.is_empty() => {
                writeln!(text, "      it has that and no more, by its whoami of {at}")?;
            }
            Some(at) => {
                for more in &one.more {
                    writeln!(
                        text,
                        "      {} it has more than it needs: {more} (whoami of {at})",
                        painted(YELLOW, "!")
                    )?;
                }
                for lacks in &one.lacks {
                    writeln!(text, "      {} it lacks {lacks} (whoami of {at})", painted(YELLOW, "!"))?;
                }
            }
        }
    }
    writeln!(text)
}

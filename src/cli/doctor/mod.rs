//! `doctor`: looks at everything that a first round stands on, and says what to mend.
//!
//! `app::exam` collects, the files beside this one judge, each a pure function from what was seen to a row. Another
//! part is a word in `rows::Part` and a line in `examine`. Of the Hub only reads are asked, and few.

mod ground;
mod hub;
mod rows;
mod specimens;
mod table;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::access::{RepoType, TokenName};
use crate::app::exam::{self, Examiner};
use crate::app::{self, Fault, Loaded};
use crate::config::{Config, EXAMPLE, NoDisk, Sink, SinkKind, Source, Token, parse};
use crate::exchange::{Credential, Exchange, Failure};
use crate::hub::answers::of_outcome;
use crate::hub::readings::{ListingRow, LookRow, listing, look};
use crate::hub::routes;
use crate::hub::whoami::{self, Declared, Heard};
use crate::logging::Scrub;
use crate::metrics::Metrics;
use crate::pace::WHOAMI_BURST;
use crate::plan::calls::{Scope, calls};
use crate::plan::quota::Known;
use crate::plan::scopes::own_tokens;
use crate::render::shell_word;
use crate::schedule::Classes;

use super::{ConfigArg, Exit, asked_to_stop, audit, counted, say};
use rows::{Part, Row, Sum, halves};
use tokens::Sight;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Ask the Hub only about this token, and our own; may be given more than once.
    #[arg(long, value_name = "NAME")]
    token: Vec<String>,
    /// How the result looks.
    #[arg(long, value_enum, default_value_t = Shape::Table)]
    format: Shape,
    /// Send no test alerts; only see that what the sinks need can be read.
    #[arg(long, conflicts_with = "yes")]
    no_alerts: bool,
    /// Send each sink a test alert without asking. Asked is only at a terminal; elsewhere they are sent.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// For people.
    Table,
    /// For scripts.
    Json,
}

pub(super) async fn run(args: DoctorArgs, scrub: Scrub, progress: bool) -> Result<Exit, Fault> {
    let loaded = app::load_config(&args.config.config)?;
    let config = loaded.config.clone();
    let only = audit::named(&config, &args.token)?;
    let bar = Bar::new(progress);
    let examined = async {
        let mut rows = vec![valid(&args.config.config, &config)];
        rows.extend(loaded.warnings.iter().map(|warning| odd(warning)));
        examine(&args, &loaded, &only, scrub, &bar, &mut rows).await.map(|sieve| (rows, sieve))
    };
    let (rows, mut examiner) = tokio::select! {
        examined = examined => examined?,
        () = asked_to_stop()? => return Err(Fault::Interrupted("stopped; nothing was changed".to_owned())),
    };
    bar.end();
    let text = match args.format {
        Shape::Json => as_json(&config, &args.config.config, &rows)?,
        Shape::Table => {
            let names: Vec<&str> = config.organizations.iter().map(|o| o.name.as_str()).collect();
            let head = format!("{} on {}", names.join(", "), config.hub.endpoint);
            let file = shell_word(&args.config.config.to_string_lossy());
            let next = format!("scopewatch audit --config {file} --read-only");
            table::render(&head, &rows, &next)
        }
    };
    // What finds leaks must not be one.
    if let Some(whose) = examiner.as_mut().and_then(|examiner| examiner.sieve().whole(&text)) {
        return Err(Fault::Internal(format!(
            "the result holds the secret of {whose} and is not shown; replace it on the Hub, and report this"
        )));
    }
    say(&text)?;
    Ok(if Sum::of(&rows).fail > 0 { Exit::Drift } else { Exit::Ok })
}

fn as_json(config: &Config, path: &Path, rows: &[Row]) -> Result<String, Fault> {
    let whole = json!({
        "schema": 1,
        "config": path.display().to_string(),
        "endpoint": config.hub.endpoint,
        "summary": Sum::of(rows),
        "items": rows,
    });
    serde_json::to_string_pretty(&whole)
        .map(|json| json + "\n")
        .map_err(|error| Fault::Internal(format!("the result cannot be written ({error})")))
}

fn valid(path: &Path, config: &Config) -> Row {
    let checks: usize = config.tokens.iter().map(|token| token.checks.len()).sum();
    let seen =
        [(config.organizations.len(), "organization"), (config.tokens.len(), "token"), (checks, "check")];
    let seen: Vec<String> = seen.iter().map(|(number, noun)| counted(*number, noun)).collect();
    Row::ok(Part::Config, "file", format!("{} is valid: {}", path.display(), seen.join(", ")))
}

/// What `check` warns of.
fn odd(warning: &str) -> Row {
    let text = warning.strip_prefix("warning: ").unwrap_or(warning);
    Row::warn(Part::Config, "odd", text, "change it, if it is not meant so")
}

/// Looks at everything, in order. Who knows the secrets comes back, if they could be read at all.
async fn examine(
    args: &DoctorArgs,
    loaded: &Loaded,
    only: &[TokenName],
    scrub: Scrub,
    bar: &Bar,
    rows: &mut Vec<Row>,
) -> Result<Option<Examiner>, Fault> {
    let config = &loaded.config;
    bar.says("reading the secrets");
    let mut examiner = match Examiner::new(config.clone(), scrub).await {
        Ok(examiner) => Some(examiner),
        Err(Fault::Usage(sentence)) => {
            let (seen, remedy) = halves(&sentence);
            rows.push(Row::fail(Part::Hub, "client", seen, remedy));
            None
        }
        Err(fault) => return Err(fault),
    };
    if let Some(examiner) = &examiner {
        rows.extend(examiner.secrets().iter().map(tokens::secret));
    }
    rows.extend(exam::machine().iter().map(|warning| {
        let (seen, remedy) = halves(warning);
        Row::warn(Part::Machine, "process", seen, remedy)
    }));
    if let Some(examiner) = &examiner {
        the_hub(config, only, examiner, bar, rows).await;
    }
    bar.says("looking at the store");
    match exam::ground(config).await {
        Ok(ground) => rows.extend(ground::store(&ground)),
        Err(fault) => {
            let (seen, remedy) = halves(&fault.to_string());
            rows.push(Row::fail(Part::Store, "journal", seen, remedy));
        }
    }
    let web = app::check_web_config(config).map_err(|fault| fault.to_string());
    rows.extend(ground::server(&config.server, &web));
    if let Some(examiner) = &mut examiner {
        sinks(args, config, examiner, bar, rows).await;
        bar.says("looking for leaks");
        rows.extend(leaks(config, examiner));
    }
    Ok(examiner)
}

/// The way there, its clock, the organizations, every token, and ours in particular.
async fn the_hub(config: &Config, only: &[TokenName], examiner: &Examiner, bar: &Bar, rows: &mut Vec<Row>) {
    bar.says(&format!("on the way to {}", config.hub.endpoint));
    let way = examiner.way().await;
    rows.extend(hub::way(way.as_ref()));
    if !hub::passable(way.as_ref()) {
        return rows.push(tokens::unreached());
    }
    let mut overviews = Vec::new();
    for organization in &config.organizations {
        let exchange = examiner.ask(routes::overview(&organization.name, Credential::Anonymous)).await;
        let reached = exchange.outcome.is_ok();
        overviews.push((organization.name.as_str(), exchange));
        if !reached {
            break;
        }
    }
    let reached = overviews.last().is_some_and(|(_, exchange)| exchange.outcome.is_ok());
    if let Some((_, first)) = overviews.first() {
        let tls = match first.outcome {
            Err(Failure::Unsent) => examiner.tls_trouble(&first.request).await,
            _ => None,
        };
        rows.extend(hub::answer(&config.hub, first, tls));
    }
    if !reached {
        return rows.push(tokens::unreached());
    }
    let told = whoamis(config, only, examiner, bar).await;
    let answers = told.iter().filter_map(|(_, asked)| asked.as_ref().map(|(exchange, _)| exchange));
    rows.push(hub::clock(hub::skew(answers.chain(overviews.iter().map(|(_, exchange)| exchange)))));
    rows.extend(overviews.iter().map(|(name, exchange)| hub::organization(name, exchange)));
    let now = app::wall_now();
    rows.extend(told.iter().map(|(token, asked)| match asked {
        Some((_, heard)) => tokens::whoami(token, heard, now, now + config.alerts.expires_within),
        None => tokens::unasked(token.name.as_str()),
    }));
    bar.says("looking at our own tokens");
    own(config, &told, examiner, rows).await;
}

/// A token, and what asking who it is came to; `None`: it was not asked.
type Told<'c> = (&'c Token, Option<(Exchange, Heard)>);

/// Whether it is one of ours.
fn ours(config: &Config, token: &TokenName) -> bool {
    let mut own = config.organizations.iter().flat_map(|o| o.janitor.iter().chain(&o.inventory));
    own.any(|own| own == token)
}

/// Asks each token once who it is, our own first, and no more than the Hub takes at a time.
async fn whoamis<'c>(
    config: &'c Config,
    only: &[TokenName],
    examiner: &Examiner,
    bar: &Bar,
) -> Vec<Told<'c>> {
    let usable =
        |name: &TokenName| examiner.secrets().iter().any(|kept| kept.token == *name && kept.fault.is_none());
    let wanted = |token: &&Token| {
        usable(&token.name) && (only.is_empty() || only.contains(&token.name) || ours(config, &token.name))
    };
    let mut order: Vec<&Token> = config.tokens.iter().filter(wanted).collect();
    order.sort_by_key(|token| !ours(config, &token.name));
    let mut left = if config.hub.loopback { u32::MAX } else { WHOAMI_BURST };
    let mut told = Vec::new();
    for token in order {
        if left == 0 {
            told.push((token, None));
            continue;
        }
        left = left.saturating_sub(1);
        bar.says(&format!("asking who '{}' is", token.name));
        let exchange = examiner.ask(routes::whoami(Credential::Token(token.name.clone()))).await;
        if exchange.outcome.as_ref().is_ok_and(|answer| answer.status == 429) {
            left = 0;
        }
        let heard = whoami::read(&exchange.outcome);
        told.push((token, Some((exchange, heard))));
    }
    told
}

/// Whether our own tokens may what they must: by what they declare, and by a look at something private.
async fn own(config: &Config, told: &[Told<'_>], examiner: &Examiner, rows: &mut Vec<Row>) {
    let now = app::wall_now();
    let declared: BTreeMap<TokenName, Declared> = told
        .iter()
        .filter_map(|(token, asked)| match asked {
            Some((_, Heard::Known(declared))) => Some((token.name.clone(), (**declared).clone())),
            _ => None,
        })
        .collect();
    let known = Known {
        declared: declared.iter().map(|(name, declared)| (name.clone(), (now, declared.clone()))).collect(),
        ..Known::default()
    };
    let round = calls(config, Scope { due: Classes::ALL, only: &[], read_only: false });
    for own in own_tokens(config, &round, &known) {
        // Of one that is not known something is said above.
        if let Some(declared) = declared.get(&own.token) {
            let role =
                declared.membership(&own.organization).and_then(|membership| membership.role.as_deref());
            rows.push(tokens::own(&own, role));
        }
    }
    for organization in &config.organizations {
        let Some(janitor) = organization.janitor.as_ref().filter(|janitor| declared.contains_key(janitor))
        else {
            continue;
        };
        let credential = Credential::Token(janitor.clone());
        let sight = match &organization.sentinel {
            Some(repo) => {
                let exchange = examiner.ask(routes::repo_info(RepoType::Model, repo, credential)).await;
                match look(&exchange.outcome, repo) {
                    LookRow::Private => Sight::Sees(repo.to_string()),
                    LookRow::NotFound => Sight::NotThis(repo.to_string()),
                    LookRow::Unclear
                        if exchange.outcome.as_ref().is_ok_and(|answer| answer.status == 200) =>
                    {
                        Sight::NotThis(repo.to_string())
                    }
                    LookRow::Unclear => Sight::Unclear(of_outcome(&exchange.outcome)),
                }
            }
            None => {
                let request = routes::list(RepoType::Model, &organization.name, None, credential);
                let exchange = examiner.ask(request).await;
                match listing(&exchange.outcome, &organization.name, |_| false) {
                    (ListingRow::Private, Some(repo)) => Sight::Sees(repo.to_string()),
                    (ListingRow::Unclear, _) => Sight::Unclear(of_outcome(&exchange.outcome)),
                    _ => Sight::Nothing,
                }
            }
        };
        rows.push(tokens::sight(janitor.as_str(), &organization.name, &sight));
    }
}

/// Whether test alerts are to be sent; if not, why.
async fn consent(args: &DoctorArgs, config: &Config, bar: &Bar) -> Result<(), &'static str> {
    if args.no_alerts {
        return Err("--no-alerts");
    }
    if args.yes || !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(());
    }
    let names: Vec<&str> = config.alerts.sinks.iter().map(|sink| sink.name.as_str()).collect();
    let question = format!("Send a test alert, and its end, to {}? (yes/no) [yes]: ", names.join(", "));
    let bar = bar.clone();
    let ask = move || {
        let mut err = anstream::stderr();
        // Where the terminal is gone, no answer comes.
        let _ = err.write_all(question.as_bytes()).and_then(|()| err.flush());
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map_or(String::new(), |_| answer)
    };
    // Apart from what hears Ctrl-C, or it would not be heard before the answer.
    let asked = tokio::task::spawn_blocking(move || bar.aside(ask)).await;
    let answer = asked.unwrap_or_default();
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        // Not the end of the input, which is no consent.
        "" if answer.ends_with('\n') => Ok(()),
        _ => Err("you said no"),
    }
}

async fn sinks(args: &DoctorArgs, config: &Arc<Config>, examiner: &Examiner, bar: &Bar, rows: &mut Vec<Row>) {
    if let Some(row) = ground::no_sinks(config) {
        return rows.push(row);
    }
    let consent = consent(args, config, bar).await;
    for sink in &config.alerts.sinks {
        bar.says(&format!("trying the sink '{}'", sink.name));
        rows.push(match consent {
            Ok(()) => ground::posted(&sink.name, kind(sink), examiner.post(sink).await),
            Err(why) => ground::unposted(&sink.name, examiner.readable(sink).await, why),
        });
    }
}

fn kind(sink: &Sink) -> &'static str {
    match sink.kind {
        SinkKind::Alertmanager => "Alertmanager",
        SinkKind::Webhook => "webhook",
        SinkKind::Slack => "Slack channel",
        SinkKind::Pagerduty => "PagerDuty service",
        SinkKind::Email => "mail server",
    }
}

/// Looks for every secret in all that the program writes.
fn leaks(config: &Config, examiner: &mut Examiner) -> Vec<Row> {
    let (now, metrics) = (app::wall_now(), Metrics::new(app::VERSION, app::REVISION));
    let mut places = specimens::all(config, &examiner.echo(), &metrics, now);
    let sieve = examiner.sieve();
    // The same of another config, with no secret anywhere near: what stands there is our own words.
    if let Ok(example) = parse(Source { name: "", text: EXAMPLE }, &NoDisk) {
        let own = specimens::all(&example.config, "an ordinary sentence", &metrics, now);
        own.iter().for_each(|(_, text)| sieve.forgive(text));
    }
    places.push(("the log", sieve.lines()));
    let looked: Vec<&str> = places.iter().map(|(place, _)| *place).collect();
    let caught = |(place, text): &(&'static str, String)| Some((*place, sieve.caught(text)?.to_owned()));
    let found: Vec<(&str, String)> = places.iter().filter_map(caught).collect();
    ground::leaks(sieve.count(), &looked, &found)
}

/// What is under way, on stderr where that is a terminal.
#[derive(Clone)]
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new(shown: bool) -> Bar {
        Bar(shown.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        }))
    }

    fn says(&self, what: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(what.to_owned());
        }
    }

    /// Does this while the line is the other's.
    fn aside<T>(&self, run: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(bar) => bar.suspend(run),
            None => run(),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

//! From answers to the text of a config: pure, and whatever an answer holds, it stays one value of the YAML.
//!
//! No answer ever stands in a comment. Serves `init`.

use std::fmt::{Result, Write};

use crate::access::RepoType;
use crate::baseline::scalar;
use crate::secret::Place;

use super::answers::{Answers, Creating, Named, Repo, Watched};

/// What `max_creations_per_day` is where a config says nothing.
pub(super) const CREATIONS_PER_DAY: usize = 200;

/// The whole file.
pub(super) fn render(answers: &Answers) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = head(&mut text, answers);
    let _ = organization(&mut text, answers);
    let _ = tokens(&mut text, answers);
    let _ = rest(&mut text, answers);
    text
}

fn head(text: &mut String, answers: &Answers) -> Result {
    text.write_str(
        "# scopewatch: what tokens can really do on the Hub, held against what they should.\n\
         # Written by `scopewatch init`; change whatever you like. `scopewatch check` tells every mistake at once,\n\
         # config/scopewatch.yaml explains every key, and what is not given here is as it stands there.\n\
         # No secret is ever written here, only where it lies: { file: PATH } or { env: NAME }.\n\n",
    )?;
    if let Some(endpoint) = &answers.endpoint {
        write!(text, "hub:\n  endpoint: {}\n\n", scalar(endpoint))?;
    }
    text.write_str("# When, as six cron fields: second minute hour day-of-month month day-of-week.\n")?;
    let tried: usize = answers.tokens.iter().map(|token| creations(answers, token).len()).sum();
    if answers.creating != Creating::Canaries || tried == 0 {
        return text.write_str(
            "# schedule:\n\
             #   probe: \"0 */15 * * * *\"           # what only reads\n\
             #   canary: \"0 5 * * * *\"             # what may create; with `probe` if not given\n\n",
        );
    }
    let cron = match hours_between(tried) {
        1 => "\"0 5 * * * *\"".to_owned(),
        24 => "\"0 5 4 * * *\"".to_owned(),
        hours => format!("\"0 5 */{hours} * * *\""),
    };
    write!(
        text,
        "schedule:\n\
         \x20 probe: \"0 */15 * * * *\"             # what only reads\n\
         \x20 canary: {cron:<26} # what may create: the Hub allows a user few creations a day\n\n",
    )
}

/// Hours between two rounds of so many creations, so that they fit into a day's even if all tokens are of one user.
fn hours_between(tried: usize) -> usize {
    let fits = |hours: &usize| tried * 24 / hours <= CREATIONS_PER_DAY;
    [1, 2, 3, 4, 6, 8, 12].into_iter().find(fits).unwrap_or(24)
}

fn organization(text: &mut String, answers: &Answers) -> Result {
    writeln!(text, "organizations:")?;
    writeln!(text, "  - name: {}", scalar(&answers.organization))?;
    match &answers.janitor {
        Some(janitor) => {
            text.write_str(
                "    # The token (below) that shows that an answer means something, and deletes a canary that the token\n\
                 \x20   # which made it cannot delete.\n",
            )?;
            writeln!(text, "    janitor: {}", scalar(&janitor.name))?;
        }
        None => text.write_str(
            "    # Without a janitor, denials of reads and writes on private repositories stay unknown, and a canary that\n\
             \x20   # its own token cannot delete stays.\n\
             \x20   # janitor: NAME-OF-A-TOKEN\n",
        )?,
    }
    match &answers.creating {
        Creating::Canaries => text.write_str(
            "    # max_creations_per_day: 200      # calls per user of the Hub, refused ones included\n\n",
        ),
        _ => text.write_str("\n"),
    }
}

fn tokens(text: &mut String, answers: &Answers) -> Result {
    writeln!(text, "tokens:")?;
    if let Some(janitor) = &answers.janitor {
        entry(text, answers, janitor)?;
        writeln!(text)?;
    }
    for token in &answers.tokens {
        entry(text, answers, &token.token)?;
        text.write_str("    # owner: TEAM                     # who answers for it; carried into alerts\n")?;
        expectations(text, answers, token)?;
        writeln!(text)?;
    }
    Ok(())
}

fn entry(text: &mut String, answers: &Answers, token: &Named) -> Result {
    let place = match &token.place {
        Place::File(path) => format!("file: {}", scalar(&path.to_string_lossy())),
        Place::Env(name) => format!("env: {}", scalar(name)),
    };
    writeln!(text, "  - name: {}", scalar(&token.name))?;
    writeln!(text, "    organization: {}", scalar(&answers.organization))?;
    writeln!(text, "    secret: {{ {place} }}")
}

fn expectations(text: &mut String, answers: &Answers, token: &Watched) -> Result {
    let mut checks = creations(answers, token);
    checks.extend(token.writes.iter().map(|repo| write(repo, "allowed")));
    checks.extend(token.never_writes.iter().map(|repo| write(repo, "denied")));
    if checks.is_empty() {
        return text.write_str(
            "    # Nothing is expected of it yet. `scopewatch baseline` proposes what would make today ok.\n\
             \x20   # expect:\n\
             \x20   #   - { permission: repo.write, repo: ORGANIZATION/NAME, access: denied }\n",
        );
    }
    writeln!(text, "    expect:")?;
    match answers.creating {
        Creating::Canaries => text.write_str(
            "      # Creating is tried for real: what is made is private, and deleted at once.\n",
        )?,
        Creating::Sentinel(_) => text.write_str(
            "      # Creating is tried on the name of a repository that exists: nothing is made.\n",
        )?,
        Creating::Untried => {
            text.write_str(
                "      # Creating is not tried; `method: sentinel` would try it without making anything.\n",
            )?;
        }
    }
    for check in checks {
        writeln!(text, "      - {{ {check} }}")?;
    }
    Ok(())
}

/// The checks of creating, as the insides of a flow mapping.
fn creations(answers: &Answers, token: &Watched) -> Vec<String> {
    let access = if token.creates { "allowed" } else { "denied" };
    let create = |target: &str| format!("permission: repo.create, {target}access: {access}");
    match &answers.creating {
        Creating::Untried => Vec::new(),
        Creating::Sentinel(repo) => {
            vec![create(&format!("{}method: sentinel, sentinel: {}, ", kind(repo), repo.name))]
        }
        Creating::Canaries => {
            let mut all = vec![create(""), create("type: dataset, ")];
            all.extend(
                answers.group.iter().map(|group| create(&format!("resource_group: {}, ", scalar(group)))),
            );
            all
        }
    }
}

fn write(repo: &Repo, access: &str) -> String {
    format!("permission: repo.write, {}repo: {}, access: {access}", kind(repo), repo.name)
}

fn kind(repo: &Repo) -> String {
    match repo.kind {
        RepoType::Model => String::new(),
        kind => format!("type: {kind}, "),
    }
}

fn rest(text: &mut String, answers: &Answers) -> Result {
    text.write_str(
        "# Whom it tells; also webhook, pagerduty and email. Without sinks the rules for Prometheus in deploy/ do it.\n\
         # alerts:\n\
         #   sinks:\n\
         #     - { name: am, type: alertmanager, url: \"http://127.0.0.1:9093\" }\n\
         #     - { name: chat, type: slack, url: { file: /run/secrets/slack-url } }\n\n\
         server:\n\
         \x20 listen: 127.0.0.1:10847             # page, API and metrics for this machine. 0.0.0.0:10847 for a Prometheus\n\
         \x20                                     # elsewhere: it gets metrics and health; the rest wants `web_config`\n\n\
         # The journal: its directory must be there, and be kept.\n",
    )?;
    write!(text, "store:\n  url: {}\n", scalar(&answers.store))
}

//! The questions of `init`: each has a flag and, but for the organization, a default.
//!
//! A flag answers its question. On a terminal the others are asked, and asked again until the answer will do; piped
//! answers are taken line by line, and a wrong one ends it; where nobody answers, the defaults hold. Knows no terminal:
//! lines come from a reader, and questions go to a writer.

use std::io::Write;

use crate::app::Fault;

use super::InitArgs;
use super::answers::{self, Answers, Creating, NONE, Named, Watched};

/// What a reader of answers came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its line end.
    Answer(String),
    /// There is no further one.
    End,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// A person, who may be asked again.
    Person,
    /// A pipe or a file, with a line for each question.
    Pipe,
    /// Nobody: flags and defaults.
    Nobody,
}

/// Asks.
pub(super) struct Asker<'a> {
    pub who: Who,
    pub lines: &'a mut dyn FnMut() -> Line,
    pub out: &'a mut dyn Write,
}

/// One question.
struct Question<'q> {
    /// How it is put, without the default.
    put: String,
    /// The flag that answers it.
    flag: &'static str,
    /// What was given by that flag.
    given: Option<&'q str>,
    /// What holds where nobody answers.
    default: Option<String>,
}

const ENDED: &str = "the answers ended before the last question, and nothing was written";

impl Asker<'_> {
    /// The answer to one question, read by `read`, which says what is wrong with one.
    fn ask<T>(
        &mut self,
        question: Question<'_>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Fault> {
        let Question { put, flag, given, default } = question;
        let read = |text: &str| match answers::never(text) {
            Some(wrong) => Err(wrong),
            None => read(text),
        };
        if let Some(given) = given {
            return read(given).map_err(|wrong| Fault::Usage(format!("{flag}: {wrong}")));
        }
        let missing =
            || Fault::Usage(format!("{flag} is missing, and nobody is there to be asked; give {flag} NAME"));
        let shown = default.as_deref().map_or(String::new(), |default| format!(" [{default}]"));
        while self.who != Who::Nobody {
            if self.who == Who::Person {
                self.tell(&format!("{put}{shown}: "));
            }
            let answer = match (self.lines)() {
                Line::Answer(text) => text.trim().to_owned(),
                Line::End if self.who == Who::Person => {
                    self.tell("\n");
                    return Err(Fault::Interrupted(ENDED.to_owned()));
                }
                Line::End => {
                    self.who = Who::Nobody;
                    break;
                }
            };
            let wrong = match (answer.as_str(), &default) {
                ("", Some(default)) => read(default),
                ("", None) => Err("an answer is needed here".to_owned()),
                (answer, _) => read(answer),
            };
            match wrong {
                Ok(answer) => return Ok(answer),
                Err(wrong) if self.who == Who::Person => self.tell(&format!("  {wrong}\n")),
                Err(wrong) => return Err(Fault::Usage(format!("an answer will not do ({put}): {wrong}"))),
            }
        }
        let default = default.ok_or_else(missing)?;
        read(&default).map_err(|wrong| Fault::Usage(format!("{flag}: {wrong}")))
    }

    /// Where a terminal is gone there is nobody left to tell.
    fn tell(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// What was given for one token by flags of the form `TOKEN=VALUE`, or without a token for every one.
fn given_for<'g>(all: &'g [String], token: &str) -> Vec<&'g str> {
    let of = |text: &'g String| match text.split_once('=') {
        Some(_) => text.strip_prefix(token)?.strip_prefix('='),
        None => Some(text.as_str()),
    };
    all.iter().filter_map(of).collect()
}

/// Asks everything.
pub(super) fn gather(args: &InitArgs, asker: &mut Asker<'_>) -> Result<Answers, Fault> {
    if asker.who == Who::Person {
        asker.tell(
            "scopewatch init asks a few questions and writes a config. Enter takes what stands in [brackets], `-` means\n\
             none; Ctrl-C ends it, and nothing is written. It asks for no secret, only where each will lie.\n\n",
        );
    }
    let organization = asker.ask(
        Question {
            put: "The organization on the Hub, by its exact name (the case counts)".to_owned(),
            flag: "--org",
            given: args.org.as_deref(),
            default: None,
        },
        answers::organization,
    )?;
    let endpoint =
        answers::endpoint(&args.endpoint).map_err(|wrong| Fault::Usage(format!("--endpoint: {wrong}")))?;
    let mut named = Vec::new();
    let janitor = janitor(args, &mut named, asker)?;
    let creating = creating(args, &organization, asker)?;
    let tokens = tokens(args, &organization, &creating, &mut named, asker)?;
    let group = match creating {
        Creating::Canaries => group(args, asker)?,
        // The name of an existing repository says nothing of a group, and untried is untried.
        Creating::Sentinel(_) | Creating::Untried => None,
    };
    let store = asker.ask(
        Question {
            put: "The file in which the journal is kept".to_owned(),
            flag: "--store",
            given: args.store.as_deref(),
            default: Some("/var/lib/scopewatch/state.db".to_owned()),
        },
        answers::store,
    )?;
    strangers(args, &named, &tokens)?;
    at_odds(args, &creating)?;
    Ok(Answers { organization, endpoint, janitor, tokens, group, creating, store })
}

/// Flags of which one would be silently nothing beside the other.
fn at_odds(args: &InitArgs, creating: &Creating) -> Result<(), Fault> {
    let given = |flag: &Option<String>| flag.as_deref().is_some_and(|text| text != NONE);
    let why = match creating {
        Creating::Canaries if given(&args.sentinel) => {
            "--sentinel is for creating that is tried without canaries; take it out, or give --canaries no"
        }
        Creating::Sentinel(_) | Creating::Untried if given(&args.resource_group) => {
            "--resource-group is tried with canaries alone; take it out, or give --canaries yes"
        }
        Creating::Untried if !args.may_create.is_empty() => {
            "--may-create says what is expected of creating, which is not tried; take it out, or give --canaries yes"
        }
        _ => return Ok(()),
    };
    Err(Fault::Usage(why.to_owned()))
}

/// A flag that names a token which there is not, or of which nothing is asked, is a mistake, never silently nothing.
fn strangers(args: &InitArgs, named: &[Named], tokens: &[Watched]) -> Result<(), Fault> {
    let watched = |name: &str| tokens.iter().any(|token| token.token.name == name);
    let known = |flag: &str, text: &str| {
        let name = |named: &Named| {
            let keyed = text.strip_prefix(named.name.as_str()).is_some_and(|rest| rest.starts_with('='));
            keyed && (flag == "--secret" || watched(&named.name))
        };
        named.iter().any(name)
    };
    let keyed = [
        ("--secret", &args.secret),
        ("--may-write", &args.may_write),
        ("--must-not-write", &args.must_not_write),
    ];
    let of_all = |flag, text: &str| flag != "--secret" && !text.contains('=');
    let mut strange =
        keyed.into_iter().flat_map(|(flag, all)| all.iter().map(move |text| (flag, text.as_str())));
    let strange = strange.find(|(flag, text)| !known(flag, text) && !of_all(*flag, text));
    let creating = args.may_create.iter().find(|token| !watched(token));
    match strange.or(creating.map(|token| ("--may-create", token.as_str()))) {
        Some((flag, text)) => {
            let token = text.split('=').next().unwrap_or(text);
            let token: String = token.chars().filter(|c| !c.is_control()).collect();
            Err(Fault::Usage(format!(
                "{flag} names a token '{token}', and none of that name is watched; give it by --token"
            )))
        }
        None => Ok(()),
    }
}

fn janitor(args: &InitArgs, named: &mut Vec<Named>, asker: &mut Asker<'_>) -> Result<Option<Named>, Fault> {
    let question = Question {
        put: "The janitor: the token that proves denials and cleans up, by a name of yours".to_owned(),
        flag: "--janitor",
        given: args.janitor.as_deref(),
        default: Some("janitor".to_owned()),
    };
    let name = asker.ask(question, |text| match text {
        NONE => Ok(None),
        name => answers::token(name, &[]).map(Some),
    })?;
    let Some(name) = name else { return Ok(None) };
    let janitor = placed(args, name, named, asker)?;
    named.push(janitor.clone());
    Ok(Some(janitor))
}

/// Where the secret of this token will lie.
fn placed(args: &InitArgs, name: String, named: &[Named], asker: &mut Asker<'_>) -> Result<Named, Fault> {
    let own = format!("{name}=");
    let given = args.secret.iter().find_map(|text| text.strip_prefix(own.as_str()));
    let question = Question {
        put: format!("Where the secret of '{name}' will lie: a file, or env:NAME"),
        flag: "--secret",
        given,
        default: Some(answers::proposed(&args.secrets, &name)),
    };
    let place = asker.ask(question, |text| answers::place(text, named))?;
    Ok(Named { name, place })
}

fn creating(args: &InitArgs, organization: &str, asker: &mut Asker<'_>) -> Result<Creating, Fault> {
    let canaries = match (&args.sentinel, args.canaries.as_deref()) {
        (Some(_), None) => false,
        (_, given) => asker.ask(
            Question {
                put: "May it create private repositories, deleted at once, to see what tokens may create? (yes/no)"
                    .to_owned(),
                flag: "--canaries",
                given,
                default: Some("yes".to_owned()),
            },
            answers::yes,
        )?,
    };
    if canaries {
        return Ok(Creating::Canaries);
    }
    asker.ask(
        Question {
            put: format!(
                "Then a repository that exists in {organization}: creating is tried on its taken name, which makes nothing"
            ),
            flag: "--sentinel",
            given: args.sentinel.as_deref(),
            default: Some(NONE.to_owned()),
        },
        |text| answers::sentinel(text, organization),
    )
}

fn tokens(
    args: &InitArgs,
    organization: &str,
    creating: &Creating,
    named: &mut Vec<Named>,
    asker: &mut Asker<'_>,
) -> Result<Vec<Watched>, Fault> {
    let mut all = Vec::new();
    let mut given = args.token.iter();
    loop {
        let flag = given.next();
        let first = all.is_empty();
        if !first && flag.is_none() && (!args.token.is_empty() || asker.who == Who::Nobody) {
            return Ok(all);
        }
        let put = if first { "A token to watch, by a name of yours" } else { "Another token to watch" };
        let question = Question {
            put: put.to_owned(),
            flag: "--token",
            given: flag.map(String::as_str),
            default: Some(if first { "ci-bot" } else { NONE }.to_owned()),
        };
        let name = asker.ask(question, |text| match text {
            NONE if !first => Ok(None),
            name => answers::token(name, named).map(Some),
        })?;
        let Some(name) = name else { return Ok(all) };
        let token = placed(args, name, named, asker)?;
        named.push(token.clone());
        all.push(purpose(args, organization, creating, token, asker)?);
    }
}

/// What a token is for.
fn purpose(
    args: &InitArgs,
    organization: &str,
    creating: &Creating,
    token: Named,
    asker: &mut Asker<'_>,
) -> Result<Watched, Fault> {
    let name = token.name.clone();
    let may = args.may_create.contains(&name).then_some("yes");
    let creates = match creating {
        Creating::Untried => may.is_some(),
        _ => asker.ask(
            Question {
                put: format!("Should '{name}' be able to create repositories in {organization}? (yes/no)"),
                flag: "--may-create",
                given: may,
                default: Some("no".to_owned()),
            },
            answers::yes,
        )?,
    };
    let joined = |all: &[String]| {
        let given = given_for(all, &name).join(" ");
        (!given.is_empty()).then_some(given)
    };
    let (may_write, must_not) = (joined(&args.may_write), joined(&args.must_not_write));
    let writes = asker.ask(
        Question {
            put: format!(
                "Repositories that '{name}' should be able to write to, such as {organization}/model"
            ),
            flag: "--may-write",
            given: may_write.as_deref(),
            default: Some(NONE.to_owned()),
        },
        answers::repos,
    )?;
    let never_writes = asker.ask(
        Question {
            put: format!("Private repositories that '{name}' must not write to"),
            flag: "--must-not-write",
            given: must_not.as_deref(),
            default: Some(NONE.to_owned()),
        },
        |text| answers::other_repos(text, &writes),
    )?;
    Ok(Watched { token, creates, writes, never_writes })
}

fn group(args: &InitArgs, asker: &mut Asker<'_>) -> Result<Option<String>, Fault> {
    asker.ask(
        Question {
            put: "A resource group in which creating is tried, too".to_owned(),
            flag: "--resource-group",
            given: args.resource_group.as_deref(),
            default: Some(NONE.to_owned()),
        },
        answers::group,
    )
}

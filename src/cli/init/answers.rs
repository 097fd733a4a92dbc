//! The answers of `init`, and what is wrong with one.
//!
//! Whether an answer may stand in a config only `config` says: a trial text is made with it and read. What is refused
//! here besides is what a config would take for something else.

use std::path::PathBuf;

use crate::access::{RepoName, RepoType};
use crate::config::{self, NoDisk, Parsed, Source};
use crate::secret::{Place, shapes};

use super::text;

/// Everything that the written config says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answers {
    /// Its exact name.
    pub organization: String,
    /// The Hub's origin; `None` for huggingface.co.
    pub endpoint: Option<String>,
    pub janitor: Option<Named>,
    pub tokens: Vec<Watched>,
    /// A resource group in which creating is tried, too.
    pub group: Option<String>,
    pub creating: Creating,
    /// `sqlite://…` or `postgres://…`.
    pub store: String,
}

/// A token, and where its secret will lie.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Named {
    pub name: String,
    pub place: Place,
}

/// A token under audit, and what it is for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Watched {
    pub token: Named,
    /// Whether it should be able to create repositories.
    pub creates: bool,
    /// Where it should be able to write.
    pub writes: Vec<Repo>,
    /// Where it must not.
    pub never_writes: Vec<Repo>,
}

/// A repository, written `ORG/NAME` or `dataset:ORG/NAME`, as targets in reports are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repo {
    pub kind: RepoType,
    pub name: RepoName,
}

/// How it is tried what a token may create.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Creating {
    /// By private repositories that are deleted at once.
    Canaries,
    /// On the name of a repository that exists.
    Sentinel(Repo),
    /// Not at all.
    Untried,
}

/// The word for none.
pub(super) const NONE: &str = "-";

/// The Hub.
pub(super) const HUB: &str = "https://huggingface.co";

/// Said where somebody gives a token instead of its name or place.
const A_TOKEN: &str = "this looks like an access token itself, and only its name or place is wanted; if somebody else may have seen it here, replace it on the Hub";

/// What no answer may be: `None` if nothing is wrong.
pub(super) fn never(text: &str) -> Option<String> {
    if !shapes(text.as_bytes()).is_empty() {
        return Some(A_TOKEN.to_owned());
    }
    text.chars()
        .any(char::is_control)
        .then(|| "it holds a control character; write one line of plain text".to_owned())
}

/// What `config` makes of these answers; the first mistake as a sentence without its place.
pub(super) fn parsed(answers: &Answers) -> Result<Parsed, String> {
    let text = text::render(answers);
    config::parse(Source { name: "the new config", text: &text }, &NoDisk).map_err(|mistakes| {
        let first = mistakes.iter().next();
        first.map_or_else(String::new, |mistake| format!("{}; {}", mistake.message, mistake.help))
    })
}

/// Answers that are valid whatever one of them is replaced by.
pub(super) fn trial() -> Answers {
    let token = |name: &str| Named { name: name.to_owned(), place: Place::Env("TRIAL".to_owned()) };
    let watched =
        Watched { token: token("trial"), creates: false, writes: Vec::new(), never_writes: Vec::new() };
    Answers {
        organization: "trial".to_owned(),
        endpoint: None,
        janitor: None,
        tokens: vec![watched],
        group: None,
        creating: Creating::Canaries,
        store: "sqlite://trial.db".to_owned(),
    }
}

/// The organization's name.
pub(super) fn organization(text: &str) -> Result<String, String> {
    parsed(&Answers { organization: text.to_owned(), ..trial() })?;
    Ok(text.to_owned())
}

/// The Hub's origin.
pub(super) fn endpoint(text: &str) -> Result<Option<String>, String> {
    if text == HUB {
        return Ok(None);
    }
    let endpoint = Some(text.to_owned());
    parsed(&Answers { endpoint: endpoint.clone(), ..trial() })?;
    Ok(endpoint)
}

/// The name of a token that is not among those `taken`.
pub(super) fn token(text: &str, taken: &[Named]) -> Result<String, String> {
    if text == NONE {
        return Err("a name is needed here, and `-` stands for none".to_owned());
    }
    if taken.iter().any(|other| other.name == text) {
        return Err(format!("there is a token '{text}' already; a name stands for one token"));
    }
    let mut answers = trial();
    let place = Place::Env("TRIAL".to_owned());
    answers.janitor = Some(Named { name: text.to_owned(), place });
    parsed(&answers)?;
    Ok(text.to_owned())
}

/// Where a secret will lie: `env:NAME`, or the path of a file (`file:` may stand before it).
pub(super) fn place(text: &str, taken: &[Named]) -> Result<Place, String> {
    let place = match text.strip_prefix("env:") {
        Some(name) => Place::Env(name.to_owned()),
        None => Place::File(PathBuf::from(text.strip_prefix("file:").unwrap_or(text))),
    };
    if let Some(other) = taken.iter().find(|other| other.place == place) {
        return Err(format!(
            "the secret of '{}' lies there already; each token has a place of its own",
            other.name
        ));
    }
    if text == NONE
        || matches!(&place, Place::File(path) if path.as_os_str().to_string_lossy().ends_with('/'))
    {
        return Err("this names no file; write the path of a file, or env:NAME".to_owned());
    }
    let mut answers = trial();
    answers.janitor = Some(Named { name: "janitor".to_owned(), place: place.clone() });
    parsed(&answers)?;
    Ok(place)
}

/// The file that is proposed for a token: named like it, as far as a name can be a file's.
pub(super) fn proposed(directory: &str, name: &str) -> String {
    let fine = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let file: String = name.chars().map(fine).collect();
    format!("{}/{}", directory.trim_end_matches('/'), file.trim_start_matches('.'))
}

/// One repository.
pub(super) fn repo(text: &str) -> Result<Repo, String> {
    let wrong = || {
        format!("'{text}' is no repository; write ORGANIZATION/NAME, or dataset:ORGANIZATION/NAME, space:…")
    };
    let (kind, name) = text.split_once(':').unwrap_or((RepoType::Model.as_str(), text));
    Ok(Repo { kind: kind.parse().map_err(|()| wrong())?, name: name.parse().map_err(|()| wrong())? })
}

/// Any number of them, with spaces or commas between; [`NONE`] for none.
pub(super) fn repos(text: &str) -> Result<Vec<Repo>, String> {
    if text == NONE {
        return Ok(Vec::new());
    }
    let mut found: Vec<Repo> = Vec::new();
    for word in text.split([' ', ',', '\t']).filter(|word| !word.is_empty()) {
        let repo = repo(word)?;
        if !found.contains(&repo) {
            found.push(repo);
        }
    }
    Ok(found)
}

/// Those where it must not write: none where it should.
pub(super) fn other_repos(text: &str, writes: &[Repo]) -> Result<Vec<Repo>, String> {
    let found = repos(text)?;
    match found.iter().find(|repo| writes.contains(repo)) {
        Some(both) => Err(format!("it cannot both be able to write to '{}' and not", both.name)),
        None => Ok(found),
    }
}

/// A repository of the organization, on whose name creating is tried.
pub(super) fn sentinel(text: &str, organization: &str) -> Result<Creating, String> {
    if text == NONE {
        return Ok(Creating::Untried);
    }
    let repo = repo(text)?;
    if repo.name.namespace != organization {
        return Err(format!(
            "'{}' is not in {organization}; name a repository that is, case included",
            repo.name
        ));
    }
    Ok(Creating::Sentinel(repo))
}

/// The name or id of a resource group; [`NONE`] for none.
pub(super) fn group(text: &str) -> Result<Option<String>, String> {
    if text == NONE {
        return Ok(None);
    }
    let group = Some(text.to_owned());
    parsed(&Answers { group: group.clone(), ..trial() })?;
    Ok(group)
}

/// Where the state is kept: an address, or the path of a file.
pub(super) fn store(text: &str) -> Result<String, String> {
    let store = if text.contains("://") { text.to_owned() } else { format!("sqlite://{text}") };
    parsed(&Answers { store: store.clone(), ..trial() })?;
    Ok(store)
}

/// Yes or no.
pub(super) fn yes(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(true),
        "n" | "no" => Ok(false),
        _ => Err("answer yes or no".to_owned()),
    }
}

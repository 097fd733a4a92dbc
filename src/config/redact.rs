//! What must never be shown: anything that looks like an access token, credentials and paths in addresses, and
//! values under keys that are named like a secret.
//!
//! Two nets, one above the other. `scan` knows the tree and hides whole values; `ranges` knows only text and
//! catches what is left: comments, keys, lines of files that are not YAML.

use std::ops::Range;

use super::keys;
use super::mistakes::Log;
use super::tree::{Node, Value};

/// How a hidden part is shown.
pub(super) const HIDDEN: &str = "…";

/// What every access token of the Hub begins with, longest first.
const PREFIXES: &[&str] = &["hf_oauth_", "hf_jwt_", "api_org_", "hf_"];

/// Said wherever a secret stands in the text.
pub(super) const NEVER: &str = "secrets are never written in the config: use {file: …} or {env: …}";

/// Characters of a credential; anything else ends it.
fn credential(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+' | b'/' | b'=' | b'~')
}

/// Whether an access token stands anywhere in this text: a known prefix and six characters or more.
pub(super) fn holds_token(text: &str) -> bool {
    tokens(text).next().is_some()
}

fn tokens(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let bytes = text.as_bytes();
    let mut from = 0;
    std::iter::from_fn(move || {
        while from < bytes.len() {
            let here = from;
            let Some(prefix) = PREFIXES.iter().find(|p| bytes[here..].starts_with(p.as_bytes())) else {
                from += 1;
                continue;
            };
            let tail = bytes[here + prefix.len()..].iter().take_while(|b| credential(**b)).count();
            from = here + prefix.len() + tail;
            if tail >= 6 {
                return Some(here + prefix.len()..from);
            }
        }
        None
    })
}

/// Paths, variables and repositories may be called after a token (`/run/secrets/hf_reader`); a long unbroken
/// run of letters and digits after the prefix is no name.
fn holds_long_token(text: &str) -> bool {
    tokens(text).any(|range| {
        let mut run = 0;
        text.as_bytes()[range].iter().any(|byte| {
            run = if byte.is_ascii_alphanumeric() { run + 1 } else { 0 };
            run >= 20
        })
    })
}

/// The parts of any text that must not be shown.
pub(super) fn ranges(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = tokens(text).collect();
    for (start, word) in words(text) {
        if let Some(scheme) = word.find("://") {
            found.extend(address(word, scheme + 3).into_iter().map(|r| r.start + start..r.end + start));
        } else if let Some(at) = word.rfind('@')
            && word[..at].contains(':')
        {
            found.push(start..start + at);
        }
    }
    found.extend(random_runs(text));
    found
}

/// Runs without white space or quotes, with their places.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`');
    text.split(ends).map(move |word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

/// Of `scheme://rest`: credentials, and everything behind the host. The path of SQLite is a file's.
fn address(word: &str, rest: usize) -> Vec<Range<usize>> {
    let mut hidden = Vec::new();
    let host = match word[rest..].rfind('@') {
        Some(at) => {
            hidden.push(rest..rest + at);
            rest + at + 1
        }
        None => rest,
    };
    let tail = word[host..].find(['/', '?', '#']).map(|at| host + at);
    if let Some(tail) = tail
        && !word.contains("sqlite://")
    {
        hidden.push((tail + 1).min(word.len())..word.len());
    }
    hidden
}

/// Long runs of letters in both cases and digits: what generators make, and names are not.
fn random_runs(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let bytes = text.as_bytes();
    let mut start = 0;
    while start < bytes.len() {
        let length = bytes[start..].iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        let run = &bytes[start..start + length];
        let mixed = run.iter().any(u8::is_ascii_lowercase) && run.iter().any(u8::is_ascii_uppercase);
        if length >= 24 && mixed {
            found.push(start..start + length);
        }
        start += length + 1;
    }
    found
}

/// The text with every hidden part replaced.
pub(super) fn text(text: &str) -> String {
    cover(text, ranges(text))
}

/// The text without access tokens; for our own sentences, whose addresses are examples.
pub(super) fn sentence(text: &str) -> String {
    cover(text, tokens(text).collect())
}

/// The text with these ranges replaced by one sign each.
fn cover(text: &str, mut hidden: Vec<Range<usize>>) -> String {
    hidden.sort_by_key(|range| range.start);
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    for range in hidden {
        if range.end <= at || range.is_empty() {
            continue;
        }
        if range.start >= at {
            shown.push_str(&text[at..range.start]);
            shown.push_str(HIDDEN);
        }
        at = range.end;
    }
    shown.push_str(&text[at..]);
    shown
}

/// Whether the value of a key of this name is taken for a secret.
fn secret_key(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let parts = ["secret", "token", "passw", "credential", "authorization", "bearer"];
    parts.iter().any(|part| name.contains(part)) || name == "key" || name == "auth" || name.ends_with("_key")
}

/// Where a value stands, as far as hiding it goes.
#[derive(Clone, Copy, PartialEq)]
enum Stand {
    Open,
    Path,
    /// The name of an environment variable; what cannot be one may be the secret itself.
    Variable,
    Address,
    /// The name of a token, where people paste the token itself.
    Name,
    Secret,
}

/// Of which part of the document a value is.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// Where `token` is the name of one, and a wrong one must be shown to be mended.
    Ignores,
    Tokens,
    Other,
}

/// Walks a whole tree: hides what must be hidden in the log's source, and reports each access token in it.
pub(super) fn scan(node: &Node, log: &mut Log) {
    walk(node, Stand::Open, Part::Other, log);
}

fn walk(node: &Node, stand: Stand, part: Part, log: &mut Log) {
    match &node.value {
        Value::Empty => {}
        Value::Text(text) => scalar(node, text, stand, log),
        Value::List(items) => items.iter().for_each(|item| walk(item, stand, part, log)),
        Value::Map(pairs) => {
            for (key, value) in pairs {
                scalar(key, key.word(), Stand::Open, log);
                match (key.word(), &value.value) {
                    ("tokens", Value::List(items)) => tokens_list(items, log),
                    ("ignores", _) => walk(value, stand, Part::Ignores, log),
                    ("expectations", Value::Map(lists)) => {
                        for (name, list) in lists {
                            scalar(name, name.word(), Stand::Open, log);
                            walk(list, Stand::Open, Part::Other, log);
                        }
                    }
                    // Of the web config: names, which may be any word, each with the hash of a password.
                    ("basic_auth_users", Value::Map(users)) => {
                        for (name, hash) in users {
                            scalar(name, name.word(), Stand::Name, log);
                            scalar(hash, hash.word(), Stand::Secret, log);
                        }
                    }
                    (name, _) => walk(value, below(name, stand, part), part, log),
                }
            }
        }
    }
}

/// How the value of this key is taken.
fn below(name: &str, stand: Stand, part: Part) -> Stand {
    match name {
        "env" => Stand::Variable,
        "file" | "from_directory" | "web_config" | "ca_files" | "include" => Stand::Path,
        "cert_file" | "key_file" | "client_ca_file" => Stand::Path,
        "url" | "endpoint" | "proxy" => Stand::Address,
        "name" if part == Part::Tokens => Stand::Name,
        "token" if part == Part::Ignores => Stand::Open,
        // In another shape than a mapping, which is a mistake, hashes of passwords stand in it all the same.
        "basic_auth_users" => Stand::Secret,
        _ if secret_key(name) || stand == Stand::Secret => Stand::Secret,
        _ => Stand::Open,
    }
}

/// The items of `tokens:` are mappings; a scalar among them is most likely a secret.
fn tokens_list(items: &[Node], log: &mut Log) {
    for item in items {
        let stand = if matches!(item.value, Value::Map(_)) { Stand::Open } else { Stand::Secret };
        walk(item, stand, Part::Tokens, log);
    }
}

fn scalar(node: &Node, text: &str, stand: Stand, log: &mut Log) {
    let (short, long) = (holds_token(text), holds_long_token(text));
    // Repositories and groups may well be called `hf_something`, so only where a secret is likely does every
    // token count as one in the open; what is merely shown less is shown less everywhere.
    if long || short && matches!(stand, Stand::Secret | Stand::Name) {
        log.reveal(node.at, "something that looks like an access token stands here", NEVER);
    }
    let hide = match stand {
        Stand::Secret => true,
        Stand::Address => !plain_address(text) || long,
        Stand::Variable => long || !variable(text),
        Stand::Path => long,
        Stand::Open | Stand::Name => short,
    };
    if hide || holds_hash(text) {
        log.hide(node.at);
    }
}

/// Whether the hash of a password stands in it, as bcrypt writes them: wherever that is, it is nothing to be shown.
fn holds_hash(text: &str) -> bool {
    ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|begin| text.contains(begin))
}

/// Whether this can be the name of an environment variable.
pub(super) fn variable(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

/// Whether an address is so regular that `ranges` is sure to find what must be hidden in it.
fn plain_address(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        // A host's name, and perhaps a port, with the scheme forgotten.
        let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b':');
        return text.contains('.') && text.bytes().all(letters);
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or("");
    let (name, port) = host.rsplit_once(':').filter(|_| !host.ends_with(']')).unwrap_or((host, ""));
    scheme == "sqlite" && !rest.contains('@')
        || scheme.bytes().all(|b| b.is_ascii_alphabetic())
            && !text.contains(char::is_whitespace)
            && port.bytes().all(|b| b.is_ascii_digit())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'[' | b']' | b':'))
}

/// What may be shown of a line that belongs to no tree, because the file is not YAML: all of it when it begins
/// with a key that holds no secret, else only the words of the configuration itself.
pub(super) fn rough(line: &str) -> Vec<Range<usize>> {
    let mut hidden = ranges(line);
    let mut safe = false;
    let mut at = 0;
    while let Some(colon) = line[at..].find(':').map(|c| at + c) {
        let ahead = line[..colon].trim_end_matches(['"', '\'', ' ']);
        let word = ahead
            .rfind(|c: char| !(c.is_alphanumeric() || c == '_'))
            .map_or(0, |i| i + ahead[i..].chars().next().map_or(1, char::len_utf8));
        let name = &ahead[word..];
        if at == 0 {
            safe =
                keys::known(name) && line[..word].chars().all(|c| matches!(c, ' ' | '-' | '{' | '[' | '#'));
        }
        if secret_key(name) && name != "tokens" || matches!(name, "url" | "endpoint" | "proxy") {
            hidden.push((colon + 1).min(line.len())..line.len());
            break;
        }
        at = colon + 1;
    }
    if !safe {
        for part in line.split(|c: char| !credential_char(c)) {
            let begin = part.as_ptr() as usize - line.as_ptr() as usize;
            if part.len() >= 4 && !keys::known(part) {
                hidden.push(begin..begin + part.len());
            }
        }
    }
    hidden
}

/// Whether this may be part of a secret of any kind.
fn credential_char(c: char) -> bool {
    !c.is_ascii() || credential(c as u8) || matches!(c, '@' | '$' | '!' | '%' | '&' | '*' | '^')
}

//! The web config file: who may reach the port, in the format of the Prometheus exporter-toolkit.
//!
//! A text in, what it asks for out, or every mistake in it. What is asked for and not supported is refused by its
//! name, never silently left out. Paths come back as they were written; whoever reads them knows where the file lies.

mod keys;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use super::fields::Fields;
use super::mistakes::{Log, Mistakes};
use super::tree::{self, Node, Value};
use super::{Source, redact};

pub(super) use keys::SECTIONS;

/// What the file asks for. Empty means neither TLS nor passwords.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Web {
    pub tls: Option<WebTls>,
    /// Headers to be sent with every answer, names as the toolkit spells them; at most one of each.
    pub headers: Vec<(&'static str, String)>,
    /// Who may come in with a password.
    pub users: BTreeMap<String, PasswordHash>,
}

/// TLS of the port.
#[derive(Debug, Clone, PartialEq)]
pub struct WebTls {
    /// PEM, relative to the file's directory, like all paths here.
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// The versions that are spoken; at least one.
    pub versions: Vec<TlsVersion>,
    /// Whose client certificates are believed, where any are looked at.
    pub clients: Option<WebClients>,
}

/// Client certificates.
#[derive(Debug, Clone, PartialEq)]
pub struct WebClients {
    pub ca_file: PathBuf,
    /// Whether one is needed for everything but health.
    pub required: bool,
    /// Where not empty: only certificates for one of these DNS names, IP addresses or URIs.
    pub allowed_sans: Vec<String>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// A bcrypt hash of the right shape and an affordable cost. Never shown.
#[derive(Clone, PartialEq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// The hash as it is written: `$2y$10$…`, 60 bytes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("PasswordHash(…)")
    }
}

/// Costs that bcrypt knows begin here.
const LEAST_COST: u32 = 4;
/// Below this somebody who has the file guesses passwords quickly.
const GOOD_COST: u32 = 10;
/// Beyond this one look at a password takes many seconds: at 14 about two.
const MOST_COST: u32 = 14;
const HTPASSWD: &str = "make one with `htpasswd -nBC 10 NAME`";

/// Reads a web config: the whole of it with its warnings (`file:line:column: …`), or every mistake in it.
pub fn parse(file: Source<'_>) -> Result<(Web, Vec<String>), Mistakes> {
    let mut log = Log::new();
    let source = log.add(file.name, file.text);
    let node = tree::read(&mut log, source);
    match &node {
        Some(node) => redact::scan(node, &mut log),
        None => log.distrust(source),
    }
    let web = node.and_then(|node| assemble(&node, &mut log));
    log.finish(web)
}

/// The mapping without those keys of the toolkit that are refused here; each of them is a mistake.
fn supported(node: &Node, section: &str, log: &mut Log) -> Node {
    let refused = keys::REFUSED.iter().find(|(what, _)| *what == section).map_or(&[][..], |(_, keys)| keys);
    let help = |word: &str| refused.iter().find(|(name, _)| *name == word).map(|(_, help)| *help);
    if let Value::Map(pairs) = &node.value {
        for (key, _) in pairs {
            if let Some(help) = help(key.word()) {
                log.mistake(key.at, format!("`{}` is not supported here", key.word()), help);
            }
        }
    }
    node.filtered(|key| help(key.word()).is_none())
}

fn assemble(node: &Node, log: &mut Log) -> Option<Web> {
    let node = supported(node, keys::ROOT.what, log);
    let root = Fields::open(Some(&node), node.at, None, &keys::ROOT, log)?;
    let tls = root.own("tls_server_config").map(|node| tls(node, log));
    let headers = root.own("http_server_config").map(|node| http(node, log));
    let users = root.own("basic_auth_users").map(|node| users(node, log));
    let web = Web {
        tls: tls.map_or(Some(None), |tls| tls.map(Some))?,
        headers: headers.unwrap_or_else(|| Some(Vec::new()))?,
        users: users.unwrap_or_else(|| Some(BTreeMap::new()))?,
    };
    if web == Web::default() {
        log.warn(root.at, "this file asks for neither TLS nor passwords".to_owned());
    }
    let strict = web.headers.iter().any(|(name, _)| *name == "Strict-Transport-Security");
    if strict && web.tls.is_none() {
        log.warn(root.at, "Strict-Transport-Security has no effect without TLS".to_owned());
    }
    Some(web)
}

fn tls(node: &Node, log: &mut Log) -> Option<WebTls> {
    let node = supported(node, keys::TLS.what, log);
    let tls = Fields::open(Some(&node), node.at, None, &keys::TLS, log)?;
    let cert_file = tls.need("cert_file", log).and_then(|node| log.path(node));
    let key_file = tls.need("key_file", log).and_then(|node| log.path(node));
    let clients = clients(&tls, log);
    let versions = versions(&tls, log);
    Some(WebTls { cert_file: cert_file?, key_file: key_file?, versions: versions?, clients: clients? })
}

fn version(node: &Node, log: &mut Log) -> Option<TlsVersion> {
    match node.word() {
        "TLS12" => Some(TlsVersion::Tls12),
        "TLS13" => Some(TlsVersion::Tls13),
        "TLS10" | "TLS11" => {
            let message = format!("{} is not spoken: it has been broken", log.quote(node));
            log.mistake(node.at, message, "write TLS12 or TLS13");
            None
        }
        _ => {
            let message = format!("{} is not a version of TLS", log.quote(node));
            log.mistake(node.at, message, "write TLS12 or TLS13");
            None
        }
    }
}

fn versions(tls: &Fields<'_>, log: &mut Log) -> Option<Vec<TlsVersion>> {
    let least = tls.own("min_version").map(|node| (node, version(node, log)));
    let most = tls.own("max_version").map(|node| version(node, log));
    let at = least.map_or(tls.at, |(node, _)| node.at);
    let least = least.map_or(Some(TlsVersion::Tls12), |(_, version)| version)?;
    let most = most.unwrap_or(Some(TlsVersion::Tls13))?;
    if least > most {
        let message = "`min_version` is above `max_version`: no version would be spoken".to_owned();
        log.mistake(at, message, "remove one of them");
        return None;
    }
    Some([TlsVersion::Tls12, TlsVersion::Tls13].into_iter().filter(|v| (least..=most).contains(v)).collect())
}

/// What `client_auth_type` may say, and whether a certificate is then needed; `None` where none is looked at.
const CLIENT_AUTH: [(&str, Option<bool>); 3] = [
    ("NoClientCert", None),
    ("VerifyClientCertIfGiven", Some(false)),
    ("RequireAndVerifyClientCert", Some(true)),
];

/// `None` after a mistake, `Some(None)` where no client certificates are looked at.
fn clients(tls: &Fields<'_>, log: &mut Log) -> Option<Option<WebClients>> {
    let kind = match tls.own("client_auth_type") {
        None => Some(None),
        Some(node) if matches!(node.word(), "RequestClientCert" | "RequireAnyClientCert") => {
            let message =
                format!("{} is not supported here: whom it lets in nobody has verified", log.quote(node));
            log.mistake(node.at, message, "write RequireAndVerifyClientCert, with `client_ca_file`");
            None
        }
        Some(node) => {
            let known = CLIENT_AUTH.iter().find(|(name, _)| *name == node.word()).map(|(_, kind)| *kind);
            if known.is_none() {
                // Not by `choice`: words as long as these are taken for secrets and not repeated.
                let names: Vec<&str> = CLIENT_AUTH.iter().map(|(name, _)| *name).collect();
                let message = "this is no kind of client authentication".to_owned();
                log.mistake(node.at, message, format!("allowed here: {}", names.join(", ")));
            }
            known
        }
    };
    let ca = tls.own("client_ca_file").map(|node| (node.at, log.path(node)));
    let sans_at = tls.own("client_allowed_sans").map(|node| node.at);
    let sans: Vec<Option<String>> =
        tls.list("client_allowed_sans", log).iter().map(|node| san(node, log)).collect();
    let sans: Option<Vec<String>> = sans.into_iter().collect();
    let kind = kind?;
    if let (Some(at), false) = (sans_at, kind == Some(true)) {
        let message = "`client_allowed_sans` has no effect unless certificates are required".to_owned();
        log.mistake(at, message, "add `client_auth_type: RequireAndVerifyClientCert`, or remove it");
    }
    match (kind, ca) {
        (None, None) => Some(None),
        (None, Some((at, _))) => {
            let message = "`client_ca_file` has no effect: no client certificate is asked for".to_owned();
            log.mistake(at, message, "add `client_auth_type: RequireAndVerifyClientCert`, or remove it");
            None
        }
        (Some(_), None) => {
            let message = "client certificates cannot be verified without `client_ca_file`".to_owned();
            log.mistake(tls.at, message, "name the PEM file of those who sign your clients' certificates");
            None
        }
        (Some(required), Some((_, ca_file))) => {
            Some(Some(WebClients { ca_file: ca_file?, required, allowed_sans: sans? }))
        }
    }
}

/// A DNS name, an IP address or a URI, as it stands in a certificate.
fn san(node: &Node, log: &mut Log) -> Option<String> {
    let text = log.words(node)?;
    if text.contains('@') && !text.contains("://") {
        let message =
            format!("{} is an e-mail address, by which clients are not told apart here", log.quote(node));
        log.mistake(node.at, message, "name a DNS name, an IP address or a URI of the certificate");
        return None;
    }
    let dns = |text: &str| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'*'))
    };
    if text.parse::<IpAddr>().is_err() && !text.contains(':') && !dns(text) {
        let message = format!("{} is no name of a certificate", log.quote(node));
        log.mistake(node.at, message, "name a DNS name, an IP address or a URI of the certificate");
        return None;
    }
    Some(text.to_owned())
}

fn http(node: &Node, log: &mut Log) -> Option<Vec<(&'static str, String)>> {
    let http = Fields::open(Some(node), node.at, None, &keys::HTTP, log)?;
    let mut sound = true;
    if let Some(node) = http.own("http2") {
        match log.flag(node) {
            Some(true) => {
                let message = "`http2: true` is not supported here: HTTP/1.1 is spoken".to_owned();
                log.mistake(node.at, message, "write false, or remove the key");
                sound = false;
            }
            Some(false) => {}
            None => sound = false,
        }
    }
    let Some(node) = http.own("headers") else { return sound.then(Vec::new) };
    // An empty value means that the toolkit does not send the header.
    let given = match &node.value {
        Value::Map(pairs) => {
            let empty = |key: &Node| {
                let value = pairs.iter().find(|(k, _)| k.word() == key.word()).map(|(_, value)| &value.value);
                match value {
                    Some(Value::Empty) => true,
                    Some(Value::Text(text)) => text.is_empty(),
                    _ => false,
                }
            };
            node.filtered(|key| !empty(key))
        }
        _ => node.clone(),
    };
    let fields = Fields::open(Some(&given), given.at, None, &keys::HEADERS, log)?;
    let mut headers = Vec::new();
    for name in keys::HEADERS.names() {
        let Some(node) = fields.own(name) else { continue };
        match header(name, node, log) {
            Some(value) => headers.push((name, value)),
            None => sound = false,
        }
    }
    sound.then_some(headers)
}

fn header(name: &str, node: &Node, log: &mut Log) -> Option<String> {
    let text = log.words(node)?;
    if !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        let message = format!("the value of {name} holds more than printable ASCII");
        log.mistake(node.at, message, "a header is one line of plain text");
        return None;
    }
    let allowed: &[&str] = match name {
        "X-Content-Type-Options" => &["nosniff"],
        "X-Frame-Options" => &["deny", "sameorigin"],
        _ => return Some(text.to_owned()),
    };
    let lower = text.to_ascii_lowercase();
    if !allowed.contains(&lower.as_str()) {
        let message = format!("{} is no value of {name}", log.quote(node));
        log.mistake(node.at, message, format!("allowed here: {}", allowed.join(", ")));
        return None;
    }
    if lower == "sameorigin" {
        log.warn(
            node.at,
            "the page is never shown in frames: our own X-Frame-Options, DENY, stays".to_owned(),
        );
    }
    Some(lower)
}

fn users(node: &Node, log: &mut Log) -> Option<BTreeMap<String, PasswordHash>> {
    let Value::Map(pairs) = &node.value else {
        let message = "`basic_auth_users` must be a mapping, `name: hash`".to_owned();
        log.mistake(node.at, message, HTPASSWD);
        return None;
    };
    let mut users = BTreeMap::new();
    let mut sound = true;
    for (name, value) in pairs {
        let hash = hash(value, log);
        let words = log.name(name, "the name of a user");
        if let Some(word) = words
            && word.contains(':')
        {
            let message = format!("the name {} holds a colon, with which a name ends", log.quote(name));
            log.mistake(name.at, message, "choose another name");
            sound = false;
        }
        match (words, hash) {
            (Some(name), Some(hash)) => {
                users.insert(name.to_owned(), hash);
            }
            _ => sound = false,
        }
    }
    sound.then_some(users)
}

fn hash(node: &Node, log: &mut Log) -> Option<PasswordHash> {
    let text = node.word();
    let known = ["$2a$", "$2b$", "$2y$"].iter().any(|version| text.starts_with(version));
    let cost = text.get(4..6).filter(|cost| cost.bytes().all(|b| b.is_ascii_digit()));
    let cost = cost.and_then(|cost| cost.parse::<u32>().ok());
    let rest = text.get(6..).and_then(|rest| rest.strip_prefix('$')).unwrap_or_default();
    let body =
        rest.len() == 53 && rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/'));
    let (true, Some(cost), true) = (known, cost, body) else {
        log.mistake(node.at, "this is not a bcrypt hash of a password".to_owned(), HTPASSWD);
        return None;
    };
    if cost < LEAST_COST {
        log.mistake(node.at, format!("bcrypt knows no cost {cost}"), HTPASSWD);
        return None;
    }
    if cost > MOST_COST {
        // From 14 on, which takes about two seconds, each step doubles it.
        let seconds = 2_u64.checked_shl(cost - MOST_COST).unwrap_or(u64::MAX);
        let message =
            format!("a hash of cost {cost} takes about {seconds} seconds for every password that is tried");
        log.mistake(node.at, message, format!("at most {MOST_COST} is accepted; {HTPASSWD}"));
        return None;
    }
    if cost < GOOD_COST {
        let message = format!("a hash of cost {cost} is quickly guessed by whoever reads it; {HTPASSWD}");
        log.warn(node.at, message);
    }
    Some(PasswordHash(text.to_owned()))
}

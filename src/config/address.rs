//! Addresses: the Hub's origin, proxies, sinks and stores. Credentials never stand in one, tokens never travel
//! in the open, and nothing is ever sent to a metadata service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use url::{Host, Url};

use super::mistakes::{Log, quoted};
use super::redact::NEVER;
use super::tree::{Node, Value};
use super::{SinkKind, SinkUrl, StorePlace};

/// How far a host is from here, as its name alone tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Loopback,
    Private,
    /// An address of the internet.
    Public,
    /// A name with dots: only its resolution tells.
    Named,
    /// Link-local and metadata services, unspecified, multicast and broadcast.
    Forbidden,
}

/// Names under which clouds serve credentials.
const METADATA: &[&str] = &["metadata", "metadata.google.internal", "metadata.goog", "instance-data"];

/// Endings of names that are never those of a public host.
const INTERNAL: &[&str] = &[".local", ".internal", ".svc", ".lan", ".intranet", ".home.arpa", ".test"];

/// How far away the host of an address is.
pub fn reach(url: &Url) -> Reach {
    match url.host() {
        Some(Host::Ipv4(ip)) => reach_of(IpAddr::V4(ip)),
        Some(Host::Ipv6(ip)) => reach_of(IpAddr::V6(ip)),
        Some(Host::Domain(name)) => named(name),
        None => Reach::Forbidden,
    }
}

fn named(name: &str) -> Reach {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    // Schemes that the URL standard does not know keep their hosts as text.
    if let Ok(ip) = name.parse::<IpAddr>() {
        return reach_of(ip);
    }
    if METADATA.contains(&name.as_str()) {
        Reach::Forbidden
    } else if name == "localhost" || name.ends_with(".localhost") {
        Reach::Loopback
    } else if !name.contains('.') || INTERNAL.iter().any(|end| name.ends_with(end)) {
        Reach::Private
    } else {
        Reach::Named
    }
}

/// The same, of an address that a name led to.
pub fn reach_of(ip: IpAddr) -> Reach {
    match ip {
        IpAddr::V4(ip) => reach_of_v4(ip),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => reach_of_v4(ip),
            None => reach_of_v6(ip),
        },
    }
}

fn reach_of_v4(ip: Ipv4Addr) -> Reach {
    // 100.100.100.200 is Alibaba's metadata service, 192.0.0.192 Oracle's old one.
    let metadata = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)].contains(&ip);
    let shared = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
    if ip.is_link_local() || metadata || ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() {
        Reach::Forbidden
    } else if ip.is_loopback() {
        Reach::Loopback
    } else if ip.is_private() || shared {
        Reach::Private
    } else {
        Reach::Public
    }
}

fn reach_of_v6(ip: Ipv6Addr) -> Reach {
    let aws = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    if ip.is_unicast_link_local() || ip == aws || ip.is_unspecified() || ip.is_multicast() {
        Reach::Forbidden
    } else if ip.is_loopback() {
        Reach::Loopback
    } else if ip.is_unique_local() {
        Reach::Private
    } else {
        Reach::Public
    }
}

impl Log {
    /// A URL with one of these schemes and a host, without credentials or fragment.
    fn url(&mut self, node: &Node, schemes: &[&str], credentials: &str) -> Option<Url> {
        let text = self.words(node)?;
        let example = schemes.iter().map(|s| format!("{s}://HOST")).collect::<Vec<_>>().join(" or ");
        let Ok(url) = Url::parse(text) else {
            let message = format!("{} is not an address", self.quote(node));
            self.mistake(node.at, message, format!("write it as {example}"));
            return None;
        };
        if !schemes.contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
            let message = format!("{} is no address of this kind", self.quote(node));
            self.mistake(node.at, message, format!("write it as {example}"));
            return None;
        }
        if url.password().is_some() || (!url.username().is_empty() && !url.scheme().starts_with("smtp")) {
            // A user's name alone is how some services spell their tokens, so it counts as a secret too.
            self.mistake(node.at, "this address holds credentials".to_owned(), credentials);
            return None;
        }
        if url.fragment().is_some() {
            self.mistake(node.at, "this address has a fragment (`#…`)".to_owned(), "remove it");
            return None;
        }
        Some(url)
    }

    /// The Hub's origin, and whether it is loopback.
    pub(super) fn endpoint(&mut self, node: &Node, allow_insecure: bool) -> Option<(String, bool)> {
        let url = self.url(node, &["https", "http"], "remove them: tokens are given under `tokens`")?;
        let origin = url.origin().ascii_serialization();
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            let message = "the endpoint is an origin, without a path or a query".to_owned();
            self.mistake(node.at, message, format!("write {origin}"));
            return None;
        }
        let reach = reach(&url);
        if reach == Reach::Forbidden {
            let message = "the endpoint is a link-local or metadata address".to_owned();
            self.mistake(node.at, message, "tokens are only ever sent to a Hub");
            return None;
        }
        if url.scheme() == "http" && reach != Reach::Loopback && !allow_insecure {
            let message = "plain http would send tokens in the open".to_owned();
            let help = "write https://, or set `allow_insecure: true` beside it if the network is trusted";
            self.mistake(node.at, message, help);
            return None;
        }
        Some((origin, reach == Reach::Loopback))
    }

    pub(super) fn proxy(&mut self, node: &Node) -> Option<String> {
        let url = self.url(
            node,
            &["http", "https"],
            "remove them: a proxy that asks for a password is not supported",
        )?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            let help = format!("write {}", url.origin().ascii_serialization());
            self.mistake(node.at, "a proxy is a host and a port, without a path".to_owned(), help);
            return None;
        }
        if reach(&url) == Reach::Forbidden {
            let message = "the proxy is a link-local or metadata address".to_owned();
            self.mistake(node.at, message, "such hosts are never asked for anything");
            return None;
        }
        Some(url.origin().ascii_serialization())
    }

    /// A sink's address, in the open or as a place.
    pub(super) fn sink_url(&mut self, node: &Node, kind: SinkKind) -> Option<SinkUrl> {
        if let Value::Map(_) = node.value {
            return self.place(node).map(SinkUrl::Secret);
        }
        let mail = kind == SinkKind::Email;
        let url = self.url(node, if mail { &["smtps", "smtp"] } else { &["https", "http"] }, NEVER)?;
        let reach = reach(&url);
        if reach == Reach::Forbidden {
            let message = "link-local and metadata addresses are refused".to_owned();
            self.mistake(node.at, message, "a sink sits at a public, private or loopback address");
            return None;
        }
        let open = matches!(url.scheme(), "http" | "smtp");
        let service = matches!(kind, SinkKind::Slack | SinkKind::Pagerduty);
        if open && (reach == Reach::Public || reach == Reach::Named && service) {
            let message = format!("plain {} to a public address is refused", url.scheme());
            self.mistake(node.at, message, format!("write {}s://", url.scheme()));
            return None;
        }
        if open && reach == Reach::Named {
            let message =
                format!("plain {} to a name: nothing is sent if it resolves publicly", url.scheme());
            self.warn(node.at, message);
        }
        if kind == SinkKind::Slack && !open {
            self.warn(
                node.at,
                "who knows a Slack webhook's address may post there; use {file: …} or {env: …}".to_owned(),
            );
        }
        if mail
            && !["from", "to"].iter().all(|key| url.query_pairs().any(|(k, v)| k == *key && v.contains('@')))
        {
            let message = "a mail sink says who writes to whom".to_owned();
            self.mistake(node.at, message, "write smtps://HOST?from=ADDRESS&to=ADDRESS");
            return None;
        }
        Some(SinkUrl::Plain(node.word().to_owned()))
    }

    /// `sqlite://PATH`, `postgres://…` without a password, or the place of a PostgreSQL URL.
    pub(super) fn store_url(&mut self, node: &Node) -> Option<StorePlace> {
        if let Value::Map(_) = node.value {
            return self.place(node).map(StorePlace::Postgres);
        }
        let text = self.words(node)?;
        if let Some(path) = text.strip_prefix("sqlite://") {
            if path.is_empty() || path.ends_with('/') || path.contains(['?', '#']) || path.starts_with(':') {
                let message = format!("{} names no file", self.quote(node));
                let help =
                    "write sqlite:///var/lib/scopewatch/state.db, or sqlite://state.db beside the process";
                self.mistake(node.at, message, help);
                return None;
            }
            return Some(StorePlace::Sqlite(PathBuf::from(path)));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return match Url::parse(text) {
                Ok(url)
                    if url.password().is_some() || url.query_pairs().any(|(key, _)| key == "password") =>
                {
                    let message = "this address holds a password".to_owned();
                    self.mistake(node.at, message, format!("{NEVER}, with the whole address in it"));
                    None
                }
                Ok(_) => Some(StorePlace::PostgresUrl(text.to_owned())),
                Err(_) => {
                    let message = format!("{} is not an address", self.quote(node));
                    self.mistake(node.at, message, "write postgres://USER@HOST/DATABASE");
                    None
                }
            };
        }
        let message = format!("{} is not a store", self.quote(node));
        self.mistake(node.at, message, "write sqlite://PATH or postgres://HOST/DATABASE");
        None
    }

    /// An IP address and a port.
    pub(super) fn socket(&mut self, node: &Node) -> Option<std::net::SocketAddr> {
        let text = self.words(node)?;
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        let port = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        let help = match (text.strip_prefix("localhost:"), port) {
            (Some(_), Some(port)) => format!("write 127.0.0.1:{port}"),
            (None, Some(port)) if matches!(text.rsplit_once(':'), None | Some(("" | "*", _))) => {
                format!("write 0.0.0.0:{port} for all interfaces, or 127.0.0.1:{port} for this host only")
            }
            _ => "an IP address and a port are expected, such as 127.0.0.1:10847 or [::1]:10847".to_owned(),
        };
        self.mistake(node.at, format!("{} is no address to listen on", quoted(text)), help);
        None
    }
}

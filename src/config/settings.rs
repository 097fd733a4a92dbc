//! The sections that concern the daemon itself: hub, schedule, alerts and their sinks, server, store. Whatever
//! is not given comes from the embedded defaults.

use std::collections::HashMap;
use std::time::Duration;

use super::fields::{Fields, nearest};
use super::keys;
use super::mistakes::{Log, Spot, quoted};
use super::tree::Node;
use super::{Alerts, Hub, Schedule, Server, Sink, SinkKind, SinkUrl, StorePlace, TlsRoots};

/// Where PagerDuty takes events.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";

/// The section under this key, with the defaults that the embedded document has for it.
fn section<'n>(
    root: &Fields<'n>,
    defaults: &'n Node,
    key: &'static str,
    table: &'static keys::Section,
    log: &mut Log,
) -> Option<Fields<'n>> {
    Fields::open(root.own(key), root.at, defaults.under(key), table, log)
}

pub(super) fn hub(root: &Fields<'_>, defaults: &Node, log: &mut Log) -> Option<Hub> {
    let hub = section(root, defaults, "hub", &keys::HUB, log)?;
    let insecure = hub.get("allow_insecure").and_then(|node| log.flag(node));
    let endpoint = hub.need("endpoint", log).and_then(|node| log.endpoint(node, insecure == Some(true)));
    let request_timeout = hub.need("request_timeout", log).and_then(|node| log.duration(node));
    let max_in_flight = hub.count("max_in_flight", log);
    let quota_share = hub.need("quota_share", log).and_then(|node| log.share(node));
    let horizon = hub.need("in_flight_horizon", log);
    let in_flight_horizon = horizon.and_then(|node| log.duration(node));
    if let (Some(node), Some(given), Some((_, loopback))) = (horizon, in_flight_horizon, &endpoint) {
        let floor = if *loopback { 1 } else { 60 };
        if given < Duration::from_secs(floor) {
            let message = format!("`in_flight_horizon` is below {floor}s");
            let help = "a request that we gave up on may still take effect for so long; \
                        at least 60s, 1s to a loopback endpoint";
            log.mistake(node.at, message, help);
        }
    }
    let proxy = hub.own("proxy").map(|node| log.proxy(node));
    let ca_files = hub.list("ca_files", log).iter().filter_map(|node| log.path(node)).collect();
    let roots = [("system", TlsRoots::System), ("bundled", TlsRoots::Bundled)];
    let tls_roots = hub.need("tls_roots", log).and_then(|node| log.choice(node, "a source of roots", &roots));
    let (endpoint, loopback) = endpoint?;
    Some(Hub {
        endpoint,
        loopback,
        request_timeout: request_timeout?,
        max_in_flight: usize::try_from(max_in_flight?).ok()?,
        quota_share: quota_share?,
        in_flight_horizon: in_flight_horizon?,
        proxy: proxy.flatten(),
        ca_files,
        tls_roots: tls_roots?,
    })
}

pub(super) fn schedule(root: &Fields<'_>, defaults: &Node, log: &mut Log) -> Option<Schedule> {
    let schedule = section(root, defaults, "schedule", &keys::SCHEDULE, log)?;
    let probe = schedule.need("probe", log).and_then(|node| log.cron(node));
    // Whatever the document shows: creating follows probing unless somebody says otherwise.
    let canary = schedule.own("canary").map(|node| log.cron(node));
    let declared = schedule.need("declared", log).and_then(|node| log.cron(node));
    let timezone = schedule.need("timezone", log).and_then(|node| zone(node, log));
    let on_start = schedule.need("on_start", log).and_then(|node| log.flag(node));
    let probe = probe?;
    Some(Schedule {
        canary: canary.unwrap_or_else(|| Some(probe.clone()))?,
        probe,
        declared: declared?,
        timezone: timezone?,
        on_start: on_start?,
    })
}

fn zone(node: &Node, log: &mut Log) -> Option<chrono_tz::Tz> {
    let name = log.words(node)?;
    if let Ok(zone) = name.parse() {
        return Some(zone);
    }
    let all = || chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
    // Most people know the city and not its continent.
    let city = name.rsplit('/').next().unwrap_or(name).replace(' ', "_");
    let near = nearest(name, all()).or_else(|| {
        all().find(|zone| zone.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(&city)))
    });
    let help = match near {
        Some(near) => format!("did you mean {}?", quoted(near)),
        None => "write a zone of the IANA database, such as UTC or Europe/Paris".to_owned(),
    };
    let message = format!("{} is not a time zone", log.quote(node));
    log.mistake(node.at, message, help);
    None
}

pub(super) fn alerts(root: &Fields<'_>, defaults: &Node, log: &mut Log) -> Option<Alerts> {
    let alerts = section(root, defaults, "alerts", &keys::ALERTS, log)?;
    let confirm_denials = alerts.count("confirm_denials", log);
    let resolve_after = alerts.count("resolve_after", log);
    let stale_after = alerts.own("stale_after").map(|node| log.duration(node));
    let expires_within = alerts.need("expires_within", log).and_then(|node| log.duration(node));
    let remind_every = alerts.need("remind_every", log).and_then(|node| log.duration(node));
    let mut names = HashMap::new();
    let nodes = alerts.list("sinks", log);
    let sinks = nodes.iter().filter_map(|node| sink(node, &mut names, log)).collect();
    Some(Alerts {
        confirm_denials: u32::try_from(confirm_denials?).ok()?,
        resolve_after: u32::try_from(resolve_after?).ok()?,
        stale_after: stale_after.flatten(),
        expires_within: expires_within?,
        remind_every: remind_every?,
        sinks,
    })
}

const KINDS: [(&str, SinkKind); 5] = [
    ("alertmanager", SinkKind::Alertmanager),
    ("webhook", SinkKind::Webhook),
    ("slack", SinkKind::Slack),
    ("pagerduty", SinkKind::Pagerduty),
    ("email", SinkKind::Email),
];

fn sink<'n>(node: &'n Node, names: &mut HashMap<&'n str, Spot>, log: &mut Log) -> Option<Sink> {
    let sink = Fields::open(Some(node), node.at, None, &keys::SINK, log)?;
    let name_node = sink.need("name", log);
    let name = name_node.and_then(|node| log.name(node, "the name of a sink"));
    if let (Some(node), Some(name)) = (name_node, name)
        && let Some(first) = names.insert(name, node.at)
    {
        let message = format!("two sinks are named {}", log.quote(node));
        log.mistake(node.at, message, format!("the first is in line {}; names are labels", first.line));
    }
    let kind = sink.need("type", log).and_then(|node| log.choice(node, "a kind of sink", &KINDS));
    let url_node = sink.own("url");
    let secret_node = sink.own("secret");
    let secret = secret_node.map(|node| log.place(node));
    let kind = kind?;
    let url = match url_node {
        Some(node) => log.sink_url(node, kind),
        None if kind == SinkKind::Pagerduty => Some(SinkUrl::Plain(PAGERDUTY.to_owned())),
        None => {
            let help = "an address, {file: …} or {env: …}";
            log.mistake(sink.at, "a sink needs `url`".to_owned(), help);
            None
        }
    };
    match (kind, secret_node) {
        (SinkKind::Pagerduty, None) => {
            let help = "{file: …} or {env: …}: the integration key of the service";
            log.mistake(sink.at, "a sink of type `pagerduty` needs `secret`".to_owned(), help);
        }
        (SinkKind::Slack | SinkKind::Alertmanager, Some(node)) => {
            let message = "`secret` has no meaning for a sink of this type".to_owned();
            log.mistake(
                node.at,
                message,
                "it is for webhook (signature), pagerduty (key) and email (password)",
            );
        }
        _ => {}
    }
    Some(Sink { name: name?.to_owned(), kind, url: url?, secret: secret.flatten() })
}

pub(super) fn server(root: &Fields<'_>, defaults: &Node, log: &mut Log) -> Option<Server> {
    let server = section(root, defaults, "server", &keys::SERVER, log)?;
    let listen = server.need("listen", log).and_then(|node| log.socket(node));
    let lifecycle = server.need("lifecycle", log).and_then(|node| log.flag(node));
    let open_page = server.need("open_page", log).and_then(|node| log.flag(node));
    let web_config = server.own("web_config").map(|node| log.path(node));
    Some(Server {
        listen: listen?,
        lifecycle: lifecycle?,
        open_page: open_page?,
        web_config: web_config.flatten(),
    })
}

pub(super) fn store(root: &Fields<'_>, defaults: &Node, log: &mut Log) -> Option<StorePlace> {
    let store = section(root, defaults, "store", &keys::STORE, log)?;
    store.need("url", log).and_then(|node| log.store_url(node))
}

//! What the way to the Hub, its first answer, its clock and the organizations' names come to. Pure.

use std::time::Duration;

use crate::config::{self, TlsRoots};
use crate::exchange::{Answer, Exchange, Failure};
use crate::hub::answers::of_outcome;
use crate::hub::readings::{OverviewRow, overview};
use crate::hub::shown::quoted;
use crate::probe::{Obstacle, TlsTrouble, Way};

use super::rows::{Part, Row};

/// The difference of clocks that is worth a word, and the one from which on nothing is created or concluded.
const SKEW: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// Name and connection.
pub(super) fn way(way: Option<&Way>) -> Vec<Row> {
    let Some(way) = way else {
        return vec![Row::fail(
            Part::Hub,
            "name",
            "hub.endpoint has no host",
            "write it like https://huggingface.co",
        )];
    };
    let (what, key) = if way.proxied { ("the proxy ", "hub.proxy") } else { ("", "hub.endpoint") };
    let host = format!("{what}{}", way.host);
    let found = match &way.found {
        Ok(found) => found,
        Err(obstacle) => {
            return vec![Row::fail(Part::Hub, "name", format!("{host} {obstacle}"), around(*obstacle, key))];
        }
    };
    let addresses: Vec<String> = found.iter().map(|address| address.ip().to_string()).take(3).collect();
    let more = if found.len() > 3 { format!(" and {} more", found.len() - 3) } else { String::new() };
    let mut rows =
        vec![Row::ok(Part::Hub, "name", format!("{host} leads to {}{more}", addresses.join(", ")))];
    rows.extend(way.connected.as_ref().map(|connected| match connected {
        Ok((address, took)) => Row::ok(
            Part::Hub,
            "connection",
            format!("{what}{address} accepts connections ({} ms)", took.as_millis()),
        ),
        Err(obstacle) => {
            Row::fail(Part::Hub, "connection", format!("{host} {obstacle}"), around(*obstacle, key))
        }
    }));
    rows
}

/// Whether the host could be connected to.
pub(super) fn passable(way: Option<&Way>) -> bool {
    way.is_some_and(|way| matches!(way.connected, Some(Ok(_))))
}

fn around(obstacle: Obstacle, key: &str) -> String {
    match obstacle {
        Obstacle::NoAddress => format!("correct {key}, or this machine's name service (/etc/resolv.conf)"),
        Obstacle::Refused => format!("correct the port of {key}, or start what should listen there"),
        Obstacle::NoRoute | Obstacle::Silent | Obstacle::Other => {
            format!(
                "correct {key}, or open the way through the firewall; if a proxy is needed, set hub.proxy"
            )
        }
    }
}

/// What vouches for the Hub, as the config has it.
fn roots(hub: &config::Hub) -> String {
    let roots = match hub.tls_roots {
        TlsRoots::System => "the system's roots",
        TlsRoots::Bundled => "the bundled roots",
    };
    match hub.ca_files.len() {
        0 => roots.to_owned(),
        1 => format!("{roots} and 1 file of hub.ca_files"),
        more => format!("{roots} and {more} files of hub.ca_files"),
    }
}

/// TLS, and the status of a harmless read. `tls` is why the handshake failed, if it did.
pub(super) fn answer(hub: &config::Hub, exchange: &Exchange, tls: Option<TlsTrouble>) -> Vec<Row> {
    let mut rows = Vec::new();
    let plain = hub.endpoint.starts_with("http:");
    if let Some(trouble) = tls {
        let remedy = match trouble {
            TlsTrouble::UnknownIssuer => "add its authority's certificate to hub.ca_files",
            TlsTrouble::OtherName => "write hub.endpoint with the name that the certificate is for",
            TlsTrouble::Expired | TlsTrouble::NotYet => "renew the certificate, or set this machine's clock",
            TlsTrouble::NotTls => "correct the port of hub.endpoint, or the proxy before it",
            TlsTrouble::Revoked | TlsTrouble::Certificate | TlsTrouble::Broken => {
                "look at what listens there; a firewall may stand in between"
            }
        };
        rows.push(Row::fail(Part::Hub, "TLS", format!("{trouble} ({})", roots(hub)), remedy));
        return rows;
    }
    if plain {
        rows.push(if hub.loopback {
            Row::ok(Part::Hub, "TLS", "none: plain http, and only within this machine")
        } else {
            Row::warn(Part::Hub, "TLS", "none: tokens travel in the open", "write https:// in hub.endpoint")
        });
    } else if exchange.outcome != Err(Failure::Unsent) {
        rows.push(Row::ok(Part::Hub, "TLS", format!("its certificate is good by {}", roots(hub))));
    }
    rows.push(status(exchange));
    rows
}

fn status(exchange: &Exchange) -> Row {
    let asked = format!("{} {}", exchange.request.verb, exchange.request.path);
    let fail = |seen: String, remedy: &str| Row::fail(Part::Hub, "answer", seen, remedy);
    match &exchange.outcome {
        Ok(answer) => said(&asked, answer, exchange.elapsed),
        Err(Failure::Timeout) => fail(
            format!("no answer to {asked} within hub.request_timeout"),
            "try again; if it stays so, look at what stands between here and the Hub",
        ),
        Err(Failure::Oversized) => {
            fail(format!("the answer to {asked} is no answer of a Hub: far too long"), "correct hub.endpoint")
        }
        Err(_) => fail(
            format!("the connection broke before an answer to {asked}"),
            "try again; if it stays so, look at what stands between here and the Hub",
        ),
    }
}

fn said(asked: &str, answer: &Answer, elapsed: Duration) -> Row {
    let seen = format!("{asked} is answered with {} in {} ms", answer.status, elapsed.as_millis());
    match answer.status {
        429 => Row::warn(Part::Hub, "answer", seen, "this address has asked too much; wait five minutes"),
        500.. => Row::fail(Part::Hub, "answer", seen, "the Hub is in trouble; try again later"),
        300..=399 => Row::fail(
            Part::Hub,
            "answer",
            format!("{seen}, which leads elsewhere"),
            "write the Hub's own origin in hub.endpoint; redirects are never followed with a token",
        ),
        _ => Row::ok(Part::Hub, "answer", seen),
    }
}

/// The organization under its name.
pub(super) fn organization(name: &str, exchange: &Exchange) -> Row {
    let fail = |seen: String, remedy: String| Row::fail(Part::Organizations, name, seen, remedy);
    match overview(&exchange.outcome, name) {
        (OverviewRow::Confirmed, _) => Row::ok(Part::Organizations, name, "exists under exactly this name"),
        (OverviewRow::OtherCase, other) => {
            let other = quoted(&other.unwrap_or_default());
            fail(
                format!("the Hub spells it {other}, and creating is case-sensitive"),
                format!("write name: {other} under organizations, and in its repositories"),
            )
        }
        (OverviewRow::Absent, _) => fail(
            "the Hub knows no organization of this name".to_owned(),
            "correct the name under organizations; if it is right, hub.endpoint is not this organization's Hub"
                .to_owned(),
        ),
        (OverviewRow::Unclear, _) => fail(
            format!("whether it exists is not clear ({})", of_outcome(&exchange.outcome)),
            "see hub above; if it is well, try again later".to_owned(),
        ),
    }
}

/// How far the Hub's clock is ahead of ours in milliseconds, by the answer in which they differ least: one may be a
/// copy that somebody in between kept. A date has whole seconds.
pub(super) fn skew<'e>(exchanges: impl IntoIterator<Item = &'e Exchange>) -> Option<i64> {
    let of = |exchange: &'e Exchange| {
        let date = exchange.outcome.as_ref().ok()?.date?;
        let heard = (exchange.sent_at + exchange.elapsed / 2).millis();
        // A clock that shows a second shows it for all of that second.
        let (least, most) = (date.millis() - heard, date.millis() + 999 - heard);
        Some(if least > 0 { least } else { most.min(0) })
    };
    exchanges.into_iter().filter_map(of).min_by_key(|by| by.unsigned_abs())
}

/// Our clock against the Hub's.
pub(super) fn clock(skew: Option<i64>) -> Row {
    let set = "set this machine's clock (chrony, systemd-timesyncd)";
    let Some(by) = skew else {
        return Row::warn(
            Part::Clock,
            "difference",
            "no answer of the Hub says its time",
            "make sure that this machine's clock is set by a time service",
        );
    };
    let apart = Duration::from_millis(by.unsigned_abs());
    let side = if by > 0 { "behind" } else { "ahead of" };
    let seen = format!("this machine is {:.1} s {side} the Hub", apart.as_secs_f64());
    if apart > SKEW.1 {
        let seen = format!("{seen}: above 60 s nothing is created, and nothing is concluded from age");
        Row::fail(Part::Clock, "difference", seen, set)
    } else if apart > SKEW.0 {
        Row::warn(Part::Clock, "difference", seen, set)
    } else {
        Row::ok(
            Part::Clock,
            "difference",
            format!("the Hub's clock and ours agree within {:.0} s", apart.as_secs_f64().max(1.0)),
        )
    }
}

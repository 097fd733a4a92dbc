//! How far one gets on the way to the endpoint, step by step, and why not further: for people who must mend it.
//!
//! No error of the client is formatted here, either: each is one of a closed list. No token takes part.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::{CertificateError, InvalidMessage};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use url::Url;

use super::{Prober, Settings};
use crate::exchange::Request;

/// What stands in the way. Finishes the sentence "the host …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    #[error("has a name that leads to no address")]
    NoAddress,
    #[error("refuses the connection: nothing listens at that port")]
    Refused,
    #[error("cannot be reached: there is no route to it from here")]
    NoRoute,
    #[error("does not answer in time")]
    Silent,
    #[error("cannot be connected to")]
    Other,
}

/// What was wrong with the other side's TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlsTrouble {
    #[error("its certificate is of an authority that is not trusted here")]
    UnknownIssuer,
    #[error("its certificate is for another name")]
    OtherName,
    #[error("its certificate is over, or this machine's clock is wrong")]
    Expired,
    #[error("its certificate is not valid yet, or this machine's clock is wrong")]
    NotYet,
    #[error("its certificate was revoked")]
    Revoked,
    #[error("its certificate is not acceptable")]
    Certificate,
    #[error("it does not speak TLS at this port")]
    NotTls,
    #[error("it broke the handshake off")]
    Broken,
}

/// The steps to the endpoint, or to the proxy before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Host and port that are connected to.
    pub host: String,
    /// Whether that is the proxy.
    pub proxied: bool,
    /// The addresses that its name leads to.
    pub found: Result<Vec<SocketAddr>, Obstacle>,
    /// The one that took the connection, and how long that needed; `None` if it was not tried.
    pub connected: Option<Result<(SocketAddr, Duration), Obstacle>>,
}

impl Settings {
    /// Resolves and connects, and ends the connection without a word. `None` if there is no host in the settings.
    pub async fn way(&self) -> Option<Way> {
        let url = Url::parse(self.proxy.as_deref().unwrap_or(&self.endpoint)).ok()?;
        let (host, port) = (url.host_str()?, url.port_or_known_default()?);
        let patience = self.request_timeout.mul_f64(0.75);
        let bare = host.trim_matches(['[', ']']);
        let found = match timeout(patience, lookup_host((bare, port))).await {
            Err(_) => Err(Obstacle::Silent),
            Ok(Err(_)) => Err(Obstacle::NoAddress),
            Ok(Ok(found)) => Ok(found.collect::<Vec<_>>()).and_then(|found| match found.is_empty() {
                true => Err(Obstacle::NoAddress),
                false => Ok(found),
            }),
        };
        let connected = match &found {
            Ok(addresses) => Some(connect(addresses, patience).await),
            Err(_) => None,
        };
        Some(Way { host: format!("{host}:{port}"), proxied: self.proxy.is_some(), found, connected })
    }
}

/// The first that takes the connection; else why the first did not.
async fn connect(addresses: &[SocketAddr], patience: Duration) -> Result<(SocketAddr, Duration), Obstacle> {
    let mut why = None;
    for address in addresses {
        let began = Instant::now();
        match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok((*address, began.elapsed())),
            Ok(Err(error)) => why = why.or(Some(obstacle(error.kind()))),
            Err(_) => why = why.or(Some(Obstacle::Silent)),
        }
    }
    Err(why.unwrap_or(Obstacle::Other))
}

fn obstacle(kind: io::ErrorKind) -> Obstacle {
    match kind {
        io::ErrorKind::ConnectionRefused => Obstacle::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Obstacle::NoRoute,
        io::ErrorKind::TimedOut => Obstacle::Silent,
        _ => Obstacle::Other,
    }
}

impl Prober {
    /// Tries the handshake once more for its error, by a read without a token; `None` where TLS is not what fails.
    pub async fn tls_trouble(&self, request: &Request) -> Option<TlsTrouble> {
        let ready = self.0.prepare(request, None).ok()?;
        let clients = self.0.clients.clone();
        let flight = async move { clients.execute(ready).await.err().and_then(|error| trouble(&error)) };
        timeout(self.0.request_timeout, self.0.wires.run(flight)).await.ok()??
    }
}

/// Looks for TLS among the causes.
fn trouble(error: &reqwest::Error) -> Option<TlsTrouble> {
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = next {
        if let Some(tls) = tls_in(error) {
            return Some(named(tls));
        }
        next = error.source();
    }
    None
}

/// The error of TLS that this is. What stands inside an `io::Error` is not among its sources, and may be another one.
fn tls_in<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.downcast_ref().or_else(|| tls_in(inside?))
}

fn named(error: &rustls::Error) -> TlsTrouble {
    use CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            Certificate::UnknownIssuer => TlsTrouble::UnknownIssuer,
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                TlsTrouble::OtherName
            }
            Certificate::Expired | Certificate::ExpiredContext { .. } => TlsTrouble::Expired,
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => TlsTrouble::NotYet,
            Certificate::Revoked => TlsTrouble::Revoked,
            _ => TlsTrouble::Certificate,
        },
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => TlsTrouble::NotTls,
        _ => TlsTrouble::Broken,
    }
}

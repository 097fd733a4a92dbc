//! Reads over connections that are kept (one for all of them, where the server speaks HTTP/2), and the one loss that
//! belongs to them: a server may end a kept connection at any moment, also while requests are on their way. Nobody heard
//! those then, and what they ask for says nothing of it; so each is sent once more, on a connection of its own.
//!
//! Knows connections by their own address, because the client tells nothing else of them. Knows nothing of tokens or
//! answers. Serves the prober.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::http::Extensions;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpInfo;
use reqwest::header::{CONNECTION, HeaderValue};
use reqwest::{Client, Method, Request, Response, Version};

use super::client::{self, ProberFault, Reuse};
use super::{Settings, origin::Origin};

/// More connections than this are never of use at the same time, but where there are, a loss is told as one.
const MOST: usize = 1024;

/// Both clients. Cheap to clone.
#[derive(Clone)]
pub(super) struct Clients {
    /// Keeps connections for later reads.
    reads: Client,
    /// A fresh connection for each request: on a kept one, a request could be lost without anybody knowing
    /// whether it was heard.
    alone: Client,
    answered: Arc<Answered>,
}

impl Clients {
    pub(super) fn new(settings: &Settings, origin: &Origin) -> Result<Clients, ProberFault> {
        Ok(Clients {
            reads: client::build(settings, origin.plain(), Reuse::Kept)?,
            alone: client::build(settings, origin.plain(), Reuse::Never)?,
            answered: Arc::default(),
        })
    }

    /// Sends it once; a read that a kept connection swallowed, once more.
    pub(super) async fn execute(self, request: Request) -> Result<Response, reqwest::Error> {
        if request.method() != Method::GET {
            return self.alone.execute(request).await;
        }
        let again = request.try_clone();
        let result = self.reads.execute(request).await;
        match (&result, again) {
            (Ok(response), _) if is_kept(response) => self.answered.on(address(response.extensions())),
            (Err(error), Some(again)) if self.answered.swallowed(error) => {
                return self.alone.execute(again).await;
            }
            _ => {}
        }
        result
    }
}

/// Connections on which an answer came, with the turn of the latest. The system may give the address of one that is over to a
/// fresh one; if that one is lost at once, a read is sent once more without need.
#[derive(Default)]
struct Answered(Mutex<Turns>);

#[derive(Default)]
struct Turns {
    last: u64,
    of: BTreeMap<SocketAddr, u64>,
}

impl Answered {
    fn known(&self) -> MutexGuard<'_, Turns> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on(&self, connection: Option<SocketAddr>) {
        let Some(connection) = connection else { return };
        let mut known = self.known();
        known.last += 1;
        let turn = known.last;
        known.of.insert(connection, turn);
        if known.of.len() > MOST {
            let oldest = known.of.iter().min_by_key(|(_, turn)| **turn).map(|(connection, _)| *connection);
            oldest.map(|connection| known.of.remove(&connection));
        }
    }

    /// Whether the connection had answered before, and ended before it answered this. What came and could not be
    /// read is an answer, and the same would come again.
    fn swallowed(&self, error: &reqwest::Error) -> bool {
        let Some(error) = error.source().and_then(|source| source.downcast_ref::<legacy::Error>()) else {
            return false;
        };
        let Some(unread) = error.source().and_then(|source| source.downcast_ref::<hyper::Error>()) else {
            return false;
        };
        let Some(connection) = error.connect_info() else { return false };
        let mut about = Extensions::new();
        connection.get_extras(&mut about);
        let Some(address) = address(&about) else { return false };
        if connection.is_negotiated_h2() {
            // Remembered on, because others are lost with it at this moment.
            return self.known().of.contains_key(&address) && unheard(unread);
        }
        self.known().of.remove(&address).is_some() && !unread.is_parse()
    }
}

/// Whether the end of a shared connection is why there is no answer. A stream that the server ended is its answer to this
/// request, unless it says that it has not looked at it; and whoever says why it ends a connection is not asked again.
fn unheard(error: &hyper::Error) -> bool {
    let Some(cause) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
        return !error.is_parse();
    };
    let orderly = cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR);
    let refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
    cause.is_io() || (cause.is_remote() && (orderly || refused))
}

/// Whether more may be asked on the connection of this answer. One that is over is not remembered: a fresh one may get
/// its address, and its loss would be taken for the loss of a kept one.
fn is_kept(response: &Response) -> bool {
    let closes = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"close");
    response.version() != Version::HTTP_10 && !response.headers().get_all(CONNECTION).iter().any(closes)
}

/// Our own address of a connection.
fn address(about: &Extensions) -> Option<SocketAddr> {
    about.get::<HttpInfo>().map(HttpInfo::local_addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_is_over_after_its_answer_is_not_remembered() {
        let answer = |version: Version, connection: &[&str]| {
            let mut answer = hyper::http::Response::new("");
            *answer.version_mut() = version;
            for value in connection {
                answer.headers_mut().append(CONNECTION, value.parse().expect("a value"));
            }
            is_kept(&Response::from(answer))
        };
        assert!(answer(Version::HTTP_11, &[]));
        assert!(answer(Version::HTTP_11, &["keep-alive"]));
        assert!(!answer(Version::HTTP_11, &["close"]));
        assert!(!answer(Version::HTTP_11, &["upgrade", "Close"]));
        assert!(!answer(Version::HTTP_10, &[]));
    }

    #[test]
    fn only_so_many_connections_are_remembered_the_latest_of_them() {
        let answered = Answered::default();
        let connection =
            |port: usize| SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("a port")));
        // One that answers again is among the latest.
        for port in (1..=MOST).chain([5, 5]).chain(MOST + 1..=MOST + 9) {
            answered.on(Some(connection(port)));
        }
        answered.on(None);
        let known = answered.known();
        let ports: Vec<usize> =
            (1..=MOST + 9).filter(|port| known.of.contains_key(&connection(*port))).collect();
        assert_eq!((known.of.len(), ports.first(), ports.get(1)), (MOST, Some(&5), Some(&11)));
    }
}

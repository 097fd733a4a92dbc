//! The answer to a scrape: packed where the scraper takes that, else as text that is written while it is read.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};

use crate::metrics::{Packed, Page, Pieces};

/// Whether the answer may be packed with gzip, by what the request says it takes (RFC 9110, 12.5.3).
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for coding in value.to_str().unwrap_or_default().split(',') {
            let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
            let weight = parameters
                .split(';')
                .find_map(|p| p.trim().to_ascii_lowercase().strip_prefix("q=").map(wanted));
            let wanted = weight.unwrap_or(true);
            match name.trim() {
                name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                    return wanted;
                }
                "*" => any = wanted,
                _ => {}
            }
        }
    }
    any
}

/// Whether a weight says that it is wanted at all.
fn wanted(weight: &str) -> bool {
    weight.trim().parse::<f32>().is_ok_and(|weight| weight > 0.0)
}

/// The body of the answer.
pub(super) enum Scrape {
    Text(Pieces),
    /// What is left of it.
    Packed(std::vec::IntoIter<Bytes>, u64),
}

impl Scrape {
    pub(super) fn text(page: Page) -> Scrape {
        Scrape::Text(page.text())
    }

    pub(super) fn packed(packed: Packed) -> Scrape {
        let length = packed.parts.iter().map(|part| part.len() as u64).sum();
        Scrape::Packed(Vec::from(packed.parts).into_iter(), length)
    }
}

impl HttpBody for Scrape {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // A piece of text takes a tenth of a millisecond, and the connection reads on only when it was sent.
        let next = match &mut *self {
            Scrape::Text(pieces) => pieces.next(),
            Scrape::Packed(parts, left) => {
                let part = parts.next();
                *left -= part.as_ref().map_or(0, |part| part.len() as u64);
                part
            }
        };
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Scrape::Text(_) => SizeHint::default(),
            Scrape::Packed(_, left) => SizeHint::with_exact(*left),
        }
    }
}

impl IntoResponse for Scrape {
    fn into_response(self) -> Response {
        let packed = matches!(self, Scrape::Packed(..));
        let mut response = Response::new(Body::new(self));
        let mut set =
            |name: HeaderName, value| response.headers_mut().insert(name, HeaderValue::from_static(value));
        set(header::CONTENT_TYPE, prometheus::TEXT_FORMAT);
        set(header::VARY, "accept-encoding");
        if packed {
            set(header::CONTENT_ENCODING, "gzip");
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_given_to_whoever_takes_it_and_to_nobody_else() {
        for (said, takes) in [
            (&["gzip"][..], true),
            (&["deflate, GZip;q=0.5"], true),
            (&["br", "x-gzip"], true),
            (&["*"], true),
            (&["*;q=0.1, br"], true),
            (&["gzip; q=0"], false),
            (&["gzip;q=0.000, *"], false),
            (&["*, gzip;q=0"], false),
            (&["gzip;q=many"], false),
            (&["identity"], false),
            (&["gzipped"], false),
            (&[""], false),
            (&[], false),
        ] {
            let headers = said.iter().map(|value| (header::ACCEPT_ENCODING, HeaderValue::from_static(value)));
            assert_eq!(takes_gzip(&headers.collect()), takes, "{said:?}");
        }
    }
}

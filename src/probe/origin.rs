//! The one origin that tokens may travel to, and the one function that makes a URL.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use url::Url;

/// Paths whose URLs are kept, at most. All tokens are asked the same, round after round; beyond that, all begins anew.
const KEPT: usize = 512;

/// Scheme, host and port of the endpoint.
pub(super) struct Origin {
    url: Url,
    text: String,
    /// Paths that were found to be fine, and the URL of each: to take one apart takes longer than many a thing that is
    /// done to a request.
    fine: Mutex<HashMap<String, Url>>,
}

impl Origin {
    /// The origin of an endpoint that is nothing but an origin.
    pub(super) fn new(endpoint: &str) -> Option<Origin> {
        let url = Url::parse(endpoint).ok()?;
        let bare = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none();
        let text = url.origin().ascii_serialization();
        bare.then(|| Origin { url, text, fine: Mutex::default() })
    }

    /// `https://host[:port]`, without a slash at its end.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is http without TLS.
    pub(super) fn plain(&self) -> bool {
        self.url.scheme() == "http"
    }

    /// Whether this URL leads to the origin and carries no credential of its own.
    pub(super) fn owns(&self, url: &Url) -> bool {
        url.scheme() == self.url.scheme()
            && url.host() == self.url.host()
            && url.port_or_known_default() == self.url.port_or_known_default()
            && url.username().is_empty()
            && url.password().is_none()
    }

    /// The URL of a path and query below the origin. Refused is whatever might lead elsewhere, and whatever
    /// would not be sent exactly as it was written: such a path must be percent-encoded by who makes it.
    pub(super) fn url(&self, path: &str) -> Option<Url> {
        let mut fine = self.fine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(url) = fine.get(path) {
            return Some(url.clone());
        }
        let url = self.made(path)?;
        if fine.len() >= KEPT {
            fine.clear();
        }
        fine.insert(path.to_owned(), url.clone());
        Some(url)
    }

    /// The same, made now.
    fn made(&self, path: &str) -> Option<Url> {
        let odd = |c: char| !c.is_ascii_graphic() || matches!(c, '\\' | '@' | '#');
        if !path.starts_with('/') || path.starts_with("//") || path.contains(odd) {
            return None;
        }
        let url = self.url.join(path).ok()?;
        // The parser folds `..`, also as `%2e%2E`; comparing what came out with what went in finds them all.
        let kept = match url.query() {
            Some(query) => path.strip_suffix(query).and_then(|p| p.strip_suffix('?')) == Some(url.path()),
            None => path == url.path(),
        };
        (kept && self.owns(&url)).then_some(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_the_same_however_often_it_is_asked_for_and_few_are_kept() {
        let origin = Origin::new("https://huggingface.co").expect("an origin");
        for _ in 0..2 {
            for number in 0..KEPT + 9 {
                let path = format!("/api/models/acme/x{number}?a=b");
                for _ in 0..2 {
                    let url = origin.url(&path).expect("fine");
                    assert_eq!(url.as_str(), format!("https://huggingface.co{path}"));
                    assert!(origin.url(&format!("/{path}")).is_none());
                }
                assert!(origin.fine.lock().expect("whole").len() <= KEPT);
            }
        }
    }

    #[test]
    fn only_a_bare_origin_is_an_endpoint() {
        for (endpoint, text) in [
            ("https://huggingface.co", "https://huggingface.co"),
            ("https://huggingface.co/", "https://huggingface.co"),
            ("HTTPS://HuggingFace.co:443", "https://huggingface.co"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(Origin::new(endpoint).expect("an origin").as_str(), text);
        }
        for endpoint in [
            "",
            "huggingface.co",
            "//huggingface.co",
            "ftp://huggingface.co",
            "file:///etc/passwd",
            "data:text/plain,x",
            "https://user@huggingface.co",
            "https://:pass@huggingface.co",
            "https://huggingface.co/api",
            "https://huggingface.co/?x",
            "https://huggingface.co/#x",
            "https://",
        ] {
            assert!(Origin::new(endpoint).is_none(), "{endpoint}");
        }
    }

    #[test]
    fn a_path_stays_below_the_origin_and_as_it_is_written() {
        let origin = Origin::new("https://huggingface.co").expect("an origin");
        for path in [
            "/",
            "/api/whoami-v2",
            "/api/models/acme/x?full=true&a=%40b",
            "/a//b",
            "/a..b/...",
            "/a?",
            "/?b?c",
        ] {
            let url = origin.url(path).expect("fine");
            assert_eq!(url.as_str(), format!("https://huggingface.co{path}"));
        }
        for path in [
            "",
            "api",
            "//evil.example/",
            "///evil.example/",
            "/\\evil.example/",
            "\\\\evil.example",
            "@evil.example/",
            ":80@evil.example/",
            ".evil.example/",
            ":8443/",
            "https://evil.example/",
            "/api@evil.example",
            "/../api",
            "/api/..",
            "/api/../../x",
            "/api/%2e%2E/x",
            "/api/.%2e",
            "/api/./x",
            "/api/%2e/x",
            "/api\r\nX-Evil: 1",
            "/api\tx",
            "/api\0",
            "/api x",
            "/api#x",
            "/api/ä",
            "/api/\u{202e}x",
            "/api/\"x",
            "/api?x='y",
            "/api/x\\..\\y",
        ] {
            assert!(origin.url(path).is_none(), "{path:?}");
        }
    }

    #[test]
    fn another_scheme_host_port_or_user_is_another_origin() {
        let origin = Origin::new("https://huggingface.co").expect("an origin");
        assert!(origin.owns(&Url::parse("https://huggingface.co:443/x").expect("a URL")));
        for elsewhere in [
            "http://huggingface.co/",
            "https://huggingface.co:444/",
            "https://huggingface.co./",
            "https://evil.example/",
            "https://huggingface.co.evil.example/",
            "https://u@huggingface.co/",
            "https://:p@huggingface.co/",
        ] {
            assert!(!origin.owns(&Url::parse(elsewhere).expect("a URL")), "{elsewhere}");
        }
    }
}

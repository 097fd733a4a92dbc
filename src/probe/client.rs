//! The HTTP clients: what they trust, and all that they do not do.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Proxy};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::Settings;
use super::answer::{HEAD_LIMIT, MOST_HEADERS};
use super::gate::Gated;

/// Why no prober can be made of these settings. Repeats nothing of them, because a URL may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProberFault {
    #[error("hub.endpoint is not an origin; write it like https://huggingface.co, without path or user")]
    Endpoint,
    #[error("hub.proxy cannot be used; write it like http://proxy.example:3128")]
    Proxy,
    #[error("number {0} of hub.ca_files holds no certificate that can be used; it must be a PEM file")]
    CaFile(usize),
    #[error(
        "no CA certificates were found on this system; install them (package ca-certificates), or set \
         hub.tls_roots: bundled"
    )]
    NoRoots,
    #[error("the name that the daemon gives itself holds characters that no header may hold")]
    UserAgent,
    #[error("the HTTP client cannot be set up on this system")]
    Client,
    #[error("the system allows no more threads; raise the limit of tasks or processes (ulimit -u, pids.max)")]
    Threads,
}

/// Whether a connection may serve more than one request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reuse {
    Kept,
    Never,
}

/// Idle connections kept, and for how long: as many as a round uses at the same time, or each burst makes its own.
const IDLE: (usize, Duration) = (64, Duration::from_secs(30));

/// While a connection that is shared owes answers, it is asked this often whether it still stands, and is over when it says
/// nothing for so long: else one that died without a word would take every request to its deadline.
const STANDS: (Duration, Duration) = match cfg!(test) {
    true => (Duration::from_millis(200), Duration::from_secs(1)),
    false => (Duration::from_secs(5), Duration::from_secs(5)),
};

/// What may come unasked on one stream, and on a whole connection, in bytes: all that one answer may have.
const WINDOWS: (u32, u32) = (256 * 1024, 2 * 1024 * 1024);

/// Chooses the crypto of TLS for the whole process. May be called any number of times; a client that is built
/// before the first call would panic, which is why `Prober::new` calls it too.
pub fn install_crypto() {
    // An error only says that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client that sends one request once, to where it is told.
pub(super) fn build(settings: &Settings, plain: bool, reuse: Reuse) -> Result<Client, ProberFault> {
    install_crypto();
    let idle = if reuse == Reuse::Kept { IDLE.0 } else { 0 };
    let builder = Client::builder()
        .user_agent(user_agent(&settings.user_agent)?)
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .https_only(!plain)
        .http1_max_headers(MOST_HEADERS)
        .pool_max_idle_per_host(idle)
        .pool_idle_timeout(IDLE.1)
        // Clearly shorter than the whole deadline: if that one strikes, the connection stood.
        .connect_timeout(settings.request_timeout.mul_f64(0.75));
    let builder = match reuse {
        Reuse::Never => builder.http1_only().connector_layer(Gated),
        Reuse::Kept => shared(builder),
    };
    let builder = match &settings.proxy {
        // Takes the place of `no_proxy`; the environment stays unread.
        Some(url) => builder.proxy(Proxy::all(url).map_err(|_| ProberFault::Proxy)?),
        None => builder,
    };
    let extra = extra_roots(&settings.ca_files)?;
    // Without TLS nothing is verified, and a system without CA certificates must not matter.
    if settings.bundled_roots || plain {
        let protocols = spoken(reuse);
        return with_bundled(builder, extra, protocols)?.build().map_err(|_| ProberFault::Client);
    }
    with_system(builder, &extra)?.build().map_err(|_| ProberFault::NoRoots)
}

/// Reads share one connection where the server speaks HTTP/2 (agreed on in TLS, never guessed).
fn shared(builder: ClientBuilder) -> ClientBuilder {
    builder
        .http2_initial_stream_window_size(WINDOWS.0)
        .http2_initial_connection_window_size(WINDOWS.1)
        .http2_max_header_list_size(HEAD_LIMIT)
        .http2_keep_alive_interval(STANDS.0)
        .http2_keep_alive_timeout(STANDS.1)
}

/// The protocols that are offered in TLS, dearest first.
fn spoken(reuse: Reuse) -> Vec<Vec<u8>> {
    match reuse {
        Reuse::Kept => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Reuse::Never => vec![b"http/1.1".to_vec()],
    }
}

fn user_agent(name: &str) -> Result<reqwest::header::HeaderValue, ProberFault> {
    reqwest::header::HeaderValue::from_str(name).map_err(|_| ProberFault::UserAgent)
}

/// The certificates of all files; each file must hold at least one that is a certificate.
fn extra_roots(files: &[Vec<u8>]) -> Result<Vec<CertificateDer<'static>>, ProberFault> {
    let mut roots = Vec::new();
    for (file, number) in files.iter().zip(1..) {
        let found = CertificateDer::pem_slice_iter(file).collect::<Result<Vec<_>, _>>();
        let found = found.map_err(|_| ProberFault::CaFile(number))?;
        let mut trial = RootCertStore::empty();
        let usable = found.iter().all(|certificate| trial.add(certificate.clone()).is_ok());
        if found.is_empty() || !usable {
            return Err(ProberFault::CaFile(number));
        }
        roots.extend(found);
    }
    Ok(roots)
}

fn with_system(
    builder: ClientBuilder,
    extra: &[CertificateDer<'static>],
) -> Result<ClientBuilder, ProberFault> {
    let extra: Result<Vec<_>, _> = extra.iter().map(|c| reqwest::Certificate::from_der(c)).collect();
    Ok(builder
        .tls_version_min(reqwest::tls::Version::TLS_1_2)
        .tls_certs_merge(extra.map_err(|_| ProberFault::Client)?))
}

/// TLS of our own making, because the bundled roots are names and keys, not the certificates reqwest asks
/// for.
fn with_bundled(
    builder: ClientBuilder,
    extra: Vec<CertificateDer<'static>>,
    protocols: Vec<Vec<u8>>,
) -> Result<ClientBuilder, ProberFault> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in extra {
        roots.add(certificate).map_err(|_| ProberFault::Client)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|_| ProberFault::Client)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols;
    Ok(builder.tls_backend_preconfigured(config))
}

//! TLS of the port: what certificate, key and authorities must be, and what a connection is known by.
//!
//! A client certificate is never needed for the handshake, because health is for everybody; whether one is needed
//! for a request the guard decides. One that is shown must be valid, or the handshake fails.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use sha2::{Digest, Sha256};
use webpki::EndEntityCert;

use crate::moment::Timestamp;

/// What TLS is made of; all files PEM.
#[derive(Clone)]
pub struct TlsParts {
    /// The certificate, then its intermediates.
    pub cert: Vec<u8>,
    pub key: Vec<u8>,
    /// Speak TLS 1.2, and 1.3.
    pub versions: (bool, bool),
    pub clients: Option<ClientParts>,
}

/// Whose client certificates are believed.
#[derive(Clone)]
pub struct ClientParts {
    pub ca: Vec<u8>,
    /// Whether one is needed for everything but health.
    pub required: bool,
    /// Where not empty: only those for one of these DNS names, IP addresses or URIs.
    pub allowed_sans: Vec<String>,
}

/// Why no TLS can be spoken with these files. Names the key of the web config whose file it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    #[error(
        "cert_file holds no certificate; it is a PEM file with the certificate and then its intermediates"
    )]
    NoCertificate,
    #[error("cert_file is damaged: a certificate in it cannot be read; make it again")]
    BadCertificate,
    #[error("the certificate of cert_file has expired (on {0}); renew it")]
    Expired(Timestamp),
    #[error(
        "the certificate of cert_file is not valid yet (before {0}); see to this machine's clock, or wait"
    )]
    NotYet(Timestamp),
    #[error(
        "key_file holds no private key; it is a PEM file with the key of cert_file's certificate, without a passphrase"
    )]
    NoKey,
    #[error(
        "key_file holds a private key of a kind that is not supported; use RSA of 2048 bits or more, ECDSA (P-256, P-384) or Ed25519"
    )]
    BadKey,
    #[error(
        "key_file and cert_file do not belong together; the key is that of another certificate, or only one of the two was replaced so far"
    )]
    Mismatch,
    #[error(
        "client_ca_file holds no certificate; it is a PEM file with the certificates of those who sign your clients'"
    )]
    NoAuthority,
    #[error("client_ca_file is damaged: a certificate in it cannot be read; make it again")]
    BadAuthority,
    #[error("TLS cannot be set up with the web config ({0})")]
    Other(String),
}

/// TLS that is ready to be spoken.
pub(super) struct Tls {
    pub(super) config: Arc<ServerConfig>,
    /// The certificate of the server, for the day on which it expires.
    certificate: CertificateDer<'static>,
    pub(super) clients: Option<Clients>,
}

/// Who is believed, and who may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clients {
    pub(super) required: bool,
    allowed_sans: Vec<String>,
    /// The authorities, by their hash.
    authorities: [u8; 32],
}

impl TlsParts {
    /// TLS with these parts, as of `now`.
    pub(super) fn build(&self, now: Timestamp) -> Result<Tls, TlsFault> {
        let chain = certificates(&self.cert).map_err(|()| TlsFault::BadCertificate)?;
        let certificate = chain.first().ok_or(TlsFault::NoCertificate)?.clone();
        valid_at(&certificate, now)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| TlsFault::NoKey)?;
        let provider = Arc::new(ring::default_provider());
        let key = provider.key_provider.load_private_key(key).map_err(|_| TlsFault::BadKey)?;
        let pair = CertifiedKey::new(chain, key);
        match pair.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(TlsFault::Mismatch),
            Err(_) => return Err(TlsFault::BadCertificate),
        }
        let other = |error: &dyn std::fmt::Display| TlsFault::Other(error.to_string());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(self.versions))
            .map_err(|error| other(&error))?;
        let clients = self.clients.as_ref();
        let verifier = match clients {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(clients) => {
                let roots = Arc::new(clients.roots()?);
                let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.allow_unauthenticated().build().map_err(|error| other(&error))?
            }
        };
        let mut config = builder
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if clients.is_some() {
            // A session that is taken up again is not verified again, though the certificate may have expired.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        let clients = clients.map(|parts| Clients {
            required: parts.required,
            allowed_sans: parts.allowed_sans.clone(),
            authorities: Sha256::digest(&parts.ca).into(),
        });
        Ok(Tls { config: Arc::new(config), certificate, clients })
    }
}

impl ClientParts {
    fn roots(&self) -> Result<RootCertStore, TlsFault> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.ca).map_err(|()| TlsFault::BadAuthority)? {
            roots.add(authority).map_err(|_| TlsFault::BadAuthority)?;
        }
        if roots.is_empty() { Err(TlsFault::NoAuthority) } else { Ok(roots) }
    }
}

/// Every certificate of a PEM file. What is wrong with one is not said: such errors quote the text.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ()> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| ())
}

fn versions(which: (bool, bool)) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(which.0, &rustls::version::TLS12), (which.1, &rustls::version::TLS13)];
    all.into_iter().filter(|(spoken, _)| *spoken).map(|(_, version)| version).collect()
}

/// Whether a certificate is within its time.
fn valid_at(certificate: &CertificateDer<'_>, now: Timestamp) -> Result<(), TlsFault> {
    let parsed = EndEntityCert::try_from(certificate).map_err(|_| TlsFault::BadCertificate)?;
    let since_epoch = Duration::from_millis(u64::try_from(now.millis()).unwrap_or(0));
    let now = UnixTime::since_unix_epoch(since_epoch);
    // Nobody is trusted here, so this never succeeds; but the time is looked at first, and that is all we ask.
    let usage = webpki::KeyUsage::server_auth();
    let verdict = parsed.verify_for_usage(&[], &[], &[], now, usage, None, None);
    let day = |time: UnixTime| Timestamp(i64::try_from(time.as_secs() * 1000).unwrap_or(i64::MAX));
    match verdict.map(|_| ()) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Err(TlsFault::Expired(day(not_after))),
        Err(webpki::Error::CertNotValidYet { not_before, .. }) => Err(TlsFault::NotYet(day(not_before))),
        _ => Ok(()),
    }
}

impl Tls {
    /// Whether the certificate is within its time.
    pub(super) fn valid_at(&self, now: Timestamp) -> Result<(), TlsFault> {
        valid_at(&self.certificate, now)
    }

    /// What the chain that a client showed, and that was verified, makes of it.
    pub(super) fn met(&self, chain: Option<&[CertificateDer<'_>]>) -> Client {
        let (Some(clients), Some(certificate)) = (&self.clients, chain.and_then(<[_]>::first)) else {
            return Client::Nobody;
        };
        Client::Verified { by: clients.clone(), allowed: clients.allow(certificate) }
    }
}

impl Clients {
    /// Whether the certificate carries one of the allowed names, exactly as written.
    fn allow(&self, certificate: &CertificateDer<'_>) -> bool {
        if self.allowed_sans.is_empty() {
            return true;
        }
        let Ok(certificate) = EndEntityCert::try_from(certificate) else { return false };
        self.allowed_sans.iter().any(|allowed| match allowed.parse::<IpAddr>() {
            Ok(ip) => certificate.verify_is_valid_for_subject_name(&ServerName::from(ip)).is_ok(),
            Err(_) => {
                certificate.valid_dns_names().any(|name| name.eq_ignore_ascii_case(allowed))
                    || certificate.valid_uri_names().any(|name| name == allowed)
            }
        })
    }
}

/// Whom a connection's certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Client {
    /// None was shown, or nobody looks at them.
    Nobody,
    /// A valid one. `by`: who was believed when it was looked at, which a reload may change.
    Verified { by: Clients, allowed: bool },
}

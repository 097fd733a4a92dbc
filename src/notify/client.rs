//! The HTTP clients of the sinks: what they trust, and where they do not connect to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};

use crate::config::{Reach, reach_of};

use super::DEADLINE;

/// Why no courier can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CourierFault {
    #[error("a file of hub.ca_files holds no certificate that can be used; it must be a PEM file")]
    CaFile,
    #[error("the HTTP client cannot be set up on this system")]
    Client,
}

/// Carries letters.
pub struct Courier {
    /// With TLS, to anywhere that is not forbidden.
    pub(super) sealed: Client,
    /// In the clear, never to a public address.
    pub(super) open: Client,
    /// Certificates that are trusted besides the roots, as they were read.
    pub(super) ca_files: Vec<Vec<u8>>,
}

impl Courier {
    /// Trusts the system's certificates and those of these PEM files. Must be called after the crypto was installed.
    pub fn new(ca_files: &[Vec<u8>], user_agent: &str) -> Result<Courier, CourierFault> {
        let mut extra = Vec::new();
        for file in ca_files {
            extra.extend(Certificate::from_pem_bundle(file).map_err(|_| CourierFault::CaFile)?);
        }
        let build = |public: bool, own_roots_only: bool| {
            let builder = Client::builder()
                .user_agent(user_agent)
                .redirect(Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .no_proxy()
                .https_only(public)
                .http1_only()
                .connect_timeout(DEADLINE.mul_f64(0.5))
                .dns_resolver(Arc::new(Guarded { public }));
            let builder = match own_roots_only {
                true => builder.tls_certs_only(extra.clone()),
                false => builder.tls_certs_merge(extra.clone()),
            };
            builder.build().map_err(|_| CourierFault::Client)
        };
        // Without TLS nothing is verified, and a system without CA certificates must not matter.
        let sealed = build(true, false).or_else(|_| build(true, true))?;
        Ok(Courier { sealed, open: build(false, true)?, ca_files: ca_files.to_vec() })
    }
}

/// Whether anything may be sent to this address; to a public one only `sealed`, by TLS.
pub(super) fn may_connect(at: &SocketAddr, sealed: bool) -> bool {
    match reach_of(at.ip()) {
        Reach::Forbidden => false,
        Reach::Public | Reach::Named => sealed,
        Reach::Loopback | Reach::Private => true,
    }
}

/// Resolves a name to those of its addresses that may be connected to.
struct Guarded {
    public: bool,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let public = self.public;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.filter(|at| may_connect(at, public)).collect();
            if found.is_empty() {
                return Err(io::Error::other("no address to which anything may be sent").into());
            }
            let found: Addrs = Box::new(found.into_iter());
            Ok(found)
        })
    }
}

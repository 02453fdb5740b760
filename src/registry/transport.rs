//! One request and its whole answer, bounded in time and size.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Client, Method, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::answer::Answer;
use super::error::RegistryError;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one request may take in all.
const REQUEST: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read: a list of 100,000 tags is about half of it.
const BODY_MAX: usize = 8 << 20;

/// The HTTP client for one registry.
pub(super) struct Transport {
    client: Client,
    address: String,
}

impl Transport {
    /// A client for the registry `address`, which trusts the system's authorities and those in `certificates`.
    /// `direct` keeps it off the proxy that the environment may name.
    pub(super) fn new(address: &str, certificates: &Path, direct: bool) -> Result<Self, RegistryError> {
        let builder = Client::builder()
            .tls_backend_preconfigured(tls(certificates))
            .redirect(reqwest::redirect::Policy::limited(5))
            .connect_timeout(CONNECT)
            .timeout(REQUEST)
            .user_agent(concat!("deployer/", env!("CARGO_PKG_VERSION")));
        let builder = if direct { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|e| RegistryError::Tls {
            address: address.to_owned(),
            detail: e.to_string(),
        })?;
        Ok(Self {
            client,
            address: address.to_owned(),
        })
    }

    /// Sends a request and reads its answer.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        accept: &'static str,
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, RegistryError> {
        let failed =
            |e: reqwest::Error| RegistryError::unanswered(&self.address, REQUEST.as_secs(), &e.without_url());
        let mut request = self.client.request(method, url).header("accept", accept);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(failed)? {
            if body.len() + part.len() > BODY_MAX {
                return Err(RegistryError::NotARegistry {
                    address: self.address.clone(),
                    detail: format!("its answer has more than {BODY_MAX} bytes"),
                });
            }
            body.extend_from_slice(&part);
        }
        Ok(Answer {
            status: response.status().as_u16(),
            headers: std::mem::take(response.headers_mut()),
            body,
        })
    }
}

/// TLS by ring, with the system's authorities (`SSL_CERT_FILE` is honoured) and those in `certificates`.
/// What cannot be read is left out: a certificate that then misses its authority is told at the handshake.
fn tls(certificates: &Path) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for entry in std::fs::read_dir(certificates).into_iter().flatten().flatten() {
        let path = entry.path();
        // As Docker does: `.crt` files are authorities.
        if path.extension().is_some_and(|extension| extension == "crt") {
            let found = CertificateDer::pem_file_iter(path)
                .into_iter()
                .flatten()
                .flatten();
            roots.add_parsable_certificates(found);
        }
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

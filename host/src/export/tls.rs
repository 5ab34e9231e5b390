//! TLS of OTLP clients: system roots or a CA file, TLS 1.2 and up.

use std::path::PathBuf;
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::config::model::TlsClient;

/// TLS that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// `ca_file` cannot be read or holds something else.
    #[error("cannot read certificates from {path}: {message}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// The system has no root certificates.
    #[error("cannot load the system's root certificates: {0}; set tls.ca_file")]
    SystemRoots(#[source] std::io::Error),
    /// `server_name_override` is no DNS name and no address.
    #[error("tls.server_name_override {0:?} is neither a DNS name nor an IP address")]
    ServerName(String),
    /// The TLS library refused the configuration.
    #[error("cannot set up TLS: {0}")]
    Config(#[from] rustls::Error),
}

/// The configuration of a client, without ALPN (the connector adds it).
///
/// # Errors
/// See [`TlsError`].
pub fn client_config(tls: &TlsClient) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match &tls.ca_file {
        None => builder.with_native_roots().map_err(TlsError::SystemRoots)?,
        Some(path) => {
            let fail = |message: String| TlsError::CaFile { path: path.clone(), message };
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| fail(error.to_string()))? {
                let certificate = certificate.map_err(|error| fail(error.to_string()))?;
                roots.add(certificate).map_err(|error| fail(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(fail("no certificate in it".to_owned()));
            }
            builder.with_root_certificates(roots)
        }
    };
    Ok(builder.with_no_client_auth())
}

/// For clients of plaintext endpoints: trusts nobody, and needs no root certificates on the machine.
pub(super) fn client_config_without_roots() -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// The name that the peer's certificate must have, where it is not the endpoint's host.
pub(super) fn server_name(tls: &TlsClient) -> Result<Option<ServerName<'static>>, TlsError> {
    let Some(name) = &tls.server_name else { return Ok(None) };
    ServerName::try_from(name.clone()).map(Some).map_err(|_| TlsError::ServerName(name.clone()))
}

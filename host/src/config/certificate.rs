//! The certificate that the admin API shows to other machines, and its key: two PEM files.

use std::path::PathBuf;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Longest of either file.
pub const PEM_BYTES_MAX: u64 = 1 << 20;

/// Which of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PemFile {
    /// `cert_file`.
    Certificate,
    /// `key_file`.
    Key,
}

impl PemFile {
    /// The key that names it.
    pub const fn key(self) -> &'static str {
        match self {
            PemFile::Certificate => "cert_file",
            PemFile::Key => "key_file",
        }
    }
}

/// Two files that are no certificate and its key. Nothing of their contents is in the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BadPem {
    /// Which of them.
    pub file: PemFile,
    /// What is wrong with it.
    pub why: String,
}

/// Where the two lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsServer {
    /// `cert_file`: the certificate, then those of its issuers.
    pub cert_file: PathBuf,
    /// `key_file`.
    pub key_file: PathBuf,
}

/// Reads a certificate chain and its key.
///
/// # Errors
/// [`BadPem`]: which of them is not what it should be.
pub fn certified_key(certificates: &[u8], key: &[u8]) -> Result<CertifiedKey, BadPem> {
    let bad = |file, why: &str| BadPem { file, why: why.to_owned() };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
    let chain = chain.map_err(|_| bad(PemFile::Certificate, "is not PEM"))?;
    if chain.is_empty() {
        return Err(bad(PemFile::Certificate, "holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| bad(PemFile::Key, "holds no private key"))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => bad(PemFile::Key, "is not the key of the certificate"),
        rustls::Error::InvalidCertificate(_) => bad(PemFile::Certificate, "holds no certificate that can be used"),
        _ => bad(PemFile::Key, "holds a key that cannot be used"),
    })
}

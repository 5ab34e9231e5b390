//! TLS of the admin API: TLS 1.2 and up, with a certificate that may be renewed while the engine runs.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::ServerConfig;
use rustls::sign::SingleCertAndKey;
use tokio_rustls::TlsAcceptor;

use crate::config::certificate::{BadPem, PEM_BYTES_MAX, TlsServer, certified_key};

/// How often a handshake looks whether the files are others.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A certificate and its key, read again when their files change.
#[derive(Debug)]
pub struct Certificates {
    files: TlsServer,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: Arc<ServerConfig>,
    /// The files when they were read last, whether or not they could be used.
    read: Stamps,
    looked: Instant,
}

type Stamps = [Option<(SystemTime, u64)>; 2];

/// Files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// One of them cannot be read.
    #[error("{file} cannot be read")]
    Unreadable {
        /// Which.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// They are no certificate and its key.
    #[error("\"{}\" {_0}", .0.file.key())]
    Bad(BadPem),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

impl Certificates {
    /// Reads them.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn load(files: &TlsServer) -> Result<Arc<Self>, CertificateError> {
        // Before they are read: what is written meanwhile is read the next time.
        let (read, looked) = (stamps(files), Instant::now());
        let state = State { config: server_config(files)?, read, looked };
        Ok(Arc::new(Self { files: files.clone(), state: Mutex::new(state) }))
    }

    /// For the next handshake. Files that have changed are read first; where they are no pair (one of them may still be missing), the last
    /// pair is shown on.
    pub(super) async fn acceptor(self: Arc<Self>) -> TlsAcceptor {
        let known = self.config();
        let looking = tokio::task::spawn_blocking(move || {
            self.look();
            self.config()
        });
        TlsAcceptor::from(looking.await.unwrap_or(known))
    }

    fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.state.lock().unwrap_or_else(PoisonError::into_inner).config)
    }

    fn look(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() < LOOK_INTERVAL {
            return;
        }
        state.looked = Instant::now();
        let now = stamps(&self.files);
        if now == state.read {
            return;
        }
        state.read = now;
        match server_config(&self.files) {
            Ok(config) => {
                state.config = config;
                tracing::info!("the admin API shows another certificate");
            }
            Err(error) => {
                tracing::warn!(%error, "the admin API's certificate was changed and cannot be used: the last one is shown")
            }
        }
    }
}

fn stamps(files: &TlsServer) -> Stamps {
    [&files.cert_file, &files.key_file].map(|file| {
        let known = std::fs::metadata(file).ok()?;
        Some((known.modified().ok()?, known.len()))
    })
}

fn server_config(files: &TlsServer) -> Result<Arc<ServerConfig>, CertificateError> {
    let (certificate, key) = (read(&files.cert_file)?, read(&files.key_file)?);
    let pair = certified_key(&certificate, &key).map_err(CertificateError::Bad)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read(file: &Path) -> Result<Vec<u8>, CertificateError> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(PEM_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|source| CertificateError::Unreadable { file: file.display().to_string(), source })?;
    Ok(bytes)
}

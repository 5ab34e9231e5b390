//! The way to an engine's admin API: its Unix socket, TCP on this machine, or TLS.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::admin::{socket, token};
use crate::config::model::TlsClient;
use crate::export;

const PORT_DEFAULT: u16 = 13_131;
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Where the engine is.
#[derive(Clone, Debug, Args)]
pub struct Admin {
    /// The admin API of the engine: HOST:PORT on this machine, unix:PATH, or https://HOST:PORT.
    #[arg(long, value_name = "ADDRESS", default_value_t = Endpoint::DEFAULT, env = "SLUICEBOX_ADMIN")]
    pub admin: Endpoint,
    /// For https: the file of the authority that signed the engine's certificate; the system's authorities unless set.
    #[arg(long, value_name = "FILE", env = "SLUICEBOX_ADMIN_CA")]
    pub admin_ca: Option<PathBuf>,
}

/// An address of an admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Plain text, on this machine; by the socket of that port where there is one.
    Local(SocketAddr),
    /// The Unix socket.
    Unix(PathBuf),
    /// TLS.
    Https {
        /// A name or an address.
        host: String,
        /// Its port.
        port: u16,
    },
}

/// An address that no admin API has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoEndpoint {
    /// It cannot be read.
    #[error("write 127.0.0.1:13131, unix:PATH or https://HOST:PORT")]
    Unreadable,
    /// A token must not go over the network in plain text.
    #[error("other machines are reached by https://HOST:PORT only")]
    Plain,
}

/// A connection for one request.
pub struct Connected {
    /// Takes the request.
    pub sender: SendRequest<Full<Bytes>>,
    /// Whether the engine knows who asks, without a token.
    pub knows_who: bool,
}

impl Endpoint {
    const DEFAULT: Endpoint = Endpoint::Local(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT_DEFAULT));

    /// What the `Host` of a request says.
    pub fn authority(&self) -> String {
        match self {
            Endpoint::Local(address) => address.to_string(),
            Endpoint::Unix(_) => "localhost".to_owned(),
            Endpoint::Https { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Endpoint::Https { host, port } => format!("{host}:{port}"),
        }
    }

    /// The port that the engine's files are named by.
    pub fn port(&self) -> Option<u16> {
        match self {
            Endpoint::Local(address) => Some(address.port()),
            Endpoint::Unix(_) => None,
            Endpoint::Https { port, .. } => Some(*port),
        }
    }
}

impl FromStr for Endpoint {
    type Err = NoEndpoint;

    fn from_str(text: &str) -> Result<Self, NoEndpoint> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Endpoint::Unix(path.into()));
        }
        if let Some(rest) = text.strip_prefix("https://") {
            let authority: http::uri::Authority =
                rest.trim_end_matches('/').parse().map_err(|_| NoEndpoint::Unreadable)?;
            let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
            return Ok(Endpoint::Https { host, port: authority.port_u16().unwrap_or(PORT_DEFAULT) });
        }
        let local = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let address: SocketAddr = match local.strip_prefix("localhost:") {
            Some(port) => (Ipv4Addr::LOCALHOST, port.parse().map_err(|_| NoEndpoint::Unreadable)?).into(),
            None => local.parse().map_err(|_| NoEndpoint::Unreadable)?,
        };
        if address.ip().is_loopback() { Ok(Endpoint::Local(address)) } else { Err(NoEndpoint::Plain) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Local(address) => address.fmt(f),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
            Endpoint::Https { .. } => write!(f, "https://{}", self.authority()),
        }
    }
}

/// Connects.
///
/// # Errors
/// Nobody is there, or TLS cannot be had with who is.
pub async fn connect(admin: &Admin) -> anyhow::Result<Connected> {
    tokio::time::timeout(CONNECT_MAX, connect_to(admin)).await.context("nobody answered in time")?
}

async fn connect_to(admin: &Admin) -> anyhow::Result<Connected> {
    match &admin.admin {
        Endpoint::Unix(path) => by_socket(path).await,
        Endpoint::Local(address) => {
            // A socket that nobody listens on was left by an engine that crashed.
            let socket = token::default_state_dir().map(|state| socket::file(&state, address.port()));
            if let Some(socket) = socket
                && let Ok(connected) = by_socket(&socket).await
            {
                return Ok(connected);
            }
            speak(TcpStream::connect(address).await?, false).await
        }
        Endpoint::Https { host, port } => {
            let tls = TlsClient { ca_file: admin.admin_ca.clone(), server_name: None };
            let config = export::client_config(&tls)?;
            let name = ServerName::try_from(host.clone()).context("no name that a certificate can have")?;
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
            speak(stream, false).await
        }
    }
}

async fn by_socket(path: &Path) -> anyhow::Result<Connected> {
    speak(UnixStream::connect(path).await?, true).await
}

async fn speak<S>(stream: S, knows_who: bool) -> anyhow::Result<Connected>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // It ends with the answer; what breaks it is the request's error.
    tokio::spawn(connection);
    Ok(Connected { sender, knows_who })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_local_sockets_or_tls() {
        let read = |text: &str| text.parse::<Endpoint>().map(|endpoint| endpoint.to_string());
        for same in
            ["127.0.0.1:13131", "[::1]:9", "unix:/run/a.sock", "https://gate.example:7", "https://[2001:db8::1]:7"]
        {
            assert_eq!(read(same), Ok(same.to_owned()));
        }
        assert_eq!(read("localhost:7"), Ok("127.0.0.1:7".to_owned()));
        assert_eq!(read("http://127.0.0.1:7/"), Ok("127.0.0.1:7".to_owned()));
        assert_eq!(read("https://gate.example"), Ok("https://gate.example:13131".to_owned()));
        assert_eq!(read("10.0.0.1:13131"), Err(NoEndpoint::Plain));
        for wrong in ["", "unix:", "127.0.0.1", "localhost:x", "gate.example:7", "https://"] {
            assert_eq!(read(wrong), Err(NoEndpoint::Unreadable), "{wrong}");
        }
    }
}

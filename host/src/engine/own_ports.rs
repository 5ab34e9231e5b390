//! The engine's own listeners: `/metrics` and the admin API, bound before anything else starts.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::admin::serve::{Door, serve, serve_at};
use crate::admin::tls::Certificates;
use crate::admin::{self, socket, token};
use crate::config::model::Config;
use crate::engine::{StartError, bind_own};
use crate::observe::metrics::Metrics;

pub(super) struct OwnPorts {
    metrics: Option<TcpListener>,
    admin: TcpListener,
    certificates: Option<Arc<Certificates>>,
}

/// What serves own pages, until it is dropped.
pub(super) struct OwnServers {
    _tasks: JoinSet<()>,
    _socket: Option<socket::Bound>,
}

impl OwnPorts {
    pub(super) async fn bind(config: &Config) -> Result<Self, StartError> {
        let bind = async |what, address: SocketAddr| {
            let listener = TcpListener::bind(address).await;
            listener.map_err(|source| bind_own(what, address, source))
        };
        let certificates = config.admin.tls.as_ref().map(Certificates::load).transpose();
        let certificates = certificates.map_err(StartError::Certificate)?;
        let metrics = match config.metrics_address {
            Some(address) => Some(bind("/metrics", address).await?),
            None => None,
        };
        Ok(Self { metrics, admin: bind("the admin API", config.admin.address).await?, certificates })
    }

    /// The one that was given, or the one that was free.
    pub(super) fn admin_port(&self) -> u16 {
        self.admin.local_addr().map_or(0, |address| address.port())
    }

    pub(super) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let metrics = self.metrics.as_ref().and_then(|listener| listener.local_addr().ok());
        let admin = self.admin.local_addr().ok();
        let named = |name: &str, address: Option<SocketAddr>| address.map(|address| (name.to_owned(), address));
        named("metrics", metrics).into_iter().chain(named("admin", admin)).collect()
    }

    pub(super) fn serve(self, parts: admin::Parts, metrics: &Arc<Metrics>, state: Option<&Path>) -> OwnServers {
        let mut tasks = JoinSet::new();
        let metrics_page = admin::metrics_page(Arc::clone(metrics), Arc::clone(&parts.budget));
        let port = self.admin.local_addr().map_or(0, |address| address.port());
        let api = admin::api(parts, token::make(state, &self.admin));
        let socket = state.map(|state| socket::file(state, port)).and_then(|path| {
            let bound = socket::bind(&path);
            let unbound = |error: &std::io::Error| {
                tracing::warn!(%error, "no admin socket at {}: commands take the token instead", path.display());
            };
            bound.inspect_err(unbound).ok()
        });
        let socket = socket.map(|(listener, bound)| {
            tasks.spawn(serve_at(Door::Unix(listener), api.clone()));
            bound
        });
        let door = match self.certificates {
            Some(certificates) => Door::Tls(self.admin, certificates),
            None => Door::Plain(self.admin),
        };
        tasks.spawn(serve_at(door, api));
        // Last, so that who is answered here finds the token and the socket.
        if let Some(listener) = self.metrics {
            tasks.spawn(serve(listener, metrics_page));
        }
        OwnServers { _tasks: tasks, _socket: socket }
    }
}

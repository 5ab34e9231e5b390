//! The engine's own listeners: `/metrics` and the admin API, bound before anything else starts.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::admin;
use crate::config::model::Config;
use crate::engine::{StartError, bind_own};
use crate::observe::metrics::Metrics;

pub(super) struct OwnPorts {
    metrics: Option<TcpListener>,
    admin: TcpListener,
}

impl OwnPorts {
    pub(super) async fn bind(config: &Config) -> Result<Self, StartError> {
        let bind = async |what, address: SocketAddr| {
            let listener = TcpListener::bind(address).await;
            listener.map_err(|source| bind_own(what, address, source))
        };
        let metrics = match config.metrics_address {
            Some(address) => Some(bind("/metrics", address).await?),
            None => None,
        };
        Ok(Self { metrics, admin: bind("the admin API", config.admin.address).await? })
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

    pub(super) fn serve(
        self,
        parts: admin::Parts,
        metrics: &Arc<Metrics>,
        state: Option<&Path>,
    ) -> Vec<JoinHandle<()>> {
        let pages = admin::metrics_page(Arc::clone(metrics), Arc::clone(&parts.budget));
        let token = admin::token::make(state, &self.admin);
        let api = admin::api(parts, token);
        let metrics = self.metrics.map(|listener| tokio::spawn(admin::serve::serve(listener, pages)));
        metrics.into_iter().chain([tokio::spawn(admin::serve::serve(self.admin, api))]).collect()
    }
}

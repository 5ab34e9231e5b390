//! Where the demo listens: the usual ports, or the next free ones.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result};

/// How far to look for a free port.
const PORTS_TRIED_MAX: u16 = 200;

/// All addresses of the demo, on loopback.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) metrics: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) backend: SocketAddr,
}

impl Addresses {
    /// Free ones, the usual ones where they are free.
    pub(super) fn pick() -> Result<Self> {
        let mut held = Vec::new();
        Ok(Self {
            grpc: free(4317, &mut held)?,
            http: free(4318, &mut held)?,
            metrics: free(8888, &mut held)?,
            admin: free(13131, &mut held)?,
            backend: free(14317, &mut held)?,
        })
    }

    /// What the quickstart's configuration reads from the environment.
    pub(super) fn environment(&self) -> [(&'static str, String); 6] {
        [
            ("SLUICEBOX_GRPC", self.grpc.to_string()),
            ("SLUICEBOX_HTTP", self.http.to_string()),
            ("SLUICEBOX_METRICS", self.metrics.to_string()),
            ("SLUICEBOX_ADMIN", self.admin.to_string()),
            ("SLUICEBOX_BACKEND", self.backend.to_string()),
            // The data is made up: `tap` may show it.
            ("SLUICEBOX_DATA_ACCESS", std::env::var("SLUICEBOX_DATA_ACCESS").unwrap_or_else(|_| "full".to_owned())),
        ]
    }
}

/// The first free port from `usual` on; held until all are picked, so that they differ.
fn free(usual: u16, held: &mut Vec<TcpListener>) -> Result<SocketAddr> {
    let tried = (0..PORTS_TRIED_MAX).filter_map(|step| usual.checked_add(step));
    let addresses = tried.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let listener = addresses.into_iter().find_map(|address| TcpListener::bind(address).ok());
    let listener = listener.with_context(|| format!("no free port from {usual} on"))?;
    let address = listener.local_addr()?;
    held.push(listener);
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        let mut held = Vec::new();
        let first = free(port, &mut held).expect("another").port();
        let second = free(port, &mut held).expect("another").port();
        assert!(first > port && second > first);
    }
}

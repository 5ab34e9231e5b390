//! What others need of a change's machinery, beside changes: what may be shown, and generations that serve nowhere.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::model::DataAccess;
use crate::control::{Build, Control};

impl Control {
    /// What of the telemetry may be shown, by the file that is in force.
    pub fn data_access(&self) -> watch::Receiver<DataAccess> {
        self.data_access.subscribe()
    }

    /// What builds generations. They are the caller's: they serve nowhere.
    pub fn builder(&self) -> Arc<Build> {
        Arc::clone(&self.build)
    }
}

//! Stopping the process on request: the same as SIGTERM, as an operation.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::operations::{Conflict, DRAIN, Operation, Operations};
use super::{Control, Who};

/// What became of a process that stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drained {
    /// Spans, data points and log records that exporters could not send before the end of the drain time. They are lost.
    pub dropped_items: u64,
}

/// What a process that stops still has, as it tells while it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Left {
    /// Items in pipelines: being judged, waiting to be merged, waiting for a decision.
    pub held_items: u64,
    /// Items in exporters' queues.
    pub queued_items: u64,
}

impl Control {
    /// What takes long, and what took long.
    pub fn operations(&self) -> &Operations {
        &self.operations
    }

    /// Has the process stop: whoever waits for [`Self::until_drain`] is told, and ends the operation.
    ///
    /// # Errors
    /// [`Conflict`] if it does already.
    pub fn begin_drain(&self, who: &Who) -> Result<Arc<Operation>, Conflict> {
        let operation = self.operations.begin(DRAIN, None, who)?;
        self.draining.send_replace(Some(Arc::clone(&operation)));
        Ok(operation)
    }

    /// Waits until the process is to stop.
    pub async fn until_drain(&self) {
        let mut draining = self.draining.subscribe();
        // The sender is ours.
        let _asked = draining.wait_for(Option::is_some).await;
    }

    /// The operation of a process that stops.
    pub fn draining(&self) -> Option<Arc<Operation>> {
        self.draining.borrow().clone()
    }
}

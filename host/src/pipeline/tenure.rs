//! How the instances of a place follow each other: which of them are new, and which replaced one that faulted.

use crate::observe::health::InstanceMetrics;

/// The instance that sits at a place, as far as counting goes.
pub(super) struct Tenure {
    /// Calls of the present instance that ended well.
    judged: u64,
    /// The last one faulted.
    is_after_fault: bool,
    metrics: InstanceMetrics,
}

impl Tenure {
    /// Nobody sits there yet.
    pub(super) fn new(metrics: InstanceMetrics) -> Self {
        Self { judged: 0, is_after_fault: false, metrics }
    }

    /// A new instance takes the place.
    pub(super) fn begins(&mut self) {
        self.judged = 0;
        self.metrics.instances.inc();
        if std::mem::take(&mut self.is_after_fault) {
            self.metrics.restarts.inc();
        }
    }

    /// A call ended well.
    pub(super) fn judged(&mut self) {
        self.judged = self.judged.saturating_add(1);
    }

    /// The instance, or the making of one, faulted.
    pub(super) fn faulted(&mut self) {
        self.is_after_fault = true;
    }

    /// Calls of the present instance, or of the last one, that ended well.
    pub(super) fn calls(&self) -> u64 {
        self.judged
    }
}

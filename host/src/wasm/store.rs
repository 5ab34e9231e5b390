//! The only place where a Store is made: none exists without limits, and no guest code runs without a deadline.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Store, UpdateDeadline};

use super::deadline::Verdict;
use super::fault::classify;
use super::given::Given;
use super::limits::{Bounds, HANDLES_MAX};
use super::sandbox::Sandbox;
use super::state::State;
use crate::pipeline::stage::{Fault, FaultKind};

/// Bytes a guest may pass beyond its output in one host call: a `configure`'s field paths, levels' names.
const HOST_CALL_SLACK_BYTES: usize = 64 << 10;

/// A Store with its limits.
#[derive(Debug)]
pub(super) struct GuestStore {
    store: Store<State>,
    sandbox: Arc<Sandbox>,
}

impl GuestStore {
    pub(super) fn new(sandbox: &Arc<Sandbox>, bounds: &Bounds, given: Arc<Given>) -> Self {
        let mut store = Store::new(&sandbox.engine, State::new(bounds, given, &sandbox.budget));
        store.limiter(|state| &mut state.limiter);
        let output_bytes_max = usize::try_from(bounds.output_bytes_max).unwrap_or(usize::MAX);
        store.set_hostcall_fuel(output_bytes_max.saturating_add(HOST_CALL_SLACK_BYTES));
        store.set_max_component_handles(HANDLES_MAX);
        let of_store = Arc::clone(sandbox);
        store.epoch_deadline_callback(move |mut cx| {
            of_store.clock.need();
            Ok(match cx.data_mut().deadline.on_tick() {
                Verdict::Continue(ticks) => UpdateDeadline::Continue(ticks),
                Verdict::Stop => UpdateDeadline::Interrupt,
            })
        });
        Self { store, sandbox: Arc::clone(sandbox) }
    }

    /// Runs guest code, for `allowance` of CPU time at most. After an error the Store is poisoned and must be dropped.
    pub(super) fn run<R>(
        &mut self,
        allowance: Duration,
        guest: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        let state = self.store.data_mut();
        state.deadline.begin(allowance);
        state.limiter.take_denied();
        self.store.set_epoch_deadline(1);
        self.sandbox.clock.need();
        // A panic could only be a defect of a host function. The Store is dropped after it like after a trap, the batch is not.
        let result = catch_unwind(AssertUnwindSafe(|| guest(&mut self.store)));
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(classify(&error, self.store.data_mut().limiter.take_denied())),
            Err(_panic) => {
                Err(Fault { kind: FaultKind::Trap, message: "internal error in a host function".to_owned() })
            }
        }
    }

    pub(super) fn state(&self) -> &State {
        self.store.data()
    }

    pub(super) fn state_mut(&mut self) -> &mut State {
        self.store.data_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Budget;

    #[test]
    fn a_defect_of_a_host_function_is_a_fault_and_no_more() {
        let sandbox = Sandbox::new(Budget::new(0)).expect("starts");
        let bounds = Bounds { memory_bytes_max: 0, output_bytes_max: 0, deadline: Duration::ZERO, is_deep: false };
        let mut store = GuestStore::new(&sandbox, &bounds, Arc::default());
        let fault = store.run(Duration::ZERO, |_| -> wasmtime::Result<()> { panic!("a defect") }).expect_err("faults");
        assert_eq!(fault.kind, FaultKind::Trap);
        assert!(!fault.message.contains("a defect"), "a panic's text may hold telemetry");
    }
}

//! A live instance: configured once, then called for batch after batch by the thread that owns it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Resource;

use super::bindings::Guest;
use super::columns::Reading;
use super::error::ConfigureError;
use super::fault::{classify, malformed, printable};
use super::given::Given;
use super::host_state::Attached;
use super::limits::{Bounds, CONFIGURE_DEADLINE, DEADLINE_PER_ROW, Denied, KEPT_HANDLES_MAX};
use super::sandbox::Sandbox;
use super::state::{Call, Opened};
use super::store::GuestStore;
use super::world::World;
use crate::batch::{Batch, Level};
use crate::observe::guests::Series;
use crate::pipeline::stage::{Effects, Fault, FaultKind, Instance};
use crate::signal::Signal;

/// Longest text of a guest's error that is shown.
const ERROR_CHARS_MAX: usize = 2048;
/// An instance is replaced once it has this share of the memory it may have: linear memory never shrinks.
const RECYCLE_PERCENT: u64 = 75;

/// An instance of a component of this world.
pub(super) struct GuestInstance<W> {
    pub(super) store: GuestStore,
    pub(super) guest: W,
    pub(super) bounds: Bounds,
    /// The guest faulted: its Store must not be entered again.
    pub(super) is_spent: bool,
}

/// How a call failed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The guest returned this error. It may hold telemetry.
    Returned(String),
    /// Anything else.
    Fault(Fault),
}

impl<W: World> GuestInstance<W> {
    /// Instantiates and configures.
    pub(super) fn new(
        sandbox: &Arc<Sandbox>,
        pre: &W::Pre,
        bounds: Bounds,
        given: &Arc<Given>,
        config: &str,
        is_first: bool,
    ) -> Result<Self, ConfigureError> {
        let mut store = GuestStore::new(sandbox, &bounds, Arc::clone(given));
        let guest =
            store.run(CONFIGURE_DEADLINE, |store| W::instantiate(pre, store)).map_err(ConfigureError::Instantiate)?;
        let state = store.state_mut();
        state.begin_configure();
        // All instances say the same: once is enough.
        state.logbook.is_quiet = !is_first;
        let answer = store.run(CONFIGURE_DEADLINE, |store| guest.configure(store, config));
        let answer = answer.map_err(|fault| ConfigureError::Faulted(with_lines(fault, &store)))?;
        answer.map_err(|text| ConfigureError::Rejected(printable(&text, ERROR_CHARS_MAX)))?;
        store.state_mut().end_configure();
        Ok(Self { store, guest, bounds, is_spent: false })
    }

    /// What it opened while it was configured.
    pub(super) fn opened(&self) -> &Opened {
        &self.store.state().opened
    }

    /// Gives it the host state that it opened.
    pub(super) fn attach(&mut self, states: &Arc<Attached>) {
        self.store.state_mut().host_state.attach(Arc::clone(states));
    }

    /// From now on its calls count: in these metrics, and in the log.
    pub(super) fn serve(&mut self, states: &Arc<Attached>, metrics: &Arc<[Arc<Series>]>) {
        self.attach(states);
        let state = self.store.state_mut();
        state.meters.attach(Arc::clone(metrics));
        state.logbook.is_quiet = false;
    }

    /// Its calls count nowhere: they are tried.
    pub(super) fn be_tried(&mut self, states: &Arc<Attached>) {
        self.attach(states);
        let state = self.store.state_mut();
        state.meters.detach();
        state.logbook.is_quiet = true;
    }

    /// With what the component has said last.
    pub(super) fn with_lines(&self, fault: Fault) -> Fault {
        with_lines(fault, &self.store)
    }

    /// A guest that returns an error since it was denied memory by the process says nothing of the batch.
    pub(super) fn returned(&mut self, text: String) -> CallError {
        match self.store.state_mut().limiter.take_denied() {
            Some(denied @ Denied::Process) => {
                CallError::Fault(Fault { kind: denied.kind(), message: denied.text().to_owned() })
            }
            _ => CallError::Returned(text),
        }
    }

    /// Ends the call that is on; what it did to host state holds or is undone.
    pub(super) fn take_back(&mut self, holds: bool) -> Call {
        let Some(call) = self.store.state_mut().end_call(holds) else {
            unreachable!("begin_call puts the batch in, and nothing but this takes it out")
        };
        call
    }

    pub(super) fn guest_memory_bytes(&self) -> u64 {
        self.store.state().limiter.bytes()
    }

    /// Whether it should be replaced before its next call.
    pub(super) fn is_worn(&self) -> bool {
        self.is_spent
            || self.store.state().row_handles > KEPT_HANDLES_MAX
            || self.guest_memory_bytes() >= self.bounds.memory_bytes_max / 100 * RECYCLE_PERCENT
    }
}

impl GuestInstance<Guest> {
    /// One call of `process`, with the guest's own error text.
    ///
    /// Where it reads messages that are malformed, the guest finishes its call as if their fields were absent, and what it wants is
    /// discarded: so it costs no new instance when somebody sends such requests.
    pub(super) fn process(&mut self, batch: Batch, items: Range<u32>) -> (Batch, Result<Effects, CallError>) {
        let signal = batch.signal();
        let begun = self.store.state_mut().begin_call(batch, items, None);
        let answer = match begun {
            Ok(()) => {
                let allowance = self.allowance(signal);
                let processor = self.guest.sluicebox_telemetry_processor();
                self.store.run(allowance, |store| processor.call_process(store, Resource::new_borrow(0)))
            }
            Err(misuse) => return (self.take_back(false).batch, Err(CallError::Fault(malformed(misuse)))),
        };
        self.is_spent = !matches!(answer, Ok(Ok(())));
        let removed = if self.is_spent { Ok(()) } else { self.store.state_mut().remove_unjudgeable() };
        let is_readable = self.store.state().call.as_ref().is_none_or(|call| call.reading.malformed == 0);
        let holds = !self.is_spent && removed.is_ok() && is_readable;
        let Call { batch, effects, reading, .. } = self.take_back(holds);
        let result = match answer {
            _ if !is_readable => Err(reading.unreadable()),
            Ok(Ok(())) => removed.map(|()| effects).map_err(|misuse| CallError::Fault(classify(&misuse, None))),
            Ok(Err(text)) => Err(self.returned(text)),
            Err(fault) => Err(CallError::Fault(fault)),
        };
        (batch, result)
    }

    fn allowance(&self, signal: Signal) -> Duration {
        let rows = self.store.state().call.as_ref().map_or(0, |call| {
            let items = call.batch.rows(&call.slice, Level::Item);
            let points = if signal == Signal::Metrics { call.batch.rows(&call.slice, Level::Point) } else { 0 };
            items.max(points)
        });
        self.bounds.deadline.saturating_add(DEADLINE_PER_ROW.saturating_mul(rows))
    }
}

impl Instance for GuestInstance<Guest> {
    fn call(&mut self, batch: Batch, items: Range<u32>) -> (Batch, Result<Effects, Fault>) {
        let (batch, result) = self.process(batch, items);
        (batch, result.map_err(|error| self.with_lines(error.without_text())))
    }

    fn memory_bytes(&self) -> u64 {
        self.guest_memory_bytes()
    }

    fn wants_recycling(&self) -> bool {
        self.is_worn()
    }
}

/// The lines of a component are its configuration's and code's texts, with numbers.
fn with_lines(fault: Fault, store: &GuestStore) -> Fault {
    match fault.kind {
        // Not the component's doing.
        FaultKind::Malformed | FaultKind::ProcessMemory => fault,
        _ => Fault { message: fault.message + &store.state().logbook.tail(), ..fault },
    }
}

impl Reading {
    /// The fault of a call that read messages that are malformed.
    pub(super) fn unreadable(&self) -> CallError {
        CallError::Fault(malformed(format_args!(
            "malformed protobuf in {} of the messages that were looked into",
            self.malformed
        )))
    }
}

impl CallError {
    /// What may be logged: a returned text may quote telemetry, so only its length is said.
    pub(super) fn without_text(self) -> Fault {
        match self {
            CallError::Fault(fault) => fault,
            CallError::Returned(text) => Fault {
                kind: FaultKind::ReturnedError,
                message: format!(
                    "returned an error of {} bytes; its text is not shown, since it may hold telemetry",
                    text.len()
                ),
            },
        }
    }

    /// With the guest's text, for a call on data that is not telemetry.
    pub(super) fn with_text(self) -> Fault {
        match self {
            CallError::Fault(fault) => fault,
            CallError::Returned(text) => {
                Fault { kind: FaultKind::ReturnedError, message: printable(&text, ERROR_CHARS_MAX) }
            }
        }
    }
}

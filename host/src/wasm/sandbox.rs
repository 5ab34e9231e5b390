//! What all instances share: the engine, its clock, the budget their memory is charged to, and what the host keeps for them.

use std::sync::Arc;

use wasmtime::Engine;

use super::clock::Clock;
use super::engine::{Cpu, engine};
use super::given::Tables;
use super::host_state::HostStates;
use super::runtime::RuntimeError;
use crate::memory::Budget;
use crate::observe::guests::GuestMetrics;

/// An engine that runs guests.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) engine: Engine,
    pub(super) clock: Arc<Clock>,
    pub(super) budget: Arc<Budget>,
    pub(super) states: HostStates,
    pub(super) tables: Arc<Tables>,
    pub(super) metrics: Arc<GuestMetrics>,
}

impl Sandbox {
    pub(super) fn new(budget: Arc<Budget>) -> Result<Arc<Self>, RuntimeError> {
        let engine = engine(Cpu::Native).map_err(RuntimeError::Engine)?;
        let clock = Clock::start(&engine).map_err(RuntimeError::Clock)?;
        let (states, tables) = (HostStates::new(&budget), Arc::new(Tables::new(&budget)));
        Ok(Arc::new(Self { engine, clock: Arc::new(clock), budget, states, tables, metrics: Arc::default() }))
    }

    /// One of the same engine with nothing of what guests have left here.
    pub(super) fn scratch(&self) -> Self {
        let (engine, clock, budget) = (self.engine.clone(), Arc::clone(&self.clock), Arc::clone(&self.budget));
        let (states, tables) = (HostStates::new(&budget), Arc::clone(&self.tables));
        Self { engine, clock, budget, states, tables, metrics: Arc::default() }
    }
}

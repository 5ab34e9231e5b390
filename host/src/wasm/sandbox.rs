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
    pub(super) clock: Clock,
    pub(super) budget: Arc<Budget>,
    pub(super) states: HostStates,
    pub(super) tables: Tables,
    pub(super) metrics: Arc<GuestMetrics>,
}

impl Sandbox {
    pub(super) fn new(budget: Arc<Budget>) -> Result<Arc<Self>, RuntimeError> {
        let engine = engine(Cpu::Native).map_err(RuntimeError::Engine)?;
        let clock = Clock::start(&engine).map_err(RuntimeError::Clock)?;
        let (states, tables) = (HostStates::new(&budget), Tables::new(&budget));
        Ok(Arc::new(Self { engine, clock, budget, states, tables, metrics: Arc::default() }))
    }
}

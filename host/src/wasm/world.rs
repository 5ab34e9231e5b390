//! What a component exports, by its role: processors and policies differ in nothing else.

use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::bindings::{Guest, GuestPre, Sampler, SamplerPre};
use super::component::Role;
use super::error::ProbeError;
use super::instance::GuestInstance;
use super::probe;
use super::state::State;
use crate::pipeline::stage::{Fault, FaultKind, Instance, Policy};

/// The exports of one role.
pub(super) trait World: Sized + Send + Sync + 'static {
    /// A component of this role, linked.
    type Pre: Clone + Send + Sync;

    /// The instantiated component.
    fn instantiate(pre: &Self::Pre, store: &mut Store<State>) -> wasmtime::Result<Self>;
    /// One call of `configure`.
    fn configure(&self, store: &mut Store<State>, config: &str) -> wasmtime::Result<Result<(), String>>;
    /// The first call, before it serves.
    fn probe(instance: &mut GuestInstance<Self>) -> Result<(), ProbeError>;

    /// An instance that judges batches. Whoever wants one of a policy has the wrong component.
    fn instance(_take: impl FnOnce() -> Result<GuestInstance<Self>, Fault>) -> Result<Box<dyn Instance>, Fault> {
        Err(not_a(Role::Processor))
    }
    /// An instance that votes on traces.
    fn policy(_take: impl FnOnce() -> Result<GuestInstance<Self>, Fault>) -> Result<Box<dyn Policy>, Fault> {
        Err(not_a(Role::Policy))
    }
}

/// A component that was linked for its role.
pub(super) enum Pre {
    Processor(GuestPre<State>),
    Policy(SamplerPre<State>),
}

impl Pre {
    /// An error tells what it exports that does not fit the contract.
    pub(super) fn new(role: Role, pre: InstancePre<State>) -> wasmtime::Result<Self> {
        Ok(match role {
            Role::Processor => Pre::Processor(GuestPre::new(pre)?),
            Role::Policy => Pre::Policy(SamplerPre::new(pre)?),
        })
    }
}

impl World for Guest {
    type Pre = GuestPre<State>;

    fn instantiate(pre: &Self::Pre, store: &mut Store<State>) -> wasmtime::Result<Self> {
        pre.instantiate(store)
    }

    fn configure(&self, store: &mut Store<State>, config: &str) -> wasmtime::Result<Result<(), String>> {
        self.sluicebox_telemetry_plugin().call_configure(store, config)
    }

    fn probe(instance: &mut GuestInstance<Self>) -> Result<(), ProbeError> {
        probe::batches::probe(instance)
    }

    fn instance(take: impl FnOnce() -> Result<GuestInstance<Self>, Fault>) -> Result<Box<dyn Instance>, Fault> {
        Ok(Box::new(take()?))
    }
}

impl World for Sampler {
    type Pre = SamplerPre<State>;

    fn instantiate(pre: &Self::Pre, store: &mut Store<State>) -> wasmtime::Result<Self> {
        pre.instantiate(store)
    }

    fn configure(&self, store: &mut Store<State>, config: &str) -> wasmtime::Result<Result<(), String>> {
        self.sluicebox_telemetry_plugin().call_configure(store, config)
    }

    fn probe(instance: &mut GuestInstance<Self>) -> Result<(), ProbeError> {
        probe::traces::probe(instance)
    }

    fn policy(take: impl FnOnce() -> Result<GuestInstance<Self>, Fault>) -> Result<Box<dyn Policy>, Fault> {
        Ok(Box::new(take()?))
    }
}

/// The stage was built for another use.
fn not_a(role: Role) -> Fault {
    Fault { kind: FaultKind::BadOutput, message: format!("the component is not a {role}") }
}

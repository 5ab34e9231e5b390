//! One component with one config, ready to judge: instances for every worker and a warm spare.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::warn;

use super::bindings::GuestPre;
use super::component::ComponentInfo;
use super::error::{BuildError, ConfigureError};
use super::instance::GuestInstance;
use super::keys::Keys;
use super::limits::Bounds;
use super::probe::probe;
use super::sandbox::Sandbox;
use super::state::{Opened, State};
use crate::config::model::{Component, OnFault, Secret, StageLimits};
use crate::observe::throttle::Throttle;
use crate::pipeline::stage::{Fault, FaultKind, Generation, Instance};

/// Between two log lines on spare instances that cannot be made.
const SPARE_LOG_INTERVAL: Duration = Duration::from_secs(5);

/// What a generation is made from.
#[derive(Clone)]
pub struct GenerationSpec {
    /// The stage's name as in the config.
    pub stage: String,
    /// Counts from 1 for each stage.
    pub number: u64,
    /// What judges.
    pub component: Component,
    /// What `configure` gets: JSON text.
    pub config: String,
    /// Keys for keyed hashes, by the names that a component opens.
    pub keys: Vec<(String, Secret)>,
    /// Bounds of an instance.
    pub limits: StageLimits,
    /// Only where the file says so; else what the component imports decides.
    pub on_fault: Option<OnFault>,
    /// Worker threads, each of which gets an instance.
    pub workers: usize,
}

/// A component that was compiled and linked; shared by all generations that use it.
pub(super) struct Linked {
    pub(super) info: ComponentInfo,
    pub(super) pre: GuestPre<State>,
}

/// A generation whose instances are Wasm.
#[derive(Clone, Debug)]
pub(super) struct WasmGeneration(Arc<Shared>);

struct Shared {
    stage: String,
    number: u64,
    on_fault: OnFault,
    config: String,
    keys: Arc<Keys>,
    bounds: Bounds,
    linked: Arc<Linked>,
    sandbox: Arc<Sandbox>,
    /// Of the first instance; all others must match it.
    opened: Opened,
    prepared: Mutex<Vec<GuestInstance>>,
    is_rebuilding: AtomicBool,
    /// What fails once fails at each fault.
    spare_lines: Throttle,
}

impl WasmGeneration {
    /// Configures one instance per worker and a spare, and calls each of them once.
    pub(super) fn build(spec: GenerationSpec, linked: Arc<Linked>, sandbox: &Arc<Sandbox>) -> Result<Self, BuildError> {
        let bounds = Bounds::of(&spec.limits, &linked.info);
        let keys = Arc::new(Keys::new(&spec.keys));
        let first = GuestInstance::new(sandbox, &linked.pre, bounds, &keys, &spec.config)?;
        let shared = Shared {
            stage: spec.stage,
            number: spec.number,
            on_fault: spec.on_fault.unwrap_or_else(|| linked.info.default_on_fault()),
            config: spec.config,
            keys,
            bounds,
            linked,
            sandbox: Arc::clone(sandbox),
            opened: first.opened().clone(),
            prepared: Mutex::new(Vec::with_capacity(spec.workers + 1)),
            is_rebuilding: AtomicBool::new(false),
            spare_lines: Throttle::new(SPARE_LOG_INTERVAL),
        };
        let mut prepared = vec![first];
        for _ in 0..spec.workers {
            prepared.push(shared.new_instance()?);
        }
        for instance in &mut prepared {
            probe(instance)?;
        }
        *shared.prepared() = prepared;
        Ok(Self(Arc::new(shared)))
    }

    /// Makes a new spare beside the data path.
    fn rebuild_spare(&self) {
        if self.0.is_rebuilding.swap(true, Ordering::AcqRel) {
            return;
        }
        let generation = self.clone();
        let spawned = thread::Builder::new().name("guest-spare".to_owned()).spawn(move || {
            let shared = &generation.0;
            match shared.new_instance() {
                Ok(instance) => shared.prepared().push(instance),
                Err(error) => {
                    if let Some(left_out) = shared.spare_lines.admit() {
                        warn!(stage = shared.stage, left_out, "no spare instance: {error}");
                    }
                }
            }
            shared.is_rebuilding.store(false, Ordering::Release);
        });
        if spawned.is_err() {
            self.0.is_rebuilding.store(false, Ordering::Release);
        }
    }
}

impl Shared {
    fn new_instance(&self) -> Result<GuestInstance, ConfigureError> {
        let instance = GuestInstance::new(&self.sandbox, &self.linked.pre, self.bounds, &self.keys, &self.config)?;
        if *instance.opened() == self.opened { Ok(instance) } else { Err(ConfigureError::Differs) }
    }

    fn prepared(&self) -> MutexGuard<'_, Vec<GuestInstance>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generation for WasmGeneration {
    fn stage(&self) -> &str {
        &self.0.stage
    }

    fn number(&self) -> u64 {
        self.0.number
    }

    fn digest(&self) -> &str {
        &self.0.linked.info.digest
    }

    fn on_fault(&self) -> OnFault {
        self.0.on_fault
    }

    fn rules(&self) -> &[String] {
        &self.0.opened.rules
    }

    fn instance(&self) -> Result<Box<dyn Instance>, Fault> {
        let (instance, was_last) = {
            let mut prepared = self.0.prepared();
            (prepared.pop(), prepared.is_empty())
        };
        if was_last {
            self.rebuild_spare();
        }
        match instance {
            Some(instance) => Ok(Box::new(instance)),
            None => Ok(Box::new(self.0.new_instance().map_err(ConfigureError::into_fault)?)),
        }
    }
}

impl ConfigureError {
    /// For an instance made while the stage serves: the same config worked before.
    fn into_fault(self) -> Fault {
        let message = self.to_string();
        match self {
            ConfigureError::Instantiate(fault) | ConfigureError::Faulted(fault) => Fault { kind: fault.kind, message },
            ConfigureError::Rejected(_) => Fault { kind: FaultKind::ReturnedError, message },
            ConfigureError::Differs => Fault { kind: FaultKind::BadOutput, message },
        }
    }
}

/// Without `config` and `keys`, which may be secrets.
impl fmt::Debug for GenerationSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GenerationSpec")
            .field("stage", &self.stage)
            .field("number", &self.number)
            .field("component", &self.component)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Linked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linked").field("info", &self.info).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmGeneration")
            .field("stage", &self.stage)
            .field("number", &self.number)
            .field("linked", &self.linked)
            .finish_non_exhaustive()
    }
}

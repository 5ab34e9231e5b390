//! One component with one config, ready to judge: instances for every worker and a warm spare.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::warn;

use super::bindings::{Guest, Sampler};
use super::component::{ComponentInfo, Role};
use super::error::{BuildError, ConfigureError};
use super::given::Given;
use super::host_state::Attached;
use super::instance::GuestInstance;
use super::keys::Keys;
use super::limits::Bounds;
use super::logbook::LogOf;
use super::sandbox::Sandbox;
use super::state::Opened;
use super::world::{Pre, World};
use crate::config::model::{Component, Grants, OnFault, Secret, StageLimits};
use crate::observe::guests::Series;
use crate::observe::throttle::Throttle;
use crate::pipeline::stage::{Fault, FaultKind, Generation, Instance, Policy};
use crate::table::Table;

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
    /// What it has to be.
    pub role: Role,
    /// What `configure` gets: JSON text.
    pub config: String,
    /// Keys for keyed hashes, by the names that a component opens.
    pub keys: Vec<(String, Secret)>,
    /// What it may import beyond what its role is.
    pub grants: Grants,
    /// Tables, by the names that a component opens.
    pub tables: Vec<(String, Arc<Table>)>,
    /// Bounds of an instance.
    pub limits: StageLimits,
    /// Only where the file says so; else what the component imports decides.
    pub on_fault: Option<OnFault>,
    /// Threads that call it, each of which gets an instance.
    pub workers: usize,
}

/// A component that was compiled and linked; shared by all generations that use it.
pub(super) struct Linked {
    pub(super) info: ComponentInfo,
    pub(super) pre: Pre,
}

/// A generation whose instances are Wasm.
pub(super) struct WasmGeneration<W: World>(Arc<Shared<W>>);

struct Shared<W: World> {
    stage: String,
    number: u64,
    on_fault: OnFault,
    config: String,
    given: Arc<Given>,
    bounds: Bounds,
    linked: Arc<Linked>,
    pre: W::Pre,
    sandbox: Arc<Sandbox>,
    /// Of the first instance; all others must match it.
    opened: Opened,
    states: Arc<Attached>,
    metrics: Arc<[Arc<Series>]>,
    prepared: Mutex<Vec<GuestInstance<W>>>,
    is_rebuilding: AtomicBool,
    /// What fails once fails at each fault.
    spare_lines: Throttle,
}

/// Configures one instance per worker and a spare, and calls each of them once.
pub(super) fn build(
    spec: GenerationSpec,
    linked: Arc<Linked>,
    sandbox: &Arc<Sandbox>,
) -> Result<Arc<dyn Generation>, BuildError> {
    match &linked.pre {
        Pre::Processor(pre) => {
            let pre = pre.clone();
            Ok(Arc::new(WasmGeneration::<Guest>::build(spec, linked, pre, sandbox)?))
        }
        Pre::Policy(pre) => {
            let pre = pre.clone();
            Ok(Arc::new(WasmGeneration::<Sampler>::build(spec, linked, pre, sandbox)?))
        }
    }
}

impl<W: World> WasmGeneration<W> {
    fn build(
        spec: GenerationSpec,
        linked: Arc<Linked>,
        pre: W::Pre,
        sandbox: &Arc<Sandbox>,
    ) -> Result<Self, BuildError> {
        let bounds = Bounds::of(&spec.limits, &linked.info);
        let given = Arc::new(given(&spec, sandbox)?);
        let first = GuestInstance::<W>::new(sandbox, &pre, bounds, &given, &spec.config, true)?;
        let opened = first.opened().clone();
        let states = sandbox.states.attach(&spec.stage, &opened.states).map_err(ConfigureError::HostState)?;
        let metrics = sandbox.metrics.attach(&spec.stage, &opened.metrics).map_err(ConfigureError::Metric)?.into();
        let shared = Shared {
            stage: spec.stage,
            number: spec.number,
            on_fault: spec.on_fault.unwrap_or_else(|| linked.info.default_on_fault()),
            config: spec.config,
            given,
            bounds,
            linked,
            pre,
            sandbox: Arc::clone(sandbox),
            opened,
            states,
            metrics,
            prepared: Mutex::new(Vec::with_capacity(spec.workers + 1)),
            is_rebuilding: AtomicBool::new(false),
            spare_lines: Throttle::new(SPARE_LOG_INTERVAL),
        };
        let mut prepared = vec![first];
        for _ in 0..spec.workers {
            prepared.push(shared.new_instance()?);
        }
        for instance in &mut prepared {
            // Nothing that these calls do is kept: others serve, and this one may never do.
            let scratch = sandbox.states.scratch(&shared.opened.states).map_err(ConfigureError::HostState)?;
            instance.be_tried(&scratch);
            W::probe(instance)?;
            instance.serve(&shared.states, &shared.metrics);
        }
        *shared.prepared() = prepared;
        Ok(Self(Arc::new(shared)))
    }

    /// Makes a new spare beside the data path.
    fn rebuild_spare(&self) {
        if self.0.is_rebuilding.swap(true, Ordering::AcqRel) {
            return;
        }
        let generation = Self(Arc::clone(&self.0));
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

/// What all instances of a generation are given.
fn given(spec: &GenerationSpec, sandbox: &Sandbox) -> Result<Given, ConfigureError> {
    let tables = sandbox.tables.give(&spec.tables)?;
    let (lines_per_second, counts) = (spec.limits.log_lines_per_second, sandbox.metrics.log(&spec.stage));
    let log = LogOf::new(&spec.stage, spec.number, counts, lines_per_second, spec.workers);
    Ok(Given { keys: Keys::new(&spec.keys), tables, log })
}

impl<W: World> Shared<W> {
    fn new_instance(&self) -> Result<GuestInstance<W>, ConfigureError> {
        let mut instance = GuestInstance::new(&self.sandbox, &self.pre, self.bounds, &self.given, &self.config, false)?;
        if *instance.opened() != self.opened {
            return Err(ConfigureError::Differs);
        }
        instance.serve(&self.states, &self.metrics);
        Ok(instance)
    }

    fn prepared(&self) -> MutexGuard<'_, Vec<GuestInstance<W>>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: World> Generation for WasmGeneration<W> {
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

    fn edits(&self) -> bool {
        self.0.linked.info.edits()
    }

    fn rules(&self) -> &[String] {
        &self.0.opened.rules
    }

    fn instance_bytes_max(&self) -> u64 {
        self.0.bounds.memory_bytes_max
    }

    fn instance(&self) -> Result<Box<dyn Instance>, Fault> {
        W::instance(|| self.take())
    }

    fn policy(&self) -> Result<Box<dyn Policy>, Fault> {
        W::policy(|| self.take())
    }
}

impl<W: World> WasmGeneration<W> {
    /// An instance that was prepared, else a new one.
    fn take(&self) -> Result<GuestInstance<W>, Fault> {
        let (instance, was_last) = {
            let mut prepared = self.0.prepared();
            (prepared.pop(), prepared.is_empty())
        };
        if was_last {
            self.rebuild_spare();
        }
        match instance {
            Some(instance) => Ok(instance),
            None => self.0.new_instance().map_err(ConfigureError::into_fault),
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
            ConfigureError::HostState(_) | ConfigureError::Table(_) => {
                Fault { kind: FaultKind::ProcessMemory, message }
            }
            ConfigureError::Metric(_) => Fault { kind: FaultKind::BadOutput, message },
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

impl<W: World> fmt::Debug for WasmGeneration<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmGeneration")
            .field("stage", &self.0.stage)
            .field("number", &self.0.number)
            .field("linked", &self.0.linked)
            .finish_non_exhaustive()
    }
}

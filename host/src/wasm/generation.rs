//! One component with one config, ready to judge: instances for every worker and a warm spare.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::warn;

use super::apart::Apart;
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
pub(super) struct WasmGeneration<W: World> {
    number: u64,
    shared: Arc<Shared<W>>,
}

/// What all numbers have in common under which the same component serves with the same configuration.
pub(super) struct Shared<W: World> {
    pub(super) stage: String,
    on_fault: OnFault,
    pub(super) config: String,
    given: Arc<Given>,
    bounds: Bounds,
    pub(super) linked: Arc<Linked>,
    pre: W::Pre,
    pub(super) sandbox: Arc<Sandbox>,
    /// Of the first instance; all others must match it.
    pub(super) opened: Opened,
    pub(super) states: Arc<Attached>,
    metrics: Arc<[Arc<Series>]>,
    prepared: Mutex<Vec<GuestInstance<W>>>,
    /// One for each thread that calls it, and a spare.
    prepared_max: usize,
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
        let prepared_max = spec.workers + 1;
        let shared = Shared {
            stage: spec.stage,
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
            prepared: Mutex::new(Vec::with_capacity(prepared_max)),
            prepared_max,
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
        Ok(Self { number: spec.number, shared: Arc::new(shared) })
    }

    /// Makes a new spare beside the data path.
    fn rebuild_spare(&self) {
        if self.shared.is_rebuilding.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let spawned = thread::Builder::new().name("guest-spare".to_owned()).spawn(move || {
            match shared.new_instance() {
                Ok(instance) => shared.keep(instance),
                Err(error) => {
                    if let Some(left_out) = shared.spare_lines.admit() {
                        warn!(stage = shared.stage, left_out, "no spare instance: {error}");
                    }
                }
            }
            shared.is_rebuilding.store(false, Ordering::Release);
        });
        if spawned.is_err() {
            self.shared.is_rebuilding.store(false, Ordering::Release);
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
        let mut instance = self.configured(&self.config)?;
        if *instance.opened() != self.opened {
            return Err(ConfigureError::Differs);
        }
        instance.serve(&self.states, &self.metrics);
        Ok(instance)
    }

    /// An instance with this configuration, which has no host state yet.
    pub(super) fn configured(&self, config: &str) -> Result<GuestInstance<W>, ConfigureError> {
        GuestInstance::new(&self.sandbox, &self.pre, self.bounds, &self.given, config, false)
    }

    /// Prepared for the next thread that needs one, unless as many are as there can be threads.
    fn keep(&self, instance: GuestInstance<W>) {
        let mut prepared = self.prepared();
        if prepared.len() < self.prepared_max {
            prepared.push(instance);
        }
    }

    fn prepared(&self) -> MutexGuard<'_, Vec<GuestInstance<W>>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: World> Generation for WasmGeneration<W> {
    fn stage(&self) -> &str {
        &self.shared.stage
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn digest(&self) -> &str {
        &self.shared.linked.info.digest
    }

    fn on_fault(&self) -> OnFault {
        self.shared.on_fault
    }

    fn edits(&self) -> bool {
        self.shared.linked.info.edits()
    }

    fn rules(&self) -> &[String] {
        &self.shared.opened.rules
    }

    fn instance_bytes_max(&self) -> u64 {
        self.shared.bounds.memory_bytes_max
    }

    fn instance(&self) -> Result<Box<dyn Instance>, Fault> {
        W::instance(|| self.take())
    }

    fn policy(&self) -> Result<Box<dyn Policy>, Fault> {
        W::policy(|| self.take())
    }

    fn cases(&self) -> Option<&[u8]> {
        self.shared.linked.info.cases.as_deref()
    }

    fn apart(&self, config: Option<&str>) -> Result<Arc<dyn Generation>, Fault> {
        let apart = Apart::of(self.number, &self.shared, config).map_err(ConfigureError::into_fault)?;
        Ok(Arc::new(apart))
    }

    fn give_back(&self, instance: Box<dyn Any>) {
        // One of another kind would be a defect of the caller; a worn one would only fault later.
        if let Ok(instance) = instance.downcast::<GuestInstance<W>>()
            && !instance.is_worn()
        {
            self.shared.keep(*instance);
        }
    }

    fn renumbered(&self, number: u64) -> Option<Arc<dyn Generation>> {
        Some(Arc::new(Self { number, shared: Arc::clone(&self.shared) }))
    }
}

impl<W: World> WasmGeneration<W> {
    /// An instance that was prepared, else a new one.
    fn take(&self) -> Result<GuestInstance<W>, Fault> {
        let (instance, was_last) = {
            let mut prepared = self.shared.prepared();
            (prepared.pop(), prepared.is_empty())
        };
        if was_last {
            self.rebuild_spare();
        }
        match instance {
            Some(instance) => Ok(instance),
            None => self.shared.new_instance().map_err(ConfigureError::into_fault),
        }
    }
}

impl ConfigureError {
    /// For an instance made while the stage serves: the same config worked before.
    pub(super) fn into_fault(self) -> Fault {
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
            .field("stage", &self.shared.stage)
            .field("number", &self.number)
            .field("linked", &self.shared.linked)
            .finish_non_exhaustive()
    }
}

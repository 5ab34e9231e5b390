//! The engine: from a valid configuration to open ports, and back to none.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::admin::{self, health::HealthServers};
use crate::config::model::{Config, DeadLetter, Stage, StageRole};
use crate::control::health::Planned;
use crate::control::history::History;
use crate::control::{Build, Control};
use crate::engine::drain::Drain;
use crate::engine::own_ports::{OwnPorts, OwnServers};
use crate::engine::topology::{Common, Stopping, Topology};
use crate::export;
use crate::memory::Budget;
use crate::memory::limit::{self, Limit};
use crate::memory::maxima::{self, Maxima};
use crate::memory::tail::TailBounds;
use crate::observe::dead_letter::DeadLetters;
use crate::observe::metrics::Metrics;
use crate::observe::rates::Rates;
use crate::observe::readiness::Readiness;
use crate::pipeline::Pipeline;
use crate::pipeline::assemble::AssembleError;
use crate::pipeline::sampling::Samplers;
use crate::pipeline::stage::Generation;
use crate::pipeline::stages::{Current, Snapshot, Stages};
use crate::pipeline::worker::Workers;
use crate::receive::BindError;
use crate::scratch::Scratches;
use crate::tap::Taps;
use crate::view::View;
use crate::wasm::{self, Bundled, Compiler, GenerationSpec, Role, Runtime, RuntimeOptions};

mod drain;
mod leftovers;
mod own_ports;
mod ports;
mod topology;

/// What the engine needs besides the configuration.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Components inside the binary.
    pub bundled: &'static [Bundled],
    /// Where compiled components are kept; None = nowhere.
    pub cache: Option<PathBuf>,
    /// Where the admin token is kept.
    pub state: Option<PathBuf>,
    /// Threads that run guest code.
    pub workers: usize,
    /// How long what a change of the file replaces may take to finish what it has.
    pub drain: Duration,
}

/// A running engine.
pub struct Engine {
    /// Changes what runs.
    pub control: Arc<Control>,
    /// Where it listens, for people: what, and where.
    pub addresses: Vec<(String, SocketAddr)>,
    /// The process's byte budget and where it comes from, by the first file.
    pub limit: Limit,
    /// What tail samplers may hold, by the first file.
    pub tail: Vec<TailBounds>,
    /// What all parts may take by the first file, and what is set aside for them where that does not fit.
    pub maxima: (Maxima, Option<String>),
    readiness: Arc<Readiness>,
    topology: Arc<Topology>,
    metrics: Arc<Metrics>,
    _own_servers: OwnServers,
    _health_servers: HealthServers,
    workers: Workers,
}

/// The engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A receiver's port.
    #[error("a receiver cannot listen")]
    Bind(#[source] BindError),
    /// An own port.
    #[error("cannot listen on {address} for {what}")]
    BindOwn {
        /// What was to listen.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// An exporter cannot be built, such as for an unreadable CA file.
    #[error("exporter \"{exporter}\" cannot be built")]
    Exporter {
        /// Its name.
        exporter: String,
        /// Why not.
        source: export::SetupError,
    },
    /// The Wasm runtime.
    #[error("the Wasm runtime cannot start")]
    Runtime(#[source] wasm::RuntimeError),
    /// A stage's first generation.
    #[error("stage \"{}\" cannot be built, at step {}", .stage.name, .source.step())]
    Stage {
        /// The stage.
        stage: Box<Stage>,
        /// Why not.
        source: wasm::BuildError,
    },
    /// A thread.
    #[error("a worker thread cannot be started")]
    Worker(#[source] std::io::Error),
    /// A defect of ours.
    #[error("building the stages was abandoned: {0}")]
    Abandoned(String),
    /// The admin API's certificate and its key, which were read before.
    #[error("the admin API's certificate cannot be used")]
    Certificate(#[source] admin::tls::CertificateError),
    /// The thread that writes the dead letter.
    #[error("the dead letter's thread cannot be started")]
    DeadLetter(#[source] std::io::Error),
    /// The pipelines.
    #[error(transparent)]
    Assemble(AssembleError),
}

impl Engine {
    /// The whole path: ports, stages, exporters, pipelines, own pages; then requests are let in.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running then.
    pub async fn start(config: Config, surroundings: &Surroundings) -> Result<Engine, StartError> {
        let metrics = Arc::new(Metrics::new());
        let limit = limit::of(&config.memory);
        let budget = Budget::new(limit.bytes);
        let ports = ports::open(&config, &[]).map_err(StartError::Bind)?;
        let own = OwnPorts::bind(&config).await?;
        // Asked from the first moment: what is being built is not ready.
        let readiness = Readiness::starting(Arc::new(Planned::of(&config)));
        let health_servers = HealthServers::start(&config.health_checks, &readiness).await;
        let health_servers = health_servers.map_err(|(address, source)| bind_own("a health check", address, source))?;

        let workers_count = surroundings.workers;
        let options = RuntimeOptions {
            budget: Arc::clone(&budget),
            bundled: surroundings.bundled,
            compiler: Compiler::this_executable(),
            cache_dir: surroundings.cache.clone(),
        };
        let runtime = Arc::new(Runtime::new(options).map_err(StartError::Runtime)?);
        let scratches = scratches(&runtime);
        metrics.show_guests(runtime.guest_metrics());
        let build: Arc<Build> =
            Arc::new(move |stage, number| runtime.build_generation(generation_spec(stage, number, workers_count)));
        let stages = Stages::new(first_generations(&build, &config).await?, &metrics);
        let current = Current::new(Arc::clone(&stages));
        let workers = Workers::start(workers_count, &current, &metrics).map_err(StartError::Worker)?;
        let common = Common {
            workers: workers.way(),
            workers_count,
            budget: Arc::clone(&budget),
            metrics: Arc::clone(&metrics),
            current: Arc::clone(&current),
            dead_letters: start_dead_letters(&config, &metrics)?,
            writer: Arc::new(Mutex::new(std::io::stdout())),
            drain: surroundings.drain,
        };
        let topology = Topology::new(common, config.memory.clone(), limit);
        topology.build(&config, &stages, ports)?.commit();
        let tail = topology.bounds.load().to_vec();
        let maxima = maxima_of(&config, &limit, &tail, workers_count, &stages.snapshot());
        let overcommitted = maxima.overcommitted(budget.bytes_used());
        let history = History::open(surroundings.state.as_deref(), own.admin_port(), &metrics);
        let around = Arc::clone(&topology);
        let control = Control::new(build, config, current, around, Arc::clone(&metrics), history);
        control.keep_last_batches(&budget);
        // What is kept for a rollback goes before data is refused.
        let kept = Arc::downgrade(&control);
        budget.relieve_with(move || kept.upgrade().is_some_and(|control| control.relieve()));

        let addresses = topology.addresses().into_iter().chain(own.addresses()).chain(health_servers.addresses());
        let addresses = addresses.collect();
        let state = surroundings.state.as_deref();
        let (budget, shown) = (Arc::clone(&budget), Arc::clone(&readiness));
        let rates = Rates::new(&metrics);
        // It ends with the process, or when nobody has the rates any more.
        drop(rates.keep());
        let view = View {
            control: Arc::clone(&control),
            rates,
            budget: Arc::clone(&budget),
            metrics: Arc::clone(&metrics),
            readiness: Arc::clone(&shown),
            levels: Arc::<Topology>::clone(&topology),
        };
        let parts = admin::Parts {
            taps: Taps::new(Arc::clone(&control), Arc::clone(&topology.standing)),
            control: Arc::clone(&control),
            budget,
            why: Arc::<Samplers>::clone(&topology.samplers),
            readiness: shown,
            tries: admin::Tries::new(scratches),
            view,
        };
        let own_servers = own.serve(parts, &metrics, state);
        readiness.serve(Arc::clone(&control) as _);
        let maxima = (maxima, overcommitted);
        Ok(Engine {
            control,
            addresses,
            limit,
            tail,
            maxima,
            readiness,
            topology,
            metrics,
            _own_servers: own_servers,
            _health_servers: health_servers,
            workers,
        })
    }

    /// Lets no more requests in, waits for those inside, empties the queues; all of it before `deadline`.
    pub async fn stop(self, deadline: Instant) {
        self.readiness.stop();
        self.control.stopped();
        let drain = Drain::begin(&self.control, &self.metrics);
        // Who waits to be merged need not wait for anybody any more, and servers wait for them.
        let Stopping { ports, pipelines, exporters, leaving } = self.topology.stop(deadline);
        drain.watch(&pipelines, &exporters);
        pipelines.iter().for_each(Pipeline::stop_waiting);
        drain.step("receivers");
        let patience = deadline.saturating_duration_since(Instant::now());
        join_all(ports.into_iter().map(|port| port.handle.shutdown(patience))).await;
        // What changes have replaced needs the workers, too; it knows of the deadline.
        let _late = tokio::time::timeout_at((deadline + LEFTOVERS_GRACE).into(), join_all(leaving)).await;
        drain.step("samplers");
        // No request is inside any more; what waits for a decision gets it, and may need the workers.
        let finishing = tokio::task::spawn_blocking(move || finish_samplers(&pipelines, deadline));
        if finishing.await.is_err() {
            tracing::error!("an internal error while tail samplers were finished");
        }
        drain.step("workers");
        let (late, workers) = (self.workers.late(), self.workers);
        let mut finishing = tokio::task::spawn_blocking(move || workers.finish());
        if tokio::time::timeout_at(deadline.into(), &mut finishing).await.is_err() {
            tracing::warn!("guest calls did not end in time: what waits for them is told to retry");
            late.store(true, Ordering::Relaxed);
        }
        drain.step("exporters");
        let patience = deadline.saturating_duration_since(Instant::now());
        join_all(exporters.iter().map(|exporter| exporter.shutdown(patience))).await;
        drain.ended(&exporters).await;
    }
}

/// Has what waits in tail samplers decided and handed over. Those of a pipeline one after another: a later one takes what an earlier one
/// keeps.
fn finish_samplers(pipelines: &[Arc<Pipeline>], deadline: Instant) {
    for pipeline in pipelines {
        pipeline.samplers().for_each(|(_, sampler)| sampler.finish(deadline));
    }
}

/// Builds the first generation of every stage, one after another. Compiling takes seconds, and nothing of it belongs on an I/O
/// thread.
async fn first_generations(build: &Arc<Build>, config: &Config) -> Result<Vec<Arc<dyn Generation>>, StartError> {
    let (build, stages) = (Arc::clone(build), config.stages.clone());
    let building = tokio::task::spawn_blocking(move || {
        let first = |stage: Stage| build(&stage, 1).map_err(|source| (Box::new(stage), source));
        stages.into_iter().map(first).collect::<Result<Vec<_>, _>>()
    });
    let built = building.await.map_err(|panicked| StartError::Abandoned(panicked.to_string()))?;
    built.map_err(|(stage, source)| StartError::Stage { stage, source })
}

fn maxima_of(config: &Config, limit: &Limit, tail: &[TailBounds], workers: usize, serving: &Snapshot) -> Maxima {
    let instance_bytes = |stage: &str| {
        let generation = serving.iter().find(|generation| generation.stage() == stage);
        generation.map_or(0, |generation| generation.instance_bytes_max())
    };
    maxima::of(config, limit, tail, workers, instance_bytes)
}

/// Builds stages for tries, beside those that serve.
fn scratches(runtime: &Arc<Runtime>) -> Arc<Scratches> {
    let runtime = Arc::clone(runtime);
    Arc::new(move || {
        let scratch = runtime.scratch();
        // One thread calls them, with the instance that tells whether they can be built.
        Arc::new(move |stage: &Stage| scratch.build_generation(generation_spec(stage, 1, 0)))
    })
}

/// What a stage of the file is built from.
pub fn generation_spec(stage: &Stage, number: u64, workers: usize) -> GenerationSpec {
    GenerationSpec {
        stage: stage.name.clone(),
        number,
        component: stage.component.clone(),
        role: match stage.role {
            StageRole::Processor => Role::Processor,
            StageRole::Policy => Role::Policy,
        },
        config: stage.config.clone(),
        keys: stage.keys.clone(),
        grants: stage.grants,
        tables: stage.tables.clone(),
        limits: stage.limits,
        on_fault: stage.on_fault,
        workers,
    }
}

fn start_dead_letters(config: &Config, metrics: &Metrics) -> Result<Option<Arc<DeadLetters>>, StartError> {
    let start = |keys: &DeadLetter| {
        DeadLetters::start(keys.path.clone(), keys.bytes_max, keys.payload, export::to_json, metrics).map(Arc::new)
    };
    config.dead_letter.as_ref().map(start).transpose().map_err(StartError::DeadLetter)
}

fn bind_own(what: &'static str, address: SocketAddr, source: std::io::Error) -> StartError {
    StartError::BindOwn { what, address, source }
}

/// Counting what is dropped at the deadline takes a moment.
const LEFTOVERS_GRACE: Duration = Duration::from_millis(200);

/// Long enough for an exporter's try and its answer, shorter than the 30 s that orchestrators grant.
pub const DRAIN_DEFAULT: Duration = Duration::from_secs(25);

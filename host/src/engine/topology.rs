//! Everything around the stages, as the file in force says it, and the way to the next file's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::model::{self, Config};
use crate::control::{self, Prepared, Unprepared};
use crate::engine::StartError;
use crate::engine::leftovers::{Leftovers, Until};
use crate::engine::ports::{self, How, Port, Wanted};
use crate::export::{self, Exporter, QueueLevel};
use crate::memory::Budget;
use crate::memory::limit::{self, Limit};
use crate::memory::tail::{self as tail_memory, TailBounds};
use crate::observe::dead_letter::DeadLetters;
use crate::observe::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::pipeline::assemble::{Assembly, Shared, assemble};
use crate::pipeline::inlet::{Door, Inlet};
use crate::pipeline::sampling::{Sampler, Samplers};
use crate::pipeline::stages::{Current, Stages};
use crate::pipeline::standing::Standing;
use crate::pipeline::worker::{JOBS_MAX, Way};
use crate::view::{JobsLevel, Levels};

/// Receivers, pipelines and exporters.
pub(super) struct Topology {
    common: Common,
    /// None once the process stops.
    running: Mutex<Option<Running>>,
    /// What earlier files had, while it drains.
    leaving: Mutex<Vec<JoinHandle<()>>>,
    stop_by: watch::Sender<Option<Instant>>,
    /// Those at work.
    pub samplers: Arc<Samplers>,
    /// Where stages and samplers stand.
    pub standing: Arc<Standing>,
    /// What each of these may hold.
    pub bounds: Arc<ArcSwap<Vec<TailBounds>>>,
}

/// What does not change with a file.
pub(super) struct Common {
    pub workers: Way,
    pub workers_count: usize,
    pub budget: Arc<Budget>,
    pub metrics: Arc<Metrics>,
    pub current: Arc<Current>,
    pub dead_letters: Option<Arc<DeadLetters>>,
    /// Where `debug` exporters print.
    pub writer: export::Writer,
    /// How long what is replaced may take to finish.
    pub drain: Duration,
}

/// What one file has.
struct Running {
    memory: model::MemoryLimit,
    limit: Limit,
    ports: Vec<Port>,
    /// By receiver.
    doors: BTreeMap<String, Arc<Door>>,
    exporters: Vec<(model::Exporter, Arc<Exporter>)>,
    pipelines: Vec<Arc<Pipeline>>,
}

/// What the next file has, before it is in force.
struct Next {
    topology: Arc<Topology>,
    stages: Arc<Stages>,
    config: Config,
    limit: Limit,
    ports: Vec<Wanted>,
    exporters: Vec<(model::Exporter, Arc<Exporter>)>,
    assembly: Assembly,
}

/// What is left of a topology when nothing new gets in.
pub(super) struct Stopping {
    pub ports: Vec<Port>,
    pub pipelines: Vec<Arc<Pipeline>>,
    pub exporters: Vec<Arc<Exporter>>,
    pub leaving: Vec<JoinHandle<()>>,
}

impl Topology {
    /// Nothing at all, within this limit.
    pub(super) fn new(common: Common, memory: model::MemoryLimit, limit: Limit) -> Arc<Self> {
        let nothing = Running {
            memory,
            limit,
            ports: Vec::new(),
            doors: BTreeMap::new(),
            exporters: Vec::new(),
            pipelines: Vec::new(),
        };
        Arc::new(Self {
            common,
            running: Mutex::new(Some(nothing)),
            leaving: Mutex::default(),
            stop_by: watch::Sender::new(None),
            samplers: Arc::default(),
            standing: Arc::default(),
            bounds: Arc::default(),
        })
    }

    /// Where receivers listen, for people.
    pub(super) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.running().iter().flat_map(|running| &running.ports).map(Port::address).collect()
    }

    /// What `config` has, with these stages and ports: taken from what runs, or built.
    ///
    /// # Errors
    /// See [`StartError`]; nothing has changed then.
    pub(super) fn build(
        self: &Arc<Self>,
        config: &Config,
        stages: &Arc<Stages>,
        ports: Vec<Wanted>,
    ) -> Result<Box<dyn Prepared>, StartError> {
        let guard = self.running();
        let Some(running) = guard.as_ref() else { return Err(StartError::Abandoned("the engine is stopping".into())) };
        // What a machine has to give is looked at once: another answer would be another file's.
        let limit = if config.memory == running.memory { running.limit } else { limit::of(&config.memory) };
        let exporters = self.exporters(config, &running.exporters)?;
        let bare: Vec<_> = exporters.iter().map(|(_, exporter)| Arc::clone(exporter)).collect();
        let shared = Shared {
            stages,
            exporters: &bare,
            before: &running.pipelines,
            workers: &self.common.workers,
            workers_count: self.common.workers_count,
            tail_bytes_max: limit.tail_bytes(config.samplers().count()),
            budget: &self.common.budget,
            metrics: &self.common.metrics,
            dead_letters: &self.common.dead_letters,
            current: &self.common.current,
        };
        let assembly = assemble(config, &shared).map_err(StartError::Assemble)?;
        let (topology, stages, config) = (Arc::clone(self), Arc::clone(stages), config.clone());
        Ok(Box::new(Next { topology, stages, config, limit, ports, exporters, assembly }))
    }

    /// Those of the file, in its order: one that it says nothing new of is the one that runs.
    fn exporters(
        &self,
        config: &Config,
        before: &[(model::Exporter, Arc<Exporter>)],
    ) -> Result<Vec<(model::Exporter, Arc<Exporter>)>, StartError> {
        let exporter = |wanted: &model::Exporter| {
            if let Some((_, same)) = before.iter().find(|(known, _)| known == wanted) {
                return Ok((wanted.clone(), Arc::clone(same)));
            }
            let destination = export::destination(&wanted.kind, Arc::clone(&self.common.writer))
                .map_err(|source| StartError::Exporter { exporter: wanted.name.clone(), source })?;
            Ok((wanted.clone(), Arc::new(Exporter::start(wanted, destination, &self.common.metrics))))
        };
        config.exporters.iter().map(exporter).collect()
    }

    /// Lets go of everything, for the end of the process: from now on no file comes into force. What earlier files had is to be drained
    /// by then, too.
    pub(super) fn stop(&self, deadline: Instant) -> Stopping {
        self.stop_by.send_replace(Some(deadline));
        let leaving = std::mem::take(&mut *self.leaving.lock().unwrap_or_else(PoisonError::into_inner));
        let (ports, pipelines, exporters) = self.running().take().map_or_else(Default::default, |running| {
            let exporters = running.exporters.into_iter().map(|(_, exporter)| exporter).collect();
            (running.ports, running.pipelines, exporters)
        });
        Stopping { ports, pipelines, exporters, leaving }
    }

    fn drain(&self, leftovers: Leftovers) {
        let deadline = Instant::now() + self.common.drain;
        let until = Until { deadline, stop_by: self.stop_by.subscribe() };
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|draining| !draining.is_finished());
        leaving.push(tokio::spawn(leftovers.drain(until)));
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Levels for Topology {
    fn queues(&self) -> Vec<(String, QueueLevel)> {
        let running = self.running();
        let exporters = running.iter().flat_map(|running| &running.exporters);
        exporters.map(|(_, exporter)| (exporter.name().to_owned(), exporter.level())).collect()
    }

    fn jobs(&self) -> JobsLevel {
        let way = &self.common.workers;
        JobsLevel { waiting: way.waiting(), high: way.waiting_high(), max: JOBS_MAX as u64 }
    }

    fn samplers(&self) -> Arc<Vec<TailBounds>> {
        self.bounds.load_full()
    }

    fn workers(&self) -> usize {
        self.common.workers_count
    }
}

impl control::Topology for Topology {
    fn prepare(self: Arc<Self>, next: &Config, stages: &Arc<Stages>) -> Result<Box<dyn Prepared>, Unprepared> {
        let ports = match self.running().as_ref() {
            Some(running) => ports::open(next, &running.ports).map_err(StartError::Bind),
            None => Ok(Vec::new()),
        };
        let prepared = ports.and_then(|ports| self.build(next, stages, ports));
        prepared.map_err(|error| Unprepared { step: step(&error), source: Box::new(error) })
    }
}

fn step(error: &StartError) -> &'static str {
    match error {
        StartError::Bind(_) | StartError::BindOwn { .. } => "bind",
        StartError::Exporter { .. } => "export",
        _ => "assemble",
    }
}

impl Prepared for Next {
    fn commit(self: Box<Self>) {
        let Next { topology, stages, config, limit, ports, exporters, mut assembly } = *self;
        let common = &topology.common;
        let mut guard = topology.running();
        // Once the process stops, no file comes into force any more.
        let Some(before) = guard.take() else { return };
        common.budget.set_bytes_max(limit.bytes);
        let queue_bytes_max = limit.queue_bytes(exporters.len());
        exporters.iter().for_each(|(_, exporter)| exporter.set_bytes_max(queue_bytes_max));
        // Samplers first, so that nothing comes to them by a file whose terms they do not know.
        assembly.move_samplers();
        common.current.publish(&stages);
        let Assembly { pipelines, inlets, .. } = assembly;
        let (doors, old_inlets) = doors(&config, inlets, &before);
        let (ports, old_ports) = serve(ports, before.ports, &doors, common);
        topology.samplers.set(&pipelines);
        topology.standing.set(&pipelines);
        topology.bounds.store(Arc::new(tail_memory::bounds(&config, &limit, common.workers_count)));
        let leftovers = Leftovers {
            ports: old_ports,
            inlets: old_inlets,
            samplers: gone_samplers(&before.pipelines, &pipelines),
            pipelines: before.pipelines,
            exporters: gone_exporters(before.exporters, &exporters),
            current: Arc::clone(&common.current),
        };
        *guard = Some(Running { memory: config.memory, limit, ports, doors, exporters, pipelines });
        topology.drain(leftovers);
    }
}

/// Each receiver's door, leading to its inlet; and the inlets before. A receiver that is gone keeps its own.
fn doors(
    config: &Config,
    inlets: Vec<Arc<Inlet>>,
    before: &Running,
) -> (BTreeMap<String, Arc<Door>>, Vec<std::sync::Weak<Inlet>>) {
    let mut old = Vec::new();
    let mut doors = BTreeMap::new();
    for (receiver, inlet) in config.receivers.iter().zip(inlets) {
        let door = match before.doors.get(&receiver.name) {
            Some(door) => {
                old.push(Arc::downgrade(&door.lead_to(inlet)));
                Arc::clone(door)
            }
            None => Door::new(inlet),
        };
        doors.insert(receiver.name.clone(), door);
    }
    let gone = before.doors.iter().filter(|(receiver, _)| !doors.contains_key(*receiver));
    old.extend(gone.map(|(_, door)| door.inlet()));
    (doors, old)
}

/// Serves what is not served yet, and hands back the ports that nobody wants any more.
fn serve(
    wanted: Vec<Wanted>,
    before: Vec<Port>,
    doors: &BTreeMap<String, Arc<Door>>,
    common: &Common,
) -> (Vec<Port>, Vec<crate::receive::Handle>) {
    let mut before: Vec<_> = before.into_iter().map(Some).collect();
    let mut ports = Vec::with_capacity(wanted.len());
    for Wanted { receiver, protocol, how } in wanted {
        let port = match how {
            How::Stays(place) => before.get_mut(place).and_then(Option::take),
            How::Opens(server) => doors.get(&receiver).map(|door| {
                let description = server.description();
                let handle = server.serve(Arc::<Door>::clone(door), Arc::clone(&common.budget), &common.metrics);
                Port { receiver, description, protocol, handle }
            }),
        };
        ports.extend(port);
    }
    (ports, before.into_iter().flatten().map(|port| port.handle).collect())
}

/// Samplers of the pipelines before that are in none of the next.
fn gone_samplers(before: &[Arc<Pipeline>], next: &[Arc<Pipeline>]) -> Vec<Arc<Sampler>> {
    let samplers = |pipelines: &[Arc<Pipeline>]| {
        let all = pipelines.iter().flat_map(|pipeline| pipeline.samplers().map(|(_, sampler)| Arc::clone(sampler)));
        all.collect::<Vec<_>>()
    };
    let next = samplers(next);
    let is_gone = |sampler: &Arc<Sampler>| !next.iter().any(|other| Arc::ptr_eq(other, sampler));
    samplers(before).into_iter().filter(is_gone).collect()
}

fn gone_exporters(
    before: Vec<(model::Exporter, Arc<Exporter>)>,
    next: &[(model::Exporter, Arc<Exporter>)],
) -> Vec<Arc<Exporter>> {
    let is_gone = |exporter: &Arc<Exporter>| !next.iter().any(|(_, other)| Arc::ptr_eq(other, exporter));
    before.into_iter().map(|(_, exporter)| exporter).filter(is_gone).collect()
}

//! The pipeline driven in-process: real threads, queues and merges between fake stages and fake destinations.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::stage::Generation;
use super::stages::{Current, Stages};
use super::worker::Workers;
use super::*;
use crate::ack::Answer;
use crate::config::model::{self, Merge};
use crate::export::{Destination, Sent};
use crate::memory::Budget;
use crate::pipeline::inlet::Inlet;
use crate::pipeline::intake::Intake as _;

mod canary;
mod fail_closed;
mod fakes;
mod faults;
mod hand_over;
mod judging;
mod merging;
mod poison;
mod random;
mod rows;
mod rowwise;
mod sampling;
mod watching;

const BUDGET_BYTES: u64 = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(60);
const TAKEN: Sent = Sent::Accepted { warning: None };

/// Pipelines between one inlet and their exporters.
struct Rig {
    signal: Signal,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
    stages: Arc<Current>,
    workers: Workers,
    pipelines: Vec<Arc<Pipeline>>,
    exporters: Vec<Arc<Exporter>>,
    inlet: Inlet,
}

impl Rig {
    /// Pipelines with these steps each, all of them before all exporters.
    fn new(
        signal: Signal,
        threads: usize,
        generations: Vec<Arc<dyn Generation>>,
        pipelines: Vec<Vec<Step>>,
        exporters: Vec<(model::Exporter, Arc<dyn Destination>)>,
    ) -> Rig {
        Rig::with_patience(Patience::default(), signal, threads, generations, pipelines, exporters)
    }

    fn with_patience(
        patience: Patience,
        signal: Signal,
        threads: usize,
        generations: Vec<Arc<dyn Generation>>,
        pipelines: Vec<Vec<Step>>,
        exporters: Vec<(model::Exporter, Arc<dyn Destination>)>,
    ) -> Rig {
        let metrics = Arc::new(Metrics::new());
        let stages = Current::new(Stages::new(generations, &metrics));
        let workers = Workers::start(threads, &stages, &metrics).expect("threads start");
        let start = |(config, destination): (model::Exporter, Arc<dyn Destination>)| {
            Arc::new(Exporter::start(&config, destination, &metrics))
        };
        let exporters: Vec<_> = exporters.into_iter().map(start).collect();
        let pipeline = |(number, steps): (usize, Vec<Step>)| {
            let name = format!("pipeline {number}");
            Arc::new(Pipeline {
                metrics: metrics.pipeline(&name, signal),
                name,
                signal,
                stages: stages.stages(),
                steps,
                exporters: exporters.clone(),
                workers: workers.way(),
                runtime: tokio::runtime::Handle::current(),
                all_metrics: Arc::clone(&metrics),
                failing_votes_until: patience.failing_votes_until,
                bisecting_max: patience.bisecting_max,
                alone_max: PATIENCE,
                dead_letters: None,
                open_parts: 0.into(),
            })
        };
        let pipelines: Vec<_> = pipelines.into_iter().enumerate().map(pipeline).collect();
        for pipeline in &pipelines {
            for (step, sampler) in pipeline.samplers() {
                sampler.start(pipeline, step, &stages).expect("threads start");
            }
        }
        let inlet = Inlet::new("otlp", &pipelines, &metrics);
        Rig { signal, budget: Budget::new(BUDGET_BYTES), metrics, stages, workers, pipelines, exporters, inlet }
    }

    fn submit(&self, body: Bytes) -> Answer {
        let charge = self.budget.charge(body.len() as u64).expect("fits");
        self.inlet.submit(self.signal, body, charge)
    }

    async fn send(&self, body: Bytes) -> Outcome {
        heard(self.submit(body)).await
    }

    /// The sum of a metric's samples whose line holds all of `labels`.
    fn sum(&self, name: &str, labels: &[&str]) -> i64 {
        let text = self.metrics.text();
        let samples = text.lines().filter(|line| line.starts_with(&format!("sluicebox_{name}{{")));
        let samples = samples.filter(|line| labels.iter().all(|label| line.contains(label)));
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<i64>().ok()).sum()
    }

    /// Waits until the condition holds.
    async fn until(&self, what: &str, condition: impl Fn(&Rig) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}\n{}", self.metrics.text());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Has what waits for a decision decided.
    async fn finish_samplers(&self, patience: Duration) {
        let (pipelines, deadline) = (self.pipelines.clone(), std::time::Instant::now() + patience);
        let finish = move || {
            for pipeline in &pipelines {
                pipeline.samplers().for_each(|(_, sampler)| sampler.finish(deadline));
            }
        };
        tokio::task::spawn_blocking(finish).await.expect("without a panic");
    }

    /// Ends everything and checks the account: nothing is inside, every item is accounted for, the budget is whole again.
    async fn finish(self) {
        self.pipelines.iter().for_each(Pipeline::stop_waiting);
        self.finish_samplers(PATIENCE).await;
        for pipeline in &self.pipelines {
            self.until("nothing is inside", |_| pipeline.open_parts() == 0).await;
        }
        for exporter in &self.exporters {
            exporter.shutdown(PATIENCE).await;
        }
        let total = |name: &str, labels: &[&str]| self.sum(&format!("{name}_items_total"), labels);
        for pipeline in &self.pipelines {
            let of = format!("pipeline=\"{}\"", pipeline.name());
            assert_eq!(self.sum("pipeline_held_items", &[&of]), 0, "held\n{}", self.metrics.text());
            let (dropped, handed_over) = (total("pipeline_dropped", &[&of]), total("pipeline_handed_over", &[&of]));
            assert_eq!(total("pipeline_accepted", &[&of]), dropped + handed_over, "{}", self.metrics.text());
        }
        let of_receiver = (total("receiver_accepted", &[]), total("receiver_refused", &[]));
        assert_eq!(total("receiver_received", &[]), of_receiver.0 + of_receiver.1, "{}", self.metrics.text());
        let exporters = i64::try_from(self.exporters.len()).expect("few");
        let over = ["exporter_sent", "exporter_rejected", "exporter_dropped"].map(|name| total(name, &[]));
        assert_eq!(total("pipeline_handed_over", &[]) * exporters, total("exporter_handed_over", &[]));
        assert_eq!(total("exporter_handed_over", &[]), over.iter().sum::<i64>(), "{}", self.metrics.text());
        assert_eq!(self.sum("exporter_queued_items", &[]), 0);
        let workers = self.workers;
        let ended = tokio::task::spawn_blocking(move || workers.finish());
        tokio::time::timeout(PATIENCE, ended).await.expect("workers end").expect("without a panic");
        drop((self.inlet, self.pipelines, self.exporters));
        assert_eq!(self.budget.bytes_used(), 0);
    }
}

/// For how long what is waited for. Not the times of production, so that a busy machine changes no result.
#[derive(Clone, Copy)]
struct Patience {
    failing_votes_until: Duration,
    bisecting_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { failing_votes_until: Duration::MAX, bisecting_max: PATIENCE }
    }
}

async fn heard(answer: Answer) -> Outcome {
    tokio::time::timeout(PATIENCE, answer).await.expect("every request is answered")
}

/// An exporter with a queue of `requests_max`, one try.
fn exporter(name: &str, requests_max: usize) -> model::Exporter {
    model::Exporter {
        name: name.to_owned(),
        kind: model::ExporterKind::Debug { verbosity: model::Verbosity::Basic },
        queue: model::Queue {
            enabled: true,
            requests_max,
            consumers: 2,
            block_on_overflow: false,
            wait_for_result: false,
        },
        retry: model::Retry {
            enabled: false,
            initial_interval: Duration::from_millis(1),
            max_interval: Duration::from_millis(1),
            max_elapsed: None,
            multiplier: 1.0,
            randomization: 0.0,
        },
    }
}

fn merge(items: u64, items_max: Option<u64>, timeout: Duration) -> Step {
    Step::Merge(Merger::new(Arc::new(Merge { name: "batch".to_owned(), items, items_max, timeout })))
}

/// A gate that is closed, and its key.
fn closed() -> (watch::Sender<bool>, watch::Receiver<bool>) {
    watch::channel(false)
}

fn later() -> Sent {
    Sent::Retry { after: None, message: "later".to_owned() }
}

//! Worker threads: they own the guest instances, and nothing else runs guest code.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};

use crate::observe::metrics::Metrics;
use crate::pipeline::judge::Bench;
use crate::pipeline::stages::Stages;
use crate::pipeline::{Part, Pipeline, Step};

/// Requests that may wait for a worker; more are told to retry.
const JOBS_MAX: usize = 1024;
/// Small requests that wait together are judged in one call, up to this many bytes and parts.
const TOGETHER_BYTES_MAX: usize = 256 * 1024;
const TOGETHER_PARTS_MAX: usize = 256;

/// Parts to be judged by one step of a pipeline.
pub struct Job {
    /// Whose.
    pub pipeline: Arc<Pipeline>,
    /// Number of the step.
    pub step: usize,
    /// Requests.
    pub parts: Vec<Part>,
}

/// The way to the worker threads.
#[derive(Clone, Debug)]
pub struct Workers {
    jobs: Sender<Job>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("step", &self.step).field("parts", &self.parts.len()).finish_non_exhaustive()
    }
}

impl Workers {
    /// Starts `count` threads; they end when the last `Workers` is gone and the queue is empty.
    pub fn start(
        count: usize,
        stages: &Arc<Stages>,
        metrics: &Arc<Metrics>,
    ) -> std::io::Result<(Workers, Vec<JoinHandle<()>>)> {
        let (sender, receiver) = bounded(JOBS_MAX);
        let threads = (0..count)
            .map(|number| {
                let (wake, woken) = bounded(1);
                stages.subscribe(wake);
                let bench = Bench::new(Arc::clone(stages), Arc::clone(metrics));
                let jobs = receiver.clone();
                // Wasm stacks are 512 KiB; host functions get the rest.
                let thread = std::thread::Builder::new().name(format!("guest-{number}")).stack_size(4 << 20);
                thread.spawn(move || work(bench, &jobs, &woken))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok((Workers { jobs: sender }, threads))
    }

    /// Hands a job to whichever worker is free; the job comes back if too many wait.
    pub fn submit(&self, job: Job) -> Result<(), Job> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }
}

fn work(mut bench: Bench, jobs: &Receiver<Job>, woken: &Receiver<()>) {
    let mut next = None;
    loop {
        let job = match next.take() {
            Some(job) => job,
            None => select! {
                recv(jobs) -> job => match job {
                    Ok(job) => job,
                    Err(_) => return,
                },
                recv(woken) -> _ => {
                    bench.let_go_of_replaced();
                    continue;
                }
            },
        };
        let (job, other) = gather(job, jobs);
        next = other;
        let Some(Step::Guests(stages)) = job.pipeline.steps.get(job.step) else { continue };
        let pipeline = Arc::clone(&job.pipeline);
        let left = bench.judge(&pipeline, job.step == 0, stages, job.parts);
        pipeline.advance(left, job.step + 1);
    }
}

/// Adds what waits for the same step, while it is small. A job for another step comes back as the next one.
fn gather(mut job: Job, jobs: &Receiver<Job>) -> (Job, Option<Job>) {
    let mut bytes: usize = job.parts.iter().map(|part| part.body.len()).sum();
    while bytes < TOGETHER_BYTES_MAX && job.parts.len() < TOGETHER_PARTS_MAX {
        let Ok(more) = jobs.try_recv() else { break };
        let more_bytes: usize = more.parts.iter().map(|part| part.body.len()).sum();
        if !Arc::ptr_eq(&more.pipeline, &job.pipeline)
            || more.step != job.step
            || bytes + more_bytes > TOGETHER_BYTES_MAX
        {
            return (job, Some(more));
        }
        bytes += more_bytes;
        job.parts.extend(more.parts);
    }
    (job, None)
}

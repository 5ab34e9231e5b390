//! Worker threads: they own the guest instances, and nothing else runs guest code.

use std::convert::Infallible;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};

use crate::ack::Outcome;
use crate::observe::marks::{HighWater, Mark};
use crate::observe::metrics::Metrics;
use crate::pipeline::judge::Bench;
use crate::pipeline::stages::Current;
use crate::pipeline::{Part, Pipeline, Step};

/// Requests that may wait for a worker; more are told to retry. Their bytes are charged to the budget, so this bounds the wait.
pub const JOBS_MAX: usize = 1024;
/// Small requests that wait together are judged in one call, up to this many bytes and parts.
const TOGETHER_BYTES_MAX: usize = 256 * 1024;
const TOGETHER_PARTS_MAX: usize = 256;
/// Wasm stacks are 512 KiB; host functions get the rest.
const STACK_BYTES: usize = 4 << 20;

/// The worker threads. Dropped, they finish what waits and end.
#[derive(Debug)]
pub struct Workers {
    way: Way,
    threads: Vec<JoinHandle<()>>,
    is_late: Arc<AtomicBool>,
    /// Nothing is ever sent: workers notice when it is gone.
    serving: Sender<Infallible>,
}

/// The way to the worker threads.
#[derive(Clone, Debug)]
pub struct Way {
    jobs: Sender<Job>,
    /// The most that waited.
    high: Arc<HighWater>,
}

/// Parts to be judged by one step of a pipeline.
pub struct Job {
    /// Whose.
    pub pipeline: Arc<Pipeline>,
    /// Number of the step.
    pub step: usize,
    /// Requests.
    pub parts: Vec<Part>,
}

/// What one thread has.
struct Worker {
    bench: Bench,
    jobs: Receiver<Job>,
    /// Taken from the queue, but to be judged by itself.
    next: Option<Job>,
    /// Hears of commits.
    woken: Receiver<()>,
    serving: Receiver<Infallible>,
    is_late: Arc<AtomicBool>,
}

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// If a thread cannot be started; the others end then.
    pub fn start(count: usize, current: &Arc<Current>, metrics: &Arc<Metrics>) -> std::io::Result<Workers> {
        let (jobs, waiting) = bounded(JOBS_MAX);
        let (serving, still_serving) = bounded(0);
        let is_late = Arc::new(AtomicBool::new(false));
        let threads = (0..count)
            .map(|number| {
                let (wake, woken) = bounded(1);
                current.subscribe(wake);
                let mut worker = Worker {
                    bench: Bench::new(Arc::clone(current), Arc::clone(metrics)),
                    jobs: waiting.clone(),
                    next: None,
                    woken,
                    serving: still_serving.clone(),
                    is_late: Arc::clone(&is_late),
                };
                let thread = std::thread::Builder::new().name(format!("guest-{number}")).stack_size(STACK_BYTES);
                thread.spawn(move || worker.work())
            })
            .collect::<Result<Vec<_>, _>>()?;
        let high = metrics.high_water(Mark::Jobs, "");
        Ok(Workers { way: Way { jobs, high }, threads, is_late, serving })
    }

    /// How jobs get to them.
    pub fn way(&self) -> Way {
        self.way.clone()
    }

    /// Has what waits finished, until `late` is true: then the rest is told to retry. Blocks until all threads have ended.
    pub fn finish(self) {
        drop(self.serving);
        for thread in self.threads {
            // A worker contains panics; one that could not has nothing left to finish.
            let _panicked = thread.join();
        }
    }

    /// Set to true when there is no more time: what still waits is told to retry.
    pub fn late(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_late)
    }
}

impl Way {
    /// To no threads, for who judges on their own: every job comes back.
    pub(super) fn to_nobody() -> Way {
        Way { jobs: bounded(0).0, high: Arc::default() }
    }

    /// Hands a job to whichever worker is free; the job comes back if too many wait.
    pub fn submit(&self, job: Job) -> Result<(), Job> {
        let submitted = self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        });
        self.high.note(self.waiting());
        submitted
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> u64 {
        self.jobs.len() as u64
    }

    /// The most that did at any time.
    pub fn waiting_high(&self) -> u64 {
        self.high.get()
    }
}

impl Worker {
    fn work(&mut self) {
        while let Some(job) = self.next_job() {
            // Judging contains its own panics; this is for everything else, so that a defect never costs a thread. Parts that were
            // under way are answered by their acks.
            if catch_unwind(AssertUnwindSafe(|| self.handle(job))).is_err() {
                tracing::error!("an internal error on a worker thread: its requests are told to retry");
            }
        }
    }

    /// Waits for a job; None once nothing serves any more and nothing waits.
    fn next_job(&mut self) -> Option<Job> {
        loop {
            // However busy: the instances of a replaced generation go at the next batch boundary.
            if self.woken.try_recv().is_ok() {
                self.bench.let_go_of_replaced();
            }
            if let Some(job) = self.next.take() {
                return Some(job);
            }
            select! {
                recv(self.jobs) -> job => return job.ok(),
                recv(self.serving) -> _ => return self.jobs.try_recv().ok(),
                recv(self.woken) -> _ => self.bench.let_go_of_replaced(),
            }
        }
    }

    fn handle(&mut self, job: Job) {
        let Job { pipeline, step, parts } = self.gather(job);
        let Some(Step::Guests(stages)) = pipeline.steps.get(step) else { return };
        let left = if self.is_late.load(Ordering::Relaxed) {
            let stopping = Outcome::Retry { after: None, message: "the engine is stopping".to_owned() };
            pipeline.refuse(parts, step, "workers", "shutdown", &stopping);
            Vec::new()
        } else {
            self.bench.judge(&pipeline, step, stages, parts)
        };
        pipeline.advance(left, step + 1);
    }

    /// Adds what waits for the same step, while it is small. A job for another step is the next one.
    fn gather(&mut self, mut job: Job) -> Job {
        let bytes = |job: &Job| job.parts.iter().map(|part| part.body.len()).sum::<usize>();
        let mut room = TOGETHER_BYTES_MAX.saturating_sub(bytes(&job));
        while room > 0 && job.parts.len() < TOGETHER_PARTS_MAX {
            let Ok(more) = self.jobs.try_recv() else { break };
            let more_bytes = bytes(&more);
            if !Arc::ptr_eq(&more.pipeline, &job.pipeline) || more.step != job.step || more_bytes > room {
                self.next = Some(more);
                break;
            }
            room -= more_bytes;
            job.parts.extend(more.parts);
        }
        job
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("step", &self.step).field("parts", &self.parts.len()).finish_non_exhaustive()
    }
}

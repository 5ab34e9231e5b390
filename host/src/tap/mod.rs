//! Taps: what a stage is shown and what it makes of it, to whoever asks, as it happens.
//!
//! A tap watches its stage (`eye`); what it is shown goes over a bounded queue to a thread of its own, where records are looked at, picked
//! and written as lines (`look`). A full queue costs the tap, never the stage. What may be shown is `admin.data_access`, of the file
//! that is in force: less from one moment to the next ends taps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use self::condition::Condition;
use self::eye::{Eye, Shared, Wanted};
use self::line::{TapBegun, line};
use self::look::{Look, Watched, needs};
use crate::config::model::DataAccess;
use crate::control::Control;
use crate::control::history::Entry;
use crate::control::who::Who;
use crate::pipeline::standing::{Kind, Stand, Standing};
use crate::signal::Signal;
use crate::wasm::BuildError;

mod bucket;
mod condition;
mod eye;
mod judged;
pub mod line;
mod look;
pub mod request;
mod rows;
pub mod stream;
mod traces;

pub use self::request::{TapOnly, TapPoint, TapRequest};
use self::stream::{Audit, TapStream};

/// Taps at a time.
pub const TAPS_MAX: usize = 8;
/// Lines that wait for the client.
const LINES_MAX: usize = 32;
/// Of the thread: the condition's guest calls run on it, as on a worker.
const STACK_BYTES: usize = 4 << 20;

/// The taps of the process.
pub struct Taps {
    control: Arc<Control>,
    standing: Arc<Standing>,
    places: Arc<Semaphore>,
    last_id: AtomicU64,
}

/// A tap that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The file does not let the admin API show telemetry.
    #[error("telemetry is not shown: `admin.data_access` is off")]
    Off,
    /// The file lets it show less than that.
    #[error("not every editing stage has judged what is {point} \"{stage}\", and `admin.data_access` is redacted")]
    NotRedacted {
        /// The stage.
        stage: String,
        /// `before`, `after`, `before and after`.
        point: &'static str,
    },
    /// No such stage in such a pipeline.
    #[error("nothing is called \"{stage}\"{}; there are: {}", .of.as_ref().map(|of| format!(" in {of}")).unwrap_or_default(), .known.join(", "))]
    Unknown {
        /// What was asked for.
        stage: String,
        /// The pipeline or the signal, if it was asked for.
        of: Option<String>,
        /// What can be tapped.
        known: Vec<String>,
    },
    /// A value that cannot be.
    #[error("\"{what}\" must be {may_be}")]
    Value {
        /// Its key.
        what: &'static str,
        /// What it may be.
        may_be: String,
    },
    /// The condition is none.
    #[error("\"where\" is not a condition on what \"{stage}\" is shown")]
    Where {
        /// The stage.
        stage: String,
        /// What the filter says of it.
        source: Box<BuildError>,
    },
    /// There are as many as there may be.
    #[error("{TAPS_MAX} taps are open, and there may be no more")]
    TooMany,
    /// Its thread cannot be started, or building its condition was given up.
    #[error("the tap cannot be started: {0}")]
    Failed(String),
}

impl Taps {
    /// None are open.
    pub fn new(control: Arc<Control>, standing: Arc<Standing>) -> Arc<Self> {
        Arc::new(Self { control, standing, places: Arc::new(Semaphore::new(TAPS_MAX)), last_id: AtomicU64::new(0) })
    }

    /// Opens one. It ends when its stream is dropped, at the latest.
    ///
    /// # Errors
    /// See [`TapError`].
    pub async fn open(&self, request: TapRequest, who: Who) -> Result<TapStream, TapError> {
        request.check()?;
        let access = self.control.data_access();
        let allowed = *access.borrow();
        if allowed == DataAccess::Off {
            return Err(TapError::Off);
        }
        let (wanted, stands) = self.stands(&request)?;
        let withheld: Vec<String> = of_pipelines(stands.iter().filter(|stand| needs(&wanted, stand) > allowed));
        let pipelines = of_pipelines(stands.iter());
        if withheld.len() == pipelines.len() {
            return Err(not_redacted(&request, &stands));
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| TapError::TooMany)?;
        let (conditions, wanted) = self.conditions(&request, wanted).await?;

        let shared = Arc::new(Shared::default());
        let (eye, works) = Eye::new(wanted.clone(), access.clone(), &shared);
        let (lines, stream) = mpsc::channel(LINES_MAX);
        let begun = TapBegun {
            id: self.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            request: request.clone(),
            kind: stands.first().map_or("", |stand| kind(stand.kind)),
            pipelines,
            withheld,
            data_access: allowed.as_str(),
        };
        let look = Look {
            until: Instant::now() + Duration::from_secs(request.seconds.into()),
            wanted,
            standing: Arc::clone(&self.standing),
            access: access.clone(),
            conditions,
            shared: Arc::clone(&shared),
            works,
            eye: Arc::new(eye),
            lines,
            request,
        };
        let audit = self.begin(&begun, who, place, &shared);
        let first = line("tap", &begun);
        // Whoever reads the first line may count on it that what comes from now on is seen.
        let mut watched = Watched::default();
        look.watch(&mut watched);
        let (ended, end) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name(format!("tap-{}", begun.id)).stack_size(STACK_BYTES);
        let run = move || {
            // Who reads the stream may have hung up.
            let _unheard = ended.send(look.run(watched));
        };
        thread.spawn(run).map_err(|error| TapError::Failed(error.to_string()))?;
        Ok(TapStream::new(first, stream, end, access, shared, audit))
    }

    /// What is to be watched, and where it stands.
    fn stands(&self, request: &TapRequest) -> Result<(Wanted, Vec<Stand>), TapError> {
        let signal = request.signal()?;
        let all = self.standing.of(&request.stage);
        let unknown = |of| TapError::Unknown { stage: request.stage.clone(), of, known: self.standing.names() };
        if all.is_empty() {
            return Err(unknown(None));
        }
        let is_wanted = |stand: &Stand| {
            let in_pipeline = request.pipeline.as_ref().is_none_or(|wanted| *wanted == stand.pipeline);
            in_pipeline && signal.is_none_or(|signal| signal == stand.signal)
        };
        let stands: Vec<_> = all.into_iter().filter(is_wanted).collect();
        if stands.is_empty() {
            let pipeline = request.pipeline.as_ref().map(|pipeline| format!("pipeline \"{pipeline}\""));
            return Err(unknown(pipeline.or_else(|| request.signal.clone())));
        }
        let is_of_traces = stands.iter().any(|stand| stand.kind != Kind::Processor);
        if is_of_traces && request.only == Some(TapOnly::Changed) {
            let may_be = "dropped or faulted: a policy changes nothing".to_owned();
            return Err(TapError::Value { what: "only", may_be });
        }
        if is_of_traces && request.requests {
            let may_be = "false: a decision on traces is no test case of a stage".to_owned();
            return Err(TapError::Value { what: "requests", may_be });
        }
        let signals = Signal::ALL.into_iter().filter(|signal| stands.iter().any(|stand| stand.signal == *signal));
        let wanted = Wanted { pipeline: request.pipeline.clone(), signals: signals.collect(), point: request.point };
        Ok((wanted, stands))
    }

    /// The condition, for each signal that it can be asked of: only these are watched.
    async fn conditions(&self, request: &TapRequest, mut wanted: Wanted) -> Result<(Vec<Condition>, Wanted), TapError> {
        let Some(text) = request.condition.clone() else { return Ok((Vec::new(), wanted)) };
        let (build, signals) = (self.control.builder(), wanted.signals.clone());
        let built = tokio::task::spawn_blocking(move || {
            signals.into_iter().map(|signal| Condition::build(build.as_ref(), signal, &text)).collect::<Vec<_>>()
        });
        let built = built.await.map_err(|panicked| TapError::Failed(panicked.to_string()))?;
        let (mut conditions, mut wrong) = (Vec::new(), None);
        for condition in built {
            match condition {
                Ok(condition) => conditions.push(condition),
                Err(error) => wrong = wrong.or(Some(error)),
            }
        }
        if let (true, Some(source)) = (conditions.is_empty(), wrong) {
            return Err(TapError::Where { stage: request.stage.clone(), source: Box::new(source) });
        }
        wanted.signals = conditions.iter().map(Condition::signal).collect();
        Ok((conditions, wanted))
    }

    /// One line in the log and one in the history, at its beginning and at its end; none of them holds what is looked for.
    fn begin(&self, begun: &TapBegun, who: Who, place: OwnedSemaphorePermit, shared: &Arc<Shared>) -> Audit {
        let request = &begun.request;
        let (id, stage, point) = (begun.id, request.stage.as_str(), request.point.as_str());
        let where_bytes = request.condition.as_ref().map_or(0, String::len);
        let (access, limit, seconds) = (begun.data_access, request.limit, request.seconds);
        tracing::info!(%who, tap = id, stage, point, where_bytes, limit, seconds, data_access = access, "a tap was opened");
        let part = format!("tap {id} of \"{stage}\"");
        // Nobody's answer waits for the disk.
        drop(self.control.history().note(&Entry::of(&part, &format!("opened {point}, data access {access}"), &who)));
        Audit::new(id, stage.to_owned(), part, who, Arc::clone(&self.control), Arc::clone(shared), place)
    }
}

impl std::fmt::Debug for Taps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Taps").field("free", &self.places.available_permits()).finish_non_exhaustive()
    }
}

/// Names of pipelines, each once.
fn of_pipelines<'a>(stands: impl Iterator<Item = &'a Stand>) -> Vec<String> {
    let mut names: Vec<String> = stands.map(|stand| stand.pipeline.clone()).collect();
    names.dedup();
    names
}

fn not_redacted(request: &TapRequest, stands: &[Stand]) -> TapError {
    let is_before = stands.iter().any(|stand| stand.is_redacted_before);
    let is_after = stands.iter().any(|stand| stand.is_redacted_after);
    let point = match (request.point, is_before, is_after) {
        (TapPoint::Before, ..) | (TapPoint::Diff, false, true) => "before",
        (TapPoint::After, ..) | (TapPoint::Diff, true, _) => "after",
        (TapPoint::Diff, false, false) => "before and after",
    };
    TapError::NotRedacted { stage: request.stage.clone(), point }
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Processor => "processor",
        Kind::Policy => "policy",
        Kind::Sampler => "sampler",
    }
}

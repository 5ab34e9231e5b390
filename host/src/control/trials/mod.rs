//! Trials of a candidate before it serves: its component's own cases and the last real batches (probe), copies of what comes in (shadow), a
//! share of what comes in (canary). Guards compare what it makes with what serves makes, and refuse it where it is worse.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::operations::Operation;
use super::{Candidate, Control, SwapError, step};
use crate::config::model::DataAccess;
use crate::pipeline::aside::Aside;
use crate::pipeline::canary::{Canary, Share};
use crate::pipeline::stage::Generation;
use crate::pipeline::stages::Current;

mod canary;
mod cases;
pub mod guards;
pub(super) mod last;
mod plan;
mod scales;
mod shadow;

use self::canary::{FieldReader, Weigher};
use self::guards::Samples;
use self::last::Exhibit;
pub use self::plan::{Planned, ShadowReport};
use self::scales::Scales;
pub use self::scales::{DifferenceReport, SideReport, TrialReport};
use self::shadow::{Answer, Shadow, compare};

/// Between two looks at how a trial goes.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// For how long a canary lasts unless it is said.
pub const HOLD_DEFAULT: Duration = Duration::from_secs(120);
/// For how long a shadow lasts unless it is said.
pub const SHADOW_DEFAULT: Duration = Duration::from_secs(600);
/// The longest of both.
pub const LASTS_MAX: Duration = Duration::from_secs(24 * 3600);
/// The share that a shadow sees unless it is said, in percent.
pub const SHADOW_PERCENT_DEFAULT: f64 = 10.0;

/// How a candidate is tried before it serves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Care {
    /// First on copies.
    pub shadow: Option<Terms>,
    /// Then for real.
    pub canary: Option<Terms>,
    /// What guards and cases say is told, and refuses nothing.
    pub is_forced: bool,
}

/// How much of what comes in, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    share: Share,
    percent: f64,
    lasts: Duration,
}

/// Terms that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// Nothing, or too much.
    #[error("the share must be above 0 % and at most 50 %")]
    Share,
    /// No time, or too much.
    #[error("it must last for some time, and for 24 hours at most")]
    Lasts,
}

/// Trials that are under way, by stage.
#[derive(Debug, Default)]
pub(super) struct Trials {
    ends: Mutex<BTreeMap<String, watch::Sender<Option<String>>>>,
}

/// What was learned of a candidate on its way.
#[derive(Debug, Default)]
pub(super) struct Tried {
    /// Numbers of each step.
    pub(super) reports: Vec<TrialReport>,
    /// What would have refused it.
    pub(super) overruled: Vec<String>,
}

impl Terms {
    /// A share in percent, and a time.
    ///
    /// # Errors
    /// See [`TermsError`].
    pub fn new(percent: f64, lasts: Duration) -> Result<Terms, TermsError> {
        let share = Share::of_percent(percent).ok_or(TermsError::Share)?;
        if lasts.is_zero() || lasts > LASTS_MAX {
            return Err(TermsError::Lasts);
        }
        Ok(Terms { share, percent, lasts })
    }
}

impl Care {
    /// Whether other changes may come while it is tried.
    pub(super) fn takes_time(&self) -> bool {
        self.shadow.is_some() || self.canary.is_some()
    }
}

impl Trials {
    /// Ends those of a stage, and says why.
    pub(super) fn end(&self, stage: &str, why: &str) {
        if let Some(end) = self.ends().get(stage) {
            end.send_replace(Some(why.to_owned()));
        }
    }

    fn begin(&self, stage: &str) -> watch::Receiver<Option<String>> {
        let (end, ended) = watch::channel(None);
        self.ends().insert(stage.to_owned(), end);
        ended
    }

    fn ends(&self) -> MutexGuard<'_, BTreeMap<String, watch::Sender<Option<String>>>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// Whether a candidate makes what its own cases say, and is no worse than what serves on the last batches.
    pub(super) async fn probe(
        &self,
        operation: Option<&Operation>,
        candidate: &Candidate,
        tried: &mut Tried,
        is_forced: bool,
    ) -> Result<(), SwapError> {
        step(operation, "probe");
        let last = self.last.get().map_or_else(Vec::new, |last| last.of(&candidate.stage.name));
        let (generation, old) = (Arc::clone(&candidate.generation), candidate.old.clone());
        let began = Instant::now();
        let probing = move || {
            let passed = cases::run(&generation);
            let scales = old.map_or_else(Scales::default, |old| on_last_batches(&old, &generation, &last));
            (passed, scales)
        };
        let (passed, scales) = super::blocking(probing).await?;
        let mut report = scales.report(Samples::Same, self.access());
        (report.step, report.percent, report.seconds) = ("probe".to_owned(), 100.0, began.elapsed().as_secs_f64());
        report.findings.extend(passed.err());
        self.weigh(operation, candidate, report, tried, is_forced)
    }

    /// Tries a candidate on what comes in, for as long as is asked for. Until what is returned is dropped, a canary goes on.
    pub(super) async fn try_out(
        &self,
        operation: Option<&Operation>,
        candidate: &Candidate,
        tried: &mut Tried,
        care: Care,
    ) -> Result<Option<OnCanary>, SwapError> {
        let mut ended = self.trials.begin(&candidate.stage.name);
        if let Some(terms) = care.shadow {
            let report = self.shadow(operation, candidate, terms, &mut ended, !care.is_forced).await?;
            self.weigh(operation, candidate, report, tried, care.is_forced)?;
        }
        let Some(terms) = care.canary else { return Ok(None) };
        let (on, report) = self.canary(operation, candidate, terms, &mut ended, !care.is_forced).await?;
        self.weigh(operation, candidate, report, tried, care.is_forced)?;
        Ok(Some(on))
    }

    /// Compares on copies until the time is over, or, where that is wanted, until the candidate is worse.
    pub(super) async fn shadow(
        &self,
        operation: Option<&Operation>,
        candidate: &Candidate,
        terms: Terms,
        ended: &mut watch::Receiver<Option<String>>,
        ends_early: bool,
    ) -> Result<TrialReport, SwapError> {
        step(operation, "shadow");
        let stages = self.current.stages();
        let place = stages.position(&candidate.stage.name).and_then(|index| stages.watchers(index));
        let (Some(watchers), Some(old)) = (place, &candidate.old) else { return Err(not_there(candidate)) };
        let generation = Arc::clone(&candidate.generation);
        let apart = super::blocking(move || generation.apart(None)).await?;
        let apart = apart.map_err(|fault| SwapError::Abandoned(format!("the candidate cannot run apart: {fault}")))?;
        let shadow = Shadow::start(apart, old.number(), terms.share);
        let shadow = shadow.map_err(|error| SwapError::Abandoned(error.to_string()))?;
        let _watching = watchers.watch(Arc::<Shadow>::clone(&shadow));
        let look = |seconds| {
            let report = shadow.scales().report(Samples::Same, self.access());
            TrialReport {
                step: "shadow".to_owned(),
                seconds,
                percent: terms.percent,
                skipped: shadow.skipped(),
                ..report
            }
        };
        self.until_over(operation, candidate, terms.lasts, ended, ends_early, look).await
    }

    /// Has the candidate judge a share until the time is over or it is worse.
    async fn canary(
        &self,
        operation: Option<&Operation>,
        candidate: &Candidate,
        terms: Terms,
        ended: &mut watch::Receiver<Option<String>>,
        ends_early: bool,
    ) -> Result<(OnCanary, TrialReport), SwapError> {
        step(operation, "canary");
        let Some(old) = &candidate.old else { return Err(not_there(candidate)) };
        let weigher = Weigher::new(old.rules(), candidate.generation.rules());
        let reader = FieldReader::start(candidate.generation.number(), terms.share);
        let reader = reader.map_err(|error| SwapError::Abandoned(error.to_string()))?;
        // Not while another change is being made: what it begins beside has to be what it is compared with.
        let change = super::unless_cancelled(operation, self.change.lock()).await?;
        self.still_serves(candidate)?;
        let stages = self.current.stages();
        let Some(index) = stages.position(&candidate.stage.name) else { return Err(not_there(candidate)) };
        let Some(watchers) = stages.watchers(index) else { return Err(not_there(candidate)) };
        let _watching = watchers.watch(Arc::<FieldReader>::clone(&reader));
        let canary = Canary::new(index, &candidate.generation, terms.share, Arc::<Weigher>::clone(&weigher));
        self.current.begin_canary(&canary);
        let on = OnCanary { current: Arc::clone(&self.current), canary };
        drop(change);
        tracing::info!(stage = candidate.stage.name, percent = terms.percent, "a canary begins");
        let look = |seconds| {
            let access = self.access();
            let report = weigher.scales().report(Samples::Apart, access);
            let fields = reader.scales().report(Samples::Apart, access);
            let mut report = TrialReport {
                step: "canary".to_owned(),
                seconds,
                percent: terms.percent,
                skipped: reader.skipped(),
                ..report
            };
            report.serving.edits.extend(fields.serving.edits);
            report.candidate.edits.extend(fields.candidate.edits);
            report.findings.extend(fields.findings.into_iter().filter(|finding| finding.starts_with("edits of")));
            report
        };
        let report = self.until_over(operation, candidate, terms.lasts, ended, ends_early, look).await?;
        Ok((on, report))
    }

    /// Looks, tells, and waits, until the time is over; an error if it is ended by somebody.
    async fn until_over(
        &self,
        operation: Option<&Operation>,
        candidate: &Candidate,
        lasts: Duration,
        ended: &mut watch::Receiver<Option<String>>,
        ends_early: bool,
        look: impl Fn(f64) -> TrialReport,
    ) -> Result<TrialReport, SwapError> {
        let began = Instant::now();
        loop {
            let left = lasts.saturating_sub(began.elapsed());
            let report = look(began.elapsed().as_secs_f64());
            if let Some(operation) = operation {
                operation.tell(serde_json::to_value(&report).unwrap_or_default());
            }
            if left.is_zero() || ends_early && !report.findings.is_empty() {
                return Ok(report);
            }
            let pause = async {
                tokio::select! {
                    ended = ended.wait_for(Option::is_some) => ended.ok().and_then(|why| why.clone()),
                    () = tokio::time::sleep(LOOK_INTERVAL.min(left)) => None,
                }
            };
            if let Some(why) = super::unless_cancelled(operation, pause).await? {
                return Err(SwapError::Overtaken { stage: candidate.stage.name.clone(), step: step_of(&report), why });
            }
        }
    }

    /// Refuses a candidate that was found worse, unless that is overruled.
    fn weigh(
        &self,
        operation: Option<&Operation>,
        candidate: &Candidate,
        report: TrialReport,
        tried: &mut Tried,
        is_forced: bool,
    ) -> Result<(), SwapError> {
        if let Some(operation) = operation {
            operation.tell(serde_json::to_value(&report).unwrap_or_default());
        }
        if report.findings.is_empty() || is_forced {
            tried.overruled.extend(report.findings.iter().map(|finding| format!("{}: {finding}", report.step)));
            tried.reports.push(report);
            return Ok(());
        }
        let serving = candidate.old.as_ref().map_or(0, |old| old.number());
        let (stage, step) = (candidate.stage.name.clone(), step_of(&report));
        self.metrics.swaps(&stage, step).inc();
        tracing::warn!(stage, step, serving, "a candidate was refused: {}", report.findings.join("; "));
        Err(SwapError::Worse { stage, step, serving, report: Box::new(report) })
    }

    /// That what a candidate was compared with still serves.
    pub(super) fn still_serves(&self, candidate: &Candidate) -> Result<(), SwapError> {
        let name = &candidate.stage.name;
        let serving = self.current.snapshot().named(name).map(Arc::clone);
        match (&candidate.old, serving) {
            (Some(old), Some(serving)) if Arc::ptr_eq(old, &serving) => Ok(()),
            _ => Err(SwapError::Overtaken {
                stage: name.clone(),
                step: "commit",
                why: "something else serves since then".to_owned(),
            }),
        }
    }

    pub(super) fn access(&self) -> DataAccess {
        *self.data_access().borrow()
    }
}

/// A canary that is on. Dropped, what serves judges all of it again.
pub(super) struct OnCanary {
    current: Arc<Current>,
    canary: Arc<Canary>,
}

impl Drop for OnCanary {
    fn drop(&mut self) {
        self.current.end_canary(&self.canary);
    }
}

/// What both make of the last batches, each on a copy of the host state. Those that cannot run there are compared by nothing.
fn on_last_batches(old: &Arc<dyn Generation>, candidate: &Arc<dyn Generation>, last: &[Exhibit]) -> Scales {
    let mut scales = Scales::default();
    if last.is_empty() {
        return scales;
    }
    let (Ok(serving), Ok(candidate)) = (old.apart(None), candidate.apart(None)) else { return scales };
    let rules = serving.rules().to_vec();
    let (mut serving, mut candidate) = (Aside::new(serving), Aside::new(candidate));
    for exhibit in last {
        let answer = match exhibit {
            Exhibit::Batch(signal, bodies) => serving.judge(*signal, bodies).map_or(Answer::Failed, Answer::Made),
            Exhibit::Traces(traces, spans) => serving.vote(traces, spans).map_or(Answer::Failed, Answer::Votes),
        };
        compare(&mut scales, &mut candidate, exhibit, &answer, &rules);
    }
    scales
}

fn step_of(report: &TrialReport) -> &'static str {
    match report.step.as_str() {
        "probe" => "probe",
        "shadow" => "shadow",
        _ => "canary",
    }
}

fn not_there(candidate: &Candidate) -> SwapError {
    let why = "the stage is not there any more".to_owned();
    SwapError::Overtaken { stage: candidate.stage.name.clone(), step: "plan", why }
}

//! Whether the process can do its work, and why not: what health checks are answered from. It tells names of the file, states and faults,
//! nothing of the telemetry.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::health::StageState;

/// A stage that has been recoverable for so long and has not recovered makes its pipeline not ready: nothing gets through it, or round it
/// only, and whoever watches should know.
const RECOVERY_SECONDS_MAX: u64 = 60;

/// What stages of pipelines do now.
pub trait Pipelines: Send + Sync {
    /// Of every pipeline, in file order.
    fn pipelines(&self) -> Vec<PipelineHealth>;
}

/// One process, from its start to its stop.
pub struct Readiness(Mutex<Course>);

struct Course {
    phase: Phase,
    /// When requests were first let in.
    serving_since: Option<SystemTime>,
    pipelines: Arc<dyn Pipelines>,
}

/// How far the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Stages are being built; no requests are let in yet.
    Starting,
    /// Requests are let in.
    Serving,
    /// No more requests are let in.
    Stopping,
}

/// A pipeline's stages, those that vote in its tail samplers included.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PipelineHealth {
    /// The pipeline's name.
    pub pipeline: String,
    /// In the order in which they judge.
    pub stages: Vec<StageHealth>,
}

/// How a stage fares.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct StageHealth {
    /// The stage's name.
    pub stage: String,
    /// Its state.
    pub state: StageState,
    /// Since when, in seconds since 1970.
    pub since_unix: u64,
    /// Where it is not well: its last fault, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Instances made after faults, as far as its budget was charged with them.
    pub restarts: usize,
    /// What becomes of what it does not judge; None while nothing serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_fault: Option<Unjudged>,
}

/// What becomes of what a stage does not judge, since it faults, is held back or paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unjudged {
    /// Senders are told to retry.
    Reject,
    /// It goes on as it came, counted.
    Pass,
    /// Of a policy: errors are kept, and the rest at a fixed rate.
    Fallback,
}

/// The answer to a health check.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Report {
    /// True if all pipelines do their work.
    pub ready: bool,
    /// How far the process is.
    pub phase: Phase,
    /// Of every pipeline.
    pub pipelines: Vec<PipelineReport>,
}

/// One pipeline of a [`Report`].
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PipelineReport {
    /// False if one of its stages is not called any more, or has not recovered for a minute; of paused ones, only if it rejects.
    pub ready: bool,
    /// Its stages.
    #[serde(flatten)]
    pub health: PipelineHealth,
}

impl Unjudged {
    /// What it means for what comes, in a sentence.
    pub const fn effect(self) -> &'static str {
        match self {
            Unjudged::Reject => "nothing gets past it: senders are told to retry",
            Unjudged::Pass => "everything goes on as it came, and is counted as passed unjudged",
            Unjudged::Fallback => "the sampler decides by its fallback: errors are kept, and the rest at a fixed rate",
        }
    }
}

impl Readiness {
    /// Of a process that starts; `pipelines` tells what will be there.
    pub fn starting(pipelines: Arc<dyn Pipelines>) -> Arc<Readiness> {
        Arc::new(Readiness(Mutex::new(Course { phase: Phase::Starting, serving_since: None, pipelines })))
    }

    /// Requests are let in now; from now on `pipelines` tells what is there.
    pub fn serve(&self, pipelines: Arc<dyn Pipelines>) {
        let mut course = self.course();
        *course = Course { phase: Phase::Serving, serving_since: Some(SystemTime::now()), pipelines };
    }

    /// Requests are not let in any more.
    pub fn stop(&self) {
        self.course().phase = Phase::Stopping;
    }

    /// When requests were first let in, if they are now.
    pub fn serving_since(&self) -> Option<SystemTime> {
        let course = self.course();
        course.serving_since.filter(|_| course.phase == Phase::Serving)
    }

    /// What is ready, and what is not.
    pub fn report(&self) -> Report {
        self.report_at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }

    fn report_at(&self, now_unix: u64) -> Report {
        let (phase, pipelines) = {
            let course = self.course();
            (course.phase, Arc::clone(&course.pipelines))
        };
        let report = |health: PipelineHealth| {
            let works = health.stages.iter().all(|stage| stage.works_at(now_unix));
            PipelineReport { ready: phase == Phase::Serving && works, health }
        };
        let pipelines: Vec<_> = pipelines.pipelines().into_iter().map(report).collect();
        Report { ready: phase == Phase::Serving && pipelines.iter().all(|pipeline| pipeline.ready), phase, pipelines }
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StageHealth {
    fn works_at(&self, now_unix: u64) -> bool {
        match self.state {
            StageState::Ok => true,
            StageState::Recoverable => now_unix.saturating_sub(self.since_unix) < RECOVERY_SECONDS_MAX,
            // Who paused it knows what that does; but where nothing gets through, nobody should send anything.
            StageState::Paused => self.on_fault != Some(Unjudged::Reject),
            StageState::Starting | StageState::Permanent | StageState::Stopped => false,
        }
    }
}

impl std::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readiness").field("phase", &self.course().phase).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Of(Vec<StageState>);

    impl Pipelines for Of {
        fn pipelines(&self) -> Vec<PipelineHealth> {
            let stage = |state: &StageState| StageHealth {
                stage: "wasm/a".to_owned(),
                state: *state,
                since_unix: 1,
                reason: None,
                restarts: 0,
                on_fault: None,
            };
            let pipeline = |state| PipelineHealth { pipeline: "traces".to_owned(), stages: vec![stage(state)] };
            self.0.iter().map(pipeline).collect()
        }
    }

    #[test]
    fn only_what_is_not_called_any_more_makes_it_not_ready() {
        use StageState::{Ok, Permanent, Recoverable};
        for (states, ready) in [
            (vec![], true),
            (vec![Ok, Recoverable], true),
            (vec![Ok, Permanent], false),
            (vec![Recoverable, Permanent, Ok], false),
        ] {
            let readiness = Readiness::starting(Arc::new(Of(states.clone())));
            assert!(!readiness.report().ready && readiness.serving_since().is_none());
            readiness.serve(Arc::new(Of(states.clone())));
            let report = readiness.report_at(60);
            assert_eq!((report.ready, report.phase), (ready, Phase::Serving), "{states:?}");
            let recovers = !states.contains(&Permanent) && !states.contains(&Recoverable);
            assert_eq!(readiness.report_at(61).ready, recovers, "a minute later: {states:?}");
            let of_each: Vec<_> = report.pipelines.iter().map(|pipeline| pipeline.ready).collect();
            assert_eq!(of_each, states.iter().map(|&state| state != Permanent).collect::<Vec<_>>());
            assert!(readiness.serving_since().is_some());
            readiness.stop();
            assert_eq!((readiness.report().ready, readiness.report().phase), (false, Phase::Stopping));
            assert!(readiness.report().pipelines.iter().all(|pipeline| !pipeline.ready));
        }
    }

    #[test]
    fn a_paused_stage_makes_it_not_ready_where_nothing_gets_through() {
        let paused = |on_fault| StageHealth {
            stage: "wasm/a".to_owned(),
            state: StageState::Paused,
            since_unix: 1,
            reason: None,
            restarts: 0,
            on_fault,
        };
        let works = |on_fault| paused(Some(on_fault)).works_at(1_000);
        assert_eq!([Unjudged::Reject, Unjudged::Pass, Unjudged::Fallback].map(works), [false, true, true]);
    }
}

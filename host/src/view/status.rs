//! The whole engine in one page.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use utoipa::ToSchema;

use super::View;
use crate::control::Serving;
use crate::control::operations::{OperationState, Progress};
use crate::memory::tail::TailBounds;
use crate::observe::health::StageState;
use crate::observe::rates::{Counts, Rate};
use crate::observe::readiness::{Phase, PipelineReport};

/// What runs, and how it fares.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    /// Of the engine.
    pub version: &'static str,
    /// How long it has run.
    pub uptime_seconds: u64,
    /// When it was started.
    pub started_unix: u64,
    /// True if all pipelines do their work.
    pub ready: bool,
    /// How far the process is.
    pub phase: Phase,
    /// `off`, `redacted` or `full`: what of the telemetry this API may show.
    pub data_access: &'static str,
    /// Of the process's byte budget.
    pub memory: MemoryView,
    /// The length of the window that rates are of.
    pub window_seconds: f64,
    /// Every pipeline, in file order.
    pub pipelines: Vec<PipelineView>,
    /// Every stage, in file order.
    pub stages: Vec<Serving>,
    /// Names of stages that are paused.
    pub paused: Vec<String>,
    /// Names of stages that serve what the file does not say.
    pub drifted: Vec<String>,
    /// What each tail sampler may hold in each of its pipelines.
    pub tail_samplers: Vec<TailBounds>,
    /// Operations under way.
    pub operations: Vec<Progress>,
}

/// The process's byte budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct MemoryView {
    /// Charged now.
    pub used_bytes: u64,
    /// What may be.
    pub limit_bytes: u64,
    /// The most that was.
    pub high_water_bytes: u64,
}

/// A pipeline, its health and its account in the window.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PipelineView {
    /// `traces`, `metrics` or `logs`.
    pub signal: &'static str,
    /// Whether it does its work, and its stages.
    #[serde(flatten)]
    pub report: PipelineReport,
    /// Items that entered.
    pub items_in: Rate,
    /// Items that were given to exporters.
    pub items_out: Rate,
    /// Items that left otherwise, as the file asks for.
    pub dropped_intended: Rate,
    /// Items that left otherwise, and should not have.
    pub dropped_unintended: Rate,
    /// Items inside now.
    pub held: i64,
}

impl View {
    /// What runs, with what came and went in the window, and operations under way of these.
    pub fn status(&self, window: Duration, operations: Vec<Progress>) -> Status {
        let counts = self.counts(window);
        let report = self.readiness.report();
        let uptime = self.rates.uptime();
        let stages = self.control.serving();
        let names = |is: &dyn Fn(&Serving) -> bool| {
            stages.iter().filter(|serving| is(serving)).map(|serving| serving.stage.clone()).collect::<Vec<_>>()
        };
        let file = self.control.file();
        let pipeline = |report: PipelineReport| {
            let known = file.pipelines.iter().find(|known| known.name == report.health.pipeline)?;
            Some(PipelineView::of(known.signal.as_str(), report, &counts))
        };
        let is_running = |operation: &Progress| operation.state == OperationState::Running;
        Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: uptime.as_secs(),
            started_unix: unix(SystemTime::now().checked_sub(uptime)),
            ready: report.ready,
            phase: report.phase,
            data_access: file.admin.data_access.as_str(),
            memory: MemoryView {
                used_bytes: self.budget.bytes_used(),
                limit_bytes: self.budget.bytes_max(),
                high_water_bytes: self.budget.bytes_high(),
            },
            window_seconds: counts.seconds,
            pipelines: report.pipelines.into_iter().filter_map(pipeline).collect(),
            paused: names(&|serving| serving.health.state == StageState::Paused),
            drifted: names(&|serving| serving.drifted),
            stages,
            tail_samplers: self.levels.samplers().to_vec(),
            operations: operations.into_iter().filter(is_running).collect(),
        }
    }
}

impl PipelineView {
    fn of(signal: &'static str, report: PipelineReport, counts: &Counts) -> PipelineView {
        let of = [("pipeline", report.health.pipeline.as_str())];
        let dropped = |intended| {
            let of_both = [("pipeline", report.health.pipeline.as_str()), ("intended", intended)];
            counts.rate("pipeline_dropped_items", &of_both)
        };
        PipelineView {
            signal,
            items_in: counts.rate("pipeline_accepted_items", &of),
            items_out: counts.rate("pipeline_handed_over_items", &of),
            dropped_intended: dropped("true"),
            dropped_unintended: dropped("false"),
            held: counts.gauge("pipeline_held_items", &of),
            report,
        }
    }
}

fn unix(time: Option<SystemTime>) -> u64 {
    time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default().as_secs()
}

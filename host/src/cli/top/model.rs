//! What `top` shows, made of the admin API's answers.

use serde_json::Value;

use crate::cli::table::{bytes, count, duration, list, number, text};
use crate::view::draw;

/// A guest that takes more of a core than this is told of.
const GUEST_CORE_PERCENT_MAX: f64 = 50.0;
/// A stage that lets more of what it is shown not pass, for other reasons than a rule, is told of.
const UNINTENDED_PERCENT_MAX: f64 = 1.0;
/// Before so many calls, memory grows since a guest warms up.
const WARM_AFTER_CALLS: u64 = 1_000;
/// Before so many traces, that a policy matched none may be chance.
const MATCHING_AFTER_SPANS: u64 = 1_000;

/// A screen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// The engine, in a line.
    pub title: String,
    /// Every pipeline, in file order.
    pub pipelines: Vec<PipelineRow>,
    /// Every stage, sorted.
    pub stages: Vec<StageRow>,
    /// Every tail sampler, in file order.
    pub samplers: Vec<SamplerRow>,
    /// What smells.
    pub advice: Vec<String>,
}

/// A pipeline.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PipelineRow {
    /// Its name.
    pub pipeline: String,
    /// Whether it does its work.
    pub is_ready: bool,
    /// Items that enter it, leave it and are dropped, in words; and those inside.
    pub cells: [String; 5],
}

/// A stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageRow {
    /// Its name.
    pub stage: String,
    /// Its state.
    pub state: String,
    /// It is paused.
    pub is_paused: bool,
    /// It is not called for all that comes.
    pub is_unwell: bool,
    /// Items that it is shown, for each second.
    pub items_per_second: f64,
    /// Items that it dropped, by rules or otherwise.
    pub dropped_per_second: f64,
    /// Failed calls.
    pub faults_per_second: f64,
    /// Of a core, in percent.
    pub guest_core_percent: f64,
    /// Nanoseconds in the guest for each item.
    pub nanoseconds_per_item: Option<f64>,
    /// p99 of its calls.
    pub p99_microseconds: u64,
    /// Guest memory.
    pub memory_bytes: u64,
}

/// A tail sampler in one of its pipelines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SamplerRow {
    /// Its name and its pipeline's.
    pub sampler: String,
    /// Spans that wait, that come, that are kept, that are dropped.
    pub cells: [String; 4],
}

/// By what stages are sorted, the most first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// As in the file.
    #[default]
    File,
    /// Items.
    Items,
    /// Dropped items.
    Dropped,
    /// Failed calls.
    Faults,
    /// Guest CPU.
    Cpu,
    /// Guest memory.
    Memory,
}

impl Model {
    /// Of what `/v1/status`, `/v1/stages` and `/v1/graph` answer.
    pub fn of(status: &Value, stages: &Value, graph: &Value, sort: Sort) -> Model {
        let mut rows: Vec<_> = list(stages, "stages").iter().map(StageRow::of).collect();
        if sort != Sort::File {
            rows.sort_by(|one, other| sort.key(other).total_cmp(&sort.key(one)));
        }
        let samplers = list(graph, "nodes").iter().filter(|node| text(node, "kind") == "sampler");
        Model {
            title: title(status),
            pipelines: list(status, "pipelines").iter().map(PipelineRow::of).collect(),
            stages: rows,
            samplers: samplers.map(SamplerRow::of).collect(),
            advice: list(stages, "stages").iter().flat_map(advice).collect(),
        }
    }

    /// The chosen stage, or the first one.
    pub fn chosen(&self, name: Option<&str>) -> Option<&StageRow> {
        self.stages.get(self.place_of(name).unwrap_or(0))
    }

    /// Where the stage of this name is now.
    pub fn place_of(&self, name: Option<&str>) -> Option<usize> {
        self.stages.iter().position(|stage| Some(stage.stage.as_str()) == name)
    }
}

impl Sort {
    /// The one after it.
    pub fn next(self) -> Sort {
        match self {
            Sort::File => Sort::Items,
            Sort::Items => Sort::Dropped,
            Sort::Dropped => Sort::Faults,
            Sort::Faults => Sort::Cpu,
            Sort::Cpu => Sort::Memory,
            Sort::Memory => Sort::File,
        }
    }

    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Sort::File => "as in the file",
            Sort::Items => "by items",
            Sort::Dropped => "by drops",
            Sort::Faults => "by faults",
            Sort::Cpu => "by CPU",
            Sort::Memory => "by memory",
        }
    }

    fn key(self, stage: &StageRow) -> f64 {
        match self {
            Sort::File => 0.0,
            Sort::Items => stage.items_per_second,
            Sort::Dropped => stage.dropped_per_second,
            Sort::Faults => stage.faults_per_second,
            Sort::Cpu => stage.guest_core_percent,
            Sort::Memory => stage.memory_bytes as f64,
        }
    }
}

impl PipelineRow {
    fn of(pipeline: &Value) -> PipelineRow {
        let per_second = |key: &str| draw::number(number(pipeline, &format!("/{key}/per_second")));
        PipelineRow {
            pipeline: text(pipeline, "pipeline"),
            is_ready: pipeline.get("ready") == Some(&Value::Bool(true)),
            cells: [
                per_second("items_in"),
                per_second("items_out"),
                per_second("dropped_intended"),
                per_second("dropped_unintended"),
                format!("{:.0}", number(pipeline, "/held").max(0.0)),
            ],
        }
    }
}

impl StageRow {
    fn of(stage: &Value) -> StageRow {
        let sum = |key: &str, of: &str| list(stage, key).iter().map(|one| number(one, of)).sum::<f64>();
        let state = stage.pointer("/health/state").and_then(Value::as_str).unwrap_or_default().to_owned();
        StageRow {
            stage: text(stage, "stage"),
            is_paused: state == "paused",
            is_unwell: state != "ok",
            state,
            items_per_second: number(stage, "/items_in/per_second"),
            dropped_per_second: sum("rules", "/dropped/per_second") + number(stage, "/refused/per_second"),
            faults_per_second: sum("faults", "/rate/per_second"),
            guest_core_percent: guest_core_percent(stage),
            nanoseconds_per_item: stage.get("guest_nanoseconds_per_item").and_then(Value::as_f64),
            p99_microseconds: count(stage, "/timings/p99_microseconds"),
            memory_bytes: count(stage, "/memory_bytes"),
        }
    }

    /// As it is shown.
    pub fn cells(&self) -> [String; 9] {
        [
            self.stage.clone(),
            self.state.clone(),
            draw::number(self.items_per_second),
            draw::number(self.dropped_per_second),
            draw::number(self.faults_per_second),
            format!("{}%", draw::number(self.guest_core_percent)),
            self.nanoseconds_per_item.map_or_else(|| "-".to_owned(), |nanoseconds| format!("{nanoseconds:.0}")),
            self.p99_microseconds.to_string(),
            bytes(self.memory_bytes),
        ]
    }
}

impl SamplerRow {
    fn of(node: &Value) -> SamplerRow {
        let per_second = |key: &str| draw::number(number(node, &format!("/numbers/{key}/per_second")));
        SamplerRow {
            sampler: format!("{} in {}", text(node, "name"), text(node, "pipeline")),
            cells: [
                format!("{:.0}", number(node, "/numbers/waiting").max(0.0)),
                per_second("items_in"),
                per_second("items_out"),
                per_second("dropped"),
            ],
        }
    }
}

fn title(status: &Value) -> String {
    let ready = if status.get("ready") == Some(&Value::Bool(true)) { "ready" } else { "NOT READY" };
    let (used, limit) = (count(status, "/memory/used_bytes"), count(status, "/memory/limit_bytes"));
    let drifted = list(status, "drifted").len();
    let drift = if drifted == 0 { String::new() } else { format!(", {drifted} drifted") };
    format!(
        "sluicebox {}  {ready}  up {}  memory {} of {}  data access {}{drift}",
        text(status, "version"),
        duration(count(status, "/uptime_seconds")),
        bytes(used),
        bytes(limit),
        text(status, "data_access"),
    )
}

fn guest_core_percent(stage: &Value) -> f64 {
    number(stage, "/guest_nanoseconds/per_second") / 1e9 * 100.0
}

/// Lines on what smells at a stage: each is something that its owner may want to know.
fn advice(stage: &Value) -> Vec<String> {
    let name = text(stage, "stage");
    let mut advice = Vec::new();
    let percent = guest_core_percent(stage);
    if percent > GUEST_CORE_PERCENT_MAX {
        advice.push(format!(
            "{name} takes {percent:.0} % of a core: see what its rules read, or drop earlier what it need not see"
        ));
    }
    let grew = number(stage, "/memory_grew_bytes");
    let has_new_instances = count(stage, "/instances/count") > 0;
    if grew > 0.0 && !has_new_instances && count(stage, "/calls/total") > WARM_AFTER_CALLS {
        advice.push(format!(
            "{name} grows while it is called: does it keep what it sees? It is renewed at 75 % of its memory"
        ));
    }
    let (shown, refused) = (count(stage, "/items_in/count"), count(stage, "/refused/count"));
    if shown > 0 && refused as f64 * 100.0 > shown as f64 * UNINTENDED_PERCENT_MAX {
        let percent = refused as f64 * 100.0 / shown as f64;
        advice.push(format!(
            "{name} lets {percent:.1} % not pass for other reasons than a rule: `sluicebox status` says why"
        ));
    }
    if text(stage, "role") == "policy" && count(stage, "/items_in/total") >= MATCHING_AFTER_SPANS {
        let matched = |rule: &Value| count(rule, "/kept_traces/total") + count(rule, "/dropped_traces/total");
        for rule in list(stage, "rules").iter().filter(|rule| matched(rule) == 0) {
            advice.push(format!("policy \"{}\" of {name} has never decided anything", text(rule, "rule")));
        }
    }
    advice
}

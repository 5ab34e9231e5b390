//! What is told of one stage.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;

use super::View;
use super::flow::Calls;
use super::graph::{FaultRate, Graph};
use crate::config::model::{Capability, StageRole};
use crate::control::history::config_hash;
use crate::control::{Drift, StageFacts};
use crate::observe::marks::Timings;
use crate::observe::rates::{Counts, Rate};
use crate::observe::readiness::StageHealth;

/// A stage, with what it did in the window in all its pipelines.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StageView {
    /// Its name.
    pub stage: String,
    /// `processor` or `policy`.
    pub role: &'static str,
    /// Its state, and what becomes of what it does not judge.
    pub health: StageHealth,
    /// The serving generation.
    pub generation: u64,
    /// SHA-256 of its component, in hex.
    pub digest: String,
    /// Hash of its configuration, which may hold secrets.
    pub config_hash: String,
    /// Where the component comes from.
    pub component: String,
    /// Whether it can change what is there.
    pub edits: bool,
    /// What it may do beyond its role.
    pub grants: Vec<&'static str>,
    /// Bounds of an instance.
    pub limits: InstanceLimits,
    /// Names of its keys and tables.
    pub keys: Vec<String>,
    /// The same.
    pub tables: Vec<String>,
    /// Its last fault, however it fares now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_fault: Option<FaultView>,
    /// Of its calls since the start of the process, whatever generation served.
    pub timings: Timings,
    /// Guest memory of all instances now.
    pub memory_bytes: i64,
    /// How much that changed in the window.
    pub memory_grew_bytes: i64,
    /// Instances that were taken into use.
    pub instances: Rate,
    /// Items that it was shown.
    pub items_in: Rate,
    /// Items that went on although it faulted or was not called.
    pub passed_unjudged: Rate,
    /// Items that it let nobody have, for other reasons than a rule: faults, pauses, poison.
    pub refused: Rate,
    /// Guest calls.
    pub calls: Rate,
    /// Failed ones.
    pub faults: Vec<FaultRate>,
    /// Nanoseconds in guest calls.
    pub guest_nanoseconds: Rate,
    /// The same for each item that it was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_nanoseconds_per_item: Option<f64>,
    /// Each of its rules, in the order in which it opened them.
    pub rules: Vec<RuleView>,
    /// Pipelines that it stands in.
    pub pipelines: Vec<String>,
    /// Where the file says something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
}

/// Bounds of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct InstanceLimits {
    /// Of guest memory.
    pub memory_bytes_max: u64,
    /// Of a call, before the allowance for each row.
    pub deadline_milliseconds: u64,
    /// What a call may hand to the host.
    pub output_bytes_max: u64,
    /// Log lines.
    pub log_lines_per_second: u32,
}

/// A failed call. It never holds telemetry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FaultView {
    /// `trap`, `deadline` and so on.
    pub kind: &'static str,
    /// What the guest or its sandbox said, with the innermost functions of the guest's stack.
    pub message: String,
}

/// What a rule did. Of a policy: what it decided.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RuleView {
    /// Its name.
    pub rule: String,
    /// Items that it dropped.
    pub dropped: Rate,
    /// Places that it wrote.
    pub edited: Rate,
    /// Of a policy: traces that it kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_traces: Option<Rate>,
    /// Of a policy: traces that it dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped_traces: Option<Rate>,
}

impl View {
    /// A stage with what these counters say; `graph` has the same ones.
    pub(super) fn stage(&self, facts: &StageFacts, counts: &Counts, graph: &Graph) -> StageView {
        let name = facts.stage.name.as_str();
        let of_stage = [("stage", name)];
        let metrics = self.metrics.stage(name);
        let items_in = shown(graph, name, facts.stage.role);
        let Calls { calls, faults, nanoseconds, nanoseconds_per_item } = Calls::of(counts, name, items_in.count);
        let memory_bytes = counts.gauge("stage_memory_bytes", &of_stage);
        StageView {
            stage: name.to_owned(),
            role: match facts.stage.role {
                StageRole::Processor => "processor",
                StageRole::Policy => "policy",
            },
            health: facts.health.clone(),
            generation: facts.generation.number(),
            digest: facts.generation.digest().to_owned(),
            config_hash: config_hash(&facts.stage.config),
            component: facts.component(),
            edits: facts.stage.role == StageRole::Processor && facts.generation.edits(),
            grants: grants(facts),
            limits: limits(facts),
            keys: facts.stage.keys.iter().map(|(name, _)| name.clone()).collect(),
            tables: facts.stage.tables.iter().map(|(name, _)| name.clone()).collect(),
            last_fault: facts
                .last_fault
                .as_ref()
                .map(|fault| FaultView { kind: fault.kind.as_str(), message: fault.message.clone() }),
            timings: metrics.times.timings(),
            memory_bytes,
            memory_grew_bytes: memory_bytes.saturating_sub(counts.gauge_before("stage_memory_bytes", &of_stage)),
            instances: counts.rate("stage_instances", &of_stage),
            items_in,
            passed_unjudged: counts.rate("stage_passed_unjudged_items", &of_stage),
            refused: counts.rate("pipeline_dropped_items", &[("stage", name), ("intended", "false")]),
            calls,
            faults,
            guest_nanoseconds: nanoseconds,
            guest_nanoseconds_per_item: nanoseconds_per_item,
            rules: rules(facts, counts),
            pipelines: self.control.pipelines_of(name),
            drift: facts.drift.clone(),
        }
    }
}

/// Items that a stage was shown, in all its pipelines; of a policy those that came to its samplers.
fn shown(graph: &Graph, stage: &str, role: StageRole) -> Rate {
    let is_its = |policies: &[String]| policies.iter().any(|policy| policy == stage);
    let nodes = graph.nodes.iter().filter(|node| match role {
        StageRole::Processor => node.pipeline.is_some() && node.name == stage,
        StageRole::Policy => is_its(&node.policies),
    });
    nodes.filter_map(|node| node.numbers.as_ref()).fold(Rate::default(), |sum, numbers| sum.and(numbers.items_in))
}

fn grants(facts: &StageFacts) -> Vec<&'static str> {
    let granted = Capability::ALL.into_iter().filter(|capability| facts.stage.grants.has(*capability));
    granted.map(Capability::as_str).collect()
}

fn limits(facts: &StageFacts) -> InstanceLimits {
    let limits = &facts.stage.limits;
    InstanceLimits {
        memory_bytes_max: facts.generation.instance_bytes_max(),
        deadline_milliseconds: u64::try_from(limits.deadline.as_millis()).unwrap_or(u64::MAX),
        output_bytes_max: limits.output_bytes_max,
        log_lines_per_second: limits.log_lines_per_second,
    }
}

/// The serving generation's rules, and behind them those of earlier ones that did something.
fn rules(facts: &StageFacts, counts: &Counts) -> Vec<RuleView> {
    let (stage, is_policy) = (facts.stage.name.as_str(), facts.stage.role == StageRole::Policy);
    let of_stage = [("stage", stage)];
    let mut by_rule = BTreeMap::<String, (Rate, Rate)>::new();
    for (key, rate) in counts.each("pipeline_dropped_items", &[("stage", stage), ("reason", "rule")]) {
        let entry = by_rule.entry(key.label("rule").to_owned()).or_default();
        entry.0 = entry.0.and(rate);
    }
    for (key, rate) in counts.each("pipeline_edited_places", &of_stage) {
        let entry = by_rule.entry(key.label("rule").to_owned()).or_default();
        entry.1 = entry.1.and(rate);
    }
    let serving = facts.generation.rules();
    let known: BTreeSet<&str> = serving.iter().map(String::as_str).collect();
    let earlier: Vec<_> = by_rule.keys().filter(|rule| !known.contains(rule.as_str())).cloned().collect();
    let traces = |rule: &str, decision| counts.rate("tail_decided_traces", &[("policy", rule), ("decision", decision)]);
    let rule = |rule: &String| {
        let (dropped, edited) = by_rule.get(rule).copied().unwrap_or_default();
        let (kept_traces, dropped_traces) = is_policy.then(|| (traces(rule, "kept"), traces(rule, "dropped"))).unzip();
        RuleView { rule: rule.clone(), dropped, edited, kept_traces, dropped_traces }
    };
    serving.iter().chain(&earlier).map(rule).collect()
}

//! What flows where: the graph of one file, with what came and went in a window.
//!
//! Pipelines count what enters and leaves them, and each stage what it drops there. So what gets to a stage is what entered less what was
//! dropped before it; what is inside a pipeline at either end of the window (`held`) is the error of that. Behind a tail sampler the flow
//! begins anew with what it kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::model::{Config, Pipeline, Step};
use crate::observe::rates::{Counts, Rate};

/// Where everything goes that leaves otherwise than to a peer.
pub const DROPPED: &str = "dropped";

/// Receivers, steps of pipelines and exporters, and what goes between them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Graph {
    /// The length of the window that rates are of; None where nothing runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<f64>,
    /// In the order in which data flows, pipeline by pipeline.
    pub nodes: Vec<GraphNode>,
    /// The same.
    pub edges: Vec<GraphEdge>,
}

/// A part of the file as it stands in one pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GraphNode {
    /// `receiver:NAME`, `step:PIPELINE:NAME`, `exporter:NAME` or `dropped`.
    pub id: String,
    /// What it is.
    pub kind: NodeKind,
    /// As the file has it.
    pub name: String,
    /// Of a step: its pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// Of a sampler: the stages that vote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// Of a stage: `ok`, `recoverable`, `permanent`, `paused` and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Of a stage: the serving generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// In the window; None where nothing runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<NodeNumbers>,
}

/// Kinds of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// A receiver.
    Receiver,
    /// A stage of a pipeline.
    Stage,
    /// `batch`.
    Merge,
    /// `tail_sampling`.
    Sampler,
    /// An exporter.
    Exporter,
    /// Where dropped items go.
    Dropped,
}

/// Items are spans, data points or log records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeNumbers {
    /// Items that came.
    pub items_in: Rate,
    /// Items that went on.
    pub items_out: Rate,
    /// Items that did not, of which edges to `dropped` tell more; of a receiver those whose sender was told no.
    pub dropped: Rate,
    /// Places that were written, by rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edited: Vec<RuleRate>,
    /// Of a stage in all its pipelines: guest calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<Rate>,
    /// Of a stage in all its pipelines: failed calls, by kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultRate>,
    /// Of a stage in all its pipelines: time in guest calls, for each item that it was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_nanoseconds_per_item: Option<f64>,
    /// Items that wait here now: in an exporter's queue, or in a sampler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<i64>,
}

/// What a rule did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RuleRate {
    /// Its name, as the component opened it.
    pub rule: String,
    /// How often.
    pub rate: Rate,
}

/// Failed calls of a kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FaultRate {
    /// `trap`, `deadline` and so on.
    pub kind: String,
    /// How often.
    pub rate: Rate,
}

/// What goes from one node to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GraphEdge {
    /// The id of a node.
    pub from: String,
    /// The id of another one.
    pub to: String,
    /// Its pipeline; None behind exporters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// `traces`, `metrics` or `logs`.
    pub signal: String,
    /// Of an edge to `dropped`: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<DropReason>,
    /// In the window; None where nothing runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

/// Why items left otherwise than to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DropReason {
    /// As `/metrics` has it: `rule`, `fault`, `paused`, `queue_full` and so on.
    pub reason: String,
    /// The rule that says so; empty where none does.
    pub rule: String,
    /// Whether the file asks for it.
    pub intended: bool,
}

impl Graph {
    /// Of a file, without rates.
    pub fn of(config: &Config) -> Graph {
        let mut graph = Graph { window_seconds: None, nodes: Vec::new(), edges: Vec::new() };
        for receiver in &config.receivers {
            graph.nodes.push(GraphNode::new(receiver_id(&receiver.name), NodeKind::Receiver, &receiver.name));
        }
        for pipeline in &config.pipelines {
            graph.add_pipeline(pipeline);
        }
        for exporter in &config.exporters {
            graph.nodes.push(GraphNode::new(exporter_id(&exporter.name), NodeKind::Exporter, &exporter.name));
        }
        graph
    }

    /// The same with what came and went; `told` says of a stage its state and its generation.
    pub fn with_rates(mut self, counts: &Counts, told: impl Fn(&str) -> Option<(String, u64)>) -> Graph {
        self.window_seconds = Some(counts.seconds);
        super::flow::fill(&mut self, counts);
        for node in self.nodes.iter_mut().filter(|node| node.kind == NodeKind::Stage) {
            if let Some((state, generation)) = told(&node.name) {
                (node.state, node.generation) = (Some(state), Some(generation));
            }
        }
        self
    }

    /// As the file has it, without what came and went.
    #[must_use]
    pub fn without_rates(mut self) -> Graph {
        self.window_seconds = None;
        self.edges.retain(|edge| edge.drop.is_none());
        self.nodes.retain(|node| node.kind != NodeKind::Dropped);
        self.edges.iter_mut().for_each(|edge| edge.rate = None);
        self.nodes.iter_mut().for_each(|node| (node.numbers, node.state, node.generation) = (None, None, None));
        self
    }

    /// The node of this id.
    pub fn node(&self, id: &str) -> Option<&GraphNode> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// Steps of each pipeline, in order.
    pub(super) fn steps(&self) -> BTreeMap<String, Vec<String>> {
        let mut steps = BTreeMap::<_, Vec<_>>::new();
        for node in &self.nodes {
            if let Some(pipeline) = &node.pipeline {
                steps.entry(pipeline.clone()).or_default().push(node.id.clone());
            }
        }
        steps
    }

    fn add_pipeline(&mut self, pipeline: &Pipeline) {
        let mut last: Vec<_> = pipeline.receivers.iter().map(|name| receiver_id(name)).collect();
        for step in &pipeline.steps {
            let (kind, name, policies) = match step {
                Step::Guest(name) => (NodeKind::Stage, name, Vec::new()),
                Step::Merge(keys) => (NodeKind::Merge, &keys.name, Vec::new()),
                Step::Sample(keys) => (NodeKind::Sampler, &keys.name, keys.units.clone()),
            };
            let id = step_id(&pipeline.name, name);
            let node =
                GraphNode { pipeline: Some(pipeline.name.clone()), policies, ..GraphNode::new(id.clone(), kind, name) };
            self.nodes.push(node);
            self.edges.extend(last.iter().map(|from| GraphEdge::new(from, &id, pipeline)));
            last = vec![id];
        }
        for exporter in pipeline.exporters.iter().map(|name| exporter_id(name)) {
            self.edges.extend(last.iter().map(|from| GraphEdge::new(from, &exporter, pipeline)));
        }
    }
}

impl GraphNode {
    pub(super) fn new(id: String, kind: NodeKind, name: &str) -> GraphNode {
        GraphNode {
            id,
            kind,
            name: name.to_owned(),
            pipeline: None,
            policies: Vec::new(),
            state: None,
            generation: None,
            numbers: None,
        }
    }
}

impl GraphEdge {
    fn new(from: &str, to: &str, pipeline: &Pipeline) -> GraphEdge {
        GraphEdge {
            from: from.to_owned(),
            to: to.to_owned(),
            pipeline: Some(pipeline.name.clone()),
            signal: pipeline.signal.as_str().to_owned(),
            drop: None,
            rate: None,
        }
    }
}

fn receiver_id(name: &str) -> String {
    format!("receiver:{name}")
}

pub(super) fn exporter_id(name: &str) -> String {
    format!("exporter:{name}")
}

fn step_id(pipeline: &str, name: &str) -> String {
    format!("step:{pipeline}:{name}")
}

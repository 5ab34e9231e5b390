//! The numbers of a graph, from the engine's counters.

use std::collections::BTreeMap;

use super::graph::{
    DROPPED, DropReason, FaultRate, Graph, GraphEdge, GraphNode, NodeKind, NodeNumbers, RuleRate, exporter_id,
};
use crate::observe::rates::{Counts, Key, Rate};

const DROPPED_ITEMS: &str = "pipeline_dropped_items";

/// Fills in what came and went, and adds edges for what was dropped.
pub(super) fn fill(graph: &mut Graph, counts: &Counts) {
    for (pipeline, steps) in graph.steps() {
        fill_pipeline(graph, counts, &pipeline, &steps);
    }
    for node in &mut graph.nodes {
        match node.kind {
            NodeKind::Receiver => node.numbers = Some(receiver(counts, &node.name)),
            NodeKind::Exporter => node.numbers = Some(exporter(counts, &node.name)),
            NodeKind::Stage | NodeKind::Merge | NodeKind::Sampler | NodeKind::Dropped => {}
        }
    }
    fill_edges(graph, counts);
    graph.edges.extend(drop_edges(graph, counts));
    if graph.edges.iter().any(|edge| edge.drop.is_some()) {
        graph.nodes.push(GraphNode::new(DROPPED.to_owned(), NodeKind::Dropped, DROPPED));
    }
    fill_calls(graph, counts);
}

/// What gets to each step is what entered less what was dropped before it.
fn fill_pipeline(graph: &mut Graph, counts: &Counts, pipeline: &str, steps: &[String]) {
    let mut flowing = counts.rate("pipeline_accepted_items", &[("pipeline", pipeline)]);
    for id in steps {
        let Some(node) = graph.nodes.iter_mut().find(|node| node.id == *id) else { continue };
        let of_node = [("pipeline", pipeline), ("stage", node.name.as_str())];
        let dropped = counts.rate(DROPPED_ITEMS, &of_node);
        let mut numbers = NodeNumbers { items_in: flowing, dropped, ..NodeNumbers::default() };
        flowing = match node.kind {
            NodeKind::Sampler => {
                let of_sampler = [("pipeline", pipeline), ("sampler", node.name.as_str())];
                numbers.waiting = Some(counts.gauge("tail_waiting_spans", &of_sampler));
                kept(counts, &of_sampler)
            }
            _ => flowing.less(dropped),
        };
        numbers.items_out = flowing;
        numbers.edited = edited(counts, &of_node);
        node.numbers = Some(numbers);
    }
}

/// What a sampler let go on: decided traces, and spans that came after such a decision.
fn kept(counts: &Counts, of_sampler: &[(&str, &str)]) -> Rate {
    let labels: Vec<_> = of_sampler.iter().copied().chain([("decision", "kept")]).collect();
    counts.rate("tail_decided_spans", &labels).and(counts.rate("tail_late_spans", &labels))
}

fn edited(counts: &Counts, of_node: &[(&str, &str)]) -> Vec<RuleRate> {
    let rule = |(key, rate): (&Key, Rate)| RuleRate { rule: key.label("rule").to_owned(), rate };
    counts.each("pipeline_edited_places", of_node).map(rule).filter(|rule| rule.rate.total > 0).collect()
}

fn receiver(counts: &Counts, name: &str) -> NodeNumbers {
    let of = [("receiver", name)];
    NodeNumbers {
        items_in: counts.rate("receiver_received_items", &of),
        items_out: counts.rate("receiver_accepted_items", &of),
        dropped: counts.rate("receiver_refused_items", &of),
        ..NodeNumbers::default()
    }
}

fn exporter(counts: &Counts, name: &str) -> NodeNumbers {
    let of = [("exporter", name)];
    let rejected = counts.rate("exporter_rejected_items", &of);
    NodeNumbers {
        items_in: counts.rate("exporter_handed_over_items", &of),
        items_out: counts.rate("exporter_sent_items", &of),
        dropped: counts.rate("exporter_dropped_items", &of).and(rejected),
        waiting: Some(counts.gauge("exporter_queued_items", &of)),
        ..NodeNumbers::default()
    }
}

/// What goes along an edge is what its source lets on; from a receiver all that it read for that signal goes to each pipeline.
fn fill_edges(graph: &mut Graph, counts: &Counts) {
    let out: BTreeMap<_, _> = graph.nodes.iter().map(|node| (node.id.clone(), node.numbers.clone())).collect();
    for edge in &mut graph.edges {
        let pipeline = edge.pipeline.as_deref().unwrap_or_default();
        edge.rate = if edge.to.starts_with("exporter:") {
            // Each exporter gets all of it.
            Some(counts.rate("pipeline_handed_over_items", &[("pipeline", pipeline)]))
        } else if let Some(receiver) = edge.from.strip_prefix("receiver:") {
            Some(counts.rate("receiver_received_items", &[("receiver", receiver), ("signal", &edge.signal)]))
        } else {
            out.get(&edge.from).and_then(|numbers| Some(numbers.as_ref()?.items_out))
        };
    }
}

/// One for each reason and rule that items were ever dropped for.
fn drop_edges(graph: &Graph, counts: &Counts) -> Vec<GraphEdge> {
    let steps = graph.steps();
    let of_pipeline = counts.each(DROPPED_ITEMS, &[]).filter_map(|(key, rate)| {
        let pipeline = key.label("pipeline");
        let steps = steps.get(pipeline).map(Vec::as_slice).unwrap_or_default();
        let id = format!("step:{pipeline}:{}", key.label("stage"));
        let queue = exporter_id(key.label("stage"));
        let from = if steps.contains(&id) {
            id
        } else if graph.node(&queue).is_some() {
            // Its queue was full: nothing was put into it.
            steps.last().cloned().unwrap_or(queue)
        } else {
            // Before workers took it.
            steps.first().cloned()?
        };
        let reason = DropReason {
            reason: key.label("reason").to_owned(),
            rule: key.label("rule").to_owned(),
            intended: key.label("intended") == "true",
        };
        Some(drop_edge(from, Some(pipeline), key, reason, rate))
    });
    let of_exporter = |name: &'static str, reason: Option<&'static str>| {
        counts.each(name, &[]).map(move |(key, rate)| {
            let reason = reason.unwrap_or_else(|| key.label("reason")).to_owned();
            let reason = DropReason { reason, rule: String::new(), intended: false };
            drop_edge(exporter_id(key.label("exporter")), None, key, reason, rate)
        })
    };
    let given_up = of_exporter("exporter_dropped_items", None);
    let rejected = of_exporter("exporter_rejected_items", Some("rejected_by_peer"));
    of_pipeline.chain(given_up).chain(rejected).filter(|edge| edge.rate.is_some_and(|rate| rate.total > 0)).collect()
}

fn drop_edge(from: String, pipeline: Option<&str>, key: &Key, reason: DropReason, rate: Rate) -> GraphEdge {
    GraphEdge {
        from,
        to: DROPPED.to_owned(),
        pipeline: pipeline.map(str::to_owned),
        signal: key.label("signal").to_owned(),
        drop: Some(reason),
        rate: Some(rate),
    }
}

/// Calls are counted by stage, in whatever pipeline.
fn fill_calls(graph: &mut Graph, counts: &Counts) {
    let mut shown = BTreeMap::<String, u64>::new();
    for node in graph.nodes.iter().filter(|node| node.kind == NodeKind::Stage) {
        let items = node.numbers.as_ref().map_or(0, |numbers| numbers.items_in.count);
        *shown.entry(node.name.clone()).or_default() += items;
    }
    for node in graph.nodes.iter_mut().filter(|node| node.kind == NodeKind::Stage) {
        let Some(numbers) = &mut node.numbers else { continue };
        let calls = Calls::of(counts, &node.name, shown.get(&node.name).copied().unwrap_or_default());
        numbers.calls = Some(calls.calls);
        numbers.guest_nanoseconds_per_item = calls.nanoseconds_per_item;
        numbers.faults = calls.faults;
    }
}

/// Guest calls of a stage.
pub(super) struct Calls {
    pub calls: Rate,
    pub faults: Vec<FaultRate>,
    pub nanoseconds: Rate,
    pub nanoseconds_per_item: Option<f64>,
}

impl Calls {
    /// In all pipelines together, which showed it so many items in the window.
    pub(super) fn of(counts: &Counts, stage: &str, items: u64) -> Calls {
        let of_stage = [("stage", stage)];
        let nanoseconds = counts.rate("stage_call_nanoseconds", &of_stage);
        let fault = |(key, rate): (&Key, Rate)| FaultRate { kind: key.label("kind").to_owned(), rate };
        Calls {
            calls: counts.rate("stage_calls", &of_stage),
            faults: counts.each("stage_faults", &of_stage).map(fault).collect(),
            nanoseconds,
            nanoseconds_per_item: (items > 0).then(|| nanoseconds.count as f64 / items as f64),
        }
    }
}

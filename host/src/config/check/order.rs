//! What stands where in a pipeline: errors where it cannot work, warnings where it is not wise.

use std::collections::HashSet;

use super::Parts;
use super::context::Context;
use super::pipelines::{Draft, Reference};
use crate::config::code::Code;
use crate::config::model::{Exporter, ExporterKind, MemoryLimit, Pipeline, Stage, Step};
use crate::config::report::Problem;
use crate::signal::Signal;

/// Checks one pipeline.
pub(super) fn check(context: Context<'_>, parts: &Parts<'_>, draft: &Draft<'_>) {
    check_signals(context, draft);
    check_limiter(context, parts, draft);
    check_samplers(context, parts, draft);
    check_endpoints(context, parts, draft);
}

/// Signals that a type of processor takes.
fn signals_of(kind: &str) -> &'static [Signal] {
    match kind {
        "tail_sampling" => &[Signal::Traces],
        "probabilistic_sampler" => &[Signal::Traces, Signal::Logs],
        _ => &Signal::ALL,
    }
}

fn check_signals(context: Context<'_>, draft: &Draft<'_>) {
    let Some(signal) = draft.signal else { return };
    for reference in &draft.processors {
        let takes = signals_of(reference.id.split('/').next().unwrap_or_default());
        if !takes.contains(&signal) {
            let message = format!("processor \"{}\" takes no {signal}: pipeline \"{}\"", reference.id, draft.name);
            let takes = takes.iter().map(|signal| signal.as_str()).collect::<Vec<_>>().join(" and ");
            let help = format!("remove it here; it works in pipelines of {takes}");
            context.tell(Code::WrongSignal, reference.place, message, help);
        }
    }
}

fn check_limiter(context: Context<'_>, parts: &Parts<'_>, draft: &Draft<'_>) {
    for (index, reference) in draft.processors.iter().enumerate() {
        if index > 0 && parts.limits.iter().any(|(id, ..)| *id == reference.id) {
            let message = format!("\"{}\" is not the first processor of pipeline \"{}\"", reference.id, draft.name);
            let help = "put it first, as the Collector's documentation asks";
            let problem = Problem::new(Code::LimiterNotFirst, reference.place, message, help);
            context.push(problem.detail("it acts when a request is admitted, wherever it stands"));
        }
    }
}

/// `batch` before a tail sampler, and exporters that are waited for behind one.
fn check_samplers(context: Context<'_>, parts: &Parts<'_>, draft: &Draft<'_>) {
    let step = |reference: &Reference<'_>| parts.steps.get(reference.id).and_then(Option::as_ref);
    let samples = |reference: &Reference<'_>| matches!(step(reference), Some(Step::Sample(_)));
    let Some(position) = draft.processors.iter().position(samples) else { return };
    let sampler = &draft.processors[position];
    let batches = |reference: &&Reference<'_>| matches!(step(reference), Some(Step::Merge(_)));
    if let Some(batch) = draft.processors[..position].iter().find(batches) {
        let message = format!("\"{}\" stands before \"{}\" in pipeline \"{}\"", batch.id, sampler.id, draft.name);
        let help = format!("put it after \"{}\", as the Collector's documentation asks", sampler.id);
        let problem = Problem::new(Code::BatchFirst, batch.place, message, help);
        context.push(problem.detail("spans wait twice, and what the sampler keeps leaves it unmerged"));
    }
    let waits = |exporter: &&Exporter| {
        draft.exporters.iter().any(|reference| reference.id == exporter.name)
            && !matches!(exporter.kind, ExporterKind::Debug { .. })
            && (exporter.queue.wait_for_result || !exporter.queue.enabled)
    };
    if let Some(exporter) = parts.exporters.iter().find(waits) {
        let message = format!(
            "senders of pipeline \"{}\" are answered when \"{}\" holds their spans, not when exporter \"{}\" has sent them",
            draft.name, sampler.id, exporter.name
        );
        let help = "leave it if a crash may lose the traces that wait; else sample elsewhere";
        let problem = Problem::new(Code::AnsweredEarlier, sampler.place, message, help);
        context.push(problem.detail("what waits for a decision is in memory only"));
    }
}

/// An `otlphttp` exporter may name an endpoint for some signals only.
fn check_endpoints(context: Context<'_>, parts: &Parts<'_>, draft: &Draft<'_>) {
    let Some(signal) = draft.signal else { return };
    for reference in &draft.exporters {
        let exporter = parts.exporters.iter().find(|exporter| exporter.name == reference.id);
        if let Some(ExporterKind::OtlpHttp { client, endpoints, .. }) = exporter.map(|exporter| &exporter.kind)
            && client.endpoint.is_empty()
            && !endpoints.is_empty()
            && endpoints.iter().all(|(of, _)| *of != signal)
        {
            let message =
                format!("exporter \"{}\" of pipeline \"{}\" has no endpoint for {signal}", reference.id, draft.name);
            let help = format!("set its \"endpoint\" or \"{signal}_endpoint\"");
            context.tell(Code::Missing, reference.place, message, help);
        }
    }
}

/// Stages are swapped and counted by their names.
pub(super) fn check_names(context: Context<'_>, stages: &[Stage]) {
    let mut seen = HashSet::new();
    for stage in stages {
        if !seen.insert(stage.name.as_str()) {
            let message = format!("two stages would have the name \"{}\"", stage.name);
            let help = "give the policy, or the processor, another name";
            let problem = Problem::new(Code::BadName, stage.place, message, help);
            context.push(problem.detail("a policy with a component is the stage PROCESSOR:POLICY"));
        }
    }
}

/// What tail samplers may hold, against what the process may hold.
pub(super) fn check_memory(context: Context<'_>, memory: &MemoryLimit, pipelines: &[Pipeline]) {
    let MemoryLimit::Bytes(limit) = *memory else { return };
    let steps = pipelines.iter().flat_map(|pipeline| &pipeline.steps);
    let bounded: Vec<_> = steps
        .filter_map(|step| match step {
            Step::Sample(sampler) => Some((sampler, sampler.memory_bytes_max?)),
            Step::Guest(_) | Step::Merge(_) => None,
        })
        .collect();
    let all = bounded.iter().fold(0_u64, |all, (_, bytes)| all.saturating_add(*bytes));
    if let Some((sampler, _)) = bounded.first().filter(|_| all > limit) {
        let message = format!(
            "\"memory_mib\" of tail samplers is {} in all, more than \"memory_limiter\" leaves the process: {}",
            all >> 20,
            limit >> 20
        );
        let problem = Problem::new(Code::OutOfReach, sampler.place, message, "lower it, or raise \"limit_mib\"");
        context.push(problem.detail("each pipeline that names a sampler has its own state"));
    }
}

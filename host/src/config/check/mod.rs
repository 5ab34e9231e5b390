//! From a tree to a valid configuration: the one validator, which is also the start path.

mod address;
mod admin;
mod client;
mod context;
mod definitions;
mod exporters;
mod extensions;
mod keys;
pub(super) mod known;
mod names;
mod order;
mod pipelines;
pub(super) mod processors;
mod receivers;
mod section;
mod service;
mod tables;
pub(super) mod tail_sampling;
mod values;

use std::collections::HashMap;
use std::path::PathBuf;

use self::address::Listener;
use self::context::{Context, Found, Problems};
use self::definitions::Definitions;
use self::known::Group;
use self::pipelines::Draft;
use self::processors::Processor;
pub use self::processors::STAGE_LIMITS_DEFAULT;
use self::section::Section;
use super::Environment;
use super::code::Code;
use super::files::FileDigest;
use super::model::{Config, Exporter, HealthCheck, Lines, MemoryLimit, Pipeline, Receiver, Stage, Step};
use super::report::Problem;
use super::shown::Shown;
use super::source::{Place, Sources};
use super::tree::Node;

/// A checked file. The configuration may be used only if no problem is an error.
pub(super) struct Checked {
    pub(super) config: Config,
    pub(super) problems: Vec<Problem>,
    /// Places that must not be shown.
    pub(super) secrets: Vec<Place>,
    /// Files that were read beside those of `sources`: keys.
    pub(super) read: Vec<(PathBuf, FileDigest)>,
}

/// Checks a whole file.
pub(super) fn check(root: &Node, environment: &dyn Environment, sources: &Sources, problems: Vec<Problem>) -> Checked {
    let problems = Problems::new(problems);
    let config = check_root(root, Context::new(&problems, environment, sources));
    let Found { problems, secrets, read } = problems.finish();
    Checked { config, problems, secrets, read }
}

fn check_root<'a>(root: &'a Node, context: Context<'a>) -> Config {
    let mut top = Section::open(context, section::FILE, root.place, root);
    let mut groups = Group::ALL.map(|group| Definitions::read(&top.child(group.key()), group));
    let has_service = !top.is_broken() && top.required("service", "define \"service.pipelines\"").is_some();
    let mut service = top.child("service");
    let drafts = if has_service { pipelines::drafts(&service.child("pipelines")) } else { Vec::new() };
    let extensions_defined = groups.iter().find(|group| group.group == Group::Extensions).map(Definitions::ids);
    let listed = service::extensions(&mut service, &extensions_defined.unwrap_or_default());
    let telemetry = service::telemetry(service.child("telemetry"));
    let (listener, admin) = admin::admin(top.child("admin"));
    let dead_letter = extensions::dead_letter(top.child_if_present("dead_letter"));
    service.finish();
    top.finish();

    if has_service {
        pipelines::resolve(context, &drafts, &mut groups);
        for definitions in &mut groups {
            if definitions.group == Group::Extensions {
                for name in &listed {
                    definitions.use_by(name, "\"service.extensions\"");
                }
            }
            definitions.report(context);
        }
    }
    let mut lines = Lines::default();
    lines.put("\"service.telemetry.logs.level\"".into(), telemetry.logs_place);
    lines.put("\"service.telemetry.metrics\"".into(), telemetry.metrics_place);
    for setting in ["\"admin.address\"", "\"admin.tls\"", "\"admin.data_access\""] {
        lines.put(setting.into(), listener.place);
    }
    if let Some(dead_letter) = &dead_letter {
        lines.put("\"dead_letter\"".into(), dead_letter.place);
    }
    let mut listeners: Vec<Listener> = telemetry.metrics.iter().cloned().chain([listener]).collect();

    let mut parts = Parts::default();
    for definitions in &groups {
        for definition in &definitions.all {
            lines.put(definition.named(definitions.group), definition.place);
        }
        parts.read(context, definitions, &mut listeners);
    }
    for draft in &drafts {
        lines.put(format!("pipeline \"{}\"", draft.name), draft.place);
    }
    if let Some((_, place, _)) = parts.limits.first() {
        lines.put("\"memory_limiter\"".into(), *place);
    }
    report_taken_addresses(context, &listeners);
    order::check_names(context, &parts.stages);
    for stage in &parts.stages {
        // Policies that are stages of their own stand in their processor's block.
        lines.0.entry(format!("processor \"{}\"", stage.name)).or_insert(stage.place);
    }
    let memory = parts.memory(context);
    let pipelines: Vec<_> = drafts.iter().filter_map(|draft| parts.pipeline(context, draft)).collect();
    order::check_memory(context, &memory, &pipelines);
    Config {
        receivers: parts.receivers,
        stages: parts.stages,
        exporters: parts.exporters,
        pipelines,
        memory,
        metrics_address: telemetry.metrics.map(|listener| listener.address),
        log_level: telemetry.log_level,
        admin,
        health_checks: parts.health_checks,
        dead_letter,
        lines,
        files: context.file_names(),
        shown: Shown::of(root),
    }
}

impl Lines {
    fn put(&mut self, part: String, place: Place) {
        self.0.insert(part, place);
    }
}

/// Components that pipelines use.
#[derive(Default)]
struct Parts<'a> {
    receivers: Vec<Receiver>,
    stages: Vec<Stage>,
    exporters: Vec<Exporter>,
    health_checks: Vec<HealthCheck>,
    /// What a processor's name means in a pipeline; None for `memory_limiter`.
    steps: HashMap<&'a str, Option<Step>>,
    limits: Vec<(&'a str, Place, MemoryLimit)>,
}

impl<'a> Parts<'a> {
    /// Checks every component of a supported type, used or not; keeps those that are used.
    fn read(&mut self, context: Context<'a>, definitions: &Definitions<'a>, listeners: &mut Vec<Listener>) {
        let group = definitions.group;
        for definition in definitions.all.iter().filter(|definition| group.supported().contains(&definition.kind)) {
            let (id, used) = (definition.id, definition.is_used());
            let section = definition.section(group, if used { context } else { context.errors_only() });
            match group {
                Group::Receivers => {
                    let (receiver, opened) = receivers::otlp(id, section);
                    if used {
                        self.receivers.push(receiver);
                        listeners.extend(opened);
                    }
                }
                Group::Processors => {
                    let processor = processors::read(id, definition.kind, section, definition.node);
                    if used {
                        self.keep_processor(id, definition.place, processor);
                    }
                }
                Group::Exporters => {
                    let exporter = exporters::read(id, definition.kind, section);
                    self.exporters.extend(used.then_some(exporter));
                }
                Group::Extensions => {
                    let (health_check, listener) = extensions::health_check(id, section);
                    if used {
                        self.health_checks.push(health_check);
                        listeners.push(listener);
                    }
                }
                Group::Connectors => {}
            }
        }
    }

    fn keep_processor(&mut self, id: &'a str, place: Place, processor: Processor) {
        let step = match processor {
            Processor::Stage(stage) => {
                self.stages.push(*stage);
                Some(Step::Guest(id.to_owned()))
            }
            Processor::Merge(merge) => Some(Step::Merge(merge)),
            Processor::Sample(sampler, policies) => {
                self.stages.extend(policies);
                Some(Step::Sample(sampler))
            }
            Processor::Limit(limit) => {
                self.limits.push((id, place, limit));
                None
            }
        };
        self.steps.insert(id, step);
    }

    fn pipeline(&self, context: Context<'_>, draft: &Draft<'_>) -> Option<Pipeline> {
        order::check(context, self, draft);
        let names = |references: &[pipelines::Reference<'_>]| {
            references.iter().map(|reference| reference.id.to_owned()).collect()
        };
        Some(Pipeline {
            name: draft.name.to_owned(),
            signal: draft.signal?,
            receivers: names(&draft.receivers),
            steps: draft
                .processors
                .iter()
                .filter_map(|reference| self.steps.get(reference.id).cloned().flatten())
                .collect(),
            exporters: names(&draft.exporters),
        })
    }

    /// The strictest limit: the process has one budget.
    fn memory(&self, context: Context<'_>) -> MemoryLimit {
        let Some((first, _, limit)) = self.limits.first() else { return MemoryLimit::Auto };
        let mut strictest = limit.clone();
        for (id, place, limit) in &self.limits[1..] {
            strictest = match (&strictest, limit) {
                (MemoryLimit::Bytes(a), MemoryLimit::Bytes(b)) => MemoryLimit::Bytes(*a.min(b)),
                (MemoryLimit::Percent(a), MemoryLimit::Percent(b)) => MemoryLimit::Percent(*a.min(b)),
                (MemoryLimit::Auto, limit) | (limit, MemoryLimit::Auto) => limit.clone(),
                _ => {
                    let message = format!("processors \"{first}\" and \"{id}\" limit memory in different units");
                    let help = "use \"limit_mib\" in both, or \"limit_percentage\" in both";
                    context.tell(Code::Contradiction, *place, message, help);
                    strictest
                }
            };
        }
        strictest
    }
}

fn report_taken_addresses(context: Context<'_>, listeners: &[Listener]) {
    for (index, listener) in listeners.iter().enumerate() {
        let (ip, port) = (listener.address.ip(), listener.address.port());
        let overlaps = |other: &&Listener| {
            let other = other.address;
            port != 0
                && other.port() == port
                && (other.ip() == ip || other.ip().is_unspecified() || ip.is_unspecified())
        };
        if let Some(other) = listeners[..index].iter().find(overlaps) {
            let message = format!("{} listens where {} does: port {port}", listener.named, other.named);
            context.tell(Code::AddressTaken, listener.place, message, "give one of them another port");
        }
    }
}

//! `tail_sampling`: what holds the traces, and the stages that vote on them.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::processors::{component_file, json, limits};
use super::section::Section;
use super::tables::{grants, tables};
use crate::config::code::Code;
use crate::config::model::{Component, Grants, Stage, StageLimits, StageRole, TailSampling};
use crate::config::report::Problem;
use crate::config::source::Place;
use crate::config::tree::{Entry, Node, Value, shortened};

/// The component that decides by built-in policies.
pub(in crate::config) const BUNDLED: &str = "tail-sampling";
/// The one key beside `policies` that it reads.
pub(in crate::config) const FIRST_MATCH: &str = "sample_on_first_match";
/// Keys of the block that it does not read, beside those that all bundled processors have.
pub(in crate::config) const SAMPLER_KEYS: [&str; 15] = [
    "block_on_overflow",
    "decision_cache",
    "decision_wait",
    "decision_wait_after_root_received",
    "drop_pending_traces_on_shutdown",
    "expected_new_traces_per_sec",
    "fallback_percentage",
    "maximum_trace_size_bytes",
    "memory_mib",
    "num_shards",
    "num_traces",
    "record_decisions",
    "sampling_strategy",
    "span_limit",
    "tail_storage",
];

/// As the Collector's.
const DECISION_WAIT_DEFAULT: Duration = Duration::from_secs(30);
/// As the Collector's.
const TRACES_DEFAULT: u64 = 50_000;
/// Beside it, with default keys: errors are kept, and so many of the others.
const FALLBACK_PERCENT_DEFAULT: f64 = 10.0;

const WAIT_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 3600);
const TRACES_MAX: u64 = 100_000_000;
const CACHE_MAX: u64 = 1_000_000_000;
const SHARDS_MAX: u64 = 256;
/// 16 TiB.
const MEMORY_MIB_MAX: u64 = 16 << 20;
/// What a trace takes at the least that is worth sampling: two spans of half a KiB.
const TRACE_BYTES_TYPICAL: u64 = 1 << 10;
/// What a remembered decision takes: the trace's id, its place in a table, and some of the decision.
const DECISION_BYTES_TYPICAL: u64 = 40;
/// Longest name of a stage: it becomes a metric label.
const NAME_CHARS_MAX: usize = 128;
/// Randomness is below this (W3C Trace Context level 2).
const THRESHOLD_END: f64 = (1_u64 << 56) as f64;

const POLICIES_HELP: &str = "list at least one, such as \"- {name: errors, status_code: {status_codes: [ERROR]}}\"";
const NO_ON_FAULT: &str =
    "remove it: while a policy faults, traces with an error are kept, and \"fallback_percentage\" of the others";

/// Reads the block; the stages are those of its policies.
pub(super) fn tail_sampling(name: &str, mut section: Section<'_>) -> (Arc<TailSampling>, Vec<Stage>) {
    let first_match = section.boolean(FIRST_MATCH).unwrap_or(false);
    let limits_given = section.child_if_present("limits");
    let limits_place = limits_given.as_ref().map(|limits| limits.place);
    let bundled_limits = limits(limits_given.unwrap_or_else(|| section.child("limits")));
    let stages = Policies { sampler: name, first_match, limits: bundled_limits }.read(&mut section);
    if let Some(place) = limits_place.filter(|_| stages.iter().all(|stage| !is_bundled(stage)) && !stages.is_empty()) {
        let message = format!("{} has no effect", section.named("limits"));
        let problem = Problem::new(Code::NoEffect, place, message, "write it in the policies themselves");
        section.context.push(problem.detail("every policy is a component of its own"));
    }
    let (kept_ids_max, dropped_ids_max) = decision_cache(section.child("decision_cache"));
    let sampler = TailSampling {
        name: name.to_owned(),
        units: stages.iter().map(|stage| stage.name.clone()).collect(),
        decision_wait: section.duration("decision_wait", WAIT_RANGE).unwrap_or(DECISION_WAIT_DEFAULT),
        wait_after_root: section
            .duration("decision_wait_after_root_received", WAIT_RANGE)
            .filter(|wait| !wait.is_zero()),
        traces_max: size(section.whole("num_traces", 1..=TRACES_MAX).unwrap_or(TRACES_DEFAULT)),
        memory_bytes_max: section.whole("memory_mib", 1..=MEMORY_MIB_MAX).map(|mib| mib << 20),
        block_on_overflow: section.boolean("block_on_overflow").unwrap_or(false),
        drop_larger_than_bytes: bound(&mut section, "maximum_trace_size_bytes", u64::MAX),
        span_limit: bound(&mut section, "span_limit", u32::MAX.into()).and_then(|spans| spans.try_into().ok()),
        kept_ids_max,
        dropped_ids_max,
        first_match,
        drop_pending_on_shutdown: section.boolean("drop_pending_traces_on_shutdown").unwrap_or(false),
        shards: section.whole("num_shards", 1..=SHARDS_MAX).map(size),
        fallback_threshold: threshold(
            section.number("fallback_percentage", 0.0..=100.0).unwrap_or(FALLBACK_PERCENT_DEFAULT),
        ),
        records_decisions: section.boolean("record_decisions").unwrap_or(false),
        place: section.place,
    };
    only_in_the_collector(&mut section);
    warn_of_room(&mut section, &sampler);
    section.finish();
    (Arc::new(sampler), stages)
}

/// Whether a stage is the component inside the binary.
fn is_bundled(stage: &Stage) -> bool {
    matches!(stage.component, Component::Bundled(_))
}

/// `decision_cache`: kept and dropped ids.
fn decision_cache(mut section: Section<'_>) -> (Option<usize>, Option<usize>) {
    let kept = bound(&mut section, "sampled_cache_size", CACHE_MAX).map(size);
    let dropped = bound(&mut section, "non_sampled_cache_size", CACHE_MAX).map(size);
    section.finish();
    (kept, dropped)
}

/// A number of which 0 is none, as in the Collector.
fn bound(section: &mut Section<'_>, key: &'static str, max: u64) -> Option<u64> {
    section.whole(key, 0..=max).filter(|&number| number > 0)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The rejection threshold of a percentage: what is random below it is not kept.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within 0 to 2^56")]
fn threshold(percentage: f64) -> u64 {
    ((1.0 - percentage / 100.0) * THRESHOLD_END).round() as u64
}

/// Keys and values that the Collector has beyond these.
fn only_in_the_collector(section: &mut Section<'_>) {
    let strategy = "write trace-complete: a trace that no further span can change is decided early there, too";
    section.only("sampling_strategy", &["trace-complete"], strategy);
    section.refuse(&["tail_storage"], "remove it: traces wait in memory; bound it with \"memory_mib\"");
    section.ignore(&["expected_new_traces_per_sec"], "tables grow with the traces that wait");
    section.forbid("on_fault", NO_ON_FAULT);
}

fn warn_of_room(section: &mut Section<'_>, sampler: &TailSampling) {
    let Some(bytes) = sampler.memory_bytes_max else { return };
    let (kept, dropped) = sampler.remembered();
    let ids = kept.saturating_add(dropped);
    let traces_bytes = (sampler.traces_max as u64).saturating_mul(TRACE_BYTES_TYPICAL);
    let wanted = traces_bytes.saturating_add((ids as u64).saturating_mul(DECISION_BYTES_TYPICAL));
    if wanted <= bytes {
        return;
    }
    let entry = section.entry("num_traces").or_else(|| section.entry("memory_mib"));
    let place = entry.map_or(section.place, |entry| entry.value.place);
    let (traces, mib) = (sampler.traces_max, bytes >> 20);
    let message = format!("{} is {traces}, more than \"memory_mib: {mib}\" holds", section.named("num_traces"));
    let wanted_mib = wanted.div_ceil(1 << 20);
    let help = format!("raise \"memory_mib\" to {wanted_mib} at the least, or lower \"num_traces\"");
    let detail = format!(
        "{traces} traces of 1 KiB and {ids} remembered decisions take {wanted_mib} MiB; past {mib} the oldest traces are decided early"
    );
    section.context.push(Problem::new(Code::OutOfReach, place, message, help).detail(detail));
}

/// What the stages of a block have in common.
struct Policies<'n> {
    sampler: &'n str,
    first_match: bool,
    limits: StageLimits,
}

impl Policies<'_> {
    /// One stage for each run of policies without a component, one for each policy with one.
    fn read(&self, section: &mut Section<'_>) -> Vec<Stage> {
        if section.is_broken() || section.required("policies", POLICIES_HELP).is_none() {
            return Vec::new();
        }
        let policies = section.list("policies").unwrap_or_default();
        let place = section.entry("policies").map_or(section.place, |entry| entry.key_place);
        if policies.is_empty() {
            if section.get("policies").is_some_and(|node| matches!(node.value, Value::List(_))) {
                let message = format!("{} is empty", section.named("policies"));
                section.context.tell(Code::Missing, place, message, POLICIES_HELP);
            }
            return Vec::new();
        }
        report_names(section, policies);
        let mut stages: Vec<Stage> = Vec::new();
        let mut index = 0;
        for run in policies.chunk_by(|a, b| component_of(a).is_none() && component_of(b).is_none()) {
            stages.push(match run {
                [policy] if component_of(policy).is_some() => self.component(section, index, policy),
                _ => {
                    let number = 1 + stages.iter().filter(|stage| is_bundled(stage)).count();
                    // Its component counts policies from where this run begins.
                    let place = if index == 0 { place } else { run.first().map_or(place, |policy| policy.place) };
                    self.run(section, number, place, run)
                }
            });
            index += run.len();
        }
        stages
    }

    /// Policies that the bundled component decides: it checks them, too.
    fn run(&self, section: &Section<'_>, number: usize, place: Place, policies: &[Node]) -> Stage {
        policies.iter().for_each(|policy| report_nested(section, policy));
        let config_place = policies.first().map_or(place, |policy| policy.place);
        let entry = |key: &str, value: Value| Entry {
            key: key.to_owned(),
            key_place: place,
            value: Node::new(value, config_place),
        };
        let config =
            [entry("policies", Value::List(policies.to_vec())), entry(FIRST_MATCH, Value::Bool(self.first_match))];
        let name = match number {
            1 => self.sampler.to_owned(),
            _ => format!("{}:policies-{number}", self.sampler),
        };
        Stage {
            name,
            role: StageRole::Policy,
            component: Component::Bundled(BUNDLED.to_owned()),
            config: json(section, &Node::new(Value::Map(config.into()), config_place)),
            keys: Vec::new(),
            grants: Grants::NONE,
            tables: Vec::new(),
            limits: self.limits,
            on_fault: None,
            place,
            config_place,
            grants_place: None,
        }
    }

    /// A policy that is a user's component.
    fn component(&self, section: &Section<'_>, index: usize, node: &Node) -> Stage {
        let mut policy = section.item("policies", index, node);
        let named = policy.required("name", "name it: what it decides is accounted to that name");
        let name = named.and_then(|node| policy.text_of("name", node));
        if let Some((node, name)) = named.zip(name) {
            let chars = self.sampler.chars().count() + 1 + name.chars().count();
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) || chars > NAME_CHARS_MAX
            {
                let message = format!("{} cannot name a stage: {}", policy.named("name"), node.found());
                let help = "use no white space, and few letters: the stage is named PROCESSOR:POLICY";
                policy.context.tell(Code::BadName, node.place, message, help);
            }
        }
        let component = component_file(&mut policy);
        let config = policy.get("config");
        let config_place = config.map_or(policy.place, |node| node.place);
        let config = config.map_or_else(|| "{}".to_owned(), |node| json(&policy, node));
        let role = StageRole::Policy;
        let grants = grants(&mut policy, role);
        let grants_place = policy.get("grants").map(Node::whole_place);
        let tables = tables(&mut policy, grants);
        let limits = limits(policy.child("limits"));
        policy.forbid("on_fault", NO_ON_FAULT);
        policy.forbid("type", "remove it: a policy with a component is what the component is");
        let place = policy.place;
        policy.finish();
        // Without a name there is an error; that others have none either is no second one.
        let name = name.map_or_else(|| format!("{}:{index}", self.sampler), |name| format!("{}:{name}", self.sampler));
        Stage {
            name,
            role,
            component,
            config,
            keys: Vec::new(),
            grants,
            tables,
            limits,
            on_fault: None,
            place,
            config_place,
            grants_place,
        }
    }
}

fn entry_of<'a>(node: &'a Node, key: &str) -> Option<&'a Entry> {
    match &node.value {
        Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
        _ => None,
    }
}

fn component_of(policy: &Node) -> Option<&Entry> {
    entry_of(policy, "component")
}

/// The bundled component sees only the policies of its own run.
fn report_names(section: &Section<'_>, policies: &[Node]) {
    let mut seen: Vec<&str> = Vec::new();
    for (index, policy) in policies.iter().enumerate() {
        let Some(name) = entry_of(policy, "name") else { continue };
        let Some(text) = name.value.as_text() else { continue };
        if seen.contains(&text) {
            let message = format!(
                "{} is taken by another policy: \"{}\"",
                section.named(&format!("policies[{index}].name")),
                shortened(text)
            );
            section.context.tell(Code::BadName, name.value.place, message, "give each policy a name of its own");
        }
        seen.push(text);
    }
}

/// The bundled component decides what is nested, and can call no other.
fn report_nested(section: &Section<'_>, node: &Node) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| report_nested(section, item)),
        Value::Map(entries) => {
            for entry in entries {
                let items = match &entry.value.value {
                    Value::List(items) if entry.key.ends_with("_sub_policy") => items.as_slice(),
                    Value::Map(_) if entry.key.ends_with("_sub_policy") => std::slice::from_ref(&entry.value),
                    _ => &[],
                };
                for component in items.iter().filter_map(component_of) {
                    let message = format!("{} has a component in \"{}\"", section.owner, entry.key);
                    let help = "list it as a policy of its own: components stand at the top level of \"policies\"";
                    section.context.tell(Code::UnsupportedKey, component.key_place, message, help);
                }
                report_nested(section, &entry.value);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;

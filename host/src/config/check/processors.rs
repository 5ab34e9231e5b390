//! `processors`: guest stages (`wasm` and those that ship inside the binary), `batch`, `memory_limiter`; `tail_sampling` has a file of its own.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::keys::keys;
use super::section::Section;
use super::tables::{grants, tables};
use super::tail_sampling::tail_sampling;
use crate::config::code::Code;
use crate::config::model::{
    Capability, Component, Grants, MemoryLimit, Merge, OnFault, Stage, StageLimits, StageRole, TailSampling,
};
use crate::config::report::Problem;
use crate::config::tree::{Entry, Node, Value};

/// Bounds of a guest's instance unless told otherwise.
pub const STAGE_LIMITS_DEFAULT: StageLimits = StageLimits {
    memory_bytes_max: None,
    deadline: Duration::from_millis(50),
    output_bytes_max: 16 << 20,
    log_lines_per_second: 10,
};
/// A 32-bit guest has no more memory.
const MEMORY_MIB_MAX: u64 = 4096;
const OUTPUT_MIB_MAX: u64 = 1024;
const LOG_LINES_MAX: u64 = 10_000;
const DEADLINE_RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);

const BATCH_ITEMS_MAX: u64 = 10_000_000;
const BATCH_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
const BATCH_TIMEOUT_DEFAULT: Duration = Duration::from_millis(200);
const BATCH_ITEMS_DEFAULT: u64 = 8192;

/// 16 TiB.
const LIMIT_MIB_MAX: u64 = 16 << 20;
/// `memory_limiter` of the Collector: the part of the limit that is kept free unless told otherwise.
const SPIKE_PERCENT_DEFAULT: u64 = 20;

/// Keys of a bundled component's map that are the engine's own.
pub(in crate::config) const OWN_KEYS: [&str; 4] = ["keys", "limits", "on_fault", "tables"];

/// A processor of the file.
pub(super) enum Processor {
    Stage(Box<Stage>),
    Merge(Arc<Merge>),
    /// With the stages of its policies.
    Sample(Arc<TailSampling>, Vec<Stage>),
    Limit(MemoryLimit),
}

/// The Collector's own processors that ship as components take their whole map as configuration, less the engine's own keys: `limits`,
/// `on_fault` and, where it edits what people wrote, `keys`; of `lookup` also `tables`. The Collector's processors have no keys of
/// these names.
pub(super) fn bundled(name: &str, kind: &str, mut section: Section<'_>, node: &Node) -> Stage {
    let edits = matches!(kind, "attributes" | "redaction" | "resource");
    let keys = if edits { keys(&mut section) } else { Vec::new() };
    let grants = bundled_grants(kind);
    let tables = if kind == "lookup" { tables(&mut section, grants) } else { Vec::new() };
    let limits = limits(section.child("limits"));
    let on_fault = on_fault(&mut section);
    if edits && on_fault == Some(OnFault::Pass) {
        warn_of_pass(&mut section);
    }
    let is_own = |entry: &Entry| section.knows(&entry.key);
    let config = match &node.value {
        Value::Map(entries) if entries.iter().any(is_own) => {
            let rest = entries.iter().filter(|entry| !is_own(entry)).cloned().collect();
            json(&section, &Node { value: Value::Map(rest), ..node.clone() })
        }
        _ => json(&section, node),
    };
    // One component does both: they differ in what they call their list of actions.
    let component = if kind == "resource" { "attributes" } else { kind }.replace('_', "-");
    Stage {
        name: name.to_owned(),
        role: StageRole::Processor,
        component: Component::Bundled(component),
        config,
        keys,
        grants,
        tables,
        limits,
        on_fault,
        place: section.place,
        config_place: node.place,
        grants_place: None,
    }
}

/// What ships with the engine has what it needs.
fn bundled_grants(kind: &str) -> Grants {
    match kind {
        "lookup" => Grants::NONE.and(Capability::Lookup).and(Capability::Metrics),
        "rate_limiting" => Grants::NONE.and(Capability::State),
        _ => Grants::NONE,
    }
}

/// `wasm/<name>`: a user's component.
pub(super) fn wasm(name: &str, mut section: Section<'_>) -> Stage {
    let component = component_file(&mut section);
    let config = section.get("config");
    let (place, config_place) = (section.place, config.map_or(section.place, |node| node.place));
    let config = config.map_or_else(|| "{}".to_owned(), |node| json(&section, node));
    let keys = keys(&mut section);
    let role = StageRole::Processor;
    let grants = grants(&mut section, role);
    let grants_place = section.get("grants").map(Node::whole_place);
    let tables = tables(&mut section, grants);
    let limits = limits(section.child("limits"));
    let on_fault = on_fault(&mut section);
    section.finish();
    let name = name.to_owned();
    Stage { name, role, component, config, keys, grants, tables, limits, on_fault, place, config_place, grants_place }
}

/// `component` and `sha256`: a file, and what it must hold.
pub(super) fn component_file(section: &mut Section<'_>) -> Component {
    let component = section.required("component", "name the component's file: \"component: ./filter.wasm\"");
    let path = component.and_then(|node| section.text_of("component", node));
    if let Some((node, path)) = component.zip(path)
        && path.contains("://")
    {
        let message = format!("{}: fetching is not supported yet: {}", section.named("component"), node.found());
        section.context.tell(Code::UnsupportedValue, node.place, message, "name a file, such as ./filter.wasm");
    }
    let directory = section.context.directory(component.map_or(section.place, |node| node.place));
    let path = directory.join(path.unwrap_or_default());
    Component::File { path, sha256: sha256(section) }
}

fn on_fault(section: &mut Section<'_>) -> Option<OnFault> {
    section.choice("on_fault", &[("reject", OnFault::Reject), ("pass", OnFault::Pass)])
}

/// Whoever redacts may let through what was not judged only where they have said so, and have been told.
fn warn_of_pass(section: &mut Section<'_>) {
    let Some(entry) = section.entry("on_fault") else { return };
    let message = format!("{} passes what it did not judge", section.owner);
    let help = "remove it: senders are told to retry then, and nothing unredacted leaves";
    let problem = Problem::new(Code::PassesUnjudged, entry.value.place, message, help);
    section.context.push(problem.detail("after a fault a batch goes on as it came, secrets included"));
}

fn sha256(section: &mut Section<'_>) -> Option<String> {
    let node = section.get("sha256")?;
    let text = section.text_of("sha256", node)?;
    let hex = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(hex);
    }
    let message = format!("{} is not a SHA-256 digest: {}", section.named("sha256"), node.found());
    section.context.tell(Code::BadDigest, node.place, message, "write the 64 hex digits that `sha256sum` prints");
    None
}

pub(super) fn limits(mut section: Section<'_>) -> StageLimits {
    let default = STAGE_LIMITS_DEFAULT;
    let limits = StageLimits {
        memory_bytes_max: section
            .whole("memory_mib", 1..=MEMORY_MIB_MAX)
            .map_or(default.memory_bytes_max, |mib| Some(mib << 20)),
        deadline: section.duration("deadline", DEADLINE_RANGE).unwrap_or(default.deadline),
        output_bytes_max: section
            .whole("output_mib", 1..=OUTPUT_MIB_MAX)
            .map_or(default.output_bytes_max, |mib| mib << 20),
        log_lines_per_second: section
            .whole("log_lines_per_second", 0..=LOG_LINES_MAX)
            .and_then(|lines| u32::try_from(lines).ok())
            .unwrap_or(default.log_lines_per_second),
    };
    section.finish();
    limits
}

/// What `configure` gets. Nothing is an empty map: a guest need not tell the two apart.
pub(super) fn json(section: &Section<'_>, node: &Node) -> String {
    if let Some(node) = node.without_json_form() {
        let message = format!("{}: {} has no JSON form", section.owner, node.found());
        section.context.tell(Code::WrongType, node.place, message, "write a finite number, or quote it");
    }
    if node.is_null() {
        return "{}".to_owned();
    }
    // A tree of text keys has no way to fail.
    serde_json::to_string(node).unwrap_or_default()
}

/// `batch`.
pub(super) fn batch(name: &str, mut section: Section<'_>) -> Arc<Merge> {
    let timeout = section.duration("timeout", Duration::ZERO..=BATCH_TIMEOUT_MAX).unwrap_or(BATCH_TIMEOUT_DEFAULT);
    let asked = section.whole("send_batch_size", 0..=BATCH_ITEMS_MAX);
    let items_max = section.whole("send_batch_max_size", 0..=BATCH_ITEMS_MAX).filter(|&items| items > 0);
    let mut items = asked.unwrap_or(BATCH_ITEMS_DEFAULT);
    if let Some(items_max) = items_max.filter(|&items_max| items_max < items) {
        match asked {
            Some(asked) => section.contradiction(
                "send_batch_max_size",
                format_args!("is {items_max}, less than \"send_batch_size\", which is {asked}"),
                "raise it, or lower \"send_batch_size\"",
            ),
            None => {
                let place = section.entry("send_batch_max_size").map_or(section.place, |entry| entry.value.place);
                let message =
                    format!("{} is less than the default of \"send_batch_size\"", section.named("send_batch_max_size"));
                let help = format!("write \"send_batch_size: {items_max}\" too, which is what is used now");
                section.context.tell(Code::AdjustedValue, place, message, help);
            }
        }
        items = items_max;
    }
    section.refuse(&["metadata_keys", "metadata_cardinality_limit"], "remove it: request headers are not kept");
    section.finish();
    Arc::new(Merge { name: name.to_owned(), items, items_max, timeout })
}

/// `memory_limiter`: its keys bound the engine's one budget of bytes.
pub(super) fn memory_limiter(mut section: Section<'_>) -> MemoryLimit {
    // Every request is charged when it is admitted, so there is no interval at which to look.
    let _checked_only = section.duration("check_interval", Duration::ZERO..=BATCH_TIMEOUT_MAX);
    let limit_mib = section.whole("limit_mib", 0..=LIMIT_MIB_MAX);
    let spike_mib = section.whole("spike_limit_mib", 0..=LIMIT_MIB_MAX).filter(|&mib| mib > 0);
    let limit_percent = section.whole("limit_percentage", 0..=100);
    // A limit that cannot be read has been reported; 0 is none, as in the Collector.
    let unlimited = |limit: Option<u64>, node: Option<&Node>| limit == Some(0) || node.is_none();
    let unlimited =
        unlimited(limit_mib, section.get("limit_mib")) && unlimited(limit_percent, section.get("limit_percentage"));
    let spike_percent = section.whole("spike_limit_percentage", 0..=100).filter(|&percent| percent > 0);
    let gc_keys = [
        "min_gc_interval_when_soft_limited",
        "min_gc_interval_when_hard_limited",
        "max_gc_interval_when_soft_limited",
        "max_gc_interval_when_hard_limited",
    ];
    section.ignore(&gc_keys, "there is no garbage collector");
    let limit = match (limit_mib.filter(|&mib| mib > 0), limit_percent.filter(|&percent| percent > 0)) {
        (Some(limit), _) => {
            let spike = spike_mib.map_or((limit << 20) * SPIKE_PERCENT_DEFAULT / 100, |mib| mib << 20);
            if spike >= limit << 20 {
                section.contradiction(
                    "spike_limit_mib",
                    format_args!("is not below \"limit_mib\", which is {limit}"),
                    "lower it: what is left between the two is what may be used",
                );
            }
            MemoryLimit::Bytes((limit << 20).saturating_sub(spike))
        }
        (None, Some(limit)) => {
            let spike = spike_percent.unwrap_or(limit * SPIKE_PERCENT_DEFAULT / 100);
            if spike >= limit {
                section.contradiction(
                    "spike_limit_percentage",
                    format_args!("is not below \"limit_percentage\", which is {limit}"),
                    "lower it: what is left between the two is what may be used",
                );
            }
            MemoryLimit::Percent(u8::try_from(limit.saturating_sub(spike)).unwrap_or(u8::MAX))
        }
        (None, None) if unlimited => {
            let message = format!("{} has no limit", section.owner);
            section.context.tell(Code::Missing, section.place, message, "set \"limit_mib\" or \"limit_percentage\"");
            MemoryLimit::Auto
        }
        (None, None) => MemoryLimit::Auto,
    };
    section.finish();
    limit
}

/// A processor of a supported type.
pub(super) fn read(name: &str, kind: &str, section: Section<'_>, node: &Node) -> Processor {
    match kind {
        "batch" => Processor::Merge(batch(name, section)),
        "memory_limiter" => Processor::Limit(memory_limiter(section)),
        "tail_sampling" => {
            let (sampler, policies) = tail_sampling(name, section);
            Processor::Sample(sampler, policies)
        }
        "wasm" => Processor::Stage(Box::new(wasm(name, section))),
        bundled_kind => Processor::Stage(Box::new(bundled(name, bundled_kind, section, node))),
    }
}

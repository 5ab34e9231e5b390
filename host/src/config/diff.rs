//! What changed between two configurations, part by part, and what of it a running engine cannot do.

use std::fmt;
use std::sync::Arc;

use super::model::{Config, Lines, Merge, Pipeline, Stage, Step, TailSampling};
use super::source::Place;

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Stages of both configurations that differ, in the new one's order.
    pub stages: Vec<StageChange>,
    /// Everything else that differs.
    pub others: Vec<Change>,
}

impl Diff {
    /// True if the two do the same.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty() && self.others.is_empty()
    }

    /// True if replacing stages, where they stand, is all that it takes. The log level is nothing that they see.
    pub fn is_of_stages_alone(&self) -> bool {
        self.others.iter().all(|change| change.part == LOG_LEVEL)
    }

    /// What a running engine cannot do, and why.
    pub fn restarts(&self) -> impl Iterator<Item = (&Change, &'static str)> {
        self.others.iter().filter_map(|change| Some((change, change.restart?)))
    }
}

const LOG_LEVEL: &str = "\"service.telemetry.logs.level\"";
/// Why these need a restart.
const OWN_ADDRESS: &str = "an address of the engine's own";
const OPEN_FILE: &str = "a file that stays open";
const OTHER_SHARDS: &str = "its num_shards: what waits is spread over them";

/// A stage that differs, and in what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageChange {
    /// `wasm/mine`.
    pub name: String,
    /// Where it stands in the new files.
    pub place: Place,
    /// Another file, pin or bundled processor.
    pub component: bool,
    /// Another `config`.
    pub config: bool,
    /// Other `keys`, in names or in bytes.
    pub keys: bool,
    /// Other `grants`.
    pub grants: bool,
    /// Other `tables`, in names, keys or content.
    pub tables: bool,
    /// Other `limits`.
    pub limits: bool,
    /// Another `on_fault`.
    pub on_fault: bool,
}

/// A part that is no stage of both configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `receiver "otlp"`, `pipeline "traces"`, `"admin.address"`.
    pub part: String,
    /// Where it stands in the new files, or in the old ones if it is gone; None if neither names it.
    pub place: Option<Place>,
    /// What happened to it.
    pub kind: ChangeKind,
    /// Why it takes a restart, if it does.
    pub restart: Option<&'static str>,
}

/// In a few words: `added pipeline "traces/b"`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.part)
    }
}

/// What happened to a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// New.
    Added,
    /// Gone.
    Removed,
    /// Other values.
    Changed,
}

/// Compares by meaning: lines, comments and the order of definitions do not count.
pub fn diff(old: &Config, new: &Config) -> Diff {
    let mut diff = Diff::default();
    let mut changes = Changes { old: &old.lines, new: &new.lines, found: Vec::new() };
    changes.compare("receiver", &old.receivers, &new.receivers, |receiver| &receiver.name, |a, b| a == b);
    // Before their policies, which are stages: one of the same name that comes or goes is this change, too.
    changes.compare("processor", &samplers(old), &samplers(new), |sampler| &sampler.name, |a, b| a.is_same(b));
    changes.resharded(old, new);
    changes.compare(
        "processor",
        &old.stages,
        &new.stages,
        |stage| &stage.name,
        |old, new| {
            diff.stages.extend(stage_change(old, new));
            true
        },
    );
    changes.compare("processor", &merges(old), &merges(new), |merge| &merge.name, |a, b| a == b);
    changes.compare("exporter", &old.exporters, &new.exporters, |exporter| &exporter.name, |a, b| a == b);
    changes.compare(
        "pipeline",
        &old.pipelines,
        &new.pipelines,
        |pipeline| &pipeline.name,
        |old, new| {
            let names = |steps: &[Step]| steps.iter().map(|step| step_name(step).to_owned()).collect::<Vec<_>>();
            let ends = |pipeline: &Pipeline| (pipeline.receivers.clone(), pipeline.exporters.clone());
            ends(old) == ends(new) && names(&old.steps) == names(&new.steps)
        },
    );
    let found = changes.found.len();
    changes.compare(
        "extension",
        &old.health_checks,
        &new.health_checks,
        |health_check| &health_check.name,
        |a, b| a == b,
    );
    changes.found.iter_mut().skip(found).for_each(|change| change.restart = Some(OWN_ADDRESS));
    changes.setting("\"dead_letter\"", old.dead_letter == new.dead_letter, Some(OPEN_FILE));
    changes.setting("\"memory_limiter\"", old.memory == new.memory, None);
    changes.setting("\"service.telemetry.metrics\"", old.metrics_address == new.metrics_address, Some(OWN_ADDRESS));
    changes.setting(LOG_LEVEL, old.log_level == new.log_level, None);
    changes.setting("\"admin.address\"", old.admin.address == new.admin.address, Some(OWN_ADDRESS));
    changes.setting("\"admin.tls\"", old.admin.tls == new.admin.tls, Some(OWN_ADDRESS));
    changes.setting("\"admin.data_access\"", old.admin.data_access == new.admin.data_access, None);
    diff.others = changes.found;
    diff.stages.sort_by_key(|change| change.place);
    diff
}

fn stage_change(old: &Stage, new: &Stage) -> Option<StageChange> {
    let change = StageChange {
        name: new.name.clone(),
        place: new.place,
        component: old.component != new.component,
        config: old.config != new.config,
        keys: old.keys != new.keys,
        grants: old.grants != new.grants,
        tables: old.tables != new.tables,
        limits: old.limits != new.limits,
        on_fault: old.on_fault != new.on_fault,
    };
    let StageChange { component, config, keys, grants, tables, limits, on_fault, .. } = change;
    (component || config || keys || grants || tables || limits || on_fault).then_some(change)
}

fn step_name(step: &Step) -> &str {
    match step {
        Step::Guest(name) => name,
        Step::Merge(merge) => &merge.name,
        Step::Sample(sampler) => &sampler.name,
    }
}

/// Each `batch` once, whatever the number of pipelines.
fn merges(config: &Config) -> Vec<&Merge> {
    let steps = config.pipelines.iter().flat_map(|pipeline| &pipeline.steps);
    let merges = steps.filter_map(|step| match step {
        Step::Merge(merge) => Some(&**merge),
        Step::Guest(_) | Step::Sample(_) => None,
    });
    once(merges, |merge| &merge.name)
}

/// Each `tail_sampling` once, whatever the number of pipelines.
fn samplers(config: &Config) -> Vec<&TailSampling> {
    once(config.samplers().map(|(_, sampler)| &**sampler), |sampler| &sampler.name)
}

/// The first of each name.
fn once<'a, T>(all: impl Iterator<Item = &'a T>, name: impl Fn(&T) -> &str) -> Vec<&'a T> {
    let mut firsts: Vec<&T> = Vec::new();
    for one in all {
        if firsts.iter().all(|first| name(first) != name(one)) {
            firsts.push(one);
        }
    }
    firsts
}

struct Changes<'a> {
    old: &'a Lines,
    new: &'a Lines,
    found: Vec<Change>,
}

impl ChangeKind {
    /// As the history has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            ChangeKind::Added => "added",
            ChangeKind::Removed => "removed",
            ChangeKind::Changed => "changed",
        }
    }
}

impl Changes<'_> {
    fn compare<T>(
        &mut self,
        what: &str,
        old: &[T],
        new: &[T],
        name: impl Fn(&T) -> &str,
        mut same: impl FnMut(&T, &T) -> bool,
    ) {
        for part in new {
            let before = old.iter().find(|before| name(before) == name(part));
            let kind = match before {
                None => ChangeKind::Added,
                Some(before) if !same(before, part) => ChangeKind::Changed,
                Some(_) => continue,
            };
            self.push(format!("{what} \"{}\"", name(part)), kind);
        }
        for part in old {
            if new.iter().all(|after| name(after) != name(part)) {
                self.push(format!("{what} \"{}\"", name(part)), ChangeKind::Removed);
            }
        }
    }

    fn setting(&mut self, part: &str, same: bool, restart: Option<&'static str>) {
        if !same {
            self.push(part.to_owned(), ChangeKind::Changed);
            self.found.iter_mut().filter(|change| change.part == part).for_each(|change| change.restart = restart);
        }
    }

    /// A sampler that goes on in a pipeline does so on the threads that it has.
    fn resharded(&mut self, old: &Config, new: &Config) {
        for (pipeline, after) in new.samplers() {
            let is_it =
                |(of, before): &(&Pipeline, &Arc<TailSampling>)| of.name == pipeline.name && before.name == after.name;
            if old.samplers().find(is_it).is_some_and(|(_, before)| before.shards != after.shards) {
                self.setting(&format!("processor \"{}\"", after.name), false, Some(OTHER_SHARDS));
            }
        }
    }

    fn push(&mut self, part: String, kind: ChangeKind) {
        let lines = if kind == ChangeKind::Removed { self.old } else { self.new };
        let place = lines.0.get(&part).copied();
        if self.found.iter().any(|change| change.part == part) {
            return;
        }
        self.found.push(Change { part, place, kind, restart: None });
    }
}

#[cfg(test)]
mod tests;

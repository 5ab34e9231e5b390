//! What is done to each batch: components of attributes that are read together, written once each, and keys found by patterns.

use std::collections::BTreeMap;

use sluicebox_guest::{Batch, Field, Level, NewValue, Place, Rule, Signal};

use crate::config::{Action, Config, Digest, Kind, Root};
use crate::hash::Hasher;
use crate::matching::Conditions;
use crate::operation::Component;
use crate::patterns::Patterns;

/// Paths that can be read together.
const PATHS_MAX: usize = 16;

/// Everything that was configured, opened.
#[derive(Debug)]
pub struct Plan {
    conditions: Conditions,
    components: Vec<Component>,
    patterns: Option<Patterns>,
    hashers: Vec<Hasher>,
    rules: Vec<Rule>,
    targets: Vec<Target>,
}

/// The attributes of one level, and a part for each component.
#[derive(Debug)]
struct Target {
    /// None: those of all signals.
    signal: Option<Signal>,
    level: Level,
    place: Place,
    parts: Vec<Part>,
}

/// The fields of a component.
#[derive(Debug)]
struct Part {
    /// The component's attributes and what conditions read; None where the only attribute is all there is to read.
    by: Option<Field>,
    /// The component's attributes, those that may be written.
    fields: Vec<Option<Field>>,
}

impl Plan {
    /// Opens fields, rules and keys. The errors are all that were found.
    pub fn new(config: Config) -> Result<Plan, Vec<String>> {
        let Config { root, actions, include, exclude } = config;
        let conditions = Conditions::new(include, exclude);
        let signals = conditions.signals();
        if signals.is_empty() {
            return Err(vec!["include and exclude: no signal has what both of them match".to_owned()]);
        }
        let digests = digests(&actions);
        let components = Component::all(&actions, &digests);
        let mut errors = Vec::new();
        let rules = each(actions.iter(), &mut errors, |action| {
            Rule::open(&action.name).map_err(|why| format!("{}: {why}", action.name))
        });
        let hashers = each(digests.iter(), &mut errors, |digest| {
            Hasher::open(digest).map_err(|why| format!("{}: {why}", user_of(digest, &actions)))
        });
        let mut targets = match root {
            Root::Resource => vec![Target::new(None, Level::Resource, Place::ResourceAttributes)],
            Root::Items => signals.iter().filter_map(|signal| Target::of_items(*signal)).collect(),
        };
        for target in &mut targets {
            target.parts = each(components.iter(), &mut errors, |component| {
                let open = target.open(component, &conditions);
                open.map_err(|why| format!("{}: {why}", users_of(component, &actions)))
            });
        }
        // Signals mostly fail alike.
        errors.dedup();
        let patterns = Patterns::new(&actions, &digests);
        let plan = Plan { conditions, components, patterns, hashers, rules, targets };
        if errors.is_empty() { Ok(plan) } else { Err(errors) }
    }

    pub fn apply(&mut self, batch: &Batch) -> Result<(), String> {
        let Plan { conditions, components, patterns, hashers, rules, targets } = self;
        let signal = batch.signal();
        let Some(target) = targets.iter().find(|target| target.signal.is_none_or(|of| of == signal)) else {
            return match signal {
                Signal::Profiles => Ok(()),
                _ => Err("include or exclude matches what this signal does not have; give its pipeline a processor of its own"
                    .to_owned()),
            };
        };
        for (component, part) in components.iter().zip(&target.parts) {
            part.apply(batch, component, conditions, rules, hashers);
        }
        if let Some(patterns) = patterns {
            patterns.apply(batch, target.place, target.level, rules, hashers);
        }
        hashers.iter_mut().for_each(Hasher::forget);
        Ok(())
    }
}

impl Target {
    fn new(signal: Option<Signal>, level: Level, place: Place) -> Target {
        Target { signal, level, place, parts: Vec::new() }
    }

    fn of_items(signal: Signal) -> Option<Target> {
        let (level, place) = match signal {
            Signal::Traces => (Level::Span, Place::SpanAttributes),
            Signal::Metrics => (Level::DataPoint, Place::DatapointAttributes),
            Signal::Logs => (Level::Log, Place::LogAttributes),
            Signal::Profiles => return None,
        };
        Some(Target::new(Some(signal), level, place))
    }

    fn open(&self, component: &Component, conditions: &Conditions) -> Result<Part, String> {
        let path = |key: &String| format!("{}.attributes[{}]", self.level.as_str(), quoted(key));
        let mut paths: Vec<String> = component.keys.iter().map(path).collect();
        let open =
            |(key, path): (usize, &String)| component.writes(key).then(|| Field::open_to_write(path)).transpose();
        let fields = paths.iter().enumerate().map(open).collect::<Result<Vec<_>, _>>()?;
        paths.extend(self.signal.iter().flat_map(|signal| conditions.paths(*signal)));
        if paths.len() > PATHS_MAX {
            return Err(format!(
                "{} fields depend on each other here, at most {PATHS_MAX} can be read together; use two processors",
                paths.len()
            ));
        }
        let is_alone = paths.len() == 1 && fields.first().is_some_and(Option::is_some);
        let texts: Vec<&str> = paths.iter().map(String::as_str).collect();
        let by = if is_alone { None } else { Some(Field::open(&texts)?) };
        Ok(Part { by, fields })
    }
}

impl Part {
    fn apply(
        &self,
        batch: &Batch,
        component: &Component,
        conditions: &Conditions,
        rules: &[Rule],
        hashers: &mut [Hasher],
    ) {
        let alone = self.fields.first().and_then(Option::as_ref);
        let Some(by) = self.by.as_ref().or(alone) else { return };
        let values = batch.values(by);
        for (key, hasher) in component.hashed() {
            hashers[hasher].prepare(values.tuples().map(|tuple| tuple.get(key)));
        }
        // Each attribute is written once for each entry, in the name of the action that changed it last.
        let mut writes: BTreeMap<(usize, usize), Vec<(u32, NewValue)>> = BTreeMap::new();
        for (entry, tuple) in (0..).zip(values.tuples()) {
            if !conditions.allow(tuple, component.keys.len()) {
                continue;
            }
            for (key, cell) in component.run(tuple, hashers).into_iter().enumerate() {
                if let Some(action) = cell.changed_by
                    && cell.get() != tuple.get(key)
                    && let Some(value) = cell.into_made()
                {
                    writes.entry((action, key)).or_default().push((entry, value));
                }
            }
        }
        for ((action, key), entries) in &writes {
            if let Some(field) = &self.fields[*key] {
                let entries = entries.iter().map(|(entry, value)| (*entry, value.as_value()));
                batch.set_entries(field, by, entries, &rules[*action]);
            }
        }
    }
}

/// A key as paths have it.
pub fn quoted(key: &str) -> String {
    format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))
}

/// All that can be made, and the errors of the others.
fn each<T, U>(
    items: impl Iterator<Item = T>,
    errors: &mut Vec<String>,
    make: impl Fn(T) -> Result<U, String>,
) -> Vec<U> {
    items.filter_map(|item| make(item).map_err(|error| errors.push(error)).ok()).collect()
}

/// The different ways of hashing.
fn digests(actions: &[Action]) -> Vec<Digest> {
    let mut digests: Vec<Digest> = Vec::new();
    for action in actions {
        if let Kind::Hash { digest, .. } = &action.kind
            && !digests.contains(digest)
        {
            digests.push(digest.clone());
        }
    }
    digests
}

/// Where a hash key is named first.
fn user_of(digest: &Digest, actions: &[Action]) -> String {
    let uses = |action: &&Action| matches!(&action.kind, Kind::Hash { digest: of, .. } if of == digest);
    actions.iter().find(uses).map_or_else(String::new, |action| format!("{}.hmac_key", action.name))
}

/// The actions of a component.
fn users_of(component: &Component, actions: &[Action]) -> String {
    let mut names: Vec<&str> = component
        .operations
        .iter()
        .filter_map(|operation| actions.get(operation.action))
        .map(|one| one.name.as_str())
        .collect();
    names.dedup();
    names.join(", ")
}

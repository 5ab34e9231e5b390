//! Actions on attributes whose keys the configuration names, in a form that is run on one combination of their values.

use go_regex::Regex;
use sluicebox_guest::{NewValue, Tuple, Value};

use crate::config::{Action, Conversion, Digest, Kind, Source};
use crate::hash::Hasher;

/// Attributes that depend on each other, and what is done to them, in order. Components do not depend on each other.
#[derive(Debug)]
pub struct Component {
    pub keys: Vec<String>,
    pub operations: Vec<Operation>,
}

/// A step of an action. Keys are positions in the component.
#[derive(Debug)]
pub struct Operation {
    /// The number of the action.
    pub action: usize,
    change: Change,
}

#[derive(Debug)]
enum Change {
    Put { key: usize, when: When, from: Option<usize>, fallback: Option<NewValue> },
    Delete { key: usize },
    Hash { key: usize, hasher: usize },
    Extract { key: usize, pattern: Regex, targets: Vec<usize> },
    Convert { key: usize, to: Conversion },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Absent,
    Present,
    Always,
}

/// An attribute while actions run.
#[derive(Debug)]
pub struct Cell<'a> {
    held: Held<'a>,
    /// The action that changed it last.
    pub changed_by: Option<usize>,
}

#[derive(Debug)]
enum Held<'a> {
    Given(Value<'a>),
    Made(NewValue),
}

impl Component {
    /// Splits what actions do to attributes that they name into components. `digests` are the hashers, by number.
    pub fn all(actions: &[Action], digests: &[Digest]) -> Vec<Component> {
        let mut keys: Vec<&str> = Vec::new();
        for key in actions.iter().flat_map(Action::keys) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let groups = groups(actions, &keys);
        let mut components: Vec<(usize, Component)> = Vec::new();
        let mut places = Vec::with_capacity(keys.len());
        for (key, group) in keys.iter().zip(&groups) {
            let at = components.iter().position(|(of, _)| of == group).unwrap_or(components.len());
            if at == components.len() {
                components.push((*group, Component { keys: Vec::new(), operations: Vec::new() }));
            }
            places.push((at, components[at].1.keys.len()));
            components[at].1.keys.push((*key).to_owned());
        }
        for (action, configured) in actions.iter().enumerate() {
            for (key, change) in changes(configured, &keys, &places, digests) {
                components[places[key].0].1.operations.push(Operation { action, change });
            }
        }
        components.into_iter().map(|(_, component)| component).collect()
    }

    /// The component's attributes as they are after the actions, `tuple` beginning with their values before.
    pub fn run<'a>(&self, tuple: Tuple<'a>, hashers: &mut [Hasher]) -> Vec<Cell<'a>> {
        let given = |key| Cell { held: Held::Given(tuple.get(key)), changed_by: None };
        let mut cells: Vec<Cell<'a>> = (0..self.keys.len()).map(given).collect();
        for Operation { action, change } in &self.operations {
            change.apply(&mut cells, *action, hashers);
        }
        cells
    }

    /// Keys and the hashers that they may be hashed with.
    pub fn hashed(&self) -> impl Iterator<Item = (usize, usize)> {
        self.operations.iter().filter_map(|operation| match operation.change {
            Change::Hash { key, hasher } => Some((key, hasher)),
            _ => None,
        })
    }

    /// Whether an attribute may be changed.
    pub fn writes(&self, key: usize) -> bool {
        self.operations.iter().any(|operation| match &operation.change {
            Change::Put { key: of, .. }
            | Change::Delete { key: of }
            | Change::Hash { key: of, .. }
            | Change::Convert { key: of, .. } => *of == key,
            Change::Extract { targets, .. } => targets.contains(&key),
        })
    }
}

impl Cell<'_> {
    pub fn get(&self) -> Value<'_> {
        match &self.held {
            Held::Given(value) => *value,
            Held::Made(value) => value.as_value(),
        }
    }

    /// The value that it was given, if it was.
    pub fn into_made(self) -> Option<NewValue> {
        match self.held {
            Held::Given(_) => None,
            Held::Made(value) => Some(value),
        }
    }

    fn is_there(&self) -> bool {
        !self.get().is_absent()
    }

    fn set(&mut self, value: NewValue, action: usize) {
        self.held = Held::Made(value);
        self.changed_by = Some(action);
    }
}

impl Change {
    fn apply(&self, cells: &mut [Cell<'_>], action: usize, hashers: &mut [Hasher]) {
        match self {
            Change::Put { key, when, from, fallback } => {
                let is_wanted = match when {
                    When::Absent => !cells[*key].is_there(),
                    When::Present => cells[*key].is_there(),
                    When::Always => true,
                };
                let copied = from.map(|from| cells[from].get()).filter(|value| !value.is_absent());
                let value = copied.map(NewValue::from).or_else(|| fallback.clone());
                if let (true, Some(value)) = (is_wanted, value) {
                    cells[*key].set(value, action);
                }
            }
            Change::Delete { key } => {
                if cells[*key].is_there() {
                    cells[*key].set(NewValue::Absent, action);
                }
            }
            Change::Hash { key, hasher } => {
                if cells[*key].is_there() {
                    let value = hashers[*hasher].hash(cells[*key].get());
                    cells[*key].set(value, action);
                }
            }
            Change::Extract { key, pattern, targets } => {
                let found = cells[*key].get().as_str().and_then(|text| pattern.captures(text));
                // A group that took no part in the match gives an empty text, as in Go.
                let group = |found: &go_regex::Captures<'_>, number| {
                    found.get(number).map_or_else(String::new, |group| group.as_str().to_owned())
                };
                let texts: Vec<String> =
                    found.iter().flat_map(|found| (1..=targets.len()).map(|number| group(found, number))).collect();
                for (target, text) in targets.iter().zip(texts) {
                    cells[*target].set(NewValue::Str(text), action);
                }
            }
            Change::Convert { key, to } => {
                if let Some(value) = convert(cells[*key].get(), *to) {
                    cells[*key].set(value, action);
                }
            }
        }
    }
}

/// None where there is nothing to convert, or it cannot be.
fn convert(value: Value<'_>, to: Conversion) -> Option<NewValue> {
    match (to, value) {
        (_, Value::Absent | Value::Unknown)
        | (Conversion::Text, Value::Str(_))
        | (Conversion::Int, Value::Int(_))
        | (Conversion::Double, Value::Double(_)) => None,
        (Conversion::Text, value) => Some(NewValue::Str(collector_text::of(value))),
        (Conversion::Int, Value::Double(double)) => Some(NewValue::Int(double as i64)),
        (Conversion::Int, Value::Bool(bool)) => Some(NewValue::Int(bool.into())),
        (Conversion::Int, Value::Str(text)) => text.parse().ok().map(NewValue::Int),
        (Conversion::Double, Value::Int(int)) => Some(NewValue::Double(int as f64)),
        (Conversion::Double, Value::Bool(bool)) => Some(NewValue::Double(f64::from(bool))),
        (Conversion::Double, Value::Str(text)) => {
            // Digits that make more than a double holds are an error in Go, not infinity.
            let double = text.parse::<f64>().ok()?;
            let is_right = double.is_finite() || !text.contains(|char: char| char.is_ascii_digit());
            is_right.then_some(NewValue::Double(double))
        }
        (Conversion::Int | Conversion::Double, _) => None,
    }
}

/// For each key, a number that is the same for keys that an action brings together.
fn groups(actions: &[Action], keys: &[&str]) -> Vec<usize> {
    let mut groups: Vec<usize> = (0..keys.len()).collect();
    for action in actions {
        let named = action.keys();
        let together: Vec<usize> =
            keys.iter().zip(&groups).filter(|(key, _)| named.contains(key)).map(|(_, group)| *group).collect();
        if let Some(first) = together.first().copied() {
            groups.iter_mut().filter(|group| together.contains(group)).for_each(|group| *group = first);
        }
    }
    groups
}

/// What an action does to keys that are named anywhere, in order; `places` are the components of keys and their positions there.
fn changes(action: &Action, keys: &[&str], places: &[(usize, usize)], digests: &[Digest]) -> Vec<(usize, Change)> {
    let number = |key: &str| keys.iter().position(|known| *known == key);
    let place = |key: &str| number(key).map_or(0, |key| places[key].1);
    let put = |key: &str, source: &Source, when| {
        let Source { attribute, fallback } = source;
        Change::Put { key: place(key), when, from: attribute.as_deref().map(place), fallback: fallback.clone() }
    };
    // The key itself, then all that the pattern finds, which may be the key again.
    let each = |key: &Option<String>, pattern: &Option<Regex>| -> Vec<usize> {
        let found = (0..keys.len()).filter(|at| pattern.as_ref().is_some_and(|pattern| pattern.is_match(keys[*at])));
        key.as_deref().and_then(number).into_iter().chain(found).collect()
    };
    let of = |key: &str, change: Change| number(key).map(|key| (key, change)).into_iter().collect();
    match &action.kind {
        Kind::Insert { key, source } => of(key, put(key, source, When::Absent)),
        Kind::Update { key, source } => of(key, put(key, source, When::Present)),
        Kind::Upsert { key, source } => of(key, put(key, source, When::Always)),
        Kind::Delete { key, pattern } => {
            each(key, pattern).into_iter().map(|key| (key, Change::Delete { key: places[key].1 })).collect()
        }
        Kind::Hash { key, pattern, digest } => {
            let hasher = digests.iter().position(|known| known == digest).unwrap_or(0);
            let keys = each(key, pattern).into_iter();
            keys.map(|key| (key, Change::Hash { key: places[key].1, hasher })).collect()
        }
        Kind::Extract { key, pattern } => {
            let targets = pattern.capture_names().flatten().map(place).collect();
            of(key, Change::Extract { key: place(key), pattern: pattern.clone(), targets })
        }
        Kind::Convert { key, to } => of(key, Change::Convert { key: place(key), to: *to }),
    }
}

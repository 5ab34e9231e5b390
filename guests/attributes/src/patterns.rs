//! Actions whose keys are known only when a batch is there: those that a pattern finds.

use std::collections::HashMap;

use go_regex::Regex;
use sluicebox_guest::{Batch, Contents, Level, NewValue, Place, Rule, Value};

use crate::config::{Action, Digest, Kind};
use crate::hash::Hasher;

/// The actions with patterns, in order, and the keys that they are not for: those that any action names are dealt with there.
#[derive(Debug)]
pub struct Patterns {
    steps: Vec<Step>,
    named: Vec<String>,
}

#[derive(Debug)]
struct Step {
    action: usize,
    pattern: Regex,
    /// The number of the hasher; None deletes.
    hasher: Option<usize>,
}

/// What becomes of a key.
enum Fate {
    Stays,
    /// Removed by this action.
    Goes(usize),
    /// Hashed by these steps, one after the other.
    Hashed(Vec<usize>),
}

/// Edits of leaves by the action that made them last.
type Edits = HashMap<usize, Vec<(u32, NewValue)>>;

impl Patterns {
    /// None where no action has a pattern.
    pub fn new(actions: &[Action], digests: &[Digest]) -> Option<Patterns> {
        let steps: Vec<Step> =
            actions.iter().enumerate().filter_map(|(action, one)| Step::new(action, one, digests)).collect();
        let named = actions.iter().flat_map(Action::keys).map(str::to_owned).collect();
        (!steps.is_empty()).then_some(Patterns { steps, named })
    }

    pub fn apply(&self, batch: &Batch, place: Place, level: Level, rules: &[Rule], hashers: &mut [Hasher]) {
        let contents = batch.contents();
        let mut gone: HashMap<usize, Vec<u32>> = HashMap::new();
        let mut hashed: HashMap<u32, Vec<usize>> = HashMap::new();
        for key in contents.keys().filter(|key| key.place == place && !key.is_nested) {
            let text = match key.text {
                Value::Bytes(bytes) => String::from_utf8_lossy(bytes),
                text => text.as_str().unwrap_or_default().into(),
            };
            match self.fate(&text) {
                Fate::Stays => {}
                Fate::Goes(action) => gone.entry(action).or_default().push(key.number),
                Fate::Hashed(steps) => drop(hashed.insert(key.number, steps)),
            }
        }
        for (action, keys) in &gone {
            batch.remove_keys(keys, &rules[*action]);
        }
        if !hashed.is_empty() {
            self.hash(batch, &contents, &Attributes { place, level, hashed }, rules, hashers);
        }
    }

    fn fate(&self, key: &str) -> Fate {
        let mut hashed = Vec::new();
        if self.named.iter().any(|named| named == key) {
            return Fate::Stays;
        }
        for (number, step) in self.steps.iter().enumerate().filter(|(_, step)| step.pattern.is_match(key)) {
            match step.hasher {
                None => return Fate::Goes(step.action),
                Some(_) => hashed.push(number),
            }
        }
        if hashed.is_empty() { Fate::Stays } else { Fate::Hashed(hashed) }
    }

    /// Hashes the values of keys. What a map under such a key holds cannot be told from what others hold, so a key that has one in this
    /// batch is removed; the elements of lists are hashed one by one.
    fn hash(&self, batch: &Batch, contents: &Contents, of: &Attributes, rules: &[Rule], hashers: &mut [Hasher]) {
        let with_maps = of.keys_with_maps(batch, contents);
        for key in &with_maps {
            let last = of.hashed.get(key).and_then(|steps| steps.last()).map_or(0, |step| self.steps[*step].action);
            batch.remove_keys(&[*key], &rules[last]);
        }
        let leaves = contents.leaves().filter(|leaf| leaf.place == of.place);
        let leaves: Vec<_> = leaves
            .filter_map(|leaf| leaf.key.and_then(|key| of.hashed.get(&key).map(|steps| (key, leaf, steps))))
            .filter(|(key, ..)| !with_maps.contains(key))
            .collect();
        for (number, hasher) in hashers.iter_mut().enumerate() {
            let of_hasher = |steps: &[usize]| steps.iter().any(|step| self.steps[*step].hasher == Some(number));
            hasher.prepare(leaves.iter().filter(|(.., steps)| of_hasher(steps)).map(|(_, leaf, _)| leaf.value));
        }
        let mut edits = Edits::new();
        for (_, leaf, steps) in leaves {
            let mut value = NewValue::from(leaf.value);
            let mut last = 0;
            for step in steps.iter().map(|step| &self.steps[*step]) {
                if let Some(hasher) = step.hasher.and_then(|hasher| hashers.get_mut(hasher)) {
                    value = hasher.hash(value.as_value());
                    last = step.action;
                }
            }
            edits.entry(last).or_default().push((leaf.number, value));
        }
        for (action, edits) in &edits {
            let edits: Vec<(u32, Value<'_>)> = edits.iter().map(|(leaf, value)| (*leaf, value.as_value())).collect();
            batch.replace_leaves(&edits, &rules[*action]);
        }
    }
}

impl Step {
    fn new(action: usize, configured: &Action, digests: &[Digest]) -> Option<Step> {
        let pattern = configured.pattern()?.clone();
        let hasher = match &configured.kind {
            Kind::Hash { digest, .. } => digests.iter().position(|known| known == digest),
            _ => None,
        };
        Some(Step { action, pattern, hasher })
    }
}

/// Attributes of a level whose values are hashed, by the numbers of their keys, and the steps that hash them.
struct Attributes {
    place: Place,
    level: Level,
    hashed: HashMap<u32, Vec<usize>>,
}

impl Attributes {
    /// Keys of which a value may hold a map: where there are maps, those that have a value that is no leaf.
    fn keys_with_maps(&self, batch: &Batch, contents: &Contents) -> Vec<u32> {
        if !contents.keys().any(|key| key.place == self.place && key.is_nested) {
            return Vec::new();
        }
        let mut leaves: HashMap<u32, Vec<u32>> = HashMap::new();
        for leaf in contents.leaves().filter(|leaf| leaf.place == self.place && !leaf.is_nested) {
            if let Some(key) = leaf.key.filter(|key| self.hashed.contains_key(key)) {
                leaves.entry(key).or_default().push(leaf.number);
            }
        }
        let sum = |counts: Vec<u32>| counts.into_iter().map(u64::from).sum::<u64>();
        let keys: Vec<u32> = self.hashed.keys().copied().collect();
        let all_leaves: Vec<u32> = leaves.values().flatten().copied().collect();
        if sum(batch.key_counts(&keys, self.level)) == sum(batch.leaf_counts(&all_leaves, self.level)) {
            return Vec::new();
        }
        let has_other = |key: &u32| {
            let of_key = leaves.get(key).map_or(&[][..], Vec::as_slice);
            sum(batch.key_counts(&[*key], self.level)) != sum(batch.leaf_counts(of_key, self.level))
        };
        keys.into_iter().filter(has_other).collect()
    }
}

//! What traces are told apart by.

use sluicebox_guest::Value;

use crate::call::Call;
use crate::fnv::Fnv;

/// Values of a trace's spans.
#[derive(Clone, Copy, Debug)]
pub struct KeySource {
    /// A tuple of level span.
    pub source: usize,
    /// How many of its values are of the key. Another one is there to make it of level span.
    pub arity: usize,
    /// The ids of the parents, by which roots are known; None where the key is of any span.
    pub parents: Option<usize>,
}

impl KeySource {
    /// One key for each trace.
    pub fn of_traces(&self, call: &Call<'_>) -> Vec<u64> {
        match self.parents {
            Some(parents) => self.of_roots(call, parents),
            None => self.of_all_spans(call),
        }
    }

    /// By the first of the roots, or where there is none, of the spans.
    fn of_roots(&self, call: &Call<'_>, parents: usize) -> Vec<u64> {
        let rows = call.source(self.source).row_values(call.spans());
        let parents = call.source(parents).row_values(call.spans());
        let is_none = |value: Value<'_>| match value {
            Value::Bytes(id) => id.iter().all(|byte| *byte == 0),
            value => value.is_absent(),
        };
        let no_parent: Vec<bool> = parents.values().iter().map(is_none).collect();
        let hashes = self.hashes(rows.values());
        let mut keys: Vec<Option<(bool, u64)>> = vec![None; call.len];
        let spans = call.trace_of().iter().zip(rows.entries()).zip(parents.entries());
        for ((trace, code), parent) in spans {
            let is_root = no_parent.get(*parent as usize).copied().unwrap_or(false);
            let (Some(key), Some((_, hash))) = (keys.get_mut(*trace as usize), hashes.get(*code as usize)) else {
                continue;
            };
            if key.is_none_or(|(of_root, _)| is_root && !of_root) {
                *key = Some((is_root, *hash));
            }
        }
        keys.into_iter().map(|key| key.map_or(0, |(_, hash)| hash)).collect()
    }

    /// By the set of what any span has; a span that has none of it adds nothing.
    fn of_all_spans(&self, call: &Call<'_>) -> Vec<u64> {
        let rows = call.source(self.source).row_values(call.spans());
        let hashes = self.hashes(rows.values());
        let mut pairs: Vec<(u32, u32)> = call.trace_of().iter().copied().zip(rows.entries().iter().copied()).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let mut found: Vec<(u32, u64)> = pairs
            .into_iter()
            .filter_map(|(trace, code)| hashes.get(code as usize).map(|hash| (trace, *hash)))
            .filter_map(|(trace, (is_there, hash))| is_there.then_some((trace, hash)))
            .collect();
        // Entries that differ only in what is not of the key have the same hash.
        found.sort_unstable();
        found.dedup();
        let mut keys = vec![Fnv::new(); call.len];
        for (trace, hash) in found {
            if let Some(key) = keys.get_mut(trace as usize) {
                *key = key.bytes(&hash.to_le_bytes());
            }
        }
        keys.into_iter().map(|key| key.0).collect()
    }

    /// Of each entry: whether any of its values is there, and their hash.
    fn hashes(&self, values: &sluicebox_guest::Values) -> Vec<(bool, u64)> {
        let hash = |tuple: sluicebox_guest::Tuple<'_>| {
            let values = (0..self.arity).map(|position| tuple.get(position));
            values
                .fold((false, Fnv::new()), |(is_there, hash), value| (is_there | !value.is_absent(), hash.value(value)))
        };
        values.tuples().map(hash).map(|(is_there, hash)| (is_there, hash.0)).collect()
    }
}

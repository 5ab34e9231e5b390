//! Maps and lists under blocked keys: their leaves do not say what they lie in, so keys that hold maps go altogether.

use std::collections::HashSet;

use sluicebox_guest::{Batch, Contents, Field, Place, Value};

use crate::keys::{Fate, Note};

/// As deep as anything is shown.
const DEPTH_MAX: usize = 64;

/// Marks hidden keys as removed where hiding their leaves would not hide all that they hold.
pub fn remove_opaque(batch: &Batch, contents: &Contents, body: Option<&Field>, notes: &mut [Note<'_>]) {
    let hidden: Vec<usize> = (0..notes.len()).filter(|at| notes[*at].fate == Fate::Hidden).collect();
    if hidden.is_empty() {
        return;
    }
    let maps_in_bodies = maps_in_bodies(batch, body, notes);
    for at in hidden {
        let note = &notes[at];
        let is_opaque = match (note.place, note.is_nested) {
            (Place::LogBody, _) => maps_in_bodies.contains(note.text),
            (_, true) => true,
            (place, false) => has_maps(notes, place) && !holds_scalars_only(batch, contents, at as u32 + 1, place),
        };
        if is_opaque {
            notes[at].fate = Fate::Removed;
        }
    }
}

/// Without maps at a place, everything within an attribute has the attribute's key.
fn has_maps(notes: &[Note<'_>], place: Place) -> bool {
    notes.iter().any(|note| note.place == place && note.is_nested)
}

/// Whether each row has the key as often as a value right under it.
fn holds_scalars_only(batch: &Batch, contents: &Contents, key: u32, place: Place) -> bool {
    let Some(level) = place.level() else { return false };
    let is_scalar = |leaf: &sluicebox_guest::Leaf<'_>| leaf.key == Some(key) && !leaf.is_nested;
    let leaves: Vec<u32> = contents.leaves().filter(is_scalar).map(|leaf| leaf.number).collect();
    batch.key_counts(&[key], level) == batch.leaf_counts(&leaves, level)
}

/// Hidden keys of bodies that hold a map somewhere, at any depth of lists.
fn maps_in_bodies<'n>(batch: &Batch, body: Option<&Field>, notes: &[Note<'n>]) -> HashSet<&'n [u8]> {
    let is_hidden = |note: &&Note<'n>| note.place == Place::LogBody && note.fate == Fate::Hidden;
    let hidden: HashSet<&[u8]> = notes.iter().filter(is_hidden).map(|note| note.text).collect();
    let mut found = HashSet::new();
    let Some(body) = body.filter(|_| !hidden.is_empty()) else { return hidden };
    for value in batch.values(body).iter() {
        walk(value, &hidden, &mut found, DEPTH_MAX);
    }
    found
}

fn walk<'n>(value: Value<'_>, hidden: &HashSet<&'n [u8]>, found: &mut HashSet<&'n [u8]>, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else { return };
    for (key, value) in value.entries() {
        let key = match key {
            Value::Str(text) => text.as_bytes(),
            Value::Bytes(bytes) => bytes,
            _ => &[],
        };
        if let Some(key) = hidden.get(key).filter(|_| has_map(value, depth)) {
            found.insert(*key);
        }
        walk(value, hidden, found, depth);
    }
    for element in value.elements() {
        walk(element, hidden, found, depth);
    }
}

fn has_map(value: Value<'_>, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return true };
    matches!(value, Value::Map(_)) || value.elements().any(|element| has_map(element, depth))
}

//! Contents against two references: a walk over prost's structs, and one over trees of fields by the descriptors.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;

use super::*;
use crate::batch::tests::{PLENTY, Request, for_seeds, generate, rewrite};
use crate::batch::{Batch, Drops, EditError, Edits, NewValues, Slice};
use crate::signal::Signal;

mod damaged;
mod editing;
mod fields;
mod placement;
mod reading;
mod single;
mod structs;

use self::fields::{Edit, Key, Leaf, Reference, Rows};

/// One to three requests with something in every field, half of them in odd encodings.
fn requests(rng: &mut StdRng) -> (Signal, Vec<Bytes>) {
    let signal = Signal::ALL[rng.random_range(0..3)];
    let segments = (0..rng.random_range(1..4))
        .map(|_| {
            let request = structs::enriched(generate::request(signal, rng), rng).encode();
            let bytes = if rng.random() { rewrite::rewrite(&request, rewrite::schema(signal), rng) } else { request };
            assert!(Request::decode(signal, &bytes).is_ok(), "prost must accept what is generated");
            Bytes::from(bytes)
        })
        .collect();
    (signal, segments)
}

fn indexed(signal: Signal, segments: &[Bytes]) -> Batch {
    let mut batch = Batch::index(signal, segments.to_vec()).expect("prost accepts it");
    batch.ensure(Level::Event).expect("prost accepts it");
    batch
}

fn read(batch: &Batch, slice: &Slice) -> Contents {
    let mut contents = Contents::default();
    assert_eq!(batch.read_contents(slice, &mut contents, &mut { PLENTY }), Ok(0), "nothing is malformed");
    contents
}

/// Every leaf and every key by its number, the absent ones included.
fn listed(contents: &mut Contents) -> (Vec<Leaf>, Vec<Key>) {
    let leaves = contents.take_leaves();
    let keys: Vec<Key> =
        (0..).zip(&leaves.key_places).map(|(number, place)| (*place, leaves.keys.get(number).1.to_vec())).collect();
    let text_kind = |bytes: &[u8]| if std::str::from_utf8(bytes).is_ok() { 1 } else { 5 };
    assert!((1..).zip(keys.iter().skip(1)).all(|(number, key)| leaves.keys.get(number).0 == text_kind(&key.1)));
    let listed = (0..).zip(leaves.places.iter().zip(&leaves.key_of)).map(|(number, (place, key))| {
        let (kind, bytes) = leaves.data.get(number);
        let text = (*key != 0).then(|| keys[*key as usize].clone());
        let of_key = keys[*key as usize].0;
        assert!(*key == 0 || [of_key, of_key | 128].contains(place), "a leaf is where its key is, or in a list there");
        (*place, text, kind, bytes.to_vec())
    });
    let listed = listed.collect();
    contents.give_back(leaves);
    (listed, keys)
}

/// The walk over trees of fields, of all segments.
fn reference<'a>(
    signal: Signal,
    segments: &[Bytes],
    edit: Edit<'a>,
    is_shown: &'a dyn Fn(&Rows) -> bool,
) -> (Reference<'a>, Vec<Vec<u8>>) {
    let mut reference = Reference::new(edit, is_shown);
    let out = segments.iter().enumerate().map(|(number, bytes)| reference.request(signal, number, bytes)).collect();
    (reference, out)
}

/// Whether a row is in the slice: an item or what is below it, a resource or scope that it shows.
fn is_in(batch: &Batch, slice: &Slice, rows: &Rows) -> bool {
    match (rows.item, rows.scope, rows.resource) {
        (Some(item), ..) => slice.items.contains(&item),
        (_, Some(scope), _) => slice.scopes.contains(&scope),
        (_, _, Some(resource)) => slice.resources.contains(&resource),
        // The request's own: with the first item, or where there is none the first resource; without rows in the first slice.
        _ => {
            let (items, resources) = (batch.items_of(rows.segment), batch.index.resources_of(rows.segment));
            match (items.is_empty(), resources.is_empty()) {
                (false, _) => slice.items.contains(&items.start),
                (true, false) => slice.resources.contains(&resources.start),
                (true, true) => slice.items.start == 0,
            }
        }
    }
}

//! Edits of contents, byte for byte against the same made on trees of fields.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};

use super::*;

/// A number that depends on what it is of only, so that all slices choose alike.
fn choice(seed: u64, of: &impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((seed, of))
}

/// What a third of the leaves become.
fn replacement(seed: u64, leaf: &Leaf) -> Option<(u8, Vec<u8>)> {
    let choice = choice(seed, leaf);
    let is_any_value = leaf.1.is_some() || leaf.0 & 127 == 19;
    let text =
        || ["", "***", "a far longer text than most of those that are replaced by it"][choice as usize / 64 % 3].into();
    choice.is_multiple_of(3).then(|| match choice / 4 % 7 {
        0 if is_any_value => (2, vec![1]),
        1 if is_any_value => (3, (-5_i64).to_le_bytes().to_vec()),
        2 if is_any_value => (4, 0.5_f64.to_le_bytes().to_vec()),
        3 if is_any_value => (5, vec![0xff; 3]),
        4 if is_any_value => (8, Vec::new()),
        _ => (1, text()),
    })
}

fn new_name(seed: u64, key: &Key) -> Option<Vec<u8>> {
    let choice = choice(seed, key);
    choice.is_multiple_of(2).then(|| ["", "renamed", "k"][choice as usize / 2 % 3].into())
}

struct Owned {
    kinds: Vec<u8>,
    offsets: Vec<u32>,
    bytes: Vec<u8>,
}

impl Owned {
    fn of(values: impl Iterator<Item = (u8, Vec<u8>)>) -> Owned {
        let mut owned = Owned { kinds: Vec::new(), offsets: vec![0], bytes: Vec::new() };
        for (kind, bytes) in values {
            owned.kinds.push(kind);
            owned.bytes.extend(bytes);
            owned.offsets.push(owned.bytes.len() as u32);
        }
        owned
    }

    fn values(&self) -> NewValues<'_> {
        NewValues::new(&self.kinds, &self.offsets, &self.bytes).expect("legal")
    }
}

/// Numbers and what they become.
fn chosen<T, U>(listed: &[T], of: impl Fn(&T) -> Option<U>) -> (Vec<u32>, Vec<U>) {
    (1..).zip(&listed[1..]).filter_map(|(number, what)| Some((number, of(what)?))).unzip()
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Replace,
    RemoveKeys,
    RenameKeys,
    RemoveUnjudgeable,
}

const ALL: [What; 4] = [What::Replace, What::RemoveKeys, What::RenameKeys, What::RemoveUnjudgeable];

fn make(what: What, seed: u64, batch: &Batch, contents: &mut Contents, edits: &mut Edits) -> u64 {
    let (leaves, keys) = listed(contents);
    let left = &mut { PLENTY };
    let made = match what {
        What::Replace => {
            let (which, values) = chosen(&leaves, |leaf| replacement(seed, leaf));
            let to = Owned::of(values.into_iter());
            batch.replace_leaves(contents, &which, &to.values(), edits, left)
        }
        What::RemoveKeys => {
            let (which, _) = chosen(&keys, |key| new_name(seed, key));
            batch.remove_keys(contents, &which, edits, left)
        }
        What::RenameKeys => {
            let (which, names) = chosen(&keys, |key| new_name(seed, key));
            let to = Owned::of(names.into_iter().map(|name| (1, name)));
            batch.rename_keys(contents, &which, &to.values(), edits, left)
        }
        What::RemoveUnjudgeable => batch.remove_unjudgeable(contents, edits, left),
    };
    made.expect("legal")
}

#[test]
fn edits_change_what_they_name_and_nothing_else() {
    for_seeds(400, |rng| {
        let (signal, segments) = requests(rng);
        let mut batch = indexed(signal, &segments);
        let (what, seed) = (ALL[rng.random_range(0..4)], rng.random());
        let slices: Vec<Slice> = match rng.random() {
            true => vec![batch.slice(0..batch.items())],
            false => {
                batch.slices(rng.random_range(1..6), 100_000).into_iter().map(|items| batch.slice(items)).collect()
            }
        };
        let (mut all, mut places) = (Edits::default(), 0);
        for slice in &slices {
            let mut edits = Edits::default();
            places += make(what, seed, &batch, &mut read(&batch, slice), &mut edits);
            all.append(edits);
        }
        let replace = |leaf: &Leaf| replacement(seed, leaf);
        let remove = |key: &Key| new_name(seed, key).is_some();
        let rename = |key: &Key| new_name(seed, key);
        let edit = match what {
            What::Replace => Edit::Replace(&replace),
            What::RemoveKeys => Edit::RemoveKeys(&remove),
            What::RenameKeys => Edit::RenameKeys(&rename),
            What::RemoveUnjudgeable => Edit::RemoveUnjudgeable,
        };
        let shown = |rows: &Rows| slices.iter().any(|slice| is_in(&batch, slice, rows));
        let (found, expected) = reference(signal, &segments, edit, &shown);
        if slices.len() == 1 {
            let in_leaves = found.leaves.iter().filter(|(leaf, rows)| replace(leaf).is_some() && shown(rows)).count();
            let in_keys = found.keys.iter().filter(|(key, rows)| remove(key) && shown(rows)).count();
            let counted = match what {
                What::Replace => in_leaves,
                What::RemoveKeys | What::RenameKeys => in_keys,
                What::RemoveUnjudgeable => found.unjudgeable.iter().filter(|rows| shown(rows)).count(),
            };
            assert_eq!(places, counted as u64);
        }
        batch.apply(Drops::new(&batch), all).expect("no conflict");
        let left = batch.into_segments().expect("fits");
        assert_eq!(left.iter().map(|segment| segment.bytes.to_vec()).collect::<Vec<_>>(), expected);
        for segment in left {
            assert!(Request::decode(signal, &segment.bytes).is_ok(), "still a request");
        }
    });
}

#[test]
fn edits_of_all_kinds_together() {
    for_seeds(300, |rng| {
        let (signal, segments) = requests(rng);
        let mut batch = indexed(signal, &segments);
        let slice = batch.slice(0..batch.items());
        let mut contents = read(&batch, &slice);
        let (_, keys_before) = listed(&mut contents);
        let seed: u64 = rng.random();
        let mut edits = Edits::default();
        for what in [What::RemoveUnjudgeable, What::Replace, What::RenameKeys] {
            make(what, seed, &batch, &mut contents, &mut edits);
        }
        let gone = |key: &Key| choice(seed + 1, key).is_multiple_of(4);
        let (which, _) = chosen(&keys_before, |key| gone(key).then_some(()));
        batch.remove_keys(&contents, &which, &mut edits, &mut { PLENTY }).expect("legal");
        batch.apply(Drops::new(&batch), edits).expect("no conflict");
        batch.settle().expect("can be read");
        let slice = batch.slice(0..batch.items());
        let mut after = read(&batch, &slice);
        assert_eq!(after.unjudgeable(), 0);
        let (leaves, keys) = listed(&mut after);
        let names: HashSet<Key> = keys_before
            .iter()
            .filter(|key| !gone(key))
            .map(|key| (key.0, new_name(seed, key).unwrap_or_else(|| key.1.clone())))
            .collect();
        assert!(
            keys[1..].iter().all(|key| names.contains(key)),
            "what is removed is gone, what is renamed has its name"
        );
        let texts: HashSet<(u8, Vec<u8>)> = listed(&mut contents)
            .0
            .into_iter()
            .map(|leaf| replacement(seed, &leaf).unwrap_or((leaf.2, leaf.3)))
            .collect();
        let is_zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        for (.., kind, bytes) in &leaves[1..] {
            assert!(texts.contains(&(*kind, bytes.clone())) || is_zeros(bytes), "no leaf stays that was replaced");
        }
    });
}

#[test]
fn edits_that_cannot_be_made() {
    // A span with a name and an attribute.
    let segment = Bytes::from_static(b"\x0a\x15\x12\x13\x12\x11\x2a\x04name\x4a\x09\x0a\x01k\x12\x04\x0a\x02te");
    let batch = indexed(Signal::Traces, &[segment]);
    let slice = batch.slice(0..1);
    let mut contents = read(&batch, &slice);
    let (leaves, keys) = listed(&mut contents);
    let number = |place: u8| leaves.iter().position(|leaf| leaf.0 == place).expect("is there") as u32;
    let (name, value) = (number(8), number(10));
    assert_eq!((leaves.len(), keys.len()), (3, 2));
    let replace = |which: &[u32], values: &[(u8, &[u8])], left: &mut u64| {
        let to = Owned::of(values.iter().map(|(kind, bytes)| (*kind, bytes.to_vec())));
        let mut edits = Edits::default();
        batch.replace_leaves(&contents, which, &to.values(), &mut edits, left)
    };
    let left = &mut { PLENTY };
    assert_eq!(replace(&[name, value], &[(1, b"x"), (8, b"")], left), Ok(2));
    let bad = |result: Result<u64, EditError>| assert!(matches!(result, Err(EditError::BadValue(_))), "{result:?}");
    for kind in [0, 2, 3, 4, 5, 8] {
        let bytes: &[u8] = match kind {
            2 => &[1],
            3 | 4 => &[0; 8],
            _ => b"",
        };
        bad(replace(&[name], &[(kind, bytes)], left));
    }
    bad(replace(&[value], &[(0, b"")], left));
    bad(replace(&[value], &[(6, b"\x2a\x00")], left));
    bad(replace(&[value], &[(7, b"\x32\x00")], left));
    bad(replace(&[0], &[(1, b"")], left));
    bad(replace(&[3], &[(1, b"")], left));
    bad(replace(&[value], &[], left));
    assert_eq!(replace(&[value], &[(1, &[b'x'; 200])], &mut { 200 }), Err(EditError::TooLarge));
    let mut edits = Edits::default();
    bad(batch.remove_keys(&contents, &[2], &mut edits, left));
    bad(batch.rename_keys(&contents, &[1], &Owned::of([(5, vec![0xff])].into_iter()).values(), &mut edits, left));
    assert!(edits.is_empty());
}

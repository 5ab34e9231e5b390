//! What is found, and in which rows.

use super::*;

/// How often each row has each leaf or key.
type Counts<T> = HashMap<T, HashMap<(Level, u32), u32>>;

#[test]
fn contents_are_what_a_walk_over_structs_finds() {
    for_seeds(200, |rng| {
        let signal = Signal::ALL[rng.random_range(0..3)];
        let requests: Vec<Request> =
            (0..rng.random_range(1..4)).map(|_| structs::enriched(generate::request(signal, rng), rng)).collect();
        let segments: Vec<Bytes> = requests.iter().map(|request| Bytes::from(request.encode())).collect();
        let mut found = structs::Found::default();
        requests.iter().enumerate().for_each(|(number, request)| found.add(number, request));
        let batch = indexed(signal, &segments);
        let slice = batch.slice(0..batch.items());
        let shown = |rows: &Rows| is_in(&batch, &slice, rows);
        check(&batch, &slice, &read(&batch, &slice), &found.leaves, &found.keys, &shown);
    });
}

#[test]
fn contents_are_what_a_walk_over_fields_finds_in_any_encoding_and_slice() {
    for_seeds(300, |rng| {
        let (signal, segments) = requests(rng);
        let batch = indexed(signal, &segments);
        let (found, _) = reference(signal, &segments, Edit::Nothing, &|_| true);
        // Whole, in pieces, and reading into the same buffers.
        let mut contents = Contents::default();
        let mut slices = batch.slices(rng.random_range(1..6), 100_000);
        slices.push(0..batch.items());
        for items in slices {
            let slice = batch.slice(items);
            assert_eq!(batch.read_contents(&slice, &mut contents, &mut { PLENTY }), Ok(0), "nothing is malformed");
            let shown = |rows: &Rows| is_in(&batch, &slice, rows);
            check(&batch, &slice, &contents, &found.leaves, &found.keys, &shown);
            let unjudgeable = found.unjudgeable.iter().filter(|rows| shown(rows) && has_first(&found, &slice, rows));
            assert_eq!(contents.unjudgeable(), unjudgeable.count() as u64);
        }
    });
}

/// Whether the slice has the first item of the envelope, or the envelope none.
fn has_first(found: &Reference<'_>, slice: &Slice, rows: &Rows) -> bool {
    // Of requests, that is what decides whether they are shown.
    let of = match (rows.item, rows.scope, rows.resource) {
        (Some(_), ..) => return true,
        (_, Some(scope), _) => (Some(Level::Scope), scope),
        (_, _, Some(resource)) => (Some(Level::Resource), resource),
        _ => return true,
    };
    let items = found.items_of[&of].clone();
    items.is_empty() || slice.items.contains(&items.start)
}

fn check(
    batch: &Batch,
    slice: &Slice,
    contents: &Contents,
    leaves: &[(Leaf, Rows)],
    keys: &[(Key, Rows)],
    shown: &dyn Fn(&Rows) -> bool,
) {
    // The numbers stay valid without the leaves.
    let mut contents_lent = Contents::default();
    batch.read_contents(slice, &mut contents_lent, &mut { PLENTY }).expect("fits");
    let (listed_leaves, listed_keys) = listed(&mut contents_lent);
    drop(contents_lent.take_leaves());
    assert_eq!(contents.leaf_count() as usize, listed_leaves.len());
    for by_buffer in [contents, &contents_lent] {
        let counts = |number: &[u32], level| by_buffer.leaf_counts(batch, slice, number, level);
        let rows = |number: &[u32], level| by_buffer.where_leaves(batch, slice, number, level);
        check_numbers(batch, slice, &listed_leaves, leaves, shown, &counts, &rows);
        let counts = |number: &[u32], level| by_buffer.key_counts(batch, slice, number, level);
        let rows = |number: &[u32], level| by_buffer.where_keys(batch, slice, number, level);
        check_numbers(batch, slice, &listed_keys, keys, shown, &counts, &rows);
    }
}

fn check_numbers<T: Clone + Eq + std::hash::Hash + std::fmt::Debug>(
    batch: &Batch,
    slice: &Slice,
    listed: &[T],
    expected: &[(T, Rows)],
    shown: &dyn Fn(&Rows) -> bool,
    counts: &dyn Fn(&[u32], Level) -> Vec<u32>,
    rows: &dyn Fn(&[u32], Level) -> crate::batch::RowSet,
) {
    let expected: Vec<&(T, Rows)> = expected.iter().filter(|(_, rows)| shown(rows)).collect();
    let different: HashSet<&T> = expected.iter().map(|(what, _)| what).collect();
    assert_eq!(listed[1..].iter().collect::<HashSet<_>>(), different);
    assert_eq!(listed.len() - 1, different.len(), "each once");
    let mut by_row: Counts<T> = HashMap::new();
    for (what, rows) in &expected {
        let row = rows.own().expect("no text of the request's own");
        *by_row.entry(what.clone()).or_default().entry(row).or_default() += 1;
    }
    for level in Level::ALL.into_iter().filter(|level| level.exists_in(batch.signal())) {
        let first = batch.index.rows_of(slice, level).expect("available").start;
        for (number, what) in (1..).zip(&listed[1..]) {
            let found: HashMap<(Level, u32), u32> = (first..)
                .zip(counts(&[number], level))
                .filter(|(_, count)| *count > 0)
                .map(|(row, count)| ((level, row), count))
                .collect();
            let expected_here = by_row[what].iter().filter(|((of, _), _)| *of == level);
            assert_eq!(found, expected_here.map(|(row, count)| (*row, *count)).collect(), "{what:?} {level:?}");
            let found: HashSet<u32> = rows(&[number], level).iter().map(|row| first + row).collect();
            let with = expected.iter().filter(|(of, _)| of == what).filter_map(|(_, rows)| rows.at(level));
            assert_eq!(found, with.collect(), "{what:?} {level:?}");
        }
        let all: Vec<u32> = (0..listed.len() as u32 + 3).collect();
        let total: u32 = counts(&all, level).iter().sum();
        let of_level = expected.iter().filter(|(_, rows)| rows.own().is_some_and(|(of, _)| of == level));
        assert_eq!(total as usize, of_level.count(), "several at once, and numbers that there are not");
    }
}

#[test]
fn what_was_dropped_is_not_found() {
    for_seeds(150, |rng| {
        let (signal, segments) = requests(rng);
        let mut batch = indexed(signal, &segments);
        let mut drops = Drops::new(&batch);
        let slice = batch.slice(0..batch.items());
        for level in Level::ALL.into_iter().filter(|level| level.exists_in(signal) && *level >= Level::Item) {
            let mut rows = crate::batch::RowSet::empty(level, batch.rows(&slice, level));
            (0..rows.len()).filter(|_| rng.random_ratio(1, 3)).for_each(|row| rows.insert(row));
            drops.add(&batch, &slice, &rows);
        }
        batch.apply(drops, Edits::default()).expect("no edits");
        let slice = batch.slice(0..batch.items());
        let contents = read(&batch, &slice);
        let bytes: Vec<Bytes> = batch_bytes(&batch);
        let fresh = indexed(signal, &bytes);
        let slice_of_fresh = fresh.slice(0..fresh.items());
        let (found, _) = reference(signal, &bytes, Edit::Nothing, &|_| true);
        let shown = |rows: &Rows| is_in(&fresh, &slice_of_fresh, rows);
        let expected: usize = found.leaves.iter().filter(|(_, rows)| shown(rows)).count();
        let all: Vec<u32> = (0..contents.leaf_count()).collect();
        let levels = Level::ALL.into_iter().filter(|level| level.exists_in(signal));
        let counted: u32 = levels.flat_map(|level| contents.leaf_counts(&batch, &slice, &all, level)).sum();
        assert_eq!(counted as usize, expected);
        assert_eq!(contents.leaf_count(), read(&fresh, &slice_of_fresh).leaf_count());
    });
}

/// What would leave now.
fn batch_bytes(batch: &Batch) -> Vec<Bytes> {
    let none = crate::batch::edits::Changes::default();
    let sources = batch.segments.iter().enumerate();
    sources.map(|(number, source)| source.spliced(&batch.index, number, &none).expect("fits")).collect()
}

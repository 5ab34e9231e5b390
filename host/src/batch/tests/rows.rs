//! Row sets against sets of numbers, and their way between levels.

use std::collections::BTreeSet;

use super::reference::{Node, rows, tree};
use super::*;

#[test]
fn row_sets_are_sets() {
    let numbers = || proptest::collection::btree_set(0_u32..200, 0..100);
    for_values(300, (0_u32..200, numbers(), numbers(), 0_u32..250, 0_u32..250), |(len, a, b, from, to)| {
        let set = |numbers: &BTreeSet<u32>| {
            let mut rows = RowSet::empty(Level::Item, len);
            numbers.iter().for_each(|&row| rows.insert(row));
            rows
        };
        let list = |rows: &RowSet| rows.iter().collect::<Vec<_>>();
        let within = |numbers: BTreeSet<u32>| numbers.into_iter().filter(|&row| row < len).collect::<Vec<_>>();
        let (rows_a, rows_b) = (set(&a), set(&b));
        assert_eq!(list(&rows_a), within(a.clone()));
        assert_eq!(list(&rows_a.and(&rows_b).expect("alike")), within(&a & &b));
        assert_eq!(list(&rows_a.or(&rows_b).expect("alike")), within(&a | &b));
        assert_eq!(list(&rows_a.not()), within(&(0..200).collect() - &a));
        assert_eq!(rows_a.count() as usize, within(a.clone()).len());
        assert_eq!(rows_a.is_empty(), within(a.clone()).is_empty());
        assert_eq!(rows_a.any_in(from..to), (from..to).any(|row| rows_a.contains(row)));
        assert_eq!(rows_a.all_in(from..to), (from..to).all(|row| rows_a.contains(row)));
        assert_eq!(rows_a.count_in(from..to) as usize, (from..to).filter(|&row| rows_a.contains(row)).count());
        let mut grown = rows_a.clone();
        let new = grown.insert_range(from..to);
        assert_eq!(list(&grown), within(&a | &(from..to).collect()));
        assert_eq!(new, grown.count() - rows_a.count());
    });
}

#[test]
fn bitmaps_may_be_too_short_or_too_long() {
    let rows = RowSet::from_bitmap(Level::Item, 10, &[0b1000_0001, 0xff, 0xff]);
    assert_eq!(rows.iter().collect::<Vec<_>>(), [0, 7, 8, 9]);
    assert_eq!(RowSet::from_bitmap(Level::Item, 70, &[2]).iter().collect::<Vec<_>>(), [1]);
    let codes = [0, 1, 9, 8, 70, 1];
    let rows = RowSet::from_codes(Level::Item, &codes, &[0b10, 0b1]);
    assert_eq!((rows.len(), rows.iter().collect::<Vec<_>>()), (6, vec![1, 3, 5]));
    assert_eq!(rows.and(&RowSet::empty(Level::Item, 5)), None);
    assert_eq!(rows.or(&RowSet::empty(Level::Event, 6)), None);
}

#[test]
fn rows_are_lowered_to_all_below_and_lifted_from_any() {
    for_seeds(200, |rng| {
        let (signal, segments) = requests(rng);
        let decoded: Vec<_> =
            segments.iter().map(|bytes| Request::decode(signal, bytes).expect("accepted by prost")).collect();
        let tree: Vec<Node<'_>> = decoded.iter().flat_map(tree).collect();
        let mut batch = Batch::index(signal, segments).expect("prost accepts it");
        let whole = batch.slice(0..batch.items());
        let items = RowSet::empty(Level::Item, batch.items());
        assert_eq!(batch.rows_at(&whole, &items, Level::Event), None, "not yet available");
        batch.ensure(Level::Event).expect("prost accepts it");
        let whole = batch.slice(0..batch.items());
        for from in Level::ALL.into_iter().filter(|level| level.exists_in(signal)) {
            let all_from = rows(&tree, from);
            // Envelopes without items at both ends are not seen.
            if all_from.len() != batch.rows(&whole, from) as usize {
                continue;
            }
            let mut set = RowSet::empty(from, all_from.len() as u32);
            (0..set.len()).filter(|_| rng.random()).for_each(|row| set.insert(row));
            for to in Level::ALL {
                let seen = batch.rows_at(&whole, &set, to);
                let one_branch = from == to || from < Level::Event || to < Level::Event;
                if !to.exists_in(signal) || !one_branch {
                    assert_eq!(seen, None, "{from:?} {to:?}");
                    continue;
                }
                let all_to = rows(&tree, to);
                let seen = seen.expect("one branch");
                if all_to.len() != seen.len() as usize {
                    continue;
                }
                let counts = batch.counts_at(&whole, &set, to);
                assert_eq!(counts.is_some(), from >= to, "{from:?} {to:?}");
                for (row, nodes) in (0..).zip(&all_to) {
                    let depth = nodes.len().min(all_from.first().map_or(0, Vec::len));
                    let related =
                        |other: &Vec<&Node<'_>>| (0..depth).all(|i| std::ptr::eq::<Node<'_>>(other[i], nodes[i]));
                    let expected = (0..).zip(&all_from).any(|(at, other)| set.contains(at) && related(other));
                    assert_eq!(seen.contains(row), expected, "{from:?} {to:?} {row}");
                    if let Some(counts) = &counts {
                        let expected = (0..).zip(&all_from).filter(|&(at, other)| set.contains(at) && related(other));
                        assert_eq!(counts[row as usize] as usize, expected.count(), "{from:?} {to:?} {row}");
                    }
                }
            }
        }
    });
}

//! Pieces of a batch.

use super::*;

#[test]
fn slices_are_as_large_as_they_may_be() {
    for_seeds(200, |rng| {
        let (signal, segments) = requests(rng);
        let batch = Batch::index(signal, segments).expect("prost accepts it");
        let (rows_max, bytes_max) = (rng.random_range(0..12), rng.random_range(0..2_000));
        let slices = batch.slices(rows_max, bytes_max);
        let mut next = 0;
        let cost = |items: Range<u32>| {
            let rows = items.clone().map(|item| match signal {
                Signal::Metrics => batch.account_of(item..item + 1).max(1),
                Signal::Traces | Signal::Logs => 1,
            });
            let bytes = items.clone().map(|item| batch.index.items[item as usize]).map(|item| item.end - item.start);
            (rows.sum::<u64>(), bytes.sum::<u32>())
        };
        let fits = |items: Range<u32>| {
            let (rows, bytes) = cost(items);
            rows <= u64::from(rows_max) && bytes <= bytes_max
        };
        for slice in &slices {
            assert_eq!(slice.start, next, "nothing left out");
            assert!(slice.len() == 1 || fits(slice.clone()));
            assert!(slice.end == batch.items() || !fits(slice.start..slice.end + 1), "one more would not fit");
            next = slice.end;
        }
        assert_eq!(next, batch.items());
        for level in [Level::Resource, Level::Scope] {
            let all = match level {
                Level::Resource => batch.index.resources.extents.len(),
                _ => batch.index.scopes.extents.len(),
            };
            let mut shown = 0;
            for slice in &slices {
                let rows = batch.index.rows_of(&batch.slice(slice.clone()), level).expect("every signal has it");
                assert!(rows.start <= shown, "{level:?}: no row is left out");
                shown = rows.end;
            }
            assert_eq!(shown as usize, all, "{level:?}: no row is left out");
        }
        assert_eq!(slices.iter().map(|slice| batch.account_of(slice.clone())).sum::<u64>(), batch.account());
    });
}

#[test]
fn rows_past_the_end_are_none() {
    let batch = Batch::index(Signal::Traces, vec![Bytes::new(), Bytes::new()]).expect("empty requests");
    assert_eq!((batch.items(), batch.account()), (0, 0));
    assert!(matches!(batch.slices(10, 10).as_slice(), [slice] if slice.is_empty()), "there may be resources to judge");
    assert_eq!((batch.segment_of(0), batch.items_of(7)), (2, 0..0));
    let slice = batch.slice(3..9);
    for level in Level::ALL {
        assert_eq!(batch.rows(&slice, level), 0);
    }
    let left = batch.into_segments().expect("nothing grew");
    assert_eq!(left.iter().map(|segment| segment.account).collect::<Vec<_>>(), [0, 0]);
}

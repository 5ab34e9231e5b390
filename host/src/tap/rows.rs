//! Rows of requests as accounts count them: spans, log records, data points.

use bytes::Bytes;

use crate::batch::{Batch, Drops, EditError, Edits, Level, Malformed, RowSet};
use crate::signal::Signal;

/// Requests that cannot be cut.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Uncut {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Unwritten(#[from] EditError),
}

/// How many there are.
pub(super) fn count(signal: Signal, bodies: &[Bytes]) -> u64 {
    Batch::index(signal, bodies.to_vec()).map_or(0, |batch| batch.account())
}

/// The level whose rows these are.
pub(super) fn level(signal: Signal) -> Level {
    match signal {
        Signal::Traces | Signal::Logs => Level::Item,
        Signal::Metrics => Level::Point,
    }
}

/// What is left of each request without these rows.
pub(super) fn without(
    signal: Signal,
    bodies: &[Bytes],
    rows: impl IntoIterator<Item = u32>,
) -> Result<Vec<Bytes>, Uncut> {
    let batch = Batch::index(signal, bodies.to_vec())?;
    let mut gone = none(&batch, level(signal));
    rows.into_iter().for_each(|row| gone.insert(row));
    cut(batch, &[gone])
}

/// These rows with what stands above them; requests that have none of them are left out.
pub(super) fn only(signal: Signal, bodies: &[Bytes], rows: impl IntoIterator<Item = u32>) -> Result<Vec<Bytes>, Uncut> {
    let batch = Batch::index(signal, bodies.to_vec())?;
    let mut kept = none(&batch, level(signal));
    rows.into_iter().for_each(|row| kept.insert(row));
    // A metric without points is nobody's.
    let mut empty = none(&batch, Level::Item);
    (0..batch.items()).filter(|&item| batch.account_of(item..item + 1) == 0).for_each(|item| empty.insert(item));
    let left = cut(batch, &[kept.not(), empty])?;
    let has_rows = |body: &Bytes| count(signal, std::slice::from_ref(body)) > 0;
    Ok(left.into_iter().filter(has_rows).collect())
}

fn none(batch: &Batch, level: Level) -> RowSet {
    RowSet::empty(level, batch.rows(&batch.slice(0..batch.items()), level))
}

fn cut(mut batch: Batch, gone: &[RowSet]) -> Result<Vec<Bytes>, Uncut> {
    let mut drops = Drops::new(&batch);
    let all = batch.slice(0..batch.items());
    for rows in gone {
        drops.add(&batch, &all, rows);
    }
    batch.apply(drops, Edits::default())?;
    Ok(batch.segments_now()?)
}

//! A request larger than `send_batch_max_size` goes on in pieces, which are acknowledged together.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{Batch, Drops, Edits, Level, Malformed, RowSet};
use crate::pipeline::{Part, Pipeline};
use crate::signal::Signal;

/// The part in pieces of at most `items_max` spans, log records or data points; a metric with more points is not cut.
pub(super) fn split(pipeline: &Pipeline, part: Part, items_max: u64) -> Vec<Part> {
    if part.account <= items_max {
        return vec![part];
    }
    let pieces = match pieces(pipeline.signal(), &part.body, items_max) {
        Ok(pieces) if pieces.len() > 1 => pieces,
        // It was indexed before, so it can be; and if not, it is whole.
        _ => return vec![part],
    };
    pipeline.opened(pieces.len() - 1);
    let accounts: Vec<u64> = pieces.iter().map(|(_, account)| *account).collect();
    let acks = part.ack.into_pieces(&accounts);
    let of_part = |((body, account), ack): ((Bytes, u64), _)| Part {
        charge: Arc::new(part.charge.beside(body.len() as u64)),
        request: part.request.clone(),
        kept: part.kept.clone(),
        body,
        account,
        ack,
    };
    pieces.into_iter().zip(acks).map(of_part).collect()
}

/// Bodies of at most `items_max`, and how much is in each.
fn pieces(signal: Signal, body: &Bytes, items_max: u64) -> Result<Vec<(Bytes, u64)>, Malformed> {
    let batch = Batch::index(signal, vec![body.clone()])?;
    let ranges = ranges_of(&batch, items_max);
    let mut pieces = Vec::with_capacity(ranges.len());
    cut(batch, body, &ranges, &mut pieces)?;
    Ok(pieces)
}

/// Cuts `body`, whose index is `batch`, at `ranges`: halves of halves, so that the cost does not grow with the square of the pieces.
fn cut(batch: Batch, body: &Bytes, ranges: &[Range<u32>], pieces: &mut Vec<(Bytes, u64)>) -> Result<(), Malformed> {
    let (first, second) = ranges.split_at(ranges.len() / 2);
    let (Some(start), Some(middle)) = (first.first(), second.first()) else {
        pieces.push((body.clone(), batch.account()));
        return Ok(());
    };
    let (signal, items, start, middle) = (batch.signal(), batch.items(), start.start, middle.start);
    let again = Batch::index(signal, vec![body.clone()])?;
    for (batch, ranges, others) in [(batch, first, middle - start..items), (again, second, 0..middle - start)] {
        let Some(half) = without(batch, others)? else { continue };
        cut(Batch::index(signal, vec![half.clone()])?, &half, ranges, pieces)?;
    }
    Ok(())
}

/// The bytes of a batch of one request without these items; None if nothing is left.
fn without(mut batch: Batch, items: Range<u32>) -> Result<Option<Bytes>, Malformed> {
    let mut others = RowSet::empty(Level::Item, batch.items());
    others.insert_range(items);
    let mut drops = Drops::new(&batch);
    drops.add(&batch, &batch.slice(0..batch.items()), &others);
    // What only loses rows neither conflicts nor grows.
    let uncut = |_error| Malformed { offset: 0, what: "a request that cannot be cut" };
    batch.apply(drops, Edits::default()).map_err(uncut)?;
    let segment = batch.into_segments().map_err(uncut)?.pop();
    Ok(segment.map(|segment| segment.bytes).filter(|bytes| !bytes.is_empty()))
}

/// Item rows in ranges of at most `max` spans, log records or data points; a metric with more points goes alone.
fn ranges_of(batch: &Batch, max: u64) -> Vec<Range<u32>> {
    let mut ranges = Vec::new();
    let (mut start, mut account) = (0, 0);
    for row in 0..batch.items() {
        let more = batch.account_of(row..row + 1);
        if row > start && account + more > max {
            ranges.push(start..row);
            (start, account) = (row, 0);
        }
        account += more;
    }
    ranges.push(start..batch.items());
    ranges
}

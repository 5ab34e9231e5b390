//! Decisions as they should be made.

use crate::Instance;
use crate::bindings::{Batch, TraceBatch, Verdicts};

const KEEP: u8 = 1;
const NO_RULE: u32 = u32::MAX;
/// 56 bits.
const THRESHOLD_MASK: u64 = (1 << 56) - 1;

/// None where the behaviour is none of these.
pub fn decide(this: &Instance, traces: &TraceBatch, spans: &Batch) -> Option<Result<Verdicts, String>> {
    Some(Ok(match this.behaviour.as_str() {
        "keep" | "probe_take" | "probe_short" | "probe_error" => keep(traces),
        "numbers" => numbers(traces),
        "route" => route(this, traces, spans),
        "checksum" => checksum(traces),
        "checksum_spans" => checksum_spans(this, traces, spans),
        "take" => take(this, traces),
        "tally" => tally(this, traces),
        "peek" => peek(this, traces),
        _ => return None,
    }))
}

/// All of them, by the first rule.
pub fn keep(traces: &TraceBatch) -> Verdicts {
    let len = traces.len() as usize;
    Verdicts { votes: vec![KEEP; len], thresholds: vec![0; len], rules: vec![0; len], settled: vec![1; len] }
}

/// Those with errors by the first rule, a tenth of the others by the second.
fn numbers(traces: &TraceBatch) -> Verdicts {
    const TENTH: u64 = THRESHOLD_MASK / 10 * 9;
    let errors = traces.error_counts();
    let randomness = traces.randomness();
    let mut verdicts = nothing(errors.len());
    for (trace, (&errors, &randomness)) in errors.iter().zip(&randomness).enumerate() {
        if errors > 0 {
            vote(&mut verdicts, trace, 0, 0);
        } else if randomness >= TENTH {
            vote(&mut verdicts, trace, TENTH, 1);
        }
    }
    verdicts
}

/// Those that have any span with route `/1`.
fn route(this: &Instance, traces: &TraceBatch, spans: &Batch) -> Verdicts {
    let mut verdicts = nothing(traces.len() as usize);
    if let Some((_, route)) = &this.fields {
        let values = spans.values(route);
        let mut which = vec![0; values.kinds.len().div_ceil(8)];
        for entry in 0..values.kinds.len() {
            if &values.bytes[values.offsets[entry] as usize..values.offsets[entry + 1] as usize] == b"/1" {
                which[entry / 8] |= 1 << (entry % 8);
            }
        }
        let hit = traces.where_any(&spans.where_values(route, &which));
        for trace in 0..verdicts.votes.len() {
            if hit[trace / 8] >> (trace % 8) & 1 == 1 {
                vote(&mut verdicts, trace, 0, 0);
            }
        }
    }
    verdicts
}

/// Every list of a trace goes into its threshold.
fn checksum(traces: &TraceBatch) -> Verdicts {
    let mut verdicts = keep(traces);
    let ids = traces.ids();
    let of_u64 = [
        traces.randomness(),
        traces.thresholds(),
        traces.arrivals_unix_nano(),
        traces.starts_unix_nano(),
        traces.ends_unix_nano(),
        traces.byte_counts(),
    ];
    let of_u32 = [traces.span_counts(), traces.error_counts(), traces.ok_counts()];
    let of_u8 = [traces.marks(), traces.triggers()];
    let whole = traces.now_unix_nano() ^ traces.trace_of().len() as u64;
    for (trace, threshold) in verdicts.thresholds.iter_mut().enumerate() {
        let id = ids[trace * 16..(trace + 1) * 16].iter().map(|&byte| u64::from(byte));
        let numbers = of_u64.iter().map(|list| list[trace]);
        let numbers = numbers.chain(of_u32.iter().map(|list| u64::from(list[trace])));
        let numbers = numbers.chain(of_u8.iter().map(|list| u64::from(list[trace])));
        *threshold = id.chain(numbers).chain([whole]).fold(0, |sum: u64, number| sum.wrapping_mul(31) ^ number);
        *threshold &= THRESHOLD_MASK;
    }
    verdicts
}

/// Into thresholds, 8 bits each: spans by `trace-of`, events, whether any span is named `hit`, how many are, the same by `spans-of`.
fn checksum_spans(this: &Instance, traces: &TraceBatch, spans: &Batch) -> Verdicts {
    let mut verdicts = keep(traces);
    let Some((name, _)) = &this.fields else { return verdicts };
    let names = spans.values(name);
    let is_hit =
        |entry: usize| &names.bytes[names.offsets[entry] as usize..names.offsets[entry + 1] as usize] == b"hit";
    let mut which = vec![0; names.kinds.len().div_ceil(8)];
    for entry in (0..names.kinds.len()).filter(|&entry| is_hit(entry)) {
        which[entry / 8] |= 1 << (entry % 8);
    }
    let hit = spans.where_values(name, &which);
    let trace_of = traces.trace_of();
    let events = traces.counts(&spans.where_rows("spanevent", &[0xff; 64]));
    let (any, counts) = (traces.where_any(&hit), traces.counts(&hit));
    // Events lie below spans: the traces of any event of a hit are the same.
    let by_events = traces.where_any(&hit.at("spanevent"));
    for (trace, threshold) in verdicts.thresholds.iter_mut().enumerate() {
        let bit = |bits: &[u8]| u64::from(bits[trace / 8] >> (trace % 8) & 1);
        let mut one = vec![0; trace / 8 + 1];
        one[trace / 8] = 1 << (trace % 8);
        let numbers = [
            trace_of.iter().filter(|&&of| of as usize == trace).count() as u64,
            u64::from(events[trace]),
            bit(&any) | bit(&by_events) << 1,
            u64::from(counts[trace]),
            u64::from(traces.spans_of(&one).and(&hit).count()),
        ];
        *threshold = numbers.iter().rev().fold(0, |sum, number| sum << 8 | number & 0xff);
    }
    verdicts
}

/// Keeps as many as the bucket of key 1 has tokens.
fn take(this: &Instance, traces: &TraceBatch) -> Verdicts {
    let len = traces.len() as usize;
    let holds = this.bucket.take(&vec![1; len], &vec![1; len]);
    let mut verdicts = nothing(len);
    for trace in (0..len).filter(|&trace| holds[trace] == 1) {
        vote(&mut verdicts, trace, u64::MAX, 0);
    }
    verdicts
}

/// Adds 1 for each trace to cell 0 of row 7; all thresholds are what is there then.
fn tally(this: &Instance, traces: &TraceBatch) -> Verdicts {
    let len = traces.len() as usize;
    this.tally.add(&vec![7; len], &vec![0; len], &vec![1.0; len]);
    let sum = this.tally.read(&[7])[0];
    let mut verdicts = keep(traces);
    verdicts.thresholds.fill(sum as u64);
    verdicts
}

/// Thresholds are: whether the bucket of key 1 is full, whether that of key 2 is, cell 0 of row 7, cell 1 of row 8, keys of the tally.
/// The buckets are empty then.
fn peek(this: &Instance, traces: &TraceBatch) -> Verdicts {
    let full = this.bucket.take(&[1, 2], &[10, 10]);
    let rows = this.tally.read(&[7, 8]);
    let numbers =
        [f64::from(full[0]), f64::from(full[1]), rows[0], rows[rows.len() / 2 + 1], this.tally.keys().len() as f64];
    let mut verdicts = keep(traces);
    for (threshold, number) in verdicts.thresholds.iter_mut().zip(numbers) {
        *threshold = number as u64;
    }
    verdicts
}

fn nothing(len: usize) -> Verdicts {
    Verdicts { votes: vec![0; len], thresholds: vec![0; len], rules: vec![NO_RULE; len], settled: vec![0; len] }
}

fn vote(verdicts: &mut Verdicts, trace: usize, threshold: u64, rule: u32) {
    verdicts.votes[trace] = KEEP;
    verdicts.thresholds[trace] = threshold;
    verdicts.rules[trace] = rule;
}

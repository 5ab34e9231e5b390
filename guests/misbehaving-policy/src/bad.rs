//! Misdeeds: each is right but for one thing.

use std::hint::black_box;
use std::mem::ManuallyDrop;

use crate::Instance;
use crate::bindings::{Batch, Bucket, Tally, TraceBatch, Verdicts};
use crate::honest::keep;

/// More bytes than a call may pass.
const MANY: usize = 32 << 20;

pub fn decide(this: &Instance, traces: &TraceBatch, spans: &Batch) -> Result<Verdicts, String> {
    let mut verdicts = keep(traces);
    let Verdicts { votes, thresholds, rules, settled } = &mut verdicts;
    match this.behaviour.as_str() {
        "too_few_votes" => drop(votes.pop()),
        "too_many_votes" => votes.push(1),
        "too_few_thresholds" => drop(thresholds.pop()),
        "too_many_thresholds" => thresholds.push(0),
        "too_few_rules" => drop(rules.pop()),
        "too_many_rules" => rules.push(0),
        "too_few_settled" => drop(settled.pop()),
        "too_many_settled" => settled.push(0),
        "no_verdicts" => [votes, settled].iter_mut().for_each(|list| list.clear()),
        "vote_of_three" => votes[0] = 3,
        "threshold_of_57_bits" => thresholds[0] = 1 << 56,
        "threshold_next_to_unknown" => thresholds[0] = u64::MAX - 1,
        "unknown_rule" => rules[0] = 2,
        "rule_next_to_none" => rules[0] = u32::MAX - 1,
        "settled_twice" => settled[0] = 2,
        "many_verdicts" => votes.resize(MANY, 0),
        _ => misuse(this, traces, spans)?,
    }
    Ok(verdicts)
}

fn misuse(this: &Instance, traces: &TraceBatch, spans: &Batch) -> Result<(), String> {
    let (name, _) = this.fields.as_ref().ok_or("reads no spans")?;
    match this.behaviour.as_str() {
        "trap" => core::arch::wasm32::unreachable(),
        "panic" => panic!("{:?}", spans.values(name).bytes),
        "spin" => spin(),
        "allocate" => loop {
            // Never written to: filling it would take longer than the deadline on a slow machine.
            std::mem::forget(black_box(Vec::<u8>::with_capacity(1 << 20)));
        },
        "flood" => loop {
            black_box(traces.now_unix_nano());
        },
        "much_output" => loop {
            traces.spans_of(&vec![0; 1 << 20]);
        },
        "error_with_names" => return Err(String::from_utf8_lossy(&spans.values(name).bytes).into_owned()),
        "rows_above_spans" => drop(traces.where_any(&spans.where_rows("resource", &[1]))),
        "counts_above_spans" => drop(traces.counts(&spans.where_rows("scope", &[1]))),
        "stale_rows" => {
            for rows in this.kept.borrow().iter() {
                traces.counts(rows);
            }
            this.kept.borrow_mut().push(spans.where_rows("span", &[0xff]));
        }
        "forged_traces" => drop(forged().randomness()),
        "open_late" => drop(Bucket::open("late", 1.0, 1.0)?),
        "open_tally_late" => drop(Tally::open("late", 1, 1.0, 1)?),
        other => misuse_state(this, other)?,
    }
    Ok(())
}

fn misuse_state(this: &Instance, behaviour: &str) -> Result<(), String> {
    let Instance { bucket, tally, .. } = this;
    match behaviour {
        "too_few_costs" => drop(bucket.take(&[1, 2], &[1])),
        "too_few_cells" => tally.add(&[1, 2], &[0], &[1.0, 1.0]),
        "too_few_amounts" => tally.add(&[1, 2], &[0, 0], &[1.0]),
        "cell_past_the_width" => tally.add(&[1], &[4], &[1.0]),
        "amount_below_zero" => tally.add(&[1], &[0], &[-1.0]),
        "amount_of_nan" => tally.add(&[1], &[0], &[f64::NAN]),
        "endless_amount" => tally.add(&[1], &[0], &[f64::INFINITY]),
        "much_taken" => loop {
            bucket.take(&[1; 4096], &[0; 4096]);
        },
        "much_added" => loop {
            tally.add(&[1; 4096], &[0; 4096], &[1.0; 4096]);
        },
        "much_read" => loop {
            tally.read(&[1; 4096]);
        },
        "many_takes" => drop(bucket.take(&vec![1; 500_000], &vec![1; 500_000])),
        "forged_bucket" => drop(forged_bucket().take(&[1], &[1])),
        other => return Err(format!("no behaviour `{other}`")),
    }
    Ok(())
}

fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

#[allow(unsafe_code, reason = "handles that nobody gave are what this is about")]
fn forged() -> ManuallyDrop<TraceBatch> {
    // SAFETY: none, on purpose; it is forgotten, as giving it back would be one more misdeed.
    ManuallyDrop::new(unsafe { TraceBatch::from_handle(7777) })
}

#[allow(unsafe_code, reason = "handles that nobody gave are what this is about")]
fn forged_bucket() -> ManuallyDrop<Bucket> {
    // SAFETY: none, on purpose, as above.
    ManuallyDrop::new(unsafe { Bucket::from_handle(7777) })
}

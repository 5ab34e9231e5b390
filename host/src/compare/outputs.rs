//! Two outputs of the same input: what a candidate makes of requests, and what serves.

use serde::{Deserialize, Serialize};

use super::rates::Counts;
use super::{Alike, Difference, Left, Record, field_of, left};

/// What one of two made of records.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    /// What is left, in order.
    pub records: &'a [Record],
    /// Rows of the input that were dropped, ascending, with their rules.
    pub dropped: &'a [(u32, u16)],
}

/// A record of which two did not make the same.
#[derive(Clone, Debug, PartialEq)]
pub enum Disagreement<'a> {
    /// Only the first dropped it, by the rule of this index.
    FirstDropped(u16),
    /// Only the second dropped it, by the rule of this index.
    SecondDropped(u16),
    /// Both let it pass; `before` is the first's, `after` the second's.
    Different(Vec<Difference<'a>>),
}

/// Disagreements, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disagreements {
    /// Records of which both made something.
    pub compared: u64,
    /// Only the first dropped these.
    pub dropped_by_first_only: u64,
    /// Only the second dropped these.
    pub dropped_by_second_only: u64,
    /// Both let these pass, but different.
    pub different: u64,
    /// The same by field.
    pub different_by_field: Counts,
}

/// Of so many records of the input, those of which two did not make the same, by row. That both dropped it is the same, by whatever rule.
pub fn disagreements<'a>(
    rows: usize,
    first: Output<'a>,
    second: Output<'a>,
) -> impl Iterator<Item = (usize, Disagreement<'a>)> {
    outcomes(rows, first, second).enumerate().filter_map(|(row, outcome)| Some((row, outcome?)))
}

/// One for each record of which both made something; None where it is the same.
fn outcomes<'a>(rows: usize, first: Output<'a>, second: Output<'a>) -> impl Iterator<Item = Option<Disagreement<'a>>> {
    let of = |output: Output<'a>| left(rows, output.records, output.dropped);
    let mut alike = Alike::default();
    of(first).zip(of(second)).map(move |of_row| match of_row {
        (Left::Dropped(_), Left::Dropped(_)) => None,
        (Left::Dropped(rule), Left::Kept(_)) => Some(Disagreement::FirstDropped(rule)),
        (Left::Kept(_), Left::Dropped(rule)) => Some(Disagreement::SecondDropped(rule)),
        (Left::Kept(first), Left::Kept(second)) => {
            let different = alike.changes(first, second);
            (!different.is_empty()).then_some(Disagreement::Different(different))
        }
    })
}

impl Disagreements {
    /// Counts those of one batch of so many records.
    pub fn count(&mut self, rows: usize, first: Output<'_>, second: Output<'_>) {
        for outcome in outcomes(rows, first, second) {
            self.compared += 1;
            match outcome {
                None => {}
                Some(Disagreement::FirstDropped(_)) => self.dropped_by_first_only += 1,
                Some(Disagreement::SecondDropped(_)) => self.dropped_by_second_only += 1,
                Some(Disagreement::Different(different)) => {
                    self.different += 1;
                    let mut fields: Vec<_> = different.iter().map(|difference| field_of(difference.path)).collect();
                    fields.sort_unstable();
                    fields.dedup();
                    fields.iter().for_each(|field| self.different_by_field.add(field, 1));
                }
            }
        }
    }
}

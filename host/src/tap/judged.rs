//! Records that a processor judged: which of them match, and what is shown of them.

use bytes::Bytes;

use super::eye::{Sight, Work};
use super::line::{RecordShown, TapShown};
use super::look::{Found, Look};
use super::request::{TapOnly, TapPoint, TapRequest};
use super::rows;
use crate::compare::{self, Fate, Record};
use crate::json;
use crate::pipeline::stage::Fault;
use crate::signal::Signal;
use serde_json::Value;

/// What a stage made of requests.
struct Made<'a> {
    before: &'a [Bytes],
    /// What it left; None where it left nothing, as it failed.
    after: Option<&'a [Bytes]>,
    dropped: &'a [(u32, u16)],
}

impl<'a> Made<'a> {
    fn of(sight: &'a Sight) -> Option<Made<'a>> {
        Some(match sight {
            Sight::Judged { before, bodies, dropped } => Made { before, after: Some(bodies), dropped },
            Sight::Passed { before, .. } => Made { before, after: Some(before), dropped: &[] },
            Sight::Failed { before, .. } => Made { before, after: None, dropped: &[] },
            Sight::Voted { .. } | Sight::Decided { .. } => return None,
        })
    }

    fn is_dropped(&self, row: u32) -> Option<u16> {
        let place = self.dropped.binary_search_by_key(&row, |(row, _)| *row).ok()?;
        self.dropped.get(place).map(|(_, rule)| *rule)
    }

    /// The row of what is left that this row is; None where it is gone.
    fn row_after(&self, row: u32) -> Option<u32> {
        self.after?;
        let gone = self.dropped.partition_point(|(dropped, _)| *dropped < row);
        if self.is_dropped(row).is_some() { None } else { row.checked_sub(u32::try_from(gone).ok()?) }
    }
}

/// How many records there are, and those that match.
pub(super) fn look(look: &mut Look, work: &Work) -> Result<(u64, Vec<Found>), Fault> {
    let Some(made) = Made::of(&work.sight) else { return Ok((0, Vec::new())) };
    let count = rows::count(work.signal, made.before);
    let point = look.request.point;
    let mut is_true = None;
    if point != TapPoint::After {
        is_true = look.asked(work, made.before)?;
    }
    let mut is_true_after = None;
    if point != TapPoint::Before
        && let Some(after) = made.after
    {
        is_true_after = look.asked(work, after)?;
    }
    let has_condition = !look.conditions.is_empty();
    let changed =
        if look.request.only == Some(TapOnly::Changed) { changed_rows(work.signal, &made) } else { Vec::new() };
    let fate_of_all = match &work.sight {
        Sight::Passed { .. } => Some("passed"),
        Sight::Failed { .. } => Some("failed"),
        _ => None,
    };
    let mut found = Vec::new();
    for row in 0..u32::try_from(count).unwrap_or(u32::MAX) {
        let dropped = made.is_dropped(row);
        let after = made.row_after(row);
        let is_changed = changed.binary_search(&row).is_ok();
        let fate = match (fate_of_all, dropped) {
            (Some(fate), _) => fate,
            (None, Some(_)) => "dropped",
            (None, None) if is_changed => "changed",
            (None, None) => "kept",
        };
        let is_there = point != TapPoint::After || after.is_some();
        let holds = |rows: &Option<crate::batch::RowSet>, row: Option<u32>| {
            row.is_some_and(|row| rows.as_ref().is_some_and(|rows| rows.contains(row)))
        };
        let is_asked_for = !has_condition || holds(&is_true, Some(row)) || holds(&is_true_after, after);
        if is_there && is_asked_for && look.wants(fate) {
            let rule = dropped.and_then(|rule| work.facts.as_ref()?.rule(rule));
            found.push(Found { row, fate, rule });
        }
    }
    Ok((count, found))
}

/// Rows that go on with other values, ascending. Nothing is decoded where nothing but rows left.
fn changed_rows(signal: Signal, made: &Made<'_>) -> Vec<u32> {
    let Some(after) = made.after else { return Vec::new() };
    let untouched = rows::without(signal, made.before, made.dropped.iter().map(|(row, _)| *row));
    if untouched.is_ok_and(|untouched| untouched == after) {
        return Vec::new();
    }
    let (Ok(before), Ok(after)) = (compare::records(signal, made.before), compare::records(signal, after)) else {
        return Vec::new();
    };
    let fates = compare::fates(&before, &after, made.dropped);
    let changed = (0..).zip(fates).filter(|(_, fate)| matches!(fate, Fate::Kept(changes) if !changes.is_empty()));
    changed.map(|(row, _)| row).collect()
}

/// What is shown of these, in their order.
pub(super) fn shown(request: &TapRequest, work: &Work, found: &[&Found]) -> Vec<TapShown> {
    let Some(made) = Made::of(&work.sight) else { return Vec::new() };
    found.iter().map(|found| record(request, work.signal, &made, found.row)).collect()
}

fn record(request: &TapRequest, signal: Signal, made: &Made<'_>, row: u32) -> TapShown {
    let (shows_before, shows_after) = match request.point {
        TapPoint::Before => (true, false),
        TapPoint::After => (false, true),
        TapPoint::Diff => (true, true),
    };
    let unreadable = |unreadable: String| TapShown::Unreadable { unreadable };
    let mut shown = RecordShown::default();
    let mut both = (None, None);
    if shows_before {
        match one(signal, made.before, row) {
            Ok((body, record)) => {
                shown.before = serde_json::to_value(&record).ok();
                shown.input = request.requests.then(|| as_json(signal, &body)).flatten();
                both.0 = Some(record);
            }
            Err(error) => return unreadable(error),
        }
    }
    if shows_after && let (Some(after), Some(row)) = (made.after, made.row_after(row)) {
        match one(signal, after, row) {
            Ok((body, record)) => {
                shown.after = serde_json::to_value(&record).ok();
                shown.expected = request.requests.then(|| as_json(signal, &body)).flatten();
                both.1 = Some(record);
            }
            Err(error) => return unreadable(error),
        }
    } else if shows_after && request.requests && made.after.is_some() {
        shown.expected = as_json(signal, &[]);
    }
    if let (Some(before), Some(after)) = &both {
        shown.changes = Some(compare::changes(before, after).iter().map(compare::Difference::to_change).collect());
    }
    TapShown::Record(Box::new(shown))
}

/// A record alone: as a request, and by fields. The error holds nothing of it.
fn one(signal: Signal, bodies: &[Bytes], row: u32) -> Result<(Vec<u8>, Record), String> {
    let bodies = rows::only(signal, bodies, [row]).map_err(|error| error.to_string())?;
    let mut records = compare::records(signal, &bodies).map_err(|error| error.to_string())?;
    let record = records.pop().filter(|_| records.is_empty());
    Ok((bodies.concat(), record.ok_or("it is not there")?))
}

fn as_json(signal: Signal, body: &[u8]) -> Option<Value> {
    serde_json::from_slice(&json::to_json(signal, body).ok()?).ok()
}

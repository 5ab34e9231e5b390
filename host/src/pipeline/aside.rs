//! Judging beside the data path: one generation, one batch at a time, with no effect but its answer. Nothing is counted and nothing goes on.

use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{Batch, Drops, EditError, Edits, RowSet};
use crate::pipeline::stage::{Effects, Fault, FaultKind, Generation, Instance, Policy, PolicyVote};
use crate::pipeline::trial::{SLICE_BYTES_MAX, SLICE_ROWS_MAX};
use crate::signal::Signal;
use crate::tail::traces::Traces;

/// A generation's instance beside the data path. After a fault the next call takes another one.
pub struct Aside {
    generation: Arc<dyn Generation>,
    instance: Option<Box<dyn Instance>>,
    policy: Option<Box<dyn Policy>>,
}

/// What a processor made of requests; as of [`After::Judged`](crate::pipeline::watcher::After::Judged).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// What it left of each request; empty where it left nothing.
    pub bodies: Vec<Bytes>,
    /// Rows that it dropped, as accounts count, ascending, with the index of their rule.
    pub dropped: Vec<(u32, u16)>,
    /// Places that it edited, by index of the rule.
    pub edited: Vec<(u16, u64)>,
}

impl Aside {
    /// Of a generation that runs [apart](Generation::apart).
    pub fn new(generation: Arc<dyn Generation>) -> Self {
        Self { generation, instance: None, policy: None }
    }

    /// Names of what it drops and edits for.
    pub fn rules(&self) -> &[String] {
        self.generation.rules()
    }

    /// What it makes of requests.
    ///
    /// # Errors
    /// Its fault; [`FaultKind::Malformed`] where they are not valid protobuf.
    pub fn judge(&mut self, signal: Signal, bodies: &[Bytes]) -> Result<Made, Fault> {
        let mut batch = Batch::index(signal, bodies.to_vec())
            .map_err(|malformed| Fault { kind: FaultKind::Malformed, message: malformed.to_string() })?;
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => self.generation.instance()?,
        };
        let mut wanted = Vec::new();
        for slice in batch.slices(SLICE_ROWS_MAX, SLICE_BYTES_MAX) {
            let (same, result) = instance.call(batch, slice.clone());
            batch = same;
            wanted.push((slice, result?));
        }
        if !instance.wants_recycling() {
            self.instance = Some(instance);
        }
        apply(batch, wanted).map_err(|error| {
            let kind = match error {
                EditError::Malformed(_) => FaultKind::Malformed,
                EditError::BadValue(_) | EditError::Conflict(_) | EditError::TooLarge => FaultKind::BadOutput,
            };
            Fault { kind, message: error.to_string() }
        })
    }

    /// What it says of traces and their spans.
    ///
    /// # Errors
    /// Its fault.
    pub fn vote(&mut self, traces: &Arc<Traces>, spans: &Bytes) -> Result<Vec<PolicyVote>, Fault> {
        let mut policy = match self.policy.take() {
            Some(policy) => policy,
            None => self.generation.policy()?,
        };
        let batch = Batch::index(Signal::Traces, vec![spans.clone()])
            .map_err(|malformed| Fault { kind: FaultKind::Malformed, message: malformed.to_string() })?;
        let (_, result) = policy.decide(traces, batch);
        if result.is_ok() && !policy.wants_recycling() {
            self.policy = Some(policy);
        }
        result
    }
}

fn apply(mut batch: Batch, wanted: Vec<(std::ops::Range<u32>, Effects)>) -> Result<Made, EditError> {
    let (mut drops, mut edits, mut made) = (Drops::new(&batch), Edits::default(), Made::default());
    for (slice, effects) in wanted {
        let slice = batch.slice(slice);
        for drop in effects.drops {
            let before: RowSet = drops.leaves(&batch).clone();
            drops.add(&batch, &slice, &drop.rows);
            let new = drops.leaves(&batch).iter().filter(|row| !before.contains(*row));
            made.dropped.extend(new.map(|row| (row, drop.rule)));
        }
        edits.append(effects.edits);
        made.edited.extend(effects.edited);
    }
    made.dropped.sort_unstable();
    batch.apply(drops, edits)?;
    made.bodies = batch.into_segments()?.into_iter().map(|segment| segment.bytes).collect();
    Ok(made)
}

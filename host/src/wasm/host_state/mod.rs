//! Host state: numbers that the host keeps for guests (wit/telemetry.wit, `host-state`).
//!
//! Instances of a stage share it, of all its generations: a new one finds what the old one left where name and kind match. A generation
//! brings its own rates and half-lives, so nothing changes when it is built, and it may be given up again. What is kept goes when the
//! last generation that uses it goes. Nothing here reads a clock but [`Attached::now`].

mod bucket;
mod recent;
mod session;
mod tally;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

pub(super) use bucket::Rate;
use bucket::{BUCKET_KEYS_MAX, Buckets};
pub(super) use session::{Session, Wrong};
pub(super) use tally::Fading;
use tally::Tally;

use crate::memory::{Budget, Charge};

/// Nanoseconds since the runtime began.
pub(super) type Nanos = u64;

/// One state as an instance opened it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StateSpec {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// What a state is, and how it is used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Bucket(Rate),
    Tally(Fading),
}

/// What has to match for a state to be kept over a swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Shape {
    Buckets,
    /// Of this width.
    Tally(u32),
}

impl Kind {
    fn shape(self) -> Shape {
        match self {
            Kind::Bucket(_) => Shape::Buckets,
            Kind::Tally(fading) => Shape::Tally(fading.width),
        }
    }

    fn keys_max(self) -> u32 {
        match self {
            Kind::Bucket(_) => BUCKET_KEYS_MAX,
            Kind::Tally(fading) => fading.keys_max,
        }
    }
}

/// States by stage and name, one for each shape.
type ByName = HashMap<(String, String), Vec<Weak<Kept>>>;

/// All states of a process.
#[derive(Debug)]
pub(super) struct HostStates {
    kept: Mutex<ByName>,
    budget: Arc<Budget>,
    start: Instant,
}

/// The process budget does not have what a state may take.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the host state `{name}` may take {bytes} bytes, more than is left of the process's memory budget; use smaller states, or allow more"
)]
pub struct StateTooLarge {
    /// Its name.
    pub name: String,
    /// The most that it may take.
    pub bytes: u64,
}

impl HostStates {
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self { kept: Mutex::default(), budget: Arc::clone(budget), start: Instant::now() }
    }

    /// The states of a stage: those that another generation of it uses, where name and kind match, else new ones.
    pub(super) fn attach(&self, stage: &str, specs: &[StateSpec]) -> Result<Arc<Attached>, StateTooLarge> {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, kept| {
            kept.retain(|kept| kept.strong_count() > 0);
            !kept.is_empty()
        });
        let mut states = Vec::with_capacity(specs.len());
        for spec in specs {
            let shape = spec.kind.shape();
            let same = all.entry((stage.to_owned(), spec.name.clone())).or_default();
            let found = same.iter().filter_map(Weak::upgrade).find(|kept| kept.shape == shape);
            let kept = found.unwrap_or_else(|| {
                let kept = Arc::new(Kept::new(shape, Some(self.budget.charge_over(0))));
                same.push(Arc::downgrade(&kept));
                kept
            });
            states.push(Lease::new(kept, spec)?);
        }
        Ok(Arc::new(Attached { states, start: self.start }))
    }

    /// Copies of states as they are now, for whoever must not change them.
    pub(super) fn copy(&self, attached: &Attached, specs: &[StateSpec]) -> Result<Arc<Attached>, StateTooLarge> {
        let mut states = Vec::with_capacity(specs.len());
        for (lease, spec) in attached.states.iter().zip(specs) {
            let copy = Kept::new(lease.kept.shape, Some(self.budget.charge_over(0)));
            copy.held().table = lease.kept.held().table.clone();
            states.push(Lease::new(Arc::new(copy), spec)?);
        }
        Ok(Arc::new(Attached { states, start: attached.start }))
    }

    /// States of nobody else, for calls that must not change anything.
    pub(super) fn scratch(&self, specs: &[StateSpec]) -> Result<Arc<Attached>, StateTooLarge> {
        let new = |spec| Lease::new(Arc::new(Kept::new(StateSpec::shape(spec), None)), spec);
        Ok(Arc::new(Attached { states: specs.iter().map(new).collect::<Result<_, _>>()?, start: self.start }))
    }
}

impl StateSpec {
    fn shape(&self) -> Shape {
        self.kind.shape()
    }
}

/// The states that a generation opened, in the order of opening.
#[derive(Debug)]
pub(super) struct Attached {
    states: Vec<Lease>,
    start: Instant,
}

impl Attached {
    fn now(&self) -> Nanos {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(Nanos::MAX)
    }
}

/// A generation's share in a state. It is as large as the largest that is shared.
#[derive(Debug)]
struct Lease {
    kept: Arc<Kept>,
    kind: Kind,
}

/// A state.
#[derive(Debug)]
struct Kept {
    shape: Shape,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    table: Table,
    /// `keys_max` of each lease.
    leases: Vec<u32>,
    /// What it may take; None where it is not charged.
    charge: Option<Charge>,
}

#[derive(Clone, Debug)]
enum Table {
    Buckets(Buckets),
    Tally(Tally),
}

impl Kept {
    fn new(shape: Shape, charge: Option<Charge>) -> Self {
        let table = match shape {
            Shape::Buckets => Table::Buckets(Buckets::new()),
            Shape::Tally(_) => Table::Tally(Tally::new(1)),
        };
        Self { shape, held: Mutex::new(Held { table, leases: Vec::new(), charge }) }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes_max(&self, keys_max: u32) -> u64 {
        match self.shape {
            Shape::Buckets => Buckets::bytes_max(),
            Shape::Tally(width) => Tally::bytes_max(width, keys_max),
        }
    }
}

impl Held {
    fn set_keys_max(&mut self, keys_max: u32) {
        if let Table::Tally(tally) = &mut self.table {
            tally.set_keys_max(keys_max);
        }
    }
}

impl Lease {
    fn new(kept: Arc<Kept>, spec: &StateSpec) -> Result<Self, StateTooLarge> {
        let keys_max = spec.kind.keys_max();
        let mut held = kept.held();
        let largest = held.leases.iter().copied().max().unwrap_or(0);
        if keys_max > largest {
            let bytes = kept.bytes_max(keys_max);
            if held.charge.as_mut().is_some_and(|charge| !charge.resize(bytes)) {
                return Err(StateTooLarge { name: spec.name.clone(), bytes });
            }
            held.set_keys_max(keys_max);
        }
        held.leases.push(keys_max);
        drop(held);
        Ok(Self { kept, kind: spec.kind })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.kept.held();
        let keys_max = self.kind.keys_max();
        if let Some(at) = held.leases.iter().position(|&other| other == keys_max) {
            held.leases.swap_remove(at);
        }
        // Without another lease all of it goes.
        let Some(largest) = held.leases.iter().copied().max().filter(|&largest| largest < keys_max) else { return };
        held.set_keys_max(largest);
        let bytes = self.kept.bytes_max(largest);
        // Shrinking cannot fail.
        let _shrinks = held.charge.as_mut().is_none_or(|charge| charge.resize(bytes));
    }
}

#[cfg(test)]
mod tests;

//! An instance's use of its states: what a call changes holds only if the call returns ok.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Attached, Fading, Kind, Lease, Nanos, Rate, Table};

/// What one call may add to, in cells of all the rows that it adds to: they are written when the call is over, which takes up to 10 ms then.
const ADDED_CELLS_MAX: u64 = 2 << 20;
/// What a row costs beside its cells, in cells.
const ROW_CELLS: u64 = 31;

/// The states of one instance, and what the call that is on wants of them.
///
/// Tokens are taken at once, so that no two calls get the same ones, and given back if the call fails. What is added is written when
/// it succeeds.
#[derive(Debug, Default)]
pub(in crate::wasm) struct Session {
    attached: Option<Arc<Attached>>,
    now: Option<Nanos>,
    taken: Vec<Taken>,
    /// By state, key and cell.
    added: BTreeMap<(u32, u64, u32), f64>,
    /// Of the rows in `added`.
    added_cells: u64,
}

#[derive(Debug)]
struct Taken {
    state: u32,
    key: u64,
    cost: u64,
}

/// What is wrong with a guest's use of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wasm) enum Wrong {
    /// It cannot be right.
    Use(&'static str),
    /// It is too much.
    Amount(&'static str),
}

impl Session {
    /// Uses these states from now on.
    pub(in crate::wasm) fn attach(&mut self, attached: Arc<Attached>) {
        self.attached = Some(attached);
    }

    /// A call begins. All of it happens at one time.
    pub(in crate::wasm) fn begin(&mut self) {
        self.now = self.attached.as_ref().filter(|attached| !attached.states.is_empty()).map(|attached| attached.now());
    }

    /// The call failed: nothing of it holds.
    pub(in crate::wasm) fn roll_back(&mut self) {
        self.now = None;
        self.added.clear();
        self.added_cells = 0;
        for Taken { state, key, cost } in std::mem::take(&mut self.taken) {
            let Ok((lease, rate)) = self.bucket(state) else { continue };
            if let Table::Buckets(buckets) = &mut lease.kept.held().table {
                buckets.give_back(rate, key, cost);
            }
        }
    }

    /// The call succeeded: all of it holds.
    pub(in crate::wasm) fn commit(&mut self) {
        self.taken = Vec::new();
        self.added_cells = 0;
        let Some(now) = self.now.take() else { return };
        let added = std::mem::take(&mut self.added);
        let mut added = added.into_iter().peekable();
        while let Some(&((state, key, _), _)) = added.peek() {
            let cells: Vec<(u32, f64)> =
                std::iter::from_fn(|| added.next_if(|&((of, row, _), _)| (of, row) == (state, key)))
                    .map(|((_, _, cell), amount)| (cell, amount))
                    .collect();
            let Ok((lease, fading)) = self.tally(state) else { continue };
            // One row at a time: others wait for this lock.
            if let Table::Tally(tally) = &mut lease.kept.held().table {
                tally.add(now, fading, key, cells);
            }
        }
    }

    /// For each key in order, 1 where its bucket held the cost and lost it, else 0.
    pub(in crate::wasm) fn take(&mut self, state: u32, keys: &[u64], costs: &[u64]) -> Result<Vec<u8>, Wrong> {
        let now = self.now()?;
        if keys.len() != costs.len() {
            return Err(Wrong::Use("costs that are not one for each key"));
        }
        let mut answers = Vec::with_capacity(keys.len());
        let mut taken = Vec::new();
        let (lease, rate) = self.bucket(state)?;
        if let Table::Buckets(buckets) = &mut lease.kept.held().table {
            for (&key, &cost) in keys.iter().zip(costs) {
                let holds = buckets.take(now, rate, key, cost);
                if holds && cost > 0 {
                    taken.push(Taken { state, key, cost });
                }
                answers.push(u8::from(holds));
            }
        }
        self.taken.append(&mut taken);
        Ok(answers)
    }

    /// Adds to cells of rows, once the call succeeds; its own reads see it at once.
    pub(in crate::wasm) fn add(
        &mut self,
        state: u32,
        keys: &[u64],
        cells: &[u32],
        amounts: &[f64],
    ) -> Result<(), Wrong> {
        self.now()?;
        let (_, fading) = self.tally(state)?;
        if keys.len() != cells.len() || keys.len() != amounts.len() {
            return Err(Wrong::Use("cells or amounts that are not one for each key"));
        }
        for ((&key, &cell), &amount) in keys.iter().zip(cells).zip(amounts) {
            if cell >= fading.width {
                return Err(Wrong::Use("a cell past the width of its tally"));
            }
            if !amount.is_finite() || amount < 0.0 {
                return Err(Wrong::Use("an amount that is negative or no number"));
            }
            if let Some(sum) = self.added.get_mut(&(state, key, cell)) {
                *sum = (*sum + amount).min(f64::MAX);
                continue;
            }
            if self.added.range((state, key, 0)..=(state, key, u32::MAX)).next().is_none() {
                self.added_cells += u64::from(fading.width) + ROW_CELLS;
            }
            if self.added_cells > ADDED_CELLS_MAX {
                return Err(Wrong::Amount("additions to more rows than one call may change"));
            }
            self.added.insert((state, key, cell), amount);
        }
        Ok(())
    }

    /// How many numbers [`read`](Self::read) gives for each key.
    pub(in crate::wasm) fn width(&self, state: u32) -> Result<u32, Wrong> {
        self.now()?;
        self.tally(state).map(|(_, fading)| fading.width)
    }

    /// The rows of these keys, one after the other, appended to `out`.
    pub(in crate::wasm) fn read(&self, state: u32, keys: &[u64], out: &mut Vec<f64>) -> Result<(), Wrong> {
        let now = self.now()?;
        let (lease, fading) = self.tally(state)?;
        let width = fading.width as usize;
        let start = out.len();
        out.resize(start + keys.len() * width, 0.0);
        let rows = || keys.iter().zip(0..).map(|(&key, row)| (key, start + row * width));
        for (key, at) in rows().take(if self.added.is_empty() { 0 } else { keys.len() }) {
            for (&(_, _, cell), amount) in self.added.range((state, key, 0)..=(state, key, u32::MAX)) {
                out[at + cell as usize] = *amount;
            }
        }
        if let Table::Tally(tally) = &mut lease.kept.held().table {
            for (key, at) in rows() {
                tally.read(now, fading, key, &mut out[at..at + width]);
            }
        }
        Ok(())
    }

    /// How many keys [`keys`](Self::keys) gives at most.
    pub(in crate::wasm) fn keys_len(&self, state: u32) -> Result<usize, Wrong> {
        self.now()?;
        let (lease, _) = self.tally(state)?;
        let held = lease.kept.held();
        let kept = if let Table::Tally(tally) = &held.table { tally.len() } else { 0 };
        Ok(kept + self.added.len())
    }

    /// Keys that have a row, with those that the call has added.
    pub(in crate::wasm) fn keys(&self, state: u32) -> Result<Vec<u64>, Wrong> {
        self.now()?;
        let (lease, _) = self.tally(state)?;
        let of_state = (state, 0, 0)..=(state, u64::MAX, u32::MAX);
        let added: BTreeSet<u64> = self.added.range(of_state).map(|(&(_, key, _), _)| key).collect();
        let held = lease.kept.held();
        let Table::Tally(tally) = &held.table else { return Ok(Vec::new()) };
        let new = added.into_iter().filter(|&key| !tally.contains(key));
        Ok(tally.keys().chain(new).collect())
    }

    /// The time of the call that is on.
    pub(in crate::wasm) fn now(&self) -> Result<Nanos, Wrong> {
        self.now.ok_or(Wrong::Use("host state was used outside of a call"))
    }

    fn bucket(&self, state: u32) -> Result<(&Lease, Rate), Wrong> {
        match self.lease(state) {
            Some(lease @ Lease { kind: Kind::Bucket(rate), .. }) => Ok((lease, *rate)),
            _ => Err(Wrong::Use("a bucket that was not opened")),
        }
    }

    fn tally(&self, state: u32) -> Result<(&Lease, Fading), Wrong> {
        match self.lease(state) {
            Some(lease @ Lease { kind: Kind::Tally(fading), .. }) => Ok((lease, *fading)),
            _ => Err(Wrong::Use("a tally that was not opened")),
        }
    }

    fn lease(&self, state: u32) -> Option<&Lease> {
        self.attached.as_ref()?.states.get(state as usize)
    }
}

#[cfg(test)]
impl Session {
    /// As [`begin`](Self::begin), at a given time.
    pub(super) fn begin_at(&mut self, now: Nanos) {
        self.now = Some(now);
    }
}

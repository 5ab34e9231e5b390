use std::ops::{BitAnd, BitOr, Not};

use crate::{Level, host};

/// A set of rows of one level of the batch of the current call.
///
/// Sets of the same level combine with `&`, `|` and `!`; combining sets of different levels is a fault, so move one with
/// [`Rows::at`] first. A set must not outlive the call.
#[derive(Debug)]
pub struct Rows {
    pub(crate) handle: host::Rows,
}

impl Rows {
    /// The same rows seen from `level`: from below, all rows under them; from above, the rows that have any of them underneath.
    /// A level that the signal does not have is a fault, as is one on a branch beside this one (events and links).
    pub fn at(&self, level: Level) -> Rows {
        Rows { handle: self.handle.at(level.as_str()) }
    }

    /// How many rows.
    pub fn count(&self) -> u32 {
        self.handle.count()
    }
}

impl BitAnd for &Rows {
    type Output = Rows;
    fn bitand(self, other: &Rows) -> Rows {
        Rows { handle: self.handle.and(&other.handle) }
    }
}

impl BitOr for &Rows {
    type Output = Rows;
    fn bitor(self, other: &Rows) -> Rows {
        Rows { handle: self.handle.or(&other.handle) }
    }
}

impl Not for &Rows {
    type Output = Rows;
    fn not(self) -> Rows {
        Rows { handle: self.handle.not() }
    }
}

impl BitAnd for Rows {
    type Output = Rows;
    fn bitand(self, other: Rows) -> Rows {
        &self & &other
    }
}

impl BitOr for Rows {
    type Output = Rows;
    fn bitor(self, other: Rows) -> Rows {
        &self | &other
    }
}

impl Not for Rows {
    type Output = Rows;
    fn not(self) -> Rows {
        !&self
    }
}

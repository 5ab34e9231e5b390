use std::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, Not};

/// A set of the traces of the current call, by number. Sets combine with `&`, `|` and `!`; both must be of the same call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSet {
    /// Least significant bit of byte 0 first, as the host takes it; bits past `len` are zeros.
    bytes: Vec<u8>,
    len: usize,
}

impl TraceSet {
    /// None of `len` traces.
    pub fn empty(len: usize) -> TraceSet {
        TraceSet { bytes: vec![0; len.div_ceil(8)], len }
    }

    /// All of `len` traces.
    pub fn all(len: usize) -> TraceSet {
        TraceSet::of_bitmap(vec![u8::MAX; len.div_ceil(8)], len)
    }

    /// Those of `len` traces that are judged true.
    pub fn of(len: usize, mut judge: impl FnMut(usize) -> bool) -> TraceSet {
        let mut set = TraceSet::empty(len);
        (0..len).filter(|trace| judge(*trace)).for_each(|trace| set.insert(trace));
        set
    }

    pub(crate) fn of_bitmap(mut bytes: Vec<u8>, len: usize) -> TraceSet {
        bytes.resize(len.div_ceil(8), 0);
        if let Some(last) = bytes.last_mut().filter(|_| !len.is_multiple_of(8)) {
            *last &= (1 << (len % 8)) - 1;
        }
        TraceSet { bytes, len }
    }

    pub(crate) fn as_bitmap(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a trace. One that is not of the call is a fault.
    pub fn insert(&mut self, trace: usize) {
        assert!(trace < self.len, "there are {} traces", self.len);
        self.bytes[trace / 8] |= 1 << (trace % 8);
    }

    /// True if the trace is in it.
    pub fn contains(&self, trace: usize) -> bool {
        self.bytes.get(trace / 8).is_some_and(|byte| byte & (1 << (trace % 8)) != 0)
    }

    /// The traces in it, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        let bits = |byte: u8| (0..8).filter(move |bit| byte & (1 << bit) != 0);
        self.bytes.iter().enumerate().flat_map(move |(at, byte)| bits(*byte).map(move |bit| at * 8 + bit))
    }

    /// How many traces are in it.
    pub fn count(&self) -> usize {
        self.bytes.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    /// True if there is none in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.iter().all(|byte| *byte == 0)
    }
}

impl BitAndAssign<&TraceSet> for TraceSet {
    fn bitand_assign(&mut self, other: &TraceSet) {
        assert!(self.len == other.len, "sets of different calls do not combine");
        self.bytes.iter_mut().zip(&other.bytes).for_each(|(byte, other)| *byte &= other);
    }
}

impl BitOrAssign<&TraceSet> for TraceSet {
    fn bitor_assign(&mut self, other: &TraceSet) {
        assert!(self.len == other.len, "sets of different calls do not combine");
        self.bytes.iter_mut().zip(&other.bytes).for_each(|(byte, other)| *byte |= other);
    }
}

impl BitAnd for TraceSet {
    type Output = TraceSet;
    fn bitand(mut self, other: TraceSet) -> TraceSet {
        self &= &other;
        self
    }
}

impl BitAnd for &TraceSet {
    type Output = TraceSet;
    fn bitand(self, other: &TraceSet) -> TraceSet {
        let mut both = self.clone();
        both &= other;
        both
    }
}

impl BitOr for TraceSet {
    type Output = TraceSet;
    fn bitor(mut self, other: TraceSet) -> TraceSet {
        self |= &other;
        self
    }
}

impl BitOr for &TraceSet {
    type Output = TraceSet;
    fn bitor(self, other: &TraceSet) -> TraceSet {
        let mut either = self.clone();
        either |= other;
        either
    }
}

impl Not for TraceSet {
    type Output = TraceSet;
    fn not(mut self) -> TraceSet {
        self.bytes.iter_mut().for_each(|byte| *byte = !*byte);
        TraceSet::of_bitmap(self.bytes, self.len)
    }
}

impl Not for &TraceSet {
    type Output = TraceSet;
    fn not(self) -> TraceSet {
        !self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::TraceSet;

    #[test]
    fn sets_are_those_of_a_list_of_bools() {
        for len in [0, 1, 7, 8, 9, 64, 65] {
            let thirds = TraceSet::of(len, |trace| trace % 3 == 0);
            let odd = TraceSet::of(len, |trace| trace % 2 == 1);
            let listed = |is_in: fn(usize) -> bool| (0..len).filter(|trace| is_in(*trace)).collect::<Vec<_>>();
            let found = |set: &TraceSet| set.iter().collect::<Vec<_>>();
            assert_eq!(found(&(&thirds & &odd)), listed(|trace| trace % 3 == 0 && trace % 2 == 1));
            assert_eq!(found(&(&thirds | &odd)), listed(|trace| trace % 3 == 0 || trace % 2 == 1));
            assert_eq!(found(&!&odd), listed(|trace| trace % 2 == 0));
            assert_eq!(!TraceSet::empty(len), TraceSet::all(len));
            assert_eq!((!&odd).count(), len - odd.count());
            assert_eq!(TraceSet::all(len).count(), len);
            assert!((&thirds & &!thirds.clone()).is_empty());
            assert!(!TraceSet::all(len).contains(len));
        }
    }
}

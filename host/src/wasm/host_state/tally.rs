//! Rows of numbers that fade.

use super::Nanos;
use super::recent::Recent;

/// Cells of one state (wit/telemetry.wit, `tally`).
const CELLS_MAX: u64 = 1 << 20;
/// What an allocation costs beside its bytes, of which an eighth may be lost to rounding.
const ALLOCATION_BYTES: u64 = 16;

/// How large a tally is, and how it fades.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wasm) struct Fading {
    /// Cells of a row.
    pub(super) width: u32,
    /// 0 = not at all. Finite and not negative.
    half_life_seconds: f64,
    pub(super) keys_max: u32,
}

impl Fading {
    /// The error says what is wrong.
    pub(in crate::wasm) fn new(width: u32, half_life_seconds: f64, keys_max: u32) -> Result<Self, String> {
        if !half_life_seconds.is_finite() || half_life_seconds < 0.0 {
            return Err(format!("the half-life of a tally is a number from 0 on, not {half_life_seconds}"));
        }
        if width == 0 || keys_max == 0 || u64::from(width) * u64::from(keys_max) > CELLS_MAX {
            return Err(format!(
                "a tally has 1 to {CELLS_MAX} cells (width times keys-max), not {width} times {keys_max}"
            ));
        }
        Ok(Self { width, half_life_seconds, keys_max })
    }

    /// What is left of 1 after `time`.
    fn left_after(self, time: Nanos) -> f64 {
        if self.half_life_seconds > 0.0 && time > 0 {
            (-(time as f64) / 1e9 / self.half_life_seconds).exp2()
        } else {
            1.0
        }
    }
}

/// Rows by key. How they fade is the caller's: a changed half-life counts from the last change of each row on.
#[derive(Clone, Debug)]
pub(super) struct Tally(Recent<Row>);

#[derive(Clone, Debug)]
struct Row {
    cells: Box<[f64]>,
    /// When it held these.
    at: Nanos,
}

impl Tally {
    pub(super) fn new(keys_max: u32) -> Self {
        Self(Recent::new(keys_max))
    }

    /// The most that such a state takes.
    pub(super) fn bytes_max(width: u32, keys_max: u32) -> u64 {
        let row = u64::from(width) * size_of::<f64>() as u64;
        Recent::<Row>::bytes_max(keys_max) + u64::from(keys_max) * (row + row / 8 + ALLOCATION_BYTES)
    }

    pub(super) fn set_keys_max(&mut self, keys_max: u32) {
        self.0.set_keys_max(keys_max);
    }

    /// Adds to cells of a row. Amounts are finite and not negative, cells below the width.
    pub(super) fn add(&mut self, now: Nanos, fading: Fading, key: u64, amounts: impl IntoIterator<Item = (u32, f64)>) {
        let new = || Row { cells: vec![0.0; fading.width as usize].into_boxed_slice(), at: now };
        let row = self.0.get_or_insert_with(key, new);
        let left = fading.left_after(now.saturating_sub(row.at));
        if left < 1.0 {
            for cell in &mut row.cells {
                *cell *= left;
            }
        }
        row.at = row.at.max(now);
        for (cell, amount) in amounts {
            if let Some(cell) = row.cells.get_mut(cell as usize) {
                // Never infinite: no factor would make a number of it again.
                *cell = (*cell + amount).min(f64::MAX);
            }
        }
    }

    /// Adds a row as it is at `now` to `out`; nothing where there is none.
    pub(super) fn read(&mut self, now: Nanos, fading: Fading, key: u64, out: &mut [f64]) {
        let Some(row) = self.0.get(key) else { return };
        let left = fading.left_after(now.saturating_sub(row.at));
        for (out, cell) in out.iter_mut().zip(&row.cells) {
            *out = (*out + cell * left).min(f64::MAX);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.keys()
    }

    pub(super) fn contains(&self, key: u64) -> bool {
        self.0.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn fading(half_life_seconds: f64) -> Fading {
        Fading::new(2, half_life_seconds, 3).expect("is one")
    }

    fn read(tally: &mut Tally, now: Nanos, fading: Fading, key: u64) -> [f64; 2] {
        let mut out = [0.0; 2];
        tally.read(now, fading, key, &mut out);
        out
    }

    #[test]
    fn rows_lose_half_in_each_half_life() {
        let (mut tally, fading) = (Tally::new(3), fading(10.0));
        tally.add(SECOND, fading, 7, [(0, 8.0), (1, 4.0), (0, 8.0)]);
        assert_eq!(read(&mut tally, SECOND, fading, 7), [16.0, 4.0]);
        assert_eq!(read(&mut tally, SECOND * 11, fading, 7), [8.0, 2.0]);
        assert_eq!(read(&mut tally, SECOND * 11, fading, 7), [8.0, 2.0], "reading changes nothing");
        tally.add(SECOND * 21, fading, 7, [(1, 1.0)]);
        assert_eq!(read(&mut tally, SECOND * 21, fading, 7), [4.0, 2.0]);
        assert_eq!(read(&mut tally, SECOND, fading, 7), [4.0, 2.0], "nothing grows into the past");
        assert_eq!(read(&mut tally, SECOND, fading, 8), [0.0, 0.0]);
    }

    #[test]
    fn without_half_life_they_stay_and_a_changed_one_is_taken_over() {
        let mut tally = Tally::new(3);
        tally.add(SECOND, fading(0.0), 7, [(0, 8.0)]);
        assert_eq!(read(&mut tally, SECOND * 100_000, fading(0.0), 7), [8.0, 0.0]);
        assert_eq!(read(&mut tally, SECOND * 3, fading(1.0), 7), [2.0, 0.0]);
    }

    #[test]
    fn rows_used_least_recently_are_forgotten() {
        let (mut tally, fading) = (Tally::new(3), fading(0.0));
        for key in 1..=3 {
            tally.add(SECOND, fading, key, [(0, 1.0)]);
        }
        read(&mut tally, SECOND, fading, 1);
        tally.add(SECOND, fading, 4, [(0, 1.0)]);
        let mut keys: Vec<u64> = tally.keys().collect();
        keys.sort_unstable();
        assert_eq!(keys, [1, 3, 4]);
        assert_eq!((tally.len(), tally.contains(2), tally.contains(3)), (3, false, true));
    }

    #[test]
    fn numbers_stay_numbers() {
        let (mut tally, fading) = (Tally::new(3), fading(1.0));
        tally.add(SECOND, fading, 7, [(0, f64::MAX), (0, f64::MAX)]);
        assert_eq!(read(&mut tally, SECOND, fading, 7), [f64::MAX, 0.0]);
        assert_eq!(read(&mut tally, SECOND * 100_000, fading, 7), [0.0, 0.0]);
    }

    #[test]
    fn its_size_is_bounded_and_its_half_life_a_number() {
        assert!(Fading::new(1 << 10, 0.0, 1 << 10).is_ok());
        for (width, half_life, keys_max) in [
            (0, 0.0, 1),
            (1, 0.0, 0),
            (1 << 10, 0.0, (1 << 10) + 1),
            (u32::MAX, 0.0, u32::MAX),
            (1, -1.0, 1),
            (1, f64::NAN, 1),
            (1, f64::INFINITY, 1),
        ] {
            assert!(Fading::new(width, half_life, keys_max).is_err(), "{width} {half_life} {keys_max}");
        }
    }
}

//! Requests that a stage could not judge in time, known again by their content when their senders send them again.
//!
//! A deadline is not bisected: each probe may take as long as the whole. But what is too slow each time must not come back for ever.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// Late this often, a request is rejected.
pub(super) const LATE_MAX: u32 = 3;
/// Contents that are remembered; the one that was late longest ago is forgotten first.
const CONTENTS_MAX: usize = 1024;

/// How often contents were late.
#[derive(Debug, Default)]
pub(super) struct LateContents {
    /// Digest, times; the last one that was late is last.
    known: Mutex<VecDeque<([u8; 32], u32)>>,
}

impl LateContents {
    /// Counts that this generation of the stage was late with `body`; how often it was, this time included.
    pub(super) fn note(&self, stage: usize, generation: u64, body: &[u8]) -> u32 {
        let stage = (stage as u64).to_le_bytes();
        let digest = Sha256::new().chain_update(stage).chain_update(generation.to_le_bytes()).chain_update(body);
        let digest: [u8; 32] = digest.finalize().into();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.iter().position(|(other, _)| *other == digest).and_then(|place| known.remove(place));
        let times = before.map_or(1, |(_, times)| times.saturating_add(1));
        if known.len() >= CONTENTS_MAX {
            known.pop_front();
        }
        known.push_back((digest, times));
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_counted_apart_and_the_oldest_is_forgotten() {
        let late = LateContents::default();
        assert_eq!([0; 3].map(|_| late.note(0, 1, b"slow")), [1, 2, 3]);
        assert_eq!([(1, 1), (0, 2)].map(|(stage, generation)| late.note(stage, generation, b"slow")), [1, 1]);
        for other in 0..CONTENTS_MAX - 3 {
            assert_eq!(late.note(0, 1, &other.to_le_bytes()), 1);
        }
        assert_eq!(late.note(0, 1, b"slow"), 4, "as many are remembered as may be");
        assert_eq!(late.note(0, 1, b"one more"), 1);
        assert_eq!(late.note(1, 1, b"slow"), 1, "it was the oldest");
    }
}

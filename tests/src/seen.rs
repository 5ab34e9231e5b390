//! Which items were seen: a bitmap over sequence numbers that notices seconds.

/// Sequence numbers of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    words: Vec<u64>,
    /// Different sequence numbers seen.
    pub items: u64,
    /// Times that one was seen again.
    pub duplicates: u64,
}

impl Seen {
    /// Notes one; false if it was there already.
    pub fn note(&mut self, sequence: u64) -> bool {
        let (word, bit) = place(sequence);
        if word >= self.words.len() {
            self.words.resize((word + 1).next_power_of_two(), 0);
        }
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.items += u64::from(fresh);
        self.duplicates += u64::from(!fresh);
        fresh
    }

    /// True if it was seen.
    pub fn has(&self, sequence: u64) -> bool {
        let (word, bit) = place(sequence);
        self.words.get(word).is_some_and(|found| found & bit != 0)
    }
}

fn place(sequence: u64) -> (usize, u64) {
    (usize::try_from(sequence / 64).unwrap_or(usize::MAX), 1 << (sequence % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_noticed() {
        let mut seen = Seen::default();
        assert!(seen.note(1000));
        assert!(!seen.note(1000));
        assert!(seen.note(0));
        assert!(seen.has(0) && seen.has(1000) && !seen.has(1) && !seen.has(1 << 40));
        assert_eq!((seen.items, seen.duplicates), (2, 1));
    }
}

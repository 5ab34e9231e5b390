//! The process's byte budget: what is read from a socket is charged here before it is read.

pub mod limit;
pub mod maxima;
pub mod tail;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A bound on bytes held by requests, queues and guests.
pub struct Budget {
    bytes_max: AtomicU64,
    bytes_used: AtomicU64,
    /// The most that was used.
    bytes_high: AtomicU64,
    relief: OnceLock<Box<Relief>>,
}

/// Gives up something that is charged and not needed; false where there is nothing left of it.
type Relief = dyn Fn() -> bool + Send + Sync;

impl Budget {
    /// A budget of `bytes_max` bytes.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        let (bytes_max, bytes_used, bytes_high) = (AtomicU64::new(bytes_max), AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { bytes_max, bytes_used, bytes_high, relief: OnceLock::new() })
    }

    /// Has `relief` called, again and again until it says false, before a charge is refused. It must not charge anything itself. Only
    /// the first one set counts.
    pub fn relieve_with(&self, relief: impl Fn() -> bool + Send + Sync + 'static) {
        let _one_is_set = self.relief.set(Box::new(relief));
    }

    /// Takes `bytes` from the budget, or nothing if they do not fit.
    pub fn charge(self: &Arc<Self>, bytes: u64) -> Option<Charge> {
        while !self.take(bytes) {
            let can_fit = bytes <= self.bytes_max();
            if !can_fit || !self.relief.get().is_some_and(|relief| relief()) {
                return None;
            }
        }
        Some(Charge { budget: Arc::clone(self), bytes })
    }

    fn take(&self, bytes: u64) -> bool {
        let max = self.bytes_max();
        let taken = self.bytes_used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|&sum| sum <= max)
        });
        if let Ok(before) = taken {
            self.mark(before.saturating_add(bytes));
        }
        taken.is_ok()
    }

    /// Only what passes the mark writes to it.
    fn mark(&self, used: u64) {
        if used > self.bytes_high.load(Ordering::Relaxed) {
            self.bytes_high.fetch_max(used, Ordering::Relaxed);
        }
    }

    /// Takes `bytes` even where they do not fit: for bytes that already exist, such as a splice's output.
    pub fn charge_over(self: &Arc<Self>, bytes: u64) -> Charge {
        let before = self.bytes_used.fetch_add(bytes, Ordering::Relaxed);
        self.mark(before.saturating_add(bytes));
        Charge { budget: Arc::clone(self), bytes }
    }

    /// Another bound. Where more is charged already, nothing more is until it is given back.
    pub fn set_bytes_max(&self, bytes_max: u64) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// The most that was charged at any time.
    pub fn bytes_high(&self) -> u64 {
        self.bytes_high.load(Ordering::Relaxed)
    }

    /// Bytes charged now.
    pub fn bytes_used(&self) -> u64 {
        self.bytes_used.load(Ordering::Relaxed)
    }

    /// The bound.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (max, used) = (self.bytes_max(), self.bytes_used());
        f.debug_struct("Budget").field("bytes_max", &max).field("bytes_used", &used).finish_non_exhaustive()
    }
}

/// A part of the budget; given back when dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Charge {
    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Another charge to the same budget, for bytes that came of these and already exist.
    pub fn beside(&self, bytes: u64) -> Charge {
        self.budget.charge_over(bytes)
    }

    /// Makes this charge `bytes` large; false (and unchanged) if the growth does not fit.
    pub fn resize(&mut self, bytes: u64) -> bool {
        if bytes <= self.bytes {
            self.budget.bytes_used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
            self.bytes = bytes;
            return true;
        }
        let Some(mut more) = self.budget.charge(bytes - self.bytes) else { return false };
        more.bytes = 0;
        self.bytes = bytes;
        true
    }

    /// Makes this charge at least `bytes` large even where that does not fit, as [`Budget::charge_over`].
    pub fn grow_over(&mut self, bytes: u64) {
        let more = bytes.saturating_sub(self.bytes);
        let before = self.budget.bytes_used.fetch_add(more, Ordering::Relaxed);
        self.budget.mark(before.saturating_add(more));
        self.bytes += more;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.bytes_used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_charged_is_given_back() {
        let budget = Budget::new(100);
        let mut a = budget.charge(60).expect("fits");
        assert!(budget.charge(41).is_none());
        assert!(!a.resize(101));
        assert!(a.resize(100));
        assert_eq!(budget.bytes_used(), 100);
        assert!(a.resize(10));
        let b = budget.charge(90).expect("fits");
        drop(a);
        assert_eq!(budget.bytes_used(), 90);
        drop(b);
        assert_eq!(budget.bytes_used(), 0);
        let mut over = budget.charge_over(90);
        over.grow_over(120);
        over.grow_over(110);
        assert_eq!((over.bytes(), budget.bytes_used()), (120, 120));
        drop(over);
        assert_eq!((budget.bytes_used(), budget.bytes_high()), (0, 120));
    }

    #[test]
    fn what_is_not_needed_goes_before_anything_is_refused() {
        let budget = Budget::new(100);
        let kept: Vec<_> = (0..3).map(|_| budget.charge(20).expect("fits")).collect();
        let kept = std::sync::Mutex::new(kept);
        let left = Arc::new(kept);
        let relief = Arc::clone(&left);
        budget.relieve_with(move || {
            let one = relief.lock().expect("sound").pop();
            one.is_some()
        });
        let data = budget.charge(50).expect("one of the three makes room");
        assert_eq!(left.lock().expect("sound").len(), 2);
        assert!(budget.charge(101).is_none(), "it can never fit, so nothing goes for it");
        assert_eq!(left.lock().expect("sound").len(), 2);
        assert!(budget.charge(60).is_none(), "nothing is left that could go");
        assert_eq!((left.lock().expect("sound").len(), budget.bytes_used()), (0, 50));
        drop(data);
    }
}

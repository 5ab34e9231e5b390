//! The process's byte budget: what is read from a socket is charged here before it is read.

pub mod limit;
pub mod tail;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A bound on bytes held by requests, queues and guests.
#[derive(Debug)]
pub struct Budget {
    bytes_max: AtomicU64,
    bytes_used: AtomicU64,
}

impl Budget {
    /// A budget of `bytes_max` bytes.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { bytes_max: AtomicU64::new(bytes_max), bytes_used: AtomicU64::new(0) })
    }

    /// Takes `bytes` from the budget, or nothing if they do not fit.
    pub fn charge(self: &Arc<Self>, bytes: u64) -> Option<Charge> {
        let max = self.bytes_max.load(Ordering::Relaxed);
        self.bytes_used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&sum| sum <= max)
            })
            .ok()?;
        Some(Charge { budget: Arc::clone(self), bytes })
    }

    /// Takes `bytes` even where they do not fit: for bytes that already exist, such as a splice's output.
    pub fn charge_over(self: &Arc<Self>, bytes: u64) -> Charge {
        self.bytes_used.fetch_add(bytes, Ordering::Relaxed);
        Charge { budget: Arc::clone(self), bytes }
    }

    /// Another bound. Where more is charged already, nothing more is until it is given back.
    pub fn set_bytes_max(&self, bytes_max: u64) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
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
        self.budget.bytes_used.fetch_add(more, Ordering::Relaxed);
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
        assert_eq!(budget.bytes_used(), 0);
    }
}

//! The clock that guest deadlines are measured in: a thread that advances the engine's epoch while guests run.
//!
//! It is a thread of its own since it has to tick when everything else is busy, and it rests when no guest has run for a while: a tick
//! every 5 ms costs an idle process 0.4 % of a CPU, one every millisecond 1.7 %.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::Engine;

/// How often the epoch advances: the resolution of guest deadlines.
pub(super) const TICK: Duration = Duration::from_millis(5);
/// A running guest says that it needs the clock at least this often.
pub(super) const LOOK_TICKS_MAX: u64 = 100;
/// Ticks without need after which the clock rests. More than a guest can be silent for: whoever is silent longer finds its epoch
/// deadline passed when it runs again, and wakes the clock.
const IDLE_TICKS_MAX: u64 = 2 * LOOK_TICKS_MAX;

/// The clock of one engine; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Clock {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    is_needed: AtomicBool,
    is_resting: AtomicBool,
    is_over: AtomicBool,
}

impl Clock {
    /// Starts ticking.
    pub(super) fn start(engine: &Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (engine, of_thread) = (engine.clone(), Arc::clone(&shared));
        let thread =
            thread::Builder::new().name("guest-clock".to_owned()).spawn(move || of_thread.tick(&engine, TICK))?;
        Ok(Self { shared, thread })
    }

    /// A guest runs. Costs two loads but at the first call after a rest.
    pub(super) fn need(&self) {
        if !self.shared.is_needed.load(Ordering::SeqCst) {
            self.shared.is_needed.store(true, Ordering::SeqCst);
        }
        if self.shared.is_resting.load(Ordering::SeqCst) {
            self.thread.thread().unpark();
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
    }
}

impl Shared {
    fn tick(&self, engine: &Engine, tick: Duration) {
        let mut idle_ticks = 0;
        while !self.is_over.load(Ordering::SeqCst) {
            engine.increment_epoch();
            idle_ticks = if self.is_needed.swap(false, Ordering::SeqCst) { 0 } else { idle_ticks + 1 };
            if idle_ticks < IDLE_TICKS_MAX {
                thread::sleep(tick);
                continue;
            }
            // Either this sees the need that is told now, or who tells it sees that the clock rests.
            self.is_resting.store(true, Ordering::SeqCst);
            if !self.is_needed.load(Ordering::SeqCst) && !self.is_over.load(Ordering::SeqCst) {
                thread::park();
            }
            self.is_resting.store(false, Ordering::SeqCst);
            idle_ticks = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::wasm::Cpu;
    use crate::wasm::engine::engine;

    fn wait_for(condition: impl Fn() -> bool) {
        let patience = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < patience, "waited 20 s in vain");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn rests_when_nobody_needs_it_and_wakes_when_somebody_does() {
        let clock = Clock::start(&engine(Cpu::Native).expect("builds")).expect("starts");
        let shared = Arc::clone(&clock.shared);
        for _ in 0..2 {
            wait_for(|| shared.is_resting.load(Ordering::SeqCst));
            clock.need();
            wait_for(|| !shared.is_resting.load(Ordering::SeqCst));
        }
        wait_for(|| shared.is_resting.load(Ordering::SeqCst));
        drop(clock);
        wait_for(|| Arc::strong_count(&shared) == 1);
    }
}

//! When a guest has run long enough: CPU time counts, wall time only fourfold, so that a starved process does not fault healthy guests.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::clock::{LOOK_TICKS_MAX, TICK};

/// How many times its allowance a call may take by the wall clock while its thread does not get the CPU.
const WALL_FACTOR: u32 = 4;

/// What to do when a tick comes due during a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again after so many ticks.
    Continue(u64),
    /// Stop the guest.
    Stop,
}

/// Watches one call. Clocks are first read at the first tick within the call: most calls end before it and pay nothing.
#[derive(Debug, Default)]
pub(super) struct Deadline {
    allowance: Duration,
    start: Option<(Instant, Duration)>,
}

impl Deadline {
    /// Starts over, for a call that may take `allowance`. The first look is due at the next tick.
    pub(super) fn begin(&mut self, allowance: Duration) {
        *self = Self { allowance, start: None };
    }

    /// Called when the last verdict's ticks have passed.
    pub(super) fn on_tick(&mut self) -> Verdict {
        self.decide(Instant::now(), thread_cpu_time())
    }

    /// For host functions that work for long: ticks stop a guest only where its own code runs.
    pub(super) fn is_over(&mut self) -> bool {
        self.on_tick() == Verdict::Stop
    }

    fn decide(&mut self, now: Instant, cpu: Duration) -> Verdict {
        let &mut (wall_start, cpu_start) = self.start.get_or_insert((now, cpu));
        let Some(left) = self.allowance.checked_sub(cpu.saturating_sub(cpu_start)).filter(|left| !left.is_zero())
        else {
            return Verdict::Stop;
        };
        if now.saturating_duration_since(wall_start) >= self.allowance * WALL_FACTOR {
            return Verdict::Stop;
        }
        let ticks = left.as_nanos().div_ceil(TICK.as_nanos());
        Verdict::Continue(u64::try_from(ticks).unwrap_or(u64::MAX).clamp(1, LOOK_TICKS_MAX))
    }
}

fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn cpu_time_counts_and_wall_time_fourfold() {
        let start = Instant::now();
        let mut deadline = Deadline::default();
        deadline.begin(50 * MS);
        assert_eq!(deadline.decide(start, 7 * MS), Verdict::Continue(10));
        assert_eq!(deadline.decide(start + 50 * MS, 50 * MS), Verdict::Continue(2), "43 of 50 ms used");
        assert_eq!(deadline.decide(start + 60 * MS, 57 * MS), Verdict::Stop);

        deadline.begin(50 * MS);
        assert_eq!(deadline.decide(start, Duration::ZERO), Verdict::Continue(10));
        assert_eq!(deadline.decide(start + 199 * MS, MS), Verdict::Continue(10), "starved");
        assert_eq!(deadline.decide(start + 200 * MS, MS), Verdict::Stop);

        deadline.begin(Duration::from_secs(3600));
        assert_eq!(deadline.decide(start, MS), Verdict::Continue(LOOK_TICKS_MAX));
    }
}

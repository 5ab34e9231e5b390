//! What a piece of work costs, in CPU time of the calling thread.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Odd, so that there is a median.
const ROUNDS: usize = 15;
/// About as long takes a round, and the warming up before them.
const ROUND: Duration = Duration::from_millis(50);

/// Nanoseconds of one run, the median of 15 rounds of many runs.
pub fn median_nanos(mut run: impl FnMut()) -> f64 {
    let started = Instant::now();
    let mut runs = 0_u32;
    while started.elapsed() < ROUND {
        run();
        runs += 1;
    }
    let mut rounds = [0.0; ROUNDS];
    for round in &mut rounds {
        let started = thread_cpu_time();
        for _ in 0..runs {
            run();
        }
        *round = (thread_cpu_time() - started).as_nanos() as f64 / f64::from(runs);
    }
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

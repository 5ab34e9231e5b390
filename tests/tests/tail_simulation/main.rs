//! Tail sampling against a model: random arrivals, clocks, interleavings, swaps, faults and limits, every step compared.
//!
//! Each run is made from a seed. `SIMULATION_SEED=n` runs that one alone; a soak runs more of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sluicebox_tests::soak_factor;

mod check;
mod due;
mod lane;
mod model;
mod tracestate;
mod traffic;
mod votes;
mod wire;
mod world;

use world::Coverage;

/// Runs, unless a soak asks for more.
const SEEDS: u64 = 300;

#[test]
fn the_shard_does_what_the_model_says() {
    if let Ok(seed) = std::env::var("SIMULATION_SEED") {
        let seed = seed.parse().expect("SIMULATION_SEED is a number");
        println!("{:#?}", world::run(seed));
        return;
    }
    let seeds = SEEDS * soak_factor();
    let (next, covered, failed) = (AtomicU64::new(0), Mutex::new(Coverage::default()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || !failed.lock().unwrap().is_empty() {
                        return;
                    }
                    match catch_unwind(AssertUnwindSafe(|| world::run(seed))) {
                        Ok(coverage) => covered.lock().unwrap().add(&coverage),
                        Err(_) => failed.lock().unwrap().push(seed),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "run one of these alone, such as SIMULATION_SEED={}: {failed:?}", failed[0]);
    let covered = covered.into_inner().unwrap();
    println!("{seeds} runs: {covered:?}");
    assert_eq!(covered.missing(), Vec::<&str>::new(), "the runs must meet all of it: {covered:?}");
}

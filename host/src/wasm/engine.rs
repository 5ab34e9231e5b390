//! The one configuration of wasmtime, for running and for compiling.
//!
//! Instances are allocated on demand: with the pooling allocator a new one took 75 to 86 us instead of 45 to 50 (instantiate, configure,
//! first call, drop), it reserves address space for the largest number there may ever be, and slots go from one guest to the next.

use std::num::NonZeroUsize;

use wasmtime::{Config, Engine, Strategy, WasmBacktraceDetails};

use super::unchecked;

/// Native stack a guest may use. Worker threads have 2 MiB or more, so host functions always have room below it.
const GUEST_STACK_BYTES: usize = 512 << 10;

/// Wasm frames shown with a trap.
const BACKTRACE_FRAMES_MAX: NonZeroUsize = NonZeroUsize::new(10).unwrap();

/// x86-64-v2: the least that Wasm SIMD compiles to without helper calls, and in every x86-64 server since 2009.
#[cfg(target_arch = "x86_64")]
const BASELINE_FLAGS: [&str; 6] = ["has_cmpxchg16b", "has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"];
/// Armv8.0-A.
#[cfg(not(target_arch = "x86_64"))]
const BASELINE_FLAGS: [&str; 0] = [];

/// The CPU that machine code is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpu {
    /// This machine's, with all it can do.
    Native,
    /// The oldest one that is supported; such code loads on every newer one.
    Baseline,
}

/// An engine for code of this CPU. Both kinds differ in nothing but the CPU's features, so that a native engine loads baseline code.
pub(super) fn engine(cpu: Cpu) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .memory_init_cow(true)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .native_unwind_info(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES_MAX));
    if cpu == Cpu::Baseline {
        config.target(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH))?;
        unchecked::enable_cpu_features(&mut config, &BASELINE_FLAGS);
    }
    Engine::new(&config)
}

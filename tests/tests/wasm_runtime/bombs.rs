//! Components made to cost their compiler as much as can be: it ends by a limit of its own, and the engine's process does not grow.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use sluicebox::config::model::Component;
use sluicebox::memory::Budget;
use sluicebox::wasm::{BuildError, CompileError, Compiler, GenerationSpec, Runtime, RuntimeOptions, Step};
use sluicebox_tests::hostile::bombs::{Bomb, variant};
use sluicebox_tests::hostile::made::Made;
use sluicebox_tests::soak_factor;

use crate::lab::{MIB, compiler, guest, spec};

fn bomb(bomb: Bomb) -> GenerationSpec {
    GenerationSpec { component: Component::Uploaded(Bytes::from(bomb.component())), ..spec("") }
}

fn runtime(compiler: Compiler) -> Runtime {
    let options = RuntimeOptions { budget: Budget::new(1 << 30), bundled: &[], compiler, cache_dir: None };
    Runtime::new(options).expect("starts")
}

/// A compiler that was started under limits lower than its own, given as options of the shell's `ulimit`.
fn limited(directory: &Path, ulimit: &str) -> Compiler {
    let script = directory.join("limited");
    let program = env!("CARGO_BIN_EXE_compile-component");
    fs::write(&script, format!("#!/bin/sh\nulimit {ulimit}\nexec '{program}'\n")).expect("writes");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).expect("sets its mode");
    Compiler::program(script)
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("is there");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("is a number") * 1024
}

#[test]
fn what_no_validator_takes_is_refused_at_once() {
    let runtime = runtime(compiler());
    for kind in Bomb::QUICK {
        let error = runtime.build_generation(bomb(kind)).expect_err("is no component that can serve");
        // What is valid, if odd, compiles and is found to export nothing.
        assert!(matches!(error.step(), Step::Verify | Step::Compile | Step::Link), "{kind:?}: {error}");
        assert!(error.to_string().len() < 3000, "{kind:?}: {error}");
    }
}

/// Each limit of the compiler's process, met by what is compiled; what is smaller compiles under the same limit.
#[test]
fn the_compilers_limits_hold() {
    let directory = tempfile::tempdir().expect("creates");
    let candidate = |wasm| GenerationSpec { component: Component::Uploaded(Bytes::from(wasm)), ..spec("") };
    let small = Made::component("nothing").expect("is made");
    let filter = fs::read(guest("filter")).expect("reads");
    // Of CPU time, in seconds; of address space, in KiB; of machine code, in blocks of 512 bytes.
    let cases = [
        ("-St 2; ulimit -Ht 3", Bomb::Jumps.component(), "more CPU time"),
        ("-v 350000", Bomb::DeepBlocks.component(), "memory"),
        ("-f 256", filter, "more machine code"),
    ];
    for (number, (ulimit, large, said)) in (1..).zip(cases) {
        let runtime = runtime(limited(directory.path(), ulimit));
        runtime.build_generation(candidate(variant(&small, number))).expect("is within it");
        let resident = resident_bytes();
        let error = runtime.build_generation(candidate(large)).expect_err("is stopped");
        let BuildError::Compile(CompileError::Failed { message, status }) = &error else { panic!("{ulimit}: {error}") };
        assert!(message.contains(said), "{ulimit}: {status}: {message}");
        assert!(resident_bytes() < resident + 128 * MIB, "{ulimit}: it grew outside of this process");
    }
    if soak_factor() > 1 {
        // The limits as they ship.
        let started = Instant::now();
        let error = runtime(compiler()).build_generation(bomb(Bomb::Jumps)).expect_err("is stopped");
        eprintln!("a compile bomb was ended after {:?}: {error}", started.elapsed());
        assert_eq!(error.step(), Step::Compile, "{error}");
    }
}

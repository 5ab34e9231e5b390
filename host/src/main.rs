//! The `sluicebox` binary: the command line, with the bundled components inside.

use std::process::ExitCode;

use sluicebox::wasm::Bundled;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Built by `make bundled`: the component, and its code compiled for a baseline CPU.
static BUNDLED: &[Bundled] = &[Bundled {
    name: "filter",
    wasm: include_bytes!("../bundled/filter.wasm"),
    artifact: include_bytes!("../bundled/filter.cwasm"),
}];

fn main() -> ExitCode {
    sluicebox::cli::main(BUNDLED)
}

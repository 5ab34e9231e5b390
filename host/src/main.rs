//! The `sluicebox` binary: the command line, with the bundled components inside.

use std::process::ExitCode;

use sluicebox::wasm::Bundled;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Built by `make bundled`, which has the same list: each component, and its code compiled for a baseline CPU.
macro_rules! bundled {
    ($($name:literal),+) => {
        &[$(Bundled {
            name: $name,
            wasm: include_bytes!(concat!("../bundled/", $name, ".wasm")),
            artifact: include_bytes!(concat!("../bundled/", $name, ".cwasm")),
        }),+]
    };
}

static BUNDLED: &[Bundled] =
    bundled!["filter", "attributes", "redaction", "tail-sampling", "probabilistic-sampler", "rate-limiting", "lookup"];

fn main() -> ExitCode {
    sluicebox::cli::main(BUNDLED)
}

//! The compiler's process for tests that do not start the whole program: what `sluicebox compile-component` runs.

fn main() -> std::process::ExitCode {
    sluicebox::wasm::compile_main()
}

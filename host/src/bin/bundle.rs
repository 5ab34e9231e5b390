//! Turns core modules that were built for `wasm32-unknown-unknown` into components.
//!
//! `bundle IN.wasm... --out DIR` writes `DIR/<name>.wasm` for each. Modules have to carry their component type (`wit-bindgen` leaves it
//! in a custom section). A component that imports anything besides the contract, WASI above all, is refused: nothing would provide it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use wit_component::{ComponentEncoder, DecodedWasm};

/// Everything that a bundled component may import begins so.
const CONTRACT: &str = "sluicebox:telemetry/";

#[derive(Parser)]
#[command(about = "Turns core Wasm modules into components")]
struct Args {
    /// Core modules.
    #[arg(required = true)]
    modules: Vec<PathBuf>,
    /// Where the components go.
    #[arg(long)]
    out: PathBuf,
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]
fn main() -> ExitCode {
    let args = Args::parse();
    for module in &args.modules {
        match bundle(module, &args.out) {
            Ok(written) => println!("{written}"),
            Err(error) => {
                eprintln!("error: {}: {error:#}", module.display());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn bundle(module: &Path, out: &Path) -> Result<String> {
    let bytes = fs::read(module).context("cannot read the module")?;
    let component = encode(&bytes)?;
    let imports = contract_imports(&component)?;
    let path = out.join(module.file_name().context("not a file name")?);
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    fs::write(&path, &component).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(format!("{}: {} bytes, imports {}", path.display(), component.len(), imports.join(", ")))
}

/// A validated component around a core module.
fn encode(module: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(module).context("not a core module")?;
    encoder.encode().context("cannot be made a component")
}

/// What a component imports. An error if anything of it is not of the contract.
fn contract_imports(component: &[u8]) -> Result<Vec<String>> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        bail!("not a component");
    };
    let imports: Vec<String> = resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key)).collect();
    match imports.iter().find(|import| !import.starts_with(CONTRACT)) {
        Some(foreign) => {
            bail!("imports `{foreign}`, which is not part of the contract ({CONTRACT}*) and nothing provides")
        }
        None => Ok(imports),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_chain<T: std::fmt::Debug>(result: Result<T>) -> String {
        format!("{:#}", result.unwrap_err())
    }

    #[test]
    fn core_module_that_needs_wasi_is_refused_by_name() {
        let module = wat::parse_str(
            r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32))))"#,
        )
        .unwrap();
        let error = error_chain(encode(&module));
        assert!(error.contains("wasi_snapshot_preview1"), "{error}");
    }

    #[test]
    fn component_that_imports_wasi_is_refused_by_name() {
        let component = wat::parse_str(
            r#"(component (import "wasi:cli/environment@0.2.0" (instance (export "get" (func (result u32))))))"#,
        )
        .unwrap();
        let error = error_chain(contract_imports(&component));
        assert!(error.contains("`wasi:cli/environment@0.2.0`"), "{error}");
    }

    #[test]
    fn component_that_imports_the_contract_is_taken() {
        let component = wat::parse_str(
            r#"(component (import "sluicebox:telemetry/dropping@0.1.0" (instance (export "x" (func (result u32))))))"#,
        )
        .unwrap();
        assert_eq!(contract_imports(&component).unwrap(), ["sluicebox:telemetry/dropping@0.1.0"]);
    }

    #[test]
    fn other_files_are_refused() {
        assert!(error_chain(encode(b"no wasm")).starts_with("not a core module"));
    }
}
